/* futures.as_completed: core's as_completed over the futures of jobs, as a stream. */
#include "engine/methods.h"
#include "engine/named.h"

#include <slot/combine.h>
#include <stdlib.h>

struct as_completed {
	struct request *req;
	struct slot_as_completed *ac;
	/* Ours and not the combinator's: at the timeout the answer goes out even if the client's
	 * window keeps back what ended before. */
	struct slot_timer timer;
	bool timed_out;
	struct named_jobs jobs;
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
	named_free(&st->jobs);
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
	struct row *row = named_row(st->next);

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
		request_no_memory(req);
		return;
	}
	if (named_get(req, &p->jobs, &st->jobs) < 0) {
		free(st->sent);
		free(st);
		return;
	}
	qsort(st->jobs.v, st->jobs.n, sizeof *st->jobs.v, named_by_seq); /* those done: finish order */
	st->req = req;
	st->timer.fire = on_as_completed_timer;
	st->ac = slot_as_completed_new(loop, st->jobs.v, st->jobs.n, SLOT_NO_TIMEOUT,
	    on_as_completed_ready, req, NULL);
	if (st->ac == NULL || (p->timeout_ms != MSG_NULL &&
	    slot_loop_timer_set(loop, &st->timer, slot_loop_in_ms(loop, p->timeout_ms)) < 0)) {
		as_completed_free(st);
		request_no_memory(req);
		return;
	}
	request_stream(req, &as_completed_ops, st, p->window == MSG_NULL ? -1 : p->window);
}

const struct request_method methods_as_completed[] = {
	{ M_FUTURES_AS_COMPLETED, on_as_completed },
	{ 0, NULL },
};
