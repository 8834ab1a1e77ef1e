#ifndef ENGINE_BATCH_H
#define ENGINE_BATCH_H
/*
 * What a loop turn changed: facts recorded in order while the turn runs, acted upon once its
 * batch is durable. Only then is a job started, a future settled, a client told. Batches commit in
 * order; later turns go on meanwhile.
 *
 * A turn in which nothing was to be recorded makes no commit: what was written in it leaves with the
 * batch before it, on which what it says may rest. While the disk is so full that batches wait it
 * need not wait with them: reads and refusals get through, as far as their order on a connection
 * allows.
 */
#include "store/row.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct job;
struct session;

enum fact_kind {
	FACT_SUBMITTED,
	FACT_STARTED,        /* pending -> running: now tell the launcher */
	FACT_ATTEMPT_FAILED, /* the attempt's run is kept with the fact */
	FACT_REQUEUED,       /* running -> pending */
	FACT_DONE,
};

struct fact {
	enum fact_kind kind;
	uint32_t attempt;
	struct job *job;     /* counted */
	struct row_run *run; /* owned: FACT_ATTEMPT_FAILED's */
	int64_t at_us;       /* wall clock */
};

struct batch_mark {
	struct session *session; /* counted: wrote while the batch was open … */
	uint64_t position;       /* … up to here of its output */
	uint64_t before_batch;   /* the batch that held its mark until then, … */
	size_t before_index;     /* … and where in it */
};

struct batch {
	struct batch *next; /* in flight, in order */
	uint64_t number;
	uint64_t last; /* of the turns whose output it releases */
	struct fact *facts;
	size_t nfacts, cap;
	struct batch_mark *dirty;
	size_t ndirty, dirty_cap;
	bool changed; /* the store was told of something, fact or not */
};

/* Records a fact in the open batch and sees to it that the turn ends with a commit. Takes run. */
void batch_add(struct engine *e, enum fact_kind kind, struct job *job, struct row_run *run);

/* The store was told of a change that is no fact. */
void batch_changed(struct engine *e);

/* Session wrote: its bytes so far may leave once the open batch has committed. */
void batch_mark(struct engine *e, struct session *s);

/* Ends the turn: commits the open batch, where something is to be recorded. */
void batch_commit(struct engine *e);
void batches_free(struct engine *e);

#endif
