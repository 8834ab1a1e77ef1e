/* A call: one request, one answer, one future. Also the copies of errors that futures keep. */
#include <stdlib.h>
#include <string.h>

#include <slot/executor.h>

#include "client/client.h"

struct call {
	struct slot_future future; /* first */
	struct client_request request;
};

/* ---- errors ---- */

void
client_error_free(void *arg)
{
	struct slot_rpc_error *error = arg;

	if (error == NULL)
		return;
	json_decref((json_t *)(uintptr_t)error->data);
	free(error);
}

struct slot_rpc_error *
client_error_copy(const struct slot_rpc_error *error)
{
	size_t kind = strlen(error->kind) + 1, message = strlen(error->message) + 1;
	struct slot_rpc_error *copy = malloc(sizeof(*copy) + kind + message);

	if (copy == NULL)
		return NULL;
	char *text = (char *)(copy + 1);

	memcpy(text, error->kind, kind);
	memcpy(text + kind, error->message, message);
	*copy = (struct slot_rpc_error){ .code = error->code, .kind = text,
		.message = text + kind,
		.data = json_incref((json_t *)(uintptr_t)error->data) };
	return copy;
}

void
client_future_fail(struct slot_future *f, int code, const struct slot_rpc_error *error)
{
	struct slot_rpc_error *copy = error != NULL ? client_error_copy(error) : NULL;

	if (error != NULL && copy == NULL)
		code = -SLOT_ENOMEM;
	if (slot_future_set_exception(f, code, copy, client_error_free) != 0)
		client_error_free(copy);
}

const struct slot_rpc_error *
slot_rpc_error(const struct slot_future *f)
{
	int code = 0;
	void *detail = NULL;

	if (!client_future_is_call(f) && !client_future_is_job(f))
		return NULL;
	if (slot_future_exception(f, &code, &detail) != 0 || code != -SLOT_EREMOTE)
		return NULL;
	return detail;
}

/* ---- the call ---- */

static struct call *
call_of(struct client_request *r)
{
	return (struct call *)((char *)r - offsetof(struct call, request));
}

static void
free_json(void *json)
{
	json_decref(json);
}

static void
call_result(struct client_request *r, json_t *result)
{
	struct call *call = call_of(r);

	if (slot_future_set_result(&call->future, json_incref(result), free_json) != 0)
		json_decref(result);
	slot_future_unref(&call->future);
}

static void
call_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	struct call *call = call_of(r);

	if (r->cancel_asked && error != NULL && strcmp(error->kind, "RequestCancelled") == 0)
		slot_future_set_cancelled(&call->future);
	else
		client_future_fail(&call->future, code, error);
	slot_future_unref(&call->future);
}

static const struct client_request_ops call_request_ops = {
	.result = call_result,
	.error = call_error,
};

static bool
call_cancel(struct slot_future *f)
{
	struct call *call = (struct call *)f;

	return call->request.cancel_asked || client_cancel(&call->request);
}

static const struct slot_future_ops call_future_ops = {
	.cancel = call_cancel,
};

bool
client_future_is_call(const struct slot_future *f)
{
	return f->ops == &call_future_ops;
}

struct slot_future *
slot_client_call_fds(struct slot_client *c, const char *method,
    json_t *params, const int *fds, unsigned nfds, int *error)
{
	struct call *call = calloc(1, sizeof(*call));
	int rc = -SLOT_ENOMEM;

	if (call != NULL) {
		slot_future_init(&call->future, c->loop, &call_future_ops);
		rc = method == NULL ? -SLOT_EINVAL : client_open(c, &call->request,
		    &call_request_ops, method, params, fds, nfds);
	}
	json_decref(params);
	if (error != NULL)
		*error = rc;
	if (rc == 0)
		return slot_future_ref(&call->future); /* the other one is the open request's */
	if (call != NULL)
		slot_future_unref(&call->future);
	return NULL;
}

struct slot_future *
slot_client_call(struct slot_client *c, const char *method, json_t *params,
    int *error)
{
	return slot_client_call_fds(c, method, params, NULL, 0, error);
}
