/* cancel: ends jobs, and waits until no process of theirs is left. */
#include "ctl/ctl.h"

enum { CANCEL_GRACE = CTL_OPTION_VERB, CANCEL_NO_WAIT };

const struct ctl_option cancel_options[] = {
	{ CANCEL_GRACE, "grace", "T", "from TERM to KILL (the job's own, or 5s)" },
	{ CANCEL_NO_WAIT, "no-wait", NULL, "don't wait until their processes are gone" },
	{ 0 },
};

static void
print_result(const struct ctl *ctl, const json_t *result)
{
	if (ctl->json)
		ctl_print_json(result);
	else if (!json_is_true(json_object_get(result, "accepted")))
		ctl_note("job %" JSON_INTEGER_FORMAT " had ended already",
		    json_integer_value(json_object_get(result, "job")));
}

int
cmd_cancel(struct ctl *ctl, struct ctl_args *args)
{
	json_t *answer, *result;
	int64_t grace_ms = -1;
	bool wait = true;
	size_t i;
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		if (option == CANCEL_NO_WAIT)
			wait = false;
		else if (ctl_duration(args->value, &grace_ms) != 0)
			return ctl_usage(args, "\"%s\" is no time", args->value);
	}
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc == 0)
		return ctl_usage(args, "cancel wants job ids");
	json_t *ids = ctl_ids_of(args, 0);

	if (ids == NULL)
		return CTL_EXIT_FAILURE;
	json_t *params = json_pack("{s:o, s:b}", "jobs", ids, "wait", wait);

	if (grace_ms >= 0)
		json_object_set_new(params, "grace_ms", json_integer(grace_ms));
	int rc = ctl_call(ctl, "job.cancel", params, &answer);

	if (rc != 0)
		return rc;
	json_array_foreach(json_object_get(answer, "results"), i, result)
		print_result(ctl, result);
	json_decref(answer);
	return 0;
}
