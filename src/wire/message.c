/* Calls, results and items: the face of the table; see message.h. */

#include "wire/message_internal.h"

#include <string.h>

#include "wire/frame.h"
#include "wire/prescan.h"

const struct msg_method *
msg_method_find(const char *name)
{
	const struct msg_method *methods = msg_methods();

	for (int i = 0; i < M_METHODS; i++) {
		/* The first letters of most names are enough to tell them apart. */
		if (methods[i].name[0] == name[0] && strcmp(methods[i].name, name) == 0)
			return &methods[i];
	}
	return NULL;
}

/* ---- decoding calls ---- */

static bool
is_present(const struct msg_call *call, const char *param)
{
	const struct msg_schema *schema = call->method->params;

	for (size_t i = 0; i < schema->nfields; i++) {
		if (strcmp(schema->fields[i].name, param) == 0)
			return (call->u.present >> i & 1) != 0;
	}
	return false;
}

/* A default that comes from another parameter. */
static void
complete(struct msg_call *call)
{
	if (call->method->id == M_JOB_SUBMIT_BATCH && !is_present(call, "on_full"))
		call->u.job_submit_batch.on_full = call->u.job_submit_batch.defaults.on_full;
}

static enum msg_spec_mode
spec_mode(const struct msg_method *method)
{
	return method->id == M_JOB_SUBMIT ? MSG_SPEC_SINGLE : MSG_SPEC_BATCH;
}

static int
decode_params(struct msg_call *call, struct rpc_request *req, struct rpc_failure *err)
{
	static const struct jsonr none = { .type = JSON_OBJECT };
	const struct jsonr *params = req->params != NULL ? req->params : &none;
	const struct msg_schema *schema = call->method->params;
	struct msg_decoder d = {
		.arena = &req->arena,
		.err = err,
		.spec_mode = spec_mode(call->method),
	};

	if (schema == &msg_spec_schema)
		return msg_decode_spec(&d, NULL, params, 0, &call->u.job_submit);
	msg_schema_init(schema, &call->u);
	return msg_decode_object(&d, NULL, schema, params, &call->u);
}

int
msg_decode(struct rpc_request *req, struct msg_call *call, struct rpc_failure *err)
{
	const struct msg_method *method = msg_method_find(req->method);

	if (method == NULL)
		return rpc_fail(
		    err, RPC_METHOD_NOT_FOUND, "no method is called \"%.80s\"", req->method);
	if ((method->flags & MSG_M_NOTIFICATION) && req->id != NULL)
		return rpc_fail(err, RPC_INVALID_REQUEST,
		    "%s is a notification: send it without an id", method->name);
	call->method = method;
	if (decode_params(call, req, err) != 0)
		return -1;
	complete(call);
	call->arena = req->arena;
	req->arena = (struct arena){ 0 };
	return 0;
}

void
msg_call_free(struct msg_call *call)
{
	arena_free(&call->arena);
}

int
msg_map_push_specs(struct msg_call *call, const struct msg_spec *defaults, struct rpc_failure *err)
{
	struct msg_decoder d = {
		.arena = &call->arena,
		.err = err,
		.defaults = defaults,
		.spec_mode = MSG_SPEC_MAP,
	};
	struct msg_path at = { .name = "jobs", .is_parameter = true };

	return msg_decode_spec_list(&d, &at, call->u.map_push.jobs_json, &call->u.map_push.jobs);
}

/* ---- jobs and completions ---- */

void
msg_job_init(struct msg_job *job)
{
	msg_schema_init(&msg_job_schema, job);
}

void
msg_completion_init(struct msg_completion *c)
{
	msg_schema_init(&msg_completion_schema, c);
}

void
msg_completion_members(struct jsonw *w, const struct msg_completion *c)
{
	msg_write_members(w, &msg_completion_schema, c);
}

void
msg_completion_write(struct jsonw *w, const struct msg_completion *c)
{
	msg_write_object(w, &msg_completion_schema, c);
}

void
msg_job_members(struct jsonw *w, const struct msg_job *job)
{
	msg_write_members(w, &msg_job_schema, job);
}

void
msg_job_write(struct jsonw *w, const struct msg_job *job)
{
	msg_write_object(w, &msg_job_schema, job);
}

/* Reads what the server wrote: its words aren't judged, only understood. */
static int
read_object(
    const struct msg_schema *schema, const struct jsonr *json, void *out, struct arena *arena)
{
	struct rpc_failure ignored;
	struct msg_decoder d = { .arena = arena, .err = &ignored, .lenient = true };

	if (json == NULL)
		return -1;
	msg_schema_init(schema, out);
	return msg_decode_object(&d, NULL, schema, json, out);
}

int
msg_completion_read(struct msg_completion *c, const struct jsonr *json, struct arena *arena)
{
	return read_object(&msg_completion_schema, json, c, arena);
}

int
msg_job_read(struct msg_job *job, const struct jsonr *json, struct arena *arena)
{
	return read_object(&msg_job_schema, json, job, arena);
}

void
msg_limits_init(struct msg_limits *limits)
{
	msg_schema_init(&msg_limits_schema, limits);
	limits->max_line = FRAME_MAX;
	limits->max_depth = PRESCAN_DEPTH_MAX;
	limits->max_tokens = PRESCAN_TOKENS_MAX;
	limits->max_batch = MSG_BATCH_MAX;
	limits->max_fds = MSG_FDS_MAX;
	limits->max_with_output = MSG_WITH_OUTPUT_MAX;
}

void
msg_stats_init(struct msg_stats *stats)
{
	msg_schema_init(&msg_stats_schema, stats);
}

/* ---- results, items, params by method ---- */

void
msg_result_write(struct jsonw *w, enum msg_method_id id, const void *result)
{
	const struct msg_schema *schema = msg_method(id)->result;

	jsonw_obj_begin(w);
	if (schema != NULL)
		msg_write_members(w, schema, result);
	jsonw_obj_end(w);
}

void
msg_item_members(struct jsonw *w, enum msg_method_id id, const void *item)
{
	msg_write_members(w, msg_method(id)->item, item);
}

int
msg_result_read(enum msg_method_id id, const struct jsonr *json, void *result, struct arena *arena)
{
	const struct msg_schema *schema = msg_method(id)->result;

	if (schema == NULL)
		return jsonr_is(json, JSON_OBJECT) ? 0 : -1;
	return read_object(schema, json, result, arena);
}

int
msg_item_read(enum msg_method_id id, const struct jsonr *json, void *item, struct arena *arena)
{
	const struct msg_schema *schema = msg_method(id)->item;

	return schema != NULL ? read_object(schema, json, item, arena) : -1;
}

void
msg_params_init(enum msg_method_id id, void *params)
{
	msg_schema_init(msg_method(id)->params, params);
}

void
msg_params_write(struct jsonw *w, enum msg_method_id id, const void *params)
{
	msg_write_members(w, msg_method(id)->params, params);
}
