/* Contents kept once; see journal_blob.h. */
#include "store/journal_blob.h"

#include "store/journal_record.h"

#include <stdlib.h>
#include <string.h>

int
blobs_init(struct blobs *b, sqlite3 *db)
{
	static const char *const sql[] = {
		"SELECT id, bytes FROM blob WHERE hash = ?1",
		"INSERT INTO blob (hash, refs, bytes) VALUES (?1, 0, ?2)",
		"UPDATE blob SET refs = refs + ?2 WHERE id = ?1",
		"DELETE FROM blob WHERE id = ?1 AND refs <= 0",
	};
	sqlite3_stmt **const st[] = { &b->find, &b->insert, &b->count, &b->drop };
	int rc = SQLITE_OK;

	memset(b, 0, sizeof *b);
	b->db = db;
	for (size_t i = 0; rc == SQLITE_OK && i < 4; i++)
		rc = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, st[i], NULL);
	return rc;
}

void
blobs_fini(struct blobs *b)
{
	blobs_reset(b);
	sqlite3_finalize(b->find);
	sqlite3_finalize(b->insert);
	sqlite3_finalize(b->count);
	sqlite3_finalize(b->drop);
}

static int
run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- what is remembered ---- */

static void
forget(struct blob_cached *c)
{
	free(c->bytes);
	memset(c, 0, sizeof *c);
}

static void
remember(struct blob_cached *c, uint64_t hash, const void *bytes, size_t len, int64_t id)
{
	void *copy;

	if (len == 0 || len > BLOB_CACHED_MAX || (copy = malloc(len)) == NULL)
		return;
	forget(c);
	memcpy(copy, bytes, len);
	*c = (struct blob_cached){ id, hash, len, copy };
}

void
blobs_reset(struct blobs *b)
{
	for (size_t i = 0; i < BLOB_CACHE; i++)
		forget(&b->cache[i]);
	b->ncounts = 0;
}

/* ---- counts ---- */

static int
flush_one(struct blobs *b, const struct blob_count *c)
{
	int rc;

	sqlite3_bind_int64(b->count, 1, c->id);
	sqlite3_bind_int64(b->count, 2, c->delta);
	rc = run(b->count);
	if (rc != SQLITE_OK || c->delta > 0)
		return rc;
	sqlite3_bind_int64(b->drop, 1, c->id);
	rc = run(b->drop);
	if (rc == SQLITE_OK && sqlite3_changes(b->db) > 0)
		for (size_t i = 0; i < BLOB_CACHE; i++)
			if (b->cache[i].id == c->id)
				forget(&b->cache[i]);
	return rc;
}

int
blobs_flush(struct blobs *b)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < b->ncounts; i++)
		if (b->counts[i].delta != 0)
			rc = flush_one(b, &b->counts[i]);
	b->ncounts = 0;
	return rc;
}

static int
count(struct blobs *b, int64_t id, int64_t delta)
{
	int rc;

	for (size_t i = b->ncounts; i > 0; i--)
		if (b->counts[i - 1].id == id) {
			b->counts[i - 1].delta += delta;
			return SQLITE_OK;
		}
	if (b->ncounts == BLOB_COUNTS && (rc = blobs_flush(b)) != SQLITE_OK)
		return rc;
	b->counts[b->ncounts++] = (struct blob_count){ id, delta };
	return SQLITE_OK;
}

/* ---- */

/* Looks for the content; *id 0: it is not there. */
static int
look(struct blobs *b, uint64_t hash, const void *bytes, size_t len, int64_t *id)
{
	int rc;

	*id = 0;
	sqlite3_bind_int64(b->find, 1, (sqlite3_int64)hash);
	while ((rc = sqlite3_step(b->find)) == SQLITE_ROW) {
		if ((size_t)sqlite3_column_bytes(b->find, 1) != len)
			continue;
		if (len > 0 && memcmp(sqlite3_column_blob(b->find, 1), bytes, len) != 0)
			continue;
		*id = sqlite3_column_int64(b->find, 0);
		rc = SQLITE_DONE;
		break;
	}
	sqlite3_reset(b->find);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
blobs_ref(struct blobs *b, const void *bytes, size_t len, int64_t *id, uint64_t *hash_out)
{
	uint64_t hash = record_sum(bytes, len);
	struct blob_cached *c = &b->cache[hash % BLOB_CACHE];
	int rc;

	if (hash_out != NULL)
		*hash_out = hash;
	if (c->id != 0 && c->hash == hash && c->len == len && memcmp(c->bytes, bytes, len) == 0) {
		*id = c->id;
		return count(b, *id, 1);
	}
	rc = look(b, hash, bytes, len, id);
	if (rc == SQLITE_OK && *id == 0) {
		sqlite3_bind_int64(b->insert, 1, (sqlite3_int64)hash);
		if (len > 0)
			sqlite3_bind_blob(b->insert, 2, bytes, (int)len, SQLITE_STATIC);
		else
			sqlite3_bind_zeroblob(b->insert, 2, 0);
		rc = run(b->insert);
		*id = sqlite3_last_insert_rowid(b->db);
	}
	if (rc == SQLITE_OK)
		rc = count(b, *id, 1);
	if (rc == SQLITE_OK)
		remember(c, hash, bytes, len, *id);
	return rc;
}

int
blobs_unref(struct blobs *b, int64_t id)
{
	return id > 0 ? count(b, id, -1) : SQLITE_OK;
}
