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

#define PAGE_ROWS 256
#define PAGE_BYTES ((size_t)256 * 1024) /* of specs: each stream may hold a page */

/* Completions as the store gave them, shared by the streams that are at the same place. */
struct done_page {
	LIST_ENTRY(done_page) entry;
	struct engine *engine;
	struct store_read read;
	char *queue, *name; /* of its filter */
	unsigned refs;
	bool answered;
	uint64_t upto;      /* up to here everything was there to be read */
};

struct completions {
	uint64_t next_seq;
	struct done_page *page; /* counted; NULL: none */
	size_t at;              /* in its rows */
};

static void
page_unref(struct done_page *p)
{
	struct store *s;

	if (p == NULL || --p->refs > 0)
		return;
	s = p->engine->store;
	LIST_REMOVE(p, entry);
	if (!p->answered)
		s->ops->read_drop(s, &p->read);
	store_read_fini(s, &p->read);
	free(p->queue);
	free(p->name);
	free(p);
}

static void
leave_page(struct completions *state)
{
	page_unref(state->page);
	state->page = NULL;
	state->at = 0;
}

static void
completions_drop(struct request *req, bool cancelled)
{
	(void)cancelled;
	leave_page(req->state);
	free(req->state);
}

static uint64_t
oldest_seq(const struct request *req)
{
	const struct session *s = req->session;
	struct store *store = req->engine->store;

	return store->ops->oldest_seq(store, s->uid, s->admin);
}

static void
truncated(struct request *req)
{
	struct jsonw w;

	request_error_begin(req, &w, RPC_HISTORY_TRUNCATED, NULL);
	jsonw_kint(&w, "oldest", (int64_t)oldest_seq(req));
	jsonw_kstr(&w, "instance", req->engine->instance);
	request_error_end(req, &w);
}

static void
on_page(struct store_read *r)
{
	struct done_page *p = r->arg;
	struct request *req;

	p->answered = true;
	TAILQ_FOREACH(req, &p->engine->completion_streams, listed)
		if (((struct completions *)req->state)->page == p)
			request_wake(req);
}

/* What of its filter the store can apply. */
static struct store_filter
filter_of(const struct request *req)
{
	const struct msg_filter *f = &req->call.u.completions_subscribe.filter;
	const struct session *s = req->session;
	struct store_filter out = {
		.phase = -1, .ok = f->ok, .queue = f->queue, .name = f->name,
	};

	out.by_uid = !s->admin || f->uid != MSG_NULL;
	out.uid = s->admin && f->uid != MSG_NULL ? (uint32_t)f->uid : s->uid;
	return out;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool
same_filter(const struct store_filter *a, const struct store_filter *b)
{
	return a->by_uid == b->by_uid && (!a->by_uid || a->uid == b->uid) && a->ok == b->ok &&
	    same_text(a->queue, b->queue) && same_text(a->name, b->name);
}

static bool
page_holds(const struct done_page *p, uint64_t seq)
{
	const struct store_read *r = &p->read;

	if (!p->answered || r->error != 0)
		return !p->answered && r->from == seq;
	return r->from <= seq && r->nrows > 0 && seq <= r->rows[r->nrows - 1]->run->seq;
}

/* Another stream's, where it will do. */
static struct done_page *
find_page(const struct request *req, const struct store_filter *filter, uint64_t seq)
{
	struct done_page *p;

	LIST_FOREACH(p, &req->engine->pages, entry)
		if (page_holds(p, seq) && same_filter(&p->read.filter, filter)) {
			p->refs++;
			return p;
		}
	return NULL;
}

static struct done_page *
read_page(struct engine *e, const struct store_filter *filter, uint64_t seq)
{
	struct done_page *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->engine = e;
	p->refs = 1;
	p->upto = e->published_seq;
	p->queue = filter->queue != NULL ? strdup(filter->queue) : NULL;
	p->name = filter->name != NULL ? strdup(filter->name) : NULL;
	if ((filter->queue != NULL && p->queue == NULL) ||
	    (filter->name != NULL && p->name == NULL)) {
		free(p->queue);
		free(p->name);
		free(p);
		return NULL;
	}
	p->read = (struct store_read){
		.kind = STORE_READ_DONE,
		.filter = *filter,
		.from = seq,
		.limit = PAGE_ROWS,
		.limit_bytes = PAGE_BYTES,
		.done = on_page,
		.arg = p,
	};
	p->read.filter.queue = p->queue;
	p->read.filter.name = p->name;
	LIST_INSERT_HEAD(&e->pages, p, entry);
	p->answered = e->store->ops->read(e->store, &p->read);
	return p;
}

/* All of its page was sent. True: it goes on at once; false: after others. */
static bool
turn_page(struct completions *state)
{
	const struct done_page *p = state->page;
	uint64_t next = p->read.next != 0 ? p->read.next : p->upto + 1;
	bool fruitless = p->read.nrows == 0 && next <= p->upto; /* a narrow filter */

	if (state->next_seq < next)
		state->next_seq = next;
	leave_page(state);
	return !fruitless;
}

/* The next row to be sent. NULL: there is none now; the pump is woken when there may be. */
static struct row *
next_completion(struct request *req)
{
	struct completions *state = req->state;
	struct store_filter filter = filter_of(req);
	struct done_page *p;

	for (;;) {
		p = state->page;
		if (p == NULL) {
			if (state->next_seq > req->engine->published_seq)
				return NULL;
			p = find_page(req, &filter, state->next_seq);
			if (p == NULL)
				p = read_page(req->engine, &filter, state->next_seq);
			if (p == NULL) {
				session_doom(req->session);
				return NULL;
			}
			state->page = p;
		}
		if (!p->answered || p->read.error != 0)
			return NULL;
		while (state->at < p->read.nrows) {
			struct row *row = p->read.rows[state->at];

			if (row->run->seq > req->engine->published_seq)
				return NULL; /* nobody was told of it yet */
			if (row->run->seq >= state->next_seq && !row->gone)
				return row;
			state->at++;
		}
		if (!turn_page(state)) {
			request_wake(req);
			return NULL;
		}
	}
}

/* True: the stream ended. */
static bool
completions_failed(struct request *req)
{
	struct completions *state = req->state;
	const struct done_page *p = state->page;
	bool overtaken = state->next_seq < oldest_seq(req);

	if (!overtaken && (p == NULL || !p->answered || p->read.error == 0))
		return false;
	completions_drop(req, false);
	req->ops = NULL;
	if (overtaken)
		truncated(req);
	else
		request_error(req, RPC_INTERNAL_ERROR, "the journal can't be read there");
	return true;
}

static void
completions_pump(struct request *req)
{
	const struct msg_completions_subscribe *p = &req->call.u.completions_subscribe;
	struct completions *state = req->state;
	const struct session *s = req->session;
	struct row *row;

	while (request_can_send(req)) {
		if (state->next_seq <= req->engine->published_seq && completions_failed(req))
			return;
		if ((row = next_completion(req)) == NULL)
			break;
		if (view_visible(req->engine, row, s->uid, s->admin) &&
		    view_filter(&p->filter, row)) {
			if (!request_load_output(req, row, p->with_output))
				return;
			if (request_send_completion(req, row, p->with_output) < 0)
				return; /* again when there is memory */
		}
		state->next_seq = row->run->seq + 1;
		state->at++;
	}
	if (state->page != NULL && state->page->answered && state->page->read.error != 0)
		completions_failed(req);
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
	if (since > e->published_seq || since + 1 < oldest_seq(req)) {
		truncated(req);
		return;
	}
	state = calloc(1, sizeof *state);
	if (state == NULL) {
		request_no_memory(req);
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
		request_no_memory(req);
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
