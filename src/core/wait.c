/*
 * wait: a future that is settled when enough of its inputs are, or when the time is up. Which
 * inputs are done is looked at in that moment, so the result may name more than the one that
 * ended the wait.
 */
#include "core/container.h"
#include "core/distinct.h"
#include "core/future.h"
#include "core/loop.h"

#include <slot/combine.h>
#include <stdlib.h>

struct wait {
	struct slot_future future;
	struct slot_wait_result result; /* its arrays share `sorted` */
	struct slot_timer timer;
	enum slot_return_when when;
	size_t unfinished; /* inputs whose callback is to come */
	size_t n;
	struct slot_future **sorted; /* the second half of inputs[] */
	struct slot_future *inputs[]; /* n references, in input order; then room for `sorted` */
};

static struct wait *
wait_of(struct slot_future *f)
{
	return slot_container_of(f, struct wait, future);
}

/* No allocation here: a wait that was given out can always be settled. */
static void
settle(struct wait *w, bool timed_out)
{
	struct slot_wait_result *r = &w->result;
	size_t at = 0;

	r->timed_out = timed_out;
	r->done = w->sorted;
	for (size_t i = 0; i < w->n; i++) {
		if (slot_future_done(w->inputs[i]))
			w->sorted[at++] = w->inputs[i];
	}
	r->ndone = at;
	r->pending = w->sorted + at;
	for (size_t i = 0; i < w->n; i++) {
		if (!slot_future_done(w->inputs[i]))
			w->sorted[at++] = w->inputs[i];
	}
	r->npending = w->n - r->ndone;
	(void)slot_future_set_result(&w->future, r, NULL);
}

/* Whether an input that ended ends the wait. */
static bool
is_enough(const struct wait *w, const struct slot_future *f)
{
	int code = 0;

	if (w->unfinished == 0)
		return true;
	switch (w->when) {
	case SLOT_FIRST_COMPLETED:
		return true;
	case SLOT_FIRST_EXCEPTION:
		return slot_future_exception(f, &code, NULL) == 0 && code != 0;
	case SLOT_ALL_COMPLETED:
		return false;
	}
	return false;
}

static void
on_done(struct slot_future *f, void *arg)
{
	struct wait *w = arg;

	w->unfinished--;
	if (is_enough(w, f))
		settle(w, false);
}

static void
on_timeout(struct slot_timer *timer)
{
	settle(slot_container_of(timer, struct wait, timer), true);
}

/* Settled or cancelled: it hears nothing more and no longer keeps itself. */
static void
on_settled(struct slot_future *f)
{
	struct wait *w = wait_of(f);

	slot_loop_timer_clear(f->loop, &w->timer);
	for (size_t i = 0; i < w->n; i++)
		slot_future_remove_done_callback(w->inputs[i], on_done, w);
	slot_future_unref(f);
}

static void
destroy(struct slot_future *f)
{
	struct wait *w = wait_of(f);

	for (size_t i = 0; i < w->n; i++)
		slot_future_unref(w->inputs[i]);
	free(w);
}

static const struct slot_future_ops wait_ops = {.settled = on_settled, .destroy = destroy};

static struct wait *
allocate(struct slot_loop *loop, struct slot_future *const *futures, const size_t *places,
    size_t n)
{
	struct wait *w = calloc(1, sizeof(*w) + 2 * n * sizeof(w->inputs[0]));

	if (w == NULL)
		return NULL;
	slot_future_init(&w->future, loop, &wait_ops);
	w->timer.fire = on_timeout;
	w->n = n;
	w->sorted = w->inputs + n;
	for (size_t i = 0; i < n; i++)
		w->inputs[i] = slot_future_ref(futures[places[i]]);
	return w;
}

/* Listens to what is not done; *enough: the wait is over already. */
static int
follow_inputs(struct wait *w, bool *enough)
{
	for (size_t i = 0; i < w->n; i++) {
		if (slot_future_done(w->inputs[i]))
			continue;
		if (slot_future_add_done_callback(w->inputs[i], on_done, w) != 0)
			return -SLOT_ENOMEM;
		w->unfinished++;
	}
	*enough = w->unfinished == 0;
	for (size_t i = 0; i < w->n && !*enough; i++)
		*enough = slot_future_done(w->inputs[i]) && is_enough(w, w->inputs[i]);
	return 0;
}

static int
start(struct wait *w, int64_t timeout_ms)
{
	bool enough = false;
	int rc = follow_inputs(w, &enough);

	if (rc == 0 && !enough && timeout_ms != SLOT_NO_TIMEOUT)
		rc = slot_loop_timer_set(w->future.loop, &w->timer,
		    slot_loop_in_ms(w->future.loop, timeout_ms));
	if (rc == 0) {
		slot_future_ref(&w->future); /* given back in on_settled */
		if (enough)
			settle(w, false);
	}
	return rc;
}

/* A wait that could not be started. */
static void
discard(struct wait *w)
{
	for (size_t i = 0; i < w->n; i++)
		slot_future_remove_done_callback(w->inputs[i], on_done, w);
	slot_future_unref(&w->future);
}

struct slot_future *
slot_wait(struct slot_loop *loop, struct slot_future *const *futures, size_t n,
    enum slot_return_when when, int64_t timeout_ms, int *error)
{
	struct wait *w = NULL;
	size_t *places = NULL;
	size_t count = 0;
	int rc = -SLOT_EINVAL;

	if (n == 0 || timeout_ms < SLOT_NO_TIMEOUT || (unsigned)when > SLOT_ALL_COMPLETED)
		goto out;
	places = slot_distinct(futures, n, &count, &rc);
	if (places == NULL)
		goto out;
	w = allocate(loop, futures, places, count);
	if (w == NULL) {
		rc = -SLOT_ENOMEM;
		goto out;
	}
	w->when = when;
	rc = start(w, timeout_ms);
	if (rc != 0) {
		discard(w);
		w = NULL;
	}
out:
	free(places);
	if (error != NULL)
		*error = rc;
	return w != NULL ? &w->future : NULL;
}
