/* The RUN body: what is packed reads back, and nothing else reads at all. */
#include "launch/body.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char argv3[] = "sh\0-c\0exit 3";

/* One with every field. */
static void
fill(struct body *b)
{
	body_init(b);
	b->argv = argv3;
	b->argv_len = sizeof(argv3);
	b->argc = 3;
	b->cwd = "/tmp";
	b->queue = "night";
	b->umask_bits = 027;
	b->has_nice = true;
	b->nice = -5;
	b->rlimits[0] = (struct body_rlimit){.resource = 7, .soft = 100, .hard = 200};
	b->rlimits[1] = (struct body_rlimit){.resource = 4, .soft = 0, .hard = UINT64_MAX};
	b->nrlimits = 2;
	b->files[0].kind = BODY_FILE_PASSED;
	b->files[1] = (struct body_file){.kind = BODY_FILE_PATH, .append = true, .path = "out"};
	b->files[2].kind = BODY_FILE_STDOUT;
	b->tty = true;
	b->keep_leftovers = true;
	b->timeout_ms = 1500;
	b->grace_ms = 0;
}

/* In a block of exactly its size, so that a sanitizer sees every step beyond. */
static unsigned char *
packed(const struct body *b, size_t *len)
{
	unsigned char *bytes;

	*len = body_size(b);
	bytes = malloc(*len);
	ck_assert_ptr_nonnull(bytes);
	body_pack(b, bytes);
	return bytes;
}

/* Touches all that a reader gives, as the launcher will. */
static size_t
use(const struct body *b)
{
	const char *at = b->argv;
	size_t sum = strlen(b->cwd ? b->cwd : "") + strlen(b->queue ? b->queue : "");

	for (uint32_t i = 0; i < b->argc; i++) {
		sum += strlen(at);
		at += strlen(at) + 1;
	}
	ck_assert_ptr_eq(at, b->argv + b->argv_len);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(b->files[i].kind == BODY_FILE_PATH, b->files[i].path != NULL);
		sum += b->files[i].path ? strlen(b->files[i].path) : 0;
	}
	ck_assert_uint_le(b->nrlimits, BODY_RLIMITS_MAX);
	ck_assert_int_ge(b->timeout_ms, 0);
	ck_assert_int_ge(b->grace_ms, -1);
	return sum;
}

START_TEST(every_field_reads_back)
{
	struct body in, out;
	const char *why;
	size_t len;
	unsigned char *bytes;

	fill(&in);
	bytes = packed(&in, &len);
	ck_assert_uint_eq(len % 4, 0);
	ck_assert_int_eq(body_read(&out, bytes, len, &why), 0);
	ck_assert_uint_eq(out.argc, 3);
	ck_assert_mem_eq(out.argv, argv3, sizeof(argv3));
	ck_assert_str_eq(out.cwd, "/tmp");
	ck_assert_str_eq(out.queue, "night");
	ck_assert_int_eq(out.umask_bits, 027);
	ck_assert(out.has_nice && out.nice == -5);
	ck_assert_uint_eq(out.nrlimits, 2);
	ck_assert_mem_eq(out.rlimits, in.rlimits, 2 * sizeof(in.rlimits[0]));
	ck_assert_int_eq(out.files[0].kind, BODY_FILE_PASSED);
	ck_assert_str_eq(out.files[1].path, "out");
	ck_assert(out.files[1].append);
	ck_assert_int_eq(out.files[2].kind, BODY_FILE_STDOUT);
	ck_assert(out.tty && out.keep_leftovers);
	ck_assert_int_eq(out.timeout_ms, 1500);
	ck_assert_int_eq(out.grace_ms, 0);
	free(bytes);
}
END_TEST

START_TEST(defaults_take_no_room)
{
	struct body in, out;
	const char *why;
	size_t len;
	unsigned char *bytes;

	body_init(&in);
	in.argv = "true";
	in.argv_len = 5;
	in.argc = 1;
	bytes = packed(&in, &len);
	ck_assert_uint_eq(len, 8 + 8);
	ck_assert_int_eq(body_read(&out, bytes, len, &why), 0);
	ck_assert_ptr_null(out.cwd);
	ck_assert_ptr_null(out.queue);
	ck_assert_int_eq(out.umask_bits, -1);
	ck_assert(!out.has_nice && !out.tty && !out.keep_leftovers);
	ck_assert_uint_eq(out.nrlimits, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(out.files[i].kind, BODY_FILE_NULL);
	ck_assert_int_eq(out.timeout_ms, 0);
	ck_assert_int_eq(out.grace_ms, -1);
	free(bytes);
}
END_TEST

START_TEST(empty_arguments_are_arguments)
{
	static const char argv[] = "a\0\0\0b";
	struct body in, out;
	const char *why;
	size_t len;
	unsigned char *bytes;

	body_init(&in);
	in.argv = argv;
	in.argv_len = sizeof(argv);
	bytes = packed(&in, &len);
	ck_assert_int_eq(body_read(&out, bytes, len, &why), 0);
	ck_assert_uint_eq(out.argc, 4);
	use(&out);
	free(bytes);
}
END_TEST

START_TEST(every_truncation_is_refused_or_whole)
{
	struct body in, out;
	const char *why;
	size_t len, good = 0;
	unsigned char *bytes;

	fill(&in);
	bytes = packed(&in, &len);
	for (size_t cut = 0; cut < len; cut++) {
		unsigned char *part = malloc(cut ? cut : 1);

		memcpy(part, bytes, cut);
		if (body_read(&out, part, cut, &why) == 0) {
			use(&out); /* cut between two fields */
			good++;
		} else {
			ck_assert_ptr_nonnull(why);
		}
		free(part);
	}
	ck_assert_uint_lt(good, 20);
	free(bytes);
}
END_TEST

START_TEST(every_bit_flip_is_refused_or_read_safely)
{
	struct body in, out;
	const char *why;
	size_t len;
	unsigned char *bytes;

	fill(&in);
	bytes = packed(&in, &len);
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		if (body_read(&out, bytes, len, &why) == 0)
			use(&out);
		else
			ck_assert_ptr_nonnull(why);
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	ck_assert_int_eq(body_read(&out, bytes, len, &why), 0);
	free(bytes);
}
END_TEST

START_TEST(random_bytes_do_no_harm)
{
	struct body out;
	const char *why;
	uint64_t x = 88172645463325252u;

	for (int round = 0; round < 20000; round++) {
		size_t len = 4 * (size_t)(round % 40);
		unsigned char *bytes = malloc(len ? len : 1);

		for (size_t i = 0; i < len; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			/* mostly small numbers, so that tags and lengths make sense at times */
			bytes[i] = x & 0x300 ? (i % 4 ? 0 : x % 20) : (unsigned char)x;
		}
		if (body_read(&out, bytes, len, &why) == 0)
			use(&out);
		free(bytes);
	}
}
END_TEST

/* Packs one that a packer shouldn't have been given, and says why it is refused. */
static const char *
refusal(const struct body *b)
{
	struct body out;
	const char *why;
	size_t len;
	unsigned char *bytes = packed(b, &len);

	ck_assert_int_eq(body_read(&out, bytes, len, &why), -1);
	free(bytes);
	return why;
}

START_TEST(what_makes_no_sense_is_refused)
{
	struct body b;

	fill(&b);
	b.argv_len = 0;
	ck_assert_str_eq(refusal(&b), "argv does not end with NUL");
	fill(&b);
	b.argv_len = 4;
	ck_assert_str_eq(refusal(&b), "argv does not end with NUL");
	fill(&b);
	b.cwd = "";
	ck_assert_str_eq(refusal(&b), "string is malformed");
	fill(&b);
	b.umask_bits = 01000;
	ck_assert_str_eq(refusal(&b), "umask out of range");
	fill(&b);
	b.nice = 20;
	ck_assert_str_eq(refusal(&b), "nice out of range");
	fill(&b);
	b.rlimits[1].resource = 16;
	ck_assert_str_eq(refusal(&b), "unknown rlimit");
	fill(&b);
	b.rlimits[1].soft = 2;
	b.rlimits[1].hard = 1;
	ck_assert_str_eq(refusal(&b), "rlimit above its hard limit");
	fill(&b);
	b.files[1].kind = BODY_FILE_STDOUT;
	b.files[1].append = false;
	ck_assert_str_eq(refusal(&b), "only stderr can be stdout");
	fill(&b);
	b.files[0] = (struct body_file){.kind = BODY_FILE_PATH, .path = "x"};
	ck_assert_str_eq(refusal(&b), "tty without a passed stdin");
	b.tty = false;
	b.files[0].append = true;
	ck_assert_str_eq(refusal(&b), "stdin can't be appended to");
	fill(&b);
	b.files[1].path = "";
	ck_assert_str_eq(refusal(&b), "file without a path");
	fill(&b);
	b.files[2].append = true;
	ck_assert_str_eq(refusal(&b), "file is malformed");
}
END_TEST

START_TEST(a_field_twice_is_refused)
{
	struct body in, out;
	const char *why;
	size_t len;
	unsigned char *bytes, *twice;

	body_init(&in);
	in.argv = "true";
	in.argv_len = 5;
	bytes = packed(&in, &len);
	twice = malloc(2 * len);
	memcpy(twice, bytes, len);
	memcpy(twice + len, bytes, len);
	ck_assert_int_eq(body_read(&out, twice, 2 * len, &why), -1);
	ck_assert_str_eq(why, "a field twice");
	free(twice);
	free(bytes);
}
END_TEST

START_TEST(sixteen_rlimits_fit_and_no_more)
{
	static const unsigned char one_more[32] = {6, 0, 0, 0, 24};
	struct body in, out;
	const char *why;
	size_t len;
	unsigned char *bytes, *more;

	fill(&in);
	in.nrlimits = BODY_RLIMITS_MAX;
	for (unsigned i = 0; i < in.nrlimits; i++)
		in.rlimits[i] = (struct body_rlimit){.resource = i, .soft = i, .hard = i};
	bytes = packed(&in, &len);
	ck_assert_int_eq(body_read(&out, bytes, len, &why), 0);
	ck_assert_uint_eq(out.nrlimits, BODY_RLIMITS_MAX);
	more = malloc(len + sizeof(one_more));
	memcpy(more, bytes, len);
	memcpy(more + len, one_more, sizeof(one_more));
	ck_assert_int_eq(body_read(&out, more, len + sizeof(one_more), &why), -1);
	ck_assert_str_eq(why, "too many rlimits");
	free(more);
	free(bytes);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("launch_body");
	TCase *tc = tcase_create("body");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, every_field_reads_back);
	tcase_add_test(tc, defaults_take_no_room);
	tcase_add_test(tc, empty_arguments_are_arguments);
	tcase_add_test(tc, every_truncation_is_refused_or_whole);
	tcase_add_test(tc, every_bit_flip_is_refused_or_read_safely);
	tcase_add_test(tc, random_bytes_do_no_harm);
	tcase_add_test(tc, what_makes_no_sense_is_refused);
	tcase_add_test(tc, a_field_twice_is_refused);
	tcase_add_test(tc, sixteen_rlimits_fit_and_no_more);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
