#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H
/*
 * The listening socket: binding it, accepting without ever spinning, and noticing that somebody
 * removed it from the file system.
 */
#include "core/logger.h"

#include <stddef.h>
#include <sys/types.h>

struct event_base;

struct listener_place {
	const char *path;
	mode_t mode;
	gid_t group; /* (gid_t)-1: left alone */
};

/*
 * Binds and listens. The caller holds the lock of that path: a socket that nobody listens on is
 * then a left-over and replaced. A descriptor, or a negative errno: -EADDRINUSE where somebody
 * listens there, -ENOTSOCK where a file that is no socket is in the way.
 */
int listener_bind(const struct listener_place *place);

/*
 * A listening socket that the service manager passed (LISTEN_FDS), taken out of the environment.
 * A descriptor; -ENOENT: none was passed; -EINVAL: what was passed is not one stream socket.
 */
int listener_inherit(void);

/* The path that `fd` is bound to, for messages; "?" when it has none. */
void listener_name(int fd, char *buf, size_t size);

struct listener;

struct listener_handlers {
	void (*on_connection)(void *arg, int fd); /* takes fd: non-blocking, close-on-exec */
	void (*on_removed)(void *arg);            /* the path is no longer our socket; told once */
};

/*
 * Accepts on `fd`, which is taken. `path` is watched for removal; NULL: not watched, and not
 * removed by listener_free. When descriptors run out it pauses for a second instead of being
 * called again and again. NULL: out of memory or descriptors (fd is closed).
 */
struct listener *listener_new(struct event_base *base, int fd, const char *path,
    const struct listener_handlers *handlers, void *arg, const struct slot_logger *logger);

/* Accepts what waits to be accepted, now. */
void listener_accept(struct listener *listener);

/* Closes the socket and removes its path, if it is still the same socket. NULL is allowed. */
void listener_free(struct listener *listener);

#endif
