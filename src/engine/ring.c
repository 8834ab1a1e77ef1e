/*
 * Rings in memory and in files. A file's writer first gives up the bytes it is about to
 * overwrite (start moves), then writes, then announces the new ones (end moves); a reader
 * looks at start again after it has read. So neither waits for the other's I/O, and no
 * reader returns a byte that was overwritten meanwhile.
 */
#include "engine/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROW_MIN 64
#define OVERTAKEN_MAX 3 /* reads in vain before a reader makes the writer wait */

static int64_t
min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

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

/* The one place where the bounds change; under the lock. */
static void
set_bounds(struct ring *r, int64_t start, int64_t end)
{
	int64_t more = (end - start) - (r->end - r->start);

	r->start = start;
	if (end != r->end) /* only the writer changes end; it reads it without the lock */
		r->end = end;
	if (more != 0)
		atomic_fetch_add_explicit(&r->group->kept_bytes, more, memory_order_relaxed);
}

static void
set_error(struct ring *r, int error)
{
	if (r->error == 0)
		r->error = error;
}

void
ring_init(struct ring *r, struct ring_group *group, int64_t limit_bytes)
{
	memset(r, 0, sizeof(*r));
	r->group = group;
	r->limit = max64(limit_bytes, 0);
	r->room = min64(r->limit, RING_MEMORY_MAX);
	r->fd = -1;
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
	set_bounds(r, r->end, r->end);
	free(r->memory);
	r->memory = NULL;
	r->allocated = 0;
	return take_file(r);
}

void
ring_set_shared(struct ring *r, bool shared)
{
	r->shared = shared;
}

/* ---- memory ---- */

/* Makes room for `len` bytes more. Until the first lap is over the bytes lie in a line, so
 * when memory is short, what is allocated becomes the whole ring. */
static void
memory_grow(struct ring *r, size_t len)
{
	size_t room = (size_t)r->room, need, size;
	unsigned char *memory;

	if (r->allocated >= room)
		return;
	need = (size_t)min64(r->end + (int64_t)len, r->room);
	if (need <= r->allocated)
		return;
	size = r->allocated * 2 > GROW_MIN ? r->allocated * 2 : GROW_MIN;
	if (size < need)
		size = (need + GROW_MIN - 1) / GROW_MIN * GROW_MIN;
	if (size > room)
		size = room;
	memory = realloc(r->memory, size);
	if (memory) {
		r->memory = memory;
		r->allocated = size;
		return;
	}
	r->room = (int64_t)r->allocated;
	r->pinned = true;
	set_error(r, ENOMEM);
}

static void
memory_append(struct ring *r, const unsigned char *data, size_t len)
{
	int64_t end = r->end + (int64_t)len;
	size_t room, pos, first;

	memory_grow(r, len);
	room = (size_t)r->room;
	if (end > r->room)
		r->pinned = true; /* no longer in a line: too late to move */
	if (len > room) {
		data += len - room;
		len = room;
	}
	if (len > 0) {
		pos = (size_t)((end - (int64_t)len) % r->room);
		first = len < room - pos ? len : room - pos;
		memcpy(r->memory + pos, data, first);
		memcpy(r->memory, data + first, len - first);
	}
	set_bounds(r, min64(max64(r->start, end - r->room), end), end);
}

static void
memory_copy(const struct ring *r, int64_t off, unsigned char *buf, size_t len)
{
	size_t pos = (size_t)(off % r->room);
	size_t first = len < (size_t)r->room - pos ? len : (size_t)r->room - pos;

	memcpy(buf, r->memory + pos, first);
	memcpy(buf + first, r->memory, len - first);
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
	set_error(r, error);
	if (r->end > 0 && r->end < r->room) {
		r->room = r->end;
		shrunk = true;
	} else {
		set_bounds(r, r->end + len, r->end + len);
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
			set_bounds(r, r->end + skip, r->end + skip);
			ring_unlock(r);
			data += skip;
			len -= (size_t)skip;
			continue;
		}
		/* In quarters, so that readers at the live edge keep three of them. */
		piece = min64((int64_t)len, max64(r->room / 4, 1));
		piece = min64(piece, r->room - pos);
		ring_lock(r);
		set_bounds(r, min64(max64(r->start, r->end + piece - r->room), r->end), r->end);
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
		set_bounds(r, r->start, r->end + n);
		ring_unlock(r);
		data += n;
		len -= (size_t)n;
	}
}

/* Copies len bytes from offset off, around the end of the file where needed. */
static ssize_t
file_copy(int fd, int64_t room, int64_t off, unsigned char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int64_t pos = (off + (int64_t)done) % room;
		size_t piece = (size_t)min64((int64_t)(len - done), room - pos);
		ssize_t n = pread(fd, buf + done, piece, (off_t)pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
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
	memory_append(r, data, len);
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
	unsigned char *memory = r->memory;
	int64_t pos = 0;

	/* Only the writer changes the bytes, and they lie in a line: no lock to write them. */
	while (pos < r->end) {
		ssize_t n = pwrite(fd, memory + pos, (size_t)(r->end - pos), (off_t)pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		pos += n;
	}
	ring_lock(r);
	r->fd = fd;
	r->room = r->limit;
	r->memory = NULL;
	r->allocated = 0;
	ring_unlock(r);
	free(memory);
	atomic_fetch_add_explicit(&r->group->files, 1, memory_order_relaxed);
	return 0;
}

void
ring_pin(struct ring *r, int error)
{
	ring_lock(r);
	r->pinned = true;
	set_error(r, error);
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
		*off = max64(*off, r->start);
		len = *off < r->end ? (size_t)min64((int64_t)max, r->end - *off) : 0;
		fd = r->fd;
		room = r->room;
		if (fd < 0 && len > 0)
			memory_copy(r, *off, buf, len);
		if (fd < 0 || len == 0) {
			ring_unlock(r);
			return (ssize_t)len;
		}
		if (!hold)
			ring_unlock(r);
		n = file_copy(fd, room, *off, buf, len);
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
	b = (struct ring_bounds){.start = r->start, .end = r->end, .error = r->error};
	ring_unlock(r);
	return b;
}

int64_t
ring_storage_bytes(const struct ring *r)
{
	return min64(r->end, r->room);
}

void
ring_discard(struct ring *r)
{
	ring_lock(r);
	set_bounds(r, r->end, r->end);
	ring_unlock(r);
}

int
ring_finish(struct ring *r)
{
	unsigned char *memory;

	if (r->start == r->end) {
		free(r->memory);
		r->memory = NULL;
		r->allocated = 0;
		return take_file(r);
	}
	if (r->fd < 0 && r->end < (int64_t)r->allocated) {
		memory = realloc(r->memory, (size_t)r->end);
		if (memory) {
			r->memory = memory;
			r->allocated = (size_t)r->end;
		}
	}
	return -1;
}
