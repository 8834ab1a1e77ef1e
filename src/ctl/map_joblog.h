#ifndef CTL_MAP_JOBLOG_H
#define CTL_MAP_JOBLOG_H
/*
 * A log with one line per finished job, in GNU parallel's columns, and what an earlier log says
 * was done already.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fields are the module's own. */
struct map_joblog {
	int fd; /* -1: there is no log */
	uint8_t *done; /* a bit per seq */
	size_t size;   /* of done, in bytes */
};

struct map_joblog_entry {
	int64_t seq;
	int64_t start_us, runtime_us;
	int64_t received; /* bytes of stdout */
	int exit_value, signal;
	const char *command;
};

void map_joblog_init(struct map_joblog *log);

/* Begins the log anew or, to resume, goes on behind what it holds. 0, or -1 with errno. */
int map_joblog_open(struct map_joblog *log, const char *path, bool resume);

/* This seq stood in the log that is resumed. */
bool map_joblog_has(const struct map_joblog *log, int64_t seq);

/* 0, or -1 with errno. */
int map_joblog_add(const struct map_joblog *log, const struct map_joblog_entry *entry);

void map_joblog_close(struct map_joblog *log);

#endif
