/*
 * Futures of jobs: made by submit and attach, kept by job until they settle, cancelled. Which
 * stream tells how a job ends is told.c's matter; each job knows which one will.
 */
#include <stdlib.h>
#include <string.h>

#include <slot/executor.h>

#include "client/job.h"

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

void
client_job_fail(struct client_job *job, int code, const struct slot_rpc_error *error)
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
		client_job_fail(job, -SLOT_EPROTOCOL, NULL);
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
client_job_settle(struct slot_client *c, uint64_t id, json_t *object)
{
	chain_complete(table_remove(&c->jobs, id), object);
}

void
client_jobs_completed(struct slot_client *c, json_t *object)
{
	json_int_t id = json_integer_value(json_object_get(object, "job"));

	client_job_settle(c, (uint64_t)id, object);
}

void
client_job_chain_fail(struct client_job *job, int code, const struct slot_rpc_error *error)
{
	while (job != NULL) {
		struct client_job *next = job->next;

		job->next = NULL;
		client_job_fail(job, code, error);
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
			client_job_chain_fail(jobs.entries[i].value, code, error);
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

struct client_job *
client_jobs_take(struct slot_client *c, uint64_t stream)
{
	struct relying out = { .stream = stream };

	table_sift(&c->jobs, sort_out, &out);
	return out.jobs;
}

struct client_job *
client_job_take(struct slot_client *c, uint64_t id, uint64_t stream)
{
	struct relying out = { .stream = stream };
	struct client_job *chain = table_get(&c->jobs, id), *left;

	if (chain == NULL)
		return NULL;
	left = sort_out(chain, &out);
	if (left != NULL)
		table_put(&c->jobs, id, left); /* replaces: can't fail */
	else
		table_remove(&c->jobs, id);
	return out.jobs;
}

int
client_job_watch(struct slot_client *c, struct client_job *job, uint64_t id)
{
	job->id = id;
	job->next = table_get(&c->jobs, id);
	int rc = table_put(&c->jobs, id, job);

	if (rc != 0)
		job->next = NULL;
	return rc;
}

void
client_job_unwatch(struct slot_client *c, struct client_job *job)
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
		rc = client_job_watch(c, job, (uint64_t)id);
	bool subscribed = c->completions != NULL && slot_stream_id(c->completions) == job->told_by;

	/* The subscription never tells of what ended before it: a job found by its key may have. */
	if (rc == 0 && (!subscribed || (phase != NULL && strcmp(phase, "done") == 0))) {
		rc = client_ask_for(c, &job, 1);
		if (rc != 0)
			client_job_unwatch(c, job);
	}
	if (rc != 0)
		client_job_fail(job, rc, NULL);
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
	client_job_fail(job, code, error);
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
	int rc = job != NULL ? client_subscribe(c) : -SLOT_ENOMEM;

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
			rc = job != NULL ? client_job_watch(c, job, jobs[watched]) : -SLOT_ENOMEM;
		if (rc == 0)
			made[watched++] = job;
		else if (job != NULL)
			slot_future_unref(&job->future);
	}
	if (rc == 0)
		rc = client_ask_for(c, made, n);
	for (size_t i = 0; i < watched; i++) {
		if (rc == 0) {
			futures[i] = slot_future_ref(&made[i]->future);
			continue;
		}
		client_job_unwatch(c, made[i]);
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
