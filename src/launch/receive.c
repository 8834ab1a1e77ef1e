/* What the launcher sends: frames become calls of the handlers. It decides nothing. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launch/conn.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define RECV_ROUNDS 16 /* of a batch, before others on the loop get their turn */
#define LAST_MS 1000   /* between the end of its socket and its own */

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* An older launcher, or a newer one: its binary may have been replaced since it was started. */
static void ask_reexec(struct conn *c)
{
	c->asked = true;
	conn_say(c, FRAME_REEXEC, sizeof(struct frame_reexec));
}

/* It can't read our frames. */
static void take_speaks(struct conn *c, unsigned version)
{
	c->foreign = version;
	if (c->durable && !c->asked) {
		ask_reexec(c);
		return;
	}
	snprintf(c->why, sizeof(c->why), "slotd-launcher speaks version %u, this slotd version %u",
	    version, FRAME_VERSION);
	conn_lose(c, c->why);
}

static void take_renewed(struct conn *c, int error)
{
	if (!c->foreign)
		return;
	if (error == 0) {
		conn_say(c, FRAME_HELLO, sizeof(struct frame_hello));
		return;
	}
	snprintf(c->why, sizeof(c->why),
	    "slotd-launcher speaks version %u, this slotd version %u, and it can't change: %s",
	    c->foreign, FRAME_VERSION, strerror(error));
	conn_lose(c, c->why);
}

static void take_held(struct conn *c, const struct frame_held *f, const int *fds)
{
	struct launch_held held = {
	    .job = f->job, .attempt = f->attempt, .slots = f->slots, .fds = {-1, -1, -1}};
	unsigned n = frame_held_fds(f);

	for (unsigned i = 0; i < n; i++)
		held.fds[f->roles[i] - LAUNCH_FD_KEEP_STDIN] = fds[i];
	if (c->handlers.on_held) {
		c->handlers.on_held(c->arg, &held);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static void take_welcome(struct conn *c, const struct frame_welcome *f)
{
	c->foreign = 0;
	conn_welcomed(c);
	if (c->durable && !c->died) {
		c->pid = (pid_t)f->pid;
		conn_watch_death(c);
	}
	c->handlers.on_ready(c->arg, f->instance);
	if (!c->freed && c->durable && !c->asked && strcmp(f->build, PACKAGE_VERSION) != 0)
		ask_reexec(c);
}

static void take_exit(struct conn *c, const struct frame_exit *f)
{
	struct launch_exit ex;

	frame_exit_unpack(&ex, f);
	c->handlers.on_exit(c->arg, &ex);
	if ((f->flags & FRAME_EXIT_GONE) && !c->freed)
		c->handlers.on_gone(c->arg, ex.job, ex.attempt, f->flags & FRAME_BEST_EFFORT);
}

/* One frame; its descriptors are used up. 0, or -1 with *why: then the peer is no launcher of
 * ours. */
static int take_frame(struct conn *c, const void *bytes, size_t len, const int *fds,
    unsigned nfds, const char **why)
{
	union frame f;
	int result = frame_read(&f, bytes, len, why);

	if (result == 0 && nfds != (f.head.type == FRAME_HELD ? frame_held_fds(&f.held) : 0)) {
		*why = "a frame without its descriptors";
		result = -1;
	}
	if (result < 0) {
		close_fds(fds, nfds);
		return -1;
	}
	switch (f.head.type) {
	case FRAME_WELCOME:
		take_welcome(c, &f.welcome);
		return 0;
	case FRAME_HELD:
		take_held(c, &f.held, fds);
		return 0;
	case FRAME_SPEAKS:
		take_speaks(c, f.head.version);
		return 0;
	case FRAME_RENEWED:
		take_renewed(c, f.renewed.error);
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

/* The descriptors that came with a message; no more fit in its buffer. */
static unsigned take_fds(struct msghdr *m, int fds[FRAME_KEPT_MAX])
{
	unsigned n = 0;

	for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm; cm = CMSG_NXTHDR(m, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cm), n * sizeof(int));
	}
	return n;
}

/* Receives one batch. How many came, 0 at the end of the connection, or -errno. */
static int receive(struct conn *c, struct mmsghdr *msgs)
{
	struct iovec iov[CONN_RECV_BATCH];
	int n;

	memset(msgs, 0, CONN_RECV_BATCH * sizeof(*msgs));
	for (unsigned i = 0; i < CONN_RECV_BATCH; i++) {
		iov[i] = (struct iovec){.iov_base = c->in[i], .iov_len = sizeof(c->in[i])};
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
		msgs[i].msg_hdr.msg_control = c->control[i].bytes;
		/* Not the padding, too: one descriptor more would fit there. */
		msgs[i].msg_hdr.msg_controllen = CMSG_LEN(FRAME_KEPT_MAX * sizeof(int));
	}
	/* ECONNRESET is told once and before what is still there to be read. */
	do
		n = recvmmsg(c->fd, msgs, CONN_RECV_BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	return n < 0 ? -errno : n;
}

/* The end of the stream: the launcher is dying or dead, and how is worth knowing. */
static void end(struct conn *c)
{
	static const struct timeval last = {.tv_usec = LAST_MS * 1000 % 1000000,
		.tv_sec = LAST_MS / 1000};

	if (conn_reap(c) || !c->died) {
		conn_lose(c, "slotd-launcher closed its socket");
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
	struct mmsghdr msgs[CONN_RECV_BATCH];
	const char *why = NULL;
	int n = receive(c, msgs);

	if (n == -EAGAIN)
		return 0;
	if (n < 0) {
		conn_lose(c, strerror(-n));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		int fds[FRAME_KEPT_MAX];
		unsigned nfds = take_fds(&msgs[i].msg_hdr, fds);

		if (c->freed || c->lost || c->ended)
			close_fds(fds, nfds);
		else if (msgs[i].msg_len == 0) /* no frame is empty: the connection's end */
			end(c);
		else if (take_frame(c, c->in[i], msgs[i].msg_len, fds, nfds, &why) < 0)
			conn_lose(c, why);
	}
	if (c->freed || c->lost || c->ended)
		return -1;
	return n == CONN_RECV_BATCH;
}

void conn_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	conn_calls_begin(c);
	if (what & EV_TIMEOUT) {
		conn_lose(c, "gave up");
	} else {
		for (unsigned i = 0; i < RECV_ROUNDS && receive_batch(c) > 0; i++)
			continue;
	}
	conn_calls_end(c);
}

/* The launcher died. A child that it left stopped before exec may hold a copy of its socket, so
 * this, not the end of the stream, is the sure sign. */
void conn_on_died(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	conn_calls_begin(c);
	while (!c->ended && !c->lost && !c->freed && receive_batch(c) > 0)
		continue;
	c->died_told = true;
	if (conn_reap(c) && !c->freed)
		event_del(c->died);
	conn_lose(c, "slotd-launcher ended");
	conn_calls_end(c);
}
