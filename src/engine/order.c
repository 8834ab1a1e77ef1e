/*
 * Priority, then id; see order.h. The actions of one priority are a list. About one in sixteen has
 * a tower in a skip list beside it, so that the place for one that comes late (it was delayed, or
 * was somewhere else) is found without walking past all of them.
 */
#include "engine/order.h"

#include <errno.h>
#include <stdlib.h>

#define TOWER_EVERY 16 /* actions, on average */
#define TOWER_FEWER 4  /* each height has so many times fewer towers */
#define TOWER_HEIGHT 9 /* 16 * 4^8: sound for a million actions */

struct order_tower {
	struct slot_action *a;
	uint64_t id;
	unsigned height;
	struct order_tower *next[];
};

/* Actions of one priority, in id order: links [0] next, [1] prev. */
struct order_level {
	TAILQ_ENTRY(order_level) entry;
	int priority;
	struct slot_action *head, *tail;
	struct order_count count;
	struct order_tower *first[TOWER_HEIGHT], *last[TOWER_HEIGHT];
};

/* Of each height the last tower that stands before some id; NULL: none does. */
struct order_seek {
	struct order_tower *before[TOWER_HEIGHT];
};

void
order_init(struct order *o)
{
	TAILQ_INIT(&o->levels);
	o->settled = 0;
	o->random = 88172645463325252u;
}

struct slot_action *
order_head(const struct order *o)
{
	const struct order_level *lv = TAILQ_FIRST(&o->levels);

	return lv != NULL ? lv->head : NULL;
}

/* ---- the list of a level ---- */

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

/* ---- the index of a level ---- */

static struct order_tower *
tower_after(const struct order_level *lv, const struct order_tower *t, unsigned height)
{
	return t != NULL ? t->next[height] : lv->first[height];
}

static void
seek_id(const struct order_level *lv, uint64_t id, struct order_seek *seek)
{
	struct order_tower *t = NULL;

	for (unsigned h = TOWER_HEIGHT; h-- > 0; seek->before[h] = t)
		for (struct order_tower *next = tower_after(lv, t, h);
		    next != NULL && next->id < id; next = tower_after(lv, t, h))
			t = next;
}

static void
seek_end(const struct order_level *lv, struct order_seek *seek)
{
	for (unsigned h = 0; h < TOWER_HEIGHT; h++)
		seek->before[h] = lv->last[h];
}

/* 0: none, for most. */
static unsigned
tower_height(struct order *o)
{
	uint64_t r = o->random;
	unsigned height = 1;

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	o->random = r;
	if (r % TOWER_EVERY != 0)
		return 0;
	for (r /= TOWER_EVERY; height < TOWER_HEIGHT && r % TOWER_FEWER == 0; r /= TOWER_FEWER)
		height++;
	return height;
}

/* Where there is no memory for it, the search for others is a little longer. */
static void
tower_build(struct order_level *lv, const struct order_seek *seek, struct slot_action *a,
    struct queue_place *p, unsigned height)
{
	struct order_tower *t = malloc(sizeof *t + height * sizeof(struct order_tower *));

	if (t == NULL)
		return;
	t->a = a;
	t->id = p->id;
	t->height = height;
	for (unsigned h = 0; h < height; h++) {
		struct order_tower *before = seek->before[h];

		t->next[h] = tower_after(lv, before, h);
		if (before != NULL)
			before->next[h] = t;
		else
			lv->first[h] = t;
		if (t->next[h] == NULL)
			lv->last[h] = t;
	}
	p->indexed = true;
}

static void
tower_raze(struct order_level *lv, struct queue_place *p)
{
	struct order_seek seek;
	struct order_tower *t;

	seek_id(lv, p->id, &seek);
	t = tower_after(lv, seek.before[0], 0);
	for (unsigned h = 0; h < t->height; h++) {
		struct order_tower *before = seek.before[h];

		if (before != NULL)
			before->next[h] = t->next[h];
		else
			lv->first[h] = t->next[h];
		if (t->next[h] == NULL)
			lv->last[h] = before;
	}
	free(t);
	p->indexed = false;
}

/* ---- levels ---- */

static struct order_level *
level_find(const struct order *o, int priority)
{
	struct order_level *lv;

	TAILQ_FOREACH(lv, &o->levels, entry)
		if (lv->priority == priority)
			break;
	return lv;
}

static struct order_level *
level_get(struct order *o, int priority)
{
	struct order_level *lv, *made;

	TAILQ_FOREACH(lv, &o->levels, entry)
		if (lv->priority <= priority)
			break;
	if (lv != NULL && lv->priority == priority)
		return lv;
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

int
order_put(struct order *o, struct slot_action *a, queue_place_cb place)
{
	struct order_level *lv = level_get(o, slot_action_priority(a));
	struct queue_place *p = place(a);
	struct slot_action *at;
	struct order_seek seek;
	unsigned height;

	if (lv == NULL)
		return -ENOMEM;
	if (lv->tail == NULL || place(lv->tail)->id < p->id) {
		seek_end(lv, &seek);
		at = lv->tail;
	} else {
		struct slot_action *next;

		seek_id(lv, p->id, &seek);
		at = seek.before[0] != NULL ? seek.before[0]->a : NULL;
		next = at != NULL ? next_of(at) : lv->head;
		for (; next != NULL && place(next)->id < p->id; next = next_of(next))
			at = next;
	}
	link_after(lv, at, a);
	height = tower_height(o);
	p->indexed = false;
	if (height > 0)
		tower_build(lv, &seek, a, p, height);
	lv->count.all++;
	lv->count.settled += p->settled;
	o->settled += p->settled;
	return 0;
}

void
order_take(struct order *o, struct slot_action *a, queue_place_cb place)
{
	struct order_level *lv = level_find(o, slot_action_priority(a));
	struct queue_place *p = place(a);

	if (p->indexed)
		tower_raze(lv, p);
	unlink_from(lv, a);
	lv->count.all--;
	lv->count.settled -= p->settled;
	o->settled -= p->settled;
	if (lv->head != NULL)
		return;
	TAILQ_REMOVE(&o->levels, lv, entry);
	free(lv);
}

void
order_settle(struct order *o, struct slot_action *a, queue_place_cb place)
{
	struct queue_place *p = place(a);

	if (p->settled)
		return;
	p->settled = true;
	o->settled++;
	level_find(o, slot_action_priority(a))->count.settled++;
}

struct order_count
order_count(const struct order *o, int priority)
{
	const struct order_level *lv;
	struct order_count sum = { 0, 0 };

	TAILQ_FOREACH(lv, &o->levels, entry) {
		if (lv->priority < priority)
			break;
		sum.all += lv->count.all;
		sum.settled += lv->count.settled;
	}
	return sum;
}
