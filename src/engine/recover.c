/* What was live before a restart, and what the launcher says of it; see recover.h. */
#include "engine/recover.h"
#include "core/failpoint.h"
#include "engine/context.h"
#include "engine/depend.h"
#include "engine/orphans.h"
#include "engine/ring_file.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/settings.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SILENCE_MS 2000 /* clients aren't heard: so long the launcher may be silent */

struct stray { /* the launcher holds it, no job of ours stands for it */
	uint64_t job;
	uint32_t attempt;
	bool foreign; /* this journal never started it */
};

/* A live job that is more than its place in the order. */
struct candidate {
	uint64_t id;
	uint64_t launcher; /* running ones */
	int64_t due_us;
	bool due_is_boot;
	uint8_t cancel;
};

struct walk {
	struct engine *e;
	struct candidate *candidates;
	size_t n, cap;
	uint64_t plain;
	struct queue *queue; /* of the job before: most are in the same */
};

/* Makes room for one more of `size` bytes. */
static int
reserve(void **v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap != 0 ? *cap * 2 : 64;
	void *bigger;

	if (n < *cap)
		return 0;
	bigger = realloc(*v, want * size);
	if (bigger == NULL)
		return -ENOMEM;
	*v = bigger;
	*cap = want;
	return 0;
}

/* ---- the walk over what was live ---- */

static void
on_setting(void *arg, const char *name, int64_t value)
{
	struct walk *w = arg;

	settings_recover_limit(w->e, name, value);
}

static void
on_queue(void *arg, const char *queue, int64_t max_running, bool paused)
{
	struct walk *w = arg;

	if (settings_recover_queue(w->e, queue, max_running, paused) < 0)
		slot_log(w->e->logger, SLOT_LOG_ERROR, "queue not restored queue=%s error="
		    "\"out of memory\"", queue);
}

/* The queue with this name; one that the configuration named is made before that is read. */
static struct queue *
queue_for(struct engine *e, const char *name)
{
	struct queue *q = queue_find(e->queues, name);

	return q != NULL ? q : queue_add(e->queues, name);
}

static int
on_live(void *arg, const struct store_live *live)
{
	struct walk *w = arg;

	if (w->queue == NULL || strcmp(queue_name(w->queue), live->queue) != 0)
		w->queue = queue_for(w->e, live->queue);
	if (w->queue == NULL)
		return -ENOMEM;
	if (live->plain) {
		w->plain++;
		return shelf_put_recovered(w->e, w->queue, live);
	}
	if (reserve((void **)&w->candidates, w->n, &w->cap, sizeof *w->candidates) < 0)
		return -ENOMEM;
	w->candidates[w->n++] = (struct candidate){
		.id = live->id,
		.launcher = live->launcher,
		.due_us = live->due_us,
		.due_is_boot = live->due_is_boot,
		.cancel = live->cancel,
	};
	return 0;
}

/* ---- one job ---- */

static int
hold_until_due(struct job *job, const struct candidate *c)
{
	struct engine *e = job->engine;
	enum job_held bit = job->row->attempt > 0 ? JOB_HELD_RETRY : JOB_HELD_DELAY;
	int64_t due_us = c->due_us;

	if (!c->due_is_boot)
		due_us += slot_loop_now_us(e->loop) - slot_loop_wall_us(e->loop);
	return job_hold_until(job, bit, due_us);
}

/* What else it was waiting for, it waits for again. 0 or -errno; it may be done after that. */
static int
restore_waits(struct job *job, const struct candidate *c)
{
	const struct row *row = job->row;
	int rc = 0;

	if (job_fds_lost(job)) {
		job_finish(job, MSG_OUTCOME_CANCELLED, MSG_REASON_FD_LOST);
		return 0;
	}
	if (row->hold)
		job_hold(job, JOB_HELD_HOLD);
	if (row->waits & ROW_AFTER)
		rc = depend_recover(job);
	if (rc < 0 || job_phase(job) != ROW_PENDING)
		return rc;
	if (row->waits & ROW_DUE)
		rc = hold_until_due(job, c);
	else if (row->waits & ROW_CLOCK)
		rc = job_hold_until_wall(job, row->spec->not_before_us);
	if (rc < 0)
		return rc;
	job_release_hold(job, JOB_HELD_NEW);
	return 0;
}

static bool
is_bound(const struct row *row)
{
	static const uint8_t none[ROW_SESSION_LEN];

	return (row->spec->flags & SPEC_BOUND) || memcmp(row->session, none, sizeof none) != 0;
}

static int
take_up(struct engine *e, const struct candidate *c)
{
	int error = 0, rc = 0;
	struct row *row = e->store->ops->load(e->store, c->id, &error);
	struct queue *queue = row != NULL ? queue_for(e, row->queue) : NULL;
	struct job *job = queue != NULL ? shelf_take(e, row) : NULL; /* (one that depends on it) */

	if (row == NULL) {
		slot_log(e->logger, SLOT_LOG_ERROR, "live job not readable job=%llu error=\"%s\"",
		    (unsigned long long)c->id, strerrordesc_np(-error));
		return error == -ENOMEM ? error : 0;
	}
	if (job == NULL && queue != NULL)
		job = job_revive(e, row, queue);
	row_unref(e->store, row);
	if (job == NULL)
		return -ENOMEM;
	if (is_bound(job->row))
		rc = orphans_await(e, job);
	if (rc == 0 && job_phase(job) == ROW_PENDING) {
		rc = restore_waits(job, c);
	} else if (rc == 0) {
		job->row->cancel = c->cancel;
		run_await(job, c->launcher);
	}
	return rc;
}

/* ---- files of output ---- */

/* Does history name this file? */
static bool
is_of_history(struct engine *e, const struct ring_name *name)
{
	int error = 0;
	struct row *row = e->store->ops->load(e->store, name->job, &error);
	bool named = error < 0; /* when in doubt it stays */

	if (row == NULL)
		return named;
	named = row->phase == ROW_DONE && row->attempt == name->attempt;
	row_unref(e->store, row);
	return named;
}

static int
compare_names(const void *a, const void *b)
{
	return ring_name_compare(a, b);
}

/* Which files are history's must be asked now: later the store can't be asked and waited for. */
static int
note_files(struct engine *e)
{
	DIR *d = opendir(capture_pool_files_dir(e->captures));
	const struct dirent *entry;
	struct ring_name name;

	if (d == NULL)
		return 0;
	while ((entry = readdir(d)) != NULL) {
		if (!ring_name_parse(entry->d_name, &name) || !is_of_history(e, &name))
			continue;
		if (reserve((void **)&e->kept, e->nkept, &e->kept_cap, sizeof *e->kept) < 0) {
			closedir(d);
			return -ENOMEM;
		}
		e->kept[e->nkept++] = name;
	}
	closedir(d);
	if (e->nkept > 0)
		qsort(e->kept, e->nkept, sizeof *e->kept, compare_names);
	return 0;
}

static bool
keeps_file(void *arg, const struct ring_name *name)
{
	const struct engine *e = arg;

	return e->nkept > 0 &&
	    bsearch(name, e->kept, e->nkept, sizeof *e->kept, compare_names) != NULL;
}

/* Every attempt was adopted or given up: what the spool has besides is of no use to anyone. */
static void
sweep_files(struct engine *e)
{
	if (e->swept)
		return;
	e->swept = true;
	if (slot_loop_base(e->loop) != NULL)
		capture_pool_sweep(e->captures, keeps_file, e);
	free(e->kept);
	e->kept = NULL;
	e->nkept = e->kept_cap = 0;
}

/* ---- all of it ---- */

static int
walk(struct engine *e, struct walk *w)
{
	const struct store_recovery recovery = {
		.on_setting = on_setting, .on_queue = on_queue, .on_live = on_live, .arg = w,
	};
	int rc = e->store->ops->recover(e->store, &recovery);

	failpoint(FAILPOINT_RECOVER_MIDDLE); /* plain ones are there, others aren't */
	for (size_t i = 0; i < w->n && rc == 0; i++)
		rc = take_up(e, &w->candidates[i]);
	if (rc == 0 && slot_loop_base(e->loop) != NULL)
		rc = note_files(e);
	return rc;
}

/*
 * Until the launcher has told what runs, its output isn't there to be read, and nothing can start.
 * That is a matter of milliseconds: clients that are already there are heard after it.
 */
static void
serve(struct engine *e)
{
	struct session *s;

	slot_loop_timer_clear(e->loop, &e->serve_anyway);
	if (e->serving)
		return;
	e->serving = true;
	TAILQ_FOREACH(s, &e->sessions, entry)
		session_begin(s);
}

static void
on_serve_anyway(struct slot_timer *timer)
{
	serve(slot_container_of(timer, struct engine, serve_anyway));
}

int
recover(struct engine *e)
{
	struct walk w = { .e = e };
	int rc;

	e->known_ids = e->store->next_id;
	e->published_seq = e->store->last_seq;
	e->serving = e->store->ops->recover == NULL;
	if (e->serving)
		return 0;
	slot_executor_pause(e->executor); /* until the launcher has told what runs */
	rc = walk(e, &w);
	free(w.candidates);
	if (rc < 0) {
		errno = -rc;
		return -1;
	}
	e->serve_anyway.fire = on_serve_anyway;
	slot_loop_timer_set(e->loop, &e->serve_anyway, slot_loop_in_ms(e->loop, SILENCE_MS));
	orphans_await_until(e, slot_loop_in_ms(e->loop, e->limits.bound_grace_ms));
	if (w.plain + w.n > 0)
		slot_log(e->logger, SLOT_LOG_INFO, "jobs taken up again running=%llu pending=%llu%s",
		    (unsigned long long)e->nrunning, (unsigned long long)e->npending,
		    e->store->rebooted ? " reboot=yes" : "");
	return 0;
}

void
recover_fini(struct engine *e)
{
	free(e->strays);
	free(e->kept);
}

/* ---- the launcher's word ---- */

static void
close_fds(const struct launch_held *held)
{
	for (int i = 0; i < 3; i++)
		if (held->fds[i] >= 0)
			close(held->fds[i]);
}

/* Another journal's job has an id that this one must not use for a start of its own: the launcher
 * would take that for the same. */
static void
keep_clear(struct engine *e, struct job *job, const struct launch_held *held)
{
	if (job != NULL && job_phase(job) == ROW_PENDING && job->row->attempt < held->attempt)
		job->row->attempt = held->attempt;
	if (e->store->next_id <= held->job)
		e->store->next_id = held->job + 1;
}

static void
note_stray(struct engine *e, struct job *job, const struct launch_held *held)
{
	bool foreign = held->job >= e->known_ids ||
	    (job != NULL && job->row->attempt < held->attempt);

	if (foreign)
		keep_clear(e, job, held);
	else if (job != NULL && run_get(job) != NULL)
		job->active->trees++; /* what an earlier attempt left: GONE will come */
	if (reserve((void **)&e->strays, e->nstrays, &e->strays_cap, sizeof *e->strays) < 0)
		return; /* then it goes on */
	e->strays[e->nstrays++] = (struct stray){ held->job, held->attempt, foreign };
}

void
recover_launcher_holds(struct engine *e, const struct launch_held *held)
{
	struct job *job = job_find(e, held->job);

	if (job != NULL && job_phase(job) == ROW_RUNNING && job->active->awaiting &&
	    job->row->attempt == held->attempt) {
		run_adopt(job, held);
		return;
	}
	close_fds(held);
	if (job != NULL && job_phase(job) == ROW_DONE && run_has_processes(job))
		return; /* it is over, and its GONE is awaited already */
	note_stray(e, job, held);
}

/* What a lost connection made us give up (it is recorded as lost), or another journal started,
 * nobody waits for. The rest is over but for the acknowledgement. */
static void
end_strays(struct engine *e, uint64_t instance)
{
	for (size_t i = 0; i < e->nstrays; i++) {
		const struct stray *s = &e->strays[i];

		if (!s->foreign && instance != e->lost_launcher)
			continue;
		slot_log(e->logger, SLOT_LOG_WARN, "ending a job that %s job=%llu attempt=%u",
		    s->foreign ? "the journal doesn't know" : "counts as lost",
		    (unsigned long long)s->job, (unsigned)s->attempt);
		e->launch->ops->cancel(e->launch, s->job, s->attempt, e->limits.grace_ms);
	}
	e->nstrays = 0;
}

void
recover_launcher_ready(struct engine *e, uint64_t instance)
{
	struct job *job, *next;

	failpoint(FAILPOINT_ADOPT_BEFORE);
	if (e->launch != NULL)
		end_strays(e, instance);
	e->lost_launcher = 0;
	for (job = TAILQ_FIRST(&e->by_phase[ROW_RUNNING]); job != NULL; job = next) {
		next = TAILQ_NEXT(job, entry);
		if (job->active->awaiting)
			run_absent(job, instance);
		else if (job->active->adopted)
			run_adopted(job);
	}
	sweep_files(e);
	serve(e);
}
