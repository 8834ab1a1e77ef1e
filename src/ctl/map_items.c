/* See map_items.h. */
#include "ctl/map_items.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_MAX 65536

int
map_items_init(struct map_items *items, int64_t window)
{
	size_t n = 64;

	while ((int64_t)n < window && n < BUCKETS_MAX)
		n *= 2;
	*items = (struct map_items){ .nbuckets = n };
	TAILQ_INIT(&items->order);
	TAILQ_INIT(&items->ready);
	items->buckets = calloc(n, sizeof(*items->buckets));
	return items->buckets != NULL ? 0 : -1;
}

static struct map_item **
bucket_of(const struct map_items *items, int64_t seq)
{
	return &items->buckets[(size_t)seq & (items->nbuckets - 1)];
}

struct map_item *
map_items_add(struct map_items *items, int64_t seq, const char *text, size_t len)
{
	struct map_item **bucket = bucket_of(items, seq);
	struct map_item *item = calloc(1, sizeof(*item) + len + 1);

	if (item == NULL)
		return NULL;
	item->seq = seq;
	item->len = len;
	memcpy(item->text, text, len);
	item->next = *bucket;
	*bucket = item;
	TAILQ_INSERT_TAIL(&items->order, item, in_order);
	items->count++;
	return item;
}

struct map_item *
map_items_find(const struct map_items *items, int64_t seq)
{
	struct map_item *item = *bucket_of(items, seq);

	while (item != NULL && item->seq != seq)
		item = item->next;
	return item;
}

void
map_items_done(struct map_items *items, struct map_item *item, json_t *completion)
{
	item->completion = json_incref(completion);
	TAILQ_INSERT_TAIL(&items->ready, item, in_ready);
	items->nready++;
}

struct map_item *
map_items_next(const struct map_items *items, bool keep_order)
{
	struct map_item *first;

	if (!keep_order)
		return TAILQ_FIRST(&items->ready);
	first = TAILQ_FIRST(&items->order);
	return first != NULL && first->completion != NULL ? first : NULL;
}

void
map_items_remove(struct map_items *items, struct map_item *item)
{
	struct map_item **at = bucket_of(items, item->seq);

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
	TAILQ_REMOVE(&items->order, item, in_order);
	items->count--;
	if (item->completion != NULL) {
		TAILQ_REMOVE(&items->ready, item, in_ready);
		items->nready--;
	}
	json_decref(item->completion);
	free(item);
}

void
map_items_fini(struct map_items *items)
{
	struct map_item *item;

	while (items->buckets != NULL && (item = TAILQ_FIRST(&items->order)) != NULL)
		map_items_remove(items, item);
	free(items->buckets);
	*items = (struct map_items){ 0 };
}
