#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H
/*
 * An attempt of a job between its start and its end: telling the launcher, output and input, the
 * exit, and what is decided from it. The facts may arrive in any order; the attempt is over when
 * the exit is known and its output is in.
 */
#include "engine/capture.h"
#include "engine/job.h"

struct event;

struct stdin_write;

struct job_run {
	struct job *job;
	bool launched;        /* the launcher was told */
	bool exited;          /* exit below is known */
	bool lost;            /* the launcher died; nobody knows how it ended */
	bool cancelled;       /* a cancel was accepted … */
	enum msg_reason cancel_reason; /* … for this reason */
	bool trees_best_effort;
	uint32_t trees;       /* attempts with processes that may be left */
	struct launch_exit exit;
	struct capture *capture; /* of this attempt (also the row's output); NULL: none */
	bool stdin_used;      /* something was written to it in this attempt */
	int stdin_fd;         /* write end of its stdin pipe, -1: none or closed */
	struct event *stdin_event;
	TAILQ_HEAD(, stdin_write) writes;
	LIST_HEAD(, gone_wait) gone_waits;
	LIST_HEAD(, output_wait) followers; /* output.follow streams */
};

/* Called when no process of the job is left any more and it is done. The wait is freed after. */
struct gone_wait {
	LIST_ENTRY(gone_wait) entry;
	void (*cb)(struct gone_wait *w, bool best_effort);
};

/* Someone who wants to know of new output and of its end. */
struct output_wait {
	LIST_ENTRY(output_wait) entry;
	void (*cb)(struct output_wait *w);
};

/* The attempt state, made at first need and kept over retries. NULL: out of memory. */
struct job_run *run_get(struct job *job);
/* A new attempt begins. */
void run_begin(struct job_run *run);
void run_free(struct job_run *run);

/* The commit of "running" is durable: start the process, unless it was cancelled meanwhile. */
void run_launch(struct job *job);
/* TERM now, KILL after the grace (-1: the job's own). */
void run_cancel(struct job *job, int64_t grace_ms);
/* A process of an earlier attempt or this one may be left. */
bool run_has_processes(const struct job *job);
/* Its exit is known, and means another attempt unless the job is cancelled before. */
bool run_will_retry(const struct job *job);

/* The job is done: whoever waits for its input or output hears so. */
void run_over(struct job *job);
/* The job is done and its processes are gone: tells those who wait for that. */
void run_tell_gone(struct job *job);

/* Queues bytes for the job's stdin; cb(arg, written, error) from the loop once write(2) took them
 * all, or with -EPIPE when the job closed it. The data is borrowed until then. */
typedef void (*stdin_write_cb)(void *arg, size_t written, int error);
struct stdin_write *run_stdin_write(struct job *job, const void *data, size_t len, bool eof,
    stdin_write_cb cb, void *arg);
/* Forgets the callback (its request is gone); the bytes that were not written are dropped. */
void run_stdin_forget(struct job *job, struct stdin_write *w);

/* The launcher's word (from engine_launch_handlers). */
void run_on_exit(struct engine *e, const struct launch_exit *exit);
void run_on_gone(struct engine *e, uint64_t job, uint32_t attempt, bool best_effort);
/* The launcher died: what ran is lost. */
void run_on_lost(struct job *job);

#endif
