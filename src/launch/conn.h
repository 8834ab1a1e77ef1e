#ifndef LAUNCH_CONN_H
#define LAUNCH_CONN_H
/*
 * A live connection to a launcher, as launch.c makes it: conn.c has its life and what is sent,
 * receive.c what comes. For these alone.
 */
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <event2/event.h>

#include "launch/frame.h"
#include "launch/launch.h"
#include "launch/outbox.h"

#define CONN_RECV_BATCH 32

struct conn {
	struct launch base;
	struct launch_handlers handlers;
	void *arg;
	int fd;
	int pidfd; /* -1: this kernel has none; then the socket's end alone tells */
	pid_t pid; /* 0: reaped, or (of one that we did not start) not told yet */
	struct event *readable, *writable, *retry, *died;
	struct outbox outbox;
	/* What is asked of one that outlives us before it has welcomed us: it may still speak
	 * another version, and would not hear it. */
	struct outbox early;
	unsigned calls; /* handlers on the stack */
	bool durable;   /* it outlives us, and need not be our child */
	bool welcomed;
	bool died_told; /* its pidfd has said so */
	bool asked;     /* to re-exec: once */
	unsigned foreign; /* version of the frames that it speaks, while that is another; or 0 */
	bool ended; /* its socket is at the end; how it died is still awaited */
	bool lost, freed;
	char why[128];
	/* Room for one batch; none that comes is longer. */
	_Alignas(8) unsigned char in[CONN_RECV_BATCH][sizeof(union frame)];
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(FRAME_KEPT_MAX * sizeof(int))];
	} control[CONN_RECV_BATCH];
};

/* Without a socket. NULL: no memory. */
struct conn *conn_new(const struct launch_handlers *handlers, void *arg);
/* Its events, when it has its socket, and the launcher's pid if we started it. 0 or an errno. */
int conn_events(struct conn *c, struct event_base *base);
/* Whatever state it is in; no handler is called. */
void conn_destroy(struct conn *c);

/* Around all that may call handlers: these may free the connection. */
void conn_calls_begin(struct conn *c);
void conn_calls_end(struct conn *c);

/* Reaps the launcher if it has ended, and says how in c->why. */
bool conn_reap(struct conn *c);
/* The kernel tells when process c->pid ends, where it can. 0 or an errno. */
int conn_watch_death(struct conn *c);
/* The launcher can't be talked to any more. Told once. */
void conn_lose(struct conn *c, const char *why);

/* HELLO or REEXEC, at once and before WELCOME, too. */
void conn_say(struct conn *c, enum frame_type type, size_t len);
/* WELCOME is there: what was asked for before goes out. */
void conn_welcomed(struct conn *c);
void conn_flush(struct launch *l);

/* Callbacks of events: something came; the launcher died. */
void conn_on_readable(evutil_socket_t fd, short what, void *arg);
void conn_on_died(evutil_socket_t fd, short what, void *arg);

/* launch_pid */
bool conn_is(const struct launch *l);

#endif
