/* See place.h. */
#include "client/place.h"

#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "wire/prescan.h"
#include "wire/rpc.h"

void
place_init(struct place *p, int cursor, const json_t *params)
{
	const json_t *since = json_object_get(params, "since_seq");
	json_int_t off = json_integer_value(json_object_get(params, "off"));

	*p = (struct place){ .cursor = cursor };
	p->windowed = json_integer_value(json_object_get(params, "window")) > 0;
	p->known = json_is_integer(since);
	p->seq = p->known ? (uint64_t)json_integer_value(since) : 0;
	for (int fd = 0; fd < PLACE_FDS; fd++)
		p->next[fd] = off > 0 ? off : 0;
	p->attempt = json_integer_value(json_object_get(params, "attempt"));
}

void
place_fini(struct place *p)
{
	table_fini(&p->told);
}

void
place_opened_at(struct place *p, uint64_t seq)
{
	if (p->known)
		return;
	p->known = true;
	p->seq = seq;
}

/* ---- items ---- */

/* How many bytes a value of the protocol stands for. */
static int64_t
bytes_of(const json_t *data)
{
	const json_t *b64 = json_is_object(data) ? json_object_get(data, "b64") : NULL;
	const char *text = json_string_value(b64);
	size_t len = json_string_length(b64);

	if (text == NULL)
		return (int64_t)json_string_length(data);
	while (len > 0 && text[len - 1] == '=')
		len--;
	return (int64_t)(len / 4 * 3 + (len % 4 > 1 ? len % 4 - 1 : 0));
}

/* Cuts off the first bytes of an item, which were told before. */
static void
cut(json_t *item, int64_t off, int64_t to)
{
	size_t len = 0;
	char *bytes = slot_json_to_bytes(json_object_get(item, "data"), &len);
	size_t skip = (size_t)(to - off);

	if (bytes != NULL && skip <= len) {
		json_t *rest = slot_json_from_bytes(bytes + skip, len - skip);
		json_t *at = json_integer(to);

		/* Both or, without memory, neither: `off` is always true of `data`. */
		if (rest != NULL && at != NULL && json_object_set(item, "data", rest) == 0)
			json_object_set(item, "off", at);
		json_decref(rest);
		json_decref(at);
	}
	free(bytes);
}

/* Another attempt than the one before wrote the item: everything begins anew. */
static void
move_attempt(struct place *p, const json_t *item)
{
	const json_t *value = json_object_get(item, "attempt");
	json_int_t attempt = value != NULL ? json_integer_value(value) : 1;

	if (attempt < 1 || attempt > UINT32_MAX)
		return;
	for (int fd = 0; p->attempt > 0 && p->attempt != attempt && fd < PLACE_FDS; fd++)
		p->next[fd] = 0;
	p->attempt = attempt;
}

static bool
move_offset(struct place *p, json_t *item, uint64_t *size, uint64_t *again)
{
	json_int_t fd = json_integer_value(json_object_get(item, "fd"));
	json_int_t off = json_integer_value(json_object_get(item, "off"));
	int64_t len = bytes_of(json_object_get(item, "data"));

	*size = (uint64_t)len;
	if (fd < 0 || fd >= PLACE_FDS || off < 0 || off > RPC_INT_MAX)
		return true; /* it is nowhere that we could go on from */
	move_attempt(p, item);
	int64_t told = p->next[fd] - off;

	if (p->moved_on && told > 0 && told >= len) {
		*again = (uint64_t)len;
		return false;
	}
	if (p->moved_on && told > 0) {
		cut(item, off, p->next[fd]);
		*again = (uint64_t)told;
		*size -= (uint64_t)told;
	}
	p->next[fd] = off + len;
	return true;
}

static bool
move_seq(struct place *p, const json_t *item)
{
	uint64_t seq = client_seq_of(item);

	if (seq == 0) /* it has no place; what is wrong with it is seen by its reader */
		return true;
	if (p->known && seq <= p->seq)
		return false;
	p->seq = seq;
	p->known = true;
	return true;
}

static bool
move_job(struct place *p, const json_t *item)
{
	json_int_t job = json_integer_value(json_object_get(item, "job"));

	if (job <= 0)
		return true;
	if (table_get(&p->told, (uint64_t)job) != NULL)
		return false;
	/* No memory for it: after a reconnect it might be told twice. More than could be asked
	 * for: the daemon makes them up. */
	if (p->told.count < PRESCAN_TOKENS_MAX)
		(void)table_put(&p->told, (uint64_t)job, p);
	return true;
}

bool
place_move(struct place *p, json_t *item, uint64_t *again)
{
	uint64_t size = 1;
	bool fresh = true;

	*again = 0;
	switch ((enum client_cursor)p->cursor) {
	case CLIENT_CURSOR_NONE:
	case CLIENT_CURSOR_EVENTS:
		break;
	case CLIENT_CURSOR_SEQ:
		fresh = move_seq(p, item);
		break;
	case CLIENT_CURSOR_JOBS:
		fresh = move_job(p, item);
		break;
	case CLIENT_CURSOR_OFFSET:
		fresh = move_offset(p, item, &size, again);
		break;
	}
	if (!fresh) {
		*again = size;
		return false;
	}
	p->n++;
	if (p->windowed)
		p->outstanding += size;
	if (p->moved_on)
		json_object_set_new(item, "n", json_integer((json_int_t)p->n));
	return true;
}

uint64_t
place_credit(struct place *p, uint64_t n)
{
	uint64_t kept = n < p->swallow ? n : p->swallow;

	p->swallow -= kept;
	p->outstanding -= n < p->outstanding ? n : p->outstanding;
	return n - kept;
}

/* ---- going on ---- */

static int
set(json_t *params, const char *key, json_t *value)
{
	return json_object_set_new(params, key, value) == 0 ? 0 : -SLOT_ENOMEM;
}

static int
go_on_from_seq(struct place *p, json_t *params, const json_t *instance, uint64_t seq)
{
	place_opened_at(p, seq);
	if (json_object_set(params, "instance", (json_t *)(uintptr_t)instance) != 0)
		return -SLOT_ENOMEM;
	return set(params, "since_seq", json_integer((json_int_t)p->seq));
}

static int
go_on_with_jobs(struct place *p, json_t *params, json_t **result)
{
	const json_t *jobs = json_object_get(params, "jobs");
	json_t *left = json_array();
	int rc = left != NULL ? 0 : -SLOT_ENOMEM;

	for (size_t i = 0; rc == 0 && i < json_array_size(jobs); i++) {
		json_t *job = json_array_get(jobs, i);

		if (table_get(&p->told, (uint64_t)json_integer_value(job)) == NULL &&
		    json_array_append(left, job) != 0)
			rc = -SLOT_ENOMEM;
	}
	if (rc == 0 && json_array_size(left) == 0) {
		json_decref(left);
		*result = json_pack("{s:I}", "done", (json_int_t)p->told.count);
		return *result != NULL ? 1 : -SLOT_ENOMEM;
	}
	if (rc != 0) {
		json_decref(left);
		return rc;
	}
	return set(params, "jobs", left);
}

static int
go_on_from_offset(struct place *p, json_t *params)
{
	const json_t *fds = json_object_get(params, "fds");
	int64_t off = -1;

	for (int fd = 1; fd < PLACE_FDS; fd++) {
		bool asked = !json_is_array(fds);

		for (size_t i = 0; i < json_array_size(fds); i++)
			asked |= json_integer_value(json_array_get(fds, i)) == fd;
		if (asked && (off < 0 || p->next[fd] < off))
			off = p->next[fd];
	}
	if (p->attempt > 0 && set(params, "attempt", json_integer(p->attempt)) != 0)
		return -SLOT_ENOMEM;
	return set(params, "off", json_integer(off > 0 ? off : 0));
}

int
place_go_on(struct place *p, json_t *params, const json_t *instance, uint64_t seq,
    json_t **result)
{
	p->moved_on = true;
	p->swallow = p->outstanding;
	switch ((enum client_cursor)p->cursor) {
	case CLIENT_CURSOR_NONE:
	case CLIENT_CURSOR_EVENTS:
		break;
	case CLIENT_CURSOR_SEQ:
		return go_on_from_seq(p, params, instance, seq);
	case CLIENT_CURSOR_JOBS:
		return go_on_with_jobs(p, params, result);
	case CLIENT_CURSOR_OFFSET:
		return go_on_from_offset(p, params);
	}
	return 0;
}

void
place_correct_result(const struct place *p, json_t *result)
{
	if (p->moved_on && p->cursor == CLIENT_CURSOR_JOBS && json_is_object(result))
		json_object_set_new(result, "done", json_integer((json_int_t)p->told.count));
}
