/*
 * The loop: a queue of calls to run soon, a queue of calls for the end of the turn, and timers,
 * all driven by two events of one event_base - or by hand. It knows nothing of futures.
 *
 * The wake event is made active by hand, so libevent puts it behind the I/O callbacks that are
 * already active and the pass runs at the end of the same turn. What a pass leaves over goes
 * through a timeout of zero instead: an event that activates itself inside its own callback
 * would be run again at once, and libevent would never come back to epoll.
 */
#include "core/loop.h"

#include "core/timer_heap.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { CALLS_PER_PASS = 256 };

struct call_queue {
	struct slot_call *first;
	struct slot_call **last; /* where the next one is linked */
};

struct slot_loop {
	struct event_base *base; /* NULL: manual */
	void *owner;
	struct event wake;
	struct event tick;
	int timer_fd;
	bool wake_queued; /* a pass is sure to come */
	bool in_pass;
	bool tick_added;
	int64_t armed_us; /* what the kernel timer is set to; TIMER_NEVER: not set */

	struct call_queue soon;
	struct call_queue turn_end;
	struct call_queue ending; /* the turn-end calls of the pass that runs */

	struct timer_heap timers;

	int64_t manual_now_us;
	int64_t manual_wall_us;
};

const char *
slot_strerror(int error)
{
	switch (error < 0 ? -(unsigned)error : (unsigned)error) {
	case 0:
		return "no error";
	case SLOT_EINVAL:
		return "invalid argument";
	case SLOT_EINVALSTATE:
		return "invalid state: still pending, or settled already";
	case SLOT_ECANCELLED:
		return "cancelled";
	case SLOT_ETIMEOUT:
		return "timed out";
	case SLOT_ENOMEM:
		return "out of memory";
	case SLOT_EFAILED:
		return "failed";
	case SLOT_ECLOSED:
		return "closed";
	case SLOT_EREMOTE:
		return "the daemon answered with an error";
	case SLOT_ECONNECT:
		return "the daemon could not be reached";
	case SLOT_EPROTOCOL:
		return "the peer does not speak slot/1";
	case SLOT_EUNKNOWN:
		return "the connection was lost before the answer: it may or may not have been done";
	case SLOT_EINSTANCE:
		return "the daemon there now knows nothing of what came before";
	}
	return "unknown error";
}

/* ---- clocks ---- */

static int64_t
clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
slot_loop_now_us(const struct slot_loop *loop)
{
	return loop->base != NULL ? clock_us(CLOCK_BOOTTIME) : loop->manual_now_us;
}

int64_t
slot_loop_wall_us(const struct slot_loop *loop)
{
	return loop->base != NULL ? clock_us(CLOCK_REALTIME) : loop->manual_wall_us;
}

int64_t
slot_loop_in_ms(const struct slot_loop *loop, int64_t delay_ms)
{
	int64_t now_us = slot_loop_now_us(loop);

	if (delay_ms > (INT64_MAX - now_us) / 1000)
		return INT64_MAX;
	return now_us + delay_ms * 1000;
}

/* ---- when passes run ---- */

/* Makes sure that a pass comes in this turn. */
static void
request_pass(struct slot_loop *loop)
{
	if (loop->base == NULL || loop->in_pass || loop->wake_queued)
		return;
	loop->wake_queued = true;
	event_active(&loop->wake, EV_TIMEOUT, 0);
}

/* Makes sure that a pass comes in the next turn, after a look at the descriptors. */
static void
request_next_pass(struct slot_loop *loop)
{
	static const struct timeval at_once = {0, 0};

	loop->wake_queued = true;
	if (event_add(&loop->wake, &at_once) != 0)
		event_active(&loop->wake, EV_TIMEOUT, 0);
}

/* ---- calls ---- */

static void
queue_init(struct call_queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void
queue_append(struct call_queue *q, struct slot_call *call)
{
	call->next = NULL;
	call->prev = q->last;
	*q->last = call;
	q->last = &call->next;
}

/* Moves everything of `from` to the empty `to`. */
static void
queue_move(struct call_queue *to, struct call_queue *from)
{
	assert(to->first == NULL);
	if (from->first == NULL)
		return;
	to->first = from->first;
	to->first->prev = &to->first;
	to->last = from->last;
	queue_init(from);
}

bool
slot_call_queued(const struct slot_call *call)
{
	return call->prev != NULL;
}

void
slot_loop_call_soon(struct slot_loop *loop, struct slot_call *call)
{
	if (slot_call_queued(call))
		return;
	queue_append(&loop->soon, call);
	request_pass(loop);
}

void
slot_loop_call_at_turn_end(struct slot_loop *loop, struct slot_call *call)
{
	if (slot_call_queued(call))
		return;
	queue_append(&loop->turn_end, call);
	request_pass(loop);
}

void
slot_loop_call_cancel(struct slot_loop *loop, struct slot_call *call)
{
	if (!slot_call_queued(call))
		return;
	*call->prev = call->next;
	if (call->next != NULL)
		call->next->prev = call->prev;
	else if (loop->soon.last == &call->next)
		loop->soon.last = call->prev;
	else if (loop->turn_end.last == &call->next)
		loop->turn_end.last = call->prev;
	else
		loop->ending.last = call->prev;
	call->next = NULL;
	call->prev = NULL;
}

/* Runs calls of `q`, those appended meanwhile included, `most` at most. */
static size_t
run_queue(struct slot_loop *loop, struct call_queue *q, size_t most)
{
	size_t ran;

	for (ran = 0; ran < most && q->first != NULL; ran++) {
		struct slot_call *call = q->first;

		slot_loop_call_cancel(loop, call);
		call->run(call);
	}
	return ran;
}

static void
drop_queue(struct slot_loop *loop, struct call_queue *q)
{
	while (q->first != NULL) {
		struct slot_call *call = q->first;

		slot_loop_call_cancel(loop, call);
		if (call->drop != NULL)
			call->drop(call);
	}
}

/* ---- timers ---- */

static int64_t
earliest_us(const struct slot_loop *loop)
{
	return timer_heap_earliest_us(&loop->timers);
}

/* After a change: the kernel timer is looked at when the pass ends. */
static void
timers_changed(struct slot_loop *loop)
{
	if (earliest_us(loop) != loop->armed_us)
		request_pass(loop);
}

bool
slot_timer_armed(const struct slot_timer *timer)
{
	return timer->index != 0;
}

int
slot_loop_timer_set(struct slot_loop *loop, struct slot_timer *timer, int64_t due_us)
{
	int rc = timer_heap_set(&loop->timers, timer, due_us);

	timers_changed(loop);
	return rc;
}

void
slot_loop_timer_clear(struct slot_loop *loop, struct slot_timer *timer)
{
	if (!slot_timer_armed(timer))
		return;
	timer_heap_clear(&loop->timers, timer);
	timers_changed(loop);
}

static size_t
fire_due(struct slot_loop *loop, size_t most)
{
	struct slot_timer *timer;
	int64_t now_us;
	size_t ran;

	if (earliest_us(loop) == TIMER_NEVER)
		return 0;
	now_us = slot_loop_now_us(loop);
	for (ran = 0; ran < most; ran++) {
		timer = timer_heap_pop_due(&loop->timers, now_us);
		if (timer == NULL)
			break;
		timer->fire(timer);
	}
	return ran;
}

/* ---- a pass ---- */

static size_t
at_most(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t
run_pass(struct slot_loop *loop, size_t most)
{
	size_t calls = run_queue(loop, &loop->soon, at_most(CALLS_PER_PASS, most));
	size_t ran = calls + fire_due(loop, at_most(CALLS_PER_PASS, most - calls));

	ran += run_queue(loop, &loop->soon, at_most(CALLS_PER_PASS - calls, most - ran));
	if (ran >= most)
		return ran;
	/* What a turn-end call queues for the end of a turn waits for the next pass. */
	if (loop->ending.first == NULL)
		queue_move(&loop->ending, &loop->turn_end);
	return ran + run_queue(loop, &loop->ending, most - ran);
}

bool
slot_loop_calls_queued(const struct slot_loop *loop)
{
	return loop->soon.first != NULL || loop->turn_end.first != NULL ||
	    loop->ending.first != NULL;
}

bool
slot_loop_is_running(const struct slot_loop *loop)
{
	return loop->in_pass;
}

void
slot_loop_set_owner(struct slot_loop *loop, void *owner)
{
	loop->owner = owner;
}

void *
slot_loop_owner(const struct slot_loop *loop)
{
	return loop->owner;
}

/* ---- on an event_base ---- */

/* The kernel may be short of memory for an epoll entry: look again shortly. */
static void
retry_tick_later(struct slot_loop *loop)
{
	static const struct timeval shortly = {0, 10000};

	if (event_add(&loop->wake, &shortly) != 0)
		request_next_pass(loop);
}

/* Sets the kernel timer to the earliest timer, or to nothing. The event is there only while
 * a timer is: it does not keep event_base_dispatch from returning when nothing is left. */
static void
arm_kernel_timer(struct slot_loop *loop)
{
	int64_t due_us = earliest_us(loop);
	struct itimerspec spec = {0};

	if (due_us == loop->armed_us)
		return;
	if (due_us != TIMER_NEVER) {
		/* An all-zero time would disarm it. */
		spec.it_value.tv_sec = due_us > 0 ? due_us / 1000000 : 0;
		spec.it_value.tv_nsec = due_us > 0 ? due_us % 1000000 * 1000 : 1;
		if (!loop->tick_added) {
			if (event_add(&loop->tick, NULL) != 0) {
				retry_tick_later(loop);
				return;
			}
			loop->tick_added = true;
		}
	} else if (loop->tick_added) {
		event_del(&loop->tick);
		loop->tick_added = false;
	}
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
	loop->armed_us = due_us;
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct slot_loop *loop = arg;

	(void)fd;
	(void)what;
	loop->wake_queued = false;
	loop->in_pass = true;
	run_pass(loop, SIZE_MAX);
	loop->in_pass = false;
	arm_kernel_timer(loop);
	if (slot_loop_calls_queued(loop))
		request_next_pass(loop);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct slot_loop *loop = arg;
	uint64_t expirations;

	(void)what;
	if (read(fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		return;
	/* It has run down: whatever is earliest has to be set again. */
	loop->armed_us = INT64_MIN;
	request_pass(loop);
}

static struct slot_loop *
loop_new(void)
{
	struct slot_loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	queue_init(&loop->soon);
	queue_init(&loop->turn_end);
	queue_init(&loop->ending);
	loop->timer_fd = -1;
	loop->armed_us = TIMER_NEVER;
	return loop;
}

struct slot_loop *
slot_loop_new(struct event_base *base)
{
	struct slot_loop *loop = loop_new();

	if (loop == NULL)
		return NULL;
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->timer_fd < 0 || event_assign(&loop->wake, base, -1, 0, on_wake, loop) != 0 ||
	    event_assign(&loop->tick, base, loop->timer_fd, EV_READ | EV_PERSIST, on_tick,
		loop) != 0) {
		if (loop->timer_fd >= 0)
			close(loop->timer_fd);
		free(loop);
		return NULL;
	}
	loop->base = base;
	return loop;
}

void
slot_loop_free(struct slot_loop *loop)
{
	if (loop == NULL)
		return;
	loop->in_pass = true; /* what is dropped may queue: no pass will come */
	drop_queue(loop, &loop->ending);
	drop_queue(loop, &loop->soon);
	drop_queue(loop, &loop->turn_end);
	if (loop->base != NULL) {
		event_del(&loop->wake);
		event_del(&loop->tick);
		close(loop->timer_fd);
	}
	timer_heap_fini(&loop->timers);
	free(loop);
}

struct event_base *
slot_loop_base(const struct slot_loop *loop)
{
	return loop->base;
}

/* ---- by hand ---- */

struct slot_loop *
slot_loop_new_manual(int64_t now_us, int64_t wall_us)
{
	struct slot_loop *loop = loop_new();

	if (loop == NULL)
		return NULL;
	loop->manual_now_us = now_us;
	loop->manual_wall_us = wall_us;
	return loop;
}

size_t
slot_loop_run_due(struct slot_loop *loop, size_t max)
{
	size_t most = max > 0 ? max : SIZE_MAX;
	size_t ran = 0;

	assert(loop->base == NULL);
	while (ran < most &&
	    (slot_loop_calls_queued(loop) || earliest_us(loop) <= loop->manual_now_us))
		ran += run_pass(loop, most - ran);
	return ran;
}

void
slot_loop_advance(struct slot_loop *loop, int64_t us)
{
	int64_t target_us = loop->manual_now_us + us;

	assert(us >= 0);
	slot_loop_run_due(loop, 0);
	for (;;) {
		int64_t next_us = earliest_us(loop) < target_us ? earliest_us(loop) : target_us;

		/* A fire that moves the clock itself may already have passed it. */
		if (next_us > loop->manual_now_us) {
			loop->manual_wall_us += next_us - loop->manual_now_us;
			loop->manual_now_us = next_us;
		}
		slot_loop_run_due(loop, 0);
		if (next_us >= target_us)
			return;
	}
}

void
slot_loop_set_wall_us(struct slot_loop *loop, int64_t wall_us)
{
	assert(loop->base == NULL);
	loop->manual_wall_us = wall_us;
}
