/* call: any method of the protocol, by hand. Items of streams are printed as they come. */
#include <errno.h>
#include <string.h>

#include "ctl/ctl.h"

static bool
on_item(struct ctl *ctl, json_t *item, void *arg)
{
	(void)ctl;
	(void)arg;
	ctl_print_json(item);
	return ctl_flush();
}

static json_t *
read_params(const struct ctl_args *args)
{
	json_error_t error;
	json_t *params;
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;

	if (args->argc == 1)
		return json_object();
	if (strcmp(args->argv[1], "-") == 0)
		params = json_loadf(stdin, flags, &error);
	else
		params = json_loads(args->argv[1], flags, &error);
	if (params != NULL && json_is_object(params))
		return params;
	ctl_usage(args, "the params are no JSON object%s%s", params == NULL ? ": " : "",
	    params == NULL ? error.text : "");
	json_decref(params);
	return NULL;
}

int
cmd_call(struct ctl *ctl, struct ctl_args *args)
{
	json_t *result;

	if (ctl_args_next(args) != 0)
		return CTL_EXIT_FAILURE;
	if (args->argc < 1 || args->argc > 2)
		return ctl_usage(args, "call wants a method and, at most, its params");
	json_t *params = read_params(args);

	if (params == NULL)
		return CTL_EXIT_FAILURE;
	int rc = ctl_stream(ctl, args->argv[0], params, on_item, NULL, &result);

	if (rc == 0 && result != NULL)
		ctl_print_json(result);
	json_decref(result);
	return rc;
}
