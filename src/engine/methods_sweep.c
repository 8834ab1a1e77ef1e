/*
 * job.cancel and job.forget: requests over many jobs, all or none. First every job is looked at,
 * then it is done. Where rows have to be read both passes go slice by slice, so that neither
 * memory nor a turn of the loop is filled with them.
 */
#include "engine/load.h"
#include "engine/methods.h"
#include "engine/run.h"

#include <stdlib.h>

#define SLICE 128 /* jobs of a pass that are in memory at a time */

/* Visits the rows from req->swept on; a visitor that returns false gave the request away. True:
 * all were visited. */
static bool
sweep(struct request *req, const struct msg_int_list *ids,
    bool (*visit)(struct request *req, size_t index), bool yields)
{
	while (req->swept < ids->n) {
		size_t end = ids->n - req->swept < SLICE ? ids->n : req->swept + SLICE;

		if (!load_rows(req, ids->v + req->swept, end - req->swept))
			return false;
		for (size_t i = req->swept; i < end; i++)
			if (!visit(req, i))
				return false;
		req->swept = end;
		if (end == ids->n)
			return true;
		load_release(req);
		if (yields) {
			load_yield(req);
			return false;
		}
	}
	return true;
}

/* The first pass. */
static bool
checked(struct request *req, const struct msg_int_list *ids,
    bool (*visit)(struct request *req, size_t index))
{
	if (req->checked)
		return true;
	if (!sweep(req, ids, visit, false))
		return false;
	req->swept = 0;
	return req->checked = true;
}

/* A job whose end was recorded couldn't be told of. */
static bool
refused_stuck(struct request *req)
{
	return req->engine->store->stuck && request_refused_degraded(req);
}

/* ---- cancel ---- */

struct cancel_wait {
	struct gone_wait wait; /* first */
	struct cancel *cancel;
	struct job *job;       /* counted while it is waited for */
	size_t index;
	bool waiting;
};

struct cancel {
	struct request *req;
	struct msg_cancel_item *items;
	struct cancel_wait *waits; /* NULL where nobody waits */
	size_t n, nwaiting;
	bool over; /* all were told */
};

static void
cancel_free(struct cancel *c)
{
	for (size_t i = 0; c->waits != NULL && i < c->n; i++)
		if (c->waits[i].waiting) {
			LIST_REMOVE(&c->waits[i].wait, entry);
			job_unref(c->waits[i].job);
		}
	free(c->items);
	free(c->waits);
	free(c);
}

static void
cancel_drop(struct request *req, bool cancelled)
{
	(void)cancelled;
	cancel_free(req->state);
}

static const struct request_ops cancel_ops = { .drop = cancel_drop };

static void
cancel_answer(struct cancel *c)
{
	struct request *req = c->req;
	struct msg_cancel_result result = { .results = { c->items, c->n } };

	req->ops = NULL;
	request_reply(req, &result);
	cancel_free(c);
}

static void
on_gone(struct gone_wait *wait, bool best_effort)
{
	struct cancel_wait *w = (struct cancel_wait *)wait;
	struct cancel *c = w->cancel;

	w->waiting = false;
	job_unref(w->job);
	c->items[w->index].best_effort = best_effort;
	if (--c->nwaiting == 0 && c->over)
		cancel_answer(c);
}

static struct cancel *
cancel_new(struct request *req, size_t n, bool wait)
{
	struct cancel *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->req = req;
	c->n = n;
	c->items = calloc(n, sizeof *c->items);
	c->waits = wait ? calloc(n, sizeof *c->waits) : NULL;
	if (c->items == NULL || (wait && c->waits == NULL)) {
		cancel_free(c);
		return NULL;
	}
	return c;
}

static void
cancel_wait_for(struct cancel *c, size_t i, struct job *job)
{
	struct cancel_wait *w = &c->waits[i];

	w->cancel = c;
	w->index = i;
	w->job = job_ref(job);
	w->wait.cb = on_gone;
	w->waiting = true;
	LIST_INSERT_HEAD(&job->active->gone_waits, &w->wait, entry);
	c->nwaiting++;
}

static bool
may_be_cancelled(struct request *req, size_t i)
{
	const struct row *row = request_row(req, req->call.u.job_cancel.jobs.v[i]);

	return row != NULL && (row->phase != ROW_PENDING || !refused_stuck(req));
}

static bool
cancel_one(struct request *req, size_t i)
{
	const struct msg_job_cancel *p = &req->call.u.job_cancel;
	uint64_t id = (uint64_t)p->jobs.v[i];
	struct store *s = req->engine->store;
	struct row *row = s->ops->find(s, id);
	struct cancel *c = req->state;
	struct job *job;

	c->items[i].job = (int64_t)id;
	if (row == NULL)
		return true; /* pruned meanwhile */
	job = row->phase == ROW_DONE ? job_find(req->engine, id) : request_live(req->engine, row);
	if (job == NULL)
		return true; /* done, and gone */
	if (p->only_pending && job_phase(job) == ROW_RUNNING)
		return true;
	job_ref(job);
	c->items[i].best_effort = job_phase(job) == ROW_RUNNING;
	c->items[i].accepted = job_cancel(job, p->grace_ms == MSG_NULL ? -1 : p->grace_ms,
	    MSG_REASON_CLIENT);
	if (p->wait && (job_phase(job) != ROW_DONE || run_has_processes(job)))
		cancel_wait_for(c, i, job);
	job_unref(job);
	return true;
}

static void
on_cancel(struct request *req)
{
	const struct msg_job_cancel *p = &req->call.u.job_cancel;
	struct cancel *c;

	if (!checked(req, &p->jobs, may_be_cancelled))
		return;
	if (req->ops == NULL) {
		if (!request_watch(req, p->jobs.n) || (p->wait && !request_may_wait(req)))
			return;
		c = cancel_new(req, p->jobs.n, p->wait);
		if (c == NULL) {
			request_no_memory(req);
			return;
		}
		request_park(req, &cancel_ops, c);
	}
	c = req->state;
	if (!sweep(req, &p->jobs, cancel_one, true))
		return;
	c->over = true;
	if (c->nwaiting == 0)
		cancel_answer(c);
	else
		request_wait(req, &cancel_ops, c);
}

/* ---- forget ---- */

static bool
may_be_forgotten(struct request *req, size_t i)
{
	const struct row *row = request_row(req, req->call.u.job_forget.jobs.v[i]);

	if (row == NULL || refused_stuck(req))
		return false;
	if (row->phase == ROW_DONE)
		return true;
	request_error(req, RPC_INVALID_STATE, "job %llu is %s: only a done job can be forgotten",
	    (unsigned long long)row->id, msg_phase_name((enum msg_phase)row->phase));
	return false;
}

static bool
forget_one(struct request *req, size_t i)
{
	struct store *s = req->engine->store;
	struct row *row = s->ops->find(s, (uint64_t)req->call.u.job_forget.jobs.v[i]);

	if (row == NULL)
		return true; /* given twice, or pruned meanwhile */
	s->ops->forget(s, row);
	batch_changed(req->engine);
	req->n++;
	return true;
}

static void
on_forget(struct request *req)
{
	const struct msg_int_list *ids = &req->call.u.job_forget.jobs;
	struct msg_forget_result result;

	if (!checked(req, ids, may_be_forgotten) || !sweep(req, ids, forget_one, true))
		return;
	result.forgotten = req->n;
	request_reply(req, &result);
}

const struct request_method methods_sweep[] = {
	{ M_JOB_CANCEL, on_cancel },
	{ M_JOB_FORGET, on_forget },
	{ 0, NULL },
};
