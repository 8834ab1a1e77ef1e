/* A bump allocator for decoded messages. */

#include "wire/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK 1008u /* glibc keeps freed pieces of this size at hand, not of larger ones */
#define ARENA_ALIGN 16u

struct arena_block {
	struct arena_block *older;
	size_t size;
};

#define ARENA_HEAD ((sizeof(struct arena_block) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN)

void *
arena_alloc(struct arena *a, size_t size)
{
	if (size > SIZE_MAX / 4)
		return NULL;
	size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (size == 0)
		size = ARENA_ALIGN;

	if (size > a->left) {
		/* Double up so that many small pieces make few blocks. */
		size_t block = a->head != NULL ? a->head->size * 2 : ARENA_BLOCK;
		struct arena_block *head;

		if (block > 64 * ARENA_BLOCK)
			block = 64 * ARENA_BLOCK;
		if (block < size + ARENA_HEAD)
			block = size + ARENA_HEAD;
		head = malloc(block);
		if (head == NULL)
			return NULL;
		head->older = a->head;
		head->size = block;
		a->head = head;
		a->next = (char *)head + ARENA_HEAD;
		a->left = block - ARENA_HEAD;
	}

	void *piece = a->next;

	a->next += size;
	a->left -= size;
	return piece;
}

void *
arena_calloc(struct arena *a, size_t n, size_t size)
{
	void *piece;

	if (size != 0 && n > SIZE_MAX / 4 / size)
		return NULL;
	piece = arena_alloc(a, n * size);
	if (piece != NULL)
		memset(piece, 0, n * size);
	return piece;
}

char *
arena_memdup(struct arena *a, const void *bytes, size_t len)
{
	char *copy = arena_alloc(a, len + 1);

	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, bytes, len);
	copy[len] = '\0';
	return copy;
}

void
arena_free(struct arena *a)
{
	struct arena_block *block = a->head;

	while (block != NULL) {
		struct arena_block *older = block->older;

		free(block);
		block = older;
	}
	memset(a, 0, sizeof(*a));
}
