/*
 * The job that crash tests run: it notes in a file outside the fault domain that it began and that
 * it ended, each with one O_APPEND write, and ends as it was told.
 *
 *   crash-job LEDGER KEY MS UNTIL CODE BYTES
 *
 * "b KEY JOB ATTEMPT MICROSECONDS" at the beginning, "e KEY JOB ATTEMPT" before the end. In between
 * KEY, BYTES times 'x' and a newline go to stdout, half of them before it sleeps MS milliseconds.
 * An attempt before UNTIL exits 1; any other exits CODE, or, CODE being negative, raises -CODE.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char *
from_env(const char *name)
{
	const char *value = getenv(name);

	return value != NULL ? value : "?";
}

static void
note(const char *ledger, const char *text, int len)
{
	int fd = open(ledger, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0 || write(fd, text, (size_t)len) != len)
		_exit(120);
	close(fd);
}

static void
put(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n < 0 && errno != EINTR)
			_exit(121);
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
}

static void
put_x(long n)
{
	char block[4096];

	memset(block, 'x', sizeof(block));
	for (; n > 0; n -= (long)sizeof(block))
		put(block, n < (long)sizeof(block) ? (size_t)n : sizeof(block));
}

int
main(int argc, char **argv)
{
	const char *job = from_env("SLOT_JOB"), *attempt = from_env("SLOT_ATTEMPT");
	const struct rlimit no_core = { 0, 0 };
	struct timespec now, pause;
	char line[512];
	long ms, bytes;
	int code;

	if (argc != 7)
		return 122;
	setrlimit(RLIMIT_CORE, &no_core);
	clock_gettime(CLOCK_MONOTONIC, &now);
	note(argv[1], line,
	    snprintf(line, sizeof(line), "b %.200s %.20s %.20s %lld\n", argv[2], job, attempt,
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000));
	ms = atol(argv[3]);
	bytes = atol(argv[6]);
	put(argv[2], strlen(argv[2]));
	put_x(bytes / 2);
	pause = (struct timespec){ ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&pause, &pause) != 0)
		continue;
	put_x(bytes - bytes / 2);
	put("\n", 1);
	note(argv[1], line,
	    snprintf(line, sizeof(line), "e %.200s %.20s %.20s\n", argv[2], job, attempt));
	if (atol(attempt) < atol(argv[4]))
		return 1;
	code = atoi(argv[5]);
	if (code >= 0)
		return code;
	signal(-code, SIG_DFL);
	raise(-code);
	return 123;
}
