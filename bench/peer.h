/*
 * peer: a connection to a daemon of lines, for the driver. It blocks, ends the program at anything
 * amiss, and copies as little as it can.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PEER_READ_BYTES = 1 << 18 }; /* of one read, and the longest line */

/* A connection: lines out are gathered and written when the driver would wait. */
struct peer {
	int fd;
	char *out;
	size_t out_len, out_room;
	char *in;
	size_t in_len;
};

static inline void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("driver: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static inline void *
must(void *p)
{
	if (p == NULL)
		die("out of memory");
	return p;
}

static inline struct peer
peer_open(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct peer p = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	if (strlen(path) >= sizeof(sun.sun_path))
		die("%s: too long for a socket's path", path);
	strcpy(sun.sun_path, path);
	if (p.fd < 0 || connect(p.fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		die("%s: %s", path, strerror(errno));
	p.in = must(malloc(PEER_READ_BYTES));
	return p;
}

static inline void
peer_close(struct peer *p)
{
	close(p->fd);
	free(p->in);
	free(p->out);
}

static inline void
peer_say(struct peer *p, const char *line, size_t len)
{
	if (p->out_len + len > p->out_room) {
		p->out_room = 2 * (p->out_len + len);
		p->out = must(realloc(p->out, p->out_room));
	}
	memcpy(p->out + p->out_len, line, len);
	p->out_len += len;
}

/* Writes as much as the peer takes; waits for room, or for something to read. */
static inline void
peer_flush(struct peer *p)
{
	size_t done = 0;

	while (done < p->out_len) {
		ssize_t n = send(p->fd, p->out + done, p->out_len - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			die("write: %s", strerror(errno));
		struct pollfd waiting = { .fd = p->fd, .events = POLLIN | POLLOUT };

		poll(&waiting, 1, -1);
		if ((waiting.revents & POLLIN) != 0)
			break;
	}
	memmove(p->out, p->out + done, p->out_len - done);
	p->out_len -= done;
}

/* What arrives, at least one byte; false at the end of the connection. */
static inline bool
peer_fill(struct peer *p)
{
	if (p->in_len == PEER_READ_BYTES)
		die("a line of more than %d bytes", PEER_READ_BYTES);
	for (;;) {
		ssize_t n = read(p->fd, p->in + p->in_len, PEER_READ_BYTES - p->in_len);

		if (n > 0) {
			p->in_len += (size_t)n;
			return true;
		}
		if (n == 0)
			return false;
		if (errno != EINTR)
			die("read: %s", strerror(errno));
	}
}

/* Hands each whole line to ON_LINE, its end cut off; what is left waits for more. */
static inline void
peer_lines(struct peer *p, void (*on_line)(char *line, size_t len, void *arg), void *arg)
{
	char *at = p->in, *end = p->in + p->in_len, *newline;

	while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		*newline = '\0';
		on_line(at, (size_t)(newline - at), arg);
		at = newline + 1;
	}
	memmove(p->in, at, (size_t)(end - at));
	p->in_len = (size_t)(end - at);
}
#endif
