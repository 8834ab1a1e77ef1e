/*
 * The engine's end of the launcher against the real slotd-launcher in SLOT_BUILD_DIR, and against
 * launchers that fail: this program itself, started by launch_start and told by the environment
 * how to misbehave. The one unit test that starts processes: its subject is nothing else.
 */
#define _GNU_SOURCE 1
#include "launch/body.h"
#include "launch/frame.h"
#include "launch/launch.h"
#include "launch/local.h"
#include "launch/outbox.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEADLINE_S 10

static struct event_base *base;
static struct launch *l;
static char launcher[4096];
static char directory[32], socket_path[4096]; /* of a launcher that outlives its engine */

/* What was told. */
static struct {
	uint64_t instance;
	unsigned exits, gone, gone_early, lost, held;
	struct launch_held last_held;
	bool keep_held;
	struct launch_exit last;
	uint64_t token;
	int signal_error;
	char why[128];
	bool ack, free_on_exit;
} seen;

static void
on_held(void *arg, const struct launch_held *held)
{
	(void)arg;
	ck_assert_uint_eq(seen.instance, 0); /* before on_ready */
	seen.held++;
	seen.last_held = *held;
	for (int i = 0; i < 3; i++) {
		if (!seen.keep_held && held->fds[i] >= 0)
			close(held->fds[i]);
	}
}

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

static const struct launch_handlers handlers = {.on_held = on_held, .on_ready = on_ready,
	.on_exit = on_exit_told, .on_gone = on_gone, .on_signaled = on_signaled,
	.on_lost = on_lost};

static void
setup(void)
{
	memset(&seen, 0, sizeof(seen));
	seen.ack = true;
	base = event_base_new();
	l = NULL;
	strcpy(directory, "/tmp/slot-launch-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(socket_path, sizeof(socket_path), "%s/launcher.sock", directory);
}

static void
teardown(void)
{
	if (l)
		l->ops->free(l);
	event_base_free(base);
	unsetenv("TEST_FAKE");
	unlink(socket_path);
	rmdir(directory);
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
	for (unsigned i = 0; i < run->nfds; i++) {
		if (run->roles[i] <= LAUNCH_FD_STDERR)
			b.files[run->roles[i] - LAUNCH_FD_STDIN].kind = BODY_FILE_PASSED;
	}
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

/* ---- one that outlives us ---- */

static struct launch *
connect_to(const char *path)
{
	const struct launch_options options = {.path = path, .grace_ms = -1};
	const char *where;
	int error;

	seen.instance = 0;
	l = launch_connect(base, socket_path, &options, &handlers, NULL, &error, &where);
	ck_assert_msg(l != NULL, "%s: %s", where, strerror(error));
	ck_assert(l->keeps);
	return l;
}

static struct launch *
connect_fake(const char *how)
{
	setenv("TEST_FAKE", how, 1);
	return connect_to("/proc/self/exe");
}

static void
until_ready(void)
{
	while (seen.instance == 0 && seen.lost == 0)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(seen.lost, 0);
}

static void
leave(void)
{
	l->ops->free(l);
	l = NULL;
}

START_TEST(it_is_started_once_and_found_again_with_its_jobs)
{
	struct launch_run run = {.nfds = 0};
	uint64_t instance;
	int pid;

	connect_to(launcher);
	until_ready();
	instance = seen.instance;
	pid = launch_pid(l);
	ck_assert_int_gt(pid, 0);
	seen.ack = false;
	run_sh(7, "exit 4", &run);
	l->ops->flush(l);
	until(&seen.exits, 1);
	leave();
	ck_assert_int_eq(kill(pid, 0), 0);

	connect_to("/no/such/launcher"); /* none is started */
	until_ready();
	ck_assert_uint_eq(seen.instance, instance);
	ck_assert_int_eq(launch_pid(l), pid);
	ck_assert_uint_eq(seen.held, 1);
	ck_assert_uint_eq(seen.last_held.job, 7);
	ck_assert_uint_eq(seen.last_held.attempt, 1);
	ck_assert_uint_eq(seen.last_held.slots, 1);
	ck_assert_int_eq(seen.last_held.fds[1], -1);
	until(&seen.exits, 2);
	ck_assert_int_eq(seen.last.exit_code, 4);
	l->ops->ack(l, 7, 1);
	leave(); /* sends it first */
	connect_to(launcher);
	until_ready();
	ck_assert_uint_eq(seen.held, 1);
	kill(pid, SIGTERM);
	until(&seen.lost, 1);
	ck_assert_int_eq(launch_pid(l), 0);
}
END_TEST

START_TEST(our_ends_of_the_pipes_come_back)
{
	struct launch_run run = {.nfds = 4, .roles = {LAUNCH_FD_STDIN, LAUNCH_FD_STDOUT,
		LAUNCH_FD_KEEP_STDIN, LAUNCH_FD_KEEP_STDOUT}};
	int in[2], out[2];
	char buf[16];
	unsigned fds;

	connect_to(launcher);
	until_ready();
	fds = open_fds();
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	run.fds[0] = in[0];
	run.fds[1] = out[1];
	run.fds[2] = in[1];
	run.fds[3] = out[0];
	run_sh(1, "read x; echo $x; cat; exit 5", &run);
	l->ops->signal(l, 99, 1, SIGTERM, LAUNCH_SCOPE_TREE, 5);
	l->ops->flush(l);
	while (seen.token != 5) /* all was read */
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(open_fds(), fds);
	leave();
	seen.keep_held = true;
	connect_to(launcher);
	until_ready();
	ck_assert_uint_eq(seen.held, 1);
	ck_assert_int_eq(seen.last_held.fds[2], -1);
	ck_assert_int_eq(fcntl(seen.last_held.fds[0], F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(write(seen.last_held.fds[0], "hi\n", 3), 3);
	close(seen.last_held.fds[0]);
	l->ops->close_stdin(l, 1, 1);
	l->ops->flush(l);
	until(&seen.gone, 1);
	ck_assert_int_eq(seen.last.exit_code, 5);
	ck_assert_int_eq(read(seen.last_held.fds[1], buf, sizeof(buf)), 3);
	close(seen.last_held.fds[1]);
	kill(launch_pid(l), SIGTERM);
	until(&seen.lost, 1);
}
END_TEST

START_TEST(a_socket_that_was_left_is_replaced_wherever_it_lies)
{
	char name[64] = "/", whole[1024];
	int pid, fd;

	/* A name so long that the path does not fit into an address. */
	memset(name + 1, 'n', 50);
	snprintf(whole, sizeof(whole), "%s%s", directory, name);
	ck_assert_int_eq(mkdir(whole, 0700), 0);
	strcat(whole, name);
	ck_assert_int_eq(mkdir(whole, 0700), 0);
	snprintf(socket_path, sizeof(socket_path), "%s/launcher.sock", whole);
	ck_assert_uint_gt(strlen(socket_path), 107);
	fd = local_listen(socket_path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(local_listen(socket_path), -EADDRINUSE);
	close(fd);
	ck_assert_int_eq(local_connect(socket_path), -ECONNREFUSED);
	connect_to(launcher);
	until_ready();
	pid = launch_pid(l);
	leave();
	connect_to(launcher);
	until_ready();
	ck_assert_int_eq(launch_pid(l), pid);
	kill(pid, SIGKILL);
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "slotd-launcher was killed by signal 9");
	unlink(socket_path);
	rmdir(whole);
	*strrchr(whole, '/') = 0;
	rmdir(whole);
}
END_TEST

static void
cannot_connect(const char *path, int expected)
{
	const struct launch_options options = {.path = path, .grace_ms = -1};
	const char *where;
	int error = 0;

	ck_assert_ptr_null(
	    launch_connect(base, socket_path, &options, &handlers, NULL, &error, &where));
	ck_assert_int_eq(error, expected);
}

START_TEST(what_stands_in_its_way_is_an_error)
{
	unsigned fds = open_fds();
	FILE *f;

	cannot_connect("/no/such/launcher", ENOENT);
	ck_assert_int_eq(access(socket_path, F_OK), -1); /* nothing is left */
	chmod(directory, 0750);
	cannot_connect("/no/such/launcher", EPERM);
	chmod(directory, 0700);
	f = fopen(socket_path, "w");
	fclose(f);
	cannot_connect("/no/such/launcher", ENOTSOCK);
	ck_assert_int_eq(access(socket_path, F_OK), 0);
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(one_of_another_version_says_so)
{
	connect_fake("speaks");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why,
	    "slotd-launcher speaks version 9, this slotd version 2, and it can't change: "
	    "Exec format error");
}
END_TEST

START_TEST(one_of_another_version_may_renew_itself)
{
	connect_fake("renews");
	until_ready();
	ck_assert_uint_eq(seen.instance, 77);
}
END_TEST

START_TEST(what_is_asked_for_too_early_waits_for_the_welcome)
{
	connect_fake("early"); /* answers a frame of ours as one of another version, until it is anew */
	l->ops->ceiling(l, 5);
	l->ops->flush(l);
	until_ready();
	l->ops->flush(l);
	until(&seen.exits, 1); /* it tells when it has heard */
	ck_assert_uint_eq(seen.lost, 0);
	ck_assert_int_eq(seen.last.exit_code, 5);
}
END_TEST

START_TEST(one_that_stays_of_another_version_is_asked_once)
{
	connect_fake("stays");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "slotd-launcher speaks version 9, this slotd version 2");
}
END_TEST

START_TEST(one_of_another_build_is_asked_to_renew_and_used_meanwhile)
{
	connect_fake("build");
	until_ready();
	until(&seen.exits, 1); /* it tells when it was asked */
	ck_assert_uint_eq(seen.lost, 0);
}
END_TEST

START_TEST(descriptors_of_a_held_job_that_are_missing_end_the_connection)
{
	unsigned fds = open_fds();

	connect_fake("bare");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "a frame without its descriptors");
	ck_assert_uint_eq(seen.held, 1); /* the one before it had its own */
	leave();
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(descriptors_that_nobody_announced_end_the_connection)
{
	unsigned fds = open_fds();

	connect_fake("many");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "a frame without its descriptors");
	leave();
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

START_TEST(a_frame_too_long_for_the_socket_goes_by_a_memfd)
{
	char *body = malloc(60000);
	struct launch_run run = {.job = 3, .body = body, .body_len = 60000, .nfds = 0};
	struct outbox box;
	int pair[2], small = 4608;
	union frame f;
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {&f, sizeof(f)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	int fd;
	char *map;

	memset(body, 'b', 60000);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	outbox_init(&box);
	ck_assert_int_eq(outbox_add_run(&box, &run), 0);
	ck_assert_ptr_nonnull(outbox_add(&box, FRAME_HELLO, sizeof(struct frame_hello)));
	ck_assert_int_eq(outbox_send(&box, pair[0]), EMSGSIZE);
	ck_assert_int_eq(outbox_shorten_first(&box), 0);
	ck_assert_int_eq(outbox_send(&box, pair[0]), 0);
	ck_assert_int_eq(recvmsg(pair[1], &m, MSG_CMSG_CLOEXEC), sizeof(f.run));
	ck_assert_uint_eq(f.run.job, 3);
	ck_assert(frame_run_has_memfd(&f.run));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	map = mmap(NULL, 60000, PROT_READ, MAP_PRIVATE, fd, 0);
	ck_assert_int_eq(memcmp(map, body, 60000), 0);
	munmap(map, 60000);
	close(fd);
	/* A frame that is short already stays. */
	ck_assert_ptr_nonnull(outbox_add(&box, FRAME_HELLO, sizeof(struct frame_hello)));
	ck_assert_int_eq(outbox_shorten_first(&box), EMSGSIZE);
	outbox_clear(&box);
	close(pair[0]);
	close(pair[1]);
	free(body);
}
END_TEST

START_TEST(a_launcher_that_exits_says_its_status)
{
	start_fake("exit");
	until(&seen.lost, 1);
	ck_assert_str_eq(seen.why, "slotd-launcher exited with status 9");
}
END_TEST

static void
ack(uint64_t job)
{
	l->ops->ack(l, job, 1);
	l->ops->flush(l);
}

START_TEST(acknowledgements_alone_wait_for_company)
{
	seen.ack = false;
	start_fake("frames");
	until(&seen.exits, 1); /* HELLO */
	ack(1);
	ack(2);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ack(3);
	until(&seen.exits, 2);
	ck_assert_int_eq(seen.last.exit_code, 3);
	ack(4);
	l->ops->ceiling(l, 5);
	l->ops->flush(l);
	until(&seen.exits, 4);
	ck_assert_int_eq(seen.last.exit_code, 0); /* behind it */
	l->ops->ack(l, 5, 1);
	l->ops->push(l);
	until(&seen.exits, 5);
	ck_assert_int_eq(seen.last.exit_code, 1);
	for (uint64_t i = 0; i < FRAME_ACKS_MAX; i++) /* a frame's worth doesn't wait */
		ack(6 + i);
	until(&seen.exits, 6);
	ck_assert_int_eq(seen.last.exit_code, (int)FRAME_ACKS_MAX);
	ck_assert_uint_eq(seen.lost, 0);
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

static void
send_head(int fd, unsigned version, enum frame_type type, int error)
{
	struct frame_renewed f = {.error = error};

	frame_head_init(&f.head, type, sizeof(f));
	f.head.version = (uint16_t)version;
	send(fd, &f, sizeof(f), 0);
}

static void
send_welcome(int fd, const char *build)
{
	struct frame_welcome f = {.instance = 77, .pid = (uint32_t)getpid()};

	frame_head_init(&f.head, FRAME_WELCOME, sizeof(f));
	strcpy(f.build, build);
	send(fd, &f, sizeof(f), 0);
}

#define MANY 10

static void
send_held(int fd, int kept, unsigned n)
{
	struct frame_held f = {.job = 1, .attempt = 1, .roles = {LAUNCH_FD_KEEP_STDOUT}};
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(MANY * sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {&f, sizeof(f)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	frame_head_init(&f.head, FRAME_HELD, sizeof(f));
	if (n > 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n * sizeof(int));
		for (unsigned i = 0; i < n; i++)
			memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)) + i * sizeof(int), &kept, sizeof(int));
	}
	sendmsg(fd, &m, 0);
}

/* Tells of each frame that it gets: how many entries an ACK has, 0 for another. */
static int
tell_frames(int fd)
{
	struct launch_exit ex = {.attempt = 1};
	struct frame_exit told;
	union frame f;

	fcntl(fd, F_SETFL, 0); /* it waits */
	while (recv(fd, &f, sizeof(f), 0) > 0) {
		ex.job++;
		ex.exit_code = f.head.type == FRAME_ACK ? (int)frame_ack_count(&f.ack) : 0;
		frame_exit_pack(&told, &ex, FRAME_EXIT_GONE | FRAME_BEST_EFFORT);
		send(fd, &told, sizeof(told), 0);
	}
	return 0;
}

/* The next frame must be of this type, or we end. */
static void
expect(int fd, enum frame_type type)
{
	union frame f;

	if (recv(fd, &f, sizeof(f), 0) <= 0 || f.head.type != type)
		_exit(3);
}

/* One that speaks another version until it was asked to change. */
static void
change_version(int fd)
{
	union frame f = {.head = {.type = FRAME_HELLO}};
	struct launch_exit ex = {.job = 1, .attempt = 1};

	while (f.head.type != FRAME_REEXEC) {
		send_head(fd, 9, FRAME_SPEAKS, 0);
		if (recv(fd, &f, sizeof(f), 0) <= 0)
			_exit(3);
	}
	send_head(fd, FRAME_VERSION, FRAME_RENEWED, 0);
	expect(fd, FRAME_HELLO);
	send_welcome(fd, "0.0.0-other");
	if (recv(fd, &f, sizeof(f), 0) <= 0 || f.head.type != FRAME_CEILING)
		_exit(4);
	ex.exit_code = (int)f.ceiling.slots;
	frame_exit_pack(&f.exit, &ex, FRAME_EXIT_GONE | FRAME_BEST_EFFORT);
	send(fd, &f.exit, sizeof(f.exit), 0);
}

/* One that listens. */
static int
fake_keeper(const char *how, int listener)
{
	struct launch_exit ex = {.job = 1, .attempt = 1};
	struct frame_exit f;
	int fd = accept(listener, NULL, NULL), null = open("/dev/null", O_RDONLY);
	char byte;

	expect(fd, FRAME_HELLO);
	if (strcmp(how, "build") == 0) {
		send_welcome(fd, "0.0.0-other");
		expect(fd, FRAME_REEXEC);
		send_head(fd, FRAME_VERSION, FRAME_RENEWED, 0);
		frame_exit_pack(&f, &ex, FRAME_EXIT_GONE | FRAME_BEST_EFFORT);
		send(fd, &f, sizeof(f), 0);
	} else if (strcmp(how, "bare") == 0) {
		send_held(fd, null, 1);
		send_held(fd, null, 0);
		send_held(fd, null, 1);
	} else if (strcmp(how, "many") == 0) {
		send_held(fd, null, MANY);
	} else if (strcmp(how, "early") == 0) {
		change_version(fd);
	} else {
		send_head(fd, 9, FRAME_SPEAKS, 0);
		expect(fd, FRAME_REEXEC);
		send_head(fd, 9, FRAME_RENEWED, strcmp(how, "speaks") == 0 ? ENOEXEC : 0);
		if (strcmp(how, "renews") == 0) {
			expect(fd, FRAME_HELLO);
			send_welcome(fd, "0.0.0-other"); /* and is not asked again */
		} else if (strcmp(how, "stays") == 0) {
			expect(fd, FRAME_HELLO);
			send_head(fd, 9, FRAME_SPEAKS, 0);
		}
	}
	while (recv(fd, &byte, 1, 0) > 0)
		continue;
	return 0;
}

static int
fake_launcher(const char *how, int fd)
{
	struct launch_exit ex = {.attempt = 1};
	struct frame_exit f;
	int listens = 0;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
		return fake_keeper(how, fd);
	if (strcmp(how, "exit") == 0)
		return 9;
	if (strcmp(how, "frames") == 0)
		return tell_frames(fd);
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
	tcase_add_test(tc, acknowledgements_alone_wait_for_company);
	tcase_add_test(tc, a_launcher_that_closes_its_socket_is_lost);
	tcase_add_test(tc, garbage_from_a_launcher_ends_the_connection_only);
	tcase_add_test(tc, last_words_of_a_launcher_are_heard);
	tcase_add_test(tc, what_stands_in_its_way_is_an_error);
	tcase_add_test(tc, one_of_another_version_says_so);
	tcase_add_test(tc, one_of_another_version_may_renew_itself);
	tcase_add_test(tc, what_is_asked_for_too_early_waits_for_the_welcome);
	tcase_add_test(tc, one_that_stays_of_another_version_is_asked_once);
	tcase_add_test(tc, one_of_another_build_is_asked_to_renew_and_used_meanwhile);
	tcase_add_test(tc, descriptors_of_a_held_job_that_are_missing_end_the_connection);
	tcase_add_test(tc, descriptors_that_nobody_announced_end_the_connection);
	tcase_add_test(tc, a_frame_too_long_for_the_socket_goes_by_a_memfd);
	if (access(launcher, X_OK) == 0) {
		tcase_add_test(tc, a_job_runs_and_its_output_comes_through_the_pipe);
		tcase_add_test(tc, two_thousand_runs_at_once_pass_the_full_socket);
		tcase_add_test(tc, a_large_environment_comes_whole);
		tcase_add_test(tc, cancel_and_signal_are_answered);
		tcase_add_test(tc, a_run_that_no_frame_can_carry_is_refused_and_its_fds_closed);
		tcase_add_test(tc, freeing_inside_a_handler_is_allowed);
		tcase_add_test(tc, free_closes_what_was_never_sent);
		tcase_add_test(tc, a_killed_launcher_is_told_once);
		tcase_add_test(tc, it_is_started_once_and_found_again_with_its_jobs);
		tcase_add_test(tc, our_ends_of_the_pipes_come_back);
		tcase_add_test(tc, a_socket_that_was_left_is_replaced_wherever_it_lies);
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
