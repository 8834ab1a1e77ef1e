#ifndef ENGINE_ORPHANS_H
#define ENGINE_ORPHANS_H
/*
 * Bound jobs whose session or map has ended: there may be a million of them, so they are cancelled
 * in slices, one a turn. Where they outlive the engine they are only let go when it ends; after its
 * restart they wait for their sessions to come back, so long and no longer.
 */
#include "engine/job.h"

/* Cancels all jobs of the list, which is empty afterwards: a few at once, the rest soon. */
void orphans_add(struct engine *e, struct job_ties_list *list, enum msg_reason reason);
/* Recovery: the job waits for the session that its row names. 0 or -ENOMEM. */
int orphans_await(struct engine *e, struct job *job);
/* All that wait are known: from now on they wait for bound_grace. */
void orphans_await_until(struct engine *e, int64_t due_us);
/* Does any wait for this session of the uid? */
bool orphans_await_it(struct engine *e, uint32_t uid, const uint8_t *session);
/* It is back: those that waited for it, if any, go to `list`. */
void orphans_claim(struct engine *e, uint32_t uid, const uint8_t *session,
    struct job_ties_list *list);
void orphans_init(struct engine *e);
void orphans_fini(struct engine *e);

#endif
