#ifndef STORE_PACKED_H
#define STORE_PACKED_H
/*
 * A pending row that nobody looks at, and its spec, in one piece of memory as small as it may be:
 * of what has a fixed place in the spec only the words that aren't as in most specs.
 */
#include "store/store.h"

struct packed; /* even addresses only: a table may use the low bit */

/* Is there nothing to it but what packed keeps? */
bool packed_fits(const struct row *row);
/* Such a row; its reference of the environment goes over. NULL: out of memory. */
struct packed *packed_make(struct row *row);
/* The row it was made from, counted once; frees p. NULL: out of memory, p is as it was. */
struct row *packed_open(struct packed *p, uint64_t id);
void packed_free(struct env_table *envs, struct packed *p);

uint32_t packed_uid(const struct packed *p);
/* False: the row wouldn't pass (store/read.h). True: it would, as far as can be told from here. */
bool packed_may_pass(const struct packed *p, const struct store_filter *f);

#endif
