/* An attempt and how it ends; see run.h. */
#include "core/failpoint.h"
#include "engine/context.h"
#include "engine/run.h"
#include "engine/run_stdin.h"
#include "engine/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_ROOM_PAUSE_US 100000 /* before it is tried again */

struct job_run *
run_get(struct job *job)
{
	struct job_run *run = job->active;

	if (run != NULL)
		return run;
	run = calloc(1, sizeof *run);
	if (run == NULL)
		return NULL;
	run->job = job;
	run->stdin_fd = -1;
	TAILQ_INIT(&run->writes);
	LIST_INIT(&run->gone_waits);
	LIST_INIT(&run->followers);
	return job->active = run;
}

void
run_begin(struct job_run *run, uint64_t launcher)
{
	run->launched = run->exited = run->lost = run->stdin_used = run->files_taken = false;
	run->launcher = launcher;
	run_drop_capture(run); /* what the one before wrote is not this one's */
	run_drop_output(run->job->row);
}

void
run_free(struct job_run *run)
{
	if (run == NULL)
		return;
	run_stdin_close(run, EPIPE);
	if (run->exit_waits)
		LIST_REMOVE(run, of_waiting);
	run_drop_capture(run);
	free(run);
}

bool
run_has_processes(const struct job *job)
{
	return job->active != NULL && job->active->trees > 0;
}

void
run_tell_gone(struct job *job)
{
	struct gone_wait *w;

	if (job->active == NULL)
		return;
	while ((w = LIST_FIRST(&job->active->gone_waits)) != NULL) {
		LIST_REMOVE(w, entry);
		w->cb(w, job->active->trees_best_effort);
	}
}

void
run_over(struct job *job)
{
	if (job->active == NULL)
		return;
	run_stdin_close(job->active, EPIPE);
	run_tell_followers(job->active);
}

/* ---- the end of an attempt ---- */

static enum msg_outcome
outcome_of(const struct job_run *run)
{
	if (run->cancelled)
		return MSG_OUTCOME_CANCELLED;
	if (run->lost)
		return MSG_OUTCOME_LOST;
	switch (run->exit.how) {
	case LAUNCH_SPAWN_FAILED:
		return MSG_OUTCOME_SPAWN_FAILED;
	case LAUNCH_EXITED:
	case LAUNCH_SIGNALED:
		break;
	}
	if (run->exit.cause == LAUNCH_CAUSE_TIMEOUT)
		return MSG_OUTCOME_TIMED_OUT;
	return run->exit.how == LAUNCH_EXITED ? MSG_OUTCOME_EXITED : MSG_OUTCOME_SIGNALED;
}

/* What the row says of this attempt, whose output is in. */
static void
note_exit(struct job *job)
{
	const struct launch_exit *x = &job->active->exit;
	struct row_run *r = job->row->run;
	struct capture *c = job->active->capture;

	r->exit_code = x->how == LAUNCH_EXITED ? x->exit_code : -1;
	r->signal = x->how == LAUNCH_SIGNALED ? x->signal : 0;
	r->step = x->how == LAUNCH_SPAWN_FAILED ? (uint8_t)x->step : 0;
	r->error = x->how == LAUNCH_SPAWN_FAILED ? x->error : 0;
	r->usage_known = x->how != LAUNCH_SPAWN_FAILED;
	r->user_us = x->user_us;
	r->system_us = x->system_us;
	r->max_rss_kib = x->max_rss_kib;
	for (int i = 0; i < 2; i++) {
		r->out_bytes[i] = c != NULL ? capture_kept_bytes(c, i + 1) : 0;
		r->out_start[i] = c != NULL ? capture_start(c, i + 1) : 0;
	}
	r->truncated = c != NULL && capture_truncated(c);
	if (c != NULL && capture_error(c) != 0)
		slot_log(job->engine->logger, SLOT_LOG_WARN,
		    "output not kept whole job=%llu error=\"%s\"",
		    (unsigned long long)job->row->id, strerrordesc_np(capture_error(c)));
	if (c != NULL && r->out_bytes[0] + r->out_bytes[1] == 0 && !r->truncated)
		run_drop_output(job->row); /* most jobs are silent: history needs none */
}

static bool
wants_retry(const struct job *job, enum msg_outcome outcome)
{
	const struct spec *s = job->row->spec;
	const struct engine *e = job->engine;

	if (outcome == MSG_OUTCOME_CANCELLED || job_fds_lost(job))
		return false;
	if (e->shutting_down && !e->store->durable)
		return false;
	if (outcome == MSG_OUTCOME_EXITED && spec_is_ok(s, job->active->exit.exit_code))
		return false;
	return job->row->attempt <= s->retries && (s->retry_on >> outcome & 1);
}

bool
run_will_retry(const struct job *job)
{
	return run_exit_known(job->active) && wants_retry(job, outcome_of(job->active));
}

/* Doubles from attempt to attempt, up to MSG_BACKOFF_MAX_MS. */
static int64_t
backoff_us(const struct job *job)
{
	int64_t ms = job->row->spec->backoff_ms;

	for (uint32_t i = 1; i < job->row->attempt && ms < MSG_BACKOFF_MAX_MS; i++)
		ms *= 2;
	return (ms < MSG_BACKOFF_MAX_MS ? ms : MSG_BACKOFF_MAX_MS) * 1000;
}

static enum msg_reason
end_reason(const struct job_run *run)
{
	if (run->cancelled)
		return run->cancel_reason;
	return run->lost ? run->lost_reason : MSG_REASON_NONE;
}

static void
retry(struct job *job, enum msg_outcome outcome)
{
	struct row_run *copy = malloc(sizeof *copy);

	job->row->run->outcome = (uint8_t)outcome;
	job->row->run->reason = (uint8_t)end_reason(job->active);
	job->row->run->finished_us = slot_loop_wall_us(job->engine->loop);
	if (copy != NULL)
		*copy = *job->row->run;
	batch_add(job->engine, FACT_ATTEMPT_FAILED, job, copy);
	job->row->run->outcome = MSG_OUTCOME_NONE;
	job->row->run->reason = MSG_REASON_NONE;
	job->engine->stats.retries++;
	job_requeue(job, backoff_us(job));
}

void
run_drained(struct job *job)
{
	struct job_run *run = job->active;
	enum msg_outcome outcome = outcome_of(run);

	run_stdin_close(run, EPIPE);
	note_exit(job);
	if (wants_retry(job, outcome))
		retry(job, outcome);
	else
		job_finish(job, outcome, end_reason(run));
	run_tell_followers(run);
	engine_touch(job->engine);
}

void
run_exited(struct job *job, const struct launch_exit *x)
{
	struct job_run *run = job->active;

	run->exit = *x;
	run->exited = true;
	if (run->capture != NULL)
		capture_drain(run->capture);
	else
		run_drained(job);
}

void
run_not_started(struct job *job, int64_t pause_us)
{
	if (job->active->cancelled) {
		job_finish(job, MSG_OUTCOME_CANCELLED, job->active->cancel_reason);
		return;
	}
	if (job_fds_lost(job)) {
		job_finish(job, MSG_OUTCOME_CANCELLED, MSG_REASON_FD_LOST);
		return;
	}
	if (job->active->capture != NULL)
		capture_detach(job->active->capture);
	run_stdin_reopen(job->active);
	job->row->attempt--;
	job_requeue(job, pause_us);
}

/* The launcher refused it before it tried, for a reason that passes. */
static bool
may_try_again(const struct job *job, const struct launch_exit *x)
{
	if (x->how != LAUNCH_SPAWN_FAILED || x->step != LAUNCH_STEP_BODY ||
	    job->active->stdin_used) /* (what was written is gone) */
		return false;
	return x->error == EAGAIN || x->error == EMFILE || x->error == ESHUTDOWN;
}

/*
 * The launcher knows whether it was a cancel that ended the job: an engine before us may have
 * accepted one. And ours for want of its input may have come too late: it had ended by itself.
 */
static void
agree_on_cancel(struct job *job, const struct launch_exit *x)
{
	struct job_run *run = job->active;

	switch (x->cause) {
	case LAUNCH_CAUSE_CANCEL:
	case LAUNCH_CAUSE_SHUTDOWN:
		if (run->cancelled)
			return;
		run->cancelled = true;
		run->cancel_reason = x->cause == LAUNCH_CAUSE_CANCEL ? MSG_REASON_CLIENT :
		    MSG_REASON_SHUTDOWN;
		return;
	case LAUNCH_CAUSE_NONE:
	case LAUNCH_CAUSE_TIMEOUT:
		if (!run->cancelled || run->cancel_reason != MSG_REASON_STDIN_LOST)
			return;
		run->cancelled = false;
		job_record_cancel(job, MSG_REASON_NONE);
		return;
	}
}

static void
take_exit(struct job *job, const struct launch_exit *x)
{
	struct engine *e = job->engine;

	agree_on_cancel(job, x);
	if (!may_try_again(job, x)) {
		run_exited(job, x);
		return;
	}
	job->active->unacked = 0; /* a refusal is told once */
	if (x->error == ESHUTDOWN) { /* until there is another launcher */
		e->launch_ready = false;
		slot_executor_pause(e->executor);
	}
	run_not_started(job, x->error == ESHUTDOWN ? 0 : NO_ROOM_PAUSE_US);
}

/* Batches wait for the disk: it would only make them grow. The launcher keeps the exit for us. */
static void
postpone_exit(struct job_run *run, const struct launch_exit *x)
{
	run->exit = *x;
	run->exit_waits = true;
	LIST_INSERT_HEAD(&run->job->engine->exits_waiting, run, of_waiting);
}

void
run_take_waiting(struct engine *e)
{
	struct job_run *run;

	while (!e->store->stuck && (run = LIST_FIRST(&e->exits_waiting)) != NULL) {
		struct launch_exit x = run->exit;

		LIST_REMOVE(run, of_waiting);
		run->exit_waits = false;
		take_exit(run->job, &x);
	}
}

void
run_on_exit(struct engine *e, const struct launch_exit *x)
{
	struct job *job = job_find(e, x->job);
	struct job_run *run = job != NULL ? job->active : NULL;

	failpoint(FAILPOINT_EXIT_RECEIVED);
	if (run != NULL && run->lost && job->row->attempt == x->attempt && job->row->uncommitted > 0)
		run->unacked = x->attempt; /* not so lost, but that is being recorded */
	if (run != NULL && (run->unacked == x->attempt || run->awaiting))
		return; /* told twice; the ack comes with the commit */
	if (run == NULL || job_phase(job) != ROW_RUNNING || job->row->attempt != x->attempt ||
	    !run->launched) {
		if (e->launch != NULL && !e->failed) /* recorded already: it wants to hear so */
			e->launch->ops->ack(e->launch, x->job, x->attempt);
		engine_touch(e);
		return;
	}
	run->unacked = x->attempt;
	if (e->store->stuck)
		postpone_exit(run, x);
	else
		take_exit(job, x);
}

void
run_on_gone(struct engine *e, uint64_t id, uint32_t attempt, bool best_effort)
{
	struct job *job = job_find(e, id);

	(void)attempt;
	if (job == NULL || !run_has_processes(job))
		return;
	job->active->trees--;
	job->active->trees_best_effort |= best_effort;
	job_drop_if_over(job);
	engine_touch(e);
}

void
run_on_lost(struct job *job)
{
	struct job_run *run = job->active;
	struct launch_exit unknown = {
		.job = job->row->id,
		.attempt = job->row->attempt,
		.how = LAUNCH_SPAWN_FAILED, /* no exit code, no usage */
	};

	if (run == NULL)
		return;
	run->trees = 0;
	run->trees_best_effort = true;
	if (job_phase(job) != ROW_RUNNING) {
		job_drop_if_over(job);
	} else if (run->launched && !run_exit_known(run)) {
		job->engine->lost_launcher = run->launcher;
		run->lost = true;
		run->lost_reason = MSG_REASON_LAUNCHER_DIED;
		run_exited(job, &unknown);
	}
}

void
run_cancel(struct job *job, int64_t grace_ms)
{
	struct engine *e = job->engine;

	if (grace_ms < 0)
		grace_ms = job->row->spec->grace_ms;
	if (grace_ms < 0)
		grace_ms = e->limits.grace_ms;
	if (e->killing)
		grace_ms = 0;
	if (e->launch != NULL)
		e->launch->ops->cancel(e->launch, job->row->id, job->row->attempt, grace_ms);
	engine_touch(e);
}
