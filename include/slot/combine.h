#ifndef SLOT_COMBINE_H
#define SLOT_COMBINE_H
/*
 * The combinators: as_completed, wait, gather and limited, on any futures of one loop.
 * None polls; each completion costs O(1). A future given twice counts once (gather repeats
 * it in its result). They hold a reference to each future while they need it. Where one takes an
 * `error`, it may be NULL, and is 0 when the call succeeded.
 *
 * A future that wait, gather or limited returns holds itself until it is settled: its
 * callbacks run although every other reference was given back. To stop one early, cancel it.
 */
#include <slot/future.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLOT_NO_TIMEOUT (-1)

/* ---- as_completed: futures in the order in which they end ---- */

struct slot_as_completed;

/*
 * There is news: something can be taken, or the timeout passed. From the loop, once for all
 * that ended together. Take with next until it returns NULL, then ask for the status (taking
 * the last one is the end). It is called again for what is left where it took something.
 */
typedef void (*slot_as_completed_cb)(struct slot_as_completed *ac, void *arg);

/*
 * Follows `n` futures; those done already come first, in the order given. timeout_ms from
 * now, or SLOT_NO_TIMEOUT. `ready` may be NULL (slot_client_run_next waits without one). NULL with
 * *error -SLOT_EINVAL (n is 0, a NULL among them, or a timeout below 0 that is not
 * SLOT_NO_TIMEOUT) or -SLOT_ENOMEM. It cancels nothing, ever.
 */
struct slot_as_completed *slot_as_completed_new(struct slot_loop *loop,
    struct slot_future *const *futures, size_t n, int64_t timeout_ms,
    slot_as_completed_cb ready, void *arg, int *error);

/* The next one that ended, a reference being the caller's; NULL: none right now. What ended
 * before the timeout can still be taken after it, what ends later is never delivered. */
struct slot_future *slot_as_completed_next(struct slot_as_completed *ac);

/* 1: more will come (or can be taken now); 0: all were taken; -SLOT_ETIMEOUT: the time is up,
 * what had ended was taken, and some remain. */
int slot_as_completed_status(const struct slot_as_completed *ac);

/* How many futures have not been taken. */
size_t slot_as_completed_remaining(const struct slot_as_completed *ac);

/* Stops following. Allowed inside the callback. NULL is allowed. */
void slot_as_completed_free(struct slot_as_completed *ac);

/* ---- wait: until the first, the first exception, or all ---- */

enum slot_return_when {
	SLOT_FIRST_COMPLETED,
	SLOT_FIRST_EXCEPTION, /* a cancelled future does not count, as in asyncio */
	SLOT_ALL_COMPLETED,
};

/* The result of slot_wait; lives as long as its future. Distinct futures, in input order. */
struct slot_wait_result {
	struct slot_future **done;
	size_t ndone;
	struct slot_future **pending;
	size_t npending;
	bool timed_out;
};

/*
 * A future whose result is a struct slot_wait_result. A timeout is no error: then done may
 * be empty. Cancelling it cancels none of the inputs. NULL as for as_completed, -SLOT_EINVAL
 * for a `when` that is none of the three too.
 */
struct slot_future *slot_wait(struct slot_loop *loop, struct slot_future *const *futures,
    size_t n, enum slot_return_when when, int64_t timeout_ms, int *error);

/* ---- gather: all of them, in the order given ---- */

/* The result of slot_gather; lives as long as its future. */
struct slot_gather_result {
	struct slot_future **futures; /* as given, repeats included; all done */
	size_t n;
};

/* The detail of a gather that failed: which input ended it. The others run on unless they
 * are cancelled. */
struct slot_gather_failure {
	size_t index;
	struct slot_future *future;
};

/*
 * A future whose result is a struct slot_gather_result. Without return_exceptions the first
 * exception (or cancelled input: code -SLOT_ECANCELLED) settles it with that code and a
 * struct slot_gather_failure; the rest runs on. Cancelling it cancels every input that is
 * not done. n may be 0: an empty result. NULL: *error as above.
 */
enum slot_gather_mode { SLOT_GATHER_RAISE, SLOT_GATHER_RETURN_EXCEPTIONS };
struct slot_future *slot_gather(struct slot_loop *loop, struct slot_future *const *futures,
    size_t n, enum slot_gather_mode mode, int *error);

/* ---- limited: a lazy sequence of futures, at most `limit` unfinished at a time ---- */

/* Makes the next future (a reference is handed over) or returns NULL at the end. Called only
 * when there is room. To fail one item, return a future with an exception. */
typedef struct slot_future *(*slot_limited_next_cb)(void *arg);
/* One future ended (borrowed for the call), in finish order. */
typedef void (*slot_limited_item_cb)(struct slot_future *f, void *arg);

/*
 * Runs the sequence in flat memory. The returned future has a NULL result once next said
 * NULL and every item was handed over. Cancelling it stops asking, cancels what is unfinished,
 * and settles as cancelled when that has ended; every future that was made is handed over, the
 * cancelled ones too. next and item are called from the loop, and item may be NULL. Out of
 * memory on the way it ends likewise, with the exception -SLOT_ENOMEM (a future that it could
 * not listen to is cancelled and not handed over). NULL: -SLOT_EINVAL when limit is 0 or next is
 * NULL, or -SLOT_ENOMEM.
 */
struct slot_future *slot_limited(struct slot_loop *loop, unsigned limit,
    slot_limited_next_cb next, slot_limited_item_cb item, void *arg, int *error);

#ifdef __cplusplus
}
#endif
#endif
