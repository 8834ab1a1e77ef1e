/*
 * Decoding by table: a JSON object becomes a struct, field after field.  Single values are in
 * message_value.c, the types that only a spec has in message_spec.c.
 */

#include "wire/message_internal.h"

#include <string.h>

/* ---- defaults ---- */

static void
init_field(const struct msg_field *f, void *out)
{
	switch (f->type) {
	case MSG_T_BOOL:
		*(bool *)out = f->def != 0;
		break;
	case MSG_T_TRISTATE:
	case MSG_T_ENUM:
		*(int *)out = (int)f->def;
		break;
	case MSG_T_INT:
		*(int64_t *)out = f->def;
		break;
	case MSG_T_FLAGS:
		*(uint32_t *)out = (uint32_t)f->def;
		break;
	case MSG_T_STR:
		*(const char **)out = f->def_text;
		break;
	case MSG_T_OBJ:
		msg_schema_init(f->nested, out);
		break;
	case MSG_T_SPEC:
		msg_spec_init(out);
		break;
	case MSG_T_STDIN:
	case MSG_T_STDOUT:
	case MSG_T_STDERR:
		((struct msg_stdio *)out)->kind = (enum msg_stdio_kind)f->def;
		break;
	case MSG_T_OK_CODES:
		*(uint64_t *)out = 1; /* [0] */
		break;
	case MSG_T_INT_LIST:
		if (f->def_list != NULL)
			*(struct msg_int_list *)out = *f->def_list;
		break;
	case MSG_T_BYTES:
	case MSG_T_PATH:
	case MSG_T_STR_LIST:
	case MSG_T_ARGV:
	case MSG_T_OBJ_LIST:
	case MSG_T_ID:
	case MSG_T_ARRAY:
	case MSG_T_ANY:
	case MSG_T_SPEC_LIST:
	case MSG_T_ENV:
	case MSG_T_RLIMITS:
	case MSG_T_SIGNAL:
		break; /* all zero */
	}
}

void
msg_schema_init(const struct msg_schema *schema, void *out)
{
	memset(out, 0, schema->size);
	for (size_t i = 0; i < schema->nfields; i++)
		init_field(&schema->fields[i], msg_at_mutable(out, &schema->fields[i]));
}

/* ---- lists ---- */

static int
check_list(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, int64_t min,
    int64_t max)
{
	int64_t n;

	if (!jsonr_is(json, JSON_ARRAY))
		return msg_fail_type(d, at, "a list", json);
	n = (int64_t)json->len;
	if (n < min && max == INT64_MAX)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "must not be empty: %lld or more elements are accepted", (long long)min);
	if (n < min)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "must not be empty: %lld to %lld elements are accepted", (long long)min,
		    (long long)max);
	if (n > max)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "%lld elements are too many: at most %lld are accepted", (long long)n,
		    (long long)max);
	return 0;
}

static int
decode_int_list(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_field *f, struct msg_int_list *out)
{
	size_t n, i = 0;
	int64_t *v;

	if (check_list(d, at, json, f->min, f->max) != 0)
		return -1;
	n = json->len;
	v = arena_alloc(d->arena, n * sizeof(*v));
	if (v == NULL)
		return msg_fail_nomem(d);
	for (const struct jsonr *item = json->first; item != NULL; item = item->next, i++) {
		struct msg_path element = { .up = at, .index = i };

		if (msg_decode_int(d, &element, item, f->item_min, f->item_max, &v[i]) != 0)
			return -1;
		if ((f->flags & MSG_F_NONZERO) && v[i] == 0)
			return msg_fail(d, RPC_INVALID_PARAMS, &element, "0 is no job's id");
	}
	out->v = v;
	out->n = n;
	return 0;
}

static int
decode_str_list(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_str_list *out)
{
	size_t n = json->len;
	const char **v = arena_calloc(d->arena, n, sizeof(*v));

	if (v == NULL)
		return msg_fail_nomem(d);
	out->v = v;
	out->n = n;
	for (const struct jsonr *text = json->first; text != NULL; text = text->next) {
		if (!jsonr_is(text, JSON_STRING))
			return msg_fail_type(d, at, "a list of strings", text);
		*v++ = text->text;
	}
	return 0;
}

static int
decode_argv(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_field *f, struct msg_bytes_list *out)
{
	size_t n, i = 0;
	struct msg_bytes *v;

	if (check_list(d, at, json, f->min, f->max) != 0)
		return -1;
	n = json->len;
	v = arena_alloc(d->arena, n * sizeof(*v));
	if (v == NULL)
		return msg_fail_nomem(d);
	for (const struct jsonr *word = json->first; word != NULL; word = word->next, i++) {
		struct msg_path element = { .up = at, .index = i };

		if (msg_decode_bytes(d, &element, word, false, INT64_MAX, &v[i]) != 0)
			return -1;
	}
	out->v = v;
	out->n = n;
	return 0;
}

/* All lists of structs look the same. */
struct any_list {
	void *v;
	size_t n;
};

static int
decode_obj_list(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_field *f, void *out)
{
	struct any_list list;
	size_t i = 0;

	if (check_list(d, at, json, f->min, f->max) != 0)
		return -1;
	list.n = json->len;
	list.v = arena_calloc(d->arena, list.n, f->nested->size);
	if (list.v == NULL)
		return msg_fail_nomem(d);
	for (const struct jsonr *from = json->first; from != NULL; from = from->next, i++) {
		struct msg_path element = { .up = at, .index = i };
		void *item = (char *)list.v + i * f->nested->size;

		msg_schema_init(f->nested, item);
		if (msg_decode_object(d, &element, f->nested, from, item) != 0)
			return -1;
	}
	memcpy(out, &list, sizeof(list));
	return 0;
}

int
msg_decode_spec_list(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *list,
    struct msg_spec_list *out)
{
	size_t n, i = 0;
	struct msg_spec *v;

	if (check_list(d, at, list, 1, MSG_BATCH_MAX) != 0)
		return -1;
	n = list->len;
	v = arena_alloc(d->arena, n * sizeof(*v));
	if (v == NULL)
		return msg_fail_nomem(d);
	for (const struct jsonr *spec = list->first; spec != NULL; spec = spec->next, i++) {
		struct msg_path element = { .up = at, .index = i };

		if (msg_decode_spec(d, &element, spec, i, &v[i]) != 0)
			return -1;
	}
	out->v = v;
	out->n = n;
	return 0;
}

/* ---- a field, an object ---- */

static int
decode_id(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct jsonr **out)
{
	if (!rpc_id_is_valid(json))
		return msg_fail_type(d, at, "a request's id (a string or an integer)", json);
	*out = json;
	return 0;
}

static int
decode_nested(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_schema *nested, void *out)
{
	if (!jsonr_is(json, JSON_OBJECT))
		return msg_fail_type(d, at, "an object", json);
	msg_schema_init(nested, out);
	return msg_decode_object(d, at, nested, json, out);
}

static int
decode_field(struct msg_decoder *d, const struct msg_path *at, const struct msg_field *f,
    const struct jsonr *json, void *base)
{
	void *out = msg_at_mutable(base, f);

	if (f->has_offset != 0)
		*((bool *)base + f->has_offset) = true;
	switch (f->type) {
	case MSG_T_BOOL:
		return msg_decode_bool(d, at, json, out);
	case MSG_T_TRISTATE: {
		bool value = false;

		if (msg_decode_bool(d, at, json, &value) != 0)
			return -1;
		*(int *)out = value;
		return 0;
	}
	case MSG_T_INT:
		return msg_decode_int(d, at, json, f->min, f->max, out);
	case MSG_T_ENUM:
		return msg_decode_name(d, at, json, f->names, f->flags, out);
	case MSG_T_FLAGS:
		return msg_decode_flags(d, at, json, f->names, out);
	case MSG_T_STR:
		return msg_decode_str(d, at, json, f, out);
	case MSG_T_BYTES:
		return msg_decode_bytes(d, at, json, true, f->max, out);
	case MSG_T_PATH: {
		struct msg_bytes *path = out;

		if (msg_decode_bytes(d, at, json, false, f->max, path) != 0)
			return -1;
		if (path->len == 0 || path->ptr[0] != '/')
			return msg_fail(d, RPC_INVALID_PARAMS, at, "must be an absolute path");
		return 0;
	}
	case MSG_T_INT_LIST:
		return decode_int_list(d, at, json, f, out);
	case MSG_T_STR_LIST:
		if (check_list(d, at, json, f->min, f->max) != 0)
			return -1;
		return decode_str_list(d, at, json, out);
	case MSG_T_ARGV:
		return decode_argv(d, at, json, f, out);
	case MSG_T_OBJ:
		return decode_nested(d, at, json, f->nested, out);
	case MSG_T_OBJ_LIST:
		return decode_obj_list(d, at, json, f, out);
	case MSG_T_ID:
		return decode_id(d, at, json, out);
	case MSG_T_ARRAY:
		if (check_list(d, at, json, f->min, f->max) != 0)
			return -1;
		*(const struct jsonr **)out = json;
		return 0;
	case MSG_T_ANY:
		return msg_decode_any(d, at, json, f->max, out);
	case MSG_T_SPEC: {
		struct msg_decoder inner = *d;

		inner.spec_mode = MSG_SPEC_DEFAULTS;
		inner.defaults = NULL;
		if (msg_decode_spec(&inner, at, json, 0, out) != 0)
			return -1;
		d->defaults = out;
		return 0;
	}
	case MSG_T_SPEC_LIST:
		return msg_decode_spec_list(d, at, json, out);
	case MSG_T_ENV:
		return msg_decode_env(d, at, json, base);
	case MSG_T_RLIMITS:
		return msg_decode_rlimits(d, at, json, out);
	case MSG_T_STDIN:
	case MSG_T_STDOUT:
	case MSG_T_STDERR:
		return msg_decode_stdio(d, at, f->type, json, out);
	case MSG_T_OK_CODES:
		return msg_decode_ok_codes(d, at, json, out);
	case MSG_T_SIGNAL:
		return msg_decode_signal(d, at, json, out);
	}
	return -1;
}

/* null where that is an answer: nothing known, no limit. */
static void
decode_null(const struct msg_field *f, void *base)
{
	if (f->has_offset != 0)
		*((bool *)base + f->has_offset) = false;
	init_field(f, msg_at_mutable(base, f));
	if (f->type == MSG_T_INT)
		*(int64_t *)msg_at_mutable(base, f) = MSG_NULL;
}

static const struct msg_field *
find_field(const struct msg_schema *schema, const char *name)
{
	for (size_t i = 0; i < schema->nfields; i++) {
		const struct msg_field *f = &schema->fields[i];

		if (f->name[0] == name[0] && strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}

static int
decode_member(struct msg_decoder *d, const struct msg_path *up, const struct msg_schema *schema,
    const struct msg_field *f, const struct jsonr *json, void *out)
{
	struct msg_path at = {
		.up = up,
		.name = f->name,
		.is_parameter = schema->parameters,
	};

	if (jsonr_is(json, JSON_NULL) && f->type != MSG_T_ANY &&
	    ((f->flags & MSG_F_NULLABLE) || d->lenient)) {
		decode_null(f, out);
		return 0;
	}
	return decode_field(d, &at, f, json, out);
}

static int
check_required(struct msg_decoder *d, const struct msg_path *up, const struct msg_schema *schema,
    uint64_t seen)
{
	for (size_t i = 0; i < schema->nfields; i++) {
		const struct msg_field *f = &schema->fields[i];
		struct msg_path at = {
			.up = up,
			.name = f->name,
			.is_parameter = schema->parameters,
		};

		/* A spec may get its argv from defaults: message_spec.c looks after that. */
		if ((f->flags & MSG_F_REQUIRED) && !(seen >> i & 1) && schema != &msg_spec_schema)
			return msg_fail(d, RPC_INVALID_PARAMS, &at, "is required");
	}
	return 0;
}

int
msg_decode_object(struct msg_decoder *d, const struct msg_path *at, const struct msg_schema *schema,
    const struct jsonr *object, void *out)
{
	const struct msg_field *later = NULL;
	const struct jsonr *later_json = NULL;
	uint64_t seen = 0;

	if (!jsonr_is(object, JSON_OBJECT))
		return msg_fail_type(d, at, "an object", object);
	for (const struct jsonr *json = object->first; json != NULL; json = json->next) {
		const struct msg_field *f = find_field(schema, json->name);

		if (f == NULL) {
			if (schema->strict && strchr(json->name, '.') == NULL)
				return msg_fail_unknown(d, at, json->name, schema);
			continue;
		}
		seen |= (uint64_t)1 << (f - schema->fields);
		if (f->type == MSG_T_SPEC_LIST) {
			later = f; /* needs the defaults, wherever they stand */
			later_json = json;
			continue;
		}
		if (decode_member(d, at, schema, f, json, out) != 0)
			return -1;
	}
	if (later != NULL && decode_member(d, at, schema, later, later_json, out) != 0)
		return -1;
	if (schema->strict)
		*(uint64_t *)out |= seen;
	return check_required(d, at, schema, seen);
}
