#ifndef LAUNCHER_PROC_H
#define LAUNCHER_PROC_H
/*
 * What /proc tells of processes: children, parentage, start time, the job named in an
 * environment; and sending a signal to exactly the process that was looked at.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc {
	int root;         /* /proc, -1 where it is not mounted */
	int own_children; /* our own list of children, -1 where the kernel keeps none */
	char *list;       /* buffers: a list of children, of directory entries, a file */
	char *entries;
	char *text;
};

struct proc_stat {
	pid_t ppid, pgrp, session;
	char state;
	uint64_t start; /* clock ticks since boot */
};

/* Called once per process; what it is told may be outdated already. */
typedef void (*proc_pid_cb)(pid_t pid, void *arg);

int proc_init(struct proc *p); /* 0 or -1: no memory */

int proc_stat(struct proc *p, pid_t pid, struct proc_stat *st); /* 0 or -errno */

/* Our own children, zombies included: one read where the kernel keeps a list. The callback may
 * read stat and environment. 0 or -errno. */
int proc_own_children(struct proc *p, proc_pid_cb cb, void *arg);

/* The children of any process, by all of its threads; the callback must not use *p. */
int proc_children(struct proc *p, pid_t pid, proc_pid_cb cb, void *arg);

enum proc_named { PROC_UNNAMED, PROC_NAMED, PROC_NO_ENVIRONMENT };
/* SLOT_JOB and SLOT_ATTEMPT in the environment that the process was given. A process in the middle
 * of an exec seems to have no environment for a moment. */
enum proc_named proc_job(struct proc *p, pid_t pid, uint64_t *job, uint32_t *attempt);

/* Sends a signal if `pid` is still the process that started at `start`. 0 or -errno. */
int proc_signal(struct proc *p, pid_t pid, uint64_t start, int signo);

#endif
