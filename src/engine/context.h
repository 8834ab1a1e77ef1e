#ifndef ENGINE_CONTEXT_H
#define ENGINE_CONTEXT_H
/*
 * The parts of the engine wired together: what its modules reach each other through. Each part
 * belongs to the module named beside it; others call that module's functions.
 */
#include "core/container.h"
#include "core/loop.h"
#include "core/logger.h"
#include "engine/batch.h"
#include "engine/capture.h"
#include "engine/engine.h"
#include "engine/job.h"
#include "engine/keys.h"
#include "engine/queue.h"
#include "engine/shelf.h"
#include "engine/stats.h"
#include "launch/launch.h"
#include "store/idtab.h"
#include "store/store.h"

struct session;
struct request;
TAILQ_HEAD(session_list, session);
TAILQ_HEAD(request_list, request);

enum { LIMIT_RUNNING, LIMIT_PENDING, LIMIT_PENDING_BYTES, LIMITS_AT_RUN_TIME };

enum drain_state { DRAIN_OFF, DRAIN_ON };

struct engine {
	struct slot_loop *loop;
	const struct slot_logger *logger;
	struct engine_options options;
	struct engine_limits limits; /* in force: configuration, overridden at run time */

	struct store *store;
	bool failed;           /* the journal did: nothing may be said or done any more */
	struct launch *launch; /* NULL once it is lost */
	bool launch_ready;     /* it may be given jobs */
	bool serving;          /* clients are heard */
	struct slot_timer serve_anyway; /* … the launcher or no launcher */
	bool starts_stuck;     /* nothing starts, as batches wait for the disk */
	uint32_t ceiling;      /* what it was told last */
	struct capture_pool *captures;
	struct env_blob *default_env;
	char *output_dir;   /* durable: files of output that history names */
	char instance[24]; /* the store's, as text */

	/* job.c */
	struct idtab jobs; /* live ones, by id, and the marks of shelved ones */
	struct idtab shells; /* done ones that requests name; borrowed */
	struct job_list by_phase[3]; /* enum row_phase */
	struct slot_executor *executor;
	struct queue_set *queues;
	bool all_paused; /* queues made from now on are, too */
	uint64_t npending, nrunning;
	int64_t pending_bytes;
	struct job_ties_list clocked; /* wait for a wall-clock time */
	struct shelf shelf; /* shelf.c */
	STAILQ_HEAD(, job_orphans) orphans; /* to be cancelled, in slices */
	struct slot_call cancel_orphans;
	LIST_HEAD(, job_absent) absent; /* sessions of an engine before us that may come back … */
	struct slot_timer bound_grace;  /* … until then */
	LIST_HEAD(, job_run) exits_waiting; /* to be recorded once the disk has room */
	struct keys keys; /* keys.c */
	LIST_HEAD(, load) key_loads; /* load.c: requests that look for keys */

	/* recover.c */
	uint64_t known_ids;     /* those below were given out before we started */
	uint64_t lost_launcher; /* instance whose jobs count as lost, as its connection broke; 0: none
				 * since on_ready */
	struct stray *strays;   /* what the launcher holds and no job of ours stands for */
	size_t nstrays, strays_cap;
	struct ring_name *kept; /* output files that history names, in order */
	size_t nkept, kept_cap;
	bool swept;

	/* settings.c */
	struct queue_setting *queue_settings;

	/* depend.c */
	struct slot_call cascade;
	struct depend_item *ended; /* jobs whose dependents are to be told, oldest first */
	struct depend_item **ended_tail;

	/* engine.c */
	struct slot_call turn_end;
	struct slot_timer prune;
	uint64_t published_seq; /* what may be seen of the finish order */
	bool limit_set[LIMITS_AT_RUN_TIME]; /* … and outranks the configuration */
	enum drain_state drain;
	bool shutting_down, killing;
	uint64_t last_batch;    /* durable: what must be committed before the last answers */
	bool idle;
	void (*shutdown_done)(void *arg);
	void *shutdown_arg;
	struct slot_call cancel_all;      /* a slice of it is due … */
	enum msg_reason cancel_reason;    /* … for this reason */
	struct slot_call idle_check;
	struct slot_timer linger;         /* bounds the last flush of a shutdown */
	struct event *clock_event;        /* the wall clock was set */
	int clock_fd;

	/* batch.c */
	struct batch *open;
	struct batch *in_flight, **in_flight_tail;
	struct batch *spare;
	uint64_t batches;
	uint64_t committed; /* the number of the last one */

	/* session.c */
	struct session_list sessions;
	uint32_t nsessions;
	uint32_t nfds_held; /* passed descriptors that wait for their request */

	/* admit.c */
	struct request_list held; /* submits that wait for room */
	uint32_t nheld;
	struct slot_call admit;

	/* hub.c */
	struct request_list completion_streams;
	struct request_list event_streams;
	LIST_HEAD(, done_page) pages; /* of history, that completion streams are at */
	struct request_list drains;  /* requests that wait for idleness */
	struct request_list signals; /* … for the launcher's word on a signal */
	uint64_t signal_token;

	struct stats stats;
};

/* As engine_new, with a store of the caller's making (NULL: the engine can't start). */
typedef struct store *(*engine_open_store)(const struct engine_options *options,
    const struct store_bounds *bounds, const struct store_hooks *hooks);
struct engine *engine_new_on(const struct engine_options *options, engine_open_store open);

/* Something happened that the end of this turn has to look at. */
void engine_touch(struct engine *e);
/* The number of clients or jobs changed: drains, shutdown and idleness are looked at again. */
void engine_check_idle(struct engine *e);
/* A job was added to history: it may be time to prune. */
void engine_history_grew(struct engine *e);
/* Starts may go on, unless something else forbids them. */
void engine_resume_starts(struct engine *e);
/* Batches may have got through to the disk again: what waited for that goes on. */
void engine_unstuck(struct engine *e);
/* The limit in force moved: tell executor, queues and launcher. */
void engine_apply_limits(struct engine *e);
/* Cancels every job, in slices. */
void engine_cancel_all(struct engine *e, enum msg_reason reason);
/* May this uid see and steer what belongs to others? */
bool engine_is_admin(const struct engine *e, uid_t uid);

#endif
