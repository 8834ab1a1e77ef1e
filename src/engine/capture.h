#ifndef ENGINE_CAPTURE_H
#define ENGINE_CAPTURE_H
/*
 * What jobs write to stdout and stderr, read from pipes. Of each stream the newest limit
 * bytes are kept, in memory up to 64 KiB, beyond that in a file. The loop reads only a bounded
 * amount at a time; a stream that passes 64 KiB is read by a thread of its own, so that neither
 * a flood nor a slow disk holds up the loop.
 *
 *	capture_new -> capture_open (1, 2 or none) -> the leader exits -> capture_drain
 *	-> on_drained -> readable until the last unref
 *
 * That is all with a pool in memory. With a durable one, the memory is a slot of the spool and the
 * file has a name, so that what an engine had read is there for the next one, even after kill -9.
 * Then, in this order:
 *
 * At start: capture_replay_spool_open -> capture_pool_new_durable. Once the journal and the
 *	launcher said what was running, for each such attempt, lost ones included:
 *		capture_new -> capture_name -> capture_adopt (1 and 2, with the read ends that came
 *		back or -1), then what is usual; what exited meanwhile, or is lost: capture_drain
 *	Then capture_pool_sweep, with a callback that asks history. Jobs may start before.
 * At launch: capture_new -> capture_name -> capture_open; capture_dup_read_end before the next
 *	turn of the loop, for the launcher to keep.
 * At completion, after on_drained: capture_take of both streams, into the batch.
 * After that batch's commit: capture_keep_files if a file was taken, then capture_unref as ever.
 *	A retry, or a start that was refused, takes and keeps nothing: capture_unref.
 * To read from history: ring_file_read, with the pool's directory, on any thread.
 * When history is pruned: capture_pool_unlink, or ring_file_unlink on another thread.
 * At an orderly end whose jobs run on: capture_pool_leave, before captures are given back.
 *
 * Bytes up to 64 KiB a stream are as durable as the batch they are in. A file is never synced:
 * after a power cut it may be cut, and reading it then gives -EIO.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define CAPTURE_NAME_MAX 40 /* of a file's name, with its zero */

struct ring_name;
struct slot_loop;
struct spool;
struct capture;      /* the output of one attempt of a job: streams 1 and 2 */
struct capture_pool; /* one per engine: the thread, the spool directory, the totals */

/* A pool whose files go to `spool_dir` (copied; NULL: $TMPDIR or /tmp), `loop` is borrowed.
 * Its bound on open spool files is a quarter of the RLIMIT_NOFILE of this moment. NULL:
 * out of memory. */
struct capture_pool *capture_pool_new(struct slot_loop *loop, const char *spool_dir);

/* A pool that keeps what outlives the engine in the spool (taken, also on failure); not for a
 * manual loop. NULL: out of memory. */
struct capture_pool *capture_pool_new_durable(struct slot_loop *loop, struct spool *spool);

/* Where its files are: for ring_file_read. */
const char *capture_pool_files_dir(const struct capture_pool *pool);

/* Whether history names the file of this stream, the one its taking described. Asked once for
 * each file found at start that no adopted capture continues. */
typedef bool (*capture_keep_cb)(void *arg, const struct ring_name *name);

/* After the adoptions, once: forgets what nobody adopted, and removes the files that `keep` (NULL:
 * none is kept) says no to, in the thread. How many. It asks before it returns. */
int64_t capture_pool_sweep(struct capture_pool *pool, capture_keep_cb keep, void *arg);

/* Removes a file that history no longer names, in the thread. */
void capture_pool_unlink(struct capture_pool *pool, const char *name);

/* The engine ends and its jobs run on: what captures keep from here on when they are given back,
 * stays for the next engine. */
void capture_pool_leave(struct capture_pool *pool);

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
 * forgets the bytes, in the spool and on disk too. NULL is allowed. */
void capture_unref(struct capture *c);

/* The owner goes away: no handler is called from here on. */
void capture_detach(struct capture *c);

/* Whether on_data is wanted (at first: yes). Without a follower, not wanting it saves the
 * loop's wakeups, and a pipe may hold what comes in its first 10 ms. What came in while it wasn't
 * wanted is not announced: read first. */
void capture_want_data(struct capture *c, bool want);

/* Before a stream is opened or adopted: whose output it is. In a durable pool only what has a name
 * outlives the engine; in others it changes nothing. Never two captures of one name at a time. */
void capture_name(struct capture *c, uint64_t job, uint32_t attempt);

/* Instead of opening it: stream 1 or 2 goes on where an earlier engine left it (offsets, bytes and
 * limit), reading from `read_end` (taken in any case; it may be non-blocking already), -1: nothing
 * more will come. What the spool hasn't begins at 0. 0 or -errno: without the pipe, but with the
 * bytes. */
int capture_adopt(struct capture *c, int stream, int read_end);

/* As named; 0: it has no name. */
uint32_t capture_attempt(const struct capture *c);

/* A copy (close-on-exec) of the read end, as long as the loop reads it. -errno: -EMFILE, -EBADF. */
int capture_dup_read_end(const struct capture *c, int stream);

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

/* 0, or the errno for which what is kept of some stream dies with the engine: the spool had no
 * room for it. 0 in a pool in memory. */
int capture_mortal(const struct capture *c);

/* A stream to be recorded: it is closed, and [start, end) of it are kept. */
struct capture_output {
	int64_t start, end;
	/* In one piece or two, if it is in memory; borrowed until the capture's last unref. */
	struct iovec parts[2];
	unsigned nparts;
	/* Otherwise in the file of this name (see ring_file_read), "" if not. */
	char name[CAPTURE_NAME_MAX];
	int64_t room;
};

/* Describes what to record of stream 1 or 2, after on_drained. False: there is nothing. It changes
 * nothing: until capture_keep_files the next engine could do the same. */
bool capture_take(const struct capture *c, int stream, struct capture_output *output);

/* History names the files now: they stay when the capture goes. */
void capture_keep_files(struct capture *c);

/*
 * Copies up to `max` bytes from offset *off, which is moved up to the oldest kept byte where
 * it lies below: the bytes begin at *off, the next ones at *off + result. Safe while more
 * comes in. Result: bytes, 0 at the end so far, -errno.
 */
ssize_t capture_read(struct capture *c, int stream, int64_t *off, void *buf, size_t max);

#endif
