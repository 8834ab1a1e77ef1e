#ifndef ENGINE_CAPTURE_REPLAY_H
#define ENGINE_CAPTURE_REPLAY_H
/*
 * After a kill: what the dead engine had read from its pipes and not yet put into their rings is
 * put there, as it would have done itself. Whoever adopts the streams then finds nothing missing.
 */

struct spool;

/* As spool_open, with that done. */
struct spool *capture_replay_spool_open(const char *state_dir, const char *era, int *error);

#endif
