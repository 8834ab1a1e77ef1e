#ifndef ENGINE_SETTINGS_H
#define ENGINE_SETTINGS_H
/*
 * What was set at run time: limits, queues, pauses. It outranks the configuration, and where the
 * store is durable it outlives the engine, until it is taken back.
 */
#include "engine/context.h"

struct queue_setting;

/* Records that the limit was set at run time. All of them are taken back. */
void settings_keep_limit(struct engine *e, int which);
void settings_reset_limits(struct engine *e);
/* Records the pause of all queues, those to come included, or its end. */
void settings_keep_pause(struct engine *e);

enum settings_queue { /* bits */
	SETTINGS_QUEUE_MADE = 1 << 0,    /* it was made at run time */
	SETTINGS_QUEUE_LIMITED = 1 << 1, /* its limit was set */
	SETTINGS_QUEUE_PAUSED = 1 << 2,  /* its pause began or ended */
};
/* Records what was set of the queue. */
void settings_keep_queue(struct engine *e, const struct queue *q, unsigned what);
/* It is removed. */
void settings_forget_queue(struct engine *e, const char *name);
/* Was its limit set at run time? */
bool settings_queue_is_limited(const struct engine *e, const struct queue *q);

/* Recovery: as store_recovery tells them. */
void settings_recover_limit(struct engine *e, const char *name, int64_t value);
int settings_recover_queue(struct engine *e, const char *name, int64_t max_running, bool paused);
void settings_fini(struct engine *e);

#endif
