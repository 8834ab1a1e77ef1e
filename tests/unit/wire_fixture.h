#ifndef TESTS_UNIT_WIRE_FIXTURE_H
#define TESTS_UNIT_WIRE_FIXTURE_H

/* What the tests of messages share: a call made from a method and the text of its params. */

#include "wire/message.h"

#include <check.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wire_fixture {
	struct rpc_request req;
	struct msg_call call;
	struct rpc_failure err;
	bool decoded;
	struct evbuffer *out;
	char *text;
};

static inline void
wire_reset(struct wire_fixture *fx)
{
	if (fx->decoded)
		msg_call_free(&fx->call);
	fx->decoded = false;
	rpc_request_fini(&fx->req);
}

static inline void
wire_setup(struct wire_fixture *fx)
{
	memset(fx, 0, sizeof(*fx));
	fx->out = evbuffer_new();
}

static inline void
wire_teardown(struct wire_fixture *fx)
{
	wire_reset(fx);
	free(fx->text);
	evbuffer_free(fx->out);
}

/* params: JSON text, or NULL for none. 0 or -1, with fx->err filled. */
static inline int
wire_decode(struct wire_fixture *fx, const char *method, const char *params)
{
	size_t size = strlen(method) + (params != NULL ? strlen(params) : 0) + 100;
	char *line = malloc(size);
	const char *id = strncmp(method, "$/", 2) == 0 ? "" : "\"id\":1,";
	int len = params != NULL
	    ? snprintf(line, size, "{\"jsonrpc\":\"2.0\",%s\"method\":\"%s\",\"params\":%s}", id,
		  method, params)
	    : snprintf(line, size, "{\"jsonrpc\":\"2.0\",%s\"method\":\"%s\"}", id, method);
	int result;

	wire_reset(fx);
	memset(&fx->err, 0, sizeof(fx->err));
	memset(&fx->call, 0xa5, sizeof(fx->call));
	ck_assert_msg(rpc_request_parse(&fx->req, line, (size_t)len, &fx->err) == 0, "%.300s: %s", line,
	    fx->err.message);
	result = msg_decode(&fx->req, &fx->call, &fx->err);
	fx->decoded = result == 0;
	/* The document lives as long as the call, whatever becomes of the request. */
	if (fx->decoded)
		rpc_request_fini(&fx->req);
	free(line);
	return result;
}

static inline void
wire_ok(struct wire_fixture *fx, const char *method, const char *params)
{
	ck_assert_msg(wire_decode(fx, method, params) == 0, "%s %.300s: %s", method,
	    params != NULL ? params : "", fx->err.message);
}

static inline void
wire_refused(struct wire_fixture *fx, const char *method, const char *params,
    enum rpc_error error, const char *param, const char *path)
{
	ck_assert_msg(wire_decode(fx, method, params) == -1, "%s %.300s was taken", method,
	    params != NULL ? params : "");
	ck_assert_msg(fx->err.error == error, "%s %.300s: %s", method, params != NULL ? params : "",
	    rpc_error_info(fx->err.error)->kind);
	ck_assert_msg(strcmp(fx->err.param, param) == 0, "%s %.300s: param %s", method,
	    params != NULL ? params : "", fx->err.param);
	ck_assert_msg(strcmp(fx->err.path, path) == 0, "%s %.300s: path %s", method,
	    params != NULL ? params : "", fx->err.path);
	ck_assert_str_ne(fx->err.message, "");
}

static inline const char *
wire_finish(struct wire_fixture *fx, struct jsonw *w)
{
	size_t len;

	ck_assert_int_eq(jsonw_flush(w), 0);
	len = evbuffer_get_length(fx->out);
	free(fx->text);
	fx->text = malloc(len + 1);
	evbuffer_remove(fx->out, fx->text, len);
	fx->text[len] = '\0';
	return fx->text;
}

/* Runs a suite of one case without forking and ends the program. */
static inline int
wire_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

#endif
