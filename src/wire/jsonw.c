/* The JSON writer; see jsonw.h. */

#include "wire/jsonw.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/buffer.h>

#include "wire/text.h"

#define DEPTH_MAX 63u
#define KEY_USUAL 64u /* bytes of a name that is written in one piece */

void
jsonw_init(struct jsonw *w, struct evbuffer *out)
{
	w->out = out;
	w->flushed = 0;
	w->len = 0;
	w->has_member = 0;
	w->depth = 0;
	w->after_key = false;
	w->failed = false;
}

static void
to_buffer(struct jsonw *w, const void *bytes, size_t len)
{
	/* Without an evbuffer the flat buffer is all there is. */
	if (w->out == NULL || evbuffer_add(w->out, bytes, len) != 0)
		w->failed = true;
	w->flushed += len;
}

int
jsonw_flush(struct jsonw *w)
{
	if (w->out != NULL && w->len > 0) {
		to_buffer(w, w->flat, w->len);
		w->len = 0;
	}
	return w->failed ? -ENOMEM : 0;
}

/* Room for `len` (small) characters in flat. */
static inline char *
room(struct jsonw *w, size_t len)
{
	if (JSONW_FLAT_SIZE - w->len < len) {
		to_buffer(w, w->flat, w->len);
		w->len = 0;
	}
	return w->flat + w->len;
}

static void
put_through(struct jsonw *w, const char *bytes, size_t len)
{
	if (w->len > 0)
		to_buffer(w, w->flat, w->len);
	w->len = 0;
	if (len > JSONW_FLAT_SIZE / 2) {
		to_buffer(w, bytes, len);
		return;
	}
	memcpy(w->flat, bytes, len);
	w->len = len;
}

static inline void
put(struct jsonw *w, const char *bytes, size_t len)
{
	if (len > JSONW_FLAT_SIZE - w->len) {
		put_through(w, bytes, len);
		return;
	}
	memcpy(w->flat + w->len, bytes, len);
	w->len += len;
}

static inline void
put_char(struct jsonw *w, char c)
{
	*room(w, 1) = c;
	w->len++;
}

/* What must stand before a value (or a key). */
static inline void
separate(struct jsonw *w)
{
	uint64_t bit = (uint64_t)1 << w->depth;

	if (w->after_key)
		w->after_key = false;
	else if (w->has_member & bit)
		put_char(w, ',');
	else
		w->has_member |= bit;
}

static void
begin(struct jsonw *w, char bracket)
{
	separate(w);
	put_char(w, bracket);
	if (w->depth >= DEPTH_MAX) {
		w->failed = true;
		return;
	}
	w->depth++;
	w->has_member &= ~((uint64_t)1 << w->depth);
}

static void
end(struct jsonw *w, char bracket)
{
	put_char(w, bracket);
	if (w->depth > 0)
		w->depth--;
}

void
jsonw_obj_begin(struct jsonw *w)
{
	begin(w, '{');
}

void
jsonw_obj_end(struct jsonw *w)
{
	end(w, '}');
}

void
jsonw_arr_begin(struct jsonw *w)
{
	begin(w, '[');
}

void
jsonw_arr_end(struct jsonw *w)
{
	end(w, ']');
}

void
jsonw_key_len(struct jsonw *w, const char *key, size_t len)
{
	char *p;

	separate(w);
	if (len <= KEY_USUAL) {
		p = room(w, len + 3);
		p[0] = '"';
		memcpy(p + 1, key, len);
		p[len + 1] = '"';
		p[len + 2] = ':';
		w->len += len + 3;
	} else {
		put_char(w, '"');
		put(w, key, len);
		put(w, "\":", 2);
	}
	w->after_key = true;
}

static size_t
format_uint(char *end_of_text, uint64_t v)
{
	char *p = end_of_text;

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	return (size_t)(end_of_text - p);
}

void
jsonw_int(struct jsonw *w, int64_t value)
{
	char text[24];
	char *text_end = text + sizeof(text);
	size_t len;

	separate(w);
	if (value >= 0) {
		len = format_uint(text_end, (uint64_t)value);
	} else {
		len = format_uint(text_end, (uint64_t)0 - (uint64_t)value) + 1;
		text_end[-(ptrdiff_t)len] = '-';
	}
	put(w, text_end - len, len);
}

void
jsonw_real(struct jsonw *w, double value)
{
	char text[40];
	bool plain = true;

	if (!isfinite(value)) {
		jsonw_null(w);
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (digits == 17 || strtod(text, NULL) == value)
			break;
	}
	for (char *p = text; *p != '\0'; p++) {
		if (strchr("+-0123456789eE.", *p) == NULL)
			*p = '.'; /* the locale's decimal point */
		if (*p == '.' || *p == 'e')
			plain = false;
	}
	separate(w);
	put(w, text, strlen(text));
	if (plain)
		put(w, ".0", 2); /* stays a real when read again */
}

void
jsonw_bool(struct jsonw *w, bool value)
{
	separate(w);
	if (value)
		put(w, "true", 4);
	else
		put(w, "false", 5);
}

void
jsonw_null(struct jsonw *w)
{
	separate(w);
	put(w, "null", 4);
}

void
jsonw_raw(struct jsonw *w, const char *json, size_t len)
{
	separate(w);
	put(w, json, len);
}

/* ---- strings ---- */

/* Characters that an ASCII byte takes inside quotes; 0 marks the bytes of UTF-8 sequences. */
static const uint8_t escaped_size[256] = {
	[0x00 ... 0x07] = 6,
	[0x08 ... 0x0a] = 2,
	[0x0b] = 6,
	[0x0c ... 0x0d] = 2,
	[0x0e ... 0x1f] = 6,
	[0x20 ... 0x21] = 1,
	['"'] = 2,
	[0x23 ... 0x5b] = 1,
	['\\'] = 2,
	[0x5d ... 0x7f] = 1,
};

static void
put_unit(struct jsonw *w, unsigned unit)
{
	static const char hex[] = "0123456789abcdef";
	char *p = room(w, 6);

	p[0] = '\\';
	p[1] = 'u';
	p[2] = hex[unit >> 12 & 15];
	p[3] = hex[unit >> 8 & 15];
	p[4] = hex[unit >> 4 & 15];
	p[5] = hex[unit & 15];
	w->len += 6;
}

static void
put_escaped(struct jsonw *w, unsigned codepoint)
{
	char letter = 0;

	switch (codepoint) {
	case '"':
	case '\\':
		letter = (char)codepoint;
		break;
	case '\b':
		letter = 'b';
		break;
	case '\t':
		letter = 't';
		break;
	case '\n':
		letter = 'n';
		break;
	case '\f':
		letter = 'f';
		break;
	case '\r':
		letter = 'r';
		break;
	default:
		break;
	}
	if (letter != 0) {
		put_char(w, '\\');
		put_char(w, letter);
	} else if (codepoint < 0x10000) {
		put_unit(w, codepoint);
	} else {
		codepoint -= 0x10000;
		put_unit(w, 0xd800 + (codepoint >> 10));
		put_unit(w, 0xdc00 + (codepoint & 0x3ff));
	}
}

static void
put_string(struct jsonw *w, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t i = 0;

	put_char(w, '"');
	while (i < len) {
		size_t run = i;
		unsigned codepoint = 0xfffd;
		size_t n;

		while (run < len && escaped_size[s[run]] == 1)
			run++;
		if (run > i) {
			put(w, text + i, run - i);
			i = run;
			continue;
		}
		n = utf8_decode(s + i, len - i, &codepoint);
		put_escaped(w, n != 0 ? codepoint : 0xfffd);
		i += n != 0 ? n : 1;
	}
	put_char(w, '"');
}

void
jsonw_strn(struct jsonw *w, const char *text, size_t len)
{
	separate(w);
	put_string(w, text, len);
}

void
jsonw_str(struct jsonw *w, const char *text)
{
	if (text == NULL)
		jsonw_null(w);
	else
		jsonw_strn(w, text, strlen(text));
}

void
jsonw_key_text(struct jsonw *w, const char *key, size_t len)
{
	separate(w);
	put_string(w, key, len);
	put_char(w, ':');
	w->after_key = true;
}

/* ---- bytes ---- */

#define B64_FRAME_SIZE (sizeof("{\"b64\":\"\"}") - 1)

/* Size as a string, quotes included; 0: not UTF-8. */
static size_t
string_size(const unsigned char *s, size_t len)
{
	size_t size = 2, i = 0;

	while (i < len) {
		unsigned codepoint;
		size_t n = escaped_size[s[i]];

		if (n != 0) {
			size += n;
			i++;
			continue;
		}
		n = utf8_decode(s + i, len - i, &codepoint);
		if (n == 0)
			return 0;
		size += codepoint < 0x10000 ? 6 : 12;
		i += n;
	}
	return size;
}

static bool
goes_as_base64(const void *bytes, size_t len, size_t *size)
{
	size_t as_string = string_size(bytes, len);
	size_t as_base64 = B64_FRAME_SIZE + BASE64_SIZE(len);

	if (as_string != 0 && as_string <= as_base64) {
		*size = as_string;
		return false;
	}
	*size = as_base64;
	return true;
}

size_t
jsonw_bytes_size(const void *bytes, size_t len)
{
	size_t size;

	goes_as_base64(bytes, len, &size);
	return size;
}

static void
put_base64(struct jsonw *w, const char *bytes, size_t len)
{
	while (len > 0) {
		size_t piece = len < 384 ? len : 384; /* a multiple of 3: no padding inside */
		char *p = room(w, BASE64_SIZE(piece));

		base64_encode(p, bytes, piece);
		w->len += BASE64_SIZE(piece);
		bytes += piece;
		len -= piece;
	}
}

void
jsonw_bytes(struct jsonw *w, const void *bytes, size_t len)
{
	size_t size;

	separate(w);
	if (!goes_as_base64(bytes, len, &size)) {
		put_string(w, bytes, len);
		return;
	}
	put(w, "{\"b64\":\"", 8);
	put_base64(w, bytes, len);
	put(w, "\"}", 2);
}

/* ---- jansson values ---- */

void
jsonw_json(struct jsonw *w, const json_t *json)
{
	if (json == NULL) {
		jsonw_null(w);
		return;
	}
	switch (json_typeof(json)) {
	case JSON_OBJECT: {
		/* jansson's iterators take a json_t that isn't const, but don't change it. */
		json_t *object = (json_t *)(uintptr_t)json;

		jsonw_obj_begin(w);
		if (!w->failed) {
			for (void *it = json_object_iter(object); it != NULL;
			     it = json_object_iter_next(object, it)) {
				const char *key = json_object_iter_key(it);

				jsonw_key_text(w, key, strlen(key));
				jsonw_json(w, json_object_iter_value(it));
			}
		}
		jsonw_obj_end(w);
		break;
	}
	case JSON_ARRAY:
		jsonw_arr_begin(w);
		for (size_t i = 0; !w->failed && i < json_array_size(json); i++)
			jsonw_json(w, json_array_get(json, i));
		jsonw_arr_end(w);
		break;
	case JSON_STRING:
		jsonw_strn(w, json_string_value(json), json_string_length(json));
		break;
	case JSON_INTEGER:
		jsonw_int(w, json_integer_value(json));
		break;
	case JSON_REAL:
		jsonw_real(w, json_real_value(json));
		break;
	case JSON_TRUE:
		jsonw_bool(w, true);
		break;
	case JSON_FALSE:
		jsonw_bool(w, false);
		break;
	case JSON_NULL:
		jsonw_null(w);
		break;
	}
}

/* ---- values that jsonr read ---- */

void
jsonw_value(struct jsonw *w, const struct jsonr *value)
{
	if (value == NULL) {
		jsonw_null(w);
		return;
	}
	switch (value->type) {
	case JSON_OBJECT:
		jsonw_obj_begin(w);
		for (const struct jsonr *m = value->first; m != NULL && !w->failed; m = m->next) {
			jsonw_key_text(w, m->name, m->name_len);
			jsonw_value(w, m);
		}
		jsonw_obj_end(w);
		break;
	case JSON_ARRAY:
		jsonw_arr_begin(w);
		for (const struct jsonr *v = value->first; v != NULL && !w->failed; v = v->next)
			jsonw_value(w, v);
		jsonw_arr_end(w);
		break;
	case JSON_STRING:
		jsonw_strn(w, value->text, value->len);
		break;
	case JSON_INTEGER:
		jsonw_int(w, value->integer);
		break;
	case JSON_REAL:
		jsonw_real(w, value->real);
		break;
	case JSON_TRUE:
		jsonw_bool(w, true);
		break;
	case JSON_FALSE:
		jsonw_bool(w, false);
		break;
	case JSON_NULL:
		jsonw_null(w);
		break;
	}
}
