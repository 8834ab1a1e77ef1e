/* Keys that are looked for in history; see load.h. */
#include "engine/load_inside.h"

#include <stdlib.h>
#include <string.h>

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct load_key *)a)->key, ((const struct load_key *)b)->key);
}

int
load_keys_ask(struct load *l, struct store_read *r)
{
	size_t n = l->nkeys - l->keys_asked;

	l->key_texts = calloc(n, sizeof(char *));
	if (l->key_texts == NULL)
		return -1;
	for (size_t i = 0; i < n; i++)
		l->key_texts[i] = l->keys[l->keys_asked + i].key;
	r->kind = STORE_READ_KEYS;
	r->keys = l->key_texts;
	r->nkeys = n;
	r->filter.uid = l->req->session->uid;
	return 0;
}

void
load_keys_take(struct load *l)
{
	struct store_read *r = &l->read;

	for (size_t i = 0; i < r->nrows; i++)
		if (r->rows[i] != NULL && !r->rows[i]->gone)
			l->keys[l->keys_asked + i].row = row_ref(r->rows[i]);
	l->keys_asked += r->nkeys;
	qsort(l->keys, l->nkeys, sizeof *l->keys, by_key);
	free(l->key_texts);
	l->key_texts = NULL;
}

static struct load_key *
find_key(const struct load *l, const char *key)
{
	struct load_key what = { .key = (char *)(uintptr_t)key };

	if (l == NULL || l->keys_asked == 0)
		return NULL;
	return bsearch(&what, l->keys, l->keys_asked, sizeof what, by_key);
}

static int
want_key(struct load *l, const char *key)
{
	struct load_key *k;

	if (load_grow(&l->keys, l->nkeys, &l->keys_cap, sizeof *l->keys) < 0)
		return -1;
	k = &l->keys[l->nkeys];
	*k = (struct load_key){ .key = strdup(key) };
	if (k->key == NULL)
		return -1;
	if (l->nkeys++ == 0)
		LIST_INSERT_HEAD(&l->req->engine->key_loads, l, looking);
	return 0;
}

bool
load_keys(struct request *req, const char *const *keys, size_t n)
{
	struct engine *e = req->engine;
	struct load *l = req->load;

	if (!e->store->durable)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (keys[i] == NULL || keys_find(&e->keys, req->session->uid, keys[i]) != NULL ||
		    find_key(l, keys[i]) != NULL)
			continue;
		if (l == NULL && (l = load_of(req)) == NULL)
			return load_no_memory(req);
		if (want_key(l, keys[i]) < 0)
			return load_no_memory(req);
	}
	return l == NULL || load_go_on(l);
}

struct row *
load_key(const struct request *req, const char *key)
{
	struct row *row = keys_find(&req->engine->keys, req->session->uid, key);
	const struct load_key *k;

	if (row != NULL || (k = find_key(req->load, key)) == NULL)
		return row;
	row = k->row != NULL && !k->row->gone ? k->row : k->made;
	return row != NULL && !row->gone ? row : NULL;
}

void
load_key_made(struct engine *e, struct row *row)
{
	const char *key = spec_at(row->spec, row->spec->key_off);
	struct load *l;

	LIST_FOREACH(l, &e->key_loads, looking) {
		if (l->req->session->uid != row->uid)
			continue;
		for (size_t i = 0; i < l->nkeys; i++)
			if (l->keys[i].made == NULL && strcmp(l->keys[i].key, key) == 0)
				l->keys[i].made = row_ref(row);
	}
}

void
load_keys_empty(struct load *l)
{
	struct store *s = load_store(l);

	for (size_t i = 0; i < l->nkeys; i++) {
		row_unref(s, l->keys[i].row);
		row_unref(s, l->keys[i].made);
		free(l->keys[i].key);
	}
	if (l->nkeys > 0)
		LIST_REMOVE(l, looking);
	l->nkeys = l->keys_asked = 0;
}
