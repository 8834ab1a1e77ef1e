/* slotctl without a daemon: values, options, the verb table, specs, texts. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/spec.h"

/* ---- values ---- */

START_TEST(durations_take_units_and_plain_seconds)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1: refused */
	} cases[] = { { "300ms", 300 }, { "5s", 5000 }, { "2m", 120000 }, { "1h", 3600000 },
		{ "1d", 86400000 }, { "7", 7000 }, { "1.5", 1500 }, { "0.2s", 200 }, { "0", 0 },
		{ ".5h", 1800000 }, { "", -1 }, { "s", -1 }, { "-1", -1 }, { "+1", -1 },
		{ "5 s", -1 }, { "5x", -1 }, { "5ss", -1 }, { "1.2.3", -1 }, { "1e3", -1 },
		{ "0x10", -1 }, { "inf", -1 }, { "nan", -1 }, { ".", -1 },
		{ "99999999999999999999", -1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t ms = -1;
		int rc = ctl_duration(cases[i].text, &ms);

		ck_assert_msg(rc == (cases[i].ms < 0 ? -1 : 0), "%s", cases[i].text);
		ck_assert_msg(ms == cases[i].ms, "%s: %lld", cases[i].text, (long long)ms);
	}
}
END_TEST

START_TEST(times_are_epochs_dates_and_the_next_such_hour)
{
	int64_t us, now;
	struct tm tm = { .tm_year = 130, .tm_mon = 0, .tm_mday = 31, .tm_hour = 14,
		.tm_min = 30, .tm_isdst = -1 };

	now = (int64_t)mktime(&tm) * 1000000;
	ck_assert_int_eq(ctl_time("@1700000000", now, &us), 0);
	ck_assert_int_eq(us, INT64_C(1700000000000000));
	ck_assert_int_eq(ctl_time("2030-01-31T14:30", 0, &us), 0);
	ck_assert_int_eq(us, now);
	ck_assert_int_eq(ctl_time("2030-01-31 14:30:07", 0, &us), 0);
	ck_assert_int_eq(us, now + 7000000);
	ck_assert_int_eq(ctl_time("15:00", now, &us), 0);
	ck_assert_int_eq(us, now + INT64_C(1800000000));
	ck_assert_int_eq(ctl_time("14:00", now, &us), 0); /* tomorrow */
	ck_assert_int_eq(us, now + INT64_C(84600000000));
	ck_assert_int_eq(ctl_time("25:00", now, &us), -1);
	ck_assert_int_eq(ctl_time("soon", now, &us), -1);
	ck_assert_int_eq(ctl_time("14:30x", now, &us), -1);
	ck_assert_int_eq(ctl_time("@", now, &us), -1);
}
END_TEST

START_TEST(numbers_keep_to_their_range)
{
	int64_t n = 0;

	ck_assert_int_eq(ctl_number("-100", -100, 100, &n), 0);
	ck_assert_int_eq(n, -100);
	ck_assert_int_eq(ctl_number("101", -100, 100, &n), -1);
	ck_assert_int_eq(ctl_number("", 0, 9, &n), -1);
	ck_assert_int_eq(ctl_number("1x", 0, 9, &n), -1);
	ck_assert_int_eq(ctl_number(" 1", 0, 9, &n), -1);
	ck_assert_int_eq(ctl_number("99999999999999999999", 0, INT64_MAX, &n), -1);
}
END_TEST

static void
ids_are(const char *text, const char *expected)
{
	json_t *ids = json_array();
	int rc = ctl_ids(ids, text);
	char *got = rc == 0 ? json_dumps(ids, JSON_COMPACT) : NULL;

	if (expected == NULL)
		ck_assert_msg(got == NULL, "%s", text);
	else
		ck_assert_str_eq(got, expected);
	free(got);
	json_decref(ids);
}

START_TEST(ids_are_lists_and_ranges)
{
	ids_are("12", "[12]");
	ids_are("3,4", "[3,4]");
	ids_are("5-7,2", "[5,6,7,2]");
	ids_are("0", NULL);
	ids_are("-3", NULL);
	ids_are("7-5", NULL);
	ids_are("1,", NULL);
	ids_are("", NULL);
	ids_are("a", NULL);
	ids_are("1-99999999", NULL);
}
END_TEST

START_TEST(signals_go_by_name_and_number)
{
	ck_assert_int_eq(ctl_signal_number("TERM"), 15);
	ck_assert_int_eq(ctl_signal_number("sighup"), 1);
	ck_assert_int_eq(ctl_signal_number("9"), 9);
	ck_assert_int_eq(ctl_signal_number("0"), -1);
	ck_assert_int_eq(ctl_signal_number("NOPE"), -1);
	ck_assert_str_eq(ctl_signal_name(15), "TERM");
}
END_TEST

/* ---- the table ---- */

static void
check_options(const struct verb *v, const struct ctl_option *table, int first)
{
	for (const struct ctl_option *o = table; o != NULL && o->id != 0; o++) {
		ck_assert_msg(o->id < CTL_OPTION_VERB || (o->id >= first && o->id < first + 256),
		    "%s --%s", v->name, o->name);
		ck_assert_msg(o->id < CTL_OPTION_VERB || o->name != NULL, "%s", v->name);
		ck_assert_msg(o->help == NULL || o->help[0] != '\0', "%s -%c", v->name, o->id);
		for (const struct ctl_option *p = table; p < o; p++) {
			ck_assert_msg(p->id != o->id, "%s: twice %d", v->name, o->id);
			ck_assert_msg(p->name == NULL || o->name == NULL ||
			    strcmp(p->name, o->name) != 0, "%s: twice %s", v->name, o->name);
		}
		for (const struct ctl_option *g = ctl_global_options; g->id != 0; g++)
			ck_assert_msg(o->name == NULL || strcmp(g->name, o->name) != 0, "%s %s",
			    v->name, o->name);
	}
}

START_TEST(every_verb_has_all_it_needs_once)
{
	for (size_t i = 0; verb_at(i) != NULL; i++) {
		const struct verb *v = verb_at(i);

		ck_assert_ptr_nonnull(v->run);
		ck_assert_ptr_nonnull(v->usage);
		ck_assert_msg(v->help[0] >= 'a' && v->help[0] <= 'z', "%s", v->name);
		ck_assert_ptr_eq(verb_find(v->name), v);
		for (size_t k = 0; k < 2 && v->alias[k] != NULL; k++)
			ck_assert_ptr_eq(verb_find(v->alias[k]), v);
		check_options(v, v->options,
		    v->options == spec_single_options ? CTL_OPTION_SPEC : CTL_OPTION_VERB);
		check_options(v, v->shared, CTL_OPTION_SPEC);
		/* A verb's own option may replace a shared one's letter only knowingly: never. */
		for (const struct ctl_option *o = v->options; o != NULL && o->id != 0; o++)
			for (const struct ctl_option *s = v->shared; s != NULL && s->id != 0; s++)
				ck_assert_msg(o->id != s->id, "%s -%c", v->name, o->id);
	}
}
END_TEST

START_TEST(a_near_miss_is_guessed_and_a_far_one_not)
{
	ck_assert_str_eq(verb_nearest("sumbit"), "submit");
	ck_assert_str_eq(verb_nearest("wiat"), "wait");
	ck_assert_str_eq(verb_nearest("lst"), "list");
	ck_assert_ptr_null(verb_nearest("frobnicate"));
	ck_assert_ptr_null(verb_nearest("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
	ck_assert_ptr_null(verb_nearest(""));
}
END_TEST

/* ---- options ---- */

static struct ctl ctl;
static struct ctl_args args;
static char *words[32];

static void
parse(const char *verb, const char *line)
{
	static char copy[512];
	int n = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *at = strtok(copy, " "); at != NULL; at = strtok(NULL, " "))
		words[n++] = at;
	ctl = (struct ctl){ 0 };
	ctl_args_init(&args, &ctl, verb_find(verb), words, n);
}

static void
words_are(const char *expected)
{
	char got[512] = "";

	for (int i = 0; i < args.argc; i++) {
		strcat(got, i > 0 ? " " : "");
		strcat(got, args.argv[i]);
	}
	ck_assert_str_eq(got, expected);
}

START_TEST(options_come_anywhere_where_no_command_follows)
{
	parse("log", "5 -fn 3 --err --json");
	ck_assert_int_eq(ctl_args_next(&args), 'f');
	ck_assert_int_eq(ctl_args_next(&args), 'n');
	ck_assert_str_eq(args.value, "3");
	ck_assert_int_ge(ctl_args_next(&args), CTL_OPTION_VERB);
	ck_assert_int_eq(ctl_args_next(&args), 0);
	ck_assert(ctl.json);
	words_are("5");
}
END_TEST

START_TEST(a_command_ends_the_options)
{
	parse("submit", "-q fast --socket /s make -q --json");
	ck_assert_int_eq(ctl_args_next(&args), 'q');
	ck_assert_str_eq(args.value, "fast");
	ck_assert_int_eq(ctl_args_next(&args), 0);
	ck_assert_str_eq(ctl.socket, "/s");
	ck_assert(!ctl.json);
	ck_assert(!args.saw_separator);
	words_are("make -q --json");
	parse("submit", "-p-5 -- -x -- y");
	ck_assert_int_eq(ctl_args_next(&args), 'p');
	ck_assert_str_eq(args.value, "-5");
	ck_assert_int_eq(ctl_args_next(&args), 0);
	ck_assert(args.saw_separator);
	words_are("-x -- y");
}
END_TEST

START_TEST(values_stand_behind_an_equals_sign_or_apart)
{
	parse("wait", "--timeout=5s 7 --timeout -x -q=a");
	ck_assert_int_ge(ctl_args_next(&args), CTL_OPTION_VERB);
	ck_assert_str_eq(args.value, "5s");
	ck_assert_int_ge(ctl_args_next(&args), CTL_OPTION_VERB);
	ck_assert_str_eq(args.value, "-x");
	ck_assert_int_eq(ctl_args_next(&args), 'q');
	ck_assert_str_eq(args.value, "=a");
	ck_assert_int_eq(ctl_args_next(&args), 0);
	words_are("7");
}
END_TEST

/* Usage errors go to stderr; the tests' own stays clean. */
static int saved_stderr;

static void
mute(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	saved_stderr = dup(STDERR_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

static void
unmute(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
}

START_TEST(wrong_options_are_errors)
{
	static const struct {
		const char *verb, *line;
	} cases[] = { { "wait", "--frob" }, { "wait", "-z" }, { "wait", "--timeout" },
		{ "wait", "-q" }, { "wait", "--any=1" }, { "log", "-fz" }, { "log", "--time=5" },
		{ "pause", "--" "jso" } };

	mute();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int option;

		parse(cases[i].verb, cases[i].line);
		while ((option = ctl_args_next(&args)) > 0)
			;
		ck_assert_msg(option == -1, "%s %s", cases[i].verb, cases[i].line);
	}
	unmute();
}
END_TEST

/* ---- specs ---- */

static json_t *
params_of(const char *line)
{
	struct spec spec;
	json_t *params = NULL;
	int option, rc = 1;

	spec_init(&spec);
	parse("submit", line);
	while (rc > 0 && (option = ctl_args_next(&args)) > 0)
		rc = spec_option(&spec, &args, option);
	if (rc > 0 && option == 0)
		params = spec_params(&spec, &args);
	spec_fini(&spec);
	return params;
}

static void
member_is(const json_t *params, const char *key, const char *expected)
{
	const json_t *value = json_object_get(params, key);
	char *got = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (expected == NULL)
		ck_assert_ptr_null(value);
	else
		ck_assert_str_eq(got, expected);
	free(got);
}

START_TEST(a_spec_has_what_the_flags_say)
{
	json_t *p = params_of("-q fast -n name -N 2 -p -3 -C /tmp -o out -e err --after 3,5-6 "
			      "--delay 5s --timeout 1.5 --retries 3:200ms --stdin in --key k "
			      "--tag {\"a\":1} -B -- cmd -x");

	ck_assert_ptr_nonnull(p);
	member_is(p, "argv", "[\"cmd\",\"-x\"]");
	member_is(p, "queue", "\"fast\"");
	member_is(p, "name", "\"name\"");
	member_is(p, "slots", "2");
	member_is(p, "priority", "-3");
	member_is(p, "cwd", "\"/tmp\"");
	member_is(p, "stdout", "{\"file\":\"out\"}");
	member_is(p, "stderr", "{\"file\":\"err\"}");
	member_is(p, "stdin", "{\"file\":\"in\"}");
	member_is(p, "after", "[3,5,6]");
	member_is(p, "delay_ms", "5000");
	member_is(p, "timeout_ms", "1500");
	member_is(p, "retries", "{\"max\":3,\"backoff_ms\":200}");
	member_is(p, "key", "\"k\"");
	member_is(p, "tag", "{\"a\":1}");
	member_is(p, "on_full", "\"wait\"");
	json_decref(p);
}
END_TEST

START_TEST(a_plain_spec_takes_directory_umask_and_environment_from_the_caller)
{
	mode_t old = umask(027);
	char here[4096];

	setenv("SLOT_TEST_VARIABLE", "x=y", 1);
	json_t *p = params_of("true");
	size_t i;
	json_t *word;
	bool found = false;

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	ck_assert_str_eq(json_string_value(json_object_get(p, "cwd")), here);
	member_is(p, "umask", "23");
	ck_assert_int_eq(umask(old), 027);
	json_array_foreach(json_object_get(p, "env"), i, word)
	{
		if (json_is_string(word))
			found |= strcmp(json_string_value(word), "SLOT_TEST_VARIABLE=x=y") == 0;
	}
	ck_assert(found);
	ck_assert_uint_eq(json_object_size(p), 4); /* and argv: nothing else is said */
	json_decref(p);
	unsetenv("SLOT_TEST_VARIABLE");
}
END_TEST

START_TEST(a_variable_set_by_flag_replaces_the_callers)
{
	unsigned times = 0;
	size_t i;
	json_t *word;

	setenv("SLOT_TEST_VARIABLE", "old", 1);
	json_t *p = params_of("-E SLOT_TEST_VARIABLE=new -E SLOT_TEST=2 true");

	json_array_foreach(json_object_get(p, "env"), i, word)
	{
		if (strncmp(json_string_value(word), "SLOT_TEST", 9) != 0)
			continue;
		ck_assert(strcmp(json_string_value(word), "SLOT_TEST_VARIABLE=new") == 0 ||
		    strcmp(json_string_value(word), "SLOT_TEST=2") == 0);
		times++;
	}
	ck_assert_uint_eq(times, 2);
	json_decref(p);
	unsetenv("SLOT_TEST_VARIABLE");
}
END_TEST

START_TEST(one_file_for_both_streams_is_opened_once)
{
	json_t *p = params_of("-o f -e f true");

	member_is(p, "stdout", "{\"file\":\"f\"}");
	member_is(p, "stderr", "\"stdout\"");
	json_decref(p);
}
END_TEST

START_TEST(a_directory_is_seen_from_here_and_shell_joins_words)
{
	char here[4096], expected[4200];
	json_t *p = params_of("-C sub --shell -- echo a;echo b");

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(expected, sizeof(expected), "\"%s/sub\"", strcmp(here, "/") == 0 ? "" : here);
	member_is(p, "cwd", expected);
	member_is(p, "argv", "[\"sh\",\"-c\",\"echo a;echo b\"]");
	json_decref(p);
}
END_TEST

START_TEST(bad_values_make_no_spec)
{
	static const char *const lines[] = { "", "-p 101 x", "-N 0 x", "--timeout soon x",
		"--retries x x", "--retries 1:y x", "--tag {a} x", "-E novalue x", "-E =v x",
		"--after x x", "--at noon x", "-q fast" };

	mute();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(params_of(lines[i]) == NULL, "%s", lines[i]);
	unmute();
}
END_TEST

/* ---- texts ---- */

static void
prints(const char *text, size_t width, const char *expected)
{
	char *got = NULL;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	ctl_print_text(out, text, strlen(text), width);
	fclose(out);
	ck_assert_str_eq(got, expected);
	free(got);
}

START_TEST(text_from_outside_is_escaped_and_cut)
{
	prints("plain", 0, "plain");
	prints("a\033[31mb\n", 0, "a\\x1b[31mb\\x0a");
	prints("\xff", 0, "\\xff");
	prints("abcdefghij", 10, "abcdefghij");
	prints("abcdefghijk", 10, "abcdefg...");
	prints("abc\033defg", 8, "abc...");
}
END_TEST

START_TEST(commands_are_quoted_as_the_shell_would_need)
{
	json_t *argv = json_pack("[s, s, s, s]", "sh", "-c", "it's", "");
	char *text = ctl_command_text(argv);

	ck_assert_str_eq(text, "sh -c 'it'\\''s' ''");
	free(text);
	json_decref(argv);
}
END_TEST

static void
outcome_is(const char *json, const char *expected)
{
	json_t *object = json_loads(json, 0, NULL);
	char text[64];

	ctl_outcome_text(object, text, sizeof(text));
	ck_assert_str_eq(text, expected);
	json_decref(object);
}

START_TEST(outcomes_read_well)
{
	outcome_is("{\"job\":1,\"outcome\":\"exited\",\"exit_code\":3}", "exited 3");
	outcome_is("{\"job\":1,\"outcome\":\"signaled\",\"signal\":9}", "signaled KILL");
	outcome_is("{\"job\":1,\"outcome\":\"timed_out\",\"signal\":15}", "timed_out TERM");
	outcome_is("{\"job\":1,\"outcome\":\"lost\",\"signal\":null}", "lost");
	outcome_is("{\"job\":1,\"outcome\":\"spawn_failed\",\"error\":{\"step\":\"exec\","
		   "\"errno\":\"ENOENT\"}}", "spawn_failed exec ENOENT");
	outcome_is("{\"job\":1,\"outcome\":\"abducted\"}", "abducted");
	outcome_is("{\"job\":1,\"phase\":\"running\",\"outcome\":null}", "running");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ctl");
	TCase *tc = tcase_create("ctl");

	tcase_add_test(tc, durations_take_units_and_plain_seconds);
	tcase_add_test(tc, times_are_epochs_dates_and_the_next_such_hour);
	tcase_add_test(tc, numbers_keep_to_their_range);
	tcase_add_test(tc, ids_are_lists_and_ranges);
	tcase_add_test(tc, signals_go_by_name_and_number);
	tcase_add_test(tc, every_verb_has_all_it_needs_once);
	tcase_add_test(tc, a_near_miss_is_guessed_and_a_far_one_not);
	tcase_add_test(tc, options_come_anywhere_where_no_command_follows);
	tcase_add_test(tc, a_command_ends_the_options);
	tcase_add_test(tc, values_stand_behind_an_equals_sign_or_apart);
	tcase_add_test(tc, wrong_options_are_errors);
	tcase_add_test(tc, a_spec_has_what_the_flags_say);
	tcase_add_test(tc, a_plain_spec_takes_directory_umask_and_environment_from_the_caller);
	tcase_add_test(tc, a_variable_set_by_flag_replaces_the_callers);
	tcase_add_test(tc, one_file_for_both_streams_is_opened_once);
	tcase_add_test(tc, a_directory_is_seen_from_here_and_shell_joins_words);
	tcase_add_test(tc, bad_values_make_no_spec);
	tcase_add_test(tc, text_from_outside_is_escaped_and_cut);
	tcase_add_test(tc, commands_are_quoted_as_the_shell_would_need);
	tcase_add_test(tc, outcomes_read_well);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
