/*
 * as_completed, built as asyncio builds it: a todo set, a queue of those done, one completion
 * callback for each future, and a timer that drains what is still to do. A callback knows its
 * own entry, so neither the set nor the queue is ever searched.
 */
#include "core/container.h"
#include "core/distinct.h"
#include "core/loop.h"

#include <assert.h>
#include <slot/combine.h>
#include <stdlib.h>

/* One distinct future: listening (it is in the todo set), then queued, then taken. */
struct entry {
	struct slot_as_completed *ac;
	struct slot_future *future; /* a reference; NULL once taken or given up */
	struct entry *next_done;
	bool listening; /* its callback is to come */
};

struct slot_as_completed {
	struct slot_loop *loop;
	slot_as_completed_cb ready;
	void *arg;
	struct slot_call call; /* runs ready */
	struct slot_timer timer;
	struct entry *first_done;
	struct entry **last_done;
	size_t todo;      /* entries that listen */
	size_t remaining; /* not taken */
	bool timed_out;
	bool *freed; /* set while ready runs: tells that it freed us */
	size_t n;
	struct entry entries[];
};

static void on_done(struct slot_future *f, void *arg);

static void
announce(struct slot_as_completed *ac)
{
	if (ac->ready != NULL)
		slot_loop_call_soon(ac->loop, &ac->call);
}

static void
enqueue(struct entry *e)
{
	struct slot_as_completed *ac = e->ac;

	e->next_done = NULL;
	*ac->last_done = e;
	ac->last_done = &e->next_done;
	announce(ac);
}

static void
on_done(struct slot_future *f, void *arg)
{
	struct entry *e = arg;

	(void)f;
	e->listening = false;
	if (--e->ac->todo == 0)
		slot_loop_timer_clear(e->ac->loop, &e->ac->timer);
	enqueue(e);
}

/* No callback of the entry comes after this. */
static void
stop_listening(struct entry *e)
{
	if (!e->listening)
		return;
	e->listening = false;
	e->ac->todo--;
	slot_future_remove_done_callback(e->future, on_done, e);
}

/* Gives up what has not ended; what has can still be taken. */
static void
on_timeout(struct slot_timer *timer)
{
	struct slot_as_completed *ac = slot_container_of(timer, struct slot_as_completed, timer);

	ac->timed_out = true;
	for (size_t i = 0; i < ac->n; i++) {
		struct entry *e = &ac->entries[i];

		if (!e->listening)
			continue;
		stop_listening(e);
		slot_future_unref(e->future);
		e->future = NULL;
	}
	announce(ac);
}

/* Runs ready; again where it took something and left something, for one that takes a single
 * future each time. One that takes nothing is not called again before there is news. */
static void
run_ready(struct slot_call *call)
{
	struct slot_as_completed *ac = slot_container_of(call, struct slot_as_completed, call);
	size_t before = ac->remaining;
	bool freed = false;

	ac->freed = &freed;
	ac->ready(ac, ac->arg);
	if (freed)
		return;
	ac->freed = NULL;
	if (ac->remaining < before && ac->first_done != NULL)
		announce(ac);
}

/* Those done come first, in the order given. */
static int
follow(struct entry *e)
{
	if (slot_future_done(e->future)) {
		enqueue(e);
		return 0;
	}
	if (slot_future_add_done_callback(e->future, on_done, e) != 0)
		return -SLOT_ENOMEM;
	e->listening = true;
	e->ac->todo++;
	return 0;
}

static int
start(struct slot_as_completed *ac, int64_t timeout_ms)
{
	for (size_t i = 0; i < ac->n; i++) {
		int rc = follow(&ac->entries[i]);

		if (rc != 0)
			return rc;
	}
	if (ac->todo == 0 || timeout_ms == SLOT_NO_TIMEOUT)
		return 0;
	return slot_loop_timer_set(ac->loop, &ac->timer, slot_loop_in_ms(ac->loop, timeout_ms));
}

static struct slot_as_completed *
allocate(struct slot_loop *loop, struct slot_future *const *futures, const size_t *places,
    size_t n)
{
	struct slot_as_completed *ac = calloc(1, sizeof(*ac) + n * sizeof(ac->entries[0]));

	if (ac == NULL)
		return NULL;
	ac->loop = loop;
	ac->call.run = run_ready;
	ac->timer.fire = on_timeout;
	ac->last_done = &ac->first_done;
	ac->remaining = n;
	ac->n = n;
	for (size_t i = 0; i < n; i++) {
		ac->entries[i].ac = ac;
		ac->entries[i].future = slot_future_ref(futures[places[i]]);
	}
	return ac;
}

struct slot_as_completed *
slot_as_completed_new(struct slot_loop *loop, struct slot_future *const *futures, size_t n,
    int64_t timeout_ms, slot_as_completed_cb ready, void *arg, int *error)
{
	struct slot_as_completed *ac = NULL;
	size_t *places = NULL;
	size_t count = 0;
	int rc = -SLOT_EINVAL;

	if (n == 0 || timeout_ms < SLOT_NO_TIMEOUT)
		goto out;
	places = slot_distinct(futures, n, &count, &rc);
	if (places == NULL)
		goto out;
	ac = allocate(loop, futures, places, count);
	if (ac == NULL) {
		rc = -SLOT_ENOMEM;
		goto out;
	}
	ac->ready = ready;
	ac->arg = arg;
	rc = start(ac, timeout_ms);
out:
	free(places);
	if (rc != 0) {
		slot_as_completed_free(ac);
		ac = NULL;
	}
	if (error != NULL)
		*error = rc;
	return ac;
}

struct slot_future *
slot_as_completed_next(struct slot_as_completed *ac)
{
	struct entry *e = ac->first_done;
	struct slot_future *f;

	if (e == NULL)
		return NULL;
	ac->first_done = e->next_done;
	if (ac->first_done == NULL)
		ac->last_done = &ac->first_done;
	f = e->future;
	e->future = NULL;
	ac->remaining--;
	return f;
}

int
slot_as_completed_status(const struct slot_as_completed *ac)
{
	if (ac->remaining == 0)
		return 0;
	return ac->timed_out && ac->first_done == NULL ? -SLOT_ETIMEOUT : 1;
}

size_t
slot_as_completed_remaining(const struct slot_as_completed *ac)
{
	return ac->remaining;
}

void
slot_as_completed_free(struct slot_as_completed *ac)
{
	if (ac == NULL)
		return;
	if (ac->freed != NULL)
		*ac->freed = true;
	slot_loop_call_cancel(ac->loop, &ac->call);
	slot_loop_timer_clear(ac->loop, &ac->timer);
	for (size_t i = 0; i < ac->n; i++) {
		stop_listening(&ac->entries[i]);
		slot_future_unref(ac->entries[i].future);
	}
	free(ac);
}
