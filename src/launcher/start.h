#ifndef LAUNCHER_START_H
#define LAUNCHER_START_H
/* From a RUN frame to a running job, or to the reason why it is refused. */
#include "launch/frame.h"
#include "launcher/launcher.h"

/*
 * Takes a RUN: its payload (the bytes after the fixed fields; none when they are in a memfd) and
 * its descriptors, which are closed before this returns unless the start has to wait.
 */
void start_run(struct launcher *l, const struct frame_run *run, const char *payload,
    const int *fds, unsigned nfds);

/* Closes what was kept of the engine's for the job. */
void start_close_kept(struct job *job);

/* The leader's end is to be told by epoll, if it has a pidfd; it is not RUNNING yet. */
void start_watch(struct launcher *l, struct job *job);

/* HELD jobs: tries again; or ends the wait with an errno. */
void start_retry(struct launcher *l, struct job *job);
void start_give_up(struct launcher *l, struct job *job, int error);

#endif
