/*
 * The life of a connection, and what is sent: requests become frames in an outbox, which goes out
 * once a turn.
 */
#define _GNU_SOURCE 1
#include "launch/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACK_WAIT_MS 5  /* that acknowledgements alone wait for another frame */
#define GOODBYE_MS 200 /* how long free waits for a launcher that has nothing to do */

static struct conn *conn_of(struct launch *l)
{
	return (struct conn *)l;
}

/* ---- the end of a connection ---- */

static void drop_requests(struct conn *c)
{
	outbox_clear(&c->outbox);
	outbox_clear(&c->early);
}

void conn_destroy(struct conn *c)
{
	drop_requests(c);
	if (c->readable)
		event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	if (c->retry)
		event_free(c->retry);
	if (c->died)
		event_free(c->died);
	if (c->fd >= 0)
		close(c->fd);
	if (c->pidfd >= 0)
		close(c->pidfd);
	free(c);
}

/* Handlers may free the connection; it goes when the last of them has returned. */
void conn_calls_begin(struct conn *c)
{
	c->calls++;
}

void conn_calls_end(struct conn *c)
{
	if (--c->calls == 0 && c->freed)
		conn_destroy(c);
}

/* Reaps the launcher if it has ended, and says how in c->why. */
bool conn_reap(struct conn *c)
{
	int status;
	pid_t pid;

	if (c->pid == 0)
		return true;
	do
		pid = waitpid(c->pid, &status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == 0 || (pid < 0 && c->durable && !c->died_told))
		return false;
	c->pid = 0;
	if (pid < 0)
		snprintf(c->why, sizeof(c->why), "slotd-launcher ended");
	else if (WIFSIGNALED(status))
		snprintf(c->why, sizeof(c->why), "slotd-launcher was killed by signal %d",
		    WTERMSIG(status));
	else
		snprintf(c->why, sizeof(c->why), "slotd-launcher exited with status %d",
		    WEXITSTATUS(status));
	return true;
}

/* The launcher can't be talked to any more. Told once. */
void conn_lose(struct conn *c, const char *why)
{
	if (c->lost || c->freed)
		return;
	c->lost = true;
	drop_requests(c);
	event_del(c->readable);
	event_del(c->writable);
	event_del(c->retry);
	if (!c->why[0])
		snprintf(c->why, sizeof(c->why), "%s", why);
	conn_calls_begin(c);
	c->handlers.on_lost(c->arg, c->why);
	conn_calls_end(c);
}

/* For trouble outside the loop's callbacks: on_lost is called from the loop. */
static void give_up(struct conn *c, const char *why)
{
	drop_requests(c);
	event_del(c->writable);
	snprintf(c->why, sizeof(c->why), "%s", why);
	event_active(c->readable, EV_TIMEOUT, 0);
}

/* ---- sending ---- */

static bool can_send(const struct conn *c)
{
	return !c->lost && !c->freed && !c->ended && !outbox_is_empty(&c->outbox);
}

static void conn_push(struct launch *l)
{
	static const struct timeval soon = {.tv_usec = 2000};
	struct conn *c = conn_of(l);
	int error;

	if (!can_send(c))
		return;
	do
		error = outbox_send(&c->outbox, c->fd);
	while (error == EMSGSIZE && (error = outbox_shorten_first(&c->outbox)) == 0);
	switch (error) {
	case 0:
		event_del(c->writable);
		return;
	case EAGAIN: /* the socket's queue is full: goes on when the launcher has read */
		event_add(c->writable, NULL);
		return;
	case ENOBUFS:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ETOOMANYREFS: /* too many descriptors on their way; nothing will tell when not */
		event_del(c->writable);
		event_add(c->retry, &soon);
		return;
	case EPIPE: /* the reader tells: what the launcher said before it went comes first */
	case ECONNRESET:
		drop_requests(c);
		event_del(c->writable);
		event_active(c->readable, EV_READ, 0);
		return;
	}
	give_up(c, strerror(error));
}

/* Nobody waits for an acknowledgement: alone it would wake the launcher for nothing. */
void conn_flush(struct launch *l)
{
	static const struct timeval ack_wait = {.tv_usec = ACK_WAIT_MS * 1000};
	struct conn *c = conn_of(l);

	if (!outbox_only_acks(&c->outbox))
		conn_push(l);
	else if (can_send(c) && !event_pending(c->retry, EV_TIMEOUT, NULL))
		event_add(c->retry, &ack_wait);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	conn_push(&c->base);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->ended)
		conn_lose(c, "slotd-launcher closed its socket");
	else
		conn_push(&c->base);
}

/* ---- requests ---- */

static struct outbox *box_of(struct conn *c)
{
	return c->durable && !c->welcomed ? &c->early : &c->outbox;
}

static int conn_run(struct launch *l, const struct launch_run *run)
{
	struct conn *c = conn_of(l);

	if (c->lost || c->freed) {
		outbox_refuse_run(run);
		return -EPIPE;
	}
	return outbox_add_run(box_of(c), run);
}

/* A zeroed frame. Without memory for it the whole connection is given up, for there is no other
 * way to report that; NULL: it was, or had ended before. */
static void *add(struct conn *c, struct outbox *box, enum frame_type type, size_t len)
{
	void *f;

	if (c->lost || c->freed)
		return NULL;
	f = outbox_add(box, type, len);
	if (!f)
		give_up(c, "out of memory for a frame");
	return f;
}

static void *request(struct launch *l, enum frame_type type, size_t len)
{
	struct conn *c = conn_of(l);

	return add(c, box_of(c), type, len);
}

static void conn_cancel(struct launch *l, uint64_t job, uint32_t attempt, int64_t grace_ms)
{
	struct frame_cancel *f = request(l, FRAME_CANCEL, sizeof(*f));

	if (!f)
		return;
	f->job = job;
	f->attempt = attempt;
	f->grace_ms = grace_ms < 0 ? 0 : grace_ms;
}

static void conn_signal(struct launch *l, uint64_t job, uint32_t attempt, int signo,
    enum launch_scope scope, uint64_t token)
{
	struct frame_signal *f = request(l, FRAME_SIGNAL, sizeof(*f));

	if (!f)
		return;
	f->job = job;
	f->attempt = attempt;
	f->signo = (uint32_t)signo;
	f->scope = (uint32_t)scope;
	f->token = token;
}

static void conn_ack(struct launch *l, uint64_t job, uint32_t attempt)
{
	struct conn *c = conn_of(l);

	if (!c->lost && !c->freed && outbox_add_ack(box_of(c), job, attempt) < 0)
		give_up(c, "out of memory for a frame");
}

static void conn_ceiling(struct launch *l, uint32_t slots)
{
	struct frame_ceiling *f = request(l, FRAME_CEILING, sizeof(*f));

	if (f)
		f->slots = slots;
}

static void conn_close_stdin(struct launch *l, uint64_t job, uint32_t attempt)
{
	struct frame_stdin_closed *f = request(l, FRAME_STDIN_CLOSED, sizeof(*f));

	if (!f)
		return;
	f->job = job;
	f->attempt = attempt;
}

void conn_say(struct conn *c, enum frame_type type, size_t len)
{
	if (add(c, &c->outbox, type, len))
		conn_flush(&c->base);
}

void conn_welcomed(struct conn *c)
{
	c->welcomed = true;
	outbox_move(&c->outbox, &c->early);
	conn_flush(&c->base);
}

/* ---- start and end ---- */

/* The kernel tells when process c->pid ends, where it can. 0 or an errno. */
int conn_watch_death(struct conn *c)
{
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pidfd < 0)
		return 0;
	c->died = event_new(event_get_base(c->readable), c->pidfd, EV_READ | EV_PERSIST,
	    conn_on_died, c);
	return c->died && event_add(c->died, NULL) == 0 ? 0 : ENOMEM;
}

int conn_events(struct conn *c, struct event_base *base)
{
	c->readable = event_new(base, c->fd, EV_READ | EV_PERSIST, conn_on_readable, c);
	c->writable = event_new(base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	c->retry = event_new(base, -1, 0, on_retry, c);
	if (!c->readable || !c->writable || !c->retry || event_add(c->readable, NULL) < 0)
		return ENOMEM;
	return c->pid ? conn_watch_death(c) : 0;
}

static void conn_free(struct launch *l)
{
	struct conn *c = conn_of(l);
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

	if (c->freed)
		return;
	c->freed = true;
	if (c->durable && !c->lost && !c->ended)
		outbox_send(&c->outbox, c->fd); /* what it reads of it, as far as it goes */
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	event_del(c->readable);
	event_del(c->writable);
	event_del(c->retry);
	if (c->died)
		event_del(c->died);
	/* A launcher without jobs leaves at once and needn't stay a zombie. One that has to end
	 * jobs first is left to do so. */
	if (c->pid && c->pidfd >= 0 && !c->durable)
		poll(&p, 1, GOODBYE_MS);
	conn_reap(c);
	if (c->calls == 0)
		conn_destroy(c);
}

static const struct launch_ops conn_ops = {
    .run = conn_run,
    .cancel = conn_cancel,
    .signal = conn_signal,
    .ack = conn_ack,
    .ceiling = conn_ceiling,
    .flush = conn_flush,
    .free = conn_free,
    .close_stdin = conn_close_stdin,
    .push = conn_push,
};

struct conn *conn_new(const struct launch_handlers *handlers, void *arg)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->base.ops = &conn_ops;
	c->handlers = *handlers;
	c->arg = arg;
	c->fd = c->pidfd = -1;
	outbox_init(&c->outbox);
	outbox_init(&c->early);
	return c;
}

bool conn_is(const struct launch *l)
{
	return l->ops == &conn_ops;
}
