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

static void
on_submit(struct request *req)
{
	const struct msg_spec *spec = &req->call.u.job_submit;
	struct rpc_failure why = { 0 };
	int64_t id = 0;
	struct submit sub = { .req = req, .specs = spec, .n = 1, .on_full = spec->on_full,
		.ids = &id };
	struct msg_submit_result result;

	switch (submit_all(&sub, &why)) {
	case SUBMIT_SUSPENDED:
		return;
	case SUBMIT_REFUSED:
		request_fail(req, &why);
		return;
	case SUBMIT_FULL:
		if (spec->on_full == MSG_ON_FULL_WAIT)
			submit_hold(req, on_submit);
		else
			submit_answer_full(req);
		return;
	case SUBMIT_DONE:
		break;
	}
	result.job = id;
	result.phase = phase_of(req->engine, id);
	result.existing = sub.existing;
	request_reply(req, &result);
}

static void
on_submit_batch(struct request *req)
{
	const struct msg_job_submit_batch *p = &req->call.u.job_submit_batch;
	struct rpc_failure why = { 0 };
	int64_t ids[MSG_BATCH_MAX];
	struct submit sub = { .req = req, .specs = p->jobs.v, .n = p->jobs.n,
		.on_full = p->on_full, .ids = ids };
	struct msg_jobs_result result = { .jobs = { ids, p->jobs.n } };

	switch (submit_all(&sub, &why)) {
	case SUBMIT_SUSPENDED:
		return;
	case SUBMIT_REFUSED:
		request_fail(req, &why);
		return;
	case SUBMIT_FULL:
		if (p->on_full == MSG_ON_FULL_WAIT)
			submit_hold(req, on_submit_batch);
		else
			submit_answer_full(req);
		return;
	case SUBMIT_DONE:
		break;
	}
	request_reply(req, &result);
}

const struct request_method methods_submit[] = {
	{ M_JOB_SUBMIT, on_submit },
	{ M_JOB_SUBMIT_BATCH, on_submit_batch },
	{ 0, NULL },
};
