/*
 * A stream: one request whose items come until its answer. It outlives its client, inert. After a
 * reconnect it goes on where place.c says that it was.
 */
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/place.h"

struct slot_stream {
	struct client_request request;
	struct slot_stream_handlers handlers;
	void *arg;
	uint64_t id;
	struct place place;
	uint64_t owed; /* credit of ours that there was no room for */
	json_t *gap;   /* to be told when it has been resumed */
	bool own;   /* of the client itself */
	bool freed; /* by its owner; the open request still holds it */
};

static struct slot_stream *
stream_of(struct client_request *r)
{
	return (struct slot_stream *)((char *)r - offsetof(struct slot_stream, request));
}

static void
stream_destroy(struct slot_stream *s)
{
	place_fini(&s->place);
	json_decref(s->gap);
	free(s);
}

/* ---- the end ---- */

static void
stream_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error)
{
	if (s->freed)
		stream_destroy(s);
	else if (s->handlers.end != NULL)
		s->handlers.end(s, code, result, error, s->arg); /* may free it */
}

static void
stream_result(struct client_request *r, json_t *result)
{
	struct slot_stream *s = stream_of(r);

	place_correct_result(&s->place, result);
	stream_end(s, 0, result, NULL);
}

static void
stream_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	struct slot_stream *s = stream_of(r);

	if (r->cancel_asked && error != NULL && strcmp(error->kind, "RequestCancelled") == 0)
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

/* ---- what comes ---- */

/* For what was told before: nobody else will. */
static void
give_back(struct slot_stream *s)
{
	if (s->owed > 0 && client_credit(&s->request, s->owed) == 0)
		s->owed = 0;
}

static void
stream_room(struct client_request *r)
{
	give_back(stream_of(r));
}

static void
stream_item(struct slot_stream *s, json_t *item)
{
	uint64_t again = 0;
	bool fresh = place_move(&s->place, item, &again);

	if (s->place.windowed)
		s->owed += again;
	give_back(s);
	if (fresh && s->handlers.item != NULL)
		s->handlers.item(s, item, s->arg);
}

static void
stream_notice(struct client_request *r, const char *method, json_t *params)
{
	struct slot_stream *s = stream_of(r);

	if (s->freed)
		return;
	if (strcmp(method, "$/item") == 0) {
		stream_item(s, params);
	} else if (strcmp(method, "$/gap") == 0) {
		if (s->handlers.gap != NULL)
			s->handlers.gap(s, params, s->arg);
	} else if (strcmp(method, "$/credit") == 0) {
		json_int_t n = json_integer_value(json_object_get(params, "n"));

		if (s->handlers.credit != NULL && n > 0)
			s->handlers.credit(s, (uint64_t)n, s->arg);
	}
}

/* ---- after a reconnect ---- */

static int
stream_resume(struct client_request *r, json_t **result)
{
	struct slot_stream *s = stream_of(r);
	const struct slot_client *c = r->client;

	if (s->freed)
		return -SLOT_ECANCELLED;
	if (!r->kept->sent)
		return 0;
	s->owed = 0; /* the window begins anew */
	/* Made while there is a way back. */
	if (s->place.cursor == CLIENT_CURSOR_EVENTS && s->handlers.gap != NULL && s->gap == NULL) {
		s->gap = json_pack("{s:I, s:i}", "stream", (json_int_t)s->id, "dropped", 0);
		if (s->gap == NULL)
			return -SLOT_ENOMEM;
	}
	return place_go_on(&s->place, r->kept->params, json_object_get(c->hello, "instance"),
	    c->seq, result);
}

static void
stream_resumed(struct client_request *r)
{
	struct slot_stream *s = stream_of(r);
	json_t *gap = s->gap;

	s->gap = NULL;
	if (gap != NULL)
		s->handlers.gap(s, gap, s->arg); /* may free it */
	json_decref(gap);
}

static const struct client_request_ops stream_ops = {
	.result = stream_result,
	.error = stream_error,
	.orphaned = stream_orphaned,
	.notice = stream_notice,
	.resume = stream_resume,
	.resumed = stream_resumed,
	.room = stream_room,
};

/* ---- where a subscription began ---- */

/* Until its first item a subscription that began "now" can't know where that was: stats.get,
 * asked just before it, says so. */
struct probe {
	struct client_request request; /* first */
	struct slot_client *client;
	uint64_t stream;
};

static void
probe_result(struct client_request *r, json_t *result)
{
	struct probe *probe = (struct probe *)r;
	struct client_request *of = table_get(&probe->client->requests, probe->stream);

	if (of != NULL && of->ops == &stream_ops)
		place_opened_at(&stream_of(of)->place, client_seq_of(result));
	free(probe);
}

static void
probe_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	(void)code;
	(void)error;
	free((struct probe *)r);
}

static const struct client_request_ops probe_ops = {
	.result = probe_result,
	.error = probe_error,
};

/* Without it, for want of memory, the newest seq known counts. */
static void
probe(struct slot_client *c)
{
	struct probe *probe = calloc(1, sizeof(*probe));

	if (probe == NULL)
		return;
	if (client_open(c, &probe->request, &probe_ops, "stats.get", NULL, NULL, 0) != 0) {
		free(probe);
		return;
	}
	probe->client = c;
	probe->stream = probe->request.id + 1;
	/* Asked again after a reconnect it would say something else. */
	client_kept_free(probe->request.kept);
	probe->request.kept = NULL;
}

/* ---- life ---- */

struct slot_stream *
slot_client_stream(struct slot_client *c, const char *method, json_t *params,
    const struct slot_stream_handlers *handlers, void *arg, int *error)
{
	struct slot_stream *s = calloc(1, sizeof(*s));
	int rc = method == NULL ? -SLOT_EINVAL : -SLOT_ENOMEM;

	if (s != NULL && method != NULL) {
		s->handlers = *handlers;
		s->arg = arg;
		if (client_keeps(c) && !client_is_away(c) &&
		    strcmp(method, "completions.subscribe") == 0 &&
		    !json_is_integer(json_object_get(params, "since_seq")))
			probe(c);
		rc = client_open(c, &s->request, &stream_ops, method, params, NULL, 0);
	}
	if (rc == 0)
		place_init(&s->place, s->request.kept != NULL
			? (int)s->request.kept->method->cursor : (int)CLIENT_CURSOR_NONE, params);
	json_decref(params);
	if (error != NULL)
		*error = rc;
	if (rc != 0) {
		free(s);
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
	if (!s->request.cancel_asked)
		client_cancel(&s->request);
}

int
slot_stream_credit(struct slot_stream *s, uint64_t n)
{
	struct place before = s->place;
	uint64_t out;
	int rc = 0;

	if (!slot_stream_open(s))
		return -SLOT_ECLOSED;
	out = place_credit(&s->place, n);
	if (out > 0)
		rc = client_credit(&s->request, out);
	if (rc != 0)
		s->place = before; /* it may be tried again */
	return rc;
}

void
slot_stream_free(struct slot_stream *s)
{
	if (s == NULL || s->freed)
		return;
	if (!slot_stream_open(s)) {
		stream_destroy(s);
		return;
	}
	s->freed = true;
	slot_stream_cancel(s);
}
