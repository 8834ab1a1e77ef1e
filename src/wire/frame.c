/* Bytes to lines; see frame.h. */

#include "wire/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_BUFFER_MIN 256u

void
frame_reader_init(struct frame_reader *r)
{
	memset(r, 0, sizeof(*r));
}

void
frame_reader_fini(struct frame_reader *r)
{
	free(r->buf);
	memset(r, 0, sizeof(*r));
}

size_t
frame_reader_held(const struct frame_reader *r)
{
	return r->end - r->start;
}

uint64_t
frame_reader_position(const struct frame_reader *r)
{
	return r->base + r->end;
}

/* Forgets what was given out by moving the rest to the front. */
static void
compact(struct frame_reader *r)
{
	if (r->start == 0)
		return;
	memmove(r->buf, r->buf + r->start, r->end - r->start);
	r->base += r->start;
	r->scan -= r->start;
	r->end -= r->start;
	r->start = 0;
}

static void
release(struct frame_reader *r)
{
	r->base += r->end;
	r->start = r->scan = r->end = 0;
	free(r->buf);
	r->buf = NULL;
	r->cap = 0;
}

static int
reserve(struct frame_reader *r, size_t len)
{
	size_t need, cap;
	char *buf;

	if (r->cap - r->end >= len)
		return 0;
	/* Moving costs what is left; do it only if at least as much was given out since, so that
	 * all moves together cost no more than the bytes that came. */
	if (r->start >= r->end - r->start) {
		compact(r);
		if (r->cap - r->end >= len)
			return 0;
	}
	if (len > SIZE_MAX / 4 - r->end)
		return -ENOMEM;
	need = r->end + len;
	cap = r->cap != 0 ? r->cap : FRAME_BUFFER_MIN;
	while (cap < need)
		cap *= 2;
	buf = realloc(r->buf, cap);
	if (buf == NULL)
		return -ENOMEM;
	r->buf = buf;
	r->cap = cap;
	return 0;
}

/* After a burst: a peer that then holds back the end of a small line shall not keep a large
 * buffer.  Failing to shrink is no harm. */
static void
shrink(struct frame_reader *r)
{
	size_t held = r->end - r->start;
	char *buf;

	if (r->cap < 64 * FRAME_BUFFER_MIN || held > r->cap / 8)
		return;
	compact(r);
	buf = realloc(r->buf, held * 2);
	if (buf == NULL)
		return;
	r->buf = buf;
	r->cap = held * 2;
}

int
frame_reader_feed(struct frame_reader *r, const void *bytes, size_t len)
{
	int err;

	if (len == 0)
		return 0;
	err = reserve(r, len);
	if (err != 0)
		return err;
	memcpy(r->buf + r->end, bytes, len);
	r->end += len;
	return 0;
}

static bool
is_blank(const char *ptr, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (ptr[i] != ' ' && ptr[i] != '\t' && ptr[i] != '\r')
			return false;
	}
	return true;
}

/* [start, end) is a line's content, after is where the next one begins. */
static enum frame_status
take_line(struct frame_reader *r, struct frame_line *line, size_t end, size_t after)
{
	size_t start = r->start;

	line->ptr = r->buf + start;
	line->len = end - start;
	line->begin = r->base + start;
	line->end = r->base + after;
	r->start = r->scan = after;
	if (line->len > FRAME_MAX) {
		line->ptr = NULL;
		line->len = 0;
		return FRAME_TOO_LARGE;
	}
	if (line->len > 0 && line->ptr[line->len - 1] == '\r')
		line->len--;
	return is_blank(line->ptr, line->len) ? FRAME_NONE : FRAME_LINE;
}

/* The end of the line that is too long: true when it was in what we hold. */
static bool
drain(struct frame_reader *r, struct frame_line *line)
{
	const char *lf =
	    r->end > r->start ? memchr(r->buf + r->start, '\n', r->end - r->start) : NULL;

	if (lf == NULL) {
		release(r);
		return false;
	}
	r->start = r->scan = (size_t)(lf + 1 - r->buf);
	r->draining = false;
	*line = (struct frame_line){
		.begin = r->dropped_from,
		.end = r->base + r->start,
	};
	return true;
}

enum frame_status
frame_reader_next(struct frame_reader *r, struct frame_line *line)
{
	if (r->draining)
		return drain(r, line) ? FRAME_TOO_LARGE : FRAME_NONE;

	while (r->scan < r->end) {
		const char *lf = memchr(r->buf + r->scan, '\n', r->end - r->scan);
		enum frame_status status;

		if (lf == NULL) {
			r->scan = r->end;
			break;
		}
		status = take_line(r, line, (size_t)(lf - r->buf), (size_t)(lf + 1 - r->buf));
		if (status != FRAME_NONE)
			return status;
	}
	if (r->start == r->end) {
		release(r);
	} else if (r->end - r->start > FRAME_MAX) {
		r->draining = true;
		r->dropped_from = r->base + r->start;
		release(r);
	} else {
		shrink(r);
	}
	return FRAME_NONE;
}

enum frame_status
frame_reader_rest(struct frame_reader *r, struct frame_line *line)
{
	if (r->draining) {
		r->draining = false;
		*line = (struct frame_line){
			.begin = r->dropped_from,
			.end = frame_reader_position(r),
		};
		release(r);
		return FRAME_TOO_LARGE;
	}
	if (r->start == r->end)
		return FRAME_NONE;
	return take_line(r, line, r->end, r->end);
}
