#ifndef ENGINE_CAPTURE_STREAM_H
#define ENGINE_CAPTURE_STREAM_H
/*
 * One stream of a capture: the ring, and as long as it is open the pipe that fills it, which
 * the loop reads at first and the output thread once there is much. Private to captures.
 */
#include "core/loop.h"
#include "engine/capture_thread.h"
#include "engine/ring.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct capture_stream;
struct capture_watch;
struct spool;

/* What all streams share. */
struct capture_pool {
	struct slot_loop *loop;
	struct capture_thread *thread; /* started with the first stream that needs it */
	struct ring_group group;
	int64_t files_max;
	char *files_dir;
	struct spool *spool; /* NULL: output dies with the engine */
	struct spool_landings *landings, own_landings; /* the spool's, or those */
	bool ending;         /* starts no thread any more */
	bool leaving;        /* the engine ends: what streams keep stays for the next one */
	TAILQ_HEAD(, capture_watch) unwatched; /* pipes that the loop does not read yet, by age */
	struct slot_timer watch_timer;         /* … until it is time for the oldest */
	unsigned eager;                        /* so many streams are watched from the first */
	/* More can be read. Maybe called inside drain. */
	void (*on_data)(struct capture_stream *s);
	/* The thread was asked to drain or drop and has closed the pipe; never called inside
	 * drain or drop. It may free the stream. */
	void (*on_closed)(struct capture_stream *s);
};

struct capture_stream {
	struct ring ring;
	struct capture_watch *watch; /* the open pipe; NULL: none yet, or closed */
	uint8_t number;              /* 1 or 2 */
	bool opened;
};

void capture_pool_watch_init(struct capture_pool *pool);

/* The output thread, started at need. NULL: *error is -errno. */
struct capture_thread *capture_pool_thread(struct capture_pool *pool, int *error);
/* Closes a file (-1: none) and removes the one of that name (NULL: none), if that may take long
 * in the thread. `size` is about how big it is. */
void capture_pool_drop_file(struct capture_pool *pool, int fd, int64_t size,
    const struct ring_name *name);

void capture_stream_init(struct capture_stream *s, struct capture_pool *pool, uint8_t number,
    int64_t limit_bytes);
/* Forgets the bytes. It must be closed. */
void capture_stream_fini(struct capture_stream *s);

/* As capture_open. */
int capture_stream_open(struct capture_stream *s, bool want_data, int *write_end);
/* As capture_adopt. */
int capture_stream_adopt(struct capture_stream *s, bool want_data, int read_end);
/* As capture_dup_read_end. */
int capture_stream_dup(const struct capture_stream *s);
bool capture_stream_closed(const struct capture_stream *s);
void capture_stream_want_data(struct capture_stream *s, bool want);

/* Takes in what the pipe holds now, and closes it; or just closes it. Either may end at once
 * (see closed) or later, with on_closed. */
void capture_stream_drain(struct capture_stream *s);
void capture_stream_drop(struct capture_stream *s);

#endif
