/* Open addressing with linear probing; deletion moves followers back, so there are no marks. */
#include "client/table.h"

#include <stdlib.h>

#include <slot/loop.h>

static size_t
home(const struct table *t, uint64_t key)
{
	return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (t->cap - 1);
}

static size_t
find(const struct table *t, uint64_t key)
{
	size_t i = home(t, key);

	while (t->entries[i].key != 0 && t->entries[i].key != key)
		i = (i + 1) & (t->cap - 1);
	return i;
}

void
table_fini(struct table *t)
{
	free(t->entries);
	*t = (struct table){ 0 };
}

void *
table_get(const struct table *t, uint64_t key)
{
	if (t->count == 0 || key == 0)
		return NULL;
	struct table_entry *e = &t->entries[find(t, key)];

	return e->key == key ? e->value : NULL;
}

static int
resize(struct table *t, size_t cap)
{
	struct table_entry *old = t->entries;
	size_t old_cap = t->cap;
	struct table_entry *entries = calloc(cap, sizeof(*entries));

	if (entries == NULL)
		return -SLOT_ENOMEM;
	t->entries = entries;
	t->cap = cap;
	for (size_t i = 0; i < old_cap; i++) {
		if (old[i].key != 0)
			t->entries[find(t, old[i].key)] = old[i];
	}
	free(old);
	return 0;
}

int
table_reserve(struct table *t)
{
	if ((t->count + 1) * 4 <= t->cap * 3)
		return 0;
	return resize(t, t->cap == 0 ? 16 : t->cap * 2);
}

int
table_put(struct table *t, uint64_t key, void *value)
{
	struct table_entry *e = t->count > 0 ? &t->entries[find(t, key)] : NULL;

	if (e == NULL || e->key == 0) {
		int rc = table_reserve(t);

		if (rc != 0)
			return rc;
		e = &t->entries[find(t, key)];
		t->count++;
	}
	e->key = key;
	e->value = value;
	return 0;
}

/* Empties a place and moves back those behind it. */
static void
empty(struct table *t, size_t hole)
{
	for (size_t i = (hole + 1) & (t->cap - 1); t->entries[i].key != 0;
	     i = (i + 1) & (t->cap - 1)) {
		/* Whoever's home is not between the hole and here moves into the hole. */
		size_t h = home(t, t->entries[i].key);

		if (((i - h) & (t->cap - 1)) >= ((i - hole) & (t->cap - 1))) {
			t->entries[hole] = t->entries[i];
			hole = i;
		}
	}
	t->entries[hole] = (struct table_entry){ 0 };
	t->count--;
}

void *
table_remove(struct table *t, uint64_t key)
{
	if (t->count == 0 || key == 0)
		return NULL;
	size_t hole = find(t, key);

	if (t->entries[hole].key != key)
		return NULL;
	void *value = t->entries[hole].value;

	empty(t, hole);
	if (t->cap > 64 && t->count * 8 < t->cap)
		(void)resize(t, t->cap / 4); /* no memory: it stays large */
	return value;
}

void
table_sift(struct table *t, void *(*left)(void *value, void *arg), void *arg)
{
	for (size_t i = 0; i < t->cap;) {
		struct table_entry *e = &t->entries[i];

		if (e->key != 0)
			e->value = left(e->value, arg);
		if (e->key != 0 && e->value == NULL)
			empty(t, i); /* another may have moved here */
		else
			i++;
	}
}
