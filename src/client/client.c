/*
 * The connection: life, requests and the way from a line to the request that it answers. What
 * a request means is in call.c, job.c and stream.c.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "core/paths.h"
#include "wire/rpc.h"

static int
give(int *error, int code)
{
	if (error != NULL)
		*error = code;
	return code;
}

/* ---- requests out ---- */

static int
write_call(struct slot_client *c, uint64_t id, const char *method, const json_t *params)
{
	struct jsonw w;
	const char *key;
	const json_t *value;

	rpc_call_begin(&w, c->scratch, (int64_t)id, method);
	/* The iterator of jansson wants a pointer that is not const; it changes nothing. */
	void *it = json_object_iter((json_t *)(uintptr_t)params);

	for (; it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)params, it)) {
		key = json_object_iter_key(it);
		value = json_object_iter_value(it);
		jsonw_key_text(&w, key, strlen(key));
		jsonw_json(&w, value);
	}
	if (rpc_call_end(&w) != 0)
		return -SLOT_ENOMEM;
	return evbuffer_get_length(c->scratch) - 1 > FRAME_MAX ? -SLOT_EINVAL : 0;
}

int
client_open(struct slot_client *c, struct client_request *r,
    const struct client_request_ops *ops, const char *method, const json_t *params,
    const int *fds, unsigned nfds)
{
	if (c->over)
		return -SLOT_ECLOSED;
	if (nfds > SLOT_CLIENT_FDS_MAX || (params != NULL && !json_is_object(params)))
		return -SLOT_EINVAL;
	int rc = table_reserve(&c->requests);

	if (rc == 0)
		rc = write_call(c, c->last_id + 1, method, params);
	if (rc == 0 && !link_has_room(&c->link, evbuffer_get_length(c->scratch)))
		rc = -SLOT_ENOMEM;
	if (rc == 0)
		rc = link_send(&c->link, c->scratch, fds, nfds);
	if (rc != 0) {
		evbuffer_drain(c->scratch, evbuffer_get_length(c->scratch));
		return rc;
	}
	*r = (struct client_request){ .ops = ops, .client = c, .id = ++c->last_id };
	return table_put(&c->requests, r->id, r); /* can't fail: reserved */
}

void
client_cancel(struct client_request *r)
{
	struct slot_client *c = r->client;

	if (c == NULL || c->over)
		return;
	/* No memory for it: the request just goes on. */
	if (rpc_write_cancel(c->scratch, (int64_t)r->id) != 0 ||
	    link_send(&c->link, c->scratch, NULL, 0) != 0)
		evbuffer_drain(c->scratch, evbuffer_get_length(c->scratch));
}

int
client_credit(struct client_request *r, uint64_t n)
{
	struct slot_client *c = r->client;

	if (c == NULL || c->over)
		return -SLOT_ECLOSED;
	if (rpc_write_client_credit(c->scratch, (int64_t)r->id, (int64_t)n) != 0 ||
	    link_send(&c->link, c->scratch, NULL, 0) != 0) {
		evbuffer_drain(c->scratch, evbuffer_get_length(c->scratch));
		return -SLOT_ENOMEM;
	}
	return 0;
}

/* ---- the end ---- */

void
client_fail_all(struct slot_client *c, int code)
{
	struct table open = c->requests;

	c->requests = (struct table){ 0 };
	for (size_t i = 0; i < open.cap; i++) {
		struct client_request *r = open.entries[i].value;

		if (open.entries[i].key == 0)
			continue;
		r->client = NULL;
		if (c->freed && r->ops->orphaned != NULL)
			r->ops->orphaned(r);
		else
			r->ops->error(r, code, NULL);
	}
	table_fini(&open);
	client_jobs_fail(c, code, NULL);
}

static void
release(struct slot_client *c)
{
	link_fini(&c->link);
	table_fini(&c->requests);
	table_fini(&c->jobs);
	if (c->scratch != NULL)
		evbuffer_free(c->scratch);
	json_decref(c->hello);
	free(c);
}

static void
on_idle(void *arg)
{
	struct slot_client *c = arg;

	if (c->freed)
		release(c);
}

static void
on_down(void *arg, int code, const char *why)
{
	struct slot_client *c = arg;

	if (c->over)
		return;
	c->over = true;
	link_close(&c->link);
	client_fail_all(c, code);
	if (!c->freed && c->options.on_disconnect != NULL)
		c->options.on_disconnect(c, code, why, c->options.arg);
}

static void
on_room(void *arg)
{
	struct slot_client *c = arg;

	if (!c->over && c->options.on_writable != NULL)
		c->options.on_writable(c, c->options.arg);
}

/* ---- lines in ---- */

static struct client_request *
request_of(struct slot_client *c, const json_t *id)
{
	if (!json_is_integer(id))
		return NULL;
	return table_get(&c->requests, (uint64_t)json_integer_value(id));
}

static void
take_notification(struct slot_client *c, struct rpc_reply *reply)
{
	struct client_request *r = request_of(c, json_object_get(reply->params, "stream"));

	if (r != NULL && r->ops->notice != NULL)
		r->ops->notice(r, reply->method, reply->params);
}

static void
take_answer(struct slot_client *c, struct rpc_reply *reply)
{
	struct client_request *r = request_of(c, reply->id);

	if (r == NULL) {
		/* Without an id nobody knows which request will never be answered. */
		if (reply->kind == RPC_REPLY_ERROR && reply->id == NULL)
			on_down(c, -SLOT_EPROTOCOL, reply->message);
		else
			on_down(c, -SLOT_EPROTOCOL, "the daemon answered what was not asked");
		return;
	}
	table_remove(&c->requests, r->id);
	r->client = NULL;
	if (reply->kind == RPC_REPLY_RESULT) {
		r->ops->result(r, reply->result);
		return;
	}
	const struct slot_rpc_error error = { .code = reply->code, .kind = reply->error_kind,
		.message = reply->message, .data = reply->data };

	r->ops->error(r, -SLOT_EREMOTE, &error);
}

static void
on_line(void *arg, const char *line, size_t len)
{
	struct slot_client *c = arg;
	struct rpc_reply reply;
	const char *why = NULL;

	if (rpc_reply_parse(&reply, line, len, &why) != 0) {
		rpc_reply_fini(&reply);
		on_down(c, -SLOT_EPROTOCOL, why != NULL ? why : "the daemon sent no JSON-RPC");
		return;
	}
	if (reply.kind == RPC_REPLY_NOTIFICATION)
		take_notification(c, &reply);
	else
		take_answer(c, &reply);
	rpc_reply_fini(&reply);
}

static const struct link_handlers link_handlers = {
	.line = on_line,
	.down = on_down,
	.room = on_room,
	.idle = on_idle,
};

/* ---- life ---- */

static void
on_ready(struct slot_future *f, void *arg)
{
	struct slot_client *c = arg;
	void *hello = NULL;

	if (slot_future_result(f, &hello) != 0)
		return;
	c->hello = json_incref(hello);
	uint64_t seq = (uint64_t)json_integer_value(json_object_get(c->hello, "seq"));

	if (seq > c->seq)
		c->seq = seq;
}

static int
say_hello(struct slot_client *c, const struct slot_client_options *options)
{
	const char *name = options->name != NULL ? options->name : "libslot/" PACKAGE_VERSION;
	json_t *params = json_pack("{s:[i], s:s, s:s*}", "protocol", 1, "client", name, "session",
	    options->session);
	int rc;

	if (params == NULL)
		return -SLOT_ENOMEM;
	c->ready = slot_client_call(c, "hello", params, &rc);
	if (c->ready == NULL)
		return rc;
	return slot_future_add_done_callback(c->ready, on_ready, c);
}

struct slot_client *
slot_client_new_fd(struct slot_loop *loop, int fd,
    const struct slot_client_options *options, int *error)
{
	const struct slot_client_options none = { 0 };

	if (options == NULL)
		options = &none;
	struct slot_client *c = slot_loop_base(loop) != NULL ? calloc(1, sizeof(*c)) : NULL;

	if (c == NULL) {
		close(fd);
		give(error, slot_loop_base(loop) == NULL ? -SLOT_EINVAL : -SLOT_ENOMEM);
		return NULL;
	}
	c->loop = loop;
	c->options = *options;
	c->options.name = c->options.session = NULL;
	size_t limit = options->out_limit != 0 ? options->out_limit : SLOT_CLIENT_OUT_LIMIT;
	int rc = link_init(&c->link, loop, fd, limit, &link_handlers, c);

	c->scratch = evbuffer_new();
	if (rc == 0)
		rc = c->scratch != NULL ? say_hello(c, options) : -SLOT_ENOMEM;
	if (rc != 0) {
		slot_client_free(c);
		give(error, rc);
		return NULL;
	}
	return c;
}

struct slot_client *
slot_client_connect(struct slot_loop *loop, const char *path,
    const struct slot_client_options *options, int *error)
{
	int fd = link_connect(path);

	if (fd < 0) {
		give(error, -SLOT_ECONNECT);
		return NULL;
	}
	/* Before the first byte: what follows may be an environment full of secrets. */
	if (slot_paths_is_user_socket(path) && !link_peer_is_ours(fd)) {
		close(fd);
		errno = EPERM;
		give(error, -SLOT_ECONNECT);
		return NULL;
	}
	return slot_client_new_fd(loop, fd, options, error);
}

void
slot_client_free(struct slot_client *c)
{
	if (c == NULL || c->freed)
		return;
	c->freed = true;
	c->over = true;
	link_close(&c->link);
	client_fail_all(c, -SLOT_ECLOSED);
	if (c->ready != NULL) {
		slot_future_remove_done_callback(c->ready, on_ready, c);
		slot_future_unref(c->ready);
		c->ready = NULL;
	}
	if (!c->link.busy)
		release(c);
}

/* ---- what is known ---- */

bool
slot_client_connected(const struct slot_client *c)
{
	return !c->over;
}

struct slot_future *
slot_client_ready(struct slot_client *c)
{
	return slot_future_ref(c->ready);
}

const json_t *
slot_client_hello(const struct slot_client *c)
{
	return c->hello;
}

uint64_t
slot_client_seq(const struct slot_client *c)
{
	return c->seq;
}

struct slot_loop *
slot_client_loop(const struct slot_client *c)
{
	return c->loop;
}

bool
slot_client_writable(const struct slot_client *c)
{
	return !c->over && !link_is_half_full(&c->link);
}

char *
slot_client_default_socket(enum slot_client_scope scope, const char **why)
{
	char path[SLOT_PATHS_MAX];
	int rc = slot_paths_socket(scope == SLOT_CLIENT_SYSTEM ? SLOT_PATHS_SYSTEM
							       : SLOT_PATHS_USER,
	    path, sizeof(path));

	if (rc == 0) {
		char *copy = strdup(path);

		if (copy == NULL)
			*why = "out of memory";
		return copy;
	}
	*why = rc == -ENAMETOOLONG ? "its path is too long"
				   : "its directory belongs to somebody else, or others may "
				     "write to it";
	return NULL;
}
