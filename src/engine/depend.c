/* Dependencies between jobs; see depend.h. */
#include "engine/context.h"
#include "engine/depend.h"

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

static bool
satisfied_by(const struct job *job, const struct row *on)
{
	return (job->row->spec->flags & SPEC_AFTER_ANY) || on->run->ok;
}

int
depend_enter(struct job *job)
{
	const struct spec *spec = job->row->spec;
	const uint64_t *after = spec_at(spec, spec->after_off);
	struct engine *e = job->engine;
	struct job_ties *t;

	if (spec->nafter == 0)
		return 0;
	if ((t = job_ties(job)) == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < spec->nafter; i++) {
		struct row *on = e->store->ops->find(e->store, after[i]);
		struct job *live = job_find(e, after[i]);

		if (on == NULL)
			continue; /* it was there when checked, and could only be pruned if done */
		if (on->phase != ROW_DONE) {
			if (add_dependent(live, job->row->id) < 0)
				return -ENOMEM;
			t->waits_for++;
		} else if (!satisfied_by(job, on)) {
			job_finish(job, MSG_OUTCOME_DEPENDENCY_FAILED, MSG_REASON_NONE);
			return 0;
		}
	}
	if (t->waits_for > 0)
		job_hold(job, JOB_HELD_AFTER);
	return 0;
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
	if (!satisfied_by(dependent, ended->row))
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
