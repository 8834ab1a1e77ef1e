#ifndef WIRE_JSONW_H
#define WIRE_JSONW_H

/*
 * An append-only JSON writer over an evbuffer: compact, pure ASCII, commas placed by the writer.
 * Text is gathered in a small flat buffer inside the writer and reaches the evbuffer when that is
 * full and at jsonw_flush().  Errors (no memory, nesting past 64) stick: check jsonw_flush().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "wire/jsonr.h"

struct evbuffer;

#define JSONW_FLAT_SIZE 1024u

struct jsonw {
	struct evbuffer *out;
	size_t flushed;      /* bytes of this writer already in `out` */
	size_t len;          /* bytes in flat */
	uint64_t has_member; /* bit d: the container at depth d has a member already */
	unsigned depth;
	bool after_key;
	bool failed;
	char flat[JSONW_FLAT_SIZE];
};

/* The writer borrows `out` until jsonw_flush().  NULL: the text stays in flat[0, len); what
 * doesn't fit there is an error. */
void jsonw_init(struct jsonw *w, struct evbuffer *out);

/* Moves the rest to the evbuffer.  0, or -ENOMEM if anything since init was lost: the evbuffer
 * then ends in the middle of a text and the connection is of no more use. */
int jsonw_flush(struct jsonw *w);

/* Bytes written since init, flushed or not. */
static inline size_t
jsonw_length(const struct jsonw *w)
{
	return w->flushed + w->len;
}

void jsonw_obj_begin(struct jsonw *w);
void jsonw_obj_end(struct jsonw *w);
void jsonw_arr_begin(struct jsonw *w);
void jsonw_arr_end(struct jsonw *w);

/* A member's name: plain ASCII without anything to escape, as all names of the protocol are. */
void jsonw_key_len(struct jsonw *w, const char *key, size_t len);
static inline void
jsonw_key(struct jsonw *w, const char *key)
{
	jsonw_key_len(w, key, strlen(key));
}
/* A member's name that came from outside (UTF-8). */
void jsonw_key_text(struct jsonw *w, const char *key, size_t len);

void jsonw_int(struct jsonw *w, int64_t value);
void jsonw_real(struct jsonw *w, double value); /* shortest text that reads back the same */
void jsonw_bool(struct jsonw *w, bool value);
void jsonw_null(struct jsonw *w);
/* Text: UTF-8, NUL-terminated; NULL gives null.  Bytes that are no UTF-8 come out as U+FFFD. */
void jsonw_str(struct jsonw *w, const char *text);
void jsonw_strn(struct jsonw *w, const char *text, size_t len);
/* Bytes: a string, or {"b64":"…"} where they are no UTF-8 or where that is shorter. */
void jsonw_bytes(struct jsonw *w, const void *bytes, size_t len);
/* JSON text, verbatim; the caller vouches for it.  One value. */
void jsonw_raw(struct jsonw *w, const char *json, size_t len);
/* Any jansson value (depth up to what the writer has left). NULL gives null. */
void jsonw_json(struct jsonw *w, const json_t *json);
/* The same for a value that jsonr read. */
void jsonw_value(struct jsonw *w, const struct jsonr *value);

/* key and value in one go */
static inline void
jsonw_kint(struct jsonw *w, const char *key, int64_t value)
{
	jsonw_key(w, key);
	jsonw_int(w, value);
}
static inline void
jsonw_kbool(struct jsonw *w, const char *key, bool value)
{
	jsonw_key(w, key);
	jsonw_bool(w, value);
}
static inline void
jsonw_kstr(struct jsonw *w, const char *key, const char *text)
{
	jsonw_key(w, key);
	jsonw_str(w, text);
}
static inline void
jsonw_kbytes(struct jsonw *w, const char *key, const void *bytes, size_t len)
{
	jsonw_key(w, key);
	jsonw_bytes(w, bytes, len);
}
static inline void
jsonw_knull(struct jsonw *w, const char *key)
{
	jsonw_key(w, key);
	jsonw_null(w);
}

/* How many characters jsonw_bytes() would write (quotes or {"b64":""} included): to cut a reply
 * before it passes the limit of a line. */
size_t jsonw_bytes_size(const void *bytes, size_t len);

#endif
