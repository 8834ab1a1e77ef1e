/* Counts depth and tokens; see prescan.h. */

#include "wire/prescan.h"

#include <stdint.h>

enum char_class {
	IN_WORD, /* part of a number or literal, or garbage that the parser will refuse */
	SPACE,   /* white space, comma, colon */
	OPEN,
	CLOSE,
	QUOTE,
};

static const uint8_t char_class[256] = {
	[' '] = SPACE,
	['\t'] = SPACE,
	['\r'] = SPACE,
	['\n'] = SPACE,
	[','] = SPACE,
	[':'] = SPACE,
	['{'] = OPEN,
	['['] = OPEN,
	['}'] = CLOSE,
	[']'] = CLOSE,
	['"'] = QUOTE,
};

/* Position after the closing quote, or len; `i` is after the opening one. */
static size_t
skip_string(const char *text, size_t len, size_t i)
{
	while (i < len && text[i] != '"')
		i += text[i] == '\\' ? 2 : 1;
	return i < len ? i + 1 : len;
}

static size_t
skip_word(const char *text, size_t len, size_t i)
{
	while (i < len && char_class[(unsigned char)text[i]] == IN_WORD)
		i++;
	return i;
}

enum prescan_verdict
prescan(const char *text, size_t len)
{
	size_t tokens = 0, depth = 0, i = 0;

	while (i < len) {
		switch ((enum char_class)char_class[(unsigned char)text[i]]) {
		case SPACE:
			i++;
			continue;
		case OPEN:
			if (++depth > PRESCAN_DEPTH_MAX)
				return PRESCAN_TOO_DEEP;
			i++;
			break;
		case CLOSE:
			/* More closed than opened is a syntax error: the parser's to say. */
			if (depth > 0)
				depth--;
			i++;
			break;
		case QUOTE:
			i = skip_string(text, len, i + 1);
			break;
		case IN_WORD:
			i = skip_word(text, len, i);
			break;
		}
		if (++tokens > PRESCAN_TOKENS_MAX)
			return PRESCAN_TOO_MANY_TOKENS;
	}
	return PRESCAN_OK;
}

const char *
prescan_message(enum prescan_verdict verdict)
{
	switch (verdict) {
	case PRESCAN_OK:
		return NULL;
	case PRESCAN_TOO_DEEP:
		return "nested too deeply: at most 32 levels are accepted";
	case PRESCAN_TOO_MANY_TOKENS:
		return "too many JSON tokens in one line: at most 65536 are accepted";
	}
	return NULL;
}
