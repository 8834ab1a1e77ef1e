#ifndef ENGINE_SPOOL_LANDING_H
#define ENGINE_SPOOL_LANDING_H
/*
 * Where read(2) puts what a pipe held, until a ring has it: the file STATE/landing, mapped shared
 * like the spool, so that no byte is ever in the memory of the engine alone. Before a read it is
 * written down there whose bytes come, for which offset, and how many: not more than the pipe is
 * known to hold, so that either all of them come or none does. A SIGKILL lets a read(2) that has
 * begun come to its end. Whether it had begun is then seen at the marks that stood in its way.
 *
 *	spool_landing_expect -> read(2) -> spool_landing_came -> the ring takes them
 *	-> spool_landing_clear
 *
 * One landing is used by one thread.
 */
#include "engine/ring_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPOOL_LANDING_LOOP_BYTES 65536
#define SPOOL_LANDING_THREAD_BYTES 262144

struct spool_landing_record;

struct spool_landing {
	struct spool_landing_record *record;
	unsigned char *bytes;
	size_t size;
};

struct spool_landings {
	struct spool_landing loop, thread;
	void *map; /* NULL: nothing to be closed */
	int error; /* errno for which they are in memory all the same */
};

/* In directory `state_dir`, where what was left under another `era` counts for nothing. NULL, or
 * where it can't be made (see error): in memory, where it ends with the process. 0 or -errno: not
 * even that. */
int spool_landings_open(struct spool_landings *l, const char *state_dir, const char *era);
void spool_landings_close(struct spool_landings *l);

/* Whose bytes are read: they belong at `offset` of the stream, of which `limit` bytes are kept. */
struct spool_landing_for {
	struct ring_name name;
	int64_t limit, offset;
};

/* Next, l->bytes take `len` bytes (1 to l->size) out of a pipe that holds so many, or none. */
void spool_landing_expect(struct spool_landing *l, const struct spool_landing_for *whose,
    size_t len);
/* They did: n > 0 bytes came (fewer, where the job makes packets of them). */
void spool_landing_came(struct spool_landing *l, size_t n);
/* The ring has them, or none came. */
void spool_landing_clear(struct spool_landing *l);

/* What an engine that was killed had read, as far as its ring hasn't got it already. */
struct spool_landing_left {
	struct spool_landing_for whose;
	size_t len;
	bool torn; /* the copying was cut off: nobody knows how many of them are out of the pipe */
};
bool spool_landing_left(const struct spool_landing *l, struct spool_landing_left *left);

#endif
