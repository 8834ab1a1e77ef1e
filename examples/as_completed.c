/*
 * as_completed: four downloads, taking 2, 1 and 0.1 seconds and one that fails after half a
 * second, are handled as soon as each ends - the failure like the others, it ends nothing.
 * Then the same with a loop over wait(FIRST_COMPLETED). Both print C, D (exception), B, A.
 *
 *	build/examples/as_completed [MILLISECONDS]           sleeps in this process
 *	build/examples/remote/as_completed [MILLISECONDS]    lets a daemon run the sleeps
 *
 * MILLISECONDS: how long a second lasts.
 */
#include "sleep.h"

#include <slot/combine.h>

enum { DOWNLOADS = 4 };

static const struct sleep downloads[DOWNLOADS] = {
    {"A", 2, false},
    {"B", 1, false},
    {"C", 0.1, false},
    {"D", 0.5, true},
};

static void
start_downloads(struct sleeps *sleeps, struct slot_future **futures)
{
	for (int i = 0; i < DOWNLOADS; i++)
		futures[i] = sleep_start(sleeps, &downloads[i]);
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
handle_as_completed(struct sleeps *sleeps, struct slot_future *const *futures)
{
	struct slot_future *all_handled = need(slot_future_new(sleeps->loop));
	struct slot_as_completed *ac = need(slot_as_completed_new(sleeps->loop, futures,
	    DOWNLOADS, SLOT_NO_TIMEOUT, on_ready, all_handled, NULL));

	await(sleeps, all_handled);
	slot_as_completed_free(ac);
	slot_future_unref(all_handled);
}

static void
handle_with_wait(struct sleeps *sleeps, struct slot_future *const *futures)
{
	struct slot_future *pending[DOWNLOADS];
	size_t n = DOWNLOADS;

	for (size_t i = 0; i < n; i++)
		pending[i] = futures[i];
	while (n > 0) {
		struct slot_future *w = need(slot_wait(sleeps->loop, pending, n,
		    SLOT_FIRST_COMPLETED, SLOT_NO_TIMEOUT, NULL));
		const struct slot_wait_result *r;
		void *result = NULL;

		await(sleeps, w);
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
	struct sleeps *sleeps = sleeps_open(argc, argv);
	struct slot_future *futures[DOWNLOADS];

	start_downloads(sleeps, futures);
	/* Asking too early never blocks. */
	printf("too_early A %s\n", slot_strerror(slot_future_result(futures[0], NULL)));
	handle_as_completed(sleeps, futures);
	unref_all(futures, DOWNLOADS);

	start_downloads(sleeps, futures);
	handle_with_wait(sleeps, futures);
	unref_all(futures, DOWNLOADS);

	sleeps_close(sleeps);
	return 0;
}
