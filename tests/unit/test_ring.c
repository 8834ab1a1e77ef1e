/*
 * Rings: what is kept under which offset, in memory and in a file, what happens when there is
 * no more room, and a reader beside a writer.
 */
#include "engine/ring.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB 1024
#define FILE_LIMIT (100 * KIB + 7) /* above what memory takes, and no round number */

static struct ring_group group;
static struct ring ring;

static void
setup(void)
{
	memset(&group, 0, sizeof(group));
	pthread_mutex_init(&group.lock, NULL);
}

static void
teardown(void)
{
	int fd = ring_fini(&ring);

	if (fd >= 0)
		close(fd);
	ck_assert_int_eq(group.kept_bytes, 0);
	ck_assert_int_eq(group.files, 0);
	pthread_mutex_destroy(&group.lock);
}

/* The byte that stands at an offset of every stream here. */
static unsigned char
byte_at(int64_t off)
{
	return (unsigned char)(((uint64_t)off * 2654435761u) >> 11);
}

static void
append(size_t len)
{
	unsigned char *data = malloc(len + 1);
	size_t i;

	ck_assert_ptr_nonnull(data);
	for (i = 0; i < len; i++)
		data[i] = byte_at(ring.end + (int64_t)i);
	ring_append(&ring, data, len);
	free(data);
}

/* Reads everything from `off` on in steps, checks it, and returns how much it was. */
static int64_t
read_all(int64_t off, size_t step)
{
	unsigned char *buf = malloc(step);
	int64_t total = 0;
	ssize_t n, i;

	ck_assert_ptr_nonnull(buf);
	while ((n = ring_read(&ring, &off, buf, step)) > 0) {
		for (i = 0; i < n; i++)
			if (buf[i] != byte_at(off + i)) /* an assertion a byte takes seconds */
				ck_abort_msg("another byte at %lld", (long long)(off + i));
		off += n;
		total += n;
	}
	ck_assert_int_eq(n, 0);
	free(buf);
	return total;
}

static int
temp_file(void)
{
	char path[] = "/tmp/slotd-test-ring-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

static int64_t
file_size(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_size;
}

START_TEST(an_unused_ring_allocates_nothing)
{
	ring_init(&ring, &group, 1 << 30);
	ck_assert_ptr_null(ring.memory);
	ck_assert_int_eq(read_all(0, 10), 0);
	ck_assert_int_eq(ring_finish(&ring), -1);
}
END_TEST

START_TEST(memory_grows_with_what_is_kept)
{
	ring_init(&ring, &group, 1 << 30);
	append(3);
	ck_assert_uint_le(ring.allocated, 64);
	append(10000);
	ck_assert_uint_le(ring.allocated, 20000);
	ck_assert_int_eq(group.kept_bytes, 10003);
	ck_assert_int_eq(read_all(0, 7), 10003);
	ck_assert_int_eq(ring_finish(&ring), -1);
	ck_assert_uint_eq(ring.allocated, 10003);
	ck_assert_int_eq(read_all(0, 4096), 10003);
}
END_TEST

START_TEST(memory_keeps_the_newest_of_the_limit)
{
	int64_t off = 0;
	char c;
	int i;

	ring_init(&ring, &group, 1000);
	for (i = 0; i < 50; i++) {
		append(77);
		ck_assert_int_eq(read_all(0, 13), ring.end < 1000 ? ring.end : 1000);
	}
	ck_assert_int_eq(ring.end, 50 * 77);
	ck_assert_int_eq(ring.start, 50 * 77 - 1000);
	ck_assert_int_eq(ring_read(&ring, &off, &c, 1), 1);
	ck_assert_int_eq(off, ring.start);
	append(5000); /* more than all of it at once */
	ck_assert_int_eq(read_all(0, 999), 1000);
	ck_assert(!ring_needs_file(&ring, 1 << 20));
	ck_assert_int_eq(ring.error, 0);
}
END_TEST

START_TEST(limit_0_keeps_nothing_and_counts)
{
	ring_init(&ring, &group, 0);
	append(100);
	append(100000);
	ck_assert_int_eq(ring.end, 100100);
	ck_assert_int_eq(ring.start, 100100);
	ck_assert_int_eq(read_all(0, 10), 0);
	ck_assert_ptr_null(ring.memory);
	ck_assert(!ring_needs_file(&ring, 1 << 20));
}
END_TEST

START_TEST(reads_outside_of_what_is_kept)
{
	int64_t off = -5;
	char c;

	ring_init(&ring, &group, 10);
	append(25);
	ck_assert_int_eq(ring_read(&ring, &off, &c, 1), 1);
	ck_assert_int_eq(off, 15);
	off = 25;
	ck_assert_int_eq(ring_read(&ring, &off, &c, 1), 0);
	off = INT64_MAX;
	ck_assert_int_eq(ring_read(&ring, &off, &c, 1), 0);
	off = 20;
	ck_assert_int_eq(ring_read(&ring, &off, &c, 0), 0);
	ck_assert_int_eq(off, 20);
}
END_TEST

START_TEST(a_file_takes_over_what_memory_held)
{
	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX - 1);
	ck_assert(!ring_needs_file(&ring, 1));
	ck_assert(ring_needs_file(&ring, 2));
	ck_assert_int_eq(ring_move_to_file(&ring, temp_file()), 0);
	ck_assert_ptr_null(ring.memory);
	ck_assert_int_eq(group.files, 1);
	ck_assert_int_eq(read_all(0, 1000), RING_MEMORY_MAX - 1);
	append(2);
	ck_assert_int_eq(read_all(0, 1000), RING_MEMORY_MAX + 1);
}
END_TEST

START_TEST(a_file_never_passes_the_limit)
{
	static const size_t sizes[] = {1, 100, 40 * KIB, 99 * KIB, 300 * KIB, 3, 25 * KIB};
	size_t i;

	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX);
	ck_assert_int_eq(ring_move_to_file(&ring, temp_file()), 0);
	for (i = 0; i < 4 * sizeof(sizes) / sizeof(*sizes); i++) {
		append(sizes[i % (sizeof(sizes) / sizeof(*sizes))]);
		ck_assert_int_eq(file_size(ring.fd), ring.end < FILE_LIMIT ? ring.end : FILE_LIMIT);
		ck_assert_int_eq(read_all(0, 7777), file_size(ring.fd));
		ck_assert_int_eq(group.kept_bytes, file_size(ring.fd));
	}
	ck_assert_int_eq(read_all(ring.end - 10, 3), 10);
	ck_assert_int_eq(ring.error, 0);
}
END_TEST

START_TEST(without_a_file_the_newest_64_kib_stay)
{
	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX);
	ring_pin(&ring, EMFILE);
	ck_assert(!ring_needs_file(&ring, 1));
	append(100 * KIB);
	ck_assert_int_eq(read_all(0, 1000), RING_MEMORY_MAX);
	ck_assert_int_eq(ring_bounds(&ring).error, EMFILE);
}
END_TEST

START_TEST(once_overwritten_memory_is_not_moved)
{
	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX + 1);
	ck_assert(!ring_needs_file(&ring, 1));
}
END_TEST

/* As a full disk: writing beyond `size` fails. */
static void
with_file_size_limit(rlim_t size)
{
	struct rlimit limit;

	ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(a_full_disk_leaves_a_smaller_ring)
{
	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX);
	ck_assert_int_eq(ring_move_to_file(&ring, temp_file()), 0);
	with_file_size_limit(80 * KIB);
	append(10 * KIB);
	ck_assert_int_eq(ring_bounds(&ring).error, 0);
	append(200 * KIB);
	append(12345);
	with_file_size_limit(RLIM_INFINITY);
	ck_assert_int_eq(ring_bounds(&ring).error, EFBIG);
	ck_assert_int_ge(read_all(0, 5000), RING_MEMORY_MAX);
	ck_assert_int_le(file_size(ring.fd), 80 * KIB);
	ck_assert_int_eq(ring.end, RING_MEMORY_MAX + 210 * KIB + 12345);
	ck_assert_int_eq(ring.end - ring.start, read_all(0, 4096));
}
END_TEST

START_TEST(a_file_that_can_not_be_filled_leaves_memory)
{
	int fd = temp_file();

	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX);
	with_file_size_limit(10 * KIB);
	ck_assert_int_eq(ring_move_to_file(&ring, fd), -EFBIG);
	with_file_size_limit(RLIM_INFINITY);
	close(fd);
	ck_assert_int_eq(group.files, 0);
	ck_assert_int_eq(read_all(0, 1000), RING_MEMORY_MAX);
}
END_TEST

START_TEST(a_failing_file_drops_and_counts_on)
{
	int good, bad = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ring_init(&ring, &group, FILE_LIMIT);
	append(RING_MEMORY_MAX);
	ck_assert_int_eq(ring_move_to_file(&ring, temp_file()), 0);
	append(FILE_LIMIT);
	good = ring.fd;
	ring.fd = bad; /* EBADF for each write */
	append(50 * KIB);
	ck_assert_int_eq(ring.end, RING_MEMORY_MAX + FILE_LIMIT + 50 * KIB);
	ck_assert_int_eq(ring.start, ring.end);
	ck_assert_int_eq(ring_bounds(&ring).error, EBADF);
	ring.fd = good; /* and when it works again, it is used again */
	append(1000);
	ck_assert_int_eq(read_all(0, 100), 1000);
	close(bad);
}
END_TEST

#define FLOOD_BYTES (16 * KIB * KIB)

static void *
flood(void *arg)
{
	unsigned char *data = malloc(256 * KIB);
	int64_t off = 0;
	size_t i, len;

	(void)arg;
	while (off < FLOOD_BYTES) {
		len = 1 + ((size_t)off * 31) % (256 * KIB - 1);
		for (i = 0; i < len; i++)
			data[i] = byte_at(off + (int64_t)i);
		if (ring_needs_file(&ring, len))
			ck_assert_int_eq(ring_move_to_file(&ring, temp_file()), 0);
		ring_append(&ring, data, len);
		off += (int64_t)len;
	}
	free(data);
	return NULL;
}

/* A reader right behind the writer, from time to time fallen far behind. */
static void
read_beside_flood(int64_t limit)
{
	static unsigned char buf[200 * KIB];
	int64_t off = 0, reads = 0, seen = 0;
	pthread_t writer;

	ring_init(&ring, &group, limit);
	ring_set_shared(&ring, true);
	ck_assert_int_eq(pthread_create(&writer, NULL, flood, NULL), 0);
	while (ring_bounds(&ring).end < FLOOD_BYTES || off < ring_bounds(&ring).end) {
		int64_t asked = off;
		ssize_t i, n = ring_read(&ring, &off, buf, 1 + (size_t)(reads * 977) % sizeof(buf));

		ck_assert_int_ge(n, 0);
		ck_assert_int_ge(off, asked);
		for (i = 0; i < n; i++)
			if (buf[i] != byte_at(off + i))
				ck_abort_msg("a torn byte at %lld", (long long)(off + i));
		off += n;
		seen += n;
		if (n == 0)
			sched_yield();
		if (++reads % 16 == 0 && off > 2 * limit)
			off -= limit;
	}
	pthread_join(writer, NULL);
	ring_set_shared(&ring, false);
	ck_assert_int_gt(seen, 0);
	ck_assert_int_eq(read_all(0, 1000), limit);
	ck_assert_int_eq(ring.error, 0);
}

START_TEST(a_reader_beside_a_file_writer_sees_no_torn_byte)
{
	read_beside_flood(FILE_LIMIT);
}
END_TEST

START_TEST(a_reader_beside_a_memory_writer_sees_no_torn_byte)
{
	read_beside_flood(20 * KIB + 3);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ring");
	TCase *tc = tcase_create("ring");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_unused_ring_allocates_nothing);
	tcase_add_test(tc, memory_grows_with_what_is_kept);
	tcase_add_test(tc, memory_keeps_the_newest_of_the_limit);
	tcase_add_test(tc, limit_0_keeps_nothing_and_counts);
	tcase_add_test(tc, reads_outside_of_what_is_kept);
	tcase_add_test(tc, a_file_takes_over_what_memory_held);
	tcase_add_test(tc, a_file_never_passes_the_limit);
	tcase_add_test(tc, without_a_file_the_newest_64_kib_stay);
	tcase_add_test(tc, once_overwritten_memory_is_not_moved);
	tcase_add_test(tc, a_full_disk_leaves_a_smaller_ring);
	tcase_add_test(tc, a_file_that_can_not_be_filled_leaves_memory);
	tcase_add_test(tc, a_failing_file_drops_and_counts_on);
	tcase_add_test(tc, a_reader_beside_a_file_writer_sees_no_torn_byte);
	tcase_add_test(tc, a_reader_beside_a_memory_writer_sees_no_torn_byte);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
