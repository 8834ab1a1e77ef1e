#ifndef SLOT_EXECUTOR_H
#define SLOT_EXECUTOR_H
/*
 * A slot_executor is the AsyncExecutor pattern: actions are submitted, at most max_running
 * slots' worth run at once, the others wait in a pending order, and each has a future. When
 * an action settles, for better or worse, its slot is free and the next one starts.
 */
#include <slot/future.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slot_executor;
struct slot_action;

/*
 * Starts an action; called from the loop when it has its slot. 0: it runs, and must settle
 * `f` some day (set_result, set_exception); until then it holds its slots. A negative code:
 * it could not start; `f` fails with that code and the slots are free again. It may settle
 * `f` at once, submit, cancel, or change limits.
 */
typedef int (*slot_action_start_cb)(struct slot_future *f, void *arg);

/* Told once when a running action's future is cancelled: it should end the work and settle `f`
 * (slot_future_set_cancelled, or a result after all). Without one, cancelling a running
 * action marks its future cancelled at once and frees its slots. */
typedef void (*slot_action_cancel_cb)(struct slot_future *f, void *arg);

/* Zero-initialise it. */
struct slot_submit_options {
	unsigned slots; /* how many slots it holds; 0 stands for 1 */
	int priority;   /* higher first, -100 to 100 */
	void *reserved[2]; /* NULL: what later versions add */
};

/*
 * The pending order. The default keeps one FIFO per priority and is strict: while the first
 * action of the highest priority doesn't fit the free slots nothing passes it, but one wider
 * than max_running, which could never start, holds nobody up until the limit is raised. A policy
 * keeps its actions in its own structures, linked through slot_action_links, and never settles
 * or starts one.
 */
struct slot_pending_ops {
	void (*push)(void *policy, struct slot_action *a);
	/* The action to start next that fits `free_slots`, still held by the policy; NULL: none
	 * may start now. The executor calls remove before it starts it. */
	struct slot_action *(*next_fitting)(void *policy, unsigned free_slots);
	/* Takes `a` out, in O(1): it starts or was cancelled. */
	void (*remove)(void *policy, struct slot_action *a);
	/* `a`, once removed to start, has given its slots back. May be NULL. */
	void (*released)(void *policy, struct slot_action *a);
	void (*reserved[2])(void); /* NULL: what later versions add */
};

/* What the options of its submit said. */
unsigned slot_action_slots(const struct slot_action *a);
int slot_action_priority(const struct slot_action *a);
/* The arg of its submit; NULL for an action that was not made by slot_executor_submit. */
void *slot_action_arg(const struct slot_action *a);
/* Two pointers that belong to the policy while it holds `a`. */
void **slot_action_links(struct slot_action *a);

/* An executor of max_running slots (0: nothing starts until the limit is raised) with the
 * default order (ops NULL) or with `ops` on `policy`, borrowed. NULL: out of memory. */
struct slot_executor *slot_executor_new(struct slot_loop *loop, unsigned max_running,
    const struct slot_pending_ops *ops, void *policy);

/* Cancels what is pending (with own ops: what next_fitting gives out for UINT_MAX slots) and
 * lets go of what runs: that goes on, and its futures can be settled as before. NULL is allowed. */
void slot_executor_free(struct slot_executor *ex);

/*
 * Submits an action; it starts from the loop once slots are free. `cancel` and `options` may be
 * NULL. Returns its future, one reference being the caller's; the executor holds another until it
 * is settled. Settling the future of a pending action takes it out of the order: it never starts.
 * NULL: *error (which may be NULL) is -SLOT_ENOMEM, -SLOT_ECLOSED (it is draining or was freed) or
 * -SLOT_EINVAL (`start` is NULL, or the priority is out of range).
 */
struct slot_future *slot_executor_submit(struct slot_executor *ex, slot_action_start_cb start,
    slot_action_cancel_cb cancel, void *arg, const struct slot_submit_options *options,
    int *error);

/* Changes the limit; lowering it never ends what runs. */
void slot_executor_set_max_running(struct slot_executor *ex, unsigned max_running);
unsigned slot_executor_max_running(const struct slot_executor *ex);

/* While paused nothing starts; what runs goes on. */
void slot_executor_pause(struct slot_executor *ex);
void slot_executor_resume(struct slot_executor *ex);

/* Refuses new submits from here on; the future has a NULL result once nothing is pending or
 * running. Asked again meanwhile it returns the same future. One reference is the caller's.
 * NULL: out of memory (and nothing is refused). */
struct slot_future *slot_executor_drain(struct slot_executor *ex);

/* Slots in use; actions waiting. */
unsigned slot_executor_running(const struct slot_executor *ex);
size_t slot_executor_pending(const struct slot_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
