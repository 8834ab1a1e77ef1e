/* Queues and the executor as a whole: queue, limit, pause, resume, drain. */
#include <string.h>

#include "ctl/ctl.h"

enum { QUEUE_REMOVE = CTL_OPTION_VERB, LIMIT_RESET, DRAIN_CANCEL, DRAIN_OFF };

const struct ctl_option queue_options[] = {
	{ QUEUE_REMOVE, "remove", "QUEUE", "remove this queue, which must be empty" },
	{ 0 },
};
const struct ctl_option limit_options[] = {
	{ 'q', "queue", "QUEUE", "of this queue, which is made where it isn't there" },
	{ LIMIT_RESET, "reset", NULL, "back to what the configuration says" },
	{ 0 },
};
const struct ctl_option pause_options[] = {
	{ 'q', "queue", "QUEUE", "only this queue" },
	{ 0 },
};
const struct ctl_option drain_options[] = {
	{ DRAIN_CANCEL, "cancel", NULL, "cancel what there is instead of finishing it" },
	{ DRAIN_OFF, "off", NULL, "take jobs again" },
	{ 0 },
};

/* ---- queue ---- */

static void
limit_text(const json_t *limit, char *buf, size_t size)
{
	if (json_is_integer(limit))
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(limit));
	else
		snprintf(buf, size, "none");
}

static void
print_queue(const struct ctl *ctl, const json_t *queue)
{
	const char *name = json_string_value(json_object_get(queue, "queue"));
	char limit[24];

	if (ctl->json) {
		ctl_print_json(queue);
		return;
	}
	limit_text(json_object_get(queue, "max_running"), limit, sizeof(limit));
	size_t used = name != NULL ? ctl_print_text(stdout, name, strlen(name), 0) : 0;

	printf("%*s %7s %8" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT "%s\n",
	    (int)(used < 20 ? 20 - used : 0), "", limit,
	    json_integer_value(json_object_get(queue, "running")),
	    json_integer_value(json_object_get(queue, "pending")),
	    json_is_true(json_object_get(queue, "paused")) ? " paused" : "");
}

int
cmd_queue(struct ctl *ctl, struct ctl_args *args)
{
	const char *remove_name = NULL;
	json_t *result, *queue;
	size_t i;
	int option;

	while ((option = ctl_args_next(args)) > 0)
		remove_name = args->value;
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 0)
		return ctl_usage(args, "queue takes no words");
	if (remove_name != NULL)
		return ctl_call(ctl, "queue.remove", json_pack("{s:s}", "queue", remove_name),
		    NULL);
	int rc = ctl_call(ctl, "queue.list", NULL, &result);

	if (rc != 0)
		return rc;
	if (!ctl->json)
		printf("%-20s %7s %8s %8s\n", "QUEUE", "LIMIT", "RUNNING", "PENDING");
	json_array_foreach(json_object_get(result, "queues"), i, queue)
		print_queue(ctl, queue);
	json_decref(result);
	return 0;
}

/* ---- limit ---- */

static int
print_limit(struct ctl *ctl, const char *queue)
{
	json_t *result, *row = NULL, *q;
	char text[24];
	size_t i;
	int rc = ctl_call(ctl, queue != NULL ? "queue.list" : "limits.get", NULL, &result);

	if (rc != 0)
		return rc;
	if (queue == NULL)
		row = result;
	json_array_foreach(json_object_get(result, "queues"), i, q)
	{
		const char *name = json_string_value(json_object_get(q, "queue"));

		if (queue != NULL && name != NULL && strcmp(name, queue) == 0)
			row = q;
	}
	if (row == NULL) {
		rc = ctl_error("there is no queue \"%s\"", queue);
	} else if (ctl->json) {
		ctl_print_json(row);
	} else {
		limit_text(json_object_get(row, "max_running"), text, sizeof(text));
		puts(text);
	}
	json_decref(result);
	return rc;
}

int
cmd_limit(struct ctl *ctl, struct ctl_args *args)
{
	const char *queue = NULL;
	bool reset = false;
	int64_t n = 0;
	json_t *result;
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		if (option == 'q')
			queue = args->value;
		else
			reset = true;
	}
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 1 || (reset && (args->argc > 0 || queue != NULL)))
		return ctl_usage(args, "limit takes one number");
	if (args->argc == 0 && !reset)
		return print_limit(ctl, queue);
	bool none = args->argc == 1 && queue != NULL && strcmp(args->argv[0], "none") == 0;

	if (!reset && !none && ctl_number(args->argv[0], 0, 1000000, &n) != 0)
		return ctl_usage(args, "\"%s\" is no limit: accepted is 0 to 1000000%s",
		    args->argv[0], queue != NULL ? ", or none" : "");
	json_t *params = reset ? json_pack("{s:b}", "reset", 1)
	    : none ? json_pack("{s:n}", "max_running")
		   : json_pack("{s:I}", "max_running", (json_int_t)n);

	if (queue != NULL && json_object_set_new(params, "queue", json_string(queue)) != 0) {
		json_decref(params);
		return ctl_usage(args, "-q \"%s\" is no UTF-8", queue);
	}
	int rc = ctl_call(ctl, queue != NULL ? "queue.set" : "limits.set", params, &result);

	if (rc == 0 && ctl->json)
		ctl_print_json(result);
	json_decref(result);
	return rc;
}

/* ---- pause, resume, drain ---- */

static int
pause_or_resume(struct ctl *ctl, struct ctl_args *args, const char *method)
{
	const char *queue = NULL;
	int option;

	while ((option = ctl_args_next(args)) > 0)
		queue = args->value;
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 0)
		return ctl_usage(args, "%s takes no words", args->verb->name);
	json_t *params = json_pack("{s:s*}", "queue", queue);

	if (params == NULL)
		return ctl_usage(args, "-q \"%s\" is no UTF-8", queue);
	return ctl_call(ctl, method, params, NULL);
}

int
cmd_pause(struct ctl *ctl, struct ctl_args *args)
{
	return pause_or_resume(ctl, args, "queue.pause");
}

int
cmd_resume(struct ctl *ctl, struct ctl_args *args)
{
	return pause_or_resume(ctl, args, "queue.resume");
}

int
cmd_drain(struct ctl *ctl, struct ctl_args *args)
{
	const char *mode = "finish";
	json_t *result;
	int option;

	while ((option = ctl_args_next(args)) > 0)
		mode = option == DRAIN_OFF ? "off" : "cancel";
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 0)
		return ctl_usage(args, "drain takes no words");
	int rc = ctl_call(ctl, "drain", json_pack("{s:s}", "mode", mode), &result);

	if (rc == 0 && ctl->json)
		ctl_print_json(result);
	json_decref(result);
	return rc;
}
