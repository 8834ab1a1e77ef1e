/*
 * Programs without a loop of their own: a client's own loop, and waiting on a loop until a future
 * is done.
 */
#include <stdlib.h>

#include <event2/event.h>
#include <slot/combine.h>

#include "client/client.h"

/* ---- a loop of the client's own ---- */

struct client_own {
	struct event_base *base;
	struct slot_loop *loop;
	unsigned holds; /* the clients on it, and a wait that runs */
};

struct client_own *
client_own_of(const struct slot_loop *loop)
{
	struct client_own *own = slot_loop_owner(loop);

	if (own != NULL)
		own->holds++;
	return own;
}

struct client_own *
client_own_new(struct slot_loop **loop)
{
	struct client_own *own = calloc(1, sizeof(*own));

	if (own == NULL)
		return NULL;
	own->holds = 1;
	own->base = event_base_new();
	own->loop = own->base != NULL ? slot_loop_new(own->base) : NULL;
	*loop = own->loop;
	if (own->loop == NULL) {
		client_own_release(own);
		return NULL;
	}
	slot_loop_set_owner(own->loop, own);
	return own;
}

void
client_own_release(struct client_own *own)
{
	if (own == NULL || --own->holds > 0)
		return;
	/* Nobody else can run it: what the end of the client settled is told now, or gather and
	 * wait would never let go of themselves. */
	while (own->loop != NULL && slot_loop_calls_queued(own->loop))
		event_base_loop(own->base, EVLOOP_NONBLOCK);
	slot_loop_free(own->loop);
	if (own->base != NULL)
		event_base_free(own->base);
	free(own);
}

/* ---- waiting ---- */

/* A wait on a loop, which a callback may take from its client meanwhile. */
struct waiting {
	struct slot_timer timer; /* first */
	struct slot_loop *loop;
	struct client_own *own; /* NULL: the loop is the program's */
	bool over;              /* the time is up */
};

static void
on_patience(struct slot_timer *timer)
{
	((struct waiting *)timer)->over = true;
}

static int
wait_begin(struct waiting *w, const struct slot_client *c)
{
	*w = (struct waiting){ .timer.fire = on_patience, .loop = c->loop, .own = c->own };
	if (slot_loop_is_running(c->loop)) /* a base can't be run from inside itself */
		return -SLOT_EINVALSTATE;
	if (w->own != NULL)
		w->own->holds++;
	return 0;
}

static void
wait_end(struct waiting *w)
{
	slot_loop_timer_clear(w->loop, &w->timer);
	client_own_release(w->own);
}

/* A turn of the loop: blocks until something happened. */
static int
wait_turn(struct waiting *w)
{
	return event_base_loop(slot_loop_base(w->loop), EVLOOP_ONCE) == 0 ? 0 : -SLOT_EINVALSTATE;
}

int
slot_client_run(struct slot_client *c, struct slot_future *f, int64_t timeout_ms)
{
	struct waiting w;
	int rc = 0;

	if (slot_future_done(f))
		return 0;
	if (f->loop != c->loop)
		return -SLOT_EINVAL;
	rc = wait_begin(&w, c);
	if (rc != 0)
		return rc;
	slot_future_ref(f); /* a callback may let go of it */
	if (timeout_ms >= 0)
		rc = slot_loop_timer_set(w.loop, &w.timer, slot_loop_in_ms(w.loop, timeout_ms));
	while (rc == 0 && !slot_future_done(f)) {
		rc = w.over ? -SLOT_ETIMEOUT : wait_turn(&w);
		if (slot_future_done(f))
			rc = 0;
	}
	slot_future_unref(f);
	wait_end(&w);
	return rc;
}

struct slot_future *
slot_client_run_next(struct slot_client *c, struct slot_as_completed *ac)
{
	struct slot_future *f = slot_as_completed_next(ac);
	struct waiting w;

	if (f != NULL || wait_begin(&w, c) != 0)
		return f;
	while (f == NULL && slot_as_completed_status(ac) == 1 && wait_turn(&w) == 0)
		f = slot_as_completed_next(ac);
	wait_end(&w);
	return f;
}
