#ifndef TESTS_CLIENT_FIXTURE_H
#define TESTS_CLIENT_FIXTURE_H
/*
 * A client on one end of a socketpair and the test, playing the daemon, on the other.
 */
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <slot/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 10000

static struct event_base *base;
static struct slot_loop *loop;
static struct slot_client *client;
static int server; /* -1: hung up */
static char *heard; /* what the client sent, up to the first line not looked at */
static size_t heard_len;

/* What the callbacks noted. */
static int lost_code;
static char lost_why[200];
static unsigned lost_times, writable_times;

static inline void
note_lost(struct slot_client *c, int code, const char *why, void *arg)
{
	(void)c;
	(void)arg;
	lost_code = code;
	lost_times++;
	snprintf(lost_why, sizeof(lost_why), "%s", why);
}

static inline void
note_writable(struct slot_client *c, void *arg)
{
	(void)c;
	(void)arg;
	writable_times++;
}

/* Lets everything run that can run without the daemon. */
static inline void
settle(void)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The daemon says a line (or less, or more). */
static inline void
say(const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = send(server, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			ck_assert_int_eq(errno, EAGAIN);
		else
			text += n, len -= (size_t)n;
		settle();
	}
	settle();
}

static inline void
hang_up(void)
{
	close(server);
	server = -1;
	settle();
}

/* The next line that the client sent, without its LF; the caller frees it. */
static inline char *
next_line(void)
{
	for (int waited = 0;; waited++) {
		char *lf = heard_len > 0 ? memchr(heard, '\n', heard_len) : NULL;

		if (lf != NULL) {
			char *line = strndup(heard, (size_t)(lf - heard));

			heard_len -= (size_t)(lf - heard) + 1;
			memmove(heard, lf + 1, heard_len);
			return line;
		}
		ck_assert_int_lt(waited, PATIENCE_MS);
		settle();
		heard = realloc(heard, heard_len + 65536);
		ssize_t n = recv(server, heard + heard_len, 65536, MSG_DONTWAIT);

		if (n > 0)
			heard_len += (size_t)n;
		else
			poll(&(struct pollfd){ .fd = server, .events = POLLIN }, 1, 1);
	}
}

/* The next line is exactly this. */
static inline void
hear(const char *expected)
{
	char *line = next_line();

	ck_assert_str_eq(line, expected);
	free(line);
}

/* Nothing more was sent. */
static inline void
hear_nothing(void)
{
	char c;

	settle();
	ck_assert_uint_eq(heard_len, 0);
	ck_assert_int_eq(recv(server, &c, 1, MSG_DONTWAIT | MSG_PEEK), -1);
}

#define HELLO_ANSWER                                                                               \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,\"server\":\"slotd/0\","         \
	"\"instance\":\"i\",\"session\":\"s\",\"uid\":7,\"seq\":41}}\n"

/* The client is there; its hello waits in the socket. */
static inline void
start_with(const struct slot_client_options *options)
{
	int pair[2], error = 99;

	const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

	ck_assert_int_eq(socketpair(AF_UNIX, type, 0, pair), 0);
	server = pair[0];
	heard_len = 0;
	lost_code = 0;
	lost_times = writable_times = 0;
	base = event_base_new();
	loop = slot_loop_new(base);
	client = slot_client_new_fd(loop, pair[1], options, &error);
	ck_assert_int_eq(error, 0);
	ck_assert_ptr_nonnull(client);
}

/* The client is there and hello is answered. Its next request has id 2. */
static inline void
start(void)
{
	const struct slot_client_options options = { .name = "test/1",
		.on_disconnect = note_lost, .on_writable = note_writable };

	start_with(&options);
	hear("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":"
	     "{\"protocol\":[1],\"client\":\"test/1\"}}");
	say(HELLO_ANSWER);
}

static inline void
stop(void)
{
	slot_client_free(client);
	client = NULL;
	settle();
	slot_loop_free(loop);
	event_base_free(base);
	if (server >= 0)
		close(server);
	free(heard);
	heard = NULL;
}

static inline void
fails_with(const struct slot_future *f, int code)
{
	int got = 0;

	ck_assert(slot_future_done(f));
	ck_assert_int_eq(slot_future_exception(f, &got, NULL), 0);
	ck_assert_int_eq(got, code);
}

static inline int
run_client_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

#endif
