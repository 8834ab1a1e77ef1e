#ifndef ENGINE_ENVIRONMENT_H
#define ENGINE_ENVIRONMENT_H
/*
 * The environment of a job that was submitted without one: PATH, HOME, USER, LOGNAME, SHELL and
 * LANG of the account, nothing of the daemon's own.
 */
#include "store/store.h"
#include <sys/types.h>

/* Looks the account up (it may block: for start-up only). NULL: out of memory. */
struct env_blob *environment_default(struct env_table *table, uid_t uid);

#endif
