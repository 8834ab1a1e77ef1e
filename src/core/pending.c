/*
 * The default pending order: one FIFO for each priority and a bitmap of those that hold
 * something. Every operation is O(1); an action is set aside at most once for each change of
 * the limit.
 */
#include "core/pending.h"

#include "core/executor.h"

#include <assert.h>
#include <stdlib.h>

enum {
	PRIORITIES = SLOT_PRIORITY_MAX - SLOT_PRIORITY_MIN + 1,
	WORDS = (PRIORITIES + 63) / 64,
	NEXT = 0, /* what links[] of a held action mean */
	PREV = 1,
};

struct fifo {
	struct slot_action *first;
	struct slot_action *last;
};

/* What is aside was first of its FIFO when it was found too wide: it is older than all that
 * the FIFO holds, so that putting it back in front restores the order of submitting. */
struct bucket {
	struct fifo ready;
	struct fifo aside;
};

struct slot_pending {
	unsigned max_running;
	bool any_aside;
	uint64_t occupied[WORDS]; /* bit i: buckets[i].ready holds something */
	struct bucket buckets[PRIORITIES]; /* highest priority first */
};

struct slot_pending *
slot_pending_new(unsigned max_running)
{
	struct slot_pending *p = calloc(1, sizeof(*p));

	if (p != NULL)
		p->max_running = max_running;
	return p;
}

void
slot_pending_free(struct slot_pending *p)
{
	free(p);
}

static unsigned
bucket_index(const struct slot_action *a)
{
	assert(a->priority >= SLOT_PRIORITY_MIN && a->priority <= SLOT_PRIORITY_MAX);
	return (unsigned)(SLOT_PRIORITY_MAX - a->priority);
}

static void
mark_occupied(struct slot_pending *p, unsigned index)
{
	uint64_t bit = UINT64_C(1) << (index % 64);

	if (p->buckets[index].ready.first != NULL)
		p->occupied[index / 64] |= bit;
	else
		p->occupied[index / 64] &= ~bit;
}

static void
fifo_append(struct fifo *q, struct slot_action *a)
{
	a->links[NEXT] = NULL;
	a->links[PREV] = q->last;
	if (q->last != NULL)
		q->last->links[NEXT] = a;
	else
		q->first = a;
	q->last = a;
}

static void
fifo_remove(struct fifo *q, struct slot_action *a)
{
	struct slot_action *next = a->links[NEXT];
	struct slot_action *prev = a->links[PREV];

	if (prev != NULL)
		prev->links[NEXT] = next;
	else
		q->first = next;
	if (next != NULL)
		next->links[PREV] = prev;
	else
		q->last = prev;
}

/* All of `from`, in its order, before what `q` holds. */
static void
fifo_prepend_all(struct fifo *q, struct fifo *from)
{
	if (from->first == NULL)
		return;
	from->last->links[NEXT] = q->first;
	if (q->first != NULL)
		q->first->links[PREV] = from->last;
	else
		q->last = from->last;
	q->first = from->first;
	*from = (struct fifo){0};
}

static void
pending_push(void *policy, struct slot_action *a)
{
	struct slot_pending *p = policy;
	unsigned index = bucket_index(a);

	fifo_append(&p->buckets[index].ready, a);
	mark_occupied(p, index);
}

static void
pending_remove(void *policy, struct slot_action *a)
{
	struct slot_pending *p = policy;
	unsigned index = bucket_index(a);
	struct bucket *b = &p->buckets[index];

	/* Only at an end of its FIFO does it matter which of the two it is. */
	if (b->aside.first == a || b->aside.last == a)
		fifo_remove(&b->aside, a);
	else
		fifo_remove(&b->ready, a);
	mark_occupied(p, index);
}

/* The first action of the highest priority, or NULL. */
static struct slot_action *
first_ready(const struct slot_pending *p)
{
	for (unsigned i = 0; i < WORDS; i++) {
		if (p->occupied[i] != 0)
			return p->buckets[i * 64 + (unsigned)__builtin_ctzll(p->occupied[i])]
			    .ready.first;
	}
	return NULL;
}

static void
set_aside(struct slot_pending *p, struct slot_action *a)
{
	unsigned index = bucket_index(a);

	fifo_remove(&p->buckets[index].ready, a);
	fifo_append(&p->buckets[index].aside, a);
	mark_occupied(p, index);
	p->any_aside = true;
}

static struct slot_action *
pending_next_fitting(void *policy, unsigned free_slots)
{
	struct slot_pending *p = policy;
	struct slot_action *a;

	while ((a = first_ready(p)) != NULL && a->slots > p->max_running)
		set_aside(p, a);
	return a != NULL && a->slots <= free_slots ? a : NULL;
}

void
slot_pending_set_limit(struct slot_pending *p, unsigned max_running)
{
	bool raised = max_running > p->max_running;

	p->max_running = max_running;
	if (!raised || !p->any_aside)
		return;
	for (unsigned i = 0; i < PRIORITIES; i++) {
		fifo_prepend_all(&p->buckets[i].ready, &p->buckets[i].aside);
		mark_occupied(p, i);
	}
	p->any_aside = false;
}

const struct slot_pending_ops slot_pending_ops = {
	.push = pending_push,
	.next_fitting = pending_next_fitting,
	.remove = pending_remove,
};
