#ifndef ENGINE_SHUTDOWN_H
#define ENGINE_SHUTDOWN_H
/*
 * When nothing is left to do: who waits for that is told (drains, the daemon's idle exit), and a
 * shutdown goes from step to step: no submits, cancel all, wait for the last process, answer the
 * last requests. The functions are engine.h's and context.h's.
 */
struct engine;

void shutdown_init(struct engine *e);

#endif
