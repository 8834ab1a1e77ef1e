#ifndef STORE_JOURNAL_RECORD_H
#define STORE_JOURNAL_RECORD_H
/*
 * Between rows and columns: checksums, the command as people read it, and the columns of live,
 * done and spec in the one order that all statements use.
 */
#include "store/store.h"
#include <sqlite3.h>

#define RECORD_DATA_APART 16384 /* stdin data above this is kept once by content */
#define RECORD_COMMAND_MAX 256  /* bytes of the command, as the view shows it */

/* A 64-bit sum that any single changed byte changes. */
uint64_t record_sum(const void *bytes, size_t len);

/* argv as a shell would take it, cut at out's RECORD_COMMAND_MAX bytes; valid UTF-8. */
void record_command(const struct spec *spec, char out[RECORD_COMMAND_MAX + 1]);

/* done.flags */
#define RECORD_USAGE_KNOWN 1
#define RECORD_TRUNCATED 2

/* What RECORD_LIVE_COLUMNS, RECORD_DONE_COLUMNS select (of live l, done d), in that order, and
 * the statement's columns read from `at` on. The row has spec and env NULL; its queue is the
 * column's text, for the caller to copy while the statement stands. */
#define RECORD_LIVE_COLUMNS \
	"l.job, l.phase, l.waits, l.uid, l.priority, l.slots, l.attempt, l.cost, l.queue," \
	" l.submitted_us, l.hold, l.started_us, l.launcher, l.due_boot_us, l.due_wall_us," \
	" l.session"
#define RECORD_DONE_COLUMNS \
	"d.seq, d.job, d.uid, d.outcome, d.ok, d.exit_code, d.signal, d.reason, d.error," \
	" d.step, d.flags, d.attempt, d.priority, d.slots, d.queue, d.submitted_us," \
	" d.started_us, d.finished_us, d.user_us, d.system_us, d.max_rss_kib," \
	" d.stdout_bytes, d.stderr_bytes, d.stdout_start, d.stderr_start, d.kept_bytes"
#define RECORD_LIVE_NCOLUMNS 16
#define RECORD_DONE_NCOLUMNS 26

/* Fills a zeroed row. 0 or -ENOMEM. */
int record_read_live(sqlite3_stmt *st, struct row *row, const char **queue);
int record_read_done(sqlite3_stmt *st, struct row *row, const char **queue);

#endif
