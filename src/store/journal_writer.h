#ifndef STORE_JOURNAL_WRITER_H
#define STORE_JOURNAL_WRITER_H
/*
 * The writer thread. Batches go in and come back committed, in order; all that are queued at one
 * moment become one transaction. It copes with a full disk by itself: gives up the ballast, then
 * tries again and again; and tells of it.
 */
#include "store/journal_batch.h"
#include "store/journal_sums.h"
#include <sqlite3.h>

struct jwriter;

struct jwriter_options {
	sqlite3 *db;     /* taken, on success */
	int dir_fd;      /* the state directory; borrowed, as all below */
	int output_fd;   /* the output directory; -1: none */
	int note_fd;     /* eventfd, written when there is something to take */
	int64_t ballast; /* its size */
	bool degraded;   /* there was no room for it */
	bool drop_env;
	bool trash_is_unlinked;
	const struct sums_state *sums; /* as they were gathered; copied */
	int retry_ms, room_check_ms; /* 0: the usual */
};

struct jwriter_state {
	bool degraded, stuck;
	bool not_now;      /* … because somebody holds it locked, or memory is short */
	bool wal_is_big;   /* newly, since the last take */
	int64_t wal_bytes;
	char failed[160];  /* not "": nothing commits any more */
};

struct jwriter *jwriter_new(const struct jwriter_options *options); /* NULL: out of memory */
int jwriter_start(struct jwriter *w);                            /* 0 or -errno */
void jwriter_put(struct jwriter *w, struct jbatch *batch);
/* The batches that were committed, linked, oldest first; NULL: none. */
struct jbatch *jwriter_take(struct jwriter *w, struct jwriter_state *state);
/* Commits what is queued as far as it can be, checkpoints, ends. What did not commit is returned
 * with what was never taken: all of it is the caller's to free. */
struct jbatch *jwriter_free(struct jwriter *w, bool *lost);

#endif
