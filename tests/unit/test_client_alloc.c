/*
 * Memory of src/client: each allocation, be it ours, jansson's or libevent's, fails once, in each
 * public call and at each kind of line that comes in. What is called says -SLOT_ENOMEM; what comes
 * in is taken or ends the connection; nothing is leaked, and every future settles.
 */
#include "alloc_fixture.h"
#include "client_fixture.h"

#include <sys/un.h>

#include "client/client.h"

/* What went wrong; assertions allocate, so they wait. */
static const char *wrong;

static void
expect(bool true_enough, const char *what)
{
	if (!true_enough && wrong == NULL)
		wrong = what;
}

/* ---- what a scenario works with ---- */

static char path[64];
static int listener = -1;
static struct slot_future *futures[8];
static size_t nfutures;
static struct slot_stream *streams[2];
static size_t nstreams;
static unsigned ended;

static void
keep(struct slot_future *f, int error)
{
	expect(f != NULL || refused, "no future though there was memory");
	expect(f != NULL || error == -SLOT_ENOMEM, "another error than -SLOT_ENOMEM");
	if (f != NULL)
		futures[nfutures++] = f;
}

static void
all_are_done(void)
{
	for (size_t i = 0; i < nfutures; i++)
		expect(slot_future_done(futures[i]), "a future that never settles");
}

static void
submit(void)
{
	json_t *spec = json_pack("{s:[s]}", "argv", "true");
	int error = 0;

	if (spec == NULL) /* the program's own misfortune */
		return;

	struct slot_future *f = slot_client_submit(client, spec, &error);

	keep(f, error);
}

static void
call(void)
{
	int error = 0;
	struct slot_future *f = slot_client_call(client, "job.list", NULL, &error);

	keep(f, error);
}

static void
on_notice(struct slot_stream *s, const json_t *params, void *arg)
{
	(void)s;
	(void)arg;
	expect(json_is_object(params), "a notice of nothing");
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	(void)s;
	(void)arg;
	expect((code == 0) == (result != NULL), "an end without a result");
	expect((code == -SLOT_EREMOTE) == (error != NULL), "an end without its error");
	ended++;
}

static const struct slot_stream_handlers handlers = { .item = on_notice, .gap = on_notice,
	.end = on_end };

static void
open_stream(const char *method, json_t *params)
{
	int error = 0;
	struct slot_stream *s = slot_client_stream(client, method, params, &handlers, NULL, &error);

	expect(s != NULL || (refused && error == -SLOT_ENOMEM), "a stream that wasn't opened");
	if (s != NULL)
		streams[nstreams++] = s;
}

/* The daemon says it, allocating nothing. */
static void
tell(const char *line)
{
	bool sent = send(server, line, strlen(line), MSG_NOSIGNAL) > 0;

	expect(sent || refused, "the client hung up");
	settle();
}

static void
listen_now(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	strcpy(sa.sun_path, path);
	unlink(path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	expect(bind(listener, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(listener, 5) == 0,
	    "listen");
}

/* Until the client is there again, or never will be. */
static void
take_client(void)
{
	for (int waited = 0; waited < PATIENCE_MS; waited++) {
		server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		settle();
		if (server >= 0 || !slot_client_connected(client))
			return;
		poll(NULL, 0, 1);
	}
	expect(false, "nobody came");
}

static void
lose_client(void)
{
	close(listener);
	unlink(path);
	listener = -1;
	close(server);
	server = -1;
	settle();
}

static void
connect_now(void)
{
	const struct slot_client_options options = { .name = "t", .session = "s",
		.reconnect = true, .with_output = 10, .on_disconnect = note_lost };
	int error = 0;

	client = slot_client_connect(loop, path, &options, &error);
	expect(client != NULL || refused, "slot_client_connect");
	expect(client != NULL || error == -SLOT_ENOMEM || error == -SLOT_ECONNECT,
	    "another error of connect");
}

/* Answers the last request, a hello. */
static void
greet(void)
{
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":{\"protocol\":1,"
	    "\"instance\":\"i\",\"session\":\"s\",\"features\":[\"durable\"],\"seq\":41}}\n",
	    (unsigned long long)client->last_id);
	tell(line);
}

static void
connected(void)
{
	connect_now();
	take_client();
	greet();
}

/* ---- each of them ---- */

static void (*the_step)(void);

/* before, with all the memory there is; step, without; after, with all of it again. */
static void
fail_each(void (*before)(void), void (*step)(void), void (*after)(void))
{
	long n = 0;

	wrong = NULL;
	the_step = step;
	snprintf(path, sizeof(path), "/tmp/slot-client-alloc-%d", (int)getpid());
	do {
		long was = live;

		base = event_base_new();
		loop = slot_loop_new(base);
		listen_now();
		client = NULL;
		server = -1;
		nfutures = nstreams = 0;
		lost_times = 0;
		refused = false;
		if (before != NULL)
			before();
		fail_in = ++n;
		step();
		fail_in = 0;
		if (after != NULL && client != NULL)
			after();
		slot_client_free(client);
		client = NULL;
		all_are_done();
		while (nfutures > 0)
			slot_future_unref(futures[--nfutures]);
		while (nstreams > 0)
			slot_stream_free(streams[--nstreams]);
		settle();
		slot_loop_free(loop);
		event_base_free(base);
		close(listener);
		if (server >= 0)
			close(server);
		unlink(path);
		expect(live == was, "something is left over");
		if (wrong != NULL)
			ck_abort_msg("with allocation %ld failing: %s", n, wrong);
	} while (refused);
	ck_assert_int_gt(n, 1);
}

/* What came in was told, or the connection is over, or it was lost and what was asked is asked
 * again: no future waits for what won't come again. */
static void
told_in_the_end(void)
{
	if (slot_client_state(client) == SLOT_CLIENT_RECONNECTING) {
		close(server);
		take_client();
		greet();
		the_step();
	}
	all_are_done();
}

/* ---- calls ---- */

START_TEST(connecting)
{
	fail_each(NULL, connect_now, NULL);
}
END_TEST

static void
connect_alone(void)
{
	int error = 0;
	struct slot_client *c = slot_client_connect(NULL, path, NULL, &error);

	expect(c != NULL || refused, "slot_client_connect without a loop");
	expect(c != NULL || error == -SLOT_ENOMEM, "another error of connect");
	slot_client_free(c);
}

START_TEST(connecting_without_a_loop)
{
	fail_each(NULL, connect_alone, NULL);
}
END_TEST

START_TEST(calling)
{
	fail_each(connected, call, NULL);
}
END_TEST

static void
call_with_fds(void)
{
	const int fds[] = { 0, listener };
	int error = 0;
	struct slot_future *f = slot_client_call_fds(client, "x", NULL, fds, 2, &error);

	keep(f, error);
}

START_TEST(calling_with_descriptors)
{
	fail_each(connected, call_with_fds, NULL);
}
END_TEST

START_TEST(submitting)
{
	fail_each(connected, submit, NULL);
}
END_TEST

static void
attach(void)
{
	const uint64_t ids[] = { 5, 6, 5 };
	int rc = slot_client_attach(client, ids, 3, futures);

	expect(rc == 0 || (refused && rc == -SLOT_ENOMEM), "slot_client_attach");
	nfutures = rc == 0 ? 3 : 0;
}

START_TEST(attaching)
{
	fail_each(connected, attach, NULL);
}
END_TEST

static void
open_completions(void)
{
	open_stream("completions.subscribe", NULL);
}

START_TEST(opening_a_stream)
{
	fail_each(connected, open_completions, NULL);
}
END_TEST

static void
have_open(void)
{
	connected();
	call();
	submit();
	open_stream("events.subscribe", NULL);
	settle();
}

static void
cancel_all(void)
{
	for (size_t i = 0; i < nfutures; i++)
		(void)slot_future_cancel(futures[i]);
	slot_stream_cancel(streams[0]);
	(void)slot_stream_credit(streams[0], 1);
	settle();
}

/* What was not taken for want of memory can be asked again. */
static void
cancel_again(void)
{
	char all[65536];
	ssize_t len;

	cancel_all();
	len = recv(server, all, sizeof(all) - 1, MSG_DONTWAIT);
	all[len > 0 ? len : 0] = '\0';
	expect(strstr(all, "\"$/cancel\",\"params\":{\"id\":2}") != NULL, "a call not cancelled");
	expect(strstr(all, "\"$/cancel\",\"params\":{\"id\":5}") != NULL, "a submit not cancelled");
	expect(strstr(all, "\"$/cancel\",\"params\":{\"id\":6}") != NULL, "a stream not cancelled");
}

START_TEST(cancelling)
{
	fail_each(have_open, cancel_all, cancel_again);
}
END_TEST

static void
have_job(void)
{
	connected();
	submit();
	tell("{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
}

static void
cancel_job(void)
{
	bool taken = slot_future_cancel(futures[0]);

	expect(taken || refused, "a cancel not taken");
	settle();
}

static void
cancel_job_again(void)
{
	char all[65536];
	ssize_t len;

	expect(slot_future_cancel(futures[0]), "a cancel not taken");
	settle();
	len = recv(server, all, sizeof(all) - 1, MSG_DONTWAIT);
	all[len > 0 ? len : 0] = '\0';
	expect(strstr(all, "job.cancel") != NULL, "a job that can't be cancelled any more");
}

START_TEST(cancelling_a_job)
{
	fail_each(have_job, cancel_job, cancel_job_again);
}
END_TEST

static void
convert(void)
{
	json_t *value = slot_json_from_bytes("\xff\x00", 2);
	char *bytes = value != NULL ? slot_json_to_bytes(value, NULL) : NULL;

	expect((bytes == NULL) == refused, "bytes");
	free(bytes);
	json_decref(value);
}

START_TEST(converting)
{
	fail_each(NULL, convert, NULL);
}
END_TEST

/* ---- what comes in ---- */

static void
keep_ready(void)
{
	connect_now();
	take_client();
	futures[nfutures++] = slot_client_ready(client);
}

START_TEST(hello_answered)
{
	fail_each(keep_ready, greet, told_in_the_end);
}
END_TEST

static void
have_call(void)
{
	connected();
	call();
	settle();
}

static void
tell_result(void)
{
	tell("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"jobs\":[1,\"two\",{}]}}\n");
}

static void
tell_error(void)
{
	tell("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":5,\"message\":\"m\",\"data\":"
	     "{\"kind\":\"NoSuchJob\"}}}\n");
}

START_TEST(a_result_and_an_error)
{
	fail_each(have_call, tell_result, told_in_the_end);
	fail_each(have_call, tell_error, told_in_the_end);
}
END_TEST

static void
have_submit(void)
{
	connected();
	submit();
	settle();
}

static void
tell_done(void)
{
	tell("{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"job\":7,\"phase\":\"done\"}}\n");
}

/* Where it could be asked for, with the last request, it is told. */
static void
tell_asked_for(void)
{
	char line[200];

	if (slot_client_state(client) == SLOT_CLIENT_RECONNECTING) {
		close(server);
		take_client();
		greet();
		tell_done();
	}
	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":"
	    "{\"stream\":%llu,\"job\":7,\"seq\":3,\"ok\":true,\"outcome\":\"exited\"}}\n",
	    (unsigned long long)client->last_id);
	if (slot_client_connected(client) && !slot_future_done(futures[0]))
		tell(line);
	all_are_done();
}

START_TEST(a_submit_answered)
{
	fail_each(have_submit, tell_done, tell_asked_for);
}
END_TEST

static void
have_cancelled_submit(void)
{
	have_submit();
	(void)slot_future_cancel(futures[0]);
	settle();
}

static void
tell_running(void)
{
	tell("{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
}

static void
tell_completion(void)
{
	if (slot_client_connected(client))
		tell("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":3,\"job\":7,"
		     "\"seq\":44,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
}

static void
tell_completion_again(void)
{
	if (slot_client_state(client) == SLOT_CLIENT_RECONNECTING) {
		close(server);
		take_client();
		greet();
		tell_running();
	}
	tell_completion();
	all_are_done();
}

START_TEST(a_cancelled_submit_answered)
{
	fail_each(have_cancelled_submit, tell_running, tell_completion_again);
}
END_TEST

static void
tell_fell_behind(void)
{
	tell("{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1009,\"message\":\"gone\","
	     "\"data\":{\"kind\":\"HistoryTruncated\"}}}\n");
}

/* Where the job was asked for, with the last request, it is told. */
static void
answer_question(void)
{
	char line[200];

	if (slot_client_state(client) == SLOT_CLIENT_RECONNECTING) {
		close(server);
		take_client();
		greet();
		tell_fell_behind();
	}
	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":{\"job\":7,"
	    "\"seq\":3,\"ok\":true,\"outcome\":\"exited\"}}\n",
	    (unsigned long long)client->last_id);
	if (slot_client_connected(client) && !slot_future_done(futures[0]))
		tell(line);
	all_are_done();
}

START_TEST(a_subscription_that_fell_behind)
{
	fail_each(have_job, tell_fell_behind, answer_question);
}
END_TEST

START_TEST(a_completion)
{
	fail_each(have_job, tell_completion, told_in_the_end);
}
END_TEST

static void
have_streams(void)
{
	connected();
	open_stream("output.follow", json_pack("{s:i, s:i}", "job", 7, "window", 100));
	open_stream("futures.as_completed", json_pack("{s:[i,i]}", "jobs", 7, 8));
	settle();
}

static void
tell_items(void)
{
	tell("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":2,\"n\":1,\"fd\":1,"
	     "\"off\":0,\"data\":\"abc\"}}\n"
	     "{\"jsonrpc\":\"2.0\",\"method\":\"$/gap\",\"params\":{\"stream\":2,\"dropped\":1}}\n"
	     "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":3,\"n\":1,\"job\":8}}\n"
	     "{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1,\"message\":\"m\"}}\n"
	     "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
}

START_TEST(items_gaps_and_ends)
{
	fail_each(have_streams, tell_items, NULL);
}
END_TEST

/* ---- a daemon that dies ---- */

static void
have_all(void)
{
	const int fds[] = { 0 };

	connected();
	call();
	submit();
	open_stream("events.subscribe", NULL);
	tell("{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
	futures[nfutures] = slot_client_call_fds(client, "job.submit",
	    json_pack("{s:s}", "key", "k"), fds, 1, NULL);
	nfutures++;
	open_stream("futures.as_completed", json_pack("{s:[i,i]}", "jobs", 7, 8));
	settle();
}

START_TEST(the_daemon_is_lost)
{
	fail_each(have_all, lose_client, NULL);
}
END_TEST

static void
lost(void)
{
	have_all();
	lose_client();
	listen_now();
}

START_TEST(the_daemon_is_there_again)
{
	fail_each(lost, take_client, NULL);
}
END_TEST

static void
found(void)
{
	lost();
	take_client();
}

static void
greet_again(void)
{
	greet();
}

/* The call, the job and the submit of before are answered. */
static void
answer_all(void)
{
	if (slot_client_state(client) == SLOT_CLIENT_RECONNECTING) {
		close(server);
		take_client();
		greet();
	}
	if (!slot_client_connected(client))
		return;
	/* 1 hello, 2 the call, 3 and 4 the subscription, 5 a submit, 6 events, 7 another submit */
	tell("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":4,\"job\":7,"
	     "\"seq\":44,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
	if (slot_client_connected(client) && !slot_future_done(futures[0]))
		tell("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":1}\n");
	if (slot_client_connected(client) && !slot_future_done(futures[2]))
		tell("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"job\":8}}\n");
	all_are_done();
}

START_TEST(all_is_asked_again)
{
	fail_each(found, greet_again, answer_all);
}
END_TEST

static void
say_nothing(int severity, const char *text)
{
	(void)severity;
	(void)text;
}

int
main(void)
{
	Suite *suite = suite_create("client_alloc");
	TCase *calls = tcase_create("calls"), *in = tcase_create("in"), *away = tcase_create("away");

	event_set_mem_functions(__wrap_malloc, __wrap_realloc, __wrap_free);
	event_set_log_callback(say_nothing);
	json_set_alloc_funcs(__wrap_malloc, __wrap_free);
	json_object_seed(1);
	tcase_add_test(calls, connecting);
	tcase_add_test(calls, connecting_without_a_loop);
	tcase_add_test(calls, calling);
	tcase_add_test(calls, calling_with_descriptors);
	tcase_add_test(calls, submitting);
	tcase_add_test(calls, attaching);
	tcase_add_test(calls, opening_a_stream);
	tcase_add_test(calls, cancelling);
	tcase_add_test(calls, cancelling_a_job);
	tcase_add_test(calls, converting);
	suite_add_tcase(suite, calls);
	tcase_add_test(in, hello_answered);
	tcase_add_test(in, a_result_and_an_error);
	tcase_add_test(in, a_submit_answered);
	tcase_add_test(in, a_cancelled_submit_answered);
	tcase_add_test(in, a_subscription_that_fell_behind);
	tcase_add_test(in, a_completion);
	tcase_add_test(in, items_gaps_and_ends);
	suite_add_tcase(suite, in);
	tcase_add_test(away, the_daemon_is_lost);
	tcase_add_test(away, the_daemon_is_there_again);
	tcase_add_test(away, all_is_asked_again);
	suite_add_tcase(suite, away);
	return run_client_suite(suite);
}
