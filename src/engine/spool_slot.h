#ifndef ENGINE_SPOOL_SLOT_H
#define ENGINE_SPOOL_SLOT_H
/*
 * The slots of a spool file: a record and room for the bytes of one stream each, mapped shared.
 * They come in segments, mapped one by one, so that what is mapped never moves; blocks are
 * reserved before they are touched, the rest is holes.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#define SPOOL_HEAD_BYTES 65536 /* before the first slot */
#define SPOOL_BYTES_MAX 65536  /* that a slot holds of a stream … */
#define SPOOL_RECORD_BYTES 256 /* … after its record */
#define SPOOL_SLOT_BYTES (SPOOL_BYTES_MAX + 4096) /* from one to the next in the file */
#define SPOOL_WARM_MAX 32      /* unused slots that keep their blocks */
#define SPOOL_SEGMENTS_MAX 1024

enum spool_storage {
	SPOOL_STORAGE_SLOT, /* offset o lies at o % slot_room of the slot */
	SPOOL_STORAGE_FILE, /* … at o % file_room of the named file */
};

/*
 * As it stands in the file. To change it: raise SPOOL_VERSION in spool.c. A spool of another
 * version is emptied at start, what was captured of jobs running then is lost (their later
 * output is not), so there is nothing to convert.
 */
struct spool_record {
	_Atomic uint64_t magic; /* set last, cleared first */
	uint64_t job;
	uint32_t attempt;
	uint32_t stream;
	int64_t limit; /* bytes to be kept at most */
	_Atomic int64_t start, end; /* start > end: killed in between, nothing is kept */
	_Atomic int64_t slot_room, file_room;
	_Atomic uint32_t storage; /* enum spool_storage */
	_Atomic int32_t error;    /* ring.error */
};

struct spool_segment;

struct spool_slot {
	struct spool_slots *slots;
	struct spool_record *record; /* both are mapped */
	unsigned char *bytes;
	uint32_t reserved; /* bytes of the slot that surely have blocks, the record included */
	uint32_t number;   /* of its place in the file */
	SLIST_ENTRY(spool_slot) next;
};

/* Reserves blocks: as posix_fallocate, an errno or 0. Tests give another. */
typedef int (*spool_allocate_fn)(int fd, off_t off, off_t len);

SLIST_HEAD(spool_slot_stack, spool_slot);

struct spool_slots {
	int fd;
	spool_allocate_fn allocate;
	off_t page;
	unsigned nsegments, used, nwarm;
	/* Last in, first out, so that few pages are ever dirty: those that have blocks first. */
	struct spool_slot_stack warm, cold;
	struct spool_segment *segments[SPOOL_SEGMENTS_MAX];
};

/* ---- all of them, for the spool ---- */

/* The slots in a file `fd` (borrowed) of `size` bytes, none of them in use or to be had as yet.
 * 0 or -errno; to be ended with fini in either case. */
int spool_slots_init(struct spool_slots *s, int fd, off_t size);
void spool_slots_fini(struct spool_slots *s);
unsigned spool_slots_count(const struct spool_slots *s);
struct spool_slot *spool_slots_at(const struct spool_slots *s, unsigned number);
off_t spool_slot_offset(const struct spool_slot *slot);

/* After init, for each: it is in use, or it is to be had. */
void spool_slots_add_used(struct spool_slot *slot);
void spool_slots_add_unused(struct spool_slot *slot);

/* One to be had, in use from here on, reserved for its record and a few bytes, both of which are
 * as somebody left them. NULL: *error is -errno. */
struct spool_slot *spool_slots_take(struct spool_slots *s, int *error);

/* ---- one in use, for its ring ---- */

/* Blocks for `bytes` bytes of the stream (up to SPOOL_BYTES_MAX): without, writing there could
 * be SIGBUS on a full disk. 0 or -errno. */
int spool_slot_reserve(struct spool_slot *slot, size_t bytes);
/* How many bytes are reserved. */
size_t spool_slot_capacity(const struct spool_slot *slot);
void spool_slot_give_back(struct spool_slot *slot);

#endif
