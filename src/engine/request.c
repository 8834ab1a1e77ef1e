/* Requests in flight; see request.h. */
#include "engine/request.h"
#include "engine/load.h"
#include "engine/methods.h"
#include "engine/shelf.h"
#include "engine/view.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_wake(struct slot_call *call);

/* ---- life ---- */

static struct request *
request_new(struct session *s, struct rpc_request *parsed, const int *fds, unsigned nfds)
{
	struct request *req = calloc(1, sizeof *req);

	if (req == NULL)
		return NULL;
	req->session = s;
	req->engine = s->engine;
	req->id = parsed->id;
	req->window = -1;
	req->wake.run = on_wake;
	req->nfds = nfds;
	memcpy(req->fds, fds, nfds * sizeof *fds);
	TAILQ_INSERT_TAIL(&s->requests, req, entry);
	s->nrequests++;
	return req;
}

void
request_delist(struct request *req)
{
	if (req->list != NULL)
		TAILQ_REMOVE(req->list, req, listed);
	req->list = NULL;
}

void
request_enlist(struct request *req, struct request_list *list)
{
	request_delist(req);
	req->list = list;
	TAILQ_INSERT_TAIL(list, req, listed);
}

void
request_free(struct request *req)
{
	struct session *s = req->session;

	request_delist(req);
	load_free(req);
	slot_loop_call_cancel(req->engine->loop, &req->wake);
	TAILQ_REMOVE(&s->requests, req, entry);
	s->nrequests--;
	s->nwaiting -= req->waiting;
	s->nstreams -= req->stream;
	s->nwatched -= req->watched;
	s->nheld -= req->held;
	req->engine->nheld -= req->held;
	session_close_fds(s->engine, req->fds, req->nfds);
	msg_call_free(&req->call);
	free(req);
	session_request_gone(s);
}

void
request_drop(struct request *req, bool cancelled)
{
	if (req->ops != NULL && req->ops->drop != NULL)
		req->ops->drop(req, cancelled);
	req->ops = NULL;
	if (cancelled)
		request_error(req, RPC_REQUEST_CANCELLED, "the request was cancelled");
	else
		request_free(req);
}

struct request *
request_find(struct session *s, const struct jsonr *id)
{
	struct request *req;

	TAILQ_FOREACH(req, &s->requests, entry)
		if (rpc_id_equal(req->id, id))
			return req;
	return NULL;
}

/* ---- handling ---- */

static const struct request_method *const families[] = {
	methods_admin, methods_as_completed, methods_futures, methods_job, methods_map, methods_output,
	methods_queue, methods_submit, methods_sweep,
};

request_handler
request_handler_of(enum msg_method_id id)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		for (const struct request_method *m = families[i]; m->handler != NULL; m++)
			if (m->id == id)
				return m->handler;
	return NULL;
}

static void
fail_parsed(struct session *s, const struct jsonr *id, const struct rpc_failure *f)
{
	session_wrote_line(s, rpc_write_failure(s->out, id, f));
}

/* $/cancel and $/credit; anything else with $/ is ignored, and nothing is ever answered. */
static void
handle_notification(struct session *s, struct rpc_request *parsed)
{
	struct rpc_failure f;
	struct msg_call call;
	struct request *req;

	if (msg_decode(parsed, &call, &f) < 0)
		return;
	if (call.method->id == M_CANCEL) {
		req = request_find(s, call.u.cancel.id);
		if (req != NULL && req->ops != NULL)
			request_drop(req, true);
	} else if (call.method->id == M_CREDIT) {
		req = request_find(s, call.u.credit.stream);
		if (req != NULL && req->stream && req->window >= 0) {
			if (req->ops->credit != NULL)
				req->ops->credit(req, call.u.credit.n);
			else
				request_add_window(req, call.u.credit.n);
		}
	}
	msg_call_free(&call);
}

static bool
id_is_free(struct session *s, const struct jsonr *id)
{
	struct rpc_failure f;

	if (request_find(s, id) == NULL)
		return true;
	rpc_fail(&f, RPC_INVALID_REQUEST, "this id is in flight already; use another");
	fail_parsed(s, id, &f);
	return false;
}

bool
request_may_wait(struct request *req)
{
	const struct session *s = req->session;

	if (req->waiting || s->nwaiting < s->engine->limits.max_in_flight)
		return true;
	request_error(req, RPC_TOO_MANY_IN_FLIGHT,
	    "%u requests of this connection wait already; let some end first", s->nwaiting);
	return false;
}

static bool
is_allowed(struct request *req)
{
	if (!(req->call.method->flags & MSG_M_ADMIN) || req->session->admin)
		return true;
	request_error(req, RPC_PERMISSION_DENIED, "%s is for administrators: uid 0, the daemon's "
	    "own, or a member of admin_group", req->call.method->name);
	return false;
}

void
request_handle(struct session *s, struct rpc_request *parsed, const int *fds, unsigned nfds)
{
	struct rpc_failure f;
	struct request *req;

	if (parsed->is_notification) {
		handle_notification(s, parsed);
		session_close_fds(s->engine, fds, nfds);
		rpc_request_fini(parsed);
		return;
	}
	if (!id_is_free(s, parsed->id)) {
		session_close_fds(s->engine, fds, nfds);
		rpc_request_fini(parsed);
		return;
	}
	req = request_new(s, parsed, fds, nfds);
	if (req == NULL || msg_decode(parsed, &req->call, &f) < 0) {
		if (req == NULL) {
			session_close_fds(s->engine, fds, nfds);
			rpc_fail(&f, RPC_INTERNAL_ERROR, "out of memory");
		}
		fail_parsed(s, parsed->id, &f);
		if (req != NULL)
			request_free(req);
	} else if (is_allowed(req)) {
		request_handler_of(req->call.method->id)(req);
	}
	rpc_request_fini(parsed);
}

/* ---- answering ---- */

/* The answer went out: the request is over. */
static void
answered(struct request *req, int rc)
{
	session_wrote_line(req->session, rc);
	req->ops = NULL;
	request_free(req);
}

void
request_result_begin(struct request *req, struct jsonw *w)
{
	rpc_response_begin(w, req->session->out, req->id);
}

void
request_result_end(struct request *req, struct jsonw *w)
{
	answered(req, rpc_response_end(w));
}

void
request_reply(struct request *req, const void *result)
{
	struct jsonw w;

	request_result_begin(req, &w);
	msg_result_write(&w, req->call.method->id, result);
	request_result_end(req, &w);
}

void
request_fail(struct request *req, const struct rpc_failure *failure)
{
	answered(req, rpc_write_failure(req->session->out, req->id, failure));
}

void
request_error(struct request *req, enum rpc_error error, const char *format, ...)
{
	struct rpc_failure f;
	va_list ap;

	rpc_fail(&f, error, "%s", "");
	va_start(ap, format);
	vsnprintf(f.message, sizeof f.message, format, ap);
	va_end(ap);
	request_fail(req, &f);
}

void
request_no_memory(struct request *req)
{
	request_error(req, RPC_INTERNAL_ERROR, "out of memory");
}

void
request_bad_param(struct request *req, const char *param, const char *format, ...)
{
	struct rpc_failure f;
	va_list ap;

	rpc_fail_param(&f, param, "%s", "");
	va_start(ap, format);
	vsnprintf(f.message, sizeof f.message, format, ap);
	va_end(ap);
	request_fail(req, &f);
}

void
request_no_such_job(struct request *req, uint64_t job)
{
	struct rpc_failure f;
	int64_t oldest;

	if (!load_oldest(req, &oldest))
		return;
	rpc_fail(&f, RPC_NO_SUCH_JOB, "no job %llu (or it is older than the history that is kept)",
	    (unsigned long long)job);
	rpc_failure_add(&f, "job", (int64_t)job);
	rpc_failure_add(&f, "oldest_job", oldest);
	request_fail(req, &f);
}

struct row *
request_row(struct request *req, int64_t job)
{
	struct engine *e = req->engine;
	struct row *row;

	if (!load_rows(req, &job, 1))
		return NULL;
	row = e->store->ops->find(e->store, (uint64_t)job);
	if (row != NULL && view_visible(e, row, req->session->uid, req->session->admin))
		return row;
	request_no_such_job(req, (uint64_t)job);
	return NULL;
}

bool
request_rows(struct request *req, const struct msg_int_list *jobs)
{
	if (!load_rows(req, jobs->v, jobs->n))
		return false;
	for (size_t i = 0; i < jobs->n; i++)
		if (request_row(req, jobs->v[i]) == NULL)
			return false;
	return true;
}

struct job *
request_live(struct engine *e, struct row *row)
{
	struct job *job = job_find(e, row->id);

	return job != NULL ? job : shelf_take(e, row);
}

struct job *
request_job(struct engine *e, struct row *row)
{
	struct job *job;

	if (row->phase == ROW_DONE)
		return job_from_row(e, row);
	job = request_live(e, row);
	return job != NULL ? job_ref(job) : NULL;
}

int
request_check_degraded(const struct engine *e, struct rpc_failure *why)
{
	if (!e->store->degraded)
		return 0;
	return rpc_fail(why, RPC_STORAGE_DEGRADED, "the disk that holds %s is full: nothing new is "
	    "taken until it has room again; jobs that run go on",
	    e->options.state_dir != NULL ? e->options.state_dir : "the journal");
}

bool
request_refused_degraded(struct request *req)
{
	struct rpc_failure why;

	if (request_check_degraded(req->engine, &why) == 0)
		return false;
	request_fail(req, &why);
	return true;
}

void
request_error_begin(struct request *req, struct jsonw *w, enum rpc_error error,
    const char *message)
{
	rpc_error_begin(w, req->session->out, req->id, error, message);
}

void
request_error_end(struct request *req, struct jsonw *w)
{
	answered(req, rpc_error_end(w));
}

/* ---- waiting ---- */

void
request_park(struct request *req, const struct request_ops *ops, void *state)
{
	req->ops = ops;
	req->state = state;
}

void
request_wait(struct request *req, const struct request_ops *ops, void *state)
{
	request_park(req, ops, state);
	if (!load_busy(req))
		load_release(req); /* what it needs from here on it holds itself */
	if (!req->waiting)
		req->session->nwaiting++;
	req->waiting = true;
}

void
request_stream(struct request *req, const struct request_ops *ops, void *state, int64_t window)
{
	request_wait(req, ops, state);
	req->stream = true;
	req->session->nstreams++;
	req->window = window;
}

void
request_defer(struct request *req)
{
	if (!req->stream)
		req->session->nstreams++;
	req->stream = true;
}

bool
request_watch(struct request *req, size_t n)
{
	struct session *s = req->session;

	if (req->watched > 0)
		return true; /* a handler that runs again */
	if (s->nwatched + n > SESSION_WATCH_MAX) {
		request_error(req, RPC_LIMIT_EXCEEDED,
		    "a connection may watch %u jobs at a time; %zu are watched", SESSION_WATCH_MAX,
		    s->nwatched);
		return false;
	}
	s->nwatched += n;
	req->watched = n;
	return true;
}

/* ---- streams ---- */

static void
on_wake(struct slot_call *call)
{
	struct request *req = slot_container_of(call, struct request, wake);

	if (req->ops != NULL && req->ops->pump != NULL && !load_busy(req))
		req->ops->pump(req); /* (else the answer to its read wakes it) */
}

void
request_wake(struct request *req)
{
	slot_loop_call_soon(req->engine->loop, &req->wake);
}

bool
request_can_send(const struct request *req)
{
	struct session *s = req->session;

	if (s->closed || req->window == 0)
		return false;
	if (session_backlog(s) < SESSION_STREAM_HIGH)
		return true;
	s->choked = true;
	return false;
}

void
request_item_begin(struct request *req, struct jsonw *w)
{
	rpc_item_begin(w, req->session->out, req->id, ++req->n);
}

void
request_item_end(struct request *req, struct jsonw *w, int64_t cost)
{
	int rc = rpc_notify_end(w);

	if (req->window > 0)
		req->window = req->window > cost ? req->window - cost : 0;
	session_wrote_line(req->session, rc);
}

bool
request_load_output(struct request *req, struct row *row, int64_t with_output)
{
	return with_output <= 0 || load_outputs(req, &row, 1, with_output, VIEW_BUDGET);
}

int
request_send_completion(struct request *req, const struct row *row, int64_t with_output)
{
	struct view v = { .req = req };
	struct msg_completion c;
	size_t budget = VIEW_BUDGET;
	struct jsonw w;
	int rc = view_completion(&v, row, with_output, &budget, &c);

	if (rc == 0) {
		request_item_begin(req, &w);
		msg_item_members(&w, req->call.method->id, &c);
		request_item_end(req, &w, 1);
	}
	view_free(&v);
	load_forget_outputs(req);
	return rc;
}

void
request_add_window(struct request *req, int64_t n)
{
	req->window = n < RPC_INT_MAX - req->window ? req->window + n : RPC_INT_MAX;
	request_wake(req);
}

void
request_session_progress(struct session *s)
{
	bool room = s->choked && session_backlog(s) < SESSION_STREAM_HIGH;
	struct request *req, *next;

	if (s->nstreams == 0)
		return;
	if (room)
		s->choked = false;
	for (req = TAILQ_FIRST(&s->requests); req != NULL; req = next) {
		next = TAILQ_NEXT(req, entry);
		if (!req->stream || req->ops == NULL)
			continue;
		if (req->ops->delivered != NULL)
			req->ops->delivered(req);
		if (room)
			request_wake(req);
	}
}
