#ifndef SLOT_CLIENT_H
#define SLOT_CLIENT_H
/*
 * A slot_client is one connection to slotd, on the program's event loop or, where it has none, on
 * one of the client's own (slot_client_run). What it hands out are plain slot_futures:
 * slot_as_completed, slot_wait, slot_gather and slot_limited take the jobs of a daemon as they
 * take in-process actions.
 *
 * JSON: parameters and results are json_t of jansson (>= 2.14); this header includes it. A
 * json_t parameter named `params` or `spec` is taken (its reference is given away), whatever
 * the function returns; everything handed out is borrowed unless said otherwise.
 *
 * `error` may be NULL; it is 0 when the call succeeded. Times are milliseconds, _us microseconds.
 *
 * Callbacks run from the loop, never inside a call of yours but those that run it; they may do
 * anything, freeing the client included. Not thread-safe: one client belongs to one loop, and that
 * to one thread. After a fork only the parent may use it; all descriptors are close-on-exec.
 */
#include <slot/future.h>
#include <jansson.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slot_client;
struct slot_stream;

/* An error that the daemon answered with: the detail of a future that failed with
 * -SLOT_EREMOTE. Switch on `kind`, never on `message`. */
struct slot_rpc_error {
	int code;
	const char *kind;    /* "NoSuchJob", …; "" when the daemon named none */
	const char *message; /* one English sentence */
	const json_t *data;  /* the error's data object; NULL when there is none */
};

/* ---- connecting ---------------------------------------------------------------------------- */

enum slot_client_state {
	SLOT_CLIENT_OPEN,         /* connected (hello may still be under way) */
	SLOT_CLIENT_RECONNECTING, /* the connection was lost; with `reconnect` it is tried again */
	SLOT_CLIENT_OVER,         /* for good */
};

/* Zero-initialise it: 0 and NULL stand for the usual. */
struct slot_client_options {
	const char *name;    /* "program/version" for the daemon's log; NULL: "libslot/<version>" */
	const char *session; /* token of an earlier connection whose bound jobs to take over */
	size_t out_limit;    /* bytes queued for the daemon; 0: SLOT_CLIENT_OUT_LIMIT */
	size_t with_output;  /* job futures carry this many bytes of stdout and stderr (<= 65536) */

	/*
	 * Going on when a durable daemon is restarted (a memory one forgets everything: there the
	 * loss of the connection is always the end). See "a restart of the daemon" below.
	 */
	bool reconnect;
	/* How long it is tried; 0: SLOT_CLIENT_RECONNECT_MS. Whoever takes the connection is waited
	 * for like any answer, however long a daemon needs to start. */
	int64_t reconnect_ms;
	/*
	 * With reconnect each job.submit that has no `key` gets a random one ("auto-…"), so that
	 * it can be sent again without ever making two jobs. True: they get none; a submit whose
	 * answer was lost then fails with -SLOT_EUNKNOWN.
	 */
	bool no_auto_keys;
	/* The connection was lost and is being made anew (SLOT_CLIENT_RECONNECTING), or is there
	 * again (SLOT_CLIENT_OPEN, code 0, or -SLOT_EINSTANCE: with a daemon that knows nothing of
	 * what came before). That it was given up is on_disconnect's. May be NULL. */
	void (*on_state)(struct slot_client *client, enum slot_client_state state, int code,
	    const char *why, void *arg);
	/* Nobody listens; called after each attempt but the first to reach the daemon again. It may
	 * start one. May be NULL. */
	void (*on_absent)(struct slot_client *client, unsigned attempt, void *arg);

	/* The connection is over: -SLOT_ECLOSED (the daemon closed it, and did not come back where
	 * `reconnect` was set, or it was never known whether it is durable: its first hello had no
	 * answer yet), -SLOT_EPROTOCOL (it sent what is no slot/1) or -SLOT_ENOMEM (no memory to
	 * make it anew); `why` is one line for people. All open calls, jobs and streams have
	 * failed with that code by then. Not called by slot_client_free. */
	void (*on_disconnect)(struct slot_client *client, int code, const char *why, void *arg);
	/* After slot_client_writable said false: there is room again. */
	void (*on_writable)(struct slot_client *client, void *arg);
	void *arg;
	void *reserved[6]; /* NULL: what later versions add */
};

#define SLOT_CLIENT_OUT_LIMIT (4u << 20)
#define SLOT_CLIENT_RECONNECT_MS 30000

/*
 * Connects to the daemon's socket (any length of path) and says hello; requests may follow at
 * once. `loop` NULL: the client gets a loop of its own, on an event_base of its own, which
 * slot_client_run runs and slot_client_free frees. `path` NULL: the place that
 * slot_client_default_socket gives for SLOT_CLIENT_USER. `options` may be NULL; its strings are
 * copied. NULL: *error (may be NULL) is -SLOT_ECONNECT with errno set (EPERM: at the user's own
 * default place somebody else listens, who is told nothing, or others may write to its
 * directory), -SLOT_EINVAL (with_output) or -SLOT_ENOMEM. Blocks for at most two seconds, and only where the
 * daemon's backlog is full.
 */
struct slot_client *slot_client_connect(struct slot_loop *loop, const char *path,
    const struct slot_client_options *options, int *error);

/* The same on a connected stream socket, which is taken (closed on failure too); it can't be made
 * anew: `reconnect` counts for nothing. */
struct slot_client *slot_client_new_fd(struct slot_loop *loop, int fd,
    const struct slot_client_options *options, int *error);

/*
 * Closes and frees. Open calls and jobs fail with -SLOT_ECLOSED, open streams end without a
 * callback. Streams not freed yet become inert: free them still. NULL is allowed.
 * A loop of the client's own is freed with the last client on it: combinators on it have to be
 * gone by then, futures need not. Callbacks of what failed run before this returns; when a
 * callback frees that client, before slot_client_run returns, and the loop lives until then.
 */
void slot_client_free(struct slot_client *client);

/* False once the connection is over; true while it is being made anew. */
bool slot_client_connected(const struct slot_client *client);
enum slot_client_state slot_client_state(const struct slot_client *client);

/* A future of the answer to hello (result: its json_t object). One reference is the caller's. */
struct slot_future *slot_client_ready(struct slot_client *client);

/* The answer to hello, the newest, with the features and limits of the daemon; NULL before it is
 * there. Borrowed until a reconnect. */
const json_t *slot_client_hello(const struct slot_client *client);

/* The seq of the newest completion seen (hello's at first): where a reconnect goes on. */
uint64_t slot_client_seq(const struct slot_client *client);

/* The loop given to connect, or the client's own: for combinators, and for other clients of the
 * same program. Its own is run by slot_client_run and nothing else, with any client on it. */
struct slot_loop *slot_client_loop(const struct slot_client *client);

/*
 * The socket that programs use when none is named: $SLOTD_SOCKET, else the system's or the
 * user's own. The caller frees it. NULL: *why (may be NULL) says why there is none.
 */
enum slot_client_scope { SLOT_CLIENT_USER, SLOT_CLIENT_SYSTEM };
char *slot_client_default_socket(enum slot_client_scope scope, const char **why);

/* ---- for programs without a loop of their own ----------------------------------------------
 *
 * These run the client's loop, its own or one that was given to connect, and with it all that is
 * on it: callbacks, other clients, a reconnect. They block until what is asked for is there, not
 * from inside a callback: there they refuse. A signal that is caught does not end them.
 */

/* Until `f`, any future of that loop, is done. 0: it is; else -SLOT_ETIMEOUT (timeout_ms below 0:
 * no limit), -SLOT_EINVALSTATE (from inside a callback, or the loop has nothing left to wait for),
 * -SLOT_EINVAL (`f` belongs to another loop) or -SLOT_ENOMEM. A callback may free the client. */
int slot_client_run(struct slot_client *client, struct slot_future *f, int64_t timeout_ms);

/* Until slot_as_completed_next has a future (one reference is the caller's); its own timeout
 * counts. NULL: slot_as_completed_status says why: 0, all were taken; -SLOT_ETIMEOUT; 1, it can't
 * be waited for, as -SLOT_EINVALSTATE above. `ac`, on that loop, needs no callback. */
struct slot_as_completed;
struct slot_future *slot_client_run_next(struct slot_client *client, struct slot_as_completed *ac);

/* ---- a restart of the daemon ---------------------------------------------------------------
 *
 * With `reconnect` (and slot_client_connect: a path is needed) the loss of the connection is no
 * end. The client connects again, with pauses from 10 ms to 1 s, gives its session back, so that
 * its bound jobs are its own again, and goes on:
 *
 *	jobs of submit and attach    their futures settle as if nothing had been; seq is the
 *	                             measure: no completion is lost or told twice
 *	what only reads              is asked again, timeouts shortened by what has passed:
 *	                             job.get, job.list, job.result, futures.*, output.read,
 *	                             queue.list, limits.get, stats.get, metrics.get, rpc.discover;
 *	                             also job.cancel, which does no more the second time
 *	completions.subscribe        goes on behind the last item (without since_seq and before the
 *	                             first item: behind the seq at which it was opened)
 *	futures.as_completed         goes on with the jobs that were not told of
 *	output.follow                goes on at the next byte of each descriptor
 *	events.subscribe             begins anew, after a gap of 0: how much is not known
 *	job.submit, job.submit_batch are sent again where each job has a key (see no_auto_keys)
 *	anything not sent yet        is sent
 *	anything else                fails with -SLOT_EUNKNOWN; map.open's stream ends with it and
 *	                             map.push and map.end fail with it whether sent or not: the
 *	                             stream they name is gone, its jobs go on as bound ones
 *
 * Calls made meanwhile wait for the connection. Where another instance answers (history was
 * lost), all that was open fails with -SLOT_EINSTANCE, and the client goes on without it. A job
 * that ended meanwhile and was pruned already fails with HistoryTruncated.
 */

/* ---- calls --------------------------------------------------------------------------------- */

/*
 * Calls a method. The future's result is a json_t, the answer's `result`. It fails with
 * -SLOT_EREMOTE (detail: struct slot_rpc_error), -SLOT_ECLOSED, -SLOT_EPROTOCOL or, with
 * `reconnect`, -SLOT_EUNKNOWN or -SLOT_EINSTANCE. Cancelling it asks the daemon to give the
 * request up; it settles when the daemon has answered. One reference is the caller's and may be
 * dropped early. `params` may be NULL: {}.
 * NULL: *error is -SLOT_ECLOSED, -SLOT_EINVAL (more than 1 MiB as a line, 65,536 tokens, nested
 * deeper than 32 or with a NUL in a name: what the daemon would not read) or -SLOT_ENOMEM (also: no room in the
 * out buffer, see slot_client_writable, or a descriptor could not be duplicated).
 */
struct slot_future *slot_client_call(struct slot_client *client, const char *method,
    json_t *params, int *error);

/* The same with descriptors, which the spec names {"fd":0}, {"fd":1}, … in this order. They
 * are duplicated; the caller keeps its own. At most SLOT_CLIENT_FDS_MAX. */
#define SLOT_CLIENT_FDS_MAX 16
struct slot_future *slot_client_call_fds(struct slot_client *client, const char *method,
    json_t *params, const int *fds, unsigned nfds, int *error);

/* False: what is queued for the daemon has reached half the limit, or a call was refused for want
 * of room. Wait for on_writable. */
bool slot_client_writable(const struct slot_client *client);

/* The error detail of a future that failed with -SLOT_EREMOTE; NULL for any other. */
const struct slot_rpc_error *slot_rpc_error(const struct slot_future *f);

/* ---- jobs ---------------------------------------------------------------------------------- */

enum slot_outcome {
	SLOT_OUTCOME_OTHER, /* one that this library does not know: see the name */
	SLOT_OUTCOME_EXITED,
	SLOT_OUTCOME_SIGNALED,
	SLOT_OUTCOME_TIMED_OUT,
	SLOT_OUTCOME_CANCELLED,
	SLOT_OUTCOME_SPAWN_FAILED,
	SLOT_OUTCOME_LOST,
	SLOT_OUTCOME_DEPENDENCY_FAILED,
};

/* How a job ended. Lives as long as the object it was read from or the job's future. */
struct slot_completion {
	uint64_t job;
	uint64_t seq;
	bool ok;
	enum slot_outcome outcome;
	const char *outcome_name;
	int exit_code;       /* -1: none */
	int signal;          /* 0: none */
	const json_t *object; /* all of it: tag, stdout, stderr, what later servers add */
};

/* Reads a completion (or a job object that is done) out of JSON, which it borrows from.
 * 0 or -SLOT_EPROTOCOL. */
int slot_completion_read(struct slot_completion *out, const json_t *object);

/*
 * Submits a job; `spec` holds the parameters of job.submit. The future is the job's: a result
 * (a struct slot_completion) when it ended ok, an exception -SLOT_EFAILED (detail: the
 * completion) when not, cancelled when the job was. A submit that was refused fails as a call
 * does. Cancelling the future cancels the job; it settles when the job has ended. Dropping it
 * does nothing to the job. Where so many jobs end at once that history does not keep them until
 * the client has read of them, those that are gone fail with HistoryTruncated (-SLOT_EREMOTE).
 * NULL as for slot_client_call.
 */
struct slot_future *slot_client_submit(struct slot_client *client, json_t *spec, int *error);
struct slot_future *slot_client_submit_fds(struct slot_client *client, json_t *spec,
    const int *fds, unsigned nfds, int *error);

/*
 * Futures of `n` jobs that exist already, one reference to each being the caller's, on one
 * request. All or none: an id that the daemon does not know fails them all with NoSuchJob.
 * 0, or as for slot_client_call; -SLOT_EINVAL for an id of 0, for n 0 and above 65000.
 */
int slot_client_attach(struct slot_client *client, const uint64_t *jobs, size_t n,
    struct slot_future **futures);

/* Of a future made by submit or attach (else 0 and NULL): the job's id, 0 before the daemon
 * has answered; how it ended, NULL before it did, there for cancelled jobs too. */
uint64_t slot_job_id(const struct slot_future *f);
const struct slot_completion *slot_job_completion(const struct slot_future *f);

/* ---- streams ------------------------------------------------------------------------------- */

/* Any may be NULL. Zero-initialise it. */
struct slot_stream_handlers {
	/* One $/item: the notification's params (stream and n among them). */
	void (*item)(struct slot_stream *s, const json_t *item, void *arg);
	/* $/gap: so many items were left out (events only). */
	void (*gap)(struct slot_stream *s, const json_t *gap, void *arg);
	/* $/credit from the daemon: `n` more may be pushed (map.open only). */
	void (*credit)(struct slot_stream *s, uint64_t n, void *arg);
	/*
	 * The stream is over, exactly once. code 0: `result` is there. -SLOT_EREMOTE: `error`
	 * says what. -SLOT_ECANCELLED after slot_stream_cancel; else as for slot_client_call.
	 */
	void (*end)(struct slot_stream *s, int code, const json_t *result,
	    const struct slot_rpc_error *error, void *arg);
	void (*reserved[4])(void); /* NULL: what later versions add */
};

/* Opens a stream with a streaming method. The handlers are copied. Free it when it is no
 * longer needed. NULL as for slot_client_call. */
struct slot_stream *slot_client_stream(struct slot_client *client, const char *method,
    json_t *params, const struct slot_stream_handlers *handlers, void *arg, int *error);

/* Its number, for methods that name a stream (map.push, map.end). */
uint64_t slot_stream_id(const struct slot_stream *s);

/* True until `end` was called (or the client was freed). */
bool slot_stream_open(const struct slot_stream *s);

/* Asks the daemon to end it; items may still come until `end` is called. */
void slot_stream_cancel(struct slot_stream *s);

/* Allows the daemon `n` more items (output.follow: bytes); for streams opened with `window`.
 * 0, -SLOT_ECLOSED or -SLOT_ENOMEM (also: no room in the out buffer), which changes nothing. */
int slot_stream_credit(struct slot_stream *s, uint64_t n);

/* No callback follows; a stream that is still open is cancelled. NULL is allowed. */
void slot_stream_free(struct slot_stream *s);

/* ---- bytes in JSON ------------------------------------------------------------------------- */

/* The protocol's form of bytes: a string, or {"b64": "…"} where a string can't hold them or
 * would be longer. A new reference; NULL: out of memory. */
json_t *slot_json_from_bytes(const void *data, size_t len);

/* The bytes again, with a NUL behind them that *len doesn't count; the caller frees them.
 * NULL: `value` is no bytes (or out of memory). `len` may be NULL. */
char *slot_json_to_bytes(const json_t *value, size_t *len);

#ifdef __cplusplus
}
#endif
#endif
