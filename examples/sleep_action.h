#ifndef EXAMPLES_SLEEP_ACTION_H
#define EXAMPLES_SLEEP_ACTION_H
/*
 * Sleeps in this process; included by sleep.h. A sleep ends with its name, as the result or as the
 * exception's detail.
 *
 * Sleeps are woken one a turn of the loop, in the order of their times, and one that begins while
 * others sleep begins at the time of the last waking. So the order of everything is that of an
 * infinitely fast machine, however busy this one is.
 */
#include <event2/event.h>
#include <slot/future.h>

enum {
	SLEEP_BROKEN = -1001,   /* how a sleep that fails, fails */
	SECOND_MS = 100,        /* unless the command line says otherwise */
	VERY_MANY = 1000 * 1000,
};

/* One that sleeps now, or has just been woken. */
struct sleeper {
	struct sleeper *next;
	struct sleeps *sleeps;
	const struct sleep *what;
	struct slot_future *future;
	int64_t due_us;
};

struct sleeps {
	struct slot_loop *loop;
	unsigned second_ms;
	struct event *timer;
	struct sleeper *first; /* ordered by time */
	int64_t now_us;
	unsigned running; /* how many sleep */
	unsigned peak;    /* and how many did at most */
};

/* Also where the first is overdue, in the next turn only: what the last one brought about, which
 * runs at the end of this one, comes before it. */
static inline void
sleeps_arm(struct sleeps *s)
{
	int64_t left_us;
	struct timeval delay = {0, 0};

	if (s->first == NULL) {
		event_del(s->timer);
		return;
	}
	left_us = s->first->due_us - slot_loop_now_us(s->loop);
	if (left_us > 0)
		delay = (struct timeval){left_us / 1000000, left_us % 1000000};
	event_add(s->timer, &delay);
}

static inline void
sleeps_remove(struct sleeps *s, const struct sleeper *sleeper)
{
	for (struct sleeper **at = &s->first; *at != NULL; at = &(*at)->next) {
		if (*at != sleeper)
			continue;
		*at = sleeper->next;
		s->running--;
		return;
	}
}

static inline void
sleep_settle(struct slot_future *f, const struct sleep *what)
{
	/* The future only lends the name out again. */
	char *name = (char *)(uintptr_t)what->name;

	if (what->fails)
		slot_future_set_exception(f, SLEEP_BROKEN, name, NULL);
	else
		slot_future_set_result(f, name, NULL);
}

static inline void
sleeps_wake_one(evutil_socket_t fd, short what, void *arg)
{
	struct sleeps *s = arg;
	struct sleeper *sleeper = s->first;

	(void)fd;
	(void)what;
	if (sleeper != NULL && sleeper->due_us <= slot_loop_now_us(s->loop)) {
		s->now_us = sleeper->due_us;
		sleeps_remove(s, sleeper);
		sleep_settle(sleeper->future, sleeper->what);
	}
	sleeps_arm(s);
}

static inline struct sleeps *
sleeps_open(int argc, char **argv)
{
	struct sleeps *s = need(calloc(1, sizeof(*s)));

	s->loop = need(slot_loop_new(need(event_base_new())));
	s->second_ms = second_ms(argc, argv, SECOND_MS);
	s->timer = need(evtimer_new(slot_loop_base(s->loop), sleeps_wake_one, s));
	return s;
}

static inline void
sleeps_close(struct sleeps *s)
{
	struct event_base *base = slot_loop_base(s->loop);

	event_base_dispatch(base); /* what is queued yet */
	event_free(s->timer);
	slot_loop_free(s->loop);
	event_base_free(base);
	free(s);
}

static inline void
await(struct sleeps *s, const struct slot_future *f)
{
	while (!slot_future_done(f))
		event_base_loop(slot_loop_base(s->loop), EVLOOP_ONCE);
}

/* Woken, or cancelled meanwhile. */
static inline void
sleep_ended(struct slot_future *f, void *arg)
{
	struct sleeper *sleeper = arg;

	sleeps_remove(sleeper->sleeps, sleeper);
	sleeps_arm(sleeper->sleeps);
	free(sleeper);
	slot_future_unref(f);
}

/* Lets a future that is there already (an executor's) end as `what` says. */
static inline void
sleep_begin(struct sleeps *s, struct slot_future *f, const struct sleep *what)
{
	struct sleeper *sleeper = need(calloc(1, sizeof(*sleeper)));
	struct sleeper **at = &s->first;

	if (s->first == NULL)
		s->now_us = slot_loop_now_us(s->loop);
	sleeper->sleeps = s;
	sleeper->what = what;
	sleeper->future = slot_future_ref(f);
	sleeper->due_us = s->now_us + (int64_t)(what->seconds * s->second_ms * 1000);
	while (*at != NULL && (*at)->due_us <= sleeper->due_us)
		at = &(*at)->next;
	sleeper->next = *at;
	*at = sleeper;
	if (slot_future_add_done_callback(f, sleep_ended, sleeper) != 0)
		need(NULL);
	if (++s->running > s->peak)
		s->peak = s->running;
	sleeps_arm(s);
}

static inline struct slot_future *
sleep_start(struct sleeps *s, const struct sleep *what)
{
	struct slot_future *f = need(slot_future_new(s->loop));

	if (what->seconds > 0)
		sleep_begin(s, f, what);
	else
		sleep_settle(f, what);
	return f;
}

static inline const char *
sleep_name(const struct slot_future *f)
{
	void *name = NULL;

	if (slot_future_result(f, &name) == 0 || slot_future_exception(f, NULL, &name) == 0)
		return name;
	return "?"; /* cancelled */
}

#endif
