/*
 * as_completed: four downloads, taking 2, 1 and 0.1 seconds and one that fails after half a
 * second, are handled as soon as each ends - the failure like the others, it ends nothing.
 * Then the same with a loop over wait(FIRST_COMPLETED).
 */
#include "sleep_action.h"

#include <slot/combine.h>

enum { DOWNLOADS = 4 };

static void
start_downloads(struct sleep_action *actions, struct slot_future **futures)
{
	for (int i = 0; i < DOWNLOADS; i++)
		futures[i] = sleep_action_run(&actions[i]);
}

static void
print_outcome(const char *form, const struct slot_future *f)
{
	printf("%s %s %s\n", form, sleep_name(f), outcome_name(f));
}

/* Called when something can be taken. */
static void
on_ready(struct slot_as_completed *ac, void *arg)
{
	struct slot_future *all_handled = arg;
	struct slot_future *f;

	while ((f = slot_as_completed_next(ac)) != NULL) {
		print_outcome("as_completed", f);
		slot_future_unref(f);
	}
	if (slot_as_completed_status(ac) == 0)
		slot_future_set_result(all_handled, NULL, NULL);
}

static void
handle_as_completed(struct slot_loop *loop, struct slot_future *const *futures)
{
	struct slot_future *all_handled = need(slot_future_new(loop));
	struct slot_as_completed *ac = need(slot_as_completed_new(loop, futures, DOWNLOADS,
	    SLOT_NO_TIMEOUT, on_ready, all_handled, NULL));

	await(loop, all_handled);
	slot_as_completed_free(ac);
	slot_future_unref(all_handled);
}

static void
handle_with_wait(struct slot_loop *loop, struct slot_future *const *futures)
{
	struct slot_future *pending[DOWNLOADS];
	size_t n = DOWNLOADS;

	for (size_t i = 0; i < n; i++)
		pending[i] = futures[i];
	while (n > 0) {
		struct slot_future *w = need(
		    slot_wait(loop, pending, n, SLOT_FIRST_COMPLETED, SLOT_NO_TIMEOUT, NULL));
		const struct slot_wait_result *r;
		void *result = NULL;

		await(loop, w);
		slot_future_result(w, &result);
		r = result;
		for (size_t i = 0; i < r->ndone; i++)
			print_outcome("wait", r->done[i]);
		n = r->npending;
		for (size_t i = 0; i < n; i++)
			pending[i] = r->pending[i];
		slot_future_unref(w);
	}
}

int
main(int argc, char **argv)
{
	struct event_base *base = need(event_base_new());
	struct slot_loop *loop = need(slot_loop_new(base));
	struct sleep_clock *clock = sleep_clock_new(loop);
	unsigned second = second_ms(argc, argv, 100);
	struct sleep_action downloads[DOWNLOADS] = {
	    {.clock = clock, .name = "A", .ms = 2 * second},
	    {.clock = clock, .name = "B", .ms = second},
	    {.clock = clock, .name = "C", .ms = second / 10},
	    {.clock = clock, .name = "D", .ms = second / 2, .fails = true},
	};
	struct slot_future *futures[DOWNLOADS];

	start_downloads(downloads, futures);
	/* Asking too early never blocks. */
	printf("too_early A %s\n", slot_strerror(slot_future_result(futures[0], NULL)));
	handle_as_completed(loop, futures);
	unref_all(futures, DOWNLOADS);

	start_downloads(downloads, futures);
	handle_with_wait(loop, futures);
	unref_all(futures, DOWNLOADS);

	event_base_dispatch(base); /* what is queued yet */
	sleep_clock_free(clock);
	slot_loop_free(loop);
	event_base_free(base);
	return 0;
}
