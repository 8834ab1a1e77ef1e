/*
 * A lost connection made anew.
 *
 *	open --lost--> waiting --connected--> greeting --hello answered--> open
 *	                ^   |                    |
 *	                |   +-- time is up --> over
 *	                +------ lost again ------+
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "core/paths.h"

#define PAUSE_FIRST_MS 10
#define PAUSE_MAX_MS 1000
#define STEADY_MS 1000 /* a connection that lasted so long was one */

enum reconnect_state {
	RECONNECT_OPEN,
	RECONNECT_WAITING,
	RECONNECT_GREETING,
};

struct client_reconnect {
	struct slot_client *client;
	struct slot_timer timer;
	struct client_request hello;
	enum reconnect_state state;
	char *path, *name;
	int64_t patience_ms;
	int64_t deadline_us;
	int64_t pause_ms;
	int64_t opened_us; /* it was made anew; 0: it is the first */
	bool heard;        /* more than the answer to hello, since */
	unsigned attempts;
	size_t held;   /* bytes of the requests made meanwhile */
	char why[160]; /* the connection was lost */
};

static void on_timer(struct slot_timer *timer);

struct client_reconnect *
client_reconnect_new(struct slot_client *c, const char *path,
    const struct slot_client_options *options)
{
	struct client_reconnect *again = calloc(1, sizeof(*again));

	if (again == NULL)
		return NULL;
	again->client = c;
	again->timer.fire = on_timer;
	again->path = strdup(path);
	again->name = strdup(options->name != NULL ? options->name : "libslot/" PACKAGE_VERSION);
	again->patience_ms = options->reconnect_ms > 0 ? options->reconnect_ms
						       : SLOT_CLIENT_RECONNECT_MS;
	if (again->path != NULL && again->name != NULL)
		return again;
	client_reconnect_free(again);
	return NULL;
}

void
client_reconnect_free(struct client_reconnect *again)
{
	if (again == NULL)
		return;
	slot_loop_timer_clear(again->client->loop, &again->timer);
	free(again->path);
	free(again->name);
	free(again);
}

void
client_reconnect_stop(struct client_reconnect *again)
{
	if (again != NULL)
		slot_loop_timer_clear(again->client->loop, &again->timer);
}

bool
client_is_away(const struct slot_client *c)
{
	return c->again != NULL && c->again->state != RECONNECT_OPEN;
}

/* A daemon that keeps its jobs in memory has none left when it is started again. */
static bool
is_durable(const json_t *hello)
{
	const json_t *features = json_object_get(hello, "features");

	for (size_t i = 0; i < json_array_size(features); i++) {
		const char *name = json_string_value(json_array_get(features, i));

		if (name != NULL && strcmp(name, "durable") == 0)
			return true;
	}
	return false;
}

void
client_reconnect_hear(struct slot_client *c)
{
	if (c->again != NULL && c->again->state == RECONNECT_OPEN)
		c->again->heard = true;
}

bool
client_keeps(const struct slot_client *c)
{
	return c->again != NULL && (c->hello == NULL || is_durable(c->hello));
}

bool
client_reconnect_holds(struct slot_client *c, size_t bytes)
{
	if (c->again->held > 0 && c->again->held + bytes > c->link.limit)
		return false;
	c->again->held += bytes;
	return true;
}

/* ---- all that is open ---- */

static int
by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The ids of the open requests in their order; callbacks may change the table meanwhile. NULL:
 * out of memory. */
static uint64_t *
open_ids(const struct slot_client *c, size_t *n)
{
	uint64_t *ids = malloc((c->requests.count + 1) * sizeof(*ids));

	*n = 0;
	for (size_t i = 0; ids != NULL && i < c->requests.cap; i++) {
		if (c->requests.entries[i].key != 0)
			ids[(*n)++] = c->requests.entries[i].key;
	}
	if (ids != NULL)
		qsort(ids, *n, sizeof(*ids), by_id);
	return ids;
}

static void
fail_one(struct slot_client *c, struct client_request *r, int code)
{
	client_close(c, r);
	r->ops->error(r, code, NULL);
}

/* What can't go on fails; what can waits. */
static int
suspend_all(struct slot_client *c)
{
	size_t n;
	uint64_t *ids = open_ids(c, &n);

	if (ids == NULL)
		return -SLOT_ENOMEM;
	for (size_t i = 0; i < n && !c->over; i++) {
		struct client_request *r = table_get(&c->requests, ids[i]);

		if (r == NULL)
			continue;
		/* What never left may be sent whatever it is. */
		bool sent = r->position != CLIENT_NOT_SENT && r->position < c->link.out_position;
		int rc = client_resume_check(r, sent);

		r->position = CLIENT_NOT_SENT;
		if (rc != 0)
			fail_one(c, r, rc);
	}
	free(ids);
	return 0;
}

/* 0: it was sent. Else as ops->resume. */
static int
send_again(struct client_request *r, json_t **result)
{
	int rc = client_resume_prepare(r, result);

	return rc == 0 ? client_send_again(r) : rc;
}

/* Its owner hears what became of it. */
static void
tell_owner(struct slot_client *c, struct client_request *r, int rc, json_t *result)
{
	if (rc < 0) {
		fail_one(c, r, rc);
	} else if (rc > 0) {
		client_close(c, r);
		r->ops->result(r, result);
	} else if (r->ops->resumed != NULL) {
		r->ops->resumed(r);
	}
}

/* All are sent before anybody is told: what callbacks ask for comes behind what was asked before,
 * a job behind the subscription that will tell how it ends. */
static int
resume_all(struct slot_client *c)
{
	size_t n;
	uint64_t *ids = open_ids(c, &n);
	struct {
		int rc;
		json_t *result;
	} *became = calloc(n + 1, sizeof(*became));
	int rc = ids != NULL && became != NULL ? 0 : -SLOT_ENOMEM;

	for (size_t i = 0; rc == 0 && i < n; i++)
		became[i].rc = send_again(table_get(&c->requests, ids[i]), &became[i].result);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct client_request *r = c->over ? NULL : table_get(&c->requests, ids[i]);

		if (r != NULL)
			tell_owner(c, r, became[i].rc, became[i].result);
		json_decref(became[i].result);
	}
	free(became);
	free(ids);
	return rc;
}

/* ---- trying ---- */

static void
wait_for(struct client_reconnect *again, int64_t due_us)
{
	if (slot_loop_timer_set(again->client->loop, &again->timer, due_us) != 0)
		client_end(again->client, -SLOT_ENOMEM, "out of memory");
}

static void
try_later(struct client_reconnect *again)
{
	struct slot_client *c = again->client;
	int64_t due = slot_loop_in_ms(c->loop, again->pause_ms);

	link_close(&c->link);
	again->state = RECONNECT_WAITING;
	again->pause_ms = again->pause_ms * 2 < PAUSE_MAX_MS ? again->pause_ms * 2 : PAUSE_MAX_MS;
	wait_for(again, due < again->deadline_us ? due : again->deadline_us);
}

static void
give_up(struct client_reconnect *again)
{
	char why[256];

	snprintf(why, sizeof(why), "%s, and did not come back within %lld s", again->why,
	    (long long)(again->patience_ms + 999) / 1000);
	client_end(again->client, -SLOT_ECLOSED, why);
}

static void
tell(struct slot_client *c, enum slot_client_state state, int code, const char *why)
{
	if (!c->over && c->options.on_state != NULL)
		c->options.on_state(c, state, code, why, c->options.arg);
}

/* The daemon is there again. */
static void
go_on(struct client_reconnect *again, json_t *hello)
{
	struct slot_client *c = again->client;
	const json_t *was = json_object_get(c->hello, "instance");
	bool same = json_equal(was, json_object_get(hello, "instance"));

	client_hold(c);
	slot_loop_timer_clear(c->loop, &again->timer);
	json_decref(c->hello);
	c->hello = json_incref(hello);
	again->state = RECONNECT_OPEN;
	again->opened_us = slot_loop_now_us(c->loop);
	again->heard = false;
	again->held = 0;
	if (!same) {
		c->seq = client_seq_of(hello);
		client_fail_all(c, -SLOT_EINSTANCE);
	} else if (resume_all(c) != 0) {
		client_end(c, -SLOT_ENOMEM, "out of memory");
	}
	if (!client_is_away(c))
		tell(c, SLOT_CLIENT_OPEN, same ? 0 : -SLOT_EINSTANCE, same ? "connected again"
			: "connected again, to a daemon that knows nothing of what came before");
	if (!c->over && slot_client_writable(c) && c->options.on_writable != NULL)
		c->options.on_writable(c, c->options.arg);
	client_release(c);
}

static struct client_reconnect *
again_of(struct client_request *r)
{
	return (struct client_reconnect *)((char *)r - offsetof(struct client_reconnect, hello));
}

static void
hello_result(struct client_request *r, json_t *result)
{
	struct client_reconnect *again = again_of(r);

	if (client_is_hello(result))
		go_on(again, result);
	else
		client_end(again->client, -SLOT_EPROTOCOL, CLIENT_NO_HELLO);
}

/* It is leaving, too, or it is the end of us. */
static void
hello_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	struct client_reconnect *again = again_of(r);

	(void)error;
	if (code == -SLOT_EREMOTE && again->state == RECONNECT_GREETING)
		try_later(again);
}

static const struct client_request_ops hello_ops = {
	.result = hello_result,
	.error = hello_error,
};

static void
greet(struct client_reconnect *again)
{
	struct slot_client *c = again->client;
	json_t *params = json_pack("{s:[i], s:s, s:O*}", "protocol", 1, "client", again->name,
	    "session", json_object_get(c->hello, "session"));
	int rc = params != NULL ? 0 : -SLOT_ENOMEM;

	if (rc == 0)
		rc = client_open_now(c, &again->hello, &hello_ops, "hello", params);
	json_decref(params);
	if (rc != 0) {
		client_end(c, rc, slot_strerror(rc));
		return;
	}
	/* Somebody listens (a service manager, perhaps) and takes the time that a daemon needs to
	 * start: it is waited for as any answer is. */
	again->state = RECONNECT_GREETING;
	slot_loop_timer_clear(c->loop, &again->timer);
}

static int
reach(const struct client_reconnect *again)
{
	int fd = link_connect_now(again->path);

	if (fd >= 0 && slot_paths_is_user_socket(again->path) && !link_peer_is_ours(fd)) {
		close(fd); /* it was told nothing */
		errno = EPERM;
		return -1;
	}
	return fd;
}

static void
try_now(struct client_reconnect *again)
{
	struct slot_client *c = again->client;
	int fd = reach(again);

	if (fd < 0) {
		bool absent = errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR;

		if (absent && again->attempts++ > 0 && c->options.on_absent != NULL)
			c->options.on_absent(c, again->attempts, c->options.arg);
		if (!c->over)
			try_later(again);
		return;
	}
	size_t limit = c->link.limit;

	link_fini(&c->link);
	if (link_init(&c->link, c->loop, fd, limit, &client_link_handlers, c) != 0)
		client_end(c, -SLOT_ENOMEM, "out of memory");
	else
		greet(again);
}

static void
on_timer(struct slot_timer *timer)
{
	struct client_reconnect *again = (struct client_reconnect *)((char *)timer -
	    offsetof(struct client_reconnect, timer));
	struct slot_client *c = again->client;

	client_hold(c);
	if (slot_loop_now_us(c->loop) >= again->deadline_us)
		give_up(again);
	else
		try_now(again);
	client_release(c);
}

bool
client_reconnect_begin(struct slot_client *c, const char *why)
{
	struct client_reconnect *again = c->again;

	if (again == NULL || c->hello == NULL || !is_durable(c->hello))
		return false;
	if (again->state == RECONNECT_GREETING) { /* lost again, before all was as it had been */
		client_close(c, &again->hello);
		try_later(again);
		return true;
	}
	/* Who only greets and hangs up isn't there: patience goes on where it was. */
	bool steady = again->opened_us == 0 || again->heard ||
	    slot_loop_now_us(c->loop) - again->opened_us >= STEADY_MS * INT64_C(1000);

	client_hold(c);
	snprintf(again->why, sizeof(again->why), "%s", why);
	if (steady) {
		again->deadline_us = slot_loop_in_ms(c->loop, again->patience_ms);
		again->pause_ms = PAUSE_FIRST_MS;
	}
	again->attempts = 0;
	again->held = 0;
	again->state = RECONNECT_WAITING;
	if (suspend_all(c) != 0)
		client_end(c, -SLOT_ENOMEM, "out of memory");
	if (!c->over)
		try_later(again);
	tell(c, SLOT_CLIENT_RECONNECTING, -SLOT_ECLOSED, why);
	client_release(c);
	return true;
}
