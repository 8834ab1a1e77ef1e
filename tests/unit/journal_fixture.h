#ifndef JOURNAL_FIXTURE_H
#define JOURNAL_FIXTURE_H
/*
 * A journal in a directory of its own, on a loop moved by hand. Each test file that includes this
 * has its own.
 */
#include "core/logger.h"
#include "core/loop.h"
#include "launch/body.h"
#include "store/journal.h"
#include "store/schema.h"
#include "wire/message.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WALL_US INT64_C(1700000000000000)
#define DEADLINE_MS 20000

static char fx_dir[64], fx_output[80];
static struct slot_loop *fx_loop;
static struct store *fx_store;
static struct journal_options fx_options;
static struct journal_error fx_why;
static char fx_log[8192];
static int fx_removed;
static uint64_t fx_last_removed;
static int fx_degraded = -1; /* what on_degraded said last */
static char fx_failed[200];

static inline void
fx_on_log(void *arg, enum slot_log_level level, const char *line)
{
	size_t n = strlen(fx_log);

	(void)arg;
	(void)level;
	snprintf(fx_log + n, sizeof fx_log - n, "%s\n", line);
}

static const struct slot_logger fx_logger = { .write = fx_on_log, .level = SLOT_LOG_DEBUG };

static inline void
fx_on_removed(void *arg, const struct row *row)
{
	(void)arg;
	fx_last_removed = row->id;
	fx_removed++;
}

static inline void
fx_on_degraded(void *arg, bool degraded)
{
	(void)arg;
	fx_degraded = degraded;
}

static inline void
fx_on_failed(void *arg, const char *what)
{
	(void)arg;
	snprintf(fx_failed, sizeof fx_failed, "%s", what);
}

static inline void
fx_on_output_free(void *output)
{
	(void)output;
}

static inline bool
fx_try_open(void)
{
	fx_store = store_journal_open(&fx_options, &fx_why);
	return fx_store != NULL;
}

static inline void
fx_open(void)
{
	if (!fx_try_open())
		ck_abort_msg("journal: %s", fx_why.text);
}

static inline void
fx_close(void)
{
	if (fx_store != NULL)
		fx_store->ops->free(fx_store);
	fx_store = NULL;
}

static inline void
fx_reopen(void)
{
	fx_close();
	fx_open();
}

static inline void
fx_setup(void)
{
	/* In memory where there is a place for it: these tests are not about disks. */
	snprintf(fx_dir, sizeof fx_dir, "%s/slot-journal-XXXXXX",
	    access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(fx_dir));
	snprintf(fx_output, sizeof fx_output, "%s/output", fx_dir);
	ck_assert_int_eq(mkdir(fx_output, 0700), 0);
	fx_loop = slot_loop_new_manual(1000000, WALL_US);
	fx_options = (struct journal_options){
		.loop = fx_loop, .logger = &fx_logger, .state_dir = fx_dir,
		.output_dir = fx_output, .normal = true, .boot_id = "boot-one",
		.hooks = { .output_free = fx_on_output_free, .on_removed = fx_on_removed,
		    .on_degraded = fx_on_degraded, .on_failed = fx_on_failed },
	};
	fx_log[0] = fx_failed[0] = '\0';
	fx_removed = 0;
	fx_degraded = -1;
}

static inline int
fx_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void
fx_teardown(void)
{
	fx_close();
	slot_loop_free(fx_loop);
	nftw(fx_dir, fx_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void
fx_setup_open(void)
{
	fx_setup();
	fx_open();
}

/* One round of the loop; false: nothing came in for so long. */
static inline bool
fx_turn(int timeout_ms)
{
	bool came = store_journal_wait(fx_store, timeout_ms);

	slot_loop_run_due(fx_loop, 0);
	return came;
}

/* Turns the loop until the condition holds. */
#define FX_UNTIL(condition) \
	do { \
		slot_loop_run_due(fx_loop, 0); \
		while (!(condition)) \
			if (!fx_turn(DEADLINE_MS)) \
				ck_abort_msg("never: %s", #condition); \
	} while (0)

/* ---- commits ---- */

static int fx_commits; /* told of */
static uint64_t fx_last_batch;

static inline void
fx_on_commit(void *arg, uint64_t batch, int error)
{
	(void)arg;
	ck_assert_int_eq(error, 0);
	fx_last_batch = batch;
	fx_commits++;
}

static inline void
fx_commit(void)
{
	int before = fx_commits;

	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	FX_UNTIL(fx_commits > before);
}

/* ---- rows ---- */

struct fx_spec {
	const char *name, *key, *tag, *queue, *data;
	size_t data_len;
	const char *env;
	size_t env_len;
	uint32_t uid;
	const char *argv; /* NUL-terminated strings; NULL: "true" */
	size_t argv_len;
	uint32_t argc;
};

static inline uint32_t
fx_place(char *base, size_t *used, const void *bytes, size_t len)
{
	size_t at = (*used + 7) & ~(size_t)7;

	if (base != NULL && len > 0)
		memcpy(base + at, bytes, len);
	*used = at + len;
	return (uint32_t)at;
}

static inline struct spec *
fx_build(const struct fx_spec *f)
{
	struct spec head, *s = NULL;
	struct body b;
	char body[4096];
	size_t used;

	body_init(&b);
	b.argv = f->argv != NULL ? f->argv : "true";
	b.argv_len = f->argv != NULL ? f->argv_len : 5;
	b.argc = f->argv != NULL ? f->argc : 1;
	ck_assert_uint_le(body_size(&b), sizeof body);
	body_pack(&b, body);
	memset(&head, 0, sizeof head);
	head.slots = 1;
	for (int pass = 0; pass < 2; pass++) {
		char *base = (char *)s;

		used = sizeof head;
		head.body_len = (uint32_t)body_size(&b);
		head.body_off = fx_place(base, &used, body, head.body_len);
		if (f->name != NULL)
			head.name_off = fx_place(base, &used, f->name, strlen(f->name) + 1);
		if (f->key != NULL) {
			head.key_len = (uint32_t)strlen(f->key);
			head.key_off = fx_place(base, &used, f->key, strlen(f->key) + 1);
		}
		if (f->tag != NULL) {
			head.tag_len = (uint32_t)strlen(f->tag);
			head.tag_off = fx_place(base, &used, f->tag, strlen(f->tag));
		}
		if (f->data != NULL) {
			head.data_len = (uint32_t)f->data_len;
			head.data_off = fx_place(base, &used, f->data, f->data_len);
		}
		head.size = (uint32_t)used;
		if (pass == 0)
			s = calloc(1, used);
		else
			memcpy(s, &head, sizeof head);
	}
	return s;
}

/* A new pending row, not in the store yet; one reference. */
static inline struct row *
fx_new(const struct fx_spec *f)
{
	struct env_blob *env = f->env != NULL ?
	    env_intern(&fx_store->envs, f->env, f->env_len) : NULL;
	struct row *row = row_new(fx_build(f), env);

	ck_assert_ptr_nonnull(row);
	row->id = fx_store->next_id++;
	row->uid = f->uid;
	row->queue = f->queue != NULL ? f->queue : "default";
	row->submitted_us = WALL_US + (int64_t)row->id;
	row->cost = 100 + (uint32_t)row->id;
	return row;
}

/* Submits it in the open batch; the caller has one reference. */
static inline struct row *
fx_submit_row(struct row *row)
{
	ck_assert_int_eq(fx_store->ops->add(fx_store, row), 0);
	ck_assert_int_eq(fx_store->ops->change(fx_store, row, STORE_SUBMITTED), 0);
	return row;
}

static inline struct row *
fx_submit(const struct fx_spec *f)
{
	return fx_submit_row(fx_new(f));
}

static inline void
fx_change(struct row *row, enum store_change what)
{
	ck_assert_int_eq(fx_store->ops->change(fx_store, row, what), 0);
}

static inline void
fx_start(struct row *row)
{
	row->phase = ROW_RUNNING;
	row->attempt++;
	row_run(row)->started_us = WALL_US + 1000;
	fx_change(row, STORE_STARTED);
}

static inline void
fx_done_at(struct row *row, int64_t finished_us, int64_t bytes)
{
	struct row_run *run = row_run(row);

	row->phase = ROW_DONE;
	run->seq = ++fx_store->last_seq;
	run->outcome = MSG_OUTCOME_EXITED;
	run->exit_code = 0;
	run->ok = true;
	run->finished_us = finished_us;
	run->out_bytes[0] = bytes;
	fx_change(row, STORE_DONE);
}

static inline void
fx_done(struct row *row)
{
	fx_done_at(row, WALL_US + 5000, 0);
}

static inline void
fx_unref(struct row *row)
{
	row_unref(fx_store, row);
}

/* n done jobs, committed, not in memory any more but for the recent ones. */
static inline void
fx_make_done(int n, uint32_t uid)
{
	const struct fx_spec f = { .uid = uid };

	for (int i = 0; i < n; i++) {
		struct row *row = fx_submit(&f);

		fx_start(row);
		fx_done(row);
		fx_unref(row);
	}
	fx_commit();
}

/* ---- reads ---- */

static int fx_reads_done;

static inline void
fx_on_read(struct store_read *r)
{
	if (r->arg != NULL)
		*(bool *)r->arg = true;
	fx_reads_done++;
}

static inline void
fx_read(struct store_read *r)
{
	bool done = false;

	r->done = fx_on_read;
	r->arg = &done;
	if (!fx_store->ops->read(fx_store, r))
		FX_UNTIL(done);
}

/* A row by id, counted; NULL: unknown. */
static inline struct row *
fx_get(uint64_t id)
{
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = &id, .nids = 1 };
	struct row *row;

	fx_read(&r);
	ck_assert_int_eq(r.error, 0);
	ck_assert_uint_eq(r.nrows, 1);
	row = r.rows[0];
	r.rows[0] = NULL;
	store_read_fini(fx_store, &r);
	return row;
}

/* ---- the file, as others see it ---- */

static inline sqlite3 *
fx_sqlite(int flags)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/journal", fx_dir);
	ck_assert_int_eq(sqlite3_open_v2(path, &db, flags, NULL), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	return db;
}

static inline void
fx_sql(const char *sql)
{
	sqlite3 *db = fx_sqlite(SQLITE_OPEN_READWRITE);
	char *why = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		ck_abort_msg("%s: %s", sql, why);
	sqlite3_close(db);
}

/* The first column of the first row, as text; "" without one. */
static inline const char *
fx_query(const char *sql)
{
	static char text[1024];
	sqlite3 *db = fx_sqlite(SQLITE_OPEN_READONLY);
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		ck_abort_msg("%s: %s", sql, sqlite3_errmsg(db));
	text[0] = '\0';
	if (sqlite3_step(st) == SQLITE_ROW && sqlite3_column_text(st, 0) != NULL)
		snprintf(text, sizeof text, "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	sqlite3_close(db);
	return text;
}

/* The verdict, and what was written: borrowed until the next call. */
static inline int
fx_check(const char **text)
{
	static char *written;
	size_t len;
	FILE *out;
	int verdict;

	free(written);
	written = NULL;
	out = open_memstream(&written, &len);
	verdict = journal_check(fx_dir, out);
	fclose(out);
	if (text != NULL)
		*text = written;
	return verdict;
}

#endif
