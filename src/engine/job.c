/* The only mover of a job's state; see job.h. */
#include "core/failpoint.h"
#include "engine/context.h"
#include "engine/depend.h"
#include "engine/queue_shelf.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/spec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the future and the action of a job ---- */

static bool
on_future_cancel(struct slot_future *f)
{
	return job_cancel(job_of_future(f), -1, MSG_REASON_CLIENT);
}

static void
close_passed(struct engine *e, struct job_ties *t)
{
	for (int i = 0; i < 3; i++) {
		if (t->fds[i] >= 0)
			session_close_fds(e, &t->fds[i], 1);
		t->fds[i] = -1;
	}
}

static void
ties_free(struct engine *e, struct job_ties *t)
{
	if (t == NULL)
		return;
	close_passed(e, t);
	free(t->dependents);
	free(t);
}

static void
on_future_destroy(struct slot_future *f)
{
	struct job *job = job_of_future(f);
	struct idtab *shells = &job->engine->shells;

	if (idtab_get(shells, job->row->id) == job)
		idtab_remove(shells, job->row->id);
	ties_free(job->engine, job->ties);
	run_free(job->active);
	if (job->engine->store->durable) /* from here on the journal is asked */
		keys_remove(&job->engine->keys, job->row);
	row_unpin(job->engine->store, job->row);
	row_unref(job->engine->store, job->row);
	free(job);
}

/* ---- phases ---- */

static bool
allowed(enum row_phase from, enum row_phase to)
{
	switch (from) {
	case ROW_PENDING:
		return to == ROW_RUNNING || to == ROW_DONE;
	case ROW_RUNNING:
		return to == ROW_PENDING || to == ROW_DONE;
	case ROW_DONE:
		return false;
	}
	return false;
}

static void
count(struct engine *e, const struct job *job, enum row_phase phase, int by)
{
	switch (phase) {
	case ROW_PENDING:
		e->npending += (uint64_t)(int64_t)by;
		e->pending_bytes += by * (int64_t)job->cost;
		break;
	case ROW_RUNNING:
		e->nrunning += (uint64_t)(int64_t)by;
		break;
	case ROW_DONE:
		break;
	}
}

static void
job_move(struct job *job, enum row_phase to)
{
	struct engine *e = job->engine;
	enum row_phase from = job_phase(job);

	assert(allowed(from, to));
	TAILQ_REMOVE(&e->by_phase[from], job, entry);
	count(e, job, from, -1);
	job->row->phase = (uint8_t)to;
	TAILQ_INSERT_TAIL(&e->by_phase[to], job, entry);
	count(e, job, to, 1);
	if (from == ROW_PENDING && e->nheld > 0)
		slot_loop_call_soon(e->loop, &e->admit);
	if (to == ROW_DONE)
		engine_check_idle(e);
}

/* The store may refuse a change only for want of memory; what it doesn't hold can't be told. */
static void
record(struct job *job, enum store_change what)
{
	if (job->engine->store->ops->change(job->engine->store, job->row, what) < 0)
		abort();
}

static struct row_run *
must_run(struct job *job)
{
	struct row_run *run = row_run(job->row);

	if (run == NULL)
		abort();
	return run;
}

/* ---- start: the executor has a slot for it ---- */

static int
on_start(struct slot_action *a)
{
	struct job *job = job_of_future(&a->future);
	struct engine *e = job->engine;
	struct row_run *run = must_run(job);
	struct job_run *active = run_get(job);
	int64_t now_us = slot_loop_now_us(e->loop);

	if (active == NULL)
		abort();
	run_begin(active, e->store->launcher);
	queue_started(e->queues, &job->place, a->slots);
	job->row->attempt++;
	*run = (struct row_run){ .exit_code = -1 }; /* nothing of an attempt before */
	run->started_us = slot_loop_wall_us(e->loop);
	job_move(job, ROW_RUNNING);
	record(job, STORE_STARTED);
	batch_add(e, FACT_STARTED, job, NULL);
	e->stats.started++;
	histogram_add(&e->stats.wait, now_us - job->ready_us);
	if (slot_executor_running(e->executor) > e->stats.peak_running)
		e->stats.peak_running = slot_executor_running(e->executor);
	return 0;
}

static const struct slot_action_ops job_action_ops = {
	.future = { .cancel = on_future_cancel, .destroy = on_future_destroy },
	.start = on_start,
};

/* ---- making ---- */

/* What a restart will have to know of its waiting, said before it is recorded. */
static void
note_waits(struct row *row, const struct slot_loop *loop, const struct job_new *in)
{
	const struct spec *s = row->spec;

	row->cost = in->cost;
	row->waits = s->nafter > 0 ? ROW_AFTER : ROW_PLAIN;
	if (in->owner != NULL || (s->flags & SPEC_FDS) != 0)
		row->waits |= ROW_TIED;
	if (in->owner != NULL && in->session != NULL)
		memcpy(row->session, in->session, sizeof row->session);
	if (s->not_before_us > row->submitted_us + s->delay_ms * 1000) {
		row->waits |= ROW_CLOCK;
	} else if (s->delay_ms > 0) {
		row->waits |= ROW_DUE;
		row->due_boot_us = slot_loop_now_us(loop) + s->delay_ms * 1000;
		row->due_wall_us = row->submitted_us + s->delay_ms * 1000;
	}
}

static int
tie(struct job *job, const struct job_new *in)
{
	struct job_ties *t;
	bool has_fd = in->fds[0] >= 0 || in->fds[1] >= 0 || in->fds[2] >= 0;

	if (in->owner == NULL && !has_fd)
		return 0;
	t = job_ties(job);
	if (t == NULL)
		return -ENOMEM;
	if (in->owner != NULL) {
		t->owned = true;
		LIST_INSERT_HEAD(in->owner, t, of_owner);
	}
	for (int i = 0; i < 3; i++)
		t->fds[i] = in->fds[i];
	return 0;
}

struct job *
job_new(struct engine *e, const struct job_new *in)
{
	struct job *job = calloc(1, sizeof *job);
	struct row *row = row_new(in->spec, in->env);
	uint64_t id = e->store->next_id;

	if (job == NULL || row == NULL)
		goto fail;
	row->id = id;
	row->uid = in->uid;
	row->submitted_us = slot_loop_wall_us(e->loop);
	row->queue = queue_name(in->queue);
	note_waits(row, e->loop, in);
	job->engine = e;
	job->row = row;
	job->cost = in->cost;
	job->held = JOB_HELD_NEW;
	slot_action_init(&job->action, e->executor, &job_action_ops, in->spec->slots,
	    in->spec->priority);
	if (queue_enter(e->queues, in->queue, in->uid, id, &job->place) < 0)
		goto fail;
	if (idtab_put(&e->jobs, id, job) < 0)
		goto fail_queue;
	if (tie(job, in) < 0)
		goto fail_table;
	if (e->store->ops->add(e->store, row) < 0)
		goto fail_ties;
	e->store->next_id++;
	row_pin(row);
	job->live = true;
	TAILQ_INSERT_TAIL(&e->by_phase[ROW_PENDING], job, entry);
	count(e, job, ROW_PENDING, 1);
	record(job, STORE_SUBMITTED);
	batch_add(e, FACT_SUBMITTED, job, NULL);
	failpoint(FAILPOINT_SUBMIT_RECORDED);
	e->stats.submitted++;
	engine_check_idle(e);
	return job;

fail_ties:
	job_unbind(job);
	if (job->ties != NULL)
		job->ties->fds[0] = job->ties->fds[1] = job->ties->fds[2] = -1;
	ties_free(e, job->ties);
fail_table:
	idtab_remove(&e->jobs, id);
fail_queue:
	queue_leave(e->queues, &job->place);
fail:
	if (row != NULL) { /* spec and env stay the caller's */
		row->spec = NULL;
		row->env = NULL;
		row_unref(e->store, row);
	}
	free(job);
	return NULL;
}

struct job *
job_revive(struct engine *e, struct row *row, struct queue *queue)
{
	struct job *job = calloc(1, sizeof *job);
	bool runs = row->phase == ROW_RUNNING;

	if (job == NULL)
		return NULL;
	job->engine = e;
	job->row = row;
	job->cost = row->cost;
	job->held = runs ? 0 : JOB_HELD_NEW;
	slot_action_init(&job->action, e->executor, &job_action_ops, row->spec->slots,
	    row->priority);
	if ((runs && run_get(job) == NULL) ||
	    queue_enter(e->queues, queue, row->uid, row->id, &job->place) < 0)
		goto fail;
	if (idtab_put(&e->jobs, row->id, job) < 0)
		goto fail_queue;
	row_ref(row);
	row_pin(row);
	job->live = true;
	TAILQ_INSERT_TAIL(&e->by_phase[row->phase], job, entry);
	count(e, job, job_phase(job), 1);
	if (runs) {
		queue_started(e->queues, &job->place, job->action.slots);
		slot_executor_adopt(e->executor, &job->action);
	}
	return job;

fail_queue:
	queue_leave(e->queues, &job->place);
fail:
	run_free(job->active);
	free(job);
	return NULL;
}

struct job *
job_from_row(struct engine *e, struct row *row)
{
	struct job *job = job_find(e, row->id);

	if (job == NULL)
		job = idtab_get(&e->shells, row->id);
	if (job != NULL)
		return job_ref(job);
	job = calloc(1, sizeof *job);
	if (job == NULL || idtab_put(&e->shells, row->id, job) < 0) {
		free(job);
		return NULL;
	}
	job->engine = e;
	job->row = row_ref(row);
	row_pin(row);
	slot_action_init(&job->action, e->executor, &job_action_ops, 1, 0);
	job->published = true;
	if (row->run->ok)
		slot_future_set_result(&job->action.future, NULL, NULL);
	else if (row->run->outcome == MSG_OUTCOME_CANCELLED)
		slot_future_set_cancelled(&job->action.future);
	else
		slot_future_set_exception(&job->action.future, -SLOT_EFAILED, NULL, NULL);
	return job;
}

struct job *
job_find(const struct engine *e, uint64_t id)
{
	void *entry = idtab_get(&e->jobs, id);

	return queue_shelf_is_mark(entry) ? NULL : entry;
}

void
job_kick(struct engine *e)
{
	slot_executor_kick(e->executor);
}

void
job_unbind(struct job *job)
{
	struct job_ties *t = job->ties;

	if (t == NULL)
		return;
	if (t->owned)
		LIST_REMOVE(t, of_owner);
	t->owned = false;
}

/* ---- pending ---- */

int
job_set(struct job *job, struct queue *queue, int priority, bool hold)
{
	struct engine *e = job->engine;
	bool in_line = slot_action_state(&job->action) == SLOT_ACTION_PENDING;
	struct queue_place fresh;
	int rc = 0;

	if (in_line)
		slot_executor_withdraw(e->executor, &job->action);
	if (queue != queue_of(&job->place)) {
		rc = queue_enter(e->queues, queue, job->row->uid, job->row->id, &fresh);
		if (rc == 0) {
			queue_leave(e->queues, &job->place);
			job->place = fresh;
			job->row->queue = queue_name(queue);
		}
	}
	if (in_line && rc < 0)
		slot_executor_push(e->executor, &job->action);
	if (rc < 0)
		return rc;
	job->action.priority = (int16_t)priority;
	job->row->priority = (int16_t)priority;
	job->row->hold = hold;
	if (in_line)
		slot_executor_push(e->executor, &job->action);
	if (hold)
		job_hold(job, JOB_HELD_HOLD);
	else
		job_release_hold(job, JOB_HELD_HOLD);
	record(job, STORE_SET);
	batch_changed(e);
	return 0;
}

enum msg_reason
job_reason(const struct job *job)
{
	const struct engine *e = job->engine;

	if (job->held & JOB_HELD_HOLD)
		return MSG_REASON_HOLD;
	if (job->held & JOB_HELD_AFTER)
		return MSG_REASON_AFTER;
	if (job->held & JOB_HELD_DELAY)
		return MSG_REASON_DELAY;
	if (job->held & JOB_HELD_RETRY)
		return MSG_REASON_RETRY;
	if (e->limits.max_running == 0)
		return MSG_REASON_PAUSED;
	switch (queue_obstacle(&job->place, job->action.slots)) {
	case QUEUE_OBSTACLE_PAUSED:
		return MSG_REASON_PAUSED;
	case QUEUE_OBSTACLE_QUEUE:
		return MSG_REASON_QUEUE;
	case QUEUE_OBSTACLE_SLOTS:
		return MSG_REASON_SLOTS;
	}
	return MSG_REASON_SLOTS;
}

bool
job_fds_lost(const struct job *job)
{
	static const uint32_t flags[3] = { SPEC_FD_IN, SPEC_FD_OUT, SPEC_FD_ERR };

	for (int i = 0; i < 3; i++)
		if ((job->row->spec->flags & flags[i]) &&
		    (job->ties == NULL || job->ties->fds[i] < 0))
			return true;
	return false;
}

void
job_requeue(struct job *job, int64_t delay_us)
{
	struct engine *e = job->engine;
	struct row *row = job->row;

	job->held = JOB_HELD_RETRY;
	slot_action_release(&job->action);
	job_move(job, ROW_PENDING);
	row->waits &= ROW_TIED; /* the rest is behind it */
	if (delay_us > 0) {
		row->waits |= ROW_DUE;
		row->due_boot_us = slot_loop_now_us(e->loop) + delay_us;
		row->due_wall_us = slot_loop_wall_us(e->loop) + delay_us;
	}
	record(job, STORE_REQUEUED);
	batch_add(e, FACT_REQUEUED, job, NULL);
	failpoint(FAILPOINT_REQUEUE_RECORDED);
	if (delay_us > 0 &&
	    job_hold_until(job, JOB_HELD_RETRY, slot_loop_now_us(e->loop) + delay_us) == 0)
		return;
	job_release_hold(job, JOB_HELD_RETRY);
	job_kick(e);
}

/* ---- the end ---- */

static void
leave_line(struct job *job)
{
	switch (slot_action_state(&job->action)) {
	case SLOT_ACTION_PENDING:
		slot_executor_withdraw(job->engine->executor, &job->action);
		break;
	case SLOT_ACTION_RUNNING:
		slot_action_release(&job->action);
		break;
	case SLOT_ACTION_IDLE:
		break;
	}
	queue_leave(job->engine->queues, &job->place);
}

static void
count_end(struct engine *e, const struct row_run *run)
{
	e->stats.completed++;
	if (run->ok)
		e->stats.ok++;
	else if (run->outcome == MSG_OUTCOME_CANCELLED)
		e->stats.cancelled++;
	else
		e->stats.failed++;
	if (run->outcome == MSG_OUTCOME_LOST)
		e->stats.lost++;
	if (run->started_us != 0)
		histogram_add(&e->stats.run, run->finished_us - run->started_us);
}

void
job_finish(struct job *job, enum msg_outcome outcome, enum msg_reason reason)
{
	struct engine *e = job->engine;
	struct row_run *run = must_run(job);

	job_clear_timer(job);
	job->held = 0;
	leave_line(job);
	run->outcome = (uint8_t)outcome;
	run->reason = (uint8_t)reason;
	run->ok = outcome == MSG_OUTCOME_EXITED && spec_is_ok(job->row->spec, run->exit_code);
	run->finished_us = slot_loop_wall_us(e->loop);
	run->seq = ++e->store->last_seq;
	job_move(job, ROW_DONE);
	run_keep_output(job);
	record(job, STORE_DONE);
	batch_add(e, FACT_DONE, job, NULL);
	failpoint(FAILPOINT_DONE_RECORDED);
	count_end(e, run);
	depend_ended(job);
}

void
job_publish(struct job *job)
{
	const struct row_run *run = job->row->run;
	struct slot_future *f = &job->action.future;
	struct engine *e = job->engine;

	job->published = true;
	if (run->ok)
		slot_future_set_result(f, NULL, NULL);
	else if (run->outcome == MSG_OUTCOME_CANCELLED)
		slot_future_set_cancelled(f);
	else
		slot_future_set_exception(f, -SLOT_EFAILED, NULL, NULL);
	job_unbind(job);
	if (job->ties != NULL)
		close_passed(e, job->ties);
	run_over(job);
	run_output_kept(job);
	engine_history_grew(e);
	job_drop_if_over(job);
}

void
job_drop_if_over(struct job *job)
{
	struct engine *e = job->engine;

	if (!job->live || !job->published || run_has_processes(job))
		return;
	job->live = false;
	idtab_remove(&e->jobs, job->row->id);
	TAILQ_REMOVE(&e->by_phase[ROW_DONE], job, entry);
	run_tell_gone(job);
	engine_check_idle(e);
	job_unref(job);
}

/* Before it is promised: the launcher may not have read the start, and then not the cancel. */
void
job_record_cancel(struct job *job, enum msg_reason reason)
{
	struct engine *e = job->engine;

	if (!e->store->durable || e->store->stuck || job->row->cancel == reason)
		return;
	job->row->cancel = (uint8_t)reason;
	record(job, STORE_CANCEL);
	batch_changed(e);
}

bool
job_cancel(struct job *job, int64_t grace_ms, enum msg_reason reason)
{
	struct job_run *active = job->active;

	switch (job_phase(job)) {
	case ROW_DONE:
		return false;
	case ROW_PENDING:
		job_finish(job, MSG_OUTCOME_CANCELLED, reason);
		return true;
	case ROW_RUNNING:
		break;
	}
	if (run_exit_known(active) && !run_will_retry(job))
		return false;
	if (!active->launched && !active->awaiting) { /* its start is in flight: not any more */
		job_finish(job, MSG_OUTCOME_CANCELLED, reason);
		return true;
	}
	if (!active->cancelled || active->cancel_reason == MSG_REASON_STDIN_LOST) {
		active->cancelled = true;
		active->cancel_reason = reason;
		active->cancel_grace_ms = grace_ms;
		job_record_cancel(job, reason);
	}
	if (active->launched && !run_exit_known(active))
		run_cancel(job, grace_ms);
	return true;
}
