/*
 * slotd's command line, and how it and the configuration files become one struct config.
 */
#include "daemon/options.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ON_DEMAND_IDLE_EXIT_MS (10 * 60 * INT64_C(1000))

enum option_id {
	OPTION_SYSTEM,
	OPTION_USER,
	OPTION_CONFIG,
	OPTION_SET,
	OPTION_SOCKET,
	OPTION_STATE_DIR,
	OPTION_MAX_RUNNING,
	OPTION_READY_FD,
	OPTION_ON_DEMAND,
	OPTION_CHECK_CONFIG,
	OPTION_CHECK_STATE,
	OPTION_VERSION,
	OPTION_HELP,
	OPTION_LAUNCHER,
	OPTION_PRINT_SAMPLE,
	OPTION_PRINT_MAN,
	OPTION_FAILPOINTS,
};

struct option_row {
	enum option_id id;
	const char *name;
	const char *arg;  /* NULL: takes none */
	const char *help; /* NULL: hidden */
};

static const struct option_row rows[] = {
	{ OPTION_SYSTEM, "--system", NULL, "serve everybody on this machine" },
	{ OPTION_USER, "--user", NULL, "serve the calling user alone (the default)" },
	{ OPTION_CONFIG, "--config", "FILE", "read this file instead of the usual ones" },
	{ OPTION_SET, "--set", "SECTION.KEY=VALUE", "as if it stood in the last file; repeatable" },
	{ OPTION_SOCKET, "--socket", "PATH", "listen there" },
	{ OPTION_STATE_DIR, "--state-dir", "DIR", "keep state there" },
	{ OPTION_MAX_RUNNING, "--max-running", "N", "slots: how many jobs run at once" },
	{ OPTION_READY_FD, "--ready-fd", "N",
	    "write READY=1 to descriptor N once clients can connect" },
	{ OPTION_ON_DEMAND, "--on-demand", NULL,
	    "leave when idle for 10 minutes, or as idle_exit says" },
	{ OPTION_CHECK_CONFIG, "--check-config", NULL,
	    "say what is wrong with the settings, or print them" },
	{ OPTION_CHECK_STATE, "--check-state", NULL,
	    "say what the state directory holds, and whether it is sound" },
	{ OPTION_VERSION, "--version", NULL, "print the version" },
	{ OPTION_HELP, "--help", NULL, "print this" },
	{ OPTION_LAUNCHER, "--launcher", "PATH", NULL },
	{ OPTION_PRINT_SAMPLE, "--print-config-sample", NULL, NULL },
	{ OPTION_PRINT_MAN, "--print-config-man", NULL, NULL },
	{ OPTION_FAILPOINTS, "--failpoints", NULL, NULL },
};
#define NROWS (sizeof(rows) / sizeof(rows[0]))

static const struct option_row *
find_row(const char *word)
{
	size_t len = strcspn(word, "=");

	for (size_t i = 0; i < NROWS; i++) {
		if (strlen(rows[i].name) == len && strncmp(rows[i].name, word, len) == 0)
			return &rows[i];
	}
	return NULL;
}

static int
parse_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	return end != text && *end == '\0' && fd >= 0 && fd <= INT_MAX ? (int)fd : -1;
}

/* 0, or -1: the value is none. */
static int
apply(struct options *options, enum option_id id, const char *value)
{
	switch (id) {
	case OPTION_SYSTEM:
		options->scope = OPTIONS_SCOPE_SYSTEM;
		return 0;
	case OPTION_USER:
		options->scope = OPTIONS_SCOPE_USER;
		return 0;
	case OPTION_CONFIG:
		options->config_file = value;
		return 0;
	case OPTION_SET:
		if (options->nsets == OPTIONS_SETS_MAX)
			return -1;
		options->sets[options->nsets++] = value;
		return 0;
	case OPTION_SOCKET:
		options->socket = value;
		return value[0] != '\0' ? 0 : -1;
	case OPTION_STATE_DIR:
		options->state_dir = value;
		return value[0] != '\0' ? 0 : -1;
	case OPTION_MAX_RUNNING:
		options->max_running = value;
		return 0;
	case OPTION_READY_FD:
		options->ready_fd = parse_fd(value);
		return options->ready_fd >= 0 ? 0 : -1;
	case OPTION_ON_DEMAND:
		options->on_demand = true;
		return 0;
	case OPTION_LAUNCHER:
		options->launcher = value;
		return value[0] != '\0' ? 0 : -1;
	case OPTION_CHECK_CONFIG:
		options->action = OPTIONS_ACTION_CHECK_CONFIG;
		return 0;
	case OPTION_CHECK_STATE:
		options->action = OPTIONS_ACTION_CHECK_STATE;
		return 0;
	case OPTION_PRINT_SAMPLE:
		options->action = OPTIONS_ACTION_PRINT_SAMPLE;
		return 0;
	case OPTION_PRINT_MAN:
		options->action = OPTIONS_ACTION_PRINT_MAN;
		return 0;
	case OPTION_FAILPOINTS:
		options->action = OPTIONS_ACTION_FAILPOINTS;
		return 0;
	case OPTION_VERSION:
		options->action = OPTIONS_ACTION_VERSION;
		return 0;
	case OPTION_HELP:
		options->action = OPTIONS_ACTION_HELP;
		return 0;
	}
	return -1;
}

int
options_parse(
    struct options *options, int argc, const char *const *argv, char *why, size_t why_size)
{
	memset(options, 0, sizeof(*options));
	options->ready_fd = -1;
	for (int i = 1; i < argc; i++) {
		const struct option_row *row = find_row(argv[i]);
		const char *value = strchr(argv[i], '=');

		if (row == NULL) {
			snprintf(why, why_size, "%s: unknown option", argv[i]);
			return -1;
		}
		if (row->arg == NULL && value != NULL) {
			snprintf(why, why_size, "%s takes no value", row->name);
			return -1;
		}
		if (value != NULL)
			value++;
		else if (row->arg != NULL && i + 1 < argc)
			value = argv[++i];
		if (row->arg != NULL && value == NULL) {
			snprintf(why, why_size, "%s needs %s", row->name, row->arg);
			return -1;
		}
		if (apply(options, row->id, value) != 0) {
			snprintf(
			    why, why_size, "%s %s: accepted is %s", row->name, value, row->arg);
			return -1;
		}
		if (options->action == OPTIONS_ACTION_HELP ||
		    options->action == OPTIONS_ACTION_VERSION)
			return 0;
	}
	return 0;
}

void
options_print_help(FILE *out)
{
	char left[64];

	fputs("Usage: slotd [OPTION]...\n"
	      "Runs commands for its clients, so many at a time. Stays in the foreground and logs "
	      "to\n"
	      "standard error.\n\n",
	    out);
	for (size_t i = 0; i < NROWS; i++) {
		if (rows[i].help == NULL)
			continue;
		snprintf(left, sizeof(left), "%s%s%s", rows[i].name, rows[i].arg != NULL ? " " : "",
		    rows[i].arg != NULL ? rows[i].arg : "");
		fprintf(out, "  %-25s %s\n", left, rows[i].help);
	}
	fputs("\nSLOTD_SOCKET names the socket where --socket doesn't. See slotd.conf(5).\n", out);
}

/* ---- the settings --------------------------------------------------------------------------- */

/* The administrator's directory, or the user's. */
static void
read_own_dir(const struct options *options, struct config *config, struct config_report *report)
{
	const char *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	char dir[PATH_MAX];
	int n;

	if (options->scope == OPTIONS_SCOPE_SYSTEM)
		n = snprintf(dir, sizeof(dir), "/etc/slotd");
	else if (xdg != NULL && xdg[0] == '/')
		n = snprintf(dir, sizeof(dir), "%s/slotd", xdg);
	else if (home != NULL && home[0] == '/')
		n = snprintf(dir, sizeof(dir), "%s/.config/slotd", home);
	else
		return;
	if (n < 0 || (size_t)n >= sizeof(dir))
		config_report_add(report, "the path of the configuration directory is too long");
	else
		config_read_dir(config, dir, report);
}

int
options_load_config(const struct options *options, struct config *config,
    struct config_report *report)
{
	if (config_init(config) != 0)
		return -1;
	if (options->on_demand)
		config->executor.idle_exit_ms = ON_DEMAND_IDLE_EXIT_MS;
	if (options->config_file != NULL) {
		config_read_file(config, options->config_file, true, report);
	} else {
		config_read_dir(config, "/usr/lib/slotd", report);
		read_own_dir(options, config, report);
	}
	for (size_t i = 0; i < options->nsets; i++)
		config_set_assignment(config, options->sets[i], "--set", report);
	if (options->max_running != NULL)
		config_set(config, "executor", "max_running", options->max_running, "--max-running",
		    report);
	if (report->errors == 0) /* else the check would speak of values that nobody wrote */
		config_check(config, report);
	return 0;
}
