#ifndef LAUNCHER_REAP_H
#define LAUNCHER_REAP_H
/*
 * The ends of processes: leaders are looked at first and reaped when nothing of their job is
 * left, orphans are reaped as they end.
 */
#include "launcher/launcher.h"

/* Notes the leader's end if it has ended; it stays a zombie. */
void reap_leader(struct launcher *l, struct job *job);

/* The leader's pidfd told of its end, which it does once. */
void reap_on_pidfd(struct launcher *l, struct job *job);

/* SIGCHLD came: reaps orphans that ended. */
void reap_orphans(struct launcher *l);

/* Brings the list of adopted children up to date. */
void reap_refresh(struct launcher *l);

/* Gives an adopted child to a job, or to none (NULL). */
void reap_set_owner(struct launcher *l, struct kin_process *child, struct job *job);
/* Notes that a process is in the tree of a job that is being ended. */
void reap_mark(struct launcher *l, struct job *job, pid_t pid, uint64_t start);

/* Once a turn: jobs whose leader has ended are gone, or what they left behind is ended. */
void reap_settle(struct launcher *l);

#endif
