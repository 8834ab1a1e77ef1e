#ifndef LAUNCHER_TABLE_H
#define LAUNCHER_TABLE_H
/*
 * The fixed table of jobs: found by (job, attempt) and by the leader's pid. Its memory is mapped
 * once; a full table refuses. Every change of a job's state goes through table_set_state.
 *
 *	FREE --> RUNNING --> EXITED --> GONE --> FREE
 *	  \        ^
 *	   `-> HELD --------------------> GONE
 *
 * HELD      no process could be made yet; tried again for a while
 * RUNNING   the leader has not ended
 * EXITED    the leader is a zombie: its pid, group and session can't be anyone else's
 * GONE      no process is left; the record waits until it was told and acknowledged
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "launch/launch.h"

#define JOB_NONE UINT32_MAX

enum job_state { JOB_FREE, JOB_HELD, JOB_RUNNING, JOB_EXITED, JOB_GONE };

/* How far the ending of its tree has come; only ever grows. */
enum job_phase { PHASE_NONE, PHASE_TERM, PHASE_KILL };

struct job {
	uint64_t id;
	uint32_t attempt;
	uint32_t slots;
	enum job_state state;
	enum job_phase phase;

	pid_t pid;
	int pidfd;          /* while RUNNING, if it has one; else -1: it is blind */
	int64_t started_us;
	uint64_t start_ticks; /* no process of this job started before */
	int64_t timeout_ms; /* 0: none */
	int64_t grace_ms;
	bool keep_leftovers;
	int64_t settling_us; /* EXITED: owns nothing since then, as far as is known; 0: it does */
	uint32_t adopted;   /* our own children that belong to it */
	uint32_t marked;    /* processes that were seen in its tree */

	int64_t due_us;     /* of its one timer: retry, timeout, end of grace or next kill */
	uint32_t heap_index;
	int64_t tick_ms;    /* between two rounds of killing, or of trying to start */
	uint32_t ticks;
	uint32_t stops;     /* rounds of STOP since the last KILL */
	bool leader_stopped;

	struct launch_exit exit;
	bool exit_due, gone_due; /* to be told */
	bool exit_told, gone_told, acked; /* told: to the engine that is there now */

	int held_fds[3];    /* HELD: stdin, stdout, stderr, and body with environment */
	int held_body;
	uint32_t held_body_len, held_env_len;
	int64_t held_until_us;

	int kept_fds[3];    /* the engine's ends of its pipes, until the exit is acknowledged */
	uint32_t serial;    /* of the engine that started it */

	uint32_t next_id, next_pid;         /* hash chains, free list */
	uint32_t next_out;                  /* queue of what is to be told */
	uint32_t next_alike, prev_alike;    /* those in EXITED; those that are blind */
	bool in_out;
};

struct table {
	struct job *jobs;
	uint32_t capacity;
	uint32_t *by_id, *by_pid;
	uint32_t mask;
	uint32_t free_first;
	uint32_t touched;   /* jobs from here on were never used */
	uint32_t used;      /* not FREE */
	uint32_t active;    /* HELD, RUNNING or EXITED */
	uint32_t leaders;   /* RUNNING or EXITED: children of ours */
	uint32_t blind;     /* RUNNING without a pidfd */
	uint32_t blind_first;
	uint64_t slots;     /* held by HELD and RUNNING */
	uint32_t exited_first;
};

/* Maps a table of `capacity` jobs. 0 or -1: no memory. */
int table_init(struct table *t, uint32_t capacity);

uint32_t table_index(const struct table *t, const struct job *job);
struct job *table_find(const struct table *t, uint64_t id, uint32_t attempt);
/* The job whose unreaped leader has this pid, or NULL. */
struct job *table_find_leader(const struct table *t, pid_t pid);

/* A cleared job under this name, still FREE: table_set_state decides. NULL: the table is full.
 * The name must not be in use. */
struct job *table_add(struct table *t, uint64_t id, uint32_t attempt);

/* As table_add, at this index, when a table is filled anew: indices only grow, the gaps are free.
 * NULL: the index is out of order or beyond the table. */
struct job *table_restore(struct table *t, uint32_t index, uint64_t id, uint32_t attempt);

/* Moves a job; for RUNNING its pid and pidfd are set before. FREE gives it back. */
void table_set_state(struct table *t, struct job *job, enum job_state state);

/* The pidfd of a RUNNING job is of no use any more: closes it. */
void table_set_blind(struct table *t, struct job *job);

/* Walks over all jobs that are not FREE: the first after `job` (NULL: from the start). */
struct job *table_next(const struct table *t, const struct job *job);

#endif
