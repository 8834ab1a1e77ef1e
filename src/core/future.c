/*
 * The future: one value, settled once, and the callbacks that hear of it. It knows nothing of
 * who settles it; owners that embed one override its operations (core/future.h).
 *
 * The callbacks of a future are one allocation, made with the first of them, and one call of
 * the loop, which holds a reference to the future while it is queued.
 */
#include "core/future.h"

#include "core/container.h"
#include "core/loop.h"

#include <assert.h>
#include <slot/executor.h>
#include <stdlib.h>
#include <string.h>

enum { CALLBACKS_INSIDE = 2 };

struct callback {
	slot_future_cb cb; /* NULL: removed while the list was being run */
	void *arg;
};

struct slot_callbacks {
	struct slot_call call;
	struct slot_future *future;
	struct callback *list; /* inside, or on the heap */
	uint32_t count;
	uint32_t capacity;
	uint32_t next; /* the first that has not run */
	bool running;
	struct callback inside[CALLBACKS_INSIDE];
};

/* ---- callbacks ---- */

static void
callbacks_free(struct slot_callbacks *c)
{
	if (c->list != c->inside)
		free(c->list);
	free(c);
}

/* Takes out the list; the future may live on, and get another one. */
static void
discard_callbacks(struct slot_callbacks *c)
{
	c->future->callbacks = NULL;
	callbacks_free(c);
}

static void
queue_callbacks(struct slot_callbacks *c)
{
	slot_future_ref(c->future);
	slot_loop_call_soon(c->future->loop, &c->call);
}

static void
run_callbacks(struct slot_call *call)
{
	struct slot_callbacks *c = slot_container_of(call, struct slot_callbacks, call);
	struct slot_future *f = c->future;
	uint32_t end = c->count;

	/* A callback may add others (they run in a later call), remove any, or drop the last
	 * reference but ours; the list may move, but never shrinks under us. */
	c->running = true;
	while (c->next < end) {
		struct callback one = c->list[c->next++];

		if (one.cb != NULL)
			one.cb(f, one.arg);
	}
	c->running = false;
	if (c->next < c->count) {
		c->count -= c->next;
		memmove(c->list, c->list + c->next, c->count * sizeof(*c->list));
		c->next = 0;
		slot_loop_call_soon(f->loop, &c->call);
		return;
	}
	discard_callbacks(c);
	slot_future_unref(f);
}

static void
drop_callbacks(struct slot_call *call)
{
	struct slot_callbacks *c = slot_container_of(call, struct slot_callbacks, call);
	struct slot_future *f = c->future;

	discard_callbacks(c);
	slot_future_unref(f);
}

static struct slot_callbacks *
callbacks_new(struct slot_future *f)
{
	struct slot_callbacks *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->call.run = run_callbacks;
	c->call.drop = drop_callbacks;
	c->future = f;
	c->list = c->inside;
	c->capacity = CALLBACKS_INSIDE;
	return c;
}

static int
callbacks_grow(struct slot_callbacks *c)
{
	struct callback *old = c->list == c->inside ? NULL : c->list;
	struct callback *list;

	if (c->capacity > UINT32_MAX / 2)
		return -SLOT_ENOMEM;
	list = realloc(old, 2 * (size_t)c->capacity * sizeof(*list));
	if (list == NULL)
		return -SLOT_ENOMEM;
	if (old == NULL)
		memcpy(list, c->inside, c->count * sizeof(*list));
	c->list = list;
	c->capacity *= 2;
	return 0;
}

int
slot_future_add_done_callback(struct slot_future *f, slot_future_cb cb, void *arg)
{
	struct slot_callbacks *c = f->callbacks;

	assert(cb != NULL);
	if (c == NULL) {
		c = callbacks_new(f);
		if (c == NULL)
			return -SLOT_ENOMEM;
		f->callbacks = c;
	} else if (c->count == c->capacity && callbacks_grow(c) != 0) {
		return -SLOT_ENOMEM;
	}
	c->list[c->count++] = (struct callback){cb, arg};
	if (slot_future_done(f) && !c->running && !slot_call_queued(&c->call))
		queue_callbacks(c);
	return 0;
}

/* Marks what has not run; the list stays where it is for the one who runs it. */
static unsigned
remove_while_running(struct slot_callbacks *c, slot_future_cb cb, void *arg)
{
	unsigned removed = 0;

	for (uint32_t i = c->next; i < c->count; i++) {
		if (c->list[i].cb != cb || c->list[i].arg != arg)
			continue;
		c->list[i].cb = NULL;
		removed++;
	}
	return removed;
}

unsigned
slot_future_remove_done_callback(struct slot_future *f, slot_future_cb cb, void *arg)
{
	struct slot_callbacks *c = f->callbacks;
	uint32_t kept = 0;
	unsigned removed;

	if (c == NULL)
		return 0;
	if (c->running)
		return remove_while_running(c, cb, arg);
	for (uint32_t i = 0; i < c->count; i++) {
		if (c->list[i].cb != cb || c->list[i].arg != arg)
			c->list[kept++] = c->list[i];
	}
	removed = c->count - kept;
	c->count = kept;
	/* A queued list holds a reference, which may be the last: its call gives it back. */
	if (kept == 0 && !slot_call_queued(&c->call))
		discard_callbacks(c);
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
	if (f->callbacks != NULL)
		discard_callbacks(f->callbacks);
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
	if (f->callbacks != NULL)
		queue_callbacks(f->callbacks);
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
