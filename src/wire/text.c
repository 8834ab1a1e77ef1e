/* UTF-8 validity and base64. */

#include "wire/text.h"

#include <stdint.h>
#include <string.h>

size_t
utf8_decode(const unsigned char *s, size_t len, unsigned *codepoint)
{
	unsigned c = s[0];
	size_t n;
	unsigned low;

	if (c < 0x80) {
		*codepoint = c;
		return 1;
	}
	if (c >= 0xc2 && c <= 0xdf) {
		n = 2;
		c &= 0x1f;
		low = 0x80;
	} else if (c >= 0xe0 && c <= 0xef) {
		n = 3;
		c &= 0x0f;
		low = 0x800;
	} else if (c >= 0xf0 && c <= 0xf4) {
		n = 4;
		c &= 0x07;
		low = 0x10000;
	} else {
		return 0;
	}
	if (len < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < low || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*codepoint = c;
	return n;
}

bool
utf8_is_valid(const void *bytes, size_t len)
{
	const unsigned char *s = bytes;
	size_t i = 0;

	while (i < len) {
		uint64_t word;
		unsigned codepoint;
		size_t n;

		if (len - i >= sizeof(word)) {
			memcpy(&word, s + i, sizeof(word));
			if ((word & UINT64_C(0x8080808080808080)) == 0) {
				i += sizeof(word);
				continue;
			}
		}
		n = utf8_decode(s + i, len - i, &codepoint);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

size_t
utf8_cut(const char *text, size_t len, size_t max)
{
	if (len <= max)
		return len;
	len = max;
	/* text[len] is the first byte left out: it must begin a character. */
	while (len > 0 && max - len < 4 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_encode(char *out, const void *bytes, size_t len)
{
	const unsigned char *s = bytes;

	for (; len >= 3; len -= 3, s += 3) {
		unsigned v = (unsigned)s[0] << 16 | (unsigned)s[1] << 8 | s[2];

		*out++ = base64_digits[v >> 18];
		*out++ = base64_digits[v >> 12 & 63];
		*out++ = base64_digits[v >> 6 & 63];
		*out++ = base64_digits[v & 63];
	}
	if (len == 0)
		return;

	unsigned v = (unsigned)s[0] << 16 | (len == 2 ? (unsigned)s[1] << 8 : 0);

	*out++ = base64_digits[v >> 18];
	*out++ = base64_digits[v >> 12 & 63];
	*out++ = len == 2 ? base64_digits[v >> 6 & 63] : '=';
	*out = '=';
}

static int
base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	if (c == '/')
		return 63;
	return -1;
}

ssize_t
base64_decode(void *out, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char *o = out;

	if (len % 4 != 0)
		return -1;
	for (size_t i = 0; i < len; i += 4) {
		bool last = i + 4 == len;
		size_t pad = !last ? 0 : s[i + 3] != '=' ? 0 : s[i + 2] != '=' ? 1 : 2;
		unsigned v = 0;

		for (size_t k = 0; k < 4; k++) {
			int digit = k < 4 - pad ? base64_value(s[i + k]) : 0;

			if (digit < 0)
				return -1;
			v = v << 6 | (unsigned)digit;
		}
		/* Bits that the padding leaves over are zero in canonical text. */
		if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
			return -1;
		*o++ = (unsigned char)(v >> 16);
		if (pad < 2)
			*o++ = (unsigned char)(v >> 8 & 0xff);
		if (pad < 1)
			*o++ = (unsigned char)(v & 0xff);
	}
	return o - (unsigned char *)out;
}
