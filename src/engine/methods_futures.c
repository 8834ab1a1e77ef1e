/*
 * futures.as_completed, futures.wait, futures.gather and job.result: core's combinators over the
 * futures of jobs.
 */
#include "engine/load.h"
#include "engine/methods.h"
#include "engine/view.h"

#include <slot/combine.h>
#include <stdlib.h>

/* ---- jobs that a request names ---- */

struct jobs {
	struct slot_future **v; /* jobs' futures, counted */
	size_t n;
};

static struct row *
row_of(const struct slot_future *f)
{
	return job_of_future(f)->row;
}

static void
jobs_free(struct jobs *jobs)
{
	for (size_t i = 0; i < jobs->n; i++)
		slot_future_unref(jobs->v[i]);
	free(jobs->v);
	*jobs = (struct jobs){ 0 };
}

/* A reply that holds them all must fit a line. */
static int
check_reply(struct request *req, const struct jobs *jobs)
{
	size_t bytes = 0;

	for (size_t i = 0; i < jobs->n; i++)
		bytes += VIEW_COMPLETION_MAX + row_of(jobs->v[i])->spec->tag_len;
	if (bytes <= VIEW_BUDGET)
		return 0;
	request_error(req, RPC_LIMIT_EXCEEDED, "the completions of these %zu jobs and their tags "
	    "don't fit into one reply: name fewer, or use futures.as_completed", jobs->n);
	return -1;
}

/* In the order given. -1: the request was answered, or is suspended. */
static int
jobs_get(struct request *req, const struct msg_int_list *ids, struct jobs *jobs)
{
	struct engine *e = req->engine;

	*jobs = (struct jobs){ 0 };
	if (!load_jobs(req, ids->v, ids->n) || !request_rows(req, ids) ||
	    !request_watch(req, ids->n))
		return -1;
	jobs->v = calloc(ids->n, sizeof(struct slot_future *));
	if (jobs->v == NULL) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
		return -1;
	}
	for (size_t i = 0; i < ids->n; i++) {
		struct row *row = e->store->ops->find(e->store, (uint64_t)ids->v[i]);
		struct job *job = request_job(e, row);

		if (job == NULL) {
			jobs_free(jobs);
			request_error(req, RPC_INTERNAL_ERROR, "out of memory");
			return -1;
		}
		jobs->v[jobs->n++] = &job->action.future;
	}
	return 0;
}

static int
by_seq(const void *a, const void *b)
{
	const struct row *x = row_of(*(struct slot_future *const *)a);
	const struct row *y = row_of(*(struct slot_future *const *)b);
	uint64_t sx = x->phase == ROW_DONE ? x->run->seq : UINT64_MAX;
	uint64_t sy = y->phase == ROW_DONE ? y->run->seq : UINT64_MAX;

	if (sx != sy)
		return sx < sy ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int64_t
timeout_of(int64_t ms)
{
	return ms == MSG_NULL ? SLOT_NO_TIMEOUT : ms;
}

static void
out_of_memory(struct request *req)
{
	request_error(req, RPC_INTERNAL_ERROR, "out of memory");
}

/* ---- futures.as_completed ---- */

struct as_completed {
	struct request *req;
	struct slot_as_completed *ac;
	/* Ours and not the combinator's: at the timeout the answer goes out even if the client's
	 * window keeps back what ended before. */
	struct slot_timer timer;
	bool timed_out;
	struct jobs jobs;
	struct slot_future *next; /* counted: to be sent; NULL: none was taken yet */
	int64_t *sent;            /* ids, in finish order */
	size_t nsent;
};

static void
as_completed_free(struct as_completed *st)
{
	slot_loop_timer_clear(st->req->engine->loop, &st->timer);
	slot_as_completed_free(st->ac);
	if (st->next != NULL)
		slot_future_unref(st->next);
	jobs_free(&st->jobs);
	free(st->sent);
	free(st);
}

static void
as_completed_drop(struct request *req, bool cancelled)
{
	(void)cancelled;
	as_completed_free(req->state);
}

static int
by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

struct named { /* an id that the request names */
	int64_t id;
	size_t index;
	bool remains;
};

static int
by_id(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static int
by_index(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* The ids that were not sent, once each, in the order given. */
static void
write_remaining(struct jsonw *w, struct as_completed *st, const struct msg_int_list *ids)
{
	struct named *v = calloc(ids->n, sizeof *v);

	jsonw_key(w, "remaining");
	jsonw_arr_begin(w);
	if (v != NULL) {
		qsort(st->sent, st->nsent, sizeof *st->sent, by_value);
		for (size_t i = 0; i < ids->n; i++)
			v[i] = (struct named){ ids->v[i], i, false };
		qsort(v, ids->n, sizeof *v, by_id);
		for (size_t i = 0; i < ids->n; i++)
			v[i].remains = (i == 0 || v[i].id != v[i - 1].id) &&
			    bsearch(&v[i].id, st->sent, st->nsent, sizeof v[i].id, by_value) == NULL;
		qsort(v, ids->n, sizeof *v, by_index);
		for (size_t i = 0; i < ids->n; i++)
			if (v[i].remains)
				jsonw_int(w, v[i].id);
	}
	jsonw_arr_end(w);
	free(v);
}

static void
as_completed_timeout(struct request *req)
{
	struct as_completed *st = req->state;
	struct jsonw w;

	request_error_begin(req, &w, RPC_TIMEOUT, "timed out");
	write_remaining(&w, st, &req->call.u.futures_as_completed.jobs);
	as_completed_free(st);
	request_error_end(req, &w);
}

/* False: the request isn't ours any more, or not now. */
static bool
as_completed_send(struct request *req, struct as_completed *st)
{
	int64_t with_output = req->call.u.futures_as_completed.with_output;
	struct row *row = row_of(st->next);

	if (!request_load_output(req, row, with_output))
		return false;
	if (request_send_completion(req, row, with_output) < 0) {
		session_doom(req->session);
		return false;
	}
	st->sent[st->nsent++] = (int64_t)row->id;
	slot_future_unref(st->next);
	st->next = NULL;
	return true;
}

static void
as_completed_pump(struct request *req)
{
	struct as_completed *st = req->state;
	struct msg_as_completed_result result;

	while (request_can_send(req)) {
		if (st->next == NULL && (st->next = slot_as_completed_next(st->ac)) == NULL)
			break;
		if (!as_completed_send(req, st))
			return;
	}
	if (st->next == NULL && slot_as_completed_status(st->ac) == 0) {
		result.done = (int64_t)st->nsent;
		as_completed_free(st);
		request_reply(req, &result);
	} else if (st->timed_out) {
		as_completed_timeout(req);
	}
}

/* What ended before is sent first, as far as it may be. */
static void
on_as_completed_timer(struct slot_timer *timer)
{
	struct as_completed *st = slot_container_of(timer, struct as_completed, timer);

	st->timed_out = true;
	request_wake(st->req);
}

static void
on_as_completed_ready(struct slot_as_completed *ac, void *arg)
{
	(void)ac;
	request_wake(arg);
}

static const struct request_ops as_completed_ops = {
	.drop = as_completed_drop,
	.pump = as_completed_pump,
};

static void
on_as_completed(struct request *req)
{
	const struct msg_futures_as_completed *p = &req->call.u.futures_as_completed;
	struct slot_loop *loop = req->engine->loop;
	struct as_completed *st;

	if (!request_may_wait(req))
		return;
	st = calloc(1, sizeof *st);
	if (st == NULL || (st->sent = calloc(p->jobs.n, sizeof *st->sent)) == NULL) {
		free(st);
		out_of_memory(req);
		return;
	}
	if (jobs_get(req, &p->jobs, &st->jobs) < 0) {
		free(st->sent);
		free(st);
		return;
	}
	qsort(st->jobs.v, st->jobs.n, sizeof *st->jobs.v, by_seq); /* those done: finish order */
	st->req = req;
	st->timer.fire = on_as_completed_timer;
	st->ac = slot_as_completed_new(loop, st->jobs.v, st->jobs.n, SLOT_NO_TIMEOUT,
	    on_as_completed_ready, req, NULL);
	if (st->ac == NULL || (p->timeout_ms != MSG_NULL &&
	    slot_loop_timer_set(loop, &st->timer, slot_loop_in_ms(loop, p->timeout_ms)) < 0)) {
		as_completed_free(st);
		out_of_memory(req);
		return;
	}
	request_stream(req, &as_completed_ops, st, p->window == MSG_NULL ? -1 : p->window);
}

/* ---- one future that decides: wait, gather, result ---- */

struct waiter {
	struct slot_future *future; /* of the combinator, counted */
	struct jobs jobs;
	bool cancels;               /* a cancelled request cancels the future */
};

static void on_decided(struct slot_future *f, void *arg);
static void answer(struct request *req);
static bool load_answer(struct request *req, struct waiter *st);

static void
waiter_free(struct waiter *st)
{
	slot_future_unref(st->future);
	jobs_free(&st->jobs);
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
			out_of_memory(req);
		else
			slot_future_set_cancelled(st->future);
		waiter_free(st);
		return;
	}
	if (slot_future_add_done_callback(st->future, on_decided, req) < 0) {
		slot_future_set_cancelled(st->future);
		waiter_free(st);
		out_of_memory(req);
		return;
	}
	request_wait(req, &waiter_ops, st);
}

static struct waiter *
waiter_new(struct request *req, const struct msg_int_list *ids)
{
	struct waiter *st = calloc(1, sizeof *st);

	if (st == NULL) {
		out_of_memory(req);
		return NULL;
	}
	if (jobs_get(req, ids, &st->jobs) < 0) {
		free(st);
		return NULL;
	}
	if (check_reply(req, &st->jobs) < 0) {
		jobs_free(&st->jobs);
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
		budget -= VIEW_COMPLETION_MAX + row_of(futures[i])->spec->tag_len;
	for (size_t i = 0; c != NULL && i < n; i++)
		if (view_completion(v, row_of(futures[i]), with_output, &budget, &c[i]) < 0)
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
		rows[i] = row_of(futures[i]);
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
			qsort(r->done, r->ndone, sizeof *r->done, by_seq);
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
		out_of_memory(req);
	} else {
		for (size_t i = 0; i < r->npending; i++)
			pending[i] = (int64_t)row_of(r->pending[i])->id;
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
		out_of_memory(req);
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

	if (view_completion(&v, row_of(failure->future), req->call.u.futures_gather.with_output,
	    &budget, &c) < 0) {
		out_of_memory(req);
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
		out_of_memory(req);
	else
		request_reply(req, &job);
	view_free(&v);
}

static void
answer_result(struct request *req, const struct slot_wait_result *r)
{
	struct jsonw w;

	if (r->ndone == 1) {
		answer_job(req, row_of(r->done[0]));
		return;
	}
	request_error_begin(req, &w, RPC_TIMEOUT, "timed out");
	jsonw_key(&w, "remaining");
	jsonw_arr_begin(&w);
	jsonw_int(&w, (int64_t)row_of(r->pending[0])->id);
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
	{ M_FUTURES_AS_COMPLETED, on_as_completed },
	{ M_FUTURES_WAIT, on_wait },
	{ M_FUTURES_GATHER, on_gather },
	{ M_JOB_RESULT, on_result },
	{ 0, NULL },
};
