/*
 * The executor: slots, a pending order behind an ops struct, and one place where actions start.
 * It does not know what an action does. The public submit stands on the same five functions
 * (core/executor.h) as an owner that embeds the action.
 *
 * Actions start in a loop, never from inside the end of another one: a chain of actions that
 * each end at once, or submit the next one, needs no stack.
 */
#include "core/executor.h"

#include "core/container.h"
#include "core/loop.h"
#include "core/pending.h"

#include <assert.h>
#include <stdlib.h>

/* Actions that ended inside their start, in one kick: after these the loop has its turn. */
enum { ENDED_AT_ONCE_MAX = 256 };

struct slot_executor {
	struct slot_loop *loop;
	const struct slot_pending_ops *order;
	void *policy;
	struct slot_pending *own_order; /* NULL: the policy is the caller's */
	struct slot_call kick_call;
	struct slot_future *drained; /* while somebody asked for it and it is not done */
	size_t pending;
	size_t active; /* actions that run */
	size_t refs;   /* the owner, each running action, a kick */
	unsigned max_running;
	unsigned running; /* slots in use */
	bool paused;
	bool draining;
	bool kicking;
	bool freed; /* by its owner; only running actions still hold it */
};

static void
executor_unref(struct slot_executor *ex)
{
	if (--ex->refs > 0)
		return;
	slot_pending_free(ex->own_order);
	free(ex);
}

static bool
may_start(const struct slot_executor *ex)
{
	return !ex->paused && !ex->freed && ex->pending > 0 && ex->running < ex->max_running;
}

static void
queue_kick(struct slot_executor *ex)
{
	if (!ex->kicking && may_start(ex))
		slot_loop_call_soon(ex->loop, &ex->kick_call);
}

static void
settle_when_drained(struct slot_executor *ex)
{
	struct slot_future *f = ex->drained;

	if (f == NULL || ex->pending > 0 || ex->active > 0)
		return;
	ex->drained = NULL;
	(void)slot_future_set_result(f, NULL, NULL); /* or its holder cancelled it */
	slot_future_unref(f);
}

/* ---- actions ---- */

unsigned
slot_action_slots(const struct slot_action *a)
{
	return a->slots;
}

int
slot_action_priority(const struct slot_action *a)
{
	return a->priority;
}

void **
slot_action_links(struct slot_action *a)
{
	return a->links;
}

static const struct slot_action_ops *
ops_of(const struct slot_action *a)
{
	return (const struct slot_action_ops *)a->future.ops;
}

enum slot_action_state
slot_action_state(const struct slot_action *a)
{
	return (enum slot_action_state)a->state;
}

void
slot_action_init(struct slot_action *a, struct slot_executor *ex,
    const struct slot_action_ops *ops, unsigned slots, int priority)
{
	assert(priority >= SLOT_PRIORITY_MIN && priority <= SLOT_PRIORITY_MAX);
	slot_future_init(&a->future, ex->loop, &ops->future);
	a->executor = ex;
	a->links[0] = NULL;
	a->links[1] = NULL;
	a->slots = slots > 0 ? slots : 1;
	a->priority = (int16_t)priority;
	a->state = SLOT_ACTION_IDLE;
	a->cancel_asked = false;
}

void
slot_executor_push(struct slot_executor *ex, struct slot_action *a)
{
	assert(a->state == SLOT_ACTION_IDLE && a->executor == ex && !ex->freed);
	a->state = SLOT_ACTION_PENDING;
	ex->pending++;
	ex->order->push(ex->policy, a);
}

static void
take_from_order(struct slot_executor *ex, struct slot_action *a, enum slot_action_state state)
{
	assert(a->state == SLOT_ACTION_PENDING);
	ex->order->remove(ex->policy, a);
	ex->pending--;
	a->state = state;
}

void
slot_executor_withdraw(struct slot_executor *ex, struct slot_action *a)
{
	take_from_order(ex, a, SLOT_ACTION_IDLE);
	settle_when_drained(ex);
	queue_kick(ex); /* it may have been the one that held the others up */
}

static void
hold_slots(struct slot_executor *ex, struct slot_action *a)
{
	ex->running += a->slots;
	ex->active++;
	ex->refs++;
}

void
slot_executor_adopt(struct slot_executor *ex, struct slot_action *a)
{
	assert(a->state == SLOT_ACTION_IDLE && a->executor == ex && !ex->freed);
	a->state = SLOT_ACTION_RUNNING;
	hold_slots(ex, a);
}

void
slot_action_release(struct slot_action *a)
{
	struct slot_executor *ex = a->executor;

	assert(a->state == SLOT_ACTION_RUNNING);
	a->state = SLOT_ACTION_IDLE;
	ex->running -= a->slots;
	ex->active--;
	if (ex->order->released != NULL && !ex->freed)
		ex->order->released(ex->policy, a);
	settle_when_drained(ex);
	queue_kick(ex);
	executor_unref(ex);
}

/* Returns whether it still runs. */
static bool
start_action(struct slot_executor *ex, struct slot_action *a)
{
	bool runs;
	int rc;

	take_from_order(ex, a, SLOT_ACTION_RUNNING);
	hold_slots(ex, a);
	slot_future_ref(&a->future);
	rc = ops_of(a)->start(a);
	if (rc < 0) {
		(void)slot_future_set_exception(&a->future, rc, NULL, NULL);
		if (a->state == SLOT_ACTION_RUNNING)
			slot_action_release(a);
	}
	runs = a->state == SLOT_ACTION_RUNNING;
	slot_future_unref(&a->future);
	return runs;
}

void
slot_executor_kick(struct slot_executor *ex)
{
	unsigned ended = 0;

	if (ex->kicking)
		return;
	ex->kicking = true;
	ex->refs++;
	while (may_start(ex) && ended < ENDED_AT_ONCE_MAX) {
		struct slot_action *a =
		    ex->order->next_fitting(ex->policy, ex->max_running - ex->running);

		if (a == NULL)
			break;
		assert(a->slots <= ex->max_running - ex->running);
		if (!start_action(ex, a))
			ended++;
	}
	ex->kicking = false;
	if (ended == ENDED_AT_ONCE_MAX)
		queue_kick(ex);
	executor_unref(ex);
}

static void
run_kick(struct slot_call *call)
{
	slot_executor_kick(slot_container_of(call, struct slot_executor, kick_call));
}

/* ---- the executor ---- */

struct slot_executor *
slot_executor_new(struct slot_loop *loop, unsigned max_running, const struct slot_pending_ops *ops,
    void *policy)
{
	struct slot_executor *ex = calloc(1, sizeof(*ex));

	if (ex == NULL)
		return NULL;
	ex->loop = loop;
	ex->order = ops;
	ex->policy = policy;
	ex->max_running = max_running;
	ex->kick_call.run = run_kick;
	ex->refs = 1;
	if (ops == NULL) {
		ex->own_order = slot_pending_new(max_running);
		if (ex->own_order == NULL) {
			free(ex);
			return NULL;
		}
		ex->order = &slot_pending_ops;
		ex->policy = ex->own_order;
	}
	return ex;
}

/* Cancels everything that the order gives out. */
static void
cancel_pending(struct slot_executor *ex)
{
	struct slot_action *a;

	if (ex->own_order != NULL)
		slot_pending_set_limit(ex->own_order, UINT32_MAX); /* nothing stays aside */
	while (ex->pending > 0 &&
	    (a = ex->order->next_fitting(ex->policy, UINT32_MAX)) != NULL) {
		slot_future_ref(&a->future);
		slot_future_cancel(&a->future);
		if (a->state == SLOT_ACTION_PENDING)
			slot_executor_withdraw(ex, a);
		slot_future_unref(&a->future);
	}
}

void
slot_executor_free(struct slot_executor *ex)
{
	if (ex == NULL)
		return;
	ex->freed = true;
	cancel_pending(ex);
	slot_loop_call_cancel(ex->loop, &ex->kick_call);
	if (ex->drained != NULL) {
		slot_future_cancel(ex->drained);
		slot_future_unref(ex->drained);
		ex->drained = NULL;
	}
	executor_unref(ex);
}

void
slot_executor_set_max_running(struct slot_executor *ex, unsigned max_running)
{
	ex->max_running = max_running;
	if (ex->own_order != NULL)
		slot_pending_set_limit(ex->own_order, max_running);
	queue_kick(ex);
}

unsigned
slot_executor_max_running(const struct slot_executor *ex)
{
	return ex->max_running;
}

void
slot_executor_pause(struct slot_executor *ex)
{
	ex->paused = true;
}

void
slot_executor_resume(struct slot_executor *ex)
{
	ex->paused = false;
	queue_kick(ex);
}

struct slot_future *
slot_executor_drain(struct slot_executor *ex)
{
	struct slot_future *f = ex->drained;

	if (f == NULL || slot_future_done(f)) {
		f = slot_future_new(ex->loop);
		if (f == NULL)
			return NULL;
		slot_future_unref(ex->drained);
		ex->drained = f;
	}
	ex->draining = true;
	slot_future_ref(f);
	settle_when_drained(ex);
	return f;
}

unsigned
slot_executor_running(const struct slot_executor *ex)
{
	return ex->running;
}

size_t
slot_executor_pending(const struct slot_executor *ex)
{
	return ex->pending;
}

/* ---- the public submit ---- */

/* An action of slot_executor_submit; from submit until it is idle again the executor holds a
 * reference to it. */
struct submitted {
	struct slot_action action; /* first */
	slot_action_start_cb start;
	slot_action_cancel_cb cancel;
	void *arg;
};

static struct submitted *
submitted_of(struct slot_action *a)
{
	return slot_container_of(a, struct submitted, action);
}

static int
submitted_start(struct slot_action *a)
{
	return submitted_of(a)->start(&a->future, submitted_of(a)->arg);
}

static bool
submitted_cancel(struct slot_future *f)
{
	struct slot_action *a = slot_container_of(f, struct slot_action, future);
	struct submitted *s = submitted_of(a);

	if (a->state != SLOT_ACTION_RUNNING || s->cancel == NULL)
		return slot_future_set_cancelled(f) == 0;
	if (!a->cancel_asked) {
		a->cancel_asked = true;
		s->cancel(f, s->arg);
	}
	return true;
}

/* However it was settled, its slot or its place in the order is free. */
static void
submitted_settled(struct slot_future *f)
{
	struct slot_action *a = slot_container_of(f, struct slot_action, future);

	if (a->state == SLOT_ACTION_PENDING)
		slot_executor_withdraw(a->executor, a);
	else
		slot_action_release(a);
	slot_future_unref(f);
}

/* No destroy: the future stands at the start of the allocation, so free(f) is right. */
static const struct slot_action_ops submitted_ops = {
	.future = {.cancel = submitted_cancel, .settled = submitted_settled},
	.start = submitted_start,
};

void *
slot_action_arg(const struct slot_action *a)
{
	if (ops_of(a) != &submitted_ops)
		return NULL;
	return ((const struct submitted *)a)->arg;
}

static int
check_submit(const struct slot_executor *ex, slot_action_start_cb start,
    const struct slot_submit_options *o)
{
	if (start == NULL)
		return -SLOT_EINVAL;
	if (o != NULL && (o->priority < SLOT_PRIORITY_MIN || o->priority > SLOT_PRIORITY_MAX))
		return -SLOT_EINVAL;
	return ex->draining || ex->freed ? -SLOT_ECLOSED : 0;
}

struct slot_future *
slot_executor_submit(struct slot_executor *ex, slot_action_start_cb start,
    slot_action_cancel_cb cancel, void *arg, const struct slot_submit_options *options, int *error)
{
	struct submitted *s = NULL;
	int rc = check_submit(ex, start, options);

	if (rc == 0) {
		s = malloc(sizeof(*s));
		rc = s == NULL ? -SLOT_ENOMEM : 0;
	}
	if (error != NULL)
		*error = rc;
	if (rc != 0)
		return NULL;
	slot_action_init(&s->action, ex, &submitted_ops,
	    options != NULL ? options->slots : 1, options != NULL ? options->priority : 0);
	s->start = start;
	s->cancel = cancel;
	s->arg = arg;
	slot_executor_push(ex, &s->action);
	queue_kick(ex);
	return slot_future_ref(&s->action.future);
}
