/*
 * The loop: order of calls, end of the turn, timers, clocks, and its life on an event_base.
 */
#include "core_fixture.h"

#include <event2/event.h>
#include <unistd.h>

struct marked_call {
	struct slot_call call;
	const char *mark;
	struct slot_call *then; /* queued to run soon */
	struct slot_call *then_at_end;
};

static void
run_marked(struct slot_call *call)
{
	struct marked_call *m = slot_container_of(call, struct marked_call, call);

	trace_add(m->mark);
	if (m->then != NULL)
		slot_loop_call_soon(loop, m->then);
	if (m->then_at_end != NULL)
		slot_loop_call_at_turn_end(loop, m->then_at_end);
}

#define MARKED(m) {.call = {.run = run_marked}, .mark = (m)}

struct marked_timer {
	struct slot_timer timer;
	const char *mark;
	int64_t again_us; /* after which it is armed again; once */
	struct slot_timer *clears;
};

static void
fire_marked(struct slot_timer *timer)
{
	struct marked_timer *m = slot_container_of(timer, struct marked_timer, timer);
	int64_t again_us = m->again_us;

	ck_assert(!slot_timer_armed(timer));
	trace_add(m->mark);
	m->again_us = 0;
	if (again_us > 0)
		slot_loop_timer_set(loop, timer, slot_loop_now_us(loop) + again_us);
	if (m->clears != NULL)
		slot_loop_timer_clear(loop, m->clears);
}

#define TIMED(m) {.timer = {.fire = fire_marked}, .mark = (m)}

/* Arms it so many microseconds from now. */
static void
arm(struct marked_timer *m, int64_t us)
{
	ck_assert_int_eq(slot_loop_timer_set(loop, &m->timer, slot_loop_now_us(loop) + us), 0);
}

/* ---- calls ---- */

START_TEST(calls_run_in_order_and_once)
{
	struct marked_call a = MARKED("a"), b = MARKED("b"), c = MARKED("c");

	slot_loop_call_soon(loop, &b.call);
	slot_loop_call_soon(loop, &a.call);
	slot_loop_call_soon(loop, &c.call);
	slot_loop_call_soon(loop, &b.call);
	ck_assert(slot_call_queued(&b.call));
	trace_is("");
	ck_assert_uint_eq(slot_loop_run_due(loop, 0), 3);
	trace_is("bac");
	ck_assert(!slot_call_queued(&b.call));
	ck_assert_uint_eq(slot_loop_run_due(loop, 0), 0);
}
END_TEST

START_TEST(a_cancelled_call_never_runs_wherever_it_stands)
{
	struct marked_call a = MARKED("a"), b = MARKED("b"), c = MARKED("c"), d = MARKED("d");

	slot_loop_call_cancel(loop, &a.call);
	slot_loop_call_soon(loop, &a.call);
	slot_loop_call_soon(loop, &b.call);
	slot_loop_call_soon(loop, &c.call);
	slot_loop_call_cancel(loop, &b.call);
	slot_loop_call_cancel(loop, &c.call);
	slot_loop_call_soon(loop, &d.call);
	slot_loop_call_cancel(loop, &a.call);
	run();
	trace_is("d");
	slot_loop_call_at_turn_end(loop, &a.call);
	slot_loop_call_at_turn_end(loop, &b.call);
	slot_loop_call_cancel(loop, &b.call);
	slot_loop_call_at_turn_end(loop, &c.call);
	run();
	trace_is("ac");
}
END_TEST

START_TEST(a_bound_stops_between_calls)
{
	struct marked_call a = MARKED("a"), b = MARKED("b"), end = MARKED("E"), end2 = MARKED("F");

	slot_loop_call_at_turn_end(loop, &end.call);
	slot_loop_call_at_turn_end(loop, &end2.call);
	slot_loop_call_soon(loop, &a.call);
	slot_loop_call_soon(loop, &b.call);
	ck_assert_uint_eq(slot_loop_run_due(loop, 1), 1);
	trace_is("a");
	ck_assert_uint_eq(slot_loop_run_due(loop, 2), 2);
	trace_is("bE");
	ck_assert_uint_eq(slot_loop_run_due(loop, 5), 1);
	trace_is("F");
}
END_TEST

START_TEST(turn_end_comes_after_calls_that_calls_queued)
{
	struct marked_call a = MARKED("a"), b = MARKED("b"), end = MARKED("E");

	a.then = &b.call;
	slot_loop_call_at_turn_end(loop, &end.call);
	slot_loop_call_soon(loop, &a.call);
	run();
	trace_is("abE");
}
END_TEST

START_TEST(what_a_turn_end_call_queues_runs_in_the_next_pass)
{
	struct marked_call a = MARKED("a"), end = MARKED("E"), end2 = MARKED("F");

	end.then = &a.call;
	end.then_at_end = &end2.call;
	slot_loop_call_at_turn_end(loop, &end.call);
	run();
	trace_is("EaF");
}
END_TEST

START_TEST(a_turn_end_call_that_another_cancels_does_not_run)
{
	struct marked_call a = MARKED("a"), b = MARKED("b");

	slot_loop_call_at_turn_end(loop, &a.call);
	slot_loop_call_at_turn_end(loop, &b.call);
	/* Into the middle of the pass: a ran, b waits in the list that is being run. */
	slot_loop_run_due(loop, 1);
	slot_loop_call_cancel(loop, &b.call);
	slot_loop_call_at_turn_end(loop, &a.call);
	run();
	trace_is("aa");
}
END_TEST

struct counter {
	struct slot_call call;
	struct slot_call end;
	size_t runs;
	size_t runs_at_end;
};

static void
count_and_requeue(struct slot_call *call)
{
	struct counter *c = slot_container_of(call, struct counter, call);

	c->runs++;
	slot_loop_call_soon(loop, call);
}

static void
note_runs(struct slot_call *call)
{
	struct counter *c = slot_container_of(call, struct counter, end);

	c->runs_at_end = c->runs;
}

START_TEST(turn_end_comes_after_256_calls_at_the_latest)
{
	struct counter c = {.call = {.run = count_and_requeue}, .end = {.run = note_runs}};

	slot_loop_call_soon(loop, &c.call);
	slot_loop_call_at_turn_end(loop, &c.end);
	slot_loop_run_due(loop, 1000);
	ck_assert_uint_eq(c.runs_at_end, 256);
	slot_loop_call_cancel(loop, &c.call);
}
END_TEST

/* ---- timers ---- */

START_TEST(timers_fire_in_order_of_due_time)
{
	struct marked_timer a = TIMED("a"), b = TIMED("b"), c = TIMED("c"), d = TIMED("d");

	arm(&c, 300);
	arm(&a, 100);
	arm(&d, 300);
	arm(&b, 200);
	run();
	trace_is("");
	slot_loop_advance(loop, 99);
	trace_is("");
	slot_loop_advance(loop, 1);
	trace_is("a");
	slot_loop_advance(loop, 1000);
	trace_is("bcd");
	ck_assert(!slot_timer_armed(&c.timer));
}
END_TEST

START_TEST(a_timer_moves_is_cleared_and_armed_again)
{
	struct marked_timer a = TIMED("a"), b = TIMED("b"), c = TIMED("c"), d = TIMED("d");

	arm(&a, 100);
	arm(&b, 200);
	arm(&c, 300);
	arm(&d, 300);
	a.again_us = 250;
	b.clears = &c.timer;
	arm(&d, 50);
	slot_loop_advance(loop, 1000);
	trace_is("daba");
	slot_loop_timer_clear(loop, &c.timer);
	arm(&a, 10);
	slot_loop_timer_clear(loop, &a.timer);
	slot_loop_advance(loop, 1000);
	trace_is("");
}
END_TEST

START_TEST(a_timer_in_the_past_fires_at_once_after_the_calls)
{
	struct marked_timer a = TIMED("t");
	struct marked_call b = MARKED("c"), end = MARKED("E");

	arm(&a, -5000);
	slot_loop_call_at_turn_end(loop, &end.call);
	slot_loop_call_soon(loop, &b.call);
	trace_is("");
	run();
	trace_is("ctE");
}
END_TEST

START_TEST(clocks_move_together_and_the_wall_clock_jumps_alone)
{
	struct marked_timer a = TIMED("a");

	arm(&a, 500);
	slot_loop_advance(loop, 400);
	ck_assert_int_eq(slot_loop_now_us(loop), 1000400);
	ck_assert_int_eq(slot_loop_wall_us(loop), 1700000000000400);
	slot_loop_set_wall_us(loop, 5);
	run();
	trace_is("");
	slot_loop_advance(loop, 100);
	trace_is("a");
	ck_assert_int_eq(slot_loop_wall_us(loop), 105);
	ck_assert_int_eq(slot_loop_in_ms(loop, 2), 1002500);
	ck_assert_int_eq(slot_loop_in_ms(loop, INT64_MAX), INT64_MAX);
}
END_TEST

struct numbered_timer {
	struct slot_timer timer;
	int64_t *last_us;
};

static void
fire_in_order(struct slot_timer *timer)
{
	struct numbered_timer *n = slot_container_of(timer, struct numbered_timer, timer);

	ck_assert_int_ge(timer->due_us, *n->last_us);
	ck_assert_int_le(timer->due_us, slot_loop_now_us(loop));
	*n->last_us = timer->due_us;
}

START_TEST(many_timers_set_moved_and_cleared_at_random_fire_in_order)
{
	enum { N = 500 };
	static struct numbered_timer timers[N];
	unsigned short seed[3] = {1, 2, 3};
	int64_t last_us = 0;

	for (int i = 0; i < N; i++)
		timers[i] = (struct numbered_timer){{.fire = fire_in_order}, &last_us};
	for (int step = 0; step < 20000; step++) {
		struct slot_timer *t = &timers[nrand48(seed) % N].timer;

		switch (nrand48(seed) % 8) {
		case 0:
			slot_loop_timer_clear(loop, t);
			break;
		case 1:
			slot_loop_advance(loop, nrand48(seed) % 50);
			break;
		default:
			ck_assert_int_eq(slot_loop_timer_set(loop, t,
					     slot_loop_now_us(loop) + nrand48(seed) % 1000),
			    0);
		}
	}
	slot_loop_advance(loop, 2000);
	for (int i = 0; i < N; i++)
		ck_assert(!slot_timer_armed(&timers[i].timer));
}
END_TEST

/* ---- on an event_base ---- */

static struct event_base *base;

static void
setup_base(void)
{
	trace[0] = '\0';
	base = event_base_new();
	ck_assert_ptr_nonnull(base);
	loop = slot_loop_new(base);
	ck_assert_ptr_nonnull(loop);
}

static void
teardown_base(void)
{
	slot_loop_free(loop);
	event_base_free(base);
}

START_TEST(dispatch_returns_when_nothing_is_left)
{
	struct marked_call a = MARKED("a"), end = MARKED("E");
	struct marked_timer t = TIMED("t");
	int64_t start_us = slot_loop_now_us(loop);

	ck_assert_ptr_eq(slot_loop_base(loop), base);
	ck_assert_int_eq(event_base_dispatch(base), 1);
	slot_loop_call_soon(loop, &a.call);
	slot_loop_call_at_turn_end(loop, &end.call);
	arm(&t, 20000);
	t.again_us = 10000;
	event_base_dispatch(base);
	trace_is("aEtt");
	ck_assert_int_ge(slot_loop_now_us(loop) - start_us, 30000);
	ck_assert_int_gt(slot_loop_wall_us(loop), 1600000000000000);
}
END_TEST

START_TEST(a_cleared_timer_keeps_nothing_alive)
{
	struct marked_timer t = TIMED("t");

	arm(&t, 3600 * (int64_t)1000000);
	event_base_loop(base, EVLOOP_NONBLOCK);
	slot_loop_timer_clear(loop, &t.timer);
	event_base_dispatch(base);
	trace_is("");
}
END_TEST

static void
mark_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	trace_add(arg);
}

START_TEST(an_idle_loop_makes_no_wakeups)
{
	struct timeval later = {0, 30000};
	struct marked_timer far = TIMED("far"), near = TIMED("near");

	arm(&far, 3600 * (int64_t)1000000);
	arm(&near, 5000);
	event_base_loop(base, EVLOOP_NONBLOCK);
	slot_loop_timer_clear(loop, &near.timer);
	event_base_loop(base, EVLOOP_NONBLOCK);
	/* ONCE blocks until some event is active and returns after that: it must be ours. */
	event_base_once(base, -1, EV_TIMEOUT, mark_tick, "tick", &later);
	event_base_loop(base, EVLOOP_ONCE);
	trace_is("tick");
	slot_loop_timer_clear(loop, &far.timer);
	event_base_dispatch(base);
}
END_TEST

struct reader {
	struct event *event;
	const char *mark;
	struct slot_call *then;
	bool stop;
};

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct reader *r = arg;
	char byte;

	(void)what;
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	trace_add(r->mark);
	if (r->then != NULL)
		slot_loop_call_soon(loop, r->then);
	if (r->stop)
		event_base_loopbreak(base);
}

START_TEST(a_pass_runs_in_the_same_turn_after_the_ready_descriptors)
{
	struct marked_call a = MARKED("c"), end = MARKED("E");
	struct reader readers[2] = {{.mark = "r", .then = &a.call}, {.mark = "r", .then = &a.call}};
	int pipes[2][2];

	a.then_at_end = &end.call;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pipe(pipes[i]), 0);
		readers[i].event =
		    event_new(base, pipes[i][0], EV_READ | EV_PERSIST, on_readable, &readers[i]);
		ck_assert_int_eq(event_add(readers[i].event, NULL), 0);
		ck_assert_int_eq(write(pipes[i][1], "x", 1), 1);
	}
	event_base_loop(base, EVLOOP_ONCE);
	trace_is("rrcE");
	for (int i = 0; i < 2; i++) {
		event_free(readers[i].event);
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}
END_TEST

START_TEST(calls_without_end_do_not_starve_descriptors)
{
	struct counter c = {.call = {.run = count_and_requeue}, .end = {.run = note_runs}};
	struct reader r = {.mark = "r", .stop = true};
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	r.event = event_new(base, fds[0], EV_READ, on_readable, &r);
	slot_loop_call_soon(loop, &c.call);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(event_add(r.event, NULL), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	event_base_dispatch(base);
	trace_is("r");
	ck_assert_uint_le(c.runs, 4 * 256);
	slot_loop_call_cancel(loop, &c.call);
	event_free(r.event);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(freeing_the_loop_lets_go_of_settled_futures)
{
	struct slot_future *f = new_future();

	slot_future_add_done_callback(f, trace_mark, "never");
	succeed(f);
	slot_future_unref(f);
	slot_loop_free(loop);
	loop = slot_loop_new(base);
	event_base_dispatch(base);
	trace_is("");
}
END_TEST

START_TEST(every_error_has_a_text)
{
	for (int e = -SLOT_EPROTOCOL; e <= SLOT_EPROTOCOL; e++) {
		ck_assert_str_ne(slot_strerror(e), "unknown error");
		ck_assert_str_eq(slot_strerror(e), slot_strerror(-e));
	}
	ck_assert_str_eq(slot_strerror(E_BROKEN), "unknown error");
	ck_assert_str_eq(slot_strerror(INT32_MIN), "unknown error");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("core_loop");
	TCase *tc = tcase_create("manual");
	TCase *tb = tcase_create("event_base");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, calls_run_in_order_and_once);
	tcase_add_test(tc, a_cancelled_call_never_runs_wherever_it_stands);
	tcase_add_test(tc, a_bound_stops_between_calls);
	tcase_add_test(tc, turn_end_comes_after_calls_that_calls_queued);
	tcase_add_test(tc, what_a_turn_end_call_queues_runs_in_the_next_pass);
	tcase_add_test(tc, a_turn_end_call_that_another_cancels_does_not_run);
	tcase_add_test(tc, turn_end_comes_after_256_calls_at_the_latest);
	tcase_add_test(tc, timers_fire_in_order_of_due_time);
	tcase_add_test(tc, a_timer_moves_is_cleared_and_armed_again);
	tcase_add_test(tc, a_timer_in_the_past_fires_at_once_after_the_calls);
	tcase_add_test(tc, clocks_move_together_and_the_wall_clock_jumps_alone);
	tcase_add_test(tc, many_timers_set_moved_and_cleared_at_random_fire_in_order);
	tcase_add_test(tc, every_error_has_a_text);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tb, setup_base, teardown_base);
	tcase_add_test(tb, dispatch_returns_when_nothing_is_left);
	tcase_add_test(tb, a_cleared_timer_keeps_nothing_alive);
	tcase_add_test(tb, an_idle_loop_makes_no_wakeups);
	tcase_add_test(tb, a_pass_runs_in_the_same_turn_after_the_ready_descriptors);
	tcase_add_test(tb, calls_without_end_do_not_starve_descriptors);
	tcase_add_test(tb, freeing_the_loop_lets_go_of_settled_futures);
	suite_add_tcase(suite, tb);
	return run_suite(suite);
}
