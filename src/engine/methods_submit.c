/* job.submit and job.submit_batch. */
#include "engine/methods.h"
#include "engine/submit.h"

#include <stdlib.h>

static enum msg_phase
phase_of(const struct engine *e, int64_t id)
{
	const struct row *row = e->store->ops->find(e->store, (uint64_t)id);

	return row != NULL ? (enum msg_phase)row->phase : MSG_PHASE_DONE;
}

/* True: all were taken. Else the request was answered, or `again` handles it once more when it can
 * go on. */
static bool
try_submit(struct submit *sub, request_handler again)
{
	struct rpc_failure why = { 0 };

	switch (submit_all(sub, &why)) {
	case SUBMIT_DONE:
		return true;
	case SUBMIT_SUSPENDED:
		return false;
	case SUBMIT_REFUSED:
		request_fail(sub->req, &why);
		return false;
	case SUBMIT_FULL:
		if (sub->on_full == MSG_ON_FULL_WAIT)
			submit_hold(sub->req, again);
		else
			submit_answer_full(sub->req);
		return false;
	}
	return false;
}

static void
on_submit(struct request *req)
{
	const struct msg_spec *spec = &req->call.u.job_submit;
	int64_t id = 0;
	struct submit sub = { .req = req, .specs = spec, .n = 1, .on_full = spec->on_full,
		.ids = &id };
	struct msg_submit_result result;

	if (!try_submit(&sub, on_submit))
		return;
	result.job = id;
	result.phase = phase_of(req->engine, id);
	result.existing = sub.existing;
	request_reply(req, &result);
}

static void
on_submit_batch(struct request *req)
{
	const struct msg_job_submit_batch *p = &req->call.u.job_submit_batch;
	int64_t ids[MSG_BATCH_MAX];
	struct submit sub = { .req = req, .specs = p->jobs.v, .n = p->jobs.n,
		.batch = true, .on_full = p->on_full, .ids = ids };
	struct msg_jobs_result result = { .jobs = { ids, p->jobs.n } };

	if (try_submit(&sub, on_submit_batch))
		request_reply(req, &result);
}

const struct request_method methods_submit[] = {
	{ M_JOB_SUBMIT, on_submit },
	{ M_JOB_SUBMIT_BATCH, on_submit_batch },
	{ 0, NULL },
};
