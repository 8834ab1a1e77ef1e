#ifndef ENGINE_IDFIFO_H
#define ENGINE_IDFIFO_H
/*
 * Growing ids, appended at the end and taken off the front, in chunks: eight bytes each. One in the
 * middle goes by being dead to its owner; every so many deaths a part is squeezed, so that dead
 * ones never hold much, and nothing ever walks all of them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idfifo_chunk;

struct idfifo { /* all zero is empty */
	struct idfifo_chunk *head, *tail;
	struct idfifo_chunk *squeezed; /* up to this one; NULL: begin at the head */
	uint64_t last;                 /* the newest, dead or alive */
	unsigned deaths;               /* since the last squeeze */
};

struct idfifo_owner {
	bool (*alive)(const void *arg, uint64_t id);
	const void *arg;
};

void idfifo_fini(struct idfifo *f);
/* Appends an id above all before. 0 or -ENOMEM. */
int idfifo_push(struct idfifo *f, uint64_t id);
/* The first; 0: empty. (Alive, where idfifo_died was told of each death.) */
uint64_t idfifo_first(const struct idfifo *f);
/* One of them died, wherever it is. */
void idfifo_died(struct idfifo *f, const struct idfifo_owner *owner);
/* Copies the first living ones. */
size_t idfifo_read(const struct idfifo *f, const struct idfifo_owner *owner, uint64_t *ids,
    size_t max);

#endif
