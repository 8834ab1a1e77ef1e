#ifndef WIRE_PRESCAN_H
#define WIRE_PRESCAN_H

/*
 * One pass over a line before the JSON parser sees it, so that a line of brackets can't make the
 * parser allocate a hundred times the line's size.  It only counts; the parser judges syntax.
 */

#include <stddef.h>

#define PRESCAN_DEPTH_MAX 32u
#define PRESCAN_TOKENS_MAX 65536u

enum prescan_verdict {
	PRESCAN_OK,
	PRESCAN_TOO_DEEP,
	PRESCAN_TOO_MANY_TOKENS,
};

/* Tokens are strings (keys too), numbers and literals, and brackets of either kind; commas and
 * colons aren't counted. */
enum prescan_verdict prescan(const char *text, size_t len);
/* What was wrong and what is accepted; NULL for PRESCAN_OK. */
const char *prescan_message(enum prescan_verdict verdict);

#endif
