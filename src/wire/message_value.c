/* Decoding of single values: numbers, names, text, bytes, any JSON. */

#include "wire/message_internal.h"

#include <string.h>

#include <event2/buffer.h>

#include "wire/text.h"

/* ---- scalars ---- */

int
msg_decode_int(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    int64_t min, int64_t max, int64_t *out)
{
	int64_t value;

	if (!jsonr_is(json, JSON_INTEGER))
		return msg_fail_type(d, at, "an integer", json);
	value = json->integer;
	if ((value < min || value > max) && !d->lenient)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "%lld is out of range: %lld to %lld are accepted", (long long)value,
		    (long long)min, (long long)max);
	*out = value;
	return 0;
}

int
msg_decode_bool(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, bool *out)
{
	if (!jsonr_is_bool(json))
		return msg_fail_type(d, at, "true or false", json);
	*out = jsonr_is(json, JSON_TRUE);
	return 0;
}

static int
fail_name(struct msg_decoder *d, const struct msg_path *at, const struct msg_names *names,
    const struct jsonr *json)
{
	char wanted[180] = "one of ";
	size_t begin = strlen(wanted), used = begin;

	for (int i = 0; i < names->n; i++) {
		if (names->v[i] == NULL)
			continue;
		used = msg_append(wanted, sizeof(wanted), used, used > begin ? ", \"" : "\"");
		used = msg_append(wanted, sizeof(wanted), used, names->v[i]);
		used = msg_append(wanted, sizeof(wanted), used, "\"");
	}
	if (!jsonr_is(json, JSON_STRING))
		return msg_fail_type(d, at, wanted, json);
	return msg_fail(d, RPC_INVALID_PARAMS, at, "must be %s, not \"%.40s\"%s", wanted, json->text,
	    jsonr_has_nul(json) ? " and a NUL" : "");
}

int
msg_decode_name(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_names *names, unsigned flags, int *out)
{
	bool plain = jsonr_is(json, JSON_STRING) && !jsonr_has_nul(json);
	int value = plain ? msg_names_find(names, json->text) : -1;

	if (value < 0 && jsonr_is(json, JSON_STRING) && (flags & MSG_F_OPEN))
		value = names->other;
	if (value < 0)
		return fail_name(d, at, names, json);
	*out = value;
	return 0;
}

int
msg_decode_flags(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_names *names, uint32_t *out)
{
	uint32_t flags = 0;
	size_t i = 0;

	if (!jsonr_is(json, JSON_ARRAY))
		return msg_fail_type(d, at, "a list of names", json);
	if (json->len == 0)
		return msg_fail(d, RPC_INVALID_PARAMS, at, "must not be empty");
	for (const struct jsonr *name = json->first; name != NULL; name = name->next, i++) {
		struct msg_path element = { .up = at, .index = i };
		int bit = 0;

		if (msg_decode_name(d, &element, name, names, 0, &bit) != 0)
			return -1;
		flags |= (uint32_t)1 << bit;
	}
	*out = flags;
	return 0;
}

/* ---- text and bytes ---- */

static int
check_length(struct msg_decoder *d, const struct msg_path *at, size_t len, int64_t min, int64_t max)
{
	if ((int64_t)len < min)
		return msg_fail(d, RPC_INVALID_PARAMS, at, "must not be empty");
	if ((int64_t)len > max)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "%zu bytes are too many: at most %lld are accepted", len, (long long)max);
	return 0;
}

static bool
is_queue_name(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

int
msg_decode_str(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_field *f, const char **out)
{
	const char *text;
	size_t len;

	if (!jsonr_is(json, JSON_STRING))
		return msg_fail_type(d, at, "a string", json);
	text = json->text;
	len = json->len;
	if (memchr(text, '\0', len) != NULL)
		return msg_fail(d, RPC_INVALID_PARAMS, at, "must not contain a NUL");
	if (check_length(d, at, len, f->min, f->max) != 0)
		return -1;
	if ((f->flags & MSG_F_QUEUE_NAME) && !is_queue_name(text, len))
		return msg_fail(
		    d, RPC_INVALID_PARAMS, at, "a queue's name is made of A-Z a-z 0-9 . _ - only");
	*out = text;
	return 0;
}

static int
decode_base64(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_bytes *out)
{
	const struct jsonr *text = jsonr_get(json, "b64");
	ssize_t len;
	char *bytes;

	if (!jsonr_is(text, JSON_STRING) || json->len != 1)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "must be a string or {\"b64\": \"base64\"}, and nothing else in it");
	bytes = arena_alloc(d->arena, text->len / 4 * 3 + 1);
	if (bytes == NULL)
		return msg_fail_nomem(d);
	len = base64_decode(bytes, text->text, text->len);
	if (len < 0)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "b64 is not valid base64 (A-Z a-z 0-9 + / with = padding)");
	bytes[len] = '\0';
	out->ptr = bytes;
	out->len = (size_t)len;
	return 0;
}

int
msg_decode_bytes(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    bool nul_is_fine, int64_t max, struct msg_bytes *out)
{
	if (jsonr_is(json, JSON_STRING)) {
		out->ptr = json->text;
		out->len = json->len;
	} else if (jsonr_is(json, JSON_OBJECT)) {
		if (decode_base64(d, at, json, out) != 0)
			return -1;
	} else {
		return msg_fail_type(d, at, "a string or {\"b64\": ...}", json);
	}
	if (!nul_is_fine && memchr(out->ptr, '\0', out->len) != NULL)
		return msg_fail(d, RPC_INVALID_PARAMS, at, "must not contain a NUL");
	return check_length(d, at, out->len, 0, max);
}

/* ---- any JSON, kept as compact text ---- */

static int
dump_long(struct msg_decoder *d, const struct jsonr *json, struct msg_bytes *out)
{
	struct evbuffer *buffer = evbuffer_new();
	struct jsonw w;
	char *text;

	if (buffer == NULL)
		return msg_fail_nomem(d);
	jsonw_init(&w, buffer);
	jsonw_value(&w, json);
	text = jsonw_flush(&w) == 0 ? arena_alloc(d->arena, jsonw_length(&w) + 1) : NULL;
	if (text != NULL) {
		out->len = jsonw_length(&w);
		evbuffer_remove(buffer, text, out->len);
		text[out->len] = '\0';
		out->ptr = text;
	}
	evbuffer_free(buffer);
	return text != NULL ? 0 : msg_fail_nomem(d);
}

/* Our text is ASCII; what counts is the length without the escapes that this takes. */
static size_t
utf8_length(const struct msg_bytes *text)
{
	json_t *json = json_loadb(text->ptr, text->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	size_t len =
	    json != NULL ? json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : text->len;

	json_decref(json);
	return len;
}

int
msg_decode_any(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    int64_t max, struct msg_bytes *out)
{
	struct jsonw w;

	if (jsonr_is(json, JSON_NULL)) {
		*out = (struct msg_bytes){ NULL, 0 };
		return 0;
	}
	jsonw_init(&w, NULL);
	jsonw_value(&w, json);
	if (!w.failed) {
		out->len = w.len;
		out->ptr = arena_memdup(d->arena, w.flat, w.len);
		if (out->ptr == NULL)
			return msg_fail_nomem(d);
	} else if (dump_long(d, json, out) != 0) {
		return -1;
	}
	if ((int64_t)out->len <= max)
		return 0;
	return check_length(d, at, utf8_length(out), 0, max);
}
