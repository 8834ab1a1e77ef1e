/*
 * as_completed, wait and gather, case by case as CPython's test_tasks.py has them, and what C
 * adds: references, freeing inside callbacks, futures that outlive their combinator.
 */
#include "core_fixture.h"

/* ---- as_completed ---- */

struct follower {
	struct slot_future **futures; /* named a, b, c… in the trace */
	size_t n;
	size_t take; /* at most so many in one call; 0: all */
	bool frees;  /* at the end or the timeout */
	unsigned calls;
};

static void
mark_name(const struct follower *w, const struct slot_future *f)
{
	char name[2] = "?";

	for (size_t i = 0; i < w->n; i++) {
		if (w->futures[i] == f)
			name[0] = (char)('a' + i);
	}
	trace_add(name);
}

static void
on_ready(struct slot_as_completed *ac, void *arg)
{
	struct follower *w = arg;
	struct slot_future *f;
	size_t taken = 0;
	int status;

	w->calls++;
	while ((w->take == 0 || taken < w->take) && (f = slot_as_completed_next(ac)) != NULL) {
		ck_assert(slot_future_done(f));
		mark_name(w, f);
		slot_future_unref(f);
		taken++;
	}
	status = slot_as_completed_status(ac);
	if (status == 0)
		trace_add(".");
	else if (status < 0)
		trace_add(status == -SLOT_ETIMEOUT ? "T" : "?");
	if (status <= 0 && w->frees)
		slot_as_completed_free(ac);
}

static struct slot_as_completed *
follow(struct follower *w, int64_t timeout_ms)
{
	int error = 1;
	struct slot_as_completed *ac =
	    slot_as_completed_new(loop, w->futures, w->n, timeout_ms, on_ready, w, &error);

	ck_assert_ptr_nonnull(ac);
	ck_assert_int_eq(error, 0);
	return ac;
}

START_TEST(as_completed_delivers_in_finish_order_errors_too)
{
	struct slot_future *f[4] = {sleeping(200, 0), sleeping(100, 0), sleeping(10, 0),
	    sleeping(50, E_BROKEN)};
	struct follower w = {.futures = f, .n = 4, .frees = true};
	struct slot_as_completed *ac = follow(&w, SLOT_NO_TIMEOUT);

	ck_assert_int_eq(slot_as_completed_status(ac), 1);
	ck_assert_uint_eq(slot_as_completed_remaining(ac), 4);
	ck_assert_ptr_null(slot_as_completed_next(ac));
	run();
	ck_assert_uint_eq(w.calls, 0);
	advance_ms(60);
	trace_is("cd");
	ck_assert_uint_eq(slot_as_completed_remaining(ac), 2);
	advance_ms(1000);
	trace_is("ba.");
	ck_assert_uint_eq(w.calls, 4);
	unref_all(f, 4);
}
END_TEST

START_TEST(as_completed_delivers_those_done_already_first_in_order)
{
	struct slot_future *f[4];
	struct follower w = {.futures = f, .n = 4, .frees = true};
	struct slot_as_completed *ac;

	new_futures(f, 4);
	succeed(f[3]);
	slot_future_cancel(f[1]);
	ac = follow(&w, 0);
	ck_assert_uint_eq(slot_as_completed_remaining(ac), 4);
	trace_is("");
	run();
	trace_is("bdT");
	unref_all(f, 4);
}
END_TEST

START_TEST(as_completed_of_futures_all_done_needs_no_timer)
{
	struct slot_future *f[2];
	struct follower w = {.futures = f, .n = 2, .frees = true};

	new_futures(f, 2);
	succeed(f[0]);
	succeed(f[1]);
	follow(&w, 0);
	advance_ms(100);
	trace_is("ab.");
	unref_all(f, 2);
}
END_TEST

START_TEST(as_completed_timeout_says_what_remains_and_delivers_nothing_later)
{
	struct slot_future *f[3] = {sleeping(100, 0), sleeping(150, 0), sleeping(500, 0)};
	struct follower w = {.futures = f, .n = 3};
	struct slot_as_completed *ac = follow(&w, 120);

	advance_ms(119);
	trace_is("a");
	advance_ms(1);
	trace_is("T");
	ck_assert_uint_eq(slot_as_completed_remaining(ac), 2);
	advance_ms(1000);
	trace_is("");
	ck_assert_ptr_null(slot_as_completed_next(ac));
	ck_assert_int_eq(slot_as_completed_status(ac), -SLOT_ETIMEOUT);
	/* Nothing was cancelled. */
	ck_assert_int_eq(slot_future_result(f[2], NULL), 0);
	slot_as_completed_free(ac);
	unref_all(f, 3);
}
END_TEST

START_TEST(what_ended_before_the_timeout_can_be_taken_after_it)
{
	struct slot_future *f[3] = {sleeping(10, 0), sleeping(20, 0), sleeping(500, 0)};
	struct slot_as_completed *ac =
	    slot_as_completed_new(loop, f, 3, 100, NULL, NULL, NULL);
	struct slot_future *taken;

	advance_ms(1000);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(slot_as_completed_status(ac), 1);
		taken = slot_as_completed_next(ac);
		ck_assert_ptr_eq(taken, f[i]);
		slot_future_unref(taken);
	}
	ck_assert_int_eq(slot_as_completed_status(ac), -SLOT_ETIMEOUT);
	ck_assert_uint_eq(slot_as_completed_remaining(ac), 1);
	slot_as_completed_free(ac);
	unref_all(f, 3);
}
END_TEST

START_TEST(an_unused_timeout_goes_with_the_last_future)
{
	struct slot_future *f[1] = {sleeping(10, 0)};
	struct follower w = {.futures = f, .n = 1};
	struct slot_as_completed *ac = follow(&w, 1000);

	advance_ms(5000);
	trace_is("a.");
	ck_assert_int_eq(slot_as_completed_status(ac), 0);
	ck_assert_uint_eq(w.calls, 1);
	slot_as_completed_free(ac);
	unref_all(f, 1);
}
END_TEST

START_TEST(as_completed_delivers_duplicates_once)
{
	struct slot_future *a = sleeping(20, 0), *b = sleeping(10, 0);
	struct slot_future *f[5] = {a, b, a, a, b};
	struct follower w = {.futures = f, .n = 5, .frees = true};
	struct slot_as_completed *ac = follow(&w, SLOT_NO_TIMEOUT);

	ck_assert_uint_eq(slot_as_completed_remaining(ac), 2);
	advance_ms(100);
	ck_assert_str_eq(trace + strlen(trace) - 1, ".");
	ck_assert_uint_eq(strlen(trace), 3);
	slot_future_unref(a);
	slot_future_unref(b);
}
END_TEST

START_TEST(as_completed_refuses_nothing_and_null)
{
	struct slot_future *f[2] = {new_future(), NULL};
	int error = 0;

	ck_assert_ptr_null(slot_as_completed_new(loop, f, 0, -1, on_ready, NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	error = 0;
	ck_assert_ptr_null(slot_as_completed_new(loop, f, 2, -1, on_ready, NULL, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	ck_assert_ptr_null(slot_as_completed_new(loop, f, 1, -2, on_ready, NULL, NULL));
	slot_as_completed_free(NULL);
	slot_future_unref(f[0]);
}
END_TEST

START_TEST(one_who_takes_a_single_future_is_called_again)
{
	struct slot_future *f[3];
	struct follower w = {.futures = f, .n = 3, .take = 1, .frees = true};

	new_futures(f, 3);
	follow(&w, SLOT_NO_TIMEOUT);
	succeed(f[2]);
	succeed(f[0]);
	succeed(f[1]);
	run();
	trace_is("cab.");
	ck_assert_uint_eq(w.calls, 3);
	unref_all(f, 3);
}
END_TEST

static void
count_call(struct slot_as_completed *ac, void *arg)
{
	unsigned *calls = arg;

	(void)ac;
	(*calls)++;
}

START_TEST(one_who_takes_nothing_is_called_for_news_only)
{
	struct slot_future *f[3];
	unsigned calls = 0;
	struct slot_as_completed *ac;

	new_futures(f, 3);
	ac = slot_as_completed_new(loop, f, 3, SLOT_NO_TIMEOUT, count_call, &calls, NULL);
	succeed(f[0]);
	succeed(f[1]);
	run();
	ck_assert_uint_eq(calls, 1);
	run();
	ck_assert_uint_eq(calls, 1);
	succeed(f[2]);
	run();
	ck_assert_uint_eq(calls, 2);
	slot_as_completed_free(ac);
	unref_all(f, 3);
}
END_TEST

START_TEST(freeing_early_leaves_the_futures_alone)
{
	struct slot_future *f[3] = {sleeping(10, 0), sleeping(20, 0), new_future()};
	struct follower w = {.futures = f, .n = 3};
	struct slot_as_completed *ac = follow(&w, 1000);

	succeed(f[2]);
	slot_as_completed_free(ac);
	advance_ms(5000);
	trace_is("");
	ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
	unref_all(f, 3);
}
END_TEST

START_TEST(as_completed_holds_its_futures)
{
	struct slot_future *f[2] = {sleeping(10, 0), sleeping(20, 0)};
	struct follower w = {.futures = f, .n = 2, .frees = true};

	follow(&w, SLOT_NO_TIMEOUT);
	unref_all(f, 2);
	advance_ms(50);
	trace_is("ab.");
}
END_TEST

START_TEST(two_followers_see_the_same_order)
{
	struct slot_future *f[3];
	struct follower w = {.futures = f, .n = 3, .frees = true};
	struct follower v = {.futures = f, .n = 3, .frees = true};

	new_futures(f, 3);
	follow(&w, SLOT_NO_TIMEOUT);
	follow(&v, SLOT_NO_TIMEOUT);
	succeed(f[1]);
	run();
	trace_is("bb");
	succeed(f[2]);
	succeed(f[0]);
	run();
	trace_is("ca.ca.");
	unref_all(f, 3);
}
END_TEST

START_TEST(as_completed_of_very_many)
{
	enum { N = 50000 };
	struct slot_future **f = calloc(N, sizeof(struct slot_future *));
	struct slot_as_completed *ac;
	unsigned short seed[3] = {7, 7, 7};
	size_t wrong = 0;

	for (size_t i = 0; i < N; i++)
		f[i] = new_future();
	ac = slot_as_completed_new(loop, f, N, SLOT_NO_TIMEOUT, NULL, NULL, NULL);
	for (size_t i = N - 1; i > 0; i--) {
		size_t j = (size_t)nrand48(seed) % (i + 1);
		struct slot_future *swapped = f[i];

		f[i] = f[j];
		f[j] = swapped;
	}
	for (size_t i = 0; i < N; i++)
		(void)slot_future_set_result(f[i], NULL, NULL);
	run();
	for (size_t i = 0; i < N; i++) {
		struct slot_future *next = slot_as_completed_next(ac);

		wrong += next != f[i];
		slot_future_unref(next);
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(slot_as_completed_status(ac), 0);
	slot_as_completed_free(ac);
	unref_all(f, N);
	free(f);
}
END_TEST

/* ---- wait ---- */

static struct slot_future *
wait_for(struct slot_future *const *f, size_t n, enum slot_return_when when, int64_t timeout_ms)
{
	int error = 1;
	struct slot_future *w = slot_wait(loop, f, n, when, timeout_ms, &error);

	ck_assert_ptr_nonnull(w);
	ck_assert_int_eq(error, 0);
	return w;
}

/* The wait is over: so many of them done. Gives its reference back. */
static void
wait_gave(struct slot_future *w, size_t ndone, size_t npending, bool timed_out)
{
	void *result = NULL;
	const struct slot_wait_result *r;

	ck_assert_int_eq(slot_future_result(w, &result), 0);
	r = result;
	ck_assert_uint_eq(r->ndone, ndone);
	ck_assert_uint_eq(r->npending, npending);
	ck_assert(r->timed_out == timed_out);
	for (size_t i = 0; i < ndone; i++)
		ck_assert(slot_future_done(r->done[i]));
	for (size_t i = 0; i < npending; i++)
		ck_assert_ptr_nonnull(r->pending[i]);
	slot_future_unref(w);
}

START_TEST(wait_for_all)
{
	struct slot_future *f[3] = {sleeping(100, 0), sleeping(150, E_BROKEN), sleeping(1, 0)};
	struct slot_future *w = wait_for(f, 3, SLOT_ALL_COMPLETED, SLOT_NO_TIMEOUT);

	slot_future_add_done_callback(w, trace_mark, "w");
	advance_ms(149);
	trace_is("");
	advance_ms(1);
	trace_is("w");
	wait_gave(w, 3, 0, false);
	/* Again, all being done: at once. */
	w = wait_for(f, 3, SLOT_ALL_COMPLETED, SLOT_NO_TIMEOUT);
	wait_gave(w, 3, 0, false);
	unref_all(f, 3);
}
END_TEST

START_TEST(wait_for_the_first_completed)
{
	struct slot_future *f[2] = {sleeping(10000, 0), sleeping(100, 0)};
	struct slot_future *w = wait_for(f, 2, SLOT_FIRST_COMPLETED, SLOT_NO_TIMEOUT);
	void *result;

	advance_ms(100);
	ck_assert_int_eq(slot_future_result(w, &result), 0);
	ck_assert_ptr_eq(((struct slot_wait_result *)result)->done[0], f[1]);
	ck_assert_ptr_eq(((struct slot_wait_result *)result)->pending[0], f[0]);
	wait_gave(w, 1, 1, false);
	ck_assert(!slot_future_done(f[0]));
	advance_ms(10000);
	unref_all(f, 2);
}
END_TEST

START_TEST(wait_names_all_that_are_really_done)
{
	struct slot_future *f[3], *w;

	new_futures(f, 3);
	w = wait_for(f, 3, SLOT_FIRST_COMPLETED, SLOT_NO_TIMEOUT);
	succeed(f[2]);
	succeed(f[0]); /* its callback has not run when the first one ends the wait */
	run();
	wait_gave(w, 2, 1, false);
	unref_all(f, 3);
}
END_TEST

START_TEST(wait_for_the_first_exception)
{
	struct slot_future *f[4] = {sleeping(10000, 0), sleeping(10, 0), sleeping(20, E_BROKEN),
	    new_future()};
	struct slot_future *w = wait_for(f, 4, SLOT_FIRST_EXCEPTION, SLOT_NO_TIMEOUT);

	slot_future_cancel(f[3]); /* doesn't count */
	advance_ms(19);
	ck_assert(!slot_future_done(w));
	advance_ms(1);
	wait_gave(w, 3, 1, false);
	/* One that has its exception already. */
	w = wait_for(f, 4, SLOT_FIRST_EXCEPTION, SLOT_NO_TIMEOUT);
	wait_gave(w, 3, 1, false);
	advance_ms(10000);
	unref_all(f, 4);
}
END_TEST

START_TEST(wait_for_the_first_exception_of_none_waits_for_all)
{
	struct slot_future *f[2] = {sleeping(10, 0), sleeping(20, 0)};
	struct slot_future *w = wait_for(f, 2, SLOT_FIRST_EXCEPTION, SLOT_NO_TIMEOUT);

	advance_ms(19);
	ck_assert(!slot_future_done(w));
	advance_ms(1);
	wait_gave(w, 2, 0, false);
	unref_all(f, 2);
}
END_TEST

START_TEST(wait_timeout_is_no_error)
{
	struct slot_future *f[2] = {sleeping(100, 0), sleeping(150, 0)};
	struct slot_future *w = wait_for(f, 2, SLOT_ALL_COMPLETED, 50);

	advance_ms(50);
	wait_gave(w, 0, 2, true);
	w = wait_for(f, 2, SLOT_ALL_COMPLETED, 60);
	advance_ms(60);
	wait_gave(w, 1, 1, true);
	w = wait_for(f, 2, SLOT_ALL_COMPLETED, 0);
	ck_assert(!slot_future_done(w));
	run();
	wait_gave(w, 1, 1, true);
	advance_ms(1000);
	unref_all(f, 2);
}
END_TEST

START_TEST(wait_with_a_timeout_that_meets_the_completion)
{
	struct slot_future *f[2] = {sleeping(100, 0), sleeping(150, 0)};
	struct slot_future *w = wait_for(f, 2, SLOT_ALL_COMPLETED, 100);

	advance_ms(100);
	wait_gave(w, 1, 1, true);
	advance_ms(100);
	unref_all(f, 2);
}
END_TEST

START_TEST(wait_counts_duplicates_once)
{
	struct slot_future *a = new_future(), *b = new_future();
	struct slot_future *f[4] = {a, a, b, a};
	struct slot_future *w = wait_for(f, 4, SLOT_ALL_COMPLETED, SLOT_NO_TIMEOUT);

	succeed(a);
	run();
	ck_assert(!slot_future_done(w));
	succeed(b);
	run();
	wait_gave(w, 2, 0, false);
	slot_future_unref(a);
	slot_future_unref(b);
}
END_TEST

START_TEST(wait_refuses_nothing_null_and_an_unknown_condition)
{
	struct slot_future *f[2] = {NULL, new_future()};
	int error = 0;

	ck_assert_ptr_null(slot_wait(loop, f, 0, SLOT_ALL_COMPLETED, -1, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	error = 0;
	ck_assert_ptr_null(slot_wait(loop, f, 2, SLOT_ALL_COMPLETED, -1, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	error = 0;
	ck_assert_ptr_null(slot_wait(loop, f + 1, 1, (enum slot_return_when)3, -1, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	ck_assert_ptr_null(slot_wait(loop, f + 1, 1, SLOT_ALL_COMPLETED, -7, NULL));
	slot_future_unref(f[1]);
}
END_TEST

START_TEST(cancelling_a_wait_cancels_none_of_its_inputs)
{
	struct slot_future *f[2], *w;

	new_futures(f, 2);
	w = wait_for(f, 2, SLOT_ALL_COMPLETED, 100);
	slot_future_add_done_callback(w, trace_mark, "w");
	ck_assert(slot_future_cancel(w));
	ck_assert(slot_future_cancelled(w));
	ck_assert(!slot_future_done(f[0]) && !slot_future_done(f[1]));
	advance_ms(1000);
	trace_is("w");
	succeed(f[0]);
	run();
	slot_future_unref(w);
	unref_all(f, 2);
}
END_TEST

START_TEST(a_dropped_wait_still_calls)
{
	struct slot_future *f[1] = {sleeping(10, 0)}, *w;

	w = wait_for(f, 1, SLOT_ALL_COMPLETED, SLOT_NO_TIMEOUT);
	slot_future_add_done_callback(w, trace_mark, "w");
	slot_future_unref(w);
	unref_all(f, 1);
	advance_ms(10);
	trace_is("w");
}
END_TEST

START_TEST(many_short_waits_leave_nothing_on_the_futures)
{
	struct slot_future *f[1] = {new_future()};

	for (int i = 0; i < 1000; i++) {
		struct slot_future *w = wait_for(f, 1, SLOT_ALL_COMPLETED, 1);

		advance_ms(1);
		wait_gave(w, 0, 1, true);
	}
	ck_assert_ptr_null(f[0]->callbacks);
	unref_all(f, 1);
}
END_TEST

/* ---- gather ---- */

static struct slot_future *
gather(struct slot_future *const *f, size_t n, enum slot_gather_mode mode)
{
	int error = 1;
	struct slot_future *g = slot_gather(loop, f, n, mode, &error);

	ck_assert_ptr_nonnull(g);
	ck_assert_int_eq(error, 0);
	slot_future_add_done_callback(g, trace_mark, "g");
	return g;
}

static void
gather_gave(struct slot_future *g, struct slot_future *const *f, size_t n)
{
	void *result = NULL;
	const struct slot_gather_result *r;

	ck_assert_int_eq(slot_future_result(g, &result), 0);
	r = result;
	ck_assert_uint_eq(r->n, n);
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_eq(r->futures[i], f[i]);
}

static void
gather_failed(struct slot_future *g, int expected, size_t index, const struct slot_future *f)
{
	void *detail = NULL;
	const struct slot_gather_failure *failure;
	int code = 0;

	ck_assert_int_eq(slot_future_exception(g, &code, &detail), 0);
	ck_assert_int_eq(code, expected);
	ck_assert_int_eq(slot_future_result(g, NULL), expected);
	failure = detail;
	ck_assert_uint_eq(failure->index, index);
	ck_assert_ptr_eq(failure->future, f);
}

START_TEST(gather_gives_all_in_the_order_given)
{
	for (int mode = SLOT_GATHER_RAISE; mode <= SLOT_GATHER_RETURN_EXCEPTIONS; mode++) {
		struct slot_future *f[3], *g;

		new_futures(f, 3);
		g = gather(f, 3, (enum slot_gather_mode)mode);
		succeed(f[1]);
		succeed(f[0]);
		run();
		ck_assert(!slot_future_done(g));
		trace_is("");
		succeed(f[2]);
		run();
		trace_is("g");
		gather_gave(g, f, 3);
		slot_future_unref(g);
		unref_all(f, 3);
	}
}
END_TEST

START_TEST(gather_fails_with_the_first_exception_and_the_rest_runs_on)
{
	struct slot_future *f[5], *g;

	new_futures(f, 5);
	g = gather(f, 5, SLOT_GATHER_RAISE);
	succeed(f[0]);
	break_future(f[1]);
	run();
	trace_is("g");
	gather_failed(g, E_BROKEN, 1, f[1]);
	ck_assert(!slot_future_done(f[2]));
	succeed(f[2]);
	slot_future_cancel(f[3]);
	break_future(f[4]);
	run();
	trace_is("");
	slot_future_unref(g);
	unref_all(f, 5);
}
END_TEST

START_TEST(gather_returns_exceptions_when_asked)
{
	struct slot_future *f[4], *g;

	new_futures(f, 4);
	g = gather(f, 4, SLOT_GATHER_RETURN_EXCEPTIONS);
	succeed(f[1]);
	break_future(f[2]);
	slot_future_cancel(f[0]);
	run();
	ck_assert(!slot_future_done(g));
	break_future(f[3]);
	run();
	trace_is("g");
	gather_gave(g, f, 4);
	ck_assert(slot_future_cancelled(f[0]));
	slot_future_unref(g);
	unref_all(f, 4);
}
END_TEST

START_TEST(a_cancelled_input_fails_a_gather_that_was_not_cancelled)
{
	struct slot_future *f[3], *g;

	new_futures(f, 3);
	g = gather(f, 3, SLOT_GATHER_RAISE);
	succeed(f[0]);
	slot_future_cancel(f[1]);
	run();
	trace_is("g");
	ck_assert(!slot_future_cancelled(g));
	gather_failed(g, -SLOT_ECANCELLED, 1, f[1]);
	slot_future_unref(g);
	unref_all(f, 3);
}
END_TEST

START_TEST(gather_of_nothing_has_an_empty_result)
{
	struct slot_future *g = gather(NULL, 0, SLOT_GATHER_RAISE);

	ck_assert(slot_future_done(g));
	gather_gave(g, NULL, 0);
	trace_is("");
	run();
	trace_is("g");
	slot_future_unref(g);
}
END_TEST

START_TEST(gather_of_futures_done_already)
{
	struct slot_future *f[3], *g;

	new_futures(f, 3);
	succeed(f[0]);
	break_future(f[2]);
	g = gather(f, 3, SLOT_GATHER_RAISE);
	gather_failed(g, E_BROKEN, 2, f[2]);
	slot_future_unref(g);
	succeed(f[1]);
	g = gather(f, 3, SLOT_GATHER_RETURN_EXCEPTIONS);
	gather_gave(g, f, 3);
	slot_future_unref(g);
	run();
	trace_is("gg");
	unref_all(f, 3);
}
END_TEST

START_TEST(gather_repeats_duplicates_in_its_result)
{
	struct slot_future *a = new_future(), *b = new_future();
	struct slot_future *f[4] = {b, a, a, b}, *g = gather(f, 4, SLOT_GATHER_RAISE);

	succeed(a);
	run();
	ck_assert(!slot_future_done(g));
	succeed(b);
	run();
	gather_gave(g, f, 4);
	slot_future_unref(g);
	slot_future_unref(a);
	slot_future_unref(b);
}
END_TEST

START_TEST(cancelling_a_gather_cancels_its_inputs)
{
	for (int mode = SLOT_GATHER_RAISE; mode <= SLOT_GATHER_RETURN_EXCEPTIONS; mode++) {
		struct slot_future *f[3], *g;

		new_futures(f, 3);
		succeed(f[1]);
		g = gather(f, 3, (enum slot_gather_mode)mode);
		ck_assert(slot_future_cancel(g));
		ck_assert(slot_future_cancelled(f[0]));
		ck_assert(slot_future_cancelled(f[2]));
		ck_assert_int_eq(slot_future_result(f[1], NULL), 0);
		ck_assert(!slot_future_cancel(g)); /* nothing left that could be asked */
		run();
		trace_is("g");
		ck_assert(slot_future_cancelled(g));
		slot_future_unref(g);
		unref_all(f, 3);
	}
}
END_TEST

static int
start_nothing(struct slot_future *f, void *arg)
{
	(void)f;
	(void)arg;
	return 0;
}

static void
ignore_cancel(struct slot_future *f, void *arg)
{
	(void)f;
	trace_add(arg);
}

START_TEST(a_cancelled_gather_ends_as_its_inputs_end)
{
	struct slot_executor *ex = slot_executor_new(loop, 2, NULL, NULL);
	struct slot_future *f[2], *g;

	for (int i = 0; i < 2; i++)
		f[i] = slot_executor_submit(ex, start_nothing, ignore_cancel, "!", NULL, NULL);
	g = gather(f, 2, SLOT_GATHER_RAISE);
	run();
	ck_assert(slot_future_cancel(g));
	trace_is("!!");
	ck_assert(!slot_future_done(g));
	succeed(f[0]); /* in spite of it */
	succeed(f[1]);
	run();
	trace_is("g");
	ck_assert(slot_future_cancelled(g)); /* as in asyncio: the request is not forgotten */
	slot_future_unref(g);
	unref_all(f, 2);
	slot_executor_free(ex);
}
END_TEST

START_TEST(gather_refuses_null)
{
	struct slot_future *f[2] = {new_future(), NULL};
	int error = 0;

	ck_assert_ptr_null(slot_gather(loop, f, 2, SLOT_GATHER_RAISE, &error));
	ck_assert_int_eq(error, -SLOT_EINVAL);
	slot_future_unref(f[0]);
}
END_TEST

START_TEST(combinators_nest)
{
	struct slot_future *f[4], *pair[2], *g, *w;

	new_futures(f, 4);
	pair[0] = slot_gather(loop, f, 2, SLOT_GATHER_RAISE, NULL);
	pair[1] = slot_gather(loop, f + 2, 2, SLOT_GATHER_RAISE, NULL);
	g = gather(pair, 2, SLOT_GATHER_RAISE);
	w = wait_for(pair, 2, SLOT_FIRST_EXCEPTION, SLOT_NO_TIMEOUT);
	unref_all(pair, 2);
	succeed(f[0]);
	break_future(f[3]);
	run();
	trace_is("g");
	gather_failed(g, E_BROKEN, 1, pair[1]);
	wait_gave(w, 1, 1, false);
	slot_future_unref(g);
	slot_future_cancel(f[1]);
	run();
	slot_future_cancel(f[2]);
	unref_all(f, 4);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_combine");
	TCase *ta = tcase_create("as_completed");
	TCase *tw = tcase_create("wait");
	TCase *tg = tcase_create("gather");

	tcase_add_checked_fixture(ta, setup, teardown);
	tcase_add_test(ta, as_completed_delivers_in_finish_order_errors_too);
	tcase_add_test(ta, as_completed_delivers_those_done_already_first_in_order);
	tcase_add_test(ta, as_completed_of_futures_all_done_needs_no_timer);
	tcase_add_test(ta, as_completed_timeout_says_what_remains_and_delivers_nothing_later);
	tcase_add_test(ta, what_ended_before_the_timeout_can_be_taken_after_it);
	tcase_add_test(ta, an_unused_timeout_goes_with_the_last_future);
	tcase_add_test(ta, as_completed_delivers_duplicates_once);
	tcase_add_test(ta, as_completed_refuses_nothing_and_null);
	tcase_add_test(ta, one_who_takes_a_single_future_is_called_again);
	tcase_add_test(ta, one_who_takes_nothing_is_called_for_news_only);
	tcase_add_test(ta, freeing_early_leaves_the_futures_alone);
	tcase_add_test(ta, as_completed_holds_its_futures);
	tcase_add_test(ta, two_followers_see_the_same_order);
	tcase_add_test(ta, as_completed_of_very_many);
	suite_add_tcase(suite, ta);
	tcase_add_checked_fixture(tw, setup, teardown);
	tcase_add_test(tw, wait_for_all);
	tcase_add_test(tw, wait_for_the_first_completed);
	tcase_add_test(tw, wait_names_all_that_are_really_done);
	tcase_add_test(tw, wait_for_the_first_exception);
	tcase_add_test(tw, wait_for_the_first_exception_of_none_waits_for_all);
	tcase_add_test(tw, wait_timeout_is_no_error);
	tcase_add_test(tw, wait_with_a_timeout_that_meets_the_completion);
	tcase_add_test(tw, wait_counts_duplicates_once);
	tcase_add_test(tw, wait_refuses_nothing_null_and_an_unknown_condition);
	tcase_add_test(tw, cancelling_a_wait_cancels_none_of_its_inputs);
	tcase_add_test(tw, a_dropped_wait_still_calls);
	tcase_add_test(tw, many_short_waits_leave_nothing_on_the_futures);
	suite_add_tcase(suite, tw);
	tcase_add_checked_fixture(tg, setup, teardown);
	tcase_add_test(tg, gather_gives_all_in_the_order_given);
	tcase_add_test(tg, gather_fails_with_the_first_exception_and_the_rest_runs_on);
	tcase_add_test(tg, gather_returns_exceptions_when_asked);
	tcase_add_test(tg, a_cancelled_input_fails_a_gather_that_was_not_cancelled);
	tcase_add_test(tg, gather_of_nothing_has_an_empty_result);
	tcase_add_test(tg, gather_of_futures_done_already);
	tcase_add_test(tg, gather_repeats_duplicates_in_its_result);
	tcase_add_test(tg, cancelling_a_gather_cancels_its_inputs);
	tcase_add_test(tg, a_cancelled_gather_ends_as_its_inputs_end);
	tcase_add_test(tg, gather_refuses_null);
	tcase_add_test(tg, combinators_nest);
	suite_add_tcase(suite, tg);
	return run_suite(suite);
}
