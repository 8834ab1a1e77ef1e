/*
 * Where log lines go. Making them is core/logger.c.
 */
#include "daemon/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* $JOURNAL_STREAM is DEVICE:INODE of the stream that journald made for us. */
static bool
stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;
	char *end;

	if (stream == NULL || fstat(STDERR_FILENO, &st) != 0)
		return false;
	dev = strtoumax(stream, &end, 10);
	if (*end != ':')
		return false;
	ino = strtoumax(end + 1, &end, 10);
	return *end == '\0' && dev == st.st_dev && ino == st.st_ino;
}

static const char *
journal_prefix(enum slot_log_level level)
{
	switch (level) {
	case SLOT_LOG_ERROR:
		return "<3>";
	case SLOT_LOG_WARN:
		return "<4>";
	case SLOT_LOG_INFO:
		return "<6>";
	case SLOT_LOG_DEBUG:
		return "<7>";
	}
	return "";
}

static void
time_prefix(enum slot_log_level level, char *buf, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;
	size_t used;

	gmtime_r(&now, &tm);
	used = strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ ", &tm);
	snprintf(buf + used, size - used, "%-5s ", slot_log_level_names[level]);
}

static void
on_line(void *arg, enum slot_log_level level, const char *line)
{
	const struct log *log = arg;
	char prefix[64];
	struct iovec parts[3];
	ssize_t n;

	if (log->journal)
		snprintf(prefix, sizeof(prefix), "%s", journal_prefix(level));
	else
		time_prefix(level, prefix, sizeof(prefix));
	parts[0] = (struct iovec){ prefix, strlen(prefix) };
	parts[1] = (struct iovec){ (void *)(uintptr_t)line, strlen(line) };
	parts[2] = (struct iovec){ (void *)(uintptr_t)"\n", 1 };
	n = writev(STDERR_FILENO, parts, 3);
	(void)n; /* nobody left to tell */
}

void
log_init(struct log *log, enum slot_log_level level)
{
	log->logger.write = on_line;
	log->logger.arg = log;
	log->logger.level = level;
	log->journal = stderr_is_journal();
}

void
log_set_level(struct log *log, enum slot_log_level level)
{
	log->logger.level = level;
}
