/*
 * The settings as a whole: defaults, setting one by name, cross checks, reload. Reading files is
 * config_file.c, printing config_print.c, the options themselves are config_table.c.
 */
#include "daemon/config.h"
#include "daemon/config_value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 4096

void
config_report_add(struct config_report *report, const char *format, ...)
{
	char line[2 * TEXT_MAX];
	char *text;
	size_t len;
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	report->errors++;
	len = strlen(line);
	text = realloc(report->text, report->len + len + 2);
	if (text == NULL)
		return; /* it is still counted */
	memcpy(text + report->len, line, len);
	text[report->len + len] = '\n';
	text[report->len + len + 1] = '\0';
	report->text = text;
	report->len += len + 1;
}

void
config_report_fini(struct config_report *report)
{
	free(report->text);
	memset(report, 0, sizeof(*report));
}

static void *
field_of(const struct config_option *option, void *base)
{
	return (char *)base + option->offset;
}

static int64_t
number_at(const struct config_option *option, const void *base)
{
	return *(const int64_t *)(const void *)((const char *)base + option->offset);
}

static const char *
text_at(const struct config_option *option, const void *base)
{
	return *(char *const *)(const void *)((const char *)base + option->offset);
}

static bool
is_queue_option(const struct config_option *option)
{
	return strcmp(option->section, "queue.*") == 0;
}

/* Replaces a field of `base` by `value`, which was checked. */
static int
store_text(const struct config_option *option, void *base, const char *value)
{
	char **field = field_of(option, base);
	char *copy = strdup(value);

	if (copy == NULL)
		return -1;
	free(*field);
	*field = copy;
	return 0;
}

static int
store_default(const struct config_option *option, void *base)
{
	char why[160];

	if (option->type == CONFIG_TEXT)
		return store_text(option, base, option->initial);
	return config_value_parse(
	    option, option->initial, field_of(option, base), why, sizeof(why));
}

int
config_init(struct config *config)
{
	memset(config, 0, sizeof(*config));
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (!is_queue_option(o) && store_default(o, config) != 0)
			return -1;
	}
	return 0;
}

void
config_fini(struct config *config)
{
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (o->type == CONFIG_TEXT && !is_queue_option(o))
			free(*(char **)field_of(o, config));
	}
	for (size_t i = 0; i < config->nqueues; i++)
		free(config->queues[i].name);
	free(config->queues);
	memset(config, 0, sizeof(*config));
}

/* The queue of that name, made with defaults when there is none. NULL: out of memory. */
static struct config_queue *
queue_ensure(struct config *config, const char *name)
{
	struct config_queue *queues, *q;

	for (size_t i = 0; i < config->nqueues; i++) {
		if (strcmp(config->queues[i].name, name) == 0)
			return &config->queues[i];
	}
	queues = realloc(config->queues, (config->nqueues + 1) * sizeof(*queues));
	if (queues == NULL)
		return NULL;
	config->queues = queues;
	q = &queues[config->nqueues];
	memset(q, 0, sizeof(*q));
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (is_queue_option(o) && store_default(o, q) != 0)
			return NULL;
	}
	q->name = strdup(name);
	if (q->name == NULL)
		return NULL;
	config->nqueues++;
	return q;
}

static bool
queue_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > CONFIG_QUEUE_NAME_MAX)
		return false;
	for (; *name != '\0'; name++) {
		if ((unsigned char)*name <= ' ' || *name == ']' || *name == 0x7f)
			return false;
	}
	return true;
}

/* Names what would have been right: the keys of the section, or the sections. */
static void
report_unknown(const char *section, const char *key, const char *origin,
    struct config_report *report)
{
	const char *wanted = strncmp(section, "queue.", 6) == 0 ? "queue.*" : section;
	char keys[512] = "", sections[512] = "";
	const char *last = "";

	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		char *list = strcmp(o->section, wanted) == 0 ? keys : sections;
		const char *name = list == keys ? o->key : o->section;
		size_t used = strlen(list);

		if (list == sections && strcmp(o->section, last) == 0)
			continue;
		last = o->section;
		snprintf(list + used, sizeof(keys) - used, "%s%s", used > 0 ? ", " : "", name);
	}
	if (keys[0] != '\0')
		config_report_add(report, "%s: [%s] %s: unknown key; the section has %s", origin,
		    section, key, keys);
	else
		config_report_add(report, "%s: [%s] %s: unknown section; there are %s", origin,
		    section, key, sections);
}

/* The struct that holds the option's field: the config or one of its queues. */
static void *
base_of(struct config *config, const struct config_option *option, const char *section,
    const char *origin, struct config_report *report)
{
	void *base;

	if (!is_queue_option(option))
		return config;
	if (!queue_name_ok(section + 6)) {
		config_report_add(report, "%s: [%s]: a queue's name has 1 to %d printable bytes",
		    origin, section, CONFIG_QUEUE_NAME_MAX);
		return NULL;
	}
	if (config->nqueues >= CONFIG_QUEUES_MAX) {
		config_report_add(report, "%s: [%s]: more than %d queues", origin, section,
		    CONFIG_QUEUES_MAX);
		return NULL;
	}
	base = queue_ensure(config, section + 6);
	if (base == NULL)
		config_report_add(report, "%s: out of memory", origin);
	return base;
}

/* Text has no number, only a length to keep to. */
static int
parse_value(const struct config_option *option, const char *text, int64_t *number, char *why,
    size_t why_size)
{
	if (option->type != CONFIG_TEXT)
		return config_value_parse(option, text, number, why, why_size);
	if (strlen(text) <= (size_t)option->max)
		return 0;
	config_value_accepts(option, why, why_size);
	return -1;
}

void
config_set(struct config *config, const char *section, const char *key, const char *value,
    const char *origin, struct config_report *report)
{
	const struct config_option *option = config_find(section, key);
	char why[256];
	int64_t number = 0;
	void *base;

	if (option == NULL) {
		report_unknown(section, key, origin, report);
		return;
	}
	if (parse_value(option, value, &number, why, sizeof(why)) != 0) {
		config_report_add(
		    report, "%s: [%s] %s = %s: accepted is %s", origin, section, key, value, why);
		return;
	}
	base = base_of(config, option, section, origin, report);
	if (base == NULL)
		return;
	if (option->type != CONFIG_TEXT)
		*(int64_t *)field_of(option, base) = number;
	else if (store_text(option, base, value) != 0)
		config_report_add(report, "%s: out of memory", origin);
}

void
config_set_assignment(struct config *config, const char *assignment, const char *origin,
    struct config_report *report)
{
	const char *equals = strchr(assignment, '=');
	char name[CONFIG_QUEUE_NAME_MAX + 64];
	char *dot;

	if (equals == NULL || (size_t)(equals - assignment) >= sizeof(name)) {
		config_report_add(
		    report, "%s %s: accepted is SECTION.KEY=VALUE", origin, assignment);
		return;
	}
	memcpy(name, assignment, (size_t)(equals - assignment));
	name[equals - assignment] = '\0';
	dot = strrchr(name, '.');
	if (dot == NULL) {
		config_report_add(
		    report, "%s %s: accepted is SECTION.KEY=VALUE", origin, assignment);
		return;
	}
	*dot = '\0';
	config_set(config, name, dot + 1, equals + 1, origin, report);
}

/* A bound that was left to us: what fits a disk, or what fits memory. */
static int64_t
bound_of(const struct config *config, int64_t value, int64_t durable, int64_t memory)
{
	if (value >= 0)
		return value;
	return config->store.durability == CONFIG_DURABILITY_MEMORY ? memory : durable;
}

int64_t
config_history_jobs(const struct config *config)
{
	return bound_of(config, config->store.history_jobs, 1000000, 10000);
}

int64_t
config_output_total(const struct config *config)
{
	return bound_of(config, config->store.output_total_bytes, INT64_C(1) << 30,
	    INT64_C(256) << 20);
}

int64_t
config_max_pending_bytes(const struct config *config)
{
	return bound_of(config, config->executor.max_pending_bytes, INT64_C(16) << 30,
	    INT64_C(1) << 30);
}

void
config_check(const struct config *config, struct config_report *report)
{
	if (config->executor.max_running > config->launcher.jobs)
		config_report_add(report,
		    "[executor] max_running (%" PRId64 ") is above [launcher] jobs (%" PRId64
		    "), the room for running jobs",
		    config->executor.max_running, config->launcher.jobs);
}

static bool
field_differs(const struct config_option *option, const void *a, const void *b)
{
	if (option->type == CONFIG_TEXT)
		return strcmp(text_at(option, a), text_at(option, b)) != 0;
	return number_at(option, a) != number_at(option, b);
}

/* Brings one field over if it differs and may, and tells. */
static int
reload_field(const struct config_option *option, const char *section, void *base, const void *next,
    config_change_cb cb, void *arg)
{
	struct config_change change;

	if (!field_differs(option, base, next))
		return 0;
	snprintf(change.name, sizeof(change.name), "%s.%s", section, option->key);
	config_value_format_field(option, base, change.from, sizeof(change.from));
	config_value_format_field(option, next, change.to, sizeof(change.to));
	change.applied = option->reloadable;
	if (option->reloadable) {
		if (option->type != CONFIG_TEXT)
			*(int64_t *)field_of(option, base) = number_at(option, next);
		else if (store_text(option, base, text_at(option, next)) != 0)
			return -1;
	}
	cb(&change, arg);
	return 0;
}

static int
reload_queue(struct config *config, const struct config_queue *next, config_change_cb cb, void *arg)
{
	struct config_queue *q = queue_ensure(config, next->name);
	char section[CONFIG_QUEUE_NAME_MAX + 8];

	if (q == NULL)
		return -1;
	snprintf(section, sizeof(section), "queue.%s", next->name);
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (is_queue_option(o) && reload_field(o, section, q, next, cb, arg) != 0)
			return -1;
	}
	return 0;
}

int
config_reload(struct config *config, const struct config *next, config_change_cb cb, void *arg)
{
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (!is_queue_option(o) && reload_field(o, o->section, config, next, cb, arg) != 0)
			return -1;
	}
	for (size_t i = 0; i < next->nqueues; i++) {
		if (reload_queue(config, &next->queues[i], cb, arg) != 0)
			return -1;
	}
	return 0;
}
