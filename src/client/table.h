#ifndef CLIENT_TABLE_H
#define CLIENT_TABLE_H
/*
 * A hash table from numbers (never 0) to pointers, for requests by id and jobs by number.
 */
#include <stddef.h>
#include <stdint.h>

struct table_entry {
	uint64_t key; /* 0: empty */
	void *value;
};

/* All zero is a valid, empty table. */
struct table {
	struct table_entry *entries;
	size_t cap; /* 0 or a power of two */
	size_t count;
};

void table_fini(struct table *t); /* frees the table, not what it points to */
void *table_get(const struct table *t, uint64_t key);
/* Makes room for one more, so that the next put can't fail. 0 or -SLOT_ENOMEM. */
int table_reserve(struct table *t);
/* Puts (or replaces: that can't fail) a value that is not NULL. 0 or -SLOT_ENOMEM. */
int table_put(struct table *t, uint64_t key, void *value);
void *table_remove(struct table *t, uint64_t key); /* what was there, or NULL */
/* Replaces each value by what `left` makes of it; NULL: it is out. It may be asked more than once
 * about one of them, and must leave the table alone. */
void table_sift(struct table *t, void *(*left)(void *value, void *arg), void *arg);
#endif
