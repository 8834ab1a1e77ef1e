#ifndef ENGINE_RING_RECORD_H
#define ENGINE_RING_RECORD_H
/*
 * What a ring says of itself, in its own fields and in the record of its slot where it has one.
 * Private to rings.
 */
#include "engine/ring.h"
#include "engine/spool_slot.h"

#include <stdint.h>

static inline int64_t
ring_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t
ring_max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The bytes are in the slot's own memory (false: on the heap, or in a file). */
static inline bool
ring_is_in_slot(const struct ring *r)
{
	return r->slot != NULL && r->memory == r->slot->bytes;
}

/* The one place where the bounds change; under the lock. */
void ring_set_bounds(struct ring *r, int64_t start, int64_t end);
/* In the record alone: what lies before `start` is about to be overwritten. */
void ring_record_start(struct ring *r, int64_t start);
/* In the record: where the bytes are, which room there is. */
void ring_record_storage(struct ring *r);
/* In the record: nothing of it would be there for another engine, for this errno. */
void ring_record_lost(struct ring *r, int error);
/* The first one stays. */
void ring_set_error(struct ring *r, int error);

#endif
