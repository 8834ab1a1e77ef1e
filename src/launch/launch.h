#ifndef LAUNCH_LAUNCH_H
#define LAUNCH_LAUNCH_H
/*
 * The engine's side of the launcher: queues frames, sends them once a turn, and tells what
 * came back. An ops table, so that tests and the simulation put a fake in its place.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

enum launch_step { /* where a spawn failed; names are part of the protocol (error.step) */
	LAUNCH_STEP_NONE,
	LAUNCH_STEP_CLONE,
	LAUNCH_STEP_SETSID,
	LAUNCH_STEP_RLIMIT,
	LAUNCH_STEP_NICE,
	LAUNCH_STEP_IDENTITY,
	LAUNCH_STEP_CLOSE,
	LAUNCH_STEP_CHDIR,
	LAUNCH_STEP_STDIN,
	LAUNCH_STEP_STDOUT,
	LAUNCH_STEP_STDERR,
	LAUNCH_STEP_TTY,
	LAUNCH_STEP_EXEC,
	LAUNCH_STEP_BODY, /* the launcher refused the body, or had no room */
	LAUNCH_STEP_MAX
};
const char *launch_step_name(enum launch_step step);

enum launch_how { LAUNCH_EXITED, LAUNCH_SIGNALED, LAUNCH_SPAWN_FAILED };

/* Why a job was ended before its time, as far as the launcher did it. */
enum launch_cause { LAUNCH_CAUSE_NONE, LAUNCH_CAUSE_TIMEOUT, LAUNCH_CAUSE_CANCEL,
	LAUNCH_CAUSE_SHUTDOWN, /* the launcher was told to leave */
};

struct launch_exit { /* the leader of (job, attempt) ended */
	uint64_t job;
	uint32_t attempt;
	enum launch_how how;
	enum launch_cause cause;
	int exit_code;         /* LAUNCH_EXITED */
	int signal;            /* LAUNCH_SIGNALED */
	enum launch_step step; /* LAUNCH_SPAWN_FAILED */
	int error;             /* LAUNCH_SPAWN_FAILED: errno */
	int64_t user_us, system_us, max_rss_kib;
	int64_t ran_us;        /* CLOCK_MONOTONIC from clone to reap */
};

enum launch_scope { LAUNCH_SCOPE_LEADER, LAUNCH_SCOPE_GROUP, LAUNCH_SCOPE_TREE };

/*
 * What a job's three descriptors are connected to, where the engine passes one; and our own ends
 * of its pipes, which a launcher that outlives us keeps until the exit is acknowledged, and hands
 * to the next engine.
 */
enum launch_fd_role { LAUNCH_FD_NONE, LAUNCH_FD_STDIN, LAUNCH_FD_STDOUT, LAUNCH_FD_STDERR,
	LAUNCH_FD_BODY, /* sealed memfd with body and environment */
	LAUNCH_FD_KEEP_STDIN,  /* the write end of its stdin pipe */
	LAUNCH_FD_KEEP_STDOUT, /* the read ends */
	LAUNCH_FD_KEEP_STDERR,
};
#define LAUNCH_FDS_MAX 7

struct launch_run {
	uint64_t job;
	uint32_t attempt;
	uint32_t slots;
	const void *body; /* launch/body.h; borrowed for the call */
	size_t body_len;
	const void *env; /* "K=V\0" after "K=V\0"; borrowed for the call */
	size_t env_len;
	int fds[LAUNCH_FDS_MAX]; /* taken: closed once sent, or on failure */
	uint8_t roles[LAUNCH_FDS_MAX]; /* enum launch_fd_role */
	unsigned nfds;
};

struct launch_held { /* of an earlier engine, not acknowledged: running, or its exit follows */
	uint64_t job;
	uint32_t attempt;
	uint32_t slots;
	int fds[3]; /* write end of stdin, read ends of stdout, stderr; -1: none. The handler's */
};

struct launch_handlers { /* all called from the loop */
	/* One call for each attempt that the launcher holds, after the connection was made and
	 * before on_ready. May be NULL where the launcher is always a new one. */
	void (*on_held)(void *arg, const struct launch_held *held);
	/* The launcher answered HELLO and told all that it holds; exits follow. */
	void (*on_ready)(void *arg, uint64_t instance);
	void (*on_exit)(void *arg, const struct launch_exit *ex); /* answer with ack */
	/* No process of (job, attempt) is left (after its exit was told); best_effort: as far as
	 * can be known without a cgroup. */
	void (*on_gone)(void *arg, uint64_t job, uint32_t attempt, bool best_effort);
	void (*on_signaled)(void *arg, uint64_t token, int error); /* errno, 0: delivered */
	void (*on_lost)(void *arg, const char *why); /* the launcher is gone; nothing follows */
};

struct launch; /* a live connection, or a fake */

struct launch_ops { /* what is asked before on_ready is sent with it */
	/* Queues a start. 0 or a negative errno (nothing was queued; the fds are closed). A
	 * launcher that refuses it answers with an exit of LAUNCH_SPAWN_FAILED. */
	int (*run)(struct launch *l, const struct launch_run *run);
	/* TERM to the whole tree now, KILL after grace_ms (0: at once). */
	void (*cancel)(struct launch *l, uint64_t job, uint32_t attempt, int64_t grace_ms);
	void (*signal)(struct launch *l, uint64_t job, uint32_t attempt, int signo,
	    enum launch_scope scope, uint64_t token);
	void (*ack)(struct launch *l, uint64_t job, uint32_t attempt); /* exit recorded */
	void (*ceiling)(struct launch *l, uint32_t slots); /* never more than this at once */
	/* Sends what is queued: once a turn. Acknowledgements alone may wait for another frame, a
	 * few milliseconds at most. */
	void (*flush)(struct launch *l);
	/* Closes: in memory mode that ends every job. One that `keeps` goes on with its jobs, and
	 * drops RUN and SIGNAL frames that it had not read. */
	void (*free)(struct launch *l);
	/* We closed our end of the job's stdin: so does who keeps it. Only where it `keeps`, NULL
	 * is allowed elsewhere. */
	void (*close_stdin)(struct launch *l, uint64_t job, uint32_t attempt);
	void (*push)(struct launch *l); /* flush that makes nothing wait */
};

struct launch {
	const struct launch_ops *ops;
	bool keeps; /* outlives us: give it our ends of the pipes to keep (LAUNCH_FD_KEEP_…) */
};

struct launch_options {
	const char *path;     /* of slotd-launcher */
	unsigned jobs;        /* table capacity, 0: the launcher's default */
	int64_t grace_ms;     /* default grace for EOF and jobs that say none */
};

/* Starts a launcher of our own on a socketpair (memory mode). NULL: *error is an errno and
 * where says what failed. Handlers are copied. */
struct launch *launch_start(struct event_base *base, const struct launch_options *options,
    const struct launch_handlers *handlers, void *arg, int *error, const char **where);
/*
 * Connects to the launcher that listens at `socket_path` (durable mode), and starts one there
 * where none does; it outlives us, with its jobs. Both sides check the other's uid. An older
 * launcher is asked to re-exec itself, which keeps its children. `socket_path` may be longer
 * than a sun_path. NULL: as launch_start.
 */
struct launch *launch_connect(struct event_base *base, const char *socket_path,
    const struct launch_options *options, const struct launch_handlers *handlers, void *arg,
    int *error, const char **where);
/* The launcher's pid, for logs; 0: not known yet (of one that ran before us until on_ready), or
 * none any more. */
int launch_pid(const struct launch *l);

#endif
