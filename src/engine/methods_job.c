/* job.get, list, signal, set, retry. */
#include "engine/load.h"
#include "engine/methods.h"
#include "engine/run.h"
#include "engine/submit.h"
#include "engine/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_PAGE_BYTES ((size_t)512 * 1024)
#define LIST_READ_BYTES ((size_t)4 * 1024 * 1024) /* of specs, to make a page of */
#define LIST_ARGV_MAX 256

static void
reply_job(struct request *req, const struct row *row)
{
	struct view v = { 0 };
	struct msg_job job;

	if (view_job(&v, req->engine, row, VIEW_ARGV_ALL, &job) < 0)
		request_no_memory(req);
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

static size_t
size_of(const struct msg_job *job)
{
	size_t n = 600 + job->tag.len + (job->name != NULL ? 6 * strlen(job->name) : 0) +
	    jsonw_bytes_size(job->cwd.ptr, job->cwd.len);

	for (size_t i = 0; i < job->argv.n; i++)
		n += jsonw_bytes_size(job->argv.v[i].ptr, job->argv.v[i].len) + 1;
	return n;
}

static struct store_read
page_wanted(const struct request *req)
{
	const struct msg_job_list *p = &req->call.u.job_list;
	const struct session *s = req->session;
	struct store_read r = {
		.kind = STORE_READ_PAGE,
		.filter = {
			.by_uid = !s->admin || p->uid != MSG_NULL,
			.uid = s->admin && p->uid != MSG_NULL ? (uint32_t)p->uid : s->uid,
			.phase = p->phase,
			.ok = p->ok,
			.queue = p->queue,
			.name = p->name,
			.since_us = p->since_us != MSG_NULL ? p->since_us : 0,
		},
		.from = p->order == MSG_ORDER_ASC ? 1 : req->engine->store->next_id,
		.backward = p->order != MSG_ORDER_ASC,
		.limit = (size_t)p->limit,
		.limit_bytes = LIST_READ_BYTES,
	};

	if (p->cursor != MSG_NULL && p->cursor > 0)
		r.from = (uint64_t)p->cursor;
	return r;
}

static void
on_list(struct request *req)
{
	const struct msg_job_list *p = &req->call.u.job_list;
	struct store_read wanted = page_wanted(req);
	const struct store_read *page;
	struct view v = { 0 };
	struct msg_job *jobs;
	struct msg_list_result result = { .next = MSG_NULL };
	size_t n = 0, bytes = 0;

	if (p->queue != NULL && queue_find(req->engine->queues, p->queue) == NULL) {
		request_bad_param(req, "queue", "there is no queue \"%s\"", p->queue);
		return;
	}
	if (!load_page(req, &wanted, &page))
		return;
	if (page->next != 0)
		result.next = (int64_t)page->next;
	jobs = arena_calloc(&v.arena, page->nrows + 1, sizeof *jobs);
	for (size_t i = 0; jobs != NULL && i < page->nrows; i++) {
		const struct row *row = page->rows[i];

		if (bytes > LIST_PAGE_BYTES) {
			result.next = (int64_t)row->id;
			break;
		}
		if (row->gone || !listed(req, row))
			continue; /* it moved on meanwhile */
		if (view_job(&v, req->engine, row, LIST_ARGV_MAX, &jobs[n]) < 0)
			jobs = NULL;
		else
			bytes += size_of(&jobs[n++]);
	}
	if (jobs == NULL) {
		request_no_memory(req);
	} else {
		result.jobs = (struct msg_job_object_list){ jobs, n };
		request_reply(req, &result);
	}
	view_free(&v);
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
	struct job *job;

	if (row == NULL)
		return;
	job = job_find(req->engine, row->id);
	if (row->phase != ROW_RUNNING || job == NULL) {
		request_error(req, RPC_INVALID_STATE, "job %llu is %s, not running",
		    (unsigned long long)row->id, msg_phase_name((enum msg_phase)row->phase));
		return;
	}
	w = calloc(1, sizeof *w);
	if (w == NULL) {
		request_no_memory(req);
		return;
	}
	w->job = job_ref(job);
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
	struct row *row = request_row(req, p->job);
	struct queue *q;
	struct job *job;

	if (row == NULL || request_refused_degraded(req))
		return;
	if (row->phase != ROW_PENDING) {
		request_error(req, RPC_INVALID_STATE, "job %llu is %s: only a pending job can be "
		    "changed", (unsigned long long)row->id,
		    msg_phase_name((enum msg_phase)row->phase));
		return;
	}
	job = request_live(e, row);
	if (job == NULL) {
		request_no_memory(req);
		return;
	}
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
		request_no_memory(req);
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
	case SUBMIT_SUSPENDED: /* it reads nothing */
		break;
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

const struct request_method methods_job[] = {
	{ M_JOB_GET, on_get },
	{ M_JOB_LIST, on_list },
	{ M_JOB_RETRY, on_retry },
	{ M_JOB_SET, on_set },
	{ M_JOB_SIGNAL, on_signal },
	{ 0, NULL },
};
