#ifndef STORE_PACKED_H
#define STORE_PACKED_H
/*
 * A pending row that nobody looks at. Most of what has a fixed place in its spec is as in most
 * specs; what the row has to say is written over that, in the spec's own memory, and the row goes.
 * No byte is allocated or copied elsewhere for it, so that coming and going is cheap.
 */
#include "store/store.h"

struct packed; /* even addresses only: a table may use the low bit */

/* The row becomes this; its spec and its reference of the environment go over, and the caller
 * frees the rest. NULL: there is more to it than packed keeps, it is as it was. */
struct packed *packed_make(struct row *row);
/* The row again, counted once; p is no more. NULL: out of memory, p is as it was. */
struct row *packed_open(struct packed *p, uint64_t id);
void packed_free(struct env_table *envs, struct packed *p);

uint32_t packed_uid(const struct packed *p);
/* False: the row wouldn't pass (store/read.h). True: it would, as far as can be told from here. */
bool packed_may_pass(const struct packed *p, const struct store_filter *f);

#endif
