/* From specs to jobs; see submit.h. */
#include "engine/submit.h"
#include "engine/depend.h"
#include "engine/spec.h"
#include "engine/view.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_AFTER_MIN_MS 10
#define RETRY_AFTER_MAX_MS 60000
#define JOB_OVERHEAD 384 /* bytes a pending job costs besides its spec */

/* ---- what is asked for, against what there is ---- */

static int
check_state(const struct engine *e, struct rpc_failure *why)
{
	if (e->shutting_down)
		return rpc_fail(why, RPC_SHUTTING_DOWN, "the daemon is shutting down");
	if (e->drain != DRAIN_OFF)
		return rpc_fail(why, RPC_DRAINING, "the daemon is draining: no new jobs until "
		    "drain {\"mode\":\"off\"}");
	return 0;
}

static int
check_unsupported(const struct msg_spec *m, struct rpc_failure *why)
{
	const char *what = NULL;

	if (m->jobserver)
		what = "jobserver";
	else if (m->memory_max != MSG_NULL)
		what = "memory_max";
	else if (m->pids_max != MSG_NULL)
		what = "pids_max";
	if (what == NULL)
		return 0;
	rpc_fail(why, RPC_NOT_SUPPORTED, "%s is not supported by this daemon", what);
	snprintf(why->param, sizeof why->param, "%s", what);
	return -1;
}

static int
check_slots(const struct engine *e, const struct msg_spec *m, struct rpc_failure *why)
{
	const struct queue *q = queue_find(e->queues, m->queue);
	uint32_t limit;

	if (q == NULL)
		return rpc_fail_param(why, "queue", "there is no queue \"%s\" (queue.list shows "
		    "them, queue.set makes one)", m->queue);
	limit = queue_limit(q);
	if (limit != 0 && limit != QUEUE_UNLIMITED && m->slots > limit)
		return rpc_fail(why, RPC_LIMIT_EXCEEDED, "slots is %lld, but queue \"%s\" runs at "
		    "most %u", (long long)m->slots, m->queue, limit);
	if (e->limits.max_running != 0 && m->slots > e->limits.max_running)
		return rpc_fail(why, RPC_LIMIT_EXCEEDED, "slots is %lld, but max_running is %u",
		    (long long)m->slots, e->limits.max_running);
	return 0;
}

static int
check_fd(const struct submit *sub, const struct msg_stdio *io, const char *what,
    struct rpc_failure *why)
{
	const struct request *req = sub->req;

	if (io->kind != MSG_STDIO_FD)
		return 0;
	if (io->fd < 0 || (unsigned)io->fd >= req->nfds || req->fds[io->fd] < 0)
		return rpc_fail_param(why, what, "%s: descriptor %d did not come with the request "
		    "(it brought %u)", what, io->fd, req->nfds);
	return 0;
}

static int
check_fds(const struct submit *sub, const struct msg_spec *m, struct rpc_failure *why)
{
	if (m->tty && m->in.kind != MSG_STDIO_FD)
		return rpc_fail_param(why, "tty", "tty needs a terminal passed as stdin: "
		    "{\"fd\":n}");
	if (!msg_spec_has_fd(m))
		return 0;
	if (m->lifetime != MSG_LIFETIME_BOUND && sub->stream == NULL)
		return rpc_fail_param(why, "lifetime", "a job with {\"fd\":n} must be bound: its "
		    "descriptors can't outlive the session");
	if (check_fd(sub, &m->in, "stdin", why) < 0 || check_fd(sub, &m->out, "stdout", why) < 0)
		return -1;
	return check_fd(sub, &m->err, "stderr", why);
}

static int
no_such_job(const struct request *req, int64_t id, struct rpc_failure *why)
{
	rpc_fail(why, RPC_NO_SUCH_JOB, "after: no job %lld (or it is older than the history that "
	    "is kept)", (long long)id);
	snprintf(why->param, sizeof why->param, "after");
	rpc_failure_add(why, "job", id);
	(void)req;
	return -1;
}

static int
check_after(const struct submit *sub, const struct msg_spec *m, size_t index,
    struct rpc_failure *why)
{
	struct engine *e = sub->req->engine;
	const struct session *s = sub->req->session;

	for (size_t i = 0; i < m->after.n; i++) {
		int64_t id = m->after.v[i];
		const struct row *row;

		if (id < 0 && (uint64_t)-id <= index)
			continue;
		if (id < 0)
			return rpc_fail_param(why, "after", "after: %lld means job %lld of the same "
			    "batch, which does not come before this one", (long long)id,
			    (long long)-id);
		row = e->store->ops->find(e->store, (uint64_t)id);
		if (row == NULL || !view_visible(e, row, s->uid, s->admin))
			return no_such_job(sub->req, id, why);
	}
	return 0;
}

static int
check_spec(const struct submit *sub, size_t index, struct rpc_failure *why)
{
	const struct msg_spec *m = &sub->specs[index];
	const struct engine *e = sub->req->engine;

	if (check_unsupported(m, why) < 0 || check_slots(e, m, why) < 0 ||
	    check_fds(sub, m, why) < 0)
		return -1;
	return check_after(sub, m, index, why);
}

/* ---- making ---- */

struct draft { /* everything of one job that can fail, made before any job is */
	struct spec *spec;
	struct env_blob *env;
	struct row *existing;      /* under its key … */
	const struct draft *twin;  /* … or an earlier draft of the same batch */
	int fds[3];
};

static bool
makes_job(const struct draft *d)
{
	return d->existing == NULL && d->twin == NULL;
}

static void
draft_free(struct engine *e, struct draft *d)
{
	free(d->spec);
	env_unref(&e->store->envs, d->env);
	for (int i = 0; i < 3; i++)
		if (d->fds[i] >= 0)
			close(d->fds[i]);
}

static void
drafts_free(struct engine *e, struct draft *drafts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		draft_free(e, &drafts[i]);
	free(drafts);
}

/* Which job -k means: the id it will have, or has. */
static uint64_t
id_of_index(const struct submit *sub, const struct draft *drafts, size_t index)
{
	uint64_t id = sub->req->engine->store->next_id;

	if (drafts[index].existing != NULL)
		return drafts[index].existing->id;
	if (drafts[index].twin != NULL)
		return id_of_index(sub, drafts, (size_t)(drafts[index].twin - drafts));
	for (size_t i = 0; i < index; i++)
		id += makes_job(&drafts[i]);
	return id;
}

static int
out_of_memory(struct rpc_failure *why)
{
	return rpc_fail(why, RPC_INTERNAL_ERROR, "out of memory");
}

static int
draft_env(struct engine *e, const struct msg_spec *m, struct draft *d)
{
	size_t len;
	char *bytes;

	if (!m->has_env)
		return 0;
	bytes = spec_env(m, &len);
	if (bytes == NULL)
		return -1;
	d->env = env_intern(&e->store->envs, bytes, len);
	free(bytes);
	return d->env != NULL ? 0 : -1;
}

static int
draft_fds(const struct submit *sub, const struct msg_spec *m, struct draft *d)
{
	const struct msg_stdio *io[3] = { &m->in, &m->out, &m->err };

	for (int i = 0; i < 3; i++) {
		if (io[i]->kind != MSG_STDIO_FD)
			continue;
		d->fds[i] = fcntl(sub->req->fds[io[i]->fd], F_DUPFD_CLOEXEC, 0);
		if (d->fds[i] < 0)
			return -1;
	}
	return 0;
}

static bool
is_spec(const struct draft *d, const struct spec *spec, const struct env_blob *env)
{
	return env == d->env && spec->size == d->spec->size &&
	    memcmp(spec, d->spec, spec->size) == 0;
}

/* The same key further up in the batch. */
static const struct draft *
find_twin(const struct draft *drafts, const struct draft *d)
{
	const char *key = spec_at(d->spec, d->spec->key_off);

	for (const struct draft *at = drafts; at < d; at++)
		if (at->spec->key_off != 0 && at->spec->key_len == d->spec->key_len &&
		    memcmp(spec_at(at->spec, at->spec->key_off), key, d->spec->key_len) == 0)
			return at;
	return NULL;
}

/* The same (uid, key) must mean the same job. The ids in `after` may be written differently. */
static int
draft_key(const struct submit *sub, const struct msg_spec *m, const struct draft *drafts,
    struct draft *d, struct rpc_failure *why)
{
	struct engine *e = sub->req->engine;
	struct row *row;

	if (m->key == NULL)
		return 0;
	row = keys_find(&e->keys, sub->req->session->uid, m->key);
	if (row != NULL && !is_spec(d, row->spec, row->env)) {
		rpc_fail(why, RPC_KEY_CONFLICT, "key \"%s\" belongs to job %llu, which has another "
		    "spec", m->key, (unsigned long long)row->id);
		rpc_failure_add(why, "job", (int64_t)row->id);
		return -1;
	}
	d->existing = row;
	if (row != NULL || (d->twin = find_twin(drafts, d)) == NULL)
		return 0;
	if (!is_spec(d, d->twin->spec, d->twin->env))
		return rpc_fail(why, RPC_KEY_CONFLICT, "key \"%s\" stands twice in the batch, for "
		    "different specs", m->key);
	return 0;
}

static int
draft_make(const struct submit *sub, struct draft *drafts, size_t index, struct rpc_failure *why)
{
	const struct msg_spec *m = &sub->specs[index];
	struct engine *e = sub->req->engine;
	struct draft *d = &drafts[index];
	uint64_t after[MSG_AFTER_MAX];
	struct spec_context ctx = {
		.after = after,
		.nafter = m->after.n,
		.output_limit = e->limits.output_limit,
	};

	for (size_t i = 0; i < m->after.n; i++)
		after[i] = m->after.v[i] > 0 ? (uint64_t)m->after.v[i] :
		    id_of_index(sub, drafts, (size_t)(-m->after.v[i] - 1));
	d->spec = spec_build(m, &ctx);
	if (d->spec == NULL || draft_env(e, m, d) < 0)
		return out_of_memory(why);
	if (draft_fds(sub, m, d) < 0)
		return rpc_fail(why, RPC_LIMIT_EXCEEDED, "no descriptor left: %s", strerror(errno));
	return draft_key(sub, m, drafts, d, why);
}

static struct draft *
drafts_make(const struct submit *sub, struct rpc_failure *why)
{
	struct draft *drafts = calloc(sub->n, sizeof *drafts);

	if (drafts == NULL) {
		out_of_memory(why);
		return NULL;
	}
	for (size_t i = 0; i < sub->n; i++)
		drafts[i].fds[0] = drafts[i].fds[1] = drafts[i].fds[2] = -1;
	for (size_t i = 0; i < sub->n; i++)
		if (draft_make(sub, drafts, i, why) < 0) {
			drafts_free(sub->req->engine, drafts, sub->n);
			return NULL;
		}
	return drafts;
}

/* An older one of the same uid still waits for room: it goes first. */
static bool
is_behind(const struct engine *e, const struct request *req)
{
	const struct request *at;

	TAILQ_FOREACH(at, &e->held, listed) {
		if (at == req)
			return false;
		if (at->session->uid == req->session->uid)
			return true;
	}
	return false;
}

/* waits: a request that wouldn't pass those that wait already; NULL: one that doesn't mind. */
static bool
has_room(const struct engine *e, const struct request *waits, const struct draft *drafts, size_t n)
{
	uint64_t jobs = 0;
	int64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		if (makes_job(&drafts[i])) {
			jobs++;
			bytes += drafts[i].spec->size + JOB_OVERHEAD;
		}
	if (jobs == 0)
		return true;
	if (waits != NULL && is_behind(e, waits))
		return false;
	return e->npending + jobs <= e->limits.max_pending &&
	    (e->limits.max_pending_bytes == 0 ||
	    e->pending_bytes + bytes <= e->limits.max_pending_bytes);
}

/* Delays and dependencies hold it; what is left goes to the executor. */
static int
let_go(struct engine *e, struct job *job)
{
	const struct spec *s = job->row->spec;
	int64_t now_us = slot_loop_now_us(e->loop);
	int rc = 0;

	if (depend_enter(job) < 0)
		return -ENOMEM;
	if (job_phase(job) != ROW_PENDING)
		return 0;
	if (s->not_before_us > slot_loop_wall_us(e->loop) + s->delay_ms * 1000)
		rc = job_hold_until_wall(job, s->not_before_us);
	else if (s->delay_ms > 0)
		rc = job_hold_until(job, JOB_HELD_DELAY, now_us + s->delay_ms * 1000);
	if (rc < 0)
		return rc;
	job_release_hold(job, JOB_HELD_NEW);
	return 0;
}

static struct job *
make_one(struct engine *e, struct session *s, struct job_ties_list *stream, struct draft *d)
{
	const char *queue = spec_at(d->spec, d->spec->queue_off);
	struct job_new in = {
		.spec = d->spec,
		.env = d->env,
		.queue = queue_find(e->queues, queue),
		.uid = s->uid,
		.session = stream == NULL && (d->spec->flags & SPEC_BOUND) ? s : NULL,
		.stream = stream,
		.fds = { d->fds[0], d->fds[1], d->fds[2] },
		.cost = d->spec->size + JOB_OVERHEAD,
	};
	struct job *job = job_new(e, &in);

	if (job == NULL)
		return NULL;
	*d = (struct draft){ .fds = { -1, -1, -1 } };
	if (job->row->spec->key_off != 0)
		keys_add(&e->keys, job->row); /* without memory: a retry makes a second job */
	if (let_go(e, job) < 0) {
		job_cancel(job, -1, MSG_REASON_CLIENT);
		return NULL;
	}
	return job;
}

/* Jobs made before memory ran out are cancelled: none of them was told of. */
static int
make_all(struct submit *sub, struct draft *drafts)
{
	struct engine *e = sub->req->engine;

	for (size_t i = 0; i < sub->n; i++) {
		struct job *job = NULL;

		sub->existing = !makes_job(&drafts[i]);
		if (drafts[i].existing != NULL) {
			sub->ids[i] = (int64_t)drafts[i].existing->id;
		} else if (drafts[i].twin != NULL) {
			sub->ids[i] = sub->ids[drafts[i].twin - drafts];
		} else {
			job = make_one(e, sub->req->session, sub->stream, &drafts[i]);
			if (job == NULL)
				goto undo;
			sub->ids[i] = (int64_t)job->row->id;
		}
		if (sub->made != NULL)
			sub->made[i] = job;
		continue;
undo:
		while (i-- > 0)
			if (makes_job(&drafts[i]) &&
			    (job = job_find(e, (uint64_t)sub->ids[i])) != NULL)
				job_cancel(job, 0, MSG_REASON_CLIENT);
		return -1;
	}
	return 0;
}

enum submit_result
submit_all(struct submit *sub, struct rpc_failure *why)
{
	struct engine *e = sub->req->engine;
	enum submit_result result = SUBMIT_DONE;
	struct draft *drafts;

	if (check_state(e, why) < 0)
		return SUBMIT_REFUSED;
	for (size_t i = 0; i < sub->n; i++)
		if (check_spec(sub, i, why) < 0) {
			if (sub->n > 1 && why->path[0] == '\0')
				snprintf(why->path, sizeof why->path, "jobs[%zu]", i);
			return SUBMIT_REFUSED;
		}
	drafts = drafts_make(sub, why);
	if (drafts == NULL)
		return SUBMIT_REFUSED;
	if (!has_room(e, sub->on_full == MSG_ON_FULL_WAIT ? sub->req : NULL, drafts, sub->n)) {
		result = SUBMIT_FULL;
	} else if (make_all(sub, drafts) < 0) {
		out_of_memory(why);
		result = SUBMIT_REFUSED;
	}
	drafts_free(e, drafts, sub->n);
	if (result == SUBMIT_DONE)
		job_kick(e);
	return result;
}

/* ---- once more ---- */

/* The spec without what belonged to its first time: key, dependencies, delays. */
static struct spec *
spec_again(const struct spec *old)
{
	struct spec *s = malloc(old->size);

	if (s == NULL)
		return NULL;
	memcpy(s, old, old->size);
	s->key_off = s->key_len = 0;
	s->nafter = s->after_off = 0;
	s->delay_ms = s->not_before_us = 0;
	return s;
}

enum submit_result
submit_again(struct request *req, struct row *row, int64_t *id, struct rpc_failure *why)
{
	struct engine *e = req->engine;
	struct draft d = { .fds = { -1, -1, -1 } };
	const char *queue = spec_at(row->spec, row->spec->queue_off);
	enum submit_result result = SUBMIT_REFUSED;
	struct job *job;

	if (check_state(e, why) < 0)
		return SUBMIT_REFUSED;
	if (row->spec->flags & SPEC_FDS) {
		rpc_fail(why, RPC_NOT_SUPPORTED, "job %llu had descriptors passed to it, which are "
		    "gone", (unsigned long long)row->id);
		return SUBMIT_REFUSED;
	}
	if (queue_find(e->queues, queue) == NULL) {
		rpc_fail(why, RPC_INVALID_STATE, "its queue \"%s\" is gone", queue);
		return SUBMIT_REFUSED;
	}
	d.spec = spec_again(row->spec);
	d.env = row->env;
	if (d.env != NULL)
		d.env->refs++;
	if (d.spec == NULL) {
		out_of_memory(why);
	} else if (!has_room(e, NULL, &d, 1)) {
		result = SUBMIT_FULL;
	} else if ((job = make_one(e, req->session, NULL, &d)) == NULL) {
		out_of_memory(why);
	} else {
		*id = (int64_t)job->row->id;
		result = SUBMIT_DONE;
		job_kick(e);
	}
	draft_free(e, &d);
	return result;
}

/* ---- no room ---- */

void
submit_answer_full(struct request *req)
{
	struct engine *e = req->engine;
	uint32_t slots = e->limits.max_running != 0 ? e->limits.max_running : 1;
	int64_t ms = histogram_percentile(&e->stats.run, 50) / 1000 / slots;
	struct rpc_failure f;

	if (ms < RETRY_AFTER_MIN_MS)
		ms = RETRY_AFTER_MIN_MS;
	if (ms > RETRY_AFTER_MAX_MS)
		ms = RETRY_AFTER_MAX_MS;
	rpc_fail(&f, RPC_QUEUE_FULL, "no room: %llu jobs are pending (max_pending %llu)",
	    (unsigned long long)e->npending, (unsigned long long)e->limits.max_pending);
	rpc_failure_add(&f, "retry_after_ms", ms);
	request_fail(req, &f);
}

static const struct request_ops held_ops = { 0 };

void
submit_hold(struct request *req, request_handler try_again)
{
	if (req->held)
		return; /* still no room */
	if (req->session->nheld >= SESSION_HELD_MAX) {
		request_error(req, RPC_TOO_MANY_IN_FLIGHT,
		    "%u submits of this connection wait for room already", SESSION_HELD_MAX);
		return;
	}
	request_wait(req, &held_ops, NULL);
	req->held = true;
	req->try_again = try_again;
	req->session->nheld++;
	req->engine->nheld++;
	request_enlist(req, &req->engine->held);
}

void
submit_retry_held(struct engine *e)
{
	struct request *req, *next;

	for (req = TAILQ_FIRST(&e->held); req != NULL; req = next) {
		next = TAILQ_NEXT(req, listed);
		if (is_behind(e, req))
			continue;
		if (!e->shutting_down && e->drain == DRAIN_OFF &&
		    e->npending >= e->limits.max_pending)
			return;
		req->try_again(req);
	}
}

static void
on_admit(struct slot_call *call)
{
	submit_retry_held(slot_container_of(call, struct engine, admit));
}

void
submit_init(struct engine *e)
{
	e->admit.run = on_admit;
}
