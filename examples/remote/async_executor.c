/*
 * AsyncExecutor against a daemon, which is an executor itself: max_running is a queue's, submit
 * gives out a future, and what waits for a slot waits there, whoever submitted it. Eleven jobs,
 * four at a time, each printed as it ends, then all of them gathered; one fails, and its slot goes
 * to the next like any other. Then a limit that changes while jobs run, cancel, and drain - for
 * which the daemon takes no jobs from anybody for a moment: try it with one of your own.
 *
 *	build/examples/remote/async_executor [MILLISECONDS OF A SECOND]
 */
#define SLEEPS_ARE_JOBS 1
#include "../sleep.h"

#include <slot/combine.h>

#define QUEUE "async_executor"

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

/* Any method of the protocol, answered; the caller gives the future back. */
static struct slot_future *
call(struct sleeps *s, const char *method, json_t *params)
{
	struct slot_future *f = need(slot_client_call(s->client, method, params, NULL));

	await(s, f);
	if (slot_rpc_error(f) != NULL)
		give_up(slot_rpc_error(f)->message);
	return f;
}

/* Makes the queue if there is none. */
static void
set_max_running(struct sleeps *s, int max_running)
{
	slot_future_unref(call(s, "queue.set",
	    json_pack("{s:s, s:i}", "queue", QUEUE, "max_running", max_running)));
}

static void
print_running(struct sleeps *s, const char *what)
{
	struct slot_future *f =
	    call(s, "queue.set", json_pack("{s:s}", "queue", QUEUE)); /* changes nothing */
	int running = -1, pending = -1;
	void *queue = NULL;

	slot_future_result(f, &queue);
	json_unpack(queue, "{s:i, s:i}", "running", &running, "pending", &pending);
	printf("%srunning %d pending %d\n", what, running, pending);
	slot_future_unref(f);
}

static void
print_end(struct slot_future *f, void *arg)
{
	const struct sleep *what = arg;

	printf("end %s %s\n", what->name, outcome_name(f));
}

static struct slot_future *
submit(struct sleeps *s, const struct sleep *what)
{
	json_t *spec = sleep_spec(s, what);
	struct slot_future *f;

	json_object_set_new(spec, "queue", json_string(QUEUE));
	f = need(slot_client_submit(s->client, spec, NULL));
	slot_future_add_done_callback(f, print_end, (void *)(uintptr_t)what);
	return f;
}

static void
eleven_jobs(struct sleeps *s)
{
	struct slot_future *futures[JOBS], *all;

	set_max_running(s, LIMIT);
	for (int i = 0; i < JOBS; i++)
		futures[i] = submit(s, &jobs[i]);
	all = need(slot_gather(s->loop, futures, JOBS, SLOT_GATHER_RETURN_EXCEPTIONS, NULL));
	await(s, all);
	printf("gather");
	for (int i = 0; i < JOBS; i++)
		printf(" %s:%s", sleep_name(futures[i]), outcome_name(futures[i]));
	printf("\n");
	print_running(s, "");
	slot_future_unref(all);
	unref_all(futures, JOBS);
}

static void
what_it_usually_lacks(struct sleeps *s)
{
	struct slot_future *futures[MORE], *drained, *refused;

	set_max_running(s, 1);
	for (int i = 0; i < MORE; i++)
		futures[i] = submit(s, &more_jobs[i]);
	slot_future_cancel(futures[1]); /* waits yet: it never starts */
	await(s, futures[0]);
	set_max_running(s, 2);
	drained = need(slot_client_call(s->client, "drain", NULL, NULL));
	refused = sleep_start(s, &more_jobs[0]);
	await(s, refused);
	if (slot_rpc_error(refused) != NULL)
		printf("submit refused\n"); /* of the kind Draining */
	await(s, futures[2]);
	slot_future_cancel(futures[3]); /* runs */
	await(s, drained);
	await(s, futures[4]); /* that all have ended may be told before how the last did */
	print_running(s, "drained ");
	slot_future_unref(call(s, "drain", json_pack("{s:s}", "mode", "off")));
	slot_future_unref(refused);
	slot_future_unref(drained);
	unref_all(futures, MORE);
}

int
main(int argc, char **argv)
{
	struct sleeps *sleeps = sleeps_open(argc, argv);

	eleven_jobs(sleeps);
	what_it_usually_lacks(sleeps);
	slot_future_unref(call(sleeps, "queue.remove", json_pack("{s:s}", "queue", QUEUE)));

	sleeps_close(sleeps);
	return 0;
}
