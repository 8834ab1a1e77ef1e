#ifndef ENGINE_METHODS_H
#define ENGINE_METHODS_H
/*
 * The tables of the method families, one file each; a row without a handler ends a table.
 */
#include "engine/request.h"

extern const struct request_method methods_admin[];   /* hello, limits, stats, drain, discover … */
extern const struct request_method methods_as_completed[];
extern const struct request_method methods_futures[]; /* futures.wait, .gather, job.result */
extern const struct request_method methods_job[];     /* job.get, list, signal, set, retry */
extern const struct request_method methods_map[];     /* map.* */
extern const struct request_method methods_output[];  /* output.*, stdin.write, subscriptions */
extern const struct request_method methods_queue[];   /* queue.* */
extern const struct request_method methods_submit[];  /* job.submit, job.submit_batch */
extern const struct request_method methods_sweep[];   /* job.cancel, job.forget */

/* A job was launched: signals that waited for that go out. The launcher answered one. */
void methods_job_launched(struct engine *e);
void methods_job_lost(struct engine *e); /* it will answer none any more */
void methods_job_signaled(struct engine *e, uint64_t token, int error);
/* Nothing is pending or running: drains are answered. */
void methods_admin_idle(struct engine *e);

#endif
