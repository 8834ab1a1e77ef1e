/* gather: what jobs wrote, in the order given, once all have finished. */
#include "ctl/ctl.h"
#include "ctl/output.h"

enum { GATHER_RETURN_EXCEPTIONS = CTL_OPTION_VERB };

#define GATHER_JSON_OUTPUT 65536

const struct ctl_option gather_options[] = {
	{ GATHER_RETURN_EXCEPTIONS, "return-exceptions", NULL,
	    "jobs that are not ok don't end it: their output is printed, too" },
	{ 0 },
};

static int
print_job(struct ctl *ctl, const json_t *completion)
{
	int64_t job = json_integer_value(json_object_get(completion, "job"));
	int rc;

	if (ctl->json) {
		ctl_print_json(completion);
		return 0;
	}
	rc = output_copy(ctl, job, 1, stdout);
	if (rc == 0 && ctl_flush())
		rc = output_copy(ctl, job, 2, stderr);
	return rc;
}

int
cmd_gather(struct ctl *ctl, struct ctl_args *args)
{
	json_t *result, *completion;
	bool return_exceptions = false, not_ok = false;
	size_t i;
	int option;

	while ((option = ctl_args_next(args)) > 0)
		return_exceptions = true;
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc == 0)
		return ctl_usage(args, "gather wants job ids");
	json_t *ids = ctl_ids_of(args, 0);

	if (ids == NULL)
		return CTL_EXIT_FAILURE;
	json_t *params = json_pack("{s:o, s:b, s:i}", "jobs", ids, "return_exceptions",
	    return_exceptions, "with_output", ctl->json ? GATHER_JSON_OUTPUT : 0);
	int rc = ctl_call(ctl, "futures.gather", params, &result);

	if (rc != 0)
		return rc;
	json_array_foreach(json_object_get(result, "results"), i, completion)
	{
		rc = print_job(ctl, completion);
		if (rc != 0)
			break;
		not_ok |= !json_is_true(json_object_get(completion, "ok"));
	}
	json_decref(result);
	return rc == 0 && not_ok ? CTL_EXIT_NOT_OK : rc;
}
