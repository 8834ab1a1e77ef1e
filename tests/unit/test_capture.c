/*
 * Captures: what stays of streams short and long, when their owner hears of it, that a drain
 * waits for nobody, and what becomes of the pipes. The jobs are threads that write.
 */
#include "core/loop.h"
#include "engine/capture.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define DEADLINE_US 20000000

static struct event_base *base;
static struct slot_loop *loop;
static struct capture_pool *pool;
static int fds_before;

/* What one capture's owner has heard. */
struct owner {
	int data, drained;
	bool unref_when_drained;
};

static void
on_data(struct capture *c, void *arg)
{
	struct owner *owner = arg;

	(void)c;
	ck_assert_int_eq(owner->drained, 0);
	owner->data++;
}

static void
on_drained(struct capture *c, void *arg)
{
	struct owner *owner = arg;

	ck_assert(capture_closed(c, 1));
	ck_assert(capture_closed(c, 2));
	owner->drained++;
	if (owner->unref_when_drained)
		capture_unref(c);
}

static const struct capture_handlers handlers = {on_data, on_drained};

static int
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	fds_before = count_fds();
	base = event_base_new();
	loop = slot_loop_new(base);
	pool = capture_pool_new(loop, NULL);
	ck_assert_ptr_nonnull(pool);
}

/* Every test ends with nothing kept, nothing open. */
static void
teardown(void)
{
	capture_pool_free(pool);
	slot_loop_free(loop);
	event_base_free(base);
	ck_assert_int_eq(count_fds(), fds_before);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

/* Turns the loop until *count is at least n. */
static void
run_until(const int *count, int n)
{
	int64_t deadline_us = slot_loop_now_us(loop) + DEADLINE_US;
	struct timeval tv = {1, 0};
	struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);

	event_add(tick, &tv);
	while (*count < n) {
		ck_assert_msg(slot_loop_now_us(loop) < deadline_us, "waited in vain");
		event_base_loop(base, EVLOOP_ONCE);
	}
	event_free(tick);
}

/* Turns the loop as long as something is ready. */
static void
run_ready(void)
{
	int i;

	for (i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static struct capture *
new_capture(int64_t limit, struct owner *owner)
{
	struct capture *c = capture_new(pool, limit, &handlers, owner);

	memset(owner, 0, sizeof(*owner));
	ck_assert_ptr_nonnull(c);
	return c;
}

static int
open_stream(struct capture *c, int stream)
{
	int fd = -1;

	ck_assert_int_eq(capture_open(c, stream, &fd), 0);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static unsigned char
byte_at(int64_t off)
{
	return (unsigned char)(((uint64_t)off * 2654435761u) >> 11);
}

static void
fill(unsigned char *buf, int64_t off, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = byte_at(off + (int64_t)i);
}

/* Checks everything kept of a stream. */
static void
check_kept(struct capture *c, int stream, int64_t start, int64_t end)
{
	static unsigned char buf[100 * 1024];
	int64_t off = 0, at = start;
	ssize_t n, i;

	ck_assert_int_eq(capture_start(c, stream), start);
	ck_assert_int_eq(capture_end(c, stream), end);
	ck_assert_int_eq(capture_kept_bytes(c, stream), end - start);
	while ((n = capture_read(c, stream, &off, buf, sizeof(buf))) > 0) {
		ck_assert_int_eq(off, at);
		for (i = 0; i < n; i++)
			if (buf[i] != byte_at(off + i))
				ck_abort_msg("another byte at %lld", (long long)(off + i));
		off += n;
		at = off;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(at, end);
}

/* A job that writes `len` bytes, or until it is stopped, or nobody reads any more. */
struct writer {
	pthread_t thread;
	int fd;
	int64_t len;
	atomic_bool stop;
	int64_t written;
	int error;
};

static void *
writer_main(void *arg)
{
	static _Thread_local unsigned char buf[48 * 1024 + 11];
	struct writer *w = arg;

	while (w->written < w->len && !atomic_load(&w->stop)) {
		size_t len = sizeof(buf);
		ssize_t n;

		if ((int64_t)len > w->len - w->written)
			len = (size_t)(w->len - w->written);
		fill(buf, w->written, len);
		n = write(w->fd, buf, len);
		if (n < 0) {
			w->error = errno;
			break;
		}
		w->written += n;
	}
	close(w->fd);
	return NULL;
}

static void
writer_start(struct writer *w, int fd, int64_t len)
{
	memset(w, 0, sizeof(*w));
	w->fd = fd;
	w->len = len;
	ck_assert_int_eq(pthread_create(&w->thread, NULL, writer_main, w), 0);
}

/* Turns the loop until the capture's end is there. */
static void
run_until_end(struct capture *c, int stream, int64_t end)
{
	int64_t deadline_us = slot_loop_now_us(loop) + DEADLINE_US;
	struct timeval tv = {0, 10000}; /* (not every byte that the thread reads wakes the loop) */
	struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);

	event_add(tick, &tv);
	while (capture_end(c, stream) < end) {
		ck_assert_msg(slot_loop_now_us(loop) < deadline_us, "waited in vain");
		event_base_loop(base, EVLOOP_ONCE);
	}
	event_free(tick);
}

static void
write_pattern(int fd, size_t len)
{
	unsigned char *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	fill(buf, 0, len);
	ck_assert_int_eq(write(fd, buf, len), (ssize_t)len);
	free(buf);
}

START_TEST(a_silent_job_leaves_nothing)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);

	close(open_stream(c, 1));
	close(open_stream(c, 2));
	ck_assert(!capture_closed(c, 1));
	run_ready();
	ck_assert(!capture_closed(c, 1)); /* its end is the leader's exit, not the pipe's */
	capture_drain(c);
	ck_assert_int_eq(owner.drained, 0); /* from the loop */
	run_until(&owner.drained, 1);
	capture_drain(c);
	run_ready();
	ck_assert_int_eq(owner.drained, 1);
	ck_assert_int_eq(owner.data, 0);
	check_kept(c, 1, 0, 0);
	check_kept(c, 2, 0, 0);
	ck_assert(!capture_truncated(c));
	ck_assert_int_eq(capture_error(c), 0);
	capture_unref(c);
}
END_TEST

START_TEST(unopened_streams_drain_too)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);

	ck_assert(capture_closed(c, 1));
	capture_drain(c);
	run_until(&owner.drained, 1);
	capture_unref(c);
}
END_TEST

START_TEST(streams_are_kept_apart)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int out = open_stream(c, 1), err = open_stream(c, 2);
	char buf[16];
	int64_t off = 0;

	ck_assert_int_eq(write(out, "out\n", 4), 4);
	ck_assert_int_eq(write(err, "errors\n", 7), 7);
	run_until(&owner.data, 1);
	ck_assert_int_eq(capture_read(c, 1, &off, buf, sizeof(buf)), 4);
	ck_assert_int_eq(memcmp(buf, "out\n", 4), 0);
	ck_assert_int_eq(write(out, "more\n", 5), 5);
	capture_drain(c);
	run_until(&owner.drained, 1);
	off = 4;
	ck_assert_int_eq(capture_read(c, 1, &off, buf, sizeof(buf)), 5);
	off = 0;
	ck_assert_int_eq(capture_read(c, 2, &off, buf, sizeof(buf)), 7);
	ck_assert_int_eq(memcmp(buf, "errors\n", 7), 0);
	ck_assert_int_eq(capture_pool_bytes(pool), 16);
	capture_unref(c);
	ck_assert_int_eq(capture_pool_bytes(pool), 0);
	close(out);
	close(err);
}
END_TEST

START_TEST(write_ends_are_blocking_and_close_on_exec)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int fd = open_stream(c, 1), again;

	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(capture_open(c, 1, &again), -EALREADY);
	write_pattern(fd, 10);
	run_until(&owner.data, 1);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	capture_unref(c);
	ck_assert_int_eq(write(fd, "x", 1), -1);
	ck_assert_int_eq(errno, EPIPE);
	close(fd);
}
END_TEST

START_TEST(drain_does_not_wait_for_a_descendant)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int fd = open_stream(c, 1);

	write_pattern(fd, 5000);
	capture_drain(c); /* never turned the loop before */
	run_until(&owner.drained, 1);
	check_kept(c, 1, 0, 5000);
	ck_assert_int_eq(write(fd, "x", 1), -1);
	close(fd);
	capture_unref(c);
}
END_TEST

START_TEST(data_is_announced_once_a_turn)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int out = open_stream(c, 1), err = open_stream(c, 2);

	write_pattern(out, 10);
	write_pattern(err, 10);
	run_ready();
	ck_assert_int_eq(owner.data, 1);
	capture_want_data(c, false);
	ck_assert_int_eq(write(out, "x", 1), 1);
	run_ready();
	ck_assert_int_eq(owner.data, 1);
	ck_assert_int_eq(capture_end(c, 1), 11);
	capture_want_data(c, true);
	ck_assert_int_eq(write(out, "x", 1), 1);
	run_ready();
	ck_assert_int_eq(owner.data, 2);
	capture_unref(c);
	close(out);
	close(err);
}
END_TEST

/* As of a job whose output nobody follows. */
static struct capture *
new_unfollowed(int64_t limit, struct owner *owner)
{
	struct capture *c = new_capture(limit, owner);

	capture_want_data(c, false);
	return c;
}

START_TEST(what_nobody_follows_is_read_after_a_moment)
{
	struct owner owner;
	struct capture *c = new_unfollowed(MIB, &owner);
	int fd = open_stream(c, 1);
	int64_t began_us = slot_loop_now_us(loop);

	write_pattern(fd, 100);
	run_ready();
	ck_assert(capture_end(c, 1) == 0 || slot_loop_now_us(loop) - began_us > 5000);
	run_until_end(c, 1, 100);
	write_pattern(fd, 100);
	run_ready(); /* from here on as it comes */
	ck_assert_int_eq(capture_end(c, 1), 200);
	capture_unref(c);
	close(fd);
}
END_TEST

START_TEST(a_follower_has_it_read_at_once)
{
	struct owner owner;
	struct capture *c = new_unfollowed(MIB, &owner);
	int fd = open_stream(c, 1);

	write_pattern(fd, 100);
	capture_want_data(c, true);
	run_ready();
	ck_assert_int_eq(capture_end(c, 1), 100);
	ck_assert_int_eq(owner.data, 1);
	capture_unref(c);
	close(fd);
}
END_TEST

START_TEST(after_a_full_pipe_the_next_are_read_at_once)
{
	struct owner owner;
	struct capture *c = new_unfollowed(MIB, &owner);
	struct writer w;
	int fd;

	writer_start(&w, open_stream(c, 1), 200 * KIB); /* stops at the full pipe … */
	run_until_end(c, 1, 200 * KIB);                 /* … for a moment */
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(w.error, 0);
	capture_unref(c);
	c = new_unfollowed(MIB, &owner);
	fd = open_stream(c, 1);
	write_pattern(fd, 100);
	run_ready();
	ck_assert_int_eq(capture_end(c, 1), 100);
	capture_unref(c);
	close(fd);
}
END_TEST

START_TEST(many_young_pipes_are_read_in_their_time)
{
	struct owner owners[20];
	struct capture *c[20];
	int fds[20], i;

	for (i = 0; i < 20; i++) {
		c[i] = new_unfollowed(MIB, &owners[i]);
		fds[i] = open_stream(c[i], 1 + i % 2);
		write_pattern(fds[i], 100);
	}
	for (i = 0; i < 20; i += 3) { /* some end before */
		capture_drain(c[i]);
		run_until(&owners[i].drained, 1);
	}
	for (i = 0; i < 20; i++) {
		run_until_end(c[i], 1 + i % 2, 100);
		capture_unref(c[i]);
		close(fds[i]);
	}
}
END_TEST

START_TEST(a_young_pipe_leaves_nothing_to_wait_for)
{
	struct owner owner;
	struct capture *c = new_unfollowed(MIB, &owner);

	close(open_stream(c, 1));
	capture_drain(c);
	run_until(&owner.drained, 1);
	capture_unref(c);
	/* It rings once more at most: the loop has nothing left and returns. */
	ck_assert_int_eq(event_base_dispatch(base), 1);
	c = new_unfollowed(MIB, &owner);
	close(open_stream(c, 1)); /* and of one that hung up nothing is awaited */
	ck_assert_int_eq(event_base_dispatch(base), 1);
	ck_assert(!capture_closed(c, 1));
	capture_unref(c);
}
END_TEST

START_TEST(up_to_64_kib_stay_in_memory)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	struct writer w;

	writer_start(&w, open_stream(c, 1), 64 * KIB);
	run_until_end(c, 1, 64 * KIB);
	pthread_join(w.thread, NULL);
	capture_drain(c);
	run_until(&owner.drained, 1);
	ck_assert_int_eq(capture_pool_files(pool), 0);
	check_kept(c, 1, 0, 64 * KIB);
	capture_unref(c);
}
END_TEST

START_TEST(one_byte_more_goes_to_a_file)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	struct writer w;

	writer_start(&w, open_stream(c, 2), 64 * KIB + 1);
	run_until_end(c, 2, 64 * KIB + 1);
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(capture_pool_files(pool), 1);
	capture_drain(c);
	run_until(&owner.drained, 1);
	check_kept(c, 2, 0, 64 * KIB + 1);
	ck_assert_int_eq(capture_pool_bytes(pool), 64 * KIB + 1);
	ck_assert(!capture_truncated(c));
	capture_unref(c);
	ck_assert_int_eq(capture_pool_files(pool), 0);
}
END_TEST

START_TEST(a_drain_may_be_the_first_to_need_a_file)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int fd = open_stream(c, 1);

	ck_assert_int_gt(fcntl(fd, F_SETPIPE_SZ, 256 * KIB), 0);
	write_pattern(fd, 200 * 1024);
	close(fd);
	capture_drain(c);
	run_until(&owner.drained, 1);
	ck_assert_int_ge(owner.data, 1);
	ck_assert_int_eq(capture_pool_files(pool), 1);
	check_kept(c, 1, 0, 200 * KIB);
	capture_unref(c);
}
END_TEST

START_TEST(a_flood_leaves_its_newest_bytes)
{
	struct owner owner;
	struct capture *c = new_capture(MIB + 17, &owner);
	struct writer w;

	writer_start(&w, open_stream(c, 1), 40 * MIB + 5);
	run_until_end(c, 1, 40 * MIB + 5);
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(w.error, 0);
	capture_drain(c);
	run_until(&owner.drained, 1);
	check_kept(c, 1, 39 * MIB + 5 - 17, 40 * MIB + 5);
	ck_assert(capture_truncated(c));
	ck_assert_int_eq(capture_error(c), 0);
	ck_assert_int_eq(capture_pool_bytes(pool), MIB + 17);
	ck_assert_int_gt(owner.data, 0);
	capture_unref(c);
}
END_TEST

START_TEST(small_limits_are_kept_exactly)
{
	static const int64_t limits[] = {0, 1, 1000, 64 * KIB};
	size_t i;

	for (i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct owner owner;
		struct capture *c = new_capture(limits[i], &owner);
		struct writer w;

		writer_start(&w, open_stream(c, 1), 3 * MIB);
		run_until_end(c, 1, 3 * MIB);
		pthread_join(w.thread, NULL);
		ck_assert_int_eq(w.error, 0);
		capture_drain(c);
		run_until(&owner.drained, 1);
		check_kept(c, 1, 3 * MIB - limits[i], 3 * MIB);
		ck_assert(capture_truncated(c));
		ck_assert_int_eq(capture_pool_files(pool), 0);
		capture_unref(c);
	}
}
END_TEST

/* Completion within 50 ms of the leader's exit; with room for a busy test machine. */
START_TEST(a_flooding_descendant_does_not_hold_up_the_drain)
{
	struct owner owners[8], quiet;
	struct capture *c[8], *q;
	struct writer w[8];
	int64_t began_us;
	int i, fd;

	for (i = 0; i < 8; i++) {
		c[i] = new_capture(MIB, &owners[i]);
		writer_start(&w[i], open_stream(c[i], 1), INT64_MAX);
	}
	for (i = 0; i < 8; i++)
		run_until_end(c[i], 1, 2 * MIB);
	q = new_capture(MIB, &quiet);
	fd = open_stream(q, 1);
	write_pattern(fd, 100);
	close(fd);
	began_us = slot_loop_now_us(loop);
	capture_drain(q);
	run_until(&quiet.drained, 1);
	for (i = 0; i < 8; i++)
		capture_drain(c[i]);
	for (i = 0; i < 8; i++)
		run_until(&owners[i].drained, 1);
	ck_assert_int_lt(slot_loop_now_us(loop) - began_us, 2000000);
	check_kept(q, 1, 0, 100);
	for (i = 0; i < 8; i++) {
		int64_t end = capture_end(c[i], 1);

		pthread_join(w[i].thread, NULL);
		ck_assert_int_eq(w[i].error, EPIPE);
		check_kept(c[i], 1, end - MIB, end);
		capture_unref(c[i]);
	}
	capture_unref(q);
}
END_TEST

/* Follows as output.follow does: reads when told, up to the end so far. */
struct follower {
	int64_t off, seen;
	bool torn;
	int drained;
};

static void
follow(struct capture *c, void *arg)
{
	static unsigned char buf[64 * 1024];
	struct follower *f = arg;
	ssize_t n, i;

	while ((n = capture_read(c, 1, &f->off, buf, sizeof(buf))) > 0) {
		for (i = 0; i < n; i++)
			f->torn = f->torn || buf[i] != byte_at(f->off + i);
		f->off += n;
		f->seen += n;
	}
	ck_assert_int_eq(n, 0);
}

static void
follow_drained(struct capture *c, void *arg)
{
	struct follower *f = arg;

	f->drained++;
	ck_assert_int_eq(f->off, capture_end(c, 1)); /* on_data came for the last byte */
}

START_TEST(a_follower_at_the_live_edge_sees_no_torn_byte)
{
	static const struct capture_handlers follower_handlers = {follow, follow_drained};
	static const int64_t limits[] = {70 * KIB, 8 * MIB};
	size_t i;

	for (i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct follower f = {0};
		struct capture *c = capture_new(pool, limits[i], &follower_handlers, &f);
		struct writer w;

		writer_start(&w, open_stream(c, 1), 24 * MIB);
		run_until_end(c, 1, 24 * MIB);
		pthread_join(w.thread, NULL);
		capture_drain(c);
		run_until(&f.drained, 1);
		ck_assert(!f.torn);
		ck_assert_int_eq(f.off, 24 * MIB);
		ck_assert_int_le(f.seen, 24 * MIB);
		capture_unref(c);
	}
}
END_TEST

START_TEST(a_missing_spool_directory_costs_output_but_no_job)
{
	struct capture_pool *lost = capture_pool_new(loop, "/nonexistent/spool");
	struct owner owner = {0};
	struct capture *c = capture_new(lost, MIB, &handlers, &owner);
	struct writer w;

	writer_start(&w, open_stream(c, 1), 5 * MIB);
	run_until_end(c, 1, 5 * MIB);
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(w.error, 0);
	capture_drain(c);
	run_until(&owner.drained, 1);
	ck_assert_int_eq(capture_error(c), ENOENT);
	check_kept(c, 1, 5 * MIB - 64 * KIB, 5 * MIB);
	capture_unref(c);
	capture_pool_free(lost);
}
END_TEST

START_TEST(without_a_thread_the_loop_reads_and_memory_keeps)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int fd = open_stream(c, 1);
	struct rlimit before, none;
	struct writer w;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3; /* none to be had */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	writer_start(&w, fd, 2 * MIB);
	run_until_end(c, 1, 2 * MIB);
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	capture_drain(c);
	run_until(&owner.drained, 1);
	ck_assert_int_eq(capture_error(c), EMFILE);
	check_kept(c, 1, 2 * MIB - 64 * KIB, 2 * MIB);
	capture_unref(c);
}
END_TEST

START_TEST(no_descriptor_left_is_the_callers_to_know)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	struct rlimit before, none;
	int fd = -1, i;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (i = 0; i < 2; i++) { /* room for none, one end */
		none = before;
		none.rlim_cur = (rlim_t)(fcntl(0, F_DUPFD, 3) + i);
		close((int)none.rlim_cur - i);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
		ck_assert_int_eq(capture_open(c, 1, &fd), -EMFILE);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	}
	ck_assert_int_eq(fd, -1);
	ck_assert(capture_closed(c, 1));
	close(open_stream(c, 1)); /* and it works again when there are some */
	capture_unref(c);
}
END_TEST

START_TEST(the_last_unref_ends_what_runs)
{
	struct owner owner;
	struct capture *c = new_capture(3 * MIB, &owner);
	struct writer out, err;

	writer_start(&out, open_stream(c, 1), INT64_MAX);
	writer_start(&err, open_stream(c, 2), 10);
	run_until_end(c, 1, 4 * MIB);
	run_until_end(c, 2, 10);
	capture_unref(c);
	pthread_join(out.thread, NULL);
	pthread_join(err.thread, NULL);
	ck_assert_int_eq(out.error, EPIPE);
	/* Not turning the loop again: the pool must cope. */
}
END_TEST

START_TEST(an_unref_during_a_drain_overrides_it)
{
	struct owner owner;
	struct capture *c = new_capture(3 * MIB, &owner);
	struct writer w;

	writer_start(&w, open_stream(c, 1), INT64_MAX);
	run_until_end(c, 1, 4 * MIB);
	capture_drain(c);
	capture_unref(c);
	pthread_join(w.thread, NULL);
	run_ready();
	ck_assert_int_eq(owner.drained, 0);
}
END_TEST

START_TEST(the_owner_may_let_go_inside_its_handler)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	struct writer w;

	writer_start(&w, open_stream(c, 1), 2 * MIB);
	run_until_end(c, 1, 2 * MIB);
	pthread_join(w.thread, NULL);
	owner.unref_when_drained = true;
	capture_drain(c);
	run_until(&owner.drained, 1);
	ck_assert_int_eq(capture_pool_bytes(pool), 0);
}
END_TEST

START_TEST(a_detached_capture_tells_nobody)
{
	struct owner owner;
	struct capture *c = new_capture(MIB, &owner);
	int fd = open_stream(c, 1);

	write_pattern(fd, 10);
	event_base_loop(base, EVLOOP_NONBLOCK);
	owner.data = 0;
	capture_drain(c);
	capture_detach(c);
	run_ready();
	ck_assert_int_eq(owner.data + owner.drained, 0);
	check_kept(c, 1, 0, 10);
	capture_unref(c);
	close(fd);
}
END_TEST

START_TEST(a_manual_loop_has_no_pipes)
{
	struct slot_loop *manual = slot_loop_new_manual(1000, 1000);
	struct capture_pool *p = capture_pool_new(manual, NULL);
	struct owner owner = {0};
	struct capture *c = capture_new(p, MIB, &handlers, &owner);
	int fd = -1;

	ck_assert_int_eq(capture_open(c, 1, &fd), -ENOTSUP);
	ck_assert_int_eq(fd, -1);
	capture_drain(c);
	ck_assert_int_eq(owner.drained, 0);
	slot_loop_run_due(manual, 0);
	ck_assert_int_eq(owner.drained, 1);
	capture_unref(c);
	capture_pool_free(p);
	slot_loop_free(manual);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("capture");
	TCase *tc = tcase_create("capture");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_silent_job_leaves_nothing);
	tcase_add_test(tc, unopened_streams_drain_too);
	tcase_add_test(tc, streams_are_kept_apart);
	tcase_add_test(tc, write_ends_are_blocking_and_close_on_exec);
	tcase_add_test(tc, drain_does_not_wait_for_a_descendant);
	tcase_add_test(tc, data_is_announced_once_a_turn);
	tcase_add_test(tc, what_nobody_follows_is_read_after_a_moment);
	tcase_add_test(tc, a_follower_has_it_read_at_once);
	tcase_add_test(tc, after_a_full_pipe_the_next_are_read_at_once);
	tcase_add_test(tc, many_young_pipes_are_read_in_their_time);
	tcase_add_test(tc, a_young_pipe_leaves_nothing_to_wait_for);
	tcase_add_test(tc, up_to_64_kib_stay_in_memory);
	tcase_add_test(tc, one_byte_more_goes_to_a_file);
	tcase_add_test(tc, a_drain_may_be_the_first_to_need_a_file);
	tcase_add_test(tc, a_flood_leaves_its_newest_bytes);
	tcase_add_test(tc, small_limits_are_kept_exactly);
	tcase_add_test(tc, a_flooding_descendant_does_not_hold_up_the_drain);
	tcase_add_test(tc, a_follower_at_the_live_edge_sees_no_torn_byte);
	tcase_add_test(tc, a_missing_spool_directory_costs_output_but_no_job);
	tcase_add_test(tc, without_a_thread_the_loop_reads_and_memory_keeps);
	tcase_add_test(tc, no_descriptor_left_is_the_callers_to_know);
	tcase_add_test(tc, the_last_unref_ends_what_runs);
	tcase_add_test(tc, an_unref_during_a_drain_overrides_it);
	tcase_add_test(tc, the_owner_may_let_go_inside_its_handler);
	tcase_add_test(tc, a_detached_capture_tells_nobody);
	tcase_add_test(tc, a_manual_loop_has_no_pipes);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
