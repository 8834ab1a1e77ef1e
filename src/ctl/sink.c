/* See sink.h. */
#include "ctl/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>

int
sink_reopen(int fd, int flags)
{
	char path[32];
	struct stat st;

	if (fstat(fd, &st) != 0 || (!S_ISFIFO(st.st_mode) && !isatty(fd)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct sink *sink = arg;

	(void)fd;
	(void)what;
	if (sink_flush(sink))
		sink->drained(sink->arg);
}

bool
sink_can_wait(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0)
		return false;
	bool can = epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0;

	close(ep);
	return can;
}

int
sink_init(struct sink *sink, struct event_base *base, int fd, enum sink_kind kind,
    void (*drained)(void *arg), void *arg)
{
	int own = kind == SINK_INHERITED ? sink_reopen(fd, O_WRONLY) : -1;

	*sink = (struct sink){ .fd = own >= 0 ? own : fd, .opened = own >= 0,
		.nonblocking = own >= 0 || kind == SINK_NONBLOCKING, .drained = drained,
		.arg = arg };
	bool can_wait = sink_can_wait(sink->fd);

	if (can_wait)
		sink->writable = event_new(base, sink->fd, EV_WRITE, on_writable, sink);
	sink->buffer = evbuffer_new();
	if (sink->buffer != NULL && can_wait == (sink->writable != NULL))
		return 0;
	sink_fini(sink);
	return -1;
}

int
sink_add(struct sink *sink, const void *data, size_t len)
{
	if (sink->error != 0)
		return 0;
	return evbuffer_add(sink->buffer, data, len);
}

/* One write: its result, or -1 with errno. */
static int
write_some(struct sink *sink)
{
	struct pollfd p = { .fd = sink->fd, .events = POLLOUT };

	if (sink->nonblocking || sink->writable == NULL)
		return evbuffer_write(sink->buffer, sink->fd);
	/* What may block takes one page without waiting, once it says that it has room. */
	if (poll(&p, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return evbuffer_write_atmost(sink->buffer, sink->fd, PIPE_BUF);
}

bool
sink_flush(struct sink *sink)
{
	while (!sink_is_empty(sink)) {
		if (write_some(sink) >= 0 || errno == EINTR)
			continue;
		if (errno == EAGAIN && sink->writable != NULL) {
			event_add(sink->writable, NULL);
			return false;
		}
		sink->error = errno;
		evbuffer_drain(sink->buffer, evbuffer_get_length(sink->buffer));
	}
	return true;
}

bool
sink_is_empty(const struct sink *sink)
{
	return evbuffer_get_length(sink->buffer) == 0;
}

void
sink_fini(struct sink *sink)
{
	if (sink->writable != NULL)
		event_free(sink->writable);
	if (sink->buffer != NULL)
		evbuffer_free(sink->buffer);
	if (sink->opened)
		close(sink->fd);
	*sink = (struct sink){ .fd = -1 };
}
