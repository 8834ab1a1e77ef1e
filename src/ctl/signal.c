/* signal: any signal to a running job. */
#include <string.h>

#include "ctl/ctl.h"

enum { SIGNAL_SCOPE = CTL_OPTION_VERB };

const struct ctl_option signal_options[] = {
	{ SIGNAL_SCOPE, "scope", "WHOM", "leader, group (its process group) or tree (all of it)" },
	{ 0 },
};

int
cmd_signal(struct ctl *ctl, struct ctl_args *args)
{
	const char *scope = NULL;
	int64_t job;
	int option;

	while ((option = ctl_args_next(args)) > 0)
		scope = args->value;
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc != 2)
		return ctl_usage(args, "signal wants a signal and a job id");
	int signo = ctl_signal_number(args->argv[0]);

	if (signo < 0)
		return ctl_usage(args, "\"%s\" is no signal", args->argv[0]);
	if (ctl_number(args->argv[1], 1, INT64_C(9007199254740991), &job) != 0)
		return ctl_usage(args, "\"%s\" is no job id", args->argv[1]);
	return ctl_call(ctl, "job.signal",
	    json_pack("{s:I, s:i, s:s*}", "job", (json_int_t)job, "signal", signo, "scope", scope),
	    NULL);
}
