#ifndef EXAMPLES_SLEEP_ACTION_H
#define EXAMPLES_SLEEP_ACTION_H
/*
 * What the examples share: a piece of work that sleeps and then ends with its name, as a result
 * or as an exception's detail; and `await`, which turns the loop until a future is done, for
 * programs that are written from top to bottom.
 *
 * Sleeps are woken one a turn of the loop, in the order of their times, and one that begins while
 * others sleep begins at the time of the last waking. So the order of everything is that of an
 * infinitely fast machine, however busy this one is.
 */
#include <event2/event.h>
#include <slot/executor.h>
#include <slot/future.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLEEP_BROKEN = -1001 }; /* how a sleep that fails, fails */

struct sleep_clock;

struct sleep_action {
	struct sleep_clock *clock;
	const char *name; /* lives longer than the future */
	unsigned ms;
	bool fails;
};

/* One that sleeps now, or has just been woken. */
struct sleeper {
	struct sleeper *next;
	const struct sleep_action *action;
	struct slot_future *future;
	int64_t due_us;
};

struct sleep_clock {
	struct slot_loop *loop;
	struct event *timer;
	struct sleeper *first; /* ordered by time */
	int64_t now_us;
	unsigned running; /* how many sleep */
	unsigned peak;    /* and how many did at most */
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

/* Also where the first is overdue, in the next turn only: what the last one brought about, which
 * runs at the end of this one, comes before it. */
static inline void
sleep_clock_arm(struct sleep_clock *c)
{
	int64_t left_us;
	struct timeval delay = {0, 0};

	if (c->first == NULL) {
		event_del(c->timer);
		return;
	}
	left_us = c->first->due_us - slot_loop_now_us(c->loop);
	if (left_us > 0)
		delay = (struct timeval){left_us / 1000000, left_us % 1000000};
	event_add(c->timer, &delay);
}

static inline void
sleep_clock_remove(struct sleep_clock *c, const struct sleeper *s)
{
	for (struct sleeper **at = &c->first; *at != NULL; at = &(*at)->next) {
		if (*at != s)
			continue;
		*at = s->next;
		c->running--;
		return;
	}
}

static inline void
sleep_clock_wake_one(evutil_socket_t fd, short what, void *arg)
{
	struct sleep_clock *c = arg;
	struct sleeper *s = c->first;

	(void)fd;
	(void)what;
	if (s != NULL && s->due_us <= slot_loop_now_us(c->loop)) {
		/* The future only lends the name out again. */
		char *name = (char *)(uintptr_t)s->action->name;

		c->now_us = s->due_us;
		sleep_clock_remove(c, s);
		if (s->action->fails)
			slot_future_set_exception(s->future, SLEEP_BROKEN, name, NULL);
		else
			slot_future_set_result(s->future, name, NULL);
	}
	sleep_clock_arm(c);
}

static inline struct sleep_clock *
sleep_clock_new(struct slot_loop *loop)
{
	struct sleep_clock *c = need(calloc(1, sizeof(*c)));

	c->loop = loop;
	c->timer = need(evtimer_new(slot_loop_base(loop), sleep_clock_wake_one, c));
	return c;
}

static inline void
sleep_clock_free(struct sleep_clock *c)
{
	event_free(c->timer);
	free(c);
}

/* Woken, or cancelled meanwhile. */
static inline void
sleep_ended(struct slot_future *f, void *arg)
{
	struct sleeper *s = arg;

	sleep_clock_remove(s->action->clock, s);
	sleep_clock_arm(s->action->clock);
	free(s);
	slot_future_unref(f);
}

/* Lets `f` end as the action says; a slot_action_start_cb whose arg is a struct sleep_action
 * that lives until then. */
static inline int
sleep_action_start(struct slot_future *f, void *arg)
{
	const struct sleep_action *a = arg;
	struct sleep_clock *c = a->clock;
	struct sleeper *s = need(calloc(1, sizeof(*s)));
	struct sleeper **at = &c->first;

	if (c->first == NULL)
		c->now_us = slot_loop_now_us(c->loop);
	s->action = a;
	s->future = slot_future_ref(f);
	s->due_us = c->now_us + (int64_t)a->ms * 1000;
	while (*at != NULL && (*at)->due_us <= s->due_us)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
	if (slot_future_add_done_callback(f, sleep_ended, s) != 0)
		need(NULL);
	if (++c->running > c->peak)
		c->peak = c->running;
	sleep_clock_arm(c);
	return 0;
}

/* The same without an executor: a future that sleeps from now on. */
static inline struct slot_future *
sleep_action_run(struct sleep_action *a)
{
	struct slot_future *f = need(slot_future_new(a->clock->loop));

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
