/*
 * The connection: its life, and the way from a line to the request that it answers. The way out
 * is request.c's, the way back after a loss reconnect.c's; what a request means is in call.c,
 * job.c and stream.c.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "core/paths.h"
#include "wire/rpc.h"

#define HELLO_ID 1  /* it is the first request */
#define WHY_MAX 160 /* bytes of a daemon's reason that are told */

static int
give(int *error, int code)
{
	if (error != NULL)
		*error = code;
	return code;
}

/* ---- the end ---- */

static void
release(struct slot_client *c)
{
	struct client_own *own = c->own;

	client_reconnect_free(c->again);
	link_fini(&c->link);
	table_fini(&c->requests);
	table_fini(&c->jobs);
	if (c->scratch != NULL)
		evbuffer_free(c->scratch);
	json_decref(c->hello);
	free(c);
	client_own_release(own);
}

static void
release_if_let_go(struct slot_client *c)
{
	if (c->freed && c->holds == 0 && !c->link.busy)
		release(c);
}

void
client_hold(struct slot_client *c)
{
	c->holds++;
}

void
client_release(struct slot_client *c)
{
	c->holds--;
	release_if_let_go(c);
}

static void
on_idle(void *arg)
{
	release_if_let_go(arg);
}

void
client_end(struct slot_client *c, int code, const char *why)
{
	if (c->over)
		return;
	client_hold(c);
	c->over = true;
	link_close(&c->link);
	client_reconnect_stop(c->again);
	client_fail_all(c, code);
	if (!c->freed && c->options.on_disconnect != NULL)
		c->options.on_disconnect(c, code, why, c->options.arg);
	client_release(c);
}

static void
on_down(void *arg, int code, const char *why)
{
	struct slot_client *c = arg;

	if (c->over)
		return;
	link_close(&c->link);
	if (code != -SLOT_ECLOSED || !client_reconnect_begin(c, why))
		client_end(c, code, why);
}

static void
on_room(void *arg)
{
	struct slot_client *c = arg;

	for (size_t i = 0; i < c->requests.cap; i++) {
		struct client_request *r = c->requests.entries[i].value;

		if (r != NULL && r->ops->room != NULL)
			r->ops->room(r);
	}
	if (!c->over && !client_is_away(c) && c->options.on_writable != NULL)
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

	if (r == NULL || r->ops->notice == NULL)
		return;
	r->noticed = true;
	r->ops->notice(r, reply->method, reply->params);
}

/* The daemon ends, and said so instead of an answer: to the request that is as the loss of the
 * connection, which follows. */
static bool
is_leaving(const struct slot_client *c, const struct client_request *r,
    const struct rpc_reply *reply)
{
	return reply->kind == RPC_REPLY_ERROR && strcmp(reply->error_kind, "ShuttingDown") == 0 &&
	    r->kept != NULL && c->hello != NULL && client_keeps(c);
}

static void
ask_the_next(struct slot_client *c, struct client_request *r)
{
	int rc = client_resume_check(r, false);

	r->position = CLIENT_NOT_SENT;
	if (rc == 0)
		return;
	client_close(c, r);
	r->ops->error(r, rc, NULL);
}

uint64_t
client_seq_of(const json_t *object)
{
	json_int_t seq = json_integer_value(json_object_get(object, "seq"));

	return seq > 0 ? (uint64_t)seq : 0;
}

bool
client_is_hello(const json_t *answer)
{
	return json_integer_value(json_object_get(answer, "protocol")) == 1 &&
	    json_is_string(json_object_get(answer, "instance"));
}

/* At once, and not when the callbacks of `ready` run: the next line may be the last. */
static bool
keep_hello(struct slot_client *c, json_t *hello)
{
	if (!client_is_hello(hello)) {
		on_down(c, -SLOT_EPROTOCOL, CLIENT_NO_HELLO);
		return false;
	}
	c->hello = json_incref(hello);
	c->seq = client_seq_of(hello);
	return true;
}

/* An answer to nothing that is open. */
static void
refuse_answer(struct slot_client *c, const struct rpc_reply *reply)
{
	char why[WHY_MAX];

	if (reply->kind != RPC_REPLY_ERROR || reply->id != NULL) {
		on_down(c, -SLOT_EPROTOCOL, "the daemon answered what was not asked");
		return;
	}
	snprintf(why, sizeof(why), "%s", reply->message);
	for (char *p = why; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' '; /* one line it is */
	}
	/* A connection too many is closed; there may be room for it later. Otherwise nobody knows
	 * which request will never be answered. */
	on_down(c, strcmp(reply->error_kind, "LimitExceeded") == 0 ? -SLOT_ECLOSED
		: -SLOT_EPROTOCOL, why);
}

static void
take_answer(struct slot_client *c, struct rpc_reply *reply)
{
	struct client_request *r = request_of(c, reply->id);

	if (r == NULL) {
		refuse_answer(c, reply);
		return;
	}
	if (is_leaving(c, r, reply)) {
		ask_the_next(c, r);
		return;
	}
	/* Nobody used a key that was ours before. */
	if (reply->kind == RPC_REPLY_RESULT && r->kept != NULL && r->kept->own_key)
		json_object_set_new(reply->result, "existing", json_false());
	if (reply->kind == RPC_REPLY_RESULT && r->id == HELLO_ID && !keep_hello(c, reply->result))
		return;
	client_close(c, r);
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

	int rc = rpc_reply_parse(&reply, line, len, &why);

	if (rc != 0) {
		rpc_reply_fini(&reply);
		/* Without memory for a line all that can be done is to lose it and the rest. */
		on_down(c, rc == -ENOMEM ? -SLOT_ECLOSED : -SLOT_EPROTOCOL, why);
		return;
	}
	client_reconnect_hear(c);
	if (reply.kind == RPC_REPLY_NOTIFICATION)
		take_notification(c, &reply);
	else
		take_answer(c, &reply);
	rpc_reply_fini(&reply);
}

const struct link_handlers client_link_handlers = {
	.line = on_line,
	.down = on_down,
	.room = on_room,
	.idle = on_idle,
};

/* ---- life ---- */

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
	return c->ready != NULL ? 0 : rc;
}

/* `loop` NULL: one of its own. `path` NULL: a lost connection can't be made anew. */
static struct slot_client *
client_new(struct slot_loop *loop, int fd, const char *path,
    const struct slot_client_options *options, int *error)
{
	const struct slot_client_options none = { 0 };

	if (options == NULL)
		options = &none;
	bool wrong = (loop != NULL && slot_loop_base(loop) == NULL) ||
	    options->with_output > CLIENT_WITH_OUTPUT_MAX;
	struct client_own *own = loop == NULL ? client_own_new(&loop) : client_own_of(loop);
	struct slot_client *c = loop != NULL && !wrong ? calloc(1, sizeof(*c)) : NULL;

	if (c == NULL) {
		close(fd);
		client_own_release(own);
		give(error, wrong ? -SLOT_EINVAL : -SLOT_ENOMEM);
		return NULL;
	}
	c->loop = loop;
	c->own = own;
	c->options = *options;
	c->options.name = c->options.session = NULL;
	size_t limit = options->out_limit != 0 ? options->out_limit : SLOT_CLIENT_OUT_LIMIT;
	int rc = link_init(&c->link, loop, fd, limit, &client_link_handlers, c);

	c->scratch = evbuffer_new();
	if (rc == 0 && options->reconnect && path != NULL) {
		c->again = client_reconnect_new(c, path, options);
		rc = c->again != NULL ? 0 : -SLOT_ENOMEM;
	}
	if (rc == 0)
		rc = c->scratch != NULL ? say_hello(c, options) : -SLOT_ENOMEM;
	give(error, rc);
	if (rc == 0)
		return c;
	slot_client_free(c);
	return NULL;
}

struct slot_client *
slot_client_new_fd(struct slot_loop *loop, int fd,
    const struct slot_client_options *options, int *error)
{
	int type = 0;
	socklen_t len = sizeof(type);

	/* What is no socket could be waited on, or read, in no way that ends. */
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM) {
		if (fd >= 0)
			close(fd);
		give(error, -SLOT_EINVAL);
		return NULL;
	}
	/* A program started meanwhile would keep the session, and its bound jobs, alive. */
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return client_new(loop, fd, NULL, options, error);
}

struct slot_client *
slot_client_connect(struct slot_loop *loop, const char *path,
    const struct slot_client_options *options, int *error)
{
	char usual[SLOT_PATHS_MAX];
	int rc = path == NULL ? slot_paths_socket(SLOT_PATHS_USER, usual, sizeof(usual)) : 0;

	if (path == NULL)
		path = usual;
	if (rc != 0)
		errno = -rc;
	int fd = rc == 0 ? link_connect(path) : -1;

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
	return client_new(loop, fd, path, options, error);
}

void
slot_client_free(struct slot_client *c)
{
	if (c == NULL || c->freed)
		return;
	client_hold(c);
	c->freed = true;
	c->over = true;
	link_close(&c->link);
	client_reconnect_stop(c->again);
	client_fail_all(c, -SLOT_ECLOSED);
	slot_future_unref(c->ready);
	c->ready = NULL;
	client_release(c);
}

/* ---- what is known ---- */

bool
slot_client_connected(const struct slot_client *c)
{
	return !c->over;
}

enum slot_client_state
slot_client_state(const struct slot_client *c)
{
	if (c->over)
		return SLOT_CLIENT_OVER;
	return client_is_away(c) ? SLOT_CLIENT_RECONNECTING : SLOT_CLIENT_OPEN;
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
	return !c->over && !client_is_away(c) && !link_is_full(&c->link);
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

		if (copy == NULL && why != NULL)
			*why = "out of memory";
		return copy;
	}
	if (why == NULL)
		return NULL;
	*why = rc == -ENAMETOOLONG ? "its path is too long"
				   : "its directory belongs to somebody else, or others may "
				     "write to it";
	return NULL;
}
