/* The client across a restart of the daemon, which the test plays: what is asked again and how,
 * what is told once, and how it ends where nobody comes back. */
#include "client_fixture.h"

#include <sys/resource.h>
#include <sys/un.h>

static char path[64];
static int listener;
static enum slot_client_state state;
static int state_code;
static unsigned states, absences;

static void
note_state(struct slot_client *c, enum slot_client_state s, int code, const char *why, void *arg)
{
	(void)c;
	(void)arg;
	ck_assert_ptr_nonnull(why);
	state = s;
	state_code = code;
	states++;
}

static void
note_absent(struct slot_client *c, unsigned attempt, void *arg)
{
	(void)c;
	(void)arg;
	ck_assert_uint_ge(attempt, 2);
	absences++;
}

static void
listen_again(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	strcpy(sa.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(listener, 5), 0);
}

static void
take_client(void)
{
	int waited = 0;

	while ((server = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) {
		ck_assert_int_lt(waited++, PATIENCE_MS);
		event_base_loop(base, EVLOOP_NONBLOCK);
		poll(NULL, 0, 1);
	}
	heard_len = 0;
}

/* Its hello was heard and has no answer yet. */
static void
connect_client(bool no_auto_keys, int64_t reconnect_ms)
{
	const struct slot_client_options options = { .name = "t", .reconnect = true,
		.reconnect_ms = reconnect_ms, .no_auto_keys = no_auto_keys,
		.on_state = note_state, .on_absent = note_absent, .on_disconnect = note_lost,
		.on_writable = note_writable };

	snprintf(path, sizeof(path), "/tmp/slot-client-%d", (int)getpid());
	unlink(path);
	listen_again();
	lost_code = 0;
	lost_times = writable_times = states = absences = 0;
	base = event_base_new();
	loop = slot_loop_new(base);
	client = slot_client_connect(loop, path, &options, NULL);
	ck_assert_ptr_nonnull(client);
	take_client();
	free(next_line());
}

static void
begin_with(bool no_auto_keys, int64_t reconnect_ms)
{
	connect_client(no_auto_keys, reconnect_ms);
	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,\"instance\":\"i\","
	    "\"session\":\"s\",\"features\":[\"durable\"],\"seq\":41}}\n");
}

static void
begin(void)
{
	begin_with(false, 0);
}

/* It dies, and nobody listens. */
static void
die(void)
{
	close(listener);
	unlink(path);
	hang_up();
}

static void
end(void)
{
	close(listener);
	unlink(path);
	stop();
}

/* The next one is there and was told the session. Its hello has this id. */
static void
come_back(int id, const char *instance)
{
	char expected[200], answer[300];

	listen_again();
	take_client();
	snprintf(expected, sizeof(expected), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"hello\","
	    "\"params\":{\"protocol\":[1],\"client\":\"t\",\"session\":\"s\"}}", id);
	hear(expected);
	hear_nothing();
	snprintf(answer, sizeof(answer), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{"
	    "\"protocol\":1,\"instance\":\"%s\",\"session\":\"s\","
	    "\"features\":[\"durable\"],\"seq\":60}}\n", id, instance);
	say(answer);
}

static struct slot_future *
call(const char *method, json_t *params)
{
	struct slot_future *f = slot_client_call(client, method, params, NULL);

	ck_assert_ptr_nonnull(f);
	return f;
}

static void
answer(int id, const char *result)
{
	char line[300];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":%s}\n", id, result);
	say(line);
}

static void
hear_method(const char *method)
{
	char *line = next_line(), part[80];

	snprintf(part, sizeof(part), "\"method\":\"%s\"", method);
	ck_assert_msg(strstr(line, part) != NULL, "%s", line);
	free(line);
}

/* The key in the line, which is 32 random digits. */
static char *
hear_submit(int id)
{
	char *line = next_line(), *key = strstr(line, "\"key\":\"auto-"), head[80];

	snprintf(head, sizeof(head),
	    "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"job.submit\",", id);
	ck_assert_msg(strncmp(line, head, strlen(head)) == 0, "%s", line);
	ck_assert_ptr_nonnull(key);
	char *copy = strndup(key + 7, 37);

	free(line);
	return copy;
}

/* ---- calls ---- */

START_TEST(a_read_is_asked_again)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_RECONNECTING);
	ck_assert_int_eq(state, SLOT_CLIENT_RECONNECTING);
	ck_assert(slot_client_connected(client));
	ck_assert(!slot_client_writable(client));
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.get\",\"params\":{\"job\":5}}");
	ck_assert_int_eq(state, SLOT_CLIENT_OPEN);
	ck_assert_int_eq(state_code, 0);
	ck_assert_uint_eq(states, 2);
	answer(2, "7");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	ck_assert_uint_eq(lost_times, 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_change_that_may_have_been_made_fails_at_once)
{
	struct slot_future *f = call("queue.set", NULL);

	free(next_line());
	die();
	fails_with(f, -SLOT_EUNKNOWN);
	come_back(3, "i");
	hear_nothing();
	slot_future_unref(f);
}
END_TEST

START_TEST(what_was_asked_meanwhile_waits)
{
	die();
	struct slot_future *f = call("queue.set", NULL);

	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"queue.set\",\"params\":{}}");
	answer(2, "{}");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(what_waits_is_bounded)
{
	struct slot_future *f;
	int error = 0, n = 0;
	char *big = calloc(1, 500001);

	memset(big, 'x', 500000);
	die();
	while ((f = slot_client_call(client, "m", json_pack("{s:s}", "p", big), &error)) != NULL) {
		slot_future_unref(f);
		n++;
	}
	ck_assert_int_eq(error, -SLOT_ENOMEM);
	ck_assert_int_eq(n, 8);
	free(big);
	listen_again();
}
END_TEST

START_TEST(cancelling_while_away_is_told_later)
{
	struct slot_future *f = call("job.result", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	slot_future_cancel(f);
	ck_assert(!slot_future_done(f));
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.result\",\"params\":{\"job\":5}}");
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":2}}");
	slot_future_unref(f);
}
END_TEST

START_TEST(a_wait_is_shortened_by_what_has_passed)
{
	slot_future_unref(call("job.result", json_pack("{s:i, s:i}", "job", 5, "wait_ms", 3)));
	free(next_line());
	die();
	poll(NULL, 0, 5);
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.result\",\"params\":"
	     "{\"job\":5,\"wait_ms\":1}}");
}
END_TEST

START_TEST(shutting_down_is_no_answer)
{
	struct slot_future *f = call("job.result", json_pack("{s:i}", "job", 5));
	struct slot_future *change = call("queue.set", NULL);

	free(next_line());
	free(next_line());
	for (int id = 2; id <= 3; id++) {
		char line[200];

		snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"error\":{\"code\":"
		    "-32000,\"message\":\"bye\",\"data\":{\"kind\":\"ShuttingDown\"}}}\n", id);
		say(line);
	}
	ck_assert(!slot_future_done(f));
	die();
	come_back(4, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.result\",\"params\":{\"job\":5}}");
	hear("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"queue.set\",\"params\":{}}");
	slot_future_unref(f);
	slot_future_unref(change);
}
END_TEST

START_TEST(another_instance_fails_all_and_serves_what_follows)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	come_back(3, "other");
	fails_with(f, -SLOT_EINSTANCE);
	ck_assert_int_eq(state, SLOT_CLIENT_OPEN);
	ck_assert_int_eq(state_code, -SLOT_EINSTANCE);
	ck_assert_uint_eq(slot_client_seq(client), 60);
	slot_future_unref(f);
	f = call("stats.get", NULL);
	hear("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"stats.get\",\"params\":{}}");
	slot_future_unref(f);
}
END_TEST

START_TEST(lost_again_while_it_greets)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	listen_again();
	take_client();
	free(next_line());
	die();
	come_back(4, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.get\",\"params\":{\"job\":5}}");
	ck_assert_uint_eq(states, 2);
	slot_future_unref(f);
}
END_TEST

/* After a restart all clients come at once, perhaps more than the daemon takes. */
START_TEST(one_connection_too_many_on_the_way_back_is_tried_again)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	listen_again();
	take_client();
	free(next_line());
	say("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1008,\"message\":\"too many\","
	    "\"data\":{\"kind\":\"LimitExceeded\"}}}\n");
	hang_up();
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_RECONNECTING);
	close(listener);
	unlink(path);
	come_back(4, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.get\",\"params\":{\"job\":5}}");
	ck_assert_uint_eq(lost_times, 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(without_a_descriptor_for_the_way_back_it_is_tried_again)
{
	struct rlimit was, none;

	getrlimit(RLIMIT_NOFILE, &was);
	die();
	listen_again();
	none = was;
	for (none.rlim_cur = 0; fcntl((int)none.rlim_cur, F_GETFD) >= 0; none.rlim_cur++)
		;
	setrlimit(RLIMIT_NOFILE, &none);
	for (int i = 0; i < 40; i++) { /* a few attempts */
		event_base_loop(base, EVLOOP_NONBLOCK);
		poll(NULL, 0, 1);
	}
	setrlimit(RLIMIT_NOFILE, &was);
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_RECONNECTING);
	close(listener);
	unlink(path);
	come_back(2, "i");
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_OPEN);
	ck_assert_uint_eq(lost_times, 0);
}
END_TEST

START_TEST(what_was_pruned_meanwhile_fails_and_what_is_known_does_not)
{
	const uint64_t id = 101;
	struct slot_future *f, *a;

	f = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);
	ck_assert_int_eq(slot_client_attach(client, &id, 1, &a), 0);
	for (int i = 0; i < 4; i++)
		free(next_line());
	answer(4, "{\"job\":102,\"phase\":\"running\"}");
	die();
	come_back(6, "i");
	hear_method("completions.subscribe");
	hear_method("futures.as_completed");
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1009,\"message\":\"gone\","
	    "\"data\":{\"kind\":\"HistoryTruncated\",\"oldest\":90}}}\n");
	hear_method("stats.get");
	hear_method("completions.subscribe");
	hear("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"job.result\",\"params\":{\"job\":102}}");
	say("{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":1001,\"message\":\"no job 102\","
	    "\"data\":{\"kind\":\"NoSuchJob\"}}}\n");
	fails_with(f, -SLOT_EREMOTE);
	ck_assert_str_eq(slot_rpc_error(f)->kind, "HistoryTruncated");
	ck_assert(!slot_future_done(a));
	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":5,\"n\":1,"
	    "\"job\":101,\"seq\":95,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
	ck_assert_int_eq(slot_future_result(a, NULL), 0);
	slot_future_unref(f);
	slot_future_unref(a);
}
END_TEST

START_TEST(an_answer_to_the_second_hello_that_is_no_object_is_the_end)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	listen_again();
	take_client();
	free(next_line());
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":[]}\n");
	fails_with(f, -SLOT_EPROTOCOL);
	ck_assert_int_eq(lost_code, -SLOT_EPROTOCOL);
	ck_assert(json_is_object(slot_client_hello(client)));
	slot_future_unref(f);
}
END_TEST

START_TEST(lost_in_the_moment_of_the_first_answer)
{
	static const char greeting[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,"
	    "\"instance\":\"i\",\"session\":\"s\",\"features\":[\"durable\"],\"seq\":41}}\n";

	connect_client(false, 0);
	ck_assert_int_eq(send(server, greeting, strlen(greeting), MSG_NOSIGNAL),
	    (int)strlen(greeting));
	die();
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_RECONNECTING);
	ck_assert_uint_eq(slot_client_seq(client), 41);
	come_back(2, "i");
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_OPEN);
	end();
}
END_TEST

START_TEST(leaving_in_the_line_behind_its_greeting)
{
	connect_client(false, 0);
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,\"instance\":\"i\","
	    "\"session\":\"s\",\"features\":[\"durable\"],\"seq\":41}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":\"bye\","
	    "\"data\":{\"kind\":\"ShuttingDown\"}}}\n");
	ck_assert(!slot_future_done(f));
	die();
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.get\",\"params\":{\"job\":5}}");
	slot_future_unref(f);
	end();
}
END_TEST

/* It would be asked a hundred times a second, for ever. */
START_TEST(who_only_greets_and_hangs_up_is_given_up)
{
	unsigned greetings = 0;
	char greeting[200];

	begin_with(false, 200);
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	hang_up();
	for (int waited = 0; !slot_future_done(f); waited++) {
		ck_assert_int_lt(waited, PATIENCE_MS);
		event_base_loop(base, EVLOOP_NONBLOCK);
		server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (server < 0) {
			poll(NULL, 0, 1);
			continue;
		}
		heard_len = 0;
		free(next_line());
		snprintf(greeting, sizeof(greeting), "{\"jsonrpc\":\"2.0\",\"id\":%u,\"result\":"
		    "{\"protocol\":1,\"instance\":\"i\",\"session\":\"s\",\"features\":[\"durable\"],"
		    "\"seq\":41}}\n", 3 + greetings++);
		say(greeting);
		hang_up();
	}
	fails_with(f, -SLOT_ECLOSED);
	ck_assert_uint_ge(greetings, 2); /* after 10, 20, 40, 80 ms */
	ck_assert_uint_le(greetings, 6);
	slot_future_unref(f);
	end();
}
END_TEST

START_TEST(who_does_not_come_back_is_given_up)
{
	begin_with(false, 60);
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	free(next_line());
	die();
	ck_assert_int_eq(slot_client_run(client, f, PATIENCE_MS), 0);
	fails_with(f, -SLOT_ECLOSED);
	settle();
	ck_assert_uint_eq(lost_times, 1);
	ck_assert_int_eq(lost_code, -SLOT_ECLOSED);
	ck_assert_ptr_nonnull(strstr(lost_why, "did not come back"));
	ck_assert_uint_ge(absences, 1);
	ck_assert_int_eq(slot_client_state(client), SLOT_CLIENT_OVER);
	slot_future_unref(f);
	listen_again();
	end();
}
END_TEST

START_TEST(a_client_may_be_freed_while_it_is_away)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	die();
	slot_client_free(client);
	settle();
	fails_with(f, -SLOT_ECLOSED);
	slot_future_unref(f);
	client = NULL;
	listen_again();
}
END_TEST

/* ---- submits ---- */

START_TEST(a_submit_is_sent_again_with_its_key_and_its_descriptors)
{
	int pair[2], error = 0;

	ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
	struct slot_future *f = slot_client_call_fds(client, "job.submit",
	    json_pack("{s:[s], s:{s:i}}", "argv", "true", "stdout", "fd", 0), &pair[1], 1, &error);

	ck_assert_ptr_nonnull(f);
	close(pair[1]);
	char *key = hear_submit(2);

	die();
	come_back(3, "i");
	poll(&(struct pollfd){ .fd = server, .events = POLLIN }, 1, PATIENCE_MS);
	char text[2000];
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) - 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(server, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_ptr_nonnull(strstr(text, key));
	ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&msg));
	int fd;

	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	answer(2, "{\"job\":1,\"existing\":true,\"phase\":\"running\"}");
	void *result = NULL;

	ck_assert_int_eq(slot_future_result(f, &result), 0);
	ck_assert(json_is_false(json_object_get(result, "existing"))); /* the key is no one's */
	ck_assert_int_eq(read(pair[0], text, 2), 1);
	ck_assert_int_eq(read(pair[0], text, 2), 0); /* nobody holds the other end any more */
	close(pair[0]);
	free(key);
	slot_future_unref(f);
}
END_TEST

START_TEST(without_a_key_a_submit_may_or_may_not_have_been_taken)
{
	begin_with(true, 0);
	struct slot_future *f = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);

	free(next_line()); /* stats.get */
	free(next_line()); /* completions.subscribe */
	hear("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"job.submit\",\"params\":"
	     "{\"argv\":[\"x\"]}}");
	die();
	fails_with(f, -SLOT_EUNKNOWN);
	slot_future_unref(f);
	listen_again();
	end();
}
END_TEST

START_TEST(jobs_settle_once_whatever_is_lost_on_the_way)
{
	struct slot_future *f[3];

	for (int i = 0; i < 3; i++)
		f[i] = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"stats.get\",\"params\":{}}");
	answer(2, "{\"seq\":50}");
	hear("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"completions.subscribe\",\"params\":{}}");
	for (int i = 4; i <= 6; i++)
		free(hear_submit(i));
	answer(4, "{\"job\":101,\"phase\":\"running\"}");
	answer(5, "{\"job\":102,\"phase\":\"running\"}");
	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":3,\"n\":1,"
	    "\"job\":101,\"seq\":55,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	die();
	come_back(7, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"completions.subscribe\",\"params\":"
	     "{\"instance\":\"i\",\"since_seq\":55}}");
	free(hear_submit(6));
	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":3,\"n\":1,"
	    "\"job\":102,\"seq\":56,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	answer(6, "{\"job\":103,\"phase\":\"done\",\"existing\":true}");
	hear("{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"futures.as_completed\",\"params\":"
	     "{\"jobs\":[103]}}");
	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":8,\"n\":1,"
	    "\"job\":103,\"seq\":54,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
	ck_assert_int_eq(slot_future_result(f[2], NULL), 0);
	ck_assert_uint_eq(slot_client_seq(client), 56);
	for (int i = 0; i < 3; i++)
		slot_future_unref(f[i]);
}
END_TEST

START_TEST(a_subscription_that_told_nothing_goes_on_from_where_it_began)
{
	struct slot_future *f = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);

	free(next_line());
	answer(2, "{\"seq\":50}");
	free(next_line());
	free(hear_submit(4));
	answer(4, "{\"job\":101,\"phase\":\"running\"}");
	die();
	come_back(5, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"completions.subscribe\",\"params\":"
	     "{\"instance\":\"i\",\"since_seq\":50}}");
	slot_future_unref(f);
}
END_TEST

START_TEST(jobs_of_a_lost_history_fail)
{
	struct slot_future *f = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);

	for (int i = 0; i < 3; i++)
		free(next_line());
	answer(4, "{\"job\":101,\"phase\":\"running\"}");
	die();
	come_back(5, "other");
	fails_with(f, -SLOT_EINSTANCE);
	slot_future_unref(f);
}
END_TEST

static struct slot_future *begun_anew[2];

static void
begin_anew(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error, void *arg)
{
	const uint64_t id = 7;

	(void)result;
	(void)error;
	(void)arg;
	ck_assert_int_eq(code, -SLOT_EINSTANCE);
	slot_stream_free(s);
	begun_anew[0] = slot_client_submit(client, json_pack("{s:[s]}", "argv", "true"), NULL);
	ck_assert_int_eq(slot_client_attach(client, &id, 1, &begun_anew[1]), 0);
}

/* What the end of the old begins is not ended with it, whichever of the two is met first. */
START_TEST(jobs_begun_when_history_was_found_lost_are_of_the_new_one)
{
	static const struct slot_stream_handlers handlers = { .end = begin_anew };

	slot_client_stream(client, "events.subscribe", NULL, &handlers, NULL, NULL);
	free(next_line());
	struct slot_future *f = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);

	for (int i = 0; i < 3; i++)
		free(next_line());
	answer(5, "{\"job\":101,\"phase\":\"running\"}");
	die();
	come_back(6, "another");
	fails_with(f, -SLOT_EINSTANCE);
	ck_assert(!slot_future_done(begun_anew[0]) && !slot_future_done(begun_anew[1]));
	hear_method("stats.get");
	hear_method("completions.subscribe");
	hear_method("job.submit");
	hear_method("futures.as_completed");
	for (int i = 0; i < 2; i++)
		slot_future_unref(begun_anew[i]);
	slot_future_unref(f);
}
END_TEST

/* ---- streams ---- */

static char told[400];
static int end_code;

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	size_t len = strlen(told);
	const char *data = json_string_value(json_object_get(item, "data"));

	(void)s;
	(void)arg;
	snprintf(told + len, sizeof(told) - len, "%d:%s;",
	    (int)json_integer_value(json_object_get(item, "n")),
	    data != NULL ? data : "");
}

static void
on_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	(void)s;
	(void)arg;
	ck_assert_int_eq(json_integer_value(json_object_get(gap, "dropped")), 0);
	strcat(told, "gap;");
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	(void)s;
	(void)error;
	(void)arg;
	end_code = code;
	snprintf(told + strlen(told), 40, "end %d;",
	    (int)json_integer_value(json_object_get(result, "done")));
}

static struct slot_stream *
open_stream(const char *method, json_t *params)
{
	const struct slot_stream_handlers handlers = { .item = on_item, .gap = on_gap,
		.end = on_end };
	struct slot_stream *s = slot_client_stream(client, method, params, &handlers, NULL, NULL);

	ck_assert_ptr_nonnull(s);
	told[0] = '\0';
	end_code = 1;
	free(next_line());
	return s;
}

#define FOLLOWED(n, fd, off, data)                                                                 \
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":2,\"n\":" #n ","       \
	"\"fd\":" #fd ",\"off\":" #off ",\"data\":\"" data "\"}}\n"
#define FOLLOWED_OF(attempt, n, fd, off, data)                                                     \
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":2,\"n\":" #n ","       \
	"\"fd\":" #fd ",\"off\":" #off ",\"attempt\":" #attempt ",\"data\":\"" data "\"}}\n"

START_TEST(output_goes_on_at_the_next_byte_of_each_descriptor)
{
	struct slot_stream *s = open_stream("output.follow",
	    json_pack("{s:i, s:[i,i], s:i}", "job", 7, "fds", 1, 2, "window", 100));

	say(FOLLOWED(1, 1, 0, "abcdef") FOLLOWED(2, 2, 0, "xyz"));
	ck_assert_int_eq(slot_stream_credit(s, 4), 0);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":2,\"n\":4}}");
	die();
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"output.follow\",\"params\":"
	     "{\"job\":7,\"fds\":[1,2],\"window\":100,\"attempt\":1,\"off\":3}}");
	say(FOLLOWED(1, 1, 3, "defgh") FOLLOWED(2, 1, 8, "i") FOLLOWED(3, 2, 3, "w"));
	ck_assert_str_eq(told, "1:abcdef;2:xyz;3:gh;4:i;5:w;");
	/* What was told twice is credited at once … */
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":2,\"n\":3}}");
	/* … and what the last daemon told is not: this one's window was whole. */
	ck_assert_int_eq(slot_stream_credit(s, 5), 0);
	hear_nothing();
	ck_assert_int_eq(slot_stream_credit(s, 3), 0);
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":2,\"n\":3}}");
	slot_stream_free(s);
}
END_TEST

START_TEST(output_of_another_attempt_begins_anew_after_a_reconnect_too)
{
	struct slot_stream *s = open_stream("output.follow",
	    json_pack("{s:i, s:[i,i]}", "job", 7, "fds", 1, 2));

	say(FOLLOWED(1, 1, 0, "abcdef") FOLLOWED(2, 2, 0, "xyz"));
	die();
	come_back(3, "i");
	free(next_line());
	/* Nothing more of the second descriptor; the first goes on. Then the job is tried again. */
	say(FOLLOWED(1, 1, 3, "defg"));
	say(FOLLOWED_OF(2, 2, 1, 0, "AB") FOLLOWED_OF(2, 3, 2, 0, "XYZ") FOLLOWED_OF(2, 4, 1, 2, "CD"));
	ck_assert_str_eq(told, "1:abcdef;2:xyz;3:g;4:AB;5:XYZ;6:CD;");
	slot_stream_free(s);
}
END_TEST

START_TEST(output_of_an_attempt_that_began_meanwhile_is_told_from_its_first_byte)
{
	struct slot_stream *s = open_stream("output.follow",
	    json_pack("{s:i, s:[i,i]}", "job", 7, "fds", 1, 2));
	char *line;

	say(FOLLOWED(1, 1, 0, "abcdef") FOLLOWED_OF(2, 2, 1, 0, "ABC") FOLLOWED_OF(2, 3, 2, 0, "XYZ"));
	die();
	come_back(3, "i");
	line = next_line();
	ck_assert_ptr_nonnull(strstr(line, "\"attempt\":2,\"off\":3"));
	free(line);
	say(FOLLOWED_OF(3, 1, 1, 0, "12345"));
	say(FOLLOWED_OF(3, 2, 2, 0, "6"));
	ck_assert_str_eq(told, "1:abcdef;2:ABC;3:XYZ;4:12345;5:6;");
	slot_stream_free(s);
}
END_TEST

#define DONE(n, job)                                                                               \
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":2,\"n\":" #n ","       \
	"\"job\":" #job "}}\n"

START_TEST(what_is_told_twice_is_credited_however_much_is_queued)
{
	struct slot_stream *s = open_stream("output.follow",
	    json_pack("{s:i, s:i}", "job", 5, "window", 4));
	struct slot_future *f[16];
	char *big = calloc(1, 500001), *line;

	say(FOLLOWED(1, 1, 0, "abcd"));
	ck_assert_int_eq(slot_stream_credit(s, 4), 0);
	free(next_line());
	memset(big, 'x', 500000);
	for (int i = 0; i < 8; i++) {
		f[i] = call("job.get", json_pack("{s:s}", "p", big));
		free(next_line());
	}
	die();
	for (int i = 8; i < 16; i++)
		f[i] = call("job.get", json_pack("{s:s}", "p", big));
	come_back(19, "i");
	say(FOLLOWED(1, 1, 0, "abcd")); /* all that the window allows */
	do {
		line = next_line();
		bool credit = strstr(line, "$/credit") != NULL;

		free(line);
		if (credit)
			break;
	} while (true);
	for (int i = 0; i < 16; i++)
		slot_future_unref(f[i]);
	slot_stream_free(s);
	free(big);
}
END_TEST

START_TEST(as_completed_goes_on_with_the_rest)
{
	struct slot_stream *s = open_stream("futures.as_completed", json_pack("{s:[i,i,i]}", "jobs",
	    7, 8, 9));

	say(DONE(1, 8));
	die();
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"futures.as_completed\",\"params\":"
	     "{\"jobs\":[7,9]}}");
	say(DONE(1, 9) DONE(2, 7));
	answer(2, "{\"done\":2}");
	ck_assert_str_eq(told, "1:;2:;3:;end 3;");
	slot_stream_free(s);
}
END_TEST

START_TEST(as_completed_that_told_all_ends)
{
	struct slot_stream *s = open_stream("futures.as_completed",
	    json_pack("{s:[i]}", "jobs", 7));

	say(DONE(1, 7));
	die();
	come_back(3, "i");
	hear_nothing();
	ck_assert_str_eq(told, "1:;end 1;");
	ck_assert_int_eq(end_code, 0);
	slot_stream_free(s);
}
END_TEST

START_TEST(events_begin_anew_after_a_gap)
{
	struct slot_stream *s = open_stream("events.subscribe", NULL);

	die();
	come_back(3, "i");
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"events.subscribe\",\"params\":{}}");
	ck_assert_str_eq(told, "gap;");
	slot_stream_free(s);
}
END_TEST

static void
submit_at_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	(void)s;
	(void)gap;
	*(struct slot_future **)arg = slot_client_submit(client, json_pack("{s:[s], s:s}", "argv",
	    "second", "key", "b"), NULL);
}

/* Else the first subscription could begin behind the end of the second job. */
START_TEST(what_a_callback_asks_on_the_way_back_comes_behind_what_waited)
{
	const struct slot_stream_handlers handlers = { .gap = submit_at_gap };
	struct slot_future *first, *second = NULL;
	struct slot_stream *s = slot_client_stream(client, "events.subscribe", NULL, &handlers,
	    &second, NULL);

	free(next_line());
	die();
	first = slot_client_submit(client, json_pack("{s:[s], s:s}", "argv", "first", "key", "a"),
	    NULL);
	come_back(5, "i");
	hear_method("events.subscribe");
	hear_method("completions.subscribe");
	hear("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"job.submit\",\"params\":"
	     "{\"argv\":[\"first\"],\"key\":\"a\"}}");
	ck_assert_ptr_nonnull(second);
	hear("{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"job.submit\",\"params\":"
	     "{\"argv\":[\"second\"],\"key\":\"b\"}}");
	slot_stream_free(s);
	slot_future_unref(first);
	slot_future_unref(second);
}
END_TEST

START_TEST(a_map_ends_with_its_connection_and_so_do_its_pushes)
{
	struct slot_stream *s = open_stream("map.open", json_pack("{s:i}", "limit", 2));

	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":2,\"n\":2}}\n");
	die();
	ck_assert_int_eq(end_code, -SLOT_EUNKNOWN);
	struct slot_future *f = call("map.push", json_pack("{s:i}", "stream", 2));

	come_back(4, "i");
	/* It was asked for after the end; the daemon says what it thinks of it. */
	hear("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"map.push\",\"params\":{\"stream\":2}}");
	slot_future_unref(f);
	slot_stream_free(s);
}
END_TEST

START_TEST(a_stream_freed_while_away_is_not_asked_for_again)
{
	struct slot_stream *s = open_stream("events.subscribe", NULL);

	die();
	slot_stream_free(s);
	come_back(3, "i");
	hear_nothing();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client_reconnect");
	TCase *calls = tcase_create("calls"), *alone = tcase_create("alone");

	tcase_add_checked_fixture(calls, begin, end);
	tcase_add_test(calls, a_read_is_asked_again);
	tcase_add_test(calls, a_change_that_may_have_been_made_fails_at_once);
	tcase_add_test(calls, what_was_asked_meanwhile_waits);
	tcase_add_test(calls, what_waits_is_bounded);
	tcase_add_test(calls, cancelling_while_away_is_told_later);
	tcase_add_test(calls, a_wait_is_shortened_by_what_has_passed);
	tcase_add_test(calls, shutting_down_is_no_answer);
	tcase_add_test(calls, another_instance_fails_all_and_serves_what_follows);
	tcase_add_test(calls, lost_again_while_it_greets);
	tcase_add_test(calls, an_answer_to_the_second_hello_that_is_no_object_is_the_end);
	tcase_add_test(calls, one_connection_too_many_on_the_way_back_is_tried_again);
	tcase_add_test(calls, without_a_descriptor_for_the_way_back_it_is_tried_again);
	tcase_add_test(calls, what_was_pruned_meanwhile_fails_and_what_is_known_does_not);
	tcase_add_test(calls, a_client_may_be_freed_while_it_is_away);
	tcase_add_test(calls, a_submit_is_sent_again_with_its_key_and_its_descriptors);
	tcase_add_test(calls, jobs_settle_once_whatever_is_lost_on_the_way);
	tcase_add_test(calls, a_subscription_that_told_nothing_goes_on_from_where_it_began);
	tcase_add_test(calls, jobs_of_a_lost_history_fail);
	tcase_add_test(calls, jobs_begun_when_history_was_found_lost_are_of_the_new_one);
	tcase_add_test(calls, output_goes_on_at_the_next_byte_of_each_descriptor);
	tcase_add_test(calls, output_of_another_attempt_begins_anew_after_a_reconnect_too);
	tcase_add_test(calls,
	    output_of_an_attempt_that_began_meanwhile_is_told_from_its_first_byte);
	tcase_add_test(calls, what_is_told_twice_is_credited_however_much_is_queued);
	tcase_add_test(calls, as_completed_goes_on_with_the_rest);
	tcase_add_test(calls, as_completed_that_told_all_ends);
	tcase_add_test(calls, events_begin_anew_after_a_gap);
	tcase_add_test(calls, what_a_callback_asks_on_the_way_back_comes_behind_what_waited);
	tcase_add_test(calls, a_map_ends_with_its_connection_and_so_do_its_pushes);
	tcase_add_test(calls, a_stream_freed_while_away_is_not_asked_for_again);
	suite_add_tcase(suite, calls);
	tcase_add_test(alone, lost_in_the_moment_of_the_first_answer);
	tcase_add_test(alone, leaving_in_the_line_behind_its_greeting);
	tcase_add_test(alone, who_only_greets_and_hangs_up_is_given_up);
	tcase_add_test(alone, who_does_not_come_back_is_given_up);
	tcase_add_test(alone, without_a_key_a_submit_may_or_may_not_have_been_taken);
	suite_add_tcase(suite, alone);
	return run_client_suite(suite);
}
