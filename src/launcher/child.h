#ifndef LAUNCHER_CHILD_H
#define LAUNCHER_CHILD_H
/*
 * What runs between fork and exec. It stands alone: system calls and its own few functions, with
 * no libc (tests/check-child.sh looks), for of the launcher's memory a child has its code and what
 * `struct child` points to, nothing else.
 */
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "launch/body.h"

/* Written by the child, read when it is reaped. */
struct child_report {
	volatile uint32_t step; /* enum launch_step */
	volatile int32_t error;
};

/* What to become; all of it is in memory that is inherited. */
struct child {
	struct child_report *report; /* shared with the launcher */
	pid_t launcher;
	int null_fd;
	int fds[3];             /* where the body says "passed" */
	bool files_raised;      /* then `files` is the limit to go back to */
	struct rlimit files;
	char oom_score[16];     /* to go back to; "" when it is unchanged */
	struct body body;
	char **argv, **envp;
	char *scratch;          /* room for PATH_MAX bytes */
};

/* Becomes the job; what fails is reported. `child` is a struct child. */
_Noreturn void child_run(void *child);

/* Closes every descriptor from `first` on. 0 or -errno. Not for children only. */
int child_close_from(int first);

#endif
