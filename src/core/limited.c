/*
 * limited: runs a lazy sequence with a bound on what is made and not yet handed over. It sleeps
 * until a future ends; each end makes room for one more.
 *
 * Every future is heard of through its callback, those done when they were made included, so
 * the order of handing over is the order of ending and nothing recurses.
 */
#include "core/container.h"
#include "core/future.h"
#include "core/loop.h"

#include <slot/combine.h>
#include <stdlib.h>

/* How many futures are made before the loop has its turn. */
enum { MADE_IN_A_ROW = 256 };

struct limited;

/* A future that was made and not yet handed over; in the list of them. */
struct item {
	struct limited *limited;
	struct slot_future *future; /* a reference */
	struct item *next;
	struct item **prev;
};

struct limited {
	struct slot_future future;
	struct slot_call fill_call;
	slot_limited_next_cb next;
	slot_limited_item_cb item;
	void *arg;
	struct item *items; /* in the order of making */
	struct item **last;
	unsigned limit;
	unsigned in_flight; /* items, and one that is being handed over */
	bool asking;        /* next is being called */
	bool stopped;       /* nothing is asked for any more */
	bool cancelled;
	int code; /* why it failed, or 0 */
};

static void on_done(struct slot_future *f, void *arg);

static struct limited *
limited_of(struct slot_future *f)
{
	return slot_container_of(f, struct limited, future);
}

static void
item_free(struct item *it)
{
	*it->prev = it->next;
	if (it->next != NULL)
		it->next->prev = it->prev;
	else
		it->limited->last = it->prev;
	slot_future_unref(it->future);
	free(it);
}

static void
settle_when_ended(struct limited *l)
{
	if (!l->stopped || l->in_flight > 0 || l->asking || slot_future_done(&l->future))
		return;
	if (l->cancelled)
		(void)slot_future_set_cancelled(&l->future);
	else if (l->code != 0)
		(void)slot_future_set_exception(&l->future, l->code, NULL, NULL);
	else
		(void)slot_future_set_result(&l->future, NULL, NULL);
}

/* Asks everything unfinished to end. A cancel may run code of the owner's, which may even
 * settle us; no item goes before its callback, which only the loop runs, or before that. */
static void
cancel_items(struct limited *l)
{
	struct item *it = l->items;

	while (it != NULL && !slot_future_done(&l->future)) {
		struct item *next = it->next;

		slot_future_cancel(it->future);
		if (slot_future_done(&l->future))
			return;
		it = next;
	}
}

static void
stop_with(struct limited *l, int code)
{
	l->stopped = true;
	if (l->code == 0)
		l->code = code;
	cancel_items(l);
}

/* Takes a future from next. It is cancelled where nobody could hear of its end. */
static void
take(struct limited *l, struct item *it, struct slot_future *f)
{
	it->limited = l;
	it->future = f;
	it->next = NULL;
	it->prev = l->last;
	*l->last = it;
	l->last = &it->next;
	if (slot_future_add_done_callback(f, on_done, it) != 0) {
		slot_future_cancel(f);
		item_free(it);
		stop_with(l, -SLOT_ENOMEM);
		return;
	}
	l->in_flight++;
	/* Cancelled while next was making it. */
	if (l->stopped)
		slot_future_cancel(f);
}

/* Makes one more; the memory for it is there before next is asked. */
static void
make_one(struct limited *l)
{
	struct item *it = malloc(sizeof(*it));
	struct slot_future *f;

	if (it == NULL) {
		stop_with(l, -SLOT_ENOMEM);
		return;
	}
	l->asking = true;
	f = l->next(l->arg);
	l->asking = false;
	if (f != NULL && !slot_future_done(&l->future)) {
		take(l, it, f);
		return;
	}
	l->stopped = true;
	slot_future_unref(f);
	free(it);
}

static void
fill(struct limited *l)
{
	slot_future_ref(&l->future);
	for (unsigned made = 0; !l->stopped && l->in_flight < l->limit; made++) {
		if (made == MADE_IN_A_ROW) {
			slot_loop_call_soon(l->future.loop, &l->fill_call);
			break;
		}
		make_one(l);
	}
	settle_when_ended(l);
	slot_future_unref(&l->future);
}

static void
run_fill(struct slot_call *call)
{
	fill(slot_container_of(call, struct limited, fill_call));
}

/* The room is free only after the item was handed over. */
static void
on_done(struct slot_future *f, void *arg)
{
	struct item *it = arg;
	struct limited *l = it->limited;

	slot_future_ref(f);
	slot_future_ref(&l->future);
	item_free(it);
	if (l->item != NULL)
		l->item(f, l->arg);
	l->in_flight--;
	fill(l);
	slot_future_unref(&l->future);
	slot_future_unref(f);
}

static bool
cancel(struct slot_future *f)
{
	struct limited *l = limited_of(f);

	slot_future_ref(f);
	l->cancelled = true;
	l->stopped = true;
	cancel_items(l);
	settle_when_ended(l);
	slot_future_unref(f);
	return true;
}

/* However it was settled: it asks and hears nothing more, and no longer keeps itself. */
static void
on_settled(struct slot_future *f)
{
	struct limited *l = limited_of(f);

	l->stopped = true;
	slot_loop_call_cancel(f->loop, &l->fill_call);
	while (l->items != NULL) {
		slot_future_remove_done_callback(l->items->future, on_done, l->items);
		item_free(l->items);
	}
	slot_future_unref(f);
}

static void
destroy(struct slot_future *f)
{
	free(limited_of(f));
}

static const struct slot_future_ops limited_ops = {
	.cancel = cancel,
	.settled = on_settled,
	.destroy = destroy,
};

struct slot_future *
slot_limited(struct slot_loop *loop, unsigned limit, slot_limited_next_cb next,
    slot_limited_item_cb item, void *arg, int *error)
{
	struct limited *l = NULL;
	int rc = limit == 0 || next == NULL ? -SLOT_EINVAL : 0;

	if (rc == 0) {
		l = calloc(1, sizeof(*l));
		rc = l == NULL ? -SLOT_ENOMEM : 0;
	}
	if (error != NULL)
		*error = rc;
	if (rc != 0)
		return NULL;
	slot_future_init(&l->future, loop, &limited_ops);
	l->fill_call.run = run_fill;
	l->last = &l->items;
	l->next = next;
	l->item = item;
	l->arg = arg;
	l->limit = limit;
	slot_loop_call_soon(loop, &l->fill_call);
	return slot_future_ref(&l->future); /* the other one is our own, until it is settled */
}
