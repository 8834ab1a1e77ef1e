/* retry and forget: what can be done with finished jobs. */
#include "ctl/ctl.h"

/* The ids given; NULL: a usage error, printed. */
static json_t *
take_ids(struct ctl_args *args)
{
	if (ctl_args_next(args) != 0)
		return NULL;
	if (args->argc == 0) {
		ctl_usage(args, "%s wants job ids", args->verb->name);
		return NULL;
	}
	return ctl_ids_of(args, 0);
}

int
cmd_retry(struct ctl *ctl, struct ctl_args *args)
{
	json_t *ids = take_ids(args);
	json_t *id, *result;
	size_t i;
	int rc = ids != NULL ? 0 : CTL_EXIT_FAILURE;

	json_array_foreach(ids, i, id)
	{
		rc = ctl_call(ctl, "job.retry", json_pack("{s:O}", "job", id), &result);
		if (rc != 0)
			break;
		if (ctl->json)
			ctl_print_json(result);
		else
			printf("%" JSON_INTEGER_FORMAT "\n",
			    json_integer_value(json_object_get(result, "job")));
		json_decref(result);
	}
	json_decref(ids);
	return rc;
}

int
cmd_forget(struct ctl *ctl, struct ctl_args *args)
{
	json_t *ids = take_ids(args);
	json_t *result;

	if (ids == NULL)
		return CTL_EXIT_FAILURE;
	int rc = ctl_call(ctl, "job.forget", json_pack("{s:o}", "jobs", ids), &result);

	if (rc == 0 && ctl->json)
		ctl_print_json(result);
	json_decref(result);
	return rc;
}
