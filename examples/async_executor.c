/*
 * AsyncExecutor: eleven jobs, four at a time, each printing when it starts and when it ends, then
 * all of them gathered. One fails, and its slot goes to the next like any other. Then what the
 * pattern usually lacks: a limit that changes while jobs run, cancel, and drain.
 *
 * This is slot_executor, in this process. remote/async_executor.c has the same with a daemon,
 * which is an executor itself.
 *
 *	build/examples/async_executor [MILLISECONDS OF A SECOND]
 */
#include "sleep.h"

#include <slot/combine.h>
#include <slot/executor.h>

enum { JOBS = 11, LIMIT = 4, MORE = 5 };

/* No two of the jobs end at the same time. */
static const struct sleep jobs[JOBS] = {
    {"1", 0.25, false}, {"2", 0.08, false}, {"3", 0.13, true},  {"4", 0.21, false},
    {"5", 0.25, false}, {"6", 0.04, false}, {"7", 0.20, false}, {"8", 0.23, false},
    {"9", 0.04, false}, {"10", 0.19, false}, {"11", 0.25, false},
};

static const struct sleep more_jobs[MORE] = {
    {"1", 0.2, false}, {"2", 0.04, false}, {"3", 0.15, true}, {"4", 60, false},
    {"5", 0.15, false},
};

/* What an action is given. */
struct action {
	struct sleeps *sleeps;
	const struct sleep *what;
};

static int
start(struct slot_future *f, void *arg)
{
	const struct action *a = arg;

	printf("start %s\n", a->what->name);
	sleep_begin(a->sleeps, f, a->what);
	return 0;
}

static void
print_end(struct slot_future *f, void *arg)
{
	const struct action *a = arg;

	printf("end %s %s\n", a->what->name, outcome_name(f));
}

static struct slot_future *
submit(struct slot_executor *ex, struct action *a)
{
	struct slot_future *f = need(slot_executor_submit(ex, start, NULL, a, NULL, NULL));

	slot_future_add_done_callback(f, print_end, a);
	return f;
}

static void
eleven_jobs(struct slot_executor *ex, struct sleeps *sleeps)
{
	struct action actions[JOBS];
	struct slot_future *futures[JOBS], *all;

	for (int i = 0; i < JOBS; i++) {
		actions[i] = (struct action){sleeps, &jobs[i]};
		futures[i] = submit(ex, &actions[i]);
	}
	all = need(slot_gather(sleeps->loop, futures, JOBS, SLOT_GATHER_RETURN_EXCEPTIONS, NULL));
	await(sleeps, all);
	printf("gather");
	for (int i = 0; i < JOBS; i++)
		printf(" %s:%s", sleep_name(futures[i]), outcome_name(futures[i]));
	printf("\npeak %u\n", sleeps->peak);
	printf("running %u pending %zu\n", slot_executor_running(ex), slot_executor_pending(ex));
	slot_future_unref(all);
	unref_all(futures, JOBS);
}

static void
what_it_usually_lacks(struct slot_executor *ex, struct sleeps *sleeps)
{
	struct action actions[MORE];
	struct slot_future *futures[MORE], *drained;

	slot_executor_set_max_running(ex, 1);
	for (int i = 0; i < MORE; i++) {
		actions[i] = (struct action){sleeps, &more_jobs[i]};
		futures[i] = submit(ex, &actions[i]);
	}
	slot_future_cancel(futures[1]); /* waits yet: it never starts */
	await(sleeps, futures[0]);
	slot_executor_set_max_running(ex, 2);
	drained = need(slot_executor_drain(ex));
	if (slot_executor_submit(ex, start, NULL, &actions[0], NULL, NULL) == NULL)
		printf("submit refused\n");
	await(sleeps, futures[2]);
	slot_future_cancel(futures[3]); /* runs */
	await(sleeps, drained);
	printf("drained running %u pending %zu\n", slot_executor_running(ex),
	    slot_executor_pending(ex));
	slot_future_unref(drained);
	unref_all(futures, MORE);
}

int
main(int argc, char **argv)
{
	struct sleeps *sleeps = sleeps_open(argc, argv);
	struct slot_executor *ex = need(slot_executor_new(sleeps->loop, LIMIT, NULL, NULL));

	eleven_jobs(ex, sleeps);
	what_it_usually_lacks(ex, sleeps);

	slot_executor_free(ex);
	sleeps_close(sleeps);
	return 0;
}
