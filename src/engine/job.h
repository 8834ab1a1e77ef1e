#ifndef ENGINE_JOB_H
#define ENGINE_JOB_H
/*
 * A live job: the index entry of something that is pending or running, or done a moment ago.
 * Its state moves in job.c and nowhere else:
 *
 *	          +------------- retry -------------+
 *	          v                                 |
 *	create -> pending --start--> running --exit-+--> done
 *	             |                                     ^
 *	             +--- cancelled, dependency_failed ----+
 *
 * A pending job is "held" while it waits for something other than its turn (hold, after, delay,
 * retry back-off), else its action is in the executor's pending order. The job's future settles
 * when the commit that records its end is durable, not before.
 *
 * The engine counts one reference while the job is live; futures, facts and requests count more.
 */
#include "core/executor.h"
#include "core/loop.h"
#include "engine/queue.h"
#include "launch/launch.h"
#include "store/store.h"
#include "wire/message.h"
#include <sys/queue.h>

struct engine;
struct job;
struct job_run;

enum job_held { /* why a pending job is not in the executor; bits */
	JOB_HELD_HOLD = 1 << 0,
	JOB_HELD_AFTER = 1 << 1,
	JOB_HELD_DELAY = 1 << 2,
	JOB_HELD_RETRY = 1 << 3,
	JOB_HELD_NEW = 1 << 4, /* just made: the submit isn't through yet */
};

/* What only some jobs have: dependencies, a timer, a session they are bound to, descriptors. */
struct job_ties {
	struct job *job;
	struct slot_timer timer;  /* delay or back-off */
	enum job_held timer_bit;  /* what its firing releases */
	uint64_t *dependents;     /* ids of jobs that wait for this one */
	size_t ndependents, dependents_cap;
	unsigned waits_for;       /* jobs it waits for, not ended yet */
	bool owned;               /* bound to a session or a map: in its list */
	LIST_ENTRY(job_ties) of_owner;
	LIST_ENTRY(job_ties) on_clock; /* waits for a wall-clock time */
	bool clocked;
	int fds[3];               /* passed for stdin, stdout, stderr; -1: none */
};
LIST_HEAD(job_ties_list, job_ties);

struct job {
	struct slot_action action; /* first: the job's future is the action's */
	struct engine *engine;
	struct row *row;           /* counted */
	struct queue_place place;
	struct job_ties *ties;     /* NULL for plain jobs */
	struct job_run *active;    /* from its first start until it is dropped; run.h */
	TAILQ_ENTRY(job) entry;    /* in the list of its phase */
	int64_t ready_us;          /* loop time at which only its turn was missing */
	uint32_t cost;             /* bytes it counts for while pending */
	uint8_t held;              /* bits of enum job_held */
	bool live;                 /* in the engine's table */
	bool published;            /* its end was committed and told */
};
TAILQ_HEAD(job_list, job);

static inline struct job *
job_of_future(const struct slot_future *f)
{
	return (struct job *)(uintptr_t)f;
}

static inline enum row_phase
job_phase(const struct job *job)
{
	return (enum row_phase)job->row->phase;
}

/* ---- making ---- */

struct job_new {
	struct spec *spec;        /* taken on success */
	struct env_blob *env;     /* taken on success */
	struct queue *queue;
	uint32_t uid;
	struct job_ties_list *owner; /* jobs of the session or map it is bound to; NULL: detached */
	const uint8_t *session;   /* ROW_SESSION_LEN bytes: that session, for after a restart */
	int fds[3];               /* taken on success; -1: none */
	uint32_t cost;
};

/* A pending job in the engine's tables, recorded in the open batch, held as new until
 * job_release_hold(job, JOB_HELD_NEW). NULL: out of memory. Borrowed: the engine owns it. */
struct job *job_new(struct engine *e, const struct job_new *in);

/*
 * The live job of a row that the store gave back, pending or running, in the engine's tables. The
 * engine owns it as one of job_new, but nothing is recorded: a pending one is held as new until
 * job_release_hold(job, JOB_HELD_NEW), a running one has its slots and awaits run_adopt or
 * run_absent. NULL: out of memory.
 */
struct job *job_revive(struct engine *e, struct row *row, struct queue *queue);

/* Starts whatever may start now. */
void job_kick(struct engine *e);

/* The live job, or NULL (unknown, shelved, or done and gone). */
struct job *job_find(const struct engine *e, uint64_t id);

/* The job as a future, a reference being the caller's: the live one, or a shell around a done
 * row that is settled. NULL: out of memory. */
struct job *job_from_row(struct engine *e, struct row *row);

static inline struct job *
job_ref(struct job *job)
{
	slot_future_ref(&job->action.future);
	return job;
}

static inline void
job_unref(struct job *job)
{
	if (job != NULL)
		slot_future_unref(&job->action.future);
}

/* Its ties, made on first use. NULL: out of memory. */
struct job_ties *job_ties(struct job *job);

/* ---- moving ---- */

/* A held bit goes (the last one puts the job into the pending order) or comes. */
void job_release_hold(struct job *job, enum job_held bit);
void job_hold(struct job *job, enum job_held bit);

/* Holds it until a loop time (delay, back-off) or a wall-clock time. 0 or -ENOMEM. */
int job_hold_until(struct job *job, enum job_held bit, int64_t due_us);
int job_hold_until_wall(struct job *job, int64_t wall_us);
/* It is held by no timer any more. */
void job_clear_timer(struct job *job);
/* The wall clock jumped: timers that stand for wall-clock times are set anew. */
void job_clock_changed(struct engine *e);

/* Descriptors were passed to it, and an engine since then didn't survive. */
bool job_fds_lost(const struct job *job);

/* running -> pending, for another attempt after delay_us. */
void job_requeue(struct job *job, int64_t delay_us);

/* -> done. run's outcome, reason and exit are set; this gives it its seq. */
void job_finish(struct job *job, enum msg_outcome outcome, enum msg_reason reason);

/* After the commit of its end: settles the future, releases what waits for it. */
void job_publish(struct job *job);

/* Out of the live table, once it is published and none of its processes is left. */
void job_drop_if_over(struct job *job);

/*
 * Cancels. True: accepted, the outcome will be cancelled with this reason; false: it is done or
 * its exit is known already. grace_ms -1: the job's own.
 */
bool job_cancel(struct job *job, int64_t grace_ms, enum msg_reason reason);
/* A running job is being cancelled for this reason, or (MSG_REASON_NONE) isn't any more: so that an
 * engine that takes it up again goes on with that. */
void job_record_cancel(struct job *job, enum msg_reason reason);

/* What job.set changes of a pending job. 0 or -ENOMEM. */
int job_set(struct job *job, struct queue *queue, int priority, bool hold);

/* Why a pending job waits. */
enum msg_reason job_reason(const struct job *job);

/* Unbinds it from its session or map. */
void job_unbind(struct job *job);

#endif
