/*
 * The order of starting: queue.c as the pending order of an executor whose actions only note that
 * they started. At the end it is compared with a model that keeps no order and looks at everything.
 */
#include "core/container.h"
#include "core/loop.h"
#include "engine/queue.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	struct slot_action action; /* first */
	struct queue_place place;
	uint64_t id;
	unsigned uid, queue; /* indexes, for the model */
	bool parked;         /* the model's */
};

static struct slot_loop *loop;
static struct queue_set *set;
static struct slot_executor *executor;
static struct queue *queue;
static uint64_t next_id;

static uint64_t started[100000];
static size_t nstarted, nseen;
static size_t looked_at; /* places of actions */

static struct item *
item_of(struct slot_action *a)
{
	return slot_container_of(a, struct item, action);
}

static struct queue_place *
place_of(struct slot_action *a)
{
	looked_at++;
	return &item_of(a)->place;
}

static int
on_start(struct slot_action *a)
{
	queue_started(set, place_of(a), a->slots);
	if (nstarted == sizeof started / sizeof *started)
		ck_abort_msg("too many starts");
	started[nstarted++] = item_of(a)->id;
	return 0;
}

static void
on_destroy(struct slot_future *f)
{
	free(f);
}

static const struct slot_action_ops action_ops = {
	.future = { .destroy = on_destroy },
	.start = on_start,
};

static void
setup(void)
{
	loop = slot_loop_new_manual(0, 0);
	set = queue_set_new(place_of);
	executor = slot_executor_new(loop, 1, &queue_pending_ops, set);
	queue_set_total(set, 1);
	queue = queue_add(set, "default");
	next_id = 1;
	nstarted = nseen = 0;
}

static void
teardown(void)
{
	slot_executor_free(executor);
	queue_set_free(set);
	slot_loop_free(loop);
}

static void
total(uint32_t slots)
{
	queue_set_total(set, slots);
	slot_executor_set_max_running(executor, slots);
}

/* A job of uid, not pushed yet. */
static struct item *
make(struct queue *q, uint32_t uid, uint64_t id, uint32_t slots, int priority)
{
	struct item *it = calloc(1, sizeof *it);

	slot_action_init(&it->action, executor, &action_ops, slots, priority);
	it->id = id;
	if (queue_enter(set, q, uid, id, &it->place) < 0)
		ck_abort_msg("out of memory");
	return it;
}

static struct item *
add_to(struct queue *q, uint32_t uid, uint32_t slots, int priority)
{
	struct item *it = make(q, uid, next_id++, slots, priority);

	slot_executor_push(executor, &it->action);
	return it;
}

static struct item *
add(uint32_t uid)
{
	return add_to(queue, uid, 1, 0);
}

static void
run(void)
{
	slot_executor_kick(executor);
	slot_loop_run_due(loop, 0);
}

/* It ends, or leaves while it is pending; the loop hasn't run yet. */
static void
leave(struct item *it)
{
	if (slot_action_state(&it->action) == SLOT_ACTION_RUNNING)
		slot_action_release(&it->action);
	else if (slot_action_state(&it->action) == SLOT_ACTION_PENDING)
		slot_executor_withdraw(executor, &it->action);
	queue_leave(set, &it->place);
	slot_future_unref(&it->action.future);
}

static void
end(struct item *it)
{
	leave(it);
	slot_loop_run_due(loop, 0);
}

/* These started, in this order, since it was last asked. */
static void
starts(const char *expected)
{
	char text[4096] = "";
	size_t len = 0;

	run();
	for (; nseen < nstarted; nseen++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu", len > 0 ? " " : "",
		    (unsigned long long)started[nseen]);
	ck_assert_str_eq(text, expected);
}

START_TEST(first_come_first_started)
{
	struct item *it[3] = { add(1), add(1), add(1) };

	starts("1");
	end(it[0]);
	starts("2");
	end(it[1]);
	starts("3");
	end(it[2]);
	ck_assert_uint_eq(queue_pending(queue), 0);
}
END_TEST

START_TEST(priority_goes_before_order)
{
	struct item *it[5];

	for (int i = 0; i < 5; i++) {
		static const int priorities[5] = { 0, -100, 7, 100, 7 };

		it[i] = add_to(queue, 1, 1, priorities[i]);
	}
	starts("4");
	end(it[3]);
	starts("3");
	end(it[2]);
	starts("5");
	end(it[4]);
	starts("1");
	end(it[0]);
	starts("2");
	end(it[1]);
}
END_TEST

/* As a retried job does, and one that was held. */
START_TEST(one_that_comes_back_takes_its_old_place)
{
	struct item *it[6];

	for (uint64_t id = 6; id > 0; id--)
		it[id - 1] = make(queue, 1, id, 1, 0);
	slot_executor_push(executor, &it[3]->action);
	slot_executor_push(executor, &it[5]->action);
	slot_executor_push(executor, &it[1]->action);
	slot_executor_push(executor, &it[4]->action);
	slot_executor_push(executor, &it[0]->action);
	starts("1");
	slot_action_release(&it[0]->action);
	slot_executor_push(executor, &it[0]->action);
	slot_executor_push(executor, &it[2]->action);
	starts("1");
	end(it[0]);
	starts("2");
	end(it[1]);
	starts("3");
	end(it[2]);
	starts("4");
	end(it[4]); /* before its turn */
	end(it[3]);
	starts("6");
	end(it[5]);
}
END_TEST

START_TEST(users_take_turns_by_slots)
{
	struct item *it[40];
	int slots[2] = { 0 };
	size_t ended = 0;

	total(3);
	/* One user came first, with small jobs; the other's are wide. */
	for (int i = 0; i < 30; i++)
		it[i] = add_to(queue, 1, 1, 0);
	for (int i = 30; i < 40; i++)
		it[i] = add_to(queue, 2, 3, 100); /* (priority is no help) */
	while (ended < 40) {
		run();
		for (; ended < nstarted; ended++) { /* all that run end together */
			bool wide = started[ended] > 30;

			leave(it[started[ended] - 1]);
			slots[wide] += wide ? 3 : 1;
		}
		ck_assert_int_le(abs(slots[0] - slots[1]), 3);
	}
	ck_assert_int_eq(slots[0], slots[1]);
}
END_TEST

START_TEST(a_user_who_comes_late_begins_at_the_present)
{
	struct item *it[200];

	for (int i = 0; i < 100; i++)
		it[i] = add(1);
	run();
	for (int i = 0; i < 50; i++)
		end(it[i]); /* the first has had 51 slots */
	ck_assert_uint_eq(started[nstarted - 1], 51);
	nseen = nstarted;
	for (int i = 100; i < 104; i++)
		it[i] = add(2);
	end(it[50]);
	starts("101"); /* its turn, but only every other one */
	end(it[100]);
	starts("52");
	end(it[51]);
	starts("102");
	end(it[101]);
	starts("53");
	for (int i = 52; i < 104; i++)
		if (i != 100 && i != 101)
			end(it[i]);
}
END_TEST

START_TEST(priority_orders_one_user_s_jobs_only)
{
	struct item *a = add_to(queue, 1, 1, 0), *b = add_to(queue, 1, 1, 0);
	struct item *x = add_to(queue, 2, 1, 100), *y = add_to(queue, 2, 1, 100);

	starts("1");
	end(a);
	starts("3");
	end(x);
	starts("2");
	end(b);
	starts("4");
	end(y);
}
END_TEST

START_TEST(a_queue_has_a_limit_of_its_own)
{
	struct queue *small = queue_add(set, "small");
	struct item *a, *b, *d, *other;

	total(4);
	queue_set_limit(small, 2);
	a = add_to(small, 1, 1, 50);
	b = add_to(small, 1, 2, 50);
	d = add_to(small, 1, 1, 50);
	other = add_to(queue, 1, 2, 0);
	starts("1 4"); /* 2 doesn't fit: 3, of its line, waits behind; the other queue goes on */
	ck_assert_int_eq(queue_obstacle(&b->place, 2), QUEUE_OBSTACLE_QUEUE);
	ck_assert_uint_eq(queue_running(small), 1);
	ck_assert_uint_eq(queue_pending(small), 2);
	end(a);
	starts("2");
	queue_set_limit(small, 3); /* raised: 3 fits, but for the total */
	starts("");
	ck_assert_int_eq(queue_obstacle(&d->place, 1), QUEUE_OBSTACLE_SLOTS);
	end(other);
	starts("3");
	queue_set_limit(small, 0);
	end(b);
	end(d);
	a = add_to(small, 1, 1, 0);
	starts("");
	queue_set_limit(small, QUEUE_UNLIMITED);
	starts("5");
	end(a);
}
END_TEST

START_TEST(a_paused_queue_starts_nothing)
{
	struct queue *other = queue_add(set, "other");
	struct item *a = add(1), *b = add_to(other, 1, 1, 0);

	queue_set_paused(queue, true);
	starts("2");
	end(b);
	ck_assert_int_eq(queue_obstacle(&a->place, 1), QUEUE_OBSTACLE_PAUSED);
	starts("");
	queue_set_paused(queue, false);
	starts("1");
	end(a);
}
END_TEST

START_TEST(a_queue_with_jobs_stays)
{
	struct queue *other = queue_add(set, "other");
	struct item *it = make(other, 1, 1, 1, 0);
	const char *name = queue_name(other);

	ck_assert_int_eq(queue_remove(set, other), -EBUSY);
	ck_assert_ptr_eq(queue_find(set, "other"), other);
	end(it);
	ck_assert_int_eq(queue_remove(set, other), 0);
	ck_assert_ptr_null(queue_find(set, "other"));
	ck_assert_str_eq(name, "other"); /* as history goes on saying */
	other = queue_add(set, "other");
	ck_assert_ptr_eq(queue_name(other), name);
	ck_assert_ptr_eq(queue_next(set, queue), other);
	ck_assert_ptr_null(queue_next(set, other));
}
END_TEST

/* What a lowered limit made impossible holds nobody up, and is there again when it is raised. */
START_TEST(an_impossible_job_is_parked)
{
	struct item *wide, *a, *b;

	total(4);
	wide = add_to(queue, 1, 4, 5);
	total(2);
	a = add(1);
	b = add_to(queue, 1, 3, 0);
	starts("2");
	ck_assert_int_eq(queue_obstacle(&wide->place, 4), QUEUE_OBSTACLE_SLOTS);
	end(a);
	starts("");
	total(3);
	starts("3");
	total(4);
	end(b);
	starts("1");
	end(wide);
	/* The same by the queue's limit, and it may leave while it is parked. */
	wide = add_to(queue, 1, 4, 0);
	b = add_to(queue, 1, 3, 0);
	queue_set_limit(queue, 2);
	a = add(1);
	starts("6");
	end(wide);
	end(a);
	queue_set_limit(queue, 0); /* a pause: nothing is impossible */
	starts("");
	queue_set_limit(queue, 3);
	starts("5");
	end(b);
}
END_TEST

/* A wide job is passed by those of others, but only so often. */
START_TEST(after_64_overtakings_nothing_passes)
{
	struct item *first, *wide, *it[200];
	size_t n = 0;

	total(2);
	first = add(1);
	starts("1");
	wide = add_to(queue, 2, 2, 0);
	for (int i = 0; i < 200; i++)
		it[i] = add(3);
	starts("3");
	while (nstarted < 200 && started[nstarted - 1] != 2 && n < 150) {
		size_t before = nstarted;

		end(it[n++]);
		if (nstarted == before)
			break;
	}
	/* Users take turns: its own gets its turn each second time, and can't take it. */
	ck_assert_uint_eq(n, 64);
	nseen = nstarted;
	end(first);
	starts("2");
	end(wide);
	starts("67 68");
	for (; n < 200; n++)
		end(it[n]);
}
END_TEST

/* Starved by its queue's limit it reserves its queue, not the others. */
START_TEST(a_queue_is_reserved_for_its_starved_head)
{
	struct queue *q = queue_add(set, "q");
	struct item *first, *wide, *it[80], *other;
	size_t n = 0;

	total(10);
	queue_set_limit(q, 2);
	first = add_to(q, 1, 1, 0);
	starts("1");
	wide = add_to(q, 2, 2, 0);
	for (int i = 0; i < 80; i++)
		it[i] = add_to(q, 3, 1, 0);
	run();
	while (n < 80) {
		size_t before = nstarted;

		end(it[n++]);
		if (nstarted == before)
			break;
	}
	ck_assert_uint_eq(n, 64);
	nseen = nstarted;
	other = add(3);
	starts("83");
	end(first);
	starts("2");
	end(wide);
	end(other);
	for (; n < 80; n++)
		end(it[n]);
}
END_TEST

/* Jobs that were delayed come between the others of their line: in any order, and many. */
START_TEST(a_place_between_others_is_found_soon)
{
	enum { MANY = 100000 };
	static struct item *it[MANY];
	unsigned step = 61803; /* (prime: it visits all) */
	uint64_t last = 0;

	next_id = MANY + 1;
	for (uint64_t id = 1; id <= MANY; id++)
		it[id - 1] = make(queue, 1, id, 1, 0);
	for (int i = 0; i < MANY; i += 2)
		slot_executor_push(executor, &it[i]->action);
	looked_at = 0;
	for (unsigned i = 0, at = 0; i < MANY; i++, at = (at + step) % MANY)
		if (at % 2 == 1)
			slot_executor_push(executor, &it[at]->action);
	ck_assert_uint_le(looked_at, MANY / 2 * 64);
	/* Every third goes before its turn, the others in order. */
	looked_at = 0;
	for (unsigned i = 0, at = 0; i < MANY; i++, at = (at + step) % MANY)
		if (at % 3 == 1)
			slot_executor_withdraw(executor, &it[at]->action);
	ck_assert_uint_le(looked_at, MANY / 3 * 8);
	total(MANY);
	run();
	ck_assert_uint_eq(nstarted, MANY - MANY / 3);
	for (size_t i = 0; i < nstarted; last = started[i++])
		if (started[i] <= last || started[i] % 3 == 2)
			ck_abort_msg("%llu started after %llu", (unsigned long long)started[i],
			    (unsigned long long)last);
	for (int i = 0; i < MANY; i++)
		leave(it[i]);
}
END_TEST

/* ---- the model ---- */

enum { USERS = 4, QUEUES = 3, ITEMS = 60 };

static struct model {
	struct item *items[ITEMS]; /* in any order */
	size_t n;
	uint32_t total, used;
	uint32_t limit[QUEUES], running[QUEUES];
	bool paused[QUEUES];
	uint64_t vtime[USERS], stamp[USERS], now, stamps;
	struct item *passed[USERS][QUEUES];
	unsigned overtaken[USERS][QUEUES];
	uint64_t started[ITEMS * 2];
	size_t nstarted;
	bool calm; /* limits stay, most jobs are small: wide ones are overtaken again and again */
} m;

static struct queue *queues[QUEUES];
static unsigned long long seed;
static uint64_t state;

static unsigned
below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state % n);
}

static bool
m_waits(const struct item *it)
{
	return it->action.state == SLOT_ACTION_PENDING;
}

static bool
m_impossible(const struct item *it)
{
	return (m.total != 0 && it->action.slots > m.total) ||
	    (m.limit[it->queue] != 0 && it->action.slots > m.limit[it->queue]);
}

static unsigned
m_count(unsigned uid, int q, bool waiting_only)
{
	unsigned n = 0;

	for (size_t i = 0; i < m.n; i++)
		n += m.items[i]->uid == uid && (q < 0 || m.items[i]->queue == (unsigned)q) &&
		    (!waiting_only || m_waits(m.items[i]));
	return n;
}

static void
m_forget_passed(const struct item *it)
{
	if (m.passed[it->uid][it->queue] == it)
		m.passed[it->uid][it->queue] = NULL;
}

static bool
m_before(const struct item *a, const struct item *b)
{
	if (a->action.priority != b->action.priority)
		return a->action.priority > b->action.priority;
	return a->id < b->id;
}

/* `taken`: what the real one has not let go of yet, or the model has already. */
static struct item *
m_head(unsigned uid, unsigned q, const bool *taken)
{
	struct item *best;

	if (m.paused[q] || m.limit[q] == 0)
		return NULL;
	for (;;) {
		best = NULL;
		for (size_t i = 0; i < m.n; i++) {
			struct item *it = m.items[i];

			if (it->uid == uid && it->queue == q && m_waits(it) && !taken[i] &&
			    !it->parked && (best == NULL || m_before(it, best)))
				best = it;
		}
		if (best == NULL || !m_impossible(best))
			return best;
		best->parked = true;
		m_forget_passed(best);
	}
}

static bool
m_fits_queue(const struct item *it)
{
	uint32_t limit = m.limit[it->queue];

	return limit == QUEUE_UNLIMITED || m.running[it->queue] + it->action.slots <= limit;
}

static bool
m_starved(const struct item *it)
{
	return m.passed[it->uid][it->queue] == it &&
	    m.overtaken[it->uid][it->queue] >= QUEUE_OVERTAKE_MAX;
}

static bool
m_reserved(unsigned asking, unsigned q, const bool *taken)
{
	if (m.limit[q] == QUEUE_UNLIMITED)
		return false;
	for (unsigned u = 0; u < USERS; u++) {
		struct item *it = u != asking ? m_head(u, q, taken) : NULL;

		if (it != NULL && m_starved(it) && !m_fits_queue(it))
			return true;
	}
	return false;
}

/* Users with something waiting, by virtual time, then who stands there longest. */
static unsigned
m_users(unsigned order[USERS], const bool *taken)
{
	unsigned n = 0;

	for (unsigned u = 0; u < USERS; u++) {
		bool waits = false;
		unsigned at;

		for (size_t i = 0; i < m.n; i++)
			waits |= m.items[i]->uid == u && m_waits(m.items[i]) && !taken[i];
		if (!waits)
			continue;
		for (at = n; at > 0 && (m.vtime[order[at - 1]] > m.vtime[u] ||
		    (m.vtime[order[at - 1]] == m.vtime[u] && m.stamp[order[at - 1]] > m.stamp[u]));
		    at--)
			order[at] = order[at - 1];
		order[at] = u;
		n++;
	}
	return n;
}

static void
m_count_overtaken(const unsigned *order, unsigned n, unsigned winner, const struct item *a,
    const bool *taken)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned u = order[i];

		for (unsigned q = 0; q < QUEUES; q++) {
			struct item *head = m_head(u, q, taken);

			if (head == NULL || head == a || (head->action.slots <= m.total - m.used &&
			    m_fits_queue(head)) || (u == winner && !m_before(head, a)))
				continue;
			if (m.passed[u][q] != head)
				m.overtaken[u][q] = 0;
			m.passed[u][q] = head;
			m.overtaken[u][q]++;
		}
		if (u == winner)
			return;
	}
}

static struct item *
m_pick(const bool *taken)
{
	unsigned order[USERS], n = m_users(order, taken);

	for (unsigned i = 0; i < n; i++) {
		struct item *best = NULL;
		bool passing = i > 0;

		for (unsigned q = 0; q < QUEUES; q++) {
			struct item *it = m_head(order[i], q, taken);

			if (it == NULL)
				continue;
			if (it->action.slots > m.total - m.used) {
				if (m_starved(it) && m_fits_queue(it))
					return NULL;
				passing = true;
			} else if (!m_fits_queue(it) || m_reserved(order[i], q, taken)) {
				passing = true;
			} else if (best == NULL || m_before(it, best)) {
				best = it;
			}
		}
		if (best != NULL) {
			if (passing)
				m_count_overtaken(order, n, order[i], best, taken);
			return best;
		}
	}
	return NULL;
}

/* What starts now, before the real one is asked. */
static void
m_kick(void)
{
	bool taken[ITEMS] = { false };
	struct item *it;

	m.nstarted = 0;
	while (m.used < m.total && (it = m_pick(taken)) != NULL) {
		for (size_t i = 0; i < m.n; i++)
			taken[i] |= m.items[i] == it;
		m_forget_passed(it);
		m.used += it->action.slots;
		m.running[it->queue] += it->action.slots;
		m.now = m.vtime[it->uid];
		m.vtime[it->uid] += it->action.slots;
		m.stamp[it->uid] = ++m.stamps;
		m.started[m.nstarted++] = it->id;
	}
}

static void
m_push(struct item *it)
{
	if (m_count(it->uid, -1, true) == 0) {
		if (m.vtime[it->uid] < m.now)
			m.vtime[it->uid] = m.now;
		m.stamp[it->uid] = ++m.stamps;
	}
	it->parked = m_impossible(it);
	slot_executor_push(executor, &it->action);
}

static void
m_release(struct item *it)
{
	m.used -= it->action.slots;
	m.running[it->queue] -= it->action.slots;
	slot_action_release(&it->action);
}

static void
m_remove(size_t i)
{
	struct item *it = m.items[i];

	if (m_waits(it)) {
		m_forget_passed(it);
		slot_executor_withdraw(executor, &it->action);
	} else if (it->action.state == SLOT_ACTION_RUNNING) {
		m_release(it);
	}
	m.items[i] = m.items[--m.n];
	if (m_count(it->uid, (int)it->queue, false) == 0)
		m.passed[it->uid][it->queue] = NULL;
	if (m_count(it->uid, -1, false) == 0)
		m.vtime[it->uid] = 0;
	queue_leave(set, &it->place);
	slot_future_unref(&it->action.future);
}

static void
m_unpark(int q)
{
	for (size_t i = 0; i < m.n; i++)
		if (q < 0 || m.items[i]->queue == (unsigned)q)
			m.items[i]->parked = m.items[i]->parked && m_impossible(m.items[i]);
}

static struct item *
m_random(enum slot_action_state wanted)
{
	for (int tries = 0; m.n > 0 && tries < 8; tries++) {
		struct item *it = m.items[below((unsigned)m.n)];

		if (it->action.state == wanted)
			return it;
	}
	return NULL;
}

static void
m_step(void)
{
	unsigned q, u, slots;
	struct item *it;

	switch (below(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		if (m.n == ITEMS)
			return;
		q = below(QUEUES);
		u = below(USERS);
		slots = !m.calm ? 1 + below(4) : below(16) == 0 ? 3 : 1;
		it = make(queues[q], u, next_id++, slots, (int)below(3) - 1);
		it->queue = q;
		it->uid = u;
		m.items[m.n++] = it;
		if (below(8) > 0) /* else it is held for now */
			m_push(it);
		return;
	case 6:
		if ((it = m_random(SLOT_ACTION_IDLE)) != NULL)
			m_push(it);
		return;
	case 7: /* a retry */
		if ((it = m_random(SLOT_ACTION_RUNNING)) != NULL) {
			m_release(it);
			m_push(it);
		}
		return;
	case 8:
		if ((it = m_random(SLOT_ACTION_PENDING)) != NULL) {
			m_forget_passed(it);
			slot_executor_withdraw(executor, &it->action);
		}
		return;
	case 9:
		if (!m.calm && below(4) == 0) {
			m.total = below(7);
			total(m.total);
			m_unpark(-1);
		}
		return;
	case 10:
		if (!m.calm && below(4) == 0) {
			q = below(QUEUES);
			m.limit[q] = below(6) == 0 ? QUEUE_UNLIMITED : below(6);
			queue_set_limit(queues[q], m.limit[q]);
			m_unpark((int)q);
		}
		return;
	case 11:
		if (!m.calm && below(8) == 0) {
			q = below(QUEUES);
			m.paused[q] = !m.paused[q];
			queue_set_paused(queues[q], m.paused[q]);
		}
		return;
	default:
		for (unsigned tries = 0; m.n > 0 && tries < 4; tries++) {
			size_t i = below((unsigned)m.n);

			if (m.items[i]->action.state == SLOT_ACTION_RUNNING || below(8) == 0) {
				m_remove(i);
				return;
			}
		}
	}
}

static void
m_change_pace(bool calm)
{
	m.calm = calm;
	m.total = 4;
	total(m.total);
	m_unpark(-1);
	for (int q = 0; q < QUEUES; q++) {
		m.limit[q] = q == 0 ? 3 : QUEUE_UNLIMITED;
		queue_set_limit(queues[q], m.limit[q]);
		m.paused[q] = false;
		queue_set_paused(queues[q], false);
		m_unpark(q);
	}
}

START_TEST(it_starts_what_the_model_starts)
{
	const char *given = getenv("SLOT_SEED");

	seed = given != NULL ? strtoull(given, NULL, 0) : 20240301;
	state = seed * 2654435761u + 88172645463325252u;
	memset(&m, 0, sizeof m);
	queues[0] = queue;
	queues[1] = queue_add(set, "a");
	queues[2] = queue_add(set, "b");
	for (int step = 0; step < 60000; step++) {
		bool same;

		nstarted = 0;
		if (step % 2000 == 0)
			m_change_pace(step % 4000 != 0);
		m_step();
		if (m.used > m.total) { /* the limit was lowered */
			m.nstarted = 0;
		} else {
			m_kick();
		}
		run();
		if (nstarted != m.nstarted ||
		    memcmp(started, m.started, nstarted * sizeof *started) != 0)
			ck_abort_msg("SLOT_SEED=%llu step %d: %zu started, first %llu; the model: "
			    "%zu, first %llu", seed, step, nstarted,
			    (unsigned long long)(nstarted > 0 ? started[0] : 0), m.nstarted,
			    (unsigned long long)(m.nstarted > 0 ? m.started[0] : 0));
		same = slot_executor_running(executor) == m.used;
		for (int q = 0; q < QUEUES; q++)
			same &= queue_running(queues[q]) == m.running[q];
		if (!same)
			ck_abort_msg("SLOT_SEED=%llu step %d: slots in use differ", seed, step);
	}
	while (m.n > 0)
		m_remove(0);
	for (int q = 0; q < QUEUES; q++) {
		ck_assert_uint_eq(queue_running(queues[q]), 0);
		ck_assert_uint_eq(queue_pending(queues[q]), 0);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("engine queue");
	TCase *tc = tcase_create("queue");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, first_come_first_started);
	tcase_add_test(tc, priority_goes_before_order);
	tcase_add_test(tc, one_that_comes_back_takes_its_old_place);
	tcase_add_test(tc, users_take_turns_by_slots);
	tcase_add_test(tc, a_user_who_comes_late_begins_at_the_present);
	tcase_add_test(tc, priority_orders_one_user_s_jobs_only);
	tcase_add_test(tc, a_queue_has_a_limit_of_its_own);
	tcase_add_test(tc, a_paused_queue_starts_nothing);
	tcase_add_test(tc, a_queue_with_jobs_stays);
	tcase_add_test(tc, an_impossible_job_is_parked);
	tcase_add_test(tc, after_64_overtakings_nothing_passes);
	tcase_add_test(tc, a_queue_is_reserved_for_its_starved_head);
	tcase_add_test(tc, a_place_between_others_is_found_soon);
	tcase_add_test(tc, it_starts_what_the_model_starts);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
