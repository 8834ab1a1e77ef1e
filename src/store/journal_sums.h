#ifndef STORE_JOURNAL_SUMS_H
#define STORE_JOURNAL_SUMS_H
/*
 * The numbers that go on across starts (meta: next_id, last_seq) and the sums over history.
 *
 * They are not written with every transaction: what stands in the tables beyond last_seq and
 * next_id speaks for itself, and a start gathers it; where the disk is full, a start need not
 * write. They are written, all at once, when something leaves the tables, when SUMS_BEYOND ids or
 * completions stand beyond them, and at a clean end. On the writer's connection and thread.
 */
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUMS_BEYOND 1024
#define SUMS_USERS 16 /* whose sums are gathered at a time */

struct sums_history { /* of one user, what is to be added */
	uint32_t uid;
	int64_t jobs, bytes;
	uint64_t pruned_seq;
};

struct sums_state {
	uint64_t next_id, last_seq;               /* as the tables have them */
	uint64_t stored_next_id, stored_last_seq; /* as meta has them */
	struct sums_history histories[SUMS_USERS]; /* of completions beyond stored_last_seq */
	size_t nhistories;
};

struct sums {
	sqlite3 *db;
	sqlite3_stmt *read, *history, *meta;
	struct sums_state now, before; /* before: the transaction */
	bool due;              /* to be written with this transaction */
	const char *disagrees; /* with SQLITE_CORRUPT: what was found otherwise */
};

int sums_init(struct sums *s, sqlite3 *db); /* an SQLite result, as below */
void sums_fini(struct sums *s);
void sums_begin(struct sums *s);
int sums_add(struct sums *s, uint32_t uid, int64_t jobs, int64_t bytes, uint64_t pruned_seq);
int sums_finish(struct sums *s); /* before COMMIT: writes them where they are due */
void sums_reset(struct sums *s); /* after ROLLBACK */

/* At a start: what the writer goes on from, with what stands in the tables beyond what is written.
 * What is too far beyond is passed over: it was never ours. For a transaction: where more than
 * SUMS_USERS users have something there, it is written. */
int sums_gather(sqlite3 *db, struct sums_state *now);

#endif
