/*
 * The marks are random bytes at both ends of where a read is to put its own. If the last ones are
 * gone, all came; if the first ones stand, none did. Only a copy that failed at a page of ours (which
 * the kernel may do to a process that is being killed) can be in between: it ends where a page does.
 */
#include "engine/spool_landing.h"

#include "engine/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LANDING_MAGIC UINT64_C(0x31646e616c746f73) /* of this form of the record */
#define PAGE_BYTES 4096 /* the least that there is: the bytes begin with one */
#define RECORD_BYTES PAGE_BYTES
#define MARK_BYTES 16
#define MAP_BYTES (2 * RECORD_BYTES + SPOOL_LANDING_LOOP_BYTES + SPOOL_LANDING_THREAD_BYTES)

enum landing_state {
	LANDING_CLEAR,
	LANDING_READING, /* from here on the pipe may have been read */
	LANDING_READ,    /* len bytes came */
};

/* As it stands in the file, before the bytes. To change it, give it another magic. */
struct spool_landing_record {
	uint64_t magic;
	char era[SPOOL_ERA_MAX];
	unsigned char mark[MARK_BYTES];
	_Atomic uint32_t state; /* enum landing_state */
	uint32_t len;
	uint32_t attempt, stream;
	uint64_t job;
	int64_t limit, offset;
};

_Static_assert(sizeof(struct spool_landing_record) <= RECORD_BYTES, "the record has its place");

/* ---- the file ---- */

static int
open_file(const char *state_dir)
{
	struct stat st;
	char *path;
	int fd, error;

	if (asprintf(&path, "%s/landing", state_dir) < 0)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	error = fd < 0 ? errno : 0;
	free(path);
	if (fd < 0)
		return -error;
	if (fstat(fd, &st) < 0)
		error = errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		error = EPERM;
	/* Without blocks, writing there could be SIGBUS on a full disk. */
	while (!error && (error = posix_fallocate(fd, 0, MAP_BYTES)) == EINTR)
		error = 0;
	if (!error)
		return fd;
	close(fd);
	return -error;
}

/* The file of the directory. MAP_FAILED: *error is the errno. */
static void *
map_file(const char *state_dir, int *error)
{
	int fd = open_file(state_dir);
	void *map = MAP_FAILED;

	*error = -fd;
	if (fd < 0)
		return map;
	map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*error = map == MAP_FAILED ? errno : 0;
	close(fd);
	return map;
}

static void
make_mark(unsigned char mark[MARK_BYTES])
{
	size_t i;

	if (getrandom(mark, MARK_BYTES, GRND_NONBLOCK) != MARK_BYTES)
		memset(mark, 0xff, MARK_BYTES);
	for (i = 0; i < MARK_BYTES; i++)
		mark[i] |= 0x80; /* no text, were it one byte of it, is taken for a mark */
}

/* Begins anew, unless there is something of this era. */
static void
begin(struct spool_landing *l, unsigned char *at, size_t size, const char *era)
{
	struct spool_landing_record *r = (struct spool_landing_record *)(void *)at;

	*l = (struct spool_landing){.record = r, .bytes = at + RECORD_BYTES, .size = size};
	if (r->magic == LANDING_MAGIC && memchr(r->era, 0, sizeof(r->era))
	    && strcmp(r->era, era) == 0)
		return;
	spool_landing_clear(l);
	make_mark(r->mark);
	snprintf(r->era, sizeof(r->era), "%s", era);
	r->magic = LANDING_MAGIC;
}

int
spool_landings_open(struct spool_landings *l, const char *state_dir, const char *era)
{
	unsigned char *map = MAP_FAILED;

	l->map = NULL;
	l->error = 0;
	if (state_dir)
		map = map_file(state_dir, &l->error);
	if (map == MAP_FAILED)
		map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	l->map = map;
	begin(&l->loop, map, SPOOL_LANDING_LOOP_BYTES, era);
	begin(&l->thread, l->loop.bytes + SPOOL_LANDING_LOOP_BYTES, SPOOL_LANDING_THREAD_BYTES, era);
	return 0;
}

void
spool_landings_close(struct spool_landings *l)
{
	if (l->map)
		munmap(l->map, MAP_BYTES);
	l->map = NULL;
}

/* ---- reading ---- */

static void
set_state(struct spool_landing *l, enum landing_state state)
{
	atomic_store_explicit(&l->record->state, state, memory_order_release);
}

/* How much of `len` bytes is marked at the end, and at the beginning. */
static size_t
last_mark(size_t len)
{
	return len < MARK_BYTES ? len : MARK_BYTES;
}

static size_t
first_mark(size_t len)
{
	return last_mark(len - last_mark(len));
}

void
spool_landing_expect(struct spool_landing *l, const struct spool_landing_for *whose, size_t len)
{
	struct spool_landing_record *r = l->record;

	r->job = whose->name.job;
	r->attempt = whose->name.attempt;
	r->stream = whose->name.stream;
	r->limit = whose->limit;
	r->offset = whose->offset;
	r->len = (uint32_t)len;
	memcpy(l->bytes, r->mark, first_mark(len));
	memcpy(l->bytes + len - last_mark(len), r->mark, last_mark(len));
	set_state(l, LANDING_READING);
}

void
spool_landing_came(struct spool_landing *l, size_t n)
{
	l->record->len = (uint32_t)n;
	set_state(l, LANDING_READ);
}

void
spool_landing_clear(struct spool_landing *l)
{
	set_state(l, LANDING_CLEAR);
}

/* ---- what was left ---- */

static bool
first_stands(const struct spool_landing *l, size_t len)
{
	return memcmp(l->bytes, l->record->mark, first_mark(len)) == 0;
}

/* Or as much of it as is in the last page. */
static bool
last_stands(const struct spool_landing *l, size_t len)
{
	size_t mark = last_mark(len), n = len % PAGE_BYTES;

	if (n == 0 || n > mark)
		n = mark;
	return memcmp(l->bytes + len - n, l->record->mark + mark - n, n) == 0;
}

bool
spool_landing_left(const struct spool_landing *l, struct spool_landing_left *left)
{
	const struct spool_landing_record *r = l->record;
	uint32_t state = atomic_load_explicit(&r->state, memory_order_acquire);

	if (state != LANDING_READING && state != LANDING_READ)
		return false;
	if (r->job == 0 || (r->stream != 1 && r->stream != 2) || r->limit < 0 || r->offset < 0
	    || r->len == 0 || r->len > l->size)
		return false;
	*left = (struct spool_landing_left){
		.whose = {{r->job, r->attempt, (uint8_t)r->stream}, r->limit, r->offset},
		.len = r->len,
	};
	if (state == LANDING_READ || !last_stands(l, r->len))
		return true;
	left->torn = !first_stands(l, r->len);
	return left->torn;
}
