/* The job table: chained hashes over a fixed array, a free list, and the one state mover. */
#include "launcher/table.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "launcher/sys.h"

static uint32_t hash(uint64_t v)
{
	v *= 0x9e3779b97f4a7c15u;
	return (uint32_t)(v >> 32);
}

static uint32_t *id_bucket(const struct table *t, uint64_t id, uint32_t attempt)
{
	return &t->by_id[hash(id + ((uint64_t)attempt << 40)) & t->mask];
}

static uint32_t *pid_bucket(const struct table *t, pid_t pid)
{
	return &t->by_pid[hash((uint64_t)pid) & t->mask];
}

int table_init(struct table *t, uint32_t capacity)
{
	uint32_t buckets = 1;

	while (buckets < capacity)
		buckets *= 2;
	memset(t, 0, sizeof(*t));
	t->capacity = capacity;
	t->mask = buckets - 1;
	t->jobs = sys_map(capacity * sizeof(*t->jobs));
	t->by_id = sys_map(buckets * sizeof(*t->by_id));
	t->by_pid = sys_map(buckets * sizeof(*t->by_pid));
	t->free_first = t->exited_first = t->blind_first = JOB_NONE;
	if (!t->jobs || !t->by_id || !t->by_pid)
		return -1;
	memset(t->by_id, 0xff, buckets * sizeof(*t->by_id));
	memset(t->by_pid, 0xff, buckets * sizeof(*t->by_pid));
	return 0;
}

uint32_t table_index(const struct table *t, const struct job *job)
{
	return (uint32_t)(job - t->jobs);
}

struct job *table_find(const struct table *t, uint64_t id, uint32_t attempt)
{
	uint32_t i = *id_bucket(t, id, attempt);

	while (i != JOB_NONE && (t->jobs[i].id != id || t->jobs[i].attempt != attempt))
		i = t->jobs[i].next_id;
	return i == JOB_NONE ? NULL : &t->jobs[i];
}

struct job *table_find_leader(const struct table *t, pid_t pid)
{
	uint32_t i = *pid_bucket(t, pid);

	while (i != JOB_NONE && t->jobs[i].pid != pid)
		i = t->jobs[i].next_pid;
	return i == JOB_NONE ? NULL : &t->jobs[i];
}

static struct job *job_init(struct table *t, uint32_t i, uint64_t id, uint32_t attempt)
{
	struct job *job = &t->jobs[i];

	memset(job, 0, sizeof(*job));
	job->id = job->exit.job = id;
	job->attempt = job->exit.attempt = attempt;
	job->pidfd = job->held_body = -1;
	for (int k = 0; k < 3; k++)
		job->held_fds[k] = job->kept_fds[k] = -1;
	job->heap_index = JOB_NONE;
	job->next_id = *id_bucket(t, id, attempt);
	*id_bucket(t, id, attempt) = i;
	t->used++;
	return job;
}

struct job *table_add(struct table *t, uint64_t id, uint32_t attempt)
{
	uint32_t i = t->free_first;

	if (i == JOB_NONE && t->touched == t->capacity)
		return NULL;
	if (i != JOB_NONE)
		t->free_first = t->jobs[i].next_id;
	else
		i = t->touched++;
	return job_init(t, i, id, attempt);
}

struct job *table_restore(struct table *t, uint32_t index, uint64_t id, uint32_t attempt)
{
	if (index < t->touched || index >= t->capacity || table_find(t, id, attempt))
		return NULL;
	for (; t->touched < index; t->touched++) {
		t->jobs[t->touched].next_id = t->free_first;
		t->free_first = t->touched;
	}
	t->touched++;
	return job_init(t, index, id, attempt);
}

static void remove_id(struct table *t, struct job *job)
{
	uint32_t *link = id_bucket(t, job->id, job->attempt);

	while (&t->jobs[*link] != job)
		link = &t->jobs[*link].next_id;
	*link = job->next_id;
}

static void add_pid(struct table *t, struct job *job)
{
	uint32_t *link = pid_bucket(t, job->pid);

	job->next_pid = *link;
	*link = table_index(t, job);
}

static void remove_pid(struct table *t, struct job *job)
{
	uint32_t *link = pid_bucket(t, job->pid);

	while (&t->jobs[*link] != job)
		link = &t->jobs[*link].next_pid;
	*link = job->next_pid;
	job->pid = 0;
}

static void add_alike(struct table *t, uint32_t *first, struct job *job)
{
	uint32_t i = table_index(t, job);

	job->prev_alike = JOB_NONE;
	job->next_alike = *first;
	if (*first != JOB_NONE)
		t->jobs[*first].prev_alike = i;
	*first = i;
}

static void remove_alike(struct table *t, uint32_t *first, struct job *job)
{
	if (job->prev_alike == JOB_NONE)
		*first = job->next_alike;
	else
		t->jobs[job->prev_alike].next_alike = job->next_alike;
	if (job->next_alike != JOB_NONE)
		t->jobs[job->next_alike].prev_alike = job->prev_alike;
}

static void add_blind(struct table *t, struct job *job)
{
	t->blind++;
	add_alike(t, &t->blind_first, job);
}

static void remove_blind(struct table *t, struct job *job)
{
	t->blind--;
	remove_alike(t, &t->blind_first, job);
}

static bool may_follow(enum job_state from, enum job_state to)
{
	switch (from) {
	case JOB_FREE:
		return to == JOB_HELD || to == JOB_RUNNING || to == JOB_GONE || to == JOB_FREE;
	case JOB_HELD:
		return to == JOB_RUNNING || to == JOB_GONE;
	case JOB_RUNNING:
		return to == JOB_EXITED;
	case JOB_EXITED:
		return to == JOB_GONE;
	case JOB_GONE:
		return to == JOB_FREE;
	}
	return false;
}

static void leave(struct table *t, struct job *job)
{
	switch (job->state) {
	case JOB_FREE:
	case JOB_GONE:
		return;
	case JOB_HELD:
		t->active--;
		t->slots -= job->slots;
		return;
	case JOB_RUNNING:
		t->active--;
		t->slots -= job->slots;
		if (job->pidfd < 0)
			remove_blind(t, job);
		t->leaders--;
		return;
	case JOB_EXITED:
		t->active--;
		t->leaders--;
		remove_alike(t, &t->exited_first, job);
		remove_pid(t, job);
		return;
	}
}

static void enter(struct table *t, struct job *job)
{
	switch (job->state) {
	case JOB_FREE:
		remove_id(t, job);
		job->next_id = t->free_first;
		t->free_first = table_index(t, job);
		t->used--;
		return;
	case JOB_HELD:
		t->active++;
		t->slots += job->slots;
		return;
	case JOB_RUNNING:
		t->active++;
		t->slots += job->slots;
		if (job->pidfd < 0)
			add_blind(t, job);
		t->leaders++;
		add_pid(t, job);
		return;
	case JOB_EXITED:
		t->active++;
		t->leaders++;
		add_alike(t, &t->exited_first, job);
		return;
	case JOB_GONE:
		return;
	}
}

void table_set_state(struct table *t, struct job *job, enum job_state state)
{
	assert(may_follow(job->state, state));
	leave(t, job);
	job->state = state;
	enter(t, job);
}

void table_set_blind(struct table *t, struct job *job)
{
	assert(job->state == JOB_RUNNING && job->pidfd >= 0);
	close(job->pidfd);
	job->pidfd = -1;
	add_blind(t, job);
}

struct job *table_next(const struct table *t, const struct job *job)
{
	uint32_t i = job ? table_index(t, job) + 1 : 0;

	for (; i < t->touched; i++) {
		if (t->jobs[i].state != JOB_FREE)
			return &t->jobs[i];
	}
	return NULL;
}
