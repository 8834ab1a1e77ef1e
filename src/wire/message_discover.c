/* rpc.discover: the table as an OpenRPC document. */

#include "wire/message_internal.h"

#include <string.h>

static void
write_ref(struct jsonw *w, const char *name)
{
	char ref[80] = "#/components/schemas/";

	strncat(ref, name, sizeof(ref) - strlen(ref) - 1);
	jsonw_kstr(w, "$ref", ref);
}

static void write_properties(struct jsonw *w, const struct msg_schema *schema);

/* The members of a JSON schema for an object of this kind. */
static void
write_nested(struct jsonw *w, const struct msg_schema *schema)
{
	if (schema->name != NULL)
		write_ref(w, schema->name);
	else
		write_properties(w, schema);
}

static void
write_range(struct jsonw *w, const char *least, int64_t min, const char *most, int64_t max)
{
	jsonw_kint(w, least, min);
	if (max <= RPC_INT_MAX)
		jsonw_kint(w, most, max);
}

static void
write_string(struct jsonw *w, const struct msg_field *f)
{
	jsonw_kstr(w, "type", "string");
	if (f->min > 0)
		jsonw_kint(w, "minLength", f->min);
	if (f->max <= RPC_INT_MAX)
		jsonw_kint(w, "maxLength", f->max);
	if (f->flags & MSG_F_QUEUE_NAME)
		jsonw_kstr(w, "pattern", "^[A-Za-z0-9._-]+$");
	if (f->def_text != NULL)
		jsonw_kstr(w, "default", f->def_text);
}

static void
write_enum(struct jsonw *w, const struct msg_names *names, bool open)
{
	jsonw_kstr(w, "type", "string");
	jsonw_key(w, open ? "examples" : "enum");
	jsonw_arr_begin(w);
	for (int i = 0; i < names->n; i++) {
		if (names->v[i] != NULL)
			jsonw_str(w, names->v[i]);
	}
	jsonw_arr_end(w);
}

static void
write_integer(struct jsonw *w, int64_t min, int64_t max)
{
	jsonw_kstr(w, "type", "integer");
	write_range(w, "minimum", min, "maximum", max);
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

/* Members of a field's schema, null aside. */
static void
write_type(struct jsonw *w, const struct msg_field *f)
{
	switch (f->type) {
	case MSG_T_BOOL:
		jsonw_kstr(w, "type", "boolean");
		break;
	case MSG_T_TRISTATE:
		jsonw_kstr(w, "type", "boolean");
		break;
	case MSG_T_INT:
		write_integer(w, f->min, f->max);
		if (f->def != MSG_NULL && !(f->flags & MSG_F_REQUIRED) && f->has_offset == 0)
			jsonw_kint(w, "default", f->def);
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
	case MSG_T_PATH:
		write_ref(w, "Bytes");
		break;
	case MSG_T_INT_LIST:
		list_begin(w, f->min, f->max);
		write_integer(w, f->item_min, f->item_max);
		list_end(w);
		break;
	case MSG_T_STR_LIST:
		list_begin(w, f->min, f->max);
		jsonw_kstr(w, "type", "string");
		list_end(w);
		break;
	case MSG_T_ARGV:
		list_begin(w, f->min, f->max);
		write_ref(w, "Bytes");
		list_end(w);
		break;
	case MSG_T_OBJ:
		write_nested(w, f->nested);
		break;
	case MSG_T_OBJ_LIST:
	case MSG_T_ARRAY:
		list_begin(w, f->min, f->max);
		write_nested(w, f->nested);
		list_end(w);
		break;
	case MSG_T_SPEC_LIST:
		list_begin(w, f->min, f->max);
		write_ref(w, "Spec");
		list_end(w);
		break;
	case MSG_T_ID:
		write_ref(w, "RequestId");
		break;
	case MSG_T_ANY:
		break; /* the empty schema: anything */
	case MSG_T_SPEC:
		write_ref(w, "Spec");
		break;
	case MSG_T_ENV:
		write_ref(w, "Env");
		break;
	case MSG_T_RLIMITS:
		write_ref(w, "Rlimits");
		break;
	case MSG_T_STDIN:
		write_ref(w, "Stdin");
		break;
	case MSG_T_STDOUT:
		write_ref(w, "Stdout");
		break;
	case MSG_T_STDERR:
		write_ref(w, "Stderr");
		break;
	case MSG_T_OK_CODES:
		list_begin(w, 0, INT64_MAX);
		write_integer(w, 0, 255);
		list_end(w);
		break;
	case MSG_T_SIGNAL:
		write_ref(w, "Signal");
		break;
	}
}

static bool
may_be_null(const struct msg_field *f)
{
	return (f->flags & MSG_F_NULLABLE) != 0;
}

static void
write_schema(struct jsonw *w, const struct msg_field *f)
{
	jsonw_obj_begin(w);
	if (may_be_null(f)) {
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
	jsonw_kstr(w, "description", f->help);
	jsonw_obj_end(w);
}

static void
write_required(struct jsonw *w, const struct msg_schema *schema)
{
	bool any = false;

	for (size_t i = 0; i < schema->nfields; i++)
		any |= (schema->fields[i].flags & MSG_F_REQUIRED) != 0;
	/* A spec in a batch can take its argv from the defaults. */
	if (!any || schema == &msg_spec_schema)
		return;
	jsonw_key(w, "required");
	jsonw_arr_begin(w);
	for (size_t i = 0; i < schema->nfields; i++) {
		if (schema->fields[i].flags & MSG_F_REQUIRED)
			jsonw_str(w, schema->fields[i].name);
	}
	jsonw_arr_end(w);
}

static void
write_properties(struct jsonw *w, const struct msg_schema *schema)
{
	jsonw_kstr(w, "type", "object");
	jsonw_key(w, "properties");
	jsonw_obj_begin(w);
	for (size_t i = 0; i < schema->nfields; i++) {
		jsonw_key(w, schema->fields[i].name);
		write_schema(w, &schema->fields[i]);
	}
	jsonw_obj_end(w);
	write_required(w, schema);
}

/* ---- methods ---- */

static void
write_params(struct jsonw *w, const struct msg_schema *schema)
{
	jsonw_key(w, "params");
	jsonw_arr_begin(w);
	for (size_t i = 0; i < schema->nfields; i++) {
		const struct msg_field *f = &schema->fields[i];

		jsonw_obj_begin(w);
		jsonw_kstr(w, "name", f->name);
		jsonw_kstr(w, "summary", f->help);
		jsonw_kbool(w, "required", (f->flags & MSG_F_REQUIRED) != 0);
		jsonw_key(w, "schema");
		write_schema(w, f);
		jsonw_obj_end(w);
	}
	jsonw_arr_end(w);
}

static void
write_schema_of(struct jsonw *w, const struct msg_schema *schema)
{
	jsonw_key(w, "schema");
	jsonw_obj_begin(w);
	if (schema != NULL)
		write_nested(w, schema);
	else
		jsonw_kstr(w, "type", "object");
	jsonw_obj_end(w);
}

static void
write_error(struct jsonw *w, enum rpc_error error)
{
	const struct rpc_error_info *info = rpc_error_info(error);

	jsonw_obj_begin(w);
	jsonw_kint(w, "code", info->code);
	jsonw_kstr(w, "message", info->message);
	jsonw_key(w, "data");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "kind", info->kind);
	jsonw_kstr(w, "help", info->help);
	jsonw_obj_end(w);
	jsonw_obj_end(w);
}

static void
write_stream(struct jsonw *w, const struct msg_method *m)
{
	jsonw_key(w, "x-stream");
	jsonw_obj_begin(w);
	jsonw_key(w, "item");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "method", "$/item");
	write_schema_of(w, m->item);
	jsonw_obj_end(w);
	jsonw_kbool(w, "endless", m->result == NULL);
	jsonw_kbool(w, "gap", (m->flags & MSG_M_GAP) != 0);
	jsonw_kbool(w, "credit", (m->flags & MSG_M_CREDIT) != 0);
	jsonw_obj_end(w);
}

static void
write_method(struct jsonw *w, const struct msg_method *m)
{
	jsonw_obj_begin(w);
	jsonw_kstr(w, "name", m->name);
	jsonw_kstr(w, "summary", m->help);
	jsonw_kstr(w, "paramStructure", "by-name");
	write_params(w, m->params);
	if (!(m->flags & MSG_M_NOTIFICATION)) {
		jsonw_key(w, "result");
		jsonw_obj_begin(w);
		jsonw_kstr(w, "name", "result");
		write_schema_of(w, m->result);
		jsonw_obj_end(w);
		jsonw_key(w, "errors");
		jsonw_arr_begin(w);
		for (size_t i = 0; i < MSG_ERRORS_MAX && m->errors[i] != RPC_OK; i++)
			write_error(w, m->errors[i]);
		jsonw_arr_end(w);
	}
	if (m->flags & MSG_M_STREAM)
		write_stream(w, m);
	if (m->flags & MSG_M_ADMIN)
		jsonw_kbool(w, "x-admin", true);
	jsonw_obj_end(w);
}

static void
write_methods(struct jsonw *w, const char *key, unsigned notifications)
{
	jsonw_key(w, key);
	jsonw_arr_begin(w);
	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];

		if ((m->flags & MSG_M_NOTIFICATION) == notifications)
			write_method(w, m);
	}
	jsonw_arr_end(w);
}

/* ---- components ---- */

/* Types that are several JSON types at once, said once. */
static const struct {
	const char *name;
	const char *schema;
} fixed_schemas[] = {
	{ "Bytes",
	    "{\"description\":\"bytes: a string, or base64 where they are not UTF-8\",\"oneOf\":["
	    "{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{\"b64\":{\"type\":"
	    "\"string\",\"contentEncoding\":\"base64\"}},\"required\":[\"b64\"],"
	    "\"additionalProperties\":false}]}" },
	{ "RequestId", "{\"type\":[\"string\",\"integer\"]}" },
	{ "Signal",
	    "{\"oneOf\":[{\"type\":\"string\",\"pattern\":\"^(SIG)?[A-Za-z0-9]+$\"},"
	    "{\"type\":\"integer\",\"minimum\":1,\"maximum\":64}]}" },
	{ "Env",
	    "{\"oneOf\":[{\"type\":\"object\",\"additionalProperties\":"
	    "{\"$ref\":\"#/components/schemas/Bytes\"}},{\"type\":\"array\",\"items\":"
	    "{\"$ref\":\"#/components/schemas/Bytes\"}}]}" },
	{ "Rlimit",
	    "{\"oneOf\":[{\"type\":\"integer\",\"minimum\":0},{\"const\":\"unlimited\"}]}" },
	{ "Rlimits",
	    "{\"type\":\"object\",\"additionalProperties\":{\"oneOf\":["
	    "{\"$ref\":\"#/components/schemas/Rlimit\"},{\"type\":\"array\",\"minItems\":2,"
	    "\"maxItems\":2,\"items\":{\"$ref\":\"#/components/schemas/Rlimit\"}}]}}" },
	{ "Fd",
	    "{\"type\":\"object\",\"description\":\"a descriptor passed with the request\","
	    "\"properties\":{\"fd\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":63}},"
	    "\"required\":[\"fd\"],\"additionalProperties\":false}" },
	{ "OutputFile",
	    "{\"type\":\"object\",\"properties\":{\"file\":"
	    "{\"$ref\":\"#/components/schemas/Bytes\"},\"append\":{\"type\":\"boolean\","
	    "\"default\":false}},\"required\":[\"file\"],\"additionalProperties\":false}" },
	{ "Stdin",
	    "{\"default\":\"null\",\"oneOf\":[{\"enum\":[\"null\",\"pipe\"]},"
	    "{\"type\":\"object\",\"properties\":{\"data\":"
	    "{\"$ref\":\"#/components/schemas/Bytes\"}},\"required\":[\"data\"],"
	    "\"additionalProperties\":false},{\"type\":\"object\",\"properties\":{\"file\":"
	    "{\"$ref\":\"#/components/schemas/Bytes\"}},\"required\":[\"file\"],"
	    "\"additionalProperties\":false},{\"$ref\":\"#/components/schemas/Fd\"}]}" },
	{ "Stdout",
	    "{\"default\":\"capture\",\"oneOf\":[{\"enum\":[\"capture\",\"null\"]},"
	    "{\"$ref\":\"#/components/schemas/OutputFile\"},"
	    "{\"$ref\":\"#/components/schemas/Fd\"}]}" },
	{ "Stderr",
	    "{\"default\":\"capture\",\"oneOf\":[{\"enum\":[\"capture\",\"null\",\"stdout\"]},"
	    "{\"$ref\":\"#/components/schemas/OutputFile\"},"
	    "{\"$ref\":\"#/components/schemas/Fd\"}]}" },
};

/* The named schema of every struct that a method or another schema refers to. */
static void
write_named(
    struct jsonw *w, const struct msg_schema *schema, const struct msg_schema **done, size_t *ndone)
{
	if (schema == NULL)
		return;
	for (size_t i = 0; i < *ndone; i++) {
		if (done[i] == schema)
			return;
	}
	if (schema->name != NULL) {
		done[(*ndone)++] = schema;
		jsonw_key(w, schema->name);
		jsonw_obj_begin(w);
		write_properties(w, schema);
		jsonw_obj_end(w);
	}
	for (size_t i = 0; i < schema->nfields; i++)
		write_named(w, schema->fields[i].nested, done, ndone);
}

static void
write_components(struct jsonw *w)
{
	const struct msg_schema *done[3 * M_METHODS];
	size_t ndone = 0;

	jsonw_key(w, "components");
	jsonw_obj_begin(w);
	jsonw_key(w, "schemas");
	jsonw_obj_begin(w);
	for (size_t i = 0; i < sizeof(fixed_schemas) / sizeof(fixed_schemas[0]); i++) {
		jsonw_key(w, fixed_schemas[i].name);
		jsonw_raw(w, fixed_schemas[i].schema, strlen(fixed_schemas[i].schema));
	}
	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];

		write_named(w, m->params, done, &ndone);
		write_named(w, m->result, done, &ndone);
		write_named(w, m->item, done, &ndone);
	}
	jsonw_obj_end(w);
	jsonw_key(w, "errors");
	jsonw_obj_begin(w);
	for (int error = RPC_OK + 1; error < RPC_ERROR_COUNT; error++) {
		jsonw_key(w, rpc_error_info((enum rpc_error)error)->kind);
		write_error(w, (enum rpc_error)error);
	}
	jsonw_obj_end(w);
	jsonw_obj_end(w);
}

void
msg_discover_write(struct jsonw *w, const char *version)
{
	jsonw_obj_begin(w);
	jsonw_kstr(w, "openrpc", "1.3.2");
	jsonw_key(w, "info");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "title", "slotd");
	jsonw_kstr(w, "version", version);
	jsonw_kstr(w, "description",
	    "slot/1: JSON-RPC 2.0, one object per line, over a Unix socket. Parameters are "
	    "by name; any request may also fail with the errors of JSON-RPC itself, with "
	    "ShuttingDown, TooManyInFlight or RequestCancelled.");
	jsonw_obj_end(w);
	write_methods(w, "methods", 0);
	write_methods(w, "x-notifications", MSG_M_NOTIFICATION);
	write_components(w);
	jsonw_obj_end(w);
}
