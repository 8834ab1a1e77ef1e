#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H
/*
 * The client's socket: lines out with descriptors beside them, lines in. It knows frames and
 * libevent, and nothing of JSON. Lines are handed on from the loop's calls, one after another,
 * never from inside a libevent callback.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/buffer.h>

#include "core/loop.h"
#include "wire/frame.h"

struct event;

struct link_handlers {
	/* One line. As in the others, the link may be closed, but not finished, from inside. */
	void (*line)(void *arg, const char *line, size_t len);
	/* The connection is over. Nothing follows. `why` is one line of text. */
	void (*down)(void *arg, int code, const char *why);
	/* What was queued fell to a quarter of the limit after link_is_full said true. */
	void (*room)(void *arg);
	/* The last call of a round of calls to the others: now link_fini is allowed. */
	void (*idle)(void *arg);
};

struct link_fds; /* descriptors that go with the line that begins at some position */

struct link {
	int fd; /* -1: closed */
	struct slot_loop *loop;
	struct event *readable;
	struct event *writable;
	struct frame_reader in;
	struct evbuffer *out;
	uint64_t out_position; /* of the first byte in `out`, in the stream */
	struct link_fds *fds_first, **fds_last;
	size_t limit;
	bool was_full;   /* `room` is owed */
	bool broken;     /* writes fail; what can be read still is */
	bool more_lines; /* the reader stopped at the end of its turn */
	bool busy;       /* a handler is being called */
	int end_code;    /* not 0: `down` is owed once the lines here are through */
	const char *end_why;
	struct slot_call pump;
	struct slot_call flush;
	const struct link_handlers *handlers;
	void *arg;
};

/* Takes fd. 0 or -SLOT_ENOMEM (fd is closed). `limit` bounds what waits to be sent. */
int link_init(struct link *l, struct slot_loop *loop, int fd, size_t limit,
    const struct link_handlers *handlers, void *arg);
/* Closes the socket: no handler is called any more. */
void link_close(struct link *l);
void link_fini(struct link *l); /* closes too */

/* False, and then `room` will be called. */
bool link_has_room(struct link *l, size_t bytes);
/* True until `room` is called: half of the limit was reached, or link_has_room said false. */
bool link_is_full(const struct link *l);

/* Queues the whole line in `line`, which is emptied; nfds descriptors are duplicated and go
 * with it. 0 or -SLOT_ENOMEM, and then nothing was queued. */
int link_send(struct link *l, struct evbuffer *line, const int *fds, unsigned nfds);

/* A stream socket connected to `path`, however long it is: not blocking, close-on-exec.
 * -1 with errno. */
int link_connect(const char *path);

/* The same without ever waiting: EAGAIN where the backlog is full. */
int link_connect_now(const char *path);

/* Whether a process of our own user listens at the other end. */
bool link_peer_is_ours(int fd);

#endif
