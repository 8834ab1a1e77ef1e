/*
 * Shelved jobs: the FIFO of ids, and an engine of which only the queues, the jobs and the shelf are
 * there, on a store that is the test. A line never starts anything but its first job, whether that
 * is in memory or not; the model that says which is first is a list that is searched from end to
 * end.
 */
#include "core/container.h"
#include "engine/context.h"
#include "engine/idfifo.h"
#include "engine/queue_shelf.h"
#include "store/read.h"

#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As ck_assert, for what is checked very often. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg("not so: %s (SLOT_SEED=%llu step %d)", #condition, seed,      \
			    step);                                                                 \
	} while (0)

static unsigned long long seed;
static uint64_t state = 88172645463325252u;
static int step;

static unsigned
below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state % n);
}

/* ---- the FIFO ---- */

enum { IDS = 20000 };

static bool
alive_in_bits(const void *arg, uint64_t id)
{
	return ((const bool *)arg)[id];
}

START_TEST(a_fifo_gives_the_living_in_order)
{
	static bool alive[IDS + 1];
	struct idfifo_owner owner = { alive_in_bits, alive };
	struct idfifo f = { 0 };
	uint64_t next = 1, first = 1, got[8];

	memset(alive, 0, sizeof alive);
	for (step = 0; step < 200000; step++) {
		uint64_t victim = 0;
		size_t n;

		if (next <= IDS && below(5) < 3) {
			alive[next] = true;
			MUST(idfifo_push(&f, next) == 0);
			next += 1 + below(3);
		} else if (below(2) == 0) {
			victim = idfifo_first(&f);
		} else if (next > first) {
			victim = first + below((unsigned)(next - first));
			victim = victim <= IDS && alive[victim] ? victim : 0;
		}
		if (victim != 0) {
			alive[victim] = false;
			idfifo_died(&f, &owner);
		}
		while (first < next && (first > IDS || !alive[first]))
			first++;
		MUST(idfifo_first(&f) == (first < next ? first : 0));
		n = idfifo_read(&f, &owner, got, 8);
		for (uint64_t id = first, i = 0; i < 8; id++) {
			while (id < next && (id > IDS || !alive[id]))
				id++;
			MUST(i < n || id >= next);
			if (i >= n)
				break;
			MUST(got[i] == id);
			i++;
		}
	}
	idfifo_fini(&f);
}
END_TEST

START_TEST(dead_ones_hold_little_of_a_fifo)
{
	enum { MANY = 400000 };
	bool *alive = calloc(MANY + 1, sizeof *alive);
	struct idfifo_owner owner = { alive_in_bits, alive };
	struct idfifo f = { 0 };
	size_t before = mallinfo2().uordblks, full, left;

	for (uint64_t id = 1; id <= MANY; id++) {
		alive[id] = true;
		ck_assert(idfifo_push(&f, id) == 0);
	}
	full = mallinfo2().uordblks - before;
	ck_assert_uint_le(full, MANY * 9);
	for (uint64_t id = 1; id <= MANY; id++) /* every tenth lives on */
		if (id % 10 != 1) {
			alive[id] = false;
			idfifo_died(&f, &owner);
		}
	left = mallinfo2().uordblks - before;
	ck_assert_uint_le(left, full / 3);
	idfifo_fini(&f);
	ck_assert_uint_le(mallinfo2().uordblks, before + 64);
	free(alive);
}
END_TEST

/* ---- the engine ---- */

static struct slot_loop *loop;
static struct engine *e;
static struct queue *queue;

static struct fake {
	struct store store; /* first */
	struct idtab rows;  /* what the journal holds: pending and running */
	struct store_read *reads[64];
	size_t nreads;
	uint64_t asked[64]; /* the first id of each read, and … */
	size_t nasked;      /* … how many there were */
	uint64_t damaged;   /* this one can't be read … */
	uint64_t ended;     /* … and this is the last that ended */
	bool at_once;
	int fail;           /* the next read fails so */
} fake;

static uint32_t width = 1; /* of those submitted */
static uint64_t started[300000];
static size_t nstarted;
static void (*on_started)(uint64_t id);

static int
fake_add(struct store *s, struct row *row)
{
	(void)s;
	row_unref(&fake.store, idtab_remove(&fake.rows, row->id)); /* a stand-in */
	return idtab_put(&fake.rows, row->id, row_ref(row));
}

static int
fake_change(struct store *s, struct row *row, enum store_change what)
{
	(void)s;
	if (what == STORE_STARTED) {
		if (on_started != NULL)
			on_started(row->id);
		MUST(nstarted < sizeof started / sizeof *started);
		started[nstarted++] = row->id;
	} else if (what == STORE_DONE) {
		fake.ended = row->id;
	}
	return 0;
}

static void
answer(struct store_read *r)
{
	read_begin(r);
	r->error = fake.fail;
	fake.fail = 0;
	for (size_t i = 0; i < r->nids; i++)
		if (r->ids[i] == fake.damaged)
			r->error = -EIO;
	if (r->error != 0 || read_reserve(r, r->nids) < 0)
		return;
	for (size_t i = 0; i < r->nids; i++) {
		struct row *row = idtab_get(&fake.rows, r->ids[i]);

		r->rows[i] = row != NULL ? row_ref(row) : NULL;
	}
}

static bool
fake_read(struct store *s, struct store_read *r)
{
	(void)s;
	MUST(r->kind == STORE_READ_JOBS && r->nids > 0);
	if (fake.at_once) {
		answer(r);
		return true;
	}
	fake.asked[fake.nasked++ % 64] = r->ids[0];
	fake.reads[fake.nreads++] = r;
	MUST(fake.nreads <= SHELF_READS);
	return false;
}

static void
fake_read_drop(struct store *s, struct store_read *r)
{
	size_t i = 0;

	(void)s;
	while (fake.reads[i] != r)
		i++;
	fake.reads[i] = fake.reads[--fake.nreads];
}

static void
fake_unpinned(struct store *s, struct row *row)
{
	(void)s, (void)row;
}

static const struct store_ops fake_ops = {
	.add = fake_add,
	.change = fake_change,
	.read = fake_read,
	.read_drop = fake_read_drop,
	.unpinned = fake_unpinned,
};

/* One of the reads under way is answered. */
static void
answer_one(void)
{
	struct store_read *r = fake.reads[below((unsigned)fake.nreads)];

	fake_read_drop(&fake.store, r);
	answer(r);
	r->done(r);
}

static struct queue_place *
place_of(struct slot_action *a)
{
	return &job_of_future(&a->future)->place;
}

static void
on_turn_end(struct slot_call *call)
{
	(void)call;
	shelf_read_ahead(e);
	batches_free(e); /* nobody is told */
}

static void
on_idle_check(struct slot_call *call)
{
	(void)call;
}

static void
setup_with(size_t hot, size_t batch)
{
	memset(&fake, 0, sizeof fake);
	fake.store = (struct store){ .ops = &fake_ops, .durable = true, .next_id = 1 };
	nstarted = 0;
	on_started = NULL;
	step = 0;
	loop = slot_loop_new_manual(1000000, 1700000000000000);
	e = calloc(1, sizeof *e);
	e->loop = loop;
	e->store = &fake.store;
	e->turn_end.run = on_turn_end;
	e->idle_check.run = on_idle_check;
	e->in_flight_tail = &e->in_flight;
	for (int i = 0; i < 3; i++)
		TAILQ_INIT(&e->by_phase[i]);
	e->limits.max_running = 1;
	e->queues = queue_set_new(place_of);
	shelf_init(e, hot, batch);
	e->executor = slot_executor_new(loop, 1, &queue_pending_ops, e->queues);
	queue_set_total(e->queues, 1);
	queue = queue_add(e->queues, "default");
}

static void
setup(void)
{
	setup_with(4, 2);
}

/* The live job is gone from the engine, as after its publication. */
static void
drop(struct job *job)
{
	job->live = false;
	idtab_remove(&e->jobs, job->row->id);
	TAILQ_REMOVE(&e->by_phase[ROW_DONE], job, entry);
	row_unref(&fake.store, idtab_remove(&fake.rows, job->row->id));
	job_unref(job);
}

static void
end(struct job *job)
{
	job_finish(job, MSG_OUTCOME_CANCELLED, MSG_REASON_CLIENT);
	drop(job);
}

static void
teardown(void)
{
	struct job *job;
	struct row *row;
	uint64_t id;

	shelf_fini(e);
	ck_assert_uint_eq(fake.nreads, 0);
	for (int i = 0; i < 3; i++)
		while ((job = TAILQ_FIRST(&e->by_phase[i])) != NULL) {
			if (i != ROW_DONE)
				job_finish(job, MSG_OUTCOME_CANCELLED, MSG_REASON_CLIENT);
			drop(job);
		}
	batches_free(e);
	while ((row = idtab_next(&fake.rows, 0, &id)) != NULL) {
		idtab_remove(&fake.rows, id);
		row_unref(&fake.store, row);
	}
	idtab_fini(&fake.rows);
	idtab_fini(&e->jobs);
	env_table_fini(&fake.store.envs);
	slot_executor_free(e->executor);
	queue_set_free(e->queues);
	slot_loop_free(loop);
	free(e);
}

static void
total(uint32_t slots)
{
	e->limits.max_running = slots;
	queue_set_total(e->queues, slots);
	slot_executor_set_max_running(e->executor, slots);
	job_kick(e);
}

static struct row *
row_of(struct queue *q, uint32_t uid, int priority)
{
	struct spec *spec = calloc(1, sizeof *spec);
	struct row *row;

	spec->size = sizeof *spec;
	spec->slots = width;
	spec->priority = (int16_t)priority;
	row = row_new(spec, NULL);
	row->id = fake.store.next_id++;
	row->uid = uid;
	row->queue = queue_name(q);
	row->cost = 100 + (uint32_t)row->id % 7;
	row->submitted_us = slot_loop_wall_us(loop);
	return row;
}

/* A job that was submitted and isn't durable yet. */
static struct job *
submit(struct queue *q, uint32_t uid, int priority)
{
	struct row *row = row_of(q, uid, priority);
	struct job *job;

	row->uncommitted = 1;
	MUST(idtab_put(&fake.rows, row->id, row) == 0);
	job = job_revive(e, row, q);
	job_release_hold(job, JOB_HELD_NEW);
	return job;
}

/* Now it is. True: it went to the shelf. */
static bool
commit(uint64_t id)
{
	struct job *job = job_find(e, id);
	bool shelved = false;

	if (job == NULL)
		return false;
	job_ref(job);
	job->row->uncommitted = 0;
	shelved = shelf_put(job);
	MUST(shelved == shelf_has(e, id));
	MUST((job_find(e, id) == NULL) == shelved);
	job_unref(job);
	return shelved;
}

/* n plain jobs of one user, durable. */
static void
add_many(struct queue *q, uint32_t uid, int priority, unsigned n)
{
	uint64_t first = fake.store.next_id;

	for (unsigned i = 0; i < n; i++)
		submit(q, uid, priority);
	for (uint64_t id = first; id < first + n; id++)
		commit(id);
}

static void
run(void)
{
	job_kick(e);
	slot_loop_run_due(loop, 0);
}

/* … and every read is answered. */
static void
settle(void)
{
	run();
	while (fake.nreads > 0) {
		answer_one();
		run();
	}
}

static struct job *
running_job(void)
{
	return TAILQ_FIRST(&e->by_phase[ROW_RUNNING]);
}

START_TEST(what_is_far_back_in_its_line_is_shelved)
{
	add_many(queue, 1, 0, 10);
	/* None runs yet: four are kept, the first ones. */
	for (uint64_t id = 1; id <= 10; id++)
		ck_assert_int_eq(shelf_has(e, id), id > 4);
	ck_assert_uint_eq(shelf_count(e), 6);
	ck_assert_uint_eq(queue_pending(queue), 10);
	ck_assert_uint_eq(e->npending, 10);
	ck_assert_uint_eq(e->jobs.count, 10);
	ck_assert_uint_eq(slot_executor_pending(e->executor), 4);
	ck_assert_uint_eq(shelf_next(e, 0), 5);
	ck_assert_uint_eq(shelf_next(e, 8), 8);
	ck_assert_uint_eq(shelf_next(e, 11), 0);
}
END_TEST

START_TEST(all_of_a_line_start_in_order)
{
	add_many(queue, 1, 0, 50);
	for (uint64_t id = 1; id <= 50; id++) {
		settle();
		ck_assert_uint_eq(nstarted, id);
		ck_assert_uint_eq(started[id - 1], id);
		end(running_job());
	}
	settle();
	ck_assert_uint_eq(e->npending, 0);
	ck_assert_int_eq(e->pending_bytes, 0);
	ck_assert_uint_eq(queue_pending(queue), 0);
	ck_assert_uint_eq(e->jobs.count, 0);
}
END_TEST

/* They are read before their turn comes: the slot doesn't wait for the journal. */
START_TEST(reading_is_ahead_of_starting)
{
	add_many(queue, 1, 0, 50);
	for (uint64_t id = 1; id <= 50; id++) {
		run();
		ck_assert_uint_eq(nstarted, id);
		ck_assert_uint_le(fake.nreads, 1);
		if (fake.nreads > 0) {
			ck_assert_uint_le(fake.reads[0]->nids, 2);
			answer_one();
		}
		end(running_job());
	}
}
END_TEST

START_TEST(a_line_whose_first_is_shelved_waits_and_holds_nobody_up)
{
	struct job *other;
	struct row *row;

	add_many(queue, 1, 0, 6);
	row = row_of(queue, 1, 50);
	MUST(idtab_put(&fake.rows, row->id, row) == 0);
	ck_assert_int_eq(shelf_put_recovered(e, queue, &(struct store_live){ .id = row->id,
	    .uid = 1, .priority = 50, .cost = row->cost, .plain = true }), 0);
	other = submit(queue, 2, 0);
	ck_assert_uint_eq(queue_shelf_obstacle(e->queues, 7), QUEUE_OBSTACLE_SLOTS);
	for (int i = 0; i < 200; i++) { /* it is not overtaken, and reserves nothing */
		run();
		ck_assert_uint_eq(nstarted, (size_t)i + 1);
		ck_assert_uint_eq(started[i], other->row->id);
		end(other);
		other = submit(queue, 2, 0);
	}
	ck_assert_uint_eq(fake.nreads, 1);
	end(other);
	settle();
	ck_assert_uint_eq(started[200], 7);
}
END_TEST

/* The slot was free all the time: the answer of the read is what starts it. */
START_TEST(a_start_can_wait_for_the_read_alone)
{
	for (uint64_t id = 1; id <= 5; id++) {
		struct row *row = row_of(queue, 1, 0);

		MUST(idtab_put(&fake.rows, row->id, row) == 0);
		ck_assert_int_eq(shelf_put_recovered(e, queue, &(struct store_live){
		    .id = row->id, .uid = 1, .cost = row->cost }), 0);
	}
	slot_loop_run_due(loop, 0);
	ck_assert_uint_eq(fake.nreads, 1);
	ck_assert_uint_eq(nstarted, 0);
	answer_one();
	slot_loop_run_due(loop, 0);
	ck_assert_uint_eq(nstarted, 1);
	/* The same for one that comes out of a pause, of its queue or of all. */
	end(running_job());
	queue_set_paused(queue, true);
	while (fake.nreads > 0)
		answer_one();
	slot_loop_run_due(loop, 0);
	ck_assert_uint_eq(nstarted, 1);
	queue_set_paused(queue, false);
	job_kick(e);
	slot_loop_run_due(loop, 0);
	ck_assert_uint_eq(nstarted, 2);
}
END_TEST

START_TEST(a_paused_line_reads_when_it_goes_on)
{
	queue_set_paused(queue, true);
	add_many(queue, 1, 0, 20);
	for (uint64_t id = 1; id <= 4; id++)
		end(job_find(e, id));
	run();
	ck_assert_uint_eq(fake.nreads, 0);
	ck_assert_int_eq(shelf_reason(e, 9), MSG_REASON_PAUSED);
	queue_set_paused(queue, false);
	run();
	ck_assert_uint_eq(fake.nreads, 1);
	answer_one();
	run();
	ck_assert_uint_eq(started[0], 5);
	ck_assert_int_eq(shelf_reason(e, 9), MSG_REASON_SLOTS);
	queue_set_limit(queue, 1);
	ck_assert_int_eq(shelf_reason(e, 9), MSG_REASON_QUEUE);
	/* A limit of none, and the total: likewise. */
	total(0);
	ck_assert_int_eq(shelf_reason(e, 9), MSG_REASON_PAUSED);
	settle();
	queue_set_limit(queue, 0);
	for (uint64_t id = 5; job_find(e, id) != NULL; id++)
		end(job_find(e, id));
	run();
	ck_assert_uint_eq(fake.nreads, 0);
	queue_set_limit(queue, QUEUE_UNLIMITED);
	run();
	ck_assert_uint_eq(fake.nreads, 0);
	total(1);
	settle();
	ck_assert_uint_eq(nstarted, 2);
}
END_TEST

static void
on_future_done(struct slot_future *f, void *arg)
{
	(void)f, (void)arg;
}

START_TEST(what_somebody_looks_at_stays)
{
	struct job *job;

	add_many(queue, 1, 0, 6);
	job = submit(queue, 1, 0);
	job_ref(job);
	ck_assert(!commit(7)); /* a request has it */
	job_unref(job);
	job = submit(queue, 1, 0);
	slot_future_add_done_callback(&job->action.future, on_future_done, NULL);
	ck_assert(!commit(8));
	job = submit(queue, 1, 0);
	job_ref(job);
	ck_assert(!shelf_put(job)); /* not durable */
	job_unref(job);
	job = submit(queue, 1, 0);
	job->row->waits = ROW_TIED;
	ck_assert(!commit(10));
	job = submit(queue, 1, 0);
	job_hold(job, JOB_HELD_HOLD);
	ck_assert(!commit(11));
	submit(queue, 1, 0);
	ck_assert(commit(12));
	ck_assert_uint_eq(shelf_count(e), 3);
}
END_TEST

START_TEST(what_is_before_those_shelved_stays)
{
	add_many(queue, 1, 0, 6);
	submit(queue, 1, 5);
	ck_assert(!commit(7)); /* first of all */
	submit(queue, 1, -5);
	ck_assert(commit(8));
	for (uint64_t id = 9; id < 9 + 3; id++) {
		submit(queue, 1, 5);
		ck_assert(!commit(id));
	}
	submit(queue, 1, 5);
	ck_assert(commit(12)); /* as many are before it as a line keeps */
	submit(queue, 2, 0);
	ck_assert(!commit(13)); /* another's line */
}
END_TEST

/* The FIFOs of ids only grow at their ends. */
START_TEST(what_comes_after_younger_ones_stays)
{
	add_many(queue, 1, 0, 6);
	submit(queue, 1, 0);
	submit(queue, 1, 0);
	ck_assert(commit(8));
	ck_assert(!commit(7));
	total(8);
	settle();
	for (uint64_t id = 1; id <= 8; id++)
		ck_assert_uint_eq(started[id - 1], id);
}
END_TEST

/* Its first can't ever run, the next ones are shelved. */
START_TEST(a_line_reads_when_its_jobs_are_parked)
{
	total(2);
	queue_set_paused(queue, true);
	width = 2;
	add_many(queue, 1, 0, 4);
	width = 1;
	add_many(queue, 1, 0, 4);
	ck_assert_uint_eq(shelf_count(e), 4);
	total(1);
	queue_set_paused(queue, false);
	settle();
	ck_assert_uint_eq(nstarted, 1);
	ck_assert_uint_eq(started[0], 5);
}
END_TEST

START_TEST(a_request_takes_a_job_down)
{
	struct job *job;
	struct row *row;

	total(0);
	add_many(queue, 1, 0, 10);
	row = idtab_get(&fake.rows, 8);
	slot_loop_advance(loop, 5000);
	job = shelf_take(e, row);
	ck_assert_ptr_eq(job_find(e, 8), job);
	ck_assert_ptr_eq(shelf_take(e, row), job);
	ck_assert(!shelf_has(e, 8));
	ck_assert_int_eq(job_phase(job), ROW_PENDING);
	ck_assert_uint_eq(job->cost, row->cost);
	ck_assert_int_eq(slot_loop_now_us(loop) - job->ready_us, 5000);
	ck_assert_uint_eq(shelf_count(e), 5);
	ck_assert_uint_eq(queue_pending(queue), 10);
	ck_assert_uint_eq(e->npending, 10);
	ck_assert_uint_eq(e->jobs.count, 10);
	total(1);
	for (uint64_t id = 1; id <= 10; id++) { /* it keeps its turn */
		settle();
		ck_assert_uint_eq(started[id - 1], id);
		end(running_job());
	}
}
END_TEST

START_TEST(one_that_cannot_be_read_ends_and_holds_nobody_up)
{
	struct job *job;

	add_many(queue, 1, 0, 12);
	fake.damaged = 6;
	for (uint64_t id = 1; id <= 5; id++) {
		settle();
		ck_assert_uint_eq(started[id - 1], id);
		end(running_job());
	}
	settle();
	ck_assert_uint_eq(nstarted, 5); /* it may have been a moment's trouble */
	ck_assert(shelf_has(e, 6));
	for (int i = 0; i < 3; i++) {
		slot_loop_advance(loop, 200000);
		settle();
	}
	ck_assert_uint_eq(fake.ended, 6);
	job = job_find(e, 6);
	ck_assert_ptr_nonnull(job);
	ck_assert_int_eq(job_phase(job), ROW_DONE);
	ck_assert_int_eq(job->row->run->outcome, MSG_OUTCOME_SPAWN_FAILED);
	ck_assert_int_eq(job->row->run->step, LAUNCH_STEP_BODY);
	ck_assert_int_eq(job->row->run->error, EBADMSG);
	ck_assert_uint_eq(job->row->uid, 1);
	ck_assert_str_eq(job->row->queue, "default");
	drop(job);
	for (uint64_t id = 7; id <= 12; id++) {
		settle();
		ck_assert_uint_eq(started[id - 2], id);
		end(running_job());
	}
	ck_assert_uint_eq(e->npending, 0);
	ck_assert_int_eq(e->pending_bytes, 0);
	ck_assert_uint_eq(queue_pending(queue), 0);
}
END_TEST

START_TEST(one_that_the_journal_lost_is_dropped)
{
	add_many(queue, 1, 0, 8);
	row_unref(&fake.store, idtab_remove(&fake.rows, 7));
	row_unref(&fake.store, idtab_remove(&fake.rows, 8));
	for (uint64_t id = 1; id <= 6; id++) {
		settle();
		ck_assert_uint_eq(started[id - 1], id);
		end(running_job());
	}
	settle();
	ck_assert_uint_eq(e->npending, 0);
	ck_assert_int_eq(e->pending_bytes, 0);
	ck_assert_uint_eq(e->jobs.count, 0);
	ck_assert_uint_eq(queue_pending(queue), 0);
}
END_TEST

START_TEST(a_read_without_memory_is_tried_again)
{
	add_many(queue, 1, 0, 8);
	for (uint64_t id = 1; id <= 4; id++)
		end(job_find(e, id));
	fake.fail = -ENOMEM;
	run();
	answer_one();
	run();
	ck_assert_uint_eq(fake.nreads, 0);
	ck_assert_uint_eq(nstarted, 0);
	slot_loop_advance(loop, 1000000);
	settle();
	ck_assert_uint_eq(started[0], 5);
}
END_TEST

START_TEST(a_line_may_end_while_it_is_read)
{
	add_many(queue, 1, 0, 8);
	for (uint64_t id = 1; id <= 4; id++)
		end(job_find(e, id));
	run();
	ck_assert_uint_eq(fake.nreads, 1);
	for (uint64_t id = 5; id <= 8; id++)
		end(shelf_take(e, idtab_get(&fake.rows, id)));
	ck_assert_uint_eq(queue_pending(queue), 0);
	answer_one();
	settle();
	ck_assert_uint_eq(nstarted, 0);
	ck_assert_uint_eq(e->jobs.count, 0);
}
END_TEST

static struct slot_call emptied;
static unsigned nemptied;

static void
on_emptied(struct slot_call *call)
{
	struct job *job;

	(void)call;
	nemptied++;
	while ((job = TAILQ_FIRST(&e->by_phase[ROW_PENDING])) != NULL)
		end(job);
	if (shelf_count(e) > 0)
		shelf_empty(e, &emptied);
}

START_TEST(everything_comes_down_in_slices)
{
	struct queue *other = queue_add(e->queues, "other");

	slot_executor_pause(e->executor);
	queue_set_paused(other, true);
	add_many(queue, 1, 0, 100);
	add_many(other, 2, 0, 100);
	add_many(queue, 3, 0, 100);
	emptied.run = on_emptied;
	nemptied = 0;
	shelf_empty(e, &emptied);
	submit(queue, 1, -1);
	ck_assert(!commit(301));
	settle();
	ck_assert_uint_eq(e->jobs.count, 0);
	ck_assert_uint_eq(e->npending, 0);
	ck_assert_int_eq(e->pending_bytes, 0);
	ck_assert_uint_eq(nstarted, 0);
	ck_assert_uint_gt(nemptied, 3);
	add_many(queue, 1, 0, 5); /* and again as ever */
	ck_assert_uint_eq(shelf_count(e), 1);
}
END_TEST

START_TEST(reads_are_few_and_fair)
{
	total(0);
	for (uint32_t uid = 1; uid <= 20; uid++)
		add_many(queue, uid, 0, 10);
	for (uint64_t id = 1; id <= 200; id++)
		if (job_find(e, id) != NULL)
			end(job_find(e, id));
	total(20);
	run();
	ck_assert_uint_eq(fake.nreads, SHELF_READS);
	settle();
	ck_assert_uint_eq(nstarted, 20);
	ck_assert_uint_ge(fake.nasked, 20);
	for (size_t i = 0; i < 20; i++) /* each line once, before any of them again */
		for (size_t j = 0; j < i; j++)
			ck_assert_uint_ne((fake.asked[i] - 1) / 10, (fake.asked[j] - 1) / 10);
}
END_TEST

/* As at the start of a daemon: what an engine holds for each job that it knows by its id alone. */
START_TEST(a_shelved_job_takes_few_bytes)
{
	enum { MANY = 200000 };
	size_t before, after, empty;

	malloc_trim(0);
	before = mallinfo2().uordblks;
	for (uint64_t id = 1; id <= MANY; id++)
		MUST(shelf_put_recovered(e, queue, &(struct store_live){ .id = id,
		    .uid = (uint32_t)(id % 3), .priority = (int16_t)(id % 2), .cost = 300 }) == 0);
	after = mallinfo2().uordblks;
	ck_assert_uint_eq(shelf_count(e), MANY);
	ck_assert_uint_le((after - before) / MANY, 20);
	ck_assert_int_eq(e->pending_bytes, 300 * (int64_t)MANY);
	/* … and nothing once they are gone: none of them is in the journal. */
	e->limits.max_running = 1;
	settle();
	ck_assert_uint_eq(shelf_count(e), 0);
	ck_assert_int_eq(e->pending_bytes, 0);
	empty = mallinfo2().uordblks;
	ck_assert_uint_le(empty, before + 65536);
}
END_TEST

/* ---- the model ---- */

enum { USERS = 3, QUEUES = 2, MODEL = 400 };

struct item {
	uint64_t id;
	unsigned uid, queue;
	int priority;
	bool pending, committed;
	struct job *watched; /* a request has it */
};

static struct item items[MODEL];
static size_t nitems;
static struct queue *queues[QUEUES];
static uint32_t m_total, m_limit[QUEUES];
static bool m_paused[QUEUES], m_ebb; /* it fills, and empties, by turns */

static struct item *
item_of(uint64_t id)
{
	for (size_t i = 0; i < nitems; i++)
		if (items[i].id == id)
			return &items[i];
	return NULL;
}

static struct item *
first_of(unsigned uid, unsigned q)
{
	struct item *best = NULL;

	for (size_t i = 0; i < nitems; i++) {
		struct item *it = &items[i];

		if (it->pending && it->uid == uid && it->queue == q && (best == NULL ||
		    it->priority > best->priority ||
		    (it->priority == best->priority && it->id < best->id)))
			best = it;
	}
	return best;
}

static void
m_started(uint64_t id)
{
	struct item *it = item_of(id);

	MUST(it != NULL && it->pending);
	MUST(first_of(it->uid, it->queue) == it);
	MUST(!m_paused[it->queue] && m_limit[it->queue] > 0);
	it->pending = false;
}

static uint32_t
m_running(unsigned q)
{
	uint32_t n = 0;

	for (size_t i = 0; i < nitems; i++)
		n += items[i].queue == q && !items[i].pending;
	return n;
}

/* Where nothing is read any more, nothing that could run waits. */
static void
m_check_starts(void)
{
	uint32_t used = 0;

	for (unsigned q = 0; q < QUEUES; q++)
		used += m_running(q);
	MUST(slot_executor_running(e->executor) == used);
	if (used >= m_total)
		return;
	for (unsigned q = 0; q < QUEUES; q++)
		for (unsigned u = 0; u < USERS; u++)
			MUST(first_of(u, q) == NULL || m_paused[q] || m_running(q) >= m_limit[q]);
}

static void
m_check_counts(void)
{
	size_t pending[QUEUES] = { 0 }, shelved = 0;
	int64_t bytes = 0;

	for (size_t i = 0; i < nitems; i++) {
		const struct item *it = &items[i];
		const struct row *row = idtab_get(&fake.rows, it->id);

		MUST(row != NULL);
		MUST(row->phase == (it->pending ? ROW_PENDING : ROW_RUNNING));
		MUST(shelf_has(e, it->id) == (job_find(e, it->id) == NULL));
		shelved += shelf_has(e, it->id);
		pending[it->queue] += it->pending;
		if (it->pending)
			bytes += row->cost;
	}
	for (unsigned q = 0; q < QUEUES; q++)
		MUST(queue_pending(queues[q]) == pending[q]);
	MUST(e->npending == pending[0] + pending[1]);
	MUST(e->pending_bytes == bytes);
	MUST(e->jobs.count == nitems);
	MUST(shelf_count(e) == shelved);
	MUST(slot_executor_pending(e->executor) == pending[0] + pending[1] - shelved);
}

static void
m_unwatch(struct item *it)
{
	job_unref(it->watched);
	it->watched = NULL;
}

static void
m_remove(struct item *it)
{
	m_unwatch(it);
	end(shelf_take(e, idtab_get(&fake.rows, it->id)));
	memmove(it, it + 1, (size_t)(items + --nitems - it) * sizeof *it); /* in order of id */
}

static struct item *
m_any(bool pending)
{
	for (int tries = 0; nitems > 0 && tries < 8; tries++) {
		struct item *it = &items[below((unsigned)nitems)];

		if (it->pending == pending)
			return it;
	}
	return NULL;
}

static void
m_submit(void)
{
	struct item *it = &items[nitems];
	unsigned burst = below(4) == 0 ? 1 + below(30) : 1, uid = below(USERS), q = below(QUEUES);
	int spread = below(2) == 0 ? 1 : 4;

	for (; burst > 0 && nitems < MODEL; burst--, it++) {
		*it = (struct item){ .uid = uid, .queue = q,
			.priority = (int)below((unsigned)spread), .pending = true };
		it->id = fake.store.next_id;
		nitems++;
		submit(queues[q], uid, it->priority);
	}
}

static void
m_commit(void)
{
	size_t until = below(3) == 0 ? below((unsigned)nitems + 1) : nitems;

	for (size_t i = 0; i < until; i++)
		if (!items[i].committed) {
			items[i].committed = true;
			commit(items[i].id);
		}
}

static void
m_change(struct item *it)
{
	struct job *job = shelf_take(e, idtab_get(&fake.rows, it->id));

	it->queue = below(QUEUES);
	it->priority = (int)below(4);
	MUST(job_set(job, queues[it->queue], it->priority, false) == 0);
}

static void
m_limits(void)
{
	unsigned q = below(QUEUES);

	switch (below(4)) {
	case 0:
		m_total = below(4);
		total(m_total);
		break;
	case 1:
		m_paused[q] = !m_paused[q];
		queue_set_paused(queues[q], m_paused[q]);
		break;
	default:
		m_limit[q] = below(3) == 0 ? QUEUE_UNLIMITED : below(3);
		queue_set_limit(queues[q], m_limit[q]);
	}
	job_kick(e);
}

static void
m_step(void)
{
	struct item *it;

	if (m_ebb && nitems < 10)
		m_ebb = false;
	else if (nitems == MODEL)
		m_ebb = true;
	switch (m_ebb && below(3) > 0 ? 15 : below(16)) {
	case 0:
	case 1:
	case 2:
		if (!m_ebb)
			m_submit();
		break;
	case 3:
	case 4:
	case 5:
		m_commit();
		break;
	case 6:
		if ((it = m_any(true)) != NULL)
			m_remove(it);
		break;
	case 7:
		if ((it = m_any(true)) != NULL)
			m_change(it);
		break;
	case 8:
		if (below(4) == 0)
			m_limits();
		break;
	case 9:
		if ((it = m_any(true)) != NULL && it->watched == NULL)
			it->watched = job_ref(shelf_take(e, idtab_get(&fake.rows, it->id)));
		break;
	case 10:
		if ((it = m_any(below(2) == 0)) != NULL && it->watched != NULL)
			m_unwatch(it);
		break;
	case 11:
		if (fake.nreads > 0)
			answer_one();
		break;
	default:
		if ((it = m_any(false)) != NULL)
			m_remove(it);
	}
}

START_TEST(a_line_starts_what_a_plain_list_would)
{
	const char *given = getenv("SLOT_SEED");

	seed = given != NULL ? strtoull(given, NULL, 0) : 20240301;
	state = seed * 2654435761u + 88172645463325252u;
	nitems = 0;
	m_ebb = false;
	queues[0] = queue;
	queues[1] = queue_add(e->queues, "other");
	m_total = 3;
	total(3);
	for (unsigned q = 0; q < QUEUES; q++) {
		m_limit[q] = QUEUE_UNLIMITED;
		m_paused[q] = false;
	}
	on_started = m_started;
	for (step = 0; step < 40000; step++) {
		nstarted = 0;
		fake.at_once = step / 1000 % 4 == 3;
		m_step();
		if (below(2) == 0)
			run();
		if (step % 8 == 0) {
			settle();
			m_check_starts();
		}
		m_check_counts();
	}
	while (nitems > 0)
		m_remove(&items[0]);
	settle();
	m_check_counts();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("engine shelf");
	TCase *fifo = tcase_create("fifo"), *shelf = tcase_create("shelf");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(fifo, a_fifo_gives_the_living_in_order);
	tcase_add_test(fifo, dead_ones_hold_little_of_a_fifo);
	tcase_add_checked_fixture(shelf, setup, teardown);
	tcase_set_timeout(shelf, 60);
	tcase_add_test(shelf, what_is_far_back_in_its_line_is_shelved);
	tcase_add_test(shelf, all_of_a_line_start_in_order);
	tcase_add_test(shelf, reading_is_ahead_of_starting);
	tcase_add_test(shelf, a_line_whose_first_is_shelved_waits_and_holds_nobody_up);
	tcase_add_test(shelf, a_start_can_wait_for_the_read_alone);
	tcase_add_test(shelf, a_paused_line_reads_when_it_goes_on);
	tcase_add_test(shelf, what_somebody_looks_at_stays);
	tcase_add_test(shelf, what_is_before_those_shelved_stays);
	tcase_add_test(shelf, what_comes_after_younger_ones_stays);
	tcase_add_test(shelf, a_line_reads_when_its_jobs_are_parked);
	tcase_add_test(shelf, a_request_takes_a_job_down);
	tcase_add_test(shelf, one_that_cannot_be_read_ends_and_holds_nobody_up);
	tcase_add_test(shelf, one_that_the_journal_lost_is_dropped);
	tcase_add_test(shelf, a_read_without_memory_is_tried_again);
	tcase_add_test(shelf, a_line_may_end_while_it_is_read);
	tcase_add_test(shelf, everything_comes_down_in_slices);
	tcase_add_test(shelf, reads_are_few_and_fair);
	tcase_add_test(shelf, a_shelved_job_takes_few_bytes);
	tcase_add_test(shelf, a_line_starts_what_a_plain_list_would);
	suite_add_tcase(suite, fifo);
	suite_add_tcase(suite, shelf);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
