/*
 * The streams that tell how jobs end. All jobs submitted through one client share one
 * completions.subscribe, opened ahead of the first submit, so that a completion costs one look-up
 * by job. Jobs that exist already (attach, or a key that was used before) are asked for with
 * futures.as_completed, which also tells of those that ended long ago.
 *
 * A stream never speaks of a job before its submit was answered, so no completion has to be
 * kept for a job that is not known yet. Where the subscription ended before the answer came, the
 * job is asked for, too. Where the subscription fell behind what history keeps, another begins,
 * and each job that is left is asked for once.
 */
#include <stdlib.h>
#include <string.h>

#include "client/job.h"

/* Asks for as much output as the options want. 0 or -SLOT_ENOMEM. */
static int
want_output(const struct slot_client *c, json_t *params)
{
	size_t n = c->options.with_output;

	return n == 0 || json_object_set_new(params, "with_output", json_integer((json_int_t)n)) == 0
	    ? 0 : -SLOT_ENOMEM;
}

/* ---- the streams that tell of completions ---- */

static void
on_completion(struct slot_stream *s, const json_t *item, void *arg)
{
	struct slot_client *c = arg;
	json_int_t seq = json_integer_value(json_object_get(item, "seq"));

	(void)s;
	/* This stream alone has no holes: what futures.as_completed tells of may lie ahead of
	 * completions that are still to come. */
	if (seq > 0 && (uint64_t)seq > c->seq)
		c->seq = (uint64_t)seq;
	client_jobs_completed(c, (json_t *)(uintptr_t)item);
}

static void on_completions_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error, void *arg);

static const struct slot_stream_handlers completions_handlers = {
	.item = on_completion,
	.end = on_completions_end,
};

int
client_subscribe(struct slot_client *c)
{
	if (c->completions != NULL)
		return 0;
	json_t *params = json_object();
	int rc = params != NULL ? want_output(c, params) : -SLOT_ENOMEM;

	if (rc != 0) {
		json_decref(params);
		return rc;
	}
	c->completions = client_stream(c, "completions.subscribe", params,
	    &completions_handlers, c, &rc);
	return c->completions != NULL ? 0 : rc;
}

/* ---- the subscription fell behind ---- */

/* How did this job end? Asked once, when a new subscription is there to tell if it has not. */
struct question {
	struct client_request request; /* first */
	struct slot_client *client;
	uint64_t job;
	uint64_t stream; /* the new one: who relies on another by now has asked again */
};

static void
question_result(struct client_request *r, json_t *result)
{
	struct question *q = (struct question *)r;

	client_job_settle(q->client, q->job, result);
	free(q);
}

static void
question_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	static const struct slot_rpc_error gone = { .code = 1009, .kind = "HistoryTruncated",
		.message = "how the job ended is not in history any more" };
	struct question *q = (struct question *)r;
	bool remote = code == -SLOT_EREMOTE;
	struct client_job *lost = NULL;

	/* InvalidState: it goes on. What ends all jobs has ended this one. */
	if ((remote && strcmp(error->kind, "InvalidState") != 0) || code == -SLOT_ENOMEM)
		lost = client_job_take(q->client, q->job, q->stream);
	if (remote && strcmp(error->kind, "NoSuchJob") == 0)
		error = &gone;
	client_job_chain_fail(lost, code, error);
	free(q);
}

/* One for each job at most, as with cancel_ops. */
static const struct client_request_ops question_ops = {
	.result = question_result,
	.error = question_error,
	.urgent = true,
};

static int
ask_once(struct slot_client *c, const struct client_job *job)
{
	json_t *params = json_pack("{s:I}", "job", (json_int_t)job->id);
	struct question *q = calloc(1, sizeof(*q));
	int rc = params != NULL && q != NULL ? 0 : -SLOT_ENOMEM;

	if (rc == 0)
		rc = want_output(c, params);
	if (rc == 0)
		rc = client_open(c, &q->request, &question_ops, "job.result", params, NULL, 0);
	json_decref(params);
	if (rc != 0) {
		free(q);
		return rc;
	}
	q->client = c;
	q->job = job->id;
	q->stream = job->told_by;
	return 0;
}

/* Jobs that were taken out of the table rely on the new subscription. */
static void
rely_anew(struct slot_client *c, struct client_job *jobs)
{
	for (struct client_job *job = jobs, *next; job != NULL; job = next) {
		next = job->next;
		job->told_by = slot_stream_id(c->completions);
		int rc = client_job_watch(c, job, job->id);

		if (rc == 0) {
			rc = ask_once(c, job);
			if (rc != 0)
				client_job_unwatch(c, job);
		}
		if (rc != 0)
			client_job_fail(job, rc, NULL);
	}
}

static void
on_completions_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error, void *arg)
{
	struct slot_client *c = arg;
	struct client_job *jobs = client_jobs_take(c, slot_stream_id(s));

	(void)result;
	if (c->completions == s)
		c->completions = NULL;
	if (jobs != NULL && code == -SLOT_EREMOTE &&
	    strcmp(error->kind, "HistoryTruncated") == 0 && client_subscribe(c) == 0)
		rely_anew(c, jobs);
	else
		client_job_chain_fail(jobs, code != 0 ? code : -SLOT_EPROTOCOL, error);
	slot_stream_free(s);
}

/* ---- jobs that exist already ---- */

/* One futures.as_completed and the futures it is for, which its failure is for as well. */
struct attach {
	struct slot_client *client;
	size_t n;
	struct client_job *jobs[]; /* a reference to each */
};

static void
attach_free(struct attach *a)
{
	for (size_t i = 0; i < a->n; i++)
		slot_future_unref(&a->jobs[i]->future);
	free(a);
}

static void
on_attach_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error, void *arg)
{
	struct attach *a = arg;

	(void)result;
	slot_stream_free(s);
	for (size_t i = 0; i < a->n; i++) {
		if (a->jobs[i]->client == NULL) /* settled */
			continue;
		client_job_unwatch(a->client, a->jobs[i]);
		client_job_fail(a->jobs[i], code != 0 ? code : -SLOT_EPROTOCOL, error);
	}
	attach_free(a);
}

static void
on_attach_item(struct slot_stream *s, const json_t *item, void *arg)
{
	struct attach *a = arg;

	(void)s;
	client_jobs_completed(a->client, (json_t *)(uintptr_t)item);
}

static const struct slot_stream_handlers attach_handlers = {
	.item = on_attach_item,
	.end = on_attach_end,
};

static json_t *
attach_params(const struct attach *a)
{
	json_t *params = json_object();
	json_t *ids = json_array();
	int rc = params != NULL ? json_object_set(params, "jobs", ids) : -1;

	for (size_t i = 0; rc == 0 && i < a->n; i++)
		rc = json_array_append_new(ids, json_integer((json_int_t)a->jobs[i]->id));
	if (rc == 0)
		rc = want_output(a->client, params);
	json_decref(ids);
	if (rc == 0)
		return params;
	json_decref(params);
	return NULL;
}

int
client_ask_for(struct slot_client *c, struct client_job *const *jobs, size_t n)
{
	struct attach *a = malloc(sizeof(*a) + n * sizeof(a->jobs[0]));
	int rc = -SLOT_ENOMEM;

	if (a == NULL)
		return rc;
	a->client = c;
	a->n = n;
	for (size_t i = 0; i < n; i++) {
		a->jobs[i] = jobs[i];
		slot_future_ref(&jobs[i]->future);
	}
	json_t *params = attach_params(a);
	struct slot_stream *s = params != NULL ? client_stream(c, "futures.as_completed", params,
						     &attach_handlers, a, &rc) : NULL;

	if (s == NULL) {
		attach_free(a);
		return rc;
	}
	for (size_t i = 0; i < n; i++)
		jobs[i]->told_by = slot_stream_id(s);
	return 0;
}
