#ifndef LAUNCHER_KIN_H
#define LAUNCHER_KIN_H
/*
 * A list of processes and of the job that each belongs to. There are two:
 *
 * adopted: our own children that are no leaders, orphans that come to us because we are the
 *          subreaper. As long as every child is a leader or listed here, a job whose leader has
 *          ended and that owns none of these has no process left: whoever survives has one of
 *          them above it.
 * marked:  what was seen in the tree of a job that is being ended. When one of these is
 *          orphaned, it is known whose it is, whatever it did to its session or environment.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define KIN_MAX 16384u

struct kin_process {
	pid_t pid;
	uint32_t owner; /* job index, or JOB_NONE */
	uint32_t next;  /* hash chain */
	uint64_t start; /* to tell a recycled pid */
	int64_t since_us; /* adopted: when it was first seen */
	bool stopped;   /* STOP was sent, to be followed by KILL */
	bool decided;   /* adopted: it has its owner, or will never have one */
};

struct kin {
	struct kin_process *list; /* dense */
	uint32_t *buckets;
	uint32_t count;
	bool overflowed; /* once: more came than could be listed */
};

int kin_init(struct kin *k); /* 0 or -1: no memory */
struct kin_process *kin_find(struct kin *k, pid_t pid);
/* Lists a process without an owner; its pid must not be listed. NULL: the list is full. */
struct kin_process *kin_add(struct kin *k, pid_t pid, uint64_t start);
/* The last of the list takes the place of what is removed. */
void kin_remove(struct kin *k, struct kin_process *p);

#endif
