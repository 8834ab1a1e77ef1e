/* Sums, table by table; see journal_verify.h. */
#include "store/journal_verify.h"

#include "store/journal_record.h"

struct table {
	const char *name, *sql; /* the first column is what a row is called by */
	int ncolumns;           /* without the sum */
};

static const struct table of_start[] = {
	{ "meta", "SELECT name, value, sum FROM meta", RECORD_META_NCOLUMNS },
	{ "setting", "SELECT name, value, sum FROM setting", RECORD_SETTING_NCOLUMNS },
	{ "queue", "SELECT name, max_running, paused, sum FROM queue", RECORD_QUEUE_NCOLUMNS },
	{ "history", "SELECT uid, jobs, bytes, pruned_seq, sum FROM history",
	    RECORD_HISTORY_NCOLUMNS },
	{ "cancel", "SELECT job, reason, sum FROM cancel", RECORD_CANCEL_NCOLUMNS },
	{ "live", "SELECT " RECORD_LIVE_COLUMNS " FROM live l", RECORD_LIVE_NCOLUMNS },
};

static const struct table of_history[] = {
	{ "trash", "SELECT file, sum FROM trash", RECORD_TRASH_NCOLUMNS },
	{ "done, seq", "SELECT " RECORD_DONE_COLUMNS " FROM done d", RECORD_DONE_NCOLUMNS },
	{ "output, 2 * job + stream - 1:",
	    "SELECT id, start, end, file, room, bytes, sum FROM output", RECORD_OUTPUT_NCOLUMNS },
};

static int
verify(sqlite3 *db, const struct table *t, verify_cb damaged, void *arg)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, t->sql, -1, &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		if (!record_whole(st, 0, t->ncolumns))
			damaged(arg, t->name, (const char *)sqlite3_column_text(st, 0));
	rc = sqlite3_finalize(st);
	return rc;
}

int
verify_start(sqlite3 *db, verify_cb damaged, void *arg)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < sizeof of_start / sizeof of_start[0]; i++)
		rc = verify(db, &of_start[i], damaged, arg);
	return rc;
}

int
verify_history(sqlite3 *db, verify_cb damaged, void *arg)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < sizeof of_history / sizeof of_history[0]; i++)
		rc = verify(db, &of_history[i], damaged, arg);
	return rc;
}
