/* rpc.discover: the table as an OpenRPC document. */

#include "wire/message_discover.h"

#include <string.h>

/* ---- errors ---- */

static void
write_error_ref(struct jsonw *w, enum rpc_error error)
{
	char ref[80] = "#/components/errors/";

	strncat(ref, rpc_error_info(error)->kind, sizeof(ref) - strlen(ref) - 1);
	jsonw_obj_begin(w);
	jsonw_kstr(w, "$ref", ref);
	jsonw_obj_end(w);
}

static void
write_error_refs(struct jsonw *w, const char *key, const enum rpc_error *errors, size_t max)
{
	jsonw_key(w, key);
	jsonw_arr_begin(w);
	for (size_t i = 0; i < max && errors[i] != RPC_OK; i++)
		write_error_ref(w, errors[i]);
	jsonw_arr_end(w);
}

/* OpenRPC lets an error hold a value as its data and nothing of ours: a description of the data,
 * with its schema, stands there. */
static void
write_error(struct jsonw *w, enum rpc_error error)
{
	const struct rpc_error_info *info = rpc_error_info(error);
	const struct msg_schema *more, *data = msg_error_data(error, &more);
	const struct msg_names kinds = { &info->kind, 1, -1 };
	const struct msg_field kind_field = { .name = "kind",
		.type = MSG_T_STR,
		.names = &kinds,
		.max = PTRDIFF_MAX,
		.help = info->help };
	struct msg_field fields[8] = { kind_field }; /* more than any error has */
	const struct msg_schema schema = { .fields = fields, .nfields = 1 + data->nfields };

	for (size_t i = 0; i < data->nfields; i++)
		fields[1 + i] = data->fields[i];
	jsonw_obj_begin(w);
	jsonw_kint(w, "code", info->code);
	jsonw_kstr(w, "message", info->message);
	jsonw_key(w, "data");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "kind", info->kind);
	jsonw_kstr(w, "help", info->help);
	jsonw_key(w, "schema");
	jsonw_obj_begin(w);
	msg_schema_write_members(w, &schema, more);
	jsonw_obj_end(w);
	jsonw_obj_end(w);
	jsonw_obj_end(w);
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
		/* What the daemon sends is always all there. */
		jsonw_kbool(w, "required", !schema->strict || (f->flags & MSG_F_REQUIRED) != 0);
		jsonw_key(w, "schema");
		msg_schema_write_field(w, f, schema->strict);
		jsonw_obj_end(w);
	}
	jsonw_arr_end(w);
}

static void
write_result_schema(struct jsonw *w, const struct msg_method *m)
{
	static const char never[] =
	    "{\"not\":{},\"description\":\"none: the stream is endless, and ends with an error\"}";
	static const char document[] =
	    "{\"type\":\"object\",\"required\":[\"openrpc\",\"info\",\"methods\"],"
	    "\"description\":\"this document\"}";
	static const char empty[] = "{\"type\":\"object\",\"properties\":{}}";

	if (m->result != NULL) {
		jsonw_obj_begin(w);
		msg_schema_write_nested(w, m->result);
		jsonw_obj_end(w);
	} else if (m->flags & MSG_M_STREAM) {
		jsonw_raw(w, never, sizeof(never) - 1);
	} else if (m->id == M_RPC_DISCOVER) {
		jsonw_raw(w, document, sizeof(document) - 1);
	} else {
		jsonw_raw(w, empty, sizeof(empty) - 1);
	}
}

static void
write_stream(struct jsonw *w, const struct msg_method *m)
{
	jsonw_key(w, "x-stream");
	jsonw_obj_begin(w);
	jsonw_key(w, "item");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "method", "$/item");
	jsonw_key(w, "schema");
	jsonw_obj_begin(w);
	msg_schema_write_nested(w, m->item);
	jsonw_obj_end(w);
	jsonw_obj_end(w);
	jsonw_kbool(w, "endless", m->result == NULL);
	jsonw_kbool(w, "gap", (m->flags & MSG_M_GAP) != 0);
	jsonw_kbool(w, "credit", (m->flags & MSG_M_CREDIT) != 0);
	jsonw_obj_end(w);
}

/* A method without a result is a notification: so says OpenRPC. */
static void
write_method(struct jsonw *w, const struct msg_method *m)
{
	jsonw_obj_begin(w);
	jsonw_kstr(w, "name", m->name);
	jsonw_kstr(w, "summary", m->help);
	jsonw_kstr(w, "paramStructure", "by-name");
	write_params(w, m->params);
	if (m->flags & MSG_M_NOTIFICATION) {
		jsonw_kbool(w, "x-notification", true);
	} else {
		jsonw_key(w, "result");
		jsonw_obj_begin(w);
		jsonw_kstr(w, "name", "result");
		jsonw_key(w, "schema");
		write_result_schema(w, m);
		jsonw_obj_end(w);
		write_error_refs(w, "errors", m->errors, MSG_ERRORS_MAX);
	}
	if (m->flags & MSG_M_STREAM)
		write_stream(w, m);
	if (m->flags & MSG_M_ADMIN)
		jsonw_kbool(w, "x-admin", true);
	if (m->flags & MSG_M_WAITS)
		jsonw_kbool(w, "x-waits", true);
	jsonw_obj_end(w);
}

static void
write_methods(struct jsonw *w)
{
	jsonw_key(w, "methods");
	jsonw_arr_begin(w);
	for (int i = 0; i < M_METHODS; i++)
		write_method(w, &msg_methods()[i]);
	jsonw_arr_end(w);
}

static void
write_notices(struct jsonw *w)
{
	size_t n;
	const struct msg_notice *notices = msg_notices(&n);

	jsonw_key(w, "x-server-notifications");
	jsonw_arr_begin(w);
	for (size_t i = 0; i < n; i++) {
		jsonw_obj_begin(w);
		jsonw_kstr(w, "name", notices[i].name);
		jsonw_kstr(w, "summary", notices[i].help);
		write_params(w, notices[i].params);
		jsonw_obj_end(w);
	}
	jsonw_arr_end(w);
}

/* ---- components ---- */

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
		msg_schema_write_members(w, schema, NULL);
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
	msg_schema_write_fixed(w);
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
	    "slot/1: JSON-RPC 2.0, one object per line, over a Unix socket. Parameters are by "
	    "name; unknown ones are refused unless their name contains a '.'. Schemas are JSON "
	    "Schema draft-07. x-maxBytes counts the bytes of a string's UTF-8, x-maxJsonBytes "
	    "those of a value's compact JSON. In an error, data.schema is the schema of data. Any "
	    "call may also fail with x-general-errors.");
	jsonw_obj_end(w);
	write_methods(w);
	write_notices(w);
	write_error_refs(w, "x-general-errors", msg_general_errors(), RPC_ERROR_COUNT);
	write_components(w);
	jsonw_obj_end(w);
}
