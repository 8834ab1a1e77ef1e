#ifndef CORE_LOOP_H
#define CORE_LOOP_H
/*
 * The inside of slot_loop: calls to run soon, timers, and the manual loop of the tests and
 * of the simulation, whose clock moves only when told.
 *
 * One pass of the loop: soon-calls until none is left or 256 ran, the timers that are due,
 * the soon-calls these made, then the turn-end calls. What is queued meanwhile and did not
 * run waits for the next pass, and descriptors are looked at in between.
 */
#include <slot/loop.h>
#include <stdbool.h>
#include <stddef.h>

/* A call to run soon: embedded in its owner, queued at most once. Zero-initialise, set run. */
struct slot_call {
	struct slot_call *next;
	struct slot_call **prev; /* NULL while not queued */
	void (*run)(struct slot_call *call);
	/* Instead of run, when the loop is freed while this is queued; NULL: nothing to do. */
	void (*drop)(struct slot_call *call);
};

/* Queues `call` at the end; a no-op while it is queued. Runs from the loop, FIFO. */
void slot_loop_call_soon(struct slot_loop *loop, struct slot_call *call);
/* Takes it out again, in O(1); a no-op when not queued. */
void slot_loop_call_cancel(struct slot_loop *loop, struct slot_call *call);
bool slot_call_queued(const struct slot_call *call);
/* Whether any call waits to run, of either kind. */
bool slot_loop_calls_queued(const struct slot_loop *loop);
/* Whether this is called from inside a call or a timer's fire. */
bool slot_loop_is_running(const struct slot_loop *loop);

/* What whoever made the loop, and will free it, notes of itself; NULL: nothing. */
void slot_loop_set_owner(struct slot_loop *loop, void *owner);
void *slot_loop_owner(const struct slot_loop *loop);

/*
 * `call` runs once at the end of this turn: after all calls to run soon and all I/O callbacks
 * that were ready in this turn (best effort under load: at the latest after 256 soon-calls).
 * This is where the engine commits. Queued at most once. What a turn-end call queues, of
 * either kind, runs in the next pass.
 */
void slot_loop_call_at_turn_end(struct slot_loop *loop, struct slot_call *call);

/* A timer: embedded in its owner, in a heap on one kernel timer. Zero-initialise, set fire.
 * `fire` runs as a soon-call would; it may re-arm or free its owner. */
struct slot_timer {
	size_t index; /* place in the heap + 1; 0 while not armed */
	int64_t due_us;
	void (*fire)(struct slot_timer *timer);
};

/* Arms (or moves) the timer to an absolute time of slot_loop_now_us; timers due at the same
 * time fire in the order of arming. 0 or -SLOT_ENOMEM (a timer that was armed stays so). */
int slot_loop_timer_set(struct slot_loop *loop, struct slot_timer *timer, int64_t due_us);
void slot_loop_timer_clear(struct slot_loop *loop, struct slot_timer *timer);
bool slot_timer_armed(const struct slot_timer *timer);

/* The time `delay_ms` (at least 0) from now, at most INT64_MAX: a due_us for timer_set. */
int64_t slot_loop_in_ms(const struct slot_loop *loop, int64_t delay_ms);

/* Wall clock, microseconds since the epoch; the loop is its seam too. */
int64_t slot_loop_wall_us(const struct slot_loop *loop);

/* A loop without an event_base whose clocks stand still until moved. */
struct slot_loop *slot_loop_new_manual(int64_t now_us, int64_t wall_us);
/* Runs everything that is due now until nothing is (at most `max` calls; 0: no bound).
 * Returns how many calls ran. */
size_t slot_loop_run_due(struct slot_loop *loop, size_t max);
/* Moves the clocks on by `us`, firing timers in order of due time on the way. */
void slot_loop_advance(struct slot_loop *loop, int64_t us);
/* Moves only the wall clock (a clock jump). */
void slot_loop_set_wall_us(struct slot_loop *loop, int64_t wall_us);

#endif
