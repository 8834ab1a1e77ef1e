#ifndef SLOT_FUTURE_H
#define SLOT_FUTURE_H
/*
 * A slot_future is a value that is not there yet, with asyncio's shape: pending until
 * it is settled exactly once, with a result, with an exception, or by cancellation.
 *
 *	pending --set_result-----> done (result)
 *	pending --set_exception--> done (exception)
 *	pending --cancel---------> cancelled
 *
 * Callbacks run from the loop, in the order of adding, never inside the call that
 * settles the future or adds the callback; so a callback may do anything.
 */
#include <slot/loop.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slot_future;

/* Called once, from the loop, when `f` is settled. `f` is borrowed for the call. */
typedef void (*slot_future_cb)(struct slot_future *f, void *arg);

/* A pending future with one reference, the caller's. NULL: out of memory. */
struct slot_future *slot_future_new(struct slot_loop *loop);

/* Counts a reference; returns `f`. */
struct slot_future *slot_future_ref(struct slot_future *f);

/* Gives a reference back; the last one frees the future and its value. Callbacks of a future
 * that was settled still run (the loop holds it); those of one that never was do not. NULL is
 * allowed. */
void slot_future_unref(struct slot_future *f);

/* True once settled, cancelled included. */
bool slot_future_done(const struct slot_future *f);

/* True when settled by cancellation. */
bool slot_future_cancelled(const struct slot_future *f);

/*
 * The result. 0: *result (which may be NULL to not receive it) is the value, borrowed
 * until the last reference goes. -SLOT_EINVALSTATE: still pending (this never blocks).
 * -SLOT_ECANCELLED: cancelled. Any other negative code: the exception's own.
 */
int slot_future_result(const struct slot_future *f, void **result);

/*
 * The exception. 0: done; *code is its negative code, or 0 when there is a result, and
 * *detail what came with it (borrowed). -SLOT_EINVALSTATE: pending. -SLOT_ECANCELLED.
 * Both pointers may be NULL.
 */
int slot_future_exception(const struct slot_future *f, int *code, void **detail);

/*
 * Settles with a value that the future owns from here on: free_cb (may be NULL) is called
 * on it with the last reference. -SLOT_EINVALSTATE: already settled; the value stays the
 * caller's.
 */
int slot_future_set_result(struct slot_future *f, void *result, void (*free_cb)(void *));

/* Settles with an exception: a negative code (-SLOT_EFAILED, or one of the caller's own
 * below -1000) and a detail, owned like a result. -SLOT_EINVAL: code is not negative. */
int slot_future_set_exception(struct slot_future *f, int code, void *detail,
    void (*free_cb)(void *));

/* Settles as cancelled, without asking anybody: for the one who does the work, when it has
 * ended because of a cancel. 0 or -SLOT_EINVALSTATE. */
int slot_future_set_cancelled(struct slot_future *f);

/*
 * Asks for cancellation. True: the request was taken; a plain future is then cancelled, an
 * action that runs may settle later (its own way of ending decides). False: already done.
 */
bool slot_future_cancel(struct slot_future *f);

/* Adds a callback; where `f` is done already it runs on the loop's next pass.
 * 0 or -SLOT_ENOMEM. */
int slot_future_add_done_callback(struct slot_future *f, slot_future_cb cb, void *arg);

/* Removes every callback with this (cb, arg) that hasn't run; returns how many. */
unsigned slot_future_remove_done_callback(struct slot_future *f, slot_future_cb cb, void *arg);

#ifdef __cplusplus
}
#endif
#endif
