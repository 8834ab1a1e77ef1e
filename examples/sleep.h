#ifndef EXAMPLES_SLEEP_H
#define EXAMPLES_SLEEP_H
/*
 * What the examples share: a piece of work that sleeps for a while and then ends, well or badly.
 *
 * Where the work is done is one of two headers: sleep_action.h sleeps in this process, sleep_job.h
 * (with -DSLEEPS_ARE_JOBS) lets a daemon run commands that do. Both give out slot_futures, and
 * what an example does with those is the same text:
 *
 *	sleeps_open      where the work is done: a loop, and a daemon's client on it
 *	sleep_start      begins a piece of work and gives out its future
 *	sleep_name       the name of the work that a done future stands for
 *	await            turns the loop until a future is done: so the examples can be written
 *	                 from top to bottom
 *	sleeps_close
 */
#include <event2/event.h>
#include <slot/future.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct sleep {
	const char *name; /* lives longer than the future */
	double seconds;   /* 0: ends at once */
	bool fails;
};

static inline void
give_up(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(1);
}

/* For what an example cannot go on without. */
static inline void *
need(void *p)
{
	if (p == NULL)
		give_up("out of memory");
	return p;
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

#ifdef SLEEPS_ARE_JOBS
#include "sleep_job.h"
#else
#include "sleep_action.h"
#endif

#endif
