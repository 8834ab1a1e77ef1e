#ifndef STORE_JOURNAL_RECORD_H
#define STORE_JOURNAL_RECORD_H
/*
 * Between rows and columns: sums, the command as people read it, and the columns of live and done
 * in the one order that all statements use.
 */
#include "store/store.h"
#include <sqlite3.h>

#define RECORD_DATA_APART 16384 /* stdin data above this is kept once by content */
#define RECORD_COMMAND_MAX 256  /* bytes of the command, as the view shows it */

/* A 64-bit sum that any single changed byte changes. */
uint64_t record_sum(const void *bytes, size_t len);

/*
 * The sum of a row is one over all its columns, with their types. To write a row: begin, each
 * column in its order, finish; the statement's parameters stand in the order of the table's
 * columns, and the sum behind them. To read one: record_whole, of n columns and the sum behind.
 */
#define RECORD_COLUMNS_MAX 32

struct record {
	sqlite3_stmt *st;
	int n;
	int64_t values[RECORD_COLUMNS_MAX];
};

void record_begin(struct record *r, sqlite3_stmt *st);
void record_int(struct record *r, int64_t value);
void record_int_but_0(struct record *r, int64_t value); /* 0 is kept as NULL: a byte less */
void record_text(struct record *r, const char *text);   /* NULL is allowed */
void record_blob(struct record *r, const void *bytes, size_t len); /* as is bytes NULL */
void record_column(struct record *r, sqlite3_stmt *from, int at); /* as it stands there */
void record_finish(struct record *r);
/* Do the n columns from `at` on have the sum that stands behind them? */
bool record_whole(sqlite3_stmt *st, int at, int n);

/* Of a row of spec: env -1: none, 0: was not kept; env_hash is its blob's, 0 without one. */
int64_t record_spec_sum(uint64_t job, uint32_t uid, int64_t env, uint64_t env_hash, int64_t data,
    uint64_t checksum);
#define RECORD_NO_ENV (-1)

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
	" l.session, l.sum"
#define RECORD_DONE_COLUMNS \
	"d.seq, d.job, d.uid, d.outcome, d.ok, d.exit_code, d.signal, d.reason, d.error," \
	" d.step, d.flags, d.attempt, d.priority, d.slots, d.queue, d.submitted_us," \
	" d.started_us, d.finished_us, d.user_us, d.system_us, d.max_rss_kib," \
	" d.stdout_bytes, d.stderr_bytes, d.stdout_start, d.stderr_start, d.kept_bytes, d.sum"
#define RECORD_LIVE_NCOLUMNS 16 /* without the sum */
#define RECORD_LIVE_PHASE 1
#define RECORD_LIVE_LAUNCHER 12
#define RECORD_LIVE_DUE_BOOT 13
#define RECORD_DONE_NCOLUMNS 26
/* Places of some of them. */
#define RECORD_DONE_SEQ 0
#define RECORD_DONE_JOB 1
#define RECORD_DONE_UID 2
#define RECORD_DONE_FINISHED 17
#define RECORD_DONE_KEPT 25
#define RECORD_OUTPUT_NCOLUMNS 6
#define RECORD_CANCEL_NCOLUMNS 2
#define RECORD_HISTORY_NCOLUMNS 4
#define RECORD_META_NCOLUMNS 2
#define RECORD_SETTING_NCOLUMNS 2
#define RECORD_QUEUE_NCOLUMNS 3
#define RECORD_TRASH_NCOLUMNS 1

/* Fills a zeroed row. 0, -ENOMEM, -EIO: damaged. */
int record_read_live(sqlite3_stmt *st, struct row *row, const char **queue);
int record_read_done(sqlite3_stmt *st, struct row *row, const char **queue);

#endif
