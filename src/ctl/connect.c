/* The connection of one invocation: made, made anew, taken down. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "ctl/ctl.h"

/* So long a daemon keeps the jobs of a connection that it lost by its own restart. */
#define RECONNECT_MS 15000
/* Attempts to reach a daemon that is gone: after 10 ms, 20 ms, 40 ms … */
#define RECONNECT_START_ATTEMPT 6 /* after 630 ms */
#define RECONNECT_SAY_ATTEMPT 8   /* after 2,270 ms */
/* One that left before it had said a word: tried anew after 20 ms, 40 ms … 640 ms. */
#define FOLLOW_FIRST_MS 20
#define FOLLOW_TRIES 6

int
ctl_loop(struct ctl *ctl)
{
	if (ctl->loop != NULL)
		return 0;
	ctl->base = event_base_new();
	ctl->loop = ctl->base != NULL ? slot_loop_new(ctl->base) : NULL;
	return ctl->loop != NULL ? 0 : ctl_error("out of memory");
}

void
ctl_close(struct ctl *ctl)
{
	ctl->quitting = true;
	slot_client_free(ctl->client);
	ctl->client = NULL;
	if (ctl->loop != NULL) {
		/* What the end of the client still calls. */
		event_base_loop(ctl->base, EVLOOP_NONBLOCK);
		slot_loop_free(ctl->loop);
	}
	ctl->loop = NULL;
	if (ctl->base != NULL)
		event_base_free(ctl->base);
	ctl->base = NULL;
	free(ctl->path);
	ctl->path = NULL;
}

/* ---- connecting ---- */

static void
on_disconnect(struct slot_client *client, int code, const char *why, void *arg)
{
	struct ctl *ctl = arg;

	(void)client;
	ctl->disconnected = code;
	snprintf(ctl->disconnect_why, sizeof(ctl->disconnect_why), "%s", why);
	if (ctl->on_disconnect != NULL && !ctl->quitting)
		ctl->on_disconnect(ctl, ctl->handler_arg);
}

static void
on_writable(struct slot_client *client, void *arg)
{
	struct ctl *ctl = arg;

	(void)client;
	if (ctl->on_writable != NULL && !ctl->quitting)
		ctl->on_writable(ctl, ctl->handler_arg);
}

/* The daemon was restarted, or is gone. */
static void
on_state(struct slot_client *client, enum slot_client_state state, int code, const char *why,
    void *arg)
{
	struct ctl *ctl = arg;

	(void)client;
	(void)why;
	ctl->away = state == SLOT_CLIENT_RECONNECTING;
	if (ctl->away)
		ctl->may_start_again = ctl->may_start;
	else if (ctl->said_away && code == 0)
		ctl_note("the daemon is there again");
	if (!ctl->away)
		ctl->said_away = false;
	if (ctl->on_state != NULL && !ctl->quitting)
		ctl->on_state(ctl, ctl->handler_arg);
}

/* A restart takes a moment. After that the daemon is missed, and where we may start one, we do. */
static void
on_absent(struct slot_client *client, unsigned attempt, void *arg)
{
	struct ctl *ctl = arg;

	(void)client;
	if (attempt >= RECONNECT_START_ATTEMPT && ctl->may_start_again) {
		ctl->may_start_again = false;
		ctl_autostart(ctl->path);
	} else if (attempt == RECONNECT_SAY_ATTEMPT) {
		ctl->said_away = true;
		ctl_note("the daemon is gone; waiting for it to come back");
	}
}

/* 0, or a negative code with errno. */
static int
try_connect(struct ctl *ctl)
{
	const struct slot_client_options options = { .name = "slotctl/" PACKAGE_VERSION,
		.on_disconnect = on_disconnect, .on_writable = on_writable, .arg = ctl,
		.with_output = ctl->with_output, .reconnect = true,
		.reconnect_ms = RECONNECT_MS, .on_state = on_state, .on_absent = on_absent };
	int rc = 0;

	ctl->client = slot_client_connect(ctl->loop, ctl->path, &options, &rc);
	return rc;
}

static bool
is_absent(int error)
{
	return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR;
}

static int
no_daemon(const struct ctl *ctl, int error, bool may_start)
{
	if (is_absent(error) && may_start && ctl->no_start)
		return ctl_error("no daemon at %s, and none is to be started (--no-start)",
		    ctl->path);
	if (is_absent(error))
		return ctl_error("no daemon at %s: start slotd first", ctl->path);
	if (error == EPERM)
		return ctl_error("%s: another user listens there; it was told nothing",
		    ctl->path);
	return ctl_error("can't connect to %s: %s", ctl->path, strerror(error));
}

static int
find_socket(struct ctl *ctl)
{
	const char *why = "";

	free(ctl->path);
	if (ctl->socket != NULL)
		ctl->path = strdup(ctl->socket);
	else
		ctl->path = slot_client_default_socket(ctl->system ? SLOT_CLIENT_SYSTEM
								   : SLOT_CLIENT_USER,
		    &why);
	return ctl->path != NULL ? 0 : ctl_error("there is no place for the socket: %s", why);
}

static bool
is_leaving(const struct slot_future *ready, int code)
{
	const struct slot_rpc_error *error = slot_rpc_error(ready);

	return code == -SLOT_ECLOSED ||
	    (error != NULL && strcmp(error->kind, "ShuttingDown") == 0);
}

/* Waits for the answer to hello. 0, or CTL_EXIT_FAILURE, printed. Where `left` is not NULL, a
 * daemon that left without a word is no error: *left says so, and nothing is printed. */
static int
say_hello(struct ctl *ctl, bool *left)
{
	struct slot_future *ready = slot_client_ready(ctl->client);
	int rc = ctl_run_until(ctl, ready, -1);

	if (rc != 0)
		ctl_error("%s", slot_strerror(rc));
	else if (slot_future_exception(ready, &rc, NULL) == 0 && rc != 0 && left != NULL &&
	    is_leaving(ready, rc))
		*left = true;
	else if (rc != 0)
		ctl_failure(ctl, ready);
	slot_future_unref(ready);
	return rc == 0 ? 0 : CTL_EXIT_FAILURE;
}

/* Connects, and starts a daemon first where there is none and `may_start` says so. */
static int
reach(struct ctl *ctl, bool own, bool may_start)
{
	int rc = try_connect(ctl);

	if (rc == -SLOT_ECONNECT && is_absent(errno) && may_start) {
		if (ctl_autostart(ctl->path) != 0)
			return CTL_EXIT_FAILURE;
		ctl->started = true;
		/* Its place may be another one now, or no longer ours. */
		if (find_socket(ctl) != 0)
			return CTL_EXIT_FAILURE;
		rc = try_connect(ctl);
	}
	if (rc == -SLOT_ECONNECT)
		return no_daemon(ctl, errno, own);
	return rc == 0 ? 0 : ctl_error("%s", slot_strerror(rc));
}

/* It was just leaving, idle or restarted: nothing was asked of it, so the next one can be asked,
 * which may take a moment to be there. */
static int
follow(struct ctl *ctl, bool own, bool may_start)
{
	int rc = -SLOT_ECONNECT, pause = FOLLOW_FIRST_MS;

	for (int i = 0; i < FOLLOW_TRIES; i++, pause *= 2) {
		bool left = false;

		slot_client_free(ctl->client);
		ctl->client = NULL;
		ctl->disconnected = 0;
		ctl->disconnect_why[0] = '\0';
		rc = try_connect(ctl);
		if (rc == 0) {
			rc = say_hello(ctl, i + 1 < FOLLOW_TRIES ? &left : NULL);
			if (!left)
				return rc;
		} else if (may_start || rc != -SLOT_ECONNECT || !is_absent(errno)) {
			break;
		}
		poll(NULL, 0, pause);
	}
	rc = reach(ctl, own, may_start);
	return rc == 0 ? say_hello(ctl, NULL) : rc;
}

int
ctl_connect(struct ctl *ctl)
{
	const char *named = getenv("SLOTD_SOCKET");
	bool own = ctl->socket == NULL && !ctl->system && (named == NULL || named[0] == '\0');
	bool may_start = own && !ctl->no_start, left = false;

	if (ctl->client != NULL)
		return 0;
	if (ctl_loop(ctl) != 0 || find_socket(ctl) != 0)
		return CTL_EXIT_FAILURE;
	ctl->may_start = may_start;
	int rc = reach(ctl, own, may_start);

	if (rc == 0)
		rc = say_hello(ctl, &left);
	return left ? follow(ctl, own, may_start) : rc;
}

bool
ctl_has_feature(const struct ctl *ctl, const char *name)
{
	json_t *features = json_object_get(slot_client_hello(ctl->client), "features"), *feature;
	size_t i;

	json_array_foreach(features, i, feature)
	{
		if (json_is_string(feature) && strcmp(json_string_value(feature), name) == 0)
			return true;
	}
	return false;
}
