/*
 * gather: all inputs in the order given. It is settled by the last input that ends, or by the
 * first failure where failures are to be raised; the others then run on.
 */
#include "core/container.h"
#include "core/distinct.h"
#include "core/future.h"

#include <slot/combine.h>
#include <stdlib.h>

struct gather;

/* One distinct input. */
struct child {
	struct gather *gather;
	size_t index; /* where it is given first */
};

struct gather {
	struct slot_future future;
	struct slot_gather_result result;
	struct slot_gather_failure failure;
	enum slot_gather_mode mode;
	bool cancel_asked;
	size_t unfinished; /* children that were not heard of */
	size_t nchildren;
	struct child *children;
	size_t n;
	struct slot_future *inputs[]; /* a reference each, repeats included */
};

static struct gather *
gather_of(struct slot_future *f)
{
	return slot_container_of(f, struct gather, future);
}

static struct slot_future *
child_future(const struct child *c)
{
	return c->gather->inputs[c->index];
}

/* 0 or the code that the child fails the gather with. */
static int
failure_code(const struct slot_future *f)
{
	int code = 0;
	int rc = slot_future_exception(f, &code, NULL);

	return rc != 0 ? rc : code;
}

static void
fail(struct gather *g, size_t index, int code)
{
	if (code == -SLOT_ECANCELLED && g->cancel_asked) {
		(void)slot_future_set_cancelled(&g->future);
		return;
	}
	g->failure.index = index;
	g->failure.future = g->inputs[index];
	(void)slot_future_set_exception(&g->future, code, &g->failure, NULL);
}

static void
finish(struct gather *g)
{
	if (g->cancel_asked) {
		(void)slot_future_set_cancelled(&g->future);
		return;
	}
	g->result.futures = g->inputs;
	g->result.n = g->n;
	(void)slot_future_set_result(&g->future, &g->result, NULL);
}

/* The child has ended. Settling may free the gather, so it comes last. */
static void
account(struct child *c)
{
	struct gather *g = c->gather;
	int code = failure_code(child_future(c));

	g->unfinished--;
	if (code != 0 && g->mode == SLOT_GATHER_RAISE)
		fail(g, c->index, code);
	else if (g->unfinished == 0)
		finish(g);
}

static void
on_done(struct slot_future *f, void *arg)
{
	(void)f;
	account(arg);
}

/* The request goes down to the children; the gather ends as they do. */
static bool
cancel(struct slot_future *f)
{
	struct gather *g = gather_of(f);
	bool taken = false;

	slot_future_ref(f); /* a child's cancel may run anything */
	for (size_t i = 0; i < g->nchildren; i++) {
		if (slot_future_cancel(child_future(&g->children[i])))
			taken = true;
	}
	if (taken)
		g->cancel_asked = true;
	slot_future_unref(f);
	return taken;
}

static void
stop_listening(struct gather *g)
{
	for (size_t i = 0; i < g->nchildren; i++)
		slot_future_remove_done_callback(child_future(&g->children[i]), on_done,
		    &g->children[i]);
}

static void
on_settled(struct slot_future *f)
{
	stop_listening(gather_of(f));
	slot_future_unref(f); /* it kept itself until now */
}

static void
destroy(struct slot_future *f)
{
	struct gather *g = gather_of(f);

	for (size_t i = 0; i < g->n; i++)
		slot_future_unref(g->inputs[i]);
	free(g->children);
	free(g);
}

static const struct slot_future_ops gather_ops = {
	.cancel = cancel,
	.settled = on_settled,
	.destroy = destroy,
};

/* `places`: where the `count` distinct inputs stand. */
static struct gather *
allocate(struct slot_loop *loop, struct slot_future *const *futures, size_t n,
    const size_t *places, size_t count)
{
	struct gather *g = calloc(1, sizeof(*g) + n * sizeof(g->inputs[0]));
	struct child *children = calloc(count > 0 ? count : 1, sizeof(*children));

	if (g == NULL || children == NULL) {
		free(g);
		free(children);
		return NULL;
	}
	slot_future_init(&g->future, loop, &gather_ops);
	g->n = n;
	for (size_t i = 0; i < n; i++)
		g->inputs[i] = slot_future_ref(futures[i]);
	g->children = children;
	g->nchildren = count;
	g->unfinished = count;
	for (size_t i = 0; i < count; i++)
		children[i] = (struct child){g, places[i]};
	return g;
}

static int
follow_children(struct gather *g)
{
	for (size_t i = 0; i < g->nchildren; i++) {
		struct child *c = &g->children[i];

		if (!slot_future_done(child_future(c)) &&
		    slot_future_add_done_callback(child_future(c), on_done, c) != 0)
			return -SLOT_ENOMEM;
	}
	return 0;
}

/* Counts what was done at the start; one of them may already decide. The caller holds `g`. */
static void
account_done(struct gather *g)
{
	for (size_t i = 0; i < g->nchildren; i++) {
		if (slot_future_done(&g->future))
			return;
		if (slot_future_done(child_future(&g->children[i])))
			account(&g->children[i]);
	}
}

static int
start(struct gather *g)
{
	int rc = follow_children(g);

	if (rc != 0)
		return rc;
	slot_future_ref(&g->future); /* given back in on_settled */
	if (g->n == 0)
		finish(g);
	else
		account_done(g);
	return 0;
}

struct slot_future *
slot_gather(struct slot_loop *loop, struct slot_future *const *futures, size_t n,
    enum slot_gather_mode mode, int *error)
{
	struct gather *g = NULL;
	size_t *places = NULL;
	size_t count = 0;
	int rc = 0;

	if (n > 0) {
		places = slot_distinct(futures, n, &count, &rc);
		if (places == NULL)
			goto out;
	}
	g = allocate(loop, futures, n, places, count);
	if (g == NULL) {
		rc = -SLOT_ENOMEM;
		goto out;
	}
	g->mode = mode;
	rc = start(g);
	if (rc != 0) {
		stop_listening(g);
		slot_future_unref(&g->future);
		g = NULL;
	}
out:
	free(places);
	if (error != NULL)
		*error = rc;
	return g != NULL ? &g->future : NULL;
}
