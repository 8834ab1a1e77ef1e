/* Bound jobs that lost their owner; see orphans.h. */
#include "engine/orphans.h"
#include "engine/context.h"

#include <stdlib.h>

#define CANCEL_SLICE 256 /* jobs cancelled in one call */

struct job_orphans { /* bound jobs whose session or map is gone */
	STAILQ_ENTRY(job_orphans) entry;
	struct job_ties_list list;
	enum msg_reason reason;
};

/* True: the list is empty now. */
static bool
cancel_some(struct job_ties_list *list, enum msg_reason reason)
{
	struct job_ties *t;

	for (int i = 0; i < CANCEL_SLICE; i++) {
		if ((t = LIST_FIRST(list)) == NULL)
			return true;
		job_unbind(t->job);
		job_cancel(t->job, -1, reason);
	}
	return LIST_EMPTY(list);
}

static void
on_orphans(struct slot_call *call)
{
	struct engine *e = slot_container_of(call, struct engine, cancel_orphans);
	struct job_orphans *o = STAILQ_FIRST(&e->orphans);

	if (o == NULL)
		return;
	if (cancel_some(&o->list, o->reason)) {
		STAILQ_REMOVE_HEAD(&e->orphans, entry);
		free(o);
	}
	if (!STAILQ_EMPTY(&e->orphans))
		slot_loop_call_at_turn_end(e->loop, &e->cancel_orphans);
}

void
orphans_add(struct engine *e, struct job_ties_list *list, enum msg_reason reason)
{
	struct job_orphans *o;

	if (cancel_some(list, reason))
		return;
	o = calloc(1, sizeof *o);
	if (o == NULL) { /* then all at once */
		while (!cancel_some(list, reason))
			;
		return;
	}
	o->reason = reason;
	LIST_FIRST(&o->list) = LIST_FIRST(list); /* the whole list, which isn't empty, moves */
	LIST_FIRST(&o->list)->of_owner.le_prev = &LIST_FIRST(&o->list);
	LIST_INIT(list);
	STAILQ_INSERT_TAIL(&e->orphans, o, entry);
	slot_loop_call_at_turn_end(e->loop, &e->cancel_orphans);
}

void
orphans_init(struct engine *e)
{
	STAILQ_INIT(&e->orphans);
	e->cancel_orphans.run = on_orphans;
}

void
orphans_fini(struct engine *e)
{
	struct job_orphans *o;

	slot_loop_call_cancel(e->loop, &e->cancel_orphans);
	while ((o = STAILQ_FIRST(&e->orphans)) != NULL) {
		while (!cancel_some(&o->list, o->reason))
			;
		STAILQ_REMOVE_HEAD(&e->orphans, entry);
		free(o);
	}
}
