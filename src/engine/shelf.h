#ifndef ENGINE_SHELF_H
#define ENGINE_SHELF_H
/*
 * Shelved jobs: pending ones that lack nothing but their turn, whose row and spec are in the
 * journal and which nobody looks at. All that is kept of one is its id in its line's shelf (a
 * FIFO for each priority) and a mark in the engine's table of jobs. Before its turn, or when a
 * request needs the live job, it is taken down: read from the journal and made a struct job again.
 *
 * A line keeps up to SHELF_HOT jobs in memory; what comes after them in order may be shelved once
 * its submit is durable. While a line's first job in order is shelved, nothing of the line starts.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHELF_HOT 256   /* live pending jobs of a line, above which new ones are shelved */
#define SHELF_BATCH 64  /* so many are taken down at a time, before they are needed */

struct engine;
struct job;
struct queue;
struct row;
struct store_live;

/* The submit of a pending job is durable: shelves it, where it may be and should. True: the job is
 * gone (the caller's own reference is its affair). */
bool shelf_put(struct job *job);
/* Recovery: a plain pending job goes to the shelf without having been live. 0 or -ENOMEM. */
int shelf_put_recovered(struct engine *e, struct queue *queue, const struct store_live *live);
/* Is this id a shelved job? */
bool shelf_has(const struct engine *e, uint64_t id);
/* The live job of a shelved row, in its place in the order; the engine owns it, as one of job_new.
 * NULL: out of memory. */
struct job *shelf_take(struct engine *e, struct row *row);
/* At a turn's end: reads ahead for the lines whose first jobs are, or will soon be, shelved. */
void shelf_read_ahead(struct engine *e);
/* How many are shelved. */
size_t shelf_count(const struct engine *e);

#endif
