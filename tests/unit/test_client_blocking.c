/* Programs without a loop: a client with a loop of its own, and the calls that wait. What the
 * daemon answers lies in the socket before it is waited for, or comes from a process of its own. */
#include "client_fixture.h"

#include <signal.h>
#include <slot/combine.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#define HELLO_DURABLE(id)                                                                          \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":{\"protocol\":1,\"instance\":\"i\","        \
	"\"session\":\"s\",\"features\":[\"durable\"],\"seq\":41}}\n"

static char dir[64], path[96];

static void
send_line(int fd, const char *line)
{
	size_t len = strlen(line);

	ck_assert_int_eq(send(fd, line, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A client of its own loop, whose hello is answered when somebody waits. */
static void
begin(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	server = pair[0];
	send_line(server, HELLO_ANSWER);
	client = slot_client_new_fd(NULL, pair[1], NULL, NULL);
	ck_assert_ptr_nonnull(client);
}

static void
end(void)
{
	slot_client_free(client);
	client = NULL;
	if (server >= 0)
		close(server);
}

static struct slot_future *
call(struct slot_client *c)
{
	struct slot_future *f = slot_client_call(c, "a", NULL, NULL);

	ck_assert_ptr_nonnull(f);
	return f;
}

/* Futures of the ids 2, 3 and 4. */
static struct slot_as_completed *
three_calls(struct slot_future **calls, int64_t timeout_ms)
{
	for (int i = 0; i < 3; i++)
		calls[i] = call(client);
	return slot_as_completed_new(slot_client_loop(client), calls, 3, timeout_ms, NULL, NULL,
	    NULL);
}

static void
let_go(struct slot_future **calls)
{
	for (int i = 0; i < 3; i++)
		slot_future_unref(calls[i]);
}

/* ---- connecting ---- */

static int
listen_at(const char *where)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, where);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

static void
make_dir(void)
{
	strcpy(dir, "/tmp/slot-blocking-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
}

static void
remove_dir(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(without_loop_and_path_it_finds_both)
{
	make_dir();
	int listener = listen_at(path);

	setenv("SLOTD_SOCKET", path, 1);
	client = slot_client_connect(NULL, NULL, NULL, NULL);
	ck_assert_ptr_nonnull(client);
	server = accept(listener, NULL, NULL);
	send_line(server, HELLO_ANSWER);
	struct slot_future *ready = slot_client_ready(client);

	ck_assert_int_eq(slot_client_run(client, ready, PATIENCE_MS), 0);
	ck_assert_int_eq(slot_future_result(ready, NULL), 0);
	ck_assert_uint_eq(slot_client_seq(client), 41);
	slot_future_unref(ready);
	end();
	close(listener);
	unsetenv("SLOTD_SOCKET");
	remove_dir();
}
END_TEST

START_TEST(a_place_that_others_may_write_to_is_refused)
{
	char inside[96];
	int error = 0;

	make_dir();
	snprintf(inside, sizeof(inside), "%s/slotd", dir);
	ck_assert_int_eq(mkdir(inside, 0700), 0);
	ck_assert_int_eq(chmod(inside, 0777), 0);
	unsetenv("SLOTD_SOCKET");
	setenv("XDG_RUNTIME_DIR", dir, 1);
	errno = 0;
	ck_assert_ptr_null(slot_client_connect(NULL, NULL, NULL, &error));
	ck_assert_int_eq(error, -SLOT_ECONNECT);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_ptr_null(slot_client_default_socket(SLOT_CLIENT_USER, NULL));
	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_int_eq(rmdir(inside), 0);
	remove_dir();
}
END_TEST

/* ---- slot_client_run ---- */

START_TEST(run_returns_with_the_answer_or_at_the_timeout)
{
	begin();
	struct slot_future *f = call(client);

	ck_assert_int_eq(slot_client_run(client, f, 0), -SLOT_ETIMEOUT);
	ck_assert_int_eq(slot_client_run(client, f, 5), -SLOT_ETIMEOUT);
	ck_assert(!slot_future_done(f));
	send_line(server, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	ck_assert_int_eq(slot_client_run(client, f, -1), 0);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	ck_assert_int_eq(slot_client_run(client, f, 0), 0);
	slot_future_unref(f);
	end();
}
END_TEST

START_TEST(run_says_when_nothing_can_come)
{
	begin();
	struct slot_future *never = slot_future_new(slot_client_loop(client));

	close(server);
	server = -1;
	ck_assert_int_eq(slot_client_run(client, never, -1), -SLOT_EINVALSTATE);
	ck_assert(!slot_client_connected(client));
	slot_future_unref(never);
	end();
}
END_TEST

START_TEST(run_refuses_a_future_of_another_loop)
{
	begin();
	struct event_base *other_base = event_base_new();
	struct slot_loop *other = slot_loop_new(other_base);
	struct slot_future *f = slot_future_new(other);

	ck_assert_int_eq(slot_client_run(client, f, -1), -SLOT_EINVAL);
	slot_future_unref(f);
	slot_loop_free(other);
	event_base_free(other_base);
	end();
}
END_TEST

static int nested;
static struct slot_as_completed *nested_ac;

static void
run_inside(struct slot_future *f, void *arg)
{
	(void)f;
	nested = slot_client_run(client, arg, -1);
	ck_assert_ptr_null(slot_client_run_next(client, nested_ac));
	ck_assert_int_eq(slot_as_completed_status(nested_ac), 1);
}

/* libevent would refuse, too, but with words of its own. */
static void
no_warning(int severity, const char *msg)
{
	ck_abort_msg("libevent says (%d): %s", severity, msg);
}

START_TEST(run_refuses_to_be_nested)
{
	begin();
	struct slot_future *calls[3], *ready = slot_client_ready(client);

	event_set_log_callback(no_warning);
	nested = 0;
	nested_ac = three_calls(calls, SLOT_NO_TIMEOUT);
	slot_future_add_done_callback(ready, run_inside, calls[0]);
	/* The wait goes on as if nothing had been. */
	send_line(server, "{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n");
	ck_assert_int_eq(slot_client_run(client, calls[2], PATIENCE_MS), 0);
	event_set_log_callback(NULL);
	ck_assert_int_eq(nested, -SLOT_EINVALSTATE);
	slot_as_completed_free(nested_ac);
	slot_future_unref(ready);
	let_go(calls);
	end();
}
END_TEST

static void
free_client(struct slot_future *f, void *arg)
{
	slot_client_free(client);
	client = NULL;
	slot_future_unref(arg); /* the wait still needs it */
	(void)f;
}

START_TEST(a_callback_may_free_the_client_that_waits)
{
	begin();
	struct slot_future *f = call(client), *ready = slot_client_ready(client);

	slot_future_add_done_callback(ready, free_client, f);
	ck_assert_int_eq(slot_client_run(client, f, PATIENCE_MS), 0);
	ck_assert_ptr_null(client);
	slot_future_unref(ready);
	end();
}
END_TEST

static void
count(struct slot_future *f, void *arg)
{
	fails_with(f, -SLOT_ECLOSED);
	++*(int *)arg;
}

START_TEST(freeing_tells_all_that_fails_with_it)
{
	begin();
	struct slot_loop *own = slot_client_loop(client);
	struct slot_future *f = call(client);
	struct slot_future *all = slot_gather(own, &f, 1, SLOT_GATHER_RAISE, NULL);
	int told = 0;

	slot_future_add_done_callback(f, count, &told);
	slot_future_add_done_callback(all, count, &told);
	slot_future_unref(all);
	end();
	ck_assert_int_eq(told, 2);
	fails_with(f, -SLOT_ECLOSED);
	slot_future_unref(f);
}
END_TEST

START_TEST(clients_can_share_a_loop)
{
	begin();
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_line(pair[0], HELLO_ANSWER);
	struct slot_client *other = slot_client_new_fd(slot_client_loop(client), pair[1], NULL,
	    NULL);
	struct slot_future *f = call(other);

	ck_assert_ptr_eq(slot_client_loop(other), slot_client_loop(client));
	send_line(pair[0], "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	ck_assert_int_eq(slot_client_run(client, f, PATIENCE_MS), 0);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
	slot_client_free(other);
	close(pair[0]);
	end();
}
END_TEST

static struct slot_client *second;

static void
free_both(struct slot_future *f, void *arg)
{
	(void)f;
	if (arg != NULL) {
		slot_client_free(client);
		slot_client_free(second);
	} else {
		slot_client_free(second);
		slot_client_free(client);
	}
	client = second = NULL;
}

static void
share_and_free_inside(void *first_first)
{
	begin();
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_line(pair[0], HELLO_ANSWER);
	second = slot_client_new_fd(slot_client_loop(client), pair[1], NULL, NULL);
	struct slot_future *ready = slot_client_ready(second), *f = call(second);

	slot_future_add_done_callback(ready, free_both, first_first);
	ck_assert_int_eq(slot_client_run(second, f, PATIENCE_MS), 0);
	ck_assert_ptr_null(client);
	fails_with(f, -SLOT_ECLOSED);
	slot_future_unref(f);
	slot_future_unref(ready);
	close(pair[0]);
	end();
}

START_TEST(a_callback_may_free_all_clients_of_the_loop)
{
	share_and_free_inside(NULL);
	share_and_free_inside(&second);
}
END_TEST

START_TEST(a_shared_loop_is_there_until_the_last_client_goes)
{
	begin();
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_line(pair[0], HELLO_ANSWER);
	second = slot_client_new_fd(slot_client_loop(client), pair[1], NULL, NULL);
	struct slot_future *f = call(second);

	end();
	send_line(pair[0], "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	ck_assert_int_eq(slot_client_run(second, f, PATIENCE_MS), 0);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
	slot_client_free(second);
	close(pair[0]);
}
END_TEST

/* ---- signals ---- */

static volatile sig_atomic_t signals;

static void
on_signal(int sig)
{
	static const char line[] = "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n";

	(void)sig;
	if (++signals == 3)
		(void)!send(server, line, sizeof(line) - 1, MSG_NOSIGNAL);
}

START_TEST(signals_do_not_end_a_wait)
{
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_signal }, was;

	begin();
	struct slot_future *f = call(client);

	signals = 0;
	sigaction(SIGALRM, &sa, &was);
	setitimer(ITIMER_REAL, &often, NULL);
	ck_assert_int_eq(slot_client_run(client, f, PATIENCE_MS), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &was, NULL);
	ck_assert_int_ge(signals, 3);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
	end();
}
END_TEST

static int full;

static void
make_room(int sig)
{
	(void)sig;
	if (++signals == 3)
		server = accept(full, NULL, NULL);
}

START_TEST(signals_do_not_end_a_connect_that_waits)
{
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = make_room }, was;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int others[8], n = 0, error = 99;

	make_dir();
	full = listen_at(path);
	strcpy(address.sun_path, path);
	do {
		ck_assert_int_lt(n, 8);
		others[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	} while (connect(others[n++], (struct sockaddr *)&address, sizeof(address)) == 0);
	ck_assert_int_eq(errno, EAGAIN);
	signals = 0;
	sigaction(SIGALRM, &sa, &was);
	setitimer(ITIMER_REAL, &often, NULL);
	client = slot_client_connect(NULL, path, NULL, &error);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &was, NULL);
	ck_assert_int_eq(error, 0);
	ck_assert_ptr_nonnull(client);
	ck_assert_int_ge(signals, 3);
	while (n > 0)
		close(others[--n]);
	close(full);
	end();
	remove_dir();
}
END_TEST

/* With the default action SIGPIPE would end this program. */
START_TEST(a_daemon_that_is_gone_sends_no_signal)
{
	begin();
	struct slot_future *f = call(client);

	ck_assert_ptr_eq(signal(SIGPIPE, SIG_DFL), SIG_DFL);
	close(server);
	server = -1;
	ck_assert_int_eq(slot_client_run(client, f, PATIENCE_MS), 0);
	fails_with(f, -SLOT_ECLOSED);
	slot_future_unref(f);
	end();
}
END_TEST

/* ---- slot_client_run_next ---- */

START_TEST(next_waits_for_one_after_the_other)
{
	begin();
	struct slot_future *calls[3], *f;
	struct slot_as_completed *ac = three_calls(calls, SLOT_NO_TIMEOUT);
	static const int order[] = { 1, 2, 0 };

	for (int i = 0; i < 3; i++) {
		dprintf(server, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{}}\n", 2 + order[i]);
		f = slot_client_run_next(client, ac);
		ck_assert_ptr_eq(f, calls[order[i]]);
		slot_future_unref(f);
	}
	ck_assert_ptr_null(slot_client_run_next(client, ac));
	ck_assert_int_eq(slot_as_completed_status(ac), 0);
	slot_as_completed_free(ac);
	let_go(calls);
	end();
}
END_TEST

START_TEST(next_ends_with_the_time_of_as_completed)
{
	begin();
	struct slot_future *calls[3], *f;
	struct slot_as_completed *ac = three_calls(calls, 30);

	send_line(server, "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n");
	f = slot_client_run_next(client, ac);
	ck_assert_ptr_eq(f, calls[1]);
	slot_future_unref(f);
	ck_assert_ptr_null(slot_client_run_next(client, ac));
	ck_assert_int_eq(slot_as_completed_status(ac), -SLOT_ETIMEOUT);
	slot_as_completed_free(ac);
	let_go(calls);
	end();
}
END_TEST

/* ---- reconnect ---- */

static void
take_line(int fd)
{
	char c;

	while (recv(fd, &c, 1, 0) == 1 && c != '\n')
		;
}

/* A daemon that is restarted between a request and its answer. */
static void
play_daemon(int listener)
{
	alarm(60); /* whatever becomes of the test */
	int fd = accept(listener, NULL, NULL);

	take_line(fd);
	send_line(fd, HELLO_DURABLE("1"));
	take_line(fd); /* job.get, as 2 */
	close(listener);
	unlink(path);
	close(fd);
	listener = listen_at(path);
	fd = accept(listener, NULL, NULL);
	take_line(fd);
	send_line(fd, HELLO_DURABLE("3"));
	take_line(fd);
	send_line(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"job\":7}}\n");
	take_line(fd); /* the client's end */
	_exit(0);
}

START_TEST(a_reconnect_goes_on_while_it_waits)
{
	const struct slot_client_options options = { .reconnect = true };
	void *result = NULL;
	int status = -1;

	make_dir();
	int listener = listen_at(path);
	pid_t pid = fork();

	if (pid == 0)
		play_daemon(listener);
	close(listener);
	client = slot_client_connect(NULL, path, &options, NULL);
	ck_assert_ptr_nonnull(client);
	struct slot_future *ready = slot_client_ready(client), *f;

	ck_assert_int_eq(slot_client_run(client, ready, PATIENCE_MS), 0);
	f = slot_client_call(client, "job.get", json_pack("{s:i}", "job", 7), NULL);
	ck_assert_int_eq(slot_client_run(client, f, PATIENCE_MS), 0);
	ck_assert_int_eq(slot_future_result(f, &result), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(result, "job")), 7);
	slot_future_unref(f);
	slot_future_unref(ready);
	server = -1;
	end();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	remove_dir();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client, blocking");
	TCase *tc = tcase_create("blocking");

	tcase_add_test(tc, without_loop_and_path_it_finds_both);
	tcase_add_test(tc, a_place_that_others_may_write_to_is_refused);
	tcase_add_test(tc, run_returns_with_the_answer_or_at_the_timeout);
	tcase_add_test(tc, run_says_when_nothing_can_come);
	tcase_add_test(tc, run_refuses_a_future_of_another_loop);
	tcase_add_test(tc, run_refuses_to_be_nested);
	tcase_add_test(tc, a_callback_may_free_the_client_that_waits);
	tcase_add_test(tc, freeing_tells_all_that_fails_with_it);
	tcase_add_test(tc, clients_can_share_a_loop);
	tcase_add_test(tc, a_callback_may_free_all_clients_of_the_loop);
	tcase_add_test(tc, a_shared_loop_is_there_until_the_last_client_goes);
	tcase_add_test(tc, signals_do_not_end_a_wait);
	tcase_add_test(tc, signals_do_not_end_a_connect_that_waits);
	tcase_add_test(tc, a_daemon_that_is_gone_sends_no_signal);
	tcase_add_test(tc, next_waits_for_one_after_the_other);
	tcase_add_test(tc, next_ends_with_the_time_of_as_completed);
	tcase_add_test(tc, a_reconnect_goes_on_while_it_waits);
	suite_add_tcase(suite, tc);
	return run_client_suite(suite);
}
