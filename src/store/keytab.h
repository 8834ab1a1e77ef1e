#ifndef STORE_KEYTAB_H
#define STORE_KEYTAB_H
/*
 * Idempotency keys of rows in memory: (uid, key) to the row that was submitted with it.
 */
#include "store/row.h"

struct keytab { /* all zero is empty; rows are borrowed until keytab_remove */
	struct keytab_entry **buckets;
	size_t nbuckets, count;
};

void keytab_fini(struct keytab *t);
struct row *keytab_find(const struct keytab *t, uint32_t uid, const char *key);
/* Adds the row under its spec's key; nothing to do where it has none. 0 or -ENOMEM. */
int keytab_add(struct keytab *t, struct row *row);
void keytab_remove(struct keytab *t, const struct row *row); /* no-op where it isn't there */

#endif
