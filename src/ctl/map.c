/*
 * map: the command once for each item of the input, as jobs; what they wrote comes out as they
 * finish. Items are read only as jobs finish, so any length of input takes the same memory.
 */
#include "ctl/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/outcome.h"
#include "ctl/spec.h"

enum {
	MAP_OPTION_HALT = CTL_OPTION_VERB,
	MAP_OPTION_JOBLOG,
	MAP_OPTION_RESUME,
	MAP_OPTION_TAG_OUTPUT,
	MAP_OPTION_PROGRESS,
	MAP_OPTION_DRY_RUN,
};

#define MAP_WINDOW_MIN 64     /* the default is at least that */
#define MAP_WINDOW_MAX 1000000
#define MAP_OUTPUT_LIMIT (INT64_C(1) << 30)
#define MAP_WITH_OUTPUT 16384 /* what is longer is read apart: the window's worth is in memory */
#define MAP_WITH_OUTPUT_JSON 65536

const struct ctl_option map_options[] = {
	{ 'j', "window", "N", "at most N jobs in flight (4 per slot, 64 or more)" },
	{ 'k', "keep-order", NULL, "results in the order of the input" },
	{ '0', "null", NULL, "items end with a NUL instead of a newline" },
	{ 'a', "arg-file", "FILE", "read the items from FILE instead of stdin" },
	{ 'd', "delimiter", "C", "items end with the character C (also \\t, \\0, \\x1f)" },
	{ 'I', "replace", "TEXT", "what stands for the item in the command ({})" },
	{ MAP_OPTION_HALT, "halt", "WHEN", "now,fail=N or soon,fail=N: end after N failures" },
	{ MAP_OPTION_JOBLOG, "joblog", "FILE", "a line for each finished job, as GNU parallel's" },
	{ MAP_OPTION_RESUME, "resume", NULL, "leave out what is in the joblog already" },
	{ MAP_OPTION_TAG_OUTPUT, "tag-output", NULL, "begin each line of output with the item" },
	{ MAP_OPTION_PROGRESS, "progress", NULL, "say on stderr how far it is" },
	{ MAP_OPTION_DRY_RUN, "dry-run", NULL, "print the commands and run nothing" },
	{ 0 },
};

/* ---- options ---- */

int
map_halt_parse(const char *text, struct map_halt *halt)
{
	const char *fails;

	*halt = (struct map_halt){ MAP_HALT_NEVER, 0 };
	if (strcmp(text, "never") == 0)
		return 0;
	if (strncmp(text, "now,fail=", 9) == 0) {
		halt->when = MAP_HALT_NOW;
		fails = text + 9;
	} else if (strncmp(text, "soon,fail=", 10) == 0) {
		halt->when = MAP_HALT_SOON;
		fails = text + 10;
	} else {
		return -1;
	}
	return ctl_number(fails, 1, INT64_MAX, &halt->fails);
}

int
map_delimiter_parse(const char *text, char *delimiter)
{
	static const char escapes[] = "n\nt\tr\r0\0\\\\";
	char *end;

	if (text[0] != '\0' && text[1] == '\0') {
		*delimiter = text[0];
		return 0;
	}
	if (text[0] != '\\')
		return -1;
	if (text[1] == 'x' && strlen(text) == 4) {
		*delimiter = (char)strtoul(text + 2, &end, 16);
		return *end == '\0' && strspn(text + 2, "0123456789abcdefABCDEF") == 2 ? 0 : -1;
	}
	for (size_t i = 0; i + 1 < sizeof(escapes); i += 2) {
		if (text[1] == escapes[i] && text[2] == '\0') {
			*delimiter = escapes[i + 1];
			return 0;
		}
	}
	return -1;
}

/* An option of map's own. 0, or an exit status, printed. */
static int
take_option(const struct ctl_args *args, struct map_options *o, int option)
{
	switch (option) {
	case 'j':
		if (ctl_number(args->value, 1, MAP_WINDOW_MAX, &o->window) != 0)
			return ctl_usage(args, "-j \"%s\": accepted is 1 to %d", args->value,
			    MAP_WINDOW_MAX);
		break;
	case 'k':
		o->keep_order = true;
		break;
	case '0':
		o->delimiter = '\0';
		break;
	case 'a':
		o->file = args->value;
		break;
	case 'd':
		if (map_delimiter_parse(args->value, &o->delimiter) != 0)
			return ctl_usage(args, "-d \"%s\": accepted is one byte", args->value);
		break;
	case 'I':
		if (args->value[0] == '\0')
			return ctl_usage(args, "-I wants a text");
		o->placeholder = args->value;
		break;
	case MAP_OPTION_HALT:
		if (map_halt_parse(args->value, &o->halt) != 0)
			return ctl_usage(args,
			    "--halt \"%s\": accepted is now,fail=N, soon,fail=N or never",
			    args->value);
		break;
	case MAP_OPTION_JOBLOG:
		o->joblog = args->value;
		break;
	case MAP_OPTION_RESUME:
		o->resume = true;
		break;
	case MAP_OPTION_TAG_OUTPUT:
		o->tag_output = true;
		break;
	case MAP_OPTION_PROGRESS:
		o->progress = true;
		break;
	case MAP_OPTION_DRY_RUN:
		o->dry_run = true;
		break;
	}
	return 0;
}

static int
take_options(struct ctl_args *args, struct map_options *o, struct spec *spec)
{
	int option, rc;

	while ((option = ctl_args_next(args)) > 0) {
		int taken = spec_option(spec, args, option);

		if (taken < 0)
			return CTL_EXIT_FAILURE;
		if (taken == 0 && (rc = take_option(args, o, option)) != 0)
			return rc;
	}
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc == 0)
		return ctl_usage(args, "map wants a command");
	if (o->resume && o->joblog == NULL)
		return ctl_usage(args, "--resume wants a --joblog");
	return 0;
}

/* ---- a dry run ---- */

static int
dry_run(struct map *m)
{
	const char *text;
	size_t len, bytes;
	enum map_input_result r;

	while ((r = map_input_next(&m->input, &text, &len)) == MAP_INPUT_ITEM ||
	    r == MAP_INPUT_TOO_LONG) {
		if (map_joblog_has(&m->joblog, ++m->seq))
			continue;
		if (r == MAP_INPUT_TOO_LONG) {
			ctl_note("item %lld is too long for an argument", (long long)m->seq);
			m->nfailed++;
			continue;
		}
		json_t *argv = map_command_argv(&m->command, text, len, &bytes);
		char *line = argv != NULL ? ctl_command_text(argv) : NULL;

		json_decref(argv);
		if (line == NULL)
			return ctl_error("out of memory");
		bool written = puts(line) >= 0 || ctl_flush();

		free(line);
		if (!written)
			return CTL_EXIT_FAILURE;
	}
	if (r == MAP_INPUT_FAILED)
		return ctl_error("reading the input: %s", strerror(errno));
	return m->nfailed > 0 ? CTL_EXIT_NOT_OK : CTL_EXIT_OK;
}

/* ---- the verb ---- */

static size_t
env_bytes(const json_t *defaults)
{
	const json_t *env = json_object_get(defaults, "env");
	size_t sum = 0;

	for (size_t i = 0; i < json_array_size(env); i++) {
		size_t len = 0;

		free(slot_json_to_bytes(json_array_get(env, i), &len));
		sum += len + 1;
	}
	return sum;
}

static int64_t
default_window(const struct ctl *ctl)
{
	const json_t *limits = json_object_get(slot_client_hello(ctl->client), "limits");
	int64_t window = 4 * json_integer_value(json_object_get(limits, "max_running"));

	if (window < MAP_WINDOW_MIN)
		return MAP_WINDOW_MIN;
	return window < MAP_WINDOW_MAX ? window : MAP_WINDOW_MAX;
}

static int
exit_status(const struct map *m)
{
	if (m->signo != 0)
		return OUTCOME_EXIT_SIGNAL + m->signo;
	if (m->failure != 0)
		return m->failure;
	if (m->halt_status != 0)
		return m->halt_status;
	return m->nfailed > 0 || m->incomplete ? CTL_EXIT_NOT_OK : CTL_EXIT_OK;
}

static int
run(struct map *m)
{
	int rc = map_flow_start(m);

	if (m->key[0] == '\0') {
		json_decref(m->defaults);
		m->defaults = NULL;
	}
	if (rc == 0) {
		rc = ctl_run_until(m->ctl, m->over, -1);
		if (rc != 0)
			rc = ctl_rpc_failure(m->ctl, rc, NULL);
	}
	if (rc == 0 && m->options.progress)
		map_print_progress(m);
	if (m->progress_shown)
		fputs("\n", stderr);
	if (rc == 0)
		rc = exit_status(m);
	map_flow_fini(m);
	return rc;
}

static void
on_input(void *arg)
{
	map_flow_kick(arg);
}

static int
open_files(struct map *m)
{
	const struct map_options *o = &m->options;

	if (map_input_open(&m->input, m->ctl->base, o->file, o->delimiter, on_input, m) != 0)
		return ctl_error("%s: %s", o->file != NULL ? o->file : "stdin", strerror(errno));
	if (o->joblog != NULL && !(o->dry_run && !o->resume) &&
	    map_joblog_open(&m->joblog, o->joblog, o->resume) != 0)
		return ctl_error("%s: %s", o->joblog, strerror(errno));
	return 0;
}

static int
start(struct map *m, const struct ctl_args *args, const struct spec *spec)
{
	struct map_options *o = &m->options;

	if (map_command_init(&m->command, args->argv, args->argc, o->placeholder, spec->shell) != 0)
		return ctl_error("out of memory");
	if (o->dry_run)
		return open_files(m) == 0 ? dry_run(m) : CTL_EXIT_FAILURE;
	m->defaults = spec_defaults(spec);
	if (m->defaults == NULL || ctl_connect(m->ctl) != 0 || open_files(m) != 0)
		return CTL_EXIT_FAILURE;
	/* A full daemon makes us slower; it doesn't end us. What a job writes is to be printed
	 * whole: it takes as much room as it has bytes, and is among the first to be pruned. */
	json_object_set_new(m->defaults, "on_full", json_string("wait"));
	json_object_set_new(m->defaults, "output_limit", json_integer(MAP_OUTPUT_LIMIT));
	m->env_bytes = env_bytes(m->defaults);
	m->window = o->window != 0 ? o->window : default_window(m->ctl);
	m->with_output = m->ctl->json ? MAP_WITH_OUTPUT_JSON : MAP_WITH_OUTPUT;
	return run(m);
}

int
cmd_map(struct ctl *ctl, struct ctl_args *args)
{
	struct map m = { .ctl = ctl,
		.options = { .delimiter = '\n', .placeholder = "{}" } };
	struct spec spec;

	m.input.fd = -1;
	map_joblog_init(&m.joblog);
	spec_init(&spec);
	int rc = take_options(args, &m.options, &spec);

	if (rc == 0)
		rc = start(&m, args, &spec);
	map_input_close(&m.input);
	map_joblog_close(&m.joblog);
	map_command_fini(&m.command);
	json_decref(m.defaults);
	spec_fini(&spec);
	return rc;
}
