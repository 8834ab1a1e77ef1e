/* See outcome.h. */
#include "ctl/outcome.h"

#include <stdlib.h>
#include <string.h>

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static int
spawn_failed_status(const json_t *error)
{
	if (strcmp(text_of(error, "step"), "exec") == 0 &&
	    strcmp(text_of(error, "errno"), "ENOENT") == 0)
		return OUTCOME_EXIT_NOT_FOUND;
	return OUTCOME_EXIT_CANNOT_EXECUTE;
}

int
outcome_exit_status(const json_t *job)
{
	struct slot_completion c;

	if (slot_completion_read(&c, job) != 0)
		return OUTCOME_EXIT_UNCLEAR;
	switch (c.outcome) {
	case SLOT_OUTCOME_EXITED:
		return c.exit_code;
	case SLOT_OUTCOME_SIGNALED:
		return OUTCOME_EXIT_SIGNAL + c.signal;
	case SLOT_OUTCOME_TIMED_OUT:
		return OUTCOME_EXIT_TIMED_OUT;
	case SLOT_OUTCOME_SPAWN_FAILED:
		return spawn_failed_status(json_object_get(job, "error"));
	case SLOT_OUTCOME_CANCELLED:
	case SLOT_OUTCOME_LOST:
	case SLOT_OUTCOME_DEPENDENCY_FAILED:
	case SLOT_OUTCOME_OTHER:
		break;
	}
	return OUTCOME_EXIT_UNCLEAR;
}

static void
explain_spawn_failed(const json_t *job)
{
	const json_t *error = json_object_get(job, "error");
	const json_t *word = json_array_get(json_object_get(job, "argv"), 0);
	char *command = slot_json_to_bytes(word, NULL);
	const char *step = text_of(error, "step"), *message = text_of(error, "message");

	if (message[0] == '\0')
		message = text_of(error, "errno");
	if (strcmp(step, "exec") == 0)
		ctl_note("%s: %s", command != NULL ? command : "?", message);
	else
		ctl_note("%s: could not be started: %s: %s", command != NULL ? command : "?",
		    step, message);
	free(command);
}

/* The values of `reason` that say more than the outcome. */
static const struct {
	const char *reason, *text;
} reasons[] = {
	{ "stdin_lost", "the daemon was restarted before the end of its input" },
	{ "fd_lost", "the daemon was restarted before it could start" },
	{ "session_ended", "the connection that it was bound to ended" },
	{ "shutdown", "the daemon was shut down" },
	{ "launcher_died", "what starts jobs died" },
	{ "reboot", "the machine was restarted" },
};

/* ": why", or nothing. */
static const char *
reason_text(const json_t *job, char *buf, size_t size)
{
	const char *reason = text_of(job, "reason");

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (strcmp(reasons[i].reason, reason) == 0)
			snprintf(buf, size, ": %s (%s)", reasons[i].text, reason);
	}
	return buf;
}

void
outcome_explain(const json_t *job)
{
	long long id = json_integer_value(json_object_get(job, "job"));
	struct slot_completion c;
	char why[128];

	if (slot_completion_read(&c, job) != 0)
		return;
	switch (c.outcome) {
	case SLOT_OUTCOME_EXITED:
	case SLOT_OUTCOME_SIGNALED:
		break;
	case SLOT_OUTCOME_TIMED_OUT:
		ctl_note("job %lld ran out of time", id);
		break;
	case SLOT_OUTCOME_CANCELLED:
		ctl_note("job %lld was cancelled%s", id, reason_text(job, why, sizeof(why)));
		break;
	case SLOT_OUTCOME_SPAWN_FAILED:
		explain_spawn_failed(job);
		break;
	case SLOT_OUTCOME_LOST:
		ctl_note("job %lld is lost, it may have run%s", id,
		    reason_text(job, why, sizeof(why)));
		break;
	case SLOT_OUTCOME_DEPENDENCY_FAILED:
		ctl_note("job %lld was not run: a job that it comes after was not ok", id);
		break;
	case SLOT_OUTCOME_OTHER:
		ctl_note("job %lld: %s", id, c.outcome_name);
		break;
	}
}
