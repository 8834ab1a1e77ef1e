/* The client: connecting, calls, descriptors, writing under pressure, and how it ends. */
#include "client_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/loop.h"

static struct slot_future *
call(const char *method, json_t *params)
{
	int error = 99;
	struct slot_future *f = slot_client_call(client, method, params, &error);

	ck_assert_int_eq(error, 0);
	ck_assert_ptr_nonnull(f);
	return f;
}

/* ---- hello ---- */

START_TEST(hello_is_said_first_and_its_answer_kept)
{
	struct slot_future *ready = slot_client_ready(client);
	void *result;

	ck_assert_int_eq(slot_future_result(ready, &result), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(result, "uid")), 7);
	ck_assert_ptr_eq(slot_client_hello(client), result);
	ck_assert_uint_eq(slot_client_seq(client), 41);
	slot_future_unref(ready);
}
END_TEST

START_TEST(requests_may_follow_before_hello_is_answered)
{
	start_with(NULL);
	struct slot_future *f = call("stats.get", NULL);

	free(next_line());
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"stats.get\",\"params\":{}}");
	ck_assert_ptr_null(slot_client_hello(client));
	say(HELLO_ANSWER "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	ck_assert_ptr_nonnull(slot_client_hello(client));
	slot_future_unref(f);
	stop();
}
END_TEST

START_TEST(a_session_is_handed_on)
{
	start_with(&(struct slot_client_options){ .name = "t", .session = "tok" });
	hear("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":"
	     "{\"protocol\":[1],\"client\":\"t\",\"session\":\"tok\"}}");
	stop();
}
END_TEST

START_TEST(what_is_no_answer_to_hello_ends_the_connection)
{
	static const char *const answers[] = {
		"[]",
		"{}",
		"{\"protocol\":null,\"instance\":null,\"session\":null,\"features\":null,\"seq\":null}",
		"{\"protocol\":2,\"instance\":\"i\",\"session\":\"s\",\"features\":[],\"seq\":0}",
	};

	start_with(&(struct slot_client_options){ .on_disconnect = note_lost });
	struct slot_future *ready = slot_client_ready(client);
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":%s}\n", answers[_i]);
	say(line);
	fails_with(ready, -SLOT_EPROTOCOL);
	ck_assert_int_eq(lost_code, -SLOT_EPROTOCOL);
	ck_assert_ptr_null(slot_client_hello(client));
	slot_future_unref(ready);
	stop();
}
END_TEST

START_TEST(no_socket_is_said_with_errno)
{
	int error = 0;

	errno = 0;
	ck_assert_ptr_null(slot_client_connect(loop, "/nonexistent/socket", NULL, &error));
	ck_assert_int_eq(error, -SLOT_ECONNECT);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(a_socket_with_a_long_path_is_reached)
{
	char dir[] = "/tmp/slot-client-XXXXXX", deep[256], path[300];
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(deep, sizeof(deep), "%s/%0150d", dir, 0);
	ck_assert_int_eq(mkdir(deep, 0700), 0);
	snprintf(path, sizeof(path), "%s/s", deep);
	int at = open(deep, O_PATH | O_CLOEXEC);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/s", at);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(listener, 5), 0);
	errno = EXDEV;
	struct slot_client *c = slot_client_connect(loop, path, NULL, NULL);

	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(errno, EXDEV); /* what went well leaves it alone */
	slot_client_free(c);
	close(at);
	close(listener);
	unlink(path);
	rmdir(deep);
	rmdir(dir);
}
END_TEST

/* ---- calls ---- */

START_TEST(answers_find_their_calls_in_any_order)
{
	struct slot_future *a = call("job.get", json_pack("{s:i}", "job", 5));
	struct slot_future *b = call("job.get", json_pack("{s:i}", "job", 6));
	void *result;

	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"job.get\",\"params\":{\"job\":5}}");
	hear("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"job.get\",\"params\":{\"job\":6}}");
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":\"b\"}\n");
	ck_assert(!slot_future_done(a));
	ck_assert_int_eq(slot_future_result(b, &result), 0);
	ck_assert_str_eq(json_string_value(result), "b");
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"a\"}\n");
	ck_assert_int_eq(slot_future_result(a, &result), 0);
	ck_assert_str_eq(json_string_value(result), "a");
	slot_future_unref(a);
	slot_future_unref(b);
}
END_TEST

START_TEST(an_error_is_the_exceptions_detail)
{
	struct slot_future *f = call("job.get", json_pack("{s:i}", "job", 5));

	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":1001,\"message\":\"no such job\","
	    "\"data\":{\"kind\":\"NoSuchJob\",\"oldest_job\":3}}}\n");
	fails_with(f, -SLOT_EREMOTE);
	const struct slot_rpc_error *error = slot_rpc_error(f);

	ck_assert_ptr_nonnull(error);
	ck_assert_int_eq(error->code, 1001);
	ck_assert_str_eq(error->kind, "NoSuchJob");
	ck_assert_str_eq(error->message, "no such job");
	ck_assert_int_eq(json_integer_value(json_object_get(error->data, "oldest_job")), 3);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_call_that_nobody_holds_is_still_answered)
{
	slot_future_unref(call("queue.pause", NULL));
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	ck_assert_uint_eq(lost_times, 0);
	ck_assert(slot_client_connected(client));
}
END_TEST

START_TEST(cancelling_a_call_asks_and_the_answer_decides)
{
	struct slot_future *a = call("job.result", json_pack("{s:i}", "job", 5));
	struct slot_future *b = call("job.result", json_pack("{s:i}", "job", 6));

	free(next_line());
	free(next_line());
	ck_assert(slot_future_cancel(a));
	ck_assert(slot_future_cancel(a));
	ck_assert(slot_future_cancel(b));
	ck_assert(!slot_future_done(a));
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":2}}");
	hear("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":3}}");
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32800,\"message\":\"cancelled\","
	    "\"data\":{\"kind\":\"RequestCancelled\"}}}\n");
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n");
	ck_assert(slot_future_cancelled(a));
	ck_assert_int_eq(slot_future_result(b, NULL), 0);
	slot_future_unref(a);
	slot_future_unref(b);
}
END_TEST

START_TEST(params_that_are_no_object_or_too_long_are_refused)
{
	char *long_text = malloc(1100000);
	int error = 0;

	ck_assert_ptr_null(slot_client_call(client, "x", json_array(), &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	error = 0;
	ck_assert_ptr_null(slot_client_call(client, NULL, NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	error = 0;
	ck_assert_ptr_null(slot_client_stream(client, NULL, NULL,
	    &(struct slot_stream_handlers){ .item = NULL }, NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	memset(long_text, 'x', 1099999);
	long_text[1099999] = '\0';
	error = 0;
	ck_assert_ptr_null(
	    slot_client_call(client, "x", json_pack("{s:s}", "t", long_text), &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	free(long_text);
	/* Nothing of it went out. */
	slot_future_unref(call("y", NULL));
	hear("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"y\",\"params\":{}}");
}
END_TEST

static void
is_refused(json_t *params)
{
	int error = 0;

	ck_assert_ptr_null(slot_client_call(client, "x", params, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
}

/* The daemon would say "no JSON" to nobody in particular, and that would be the end of all. */
START_TEST(what_the_daemon_would_not_read_is_refused)
{
	json_t *deep = json_object(), *many = json_array(), *itself = json_object();
	json_t *fits = json_object(), *inner = fits;
	static uint64_t ids[65001];
	static struct slot_future *futures[65001];

	for (int i = 0; i < 31; i++)
		deep = json_pack("{s:o}", "d", deep);
	is_refused(deep);
	for (int i = 0; i < 65536; i++)
		json_array_append_new(many, json_null());
	is_refused(json_pack("{s:o}", "m", many));
	json_t *back = json_array();

	json_object_set_new(itself, "a", back);
	json_object_set_new(itself, "b", json_incref(back));
	json_array_append(back, itself);
	is_refused(json_incref(itself));
	json_array_clear(back);
	json_decref(itself);
	json_t *names = json_object();

	json_object_setn_new(names, "a\0b", 3, json_null());
	is_refused(json_pack("{s:[o]}", "n", names));
	for (int i = 0; i < 65001; i++)
		ids[i] = (uint64_t)i + 1;
	ck_assert_int_eq(slot_client_attach(client, ids, 65001, futures), -SLOT_EINVAL);
	hear_nothing();
	/* As many as it reads go out. */
	ck_assert_int_eq(slot_client_attach(client, ids, 65000, futures), 0);
	for (int i = 0; i < 65000; i++)
		slot_future_unref(futures[i]);
	free(next_line());
	/* As deep as it reads goes out: params are the second level. */
	for (int i = 0; i < 30; i++) {
		json_object_set_new(inner, "d", json_object());
		inner = json_object_get(inner, "d");
	}
	slot_future_unref(call("x", fits));
	free(next_line());
	ck_assert_uint_eq(lost_times, 0);
}
END_TEST

/* ---- descriptors ---- */

/* Receives once; the number of descriptors, the first one's in *fd. */
static int
receive_fds(char *buf, size_t size, ssize_t *len, int *fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };

	settle();
	*len = recvmsg(server, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = *len > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (c == NULL)
		return 0;
	int n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

	memcpy(fd, CMSG_DATA(c), sizeof(int));
	for (int i = 1; i < n; i++) {
		int other;

		memcpy(&other, CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(int));
		close(other);
	}
	return n;
}

START_TEST(descriptors_arrive_with_the_last_byte_of_their_line)
{
	int fds[2], got = -1, nfds = 0;
	char buf[65536], all[65536] = "";
	struct stat ours, theirs;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	slot_future_unref(call("before", NULL));
	slot_future_unref(slot_client_call_fds(client, "with", NULL, fds, 2, NULL));
	slot_future_unref(call("after", NULL));
	for (int i = 0; i < 10 && strstr(all, "after") == NULL; i++) {
		ssize_t len;
		int n = receive_fds(buf, sizeof(buf) - 1, &len, &got);

		ck_assert_int_gt(len, 0);
		buf[len] = '\0';
		strcat(all, buf);
		if (n == 0)
			continue;
		nfds += n;
		/* The message that brought them ends inside, or with, the line "with". */
		ck_assert_ptr_nonnull(strstr(all, "\"with\""));
		ck_assert_ptr_null(strstr(all, "\"after\""));
	}
	ck_assert_int_eq(nfds, 2);
	ck_assert_int_eq(fstat(fds[0], &ours), 0);
	ck_assert_int_eq(fstat(got, &theirs), 0);
	ck_assert_uint_eq(ours.st_ino, theirs.st_ino);
	close(got);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_descriptor_that_is_none_refuses_the_call)
{
	int bad = -1, error = 0;

	ck_assert_ptr_null(slot_client_call_fds(client, "x", NULL, &bad, 1, &error));
	ck_assert_int_eq(error, -SLOT_ENOMEM);
	hear_nothing();
}
END_TEST

static unsigned
open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(descriptors_are_not_left_open_whatever_becomes_of_the_call)
{
	struct rlimit was, few;
	int fds[SLOT_CLIENT_FDS_MAX + 1], error = 0;
	unsigned before;
	struct slot_future *f;

	for (int i = 0; i <= SLOT_CLIENT_FDS_MAX; i++)
		fds[i] = 0;
	settle();
	before = open_descriptors();
	/* Too many are refused. */
	ck_assert_ptr_null(slot_client_submit_fds(client, json_object(), fds,
	    SLOT_CLIENT_FDS_MAX + 1, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	/* There are none left after the first few. */
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	for (few.rlim_cur = 3; fcntl((int)few.rlim_cur, F_GETFD) >= 0; few.rlim_cur++)
		;
	few.rlim_cur += 2;
	setrlimit(RLIMIT_NOFILE, &few);
	f = slot_client_call_fds(client, "x", NULL, fds, SLOT_CLIENT_FDS_MAX, &error);
	setrlimit(RLIMIT_NOFILE, &was);
	ck_assert_ptr_null(f);
	ck_assert_int_eq(error, -SLOT_ENOMEM);
	ck_assert_uint_eq(open_descriptors(), before);
	/* Sent: they are the daemon's. */
	f = slot_client_call_fds(client, "x", NULL, fds, SLOT_CLIENT_FDS_MAX, NULL);
	ck_assert_uint_eq(open_descriptors(), before + SLOT_CLIENT_FDS_MAX);
	settle();
	ck_assert_uint_eq(open_descriptors(), before);
	slot_future_unref(f);
	/* Not sent, for the daemon hung up or the client is gone. */
	f = slot_client_call_fds(client, "x", NULL, fds, 2, NULL);
	slot_client_free(client);
	client = NULL;
	ck_assert_uint_eq(open_descriptors(), before - 1);
	slot_future_unref(f);
}
END_TEST

static unsigned
descriptors_for_children(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) == 0;
	return n;
}

START_TEST(no_descriptor_of_ours_is_inherited)
{
	unsigned before = descriptors_for_children(), open_before;
	const int fd = 0;

	start();
	open_before = open_descriptors();
	slot_future_unref(slot_client_call_fds(client, "x", NULL, &fd, 1, NULL));
	ck_assert_uint_eq(open_descriptors(), open_before + 1);
	ck_assert_uint_eq(descriptors_for_children(), before);
	stop();
}
END_TEST

/* ---- writing ---- */

/* Longer than the socket takes at once, and pieces nearly as large as a line may be. */
START_TEST(large_input_goes_out_whole_and_in_order)
{
	const size_t piece = 780000; /* 1,040,000 as base64 */
	char *data = malloc(piece), *line;
	size_t len;

	for (int i = 0; i < 3; i++) {
		memset(data, 0x80 + i, piece);
		slot_future_unref(call("stdin.write", json_pack("{s:i, s:o}", "job", 1, "data",
		    slot_json_from_bytes(data, piece))));
	}
	for (int i = 0; i < 3; i++) {
		line = next_line();
		json_t *request = json_loads(line, 0, NULL);
		char *bytes = slot_json_to_bytes(json_object_get(json_object_get(request, "params"),
		    "data"), &len);

		memset(data, 0x80 + i, piece);
		ck_assert_uint_eq(len, piece);
		ck_assert_int_eq(memcmp(bytes, data, len), 0);
		free(bytes);
		json_decref(request);
		free(line);
	}
	hear_nothing();
	free(data);
}
END_TEST

START_TEST(a_daemon_that_reads_nothing_is_felt_and_room_is_told)
{
	char text[4001];
	unsigned sent = 0;
	int error = 0;

	start_with(&(struct slot_client_options){ .name = "t", .out_limit = 100000,
	    .on_disconnect = note_lost, .on_writable = note_writable });
	memset(text, 'x', 4000);
	text[4000] = '\0';
	for (;; sent++) {
		struct slot_future *f = slot_client_call(client, "m",
		    json_pack("{s:s}", "t", text), &error);

		if (f == NULL)
			break;
		slot_future_unref(f);
		settle();
		ck_assert_uint_lt(sent, 10000);
	}
	ck_assert_int_eq(error, -SLOT_ENOMEM);
	ck_assert(!slot_client_writable(client));
	ck_assert_uint_eq(writable_times, 0);
	/* Hello and what was taken come through whole. */
	for (unsigned i = 0; i < sent + 1; i++)
		free(next_line());
	hear_nothing();
	ck_assert_uint_eq(writable_times, 1);
	ck_assert(slot_client_writable(client));
	stop();
}
END_TEST

/* Fills a client whose daemon doesn't read; the buffer holds 100,000 bytes. */
static void
fill(size_t piece)
{
	char *text = calloc(1, piece + 1);
	struct slot_future *f;

	memset(text, 'x', piece);
	do {
		f = slot_client_call(client, "m", json_pack("{s:s}", "t", text), NULL);
		slot_future_unref(f);
		settle();
	} while (f != NULL);
	free(text);
}

static void
start_small(void)
{
	start_with(&(struct slot_client_options){ .name = "t", .out_limit = 100000,
	    .on_disconnect = note_lost, .on_writable = note_writable });
	free(next_line());
	say(HELLO_ANSWER);
}

START_TEST(a_call_refused_for_want_of_room_is_told_when_there_is_some)
{
	start_small();
	/* Less than half of the limit waits, and the next one is too large all the same. */
	char *text = calloc(1, 99951);

	memset(text, 'x', 99950);
	slot_future_unref(call("small", NULL));
	ck_assert(slot_client_writable(client));
	ck_assert_ptr_null(slot_client_call(client, "m", json_pack("{s:s}", "t", text), NULL));
	free(text);
	ck_assert(!slot_client_writable(client));
	ck_assert_uint_eq(writable_times, 0);
	while (writable_times == 0)
		free(next_line());
	ck_assert(slot_client_writable(client));
	stop();
}
END_TEST

START_TEST(a_job_is_cancelled_however_much_is_queued)
{
	start_small();
	struct slot_future *job = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);

	free(next_line());
	free(next_line());
	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
	fill(3000);
	fill(1);
	ck_assert(slot_future_cancel(job));
	for (;;) {
		char *line = next_line();
		bool found = strstr(line, "\"job.cancel\",\"params\":{\"jobs\":[7]}") != NULL;

		free(line);
		if (found)
			break;
	}
	slot_future_unref(job);
	stop();
}
END_TEST

START_TEST(credit_to_a_daemon_that_reads_nothing_is_bounded)
{
	static const struct slot_stream_handlers none = { 0 };
	int rc = 0;

	start_small();
	struct slot_stream *s = slot_client_stream(client, "completions.subscribe",
	    json_pack("{s:i}", "window", 1), &none, NULL, NULL);

	settle();
	fill(3000);
	for (int i = 0; i < 100000 && rc == 0; i++)
		rc = slot_stream_credit(s, UINT64_MAX);
	ck_assert_int_eq(rc, -SLOT_ENOMEM);
	writable_times = 0;
	while (writable_times == 0)
		free(next_line());
	ck_assert_int_eq(slot_stream_credit(s, UINT64_MAX), 0);
	settle();
	for (char *line = next_line();; line = next_line()) {
		bool credit = strstr(line, "$/credit") != NULL;

		if (credit) /* as much as a number can say */
			ck_assert_ptr_nonnull(strstr(line, "\"n\":9007199254740991"));
		free(line);
		if (credit)
			break;
	}
	slot_stream_free(s);
	stop();
}
END_TEST

START_TEST(a_socket_that_takes_no_more_is_the_end_though_the_daemon_stays)
{
	int pair[2];

	start();
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	struct slot_client *c = slot_client_new_fd(loop, pair[1],
	    &(struct slot_client_options){ .on_disconnect = note_lost }, NULL);

	settle();
	shutdown(pair[1], SHUT_WR);
	ck_assert_int_gt(dprintf(pair[0], HELLO_ANSWER), 0);
	struct slot_future *f = slot_client_call(c, "x", NULL, NULL);

	settle();
	ck_assert_ptr_nonnull(slot_client_hello(c)); /* what was said is still heard */
	fails_with(f, -SLOT_ECLOSED);
	ck_assert_int_eq(lost_code, -SLOT_ECLOSED);
	slot_future_unref(f);
	slot_client_free(c);
	close(pair[0]);
	stop();
}
END_TEST

START_TEST(what_is_no_connected_stream_socket_is_refused_and_closed)
{
	struct slot_loop *manual = slot_loop_new_manual(0, 0);
	int pair[2], error = 0;

	start();
	ck_assert_ptr_null(slot_client_new_fd(loop, -1, NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	int fds[] = { open("/dev/null", O_RDWR | O_CLOEXEC), open("/etc/passwd", O_RDONLY | O_CLOEXEC),
		socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) };

	for (int i = 0; i < 3; i++) {
		error = 0;
		ck_assert_ptr_null(slot_client_new_fd(loop, fds[i], NULL, &error));
		ck_assert_int_eq(error, -SLOT_EINVAL);
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), -1);
	}
	/* A manual loop never looks at a socket. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_ptr_null(slot_client_new_fd(manual, pair[1], NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	ck_assert_int_eq(fcntl(pair[1], F_GETFD), -1);
	close(pair[0]);
	slot_loop_free(manual);
	stop();
}
END_TEST

START_TEST(more_output_than_the_daemon_gives_is_refused)
{
	const struct slot_client_options options = { .with_output = 65537 };
	int pair[2], error = 0;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_ptr_null(slot_client_new_fd(NULL, pair[1], &options, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	ck_assert_int_eq(fcntl(pair[1], F_GETFD), -1);
	close(pair[0]);
}
END_TEST

START_TEST(no_program_started_meanwhile_holds_the_connection)
{
	int pair[2];

	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct slot_client *c = slot_client_new_fd(loop, pair[1], NULL, NULL);

	ck_assert_int_eq(fcntl(pair[1], F_GETFD), FD_CLOEXEC);
	slot_client_free(c);
	ck_assert_int_eq(fcntl(pair[1], F_GETFD), -1);
	close(pair[0]);
	stop();
}
END_TEST

/* ---- what a daemon may do wrong ---- */

static void
loses_with(const char *line, int code)
{
	struct slot_future *f = call("stats.get", NULL);

	say(line);
	fails_with(f, code);
	ck_assert_uint_eq(lost_times, 1);
	ck_assert_int_eq(lost_code, code);
	ck_assert(!slot_client_connected(client));
	slot_future_unref(f);
	int error = 0;

	ck_assert_ptr_null(slot_client_call(client, "x", NULL, &error));
	ck_assert_int_eq(error, -SLOT_ECLOSED);
}

START_TEST(a_line_that_is_no_json_ends_the_connection)
{
	loses_with("garbage\n", -SLOT_EPROTOCOL);
}
END_TEST

START_TEST(a_line_that_is_no_reply_ends_the_connection)
{
	loses_with("{\"jsonrpc\":\"2.0\",\"id\":2}\n", -SLOT_EPROTOCOL);
}
END_TEST

START_TEST(an_answer_to_nothing_ends_the_connection)
{
	loses_with("{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}\n", -SLOT_EPROTOCOL);
}
END_TEST

START_TEST(an_error_without_id_ends_the_connection)
{
	loses_with("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":"
		   "\"bad line\",\"data\":{\"kind\":\"ParseError\"}}}\n",
	    -SLOT_EPROTOCOL);
	ck_assert_str_eq(lost_why, "bad line");
}
END_TEST

START_TEST(a_line_without_end_ends_the_connection)
{
	struct slot_future *f = call("stats.get", NULL);
	char *piece = malloc(100001);

	memset(piece, 'x', 100000);
	piece[100000] = '\0';
	for (int i = 0; i < 11; i++)
		say(piece);
	say("\n");
	fails_with(f, -SLOT_EPROTOCOL);
	slot_future_unref(f);
	free(piece);
}
END_TEST

START_TEST(a_hang_up_fails_what_is_open_after_what_was_said)
{
	struct slot_future *a = call("a", NULL), *b = call("b", NULL);

	ck_assert_int_gt(dprintf(server, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n"), 0);
	hang_up();
	ck_assert_int_eq(slot_future_result(a, NULL), 0);
	fails_with(b, -SLOT_ECLOSED);
	ck_assert_uint_eq(lost_times, 1);
	ck_assert_int_eq(lost_code, -SLOT_ECLOSED);
	slot_future_unref(a);
	slot_future_unref(b);
}
END_TEST

START_TEST(unknown_notifications_are_ignored)
{
	say("{\"jsonrpc\":\"2.0\",\"method\":\"$/news\",\"params\":{\"stream\":1}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":77,\"n\":1}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"hm\"}\n\r\n");
	ck_assert_uint_eq(lost_times, 0);
	ck_assert(slot_client_connected(client));
}
END_TEST

/* ---- freeing ---- */

START_TEST(freeing_fails_open_calls)
{
	struct slot_future *f = call("a", NULL);

	slot_client_free(client);
	client = NULL;
	fails_with(f, -SLOT_ECLOSED);
	slot_future_unref(f);
	ck_assert_uint_eq(lost_times, 0);
}
END_TEST

static void
free_client(struct slot_future *f, void *arg)
{
	(void)f;
	(void)arg;
	slot_client_free(client);
	client = NULL;
}

START_TEST(the_client_may_be_freed_in_a_callback)
{
	struct slot_future *f = call("a", NULL), *g = call("b", NULL);

	slot_future_add_done_callback(f, free_client, NULL);
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	ck_assert_ptr_null(client);
	fails_with(g, -SLOT_ECLOSED);
	slot_future_unref(f);
	slot_future_unref(g);
}
END_TEST

static void
free_when_lost(struct slot_client *c, int code, const char *why, void *arg)
{
	(void)code;
	(void)why;
	(void)arg;
	slot_client_free(c);
	client = NULL;
}

START_TEST(the_client_may_be_freed_when_the_connection_is_lost)
{
	start_with(&(struct slot_client_options){ .on_disconnect = free_when_lost });
	hang_up();
	ck_assert_ptr_null(client);
	stop();
}
END_TEST

/* ---- bytes ---- */

START_TEST(bytes_become_the_shorter_form_and_come_back)
{
	static const struct {
		const char *data;
		size_t len;
		bool b64;
	} cases[] = { { "", 0, false }, { "plain", 5, false }, { "\xc3\xa4", 2, false },
		{ "\xff", 1, true }, { "a\0b", 3, true }, { "\x01\x01\x01\x01\x01\x01\x01\x01"
		  "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", 20, true } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *value = slot_json_from_bytes(cases[i].data, cases[i].len);
		size_t len = 99;
		char *back = slot_json_to_bytes(value, &len);

		ck_assert_int_eq(json_is_object(value), cases[i].b64);
		ck_assert_uint_eq(len, cases[i].len);
		ck_assert_int_eq(memcmp(back, cases[i].data, len), 0);
		ck_assert_int_eq(back[len], 0);
		free(back);
		json_decref(value);
	}
}
END_TEST

START_TEST(no_bytes_at_all_are_an_empty_string)
{
	json_t *value = slot_json_from_bytes(NULL, 0);

	ck_assert_str_eq(json_string_value(value), "");
	json_decref(value);
}
END_TEST

START_TEST(what_is_no_bytes_is_refused)
{
	json_t *bad = json_pack("[i, n, {s:i}, {s:s}]", 5, "b64", 5, "b64", "!!!");
	json_t *value;
	size_t i;

	json_array_foreach(bad, i, value)
		ck_assert_ptr_null(slot_json_to_bytes(value, NULL));
	json_decref(bad);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client");
	TCase *tc = tcase_create("connected"), *own = tcase_create("own");

	tcase_add_checked_fixture(tc, start, stop);
	tcase_add_test(tc, hello_is_said_first_and_its_answer_kept);
	tcase_add_test(tc, no_socket_is_said_with_errno);
	tcase_add_test(tc, a_socket_with_a_long_path_is_reached);
	tcase_add_test(tc, answers_find_their_calls_in_any_order);
	tcase_add_test(tc, an_error_is_the_exceptions_detail);
	tcase_add_test(tc, a_call_that_nobody_holds_is_still_answered);
	tcase_add_test(tc, cancelling_a_call_asks_and_the_answer_decides);
	tcase_add_test(tc, params_that_are_no_object_or_too_long_are_refused);
	tcase_add_test(tc, what_the_daemon_would_not_read_is_refused);
	tcase_add_test(tc, descriptors_arrive_with_the_last_byte_of_their_line);
	tcase_add_test(tc, a_descriptor_that_is_none_refuses_the_call);
	tcase_add_test(tc, descriptors_are_not_left_open_whatever_becomes_of_the_call);
	tcase_add_test(tc, large_input_goes_out_whole_and_in_order);
	tcase_add_test(tc, a_line_that_is_no_json_ends_the_connection);
	tcase_add_test(tc, a_line_that_is_no_reply_ends_the_connection);
	tcase_add_test(tc, an_answer_to_nothing_ends_the_connection);
	tcase_add_test(tc, an_error_without_id_ends_the_connection);
	tcase_add_test(tc, a_line_without_end_ends_the_connection);
	tcase_add_test(tc, a_hang_up_fails_what_is_open_after_what_was_said);
	tcase_add_test(tc, unknown_notifications_are_ignored);
	tcase_add_test(tc, freeing_fails_open_calls);
	tcase_add_test(tc, the_client_may_be_freed_in_a_callback);
	suite_add_tcase(suite, tc);
	tcase_add_test(own, requests_may_follow_before_hello_is_answered);
	tcase_add_test(own, a_session_is_handed_on);
	tcase_add_test(own, no_descriptor_of_ours_is_inherited);
	tcase_add_loop_test(own, what_is_no_answer_to_hello_ends_the_connection, 0, 4);
	tcase_add_test(own, a_daemon_that_reads_nothing_is_felt_and_room_is_told);
	tcase_add_test(own, a_call_refused_for_want_of_room_is_told_when_there_is_some);
	tcase_add_test(own, a_job_is_cancelled_however_much_is_queued);
	tcase_add_test(own, credit_to_a_daemon_that_reads_nothing_is_bounded);
	tcase_add_test(own, a_socket_that_takes_no_more_is_the_end_though_the_daemon_stays);
	tcase_add_test(own, what_is_no_connected_stream_socket_is_refused_and_closed);
	tcase_add_test(own, no_program_started_meanwhile_holds_the_connection);
	tcase_add_test(own, more_output_than_the_daemon_gives_is_refused);
	tcase_add_test(own, the_client_may_be_freed_when_the_connection_is_lost);
	tcase_add_test(own, bytes_become_the_shorter_form_and_come_back);
	tcase_add_test(own, no_bytes_at_all_are_an_empty_string);
	tcase_add_test(own, what_is_no_bytes_is_refused);
	suite_add_tcase(suite, own);
	return run_client_suite(suite);
}
