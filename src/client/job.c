/*
 * Futures of jobs. All jobs submitted through one client share one completions.subscribe, opened
 * ahead of the first submit, so that a completion costs one look-up by job. Jobs that exist
 * already (attach, or a key that was used before) are asked for with futures.as_completed,
 * which also tells of those that ended long ago.
 *
 * A stream never speaks of a job before its submit was answered, so no completion has to be
 * kept for a job that is not known yet. Each job knows which stream will tell of it: where the
 * subscription ended before the answer came, the job is asked for, too. Where the subscription fell
 * behind what history keeps, another begins, and each job that is left is asked for once.
 */
#include <stdlib.h>
#include <string.h>

#include <slot/executor.h>

#include "client/client.h"

struct client_job {
	struct slot_future future; /* first */
	struct client_request submit;
	struct slot_client *client; /* while the job is in its table or its submit is open */
	struct client_job *next;    /* another future of the same job */
	uint64_t id;                /* 0 until the daemon has answered */
	uint64_t told_by;           /* the stream that will tell how it ends */
	struct slot_completion completion;
	json_t *object; /* what completion borrows from */
	bool cancel_asked;
	bool completed;
};

static bool job_cancel(struct slot_future *f);
static void job_destroy(struct slot_future *f);

static const struct slot_future_ops job_future_ops = {
	.cancel = job_cancel,
	.destroy = job_destroy,
};

bool
client_future_is_job(const struct slot_future *f)
{
	return f->ops == &job_future_ops;
}

static struct client_job *
job_of(struct client_request *r)
{
	return (struct client_job *)((char *)r - offsetof(struct client_job, submit));
}

static void
job_destroy(struct slot_future *f)
{
	struct client_job *job = (struct client_job *)f;

	json_decref(job->object);
	free(job);
}

static struct client_job *
job_new(struct slot_client *c)
{
	struct client_job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	slot_future_init(&job->future, c->loop, &job_future_ops);
	job->client = c;
	return job;
}

/* ---- how it ends ---- */

static void
job_fail(struct client_job *job, int code, const struct slot_rpc_error *error)
{
	job->client = NULL;
	client_future_fail(&job->future, code, error);
	slot_future_unref(&job->future);
}

static void
job_complete(struct client_job *job, json_t *object)
{
	/* An attempt that failed reads as a completion, too; the end of a job has both of these. */
	if (slot_completion_read(&job->completion, object) != 0 || job->completion.seq == 0 ||
	    !json_is_boolean(json_object_get(object, "ok"))) {
		job_fail(job, -SLOT_EPROTOCOL, NULL);
		return;
	}
	job->client = NULL;
	job->object = json_incref(object);
	job->completed = true;
	if (job->completion.ok)
		slot_future_set_result(&job->future, &job->completion, NULL);
	else if (job->completion.outcome == SLOT_OUTCOME_CANCELLED)
		slot_future_set_cancelled(&job->future);
	else
		slot_future_set_exception(&job->future, -SLOT_EFAILED, &job->completion, NULL);
	slot_future_unref(&job->future);
}

/* All futures of one job, which is out of the table. */
static void
chain_complete(struct client_job *job, json_t *object)
{
	while (job != NULL) {
		struct client_job *next = job->next;

		job->next = NULL;
		job_complete(job, object);
		job = next;
	}
}

void
client_jobs_completed(struct slot_client *c, json_t *object)
{
	json_int_t id = json_integer_value(json_object_get(object, "job"));

	chain_complete(table_remove(&c->jobs, (uint64_t)id), object);
}

static void
chain_fail(struct client_job *job, int code, const struct slot_rpc_error *error)
{
	while (job != NULL) {
		struct client_job *next = job->next;

		job->next = NULL;
		job_fail(job, code, error);
		job = next;
	}
}

void
client_jobs_fail(struct slot_client *c, int code, const struct slot_rpc_error *error)
{
	struct table jobs = c->jobs;

	c->jobs = (struct table){ 0 };
	for (size_t i = 0; i < jobs.cap; i++) {
		if (jobs.entries[i].key != 0)
			chain_fail(jobs.entries[i].value, code, error);
	}
	table_fini(&jobs);
}

struct relying {
	uint64_t stream;
	struct client_job *jobs; /* taken out of the table */
};

/* Of the futures of one job: those that rely on the stream are taken out. */
static void *
sort_out(void *chain, void *arg)
{
	struct relying *out = arg;
	struct client_job *kept = NULL, **last = &kept;

	for (struct client_job *job = chain, *next; job != NULL; job = next) {
		next = job->next;
		if (job->told_by == out->stream) {
			job->next = out->jobs;
			out->jobs = job;
		} else {
			job->next = NULL;
			*last = job;
			last = &job->next;
		}
	}
	return kept;
}

/* Enters a job under its id; the table's reference is the one the caller held. */
static int
job_watch(struct slot_client *c, struct client_job *job, uint64_t id)
{
	job->id = id;
	job->next = table_get(&c->jobs, id);
	int rc = table_put(&c->jobs, id, job);

	if (rc != 0)
		job->next = NULL;
	return rc;
}

/* Takes one future of a job out again; its reference is the caller's then. */
static void
job_unwatch(struct slot_client *c, struct client_job *job)
{
	struct client_job *first = table_get(&c->jobs, job->id);

	if (first == job && job->next == NULL)
		table_remove(&c->jobs, job->id);
	else if (first == job)
		table_put(&c->jobs, job->id, job->next); /* replaces: can't fail */
	for (; first != NULL && first != job; first = first->next) {
		if (first->next == job)
			first->next = job->next;
	}
	job->next = NULL;
}

/* ---- cancelling ---- */

/* A job.cancel whose answer says nothing that the job's end won't. */
static void
cancel_result(struct client_request *r, json_t *result)
{
	(void)result;
	free(r);
}

static void
cancel_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	(void)code;
	(void)error;
	free(r);
}

/* One for each job at most, so it needs no room: whoever has queued too much wants it most. */
static const struct client_request_ops cancel_ops = {
	.result = cancel_result,
	.error = cancel_error,
	.urgent = true,
};

/* False: no memory. The future goes on, and may be cancelled again. */
static bool
cancel_at_daemon(struct client_job *job)
{
	json_t *params = json_pack("{s:[I]}", "jobs", (json_int_t)job->id);
	struct client_request *r = malloc(sizeof(*r));

	job->cancel_asked = params != NULL && r != NULL &&
	    client_open(job->client, r, &cancel_ops, "job.cancel", params, NULL, 0) == 0;
	json_decref(params);
	if (!job->cancel_asked)
		free(r);
	return job->cancel_asked;
}

static bool
job_cancel(struct slot_future *f)
{
	struct client_job *job = (struct client_job *)f;

	if (job->client == NULL || job->cancel_asked)
		return true;
	if (job->id != 0)
		return cancel_at_daemon(job);
	job->cancel_asked = client_cancel(&job->submit); /* held for room: no job will be made */
	return job->cancel_asked;
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

static int
subscribe(struct slot_client *c)
{
	if (c->completions != NULL)
		return 0;
	json_t *params = json_object();
	int rc = -SLOT_ENOMEM;

	if (params != NULL && c->options.with_output > 0 &&
	    json_object_set_new(params, "with_output",
		json_integer((json_int_t)c->options.with_output)) != 0) {
		json_decref(params);
		params = NULL;
	}
	if (params == NULL)
		return rc;
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

	chain_complete(table_remove(&q->client->jobs, q->job), result);
	free(q);
}

static void
question_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	static const struct slot_rpc_error gone = { .code = 1009, .kind = "HistoryTruncated",
		.message = "how the job ended is not in history any more" };
	struct question *q = (struct question *)r;
	struct relying out = { .stream = q->stream };
	bool remote = code == -SLOT_EREMOTE;
	struct client_job *chain = NULL;

	/* InvalidState: it goes on. What ends all jobs has ended this one. */
	if ((remote && strcmp(error->kind, "InvalidState") != 0) || code == -SLOT_ENOMEM)
		chain = table_get(&q->client->jobs, q->job);
	if (chain != NULL) {
		chain = sort_out(chain, &out);
		if (chain != NULL)
			table_put(&q->client->jobs, q->job, chain); /* replaces: can't fail */
		else
			table_remove(&q->client->jobs, q->job);
	}
	if (remote && strcmp(error->kind, "NoSuchJob") == 0)
		error = &gone;
	chain_fail(out.jobs, code, error);
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

	if (rc == 0 && c->options.with_output > 0 &&
	    json_object_set_new(params, "with_output",
		json_integer((json_int_t)c->options.with_output)) != 0)
		rc = -SLOT_ENOMEM;
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
		int rc = job_watch(c, job, job->id);

		if (rc == 0) {
			rc = ask_once(c, job);
			if (rc != 0)
				job_unwatch(c, job);
		}
		if (rc != 0)
			job_fail(job, rc, NULL);
	}
}

static void
on_completions_end(struct slot_stream *s, int code, const json_t *result,
    const struct slot_rpc_error *error, void *arg)
{
	struct slot_client *c = arg;
	struct relying out = { .stream = slot_stream_id(s) };

	(void)result;
	if (c->completions == s)
		c->completions = NULL;
	table_sift(&c->jobs, sort_out, &out);
	if (out.jobs != NULL && code == -SLOT_EREMOTE &&
	    strcmp(error->kind, "HistoryTruncated") == 0 && subscribe(c) == 0)
		rely_anew(c, out.jobs);
	else
		chain_fail(out.jobs, code != 0 ? code : -SLOT_EPROTOCOL, error);
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
		job_unwatch(a->client, a->jobs[i]);
		job_fail(a->jobs[i], code != 0 ? code : -SLOT_EPROTOCOL, error);
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
	size_t with_output = a->client->options.with_output;
	int rc = params != NULL ? json_object_set(params, "jobs", ids) : -1;

	for (size_t i = 0; rc == 0 && i < a->n; i++)
		rc = json_array_append_new(ids, json_integer((json_int_t)a->jobs[i]->id));
	if (rc == 0 && with_output > 0)
		rc = json_object_set_new(params, "with_output",
		    json_integer((json_int_t)with_output));
	json_decref(ids);
	if (rc == 0)
		return params;
	json_decref(params);
	return NULL;
}

/* Asks for the completions of jobs that exist already. */
static int
ask_for(struct slot_client *c, struct client_job *const *jobs, size_t n)
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

/* ---- submit ---- */

static void
submit_result(struct client_request *r, json_t *result)
{
	struct client_job *job = job_of(r);
	struct slot_client *c = job->client;
	json_int_t id = json_integer_value(json_object_get(result, "job"));
	const char *phase = json_string_value(json_object_get(result, "phase"));
	int rc = id > 0 ? 0 : -SLOT_EPROTOCOL;

	if (rc == 0)
		rc = job_watch(c, job, (uint64_t)id);
	bool subscribed = c->completions != NULL && slot_stream_id(c->completions) == job->told_by;

	/* The subscription never tells of what ended before it: a job found by its key may have. */
	if (rc == 0 && (!subscribed || (phase != NULL && strcmp(phase, "done") == 0))) {
		rc = ask_for(c, &job, 1);
		if (rc != 0)
			job_unwatch(c, job);
	}
	if (rc != 0)
		job_fail(job, rc, NULL);
	else if (job->cancel_asked)
		cancel_at_daemon(job);
}

static void
submit_error(struct client_request *r, int code, const struct slot_rpc_error *error)
{
	struct client_job *job = job_of(r);

	if (job->cancel_asked && error != NULL && strcmp(error->kind, "RequestCancelled") == 0) {
		job->client = NULL;
		slot_future_set_cancelled(&job->future);
		slot_future_unref(&job->future);
		return;
	}
	job_fail(job, code, error);
}

static const struct client_request_ops submit_ops = {
	.result = submit_result,
	.error = submit_error,
};

struct slot_future *
slot_client_submit_fds(struct slot_client *c, json_t *spec, const int *fds,
    unsigned nfds, int *error)
{
	struct client_job *job = job_new(c);
	int rc = job != NULL ? subscribe(c) : -SLOT_ENOMEM;

	if (rc == 0) {
		job->told_by = slot_stream_id(c->completions);
		rc = client_open(c, &job->submit, &submit_ops, "job.submit", spec, fds, nfds);
	}
	json_decref(spec);
	if (error != NULL)
		*error = rc;
	if (rc == 0)
		return slot_future_ref(&job->future); /* the other one is the client's */
	if (job != NULL)
		slot_future_unref(&job->future);
	return NULL;
}

struct slot_future *
slot_client_submit(struct slot_client *c, json_t *spec, int *error)
{
	return slot_client_submit_fds(c, spec, NULL, 0, error);
}

/* ---- attach ---- */

int
slot_client_attach(struct slot_client *c, const uint64_t *jobs, size_t n,
    struct slot_future **futures)
{
	struct client_job **made = calloc(n != 0 ? n : 1, sizeof(struct client_job *));
	size_t watched = 0;
	int rc = made == NULL ? -SLOT_ENOMEM : c->over ? -SLOT_ECLOSED : 0;

	if (n == 0 || n > CLIENT_JOBS_PER_ATTACH)
		rc = -SLOT_EINVAL;
	while (rc == 0 && watched < n) {
		struct client_job *job = job_new(c);

		if (jobs[watched] == 0)
			rc = -SLOT_EINVAL;
		else
			rc = job != NULL ? job_watch(c, job, jobs[watched]) : -SLOT_ENOMEM;
		if (rc == 0)
			made[watched++] = job;
		else if (job != NULL)
			slot_future_unref(&job->future);
	}
	if (rc == 0)
		rc = ask_for(c, made, n);
	for (size_t i = 0; i < watched; i++) {
		if (rc == 0) {
			futures[i] = slot_future_ref(&made[i]->future);
			continue;
		}
		job_unwatch(c, made[i]);
		slot_future_unref(&made[i]->future);
	}
	free(made);
	return rc;
}

/* ---- what is known of a job ---- */

uint64_t
slot_job_id(const struct slot_future *f)
{
	return client_future_is_job(f) ? ((const struct client_job *)f)->id : 0;
}

const struct slot_completion *
slot_job_completion(const struct slot_future *f)
{
	const struct client_job *job = (const struct client_job *)f;

	return client_future_is_job(f) && job->completed ? &job->completion : NULL;
}
