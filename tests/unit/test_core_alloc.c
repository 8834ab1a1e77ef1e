/*
 * Memory of src/core: each allocation of every constructor fails once, and nothing is leaked,
 * left behind on an input, or half made. And what `limited` holds does not grow.
 */
#include "alloc_fixture.h"
#include "core_fixture.h"

#include "core/executor.h"

#include <event2/event.h>

/* What went wrong in a scenario; assertions allocate, so they wait. */
static const char *wrong;

static void
expect(bool true_enough, const char *what)
{
	if (!true_enough && wrong == NULL)
		wrong = what;
}

/* Runs the scenario with its 1st allocation failing, with its 2nd… until none fails. */
static void
fail_each(void (*scenario)(void))
{
	long before = live;
	long n = 0;

	wrong = NULL;
	do {
		fail_in = ++n;
		refused = false;
		scenario();
		fail_in = 0;
		expect(live == before, "something is left over");
		if (wrong != NULL)
			ck_abort_msg("with allocation %ld failing: %s", n, wrong);
	} while (refused);
	ck_assert_int_gt(n, 1);
}

/* ---- loop and future ---- */

static struct event_base *base;

static void
loop_scenario(void)
{
	struct slot_loop *l = slot_loop_new(base);

	expect((l == NULL) == refused, "slot_loop_new");
	slot_loop_free(l);
	l = slot_loop_new_manual(0, 0);
	slot_loop_free(l);
}

static void
ignore_timer(struct slot_timer *timer)
{
	(void)timer;
}

static void
timer_scenario(void)
{
	struct slot_loop *l = slot_loop_new_manual(0, 0);
	struct slot_timer timers[40];

	for (int i = 0; i < 40 && l != NULL; i++) {
		int rc;

		timers[i] = (struct slot_timer){.fire = ignore_timer};
		rc = slot_loop_timer_set(l, &timers[i], i);
		expect(rc == (slot_timer_armed(&timers[i]) ? 0 : -SLOT_ENOMEM), "timer_set");
	}
	if (l != NULL)
		slot_loop_advance(l, 100);
	slot_loop_free(l);
}

static void
count_callback(struct slot_future *f, void *arg)
{
	unsigned *calls = arg;

	(void)f;
	(*calls)++;
}

static void
callbacks_scenario(void)
{
	struct slot_future *f = slot_future_new(loop);
	unsigned added = 0, calls = 0;

	if (f == NULL)
		return;
	for (int i = 0; i < 10; i++)
		added += slot_future_add_done_callback(f, count_callback, &calls) == 0;
	expect(added == (refused ? 9 : 10) || added == 10, "add_done_callback");
	(void)slot_future_set_result(f, NULL, NULL);
	slot_loop_run_due(loop, 0);
	expect(calls == added, "callbacks that were added run");
	slot_future_unref(f);
}

START_TEST(loops_timers_and_callbacks)
{
	base = event_base_new();
	fail_each(loop_scenario);
	event_base_free(base);
	fail_each(timer_scenario);
	fail_each(callbacks_scenario);
}
END_TEST

/* ---- executor ---- */

static int
start_at_once(struct slot_future *f, void *arg)
{
	(void)arg;
	return slot_future_set_result(f, NULL, NULL);
}

static void
executor_scenario(void)
{
	struct slot_executor *ex = slot_executor_new(loop, 1, NULL, NULL);
	struct slot_future *f, *drained;
	int error = 0;

	if (ex == NULL)
		return;
	f = slot_executor_submit(ex, start_at_once, NULL, NULL, NULL, &error);
	expect(error == (f != NULL ? 0 : -SLOT_ENOMEM), "submit says why");
	expect(slot_executor_pending(ex) == (f != NULL ? 1 : 0), "a failed submit leaves nothing");
	drained = slot_executor_drain(ex);
	if (drained == NULL) {
		slot_future_unref(slot_executor_submit(ex, start_at_once, NULL, NULL, NULL,
		    &error));
		expect(error != -SLOT_ECLOSED, "a failed drain refuses nothing");
	}
	slot_loop_run_due(loop, 0);
	slot_future_unref(drained);
	slot_future_unref(f);
	slot_executor_free(ex);
}

START_TEST(executor)
{
	fail_each(executor_scenario);
}
END_TEST

/* ---- combinators ---- */

enum { INPUTS = 5 };

static struct slot_loop *fresh; /* whose timers have no memory yet */
static struct slot_future inputs[INPUTS];
static struct slot_future *given[INPUTS + 1];

static void
keep(struct slot_future *f)
{
	(void)f;
}

/* Inputs that need no memory; the last one is done already, the first one given twice. False:
 * it was the loop for which there was none. */
static bool
init_inputs(void)
{
	static const struct slot_future_ops ops = {.destroy = keep};

	fresh = slot_loop_new_manual(0, 0);
	if (fresh == NULL)
		return false;
	for (int i = 0; i < INPUTS; i++) {
		slot_future_init(&inputs[i], fresh, &ops);
		given[i] = &inputs[i];
	}
	given[INPUTS] = &inputs[0];
	(void)slot_future_set_result(&inputs[INPUTS - 1], NULL, NULL);
	return true;
}

static void
fini_inputs(void)
{
	for (int i = 0; i < INPUTS; i++) {
		expect(inputs[i].refs == 1, "an input is still held");
		expect(inputs[i].callbacks == NULL, "an input still has a callback");
	}
	slot_loop_free(fresh);
}

static void
settle_inputs(void)
{
	for (int i = 0; i < INPUTS; i++)
		(void)slot_future_set_result(&inputs[i], NULL, NULL);
	slot_loop_run_due(fresh, 0);
}

static void
as_completed_scenario(void)
{
	struct slot_as_completed *ac;
	struct slot_future *f;
	unsigned taken = 0;
	int error = 0;

	if (!init_inputs())
		return;
	ac = slot_as_completed_new(fresh, given, INPUTS + 1, 1000, NULL, NULL, &error);
	if (ac == NULL) {
		expect(error == -SLOT_ENOMEM, "as_completed says why");
		fini_inputs();
		return;
	}
	settle_inputs();
	while ((f = slot_as_completed_next(ac)) != NULL) {
		slot_future_unref(f);
		taken++;
	}
	expect(taken == INPUTS, "as_completed delivers all");
	slot_as_completed_free(ac);
	fini_inputs();
}

/* For wait and gather: NULL, or done once the inputs are. */
static void
expect_future(struct slot_future *f, int error)
{
	if (f == NULL) {
		expect(error == -SLOT_ENOMEM, "it says why");
		fini_inputs();
		return;
	}
	settle_inputs();
	expect(slot_future_result(f, NULL) == 0, "it has its result");
	slot_future_unref(f);
	fini_inputs();
}

static void
wait_scenario(void)
{
	int error = 0;
	struct slot_future *f;

	if (!init_inputs())
		return;
	f = slot_wait(fresh, given, INPUTS + 1, SLOT_ALL_COMPLETED, 1000, &error);
	expect_future(f, error);
}

static void
gather_scenario(void)
{
	int error = 0;
	struct slot_future *f;

	if (!init_inputs())
		return;
	f = slot_gather(fresh, given, INPUTS + 1, SLOT_GATHER_RAISE, &error);
	expect_future(f, error);
}

START_TEST(as_completed_wait_and_gather)
{
	fail_each(as_completed_scenario);
	fail_each(wait_scenario);
	fail_each(gather_scenario);
}
END_TEST

/* ---- limited ---- */

struct sequence {
	unsigned left;
	unsigned made;
	unsigned handed_over;
	long live_peak;
};

static struct slot_future *
next(void *arg)
{
	struct sequence *s = arg;
	struct slot_future *f;

	if (s->left == 0)
		return NULL;
	s->left--;
	if (live > s->live_peak)
		s->live_peak = live;
	f = slot_future_new(loop);
	if (f == NULL)
		return NULL;
	(void)slot_future_set_result(f, NULL, NULL);
	s->made++;
	return f;
}

static void
item(struct slot_future *f, void *arg)
{
	struct sequence *s = arg;

	(void)f;
	s->handed_over++;
}

static void
limited_scenario(void)
{
	struct sequence s = {.left = 6};
	int error = 0;
	struct slot_future *f = slot_limited(loop, 2, next, item, &s, &error);
	int rc;

	if (f == NULL) {
		expect(error == -SLOT_ENOMEM, "limited says why");
		return;
	}
	slot_loop_run_due(loop, 0);
	rc = slot_future_result(f, NULL);
	expect(rc == 0 || (refused && rc == -SLOT_ENOMEM), "limited ends");
	/* The one that it could not listen to is cancelled instead. */
	expect(s.handed_over == s.made || (rc == -SLOT_ENOMEM && s.handed_over + 1 == s.made),
	    "every item is handed over");
	slot_future_unref(f);
}

START_TEST(limited)
{
	fail_each(limited_scenario);
}
END_TEST

START_TEST(limited_holds_no_more_after_a_million_items)
{
	enum { LIMIT = 64 };
	struct sequence s = {.left = 1000000};
	long before = live;
	struct slot_future *f = slot_limited(loop, LIMIT, next, item, &s, NULL);

	slot_loop_run_due(loop, 0);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	ck_assert_uint_eq(s.handed_over, 1000000);
	/* An item, its future and its callbacks; and the whole. */
	ck_assert_int_le(s.live_peak, before + 3 * LIMIT + 1);
	slot_future_unref(f);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_alloc");
	TCase *tc = tcase_create("alloc");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, loops_timers_and_callbacks);
	tcase_add_test(tc, executor);
	tcase_add_test(tc, as_completed_wait_and_gather);
	tcase_add_test(tc, limited);
	tcase_add_test(tc, limited_holds_no_more_after_a_million_items);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
