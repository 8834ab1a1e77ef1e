#ifndef ENGINE_QUEUE_SHELF_H
#define ENGINE_QUEUE_SHELF_H
/*
 * What the lines of a set of queues have shelved (engine/shelf.h): ids, by priority, and a mark in
 * the table of jobs that leads from an id to its line. A shelved job counts as a member of its
 * line, and as waiting, exactly as one in memory does.
 *
 * A line is hungry while more of it ought to be in memory: it may start, and what it will start
 * next is shelved, or will be after fewer than `batch` others.
 */
#include "engine/queue.h"
#include "store/idtab.h"

struct queue_shelf_options {
	struct idtab *jobs;           /* where the marks are; NULL: nothing is ever shelved */
	size_t hot;                   /* a line keeps so many in memory that are durable */
	size_t batch;
	void (*on_hungry)(void *arg); /* some line became hungry: queue_shelf_next_hungry soon */
	void *arg;
};

/* Before anything enters. */
void queue_set_shelf(struct queue_set *set, const struct queue_shelf_options *options);
size_t queue_shelf_count(const struct queue_set *set);

static inline bool
queue_shelf_is_mark(const void *entry)
{
	return ((uintptr_t)entry & 1) != 0;
}

/* ---- onto the shelf, and down ---- */

/* Would it be shelved, being in line and durable? If not, from here on it counts as one that
 * stays. */
bool queue_shelf_wants(struct queue_set *set, struct slot_action *a);
/* Shelves what stands at `place`: the mark replaces it in the table, the place's membership is the
 * mark's, and the caller takes its action out of the executor and clears the place. 0, -ENOMEM,
 * or -EINVAL: one that came later is shelved already. */
int queue_shelf_put(struct queue_set *set, const struct queue_place *place, int priority);

/* The opposite: fills in the place of a shelved job. When its action is in line, and its pointer
 * in the table instead of the mark, queue_shelf_taken. */
void queue_shelf_place(const struct queue_set *set, uint64_t id, struct queue_place *place);
void queue_shelf_taken(struct queue_set *set, void *mark);

/* Why it doesn't run right now. */
enum queue_obstacle queue_shelf_obstacle(const struct queue_set *set, uint64_t id);

/* ---- reading ahead ---- */

/* A line that is hungry and has no reader; *at becomes its reader, set to NULL if the line goes
 * away. False: none. */
bool queue_shelf_any_hungry(const struct queue_set *set); /* perhaps */
bool queue_shelf_next_hungry(struct queue_set *set, struct queue_line **at);
/* The first shelved ids of the line. */
size_t queue_shelf_first(const struct queue_set *set, const struct queue_line *line, uint64_t *ids,
    size_t max);
/* The reader is done, and *at cleared; put_off: the line is not looked at again just now. */
void queue_shelf_read(struct queue_set *set, struct queue_line **at);
void queue_shelf_put_off(struct queue_line **at);
/* Looks at all lines again. */
void queue_shelf_recheck(struct queue_set *set);
/* From here on every line is hungry that has anything shelved, and nothing more gets there. */
void queue_shelf_empty(struct queue_set *set, bool on);

#endif
