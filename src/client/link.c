/* See link.h. Descriptors ride on a sendmsg of their own that begins with their line, so that
 * the last byte the daemon receives along with them belongs to that line. */
#include "client/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <slot/client.h>

#include "core/paths.h"

#define LINK_READ_SIZE (64u * 1024u)
#define LINK_LINES_PER_TURN 256
#define LINK_IOVECS 16
#define LINK_CONNECT_SECONDS 2

struct link_fds {
	struct link_fds *next;
	uint64_t begin, end; /* positions of the line in the stream */
	unsigned n;
	int fds[SLOT_CLIENT_FDS_MAX];
};

static void
fds_free(struct link_fds *f)
{
	for (unsigned i = 0; i < f->n; i++)
		close(f->fds[i]);
	free(f);
}

static struct link_fds *
fds_new(const int *fds, unsigned n)
{
	struct link_fds *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	for (; f->n < n; f->n++) {
		f->fds[f->n] = fcntl(fds[f->n], F_DUPFD_CLOEXEC, 3);
		if (f->fds[f->n] < 0) {
			fds_free(f);
			return NULL;
		}
	}
	return f;
}

static void
fds_drop_first(struct link *l)
{
	struct link_fds *f = l->fds_first;

	l->fds_first = f->next;
	if (l->fds_first == NULL)
		l->fds_last = &l->fds_first;
	fds_free(f);
}

/* ---- out ---- */

/* What the next sendmsg takes: up to the next line with descriptors, or that line alone. */
static size_t
next_chunk(const struct link *l, struct link_fds **with)
{
	size_t len = evbuffer_get_length(l->out);
	struct link_fds *f = l->fds_first;

	*with = NULL;
	if (f == NULL)
		return len;
	if (f->begin > l->out_position)
		return (size_t)(f->begin - l->out_position);
	*with = f;
	return (size_t)(f->end - l->out_position);
}

static ssize_t
send_chunk(struct link *l, size_t len, const struct link_fds *with)
{
	struct evbuffer_iovec pieces[LINK_IOVECS];
	struct iovec iov[LINK_IOVECS];
	union {
		char bytes[CMSG_SPACE(sizeof(int) * SLOT_CLIENT_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct msghdr msg = { .msg_iov = iov };
	int n = evbuffer_peek(l->out, (ev_ssize_t)len, NULL, pieces, LINK_IOVECS);

	if (n > LINK_IOVECS)
		n = LINK_IOVECS;
	for (int i = 0; i < n && len > 0; i++) {
		iov[i].iov_base = pieces[i].iov_base;
		iov[i].iov_len = pieces[i].iov_len < len ? pieces[i].iov_len : len;
		len -= iov[i].iov_len;
		msg.msg_iovlen++;
	}
	if (with != NULL) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * with->n);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * with->n);
		memcpy(CMSG_DATA(c), with->fds, sizeof(int) * with->n);
	}
	return sendmsg(l->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Nothing more can be sent. The daemon may have said something before it closed, and may not have
 * closed at all: the reading side finds the end either way. */
static void
drop_output(struct link *l)
{
	l->broken = true;
	shutdown(l->fd, SHUT_RDWR);
	while (l->fds_first != NULL)
		fds_drop_first(l);
	evbuffer_drain(l->out, evbuffer_get_length(l->out));
	event_del(l->writable);
}

static void
tell_room(struct link *l)
{
	if (!l->was_full || evbuffer_get_length(l->out) > l->limit / 4)
		return;
	l->was_full = false;
	l->handlers->room(l->arg);
}

static void
send_what_goes(struct link *l)
{
	while (l->fd >= 0 && evbuffer_get_length(l->out) > 0) {
		struct link_fds *with;
		size_t len = next_chunk(l, &with);
		ssize_t sent = send_chunk(l, len, with);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (event_add(l->writable, NULL) != 0)
				drop_output(l);
			return;
		}
		if (sent < 0) {
			drop_output(l);
			return;
		}
		if (with != NULL)
			fds_drop_first(l);
		evbuffer_drain(l->out, (size_t)sent);
		l->out_position += (uint64_t)sent;
	}
}

static void
run_flush(struct slot_call *call)
{
	struct link *l = (struct link *)((char *)call - offsetof(struct link, flush));

	l->busy = true;
	send_what_goes(l);
	tell_room(l);
	l->busy = false;
	l->handlers->idle(l->arg);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	slot_loop_call_soon(l->loop, &l->flush);
}

bool
link_has_room(struct link *l, size_t bytes)
{
	size_t held = evbuffer_get_length(l->out);

	if (held == 0 || held + bytes <= l->limit)
		return true;
	l->was_full = true;
	return false;
}

bool
link_is_full(const struct link *l)
{
	return l->was_full;
}

int
link_send(struct link *l, struct evbuffer *line, const int *fds, unsigned nfds)
{
	size_t len = evbuffer_get_length(line);

	if (l->broken || l->fd < 0) { /* the end is about to be told */
		evbuffer_drain(line, len);
		return 0;
	}
	struct link_fds *f = NULL;

	if (nfds > 0) {
		f = fds_new(fds, nfds);
		if (f == NULL)
			return -SLOT_ENOMEM;
		f->begin = l->out_position + evbuffer_get_length(l->out);
		f->end = f->begin + len;
	}
	if (evbuffer_add_buffer(l->out, line) != 0) {
		if (f != NULL)
			fds_free(f);
		return -SLOT_ENOMEM;
	}
	if (f != NULL) {
		*l->fds_last = f;
		l->fds_last = &f->next;
	}
	if (evbuffer_get_length(l->out) >= l->limit / 2)
		l->was_full = true;
	slot_loop_call_soon(l->loop, &l->flush);
	return 0;
}

/* ---- in ---- */

static void
take_lines(struct link *l)
{
	for (int i = 0; i < LINK_LINES_PER_TURN; i++) {
		struct frame_line line;

		if (l->fd < 0)
			return;
		switch (frame_reader_next(&l->in, &line)) {
		case FRAME_LINE:
			l->handlers->line(l->arg, line.ptr, line.len);
			break;
		case FRAME_TOO_LARGE:
			l->handlers->down(l->arg, -SLOT_EPROTOCOL,
			    "the daemon sent a line longer than 1 MiB");
			return;
		case FRAME_NONE:
			l->more_lines = false;
			if (l->end_code != 0)
				l->handlers->down(l->arg, l->end_code, l->end_why);
			return;
		}
	}
	slot_loop_call_soon(l->loop, &l->pump);
}

static void
run_pump(struct slot_call *call)
{
	struct link *l = (struct link *)((char *)call - offsetof(struct link, pump));

	l->busy = true;
	take_lines(l);
	l->busy = false;
	l->handlers->idle(l->arg);
}

static void
note_end(struct link *l, const char *why)
{
	event_del(l->readable);
	l->end_code = -SLOT_ECLOSED;
	l->end_why = why;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	char buf[LINK_READ_SIZE];

	(void)what;
	if (l->more_lines) /* first what is here already */
		return;
	ssize_t got = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (got == 0 || (got < 0 && errno == ECONNRESET))
		note_end(l, "the daemon closed the connection");
	else if (got < 0)
		note_end(l, "reading from the daemon failed");
	else if (frame_reader_feed(&l->in, buf, (size_t)got) != 0)
		note_end(l, "out of memory");
	l->more_lines = true;
	slot_loop_call_soon(l->loop, &l->pump);
}

/* ---- life ---- */

int
link_init(struct link *l, struct slot_loop *loop, int fd, size_t limit,
    const struct link_handlers *handlers, void *arg)
{
	*l = (struct link){ .fd = fd, .loop = loop, .limit = limit, .handlers = handlers,
		.arg = arg };
	l->fds_last = &l->fds_first;
	l->pump.run = run_pump;
	l->flush.run = run_flush;
	frame_reader_init(&l->in);
	l->out = evbuffer_new();
	l->readable = event_new(slot_loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, l);
	l->writable = event_new(slot_loop_base(loop), fd, EV_WRITE, on_writable, l);
	if (l->out == NULL || l->readable == NULL || l->writable == NULL ||
	    event_add(l->readable, NULL) != 0) {
		link_fini(l);
		return -SLOT_ENOMEM;
	}
	return 0;
}

void
link_close(struct link *l)
{
	if (l->fd < 0)
		return;
	slot_loop_call_cancel(l->loop, &l->pump);
	slot_loop_call_cancel(l->loop, &l->flush);
	if (l->readable != NULL)
		event_free(l->readable);
	if (l->writable != NULL)
		event_free(l->writable);
	l->readable = l->writable = NULL;
	while (l->fds_first != NULL)
		fds_drop_first(l);
	close(l->fd);
	l->fd = -1;
}

void
link_fini(struct link *l)
{
	link_close(l);
	frame_reader_fini(&l->in);
	if (l->out != NULL)
		evbuffer_free(l->out);
	l->out = NULL;
}

/* A signal ends a connect() that waits as if it had never begun: it is begun again, for as long as
 * one may wait. */
static int
connect_through_signals(int fd, const struct slot_paths_address *address)
{
	struct timespec begun, now;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &begun);
	do {
		rc = connect(fd, (const struct sockaddr *)&address->sa, address->len);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (rc != 0 && errno == EINTR && now.tv_sec - begun.tv_sec < LINK_CONNECT_SECONDS);
	return rc;
}

/* connect() on AF_UNIX waits only where the backlog is full; a send timeout bounds that. */
static int
connect_with(const char *path, int flags)
{
	const struct timeval patience = { .tv_sec = LINK_CONNECT_SECONDS };
	struct slot_paths_address address;
	int error = slot_paths_address_init(&address, path);

	if (error != 0) {
		errno = -error;
		return -1;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0 ||
	    connect_through_signals(fd, &address) != 0 ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
		error = errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	slot_paths_address_fini(&address);
	if (fd < 0)
		errno = error;
	return fd;
}

int
link_connect(const char *path)
{
	return connect_with(path, 0);
}

int
link_connect_now(const char *path)
{
	return connect_with(path, SOCK_NONBLOCK);
}

bool
link_peer_is_ours(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    peer.uid == geteuid();
}
