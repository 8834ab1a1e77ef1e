#ifndef ENGINE_RING_MEMORY_H
#define ENGINE_RING_MEMORY_H
/*
 * The memory of a ring: a slot of the spool if it has one that has room, else the heap. Private
 * to rings.
 */
#include "engine/ring.h"

#include <stddef.h>
#include <stdint.h>

/* Makes `need` bytes usable, or room less. Until the first lap is over the bytes lie in a line. */
void ring_memory_grow(struct ring *r, size_t need);
void ring_memory_append(struct ring *r, const unsigned char *data, size_t len);
/* Copies len bytes from offset off, all of which are kept. */
void ring_memory_copy(const struct ring *r, int64_t off, unsigned char *buf, size_t len);
/* Gives back the slot (of a ring in a file, too) or the memory. */
void ring_memory_free(struct ring *r);

/* The bounds of a slot that was found are set: goes on with the bytes in it. */
void ring_memory_adopt(struct ring *r);

#endif
