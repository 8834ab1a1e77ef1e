#ifndef STORE_JOURNAL_BLOB_H
#define STORE_JOURNAL_BLOB_H
/*
 * The blobs of the journal: each content once, with a count of the specs that name it, which is
 * written at the end of a transaction. On the writer's connection and thread.
 */
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#define BLOB_CACHE 64              /* contents whose ids are remembered … */
#define BLOB_CACHED_MAX (32 * 1024) /* … none longer than this */
#define BLOB_COUNTS 128            /* changed counts that are gathered */

struct blob_cached {
	int64_t id; /* 0: empty */
	uint64_t hash;
	size_t len;
	void *bytes;
};

struct blob_count {
	int64_t id;
	int64_t delta;
};

struct blobs {
	sqlite3 *db;
	sqlite3_stmt *find, *insert, *count, *drop;
	struct blob_cached cache[BLOB_CACHE];
	struct blob_count counts[BLOB_COUNTS];
	size_t ncounts;
};

int blobs_init(struct blobs *b, sqlite3 *db); /* an SQLite result, as below */
void blobs_fini(struct blobs *b);
/* Counts one more name of this content; *id is what to store. `hash` may be NULL. */
int blobs_ref(struct blobs *b, const void *bytes, size_t len, int64_t *id, uint64_t *hash);
/* One less; without any it goes with the transaction. 0 and below are nothing. */
int blobs_unref(struct blobs *b, int64_t id);
int blobs_flush(struct blobs *b); /* before COMMIT */
void blobs_reset(struct blobs *b); /* after ROLLBACK: what was remembered may not be so */

#endif
