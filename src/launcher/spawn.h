#ifndef LAUNCHER_SPAWN_H
#define LAUNCHER_SPAWN_H
/*
 * Making one process for a job: all that is prepared for it; child.h has what it then does. Nobody
 * waits for the exec: where it fails, the child leaves (step, errno) in memory shared with us and
 * exits.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "launch/body.h"
#include "launch/launch.h"
#include "launcher/child.h"

#define SPAWN_QUEUE_MAX 255 /* bytes in a queue's name */

struct spawner {
	struct child_report *reports; /* one per job of the table, shared with children */
	int report_fd;                /* their memory, for the next binary; -1: just memory */
	struct spawn_area *area;      /* all of our memory that a child inherits */
	char *area_free;              /* where in it the next thing is put */
	int null_fd;
	pid_t launcher;
	struct rlimit files;          /* what jobs inherit; ours is higher */
	bool files_raised;
	char oom_score[16];           /* to go back to; "" when ours is unchanged */
	bool alone;                   /* it does: see sys_keep_memory */
};

/* One start; everything is borrowed for the call. */
struct spawn_order {
	uint64_t job;
	uint32_t attempt;
	uint32_t index; /* of the report */
	const struct body *body;
	const char *env; /* "K=V\0" after "K=V\0" */
	size_t env_len;
	int fds[3];     /* where the body says "passed" */
};

/* report_fd: of an earlier binary in this process, whose children still write there; -1: none. 0 or
 * -1: no memory. */
int spawn_init(struct spawner *s, uint32_t jobs, int report_fd);

/* Copies an inline body and environment to where the child will find them, for the next spawn. */
const char *spawn_keep(struct spawner *s, const char *bytes, size_t len);

/* Starts; the pid, or -errno of the clone. pidfd: as for sys_fork. */
pid_t spawn(struct spawner *s, const struct spawn_order *order, int *pidfd);

/* What the child of job `index` left when it could not exec. False: it did not fail. */
bool spawn_failure(const struct spawner *s, uint32_t index, enum launch_step *step, int *error);

#endif
