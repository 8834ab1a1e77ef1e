/* map: the command once for each item of the input; results as they finish. */
#include "ctl/ctl.h"
#include "ctl/spec.h"

const struct ctl_option map_options[] = { { 0 } };

int
cmd_map(struct ctl *ctl, struct ctl_args *args)
{
	(void)ctl;
	return ctl_usage(args, "map can't yet");
}
