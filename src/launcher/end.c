/* The state machine of ending; see table.h for the phases. */
#include "launcher/end.h"

#include <errno.h>
#include <signal.h>

#include "launcher/reap.h"
#include "launcher/start.h"
#include "launcher/sys.h"

#define TICK_FIRST_MS 1
#define TICK_MAX_MS 50
#define TICKS_QUICK 100 /* after these (some 5 s) it can only be stuck in the kernel */
#define TICK_SLOW_MS 1000

static int64_t after_ms(int64_t ms)
{
	int64_t now = sys_now_us();

	return ms > (INT64_MAX - now) / 1000 ? INT64_MAX : now + ms * 1000;
}

static void kill_round(struct launcher *l, struct job *job)
{
	job->phase = PHASE_KILL;
	l->look_around = true;
	if (!tree_kill(l, job)) { /* in the next turn: others have theirs first */
		timers_set(&l->timers, job, sys_now_us() + 1);
		return;
	}
	job->tick_ms = job->tick_ms ? job->tick_ms * 2 : TICK_FIRST_MS;
	if (job->tick_ms > TICK_MAX_MS)
		job->tick_ms = TICK_MAX_MS;
	if (++job->ticks > TICKS_QUICK)
		job->tick_ms = TICK_SLOW_MS;
	timers_set(&l->timers, job, after_ms(job->tick_ms));
}

static void term(struct launcher *l, struct job *job, int64_t grace_ms)
{
	job->phase = PHASE_TERM;
	tree_signal(l, job, SIGTERM);
	/* One that is stopped could not take it. */
	tree_signal(l, job, SIGCONT);
	timers_set(&l->timers, job, after_ms(grace_ms));
	l->look_around = true;
}

static void shorten(struct launcher *l, struct job *job, int64_t grace_ms)
{
	int64_t due = after_ms(grace_ms);

	if (due < job->due_us)
		timers_set(&l->timers, job, due);
}

void end_job(struct launcher *l, struct job *job, enum launch_cause cause, int64_t grace_ms)
{
	reap_leader(l, job); /* it may have ended by itself already */
	switch (job->state) {
	case JOB_FREE:
	case JOB_GONE:
		return;
	case JOB_HELD:
		job->exit.cause = cause;
		start_give_up(l, job, ECANCELED);
		return;
	case JOB_RUNNING:
		if (job->phase == PHASE_NONE)
			job->exit.cause = cause;
		break;
	case JOB_EXITED: /* too late for a grace: what is left is ended at once or kept */
		if (job->phase == PHASE_NONE) {
			if (!job->keep_leftovers)
				kill_round(l, job);
			return;
		}
		break;
	}
	switch (job->phase) {
	case PHASE_NONE:
		if (grace_ms > 0)
			term(l, job, grace_ms);
		else
			kill_round(l, job);
		return;
	case PHASE_TERM:
		if (grace_ms > 0)
			shorten(l, job, grace_ms);
		else
			kill_round(l, job);
		return;
	case PHASE_KILL:
		return;
	}
}

void end_leftovers(struct launcher *l, struct job *job)
{
	kill_round(l, job);
}

void end_on_timer(struct launcher *l, struct job *job)
{
	if (job->state == JOB_HELD) {
		start_retry(l, job);
		return;
	}
	switch (job->phase) {
	case PHASE_NONE:
		end_job(l, job, LAUNCH_CAUSE_TIMEOUT, job->grace_ms);
		return;
	case PHASE_TERM:
	case PHASE_KILL:
		kill_round(l, job);
		return;
	}
}

void end_all(struct launcher *l)
{
	int64_t most_ms = l->grace_ms < STOP_GRACE_MAX_MS ? l->grace_ms : STOP_GRACE_MAX_MS;
	struct job *job = NULL;

	l->stopping = true;
	l->leave_us = after_ms(most_ms + KILL_WAIT_MS);
	while ((job = table_next(&l->table, job)))
		end_job(l, job, LAUNCH_CAUSE_SHUTDOWN,
		    job->grace_ms < most_ms ? job->grace_ms : most_ms);
}
