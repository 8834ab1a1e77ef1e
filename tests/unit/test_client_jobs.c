/* Remote jobs as futures, streams, and the combinators on them. */
#include "client_fixture.h"

#include <slot/combine.h>

#define SUBSCRIBE                                                                                  \
	"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"completions.subscribe\",\"params\":{}}"

static json_t *
spec(void)
{
	return json_pack("{s:[s]}", "argv", "true");
}

static struct slot_future *
submit(void)
{
	int error = 99;
	struct slot_future *f = slot_client_submit(client, spec(), &error);

	ck_assert_int_eq(error, 0);
	return f;
}

/* The daemon gives request `id` the job `job`. */
static void
accept_as(int id, int job)
{
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{\"job\":%d,"
	    "\"phase\":\"running\",\"existing\":false}}\n", id, job);
	say(line);
}

/* The daemon tells stream `stream` of a completion. */
static void
complete(int stream, int job, int seq, const char *outcome, int exit_code)
{
	char line[300];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{"
	    "\"stream\":%d,\"n\":1,\"job\":%d,\"seq\":%d,\"ok\":%s,\"outcome\":\"%s\","
	    "\"exit_code\":%d,\"signal\":null,\"tag\":null}}\n", stream, job, seq,
	    strcmp(outcome, "exited") == 0 && exit_code == 0 ? "true" : "false", outcome,
	    exit_code);
	say(line);
}

/* The client asks, as request `id`, for the end of a job. */
static void
hear_cancel(int id, int job)
{
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"job.cancel\","
	    "\"params\":{\"jobs\":[%d]}}", id, job);
	hear(line);
}

/* A started client with its subscription (id 2) and n submits (ids from 3), accepted as jobs
 * 101, 102, … */
static void
submit_many(struct slot_future **futures, int n)
{
	for (int i = 0; i < n; i++)
		futures[i] = submit();
	hear(SUBSCRIBE);
	for (int i = 0; i < n; i++)
		free(next_line());
	for (int i = 0; i < n; i++)
		accept_as(3 + i, 101 + i);
}

static void
drop(struct slot_future **futures, int n)
{
	for (int i = 0; i < n; i++)
		slot_future_unref(futures[i]);
}

/* ---- submit ---- */

START_TEST(jobs_share_one_subscription_and_end_by_their_completions)
{
	struct slot_future *f[3];
	void *result;
	int code;

	submit_many(f, 3);
	hear_nothing();
	ck_assert_uint_eq(slot_job_id(f[1]), 102);
	ck_assert_ptr_null(slot_job_completion(f[1]));
	complete(2, 102, 50, "exited", 0);
	complete(2, 999, 51, "exited", 0); /* somebody else's */
	complete(2, 101, 52, "exited", 3);
	complete(2, 103, 53, "cancelled", 0);
	ck_assert_int_eq(slot_future_result(f[1], &result), 0);
	const struct slot_completion *c = result;

	ck_assert_ptr_eq(c, slot_job_completion(f[1]));
	ck_assert_uint_eq(c->job, 102);
	ck_assert_uint_eq(c->seq, 50);
	ck_assert(c->ok);
	ck_assert_int_eq(c->outcome, SLOT_OUTCOME_EXITED);
	ck_assert_int_eq(c->signal, 0);
	void *detail;

	ck_assert_int_eq(slot_future_exception(f[0], &code, &detail), 0);
	ck_assert_int_eq(code, -SLOT_EFAILED);
	c = detail;
	ck_assert_int_eq(c->exit_code, 3);
	ck_assert(slot_future_cancelled(f[2]));
	ck_assert_str_eq(slot_job_completion(f[2])->outcome_name, "cancelled");
	ck_assert_uint_eq(slot_client_seq(client), 53);
	drop(f, 3);
}
END_TEST

START_TEST(a_refused_submit_fails_its_future)
{
	struct slot_future *f = submit();

	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1003,\"message\":\"full\","
	    "\"data\":{\"kind\":\"QueueFull\"}}}\n");
	fails_with(f, -SLOT_EREMOTE);
	ck_assert_str_eq(slot_rpc_error(f)->kind, "QueueFull");
	ck_assert_uint_eq(slot_job_id(f), 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(output_is_asked_for_once_for_all)
{
	start_with(&(struct slot_client_options){ .with_output = 100 });
	free(next_line());
	say(HELLO_ANSWER);
	slot_future_unref(submit());
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"completions.subscribe\",\"params\":"
	     "{\"with_output\":100}}");
	stop();
}
END_TEST

START_TEST(a_job_found_done_by_its_key_is_asked_for)
{
	struct slot_future *f = submit();

	free(next_line());
	free(next_line());
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"job\":7,\"phase\":\"done\","
	    "\"existing\":true}}\n");
	hear("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"futures.as_completed\",\"params\":"
	     "{\"jobs\":[7]}}");
	ck_assert(!slot_future_done(f));
	complete(4, 7, 9, "exited", 0);
	say("{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"done\":1}}\n");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(two_futures_of_one_job_both_end)
{
	struct slot_future *f[2];

	f[0] = submit();
	f[1] = submit();
	accept_as(3, 101);
	accept_as(4, 101);
	complete(2, 101, 50, "exited", 0);
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	drop(f, 2);
}
END_TEST

START_TEST(a_lost_subscription_fails_the_jobs_and_the_next_submit_subscribes_anew)
{
	struct slot_future *f[2];

	submit_many(f, 2);
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":\"bye\","
	    "\"data\":{\"kind\":\"ShuttingDown\"}}}\n");
	fails_with(f[0], -SLOT_EREMOTE);
	ck_assert_str_eq(slot_rpc_error(f[1])->kind, "ShuttingDown");
	struct slot_future *again = submit();

	hear("{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"completions.subscribe\",\"params\":{}}");
	slot_future_unref(again);
	drop(f, 2);
}
END_TEST

START_TEST(a_submit_that_outlives_its_subscription_is_asked_for)
{
	struct slot_future *f[2];

	f[0] = submit();
	hear(SUBSCRIBE);
	free(next_line());
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":1009,\"message\":\"gone\","
	    "\"data\":{\"kind\":\"HistoryTruncated\"}}}\n");
	/* Another subscription may have begun too late for it. */
	f[1] = submit();
	hear("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"completions.subscribe\",\"params\":{}}");
	free(next_line());
	accept_as(3, 101);
	hear("{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"futures.as_completed\",\"params\":"
	     "{\"jobs\":[101]}}");
	accept_as(5, 102);
	hear_nothing();
	complete(6, 101, 50, "exited", 0);
	complete(4, 102, 51, "exited", 0);
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	drop(f, 2);
}
END_TEST

static void
refuse(int id, int code, const char *kind)
{
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"error\":{\"code\":%d,"
	    "\"message\":\"no\",\"data\":{\"kind\":\"%s\"}}}\n", id, code, kind);
	say(line);
}

/* Jobs from 101 on are asked for, as requests from `id` on, in any order: where job 101 is. */
static void
hear_questions(int id, int n, int *ids)
{
	int asked, job;

	for (int i = 0; i < n; i++) {
		char *line = next_line();

		ck_assert_int_eq(sscanf(line, "{\"jsonrpc\":\"2.0\",\"id\":%d,"
		    "\"method\":\"job.result\",\"params\":{\"job\":%d}}", &asked, &job), 2);
		ck_assert_int_eq(asked, id + i);
		ck_assert(job > 100 && job <= 100 + n);
		ids[job - 101] = asked;
		free(line);
	}
}

START_TEST(a_subscription_that_fell_behind_is_made_anew_and_jobs_are_asked_for_once)
{
	struct slot_future *f[4];
	int ids[4];

	submit_many(f, 4);
	refuse(2, 1009, "HistoryTruncated");
	hear("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"completions.subscribe\",\"params\":{}}");
	hear_questions(8, 4, ids);
	hear_nothing();
	/* One had ended, one runs on, one was pruned, one ends before the answer. */
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{\"job\":101,"
	    "\"seq\":50,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n", ids[0]);
	say(line);
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	refuse(ids[1], 1007, "InvalidState");
	ck_assert(!slot_future_done(f[1]));
	refuse(ids[2], 1001, "NoSuchJob");
	fails_with(f[2], -SLOT_EREMOTE);
	ck_assert_str_eq(slot_rpc_error(f[2])->kind, "HistoryTruncated");
	complete(7, 102, 51, "exited", 0);
	complete(7, 104, 52, "exited", 0);
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	ck_assert_int_eq(slot_future_result(f[3], NULL), 0);
	refuse(ids[3], 1001, "NoSuchJob");
	ck_assert_uint_eq(lost_times, 0);
	drop(f, 4);
}
END_TEST

/* The answer to a question of before the second time is no answer any more. */
START_TEST(a_subscription_may_fall_behind_twice)
{
	struct slot_future *f;
	int first, second;

	submit_many(&f, 1);
	refuse(2, 1009, "HistoryTruncated");
	free(next_line());
	hear_questions(5, 1, &first);
	refuse(4, 1009, "HistoryTruncated");
	free(next_line());
	hear_questions(7, 1, &second);
	refuse(first, 1001, "NoSuchJob");
	ck_assert(!slot_future_done(f));
	refuse(second, 1007, "InvalidState");
	complete(6, 101, 51, "exited", 0);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_lost_subscription_fails_those_alone_that_rely_on_it)
{
	const uint64_t ids[] = { 101, 500 };
	struct slot_future *f[3], *a[2];

	submit_many(f, 3);
	ck_assert_int_eq(slot_client_attach(client, ids, 2, a), 0);
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32603,\"message\":\"broken\","
	    "\"data\":{\"kind\":\"InternalError\"}}}\n");
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(slot_rpc_error(f[i])->kind, "InternalError");
	ck_assert(!slot_future_done(a[0]) && !slot_future_done(a[1]));
	complete(6, 101, 50, "exited", 0);
	complete(6, 500, 51, "exited", 1);
	ck_assert_int_eq(slot_future_result(a[0], NULL), 0);
	fails_with(a[1], -SLOT_EFAILED);
	drop(f, 3);
	drop(a, 2);
}
END_TEST

START_TEST(a_lost_connection_fails_the_jobs)
{
	struct slot_future *f[3];

	submit_many(f, 2);
	f[2] = submit();
	hang_up();
	for (int i = 0; i < 3; i++)
		fails_with(f[i], -SLOT_ECLOSED);
	drop(f, 3);
}
END_TEST

START_TEST(jobs_outlive_a_future_that_was_dropped)
{
	struct slot_future *f[2];

	submit_many(f, 2);
	drop(f, 2);
	complete(2, 101, 50, "exited", 0);
	complete(2, 102, 51, "exited", 0);
	ck_assert_uint_eq(slot_client_seq(client), 51);
	hear_nothing();
}
END_TEST

/* ---- cancelling ---- */

START_TEST(cancelling_a_future_cancels_the_job_which_ends_it)
{
	struct slot_future *f[1];

	submit_many(f, 1);
	ck_assert(slot_future_cancel(f[0]));
	ck_assert(slot_future_cancel(f[0]));
	hear_cancel(4, 101);
	hear_nothing();
	ck_assert(!slot_future_done(f[0]));
	complete(2, 101, 50, "cancelled", 0);
	ck_assert(slot_future_cancelled(f[0]));
	say("{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"results\":[]}}\n");
	drop(f, 1);
}
END_TEST

START_TEST(cancelling_before_the_submit_is_answered)
{
	struct slot_future *held = submit(), *made = submit();

	for (int i = 0; i < 3; i++)
		free(next_line());
	slot_future_cancel(held);
	slot_future_cancel(made);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":3}}");
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":4}}");
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":-32800,\"message\":\"cancelled\","
	    "\"data\":{\"kind\":\"RequestCancelled\"}}}\n");
	ck_assert(slot_future_cancelled(held));
	accept_as(4, 101); /* the answer was on its way */
	hear_cancel(5, 101);
	complete(2, 101, 50, "cancelled", 0);
	ck_assert(slot_future_cancelled(made));
	slot_future_unref(held);
	slot_future_unref(made);
}
END_TEST

/* ---- attach ---- */

START_TEST(attach_follows_jobs_with_one_request)
{
	const uint64_t jobs[] = { 5, 6, 5 };
	struct slot_future *f[3];

	ck_assert_int_eq(slot_client_attach(client, jobs, 3, f), 0);
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"futures.as_completed\",\"params\":"
	     "{\"jobs\":[5,6,5]}}");
	complete(2, 5, 50, "exited", 0);
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	ck_assert_int_eq(slot_future_result(f[2], NULL), 0);
	ck_assert_uint_eq(slot_client_seq(client), 41); /* others before it may still come */
	complete(2, 6, 51, "exited", 1);
	fails_with(f[1], -SLOT_EFAILED);
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"done\":2}}\n");
	drop(f, 3);
}
END_TEST

START_TEST(a_refused_attach_fails_its_own_futures_alone)
{
	const uint64_t jobs[] = { 101, 99 };
	struct slot_future *mine[1], *f[2];

	submit_many(mine, 1);
	ck_assert_int_eq(slot_client_attach(client, jobs, 2, f), 0);
	say("{\"jsonrpc\":\"2.0\",\"id\":4,\"error\":{\"code\":1001,\"message\":\"no\","
	    "\"data\":{\"kind\":\"NoSuchJob\"}}}\n");
	fails_with(f[0], -SLOT_EREMOTE);
	fails_with(f[1], -SLOT_EREMOTE);
	ck_assert(!slot_future_done(mine[0]));
	complete(2, 101, 50, "exited", 0);
	ck_assert_int_eq(slot_future_result(mine[0], NULL), 0);
	drop(mine, 1);
	drop(f, 2);
}
END_TEST

START_TEST(attach_to_nothing_is_refused)
{
	const uint64_t jobs[] = { 4, 0 };
	struct slot_future *f[2];

	ck_assert_int_eq(slot_client_attach(client, jobs, 0, f), -SLOT_EINVAL);
	ck_assert_int_eq(slot_client_attach(client, jobs, 2, f), -SLOT_EINVAL);
	hear_nothing();
}
END_TEST

/* ---- the combinators ---- */

START_TEST(as_completed_gives_jobs_in_finish_order)
{
	struct slot_future *f[3], *next;
	static const int order[] = { 103, 101, 102 };
	int error = 0;

	submit_many(f, 3);
	struct slot_as_completed *ac = slot_as_completed_new(loop, f, 3, SLOT_NO_TIMEOUT, NULL,
	    NULL, &error);

	for (int i = 0; i < 3; i++)
		complete(2, order[i], 50 + i, "exited", i);
	for (int i = 0; i < 3; i++) {
		next = slot_as_completed_next(ac);
		ck_assert_ptr_nonnull(next);
		ck_assert_uint_eq(slot_job_id(next), (unsigned)order[i]);
		slot_future_unref(next);
	}
	ck_assert_int_eq(slot_as_completed_status(ac), 0);
	slot_as_completed_free(ac);
	drop(f, 3);
}
END_TEST

START_TEST(cancelling_a_gather_cancels_its_jobs)
{
	struct slot_future *f[2];
	int error = 0;

	submit_many(f, 2);
	struct slot_future *all = slot_gather(loop, f, 2, SLOT_GATHER_RAISE, &error);

	slot_future_cancel(all);
	hear_cancel(5, 101);
	hear_cancel(6, 102);
	complete(2, 101, 50, "cancelled", 0);
	complete(2, 102, 51, "cancelled", 0);
	ck_assert(slot_future_done(all));
	slot_future_unref(all);
	drop(f, 2);
}
END_TEST

START_TEST(a_time_that_is_up_leaves_the_jobs_alone)
{
	struct slot_future *f[2];
	void *result;

	submit_many(f, 2);
	struct slot_as_completed *ac = slot_as_completed_new(loop, f, 2, 1, NULL, NULL, NULL);
	struct slot_future *wait = slot_wait(loop, f, 2, SLOT_ALL_COMPLETED, 1, NULL);

	complete(2, 102, 50, "exited", 0);
	ck_assert_int_eq(slot_client_run(client, wait, PATIENCE_MS), 0);
	ck_assert_int_eq(slot_future_result(wait, &result), 0);
	const struct slot_wait_result *waited = result;

	ck_assert(waited->timed_out);
	ck_assert_uint_eq(waited->ndone, 1);
	ck_assert_ptr_eq(waited->pending[0], f[0]);
	slot_future_unref(slot_as_completed_next(ac));
	while (slot_as_completed_status(ac) == 1) {
		poll(NULL, 0, 1);
		settle();
	}
	ck_assert_int_eq(slot_as_completed_status(ac), -SLOT_ETIMEOUT);
	hear_nothing(); /* nobody was cancelled */
	complete(2, 101, 51, "exited", 0);
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	slot_as_completed_free(ac);
	slot_future_unref(wait);
	drop(f, 2);
}
END_TEST

START_TEST(what_others_cancel_or_what_fails_ends_a_gather_and_not_the_rest)
{
	struct slot_future *f[3], *all[2];
	int code;
	void *detail;

	submit_many(f, 3);
	all[0] = slot_gather(loop, f, 2, SLOT_GATHER_RAISE, NULL);
	all[1] = slot_gather(loop, f + 1, 2, SLOT_GATHER_RAISE, NULL);
	complete(2, 101, 50, "cancelled", 0);
	ck_assert(slot_future_cancelled(f[0]));
	ck_assert_int_eq(slot_job_completion(f[0])->outcome, SLOT_OUTCOME_CANCELLED);
	fails_with(all[0], -SLOT_ECANCELLED);
	complete(2, 103, 51, "exited", 9);
	ck_assert_int_eq(slot_future_exception(all[1], &code, &detail), 0);
	ck_assert_int_eq(code, -SLOT_EFAILED);
	ck_assert_uint_eq(((struct slot_gather_failure *)detail)->index, 1);
	ck_assert(!slot_future_done(f[1]));
	hear_nothing();
	complete(2, 102, 52, "exited", 0);
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	drop(all, 2);
	drop(f, 3);
}
END_TEST

static int limited_made, limited_items, limited_cancelled;

static struct slot_future *
submit_next(void *arg)
{
	(void)arg;
	limited_made++;
	return submit();
}

static void
limited_item(struct slot_future *f, void *arg)
{
	(void)arg;
	limited_items++;
	limited_cancelled += slot_future_cancelled(f);
}

START_TEST(limited_submits_as_jobs_end_and_passes_a_cancel_down)
{
	limited_made = limited_items = limited_cancelled = 0;
	struct slot_future *all = slot_limited(loop, 2, submit_next, limited_item, NULL, NULL);

	hear(SUBSCRIBE);
	for (int i = 0; i < 2; i++)
		free(next_line());
	hear_nothing();
	accept_as(3, 101);
	accept_as(4, 102);
	complete(2, 102, 50, "exited", 1);
	ck_assert_int_eq(limited_made, 3); /* one ended, one more was made: request 5 */
	free(next_line());
	slot_future_cancel(all);
	/* One is a job, and one may not be one yet. */
	hear_cancel(6, 101);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":5}}");
	ck_assert(!slot_future_done(all));
	accept_as(5, 103);
	hear_cancel(7, 103);
	complete(2, 103, 51, "cancelled", 0);
	complete(2, 101, 52, "cancelled", 0);
	ck_assert(slot_future_cancelled(all));
	ck_assert_int_eq(limited_made, 3);
	ck_assert_int_eq(limited_items, 3);
	ck_assert_int_eq(limited_cancelled, 2);
	slot_future_unref(all);
}
END_TEST

START_TEST(combinators_outlive_the_client)
{
	struct slot_future *f[3];

	submit_many(f, 3);
	struct slot_future *all = slot_gather(loop, f, 3, SLOT_GATHER_RETURN_EXCEPTIONS, NULL);
	struct slot_as_completed *ac = slot_as_completed_new(loop, f, 3, SLOT_NO_TIMEOUT, NULL,
	    NULL, NULL);

	drop(f, 3);
	slot_client_free(client);
	client = NULL;
	settle();
	ck_assert_int_eq(slot_future_result(all, NULL), 0);
	for (int i = 0; i < 3; i++) {
		struct slot_future *next = slot_as_completed_next(ac);

		fails_with(next, -SLOT_ECLOSED);
		slot_future_unref(next);
	}
	slot_future_unref(all);
	slot_as_completed_free(ac);
}
END_TEST

/* ---- streams ---- */

static char told[1000];
static struct slot_stream *stream;
static bool free_at_item;

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	size_t len = strlen(told);

	(void)arg;
	snprintf(told + len, sizeof(told) - len, "item %d;",
	    (int)json_integer_value(json_object_get(item, "x")));
	if (!free_at_item)
		return;
	slot_stream_free(s);
	stream = NULL;
}

static void
on_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	size_t len = strlen(told);

	(void)s;
	(void)arg;
	snprintf(told + len, sizeof(told) - len, "gap %d;",
	    (int)json_integer_value(json_object_get(gap, "dropped")));
}

static void
on_credit(struct slot_stream *s, uint64_t n, void *arg)
{
	size_t len = strlen(told);

	(void)s;
	(void)arg;
	snprintf(told + len, sizeof(told) - len, "credit %d;", (int)n);
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	size_t len = strlen(told);

	(void)arg;
	ck_assert(!slot_stream_open(s));
	snprintf(told + len, sizeof(told) - len, "end %d %s%s;", code,
	    result != NULL ? "result" : "", error != NULL ? error->kind : "");
}

static const struct slot_stream_handlers handlers = { .item = on_item, .gap = on_gap,
	.credit = on_credit, .end = on_end };

static void
open_stream(void)
{
	int error = 99;

	told[0] = '\0';
	free_at_item = false;
	stream = slot_client_stream(client, "map.open", json_pack("{s:i}", "limit", 2), &handlers,
	    NULL, &error);
	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(error, 0);
	ck_assert_uint_eq(slot_stream_id(stream), 2);
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"map.open\",\"params\":{\"limit\":2}}");
}

#define ITEM(x)                                                                                    \
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":2,"                 \
	"\"n\":1,\"x\":" #x "}}\n"

START_TEST(a_stream_tells_items_gaps_credit_and_its_end)
{
	open_stream();
	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":2,\"n\":2}}\n"
	    ITEM(1) ITEM(2)
	    "{\"jsonrpc\":\"2.0\",\"method\":\"$/gap\",\"params\":{\"stream\":2,\"dropped\":9,"
	    "\"resume\":1}}\n");
	ck_assert_str_eq(told, "credit 2;item 1;item 2;gap 9;");
	ck_assert(slot_stream_open(stream));
	ck_assert_int_eq(slot_stream_credit(stream, 5), 0);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":2,\"n\":5}}");
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n" ITEM(3));
	ck_assert_str_eq(told, "credit 2;item 1;item 2;gap 9;end 0 result;");
	ck_assert_int_eq(slot_stream_credit(stream, 5), -SLOT_ECLOSED);
	slot_stream_free(stream);
}
END_TEST

START_TEST(a_cancelled_stream_ends_as_cancelled)
{
	open_stream();
	slot_stream_cancel(stream);
	slot_stream_cancel(stream);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":2}}");
	hear_nothing();
	say(ITEM(1) "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32800,\"message\":\"c\","
	    "\"data\":{\"kind\":\"RequestCancelled\"}}}\n");
	ck_assert_str_eq(told, "item 1;end -3 ;");
	slot_stream_free(stream);
}
END_TEST

START_TEST(a_stream_ends_with_an_error_or_the_connection)
{
	open_stream();
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":1005,\"message\":\"t\","
	    "\"data\":{\"kind\":\"Timeout\"}}}\n");
	ck_assert_str_eq(told, "end -8 Timeout;");
	slot_stream_free(stream);
	told[0] = '\0';
	stream = slot_client_stream(client, "m", NULL, &handlers, NULL, NULL);
	hang_up();
	ck_assert_str_eq(told, "end -7 ;");
	slot_stream_free(stream);
}
END_TEST

START_TEST(a_freed_stream_is_cancelled_and_silent)
{
	open_stream();
	free_at_item = true;
	say(ITEM(1) ITEM(2) ITEM(3));
	ck_assert_str_eq(told, "item 1;");
	ck_assert_ptr_null(stream);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":2}}");
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32800,\"message\":\"c\","
	    "\"data\":{\"kind\":\"RequestCancelled\"}}}\n");
	ck_assert_str_eq(told, "item 1;");
	ck_assert(slot_client_connected(client));
}
END_TEST

START_TEST(a_stream_outlives_its_client_inert)
{
	open_stream();
	slot_client_free(client);
	client = NULL;
	ck_assert(!slot_stream_open(stream));
	ck_assert_str_eq(told, "");
	slot_stream_cancel(stream);
	ck_assert_int_eq(slot_stream_credit(stream, 1), -SLOT_ECLOSED);
	slot_stream_free(stream);
}
END_TEST

static void
free_client_at_item(struct slot_stream *s, const json_t *item, void *arg)
{
	(void)item;
	(void)arg;
	slot_client_free(client);
	client = NULL;
	slot_stream_free(s);
}

START_TEST(the_client_may_be_freed_at_an_item)
{
	const struct slot_stream_handlers h = { .item = free_client_at_item };

	slot_client_stream(client, "m", NULL, &h, NULL, NULL);
	free(next_line());
	say(ITEM(1) ITEM(2));
	ck_assert_ptr_null(client);
}
END_TEST

/* ---- many ---- */

START_TEST(thousands_of_jobs_end_in_any_order)
{
	enum { N = 3000 };
	struct slot_future **f = calloc(N, sizeof(*f));

	submit_many(f, N);
	for (int i = 0; i < N; i++)
		complete(2, 101 + (i * 7) % N, 50 + i, "exited", 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(slot_future_result(f[i], NULL), 0);
	drop(f, N);
	free(f);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client_jobs");
	TCase *tc = tcase_create("connected"), *own = tcase_create("own");

	tcase_add_checked_fixture(tc, start, stop);
	tcase_add_test(tc, jobs_share_one_subscription_and_end_by_their_completions);
	tcase_add_test(tc, a_refused_submit_fails_its_future);
	tcase_add_test(tc, a_job_found_done_by_its_key_is_asked_for);
	tcase_add_test(tc, two_futures_of_one_job_both_end);
	tcase_add_test(tc, a_lost_subscription_fails_the_jobs_and_the_next_submit_subscribes_anew);
	tcase_add_test(tc, a_submit_that_outlives_its_subscription_is_asked_for);
	tcase_add_test(tc, a_subscription_that_fell_behind_is_made_anew_and_jobs_are_asked_for_once);
	tcase_add_test(tc, a_subscription_may_fall_behind_twice);
	tcase_add_test(tc, a_lost_subscription_fails_those_alone_that_rely_on_it);
	tcase_add_test(tc, a_lost_connection_fails_the_jobs);
	tcase_add_test(tc, jobs_outlive_a_future_that_was_dropped);
	tcase_add_test(tc, cancelling_a_future_cancels_the_job_which_ends_it);
	tcase_add_test(tc, cancelling_before_the_submit_is_answered);
	tcase_add_test(tc, attach_follows_jobs_with_one_request);
	tcase_add_test(tc, a_refused_attach_fails_its_own_futures_alone);
	tcase_add_test(tc, attach_to_nothing_is_refused);
	tcase_add_test(tc, as_completed_gives_jobs_in_finish_order);
	tcase_add_test(tc, cancelling_a_gather_cancels_its_jobs);
	tcase_add_test(tc, a_time_that_is_up_leaves_the_jobs_alone);
	tcase_add_test(tc, what_others_cancel_or_what_fails_ends_a_gather_and_not_the_rest);
	tcase_add_test(tc, limited_submits_as_jobs_end_and_passes_a_cancel_down);
	tcase_add_test(tc, combinators_outlive_the_client);
	tcase_add_test(tc, a_stream_tells_items_gaps_credit_and_its_end);
	tcase_add_test(tc, a_cancelled_stream_ends_as_cancelled);
	tcase_add_test(tc, a_stream_ends_with_an_error_or_the_connection);
	tcase_add_test(tc, a_freed_stream_is_cancelled_and_silent);
	tcase_add_test(tc, a_stream_outlives_its_client_inert);
	tcase_add_test(tc, the_client_may_be_freed_at_an_item);
	tcase_add_test(tc, thousands_of_jobs_end_in_any_order);
	suite_add_tcase(suite, tc);
	tcase_add_test(own, output_is_asked_for_once_for_all);
	suite_add_tcase(suite, own);
	return run_client_suite(suite);
}
