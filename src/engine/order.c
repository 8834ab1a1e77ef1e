/* Priority, then id; see order.h. */
#include "engine/order.h"

#include <errno.h>
#include <stdlib.h>

/* Actions of one priority, in id order: links [0] next, [1] prev. */
struct order_level {
	TAILQ_ENTRY(order_level) entry;
	int priority;
	struct slot_action *head, *tail;
};

void
order_init(struct order *o)
{
	TAILQ_INIT(&o->levels);
}

struct slot_action *
order_head(const struct order *o)
{
	const struct order_level *lv = TAILQ_FIRST(&o->levels);

	return lv != NULL ? lv->head : NULL;
}

static struct slot_action *
next_of(struct slot_action *a)
{
	return slot_action_links(a)[0];
}

static struct slot_action *
prev_of(struct slot_action *a)
{
	return slot_action_links(a)[1];
}

static void
link_after(struct order_level *lv, struct slot_action *at, struct slot_action *a)
{
	struct slot_action *next = at != NULL ? next_of(at) : lv->head;

	slot_action_links(a)[0] = next;
	slot_action_links(a)[1] = at;
	if (at != NULL)
		slot_action_links(at)[0] = a;
	else
		lv->head = a;
	if (next != NULL)
		slot_action_links(next)[1] = a;
	else
		lv->tail = a;
}

static void
unlink_from(struct order_level *lv, struct slot_action *a)
{
	struct slot_action *next = next_of(a), *prev = prev_of(a);

	if (prev != NULL)
		slot_action_links(prev)[0] = next;
	else
		lv->head = next;
	if (next != NULL)
		slot_action_links(next)[1] = prev;
	else
		lv->tail = prev;
	slot_action_links(a)[0] = slot_action_links(a)[1] = NULL;
}

static struct order_level *
level_get(struct order *o, int priority)
{
	struct order_level *lv, *made;

	TAILQ_FOREACH(lv, &o->levels, entry) {
		if (lv->priority == priority)
			return lv;
		if (lv->priority < priority)
			break;
	}
	made = calloc(1, sizeof *made);
	if (made == NULL)
		return NULL;
	made->priority = priority;
	if (lv != NULL)
		TAILQ_INSERT_BEFORE(lv, made, entry);
	else
		TAILQ_INSERT_TAIL(&o->levels, made, entry);
	return made;
}

/*
 * New jobs belong at the tail and retried ones near the head, so looking from both ends at once
 * finds the place soon.
 */
int
order_put(struct order *o, struct slot_action *a, queue_place_cb place)
{
	struct order_level *lv = level_get(o, slot_action_priority(a));
	struct slot_action *front, *back;
	uint64_t id = place(a)->id;

	if (lv == NULL)
		return -ENOMEM;
	front = lv->head;
	back = lv->tail;
	while (back != NULL && place(back)->id > id && place(front)->id < id) {
		back = prev_of(back);
		front = next_of(front);
	}
	if (back == NULL || place(back)->id < id)
		link_after(lv, back, a);
	else
		link_after(lv, prev_of(front), a);
	return 0;
}

void
order_take(struct order *o, struct slot_action *a)
{
	struct order_level *lv;

	TAILQ_FOREACH(lv, &o->levels, entry)
		if (lv->priority == slot_action_priority(a))
			break;
	unlink_from(lv, a);
	if (lv->head != NULL)
		return;
	TAILQ_REMOVE(&o->levels, lv, entry);
	free(lv);
}
