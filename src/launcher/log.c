/* Logging to stderr; what comes from outside can't forge a line or reach a terminal. */
#include "launcher/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static size_t escape(char *out, size_t room, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (; *text && n + 4 < room; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f) {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '\\';
		out[n++] = 'x';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	return n;
}

static void log_line(const char *level, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

static void log_line(const char *level, const char *format, va_list args)
{
	char text[LOG_LINE_MAX], line[4 * LOG_LINE_MAX + 64];
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
	size_t n;

	n = (size_t)snprintf(line, sizeof(line), "slotd-launcher: %s: ", level);
	vsnprintf(text, sizeof(text), format, args);
	n += escape(line + n, sizeof(line) - n - 1, text);
	line[n++] = '\n';
	/* Who reads it may have stopped to; the jobs can't wait for that. */
	if (poll(&out, 1, 0) == 0)
		return;
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* there is nowhere to say it */
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line("error", format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line("info", format, args);
	va_end(args);
}

void log_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line("warning", format, args);
	va_end(args);
}
