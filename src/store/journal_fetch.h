#ifndef STORE_JOURNAL_FETCH_H
#define STORE_JOURNAL_FETCH_H
/*
 * Reads as statements: from a request, copied so that its owner may go away, to the rows as they
 * stand in the journal. Knows no threads and none of the rows in memory.
 */
#include "store/store.h"
#include <sqlite3.h>
#include <stdatomic.h>

enum jread_kind { JREAD_JOBS, JREAD_KEYS, JREAD_PAGE, JREAD_DONE, JREAD_OUTPUT, JREAD_OLD };

struct fetched {
	uint64_t id;
	struct row *row; /* without env and queue; NULL: unknown */
	char *queue;
	size_t env;      /* place in envs + 1; 0: none */
	int error;       /* -EIO: damaged … */
	const char *where; /* … in this table */
};

struct fetched_env {
	int64_t id;
	uint64_t hash;
	char *bytes;
	size_t len;
};

struct old_job { /* JREAD_OLD: done jobs of a user, oldest first */
	uint64_t seq, id;
	int64_t finished_us, kept_bytes;
	bool damaged; /* only seq is to be believed */
};

struct jread {
	struct jread *next;
	struct store_read *r; /* the loop's; NULL: not wanted any more */
	atomic_bool unwanted; /* … and the reader need not begin */
	uint64_t after;       /* the loop's: batch that must be committed first */

	/* What to read. */
	enum jread_kind kind;
	uint64_t *ids;
	size_t nids;
	char **keys;
	size_t nkeys;
	struct store_filter filter; /* its strings are owned */
	uint64_t from;
	bool backward, want_oldest;
	size_t limit, limit_bytes;
	uint64_t job;
	int stream;
	int64_t off;
	size_t max;

	/* What was found. */
	int error;            /* 0, -ENOMEM, -EIO */
	char damage[160];     /* not "": what was met on the way; with -EIO, or left out */
	char failed[160];     /* not "": the journal can't be read any more */
	struct fetched *found;
	size_t nfound, found_cap;
	struct fetched_env *envs;
	size_t nenvs, envs_cap;
	size_t bytes;
	uint64_t next_place;
	uint64_t oldest_job;  /* 0: none */
	char *buf;
	ssize_t nread;
	struct old_job *old;
	size_t nold;
};

/* With copies of what r asks for. NULL: out of memory. */
struct jread *jread_new(const struct store_read *r);
void jread_free(struct jread *jr); /* and what was found and not taken out */

void fetched_drop_row(struct fetched *found);

enum fetch_statement {
	FETCH_BEGIN, FETCH_END, FETCH_LIVE, FETCH_DONE, FETCH_SPEC, FETCH_ENV, FETCH_KEY, FETCH_NAME,
	FETCH_OLDEST, FETCH_OLDEST_OF,
	FETCH_LIVE_UP, FETCH_LIVE_DOWN, FETCH_RUNNING_UP, FETCH_RUNNING_DOWN,
	FETCH_DONE_UP, FETCH_DONE_DOWN, FETCH_SEQ, FETCH_SEQ_OF, FETCH_OUTPUT,
	FETCH_OUTPUT_BYTES, FETCH_OLD,
	FETCH_STATEMENTS
};

struct fetch {
	sqlite3 *db;
	sqlite3_stmt *st[FETCH_STATEMENTS];
	int output_fd;
};

int fetch_init(struct fetch *f, sqlite3 *db, int output_fd); /* an SQLite result */
void fetch_fini(struct fetch *f);
/* Does what jr asks for, from one snapshot. */
void fetch_run(struct fetch *f, struct jread *jr);
/* Adds one job to jr->found, without a snapshot of its own. 0, or jr->error. */
int fetch_job(struct fetch *f, struct jread *jr, uint64_t id);

/* The parts of fetch_run in journal_fetch_page.c and journal_fetch_output.c, and what all report
 * errors with: an SQLite result other than "go on" is noted; both return jr->error. */
void fetch_page(struct fetch *f, struct jread *jr);
void fetch_done(struct fetch *f, struct jread *jr);
void fetch_old(struct fetch *f, struct jread *jr);
void fetch_output(struct fetch *f, struct jread *jr);
int fetch_trouble(struct fetch *f, struct jread *jr, int rc);
int fetch_no_memory(struct jread *jr);

#endif
