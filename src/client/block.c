/* Waiting for a future, for programs without a loop of their own. */
#include <event2/event.h>

#include "client/client.h"

struct patience {
	struct slot_timer timer; /* first */
	struct event_base *base;
	bool over;
};

static void
on_patience(struct slot_timer *timer)
{
	struct patience *p = (struct patience *)timer;

	p->over = true;
	event_base_loopbreak(p->base);
}

static void
on_settled(struct slot_future *f, void *arg)
{
	(void)f;
	event_base_loopbreak(arg);
}

int
slot_client_run_until(struct slot_client *c, struct slot_future *f, int64_t timeout_ms)
{
	struct event_base *base = slot_loop_base(c->loop);
	struct slot_loop *loop = c->loop; /* a callback may free the client */
	struct patience p = { .timer.fire = on_patience, .base = base };
	int rc = 0;

	if (slot_future_done(f))
		return 0;
	rc = slot_future_add_done_callback(f, on_settled, base);
	if (rc == 0 && timeout_ms >= 0) {
		int64_t now = slot_loop_now_us(loop);
		int64_t left = (INT64_MAX - now) / 1000;

		if (timeout_ms < left)
			rc = slot_loop_timer_set(loop, &p.timer, now + timeout_ms * 1000);
	}
	while (rc == 0 && !slot_future_done(f)) {
		if (p.over)
			rc = -SLOT_ETIMEOUT;
		else if (event_base_loop(base, 0) != 0 && !slot_future_done(f))
			rc = -SLOT_EINVALSTATE;
	}
	slot_loop_timer_clear(loop, &p.timer);
	slot_future_remove_done_callback(f, on_settled, base);
	return rc;
}
