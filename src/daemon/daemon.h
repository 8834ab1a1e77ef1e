#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H
/*
 * A running slotd: the engine wired to a socket, a launcher, signals, the configuration and the
 * service manager.
 */
#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/options.h"

#define DAEMON_STATUS_JOURNAL 74 /* EX_IOERR: the journal can't be written any more */

struct daemon_setup { /* all borrowed for the call */
	const struct options *options;
	struct config *config; /* changed by reloads */
	struct log *log;
	const char *version;  /* "slotd/1.2.3" */
	const char *launcher; /* the installed one */
};

/* Runs until it is told to leave. Returns the exit status; failures are logged. */
int daemon_run(const struct daemon_setup *setup);

#endif
