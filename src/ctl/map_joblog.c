/* See map_joblog.h. */
#include "ctl/map_joblog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOBLOG_HEADER "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
#define JOBLOG_SEQ_MAX INT64_C(10000000000) /* a bit each: what a damaged log can make us take */

void
map_joblog_init(struct map_joblog *log)
{
	*log = (struct map_joblog){ .fd = -1 };
}

static int
mark_done(struct map_joblog *log, int64_t seq)
{
	size_t byte = (size_t)(seq / 8);

	if (byte >= log->size) {
		size_t size = byte + byte / 2 + 1024;
		uint8_t *bigger = realloc(log->done, size);

		if (bigger == NULL)
			return -1;
		memset(bigger + log->size, 0, size - log->size);
		log->done = bigger;
		log->size = size;
	}
	log->done[byte] |= (uint8_t)(1u << (seq % 8));
	return 0;
}

bool
map_joblog_has(const struct map_joblog *log, int64_t seq)
{
	size_t byte = (size_t)(seq / 8);

	return byte < log->size && (log->done[byte] & (1u << (seq % 8))) != 0;
}

/* Reads the log; *whole is where its last whole line ends. */
static int
read_log(struct map_joblog *log, FILE *in, off_t *whole)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	int rc = 0;

	*whole = 0;
	while (rc == 0 && (len = getline(&line, &cap, in)) > 0 && line[len - 1] == '\n') {
		char *end;
		long long seq = strtoll(line, &end, 10);

		*whole += len;
		if (end != line && *end == '\t' && seq > 0 && seq < JOBLOG_SEQ_MAX)
			rc = mark_done(log, seq);
	}
	free(line);
	return rc != 0 || ferror(in) ? -1 : 0;
}

/* A line that was cut short when the last run was killed goes. 1: the log is empty. */
static int
resume_from(struct map_joblog *log)
{
	int fd = dup(log->fd);
	FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
	off_t whole = 0;

	if (in == NULL) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	int rc = read_log(log, in, &whole);

	fclose(in);
	if (rc == 0)
		rc = ftruncate(log->fd, whole);
	return rc == 0 && lseek(log->fd, 0, SEEK_END) == 0 ? 1 : rc;
}

static int
write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int
map_joblog_open(struct map_joblog *log, const char *path, bool resume)
{
	int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;
	int empty = 1;

	log->fd = open(path, resume ? flags : flags | O_TRUNC, 0666);
	if (log->fd < 0)
		return -1;
	if (resume)
		empty = resume_from(log);
	if (empty < 0)
		return -1;
	return empty > 0 ? write_all(log->fd, JOBLOG_HEADER, strlen(JOBLOG_HEADER)) : 0;
}

/* The command on one line: it must stay the last column. */
static void
write_command(FILE *out, const char *command)
{
	for (; *command != '\0'; command++) {
		if ((unsigned char)*command < 0x20 || *command == 0x7f)
			fprintf(out, "\\x%02x", (unsigned char)*command);
		else
			putc(*command, out);
	}
}

int
map_joblog_add(const struct map_joblog *log, const struct map_joblog_entry *e)
{
	char *line = NULL;
	size_t len;
	FILE *out = open_memstream(&line, &len);

	if (out == NULL)
		return -1;
	fprintf(out, "%lld\t:\t%.3f\t%10.3f\t0\t%lld\t%d\t%d\t", (long long)e->seq,
	    (double)e->start_us / 1e6, (double)e->runtime_us / 1e6, (long long)e->received,
	    e->exit_value, e->signal);
	write_command(out, e->command);
	putc('\n', out);
	int rc = fclose(out) == 0 ? write_all(log->fd, line, len) : -1;

	free(line);
	return rc;
}

void
map_joblog_close(struct map_joblog *log)
{
	if (log->fd >= 0)
		close(log->fd);
	free(log->done);
	map_joblog_init(log);
}
