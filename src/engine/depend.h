#ifndef ENGINE_DEPEND_H
#define ENGINE_DEPEND_H
/*
 * after: a job that waits for others to end. A long cascade runs in slices, so that a turn stays
 * short.
 */
#include "engine/job.h"

struct depend_item;

/* `job` (new) waits for what its spec's `after` names; what is done decides at once, and may
 * finish the job. The ids were checked. 0 or -ENOMEM. */
int depend_enter(struct job *job);
/* The same for one that the journal gave back: what ended before us is asked of the store. */
int depend_recover(struct job *job);
/* A job ended: its dependents will be told, soon. */
void depend_ended(struct job *job);
void depend_init(struct engine *e);
void depend_fini(struct engine *e);

#endif
