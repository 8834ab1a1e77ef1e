/*
 * What becomes of a request when the connection is lost: one table says which methods may be
 * asked a second time. What a stream has told already is stream.c's.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/client.h"

#define KEY_BYTES 16
#define KEY_PREFIX "auto-"

static const struct client_method methods[] = {
	{ "completions.subscribe", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_SEQ, NULL },
	{ "events.subscribe", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_EVENTS, NULL },
	{ "futures.as_completed", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_JOBS, "timeout_ms" },
	{ "futures.gather", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "futures.wait", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, "timeout_ms" },
	{ "job.cancel", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "job.get", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "job.list", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "job.result", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, "wait_ms" },
	{ "job.submit", CLIENT_RESUME_KEYED, CLIENT_CURSOR_NONE, NULL },
	{ "job.submit_batch", CLIENT_RESUME_KEYED, CLIENT_CURSOR_NONE, NULL },
	{ "limits.get", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "map.end", CLIENT_RESUME_STREAM, CLIENT_CURSOR_NONE, NULL },
	{ "map.push", CLIENT_RESUME_STREAM, CLIENT_CURSOR_NONE, NULL },
	{ "metrics.get", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "output.follow", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_OFFSET, NULL },
	{ "output.read", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "queue.list", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "rpc.discover", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
	{ "stats.get", CLIENT_RESUME_AGAIN, CLIENT_CURSOR_NONE, NULL },
};

/* All others: queue.set, limits.set, stdin.write, map.open, … and what we don't know. */
static const struct client_method other = { "", CLIENT_RESUME_NEVER, CLIENT_CURSOR_NONE, NULL };

static const struct client_method *
method_find(const char *name)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	}
	return &other;
}

/* ---- what is kept ---- */

/* False: no randomness or no memory; the submit then has no key. */
static bool
add_key(json_t *params)
{
	unsigned char bytes[KEY_BYTES];
	char key[sizeof(KEY_PREFIX) + 2 * KEY_BYTES] = KEY_PREFIX;

	if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != (ssize_t)sizeof(bytes))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(key + sizeof(KEY_PREFIX) - 1 + 2 * i, 3, "%02x", bytes[i]);
	return json_object_set_new(params, "key", json_string(key)) == 0;
}

static bool
copy_fds(struct client_kept *kept, const int *fds, unsigned nfds)
{
	for (; kept->nfds < nfds; kept->nfds++) {
		kept->fds[kept->nfds] = fcntl(fds[kept->nfds], F_DUPFD_CLOEXEC, 3);
		if (kept->fds[kept->nfds] < 0)
			return false;
	}
	return true;
}

struct client_kept *
client_kept_new(struct slot_client *c, const char *method, const json_t *params, const int *fds,
    unsigned nfds, bool auto_key)
{
	size_t name = (strlen(method) + sizeof(int)) / sizeof(int) * sizeof(int);
	struct client_kept *kept = calloc(1, sizeof(*kept) + sizeof(int) + name +
	    nfds * sizeof(int));

	if (kept == NULL)
		return NULL;
	strcpy(kept->name, method);
	kept->fds = (int *)((char *)kept + sizeof(*kept) + name);
	kept->method = method_find(method);
	kept->sent_us = slot_loop_now_us(c->loop);
	kept->params = params != NULL ? json_copy((json_t *)(uintptr_t)params) : json_object();
	if (kept->params == NULL || !copy_fds(kept, fds, nfds)) {
		client_kept_free(kept);
		return NULL;
	}
	if (auto_key && strcmp(method, "job.submit") == 0 &&
	    json_object_get(kept->params, "key") == NULL)
		kept->own_key = add_key(kept->params);
	return kept;
}

void
client_kept_free(struct client_kept *kept)
{
	if (kept == NULL)
		return;
	for (unsigned i = 0; i < kept->nfds; i++)
		close(kept->fds[i]);
	json_decref(kept->params);
	free(kept);
}

/* ---- what becomes of it ---- */

/* Of one job, or of every one of a batch. */
static bool
has_keys(const json_t *params)
{
	const json_t *jobs = json_object_get(params, "jobs");

	if (!json_is_array(jobs))
		return json_is_string(json_object_get(params, "key"));
	for (size_t i = 0; i < json_array_size(jobs); i++) {
		if (!json_is_string(json_object_get(json_array_get(jobs, i), "key")))
			return false;
	}
	return true;
}

int
client_resume_check(const struct client_request *r, bool sent)
{
	const struct client_kept *kept = r->kept;

	if (kept == NULL)
		return -SLOT_ECLOSED;
	switch (kept->method->resume) {
	case CLIENT_RESUME_AGAIN:
		return 0;
	case CLIENT_RESUME_KEYED:
		return !sent || has_keys(kept->params) ? 0 : -SLOT_EUNKNOWN;
	case CLIENT_RESUME_STREAM:
		return -SLOT_EUNKNOWN;
	case CLIENT_RESUME_NEVER:
		/* map.open that was heard of has jobs, though its end was refused. */
		return !sent && !r->noticed ? 0 : -SLOT_EUNKNOWN;
	}
	return -SLOT_EUNKNOWN;
}

/* What was waited already is not waited again. */
static int
shorten_patience(struct client_kept *kept, int64_t now_us)
{
	const char *name = kept->method->patience;
	const json_t *patience = name != NULL ? json_object_get(kept->params, name) : NULL;
	int64_t left = json_integer_value(patience) - (now_us - kept->sent_us) / 1000;

	if (!json_is_integer(patience) || json_integer_value(patience) == 0)
		return 0;
	kept->sent_us = now_us;
	return json_object_set_new(kept->params, name, json_integer(left > 1 ? left : 1));
}

int
client_resume_prepare(struct client_request *r, json_t **result)
{
	*result = NULL;
	if (shorten_patience(r->kept, slot_loop_now_us(r->client->loop)) != 0)
		return -SLOT_ENOMEM;
	return r->ops->resume != NULL ? r->ops->resume(r, result) : 0;
}
