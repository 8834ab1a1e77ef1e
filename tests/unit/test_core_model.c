/*
 * The executor against a model that is too simple to be wrong: an array of actions in the order
 * of submitting, searched from the start for every decision. Random operations, known seeds.
 */
#include "core_fixture.h"

enum {
	ACTIONS_MAX = 2000,
	STEPS = 4000,
	SLOTS_MAX = 6,
	LIMIT_MAX = 8,
};

enum phase { PHASE_PENDING, PHASE_RUNNING, PHASE_DONE };

struct model_action {
	struct slot_future *future;
	unsigned slots;
	int priority;
	enum phase phase; /* what the model says */
	bool started;     /* what happened */
	bool cancelled;
};

struct model {
	struct slot_executor *ex;
	struct model_action actions[ACTIONS_MAX];
	size_t n;
	unsigned max_running;
	unsigned running;
	size_t pending;
	bool paused;
	unsigned short seed[3];
};

static struct model m;

static unsigned
chance(unsigned n)
{
	return (unsigned)(nrand48(m.seed) % (long)n);
}

/* The first in order of those that could start at all, or NULL. */
static struct model_action *
model_head(void)
{
	struct model_action *head = NULL;

	for (size_t i = 0; i < m.n; i++) {
		struct model_action *a = &m.actions[i];

		if (a->phase == PHASE_PENDING && a->slots <= m.max_running &&
		    (head == NULL || a->priority > head->priority))
			head = a;
	}
	return head;
}

static void
model_start_what_fits(void)
{
	struct model_action *a;

	while (!m.paused && m.running < m.max_running && (a = model_head()) != NULL &&
	    a->slots <= m.max_running - m.running) {
		a->phase = PHASE_RUNNING;
		m.running += a->slots;
		m.pending--;
	}
}

static void
model_end(struct model_action *a)
{
	if (a->phase == PHASE_RUNNING)
		m.running -= a->slots;
	else
		m.pending--;
	a->phase = PHASE_DONE;
}

static int
start(struct slot_future *f, void *arg)
{
	struct model_action *a = arg;

	ck_assert(!slot_future_done(f));
	ck_assert(!a->started);
	ck_assert(!a->cancelled);
	a->started = true;
	return 0;
}

static void
do_submit(void)
{
	struct model_action *a = &m.actions[m.n];
	struct slot_submit_options options;

	if (m.n == ACTIONS_MAX)
		return;
	m.n++;
	m.pending++;
	a->slots = 1 + chance(SLOTS_MAX);
	a->priority = (int)chance(5) * 50 - 100;
	options = (struct slot_submit_options){.slots = a->slots, .priority = a->priority};
	a->future = slot_executor_submit(m.ex, start, NULL, a, &options, NULL);
	ck_assert_ptr_nonnull(a->future);
}

/* Some action that is not done; NULL where luck finds none. */
static struct model_action *
pick(void)
{
	for (int tries = 0; tries < 200 && m.n > 0; tries++) {
		struct model_action *a = &m.actions[chance((unsigned)m.n)];

		if (a->phase != PHASE_DONE)
			return a;
	}
	return NULL;
}

static void
do_end(void)
{
	struct model_action *a = pick();

	if (a == NULL || a->phase != PHASE_RUNNING)
		return;
	if (chance(2) == 0)
		succeed(a->future);
	else
		break_future(a->future);
	model_end(a);
}

static void
do_cancel(void)
{
	struct model_action *a = chance(2) == 0 ? model_head() : pick();

	if (a == NULL)
		return;
	ck_assert(slot_future_cancel(a->future));
	a->cancelled = true;
	model_end(a);
}

static void
do_limit(void)
{
	m.max_running = chance(LIMIT_MAX + 1);
	slot_executor_set_max_running(m.ex, m.max_running);
}

static void
do_pause(void)
{
	m.paused = !m.paused;
	if (m.paused)
		slot_executor_pause(m.ex);
	else
		slot_executor_resume(m.ex);
}

static void
step(void)
{
	unsigned what = chance(100);

	if (what < 45)
		do_submit();
	else if (what < 85)
		do_end();
	else if (what < 93)
		do_cancel();
	else if (what < 97)
		do_limit();
	else
		do_pause();
}

static void
compare(void)
{
	ck_assert_uint_eq(slot_executor_running(m.ex), m.running);
	ck_assert_uint_eq(slot_executor_pending(m.ex), m.pending);
	for (size_t i = 0; i < m.n; i++) {
		const struct model_action *a = &m.actions[i];

		/* An assertion costs a system call: only where it fails. */
		if (slot_future_done(a->future) != (a->phase == PHASE_DONE) ||
		    (a->phase != PHASE_DONE && a->started != (a->phase == PHASE_RUNNING)))
			ck_abort_msg("action %zu differs", i);
	}
}

START_TEST(random_operations_agree_with_the_model)
{
	memset(&m, 0, sizeof(m));
	m.seed[0] = (unsigned short)(_i + 1);
	m.max_running = 4;
	m.ex = slot_executor_new(loop, 4, NULL, NULL);
	ck_assert_ptr_nonnull(m.ex);
	for (int i = 0; i < STEPS; i++) {
		/* Often several operations meet in one pass. */
		step();
		if (chance(3) == 0)
			continue;
		run();
		model_start_what_fits();
		if (chance(2) == 0)
			compare();
	}
	run();
	model_start_what_fits();
	compare();
	for (size_t i = 0; i < m.n; i++)
		(void)slot_future_cancel(m.actions[i].future);
	slot_executor_free(m.ex);
	for (size_t i = 0; i < m.n; i++)
		slot_future_unref(m.actions[i].future);
	run();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_model");
	TCase *tc = tcase_create("model");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, random_operations_agree_with_the_model, 0, 8);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
