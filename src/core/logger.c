/*
 * Makes log lines safe and hands them on. Allocates nothing: it has to work when memory is out.
 */
#include "core/logger.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define LINE_MAX_BYTES 2000

const char *const slot_log_level_names[] = { "error", "warn", "info", "debug", NULL };

bool
slot_logger_wants(const struct slot_logger *logger, enum slot_log_level level)
{
	return logger != NULL && logger->write != NULL && level <= logger->level;
}

/* Copies `in`, control characters as \xHH, as far as `size` holds it. */
static void
escape(const char *in, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;

	for (; *in != '\0' && used + 5 <= size; in++) {
		unsigned char c = (unsigned char)*in;

		if (c >= 0x20 && c != 0x7f) {
			out[used++] = *in;
			continue;
		}
		out[used++] = '\\';
		out[used++] = 'x';
		out[used++] = hex[c >> 4];
		out[used++] = hex[c & 15];
	}
	out[used] = '\0';
}

void
slot_log(const struct slot_logger *logger, enum slot_log_level level, const char *format, ...)
{
	char raw[LINE_MAX_BYTES + 1], line[4 * LINE_MAX_BYTES + 5];
	va_list ap;

	if (!slot_logger_wants(logger, level))
		return;
	va_start(ap, format);
	vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	escape(raw, line, sizeof(line));
	logger->write(logger->arg, level, line);
}
