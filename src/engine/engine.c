/* The engine as a whole: making it, the end of a turn, the launcher, limits. */
#include "engine/engine.h"
#include "engine/context.h"
#include "engine/depend.h"
#include "engine/environment.h"
#include "engine/methods.h"
#include "engine/orphans.h"
#include "engine/queue_shelf.h"
#include "engine/recover.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/settings.h"
#include "engine/shutdown.h"
#include "engine/storage.h"
#include "engine/submit.h"

#include <errno.h>
#include <event2/event.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CLOCK_FAR 4102444800 /* 2100: the timer is only there to be cancelled */

/* ---- the end of a turn ---- */

void
engine_touch(struct engine *e)
{
	slot_loop_call_at_turn_end(e->loop, &e->turn_end);
}

/* The launcher's own bound. A lowered limit doesn't take back what has its slots already. */
static void
set_ceiling(struct engine *e)
{
	uint32_t slots = slot_executor_running(e->executor);

	if (slots < e->limits.max_running)
		slots = e->limits.max_running;
	if (e->launch == NULL || slots == e->ceiling)
		return;
	e->ceiling = slots;
	e->launch->ops->ceiling(e->launch, slots);
}

static void
on_turn_end(struct slot_call *call)
{
	struct engine *e = slot_container_of(call, struct engine, turn_end);

	e->stats.turns++;
	set_ceiling(e);
	shelf_read_ahead(e);
	if (e->launch != NULL)
		e->launch->ops->flush(e->launch); /* a cancel is with it before it is promised */
	batch_commit(e);
	if (e->store->stuck) { /* a start couldn't be recorded */
		e->starts_stuck = true;
		slot_executor_pause(e->executor);
	}
	methods_job_launched(e);
	if (e->launch != NULL)
		e->launch->ops->flush(e->launch);
}

/* ---- making ---- */

static struct queue_place *
place_of(struct slot_action *a)
{
	return &job_of_future(&a->future)->place;
}

static void
init_lists(struct engine *e)
{
	for (int i = 0; i < 3; i++)
		TAILQ_INIT(&e->by_phase[i]);
	TAILQ_INIT(&e->sessions);
	TAILQ_INIT(&e->held);
	TAILQ_INIT(&e->completion_streams);
	TAILQ_INIT(&e->event_streams);
	TAILQ_INIT(&e->drains);
	TAILQ_INIT(&e->signals);
	LIST_INIT(&e->clocked);
	LIST_INIT(&e->exits_waiting);
	e->in_flight_tail = &e->in_flight;
	e->turn_end.run = on_turn_end;
	e->clock_fd = -1;
	shutdown_init(e);
	orphans_init(e);
	depend_init(e);
	submit_init(e);
}

static void
on_clock_set(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;
	uint64_t n;

	(void)what;
	if (read((int)fd, &n, sizeof n) < 0 && errno != ECANCELED)
		return;
	job_clock_changed(e);
}

/* Jobs with not_before_us must hear of it when somebody sets the wall clock. */
static void
watch_clock(struct engine *e)
{
	struct event_base *base = slot_loop_base(e->loop);
	struct itimerspec far = { .it_value = { .tv_sec = CLOCK_FAR } };

	if (base == NULL)
		return;
	e->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (e->clock_fd < 0)
		return;
	timerfd_settime(e->clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
	e->clock_event = event_new(base, e->clock_fd, EV_READ | EV_PERSIST, on_clock_set, e);
	if (e->clock_event != NULL)
		event_add(e->clock_event, NULL);
}

struct engine *
engine_new(const struct engine_options *options)
{
	return engine_new_on(options, storage_open_store);
}

struct engine *
engine_new_on(const struct engine_options *options, engine_open_store open)
{
	struct engine *e = calloc(1, sizeof *e);

	if (e == NULL)
		return NULL;
	e->options = *options;
	e->loop = options->loop;
	e->logger = options->logger;
	e->limits = options->limits;
	e->stats.started_us = slot_loop_now_us(e->loop);
	init_lists(e);
	e->queues = queue_set_new(place_of);
	if (e->queues != NULL)
		shelf_init(e, SHELF_HOT, SHELF_BATCH);
	if (e->queues != NULL)
		e->executor = slot_executor_new(e->loop, 0, &queue_pending_ops, e->queues);
	if (e->queues == NULL || e->executor == NULL || storage_open(e, open) < 0 ||
	    queue_add(e->queues, "default") == NULL ||
	    (e->default_env = environment_default(&e->store->envs, options->uid)) == NULL ||
	    recover(e) < 0) {
		slot_log(e->logger, SLOT_LOG_ERROR, "engine can't start: %s", strerror(errno));
		engine_free(e);
		return NULL;
	}
	watch_clock(e);
	engine_apply_limits(e);
	e->idle = engine_idle(e);
	return e;
}

static void
free_jobs(struct engine *e)
{
	struct job *job;

	for (int i = 0; i < 3; i++)
		while ((job = TAILQ_FIRST(&e->by_phase[i])) != NULL) {
			TAILQ_REMOVE(&e->by_phase[i], job, entry);
			if (slot_action_state(&job->action) == SLOT_ACTION_PENDING)
				slot_executor_withdraw(e->executor, &job->action);
			else if (slot_action_state(&job->action) == SLOT_ACTION_RUNNING)
				slot_action_release(&job->action);
			if (job->ties != NULL)
				slot_loop_timer_clear(e->loop, &job->ties->timer);
			queue_leave(e->queues, &job->place);
			job_unref(job);
		}
}

static void
cancel_calls(struct engine *e)
{
	struct slot_call *const calls[] = {
		&e->turn_end, &e->admit, &e->cancel_all, &e->idle_check,
	};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		slot_loop_call_cancel(e->loop, calls[i]);
	slot_loop_timer_clear(e->loop, &e->prune);
	slot_loop_timer_clear(e->loop, &e->serve_anyway);
	slot_loop_timer_clear(e->loop, &e->linger);
}

void
engine_free(struct engine *e)
{
	struct session *s;

	if (e == NULL)
		return;
	e->options.on_idle = NULL;
	e->shutdown_done = NULL;
	e->shutting_down = true;
	if (e->store != NULL && e->store->durable && e->captures != NULL)
		capture_pool_leave(e->captures); /* our jobs go on */
	while ((s = TAILQ_FIRST(&e->sessions)) != NULL) {
		session_close(s, "engine ends");
		slot_loop_call_cancel(e->loop, &s->reap);
		session_unref(s); /* (the open batch may hold it too) */
	}
	if (e->store != NULL)
		batch_commit(e);
	shelf_fini(e);
	orphans_fini(e);
	depend_fini(e);
	free_jobs(e);
	cancel_calls(e);
	batches_free(e);
	if (e->launch != NULL)
		e->launch->ops->free(e->launch);
	if (e->clock_event != NULL)
		event_free(e->clock_event);
	if (e->clock_fd >= 0)
		close(e->clock_fd);
	idtab_fini(&e->jobs);
	idtab_fini(&e->shells);
	if (e->store != NULL) {
		env_unref(&e->store->envs, e->default_env);
		e->store->ops->free(e->store);
	}
	recover_fini(e);
	settings_fini(e);
	keys_fini(&e->keys);
	slot_executor_free(e->executor);
	queue_set_free(e->queues);
	capture_pool_free(e->captures);
	free(e->output_dir);
	free(e);
}

/* ---- the launcher ---- */

static void
on_launch_ready(void *arg, uint64_t instance)
{
	struct engine *e = arg;

	slot_log(e->logger, SLOT_LOG_DEBUG, "launcher ready instance=%016llx",
	    (unsigned long long)instance);
	if (e->failed)
		return;
	if (e->store->durable)
		recover_launcher_ready(e, instance);
	e->store->launcher = instance;
	e->launch_ready = true;
	engine_resume_starts(e);
	engine_touch(e);
	if (e->options.on_launched != NULL)
		e->options.on_launched(e->options.arg);
}

static void
on_launch_held(void *arg, const struct launch_held *held)
{
	recover_launcher_holds(arg, held);
}

static void
on_launch_exit(void *arg, const struct launch_exit *x)
{
	run_on_exit(arg, x);
}

static void
on_launch_gone(void *arg, uint64_t job, uint32_t attempt, bool best_effort)
{
	run_on_gone(arg, job, attempt, best_effort);
}

static void
on_launch_signaled(void *arg, uint64_t token, int error)
{
	methods_job_signaled(arg, token, error);
}

static void
on_launch_lost(void *arg, const char *why)
{
	struct engine *e = arg;
	struct launch *gone = e->launch;
	uint64_t id = 0;
	struct job *job;

	slot_log(e->logger, SLOT_LOG_ERROR, "launcher lost why=\"%s\" running=%llu", why,
	    (unsigned long long)e->nrunning);
	e->launch = NULL;
	e->launch_ready = false;
	slot_executor_pause(e->executor); /* until there is another */
	while ((job = idtab_next(&e->jobs, id + 1, &id)) != NULL)
		if (!queue_shelf_is_mark(job))
			run_on_lost(job);
	if (gone != NULL)
		gone->ops->free(gone);
	methods_job_lost(e);
	engine_touch(e);
	if (e->options.on_lost != NULL)
		e->options.on_lost(e->options.arg);
}

const struct launch_handlers engine_launch_handlers = {
	.on_held = on_launch_held,
	.on_ready = on_launch_ready,
	.on_exit = on_launch_exit,
	.on_gone = on_launch_gone,
	.on_signaled = on_launch_signaled,
	.on_lost = on_launch_lost,
};

void
engine_set_launch(struct engine *e, struct launch *launch)
{
	e->launch = launch;
	e->ceiling = ENGINE_UNLIMITED; /* a launcher begins without one */
	/* One that outlives us first tells what it runs of ours. */
	e->launch_ready = !e->store->durable;
	engine_resume_starts(e);
	engine_apply_limits(e);
}

bool
engine_launcher_ready(const struct engine *e)
{
	return e->launch != NULL && e->launch_ready;
}

int
engine_launcher_pid(const struct engine *e)
{
	return engine_launcher_ready(e) ? launch_pid(e->launch) : 0;
}

void
engine_resume_starts(struct engine *e)
{
	if (e->launch == NULL || !e->launch_ready || e->failed || e->store->stuck ||
	    slot_call_queued(&e->cancel_all) || e->shelf.emptied == &e->cancel_all ||
	    (e->shutting_down && e->store->durable))
		return;
	slot_executor_resume(e->executor);
}

/* ---- limits ---- */

/* More than the launcher's table holds would only be refused. */
static uint32_t
slots_in_force(const struct engine *e)
{
	uint32_t jobs = e->limits.launcher_jobs;

	return jobs != 0 && jobs < e->limits.max_running ? jobs : e->limits.max_running;
}

void
engine_apply_limits(struct engine *e)
{
	queue_set_total(e->queues, e->limits.max_running);
	slot_executor_set_max_running(e->executor, slots_in_force(e));
	if (e->nheld > 0)
		slot_loop_call_soon(e->loop, &e->admit);
	storage_apply_bounds(e);
	job_kick(e);
	engine_touch(e);
}

void
engine_reconfigure(struct engine *e, const struct engine_limits *limits)
{
	struct engine_limits now = e->limits;

	e->options.limits = *limits;
	e->limits = *limits;
	if (e->limit_set[LIMIT_RUNNING])
		e->limits.max_running = now.max_running;
	if (e->limit_set[LIMIT_PENDING])
		e->limits.max_pending = now.max_pending;
	if (e->limit_set[LIMIT_PENDING_BYTES])
		e->limits.max_pending_bytes = now.max_pending_bytes;
	engine_apply_limits(e);
}

int
engine_configure_queue(struct engine *e, const char *name, uint32_t max_running)
{
	struct queue *q = queue_find(e->queues, name);

	if (q == NULL) {
		q = queue_add(e->queues, name);
		if (q == NULL)
			return -ENOMEM;
		queue_set_paused(q, e->all_paused);
	}
	if (!settings_queue_is_limited(e, q)) /* else what was set at run time outranks this */
		queue_set_limit(q,
		    max_running == ENGINE_UNLIMITED ? QUEUE_UNLIMITED : max_running);
	job_kick(e);
	return 0;
}

/* Looked up once a connection: members of admin_group by their user's group list. */
static bool
in_group(uid_t uid, gid_t gid)
{
	struct passwd *pw = getpwuid(uid);
	gid_t groups[256];
	int n = sizeof groups / sizeof *groups;

	if (pw == NULL || getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) < 0)
		return false;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

bool
engine_is_admin(const struct engine *e, uid_t uid)
{
	return uid == 0 || uid == e->options.uid ||
	    (e->options.admin_gid != (gid_t)-1 && in_group(uid, e->options.admin_gid));
}

void
engine_accept(struct engine *e, int fd)
{
	session_new(e, fd);
}
