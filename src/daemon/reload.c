/*
 * SIGHUP and admin.reload.
 */
#include "daemon/reload.h"

#include <stdlib.h>
#include <string.h>

static void
forget(struct reload *r)
{
	for (size_t i = 0; i < r->nnames; i++)
		free(r->names[i]);
	free(r->names);
	r->names = NULL;
	r->nnames = 0;
	config_report_fini(&r->report);
}

static int
add_name(struct reload *r, const char *name)
{
	char **names = realloc(r->names, (r->nnames + 2) * sizeof(*names));

	if (names == NULL)
		return -1;
	r->names = names;
	names[r->nnames] = name != NULL ? strdup(name) : NULL;
	if (names[r->nnames] != NULL)
		r->nnames++;
	names[r->nnames] = NULL;
	return 0;
}

static void
on_change(const struct config_change *change, void *arg)
{
	struct reload *r = arg;

	if (!change->applied) {
		slot_log(r->logger, SLOT_LOG_WARN,
		    "setting needs a restart name=%s value=%s wanted=%s", change->name,
		    change->from, change->to);
		return;
	}
	slot_log(r->logger, SLOT_LOG_INFO, "setting changed name=%s from=%s to=%s", change->name,
	    change->from, change->to);
	add_name(r, change->name);
}

/* One log line for each line of the report. */
static void
log_report(struct reload *r)
{
	const char *line = r->report.text;

	while (line != NULL && *line != '\0') {
		size_t len = strcspn(line, "\n");

		slot_log(r->logger, SLOT_LOG_ERROR, "reload refused: %.*s", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

static const char *const *
refuse(struct reload *r, const char **error)
{
	size_t len = r->report.len;

	log_report(r);
	if (len > 0)
		r->report.text[len - 1] = '\0';
	if (error != NULL)
		*error = len > 0 ? r->report.text : "out of memory";
	return NULL;
}

const char *const *
reload_run(struct reload *r, const char **error)
{
	struct config next;
	int result;

	forget(r);
	result = options_load_config(r->options, &next, &r->report);
	if (result == 0 && r->report.errors == 0 && add_name(r, NULL) == 0) {
		result = config_reload(r->config, &next, on_change, r);
		r->on_reloaded(r->arg);
	} else {
		result = -1;
	}
	config_fini(&next);
	if (result != 0)
		return refuse(r, error);
	slot_log(r->logger, SLOT_LOG_INFO, "reloaded changed=%zu", r->nnames);
	return (const char *const *)r->names;
}

void
reload_fini(struct reload *r)
{
	forget(r);
}
