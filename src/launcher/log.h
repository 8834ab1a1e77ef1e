#ifndef LAUNCHER_LOG_H
#define LAUNCHER_LOG_H
/* Lines on stderr: one write each, control characters escaped, no heap. Where stderr is full and
 * would have to be waited for, a line is left out. */

#define LOG_LINE_MAX 512

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
