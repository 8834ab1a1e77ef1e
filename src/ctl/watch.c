/* watch: every completion, in finish order, without end. */
#include "ctl/ctl.h"

enum { WATCH_SINCE = CTL_OPTION_VERB };

const struct ctl_option watch_options[] = {
	{ WATCH_SINCE, "since", "SEQ", "first what finished after this seq (0: all there is)" },
	{ 0 },
};

static bool
on_item(struct ctl *ctl, json_t *item, void *arg)
{
	(void)arg;
	ctl_print_completion(ctl, item);
	return ctl_flush();
}

int
cmd_watch(struct ctl *ctl, struct ctl_args *args)
{
	json_t *params;
	int64_t since = -1;
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		if (ctl_number(args->value, 0, INT64_C(9007199254740991), &since) != 0)
			return ctl_usage(args, "\"%s\" is no seq", args->value);
	}
	if (option < 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 0)
		return ctl_usage(args, "watch takes no words");
	params = since >= 0 ? json_pack("{s:I}", "since_seq", (json_int_t)since) : json_object();
	return ctl_stream(ctl, "completions.subscribe", params, on_item, NULL, NULL);
}
