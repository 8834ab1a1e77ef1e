/*
 * The future: one value, settled once, and the callbacks that hear of it. It knows nothing of
 * who settles it; owners that embed one override its operations (core/future.h).
 *
 * Each callback is one allocation and one call of the loop: settling queues them all, in the order
 * of adding, and each that is queued holds a reference to the future.
 */
#include "core/future.h"

#include "core/container.h"
#include "core/loop.h"

#include <assert.h>
#include <slot/executor.h>
#include <stdlib.h>

/* In a ring; the future points at the one that was added last. */
struct slot_callback {
	struct slot_call call;
	struct slot_callback *next;
	struct slot_future *future;
	slot_future_cb cb; /* NULL: removed while it was queued */
	void *arg;
};

/* ---- callbacks ---- */

static void
append_callback(struct slot_future *f, struct slot_callback *c)
{
	if (f->callbacks == NULL) {
		c->next = c;
	} else {
		c->next = f->callbacks->next;
		f->callbacks->next = c;
	}
	f->callbacks = c;
}

/* The one behind `before` in the ring. */
static void
free_callback(struct slot_future *f, struct slot_callback *before)
{
	struct slot_callback *c = before->next;

	before->next = c->next;
	if (f->callbacks == c)
		f->callbacks = before != c ? before : NULL;
	free(c);
}

/* One that was queued and has left the queue: it was the first of the ring, for they are queued
 * in the order of adding. */
static void
free_first_callback(struct slot_callback *c)
{
	assert(c->future->callbacks->next == c);
	free_callback(c->future, c->future->callbacks);
}

static void
run_callback(struct slot_call *call)
{
	struct slot_callback *c = slot_container_of(call, struct slot_callback, call);
	struct slot_future *f = c->future;
	slot_future_cb cb = c->cb;
	void *arg = c->arg;

	free_first_callback(c);
	if (cb != NULL)
		cb(f, arg);
	slot_future_unref(f);
}

static void
drop_callback(struct slot_call *call)
{
	struct slot_callback *c = slot_container_of(call, struct slot_callback, call);
	struct slot_future *f = c->future;

	free_first_callback(c);
	slot_future_unref(f);
}

static void
queue_callback(struct slot_callback *c)
{
	slot_future_ref(c->future);
	slot_loop_call_soon(c->future->loop, &c->call);
}

static void
queue_callbacks(struct slot_future *f)
{
	struct slot_callback *c = f->callbacks;

	if (c == NULL)
		return;
	do {
		c = c->next;
		queue_callback(c);
	} while (c != f->callbacks);
}

int
slot_future_add_done_callback(struct slot_future *f, slot_future_cb cb, void *arg)
{
	struct slot_callback *c = malloc(sizeof(*c));

	assert(cb != NULL);
	if (c == NULL)
		return -SLOT_ENOMEM;
	*c = (struct slot_callback){
	    .call = {.run = run_callback, .drop = drop_callback},
	    .future = f,
	    .cb = cb,
	    .arg = arg,
	};
	append_callback(f, c);
	if (slot_future_done(f))
		queue_callback(c);
	return 0;
}

unsigned
slot_future_remove_done_callback(struct slot_future *f, slot_future_cb cb, void *arg)
{
	struct slot_callback *before = f->callbacks, *last = before;
	unsigned removed = 0;
	bool more = last != NULL;

	while (more) {
		struct slot_callback *c = before->next;

		more = c != last;
		if (c->cb != cb || c->arg != arg) {
			before = c;
			continue;
		}
		removed++;
		if (slot_call_queued(&c->call)) {
			c->cb = NULL; /* it stays: its reference may be the last */
			before = c;
		} else {
			free_callback(f, before);
		}
	}
	return removed;
}

/* ---- life ---- */

void
slot_future_init(struct slot_future *f, struct slot_loop *loop, const struct slot_future_ops *ops)
{
	*f = (struct slot_future){.ops = ops, .loop = loop, .refs = 1};
}

struct slot_future *
slot_future_new(struct slot_loop *loop)
{
	struct slot_future *f = malloc(sizeof(*f));

	if (f != NULL)
		slot_future_init(f, loop, NULL);
	return f;
}

struct slot_future *
slot_future_ref(struct slot_future *f)
{
	assert(f->refs > 0);
	f->refs++;
	return f;
}

void
slot_future_unref(struct slot_future *f)
{
	if (f == NULL)
		return;
	assert(f->refs > 0);
	if (--f->refs > 0)
		return;
	/* Pending with callbacks: nobody can settle it any more, so they never run. */
	while (f->callbacks != NULL)
		free_callback(f, f->callbacks);
	if (f->value_free != NULL)
		f->value_free(f->value);
	if (f->ops != NULL && f->ops->destroy != NULL)
		f->ops->destroy(f);
	else
		free(f);
}

/* ---- the value ---- */

enum slot_future_state
slot_future_state(const struct slot_future *f)
{
	return (enum slot_future_state)f->state;
}

bool
slot_future_done(const struct slot_future *f)
{
	return f->state != SLOT_FUTURE_PENDING;
}

bool
slot_future_cancelled(const struct slot_future *f)
{
	return f->state == SLOT_FUTURE_CANCELLED;
}

int
slot_future_result(const struct slot_future *f, void **result)
{
	switch (slot_future_state(f)) {
	case SLOT_FUTURE_PENDING:
		return -SLOT_EINVALSTATE;
	case SLOT_FUTURE_CANCELLED:
		return -SLOT_ECANCELLED;
	case SLOT_FUTURE_EXCEPTION:
		return f->code;
	case SLOT_FUTURE_RESULT:
		break;
	}
	if (result != NULL)
		*result = f->value;
	return 0;
}

int
slot_future_exception(const struct slot_future *f, int *code, void **detail)
{
	bool failed = f->state == SLOT_FUTURE_EXCEPTION;

	switch (slot_future_state(f)) {
	case SLOT_FUTURE_PENDING:
		return -SLOT_EINVALSTATE;
	case SLOT_FUTURE_CANCELLED:
		return -SLOT_ECANCELLED;
	case SLOT_FUTURE_EXCEPTION:
	case SLOT_FUTURE_RESULT:
		break;
	}
	if (code != NULL)
		*code = failed ? f->code : 0;
	if (detail != NULL)
		*detail = failed ? f->value : NULL;
	return 0;
}

/* ---- settling: the only place where the state changes ---- */

static int
settle(struct slot_future *f, enum slot_future_state state, int code, void *value,
    void (*value_free)(void *))
{
	if (slot_future_done(f))
		return -SLOT_EINVALSTATE;
	slot_future_ref(f); /* settled may give the last one back */
	f->state = state;
	f->code = code;
	f->value = value;
	f->value_free = value_free;
	/* First, so that callbacks run before what settled brings about: a callback that submits
	 * is heard before the slot which this future gives back is filled. */
	queue_callbacks(f);
	if (f->ops != NULL && f->ops->settled != NULL)
		f->ops->settled(f);
	slot_future_unref(f);
	return 0;
}

int
slot_future_set_result(struct slot_future *f, void *result, void (*free_cb)(void *))
{
	return settle(f, SLOT_FUTURE_RESULT, 0, result, free_cb);
}

int
slot_future_set_exception(struct slot_future *f, int code, void *detail, void (*free_cb)(void *))
{
	if (code >= 0)
		return -SLOT_EINVAL;
	return settle(f, SLOT_FUTURE_EXCEPTION, code, detail, free_cb);
}

int
slot_future_set_cancelled(struct slot_future *f)
{
	return settle(f, SLOT_FUTURE_CANCELLED, 0, NULL, NULL);
}

bool
slot_future_cancel(struct slot_future *f)
{
	if (slot_future_done(f))
		return false;
	if (f->ops != NULL && f->ops->cancel != NULL)
		return f->ops->cancel(f);
	return slot_future_set_cancelled(f) == 0;
}
