/* The FIFO of idfifo.h. */
#include "engine/idfifo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 13  /* ids: 128 bytes in all */
#define CHUNK_MAX 509 /* … 4096 */
#define DEATHS_MAX 128 /* then a chunk is squeezed: four ids looked at for each death */

struct idfifo_chunk {
	struct idfifo_chunk *next;
	uint32_t at;  /* the first; those before it were taken */
	uint32_t end;
	uint32_t cap;
	uint64_t ids[];
};

void
idfifo_fini(struct idfifo *f)
{
	for (struct idfifo_chunk *c = f->head, *next; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	memset(f, 0, sizeof *f);
}

static struct idfifo_chunk *
add_chunk(struct idfifo *f)
{
	uint32_t cap = f->tail != NULL ? f->tail->cap * 2 + 3 : CHUNK_MIN;
	struct idfifo_chunk *c;

	if (cap > CHUNK_MAX)
		cap = CHUNK_MAX;
	c = malloc(sizeof *c + cap * sizeof *c->ids);
	if (c == NULL)
		return NULL;
	c->next = NULL;
	c->at = c->end = 0;
	c->cap = cap;
	if (f->tail != NULL)
		f->tail->next = c;
	else
		f->head = c;
	return f->tail = c;
}

int
idfifo_push(struct idfifo *f, uint64_t id)
{
	struct idfifo_chunk *c = f->tail;

	if ((c == NULL || c->end == c->cap) && (c = add_chunk(f)) == NULL)
		return -ENOMEM;
	c->ids[c->end++] = id;
	f->last = id;
	return 0;
}

uint64_t
idfifo_first(const struct idfifo *f)
{
	return f->head != NULL ? f->head->ids[f->head->at] : 0;
}

/* Takes out the chunk that stands after `before` (NULL: the head). */
static void
drop_chunk(struct idfifo *f, struct idfifo_chunk *before)
{
	struct idfifo_chunk *c = before != NULL ? before->next : f->head;

	if (before != NULL)
		before->next = c->next;
	else
		f->head = c->next;
	if (f->tail == c)
		f->tail = before;
	if (f->squeezed == c)
		f->squeezed = before;
	free(c);
}

/* The dead in the chunk after `before` go, and the living move up as far as there is room. */
static void
squeeze(struct idfifo *f, struct idfifo_chunk *before, const struct idfifo_owner *owner)
{
	struct idfifo_chunk *c = before != NULL ? before->next : f->head;
	uint32_t room = before != NULL ? before->cap - before->end : 0, kept = c->at, moved = 0;

	for (uint32_t i = c->at; i < c->end; i++) {
		if (!owner->alive(owner->arg, c->ids[i]))
			continue;
		if (moved < room) {
			before->ids[before->end++] = c->ids[i];
			moved++;
		} else {
			c->ids[kept++] = c->ids[i];
		}
	}
	c->end = kept;
	f->squeezed = c;
	if (c->at == c->end)
		drop_chunk(f, before);
}

void
idfifo_died(struct idfifo *f, const struct idfifo_owner *owner)
{
	struct idfifo_chunk *c;

	while ((c = f->head) != NULL && !owner->alive(owner->arg, c->ids[c->at]))
		if (++c->at == c->end)
			drop_chunk(f, NULL);
	if (++f->deaths < DEATHS_MAX || f->head == NULL)
		return;
	f->deaths = 0;
	if (f->squeezed != NULL && f->squeezed->next == NULL)
		f->squeezed = NULL;
	squeeze(f, f->squeezed, owner);
}

size_t
idfifo_read(const struct idfifo *f, const struct idfifo_owner *owner, uint64_t *ids, size_t max)
{
	size_t n = 0;

	for (const struct idfifo_chunk *c = f->head; c != NULL && n < max; c = c->next)
		for (uint32_t i = c->at; i < c->end && n < max; i++)
			if (owner->alive(owner->arg, c->ids[i]))
				ids[n++] = c->ids[i];
	return n;
}
