#ifndef CTL_MAP_ITEMS_H
#define CTL_MAP_ITEMS_H
/*
 * The items that were pushed and not yet consumed: never more than map's window.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct map_item {
	TAILQ_ENTRY(map_item) in_order;
	TAILQ_ENTRY(map_item) in_ready;
	struct map_item *next; /* of those with the same hash */
	int64_t seq;           /* its number in the input, from 1 */
	int64_t job;           /* 0: not known yet */
	bool dropped;          /* it was asked not to start */
	bool again;            /* to be pushed a second time: the daemon was restarted */
	bool uncounted;        /* done before that: the stream of now has given no credit for it */
	json_t *completion;    /* NULL: not done yet */
	size_t len;
	char text[];           /* with a NUL behind it */
};
TAILQ_HEAD(map_item_list, map_item);

/* Read the lists; change them through the functions. */
struct map_items {
	struct map_item_list order; /* all, as they came */
	struct map_item_list ready; /* done, as they finished */
	size_t count;
	size_t nready;
	struct map_item **buckets;
	size_t nbuckets; /* a power of two */
};

/* 0, or -1: out of memory. */
int map_items_init(struct map_items *items, int64_t window);

/* NULL: out of memory. */
struct map_item *map_items_add(struct map_items *items, int64_t seq, const char *text, size_t len);

/* NULL: there is none. */
struct map_item *map_items_find(const struct map_items *items, int64_t seq);

/* It is done: its completion gets a reference more. */
void map_items_done(struct map_items *items, struct map_item *item, json_t *completion);

/* The next to be printed: in finish order or, with `keep_order`, in the input's. NULL: none. */
struct map_item *map_items_next(const struct map_items *items, bool keep_order);

/* Takes it out and frees it. */
void map_items_remove(struct map_items *items, struct map_item *item);

void map_items_fini(struct map_items *items);

#endif
