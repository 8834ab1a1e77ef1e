/* The store as the engine has it: how it is opened, what it reports, and when it is pruned. */
#include "engine/storage.h"
#include "engine/capture_replay.h"
#include "engine/run.h"
#include "engine/spool.h"
#include "store/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define PRUNE_INTERVAL_US 1000000 /* while there is history to age */

/* ---- history ---- */

static void
prune_later(struct engine *e, int64_t in_us)
{
	int64_t due_us = slot_loop_now_us(e->loop) + in_us;

	if (!slot_timer_armed(&e->prune) || e->prune.due_us > due_us)
		slot_loop_timer_set(e->loop, &e->prune, due_us);
}

/* The oldest job in history will have had its time some day, whatever else happens. (A durable
 * store watches for that by itself.) */
static void
prune_when_old(struct engine *e)
{
	struct store *s = e->store;
	struct store_read oldest = {
		.kind = STORE_READ_DONE, .filter = { .phase = -1, .ok = -1 }, .from = 1, .limit = 1,
	};
	int64_t in_us;

	if (s->durable || s->bounds.age_us == 0)
		return;
	s->ops->read(s, &oldest); /* in memory: answered at once */
	if (oldest.nrows == 1) {
		in_us = oldest.rows[0]->run->finished_us + s->bounds.age_us -
		    slot_loop_wall_us(e->loop);
		prune_later(e, in_us > PRUNE_INTERVAL_US ? in_us : PRUNE_INTERVAL_US);
	}
	store_read_fini(s, &oldest);
}

static void
on_prune(struct slot_timer *timer)
{
	struct engine *e = slot_container_of(timer, struct engine, prune);

	if (e->store->ops->prune(e->store, slot_loop_wall_us(e->loop)))
		prune_later(e, 0);
	else
		prune_when_old(e);
}

void
engine_history_grew(struct engine *e)
{
	const struct store_bounds *b = &e->store->bounds;
	uint64_t n = e->store->ndone;

	if (b->jobs != 0 && n > b->jobs)
		prune_later(e, n > b->jobs + b->jobs / 16 ? 0 : PRUNE_INTERVAL_US);
	else if (b->output_bytes != 0 || e->store->durable)
		prune_later(e, PRUNE_INTERVAL_US);
	else
		prune_when_old(e);
}

/* ---- what it reports ---- */

void
engine_unstuck(struct engine *e)
{
	if (e->store->stuck)
		return;
	run_take_waiting(e);
	if (!e->starts_stuck)
		return;
	e->starts_stuck = false;
	engine_resume_starts(e);
}

static void
on_output_free(void *output)
{
	capture_unref(output);
}

static void
on_removed(void *arg, const struct row *row)
{
	struct engine *e = arg;

	keys_remove(&e->keys, row);
}

static void
on_degraded(void *arg, bool degraded)
{
	struct engine *e = arg;

	if (degraded) {
		slot_log(e->logger, SLOT_LOG_ERROR, "the disk is full: nothing new is accepted, "
		    "what runs goes on");
		return;
	}
	slot_log(e->logger, SLOT_LOG_INFO, "the disk has room again");
	engine_unstuck(e);
	if (e->nheld > 0)
		slot_loop_call_soon(e->loop, &e->admit);
	engine_touch(e);
}

/* What isn't recorded may be neither told nor done: from here on there is only the end. */
static void
on_failed(void *arg, const char *what)
{
	struct engine *e = arg;

	if (e->failed)
		return;
	e->failed = true;
	e->launch_ready = false;
	slot_executor_pause(e->executor);
	slot_log(e->logger, SLOT_LOG_ERROR, "the journal failed: %s", what);
	if (e->options.on_failed != NULL)
		e->options.on_failed(e->options.arg, what);
}

/* ---- opening ---- */

static struct store_bounds
bounds_of(const struct engine_limits *l)
{
	return (struct store_bounds){
		.jobs = (uint64_t)l->history_jobs,
		.age_us = l->history_age_ms * 1000,
		.output_bytes = l->output_total,
	};
}

void
storage_apply_bounds(struct engine *e)
{
	e->store->bounds = bounds_of(&e->limits);
	engine_history_grew(e);
}

static struct store *
open_journal(const struct engine_options *options, const struct store_bounds *bounds,
    const struct store_hooks *hooks)
{
	struct engine *e = hooks->arg;
	struct journal_options j = {
		.loop = options->loop,
		.logger = options->logger,
		.state_dir = options->state_dir,
		.normal = options->durability == ENGINE_NORMAL,
		.drop_env = !options->keep_env,
		.bounds = *bounds,
		.hooks = *hooks,
		.boot_id = options->boot_id,
	};
	struct journal_error why;
	struct store *s;

	if (asprintf(&e->output_dir, "%s/output", options->state_dir) < 0) {
		e->output_dir = NULL;
		return NULL;
	}
	if (mkdir(e->output_dir, 0700) < 0 && errno != EEXIST)
		return NULL;
	j.output_dir = e->output_dir;
	s = store_journal_open(&j, &why);
	if (s == NULL) {
		slot_log(options->logger, SLOT_LOG_ERROR, "%s", why.text);
		errno = -why.error;
	}
	return s;
}

struct store *
storage_open_store(const struct engine_options *options, const struct store_bounds *bounds,
    const struct store_hooks *hooks)
{
	uint64_t instance;

	if (options->durability != ENGINE_MEMORY)
		return open_journal(options, bounds, hooks);
	if (getrandom(&instance, sizeof instance, 0) != sizeof instance)
		return NULL;
	return store_memory_new(bounds, hooks, instance);
}

/* What survives us of running jobs' output does so until the machine is rebooted, or the journal
 * begun anew. (A manual loop reads no pipes.) */
static bool
make_captures(struct engine *e)
{
	char era[SPOOL_ERA_MAX];
	struct spool *spool;
	int error;

	if (!e->store->durable || slot_loop_base(e->loop) == NULL) {
		e->captures = capture_pool_new(e->loop, e->options.spool_dir);
		return e->captures != NULL;
	}
	snprintf(era, sizeof era, "%.64s %.16s", e->options.boot_id, e->instance);
	spool = capture_replay_spool_open(e->options.state_dir, era, &error);
	if (spool == NULL) {
		errno = -error;
		return false;
	}
	error = spool_landings(spool)->error;
	if (error != 0)
		slot_log(e->logger, SLOT_LOG_WARN, "a kill would lose output that is just being read "
		    "file=%s/landing error=\"%s\"", e->options.state_dir, strerrordesc_np(error));
	e->captures = capture_pool_new_durable(e->loop, spool);
	return e->captures != NULL;
}

int
storage_open(struct engine *e, engine_open_store open)
{
	struct store_bounds bounds = bounds_of(&e->limits);
	struct store_hooks hooks = {
		.output_free = on_output_free,
		.on_removed = on_removed,
		.on_degraded = on_degraded,
		.on_failed = on_failed,
		.arg = e,
	};

	e->prune.fire = on_prune;
	e->store = open(&e->options, &bounds, &hooks);
	if (e->store == NULL)
		return -1;
	snprintf(e->instance, sizeof e->instance, "%016llx",
	    (unsigned long long)e->store->instance);
	return make_captures(e) ? 0 : -1;
}
