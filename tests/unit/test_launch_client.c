/*
 * The engine's end of the launcher against the real slotd-launcher in SLOT_BUILD_DIR, and against
 * launchers that fail: this program itself, started by launch_start and told by the environment
 * how to misbehave. The one unit test that starts processes: its subject is nothing else.
 */
#define _GNU_SOURCE 1
#include "launch/body.h"
#include "launch/frame.h"
#include "launch/launch.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_S 10

static struct event_base *base;
static struct launch *l;
static char launcher[4096];

/* What was told. */
static struct {
	uint64_t instance;
	unsigned exits, gone, gone_early, lost;
	struct launch_exit last;
	uint64_t token;
	int signal_error;
	char why[128];
	bool ack, free_on_exit;
} seen;

static void
on_ready(void *arg, uint64_t instance)
{
	(void)arg;
	seen.instance = instance;
}

static void
on_exit_told(void *arg, const struct launch_exit *ex)
{
	(void)arg;
	seen.exits++;
	seen.last = *ex;
	if (seen.ack)
		l->ops->ack(l, ex->job, ex->attempt);
	if (seen.free_on_exit) {
		l->ops->free(l);
		l = NULL;
	}
}

static void
on_gone(void *arg, uint64_t job, uint32_t attempt, bool best_effort)
{
	(void)arg;
	(void)job;
	(void)attempt;
	ck_assert(best_effort);
	seen.gone++;
	seen.gone_early += seen.gone > seen.exits;
}

static void
on_signaled(void *arg, uint64_t token, int error)
{
	(void)arg;
	seen.token = token;
	seen.signal_error = error;
}

static void
on_lost(void *arg, const char *why)
{
	(void)arg;
	seen.lost++;
	snprintf(seen.why, sizeof(seen.why), "%s", why);
}

static const struct launch_handlers handlers = {on_ready, on_exit_told, on_gone, on_signaled,
	on_lost};

static void
setup(void)
{
	memset(&seen, 0, sizeof(seen));
	seen.ack = true;
	base = event_base_new();
	l = NULL;
}

static void
teardown(void)
{
	if (l)
		l->ops->free(l);
	event_base_free(base);
	unsetenv("TEST_FAKE");
}

static struct launch *
start(const char *path)
{
	const struct launch_options options = {.path = path, .grace_ms = -1};
	const char *where;
	int error;

	l = launch_start(base, &options, &handlers, NULL, &error, &where);
	ck_assert_msg(l != NULL, "%s: %s", where, strerror(error));
	return l;
}

static struct launch *
start_fake(const char *how)
{
	setenv("TEST_FAKE", how, 1);
	return start("/proc/self/exe");
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turns the loop until *count is at least n. */
static void
until(const unsigned *count, unsigned n)
{
	const struct timeval deadline = {.tv_sec = DEADLINE_S};
	bool late = false;
	struct event *timer = evtimer_new(base, on_deadline, &late);

	event_add(timer, &deadline);
	while (*count < n && !late) {
		event_base_loop(base, EVLOOP_ONCE);
		if (l)
			l->ops->flush(l);
	}
	event_free(timer);
	ck_assert_msg(!late, "waited for %u, got %u", n, *count);
}

/* Queues `sh -c script`, with descriptors. */
static int
run_sh(uint64_t job, const char *script, struct launch_run *run)
{
	char argv[512];
	int len = snprintf(argv, sizeof(argv), "sh%c-c%c%s", 0, 0, script) + 1;
	unsigned char bytes[1024];
	struct body b;

	body_init(&b);
	b.argv = argv;
	b.argv_len = (size_t)len;
	for (unsigned i = 0; i < run->nfds; i++)
		b.files[run->roles[i] - LAUNCH_FD_STDIN].kind = BODY_FILE_PASSED;
	ck_assert_uint_le(body_size(&b), sizeof(bytes));
	body_pack(&b, bytes);
	run->job = job;
	run->attempt = 1;
	run->slots = 1;
	run->body = bytes;
	run->body_len = body_size(&b);
	if (!run->env) {
		run->env = "PATH=/usr/bin:/bin";
		run->env_len = 19;
	}
	return l->ops->run(l, run);
}

static unsigned
open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

START_TEST(a_job_runs_and_its_output_comes_through_the_pipe)
{
	struct launch_run run = {.nfds = 1, .roles = {LAUNCH_FD_STDOUT}};
	int p[2];
	char buf[16];
	unsigned fds;

	start(launcher);
	ck_assert_int_gt(launch_pid(l), 0);
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	fds = open_fds();
	run.fds[0] = p[1];
	ck_assert_int_eq(run_sh(1, "echo hi; exit 3", &run), 0);
	l->ops->flush(l);
	until(&seen.gone, 1);
	ck_assert(seen.instance != 0);
	ck_assert_uint_eq(seen.exits, 1);
	ck_assert_uint_eq(seen.gone_early, 0);
	ck_assert_int_eq(seen.last.how, LAUNCH_EXITED);
	ck_assert_int_eq(seen.last.exit_code, 3);
	ck_assert_int_eq(read(p[0], buf, sizeof(buf)), 3);
	ck_assert_int_eq(read(p[0], buf, sizeof(buf)), 0);
	ck_assert_uint_eq(open_fds(), fds - 1); /* the write end was taken */
	close(p[0]);
}
END_TEST

START_TEST(two_thousand_runs_at_once_pass_the_full_socket)
{
	const unsigned n = 2000;
	struct launch_run run;

	start(launcher);
	l->ops->ceiling(l, 0); /* each is refused: what matters is the way */
	for (unsigned i = 0; i < n; i++) {
		memset(&run, 0, sizeof(run));
		ck_assert_int_eq(run_sh(i + 1, "exit 0", &run), 0);
	}
	l->ops->flush(l);
	until(&seen.gone, n);
	ck_assert_uint_eq(seen.exits, n);
	ck_assert_int_eq(seen.last.how, LAUNCH_SPAWN_FAILED);
	ck_assert_int_eq(seen.last.step, LAUNCH_STEP_BODY);
	ck_assert_int_eq(seen.last.error, EAGAIN);
}
END_TEST

START_TEST(a_large_environment_comes_whole)
{
	struct launch_run run = {.nfds = 0};
	size_t len = 19 + 200 * 1000;
	char *env = malloc(len);

	start(launcher);
	memcpy(env, "PATH=/usr/bin:/bin", 19);
	for (size_t i = 0; i < 200; i++) {
		memset(env + 19 + i * 1000, 'v', 1000);
		snprintf(env + 19 + i * 1000, 5, "v%03zu", i);
		env[19 + i * 1000 + 4] = '=';
		env[19 + i * 1000 + 999] = 0;
	}
	run.env = env;
	run.env_len = len;
	ck_assert_int_eq(run_sh(1, "[ $(env | wc -c) -gt 200000 ] && exit 8", &run), 0);
	free(env); /* it was only borrowed */
	l->ops->flush(l);
	until(&seen.gone, 1);
	ck_assert_int_eq(seen.last.exit_code, 8);
}
END_TEST

START_TEST(cancel_and_signal_are_answered)
{
	struct launch_run run = {.nfds = 0}, again = {.nfds = 0};

	start(launcher);
	run_sh(1, "sleep 1000", &run);
	run_sh(2, "sleep 1000", &again);
	l->ops->signal(l, 1, 1, SIGKILL, LAUNCH_SCOPE_GROUP, 77);
	l->ops->flush(l);
	until(&seen.gone, 1);
	ck_assert_uint_eq(seen.token, 77);
	ck_assert_int_eq(seen.signal_error, 0);
	ck_assert_int_eq(seen.last.how, LAUNCH_SIGNALED);
	ck_assert_int_eq(seen.last.signal, SIGKILL);
	l->ops->cancel(l, 2, 1, 5000);
	l->ops->signal(l, 3, 1, SIGTERM, LAUNCH_SCOPE_TREE, 78);
	l->ops->flush(l);
	until(&seen.gone, 2);
	ck_assert_uint_eq(seen.token, 78);
	ck_assert_int_eq(seen.signal_error, ESRCH);
	ck_assert_int_eq(seen.last.cause, LAUNCH_CAUSE_CANCEL);
	ck_assert_int_eq(seen.last.signal, SIGTERM);
}
END_TEST

START_TEST(a_run_that_no_frame_can_carry_is_refused_and_its_fds_closed)
{
	struct launch_run run = {.body = "", .body_len = FRAME_BODY_MAX + 1, .nfds = 1,
		.roles = {LAUNCH_FD_STDIN}};
	unsigned fds;

	start(launcher);
	fds = open_fds();
	run.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(l->ops->run(l, &run), -E2BIG);
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(freeing_inside_a_handler_is_allowed)
{
	struct launch_run run = {.nfds = 0};
	unsigned fds = open_fds();

	start(launcher);
	seen.free_on_exit = true;
	run_sh(1, "exit 0", &run);
	l->ops->flush(l);
	until(&seen.exits, 1);
	ck_assert_ptr_null(l);
	ck_assert_uint_eq(seen.gone, 0);
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(free_closes_what_was_never_sent)
{
	struct launch_run run = {.nfds = 1, .roles = {LAUNCH_FD_STDIN}};
	unsigned fds = open_fds();

	start(launcher);
	run.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	run_sh(1, "exit 0", &run);
	l->ops->free(l);
	l = NULL;
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(a_killed_launcher_is_told_once)
{
	struct launch_run run = {.nfds = 0};

	start(launcher);
	while (seen.instance == 0)
		event_base_loop(base, EVLOOP_ONCE);
	kill(launch_pid(l), SIGKILL);
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "slotd-launcher was killed by signal 9");
	ck_assert_int_eq(launch_pid(l), 0);
	ck_assert_int_eq(run_sh(1, "exit 0", &run), -EPIPE);
	l->ops->ack(l, 1, 1);
	l->ops->cancel(l, 1, 1, 0);
	l->ops->flush(l);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(seen.lost, 1);
}
END_TEST

START_TEST(a_launcher_that_cannot_start_is_an_error)
{
	const struct launch_options options = {.path = "/no/such/launcher", .grace_ms = -1};
	const char *where;
	unsigned fds = open_fds();
	int error = 0;

	ck_assert_ptr_null(launch_start(base, &options, &handlers, NULL, &error, &where));
	ck_assert_int_eq(error, ENOENT);
	ck_assert_str_eq(where, "/no/such/launcher");
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(a_launcher_that_exits_says_its_status)
{
	start_fake("exit");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "slotd-launcher exited with status 9");
}
END_TEST

START_TEST(a_launcher_that_closes_its_socket_is_lost)
{
	start_fake("close");
	until(&seen.lost, 1);
	ck_assert_uint_eq(seen.lost, 1);
}
END_TEST

START_TEST(garbage_from_a_launcher_ends_the_connection_only)
{
	start_fake("garbage");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "unknown type");
}
END_TEST

START_TEST(last_words_of_a_launcher_are_heard)
{
	start_fake("words");
	until(&seen.lost, 1);
	ck_assert_uint_eq(seen.exits, 100);
	ck_assert_uint_eq(seen.gone, 100);
}
END_TEST

/* ---- as a launcher ---- */

static int
fake_launcher(const char *how, int fd)
{
	struct launch_exit ex = {.attempt = 1};
	struct frame_exit f;

	if (strcmp(how, "exit") == 0)
		return 9;
	if (strcmp(how, "close") == 0) {
		close(fd);
		for (;;)
			pause(); /* until the test's end, by PDEATHSIG */
	}
	if (strcmp(how, "garbage") == 0) {
		struct frame_head head = {.version = FRAME_VERSION, .type = 99, .len = 8};

		send(fd, &head, sizeof(head), 0);
		recv(fd, &f, sizeof(f), 0);
		recv(fd, &f, sizeof(f), 0);
		return 0;
	}
	for (ex.job = 1; ex.job <= 100; ex.job++) {
		frame_exit_pack(&f, &ex, FRAME_EXIT_GONE | FRAME_BEST_EFFORT);
		send(fd, &f, sizeof(f), 0);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	Suite *suite;
	TCase *tc;
	const char *dir = getenv("SLOT_BUILD_DIR"), *how = getenv("TEST_FAKE");
	SRunner *runner;
	int failed;

	if (how && argc > 2 && strcmp(argv[1], "--engine-fd") == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return fake_launcher(how, atoi(argv[2]));
	}
	suite = suite_create("launch_client");
	tc = tcase_create("client");
	snprintf(launcher, sizeof(launcher), "%s/slotd-launcher", dir ? dir : ".");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_launcher_that_cannot_start_is_an_error);
	tcase_add_test(tc, a_launcher_that_exits_says_its_status);
	tcase_add_test(tc, a_launcher_that_closes_its_socket_is_lost);
	tcase_add_test(tc, garbage_from_a_launcher_ends_the_connection_only);
	tcase_add_test(tc, last_words_of_a_launcher_are_heard);
	if (access(launcher, X_OK) == 0) {
		tcase_add_test(tc, a_job_runs_and_its_output_comes_through_the_pipe);
		tcase_add_test(tc, two_thousand_runs_at_once_pass_the_full_socket);
		tcase_add_test(tc, a_large_environment_comes_whole);
		tcase_add_test(tc, cancel_and_signal_are_answered);
		tcase_add_test(tc, a_run_that_no_frame_can_carry_is_refused_and_its_fds_closed);
		tcase_add_test(tc, freeing_inside_a_handler_is_allowed);
		tcase_add_test(tc, free_closes_what_was_never_sent);
		tcase_add_test(tc, a_killed_launcher_is_told_once);
	} else {
		fprintf(stderr, "%s is not there: the tests with it are left out\n", launcher);
	}
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
