#ifndef CTL_RUN_FOLLOW_H
#define CTL_RUN_FOLLOW_H
/*
 * What a job writes and the daemon keeps, from the first byte on, to our stdout and stderr.
 */
#include "ctl/ctl.h"

struct run_follow;

/* NULL: printed. */
struct run_follow *run_follow_new(struct ctl *ctl, int64_t job);

/* The job has ended: `flushed` is called (from the loop) once all that it wrote was written out. */
void run_follow_end(struct run_follow *f, void (*flushed)(void *arg), void *arg);

/* NULL is allowed. */
void run_follow_free(struct run_follow *f);

#endif
