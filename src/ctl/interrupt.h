#ifndef CTL_INTERRUPT_H
#define CTL_INTERRUPT_H
/*
 * The signals that ask slotctl to end (INT, TERM, HUP, QUIT), as calls from the loop.
 */
#include "ctl/ctl.h"

struct event;

#define CTL_INTERRUPT_SIGNALS 4

struct ctl_interrupt {
	struct event *events[CTL_INTERRUPT_SIGNALS];
	void (*on_signal)(int signo, void *arg);
	void *arg;
};

/* From here on they are told. A HUP that was ignored (nohup) stays so. Needs ctl->base.
 * 0, or CTL_EXIT_FAILURE, printed. */
int ctl_interrupt_init(struct ctl_interrupt *in, struct ctl *ctl,
    void (*on_signal)(int signo, void *arg), void *arg);

/* They act as before. */
void ctl_interrupt_fini(struct ctl_interrupt *in);

#endif
