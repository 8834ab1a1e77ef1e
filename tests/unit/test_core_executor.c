/*
 * The executor: slots, order, limits, cancel, drain, and the inside that owners of embedded
 * actions use. The traps of the pattern it mends each have a test: an action that fails frees
 * its slot, cancel and drain exist, the limit changes live, no chain needs stack.
 */
#include "core_fixture.h"

#include "core/executor.h"

#include <event2/event.h>

static struct slot_executor *ex;

/* What the actions of a test did. An action runs until the test settles it. */
static struct slot_future *started[64];
static unsigned nstarted;

static void
setup_executor(void)
{
	setup();
	nstarted = 0;
	ex = slot_executor_new(loop, 2, NULL, NULL);
	ck_assert_ptr_nonnull(ex);
}

static void
teardown_executor(void)
{
	slot_executor_free(ex);
	ex = NULL;
	run();
	teardown();
}

/* Starts by writing its arg. */
static int
start_marked(struct slot_future *f, void *arg)
{
	trace_add(arg);
	started[nstarted++ % 64] = f;
	return 0;
}

static int
start_and_succeed(struct slot_future *f, void *arg)
{
	if (arg != NULL)
		trace_add(arg);
	return slot_future_set_result(f, NULL, NULL);
}

static struct slot_future *
submit_with(slot_action_start_cb start, const char *mark, unsigned slots, int priority)
{
	struct slot_submit_options options = {.slots = slots, .priority = priority};
	int error = 1;
	char *arg = NULL;
	struct slot_future *f;

	memcpy(&arg, &mark, sizeof(arg));
	f = slot_executor_submit(ex, start, NULL, arg, &options, &error);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(error, 0);
	return f;
}

static struct slot_future *
submit(const char *mark)
{
	return submit_with(start_marked, mark, 0, 0);
}

/* ---- slots and order ---- */

START_TEST(eleven_actions_limit_four_start_as_slots_free)
{
	static const char *const marks[11] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
	    "k"};
	struct slot_future *f[11];

	slot_executor_set_max_running(ex, 4);
	for (int i = 0; i < 11; i++)
		f[i] = submit(marks[i]);
	trace_is(""); /* from the loop, not inside submit */
	run();
	trace_is("abcd");
	ck_assert_uint_eq(slot_executor_running(ex), 4);
	ck_assert_uint_eq(slot_executor_pending(ex), 7);
	succeed(started[1]);
	break_future(started[3]);
	run();
	trace_is("ef");
	for (unsigned i = 0; i < nstarted; i++) {
		(void)slot_future_set_result(started[i], NULL, NULL);
		run();
		ck_assert_uint_le(slot_executor_running(ex), 4);
	}
	trace_is("ghijk");
	ck_assert_uint_eq(slot_executor_running(ex), 0);
	for (int i = 0; i < 11; i++)
		ck_assert_int_eq(slot_future_result(f[i], NULL), i == 3 ? E_BROKEN : 0);
	unref_all(f, 11);
}
END_TEST

START_TEST(higher_priorities_start_first_and_each_in_order)
{
	struct slot_future *f[6];

	slot_executor_set_max_running(ex, 1);
	f[0] = submit_with(start_and_succeed, "a", 1, 0);
	f[1] = submit_with(start_and_succeed, "b", 1, -100);
	f[2] = submit_with(start_and_succeed, "c", 1, 100);
	f[3] = submit_with(start_and_succeed, "d", 1, 0);
	f[4] = submit_with(start_and_succeed, "e", 1, 63);
	f[5] = submit_with(start_and_succeed, "f", 1, 100);
	run();
	trace_is("cfeadb");
	unref_all(f, 6);
}
END_TEST

START_TEST(a_head_that_does_not_fit_is_passed_by_nothing)
{
	struct slot_future *f[4];

	slot_executor_set_max_running(ex, 4);
	f[0] = submit_with(start_marked, "a", 2, 0);
	f[1] = submit_with(start_marked, "W", 3, 0);
	f[2] = submit_with(start_marked, "b", 1, 0);
	f[3] = submit_with(start_marked, "l", 1, -5);
	run();
	trace_is("a");
	succeed(started[0]);
	run();
	trace_is("Wb");
	ck_assert_uint_eq(slot_executor_running(ex), 4);
	succeed(started[2]);
	run();
	trace_is("l");
	succeed(started[1]);
	succeed(started[3]);
	ck_assert_uint_eq(slot_executor_running(ex), 0);
	unref_all(f, 4);
}
END_TEST

START_TEST(a_wider_action_than_the_limit_holds_nobody_up_and_keeps_its_place)
{
	struct slot_future *f[5];

	f[0] = submit_with(start_marked, "V", 3, 0);
	f[1] = submit_with(start_marked, "W", 3, 0);
	f[2] = submit_with(start_marked, "a", 2, 0);
	f[3] = submit_with(start_marked, "b", 2, 0);
	f[4] = submit_with(start_marked, "Z", 4, 0);
	run();
	trace_is("a");
	ck_assert_uint_eq(slot_executor_pending(ex), 4);
	slot_executor_set_max_running(ex, 3);
	succeed(started[0]);
	run();
	trace_is("V");
	succeed(started[1]);
	run();
	trace_is("W");
	slot_executor_set_max_running(ex, 2);
	succeed(started[2]);
	run();
	trace_is("b");
	succeed(started[3]);
	run();
	trace_is("");
	/* One that waits aside can be cancelled, and can be the last. */
	ck_assert(slot_future_cancel(f[4]));
	ck_assert_uint_eq(slot_executor_pending(ex), 0);
	unref_all(f, 5);
}
END_TEST

START_TEST(actions_aside_can_be_cancelled_in_any_place)
{
	struct slot_future *f[5];

	for (int i = 0; i < 5; i++)
		f[i] = submit_with(start_marked, "w", 9, 0);
	slot_future_unref(submit_with(start_marked, "a", 1, 0));
	run();
	trace_is("a");
	slot_future_cancel(f[2]);
	slot_future_cancel(f[0]);
	slot_future_cancel(f[4]);
	slot_executor_set_max_running(ex, 100);
	run();
	trace_is("ww");
	succeed(started[0]);
	succeed(f[1]);
	succeed(f[3]);
	unref_all(f, 5);
}
END_TEST

/* ---- limits ---- */

START_TEST(a_limit_of_zero_starts_nothing_until_it_is_raised)
{
	struct slot_future *f;

	slot_executor_set_max_running(ex, 0);
	f = submit("a");
	run();
	trace_is("");
	ck_assert_uint_eq(slot_executor_max_running(ex), 0);
	slot_executor_set_max_running(ex, 1);
	run();
	trace_is("a");
	succeed(f);
	slot_future_unref(f);
}
END_TEST

START_TEST(lowering_the_limit_ends_nothing_and_starts_nothing_above_it)
{
	struct slot_future *f[6];

	slot_executor_set_max_running(ex, 3);
	for (int i = 0; i < 6; i++)
		f[i] = submit("x");
	run();
	trace_is("xxx");
	slot_executor_set_max_running(ex, 1);
	run();
	ck_assert_uint_eq(slot_executor_running(ex), 3);
	succeed(started[0]);
	succeed(started[1]);
	run();
	trace_is("");
	succeed(started[2]);
	run();
	trace_is("x");
	slot_executor_set_max_running(ex, 50);
	run();
	trace_is("xx");
	for (int i = 3; i < 6; i++)
		succeed(started[i]);
	unref_all(f, 6);
}
END_TEST

START_TEST(while_paused_nothing_starts)
{
	struct slot_future *f = submit("a");

	slot_executor_pause(ex);
	run();
	trace_is("");
	slot_executor_resume(ex);
	run();
	trace_is("a");
	succeed(f);
	slot_future_unref(f);
}
END_TEST

/* ---- how actions end ---- */

static int
start_fails(struct slot_future *f, void *arg)
{
	(void)f;
	(void)arg;
	return E_BROKEN;
}

static int
settle_and_return_failure(struct slot_future *f, void *arg)
{
	(void)arg;
	succeed(f);
	return E_BROKEN;
}

START_TEST(an_action_that_cannot_start_fails_and_frees_its_slot)
{
	struct slot_future *f[4];

	f[0] = submit_with(start_fails, NULL, 2, 0);
	f[1] = submit_with(settle_and_return_failure, NULL, 1, 0);
	f[2] = submit_with(start_fails, NULL, 1, 0);
	f[3] = submit("a");
	run();
	trace_is("a");
	ck_assert_int_eq(slot_future_result(f[0], NULL), E_BROKEN);
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	ck_assert_int_eq(slot_future_result(f[2], NULL), E_BROKEN);
	ck_assert_uint_eq(slot_executor_running(ex), 1);
	succeed(f[3]);
	unref_all(f, 4);
}
END_TEST

START_TEST(a_dropped_future_runs_all_the_same)
{
	slot_future_unref(submit("a"));
	slot_future_unref(submit_with(start_and_succeed, "b", 1, 0));
	run();
	trace_is("ab");
	ck_assert_uint_eq(slot_executor_running(ex), 1);
	succeed(started[0]);
	ck_assert_uint_eq(slot_executor_running(ex), 0);
}
END_TEST

static int
submit_next(struct slot_future *f, void *arg)
{
	unsigned *left = arg;

	if (--*left > 0)
		slot_future_unref(slot_executor_submit(ex, submit_next, NULL, arg, NULL, NULL));
	return slot_future_set_result(f, NULL, NULL);
}

START_TEST(a_chain_of_a_million_actions_needs_no_stack)
{
	unsigned left = 1000000;

	slot_future_unref(slot_executor_submit(ex, submit_next, NULL, &left, NULL, NULL));
	run();
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(slot_executor_running(ex), 0);
}
END_TEST

START_TEST(actions_that_end_at_once_leave_the_loop_its_turn)
{
	unsigned left = 10000;

	slot_future_unref(slot_executor_submit(ex, submit_next, NULL, &left, NULL, NULL));
	slot_loop_run_due(loop, 1);
	ck_assert_uint_eq(left, 10000 - 256);
	run();
	ck_assert_uint_eq(left, 0);
}
END_TEST

static void
submit_more(struct slot_future *f, void *arg)
{
	(void)f;
	slot_future_unref(submit_with(start_and_succeed, arg, 1, 0));
}

START_TEST(a_callback_submits)
{
	struct slot_future *f = submit_with(start_and_succeed, "a", 1, 0);

	slot_future_add_done_callback(f, submit_more, "b");
	run();
	trace_is("ab");
	slot_future_unref(f);
}
END_TEST

START_TEST(callbacks_come_before_the_start_that_the_slot_makes_possible)
{
	struct slot_future *f[2];

	slot_executor_set_max_running(ex, 1);
	f[0] = submit("a");
	f[1] = submit("b");
	run();
	slot_future_add_done_callback(f[0], trace_mark, "-");
	succeed(f[0]);
	run();
	trace_is("a-b");
	succeed(f[1]);
	unref_all(f, 2);
}
END_TEST

/* ---- cancel ---- */

START_TEST(cancel_while_pending_never_starts)
{
	struct slot_future *f[4];

	for (int i = 0; i < 4; i++)
		f[i] = submit(i == 2 ? "C" : "x");
	slot_future_add_done_callback(f[2], trace_mark, "cancelled;");
	run();
	trace_is("xx");
	ck_assert(slot_future_cancel(f[2]));
	ck_assert(slot_future_cancelled(f[2]));
	ck_assert(!slot_future_cancel(f[2]));
	ck_assert_uint_eq(slot_executor_pending(ex), 1);
	succeed(f[0]);
	run();
	trace_is("cancelled;x");
	succeed(f[1]);
	succeed(f[3]);
	unref_all(f, 4);
}
END_TEST

START_TEST(cancelling_the_head_lets_the_next_pass)
{
	struct slot_future *f[3];

	f[0] = submit_with(start_marked, "a", 1, 0);
	f[1] = submit_with(start_marked, "W", 2, 0);
	f[2] = submit_with(start_marked, "b", 1, 0);
	run();
	trace_is("a");
	slot_future_cancel(f[1]);
	run();
	trace_is("b");
	succeed(f[0]);
	succeed(f[2]);
	unref_all(f, 3);
}
END_TEST

START_TEST(without_a_cancel_callback_a_running_action_is_cancelled_at_once)
{
	struct slot_future *f = submit("a");

	run();
	ck_assert(slot_future_cancel(f));
	ck_assert(slot_future_cancelled(f));
	ck_assert_uint_eq(slot_executor_running(ex), 0);
	ck_assert_int_eq(slot_future_set_result(f, NULL, NULL), -SLOT_EINVALSTATE);
	slot_future_unref(f);
}
END_TEST

static void
on_cancel(struct slot_future *f, void *arg)
{
	ck_assert(!slot_future_done(f));
	trace_add("!");
	trace_add(arg);
}

START_TEST(a_running_action_is_told_once_and_decides_how_it_ends)
{
	struct slot_future *f[2];

	f[0] = slot_executor_submit(ex, start_marked, on_cancel, "a", NULL, NULL);
	f[1] = slot_executor_submit(ex, start_marked, on_cancel, "b", NULL, NULL);
	run();
	trace_is("ab");
	ck_assert(slot_future_cancel(f[0]));
	ck_assert(slot_future_cancel(f[0]));
	ck_assert(slot_future_cancel(f[1]));
	trace_is("!a!b");
	ck_assert_uint_eq(slot_executor_running(ex), 2);
	ck_assert_int_eq(slot_future_set_cancelled(f[0]), 0);
	succeed(f[1]);
	ck_assert(slot_future_cancelled(f[0]));
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	ck_assert_uint_eq(slot_executor_running(ex), 0);
	unref_all(f, 2);
}
END_TEST

START_TEST(a_pending_action_with_a_cancel_callback_is_cancelled_without_it)
{
	struct slot_future *f;

	slot_executor_pause(ex);
	f = slot_executor_submit(ex, start_marked, on_cancel, "a", NULL, NULL);
	ck_assert(slot_future_cancel(f));
	ck_assert(slot_future_cancelled(f));
	trace_is("");
	slot_future_unref(f);
}
END_TEST

START_TEST(a_pending_action_settled_by_hand_never_starts)
{
	struct slot_future *f = submit("a");

	succeed(f);
	ck_assert_uint_eq(slot_executor_pending(ex), 0);
	run();
	trace_is("");
	slot_future_unref(f);
}
END_TEST

/* ---- submit, drain, free ---- */

START_TEST(what_can_never_be_right_is_refused)
{
	struct slot_submit_options options = {.slots = 1, .priority = 101};
	int error = 0;

	ck_assert_ptr_null(slot_executor_submit(ex, start_marked, NULL, NULL, &options, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	options.priority = -101;
	ck_assert_ptr_null(slot_executor_submit(ex, start_marked, NULL, NULL, &options, NULL));
	error = 0;
	ck_assert_ptr_null(slot_executor_submit(ex, NULL, NULL, NULL, NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	ck_assert_uint_eq(slot_executor_pending(ex), 0);
}
END_TEST

START_TEST(drain_waits_for_what_runs_and_what_waits)
{
	struct slot_future *f[3], *drained, *again;
	int error = 0;

	for (int i = 0; i < 3; i++)
		f[i] = submit("x");
	run();
	drained = slot_executor_drain(ex);
	again = slot_executor_drain(ex);
	ck_assert_ptr_eq(again, drained);
	ck_assert_ptr_null(slot_executor_submit(ex, start_marked, NULL, NULL, NULL, &error));
	ck_assert_int_eq(error, -SLOT_ECLOSED);
	succeed(f[0]);
	slot_future_cancel(f[2]);
	run();
	ck_assert(!slot_future_done(drained));
	break_future(f[1]);
	ck_assert_int_eq(slot_future_result(drained, NULL), 0);
	slot_future_unref(drained);
	slot_future_unref(again);
	unref_all(f, 3);
}
END_TEST

START_TEST(draining_an_idle_executor_is_done_at_once)
{
	struct slot_future *drained = slot_executor_drain(ex);

	ck_assert_int_eq(slot_future_result(drained, NULL), 0);
	slot_future_unref(drained);
	drained = slot_executor_drain(ex);
	ck_assert_int_eq(slot_future_result(drained, NULL), 0);
	slot_future_unref(drained);
}
END_TEST

START_TEST(cancelling_the_drain_future_disturbs_nothing)
{
	struct slot_future *f = submit("a"), *drained = slot_executor_drain(ex), *again;

	slot_future_cancel(drained);
	again = slot_executor_drain(ex);
	ck_assert_ptr_ne(again, drained);
	run();
	succeed(f);
	ck_assert(slot_future_cancelled(drained));
	ck_assert_int_eq(slot_future_result(again, NULL), 0);
	slot_future_unref(drained);
	slot_future_unref(again);
	slot_future_unref(f);
}
END_TEST

START_TEST(freeing_cancels_what_waits_and_lets_go_of_what_runs)
{
	struct slot_future *f[5], *drained;

	for (int i = 0; i < 4; i++)
		f[i] = submit("x");
	f[4] = submit_with(start_marked, "W", 99, 7); /* aside */
	run();
	trace_is("xx");
	drained = slot_executor_drain(ex);
	slot_executor_free(ex);
	ex = NULL;
	for (int i = 2; i < 5; i++)
		ck_assert(slot_future_cancelled(f[i]));
	ck_assert(slot_future_cancelled(drained));
	succeed(f[0]);
	run();
	slot_future_unref(f[1]);
	slot_future_cancel(started[1]);
	trace_is("");
	slot_future_unref(drained);
	slot_future_unref(f[0]);
	unref_all(f + 2, 3);
	slot_executor_free(NULL);
}
END_TEST

static int
start_and_free(struct slot_future *f, void *arg)
{
	(void)arg;
	slot_executor_free(ex);
	ex = NULL;
	return slot_future_set_result(f, NULL, NULL);
}

START_TEST(an_action_frees_its_executor)
{
	struct slot_future *f[2];

	f[0] = submit_with(start_and_free, NULL, 1, 0);
	f[1] = submit("never");
	run();
	trace_is("");
	ck_assert_int_eq(slot_future_result(f[0], NULL), 0);
	ck_assert(slot_future_cancelled(f[1]));
	unref_all(f, 2);
}
END_TEST

/* ---- embedded actions ---- */

struct owner {
	struct slot_action action;
	char *mark;
	int start_code;
	bool kicks;
	bool destroyed;
};

static struct owner *
owner_of(struct slot_action *a)
{
	return slot_container_of(a, struct owner, action);
}

static int
owner_start(struct slot_action *a)
{
	struct owner *o = owner_of(a);

	ck_assert_int_eq(slot_action_state(a), SLOT_ACTION_RUNNING);
	trace_add(o->mark);
	if (o->kicks) {
		slot_executor_kick(ex); /* returns at once */
		trace_add("|");
	}
	return o->start_code;
}

static void
owner_destroy(struct slot_future *f)
{
	owner_of(slot_container_of(f, struct slot_action, future))->destroyed = true;
}

static const struct slot_action_ops owner_ops = {
	.future = {.destroy = owner_destroy},
	.start = owner_start,
};

static void
owner_init(struct owner *o, char *mark)
{
	memset(o, 0, sizeof(*o));
	o->mark = mark;
	slot_action_init(&o->action, ex, &owner_ops, 0, 5);
}

START_TEST(an_embedded_action_starts_inside_the_kick)
{
	struct owner o[3];

	owner_init(&o[0], "a");
	owner_init(&o[1], "b");
	owner_init(&o[2], "c");
	o[0].kicks = true;
	ck_assert_uint_eq(slot_action_slots(&o[0].action), 1);
	ck_assert_int_eq(slot_action_priority(&o[0].action), 5);
	ck_assert_ptr_null(slot_action_arg(&o[0].action));
	for (int i = 0; i < 3; i++) {
		slot_executor_push(ex, &o[i].action);
		ck_assert_int_eq(slot_action_state(&o[i].action), SLOT_ACTION_PENDING);
	}
	run();
	trace_is("");
	slot_executor_kick(ex);
	trace_is("a|b");
	succeed(&o[0].action.future);
	ck_assert_uint_eq(slot_executor_running(ex), 2); /* the owner says when it has ended */
	slot_action_release(&o[0].action);
	ck_assert_int_eq(slot_action_state(&o[0].action), SLOT_ACTION_IDLE);
	slot_action_release(&o[1].action);
	trace_is("");
	run();
	trace_is("c");
	/* An idle action may come again: a retry. */
	slot_executor_push(ex, &o[1].action);
	slot_executor_kick(ex);
	trace_is("b");
	slot_action_release(&o[1].action);
	slot_action_release(&o[2].action);
	for (int i = 0; i < 3; i++) {
		slot_future_unref(&o[i].action.future);
		ck_assert(o[i].destroyed);
	}
}
END_TEST

START_TEST(a_withdrawn_action_is_idle_and_its_future_untouched)
{
	struct owner o;

	owner_init(&o, "a");
	slot_executor_push(ex, &o.action);
	slot_executor_withdraw(ex, &o.action);
	slot_executor_kick(ex);
	trace_is("");
	ck_assert_int_eq(slot_action_state(&o.action), SLOT_ACTION_IDLE);
	ck_assert(!slot_future_done(&o.action.future));
	slot_future_unref(&o.action.future);
}
END_TEST

START_TEST(an_embedded_action_that_cannot_start_is_settled_and_released)
{
	struct owner o;

	owner_init(&o, "a");
	o.start_code = E_BROKEN;
	slot_executor_push(ex, &o.action);
	slot_executor_kick(ex);
	ck_assert_int_eq(slot_future_result(&o.action.future, NULL), E_BROKEN);
	ck_assert_int_eq(slot_action_state(&o.action), SLOT_ACTION_IDLE);
	ck_assert_uint_eq(slot_executor_running(ex), 0);
	slot_future_unref(&o.action.future);
}
END_TEST

START_TEST(freeing_withdraws_and_cancels_embedded_actions)
{
	struct owner o[2];

	slot_executor_set_max_running(ex, 1);
	owner_init(&o[0], "a");
	owner_init(&o[1], "b");
	slot_executor_push(ex, &o[0].action);
	slot_executor_push(ex, &o[1].action);
	slot_executor_kick(ex);
	slot_executor_free(ex);
	ex = NULL;
	ck_assert(slot_future_cancelled(&o[1].action.future));
	ck_assert_int_eq(slot_action_state(&o[1].action), SLOT_ACTION_IDLE);
	slot_action_release(&o[0].action);
	slot_future_unref(&o[0].action.future);
	slot_future_unref(&o[1].action.future);
	trace_is("a");
}
END_TEST

/* ---- an order of the owner's own: last in, first out ---- */

struct stack {
	struct slot_action *top;
	int released;
};

static void
stack_push(void *policy, struct slot_action *a)
{
	struct stack *s = policy;

	slot_action_links(a)[0] = s->top;
	s->top = a;
}

static struct slot_action *
stack_next_fitting(void *policy, unsigned free_slots)
{
	struct stack *s = policy;

	return s->top != NULL && slot_action_slots(s->top) <= free_slots ? s->top : NULL;
}

static void
stack_remove(void *policy, struct slot_action *a)
{
	struct stack *s = policy;

	ck_assert_ptr_eq(s->top, a);
	s->top = slot_action_links(a)[0];
}

static void
stack_released(void *policy, struct slot_action *a)
{
	struct stack *s = policy;

	ck_assert_str_eq(slot_action_arg(a), "x");
	s->released++;
}

START_TEST(the_pending_order_can_be_replaced)
{
	static const struct slot_pending_ops ops = {.push = stack_push,
	    .next_fitting = stack_next_fitting, .remove = stack_remove, .released = stack_released};
	struct stack stack = {0};
	struct slot_future *f[3];

	slot_executor_free(ex);
	ex = slot_executor_new(loop, 1, &ops, &stack);
	for (int i = 0; i < 3; i++)
		f[i] = submit("x");
	run();
	succeed(f[2]);
	run();
	succeed(f[1]);
	run();
	ck_assert_int_eq(stack.released, 2);
	slot_executor_free(ex);
	ex = NULL;
	succeed(f[0]); /* the policy is not told any more */
	ck_assert_int_eq(stack.released, 2);
	unref_all(f, 3);
}
END_TEST

/* ---- on an event_base ---- */

static unsigned running_now, running_peak;

struct nap {
	struct slot_timer timer;
	struct slot_future *future;
};

static void
nap_ends(struct slot_timer *timer)
{
	struct nap *n = slot_container_of(timer, struct nap, timer);

	running_now--;
	ck_assert_int_eq(slot_future_set_result(n->future, NULL, NULL), 0);
}

static int
nap_start(struct slot_future *f, void *arg)
{
	struct nap *n = arg;

	n->timer.fire = nap_ends;
	n->future = f;
	if (++running_now > running_peak)
		running_peak = running_now;
	return slot_loop_timer_set(loop, &n->timer, slot_loop_in_ms(loop, 2));
}

START_TEST(eleven_naps_limit_four_then_gather_on_an_event_base)
{
	struct event_base *base = event_base_new();
	struct nap naps[11] = {0};
	struct slot_future *f[11], *all;

	slot_executor_free(ex);
	slot_loop_free(loop);
	loop = slot_loop_new(base);
	ex = slot_executor_new(loop, 4, NULL, NULL);
	running_now = running_peak = 0;
	for (int i = 0; i < 11; i++)
		f[i] = slot_executor_submit(ex, nap_start, NULL, &naps[i], NULL, NULL);
	all = slot_gather(loop, f, 11, SLOT_GATHER_RAISE, NULL);
	event_base_dispatch(base);
	ck_assert_int_eq(slot_future_result(all, NULL), 0);
	ck_assert_uint_eq(running_peak, 4);
	slot_future_unref(all);
	unref_all(f, 11);
	slot_executor_free(ex);
	slot_loop_free(loop);
	event_base_free(base);
	setup_executor();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_executor");
	TCase *tc = tcase_create("executor");

	tcase_add_checked_fixture(tc, setup_executor, teardown_executor);
	tcase_add_test(tc, eleven_actions_limit_four_start_as_slots_free);
	tcase_add_test(tc, higher_priorities_start_first_and_each_in_order);
	tcase_add_test(tc, a_head_that_does_not_fit_is_passed_by_nothing);
	tcase_add_test(tc, a_wider_action_than_the_limit_holds_nobody_up_and_keeps_its_place);
	tcase_add_test(tc, actions_aside_can_be_cancelled_in_any_place);
	tcase_add_test(tc, a_limit_of_zero_starts_nothing_until_it_is_raised);
	tcase_add_test(tc, lowering_the_limit_ends_nothing_and_starts_nothing_above_it);
	tcase_add_test(tc, while_paused_nothing_starts);
	tcase_add_test(tc, an_action_that_cannot_start_fails_and_frees_its_slot);
	tcase_add_test(tc, a_dropped_future_runs_all_the_same);
	tcase_add_test(tc, a_chain_of_a_million_actions_needs_no_stack);
	tcase_add_test(tc, actions_that_end_at_once_leave_the_loop_its_turn);
	tcase_add_test(tc, a_callback_submits);
	tcase_add_test(tc, callbacks_come_before_the_start_that_the_slot_makes_possible);
	tcase_add_test(tc, cancel_while_pending_never_starts);
	tcase_add_test(tc, cancelling_the_head_lets_the_next_pass);
	tcase_add_test(tc, without_a_cancel_callback_a_running_action_is_cancelled_at_once);
	tcase_add_test(tc, a_running_action_is_told_once_and_decides_how_it_ends);
	tcase_add_test(tc, a_pending_action_with_a_cancel_callback_is_cancelled_without_it);
	tcase_add_test(tc, a_pending_action_settled_by_hand_never_starts);
	tcase_add_test(tc, what_can_never_be_right_is_refused);
	tcase_add_test(tc, drain_waits_for_what_runs_and_what_waits);
	tcase_add_test(tc, draining_an_idle_executor_is_done_at_once);
	tcase_add_test(tc, cancelling_the_drain_future_disturbs_nothing);
	tcase_add_test(tc, freeing_cancels_what_waits_and_lets_go_of_what_runs);
	tcase_add_test(tc, an_action_frees_its_executor);
	tcase_add_test(tc, an_embedded_action_starts_inside_the_kick);
	tcase_add_test(tc, a_withdrawn_action_is_idle_and_its_future_untouched);
	tcase_add_test(tc, an_embedded_action_that_cannot_start_is_settled_and_released);
	tcase_add_test(tc, freeing_withdraws_and_cancels_embedded_actions);
	tcase_add_test(tc, the_pending_order_can_be_replaced);
	tcase_add_test(tc, eleven_naps_limit_four_then_gather_on_an_event_base);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
