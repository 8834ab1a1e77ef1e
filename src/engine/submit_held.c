/* Submits that find no room: refused, or held until there is; see submit.h. */
#include "engine/submit.h"
#include "engine/load.h"

#define RETRY_AFTER_MIN_MS 10
#define RETRY_AFTER_MAX_MS 60000

/* An older one of the same uid still waits for room: it goes first. */
bool
submit_is_behind(const struct engine *e, const struct request *req)
{
	const struct request *at;

	TAILQ_FOREACH(at, &e->held, listed) {
		if (at == req)
			return false;
		if (at->session->uid == req->session->uid)
			return true;
	}
	return false;
}

void
submit_answer_full(struct request *req)
{
	struct engine *e = req->engine;
	uint32_t slots = e->limits.max_running != 0 ? e->limits.max_running : 1;
	int64_t ms = histogram_percentile(&e->stats.run, 50) / 1000 / slots;
	struct rpc_failure f;

	if (ms < RETRY_AFTER_MIN_MS)
		ms = RETRY_AFTER_MIN_MS;
	if (ms > RETRY_AFTER_MAX_MS)
		ms = RETRY_AFTER_MAX_MS;
	rpc_fail(&f, RPC_QUEUE_FULL, "no room: %llu jobs are pending (max_pending %llu), with %lld "
	    "bytes (max_pending_bytes %lld)", (unsigned long long)e->npending,
	    (unsigned long long)e->limits.max_pending,
	    (long long)(e->pending_bytes + (int64_t)e->store->envs.bytes),
	    (long long)e->limits.max_pending_bytes);
	rpc_failure_add(&f, "retry_after_ms", ms);
	request_fail(req, &f);
}

static const struct request_ops held_ops = { 0 };

void
submit_hold(struct request *req, request_handler try_again)
{
	if (req->held) { /* still no room */
		load_release(req);
		return;
	}
	if (!request_may_wait(req))
		return;
	if (req->session->nheld >= SESSION_HELD_MAX) {
		request_error(req, RPC_TOO_MANY_IN_FLIGHT,
		    "%u submits of this connection wait for room already", SESSION_HELD_MAX);
		return;
	}
	request_wait(req, &held_ops, NULL);
	req->held = true;
	req->try_again = try_again;
	req->session->nheld++;
	req->engine->nheld++;
	request_enlist(req, &req->engine->held);
}

void
submit_retry_held(struct engine *e)
{
	struct request *req, *next;

	for (req = TAILQ_FIRST(&e->held); req != NULL; req = next) {
		next = TAILQ_NEXT(req, listed);
		if (!e->shutting_down && e->drain == DRAIN_OFF &&
		    e->npending >= e->limits.max_pending)
			return;
		if (!load_busy(req) && !submit_is_behind(e, req))
			req->try_again(req);
	}
}

static void
on_admit(struct slot_call *call)
{
	submit_retry_held(slot_container_of(call, struct engine, admit));
}

void
submit_init(struct engine *e)
{
	e->admit.run = on_admit;
}
