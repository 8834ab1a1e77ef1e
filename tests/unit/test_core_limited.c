/*
 * limited: the bound on what is in flight, laziness, finish order, cancel - and the traps of the
 * original: no polling, an error ends nothing, a limit of 0 is refused.
 */
#include "core_fixture.h"

/* A sequence of `total` futures; how each one ends is the test's matter. */
struct sequence {
	unsigned total;
	unsigned made;
	unsigned handed_over;
	unsigned failed;
	unsigned peak;
	struct slot_future *(*make)(struct sequence *s);
	struct slot_future *last;   /* made; borrowed */
	struct slot_future *cancel; /* what the item callback or next cancels, at `cancel_at` */
	unsigned cancel_at;
	bool cancel_in_next;
};

static struct slot_future *
next(void *arg)
{
	struct sequence *s = arg;

	if (s->made == s->total)
		return NULL;
	s->made++;
	if (s->made - s->handed_over > s->peak)
		s->peak = s->made - s->handed_over;
	if (s->cancel_in_next && s->made == s->cancel_at)
		slot_future_cancel(s->cancel);
	s->last = s->make(s);
	return s->last;
}

static void
item(struct slot_future *f, void *arg)
{
	struct sequence *s = arg;

	if (!slot_future_done(f))
		ck_abort_msg("a future that is not done");
	s->handed_over++;
	if (slot_future_result(f, NULL) != 0)
		s->failed++;
	if (!s->cancel_in_next && s->handed_over == s->cancel_at)
		slot_future_cancel(s->cancel);
}

static struct slot_future *
limited(struct sequence *s, unsigned limit)
{
	int error = 1;
	struct slot_future *f = slot_limited(loop, limit, next, item, s, &error);

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(error, 0);
	slot_future_add_done_callback(f, trace_mark, "end");
	return f;
}

static struct slot_future *
make_done(struct sequence *s)
{
	struct slot_future *f = slot_future_new(loop);

	if (s->made % 3 == 0)
		(void)slot_future_set_exception(f, E_BROKEN, NULL, NULL);
	else
		(void)slot_future_set_result(f, NULL, NULL);
	return f;
}

/* The n-th of them sleeps 1/n s. */
static struct slot_future *
make_sleeper(struct sequence *s)
{
	return sleeping(1000 / (int64_t)s->made, s->made % 3 == 0 ? E_BROKEN : 0);
}

static struct slot_future *
make_pending(struct sequence *s)
{
	(void)s;
	return new_future();
}

START_TEST(a_hundred_sleepers_ten_at_a_time)
{
	struct sequence s = {.total = 100, .make = make_sleeper};
	struct slot_future *f = limited(&s, 10);

	ck_assert_uint_eq(s.made, 0); /* from the loop, not inside the call */
	run();
	ck_assert_uint_eq(s.made, 10);
	advance_ms(100); /* the tenth ends, and makes room for one */
	ck_assert_uint_eq(s.handed_over, s.made - 10);
	advance_ms(5000);
	trace_is("end");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	ck_assert_uint_eq(s.handed_over, 100);
	ck_assert_uint_eq(s.failed, 33);
	ck_assert_uint_eq(s.peak, 10);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_hundred_thousand_items_done_when_made)
{
	struct sequence s = {.total = 100000, .make = make_done};
	struct slot_future *f = limited(&s, 64);

	run();
	trace_is("end");
	ck_assert_uint_eq(s.handed_over, 100000);
	ck_assert_uint_eq(s.failed, 33333);
	ck_assert_uint_le(s.peak, 64);
	slot_future_unref(f);
}
END_TEST

START_TEST(an_empty_sequence_ends_with_a_result)
{
	struct sequence s = {.total = 0};
	struct slot_future *f = limited(&s, 3);

	ck_assert(!slot_future_done(f));
	run();
	trace_is("end");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_limit_wider_than_the_sequence_makes_all)
{
	struct sequence s = {.total = 1000, .make = make_sleeper};
	struct slot_future *f = limited(&s, UINT32_MAX);

	run();
	ck_assert_uint_eq(s.made, 1000);
	advance_ms(2000);
	trace_is("end");
	slot_future_unref(f);
}
END_TEST

START_TEST(a_limit_of_zero_and_no_sequence_are_refused)
{
	struct sequence s = {.total = 1};
	int error = 0;

	ck_assert_ptr_null(slot_limited(loop, 0, next, item, &s, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	ck_assert_ptr_null(slot_limited(loop, 1, NULL, item, &s, NULL));
}
END_TEST

static void
mark_order(struct slot_future *f, void *arg)
{
	void *mark = NULL;

	(void)arg;
	ck_assert_int_eq(slot_future_result(f, &mark), 0);
	trace_add(mark);
}

static struct slot_future *
next_of_list(void *arg)
{
	struct slot_future ***list = arg;

	return **list != NULL ? slot_future_ref(*(*list)++) : NULL;
}

START_TEST(items_come_in_the_order_in_which_they_end)
{
	struct slot_future *f[4] = {NULL}, **at = f, *l;

	new_futures(f, 3);
	slot_future_set_result(f[2], "c", NULL); /* done before it is asked for */
	l = slot_limited(loop, 2, next_of_list, mark_order, &at, NULL);
	run();
	trace_is("");
	slot_future_set_result(f[1], "b", NULL);
	slot_future_set_result(f[0], "a", NULL);
	run();
	trace_is("bac");
	ck_assert_int_eq(slot_future_result(l, NULL), 0);
	slot_future_unref(l);
	unref_all(f, 3);
}
END_TEST

START_TEST(the_same_future_may_be_given_again)
{
	struct slot_future *a = new_future(), *f[3] = {a, a, NULL}, **at = f, *l;

	l = slot_limited(loop, 5, next_of_list, mark_order, &at, NULL);
	run();
	slot_future_set_result(a, "a", NULL);
	run();
	trace_is("aa");
	slot_future_unref(l);
	slot_future_unref(a);
}
END_TEST

START_TEST(it_sleeps_until_a_future_ends)
{
	struct sequence s = {.total = 10, .make = make_pending};
	struct slot_future *f = limited(&s, 4);

	run();
	ck_assert_uint_eq(slot_loop_run_due(loop, 0), 0);
	advance_ms(100000);
	ck_assert_uint_eq(s.made, 4);
	succeed(s.last);
	run();
	ck_assert_uint_eq(s.made, 5);
	ck_assert_uint_eq(s.handed_over, 1);
	slot_future_cancel(f);
	run();
	slot_future_unref(f);
}
END_TEST

START_TEST(cancel_stops_asking_and_cancels_what_is_unfinished)
{
	struct sequence s = {.total = 100, .make = make_pending};
	struct slot_future *f = limited(&s, 5);

	run();
	succeed(s.last);
	run();
	ck_assert(slot_future_cancel(f));
	ck_assert(slot_future_cancel(f));
	ck_assert(!slot_future_done(f)); /* its items have not been handed over */
	run();
	trace_is("end");
	ck_assert(slot_future_cancelled(f));
	ck_assert_uint_eq(s.made, 6);
	ck_assert_uint_eq(s.handed_over, 6);
	ck_assert_uint_eq(s.failed, 5);
	slot_future_unref(f);
}
END_TEST

START_TEST(cancel_before_anything_was_made)
{
	struct sequence s = {.total = 100, .make = make_pending};
	struct slot_future *f = limited(&s, 5);

	ck_assert(slot_future_cancel(f));
	ck_assert(slot_future_cancelled(f));
	run();
	trace_is("end");
	ck_assert_uint_eq(s.made, 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(an_item_callback_cancels_the_whole)
{
	struct sequence s = {.total = 100, .make = make_done, .cancel_at = 7};
	struct slot_future *f = limited(&s, 5);

	s.cancel = f;
	run();
	trace_is("end");
	ck_assert(slot_future_cancelled(f));
	ck_assert_uint_eq(s.handed_over, s.made);
	ck_assert_uint_le(s.made, 7 + 5);
	slot_future_unref(f);
}
END_TEST

START_TEST(next_cancels_the_whole)
{
	struct sequence s = {.total = 100, .make = make_pending, .cancel_at = 3,
	    .cancel_in_next = true};
	struct slot_future *f = limited(&s, 5);

	s.cancel = f;
	run();
	trace_is("end");
	ck_assert(slot_future_cancelled(f));
	ck_assert_uint_eq(s.made, 3);
	ck_assert_uint_eq(s.handed_over, 3);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_dropped_future_runs_to_the_end)
{
	struct sequence s = {.total = 10, .make = make_sleeper};

	slot_future_unref(limited(&s, 2));
	advance_ms(10000);
	trace_is("end");
	ck_assert_uint_eq(s.handed_over, 10);
}
END_TEST

START_TEST(settled_from_outside_it_lets_go)
{
	struct sequence s = {.total = 10, .make = make_pending};
	struct slot_future *f = limited(&s, 2), *last;

	run();
	last = slot_future_ref(s.last);
	succeed(f);
	ck_assert(!slot_future_done(last));
	succeed(last);
	run();
	ck_assert_uint_eq(s.made, 2);
	ck_assert_uint_eq(s.handed_over, 0);
	slot_future_unref(last);
	slot_future_unref(f);
}
END_TEST

START_TEST(an_endless_sequence_leaves_the_loop_its_turn)
{
	struct sequence s = {.total = UINT32_MAX, .make = make_done};
	struct slot_future *f = limited(&s, UINT32_MAX);

	slot_loop_run_due(loop, 1);
	ck_assert_uint_eq(s.made, 256);
	slot_loop_run_due(loop, 1000);
	ck_assert_uint_gt(s.handed_over, 0);
	slot_future_cancel(f);
	run();
	ck_assert(slot_future_cancelled(f));
	slot_future_unref(f);
}
END_TEST

/* The executor below, limited above: the pattern of a bounded map. */
struct mapped {
	struct slot_executor *ex;
	unsigned left;
	unsigned done;
};

static int
start_at_once(struct slot_future *f, void *arg)
{
	(void)arg;
	return slot_future_set_result(f, NULL, NULL);
}

static struct slot_future *
next_action(void *arg)
{
	struct mapped *m = arg;

	if (m->left == 0)
		return NULL;
	m->left--;
	return slot_executor_submit(m->ex, start_at_once, NULL, NULL, NULL, NULL);
}

static void
count_action(struct slot_future *f, void *arg)
{
	struct mapped *m = arg;

	(void)f;
	m->done++;
}

START_TEST(a_hundred_thousand_actions_through_an_executor)
{
	struct mapped m = {slot_executor_new(loop, 4, NULL, NULL), 100000, 0};
	struct slot_future *f = slot_limited(loop, 16, next_action, count_action, &m, NULL);

	run();
	ck_assert_uint_eq(m.done, 100000);
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	slot_future_unref(f);
	slot_executor_free(m.ex);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_limited");
	TCase *tc = tcase_create("limited");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_hundred_sleepers_ten_at_a_time);
	tcase_add_test(tc, a_hundred_thousand_items_done_when_made);
	tcase_add_test(tc, an_empty_sequence_ends_with_a_result);
	tcase_add_test(tc, a_limit_wider_than_the_sequence_makes_all);
	tcase_add_test(tc, a_limit_of_zero_and_no_sequence_are_refused);
	tcase_add_test(tc, items_come_in_the_order_in_which_they_end);
	tcase_add_test(tc, the_same_future_may_be_given_again);
	tcase_add_test(tc, it_sleeps_until_a_future_ends);
	tcase_add_test(tc, cancel_stops_asking_and_cancels_what_is_unfinished);
	tcase_add_test(tc, cancel_before_anything_was_made);
	tcase_add_test(tc, an_item_callback_cancels_the_whole);
	tcase_add_test(tc, next_cancels_the_whole);
	tcase_add_test(tc, a_dropped_future_runs_to_the_end);
	tcase_add_test(tc, settled_from_outside_it_lets_go);
	tcase_add_test(tc, an_endless_sequence_leaves_the_loop_its_turn);
	tcase_add_test(tc, a_hundred_thousand_actions_through_an_executor);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
