/* A stream: one request whose items come until its answer. It outlives its client, inert. */
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

struct slot_stream {
	struct client_request request;
	struct slot_stream_handlers handlers;
	void *arg;
	uint64_t id;
	bool cancel_asked;
	bool own;   /* of the client itself */
	bool freed; /* by its owner; the open request still holds it */
};

static struct slot_stream *
stream_of(struct client_request *r)
{
	return (struct slot_stream *)((char *)r - offsetof(struct slot_stream, request));
}

static void
stream_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error)
{
	if (s->freed)
		free(s);
	else if (s->handlers.end != NULL)
		s->handlers.end(s, code, result, error, s->arg); /* may free it */
}

static void
stream_result(struct client_request *r, json_t *result)
{
	stream_end(stream_of(r), 0, result, NULL);
}

static void
stream_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	struct slot_stream *s = stream_of(r);

	if (s->cancel_asked && error != NULL && strcmp(error->kind, "RequestCancelled") == 0)
		stream_end(s, -SLOT_ECANCELLED, NULL, NULL);
	else
		stream_end(s, code, NULL, error);
}

static void
stream_orphaned(struct client_request *r)
{
	struct slot_stream *s = stream_of(r);

	if (s->freed || s->own)
		stream_end(s, -SLOT_ECLOSED, NULL, NULL);
}

static void
stream_notice(struct client_request *r, const char *method, json_t *params)
{
	struct slot_stream *s = stream_of(r);

	if (s->freed)
		return;
	if (strcmp(method, "$/item") == 0) {
		if (s->handlers.item != NULL)
			s->handlers.item(s, params, s->arg);
	} else if (strcmp(method, "$/gap") == 0) {
		if (s->handlers.gap != NULL)
			s->handlers.gap(s, params, s->arg);
	} else if (strcmp(method, "$/credit") == 0) {
		json_int_t n = json_integer_value(json_object_get(params, "n"));

		if (s->handlers.credit != NULL && n > 0)
			s->handlers.credit(s, (uint64_t)n, s->arg);
	}
}

static const struct client_request_ops stream_ops = {
	.result = stream_result,
	.error = stream_error,
	.orphaned = stream_orphaned,
	.notice = stream_notice,
};

struct slot_stream *
slot_client_stream(struct slot_client *c, const char *method, json_t *params,
    const struct slot_stream_handlers *handlers, void *arg, int *error)
{
	struct slot_stream *s = calloc(1, sizeof(*s));
	int rc = -SLOT_ENOMEM;

	if (s != NULL) {
		s->handlers = *handlers;
		s->arg = arg;
		rc = client_open(c, &s->request, &stream_ops, method, params, NULL, 0);
	}
	json_decref(params);
	if (rc != 0) {
		free(s);
		if (error != NULL)
			*error = rc;
		return NULL;
	}
	s->id = s->request.id;
	return s;
}

struct slot_stream *
client_stream(struct slot_client *c, const char *method, json_t *params,
    const struct slot_stream_handlers *handlers, void *arg, int *error)
{
	struct slot_stream *s = slot_client_stream(c, method, params, handlers, arg, error);

	if (s != NULL)
		s->own = true;
	return s;
}

uint64_t
slot_stream_id(const struct slot_stream *s)
{
	return s->id;
}

bool
slot_stream_open(const struct slot_stream *s)
{
	return s->request.client != NULL;
}

void
slot_stream_cancel(struct slot_stream *s)
{
	if (!s->cancel_asked)
		client_cancel(&s->request);
	s->cancel_asked = true;
}

int
slot_stream_credit(struct slot_stream *s, uint64_t n)
{
	return client_credit(&s->request, n);
}

void
slot_stream_free(struct slot_stream *s)
{
	if (s == NULL || s->freed)
		return;
	if (!slot_stream_open(s)) {
		free(s);
		return;
	}
	s->freed = true;
	slot_stream_cancel(s);
}
