/*
 * What an engine that was killed had read: each way in which a read can be cut off is made by hand
 * in the landing, and what the next engine finds in the rings is compared byte by byte.
 */
#include "engine/capture_replay.h"
#include "engine/ring.h"
#include "engine/spool.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ERA "boot 1, journal 1"
#define LIMIT 400000
#define JOB 7
#define STATE_AT 112 /* in the record: behind the era, which makes the rest worth a look */
#define LEN_AT (STATE_AT + 4)

static char state[] = "/tmp/slotd-test-landing-XXXXXX";
static struct spool *spool;
static struct ring_group group;

static struct spool *
open_spool(const char *era)
{
	int error = 0;
	struct spool *s = capture_replay_spool_open(state, era, &error);

	ck_assert_msg(s != NULL, "%s", strerror(-error));
	return s;
}

static void
setup(void)
{
	strcpy(state, "/tmp/slotd-test-landing-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(state));
	memset(&group, 0, sizeof(group));
	pthread_mutex_init(&group.lock, NULL);
	spool = open_spool(ERA);
}

static void
teardown(void)
{
	char command[128];

	spool_free(spool);
	pthread_mutex_destroy(&group.lock);
	snprintf(command, sizeof(command), "rm -r %s", state);
	ck_assert_int_eq(system(command), 0);
}

static const char *
landing_path(void)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/landing", state);
	return path;
}

/* ---- one stream ---- */

static unsigned char
byte_at(int64_t off)
{
	return (unsigned char)((((uint64_t)off * 2654435761u) >> 11) & 0x7f);
}

static void
fill(unsigned char *buf, int64_t off, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = byte_at(off + (int64_t)i);
}

static void
append(struct ring *r, size_t len)
{
	unsigned char *data = malloc(len + 1);

	ck_assert_ptr_nonnull(data);
	fill(data, r->end, len);
	if (ring_needs_file(r, len)) {
		int fd = ring_file_create(spool_output_dir(spool), &r->name);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ring_move_to_file(r, fd), 0);
	}
	ring_append(r, data, len);
	free(data);
}

static void
begin(struct ring *r, int64_t limit, size_t len)
{
	const struct ring_name name = {JOB, 1, 1};

	ring_init(r, &group, limit);
	ring_set_spool(r, spool, &name);
	if (len > 0)
		append(r, len);
}

static void
leave(struct ring *r)
{
	int fd = ring_leave(r);

	if (fd >= 0)
		close(fd);
}

static void
expect(struct spool_landing *l, const struct ring *r, size_t len)
{
	const struct spool_landing_for whose = {r->name, r->limit, r->end};

	spool_landing_expect(l, &whose, len);
}

/* The engine is killed: as it stands, the next one takes over. */
static void
kill_engine(struct ring *r)
{
	leave(r);
	spool_free(spool);
	spool = open_spool(ERA);
}

/* What the next engine finds of the stream. */
static void
check_stream(int64_t limit, int64_t start, int64_t end, int error)
{
	static unsigned char buf[LIMIT + 1];
	int64_t off = start;
	struct ring r;
	ssize_t n, i;
	int fd;

	begin(&r, limit, 0);
	ring_adopt(&r);
	ck_assert_int_eq(r.end, end);
	ck_assert_int_eq(r.start, start);
	ck_assert_int_eq(r.error, error);
	n = ring_read(&r, &off, buf, sizeof(buf));
	ck_assert_int_eq(off, start);
	ck_assert_int_eq(n, end - start);
	/* (An assertion for each would write hundreds of thousands of messages.) */
	for (i = 0; i < n && buf[i] == byte_at(off + i); i++)
		;
	ck_assert_int_eq(i, n);
	fd = ring_fini(&r);
	if (fd >= 0)
		close(fd);
	/* And no landing says it a second time. */
	ck_assert(!spool_landing_left(&spool_landings(spool)->loop, &(struct spool_landing_left){0}));
	ck_assert(!spool_landing_left(&spool_landings(spool)->thread, &(struct spool_landing_left){0}));
}

static const size_t lens[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 4096, 65536};
#define NLENS ((int)(sizeof(lens) / sizeof(lens[0])))

/* ---- what a kill can cut off ---- */

START_TEST(a_read_that_came_to_its_end_is_not_lost)
{
	struct spool_landing *l = &spool_landings(spool)->loop;
	size_t len = lens[_i];
	struct ring r;

	begin(&r, LIMIT, 1000);
	expect(l, &r, len);
	fill(l->bytes, r.end, len);
	kill_engine(&r);
	check_stream(LIMIT, 0, 1000 + (int64_t)len, 0);
}
END_TEST

START_TEST(a_read_that_had_not_begun_adds_nothing)
{
	struct spool_landing *l = &spool_landings(spool)->loop;
	struct ring r;

	begin(&r, LIMIT, 1000);
	expect(l, &r, lens[_i]);
	kill_engine(&r);
	check_stream(LIMIT, 0, 1000, 0);
}
END_TEST

START_TEST(a_read_that_brought_less_is_known_once_it_returned)
{
	struct spool_landing *l = &spool_landings(spool)->loop;
	struct ring r;

	begin(&r, LIMIT, 1000);
	expect(l, &r, 4000);
	fill(l->bytes, r.end, 3);
	spool_landing_came(l, 3);
	kill_engine(&r);
	check_stream(LIMIT, 0, 1003, 0);
}
END_TEST

START_TEST(a_copy_that_was_cut_off_is_told)
{
	struct spool_landing *l = &spool_landings(spool)->thread;
	const size_t had = _i % 2 ? 1000 : 100000;
	struct ring r;

	begin(&r, LIMIT, had);
	expect(l, &r, 200000);
	fill(l->bytes, r.end, 4096);
	kill_engine(&r);
	check_stream(LIMIT, (int64_t)had + 200000, (int64_t)had + 200000, EIO);
}
END_TEST

/* Two bytes of the last mark are in a page that the copy did not get to. */
START_TEST(a_copy_that_was_cut_off_within_the_mark_is_told)
{
	struct spool_landing *l = &spool_landings(spool)->thread;
	struct ring r;

	begin(&r, LIMIT, 1000);
	expect(l, &r, 8192 + 2);
	fill(l->bytes, r.end, 8192);
	kill_engine(&r);
	check_stream(LIMIT, 1000 + 8192 + 2, 1000 + 8192 + 2, EIO);
}
END_TEST

/* The engine after one that read nothing is killed while it writes down its first read. */
START_TEST(what_was_expected_once_is_expected_no_more)
{
	const uint32_t len = 50; /* of 100 that were marked */
	struct ring r;
	int fd;

	begin(&r, LIMIT, 1000);
	expect(&spool_landings(spool)->loop, &r, 100);
	kill_engine(&r);
	fd = open(landing_path(), O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, &len, sizeof(len), LEN_AT), sizeof(len));
	close(fd);
	spool_free(spool);
	spool = open_spool(ERA);
	check_stream(LIMIT, 0, 1000, 0);
}
END_TEST

/* In memory, from there to a file, in a file, around its end; some of it appended already. */
static const struct {
	int64_t limit;
	size_t had, came, appended;
} places[] = {
	{LIMIT, 0, 100, 0}, {LIMIT, 0, 200000, 0}, {LIMIT, 60000, 5536, 0}, {LIMIT, 60000, 5537, 0},
	{LIMIT, 1000, 200000, 0}, {LIMIT, 100000, 262144, 0}, {LIMIT, 350000, 262144, 0},
	{LIMIT, 900000, 1, 0}, {100, 0, 250, 0}, {100, 60, 60, 0}, {70000, 60000, 262144, 0},
	{LIMIT, 100000, 200000, 50000}, {LIMIT, 100000, 200000, 200000}, {LIMIT, 10, 10, 10},
	{LIMIT, 380000, 200000, 50000}, {0, 0, 100, 0},
};
#define NPLACES ((int)(sizeof(places) / sizeof(places[0])))

static void
read_at(int i, struct ring *r)
{
	struct spool_landing *l = &spool_landings(spool)->thread;

	begin(r, places[i].limit, places[i].had);
	expect(l, r, places[i].came);
	fill(l->bytes, r->end, places[i].came);
	spool_landing_came(l, places[i].came);
	if (places[i].appended > 0)
		append(r, places[i].appended);
}

static void
check_at(int i)
{
	int64_t limit = places[i].limit, end = (int64_t)(places[i].had + places[i].came);

	if (limit == 0) /* of such a stream nothing is kept, not even how far it went */
		end = 0;
	check_stream(limit, end > limit ? end - limit : 0, end, 0);
}

START_TEST(what_came_is_put_where_it_belongs)
{
	struct ring r;

	read_at(_i, &r);
	kill_engine(&r);
	check_at(_i);
}
END_TEST

START_TEST(a_replay_that_was_killed_is_done_again)
{
	static unsigned char landing[SPOOL_LANDING_LOOP_BYTES + SPOOL_LANDING_THREAD_BYTES + 65536];
	struct ring r;
	ssize_t len;
	int fd;

	read_at(_i, &r);
	fd = open(landing_path(), O_RDWR | O_CLOEXEC);
	len = pread(fd, landing, sizeof(landing), 0);
	ck_assert_int_gt(len, 0);
	kill_engine(&r);
	ck_assert_int_eq(pwrite(fd, landing, (size_t)len, 0), len); /* as if it had not been cleared */
	close(fd);
	spool_free(spool);
	spool = open_spool(ERA);
	check_at(_i);
}
END_TEST

START_TEST(what_the_ring_has_is_not_added_twice)
{
	struct spool_landing *l = &spool_landings(spool)->loop;
	struct ring r;

	begin(&r, LIMIT, 10);
	expect(l, &r, 20);
	fill(l->bytes, r.end, 20);
	spool_landing_came(l, 20);
	append(&r, 20);
	spool_landing_clear(l);
	append(&r, 5);
	kill_engine(&r);
	check_stream(LIMIT, 0, 35, 0);
}
END_TEST

/* ---- what is not believed ---- */

START_TEST(another_era_is_another_world)
{
	struct spool_landing *l = &spool_landings(spool)->loop;
	struct ring r;

	begin(&r, LIMIT, 0);
	expect(l, &r, 100);
	fill(l->bytes, 0, 100);
	leave(&r);
	spool_free(spool);
	spool = open_spool("boot 2");
	ck_assert_int_eq(spool_used(spool), 0);
	check_stream(LIMIT, 0, 0, 0);
}
END_TEST

START_TEST(garbage_does_no_harm)
{
	unsigned char garbage[200];
	struct ring r;
	size_t i;
	int fd;

	for (i = 0; i < sizeof(garbage); i++)
		garbage[i] = (unsigned char)rand();
	begin(&r, LIMIT, 1000);
	expect(&spool_landings(spool)->loop, &r, 100);
	fd = open(landing_path(), O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, garbage, sizeof(garbage), STATE_AT + 4 * _i), sizeof(garbage));
	close(fd);
	kill_engine(&r);
	check_stream(LIMIT, 0, 1000, 0);
}
END_TEST

START_TEST(without_a_file_there_is_a_landing_all_the_same)
{
	struct spool_landing *l;
	struct ring r;

	spool_free(spool);
	ck_assert_int_eq(unlink(landing_path()), 0);
	ck_assert_int_eq(symlink("/dev/null", landing_path()), 0);
	spool = open_spool(ERA);
	ck_assert_int_eq(spool_landings(spool)->error, ELOOP);
	l = &spool_landings(spool)->loop;
	begin(&r, LIMIT, 10);
	expect(l, &r, 20);
	fill(l->bytes, 10, 20);
	kill_engine(&r);
	check_stream(LIMIT, 0, 10, 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("spool_landing");
	TCase *tc = tcase_create("kills");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, a_read_that_came_to_its_end_is_not_lost, 0, NLENS);
	tcase_add_loop_test(tc, a_read_that_had_not_begun_adds_nothing, 0, NLENS);
	tcase_add_test(tc, a_read_that_brought_less_is_known_once_it_returned);
	tcase_add_loop_test(tc, a_copy_that_was_cut_off_is_told, 0, 2);
	tcase_add_test(tc, a_copy_that_was_cut_off_within_the_mark_is_told);
	tcase_add_test(tc, what_was_expected_once_is_expected_no_more);
	tcase_add_loop_test(tc, what_came_is_put_where_it_belongs, 0, NPLACES);
	tcase_add_loop_test(tc, a_replay_that_was_killed_is_done_again, 0, NPLACES);
	tcase_add_test(tc, what_the_ring_has_is_not_added_twice);
	tcase_add_test(tc, another_era_is_another_world);
	tcase_add_loop_test(tc, garbage_does_no_harm, 0, 20);
	tcase_add_test(tc, without_a_file_there_is_a_landing_all_the_same);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
