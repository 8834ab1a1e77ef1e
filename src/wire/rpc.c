/* JSON-RPC 2.0 requests and replies; see rpc.h. */

#include "wire/rpc.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include <event2/buffer.h>

#include "wire/prescan.h"

#define ID_LEN_MAX 1024u /* every reply and stream item quotes it */

/* ---- ids ---- */

bool
rpc_id_is_valid(const struct jsonr *id)
{
	if (jsonr_is(id, JSON_INTEGER))
		return id->integer >= -RPC_INT_MAX && id->integer <= RPC_INT_MAX;
	return jsonr_is(id, JSON_STRING) && id->len <= ID_LEN_MAX;
}

bool
rpc_id_equal(const struct jsonr *a, const struct jsonr *b)
{
	if (jsonr_is(a, JSON_INTEGER) && jsonr_is(b, JSON_INTEGER))
		return a->integer == b->integer;
	return jsonr_is(a, JSON_STRING) && jsonr_is(b, JSON_STRING) && a->len == b->len &&
	    memcmp(a->text, b->text, a->len) == 0;
}

/* ---- reading requests ---- */

/* A number that no integer of ours can hold: read once more, loosely, only to find whom to tell. */
static void
refuse_overflow(struct rpc_request *req, const char *line, size_t len, struct rpc_failure *failure)
{
	json_t *root = json_loadb(line, len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
	const json_t *json = json_object_get(root, "id");
	struct jsonr *id = json != NULL ? jsonr_of(json, &req->arena) : NULL;

	if (jsonr_is(id, JSON_REAL) && fabs(id->real) <= (double)RPC_INT_MAX &&
	    (double)(int64_t)id->real == id->real) {
		id->type = JSON_INTEGER;
		id->integer = (int64_t)id->real;
	}
	if (rpc_id_is_valid(id))
		req->id = id;
	json_decref(root);
	rpc_fail(
	    failure, RPC_INVALID_PARAMS, "a number is too large: integers are within 2^53-1 of 0");
}

/* jansson says so, or gives up without a word. */
static bool
is_out_of_memory(const json_error_t *error)
{
	return json_error_code(error) == json_error_out_of_memory ||
	    json_error_code(error) == json_error_unknown;
}

static void
refuse(struct rpc_request *req, const char *line, size_t len, const json_error_t *error,
    struct rpc_failure *failure)
{
	switch (json_error_code(error)) {
	case json_error_unknown:
	case json_error_out_of_memory:
		rpc_fail(failure, RPC_INTERNAL_ERROR, "out of memory");
		break;
	case json_error_numeric_overflow:
		refuse_overflow(req, line, len, failure);
		break;
	case json_error_null_byte_in_key:
		rpc_fail(failure, RPC_INVALID_PARAMS, "a NUL character in a member's name");
		break;
	default:
		rpc_fail(failure, RPC_PARSE_ERROR, "not valid JSON: %s at byte %d", error->text,
		    error->position);
		break;
	}
}

/* Lines that jsonr_read() leaves to jansson: odd ones, and all that are wrong. */
static const struct jsonr *
load_odd(struct rpc_request *req, const char *line, size_t len, struct rpc_failure *failure)
{
	enum prescan_verdict verdict = prescan(line, len);
	const struct jsonr *root;
	const char *nul;
	json_error_t error = {0};
	json_t *json;

	if (verdict != PRESCAN_OK) {
		rpc_fail(failure, RPC_PARSE_ERROR, "%s", prescan_message(verdict));
		return NULL;
	}
	nul = memchr(line, '\0', len);
	if (nul != NULL) { /* jansson takes one for the end of a number */
		rpc_fail(failure, RPC_PARSE_ERROR, "not valid JSON: a NUL at byte %zu",
		    (size_t)(nul - line));
		return NULL;
	}
	/* Any value: what is JSON but no object is an invalid request, not bad JSON. */
	json = json_loadb(
	    line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
	if (json == NULL) {
		refuse(req, line, len, &error, failure);
		return NULL;
	}
	root = jsonr_of(json, &req->arena);
	json_decref(json);
	if (root == NULL)
		rpc_fail(failure, RPC_INTERNAL_ERROR, "out of memory");
	return root;
}

static int
parse_params(struct rpc_request *req, const struct jsonr *root, struct rpc_failure *failure)
{
	const struct jsonr *params = jsonr_get(root, "params");

	if (params == NULL || jsonr_is(params, JSON_OBJECT)) {
		req->params = params;
		return 0;
	}
	if (req->is_notification)
		return 0; /* never answered; without params it means nothing */
	return rpc_fail(failure, RPC_INVALID_PARAMS,
	    jsonr_is(params, JSON_ARRAY) ? "positional params are not supported: give an object"
					 : "params must be an object");
}

static int
parse_object(struct rpc_request *req, const struct jsonr *root, struct rpc_failure *failure)
{
	const struct jsonr *id = jsonr_get(root, "id");
	const struct jsonr *method = jsonr_get(root, "method");

	if (rpc_id_is_valid(id))
		req->id = id;
	if (!jsonr_is_text(jsonr_get(root, "jsonrpc"), "2.0"))
		return rpc_fail(failure, RPC_INVALID_REQUEST, "\"jsonrpc\": \"2.0\" is required");
	if (id != NULL && req->id == NULL)
		return rpc_fail(failure, RPC_INVALID_REQUEST,
		    "the id must be a string (at most %u bytes) or an integer within "
		    "2^53-1 of 0",
		    ID_LEN_MAX);
	if (!jsonr_is(method, JSON_STRING))
		return rpc_fail(
		    failure, RPC_INVALID_REQUEST, "\"method\" is required and must be a string");
	if (jsonr_has_nul(method))
		return rpc_fail(failure, RPC_METHOD_NOT_FOUND, "a NUL in the method's name");
	req->method = method->text;
	if (id == NULL && strncmp(req->method, "$/", 2) != 0)
		return rpc_fail(
		    failure, RPC_INVALID_REQUEST, "a call needs an id: a string or an integer");
	req->is_notification = id == NULL;
	return parse_params(req, root, failure);
}

int
rpc_request_parse(
    struct rpc_request *req, const char *line, size_t len, struct rpc_failure *failure)
{
	const struct jsonr *root;

	memset(req, 0, sizeof(*req));
	root = jsonr_read(line, len, &req->arena);
	if (root == NULL) {
		arena_free(&req->arena);
		root = load_odd(req, line, len, failure);
	}
	if (root == NULL)
		return -1;
	if (jsonr_is(root, JSON_ARRAY))
		return rpc_fail(failure, RPC_INVALID_REQUEST,
		    "batches are not supported: one request per line");
	if (!jsonr_is(root, JSON_OBJECT))
		return rpc_fail(failure, RPC_INVALID_REQUEST, "a request is a JSON object");
	return parse_object(req, root, failure);
}

void
rpc_request_fini(struct rpc_request *req)
{
	arena_free(&req->arena);
	memset(req, 0, sizeof(*req));
}

/* ---- writing: the server's side ---- */

static void
write_id(struct jsonw *w, const struct jsonr *id)
{
	if (jsonr_is(id, JSON_INTEGER))
		jsonw_int(w, id->integer);
	else
		jsonw_value(w, id);
}

static void
envelope_begin(struct jsonw *w, struct evbuffer *out)
{
	jsonw_init(w, out);
	jsonw_obj_begin(w);
	jsonw_key(w, "jsonrpc");
	jsonw_raw(w, "\"2.0\"", 5);
}

/* Closes `levels` objects and ends the line. */
static int
envelope_end(struct jsonw *w, int levels)
{
	while (levels-- > 1)
		jsonw_obj_end(w);
	/* As separate values these two would get a comma between them. */
	w->after_key = true;
	jsonw_raw(w, "}\n", 2);
	return jsonw_flush(w);
}

void
rpc_response_begin(struct jsonw *w, struct evbuffer *out, const struct jsonr *id)
{
	envelope_begin(w, out);
	jsonw_key(w, "id");
	write_id(w, id);
	jsonw_key(w, "result");
}

int
rpc_response_end(struct jsonw *w)
{
	return envelope_end(w, 1);
}

void
rpc_error_begin(struct jsonw *w, struct evbuffer *out, const struct jsonr *id, enum rpc_error error,
    const char *message)
{
	const struct rpc_error_info *info = rpc_error_info(error);

	envelope_begin(w, out);
	jsonw_key(w, "id");
	write_id(w, id);
	jsonw_key(w, "error");
	jsonw_obj_begin(w);
	jsonw_kint(w, "code", info->code);
	jsonw_kstr(w, "message", message != NULL && message[0] != '\0' ? message : info->message);
	jsonw_key(w, "data");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "kind", info->kind);
}

int
rpc_error_end(struct jsonw *w)
{
	return envelope_end(w, 3);
}

int
rpc_write_failure(struct evbuffer *out, const struct jsonr *id, const struct rpc_failure *failure)
{
	struct jsonw w;

	rpc_error_begin(&w, out, id, failure->error, failure->message);
	if (failure->param[0] != '\0')
		jsonw_kstr(&w, "param", failure->param);
	if (failure->path[0] != '\0')
		jsonw_kstr(&w, "path", failure->path);
	for (size_t i = 0; i < failure->nextra; i++)
		jsonw_kint(&w, failure->extra[i].key, failure->extra[i].value);
	return rpc_error_end(&w);
}

void
rpc_notify_begin(struct jsonw *w, struct evbuffer *out, const char *method)
{
	envelope_begin(w, out);
	jsonw_kstr(w, "method", method);
	jsonw_key(w, "params");
	jsonw_obj_begin(w);
}

int
rpc_notify_end(struct jsonw *w)
{
	return envelope_end(w, 2);
}

static void
stream_begin(struct jsonw *w, struct evbuffer *out, const char *method, const struct jsonr *stream)
{
	rpc_notify_begin(w, out, method);
	jsonw_key(w, "stream");
	write_id(w, stream);
}

void
rpc_item_begin(struct jsonw *w, struct evbuffer *out, const struct jsonr *stream, int64_t n)
{
	stream_begin(w, out, "$/item", stream);
	jsonw_kint(w, "n", n);
}

int
rpc_write_gap(struct evbuffer *out, const struct jsonr *stream, int64_t dropped, int64_t resume)
{
	struct jsonw w;

	stream_begin(&w, out, "$/gap", stream);
	jsonw_kint(&w, "dropped", dropped);
	jsonw_kint(&w, "resume", resume);
	return rpc_notify_end(&w);
}

int
rpc_write_credit(struct evbuffer *out, const struct jsonr *stream, int64_t n)
{
	struct jsonw w;

	stream_begin(&w, out, "$/credit", stream);
	jsonw_kint(&w, "n", n);
	return rpc_notify_end(&w);
}

/* ---- the client's side ---- */

static void
call_begin(struct jsonw *w, struct evbuffer *out, int64_t id, const char *method)
{
	envelope_begin(w, out);
	jsonw_kint(w, "id", id);
	jsonw_kstr(w, "method", method);
	jsonw_key(w, "params");
}

void
rpc_call_begin(struct jsonw *w, struct evbuffer *out, int64_t id, const char *method)
{
	call_begin(w, out, id, method);
	jsonw_obj_begin(w);
}

int
rpc_call_end(struct jsonw *w)
{
	return envelope_end(w, 2);
}

int
rpc_write_call_raw(
    struct evbuffer *out, int64_t id, const char *method, const char *params, size_t params_len)
{
	struct jsonw w;

	call_begin(&w, out, id, method);
	jsonw_raw(&w, params, params_len);
	return envelope_end(&w, 1);
}

int
rpc_write_cancel(struct evbuffer *out, int64_t id)
{
	struct jsonw w;

	rpc_notify_begin(&w, out, "$/cancel");
	jsonw_kint(&w, "id", id);
	return rpc_notify_end(&w);
}

int
rpc_write_client_credit(struct evbuffer *out, int64_t stream, int64_t n)
{
	struct jsonw w;

	rpc_notify_begin(&w, out, "$/credit");
	jsonw_kint(&w, "stream", stream);
	jsonw_kint(&w, "n", n);
	return rpc_notify_end(&w);
}

static int
parse_error(struct rpc_reply *reply, const json_t *error, const char **why)
{
	const json_t *code = json_object_get(error, "code");
	const json_t *message = json_object_get(error, "message");
	json_t *data = json_object_get(error, "data");

	if (!json_is_integer(code) || !json_is_string(message)) {
		*why = "an error reply without code or message";
		return -1;
	}
	reply->kind = RPC_REPLY_ERROR;
	reply->code = json_integer_value(code) >= INT_MIN && json_integer_value(code) <= INT_MAX
	    ? (int)json_integer_value(code) : 0;
	reply->message = json_string_value(message);
	reply->data = json_is_object(data) ? data : NULL;
	if (json_is_string(json_object_get(data, "kind")))
		reply->error_kind = json_string_value(json_object_get(data, "kind"));
	reply->error = reply->error_kind[0] != '\0' ? rpc_error_by_kind(reply->error_kind)
						    : rpc_error_by_code(reply->code);
	return 0;
}

int
rpc_reply_parse(struct rpc_reply *reply, const char *line, size_t len, const char **why)
{
	json_t *method, *error;
	json_error_t trouble = {0};

	memset(reply, 0, sizeof(*reply));
	reply->error_kind = "";
	reply->root = json_loadb(line, len, JSON_ALLOW_NUL, &trouble);
	if (reply->root == NULL && is_out_of_memory(&trouble)) {
		*why = "out of memory";
		return -ENOMEM;
	}
	if (!json_is_object(reply->root)) {
		*why = "not a JSON object";
		return -1;
	}
	method = json_object_get(reply->root, "method");
	reply->id = json_object_get(reply->root, "id");
	if (json_is_null(reply->id))
		reply->id = NULL;
	if (method != NULL) {
		if (!json_is_string(method)) {
			*why = "a method that is no string";
			return -1;
		}
		reply->kind = RPC_REPLY_NOTIFICATION;
		reply->method = json_string_value(method);
		reply->params = json_object_get(reply->root, "params");
		if (!json_is_object(reply->params))
			reply->params = NULL;
		return 0;
	}
	error = json_object_get(reply->root, "error");
	if (json_is_object(error))
		return parse_error(reply, error, why);
	reply->result = json_object_get(reply->root, "result");
	if (reply->result == NULL) {
		*why = "neither result nor error";
		return -1;
	}
	reply->kind = RPC_REPLY_RESULT;
	return 0;
}

void
rpc_reply_fini(struct rpc_reply *reply)
{
	json_decref(reply->root);
	memset(reply, 0, sizeof(*reply));
}
