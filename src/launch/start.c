/* posix_spawn, which doesn't copy the page tables of an engine that holds a million jobs. */
#define _GNU_SOURCE 1
#include "launch/start.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHILD_FD 3 /* the socket's number in the launcher */

/* The child has `fd` as CHILD_FD, and every signal as if nobody had touched it. 0 or an errno. */
static int spawn_with(int fd, char *const argv[], pid_t *pid)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	error = posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	if (!error)
		error = posix_spawnattr_setsigmask(&attr, &none);
	if (!error)
		error = posix_spawnattr_setsigdefault(&attr, &all);
	if (!error)
		error = posix_spawnattr_setflags(&attr,
		    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	if (!error)
		error = posix_spawn(pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

int launch_start_process(const struct launch_options *o, int fd, const char *socket_path,
    pid_t *pid)
{
	char fd_name[] = "--engine-fd", jobs_name[] = "--jobs", grace_name[] = "--grace";
	char socket_name[] = "--engine-socket";
	char fd_arg[16], jobs[16], grace[32];
	char *path = strdup(o->path), *where = socket_path ? strdup(socket_path) : NULL;
	char *argv[10] = {path, fd_name, fd_arg};
	unsigned n = 3;
	int error = ENOMEM;

	snprintf(fd_arg, sizeof(fd_arg), "%d", CHILD_FD);
	snprintf(jobs, sizeof(jobs), "%u", o->jobs);
	snprintf(grace, sizeof(grace), "%lld", (long long)o->grace_ms);
	if (where) {
		argv[n++] = socket_name;
		argv[n++] = where;
	}
	if (o->jobs) {
		argv[n++] = jobs_name;
		argv[n++] = jobs;
	}
	if (o->grace_ms >= 0) {
		argv[n++] = grace_name;
		argv[n++] = grace;
	}
	if (path && (where || !socket_path))
		error = spawn_with(fd, argv, pid);
	free(path);
	free(where);
	return error;
}
