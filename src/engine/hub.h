#ifndef ENGINE_HUB_H
#define ENGINE_HUB_H
/*
 * Where committed facts meet the streams that want them: completions (a cursor into the finish
 * order, lossless) and events (phase changes, which a slow reader may miss and is told so).
 */
#include "engine/batch.h"
#include "engine/request.h"

/* The finish order grew up to e->published_seq. */
void hub_completed(struct engine *e);
/* A fact became durable. */
void hub_event(struct engine *e, const struct fact *f);

/* Handlers of completions.subscribe and events.subscribe. */
void hub_on_completions_subscribe(struct request *req);
void hub_on_events_subscribe(struct request *req);

#endif
