#ifndef ENGINE_ORPHANS_H
#define ENGINE_ORPHANS_H
/*
 * Bound jobs whose session or map has ended: there may be a million of them, so they are cancelled
 * in slices, one a turn.
 */
#include "engine/job.h"

/* Cancels all jobs of the list, which is empty afterwards: a few at once, the rest soon. */
void orphans_add(struct engine *e, struct job_ties_list *list, enum msg_reason reason);
void orphans_init(struct engine *e);
void orphans_fini(struct engine *e);

#endif
