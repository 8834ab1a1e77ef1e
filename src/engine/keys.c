/* Idempotency keys; see keys.h. */
#include "engine/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct key_entry {
	struct key_entry *next;
	struct row *row;
	size_t hash;
};

static size_t
hash_of(uint32_t uid, const char *key)
{
	uint64_t h = 14695981039346656037u ^ uid; /* FNV-1a */

	for (; *key != '\0'; key++)
		h = (h ^ (unsigned char)*key) * 1099511628211u;
	return (size_t)(h ^ h >> 29);
}

static const char *
key_of(const struct row *row)
{
	return spec_at(row->spec, row->spec->key_off);
}

void
keys_fini(struct keys *k)
{
	for (size_t i = 0; i < k->nbuckets; i++)
		for (struct key_entry *at = k->buckets[i], *next; at != NULL; at = next) {
			next = at->next;
			free(at);
		}
	free(k->buckets);
	memset(k, 0, sizeof *k);
}

struct row *
keys_find(const struct keys *k, uint32_t uid, const char *key)
{
	size_t hash = hash_of(uid, key);

	if (k->nbuckets == 0)
		return NULL;
	for (struct key_entry *at = k->buckets[hash & (k->nbuckets - 1)]; at != NULL; at = at->next)
		if (at->hash == hash && at->row->uid == uid && strcmp(key_of(at->row), key) == 0)
			return at->row;
	return NULL;
}

static int
grow(struct keys *k)
{
	size_t n = k->nbuckets != 0 ? k->nbuckets * 2 : 64;
	struct key_entry **buckets;

	if (k->count < k->nbuckets)
		return 0;
	buckets = calloc(n, sizeof(struct key_entry *));
	if (buckets == NULL)
		return k->nbuckets != 0 ? 0 : -ENOMEM; /* longer chains will do */
	for (size_t i = 0; i < k->nbuckets; i++)
		for (struct key_entry *at = k->buckets[i], *next; at != NULL; at = next) {
			next = at->next;
			at->next = buckets[at->hash & (n - 1)];
			buckets[at->hash & (n - 1)] = at;
		}
	free(k->buckets);
	k->buckets = buckets;
	k->nbuckets = n;
	return 0;
}

int
keys_add(struct keys *k, struct row *row)
{
	struct key_entry *at;

	if (grow(k) < 0 || (at = malloc(sizeof *at)) == NULL)
		return -ENOMEM;
	at->row = row;
	at->hash = hash_of(row->uid, key_of(row));
	at->next = k->buckets[at->hash & (k->nbuckets - 1)];
	k->buckets[at->hash & (k->nbuckets - 1)] = at;
	k->count++;
	return 0;
}

void
keys_remove(struct keys *k, const struct row *row)
{
	struct key_entry **at, *gone;

	if (row->spec->key_off == 0 || k->nbuckets == 0)
		return;
	at = &k->buckets[hash_of(row->uid, key_of(row)) & (k->nbuckets - 1)];
	while (*at != NULL && (*at)->row != row)
		at = &(*at)->next;
	if ((gone = *at) == NULL)
		return;
	*at = gone->next;
	free(gone);
	k->count--;
}
