/*
 * The spool file: a head, then slots. What an earlier engine left in them is put into a table at
 * the opening, from which it is asked for.
 */
#include "engine/spool.h"

#include "engine/ring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_MAGIC "slotspl"
#define SPOOL_VERSION 1
#define RECORD_MAGIC UINT64_C(0x676e697274306c73)

#define OFFSET_MAX (INT64_MAX / 4) /* of a stream: beyond is garbage */

_Static_assert(SPOOL_BYTES_MAX >= RING_MEMORY_MAX, "a slot holds what memory would");

struct spool_head {
	char magic[8];
	uint32_t version;
	uint32_t slot_bytes;
	char era[SPOOL_ERA_MAX];
};

/* A stream that an earlier engine left. */
struct found {
	struct ring_name name;
	struct spool_slot *slot;
	bool asked; /* the slot is another's by now, and maybe another stream's */
};

struct spool {
	int fd;
	char *output_dir;
	struct found *found; /* sorted by name */
	size_t nfound, found_max;
	struct ring_name *files; /* that were there at the opening */
	size_t nfiles, files_max;
	struct spool_slots slots;
	struct spool_landings landings;
};

static struct ring_name
record_name(const struct spool_record *r)
{
	return (struct ring_name){r->job, r->attempt, (uint8_t)r->stream};
}

/* The array, grown where `n` fill it. NULL: out of memory, and it is as it was. */
static void *
with_room(void *array, size_t n, size_t *max, size_t size)
{
	size_t more = *max ? *max * 2 : 16;

	if (n < *max)
		return array;
	array = reallocarray(array, more, size);
	if (array)
		*max = more;
	return array;
}

/* ---- what is in the file when it is opened ---- */

/* Nothing that the file says is believed before it has passed here. */
static bool
record_valid(const struct spool_record *r)
{
	int64_t start = atomic_load_explicit(&r->start, memory_order_relaxed);
	int64_t end = atomic_load_explicit(&r->end, memory_order_relaxed);
	int64_t slot_room = atomic_load_explicit(&r->slot_room, memory_order_relaxed);
	int64_t file_room = atomic_load_explicit(&r->file_room, memory_order_relaxed);
	uint32_t storage = atomic_load_explicit(&r->storage, memory_order_relaxed);
	int32_t error = atomic_load_explicit(&r->error, memory_order_relaxed);
	int64_t room_max = r->limit < RING_MEMORY_MAX ? r->limit : RING_MEMORY_MAX;

	if (atomic_load_explicit(&r->magic, memory_order_acquire) != RECORD_MAGIC)
		return false;
	if (r->job == 0 || (r->stream != 1 && r->stream != 2))
		return false;
	if (r->limit < 0 || slot_room < 0 || slot_room > room_max)
		return false;
	if (start < 0 || start > OFFSET_MAX || end < 0 || end > OFFSET_MAX)
		return false;
	if (error < 0 || error > 4095)
		return false;
	if (storage == SPOOL_STORAGE_SLOT)
		return end - start <= slot_room;
	return storage == SPOOL_STORAGE_FILE && r->limit > RING_MEMORY_MAX && file_room > 0
	    && file_room <= r->limit && end - start <= file_room;
}

/* Read rather than looked at in the map: that would make each page of it ours to hold. */
static bool
slot_seems_used(struct spool *s, const struct spool_slot *slot)
{
	uint64_t magic = 0;

	return pread(s->fd, &magic, sizeof(magic), spool_slot_offset(slot)) == (ssize_t)sizeof(magic)
	    && magic == RECORD_MAGIC;
}

static int
scan_slot(struct spool *s, struct spool_slot *slot)
{
	struct found *found;

	if (!slot_seems_used(s, slot) || !record_valid(slot->record)) {
		spool_slots_add_unused(slot);
		return 0;
	}
	found = with_room(s->found, s->nfound, &s->found_max, sizeof(*found));
	if (!found)
		return -ENOMEM;
	s->found = found;
	s->found[s->nfound++] = (struct found){record_name(slot->record), slot, false};
	spool_slots_add_used(slot);
	return 0;
}

static int
compare_found(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return ring_name_compare(&x->name, &y->name);
}

/* Sorts the table; of what is there twice (which never happened) one remains. */
static void
sort_found(struct spool *s)
{
	size_t i, n = 0;

	if (s->nfound > 1)
		qsort(s->found, s->nfound, sizeof(*s->found), compare_found);
	for (i = 0; i < s->nfound; i++)
		if (n > 0 && compare_found(&s->found[i], &s->found[n - 1]) == 0)
			spool_slot_give_back(s->found[i].slot);
		else
			s->found[n++] = s->found[i];
	s->nfound = n;
}

static int
compare_names(const void *a, const void *b)
{
	return ring_name_compare(a, b);
}

/* Looks at each slot that is there; the first of the unused ones end up on top. */
static int
scan_slots(struct spool *s, off_t size)
{
	int error = spool_slots_init(&s->slots, s->fd, size);
	unsigned n = spool_slots_count(&s->slots);

	while (!error && n-- > 0)
		error = scan_slot(s, spool_slots_at(&s->slots, n));
	if (!error)
		sort_found(s);
	return error;
}

/* Checks the head; a file that says another is emptied and begun anew. */
static int
open_head(struct spool *s, const char *era, off_t *size)
{
	struct spool_head head, there;
	struct stat st;
	ssize_t n;

	memset(&head, 0, sizeof(head));
	memcpy(head.magic, SPOOL_MAGIC, sizeof(SPOOL_MAGIC));
	head.version = SPOOL_VERSION;
	head.slot_bytes = SPOOL_SLOT_BYTES;
	snprintf(head.era, sizeof(head.era), "%s", era);
	if (fstat(s->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return -EPERM;
	*size = st.st_size;
	n = pread(s->fd, &there, sizeof(there), 0);
	if (n < 0)
		return -errno;
	if (n == (ssize_t)sizeof(there) && memcmp(&there, &head, sizeof(head)) == 0)
		return 0;
	/* First the slots go, then it says that what follows is new; its block stays, so that this
	 * works on a full disk too. */
	*size = SPOOL_HEAD_BYTES;
	if (ftruncate(s->fd, SPOOL_HEAD_BYTES) < 0)
		return -errno;
	n = pwrite(s->fd, &head, sizeof(head), 0);
	if (n != (ssize_t)sizeof(head))
		return n < 0 ? -errno : -ENOSPC;
	return 0;
}

static int
list_files(struct spool *s)
{
	DIR *dir = opendir(s->output_dir);
	struct dirent *entry;
	int error = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)) != NULL) {
		struct ring_name name, *files;

		if (!ring_name_parse(entry->d_name, &name))
			continue;
		files = with_room(s->files, s->nfiles, &s->files_max, sizeof(*files));
		if (!files) {
			error = -ENOMEM;
			break;
		}
		s->files = files;
		s->files[s->nfiles++] = name;
	}
	closedir(dir);
	if (!error && s->nfiles > 1)
		qsort(s->files, s->nfiles, sizeof(*s->files), compare_names);
	return error;
}

static int
open_parts(struct spool *s, const char *state_dir, const char *era)
{
	char *path = NULL;
	off_t size;
	int error;

	if (asprintf(&s->output_dir, "%s/output", state_dir) < 0) {
		s->output_dir = NULL;
		return -ENOMEM;
	}
	if (mkdir(s->output_dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (asprintf(&path, "%s/spool", state_dir) < 0)
		return -ENOMEM;
	s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	error = s->fd < 0 ? -errno : open_head(s, era, &size);
	free(path);
	if (!error)
		error = scan_slots(s, size);
	if (!error)
		error = list_files(s);
	return error ? error : spool_landings_open(&s->landings, state_dir, era);
}

struct spool *
spool_open(const char *state_dir, const char *era, int *error)
{
	struct spool *s;

	*error = strlen(era) < SPOOL_ERA_MAX ? -ENOMEM : -ENAMETOOLONG;
	s = *error == -ENOMEM ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return NULL;
	s->fd = -1;
	*error = open_parts(s, state_dir, era);
	if (*error == 0)
		return s;
	spool_free(s);
	return NULL;
}

void
spool_free(struct spool *s)
{
	if (!s)
		return;
	spool_slots_fini(&s->slots);
	spool_landings_close(&s->landings);
	if (s->fd >= 0)
		close(s->fd);
	free(s->output_dir);
	free(s->found);
	free(s->files);
	free(s);
}

void
spool_set_allocate(struct spool *s, spool_allocate_fn allocate)
{
	s->slots.allocate = allocate;
}

const char *
spool_output_dir(const struct spool *s)
{
	return s->output_dir;
}

struct spool_landings *
spool_landings(struct spool *s)
{
	return &s->landings;
}

unsigned
spool_used(const struct spool *s)
{
	return s->slots.used;
}

struct spool_slot *
spool_take(struct spool *s, const struct ring_name *name, int64_t limit, int64_t room, int *error)
{
	struct spool_slot *slot = spool_slots_take(&s->slots, error);
	struct spool_record *r;

	if (!slot)
		return NULL;
	r = slot->record;
	atomic_store_explicit(&r->magic, 0, memory_order_release);
	r->job = name->job;
	r->attempt = name->attempt;
	r->stream = name->stream;
	r->limit = limit;
	atomic_store_explicit(&r->start, 0, memory_order_relaxed);
	atomic_store_explicit(&r->end, 0, memory_order_relaxed);
	atomic_store_explicit(&r->slot_room, room, memory_order_relaxed);
	atomic_store_explicit(&r->file_room, 0, memory_order_relaxed);
	atomic_store_explicit(&r->storage, SPOOL_STORAGE_SLOT, memory_order_relaxed);
	atomic_store_explicit(&r->error, 0, memory_order_relaxed);
	atomic_store_explicit(&r->magic, RECORD_MAGIC, memory_order_release);
	return slot;
}

/* ---- what an earlier engine left ---- */

static struct found *
look_up(const struct spool *s, const struct ring_name *name)
{
	struct found key = {.name = *name};

	if (s->nfound == 0)
		return NULL;
	return bsearch(&key, s->found, s->nfound, sizeof(key), compare_found);
}

struct spool_slot *
spool_find(struct spool *s, const struct ring_name *name)
{
	struct found *f = look_up(s, name);

	if (!f || f->asked)
		return NULL;
	/* Its page has blocks; but if it is garbage after all, it may be a hole. */
	if (spool_slot_reserve(f->slot, 1) != 0)
		return NULL;
	f->asked = true;
	return f->slot;
}

void
spool_sweep(struct spool *s, spool_keep_cb keep, spool_drop_cb drop, void *arg)
{
	size_t i;

	for (i = 0; i < s->nfiles; i++) {
		struct found *f = look_up(s, &s->files[i]);

		if (f && f->asked)
			continue;
		if (!keep || !keep(arg, &s->files[i]))
			drop(arg, &s->files[i]);
	}
	for (i = 0; i < s->nfound; i++)
		if (!s->found[i].asked)
			spool_slot_give_back(s->found[i].slot);
	free(s->found);
	free(s->files);
	s->found = NULL;
	s->files = NULL;
	s->nfound = s->found_max = s->nfiles = s->files_max = 0;
}
