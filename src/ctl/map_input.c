/* See map_input.h. */
#include "ctl/map_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/sink.h"

#define INPUT_PIECE 65536
#define INPUT_BUFFER (2 * (MAP_INPUT_ITEM_MAX + 1 + INPUT_PIECE))

/* ---- reading ---- */

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct map_input *in = arg;

	(void)fd;
	(void)what;
	in->ready(in->arg);
}

static bool
must_wait(const struct map_input *in)
{
	struct pollfd p = { .fd = in->fd, .events = POLLIN };

	return in->readable != NULL && !in->nonblocking && poll(&p, 1, 0) == 0;
}

/* One read. MAP_INPUT_ITEM stands for "there is more now". */
static enum map_input_result
fill(struct map_input *in)
{
	ssize_t n;

	if (in->start > 0 && in->end + INPUT_PIECE > INPUT_BUFFER) {
		memmove(in->buffer, in->buffer + in->start, in->end - in->start);
		in->scanned -= in->start;
		in->end -= in->start;
		in->start = 0;
	}
	if (must_wait(in)) {
		errno = EAGAIN;
		n = -1;
	} else {
		do
			n = read(in->fd, in->buffer + in->end, INPUT_PIECE);
		while (n < 0 && errno == EINTR);
	}
	if (n < 0 && errno == EAGAIN && in->readable != NULL) {
		event_add(in->readable, NULL);
		return MAP_INPUT_WAIT;
	}
	if (n < 0)
		return MAP_INPUT_FAILED;
	in->at_end = n == 0;
	in->end += (size_t)n;
	return MAP_INPUT_ITEM;
}

/* ---- items ---- */

/* Takes the `len` bytes of an item off the buffer, its delimiter with it. */
static enum map_input_result
take(struct map_input *in, size_t len, size_t with_delimiter, const char **text, size_t *out)
{
	bool too_long = in->skipping || len > MAP_INPUT_ITEM_MAX;

	*text = in->buffer + in->start;
	*out = len;
	in->start += with_delimiter;
	in->scanned = in->start;
	in->skipping = false;
	return too_long ? MAP_INPUT_TOO_LONG : MAP_INPUT_ITEM;
}

enum map_input_result
map_input_next(struct map_input *in, const char **text, size_t *len)
{
	for (;;) {
		const char *end = memchr(in->buffer + in->scanned, in->delimiter,
		    in->end - in->scanned);

		if (end != NULL) {
			size_t n = (size_t)(end - in->buffer) - in->start;

			return take(in, n, n + 1, text, len);
		}
		in->scanned = in->end;
		if (in->at_end) {
			size_t n = in->end - in->start;

			if (n == 0 && !in->skipping)
				return MAP_INPUT_END;
			return take(in, n, n, text, len);
		}
		if (in->end - in->start > MAP_INPUT_ITEM_MAX) {
			in->skipping = true;
			in->start = in->scanned = in->end = 0;
		}
		enum map_input_result r = fill(in);

		if (r != MAP_INPUT_ITEM)
			return r;
	}
}

/* ---- life ---- */

/* Files are always ready; what isn't is watched, and read without waiting. */
static int
prepare(struct map_input *in, struct event_base *base, const char *file)
{
	struct stat st;

	if (fstat(in->fd, &st) != 0)
		return -1;
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	if (base == NULL || !sink_can_wait(in->fd))
		return 0;
	if (file == NULL) {
		int own = sink_reopen(in->fd, O_RDONLY);

		in->nonblocking = in->own = own >= 0;
		if (own >= 0)
			in->fd = own;
	} else {
		in->nonblocking = fcntl(in->fd, F_SETFL, O_NONBLOCK) == 0;
	}
	in->readable = event_new(base, in->fd, EV_READ, on_readable, in);
	return in->readable != NULL ? 0 : -1;
}

int
map_input_open(struct map_input *in, struct event_base *base, const char *file, char delimiter,
    void (*ready)(void *arg), void *arg)
{
	*in = (struct map_input){ .fd = STDIN_FILENO, .delimiter = delimiter, .ready = ready,
		.arg = arg };
	if (file != NULL) {
		in->fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		in->own = true;
	}
	in->buffer = in->fd >= 0 ? malloc(INPUT_BUFFER) : NULL;
	if (in->buffer != NULL && prepare(in, base, file) == 0)
		return 0;
	int error = errno;

	map_input_close(in);
	errno = error;
	return -1;
}

void
map_input_close(struct map_input *in)
{
	if (in->readable != NULL)
		event_free(in->readable);
	if (in->own && in->fd >= 0)
		close(in->fd);
	free(in->buffer);
	*in = (struct map_input){ .fd = -1 };
}
