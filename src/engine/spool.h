#ifndef ENGINE_SPOOL_H
#define ENGINE_SPOOL_H
/*
 * Where the output of running jobs survives the engine: a file STATE/spool, mapped shared, whose
 * slots each hold one stream's record and, up to 64 KiB, its bytes; what is more lies in a file
 * STATE/output/JOB.ATTEMPT.STREAM that the record describes. Nothing is ever synced: it survives
 * the end of the process, however it came, not that of the machine (an era ends with the boot).
 *
 * The writer gives up what it is about to overwrite (start moves), writes, and then announces
 * what is new (end moves). What a kill finds on its way from a pipe to there lies in a landing, from
 * where capture_replay_spool_open puts it in its place.
 *
 *	spool_open -> spool_find for each stream to go on with -> spool_sweep
 *	spool_take at a stream's first byte -> spool_slot_reserve as it grows
 *	-> spool_slot_give_back
 *
 * All calls from one thread; the bytes and the record of a slot belong to whoever writes the ring.
 */
#include "engine/ring_file.h"
#include "engine/spool_landing.h"
#include "engine/spool_slot.h"

#include <stdbool.h>
#include <stdint.h>

#define SPOOL_ERA_MAX 88 /* with the zero */

struct spool;

/* Opens STATE/spool and STATE/output, making them where they are missing. What they hold counts
 * only if it was written under the same `era` (boot, instance of the journal): otherwise it
 * is as if nothing were there. One spool per directory at a time. NULL: *error is -errno. */
struct spool *spool_open(const char *state_dir, const char *era, int *error);
/* Closes; slots in use stay as they are, for the next spool_open. NULL is allowed. */
void spool_free(struct spool *s);
void spool_set_allocate(struct spool *s, spool_allocate_fn allocate);

/* STATE/output. */
const char *spool_output_dir(const struct spool *s);
/* Where its pipes are to be read. */
struct spool_landings *spool_landings(struct spool *s);
/* Slots in use, those found and not asked for included. */
unsigned spool_used(const struct spool *s);

/* A slot for a stream that begins, its record valid, reserved for a few bytes. NULL: *error is
 * -errno (-ENOSPC, -ENOMEM, …). */
struct spool_slot *spool_take(struct spool *s, const struct ring_name *name, int64_t limit,
    int64_t room, int *error);
/* What an earlier engine left of a stream, validated, once: the caller's from here on. NULL. */
struct spool_slot *spool_find(struct spool *s, const struct ring_name *name);

/* Whether history names the file of this stream. */
typedef bool (*spool_keep_cb)(void *arg, const struct ring_name *name);
typedef void (*spool_drop_cb)(void *arg, const struct ring_name *name);
/* Gives back all that was found and not asked for, and calls `drop` for each file that was there
 * at the opening, belongs to none of the streams that were asked for, and is not to be kept. */
void spool_sweep(struct spool *s, spool_keep_cb keep, spool_drop_cb drop, void *arg);

#endif
