#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H
/*
 * The order of starting: named queues with limits of their own, fairness between uids, priority
 * within one uid. It is the pending policy of the engine's slot_executor, and decides only; it
 * starts nothing.
 *
 *  - Between uids: start-time fair queueing. Each uid has a virtual time that grows by the slots
 *    it starts; the one that is least far goes first. A uid that comes back begins at the present.
 *  - Within (queue, uid), a "line": priority, then id. Among the lines of one uid the best head.
 *  - A head that does not fit waits and holds its line, others pass; when OVERTAKE_MAX have, nothing
 *    of its queue (where the queue is full) or nothing at all (where the total is) passes it.
 *  - A job that could never fit, after a lowering of a limit, is parked beside its line.
 *  - A line whose first job is shelved (queue_shelf.h) starts nothing until that is in memory; it
 *    keeps its turn, and nobody waits for it.
 */
#include "core/executor.h"
#include "engine/order.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_UNLIMITED UINT32_MAX
#define QUEUE_OVERTAKE_MAX 64

struct queue;

struct queue_set; /* all queues of an engine: the policy object */

struct queue_set *queue_set_new(queue_place_cb place);
void queue_set_free(struct queue_set *set);
extern const struct slot_pending_ops queue_pending_ops; /* on a struct queue_set */

/* The total limit, for parking what could never fit; 0 counts as a pause, not a limit. */
void queue_set_total(struct queue_set *set, uint32_t max_running);

struct queue *queue_find(const struct queue_set *set, const char *name); /* NULL: unknown */
/* Makes a queue, unlimited. NULL: out of memory. */
struct queue *queue_add(struct queue_set *set, const char *name);
/* 0; -EBUSY while it has jobs. Frees it. */
int queue_remove(struct queue_set *set, struct queue *q);
/* In order of making: the one after q, or the first (q NULL). */
struct queue *queue_next(const struct queue_set *set, const struct queue *q);

const char *queue_name(const struct queue *q); /* valid as long as the set */
uint32_t queue_limit(const struct queue *q); /* QUEUE_UNLIMITED: none */
void queue_set_limit(struct queue *q, uint32_t max_running);
bool queue_paused(const struct queue *q);
void queue_set_paused(struct queue *q, bool paused);
uint32_t queue_running(const struct queue *q); /* slots */
/* Jobs that belong to the queue and don't run: waiting in line or not startable yet. */
size_t queue_pending(const struct queue *q);

/* A job joins (queue, uid) for its life as a pending or running job. 0 or -ENOMEM. */
int queue_enter(struct queue_set *set, struct queue *q, uint32_t uid, uint64_t id,
    struct queue_place *place);
/* It ended, or changes queue. Not while its action is pending or running. */
void queue_leave(struct queue_set *set, struct queue_place *place);
struct queue *queue_of(const struct queue_place *place);
uint32_t queue_uid(const struct queue_place *place);

/* To be called first thing when the executor starts the action: its uid pays for the slots. */
void queue_started(struct queue_set *set, struct queue_place *place, uint32_t slots);

enum queue_obstacle { QUEUE_OBSTACLE_SLOTS, QUEUE_OBSTACLE_QUEUE, QUEUE_OBSTACLE_PAUSED };
/* Why an action in line doesn't run right now. */
enum queue_obstacle queue_obstacle(const struct queue_place *place, uint32_t slots);

#endif
