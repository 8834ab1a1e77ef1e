#ifndef WIRE_ARENA_H
#define WIRE_ARENA_H

/* A bump allocator for what decoding a message makes: freed all at once, never in parts. */

#include <stddef.h>

struct arena_block;

/* All zero is a valid, empty arena. */
struct arena {
	struct arena_block *head;
	char *next;
	size_t left;
};

void *arena_alloc(struct arena *a, size_t size); /* aligned, not cleared; NULL: no memory */
void *arena_calloc(struct arena *a, size_t n, size_t size);         /* cleared */
char *arena_memdup(struct arena *a, const void *bytes, size_t len); /* NUL-terminated copy */
void arena_free(struct arena *a);                                   /* back to empty */

#endif
