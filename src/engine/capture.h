#ifndef ENGINE_CAPTURE_H
#define ENGINE_CAPTURE_H
/*
 * What jobs write to stdout and stderr, read from pipes. Of each stream the newest limit
 * bytes are kept, in memory up to 64 KiB, beyond that in an unlinked file. The loop reads
 * only a bounded amount at a time; a stream that passes 64 KiB is read by a thread of its
 * own, so that neither a flood nor a slow disk holds up the loop.
 *
 *	capture_new -> capture_open (1, 2 or none) -> the leader exits -> capture_drain
 *	-> on_drained -> readable until the last unref
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct slot_loop;
struct capture;      /* the output of one attempt of a job: streams 1 and 2 */
struct capture_pool; /* one per engine: the thread, the spool directory, the totals */

/* A pool whose files go to `spool_dir` (copied; NULL: $TMPDIR or /tmp), `loop` is borrowed.
 * Its bound on open spool files is a quarter of the RLIMIT_NOFILE of this moment. NULL:
 * out of memory. */
struct capture_pool *capture_pool_new(struct slot_loop *loop, const char *spool_dir);

/* Ends the thread and frees. All captures must have been given back. NULL is allowed. */
void capture_pool_free(struct capture_pool *pool);

/* Bytes kept by all captures of the pool, in memory and in files; how many files. */
int64_t capture_pool_bytes(const struct capture_pool *pool);
int64_t capture_pool_files(const struct capture_pool *pool);

/* Called from the loop, never inside a call of this module; either may be NULL. They may do
 * anything, capture_unref included. */
struct capture_handlers {
	/* There is more to read in some stream (coalesced). */
	void (*on_data)(struct capture *c, void *arg);
	/* After capture_drain, once: all that the pipes held then is in, both are closed.
	 * Comes after the on_data of the last bytes. */
	void (*on_drained)(struct capture *c, void *arg);
};

/* A capture with one reference, the caller's, keeping `limit_bytes` a stream (0: it drains and
 * keeps nothing). `handlers` is borrowed as long as the capture is not detached (a static
 * table), NULL for none. NULL: out of memory. */
struct capture *capture_new(struct capture_pool *pool, int64_t limit_bytes,
    const struct capture_handlers *handlers, void *arg);

struct capture *capture_ref(struct capture *c);

/* Gives a reference back; the last one closes what is open (a writer gets SIGPIPE then) and
 * forgets the bytes. NULL is allowed. */
void capture_unref(struct capture *c);

/* The owner goes away: no handler is called from here on. */
void capture_detach(struct capture *c);

/* Whether on_data is wanted (at first: yes). Without a follower, not wanting it saves the
 * loop's wakeups. What came in while it wasn't wanted is not announced: read first. */
void capture_want_data(struct capture *c, bool want);

/* Opens the pipe of stream 1 or 2, each once. *write_end is the caller's: blocking and
 * close-on-exec. stderr joined to stdout needs no call: give the job the same descriptor
 * twice. 0 or -errno: -EMFILE, -ENFILE, -ENOMEM; -ENOTSUP on a manual loop. */
int capture_open(struct capture *c, int stream, int *write_end);

/* The leader has exited: takes in what the pipes hold at this moment, not waiting for their
 * end (a descendant may hold them), closes them, then on_drained. Streams that were never
 * opened are fine. A second call does nothing. */
void capture_drain(struct capture *c);

/* Bytes ever read from the stream: the offset after the newest. */
int64_t capture_end(const struct capture *c, int stream);
/* The offset of the oldest kept byte ("dropped_before"). */
int64_t capture_start(const struct capture *c, int stream);
int64_t capture_kept_bytes(const struct capture *c, int stream);
/* No more will come: drained, or never opened. */
bool capture_closed(const struct capture *c, int stream);
/* Bytes were dropped in some stream. */
bool capture_truncated(const struct capture *c);
/* 0, or the errno (of the first failure) for which less than the limit was kept. */
int capture_error(const struct capture *c);

/*
 * Copies up to `max` bytes from offset *off, which is moved up to the oldest kept byte where
 * it lies below: the bytes begin at *off, the next ones at *off + result. Safe while more
 * comes in. Result: bytes, 0 at the end so far, -errno.
 */
ssize_t capture_read(struct capture *c, int stream, int64_t *off, void *buf, size_t max);

/* Forgets the bytes kept so far (start moves to end), memory and file included once the
 * capture is closed. For a total over many captures; it counts as truncated if any were kept. */
void capture_discard(struct capture *c);

#endif
