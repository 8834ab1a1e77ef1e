#ifndef ENGINE_STORAGE_H
#define ENGINE_STORAGE_H
/*
 * The store as the engine has it: the journal or memory, as the options say, with the captures
 * that go with it; what it reports (a full disk, its end); pruning.
 */
#include "engine/context.h"

/* What engine_new opens. NULL: logged, or errno. */
struct store *storage_open_store(const struct engine_options *options,
    const struct store_bounds *bounds, const struct store_hooks *hooks);
/* Makes the engine's store and captures. 0, or -1 with errno. */
int storage_open(struct engine *e, engine_open_store open);
/* The limits in force moved. */
void storage_apply_bounds(struct engine *e);

#endif
