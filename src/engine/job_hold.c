/* What a pending job waits for besides its turn, and the timers of that; see job.h. */
#include "engine/context.h"

#include <errno.h>
#include <stdlib.h>

static void on_timer(struct slot_timer *timer);

struct job_ties *
job_ties(struct job *job)
{
	struct job_ties *t = job->ties;

	if (t != NULL)
		return t;
	t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->job = job;
	t->timer.fire = on_timer;
	t->fds[0] = t->fds[1] = t->fds[2] = -1;
	return job->ties = t;
}

void
job_hold(struct job *job, enum job_held bit)
{
	job->held |= (uint8_t)bit;
	if (slot_action_state(&job->action) == SLOT_ACTION_PENDING)
		slot_executor_withdraw(job->engine->executor, &job->action);
}

void
job_release_hold(struct job *job, enum job_held bit)
{
	bool was_held = job->held != 0;

	job->held &= (uint8_t)~bit;
	if (job->held != 0 || !was_held || job_phase(job) != ROW_PENDING)
		return;
	job->ready_us = slot_loop_now_us(job->engine->loop);
	slot_executor_push(job->engine->executor, &job->action);
	engine_touch(job->engine);
}

void
job_clear_timer(struct job *job)
{
	struct job_ties *t = job->ties;

	if (t == NULL)
		return;
	slot_loop_timer_clear(job->engine->loop, &t->timer);
	if (t->clocked)
		LIST_REMOVE(t, on_clock);
	t->clocked = false;
}

static void
on_timer(struct slot_timer *timer)
{
	struct job_ties *t = slot_container_of(timer, struct job_ties, timer);
	struct job *job = t->job;

	if (t->clocked && job->row->spec->not_before_us > slot_loop_wall_us(job->engine->loop)) {
		t->clocked = false;
		LIST_REMOVE(t, on_clock);
		job_hold_until_wall(job, job->row->spec->not_before_us);
		return;
	}
	job_clear_timer(job);
	job_release_hold(job, t->timer_bit);
	job_kick(job->engine);
}

int
job_hold_until(struct job *job, enum job_held bit, int64_t due_us)
{
	struct job_ties *t = job_ties(job);

	if (t == NULL || slot_loop_timer_set(job->engine->loop, &t->timer, due_us) < 0)
		return -ENOMEM;
	t->timer_bit = bit;
	job_hold(job, bit);
	return 0;
}

int
job_hold_until_wall(struct job *job, int64_t wall_us)
{
	struct engine *e = job->engine;
	int64_t in_us = wall_us - slot_loop_wall_us(e->loop);
	int rc = job_hold_until(job, JOB_HELD_DELAY, slot_loop_now_us(e->loop) + in_us);

	if (rc == 0 && !job->ties->clocked) {
		job->ties->clocked = true;
		LIST_INSERT_HEAD(&e->clocked, job->ties, on_clock);
	}
	return rc;
}

void
job_clock_changed(struct engine *e)
{
	struct job_ties *t;

	LIST_FOREACH(t, &e->clocked, on_clock)
		job_hold_until_wall(t->job, t->job->row->spec->not_before_us);
}
