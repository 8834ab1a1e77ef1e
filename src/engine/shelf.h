#ifndef ENGINE_SHELF_H
#define ENGINE_SHELF_H
/*
 * Shelved jobs: pending ones that lack nothing but their turn, whose row and spec the store has
 * and which nobody looks at. All that is kept of one here is its id in its line's shelf (a FIFO
 * for each priority) and a mark in the engine's table of jobs. Before its turn, or when a request
 * needs the live job, it is taken down: read from the store and made a struct job again.
 *
 * A line keeps up to SHELF_HOT jobs in memory; what comes after them in order may be shelved once
 * its submit is durable. While a line's first job in order is shelved, nothing of the line starts.
 */
#include "core/loop.h"
#include "wire/message.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define SHELF_HOT 256   /* live pending jobs of a line, above which new ones are shelved */
#define SHELF_BATCH 64  /* so many are taken down at a time, before they are needed */
#define SHELF_READS 4   /* under way at a time, over all lines */

struct engine;
struct job;
struct queue;
struct row;
struct shelf_read;
struct store_live;

struct shelf { /* part of the engine */
	LIST_HEAD(, shelf_read) reads; /* under way */
	unsigned nreads;
	size_t batch;
	int64_t bytes;                 /* what shelved jobs count for in pending_bytes */
	struct slot_timer retry;       /* there was no memory: once more a little later */
	struct slot_call *emptied;     /* shelf_empty's */
};

/* After the queues, before any job. hot and batch: SHELF_HOT, SHELF_BATCH (tests take fewer). */
void shelf_init(struct engine *e, size_t hot, size_t batch);
/* Before the store goes. */
void shelf_fini(struct engine *e);

/* The submit of a pending job is durable: shelves it, where it may be and should. The caller holds
 * a reference of its own, as a fact does; another one of anybody but the engine keeps it in memory.
 * True: the job is shelved, and ceases with the caller's reference. */
bool shelf_put(struct job *job);
/* Recovery: a plain pending job goes to the shelf without having been live. 0 or -ENOMEM. */
int shelf_put_recovered(struct engine *e, struct queue *queue, const struct store_live *live);
/* Is this id a shelved job? */
bool shelf_has(const struct engine *e, uint64_t id);
/* The live job of a shelved row, in its place in the order; the engine owns it, as one of job_new.
 * The live one, where it is not shelved (any more). NULL: out of memory, or it is neither. */
struct job *shelf_take(struct engine *e, struct row *row);
/* At a turn's end (each commit is followed by one): reads ahead for the lines whose first jobs are,
 * or will soon be, shelved. */
void shelf_read_ahead(struct engine *e);
/* How many are shelved. */
size_t shelf_count(const struct engine *e);
/* The smallest id >= from that is shelved; 0: none. */
uint64_t shelf_next(const struct engine *e, uint64_t from);
/* Why a shelved job waits; MSG_REASON_NONE: it isn't shelved. */
enum msg_reason shelf_reason(const struct engine *e, uint64_t id);

/* Takes down all there are, a few at a time: `then` is called at the end of a turn after each few,
 * until none is left. Meanwhile none is shelved. */
void shelf_empty(struct engine *e, struct slot_call *then);

#endif
