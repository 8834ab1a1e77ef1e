/* The durable store: changes, commits, what a restart finds, and reads. */
#include "journal_fixture.h"

#include <sys/wait.h>

static const struct fx_spec plain;

/* ---- what a restart finds ---- */

static struct store_live lives[64];
static char live_queues[64][32];
static size_t nlives;
static char settings[512];

static void
on_setting(void *arg, const char *name, int64_t value)
{
	size_t n = strlen(settings);

	(void)arg;
	snprintf(settings + n, sizeof settings - n, "%s=%lld ", name, (long long)value);
}

static void
on_queue(void *arg, const char *queue, int64_t max_running, bool paused)
{
	size_t n = strlen(settings);

	(void)arg;
	snprintf(settings + n, sizeof settings - n, "%s:%lld,%d ", queue, (long long)max_running,
	    paused);
}

static int
on_live(void *arg, const struct store_live *live)
{
	(void)arg;
	if (nlives == 64)
		return -ENOSPC;
	snprintf(live_queues[nlives], sizeof live_queues[0], "%s", live->queue);
	lives[nlives++] = *live;
	return 0;
}

static void
recover(void)
{
	const struct store_recovery rec = { on_setting, on_queue, on_live, NULL };

	nlives = 0;
	settings[0] = '\0';
	ck_assert_int_eq(fx_store->ops->recover(fx_store, &rec), 0);
}

static void
reopen_and_recover(void)
{
	fx_reopen();
	recover();
}

START_TEST(an_empty_journal_has_nothing)
{
	recover();
	ck_assert_uint_eq(nlives, 0);
	ck_assert_uint_eq(fx_store->next_id, 1);
	ck_assert_uint_eq(fx_store->last_seq, 0);
	ck_assert(fx_store->durable);
	ck_assert(!fx_store->degraded && !fx_store->stuck);
	ck_assert(!fx_store->rebooted);
	ck_assert_uint_ne(fx_store->instance, 0);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(a_submit_survives)
{
	const struct fx_spec f = { .name = "one", .key = "k", .tag = "{\"a\":1}", .queue = "q",
		.env = "A=1\0B=2", .env_len = 8, .uid = 1000 };
	struct row *row = fx_submit(&f);
	uint64_t instance = fx_store->instance;
	struct spec *spec;
	int error;

	row->priority = 7;
	fx_change(row, STORE_SET);
	spec = malloc(row->spec->size);
	memcpy(spec, row->spec, row->spec->size);
	fx_commit();
	ck_assert_uint_eq(row->uncommitted, 0);
	fx_unref(row);
	ck_assert_ptr_null(fx_store->ops->find(fx_store, 1));
	reopen_and_recover();
	ck_assert_uint_eq(fx_store->instance, instance);
	ck_assert_uint_eq(fx_store->next_id, 2);
	ck_assert_uint_eq(nlives, 1);
	ck_assert_uint_eq(lives[0].id, 1);
	ck_assert_int_eq(lives[0].phase, ROW_PENDING);
	ck_assert_int_eq(lives[0].priority, 7);
	ck_assert_uint_eq(lives[0].uid, 1000);
	ck_assert_uint_eq(lives[0].cost, 101);
	ck_assert_str_eq(live_queues[0], "q");
	ck_assert(lives[0].plain);
	row = fx_store->ops->load(fx_store, 1, &error);
	ck_assert_ptr_nonnull(row);
	ck_assert_mem_eq(row->spec, spec, spec->size);
	ck_assert_int_eq(row->submitted_us, WALL_US + 1);
	ck_assert_uint_eq(row->env->len, 8);
	ck_assert_mem_eq(row->env->bytes, "A=1\0B=2", 8);
	ck_assert_str_eq(row->queue, "q");
	ck_assert_int_eq(row->priority, 7);
	ck_assert_ptr_eq(fx_store->ops->find(fx_store, 1), row);
	ck_assert_ptr_null(fx_store->ops->load(fx_store, 2, &error));
	ck_assert_int_eq(error, 0);
	fx_unref(row);
	free(spec);
}
END_TEST

START_TEST(what_is_not_committed_is_lost)
{
	fx_unref(fx_submit(&plain));
	fx_commit();
	fx_unref(fx_submit(&plain));
	reopen_and_recover();
	ck_assert_uint_eq(nlives, 1);
	ck_assert_uint_eq(fx_store->next_id, 2);
}
END_TEST

START_TEST(a_running_job_is_found_running)
{
	struct row *row = fx_submit(&plain);

	fx_store->launcher = 0xfedcba9876543210u;
	fx_start(row);
	fx_commit();
	fx_unref(row);
	reopen_and_recover();
	ck_assert_uint_eq(nlives, 1);
	ck_assert_int_eq(lives[0].phase, ROW_RUNNING);
	ck_assert_uint_eq(lives[0].launcher, 0xfedcba9876543210u);
	ck_assert_uint_eq(lives[0].attempt, 1);
	ck_assert_int_eq(lives[0].started_us, WALL_US + 1000);
	ck_assert(!lives[0].plain);
}
END_TEST

START_TEST(a_retried_job_is_found_pending)
{
	struct row *row = fx_submit(&plain);

	fx_start(row);
	fx_commit();
	row->phase = ROW_PENDING;
	row->waits = ROW_DUE;
	row->due_boot_us = 777;
	row->due_wall_us = WALL_US + 777;
	fx_change(row, STORE_REQUEUED);
	fx_commit();
	fx_unref(row);
	reopen_and_recover();
	ck_assert_int_eq(lives[0].phase, ROW_PENDING);
	ck_assert_uint_eq(lives[0].attempt, 1);
	ck_assert_uint_eq(lives[0].launcher, 0);
	ck_assert_int_eq(lives[0].due_us, 777);
	ck_assert(lives[0].due_is_boot);
	ck_assert(!lives[0].plain);
}
END_TEST

START_TEST(after_a_reboot_wall_clock_times_count)
{
	struct row *row = fx_new(&plain), *running = fx_submit(&plain);

	fx_store->launcher = 5;
	fx_start(running);
	row->waits = ROW_DUE;
	row->due_boot_us = 777;
	row->due_wall_us = WALL_US + 777;
	fx_submit_row(row);
	fx_commit();
	fx_unref(row);
	fx_unref(running);
	fx_options.boot_id = "boot-two";
	reopen_and_recover();
	ck_assert(fx_store->rebooted);
	ck_assert_uint_eq(nlives, 2);
	ck_assert_int_eq(lives[0].due_us, WALL_US + 777);
	ck_assert(!lives[0].due_is_boot);
	ck_assert_uint_eq(lives[1].launcher, 0);
	reopen_and_recover(); /* and it stays so, though this boot is the same */
	ck_assert(!fx_store->rebooted);
	ck_assert(!lives[0].due_is_boot);
	ck_assert_uint_eq(lives[1].launcher, 0);
}
END_TEST

START_TEST(hold_and_session_are_kept)
{
	struct row *row = fx_new(&plain), *other = fx_new(&plain);

	row->hold = 1;
	fx_submit_row(row);
	other->waits = ROW_TIED;
	memset(other->session, 0xab, sizeof other->session);
	fx_submit_row(other);
	fx_commit();
	fx_unref(row);
	fx_unref(other);
	reopen_and_recover();
	ck_assert(lives[0].hold && !lives[0].plain && !lives[0].bound);
	ck_assert(lives[1].bound && !lives[1].plain);
	ck_assert_int_eq(lives[1].session[15], 0xab);
}
END_TEST

START_TEST(a_done_job_is_found_done)
{
	const struct fx_spec f = { .name = "n", .queue = "q", .env = "A=1", .env_len = 4 };
	struct row *row = fx_submit(&f);
	struct row_run before;

	fx_start(row);
	row->run->user_us = 11;
	row->run->system_us = 12;
	row->run->max_rss_kib = 13;
	row->run->out_bytes[1] = 14;
	row->run->out_start[0] = 15;
	row->run->out_start[1] = 16;
	row->run->usage_known = row->run->truncated = true;
	row->run->signal = 9;
	row->run->error = 2;
	row->run->step = 3;
	row->run->reason = MSG_REASON_CLIENT;
	fx_done_at(row, WALL_US + 5, 17);
	before = *row->run;
	fx_commit();
	fx_unref(row);
	reopen_and_recover();
	ck_assert_uint_eq(nlives, 0);
	ck_assert_uint_eq(fx_store->last_seq, 1);
	ck_assert_uint_eq(fx_store->ndone, 1);
	ck_assert_int_eq(fx_store->output_bytes, before.kept_bytes);
	row = fx_get(1);
	ck_assert_ptr_nonnull(row);
	ck_assert_int_eq(row->phase, ROW_DONE);
	ck_assert_mem_eq(row->run, &before, sizeof before);
	ck_assert_uint_eq(row->attempt, 1);
	ck_assert_str_eq(row->queue, "q");
	ck_assert_mem_eq(row->env->bytes, "A=1", 4);
	ck_assert_int_eq(row->submitted_us, WALL_US + 1);
	fx_unref(row);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(live_jobs_come_in_order)
{
	struct row *rows[20];

	for (int i = 0; i < 20; i++)
		rows[i] = fx_submit(&plain);
	for (int i = 19; i >= 0; i -= 2)
		fx_start(rows[i]);
	fx_start(rows[4]);
	fx_done(rows[4]);
	fx_commit();
	for (int i = 0; i < 20; i++)
		fx_unref(rows[i]);
	reopen_and_recover();
	ck_assert_uint_eq(nlives, 19);
	for (size_t i = 1; i < nlives; i++)
		ck_assert_uint_lt(lives[i - 1].id, lives[i].id);
	ck_assert_uint_eq(lives[4].id, 6);
}
END_TEST

START_TEST(settings_and_queues_are_kept)
{
	const struct store_ops *ops = fx_store->ops;

	ck_assert_int_eq(ops->keep_setting(fx_store, "max_running", 5), 0);
	ck_assert_int_eq(ops->keep_setting(fx_store, "a", 1), 0);
	ck_assert_int_eq(ops->keep_queue(fx_store, "q", 3, true), 0);
	ck_assert_int_eq(ops->keep_queue(fx_store, "r", -1, false), 0);
	fx_commit();
	ops->keep_setting(fx_store, "max_running", 6);
	ops->keep_setting(fx_store, "a", STORE_NO_SETTING);
	ops->keep_queue(fx_store, "r", STORE_NO_QUEUE, false);
	fx_commit();
	reopen_and_recover();
	ck_assert_str_eq(settings, "max_running=6 q:3,1 ");
}
END_TEST

/* ---- commits ---- */

static uint64_t told[200];
static int ntold;

static void
on_told(void *arg, uint64_t batch, int error)
{
	ck_assert_ptr_eq(arg, &told);
	ck_assert_int_eq(error, 0);
	told[ntold++] = batch;
}

START_TEST(commits_are_told_in_order)
{
	ntold = 0;
	for (int i = 0; i < 100; i++) {
		fx_unref(fx_submit(&plain));
		fx_store->ops->commit(fx_store, on_told, &told);
	}
	ck_assert_int_eq(ntold, 0); /* from the loop only */
	fx_store->ops->commit(fx_store, on_told, &told); /* an empty one waits its turn */
	ck_assert_int_eq(ntold, 0);
	FX_UNTIL(ntold == 101);
	for (int i = 1; i < 101; i++)
		ck_assert_uint_lt(told[i - 1], told[i]);
	fx_store->ops->commit(fx_store, on_told, &told); /* nothing is under way: at once */
	ck_assert_int_eq(ntold, 102);
}
END_TEST

START_TEST(a_row_stays_until_it_is_committed)
{
	struct row *row = fx_submit(&plain);

	fx_unref(row);
	ck_assert_ptr_eq(fx_store->ops->find(fx_store, 1), row);
	ck_assert_uint_gt(row->uncommitted, 0);
	fx_commit();
	ck_assert_ptr_null(fx_store->ops->find(fx_store, 1));
}
END_TEST

START_TEST(a_batch_has_what_was_when_it_was_named)
{
	struct row *row = fx_submit(&plain);

	row->priority = 5;
	fx_change(row, STORE_SET);
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	row->priority = 9; /* not named yet */
	fx_commit();
	fx_unref(row);
	reopen_and_recover();
	ck_assert_int_eq(lives[0].priority, 5);
}
END_TEST

START_TEST(ids_and_seqs_never_go_back)
{
	struct row *row = fx_submit(&plain);

	fx_start(row);
	fx_done(row);
	fx_commit();
	fx_store->ops->forget(fx_store, row);
	fx_commit();
	fx_unref(row);
	fx_reopen();
	ck_assert_uint_eq(fx_store->next_id, 2);
	ck_assert_uint_eq(fx_store->last_seq, 1);
	ck_assert_uint_eq(fx_store->ndone, 0);
	ck_assert_int_eq(fx_store->output_bytes, 0);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* Leaves a journal as a killed slotd does: n done jobs of uid 0, two of uid 7, one pending. */
static void
die_with(int n)
{
	pid_t pid;

	fx_close();
	pid = fork();
	if (pid == 0) {
		fx_open();
		fx_make_done(n, 0);
		fx_make_done(2, 7);
		fx_submit(&plain);
		fx_commit();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(fx_check(NULL), 0);
}

/* Numbers and sums are not written with every commit. */
START_TEST(a_killed_journal_has_its_numbers_and_sums)
{
	int n = _i == 0 ? 3 : 1100;

	die_with(n);
	ck_assert_str_eq(fx_query("SELECT value FROM meta WHERE name = 'last_seq'"),
	    _i == 0 ? "0" : "1100");
	for (int i = 0; i < 2; i++) {
		fx_reopen();
		ck_assert_uint_eq(fx_store->next_id, (uint64_t)n + 4);
		ck_assert_uint_eq(fx_store->last_seq, (uint64_t)n + 2);
		ck_assert_uint_eq(fx_store->ndone, (uint64_t)n + 2);
		ck_assert_int_eq(fx_check(NULL), 0);
	}
	ck_assert_str_eq(fx_query("SELECT group_concat(uid || ' ' || jobs) FROM"
	    " (SELECT * FROM history ORDER BY uid)"), _i == 0 ? "0 3,7 2" : "0 1100,7 2");
	ck_assert_str_eq(fx_query("SELECT value FROM meta WHERE name = 'last_seq'"),
	    _i == 0 ? "5" : "1102");
}
END_TEST

START_TEST(a_damaged_completion_counts_but_its_bytes_do_not)
{
	die_with(3);
	fx_sql("UPDATE done SET kept_bytes = 1 << 40 WHERE seq = 5");
	fx_open();
	ck_assert_uint_eq(fx_store->last_seq, 5);
	ck_assert_uint_eq(fx_store->ndone, 5);
	ck_assert_int_lt(fx_store->output_bytes, 1 << 20);
}
END_TEST

START_TEST(commits_are_counted)
{
	struct store_stats st;

	fx_make_done(3, 0);
	fx_store->ops->stats(fx_store, &st);
	ck_assert_str_eq(st.durability, "normal");
	ck_assert_uint_eq(st.commits, 1);
	ck_assert_int_gt(st.commit_p50_us, 0);
	ck_assert_int_ge(st.commit_p99_us, st.commit_p50_us);
	ck_assert_int_gt(st.bytes + st.wal_bytes, 0);
	ck_assert_uint_eq(st.oldest_seq, 1);
	ck_assert(!st.degraded);
}
END_TEST

/* ---- reads ---- */

START_TEST(rows_are_read_by_id)
{
	const uint64_t ids[] = { 2, 99, 1, 2 };
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = ids, .nids = 4 };
	struct row *row = fx_submit(&plain);

	fx_unref(fx_submit(&plain));
	fx_commit();
	fx_read(&r);
	ck_assert_int_eq(r.error, 0);
	ck_assert_uint_eq(r.nrows, 4);
	ck_assert_uint_eq(r.rows[0]->id, 2);
	ck_assert_ptr_null(r.rows[1]);
	ck_assert_ptr_eq(r.rows[2], row); /* what is in memory */
	ck_assert_ptr_eq(r.rows[3], r.rows[0]);
	ck_assert_ptr_eq(fx_store->ops->find(fx_store, 2), r.rows[0]);
	ck_assert_uint_eq(r.oldest_job, 1);
	store_read_fini(fx_store, &r);
	ck_assert_ptr_null(fx_store->ops->find(fx_store, 2));
	r = (struct store_read){ .kind = STORE_READ_JOBS, .ids = ids + 2, .nids = 1 };
	ck_assert(fx_store->ops->read(fx_store, &r)); /* in memory: at once */
	ck_assert_ptr_eq(r.rows[0], row);
	store_read_fini(fx_store, &r);
	fx_unref(row);
}
END_TEST

START_TEST(keys_find_jobs_in_any_phase)
{
	const struct fx_spec a = { .key = "a", .uid = 1 }, b = { .key = "b", .uid = 1 };
	const struct fx_spec other = { .key = "a", .uid = 2 };
	const char *const keys[] = { "b", "nope", "a", "c" };
	const struct fx_spec c = { .key = "c", .uid = 1 };
	struct store_read r = { .kind = STORE_READ_KEYS, .keys = keys, .nkeys = 4,
		.filter = { .by_uid = true, .uid = 1 } };
	struct row *row = fx_submit(&a), *fresh;

	fx_start(row);
	fx_done(row);
	fx_unref(row);
	fx_unref(fx_submit(&b));
	fx_unref(fx_submit(&other));
	fx_commit();
	fx_reopen();
	fresh = fx_submit(&c); /* not committed yet */
	fx_read(&r);
	ck_assert_int_eq(r.error, 0);
	ck_assert_uint_eq(r.rows[0]->id, 2);
	ck_assert_ptr_null(r.rows[1]);
	ck_assert_uint_eq(r.rows[2]->id, 1);
	ck_assert_ptr_eq(r.rows[3], fresh);
	ck_assert_int_eq(r.rows[2]->phase, ROW_DONE);
	fx_store->ops->forget(fx_store, r.rows[2]);
	store_read_fini(fx_store, &r);
	fx_commit();
	fx_read(&r);
	ck_assert_ptr_null(r.rows[2]);
	store_read_fini(fx_store, &r);
	fx_unref(fresh);
}
END_TEST

/* ids of a page, as text */
static const char *
page(struct store_read *r)
{
	static char text[512];
	size_t n = 0;

	text[0] = '\0';
	fx_read(r);
	ck_assert_int_eq(r->error, 0);
	for (size_t i = 0; i < r->nrows; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%llu ",
		    (unsigned long long)r->rows[i]->id);
	store_read_fini(fx_store, r);
	return text;
}

/* 1 done, 2 running, 3 pending, 4 done (not ok), 5 pending, of users 7, 8, 7, 8, 7 */
static void
make_five(void)
{
	for (uint32_t i = 1; i <= 5; i++) {
		const struct fx_spec f = { .uid = 8 - i % 2, .queue = i < 3 ? "a" : "b",
			.name = i == 4 ? "four" : NULL };
		struct row *row = fx_submit(&f);

		if (i == 1 || i == 2 || i == 4)
			fx_start(row);
		if (i == 1 || i == 4)
			fx_done(row);
		if (i == 4)
			row->run->ok = false;
		fx_unref(row);
	}
}

static const struct store_filter any = { .phase = -1, .ok = -1 };

START_TEST(pages_follow_ids)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = any, .from = 1, .limit = 3 };

	make_five();
	fx_commit();
	ck_assert_str_eq(page(&r), "1 2 3 ");
	ck_assert_uint_eq(r.next, 4);
	r.from = 4;
	ck_assert_str_eq(page(&r), "4 5 ");
	ck_assert_uint_eq(r.next, 0);
	r.backward = true;
	r.from = 100;
	ck_assert_str_eq(page(&r), "5 4 3 ");
	ck_assert_uint_eq(r.next, 2);
	r.from = 2;
	ck_assert_str_eq(page(&r), "2 1 ");
	ck_assert_uint_eq(r.next, 0);
	r.backward = false;
	r.from = 1;
	r.limit_bytes = 1;
	ck_assert_str_eq(page(&r), "1 ");
	ck_assert_uint_eq(r.next, 2);
	r.limit = 0;
	ck_assert_str_eq(page(&r), "");
	ck_assert_uint_eq(r.next, 1);
}
END_TEST

static const char *
filtered(struct store_filter f)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = f, .from = 1, .limit = 100 };

	return page(&r);
}

START_TEST(pages_are_filtered)
{
	make_five();
	fx_commit();
	fx_reopen();
	ck_assert_str_eq(filtered(any), "1 2 3 4 5 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = ROW_PENDING, .ok = -1 }), "3 5 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = ROW_RUNNING, .ok = -1 }), "2 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = ROW_DONE, .ok = -1 }), "1 4 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = -1, .ok = -1, .by_uid = true,
	    .uid = 7 }), "1 3 5 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = -1, .ok = -1, .queue = "a" }),
	    "1 2 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = -1, .ok = -1, .name = "four" }),
	    "4 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = -1, .ok = -1,
	    .since_us = WALL_US + 4 }), "4 5 ");
	ck_assert_str_eq(filtered((struct store_filter){ .phase = -1, .ok = 1 }), "1 4 ");
}
END_TEST

START_TEST(a_page_sees_every_change_made_before)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = any, .from = 1, .limit = 9 };
	int before = fx_reads_done;

	fx_unref(fx_submit(&plain));
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	fx_unref(fx_submit(&plain)); /* in the open batch */
	r.done = fx_on_read;
	ck_assert(!fx_store->ops->read(fx_store, &r));
	fx_commit();
	FX_UNTIL(fx_reads_done > before);
	ck_assert_uint_eq(r.nrows, 2);
	store_read_fini(fx_store, &r);
}
END_TEST

START_TEST(a_dropped_read_is_not_told)
{
	const uint64_t ids[] = { 1, 2 };
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = ids, .nids = 2,
		.done = fx_on_read };
	struct store_read page_read = { .kind = STORE_READ_PAGE, .filter = any, .limit = 5,
		.done = fx_on_read };
	struct row *row = fx_submit(&plain);
	int before = fx_reads_done;

	fx_unref(fx_submit(&plain));
	fx_commit();
	ck_assert(!fx_store->ops->read(fx_store, &r));
	fx_store->ops->read_drop(fx_store, &r);
	memset(&r, 0x55, sizeof r);
	fx_unref(fx_submit(&plain)); /* this one waits for a commit */
	ck_assert(!fx_store->ops->read(fx_store, &page_read));
	fx_store->ops->read_drop(fx_store, &page_read);
	fx_commit();
	fx_unref(fx_get(2));
	ck_assert_int_eq(fx_reads_done, before + 1);
	fx_unref(row);
}
END_TEST

static const char *
done_from(uint64_t from, size_t limit, uint64_t *next)
{
	struct store_read r = { .kind = STORE_READ_DONE, .filter = any, .from = from,
		.limit = limit };
	const char *text = page(&r);

	if (next != NULL)
		*next = r.next;
	return text;
}

START_TEST(done_jobs_are_read_in_seq_order)
{
	struct row *rows[4];
	uint64_t next;

	for (int i = 0; i < 4; i++)
		rows[i] = fx_submit(&plain);
	for (int i = 3; i >= 0; i--) {
		fx_start(rows[i]);
		fx_done(rows[i]);
	}
	fx_commit();
	for (int i = 0; i < 4; i++)
		fx_unref(rows[i]);
	for (int round = 0; round < 2; round++) { /* from memory, then from the disk */
		ck_assert_str_eq(done_from(1, 9, &next), "4 3 2 1 ");
		ck_assert_uint_eq(next, 0);
		ck_assert_str_eq(done_from(2, 2, &next), "3 2 ");
		ck_assert_uint_eq(next, 4);
		ck_assert_str_eq(done_from(5, 2, &next), "");
		ck_assert_uint_eq(next, 0);
		fx_reopen();
	}
}
END_TEST

START_TEST(live_streams_never_touch_the_disk)
{
	struct store_read r = { .kind = STORE_READ_DONE, .filter = any, .from = 3000 - 1000,
		.limit = 5000 };

	fx_make_done(3000, 0);
	ck_assert(fx_store->ops->read(fx_store, &r));
	ck_assert_uint_eq(r.nrows, 1001);
	ck_assert_uint_eq(r.rows[0]->run->seq, 2000);
	store_read_fini(fx_store, &r);
	r.from = 10; /* this one does */
	r.done = fx_on_read;
	ck_assert(!fx_store->ops->read(fx_store, &r));
	FX_UNTIL(r.nrows > 0);
	ck_assert_uint_eq(r.nrows, 2991);
	store_read_fini(fx_store, &r);
}
END_TEST

START_TEST(output_is_kept)
{
	const struct store_output small = { .data = "hello world", .len = 11, .start = 5,
		.end = 16 };
	const struct store_output large = { .file = "1.1.out", .start = 6, .end = 16, .room = 10 };
	struct row *row = fx_submit(&plain);
	char path[128], buf[64];
	struct store_read r = { .kind = STORE_READ_OUTPUT, .job = 1, .stream = 1, .buf = buf,
		.max = sizeof buf };
	FILE *f;

	snprintf(path, sizeof path, "%s/1.1.out", fx_output);
	f = fopen(path, "w");
	fputs("abcdefghij", f); /* offsets 10 to 15 stand first, then 6 to 9 */
	fclose(f);
	fx_start(row);
	ck_assert_int_eq(fx_store->ops->keep_output(fx_store, row, 1, &small), 0);
	ck_assert_int_eq(fx_store->ops->keep_output(fx_store, row, 2, &large), 0);
	fx_done(row);
	fx_commit();
	fx_read(&r);
	ck_assert_int_eq(r.off, 5);
	ck_assert_int_eq(r.nread, 11);
	ck_assert_mem_eq(buf, "hello world", 11);
	r.off = 11;
	r.max = 2;
	fx_read(&r);
	ck_assert_int_eq(r.nread, 2);
	ck_assert_mem_eq(buf, "wo", 2);
	r.off = 16;
	fx_read(&r);
	ck_assert_int_eq(r.nread, 0);
	r.stream = 2;
	r.off = 0;
	r.max = sizeof buf;
	fx_read(&r);
	ck_assert_int_eq(r.error, 0);
	ck_assert_int_eq(r.off, 6);
	ck_assert_int_eq(r.nread, 10);
	ck_assert_mem_eq(buf, "ghijabcdef", 10);
	ck_assert_int_eq(access(path, F_OK), 0);
	fx_store->ops->forget(fx_store, row);
	fx_commit();
	fx_make_done(1, 0); /* (it goes between two commits) */
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_str_eq(fx_query("SELECT count(*) FROM output"), "0");
	fx_unref(row);
	r.job = 77;
	fx_read(&r);
	ck_assert_int_eq(r.nread, 0);
	ck_assert_int_eq(r.error, 0);
}
END_TEST

/* What an old look at the journal found never replaces what has happened since. */
START_TEST(an_old_read_does_not_bring_back_the_past)
{
	const uint64_t id = 1;
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = &id, .nids = 1,
		.done = fx_on_read };
	struct row *row;
	int before = fx_reads_done;

	fx_unref(fx_submit(&plain));
	fx_commit();
	for (int i = 0; i < 50; i++) {
		row = fx_get(1);
		before = fx_reads_done;
		row->priority = (int16_t)i;
		fx_unref(row);
		ck_assert(!fx_store->ops->read(fx_store, &r)); /* looks, sooner or later */
		row = fx_get(1);
		row->priority = (int16_t)(i + 1);
		fx_change(row, STORE_SET);
		fx_unref(row);
		fx_commit();
		FX_UNTIL(fx_reads_done >= before + 1);
		ck_assert_int_eq(r.rows[0]->priority, i + 1);
		store_read_fini(fx_store, &r);
	}
}
END_TEST

/* ---- contents ---- */

START_TEST(environments_and_large_data_are_kept_once)
{
	char *big = malloc(40000);
	struct fx_spec f = { .env = "A=1", .env_len = 4, .data = big, .data_len = 40000 };
	struct row *rows[10];

	memset(big, 'x', 40000);
	for (int i = 0; i < 10; i++) {
		rows[i] = fx_submit(&f);
		if (i == 4)
			fx_commit(); /* in one transaction, and across two */
	}
	fx_commit();
	ck_assert_str_eq(fx_query("SELECT count(*) || ' ' || sum(refs) FROM blob"), "2 20");
	ck_assert_str_eq(fx_query("SELECT max(length(bytes)) < 1000 FROM spec"), "1");
	for (int i = 0; i < 10; i++)
		fx_unref(rows[i]);
	fx_reopen();
	rows[0] = fx_get(3);
	ck_assert_uint_eq(rows[0]->spec->data_len, 40000);
	ck_assert_mem_eq(spec_at(rows[0]->spec, rows[0]->spec->data_off), big, 40000);
	fx_unref(rows[0]);
	ck_assert_int_eq(fx_check(NULL), 0);
	for (uint64_t id = 1; id <= 10; id++) {
		rows[0] = fx_get(id);
		fx_start(rows[0]);
		fx_done(rows[0]);
		fx_store->ops->forget(fx_store, rows[0]);
		fx_unref(rows[0]);
		if (id == 5)
			fx_commit();
	}
	fx_commit();
	ck_assert_str_eq(fx_query("SELECT count(*) FROM blob"), "0");
	rows[0] = fx_submit(&f); /* (what is remembered of contents went with them) */
	fx_commit();
	ck_assert_int_eq(fx_check(NULL), 0);
	fx_unref(rows[0]);
	free(big);
}
END_TEST

START_TEST(environments_can_go_with_the_job)
{
	const struct fx_spec f = { .env = "SECRET=1", .env_len = 9 };
	struct row *row, *other;

	fx_close();
	fx_options.drop_env = true;
	fx_open();
	row = fx_submit(&f);
	other = fx_submit(&f);
	fx_start(row);
	fx_done(row);
	fx_commit();
	ck_assert(row->env_dropped);
	ck_assert_ptr_null(row->env);
	fx_unref(row);
	ck_assert_str_eq(fx_query("SELECT refs FROM blob"), "1");
	fx_start(other);
	fx_done(other);
	fx_commit();
	fx_unref(other);
	ck_assert_str_eq(fx_query("SELECT count(*) FROM blob"), "0");
	fx_reopen();
	row = fx_get(1);
	ck_assert_ptr_null(row->env);
	ck_assert(row->env_dropped);
	fx_unref(row);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* ---- history ---- */

START_TEST(a_forgotten_job_is_unknown)
{
	struct row *row;

	fx_make_done(3, 0);
	row = fx_get(2);
	fx_store->ops->forget(fx_store, row);
	ck_assert(row->gone);
	ck_assert_int_eq(fx_removed, 1);
	ck_assert_ptr_null(fx_store->ops->find(fx_store, 2));
	ck_assert_uint_eq(fx_store->ndone, 2);
	ck_assert_str_eq(done_from(1, 9, NULL), "1 3 ");
	fx_commit();
	ck_assert_ptr_null(fx_get(2));
	fx_unref(row);
	ck_assert_ptr_null(fx_get(2));
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 0, true), 1);
	fx_reopen();
	ck_assert_ptr_null(fx_get(2));
	ck_assert_str_eq(done_from(1, 9, NULL), "1 3 ");
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(history_is_pruned_by_number_per_user)
{
	fx_make_done(600, 1);
	fx_make_done(50, 2);
	fx_make_done(600, 1);
	fx_store->bounds.jobs = 100;
	ck_assert(!fx_store->ops->prune(fx_store, WALL_US));
	FX_UNTIL(fx_store->ndone == 150);
	fx_commit();
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 1, false), 1151);
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 2, false), 1);
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 0, true), 1151);
	ck_assert_ptr_null(fx_get(1));
	ck_assert_ptr_null(fx_get(1150));
	fx_unref(fx_get(1151));
	fx_unref(fx_get(601));
	fx_reopen();
	ck_assert_uint_eq(fx_store->ndone, 150);
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 1, false), 1151);
	ck_assert_str_eq(fx_query("SELECT count(*) FROM spec"), "150");
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(history_is_pruned_by_bytes_and_age)
{
	for (int i = 1; i <= 10; i++) {
		struct row *row = fx_submit(&plain);

		fx_start(row);
		fx_done_at(row, WALL_US + i * 1000000, 1000000);
		fx_unref(row);
	}
	fx_commit();
	fx_store->bounds.output_bytes = 5500000;
	fx_store->ops->prune(fx_store, WALL_US);
	FX_UNTIL(fx_store->ndone == 5);
	fx_store->bounds.age_us = 3600 * INT64_C(1000000);
	fx_store->ops->prune(fx_store, WALL_US);
	fx_commit();
	/* By itself, as the time comes. */
	for (int i = 0; i < 20000 && fx_store->ndone > 0; i++) {
		slot_loop_advance(fx_loop, 1000000);
		fx_turn(i > 3600 ? 1 : 0);
	}
	ck_assert_uint_eq(fx_store->ndone, 0);
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 0, false), 11);
	fx_commit();
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(a_pinned_row_goes_with_its_last_pin)
{
	struct row *row;

	fx_make_done(10, 0);
	row = fx_get(1);
	row_pin(row);
	fx_store->bounds.jobs = 5;
	fx_store->ops->prune(fx_store, WALL_US);
	FX_UNTIL(fx_store->ndone == 5);
	fx_commit();
	ck_assert(row->passed);
	ck_assert_ptr_eq(fx_store->ops->find(fx_store, 1), row);
	ck_assert_ptr_null(fx_get(2));
	ck_assert_uint_eq(fx_store->ops->oldest_seq(fx_store, 0, false), 6);
	row_unpin(fx_store, row);
	ck_assert_ptr_null(fx_store->ops->find(fx_store, 1));
	fx_unref(row);
	fx_commit();
	ck_assert_str_eq(fx_query("SELECT count(*) FROM done"), "5");
	ck_assert_str_eq(fx_query("SELECT jobs FROM history"), "5");
}
END_TEST

START_TEST(what_was_pinned_at_the_end_goes_later)
{
	struct row *row;

	fx_make_done(10, 0);
	row = fx_get(1);
	row_pin(row);
	fx_store->bounds.jobs = 5;
	fx_store->ops->prune(fx_store, WALL_US);
	FX_UNTIL(fx_store->ndone == 5);
	fx_commit();
	row->pins = 0; /* (as if the process had died) */
	fx_unref(row);
	fx_reopen();
	ck_assert_str_eq(fx_query("SELECT count(*) FROM done"), "6");
	ck_assert_uint_eq(fx_store->ndone, 5);
	fx_store->ops->prune(fx_store, WALL_US);
	FX_UNTIL(strcmp(fx_query("SELECT count(*) FROM done"), "5") == 0);
	fx_commit();
	ck_assert_str_eq(fx_query("SELECT jobs FROM history"), "5");
	ck_assert_uint_eq(fx_store->ndone, 5);
}
END_TEST

/* ---- for people ---- */

START_TEST(the_view_tells_what_happened)
{
	static const char argv[] = "sh\0-c\0echo it's; \xff\xc3\xa4\0";
	const struct fx_spec f = { .name = "n", .queue = "q", .tag = "[1]", .uid = 42,
		.argv = argv, .argv_len = sizeof argv - 1, .argc = 3 };
	struct row *row = fx_submit(&f);

	fx_start(row);
	fx_commit();
	ck_assert_str_eq(fx_query("SELECT phase || ' ' || command FROM jobs"),
	    "running sh -c 'echo it'\\''s; ?\xc3\xa4'");
	row->run->usage_known = true;
	row->run->user_us = 1500;
	row->run->reason = MSG_REASON_CLIENT;
	fx_done_at(row, WALL_US + 1500000, 3);
	row->run->outcome = MSG_OUTCOME_CANCELLED; /* (too late) */
	fx_commit();
	fx_unref(row);
	ck_assert_str_eq(fx_query("SELECT job || phase || outcome || ok || exit_code || reason ||"
	    " name || queue || uid || priority || slots || attempt || seq || tag || submitted ||"
	    " started || finished || submitted_us || user_ms || stdout_bytes FROM jobs"),
	    "1doneexited10clientnq420111[1]2023-11-14T22:13:20.000Z2023-11-14T22:13:20.001Z"
	    "2023-11-14T22:13:21.500Z170000000000000113");
	ck_assert_str_eq(fx_query("SELECT count(*) FROM jobs WHERE signal IS NULL"), "1");
}
END_TEST

START_TEST(others_may_read_while_it_writes)
{
	sqlite3 *db = fx_sqlite(SQLITE_OPEN_READONLY);
	sqlite3_stmt *st;

	fx_make_done(100, 0);
	ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT job FROM jobs", -1, &st, NULL), 0);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW); /* it holds an old state … */
	for (int i = 0; i < 20; i++)
		fx_make_done(100, 0);
	ck_assert_uint_eq(fx_store->ndone, 2100);
	for (int n = 1;; n++)
		if (sqlite3_step(st) != SQLITE_ROW) {
			ck_assert_int_eq(n, 100); /* … and nobody is in its way */
			break;
		}
	sqlite3_finalize(st);
	sqlite3_close(db);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal");
	TCase *restart = tcase_create("restart"), *commits = tcase_create("commits");
	TCase *reads = tcase_create("reads"), *history = tcase_create("history");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(restart, fx_setup_open, fx_teardown);
	tcase_add_test(restart, an_empty_journal_has_nothing);
	tcase_add_test(restart, a_submit_survives);
	tcase_add_test(restart, what_is_not_committed_is_lost);
	tcase_add_test(restart, a_running_job_is_found_running);
	tcase_add_test(restart, a_retried_job_is_found_pending);
	tcase_add_test(restart, after_a_reboot_wall_clock_times_count);
	tcase_add_test(restart, hold_and_session_are_kept);
	tcase_add_test(restart, a_done_job_is_found_done);
	tcase_add_test(restart, live_jobs_come_in_order);
	tcase_add_test(restart, settings_and_queues_are_kept);
	suite_add_tcase(suite, restart);
	tcase_add_checked_fixture(commits, fx_setup_open, fx_teardown);
	tcase_add_test(commits, commits_are_told_in_order);
	tcase_add_test(commits, a_row_stays_until_it_is_committed);
	tcase_add_test(commits, a_batch_has_what_was_when_it_was_named);
	tcase_add_test(commits, ids_and_seqs_never_go_back);
	tcase_add_loop_test(commits, a_killed_journal_has_its_numbers_and_sums, 0, 2);
	tcase_add_test(commits, a_damaged_completion_counts_but_its_bytes_do_not);
	tcase_add_test(commits, commits_are_counted);
	suite_add_tcase(suite, commits);
	tcase_add_checked_fixture(reads, fx_setup_open, fx_teardown);
	tcase_add_test(reads, rows_are_read_by_id);
	tcase_add_test(reads, keys_find_jobs_in_any_phase);
	tcase_add_test(reads, pages_follow_ids);
	tcase_add_test(reads, pages_are_filtered);
	tcase_add_test(reads, a_page_sees_every_change_made_before);
	tcase_add_test(reads, a_dropped_read_is_not_told);
	tcase_add_test(reads, done_jobs_are_read_in_seq_order);
	tcase_add_test(reads, live_streams_never_touch_the_disk);
	tcase_add_test(reads, output_is_kept);
	tcase_add_test(reads, an_old_read_does_not_bring_back_the_past);
	tcase_add_test(reads, environments_and_large_data_are_kept_once);
	tcase_add_test(reads, environments_can_go_with_the_job);
	suite_add_tcase(suite, reads);
	tcase_add_checked_fixture(history, fx_setup_open, fx_teardown);
	tcase_set_timeout(history, 60);
	tcase_add_test(history, a_forgotten_job_is_unknown);
	tcase_add_test(history, history_is_pruned_by_number_per_user);
	tcase_add_test(history, history_is_pruned_by_bytes_and_age);
	tcase_add_test(history, a_pinned_row_goes_with_its_last_pin);
	tcase_add_test(history, what_was_pinned_at_the_end_goes_later);
	tcase_add_test(history, the_view_tells_what_happened);
	tcase_add_test(history, others_may_read_while_it_writes);
	suite_add_tcase(suite, history);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
