/* slotctl: finds the verb, runs it, and turns what is left in stdout's buffer into a status. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "ctl/ctl.h"

static int
unknown_verb(const char *name)
{
	const char *near = verb_nearest(name);

	if (near != NULL)
		return ctl_error("unknown verb \"%s\"; did you mean \"%s\"?", name, near);
	return ctl_error("unknown verb \"%s\"; see slotctl --help", name);
}

static int
help_about(char **words, int n)
{
	const struct verb *v = n > 0 ? verb_find(words[0]) : NULL;

	if (n > 0 && v == NULL)
		return unknown_verb(words[0]);
	if (v != NULL)
		ctl_help_verb(v);
	else
		ctl_help();
	return CTL_EXIT_OK;
}

static int
run(struct ctl *ctl, char **words, int n)
{
	struct ctl_args args;
	int rc;

	if (n > 0 && strcmp(words[0], "--version") == 0) {
		printf("slotctl %s\n", PACKAGE_VERSION);
		return CTL_EXIT_OK;
	}
	ctl_args_init(&args, ctl, NULL, words, n);
	rc = ctl_args_next(&args);
	if (rc != 0)
		return CTL_EXIT_FAILURE;
	if (args.next == n) {
		ctl_error("no verb given; see slotctl --help");
		return CTL_EXIT_FAILURE;
	}
	words += args.next;
	n -= args.next;
	if (strcmp(words[0], "help") == 0)
		return help_about(words + 1, n - 1);
	const struct verb *v = verb_find(words[0]);

	if (v == NULL)
		return unknown_verb(words[0]);
	ctl_args_init(&args, ctl, v, words + 1, n - 1);
	return v->run(ctl, &args);
}

/* A closed 0, 1 or 2 would be the next socket's number, and data would go there. What stands in
 * for it fails when it is used, as the closed one would. */
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
	const char *start = getenv("SLOTCTL_START");
	struct ctl ctl = { .no_start = start != NULL && strcmp(start, "0") == 0 };

	keep_standard_descriptors();
	signal(SIGPIPE, SIG_IGN); /* a reader that left is an error of that one write */
	setlocale(LC_CTYPE, "");
	int status = run(&ctl, argv + 1, argc > 0 ? argc - 1 : 0);

	ctl_close(&ctl);
	if (!ctl_flush() && status == CTL_EXIT_OK)
		status = CTL_EXIT_FAILURE;
	return status;
}
