/*
 * AsyncExecutor: eleven jobs, four at a time, each printing when it starts and when it ends, then
 * all of them gathered. One fails, and its slot goes to the next like any other. Then what the
 * pattern usually lacks: cancel, a limit that changes while jobs run, and drain.
 */
#include "sleep_action.h"

#include <slot/combine.h>

enum { JOBS = 11, LIMIT = 4 };

/* No two of the jobs end at the same time. */
static const unsigned hundredths[JOBS] = {25, 8, 13, 21, 25, 4, 20, 23, 4, 19, 25};
static const char *const names[JOBS] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"};

static int
start(struct slot_future *f, void *arg)
{
	const struct sleep_action *a = arg;

	printf("start %s\n", a->name);
	return sleep_action_start(f, arg);
}

static void
print_end(struct slot_future *f, void *arg)
{
	const struct sleep_action *a = arg;

	printf("end %s %s\n", a->name, outcome_name(f));
}

static struct slot_future *
submit(struct slot_executor *ex, struct sleep_action *a)
{
	return need(slot_executor_submit(ex, start, NULL, a, NULL, NULL));
}

static void
eleven_jobs(struct slot_executor *ex, struct sleep_action *jobs, struct slot_loop *loop)
{
	struct slot_future *futures[JOBS], *all;

	for (int i = 0; i < JOBS; i++) {
		futures[i] = submit(ex, &jobs[i]);
		slot_future_add_done_callback(futures[i], print_end, &jobs[i]);
	}
	all = need(slot_gather(loop, futures, JOBS, SLOT_GATHER_RETURN_EXCEPTIONS, NULL));
	await(loop, all);
	printf("gather");
	for (int i = 0; i < JOBS; i++)
		printf(" %s:%s", sleep_name(futures[i]), outcome_name(futures[i]));
	printf("\npeak %u\n", jobs[0].clock->peak);
	printf("running %u pending %zu\n", slot_executor_running(ex), slot_executor_pending(ex));
	slot_future_unref(all);
	unref_all(futures, JOBS);
}

static void
what_it_usually_lacks(struct slot_executor *ex, struct sleep_action *jobs, struct slot_loop *loop)
{
	struct slot_future *futures[4], *drained;
	int error = 0;

	slot_executor_set_max_running(ex, 1);
	for (int i = 0; i < 4; i++) {
		futures[i] = submit(ex, &jobs[i]);
		slot_future_add_done_callback(futures[i], print_end, &jobs[i]);
	}
	slot_future_cancel(futures[1]); /* waits yet: it never starts */
	await(loop, futures[0]);
	slot_executor_set_max_running(ex, 2);
	drained = need(slot_executor_drain(ex));
	if (slot_executor_submit(ex, start, NULL, &jobs[0], NULL, &error) == NULL)
		printf("submit %s\n", slot_strerror(error));
	await(loop, drained);
	printf("drained running %u pending %zu\n", slot_executor_running(ex),
	    slot_executor_pending(ex));
	slot_future_unref(drained);
	unref_all(futures, 4);
}

int
main(int argc, char **argv)
{
	struct event_base *base = need(event_base_new());
	struct slot_loop *loop = need(slot_loop_new(base));
	struct sleep_clock *clock = sleep_clock_new(loop);
	struct slot_executor *ex = need(slot_executor_new(loop, LIMIT, NULL, NULL));
	unsigned second = second_ms(argc, argv, 500);
	struct sleep_action jobs[JOBS];

	for (int i = 0; i < JOBS; i++)
		jobs[i] = (struct sleep_action){clock, names[i],
		    hundredths[i] * second / 100, i == 2};
	eleven_jobs(ex, jobs, loop);
	what_it_usually_lacks(ex, jobs, loop);

	event_base_dispatch(base); /* what is queued yet */
	slot_executor_free(ex);
	sleep_clock_free(clock);
	slot_loop_free(loop);
	event_base_free(base);
	return 0;
}
