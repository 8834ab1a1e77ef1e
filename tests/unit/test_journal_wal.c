/*
 * The look at a write-ahead log before SQLite's: what a power cut leaves must never be called
 * damage, a hole with transactions behind it must never go unnoticed. Logs are made here, frame by
 * frame, and one is SQLite's own.
 */
#include "journal_fixture.h"
#include "store/journal_wal.h"

#include <dirent.h>
#include <sys/mman.h>

static const struct fx_spec plain;

#define PAGE 512
#define FRAME (24 + PAGE)
#define FRAMES_MAX 64

static uint8_t image[32 + FRAMES_MAX * FRAME];
static size_t image_len;
static bool big_words;
static uint32_t sum[2], salts[2];

static void
put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void
sum_more(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint32_t w[2];

		memcpy(w, p + i, 8);
		for (int k = 0; k < 2; k++)
			if (big_words == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__))
				w[k] = __builtin_bswap32(w[k]);
		sum[0] += w[0] + sum[1];
		sum[1] += w[1] + sum[0];
	}
}

static void
put_header(void)
{
	const uint32_t words[] = { 0x377f0682u | big_words, 3007000, PAGE, 1, salts[0], salts[1] };

	for (int i = 0; i < 6; i++)
		put32(image + 4 * i, words[i]);
	sum[0] = sum[1] = 0;
	sum_more(image, 24);
	put32(image + 24, sum[0]);
	put32(image + 28, sum[1]);
	if (image_len < 32)
		image_len = 32;
}

/* Frame number i, after what was put last. */
static void
put_frame(int i, uint32_t page, uint32_t commit)
{
	uint8_t *f = image + 32 + i * FRAME;

	put32(f, page);
	put32(f + 4, commit);
	put32(f + 8, salts[0]);
	put32(f + 12, salts[1]);
	for (int k = 0; k < PAGE; k++)
		f[24 + k] = (uint8_t)(k * 7 + i * 13 + (int)page);
	sum_more(f, 8);
	sum_more(f + 24, PAGE);
	put32(f + 16, sum[0]);
	put32(f + 20, sum[1]);
	if (image_len < 32 + ((size_t)i + 1) * FRAME)
		image_len = 32 + ((size_t)i + 1) * FRAME;
}

/* n transactions of three frames each, from frame number `at` on. */
static void
put_transactions(int at, int n)
{
	for (int i = 0; i < n * 3; i++)
		put_frame(at + i, (uint32_t)(2 + i), i % 3 == 2 ? 20 : 0);
}

static void
start_log(bool big)
{
	memset(image, 0, sizeof image);
	image_len = 0;
	big_words = big;
	salts[0] = 0x1234567;
	salts[1] = 0x89abcdef;
	put_header();
}

static struct wal_report report;

static enum wal_verdict
look(void)
{
	int fd = memfd_create("wal", MFD_CLOEXEC);
	enum wal_verdict verdict;

	ck_assert_int_eq(write(fd, image, image_len), (ssize_t)image_len);
	verdict = wal_walk(fd, &report);
	close(fd);
	return verdict;
}

static size_t
place(int frame)
{
	return 32 + (size_t)frame * FRAME;
}

START_TEST(a_short_log_is_whole)
{
	start_log(false);
	put_transactions(0, 2);
	for (size_t n = 0; n < place(1); n += 5) {
		image_len = n;
		ck_assert_int_eq(look(), WAL_WHOLE);
		ck_assert_uint_eq(report.frames, 0);
	}
}
END_TEST

START_TEST(a_log_is_whole)
{
	start_log(_i != 0);
	put_transactions(0, 5);
	ck_assert_int_eq(look(), WAL_WHOLE);
	ck_assert_uint_eq(report.frames, 15);
	ck_assert_uint_eq(report.lost, 0);
	put_frame(15, 4, 0); /* and one that has only begun */
	ck_assert_int_eq(look(), WAL_WHOLE);
	ck_assert_uint_eq(report.frames, 16);
}
END_TEST

START_TEST(a_torn_tail_is_no_damage)
{
	start_log(_i != 0);
	put_transactions(0, 5);
	for (; image_len > 0; image_len -= 8)
		ck_assert_int_ne(look(), WAL_HOLE);
	/* Any blocks of the last transaction may be missing, whatever was there before. */
	for (unsigned blocks = 0; blocks < 1u << 6; blocks++) {
		start_log(_i != 0);
		put_transactions(0, 5);
		for (int b = 0; b < 6; b++)
			if (blocks & 1u << b)
				memset(image + place(12) + b * FRAME / 2, b % 2 ? 0 : 0xe5,
				    FRAME / 2);
		ck_assert_int_ne(look(), WAL_HOLE);
		ck_assert_uint_ge(report.frames, 12);
	}
}
END_TEST

/* One flipped bit, anywhere: SQLite would take what stands before it. */
START_TEST(a_hole_is_damage_unless_it_is_in_the_last_transaction)
{
	start_log(_i != 0);
	put_transactions(0, 5);
	for (size_t at = 0; at < image_len; at += at < 32 || (at - 32) % FRAME < 24 ? 1 : 31) {
		bool is_commit = at >= 32 && (at - 32) % FRAME / 4 == 1;
		enum wal_verdict v;

		image[at] ^= 0x04;
		v = look();
		image[at] ^= 0x04;
		if (at < place(9))
			ck_assert_msg(v == WAL_HOLE, "at %zu: %d", at, v);
		else if (at >= place(12))
			ck_assert_msg(v != WAL_HOLE, "at %zu: %d", at, v);
		else /* of the last but one: where it doesn't take the end of it away */
			ck_assert_msg(v == WAL_HOLE || is_commit ||
			    (at >= place(11) && at - place(11) < 24), "at %zu: %d", at, v);
		if (at >= 32 && v == WAL_HOLE)
			ck_assert_uint_eq(report.frames, (at - 32) / FRAME);
	}
}
END_TEST

START_TEST(an_earlier_generation_behind_is_no_damage)
{
	start_log(_i != 0);
	put_transactions(0, 8);
	salts[0]++;
	salts[1] = 77;
	put_header();
	ck_assert_int_eq(look(), WAL_WHOLE);
	put_transactions(0, 2);
	ck_assert_int_eq(look(), WAL_WHOLE);
	ck_assert_uint_eq(report.frames, 6);
	image[place(4) + 100] ^= 1;
	ck_assert_int_eq(look(), WAL_TORN);
	image[place(4) + 100] ^= 1;
	image[place(1) + 100] ^= 1;
	ck_assert_int_eq(look(), WAL_HOLE);
	ck_assert_uint_eq(report.lost, 2);
}
END_TEST

/* Attempts that failed, or that a power cut tore, leave frames with the salts of today behind. */
START_TEST(what_earlier_attempts_left_is_no_damage)
{
	uint32_t before[2];

	start_log(_i != 0);
	put_transactions(0, 3);
	memcpy(before, sum, sizeof sum);
	for (int i = 9; i < 20; i++)
		put_frame(i, (uint32_t)i, i == 19 ? 20 : 0); /* this one failed at its end */
	memcpy(sum, before, sizeof sum);
	put_frame(9, 40, 20);
	ck_assert_int_ne(look(), WAL_HOLE);
	put_frame(10, 41, 0);
	put_frame(11, 42, 20);
	image[place(10) + 50] ^= 1; /* and torn again */
	ck_assert_int_eq(look(), WAL_TORN);
	ck_assert_uint_eq(report.frames, 10);
}
END_TEST

/* A last frame that is written twice, to fill a sector, is one transaction. */
START_TEST(a_padded_transaction_is_one)
{
	start_log(_i != 0);
	put_transactions(0, 2);
	put_frame(6, 9, 0);
	for (int i = 7; i < 11; i++)
		put_frame(i, 10, 20);
	image[place(6) + 50] ^= 1;
	ck_assert_int_eq(look(), WAL_TORN);
	image[place(6) + 50] ^= 1;
	image[place(7) + 50] ^= 1;
	ck_assert_int_eq(look(), WAL_TORN);
}
END_TEST

START_TEST(what_is_no_log_is_no_damage)
{
	start_log(false);
	memset(image, 0, sizeof image);
	image_len = sizeof image;
	ck_assert_int_eq(look(), WAL_TORN);
	for (size_t i = 0; i < sizeof image; i++)
		image[i] = (uint8_t)(i * i * 31 + i / 7);
	ck_assert_int_eq(look(), WAL_TORN);
	start_log(false); /* a header without magic, and one transaction */
	put_transactions(0, 1);
	image[0] ^= 1;
	ck_assert_int_eq(look(), WAL_TORN);
	put_transactions(3, 1);
	ck_assert_int_eq(look(), WAL_HOLE);
}
END_TEST

/* ---- SQLite's own ---- */

static char *
read_file(const char *name, size_t *len)
{
	char path[128], *bytes = malloc(1 << 22);
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", fx_dir, name);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	*len = fread(bytes, 1, 1 << 22, f);
	fclose(f);
	return bytes;
}

static void
write_file(const char *name, const char *bytes, size_t len)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", fx_dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	fclose(f);
}

static char *saved[2];
static size_t saved_len[2];
static uint64_t saved_instance;

/* The files as `kill -9` leaves them, with ten jobs in the log. */
static void
make_killed(bool normal)
{
	fx_options.normal = normal;
	fx_open();
	for (int i = 0; i < 10; i++)
		fx_make_done(1, 0);
	saved[0] = read_file("journal", &saved_len[0]);
	saved[1] = read_file("journal-wal", &saved_len[1]);
	saved_instance = fx_store->instance;
	fx_close();
}

static void
put_killed(size_t flip)
{
	if (flip != 0)
		saved[1][flip] ^= 0x10;
	write_file("journal", saved[0], saved_len[0]);
	write_file("journal-wal", saved[1], saved_len[1]);
	if (flip != 0)
		saved[1][flip] ^= 0x10;
}

static void
free_killed(void)
{
	free(saved[0]);
	free(saved[1]);
}

static int
aside(void)
{
	DIR *dir = opendir(fx_dir);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)) != NULL)
		n += strncmp(e->d_name, "journal.damaged-", 16) == 0;
	closedir(dir);
	return n;
}

START_TEST(a_log_with_a_hole_is_set_aside_with_its_journal)
{
	const char *text;

	make_killed(false);
	put_killed(saved_len[1] / 4);
	ck_assert_int_eq(fx_check(&text), 1);
	ck_assert_ptr_nonnull(strstr(text, "damaged: the write-ahead log at byte "));
	put_killed(saved_len[1] / 4);
	fx_open();
	ck_assert_int_ge(aside(), 2);
	ck_assert_uint_ne(fx_store->instance, saved_instance);
	ck_assert_ptr_nonnull(strstr(fx_log, "the journal is damaged and was set aside"));
	ck_assert_ptr_nonnull(strstr(fx_log, "the write-ahead log is not right at byte"));
	fx_close();
	put_killed(0); /* as it was */
	fx_open();
	ck_assert_uint_eq(fx_store->instance, saved_instance);
	ck_assert_uint_eq(fx_store->ndone, 10);
	free_killed();
}
END_TEST

START_TEST(without_syncs_a_hole_is_only_told_of)
{
	make_killed(true);
	put_killed(saved_len[1] / 2);
	fx_open();
	ck_assert_int_eq(aside(), 0);
	ck_assert_uint_eq(fx_store->instance, saved_instance);
	ck_assert_uint_lt(fx_store->ndone, 10);
	ck_assert_ptr_nonnull(strstr(fx_log, "the journal has lost its last changes"));
	free_killed();
}
END_TEST

START_TEST(a_torn_log_is_no_damage)
{
	make_killed(false);
	for (size_t cut = 0; cut < 5; cut++) {
		size_t len = saved_len[1];

		saved_len[1] = len - len * cut / 5;
		put_killed(0);
		saved_len[1] = len;
		fx_open();
		ck_assert_int_eq(aside(), 0);
		ck_assert_uint_eq(fx_store->instance, saved_instance);
		fx_close();
	}
	free_killed();
}
END_TEST

/* Beside an empty journal it is all that is left: SQLite would remove it. */
START_TEST(a_log_without_its_journal_is_set_aside)
{
	make_killed(false);
	put_killed(saved_len[1] / 4);
	write_file("journal", "", 0);
	fx_open();
	ck_assert_int_gt(aside(), 1);
	ck_assert_uint_ne(fx_store->instance, saved_instance);
	ck_assert_uint_eq(fx_store->ndone, 0);
	fx_make_done(1, 0);
	free_killed();
}
END_TEST

/* While it is written to, --check-state never sees a hole. */
START_TEST(a_log_that_is_written_has_no_hole)
{
	int fd;

	fx_options.normal = false;
	fx_open();
	fd = open(fx_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 200; i++) {
		fx_unref(fx_submit(&plain));
		fx_store->ops->commit(fx_store, fx_on_commit, NULL);
		ck_assert_int_ne(wal_look(fd, &report), WAL_HOLE);
	}
	close(fd);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_wal");
	TCase *walk = tcase_create("walk"), *own = tcase_create("own");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(walk, a_short_log_is_whole);
	tcase_add_loop_test(walk, a_log_is_whole, 0, 2);
	tcase_add_loop_test(walk, a_torn_tail_is_no_damage, 0, 2);
	tcase_add_loop_test(walk, a_hole_is_damage_unless_it_is_in_the_last_transaction, 0, 2);
	tcase_add_loop_test(walk, an_earlier_generation_behind_is_no_damage, 0, 2);
	tcase_add_loop_test(walk, what_earlier_attempts_left_is_no_damage, 0, 2);
	tcase_add_loop_test(walk, a_padded_transaction_is_one, 0, 2);
	tcase_add_test(walk, what_is_no_log_is_no_damage);
	suite_add_tcase(suite, walk);
	tcase_add_checked_fixture(own, fx_setup, fx_teardown);
	tcase_add_test(own, a_log_with_a_hole_is_set_aside_with_its_journal);
	tcase_add_test(own, without_syncs_a_hole_is_only_told_of);
	tcase_add_test(own, a_torn_log_is_no_damage);
	tcase_add_test(own, a_log_without_its_journal_is_set_aside);
	tcase_add_test(own, a_log_that_is_written_has_no_hole);
	suite_add_tcase(suite, own);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
