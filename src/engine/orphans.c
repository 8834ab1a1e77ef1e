/* Bound jobs that lost their owner; see orphans.h. */
#include "engine/orphans.h"
#include "engine/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CANCEL_SLICE 256 /* jobs cancelled in one call */

struct job_absent { /* a session of an earlier engine that jobs are bound to */
	LIST_ENTRY(job_absent) entry;
	struct job_ties_list jobs;
	uint32_t uid;
	uint8_t session[ROW_SESSION_LEN];
};

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

/* The whole list moves: `to` is its head from now on. */
static void
move_all(struct job_ties_list *to, struct job_ties_list *from)
{
	LIST_INIT(to);
	if (LIST_EMPTY(from))
		return;
	LIST_FIRST(to) = LIST_FIRST(from);
	LIST_FIRST(to)->of_owner.le_prev = &LIST_FIRST(to);
	LIST_INIT(from);
}

/* They go on without us; the next engine finds in the journal whose they are. */
static void
let_go(struct job_ties_list *list)
{
	struct job_ties *t;

	while ((t = LIST_FIRST(list)) != NULL)
		job_unbind(t->job);
}

void
orphans_add(struct engine *e, struct job_ties_list *list, enum msg_reason reason)
{
	struct job_orphans *o;

	if (e->store->durable && (e->shutting_down || e->failed)) {
		let_go(list);
		return;
	}
	if (cancel_some(list, reason))
		return;
	o = calloc(1, sizeof *o);
	if (o == NULL) { /* then all at once */
		while (!cancel_some(list, reason))
			;
		return;
	}
	o->reason = reason;
	move_all(&o->list, list);
	STAILQ_INSERT_TAIL(&e->orphans, o, entry);
	slot_loop_call_at_turn_end(e->loop, &e->cancel_orphans);
}

/* ---- sessions of before the restart ---- */

/* Found ones move to the front: the jobs of one session lie together. */
static struct job_absent *
find_absent(struct engine *e, uint32_t uid, const uint8_t *session)
{
	struct job_absent *a;

	LIST_FOREACH(a, &e->absent, entry)
		if (a->uid == uid && memcmp(a->session, session, ROW_SESSION_LEN) == 0)
			break;
	if (a != NULL && a != LIST_FIRST(&e->absent)) {
		LIST_REMOVE(a, entry);
		LIST_INSERT_HEAD(&e->absent, a, entry);
	}
	return a;
}

int
orphans_await(struct engine *e, struct job *job)
{
	const struct row *row = job->row;
	struct job_absent *a = find_absent(e, row->uid, row->session);
	struct job_ties *t = job_ties(job);

	if (t == NULL)
		return -ENOMEM;
	if (a == NULL) {
		a = calloc(1, sizeof *a);
		if (a == NULL)
			return -ENOMEM;
		a->uid = row->uid;
		memcpy(a->session, row->session, sizeof a->session);
		LIST_INSERT_HEAD(&e->absent, a, entry);
	}
	t->owned = true;
	LIST_INSERT_HEAD(&a->jobs, t, of_owner);
	return 0;
}

void
orphans_await_until(struct engine *e, int64_t due_us)
{
	if (!LIST_EMPTY(&e->absent))
		slot_loop_timer_set(e->loop, &e->bound_grace, due_us);
}

static void
absent_free(struct job_absent *a)
{
	LIST_REMOVE(a, entry);
	free(a);
}

bool
orphans_await_it(struct engine *e, uint32_t uid, const uint8_t *session)
{
	return find_absent(e, uid, session) != NULL;
}

void
orphans_claim(struct engine *e, uint32_t uid, const uint8_t *session, struct job_ties_list *list)
{
	struct job_absent *a = find_absent(e, uid, session);
	struct job_ties *t;

	if (a == NULL)
		return;
	while ((t = LIST_FIRST(&a->jobs)) != NULL) {
		LIST_REMOVE(t, of_owner);
		LIST_INSERT_HEAD(list, t, of_owner);
	}
	absent_free(a);
}

static void
on_bound_grace(struct slot_timer *timer)
{
	struct engine *e = slot_container_of(timer, struct engine, bound_grace);
	struct job_absent *a;

	while ((a = LIST_FIRST(&e->absent)) != NULL) {
		orphans_add(e, &a->jobs, MSG_REASON_SESSION_ENDED);
		absent_free(a);
	}
	job_kick(e);
}

/* ---- */

void
orphans_init(struct engine *e)
{
	STAILQ_INIT(&e->orphans);
	LIST_INIT(&e->absent);
	e->cancel_orphans.run = on_orphans;
	e->bound_grace.fire = on_bound_grace;
}

void
orphans_fini(struct engine *e)
{
	struct job_orphans *o;

	struct job_absent *a;

	slot_loop_call_cancel(e->loop, &e->cancel_orphans);
	slot_loop_timer_clear(e->loop, &e->bound_grace);
	while ((a = LIST_FIRST(&e->absent)) != NULL) {
		let_go(&a->jobs);
		absent_free(a);
	}
	while ((o = STAILQ_FIRST(&e->orphans)) != NULL) {
		while (!e->store->durable && !cancel_some(&o->list, o->reason))
			;
		let_go(&o->list);
		STAILQ_REMOVE_HEAD(&e->orphans, entry);
		free(o);
	}
}
