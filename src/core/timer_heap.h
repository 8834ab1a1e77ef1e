#ifndef CORE_TIMER_HEAP_H
#define CORE_TIMER_HEAP_H
/*
 * The timers of a loop in order of time: a binary heap, which knows nothing of clocks. Timers due
 * at the same time stand in the order of arming.
 */
#include "core/loop.h"

#define TIMER_NEVER INT64_MAX

struct timer_heap_entry;

/* All zero: empty. */
struct timer_heap {
	struct timer_heap_entry *entries;
	size_t count;
	size_t capacity;
	uint64_t armings;
};

void timer_heap_fini(struct timer_heap *h);

/* Adds the timer, or moves it, in O(log n). 0 or -SLOT_ENOMEM: it is not there. */
int timer_heap_set(struct timer_heap *h, struct slot_timer *timer, int64_t due_us);

/* Takes out an armed timer, in O(log n). */
void timer_heap_clear(struct timer_heap *h, struct slot_timer *timer);

/* When the first is due; TIMER_NEVER: there is none, or none ever will be. */
int64_t timer_heap_earliest_us(const struct timer_heap *h);

/* Takes out the first where it is due at `now_us`; else NULL. */
struct slot_timer *timer_heap_pop_due(struct timer_heap *h, int64_t now_us);

#endif
