#ifndef ENGINE_KEYS_H
#define ENGINE_KEYS_H
/*
 * Idempotency keys: (uid, key) to the job that was submitted with it, as long as its row is kept.
 */
#include "store/row.h"
#include <stddef.h>

struct keys { /* all zero is empty; rows are borrowed until keys_remove */
	struct key_entry **buckets;
	size_t nbuckets, count;
};

void keys_fini(struct keys *k);
struct row *keys_find(const struct keys *k, uint32_t uid, const char *key);
/* Adds the row under its spec's key. 0 or -ENOMEM. */
int keys_add(struct keys *k, struct row *row);
void keys_remove(struct keys *k, const struct row *row); /* no-op where it has none */

#endif
