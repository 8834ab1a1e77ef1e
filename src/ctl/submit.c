/* submit: one job, its id on stdout. */
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/spec.h"

int
cmd_submit(struct ctl *ctl, struct ctl_args *args)
{
	struct spec spec;
	json_t *params = NULL, *result = NULL;
	int option, rc = CTL_EXIT_FAILURE;

	spec_init(&spec);
	while ((option = ctl_args_next(args)) > 0) {
		if (spec_option(&spec, args, option) < 0)
			goto out;
	}
	if (option < 0)
		goto out;
	params = spec_params(&spec, args);
	if (params == NULL)
		goto out;
	rc = ctl_call(ctl, "job.submit", params, &result);
	if (rc == 0 && ctl->json)
		ctl_print_json(result);
	else if (rc == 0)
		printf("%" JSON_INTEGER_FORMAT "\n",
		    json_integer_value(json_object_get(result, "job")));
	json_decref(result);
out:
	spec_fini(&spec);
	return rc;
}
