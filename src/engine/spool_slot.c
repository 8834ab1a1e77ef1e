/*
 * Slots: mapped, reserved, given back. What is in their records is spool.c's and the rings'.
 */
#include "engine/spool_slot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_MAX 65536 /* the biggest page there is: everything mapped is aligned to it */
#define SEGMENT_SLOTS 64
#define SEGMENT_BYTES ((off_t)SPOOL_SLOT_BYTES * SEGMENT_SLOTS)
#define RESERVE_FIRST 4096
#define RESERVE_SECOND 16384

_Static_assert(sizeof(struct spool_record) <= SPOOL_RECORD_BYTES, "the record has its place");
_Static_assert(SPOOL_RECORD_BYTES + SPOOL_BYTES_MAX <= SPOOL_SLOT_BYTES, "a slot has its place");
_Static_assert(SPOOL_HEAD_BYTES % PAGE_MAX == 0 && SEGMENT_BYTES % PAGE_MAX == 0,
    "segments can be mapped");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
    "a record needs no lock that a kill could leave taken");

struct spool_segment {
	unsigned char *map;
	struct spool_slot slots[SEGMENT_SLOTS];
};

/* ---- segments ---- */

/* Maps the next segment, which the file already has. */
static int
map_segment(struct spool_slots *s)
{
	struct spool_segment *g = calloc(1, sizeof(*g));
	off_t off = SPOOL_HEAD_BYTES + SEGMENT_BYTES * s->nsegments;
	int error;
	unsigned i;

	if (!g)
		return -ENOMEM;
	g->map = mmap(NULL, (size_t)SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, off);
	if (g->map == MAP_FAILED) {
		error = -errno;
		free(g);
		return error;
	}
	for (i = 0; i < SEGMENT_SLOTS; i++) {
		unsigned char *at = g->map + (size_t)i * SPOOL_SLOT_BYTES;

		g->slots[i].slots = s;
		g->slots[i].record = (struct spool_record *)(void *)at;
		g->slots[i].bytes = at + SPOOL_RECORD_BYTES;
		g->slots[i].number = s->nsegments * SEGMENT_SLOTS + i;
	}
	s->segments[s->nsegments++] = g;
	return 0;
}

static int
add_segment(struct spool_slots *s)
{
	unsigned i;
	int error;

	if (s->nsegments == SPOOL_SEGMENTS_MAX)
		return -ENOSPC;
	if (ftruncate(s->fd, SPOOL_HEAD_BYTES + SEGMENT_BYTES * (s->nsegments + 1)) < 0)
		return -errno;
	error = map_segment(s);
	if (error)
		return error;
	for (i = SEGMENT_SLOTS; i-- > 0;)
		spool_slots_add_unused(&s->segments[s->nsegments - 1]->slots[i]);
	return 0;
}

int
spool_slots_init(struct spool_slots *s, int fd, off_t size)
{
	off_t n = (size - SPOOL_HEAD_BYTES) / SEGMENT_BYTES;
	int error = 0;

	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->allocate = posix_fallocate;
	s->page = (off_t)sysconf(_SC_PAGESIZE);
	while (!error && s->nsegments < n && s->nsegments < SPOOL_SEGMENTS_MAX)
		error = map_segment(s);
	return error;
}

void
spool_slots_fini(struct spool_slots *s)
{
	while (s->nsegments > 0) {
		struct spool_segment *g = s->segments[--s->nsegments];

		munmap(g->map, (size_t)SEGMENT_BYTES);
		free(g);
	}
}

unsigned
spool_slots_count(const struct spool_slots *s)
{
	return s->nsegments * SEGMENT_SLOTS;
}

struct spool_slot *
spool_slots_at(const struct spool_slots *s, unsigned number)
{
	return &s->segments[number / SEGMENT_SLOTS]->slots[number % SEGMENT_SLOTS];
}

off_t
spool_slot_offset(const struct spool_slot *slot)
{
	return SPOOL_HEAD_BYTES + (off_t)slot->number * SPOOL_SLOT_BYTES;
}

/* ---- who has which ---- */

void
spool_slots_add_used(struct spool_slot *slot)
{
	slot->slots->used++;
}

void
spool_slots_add_unused(struct spool_slot *slot)
{
	SLIST_INSERT_HEAD(&slot->slots->cold, slot, next);
}

/* An unused slot, off its list. */
static struct spool_slot *
pop_slot(struct spool_slots *s, int *error)
{
	struct spool_slot *slot = SLIST_FIRST(&s->warm);

	if (slot) {
		SLIST_REMOVE_HEAD(&s->warm, next);
		s->nwarm--;
		return slot;
	}
	*error = SLIST_EMPTY(&s->cold) ? add_segment(s) : 0;
	if (*error)
		return NULL;
	slot = SLIST_FIRST(&s->cold);
	SLIST_REMOVE_HEAD(&s->cold, next);
	return slot;
}

struct spool_slot *
spool_slots_take(struct spool_slots *s, int *error)
{
	struct spool_slot *slot = pop_slot(s, error);

	if (!slot)
		return NULL;
	*error = spool_slot_reserve(slot, 1);
	if (*error) {
		spool_slots_add_unused(slot);
		return NULL;
	}
	s->used++;
	return slot;
}

/* Gives the slot's blocks back to the file system, and its pages to the system. */
static void
cool(struct spool_slot *slot)
{
	const struct spool_slots *s = slot->slots;

	/* (With bigger pages the neighbours' would get holes.) */
	if (SPOOL_SLOT_BYTES % s->page == 0
	    && fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	        spool_slot_offset(slot), SPOOL_SLOT_BYTES) == 0)
		slot->reserved = 0;
}

void
spool_slot_give_back(struct spool_slot *slot)
{
	struct spool_slots *s = slot->slots;

	atomic_store_explicit(&slot->record->magic, 0, memory_order_release);
	s->used--;
	if (s->nwarm < SPOOL_WARM_MAX) {
		s->nwarm++;
		SLIST_INSERT_HEAD(&s->warm, slot, next);
	} else {
		cool(slot);
		spool_slots_add_unused(slot);
	}
}

/* ---- blocks ---- */

int
spool_slot_reserve(struct spool_slot *slot, size_t bytes)
{
	const struct spool_slots *s = slot->slots;
	size_t want = SPOOL_RECORD_BYTES + bytes;
	off_t from, to;
	int error;

	assert(bytes <= SPOOL_BYTES_MAX);
	if (want <= slot->reserved)
		return 0;
	if (want <= RESERVE_FIRST)
		want = RESERVE_FIRST;
	else if (want <= RESERVE_SECOND)
		want = RESERVE_SECOND;
	else
		want = SPOOL_SLOT_BYTES;
	/* Whole pages, as a page is written back whole: where they are bigger than these steps,
	 * a part of the neighbours too. */
	from = spool_slot_offset(slot) / s->page * s->page;
	to = (spool_slot_offset(slot) + (off_t)want + s->page - 1) / s->page * s->page;
	do
		error = s->allocate(s->fd, from, to - from);
	while (error == EINTR);
	if (error)
		return -error;
	slot->reserved = (uint32_t)want;
	return 0;
}

size_t
spool_slot_capacity(const struct spool_slot *slot)
{
	size_t n = slot->reserved;

	if (n <= SPOOL_RECORD_BYTES)
		return 0;
	n -= SPOOL_RECORD_BYTES;
	return n < SPOOL_BYTES_MAX ? n : SPOOL_BYTES_MAX;
}
