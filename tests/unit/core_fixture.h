#ifndef TESTS_CORE_FIXTURE_H
#define TESTS_CORE_FIXTURE_H
/*
 * What the tests of src/core share: a manual loop, a trace of what ran in which order, and
 * futures that end at a time of that loop.
 */
#include "core/container.h"
#include "core/future.h"
#include "core/loop.h"

#include <check.h>
#include <slot/combine.h>
#include <slot/executor.h>
#include <stdlib.h>
#include <string.h>

/* A code of the tests' own. */
enum { E_BROKEN = -1001 };

static struct slot_loop *loop;
static char trace[4096];

static inline void
trace_add(const char *what)
{
	ck_assert_uint_lt(strlen(trace) + strlen(what), sizeof(trace));
	strcat(trace, what);
}

/* A done callback that writes its arg. */
static inline void
trace_mark(struct slot_future *f, void *arg)
{
	ck_assert(slot_future_done(f));
	trace_add(arg);
}

/* The trace is exactly this; it starts anew. */
static inline void
trace_is(const char *expected)
{
	ck_assert_str_eq(trace, expected);
	trace[0] = '\0';
}

static inline void
setup(void)
{
	trace[0] = '\0';
	loop = slot_loop_new_manual(1000000, 1700000000000000);
	ck_assert_ptr_nonnull(loop);
}

static inline void
teardown(void)
{
	slot_loop_free(loop);
	loop = NULL;
}

static inline void
run(void)
{
	slot_loop_run_due(loop, 0);
}

static inline void
advance_ms(int64_t ms)
{
	slot_loop_advance(loop, ms * 1000);
}

static inline struct slot_future *
new_future(void)
{
	struct slot_future *f = slot_future_new(loop);

	ck_assert_ptr_nonnull(f);
	return f;
}

static inline void
new_futures(struct slot_future **futures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		futures[i] = new_future();
}

static inline void
unref_all(struct slot_future *const *futures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		slot_future_unref(futures[i]);
}

static inline void
succeed(struct slot_future *f)
{
	ck_assert_int_eq(slot_future_set_result(f, NULL, NULL), 0);
}

static inline void
break_future(struct slot_future *f)
{
	ck_assert_int_eq(slot_future_set_exception(f, E_BROKEN, NULL, NULL), 0);
}

/* A future that ends by itself after a while; code 0: with a result. */
struct sleeper {
	struct slot_timer timer;
	struct slot_future *future;
	int code;
};

static inline void
sleeper_ends(struct slot_timer *timer)
{
	struct sleeper *s = slot_container_of(timer, struct sleeper, timer);

	/* It may have been cancelled meanwhile. */
	if (s->code == 0)
		(void)slot_future_set_result(s->future, NULL, NULL);
	else
		(void)slot_future_set_exception(s->future, s->code, NULL, NULL);
	slot_future_unref(s->future);
	free(s);
}

static inline struct slot_future *
sleeping(int64_t ms, int code)
{
	struct sleeper *s = calloc(1, sizeof(*s));

	ck_assert_ptr_nonnull(s);
	s->timer.fire = sleeper_ends;
	s->code = code;
	s->future = slot_future_ref(new_future());
	ck_assert_int_eq(slot_loop_timer_set(loop, &s->timer, slot_loop_in_ms(loop, ms)), 0);
	return s->future;
}

static inline int
run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

#endif
