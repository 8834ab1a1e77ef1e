/*
 * slotd: reads the command line and the configuration, then does what was asked.
 */
#include "core/failpoint.h"
#include "daemon/daemon.h"
#include "daemon/places.h"
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define VERSION_TEXT "slotd/" PACKAGE_VERSION
#define CHECK_STATE_UNKNOWN 3 /* as of journal_check: it can't be told */

static int
check_state(const struct options *options, const struct config *config)
{
	struct places places;
	char why[PLACES_MAX + 128], journal[PLACES_MAX + 16];
	struct stat st;

	if (config->store.durability == CONFIG_DURABILITY_MEMORY) {
		puts("durability is memory: nothing is kept, there is nothing to check");
		return 0;
	}
	if (places_name_state(&places, options, why, sizeof(why)) != 0 ||
	    places_check_state(&places, why, sizeof(why)) != 0) {
		fprintf(stderr, "slotd: %s\n", why);
		return CHECK_STATE_UNKNOWN;
	}
	snprintf(journal, sizeof(journal), "%s/journal", places.state);
	if (lstat(journal, &st) == 0 && !S_ISREG(st.st_mode)) {
		fprintf(stderr, "slotd: %s: not a regular file\n", journal);
		return CHECK_STATE_UNKNOWN;
	}
	return journal_check(places.state, stdout);
}

static int
print_failpoints(void)
{
	for (enum failpoint i = 0; i < FAILPOINT_MAX; i++)
		printf("%-20s %s\n", failpoint_name(i), failpoint_help(i));
	return 0;
}

/* For tests: where to fall dead. A daemon that serves others doesn't take such orders. */
static int
arm_failpoints(const struct options *options)
{
	const char *spec = getenv("SLOTD_FAILPOINT");

	if (spec == NULL || spec[0] == '\0')
		return 0;
	if (options->scope == OPTIONS_SCOPE_SYSTEM) {
		fputs("slotd: SLOTD_FAILPOINT is ignored with --system\n", stderr);
		return 0;
	}
	if (failpoint_arm(spec) == 0)
		return 0;
	fprintf(stderr, "slotd: SLOTD_FAILPOINT=%s: accepted is NAME:kill[:N][,...], see "
	    "slotd --failpoints\n", spec);
	return -1;
}

static int
run(const struct options *options, struct config *config)
{
	struct log log;
	struct daemon_setup setup = {
		.options = options,
		.config = config,
		.log = &log,
		.version = VERSION_TEXT,
		.launcher = LAUNCHER_PATH,
	};

	log_init(&log, (enum slot_log_level)config->log.level);
	return daemon_run(&setup);
}

static int
with_config(const struct options *options)
{
	struct config_report report = { NULL, 0, 0 };
	struct config config;
	int status = options->action == OPTIONS_ACTION_CHECK_STATE ? CHECK_STATE_UNKNOWN : 1;

	if (options_load_config(options, &config, &report) != 0)
		fputs("slotd: out of memory\n", stderr);
	else if (report.errors > 0)
		fputs(report.text != NULL ? report.text : "slotd: out of memory\n", stderr);
	else if (options->action == OPTIONS_ACTION_CHECK_CONFIG)
		status = config_print(&config, stdout) == 0 ? 0 : 1;
	else if (options->action == OPTIONS_ACTION_CHECK_STATE)
		status = check_state(options, &config);
	else if (arm_failpoints(options) == 0)
		status = run(options, &config);
	config_fini(&config);
	config_report_fini(&report);
	return status;
}

/* A closed 0, 1 or 2 would be the next socket's number, and log lines would go there. What stands
 * in for it fails when it is used, as the closed one would. */
static void
keep_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
	}
}

int
main(int argc, char **argv)
{
	struct options options;
	char why[512];

	keep_standard_descriptors();
	if (options_parse(&options, argc, (const char *const *)argv, why, sizeof(why)) != 0) {
		fprintf(stderr, "slotd: %s\nTry 'slotd --help'.\n", why);
		return 2;
	}
	switch (options.action) {
	case OPTIONS_ACTION_HELP:
		options_print_help(stdout);
		return 0;
	case OPTIONS_ACTION_VERSION:
		puts("slotd " PACKAGE_VERSION);
		return 0;
	case OPTIONS_ACTION_PRINT_SAMPLE:
		return config_print_sample(stdout) == 0 ? 0 : 1;
	case OPTIONS_ACTION_PRINT_MAN:
		return config_print_man(stdout) == 0 ? 0 : 1;
	case OPTIONS_ACTION_FAILPOINTS:
		return print_failpoints();
	case OPTIONS_ACTION_RUN:
	case OPTIONS_ACTION_CHECK_CONFIG:
	case OPTIONS_ACTION_CHECK_STATE:
		break;
	}
	return with_config(&options);
}
