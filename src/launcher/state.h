#ifndef LAUNCHER_STATE_H
#define LAUNCHER_STATE_H
/*
 * All that a launcher knows, written to a memfd and read by the binary that takes its place: same
 * process, same children, same descriptors. Every record has its length in the head. A field that
 * is added goes to the end of its record, where 0 must mean "as before": then older and newer
 * binaries still read each other. Any other change counts STATE_VERSION up, and the old binary
 * goes on running where the new one can't read what it writes.
 */
#include <stddef.h>
#include <stdint.h>

struct launcher;

#define STATE_VERSION 1u

/* What --check-state-fd exits with for a yes: no other program says that by chance. */
#define STATE_EXIT_YES 43

struct state; /* a mapped and checked one */

/* A memfd with everything, or -errno. */
int state_save(struct launcher *l);

/* Maps what state_save wrote and checks all of it. NULL with *why. It is never unmapped. */
const struct state *state_open(int fd, const char **why);
uint32_t state_capacity(const struct state *s); /* of the job table */
int state_report_fd(const struct state *s);     /* spawn_init's, -1: none */
const char *state_build(const struct state *s); /* who wrote it */

/* Before anything is set up: what the process already has, and must not be asked for again. */
void state_restore_process(struct launcher *l, const struct state *s);
/* Into empty tables, with epoll open. 0, or -1 with *why. */
int state_restore(struct launcher *l, const struct state *s, const char **why);

/* Sets or takes away close-on-exec of everything that the next binary needs. */
void state_keep_descriptors(struct launcher *l, int state_fd, int keep);

#endif
