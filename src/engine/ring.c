/*
 * Rings in memory and in files. A file's writer first gives up the bytes it is about to
 * overwrite (start moves), then writes, then announces the new ones (end moves); a reader
 * looks at start again after it has read. So neither waits for the other's I/O, and no
 * reader returns a byte that was overwritten meanwhile. The record of a slot is written in the
 * same order, its reader being an engine that comes after this one was killed.
 */
#include "engine/ring.h"

#include "engine/ring_memory.h"
#include "engine/ring_record.h"
#include "engine/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OVERTAKEN_MAX 3 /* reads in vain before a reader makes the writer wait */

static void
ring_lock(const struct ring *r)
{
	if (r->shared)
		pthread_mutex_lock(&r->group->lock);
}

static void
ring_unlock(const struct ring *r)
{
	if (r->shared)
		pthread_mutex_unlock(&r->group->lock);
}

void
ring_init(struct ring *r, struct ring_group *group, int64_t limit_bytes)
{
	memset(r, 0, sizeof(*r));
	r->group = group;
	r->limit = ring_max(limit_bytes, 0);
	r->room = ring_min(r->limit, RING_MEMORY_MAX);
	r->fd = -1;
}

void
ring_set_spool(struct ring *r, struct spool *spool, const struct ring_name *name)
{
	r->spool = spool;
	r->name = *name;
}

static int
take_file(struct ring *r)
{
	int fd = r->fd;

	r->fd = -1;
	if (fd >= 0)
		atomic_fetch_sub_explicit(&r->group->files, 1, memory_order_relaxed);
	return fd;
}

int
ring_fini(struct ring *r)
{
	ring_memory_free(r); /* before the bounds: what is in the slot counts until it is given back */
	ring_set_bounds(r, r->end, r->end);
	return take_file(r);
}

int
ring_leave(struct ring *r)
{
	if (ring_is_in_slot(r))
		r->memory = NULL;
	r->slot = NULL;
	r->keep_file = true;
	return ring_fini(r);
}

void
ring_set_shared(struct ring *r, bool shared)
{
	/* The spool is the loop's: all that the other thread may need of it is taken now. */
	if (shared && r->fd < 0 && r->spool)
		ring_memory_grow(r, (size_t)r->room);
	r->shared = shared;
}

/* ---- file ---- */

/* The writer's file took none of `len` bytes. During the first lap the file goes on as a ring
 * of the size it has reached, as blocks once written can be written again on a full disk.
 * Otherwise these bytes are lost, and with them the line to all older ones. */
static bool
file_shrink_or_drop(struct ring *r, int64_t len, int error)
{
	bool shrunk = false;

	ring_lock(r);
	ring_set_error(r, error);
	if (r->end > 0 && r->end < r->room) {
		r->room = r->end;
		ring_record_storage(r);
		shrunk = true;
	} else {
		ring_set_bounds(r, r->end + len, r->end + len);
	}
	ring_unlock(r);
	return shrunk;
}

static void
file_append(struct ring *r, const unsigned char *data, size_t len)
{
	while (len > 0) {
		int64_t pos = r->end % r->room, piece;
		ssize_t n;

		/* What would be overwritten before anyone could read it is skipped; but not in
		 * the first lap, as a file has no holes. */
		if (r->end >= r->room && (int64_t)len > r->room) {
			int64_t skip = (int64_t)len - r->room;

			ring_lock(r);
			ring_set_bounds(r, r->end + skip, r->end + skip);
			ring_unlock(r);
			data += skip;
			len -= (size_t)skip;
			continue;
		}
		/* In quarters, so that readers at the live edge keep three of them. */
		piece = ring_min((int64_t)len, ring_max(r->room / 4, 1));
		piece = ring_min(piece, r->room - pos);
		ring_lock(r);
		ring_set_bounds(r, ring_min(ring_max(r->start, r->end + piece - r->room), r->end), r->end);
		ring_unlock(r);
		n = pwrite(r->fd, data, (size_t)piece, (off_t)pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!file_shrink_or_drop(r, piece, n < 0 ? errno : EIO)) {
				data += piece;
				len -= (size_t)piece;
			}
			continue;
		}
		ring_lock(r);
		ring_set_bounds(r, r->start, r->end + n);
		ring_unlock(r);
		data += n;
		len -= (size_t)n;
	}
}

/* ---- the writer ---- */

void
ring_append(struct ring *r, const void *data, size_t len)
{
	if (r->fd >= 0) {
		file_append(r, data, len);
		return;
	}
	ring_lock(r);
	ring_memory_append(r, data, len);
	ring_unlock(r);
}

bool
ring_needs_file(const struct ring *r, size_t len)
{
	return r->fd < 0 && !r->pinned && r->limit > RING_MEMORY_MAX
	    && r->end + (int64_t)len > RING_MEMORY_MAX;
}

int
ring_move_to_file(struct ring *r, int fd)
{
	unsigned char *heap;
	int64_t pos = 0;

	if (r->spool && !r->slot) /* (taken beforehand where it is shared) */
		ring_memory_grow(r, 1);
	heap = ring_is_in_slot(r) ? NULL : r->memory;
	/* Only the writer changes the bytes, and they lie in a line: no lock to write them. */
	while (pos < r->end) {
		ssize_t n = pwrite(fd, r->memory + pos, (size_t)(r->end - pos), (off_t)pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		pos += n;
	}
	ring_lock(r);
	r->fd = fd;
	r->room = r->limit;
	ring_record_storage(r);
	r->memory = NULL;
	r->allocated = 0;
	ring_set_bounds(r, r->start, r->end); /* (of one on the heap the record said less) */
	ring_unlock(r);
	free(heap);
	atomic_fetch_add_explicit(&r->group->files, 1, memory_order_relaxed);
	return 0;
}

void
ring_pin(struct ring *r, int error)
{
	ring_lock(r);
	r->pinned = true;
	ring_set_error(r, error);
	ring_unlock(r);
}

void
ring_break(struct ring *r, int error)
{
	ring_lock(r);
	ring_set_error(r, error);
	ring_set_bounds(r, r->end, r->end);
	ring_unlock(r);
}

/* ---- readers ---- */

ssize_t
ring_read(struct ring *r, int64_t *off, void *buf, size_t max)
{
	int overtaken;

	for (overtaken = 0;; overtaken++) {
		bool hold = overtaken >= OVERTAKEN_MAX;
		int64_t lost, room;
		size_t len;
		ssize_t n;
		int fd;

		ring_lock(r);
		*off = ring_max(*off, r->start);
		len = *off < r->end ? (size_t)ring_min((int64_t)max, r->end - *off) : 0;
		fd = r->fd;
		room = r->room;
		if (fd < 0 && len > 0)
			ring_memory_copy(r, *off, buf, len);
		if (fd < 0 || len == 0) {
			ring_unlock(r);
			return (ssize_t)len;
		}
		if (!hold)
			ring_unlock(r);
		n = ring_file_copy(fd, room, *off, buf, len);
		if (!hold)
			ring_lock(r);
		lost = r->start - *off;
		ring_unlock(r);

		if (n < 0 || lost <= 0)
			return n;
		if (lost < n) {
			memmove(buf, (unsigned char *)buf + lost, (size_t)(n - lost));
			*off += lost;
			return n - (ssize_t)lost;
		}
	}
}

struct ring_bounds
ring_bounds(const struct ring *r)
{
	struct ring_bounds b;

	ring_lock(r);
	b = (struct ring_bounds){.start = r->start, .end = r->end, .error = r->error,
	    .mortal = r->mortal};
	ring_unlock(r);
	return b;
}

int64_t
ring_storage_bytes(const struct ring *r)
{
	return ring_min(r->end, r->room);
}

int
ring_finish(struct ring *r)
{
	unsigned char *memory;

	if (r->start == r->end) {
		ring_memory_free(r);
		return take_file(r);
	}
	if (r->fd < 0 && !r->slot && r->end < (int64_t)r->allocated) {
		memory = realloc(r->memory, (size_t)r->end);
		if (memory) {
			r->memory = memory;
			r->allocated = (size_t)r->end;
		}
	}
	return -1;
}

/* ---- going on ---- */

static void
unlink_file(const struct spool *spool, const struct ring_name *name)
{
	char file[RING_NAME_MAX];

	ring_name_format(name, file);
	ring_file_unlink(spool_output_dir(spool), file);
}

static void
adopt_file(struct ring *r)
{
	int64_t room = atomic_load_explicit(&r->slot->record->file_room, memory_order_relaxed);

	r->fd = ring_file_open(spool_output_dir(r->spool), &r->name, ring_min(r->end, room));
	if (r->fd >= 0) {
		r->room = room;
		atomic_fetch_add_explicit(&r->group->files, 1, memory_order_relaxed);
		return;
	}
	ring_set_error(r, -r->fd);
	r->fd = -1;
	ring_set_bounds(r, r->end, r->end);
	r->room = RING_MEMORY_MAX;
	r->memory = r->slot->bytes;
	r->pinned = true;
	ring_record_storage(r);
	unlink_file(r->spool, &r->name);
}

void
ring_adopt(struct ring *r)
{
	struct spool *spool = r->spool; /* (it may let go of it) */
	const struct spool_record *rec;
	int64_t start, end;

	r->slot = r->spool ? spool_find(r->spool, &r->name) : NULL;
	if (!r->slot)
		return;
	rec = r->slot->record;
	r->limit = rec->limit;
	r->error = atomic_load_explicit(&rec->error, memory_order_relaxed);
	end = atomic_load_explicit(&rec->end, memory_order_acquire);
	start = atomic_load_explicit(&rec->start, memory_order_relaxed);
	r->end = end; /* (ring_set_bounds counts only what is between) */
	r->start = end;
	/* Killed between the two: what was between them is gone. */
	if (start > end)
		ring_set_bounds(r, start, start);
	else
		ring_set_bounds(r, start, end);
	if (atomic_load_explicit(&rec->storage, memory_order_relaxed) == SPOOL_STORAGE_FILE) {
		adopt_file(r);
		return;
	}
	ring_memory_adopt(r);
	/* Killed while it moved to a file: that one counts for nothing. */
	unlink_file(spool, &r->name);
}
