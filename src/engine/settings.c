/* What was set at run time; see settings.h. */
#include "engine/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* In the store, of a queue's max_running: */
#define KEPT_UNLIMITED (-1)
#define KEPT_AS_CONFIGURED (-2)

#define PAUSED_NAME "all_paused"

struct queue_setting {
	struct queue_setting *next;
	const char *queue; /* queue_name: valid as long as the set of queues */
	bool made, limited;
};

static const char *const limit_names[LIMITS_AT_RUN_TIME] = {
	[LIMIT_RUNNING] = "max_running",
	[LIMIT_PENDING] = "max_pending",
	[LIMIT_PENDING_BYTES] = "max_pending_bytes",
};

/* ---- limits ---- */

static int64_t
limit_value(const struct engine *e, int which)
{
	if (which == LIMIT_RUNNING)
		return e->limits.max_running;
	return which == LIMIT_PENDING ? (int64_t)e->limits.max_pending :
	    e->limits.max_pending_bytes;
}

/* As any change, it may be refused only for want of memory. */
static void
keep(struct engine *e, const char *name, int64_t value)
{
	if (e->store->ops->keep_setting == NULL)
		return;
	if (e->store->ops->keep_setting(e->store, name, value) < 0)
		abort();
	batch_changed(e);
}

void
settings_keep_limit(struct engine *e, int which)
{
	e->limit_set[which] = true;
	keep(e, limit_names[which], limit_value(e, which));
}

void
settings_reset_limits(struct engine *e)
{
	for (int i = 0; i < LIMITS_AT_RUN_TIME; i++) {
		if (e->limit_set[i])
			keep(e, limit_names[i], STORE_NO_SETTING);
		e->limit_set[i] = false;
	}
}

void
settings_keep_pause(struct engine *e)
{
	keep(e, PAUSED_NAME, e->all_paused ? 1 : STORE_NO_SETTING);
}

void
settings_recover_limit(struct engine *e, const char *name, int64_t value)
{
	if (strcmp(name, PAUSED_NAME) == 0) {
		e->all_paused = value != 0;
	} else if (strcmp(name, limit_names[LIMIT_RUNNING]) == 0) {
		e->limits.max_running = (uint32_t)value;
		e->limit_set[LIMIT_RUNNING] = true;
	} else if (strcmp(name, limit_names[LIMIT_PENDING]) == 0) {
		e->limits.max_pending = (uint64_t)value;
		e->limit_set[LIMIT_PENDING] = true;
	} else if (strcmp(name, limit_names[LIMIT_PENDING_BYTES]) == 0) {
		e->limits.max_pending_bytes = value;
		e->limit_set[LIMIT_PENDING_BYTES] = true;
	} /* else a later version's */
}

/* ---- queues ---- */

static struct queue_setting *
setting_of(const struct engine *e, const char *queue)
{
	struct queue_setting *s = e->queue_settings;

	while (s != NULL && strcmp(s->queue, queue) != 0)
		s = s->next;
	return s;
}

static struct queue_setting *
setting_get(struct engine *e, const struct queue *q)
{
	struct queue_setting *s = setting_of(e, queue_name(q));

	if (s != NULL)
		return s;
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->queue = queue_name(q);
	s->next = e->queue_settings;
	return e->queue_settings = s;
}

static void
keep_queue(struct engine *e, const char *queue, int64_t max_running, bool paused)
{
	if (e->store->ops->keep_queue == NULL)
		return;
	if (e->store->ops->keep_queue(e->store, queue, max_running, paused) < 0)
		abort();
	batch_changed(e);
}

void
settings_keep_queue(struct engine *e, const struct queue *q, unsigned what)
{
	struct queue_setting *s = setting_get(e, q);
	int64_t max_running = KEPT_AS_CONFIGURED;

	if (s == NULL)
		abort();
	s->made |= (what & SETTINGS_QUEUE_MADE) != 0;
	s->limited |= (what & SETTINGS_QUEUE_LIMITED) != 0;
	if (s->limited)
		max_running = queue_limit(q) == QUEUE_UNLIMITED ? KEPT_UNLIMITED :
		    (int64_t)queue_limit(q);
	if (!s->made && !s->limited && !queue_paused(q))
		max_running = STORE_NO_QUEUE; /* all of it is the configuration's again */
	keep_queue(e, s->queue, max_running, queue_paused(q));
}

void
settings_forget_queue(struct engine *e, const char *name)
{
	struct queue_setting **at = &e->queue_settings, *s;

	while (*at != NULL && strcmp((*at)->queue, name) != 0)
		at = &(*at)->next;
	if ((s = *at) == NULL)
		return;
	keep_queue(e, s->queue, STORE_NO_QUEUE, false);
	*at = s->next;
	free(s);
}

bool
settings_queue_is_limited(const struct engine *e, const struct queue *q)
{
	const struct queue_setting *s = setting_of(e, queue_name(q));

	return s != NULL && s->limited;
}

int
settings_recover_queue(struct engine *e, const char *name, int64_t max_running, bool paused)
{
	struct queue *q = queue_find(e->queues, name);
	struct queue_setting *s;

	if (q == NULL)
		q = queue_add(e->queues, name);
	s = q != NULL ? setting_get(e, q) : NULL;
	if (s == NULL)
		return -ENOMEM;
	s->made = true;
	s->limited = max_running != KEPT_AS_CONFIGURED;
	if (s->limited)
		queue_set_limit(q, max_running == KEPT_UNLIMITED ? QUEUE_UNLIMITED :
		    (uint32_t)max_running);
	queue_set_paused(q, paused);
	return 0;
}

void
settings_fini(struct engine *e)
{
	struct queue_setting *s;

	while ((s = e->queue_settings) != NULL) {
		e->queue_settings = s->next;
		free(s);
	}
}
