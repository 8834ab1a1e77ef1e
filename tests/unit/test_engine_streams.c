/*
 * What clients are told: as_completed, wait, gather, results, maps and their credit, the
 * subscriptions, and what becomes of a client that doesn't read.
 */
#include "engine_fixture.h"

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
	run();
	check_engine();
	hang_up(&c);
	teardown();
}

/* n jobs that run. */
static void
jobs(int n)
{
	for (int i = 0; i < n; i++)
		submit(&c, "");
}

static bool
ids_are(const json_t *list, size_t n, const int *ids)
{
	if (json_array_size(list) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const json_t *at = json_array_get(list, i);

		if (json_is_object(at))
			at = json_object_get(at, "job");
		if (json_integer_value(at) != ids[i])
			return false;
	}
	return true;
}
#define IDS_ARE(list, ...)                                                                         \
	ids_are(list, sizeof((int[]){ __VA_ARGS__ }) / sizeof(int), (int[]){ __VA_ARGS__ })

static void
cancel_request(struct client *client, int64_t id)
{
	json_t *m;

	notify(client, "$/cancel", "{'id':%lld}", (long long)id);
	m = response(client, id);
	ck_assert_int_eq(int_at(json_object_get(m, "error"), "code"), -32800);
}

/* ---- futures.as_completed ---- */

START_TEST(as_completed_gives_finish_order)
{
	int64_t stream;

	jobs(4);
	job_exits(3, 0);
	job_exits(1, 1);
	stream = post(&c, "futures.as_completed", "{'jobs':[1,2,3,4,2]}");
	item_is(&c, stream, 1, 3); /* what is done already, in the order it ended */
	item_is(&c, stream, 2, 1);
	hears_nothing(&c);
	job_exits(4, 0);
	item_is(&c, stream, 3, 4);
	job_exits(2, 0);
	item_is(&c, stream, 4, 2);
	ck_assert_int_eq(int_at(result_of(&c, stream), "done"), 4);
}
END_TEST

START_TEST(an_item_says_how_it_ended)
{
	int64_t stream;
	json_t *item;

	submit(&c, "'tag':{'a':[1,'x']},'ok_codes':[3]");
	stream = post(&c, "futures.as_completed", "{'jobs':[1]}");
	job_exits(1, 3);
	item = item_of(&c, stream, 1);
	ck_assert(json_is_true(json_object_get(item, "ok")));
	ck_assert_int_eq(int_at(item, "exit_code"), 3);
	ck_assert_int_eq(int_at(item, "seq"), 1);
	ck_assert(json_is_null(json_object_get(item, "signal")));
	ck_assert_str_eq(text_at(item, "outcome"), "exited");
	ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(item, "tag"), "a")), 2);
	json_decref(item);
	ck_assert_int_eq(int_at(result_of(&c, stream), "done"), 1);
}
END_TEST

START_TEST(as_completed_times_out_with_what_remains)
{
	int64_t stream;

	jobs(3);
	stream = post(&c, "futures.as_completed", "{'jobs':[3,1,2,3],'timeout_ms':100}");
	job_exits(1, 0);
	item_is(&c, stream, 1, 1);
	advance_ms(99);
	hears_nothing(&c);
	advance_ms(1);
	ck_assert(IDS_ARE(json_object_get(error_of(&c, stream, "Timeout"), "remaining"), 3, 2));
	job_exits(2, 0);
	job_exits(3, 0);
	hears_nothing(&c); /* nothing is delivered after the end */
	stream = post(&c, "futures.as_completed", "{'jobs':[1,2,3],'timeout_ms':0}");
	for (int n = 1; n <= 3; n++)
		item_is(&c, stream, n, (uint64_t)n);
	ck_assert_int_eq(int_at(result_of(&c, stream), "done"), 3);
}
END_TEST

START_TEST(as_completed_keeps_to_its_window)
{
	int64_t stream;

	jobs(4);
	stream = post(&c, "futures.as_completed", "{'jobs':[1,2,3,4],'window':1}");
	for (uint64_t job = 1; job <= 4; job++)
		job_exits(job, 0);
	item_is(&c, stream, 1, 1);
	hears_nothing(&c);
	notify(&c, "$/credit", "{'stream':%lld,'n':2}", (long long)stream);
	item_is(&c, stream, 2, 2);
	item_is(&c, stream, 3, 3);
	hears_nothing(&c);
	notify(&c, "$/credit", "{'stream':%lld,'n':1}", (long long)stream);
	item_is(&c, stream, 4, 4);
	ck_assert_int_eq(int_at(result_of(&c, stream), "done"), 4);
}
END_TEST

START_TEST(cancelling_as_completed_or_wait_cancels_no_job)
{
	int64_t stream, wait;

	jobs(2);
	stream = post(&c, "futures.as_completed", "{'jobs':[1,2]}");
	wait = post(&c, "futures.wait", "{'jobs':[1,2]}");
	cancel_request(&c, stream);
	cancel_request(&c, wait);
	launcher_heard("run 1/1 run 2/1 ");
	job_exits(1, 0);
	job_exits(2, 0);
	hears_nothing(&c);
}
END_TEST

START_TEST(bad_lists_are_refused)
{
	static const char *const methods[] = { "futures.as_completed", "futures.wait",
		"futures.gather" };

	for (size_t i = 0; i < 3; i++) {
		refused(&c, "InvalidParams", methods[i], "{'jobs':[]}");
		ck_assert_int_eq(int_at(refused(&c, "NoSuchJob", methods[i], "{'jobs':[9]}"),
		    "job"), 9);
	}
}
END_TEST

START_TEST(two_streams_agree)
{
	struct client other = client_of(1);
	int64_t a, b;
	static const uint64_t order[] = { 2, 4, 1, 3 };

	jobs(4);
	a = post(&c, "futures.as_completed", "{'jobs':[1,2,3,4]}");
	b = post(&other, "completions.subscribe", "{'since_seq':0}");
	for (int i = 0; i < 4; i++) /* all in one turn */
		leader_ends(order[i], (struct launch_exit){ .how = LAUNCH_EXITED });
	for (int i = 0; i < 4; i++) {
		item_is(&c, a, i + 1, order[i]);
		item_is(&other, b, i + 1, order[i]);
		processes_gone(order[i]);
	}
	hang_up(&other);
}
END_TEST

START_TEST(no_item_precedes_the_reply_to_its_submit)
{
	int64_t stream = post(&c, "completions.subscribe", "{}"), submitted;
	json_t *m;

	ok(&c, "limits.set", "{'max_running':0}");
	submitted = post_submit(&c, "");
	post(&c, "job.cancel", "{'jobs':[1]}");
	m = hear(&c);
	ck_assert_int_eq(int_at(m, "id"), submitted);
	json_decref(m);
	m = hear(&c);
	ck_assert_int_eq(int_at(m, "id"), c.id);
	json_decref(m);
	item_is(&c, stream, 1, 1);
}
END_TEST

/* ---- futures.wait ---- */

START_TEST(wait_returns_when_asked_to)
{
	int64_t all, first, exception;
	json_t *result;

	jobs(4);
	all = post(&c, "futures.wait", "{'jobs':[4,3,2,1,3]}");
	first = post(&c, "futures.wait",
	    "{'jobs':[1,2,3,4],'return_when':'FIRST_COMPLETED'}");
	exception = post(&c, "futures.wait",
	    "{'jobs':[1,2,3,4],'return_when':'FIRST_EXCEPTION'}");
	job_exits(2, 0);
	result = result_of(&c, first);
	ck_assert(IDS_ARE(json_object_get(result, "done"), 2));
	ck_assert(IDS_ARE(json_object_get(result, "pending"), 1, 3, 4));
	ok(&c, "job.cancel", "{'jobs':[4]}");
	job_is_killed(4, 15, LAUNCH_CAUSE_CANCEL); /* cancelled is no exception */
	ck_assert_ptr_null(response(&c, exception));
	job_exits(1, 7);
	result = result_of(&c, exception);
	ck_assert(IDS_ARE(json_object_get(result, "done"), 2, 4, 1));
	ck_assert(IDS_ARE(json_object_get(result, "pending"), 3));
	ck_assert_ptr_null(response(&c, all));
	job_exits(3, 0);
	result = result_of(&c, all);
	ck_assert(IDS_ARE(json_object_get(result, "done"), 2, 4, 1, 3));
	ck_assert_uint_eq(json_array_size(json_object_get(result, "pending")), 0);
	result = ok(&c, "futures.wait", "{'jobs':[1,2],'return_when':'FIRST_EXCEPTION'}");
	ck_assert(IDS_ARE(json_object_get(result, "done"), 2, 1));
}
END_TEST

START_TEST(a_wait_that_times_out_is_no_error)
{
	int64_t wait;
	json_t *result;

	jobs(2);
	wait = post(&c, "futures.wait", "{'jobs':[1,2,1],'timeout_ms':50}");
	job_exits(2, 0);
	advance_ms(50);
	result = result_of(&c, wait);
	ck_assert(IDS_ARE(json_object_get(result, "done"), 2));
	ck_assert(IDS_ARE(json_object_get(result, "pending"), 1));
	result = ok(&c, "futures.wait", "{'jobs':[1],'timeout_ms':0}");
	ck_assert_uint_eq(json_array_size(json_object_get(result, "done")), 0);
	job_exits(1, 0);
}
END_TEST

/* ---- futures.gather, job.result ---- */

START_TEST(gather_keeps_the_order_given)
{
	int64_t gather;

	jobs(3);
	gather = post(&c, "futures.gather", "{'jobs':[2,1,3,2]}");
	job_exits(3, 0);
	job_exits(1, 0);
	ck_assert_ptr_null(response(&c, gather));
	job_exits(2, 0);
	ck_assert(IDS_ARE(json_object_get(result_of(&c, gather), "results"), 2, 1, 3, 2));
}
END_TEST

START_TEST(gather_ends_with_the_first_failure)
{
	int64_t gather, tolerant;
	json_t *data;

	jobs(4);
	gather = post(&c, "futures.gather", "{'jobs':[1,2,3]}");
	tolerant = post(&c, "futures.gather", "{'jobs':[1,2,3,4],'return_exceptions':true}");
	job_exits(2, 6);
	data = error_of(&c, gather, "JobFailed");
	ck_assert_int_eq(int_at(data, "index"), 1);
	ck_assert_int_eq(int_at(data, "job"), 2);
	ck_assert_int_eq(int_at(data, "exit_code"), 6);
	launcher_heard("run 1/1 run 2/1 run 3/1 run 4/1 ack 2/1 "); /* the others run on */
	ok(&c, "job.cancel", "{'jobs':[3]}");
	job_is_killed(3, 15, LAUNCH_CAUSE_CANCEL);
	data = refused(&c, "JobCancelled", "futures.gather", "{'jobs':[1,3]}");
	ck_assert_int_eq(int_at(data, "index"), 1);
	job_exits(1, 0);
	job_exits(4, 1);
	ck_assert(IDS_ARE(json_object_get(result_of(&c, tolerant), "results"), 1, 2, 3, 4));
}
END_TEST

START_TEST(cancelling_a_gather_cancels_its_jobs)
{
	struct client other = client_of(1);
	int64_t gather;

	ok(&c, "limits.set", "{'max_running':2}");
	jobs(4);
	gather = post(&c, "futures.gather", "{'jobs':[2,3]}");
	post(&other, "futures.gather", "{'jobs':[1,4]}");
	cancel_request(&c, gather);
	outcome_is(3, MSG_OUTCOME_CANCELLED);
	ck_assert(fake_find(2)->cancelled);
	hang_up(&other); /* closing the connection doesn't */
	run();
	ck_assert(!fake_find(1)->cancelled);
	phase_is(4, ROW_PENDING);
	job_exits(2, 0);
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	job_exits(1, 0);
	job_exits(4, 0);
}
END_TEST

START_TEST(a_result_is_waited_for_as_long_as_asked)
{
	int64_t result;

	jobs(1);
	refused(&c, "InvalidState", "job.result", "{'job':1}");
	result = post(&c, "job.result", "{'job':1,'wait_ms':20}");
	advance_ms(20);
	ck_assert(IDS_ARE(json_object_get(error_of(&c, result, "Timeout"), "remaining"), 1));
	result = post(&c, "job.result", "{'job':1,'wait_ms':20}");
	job_exits(1, 4);
	ck_assert_int_eq(int_at(result_of(&c, result), "exit_code"), 4);
	ck_assert_str_eq(text_at(ok(&c, "job.result", "{'job':1}"), "phase"), "done");
}
END_TEST

/* ---- map ---- */

/* The next message is credit for so many. */
static void
credit_is(struct client *client, int64_t stream, int64_t n)
{
	json_t *m = hear(client), *params = json_object_get(m, "params");

	ck_assert_msg(m != NULL, "no credit");
	ck_assert_str_eq(text_at(m, "method"), "$/credit");
	ck_assert_int_eq(int_at(params, "stream"), stream);
	ck_assert_int_eq(int_at(params, "n"), n);
	json_decref(m);
}

#define JOB "{'argv':['x'],'stdout':'null','stderr':'null'}"

START_TEST(a_map_gives_credit_for_what_was_consumed)
{
	int64_t map = post(&c, "map.open", "{'limit':3}");
	json_t *result;

	credit_is(&c, map, 3);
	result = ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "]}", (long long)map);
	ck_assert(IDS_ARE(json_object_get(result, "jobs"), 1, 2));
	/* One is left: a push of two is refused and spends nothing. */
	refused(&c, "CreditExceeded", "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "]}",
	    (long long)map);
	refused(&c, "InvalidParams", "map.push", "{'stream':%lld,'jobs':[{'argv':[]}]}",
	    (long long)map);
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	refused(&c, "CreditExceeded", "map.push", "{'stream':%lld,'jobs':[" JOB "]}",
	    (long long)map);
	job_exits(2, 1);
	item_is(&c, map, 1, 2);
	credit_is(&c, map, 1);
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	ok(&c, "map.end", "{'stream':%lld}", (long long)map);
	refused(&c, "InvalidState", "map.push", "{'stream':%lld,'jobs':[" JOB "]}",
	    (long long)map);
	ok(&c, "job.cancel", "{'jobs':[1]}");
	job_exits(1, 0);
	job_exits(3, 0);
	item_is(&c, map, 2, 1);
	item_is(&c, map, 3, 3);
	job_exits(4, 0);
	item_is(&c, map, 4, 4);
	result = result_of(&c, map);
	ck_assert_int_eq(int_at(result, "submitted"), 4);
	ck_assert_int_eq(int_at(result, "ok"), 2);
	ck_assert_int_eq(int_at(result, "failed"), 1);
	ck_assert_int_eq(int_at(result, "cancelled"), 1);
	refused(&c, "InvalidParams", "map.push", "{'stream':%lld,'jobs':[" JOB "]}",
	    (long long)map);
}
END_TEST

START_TEST(an_empty_map_ends_at_once)
{
	int64_t map = post(&c, "map.open", "{'limit':3}");

	credit_is(&c, map, 3);
	post(&c, "map.end", "{'stream':%lld}", (long long)map);
	ck_assert_int_eq(int_at(result_of(&c, map), "submitted"), 0);
	refused(&c, "InvalidParams", "map.open", "{'limit':0}");
}
END_TEST

/* With a window the client says what it consumed; what is pushed and not consumed is bounded. */
START_TEST(a_map_with_a_window_waits_for_credit)
{
	int64_t map = post(&c, "map.open", "{'limit':2,'window':1}");

	credit_is(&c, map, 2);
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "]}", (long long)map);
	job_exits(1, 0);
	job_exits(2, 0);
	item_is(&c, map, 1, 1);
	hears_nothing(&c);
	refused(&c, "CreditExceeded", "map.push", "{'stream':%lld,'jobs':[" JOB "]}",
	    (long long)map);
	notify(&c, "$/credit", "{'stream':%lld,'n':1}", (long long)map);
	credit_is(&c, map, 1);
	item_is(&c, map, 2, 2);
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	/* Credit for more than there was widens the window only. */
	notify(&c, "$/credit", "{'stream':%lld,'n':5}", (long long)map);
	credit_is(&c, map, 1);
	hears_nothing(&c);
	job_exits(3, 0);
	item_is(&c, map, 3, 3);
	ok(&c, "map.end", "{'stream':%lld}", (long long)map);
	result_of(&c, map);
}
END_TEST

/* Delivered means handed to the kernel: a client that doesn't read gets no credit. */
START_TEST(a_map_s_credit_waits_for_delivery)
{
	int64_t map = post(&c, "map.open", "{'limit':2}");

	credit_is(&c, map, 2);
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "]}", (long long)map);
	job_exits(1, 0);
	run();
	ck_assert(take_bytes(&c, 20)); /* part of the item */
	run();
	post(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	item_is(&c, map, 1, 1);
	error_of(&c, c.id, "CreditExceeded");
	credit_is(&c, map, 1);
	job_exits(2, 0);
	cancel_request(&c, map);
}
END_TEST

START_TEST(a_map_s_jobs_end_with_it)
{
	struct client other = client_of(1);
	int64_t map = post(&other, "map.open", "{'limit':9}");

	ok(&c, "limits.set", "{'max_running':1}");
	ok(&other, "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "]}", (long long)map);
	cancel_request(&other, map);
	outcome_is(2, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(2)->run->reason, MSG_REASON_CLIENT);
	ck_assert(fake_find(1)->cancelled);
	job_exits(1, 0);
	map = post(&other, "map.open", "{'limit':9}");
	ok(&other, "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "]}", (long long)map);
	hang_up(&other);
	run();
	outcome_is(4, MSG_OUTCOME_CANCELLED);
	ck_assert_int_eq(row_of_job(4)->run->reason, MSG_REASON_SESSION_ENDED);
	job_exits(3, 0);
	outcome_is(3, MSG_OUTCOME_CANCELLED);
}
END_TEST

START_TEST(a_map_can_end_at_the_first_error)
{
	int64_t map = post(&c, "map.open", "{'limit':9,'on_error':'cancel'}");
	json_t *result;

	credit_is(&c, map, 9);
	ok(&c, "limits.set", "{'max_running':2}");
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "," JOB "," JOB "," JOB "]}",
	    (long long)map);
	job_exits(2, 0);
	item_is(&c, map, 1, 2);
	credit_is(&c, map, 1);
	ok(&c, "limits.set", "{'max_running':1}");
	job_exits(1, 1);
	item_is(&c, map, 2, 1);
	item_is(&c, map, 3, 4);
	outcome_is(4, MSG_OUTCOME_CANCELLED);
	job_is_killed(3, 15, LAUNCH_CAUSE_CANCEL);
	item_is(&c, map, 4, 3);
	result = result_of(&c, map);
	ck_assert_int_eq(int_at(result, "ok"), 1);
	ck_assert_int_eq(int_at(result, "failed"), 1);
	ck_assert_int_eq(int_at(result, "cancelled"), 2);
}
END_TEST

START_TEST(a_held_push_goes_in_when_there_is_room)
{
	int64_t map = post(&c, "map.open", "{'limit':9,'defaults':{'on_full':'wait'}}"), push;

	credit_is(&c, map, 9);
	ok(&c, "limits.set", "{'max_pending':1,'max_running':1}");
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	ok(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	push = post(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	ck_assert_ptr_null(response(&c, push));
	job_exits(1, 0);
	ck_assert(IDS_ARE(json_object_get(result_of(&c, push), "jobs"), 3));
	item_is(&c, map, 1, 1);
	/* The map may be gone before there is: the push is refused, not forgotten. */
	push = post(&c, "map.push", "{'stream':%lld,'jobs':[" JOB "]}", (long long)map);
	cancel_request(&c, map);
	error_of(&c, push, "InvalidState");
	job_exits(2, 0);
}
END_TEST

/* ---- completions.subscribe ---- */

START_TEST(completions_come_from_history_and_live)
{
	int64_t stream, late;

	jobs(4);
	job_exits(3, 0);
	job_exits(1, 0);
	stream = post(&c, "completions.subscribe", "{'since_seq':0}");
	item_is(&c, stream, 1, 3);
	item_is(&c, stream, 2, 1);
	job_exits(4, 0);
	item_is(&c, stream, 3, 4);
	late = post(&c, "completions.subscribe", "{}"); /* from now on */
	hears_nothing(&c);
	ok(&c, "job.forget", "{'jobs':[1]}");
	job_exits(2, 0);
	item_is(&c, stream, 4, 2);
	item_is(&c, late, 1, 2);
	cancel_request(&c, late);
	stream = post(&c, "completions.subscribe", "{'since_seq':1}");
	item_is(&c, stream, 1, 4); /* the forgotten one is skipped */
	item_is(&c, stream, 2, 2);
	hears_nothing(&c);
}
END_TEST

START_TEST(history_that_is_gone_is_said_to_be)
{
	struct engine_limits limits = fixture_limits;
	int64_t slow, oldest;

	limits.history_jobs = 2;
	slow = post(&c, "completions.subscribe", "{'since_seq':0,'window':1}");
	for (uint64_t job = 1; job <= 5; job++) {
		submit(&c, "");
		job_exits(job, 0);
	}
	item_is(&c, slow, 1, 1);
	engine_reconfigure(engine, &limits);
	prune();
	oldest = int_at(refused(&c, "HistoryTruncated", "completions.subscribe",
	    "{'since_seq':2}"), "oldest");
	ck_assert_int_eq(oldest, 4);
	notify(&c, "$/credit", "{'stream':%lld,'n':9}", (long long)slow);
	ck_assert_int_eq(int_at(error_of(&c, slow, "HistoryTruncated"), "oldest"), 4);
	slow = post(&c, "completions.subscribe", "{'since_seq':3,'instance':'%s'}",
	    engine->instance);
	item_is(&c, slow, 1, 4);
	item_is(&c, slow, 2, 5);
	refused(&c, "HistoryTruncated", "completions.subscribe",
	    "{'since_seq':3,'instance':'another'}");
	refused(&c, "HistoryTruncated", "completions.subscribe", "{'since_seq':6}");
}
END_TEST

START_TEST(completions_can_be_filtered)
{
	int64_t failed, named;

	failed = post(&c, "completions.subscribe", "{'filter':{'ok':false}}");
	named = post(&c, "completions.subscribe", "{'filter':{'name':'n'}}");
	run();
	submit(&c, "'name':'n'");
	submit(&c, "'name':'m'");
	job_exits(1, 0);
	item_is(&c, named, 1, 1);
	job_exits(2, 1);
	item_is(&c, failed, 1, 2);
	hears_nothing(&c);
}
END_TEST

/* Byte for byte: what is another's, and what is nobody's. */
START_TEST(foreign_jobs_are_as_unknown_ones)
{
	struct client a = client_of(1001), b = client_of(1002);
	int64_t stream;
	char *first, *second;
	json_t *m;

	stream = post(&b, "completions.subscribe", "{'since_seq':0}");
	submit(&a, "");
	submit(&a, "'key':'k'");
	submit(&b, "");
	for (uint64_t job = 1; job <= 3; job++)
		job_exits(job, 0);
	item_is(&b, stream, 1, 3);
	hears_nothing(&b);
	m = ok(&b, "job.list", "{}");
	ck_assert(IDS_ARE(json_object_get(m, "jobs"), 3));
	refused(&b, "NoSuchJob", "job.get", "{'job':1}");
	first = json_dumps(json_object_get(b.last, "error"), JSON_SORT_KEYS);
	engine->store->ops->forget(engine->store, (struct row *)(uintptr_t)row_of_job(1));
	refused(&b, "NoSuchJob", "job.get", "{'job':1}");
	second = json_dumps(json_object_get(b.last, "error"), JSON_SORT_KEYS);
	ck_assert_str_eq(first, second);
	free(first);
	free(second);
	refused(&b, "NoSuchJob", "job.cancel", "{'jobs':[3,2]}");
	refused(&b, "NoSuchJob", "futures.wait", "{'jobs':[3,2]}");
	refused(&b, "NoSuchJob", "job.submit", "{'argv':['x'],'after':[2]}");
	refused(&b, "NoSuchJob", "job.retry", "{'job':2}");
	refused(&b, "NoSuchJob", "output.read", "{'job':2,'fd':1}");
	refused(&b, "PermissionDenied", "limits.set", "{'max_running':1}");
	ok(&c, "job.get", "{'job':2}"); /* an admin's own are all */
	hang_up(&a);
	hang_up(&b);
}
END_TEST

/* Every method that takes a job: refused, and nothing of the request is touched afterwards. */
START_TEST(an_unknown_job_is_unknown_everywhere)
{
	static const char *const calls[][2] = {
		{ "job.get", "{'job':9}" },
		{ "job.result", "{'job':9,'wait_ms':5}" },
		{ "job.cancel", "{'jobs':[9],'wait':true}" },
		{ "job.signal", "{'job':9,'signal':'HUP'}" },
		{ "job.set", "{'job':9,'priority':1,'queue':'default','hold':true}" },
		{ "job.retry", "{'job':9}" },
		{ "job.forget", "{'jobs':[9]}" },
		{ "job.submit", "{'argv':['x'],'after':[9]}" },
		{ "job.submit_batch", "{'jobs':[{'argv':['x']},{'argv':['x'],'after':[-1,9]}]}" },
		{ "futures.as_completed", "{'jobs':[9]}" },
		{ "futures.wait", "{'jobs':[9]}" },
		{ "futures.gather", "{'jobs':[9]}" },
		{ "output.read", "{'job':9,'fd':1}" },
		{ "output.follow", "{'job':9}" },
		{ "stdin.write", "{'job':9,'data':'x'}" },
	};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		refused(&c, "NoSuchJob", calls[i][0], "%s", calls[i][1]);
	ck_assert_uint_eq(engine->store->next_id, 1);
	ck_assert_uint_eq(c.session->nwaiting, 0);
}
END_TEST

/* ---- events.subscribe ---- */

static void
event_is(int64_t stream, int64_t n, const char *kind, uint64_t job)
{
	json_t *item = item_of(&c, stream, n);

	ck_assert_str_eq(text_at(item, "kind"), kind);
	ck_assert_int_eq(int_at(item, "job"), (int64_t)job);
	json_decref(item);
}

START_TEST(events_tell_of_every_step)
{
	struct client other = client_of(1);
	int64_t all = post(&c, "events.subscribe", "{}");

	hears_nothing(&c);
	submit(&other, "'retries':{'max':1,'backoff_ms':10}");
	event_is(all, 1, "submitted", 1);
	event_is(all, 2, "running", 1);
	job_exits(1, 1);
	event_is(all, 3, "attempt_failed", 1);
	event_is(all, 4, "pending", 1);
	advance_ms(10);
	event_is(all, 5, "running", 1);
	job_exits(1, 0);
	event_is(all, 6, "done", 1);
	cancel_request(&c, all);
	all = post(&c, "events.subscribe", "{'kinds':['done'],'filter':{'ok':true}}");
	run();
	submit(&other, "");
	submit(&other, "");
	job_exits(2, 1);
	job_exits(3, 0);
	event_is(all, 1, "done", 3);
	hears_nothing(&c);
	hang_up(&other);
}
END_TEST

/* ---- a client that does not read ---- */

START_TEST(events_that_find_no_room_leave_a_gap)
{
	struct client other = client_of(1);
	int64_t stream, n = 0, dropped = 0;
	const int turns = 3000;
	json_t *m;

	stream = post(&c, "events.subscribe", "{}");
	run();
	for (int i = 1; i <= turns; i++) {
		submit(&other, "");
		job_exits((uint64_t)i, 0);
		ck_assert_uint_lt(session_backlog(c.session), SESSION_STREAM_HIGH + 4096);
	}
	while ((m = hear(&c)) != NULL) {
		const json_t *params = json_object_get(m, "params");

		ck_assert_int_eq(int_at(params, "stream"), stream);
		if (strcmp(text_at(m, "method"), "$/gap") == 0)
			dropped += int_at(params, "dropped");
		else
			ck_assert_int_eq(int_at(params, "n"), ++n);
		json_decref(m);
	}
	ck_assert_int_gt(dropped, 0);
	ck_assert_int_eq(n + dropped, 3 * turns);
	submit(&other, ""); /* and it goes on */
	event_is(stream, n + 1, "submitted", turns + 1);
	event_is(stream, n + 2, "running", turns + 1);
	job_exits(turns + 1, 0);
	hang_up(&other);
}
END_TEST

START_TEST(no_completion_is_lost_on_a_slow_reader)
{
	struct client other = client_of(1);
	int64_t a, b;
	enum { n = 4000 };
	char list[n * 6 + 16], *at = list;
	int na = 0, nb = 0;
	json_t *m;

	a = post(&c, "completions.subscribe", "{}");
	run();
	ok(&other, "limits.set", "{'max_running':%d}", n);
	for (int i = 1; i <= n; i++) {
		submit(&other, "");
		at += sprintf(at, "%s%d", i > 1 ? "," : "", i);
	}
	b = post(&c, "futures.as_completed", "{'jobs':[%s]}", list);
	for (int i = n; i > 0; i--)
		job_exits((uint64_t)i, 0);
	ck_assert_uint_lt(session_backlog(c.session), SESSION_STREAM_HIGH + 8192);
	while ((m = hear(&c)) != NULL) {
		const json_t *params = json_object_get(m, "params");

		if (params == NULL) {
			ck_assert_int_eq(int_at(m, "id"), b);
			ck_assert_int_eq(int_at(json_object_get(m, "result"), "done"), n);
		} else if (int_at(params, "stream") == a) {
			ck_assert_int_eq(int_at(params, "job"), n - na++);
		} else {
			ck_assert_int_eq(int_at(params, "job"), n - nb++);
		}
		json_decref(m);
	}
	ck_assert_int_eq(na, n);
	ck_assert_int_eq(nb, n);
	hang_up(&other);
}
END_TEST

/* Nothing is read from a client with much output waiting, and nothing of it is lost. */
START_TEST(a_client_with_much_output_waiting_is_not_read_from)
{
	const int n = 200;
	int answered = 0;
	json_t *m;

	for (int i = 0; i < n; i++)
		post(&c, "rpc.discover", "{}");
	run();
	ck_assert_uint_lt(session_backlog(c.session), 2 * SESSION_INPUT_HIGH);
	ck_assert_uint_gt(session_backlog(c.session), SESSION_INPUT_HIGH);
	while ((m = hear(&c)) != NULL) {
		ck_assert_int_eq(int_at(m, "id"), ++answered);
		json_decref(m);
	}
	ck_assert_int_eq(answered, n);
}
END_TEST

START_TEST(a_stalled_client_is_closed)
{
	struct engine_limits limits = fixture_limits;

	limits.stall_timeout_ms = 1000;
	engine_reconfigure(engine, &limits);
	post(&c, "rpc.discover", "{}");
	advance_ms(999);
	ck_assert(take_bytes(&c, 10)); /* progress */
	advance_ms(999);
	ck_assert(!c.session->closed);
	advance_ms(1);
	ck_assert(c.session->closed);
}
END_TEST

START_TEST(requests_in_flight_are_bounded)
{
	jobs(1);
	for (unsigned i = 0; i < fixture_limits.max_in_flight; i++)
		post(&c, "futures.wait", "{'jobs':[1]}");
	refused(&c, "TooManyInFlight", "futures.wait", "{'jobs':[1]}");
	refused(&c, "TooManyInFlight", "job.result", "{'job':1,'wait_ms':1}");
	ok(&c, "stats.get", "{}"); /* what doesn't wait goes on */
	job_exits(1, 0);
	ok(&c, "futures.wait", "{'jobs':[1]}");
	ck_assert_uint_eq(c.session->nwaiting, 0);
	ck_assert_uint_eq(c.session->nwatched, 0);
}
END_TEST

START_TEST(an_id_is_used_once_at_a_time)
{
	const char *line = "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"job.result\","
	    "\"params\":{\"job\":1,\"wait_ms\":1000}}\n";
	json_t *m;

	jobs(1);
	feed(&c, line);
	hears_nothing(&c);
	feed(&c, line);
	m = hear(&c);
	ck_assert_int_eq(int_at(json_object_get(m, "error"), "code"), -32600);
	json_decref(m);
	job_exits(1, 0);
	m = hear(&c);
	ck_assert_ptr_nonnull(json_object_get(m, "result"));
	json_decref(m);
	feed(&c, line);
	m = hear(&c);
	ck_assert_ptr_nonnull(json_object_get(m, "result"));
	json_decref(m);
}
END_TEST

START_TEST(garbage_ends_its_sender_only)
{
	struct client other = client_of(1);

	for (unsigned i = 0; i + 1 < SESSION_MALFORMED_MAX; i++)
		feed(&other, "{nonsense\n");
	ok(&other, "stats.get", "{}");
	for (unsigned i = 0; i < SESSION_MALFORMED_MAX; i++)
		feed(&other, "{nonsense\n");
	listen_to(&other);
	ck_assert(other.session->closed);
	ck_assert_uint_eq(json_array_size(other.inbox), 2 * SESSION_MALFORMED_MAX - 1);
	ok(&c, "stats.get", "{}");
	hang_up(&other);
}
END_TEST

START_TEST(passed_descriptors_go_with_their_request)
{
	const char *plain = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stats.get\"}\n";
	const char *with = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.submit\",\"params\":"
	    "{\"argv\":[\"x\"],\"stdin\":{\"fd\":1},\"stdout\":\"null\",\"stderr\":\"null\","
	    "\"lifetime\":\"bound\"}}\n";
	int fds[2] = { dup(c.peer), dup(c.peer) };

	session_feed(c.session, plain, strlen(plain), NULL, 0);
	session_feed(c.session, with, 40, NULL, 0);
	session_feed(c.session, with + 40, strlen(with) - 40, fds, 2);
	ck_assert_uint_eq(engine->nfds_held, 1); /* the job's */
	result_of(&c, 2);
	for (int i = 0; i < 2; i++) { /* both were closed */
		errno = 0;
		ck_assert_int_eq(close(fds[i]), -1);
	}
	job_exits(1, 0);
	ck_assert_uint_eq(engine->nfds_held, 0);
	c.id = 2;
	refused(&c, "NotSupported", "job.retry", "{'job':1}");
	refused(&c, "InvalidParams", "job.submit", "{'argv':['x'],'stdin':{'fd':0},"
	    "'lifetime':'bound'}");
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("engine streams");
	TCase *tc = tcase_create("streams");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, as_completed_gives_finish_order);
	tcase_add_test(tc, an_item_says_how_it_ended);
	tcase_add_test(tc, as_completed_times_out_with_what_remains);
	tcase_add_test(tc, as_completed_keeps_to_its_window);
	tcase_add_test(tc, cancelling_as_completed_or_wait_cancels_no_job);
	tcase_add_test(tc, bad_lists_are_refused);
	tcase_add_test(tc, two_streams_agree);
	tcase_add_test(tc, no_item_precedes_the_reply_to_its_submit);
	tcase_add_test(tc, wait_returns_when_asked_to);
	tcase_add_test(tc, a_wait_that_times_out_is_no_error);
	tcase_add_test(tc, gather_keeps_the_order_given);
	tcase_add_test(tc, gather_ends_with_the_first_failure);
	tcase_add_test(tc, cancelling_a_gather_cancels_its_jobs);
	tcase_add_test(tc, a_result_is_waited_for_as_long_as_asked);
	tcase_add_test(tc, a_map_gives_credit_for_what_was_consumed);
	tcase_add_test(tc, an_empty_map_ends_at_once);
	tcase_add_test(tc, a_map_with_a_window_waits_for_credit);
	tcase_add_test(tc, a_map_s_credit_waits_for_delivery);
	tcase_add_test(tc, a_map_s_jobs_end_with_it);
	tcase_add_test(tc, a_map_can_end_at_the_first_error);
	tcase_add_test(tc, a_held_push_goes_in_when_there_is_room);
	tcase_add_test(tc, completions_come_from_history_and_live);
	tcase_add_test(tc, history_that_is_gone_is_said_to_be);
	tcase_add_test(tc, completions_can_be_filtered);
	tcase_add_test(tc, foreign_jobs_are_as_unknown_ones);
	tcase_add_test(tc, an_unknown_job_is_unknown_everywhere);
	tcase_add_test(tc, events_tell_of_every_step);
	tcase_add_test(tc, events_that_find_no_room_leave_a_gap);
	tcase_add_test(tc, no_completion_is_lost_on_a_slow_reader);
	tcase_add_test(tc, a_client_with_much_output_waiting_is_not_read_from);
	tcase_add_test(tc, a_stalled_client_is_closed);
	tcase_add_test(tc, requests_in_flight_are_bounded);
	tcase_add_test(tc, an_id_is_used_once_at_a_time);
	tcase_add_test(tc, garbage_ends_its_sender_only);
	tcase_add_test(tc, passed_descriptors_go_with_their_request);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return run_suite_both(make_suite);
}
