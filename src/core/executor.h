#ifndef CORE_EXECUTOR_H
#define CORE_EXECUTOR_H
/*
 * The inside of slot_executor for owners that embed the action: no allocation a submit, and a
 * start that can happen inside the submit, so that the owner's reply can say "running".
 *
 *	idle --push--> pending --kick--> running --release--> idle
 *	               pending --withdraw-------------------> idle
 *	idle --adopt------------------> running
 */
#include "core/future.h"
#include <slot/executor.h>

enum slot_action_state {
	SLOT_ACTION_IDLE,    /* not submitted, or released */
	SLOT_ACTION_PENDING, /* held by the policy */
	SLOT_ACTION_RUNNING, /* holds its slots */
};

struct slot_action_ops {
	struct slot_future_ops future; /* first; as for slot_future_init */
	/* As slot_action_start_cb; a negative code: could not start, the executor settles the
	 * future with it (embedding owners usually return 0 and settle themselves) and takes the
	 * slots back. */
	int (*start)(struct slot_action *a);
};

struct slot_action {
	struct slot_future future; /* first: a future of an action is the action */
	struct slot_executor *executor;
	void *links[2];
	uint32_t slots;
	int16_t priority;
	uint8_t state;
	bool cancel_asked; /* of a public action: told once */
};

/* Initialises an embedded action; its owner calls slot_action_release itself when the work has
 * ended. `slots` 0 stands for 1. */
void slot_action_init(struct slot_action *a, struct slot_executor *ex,
    const struct slot_action_ops *ops, unsigned slots, int priority);

/* Hands `a` to the pending order; starts nothing yet, and queues no kick. Idle actions only;
 * the owner keeps `a` alive until it is idle again. Draining does not refuse it. */
void slot_executor_push(struct slot_executor *ex, struct slot_action *a);
/* Starts what fits, now, inside this call (a nested call returns at once and the outer one
 * goes on). The public API does this from the loop. Where very many starts in a row end at
 * once, the rest is left to the loop. */
void slot_executor_kick(struct slot_executor *ex);
/* Takes a pending action back out, O(1): it becomes idle. */
void slot_executor_withdraw(struct slot_executor *ex, struct slot_action *a);
/* An idle action whose work is under way already (taken up again after a restart): it holds its
 * slots from here on as if started, whatever the limit; the policy hears only of its release. */
void slot_executor_adopt(struct slot_executor *ex, struct slot_action *a);
/* A running action gives its slots back and becomes idle; its future may be settled before
 * or after. What can start next does so at the next kick (one is queued on the loop). */
void slot_action_release(struct slot_action *a);
enum slot_action_state slot_action_state(const struct slot_action *a);

#endif
