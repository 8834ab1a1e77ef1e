#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

/* Helpers for text that crosses the wire: UTF-8 validity and base64 (RFC 4648, padded). */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Strict: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool utf8_is_valid(const void *bytes, size_t len);
/* Reads one character at `s`; its length in bytes, 0 if it isn't valid there. `len` > 0. */
size_t utf8_decode(const unsigned char *s, size_t len, unsigned *codepoint);
/* The longest prefix of at most `max` bytes that doesn't cut a character in two. */
size_t utf8_cut(const char *text, size_t len, size_t max);

#define BASE64_SIZE(len) (((len) + 2) / 3 * 4)

/* Writes BASE64_SIZE(len) characters, no NUL. */
void base64_encode(char *out, const void *bytes, size_t len);
/* Decodes into `out` (room for len / 4 * 3 bytes); the length, or -1: not canonical base64. */
ssize_t base64_decode(void *out, const char *text, size_t len);

#endif
