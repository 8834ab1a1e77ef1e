/* Rows and environments: what all stores share. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

struct row *
row_new(struct spec *spec, struct env_blob *env)
{
	struct row *row = calloc(1, sizeof *row);

	if (row == NULL)
		return NULL;
	row->refs = 1;
	row->spec = spec;
	row->env = env;
	row->priority = spec != NULL ? spec->priority : 0;
	return row;
}

struct row *
row_ref(struct row *row)
{
	row->refs++;
	return row;
}

void
row_unref(struct store *s, struct row *row)
{
	if (row == NULL || --row->refs > 0)
		return;
	if (s->ops->row_gone != NULL)
		s->ops->row_gone(s, row);
	if (row->refs > 0)
		return; /* the store counts it now */
	if (row->output != NULL)
		s->hooks.output_free(row->output);
	env_unref(&s->envs, row->env);
	free(row->run);
	free(row->spec);
	free(row);
}

void
row_pin(struct row *row)
{
	row->pins++;
}

void
row_unpin(struct store *s, struct row *row)
{
	if (--row->pins == 0)
		s->ops->unpinned(s, row);
}

struct row_run *
row_run(struct row *row)
{
	if (row->run == NULL) {
		row->run = calloc(1, sizeof *row->run);
		if (row->run != NULL)
			row->run->exit_code = -1;
	}
	return row->run;
}

int64_t
row_kept_bytes(const struct row *row)
{
	int64_t n = row->run->out_bytes[0] + row->run->out_bytes[1] + row->spec->size;

	if (row->env != NULL && row->env->refs == 1)
		n += (int64_t)row->env->len;
	return n;
}

static uint32_t
env_hash(const char *bytes, size_t len)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)bytes[i]) * 16777619u;
	return h;
}

static int
env_grow(struct env_table *t)
{
	size_t n = t->nbuckets != 0 ? t->nbuckets * 2 : 64;
	struct env_blob **buckets;

	if (t->count < t->nbuckets)
		return 0;
	buckets = calloc(n, sizeof(struct env_blob *));
	if (buckets == NULL)
		return t->nbuckets != 0 ? 0 : -1; /* longer chains will do */
	for (size_t i = 0; i < t->nbuckets; i++)
		for (struct env_blob *e = t->buckets[i], *next; e != NULL; e = next) {
			next = e->next;
			e->next = buckets[e->hash & (n - 1)];
			buckets[e->hash & (n - 1)] = e;
		}
	free(t->buckets);
	t->buckets = buckets;
	t->nbuckets = n;
	return 0;
}

struct env_blob *
env_intern(struct env_table *t, const char *bytes, size_t len)
{
	uint32_t hash = env_hash(bytes, len);
	struct env_blob *e;

	if (env_grow(t) < 0)
		return NULL;
	for (e = t->buckets[hash & (t->nbuckets - 1)]; e != NULL; e = e->next)
		if (e->hash == hash && e->len == len && memcmp(e->bytes, bytes, len) == 0) {
			e->refs++;
			return e;
		}
	e = malloc(sizeof *e + len);
	if (e == NULL)
		return NULL;
	e->refs = 1;
	e->hash = hash;
	e->len = len;
	if (len > 0)
		memcpy(e->bytes, bytes, len);
	e->next = t->buckets[hash & (t->nbuckets - 1)];
	t->buckets[hash & (t->nbuckets - 1)] = e;
	t->count++;
	t->bytes += len;
	return e;
}

struct env_blob *
env_ref(struct env_blob *env)
{
	if (env != NULL)
		env->refs++;
	return env;
}

void
env_unref(struct env_table *t, struct env_blob *env)
{
	struct env_blob **at;

	if (env == NULL || --env->refs > 0)
		return;
	at = &t->buckets[env->hash & (t->nbuckets - 1)];
	while (*at != env)
		at = &(*at)->next;
	*at = env->next;
	t->count--;
	t->bytes -= env->len;
	free(env);
}

void
env_table_fini(struct env_table *t)
{
	free(t->buckets);
	memset(t, 0, sizeof *t);
}
