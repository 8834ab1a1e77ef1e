/*
 * driver: a client of slotd that does as little as a client can, so that what is measured is the
 * daemon: fixed lines out, and of what comes back only what has to be looked at.
 *
 *	driver jobs SOCKET COUNT WINDOW COMMAND...	submits COUNT jobs, at most WINDOW of them
 *		not done, and waits for each completion; a duration is from a submit to its completion
 *	driver submit SOCKET COUNT WINDOW COMMAND...	only submits, WINDOW requests in flight; a
 *		duration is from a request to its reply
 *	driver put SOCKET COUNT WINDOW BYTES	the same with a beanstalkd: put, tube default
 *	driver replay SOCKET COUNT SUBSCRIBERS	each subscriber reads the COUNT oldest completions
 *		of history, all at once; a duration is a subscriber's, and per_s counts deliveries
 *	driver stall SOCKET	subscribes from the oldest completion and never reads, until killed;
 *		says "stalled" when the daemon has taken the request
 *
 * One line of JSON: count, seconds, per_s, p50_us, p90_us, p99_us, max_us. Anything unexpected
 * ends it with status 1 and the line that was not expected.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "figures.h"

enum {
	READ_BYTES = 1 << 18, /* of one read */
	SPEC_MAX = 4096,
};

/* A connection: lines out are gathered and written when the driver would wait. */
struct peer {
	int fd;
	char *out;
	size_t out_len, out_room;
	char *in;
	size_t in_len;
};

static void __attribute__((noreturn, format(printf, 1, 2)))
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

static void *
must(void *p)
{
	if (p == NULL)
		die("out of memory");
	return p;
}

static struct peer
peer_open(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct peer p = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	if (strlen(path) >= sizeof(sun.sun_path))
		die("%s: too long for a socket's path", path);
	strcpy(sun.sun_path, path);
	if (p.fd < 0 || connect(p.fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		die("%s: %s", path, strerror(errno));
	p.in = must(malloc(READ_BYTES));
	return p;
}

static void
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
static void
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
static bool
peer_fill(struct peer *p)
{
	if (p->in_len == READ_BYTES)
		die("a line of more than %d bytes", READ_BYTES);
	for (;;) {
		ssize_t n = read(p->fd, p->in + p->in_len, READ_BYTES - p->in_len);

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
static void
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

/* ---- a window of requests ------------------------------------------------------------------- */

/* What is counted as the end of a request, and how a request is written. */
struct load {
	struct peer peer;
	long count, window;
	long sent, ended;
	double *took; /* when each was sent, and then how long it took */
	const char *spec;
	size_t (*line)(char *into, size_t room, const struct load *l, long n);
};

static size_t
job_line(char *into, size_t room, const struct load *l, long n)
{
	return (size_t)snprintf(into, room, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"job.submit\","
	    "\"params\":{\"argv\":[%s],\"tag\":%ld}}\n", n, l->spec, n);
}

static size_t
put_line(char *into, size_t room, const struct load *l, long n)
{
	(void)n;
	return (size_t)snprintf(into, room, "put 1024 0 60 %zu\r\n%s\r\n", strlen(l->spec), l->spec);
}

static void
end(struct load *l, long n, const char *line)
{
	if (n < 0 || n >= l->sent)
		die("unexpected: %s", line);
	l->took[n] = figures_now() - l->took[n];
	l->ended++;
}

/* {"jsonrpc":"2.0","id":N,"result":… → N */
static void
on_reply(char *line, size_t len, void *arg)
{
	static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":";
	char *rest;

	(void)len;
	if (strncmp(line, head, sizeof(head) - 1) != 0)
		die("unexpected: %s", line);
	long n = strtol(line + sizeof(head) - 1, &rest, 10);

	if (strncmp(rest, ",\"result\":", 10) != 0)
		die("unexpected: %s", line);
	end(arg, n, line);
}

/* Replies are passed over; the tag of an item says which job ended. */
static void
on_completion(char *line, size_t len, void *arg)
{
	static const char item[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\"";
	const char *tag;

	if (strncmp(line, item, sizeof(item) - 1) != 0) {
		if (strstr(line, "\"error\"") != NULL)
			die("unexpected: %s", line);
		return;
	}
	tag = memmem(line, len, "\"tag\":", 6);
	if (tag == NULL || strstr(line, "\"ok\":true") == NULL)
		die("unexpected: %s", line);
	end(arg, strtol(tag + 6, NULL, 10), line);
}

static void
on_put(char *line, size_t len, void *arg)
{
	struct load *l = arg;

	(void)len;
	if (strncmp(line, "INSERTED ", 9) != 0)
		die("unexpected: %s", line);
	end(l, l->ended, line);
}

static void
load_run(struct load *l, void (*on_line)(char *, size_t, void *))
{
	char line[SPEC_MAX + 256];

	l->took = figures_new(l->count);
	double begin = figures_now();

	while (l->ended < l->count) {
		while (l->sent < l->count && l->sent - l->ended < l->window) {
			peer_say(&l->peer, line, l->line(line, sizeof(line), l, l->sent));
			l->took[l->sent++] = figures_now();
		}
		peer_flush(&l->peer);
		if (!peer_fill(&l->peer))
			die("the connection ended after %ld of %ld", l->ended, l->count);
		peer_lines(&l->peer, on_line, l);
	}
	figures_print(l->took, l->count, figures_now() - begin);
}

/* The command as elements of a JSON list; it may hold nothing that JSON escapes. */
static const char *
command_json(char **command)
{
	static char spec[SPEC_MAX];
	size_t len = 0;

	for (; *command != NULL; command++) {
		if (strpbrk(*command, "\"\\\n") != NULL)
			die("%s: would need escapes", *command);
		len += (size_t)snprintf(spec + len, sizeof(spec) - len, "%s\"%s\"",
		    len > 0 ? "," : "", *command);
		if (len >= sizeof(spec))
			die("the command is too long");
	}
	return spec;
}

/* ---- subscribers ----------------------------------------------------------------------------- */

struct subscriber {
	struct peer peer;
	long left;
};

static void
on_item(char *line, size_t len, void *arg)
{
	struct subscriber *s = arg;

	(void)len;
	if (strstr(line, "\"method\":\"$/item\"") == NULL)
		die("unexpected: %s", line);
	s->left--;
}

static void
subscribe(struct peer *p, bool all)
{
	char line[128];

	peer_say(p, line, (size_t)snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":\"s\","
	    "\"method\":\"completions.subscribe\",\"params\":{%s}}\n", all ? "\"since_seq\":0" : ""));
	peer_flush(p);
}

static void
replay(const char *path, long count, int subscribers)
{
	struct subscriber *all = must(calloc((size_t)subscribers, sizeof(*all)));
	double *took = figures_new(subscribers), begin;
	int poll_fd = epoll_create1(EPOLL_CLOEXEC), open = subscribers;

	for (int i = 0; i < subscribers; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };

		all[i] = (struct subscriber){ peer_open(path), count };
		if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, all[i].peer.fd, &event) != 0)
			die("epoll: %s", strerror(errno));
	}
	begin = figures_now();
	for (int i = 0; i < subscribers; i++)
		subscribe(&all[i].peer, true);
	while (open > 0) {
		struct epoll_event events[64];
		int n = epoll_wait(poll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			struct subscriber *s = events[i].data.ptr;

			if (!peer_fill(&s->peer))
				die("a connection ended with %ld to come", s->left);
			peer_lines(&s->peer, on_item, s);
			if (s->left <= 0) {
				took[s - all] = figures_now() - begin;
				close(s->peer.fd);
				open--;
			}
		}
	}
	double seconds = figures_now() - begin;

	figures_print(took, subscribers, seconds / (double)count);
	free(all);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	struct load l = { .count = argc > 3 ? atol(argv[3]) : 0,
		.window = argc > 4 ? atol(argv[4]) : 0, .line = job_line };
	bool sized = l.count > 0 && l.window > 0;

	if (strcmp(what, "stall") == 0) {
		l.peer = peer_open(path);
		subscribe(&l.peer, true);
		puts("stalled");
		fflush(stdout);
		pause();
	} else if (strcmp(what, "replay") == 0 && sized) {
		replay(path, l.count, (int)l.window);
	} else if (strcmp(what, "put") == 0 && sized && argc == 6) {
		char *body = must(calloc(1, SPEC_MAX));

		l.peer = peer_open(path);
		l.spec = memset(body, 'x', (size_t)atoi(argv[5]) % SPEC_MAX);
		l.line = put_line;
		load_run(&l, on_put);
	} else if (strcmp(what, "submit") == 0 && sized && argc > 5) {
		l.peer = peer_open(path);
		l.spec = command_json(argv + 5);
		load_run(&l, on_reply);
	} else if (strcmp(what, "jobs") == 0 && sized && argc > 5) {
		l.peer = peer_open(path);
		l.spec = command_json(argv + 5);
		subscribe(&l.peer, false);
		load_run(&l, on_completion);
	} else {
		fputs("usage: driver jobs|submit SOCKET COUNT WINDOW COMMAND...\n"
		      "       driver put SOCKET COUNT WINDOW BYTES\n"
		      "       driver replay SOCKET COUNT SUBSCRIBERS\n"
		      "       driver stall SOCKET\n", stderr);
		return 2;
	}
	return 0;
}
