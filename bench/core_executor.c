/*
 * core_executor: how many actions that do nothing the executor runs in a second, on a real
 * event_base, and whether that stays flat with the number of them.
 *
 *	core_executor [COUNT…]	default: 10^4 10^5 10^6 10^7
 *
 * Two ways: "window" keeps 1,000 submitted at a time, each with a done callback that submits the
 * next one; "backlog" submits all before the first one starts. One line each:
 *	WAY COUNT SECONDS ACTIONS_PER_SECOND
 */
#include <event2/event.h>
#include <slot/executor.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Submits `ahead` of them before the loop turns. */
static void
measure(const char *way, unsigned long count, unsigned long ahead)
{
	struct event_base *base = event_base_new();
	struct slot_loop *loop = slot_loop_new(base);
	struct run r = {slot_executor_new(loop, LIMIT, NULL, NULL), count, 0};
	double begun = now(), seconds;

	for (unsigned long i = 0; i < ahead && r.left > 0; i++)
		submit(&r);
	event_base_dispatch(base);
	seconds = now() - begun;
	printf("%s %lu %.3f %.0f\n", way, r.done, seconds, (double)r.done / seconds);
	slot_executor_free(r.ex);
	slot_loop_free(loop);
	event_base_free(base);
}

int
main(int argc, char **argv)
{
	static const unsigned long defaults[] = {10000, 100000, 1000000, 10000000};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < (argc > 1 ? argc - 1 : 4); i++) {
		unsigned long count = argc > 1 ? strtoul(argv[i + 1], NULL, 10) : defaults[i];

		measure("window", count, WINDOW);
		measure("backlog", count, count);
	}
	return 0;
}
