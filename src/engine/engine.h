#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
/*
 * The engine: jobs, policy, futures and clients, on one loop. It knows no configuration files,
 * signals or listening sockets: the daemon wires those to it.
 */
#include "core/logger.h"
#include "launch/launch.h"
#include <slot/loop.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct engine;

#define ENGINE_UNLIMITED UINT32_MAX

struct engine_limits { /* what the configuration says; some can be changed at run time */
	uint32_t max_running;         /* slots; 0 pauses starts */
	uint32_t launcher_jobs;       /* what the launcher's table holds; 0: no bound known */
	uint64_t max_pending;         /* jobs */
	int64_t max_pending_bytes;    /* specs and environments of pending jobs */
	uint32_t max_connections;
	uint32_t max_connections_per_uid; /* 0: no bound of its own */
	uint32_t max_in_flight;       /* requests of a connection that wait */
	int64_t stall_timeout_ms;     /* no write progress for so long: closed; 0: never */
	int64_t bound_grace_ms;
	int64_t output_limit;         /* bytes kept a stream, where the spec says nothing */
	int64_t history_jobs;         /* 0: no bound, here and below */
	int64_t history_age_ms;
	int64_t output_total;         /* bytes of kept output in history */
	int64_t grace_ms;             /* TERM to KILL, where neither spec nor cancel says */
};

enum engine_durability { ENGINE_MEMORY, ENGINE_NORMAL, ENGINE_FULL };

struct engine_options {
	struct slot_loop *loop;             /* borrowed for the engine's life */
	const struct slot_logger *logger;   /* borrowed; NULL: silent */
	struct engine_limits limits;
	const char *version;                /* "slotd/0.1.0"; borrowed */
	enum engine_durability durability;
	const char *state_dir;              /* durable: ours alone, 0700; borrowed */
	const char *boot_id;                /* durable: text that a reboot changes; borrowed */
	bool keep_env;                      /* environments of done jobs stay with their rows */
	const char *spool_dir;              /* memory: for output above 64 KiB; NULL: $TMPDIR */
	uid_t uid;                          /* the daemon's own: an admin, as is 0 */
	gid_t admin_gid;                    /* (gid_t)-1: none */
	/* The engine has nothing to do any more (no clients, no jobs), or has again. */
	void (*on_idle)(void *arg, bool idle);
	/* The launcher has told what it holds: jobs start. Again for each new one. NULL: ignored. */
	void (*on_launched)(void *arg);
	/* The launcher is gone: every job with it. */
	void (*on_lost)(void *arg);
	/* Durable: the journal can't be written any more, nothing commits from here on. Called
	 * once, from the loop; the process has to end without another word to anyone. */
	void (*on_failed)(void *arg, const char *what);
	/* admin.reload was asked for: re-read the configuration, call engine_reconfigure, return
	 * the names of what changed (NULL-ended, borrowed until the next call); NULL: *error says
	 * why not. */
	const char *const *(*on_reload)(void *arg, const char **error);
	void *arg;
};

/*
 * Durable: opens the journal in state_dir (setting aside one that is damaged or newer) and takes
 * up again what was live in it; what ran waits for the launcher's word. Queues that the
 * configuration names are made after this. NULL: logged.
 */
struct engine *engine_new(const struct engine_options *options);

/* Ends every connection and frees; jobs must have ended (engine_shutdown). */
void engine_free(struct engine *e);

/* What to give launch_start, with the engine as arg, and where its result goes (taken). */
extern const struct launch_handlers engine_launch_handlers;
void engine_set_launch(struct engine *e, struct launch *launch);

/* Makes a queue that the configuration names, or changes its limit. 0 or -ENOMEM. */
int engine_configure_queue(struct engine *e, const char *name, uint32_t max_running);

/* New limits from the configuration; those set at run time keep outranking them. */
void engine_reconfigure(struct engine *e, const struct engine_limits *limits);

/* Takes a connected stream socket (non-blocking, close-on-exec) with its peer's credentials.
 * A connection above the limits is told so and closed. */
void engine_accept(struct engine *e, int fd);

/*
 * Refuses submits from here on. Memory: cancels every job with its grace, and calls done from the
 * loop once no process of any job is left and clients have their answers; a second call:
 * engine_kill. Durable: jobs run on with the launcher; done is called once everything is committed
 * and clients have their answers.
 */
void engine_shutdown(struct engine *e, void (*done)(void *arg), void *arg);
/* During a shutdown: no more grace. */
void engine_kill(struct engine *e);

bool engine_idle(const struct engine *e);
uint32_t engine_running(const struct engine *e); /* slots in use */
uint64_t engine_pending(const struct engine *e); /* jobs */
/* The launcher may be given jobs: it has told what it holds. Its pid then, for logs; else 0. */
bool engine_launcher_ready(const struct engine *e);
int engine_launcher_pid(const struct engine *e);

#endif
