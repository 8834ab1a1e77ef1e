/* Completion and event streams; see hub.h. */
#include "engine/hub.h"
#include "engine/view.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

/* A filter on a queue that isn't there would wait for ever. */
static bool
queue_is_known(struct request *req, const char *queue)
{
	struct rpc_failure f;

	if (queue == NULL || queue_find(req->engine->queues, queue) != NULL)
		return true;
	rpc_fail_param(&f, "queue", "filter.queue: there is no queue \"%s\"", queue);
	snprintf(f.path, sizeof f.path, "filter.queue");
	request_fail(req, &f);
	return false;
}

/* ---- completions ---- */

#define SCAN_MAX 4096 /* rows a stream looks at in one pump: a narrow filter must not stall */

struct completions {
	uint64_t next_seq;
};

static void
completions_drop(struct request *req, bool cancelled)
{
	(void)cancelled;
	free(req->state);
}

static void
truncated(struct request *req)
{
	struct engine *e = req->engine;
	struct jsonw w;

	request_error_begin(req, &w, RPC_HISTORY_TRUNCATED, NULL);
	jsonw_kint(&w, "oldest", (int64_t)e->store->ops->oldest_seq(e->store, 0, true));
	jsonw_kstr(&w, "instance", e->instance);
	request_error_end(req, &w);
}

static void
completions_pump(struct request *req)
{
	struct completions *state = req->state;
	struct engine *e = req->engine;
	const struct session *s = req->session;
	unsigned scanned = 0;

	while (state->next_seq <= e->published_seq && request_can_send(req)) {
		struct row *row;

		if (state->next_seq < e->store->ops->oldest_seq(e->store, 0, true)) {
			free(state);
			truncated(req);
			return;
		}
		if (scanned++ == SCAN_MAX) {
			request_wake(req);
			return;
		}
		row = e->store->ops->next_done(e->store, state->next_seq);
		if (row == NULL || row->run->seq > e->published_seq) {
			state->next_seq = e->published_seq + 1;
			return;
		}
		state->next_seq = row->run->seq + 1;
		if (!view_visible(e, row, s->uid, s->admin) ||
		    !view_filter(&req->call.u.completions_subscribe.filter, row))
			continue;
		if (request_send_completion(req, row,
		    req->call.u.completions_subscribe.with_output) < 0) {
			state->next_seq = row->run->seq; /* again when there is memory */
			return;
		}
	}
}

static const struct request_ops completions_ops = {
	.drop = completions_drop,
	.pump = completions_pump,
};

void
hub_on_completions_subscribe(struct request *req)
{
	const struct msg_completions_subscribe *p = &req->call.u.completions_subscribe;
	struct engine *e = req->engine;
	struct completions *state;
	uint64_t since = e->published_seq;

	if (!queue_is_known(req, p->filter.queue) || !request_may_wait(req))
		return;
	if (p->instance != NULL && strcmp(p->instance, e->instance) != 0) {
		truncated(req);
		return;
	}
	if (p->since_seq != MSG_NULL)
		since = (uint64_t)p->since_seq;
	if (since > e->published_seq ||
	    since + 1 < e->store->ops->oldest_seq(e->store, 0, true)) {
		truncated(req);
		return;
	}
	state = calloc(1, sizeof *state);
	if (state == NULL) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
		return;
	}
	state->next_seq = since + 1;
	request_stream(req, &completions_ops, state, p->window == MSG_NULL ? -1 : p->window);
	request_enlist(req, &e->completion_streams);
	request_wake(req);
}

void
hub_completed(struct engine *e)
{
	struct request *req;

	TAILQ_FOREACH(req, &e->completion_streams, listed)
		request_wake(req);
}

/* ---- events ---- */

struct events {
	int64_t dropped; /* since the last gap notice */
};

static void
events_drop(struct request *req, bool cancelled)
{
	(void)cancelled;
	free(req->state);
}

/* There is room again: say what was missed. */
static void
events_pump(struct request *req)
{
	struct events *state = req->state;

	if (state->dropped == 0 || !request_can_send(req))
		return;
	session_wrote_line(req->session, rpc_write_gap(req->session->out, req->id, state->dropped,
	    (int64_t)req->engine->published_seq));
	state->dropped = 0;
}

static const struct request_ops events_ops = {
	.drop = events_drop,
	.pump = events_pump,
};

void
hub_on_events_subscribe(struct request *req)
{
	struct events *state;

	if (!queue_is_known(req, req->call.u.events_subscribe.filter.queue) ||
	    !request_may_wait(req))
		return;
	state = calloc(1, sizeof *state);
	if (state == NULL) {
		request_error(req, RPC_INTERNAL_ERROR, "out of memory");
		return;
	}
	request_stream(req, &events_ops, state, -1);
	request_enlist(req, &req->engine->event_streams);
}

static enum msg_event_kind
kind_of(enum fact_kind kind)
{
	switch (kind) {
	case FACT_SUBMITTED:
		return MSG_EVENT_SUBMITTED;
	case FACT_STARTED:
		return MSG_EVENT_RUNNING;
	case FACT_ATTEMPT_FAILED:
		return MSG_EVENT_ATTEMPT_FAILED;
	case FACT_REQUEUED:
		return MSG_EVENT_PENDING;
	case FACT_DONE:
		return MSG_EVENT_DONE;
	}
	return MSG_EVENT_DONE;
}

static enum msg_phase
phase_of(enum fact_kind kind)
{
	switch (kind) {
	case FACT_STARTED:
	case FACT_ATTEMPT_FAILED:
		return MSG_PHASE_RUNNING;
	case FACT_DONE:
		return MSG_PHASE_DONE;
	case FACT_SUBMITTED:
	case FACT_REQUEUED:
		return MSG_PHASE_PENDING;
	}
	return MSG_PHASE_PENDING;
}

static void
fill_event(const struct fact *f, struct msg_event *ev)
{
	const struct row *row = f->job->row;
	const struct row_run *run = f->kind == FACT_DONE ? row->run : f->run;

	*ev = (struct msg_event){
		.kind = kind_of(f->kind),
		.job = (int64_t)row->id,
		.at_us = f->at_us,
		.phase = phase_of(f->kind),
		.ok = -1,
		.exit_code = MSG_NULL,
		.signal = MSG_NULL,
		.attempt = f->attempt,
		.seq = MSG_NULL,
		.name = spec_at(row->spec, row->spec->name_off),
		.queue = row->queue,
		.uid = row->uid,
		.tag = { spec_at(row->spec, row->spec->tag_off), row->spec->tag_len },
	};
	if (run == NULL)
		return;
	ev->outcome = run->outcome;
	ev->exit_code = run->exit_code >= 0 ? run->exit_code : MSG_NULL;
	ev->signal = run->signal > 0 ? run->signal : MSG_NULL;
	if (f->kind != FACT_DONE)
		return;
	ev->ok = run->ok;
	ev->reason = run->reason;
	ev->seq = (int64_t)run->seq;
}

static void
send_event(struct request *req, const struct fact *f)
{
	struct events *state = req->state;
	struct msg_event ev;
	struct jsonw w;

	if (!request_can_send(req)) {
		state->dropped++;
		return;
	}
	events_pump(req);
	fill_event(f, &ev);
	request_item_begin(req, &w);
	msg_item_members(&w, M_EVENTS_SUBSCRIBE, &ev);
	request_item_end(req, &w, 1);
}

void
hub_event(struct engine *e, const struct fact *f)
{
	struct request *req;

	TAILQ_FOREACH(req, &e->event_streams, listed) {
		const struct msg_events_subscribe *p = &req->call.u.events_subscribe;

		if ((p->kinds >> kind_of(f->kind) & 1) &&
		    view_visible(e, f->job->row, req->session->uid, req->session->admin) &&
		    view_filter(&p->filter, f->job->row))
			send_event(req, f);
	}
}
