#ifndef CTL_SINK_H
#define CTL_SINK_H
/*
 * A descriptor that is written to without waiting: what doesn't go at once is kept, and told of
 * when it went. Descriptors that slotctl was given share their flags with other processes, so
 * they are never made non-blocking themselves.
 */
#include <stdbool.h>
#include <stddef.h>

struct event;
struct event_base;
struct evbuffer;

enum sink_kind {
	SINK_INHERITED,   /* one that we were given: 0, 1 or 2 */
	SINK_NONBLOCKING, /* our own, non-blocking */
};

/* Fields are the sink's own but for error: the errno of the write that failed, after which
 * everything is dropped. */
struct sink {
	int error;
	int fd;
	bool opened;      /* fd is ours: the same file, opened again */
	bool nonblocking;
	struct evbuffer *buffer;
	struct event *writable; /* NULL: a file, which always takes all */
	void (*drained)(void *arg);
	void *arg;
};

/* `drained` is called from the loop once a write that had to wait is through, or has failed.
 * 0, or -1: out of memory. */
int sink_init(struct sink *sink, struct event_base *base, int fd, enum sink_kind kind,
    void (*drained)(void *arg), void *arg);

/* Appends. 0, or -1: out of memory. */
int sink_add(struct sink *sink, const void *data, size_t len);

/* Writes what goes; true: nothing is left (or it failed). */
bool sink_flush(struct sink *sink);

/* Nothing waits to be written. */
bool sink_is_empty(const struct sink *sink);

void sink_fini(struct sink *sink);

/* The file behind `fd` opened again as a non-blocking one of our own, where it is a pipe or a
 * terminal and may be; -1: it can't. `flags`: O_RDONLY or O_WRONLY. */
int sink_reopen(int fd, int flags);

/* A file that can be waited for: no regular one, nor a device that is always ready. */
bool sink_can_wait(int fd);

#endif
