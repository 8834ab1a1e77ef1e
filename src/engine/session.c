/* Connections from accept to close; see session.h. */
#include "engine/session.h"
#include "engine/context.h"
#include "engine/orphans.h"
#include "engine/request.h"
#include "engine/session_io.h"

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

static void on_hangup(evutil_socket_t fd, short what, void *arg);
static void on_reap(struct slot_call *call);
static void on_doom(struct slot_call *call);

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

static void
take_id(struct session *s, const uint8_t *id)
{
	memcpy(s->id, id, sizeof s->id);
	for (size_t i = 0; i < sizeof s->id; i++)
		snprintf(s->token + 2 * i, 3, "%02x", id[i]);
}

static bool
make_token(struct session *s)
{
	uint8_t id[ROW_SESSION_LEN];

	if (getrandom(id, sizeof id, 0) != sizeof id)
		return false;
	take_id(s, id);
	return true;
}

/* False: not a token that we could have given out. */
static bool
parse_token(const char *token, uint8_t id[ROW_SESSION_LEN])
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(token) != 2 * ROW_SESSION_LEN)
		return false;
	for (size_t i = 0; i < 2 * ROW_SESSION_LEN; i++) {
		const char *digit = strchr(digits, token[i]);

		if (digit == NULL)
			return false;
		id[i / 2] = (uint8_t)(id[i / 2] << 4 | (digit - digits));
	}
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
	s->read_event = event_new(base, s->fd, EV_READ | EV_PERSIST, session_on_read, s);
	s->write_event = event_new(base, s->fd, EV_WRITE, session_on_write, s);
	if (s->read_event == NULL || s->write_event == NULL)
		return false;
	if (!s->engine->serving)
		return true; /* session_begin */
	s->reading = event_add(s->read_event, NULL) == 0;
	return s->reading;
}

void
session_begin(struct session *s)
{
	if (!s->closed && !s->reading)
		slot_loop_call_soon(s->engine->loop, &s->more);
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
	s->more.run = session_on_more;
	s->reap.run = on_reap;
	s->reap.drop = on_reap;
	s->doom.run = on_doom;
	s->stall.fire = session_on_stall;
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
	if (!e->serving)
		session_watch_hangup(s);
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
	orphans_add(e, &s->bound, MSG_REASON_SESSION_ENDED);
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

/* While nothing is read, only a descriptor of its own, edge-triggered, can tell of a hang-up
 * without ringing all the time. */
void
session_watch_hangup(struct session *s)
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

void
session_unwatch_hangup(struct session *s)
{
	if (s->hangup_event != NULL)
		event_free(s->hangup_event);
	if (s->hangup_fd >= 0)
		close(s->hangup_fd);
	s->hangup_event = NULL;
	s->hangup_fd = -1;
}

bool
session_hung_up(const struct session *s)
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
	if (!s->closed && session_hung_up(s))
		session_close(s, "hang-up");
}

/* Everything was answered and has left. */
bool
session_spent(const struct session *s)
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
	session_stop_reading(s);
	slot_loop_call_cancel(s->engine->loop, &s->more);
	while ((req = TAILQ_FIRST(&s->requests)) != NULL)
		request_drop(req, false);
	session_watch_hangup(s);
	session_wrote(s);
}

void
session_request_gone(struct session *s)
{
	if (!s->closed && session_spent(s))
		session_close(s, "done");
}

static struct session *
find_other(const struct session *s, const uint8_t *id)
{
	struct session *old;

	TAILQ_FOREACH(old, &s->engine->sessions, entry)
		if (old != s && old->uid == s->uid && memcmp(old->id, id, sizeof old->id) == 0)
			break;
	return old;
}

int
session_take_over(struct session *s, const char *token)
{
	struct engine *e = s->engine;
	uint8_t id[ROW_SESSION_LEN] = { 0 };
	struct session *old;
	struct job_ties *t;

	if (!parse_token(token, id) || memcmp(s->id, id, sizeof id) == 0)
		return 0;
	old = find_other(s, id);
	if (old == NULL && !orphans_await_it(e, s->uid, id))
		return 0;
	if (e->store->durable && (s->named || !LIST_EMPTY(&s->bound)))
		return -EBUSY;
	orphans_claim(e, s->uid, id, &s->bound);
	while (old != NULL && (t = LIST_FIRST(&old->bound)) != NULL) {
		LIST_REMOVE(t, of_owner);
		LIST_INSERT_HEAD(&s->bound, t, of_owner);
	}
	take_id(s, id);
	if (old != NULL)
		make_token(old); /* (without: two with one id, of which the older has nothing) */
	return 0;
}
