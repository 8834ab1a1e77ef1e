#ifndef CORE_FUTURE_H
#define CORE_FUTURE_H
/*
 * The inside of slot_future, for owners that embed one (actions, jobs, combinators).
 */
#include <slot/future.h>
#include <stdint.h>

struct slot_callback;

enum slot_future_state {
	SLOT_FUTURE_PENDING,
	SLOT_FUTURE_RESULT,
	SLOT_FUTURE_EXCEPTION,
	SLOT_FUTURE_CANCELLED,
};

/* What an embedding owner may override; NULL members mean the plain behaviour. */
struct slot_future_ops {
	/* slot_future_cancel on a pending future. True: taken (it may settle later). */
	bool (*cancel)(struct slot_future *f);
	/* Synchronously inside the settling call. The callbacks are queued already, so they run
	 * before anything that this queues on the loop; it may add others. */
	void (*settled)(struct slot_future *f);
	/* The last reference went: free the owner (the value was released). NULL: free(f). */
	void (*destroy)(struct slot_future *f);
};

struct slot_future {
	const struct slot_future_ops *ops; /* may be NULL */
	struct slot_loop *loop;
	struct slot_callback *callbacks; /* a ring: the one that was added last */
	void *value; /* result or exception's detail */
	void (*value_free)(void *);
	int code; /* the exception's */
	uint32_t refs : 29;
	uint32_t state : 2;
	uint32_t shutdown : 1;
};

/* Initialises embedded storage: pending, one reference. */
void slot_future_init(struct slot_future *f, struct slot_loop *loop,
    const struct slot_future_ops *ops);
enum slot_future_state slot_future_state(const struct slot_future *f);

#endif
