/*
 * The future, case by case as CPython's test_futures.py has it, and what C adds: references
 * and the ownership of values.
 */
#include "core_fixture.h"

#include <stdint.h>

static int freed;

static void
count_free(void *value)
{
	(void)value;
	freed++;
}

static void
setup_freed(void)
{
	setup();
	freed = 0;
}

START_TEST(initial_state)
{
	struct slot_future *f = new_future();

	ck_assert(!slot_future_done(f));
	ck_assert(!slot_future_cancelled(f));
	ck_assert_int_eq(slot_future_result(f, NULL), -SLOT_EINVALSTATE);
	ck_assert_int_eq(slot_future_exception(f, NULL, NULL), -SLOT_EINVALSTATE);
	ck_assert(slot_future_cancel(f));
	ck_assert(slot_future_cancelled(f));
	slot_future_unref(f);
	slot_future_unref(NULL);
}
END_TEST

START_TEST(cancel)
{
	struct slot_future *f = new_future();

	ck_assert(slot_future_cancel(f));
	ck_assert(slot_future_cancelled(f));
	ck_assert(slot_future_done(f));
	ck_assert_int_eq(slot_future_result(f, NULL), -SLOT_ECANCELLED);
	ck_assert_int_eq(slot_future_exception(f, NULL, NULL), -SLOT_ECANCELLED);
	ck_assert_int_eq(slot_future_set_result(f, NULL, NULL), -SLOT_EINVALSTATE);
	ck_assert_int_eq(slot_future_set_exception(f, E_BROKEN, NULL, NULL), -SLOT_EINVALSTATE);
	ck_assert_int_eq(slot_future_set_cancelled(f), -SLOT_EINVALSTATE);
	ck_assert(!slot_future_cancel(f));
	slot_future_unref(f);
}
END_TEST

START_TEST(result)
{
	struct slot_future *f = new_future();
	void *value = NULL;
	int code = 1;
	void *detail = &value;

	ck_assert_int_eq(slot_future_set_result(f, &code, count_free), 0);
	ck_assert(slot_future_done(f));
	ck_assert(!slot_future_cancelled(f));
	ck_assert_int_eq(slot_future_result(f, &value), 0);
	ck_assert_ptr_eq(value, &code);
	ck_assert_int_eq(slot_future_exception(f, &code, &detail), 0);
	ck_assert_int_eq(code, 0);
	ck_assert_ptr_null(detail);
	ck_assert_int_eq(slot_future_set_result(f, &value, count_free), -SLOT_EINVALSTATE);
	ck_assert_int_eq(slot_future_set_exception(f, E_BROKEN, NULL, NULL), -SLOT_EINVALSTATE);
	ck_assert(!slot_future_cancel(f));
	ck_assert_int_eq(freed, 0);
	slot_future_unref(f);
	ck_assert_int_eq(freed, 1);
}
END_TEST

START_TEST(exception)
{
	struct slot_future *f = new_future();
	void *detail = NULL;
	int code = 0;

	ck_assert_int_eq(slot_future_set_exception(f, 0, NULL, NULL), -SLOT_EINVAL);
	ck_assert_int_eq(slot_future_set_exception(f, 7, NULL, NULL), -SLOT_EINVAL);
	ck_assert(!slot_future_done(f));
	ck_assert_int_eq(slot_future_set_exception(f, E_BROKEN, &code, count_free), 0);
	ck_assert(slot_future_done(f));
	ck_assert(!slot_future_cancelled(f));
	ck_assert_int_eq(slot_future_result(f, &detail), E_BROKEN);
	ck_assert_ptr_null(detail);
	ck_assert_int_eq(slot_future_exception(f, &code, &detail), 0);
	ck_assert_int_eq(code, E_BROKEN);
	ck_assert_ptr_eq(detail, &code);
	ck_assert_int_eq(slot_future_exception(f, NULL, NULL), 0);
	slot_future_unref(f);
	ck_assert_int_eq(freed, 1);
}
END_TEST

START_TEST(the_value_lives_as_long_as_any_reference)
{
	struct slot_future *f = new_future();

	slot_future_ref(f);
	ck_assert_int_eq(slot_future_set_result(f, f, count_free), 0);
	slot_future_unref(f);
	run();
	ck_assert_int_eq(freed, 0);
	slot_future_unref(f);
	ck_assert_int_eq(freed, 1);
}
END_TEST

/* ---- callbacks ---- */

START_TEST(callbacks_run_later_in_the_order_of_adding)
{
	struct slot_future *f = new_future();

	slot_future_add_done_callback(f, trace_mark, "a");
	slot_future_add_done_callback(f, trace_mark, "b");
	slot_future_add_done_callback(f, trace_mark, "a");
	run();
	trace_is("");
	succeed(f);
	trace_is("");
	run();
	trace_is("aba");
	run();
	trace_is("");
	slot_future_unref(f);
}
END_TEST

START_TEST(callbacks_run_on_every_way_of_settling)
{
	struct slot_future *f[3];

	new_futures(f, 3);
	slot_future_add_done_callback(f[0], trace_mark, "r");
	slot_future_add_done_callback(f[1], trace_mark, "e");
	slot_future_add_done_callback(f[2], trace_mark, "c");
	slot_future_cancel(f[2]);
	succeed(f[0]);
	break_future(f[1]);
	run();
	trace_is("cre"); /* in the order of settling */
	unref_all(f, 3);
}
END_TEST

START_TEST(a_callback_added_to_a_done_future_runs_on_the_next_pass)
{
	struct slot_future *f = new_future();

	succeed(f);
	slot_future_add_done_callback(f, trace_mark, "a");
	trace_is("");
	run();
	trace_is("a");
	slot_future_add_done_callback(f, trace_mark, "b");
	slot_future_add_done_callback(f, trace_mark, "c");
	run();
	trace_is("bc");
	slot_future_unref(f);
}
END_TEST

START_TEST(remove_done_callback_removes_every_equal_pair)
{
	struct slot_future *f = new_future();
	char a[] = "a", b[] = "b";

	ck_assert_uint_eq(slot_future_remove_done_callback(f, trace_mark, a), 0);
	slot_future_add_done_callback(f, trace_mark, a);
	slot_future_add_done_callback(f, trace_mark, b);
	slot_future_add_done_callback(f, trace_mark, a);
	ck_assert_uint_eq(slot_future_remove_done_callback(f, trace_mark, a), 2);
	ck_assert_uint_eq(slot_future_remove_done_callback(f, trace_mark, a), 0);
	succeed(f);
	run();
	trace_is("b");
	slot_future_unref(f);
}
END_TEST

START_TEST(a_callback_can_be_removed_after_settling_and_others_added)
{
	struct slot_future *f = new_future();
	char a[] = "a", b[] = "b";

	slot_future_add_done_callback(f, trace_mark, a);
	succeed(f);
	ck_assert_uint_eq(slot_future_remove_done_callback(f, trace_mark, a), 1);
	slot_future_add_done_callback(f, trace_mark, b);
	run();
	trace_is("b");
	slot_future_add_done_callback(f, trace_mark, a);
	ck_assert_uint_eq(slot_future_remove_done_callback(f, trace_mark, a), 1);
	slot_future_unref(f); /* the queued call holds the last reference */
	run();
	trace_is("");
}
END_TEST

/* Removes the callbacks of up to three marks, whatever ran before. */
struct remover {
	char *marks[3];
};

static void
remove_marks(struct slot_future *f, void *arg)
{
	struct remover *r = arg;

	trace_add("R");
	for (int i = 0; i < 3; i++) {
		if (r->marks[i] != NULL)
			slot_future_remove_done_callback(f, trace_mark, r->marks[i]);
	}
	slot_future_remove_done_callback(f, remove_marks, r);
}

START_TEST(a_callback_removes_itself_earlier_and_later_ones)
{
	struct slot_future *f = new_future();
	char a[] = "a", b[] = "b", c[] = "c";
	struct remover r = {{a, b, NULL}};

	slot_future_add_done_callback(f, trace_mark, a);
	slot_future_add_done_callback(f, remove_marks, &r);
	slot_future_add_done_callback(f, trace_mark, b);
	slot_future_add_done_callback(f, remove_marks, &r);
	slot_future_add_done_callback(f, trace_mark, c);
	succeed(f);
	run();
	trace_is("aRc");
	slot_future_unref(f);
}
END_TEST

static void
add_another(struct slot_future *f, void *arg)
{
	trace_add("+");
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(slot_future_add_done_callback(f, trace_mark, arg), 0);
	trace_add("|");
}

START_TEST(a_callback_adds_others_that_run_after_the_present_ones)
{
	struct slot_future *f = new_future();

	slot_future_add_done_callback(f, add_another, "x");
	slot_future_add_done_callback(f, trace_mark, "a");
	succeed(f);
	run();
	trace_is("+|axxxxxxxxxxxxxxxxxxxx");
	slot_future_unref(f);
}
END_TEST

static void
drop_reference(struct slot_future *f, void *arg)
{
	(void)arg;
	slot_future_unref(f);
	trace_add("d");
}

START_TEST(a_callback_drops_the_last_reference_and_the_rest_still_run)
{
	struct slot_future *f = new_future();

	slot_future_add_done_callback(f, drop_reference, NULL);
	slot_future_add_done_callback(f, trace_mark, "a");
	ck_assert_int_eq(slot_future_set_result(f, f, count_free), 0);
	run();
	trace_is("da");
	ck_assert_int_eq(freed, 1);
}
END_TEST

START_TEST(a_settled_future_without_references_still_calls)
{
	struct slot_future *f = new_future();

	slot_future_add_done_callback(f, trace_mark, "a");
	succeed(f);
	slot_future_unref(f);
	run();
	trace_is("a");
}
END_TEST

START_TEST(a_pending_future_goes_with_its_callbacks)
{
	struct slot_future *f = new_future();

	for (int i = 0; i < 100; i++)
		slot_future_add_done_callback(f, trace_mark, "a");
	slot_future_unref(f);
	run();
	trace_is("");
}
END_TEST

static void
settle_other(struct slot_future *f, void *arg)
{
	(void)f;
	trace_add("s");
	(void)slot_future_set_result(arg, NULL, NULL);
}

START_TEST(a_callback_settles_another_future)
{
	struct slot_future *f[2];

	new_futures(f, 2);
	slot_future_add_done_callback(f[0], settle_other, f[1]);
	slot_future_add_done_callback(f[0], trace_mark, "a");
	slot_future_add_done_callback(f[1], trace_mark, "b");
	succeed(f[0]);
	run();
	trace_is("sab");
	unref_all(f, 2);
}
END_TEST

START_TEST(a_chain_of_a_hundred_thousand_futures_needs_no_stack)
{
	enum { N = 100000 };
	struct slot_future **f = calloc(N, sizeof(struct slot_future *));

	new_futures(f, N);
	for (size_t i = 0; i + 1 < N; i++)
		slot_future_add_done_callback(f[i], settle_other, f[i + 1]);
	trace[0] = '\0';
	succeed(f[0]);
	for (size_t i = 0; i < N; i++) {
		slot_loop_run_due(loop, 1);
		trace[0] = '\0';
	}
	ck_assert(slot_future_done(f[N - 1]));
	unref_all(f, N);
	free(f);
}
END_TEST

/* ---- what owners override ---- */

static bool
refuse_cancel(struct slot_future *f)
{
	(void)f;
	trace_add("c");
	return true;
}

static void
note_settled(struct slot_future *f)
{
	trace_add("s");
	slot_future_add_done_callback(f, trace_mark, "z");
}

static void
note_destroy(struct slot_future *f)
{
	(void)f;
	trace_add("d");
}

START_TEST(an_owner_decides_on_cancel_and_hears_of_settling_and_the_end)
{
	static const struct slot_future_ops ops = {refuse_cancel, note_settled, note_destroy};
	struct slot_future f;

	slot_future_init(&f, loop, &ops);
	slot_future_add_done_callback(&f, trace_mark, "y");
	ck_assert(slot_future_cancel(&f));
	ck_assert(!slot_future_done(&f));
	ck_assert_int_eq(slot_future_state(&f), SLOT_FUTURE_PENDING);
	trace_is("c");
	succeed(&f);
	trace_is("s");
	ck_assert_int_eq(slot_future_state(&f), SLOT_FUTURE_RESULT);
	ck_assert(!slot_future_cancel(&f));
	run();
	trace_is("yz");
	slot_future_unref(&f);
	trace_is("d");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_future");
	TCase *tc = tcase_create("future");

	tcase_add_checked_fixture(tc, setup_freed, teardown);
	tcase_add_test(tc, initial_state);
	tcase_add_test(tc, cancel);
	tcase_add_test(tc, result);
	tcase_add_test(tc, exception);
	tcase_add_test(tc, the_value_lives_as_long_as_any_reference);
	tcase_add_test(tc, callbacks_run_later_in_the_order_of_adding);
	tcase_add_test(tc, callbacks_run_on_every_way_of_settling);
	tcase_add_test(tc, a_callback_added_to_a_done_future_runs_on_the_next_pass);
	tcase_add_test(tc, remove_done_callback_removes_every_equal_pair);
	tcase_add_test(tc, a_callback_can_be_removed_after_settling_and_others_added);
	tcase_add_test(tc, a_callback_removes_itself_earlier_and_later_ones);
	tcase_add_test(tc, a_callback_adds_others_that_run_after_the_present_ones);
	tcase_add_test(tc, a_callback_drops_the_last_reference_and_the_rest_still_run);
	tcase_add_test(tc, a_settled_future_without_references_still_calls);
	tcase_add_test(tc, a_pending_future_goes_with_its_callbacks);
	tcase_add_test(tc, a_callback_settles_another_future);
	tcase_add_test(tc, a_chain_of_a_hundred_thousand_futures_needs_no_stack);
	tcase_add_test(tc, an_owner_decides_on_cancel_and_hears_of_settling_and_the_end);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
