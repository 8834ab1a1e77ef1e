/* The fields of the table as JSON Schema (draft-07), for rpc.discover. */

#include "wire/message_discover.h"

#include <string.h>

void
msg_schema_write_ref(struct jsonw *w, const char *name)
{
	char ref[80] = "#/components/schemas/";

	strncat(ref, name, sizeof(ref) - strlen(ref) - 1);
	jsonw_kstr(w, "$ref", ref);
}

/* ---- single types ---- */

static void
write_range(struct jsonw *w, const char *least, int64_t min, const char *most, int64_t max)
{
	jsonw_kint(w, least, min);
	if (max <= RPC_INT_MAX)
		jsonw_kint(w, most, max);
}

static void
write_integer(struct jsonw *w, int64_t min, int64_t max)
{
	jsonw_kstr(w, "type", "integer");
	write_range(w, "minimum", min, "maximum", max);
}

static void
write_names(struct jsonw *w, const char *key, const struct msg_names *names)
{
	jsonw_key(w, key);
	jsonw_arr_begin(w);
	for (int i = 0; i < names->n; i++) {
		if (names->v[i] != NULL)
			jsonw_str(w, names->v[i]);
	}
	jsonw_arr_end(w);
}

static void
write_enum(struct jsonw *w, const struct msg_names *names, bool open)
{
	jsonw_kstr(w, "type", "string");
	write_names(w, open ? "examples" : "enum", names);
}

/* Limits of text are bytes, which JSON Schema can't count. */
static void
write_string(struct jsonw *w, const struct msg_field *f)
{
	jsonw_kstr(w, "type", "string");
	if (f->names != NULL)
		write_names(w, "enum", f->names);
	if (f->min > 0)
		jsonw_kint(w, "minLength", f->min);
	if (f->max > RPC_INT_MAX)
		return;
	jsonw_kint(w, "maxLength", f->max);
	if (f->flags & MSG_F_QUEUE_NAME) {
		jsonw_kstr(w, "pattern", "^[A-Za-z0-9._-]+$");
	} else {
		jsonw_kint(w, "x-maxBytes", f->max);
		jsonw_kstr(w, "pattern", "^[^\\u0000]*$");
	}
}

static void
list_begin(struct jsonw *w, int64_t min, int64_t max)
{
	jsonw_kstr(w, "type", "array");
	write_range(w, "minItems", min, "maxItems", max);
	jsonw_key(w, "items");
	jsonw_obj_begin(w);
}

static void
list_end(struct jsonw *w)
{
	jsonw_obj_end(w);
}

static void
write_ref_list(struct jsonw *w, const struct msg_field *f, const char *name)
{
	list_begin(w, f->min, f->max);
	msg_schema_write_ref(w, name);
	list_end(w);
}

static void
write_int_list(struct jsonw *w, const struct msg_field *f)
{
	list_begin(w, f->min, f->max);
	write_integer(w, f->item_min, f->item_max);
	if (f->flags & MSG_F_NONZERO) {
		jsonw_key(w, "not");
		jsonw_obj_begin(w);
		jsonw_kint(w, "const", 0);
		jsonw_obj_end(w);
	}
	list_end(w);
}

/* A list of specs, which the method itself restricts a little further. */
static void
write_specs(struct jsonw *w, const struct msg_field *f, const char *restriction)
{
	list_begin(w, f->min, f->max);
	jsonw_key(w, "allOf");
	jsonw_arr_begin(w);
	jsonw_obj_begin(w);
	msg_schema_write_ref(w, msg_spec_schema.name);
	jsonw_obj_end(w);
	jsonw_raw(w, restriction, strlen(restriction));
	jsonw_arr_end(w);
	list_end(w);
}

void
msg_schema_write_nested(struct jsonw *w, const struct msg_schema *schema)
{
	if (schema->name != NULL)
		msg_schema_write_ref(w, schema->name);
	else
		msg_schema_write_members(w, schema, NULL);
}

/* Members of a field's schema, null aside. */
static void
write_type(struct jsonw *w, const struct msg_field *f)
{
	switch (f->type) {
	case MSG_T_BOOL:
	case MSG_T_TRISTATE:
		jsonw_kstr(w, "type", "boolean");
		break;
	case MSG_T_INT:
		write_integer(w, f->min, f->max);
		break;
	case MSG_T_ENUM:
		write_enum(w, f->names, (f->flags & MSG_F_OPEN) != 0);
		break;
	case MSG_T_FLAGS:
		list_begin(w, 1, INT64_MAX);
		write_enum(w, f->names, false);
		list_end(w);
		break;
	case MSG_T_STR:
		write_string(w, f);
		break;
	case MSG_T_BYTES:
		msg_schema_write_ref(w, "Bytes");
		break;
	case MSG_T_PATH:
		msg_schema_write_ref(w, "AbsolutePath");
		break;
	case MSG_T_INT_LIST:
		write_int_list(w, f);
		break;
	case MSG_T_STR_LIST:
		list_begin(w, f->min, f->max);
		jsonw_kstr(w, "type", "string");
		list_end(w);
		break;
	case MSG_T_ARGV:
		write_ref_list(w, f, "Arg");
		break;
	case MSG_T_OBJ:
		msg_schema_write_nested(w, f->nested);
		break;
	case MSG_T_OBJ_LIST:
		list_begin(w, f->min, f->max);
		msg_schema_write_nested(w, f->nested);
		list_end(w);
		break;
	case MSG_T_SPEC_LIST: /* on_full is the whole batch's */
		write_specs(w, f,
		    "{\"type\":\"object\",\"not\":{\"type\":\"object\",\"required\":[\"on_full\"]}"
		    "}");
		break;
	case MSG_T_ARRAY: /* of map.push */
		write_specs(w, f,
		    "{\"type\":\"object\",\"properties\":{\"lifetime\":{\"const\":\"bound\"}}}");
		break;
	case MSG_T_ID:
		msg_schema_write_ref(w, "RequestId");
		break;
	case MSG_T_ANY:
		if (f->max <= RPC_INT_MAX)
			jsonw_kint(w, "x-maxJsonBytes", f->max);
		break;
	case MSG_T_SPEC:
		msg_schema_write_ref(w, msg_spec_schema.name);
		break;
	case MSG_T_ENV:
		msg_schema_write_ref(w, "Env");
		break;
	case MSG_T_RLIMITS:
		msg_schema_write_ref(w, "Rlimits");
		break;
	case MSG_T_STDIN:
		msg_schema_write_ref(w, "Stdin");
		break;
	case MSG_T_STDOUT:
		msg_schema_write_ref(w, "Stdout");
		break;
	case MSG_T_STDERR:
		msg_schema_write_ref(w, "Stderr");
		break;
	case MSG_T_OK_CODES:
		list_begin(w, 0, INT64_MAX);
		write_integer(w, 0, 255);
		list_end(w);
		break;
	case MSG_T_SIGNAL:
		msg_schema_write_ref(w, "Signal");
		break;
	}
}

/* ---- defaults ---- */

static void
write_int_list_default(struct jsonw *w, const struct msg_int_list *list)
{
	jsonw_key(w, "default");
	jsonw_arr_begin(w);
	for (size_t i = 0; i < list->n; i++)
		jsonw_int(w, list->v[i]);
	jsonw_arr_end(w);
}

static void
write_flags_default(struct jsonw *w, const struct msg_field *f)
{
	jsonw_key(w, "default");
	jsonw_arr_begin(w);
	for (int i = 0; i < f->names->n; i++) {
		if ((f->def >> i & 1) && f->names->v[i] != NULL)
			jsonw_str(w, f->names->v[i]);
	}
	jsonw_arr_end(w);
}

/* What an absent parameter stands for, where that is one value. */
static void
write_default(struct jsonw *w, const struct msg_field *f)
{
	static const int64_t zero = 0;
	static const struct msg_int_list ok_codes = { &zero, 1 };

	if ((f->flags & MSG_F_REQUIRED) || f->has_offset != 0)
		return;
	if (f->type == MSG_T_BOOL)
		jsonw_kbool(w, "default", f->def != 0);
	else if (f->type == MSG_T_INT && f->def != MSG_NULL)
		jsonw_kint(w, "default", f->def);
	else if (f->type == MSG_T_ENUM && f->def >= 0)
		jsonw_kstr(w, "default", msg_names_get(f->names, (int)f->def));
	else if (f->type == MSG_T_FLAGS)
		write_flags_default(w, f);
	else if (f->type == MSG_T_STR && f->def_text != NULL)
		jsonw_kstr(w, "default", f->def_text);
	else if (f->type == MSG_T_INT_LIST && f->def_list != NULL)
		write_int_list_default(w, f->def_list);
	else if (f->type == MSG_T_OK_CODES)
		write_int_list_default(w, &ok_codes);
}

/* ---- fields and objects ---- */

void
msg_schema_write_field(struct jsonw *w, const struct msg_field *f, bool parameter)
{
	jsonw_obj_begin(w);
	if (f->flags & MSG_F_NULLABLE) {
		jsonw_key(w, "anyOf");
		jsonw_arr_begin(w);
		jsonw_obj_begin(w);
		write_type(w, f);
		jsonw_obj_end(w);
		jsonw_obj_begin(w);
		jsonw_kstr(w, "type", "null");
		jsonw_obj_end(w);
		jsonw_arr_end(w);
	} else {
		write_type(w, f);
	}
	if (parameter)
		write_default(w, f);
	jsonw_kstr(w, "description", f->help);
	jsonw_obj_end(w);
}

/* What is always there: required parameters; of a result all but what is left out when unknown. */
static bool
is_always_there(const struct msg_schema *schema, const struct msg_field *f)
{
	if (!schema->strict)
		return (f->flags & (MSG_F_OMIT_NULL | MSG_F_OMIT_FALSE)) == 0;
	/* A spec in a batch can take its argv from the defaults. */
	return (f->flags & MSG_F_REQUIRED) != 0 && schema != &msg_spec_schema;
}

static void
write_required(struct jsonw *w, const struct msg_schema *schema, const struct msg_schema *more)
{
	bool any = false;

	for (; schema != NULL; schema = more, more = NULL) {
		for (size_t i = 0; i < schema->nfields; i++) {
			if (!is_always_there(schema, &schema->fields[i]))
				continue;
			if (!any) {
				jsonw_key(w, "required");
				jsonw_arr_begin(w);
			}
			any = true;
			jsonw_str(w, schema->fields[i].name);
		}
	}
	if (any)
		jsonw_arr_end(w);
}

void
msg_schema_write_members(
    struct jsonw *w, const struct msg_schema *schema, const struct msg_schema *more)
{
	jsonw_kstr(w, "type", "object");
	jsonw_key(w, "properties");
	jsonw_obj_begin(w);
	for (const struct msg_schema *s = schema, *next = more; s != NULL; s = next, next = NULL) {
		for (size_t i = 0; i < s->nfields; i++) {
			jsonw_key(w, s->fields[i].name);
			msg_schema_write_field(w, &s->fields[i], s->strict);
		}
	}
	jsonw_obj_end(w);
	write_required(w, schema, more);
	if (schema->strict) {
		static const char dotted[] = "{\"\\\\.\":{}}";

		jsonw_key(w, "patternProperties"); /* vendor.x is anyone's */
		jsonw_raw(w, dotted, sizeof(dotted) - 1);
		jsonw_kbool(w, "additionalProperties", false);
	}
	if (schema == &msg_spec_schema) {
		static const char both[] =
		    "{\"type\":\"object\",\"required\":[\"delay_ms\",\"not_before_us\"]}";

		jsonw_key(w, "not");
		jsonw_raw(w, both, sizeof(both) - 1);
	}
}
