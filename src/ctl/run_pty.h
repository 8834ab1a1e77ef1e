#ifndef CTL_RUN_PTY_H
#define CTL_RUN_PTY_H
/*
 * A terminal for a job, relayed to and from the one that slotctl has on 0 and 1: bytes both
 * ways, window sizes one way. The real terminal's modes are put back whatever happens.
 */
#include <stdbool.h>

struct event_base;
struct run_pty;

/* Opens it, with the modes and the size of the real one. `on_hangup`: the real terminal is
 * gone. NULL: printed. */
struct run_pty *run_pty_new(struct event_base *base, void (*on_hangup)(void *arg), void *arg);

/* The end for the job (borrowed). */
int run_pty_job_fd(const struct run_pty *pty);

/* The job has it from now on: the real terminal becomes raw, and the relay begins. */
void run_pty_begin(struct run_pty *pty);

/* The job has ended: what it wrote is still written out, then `on_flushed` is called (from the
 * loop). No more input is read. */
void run_pty_end(struct run_pty *pty, void (*on_flushed)(void *arg));

/* Puts the modes back. NULL is allowed. */
void run_pty_free(struct run_pty *pty);

#endif
