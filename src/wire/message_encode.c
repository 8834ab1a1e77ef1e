/* Encoding by table: a struct becomes the members of a JSON object. */

#include "wire/message_internal.h"

#include <string.h>

static bool
is_default_stdio(const struct msg_field *f, const struct msg_stdio *stdio)
{
	return (int64_t)stdio->kind == f->def;
}

/* Whether params can leave the field out. */
static bool
is_default(const struct msg_field *f, const void *base)
{
	static const uint64_t ok_codes[4] = { 1 };
	const void *in = msg_at(base, f);

	if (f->has_offset != 0)
		return !*((const bool *)base + f->has_offset);
	switch (f->type) {
	case MSG_T_BOOL:
		return *(const bool *)in == (f->def != 0);
	case MSG_T_TRISTATE:
	case MSG_T_ENUM:
		return *(const int *)in == (int)f->def;
	case MSG_T_INT:
		return *(const int64_t *)in == f->def;
	case MSG_T_FLAGS:
		return *(const uint32_t *)in == (uint32_t)f->def;
	case MSG_T_STR: {
		const char *text = *(const char *const *)in;

		return text == NULL || (f->def_text != NULL && strcmp(text, f->def_text) == 0);
	}
	case MSG_T_BYTES:
	case MSG_T_PATH:
	case MSG_T_ANY:
		return ((const struct msg_bytes *)in)->ptr == NULL;
	case MSG_T_INT_LIST: {
		const struct msg_int_list *list = in;

		return list->n == 0 || (f->def_list != NULL && list->v == f->def_list->v);
	}
	case MSG_T_STR_LIST:
		return ((const struct msg_str_list *)in)->n == 0;
	case MSG_T_ARGV:
		return ((const struct msg_bytes_list *)in)->n == 0;
	case MSG_T_OBJ: {
		for (size_t i = 0; i < f->nested->nfields; i++) {
			if (!is_default(&f->nested->fields[i], in))
				return false;
		}
		return !f->nested->strict || *(const uint64_t *)in == 0;
	}
	case MSG_T_OBJ_LIST:
	case MSG_T_SPEC_LIST:
		return false;
	case MSG_T_ID:
	case MSG_T_ARRAY:
		return *(const struct jsonr *const *)in == NULL;
	case MSG_T_SPEC: {
		for (size_t i = 0; i < msg_spec_schema.nfields; i++) {
			if (!is_default(&msg_spec_schema.fields[i], in))
				return false;
		}
		return *(const uint64_t *)in == 0;
	}
	case MSG_T_ENV:
		return !((const struct msg_spec *)base)->has_env;
	case MSG_T_RLIMITS:
		return ((const struct msg_rlimits *)in)->n == 0;
	case MSG_T_STDIN:
	case MSG_T_STDOUT:
	case MSG_T_STDERR:
		return is_default_stdio(f, in);
	case MSG_T_OK_CODES:
		return memcmp(in, ok_codes, sizeof(ok_codes)) == 0;
	case MSG_T_SIGNAL:
		return *(const int64_t *)in == 0;
	}
	return false;
}

static void
write_name(struct jsonw *w, const struct msg_names *names, int value)
{
	jsonw_str(w, msg_names_get(names, value));
}

static void
write_flags(struct jsonw *w, const struct msg_names *names, uint32_t flags)
{
	jsonw_arr_begin(w);
	for (int i = 0; i < names->n; i++) {
		if ((flags >> i & 1) && names->v[i] != NULL)
			jsonw_str(w, names->v[i]);
	}
	jsonw_arr_end(w);
}

static void
write_bytes(struct jsonw *w, const struct msg_bytes *bytes)
{
	if (bytes->ptr == NULL)
		jsonw_null(w);
	else
		jsonw_bytes(w, bytes->ptr, bytes->len);
}

static void
write_int_list(struct jsonw *w, const struct msg_int_list *list)
{
	jsonw_arr_begin(w);
	for (size_t i = 0; i < list->n; i++)
		jsonw_int(w, list->v[i]);
	jsonw_arr_end(w);
}

static void
write_str_list(struct jsonw *w, const struct msg_str_list *list)
{
	jsonw_arr_begin(w);
	for (size_t i = 0; i < list->n; i++)
		jsonw_str(w, list->v[i]);
	jsonw_arr_end(w);
}

static void
write_bytes_list(struct jsonw *w, const struct msg_bytes_list *list)
{
	jsonw_arr_begin(w);
	for (size_t i = 0; i < list->n; i++)
		write_bytes(w, &list->v[i]);
	jsonw_arr_end(w);
}

static void
write_obj_list(struct jsonw *w, const struct msg_schema *schema, const void *list_at)
{
	struct msg_completion_list list; /* all lists of structs look the same */
	const char *item;

	memcpy(&list, list_at, sizeof(list));
	item = (const char *)list.v;
	jsonw_arr_begin(w);
	for (size_t i = 0; i < list.n; i++, item += schema->size)
		msg_write_object(w, schema, item);
	jsonw_arr_end(w);
}

static void
write_value(struct jsonw *w, const struct msg_field *f, const void *base)
{
	const void *in = msg_at(base, f);

	switch (f->type) {
	case MSG_T_BOOL:
		jsonw_bool(w, *(const bool *)in);
		break;
	case MSG_T_TRISTATE:
		if (*(const int *)in < 0)
			jsonw_null(w);
		else
			jsonw_bool(w, *(const int *)in != 0);
		break;
	case MSG_T_INT:
	case MSG_T_SIGNAL:
		if (*(const int64_t *)in == MSG_NULL)
			jsonw_null(w);
		else
			jsonw_int(w, *(const int64_t *)in);
		break;
	case MSG_T_ENUM:
		write_name(w, f->names, *(const int *)in);
		break;
	case MSG_T_FLAGS:
		write_flags(w, f->names, *(const uint32_t *)in);
		break;
	case MSG_T_STR:
		jsonw_str(w, *(const char *const *)in);
		break;
	case MSG_T_BYTES:
	case MSG_T_PATH:
		write_bytes(w, in);
		break;
	case MSG_T_ANY: {
		const struct msg_bytes *text = in;

		if (text->ptr == NULL)
			jsonw_null(w);
		else
			jsonw_raw(w, text->ptr, text->len);
		break;
	}
	case MSG_T_INT_LIST:
		write_int_list(w, in);
		break;
	case MSG_T_STR_LIST:
		write_str_list(w, in);
		break;
	case MSG_T_ARGV:
		write_bytes_list(w, in);
		break;
	case MSG_T_OBJ:
		msg_write_object(w, f->nested, in);
		break;
	case MSG_T_OBJ_LIST:
		write_obj_list(w, f->nested, in);
		break;
	case MSG_T_SPEC_LIST:
		write_obj_list(w, &msg_spec_schema, in);
		break;
	case MSG_T_ID:
	case MSG_T_ARRAY:
		jsonw_value(w, *(const struct jsonr *const *)in);
		break;
	case MSG_T_SPEC:
		msg_spec_write(w, in);
		break;
	case MSG_T_ENV:
		msg_write_env(w, base);
		break;
	case MSG_T_RLIMITS:
		msg_write_rlimits(w, in);
		break;
	case MSG_T_STDIN:
	case MSG_T_STDOUT:
	case MSG_T_STDERR:
		msg_write_stdio(w, in);
		break;
	case MSG_T_OK_CODES:
		msg_write_ok_codes(w, in);
		break;
	}
}

/* Whether a result's field stays out of the object. */
static bool
is_omitted(const struct msg_field *f, const void *base)
{
	const void *in = msg_at(base, f);

	if ((f->flags & MSG_F_OMIT_FALSE) && !*(const bool *)in)
		return true;
	if (!(f->flags & MSG_F_OMIT_NULL))
		return false;
	return f->type == MSG_T_INT ? *(const int64_t *)in == MSG_NULL
				    : ((const struct msg_bytes *)in)->ptr == NULL;
}

static void
write_params_members(struct jsonw *w, const struct msg_schema *schema, const void *in)
{
	uint64_t present = *(const uint64_t *)in;

	for (size_t i = 0; i < schema->nfields; i++) {
		const struct msg_field *f = &schema->fields[i];

		/* A spec's argv can come from defaults: then it isn't written either. */
		if (!(present >> i & 1) && is_default(f, in) &&
		    (!(f->flags & MSG_F_REQUIRED) || schema == &msg_spec_schema))
			continue;
		jsonw_key(w, f->name);
		write_value(w, f, in);
	}
}

void
msg_write_members(struct jsonw *w, const struct msg_schema *schema, const void *in)
{
	if (schema->strict) {
		write_params_members(w, schema, in);
		return;
	}
	for (size_t i = 0; i < schema->nfields; i++) {
		const struct msg_field *f = &schema->fields[i];

		if ((f->flags & (MSG_F_OMIT_NULL | MSG_F_OMIT_FALSE)) && is_omitted(f, in))
			continue;
		jsonw_key(w, f->name);
		if (f->has_offset != 0 && !*((const bool *)in + f->has_offset))
			jsonw_null(w);
		else
			write_value(w, f, in);
	}
}

void
msg_write_object(struct jsonw *w, const struct msg_schema *schema, const void *in)
{
	jsonw_obj_begin(w);
	msg_write_members(w, schema, in);
	jsonw_obj_end(w);
}
