#ifndef ENGINE_QUEUE_LINE_H
#define ENGINE_QUEUE_LINE_H
/*
 * The inside of a set of queues, for queue.c (the order of starting) and queue_shelf.c (what each
 * line has on its shelf); nobody else looks in here.
 */
#include "engine/idfifo.h"
#include "engine/queue.h"
#include "engine/queue_shelf.h"
#include <sys/queue.h>

/* Shelved jobs of one line and priority. Its address, with the low bit set, is what the table of
 * jobs holds for each of them. */
struct queue_fifo {
	TAILQ_ENTRY(queue_fifo) entry; /* in its line, highest priority first, never an empty one */
	struct queue_line *line;
	int priority;
	size_t count; /* of its ids, those that are shelved still; its first always is */
	struct idfifo ids;
};

struct queue_line {
	TAILQ_ENTRY(queue_line) entry; /* in its user's lines */
	TAILQ_ENTRY(queue_line) of_queue;
	struct queue *queue;
	struct queue_user *user;
	struct order waiting;
	struct slot_action *parked; /* a list, linked as in an order */
	size_t members;             /* jobs that entered and have not left, shelved ones too */
	struct slot_action *passed; /* the head that was overtaken … */
	unsigned overtaken;         /* … so often */

	/* queue_shelf.c */
	TAILQ_HEAD(, queue_fifo) shelf;
	TAILQ_ENTRY(queue_line) in_hungry; /* where `listed` */
	bool listed;
	struct queue_line **reader; /* whoever takes some of it down knows it by this */
};

struct queue_user {
	TAILQ_ENTRY(queue_user) entry; /* in the set, active ones only, by virtual time */
	TAILQ_ENTRY(queue_user) all;
	uint32_t uid;
	uint64_t vtime;   /* slots started, in this set's virtual time */
	size_t waiting;   /* actions in line (parked ones too), and shelved jobs */
	size_t members;
	TAILQ_HEAD(, queue_line) lines;
};

struct queue {
	TAILQ_ENTRY(queue) entry;
	TAILQ_HEAD(, queue_line) lines;
	struct queue_set *set;
	uint32_t limit;
	uint32_t running; /* slots */
	size_t members, running_jobs;
	bool paused;
	const char *name; /* of the set's names */
};

struct queue_set {
	queue_place_cb place;
	uint32_t total; /* max_running */
	uint64_t vtime; /* of the last start */
	TAILQ_HEAD(, queue) queues;
	TAILQ_HEAD(user_list, queue_user) active;
	TAILQ_HEAD(, queue_user) users;
	struct queue_label *names;

	/* queue_shelf.c */
	struct queue_shelf_options shelf;
	TAILQ_HEAD(, queue_line) hungry;
	size_t nshelved;
	bool emptying;
};

/* One more, or one less, of the user's jobs waits. */
void queue_user_waits(struct queue_set *set, struct queue_user *u);
void queue_user_waits_less(struct queue_set *set, struct queue_user *u);

/* Does something shelved stand before this in the line's order? */
bool queue_line_shelved_before(const struct queue_line *line, int priority, uint64_t id);
/* Its jobs in memory became fewer, or it may start again: see whether more are wanted. */
void queue_line_check(struct queue_set *set, struct queue_line *line);
/* The line is about to be freed. */
void queue_line_clear_shelf(struct queue_set *set, struct queue_line *line);

#endif
