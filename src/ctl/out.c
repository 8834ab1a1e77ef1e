/* Printing: messages to stderr, data to stdout, and texts from outside made harmless. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "ctl/ctl.h"

#define MESSAGE_MAX 2048

static void
__attribute__((format(printf, 1, 0)))
message(const char *format, va_list ap, const char *tail)
{
	char text[MESSAGE_MAX];
	int n = vsnprintf(text, sizeof(text), format, ap);

	if (n < 0)
		return;
	fflush(stdout); /* so that the two come out in order on a terminal */
	fputs("slotctl: ", stderr);
	ctl_print_text(stderr, text, strlen(text), 0);
	fprintf(stderr, "%s\n", tail);
}

int
ctl_error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(format, ap, "");
	va_end(ap);
	return CTL_EXIT_FAILURE;
}

void
ctl_note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(format, ap, "");
	va_end(ap);
}

int
ctl_usage(const struct ctl_args *args, const char *format, ...)
{
	char tail[64] = "; see slotctl --help";
	va_list ap;

	if (args->verb != NULL)
		snprintf(tail, sizeof(tail), "; see slotctl %s --help", args->verb->name);
	va_start(ap, format);
	message(format, ap, tail);
	va_end(ap);
	return CTL_EXIT_FAILURE;
}

/* The write that failed may be long ago, and its errno with it. */
static bool
reader_left(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return errno == EPIPE || (poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0);
}

bool
ctl_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	int error = errno;

	if (!reader_left())
		ctl_error("writing to stdout: %s", strerror(error));
	/* What is in the buffer can't go anywhere; exit must not try again. */
	_exit(CTL_EXIT_FAILURE);
}

bool
ctl_write(const void *data, size_t len)
{
	return fwrite(data, 1, len, stdout) == len || ctl_flush();
}

void
ctl_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
	putchar('\n');
}

size_t
ctl_columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return 0;
	return size.ws_col;
}

/* The next character: its bytes and columns; columns 0: it must be escaped, byte by byte. */
static size_t
next_char(const char *text, size_t len, size_t *columns)
{
	mbstate_t state = { 0 };
	wchar_t c;
	size_t n = mbrtowc(&c, text, len, &state);
	int width = n == (size_t)-1 || n == (size_t)-2 || n == 0 ? -1 : wcwidth(c);

	/* Characters that turn the writing direction would make a line read as another one. */
	if (width <= 0 || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069)) {
		*columns = 0;
		return 1;
	}
	*columns = (size_t)width;
	return n;
}

static size_t
text_columns(const char *text, size_t len)
{
	size_t sum = 0;

	for (size_t i = 0; i < len;) {
		size_t columns;

		i += next_char(text + i, len - i, &columns);
		sum += columns != 0 ? columns : 4;
	}
	return sum;
}

size_t
ctl_print_text(FILE *out, const char *text, size_t len, size_t width)
{
	size_t used = 0;
	size_t room = width;
	bool cut = width != 0 && text_columns(text, len) > width;

	if (cut)
		room = width > 3 ? width - 3 : 0;
	for (size_t i = 0; i < len;) {
		size_t columns;
		size_t n = next_char(text + i, len - i, &columns);
		size_t wanted = columns != 0 ? columns : 4;

		if (width != 0 && used + wanted > room)
			break;
		if (columns != 0)
			fwrite(text + i, 1, n, out);
		else
			fprintf(out, "\\x%02x", (unsigned char)text[i]);
		used += wanted;
		i += n;
	}
	for (int dots = 0; cut && dots < 3 && used < width; dots++, used++)
		putc('.', out);
	return used;
}
