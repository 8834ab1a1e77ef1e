/* slotctl run without a daemon: exit statuses, and the sink that its relay writes through. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/outcome.h"
#include "ctl/sink.h"

/* ---- exit statuses ---- */

START_TEST(the_exit_status_follows_the_outcome)
{
	static const struct {
		const char *json;
		int status;
	} cases[] = {
		{ "\"outcome\":\"exited\",\"exit_code\":0,\"ok\":true", 0 },
		{ "\"outcome\":\"exited\",\"exit_code\":255", 255 },
		{ "\"outcome\":\"signaled\",\"signal\":9", 137 },
		{ "\"outcome\":\"timed_out\",\"signal\":15", 124 },
		{ "\"outcome\":\"cancelled\",\"signal\":15", 125 },
		{ "\"outcome\":\"lost\"", 125 },
		{ "\"outcome\":\"dependency_failed\"", 125 },
		{ "\"outcome\":\"a_later_one\"", 125 },
		{ "\"outcome\":\"spawn_failed\","
		  "\"error\":{\"step\":\"exec\",\"errno\":\"ENOENT\"}",
		    127 },
		{ "\"outcome\":\"spawn_failed\","
		  "\"error\":{\"step\":\"exec\",\"errno\":\"EACCES\"}",
		    126 },
		{ "\"outcome\":\"spawn_failed\","
		  "\"error\":{\"step\":\"chdir\",\"errno\":\"ENOENT\"}",
		    126 },
		{ "\"outcome\":\"spawn_failed\"", 126 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "{\"job\":1,\"seq\":1,%s}", cases[i].json);
		json_t *job = json_loads(text, 0, NULL);

		ck_assert_ptr_nonnull(job);
		ck_assert_msg(outcome_exit_status(job) == cases[i].status, "%s", text);
		json_decref(job);
	}
}
END_TEST

/* ---- the sink ---- */

static void
on_drained(void *arg)
{
	int *drained = arg;

	++*drained;
}

static void
fill_sink(struct event_base *base, enum sink_kind kind)
{
	static const char piece[10000];
	struct sink sink;
	int ends[2], drained = 0;
	size_t got = 0, put = 0;
	char buf[4096];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	if (kind == SINK_NONBLOCKING)
		fcntl(ends[1], F_SETFL, O_NONBLOCK);
	ck_assert_int_eq(sink_init(&sink, base, ends[1], kind, on_drained, &drained), 0);
	do {
		ck_assert_int_eq(sink_add(&sink, piece, sizeof(piece)), 0);
		put += sizeof(piece);
	} while (sink_flush(&sink));
	ck_assert(!sink_is_empty(&sink));
	/* What we were given is never made non-blocking: others use it, too. */
	if (kind == SINK_INHERITED)
		ck_assert_int_eq(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 10000 && got < put; i++) {
		ssize_t n = read(ends[0], buf, sizeof(buf));

		if (n > 0)
			got += (size_t)n;
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	ck_assert_uint_eq(got, put);
	ck_assert_int_eq(drained, 1);
	ck_assert(sink_is_empty(&sink));
	close(ends[0]);
	ck_assert_int_eq(sink_add(&sink, "x", 1), 0);
	ck_assert(sink_flush(&sink)); /* failed, and dropped */
	ck_assert_int_eq(sink.error, EPIPE);
	ck_assert(sink_is_empty(&sink));
	sink_fini(&sink);
	close(ends[1]);
}

START_TEST(a_sink_keeps_what_does_not_go_and_tells_when_it_went)
{
	struct event_base *base = event_base_new();

	signal(SIGPIPE, SIG_IGN);
	fill_sink(base, SINK_INHERITED);
	fill_sink(base, SINK_NONBLOCKING);
	event_base_free(base);
}
END_TEST

START_TEST(a_sink_on_a_file_takes_everything)
{
	struct event_base *base = event_base_new();
	struct sink sink;
	int drained = 0;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(sink_init(&sink, base, fd, SINK_INHERITED, on_drained, &drained), 0);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(sink_add(&sink, "some text", 9), 0);
		ck_assert(sink_flush(&sink));
	}
	ck_assert_int_eq(drained, 0);
	sink_fini(&sink);
	close(fd);
	event_base_free(base);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ctl_run");
	TCase *tc = tcase_create("run");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, the_exit_status_follows_the_outcome);
	tcase_add_test(tc, a_sink_keeps_what_does_not_go_and_tells_when_it_went);
	tcase_add_test(tc, a_sink_on_a_file_takes_everything);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
