/*
 * reference: the kernel's own speed at running a command, which everything else is measured
 * against: posix_spawn and wait in a loop, at most LIMIT at a time, COUNT in all.
 *
 *	reference [-o FILE] COUNT LIMIT [COMMAND [ARGUMENT…]]	default: /bin/true
 *
 * Output, one line of JSON: count, seconds, per_s, and the time from one start to its end as
 * p50_us and p99_us (exact at LIMIT 1 only: at more, ends are waited for in any order). With -o all
 * of these durations go to FILE.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "figures.h"

extern char **environ;

enum { LIMIT_MAX = 1024 };

struct running {
	pid_t pid;
	double started;
};

static struct running *
find(struct running *all, int count, pid_t pid)
{
	for (int i = 0; i < count; i++) {
		if (all[i].pid == pid)
			return &all[i];
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	static char true_path[] = "/bin/true";
	static char *true_argv[] = { true_path, NULL };
	static struct running running[LIMIT_MAX];
	const char *keep = NULL;

	if (argc > 2 && strcmp(argv[1], "-o") == 0) {
		keep = argv[2];
		argv += 2, argc -= 2;
	}
	long count = argc > 1 ? atol(argv[1]) : 0;
	int limit = argc > 2 ? atoi(argv[2]) : 0;
	char **command = argc > 3 ? argv + 3 : true_argv;
	long started = 0, ended = 0;

	if (count < 1 || limit < 1 || limit > LIMIT_MAX) {
		fprintf(stderr, "usage: reference [-o FILE] COUNT LIMIT(1..%d) [COMMAND...]\n", LIMIT_MAX);
		return 2;
	}
	double *took = figures_new(count), begin = figures_now();

	while (ended < count) {
		while (started < count && started - ended < limit) {
			struct running *r = &running[started - ended];

			r->started = figures_now();
			int error = posix_spawn(&r->pid, command[0], NULL, NULL, command, environ);

			if (error != 0) {
				fprintf(stderr, "reference: %s: %s\n", command[0], strerror(error));
				return 1;
			}
			started++;
		}
		int status;
		pid_t pid = wait(&status);
		struct running *r = find(running, (int)(started - ended), pid);

		if (r == NULL || status != 0) {
			fprintf(stderr, "reference: pid %ld: status %d\n", (long)pid, status);
			return 1;
		}
		took[ended] = figures_now() - r->started;
		*r = running[started - ended - 1];
		ended++;
	}
	figures_print(took, count, figures_now() - begin, keep);
	free(took);
	return 0;
}
