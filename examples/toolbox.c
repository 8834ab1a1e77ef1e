/*
 * The toolbox: three jobs of 3, 1 and 1 seconds, handled in eight ways: one after the other, by
 * hand, awaited in the order of submitting, as_completed, gather, a Future of one's own, wait
 * for the first with new work coming in, and wait with a timeout in a loop.
 *
 *	build/examples/toolbox [MILLISECONDS]           sleeps in this process
 *	build/examples/remote/toolbox [MILLISECONDS]    lets a daemon run the sleeps
 *
 * MILLISECONDS: how long a second lasts.
 */
#include "sleep.h"

#include <slot/combine.h>
#include <string.h>

enum {
	JOBS = 3,
	BROKEN = -1001, /* an exception of our own: any code below -1000 */
};

static const struct sleep jobs[JOBS] = {{"a", 3, false}, {"b", 1, false}, {"c", 1, false}};
static const struct sleep broken = {"b", 1, true};
static const struct sleep late = {"d", 1, false};

struct toolbox {
	struct sleeps *sleeps;
	struct slot_loop *loop;
	int64_t begun_us;
};

static void
start_jobs(struct toolbox *t, struct slot_future **futures)
{
	for (int i = 0; i < JOBS; i++)
		futures[i] = sleep_start(t->sleeps, &jobs[i]);
}

static void
begin(struct toolbox *t)
{
	t->begun_us = slot_loop_now_us(t->loop);
}

static void
print_took(const struct toolbox *t, const char *form)
{
	printf("%s took_ms %lld\n", form,
	    (long long)(slot_loop_now_us(t->loop) - t->begun_us) / 1000);
}

static void
print_end(const char *form, const struct slot_future *f)
{
	printf("%s %s %s\n", form, sleep_name(f), outcome_name(f));
}

/* 1. Each starts when the one before has ended: 5 seconds. */
static void
sequential(struct toolbox *t)
{
	begin(t);
	for (int i = 0; i < JOBS; i++) {
		struct slot_future *f = sleep_start(t->sleeps, &jobs[i]);

		await(t->sleeps, f);
		print_end("sequential", f);
		slot_future_unref(f);
	}
	print_took(t, "sequential");
}

/* 2. With nothing but callbacks and a counter. */
struct by_hand {
	unsigned left;
	struct slot_future *all_done;
};

static void
count_down(struct slot_future *f, void *arg)
{
	struct by_hand *h = arg;

	print_end("by_hand", f);
	if (--h->left == 0)
		slot_future_set_result(h->all_done, NULL, NULL);
}

static void
by_hand(struct toolbox *t)
{
	struct by_hand h = {JOBS, need(slot_future_new(t->loop))};
	struct slot_future *futures[JOBS];

	begin(t);
	start_jobs(t, futures);
	for (int i = 0; i < JOBS; i++)
		slot_future_add_done_callback(futures[i], count_down, &h);
	await(t->sleeps, h.all_done);
	print_took(t, "by_hand");
	slot_future_unref(h.all_done);
	unref_all(futures, JOBS);
}

/* 3. All run, but each is handled in the order of submitting: b and c wait behind a. */
static void
pre_scheduled(struct toolbox *t)
{
	struct slot_future *futures[JOBS];

	begin(t);
	start_jobs(t, futures);
	for (int i = 0; i < JOBS; i++) {
		await(t->sleeps, futures[i]);
		print_end("pre_scheduled", futures[i]);
	}
	print_took(t, "pre_scheduled");
	unref_all(futures, JOBS);
}

/* 4. As soon as each ends. */
static void
on_ready(struct slot_as_completed *ac, void *arg)
{
	struct slot_future *f;

	while ((f = slot_as_completed_next(ac)) != NULL) {
		print_end("as_completed", f);
		slot_future_unref(f);
	}
	if (slot_as_completed_status(ac) == 0)
		slot_future_set_result(arg, NULL, NULL);
}

static void
as_completed(struct toolbox *t)
{
	struct slot_future *futures[JOBS], *all_done = need(slot_future_new(t->loop));
	struct slot_as_completed *ac;

	begin(t);
	start_jobs(t, futures);
	ac = need(slot_as_completed_new(t->loop, futures, JOBS, SLOT_NO_TIMEOUT, on_ready,
	    all_done, NULL));
	await(t->sleeps, all_done);
	print_took(t, "as_completed");
	slot_as_completed_free(ac);
	slot_future_unref(all_done);
	unref_all(futures, JOBS);
}

/* 5. All together, in the order given. */
static void
gather(struct toolbox *t)
{
	struct slot_future *futures[JOBS], *g;
	const struct slot_gather_result *r;
	void *result = NULL;

	begin(t);
	start_jobs(t, futures);
	g = need(slot_gather(t->loop, futures, JOBS, SLOT_GATHER_RAISE, NULL));
	await(t->sleeps, g);
	slot_future_result(g, &result);
	r = result;
	for (size_t i = 0; i < r->n; i++)
		print_end("gather", r->futures[i]);
	print_took(t, "gather");
	slot_future_unref(g);
	unref_all(futures, JOBS);
}

/* What an exception does to it: the gather fails with the first one, the rest runs on, and can
 * be cancelled. */
static void
gather_exception(struct toolbox *t)
{
	struct slot_future *futures[JOBS], *g;
	const struct slot_gather_failure *failure;
	void *detail = NULL;
	int code = 0;

	futures[0] = sleep_start(t->sleeps, &jobs[0]);
	futures[1] = sleep_start(t->sleeps, &broken);
	futures[2] = sleep_start(t->sleeps, &jobs[2]);
	g = need(slot_gather(t->loop, futures, JOBS, SLOT_GATHER_RAISE, NULL));
	await(t->sleeps, g);
	slot_future_exception(g, &code, &detail);
	failure = detail;
	printf("gather_exception failed %zu %s\n", failure->index, sleep_name(failure->future));
	printf("gather_exception a %s\n", outcome_name(futures[0]));
	slot_future_cancel(futures[0]);
	await(t->sleeps, futures[0]); /* a job is cancelled when it has ended */
	printf("gather_exception a %s\n", outcome_name(futures[0]));
	slot_future_unref(g);

	/* Asked for the exceptions as results, it waits for all. */
	g = need(slot_gather(t->loop, futures, JOBS, SLOT_GATHER_RETURN_EXCEPTIONS, NULL));
	await(t->sleeps, g);
	printf("gather_exceptions %s", outcome_name(g));
	for (int i = 0; i < JOBS; i++)
		printf(" %s", outcome_name(futures[i]));
	printf("\n");
	slot_future_unref(g);
	unref_all(futures, JOBS);
}

/* 6. A future of one's own. */
static void
future(struct toolbox *t)
{
	struct slot_future *f[3];
	char value[] = "42", reason[] = "broken";
	void *got = NULL;
	int code = 0;
	bool taken;

	for (int i = 0; i < 3; i++)
		f[i] = need(slot_future_new(t->loop));
	printf("future done %d cancelled %d\n", slot_future_done(f[0]),
	    slot_future_cancelled(f[0]));
	printf("future result_early %s\n", slot_strerror(slot_future_result(f[0], NULL)));
	slot_future_set_result(f[0], value, NULL);
	slot_future_result(f[0], &got);
	printf("future result %s\n", (const char *)got);
	printf("future set_twice %s\n", slot_strerror(slot_future_set_result(f[0], value, NULL)));
	slot_future_set_exception(f[1], BROKEN, reason, NULL);
	slot_future_exception(f[1], &code, &got);
	printf("future exception %d %s\n", code, (const char *)got);
	taken = slot_future_cancel(f[2]);
	printf("future cancel %d again %d\n", taken, slot_future_cancel(f[2]));
	printf("future done %d cancelled %d\n", slot_future_done(f[2]),
	    slot_future_cancelled(f[2]));
	printf("future result_cancelled %s\n", slot_strerror(slot_future_result(f[2], NULL)));
	unref_all(f, 3);
}

/* 7. Wait for the first, and take on new work meanwhile. */
static void
wait_first(struct toolbox *t)
{
	struct slot_future *futures[JOBS + 1], *pending[JOBS + 1];
	size_t total = JOBS, n = JOBS;

	begin(t);
	start_jobs(t, futures);
	memcpy(pending, futures, JOBS * sizeof(pending[0]));
	while (n > 0) {
		struct slot_future *w = need(slot_wait(t->loop, pending, n, SLOT_FIRST_COMPLETED,
		    SLOT_NO_TIMEOUT, NULL));
		const struct slot_wait_result *r;
		void *result = NULL;

		await(t->sleeps, w);
		slot_future_result(w, &result);
		r = result;
		for (size_t i = 0; i < r->ndone; i++)
			print_end("wait_first", r->done[i]);
		n = r->npending;
		memcpy(pending, r->pending, n * sizeof(pending[0]));
		slot_future_unref(w);
		if (total == JOBS) {
			futures[total] = sleep_start(t->sleeps, &late);
			pending[n++] = futures[total++];
		}
	}
	print_took(t, "wait_first");
	unref_all(futures, total);
}

/* 8. Look every fifth of a second; nothing may have ended, or nothing be left. */
static void
wait_timeout(struct toolbox *t)
{
	struct slot_future *futures[JOBS], *pending[JOBS];
	size_t n = JOBS;

	begin(t);
	start_jobs(t, futures);
	memcpy(pending, futures, sizeof(pending));
	while (n > 0) {
		struct slot_future *w = need(slot_wait(t->loop, pending, n, SLOT_ALL_COMPLETED,
		    t->sleeps->second_ms / 5, NULL));
		const struct slot_wait_result *r;
		void *result = NULL;

		await(t->sleeps, w);
		slot_future_result(w, &result);
		r = result;
		printf("wait_timeout done %zu pending %zu\n", r->ndone, r->npending);
		for (size_t i = 0; i < r->ndone; i++)
			print_end("wait_timeout", r->done[i]);
		n = r->npending;
		memcpy(pending, r->pending, n * sizeof(pending[0]));
		slot_future_unref(w);
	}
	print_took(t, "wait_timeout");
	unref_all(futures, JOBS);
}

int
main(int argc, char **argv)
{
	struct sleeps *sleeps = sleeps_open(argc, argv);
	struct toolbox t = {.sleeps = sleeps, .loop = sleeps->loop};

	sequential(&t);
	by_hand(&t);
	pre_scheduled(&t);
	as_completed(&t);
	gather(&t);
	gather_exception(&t);
	future(&t);
	wait_first(&t);
	wait_timeout(&t);

	sleeps_close(sleeps);
	return 0;
}
