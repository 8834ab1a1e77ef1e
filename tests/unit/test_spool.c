/*
 * What survives the engine of the output of jobs. A killed engine leaves its state directory as
 * it was at that moment: here a copy of it, from which another engine goes on.
 */
#include "core/loop.h"
#include "engine/capture.h"
#include "engine/ring.h"
#include "engine/spool.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define DEADLINE_US 20000000
#define ERA "boot 1, journal 1"
#define PATH_BYTES 256
#define SLOTS_A_SEGMENT 64

static char root[] = "/tmp/slotd-test-spool-XXXXXX";
static char state[PATH_BYTES]; /* of the engine that is alive */
static int generation;

static struct spool *spool;
static struct ring_group group;
static int disk_full; /* calls of the allocator until there is no more room; -1: never */

/* ---- directories ---- */

static const char *
path_in(const char *dir, const char *name)
{
	static char paths[4][2 * PATH_BYTES];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static const char *
output_path(const char *name)
{
	static char path[2 * PATH_BYTES];

	snprintf(path, sizeof(path), "%s/output/%s", state, name);
	return path;
}

static void
copy_file(const char *from, const char *to)
{
	static unsigned char buf[64 * 1024], zero[64 * 1024];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	off_t off = 0;
	ssize_t n;

	ck_assert_int_ge(in, 0);
	ck_assert_int_ge(out, 0);
	while ((n = read(in, buf, sizeof(buf))) > 0) {
		if (memcmp(buf, zero, (size_t)n) != 0)
			ck_assert_int_eq(pwrite(out, buf, (size_t)n, off), n);
		off += n;
	}
	ck_assert_int_eq(ftruncate(out, off), 0);
	close(in);
	close(out);
}

static void
each_entry(const char *dir, void (*fn)(const char *dir, const char *name))
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	if (!d)
		return;
	while ((entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			fn(dir, entry->d_name);
	closedir(d);
}

static void
remove_entry(const char *dir, const char *name)
{
	char path[2 * PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (unlink(path) == 0)
		return;
	each_entry(path, remove_entry);
	ck_assert_int_eq(rmdir(path), 0);
}

static int nentries;

static void
count_entry(const char *dir, const char *name)
{
	(void)dir, (void)name;
	nentries++;
}

static int
files_left(void)
{
	nentries = 0;
	each_entry(path_in(state, "output"), count_entry);
	return nentries;
}

static char copied_to[PATH_BYTES];

static void
copy_output(const char *dir, const char *name)
{
	char from[2 * PATH_BYTES], to[2 * PATH_BYTES];

	snprintf(from, sizeof(from), "%s/%s", dir, name);
	snprintf(to, sizeof(to), "%s/output/%s", copied_to, name);
	copy_file(from, to);
}

/* `state` becomes a copy, as it is this moment. */
static void
copy_state(void)
{
	snprintf(copied_to, sizeof(copied_to), "%s/%d", root, ++generation);
	ck_assert_int_eq(mkdir(copied_to, 0700), 0);
	ck_assert_int_eq(mkdir(path_in(copied_to, "output"), 0700), 0);
	copy_file(path_in(state, "spool"), path_in(copied_to, "spool"));
	each_entry(path_in(state, "output"), copy_output);
	strcpy(state, copied_to);
}

static void
make_file(const char *name, const char *text)
{
	int fd = open(output_path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static bool
file_exists(const char *name)
{
	return access(output_path(name), F_OK) == 0;
}

static int
allocate(int fd, off_t off, off_t len)
{
	if (disk_full == 0)
		return ENOSPC;
	if (disk_full > 0)
		disk_full--;
	return posix_fallocate(fd, off, len);
}

static struct spool *
open_spool(const char *era)
{
	int error = 1;
	struct spool *s = spool_open(state, era, &error);

	ck_assert_msg(s != NULL, "spool_open: %s", strerror(-error));
	ck_assert_int_eq(error, 0);
	spool_set_allocate(s, allocate);
	return s;
}

static void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	strcpy(root, "/tmp/slotd-test-spool-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	generation = 0;
	snprintf(state, sizeof(state), "%s/0", root);
	ck_assert_int_eq(mkdir(state, 0700), 0);
	disk_full = -1;
	memset(&group, 0, sizeof(group));
	pthread_mutex_init(&group.lock, NULL);
	spool = open_spool(ERA);
}

static void
teardown(void)
{
	spool_free(spool);
	ck_assert_int_eq(group.kept_bytes, 0);
	ck_assert_int_eq(group.files, 0);
	pthread_mutex_destroy(&group.lock);
	each_entry(root, remove_entry);
	ck_assert_int_eq(rmdir(root), 0);
}

/* The engine is killed, the next one opens what it left. Rings of before are let go of. */
static void
restart(struct ring *r)
{
	copy_state();
	if (r) {
		int fd = ring_leave(r);

		if (fd >= 0)
			close(fd);
	}
	spool_free(spool);
	spool = open_spool(ERA);
}

static bool
keep_none(void *arg, const struct ring_name *name)
{
	(void)arg, (void)name;
	return false;
}

static void
drop_now(void *arg, const struct ring_name *name)
{
	char text[RING_NAME_MAX];

	(void)arg;
	ring_name_format(name, text);
	ck_assert_int_eq(ring_file_unlink(spool_output_dir(spool), text), 0);
}

/* ---- rings ---- */

static unsigned char
byte_at(int64_t off)
{
	return (unsigned char)(((uint64_t)off * 2654435761u) >> 11);
}

static unsigned char *
pattern(int64_t off, size_t len)
{
	unsigned char *buf = malloc(len + 1);
	size_t i;

	ck_assert_ptr_nonnull(buf);
	for (i = 0; i < len; i++)
		buf[i] = byte_at(off + (int64_t)i);
	return buf;
}

static void
check_bytes(const unsigned char *buf, int64_t off, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (buf[i] != byte_at(off + (int64_t)i))
			ck_abort_msg("another byte at %lld", (long long)off + (long long)i);
}

static void
append(struct ring *r, size_t len)
{
	unsigned char *data = pattern(r->end, len);

	if (ring_needs_file(r, len)) {
		int fd = ring_file_create(spool_output_dir(spool), &r->name);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ring_move_to_file(r, fd), 0);
	}
	ring_append(r, data, len);
	free(data);
}

static void
check_ring(struct ring *r, int64_t start, int64_t end)
{
	static unsigned char buf[50000];
	int64_t off = 0, at = start;
	ssize_t n;

	ck_assert_int_eq(r->start, start);
	ck_assert_int_eq(r->end, end);
	while ((n = ring_read(r, &off, buf, sizeof(buf))) > 0) {
		ck_assert_int_eq(off, at);
		check_bytes(buf, off, (size_t)n);
		at = off += n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(at, end);
	ck_assert_int_eq(group.kept_bytes, end - start);
}

static void
init_ring(struct ring *r, uint64_t job, int64_t limit)
{
	struct ring_name name = {job, 1, 1};

	ring_init(r, &group, limit);
	ring_set_spool(r, spool, &name);
}

static void
adopt(struct ring *r, uint64_t job, int64_t limit)
{
	init_ring(r, job, limit);
	ring_adopt(r);
}

static void
fini(struct ring *r)
{
	int fd = ring_fini(r);

	if (fd >= 0)
		close(fd);
}

START_TEST(names_are_exact)
{
	static const char *const bad[] = {"", "1", "1.1", "1.1.", "1.1.0", "1.1.3", "01.1.1", "1.01.1",
		"1.1.1.1", "1.1.1 ", " 1.1.1", "-1.1.1", "0.1.1", "1.4294967296.1", "../1.1.1",
		"18446744073709551616.1.1", "a.1.1", "1.1.11"};
	struct ring_name name, other;
	char text[RING_NAME_MAX];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!ring_name_parse(bad[i], &name), "%s", bad[i]);
	ck_assert(ring_name_parse("18446744073709551615.4294967295.2", &name));
	ck_assert(name.job == UINT64_MAX);
	ck_assert_uint_eq(name.attempt, UINT32_MAX);
	ck_assert_uint_eq(name.stream, 2);
	ring_name_format(&name, text);
	ck_assert_str_eq(text, "18446744073709551615.4294967295.2");
	ck_assert(ring_name_parse("7.0.1", &other));
	ck_assert_int_gt(ring_name_compare(&name, &other), 0);
	ck_assert_int_lt(ring_name_compare(&other, &name), 0);
	ck_assert_int_eq(ring_name_compare(&name, &name), 0);
}
END_TEST

START_TEST(what_says_nothing_costs_nothing)
{
	struct ring silent, unkept;
	struct stat st;

	init_ring(&silent, 1, MIB);
	init_ring(&unkept, 2, 0);
	append(&unkept, 1000);
	ck_assert_uint_eq(spool_used(spool), 0);
	ck_assert_int_eq(stat(path_in(state, "spool"), &st), 0);
	ck_assert_int_le(st.st_blocks * 512, 4096);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(path_in(state, "output"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(ring_finish(&silent), -1);
	fini(&silent);
	fini(&unkept);
}
END_TEST

START_TEST(memory_goes_on)
{
	static const size_t steps[] = {1, 3839, 1, 4000, 10000, 47000, 695};
	struct ring r;
	int64_t end = 0;
	size_t i;

	init_ring(&r, 1, 64 * KIB);
	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		append(&r, steps[i]);
		end += (int64_t)steps[i];
		ck_assert_uint_eq(spool_used(spool), 1);
		restart(&r);
		ck_assert_uint_eq(spool_used(spool), 1);
		adopt(&r, 1, MIB);
		ck_assert_int_eq(r.limit, 64 * KIB); /* its own, not that of today */
		ck_assert_int_eq(r.mortal, 0);
		check_ring(&r, 0, end);
	}
	ck_assert_int_eq(end, 64 * KIB);
	append(&r, 70000);
	check_ring(&r, end + 70000 - 64 * KIB, end + 70000);
	fini(&r);
	ck_assert_uint_eq(spool_used(spool), 0);
}
END_TEST

START_TEST(memory_goes_on_around_its_end)
{
	struct ring r;
	int64_t end = 0;
	int i;

	init_ring(&r, 1, 10000);
	for (i = 0; i < 40; i++) {
		size_t len = 1 + (size_t)(i * 977 % 12000);

		append(&r, len);
		end += (int64_t)len;
		restart(&r);
		adopt(&r, 1, 10000);
		check_ring(&r, end > 10000 ? end - 10000 : 0, end);
	}
	fini(&r);
}
END_TEST

START_TEST(a_file_goes_on)
{
	struct ring r;
	int64_t end = 64 * KIB + 1;
	int i;

	init_ring(&r, 9, 200 * KIB);
	append(&r, 64 * KIB);
	append(&r, 1);
	ck_assert(file_exists("9.1.1"));
	for (i = 0; i < 12; i++) {
		restart(&r);
		adopt(&r, 9, 1);
		ck_assert_int_ge(r.fd, 0);
		check_ring(&r, end > 200 * KIB ? end - 200 * KIB : 0, end);
		append(&r, 33333);
		end += 33333;
	}
	check_ring(&r, end - 200 * KIB, end);
	ck_assert_uint_eq(spool_used(spool), 1); /* its record */
	fini(&r);
	ck_assert_uint_eq(spool_used(spool), 0);
}
END_TEST

START_TEST(a_pinned_ring_stays_in_memory)
{
	struct ring r;

	init_ring(&r, 1, MIB);
	append(&r, 64 * KIB);
	ring_pin(&r, EMFILE);
	append(&r, 5000);
	restart(&r);
	adopt(&r, 1, MIB);
	ck_assert_int_eq(ring_bounds(&r).error, EMFILE);
	ck_assert(!ring_needs_file(&r, 1));
	append(&r, 5000);
	check_ring(&r, 10000, 64 * KIB + 10000);
	fini(&r);
}
END_TEST

START_TEST(a_move_cut_short_counts_for_nothing)
{
	struct ring r;

	init_ring(&r, 4, MIB);
	append(&r, 60000);
	make_file("4.1.1", "a few of them");
	restart(&r);
	adopt(&r, 4, MIB);
	ck_assert(!file_exists("4.1.1"));
	append(&r, 40000); /* and again */
	ck_assert_int_ge(r.fd, 0);
	check_ring(&r, 0, 100000);
	fini(&r);
}
END_TEST

START_TEST(a_file_gone_or_cut_costs_its_bytes)
{
	int cut;

	for (cut = 0; cut < 2; cut++) {
		uint64_t job = 5 + (uint64_t)cut;
		char name[16];
		struct ring r;

		snprintf(name, sizeof(name), "%d.1.1", 5 + cut);
		init_ring(&r, job, MIB);
		append(&r, 60000);
		append(&r, 60000);
		restart(&r);
		if (cut)
			ck_assert_int_eq(truncate(output_path(name), 119999), 0);
		else
			ck_assert_int_eq(unlink(output_path(name)), 0);
		adopt(&r, job, MIB);
		ck_assert_int_eq(r.error, cut ? EIO : ENOENT);
		ck_assert(!file_exists(name));
		check_ring(&r, 120000, 120000);
		append(&r, 70000);
		restart(&r);
		adopt(&r, job, MIB);
		check_ring(&r, 190000 - 64 * KIB, 190000);
		fini(&r);
	}
}
END_TEST

START_TEST(a_kill_between_the_bounds_keeps_nothing_wrong)
{
	struct spool_slot *slot;
	struct ring r;

	init_ring(&r, 1, 1000);
	append(&r, 1500);
	slot = r.slot;
	atomic_store(&slot->record->start, 2100); /* 600 are about to be overwritten … */
	atomic_store(&slot->record->end, 1500);
	restart(&r);
	adopt(&r, 1, 1000);
	check_ring(&r, 2100, 2100);
	append(&r, 300);
	check_ring(&r, 2100, 2400);
	restart(&r);
	adopt(&r, 1, 1000);
	check_ring(&r, 2100, 2400);
	fini(&r);
}
END_TEST

START_TEST(another_era_is_another_world)
{
	struct ring r;

	init_ring(&r, 1, MIB);
	append(&r, 100);
	make_file("2.1.1", "x");
	copy_state();
	fini(&r);
	spool_free(spool);
	spool = open_spool("boot 2, journal 1");
	ck_assert_uint_eq(spool_used(spool), 0);
	adopt(&r, 1, MIB);
	check_ring(&r, 0, 0);
	fini(&r);
	spool_sweep(spool, keep_none, drop_now, NULL);
	ck_assert_int_eq(files_left(), 0);
	restart(NULL); /* back in the first one */
	ck_assert_uint_eq(spool_used(spool), 0);
}
END_TEST

START_TEST(an_era_has_its_limit)
{
	char era[SPOOL_ERA_MAX + 1];
	int error;

	memset(era, 'x', sizeof(era));
	era[SPOOL_ERA_MAX] = 0;
	ck_assert_ptr_null(spool_open(state, era, &error));
	ck_assert_int_eq(error, -ENAMETOOLONG);
	era[SPOOL_ERA_MAX - 1] = 0;
	spool_free(spool);
	spool = open_spool(era);
}
END_TEST

START_TEST(what_is_no_spool_is_not_touched)
{
	const char *path = path_in(state, "spool");
	int error;

	spool_free(spool);
	spool = NULL;
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("elsewhere", path), 0);
	ck_assert_ptr_null(spool_open(state, ERA, &error));
	ck_assert_int_eq(error, -ELOOP);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_ptr_null(spool_open(state, ERA, &error));
	ck_assert_int_eq(error, -EPERM);
	ck_assert_ptr_null(spool_open("/nonexistent", ERA, &error));
	ck_assert_int_eq(error, -ENOENT);
}
END_TEST

/* ---- garbage ---- */

/* One field of a valid record at a time. */
static void
spoil(struct spool_record *r, int field)
{
	switch (field) {
	case 0: atomic_store(&r->magic, 1); break;
	case 1: r->job = 0; break;
	case 2: r->stream = 0; break;
	case 3: r->stream = 257; break;
	case 4: r->limit = -1; break;
	case 5: r->limit = 100; break;
	case 6: atomic_store(&r->start, -1); break;
	case 7: atomic_store(&r->start, INT64_MAX); break;
	case 8: atomic_store(&r->end, -1); break;
	case 9: atomic_store(&r->end, INT64_MAX); break;
	case 10: atomic_store(&r->end, 64 * KIB + 1); break;
	case 11: atomic_store(&r->slot_room, -1); break;
	case 12: atomic_store(&r->slot_room, 64 * KIB + 1); break;
	case 13: atomic_store(&r->slot_room, 499); break;
	case 14: atomic_store(&r->storage, 2); break;
	case 15: atomic_store(&r->storage, 1); break; /* without room */
	case 16: atomic_store(&r->error, -1); break;
	case 17: atomic_store(&r->error, 4096); break;
	case 18:
		atomic_store(&r->storage, 1);
		atomic_store(&r->file_room, MIB + 1);
		break;
	case 19:
		atomic_store(&r->storage, 1);
		atomic_store(&r->file_room, 499);
		break;
	default: ck_abort();
	}
}

START_TEST(no_field_of_a_record_is_trusted)
{
	int field;

	for (field = 0; field < 20; field++) {
		struct ring r;

		init_ring(&r, 77, MIB);
		append(&r, 500);
		restart(&r);
		adopt(&r, 77, MIB);
		check_ring(&r, 0, 500); /* so far it is good */
		spoil(r.slot->record, field);
		restart(&r);
		ck_assert_msg(spool_used(spool) == 0, "field %d", field);
		adopt(&r, 77, MIB);
		check_ring(&r, 0, 0);
		fini(&r);
	}
}
END_TEST

/* Whatever passes the checks must be usable, if not right. */
START_TEST(random_records_do_no_harm)
{
	static unsigned char buf[100000];
	struct spool_slot *slots[8];
	unsigned seed = 1;
	int round, i, error;

	for (i = 0; i < 8; i++) {
		struct ring_name name = {1 + (uint64_t)i, 1, 1};

		slots[i] = spool_take(spool, &name, MIB, 64 * KIB, &error);
		ck_assert_ptr_nonnull(slots[i]);
	}
	for (round = 0; round < 400; round++) {
		struct spool *mine = spool;

		for (i = 0; i < 8; i++) {
			struct spool_record *r = slots[i]->record;
			int64_t v = (int64_t)((uint64_t)rand_r(&seed) << (rand_r(&seed) % 34));

			switch (rand_r(&seed) % 8) {
			case 0: r->limit = v; break;
			case 1: atomic_store(&r->start, v); break;
			case 2: atomic_store(&r->end, v); break;
			case 3: atomic_store(&r->slot_room, v % 70000); break;
			case 4: atomic_store(&r->file_room, v); break;
			case 5: atomic_store(&r->storage, (uint32_t)v % 3); break;
			case 6: atomic_store(&r->error, (int)(v % 5000)); break;
			default:
				r->limit = MIB;
				atomic_store(&r->start, 0);
				atomic_store(&r->end, v % (64 * KIB));
				atomic_store(&r->slot_room, 64 * KIB);
				atomic_store(&r->storage, 0);
				atomic_store(&r->error, 0);
				break;
			}
		}
		copy_state();
		spool = open_spool(ERA);
		for (i = 0; i < 8; i++) {
			struct ring r;
			int64_t off = 0;

			adopt(&r, 1 + (uint64_t)i, MIB);
			while (ring_read(&r, &off, buf, sizeof(buf)) > 0)
				off += 1 + (r.end - off) / 2;
			append(&r, (size_t)rand_r(&seed) % sizeof(buf));
			append(&r, 1000);
			ck_assert_int_le(r.end - r.start, r.room);
			fini(&r);
		}
		spool_sweep(spool, keep_none, drop_now, NULL);
		ck_assert_uint_eq(spool_used(spool), 0);
		spool_free(spool);
		spool = mine;
		remove_entry(root, strrchr(state, '/') + 1);
		snprintf(state, sizeof(state), "%s/0", root);
	}
}
END_TEST

START_TEST(a_damaged_head_or_size_begins_anew)
{
	static const off_t sizes[] = {0, 1, 100, 65536, 65536 + SPOOL_SLOT_BYTES, 70000000};
	struct ring r;
	size_t i;
	int fd;

	for (i = 0; i <= sizeof(sizes) / sizeof(*sizes); i++) {
		init_ring(&r, 1, MIB);
		append(&r, 100);
		restart(&r);
		spool_free(spool);
		fd = open(path_in(state, "spool"), O_RDWR | O_CLOEXEC);
		if (i < sizeof(sizes) / sizeof(*sizes))
			ck_assert_int_eq(ftruncate(fd, sizes[i]), 0);
		else
			ck_assert_int_eq(pwrite(fd, "X", 1, 3), 1);
		close(fd);
		spool = open_spool(ERA);
		adopt(&r, 1, MIB);
		check_ring(&r, 0, i == 5 ? 100 : 0);
		append(&r, 100);
		fini(&r);
	}
}
END_TEST

START_TEST(what_is_there_twice_counts_once)
{
	struct ring a, b;

	init_ring(&a, 1, MIB);
	init_ring(&b, 1, MIB);
	append(&a, 100);
	append(&b, 100);
	copy_state();
	fini(&a);
	restart(&b);
	snprintf(state, sizeof(state), "%s/%d", root, generation - 1); /* with both */
	spool_free(spool);
	spool = open_spool(ERA);
	ck_assert_uint_eq(spool_used(spool), 1);
	adopt(&a, 1, MIB);
	check_ring(&a, 0, 100);
	adopt(&b, 1, MIB); /* asked for already */
	ck_assert_int_eq(b.end, 0);
	fini(&a);
	fini(&b);
}
END_TEST

/* ---- room ---- */

START_TEST(slots_are_reused_last_in_first_out)
{
	struct ring r[3];
	uint32_t number;
	int i;

	for (i = 0; i < 3; i++) {
		init_ring(&r[i], 1 + (uint64_t)i, MIB);
		append(&r[i], 10);
		ck_assert_uint_eq(r[i].slot->number, (unsigned)i);
	}
	number = r[1].slot->number;
	fini(&r[0]);
	fini(&r[1]);
	init_ring(&r[0], 9, MIB);
	append(&r[0], 10);
	ck_assert_uint_eq(r[0].slot->number, number);
	fini(&r[0]);
	fini(&r[2]);
}
END_TEST

START_TEST(a_burst_gives_its_blocks_back)
{
	static struct ring r[3 * SLOTS_A_SEGMENT + 1];
	const unsigned n = sizeof(r) / sizeof(*r);
	struct stat st;
	unsigned i;

	for (i = 0; i < n; i++) {
		init_ring(&r[i], 1 + i, MIB);
		append(&r[i], 64 * KIB);
	}
	ck_assert_uint_eq(spool_used(spool), n);
	for (i = 0; i < n; i++)
		check_bytes(r[i].memory, 0, 64 * KIB);
	for (i = 0; i < n; i++)
		fini(&r[i]);
	ck_assert_uint_eq(spool_used(spool), 0);
	ck_assert_int_eq(stat(path_in(state, "spool"), &st), 0);
	ck_assert_int_le((int64_t)st.st_blocks * 512, (SPOOL_WARM_MAX + 2) * (int64_t)SPOOL_SLOT_BYTES);
	for (i = 0; i < n; i++) { /* and with other blocks they serve again */
		init_ring(&r[i], 1 + i, MIB);
		append(&r[i], 64 * KIB);
		ck_assert_ptr_nonnull(r[i].slot);
		ck_assert_int_eq(ring_leave(&r[i]), -1);
	}
	restart(NULL);
	ck_assert_uint_eq(spool_used(spool), n);
	for (i = 0; i < n; i++) {
		adopt(&r[i], 1 + i, MIB);
		ck_assert_int_eq(r[i].end, 64 * KIB);
		check_bytes(r[i].memory, 0, 64 * KIB);
		fini(&r[i]);
	}
}
END_TEST

/* After each number of reservations that still succeed. */
START_TEST(on_a_full_disk_output_is_kept_and_dies_with_the_engine)
{
	int room;
	bool told; /* the next engine finds out that it is gone */

	for (room = 0; room < 4; room++) {
		struct ring r;

		disk_full = room;
		init_ring(&r, 100 + (uint64_t)room, 64 * KIB);
		append(&r, 1000);
		append(&r, 9000);
		append(&r, 60000);
		ck_assert_int_eq(ring_bounds(&r).mortal, room < 3 ? ENOSPC : 0);
		ck_assert_int_eq(r.error, 0);
		check_ring(&r, 70000 - 64 * KIB, 70000);
		told = room > 0;
		ck_assert_uint_eq(spool_used(spool), told ? 1 : 0);
		disk_full = -1;
		restart(&r);
		adopt(&r, 100 + (uint64_t)room, 64 * KIB);
		ck_assert_int_eq(r.end, told ? 70000 : 0);
		ck_assert_int_eq(r.error, told && room < 3 ? ENOSPC : 0);
		check_ring(&r, room < 3 ? r.end : 70000 - 64 * KIB, r.end);
		append(&r, 100);
		check_ring(&r, room < 3 ? r.end - 100 : 70100 - 64 * KIB, r.end);
		fini(&r);
		restart(NULL); /* without blocks that could be reused */
	}
}
END_TEST

START_TEST(from_the_heap_to_a_file_it_outlives_the_engine_again)
{
	struct ring r;

	disk_full = 1;
	init_ring(&r, 1, MIB);
	append(&r, 1000);
	append(&r, 9000);
	ck_assert_int_eq(r.mortal, ENOSPC);
	append(&r, 90000);
	ck_assert_int_ge(r.fd, 0);
	disk_full = -1;
	restart(&r);
	adopt(&r, 1, MIB);
	check_ring(&r, 0, 100000);
	fini(&r);
}
END_TEST

START_TEST(an_adoption_on_a_full_disk_keeps_the_bytes)
{
	struct ring r;

	init_ring(&r, 1, 10000);
	append(&r, 25000);
	restart(&r);
	disk_full = 1; /* its first page is sure, the rest is not */
	adopt(&r, 1, 10000);
	ck_assert_int_eq(r.mortal, ENOSPC);
	check_ring(&r, 15000, 25000);
	append(&r, 500);
	check_ring(&r, 15500, 25500);
	fini(&r);
}
END_TEST

/* ---- what is left over ---- */

static bool
keep_even_jobs(void *arg, const struct ring_name *name)
{
	++*(int *)arg;
	return name->job % 2 == 0;
}

START_TEST(a_sweep_frees_what_nobody_asked_for)
{
	struct ring r[5];
	int i, asked = 0;

	for (i = 0; i < 5; i++) {
		init_ring(&r[i], 1 + (uint64_t)i, MIB);
		append(&r[i], 100);
	}
	append(&r[1], 100000); /* job 2, a file that history names */
	append(&r[2], 100000); /* job 3, a file of nobody */
	append(&r[4], 100000); /* job 5, a file that goes on */
	make_file("8.1.1", "history");
	make_file("9.1.2", "stray");
	make_file("notes.txt", "not ours");
	copy_state();
	for (i = 0; i < 5; i++)
		close(ring_leave(&r[i]));
	spool_free(spool);
	spool = open_spool(ERA);
	ck_assert_uint_eq(spool_used(spool), 5);
	adopt(&r[0], 1, MIB);
	adopt(&r[4], 5, MIB);
	/* What begins meanwhile is not looked at. */
	init_ring(&r[3], 11, MIB);
	append(&r[3], 100000);
	spool_sweep(spool, keep_even_jobs, drop_now, &asked);
	ck_assert_int_eq(asked, 4);
	ck_assert_uint_eq(spool_used(spool), 3);
	ck_assert(file_exists("2.1.1"));
	ck_assert(!file_exists("3.1.1"));
	ck_assert(file_exists("5.1.1"));
	ck_assert(file_exists("8.1.1"));
	ck_assert(!file_exists("9.1.2"));
	ck_assert(file_exists("11.1.1"));
	ck_assert(file_exists("notes.txt"));
	ck_assert_int_eq(r[0].end, 100);
	ck_assert_int_eq(r[4].end, 100100);
	fini(&r[0]);
	fini(&r[3]);
	fini(&r[4]);
	adopt(&r[1], 2, MIB); /* too late */
	ck_assert_int_eq(r[1].end, 0);
	fini(&r[1]);
}
END_TEST

/* ---- files of history ---- */

START_TEST(history_reads_what_a_ring_wrote)
{
	static unsigned char buf[30000];
	struct ring_file f = {.name = "3.1.1"};
	struct ring r;
	int64_t off = 0, at;
	ssize_t n;

	init_ring(&r, 3, 100000);
	append(&r, 60000);
	append(&r, 90001);
	f.start = r.start;
	f.end = r.end;
	f.room = r.room;
	fini(&r);
	for (at = f.start; (n = ring_file_read(spool_output_dir(spool), &f, &off, buf,
	    sizeof(buf))) > 0; at = off) {
		ck_assert_int_eq(off, at);
		check_bytes(buf, off, (size_t)n);
		off += n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(at, 150001);
	ck_assert_int_eq(ring_file_unlink(spool_output_dir(spool), "3.1.1"), 0);
	ck_assert_int_eq(ring_file_unlink(spool_output_dir(spool), "3.1.1"), 0);
	off = 0;
	ck_assert_int_eq(ring_file_read(spool_output_dir(spool), &f, &off, buf, 1), -ENOENT);
}
END_TEST

START_TEST(history_notices_a_file_that_was_cut)
{
	static unsigned char buf[200000];
	struct ring_file f = {"3.1.1", 0, 100000, MIB};
	struct ring r;
	int64_t off = 0;

	init_ring(&r, 3, MIB);
	append(&r, 60000);
	append(&r, 40000);
	fini(&r);
	ck_assert_int_eq(truncate(output_path("3.1.1"), 70000), 0);
	ck_assert_int_eq(ring_file_read(spool_output_dir(spool), &f, &off, buf, sizeof(buf)), 70000);
	check_bytes(buf, 0, 70000);
	off = 70000;
	ck_assert_int_eq(ring_file_read(spool_output_dir(spool), &f, &off, buf, 1), -EIO);
	off = 100000;
	ck_assert_int_eq(ring_file_read(spool_output_dir(spool), &f, &off, buf, 1), 0);
}
END_TEST

START_TEST(history_reads_no_other_files)
{
	static const struct ring_file bad[] = {
		{"../spool", 0, 10, 10}, {"", 0, 10, 10}, {"/etc/passwd", 0, 10, 10},
		{"1.1.1", 5, 4, 10}, {"1.1.1", -1, 4, 10}, {"1.1.1", 0, 11, 10},
		{"1.1.1", 0, 0, 0}, {"1.1.1", 0, 4, -1}};
	char buf[16];
	size_t i;

	make_file("1.1.1", "0123456789");
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int64_t off = 0;

		ck_assert_int_eq(ring_file_read(spool_output_dir(spool), &bad[i], &off, buf, 10),
		    -EINVAL);
	}
	ck_assert_int_eq(ring_file_unlink(state, "spool"), -EINVAL);
	ck_assert_int_eq(ring_file_unlink(spool_output_dir(spool), "../spool"), -EINVAL);
}
END_TEST

/* ---- captures ---- */

static struct event_base *base;
static struct slot_loop *loop;
static struct capture_pool *pool;
static int fds_before;

static int
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void
start_engine(void)
{
	base = event_base_new();
	loop = slot_loop_new(base);
	pool = capture_pool_new_durable(loop, open_spool(ERA));
	ck_assert_ptr_nonnull(pool);
}

static void
end_engine(void)
{
	capture_pool_free(pool);
	slot_loop_free(loop);
	event_base_free(base);
}

static void
setup_engine(void)
{
	setup();
	spool_free(spool);
	spool = NULL;
	fds_before = count_fds();
	start_engine();
}

static void
teardown_engine(void)
{
	end_engine();
	ck_assert_int_eq(count_fds(), fds_before);
	teardown();
}

/* Killed, and started again: `c` is let go of without a trace in what the next one finds. */
static void
restart_engine(struct capture *c)
{
	copy_state();
	capture_pool_leave(pool);
	capture_unref(c);
	end_engine();
	start_engine();
}

static int drained;

static void
on_drained(struct capture *c, void *arg)
{
	(void)c, (void)arg;
	drained++;
}

static const struct capture_handlers handlers = {NULL, on_drained};

static struct capture *
new_capture(uint64_t job, int64_t limit)
{
	struct capture *c = capture_new(pool, limit, &handlers, NULL);

	ck_assert_ptr_nonnull(c);
	capture_name(c, job, 1);
	return c;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static void
turn_until(bool (*there)(struct capture *c, int64_t end), struct capture *c, int64_t end)
{
	int64_t deadline_us = slot_loop_now_us(loop) + DEADLINE_US;
	struct timeval tv = {0, 10000};
	struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);

	event_add(tick, &tv);
	while (!there(c, end)) {
		ck_assert_msg(slot_loop_now_us(loop) < deadline_us, "waited in vain");
		event_base_loop(base, EVLOOP_ONCE);
	}
	event_free(tick);
}

static bool
is_in(struct capture *c, int64_t end)
{
	return capture_end(c, 1) >= end;
}

static bool
is_drained(struct capture *c, int64_t end)
{
	(void)c, (void)end;
	return drained > 0;
}

static bool
is_gone(struct capture *c, int64_t end)
{
	(void)c, (void)end;
	return files_left() == 0;
}

static void
drain(struct capture *c)
{
	drained = 0;
	capture_drain(c);
	turn_until(is_drained, c, 0);
}

/* The job writes, from offset `off` on, as much as the pipe takes at a time. */
static void
job_writes(struct capture *c, int fd, int64_t off, int64_t len)
{
	while (len > 0) {
		size_t piece = len < 50000 ? (size_t)len : 50000;
		unsigned char *data = pattern(off, piece);

		ck_assert_int_eq(write(fd, data, piece), (ssize_t)piece);
		free(data);
		off += (int64_t)piece;
		len -= (int64_t)piece;
		turn_until(is_in, c, off);
	}
}

static void
check_capture(struct capture *c, int64_t start, int64_t end)
{
	static unsigned char buf[70000];
	int64_t off = 0, at = start;
	ssize_t n;

	ck_assert_int_eq(capture_start(c, 1), start);
	ck_assert_int_eq(capture_end(c, 1), end);
	while ((n = capture_read(c, 1, &off, buf, sizeof(buf))) > 0) {
		ck_assert_int_eq(off, at);
		check_bytes(buf, off, (size_t)n);
		at = off += n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(at, end);
}

static int
open_stream(struct capture *c)
{
	int fd = -1;

	ck_assert_int_eq(capture_open(c, 1, &fd), 0);
	return fd;
}

START_TEST(a_capture_goes_on_after_a_kill)
{
	struct capture *c = new_capture(1, 300 * KIB);
	int job = open_stream(c), held = capture_dup_read_end(c, 1);
	int64_t end = 0, more;
	int i;

	ck_assert_int_ge(held, 0);
	ck_assert_int_ne(fcntl(held, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(capture_dup_read_end(c, 2), -EBADF);
	for (i = 0; i < 6; i++) {
		more = 30000 << i;
		job_writes(c, job, end, more);
		end += more;
		restart_engine(c);
		c = new_capture(1, MIB);
		ck_assert_int_eq(capture_adopt(c, 1, dup(held)), 0);
		ck_assert_int_eq(capture_adopt(c, 2, -1), 0);
		ck_assert_int_eq(capture_adopt(c, 2, -1), -EALREADY);
		ck_assert(!capture_closed(c, 1));
		ck_assert(capture_closed(c, 2));
		check_capture(c, end > 300 * KIB ? end - 300 * KIB : 0, end);
		ck_assert_int_eq(capture_pool_bytes(pool), end > 300 * KIB ? 300 * KIB : end);
		ck_assert_int_eq(capture_pool_sweep(pool, NULL, NULL), 0);
	}
	/* The job ends while no engine is there. */
	restart_engine(c);
	c = new_capture(1, MIB);
	close(job);
	ck_assert_int_eq(capture_adopt(c, 1, held), 0);
	drain(c);
	check_capture(c, end - 300 * KIB, end);
	capture_unref(c);
	turn_until(is_gone, NULL, 0);
}
END_TEST

START_TEST(what_a_pipe_held_meanwhile_is_drained)
{
	struct capture *c = new_capture(1, MIB);
	int job = open_stream(c), held = capture_dup_read_end(c, 1);
	unsigned char *last = pattern(100, 5000);

	job_writes(c, job, 0, 100);
	restart_engine(c);
	ck_assert_int_eq(write(job, last, 5000), 5000);
	close(job);
	free(last);
	c = new_capture(1, MIB);
	ck_assert_int_eq(capture_adopt(c, 1, held), 0);
	drain(c);
	check_capture(c, 0, 5100);
	capture_unref(c);
}
END_TEST

START_TEST(a_hang_up_is_met_once)
{
	struct capture *c = new_capture(1, MIB);
	int job = open_stream(c), held = capture_dup_read_end(c, 1);

	restart_engine(c);
	c = new_capture(1, MIB);
	ck_assert_int_eq(capture_adopt(c, 1, held), 0);
	job_writes(c, job, 0, 1000);
	close(job);
	/* It returns: nothing is waited for any more. */
	ck_assert_int_eq(event_base_dispatch(base), 1);
	ck_assert(!capture_closed(c, 1));
	drain(c);
	check_capture(c, 0, 1000);
	capture_unref(c);
}
END_TEST

START_TEST(a_lost_job_keeps_its_output)
{
	struct capture *c = new_capture(1, MIB);
	struct capture_output o;
	int job = open_stream(c);

	job_writes(c, job, 0, 150000);
	ck_assert(!capture_take(c, 1, &o)); /* not while it is open */
	restart_engine(c);
	close(job);
	c = new_capture(1, MIB);
	ck_assert_int_eq(capture_adopt(c, 1, -1), 0);
	ck_assert_int_eq(capture_adopt(c, 2, -1), 0);
	drain(c);
	ck_assert(capture_take(c, 1, &o));
	ck_assert(!capture_take(c, 2, &o));
	check_capture(c, 0, 150000);
	capture_unref(c);
	turn_until(is_gone, NULL, 0);
}
END_TEST

START_TEST(what_is_short_is_taken_from_memory)
{
	struct capture *c = new_capture(1, 10000);
	int job = open_stream(c);
	struct capture_output o;

	job_writes(c, job, 0, 4000);
	restart_engine(c);
	close(job);
	c = new_capture(1, 10000);
	ck_assert_int_eq(capture_adopt(c, 1, -1), 0);
	drain(c);
	ck_assert(capture_take(c, 1, &o));
	ck_assert_uint_eq(o.nparts, 1);
	ck_assert_uint_eq(o.parts[0].iov_len, 4000);
	check_bytes(o.parts[0].iov_base, 0, 4000);
	ck_assert_str_eq(o.name, "");
	capture_unref(c);

	c = new_capture(2, 10000);
	job = open_stream(c);
	job_writes(c, job, 0, 27000);
	drain(c);
	ck_assert(capture_take(c, 1, &o));
	ck_assert_int_eq(o.start, 17000);
	ck_assert_int_eq(o.end, 27000);
	ck_assert_uint_eq(o.nparts, 2);
	ck_assert_uint_eq(o.parts[0].iov_len + o.parts[1].iov_len, 10000);
	check_bytes(o.parts[0].iov_base, 17000, o.parts[0].iov_len);
	check_bytes(o.parts[1].iov_base, 17000 + (int64_t)o.parts[0].iov_len, o.parts[1].iov_len);
	close(job);
	capture_unref(c);
}
END_TEST

static void
check_history(const struct capture_output *o)
{
	static unsigned char buf[64 * 1024];
	struct ring_file f = {o->name, o->start, o->end, o->room};
	int64_t off = 0;
	ssize_t n;

	while ((n = ring_file_read(capture_pool_files_dir(pool), &f, &off, buf, sizeof(buf))) > 0) {
		check_bytes(buf, off, (size_t)n);
		off += n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(off, o->end);
}

START_TEST(a_file_passes_to_history)
{
	struct capture *c = new_capture(1, 200000), *follower;
	int job = open_stream(c);
	struct capture_output o;

	job_writes(c, job, 0, 500000);
	close(job);
	drain(c);
	ck_assert(capture_take(c, 1, &o));
	ck_assert_str_eq(o.name, "1.1.1");
	ck_assert_uint_eq(o.nparts, 0);
	ck_assert_int_eq(o.start, 300000);
	ck_assert_int_eq(o.end, 500000);
	ck_assert_int_eq(o.room, 200000);
	follower = capture_ref(c);
	capture_keep_files(c);
	capture_unref(c);
	check_history(&o);
	capture_pool_unlink(pool, o.name); /* pruned while one still reads */
	capture_pool_unlink(pool, "../spool");
	turn_until(is_gone, NULL, 0);
	check_capture(follower, 300000, 500000);
	capture_unref(follower);
	ck_assert_int_eq(capture_pool_bytes(pool), 0);
	ck_assert_int_eq(capture_pool_files(pool), 0);
}
END_TEST

static bool
keep_job_1(void *arg, const struct ring_name *name)
{
	(void)arg;
	return name->job == 1;
}

START_TEST(a_kill_after_the_commit_leaves_the_file_to_history)
{
	struct capture *c = new_capture(1, MIB);
	int job = open_stream(c);
	struct capture_output o;

	job_writes(c, job, 0, 100000);
	close(job);
	drain(c);
	ck_assert(capture_take(c, 1, &o));
	make_file("2.1.1", "of nobody");
	restart_engine(c); /* committed, not given back */
	ck_assert_int_eq(capture_pool_sweep(pool, keep_job_1, NULL), 1);
	check_history(&o);
	capture_pool_unlink(pool, o.name);
	turn_until(is_gone, NULL, 0);
}
END_TEST

START_TEST(an_orderly_end_leaves_what_runs)
{
	struct capture *c = new_capture(1, MIB), *big = new_capture(2, MIB);
	int job = open_stream(c), held = capture_dup_read_end(c, 1);
	int big_job = open_stream(big), big_held = capture_dup_read_end(big, 1);

	job_writes(c, job, 0, 100);
	job_writes(big, big_job, 0, 100000);
	capture_pool_leave(pool);
	capture_unref(c);
	capture_unref(big);
	end_engine();
	start_engine(); /* in the same directory */
	c = new_capture(1, MIB);
	big = new_capture(2, MIB);
	ck_assert_int_eq(capture_adopt(c, 1, held), 0);
	ck_assert_int_eq(capture_adopt(big, 1, big_held), 0);
	capture_pool_sweep(pool, NULL, NULL);
	job_writes(c, job, 100, 100);
	job_writes(big, big_job, 100000, 100000);
	check_capture(c, 0, 200);
	check_capture(big, 0, 200000);
	capture_unref(c);
	capture_unref(big);
	close(job);
	close(big_job);
}
END_TEST

START_TEST(one_name_may_come_again)
{
	int round;

	for (round = 0; round < 20; round++) { /* while the thread removes the last one's file */
		struct capture *c = new_capture(1, MIB);
		struct capture_output o;
		int job = open_stream(c);

		job_writes(c, job, 0, 100000);
		ck_assert(file_exists("1.1.1"));
		drain(c);
		ck_assert(capture_take(c, 1, &o));
		check_history(&o);
		capture_unref(c);
		close(job);
	}
	turn_until(is_gone, NULL, 0);
}
END_TEST

START_TEST(without_a_name_nothing_is_left)
{
	struct capture *c = capture_new(pool, MIB, &handlers, NULL);
	int job = open_stream(c);
	struct capture_output o;

	job_writes(c, job, 0, 100000);
	ck_assert_int_eq(files_left(), 0);
	drain(c);
	ck_assert(!capture_take(c, 1, &o));
	check_capture(c, 0, 100000);
	restart_engine(c);
	c = new_capture(1, MIB);
	ck_assert_int_eq(capture_adopt(c, 1, -1), 0);
	check_capture(c, 0, 0);
	capture_unref(c);
	close(job);
}
END_TEST

START_TEST(a_full_disk_is_told)
{
	struct capture *c = new_capture(1, MIB);
	int job = open_stream(c);

	disk_full = 0;
	job_writes(c, job, 0, 60000);
	ck_assert_int_eq(capture_mortal(c), ENOSPC);
	ck_assert_int_eq(capture_error(c), 0);
	job_writes(c, job, 60000, 60000);
	check_capture(c, 0, 120000);
	ck_assert(file_exists("1.1.1"));
	drain(c);
	capture_unref(c);
	close(job);
}
END_TEST

/* The drain is the first to read, in the thread, which never asks the spool for anything. */
START_TEST(a_drain_may_be_the_first_to_need_the_spool)
{
	struct capture *c = new_capture(1, MIB);
	int job = open_stream(c);
	unsigned char *data = pattern(0, 200000);

	ck_assert_int_gt(fcntl(job, F_SETPIPE_SZ, 256 * KIB), 0);
	ck_assert_int_eq(write(job, data, 200000), 200000);
	close(job);
	free(data);
	drain(c);
	check_capture(c, 0, 200000);
	restart_engine(c);
	c = new_capture(1, MIB);
	ck_assert_int_eq(capture_adopt(c, 1, -1), 0);
	check_capture(c, 0, 200000);
	capture_unref(c);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("spool");
	TCase *tc = tcase_create("rings");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, names_are_exact);
	tcase_add_test(tc, what_says_nothing_costs_nothing);
	tcase_add_test(tc, memory_goes_on);
	tcase_add_test(tc, memory_goes_on_around_its_end);
	tcase_add_test(tc, a_file_goes_on);
	tcase_add_test(tc, a_pinned_ring_stays_in_memory);
	tcase_add_test(tc, a_move_cut_short_counts_for_nothing);
	tcase_add_test(tc, a_file_gone_or_cut_costs_its_bytes);
	tcase_add_test(tc, a_kill_between_the_bounds_keeps_nothing_wrong);
	tcase_add_test(tc, another_era_is_another_world);
	tcase_add_test(tc, an_era_has_its_limit);
	tcase_add_test(tc, what_is_no_spool_is_not_touched);
	tcase_add_test(tc, no_field_of_a_record_is_trusted);
	tcase_add_test(tc, random_records_do_no_harm);
	tcase_add_test(tc, a_damaged_head_or_size_begins_anew);
	tcase_add_test(tc, what_is_there_twice_counts_once);
	tcase_add_test(tc, slots_are_reused_last_in_first_out);
	tcase_add_test(tc, a_burst_gives_its_blocks_back);
	tcase_add_test(tc, on_a_full_disk_output_is_kept_and_dies_with_the_engine);
	tcase_add_test(tc, from_the_heap_to_a_file_it_outlives_the_engine_again);
	tcase_add_test(tc, an_adoption_on_a_full_disk_keeps_the_bytes);
	tcase_add_test(tc, a_sweep_frees_what_nobody_asked_for);
	tcase_add_test(tc, history_reads_what_a_ring_wrote);
	tcase_add_test(tc, history_notices_a_file_that_was_cut);
	tcase_add_test(tc, history_reads_no_other_files);
	suite_add_tcase(suite, tc);
	tc = tcase_create("captures");
	tcase_add_checked_fixture(tc, setup_engine, teardown_engine);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_capture_goes_on_after_a_kill);
	tcase_add_test(tc, what_a_pipe_held_meanwhile_is_drained);
	tcase_add_test(tc, a_hang_up_is_met_once);
	tcase_add_test(tc, a_lost_job_keeps_its_output);
	tcase_add_test(tc, what_is_short_is_taken_from_memory);
	tcase_add_test(tc, a_file_passes_to_history);
	tcase_add_test(tc, a_kill_after_the_commit_leaves_the_file_to_history);
	tcase_add_test(tc, an_orderly_end_leaves_what_runs);
	tcase_add_test(tc, one_name_may_come_again);
	tcase_add_test(tc, without_a_name_nothing_is_left);
	tcase_add_test(tc, a_full_disk_is_told);
	tcase_add_test(tc, a_drain_may_be_the_first_to_need_the_spool);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
