/*
 * slotd's settings: units and ranges, files and their order, errors that name their place,
 * reload, and the sample file.
 */
#include "daemon/config.h"
#include "daemon/config_value.h"
#include "daemon/options.h"

#include <check.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config config;
static struct config_report report;
static char dir[PATH_MAX];

static void
setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/slotd-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(config_init(&config), 0);
	memset(&report, 0, sizeof(report));
}

static void
teardown(void)
{
	char command[PATH_MAX + 16];

	config_fini(&config);
	config_report_fini(&report);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static void
write_file(const char *name, const char *text)
{
	char path[PATH_MAX + 64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
}

static void
read_text(const char *text)
{
	char path[PATH_MAX + 64];

	write_file("slotd.conf", text);
	snprintf(path, sizeof(path), "%s/slotd.conf", dir);
	config_read_file(&config, path, true, &report);
}

static void
expect_error(const char *part)
{
	ck_assert_ptr_nonnull(report.text);
	ck_assert_msg(strstr(report.text, part) != NULL, "no '%s' in:\n%s", part, report.text);
}

static int64_t
value_of(const char *section, const char *key, const char *text)
{
	char why[256];
	int64_t value = -77;

	if (config_value_parse(config_find(section, key), text, &value, why, sizeof(why)) != 0)
		return -99;
	return value;
}

START_TEST(every_default_is_a_value_that_its_row_accepts)
{
	char why[256];
	int64_t value;

	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (o->type != CONFIG_TEXT)
			ck_assert_msg(
			    config_value_parse(o, o->initial, &value, why, sizeof(why)) == 0,
			    "%s.%s: %s", o->section, o->key, o->initial);
		ck_assert_ptr_eq(config_find(o->section, o->key), o);
		ck_assert_uint_gt(strlen(o->help), 10);
	}
	config_check(&config, &report);
	ck_assert_int_eq(report.errors, 0);
	ck_assert_int_eq(config.store.durability, CONFIG_DURABILITY_FULL);
	ck_assert_int_ge(config.executor.max_running, 1);
	ck_assert_int_eq(config.socket.mode, 0600);
}
END_TEST

START_TEST(auto_follows_the_durability)
{
	static const enum config_durability kept[] = { CONFIG_DURABILITY_FULL,
		CONFIG_DURABILITY_NORMAL };

	for (size_t i = 0; i < 2; i++) {
		config.store.durability = kept[i];
		ck_assert_int_eq(config_history_jobs(&config), 1000000);
		ck_assert_int_eq(config_output_total(&config), INT64_C(1) << 30);
		ck_assert_int_eq(config_max_pending_bytes(&config), INT64_C(16) << 30);
	}
	config.store.durability = CONFIG_DURABILITY_MEMORY;
	ck_assert_int_eq(config_history_jobs(&config), 10000);
	ck_assert_int_eq(config_output_total(&config), INT64_C(256) << 20);
	ck_assert_int_eq(config_max_pending_bytes(&config), INT64_C(1) << 30);
	config_set(&config, "store", "history_jobs", "0", "test", &report);
	config_set(&config, "store", "output_total", "7MiB", "test", &report);
	config_set(&config, "executor", "max_pending_bytes", "1MiB", "test", &report);
	ck_assert_int_eq(report.errors, 0);
	for (int i = CONFIG_DURABILITY_FULL; i <= CONFIG_DURABILITY_MEMORY; i++) {
		config.store.durability = i;
		ck_assert_int_eq(config_history_jobs(&config), 0);
		ck_assert_int_eq(config_output_total(&config), 7 << 20);
		ck_assert_int_eq(config_max_pending_bytes(&config), 1 << 20);
	}
	config_set(&config, "store", "history_jobs", "auto", "test", &report);
	ck_assert_int_eq(config_history_jobs(&config), 10000);
}
END_TEST

START_TEST(durations_take_every_unit)
{
	ck_assert_int_eq(value_of("client", "bound_grace", "300ms"), 300);
	ck_assert_int_eq(value_of("client", "bound_grace", "5s"), 5000);
	ck_assert_int_eq(value_of("client", "bound_grace", "5"), 5000);
	ck_assert_int_eq(value_of("client", "bound_grace", "2m"), 120000);
	ck_assert_int_eq(value_of("client", "bound_grace", "1h"), 3600000);
	ck_assert_int_eq(value_of("store", "history_age", "7d"), 604800000);
	ck_assert_int_eq(value_of("client", "bound_grace", "5 s"), 5000);
}
END_TEST

START_TEST(sizes_take_every_unit)
{
	ck_assert_int_eq(value_of("output", "limit", "4096"), 4096);
	ck_assert_int_eq(value_of("output", "limit", "64KiB"), 65536);
	ck_assert_int_eq(value_of("output", "limit", "16MiB"), 16777216);
	ck_assert_int_eq(value_of("output", "limit", "2GiB"), INT64_C(2147483648));
}
END_TEST

START_TEST(other_types_parse)
{
	ck_assert_int_eq(value_of("socket", "mode", "0660"), 0660);
	ck_assert_int_eq(value_of("socket", "mode", "660"), 0660);
	ck_assert_int_eq(value_of("log", "level", "debug"), 3);
	ck_assert_int_eq(value_of("queue.x", "max_running", "none"), -1);
	ck_assert_int_eq(value_of("queue.x", "max_running", "0"), 0);
	ck_assert_int_eq(value_of("executor", "max_running", "auto"), config_value_cpus());
}
END_TEST

START_TEST(values_out_of_shape_are_refused)
{
	static const char *const bad[] = { "", " 5s", "-1s", "+5", "5x", "5ss", "1.5s", "s",
		"99999999999999999999", "9223372036854775807d", "0x10", "2h", NULL };

	for (int i = 0; bad[i] != NULL; i++)
		ck_assert_msg(
		    value_of("client", "bound_grace", bad[i]) == -99, "took '%s'", bad[i]);
	ck_assert_int_eq(value_of("socket", "mode", "0680"), -99);
	ck_assert_int_eq(value_of("socket", "mode", "1777"), -99);
	ck_assert_int_eq(value_of("log", "level", "DEBUG"), -99);
	ck_assert_int_eq(value_of("output", "limit", "1kb"), -99);
	ck_assert_int_eq(value_of("client", "max_in_flight", "0"), -99);
}
END_TEST

START_TEST(format_and_parse_are_inverse)
{
	static const int64_t values[] = { 0, 1000, 1500, 90000, 3600000, 7200000, 1 };
	const struct config_option *o = config_find("launcher", "grace");
	char text[64], why[256];
	int64_t back;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		config_value_format(o, values[i], text, sizeof(text));
		ck_assert_int_eq(config_value_parse(o, text, &back, why, sizeof(why)), 0);
		ck_assert_int_eq(back, values[i]);
	}
	config_value_format(config_find("output", "limit"), 65537, text, sizeof(text));
	ck_assert_str_eq(text, "65537");
	config_value_format(config_find("output", "limit"), 65536, text, sizeof(text));
	ck_assert_str_eq(text, "64KiB");
}
END_TEST

START_TEST(a_file_sets_what_it_says)
{
	read_text("# a comment\n"
	          "[executor]\n"
	          "max_running = 3\n"
	          "  idle_exit=10m ; for a while\n"
	          "\n[socket]\r\npath = /tmp/a b.sock\r\n"
	          "[queue.big-one]\nmax_running = 2\n"
	          "[queue.a.b]\nmax_running: 0\n");
	ck_assert_msg(report.errors == 0, "%s", report.text);
	ck_assert_int_eq(config.executor.max_running, 3);
	ck_assert_int_eq(config.executor.idle_exit_ms, 600000);
	ck_assert_str_eq(config.socket.path, "/tmp/a b.sock");
	ck_assert_uint_eq(config.nqueues, 2);
	ck_assert_str_eq(config.queues[0].name, "big-one");
	ck_assert_int_eq(config.queues[0].max_running, 2);
	ck_assert_str_eq(config.queues[1].name, "a.b");
	ck_assert_int_eq(config.queues[1].max_running, 0);
}
END_TEST

START_TEST(every_error_is_told_with_its_line)
{
	read_text("[executor]\n"
	          "max_runing = 3\n"
	          "max_running = many\n"
	          "what is this\n"
	          "[nowhere]\n"
	          "x = 1\n"
	          "[broken\n"
	          "[log]\n"
	          "level = loud\n");
	ck_assert_int_eq(report.errors, 6);
	expect_error(
	    "slotd.conf:2: [executor] max_runing: unknown key; the section has max_running, ");
	expect_error("slotd.conf:3: [executor] max_running = many: accepted is auto, or a whole "
	             "number from 0 to 1000000");
	expect_error("slotd.conf:4: what is this: neither [SECTION] nor KEY = VALUE");
	expect_error("slotd.conf:6: [nowhere] x: unknown section; there are executor, store, ");
	expect_error("slotd.conf:7: a section is [NAME]");
	expect_error("slotd.conf:9: [log] level = loud: accepted is error, warn, info, debug");
}
END_TEST

START_TEST(a_key_twice_in_one_file_is_refused)
{
	read_text(
	    "[executor]\nmax_pending = 3\n[log]\nlevel = warn\n[executor]\nmax_pending = 4\n");
	ck_assert_int_eq(report.errors, 1);
	expect_error("slotd.conf:6: [executor] max_pending: stands in line 2 already");
	ck_assert_int_eq(config.executor.max_pending, 3);
}
END_TEST

START_TEST(lines_and_names_that_would_be_cut_are_refused)
{
	char text[1024], name[128];

	memset(name, 'n', sizeof(name));
	name[60] = '\0';
	snprintf(text, sizeof(text), "[queue.%s]\nmax_running = 1\n", name);
	read_text(text);
	expect_error("slotd.conf:1: a section is [NAME] of up to 49 bytes");
	memset(text, 'x', sizeof(text));
	memcpy(text, "[socket]\npath = ", 16);
	text[sizeof(text) - 1] = '\0';
	read_text(text);
	expect_error("slotd.conf:2: the line is longer than ");
	ck_assert_str_eq(config.socket.path, "");
}
END_TEST

START_TEST(a_missing_file_is_an_error_only_when_named)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/absent.conf", dir);
	config_read_file(&config, path, false, &report);
	ck_assert_int_eq(report.errors, 0);
	config_read_file(&config, path, true, &report);
	expect_error("absent.conf: No such file or directory");
	config_read_file(&config, dir, true, &report);
	expect_error("is a directory");
}
END_TEST

START_TEST(later_files_win_in_order_of_name)
{
	char sub[PATH_MAX + 64];

	snprintf(sub, sizeof(sub), "%s/slotd.conf.d", dir);
	ck_assert_int_eq(mkdir(sub, 0700), 0);
	write_file(
	    "slotd.conf", "[executor]\nmax_running = 1\nmax_pending = 11\n[log]\nlevel=debug\n");
	write_file("slotd.conf.d/20-b.conf", "[executor]\nmax_running = 3\n");
	write_file("slotd.conf.d/10-a.conf", "[executor]\nmax_running = 2\nmax_pending = 22\n");
	write_file("slotd.conf.d/.hidden.conf", "[executor]\nmax_running = 4\n");
	write_file("slotd.conf.d/30-c.conf~", "[executor]\nmax_running = 5\n");
	config_read_dir(&config, dir, &report);
	ck_assert_msg(report.errors == 0, "%s", report.text);
	ck_assert_int_eq(config.executor.max_running, 3);
	ck_assert_int_eq(config.executor.max_pending, 22);
	ck_assert_int_eq(config.log.level, 3);
}
END_TEST

START_TEST(assignments_set_like_a_file)
{
	config_set_assignment(&config, "executor.max_running=7", "--set", &report);
	config_set_assignment(&config, "queue.a.b.max_running=5", "--set", &report);
	config_set_assignment(&config, "socket.path=/a=b", "--set", &report);
	ck_assert_int_eq(report.errors, 0);
	ck_assert_int_eq(config.executor.max_running, 7);
	ck_assert_str_eq(config.queues[0].name, "a.b");
	ck_assert_str_eq(config.socket.path, "/a=b");
	config_set_assignment(&config, "max_running=7", "--set", &report);
	config_set_assignment(&config, "executor.max_running", "--set", &report);
	config_set_assignment(&config, "queue..max_running=7", "--set", &report);
	config_set_assignment(&config, "executor.nope=7", "--set", &report);
	ck_assert_int_eq(report.errors, 4);
	expect_error("--set: [executor] nope: unknown key");
}
END_TEST

START_TEST(contradictions_are_found)
{
	config.executor.max_running = 5000;
	config_check(&config, &report);
	ck_assert_int_eq(report.errors, 1);
	expect_error("max_running (5000) is above [launcher] jobs");
}
END_TEST

struct changes {
	int applied, kept;
	char text[1024];
};

static void
on_change(const struct config_change *change, void *arg)
{
	struct changes *seen = arg;
	size_t used = strlen(seen->text);

	if (change->applied)
		seen->applied++;
	else
		seen->kept++;
	snprintf(seen->text + used, sizeof(seen->text) - used, "%s %s %s\n", change->name,
	    change->from, change->to);
}

START_TEST(reload_takes_what_may_change_and_names_the_rest)
{
	struct config next;
	struct changes seen = { 0, 0, "" };

	ck_assert_int_eq(config_init(&next), 0);
	config.executor.max_running = 4;
	next.executor.max_running = 9;
	config_set(&next, "client", "stall_timeout", "1m", "test", &report);
	config_set(&next, "socket", "path", "/elsewhere", "test", &report);
	config_set(&next, "queue.q", "max_running", "2", "test", &report);
	config_set(&config, "queue.old", "max_running", "1", "test", &report);
	ck_assert_int_eq(report.errors, 0);
	ck_assert_int_eq(config_reload(&config, &next, on_change, &seen), 0);
	ck_assert_str_eq(seen.text, "executor.max_running 4 9\n"
	                            "socket.path  /elsewhere\n"
	                            "client.stall_timeout 5m 1m\n"
	                            "queue.q.max_running none 2\n");
	ck_assert_int_eq(seen.applied, 3);
	ck_assert_int_eq(seen.kept, 1);
	ck_assert_int_eq(config.executor.max_running, 9);
	ck_assert_str_eq(config.socket.path, "");
	ck_assert_uint_eq(config.nqueues, 2);
	config_fini(&next);
}
END_TEST

START_TEST(a_reload_changes_neither_the_store_nor_what_auto_means)
{
	struct config next;
	struct changes seen = { 0, 0, "" };

	ck_assert_int_eq(config_init(&next), 0);
	config_set(&next, "store", "durability", "memory", "test", &report);
	config_set(&next, "store", "keep_env", "no", "test", &report);
	ck_assert_int_eq(report.errors, 0);
	ck_assert_int_eq(config_reload(&config, &next, on_change, &seen), 0);
	ck_assert_str_eq(seen.text, "store.durability full memory\nstore.keep_env yes no\n");
	ck_assert_int_eq(seen.applied, 0);
	ck_assert_int_eq(seen.kept, 2);
	ck_assert_int_eq(config.store.durability, CONFIG_DURABILITY_FULL);
	ck_assert_int_eq(config_history_jobs(&config), 1000000);
	config_fini(&next);
}
END_TEST

START_TEST(the_sample_with_its_comments_off_is_the_default)
{
	char *text = NULL, *out = NULL;
	size_t size = 0, n = 0;
	FILE *f = open_memstream(&text, &size);
	struct changes seen = { 0, 0, "" };
	struct config defaults;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(config_print_sample(f), 0);
	fclose(f);
	out = calloc(1, size + 1);
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		if (line[0] == '#' && line[1] != ' ')
			line++;
		n += (size_t)sprintf(out + n, "%s\n", line);
	}
	read_text(out);
	ck_assert_msg(report.errors == 0, "%s", report.text);
	ck_assert_int_eq(config_init(&defaults), 0);
	ck_assert_int_eq(config_reload(&defaults, &config, on_change, &seen), 0);
	ck_assert_str_eq(seen.text, "");
	config_fini(&defaults);
	free(text);
	free(out);
}
END_TEST

START_TEST(printed_settings_read_back_the_same)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	struct changes seen = { 0, 0, "" };
	struct config other;

	config.executor.max_running = 77;
	config_set(&config, "queue.q", "max_running", "2", "test", &report);
	ck_assert_int_eq(config_print(&config, f), 0);
	fclose(f);
	ck_assert_int_eq(config_init(&other), 0);
	write_file("printed.conf", text);
	free(text);
	text = malloc(PATH_MAX + 64);
	snprintf(text, PATH_MAX + 64, "%s/printed.conf", dir);
	config_read_file(&other, text, true, &report);
	ck_assert_msg(report.errors == 0, "%s", report.text);
	ck_assert_int_eq(config_reload(&other, &config, on_change, &seen), 0);
	ck_assert_str_eq(seen.text, "");
	config_fini(&other);
	free(text);
}
END_TEST

START_TEST(the_command_line_parses)
{
	const char *argv[] = { "slotd", "--system", "--set", "log.level=debug",
		"--set=log.level=warn", "--ready-fd", "7", "--socket=/s", "--max-running", "3",
		NULL };
	struct options options;
	char why[256];

	ck_assert_int_eq(options_parse(&options, 10, argv, why, sizeof(why)), 0);
	ck_assert_int_eq(options.scope, OPTIONS_SCOPE_SYSTEM);
	ck_assert_uint_eq(options.nsets, 2);
	ck_assert_str_eq(options.sets[1], "log.level=warn");
	ck_assert_int_eq(options.ready_fd, 7);
	ck_assert_str_eq(options.socket, "/s");
	ck_assert_str_eq(options.max_running, "3");
}
END_TEST

START_TEST(on_demand_is_a_default_that_settings_outrank)
{
	struct options options = { .on_demand = true };
	char file[PATH_MAX + 64];

	write_file("some.conf", "[log]\nlevel = warn\n");
	snprintf(file, sizeof(file), "%s/some.conf", dir);
	options.config_file = file;
	config_fini(&config);
	ck_assert_int_eq(options_load_config(&options, &config, &report), 0);
	ck_assert_int_eq(config.executor.idle_exit_ms, 600000);
	write_file("some.conf", "[executor]\nidle_exit = 500ms\n");
	config_fini(&config);
	ck_assert_int_eq(options_load_config(&options, &config, &report), 0);
	ck_assert_int_eq(config.executor.idle_exit_ms, 500);
	ck_assert_int_eq(report.errors, 0);
}
END_TEST

START_TEST(a_wrong_command_line_is_explained)
{
	static const char *const bad[][2] = { { "--nope", NULL }, { "word", NULL },
		{ "--socket", NULL }, { "--socket", "" }, { "--ready-fd", "x" },
		{ "--ready-fd", "-1" }, { "--system=1", NULL } };
	struct options options;
	char why[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *argv[] = { "slotd", bad[i][0], bad[i][1], NULL };

		why[0] = '\0';
		ck_assert_int_eq(
		    options_parse(&options, bad[i][1] != NULL ? 3 : 2, argv, why, sizeof(why)), -1);
		ck_assert_ptr_nonnull(strstr(why, "-") != NULL ? why : strstr(why, "word"));
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("config");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_default_is_a_value_that_its_row_accepts);
	tcase_add_test(tc, auto_follows_the_durability);
	tcase_add_test(tc, durations_take_every_unit);
	tcase_add_test(tc, sizes_take_every_unit);
	tcase_add_test(tc, other_types_parse);
	tcase_add_test(tc, values_out_of_shape_are_refused);
	tcase_add_test(tc, format_and_parse_are_inverse);
	tcase_add_test(tc, a_file_sets_what_it_says);
	tcase_add_test(tc, every_error_is_told_with_its_line);
	tcase_add_test(tc, a_key_twice_in_one_file_is_refused);
	tcase_add_test(tc, lines_and_names_that_would_be_cut_are_refused);
	tcase_add_test(tc, a_missing_file_is_an_error_only_when_named);
	tcase_add_test(tc, later_files_win_in_order_of_name);
	tcase_add_test(tc, assignments_set_like_a_file);
	tcase_add_test(tc, contradictions_are_found);
	tcase_add_test(tc, reload_takes_what_may_change_and_names_the_rest);
	tcase_add_test(tc, a_reload_changes_neither_the_store_nor_what_auto_means);
	tcase_add_test(tc, the_sample_with_its_comments_off_is_the_default);
	tcase_add_test(tc, printed_settings_read_back_the_same);
	tcase_add_test(tc, the_command_line_parses);
	tcase_add_test(tc, on_demand_is_a_default_that_settings_outrank);
	tcase_add_test(tc, a_wrong_command_line_is_explained);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
