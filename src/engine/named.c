/* The jobs that a request names; see named.h. */
#include "engine/named.h"

#include "engine/load.h"

#include <stdlib.h>

struct row *
named_row(const struct slot_future *f)
{
	return job_of_future(f)->row;
}

void
named_free(struct named_jobs *jobs)
{
	for (size_t i = 0; i < jobs->n; i++)
		slot_future_unref(jobs->v[i]);
	free(jobs->v);
	*jobs = (struct named_jobs){ 0 };
}

int
named_get(struct request *req, const struct msg_int_list *ids, struct named_jobs *jobs)
{
	struct engine *e = req->engine;

	*jobs = (struct named_jobs){ 0 };
	if (!load_jobs(req, ids->v, ids->n) || !request_rows(req, ids) ||
	    !request_watch(req, ids->n))
		return -1;
	jobs->v = calloc(ids->n, sizeof(struct slot_future *));
	if (jobs->v == NULL) {
		request_no_memory(req);
		return -1;
	}
	for (size_t i = 0; i < ids->n; i++) {
		struct row *row = e->store->ops->find(e->store, (uint64_t)ids->v[i]);
		struct job *job = request_job(e, row);

		if (job == NULL) {
			named_free(jobs);
			request_no_memory(req);
			return -1;
		}
		jobs->v[jobs->n++] = &job->action.future;
	}
	return 0;
}

int
named_by_seq(const void *a, const void *b)
{
	const struct row *x = named_row(*(struct slot_future *const *)a);
	const struct row *y = named_row(*(struct slot_future *const *)b);
	uint64_t sx = x->phase == ROW_DONE ? x->run->seq : UINT64_MAX;
	uint64_t sy = y->phase == ROW_DONE ? y->run->seq : UINT64_MAX;

	if (sx != sy)
		return sx < sy ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}
