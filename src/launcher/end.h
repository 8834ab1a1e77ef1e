#ifndef LAUNCHER_END_H
#define LAUNCHER_END_H
/*
 * Ending jobs before their time: TERM to the tree, a grace, then KILL until nothing is left.
 * Each step is one call from the loop; what comes next is left to the job's timer.
 */
#include "launcher/launcher.h"

/* Ends a job. A second call can only shorten the grace. */
void end_job(struct launcher *l, struct job *job, enum launch_cause cause, int64_t grace_ms);

/* Kills what an ended leader left behind. */
void end_leftovers(struct launcher *l, struct job *job);

/* The job's timer is due. */
void end_on_timer(struct launcher *l, struct job *job);

/* Ends every job, each with its own grace or the launcher's, whichever is shorter, and takes
 * no more; the launcher leaves when all is gone. */
void end_all(struct launcher *l);

#endif
