/*
 * Wiring and lifecycle of slotd: start in order, run, leave. Policy is the engine's.
 *
 *   starting -> running -> leaving (TERM, INT, idle, socket removed) -> gone
 *
 * With durability = memory the launcher is ours and jobs end with us; a second TERM or INT while
 * leaving takes their grace. Otherwise the launcher and its jobs outlive us, and leaving is a
 * matter of the last commit.
 */
#include "daemon/daemon.h"
#include "daemon/listener.h"
#include "daemon/lock.h"
#include "daemon/notify.h"
#include "daemon/places.h"
#include "daemon/reload.h"
#include "engine/engine.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define RELAUNCH_PAUSE_S 1
#define READY_PATIENCE_S 2 /* who waits for us to be ready waits no longer for our launcher */
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

enum daemon_state { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_LEAVING, DAEMON_GONE };

struct daemon {
	const struct daemon_setup *setup;
	const struct slot_logger *logger;
	enum daemon_state state;
	int status;
	struct places places;
	struct lock lock, state_lock;
	char boot_id[64];
	struct reload reload;
	struct event_base *base;
	struct slot_loop *loop;
	struct engine *engine;
	struct listener *listener;
	int64_t relaunched_us; /* when a launcher was last started again; 0: never */
	struct rlimit files;   /* RLIMIT_NOFILE as we were started: the launcher and jobs get that */
	struct event *signals[3];
	struct event *idle_timer;
	struct event *relaunch_timer;
	struct event *watchdog_timer;
	struct event *ready_timer;
	bool ready;
};

static bool
is_durable(const struct daemon *d)
{
	return d->setup->config->store.durability != CONFIG_DURABILITY_MEMORY;
}

/* ---- leaving -------------------------------------------------------------------------------- */

static void
on_shut_down(void *arg)
{
	struct daemon *d = arg;

	d->state = DAEMON_GONE;
	event_base_loopbreak(d->base);
}

static void
leave(struct daemon *d, const char *why)
{
	if (d->state != DAEMON_RUNNING)
		return;
	slot_log(d->logger, SLOT_LOG_INFO, "leaving reason=%s running=%u pending=%llu", why,
	    (unsigned)engine_running(d->engine), (unsigned long long)engine_pending(d->engine));
	if (is_durable(d) && engine_running(d->engine) > 0 && engine_launcher_ready(d->engine))
		slot_log(d->logger, SLOT_LOG_WARN,
		    "jobs run on running=%u launcher=%d; they end with: kill %d",
		    (unsigned)engine_running(d->engine), engine_launcher_pid(d->engine),
		    engine_launcher_pid(d->engine));
	d->state = DAEMON_LEAVING;
	notify_stopping();
	listener_free(d->listener);
	d->listener = NULL;
	engine_shutdown(d->engine, on_shut_down, d);
}

static void
on_signal(evutil_socket_t number, short what, void *arg)
{
	struct daemon *d = arg;

	(void)what;
	if (number == SIGHUP) {
		notify_reloading();
		reload_run(&d->reload, NULL);
		notify_ready(-1);
	} else if (d->state == DAEMON_LEAVING && is_durable(d)) {
		slot_log(d->logger, SLOT_LOG_WARN, "leaving without the last commit "
		    "reason=second-signal");
		_exit(1);
	} else if (d->state == DAEMON_LEAVING) {
		slot_log(d->logger, SLOT_LOG_WARN, "killing jobs reason=second-signal");
		engine_kill(d->engine);
	} else {
		leave(d, number == SIGTERM ? "SIGTERM" : "SIGINT");
	}
}

static void
on_removed(void *arg)
{
	leave(arg, "socket-removed");
}

/* ---- idle exit ------------------------------------------------------------------------------ */

static void
on_idle(void *arg, bool idle)
{
	struct daemon *d = arg;
	int64_t ms = d->setup->config->executor.idle_exit_ms;
	struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (idle && ms > 0)
		event_add(d->idle_timer, &wait);
	else
		event_del(d->idle_timer);
}

static void
on_idle_timer(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)what;
	if (d->state != DAEMON_RUNNING)
		return;
	listener_accept(d->listener); /* who waits there already is a client */
	if (engine_idle(d->engine))
		leave(d, "idle");
	else
		on_idle(d, true); /* until the engine says otherwise */
}

/* ---- configuration -------------------------------------------------------------------------- */

static struct engine_limits
limits_of(const struct config *c, enum options_scope scope)
{
	return (struct engine_limits){
		.max_running = (uint32_t)c->executor.max_running,
		.max_pending = (uint64_t)c->executor.max_pending,
		.max_pending_bytes = config_max_pending_bytes(c),
		.max_connections = (uint32_t)c->client.max_connections,
		/* A user daemon has one user, whose share is everything. */
		.max_connections_per_uid = scope == OPTIONS_SCOPE_SYSTEM ?
		    (uint32_t)c->client.max_connections_per_uid : 0,
		.max_in_flight = (uint32_t)c->client.max_in_flight,
		.stall_timeout_ms = c->client.stall_timeout_ms,
		.bound_grace_ms = c->client.bound_grace_ms,
		.output_limit = c->output.limit_bytes,
		.history_jobs = config_history_jobs(c),
		.history_age_ms = c->store.history_age_ms,
		.output_total = config_output_total(c),
		.grace_ms = c->launcher.grace_ms,
		.launcher_jobs = (uint32_t)c->launcher.jobs,
	};
}

static int
configure_queues(struct daemon *d)
{
	const struct config *c = d->setup->config;

	for (size_t i = 0; i < c->nqueues; i++) {
		int64_t max = c->queues[i].max_running;

		if (engine_configure_queue(d->engine, c->queues[i].name,
		        max < 0 ? ENGINE_UNLIMITED : (uint32_t)max) != 0)
			return -1;
	}
	return 0;
}

static void
on_reloaded(void *arg)
{
	struct daemon *d = arg;
	struct engine_limits limits = limits_of(d->setup->config, d->setup->options->scope);

	log_set_level(d->setup->log, (enum slot_log_level)d->setup->config->log.level);
	engine_reconfigure(d->engine, &limits);
	if (configure_queues(d) != 0)
		slot_log(d->logger, SLOT_LOG_ERROR, "queues not configured error=out-of-memory");
	on_idle(d, engine_idle(d->engine));
}

static const char *const *
on_reload(void *arg, const char **error)
{
	struct daemon *d = arg;

	return reload_run(&d->reload, error);
}

/* ---- the launcher --------------------------------------------------------------------------- */

static void
limit_files(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = { soft, hard };

	setrlimit(RLIMIT_NOFILE, &limit); /* ours is enough for fewer clients then */
}

/* Started with the limits that we were started with: jobs inherit them from the launcher. */
static int
start_launcher(struct daemon *d)
{
	const struct config *c = d->setup->config;
	struct launch_options options = {
		.path = d->places.launcher,
		.jobs = (unsigned)c->launcher.jobs,
		.grace_ms = c->launcher.grace_ms,
	};
	const char *where = "";
	struct launch *launch;
	int error = 0;

	limit_files(d->files.rlim_cur, d->files.rlim_max);
	if (is_durable(d))
		launch = launch_connect(d->base, d->places.launcher_socket, &options,
		    &engine_launch_handlers, d->engine, &error, &where);
	else
		launch = launch_start(
		    d->base, &options, &engine_launch_handlers, d->engine, &error, &where);
	limit_files(d->files.rlim_max, d->files.rlim_max);
	if (launch == NULL) {
		slot_log(d->logger, SLOT_LOG_ERROR, "launcher not started path=%s step=%s error=%s",
		    d->places.launcher, where, strerror(error));
		return -1;
	}
	engine_set_launch(d->engine, launch);
	return 0;
}

/*
 * Ready is a daemon whose jobs start. One that is late with its launcher can be connected to all
 * the same, and says so after a while.
 */
static void
tell_ready(struct daemon *d)
{
	const struct config *c = d->setup->config;

	if (d->ready || d->state != DAEMON_RUNNING)
		return;
	d->ready = true;
	event_del(d->ready_timer);
	slot_log(d->logger, SLOT_LOG_INFO, "ready socket=%s max_running=%lld durability=%s",
	    d->places.socket, (long long)c->executor.max_running,
	    config_find("store", "durability")->words[c->store.durability]);
	notify_ready(d->setup->options->ready_fd);
}

static void
on_ready_timer(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)what;
	slot_log(d->logger, SLOT_LOG_WARN, "the launcher has not answered yet, jobs wait");
	tell_ready(d);
}

static void
on_launched(void *arg)
{
	struct daemon *d = arg;

	slot_log(d->logger, SLOT_LOG_INFO, "launcher connected pid=%d",
	    engine_launcher_pid(d->engine));
	tell_ready(d);
}

static void
relaunch(struct daemon *d)
{
	struct timeval pause = { .tv_sec = RELAUNCH_PAUSE_S };

	if (d->state != DAEMON_RUNNING)
		return;
	d->relaunched_us = slot_loop_now_us(d->loop);
	if (start_launcher(d) != 0)
		event_add(d->relaunch_timer, &pause);
}

static void
on_relaunch_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	relaunch(arg);
}

/*
 * The launcher died and its jobs with it. The next one is started at once, unless that was done
 * a moment ago: one that can't live is not tried again and again.
 */
static void
on_lost(void *arg)
{
	struct daemon *d = arg;
	struct timeval pause = { .tv_sec = RELAUNCH_PAUSE_S };
	int64_t age_us = slot_loop_now_us(d->loop) - d->relaunched_us;

	if (d->relaunched_us != 0 && age_us < RELAUNCH_PAUSE_S * INT64_C(1000000))
		event_add(d->relaunch_timer, &pause);
	else
		relaunch(d);
}

/*
 * The journal can't be trusted any more: what was told is on disk, what wasn't nobody knows of.
 * Nothing that we could still do would be sure, so there is no tidy end; the next start recovers.
 */
static void
on_failed(void *arg, const char *what)
{
	struct daemon *d = arg;

	slot_log(d->logger, SLOT_LOG_ERROR, "journal failed, leaving status=%d state=%s error=\"%s\"",
	    DAEMON_STATUS_JOURNAL, d->places.state, what);
	_exit(DAEMON_STATUS_JOURNAL);
}

static void
on_watchdog_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	notify_alive();
}

/* ---- starting ------------------------------------------------------------------------------- */

static int
failed(struct daemon *d, const char *what, const char *detail, int error)
{
	slot_log(d->logger, SLOT_LOG_ERROR, "%s: %s%s%s", detail, what, error != 0 ? ": " : "",
	    error != 0 ? strerror(error) : "");
	return -1;
}

/* A group's id; "" is none. */
static int
group_id(struct daemon *d, const char *name, gid_t *gid)
{
	const struct group *group;

	*gid = (gid_t)-1;
	if (name[0] == '\0')
		return 0;
	group = getgrnam(name);
	if (group == NULL)
		return failed(d, "no such group", name, 0);
	*gid = group->gr_gid;
	return 0;
}

static int
take_lock(struct daemon *d, struct lock *lock, const char *path, const char *what)
{
	pid_t holder;
	int r = lock_take(lock, path, &holder);

	if (r == 0)
		return 0;
	if (r != -EWOULDBLOCK)
		return failed(d, "can't be locked", path, -r);
	slot_log(d->logger, SLOT_LOG_ERROR, "%s: held by another slotd, process %d", what,
	    (int)holder);
	return -1;
}

/* The state directory is ours alone as long as we run, and so is the launcher that it names. */
static int
take_state(struct daemon *d)
{
	char why[PLACES_MAX + 128];
	int fd;
	ssize_t n;

	if (!is_durable(d))
		return 0;
	if (places_find_state(&d->places, d->setup->options, why, sizeof(why)) != 0)
		return failed(d, "no state directory", why, 0);
	if (take_lock(d, &d->state_lock, d->places.state_lock, d->places.state) != 0)
		return -1;
	fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, d->boot_id, sizeof(d->boot_id) - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return failed(d, "can't be read", BOOT_ID_FILE, errno);
	d->boot_id[strcspn(d->boot_id, "\n")] = '\0';
	return 0;
}

static int
make_loop(struct daemon *d)
{
	/* Not with precise timers: they cost a timerfd_settime each turn. What has to be on time
	 * waits on the loop's own timer; libevent's bound waits that may be longer. */
	d->base = event_base_new();
	d->loop = d->base != NULL ? slot_loop_new(d->base) : NULL;
	if (d->loop == NULL)
		return failed(d, "no event loop", "slotd", errno);
	return 0;
}

static int
make_events(struct daemon *d)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	unsigned long long us = notify_watchdog_us();
	struct timeval period = { .tv_sec = (time_t)(us / 1000000), .tv_usec = us % 1000000 };

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 3; i++) {
		d->signals[i] = evsignal_new(d->base, numbers[i], on_signal, d);
		if (d->signals[i] == NULL || event_add(d->signals[i], NULL) != 0)
			return failed(d, "signals can't be caught", "slotd", 0);
	}
	d->idle_timer = evtimer_new(d->base, on_idle_timer, d);
	d->relaunch_timer = evtimer_new(d->base, on_relaunch_timer, d);
	d->watchdog_timer = event_new(d->base, -1, EV_PERSIST, on_watchdog_timer, d);
	d->ready_timer = evtimer_new(d->base, on_ready_timer, d);
	if (d->idle_timer == NULL || d->relaunch_timer == NULL || d->watchdog_timer == NULL ||
	    d->ready_timer == NULL)
		return failed(d, "out of memory", "slotd", 0);
	if (us > 0)
		event_add(d->watchdog_timer, &period);
	return 0;
}

static int
make_engine(struct daemon *d)
{
	static const enum engine_durability durability[] = {
		[CONFIG_DURABILITY_FULL] = ENGINE_FULL,
		[CONFIG_DURABILITY_NORMAL] = ENGINE_NORMAL,
		[CONFIG_DURABILITY_MEMORY] = ENGINE_MEMORY,
	};
	const struct daemon_setup *setup = d->setup;
	struct engine_options options = {
		.durability = durability[setup->config->store.durability],
		.state_dir = d->places.state,
		.boot_id = d->boot_id,
		.keep_env = setup->config->store.keep_env == CONFIG_KEEP_ENV_YES,
		.loop = d->loop,
		.logger = d->logger,
		.limits = limits_of(setup->config, setup->options->scope),
		.version = setup->version,
		.uid = geteuid(),
		.on_idle = on_idle,
		.on_launched = on_launched,
		.on_lost = on_lost,
		.on_failed = on_failed,
		.on_reload = on_reload,
		.arg = d,
	};

	if (group_id(d, setup->config->socket.admin_group, &options.admin_gid) != 0)
		return -1;
	d->engine = engine_new(&options);
	if (d->engine == NULL || configure_queues(d) != 0)
		return failed(d, "no engine", "slotd", 0);
	return 0;
}

static void
on_connection(void *arg, int fd)
{
	struct daemon *d = arg;

	engine_accept(d->engine, fd);
}

/* `fd`: passed by the service manager, or -1: we bind. */
static int
make_listener(struct daemon *d, int fd)
{
	static const struct listener_handlers handlers = { on_connection, on_removed };
	const struct config *c = d->setup->config;
	const char *path = fd >= 0 ? NULL : d->places.socket; /* not ours to remove */
	struct listener_place place = { d->places.socket, (mode_t)c->socket.mode, (gid_t)-1 };

	if (fd < 0) {
		if (group_id(d, c->socket.group, &place.group) != 0)
			return -1;
		fd = listener_bind(&place);
	}
	if (fd == -ENOTSOCK)
		return failed(d, "something that is no socket is in the way", d->places.socket, 0);
	if (fd < 0)
		return failed(d, "can't listen", d->places.socket, -fd);
	d->listener = listener_new(d->base, fd, path, &handlers, d, d->logger);
	return d->listener != NULL ? 0 : failed(d, "can't listen", d->places.socket, ENOMEM);
}

static int
start(struct daemon *d)
{
	const struct options *o = d->setup->options;
	struct timeval patience = { .tv_sec = READY_PATIENCE_S };
	char why[PLACES_MAX + 128];
	int fd;

	if (o->ready_fd >= 0 && notify_check_fd(o->ready_fd) != 0)
		return failed(d, "is not open", "--ready-fd", 0);
	fd = listener_inherit();
	if (fd == -EINVAL)
		return failed(
		    d, "accepted is one listening AF_UNIX stream socket", "LISTEN_FDS", 0);
	if (places_find(&d->places, o, d->setup->config, d->setup->launcher, why, sizeof(why)) != 0)
		return failed(d, "no place for the socket", why, 0);
	if (fd >= 0) /* who may listen there is the service manager's business */
		listener_name(fd, d->places.socket, sizeof(d->places.socket));
	else if (take_lock(d, &d->lock, d->places.lock, d->places.socket) != 0)
		return -1;
	if (take_state(d) != 0)
		return -1;
	if (make_loop(d) != 0 || make_events(d) != 0 || make_engine(d) != 0 ||
	    start_launcher(d) != 0 || make_listener(d, fd) != 0)
		return -1;
	d->state = DAEMON_RUNNING;
	on_idle(d, engine_idle(d->engine));
	if (engine_launcher_ready(d->engine))
		tell_ready(d);
	else
		event_add(d->ready_timer, &patience);
	return 0;
}

static void
free_event(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

static void
stop(struct daemon *d)
{
	listener_free(d->listener);
	if (d->engine != NULL)
		engine_free(d->engine);
	for (int i = 0; i < 3; i++)
		free_event(d->signals[i]);
	free_event(d->idle_timer);
	free_event(d->relaunch_timer);
	free_event(d->watchdog_timer);
	free_event(d->ready_timer);
	slot_loop_free(d->loop);
	if (d->base != NULL)
		event_base_free(d->base);
	reload_fini(&d->reload);
	lock_drop(&d->state_lock);
	lock_drop(&d->lock);
}

int
daemon_run(const struct daemon_setup *setup)
{
	struct daemon d = {
		.setup = setup,
		.logger = &setup->log->logger,
		.lock = { .fd = -1 },
		.state_lock = { .fd = -1 },
		.reload = {
			.options = setup->options,
			.config = setup->config,
			.logger = &setup->log->logger,
			.on_reloaded = on_reloaded,
		},
		.status = 1,
	};

	d.reload.arg = &d;
	if (getrlimit(RLIMIT_NOFILE, &d.files) != 0)
		d.files = (struct rlimit){ 1024, 1024 };
	if (start(&d) == 0) {
		d.status = event_base_dispatch(d.base) == 0 || d.state == DAEMON_GONE ? 0 : 1;
		slot_log(d.logger, SLOT_LOG_INFO, "gone");
	}
	stop(&d);
	return d.status;
}
