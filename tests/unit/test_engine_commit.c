/*
 * What the engine may do before a commit, and what only after: on a store whose commits come when
 * the test says so, and which can be full or fail.
 */
#include "engine_fixture.h"

#define LATE_MAX 256

static struct late {
	struct store *store;
	const struct store_ops *inner;
	struct store_ops ops;
	struct late_commit {
		store_commit_cb cb;
		void *arg;
	} commits[LATE_MAX];
	size_t n, at; /* asked for; done */
	char kept[512]; /* "max_running=3 gpu=2/paused " */
	char failed[64];
	int shut_down;
} late;

static void
late_commit(struct store *s, store_commit_cb cb, void *arg)
{
	(void)s;
	MUST(late.n < LATE_MAX);
	late.commits[late.n++] = (struct late_commit){ cb, arg };
}

static int
late_recover(struct store *s, const struct store_recovery *recovery)
{
	(void)s, (void)recovery;
	return 0;
}

static struct row *
late_load(struct store *s, uint64_t id, int *error)
{
	(void)s, (void)id;
	*error = 0;
	return NULL;
}

static void __attribute__((format(printf, 1, 2)))
note_kept(const char *format, ...)
{
	size_t len = strlen(late.kept);
	va_list ap;

	va_start(ap, format);
	vsnprintf(late.kept + len, sizeof late.kept - len, format, ap);
	va_end(ap);
}

static int
late_keep_setting(struct store *s, const char *name, int64_t value)
{
	(void)s;
	if (value == STORE_NO_SETTING)
		note_kept("-%s ", name);
	else
		note_kept("%s=%lld ", name, (long long)value);
	return 0;
}

static int
late_keep_queue(struct store *s, const char *queue, int64_t max_running, bool paused)
{
	(void)s;
	if (max_running == STORE_NO_QUEUE)
		note_kept("-%s ", queue);
	else
		note_kept("%s=%lld%s ", queue, (long long)max_running, paused ? "/paused" : "");
	return 0;
}

static struct store *
late_open(const struct engine_options *options, const struct store_bounds *bounds,
    const struct store_hooks *hooks)
{
	struct store *s = store_memory_new(bounds, hooks, 42);

	(void)options;
	late = (struct late){ .store = s, .inner = s->ops, .ops = *s->ops };
	late.ops.commit = late_commit;
	late.ops.recover = late_recover;
	late.ops.load = late_load;
	late.ops.keep_setting = late_keep_setting;
	late.ops.keep_queue = late_keep_queue;
	s->ops = &late.ops;
	s->durable = true;
	return s;
}

static void
on_failed(void *arg, const char *what)
{
	(void)arg;
	snprintf(late.failed + strlen(late.failed), sizeof late.failed - strlen(late.failed), "%s;",
	    what);
}

static void
late_setup(void)
{
	struct engine_options options = fixture_options(&fixture_limits);

	options.durability = ENGINE_FULL;
	options.on_failed = on_failed;
	setup_on(&options, late_open);
}

/* The oldest commit that was asked for is done. */
static void
commit_one(void)
{
	struct late_commit c;

	run();
	MUST(late.at < late.n);
	c = late.commits[late.at++];
	c.cb(c.arg, late.at, 0);
	run();
}

static void
commit_all(void)
{
	run();
	while (late.at < late.n)
		commit_one();
}

/* A request whose answer needs a commit. */
static json_t *
answer(struct client *c, int64_t id)
{
	commit_all();
	return result_of(c, id);
}

static uint64_t
submitted(struct client *c, const char *members)
{
	return (uint64_t)int_at(answer(c, post_submit(c, members)), "job");
}

/* ---- order ---- */

START_TEST(nothing_is_started_or_told_before_the_commit)
{
	struct client c = client_of(1);
	int64_t id = post_submit(&c, "");

	hears_nothing(&c);
	launcher_heard("");
	commit_one();
	launcher_heard("run 1/1 ");
	ck_assert_str_eq(text_at(result_of(&c, id), "phase"), "running");
	hang_up(&c);
}
END_TEST

START_TEST(later_turns_go_on_and_answers_keep_their_order)
{
	struct client c = client_of(1), other = client_of(1);
	int64_t first = post_submit(&c, ""), second, third;

	run();
	second = post_submit(&c, "");
	run();
	third = post(&other, "job.get", "{'job':1}"); /* sees what isn't durable, hears it later */
	run();
	ck_assert_uint_eq(late.n, 2); /* that makes no commit of its own */
	commit_one();
	result_of(&c, first);
	hears_nothing(&c);
	hears_nothing(&other);
	launcher_heard("run 1/1 ");
	commit_one();
	result_of(&c, second);
	launcher_heard("run 2/1 ");
	ck_assert_str_eq(text_at(result_of(&other, third), "phase"), "running");
	hang_up(&c);
	hang_up(&other);
}
END_TEST

START_TEST(answers_that_record_nothing_leave_with_the_commit_before)
{
	struct client c = client_of(1), other = client_of(1);
	int64_t first = post_submit(&c, ""), own = 0;

	run();
	for (int i = 0; i < 3; i++) {
		own = post(&c, "job.get", "{'job':1}");
		post(&other, "job.get", "{'job':1}");
		run();
	}
	ck_assert_uint_eq(late.n, 1);
	ck_assert_uint_eq(engine->in_flight->ndirty, 2);
	ck_assert_uint_eq(c.session->marks, 1);
	hears_nothing(&c);
	hears_nothing(&other);
	hang_up(&other);
	commit_one();
	result_of(&c, first);
	result_of(&c, own);
	ck_assert_uint_eq(c.session->marks, 0);
	own = post(&c, "job.get", "{'job':1}");
	result_of(&c, own); /* nothing is in flight: at once */
	ck_assert_uint_eq(late.n, 1);
	hang_up(&c);
}
END_TEST

START_TEST(a_completion_is_told_and_acknowledged_after_its_commit)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");
	int64_t id = post(&c, "job.result", "{'job':1,'wait_ms':1000}");

	commit_all();
	launcher_heard("run 1/1 ");
	job_exits(job, 0);
	hears_nothing(&c);
	launcher_heard("");
	ck_assert_uint_eq(engine->published_seq, 0);
	commit_all();
	launcher_heard("ack 1/1 ");
	ck_assert_int_eq(int_at(result_of(&c, id), "seq"), 1);
	check_engine();
	hang_up(&c);
}
END_TEST

START_TEST(an_exit_told_twice_is_not_acknowledged_early)
{
	struct client c = client_of(1);
	struct launch_exit x = { .how = LAUNCH_EXITED, .job = submitted(&c,
		    "'retries':{'max':1,'backoff_ms':0}"),
		.attempt = 1, .exit_code = 3 };

	launcher_heard("run 1/1 ");
	leader_ends(1, x);
	run();
	engine_launch_handlers.on_exit(engine, &x); /* the job is at its next attempt by now */
	run();
	launcher_heard("");
	commit_one();
	launcher_heard("ack 1/1 run 1/2 ");
	engine_launch_handlers.on_exit(engine, &x);
	launcher_heard("ack 1/1 ");
	hang_up(&c);
}
END_TEST

START_TEST(an_exit_of_what_counts_as_lost_is_not_acknowledged_early)
{
	struct client c = client_of(1);
	struct launch_exit x = { .how = LAUNCH_EXITED, .job = submitted(&c, ""), .attempt = 1 };

	launcher_heard("run 1/1 ");
	engine_launch_handlers.on_lost(engine, "the connection broke");
	run();
	engine_set_launch(engine, &launcher.launch);
	engine_launch_handlers.on_ready(engine, LAUNCHER);
	job_find(engine, 1)->row->uncommitted = 1; /* (a journal would say so) */
	engine_launch_handlers.on_exit(engine, &x); /* its launcher was alive */
	job_find(engine, 1)->row->uncommitted = 0;
	run();
	launcher_heard(""); /* another engine would take it for one that never ran */
	commit_all();
	launcher_heard("ack 1/1 ");
	outcome_is(1, MSG_OUTCOME_LOST);
	hang_up(&c);
}
END_TEST

START_TEST(output_of_an_attempt_is_not_the_next_ones)
{
	struct client c = client_of(1);
	struct job *job;

	submitted(&c, "'stdout':'capture','retries':{'max':1,'backoff_ms':0}");
	job = job_find(engine, 1);
	ck_assert_ptr_nonnull(job->active->capture);
	job_exits(1, 3);
	phase_is(1, ROW_RUNNING);
	ck_assert_int_eq(job->row->attempt, 2);
	ck_assert_ptr_null(job->active->capture);
	ck_assert_ptr_null(job->row->output);
	commit_all();
	hang_up(&c);
}
END_TEST

START_TEST(a_cancel_while_its_start_is_in_flight_never_starts_it)
{
	struct client c = client_of(1);
	int64_t id = post_submit(&c, ""), cancel;

	run();
	cancel = post(&c, "job.cancel", "{'jobs':[1]}");
	run();
	ck_assert_uint_eq(late.n, 2); /* what is promised is recorded: a crash won't start it */
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	commit_one();
	launcher_heard("");
	ck_assert_str_eq(text_at(result_of(&c, id), "phase"), "running");
	hears_nothing(&c);
	answer(&c, cancel);
	launcher_heard("ack 1/1 ");
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	ck_assert_uint_eq(launcher.starts, 0);
	check_engine();
	hang_up(&c);
}
END_TEST

START_TEST(a_start_recorded_for_one_launcher_does_not_go_to_another)
{
	struct client c = client_of(1);

	post_submit(&c, "");
	run();
	engine_launch_handlers.on_lost(engine, "gone");
	engine_set_launch(engine, &launcher.launch);
	engine_launch_handlers.on_ready(engine, LAUNCHER + 1);
	commit_one(); /* "running", for the one that is gone */
	phase_is(1, ROW_RUNNING);
	ck_assert_int_eq(row_of_job(1)->attempt, 1);
	launcher_heard("");
	commit_all(); /* pending, and once more: now for this one */
	launcher_heard("run 1/1 ");
	ck_assert_uint_eq(engine->store->launcher, LAUNCHER + 1);
	check_job(job_find(engine, 1), ROW_RUNNING);
	hang_up(&c);
}
END_TEST

START_TEST(nothing_starts_before_the_launcher_is_ready)
{
	struct client c = client_of(1);

	engine_launch_handlers.on_lost(engine, "gone");
	engine_set_launch(engine, &launcher.launch);
	submitted(&c, "");
	phase_is(1, ROW_PENDING);
	engine_launch_handlers.on_ready(engine, LAUNCHER);
	commit_all();
	launcher_heard("run 1/1 ");
	hang_up(&c);
}
END_TEST

START_TEST(a_dead_launcher_loses_jobs_and_says_why)
{
	struct client c = client_of(1);

	submitted(&c, "");
	engine_launch_handlers.on_lost(engine, "gone");
	commit_all();
	outcome_is(1, MSG_OUTCOME_LOST);
	ck_assert_int_eq(row_of_job(1)->run->reason, MSG_REASON_LAUNCHER_DIED);
	hang_up(&c);
}
END_TEST

START_TEST(a_drain_is_answered_after_the_last_commit)
{
	struct client c = client_of(1);
	int64_t id;

	submitted(&c, "");
	id = post(&c, "drain", "{'mode':'finish'}");
	commit_all();
	job_exits(1, 0);
	hears_nothing(&c);
	commit_one();
	result_of(&c, id);
	hang_up(&c);
}
END_TEST

/* ---- trouble ---- */

static void
disk_is_full(bool stuck)
{
	engine->store->degraded = true;
	engine->store->stuck = stuck;
	engine->store->hooks.on_degraded(engine->store->hooks.arg, true);
}

static void
disk_has_room(void)
{
	engine->store->degraded = engine->store->stuck = false;
	engine->store->hooks.on_degraded(engine->store->hooks.arg, false);
}

START_TEST(a_full_disk_refuses_and_answers)
{
	struct client c = client_of(1);
	int64_t id;

	submitted(&c, "");
	disk_is_full(true);
	refused(&c, "StorageDegraded", "job.submit", "{'argv':['true']}");
	ok(&c, "job.get", "{'job':1}");
	refused(&c, "StorageDegraded", "limits.set", "{'max_running':2}");
	refused(&c, "StorageDegraded", "queue.pause", "{}");
	ck_assert_uint_eq(late.n, late.at); /* nothing of that was to be recorded */
	disk_has_room();
	id = post_submit(&c, "");
	answer(&c, id);
	hang_up(&c);
}
END_TEST

START_TEST(while_batches_wait_answers_keep_their_order)
{
	struct client c = client_of(1), other = client_of(1);
	int64_t waits, after;

	waits = post_submit(&c, "");
	run();
	disk_is_full(true);
	after = post(&c, "stats.get", "{}");
	hears_nothing(&c);
	ok(&other, "stats.get", "{}");
	disk_has_room();
	commit_all();
	result_of(&c, waits);
	result_of(&c, after);
	hang_up(&c);
	hang_up(&other);
}
END_TEST

START_TEST(exits_wait_for_room)
{
	struct client c = client_of(1);
	json_t *result;

	submitted(&c, "");
	submitted(&c, "");
	launcher_heard("run 1/1 run 2/1 ");
	disk_is_full(true);
	job_exits(1, 0);
	phase_is(1, ROW_RUNNING);
	engine_launch_handlers.on_exit(engine, &(struct launch_exit){ .job = 1, .attempt = 1 });
	launcher_heard("");
	result = ok(&c, "job.cancel", "{'jobs':[1]}"); /* it came too late */
	ck_assert(json_is_false(json_object_get(json_array_get(json_object_get(result, "results"),
	    0), "accepted")));
	ck_assert_uint_eq(late.n, late.at);
	disk_has_room();
	commit_all();
	launcher_heard("ack 1/1 ");
	outcome_is(1, MSG_OUTCOME_EXITED);
	check_engine();
	hang_up(&c);
}
END_TEST

START_TEST(an_exit_that_waits_outlives_its_launcher)
{
	struct client c = client_of(1);

	submitted(&c, "");
	disk_is_full(true);
	job_exits(1, 7);
	engine_launch_handlers.on_lost(engine, "gone");
	run();
	disk_has_room();
	commit_all();
	outcome_is(1, MSG_OUTCOME_EXITED);
	ck_assert_int_eq(row_of_job(1)->run->exit_code, 7);
	hang_up(&c);
}
END_TEST

START_TEST(nothing_starts_while_batches_wait)
{
	struct client c = client_of(1);

	answer(&c, post(&c, "limits.set", "{'max_running':1}"));
	submitted(&c, "");
	submitted(&c, "");
	disk_is_full(true);
	job_exits(1, 0);
	ok(&c, "job.get", "{'job':2}");
	phase_is(2, ROW_PENDING);
	disk_has_room();
	commit_all();
	phase_is(2, ROW_RUNNING);
	hang_up(&c);
}
END_TEST

START_TEST(after_a_failure_not_a_word)
{
	struct client c = client_of(1);

	submitted(&c, "");
	launcher_heard("run 1/1 ");
	job_exits(1, 0);
	post(&c, "stats.get", "{}");
	run();
	engine->store->hooks.on_failed(engine->store->hooks.arg, "fsync");
	engine->store->hooks.on_failed(engine->store->hooks.arg, "fsync");
	ck_assert_str_eq(late.failed, "fsync;");
	post_submit(&c, "");
	hears_nothing(&c);
	engine_launch_handlers.on_exit(engine, &(struct launch_exit){ .job = 9, .attempt = 1 });
	run();
	launcher_heard("");
	hang_up(&c);
}
END_TEST

/* ---- the end ---- */

static void
on_shut_down(void *arg)
{
	(void)arg;
	late.shut_down++;
}

START_TEST(a_shutdown_commits_answers_and_leaves_jobs)
{
	struct client c = client_of(1);
	int64_t last, waits;

	submitted(&c, "'lifetime':'bound'");
	waits = post(&c, "job.result", "{'job':1,'wait_ms':100000}");
	commit_all();
	last = post_submit(&c, "'lifetime':'bound'");
	run();
	engine_shutdown(engine, on_shut_down, NULL);
	hears_nothing(&c);
	commit_one();
	result_of(&c, last);
	commit_all();
	error_of(&c, waits, "ShuttingDown");
	run();
	ck_assert_int_eq(late.shut_down, 1);
	launcher_heard("run 1/1 run 2/1 "); /* and no cancel */
	phase_is(1, ROW_RUNNING);
	phase_is(2, ROW_RUNNING);
	hang_up(&c);
}
END_TEST

START_TEST(a_shutdown_refuses_what_waits_for_room)
{
	struct client c = client_of(1);
	int64_t held;

	answer(&c, post(&c, "limits.set", "{'max_running':1,'max_pending':1}"));
	submitted(&c, "");
	submitted(&c, "");
	held = post_submit(&c, "'on_full':'wait'");
	run();
	engine_shutdown(engine, on_shut_down, NULL);
	commit_all();
	error_of(&c, held, "ShuttingDown");
	commit_all();
	ck_assert_int_eq(late.shut_down, 1);
	phase_is(2, ROW_PENDING);
	hang_up(&c);
}
END_TEST

START_TEST(a_shutdown_does_not_wait_for_ever)
{
	struct client c = client_of(1);

	post_submit(&c, "");
	run();
	engine_shutdown(engine, on_shut_down, NULL);
	run();
	ck_assert_int_eq(late.shut_down, 0);
	engine_shutdown(engine, on_shut_down, NULL); /* asked again: at once */
	ck_assert_int_eq(late.shut_down, 1);
	hang_up(&c);
}
END_TEST

START_TEST(a_retry_is_recorded_during_a_shutdown)
{
	struct client c = client_of(1);

	submitted(&c, "'retries':{'max':1,'backoff_ms':1000}");
	engine_shutdown(engine, on_shut_down, NULL);
	job_exits(1, 1);
	commit_all();
	phase_is(1, ROW_PENDING);
	ck_assert_int_eq(row_of_job(1)->waits, ROW_DUE);
	hang_up(&c);
}
END_TEST

/* ---- what is set at run time ---- */

START_TEST(settings_are_kept_until_they_are_taken_back)
{
	struct client c = client_of(1);

	engine_configure_queue(engine, "gpu", 8);
	answer(&c, post(&c, "limits.set", "{'max_running':3}"));
	answer(&c, post(&c, "queue.set", "{'queue':'gpu','max_running':2}"));
	answer(&c, post(&c, "queue.pause", "{'queue':'gpu'}"));
	answer(&c, post(&c, "queue.set", "{'queue':'new'}"));
	answer(&c, post(&c, "queue.pause", "{'queue':'default'}"));
	ck_assert_str_eq(late.kept,
	    "max_running=3 gpu=2 gpu=2/paused new=-2 default=-2/paused ");
	late.kept[0] = '\0';
	engine_configure_queue(engine, "gpu", 9); /* a reload doesn't change it */
	ck_assert_uint_eq(queue_limit(queue_find(engine->queues, "gpu")), 2);
	answer(&c, post(&c, "limits.set", "{'reset':true}"));
	answer(&c, post(&c, "queue.resume", "{}"));
	answer(&c, post(&c, "queue.remove", "{'queue':'new'}"));
	ck_assert_str_eq(late.kept, "-max_running -all_paused -default gpu=2 -new ");
	hang_up(&c);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("engine commits");
	TCase *tc = tcase_create("commits");

	tcase_add_checked_fixture(tc, late_setup, teardown);
	tcase_add_test(tc, nothing_is_started_or_told_before_the_commit);
	tcase_add_test(tc, later_turns_go_on_and_answers_keep_their_order);
	tcase_add_test(tc, answers_that_record_nothing_leave_with_the_commit_before);
	tcase_add_test(tc, a_completion_is_told_and_acknowledged_after_its_commit);
	tcase_add_test(tc, an_exit_told_twice_is_not_acknowledged_early);
	tcase_add_test(tc, an_exit_of_what_counts_as_lost_is_not_acknowledged_early);
	tcase_add_test(tc, output_of_an_attempt_is_not_the_next_ones);
	tcase_add_test(tc, a_cancel_while_its_start_is_in_flight_never_starts_it);
	tcase_add_test(tc, a_start_recorded_for_one_launcher_does_not_go_to_another);
	tcase_add_test(tc, nothing_starts_before_the_launcher_is_ready);
	tcase_add_test(tc, a_dead_launcher_loses_jobs_and_says_why);
	tcase_add_test(tc, a_drain_is_answered_after_the_last_commit);
	tcase_add_test(tc, a_full_disk_refuses_and_answers);
	tcase_add_test(tc, while_batches_wait_answers_keep_their_order);
	tcase_add_test(tc, exits_wait_for_room);
	tcase_add_test(tc, an_exit_that_waits_outlives_its_launcher);
	tcase_add_test(tc, nothing_starts_while_batches_wait);
	tcase_add_test(tc, after_a_failure_not_a_word);
	tcase_add_test(tc, a_shutdown_commits_answers_and_leaves_jobs);
	tcase_add_test(tc, a_shutdown_refuses_what_waits_for_room);
	tcase_add_test(tc, a_shutdown_does_not_wait_for_ever);
	tcase_add_test(tc, a_retry_is_recorded_during_a_shutdown);
	tcase_add_test(tc, settings_are_kept_until_they_are_taken_back);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return run_suite(make_suite());
}
