#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H
/*
 * slotd's log: lines to stderr, with a time and a level in front, or with the <n> prefix that
 * journald reads where stderr is its stream.
 */
#include "core/logger.h"

struct log {
	struct slot_logger logger; /* what everybody else is given */
	bool journal;
};

/* `log` must stay where it is while the logger is in use. */
void log_init(struct log *log, enum slot_log_level level);
void log_set_level(struct log *log, enum slot_log_level level);

#endif
