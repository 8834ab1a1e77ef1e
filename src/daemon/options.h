#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H
/*
 * slotd's command line: one table that parsing and --help are made from.
 */
#include "daemon/config.h"

#include <stdbool.h>
#include <stdio.h>

/* Whom the daemon serves: decides where socket and configuration are. */
enum options_scope { OPTIONS_SCOPE_USER, OPTIONS_SCOPE_SYSTEM };

enum options_action { /* what slotd is asked to do */
	OPTIONS_ACTION_RUN,
	OPTIONS_ACTION_CHECK_CONFIG,
	OPTIONS_ACTION_CHECK_STATE,
	OPTIONS_ACTION_PRINT_SAMPLE,
	OPTIONS_ACTION_PRINT_MAN,
	OPTIONS_ACTION_FAILPOINTS,
	OPTIONS_ACTION_HELP,
	OPTIONS_ACTION_VERSION,
};

#define OPTIONS_SETS_MAX 256

struct options { /* strings are borrowed from argv */
	enum options_action action;
	enum options_scope scope;
	const char *config_file; /* NULL: the usual files */
	const char *socket;      /* NULL: not given; the others likewise */
	const char *state_dir;
	const char *max_running;
	const char *launcher;
	int ready_fd; /* -1: none */
	bool on_demand; /* started by a client that found no daemon */
	const char *sets[OPTIONS_SETS_MAX];
	size_t nsets;
};

/* 0, or -1 with one line in `why` (what is wrong with the command line). */
int options_parse(
    struct options *options, int argc, const char *const *argv, char *why, size_t why_size);

void options_print_help(FILE *out);

/*
 * The settings that these options ask for: defaults, files, --set, --max-running, checks. All
 * that is wrong goes to `report`; config_fini is needed either way. 0, or -1: out of memory.
 */
int options_load_config(const struct options *options, struct config *config,
    struct config_report *report);

#endif
