/* queue.list, set, remove, pause, resume. */
#include "engine/methods.h"
#include "engine/settings.h"

#include <stdlib.h>

#define QUEUES_MAX 1024u /* each costs a look at every start */

static struct msg_queue
describe(const struct queue *q)
{
	uint32_t limit = queue_limit(q);

	return (struct msg_queue){
		.queue = queue_name(q),
		.max_running = limit == QUEUE_UNLIMITED ? MSG_NULL : (int64_t)limit,
		.paused = queue_paused(q),
		.running = queue_running(q),
		.pending = (int64_t)queue_pending(q),
	};
}

static size_t
count_queues(const struct engine *e)
{
	size_t n = 0;

	for (const struct queue *q = queue_next(e->queues, NULL); q != NULL;
	    q = queue_next(e->queues, q))
		n++;
	return n;
}

static void
on_list(struct request *req)
{
	struct engine *e = req->engine;
	struct msg_queue *v = calloc(count_queues(e) + 1, sizeof *v);
	struct msg_queues_result result;
	size_t n = 0;

	if (v == NULL) {
		request_no_memory(req);
		return;
	}
	for (const struct queue *q = queue_next(e->queues, NULL); q != NULL;
	    q = queue_next(e->queues, q))
		v[n++] = describe(q);
	result.queues = (struct msg_queue_list){ v, n };
	request_reply(req, &result);
	free(v);
}

/* The queue, or NULL: the request was answered. */
static struct queue *
queue_for(struct request *req, const char *name)
{
	struct queue *q = queue_find(req->engine->queues, name);

	if (q == NULL)
		request_bad_param(req, "queue", "there is no queue \"%s\"", name);
	return q;
}

/* `max_running` is the second row of queue.set's table, `paused` the third. */
static bool
limit_was_given(const struct msg_queue_set *p)
{
	return p->max_running != MSG_NULL || (p->present & 2) != 0;
}

/* In one record, whatever of it was given. */
static void
keep_settings(struct engine *e, const struct queue *q, bool made, const struct msg_queue_set *p)
{
	unsigned what = 0;

	if (made)
		what |= SETTINGS_QUEUE_MADE;
	if (limit_was_given(p))
		what |= SETTINGS_QUEUE_LIMITED;
	if (p->paused >= 0)
		what |= SETTINGS_QUEUE_PAUSED;
	if (what != 0)
		settings_keep_queue(e, q, what);
}

static void
on_set(struct request *req)
{
	const struct msg_queue_set *p = &req->call.u.queue_set;
	struct engine *e = req->engine;
	struct queue *q = queue_find(e->queues, p->queue);
	bool made = q == NULL;
	struct msg_queue result;

	if (request_refused_degraded(req))
		return;
	if (q == NULL && count_queues(e) >= QUEUES_MAX) {
		request_error(req, RPC_LIMIT_EXCEEDED, "there are %u queues already", QUEUES_MAX);
		return;
	}
	if (q == NULL && (q = queue_add(e->queues, p->queue)) == NULL) {
		request_no_memory(req);
		return;
	}
	if (made)
		queue_set_paused(q, e->all_paused);
	if (limit_was_given(p))
		queue_set_limit(q, p->max_running == MSG_NULL ? QUEUE_UNLIMITED :
		    (uint32_t)p->max_running);
	if (p->paused >= 0)
		queue_set_paused(q, p->paused != 0);
	keep_settings(e, q, made, p);
	job_kick(e);
	result = describe(q);
	request_reply(req, &result);
}

static void
on_remove(struct request *req)
{
	struct engine *e = req->engine; /* (an answer frees the request) */
	struct queue *q = queue_for(req, req->call.u.queue_remove.queue);
	const char *name;

	if (q == NULL || request_refused_degraded(req))
		return;
	name = queue_name(q); /* (which it leaves behind) */
	if (q == queue_find(e->queues, "default")) {
		request_error(req, RPC_INVALID_STATE, "the queue \"default\" can't be removed");
	} else if (queue_remove(e->queues, q) < 0) {
		request_error(req, RPC_INVALID_STATE, "queue \"%s\" is not empty: %zu pending, %u "
		    "slots running", name, queue_pending(q), queue_running(q));
	} else {
		settings_forget_queue(e, name);
		request_reply(req, NULL);
	}
}

static void
pause_one(struct engine *e, struct queue *q, bool paused)
{
	if (queue_paused(q) == paused)
		return;
	queue_set_paused(q, paused);
	settings_keep_queue(e, q, SETTINGS_QUEUE_PAUSED);
}

static void
set_paused(struct request *req, const char *name, bool paused)
{
	struct engine *e = req->engine;
	struct queue *q;

	if (name != NULL) {
		if ((q = queue_for(req, name)) == NULL || request_refused_degraded(req))
			return;
		pause_one(e, q, paused);
	} else {
		if (request_refused_degraded(req))
			return;
		e->all_paused = paused;
		settings_keep_pause(e);
		for (q = queue_next(e->queues, NULL); q != NULL; q = queue_next(e->queues, q))
			pause_one(e, q, paused);
	}
	job_kick(e);
	request_reply(req, NULL);
}

static void
on_pause(struct request *req)
{
	set_paused(req, req->call.u.queue_pause.queue, true);
}

static void
on_resume(struct request *req)
{
	set_paused(req, req->call.u.queue_resume.queue, false);
}

const struct request_method methods_queue[] = {
	{ M_QUEUE_LIST, on_list },
	{ M_QUEUE_SET, on_set },
	{ M_QUEUE_REMOVE, on_remove },
	{ M_QUEUE_PAUSE, on_pause },
	{ M_QUEUE_RESUME, on_resume },
	{ 0, NULL },
};
