/*
 * The engine's end of the launcher's socket: requests become frames in an outbox, which is sent
 * once a turn, and frames that come become calls of the handlers. It decides nothing.
 */
#define _GNU_SOURCE 1
#include "launch/launch.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/frame.h"
#include "launch/outbox.h"

#define RECV_BATCH 32
#define RECV_ROUNDS 16       /* of RECV_BATCH, before others on the loop get their turn */
#define CHILD_FD 3           /* the socket's number in the launcher */
#define GOODBYE_MS 200       /* how long free waits for a launcher that has nothing to do */
#define LAST_MS 1000         /* between the end of its socket and its own */

struct conn {
	struct launch base;
	struct launch_handlers handlers;
	void *arg;
	int fd;
	int pidfd; /* -1: this kernel has none; then the socket's end alone tells */
	pid_t pid; /* 0: reaped */
	struct event *readable, *writable, *retry, *died;
	struct outbox outbox;
	unsigned calls; /* handlers on the stack */
	bool ended; /* its socket is at the end; how it died is still awaited */
	bool lost, freed;
	char why[96];
	/* Room for one batch; EXIT is the largest that comes. */
	_Alignas(8) unsigned char in[RECV_BATCH][sizeof(union frame)];
};

static struct conn *conn_of(struct launch *l)
{
	return (struct conn *)l;
}

/* ---- the end of a connection ---- */

static void conn_destroy(struct conn *c)
{
	outbox_clear(&c->outbox);
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
static void calls_begin(struct conn *c)
{
	c->calls++;
}

static void calls_end(struct conn *c)
{
	if (--c->calls == 0 && c->freed)
		conn_destroy(c);
}

/* Reaps the launcher if it has ended, and says how in c->why. */
static bool reap(struct conn *c)
{
	int status;
	pid_t pid;

	if (c->pid == 0)
		return true;
	do
		pid = waitpid(c->pid, &status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
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
static void lose(struct conn *c, const char *why)
{
	if (c->lost || c->freed)
		return;
	c->lost = true;
	outbox_clear(&c->outbox);
	event_del(c->readable);
	event_del(c->writable);
	event_del(c->retry);
	if (!c->why[0])
		snprintf(c->why, sizeof(c->why), "%s", why);
	calls_begin(c);
	c->handlers.on_lost(c->arg, c->why);
	calls_end(c);
}

/* For trouble outside the loop's callbacks: on_lost is called from the loop. */
static void give_up(struct conn *c, const char *why)
{
	outbox_clear(&c->outbox);
	event_del(c->writable);
	snprintf(c->why, sizeof(c->why), "%s", why);
	event_active(c->readable, EV_TIMEOUT, 0);
}

/* ---- sending ---- */

static void conn_flush(struct launch *l)
{
	static const struct timeval soon = {.tv_usec = 2000};
	struct conn *c = conn_of(l);
	int error;

	if (c->lost || c->freed || c->ended || outbox_is_empty(&c->outbox))
		return;
	error = outbox_send(&c->outbox, c->fd);
	switch (error) {
	case 0:
		event_del(c->writable);
		return;
	case EAGAIN: /* the socket's queue is full: goes on when the launcher has read */
		event_add(c->writable, NULL);
		return;
	case ENOBUFS:
	case ENOMEM:
	case ETOOMANYREFS: /* too many descriptors on their way; nothing will tell when not */
		event_del(c->writable);
		event_add(c->retry, &soon);
		return;
	case EPIPE: /* the reader tells: what the launcher said before it went comes first */
	case ECONNRESET:
		outbox_clear(&c->outbox);
		event_del(c->writable);
		event_active(c->readable, EV_READ, 0);
		return;
	}
	give_up(c, strerror(error));
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	conn_flush(&c->base);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->ended)
		lose(c, "slotd-launcher closed its socket");
	else
		conn_flush(&c->base);
}

/* ---- requests ---- */

static int conn_run(struct launch *l, const struct launch_run *run)
{
	struct conn *c = conn_of(l);

	if (c->lost || c->freed) {
		outbox_refuse_run(run);
		return -EPIPE;
	}
	return outbox_add_run(&c->outbox, run);
}

/* A request without a way to report a failure: without memory for it the whole connection is
 * given up. NULL: it was, or had ended before. */
static void *request(struct conn *c, enum frame_type type, size_t len)
{
	void *f;

	if (c->lost || c->freed)
		return NULL;
	f = outbox_add(&c->outbox, type, len);
	if (!f)
		give_up(c, "out of memory for a frame");
	return f;
}

static void conn_cancel(struct launch *l, uint64_t job, uint32_t attempt, int64_t grace_ms)
{
	struct frame_cancel *f = request(conn_of(l), FRAME_CANCEL, sizeof(*f));

	if (!f)
		return;
	f->job = job;
	f->attempt = attempt;
	f->grace_ms = grace_ms < 0 ? 0 : grace_ms;
}

static void conn_signal(struct launch *l, uint64_t job, uint32_t attempt, int signo,
    enum launch_scope scope, uint64_t token)
{
	struct frame_signal *f = request(conn_of(l), FRAME_SIGNAL, sizeof(*f));

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

	if (!c->lost && !c->freed && outbox_add_ack(&c->outbox, job, attempt) < 0)
		give_up(c, "out of memory for a frame");
}

static void conn_ceiling(struct launch *l, uint32_t slots)
{
	struct frame_ceiling *f = request(conn_of(l), FRAME_CEILING, sizeof(*f));

	if (f)
		f->slots = slots;
}

/* ---- receiving ---- */

static void take_exit(struct conn *c, const struct frame_exit *f)
{
	struct launch_exit ex;

	frame_exit_unpack(&ex, f);
	c->handlers.on_exit(c->arg, &ex);
	if ((f->flags & FRAME_EXIT_GONE) && !c->freed)
		c->handlers.on_gone(c->arg, ex.job, ex.attempt, f->flags & FRAME_BEST_EFFORT);
}

/* One frame. 0, or -1 with *why: then the peer is no launcher of ours. */
static int take_frame(struct conn *c, const void *bytes, size_t len, const char **why)
{
	union frame f;

	if (frame_read(&f, bytes, len, why) < 0)
		return -1;
	switch (f.head.type) {
	case FRAME_WELCOME:
		c->handlers.on_ready(c->arg, f.welcome.instance);
		return 0;
	case FRAME_EXIT:
		take_exit(c, &f.exit);
		return 0;
	case FRAME_GONE:
		c->handlers.on_gone(c->arg, f.gone.job, f.gone.attempt,
		    f.gone.flags & FRAME_BEST_EFFORT);
		return 0;
	case FRAME_SIGNALED:
		c->handlers.on_signaled(c->arg, f.signaled.token, f.signaled.error);
		return 0;
	}
	*why = "a frame of the wrong direction";
	return -1;
}

/* Receives one batch. How many came, 0 at the end of the connection, or -errno. */
static int receive(struct conn *c, struct mmsghdr *msgs)
{
	struct iovec iov[RECV_BATCH];
	int n;

	memset(msgs, 0, RECV_BATCH * sizeof(*msgs));
	for (unsigned i = 0; i < RECV_BATCH; i++) {
		iov[i] = (struct iovec){.iov_base = c->in[i], .iov_len = sizeof(c->in[i])};
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	/* ECONNRESET is told once and before what is still there to be read. */
	do
		n = recvmmsg(c->fd, msgs, RECV_BATCH, MSG_DONTWAIT, NULL);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	return n < 0 ? -errno : n;
}

/* The end of the stream: the launcher is dying or dead, and how is worth knowing. */
static void end(struct conn *c)
{
	static const struct timeval last = {.tv_usec = LAST_MS * 1000 % 1000000,
		.tv_sec = LAST_MS / 1000};

	if (reap(c) || !c->died) {
		lose(c, "slotd-launcher closed its socket");
		return;
	}
	c->ended = true;
	event_del(c->readable);
	event_del(c->writable);
	event_add(c->retry, &last);
}

/* Hands over one batch. 1: more may be there; 0: no more; -1: lost. */
static int receive_batch(struct conn *c)
{
	struct mmsghdr msgs[RECV_BATCH];
	const char *why = NULL;
	int n = receive(c, msgs);

	if (n == -EAGAIN)
		return 0;
	if (n < 0) {
		lose(c, strerror(-n));
		return -1;
	}
	for (int i = 0; i < n && !c->freed; i++) {
		/* No frame is empty: this is the end of the connection. */
		if (msgs[i].msg_len == 0) {
			end(c);
			return -1;
		}
		if (take_frame(c, c->in[i], msgs[i].msg_len, &why) < 0) {
			lose(c, why);
			return -1;
		}
	}
	return n == RECV_BATCH && !c->freed;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	calls_begin(c);
	if (what & EV_TIMEOUT) {
		lose(c, "gave up");
	} else {
		for (unsigned i = 0; i < RECV_ROUNDS && receive_batch(c) > 0; i++)
			continue;
	}
	calls_end(c);
}

/* The launcher died. A child that it left stopped before exec may hold a copy of its socket, so
 * this, not the end of the stream, is the sure sign. */
static void on_died(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	calls_begin(c);
	while (!c->ended && !c->lost && !c->freed && receive_batch(c) > 0)
		continue;
	if (reap(c) && !c->freed)
		event_del(c->died);
	lose(c, "slotd-launcher ended");
	calls_end(c);
}

/* ---- start and end ---- */

static void conn_free(struct launch *l)
{
	struct conn *c = conn_of(l);
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

	if (c->freed)
		return;
	c->freed = true;
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
	if (c->pid && c->pidfd >= 0)
		poll(&p, 1, GOODBYE_MS);
	reap(c);
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
};

int launch_pid(const struct launch *l)
{
	return l->ops == &conn_ops ? (int)((const struct conn *)l)->pid : 0;
}

/* Executes the launcher with its socket and nothing else that is ours. 0 or an errno. */
static int spawn_launcher(const struct launch_options *o, int fd, pid_t *pid)
{
	char fd_name[] = "--engine-fd", jobs_name[] = "--jobs", grace_name[] = "--grace";
	char fd_arg[16], jobs[16], grace[32];
	char *argv[8];
	unsigned n = 0;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	char *path = strdup(o->path);
	extern char **environ;
	int error;

	if (!path)
		return ENOMEM;
	snprintf(fd_arg, sizeof(fd_arg), "%d", CHILD_FD);
	snprintf(jobs, sizeof(jobs), "%u", o->jobs);
	snprintf(grace, sizeof(grace), "%lld", (long long)o->grace_ms);
	argv[n++] = path;
	argv[n++] = fd_name;
	argv[n++] = fd_arg;
	if (o->jobs) {
		argv[n++] = jobs_name;
		argv[n++] = jobs;
	}
	if (o->grace_ms >= 0) {
		argv[n++] = grace_name;
		argv[n++] = grace;
	}
	argv[n] = NULL;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	error = posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	if (!error)
		error = posix_spawnattr_setsigmask(&attr, &none);
	if (!error)
		error = posix_spawnattr_setsigdefault(&attr, &all);
	if (!error)
		error = posix_spawnattr_setflags(&attr,
		    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	if (!error)
		error = posix_spawn(pid, path, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	free(path);
	return error;
}

static int conn_events(struct conn *c, struct event_base *base)
{
	c->readable = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	c->writable = event_new(base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	c->retry = event_new(base, -1, 0, on_retry, c);
	if (c->pidfd >= 0)
		c->died = event_new(base, c->pidfd, EV_READ | EV_PERSIST, on_died, c);
	if (!c->readable || !c->writable || !c->retry || (c->pidfd >= 0 && !c->died))
		return ENOMEM;
	if (event_add(c->readable, NULL) < 0 || (c->died && event_add(c->died, NULL) < 0))
		return ENOMEM;
	return 0;
}

struct launch *launch_start(struct event_base *base, const struct launch_options *options,
    const struct launch_handlers *handlers, void *arg, int *error, const char **where)
{
	struct conn *c = calloc(1, sizeof(*c));
	int pair[2] = {-1, -1};

	*where = "memory";
	*error = ENOMEM;
	if (!c)
		return NULL;
	c->base.ops = &conn_ops;
	c->handlers = *handlers;
	c->arg = arg;
	c->fd = c->pidfd = -1;
	outbox_init(&c->outbox);

	*where = "socketpair";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		*error = errno;
		goto out;
	}
	c->fd = pair[0];
	*where = options->path;
	*error = spawn_launcher(options, pair[1], &c->pid);
	close(pair[1]);
	if (*error) {
		c->pid = 0;
		goto out;
	}
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	*where = "events";
	*error = conn_events(c, base);
	if (*error)
		goto out;
	if (request(c, FRAME_HELLO, sizeof(struct frame_hello)))
		conn_flush(&c->base);
	return &c->base;
out:
	conn_destroy(c);
	return NULL;
}
