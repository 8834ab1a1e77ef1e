/* The parts of slotctl map that need no daemon: options, items, command lines, the joblog. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/map.h"

/* ---- options ---- */

START_TEST(halt_takes_when_and_how_many)
{
	struct map_halt halt;

	ck_assert_int_eq(map_halt_parse("now,fail=1", &halt), 0);
	ck_assert_int_eq(halt.when, MAP_HALT_NOW);
	ck_assert_int_eq(halt.fails, 1);
	ck_assert_int_eq(map_halt_parse("soon,fail=30", &halt), 0);
	ck_assert_int_eq(halt.when, MAP_HALT_SOON);
	ck_assert_int_eq(halt.fails, 30);
	ck_assert_int_eq(map_halt_parse("never", &halt), 0);
	ck_assert_int_eq(halt.when, MAP_HALT_NEVER);
	ck_assert_int_eq(map_halt_parse("now,fail=0", &halt), -1);
	ck_assert_int_eq(map_halt_parse("now,fail=", &halt), -1);
	ck_assert_int_eq(map_halt_parse("now", &halt), -1);
	ck_assert_int_eq(map_halt_parse("later,fail=1", &halt), -1);
	ck_assert_int_eq(map_halt_parse("now,fail=10%", &halt), -1);
}
END_TEST

START_TEST(a_delimiter_is_one_byte_or_an_escape)
{
	static const struct {
		const char *text;
		int value; /* -1: refused */
	} cases[] = { { ",", ',' }, { "\\n", '\n' }, { "\\t", '\t' }, { "\\0", 0 },
		{ "\\\\", '\\' }, { "\\", '\\' }, { "\\x2c", ',' }, { "\\r", '\r' }, { "", -1 },
		{ "ab", -1 }, { "\\q", -1 }, { "\\x1", -1 }, { "\\x 1", -1 }, { "\\xfff", -1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char c = 'z';
		int rc = map_delimiter_parse(cases[i].text, &c);

		ck_assert_msg(rc == (cases[i].value < 0 ? -1 : 0), "%s", cases[i].text);
		if (rc == 0)
			ck_assert_int_eq(c, (char)cases[i].value);
	}
}
END_TEST

/* ---- items ---- */

struct reader {
	struct map_input in;
	char path[64];
	int ready;
};

static void
on_ready(void *arg)
{
	struct reader *r = arg;

	r->ready++;
}

static void
open_text(struct reader *r, const char *text, size_t len, char delimiter)
{
	*r = (struct reader){ 0 };
	snprintf(r->path, sizeof(r->path), "test_ctl_map.%d", (int)getpid());
	FILE *out = fopen(r->path, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(text, 1, len, out), len);
	fclose(out);
	ck_assert_int_eq(map_input_open(&r->in, NULL, r->path, delimiter, on_ready, r), 0);
}

static void
close_text(struct reader *r)
{
	map_input_close(&r->in);
	unlink(r->path);
}

static void
expect_item(struct reader *r, const char *want)
{
	const char *text;
	size_t len;

	ck_assert_int_eq(map_input_next(&r->in, &text, &len), MAP_INPUT_ITEM);
	ck_assert_uint_eq(len, strlen(want));
	ck_assert_mem_eq(text, want, len);
}

static void
expect_end(struct reader *r)
{
	const char *text;
	size_t len;

	ck_assert_int_eq(map_input_next(&r->in, &text, &len), MAP_INPUT_END);
	ck_assert_int_eq(map_input_next(&r->in, &text, &len), MAP_INPUT_END);
}

START_TEST(items_end_with_the_delimiter_or_the_input)
{
	static const char text[] = "a\n\nb c\nlast";
	struct reader r;

	open_text(&r, text, sizeof(text) - 1, '\n');
	expect_item(&r, "a");
	expect_item(&r, "");
	expect_item(&r, "b c");
	expect_item(&r, "last");
	expect_end(&r);
	close_text(&r);
	open_text(&r, "a\nb\0\0c\0", 7, '\0');
	expect_item(&r, "a\nb");
	expect_item(&r, "");
	expect_item(&r, "c");
	expect_end(&r);
	close_text(&r);
	open_text(&r, "", 0, '\n');
	expect_end(&r);
	close_text(&r);
}
END_TEST

START_TEST(many_items_of_all_sizes_come_whole)
{
	const size_t count = 3000;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct reader r;

	for (size_t i = 0; i < count; i++)
		fprintf(out, "%0*zu\n", (int)(i % 700 + 1), i);
	fclose(out);
	open_text(&r, text, size, '\n');
	for (size_t i = 0; i < count; i++) {
		char want[1024];

		snprintf(want, sizeof(want), "%0*zu", (int)(i % 700 + 1), i);
		expect_item(&r, want);
	}
	expect_end(&r);
	close_text(&r);
	free(text);
}
END_TEST

START_TEST(an_item_that_is_too_long_is_left_out_alone)
{
	const size_t longest = MAP_INPUT_ITEM_MAX;
	static const size_t over[] = { 1, 2, 65536, 400000 };

	for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		size_t len = longest + over[i];
		char *text = malloc(len + longest + 16);
		struct reader r;
		const char *item;
		size_t got;

		memset(text, 'x', len);
		text[len] = '\n';
		memset(text + len + 1, 'y', longest);
		memcpy(text + len + 1 + longest, "\nz", 2);
		open_text(&r, text, len + longest + 3, '\n');
		ck_assert_int_eq(map_input_next(&r.in, &item, &got), MAP_INPUT_TOO_LONG);
		ck_assert_int_eq(map_input_next(&r.in, &item, &got), MAP_INPUT_ITEM);
		ck_assert_uint_eq(got, longest);
		expect_item(&r, "z");
		expect_end(&r);
		close_text(&r);
		open_text(&r, text, len, '\n'); /* the last one, without a newline */
		ck_assert_int_eq(map_input_next(&r.in, &item, &got), MAP_INPUT_TOO_LONG);
		expect_end(&r);
		close_text(&r);
		free(text);
	}
}
END_TEST

START_TEST(a_pipe_without_data_is_not_waited_for)
{
	struct event_base *base = event_base_new();
	struct reader r = { 0 };
	const char *text;
	char path[32];
	size_t len;
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	ck_assert_int_eq(map_input_open(&r.in, base, path, '\n', on_ready, &r), 0);
	ck_assert_int_eq(map_input_next(&r.in, &text, &len), MAP_INPUT_WAIT);
	ck_assert_int_eq(write(ends[1], "a\nb", 3), 3);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(r.ready, 1);
	expect_item(&r, "a");
	ck_assert_int_eq(map_input_next(&r.in, &text, &len), MAP_INPUT_WAIT);
	ck_assert_int_eq(write(ends[1], "c\n", 2), 2);
	event_base_loop(base, EVLOOP_ONCE);
	expect_item(&r, "bc");
	close(ends[1]);
	expect_end(&r);
	map_input_close(&r.in);
	close(ends[0]);
	event_base_free(base);
}
END_TEST

START_TEST(what_is_no_input_is_refused)
{
	struct map_input in;

	ck_assert_int_eq(map_input_open(&in, NULL, "/", '\n', on_ready, NULL), -1);
	ck_assert_int_eq(errno, EISDIR);
	ck_assert_int_eq(map_input_open(&in, NULL, "/nonexistent/file", '\n', on_ready, NULL), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

/* ---- command lines ---- */

static void
expect_command(char *const *words, int nwords, const char *placeholder, bool shell,
    const char *item, const char *want)
{
	struct map_command c;
	size_t bytes, sum = 0, i;
	json_t *word;

	ck_assert_int_eq(map_command_init(&c, words, nwords, placeholder, shell), 0);
	json_t *argv = map_command_argv(&c, item, strlen(item), &bytes);

	ck_assert_ptr_nonnull(argv);
	ck_assert_uint_eq(json_array_size(argv), map_command_words(&c));
	json_array_foreach(argv, i, word)
		sum += json_string_length(word) + 1;
	ck_assert_uint_eq(bytes, sum);
	char *text = json_dumps(argv, JSON_COMPACT);

	ck_assert_str_eq(text, want);
	free(text);
	json_decref(argv);
	map_command_fini(&c);
}

START_TEST(the_item_replaces_the_placeholder_everywhere)
{
	char *const words[] = { "c", "-{}-{}", "{}", "{" };

	expect_command(words, 4, "{}", false, "a b", "[\"c\",\"-a b-a b\",\"a b\",\"{\"]");
	expect_command(words, 4, "{}", false, "{}", "[\"c\",\"-{}-{}\",\"{}\",\"{\"]");
	expect_command(words, 4, "{", false, "x", "[\"c\",\"-x}-x}\",\"x}\",\"x\"]");
}
END_TEST

START_TEST(without_placeholder_the_item_comes_last)
{
	char *const words[] = { "c", "-x" };

	expect_command(words, 2, "{}", false, "a b", "[\"c\",\"-x\",\"a b\"]");
	expect_command(words, 2, "{}", false, "", "[\"c\",\"-x\",\"\"]");
}
END_TEST

START_TEST(a_line_of_the_shell_gets_the_item_quoted)
{
	char *const words[] = { "cat", "{}|wc" };

	expect_command(words, 2, "{}", true, "a'; rm x",
	    "[\"sh\",\"-c\",\"cat 'a'\\\\''; rm x'|wc\"]");
	expect_command(words, 1, "{}", true, "$x", "[\"sh\",\"-c\",\"cat '$x'\"]");
	expect_command(words, 1, "{}", true, "a/b-1", "[\"sh\",\"-c\",\"cat a/b-1\"]");
	expect_command(words, 1, "{}", true, "", "[\"sh\",\"-c\",\"cat ''\"]");
}
END_TEST

/* ---- items in flight ---- */

START_TEST(items_are_found_and_given_out_in_either_order)
{
	struct map_items items;
	struct map_item *item[200];
	json_t *object = json_object();

	ck_assert_int_eq(map_items_init(&items, 64), 0);
	for (int i = 0; i < 200; i++) {
		item[i] = map_items_add(&items, i + 1, "text", 4);
		ck_assert_str_eq(item[i]->text, "text");
	}
	ck_assert_ptr_null(map_items_find(&items, 0));
	ck_assert_ptr_null(map_items_find(&items, 201));
	for (int i = 0; i < 200; i++)
		ck_assert_ptr_eq(map_items_find(&items, i + 1), item[i]);
	ck_assert_ptr_null(map_items_next(&items, false));
	map_items_done(&items, item[70], object);
	map_items_done(&items, item[6], object);
	ck_assert_ptr_eq(map_items_next(&items, false), item[70]);
	ck_assert_ptr_null(map_items_next(&items, true));
	map_items_done(&items, item[0], object);
	ck_assert_ptr_eq(map_items_next(&items, true), item[0]);
	map_items_remove(&items, item[0]);
	map_items_remove(&items, item[70]);
	ck_assert_ptr_null(map_items_find(&items, 71));
	ck_assert_ptr_eq(map_items_find(&items, 7), item[6]);
	ck_assert_ptr_eq(map_items_next(&items, false), item[6]);
	ck_assert_uint_eq(items.count, 198);
	ck_assert_uint_eq(items.nready, 1);
	map_items_fini(&items);
	ck_assert_uint_eq(object->refcount, 1);
	json_decref(object);
}
END_TEST

/* ---- the joblog ---- */

static const char *
log_path(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "test_ctl_map.log.%d", (int)getpid());
	return path;
}

static void
append(const char *path, const char *text)
{
	FILE *out = fopen(path, "a");

	ck_assert_ptr_nonnull(out);
	fputs(text, out);
	fclose(out);
}

static void
expect_file(const char *path, const char *want)
{
	char text[4096];
	FILE *in = fopen(path, "r");

	ck_assert_ptr_nonnull(in);
	text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
	fclose(in);
	ck_assert_str_eq(text, want);
}

#define HEADER "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

START_TEST(the_joblog_has_gnu_parallels_columns)
{
	const struct map_joblog_entry entry = { .seq = 12, .start_us = 1700000000123456,
		.runtime_us = 1500000, .received = 77, .exit_value = 3, .signal = 0,
		.command = "echo 'a\tb\n'" };
	struct map_joblog log;

	map_joblog_init(&log);
	ck_assert(!map_joblog_has(&log, 1));
	ck_assert_int_eq(map_joblog_open(&log, log_path(), false), 0);
	ck_assert_int_eq(map_joblog_add(&log, &entry), 0);
	map_joblog_close(&log);
	expect_file(log_path(), HEADER
	    "12\t:\t1700000000.123\t     1.500\t0\t77\t3\t0\techo 'a\\x09b\\x0a'\n");
	unlink(log_path());
}
END_TEST

START_TEST(a_resumed_joblog_knows_what_is_done_and_goes_on)
{
	const struct map_joblog_entry entry = { .seq = 5, .command = "x" };
	struct map_joblog log;

	append(log_path(), HEADER "1\t:\tx\n900000\t:\tx\nnonsense\n-3\t:\n3\t:\tcut sho");
	map_joblog_init(&log);
	ck_assert_int_eq(map_joblog_open(&log, log_path(), true), 0);
	ck_assert(map_joblog_has(&log, 1));
	ck_assert(map_joblog_has(&log, 900000));
	ck_assert(!map_joblog_has(&log, 2));
	ck_assert(!map_joblog_has(&log, 3)); /* its line was never finished */
	ck_assert(!map_joblog_has(&log, INT64_C(1) << 50));
	ck_assert_int_eq(map_joblog_add(&log, &entry), 0);
	map_joblog_close(&log);
	expect_file(log_path(), HEADER "1\t:\tx\n900000\t:\tx\nnonsense\n-3\t:\n"
	    "5\t:\t0.000\t     0.000\t0\t0\t0\t0\tx\n");
	/* Not resumed: begun anew. */
	ck_assert_int_eq(map_joblog_open(&log, log_path(), false), 0);
	ck_assert(!map_joblog_has(&log, 1));
	map_joblog_close(&log);
	expect_file(log_path(), HEADER);
	unlink(log_path());
	ck_assert_int_eq(map_joblog_open(&log, log_path(), true), 0);
	map_joblog_close(&log);
	expect_file(log_path(), HEADER);
	unlink(log_path());
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ctl_map");
	TCase *tc = tcase_create("map");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, halt_takes_when_and_how_many);
	tcase_add_test(tc, a_delimiter_is_one_byte_or_an_escape);
	tcase_add_test(tc, items_end_with_the_delimiter_or_the_input);
	tcase_add_test(tc, many_items_of_all_sizes_come_whole);
	tcase_add_test(tc, an_item_that_is_too_long_is_left_out_alone);
	tcase_add_test(tc, a_pipe_without_data_is_not_waited_for);
	tcase_add_test(tc, what_is_no_input_is_refused);
	tcase_add_test(tc, the_item_replaces_the_placeholder_everywhere);
	tcase_add_test(tc, without_placeholder_the_item_comes_last);
	tcase_add_test(tc, a_line_of_the_shell_gets_the_item_quoted);
	tcase_add_test(tc, items_are_found_and_given_out_in_either_order);
	tcase_add_test(tc, the_joblog_has_gnu_parallels_columns);
	tcase_add_test(tc, a_resumed_joblog_knows_what_is_done_and_goes_on);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
