/*
 * What becomes of jobs: starting, ending, cancelling, retries, delays, dependencies, binding,
 * keys, room, limits, draining, and the loss of the launcher.
 */
#include "engine_fixture.h"
#include "engine/spec.h"

static struct client c;

static void
begin(void)
{
	setup();
	c = client_of(1);
}

static void
end(void)
{
	check_engine();
	hang_up(&c);
	teardown();
}

static void
limit(uint32_t max_running)
{
	ok(&c, "limits.set", "{'max_running':%u}", max_running);
}

static bool
cancel(uint64_t job)
{
	json_t *results = json_object_get(ok(&c, "job.cancel", "{'jobs':[%d]}", (int)job),
	    "results");

	return json_is_true(json_object_get(json_array_get(results, 0), "accepted"));
}

static const char *
reason_of(uint64_t job)
{
	return text_at(ok(&c, "job.get", "{'job':%d}", (int)job), "reason");
}

/* ---- the way of a job ---- */

START_TEST(a_job_runs_and_ends)
{
	json_t *result = result_of(&c, post_submit(&c, ""));

	ck_assert_int_eq(int_at(result, "job"), 1);
	ck_assert_str_eq(text_at(result, "phase"), "running");
	ck_assert(json_is_false(json_object_get(result, "existing")));
	launcher_heard("run 1/1 ");
	advance_ms(30);
	job_exits(1, 0);
	launcher_heard("ack 1/1 ");
	outcome_is(1, MSG_OUTCOME_EXITED);
	ck_assert(row_of_job(1)->run->ok);
	ck_assert_uint_eq(row_of_job(1)->run->seq, 1);
	ck_assert_int_eq(row_of_job(1)->run->started_us, WALL_US);
	ck_assert_int_eq(row_of_job(1)->run->finished_us, WALL_US + 30000);
	ck_assert_uint_eq(engine->jobs.count, 0);
}
END_TEST

START_TEST(the_launcher_hears_of_it_after_the_commit)
{
	post_submit(&c, "");
	phase_is(1, ROW_RUNNING);
	launcher_heard("");
	ck_assert(!take_bytes(&c, 1000)); /* nor does the client */
	run();
	launcher_heard("run 1/1 ");
	ck_assert(take_bytes(&c, 1000));
}
END_TEST

START_TEST(an_exit_is_acknowledged_after_its_commit)
{
	submit(&c, "");
	launcher_heard("run 1/1 ");
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 3 });
	launcher_heard("");
	outcome_is(1, MSG_OUTCOME_EXITED);
	run();
	launcher_heard("ack 1/1 ");
	ck_assert_uint_eq(engine->jobs.count, 1); /* its processes aren't gone */
	processes_gone(1);
	ck_assert_uint_eq(engine->jobs.count, 0);
}
END_TEST

/* The flat record says of every exit code what the message said. */
START_TEST(a_built_spec_knows_its_ok_codes)
{
	static const uint64_t sets[][4] = { { 1 }, { 0 }, { 2 }, { 3 }, { 1, 0, 0, 1 }, { 0, 1 },
		{ 1, 0, 0, UINT64_C(1) << 63 }, { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } };
	const struct msg_bytes word = { "true", 4 };
	const struct spec_context none = { 0 };

	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		struct msg_spec m;
		struct spec *s;
		struct body b;

		msg_spec_init(&m);
		m.argv = (struct msg_bytes_list){ &word, 1 };
		memcpy(m.ok_codes, sets[i], sizeof m.ok_codes);
		s = spec_build(&m, &none);
		ck_assert_ptr_nonnull(s);
		for (int code = 0; code < 256; code++)
			ck_assert_int_eq(spec_is_ok(s, code), msg_spec_is_ok(&m, code));
		ck_assert_int_eq(s->ok_off == 0, i == 0);
		spec_body(s, &b);
		ck_assert_str_eq(b.argv, "true");
		free(s);
	}
}
END_TEST

START_TEST(each_kind_of_end_has_its_outcome)
{
	submit(&c, "'ok_codes':[3,4]");
	job_exits(1, 4);
	outcome_is(1, MSG_OUTCOME_EXITED);
	ck_assert(row_of_job(1)->run->ok);

	submit(&c, "'ok_codes':[3,4]");
	job_exits(2, 0);
	outcome_is(2, MSG_OUTCOME_EXITED);
	ck_assert(!row_of_job(2)->run->ok);

	submit(&c, "");
	job_is_killed(3, 9, LAUNCH_CAUSE_NONE);
	outcome_is(3, MSG_OUTCOME_SIGNALED);
	ck_assert_int_eq(row_of_job(3)->run->signal, 9);
	ck_assert_int_eq(row_of_job(3)->run->exit_code, -1);

	submit(&c, "");
	leader_ends(4, (struct launch_exit){ .how = LAUNCH_SPAWN_FAILED,
	    .step = LAUNCH_STEP_EXEC, .error = ENOENT });
	processes_gone(4);
	run();
	outcome_is(4, MSG_OUTCOME_SPAWN_FAILED);
	ck_assert_int_eq(row_of_job(4)->run->error, ENOENT);

	launcher.refuse = EPIPE;
	submit(&c, "");
	outcome_is(5, MSG_OUTCOME_SPAWN_FAILED);
	ck_assert_int_eq(row_of_job(5)->run->step, LAUNCH_STEP_CLONE);
	ck_assert_int_eq(row_of_job(5)->run->error, EPIPE);
	ck_assert_uint_eq(engine->store->last_seq, 5);
}
END_TEST

START_TEST(a_timeout_is_told_from_other_ends)
{
	submit(&c, "'timeout_ms':50");
	job_is_killed(1, 15, LAUNCH_CAUSE_TIMEOUT);
	outcome_is(1, MSG_OUTCOME_TIMED_OUT);
	submit(&c, "'timeout_ms':50"); /* it ended orderly when asked to */
	leader_ends(2, (struct launch_exit){ .how = LAUNCH_EXITED, .cause = LAUNCH_CAUSE_TIMEOUT });
	run();
	outcome_is(2, MSG_OUTCOME_TIMED_OUT);
	ck_assert(!row_of_job(2)->run->ok);
	processes_gone(2);
}
END_TEST

/* A launcher that repeats itself is only acknowledged. */
START_TEST(a_job_ends_once)
{
	const struct launch_exit again = { .job = 1, .attempt = 1, .how = LAUNCH_EXITED,
		.exit_code = 7 };

	submit(&c, "");
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED });
	engine_launch_handlers.on_exit(engine, &again);
	run();
	engine_launch_handlers.on_exit(engine, &again);
	processes_gone(1);
	run();
	engine_launch_handlers.on_exit(engine, &again);
	engine_launch_handlers.on_gone(engine, 1, 1, false);
	run();
	launcher_heard("run 1/1 ack 1/1 ack 1/1 ack 1/1 "); /* the first time by its commit */
	ck_assert_int_eq(row_of_job(1)->run->exit_code, 0);
	ck_assert_uint_eq(engine->store->last_seq, 1);
	ck_assert_uint_eq(engine->stats.completed, 1);
	/* Nor does it take an exit for an attempt that is none, or for no job. */
	submit(&c, "");
	engine_launch_handlers.on_exit(engine,
	    &(struct launch_exit){ .job = 2, .attempt = 2, .how = LAUNCH_EXITED });
	engine_launch_handlers.on_exit(engine,
	    &(struct launch_exit){ .job = 99, .attempt = 1, .how = LAUNCH_EXITED });
	run();
	phase_is(2, ROW_RUNNING);
	job_exits(2, 0);
}
END_TEST

START_TEST(seq_is_the_order_of_ends)
{
	for (int i = 0; i < 4; i++)
		submit(&c, "");
	job_exits(3, 0);
	job_exits(1, 1);
	cancel(4);
	job_exits(2, 0);
	job_is_killed(4, 15, LAUNCH_CAUSE_CANCEL);
	ck_assert_uint_eq(row_of_job(3)->run->seq, 1);
	ck_assert_uint_eq(row_of_job(1)->run->seq, 2);
	ck_assert_uint_eq(row_of_job(2)->run->seq, 3);
	ck_assert_uint_eq(row_of_job(4)->run->seq, 4);
}
END_TEST

/* ---- cancel ---- */

START_TEST(cancel_while_pending_never_starts)
{
	limit(1);
	submit(&c, "");
	submit(&c, "");
	launcher_heard("run 1/1 ");
	ck_assert(cancel(2));
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	job_exits(1, 0);
	launcher_heard("ack 1/1 ");
	ck_assert(!cancel(2));
}
END_TEST

START_TEST(cancel_between_start_and_commit_never_launches)
{
	int64_t submitted = post_submit(&c, "");
	int64_t cancelled = post(&c, "job.cancel", "{'jobs':[1],'wait':true}");
	json_t *item;

	ck_assert_str_eq(text_at(result_of(&c, submitted), "phase"), "running");
	item = json_array_get(json_object_get(result_of(&c, cancelled), "results"), 0);
	ck_assert(json_is_true(json_object_get(item, "accepted")));
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	launcher_heard("ack 1/1 ");
	ck_assert_uint_eq(launcher.starts, 0);
	ck_assert_uint_eq(slot_executor_running(engine->executor), 0);
}
END_TEST

START_TEST(cancel_of_a_running_job_takes_effect_with_its_exit)
{
	submit(&c, "");
	ok(&c, "job.cancel", "{'jobs':[1],'grace_ms':70}");
	phase_is(1, ROW_RUNNING);
	launcher_heard("run 1/1 cancel 1/1 ");
	ck_assert_int_eq(fake_find(1)->grace_ms, 70);
	job_is_killed(1, 15, LAUNCH_CAUSE_CANCEL);
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(1)->run->signal, 15);
	ck_assert_int_eq(row_of_job(1)->run->reason, MSG_REASON_CLIENT);
	/* Even if it ends well. */
	submit(&c, "");
	ck_assert(cancel(2));
	ck_assert(cancel(2));
	job_exits(2, 0);
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(2)->run->exit_code, 0);
	ck_assert(!row_of_job(2)->run->ok);
}
END_TEST

START_TEST(the_grace_is_the_request_s_then_the_job_s_then_the_daemon_s)
{
	submit(&c, "'kill_grace_ms':9");
	submit(&c, "");
	ok(&c, "job.cancel", "{'jobs':[1,2]}");
	ck_assert_int_eq(fake_find(1)->grace_ms, 9);
	ck_assert_int_eq(fake_find(2)->grace_ms, 5000);
	ok(&c, "job.cancel", "{'jobs':[1,2],'grace_ms':0}");
	ck_assert_int_eq(fake_find(1)->grace_ms, 0);
	ck_assert_int_eq(fake_find(2)->grace_ms, 0);
	job_exits(1, 0);
	job_exits(2, 0);
}
END_TEST

START_TEST(cancel_after_the_exit_is_refused)
{
	submit(&c, "'stdout':'capture'"); /* its output is to be drained first */
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 0 });
	phase_is(1, ROW_RUNNING);
	ck_assert(!job_cancel(job_find(engine, 1), -1, MSG_REASON_CLIENT));
	run();
	outcome_is(1, MSG_OUTCOME_EXITED);
	processes_gone(1);
}
END_TEST

/* The exit is known but not what will become of it: another attempt, which a cancel must stop. */
START_TEST(cancel_after_an_exit_that_would_be_retried_stops_the_retry)
{
	submit(&c, "'stdout':'capture','retries':{'max':3,'backoff_ms':10}");
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 1 });
	phase_is(1, ROW_RUNNING);
	ck_assert(job_cancel(job_find(engine, 1), -1, MSG_REASON_CLIENT));
	run();
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(1)->run->exit_code, 1);
	advance_ms(1000);
	launcher_heard("run 1/1 ack 1/1 ");
	processes_gone(1);
}
END_TEST

START_TEST(cancel_with_wait_answers_when_no_process_is_left)
{
	int64_t waiting;

	submit(&c, "");
	waiting = post(&c, "job.cancel", "{'jobs':[1],'wait':true}");
	ck_assert_ptr_null(response(&c, waiting));
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 15 });
	ck_assert_ptr_null(response(&c, waiting));
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	processes_gone(1);
	result_of(&c, waiting);
	/* A job that is done may have left some. */
	submit(&c, "");
	leader_ends(2, (struct launch_exit){ .how = LAUNCH_EXITED });
	run();
	waiting = post(&c, "job.cancel", "{'jobs':[2,1],'wait':true}");
	ck_assert_ptr_null(response(&c, waiting));
	processes_gone(2);
	result_of(&c, waiting);
}
END_TEST

START_TEST(any_unknown_id_refuses_a_cancel)
{
	submit(&c, "");
	refused(&c, "NoSuchJob", "job.cancel", "{'jobs':[1,2]}");
	launcher_heard("run 1/1 ");
	ok(&c, "job.cancel", "{'jobs':[1,1]}");
	job_exits(1, 0);
	outcome_is(1, MSG_OUTCOME_CANCELLED);
}
END_TEST

START_TEST(a_signal_follows_the_start)
{
	int64_t signalled;

	post_submit(&c, "");
	signalled = post(&c, "job.signal", "{'job':1,'signal':'HUP'}");
	launcher_heard("");
	ck_assert_ptr_null(response(&c, signalled));
	launcher_heard("run 1/1 signal 1/1 ");
	engine_launch_handlers.on_signaled(engine, fake_find(1)->token, 0);
	result_of(&c, signalled);
	signalled = post(&c, "job.signal", "{'job':1,'signal':15}");
	run();
	engine_launch_handlers.on_signaled(engine, fake_find(1)->token, ESRCH);
	error_of(&c, signalled, "InvalidState");
	job_exits(1, 0);
	refused(&c, "InvalidState", "job.signal", "{'job':1,'signal':15}");
}
END_TEST

/* ---- retries ---- */

START_TEST(retries_back_off_twice_as_long_each_time)
{
	submit(&c, "'retries':{'max':3,'backoff_ms':100}");
	job_exits(1, 1);
	phase_is(1, ROW_PENDING);
	launcher_heard("run 1/1 ack 1/1 ");
	ck_assert_str_eq(reason_of(1), "retry");
	advance_ms(99);
	phase_is(1, ROW_PENDING);
	advance_ms(1);
	launcher_heard("run 1/2 ");
	job_exits(1, 1);
	advance_ms(199);
	launcher_heard("ack 1/2 ");
	advance_ms(1);
	launcher_heard("run 1/3 ");
	job_exits(1, 1);
	advance_ms(399);
	launcher_heard("ack 1/3 ");
	advance_ms(1);
	launcher_heard("run 1/4 ");
	ck_assert_uint_eq(engine->store->last_seq, 0);
	job_exits(1, 5);
	outcome_is(1, MSG_OUTCOME_EXITED);
	ck_assert_int_eq(row_of_job(1)->run->exit_code, 5);
	ck_assert_uint_eq(row_of_job(1)->attempt, 4);
	ck_assert_uint_eq(engine->store->last_seq, 1);
	ck_assert_uint_eq(engine->jobs.count, 0);
}
END_TEST

START_TEST(backing_off_ends_at_an_hour)
{
	submit(&c, "'retries':{'max':40,'backoff_ms':1000}");
	for (int i = 0; i < 30; i++) {
		job_exits(1, 1);
		advance_ms(3600 * 1000);
		phase_is(1, ROW_RUNNING);
	}
	job_exits(1, 1);
	advance_ms(3600 * 1000 - 1);
	phase_is(1, ROW_PENDING);
	advance_ms(1);
	job_exits(1, 0);
	outcome_is(1, MSG_OUTCOME_EXITED);
}
END_TEST

START_TEST(a_retry_without_back_off_starts_at_once)
{
	submit(&c, "'retries':{'max':1,'backoff_ms':0}");
	job_exits(1, 1);
	launcher_heard("run 1/1 ack 1/1 run 1/2 ");
	job_exits(1, 0);
	ck_assert(row_of_job(1)->run->ok);
}
END_TEST

START_TEST(only_what_is_asked_for_is_retried)
{
	submit(&c, "'retries':{'max':1,'backoff_ms':0}"); /* spawn_failed is not, by default */
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_SPAWN_FAILED,
	    .step = LAUNCH_STEP_EXEC, .error = ENOENT });
	processes_gone(1);
	run();
	outcome_is(1, MSG_OUTCOME_SPAWN_FAILED);
	submit(&c, "'retries':{'max':1,'backoff_ms':0,'on':['spawn_failed']}");
	leader_ends(2, (struct launch_exit){ .how = LAUNCH_SPAWN_FAILED,
	    .step = LAUNCH_STEP_EXEC, .error = ENOENT });
	processes_gone(2);
	run();
	phase_is(2, ROW_RUNNING);
	job_exits(2, 1);
	outcome_is(2, MSG_OUTCOME_EXITED);
	submit(&c, "'retries':{'max':1,'backoff_ms':0}");
	job_is_killed(3, 15, LAUNCH_CAUSE_TIMEOUT);
	phase_is(3, ROW_RUNNING);
	job_is_killed(3, 9, LAUNCH_CAUSE_NONE);
	outcome_is(3, MSG_OUTCOME_SIGNALED);
	submit(&c, "'retries':{'max':1,'backoff_ms':0},'ok_codes':[7]");
	job_exits(4, 7);
	outcome_is(4, MSG_OUTCOME_EXITED);
}
END_TEST

START_TEST(cancel_in_back_off_ends_the_job)
{
	submit(&c, "'retries':{'max':3,'backoff_ms':100}");
	job_exits(1, 1);
	ck_assert(cancel(1));
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	advance_ms(10000);
	ck_assert_uint_eq(launcher.starts, 1);
	ck_assert_uint_eq(engine->jobs.count, 0);
}
END_TEST

/* The first attempt's processes may outlive it, into the next one and beyond. */
START_TEST(a_job_stays_until_the_processes_of_all_attempts_are_gone)
{
	int64_t waiting;

	submit(&c, "'retries':{'max':1,'backoff_ms':0}");
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 1 });
	run();
	phase_is(1, ROW_RUNNING);
	waiting = post(&c, "job.cancel", "{'jobs':[1],'wait':true}");
	job_exits(1, 1);
	ck_assert_ptr_null(response(&c, waiting));
	engine_launch_handlers.on_gone(engine, 1, 1, true);
	result_of(&c, waiting);
}
END_TEST

/* ---- time ---- */

START_TEST(a_delay_is_kept_whatever_the_wall_clock_does)
{
	submit(&c, "'delay_ms':1000");
	ck_assert_str_eq(reason_of(1), "delay");
	slot_loop_set_wall_us(loop, WALL_US + 3600000000);
	job_clock_changed(engine);
	run();
	phase_is(1, ROW_PENDING);
	slot_loop_set_wall_us(loop, WALL_US - 3600000000);
	job_clock_changed(engine);
	advance_ms(999);
	phase_is(1, ROW_PENDING);
	advance_ms(1);
	phase_is(1, ROW_RUNNING);
	job_exits(1, 0);
}
END_TEST

START_TEST(not_before_follows_the_wall_clock)
{
	submitf(&c, "'not_before_us':%lld", WALL_US + 10000000LL);
	submitf(&c, "'not_before_us':%lld", WALL_US + 20000000LL);
	submitf(&c, "'not_before_us':%lld", WALL_US - 1LL); /* past: at once */
	phase_is(3, ROW_RUNNING);
	advance_ms(9000);
	phase_is(1, ROW_PENDING);
	/* Set back by 5 s: it takes so much longer. */
	slot_loop_set_wall_us(loop, WALL_US + 4000000);
	job_clock_changed(engine);
	advance_ms(5999);
	phase_is(1, ROW_PENDING);
	advance_ms(1);
	phase_is(1, ROW_RUNNING);
	/* Set forward: due now. */
	phase_is(2, ROW_PENDING);
	slot_loop_set_wall_us(loop, WALL_US + 20000000);
	job_clock_changed(engine);
	run();
	phase_is(2, ROW_RUNNING);
	for (uint64_t job = 1; job <= 3; job++)
		job_exits(job, 0);
}
END_TEST

/* Nobody said that the clock was set: the timer finds out when it fires. */
START_TEST(a_timer_that_fires_too_early_by_the_wall_clock_waits_on)
{
	submitf(&c, "'not_before_us':%lld", WALL_US + 10000000LL);
	slot_loop_set_wall_us(loop, WALL_US - 10000000);
	advance_ms(10000);
	phase_is(1, ROW_PENDING);
	advance_ms(9999);
	phase_is(1, ROW_PENDING);
	advance_ms(1);
	phase_is(1, ROW_RUNNING);
	job_exits(1, 0);
}
END_TEST

/* ---- after ---- */

START_TEST(a_job_starts_after_those_it_names)
{
	submit(&c, "");
	submit(&c, "");
	submit(&c, "'after':[1,2,1]");
	ck_assert_str_eq(reason_of(3), "after");
	job_exits(1, 0);
	phase_is(3, ROW_PENDING);
	job_exits(2, 0);
	phase_is(3, ROW_RUNNING);
	submit(&c, "'after':[1,2]"); /* done: decides at once */
	phase_is(4, ROW_RUNNING);
	job_exits(3, 0);
	job_exits(4, 0);
}
END_TEST

START_TEST(a_failure_fails_those_after_it)
{
	submit(&c, "");
	submit(&c, "'after':[1]");
	submit(&c, "'after':[2]");
	submit(&c, "'after':[1],'after_policy':'any'");
	submit(&c, "'after':[2,3],'after_policy':'any'");
	job_exits(1, 1);
	outcome_is(2, MSG_OUTCOME_DEPENDENCY_FAILED);
	outcome_is(3, MSG_OUTCOME_DEPENDENCY_FAILED);
	phase_is(4, ROW_RUNNING);
	phase_is(5, ROW_RUNNING);
	ck_assert_str_eq(text_at(result_of(&c, post_submit(&c, "'after':[1]")), "phase"), "done");
	outcome_is(6, MSG_OUTCOME_DEPENDENCY_FAILED);
	job_exits(4, 0);
	job_exits(5, 0);
}
END_TEST

START_TEST(cancelled_is_not_ok_for_those_after_it)
{
	submit(&c, "");
	submit(&c, "'after':[1]");
	cancel(1);
	phase_is(2, ROW_PENDING);
	job_is_killed(1, 15, LAUNCH_CAUSE_CANCEL);
	outcome_is(2, MSG_OUTCOME_DEPENDENCY_FAILED);
}
END_TEST

START_TEST(only_the_last_attempt_releases_those_after_it)
{
	submit(&c, "'retries':{'max':1,'backoff_ms':0}");
	submit(&c, "'after':[1]");
	job_exits(1, 1);
	phase_is(2, ROW_PENDING);
	job_exits(1, 0);
	phase_is(2, ROW_RUNNING);
	job_exits(2, 0);
}
END_TEST

START_TEST(a_batch_may_name_its_earlier_jobs)
{
	json_t *ids;

	refused(&c, "InvalidParams", "job.submit_batch",
	    "{'jobs':[{'argv':['a'],'after':[-2]},{'argv':['b']}]}");
	refused(&c, "InvalidParams", "job.submit_batch",
	    "{'jobs':[{'argv':['a']},{'argv':['b'],'after':[-2]}]}");
	refused(&c, "NoSuchJob", "job.submit", "{'argv':['a'],'after':[7]}");
	ck_assert_uint_eq(engine->jobs.count, 0); /* all or none */
	ids = json_object_get(ok(&c, "job.submit_batch", "{'jobs':[{'argv':['a']},{'argv':['b'],"
	    "'after':[-1]},{'argv':['c'],'after':[-1,-2]}],'defaults':{'stdout':'null',"
	    "'stderr':'null'}}"), "jobs");
	ck_assert_uint_eq(json_array_size(ids), 3);
	job_exits(1, 0);
	phase_is(2, ROW_RUNNING);
	phase_is(3, ROW_PENDING);
	job_exits(2, 0);
	job_exits(3, 0);
}
END_TEST

START_TEST(a_job_can_wait_for_time_and_jobs_and_its_turn)
{
	submit(&c, "");
	submit(&c, "'after':[1],'delay_ms':100");
	ok(&c, "job.set", "{'job':2,'hold':true}");
	ck_assert_str_eq(reason_of(2), "hold");
	job_exits(1, 0);
	advance_ms(200);
	phase_is(2, ROW_PENDING);
	limit(0);
	ok(&c, "job.set", "{'job':2,'hold':false}");
	ck_assert_str_eq(reason_of(2), "paused");
	limit(1);
	phase_is(2, ROW_RUNNING);
	job_exits(2, 0);
}
END_TEST

#define MANY 10000
#define SLICE 256 /* at most so many between two looks at the descriptors */

static struct slot_call turn;
static uint64_t turn_began, most_in_a_turn;

static void
on_turn(struct slot_call *call)
{
	uint64_t now = engine->store->last_seq;

	if (now - turn_began > most_in_a_turn)
		most_in_a_turn = now - turn_began;
	turn_began = now;
	if (engine->npending + engine->nrunning > 0)
		slot_loop_call_at_turn_end(loop, call);
}

/* Runs until nothing is left to do, with a bound on what ends in one turn. */
static void
run_in_slices(void)
{
	turn.run = on_turn;
	turn_began = engine->store->last_seq;
	most_in_a_turn = 0;
	slot_loop_call_at_turn_end(loop, &turn);
	run();
	ck_assert_uint_gt(most_in_a_turn, 0);
	ck_assert_uint_le(most_in_a_turn, 3 * SLICE);
}

START_TEST(a_wide_cascade_goes_in_slices)
{
	submit(&c, "");
	for (int i = 0; i < MANY; i++)
		post_submit(&c, "'after':[1]");
	run();
	listen_to(&c);
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 1 });
	processes_gone(1);
	run_in_slices();
	ck_assert_uint_eq(engine->store->last_seq, MANY + 1);
	ck_assert_uint_eq(engine->jobs.count, 0);
	ck_assert_uint_eq(launcher.starts, 1);
}
END_TEST

START_TEST(a_deep_cascade_goes_in_slices)
{
	submit(&c, "");
	for (int i = 1; i <= MANY; i++) {
		char members[64];

		snprintf(members, sizeof members, "'after':[%d]", i);
		post_submit(&c, members);
	}
	run();
	listen_to(&c);
	cancel(1);
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 15 });
	processes_gone(1);
	run_in_slices();
	ck_assert_uint_eq(engine->store->last_seq, MANY + 1);
	ck_assert_uint_eq(engine->jobs.count, 0);
	outcome_is(MANY + 1, MSG_OUTCOME_DEPENDENCY_FAILED);
}
END_TEST

START_TEST(cancelling_very_many_goes_in_slices)
{
	ok(&c, "limits.set", "{'max_running':0}");
	for (int i = 0; i < MANY; i++)
		post_submit(&c, "");
	listen_to(&c);
	post(&c, "drain", "{'mode':'cancel'}");
	run_in_slices();
	ck_assert_uint_eq(engine->stats.cancelled, MANY);
	result_of(&c, c.id);
}
END_TEST

/* ---- bound ---- */

START_TEST(bound_jobs_end_with_their_session)
{
	struct client other = client_of(1);

	submit(&other, "'lifetime':'bound'");
	submit(&other, "");
	submit(&other, "'lifetime':'bound','delay_ms':50");
	launcher_heard("run 1/1 run 2/1 ");
	hang_up(&other);
	run();
	launcher_heard("cancel 1/1 ");
	outcome_is(3, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(3)->run->reason, MSG_REASON_SESSION_ENDED);
	job_is_killed(1, 15, LAUNCH_CAUSE_CANCEL);
	outcome_is(1, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(1)->run->reason, MSG_REASON_SESSION_ENDED);
	job_exits(2, 0);
	outcome_is(2, MSG_OUTCOME_EXITED);
}
END_TEST

START_TEST(very_many_bound_jobs_end_in_slices)
{
	struct client other = client_of(1);

	ok(&c, "limits.set", "{'max_running':0}");
	for (int i = 0; i < MANY; i++)
		post_submit(&other, "'lifetime':'bound'");
	listen_to(&other);
	hang_up(&other);
	run_in_slices();
	ck_assert_uint_eq(engine->stats.cancelled, MANY);
	ck_assert_int_eq(row_of_job(MANY)->run->reason, MSG_REASON_SESSION_ENDED);
}
END_TEST

START_TEST(a_half_closed_session_keeps_its_jobs)
{
	struct client other = client_of(1);
	int64_t result;

	submit(&other, "'lifetime':'bound'");
	result = post(&other, "job.result", "{'job':1,'wait_ms':100000}");
	session_feed(other.session, NULL, 0, NULL, 0);
	run();
	phase_is(1, ROW_RUNNING);
	launcher_heard("run 1/1 ");
	job_exits(1, 0);
	ck_assert_str_eq(text_at(result_of(&other, result), "outcome"), "exited");
	ck_assert(other.session->closed);
	hang_up(&other);
}
END_TEST

START_TEST(a_session_can_be_taken_over)
{
	struct client other = client_of(1), stranger = client_of(2);
	char token[64];

	snprintf(token, sizeof token, "%s", text_at(ok(&other, "hello", "{}"), "session"));
	submit(&other, "'lifetime':'bound'");
	ok(&stranger, "hello", "{'session':'%s'}", token); /* not its own */
	ck_assert_str_eq(text_at(ok(&c, "hello", "{'session':'%s'}", token), "session"), token);
	hang_up(&other);
	hang_up(&stranger);
	run();
	launcher_heard("run 1/1 ");
	job_exits(1, 0);
	outcome_is(1, MSG_OUTCOME_EXITED);
}
END_TEST

/* ---- keys ---- */

START_TEST(one_key_makes_one_job)
{
	struct client stranger = client_of(2);
	json_t *result;

	ck_assert_uint_eq(submit(&c, "'key':'k','tag':1"), 1);
	result = result_of(&c, post_submit(&c, "'key':'k','tag':1"));
	ck_assert_int_eq(int_at(result, "job"), 1);
	ck_assert(json_is_true(json_object_get(result, "existing")));
	ck_assert_str_eq(text_at(result, "phase"), "running");
	post_submit(&c, "'key':'k','tag':2");
	ck_assert_int_eq(int_at(error_of(&c, c.id, "KeyConflict"), "job"), 1);
	post_submit(&c, "'key':'k','tag':1,'env':{'A':'1'}");
	error_of(&c, c.id, "KeyConflict");
	ck_assert_uint_eq(submit(&stranger, "'key':'k','tag':2"), 2);
	job_exits(1, 0);
	result = result_of(&c, post_submit(&c, "'key':'k','tag':1"));
	ck_assert_int_eq(int_at(result, "job"), 1);
	ck_assert_str_eq(text_at(result, "phase"), "done");
	ok(&c, "job.forget", "{'jobs':[1]}");
	ck_assert_uint_eq(submit(&c, "'key':'k','tag':2"), 3);
	job_exits(2, 0);
	job_exits(3, 0);
	hang_up(&stranger);
}
END_TEST

START_TEST(a_batch_is_retried_by_its_keys)
{
	const char *batch = "{'jobs':[{'argv':['a'],'key':'a'},{'argv':['b'],'key':'b',"
	    "'after':[-1]},{'argv':['c']}],'defaults':{'stdout':'null','stderr':'null'}}";
	json_t *ids;

	ok(&c, "job.submit_batch", "%s", batch);
	ids = json_object_get(ok(&c, "job.submit_batch", "%s", batch), "jobs");
	ck_assert_int_eq(json_integer_value(json_array_get(ids, 0)), 1);
	ck_assert_int_eq(json_integer_value(json_array_get(ids, 1)), 2);
	ck_assert_int_eq(json_integer_value(json_array_get(ids, 2)), 4);
	ck_assert_uint_eq(engine->jobs.count, 4);
}
END_TEST

START_TEST(a_key_given_twice_in_a_batch_makes_one_job)
{
	json_t *ids = json_object_get(ok(&c, "job.submit_batch", "{'jobs':[{'argv':['a'],"
	    "'key':'k'},{'argv':['b']},{'argv':['a'],'key':'k'}]}"), "jobs");

	ck_assert_int_eq(json_integer_value(json_array_get(ids, 0)), 1);
	ck_assert_int_eq(json_integer_value(json_array_get(ids, 1)), 2);
	ck_assert_int_eq(json_integer_value(json_array_get(ids, 2)), 1);
	ck_assert_uint_eq(engine->jobs.count, 2);
	refused(&c, "KeyConflict", "job.submit_batch", "{'jobs':[{'argv':['a'],'key':'l'},"
	    "{'argv':['b'],'key':'l'}]}");
	ck_assert_uint_eq(engine->jobs.count, 2);
}
END_TEST

/* ---- room ---- */

static void
begin_small(void)
{
	struct engine_limits limits = fixture_limits;

	limits.max_running = 1;
	limits.max_pending = 2;
	setup_with(&limits);
	c = client_of(1);
	for (int i = 0; i < 3; i++)
		submit(&c, ""); /* one runs, two wait: full */
}

START_TEST(a_full_queue_refuses)
{
	post_submit(&c, "");
	ck_assert_int_ge(int_at(error_of(&c, c.id, "QueueFull"), "retry_after_ms"), 1);
	refused(&c, "QueueFull", "job.submit_batch", "{'jobs':[{'argv':['a']},{'argv':['b']}]}");
	job_exits(1, 0);
	refused(&c, "QueueFull", "job.submit_batch", "{'jobs':[{'argv':['a']},{'argv':['b']}]}");
	ck_assert_uint_eq(submit(&c, ""), 4);
}
END_TEST

START_TEST(held_submits_are_admitted_in_order)
{
	struct client other = client_of(1), stranger = client_of(2);
	int64_t a = post_submit(&c, "'on_full':'wait','name':'a'");
	int64_t b = post_submit(&other, "'on_full':'wait','name':'b'");
	int64_t d = post_submit(&c, "'on_full':'wait','name':'d'");
	int64_t s = post_submit(&stranger, "'on_full':'wait','name':'s'");

	ck_assert_ptr_null(response(&c, a));
	ck_assert_ptr_null(response(&other, b));
	ck_assert_uint_eq(engine->nheld, 4);
	/* Room for one; a submit that comes in the same turn doesn't take it. */
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED });
	processes_gone(1);
	slot_executor_kick(engine->executor);
	phase_is(2, ROW_RUNNING);
	int64_t late = post_submit(&other, "'on_full':'wait','name':'late'");
	ck_assert_int_eq(int_at(result_of(&c, a), "job"), 4);
	ck_assert_ptr_null(response(&other, b));
	job_exits(2, 0);
	ck_assert_int_eq(int_at(result_of(&other, b), "job"), 5);
	ck_assert_ptr_null(response(&other, late));
	/* A submit that is cancelled makes no job. */
	notify(&c, "$/cancel", "{'id':%lld}", (long long)d);
	ck_assert_ptr_nonnull(response(&c, d));
	job_exits(3, 0);
	ck_assert_int_eq(int_at(result_of(&stranger, s), "job"), 6);
	job_exits(4, 0);
	ck_assert_int_eq(int_at(result_of(&other, late), "job"), 7);
	ck_assert_uint_eq(engine->nheld, 0);
	hang_up(&other);
	hang_up(&stranger);
}
END_TEST

/* One that needs much room isn't passed by those of its user that need little. */
START_TEST(a_held_batch_is_not_starved)
{
	struct client stranger = client_of(2);
	int64_t batch = post(&c, "job.submit_batch", "{'jobs':[{'argv':['a']},{'argv':['b']}],"
	    "'on_full':'wait'}");
	int64_t single;

	job_exits(1, 0);
	single = post_submit(&c, "'on_full':'wait'");
	ck_assert_ptr_null(response(&c, single));
	ck_assert_uint_eq(submit(&stranger, "'on_full':'wait'"), 4); /* others aren't held up */
	job_exits(2, 0);
	ck_assert_ptr_null(response(&c, batch));
	job_exits(4, 0); /* (users take turns) */
	result_of(&c, batch);
	ck_assert_ptr_null(response(&c, single));
	hang_up(&stranger);
}
END_TEST

START_TEST(a_connection_holds_a_few_submits_only)
{
	for (unsigned i = 0; i < SESSION_HELD_MAX; i++)
		post_submit(&c, "'on_full':'wait'");
	post_submit(&c, "'on_full':'wait'");
	error_of(&c, c.id, "TooManyInFlight");
	ok(&c, "limits.set", "{'max_pending':100}");
	ck_assert_uint_eq(engine->nheld, 0);
	ck_assert_uint_eq(engine->npending, 2 + SESSION_HELD_MAX);
}
END_TEST

START_TEST(held_submits_of_a_client_that_left_make_no_job)
{
	struct client other = client_of(1);

	post_submit(&other, "'on_full':'wait'");
	hang_up(&other);
	run();
	ck_assert_uint_eq(engine->nheld, 0);
	job_exits(1, 0);
	ck_assert_uint_eq(engine->store->next_id, 4);
}
END_TEST

START_TEST(pending_bytes_are_bounded)
{
	ok(&c, "limits.set", "{'max_pending':100,'max_pending_bytes':4096}");
	post(&c, "job.submit", "{'argv':['x','%04096d']}", 0);
	error_of(&c, c.id, "QueueFull");
	submit(&c, "");
	ok(&c, "limits.set", "{'max_pending_bytes':1}");
	post_submit(&c, "");
	error_of(&c, c.id, "QueueFull");
}
END_TEST

/* ---- limits, queues, drain ---- */

START_TEST(a_lowered_limit_ends_nothing_and_holds)
{
	for (int i = 0; i < 6; i++)
		submit(&c, "");
	launcher_heard("run 1/1 run 2/1 run 3/1 run 4/1 ");
	limit(2);
	job_exits(1, 0);
	job_exits(2, 0);
	launcher_heard("ack 1/1 ack 2/1 ");
	job_exits(3, 0);
	launcher_heard("ack 3/1 run 5/1 ");
	ck_assert_uint_eq(launcher.ceiling, 2);
	limit(0);
	job_exits(4, 0);
	job_exits(5, 0);
	launcher_heard("ack 4/1 ack 5/1 ");
	ck_assert_str_eq(reason_of(6), "paused");
	ck_assert_uint_eq(submit(&c, "'slots':50"), 7); /* refuses no submit */
	limit(3);
	launcher_heard("run 6/1 ");
	ck_assert_str_eq(reason_of(7), "slots");
	post_submit(&c, "'slots':4");
	error_of(&c, c.id, "LimitExceeded");
	ok(&c, "limits.set", "{'reset':true}");
	ck_assert_uint_eq(slot_executor_max_running(engine->executor), 4);
	job_exits(6, 0);
	cancel(7);
}
END_TEST

/* The launcher's ceiling comes down only behind what was started under the old limit. */
START_TEST(a_limit_lowered_in_the_turn_of_a_start_fails_nobody)
{
	for (int i = 0; i < 3; i++)
		post_submit(&c, "");
	post(&c, "limits.set", "{'max_running':1}");
	run();
	launcher_heard("run 1/1 run 2/1 run 3/1 ");
	for (uint64_t job = 1; job <= 3; job++)
		job_exits(job, 0);
	ck_assert_uint_eq(launcher.ceiling, 1);
	post(&c, "limits.set", "{'max_running':2}");
	post_submit(&c, "'slots':2");
	run();
	phase_is(4, ROW_RUNNING);
	job_exits(4, 0);
}
END_TEST

START_TEST(queues_have_limits_and_pauses_of_their_own)
{
	ok(&c, "queue.set", "{'queue':'q','max_running':1}");
	post_submit(&c, "'queue':'none'");
	error_of(&c, c.id, "InvalidParams");
	post_submit(&c, "'queue':'q','slots':2");
	error_of(&c, c.id, "LimitExceeded");
	submit(&c, "'queue':'q'");
	submit(&c, "'queue':'q'");
	submit(&c, "");
	launcher_heard("run 1/1 run 3/1 ");
	ck_assert_str_eq(reason_of(2), "queue");
	ok(&c, "queue.pause", "{'queue':'q'}");
	job_exits(1, 0);
	ck_assert_str_eq(reason_of(2), "paused");
	refused(&c, "InvalidState", "queue.remove", "{'queue':'q'}");
	ok(&c, "job.set", "{'job':2,'queue':'default','priority':5}");
	phase_is(2, ROW_RUNNING);
	ck_assert_str_eq(row_of_job(2)->queue, "default");
	ok(&c, "queue.remove", "{'queue':'q'}");
	ck_assert_str_eq(row_of_job(1)->queue, "q");
	job_exits(2, 0);
	job_exits(3, 0);
}
END_TEST

START_TEST(job_set_changes_the_order)
{
	limit(1);
	for (int i = 0; i < 4; i++)
		submit(&c, "");
	ok(&c, "job.set", "{'job':3,'priority':1}");
	ok(&c, "job.set", "{'job':2,'hold':true}");
	refused(&c, "InvalidState", "job.set", "{'job':1,'priority':1}");
	job_exits(1, 0);
	job_exits(3, 0);
	job_exits(4, 0);
	launcher_heard("run 1/1 ack 1/1 run 3/1 ack 3/1 run 4/1 ack 4/1 ");
	ok(&c, "job.set", "{'job':2,'hold':false}");
	launcher_heard("run 2/1 ");
	job_exits(2, 0);
	refused(&c, "InvalidState", "job.set", "{'job':2,'hold':true}");
}
END_TEST

START_TEST(drain_answers_when_all_is_done)
{
	int64_t drain;

	limit(1);
	submit(&c, "");
	submit(&c, "");
	drain = post(&c, "drain", "{'mode':'finish'}");
	ck_assert_ptr_null(response(&c, drain));
	post_submit(&c, "");
	error_of(&c, c.id, "Draining");
	job_exits(1, 0);
	ck_assert_ptr_null(response(&c, drain));
	leader_ends(2, (struct launch_exit){ .how = LAUNCH_EXITED });
	ck_assert_ptr_null(response(&c, drain)); /* its processes */
	processes_gone(2);
	result_of(&c, drain);
	ok(&c, "drain", "{'mode':'off'}");
	ck_assert_uint_eq(submit(&c, ""), 3);
	drain = post(&c, "drain", "{'mode':'finish'}");
	ok(&c, "drain", "{'mode':'off'}");
	error_of(&c, drain, "InvalidState");
	job_exits(3, 0);
}
END_TEST

START_TEST(drain_can_cancel)
{
	int64_t drain;

	for (int i = 0; i < 2000; i++)
		post_submit(&c, i == 1 ? "'stdout':'capture','retries':{'max':9}" :
		    i % 2 != 0 ? "'delay_ms':1000" : "");
	listen_to(&c);
	drain = post(&c, "drain", "{'mode':'cancel'}");
	/* This one would be back from its failure after the last look at what runs. */
	leader_ends(2, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 1 });
	processes_gone(2);
	run();
	ck_assert_uint_eq(engine->npending, 0);
	ck_assert_uint_eq(engine->nrunning, 3);
	for (uint64_t job = 1; job <= 7; job++)
		if (row_of_job(job)->phase == ROW_RUNNING)
			job_is_killed(job, 15, LAUNCH_CAUSE_CANCEL);
	result_of(&c, drain);
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	ck_assert_uint_eq(engine->stats.cancelled, 2000);
}
END_TEST

START_TEST(draining_refuses_held_submits)
{
	ok(&c, "limits.set", "{'max_pending':0}");
	post_submit(&c, "'on_full':'wait'");
	ck_assert_uint_eq(engine->nheld, 1);
	post(&c, "drain", "{'mode':'finish'}");
	error_of(&c, c.id - 1, "Draining");
}
END_TEST

/* ---- the end of things ---- */

static int done_called;

static void
on_done(void *arg)
{
	(void)arg;
	done_called++;
}

START_TEST(a_shutdown_cancels_everything_and_answers)
{
	int64_t result, drain;

	if (fixture_slow)
		return; /* they would outlive the engine: test_engine_commit */
	done_called = 0;
	limit(1);
	submit(&c, "'retries':{'max':5,'backoff_ms':100}");
	submit(&c, "");
	submit(&c, "'delay_ms':100000");
	result = post(&c, "job.result", "{'job':1,'wait_ms':100000}");
	drain = post(&c, "events.subscribe", "{}");
	run();
	engine_shutdown(engine, on_done, NULL);
	post_submit(&c, "");
	error_of(&c, c.id, "ShuttingDown");
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	outcome_is(3, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(2)->run->reason, MSG_REASON_SHUTDOWN);
	ck_assert(fake_find(1)->cancelled);
	ck_assert_int_eq(done_called, 0);
	engine_shutdown(engine, on_done, NULL); /* again: no more grace */
	ck_assert_int_eq(fake_find(1)->grace_ms, 0);
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 9 });
	run();
	ck_assert_int_eq(done_called, 0);
	processes_gone(1);
	ck_assert_str_eq(text_at(result_of(&c, result), "outcome"), "cancelled");
	error_of(&c, drain, "ShuttingDown");
	run();
	ck_assert(c.session->closed);
	ck_assert_int_eq(done_called, 1);
}
END_TEST

START_TEST(a_shutdown_does_not_wait_long_for_a_client_that_does_not_read)
{
	done_called = 0;
	post(&c, "rpc.discover", "{}");
	engine_shutdown(engine, on_done, NULL);
	run();
	ck_assert_int_eq(done_called, 0);
	advance_ms(2000);
	ck_assert_int_eq(done_called, 1);
}
END_TEST

START_TEST(without_the_launcher_what_ran_is_lost)
{
	limit(3);
	submit(&c, "");
	submit(&c, "");
	submit(&c, "'retries':{'max':5,'backoff_ms':100}");
	submit(&c, "");
	job_exits(3, 1); /* in back-off */
	cancel(2);
	leader_ends(4, (struct launch_exit){ .how = LAUNCH_EXITED });
	run(); /* done, with processes left */
	engine_launch_handlers.on_lost(engine, "gone");
	ck_assert(launcher.freed);
	run();
	outcome_is(1, MSG_OUTCOME_LOST);
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	outcome_is(4, MSG_OUTCOME_EXITED);
	phase_is(3, ROW_PENDING);
	ck_assert_uint_eq(engine->jobs.count, 1);
	advance_ms(100);
	phase_is(3, ROW_PENDING); /* what didn't run waits for the next launcher */
	launcher.unacked = 0;
}
END_TEST

START_TEST(an_exit_that_was_told_is_not_lost)
{
	submit(&c, "'stdout':'capture'");
	leader_ends(1, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 6 });
	engine_launch_handlers.on_lost(engine, "gone");
	run();
	outcome_is(1, MSG_OUTCOME_EXITED);
	ck_assert_int_eq(row_of_job(1)->run->exit_code, 6);
	ck_assert_uint_eq(engine->jobs.count, 0);
}
END_TEST

/* ---- history ---- */

START_TEST(retry_makes_a_new_job_of_the_same_spec)
{
	submit(&c, "'name':'n','key':'k','delay_ms':10,'priority':3");
	refused(&c, "InvalidState", "job.retry", "{'job':1}");
	cancel(1);
	ck_assert_int_eq(int_at(ok(&c, "job.retry", "{'job':1}"), "job"), 2);
	phase_is(2, ROW_RUNNING);
	ck_assert_int_eq(row_of_job(2)->priority, 3);
	ck_assert_uint_eq(submit(&c, "'name':'n','key':'k','delay_ms':10,'priority':3"), 1);
	refused(&c, "InvalidState", "job.forget", "{'jobs':[1,2]}");
	job_exits(2, 0);
	ck_assert_int_eq(int_at(ok(&c, "job.forget", "{'jobs':[1,2,1]}"), "forgotten"), 2);
	refused(&c, "NoSuchJob", "job.get", "{'job':1}");
}
END_TEST

START_TEST(history_is_bounded_in_jobs)
{
	struct engine_limits limits = fixture_limits;

	limits.history_jobs = 10;
	engine_reconfigure(engine, &limits);
	for (int i = 0; i < 100; i++) {
		submit(&c, "");
		job_exits((uint64_t)i + 1, 0);
		ck_assert_uint_le(engine->store->ndone, 11);
	}
	advance_ms(2000);
	ck_assert_uint_eq(engine->store->ndone, 10);
	refused(&c, "NoSuchJob", "job.get", "{'job':90}");
	ok(&c, "job.get", "{'job':91}");
}
END_TEST

/* Nothing happens in the engine but the passing of time. */
START_TEST(history_ages_while_nothing_happens)
{
	struct engine_limits limits = fixture_limits;

	if (fixture_slow)
		return; /* it would watch ages by itself */
	limits.history_age_ms = 60000;
	engine_reconfigure(engine, &limits);
	submit(&c, "");
	submit(&c, "");
	job_exits(1, 0);
	advance_ms(30000);
	job_exits(2, 0);
	advance_ms(29000);
	ck_assert_uint_eq(engine->store->ndone, 2);
	advance_ms(3000);
	ck_assert_uint_eq(engine->store->ndone, 1);
	advance_ms(30000);
	ck_assert_uint_eq(engine->store->ndone, 0);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("engine jobs");
	TCase *tc = tcase_create("jobs"), *small = tcase_create("little room");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, a_job_runs_and_ends);
	tcase_add_test(tc, the_launcher_hears_of_it_after_the_commit);
	tcase_add_test(tc, an_exit_is_acknowledged_after_its_commit);
	tcase_add_test(tc, a_built_spec_knows_its_ok_codes);
	tcase_add_test(tc, each_kind_of_end_has_its_outcome);
	tcase_add_test(tc, a_timeout_is_told_from_other_ends);
	tcase_add_test(tc, a_job_ends_once);
	tcase_add_test(tc, seq_is_the_order_of_ends);
	tcase_add_test(tc, cancel_while_pending_never_starts);
	tcase_add_test(tc, cancel_between_start_and_commit_never_launches);
	tcase_add_test(tc, cancel_of_a_running_job_takes_effect_with_its_exit);
	tcase_add_test(tc, the_grace_is_the_request_s_then_the_job_s_then_the_daemon_s);
	tcase_add_test(tc, cancel_after_the_exit_is_refused);
	tcase_add_test(tc, cancel_after_an_exit_that_would_be_retried_stops_the_retry);
	tcase_add_test(tc, cancel_with_wait_answers_when_no_process_is_left);
	tcase_add_test(tc, any_unknown_id_refuses_a_cancel);
	tcase_add_test(tc, a_signal_follows_the_start);
	tcase_add_test(tc, retries_back_off_twice_as_long_each_time);
	tcase_add_test(tc, backing_off_ends_at_an_hour);
	tcase_add_test(tc, a_retry_without_back_off_starts_at_once);
	tcase_add_test(tc, only_what_is_asked_for_is_retried);
	tcase_add_test(tc, cancel_in_back_off_ends_the_job);
	tcase_add_test(tc, a_job_stays_until_the_processes_of_all_attempts_are_gone);
	tcase_add_test(tc, a_delay_is_kept_whatever_the_wall_clock_does);
	tcase_add_test(tc, not_before_follows_the_wall_clock);
	tcase_add_test(tc, a_timer_that_fires_too_early_by_the_wall_clock_waits_on);
	tcase_add_test(tc, a_job_starts_after_those_it_names);
	tcase_add_test(tc, a_failure_fails_those_after_it);
	tcase_add_test(tc, cancelled_is_not_ok_for_those_after_it);
	tcase_add_test(tc, only_the_last_attempt_releases_those_after_it);
	tcase_add_test(tc, a_batch_may_name_its_earlier_jobs);
	tcase_add_test(tc, a_job_can_wait_for_time_and_jobs_and_its_turn);
	tcase_add_test(tc, a_wide_cascade_goes_in_slices);
	tcase_add_test(tc, a_deep_cascade_goes_in_slices);
	tcase_add_test(tc, cancelling_very_many_goes_in_slices);
	tcase_add_test(tc, bound_jobs_end_with_their_session);
	tcase_add_test(tc, very_many_bound_jobs_end_in_slices);
	tcase_add_test(tc, a_half_closed_session_keeps_its_jobs);
	tcase_add_test(tc, a_session_can_be_taken_over);
	tcase_add_test(tc, one_key_makes_one_job);
	tcase_add_test(tc, a_batch_is_retried_by_its_keys);
	tcase_add_test(tc, a_key_given_twice_in_a_batch_makes_one_job);
	tcase_add_test(tc, a_lowered_limit_ends_nothing_and_holds);
	tcase_add_test(tc, a_limit_lowered_in_the_turn_of_a_start_fails_nobody);
	tcase_add_test(tc, queues_have_limits_and_pauses_of_their_own);
	tcase_add_test(tc, job_set_changes_the_order);
	tcase_add_test(tc, drain_answers_when_all_is_done);
	tcase_add_test(tc, drain_can_cancel);
	tcase_add_test(tc, draining_refuses_held_submits);
	tcase_add_test(tc, a_shutdown_cancels_everything_and_answers);
	tcase_add_test(tc, a_shutdown_does_not_wait_long_for_a_client_that_does_not_read);
	tcase_add_test(tc, without_the_launcher_what_ran_is_lost);
	tcase_add_test(tc, an_exit_that_was_told_is_not_lost);
	tcase_add_test(tc, retry_makes_a_new_job_of_the_same_spec);
	tcase_add_test(tc, history_is_bounded_in_jobs);
	tcase_add_test(tc, history_ages_while_nothing_happens);
	suite_add_tcase(suite, tc);

	tcase_add_checked_fixture(small, begin_small, end);
	tcase_add_test(small, a_full_queue_refuses);
	tcase_add_test(small, held_submits_are_admitted_in_order);
	tcase_add_test(small, a_held_batch_is_not_starved);
	tcase_add_test(small, a_connection_holds_a_few_submits_only);
	tcase_add_test(small, held_submits_of_a_client_that_left_make_no_job);
	tcase_add_test(small, pending_bytes_are_bounded);
	suite_add_tcase(suite, small);
	return suite;
}

int
main(void)
{
	return run_suite_both(make_suite);
}
