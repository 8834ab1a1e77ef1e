#ifndef SLOT_LOOP_H
#define SLOT_LOOP_H
/*
 * A slot_loop joins libslot to a libevent event_base: it runs the callbacks that
 * became due (never inside the call that made them due), keeps timers, and is the
 * one source of time. One loop per event_base; not thread-safe, as libevent itself.
 */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct slot_loop;

/* Error codes of libslot. Functions return 0 or one of these, negated. */
enum slot_error {
	SLOT_EINVAL = 1,      /* an argument that can never be right */
	SLOT_EINVALSTATE = 2, /* the future is still pending, or settled already */
	SLOT_ECANCELLED = 3,  /* the future was cancelled */
	SLOT_ETIMEOUT = 4,    /* a deadline passed */
	SLOT_ENOMEM = 5,      /* out of memory */
	SLOT_EFAILED = 6,     /* the action or job failed; its detail says how */
	SLOT_ECLOSED = 7,     /* the executor or the connection is closed */
	SLOT_EREMOTE = 8,     /* the daemon answered with an error; its detail says which */
	SLOT_ECONNECT = 9,    /* the daemon could not be reached; errno says why */
	SLOT_EPROTOCOL = 10,  /* the peer does not speak slot/1 */
	SLOT_EUNKNOWN = 11,   /* the connection was lost before the answer: it may or may not have
			       * been done */
	SLOT_EINSTANCE = 12,  /* the daemon that answers now does not know what came before */
};

/* A short English text for an error code of either sign; never NULL. */
const char *slot_strerror(int error);

/* A loop on `base`, which is borrowed until slot_loop_free. It keeps event_base_dispatch from
 * returning only while a call or a timer is due some day. NULL: out of memory or descriptors. */
struct slot_loop *slot_loop_new(struct event_base *base);

/* Frees the loop; not from inside a callback of it. Futures, executors, clients and combinators
 * made on it must be gone, but for settled futures whose callbacks are still to run: these are let
 * go of, unrun. NULL is allowed. */
void slot_loop_free(struct slot_loop *loop);

/* The event_base given to slot_loop_new (borrowed); NULL for a manual loop. */
struct event_base *slot_loop_base(const struct slot_loop *loop);

/* Microseconds on a clock that never jumps and goes on during suspend (CLOCK_BOOTTIME). */
int64_t slot_loop_now_us(const struct slot_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
