/* Rows as they stand in the journal; see journal_fetch.h. */
#include "store/journal_fetch.h"

#include "store/journal_record.h"
#include "store/read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC_COLUMNS ", s.env, s.data, s.checksum, s.bytes, s.sum, s.uid"
#define SCAN_LIVE "SELECT job, phase, uid, queue, submitted_us, 0 FROM live "
#define SCAN_DONE "SELECT job, 2, uid, queue, submitted_us, ok FROM done "
#define SCAN_SEQ "SELECT job, 2, uid, queue, submitted_us, ok, seq FROM done "

static const char *const statements[FETCH_STATEMENTS] = {
	[FETCH_BEGIN] = "BEGIN",
	[FETCH_END] = "COMMIT",
	[FETCH_LIVE] = "SELECT " RECORD_LIVE_COLUMNS SPEC_COLUMNS
	    " FROM live l LEFT JOIN spec s ON s.job = l.job WHERE l.job = ?1",
	[FETCH_DONE] = "SELECT " RECORD_DONE_COLUMNS SPEC_COLUMNS
	    " FROM done d LEFT JOIN spec s ON s.job = d.job WHERE d.job = ?1",
	[FETCH_SPEC] = "SELECT 1 FROM spec WHERE job = ?1",
	[FETCH_ENV] = "SELECT hash, bytes FROM blob WHERE id = ?1",
	[FETCH_KEY] = "SELECT job FROM spec WHERE uid = ?1 AND key = ?2",
	[FETCH_NAME] = "SELECT 1 FROM spec WHERE job = ?1 AND name = ?2",
	[FETCH_OLDEST] = "SELECT min(job) FROM spec",
	/* (Others' jobs are passed over, so many at most.) */
	[FETCH_OLDEST_OF] = "SELECT job FROM"
	    " (SELECT job, uid FROM spec ORDER BY job LIMIT 10000) WHERE uid = ?1 LIMIT 1",
	[FETCH_LIVE_UP] = SCAN_LIVE "WHERE job >= ?1 ORDER BY job",
	[FETCH_LIVE_DOWN] = SCAN_LIVE "WHERE job <= ?1 ORDER BY job DESC",
	[FETCH_RUNNING_UP] = SCAN_LIVE "INDEXED BY live_running"
	    " WHERE phase = 1 AND job >= ?1 ORDER BY job",
	[FETCH_RUNNING_DOWN] = SCAN_LIVE "INDEXED BY live_running"
	    " WHERE phase = 1 AND job <= ?1 ORDER BY job DESC",
	[FETCH_DONE_UP] = SCAN_DONE "WHERE job >= ?1 ORDER BY job",
	[FETCH_DONE_DOWN] = SCAN_DONE "WHERE job <= ?1 ORDER BY job DESC",
	[FETCH_SEQ] = SCAN_SEQ "WHERE seq >= ?1 ORDER BY seq",
	[FETCH_SEQ_OF] = SCAN_SEQ "INDEXED BY done_uid"
	    " WHERE uid = ?2 AND seq >= ?1 ORDER BY seq",
	[FETCH_OUTPUT] = "SELECT id, start, end, file, room, bytes, sum FROM output"
	    " WHERE id = ?1",
	[FETCH_OUTPUT_BYTES] = "SELECT stdout_bytes, stderr_bytes FROM done WHERE job = ?1",
	[FETCH_OLD] = "SELECT " RECORD_DONE_COLUMNS " FROM done d INDEXED BY done_uid"
	    " WHERE d.uid = ?2 AND d.seq >= ?1 ORDER BY d.seq LIMIT ?3",
};

int
fetch_init(struct fetch *f, sqlite3 *db, int output_fd)
{
	int rc = SQLITE_OK;

	memset(f, 0, sizeof *f);
	f->db = db;
	f->output_fd = output_fd;
	for (int i = 0; rc == SQLITE_OK && i < FETCH_STATEMENTS; i++)
		rc = sqlite3_prepare_v3(db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
		    &f->st[i], NULL);
	return rc;
}

void
fetch_fini(struct fetch *f)
{
	for (int i = 0; i < FETCH_STATEMENTS; i++)
		sqlite3_finalize(f->st[i]);
	memset(f, 0, sizeof *f);
}

/* ---- small things ---- */

static char *
copy(const void *bytes, size_t len, bool *ok)
{
	char *p = malloc(len != 0 ? len : 1);

	if (p == NULL)
		*ok = false;
	else if (len != 0)
		memcpy(p, bytes, len);
	return p;
}


/* Notes an SQLite result other than "go on"; returns jr->error. */
int
fetch_trouble(struct fetch *f, struct jread *jr, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return jr->error;
	case SQLITE_NOMEM:
		return jr->error = -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_PROTOCOL:
		return jr->error = -EIO; /* somebody is in the way; it may go well next time */
	case SQLITE_CORRUPT: /* there; what stands elsewhere may be all right */
		snprintf(jr->damage, sizeof jr->damage, "reading failed: %s",
		    sqlite3_errmsg(f->db));
		return jr->error = -EIO;
	}
	if (rc == SQLITE_IOERR_NOMEM)
		return jr->error = -ENOMEM;
	snprintf(jr->failed, sizeof jr->failed, "reading the journal: %s", sqlite3_errmsg(f->db));
	return jr->error = -EIO;
}

int
fetch_no_memory(struct jread *jr)
{
	return jr->error = -ENOMEM;
}

/* The array v of n elements with room for one more. NULL: out of memory, v stays. */
static void *
with_room(void *v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap != 0 ? *cap * 2 : 8;

	if (n < *cap)
		return v;
	v = realloc(v, want * size);
	if (v != NULL)
		*cap = want;
	return v;
}

/* ---- one row ---- */

/* Bytes of a blob, checked; *bytes NULL: damaged (or jr->error). */
static int
blob(struct fetch *f, struct jread *jr, int64_t id, char **bytes, size_t *len, uint64_t *hash)
{
	sqlite3_stmt *st = f->st[FETCH_ENV];
	bool ok = true;
	int rc;

	*bytes = NULL;
	sqlite3_bind_int64(st, 1, id);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const void *there = sqlite3_column_blob(st, 1);

		*len = (size_t)sqlite3_column_bytes(st, 1);
		*hash = (uint64_t)sqlite3_column_int64(st, 0);
		if (record_sum(there, *len) == *hash)
			*bytes = copy(there, *len, &ok);
	}
	sqlite3_reset(st);
	return ok ? fetch_trouble(f, jr, rc) : fetch_no_memory(jr);
}

/* The environment's place in jr->envs + 1; 0: damaged (or jr->error). */
static size_t
env_place(struct fetch *f, struct jread *jr, int64_t id)
{
	struct fetched_env *envs;
	uint64_t hash;
	char *bytes;
	size_t len;

	for (size_t i = jr->nenvs; i > 0; i--)
		if (jr->envs[i - 1].id == id)
			return i;
	if (blob(f, jr, id, &bytes, &len, &hash) != 0 || bytes == NULL)
		return 0;
	envs = with_room(jr->envs, jr->nenvs, &jr->envs_cap, sizeof *envs);
	if (envs == NULL) {
		free(bytes);
		fetch_no_memory(jr);
		return 0;
	}
	jr->envs = envs;
	envs[jr->nenvs++] = (struct fetched_env){ id, hash, bytes, len };
	jr->bytes += len;
	return jr->nenvs;
}

/* The record in one piece, or NULL: it does not hold together (or jr->error). */
static struct spec *
whole_spec(struct fetch *f, struct jread *jr, const char *bytes, size_t len, int64_t data)
{
	struct spec head, *s;
	char *apart = NULL;
	uint64_t hash;
	size_t n = 0;

	if (len < sizeof head)
		return NULL;
	memcpy(&head, bytes, sizeof head);
	if (data != 0 && (blob(f, jr, data, &apart, &n, &hash) != 0 || apart == NULL))
		return NULL;
	s = NULL;
	if (head.size == len + n && (n == 0 || (head.data_off <= len && head.data_len == n)) &&
	    (s = malloc(head.size)) == NULL)
		fetch_no_memory(jr);
	if (s != NULL) {
		size_t front = n != 0 ? head.data_off : len;

		memcpy(s, bytes, front);
		if (n != 0)
			memcpy((char *)s + front, apart, n);
		memcpy((char *)s + front + n, bytes + front, len - front);
	}
	free(apart);
	return s;
}

/* The spec's columns begin at `at`. Row and spec are found->row's. */
static int
read_spec(struct fetch *f, struct jread *jr, sqlite3_stmt *st, int at, struct fetched *found)
{
	int64_t env = sqlite3_column_int64(st, at), data = sqlite3_column_int64(st, at + 1);
	uint64_t sum = (uint64_t)sqlite3_column_int64(st, at + 2), env_hash = 0;
	struct row *row = found->row;

	if (sqlite3_column_type(st, at) == SQLITE_NULL)
		env = RECORD_NO_ENV;
	if (env > 0) {
		if ((found->env = env_place(f, jr, env)) == 0)
			return jr->error != 0 ? jr->error : (found->error = -EIO);
		env_hash = jr->envs[found->env - 1].hash;
	}
	if ((uint32_t)sqlite3_column_int64(st, at + 5) != row->uid || record_spec_sum(row->id,
	    row->uid, env, env_hash, data, sum) != sqlite3_column_int64(st, at + 4))
		return found->error = -EIO;
	row->spec = whole_spec(f, jr, sqlite3_column_blob(st, at + 3),
	    (size_t)sqlite3_column_bytes(st, at + 3), data);
	if (jr->error != 0)
		return jr->error;
	if (row->spec == NULL || record_sum(row->spec, row->spec->size) != sum)
		return found->error = -EIO;
	jr->bytes += read_row_bytes(row);
	row->env_dropped = env == 0;
	return 0;
}

static void
read_row(struct fetch *f, struct jread *jr, sqlite3_stmt *st, bool done, struct fetched *found)
{
	const char *queue;
	bool ok = true;
	int rc;

	found->row = calloc(1, sizeof *found->row);
	if (found->row == NULL) {
		fetch_no_memory(jr);
		return;
	}
	rc = done ? record_read_done(st, found->row, &queue) :
	    record_read_live(st, found->row, &queue);
	if (rc == 0 && found->row->id != found->id)
		rc = -EIO; /* another job's */
	if (rc == 0)
		found->queue = copy(queue, strlen(queue) + 1, &ok);
	found->where = rc == 0 ? "spec" : done ? "done" : "live";
	if (rc == -EIO)
		found->error = rc;
	else if (rc != 0 || !ok)
		fetch_no_memory(jr);
	else if (read_spec(f, jr, st, done ? RECORD_DONE_NCOLUMNS + 1 :
	    RECORD_LIVE_NCOLUMNS + 1, found) == 0)
		return;
	fetched_drop_row(found); /* damaged, or no memory */
}

/* Neither live nor done is the job to be found by its id. Then it has no spec either, or else a
 * table or an index has lost it. */
static void
look_for_rest(struct fetch *f, struct jread *jr, struct fetched *found)
{
	sqlite3_stmt *st = f->st[FETCH_SPEC];
	int rc;

	sqlite3_bind_int64(st, 1, (sqlite3_int64)found->id);
	rc = sqlite3_step(st);
	sqlite3_reset(st);
	if (fetch_trouble(f, jr, rc) != 0 || rc != SQLITE_ROW)
		return;
	found->error = -EIO;
	found->where = "done";
}

int
fetch_job(struct fetch *f, struct jread *jr, uint64_t id)
{
	static const enum fetch_statement where[] = { FETCH_LIVE, FETCH_DONE };
	struct fetched *found = with_room(jr->found, jr->nfound, &jr->found_cap, sizeof *found);

	if (found == NULL)
		return fetch_no_memory(jr);
	jr->found = found;
	found += jr->nfound++;
	*found = (struct fetched){ .id = id };
	for (int i = 0; i < 2 && found->row == NULL && found->error == 0; i++) {
		sqlite3_stmt *st = f->st[where[i]];
		int rc;

		sqlite3_bind_int64(st, 1, (sqlite3_int64)id);
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			read_row(f, jr, st, where[i] == FETCH_DONE, found);
		sqlite3_reset(st);
		if (fetch_trouble(f, jr, rc) != 0)
			return jr->error;
	}
	found = &jr->found[jr->nfound - 1];
	if (found->row == NULL && found->error == 0)
		look_for_rest(f, jr, found);
	return jr->error;
}

/* ---- by id and by key ---- */

static void
read_oldest(struct fetch *f, struct jread *jr)
{
	sqlite3_stmt *st = f->st[jr->filter.by_uid ? FETCH_OLDEST_OF : FETCH_OLDEST];
	int rc;

	if (jr->filter.by_uid)
		sqlite3_bind_int64(st, 1, jr->filter.uid);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		jr->oldest_job = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	fetch_trouble(f, jr, rc);
}

static void
read_jobs(struct fetch *f, struct jread *jr)
{
	bool all = true;

	for (size_t i = 0; i < jr->nids; i++) {
		if (fetch_job(f, jr, jr->ids[i]) != 0)
			return;
		all = all && jr->found[i].row != NULL;
	}
	if (!all || jr->want_oldest)
		read_oldest(f, jr);
}

static void
read_keys(struct fetch *f, struct jread *jr)
{
	sqlite3_stmt *st = f->st[FETCH_KEY];

	for (size_t i = 0; i < jr->nkeys; i++) {
		uint64_t id = 0;
		int rc;

		sqlite3_bind_int64(st, 1, jr->filter.uid);
		sqlite3_bind_text(st, 2, jr->keys[i], -1, SQLITE_STATIC);
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			id = (uint64_t)sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
		sqlite3_clear_bindings(st);
		if (fetch_trouble(f, jr, rc) != 0 || fetch_job(f, jr, id) != 0)
			return;
	}
}

/* ---- */

void
fetch_run(struct fetch *f, struct jread *jr)
{
	int rc = sqlite3_step(f->st[FETCH_BEGIN]);

	sqlite3_reset(f->st[FETCH_BEGIN]);
	if (fetch_trouble(f, jr, rc) != 0)
		return;
	switch (jr->kind) {
	case JREAD_JOBS:
		read_jobs(f, jr);
		break;
	case JREAD_KEYS:
		read_keys(f, jr);
		break;
	case JREAD_PAGE:
		fetch_page(f, jr);
		break;
	case JREAD_DONE:
		fetch_done(f, jr);
		break;
	case JREAD_OUTPUT:
		fetch_output(f, jr);
		break;
	case JREAD_OLD:
		fetch_old(f, jr);
		break;
	}
	if (sqlite3_get_autocommit(f->db))
		return; /* an error has ended it */
	rc = sqlite3_step(f->st[FETCH_END]);
	sqlite3_reset(f->st[FETCH_END]);
	fetch_trouble(f, jr, rc);
}
