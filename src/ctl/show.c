/* show: all that is known about a job. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"

static void
print_time(int64_t us)
{
	time_t t = (time_t)(us / 1000000);
	struct tm tm;
	char text[64];

	if (localtime_r(&t, &tm) == NULL || strftime(text, sizeof(text), "%F %T", &tm) == 0)
		snprintf(text, sizeof(text), "%lld", (long long)t);
	printf("%s.%03d", text, (int)(us / 1000 % 1000));
}

static void
print_value(const char *key, const json_t *value)
{
	char *text = NULL;
	size_t len = strlen(key);

	if (json_is_integer(value) && len > 3 && strcmp(key + len - 3, "_us") == 0 &&
	    json_integer_value(value) > INT64_C(1000000000000)) {
		print_time(json_integer_value(value));
	} else if (strcmp(key, "argv") == 0) {
		text = ctl_command_text(value);
	} else {
		text = slot_json_to_bytes(value, NULL);
		if (text == NULL)
			text = json_dumps(value,
			    JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	}
	if (text != NULL)
		ctl_print_text(stdout, text, strlen(text), 0);
	free(text);
}

static void
print_members(const json_t *object, const char *prefix)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		char name[80];

		snprintf(name, sizeof(name), "%s%s", prefix, key);
		if (json_is_null(value))
			continue;
		/* Plain groups of numbers and words; a tag is shown as the JSON it is. */
		if (json_is_object(value) && prefix[0] == '\0' && strcmp(key, "tag") != 0 &&
		    json_object_get(value, "b64") == NULL) {
			snprintf(name, sizeof(name), "%s.", key);
			print_members(value, name);
			continue;
		}
		ctl_print_text(stdout, name, strlen(name), 0);
		printf("%*s", (int)(strlen(name) < 19 ? 20 - strlen(name) : 1), "");
		print_value(key, value);
		putchar('\n');
	}
}

int
cmd_show(struct ctl *ctl, struct ctl_args *args)
{
	json_t *job;
	int rc = ctl_args_next(args);

	if (rc != 0)
		return CTL_EXIT_FAILURE;
	if (args->argc == 0)
		return ctl_usage(args, "show wants a job id");
	json_t *ids = ctl_ids_of(args, 0);

	if (ids == NULL)
		return CTL_EXIT_FAILURE;
	for (size_t i = 0; rc == 0 && i < json_array_size(ids); i++) {
		rc = ctl_call(ctl, "job.get", json_pack("{s:O}", "job", json_array_get(ids, i)),
		    &job);
		if (rc != 0)
			break;
		if (i > 0 && !ctl->json)
			putchar('\n');
		if (ctl->json)
			ctl_print_json(job);
		else
			print_members(job, "");
		json_decref(job);
	}
	json_decref(ids);
	return rc;
}
