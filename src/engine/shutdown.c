/* Idleness, drains, and the end of the engine; see shutdown.h. */
#include "engine/shutdown.h"
#include "engine/context.h"
#include "engine/methods.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/session_io.h"
#include "engine/submit.h"

#define CANCEL_SLICE 256  /* jobs cancelled in one call */
#define LINGER_US 1000000 /* a client that doesn't read holds up a shutdown so long … */
#define COMMIT_US 5000000 /* … and a disk so long, where the last answers wait for it */

bool
engine_idle(const struct engine *e)
{
	return e->nsessions == 0 && e->jobs.count == 0;
}

uint32_t
engine_running(const struct engine *e)
{
	return slot_executor_running(e->executor);
}

uint64_t
engine_pending(const struct engine *e)
{
	return e->npending;
}

void
engine_check_idle(struct engine *e)
{
	slot_loop_call_soon(e->loop, &e->idle_check);
}

/* Nothing is pending, running, or left of what ran; or, where jobs go on without us, all that was
 * done before the shutdown is durable. */
static bool
jobs_are_over(const struct engine *e)
{
	if (e->store->durable)
		return e->committed >= e->last_batch;
	return e->jobs.count == 0 && e->in_flight == NULL;
}

/* The last answers: whoever still waits hears why nothing will come. */
static void
dismiss_sessions(struct engine *e)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&e->sessions); s != NULL; s = next) {
		struct request *req;

		next = TAILQ_NEXT(s, entry);
		while ((req = TAILQ_FIRST(&s->requests)) != NULL) {
			if (req->ops != NULL && req->ops->drop != NULL)
				req->ops->drop(req, false);
			req->ops = NULL;
			request_error(req, RPC_SHUTTING_DOWN, "the daemon is shutting down");
		}
		session_finish(s);
	}
}

static void
shutdown_over(struct engine *e)
{
	void (*done)(void *) = e->shutdown_done;

	e->shutdown_done = NULL;
	slot_loop_timer_clear(e->loop, &e->linger);
	if (done != NULL)
		done(e->shutdown_arg);
}

static void
on_linger(struct slot_timer *timer)
{
	shutdown_over(slot_container_of(timer, struct engine, linger));
}

/* Streams still have completions to send before the last answers: wait for them to be quiet. */
static bool
streams_are_quiet(const struct engine *e)
{
	const struct session *s;

	TAILQ_FOREACH(s, &e->sessions, entry) {
		const struct request *req;

		if (session_backlog(s) > 0)
			return false;
		TAILQ_FOREACH(req, &s->requests, entry)
			if (slot_call_queued(&req->wake))
				return false;
	}
	return true;
}

static void
continue_shutdown(struct engine *e)
{
	if (!jobs_are_over(e) || e->shutdown_done == NULL)
		return;
	if (!slot_timer_armed(&e->linger) || e->last_batch != 0)
		slot_loop_timer_set(e->loop, &e->linger, slot_loop_now_us(e->loop) + LINGER_US);
	e->last_batch = 0;
	if (e->nsessions == 0)
		shutdown_over(e);
	else if (streams_are_quiet(e))
		dismiss_sessions(e);
	/* else: the progress of a session comes back here */
}

static void
on_idle_check(struct slot_call *call)
{
	struct engine *e = slot_container_of(call, struct engine, idle_check);
	bool idle = engine_idle(e);

	if (e->drain != DRAIN_OFF && e->npending == 0 && e->nrunning == 0 &&
	    !TAILQ_EMPTY(&e->drains) && e->by_phase[ROW_DONE].tqh_first == NULL)
		methods_admin_idle(e);
	if (e->shutting_down) {
		continue_shutdown(e);
		return;
	}
	if (idle != e->idle) {
		e->idle = idle;
		if (e->options.on_idle != NULL)
			e->options.on_idle(e->options.arg, idle);
	}
}

static struct job *
first_to_cancel(struct engine *e)
{
	struct job *job = TAILQ_FIRST(&e->by_phase[ROW_PENDING]);

	if (job != NULL)
		return job;
	TAILQ_FOREACH(job, &e->by_phase[ROW_RUNNING], entry)
		if (!job->active->cancelled && (!job->active->exited || run_will_retry(job)))
			return job;
	return NULL;
}

static void
on_cancel_slice(struct slot_call *call)
{
	struct engine *e = slot_container_of(call, struct engine, cancel_all);
	struct job *job;

	for (int i = 0; i < CANCEL_SLICE; i++) {
		job = first_to_cancel(e);
		if (job == NULL && shelf_count(e) > 0) {
			shelf_empty(e, &e->cancel_all);
			return;
		}
		if (job == NULL) {
			engine_resume_starts(e);
			return;
		}
		job_cancel(job, -1, e->cancel_reason);
	}
	slot_loop_call_at_turn_end(e->loop, &e->cancel_all);
}

void
engine_cancel_all(struct engine *e, enum msg_reason reason)
{
	e->cancel_reason = reason;
	slot_executor_pause(e->executor); /* what waits for its cancel doesn't start meanwhile */
	slot_loop_call_soon(e->loop, &e->cancel_all);
}

void
engine_kill(struct engine *e)
{
	struct job *job;

	if (e->store->durable) { /* the jobs aren't ours to end */
		shutdown_over(e);
		return;
	}
	e->killing = true;
	TAILQ_FOREACH(job, &e->by_phase[ROW_RUNNING], entry)
		if (job->active->launched && !job->active->exited)
			run_cancel(job, 0);
	TAILQ_FOREACH(job, &e->by_phase[ROW_DONE], entry)
		if (run_has_processes(job))
			run_cancel(job, 0);
}

/* What runs goes on, what is pending waits for the next engine. Nothing new is heard; what was
 * answered till now is committed first. */
static void
leave_jobs(struct engine *e)
{
	struct session *s;

	slot_executor_pause(e->executor);
	TAILQ_FOREACH(s, &e->sessions, entry)
		session_stop_reading(s);
	e->last_batch = e->batches;
	slot_loop_timer_set(e->loop, &e->linger, slot_loop_now_us(e->loop) + COMMIT_US);
}

void
engine_shutdown(struct engine *e, void (*done)(void *arg), void *arg)
{
	if (e->shutting_down) {
		engine_kill(e);
		return;
	}
	e->shutting_down = true;
	e->shutdown_done = done;
	e->shutdown_arg = arg;
	submit_retry_held(e);
	if (e->store->durable)
		leave_jobs(e);
	else
		engine_cancel_all(e, MSG_REASON_SHUTDOWN);
	engine_check_idle(e);
}

void
shutdown_init(struct engine *e)
{
	e->cancel_all.run = on_cancel_slice;
	e->idle_check.run = on_idle_check;
	e->linger.fire = on_linger;
}
