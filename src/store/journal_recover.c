/* What a start asks of the journal: settings, queues, all that was live, and single rows. The sums
 * of all but the single rows were right a moment ago, when it was opened. */
#include "store/journal_internal.h"

#include "core/logger.h"
#include "store/journal_record.h"

#include <errno.h>
#include <string.h>

static int
fail(struct journal *j, sqlite3 *db)
{
	slot_log(j->logger, SLOT_LOG_ERROR, "reading the journal: %s", sqlite3_errmsg(db));
	return (sqlite3_errcode(db) & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EIO;
}

static int
recover_settings(sqlite3 *db, const struct store_recovery *rec)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, "SELECT name, value FROM setting", -1, &st, NULL);

	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		if (rec->on_setting != NULL)
			rec->on_setting(rec->arg, (const char *)sqlite3_column_text(st, 0),
			    sqlite3_column_int64(st, 1));
	if (rc == SQLITE_OK)
		rc = sqlite3_finalize(st);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "SELECT name, max_running, paused FROM queue", -1,
		    &st, NULL);
	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		if (rec->on_queue != NULL)
			rec->on_queue(rec->arg, (const char *)sqlite3_column_text(st, 0),
			    sqlite3_column_int64(st, 1), sqlite3_column_int(st, 2) != 0);
	return rc == SQLITE_OK ? sqlite3_finalize(st) : rc;
}

/* Most jobs are plain pending ones, of which little has to be known: the rest of the columns is read
 * for the others alone. */
#define LIVE_BRIEF "l.job, l.phase, l.waits, l.hold, l.uid, l.priority, l.cost, l.queue"
#define LIVE_REST "l.slots, l.attempt, l.submitted_us, l.started_us, l.launcher, l.due_boot_us," \
	" l.due_wall_us, l.session"

enum { JOB, PHASE, WAITS, HOLD, UID, PRIORITY, COST, QUEUE };
enum { SLOTS, ATTEMPT, SUBMITTED, STARTED, LAUNCHER, DUE_BOOT, DUE_WALL, SESSION };

static void
read_brief(sqlite3_stmt *st, struct store_live *l, int *waits)
{
	memset(l, 0, sizeof *l);
	*waits = sqlite3_column_int(st, WAITS);
	l->id = (uint64_t)sqlite3_column_int64(st, JOB);
	l->phase = (uint8_t)sqlite3_column_int(st, PHASE);
	l->hold = sqlite3_column_int(st, HOLD) != 0;
	l->uid = (uint32_t)sqlite3_column_int64(st, UID);
	l->priority = (int16_t)sqlite3_column_int(st, PRIORITY);
	l->cost = (uint32_t)sqlite3_column_int64(st, COST);
	l->queue = (const char *)sqlite3_column_text(st, QUEUE);
	l->plain = l->phase == ROW_PENDING && *waits == ROW_PLAIN && !l->hold;
}

static void
read_rest(sqlite3_stmt *st, struct store_live *l, int waits)
{
	l->slots = (uint32_t)sqlite3_column_int64(st, SLOTS);
	l->attempt = (uint32_t)sqlite3_column_int64(st, ATTEMPT);
	l->submitted_us = sqlite3_column_int64(st, SUBMITTED);
	if (l->phase == ROW_RUNNING) {
		l->started_us = sqlite3_column_int64(st, STARTED);
		l->launcher = (uint64_t)sqlite3_column_int64(st, LAUNCHER);
	}
	if ((waits & ROW_DUE) != 0) {
		int64_t boot_us = sqlite3_column_int64(st, DUE_BOOT);

		l->due_is_boot = boot_us != 0; /* (cleared once the machine was rebooted) */
		l->due_us = boot_us != 0 ? boot_us : sqlite3_column_int64(st, DUE_WALL);
	}
	if ((waits & ROW_TIED) != 0 && sqlite3_column_bytes(st, SESSION) == ROW_SESSION_LEN) {
		l->bound = true;
		memcpy(l->session, sqlite3_column_blob(st, SESSION), ROW_SESSION_LEN);
	}
}

static int
recover_rest(sqlite3_stmt *st, struct store_live *l, int waits)
{
	sqlite3_bind_int64(st, 1, (sqlite3_int64)l->id);
	if (sqlite3_step(st) == SQLITE_ROW)
		read_rest(st, l, waits);
	return sqlite3_reset(st);
}

/* A cancel that was accepted while it ran. */
static int
read_cancel(sqlite3_stmt *st, struct store_live *l)
{
	sqlite3_bind_int64(st, 1, (sqlite3_int64)l->id);
	if (sqlite3_step(st) == SQLITE_ROW)
		l->cancel = (uint8_t)sqlite3_column_int(st, 0);
	return sqlite3_reset(st);
}

struct recovering {
	sqlite3_stmt *all, *rest, *cancel;
};

static int
prepare(struct recovering *r, sqlite3 *db)
{
	static const char *const sql[] = {
		"SELECT " LIVE_BRIEF " FROM live l ORDER BY l.job",
		"SELECT " LIVE_REST " FROM live l WHERE l.job = ?1",
		"SELECT reason FROM cancel WHERE job = ?1",
	};
	sqlite3_stmt **const st[] = { &r->all, &r->rest, &r->cancel };
	int rc = SQLITE_OK;

	for (int i = 0; rc == SQLITE_OK && i < 3; i++)
		rc = sqlite3_prepare_v2(db, sql[i], -1, st[i], NULL);
	return rc;
}

static int
recover_live(struct recovering *r, const struct store_recovery *rec, int *error)
{
	struct store_live live;
	int rc, waits;

	while ((rc = sqlite3_step(r->all)) == SQLITE_ROW) {
		read_brief(r->all, &live, &waits);
		if (!live.plain && (rc = recover_rest(r->rest, &live, waits)) != SQLITE_OK)
			return rc;
		if (live.phase == ROW_RUNNING && (rc = read_cancel(r->cancel, &live)) != SQLITE_OK)
			return rc;
		*error = live.queue != NULL ? rec->on_live(rec->arg, &live) : -ENOMEM;
		if (*error != 0)
			return SQLITE_OK;
	}
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
journal_recover(struct store *s, const struct store_recovery *rec)
{
	struct journal *j = journal_of(s);
	sqlite3 *db = jreader_fetch(j->reader)->db;
	struct recovering r = { .all = NULL };
	int error = 0;

	if (recover_settings(db, rec) != SQLITE_OK || prepare(&r, db) != SQLITE_OK ||
	    recover_live(&r, rec, &error) != SQLITE_OK)
		error = fail(j, db);
	sqlite3_finalize(r.all);
	sqlite3_finalize(r.rest);
	sqlite3_finalize(r.cancel);
	return error;
}

struct row *
journal_load(struct store *s, uint64_t id, int *error)
{
	struct journal *j = journal_of(s);
	struct store_read r = { .kind = STORE_READ_JOBS };
	struct row *row = rows_find(s, id);
	struct jread *jr;

	*error = 0;
	if (row != NULL)
		return row_ref(row);
	if (j->reading) { /* the connection is the thread's by now */
		*error = -EBUSY;
		return NULL;
	}
	jr = jread_new(&r);
	if (jr == NULL) {
		*error = -ENOMEM;
		return NULL;
	}
	*error = fetch_job(jreader_fetch(j->reader), jr, id);
	if (*error == 0)
		row = rows_take(j, jr, &jr->found[0], error);
	jread_free(jr);
	return row;
}
