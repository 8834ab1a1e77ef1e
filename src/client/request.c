/* Requests on their way out: written as lines, entered in the table, sent again after a
 * reconnect. */
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "client/client.h"
#include "wire/prescan.h"
#include "wire/rpc.h"

/* Beside params: the line's own brackets, names and values, and a key of ours. */
#define TOKENS_BESIDE 16u

/* Counts what the daemon would; false: deeper or more than it reads, or a name that can't be
 * written. It would answer such a line without an id, and nobody could tell whom that is for. What
 * contains itself ends here, too. */
static bool
count_tokens(const json_t *json, unsigned levels, size_t *tokens)
{
	/* The iterators of jansson want a pointer that is not const; they change nothing. */
	json_t *value = (json_t *)(uintptr_t)json, *member;
	const char *key;
	size_t len, i;

	if (++*tokens > PRESCAN_TOKENS_MAX - TOKENS_BESIDE)
		return false;
	if (!json_is_object(value) && !json_is_array(value))
		return true;
	if (levels == 0)
		return false;
	++*tokens;
	json_object_keylen_foreach(value, key, len, member) {
		++*tokens;
		if (memchr(key, '\0', len) != NULL || !count_tokens(member, levels - 1, tokens))
			return false;
	}
	json_array_foreach(value, i, member) {
		if (!count_tokens(member, levels - 1, tokens))
			return false;
	}
	return true;
}

static bool
is_readable(const json_t *params)
{
	size_t tokens = 0;

	return params == NULL ||
	    (json_is_object(params) && count_tokens(params, PRESCAN_DEPTH_MAX - 1, &tokens));
}

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

static void
drop_scratch(struct slot_client *c)
{
	evbuffer_drain(c->scratch, evbuffer_get_length(c->scratch));
}

/* Puts the line into the link and notes where. */
static int
send_line(struct slot_client *c, struct client_request *r, const int *fds, unsigned nfds)
{
	uint64_t position = c->link.out_position + evbuffer_get_length(c->link.out);
	int rc = link_send(&c->link, c->scratch, fds, nfds);

	if (rc == 0)
		r->position = position;
	return rc;
}

static bool
has_room(struct slot_client *c, size_t bytes)
{
	return client_is_away(c) ? client_reconnect_holds(c, bytes)
				 : link_has_room(&c->link, bytes);
}

int
client_open(struct slot_client *c, struct client_request *r,
    const struct client_request_ops *ops, const char *method, const json_t *params,
    const int *fds, unsigned nfds)
{
	if (c->over)
		return -SLOT_ECLOSED;
	if (nfds > SLOT_CLIENT_FDS_MAX || !is_readable(params))
		return -SLOT_EINVAL;
	*r = (struct client_request){ .ops = ops, .position = CLIENT_NOT_SENT };
	int rc = table_reserve(&c->requests);

	if (rc == 0 && client_keeps(c)) {
		r->kept = client_kept_new(c, method, params, fds, nfds, !c->options.no_auto_keys);
		rc = r->kept != NULL ? 0 : -SLOT_ENOMEM;
	}
	if (rc == 0)
		rc = write_call(c, c->last_id + 1, method,
		    r->kept != NULL ? r->kept->params : params);
	size_t size = evbuffer_get_length(c->scratch);

	if (rc == 0 && !ops->urgent && !has_room(c, size))
		rc = -SLOT_ENOMEM;
	if (rc == 0 && !client_is_away(c))
		rc = send_line(c, r, fds, nfds);
	drop_scratch(c);
	if (rc != 0) {
		client_kept_free(r->kept);
		r->kept = NULL;
		return rc;
	}
	if (r->kept != NULL)
		r->kept->sent = r->position != CLIENT_NOT_SENT;
	r->client = c;
	r->id = ++c->last_id;
	return table_put(&c->requests, r->id, r); /* can't fail: reserved */
}

int
client_open_now(struct slot_client *c, struct client_request *r,
    const struct client_request_ops *ops, const char *method, const json_t *params)
{
	*r = (struct client_request){ .ops = ops, .client = c, .id = c->last_id + 1 };
	int rc = table_reserve(&c->requests);

	if (rc == 0)
		rc = write_call(c, r->id, method, params);
	if (rc == 0)
		rc = send_line(c, r, NULL, 0);
	drop_scratch(c);
	if (rc != 0) {
		r->client = NULL;
		return rc;
	}
	c->last_id++;
	return table_put(&c->requests, r->id, r);
}

int
client_send_again(struct client_request *r)
{
	struct slot_client *c = r->client;
	struct client_kept *kept = r->kept;
	int rc = write_call(c, r->id, kept->name, kept->params);

	if (rc == 0)
		rc = send_line(c, r, kept->fds, kept->nfds);
	drop_scratch(c);
	kept->sent = true;
	if (rc == 0 && r->cancel_asked)
		client_cancel(r);
	return rc;
}

void
client_close(struct slot_client *c, struct client_request *r)
{
	table_remove(&c->requests, r->id);
	client_kept_free(r->kept);
	r->kept = NULL;
	r->client = NULL;
}

bool
client_cancel(struct client_request *r)
{
	struct slot_client *c = r->client;

	r->cancel_asked = true;
	if (c == NULL || c->over || r->position == CLIENT_NOT_SENT)
		return true; /* told when it is sent */
	if (rpc_write_cancel(c->scratch, (int64_t)r->id) != 0 ||
	    link_send(&c->link, c->scratch, NULL, 0) != 0) {
		drop_scratch(c);
		r->cancel_asked = false;
	}
	return r->cancel_asked;
}

int
client_credit(struct client_request *r, uint64_t n)
{
	struct slot_client *c = r->client;

	if (c == NULL || c->over)
		return -SLOT_ECLOSED;
	if (r->position == CLIENT_NOT_SENT)
		return 0; /* it will begin with all of its window */
	if (n > (uint64_t)RPC_INT_MAX)
		n = (uint64_t)RPC_INT_MAX;
	/* A daemon that keeps to its window never gets so far behind. */
	if (!link_has_room(&c->link, 0) ||
	    rpc_write_client_credit(c->scratch, (int64_t)r->id, (int64_t)n) != 0 ||
	    link_send(&c->link, c->scratch, NULL, 0) != 0) {
		drop_scratch(c);
		return -SLOT_ENOMEM;
	}
	return 0;
}

void
client_fail_all(struct slot_client *c, int code)
{
	struct table open = c->requests;

	/* What the callbacks below begin anew is not meant, nor may it rely on what ends here. */
	c->requests = (struct table){ 0 };
	c->completions = NULL;
	client_jobs_fail(c, code, NULL);
	for (size_t i = 0; i < open.cap; i++) {
		struct client_request *r = open.entries[i].value;

		if (open.entries[i].key == 0)
			continue;
		client_kept_free(r->kept);
		r->kept = NULL;
		r->client = NULL;
		if (c->freed && r->ops->orphaned != NULL)
			r->ops->orphaned(r);
		else
			r->ops->error(r, code, NULL);
	}
	table_fini(&open);
}
