/*
 * The engine's end of the launcher's socket: a list of frames to send, one sendmmsg a turn, and
 * a receiver that turns frames into calls of the handlers. It decides nothing.
 */
#define _GNU_SOURCE 1
#include "launch/launch.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/frame.h"

#define SEND_BATCH 32
#define RECV_BATCH 32
#define RECV_ROUNDS 16       /* of RECV_BATCH, before others on the loop get their turn */
#define CHILD_FD 3           /* the socket's number in the launcher */
#define GOODBYE_MS 200       /* how long free waits for a launcher that has nothing to do */
#define LAST_MS 1000         /* between the end of its socket and its own */

/* A frame that waits to be sent. */
struct outgoing {
	struct outgoing *next;
	size_t len;
	unsigned nfds;
	int fds[LAUNCH_FDS_MAX];
	_Alignas(union frame) unsigned char bytes[];
};

struct conn {
	struct launch base;
	struct launch_handlers handlers;
	void *arg;
	int fd;
	int pidfd; /* -1: this kernel has none; then the socket's end alone tells */
	pid_t pid; /* 0: reaped */
	struct event *readable, *writable, *retry, *died;
	struct outgoing *first, **last;
	struct outgoing *open_ack; /* an ACK frame that still takes entries */
	unsigned calls;            /* handlers on the stack */
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

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

/* ---- the queue ---- */

static struct outgoing *outgoing_new(enum frame_type type, size_t len, size_t room)
{
	struct outgoing *o = calloc(1, sizeof(*o) + room);

	if (!o)
		return NULL;
	o->len = len;
	frame_head_init((struct frame_head *)o->bytes, type, len);
	return o;
}

static void outgoing_free(struct outgoing *o)
{
	close_fds(o->fds, o->nfds);
	free(o);
}

static void enqueue(struct conn *c, struct outgoing *o)
{
	*c->last = o;
	c->last = &o->next;
	c->open_ack = NULL;
}

static void drop_first(struct conn *c)
{
	struct outgoing *o = c->first;

	c->first = o->next;
	if (!c->first)
		c->last = &c->first;
	if (c->open_ack == o)
		c->open_ack = NULL;
	outgoing_free(o);
}

static void queue_clear(struct conn *c)
{
	while (c->first)
		drop_first(c);
}

/* ---- the end of a connection ---- */

static void conn_destroy(struct conn *c)
{
	queue_clear(c);
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
	queue_clear(c);
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
	queue_clear(c);
	event_del(c->writable);
	snprintf(c->why, sizeof(c->why), "%s", why);
	event_active(c->readable, EV_TIMEOUT, 0);
}

/* ---- sending ---- */

struct send_batch {
	struct mmsghdr msgs[SEND_BATCH];
	struct iovec iov[SEND_BATCH];
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))];
	} control[SEND_BATCH];
};

static unsigned send_batch_fill(struct send_batch *b, struct outgoing *o)
{
	unsigned n = 0;

	for (; o && n < SEND_BATCH; o = o->next, n++) {
		struct msghdr *m = &b->msgs[n].msg_hdr;
		size_t bytes = o->nfds * sizeof(int);
		struct cmsghdr *cm;

		memset(m, 0, sizeof(*m));
		b->iov[n] = (struct iovec){.iov_base = o->bytes, .iov_len = o->len};
		m->msg_iov = &b->iov[n];
		m->msg_iovlen = 1;
		if (o->nfds == 0)
			continue;
		memset(&b->control[n], 0, sizeof(b->control[n]));
		m->msg_control = b->control[n].bytes;
		m->msg_controllen = CMSG_SPACE(bytes);
		cm = CMSG_FIRSTHDR(m);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(cm), o->fds, bytes);
	}
	return n;
}

/* Sends what goes out without waiting. 0, or the errno that stopped it. */
static int send_queue(struct conn *c)
{
	struct send_batch b;
	unsigned n;
	int sent;

	while (c->first) {
		n = send_batch_fill(&b, c->first);
		sent = sendmmsg(c->fd, b.msgs, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno;
		while (sent-- > 0)
			drop_first(c);
	}
	return 0;
}

static void conn_flush(struct launch *l)
{
	static const struct timeval soon = {.tv_usec = 2000};
	struct conn *c = conn_of(l);
	int error;

	if (c->lost || c->freed || c->ended || !c->first)
		return;
	error = send_queue(c);
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
		queue_clear(c);
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

/* Body and environment as a memfd that can't change any more. A descriptor or -errno. */
static int seal_body(const struct launch_run *run)
{
	const void *parts[2] = {run->body, run->env};
	size_t lens[2] = {run->body_len, run->env_len};
	int fd = memfd_create("slot-body", MFD_CLOEXEC | MFD_ALLOW_SEALING), error;
	ssize_t n;

	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		for (size_t at = 0; at < lens[i]; at += (size_t)n) {
			n = write(fd, (const char *)parts[i] + at, lens[i] - at);
			if (n < 0)
				goto out;
		}
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
		return fd;
out:
	error = errno;
	close(fd);
	return -error;
}

static struct outgoing *run_frame(const struct launch_run *run, bool memfd)
{
	size_t payload = memfd ? 0 : run->body_len + run->env_len;
	size_t len = sizeof(struct frame_run) + payload;
	struct outgoing *o = outgoing_new(FRAME_RUN, len, len);
	struct frame_run *f;

	if (!o)
		return NULL;
	f = (struct frame_run *)o->bytes;
	f->job = run->job;
	f->attempt = run->attempt;
	f->slots = run->slots;
	f->body_len = (uint32_t)run->body_len;
	f->env_len = (uint32_t)run->env_len;
	for (unsigned i = 0; i < run->nfds; i++)
		f->roles[i] = run->roles[i];
	if (payload == 0)
		return o;
	memcpy(o->bytes + sizeof(*f), run->body, run->body_len);
	if (run->env_len)
		memcpy(o->bytes + sizeof(*f) + run->body_len, run->env, run->env_len);
	return o;
}

/* 0, or the errno for a run that no frame can carry. */
static int check_run(const struct conn *c, const struct launch_run *run)
{
	if (c->lost || c->freed)
		return EPIPE;
	if (run->nfds > LAUNCH_FDS_MAX)
		return EINVAL;
	if (run->body_len > FRAME_BODY_MAX || run->env_len > FRAME_BODY_MAX - run->body_len)
		return E2BIG;
	return 0;
}

static int conn_run(struct launch *l, const struct launch_run *run)
{
	struct conn *c = conn_of(l);
	int error = check_run(c, run), body_fd = -1;
	bool memfd = run->body_len + run->env_len > FRAME_INLINE_MAX;
	struct outgoing *o = NULL;

	if (!error && memfd && run->nfds == LAUNCH_FDS_MAX)
		error = EINVAL;
	if (!error && memfd) {
		body_fd = seal_body(run);
		if (body_fd < 0)
			error = -body_fd;
	}
	if (!error) {
		o = run_frame(run, memfd);
		if (!o)
			error = ENOMEM;
	}
	if (error) {
		close_fds(run->fds, run->nfds < LAUNCH_FDS_MAX ? run->nfds : LAUNCH_FDS_MAX);
		close_fds(&body_fd, 1);
		return -error;
	}
	for (unsigned i = 0; i < run->nfds; i++)
		o->fds[o->nfds++] = run->fds[i];
	if (memfd) {
		((struct frame_run *)o->bytes)->roles[o->nfds] = LAUNCH_FD_BODY;
		o->fds[o->nfds++] = body_fd;
	}
	enqueue(c, o);
	return 0;
}

/* A request without a way to report a failure: without memory for it the whole connection is
 * given up. NULL: it was, or had ended before. */
static void *request(struct conn *c, enum frame_type type, size_t len)
{
	struct outgoing *o;

	if (c->lost || c->freed)
		return NULL;
	o = outgoing_new(type, len, len);
	if (!o) {
		give_up(c, "out of memory for a frame");
		return NULL;
	}
	enqueue(c, o);
	return o->bytes;
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

/* Acknowledgements that follow one another share a frame. */
static void conn_ack(struct launch *l, uint64_t job, uint32_t attempt)
{
	struct conn *c = conn_of(l);
	struct outgoing *o = c->open_ack;
	struct frame_ack *f;
	unsigned n = 0;

	if (c->lost || c->freed)
		return;
	if (!o) {
		o = outgoing_new(FRAME_ACK, sizeof(struct frame_head), sizeof(struct frame_ack));
		if (!o) {
			give_up(c, "out of memory for a frame");
			return;
		}
		enqueue(c, o);
	}
	f = (struct frame_ack *)o->bytes;
	n = frame_ack_count(f);
	f->entries[n].job = job;
	f->entries[n].attempt = attempt;
	o->len += sizeof(f->entries[0]);
	f->head.len = (uint32_t)o->len;
	c->open_ack = n + 1 < FRAME_ACKS_MAX ? o : NULL;
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
	c->last = &c->first;

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
