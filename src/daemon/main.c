/*
 * slotd: reads the command line and the configuration, then does what was asked.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define VERSION_TEXT "slotd/" PACKAGE_VERSION

static int
check_state(void)
{
	puts("durability is memory: nothing is kept, there is nothing to check");
	return 0;
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
	int status = 1;

	if (options_load_config(options, &config, &report) != 0)
		fputs("slotd: out of memory\n", stderr);
	else if (report.errors > 0)
		fputs(report.text != NULL ? report.text : "slotd: out of memory\n", stderr);
	else if (options->action == OPTIONS_ACTION_CHECK_CONFIG)
		status = config_print(&config, stdout) == 0 ? 0 : 1;
	else if (options->action == OPTIONS_ACTION_CHECK_STATE)
		status = check_state();
	else
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
	case OPTIONS_ACTION_RUN:
	case OPTIONS_ACTION_CHECK_CONFIG:
	case OPTIONS_ACTION_CHECK_STATE:
		break;
	}
	return with_config(&options);
}
