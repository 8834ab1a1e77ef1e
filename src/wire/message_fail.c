/* What is wrong with a message, where, and what would be accepted. */

#include "wire/message_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/text.h"

size_t
msg_append(char *buf, size_t size, size_t used, const char *text)
{
	size_t len = strlen(text);

	if (used >= size - 1)
		return used;
	len = utf8_cut(text, len, size - 1 - used);
	memcpy(buf + used, text, len);
	buf[used + len] = '\0';
	return used + len;
}

/* A member's name can be empty, which nobody would see. */
static const char *
visible(const char *name)
{
	return name[0] != '\0' ? name : "\"\"";
}

static size_t
path_text(const struct msg_path *at, char *buf, size_t size)
{
	char index[32];
	size_t used;

	if (at == NULL)
		return 0;
	used = path_text(at->up, buf, size);
	if (at->name == NULL) {
		snprintf(index, sizeof(index), "[%zu]", at->index);
		return msg_append(buf, size, used, index);
	}
	if (used > 0)
		used = msg_append(buf, size, used, ".");
	return msg_append(buf, size, used, visible(at->name));
}

/* The innermost parameter on the way: argv of jobs[3].argv[0], retries of retries.max. */
static const char *
parameter_of(const struct msg_path *at)
{
	for (; at != NULL; at = at->up) {
		if (at->is_parameter)
			return at->name;
	}
	return "";
}

static void
locate(struct rpc_failure *err, const char *param, const struct msg_path *at)
{
	msg_append(err->param, sizeof(err->param), 0, param);
	path_text(at, err->path, sizeof(err->path));
	if (strcmp(err->path, err->param) == 0)
		err->path[0] = '\0';
}

int
msg_fail(
    struct msg_decoder *d, enum rpc_error error, const struct msg_path *at, const char *format, ...)
{
	char where[160] = "", what[256];
	va_list args;

	path_text(at, where, sizeof(where));
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	rpc_fail(d->err, error, "%s%s%s", where, where[0] != '\0' ? ": " : "", what);
	locate(d->err, parameter_of(at), at);
	return -1;
}

static const char *
type_name(const struct jsonr *json)
{
	switch (json->type) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

int
msg_fail_type(
    struct msg_decoder *d, const struct msg_path *at, const char *wanted, const struct jsonr *found)
{
	return msg_fail(d, RPC_INVALID_PARAMS, at, "must be %s, not %s", wanted, type_name(found));
}

int
msg_fail_unknown(struct msg_decoder *d, const struct msg_path *at, const char *name,
    const struct msg_schema *schema)
{
	struct msg_path here = { .up = at, .name = name };
	char known[200] = "";
	size_t used = 0;

	for (size_t i = 0; i < schema->nfields && used < sizeof(known) - 1; i++) {
		if (i > 0)
			used = msg_append(known, sizeof(known), used, ", ");
		used = msg_append(known, sizeof(known), used, schema->fields[i].name);
	}
	if (used >= sizeof(known) - 1)
		memcpy(known + sizeof(known) - 4, "...", 4);
	if (used > 0)
		msg_fail(d, RPC_INVALID_PARAMS, &here, "unknown; accepted: %s", known);
	else
		msg_fail(d, RPC_INVALID_PARAMS, &here, "unknown; this method has no parameters");
	d->err->param[0] = d->err->path[0] = '\0';
	locate(d->err, visible(name), &here);
	return -1;
}

int
msg_fail_nomem(struct msg_decoder *d)
{
	return rpc_fail(d->err, RPC_INTERNAL_ERROR, "out of memory");
}
