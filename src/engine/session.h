#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H
/*
 * A client's connection: bytes and descriptors in, lines to requests, bytes out when their batch
 * has committed. Input is bounded (a line, and not read while much output waits), output is
 * bounded by streams that pause above SESSION_STREAM_HIGH.
 *
 *	open -> half-closed (peer sent end of file: what is in flight is answered) -> closed
 *	open -> closing (told why: nothing is read any more, output is flushed) -> closed
 */
#include "core/loop.h"
#include "engine/job.h"
#include "wire/frame.h"
#include <sys/queue.h>
#include <sys/types.h>

struct engine;
struct event;
struct evbuffer;
struct request;

#define SESSION_STREAM_HIGH (256u * 1024u)  /* no stream writes above this */
#define SESSION_INPUT_HIGH (1024u * 1024u)  /* nothing is read above this */
#define SESSION_FDS_MAX 64u                 /* descriptors held a connection … */
#define SESSION_FDS_TOTAL_MAX 1024u         /* … and in all */
#define SESSION_MALFORMED_MAX 8             /* in a row: the connection ends */
#define SESSION_WATCH_MAX 65536u            /* job ids that open requests name */
#define SESSION_PARKED_MAX 256u             /* requests that await launcher or store: no reading */
#define SESSION_HELD_MAX 16u                /* submits that wait for room */

struct session_fd { /* a descriptor that waits for the request that holds its byte */
	int fd;
	uint64_t position;
};

struct session {
	TAILQ_ENTRY(session) entry;
	struct engine *engine;
	uint32_t refs;
	int fd;
	uid_t uid;
	pid_t pid;
	bool admin;
	bool half_closed, closing, closed;
	bool reading;      /* the read event is in */
	bool choked;       /* some stream waits for its output to leave */
	bool named;        /* rows name it */
	uint8_t id[ROW_SESSION_LEN]; /* what the rows of bound jobs name … */
	char token[2 * ROW_SESSION_LEN + 1]; /* … and the client, in hexadecimal */

	struct event *read_event, *write_event, *hangup_event;
	int hangup_fd;
	struct slot_call more;   /* lines are left to handle */
	struct slot_call reap;   /* free it, outside any callback of its own */
	struct slot_call doom;   /* close it likewise: its output is broken */
	struct slot_timer stall;

	struct frame_reader in;
	struct session_fd fds[SESSION_FDS_MAX];
	unsigned nfds;
	unsigned malformed;      /* lines in a row */

	struct evbuffer *out;
	uint64_t appended, released, written; /* positions in its output */
	uint64_t mark_batch;     /* the batch that will release what it wrote last … */
	size_t mark_index;       /* … and where in it that stands */
	uint32_t marks;          /* batches that will release something of it */

	TAILQ_HEAD(, request) requests; /* in flight, oldest first */
	struct request *stalled; /* of them, the one whose read holds up further input; load.h */
	unsigned nrequests;
	unsigned nwaiting;       /* of them, those that wait on jobs, clients or room */
	unsigned nstreams;
	unsigned nheld;          /* of them, submits that wait for room */
	size_t nwatched;         /* job ids they name */
	struct job_ties_list bound;
};

/* A session on fd (taken). NULL: refused or out of memory; the peer was told where possible. */
struct session *session_new(struct engine *e, int fd);
/* The engine serves from now on: reads what it has sent till now. */
void session_begin(struct session *s);
/* Ends it now: requests are dropped, bound jobs cancelled. Safe in any callback. */
void session_close(struct session *s, const char *why);
/* Closes it soon: what was written to it is incomplete for want of memory. */
void session_doom(struct session *s);
/* Stops reading; closes once the output has left. */
void session_finish(struct session *s);
struct session *session_ref(struct session *s);
void session_unref(struct session *s);

/* Bytes that wait in its output. */
size_t session_backlog(const struct session *s);
/* Something was appended to s->out. */
void session_wrote(struct session *s);
/* … or (rc < 0) only half of it: the connection is of no more use. */
void session_wrote_line(struct session *s, int rc);
/* Closes descriptors that came with a message, and takes them off the books. */
void session_close_fds(struct engine *e, const int *fds, unsigned n);
/* The batch that covers the output up to `position` has committed: it may leave. */
void session_release(struct session *s, uint64_t position);
/* A request ended: a half-closed session without any is done. */
void session_request_gone(struct session *s);
/* Gives it what an earlier connection of the same uid held, to this engine or one before it; if
 * there was none, nothing. 0, or -EBUSY: it has bound jobs of its own, which a restart would look
 * for under the id that it would give up. */
int session_take_over(struct session *s, const char *token);

/* ---- on a manual loop, which watches no descriptors: a test is the peer ---- */

/* The peer sent bytes, with descriptors (taken) on the last of them; no bytes: its input ended. */
void session_feed(struct session *s, const void *bytes, size_t len, const int *fds, unsigned nfds);
/* The peer reads what may leave, up to max bytes; returns how many. */
size_t session_take(struct session *s, void *buf, size_t max);

#endif
