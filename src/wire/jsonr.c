/* The JSON reader; see jsonr.h. */

#include "wire/jsonr.h"

#include <string.h>

#include "wire/prescan.h"
#include "wire/text.h"

#define MEMBERS_MAX 64u /* each name is compared with those before it; more are jansson's */
#define DIGITS_MAX 18   /* no int64_t overflows with so many */

struct reader {
	unsigned char *at; /* in our copy of the line, which ends with a NUL: no JSON has one, so
			    * whatever looks for more stops there */
	const unsigned char *end;
	struct arena *arena;
	size_t tokens; /* as prescan() counts them */
};

static bool take_value(struct reader *r, struct jsonr *v, unsigned depth);

static struct jsonr *
new_value(struct arena *arena)
{
	struct jsonr *v = arena_alloc(arena, sizeof(*v));

	if (v != NULL)
		memset(v, 0, sizeof(*v));
	return v;
}

/* The first byte that is no white space; it isn't taken. */
static unsigned char
peek(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n')
		r->at++;
	return *r->at;
}

static bool
count_token(struct reader *r)
{
	return ++r->tokens <= PRESCAN_TOKENS_MAX;
}

/* ---- strings ---- */

/* Bytes that stand for themselves, whatever is beside them. */
static const bool is_plain[256] = {
	[0x20 ... 0x21] = true, /* " */
	[0x23 ... 0x5b] = true, /* \ */
	[0x5d ... 0x7f] = true,
};

static const char escapes[256] = {
	['"'] = '"',
	['\\'] = '\\',
	['/'] = '/',
	['b'] = '\b',
	['f'] = '\f',
	['n'] = '\n',
	['r'] = '\r',
	['t'] = '\t',
};

/* At the opening quote.  The text stays where it is, and moves up to close what escapes leave. */
static bool
take_string(struct reader *r, const char **text, size_t *len)
{
	unsigned char *from = r->at + 1, *to;

	*text = (const char *)from;
	while (is_plain[*from])
		from++;
	to = from;
	while (*from != '"') {
		unsigned codepoint;
		size_t n = 1;

		if (is_plain[*from]) {
			*to++ = *from++;
			continue;
		}
		if (*from == '\\') {
			*to = (unsigned char)escapes[from[1]];
			if (*to++ == '\0')
				return false;
			from += 2;
			continue;
		}
		n = utf8_decode(from, (size_t)(r->end - from), &codepoint);
		if (n < 2)
			return false; /* no UTF-8, or a control character, or the end */
		memmove(to, from, n);
		to += n;
		from += n;
	}
	*to = '\0';
	*len = (size_t)(to - (const unsigned char *)*text);
	r->at = from + 1;
	return count_token(r);
}

/* ---- numbers and literals ---- */

static bool
take_integer(struct reader *r, struct jsonr *v)
{
	bool negative = *r->at == '-';
	const unsigned char *first = r->at += negative;

	v->type = JSON_INTEGER;
	v->integer = 0;
	while (*r->at >= '0' && *r->at <= '9' && r->at - first < DIGITS_MAX)
		v->integer = v->integer * 10 + (*r->at++ - '0');
	if (r->at == first || (*first == '0' && r->at - first > 1))
		return false;
	if (negative)
		v->integer = -v->integer;
	return count_token(r); /* (what can't follow an integer, such as a dot, ends it all) */
}

static bool
take_literal(struct reader *r, struct jsonr *v, json_type type, const char *word, size_t len)
{
	v->type = type;
	if (strncmp((const char *)r->at, word, len) != 0)
		return false;
	r->at += len;
	return count_token(r);
}

/* ---- lists and objects ---- */

/* At the opening bracket: past it, or past both (*empty). */
static bool
open_container(struct reader *r, char bracket, unsigned depth, bool *empty)
{
	r->at++;
	if (depth >= PRESCAN_DEPTH_MAX || !count_token(r))
		return false;
	*empty = peek(r) == bracket;
	if (!*empty)
		return true;
	r->at++;
	return count_token(r);
}

/* Behind an element: past the comma, or past the bracket (*last). */
static bool
take_separator(struct reader *r, char bracket, bool *last)
{
	unsigned char c = peek(r);

	*last = c == bracket;
	if (c != ',' && !*last)
		return false;
	r->at++;
	return !*last || count_token(r);
}

static bool
take_list(struct reader *r, struct jsonr *v, unsigned depth)
{
	struct jsonr **tail = &v->first;
	bool last;

	v->type = JSON_ARRAY;
	v->first = NULL;
	if (!open_container(r, ']', depth, &last))
		return false;
	while (!last) {
		struct jsonr *element = *tail = new_value(r->arena);

		if (element == NULL || !take_value(r, element, depth + 1) ||
		    !take_separator(r, ']', &last))
			return false;
		tail = &element->next;
		v->len++;
	}
	return true;
}

/* Whether a member before `m` has its name. */
static bool
is_repeated(const struct jsonr *object, const struct jsonr *m)
{
	for (const struct jsonr *at = object->first; at != m; at = at->next) {
		if (at->name_len == m->name_len && memcmp(at->name, m->name, m->name_len) == 0)
			return true;
	}
	return false;
}

static bool
take_object(struct reader *r, struct jsonr *v, unsigned depth)
{
	struct jsonr **tail = &v->first;
	bool last;

	v->type = JSON_OBJECT;
	v->first = NULL;
	if (!open_container(r, '}', depth, &last))
		return false;
	while (!last) {
		struct jsonr *m = *tail = new_value(r->arena);

		if (m == NULL || v->len == MEMBERS_MAX || peek(r) != '"' ||
		    !take_string(r, &m->name, &m->name_len) || is_repeated(v, m) || peek(r) != ':')
			return false;
		r->at++;
		if (!take_value(r, m, depth + 1) || !take_separator(r, '}', &last))
			return false;
		tail = &m->next;
		v->len++;
	}
	return true;
}

static bool
take_value(struct reader *r, struct jsonr *v, unsigned depth)
{
	size_t len;

	switch (peek(r)) {
	case '"':
		v->type = JSON_STRING;
		if (!take_string(r, &v->text, &len))
			return false;
		v->len = (uint32_t)len;
		return true;
	case '{':
		return take_object(r, v, depth);
	case '[':
		return take_list(r, v, depth);
	case 't':
		return take_literal(r, v, JSON_TRUE, "true", 4);
	case 'f':
		return take_literal(r, v, JSON_FALSE, "false", 5);
	case 'n':
		return take_literal(r, v, JSON_NULL, "null", 4);
	default:
		return take_integer(r, v);
	}
}

struct jsonr *
jsonr_read(const char *line, size_t len, struct arena *arena)
{
	struct reader r = { .arena = arena };
	struct jsonr *root;
	char *copy;

	if (len > UINT32_MAX)
		return NULL;
	copy = arena_memdup(arena, line, len);
	root = new_value(arena);
	if (copy == NULL || root == NULL)
		return NULL;
	r.at = (unsigned char *)copy;
	r.end = r.at + len;
	return take_value(&r, root, 0) && peek(&r) == '\0' && r.at == r.end ? root : NULL;
}

/* ---- from jansson ---- */

static bool copy_value(struct arena *arena, const json_t *json, struct jsonr *v);

static bool
copy_list(struct arena *arena, const json_t *json, struct jsonr *v)
{
	struct jsonr **tail = &v->first;

	v->len = (uint32_t)json_array_size(json);
	for (size_t i = 0; i < v->len; i++) {
		struct jsonr *element = *tail = new_value(arena);

		if (element == NULL || !copy_value(arena, json_array_get(json, i), element))
			return false;
		tail = &element->next;
	}
	return true;
}

static bool
copy_object(struct arena *arena, const json_t *json, struct jsonr *v)
{
	json_t *object = (json_t *)(uintptr_t)json; /* jansson iterates over no const one */
	struct jsonr **tail = &v->first;

	v->len = (uint32_t)json_object_size(json);
	for (void *it = json_object_iter(object); it != NULL;
	     it = json_object_iter_next(object, it)) {
		struct jsonr *m = *tail = new_value(arena);

		if (m == NULL)
			return false;
		m->name_len = json_object_iter_key_len(it);
		m->name = arena_memdup(arena, json_object_iter_key(it), m->name_len);
		if (m->name == NULL || !copy_value(arena, json_object_iter_value(it), m))
			return false;
		tail = &m->next;
	}
	return true;
}

static bool
copy_value(struct arena *arena, const json_t *json, struct jsonr *v)
{
	v->type = json_typeof(json);
	switch (v->type) {
	case JSON_OBJECT:
		return copy_object(arena, json, v);
	case JSON_ARRAY:
		return copy_list(arena, json, v);
	case JSON_STRING:
		v->len = (uint32_t)json_string_length(json);
		v->text = arena_memdup(arena, json_string_value(json), v->len);
		return v->text != NULL;
	case JSON_INTEGER:
		v->integer = json_integer_value(json);
		return true;
	case JSON_REAL:
		v->real = json_real_value(json);
		return true;
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		return true;
	}
	return true;
}

struct jsonr *
jsonr_of(const json_t *json, struct arena *arena)
{
	struct jsonr *v = new_value(arena);

	return v != NULL && copy_value(arena, json, v) ? v : NULL;
}

/* ---- looking ---- */

const struct jsonr *
jsonr_get(const struct jsonr *object, const char *name)
{
	size_t len = strlen(name);

	if (!jsonr_is(object, JSON_OBJECT))
		return NULL;
	for (const struct jsonr *m = object->first; m != NULL; m = m->next) {
		if (m->name_len == len && memcmp(m->name, name, len) == 0)
			return m;
	}
	return NULL;
}

bool
jsonr_is_text(const struct jsonr *v, const char *text)
{
	size_t len = strlen(text);

	return jsonr_is(v, JSON_STRING) && v->len == len && memcmp(v->text, text, len) == 0;
}

bool
jsonr_has_nul(const struct jsonr *string)
{
	return memchr(string->text, '\0', string->len) != NULL;
}
