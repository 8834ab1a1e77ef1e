/*
 * A job that is short and writes little is the common case, and costs a pipe and one look at the
 * end: a pipe that nobody follows is not watched for its first moments. A job that fills it in
 * that time waits a little, so after one that did, those of the next jobs are watched at once.
 */
#include "engine/capture_stream.h"

#include "core/container.h"
#include "core/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BIG_FILE_BYTES (1024 * 1024) /* not closed on the loop */
#define UNWATCHED_US 10000 /* a young pipe; then the loop reads it … */
#define EAGER_STREAMS 128  /* … and after one of more than memory takes, these many at once */

enum watch_state {
	WATCH_LATER, /* among pool->unwatched */
	WATCH_LOOP,  /* ev is added */
	WATCH_LENT,  /* the thread reads it */
};

/* An open pipe. */
struct capture_watch {
	struct capture_stream *stream;
	struct capture_pipe pipe;
	struct event ev;
	enum watch_state state;
	bool nonblocking;
	int64_t due_us; /* of WATCH_LATER */
	TAILQ_ENTRY(capture_watch) in_unwatched;
};

static struct capture_pool *
stream_pool(const struct capture_stream *s)
{
	return slot_container_of(s->ring.group, struct capture_pool, group);
}

/* ---- being watched ---- */

static void
watch_end(struct capture_watch *w)
{
	switch (w->state) {
	case WATCH_LATER:
		TAILQ_REMOVE(&stream_pool(w->stream)->unwatched, w, in_unwatched);
		return;
	case WATCH_LOOP:
		event_del(&w->ev);
		return;
	case WATCH_LENT:
		return;
	}
}

/* Whether the loop reads it now. */
static bool
watch_begin(struct capture_watch *w)
{
	if (event_add(&w->ev, NULL) < 0)
		return false;
	if (w->state == WATCH_LATER)
		TAILQ_REMOVE(&stream_pool(w->stream)->unwatched, w, in_unwatched);
	w->state = WATCH_LOOP;
	return true;
}

/* The timer is left alone when the pipe that it was set for goes: at worst it rings once in vain. */
static bool
set_timer(struct capture_pool *pool)
{
	const struct capture_watch *first = TAILQ_FIRST(&pool->unwatched);

	return !first || slot_timer_armed(&pool->watch_timer) ||
	    slot_loop_timer_set(pool->loop, &pool->watch_timer, first->due_us) == 0;
}

static void
on_watch_timer(struct slot_timer *timer)
{
	struct capture_pool *pool = slot_container_of(timer, struct capture_pool, watch_timer);
	int64_t now_us = slot_loop_now_us(pool->loop);
	struct capture_watch *w;

	while ((w = TAILQ_FIRST(&pool->unwatched)) != NULL && w->due_us <= now_us)
		if (!watch_begin(w)) { /* the kernel is short of memory */
			w->due_us = now_us + UNWATCHED_US;
			break;
		}
	(void)set_timer(pool); /* (it had its place in the heap) */
}

static void
watch_later(struct capture_watch *w)
{
	struct capture_pool *pool = stream_pool(w->stream);

	w->state = WATCH_LATER;
	w->due_us = slot_loop_now_us(pool->loop) + UNWATCHED_US;
	TAILQ_INSERT_TAIL(&pool->unwatched, w, in_unwatched);
}

/* The loop reads it, now or soon. */
static bool
watch_soon(struct capture_watch *w, bool at_once)
{
	struct capture_pool *pool = stream_pool(w->stream);

	if (pool->eager > 0) {
		pool->eager--;
		at_once = true;
	}
	watch_later(w);
	if ((!at_once && set_timer(pool)) || watch_begin(w))
		return true;
	watch_end(w);
	return false;
}

void
capture_pool_watch_init(struct capture_pool *pool)
{
	TAILQ_INIT(&pool->unwatched);
	pool->watch_timer.fire = on_watch_timer;
}

/* ---- the end ---- */

void
capture_pool_drop_file(struct capture_pool *pool, int fd, int64_t size,
    const struct ring_name *name)
{
	char text[RING_NAME_MAX];
	int error;

	if (fd < 0 && !name)
		return;
	if (name)
		capture_pool_thread(pool, &error);
	if (pool->thread && (name || size > BIG_FILE_BYTES)) {
		capture_thread_drop_file(pool->thread, fd, name);
		return;
	}
	if (name) {
		ring_name_format(name, text);
		ring_file_unlink(pool->files_dir, text);
	}
	if (fd >= 0)
		close(fd);
}

/* What a ring gave back, if it gave something. */
static void
drop_file(struct capture_stream *s, int fd, int64_t size)
{
	struct ring *r = &s->ring;

	if (fd >= 0)
		capture_pool_drop_file(stream_pool(s), fd, size,
		    r->name.job != 0 && !r->keep_file ? &r->name : NULL);
}

/* The pipe is closed, its last byte is in the ring. */
static void
watch_finish(struct capture_watch *w)
{
	struct capture_stream *s = w->stream;
	int64_t size = ring_storage_bytes(&s->ring);

	s->watch = NULL;
	free(w);
	if (!stream_pool(s)->leaving)
		drop_file(s, ring_finish(&s->ring), size);
}

/* Closes a pipe that is not lent. */
static void
watch_close(struct capture_watch *w)
{
	watch_end(w);
	close(w->pipe.read_fd);
	watch_finish(w);
}

/* ---- lending a pipe to the thread ---- */

static void
on_note(struct capture_pipe *p, unsigned notes, void *arg)
{
	struct capture_watch *w = slot_container_of(p, struct capture_watch, pipe);
	struct capture_stream *s = w->stream;
	struct capture_pool *pool = arg;

	pool->on_data(s); /* at CLOSED too: the drain may have brought more */
	if (!(notes & CAPTURE_NOTE_CLOSED))
		return;
	ring_set_shared(&s->ring, false);
	watch_finish(w);
	pool->on_closed(s);
}

static void
make_nonblocking(struct capture_watch *w)
{
	/* Not at the opening: a silent pipe is never read, and saves the call. */
	if (!w->nonblocking)
		w->nonblocking = fcntl(w->pipe.read_fd, F_SETFL, O_RDONLY | O_NONBLOCK) == 0;
}

struct capture_thread *
capture_pool_thread(struct capture_pool *pool, int *error)
{
	const struct capture_thread_options options = {
		.files_dir = pool->files_dir,
		.files_max = pool->files_max,
		.group = &pool->group,
		.landing = &pool->landings->thread,
		.on_note = on_note,
		.arg = pool,
	};

	if (!pool->thread && !pool->ending)
		pool->thread = capture_thread_new(slot_loop_base(pool->loop), &options, error);
	return pool->thread;
}

static int
give_to_thread(struct capture_watch *w)
{
	struct ring *r = &w->stream->ring;
	int error;

	make_nonblocking(w);
	watch_end(w);
	ring_set_shared(r, true);
	w->state = WATCH_LENT;
	error = capture_thread_take(stream_pool(w->stream)->thread, &w->pipe);
	if (error == 0)
		return 0;
	ring_set_shared(r, false);
	watch_later(w);
	if (!watch_begin(w)) /* the kernel is short of memory */
		(void)set_timer(stream_pool(w->stream));
	return error;
}

/* If it can't be lent, the loop reads on, and keeps what memory holds. */
static void
watch_lend(struct capture_watch *w)
{
	struct capture_pool *pool = stream_pool(w->stream);
	struct ring *r = &w->stream->ring;
	int error = 0;

	pool->eager = EAGER_STREAMS;
	if (capture_pool_thread(pool, &error))
		error = give_to_thread(w);
	if (error && r->fd < 0 && r->limit > RING_MEMORY_MAX)
		ring_pin(r, -error);
}

/* ---- reading on the loop ---- */

/* Reads once, at most `max` of the `held` bytes, into the ring. How many, 0 if nothing was there. */
static size_t
watch_read(struct capture_watch *w, size_t held, size_t max)
{
	struct spool_landing *landing = &stream_pool(w->stream)->landings->loop;
	ssize_t n;

	make_nonblocking(w);
	n = capture_pipe_read(&w->pipe, landing, held, max);
	if (n > 0) {
		ring_append(&w->stream->ring, landing->bytes, (size_t)n);
		capture_pipe_kept(landing);
		return (size_t)n;
	}
	/* The end, when all that write are gone, would come again and again. */
	if (n == 0 || errno != EAGAIN)
		event_del(&w->ev);
	return 0;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct capture_watch *w = arg;
	struct ring *r = &w->stream->ring;
	size_t max = RING_MEMORY_MAX;

	(void)fd, (void)what;
	/* Up to what memory takes; the file is the thread's business. */
	if (r->end < RING_MEMORY_MAX)
		max = (size_t)(RING_MEMORY_MAX - r->end);
	if (watch_read(w, capture_pipe_held(&w->pipe), max) == 0)
		return;
	stream_pool(w->stream)->on_data(w->stream);
	if (r->end >= RING_MEMORY_MAX)
		watch_lend(w);
}

void
capture_stream_drain(struct capture_stream *s)
{
	struct capture_watch *w = s->watch;
	size_t held = 0;

	if (!w)
		return;
	if (w->state != WATCH_LENT) {
		held = capture_pipe_held(&w->pipe);
		if (held > 0 && ring_needs_file(&s->ring, held))
			watch_lend(w);
	}
	if (w->state == WATCH_LENT) {
		capture_thread_request(stream_pool(s)->thread, &w->pipe, CAPTURE_REQUEST_DRAIN);
		return;
	}
	if (held > 0)
		stream_pool(s)->on_data(s);
	while (held > 0) {
		size_t n = watch_read(w, held, held);

		if (n == 0)
			break;
		held -= n;
	}
	watch_close(w);
}

void
capture_stream_drop(struct capture_stream *s)
{
	struct capture_watch *w = s->watch;

	if (w && w->state == WATCH_LENT)
		capture_thread_request(stream_pool(s)->thread, &w->pipe, CAPTURE_REQUEST_DROP);
	else if (w)
		watch_close(w);
}

/* ---- streams ---- */

void
capture_stream_init(struct capture_stream *s, struct capture_pool *pool, uint8_t number,
    int64_t limit_bytes)
{
	ring_init(&s->ring, &pool->group, limit_bytes);
	s->watch = NULL;
	s->number = number;
	s->opened = false;
}

void
capture_stream_fini(struct capture_stream *s)
{
	int64_t size = ring_storage_bytes(&s->ring);

	if (stream_pool(s)->leaving)
		drop_file(s, ring_leave(&s->ring), size);
	else
		drop_file(s, ring_fini(&s->ring), size);
}

/* ---- pipes, new and handed back ---- */

/* Takes the read end on success. 0 or -errno. */
static int
watch_pipe(struct capture_stream *s, int read_fd, bool want_data, bool at_once)
{
	struct event_base *base = slot_loop_base(stream_pool(s)->loop);
	struct capture_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->stream = s;
	w->pipe.read_fd = read_fd;
	w->pipe.ring = &s->ring;
	atomic_init(&w->pipe.want_data, want_data);
	if (event_assign(&w->ev, base, read_fd, EV_READ | EV_PERSIST, on_readable, w) < 0
	    || !watch_soon(w, at_once)) {
		free(w);
		return -ENOMEM;
	}
	s->watch = w;
	return 0;
}

int
capture_stream_open(struct capture_stream *s, bool want_data, int *write_end)
{
	int error, fds[2];

	if (!slot_loop_base(stream_pool(s)->loop))
		return -ENOTSUP;
	if (s->opened)
		return -EALREADY;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	error = watch_pipe(s, fds[0], want_data, want_data);
	if (error) {
		close(fds[0]);
		close(fds[1]);
		return error;
	}
	s->opened = true;
	*write_end = fds[1];
	return 0;
}

int
capture_stream_adopt(struct capture_stream *s, bool want_data, int read_end)
{
	int error;

	if (s->opened) {
		if (read_end >= 0)
			close(read_end);
		return -EALREADY;
	}
	s->opened = true;
	ring_adopt(&s->ring);
	if (read_end < 0)
		return 0;
	if (!slot_loop_base(stream_pool(s)->loop)) {
		close(read_end);
		return -ENOTSUP;
	}
	error = watch_pipe(s, read_end, want_data, true);
	if (error) {
		close(read_end);
		return error;
	}
	if (s->ring.fd >= 0 || s->ring.end >= RING_MEMORY_MAX)
		watch_lend(s->watch);
	return 0;
}

int
capture_stream_dup(const struct capture_stream *s)
{
	int fd;

	if (!s->watch || s->watch->state == WATCH_LENT) /* (a lent one is the thread's to close) */
		return -EBADF;
	fd = fcntl(s->watch->pipe.read_fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

bool
capture_stream_closed(const struct capture_stream *s)
{
	return !s->watch;
}

void
capture_stream_want_data(struct capture_stream *s, bool want)
{
	struct capture_watch *w = s->watch;

	if (!w)
		return;
	atomic_store_explicit(&w->pipe.want_data, want, memory_order_relaxed);
	if (want && w->state == WATCH_LATER)
		watch_begin(w); /* (if it can't be yet, it will be when it is due) */
}
