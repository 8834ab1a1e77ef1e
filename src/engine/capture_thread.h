#ifndef ENGINE_CAPTURE_THREAD_H
#define ENGINE_CAPTURE_THREAD_H
/*
 * The output thread: reads the pipes that write much, in big pieces, into their rings, and
 * may block on the disk where the loop must not. The loop hears of it through notes, many at
 * a wakeup. It knows no captures.
 */
#include "engine/ring.h"
#include "engine/spool_landing.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

struct event_base;
struct capture_thread;

enum capture_note {
	CAPTURE_NOTE_DATA = 1,   /* the ring has more */
	CAPTURE_NOTE_CLOSED = 2, /* the thread is done with the pipe, it is closed */
};

enum capture_request {
	CAPTURE_REQUEST_NONE,
	CAPTURE_REQUEST_DRAIN, /* read what it holds now, then close */
	CAPTURE_REQUEST_DROP,  /* close */
};

/* A pipe; embedded in its owner. The thread's from capture_thread_take to the CLOSED note,
 * its ring being shared as long; only want_data may be changed meanwhile. */
struct capture_pipe {
	int read_fd; /* non-blocking */
	struct ring *ring;
	atomic_bool want_data; /* whether DATA notes are wanted */

	/* The thread's own, under its lock. */
	STAILQ_ENTRY(capture_pipe) in_requests, in_notes;
	enum capture_request request;
	unsigned notes;
	bool enlarged;
};

/* How many bytes the pipe holds at least; 0: none as yet, or it is at its end. */
size_t capture_pipe_held(const struct capture_pipe *p);
/* Reads once, at most `max` of the `held` bytes, into the landing. The result is read's. What came
 * is to be appended to the ring next, then capture_pipe_kept. */
ssize_t capture_pipe_read(const struct capture_pipe *p, struct spool_landing *l, size_t held,
    size_t max);
void capture_pipe_kept(struct spool_landing *l);

/* Called from the loop with the notes taken; at CLOSED it may free `p`. */
typedef void (*capture_note_cb)(struct capture_pipe *p, unsigned notes, void *arg);

/* All of it is borrowed. */
struct capture_thread_options {
	const char *files_dir; /* files go there, those of rings with a name under it … */
	int64_t files_max;     /* … at most so many being open in … */
	struct ring_group *group; /* … whose lock it shares */
	struct spool_landing *landing;
	capture_note_cb on_note;
	void *arg;
};

/* Starts the thread. NULL: *error is -errno. */
struct capture_thread *capture_thread_new(struct event_base *base,
    const struct capture_thread_options *options, int *error);

/* Each pipe must have been asked to drain or drop. Joins, and hands out the last notes. */
void capture_thread_free(struct capture_thread *t);

/* From here on the thread reads the pipe. 0 or -errno. */
int capture_thread_take(struct capture_thread *t, struct capture_pipe *p);

/* Asks for the end of a pipe; a drop overrides a drain not yet done. */
void capture_thread_request(struct capture_thread *t, struct capture_pipe *p,
    enum capture_request request);

/* Closes a file (-1: none) and removes the one of this name (NULL: none) over there, where it may
 * take its time. In order with the making of files: one of the same name made later stays. */
void capture_thread_drop_file(struct capture_thread *t, int fd, const struct ring_name *name);

#endif
