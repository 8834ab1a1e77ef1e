/* From specs to jobs; see submit.h. */
#include "engine/submit.h"
#include "engine/depend.h"
#include "engine/load.h"
#include "engine/spec.h"
#include "engine/view.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
	return request_check_degraded(e, why);
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
no_such_job(struct submit *sub, int64_t id, struct rpc_failure *why)
{
	int64_t oldest;

	if (!load_oldest(sub->req, &oldest)) {
		sub->suspended = true;
		return -1;
	}
	rpc_fail(why, RPC_NO_SUCH_JOB, "after: no job %lld (or it is older than the history that "
	    "is kept)", (long long)id);
	snprintf(why->param, sizeof why->param, "after");
	rpc_failure_add(why, "job", id);
	rpc_failure_add(why, "oldest_job", oldest);
	return -1;
}

/* What is shelved is taken down: a live job is told of its dependents. */
static int
check_after(struct submit *sub, const struct msg_spec *m, size_t index,
    struct rpc_failure *why)
{
	struct engine *e = sub->req->engine;
	const struct session *s = sub->req->session;

	for (size_t i = 0; i < m->after.n; i++) {
		int64_t id = m->after.v[i];
		struct row *row;

		if (id < 0 && (uint64_t)-id <= index)
			continue;
		if (id < 0)
			return rpc_fail_param(why, "after", "after: %lld means job %lld of the same "
			    "batch, which does not come before this one", (long long)id,
			    (long long)-id);
		row = e->store->ops->find(e->store, (uint64_t)id);
		if (row == NULL || !view_visible(e, row, s->uid, s->admin))
			return no_such_job(sub, id, why);
		if (row->phase != ROW_DONE && request_live(e, row) == NULL)
			return rpc_fail(why, RPC_INTERNAL_ERROR, "out of memory");
	}
	return 0;
}

/* The job that was submitted under this key before. NULL: none. */
static struct row *
known_by_key(const struct submit *sub, const struct msg_spec *m)
{
	if (m->key == NULL)
		return NULL;
	return load_key(sub->req, m->key);
}

/* A retry of a submit that went well must go well too, whatever has changed since. */
static int
check_spec(struct submit *sub, size_t index, struct rpc_failure *why)
{
	const struct msg_spec *m = &sub->specs[index];
	const struct engine *e = sub->req->engine;

	if (check_fds(sub, m, why) < 0)
		return -1;
	if (known_by_key(sub, m) != NULL)
		return 0;
	if (check_state(e, why) < 0 || check_unsupported(m, why) < 0 ||
	    check_slots(e, m, why) < 0)
		return -1;
	return check_after(sub, m, index, why);
}

/* ---- making ---- */

struct draft { /* everything of one job that can fail, made before any job is */
	struct spec *spec;
	struct env_blob *env;
	struct row *existing;      /* under its key … */
	const struct draft *twin;  /* … or an earlier draft of the same batch */
	const char *queue;         /* NULL: its spec's; a retry stays where its job was moved to */
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
			session_close_fds(e, &d->fds[i], 1);
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
	struct engine *e = sub->req->engine;

	for (int i = 0; i < 3; i++) {
		if (io[i]->kind != MSG_STDIO_FD)
			continue;
		errno = EMFILE;
		if (e->nfds_held >= SESSION_FDS_TOTAL_MAX)
			return -1;
		d->fds[i] = fcntl(sub->req->fds[io[i]->fd], F_DUPFD_CLOEXEC, 0);
		if (d->fds[i] < 0)
			return -1;
		e->nfds_held++;
	}
	return 0;
}

static bool
is_env(const struct env_blob *a, const struct env_blob *b)
{
	return a == b || (a != NULL && b != NULL && a->len == b->len &&
	    memcmp(a->bytes, b->bytes, a->len) == 0);
}

static bool
is_spec(const struct draft *d, const struct spec *spec, const struct env_blob *env)
{
	return is_env(env, d->env) && spec->size == d->spec->size &&
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
	struct row *row;

	if (m->key == NULL)
		return 0;
	row = load_key(sub->req, m->key);
	if (row != NULL && !is_spec(d, row->spec, row->env_dropped ? d->env : row->env)) {
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
	struct spec_context ctx = { .after = after, .nafter = m->after.n };

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

/* Says which spec it is that is wrong, unless none is. */
static void
locate(const struct submit *sub, size_t index, struct rpc_failure *why)
{
	bool whole = why->error == RPC_INTERNAL_ERROR || why->error == RPC_DRAINING ||
	    why->error == RPC_SHUTTING_DOWN || why->error == RPC_STORAGE_DEGRADED;

	if (sub->batch && !whole && why->path[0] == '\0')
		snprintf(why->path, sizeof why->path, "jobs[%zu]%s%s", index,
		    why->param[0] != '\0' ? "." : "", why->param);
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
			locate(sub, i, why);
			drafts_free(sub->req->engine, drafts, sub->n);
			return NULL;
		}
	return drafts;
}

struct room {
	uint64_t jobs;
	int64_t bytes; /* specs; environments are counted where they are shared */
};

static struct room
room_needed(const struct draft *drafts, size_t n)
{
	struct room r = { 0 };

	for (size_t i = 0; i < n; i++)
		if (makes_job(&drafts[i])) {
			r.jobs++;
			r.bytes += drafts[i].spec->size + JOB_OVERHEAD;
		}
	return r;
}

static int64_t
bytes_limit(const struct engine *e)
{
	return e->limits.max_pending_bytes != 0 ? e->limits.max_pending_bytes : INT64_MAX;
}

static bool
has_room(const struct engine *e, struct room r)
{
	return r.jobs == 0 || (e->npending + r.jobs <= e->limits.max_pending &&
	    e->pending_bytes + (int64_t)e->store->envs.bytes + r.bytes <= bytes_limit(e));
}

/* A batch that there would be no room for with nothing else pending: waiting can't help it. (One
 * job waits for the limit to be raised.) */
static int
check_size(const struct engine *e, struct room r, struct rpc_failure *why)
{
	if (r.jobs <= 1 || (r.jobs <= e->limits.max_pending && r.bytes <= bytes_limit(e)))
		return 0;
	return rpc_fail(why, RPC_LIMIT_EXCEEDED, "%llu jobs of %lld bytes are more than may ever be "
	    "pending (max_pending %llu, max_pending_bytes %lld)", (unsigned long long)r.jobs,
	    (long long)r.bytes, (unsigned long long)e->limits.max_pending,
	    (long long)e->limits.max_pending_bytes);
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
	const char *queue = d->queue != NULL ? d->queue : spec_at(d->spec, d->spec->queue_off);
	struct job_new in = {
		.spec = d->spec,
		.env = d->env,
		.queue = queue_find(e->queues, queue),
		.uid = s->uid,
		.owner = stream == NULL && (d->spec->flags & SPEC_BOUND) ? &s->bound : stream,
		.session = s->id,
		.fds = { d->fds[0], d->fds[1], d->fds[2] },
		.cost = d->spec->size + JOB_OVERHEAD,
	};
	struct job *job = job_new(e, &in);

	if (job == NULL)
		return NULL;
	*d = (struct draft){ .fds = { -1, -1, -1 } };
	s->named |= in.owner != NULL;
	if (job->row->spec->key_off != 0) {
		if (keys_add(&e->keys, job->row) < 0) { /* a retry must find it */
			job_cancel(job, -1, MSG_REASON_CLIENT);
			return NULL;
		}
		load_key_made(e, job->row);
	}
	if (let_go(e, job) < 0) {
		job_cancel(job, -1, MSG_REASON_CLIENT);
		return NULL;
	}
	return job;
}

/* Memory ran out: the jobs made so far are cancelled; none of them was told of. */
static void
unmake(struct submit *sub, const struct draft *drafts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct job *job = job_find(sub->req->engine, (uint64_t)sub->ids[i]);

		if (makes_job(&drafts[i]) && job != NULL)
			job_cancel(job, 0, MSG_REASON_CLIENT);
	}
}

static int
make_all(struct submit *sub, struct draft *drafts)
{
	struct engine *e = sub->req->engine;

	for (size_t i = 0; i < sub->n; i++) {
		struct draft *d = &drafts[i];
		const struct job *job;

		sub->existing = !makes_job(d);
		if (d->existing != NULL) {
			sub->ids[i] = (int64_t)d->existing->id;
		} else if (d->twin != NULL) {
			sub->ids[i] = sub->ids[d->twin - drafts];
		} else {
			job = make_one(e, sub->req->session, sub->stream, d);
			if (job == NULL) {
				unmake(sub, drafts, i);
				return -1;
			}
			sub->ids[i] = (int64_t)job->row->id;
		}
	}
	return 0;
}

/* What a held submit waits for is known: no need to draft it all again to see it isn't there. */
static bool
still_no_room(const struct request *req)
{
	return req->held && req->engine->drain == DRAIN_OFF && !req->engine->shutting_down &&
	    !has_room(req->engine, (struct room){ req->need_jobs, req->need_bytes });
}

static int
check_all(struct submit *sub, struct rpc_failure *why)
{
	for (size_t i = 0; i < sub->n; i++)
		if (check_spec(sub, i, why) < 0) {
			locate(sub, i, why);
			return -1;
		}
	return 0;
}

static bool
names_something(const struct submit *sub)
{
	for (size_t i = 0; i < sub->n; i++)
		if (sub->specs[i].key != NULL || sub->specs[i].after.n > 0)
			return true;
	return false;
}

/* What the specs name: keys, and jobs that they come after. */
static bool
load_named(struct submit *sub)
{
	const char *keys[MSG_BATCH_MAX];
	struct msg_int_list after;
	int64_t *ids;
	size_t n = 0;
	bool rc;

	if (!names_something(sub))
		return true;
	for (size_t i = 0; i < sub->n; i++) {
		keys[i] = sub->specs[i].key;
		n += sub->specs[i].after.n;
	}
	if (!load_keys(sub->req, keys, sub->n))
		return false;
	if (n == 0)
		return true;
	ids = malloc(n * sizeof *ids);
	if (ids == NULL) {
		request_no_memory(sub->req);
		return false;
	}
	n = 0;
	for (size_t i = 0; i < sub->n; i++) {
		after = sub->specs[i].after;
		for (size_t k = 0; k < after.n; k++)
			if (after.v[k] > 0) /* else one of the same batch */
				ids[n++] = after.v[k];
	}
	rc = load_jobs(sub->req, ids, n);
	free(ids);
	return rc;
}

enum submit_result
submit_all(struct submit *sub, struct rpc_failure *why)
{
	struct engine *e = sub->req->engine;
	enum submit_result result = SUBMIT_REFUSED;
	bool queues_up = sub->on_full == MSG_ON_FULL_WAIT;
	struct draft *drafts;
	struct room room;

	if (still_no_room(sub->req))
		return SUBMIT_FULL;
	if (!load_named(sub))
		return SUBMIT_SUSPENDED;
	if (check_all(sub, why) < 0)
		return sub->suspended ? SUBMIT_SUSPENDED : SUBMIT_REFUSED;
	if ((drafts = drafts_make(sub, why)) == NULL)
		return SUBMIT_REFUSED;
	room = room_needed(drafts, sub->n);
	if (check_size(e, room, why) < 0) {
		/* refused */
	} else if (!has_room(e, room) ||
	    (room.jobs > 0 && queues_up && submit_is_behind(e, sub->req))) {
		sub->req->need_jobs = room.jobs;
		sub->req->need_bytes = room.bytes;
		result = SUBMIT_FULL;
	} else if (make_all(sub, drafts) < 0) {
		out_of_memory(why);
	} else {
		result = SUBMIT_DONE;
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
	struct draft d = { .fds = { -1, -1, -1 }, .queue = row->queue };
	enum submit_result result = SUBMIT_REFUSED;
	struct job *job;

	if (check_state(e, why) < 0)
		return SUBMIT_REFUSED;
	if (row->spec->flags & SPEC_FDS) {
		rpc_fail(why, RPC_NOT_SUPPORTED, "job %llu had descriptors passed to it, which are "
		    "gone", (unsigned long long)row->id);
		return SUBMIT_REFUSED;
	}
	if (row->env_dropped) {
		rpc_fail(why, RPC_NOT_SUPPORTED, "the environment of job %llu was not kept "
		    "(keep_env)", (unsigned long long)row->id);
		return SUBMIT_REFUSED;
	}
	if (queue_find(e->queues, row->queue) == NULL) {
		rpc_fail(why, RPC_INVALID_STATE, "its queue \"%s\" is gone", row->queue);
		return SUBMIT_REFUSED;
	}
	d.spec = spec_again(row->spec);
	d.env = env_ref(row->env);
	if (d.spec == NULL) {
		out_of_memory(why);
	} else if (!has_room(e, room_needed(&d, 1))) {
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
