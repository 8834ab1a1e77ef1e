/* set: changes a job that has not started. */
#include "ctl/ctl.h"

enum { SET_HOLD = CTL_OPTION_VERB, SET_RELEASE };

const struct ctl_option set_options[] = {
	{ 'p', "priority", "N", "-100 to 100, higher first" },
	{ 'q', "queue", "QUEUE", "move it to this queue" },
	{ SET_HOLD, "hold", NULL, "don't start it until it is released" },
	{ SET_RELEASE, "release", NULL, "let it start again" },
	{ 0 },
};

static int
take_options(struct ctl_args *args, json_t *params)
{
	int64_t priority;
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		switch (option) {
		case 'p':
			if (ctl_number(args->value, -100, 100, &priority) != 0)
				return ctl_usage(args, "-p \"%s\": accepted is -100 to 100",
				    args->value);
			json_object_set_new(params, "priority", json_integer(priority));
			break;
		case 'q':
			if (json_object_set_new(params, "queue", json_string(args->value)) != 0)
				return ctl_usage(args, "-q \"%s\" is no UTF-8", args->value);
			break;
		case SET_HOLD:
		case SET_RELEASE:
			json_object_set_new(params, "hold", json_boolean(option == SET_HOLD));
			break;
		}
	}
	if (option == 0 && json_object_size(params) == 0)
		return ctl_usage(args, "set wants something to change");
	return option;
}

int
cmd_set(struct ctl *ctl, struct ctl_args *args)
{
	json_t *params = json_object(), *result;
	int64_t job;

	if (take_options(args, params) != 0 || ctl_one_id(args, &job) != 0) {
		json_decref(params);
		return CTL_EXIT_FAILURE;
	}
	json_object_set_new(params, "job", json_integer(job));
	int rc = ctl_call(ctl, "job.set", params, &result);

	if (rc == 0 && ctl->json)
		ctl_print_json(result);
	json_decref(result);
	return rc;
}
