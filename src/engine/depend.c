/* Dependencies between jobs; see depend.h. */
#include "engine/context.h"
#include "engine/depend.h"
#include "engine/shelf.h"

#include <errno.h>
#include <stdlib.h>

#define DEPEND_SLICE 256 /* dependents told in one call */

struct depend_item {
	struct depend_item *next;
	struct job *job; /* counted */
	size_t at;       /* the first dependent not told yet */
};

static int
add_dependent(struct job *on, uint64_t id)
{
	struct job_ties *t = job_ties(on);

	if (t == NULL)
		return -ENOMEM;
	if (t->ndependents == t->dependents_cap) {
		size_t cap = t->dependents_cap != 0 ? t->dependents_cap * 2 : 4;
		uint64_t *v = realloc(t->dependents, cap * sizeof *v);

		if (v == NULL)
			return -ENOMEM;
		t->dependents = v;
		t->dependents_cap = cap;
	}
	t->dependents[t->ndependents++] = id;
	return 0;
}

/* `job` waits for something that ended ok, or not, or nobody knows how. */
static bool
satisfied_by(const struct job *job, bool ok)
{
	return (job->row->spec->flags & SPEC_AFTER_ANY) || ok;
}

/* A row that `after` names, counted. NULL: unknown (it was there when checked, and could only be
 * pruned if done, and that well, or its end had been told), or *error is set: it is damaged. */
typedef struct row *(*find_row)(struct store *s, uint64_t id, int *error);

static struct row *
find_in_memory(struct store *s, uint64_t id, int *error)
{
	struct row *row = s->ops->find(s, id);

	*error = 0;
	return row != NULL ? row_ref(row) : NULL;
}

static struct row *
find_anywhere(struct store *s, uint64_t id, int *error)
{
	struct row *row = find_in_memory(s, id, error);

	return row != NULL || s->ops->load == NULL ? row : s->ops->load(s, id, error);
}

/* The job that ends one day is told to tell `job`. 0 or -ENOMEM. */
static int
wait_for(struct job *job, struct row *on)
{
	struct engine *e = job->engine;
	struct job *live = job_find(e, on->id);

	if (live == NULL)
		live = shelf_take(e, on);
	if (live == NULL || add_dependent(live, job->row->id) < 0)
		return -ENOMEM;
	job->ties->waits_for++;
	return 0;
}

/* 1: go on with the next; 0: it is decided, the job is done; or -errno. */
static int
enter_one(struct job *job, uint64_t id, find_row find)
{
	struct store *s = job->engine->store;
	int error, rc = 1;
	struct row *on = find(s, id, &error);

	if (error == -ENOMEM)
		return error;
	if (on != NULL && on->phase != ROW_DONE) {
		rc = wait_for(job, on) < 0 ? -ENOMEM : 1;
	} else if (!satisfied_by(job, on != NULL ? on->run->ok : error == 0)) {
		job_finish(job, MSG_OUTCOME_DEPENDENCY_FAILED, MSG_REASON_NONE);
		rc = 0;
	}
	row_unref(s, on);
	return rc;
}

static int
enter(struct job *job, find_row find)
{
	const struct spec *spec = job->row->spec;
	const uint64_t *after = spec_at(spec, spec->after_off);

	if (spec->nafter == 0)
		return 0;
	if (job_ties(job) == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < spec->nafter; i++) {
		int rc = enter_one(job, after[i], find);

		if (rc <= 0)
			return rc;
	}
	if (job->ties->waits_for > 0)
		job_hold(job, JOB_HELD_AFTER);
	return 0;
}

int
depend_enter(struct job *job)
{
	return enter(job, find_in_memory);
}

int
depend_recover(struct job *job)
{
	return enter(job, find_anywhere);
}

void
depend_ended(struct job *job)
{
	struct engine *e = job->engine;
	struct depend_item *item;

	if (job->ties == NULL || job->ties->ndependents == 0)
		return;
	item = calloc(1, sizeof *item);
	if (item == NULL)
		abort(); /* a dependent that never hears would wait for ever */
	item->job = job_ref(job);
	if (e->ended == NULL) /* else a slice is due already, or this is one */
		slot_loop_call_soon(e->loop, &e->cascade);
	*e->ended_tail = item;
	e->ended_tail = &item->next;
}

static void
tell(struct job *dependent, const struct job *ended)
{
	struct job_ties *t = dependent->ties;

	if (job_phase(dependent) != ROW_PENDING || t == NULL || t->waits_for == 0)
		return;
	if (!satisfied_by(dependent, ended->row->run->ok))
		job_finish(dependent, MSG_OUTCOME_DEPENDENCY_FAILED, MSG_REASON_NONE);
	else if (--t->waits_for == 0)
		job_release_hold(dependent, JOB_HELD_AFTER);
}

static void
on_cascade(struct slot_call *call)
{
	struct engine *e = slot_container_of(call, struct engine, cascade);
	struct depend_item *item;
	unsigned told = 0;

	while ((item = e->ended) != NULL) {
		struct job_ties *t = item->job->ties;

		while (item->at < t->ndependents) {
			struct job *dependent;

			if (told++ == DEPEND_SLICE) {
				slot_loop_call_at_turn_end(e->loop, &e->cascade);
				job_kick(e);
				return;
			}
			dependent = job_find(e, t->dependents[item->at++]);
			if (dependent != NULL)
				tell(dependent, item->job);
		}
		e->ended = item->next;
		if (e->ended == NULL)
			e->ended_tail = &e->ended;
		job_unref(item->job);
		free(item);
	}
	job_kick(e);
}

void
depend_init(struct engine *e)
{
	e->ended_tail = &e->ended;
	e->cascade.run = on_cascade;
}

void
depend_fini(struct engine *e)
{
	struct depend_item *item;

	slot_loop_call_cancel(e->loop, &e->cascade);
	while ((item = e->ended) != NULL) {
		e->ended = item->next;
		job_unref(item->job);
		free(item);
	}
	e->ended_tail = &e->ended;
}
