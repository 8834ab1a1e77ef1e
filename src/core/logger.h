#ifndef CORE_LOGGER_H
#define CORE_LOGGER_H
/*
 * A log as its users see it: a level, and where a finished line goes. Who writes the line, and
 * with what in front, is the owner's business (slotd: daemon/log.h; tests: a buffer).
 */
#include <stdbool.h>

enum slot_log_level { /* error: someone must act; warn: we coped; info: lifecycle; debug: per job */
	SLOT_LOG_ERROR,
	SLOT_LOG_WARN,
	SLOT_LOG_INFO,
	SLOT_LOG_DEBUG,
};

/* "error", "warn", "info", "debug", NULL: in the order of the enum. */
extern const char *const slot_log_level_names[];

struct slot_logger {
	/* `line`: no LF at its end, borrowed for the call. NULL: nothing is logged. */
	void (*write)(void *arg, enum slot_log_level level, const char *line);
	void *arg;
	enum slot_log_level level; /* what is above it isn't written */
};

/* Would a line of that level be written? Spares the work of making it. NULL is a silent log. */
bool slot_logger_wants(const struct slot_logger *logger, enum slot_log_level level);

/*
 * Writes one line: "what happened key=value key=value". Longer than 2,000 bytes it is cut;
 * control characters become \xHH, so that no value can forge a line.
 */
void slot_log(const struct slot_logger *logger, enum slot_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
