/* stats: the daemon's counters, one a line; those of its journal begin with "journal.". */
#include <string.h>

#include "ctl/ctl.h"

static void
print_members(const json_t *object, const char *prefix)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		char name[80];

		if (strcmp(key, "journal") == 0 && json_is_null(value))
			continue; /* there is none */
		snprintf(name, sizeof(name), "%s%s", prefix, key);
		if (json_is_object(value) && prefix[0] == '\0') {
			snprintf(name, sizeof(name), "%s.", key);
			print_members(value, name);
			continue;
		}
		ctl_print_text(stdout, name, strlen(name), 0);
		printf("%*s", (int)(strlen(name) < 24 ? 25 - strlen(name) : 1), "");
		ctl_print_json(value);
	}
}

int
cmd_stats(struct ctl *ctl, struct ctl_args *args)
{
	json_t *result;

	if (ctl_args_next(args) != 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 0)
		return ctl_usage(args, "stats takes no words");
	int rc = ctl_call(ctl, "stats.get", NULL, &result);

	if (rc != 0)
		return rc;
	if (ctl->json)
		ctl_print_json(result);
	else
		print_members(result, "");
	json_decref(result);
	return 0;
}
