/* Facts of a turn and what they set going once durable; see batch.h. */
#include "engine/batch.h"
#include "core/failpoint.h"
#include "engine/context.h"
#include "engine/hub.h"
#include "engine/run.h"
#include "engine/session.h"

#include <stdlib.h>

#define SPARE_FACTS_MAX 4096 /* a batch that grew beyond is not kept for the next turn */

static struct batch *
open_batch(struct engine *e)
{
	struct batch *b = e->open;

	if (b != NULL)
		return b;
	b = e->spare != NULL ? e->spare : calloc(1, sizeof *b);
	e->spare = NULL;
	if (b == NULL)
		abort(); /* nothing of a turn could be recorded any more */
	b->number = b->last = ++e->batches;
	b->next = NULL;
	return e->open = b;
}

/* Doubles an array of a batch; without it nothing could be recorded any more. */
static void *
grown(void *v, size_t *cap, size_t size)
{
	*cap = *cap != 0 ? *cap * 2 : 64;
	v = realloc(v, *cap * size);
	if (v == NULL)
		abort();
	return v;
}

void
batch_changed(struct engine *e)
{
	open_batch(e)->changed = true;
	engine_touch(e);
}

void
batch_add(struct engine *e, enum fact_kind kind, struct job *job, struct row_run *run)
{
	struct batch *b = open_batch(e);

	if (b->nfacts == b->cap)
		b->facts = grown(b->facts, &b->cap, sizeof *b->facts);
	b->facts[b->nfacts++] = (struct fact){
		.kind = kind,
		.attempt = job->row->attempt,
		.job = job_ref(job),
		.run = run,
		.at_us = slot_loop_wall_us(e->loop),
	};
	engine_touch(e);
}

static void
add_mark(struct batch *b, const struct batch_mark *m)
{
	if (b->ndirty == b->dirty_cap)
		b->dirty = grown(b->dirty, &b->dirty_cap, sizeof *b->dirty);
	m->session->mark_batch = b->number;
	m->session->mark_index = b->ndirty;
	b->dirty[b->ndirty++] = *m;
}

void
batch_mark(struct engine *e, struct session *s)
{
	struct batch *b = open_batch(e);

	engine_touch(e);
	if (s->mark_batch == b->number) {
		b->dirty[s->mark_index].position = s->appended;
		return;
	}
	s->marks++;
	add_mark(b, &(struct batch_mark){ session_ref(s), s->appended, s->mark_batch,
	    s->mark_index });
}

/* What the launcher told of the attempt is durable. (Of a lost one another would have.) */
static void
ack(struct engine *e, const struct fact *f)
{
	struct job_run *run = f->job->active;

	if (run == NULL)
		return;
	if (run->unacked == f->attempt)
		run->unacked = 0;
	else if (run->lost)
		return;
	if (e->launch == NULL)
		return;
	failpoint(FAILPOINT_ACK_BEFORE);
	e->launch->ops->ack(e->launch, f->job->row->id, f->attempt);
	if (failpoint_armed)
		e->launch->ops->push(e->launch); /* then it is true what the point says */
	failpoint(FAILPOINT_ACK_AFTER);
}

static void
act(struct engine *e, struct fact *f)
{
	switch (f->kind) {
	case FACT_SUBMITTED:
	case FACT_REQUEUED:
		break;
	case FACT_STARTED:
		if (f->attempt == f->job->row->attempt)
			run_launch(f->job);
		break;
	case FACT_ATTEMPT_FAILED:
		ack(e, f);
		break;
	case FACT_DONE:
		ack(e, f);
		e->published_seq = f->job->row->run->seq;
		job_publish(f->job);
		break;
	}
	hub_event(e, f);
	if (f->kind == FACT_SUBMITTED)
		shelf_put(f->job);
}

static void
recycle(struct engine *e, struct batch *b)
{
	b->nfacts = b->ndirty = 0;
	b->changed = false;
	if (e->spare == NULL && b->cap <= SPARE_FACTS_MAX) {
		e->spare = b;
		return;
	}
	free(b->facts);
	free(b->dirty);
	free(b);
}

static void
release(struct batch_mark *m)
{
	m->session->marks--;
	session_release(m->session, m->position);
	session_unref(m->session);
}

static void
release_all(struct engine *e, struct batch *b)
{
	if (b->ndirty > 0)
		failpoint(FAILPOINT_REPLY_BEFORE);
	for (size_t i = 0; i < b->ndirty; i++)
		release(&b->dirty[i]);
	recycle(e, b);
	engine_unstuck(e);
	if (e->shutting_down)
		engine_check_idle(e);
}

static void
on_commit(void *arg, uint64_t number, int error)
{
	struct engine *e = arg;
	struct batch *b = e->in_flight;
	uint64_t seen = e->published_seq;

	(void)number; /* the store's own count */
	if (error < 0 || e->failed)
		return; /* nothing that it changed may show */
	e->in_flight = b->next;
	if (e->in_flight == NULL)
		e->in_flight_tail = &e->in_flight;
	e->committed = b->last;
	for (size_t i = 0; i < b->nfacts; i++) {
		act(e, &b->facts[i]);
		job_unref(b->facts[i].job);
		free(b->facts[i].run);
	}
	/* The next job starts before anyone is told of the last one. */
	if (e->launch != NULL)
		e->launch->ops->flush(e->launch);
	if (e->published_seq != seen)
		hub_completed(e);
	release_all(e, b);
	if (e->store->durable)
		engine_touch(e); /* what followed from it, frames for the launcher too, leaves */
}

/* The disk is full: what was written in this turn leaves now, but for sessions of which something
 * waits already. */
static void
pass_by(struct batch *b)
{
	size_t left = 0;

	for (size_t i = 0; i < b->ndirty; i++)
		if (b->dirty[i].session->marks > 1)
			b->dirty[left++] = b->dirty[i];
		else
			release(&b->dirty[i]);
	b->ndirty = left;
}

/* What was written in this turn leaves when `to` has committed. */
static void
join(struct engine *e, struct batch *to, struct batch *b)
{
	to->last = b->last;
	for (size_t i = 0; i < b->ndirty; i++) {
		struct batch_mark *m = &b->dirty[i];
		struct session *s = m->session;

		if (m->before_batch != to->number) {
			add_mark(to, m);
			continue;
		}
		to->dirty[m->before_index].position = m->position;
		s->mark_batch = to->number;
		s->mark_index = m->before_index;
		s->marks--;
		session_unref(s); /* (the older mark counts it) */
	}
	recycle(e, b);
}

/* Nothing of this turn is to be recorded. */
static void
commit_nothing(struct engine *e, struct batch *b)
{
	if (e->in_flight == NULL) {
		e->committed = b->last;
		release_all(e, b);
		return;
	}
	if (e->store->stuck)
		pass_by(b);
	join(e, slot_container_of(e->in_flight_tail, struct batch, next), b);
}

void
batch_commit(struct engine *e)
{
	struct batch *b = e->open;

	if (b == NULL)
		return;
	e->open = NULL;
	if (b->nfacts == 0 && !b->changed && !e->failed) {
		commit_nothing(e, b);
		return;
	}
	*e->in_flight_tail = b;
	e->in_flight_tail = &b->next;
	e->store->ops->commit(e->store, on_commit, e);
}

static void
batch_free(struct batch *b)
{
	if (b == NULL)
		return;
	for (size_t i = 0; i < b->nfacts; i++) {
		job_unref(b->facts[i].job);
		free(b->facts[i].run);
	}
	for (size_t i = 0; i < b->ndirty; i++) {
		b->dirty[i].session->marks--;
		session_unref(b->dirty[i].session);
	}
	free(b->facts);
	free(b->dirty);
	free(b);
}

void
batches_free(struct engine *e)
{
	struct batch *b;

	batch_free(e->spare);
	batch_free(e->open);
	e->spare = e->open = NULL;
	while ((b = e->in_flight) != NULL) { /* what the store still commits, nobody hears of */
		e->in_flight = b->next;
		batch_free(b);
	}
	e->in_flight_tail = &e->in_flight;
}
