/* run: one job with slotctl's own stdin, stdout and stderr; exits as the job does. */
#include "ctl/ctl.h"
#include "ctl/spec.h"

const struct ctl_option run_options[] = { { 0 } };

int
cmd_run(struct ctl *ctl, struct ctl_args *args)
{
	const int fds[3] = { 0, 1, 2 };
	struct spec spec;
	struct slot_future *f = NULL;
	json_t *params = NULL;
	int option, rc = CTL_EXIT_FAILURE;

	spec_init(&spec);
	while ((option = ctl_args_next(args)) > 0) {
		if (spec_option(&spec, args, option) < 0)
			goto out;
	}
	if (option < 0 || (params = spec_params(&spec, args)) == NULL || ctl_connect(ctl) != 0)
		goto out;
	json_object_set_new(params, "lifetime", json_string("bound"));
	json_object_set_new(params, "stdin", json_pack("{s:i}", "fd", 0));
	json_object_set_new(params, "stdout", json_pack("{s:i}", "fd", 1));
	json_object_set_new(params, "stderr", json_pack("{s:i}", "fd", 2));
	f = slot_client_submit_fds(ctl->client, params, fds, 3, NULL);
	params = NULL;
	if (f == NULL || ctl_run_until(ctl, f, -1) != 0 || slot_job_completion(f) == NULL)
		goto out;
	rc = slot_job_completion(f)->exit_code;
out:
	json_decref(params);
	slot_future_unref(f);
	spec_fini(&spec);
	return rc;
}
