/* Shelved jobs: what moves between engine and store; see shelf.h. */
#include "engine/shelf.h"
#include "engine/context.h"
#include "engine/queue_shelf.h"
#include "engine/spec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRY_US 100000
#define BEHIND_MAX 8 /* batches in flight, beyond which emptying waits for a commit */
#define TRIES 3 /* before a job that can't be read is given up */

struct shelf_read {
	LIST_ENTRY(shelf_read) entry;
	struct engine *engine;
	struct queue_line *line; /* NULL: it is gone */
	struct store_read read;
	size_t n, at; /* ids, and those that were answered */
	size_t step;  /* so many in one read: all of them, or one where something is damaged */
	unsigned tries;
	struct slot_timer again; /* armed: it is not under way */
	uint64_t ids[];
};

/* ---- onto the shelf ---- */

/* Everything of it is in the store, and nobody would miss it. */
static bool
may_be_shelved(const struct job *job)
{
	const struct row *row = job->row;
	const struct slot_future *f = &job->action.future;

	return job->live && job_phase(job) == ROW_PENDING && job->held == 0 && job->ties == NULL &&
	    job->active == NULL && row->uncommitted == 0 && row->waits == ROW_PLAIN && !row->hold &&
	    f->refs == 2 && f->callbacks == NULL &&
	    slot_action_state(&job->action) == SLOT_ACTION_PENDING;
}

bool
shelf_put(struct job *job)
{
	struct engine *e = job->engine;

	if (!may_be_shelved(job) ||
	    !queue_shelf_wants(e->queues, &job->action) ||
	    queue_shelf_put(e->queues, &job->place, job->action.priority) < 0)
		return false;
	slot_executor_withdraw(e->executor, &job->action);
	job->place.line = NULL; /* it goes on as a member of its line */
	e->shelf.bytes += job->cost;
	job->live = false;
	TAILQ_REMOVE(&e->by_phase[ROW_PENDING], job, entry);
	job_unref(job);
	return true;
}

int
shelf_put_recovered(struct engine *e, struct queue *queue, const struct store_live *live)
{
	struct queue_place place;
	int rc = queue_enter(e->queues, queue, live->uid, live->id, &place);

	if (rc < 0)
		return rc;
	rc = queue_shelf_put(e->queues, &place, live->priority);
	if (rc < 0) {
		queue_leave(e->queues, &place);
		return rc;
	}
	e->npending++;
	e->pending_bytes += live->cost;
	e->shelf.bytes += live->cost;
	return 0;
}

bool
shelf_has(const struct engine *e, uint64_t id)
{
	return queue_shelf_is_mark(idtab_get(&e->jobs, id));
}

size_t
shelf_count(const struct engine *e)
{
	return queue_shelf_count(e->queues);
}

uint64_t
shelf_next(const struct engine *e, uint64_t from)
{
	const void *entry;
	uint64_t id;

	for (; (entry = idtab_next(&e->jobs, from, &id)) != NULL; from = id + 1)
		if (queue_shelf_is_mark(entry))
			return id;
	return 0;
}

enum msg_reason
shelf_reason(const struct engine *e, uint64_t id)
{
	if (!shelf_has(e, id))
		return MSG_REASON_NONE;
	if (e->limits.max_running == 0)
		return MSG_REASON_PAUSED;
	switch (queue_shelf_obstacle(e->queues, id)) {
	case QUEUE_OBSTACLE_PAUSED:
		return MSG_REASON_PAUSED;
	case QUEUE_OBSTACLE_QUEUE:
		return MSG_REASON_QUEUE;
	case QUEUE_OBSTACLE_SLOTS:
		return MSG_REASON_SLOTS;
	}
	return MSG_REASON_SLOTS;
}

/* ---- down ---- */

/* It counts as shelved no more. Its mark is out of the table. */
static void
taken(struct engine *e, void *mark, struct queue_place *place, uint32_t cost)
{
	struct shelf *sh = &e->shelf;

	queue_shelf_taken(e->queues, mark);
	queue_leave(e->queues, place);
	e->npending--;
	e->pending_bytes -= cost;
	sh->bytes -= cost;
	if (shelf_count(e) > 0)
		return;
	e->pending_bytes -= sh->bytes; /* of those that couldn't be read */
	sh->bytes = 0;
	if (sh->emptied != NULL)
		slot_loop_call_at_turn_end(e->loop, sh->emptied);
	sh->emptied = NULL;
	queue_shelf_empty(e->queues, false);
}

struct job *
shelf_take(struct engine *e, struct row *row)
{
	void *mark = idtab_get(&e->jobs, row->id);
	struct queue_place place;
	struct job *job;
	int64_t waited_us = slot_loop_wall_us(e->loop) - row->submitted_us;

	if (!queue_shelf_is_mark(mark))
		return mark;
	assert(row->phase == ROW_PENDING);
	queue_shelf_place(e->queues, row->id, &place);
	job = job_revive(e, row, queue_of(&place)); /* (replaces the mark) */
	if (job == NULL)
		return NULL;
	job->place.settled = true;
	job_release_hold(job, JOB_HELD_NEW);
	if (row->attempt == 0 && waited_us > 0)
		job->ready_us -= waited_us;
	taken(e, mark, &place, row->cost);
	return job;
}

/* The journal doesn't know it: then it can't be told of, either. */
static void
lose(struct engine *e, uint64_t id)
{
	struct queue_place place;
	void *mark;

	slot_log(e->logger, SLOT_LOG_ERROR, "pending job not in the journal job=%llu",
	    (unsigned long long)id);
	queue_shelf_place(e->queues, id, &place);
	mark = idtab_remove(&e->jobs, id);
	taken(e, mark, &place, 0);
	engine_check_idle(e);
}

/* A row for a job whose own can't be read: just enough to say how it ended. */
static struct row *
stand_in(struct engine *e, uint64_t id)
{
	static const struct msg_bytes unknown = { "?", 1 };
	const struct spec_context none = { NULL, 0 };
	struct msg_spec m;
	struct queue_place place;
	struct spec *spec;
	struct row *row;

	msg_spec_init(&m);
	m.argv = (struct msg_bytes_list){ &unknown, 1 };
	spec = spec_build(&m, &none);
	row = spec != NULL ? row_new(spec, NULL) : NULL;
	if (row == NULL) {
		free(spec);
		return NULL;
	}
	queue_shelf_place(e->queues, id, &place);
	row->id = id;
	row->uid = queue_uid(&place);
	row->queue = queue_name(queue_of(&place));
	row->submitted_us = slot_loop_wall_us(e->loop);
	return row;
}

/* Its record is damaged: it ends, so that what stands behind it goes on. False: no memory. */
static bool
spoil(struct engine *e, uint64_t id)
{
	struct row *row = stand_in(e, id);
	struct row_run *run = row != NULL ? row_run(row) : NULL;
	struct job *job;

	if (run == NULL || e->store->ops->add(e->store, row) < 0) {
		row_unref(e->store, row);
		return false;
	}
	job = shelf_take(e, row);
	row_unref(e->store, row);
	if (job == NULL)
		return false;
	slot_log(e->logger, SLOT_LOG_ERROR, "pending job can't be read from the journal job=%llu",
	    (unsigned long long)id);
	run->step = LAUNCH_STEP_BODY;
	run->error = EBADMSG;
	job_finish(job, MSG_OUTCOME_SPAWN_FAILED, MSG_REASON_NONE);
	return true;
}

/* ---- reading ahead ---- */

static void
later(struct engine *e)
{
	if (slot_loop_timer_set(e->loop, &e->shelf.retry, slot_loop_now_us(e->loop) + RETRY_US) < 0)
		queue_shelf_recheck(e->queues);
}

static void
on_retry(struct slot_timer *timer)
{
	struct engine *e = slot_container_of(timer, struct engine, shelf.retry);

	slot_loop_timer_clear(e->loop, timer);
	queue_shelf_recheck(e->queues);
}

/* What the read brought comes down; what was taken or ended meanwhile is passed over. False: there
 * was no memory for all of it. */
static bool
take_rows(struct engine *e, const struct store_read *r)
{
	for (size_t i = 0; i < r->nids; i++) {
		struct row *row = i < r->nrows ? r->rows[i] : NULL;

		if (!shelf_has(e, r->ids[i]))
			continue;
		if (row == NULL)
			lose(e, r->ids[i]);
		else if (shelf_take(e, row) == NULL)
			return false;
	}
	return true;
}

static void
read_over(struct engine *e, struct shelf_read *sr, bool no_memory)
{
	if (no_memory) {
		queue_shelf_put_off(&sr->line);
		later(e);
	} else {
		queue_shelf_read(e->queues, &sr->line);
	}
	LIST_REMOVE(sr, entry);
	e->shelf.nreads--;
	free(sr);
	job_kick(e);
}

/* One can't be read, alone: perhaps it will go better in a moment. False: it is to be given up. */
static bool
try_again(struct engine *e, struct shelf_read *sr)
{
	return ++sr->tries < TRIES &&
	    slot_loop_timer_set(e->loop, &sr->again, slot_loop_now_us(e->loop) + RETRY_US) == 0;
}

/* True: the next part of it is to be read at once. */
static bool
answered(struct engine *e, struct shelf_read *sr)
{
	struct store_read *r = &sr->read;
	bool no_memory = false, alone = r->nids == 1;

	if (e->shelf.emptied != NULL)
		slot_loop_call_at_turn_end(e->loop, e->shelf.emptied);
	if (r->error == 0) {
		no_memory = !take_rows(e, r);
	} else if (r->error == -ENOMEM) {
		no_memory = true;
	} else if (!alone) { /* something among them: then each by itself */
		store_read_fini(e->store, r);
		sr->step = 1;
		return true;
	} else if (shelf_has(e, r->ids[0])) {
		if (try_again(e, sr)) {
			store_read_fini(e->store, r);
			return false;
		}
		no_memory = !spoil(e, r->ids[0]);
	}
	sr->at += r->nids;
	sr->tries = 0;
	store_read_fini(e->store, r);
	if (sr->at < sr->n && !no_memory)
		return true;
	read_over(e, sr, no_memory);
	return false;
}

static void on_read(struct store_read *r);

static void
read_on(struct engine *e, struct shelf_read *sr)
{
	do {
		sr->read = (struct store_read){
			.kind = STORE_READ_JOBS,
			.ids = sr->ids + sr->at,
			.nids = sr->step,
			.filter = { .phase = -1, .ok = -1 },
			.done = on_read,
		};
		if (!e->store->ops->read(e->store, &sr->read))
			return;
	} while (answered(e, sr));
}

static void
on_read(struct store_read *r)
{
	struct shelf_read *sr = slot_container_of(r, struct shelf_read, read);
	struct engine *e = sr->engine;

	if (answered(e, sr))
		read_on(e, sr);
	shelf_read_ahead(e);
}

static void
on_again(struct slot_timer *timer)
{
	struct shelf_read *sr = slot_container_of(timer, struct shelf_read, again);
	struct engine *e = sr->engine;

	slot_loop_timer_clear(e->loop, timer);
	read_on(e, sr);
	shelf_read_ahead(e);
}

/* What is ended faster than it is committed would fill the memory. */
static bool
is_behind(const struct engine *e)
{
	unsigned n = 0;

	for (const struct batch *b = e->in_flight; b != NULL && n < BEHIND_MAX; b = b->next)
		n++;
	return n == BEHIND_MAX;
}

void
shelf_read_ahead(struct engine *e)
{
	struct shelf *sh = &e->shelf;

	if (sh->emptied != NULL && is_behind(e))
		return; /* the next commit comes back here */
	for (int n = 0; sh->nreads < SHELF_READS && queue_shelf_any_hungry(e->queues); n++) {
		struct shelf_read *sr;

		if (n == SHELF_READS) { /* they were answered at once: so many a turn */
			engine_touch(e);
			return;
		}
		sr = calloc(1, sizeof *sr + sh->batch * sizeof *sr->ids);
		if (sr == NULL) {
			later(e);
			return;
		}
		if (!queue_shelf_next_hungry(e->queues, &sr->line)) {
			free(sr);
			return;
		}
		sr->engine = e;
		sr->again.fire = on_again;
		sr->n = sr->step = queue_shelf_first(e->queues, sr->line, sr->ids, sh->batch);
		LIST_INSERT_HEAD(&sh->reads, sr, entry);
		sh->nreads++;
		read_on(e, sr);
	}
}

/* ---- all of it ---- */

void
shelf_empty(struct engine *e, struct slot_call *then)
{
	if (shelf_count(e) == 0) {
		slot_loop_call_at_turn_end(e->loop, then);
		return;
	}
	e->shelf.emptied = then;
	queue_shelf_empty(e->queues, true);
}

static void
on_hungry(void *arg)
{
	engine_touch(arg);
}

void
shelf_init(struct engine *e, size_t hot, size_t batch)
{
	struct queue_shelf_options options = {
		.jobs = &e->jobs, .hot = hot, .batch = batch, .on_hungry = on_hungry, .arg = e,
	};

	LIST_INIT(&e->shelf.reads);
	e->shelf.batch = batch;
	e->shelf.retry.fire = on_retry;
	queue_set_shelf(e->queues, &options);
}

void
shelf_fini(struct engine *e)
{
	struct shelf_read *sr;

	while ((sr = LIST_FIRST(&e->shelf.reads)) != NULL) {
		if (!slot_timer_armed(&sr->again))
			e->store->ops->read_drop(e->store, &sr->read);
		slot_loop_timer_clear(e->loop, &sr->again);
		queue_shelf_put_off(&sr->line);
		LIST_REMOVE(sr, entry);
		free(sr);
	}
	e->shelf.nreads = SHELF_READS; /* no more of them */
	slot_loop_timer_clear(e->loop, &e->shelf.retry);
}
