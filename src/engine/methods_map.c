/*
 * map.*: limited_as_completed over a socket. The stream's credit starts at `limit`; a push spends
 * it and a completion that was consumed gives it back, so that what is submitted and not consumed
 * never exceeds the limit.
 */
#include "engine/methods.h"
#include "engine/orphans.h"
#include "engine/submit.h"
#include "engine/view.h"

#include <stdlib.h>

struct map_item { /* a job of the map that was not consumed yet; it keeps its row in history */
	TAILQ_ENTRY(map_item) entry;
	struct map *map;
	struct job *job;   /* counted */
	uint64_t position; /* sent: the end of its item in the session's output */
};
TAILQ_HEAD(map_items, map_item);

struct map {
	struct request *req;
	struct job_ties_list jobs; /* not done yet */
	struct map_items open;     /* pushed and not done: their callbacks are out */
	struct map_items ready;    /* done, to be sent */
	struct map_items sent;     /* without window: not yet in the kernel; with: not credited */
	int64_t credit;            /* pushes the client may make */
	bool ended;                /* no more pushes, but those that wait for room */
	bool failed;               /* on_error: cancel; those neither */
	struct msg_map_result result;
};

static void on_job_done(struct slot_future *f, void *arg);

static void
cancel_jobs(struct map *m, enum msg_reason reason)
{
	orphans_add(m->req->engine, &m->jobs, reason);
}

static void
item_free(struct map_item *it)
{
	slot_future_remove_done_callback(&it->job->action.future, on_job_done, it);
	job_unref(it->job);
	free(it);
}

static void
items_free(struct map_items *items)
{
	struct map_item *it;

	while ((it = TAILQ_FIRST(items)) != NULL) {
		TAILQ_REMOVE(items, it, entry);
		item_free(it);
	}
}

static void
map_free(struct map *m)
{
	items_free(&m->open);
	items_free(&m->ready);
	items_free(&m->sent);
	free(m);
}

/* A push of this map that is held for lack of room. NULL: none. */
static struct request *
held_push(const struct map *m)
{
	struct request *req;

	TAILQ_FOREACH(req, &m->req->session->requests, entry)
		if (req->held && req->call.method->id == M_MAP_PUSH &&
		    rpc_id_equal(req->call.u.map_push.stream, m->req->id))
			return req;
	return NULL;
}

/* Their specs rest on the map's defaults: they can't outlive it. */
static void
refuse_held(struct map *m)
{
	struct request *req;

	while ((req = held_push(m)) != NULL)
		request_error(req, RPC_INVALID_STATE, "the map has ended");
}

static void
map_drop(struct request *req, bool cancelled)
{
	struct map *m = req->state;

	refuse_held(m);
	cancel_jobs(m, cancelled ? MSG_REASON_CLIENT : MSG_REASON_SESSION_ENDED);
	map_free(m);
}

/* Consumed completions give their credit back, and the client is told. */
static void
give_credit(struct map *m, int64_t n)
{
	struct session *s = m->req->session;

	if (n == 0 || m->ended)
		return;
	m->credit += n;
	session_wrote_line(s, rpc_write_credit(s->out, m->req->id, n));
}

static void
consumed(struct map *m)
{
	struct map_item *it = TAILQ_FIRST(&m->sent);

	TAILQ_REMOVE(&m->sent, it, entry);
	item_free(it);
}

/* Without a window, what the kernel has taken counts as consumed. */
static void
map_delivered(struct request *req)
{
	struct map *m = req->state;
	struct map_item *it;
	int64_t n = 0;

	if (req->window >= 0)
		return;
	while ((it = TAILQ_FIRST(&m->sent)) != NULL && it->position <= req->session->written) {
		consumed(m);
		n++;
	}
	give_credit(m, n);
}

static void
map_credit(struct request *req, int64_t n)
{
	struct map *m = req->state;
	int64_t done = 0;

	for (; done < n && !TAILQ_EMPTY(&m->sent); done++)
		consumed(m);
	give_credit(m, done);
	request_add_window(req, n);
}

static void
count_result(struct map *m, const struct row_run *run)
{
	if (run->ok)
		m->result.ok++;
	else if (run->outcome == MSG_OUTCOME_CANCELLED)
		m->result.cancelled++;
	else
		m->result.failed++;
}

static void
map_pump(struct request *req)
{
	struct map *m = req->state;
	struct map_item *it;

	while ((it = TAILQ_FIRST(&m->ready)) != NULL && request_can_send(req)) {
		if (!request_load_output(req, it->job->row, req->call.u.map_open.with_output))
			return;
		if (request_send_completion(req, it->job->row,
		    req->call.u.map_open.with_output) < 0) {
			session_doom(req->session);
			return;
		}
		TAILQ_REMOVE(&m->ready, it, entry);
		count_result(m, it->job->row->run);
		it->position = req->session->appended;
		TAILQ_INSERT_TAIL(&m->sent, it, entry);
	}
	if (m->ended && TAILQ_EMPTY(&m->open) && TAILQ_EMPTY(&m->ready) && held_push(m) == NULL) {
		struct msg_map_result result = m->result;

		map_free(m);
		request_reply(req, &result);
	}
}

static void
on_job_done(struct slot_future *f, void *arg)
{
	struct map_item *it = arg;
	struct map *m = it->map;
	const struct row_run *run = job_of_future(f)->row->run;

	TAILQ_REMOVE(&m->open, it, entry);
	TAILQ_INSERT_TAIL(&m->ready, it, entry);
	if (!run->ok && m->req->call.u.map_open.on_error == MSG_ON_ERROR_CANCEL) {
		m->ended = m->failed = true;
		cancel_jobs(m, MSG_REASON_CLIENT);
		refuse_held(m);
	}
	request_wake(m->req);
}

static const struct request_ops map_ops = {
	.drop = map_drop,
	.pump = map_pump,
	.credit = map_credit,
	.delivered = map_delivered,
};

static void
on_open(struct request *req)
{
	const struct msg_map_open *p = &req->call.u.map_open;
	struct map *m;

	if (!request_may_wait(req))
		return;
	m = calloc(1, sizeof *m);
	if (m == NULL) {
		request_no_memory(req);
		return;
	}
	m->req = req;
	LIST_INIT(&m->jobs);
	TAILQ_INIT(&m->open);
	TAILQ_INIT(&m->ready);
	TAILQ_INIT(&m->sent);
	request_stream(req, &map_ops, m, p->window == MSG_NULL ? -1 : p->window);
	give_credit(m, p->limit);
}

/* The map that a push or end names. NULL: it was answered. */
static struct map *
map_of(struct request *req, const struct jsonr *stream)
{
	struct request *open = request_find(req->session, stream);

	if (open != NULL && open->ops == &map_ops)
		return open->state;
	request_bad_param(req, "stream", "stream: no map with this id is open on this connection");
	return NULL;
}

/* All that can fail without a trace is made before the jobs are. */
static struct map_item **
items_make(struct map *m, size_t n)
{
	struct map_item **items = calloc(n, sizeof *items);

	for (size_t i = 0; items != NULL && i < n; i++) {
		items[i] = calloc(1, sizeof **items);
		if (items[i] == NULL) {
			while (i-- > 0)
				free(items[i]);
			free(items);
			return NULL;
		}
		items[i]->map = m;
	}
	return items;
}

static void
items_discard(struct map_item **items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(items[i]);
	free(items);
}

/* A job under a key that existed already belongs to nobody's map, but its completion is wanted. */
static void
follow(struct request *req, struct map *m, struct map_item *it, int64_t id)
{
	struct engine *e = req->engine;

	it->job = request_job(e, e->store->ops->find(e->store, (uint64_t)id));
	if (it->job == NULL || slot_future_add_done_callback(&it->job->action.future, on_job_done,
	    it) < 0) {
		job_unref(it->job);
		free(it);
		session_doom(req->session);
		return;
	}
	TAILQ_INSERT_TAIL(&m->open, it, entry);
}

static void
push_jobs(struct request *req, struct map *m)
{
	const struct msg_spec_list *specs = &req->call.u.map_push.jobs;
	size_t n = specs->n;
	struct rpc_failure why = { 0 };
	int64_t ids[MSG_BATCH_MAX];
	struct submit sub = { .req = req, .specs = specs->v, .n = specs->n, .batch = true,
		.stream = &m->jobs, .on_full = m->req->call.u.map_open.defaults.on_full,
		.ids = ids };
	struct msg_jobs_result result = { .jobs = { ids, specs->n } };
	struct map_item **items = items_make(m, specs->n);

	if (items == NULL) {
		request_no_memory(req);
		return;
	}
	switch (submit_all(&sub, &why)) {
	case SUBMIT_SUSPENDED: /* (or answered: the specs are gone) */
		items_discard(items, n);
		return;
	case SUBMIT_REFUSED:
		items_discard(items, specs->n);
		request_fail(req, &why);
		return;
	case SUBMIT_FULL:
		items_discard(items, specs->n);
		if (sub.on_full == MSG_ON_FULL_WAIT)
			submit_hold(req, request_handler_of(M_MAP_PUSH));
		else
			submit_answer_full(req);
		return;
	case SUBMIT_DONE:
		break;
	}
	for (size_t i = 0; i < specs->n; i++)
		follow(req, m, items[i], ids[i]);
	free(items);
	m->credit -= (int64_t)specs->n;
	m->result.submitted += (int64_t)specs->n;
	request_reply(req, &result);
}

static void
on_push(struct request *req)
{
	struct msg_map_push *p = &req->call.u.map_push;
	struct map *m = map_of(req, p->stream);
	struct rpc_failure why;
	size_t n;

	if (m == NULL)
		return;
	n = p->jobs_json->len;
	request_wake(m->req); /* however this ends, the map may be over then */
	if (m->failed || (m->ended && !req->held)) {
		request_error(req, RPC_INVALID_STATE, "this map has ended: it takes no more jobs");
		return;
	}
	if ((int64_t)n > m->credit) {
		rpc_fail(&why, RPC_CREDIT_EXCEEDED, "%zu jobs pushed with credit for %lld", n,
		    (long long)m->credit);
		rpc_failure_add(&why, "credit", m->credit);
		request_fail(req, &why);
		return;
	}
	if (p->jobs.n == 0 &&
	    msg_map_push_specs(&req->call, &m->req->call.u.map_open.defaults, &why) < 0) {
		request_fail(req, &why);
		return;
	}
	push_jobs(req, m);
}

static void
on_end(struct request *req)
{
	struct map *m = map_of(req, req->call.u.map_end.stream);

	if (m == NULL)
		return;
	m->ended = true;
	request_reply(req, NULL);
	request_wake(m->req);
}

const struct request_method methods_map[] = {
	{ M_MAP_OPEN, on_open },
	{ M_MAP_PUSH, on_push },
	{ M_MAP_END, on_end },
	{ 0, NULL },
};
