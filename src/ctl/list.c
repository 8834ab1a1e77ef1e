/* list: jobs as a table, the newest first. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"

enum { LIST_PHASE = CTL_OPTION_VERB, LIST_OK, LIST_FAILED, LIST_NAME };

#define LIST_DEFAULT 100
#define LIST_PAGE 500

const struct ctl_option list_options[] = {
	{ 'q', "queue", "QUEUE", "jobs of this queue" },
	{ LIST_PHASE, "phase", "PHASE", "pending, running or done" },
	{ LIST_OK, "ok", NULL, "finished jobs that were ok" },
	{ LIST_FAILED, "failed", NULL, "finished jobs that were not" },
	{ LIST_NAME, "name", "NAME", "jobs of this name" },
	{ 'n', "lines", "N", "no more than N jobs (100; 0: all)" },
	{ 0 },
};

/* ---- the table ---- */

/* "5s", "3m12", "2h05", "4d03": always short. */
static void
span_text(int64_t us, char *buf, size_t size)
{
	long long s = us > 0 ? us / 1000000 : 0;

	if (s < 60)
		snprintf(buf, size, "%llds", s);
	else if (s < 3600)
		snprintf(buf, size, "%lldm%02lld", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, size, "%lldh%02lld", s / 3600, s / 60 % 60);
	else
		snprintf(buf, size, "%lldd%02lld", s / 86400, s / 3600 % 24);
}

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* How long it ran, has been running, or has waited. */
static void
time_text(const json_t *job, char *buf, size_t size)
{
	int64_t submitted = json_integer_value(json_object_get(job, "submitted_us"));
	int64_t started = json_integer_value(json_object_get(job, "started_us"));
	int64_t finished = json_integer_value(json_object_get(job, "finished_us"));

	if (started == 0 && finished != 0)
		snprintf(buf, size, "-");
	else
		span_text((finished != 0 ? finished : now_us()) -
			      (started != 0 ? started : submitted),
		    buf, size);
}

static void
state_text(const json_t *job, char *buf, size_t size)
{
	const char *phase = json_string_value(json_object_get(job, "phase"));
	const char *reason = json_string_value(json_object_get(job, "reason"));

	if (phase != NULL && strcmp(phase, "pending") == 0 && reason != NULL)
		snprintf(buf, size, "pending %s", reason);
	else
		ctl_outcome_text(job, buf, size);
}

static void
print_cell(const char *text, size_t width)
{
	size_t used = ctl_print_text(stdout, text, strlen(text), width);

	printf("%*s", (int)(width - used) + 1, "");
}

static void
print_row(const json_t *job, size_t columns)
{
	const char *queue = json_string_value(json_object_get(job, "queue"));
	const char *name = json_string_value(json_object_get(job, "name"));
	char *command = ctl_command_text(json_object_get(job, "argv"));
	char id[24], state[64], span[24];
	size_t used = 8 + 25 + 10 + 7;

	snprintf(id, sizeof(id), "%" JSON_INTEGER_FORMAT,
	    json_integer_value(json_object_get(job, "job")));
	state_text(job, state, sizeof(state));
	time_text(job, span, sizeof(span));
	printf("%-7s ", id);
	print_cell(state, 24);
	print_cell(queue != NULL ? queue : "-", 9);
	printf("%6s ", span);
	if (name != NULL) {
		used += ctl_print_text(stdout, name, strlen(name), 20) + 2;
		fputs(": ", stdout);
	}
	if (command != NULL)
		ctl_print_text(stdout, command, strlen(command),
		    columns > used + 8 ? columns - used : columns != 0 ? 8 : 0);
	putchar('\n');
	free(command);
}

/* ---- the verb ---- */

struct listing {
	json_t *params;
	int64_t left; /* -1: all */
};

static int
take_options(struct ctl_args *args, struct listing *l)
{
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		json_t *value = args->value != NULL ? json_string(args->value) : NULL;

		if (args->value != NULL && value == NULL)
			return ctl_usage(args, "\"%s\" is no UTF-8", args->value);
		switch (option) {
		case 'q':
			json_object_set(l->params, "queue", value);
			break;
		case LIST_PHASE:
			json_object_set(l->params, "phase", value);
			break;
		case LIST_NAME:
			json_object_set(l->params, "name", value);
			break;
		case LIST_OK:
			json_object_set(l->params, "ok", json_true());
			break;
		case LIST_FAILED:
			json_object_set(l->params, "ok", json_false());
			break;
		case 'n':
			if (ctl_number(args->value, 0, INT32_MAX, &l->left) != 0) {
				json_decref(value);
				return ctl_usage(args, "\"%s\" is no number", args->value);
			}
			l->left = l->left == 0 ? -1 : l->left;
			break;
		}
		json_decref(value);
	}
	if (option == 0 && args->argc > 0)
		return ctl_usage(args, "list takes no words (see show ID)");
	return option;
}

static bool
print_page(struct ctl *ctl, const json_t *page, struct listing *l, size_t columns)
{
	json_t *job;
	size_t i;

	json_array_foreach(json_object_get(page, "jobs"), i, job)
	{
		if (ctl->json)
			ctl_print_json(job);
		else
			print_row(job, columns);
	}
	if (l->left > 0)
		l->left -= (int64_t)i;
	return ctl_flush();
}

int
cmd_list(struct ctl *ctl, struct ctl_args *args)
{
	struct listing l = { .params = json_pack("{s:s}", "order", "desc"), .left = LIST_DEFAULT };
	size_t columns = ctl_columns();
	int rc = take_options(args, &l) == 0 ? 0 : CTL_EXIT_FAILURE;
	bool first = true;

	while (rc == 0 && l.left != 0) {
		json_t *page, *next;
		int64_t want = l.left < 0 || l.left > LIST_PAGE ? LIST_PAGE : l.left;

		json_object_set_new(l.params, "limit", json_integer(want));
		rc = ctl_call(ctl, "job.list", json_incref(l.params), &page);
		if (rc != 0)
			break;
		if (first && !ctl->json)
			printf("%-7s %-24s %-9s %6s %s\n", "ID", "STATE", "QUEUE", "TIME",
			    "COMMAND");
		first = false;
		print_page(ctl, page, &l, columns);
		next = json_object_get(page, "next");
		if (!json_is_integer(next))
			l.left = 0;
		else
			json_object_set(l.params, "cursor", next);
		json_decref(page);
	}
	json_decref(l.params);
	return rc;
}
