#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

/*
 * Bytes to lines.  The reader is fed whatever arrived and gives complete lines, one by one; it
 * knows nothing of sockets and nothing of JSON.  Each byte is looked at once, whatever the sizes
 * of the pieces, and a reader that holds no partial line holds no memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest line, its LF not counted: exactly this many bytes are still accepted. */
#define FRAME_MAX (1024u * 1024u)

enum frame_status {
	FRAME_TOO_LARGE = -1, /* the line that just ended was too long; it was dropped */
	FRAME_NONE = 0,       /* no complete line yet: feed more */
	FRAME_LINE = 1,       /* a line */
};

struct frame_line {
	const char *ptr; /* not NUL-terminated; valid until the next call on the reader */
	size_t len;      /* without LF and CR */
	uint64_t begin;  /* position in the stream of the first byte … */
	uint64_t end;    /* … and of the one after the LF: which line does descriptor so-and-so
			    belong to? */
};

/* Open for embedding only; use the functions.  All zero is a valid, empty reader. */
struct frame_reader {
	char *buf;
	size_t cap;
	size_t start;          /* first byte not given out yet */
	size_t scan;           /* no LF in [start, scan) */
	size_t end;            /* end of the bytes held */
	uint64_t base;         /* position in the stream of buf[0] */
	uint64_t dropped_from; /* where the line being drained began */
	bool draining;         /* inside a line that is too long */
};

void frame_reader_init(struct frame_reader *r);
void frame_reader_fini(struct frame_reader *r);

/* Adds `len` bytes (copied).  0, or -ENOMEM: nothing was taken then.  Feed only after
 * frame_reader_next() said FRAME_NONE, or stop reading the peer: what is fed is kept. */
int frame_reader_feed(struct frame_reader *r, const void *bytes, size_t len);

/* The next line.  Blank lines are skipped.  On FRAME_TOO_LARGE `line` has only begin and end. The
 * caller may stop after any line and go on later.  */
enum frame_status frame_reader_next(struct frame_reader *r, struct frame_line *line);

/* What is left without a final LF (the peer closed its side): given as a line if it isn't blank. */
enum frame_status frame_reader_rest(struct frame_reader *r, struct frame_line *line);

/* Bytes held and not given out yet. */
size_t frame_reader_held(const struct frame_reader *r);

/* Bytes fed since init: the stream position of the next byte. */
uint64_t frame_reader_position(const struct frame_reader *r);

#endif
