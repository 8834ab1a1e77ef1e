/* Tables, view and codes of the journal; see schema.h. */
#include "store/schema.h"

#include "wire/message.h"

#include <stdio.h>
#include <string.h>

/*
 * A job is one row of spec, written once, and one row of either live or done. live is narrow:
 * at a start it is read from end to end.
 *
 * Every row that is believed has a sum over all of its columns (journal_record.h); a blob's hash
 * is its sum, and that of a spec's row names the environment by its hash too. Code and view are for
 * people only, and indices are what SQLite's own check looks at.
 */
static const char tables[] =
    /* instance, boot_id; next_id and last_seq, beyond which rows may stand (journal_sums.h) */
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value, sum INTEGER NOT NULL) WITHOUT ROWID;"
    /* what the numbers mean; for the view */
    "CREATE TABLE code (kind TEXT, code INTEGER, name TEXT NOT NULL,"
    "  PRIMARY KEY (kind, code)) WITHOUT ROWID;"
    /* environments and large stdin data by content; refs: rows of spec that name it */
    "CREATE TABLE blob (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL,"
    "  refs INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE INDEX blob_hash ON blob (hash);"
    /* env: NULL: none, 0: was not kept. data: cut out of bytes, at their data_off */
    "CREATE TABLE spec (job INTEGER PRIMARY KEY, uid INTEGER NOT NULL, env INTEGER,"
    "  data INTEGER, key TEXT, name TEXT, tag TEXT, command TEXT NOT NULL,"
    "  checksum INTEGER NOT NULL, bytes BLOB NOT NULL, sum INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX spec_key ON spec (uid, key) WHERE key IS NOT NULL;"
    "CREATE TABLE live (job INTEGER PRIMARY KEY, phase INTEGER NOT NULL,"
    "  waits INTEGER NOT NULL, uid INTEGER NOT NULL, priority INTEGER NOT NULL,"
    "  slots INTEGER NOT NULL, attempt INTEGER NOT NULL, cost INTEGER NOT NULL,"
    "  queue TEXT NOT NULL, submitted_us INTEGER NOT NULL, hold INTEGER NOT NULL,"
    "  started_us INTEGER, launcher INTEGER, due_boot_us INTEGER, due_wall_us INTEGER,"
    "  session BLOB, sum INTEGER NOT NULL);"
    "CREATE INDEX live_running ON live (job) WHERE phase = 1;"
    /* running jobs whose cancel was accepted */
    "CREATE TABLE cancel (job INTEGER PRIMARY KEY, reason INTEGER NOT NULL,"
    "  sum INTEGER NOT NULL);"
    "CREATE TABLE done (seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, uid INTEGER NOT NULL,"
    "  outcome INTEGER NOT NULL, ok INTEGER NOT NULL, exit_code INTEGER, signal INTEGER,"
    "  reason INTEGER NOT NULL, error INTEGER NOT NULL, step INTEGER NOT NULL,"
    "  flags INTEGER NOT NULL, attempt INTEGER NOT NULL, priority INTEGER NOT NULL,"
    "  slots INTEGER NOT NULL, queue TEXT NOT NULL, submitted_us INTEGER NOT NULL,"
    "  started_us INTEGER NOT NULL, finished_us INTEGER NOT NULL, user_us INTEGER NOT NULL,"
    "  system_us INTEGER NOT NULL, max_rss_kib INTEGER NOT NULL,"
    "  stdout_bytes INTEGER NOT NULL, stderr_bytes INTEGER NOT NULL,"
    "  stdout_start INTEGER NOT NULL, stderr_start INTEGER NOT NULL,"
    "  kept_bytes INTEGER NOT NULL, sum INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX done_job ON done (job);"
    "CREATE INDEX done_uid ON done (uid, seq);"
    /* id: 2 * job + (stream - 1); the bytes, or a ring file in the output directory */
    "CREATE TABLE output (id INTEGER PRIMARY KEY, start INTEGER NOT NULL,"
    "  end INTEGER NOT NULL, file TEXT, room INTEGER NOT NULL, bytes BLOB,"
    "  sum INTEGER NOT NULL);"
    /* files of output that nothing names any more, until they are unlinked */
    "CREATE TABLE trash (file TEXT PRIMARY KEY, sum INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE queue (name TEXT PRIMARY KEY, max_running INTEGER NOT NULL,"
    "  paused INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL,"
    "  sum INTEGER NOT NULL) WITHOUT ROWID;"
    /* sums over done up to last_seq, but for rows up to pruned_seq, which are about to go */
    "CREATE TABLE history (uid INTEGER PRIMARY KEY, jobs INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL, pruned_seq INTEGER NOT NULL, sum INTEGER NOT NULL);";

#define STAMP(column) \
	"strftime('%Y-%m-%dT%H:%M:%fZ', " column " / 1000000.0, 'unixepoch')"
#define NAME_OF(kind, column) \
	"(SELECT c.name FROM code c WHERE c.kind = '" kind "' AND c.code = " column ")"

/* The one thing here that people may rely on; docs/DURABILITY.md explains the columns. */
static const char view[] =
    "CREATE VIEW jobs AS"
    " SELECT l.job AS job, " NAME_OF("phase", "l.phase") " AS phase, NULL AS outcome,"
    "  NULL AS ok, NULL AS exit_code, NULL AS signal, NULL AS reason, s.name AS name,"
    "  l.queue AS queue, l.uid AS uid, l.priority AS priority, l.slots AS slots,"
    "  l.attempt AS attempt, NULL AS seq, s.command AS command, s.tag AS tag,"
    "  " STAMP("l.submitted_us") " AS submitted, " STAMP("l.started_us") " AS started,"
    "  NULL AS finished, l.submitted_us AS submitted_us, l.started_us AS started_us,"
    "  NULL AS finished_us, NULL AS user_ms, NULL AS system_ms, NULL AS max_rss_kib,"
    "  NULL AS stdout_bytes, NULL AS stderr_bytes"
    " FROM live l JOIN spec s ON s.job = l.job"
    " UNION ALL"
    " SELECT d.job, 'done', " NAME_OF("outcome", "d.outcome") ","
    "  d.ok, d.exit_code, d.signal, " NAME_OF("reason", "d.reason") ", s.name,"
    "  d.queue, d.uid, d.priority, d.slots,"
    "  d.attempt, d.seq, s.command, s.tag,"
    "  " STAMP("d.submitted_us") ", " STAMP("nullif(d.started_us, 0)") ","
    "  " STAMP("d.finished_us") ", d.submitted_us, nullif(d.started_us, 0),"
    "  d.finished_us, CASE WHEN d.flags & 1 THEN d.user_us / 1000 END,"
    "  CASE WHEN d.flags & 1 THEN d.system_us / 1000 END,"
    "  CASE WHEN d.flags & 1 THEN d.max_rss_kib END,"
    "  d.stdout_bytes, d.stderr_bytes"
    " FROM done d JOIN spec s ON s.job = d.job";

static int
exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int
schema_query_int(sqlite3 *db, const char *sql, sqlite3_int64 absent, sqlite3_int64 *value)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(st);
	*value = rc == SQLITE_ROW && sqlite3_column_type(st, 0) != SQLITE_NULL ?
	    sqlite3_column_int64(st, 0) : absent;
	rc = sqlite3_finalize(st);
	return rc;
}

int
schema_set_version(sqlite3 *db, int version)
{
	char sql[128];

	snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
	    SCHEMA_APPLICATION_ID, version);
	return exec(db, sql);
}

int
schema_version(sqlite3 *db, int *rc)
{
	sqlite3_int64 id = 0, version = 0;

	*rc = schema_query_int(db, "PRAGMA application_id", 0, &id);
	if (*rc == SQLITE_OK)
		*rc = schema_query_int(db, "PRAGMA user_version", 0, &version);
	if (*rc == SQLITE_OK && id != SCHEMA_APPLICATION_ID)
		*rc = SQLITE_NOTADB;
	return *rc == SQLITE_OK ? (int)version : -1;
}

int
schema_tables(sqlite3 *db)
{
	return exec(db, tables);
}

static int
write_code(sqlite3_stmt *st, const char *kind, int code, const char *name)
{
	int rc;

	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, code);
	sqlite3_bind_text(st, 3, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int
write_codes(sqlite3 *db)
{
	static const char sql[] =
	    "INSERT INTO code VALUES (?1, ?2, ?3)"
	    " ON CONFLICT DO UPDATE SET name = excluded.name WHERE name <> excluded.name";
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	for (int i = MSG_PHASE_PENDING; rc == SQLITE_OK && i <= MSG_PHASE_DONE; i++)
		rc = write_code(st, "phase", i, msg_phase_name(i));
	for (int i = MSG_OUTCOME_NONE + 1; rc == SQLITE_OK && i < MSG_OUTCOME_OTHER; i++)
		rc = write_code(st, "outcome", i, msg_outcome_name(i));
	for (int i = MSG_REASON_NONE + 1; rc == SQLITE_OK && i < MSG_REASON_OTHER; i++)
		rc = write_code(st, "reason", i, msg_reason_name(i));
	sqlite3_finalize(st);
	return rc;
}

static int
write_view(sqlite3 *db)
{
	sqlite3_stmt *st;
	const char *there;
	int rc = sqlite3_prepare_v2(db, "SELECT sql FROM sqlite_schema WHERE name = 'jobs'", -1,
	    &st, NULL);
	bool same;

	if (rc != SQLITE_OK)
		return rc;
	there = sqlite3_step(st) == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	same = there != NULL && strcmp(there, view) == 0;
	rc = sqlite3_finalize(st);
	if (rc != SQLITE_OK || same)
		return rc;
	rc = exec(db, "DROP VIEW IF EXISTS jobs");
	return rc == SQLITE_OK ? exec(db, view) : rc;
}

int
schema_names(sqlite3 *db)
{
	int rc = write_codes(db);

	return rc == SQLITE_OK ? write_view(db) : rc;
}

int
schema_create(sqlite3 *db)
{
	int rc = schema_tables(db);

	if (rc == SQLITE_OK)
		rc = schema_names(db);
	return rc == SQLITE_OK ? schema_set_version(db, SCHEMA_VERSION) : rc;
}
