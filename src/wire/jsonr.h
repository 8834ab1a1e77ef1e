#ifndef WIRE_JSONR_H
#define WIRE_JSONR_H

/*
 * JSON as it is read: a line becomes a tree of values in an arena, its strings in one copy of the
 * line.  Two readers make such trees.  jsonr_read() takes what nearly every line is and gives up
 * on the rest without a verdict; jansson judges those, and jsonr_of() takes over what it read.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "wire/arena.h"

struct jsonr {
	json_type type; /* as jansson calls them */
	uint32_t len;   /* bytes of a string; how many members or elements */
	union {
		const char *text; /* a string: NUL-terminated, and may hold NULs */
		int64_t integer;
		double real;
		struct jsonr *first; /* of the members or elements, in their order; NULL: none */
	};
	struct jsonr *next; /* member or element */
	const char *name;   /* of a member, NUL-terminated, without NULs in it */
	size_t name_len;
};

/* Reads one value, which is all there is in `line`.  NULL: too deep or too many tokens (see
 * prescan.h), no JSON, or JSON of a kind that jansson reads: fractions, integers of more than 18
 * digits, \u escapes, objects of very many members.  The arena then holds garbage. */
struct jsonr *jsonr_read(const char *line, size_t len, struct arena *arena);

/* A copy of a jansson value.  NULL: no memory. */
struct jsonr *jsonr_of(const json_t *json, struct arena *arena);

/* All of these take NULL for "not there". */
static inline bool
jsonr_is(const struct jsonr *v, json_type type)
{
	return v != NULL && v->type == type;
}
static inline bool
jsonr_is_bool(const struct jsonr *v)
{
	return jsonr_is(v, JSON_TRUE) || jsonr_is(v, JSON_FALSE);
}
/* A member of an object.  NULL: none, or not an object. */
const struct jsonr *jsonr_get(const struct jsonr *object, const char *name);
/* A string that is `text`. */
bool jsonr_is_text(const struct jsonr *v, const char *text);
bool jsonr_has_nul(const struct jsonr *string);

#endif
