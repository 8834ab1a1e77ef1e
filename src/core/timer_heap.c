/*
 * A binary heap of timers.
 */
#include "core/timer_heap.h"

#include <assert.h>
#include <stdlib.h>

enum { CAPACITY_MIN = 16 };

/* The key stands in the heap: sifting touches no timer but the ones it moves. */
struct timer_heap_entry {
	int64_t due_us;
	uint64_t order; /* of arming, among equal times */
	struct slot_timer *timer;
};

static bool
entry_before(const struct timer_heap_entry *a, const struct timer_heap_entry *b)
{
	if (a->due_us != b->due_us)
		return a->due_us < b->due_us;
	return a->order < b->order;
}

static void
put(struct timer_heap *h, size_t i, struct timer_heap_entry entry)
{
	h->entries[i] = entry;
	entry.timer->index = i + 1;
	entry.timer->due_us = entry.due_us;
}

/* Finds the place of `entry`, the hole being at `i`. */
static void
sift(struct timer_heap *h, size_t i, struct timer_heap_entry entry)
{
	while (i > 0 && entry_before(&entry, &h->entries[(i - 1) / 2])) {
		put(h, i, h->entries[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < h->count &&
		    entry_before(&h->entries[child + 1], &h->entries[child]))
			child++;
		if (child >= h->count || !entry_before(&h->entries[child], &entry))
			break;
		put(h, i, h->entries[child]);
		i = child;
	}
	put(h, i, entry);
}

static int
resize(struct timer_heap *h, size_t capacity)
{
	struct timer_heap_entry *entries = realloc(h->entries, capacity * sizeof(*entries));

	if (entries == NULL)
		return -SLOT_ENOMEM;
	h->entries = entries;
	h->capacity = capacity;
	return 0;
}

void
timer_heap_fini(struct timer_heap *h)
{
	free(h->entries);
	*h = (struct timer_heap){0};
}

int
timer_heap_set(struct timer_heap *h, struct slot_timer *timer, int64_t due_us)
{
	struct timer_heap_entry entry = {due_us, h->armings++, timer};

	if (timer->index != 0) {
		sift(h, timer->index - 1, entry);
		return 0;
	}
	if (h->count == h->capacity &&
	    resize(h, h->capacity > 0 ? h->capacity * 2 : CAPACITY_MIN) != 0)
		return -SLOT_ENOMEM;
	sift(h, h->count++, entry);
	return 0;
}

void
timer_heap_clear(struct timer_heap *h, struct slot_timer *timer)
{
	size_t i = timer->index - 1;

	assert(timer->index != 0 && h->entries[i].timer == timer);
	timer->index = 0;
	h->count--;
	if (i != h->count)
		sift(h, i, h->entries[h->count]);
	/* Give back what a peak took; when that fails, it stays. */
	if (h->capacity > CAPACITY_MIN && h->count < h->capacity / 4)
		(void)resize(h, h->capacity / 2);
}

int64_t
timer_heap_earliest_us(const struct timer_heap *h)
{
	return h->count > 0 ? h->entries[0].due_us : TIMER_NEVER;
}

struct slot_timer *
timer_heap_pop_due(struct timer_heap *h, int64_t now_us)
{
	struct slot_timer *timer;

	if (h->count == 0 || h->entries[0].due_us > now_us)
		return NULL;
	timer = h->entries[0].timer;
	timer_heap_clear(h, timer);
	return timer;
}
