#ifndef LAUNCH_START_H
#define LAUNCH_START_H
/* Executing slotd-launcher, as a child in a session of its own. */
#include <sys/types.h>

#include "launch/launch.h"

/*
 * With `fd`, a connection or a listening socket, as its --engine-fd, and nothing else that is ours
 * but stderr; `socket_path` is where a listening one lies, NULL for a connection. 0 or an errno.
 */
int launch_start_process(const struct launch_options *o, int fd, const char *socket_path,
    pid_t *pid);

#endif
