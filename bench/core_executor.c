/*
 * core_executor: how many actions that do nothing the executor runs in a second, on a real
 * event_base, and whether that stays flat with the number of them.
 *
 *	core_executor window|backlog COUNT
 *
 * "window" keeps 1,000 submitted at a time, each with a done callback that submits the next one;
 * "backlog" submits all before the first one starts. It is done twice, and the second time counts:
 * the pages for ten million actions, which the kernel, and the host of a virtual machine, give at
 * their own pace, are there by then. Prints {"count","seconds","per_s","first_per_s"}.
 */
#include "figures.h"

#include <event2/event.h>
#include <slot/executor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 4, WINDOW = 1000 };

struct run {
	struct slot_executor *ex;
	unsigned long left;
	unsigned long done;
};

static int
start(struct slot_future *f, void *arg)
{
	(void)arg;
	return slot_future_set_result(f, NULL, NULL);
}

static void on_done(struct slot_future *f, void *arg);

static void
submit(struct run *r)
{
	struct slot_future *f = slot_executor_submit(r->ex, start, NULL, NULL, NULL, NULL);

	if (f == NULL || slot_future_add_done_callback(f, on_done, r) != 0) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	slot_future_unref(f);
	r->left--;
}

static void
on_done(struct slot_future *f, void *arg)
{
	struct run *r = arg;

	(void)f;
	r->done++;
	if (r->left > 0)
		submit(r);
}

/* Runs COUNT of them, `ahead` submitted before the loop turns; returns the seconds it took. */
static double
measure(unsigned long count, unsigned long ahead)
{
	struct event_base *base = event_base_new();
	struct slot_loop *loop = slot_loop_new(base);
	struct run r = {slot_executor_new(loop, LIMIT, NULL, NULL), count, 0};
	double begun = figures_now(), seconds;

	for (unsigned long i = 0; i < ahead && r.left > 0; i++)
		submit(&r);
	event_base_dispatch(base);
	seconds = figures_now() - begun;
	if (r.done != count) {
		fprintf(stderr, "%lu of %lu were done\n", r.done, count);
		exit(1);
	}
	slot_executor_free(r.ex);
	slot_loop_free(loop);
	event_base_free(base);
	return seconds;
}

int
main(int argc, char **argv)
{
	unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned long ahead = count;
	double first, seconds;

	if (argc == 3 && strcmp(argv[1], "window") == 0)
		ahead = WINDOW;
	else if (argc != 3 || strcmp(argv[1], "backlog") != 0)
		count = 0;
	if (count == 0) {
		fputs("usage: core_executor window|backlog COUNT\n", stderr);
		return 2;
	}
	first = measure(count, ahead);
	seconds = measure(count, ahead);
	printf("{\"count\":%lu,\"seconds\":%.6f,\"per_s\":%.1f,\"first_per_s\":%.1f}\n", count, seconds,
	    (double)count / seconds, (double)count / first);
	return 0;
}
