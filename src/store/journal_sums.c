/* Numbers and sums of the journal; see journal_sums.h. */
#include "store/journal_sums.h"

#include "store/journal_record.h"
#include "store/schema.h"

#include <string.h>

int
sums_init(struct sums *s, sqlite3 *db)
{
	static const char *const sql[] = {
		"SELECT uid, jobs, bytes, pruned_seq, sum FROM history WHERE uid = ?1",
		"INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5)",
		"INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3)",
	};
	sqlite3_stmt **const st[] = { &s->read, &s->history, &s->meta };
	int rc = SQLITE_OK;

	memset(s, 0, sizeof *s);
	s->db = db;
	for (size_t i = 0; rc == SQLITE_OK && i < 3; i++)
		rc = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, st[i], NULL);
	return rc;
}

void
sums_fini(struct sums *s)
{
	sqlite3_finalize(s->read);
	sqlite3_finalize(s->history);
	sqlite3_finalize(s->meta);
}

void
sums_begin(struct sums *s)
{
	s->due = false;
	s->disagrees = NULL;
	s->before = s->now;
}

void
sums_reset(struct sums *s)
{
	s->now = s->before;
}

static int
run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- history ---- */

/* Adds what is stored to what is gathered. */
static int
add_stored(struct sums *s, struct sums_history *h)
{
	int rc;

	sqlite3_bind_int64(s->read, 1, h->uid);
	rc = sqlite3_step(s->read);
	if (rc == SQLITE_ROW && !record_whole(s->read, 0, RECORD_HISTORY_NCOLUMNS)) {
		sqlite3_reset(s->read);
		s->disagrees = "the sums of a user's history are damaged";
		return SQLITE_CORRUPT;
	}
	if (rc == SQLITE_ROW) {
		uint64_t pruned_seq = (uint64_t)sqlite3_column_int64(s->read, 3);

		h->jobs += sqlite3_column_int64(s->read, 1);
		h->bytes += sqlite3_column_int64(s->read, 2);
		if (h->pruned_seq < pruned_seq)
			h->pruned_seq = pruned_seq;
	}
	sqlite3_reset(s->read);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int
write_histories(struct sums *s)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < s->now.nhistories; i++) {
		struct sums_history *h = &s->now.histories[i];
		struct record r;

		if ((rc = add_stored(s, h)) != SQLITE_OK)
			break;
		record_begin(&r, s->history);
		record_int(&r, h->uid);
		record_int(&r, h->jobs);
		record_int(&r, h->bytes);
		record_int(&r, (int64_t)h->pruned_seq);
		record_finish(&r);
		rc = run(r.st);
	}
	s->now.nhistories = 0;
	return rc;
}

int
sums_add(struct sums *s, uint32_t uid, int64_t jobs, int64_t bytes, uint64_t pruned_seq)
{
	struct sums_history *h = s->now.histories;
	size_t i = 0;
	int rc;

	while (i < s->now.nhistories && h[i].uid != uid)
		i++;
	if (i == SUMS_USERS) {
		s->due = true; /* the rest and last_seq, too, for they belong together */
		if ((rc = write_histories(s)) != SQLITE_OK)
			return rc;
		i = 0;
	}
	if (i == s->now.nhistories) {
		h[i] = (struct sums_history){ .uid = uid };
		s->now.nhistories++;
	}
	h[i].jobs += jobs;
	h[i].bytes += bytes;
	if (h[i].pruned_seq < pruned_seq)
		h[i].pruned_seq = pruned_seq;
	return SQLITE_OK;
}

/* ---- all of it ---- */

static int
write_number(struct sums *s, const char *name, uint64_t value, uint64_t *stored)
{
	struct record r;

	if (value == *stored)
		return SQLITE_OK;
	*stored = value;
	record_begin(&r, s->meta);
	record_text(&r, name);
	record_int(&r, (int64_t)value);
	record_finish(&r);
	return run(r.st);
}

static int
write_all(struct sums *s)
{
	struct sums_state *now = &s->now;
	int rc = write_histories(s);

	if (rc == SQLITE_OK)
		rc = write_number(s, "next_id", now->next_id, &now->stored_next_id);
	if (rc == SQLITE_OK)
		rc = write_number(s, "last_seq", now->last_seq, &now->stored_last_seq);
	return rc;
}

int
sums_finish(struct sums *s)
{
	const struct sums_state *now = &s->now;

	return s->due || now->next_id >= now->stored_next_id + SUMS_BEYOND ||
	    now->last_seq >= now->stored_last_seq + SUMS_BEYOND ? write_all(s) : SQLITE_OK;
}

/* ---- at a start ---- */

/* Adds the completions beyond last_seq. (Of a damaged one nothing is believed but that it is.) */
static int
add_beyond(struct sums *s)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(s->db, "SELECT " RECORD_DONE_COLUMNS " FROM done d"
	    " WHERE d.seq > ?1 ORDER BY d.seq", -1, &st, NULL), error = SQLITE_OK;

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)s->now.stored_last_seq);
	while (error == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		bool whole = record_whole(st, 0, RECORD_DONE_NCOLUMNS);

		s->now.last_seq = (uint64_t)sqlite3_column_int64(st, RECORD_DONE_SEQ);
		error = sums_add(s, (uint32_t)sqlite3_column_int64(st, RECORD_DONE_UID), 1,
		    whole ? sqlite3_column_int64(st, RECORD_DONE_KEPT) : 0, 0);
	}
	rc = sqlite3_finalize(st);
	return error != SQLITE_OK ? error : rc;
}

int
sums_gather(sqlite3 *db, struct sums_state *now)
{
	static const char *const sql[] = {
		"SELECT value FROM meta WHERE name = 'next_id'",
		"SELECT value FROM meta WHERE name = 'last_seq'",
		"SELECT max(job) FROM spec",
		"SELECT max(seq) FROM done",
	};
	struct sums s;
	sqlite3_int64 n[4];
	int rc = sums_init(&s, db);

	for (int i = 0; rc == SQLITE_OK && i < 4; i++)
		rc = schema_query_int(db, sql[i], i < 2 ? -1 : 0, &n[i]);
	if (rc == SQLITE_OK) {
		s.now.next_id = s.now.stored_next_id = (uint64_t)n[0];
		s.now.last_seq = s.now.stored_last_seq = (uint64_t)n[1];
	}
	if (rc == SQLITE_OK && n[0] > 0 && n[1] >= 0 && n[2] < n[0] + SUMS_BEYOND &&
	    n[3] < n[1] + SUMS_BEYOND) {
		if (n[2] >= n[0])
			s.now.next_id = (uint64_t)n[2] + 1;
		rc = add_beyond(&s);
		if (rc == SQLITE_OK && s.due)
			rc = write_all(&s);
	}
	*now = s.now;
	sums_fini(&s);
	return rc;
}
