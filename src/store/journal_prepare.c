/*
 * What a start writes into the database of a journal and takes from it: tables where it is new,
 * the modes of the connection, the marks of this boot, and the numbers to go on from; and whether
 * all that is about to be believed can be.
 */
#include "store/journal_opening.h"

#include "store/journal_apply.h"
#include "store/journal_fetch.h"
#include "store/journal_record.h"
#include "store/journal_verify.h"
#include "store/schema.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int
exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* (Where a file system can't do it, SQLite says which mode it stays in, and no error.) */
static int
want_wal(struct opening *op)
{
	sqlite3_stmt *st;
	const char *mode = NULL;
	int rc = sqlite3_prepare_v2(op->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
	bool wal;

	if (rc != SQLITE_OK)
		return rc;
	if (sqlite3_step(st) == SQLITE_ROW)
		mode = (const char *)sqlite3_column_text(st, 0);
	wal = mode != NULL && strcmp(mode, "wal") == 0;
	rc = sqlite3_finalize(st);
	if (rc != SQLITE_OK || wal)
		return rc;
	snprintf(op->reason, sizeof op->reason, "the file system can't hold a write-ahead log");
	return SQLITE_CANTOPEN;
}

/* Modes of the connection; the file is a database of ours, or an empty one. */
static int
set_modes(struct opening *op)
{
	int rc = want_wal(op);

	if (rc == SQLITE_OK)
		rc = exec(op->db, op->o->normal ? "PRAGMA synchronous = NORMAL" :
		    "PRAGMA synchronous = FULL");
	if (rc == SQLITE_OK)
		rc = exec(op->db, "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;"
		    " PRAGMA cache_size = -4096; PRAGMA foreign_keys = OFF");
	return rc;
}

static int
put_meta(sqlite3 *db, const char *name, uint64_t value, const char *text)
{
	struct record r;
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3)", -1, &st,
	    NULL);

	if (rc != SQLITE_OK)
		return rc;
	record_begin(&r, st);
	record_text(&r, name);
	if (text != NULL)
		record_text(&r, text);
	else
		record_int(&r, (int64_t)value);
	record_finish(&r);
	sqlite3_step(st);
	return sqlite3_finalize(st);
}

/* Writes the row at the statement, of RECORD_LIVE_COLUMNS, without what a boot has ended. */
static int
forget_boot(sqlite3_stmt *from, sqlite3_stmt *to)
{
	bool runs = sqlite3_column_int(from, RECORD_LIVE_PHASE) == ROW_RUNNING;
	struct record r;

	record_begin(&r, to);
	for (int i = 0; i < RECORD_LIVE_NCOLUMNS; i++) {
		if (i == RECORD_LIVE_DUE_BOOT)
			record_int_but_0(&r, 0);
		else if (i == RECORD_LIVE_LAUNCHER && runs)
			record_int(&r, 0);
		else
			record_column(&r, from, i);
	}
	record_finish(&r);
	sqlite3_step(to);
	return sqlite3_reset(to);
}

static int
forget_boots(sqlite3 *db)
{
	static const char update[] = "UPDATE live SET launcher = ?13, due_boot_us = ?14, sum = ?17"
	    " WHERE job = ?1";
	sqlite3_stmt *from, *to;
	int rc = sqlite3_prepare_v2(db, "SELECT " RECORD_LIVE_COLUMNS " FROM live l"
	    " WHERE l.due_boot_us IS NOT NULL OR l.phase = 1", -1, &from, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_prepare_v2(db, update, -1, &to, NULL);
	while (rc == SQLITE_OK && sqlite3_step(from) == SQLITE_ROW)
		rc = forget_boot(from, to);
	if (rc == SQLITE_OK)
		rc = sqlite3_reset(from);
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	return rc;
}

/* What a reboot means for what is stored: times of the boot before tell nothing any more. */
static int
note_boot(struct opening *op)
{
	sqlite3_stmt *st;
	const char *boot = NULL;
	int rc = sqlite3_prepare_v2(op->db, "SELECT value FROM meta WHERE name = 'boot_id'", -1,
	    &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	if (sqlite3_step(st) == SQLITE_ROW)
		boot = (const char *)sqlite3_column_text(st, 0);
	op->rebooted = boot == NULL || strcmp(boot, op->o->boot_id) != 0;
	rc = sqlite3_finalize(st);
	if (rc != SQLITE_OK || !op->rebooted)
		return rc;
	rc = forget_boots(op->db);
	return rc == SQLITE_OK ? put_meta(op->db, "boot_id", 0, op->o->boot_id) : rc;
}

/* A number must never be given out twice: without these nothing can go on, and what is too far beyond
 * them was never ours. */
static int
read_numbers(struct opening *op)
{
	static const char *const sql[] = {
		"SELECT value FROM meta WHERE name = 'instance'",
		"SELECT max(job) FROM spec",
		"SELECT max(seq) FROM done",
	};
	sqlite3_int64 n[3], next_id, last_seq;
	int rc = sums_gather(op->db, &op->sums);

	for (int i = 0; rc == SQLITE_OK && i < 3; i++)
		rc = schema_query_int(op->db, sql[i], i < 1 ? -1 : 0, &n[i]);
	if (rc != SQLITE_OK)
		return rc;
	op->instance = (uint64_t)n[0];
	next_id = (sqlite3_int64)op->sums.next_id;
	last_seq = (sqlite3_int64)op->sums.last_seq;
	if (n[0] != 0 && n[0] != -1 && next_id > 0 && last_seq >= 0 && n[1] < next_id &&
	    n[2] <= last_seq)
		return SQLITE_OK;
	snprintf(op->reason, sizeof op->reason, "its numbers disagree: instance=%llx next_id=%lld "
	    "last_seq=%lld newest_job=%lld newest_seq=%lld", (unsigned long long)n[0],
	    (long long)next_id, (long long)last_seq, (long long)n[1], (long long)n[2]);
	return SQLITE_CORRUPT;
}

int
opening_create(struct opening *op)
{
	uint64_t instance;
	int rc;

	do
		if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
			return SQLITE_IOERR;
	while (instance == 0 || instance == UINT64_MAX);
	rc = set_modes(op);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = schema_create(op->db);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "instance", instance, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "next_id", 1, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "last_seq", 0, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "boot_id", 0, op->o->boot_id);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "COMMIT");
	return rc == SQLITE_OK ? read_numbers(op) : rc;
}

/* Do its tables look as they should? SQLITE_ERROR where a table or a column is missing. */
static int
try_statements(struct opening *op)
{
	struct apply apply;
	struct fetch fetch = { .db = NULL };
	int rc = apply_init(&apply, op->db, false);

	if (rc == SQLITE_OK)
		rc = fetch_init(&fetch, op->db, -1);
	if (rc != SQLITE_OK)
		snprintf(op->reason, sizeof op->reason, "%s", sqlite3_errmsg(op->db));
	apply_fini(&apply);
	fetch_fini(&fetch);
	return rc;
}

static void
on_damaged(void *arg, const char *table, const char *key)
{
	struct opening *op = arg;

	if (op->reason[0] == '\0')
		snprintf(op->reason, sizeof op->reason, "a row of %s %.100s is damaged", table,
		    key != NULL ? key : "");
}

/* What a start believes has to be right in every row: a wrong job might run. */
static int
verify(struct opening *op)
{
	int rc = verify_start(op->db, on_damaged, op);

	return rc == SQLITE_OK && op->reason[0] != '\0' ? SQLITE_CORRUPT : rc;
}

/* The state of a database of this version. */
int
opening_prepare(struct opening *op)
{
	int rc = try_statements(op);

	if (rc == SQLITE_OK)
		rc = verify(op);
	if (rc == SQLITE_OK)
		rc = set_modes(op);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = schema_names(op->db);
	if (rc == SQLITE_OK)
		rc = note_boot(op);
	if (rc == SQLITE_OK)
		rc = read_numbers(op);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "COMMIT");
	return rc;
}
