/*
 * One epoll of its own, one event at a time, so that between two pieces of one pipe every
 * other pipe and every request gets its turn: a drain waits for one piece at most.
 */
#include "engine/capture_thread.h"

#include "core/failpoint.h"
#include "engine/capture_files.h"
#include "store/thread.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIG_PIPE_BYTES (1024 * 1024)
#define BIG_PIPES_MAX 16 /* pages of pipes are limited per user: leave some for plain ones */

#define FILES_A_TURN 4 /* dropped before the next pipe has its turn */

struct capture_thread {
	pthread_t thread;
	struct capture_files files;
	struct ring_group *group;
	int64_t files_max;
	struct spool_landing *landing;
	capture_note_cb on_note;
	void *arg;
	struct event *notes_event;
	int epoll_fd;
	int request_fd; /* eventfd: the loop wakes the thread */
	int note_fd;    /* eventfd: the thread wakes the loop */
	unsigned big_pipes; /* the loop's */

	/* Under group->lock. */
	STAILQ_HEAD(, capture_pipe) requests, notes;
	bool stop;
};

static void
lock(struct capture_thread *t)
{
	pthread_mutex_lock(&t->group->lock);
}

static void
unlock(struct capture_thread *t)
{
	pthread_mutex_unlock(&t->group->lock);
}

static void
wake(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR); /* EAGAIN: it is awake */
}

static void
swallow(int fd)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(fd, &count, sizeof(count));
	while (n < 0 && errno == EINTR);
}

/* ---- pipes ---- */

size_t
capture_pipe_held(const struct capture_pipe *p)
{
	int held;

	return ioctl(p->read_fd, FIONREAD, &held) == 0 && held > 0 ? (size_t)held : 0;
}

ssize_t
capture_pipe_read(const struct capture_pipe *p, struct spool_landing *l, size_t held, size_t max)
{
	const struct spool_landing_for whose = {p->ring->name, p->ring->limit, p->ring->end};
	size_t len = held > 0 ? held : 1; /* to see whether it is at its end */
	ssize_t n;

	if (len > max)
		len = max;
	if (len > l->size)
		len = l->size;
	spool_landing_expect(l, &whose, len);
	do
		n = read(p->read_fd, l->bytes, len);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		failpoint(FAILPOINT_OUTPUT_READ);
		spool_landing_came(l, (size_t)n);
	} else {
		spool_landing_clear(l);
	}
	return n;
}

void
capture_pipe_kept(struct spool_landing *l)
{
	failpoint(FAILPOINT_OUTPUT_KEPT);
	spool_landing_clear(l);
}

/* ---- the thread's side ---- */

static void
post(struct capture_thread *t, struct capture_pipe *p, enum capture_note note)
{
	bool first;

	lock(t);
	first = STAILQ_EMPTY(&t->notes);
	if (p->notes == 0)
		STAILQ_INSERT_TAIL(&t->notes, p, in_notes);
	p->notes |= note;
	unlock(t);
	/* After CLOSED `p` may be gone by now. */
	if (first)
		wake(t->note_fd);
}

static void
move_to_file(struct capture_thread *t, struct ring *r)
{
	int fd, error;

	if (atomic_load_explicit(&t->group->files, memory_order_relaxed) >= t->files_max) {
		ring_pin(r, EMFILE);
		return;
	}
	fd = capture_files_create(&t->files, &r->name);
	if (fd < 0) {
		ring_pin(r, -fd);
		return;
	}
	error = ring_move_to_file(r, fd);
	if (error) {
		capture_files_undo(&t->files, fd, &r->name);
		ring_pin(r, -error);
	}
}

/* Reads once, of the `held` bytes, into the ring. The result is read's. */
static ssize_t
read_piece(struct capture_thread *t, struct capture_pipe *p, size_t held)
{
	ssize_t n = capture_pipe_read(p, t->landing, held, SIZE_MAX);

	if (n <= 0)
		return n;
	if (ring_needs_file(p->ring, (size_t)n))
		move_to_file(t, p->ring);
	ring_append(p->ring, t->landing->bytes, (size_t)n);
	capture_pipe_kept(t->landing);
	return n;
}

static void
on_pipe_ready(struct capture_thread *t, struct capture_pipe *p)
{
	ssize_t n = read_piece(t, p, capture_pipe_held(p));

	if (n > 0) {
		if (atomic_load_explicit(&p->want_data, memory_order_relaxed))
			post(t, p, CAPTURE_NOTE_DATA);
		return;
	}
	/* The end, when all that write are gone, would come again and again. */
	if (n == 0 || errno != EAGAIN)
		epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, p->read_fd, NULL);
}

static void
drain(struct capture_thread *t, struct capture_pipe *p)
{
	size_t held = capture_pipe_held(p);

	while (held > 0) {
		ssize_t n = read_piece(t, p, held);

		if (n <= 0)
			return;
		held -= (size_t)n;
	}
}

static void
close_pipe(struct capture_thread *t, struct capture_pipe *p)
{
	/* Not left to close: another process may hold the read end too. */
	epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, p->read_fd, NULL);
	close(p->read_fd);
	p->read_fd = -1;
	post(t, p, CAPTURE_NOTE_CLOSED);
}

enum served { SERVED_ALL, SERVED_FILES_LEFT, SERVED_STOP };

/* Does what was asked for with pipes, then drops some files (at the end: all). */
static enum served
serve_requests(struct capture_thread *t)
{
	for (;;) {
		enum capture_request request = CAPTURE_REQUEST_NONE;
		struct capture_pipe *p;
		bool stop;

		lock(t);
		p = STAILQ_FIRST(&t->requests);
		if (p) {
			STAILQ_REMOVE_HEAD(&t->requests, in_requests);
			request = p->request;
		}
		stop = t->stop;
		unlock(t);

		if (p) {
			if (request == CAPTURE_REQUEST_DRAIN)
				drain(t, p);
			close_pipe(t, p);
		} else if (stop) {
			capture_files_drop(&t->files, UINT_MAX);
			return SERVED_STOP;
		} else {
			return capture_files_drop(&t->files, FILES_A_TURN) ? SERVED_FILES_LEFT
			                                                   : SERVED_ALL;
		}
	}
}

static void *
thread_main(void *arg)
{
	struct capture_thread *t = arg;
	enum served served = SERVED_ALL;

	do {
		struct epoll_event ev;

		if (epoll_wait(t->epoll_fd, &ev, 1, served == SERVED_FILES_LEFT ? 0 : -1) == 1) {
			if (ev.data.ptr)
				on_pipe_ready(t, ev.data.ptr);
			else
				swallow(t->request_fd);
		}
		served = serve_requests(t);
	} while (served != SERVED_STOP);
	return NULL;
}

/* ---- the loop's side ---- */

/* Hands out the notes that are there now; those that come meanwhile wake the loop again. */
static void
deliver_notes(struct capture_thread *t)
{
	STAILQ_HEAD(, capture_pipe) batch = STAILQ_HEAD_INITIALIZER(batch);
	struct capture_pipe *p;

	lock(t);
	STAILQ_CONCAT(&batch, &t->notes);
	unlock(t);
	while ((p = STAILQ_FIRST(&batch)) != NULL) {
		unsigned notes;

		lock(t);
		STAILQ_REMOVE_HEAD(&batch, in_notes);
		notes = p->notes;
		p->notes = 0;
		unlock(t);
		if ((notes & CAPTURE_NOTE_CLOSED) && p->enlarged)
			t->big_pipes--;
		t->on_note(p, notes, t->arg);
	}
}

static void
on_notes(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	swallow(fd);
	deliver_notes(arg);
}

static void
free_parts(struct capture_thread *t)
{
	if (t->notes_event)
		event_free(t->notes_event);
	if (t->epoll_fd >= 0)
		close(t->epoll_fd);
	if (t->request_fd >= 0)
		close(t->request_fd);
	if (t->note_fd >= 0)
		close(t->note_fd);
	free(t);
}

static int
open_parts(struct capture_thread *t, struct event_base *base)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll_fd < 0)
		return errno;
	t->request_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->request_fd < 0)
		return errno;
	t->note_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->note_fd < 0)
		return errno;
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->request_fd, &ev) < 0)
		return errno;
	t->notes_event = event_new(base, t->note_fd, EV_READ | EV_PERSIST, on_notes, t);
	if (!t->notes_event || event_add(t->notes_event, NULL) < 0)
		return ENOMEM;
	return 0;
}

struct capture_thread *
capture_thread_new(struct event_base *base, const struct capture_thread_options *options,
    int *error)
{
	struct capture_thread *t = calloc(1, sizeof(*t));
	int e;

	if (!t) {
		*error = -ENOMEM;
		return NULL;
	}
	capture_files_init(&t->files, options->files_dir, &options->group->lock);
	t->group = options->group;
	t->files_max = options->files_max;
	t->landing = options->landing;
	t->on_note = options->on_note;
	t->arg = options->arg;
	t->epoll_fd = t->request_fd = t->note_fd = -1;
	STAILQ_INIT(&t->requests);
	STAILQ_INIT(&t->notes);
	e = open_parts(t, base);
	if (e == 0)
		e = -thread_start(&t->thread, "slotd-output", thread_main, t);
	if (e == 0)
		return t;
	*error = -e;
	free_parts(t);
	return NULL;
}

void
capture_thread_free(struct capture_thread *t)
{
	if (!t)
		return;
	lock(t);
	t->stop = true;
	unlock(t);
	wake(t->request_fd);
	pthread_join(t->thread, NULL);
	deliver_notes(t);
	free_parts(t);
}

int
capture_thread_take(struct capture_thread *t, struct capture_pipe *p)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};
	int error;

	p->request = CAPTURE_REQUEST_NONE;
	p->notes = 0;
	p->enlarged = t->big_pipes < BIG_PIPES_MAX
	    && fcntl(p->read_fd, F_SETPIPE_SZ, BIG_PIPE_BYTES) > 0;
	if (p->enlarged)
		t->big_pipes++;
	/* The last line: from here on `p` is the thread's. */
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, p->read_fd, &ev) == 0)
		return 0;
	error = -errno;
	if (p->enlarged) {
		p->enlarged = false;
		t->big_pipes--;
	}
	return error;
}

void
capture_thread_request(struct capture_thread *t, struct capture_pipe *p,
    enum capture_request request)
{
	bool queued;

	lock(t);
	queued = p->request != CAPTURE_REQUEST_NONE;
	p->request = request;
	if (!queued)
		STAILQ_INSERT_TAIL(&t->requests, p, in_requests);
	unlock(t);
	if (!queued)
		wake(t->request_fd);
}

void
capture_thread_drop_file(struct capture_thread *t, int fd, const struct ring_name *name)
{
	capture_files_add(&t->files, fd, name);
	wake(t->request_fd);
}
