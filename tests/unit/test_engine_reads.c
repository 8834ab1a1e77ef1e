/*
 * Requests whose rows have to be read first, from a store that answers later and in any order:
 * what is suspended, what goes on meanwhile, and what is done when the rows have come.
 */
#include "engine_fixture.h"
#include "engine/load.h"

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
	ck_assert_uint_eq(slow_store.nreads, 0);
	teardown();
}

/* So many jobs that are done, and of which nobody counts a reference. */
static void
history(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		job_exits(submit(&c, ""), 0);
	ck_assert_ptr_null(engine->store->ops->find(engine->store, engine->store->next_id - 1));
}

static struct row *
kept(uint64_t job)
{
	return (struct row *)(uintptr_t)row_of_job(job);
}

static void
next_is_response(struct client *client, int64_t id)
{
	json_t *m = hear(client);

	ck_assert_msg(m != NULL, "no answer to %lld", (long long)id);
	ck_assert_int_eq(int_at(m, "id"), id);
	json_decref(m);
}

/* ---- suspended ---- */

START_TEST(requests_keep_their_order)
{
	struct client other = client_of(1);
	int64_t first, id;

	history(40);
	slow_hold();
	first = post(&c, "job.get", "{'job':1}");
	for (int i = 0; i < 30; i++)
		post(&c, i % 3 == 0 ? "limits.get" : "job.get", i % 3 == 0 ? "{}" : "{'job':%d}",
		    i + 2);
	id = post(&c, "job.get", "{'job':999}");
	hears_nothing(&c);
	ok(&other, "limits.get", "{}"); /* it alone waits */
	slow_resume();
	for (; first <= id; first++)
		next_is_response(&c, first);
	hang_up(&other);
}
END_TEST

START_TEST(a_client_that_leaves_gives_up_its_reads)
{
	struct client a = client_of(1), b = client_of(1);
	int64_t stream;

	history(20);
	slow_hold();
	post(&a, "job.get", "{'job':1}");
	stream = post(&b, "completions.subscribe", "{'since_seq':0}");
	post(&b, "futures.gather", "{'jobs':[3,4,5]}");
	run();
	ck_assert_uint_eq(slow_store.nreads, 3);
	hang_up(&a);
	ck_assert_uint_eq(slow_store.nreads, 2);
	hang_up(&b);
	ck_assert_uint_eq(slow_store.nreads, 0);
	ck_assert_uint_eq(slow_store.dropped, 3);
	slow_resume();
	(void)stream;
	run();
}
END_TEST

/* The rest of what it sent is handled, and then it is closed. */
START_TEST(a_half_closed_session_is_answered_first)
{
	struct client a = client_of(1);
	int64_t first, second;

	history(3);
	slow_hold();
	first = post(&a, "job.get", "{'job':1}");
	second = post(&a, "job.get", "{'job':2}");
	session_feed(a.session, NULL, 0, NULL, 0);
	run();
	ck_assert(!a.session->closed);
	slow_resume();
	result_of(&a, first);
	result_of(&a, second);
	run();
	ck_assert(a.session->closed);
	hang_up(&a);
}
END_TEST

START_TEST(a_cancelled_stream_gives_up_its_read)
{
	int64_t stream;
	json_t *m;

	history(20);
	slow_hold();
	stream = post(&c, "completions.subscribe", "{'since_seq':0}");
	run();
	ck_assert_uint_eq(slow_store.nreads, 1);
	notify(&c, "$/cancel", "{'id':%lld}", (long long)stream);
	m = response(&c, stream);
	ck_assert_int_eq(int_at(json_object_get(m, "error"), "code"), -32800);
	ck_assert_uint_eq(slow_store.nreads, 0);
	slow_resume();
}
END_TEST

START_TEST(what_is_pruned_meanwhile_is_unknown)
{
	int64_t get, forget;

	history(5);
	slow_hold();
	get = post(&c, "job.get", "{'job':2}");
	forget = post(&c, "futures.wait", "{'jobs':[3,2,4]}");
	slow_store.inner->forget(engine->store, kept(2));
	slow_store.inner->forget(engine->store, kept(1));
	slow_resume();
	ck_assert_int_eq(int_at(error_of(&c, get, "NoSuchJob"), "oldest_job"), 3);
	ck_assert_int_eq(int_at(error_of(&c, forget, "NoSuchJob"), "job"), 2);
}
END_TEST

START_TEST(a_foreign_job_is_as_an_unknown_one)
{
	struct client b = client_of(1002);
	char *foreign, *unknown;

	history(5);
	refused(&b, "NoSuchJob", "job.get", "{'job':4}");
	foreign = json_dumps(json_object_get(b.last, "error"), JSON_SORT_KEYS);
	submit(&b, "");
	slow_store.inner->forget(engine->store, kept(4));
	refused(&b, "NoSuchJob", "job.get", "{'job':4}");
	ck_assert_int_eq(int_at(json_object_get(json_object_get(b.last, "error"), "data"),
	    "oldest_job"), 6);
	unknown = json_dumps(json_object_get(b.last, "error"), JSON_SORT_KEYS);
	ck_assert_str_eq(foreign, unknown); /* (its next id then is its oldest now) */
	free(foreign);
	free(unknown);
	job_exits(6, 0);
	hang_up(&b);
}
END_TEST

START_TEST(a_read_that_fails_refuses_its_request_only)
{
	int64_t stream;

	history(20);
	slow_store.error = -EIO;
	refused(&c, "InternalError", "job.get", "{'job':1}");
	ok(&c, "job.get", "{'job':1}");
	slow_store.error = -ENOMEM;
	refused(&c, "InternalError", "job.list", "{}");
	slow_store.error = -EIO;
	stream = post(&c, "completions.subscribe", "{'since_seq':0}");
	error_of(&c, stream, "InternalError");
	slow_store.error = -EIO;
	stream = post(&c, "futures.as_completed", "{'jobs':[1,2,3]}");
	error_of(&c, stream, "InternalError");
	hears_nothing(&c);
}
END_TEST

START_TEST(a_shutdown_answers_what_is_suspended)
{
	history(3);
	slow_hold();
	post(&c, "job.get", "{'job':1}");
	engine_shutdown(engine, NULL, NULL);
	run();
	slow_resume();
	advance_ms(2000);
}
END_TEST

/* ---- pages ---- */

START_TEST(a_list_is_walked_page_by_page)
{
	int64_t cursor, expected;
	json_t *m;

	history(25);
	submit(&c, ""); /* 26 runs */
	for (int asc = 0; asc < 2; asc++) {
		expected = asc ? 1 : 26;
		cursor = 0;
		do {
			size_t i;
			json_t *job;

			m = ok(&c, "job.list", "{'limit':7,'order':'%s'%s%.0lld}",
			    asc ? "asc" : "desc", cursor != 0 ? ",'cursor':" : "",
			    (long long)cursor);
			json_array_foreach(json_object_get(m, "jobs"), i, job) {
				ck_assert_int_eq(int_at(job, "job"), expected);
				ck_assert_str_eq(text_at(job, "phase"),
				    expected == 26 ? "running" : "done");
				expected += asc ? 1 : -1;
			}
			cursor = json_integer_value(json_object_get(m, "next"));
		} while (cursor != 0);
		ck_assert_int_eq(expected, asc ? 27 : 0);
	}
	m = ok(&c, "job.list", "{'phase':'running'}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "jobs")), 1);
	job_exits(26, 1);
	m = ok(&c, "job.list", "{'ok':false}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "jobs")), 1);
}
END_TEST

START_TEST(a_list_shows_nobody_elses)
{
	struct client a = client_of(1001), b = client_of(1002);
	json_t *m;

	job_exits(submit(&a, ""), 0);
	job_exits(submit(&b, ""), 0);
	m = ok(&a, "job.list", "{}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "jobs")), 1);
	m = ok(&a, "job.list", "{'uid':1002}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "jobs")), 0);
	m = ok(&c, "job.list", "{'uid':1002}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "jobs")), 1);
	hang_up(&a);
	hang_up(&b);
}
END_TEST

/* ---- streams ---- */

/* Takes all items there are: in seq order, each once. Returns the next n. */
static int64_t
take_items(struct client *client, int64_t stream, int64_t n)
{
	json_t *m;

	while ((m = hear(client)) != NULL) {
		const json_t *p = json_object_get(m, "params");

		MUST(int_at(p, "stream") == stream);
		MUST(int_at(p, "n") == n);
		MUST(int_at(p, "seq") == n);
		n++;
		json_decref(m);
	}
	return n;
}

START_TEST(a_backlog_and_what_comes_meanwhile_is_one_stream)
{
	struct client watchers[4];
	int64_t streams[4], next[4];

	history(1500);
	for (int i = 0; i < 4; i++) {
		watchers[i] = client_of(1);
		next[i] = 1;
		streams[i] = post(&watchers[i], "completions.subscribe", "{'since_seq':0}");
	}
	for (int k = 0; k < 300; k++) {
		slot_loop_run_due(loop, (size_t)slow_random(4));
		job_exits(submit(&c, ""), 0);
		if (k % 10 == 0)
			next[k / 10 % 4] = take_items(&watchers[k / 10 % 4], streams[k / 10 % 4],
			    next[k / 10 % 4]);
	}
	for (int i = 0; i < 4; i++) {
		next[i] = take_items(&watchers[i], streams[i], next[i]);
		ck_assert_int_eq(next[i], 1801);
		hang_up(&watchers[i]);
	}
}
END_TEST

START_TEST(streams_at_the_same_place_share_their_reads)
{
	struct client watchers[20];
	size_t asked;

	history(1000);
	asked = slow_store.asked;
	for (int i = 0; i < 20; i++) {
		watchers[i] = client_of(1);
		post(&watchers[i], "completions.subscribe", "{'since_seq':0}");
	}
	run();
	ck_assert_uint_le(slow_store.asked - asked, 6);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(take_items(&watchers[i], 1, 1), 1001);
		hang_up(&watchers[i]);
	}
	ck_assert(LIST_EMPTY(&engine->pages));
}
END_TEST

START_TEST(pruning_that_overtakes_a_stream_ends_it)
{
	struct engine_limits limits = fixture_limits;
	int64_t stream;

	history(600);
	slow_hold();
	stream = post(&c, "completions.subscribe", "{'since_seq':0}");
	run();
	limits.history_jobs = 50;
	engine_reconfigure(engine, &limits);
	prune();
	slow_resume();
	ck_assert_int_eq(int_at(error_of(&c, stream, "HistoryTruncated"), "oldest"), 551);
	stream = post(&c, "completions.subscribe", "{'since_seq':550}");
	item_is(&c, stream, 1, 551);
}
END_TEST

/* What others leave behind is not one's own history. */
START_TEST(history_is_each_users_own)
{
	struct engine_limits limits = fixture_limits;
	struct client a = client_of(1001);
	int64_t stream;

	job_exits(submit(&a, ""), 0);
	history(60);
	limits.history_jobs = 10;
	engine_reconfigure(engine, &limits);
	prune();
	refused(&c, "HistoryTruncated", "completions.subscribe", "{'since_seq':0}");
	stream = post(&a, "completions.subscribe", "{'since_seq':0}");
	item_is(&a, stream, 1, 1);
	hang_up(&a);
}
END_TEST

START_TEST(a_filter_that_nothing_passes_waits_for_more)
{
	int64_t stream;

	history(700);
	stream = post(&c, "completions.subscribe", "{'since_seq':0,'filter':{'ok':false}}");
	hears_nothing(&c);
	job_exits(submit(&c, ""), 1);
	item_is(&c, stream, 1, 701);
}
END_TEST

/* ---- keys ---- */

START_TEST(two_that_look_for_a_key_make_one_job)
{
	struct client a = client_of(1), b = client_of(1);
	int64_t first, second, third;
	json_t *m;
	int64_t job;

	history(3);
	slow_hold();
	first = post_submit(&a, "'key':'k'");
	second = post_submit(&b, "'key':'k'");
	third = post_submit(&a, "'key':'k'");
	slow_resume();
	m = result_of(&a, first);
	job = int_at(m, "job");
	m = result_of(&b, second);
	ck_assert_int_eq(int_at(m, "job"), job);
	m = result_of(&a, third);
	ck_assert_int_eq(int_at(m, "job"), job);
	ck_assert(json_is_true(json_object_get(m, "existing")));
	ck_assert_int_eq((int64_t)engine->store->next_id, job + 1);
	hang_up(&a);
	hang_up(&b);
}
END_TEST

/* Its whole life passes while another still waits for the word that there is no such key. */
START_TEST(a_key_that_came_and_went_meanwhile_is_found)
{
	for (int round = 0; round < 50; round++) {
		struct client a = client_of(1), b = client_of(1);
		char member[32];
		int64_t first, second;
		uint64_t job;

		snprintf(member, sizeof member, "'key':'k%d'", round);
		first = post_submit(&a, member);
		second = post_submit(&b, member);
		while (slow_store.nreads > 1)
			slot_loop_run_due(loop, 1);
		slow_hold();
		run();
		job = engine->store->next_id - 1;
		ck_assert_uint_eq(job, (uint64_t)round + 1);
		job_exits(job, 0);
		slow_resume();
		run();
		ck_assert_int_eq(int_at(result_of(&a, first), "job"), (int64_t)job);
		ck_assert_int_eq(int_at(result_of(&b, second), "job"), (int64_t)job);
		hang_up(&a);
		hang_up(&b);
	}
}
END_TEST

START_TEST(a_key_in_history_is_found)
{
	json_t *m;
	int64_t id;

	id = post_submit(&c, "'key':'k','env':{'A':'1'}");
	result_of(&c, id);
	job_exits(1, 0);
	ck_assert_ptr_null(keys_find(&engine->keys, 1, "k"));
	m = result_of(&c, post_submit(&c, "'key':'k','env':{'A':'1'}"));
	ck_assert_int_eq(int_at(m, "job"), 1);
	ck_assert_str_eq(text_at(m, "phase"), "done");
	error_of(&c, post_submit(&c, "'key':'k','env':{'A':'2'}"), "KeyConflict");
	error_of(&c, post_submit(&c, "'key':'k','env':{'A':'1'},'name':'n'"), "KeyConflict");
	m = ok(&c, "job.submit_batch", "{'jobs':[{'argv':['a'],'key':'x'},{'argv':['a'],'key':'x'},"
	    "{'argv':['b'],'after':[-1,1]}]}");
	m = json_object_get(m, "jobs");
	ck_assert_int_eq(json_integer_value(json_array_get(m, 0)), 2);
	ck_assert_int_eq(json_integer_value(json_array_get(m, 1)), 2);
	ck_assert_int_eq(json_integer_value(json_array_get(m, 2)), 3);
}
END_TEST

/* A held submit looks its key up when there may be room, and holds up nobody meanwhile. */
START_TEST(a_held_submit_is_tried_again_with_reads)
{
	struct engine_limits limits = fixture_limits;
	int64_t held, cancelled;
	json_t *m;

	history(1);
	limits.max_pending = 0;
	engine_reconfigure(engine, &limits);
	held = post_submit(&c, "'key':'a','after':[1],'on_full':'wait'");
	cancelled = post_submit(&c, "'key':'b','after':[1],'on_full':'wait'");
	ck_assert_ptr_null(response(&c, held));
	ck_assert_uint_eq(engine->nheld, 2);
	limits.max_pending = 100;
	slow_hold();
	engine_reconfigure(engine, &limits);
	run();
	ck_assert_uint_eq(slow_store.nreads, 1); /* the other one is behind */
	ok(&c, "limits.get", "{}");
	notify(&c, "$/cancel", "{'id':%lld}", (long long)held);
	m = response(&c, held);
	ck_assert_int_eq(int_at(json_object_get(m, "error"), "code"), -32800);
	slow_resume();
	engine_reconfigure(engine, &limits);
	ck_assert_int_eq(int_at(result_of(&c, cancelled), "job"), 2);
	ck_assert_uint_eq(engine->nheld, 0);
}
END_TEST

/* ---- shelved jobs ---- */

/* 4 run, a few are in memory, the rest is on the shelf. */
static void
shelve(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		submit(&c, "");
	run();
	ck_assert_uint_gt(shelf_count(engine), n / 2);
}

START_TEST(a_shelved_job_is_shown)
{
	json_t *m;

	shelve(40);
	ck_assert(shelf_has(engine, 40));
	m = ok(&c, "job.get", "{'job':40}");
	ck_assert_str_eq(text_at(m, "phase"), "pending");
	ck_assert_str_eq(text_at(m, "reason"), "slots");
	ck_assert(shelf_has(engine, 40)); /* a look leaves it there */
	m = ok(&c, "job.list", "{'phase':'pending'}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "jobs")), 36);
	refused(&c, "InvalidState", "job.signal", "{'job':40,'signal':'HUP'}");
	refused(&c, "InvalidState", "job.result", "{'job':40}");
	refused(&c, "InvalidState", "job.retry", "{'job':40}");
	refused(&c, "InvalidState", "job.forget", "{'jobs':[40]}");
	ck_assert(shelf_has(engine, 40));
}
END_TEST

START_TEST(a_shelved_job_is_taken_down_where_it_is_needed)
{
	int64_t wait, gather;

	shelve(60);
	ok(&c, "job.set", "{'job':50,'priority':5}");
	wait = post(&c, "futures.wait", "{'jobs':[51,52],'return_when':'FIRST_COMPLETED'}");
	gather = post(&c, "futures.gather", "{'jobs':[53]}");
	ck_assert_uint_eq(submit(&c, "'after':[54,55]"), 61);
	ok(&c, "job.cancel", "{'jobs':[55]}");
	run();
	ck_assert_str_eq(text_at(ok(&c, "job.get", "{'job':61}"), "outcome"), "dependency_failed");
	ok(&c, "job.cancel", "{'jobs':[52,53]}");
	ck_assert_uint_eq(json_array_size(json_object_get(result_of(&c, wait), "done")), 1);
	error_of(&c, gather, "JobCancelled");
	job_exits(1, 0);
	phase_is(50, ROW_RUNNING);
}
END_TEST

START_TEST(many_shelved_jobs_are_cancelled_in_slices)
{
	enum { MANY = 5000 };
	struct client other = client_of(1);
	char *line = malloc(MANY * 6 + 64), *at = line;
	size_t most = 0;
	json_t *m;
	int64_t id;

	shelve(MANY);
	at += sprintf(at, "{\"jobs\":[");
	for (int i = 5; i <= MANY; i++)
		at += sprintf(at, "%s%d", i > 5 ? "," : "", i);
	sprintf(at, "]}");
	id = ++c.id;
	m = json_pack("{s:s,s:I,s:s,s:o}", "jsonrpc", "2.0", "id", (json_int_t)id, "method",
	    "job.cancel", "params", json_loads(line, 0, NULL));
	free(line);
	line = json_dumps(m, 0);
	json_decref(m);
	feed(&c, line);
	feed(&c, "\n");
	free(line);
	ok(&other, "limits.get", "{}"); /* others are served in between */
	while (engine->npending > 0) {
		size_t live = engine->jobs.count - shelf_count(engine);

		most = live > most ? live : most;
		MUST(slot_loop_run_due(loop, 50) > 0);
	}
	ck_assert_uint_le(most, 600);
	m = json_object_get(result_of(&c, id), "results");
	ck_assert_uint_eq(json_array_size(m), MANY - 4);
	ck_assert(json_is_true(json_object_get(json_array_get(m, MANY - 5), "accepted")));
	run();
	ck_assert_uint_eq(engine->jobs.count, 4);
	hang_up(&other);
}
END_TEST

/* A drain that cancels: never more of them in memory than a few. */
START_TEST(all_that_is_shelved_is_ended)
{
	size_t most = 0;

	shelve(3000);
	post(&c, "drain", "{'mode':'cancel'}");
	while (engine->npending > 0) {
		size_t in_memory = engine->jobs.count - shelf_count(engine);

		most = in_memory > most ? in_memory : most;
		MUST(slot_loop_run_due(loop, 50) > 0);
	}
	ck_assert_uint_le(most, 600);
	ck_assert_uint_eq(shelf_count(engine), 0);
	run();
	ck_assert_uint_eq(engine->jobs.count, 4);
}
END_TEST

START_TEST(a_cancel_of_an_unknown_job_cancels_none)
{
	shelve(40);
	refused(&c, "NoSuchJob", "job.cancel", "{'jobs':[39,40,41]}");
	ck_assert(shelf_has(engine, 39) && shelf_has(engine, 40));
	ck_assert_uint_eq(engine->npending, 36);
}
END_TEST

START_TEST(history_is_forgotten_by_id)
{
	history(30);
	submit(&c, "");
	refused(&c, "InvalidState", "job.forget", "{'jobs':[3,31,4]}");
	ck_assert_int_eq(int_at(ok(&c, "job.forget", "{'jobs':[3,4,3]}"), "forgotten"), 2);
	refused(&c, "NoSuchJob", "job.get", "{'job':3}");
	refused(&c, "NoSuchJob", "job.forget", "{'jobs':[5,3]}");
	ok(&c, "job.get", "{'job':5}");
}
END_TEST

START_TEST(futures_of_history_are_settled)
{
	int64_t stream;
	json_t *m;

	history(30);
	submit(&c, "");
	stream = post(&c, "futures.as_completed", "{'jobs':[31,30,2,9]}");
	item_is(&c, stream, 1, 2);
	item_is(&c, stream, 2, 9);
	item_is(&c, stream, 3, 30);
	hears_nothing(&c);
	job_exits(31, 0);
	item_is(&c, stream, 4, 31);
	ck_assert_int_eq(int_at(result_of(&c, stream), "done"), 4);
	m = ok(&c, "futures.gather", "{'jobs':[7,7,1]}");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "results")), 3);
	ck_assert_int_eq(int_at(ok(&c, "job.retry", "{'job':1}"), "job"), 32);
	ck_assert_str_eq(text_at(ok(&c, "job.result", "{'job':1}"), "outcome"), "exited");
}
END_TEST

/* ---- output ---- */

static char text[200000];

static void
history_with_output(uint64_t n)
{
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i % 23);
	history(n);
	for (uint64_t job = 1; job <= n; job++) {
		slow_keeps(kept(job), 1, 0, text + job, 5000);
		slow_keeps(kept(job), 2, 70, "error", 5);
	}
}

static void
is_text(const json_t *o, const char *key, const char *bytes, size_t len)
{
	ck_assert_uint_eq(strlen(text_at(o, key)), len);
	ck_assert(memcmp(text_at(o, key), bytes, len) == 0);
}

START_TEST(output_is_read_from_history)
{
	json_t *m;

	history_with_output(2);
	m = ok(&c, "output.read", "{'job':1,'fd':1,'off':10,'max':100}");
	is_text(m, "data", text + 11, 100);
	ck_assert(json_is_false(json_object_get(m, "eof")));
	m = ok(&c, "output.read", "{'job':1,'fd':1,'off':4990}");
	is_text(m, "data", text + 4991, 10);
	ck_assert(json_is_true(json_object_get(m, "eof")));
	m = ok(&c, "output.read", "{'job':1,'fd':2}"); /* the oldest kept byte */
	is_text(m, "data", "error", 5);
	ck_assert_int_eq(int_at(m, "off"), 70);
	ck_assert_int_eq(int_at(m, "dropped_before"), 70);
	m = ok(&c, "output.read", "{'job':1,'fd':2,'off':500}");
	is_text(m, "data", "", 0);
	ck_assert(json_is_true(json_object_get(m, "eof")));
	m = ok(&c, "job.get", "{'job':1}");
	ck_assert_int_eq(int_at(json_object_get(m, "output"), "stdout"), 5000);
}
END_TEST

START_TEST(completions_bring_output_from_history)
{
	int64_t stream;
	json_t *m;
	size_t i;

	history_with_output(20);
	m = ok(&c, "job.result", "{'job':3,'with_output':100}");
	is_text(m, "stdout", text + 3, 100);
	is_text(m, "stderr", "error", 5);
	m = json_object_get(ok(&c, "futures.gather", "{'jobs':[4,2],'with_output':7}"), "results");
	is_text(json_array_get(m, 0), "stdout", text + 4, 7);
	is_text(json_array_get(m, 1), "stdout", text + 2, 7);
	m = ok(&c, "futures.wait", "{'jobs':[6,5],'with_output':7}");
	json_array_foreach(json_object_get(m, "done"), i, m)
		is_text(m, "stdout", text + 5 + i, 7);
	stream = post(&c, "completions.subscribe", "{'since_seq':0,'with_output':6000}");
	for (int64_t n = 1; n <= 20; n++) {
		m = item_of(&c, stream, n);
		ck_assert_int_eq(int_at(m, "job"), n);
		is_text(m, "stdout", text + n, 5000);
		is_text(m, "stderr", "error", 5);
		json_decref(m);
	}
	stream = post(&c, "futures.as_completed", "{'jobs':[9,8],'with_output':4,'window':1}");
	m = item_of(&c, stream, 1);
	is_text(m, "stdout", text + 8, 4);
	json_decref(m);
	hears_nothing(&c);
	notify(&c, "$/credit", "{'stream':%lld,'n':1}", (long long)stream);
	m = item_of(&c, stream, 2);
	is_text(m, "stdout", text + 9, 4);
	json_decref(m);
	result_of(&c, stream);
}
END_TEST

START_TEST(output_of_history_is_followed_to_its_end)
{
	int64_t stream, next[2] = { 0, 70 };
	json_t *m;

	history(1);
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i % 23);
	slow_keeps(kept(1), 1, 0, text, 150000);
	slow_keeps(kept(1), 2, 70, "error", 5);
	stream = post(&c, "output.follow", "{'job':1,'window':40000}");
	for (int64_t n = 1; next[0] < 150000 || next[1] < 75; n++) {
		int64_t fd;

		m = item_of(&c, stream, n);
		fd = int_at(m, "fd");
		ck_assert_int_eq(int_at(m, "off"), next[fd - 1]);
		if (fd == 1)
			MUST(memcmp(text_at(m, "data"), text + next[0],
			    strlen(text_at(m, "data"))) == 0);
		next[fd - 1] += (int64_t)strlen(text_at(m, "data"));
		notify(&c, "$/credit", "{'stream':%lld,'n':%zu}", (long long)stream,
		    strlen(text_at(m, "data")));
		json_decref(m);
	}
	m = json_object_get(result_of(&c, stream), "next");
	ck_assert_int_eq(int_at(m, "1"), 150000);
	ck_assert_int_eq(int_at(m, "2"), 75);
}
END_TEST

/* ---- a full disk ---- */

START_TEST(a_full_disk_takes_nothing_new)
{
	int64_t map;

	history(3);
	shelve(20);
	map = post(&c, "map.open", "{'limit':2}");
	run();
	json_array_clear(c.inbox);
	engine->store->degraded = true;
	error_of(&c, post_submit(&c, ""), "StorageDegraded");
	refused(&c, "StorageDegraded", "job.submit_batch", "{'jobs':[{'argv':['x']}]}");
	refused(&c, "StorageDegraded", "map.push", "{'stream':%lld,'jobs':[{'argv':['x']}]}",
	    (long long)map);
	refused(&c, "StorageDegraded", "job.retry", "{'job':1}");
	refused(&c, "StorageDegraded", "job.set", "{'job':20,'hold':true}");
	refused(&c, "StorageDegraded", "queue.set", "{'queue':'new'}");
	refused(&c, "StorageDegraded", "limits.set", "{'max_running':3}");
	ok(&c, "job.get", "{'job':2}");
	ok(&c, "job.cancel", "{'jobs':[21]}");
	ok(&c, "job.forget", "{'jobs':[1]}");
	engine->store->stuck = true;
	refused(&c, "StorageDegraded", "job.cancel", "{'jobs':[20]}");
	refused(&c, "StorageDegraded", "job.forget", "{'jobs':[2]}");
	ok(&c, "job.cancel", "{'jobs':[4]}"); /* what runs is ended all the same */
	engine->store->stuck = engine->store->degraded = false;
	submit(&c, "");
}
END_TEST

START_TEST(the_journal_is_in_the_stats)
{
	json_t *m;

	shelve(30);
	m = json_object_get(ok(&c, "stats.get", "{}"), "journal");
	ck_assert(json_is_object(m));
	ck_assert_int_eq(int_at(m, "shelved"), (int64_t)shelf_count(engine));
	ck_assert(json_is_false(json_object_get(m, "degraded")));
}
END_TEST

static void
suspended_tests(TCase *tc)
{
	tcase_add_test(tc, requests_keep_their_order);
	tcase_add_test(tc, a_client_that_leaves_gives_up_its_reads);
	tcase_add_test(tc, a_half_closed_session_is_answered_first);
	tcase_add_test(tc, a_cancelled_stream_gives_up_its_read);
	tcase_add_test(tc, what_is_pruned_meanwhile_is_unknown);
	tcase_add_test(tc, a_foreign_job_is_as_an_unknown_one);
	tcase_add_test(tc, a_read_that_fails_refuses_its_request_only);
	tcase_add_test(tc, a_shutdown_answers_what_is_suspended);
	tcase_add_test(tc, a_list_is_walked_page_by_page);
	tcase_add_test(tc, a_list_shows_nobody_elses);
}

static void
stream_tests(TCase *tc)
{
	tcase_add_test(tc, a_backlog_and_what_comes_meanwhile_is_one_stream);
	tcase_add_test(tc, streams_at_the_same_place_share_their_reads);
	tcase_add_test(tc, pruning_that_overtakes_a_stream_ends_it);
	tcase_add_test(tc, history_is_each_users_own);
	tcase_add_test(tc, a_filter_that_nothing_passes_waits_for_more);
	tcase_add_test(tc, output_is_read_from_history);
	tcase_add_test(tc, completions_bring_output_from_history);
	tcase_add_test(tc, output_of_history_is_followed_to_its_end);
}

static void
job_tests(TCase *tc)
{
	tcase_add_test(tc, two_that_look_for_a_key_make_one_job);
	tcase_add_test(tc, a_key_that_came_and_went_meanwhile_is_found);
	tcase_add_test(tc, a_key_in_history_is_found);
	tcase_add_test(tc, a_held_submit_is_tried_again_with_reads);
	tcase_add_test(tc, history_is_forgotten_by_id);
	tcase_add_test(tc, futures_of_history_are_settled);
	tcase_add_test(tc, a_full_disk_takes_nothing_new);
	tcase_add_test(tc, the_journal_is_in_the_stats);
}

static void
shelf_tests(TCase *tc)
{
	tcase_add_test(tc, a_shelved_job_is_shown);
	tcase_add_test(tc, a_shelved_job_is_taken_down_where_it_is_needed);
	tcase_add_test(tc, many_shelved_jobs_are_cancelled_in_slices);
	tcase_add_test(tc, a_cancel_of_an_unknown_job_cancels_none);
	tcase_add_test(tc, all_that_is_shelved_is_ended);
}

static int
run_tests(bool slow)
{
	Suite *suite = suite_create(slow ? "engine reads" : "engine reads, all at once");
	TCase *tc = tcase_create("reads");

	fixture_slow = slow;
	tcase_add_checked_fixture(tc, begin, end);
	shelf_tests(tc);
	if (slow) {
		suspended_tests(tc);
		stream_tests(tc);
		job_tests(tc);
	}
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}

int
main(void)
{
	int failed = run_tests(false);

	return run_tests(true) | failed;
}
