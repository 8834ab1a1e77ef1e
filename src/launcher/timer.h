#ifndef LAUNCHER_TIMER_H
#define LAUNCHER_TIMER_H
/* One timer per job, in a heap over the fixed table; it knows only times. */
#include "launcher/table.h"

struct timers {
	struct table *table;
	uint32_t *heap; /* of job indices */
	uint32_t count;
};

int timers_init(struct timers *t, struct table *table); /* 0 or -1: no memory */
void timers_set(struct timers *t, struct job *job, int64_t due_us); /* arms or moves */
void timers_clear(struct timers *t, struct job *job);
bool timers_armed(const struct job *job);
/* The time of the next one, or -1. */
int64_t timers_next_us(const struct timers *t);
/* Takes one that is due at now_us off the heap; NULL: none is. */
struct job *timers_take_due(struct timers *t, int64_t now_us);

#endif
