/* Calls and streams that are waited for, and what their failures say. */
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

/* ---- failures ---- */

/* What the data of some errors adds for people. */
static void
explain(const struct slot_rpc_error *error, char *buf, size_t size)
{
	const json_t *remaining = json_object_get(error->data, "remaining");
	const json_t *job = json_object_get(error->data, "job");
	char outcome[64];

	buf[0] = '\0';
	if (strcmp(error->kind, "HistoryTruncated") == 0) {
		snprintf(buf, size, "; seq %" JSON_INTEGER_FORMAT " is the oldest still known",
		    json_integer_value(json_object_get(error->data, "oldest")));
	} else if (json_is_array(remaining)) {
		snprintf(buf, size, ", %zu not done", json_array_size(remaining));
	} else if (json_is_integer(job) && json_object_get(error->data, "outcome") != NULL) {
		ctl_outcome_text(error->data, outcome, sizeof(outcome));
		snprintf(buf, size, ": job %" JSON_INTEGER_FORMAT " %s", json_integer_value(job),
		    outcome);
	}
}

int
ctl_rpc_failure(const struct ctl *ctl, int code, const struct slot_rpc_error *error)
{
	char more[128];

	if (error == NULL && code == -SLOT_ECLOSED)
		return ctl_error("%s", ctl->disconnect_why[0] != '\0'
			? ctl->disconnect_why : "the daemon closed the connection");
	if (error == NULL)
		return ctl_error("%s%s%s", slot_strerror(code),
		    ctl->disconnect_why[0] != '\0' ? ": " : "", ctl->disconnect_why);
	explain(error, more, sizeof(more));
	ctl_error("%s%s (%s)", error->message, more, error->kind[0] != '\0' ? error->kind : "?");
	if (strcmp(error->kind, "Timeout") == 0)
		return CTL_EXIT_TIMEOUT;
	if (strcmp(error->kind, "JobFailed") == 0 || strcmp(error->kind, "JobCancelled") == 0)
		return CTL_EXIT_NOT_OK;
	return CTL_EXIT_FAILURE;
}

int
ctl_failure(const struct ctl *ctl, const struct slot_future *f)
{
	const struct slot_rpc_error *error = slot_rpc_error(f);
	int code = 0;

	if (slot_future_exception(f, &code, NULL) == -SLOT_ECANCELLED)
		code = -SLOT_ECANCELLED;
	return ctl_rpc_failure(ctl, code, error);
}

/* ---- calls ---- */

int
ctl_run_until(struct ctl *ctl, struct slot_future *f, int64_t timeout_ms)
{
	return slot_client_run(ctl->client, f, timeout_ms);
}

int
ctl_call_future(struct ctl *ctl, const char *method, json_t *params, struct slot_future **f)
{
	int rc = 0;

	*f = slot_client_call(ctl->client, method, params, &rc);
	if (*f == NULL)
		return rc;
	rc = ctl_run_until(ctl, *f, -1);
	if (rc == 0)
		rc = slot_future_result(*f, NULL);
	return rc;
}

int
ctl_call(struct ctl *ctl, const char *method, json_t *params, json_t **result)
{
	struct slot_future *f = NULL;
	void *value = NULL;
	int rc = ctl_connect(ctl);

	if (result != NULL)
		*result = NULL;
	if (rc != 0) {
		json_decref(params);
		return rc;
	}
	rc = ctl_call_future(ctl, method, params, &f);
	if (rc == 0 && result != NULL && slot_future_result(f, &value) == 0)
		*result = json_incref(value);
	if (rc == -SLOT_EINVAL)
		rc = ctl_error("the request would be longer than 1 MiB");
	else if (rc != 0)
		rc = f != NULL && slot_future_done(f) ? ctl_failure(ctl, f)
						      : ctl_rpc_failure(ctl, rc, NULL);
	slot_future_unref(f);
	return rc;
}

/* ---- streams ---- */

struct reading {
	struct ctl *ctl;
	struct slot_future *over; /* settled with the end */
	ctl_item_fn item;
	void *arg;
	json_t *result;
	int status;
	bool stopped; /* by item */
};

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	struct reading *r = arg;
	json_t *own = (json_t *)(uintptr_t)item;

	if (r->stopped)
		return;
	json_object_del(own, "stream");
	json_object_del(own, "n");
	if (r->item(r->ctl, own, r->arg))
		return;
	r->stopped = true;
	slot_stream_cancel(s);
}

static void
on_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	json_int_t dropped = json_integer_value(json_object_get(gap, "dropped"));

	(void)s;
	(void)arg;
	if (dropped > 0)
		ctl_note("%" JSON_INTEGER_FORMAT " items were left out", dropped);
	else
		ctl_note("items may have been left out while the daemon was restarted");
}

static void
on_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error, void *arg)
{
	struct reading *r = arg;

	(void)s;
	if (code == 0)
		r->result = r->stopped ? NULL : json_incref((json_t *)(uintptr_t)result);
	else if (!r->stopped)
		r->status = ctl_rpc_failure(r->ctl, code, error);
	slot_future_set_result(r->over, NULL, NULL);
}

int
ctl_stream(struct ctl *ctl, const char *method, json_t *params, ctl_item_fn item, void *arg,
    json_t **result)
{
	const struct slot_stream_handlers handlers = { .item = on_item, .gap = on_gap,
		.end = on_end };
	struct reading r = { .ctl = ctl, .item = item, .arg = arg };
	int rc = ctl_connect(ctl);

	if (result != NULL)
		*result = NULL;
	if (rc != 0) {
		json_decref(params);
		return rc;
	}
	r.over = slot_future_new(ctl->loop);
	struct slot_stream *s = NULL;

	if (r.over != NULL) {
		s = slot_client_stream(ctl->client, method, params, &handlers, &r, &rc);
	} else {
		json_decref(params);
		rc = -SLOT_ENOMEM;
	}
	if (s == NULL)
		r.status = ctl_rpc_failure(ctl, rc, NULL);
	else if ((rc = ctl_run_until(ctl, r.over, -1)) != 0)
		r.status = ctl_rpc_failure(ctl, rc, NULL);
	slot_stream_free(s);
	slot_future_unref(r.over);
	if (result != NULL)
		*result = r.result;
	else
		json_decref(r.result);
	return r.status;
}
