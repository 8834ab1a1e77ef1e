/* job.get, list, cancel, signal, set, retry, forget. */
#include "engine/methods.h"
#include "engine/run.h"
#include "engine/submit.h"
#include "engine/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_SCAN_MAX 20000               /* rows looked at for one page */
#define LIST_PAGE_BYTES ((size_t)512 * 1024)
#define LIST_ARGV_MAX 256

static bool
rows_exist(struct request *req, const struct msg_int_list *ids)
{
	for (size_t i = 0; i < ids->n; i++)
		if (request_row(req, ids->v[i]) == NULL)
			return false;
	return true;
}

static void
reply_job(struct request *req, const struct row *row)
{
	struct view v = { 0 };
	struct msg_job job;

	if (view_job(&v, req->engine, row, VIEW_ARGV_ALL, &job) < 0)
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
	else
		request_reply(req, &job);
	view_free(&v);
}

static void
on_get(struct request *req)
{
	const struct row *row = request_row(req, req->call.u.job_get.job);

	if (row != NULL)
		reply_job(req, row);
}

/* ---- list ---- */

static bool
listed(const struct request *req, const struct row *row)
{
	const struct msg_job_list *p = &req->call.u.job_list;
	const struct msg_filter f = {
		.queue = p->queue, .name = p->name, .ok = p->ok, .uid = p->uid,
	};

	if (!view_visible(req->engine, row, req->session->uid, req->session->admin))
		return false;
	if (p->phase >= 0 && p->phase != row->phase)
		return false;
	if (p->since_us != MSG_NULL && row->submitted_us < p->since_us)
		return false;
	return view_filter(&f, row);
}

static struct row *
list_step(struct store *s, enum msg_order order, uint64_t at)
{
	if (order == MSG_ORDER_ASC)
		return s->ops->next(s, at);
	return at > 0 ? s->ops->prev(s, at) : NULL;
}

static size_t
size_of(const struct msg_job *job)
{
	size_t n = 600 + job->tag.len + (job->name != NULL ? 6 * strlen(job->name) : 0) +
	    jsonw_bytes_size(job->cwd.ptr, job->cwd.len);

	for (size_t i = 0; i < job->argv.n; i++)
		n += jsonw_bytes_size(job->argv.v[i].ptr, job->argv.v[i].len) + 1;
	return n;
}

static void
on_list(struct request *req)
{
	const struct msg_job_list *p = &req->call.u.job_list;
	struct store *s = req->engine->store;
	struct view v = { 0 };
	struct msg_job *jobs = arena_calloc(&v.arena, (size_t)p->limit + 1, sizeof *jobs);
	struct msg_list_result result = { .next = MSG_NULL };
	uint64_t at = p->order == MSG_ORDER_ASC ? 1 : s->next_id;
	size_t n = 0, bytes = 0, scanned = 0;
	struct row *row;

	if (p->queue != NULL && queue_find(req->engine->queues, p->queue) == NULL) {
		view_free(&v);
		request_bad_param(req, "queue", "there is no queue \"%s\"", p->queue);
		return;
	}
	if (p->cursor != MSG_NULL && p->cursor > 0)
		at = (uint64_t)p->cursor;
	for (; jobs != NULL && (row = list_step(s, p->order, at)) != NULL;
	    at = p->order == MSG_ORDER_ASC ? row->id + 1 : row->id - 1) {
		if (n == (size_t)p->limit || bytes > LIST_PAGE_BYTES ||
		    scanned++ == LIST_SCAN_MAX) {
			result.next = (int64_t)row->id;
			break;
		}
		if (!listed(req, row))
			continue;
		if (view_job(&v, req->engine, row, LIST_ARGV_MAX, &jobs[n]) < 0) {
			jobs = NULL;
			break;
		}
		bytes += size_of(&jobs[n++]);
	}
	if (jobs == NULL) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
	} else {
		result.jobs = (struct msg_job_object_list){ jobs, n };
		request_reply(req, &result);
	}
	view_free(&v);
}

/* ---- cancel ---- */

struct cancel_wait {
	struct gone_wait wait; /* first */
	struct cancel *cancel;
	struct job *job;       /* counted */
	size_t index;
	bool waiting;
};

struct cancel {
	struct request *req;
	struct msg_cancel_item *items;
	struct cancel_wait *waits;
	size_t n, nwaiting;
};

static void
cancel_free(struct cancel *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->waits[i].waiting)
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
	c->items[w->index].best_effort = best_effort;
	if (--c->nwaiting == 0)
		cancel_answer(c);
}

static struct cancel *
cancel_new(struct request *req, size_t n)
{
	struct cancel *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->req = req;
	c->items = calloc(n, sizeof *c->items);
	c->waits = calloc(n, sizeof *c->waits);
	if (c->items == NULL || c->waits == NULL) {
		cancel_free(c);
		return NULL;
	}
	c->n = n;
	return c;
}

static void
cancel_one(struct cancel *c, size_t i, uint64_t id, const struct msg_job_cancel *p)
{
	struct job *job = job_find(c->req->engine, id);
	struct cancel_wait *w = &c->waits[i];

	c->items[i].job = (int64_t)id;
	if (job == NULL)
		return; /* done, and gone */
	w->job = job_ref(job);
	c->items[i].best_effort = job_phase(job) == ROW_RUNNING;
	c->items[i].accepted = job_cancel(job, p->grace_ms == MSG_NULL ? -1 : p->grace_ms,
	    MSG_REASON_CLIENT);
	if (!p->wait || (job_phase(job) == ROW_DONE && !run_has_processes(job)))
		return;
	w->cancel = c;
	w->index = i;
	w->wait.cb = on_gone;
	w->waiting = true;
	LIST_INSERT_HEAD(&job->active->gone_waits, &w->wait, entry);
	c->nwaiting++;
}

static void
on_cancel(struct request *req)
{
	const struct msg_job_cancel *p = &req->call.u.job_cancel;
	struct cancel *c;

	if (!rows_exist(req, &p->jobs) || !request_watch(req, p->jobs.n) ||
	    (p->wait && !request_may_wait(req)))
		return;
	c = cancel_new(req, p->jobs.n);
	if (c == NULL) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
		return;
	}
	for (size_t i = 0; i < p->jobs.n; i++)
		cancel_one(c, i, (uint64_t)p->jobs.v[i], p);
	if (c->nwaiting == 0)
		cancel_answer(c);
	else
		request_wait(req, &cancel_ops, c);
}

/* ---- signal ---- */

struct signal_wait {
	struct job *job; /* counted */
	uint64_t token;  /* 0: not sent yet, its job is about to be launched */
};

static void
signal_drop(struct request *req, bool cancelled)
{
	struct signal_wait *w = req->state;

	(void)cancelled;
	job_unref(w->job);
	free(w);
}

static const struct request_ops signal_ops = { .drop = signal_drop };

static void
signal_answer(struct request *req, int error)
{
	struct signal_wait *w = req->state;
	uint64_t id = w->job->row->id;

	req->ops = NULL;
	job_unref(w->job);
	free(w);
	if (error == 0)
		request_reply(req, NULL);
	else if (error == ESRCH)
		request_error(req, RPC_INVALID_STATE, "job %llu has ended", (unsigned long long)id);
	else
		request_error(req, RPC_INTERNAL_ERROR, "the signal was not delivered: %s",
		    strerrordesc_np(error));
}

static enum launch_scope
scope_of(int scope)
{
	switch ((enum msg_scope)scope) {
	case MSG_SCOPE_LEADER:
		return LAUNCH_SCOPE_LEADER;
	case MSG_SCOPE_GROUP:
		return LAUNCH_SCOPE_GROUP;
	case MSG_SCOPE_TREE:
		return LAUNCH_SCOPE_TREE;
	}
	return LAUNCH_SCOPE_LEADER;
}

/* The launcher must have heard of the job before it hears of a signal for it. */
static void
signal_send(struct request *req)
{
	const struct msg_job_signal *p = &req->call.u.job_signal;
	struct signal_wait *w = req->state;
	struct engine *e = req->engine;

	if (job_phase(w->job) != ROW_RUNNING || e->launch == NULL) {
		signal_answer(req, ESRCH);
		return;
	}
	if (!w->job->active->launched)
		return;
	w->token = ++e->signal_token;
	e->launch->ops->signal(e->launch, w->job->row->id, w->job->row->attempt, (int)p->signal,
	    scope_of(p->scope), w->token);
	engine_touch(e);
}

void
methods_job_launched(struct engine *e)
{
	struct request *req, *next;

	for (req = TAILQ_FIRST(&e->signals); req != NULL; req = next) {
		struct signal_wait *w = req->state;

		next = TAILQ_NEXT(req, listed);
		if (w->token == 0)
			signal_send(req);
	}
}

void
methods_job_lost(struct engine *e)
{
	struct request *req;

	while ((req = TAILQ_FIRST(&e->signals)) != NULL)
		signal_answer(req, ESRCH);
}

void
methods_job_signaled(struct engine *e, uint64_t token, int error)
{
	struct request *req;

	TAILQ_FOREACH(req, &e->signals, listed) {
		struct signal_wait *w = req->state;

		if (w->token == token) {
			signal_answer(req, error);
			return;
		}
	}
}

static void
on_signal(struct request *req)
{
	const struct row *row = request_row(req, req->call.u.job_signal.job);
	struct signal_wait *w;

	if (row == NULL)
		return;
	if (row->phase != ROW_RUNNING) {
		request_error(req, RPC_INVALID_STATE, "job %llu is %s, not running",
		    (unsigned long long)row->id, msg_phase_name((enum msg_phase)row->phase));
		return;
	}
	w = calloc(1, sizeof *w);
	if (w == NULL) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
		return;
	}
	w->job = job_ref(job_find(req->engine, row->id));
	request_park(req, &signal_ops, w);
	request_enlist(req, &req->engine->signals);
	signal_send(req);
}

/* ---- set, retry, forget ---- */

static void
on_set(struct request *req)
{
	const struct msg_job_set *p = &req->call.u.job_set;
	struct engine *e = req->engine;
	const struct row *row = request_row(req, p->job); /* NULL: the request is gone */
	struct queue *q;
	struct job *job;

	if (row == NULL)
		return;
	if (row->phase != ROW_PENDING) {
		request_error(req, RPC_INVALID_STATE, "job %llu is %s: only a pending job can be "
		    "changed", (unsigned long long)row->id,
		    msg_phase_name((enum msg_phase)row->phase));
		return;
	}
	job = job_find(e, row->id);
	q = p->queue != NULL ? queue_find(e->queues, p->queue) : queue_of(&job->place);
	if (q == NULL) {
		request_bad_param(req, "queue", "there is no queue \"%s\"", p->queue);
		return;
	}
	if (queue_limit(q) != 0 && job->action.slots > queue_limit(q)) {
		request_error(req, RPC_LIMIT_EXCEEDED, "job %llu needs %u slots, but queue \"%s\" runs "
		    "at most %u", (unsigned long long)row->id, job->action.slots, queue_name(q),
		    queue_limit(q));
		return;
	}
	if (job_set(job, q, p->priority != MSG_NULL ? (int)p->priority : row->priority,
	    p->hold >= 0 ? p->hold != 0 : row->hold) < 0) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
		return;
	}
	job_kick(e);
	reply_job(req, row);
}

static void
on_retry(struct request *req)
{
	struct row *row = request_row(req, req->call.u.job_retry.job);
	struct msg_retry_result result;
	struct rpc_failure why = { 0 };

	if (row == NULL)
		return;
	if (row->phase != ROW_DONE) {
		request_error(req, RPC_INVALID_STATE, "job %llu is %s: only a done job can be "
		    "retried", (unsigned long long)row->id,
		    msg_phase_name((enum msg_phase)row->phase));
		return;
	}
	switch (submit_again(req, row, &result.job, &why)) {
	case SUBMIT_DONE:
		request_reply(req, &result);
		break;
	case SUBMIT_FULL:
		submit_answer_full(req);
		break;
	case SUBMIT_REFUSED:
		request_fail(req, &why);
		break;
	}
}

static void
on_forget(struct request *req)
{
	const struct msg_int_list *ids = &req->call.u.job_forget.jobs;
	struct engine *e = req->engine;
	struct msg_forget_result result = { 0 };

	if (!rows_exist(req, ids))
		return;
	for (size_t i = 0; i < ids->n; i++) {
		const struct row *row = e->store->ops->find(e->store, (uint64_t)ids->v[i]);

		if (row->phase != ROW_DONE) {
			request_error(req, RPC_INVALID_STATE, "job %llu is %s: only a done job can "
			    "be forgotten", (unsigned long long)row->id,
			    msg_phase_name((enum msg_phase)row->phase));
			return;
		}
	}
	for (size_t i = 0; i < ids->n; i++) {
		struct row *row = e->store->ops->find(e->store, (uint64_t)ids->v[i]);

		if (row == NULL)
			continue; /* given twice */
		e->store->ops->forget(e->store, row);
		result.forgotten++;
	}
	request_reply(req, &result);
}

const struct request_method methods_job[] = {
	{ M_JOB_CANCEL, on_cancel },
	{ M_JOB_FORGET, on_forget },
	{ M_JOB_GET, on_get },
	{ M_JOB_LIST, on_list },
	{ M_JOB_RETRY, on_retry },
	{ M_JOB_SET, on_set },
	{ M_JOB_SIGNAL, on_signal },
	{ 0, NULL },
};
