#ifndef CORE_PENDING_H
#define CORE_PENDING_H
/*
 * The default pending order of an executor: priority, then the order of submitting.
 *
 * Strict: while the first action of the highest priority does not fit the free slots, nothing
 * passes it, so a wide action is not starved by narrow ones. An action wider than the limit
 * could never start and holds nobody up: it is set aside, and gets its place back when the
 * limit is raised.
 */
#include <slot/executor.h>

enum {
	SLOT_PRIORITY_MIN = -100,
	SLOT_PRIORITY_MAX = 100,
};

struct slot_pending;

/* NULL: out of memory. */
struct slot_pending *slot_pending_new(unsigned max_running);
/* Nothing may be held any more. */
void slot_pending_free(struct slot_pending *p);
/* Tells it the executor's limit. */
void slot_pending_set_limit(struct slot_pending *p, unsigned max_running);

/* The policy argument is the struct slot_pending. */
extern const struct slot_pending_ops slot_pending_ops;

#endif
