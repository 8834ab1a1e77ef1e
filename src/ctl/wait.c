/* wait: jobs as they finish, until the last, the first, or the first that is not ok. */
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"

enum { WAIT_MINE = CTL_OPTION_VERB, WAIT_ANY, WAIT_FIRST_FAIL, WAIT_ALL, WAIT_TIMEOUT };

const struct ctl_option wait_options[] = {
	{ 'q', "queue", "QUEUE", "the unfinished jobs of this queue" },
	{ WAIT_MINE, "mine", NULL, "one's own unfinished jobs" },
	{ WAIT_ANY, "any", NULL, "until one has finished" },
	{ WAIT_FIRST_FAIL, "first-fail", NULL, "until one is not ok, or all have finished" },
	{ WAIT_ALL, "all", NULL, "until all have finished (the default)" },
	{ WAIT_TIMEOUT, "timeout", "T", "no longer than T; then exit 124" },
	{ 0 },
};

struct waiting {
	const char *queue;
	bool mine, any, first_fail;
	int64_t timeout_ms; /* -1: none */
	bool not_ok;        /* one was not */
};

static int
take_options(struct ctl_args *args, struct waiting *w)
{
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		switch (option) {
		case 'q':
			w->queue = args->value;
			break;
		case WAIT_MINE:
			w->mine = true;
			break;
		case WAIT_ANY:
			w->any = true;
			break;
		case WAIT_FIRST_FAIL:
			w->first_fail = true;
			break;
		case WAIT_ALL:
			w->any = w->first_fail = false;
			break;
		case WAIT_TIMEOUT:
			if (ctl_duration(args->value, &w->timeout_ms) != 0)
				return ctl_usage(args, "\"%s\" is no time", args->value);
			break;
		}
	}
	return option;
}

/* The ids of the unfinished jobs that the flags mean, page by page. */
static int
find_jobs(struct ctl *ctl, const struct waiting *w, const char *phase, json_t *ids)
{
	json_t *cursor = NULL, *page, *job;
	size_t i;
	int rc = ctl_connect(ctl);

	if (rc != 0)
		return rc;
	do {
		json_t *params = json_pack("{s:s, s:i, s:s, s:s*, s:o*}", "phase", phase, "limit",
		    500, "order", "asc", "queue", w->queue, "cursor", cursor);

		if (w->mine)
			json_object_set(params, "uid",
			    json_object_get(slot_client_hello(ctl->client), "uid"));
		rc = ctl_call(ctl, "job.list", params, &page);
		if (rc != 0)
			return rc;
		json_array_foreach(json_object_get(page, "jobs"), i, job)
			json_array_append(ids, json_object_get(job, "job"));
		cursor = json_incref(json_object_get(page, "next"));
		json_decref(page);
		if (json_is_null(cursor)) {
			json_decref(cursor);
			cursor = NULL;
		}
	} while (cursor != NULL);
	return 0;
}

static bool
on_item(struct ctl *ctl, json_t *item, void *arg)
{
	struct waiting *w = arg;
	bool ok = json_is_true(json_object_get(item, "ok"));

	ctl_print_completion(ctl, item);
	w->not_ok |= !ok;
	return ctl_flush() && !w->any && !(w->first_fail && !ok);
}

int
cmd_wait(struct ctl *ctl, struct ctl_args *args)
{
	struct waiting w = { .timeout_ms = -1 };
	int rc = take_options(args, &w);

	if (rc != 0)
		return CTL_EXIT_FAILURE;
	json_t *ids = ctl_ids_of(args, 0);

	if (ids == NULL)
		return CTL_EXIT_FAILURE;
	if (args->argc == 0 || w.queue != NULL || w.mine) {
		rc = find_jobs(ctl, &w, "running", ids);
		if (rc == 0)
			rc = find_jobs(ctl, &w, "pending", ids);
	}
	if (rc == 0 && json_array_size(ids) > 0) {
		json_t *params = json_pack("{s:O}", "jobs", ids);

		if (w.timeout_ms >= 0)
			json_object_set_new(params, "timeout_ms", json_integer(w.timeout_ms));
		rc = ctl_stream(ctl, "futures.as_completed", params, on_item, &w, NULL);
	}
	json_decref(ids);
	return rc == 0 && w.not_ok ? CTL_EXIT_NOT_OK : rc;
}
