#ifndef ENGINE_RING_H
#define ENGINE_RING_H
/*
 * A ring keeps the newest bytes of one stream under their offsets from its beginning: in
 * memory at first, later in a file whose size never passes the limit. One thread appends;
 * another may read at the same time once the ring is shared. It knows no pipes.
 *
 * With a spool, the memory is a slot of it, and the file has a name: another engine goes on.
 */
#include "engine/ring_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define RING_MEMORY_MAX 65536 /* bytes kept in memory; more than that needs a file */

struct spool;
struct spool_slot;

/* What the rings of one pool have in common. */
struct ring_group {
	pthread_mutex_t lock; /* of shared rings: held for a moment, never over file I/O but
			       * for a reader that was overtaken again and again */
	_Atomic int64_t kept_bytes;
	_Atomic int64_t files;
};

struct ring {
	struct ring_group *group;
	struct spool *spool;     /* NULL: none, or none any more */
	struct spool_slot *slot; /* NULL: not yet, or the memory is of the heap */
	struct ring_name name;   /* job 0: nothing of it outlives the engine */
	unsigned char *memory;
	int64_t limit; /* keep at most this many bytes */
	int64_t room;  /* of the storage now in use: offset o lies at o % room */
	int64_t start, end; /* kept are the bytes of start <= offset < end */
	size_t allocated;
	int fd;       /* the file, -1: memory */
	int error;    /* first errno for which less than the limit is kept */
	int mortal;   /* errno for which it would not outlive the engine */
	bool pinned;  /* stays in memory, no file is to be had */
	bool shared;  /* another thread appends: take the lock */
	bool keep_file; /* the file is history's now */
};

void ring_init(struct ring *r, struct ring_group *group, int64_t limit_bytes);

/* Before the first byte: keep it in the spool (borrowed), under this name. */
void ring_set_spool(struct ring *r, struct spool *spool, const struct ring_name *name);

/* Instead of a first byte: goes on with what the spool has of the name, if it has any. What was
 * kept in a file that can't be opened any more is lost (see error). */
void ring_adopt(struct ring *r);

/* Frees memory and slot. Returns the file's descriptor, the caller's to close, or -1. */
int ring_fini(struct ring *r);

/* As ring_fini, but slot and file stay for the next engine. */
int ring_leave(struct ring *r);

/* From here on another thread appends, or no longer. Called while that thread is at rest. */
void ring_set_shared(struct ring *r, bool shared);

/* ---- the writer ---- */

/* Appends; what is beyond the limit, or can't be kept (see error), drops off the old end. */
void ring_append(struct ring *r, const void *data, size_t len);

/* Whether `len` bytes more would have to go to a file, and one may be given. */
bool ring_needs_file(const struct ring *r, size_t len);

/* Moves to the empty file `fd`, taken on success. 0 or -errno: still in memory, nothing lost. */
int ring_move_to_file(struct ring *r, int fd);

/* No file is to be had: goes on with the newest RING_MEMORY_MAX bytes. */
void ring_pin(struct ring *r, int error);

/* Somewhere in what was appended bytes are missing or too many: none of it is kept. */
void ring_break(struct ring *r, int error);

/* ---- readers ---- */

/* As capture_read. */
ssize_t ring_read(struct ring *r, int64_t *off, void *buf, size_t max);

struct ring_bounds {
	int64_t start, end;
	int error;
	int mortal;
};
struct ring_bounds ring_bounds(const struct ring *r);

/* What is kept in memory, in one piece or two; 0: nothing, or it is in a file. Not while shared;
 * borrowed until the next append or the end of the ring. */
unsigned ring_memory_parts(const struct ring *r, struct iovec parts[2]);

/* About how big the file or the memory is. Not while shared. */
int64_t ring_storage_bytes(const struct ring *r);

/* No more will be appended: gives back memory held for growth, all of it when nothing is
 * kept. Returns a file no longer needed, the caller's to close, or -1. Not while shared. */
int ring_finish(struct ring *r);

#endif
