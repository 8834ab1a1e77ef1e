#ifndef EXAMPLES_SLEEP_ACTION_H
#define EXAMPLES_SLEEP_ACTION_H
/*
 * What the examples share: a piece of work that sleeps and then ends with its name, as a result
 * or as an exception's detail; and `await`, which turns the loop until a future is done, for
 * programs that are written from top to bottom.
 */
#include <event2/event.h>
#include <slot/executor.h>
#include <slot/future.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLEEP_BROKEN = -1001 }; /* how a sleep that fails, fails */

/* How many hold their slot now, and how many did at most. */
struct sleep_count {
	unsigned running;
	unsigned peak;
};

struct sleep_action {
	struct slot_loop *loop;
	const char *name; /* lives longer than the future */
	unsigned ms;
	bool fails;
	struct sleep_count *count; /* or NULL */
};

/* One that sleeps now. */
struct sleep_state {
	struct event *timer;
	struct slot_future *future;
	const struct sleep_action *action;
};

/* For what an example cannot go on without. */
static inline void *
need(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return p;
}

static inline void
sleep_over(evutil_socket_t fd, short what, void *arg)
{
	struct sleep_state *s = arg;
	/* The future only lends the name out again. */
	char *name = (char *)(uintptr_t)s->action->name;

	(void)fd;
	(void)what;
	if (s->action->fails)
		slot_future_set_exception(s->future, SLEEP_BROKEN, name, NULL);
	else
		slot_future_set_result(s->future, name, NULL);
}

/* Slept, or cancelled meanwhile. */
static inline void
sleep_ended(struct slot_future *f, void *arg)
{
	struct sleep_state *s = arg;

	if (s->action->count != NULL)
		s->action->count->running--;
	event_free(s->timer);
	free(s);
	slot_future_unref(f);
}

/* A slot_action_start_cb; arg is a struct sleep_action that lives until the future is done. */
static inline int
sleep_action_start(struct slot_future *f, void *arg)
{
	const struct sleep_action *a = arg;
	struct event_base *base = slot_loop_base(a->loop);
	struct timeval delay = {a->ms / 1000, a->ms % 1000 * 1000};
	struct sleep_state *s = need(calloc(1, sizeof(*s)));

	s->action = a;
	s->future = slot_future_ref(f);
	s->timer = need(evtimer_new(base, sleep_over, s));
	if (slot_future_add_done_callback(f, sleep_ended, s) != 0)
		need(NULL);
	/* Sleeps of one length end in the order in which they began. */
	event_add(s->timer, event_base_init_common_timeout(base, &delay));
	if (a->count != NULL && ++a->count->running > a->count->peak)
		a->count->peak = a->count->running;
	return 0;
}

/* The same without an executor: begins at once. */
static inline struct slot_future *
sleep_action_run(struct sleep_action *a)
{
	struct slot_future *f = need(slot_future_new(a->loop));

	sleep_action_start(f, a);
	return f;
}

/* Turns the loop until `f` is done. */
static inline void
await(struct slot_loop *loop, const struct slot_future *f)
{
	while (!slot_future_done(f))
		event_base_loop(slot_loop_base(loop), EVLOOP_ONCE);
}

/* The name that a done sleep ended with; "?" for one that was cancelled. */
static inline const char *
sleep_name(const struct slot_future *f)
{
	void *name = NULL;
	int code = 0;

	if (slot_future_result(f, &name) == 0)
		return name;
	if (slot_future_exception(f, &code, &name) == 0)
		return name;
	return "?";
}

static inline const char *
outcome_name(const struct slot_future *f)
{
	int code = 0;

	if (!slot_future_done(f))
		return "pending";
	if (slot_future_cancelled(f))
		return "cancelled";
	slot_future_exception(f, &code, NULL);
	return code == 0 ? "result" : "exception";
}

static inline void
unref_all(struct slot_future *const *futures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		slot_future_unref(futures[i]);
}

/* How long a "second" is: the first argument, in milliseconds, or the default. */
static inline unsigned
second_ms(int argc, char **argv, unsigned fallback)
{
	return argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : fallback;
}

#endif
