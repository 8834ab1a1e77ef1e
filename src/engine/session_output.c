/* What a client is sent: bytes wait for their batch, then for the kernel; see session.h. */
#include "engine/context.h"
#include "engine/request.h"
#include "engine/session.h"
#include "engine/session_io.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>

size_t
session_backlog(const struct session *s)
{
	return (size_t)(s->appended - s->written);
}

void
session_wrote(struct session *s)
{
	uint64_t held = (uint64_t)evbuffer_get_length(s->out);

	s->appended = s->written + held;
	if (!s->closed)
		batch_mark(s->engine, s);
}

void
session_wrote_line(struct session *s, int rc)
{
	session_wrote(s);
	if (rc < 0)
		session_doom(s);
}

static void
watch_stall(struct session *s)
{
	struct engine *e = s->engine;

	if (s->written == s->appended || e->limits.stall_timeout_ms == 0)
		slot_loop_timer_clear(e->loop, &s->stall);
	else
		slot_loop_timer_set(e->loop, &s->stall,
		    slot_loop_now_us(e->loop) + e->limits.stall_timeout_ms * 1000);
}

void
session_on_stall(struct slot_timer *timer)
{
	struct session *s = slot_container_of(timer, struct session, stall);

	slot_log(s->engine->logger, SLOT_LOG_WARN, "client stalled uid=%u pid=%d backlog=%zu",
	    (unsigned)s->uid, (int)s->pid, session_backlog(s));
	session_close(s, "no write progress");
}

static void
count_written(struct session *s, size_t n)
{
	s->written += n;
	s->engine->stats.bytes_out += n;
	watch_stall(s);
}

/* As write(2); on a manual loop the socket is always full. */
static int
write_released(struct session *s)
{
	if (s->write_event == NULL) {
		errno = EAGAIN;
		return -1;
	}
	return evbuffer_write_atmost(s->out, s->fd, (ev_ssize_t)(s->released - s->written));
}

/* Writes what was released; false: the session is gone. */
static bool
flush(struct session *s)
{
	while (s->written < s->released) {
		int n = write_released(s);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (s->write_event != NULL)
				event_add(s->write_event, NULL);
			if (!slot_timer_armed(&s->stall))
				watch_stall(s);
			return true;
		}
		if (n <= 0) {
			session_close(s, "write error");
			return false;
		}
		count_written(s, (size_t)n);
	}
	return true;
}

static void
push_out(struct session *s)
{
	if (s->closed)
		return;
	session_ref(s);
	if (flush(s)) {
		request_session_progress(s);
		if (s->engine->shutting_down)
			engine_check_idle(s->engine);
		if (session_spent(s))
			session_close(s, "done");
		else if (!s->reading && session_may_read(s) && !slot_call_queued(&s->more))
			slot_loop_call_soon(s->engine->loop, &s->more);
	}
	session_unref(s);
}

void
session_on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	push_out(arg);
}

size_t
session_take(struct session *s, void *buf, size_t max)
{
	size_t n = s->closed ? 0 : (size_t)(s->released - s->written);

	if (n > max)
		n = max;
	if (n == 0)
		return 0;
	evbuffer_remove(s->out, buf, n);
	count_written(s, n);
	push_out(s);
	return n;
}

void
session_release(struct session *s, uint64_t position)
{
	if (s->closed || position < s->released)
		return;
	s->released = position;
	push_out(s);
}
