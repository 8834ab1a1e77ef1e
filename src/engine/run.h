#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H
/*
 * An attempt of a job between its start and its end: telling the launcher, output and input, the
 * exit, and what is decided from it. The facts may arrive in any order; the attempt is over when
 * the exit is known and its output is in.
 *
 * Where the store is durable, an attempt may outlive the engine: the next one awaits the
 * launcher's word, and then adopts it, or learns that it never ran or is lost. run.c has the end
 * of an attempt, run_launch.c its start, run_adopt.c its taking up, run_output.c its output,
 * run_stdin.c its input.
 */
#include "engine/capture.h"
#include "engine/job.h"

struct event;

struct stdin_write;

struct job_run {
	struct job *job;
	uint64_t launcher;    /* the instance that "running" was recorded for */
	bool launched;        /* the launcher was told */
	bool awaiting;        /* by an engine before us: the launcher will say if it runs */
	bool adopted;         /* … it does; what follows from that is still to be done */
	bool exited;          /* exit below is known */
	bool exit_waits;      /* … but can't be recorded as long as the disk is full */
	bool lost;            /* nobody knows how it ended … */
	enum msg_reason lost_reason; /* … for this reason */
	bool cancelled;       /* a cancel was accepted … */
	enum msg_reason cancel_reason; /* … for this reason */
	int64_t cancel_grace_ms;
	uint32_t unacked;     /* the attempt whose exit was taken and not acknowledged; 0: none */
	bool trees_best_effort;
	uint32_t trees;       /* attempts with processes that may be left */
	struct launch_exit exit;
	struct capture *capture; /* of this attempt (also the row's output); NULL: none */
	bool files_taken;     /* the journal names files of it */
	bool stdin_used;      /* something was written to it in this attempt */
	int stdin_fd;         /* write end of its stdin pipe, -1: none or closed */
	struct event *stdin_event;
	TAILQ_HEAD(, stdin_write) writes;
	LIST_ENTRY(job_run) of_waiting; /* with exit_waits */
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
/* A new attempt begins, to be recorded for this launcher. */
void run_begin(struct job_run *run, uint64_t launcher);
void run_free(struct job_run *run);

/* The commit of "running" is durable: start the process, unless it was cancelled meanwhile. */
void run_launch(struct job *job);
/* TERM now, KILL after the grace (-1: the job's own). */
void run_cancel(struct job *job, int64_t grace_ms);
/* A process of an earlier attempt or this one may be left. */
bool run_has_processes(const struct job *job);
/* How it ended is known, if not recorded yet. */
static inline bool
run_exit_known(const struct job_run *run)
{
	return run->exited || run->exit_waits;
}
/* Its exit is known, and means another attempt unless the job is cancelled before. */
bool run_will_retry(const struct job *job);

/* The job is about to be recorded as done: its output goes into the same batch, where the store
 * keeps output. That batch has committed: nothing of it is needed in memory any more. */
void run_keep_output(struct job *job);
void run_output_kept(struct job *job);
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
/* The disk has room again: exits that waited for that are taken now. */
void run_take_waiting(struct engine *e);

/* ---- run_adopt.c: attempts that an engine before us started ---- */

/* This one's launcher was that instance (0: it is of before the last boot). */
void run_await(struct job *job, uint64_t launcher);
/* The launcher holds it: it runs, or its exit will be told. Takes the descriptors. */
void run_adopt(struct job *job, const struct launch_held *held);
/* All that the launcher holds was told, it listens: cancels that were accepted go out. */
void run_adopted(struct job *job);
/* This launcher doesn't hold it: it never ran, or nobody knows how it ended. */
void run_absent(struct job *job, uint64_t launcher);

/* ---- among the run*.c files ---- */

/* A fresh capture for this attempt, which becomes the row's output; NULL: out of memory. */
struct capture *run_capture(struct job *job);
void run_drop_capture(struct job_run *run);
void run_drop_output(struct row *row);
void run_tell_followers(struct job_run *run);
/* Exit known and output in: the attempt is over. */
void run_drained(struct job *job);
/* How the leader ended is known. */
void run_exited(struct job *job, const struct launch_exit *exit);
/* The launcher never had it, or there was no room for it: back to its place in the order, after
 * a pause. */
void run_not_started(struct job *job, int64_t pause_us);

#endif
