#ifndef LAUNCHER_TREE_H
#define LAUNCHER_TREE_H
/*
 * The process tree of a job, found anew each time: its leader, the adopted children that it
 * owns, and all descendants of these. Working memory for one search; nothing is remembered.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launcher;
struct job;

#define TREE_MAX 16384u

struct tree_process {
	pid_t pid;
	bool own;       /* our own child: unreaped, so its pid is its own */
	uint64_t start; /* of others: start time, to tell a recycled pid */
	uint32_t next;  /* hash chain */
};

struct tree {
	struct tree_process *found;
	uint32_t *buckets;
	uint32_t count;
};

int tree_init(struct tree *tree); /* 0 or -1: no memory */

/* Sends a signal to every process of the tree. 0, or the errno when it reached none. */
int tree_signal(struct launcher *l, struct job *job, int signo);

/* One round of killing: looks once, and stops what it had not stopped before. False: there was
 * something, so there may be more, and it is to be called soon again. True: nothing new turned
 * up (or too often), and all that was found is killed. What appears later is for later calls. */
bool tree_kill(struct launcher *l, struct job *job);

#endif
