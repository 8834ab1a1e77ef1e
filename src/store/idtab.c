/* The table of idtab.h. */
#include "store/idtab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BITS 8
#define CHUNK_SIZE (1u << CHUNK_BITS)
#define CHUNK_MASK (CHUNK_SIZE - 1)
/* A gap wider than this many chunks is a caller's mistake, not a table: ids are dense. */
#define DIRECTORY_MAX (1u << 28)

struct idtab_chunk {
	unsigned used;
	void *slots[CHUNK_SIZE];
};

void
idtab_fini(struct idtab *t)
{
	for (size_t i = 0; i < t->nchunks; i++)
		free(t->chunks[i]);
	free(t->chunks);
	memset(t, 0, sizeof *t);
}

static struct idtab_chunk *
chunk_of(const struct idtab *t, uint64_t id)
{
	uint64_t n = id >> CHUNK_BITS;

	if (n < t->base || n - t->base >= t->nchunks)
		return NULL;
	return t->chunks[n - t->base];
}

void *
idtab_get(const struct idtab *t, uint64_t id)
{
	struct idtab_chunk *c = chunk_of(t, id);

	return c != NULL ? c->slots[id & CHUNK_MASK] : NULL;
}

static int
reserve(struct idtab *t, size_t n)
{
	size_t cap = t->cap != 0 ? t->cap : 16;
	struct idtab_chunk **chunks;

	if (n <= t->cap)
		return 0;
	if (n > DIRECTORY_MAX)
		return -ENOMEM;
	while (cap < n)
		cap *= 2;
	chunks = realloc(t->chunks, cap * sizeof *chunks);
	if (chunks == NULL)
		return -ENOMEM;
	t->chunks = chunks;
	t->cap = cap;
	return 0;
}

/* Makes the directory reach chunk number n. */
static int
cover(struct idtab *t, uint64_t n)
{
	if (t->nchunks == 0)
		t->base = n;
	if (n >= t->base && n - t->base < t->head)
		t->head = (size_t)(n - t->base);
	if (n < t->base) { /* an older id comes back */
		size_t more = (size_t)(t->base - n);

		if (reserve(t, t->nchunks + more) < 0)
			return -ENOMEM;
		memmove(t->chunks + more, t->chunks, t->nchunks * sizeof *t->chunks);
		memset(t->chunks, 0, more * sizeof *t->chunks);
		t->nchunks += more;
		t->base = n;
		t->head = 0;
		return 0;
	}
	if (n - t->base >= t->nchunks) {
		size_t want = (size_t)(n - t->base) + 1;

		if (reserve(t, want) < 0)
			return -ENOMEM;
		memset(t->chunks + t->nchunks, 0, (want - t->nchunks) * sizeof *t->chunks);
		t->nchunks = want;
	}
	return 0;
}

int
idtab_put(struct idtab *t, uint64_t id, void *value)
{
	uint64_t n = id >> CHUNK_BITS;
	struct idtab_chunk **c;

	if (cover(t, n) < 0)
		return -ENOMEM;
	c = &t->chunks[n - t->base];
	if (*c == NULL && (*c = calloc(1, sizeof **c)) == NULL)
		return -ENOMEM;
	if ((*c)->slots[id & CHUNK_MASK] == NULL) {
		(*c)->used++;
		t->count++;
	}
	(*c)->slots[id & CHUNK_MASK] = value;
	return 0;
}

/* Chunk `at` became empty. One memmove pays for at least half the directory. */
static void
trim(struct idtab *t, size_t at)
{
	if (at != t->head)
		return;
	while (t->head < t->nchunks && t->chunks[t->head] == NULL)
		t->head++;
	if (t->head < t->nchunks && t->head <= t->nchunks / 2)
		return;
	memmove(t->chunks, t->chunks + t->head, (t->nchunks - t->head) * sizeof *t->chunks);
	t->nchunks -= t->head;
	t->base += t->head;
	t->head = 0;
}

void *
idtab_remove(struct idtab *t, uint64_t id)
{
	struct idtab_chunk *c = chunk_of(t, id);
	void *value;

	if (c == NULL || (value = c->slots[id & CHUNK_MASK]) == NULL)
		return NULL;
	c->slots[id & CHUNK_MASK] = NULL;
	t->count--;
	if (--c->used == 0) {
		size_t at = (size_t)((id >> CHUNK_BITS) - t->base);

		free(c);
		t->chunks[at] = NULL;
		trim(t, at);
	}
	return value;
}

void *
idtab_next(const struct idtab *t, uint64_t from, uint64_t *id)
{
	uint64_t n = from >> CHUNK_BITS;
	unsigned slot = from & CHUNK_MASK;

	if (t->nchunks == 0)
		return NULL;
	if (n < t->base + t->head) {
		n = t->base + t->head;
		slot = 0;
	}
	for (; n - t->base < t->nchunks; n++, slot = 0) {
		struct idtab_chunk *c = t->chunks[n - t->base];

		for (; c != NULL && slot < CHUNK_SIZE; slot++)
			if (c->slots[slot] != NULL) {
				*id = (n << CHUNK_BITS) + slot;
				return c->slots[slot];
			}
	}
	return NULL;
}

void *
idtab_prev(const struct idtab *t, uint64_t from, uint64_t *id)
{
	uint64_t n = from >> CHUNK_BITS;
	unsigned slot = from & CHUNK_MASK;

	if (t->nchunks == 0 || n < t->base)
		return NULL; /* (a table without entries has no chunks) */
	if (n - t->base >= t->nchunks) {
		n = t->base + t->nchunks - 1;
		slot = CHUNK_MASK;
	}
	for (;; n--, slot = CHUNK_MASK) {
		struct idtab_chunk *c = t->chunks[n - t->base];

		for (unsigned i = slot + 1; c != NULL && i > 0; i--)
			if (c->slots[i - 1] != NULL) {
				*id = (n << CHUNK_BITS) + i - 1;
				return c->slots[i - 1];
			}
		if (n == t->base)
			return NULL;
	}
}
