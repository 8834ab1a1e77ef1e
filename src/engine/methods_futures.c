/*
 * futures.wait, futures.gather and job.result: one future of core's combinators decides each. (The
 * stream, futures.as_completed, is methods_as_completed.c.)
 */
#include "engine/load.h"
#include "engine/methods.h"
#include "engine/named.h"
#include "engine/view.h"

#include <slot/combine.h>
#include <stdlib.h>

struct waiter {
	struct slot_future *future; /* of the combinator, counted */
	struct named_jobs jobs;
	bool cancels;               /* a cancelled request cancels the future */
};

static void on_decided(struct slot_future *f, void *arg);
static void answer(struct request *req);
static bool load_answer(struct request *req, struct waiter *st);

/* A reply that holds them all must fit a line. */
static int
check_reply(struct request *req, const struct named_jobs *jobs)
{
	size_t bytes = 0;

	for (size_t i = 0; i < jobs->n; i++)
		bytes += VIEW_COMPLETION_MAX + named_row(jobs->v[i])->spec->tag_len;
	if (bytes <= VIEW_BUDGET)
		return 0;
	request_error(req, RPC_LIMIT_EXCEEDED, "the completions of these %zu jobs and their tags "
	    "don't fit into one reply: name fewer, or use futures.as_completed", jobs->n);
	return -1;
}

static int64_t
timeout_of(int64_t ms)
{
	return ms == MSG_NULL ? SLOT_NO_TIMEOUT : ms;
}

static void
waiter_free(struct waiter *st)
{
	slot_future_unref(st->future);
	named_free(&st->jobs);
	free(st);
}

static void
waiter_drop(struct request *req, bool cancelled)
{
	struct waiter *st = req->state;

	slot_future_remove_done_callback(st->future, on_decided, req);
	if (cancelled && st->cancels)
		slot_future_cancel(st->future); /* its jobs too */
	else
		slot_future_set_cancelled(st->future); /* it alone lets go of its inputs */
	waiter_free(st);
}

/* Decided, but nothing is written for a client that doesn't read: here there is room again. */
static void
waiter_pump(struct request *req)
{
	struct waiter *st = req->state;

	if (!slot_future_done(st->future))
		return;
	if (!request_can_send(req))
		request_defer(req);
	else if (load_answer(req, st))
		answer(req);
}

static const struct request_ops waiter_ops = { .drop = waiter_drop, .pump = waiter_pump };

/* Takes st and its future (which may be NULL: out of memory). What is decided already needs to
 * wait for nothing but room. */
static void
waiter_start(struct request *req, struct waiter *st)
{
	req->state = st;
	if (st->future != NULL && slot_future_done(st->future) && request_can_send(req)) {
		if (load_answer(req, st))
			answer(req);
		else
			waiter_free(st); /* it begins again */
		return;
	}
	if (st->future == NULL || !request_may_wait(req)) {
		if (st->future == NULL)
			request_no_memory(req);
		else
			slot_future_set_cancelled(st->future);
		waiter_free(st);
		return;
	}
	if (slot_future_add_done_callback(st->future, on_decided, req) < 0) {
		slot_future_set_cancelled(st->future);
		waiter_free(st);
		request_no_memory(req);
		return;
	}
	request_wait(req, &waiter_ops, st);
}

static struct waiter *
waiter_new(struct request *req, const struct msg_int_list *ids)
{
	struct waiter *st = calloc(1, sizeof *st);

	if (st == NULL) {
		request_no_memory(req);
		return NULL;
	}
	if (named_get(req, ids, &st->jobs) < 0) {
		free(st);
		return NULL;
	}
	if (check_reply(req, &st->jobs) < 0) {
		named_free(&st->jobs);
		free(st);
		return NULL;
	}
	return st;
}

/* Completions of rows, made in v. NULL: out of memory. */
static struct msg_completion *
completions(struct view *v, struct slot_future *const *futures, size_t n, int64_t with_output)
{
	struct msg_completion *c = arena_calloc(&v->arena, n + 1, sizeof *c);
	size_t budget = VIEW_BUDGET;

	for (size_t i = 0; i < n; i++) /* (check_reply saw that these fit) */
		budget -= VIEW_COMPLETION_MAX + named_row(futures[i])->spec->tag_len;
	for (size_t i = 0; c != NULL && i < n; i++)
		if (view_completion(v, named_row(futures[i]), with_output, &budget, &c[i]) < 0)
			return NULL;
	return c;
}

/* The output that the answer shows. False as in load.h. */
static bool
load_shown(struct request *req, struct slot_future *const *futures, size_t n, int64_t with_output)
{
	struct row **rows;
	bool rc;

	if (with_output <= 0 || n == 0 || !req->engine->store->durable)
		return true;
	rows = calloc(n, sizeof(struct row *));
	if (rows == NULL)
		return true; /* then it is shown without */
	for (size_t i = 0; i < n; i++)
		rows[i] = named_row(futures[i]);
	rc = load_outputs(req, rows, n, with_output, VIEW_BUDGET);
	free(rows);
	return rc;
}

static bool
load_answer(struct request *req, struct waiter *st)
{
	void *value = NULL, *detail = NULL;
	int code = slot_future_result(st->future, &value);

	if (req->call.method->id == M_FUTURES_GATHER) {
		int64_t with_output = req->call.u.futures_gather.with_output;
		const struct slot_gather_result *all = value;
		const struct slot_gather_failure *failure;

		if (code == 0)
			return load_shown(req, all->futures, all->n, with_output);
		slot_future_exception(st->future, NULL, &detail);
		failure = detail;
		return load_shown(req, &failure->future, 1, with_output);
	}
	if (code == 0) {
		const struct slot_wait_result *r = value;

		if (r->ndone > 0)
			qsort(r->done, r->ndone, sizeof *r->done, named_by_seq);
		return load_shown(req, r->done, r->ndone,
		    req->call.method->id == M_FUTURES_WAIT ?
		    req->call.u.futures_wait.with_output : req->call.u.job_result.with_output);
	}
	return true;
}

static void
answer_wait(struct request *req, const struct slot_wait_result *r)
{
	struct view v = { .req = req };
	struct msg_wait_result result;
	struct msg_completion *done;
	int64_t *pending = arena_calloc(&v.arena, r->npending + 1, sizeof *pending);

	done = completions(&v, r->done, r->ndone, req->call.u.futures_wait.with_output);
	if (done == NULL || pending == NULL) {
		request_no_memory(req);
	} else {
		for (size_t i = 0; i < r->npending; i++)
			pending[i] = (int64_t)named_row(r->pending[i])->id;
		result.done = (struct msg_completion_list){ done, r->ndone };
		result.pending = (struct msg_int_list){ pending, r->npending };
		request_reply(req, &result);
	}
	view_free(&v);
}

static void
answer_gather(struct request *req, const struct slot_gather_result *r)
{
	struct view v = { .req = req };
	struct msg_gather_result result;
	struct msg_completion *c = completions(&v, r->futures, r->n,
	    req->call.u.futures_gather.with_output);

	if (c == NULL) {
		request_no_memory(req);
	} else {
		result.results = (struct msg_completion_list){ c, r->n };
		request_reply(req, &result);
	}
	view_free(&v);
}

static void
answer_gather_failure(struct request *req, int code, const struct slot_gather_failure *failure)
{
	struct view v = { .req = req };
	struct msg_completion c;
	size_t budget = VIEW_BUDGET;
	struct jsonw w;

	if (view_completion(&v, named_row(failure->future), req->call.u.futures_gather.with_output,
	    &budget, &c) < 0) {
		request_no_memory(req);
	} else {
		request_error_begin(req, &w,
		    code == -SLOT_ECANCELLED ? RPC_JOB_CANCELLED : RPC_JOB_FAILED, NULL);
		jsonw_kint(&w, "index", (int64_t)failure->index);
		msg_completion_members(&w, &c);
		request_error_end(req, &w);
	}
	view_free(&v);
}

static void
answer_job(struct request *req, const struct row *row)
{
	struct view v = { .req = req };
	struct msg_job job;
	size_t budget = VIEW_BUDGET / 2;

	if (view_job(&v, req->engine, row, VIEW_ARGV_ALL, &job) < 0 ||
	    view_outputs(&v, row, req->call.u.job_result.with_output, &budget, &job.out,
	    &job.err) < 0)
		request_no_memory(req);
	else
		request_reply(req, &job);
	view_free(&v);
}

static void
answer_result(struct request *req, const struct slot_wait_result *r)
{
	struct jsonw w;

	if (r->ndone == 1) {
		answer_job(req, named_row(r->done[0]));
		return;
	}
	request_error_begin(req, &w, RPC_TIMEOUT, "timed out");
	jsonw_key(&w, "remaining");
	jsonw_arr_begin(&w);
	jsonw_int(&w, (int64_t)named_row(r->pending[0])->id);
	jsonw_arr_end(&w);
	request_error_end(req, &w);
}

static void
answer(struct request *req)
{
	struct waiter *st = req->state;
	void *value = NULL, *detail = NULL;
	int code = slot_future_result(st->future, &value);

	req->ops = NULL; /* from here on the state is ours */
	if (code < 0)
		slot_future_exception(st->future, NULL, &detail);
	if (req->call.method->id == M_FUTURES_GATHER) {
		if (code == 0)
			answer_gather(req, value);
		else
			answer_gather_failure(req, code, detail);
	} else if (code < 0) {
		request_error(req, RPC_INTERNAL_ERROR, "%s", slot_strerror(code));
	} else if (req->call.method->id == M_FUTURES_WAIT) {
		answer_wait(req, value);
	} else {
		answer_result(req, value);
	}
	waiter_free(st);
}

static void
on_decided(struct slot_future *f, void *arg)
{
	struct request *req = arg;

	(void)f;
	if (!request_can_send(req))
		request_defer(req);
	else if (load_answer(req, req->state))
		answer(req);
}

static enum slot_return_when
return_when(int when)
{
	switch ((enum msg_return_when)when) {
	case MSG_RETURN_FIRST_COMPLETED:
		return SLOT_FIRST_COMPLETED;
	case MSG_RETURN_FIRST_EXCEPTION:
		return SLOT_FIRST_EXCEPTION;
	case MSG_RETURN_ALL_COMPLETED:
		return SLOT_ALL_COMPLETED;
	}
	return SLOT_ALL_COMPLETED;
}

static void
on_wait(struct request *req)
{
	const struct msg_futures_wait *p = &req->call.u.futures_wait;
	struct waiter *st = waiter_new(req, &p->jobs);

	if (st == NULL)
		return;
	st->future = slot_wait(req->engine->loop, st->jobs.v, st->jobs.n,
	    return_when(p->return_when), timeout_of(p->timeout_ms), NULL);
	waiter_start(req, st);
}

static void
on_gather(struct request *req)
{
	const struct msg_futures_gather *p = &req->call.u.futures_gather;
	struct waiter *st = waiter_new(req, &p->jobs);

	if (st == NULL)
		return;
	st->cancels = true;
	st->future = slot_gather(req->engine->loop, st->jobs.v, st->jobs.n,
	    p->return_exceptions ? SLOT_GATHER_RETURN_EXCEPTIONS : SLOT_GATHER_RAISE, NULL);
	waiter_start(req, st);
}

static void
on_result(struct request *req)
{
	const struct msg_job_result *p = &req->call.u.job_result;
	struct msg_int_list one = { &p->job, 1 };
	struct row *row = request_row(req, p->job);
	struct waiter *st;

	if (row == NULL)
		return;
	if (row->phase == ROW_DONE) {
		if (request_load_output(req, row, p->with_output))
			answer_job(req, row);
		return;
	}
	if (p->wait_ms == 0) {
		request_error(req, RPC_INVALID_STATE, "job %lld is %s: it has no result yet",
		    (long long)row->id, msg_phase_name((enum msg_phase)row->phase));
		return;
	}
	st = waiter_new(req, &one);
	if (st == NULL)
		return;
	st->future = slot_wait(req->engine->loop, st->jobs.v, 1, SLOT_ALL_COMPLETED, p->wait_ms,
	    NULL);
	waiter_start(req, st);
}

const struct request_method methods_futures[] = {
	{ M_FUTURES_WAIT, on_wait },
	{ M_FUTURES_GATHER, on_gather },
	{ M_JOB_RESULT, on_result },
	{ 0, NULL },
};
