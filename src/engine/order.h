#ifndef ENGINE_ORDER_H
#define ENGINE_ORDER_H
/*
 * Actions in the order of priority, then id: what stands in one line of a queue. Linked through
 * slot_action_links; an order allocates for a priority that it didn't hold, and for the index of
 * those it holds many of. Appending and taking away cost the same however many there are; putting
 * one between others takes a search in that index.
 */
#include "core/executor.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct queue_line;

/* Part of every job, beside its action: set by queue_enter before the action is pushed. */
struct queue_place {
	struct queue_line *line; /* the (queue, uid) it belongs to */
	uint64_t id;             /* the order within a priority */
	bool parked;
	bool settled;            /* its submit is durable, and it stays in memory */
	bool indexed;            /* the order's: it has a tower */
};

/* How the set of queues finds the place of an action (the engine embeds both in its job). */
typedef struct queue_place *(*queue_place_cb)(struct slot_action *a);

struct order_level;

struct order {
	TAILQ_HEAD(, order_level) levels; /* highest priority first, never an empty one */
	size_t settled;                   /* so many are */
	uint64_t random;                  /* which get a tower */
};

void order_init(struct order *o);
struct slot_action *order_head(const struct order *o); /* NULL: empty */
/* 0 or -ENOMEM. */
int order_put(struct order *o, struct slot_action *a, queue_place_cb place);
void order_take(struct order *o, struct slot_action *a, queue_place_cb place);
/* Marks one that it holds as settled. */
void order_settle(struct order *o, struct slot_action *a, queue_place_cb place);

/* How many it holds of this priority and above; of them, those that are settled. */
struct order_count {
	size_t all, settled;
};
struct order_count order_count(const struct order *o, int priority);

#endif
