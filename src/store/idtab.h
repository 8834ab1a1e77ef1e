#ifndef STORE_IDTAB_H
#define STORE_IDTAB_H
/*
 * A table from dense, growing integers (job ids, seqs) to pointers: a directory of chunks, so
 * that a look-up is two loads, an entry costs eight bytes, and walking in order is a scan.
 * Chunks without entries are freed.
 */
#include <stddef.h>
#include <stdint.h>

struct idtab_chunk;

/* All zero is a valid, empty table. */
struct idtab {
	struct idtab_chunk **chunks;
	size_t nchunks; /* directory entries in use */
	size_t cap;
	uint64_t base; /* number of the first chunk of the directory */
	size_t head;   /* so many directory entries at its front are empty */
	size_t count;
};

void idtab_fini(struct idtab *t); /* frees the table, not what it points to */
void *idtab_get(const struct idtab *t, uint64_t id); /* NULL: absent */
/* Puts a pointer (not NULL) at id, replacing. 0 or -ENOMEM. */
int idtab_put(struct idtab *t, uint64_t id, void *value);
void *idtab_remove(struct idtab *t, uint64_t id); /* what was there, or NULL */

/* The entry with the smallest id >= from; *id is set. NULL: none. */
void *idtab_next(const struct idtab *t, uint64_t from, uint64_t *id);
/* The entry with the largest id <= from; *id is set. NULL: none. */
void *idtab_prev(const struct idtab *t, uint64_t from, uint64_t *id);

#endif
