/* Bytes to lines: whatever the pieces, the same lines; limits; memory given back. */
#include "wire/frame.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines as one text: "a|b|!|" ("!" for one that is too large). */
static void
collect(struct frame_reader *r, char *out)
{
	struct frame_line line;
	enum frame_status status;

	while ((status = frame_reader_next(r, &line)) != FRAME_NONE) {
		if (status == FRAME_TOO_LARGE) {
			strcat(out, "!|");
			continue;
		}
		strncat(out, line.ptr, line.len);
		strcat(out, "|");
	}
}

START_TEST(every_split_gives_the_same_lines)
{
	static const char text[] = "one\ntwo\r\n\n \t\r\n\r\nthree\n\"\r\"\nrest";
	const size_t len = sizeof(text) - 1;

	for (size_t a = 0; a <= len; a++) {
		for (size_t b = a; b <= len; b++) {
			struct frame_reader r;
			char got[64] = "";

			frame_reader_init(&r);
			ck_assert_int_eq(frame_reader_feed(&r, text, a), 0);
			collect(&r, got);
			ck_assert_int_eq(frame_reader_feed(&r, text + a, b - a), 0);
			collect(&r, got);
			ck_assert_int_eq(frame_reader_feed(&r, text + b, len - b), 0);
			collect(&r, got);
			ck_assert_str_eq(got, "one|two|three|\"\r\"|");
			ck_assert_uint_eq(frame_reader_held(&r), 4);
			frame_reader_fini(&r);
		}
	}
}
END_TEST

START_TEST(byte_by_byte_gives_the_same_lines)
{
	static const char text[] = "one\n\r\ntwo\r\n";
	struct frame_reader r;
	char got[64] = "";

	frame_reader_init(&r);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		ck_assert_int_eq(frame_reader_feed(&r, text + i, 1), 0);
		collect(&r, got);
	}
	ck_assert_str_eq(got, "one|two|");
	frame_reader_fini(&r);
}
END_TEST

START_TEST(lines_know_their_place_in_the_stream)
{
	struct frame_reader r;
	struct frame_line line;

	frame_reader_init(&r);
	frame_reader_feed(&r, "abc\n", 4);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_uint_eq(line.begin, 0);
	ck_assert_uint_eq(line.end, 4);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_NONE);
	frame_reader_feed(&r, "\nde", 3);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_NONE);
	frame_reader_feed(&r, "f\r\ng\n", 5);
	ck_assert_uint_eq(frame_reader_position(&r), 12);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_uint_eq(line.len, 3);
	ck_assert_uint_eq(line.begin, 5);
	ck_assert_uint_eq(line.end, 10);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_uint_eq(line.begin, 10);
	ck_assert_uint_eq(line.end, 12);
	frame_reader_fini(&r);
}
END_TEST

START_TEST(the_caller_may_stop_after_any_line)
{
	struct frame_reader r;
	struct frame_line line;
	char got[64] = "";

	frame_reader_init(&r);
	frame_reader_feed(&r, "a\nb\nc", 5);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_int_eq(line.ptr[0], 'a');
	frame_reader_feed(&r, "d\ne\n", 4);
	collect(&r, got);
	ck_assert_str_eq(got, "b|cd|e|");
	frame_reader_fini(&r);
}
END_TEST

static void
feed_many(struct frame_reader *r, size_t n, size_t piece, char *got)
{
	char *bytes = malloc(piece);

	memset(bytes, 'x', piece);
	while (n > 0) {
		size_t len = n < piece ? n : piece;

		ck_assert_int_eq(frame_reader_feed(r, bytes, len), 0);
		collect(r, got);
		n -= len;
	}
	free(bytes);
}

START_TEST(a_line_of_exactly_the_limit_is_taken)
{
	struct frame_reader r;
	struct frame_line line;
	char got[64] = "";

	frame_reader_init(&r);
	feed_many(&r, FRAME_MAX, 4096, got);
	ck_assert_str_eq(got, "");
	frame_reader_feed(&r, "\n", 1);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_uint_eq(line.len, FRAME_MAX);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_NONE);
	ck_assert_ptr_null(r.buf);
	frame_reader_fini(&r);
}
END_TEST

START_TEST(a_longer_line_is_drained_and_told_once)
{
	static const size_t extra[] = { 1, 2, 5000, FRAME_MAX, 3 * FRAME_MAX };
	static const size_t pieces[] = { 1009, 65536, 8 * FRAME_MAX };

	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++) {
		for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
			struct frame_reader r;
			char got[64] = "";

			frame_reader_init(&r);
			frame_reader_feed(&r, "a\n", 2);
			feed_many(&r, FRAME_MAX + extra[i], pieces[k], got);
			frame_reader_feed(&r, "\nb\n", 3);
			collect(&r, got);
			ck_assert_str_eq(got, "a|!|b|");
			ck_assert_ptr_null(r.buf);
			frame_reader_fini(&r);
		}
	}
}
END_TEST

START_TEST(a_drained_line_has_its_place_too)
{
	struct frame_reader r;
	struct frame_line line;
	char got[64] = "";

	frame_reader_init(&r);
	frame_reader_feed(&r, "a\n", 2);
	feed_many(&r, FRAME_MAX + 10, 65536, got);
	frame_reader_feed(&r, "\n", 1);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_TOO_LARGE);
	ck_assert_uint_eq(line.begin, 2);
	ck_assert_uint_eq(line.end, 2 + FRAME_MAX + 11);
	frame_reader_fini(&r);
}
END_TEST

START_TEST(an_idle_reader_holds_no_memory)
{
	struct frame_reader r;
	char got[128] = "";

	frame_reader_init(&r);
	frame_reader_feed(&r, "hello\n", 6);
	ck_assert_ptr_nonnull(r.buf);
	collect(&r, got);
	ck_assert_ptr_null(r.buf);
	ck_assert_uint_eq(r.cap, 0);
	frame_reader_fini(&r);
}
END_TEST

START_TEST(a_partial_line_after_a_burst_keeps_no_large_buffer)
{
	struct frame_reader r;
	struct frame_line line;
	char *burst = malloc(400000);

	memset(burst, 'x', 400000);
	burst[399990] = '\n';
	frame_reader_init(&r);
	frame_reader_feed(&r, burst, 400000);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_NONE);
	ck_assert_uint_eq(frame_reader_held(&r), 9);
	ck_assert_uint_lt(r.cap, 100);
	frame_reader_feed(&r, "y\n", 2);
	ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
	ck_assert_uint_eq(line.len, 10);
	ck_assert_uint_eq(line.begin, 399991);
	frame_reader_fini(&r);
	free(burst);
}
END_TEST

START_TEST(a_backlog_costs_linear_work)
{
	/* Feeding while lines are held back must not move the backlog each time: 200,000 rounds
	 * over a 100 KB backlog would otherwise move 20 GB. */
	struct frame_reader r;
	struct frame_line line;
	char backlog[100000];

	memset(backlog, '\n', sizeof(backlog));
	for (size_t i = 0; i < sizeof(backlog); i += 2)
		backlog[i] = 'x';
	frame_reader_init(&r);
	frame_reader_feed(&r, backlog, sizeof(backlog));
	for (int i = 0; i < 200000; i++) {
		ck_assert_int_eq(frame_reader_next(&r, &line), FRAME_LINE);
		ck_assert_uint_eq(line.len, 1);
		frame_reader_feed(&r, "x\n", 2);
	}
	ck_assert_uint_le(r.cap, 4 * sizeof(backlog));
	frame_reader_fini(&r);
}
END_TEST

START_TEST(what_stands_without_a_final_lf_can_be_had)
{
	struct frame_reader r;
	struct frame_line line;
	char got[64] = "";

	frame_reader_init(&r);
	ck_assert_int_eq(frame_reader_rest(&r, &line), FRAME_NONE);
	frame_reader_feed(&r, "a\n  ", 4);
	collect(&r, got);
	ck_assert_int_eq(frame_reader_rest(&r, &line), FRAME_NONE);
	frame_reader_feed(&r, "bc", 2);
	collect(&r, got);
	ck_assert_str_eq(got, "a|");
	ck_assert_int_eq(frame_reader_rest(&r, &line), FRAME_LINE);
	ck_assert_uint_eq(line.len, 2);
	ck_assert_int_eq(frame_reader_rest(&r, &line), FRAME_NONE);
	feed_many(&r, FRAME_MAX + 10, 65536, got);
	ck_assert_int_eq(frame_reader_rest(&r, &line), FRAME_TOO_LARGE);
	ck_assert_int_eq(frame_reader_rest(&r, &line), FRAME_NONE);
	frame_reader_fini(&r);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire_frame");
	TCase *tc = tcase_create("frame");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, every_split_gives_the_same_lines);
	tcase_add_test(tc, byte_by_byte_gives_the_same_lines);
	tcase_add_test(tc, lines_know_their_place_in_the_stream);
	tcase_add_test(tc, the_caller_may_stop_after_any_line);
	tcase_add_test(tc, a_line_of_exactly_the_limit_is_taken);
	tcase_add_test(tc, a_longer_line_is_drained_and_told_once);
	tcase_add_test(tc, a_drained_line_has_its_place_too);
	tcase_add_test(tc, an_idle_reader_holds_no_memory);
	tcase_add_test(tc, a_partial_line_after_a_burst_keeps_no_large_buffer);
	tcase_add_test(tc, a_backlog_costs_linear_work);
	tcase_add_test(tc, what_stands_without_a_final_lf_can_be_had);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
