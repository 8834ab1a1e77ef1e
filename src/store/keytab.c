/* A chained hash table; see keytab.h. */
#include "store/keytab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct keytab_entry {
	struct keytab_entry *next;
	struct row *row;
	uint32_t hash;
};

static uint32_t
hash_of(uint32_t uid, const char *key)
{
	uint32_t h = 2166136261u ^ uid; /* FNV-1a */

	for (; *key != '\0'; key++)
		h = (h ^ (unsigned char)*key) * 16777619u;
	return h;
}

static const char *
key_of(const struct row *row)
{
	return spec_at(row->spec, row->spec->key_off);
}

void
keytab_fini(struct keytab *t)
{
	for (size_t i = 0; i < t->nbuckets; i++)
		for (struct keytab_entry *e = t->buckets[i], *next; e != NULL; e = next) {
			next = e->next;
			free(e);
		}
	free(t->buckets);
	memset(t, 0, sizeof *t);
}

struct row *
keytab_find(const struct keytab *t, uint32_t uid, const char *key)
{
	uint32_t hash = hash_of(uid, key);

	if (t->count == 0)
		return NULL;
	for (struct keytab_entry *e = t->buckets[hash & (t->nbuckets - 1)]; e != NULL; e = e->next)
		if (e->hash == hash && e->row->uid == uid && strcmp(key_of(e->row), key) == 0)
			return e->row;
	return NULL;
}

static int
grow(struct keytab *t)
{
	size_t n = t->nbuckets != 0 ? t->nbuckets * 2 : 64;
	struct keytab_entry **buckets;

	if (t->count < t->nbuckets)
		return 0;
	buckets = calloc(n, sizeof(struct keytab_entry *));
	if (buckets == NULL)
		return t->nbuckets != 0 ? 0 : -ENOMEM; /* longer chains will do */
	for (size_t i = 0; i < t->nbuckets; i++)
		for (struct keytab_entry *e = t->buckets[i], *next; e != NULL; e = next) {
			next = e->next;
			e->next = buckets[e->hash & (n - 1)];
			buckets[e->hash & (n - 1)] = e;
		}
	free(t->buckets);
	t->buckets = buckets;
	t->nbuckets = n;
	return 0;
}

int
keytab_add(struct keytab *t, struct row *row)
{
	const char *key = key_of(row);
	struct keytab_entry *e;

	if (key == NULL)
		return 0;
	if (grow(t) < 0 || (e = malloc(sizeof *e)) == NULL)
		return -ENOMEM;
	e->hash = hash_of(row->uid, key);
	e->row = row;
	e->next = t->buckets[e->hash & (t->nbuckets - 1)];
	t->buckets[e->hash & (t->nbuckets - 1)] = e;
	t->count++;
	return 0;
}

void
keytab_remove(struct keytab *t, const struct row *row)
{
	const char *key = key_of(row);
	struct keytab_entry **at, *e;

	if (key == NULL || t->count == 0)
		return;
	at = &t->buckets[hash_of(row->uid, key) & (t->nbuckets - 1)];
	while (*at != NULL && (*at)->row != row)
		at = &(*at)->next;
	if ((e = *at) == NULL)
		return;
	*at = e->next;
	t->count--;
	free(e);
}
