/* See spec.h. */
#include "ctl/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SPEC_LIMIT_MAX ((UINT64_C(1) << 53) - 1) /* an integer of JSON; more is no limit */

extern char **environ;

enum {
	SPEC_AFTER = CTL_OPTION_SPEC,
	SPEC_DELAY,
	SPEC_AT,
	SPEC_TIMEOUT,
	SPEC_RETRIES,
	SPEC_STDIN,
	SPEC_KEY,
	SPEC_TAG,
	SPEC_SHELL,
	SPEC_JOBSERVER,
};

const struct ctl_option spec_options[] = {
	{ 'q', "queue", "QUEUE", "put it into this queue" },
	{ 'n', "name", "NAME", "a name for people" },
	{ 'N', "slots", "N", "how many slots it holds while it runs (1)" },
	{ 'p', "priority", "N", "-100 to 100, higher first (0)" },
	{ 'C', "directory", "DIR", "run it there instead of here" },
	{ 'E', "env", "K=V", "set this in its environment; repeatable" },
	{ 'o', "output", "FILE", "write its stdout there instead of keeping it" },
	{ 'e', "error", "FILE", "write its stderr there instead of keeping it" },
	{ SPEC_AFTER, "after", "IDS", "start when these jobs have ended ok" },
	{ SPEC_DELAY, "delay", "T", "start no earlier than T from now" },
	{ SPEC_AT, "at", "TIME", "start no earlier than 14:30, 2030-01-31T14:30 or @SECONDS" },
	{ SPEC_TIMEOUT, "timeout", "T", "end it when it has run for T" },
	{ SPEC_RETRIES, "retries", "N[:T]", "try again up to N times, after a pause of T" },
	{ SPEC_STDIN, "stdin", "FILE", "its stdin (otherwise: nothing)" },
	{ SPEC_SHELL, "shell", NULL, "run the words as a line of sh" },
	{ SPEC_JOBSERVER, "jobserver", NULL, NULL },
	{ 0 },
};

const struct ctl_option spec_single_options[] = {
	{ SPEC_KEY, "key", "KEY", "submit once: the same key gives the same job" },
	{ SPEC_TAG, "tag", "JSON", "a value that comes back with the result" },
	{ 'B', "block", NULL, "wait for room where the daemon's queue is full" },
	{ 0 },
};

/* A shell changes these from one command to the next: with them the same job under the same key
 * would be another one. */
static const char *const env_left_out[] = { "SHLVL", "_", "OLDPWD" };

void
spec_init(struct spec *spec)
{
	*spec = (struct spec){ 0 };
}

void
spec_fini(struct spec *spec)
{
	json_decref(spec->tag);
	json_decref(spec->env_set);
	json_decref(spec->after_ids);
	spec_init(spec);
}

/* ---- options ---- */

static int
bad(const struct ctl_args *args, const char *what, const char *accepted)
{
	ctl_usage(args, "%s \"%s\": accepted is %s", what, args->value, accepted);
	return -1;
}

static int
take_number(const struct ctl_args *args, const char *what, int64_t min, int64_t max,
    int64_t *value, bool *has)
{
	char accepted[64];

	if (ctl_number(args->value, min, max, value) == 0) {
		*has = true;
		return 1;
	}
	snprintf(accepted, sizeof(accepted), "%lld to %lld", (long long)min, (long long)max);
	return bad(args, what, accepted);
}

static int
take_duration(const struct ctl_args *args, const char *what, int64_t *ms, bool *has)
{
	if (ctl_duration(args->value, ms) != 0)
		return bad(args, what, "300ms, 5s, 2m, 1h or seconds");
	*has = true;
	return 1;
}

static int
take_env(struct spec *spec, const struct ctl_args *args)
{
	const char *equals = strchr(args->value, '=');

	if (equals == NULL || equals == args->value)
		return bad(args, "-E", "NAME=VALUE");
	if (spec->env_set == NULL)
		spec->env_set = json_array();
	/* A NUL-terminated word of bytes: kept as they are until the list is made. */
	if (json_array_append_new(spec->env_set,
		slot_json_from_bytes(args->value, strlen(args->value))) != 0) {
		ctl_error("out of memory");
		return -1;
	}
	return 1;
}

static int
take_after(struct spec *spec, const struct ctl_args *args)
{
	if (spec->after_ids == NULL)
		spec->after_ids = json_array();
	if (ctl_ids(spec->after_ids, args->value) != 0)
		return bad(args, "--after", "job ids: 7, 3,4 or 5-9");
	return 1;
}

static int
take_at(struct spec *spec, const struct ctl_args *args)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ctl_time(args->value, (int64_t)now.tv_sec * 1000000, &spec->not_before_us) != 0)
		return bad(args, "--at", "14:30, 2030-01-31T14:30 or @SECONDS");
	spec->has_not_before = true;
	return 1;
}

static int
take_retries(struct spec *spec, const struct ctl_args *args)
{
	char count[24];
	size_t len = strcspn(args->value, ":");

	snprintf(count, sizeof(count), "%.*s", (int)(len < 20 ? len : 20), args->value);
	if (ctl_number(count, 0, 10000, &spec->retries) != 0)
		return bad(args, "--retries", "N or N:PAUSE");
	spec->has_retries = true;
	if (args->value[len] == ':') {
		if (ctl_duration(args->value + len + 1, &spec->backoff_ms) != 0)
			return bad(args, "--retries", "N or N:PAUSE");
		spec->has_backoff = true;
	}
	return 1;
}

static int
take_tag(struct spec *spec, const struct ctl_args *args)
{
	json_decref(spec->tag);
	spec->tag = json_loads(args->value, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
	if (spec->tag == NULL)
		return bad(args, "--tag", "JSON, such as 7, '\"text\"' or '{\"k\":1}'");
	return 1;
}

static int
take_text(const char **field, const char *value)
{
	*field = value;
	return 1;
}

static int
take_flag(bool *field)
{
	*field = true;
	return 1;
}

int
spec_option(struct spec *spec, const struct ctl_args *args, int option)
{
	switch (option) {
	case 'q':
		return take_text(&spec->queue, args->value);
	case 'n':
		return take_text(&spec->name, args->value);
	case 'N':
		return take_number(args, "-N", 1, 1000000, &spec->slots, &spec->has_slots);
	case 'p':
		return take_number(args, "-p", -100, 100, &spec->priority, &spec->has_priority);
	case 'C':
		return take_text(&spec->cwd, args->value);
	case 'E':
		return take_env(spec, args);
	case 'o':
		return take_text(&spec->out, args->value);
	case 'e':
		return take_text(&spec->err, args->value);
	case 'B':
		return take_flag(&spec->block);
	case SPEC_AFTER:
		return take_after(spec, args);
	case SPEC_DELAY:
		return take_duration(args, "--delay", &spec->delay_ms, &spec->has_delay);
	case SPEC_AT:
		return take_at(spec, args);
	case SPEC_TIMEOUT:
		return take_duration(args, "--timeout", &spec->timeout_ms, &spec->has_timeout);
	case SPEC_RETRIES:
		return take_retries(spec, args);
	case SPEC_STDIN:
		return take_text(&spec->in, args->value);
	case SPEC_KEY:
		return take_text(&spec->key, args->value);
	case SPEC_TAG:
		return take_tag(spec, args);
	case SPEC_SHELL:
		return take_flag(&spec->shell);
	case SPEC_JOBSERVER:
		return take_flag(&spec->jobserver);
	}
	return 0;
}

/* ---- the spec ---- */

static json_t *
text_json(const char *text)
{
	return slot_json_from_bytes(text, strlen(text));
}

/* The directory the job starts in: ours, or -C seen from it. */
static json_t *
cwd_json(const struct spec *spec)
{
	if (spec->cwd != NULL && spec->cwd[0] == '/')
		return text_json(spec->cwd);
	char *here = getcwd(NULL, 0);

	if (here == NULL) {
		ctl_error("the current directory: %s", strerror(errno));
		return NULL;
	}
	json_t *value = NULL;
	char *path = NULL;

	if (spec->cwd == NULL)
		value = text_json(here);
	else if (asprintf(&path, "%s/%s", strcmp(here, "/") == 0 ? "" : here, spec->cwd) >= 0)
		value = text_json(path);
	free(path);
	free(here);
	return value;
}

/* True: -E sets the same name. */
static bool
is_overridden(const struct spec *spec, const char *entry)
{
	size_t name = strcspn(entry, "=");
	bool found = false;

	for (size_t i = 0; !found && i < json_array_size(spec->env_set); i++) {
		char *set = slot_json_to_bytes(json_array_get(spec->env_set, i), NULL);

		found = set != NULL && strncmp(set, entry, name) == 0 && set[name] == '=';
		free(set);
	}
	return found;
}

static bool
is_left_out(const char *entry)
{
	size_t name = strcspn(entry, "=");

	for (size_t i = 0; i < sizeof(env_left_out) / sizeof(env_left_out[0]); i++) {
		if (strlen(env_left_out[i]) == name && strncmp(entry, env_left_out[i], name) == 0)
			return true;
	}
	return false;
}

static json_t *
env_json(const struct spec *spec)
{
	json_t *list = json_array();

	for (char **e = environ; e != NULL && *e != NULL; e++) {
		/* What has no name is no variable, and the daemon would refuse it. */
		if (strchr(*e, '=') == NULL || **e == '=' || is_left_out(*e) ||
		    is_overridden(spec, *e))
			continue;
		if (json_array_append_new(list, text_json(*e)) != 0)
			goto fail;
	}
	for (size_t i = 0; i < json_array_size(spec->env_set); i++) {
		if (json_array_append(list, json_array_get(spec->env_set, i)) != 0)
			goto fail;
	}
	return list;
fail:
	json_decref(list);
	return NULL;
}

static json_t *
file_json(const char *path)
{
	return json_pack("{s:o}", "file", text_json(path));
}

/* Sets a member that was just made; false: there was no memory for it. */
static bool
set(json_t *params, const char *key, json_t *value)
{
	return json_object_set_new(params, key, value) == 0;
}

static bool
set_files(json_t *params, const struct spec *spec)
{
	if (spec->in != NULL && !set(params, "stdin", file_json(spec->in)))
		return false;
	if (spec->out != NULL && !set(params, "stdout", file_json(spec->out)))
		return false;
	/* One file for both: opened once, or each would write over the other. */
	if (spec->err != NULL && spec->out != NULL && strcmp(spec->err, spec->out) == 0)
		return set(params, "stderr", json_string("stdout"));
	return spec->err == NULL || set(params, "stderr", file_json(spec->err));
}

static bool
set_numbers(json_t *params, const struct spec *spec)
{
	if (spec->has_slots && !set(params, "slots", json_integer(spec->slots)))
		return false;
	if (spec->has_priority && !set(params, "priority", json_integer(spec->priority)))
		return false;
	if (spec->has_delay && !set(params, "delay_ms", json_integer(spec->delay_ms)))
		return false;
	if (spec->has_not_before &&
	    !set(params, "not_before_us", json_integer(spec->not_before_us)))
		return false;
	if (spec->has_timeout && !set(params, "timeout_ms", json_integer(spec->timeout_ms)))
		return false;
	if (!spec->has_retries)
		return true;
	json_t *retries = json_pack("{s:I}", "max", (json_int_t)spec->retries);

	if (retries != NULL && spec->has_backoff)
		json_object_set_new(retries, "backoff_ms", json_integer(spec->backoff_ms));
	return set(params, "retries", retries);
}

/*
 * The limits that somebody set: these have none by default. Others (nofile, stack, nproc …)
 * differ between a session and a service by themselves, and a hard one can't be raised again.
 */
static bool
set_limits(json_t *params)
{
	static const struct {
		const char *name;
		__rlimit_resource_t resource;
	} limits[] = { { "cpu", RLIMIT_CPU }, { "fsize", RLIMIT_FSIZE }, { "data", RLIMIT_DATA },
		{ "as", RLIMIT_AS } };
	json_t *object = json_object();

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit r;

		if (getrlimit(limits[i].resource, &r) != 0 || r.rlim_cur > SPEC_LIMIT_MAX)
			continue;
		json_t *hard = r.rlim_max > SPEC_LIMIT_MAX ? json_string("unlimited")
							   : json_integer((json_int_t)r.rlim_max);

		if (json_object_set_new(object, limits[i].name, json_pack("[I, o]",
			(json_int_t)r.rlim_cur, hard)) != 0) {
			json_decref(object);
			return false;
		}
	}
	if (json_object_size(object) > 0)
		return set(params, "rlimits", object);
	json_decref(object);
	return true;
}

static bool
set_texts(json_t *params, const struct spec *spec)
{
	if (spec->queue != NULL && !set(params, "queue", json_string(spec->queue)))
		return false;
	if (spec->name != NULL && !set(params, "name", json_string(spec->name)))
		return false;
	if (spec->key != NULL && !set(params, "key", json_string(spec->key)))
		return false;
	if (spec->tag != NULL && json_object_set(params, "tag", spec->tag) != 0)
		return false;
	if (spec->after_ids != NULL && json_object_set(params, "after", spec->after_ids) != 0)
		return false;
	return !spec->jobserver || set(params, "jobserver", json_true());
}

static int
current_umask(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return (int)mask;
}

json_t *
spec_defaults(const struct spec *spec)
{
	json_t *params = json_object();
	json_t *cwd = cwd_json(spec);

	if (cwd == NULL) {
		json_decref(params);
		return NULL;
	}
	if (set(params, "cwd", cwd) && set(params, "umask", json_integer(current_umask())) &&
	    set(params, "env", env_json(spec)) && set_limits(params) &&
	    set_files(params, spec) &&
	    set_numbers(params, spec) && set_texts(params, spec))
		return params;
	ctl_error("a flag's text is no UTF-8, or there is no memory");
	json_decref(params);
	return NULL;
}

static char *
joined(char *const *words, int nwords)
{
	size_t len = 1;

	for (int i = 0; i < nwords; i++)
		len += strlen(words[i]) + 1;
	char *line = malloc(len);
	char *at = line;

	for (int i = 0; line != NULL && i < nwords; i++)
		at = stpcpy(i == 0 ? at : stpcpy(at, " "), words[i]);
	return line;
}

json_t *
spec_argv(const struct spec *spec, char *const *words, int nwords)
{
	json_t *argv = json_array();

	if (spec->shell) {
		char *line = joined(words, nwords);

		if (line == NULL ||
		    json_array_append_new(argv, json_string("sh")) != 0 ||
		    json_array_append_new(argv, json_string("-c")) != 0 ||
		    json_array_append_new(argv, text_json(line)) != 0) {
			json_decref(argv);
			argv = NULL;
		}
		free(line);
		return argv;
	}
	for (int i = 0; i < nwords; i++) {
		if (json_array_append_new(argv, text_json(words[i])) != 0) {
			json_decref(argv);
			return NULL;
		}
	}
	return argv;
}

json_t *
spec_params(const struct spec *spec, const struct ctl_args *args)
{
	if (args->argc == 0) {
		ctl_usage(args, "%s wants a command", args->verb->name);
		return NULL;
	}
	json_t *params = spec_defaults(spec);

	if (params == NULL)
		return NULL;
	if (set(params, "argv", spec_argv(spec, args->argv, args->argc)) &&
	    (!spec->block || set(params, "on_full", json_string("wait"))))
		return params;
	ctl_error("out of memory");
	json_decref(params);
	return NULL;
}
