/*
 * Memory of rings. A slot's blocks are reserved before they are touched; where that fails, the
 * bytes move to the heap, and the spool isn't asked again.
 */
#include "engine/ring_memory.h"

#include "engine/ring_record.h"
#include "engine/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROW_MIN 64

void
ring_memory_free(struct ring *r)
{
	if (!ring_is_in_slot(r))
		free(r->memory);
	if (r->slot)
		spool_slot_give_back(r->slot);
	r->slot = NULL;
	r->memory = NULL;
	r->allocated = 0;
}

/* When memory is short, what is allocated becomes the whole ring. */
static void
memory_is_short(struct ring *r)
{
	r->room = (int64_t)r->allocated;
	r->pinned = true;
	ring_record_storage(r);
	ring_set_error(r, ENOMEM);
}

/* The spool has no room: on the heap, where it dies with the engine. A slot that it has stays, to
 * say so. */
static void
move_to_heap(struct ring *r, int error, size_t need)
{
	unsigned char *memory;

	r->spool = NULL;
	r->mortal = -error;
	if (!r->slot)
		return;
	memory = malloc(need);
	if (!memory) {
		memory_is_short(r);
		return;
	}
	if (r->allocated > 0)
		memcpy(memory, r->memory, (size_t)ring_min(r->end, (int64_t)r->allocated));
	r->memory = memory;
	r->allocated = need;
	ring_record_lost(r, r->mortal);
}

/* Makes sure of `need` bytes in the slot, or sees to it that it won't be asked again. */
static void
slot_grow(struct ring *r, size_t need)
{
	int error = 0;

	if (!r->slot) {
		r->slot = spool_take(r->spool, &r->name, r->limit, r->room, &error);
		if (r->slot)
			r->memory = r->slot->bytes;
	}
	if (r->slot)
		error = spool_slot_reserve(r->slot, need);
	if (error)
		move_to_heap(r, error, need);
	else
		r->allocated = (size_t)ring_min((int64_t)spool_slot_capacity(r->slot), r->room);
}

static void
heap_grow(struct ring *r, size_t need)
{
	size_t room = (size_t)r->room, size;
	unsigned char *memory;

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
	memory_is_short(r);
}

void
ring_memory_grow(struct ring *r, size_t need)
{
	if (need > r->allocated && r->spool)
		slot_grow(r, need);
	if (need > r->allocated && r->allocated < (size_t)r->room)
		heap_grow(r, need);
}

void
ring_memory_append(struct ring *r, const unsigned char *data, size_t len)
{
	int64_t end = r->end + (int64_t)len;
	size_t room, pos, first;

	ring_memory_grow(r, (size_t)ring_min(end, r->room));
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
		if (ring_is_in_slot(r))
			ring_record_start(r, ring_max(r->start, end - r->room));
		memcpy(r->memory + pos, data, first);
		memcpy(r->memory, data + first, len - first);
	}
	ring_set_bounds(r, ring_min(ring_max(r->start, end - r->room), end), end);
}

void
ring_memory_copy(const struct ring *r, int64_t off, unsigned char *buf, size_t len)
{
	size_t pos = (size_t)(off % r->room);
	size_t first = len < (size_t)r->room - pos ? len : (size_t)r->room - pos;

	memcpy(buf, r->memory + pos, first);
	memcpy(buf + first, r->memory, len - first);
}

unsigned
ring_memory_parts(const struct ring *r, struct iovec parts[2])
{
	size_t pos, first, len = (size_t)(r->end - r->start);

	if (r->fd >= 0 || len == 0)
		return 0;
	pos = (size_t)(r->start % r->room);
	first = len < (size_t)r->room - pos ? len : (size_t)r->room - pos;
	parts[0] = (struct iovec){r->memory + pos, first};
	parts[1] = (struct iovec){r->memory, len - first};
	return first < len ? 2 : 1;
}

void
ring_memory_adopt(struct ring *r)
{
	size_t kept;
	int error;

	r->room = atomic_load_explicit(&r->slot->record->slot_room, memory_order_relaxed);
	kept = (size_t)ring_min(r->end, r->room);
	r->memory = r->slot->bytes;
	r->allocated = kept;
	/* In a line no longer, or memory was short. */
	r->pinned = r->end > r->room || r->room < ring_min(r->limit, RING_MEMORY_MAX);
	/* What was written has blocks; but if it is garbage after all, it may be a hole. */
	error = spool_slot_reserve(r->slot, kept);
	if (error)
		move_to_heap(r, error, kept > 0 ? kept : 1);
	else
		r->allocated = (size_t)ring_min((int64_t)spool_slot_capacity(r->slot), r->room);
}
