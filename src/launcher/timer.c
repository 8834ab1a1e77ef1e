/* A binary heap of job indices, ordered by due time. */
#include "launcher/timer.h"

#include "launcher/sys.h"

int timers_init(struct timers *t, struct table *table)
{
	t->table = table;
	t->count = 0;
	t->heap = sys_map(table->capacity * sizeof(*t->heap));
	return t->heap ? 0 : -1;
}

static int64_t due_at(const struct timers *t, uint32_t at)
{
	return t->table->jobs[t->heap[at]].due_us;
}

static void put(struct timers *t, uint32_t at, uint32_t index)
{
	t->heap[at] = index;
	t->table->jobs[index].heap_index = at;
}

static void sift_up(struct timers *t, uint32_t at, uint32_t index)
{
	int64_t due = t->table->jobs[index].due_us;

	for (; at > 0 && due < due_at(t, (at - 1) / 2); at = (at - 1) / 2)
		put(t, at, t->heap[(at - 1) / 2]);
	put(t, at, index);
}

static void sift_down(struct timers *t, uint32_t at, uint32_t index)
{
	int64_t due = t->table->jobs[index].due_us;
	uint32_t child;

	while ((child = 2 * at + 1) < t->count) {
		if (child + 1 < t->count && due_at(t, child + 1) < due_at(t, child))
			child++;
		if (due <= due_at(t, child))
			break;
		put(t, at, t->heap[child]);
		at = child;
	}
	put(t, at, index);
}

bool timers_armed(const struct job *job)
{
	return job->heap_index != JOB_NONE;
}

void timers_clear(struct timers *t, struct job *job)
{
	uint32_t at = job->heap_index, last;

	if (at == JOB_NONE)
		return;
	job->heap_index = JOB_NONE;
	last = t->heap[--t->count];
	if (at == t->count)
		return;
	if (at > 0 && t->table->jobs[last].due_us < due_at(t, (at - 1) / 2))
		sift_up(t, at, last);
	else
		sift_down(t, at, last);
}

void timers_set(struct timers *t, struct job *job, int64_t due_us)
{
	timers_clear(t, job);
	job->due_us = due_us;
	sift_up(t, t->count++, table_index(t->table, job));
}

int64_t timers_next_us(const struct timers *t)
{
	return t->count ? due_at(t, 0) : -1;
}

struct job *timers_take_due(struct timers *t, int64_t now_us)
{
	struct job *job;

	if (t->count == 0 || due_at(t, 0) > now_us)
		return NULL;
	job = &t->table->jobs[t->heap[0]];
	timers_clear(t, job);
	return job;
}
