#ifndef WIRE_RPC_H
#define WIRE_RPC_H

/*
 * JSON-RPC 2.0, one object per line: a line becomes a request (or a failure to answer with), and
 * replies and notifications are written through jsonw.  The kinds of errors live here and only
 * here.  What the params of a method mean is message.h's matter.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "wire/arena.h"
#include "wire/jsonr.h"
#include "wire/jsonw.h"

#define RPC_INT_MAX ((int64_t)9007199254740991) /* 2^53 - 1, as integers go in JSON */

/* ---- the error table ---- */

enum rpc_error {
	RPC_OK = 0,
	RPC_PARSE_ERROR,
	RPC_INVALID_REQUEST,
	RPC_METHOD_NOT_FOUND,
	RPC_INVALID_PARAMS,
	RPC_INTERNAL_ERROR,
	RPC_SHUTTING_DOWN,
	RPC_FRAME_TOO_LARGE,
	RPC_TOO_MANY_IN_FLIGHT,
	RPC_REQUEST_CANCELLED,
	RPC_NO_SUCH_JOB,
	RPC_PERMISSION_DENIED,
	RPC_QUEUE_FULL,
	RPC_DRAINING,
	RPC_TIMEOUT,
	RPC_INVALID_STATE,
	RPC_LIMIT_EXCEEDED,
	RPC_HISTORY_TRUNCATED,
	RPC_NOT_SUPPORTED,
	RPC_STORAGE_DEGRADED,
	RPC_CREDIT_EXCEEDED,
	RPC_JOB_FAILED,
	RPC_JOB_CANCELLED,
	RPC_KEY_CONFLICT,
	RPC_ERROR_COUNT,
};

struct rpc_error_info {
	int code;
	const char *kind;    /* data.kind, what clients switch on */
	const char *message; /* the message when the caller has none of its own */
	const char *help;    /* one line for the documentation */
};

const struct rpc_error_info *rpc_error_info(enum rpc_error error);
enum rpc_error rpc_error_by_code(int code);         /* RPC_OK when unknown */
enum rpc_error rpc_error_by_kind(const char *kind); /* RPC_OK when unknown */

/* ---- a failure, before it is written ---- */

struct rpc_failure {
	enum rpc_error error;
	char param[64];    /* data.param, "" for none: the parameter's name */
	char path[160];    /* data.path, "" for none: where exactly, such as jobs[3].argv[0] */
	char message[320]; /* "" for the kind's own message */
	size_t nextra;
	struct {
		const char *key; /* borrowed for ever: a literal */
		int64_t value;
	} extra[3]; /* further integers in data: oldest_job, retry_after_ms … */
};

/* Fills `f` (all of it) and returns -1, so that `return rpc_fail(f, …)` reads well.  The texts are
 * made valid UTF-8 when written and cut to fit. */
int rpc_fail(struct rpc_failure *f, enum rpc_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* InvalidParams about `param`. */
int rpc_fail_param(struct rpc_failure *f, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void rpc_failure_add(struct rpc_failure *f, const char *key, int64_t value);

/* ---- server: reading ---- */

struct rpc_request {
	struct arena arena;     /* owned; everything below lies in it */
	const struct jsonr *id; /* string or integer; NULL for a notification */
	const char *method;
	const struct jsonr *params; /* an object, or NULL */
	bool is_notification; /* "$/…" without an id: never answered */
};

/* Reads one line.  0, or -1: `failure` says what to answer and `req->id` (NULL for id:null) with
 * which id; call rpc_request_fini() in either case. */
int rpc_request_parse(
    struct rpc_request *req, const char *line, size_t len, struct rpc_failure *failure);
void rpc_request_fini(struct rpc_request *req);

/* Ids compare by type and value.  */
bool rpc_id_equal(const struct jsonr *a, const struct jsonr *b);
bool rpc_id_is_valid(const struct jsonr *id);

/* ---- server: writing ----
 * begin … value … end; end puts the LF and flushes: 0 or -ENOMEM. */

/* {"jsonrpc":"2.0","id":ID,"result": — then exactly one value, then rpc_end(). */
void rpc_response_begin(struct jsonw *w, struct evbuffer *out, const struct jsonr *id);
int rpc_response_end(struct jsonw *w);

/* …"error":{"code":…,"message":…,"data":{"kind":… — then further members of data, then end.
 * `message` NULL: the kind's own. `id` NULL: null. */
void rpc_error_begin(struct jsonw *w, struct evbuffer *out, const struct jsonr *id,
    enum rpc_error error, const char *message);
int rpc_error_end(struct jsonw *w);
/* All of a failure at once. */
int rpc_write_failure(
    struct evbuffer *out, const struct jsonr *id, const struct rpc_failure *failure);

/* {"jsonrpc":"2.0","method":METHOD,"params":{ — then members, then end. */
void rpc_notify_begin(struct jsonw *w, struct evbuffer *out, const char *method);
int rpc_notify_end(struct jsonw *w);

/* The notifications of streams; `stream` is the id of the request that opened it.
 * rpc_item_begin() leaves params open for the item's members, rpc_notify_end() ends it. */
void rpc_item_begin(struct jsonw *w, struct evbuffer *out, const struct jsonr *stream, int64_t n);
int rpc_write_gap(
    struct evbuffer *out, const struct jsonr *stream, int64_t dropped, int64_t resume);
int rpc_write_credit(struct evbuffer *out, const struct jsonr *stream, int64_t n);

/* ---- client ---- */

/* {"jsonrpc":"2.0","id":ID,"method":METHOD,"params":{ — then members, then end. */
void rpc_call_begin(struct jsonw *w, struct evbuffer *out, int64_t id, const char *method);
int rpc_call_end(struct jsonw *w);
/* A call whose params are JSON text already (an object). */
int rpc_write_call_raw(
    struct evbuffer *out, int64_t id, const char *method, const char *params, size_t params_len);
/* $/cancel and $/credit */
int rpc_write_cancel(struct evbuffer *out, int64_t id);
int rpc_write_client_credit(struct evbuffer *out, int64_t stream, int64_t n);

enum rpc_reply_kind {
	RPC_REPLY_RESULT,
	RPC_REPLY_ERROR,
	RPC_REPLY_NOTIFICATION,
};

struct rpc_reply {
	enum rpc_reply_kind kind;
	json_t *root;           /* owned; everything below is borrowed from it */
	json_t *id;             /* NULL for notifications and id:null */
	const char *method;     /* notification */
	json_t *params;         /* notification: an object or NULL */
	json_t *result;         /* result: any value */
	int code;               /* error: its code, … */
	enum rpc_error error;   /* … what we know it as (RPC_OK: unknown), … */
	const char *error_kind; /* … data.kind ("" when absent), … */
	const char *message;
	json_t *data; /* … and data, an object or NULL */
};

/* Reads a line of the server.  0; -1: not a reply; -ENOMEM (message in `why`, a literal). */
int rpc_reply_parse(struct rpc_reply *reply, const char *line, size_t len, const char **why);
void rpc_reply_fini(struct rpc_reply *reply);

#endif
