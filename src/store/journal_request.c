/* The copies that reads are made of, so that who asked may go away; see journal_fetch.h. */
#include "store/journal_fetch.h"

#include <stdlib.h>
#include <string.h>

static char *
copy(const void *bytes, size_t len, bool *ok)
{
	char *p = malloc(len != 0 ? len : 1);

	if (p == NULL)
		*ok = false;
	else if (len != 0)
		memcpy(p, bytes, len);
	return p;
}

static char *
copy_text(const char *text, bool *ok)
{
	return text != NULL ? copy(text, strlen(text) + 1, ok) : NULL;
}

static void
copy_keys(struct jread *jr, const struct store_read *r, bool *ok)
{
	jr->keys = calloc(r->nkeys + 1, sizeof(char *));
	*ok = *ok && jr->keys != NULL;
	for (size_t i = 0; *ok && i < r->nkeys; i++)
		jr->keys[jr->nkeys++] = copy_text(r->keys[i], ok);
}

static enum jread_kind
kind_of(enum store_read_kind kind)
{
	switch (kind) {
	case STORE_READ_JOBS:
		return JREAD_JOBS;
	case STORE_READ_KEYS:
		return JREAD_KEYS;
	case STORE_READ_PAGE:
		return JREAD_PAGE;
	case STORE_READ_DONE:
		return JREAD_DONE;
	case STORE_READ_OUTPUT:
		return JREAD_OUTPUT;
	}
	return JREAD_JOBS;
}

struct jread *
jread_new(const struct store_read *r)
{
	struct jread *jr = calloc(1, sizeof *jr);
	bool ok = true;

	if (jr == NULL)
		return NULL;
	jr->kind = kind_of(r->kind);
	jr->filter = r->filter;
	jr->filter.queue = copy_text(r->filter.queue, &ok);
	jr->filter.name = copy_text(r->filter.name, &ok);
	jr->from = r->from;
	jr->backward = r->kind == STORE_READ_PAGE && r->backward;
	jr->limit = r->limit;
	jr->limit_bytes = r->limit_bytes;
	jr->job = r->job;
	jr->stream = r->stream;
	jr->off = r->off;
	jr->max = r->max;
	if (r->kind == STORE_READ_JOBS) {
		jr->ids = (uint64_t *)(void *)copy(r->ids, r->nids * sizeof *r->ids, &ok);
		jr->nids = r->nids;
	}
	if (r->kind == STORE_READ_KEYS)
		copy_keys(jr, r, &ok);
	if (ok)
		return jr;
	jread_free(jr);
	return NULL;
}

void
fetched_drop_row(struct fetched *found)
{
	if (found->row != NULL) {
		free(found->row->run);
		free(found->row->spec);
		free(found->row);
	}
	found->row = NULL;
}

void
jread_free(struct jread *jr)
{
	if (jr == NULL)
		return;
	for (size_t i = 0; i < jr->nfound; i++) {
		fetched_drop_row(&jr->found[i]);
		free(jr->found[i].queue);
	}
	for (size_t i = 0; i < jr->nenvs; i++)
		free(jr->envs[i].bytes);
	for (size_t i = 0; i < jr->nkeys; i++)
		free(jr->keys[i]);
	free((char *)(uintptr_t)jr->filter.queue);
	free((char *)(uintptr_t)jr->filter.name);
	free(jr->found);
	free(jr->envs);
	free(jr->keys);
	free(jr->ids);
	free(jr->buf);
	free(jr->old);
	free(jr);
}
