/*
 * A replay may be killed too. The landing is cleared last, and the record of the stream says how far
 * it went, so that another one goes on from there.
 */
#include "engine/capture_replay.h"

#include "engine/ring.h"
#include "engine/spool.h"
#include "engine/spool_landing.h"

#include <errno.h>
#include <unistd.h>

static void
move_to_file(struct ring *r, const char *dir)
{
	int fd = ring_file_create(dir, &r->name);
	int error = fd < 0 ? fd : ring_move_to_file(r, fd);

	if (error == 0)
		return;
	ring_pin(r, -error);
	if (fd >= 0)
		close(fd);
}

static void
append(struct ring *r, const struct spool_landing *l, const struct spool_landing_left *left,
    const char *dir)
{
	int64_t had = r->end - left->whose.offset; /* of these bytes */

	if (had < 0 || had > (int64_t)left->len)
		return; /* what the stream had is gone, or this is garbage */
	if (had < (int64_t)left->len) {
		if (ring_needs_file(r, left->len - (size_t)had))
			move_to_file(r, dir);
		ring_append(r, l->bytes + had, left->len - (size_t)had);
	}
	if (left->torn)
		ring_break(r, EIO);
}

/* Whether there was something to be done. */
static bool
replay(struct spool *spool, struct spool_landing *l)
{
	struct ring_group group = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct spool_landing_left left;
	struct ring r;
	int fd;

	if (!spool_landing_left(l, &left)) {
		spool_landing_clear(l); /* before it is written down what the next read is for */
		return false;
	}
	ring_init(&r, &group, left.whose.limit);
	ring_set_spool(&r, spool, &left.whose.name);
	ring_adopt(&r);
	append(&r, l, &left, spool_output_dir(spool));
	fd = ring_leave(&r);
	if (fd >= 0)
		close(fd);
	spool_landing_clear(l);
	return true;
}

struct spool *
capture_replay_spool_open(const char *state_dir, const char *era, int *error)
{
	struct spool *spool = spool_open(state_dir, era, error);
	bool loops, threads;

	if (!spool)
		return NULL;
	loops = replay(spool, &spool_landings(spool)->loop);
	threads = replay(spool, &spool_landings(spool)->thread);
	if (!loops && !threads)
		return spool;
	/* Once more, with what it has now. */
	spool_free(spool);
	return spool_open(state_dir, era, error);
}
