/* Connections; see session.h. */
#include "engine/session.h"
#include "engine/context.h"
#include "engine/request.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (64u * 1024u)
#define READS_A_CALLBACK 4  /* then others have their turn */
#define LINES_A_CALL 64
#define CONTROL_FDS 64      /* more than that in one message is refused by truncation */

static void on_read(evutil_socket_t fd, short what, void *arg);
static void on_write(evutil_socket_t fd, short what, void *arg);
static void on_hangup(evutil_socket_t fd, short what, void *arg);
static void on_more(struct slot_call *call);
static void on_reap(struct slot_call *call);
static void on_doom(struct slot_call *call);
static void on_stall(struct slot_timer *timer);

/* ---- making ---- */

static bool
read_peer(struct session *s)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	s->uid = cred.uid;
	s->pid = cred.pid;
	return true;
}

static bool
make_token(struct session *s)
{
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(s->token + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

static uint32_t
connections_of(const struct engine *e, uid_t uid)
{
	const struct session *s;
	uint32_t n = 0;

	TAILQ_FOREACH(s, &e->sessions, entry)
		n += s->uid == uid;
	return n;
}

/* Tells a peer that it is one too many, as far as the socket takes it. */
static void
refuse(struct session *s, const char *what, uint32_t limit)
{
	struct evbuffer *out = evbuffer_new();
	struct rpc_failure f;

	rpc_fail(&f, RPC_LIMIT_EXCEEDED, "too many connections: at most %u %s", limit, what);
	if (out != NULL && rpc_write_failure(out, NULL, &f) == 0)
		evbuffer_write(out, s->fd);
	if (out != NULL)
		evbuffer_free(out);
}

static bool
admitted(struct session *s)
{
	struct engine *e = s->engine;

	if (e->nsessions >= e->limits.max_connections) {
		refuse(s, "in all", e->limits.max_connections);
		return false;
	}
	if (e->limits.max_connections_per_uid != 0 && !s->admin &&
	    connections_of(e, s->uid) >= e->limits.max_connections_per_uid) {
		refuse(s, "of one user", e->limits.max_connections_per_uid);
		return false;
	}
	return true;
}

static bool
make_events(struct session *s)
{
	struct event_base *base = slot_loop_base(s->engine->loop);

	s->out = evbuffer_new();
	if (s->out == NULL)
		return false;
	if (base == NULL)
		return true; /* session_feed, session_take */
	s->read_event = event_new(base, s->fd, EV_READ | EV_PERSIST, on_read, s);
	s->write_event = event_new(base, s->fd, EV_WRITE, on_write, s);
	if (s->read_event == NULL || s->write_event == NULL || event_add(s->read_event, NULL) < 0)
		return false;
	s->reading = true;
	return true;
}

static void
dispose(struct session *s)
{
	if (s->read_event != NULL)
		event_free(s->read_event);
	if (s->write_event != NULL)
		event_free(s->write_event);
	if (s->hangup_event != NULL)
		event_free(s->hangup_event);
	if (s->hangup_fd >= 0)
		close(s->hangup_fd);
	if (s->fd >= 0)
		close(s->fd);
	if (s->out != NULL)
		evbuffer_free(s->out);
	frame_reader_fini(&s->in);
	free(s);
}

struct session *
session_new(struct engine *e, int fd)
{
	struct session *s = calloc(1, sizeof *s);

	if (s == NULL) {
		close(fd);
		return NULL;
	}
	s->engine = e;
	s->refs = 1;
	s->fd = fd;
	s->hangup_fd = -1;
	s->more.run = on_more;
	s->reap.run = on_reap;
	s->reap.drop = on_reap;
	s->doom.run = on_doom;
	s->stall.fire = on_stall;
	TAILQ_INIT(&s->requests);
	LIST_INIT(&s->bound);
	frame_reader_init(&s->in);
	if (!read_peer(s)) {
		dispose(s);
		return NULL;
	}
	s->admin = engine_is_admin(e, s->uid);
	if (!admitted(s) || !make_token(s) || !make_events(s)) {
		dispose(s);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&e->sessions, s, entry);
	e->nsessions++;
	engine_check_idle(e);
	return s;
}

struct session *
session_ref(struct session *s)
{
	s->refs++;
	return s;
}

void
session_unref(struct session *s)
{
	if (--s->refs == 0)
		dispose(s);
}

/* ---- ending ---- */

static void
drop_fds(struct session *s)
{
	for (unsigned i = 0; i < s->nfds; i++)
		close(s->fds[i].fd);
	s->engine->nfds_held -= s->nfds;
	s->nfds = 0;
}

void
session_close(struct session *s, const char *why)
{
	struct engine *e = s->engine;
	struct request *req;

	if (s->closed)
		return;
	s->closed = true;
	slot_log(e->logger, SLOT_LOG_DEBUG, "session closed uid=%u pid=%d why=\"%s\"",
	    (unsigned)s->uid, (int)s->pid, why);
	if (s->read_event != NULL)
		event_del(s->read_event);
	if (s->write_event != NULL)
		event_del(s->write_event);
	if (s->hangup_event != NULL)
		event_del(s->hangup_event);
	slot_loop_timer_clear(e->loop, &s->stall);
	slot_loop_call_cancel(e->loop, &s->more);
	slot_loop_call_cancel(e->loop, &s->doom);
	while ((req = TAILQ_FIRST(&s->requests)) != NULL)
		request_drop(req, false);
	job_cancel_list(e, &s->bound, MSG_REASON_SESSION_ENDED);
	drop_fds(s);
	TAILQ_REMOVE(&e->sessions, s, entry);
	e->nsessions--;
	engine_check_idle(e);
	slot_loop_call_soon(e->loop, &s->reap);
}

static void
on_reap(struct slot_call *call)
{
	struct session *s = slot_container_of(call, struct session, reap);

	if (s->closed)
		session_unref(s);
}

void
session_doom(struct session *s)
{
	if (!s->closed)
		slot_loop_call_soon(s->engine->loop, &s->doom);
}

static void
on_doom(struct slot_call *call)
{
	session_close(slot_container_of(call, struct session, doom), "out of memory");
}

static void
stop_reading(struct session *s)
{
	if (s->reading)
		event_del(s->read_event);
	s->reading = false;
}

/* While nothing is read, only a descriptor of its own, edge-triggered, can tell of a hang-up
 * without ringing all the time. */
static void
watch_hangup(struct session *s)
{
	struct event_base *base = slot_loop_base(s->engine->loop);

	if (s->hangup_event != NULL || base == NULL)
		return;
	s->hangup_fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	if (s->hangup_fd < 0)
		return; /* then the next write tells */
	/* (EV_READ: an error alone, which a peer leaves that had unread bytes, comes as that) */
	s->hangup_event = event_new(base, s->hangup_fd, EV_CLOSED | EV_READ | EV_ET | EV_PERSIST,
	    on_hangup, s);
	if (s->hangup_event != NULL)
		event_add(s->hangup_event, NULL);
}

static void
unwatch_hangup(struct session *s)
{
	if (s->hangup_event != NULL)
		event_free(s->hangup_event);
	if (s->hangup_fd >= 0)
		close(s->hangup_fd);
	s->hangup_event = NULL;
	s->hangup_fd = -1;
}

static bool
hung_up(const struct session *s)
{
	struct pollfd p = { .fd = s->fd };

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

static void
on_hangup(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	if (!s->closed && hung_up(s))
		session_close(s, "hang-up");
}

/* Everything was answered and has left. */
static bool
spent(const struct session *s)
{
	return (s->half_closed || s->closing) && TAILQ_EMPTY(&s->requests) &&
	    s->written == s->appended && !slot_call_queued(&s->more);
}

void
session_finish(struct session *s)
{
	struct request *req;

	if (s->closed || s->closing)
		return;
	s->closing = true;
	stop_reading(s);
	slot_loop_call_cancel(s->engine->loop, &s->more);
	while ((req = TAILQ_FIRST(&s->requests)) != NULL)
		request_drop(req, false);
	watch_hangup(s);
	session_wrote(s);
}

void
session_request_gone(struct session *s)
{
	if (!s->closed && spent(s))
		session_close(s, "done");
}

bool
session_take_over(struct session *s, const char *token)
{
	struct session *old;
	struct job_ties *t;

	TAILQ_FOREACH(old, &s->engine->sessions, entry)
		if (old != s && old->uid == s->uid && strcmp(old->token, token) == 0)
			break;
	if (old == NULL)
		return false;
	while ((t = LIST_FIRST(&old->bound)) != NULL) {
		LIST_REMOVE(t, of_owner);
		LIST_INSERT_HEAD(&s->bound, t, of_owner);
	}
	memcpy(s->token, old->token, sizeof s->token);
	return make_token(old);
}

/* ---- input ---- */

static void
too_many_fds(struct session *s, int fd)
{
	close(fd);
	slot_log(s->engine->logger, SLOT_LOG_WARN, "passed descriptor refused uid=%u held=%u",
	    (unsigned)s->uid, s->nfds);
}

/* A descriptor that came with the byte at `position` belongs to the request that holds it. */
static void
keep_fd(struct session *s, int fd, uint64_t position)
{
	struct engine *e = s->engine;

	if (s->nfds == SESSION_FDS_MAX || e->nfds_held >= SESSION_FDS_TOTAL_MAX) {
		too_many_fds(s, fd);
		return;
	}
	s->fds[s->nfds++] = (struct session_fd){ fd, position };
	e->nfds_held++;
}

/* Descriptors of one recvmsg, whose last byte is at `last`. */
static void
keep_fds(struct session *s, const struct msghdr *msg, uint64_t last)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
	    c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			keep_fd(s, fd, last);
		}
	}
}

void
session_close_fds(struct engine *e, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	e->nfds_held -= n;
}

/* Takes the descriptors that belong to the line (they go on counting as held); those of bytes
 * before it are nobody's. */
static unsigned
take_fds(struct session *s, const struct frame_line *line, int fds[MSG_FDS_MAX])
{
	unsigned n = 0, left = 0;

	for (unsigned i = 0; i < s->nfds; i++) {
		if (s->fds[i].position >= line->end)
			s->fds[left++] = s->fds[i];
		else if (s->fds[i].position >= line->begin)
			fds[n++] = s->fds[i].fd;
		else
			close(s->fds[i].fd);
	}
	s->engine->nfds_held -= s->nfds - left - n;
	s->nfds = left;
	return n;
}

static void
answer_malformed(struct session *s, const json_t *id, const struct rpc_failure *f)
{
	session_wrote_line(s, rpc_write_failure(s->out, id, f));
	if (++s->malformed >= SESSION_MALFORMED_MAX)
		session_finish(s);
}

static void
handle_line(struct session *s, const struct frame_line *line)
{
	int fds[MSG_FDS_MAX];
	unsigned nfds = take_fds(s, line, fds);
	struct rpc_request parsed;
	struct rpc_failure f;

	if (rpc_request_parse(&parsed, line->ptr, line->len, &f) < 0) {
		answer_malformed(s, parsed.id, &f);
		rpc_request_fini(&parsed);
		session_close_fds(s->engine, fds, nfds);
		return;
	}
	s->malformed = 0;
	request_handle(s, &parsed, fds, nfds);
}

static bool
may_read(const struct session *s)
{
	return !s->closed && !s->closing && session_backlog(s) <= SESSION_INPUT_HIGH &&
	    s->nrequests - s->nwaiting < SESSION_PARKED_MAX;
}

/* Handles complete lines; false: stopped early, lines may be left. */
static bool
handle_lines(struct session *s)
{
	for (unsigned n = 0; may_read(s); n++) {
		struct frame_line line;
		struct rpc_failure f;

		if (n == LINES_A_CALL) {
			slot_loop_call_soon(s->engine->loop, &s->more);
			return false;
		}
		switch (frame_reader_next(&s->in, &line)) {
		case FRAME_NONE:
			if (!s->half_closed || frame_reader_rest(&s->in, &line) != FRAME_LINE)
				return true;
			handle_line(s, &line);
			return true;
		case FRAME_LINE:
			handle_line(s, &line);
			break;
		case FRAME_TOO_LARGE:
			rpc_fail(&f, RPC_FRAME_TOO_LARGE, "a line is at most %u bytes", FRAME_MAX);
			answer_malformed(s, NULL, &f);
			break;
		}
	}
	return false;
}

static void
resume_reading(struct session *s)
{
	if (s->reading || s->half_closed || s->closing || s->closed || s->read_event == NULL ||
	    slot_call_queued(&s->more) || !may_read(s))
		return;
	unwatch_hangup(s);
	event_add(s->read_event, NULL);
	s->reading = true;
}

static void
process(struct session *s)
{
	session_ref(s);
	if (!handle_lines(s) && !s->closed) {
		stop_reading(s);
		if (!s->closing && !slot_call_queued(&s->more))
			watch_hangup(s);
	} else {
		resume_reading(s);
	}
	if (!s->closed && spent(s))
		session_close(s, "done");
	session_unref(s);
}

static void
on_more(struct slot_call *call)
{
	process(slot_container_of(call, struct session, more));
}

static void
end_of_input(struct session *s)
{
	if (hung_up(s)) {
		session_close(s, "peer closed");
		return;
	}
	s->half_closed = true;
	stop_reading(s);
	watch_hangup(s);
	process(s);
}

static ssize_t
receive(struct session *s, char *buf)
{
	union {
		char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { buf, READ_SIZE };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes,
	};
	ssize_t n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n >= 0 && msg.msg_controllen > 0)
		keep_fds(s, &msg, frame_reader_position(&s->in) + (uint64_t)(n > 0 ? n - 1 : 0));
	return n;
}

/* The peer's next bytes, or (0) the end of them; false: nothing more is to be read now. */
static bool
take_in(struct session *s, const void *bytes, size_t len)
{
	if (len == 0) {
		end_of_input(s);
		return false;
	}
	s->engine->stats.bytes_in += len;
	if (frame_reader_feed(&s->in, bytes, len) < 0) {
		session_close(s, "out of memory");
		return false;
	}
	process(s);
	return true;
}

void
session_feed(struct session *s, const void *bytes, size_t len, const int *fds, unsigned nfds)
{
	session_ref(s);
	for (unsigned i = 0; i < nfds; i++)
		keep_fd(s, fds[i], frame_reader_position(&s->in) + (len > 0 ? len - 1 : 0));
	if (!s->closed)
		take_in(s, bytes, len);
	session_unref(s);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;
	char buf[READ_SIZE];

	(void)fd;
	(void)what;
	session_ref(s);
	for (int i = 0; i < READS_A_CALLBACK && s->reading && !s->closed; i++) {
		ssize_t n = receive(s, buf);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			session_close(s, "read error");
			break;
		}
		if (!take_in(s, buf, (size_t)n) || (size_t)n < READ_SIZE)
			break;
	}
	session_unref(s);
}

/* ---- output ---- */

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

static void
on_stall(struct slot_timer *timer)
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
		if (spent(s))
			session_close(s, "done");
		else if (!s->reading && may_read(s) && !slot_call_queued(&s->more))
			slot_loop_call_soon(s->engine->loop, &s->more);
	}
	session_unref(s);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
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
