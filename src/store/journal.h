#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H
/*
 * The durable store: an SQLite database in the state directory, written by one thread and read by
 * another. The loop never waits for either, but in journal_open (which recovers) and in free
 * (which commits what is queued).
 */
#include "store/store.h"
#include <stdio.h>

struct slot_loop;
struct slot_logger;

struct journal_options {
	struct slot_loop *loop;           /* borrowed */
	const struct slot_logger *logger; /* borrowed; may be NULL */
	const char *state_dir;            /* ours alone: owned by us, 0700 */
	const char *output_dir;           /* of files named in store_output; NULL: none are */
	bool normal;                      /* durability: normal, not full */
	bool drop_env;                    /* an environment goes when its job is done */
	struct store_bounds bounds;
	struct store_hooks hooks;
	const char *boot_id;              /* of this boot of the machine */
	/* While nothing can be written: between two attempts, and two looks for room. 0: the usual
	 * 250 ms and 1 s. */
	int retry_ms, room_check_ms;
};

struct journal_error {
	int error; /* negative errno */
	char text[512];
};

/*
 * Opens the journal of a state directory, or begins one. What can't be used (damaged, or of a
 * newer version) is renamed, logged, and a new one begun, with a new instance. NULL: `why` says
 * why not (the directory isn't ours or too open, another process has it, the disk fails).
 */
struct store *store_journal_open(const struct journal_options *options, struct journal_error *why);

/* For a loop without an event_base: waits at most so long for the threads to report something,
 * and queues the call that takes it in. False: nothing came. */
bool store_journal_wait(struct store *s, int timeout_ms);

/* Looks at the journal of a state directory from end to end, while a daemon may be running, and
 * writes what it finds in words. 0: good, 1: damaged, 2: of a newer version, 3: can't tell. */
int journal_check(const char *state_dir, FILE *out);

#endif
