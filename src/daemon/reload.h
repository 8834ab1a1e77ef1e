#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H
/*
 * Reading the configuration again while the daemon runs: all of it is checked before any of it
 * is taken, and what can't change at run time is named.
 */
#include "core/logger.h"
#include "daemon/config.h"
#include "daemon/options.h"

struct reload {
	const struct options *options; /* borrowed, as all below */
	struct config *config;         /* the one in force */
	const struct slot_logger *logger;
	void (*on_reloaded)(void *arg); /* `config` has changed */
	void *arg;
	/* reload's own */
	char **names; /* of what changed, NULL-ended */
	size_t nnames;
	struct config_report report; /* why the last one was refused */
};

/* The names of what changed, NULL-ended, good until the next call; NULL: refused or out of
 * memory, and *error (may be NULL) says why. Logs either way. */
const char *const *reload_run(struct reload *reload, const char **error);
void reload_fini(struct reload *reload);

#endif
