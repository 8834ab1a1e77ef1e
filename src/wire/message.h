#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

/*
 * The vocabulary of slot/1: every method, its parameters as a struct, its result as a struct, and
 * every JSON key.  One table (message_table.c) describes them all; decoding, encoding,
 * rpc.discover and the checks of the documentation are made from it.
 *
 * Conventions of all structs here:
 *  - an integer that may be null or absent is MSG_NULL then (a bool of that sort is an int, -1);
 *  - text is a NUL-terminated `const char *`, bytes are a struct msg_bytes; NULL means null or
 *    absent;
 *  - params begin with `present`: bit i stands for the i-th field of the table, set if it was in
 *    the message. What is absent holds its default;
 *  - everything decoded is borrowed from the call (or decoded document) until it is freed.
 *
 * To add a method: an enum msg_method_id, its structs here, rows in message_table.c.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <jansson.h>

#include "wire/arena.h"
#include "wire/jsonw.h"
#include "wire/rpc.h"

#define MSG_NULL INT64_MIN

#define MSG_ARGV_ENV_MAX (768u * 1024u) /* bytes of argv and env together, NULs included */
#define MSG_TAG_MAX 4096u
#define MSG_KEY_MAX 128u
#define MSG_NAME_MAX 255u
#define MSG_QUEUE_MAX 64u
#define MSG_PATH_BYTES_MAX 4095u
#define MSG_AFTER_MAX 256u
#define MSG_BATCH_MAX 1024u
#define MSG_WAIT_JOBS_MAX 2048u
#define MSG_WATCH_JOBS_MAX 65536u
#define MSG_CANCEL_JOBS_MAX 16384u /* their results fit one line */
#define MSG_WITH_OUTPUT_MAX 65536
#define MSG_OUTPUT_READ_MAX 262144
#define MSG_OUTPUT_READ_DEFAULT 65536
#define MSG_LIST_MAX 500
#define MSG_LIST_DEFAULT 100
#define MSG_FDS_MAX 64                              /* descriptors of one request */
#define MSG_DURATION_MAX_MS ((int64_t)315360000000) /* ten years */
#define MSG_BACKOFF_MAX_MS ((int64_t)3600000)
#define MSG_RETRIES_MAX 10000
#define MSG_SLOTS_MAX 1000000
#define MSG_RLIMITS_MAX 16u
#define MSG_PRIORITY_MAX 100
#define MSG_SIGNAL_MAX 64

/* ---- names ---- */

enum msg_phase { MSG_PHASE_PENDING, MSG_PHASE_RUNNING, MSG_PHASE_DONE };

enum msg_outcome {
	MSG_OUTCOME_NONE, /* null: not known yet */
	MSG_OUTCOME_EXITED,
	MSG_OUTCOME_SIGNALED,
	MSG_OUTCOME_TIMED_OUT,
	MSG_OUTCOME_CANCELLED,
	MSG_OUTCOME_SPAWN_FAILED,
	MSG_OUTCOME_LOST,
	MSG_OUTCOME_DEPENDENCY_FAILED,
	MSG_OUTCOME_OTHER, /* client side only: a name newer than this library */
};

enum msg_reason {
	MSG_REASON_NONE,  /* null */
	MSG_REASON_SLOTS, /* why a pending job waits … */
	MSG_REASON_QUEUE,
	MSG_REASON_PAUSED,
	MSG_REASON_DELAY,
	MSG_REASON_AFTER,
	MSG_REASON_RETRY,
	MSG_REASON_HOLD,
	MSG_REASON_QUOTA,
	MSG_REASON_CLIENT, /* … or why a done one was cancelled */
	MSG_REASON_SHUTDOWN,
	MSG_REASON_SESSION_ENDED,
	MSG_REASON_STDIN_LOST,
	MSG_REASON_FD_LOST,
	MSG_REASON_LAUNCHER_DIED, /* … or lost */
	MSG_REASON_REBOOT,
	MSG_REASON_OTHER, /* client side only */
};

const char *msg_phase_name(enum msg_phase phase);
const char *msg_outcome_name(enum msg_outcome outcome); /* NULL for NONE */
const char *msg_reason_name(enum msg_reason reason);    /* NULL for NONE */

enum msg_lifetime { MSG_LIFETIME_DETACHED, MSG_LIFETIME_BOUND };
enum msg_on_full { MSG_ON_FULL_FAIL, MSG_ON_FULL_WAIT };
enum msg_leftovers { MSG_LEFTOVERS_KILL, MSG_LEFTOVERS_KEEP };
enum msg_after_policy { MSG_AFTER_OK, MSG_AFTER_ANY };
enum msg_on_error { MSG_ON_ERROR_CONTINUE, MSG_ON_ERROR_CANCEL };
enum msg_return_when {
	MSG_RETURN_ALL_COMPLETED,
	MSG_RETURN_FIRST_COMPLETED,
	MSG_RETURN_FIRST_EXCEPTION,
};
enum msg_scope { MSG_SCOPE_LEADER, MSG_SCOPE_GROUP, MSG_SCOPE_TREE };
enum msg_order { MSG_ORDER_ASC, MSG_ORDER_DESC };
enum msg_drain_mode { MSG_DRAIN_FINISH, MSG_DRAIN_CANCEL, MSG_DRAIN_OFF };
enum msg_event_kind { /* bits in msg_events_subscribe.kinds are 1u << kind */
	MSG_EVENT_SUBMITTED,
	MSG_EVENT_RUNNING,
	MSG_EVENT_PENDING, /* from running back to pending: a retry */
	MSG_EVENT_DONE,
	MSG_EVENT_ATTEMPT_FAILED,
	MSG_EVENT_KINDS,
};
const char *msg_event_kind_name(enum msg_event_kind kind);

/* ---- values ---- */

struct msg_bytes {
	const char *ptr; /* NULL: absent; ptr[len] is NUL */
	size_t len;
};
struct msg_bytes_list {
	const struct msg_bytes *v;
	size_t n;
};
struct msg_int_list {
	const int64_t *v;
	size_t n;
};
struct msg_str_list {
	const char *const *v;
	size_t n;
};

/* ---- spec ---- */

enum msg_stdio_kind {
	MSG_STDIO_NULL,    /* stdin's default */
	MSG_STDIO_CAPTURE, /* default of stdout and stderr */
	MSG_STDIO_DATA,    /* stdin: these bytes */
	MSG_STDIO_FILE,
	MSG_STDIO_FD,     /* a descriptor passed with the request */
	MSG_STDIO_PIPE,   /* stdin: stdin.write */
	MSG_STDIO_STDOUT, /* stderr: where stdout goes */
};

struct msg_stdio {
	enum msg_stdio_kind kind;
	int fd;                 /* FD: number within the request */
	bool append;            /* FILE, for stdout and stderr */
	struct msg_bytes bytes; /* DATA: the data; FILE: the path */
};

struct msg_rlimit {
	int resource;        /* RLIMIT_… */
	const char *name;    /* as in JSON: "nofile" */
	uint64_t soft, hard; /* RLIM_INFINITY: unlimited */
};

struct msg_rlimits {
	const struct msg_rlimit *v;
	size_t n;
};

struct msg_retries {
	uint64_t present;
	int64_t max; /* further attempts, 0: none */
	int64_t backoff_ms;
	uint32_t on; /* bits 1u << enum msg_outcome */
};

/* Order as in the table; bits of msg_spec.present are MSG_SPEC_BIT(…). */
enum msg_spec_field {
	MSG_SPEC_ARGV,
	MSG_SPEC_CWD,
	MSG_SPEC_ENV,
	MSG_SPEC_UMASK,
	MSG_SPEC_NICE,
	MSG_SPEC_RLIMITS,
	MSG_SPEC_STDIN,
	MSG_SPEC_STDOUT,
	MSG_SPEC_STDERR,
	MSG_SPEC_TTY,
	MSG_SPEC_OUTPUT_LIMIT,
	MSG_SPEC_TIMEOUT_MS,
	MSG_SPEC_KILL_GRACE_MS,
	MSG_SPEC_OK_CODES,
	MSG_SPEC_QUEUE,
	MSG_SPEC_PRIORITY,
	MSG_SPEC_SLOTS,
	MSG_SPEC_AFTER,
	MSG_SPEC_AFTER_POLICY,
	MSG_SPEC_DELAY_MS,
	MSG_SPEC_NOT_BEFORE_US,
	MSG_SPEC_RETRIES,
	MSG_SPEC_NAME,
	MSG_SPEC_TAG,
	MSG_SPEC_KEY,
	MSG_SPEC_LIFETIME,
	MSG_SPEC_ON_FULL,
	MSG_SPEC_LEFTOVERS,
	MSG_SPEC_JOBSERVER,
	MSG_SPEC_MEMORY_MAX,
	MSG_SPEC_PIDS_MAX,
	MSG_SPEC_FIELDS,
};
#define MSG_SPEC_BIT(field) ((uint64_t)1 << (field))

struct msg_spec {
	uint64_t present;
	struct msg_bytes_list argv;
	struct msg_bytes cwd;      /* absent: the engine's choice ("/") */
	struct msg_bytes_list env; /* "K=V"; the whole environment if has_env, else a clean one */
	bool has_env;
	bool has_nice;
	bool tty;
	bool jobserver;
	int64_t umask; /* MSG_NULL: absent */
	int64_t nice;
	struct msg_rlimits rlimits;
	struct msg_stdio in, out, err;
	int64_t output_limit; /* MSG_NULL: the daemon's own */
	int64_t timeout_ms;   /* MSG_NULL: none */
	int64_t kill_grace_ms; /* MSG_NULL: the daemon's own */
	uint64_t ok_codes[4]; /* 256 bits; see msg_spec_is_ok() */
	const char *queue;
	int64_t priority;
	int64_t slots;
	struct msg_int_list after; /* negative: -k is the k-th job of the same batch */
	int after_policy;          /* enum msg_after_policy */
	int64_t delay_ms;          /* MSG_NULL: absent */
	int64_t not_before_us;     /* MSG_NULL: absent */
	struct msg_retries retries;
	const char *name;
	struct msg_bytes tag; /* compact JSON text (pure ASCII); absent: null */
	const char *key;
	int lifetime;       /* enum msg_lifetime */
	int on_full;        /* enum msg_on_full */
	int leftovers;      /* enum msg_leftovers */
	int64_t memory_max; /* MSG_NULL: absent */
	int64_t pids_max;   /* MSG_NULL: absent */
};

struct msg_spec_list {
	const struct msg_spec *v;
	size_t n;
};

void msg_spec_init(struct msg_spec *spec);         /* all defaults, nothing present */
bool msg_spec_has_fd(const struct msg_spec *spec); /* any {"fd":n} */
static inline bool
msg_spec_is_ok(const struct msg_spec *spec, int exit_code)
{
	return exit_code >= 0 && exit_code < 256 &&
	    (spec->ok_codes[exit_code / 64] >> (exit_code % 64) & 1);
}
/* The spec as a JSON object (members that are present or differ from their default). */
void msg_spec_write(struct jsonw *w, const struct msg_spec *spec);

/* ---- params, one struct per method ---- */

enum msg_method_id {
	M_HELLO,
	M_JOB_SUBMIT,
	M_JOB_SUBMIT_BATCH,
	M_MAP_OPEN,
	M_MAP_PUSH,
	M_MAP_END,
	M_FUTURES_AS_COMPLETED,
	M_FUTURES_WAIT,
	M_FUTURES_GATHER,
	M_JOB_RESULT,
	M_JOB_CANCEL,
	M_JOB_SIGNAL,
	M_JOB_GET,
	M_JOB_LIST,
	M_JOB_SET,
	M_JOB_RETRY,
	M_JOB_FORGET,
	M_OUTPUT_READ,
	M_OUTPUT_FOLLOW,
	M_STDIN_WRITE,
	M_COMPLETIONS_SUBSCRIBE,
	M_EVENTS_SUBSCRIBE,
	M_QUEUE_LIST,
	M_QUEUE_SET,
	M_QUEUE_REMOVE,
	M_QUEUE_PAUSE,
	M_QUEUE_RESUME,
	M_DRAIN,
	M_LIMITS_GET,
	M_LIMITS_SET,
	M_STATS_GET,
	M_METRICS_GET,
	M_ADMIN_RELOAD,
	M_RPC_DISCOVER,
	M_CANCEL, /* $/cancel, $/credit: notifications to the server */
	M_CREDIT,
	M_METHODS,
};

struct msg_hello {
	uint64_t present;
	struct msg_int_list protocol; /* default [1] */
	const char *client;
	const char *session; /* token of an earlier connection, or NULL */
};

/* job.submit is a struct msg_spec */

struct msg_job_submit_batch {
	uint64_t present;
	struct msg_spec_list jobs; /* merged with defaults */
	struct msg_spec defaults;
	int on_full; /* enum msg_on_full; defaults.on_full where absent */
};

struct msg_map_open {
	uint64_t present;
	int64_t limit;
	struct msg_spec defaults; /* borrowed as all else: keep the call while the map lives */
	int on_error;             /* enum msg_on_error */
	int64_t window;           /* MSG_NULL: delivery counts as consumption */
	int64_t with_output;
};

struct msg_map_push {
	uint64_t present;
	const struct jsonr *stream;    /* id of the map.open request */
	const struct jsonr *jobs_json; /* a list of 1..1024; see msg_map_push_specs() */
	struct msg_spec_list jobs;     /* empty until msg_map_push_specs() */
};

struct msg_map_end {
	uint64_t present;
	const struct jsonr *stream;
};

struct msg_futures_as_completed {
	uint64_t present;
	struct msg_int_list jobs; /* as given: duplicates are still in */
	int64_t timeout_ms;       /* MSG_NULL: none */
	int64_t window;           /* MSG_NULL: none */
	int64_t with_output;
};

struct msg_futures_wait {
	uint64_t present;
	struct msg_int_list jobs;
	int return_when;    /* enum msg_return_when */
	int64_t timeout_ms; /* MSG_NULL: none */
	int64_t with_output;
};

struct msg_futures_gather {
	uint64_t present;
	struct msg_int_list jobs;
	bool return_exceptions;
	int64_t with_output;
};

struct msg_job_result {
	uint64_t present;
	int64_t job;
	int64_t wait_ms;
	int64_t with_output;
};

struct msg_job_cancel {
	uint64_t present;
	struct msg_int_list jobs;
	int64_t grace_ms; /* MSG_NULL: the job's kill_grace_ms */
	bool wait;
	bool only_pending;
};

struct msg_job_signal {
	uint64_t present;
	int64_t job;
	int64_t signal; /* a number, whichever way it was given */
	int scope;      /* enum msg_scope */
};

/* job.get, job.retry */
struct msg_job_id {
	uint64_t present;
	int64_t job;
};

struct msg_job_list {
	uint64_t present;
	int phase; /* enum msg_phase, -1: any */
	const char *queue;
	int ok; /* -1: any */
	const char *name;
	int64_t uid;      /* MSG_NULL: any */
	int64_t since_us; /* submitted at or after; MSG_NULL: any */
	int64_t limit;
	int64_t cursor; /* `next` of the page before: the first id of this one */
	int order;      /* enum msg_order, by id */
};

struct msg_job_set {
	uint64_t present;
	int64_t job;
	int64_t priority; /* MSG_NULL: leave */
	const char *queue;
	int hold; /* -1: leave */
};

struct msg_job_forget {
	uint64_t present;
	struct msg_int_list jobs;
};

struct msg_output_read {
	uint64_t present;
	int64_t job;
	int64_t fd; /* 1 or 2 */
	int64_t off;
	int64_t max;
};

struct msg_output_follow {
	uint64_t present;
	int64_t job;
	struct msg_int_list fds; /* of 1 and 2; default both */
	int64_t off;
	int64_t attempt; /* that off is of; MSG_NULL: whichever there is */
	int64_t window; /* bytes; MSG_NULL: none */
};

struct msg_stdin_write {
	uint64_t present;
	int64_t job;
	struct msg_bytes data; /* empty by default */
	bool eof;
};

struct msg_filter {
	uint64_t present;
	const char *queue;
	const char *name;
	int ok;      /* -1: any */
	int64_t uid; /* MSG_NULL: any */
};

struct msg_completions_subscribe {
	uint64_t present;
	int64_t since_seq; /* MSG_NULL: from now on */
	const char *instance;
	struct msg_filter filter;
	int64_t window;
	int64_t with_output;
};

struct msg_events_subscribe {
	uint64_t present;
	uint32_t kinds; /* bits of enum msg_event_kind */
	struct msg_filter filter;
};

struct msg_queue_set {
	uint64_t present;
	const char *queue;
	int64_t max_running; /* MSG_NULL: leave, or, when present (null), no limit of its own */
	int paused;          /* -1: leave */
};

/* queue.remove (required), queue.pause and queue.resume (NULL: all) */
struct msg_queue_name {
	uint64_t present;
	const char *queue;
};

struct msg_drain {
	uint64_t present;
	int mode; /* enum msg_drain_mode */
};

struct msg_limits_set {
	uint64_t present;
	int64_t max_running; /* MSG_NULL: leave */
	int64_t max_pending;
	int64_t max_pending_bytes;
	bool reset; /* back to the configuration's values first */
};

struct msg_cancel {
	uint64_t present;
	const struct jsonr *id;
};

struct msg_credit {
	uint64_t present;
	const struct jsonr *stream;
	int64_t n;
};

struct msg_none { /* methods without parameters */
	uint64_t present;
};

struct msg_method;

struct msg_call {
	const struct msg_method *method;
	union {
		uint64_t present;
		struct msg_hello hello;
		struct msg_spec job_submit;
		struct msg_job_submit_batch job_submit_batch;
		struct msg_map_open map_open;
		struct msg_map_push map_push;
		struct msg_map_end map_end;
		struct msg_futures_as_completed futures_as_completed;
		struct msg_futures_wait futures_wait;
		struct msg_futures_gather futures_gather;
		struct msg_job_result job_result;
		struct msg_job_cancel job_cancel;
		struct msg_job_signal job_signal;
		struct msg_job_id job_get;
		struct msg_job_list job_list;
		struct msg_job_set job_set;
		struct msg_job_id job_retry;
		struct msg_job_forget job_forget;
		struct msg_output_read output_read;
		struct msg_output_follow output_follow;
		struct msg_stdin_write stdin_write;
		struct msg_completions_subscribe completions_subscribe;
		struct msg_events_subscribe events_subscribe;
		struct msg_queue_set queue_set;
		struct msg_queue_name queue_remove;
		struct msg_queue_name queue_pause;
		struct msg_queue_name queue_resume;
		struct msg_drain drain;
		struct msg_limits_set limits_set;
		struct msg_cancel cancel;
		struct msg_credit credit;
		struct msg_none none;
	} u;
	struct arena arena; /* of the request, with all that was read */
};

/* Decodes a request's params.  0, or -1 with `err` filled (MethodNotFound, InvalidParams,
 * LimitExceeded, InternalError for no memory).  On success what was read is the call's,
 * which is ended with msg_call_free(); on failure it is still the request's. */
int msg_decode(struct rpc_request *req, struct msg_call *call, struct rpc_failure *err);
void msg_call_free(struct msg_call *call);

/* Second step of map.push, once the stream is known: fills u.map_push.jobs on top of the map's
 * defaults (borrowed by the result) and makes them bound. 0 or -1. */
int msg_map_push_specs(
    struct msg_call *call, const struct msg_spec *defaults, struct rpc_failure *err);

/* ---- results and items ---- */

struct msg_completion {
	int64_t job;
	int64_t seq;
	bool ok;
	int outcome;               /* enum msg_outcome */
	int64_t exit_code;         /* MSG_NULL: null */
	int64_t signal;            /* number; MSG_NULL: null */
	struct msg_bytes tag;      /* JSON text; absent: null */
	struct msg_bytes out, err; /* with with_output; absent: not written */
};

struct msg_job_error { /* spawn_failed */
	const char *step;
	const char *errno_name; /* "ENOENT" */
	const char *message;
};

struct msg_usage {
	int64_t user_us, system_us, max_rss_kib;
};

struct msg_output_size { /* bytes kept */
	int64_t out, err;
	bool truncated;
};

struct msg_job {
	int64_t job;
	int phase;         /* enum msg_phase */
	int outcome;       /* enum msg_outcome, NONE: null */
	int ok;            /* -1: null */
	int64_t exit_code; /* MSG_NULL: null, here and below */
	int64_t signal;
	bool has_error;
	struct msg_job_error error;
	int64_t seq;
	const char *name;
	struct msg_bytes tag; /* JSON text */
	const char *queue;
	int64_t priority;
	int64_t slots;
	int64_t uid;
	struct msg_bytes_list argv;
	bool argv_truncated; /* written only when true */
	struct msg_bytes cwd;
	int64_t attempt;
	int reason; /* enum msg_reason, NONE: null */
	int64_t submitted_us;
	int64_t started_us;
	int64_t finished_us;
	bool has_usage;
	struct msg_usage usage;
	bool has_output;
	struct msg_output_size output;
	struct msg_bytes out, err; /* job.result with with_output; absent: not written */
};

void msg_job_init(struct msg_job *job); /* everything unknown */
void msg_completion_init(struct msg_completion *c);

/* The object, braces included … */
void msg_completion_write(struct jsonw *w, const struct msg_completion *c);
void msg_job_write(struct jsonw *w, const struct msg_job *job);
/* … and its members only, for $/item and errors that carry them. */
void msg_completion_members(struct jsonw *w, const struct msg_completion *c);
void msg_job_members(struct jsonw *w, const struct msg_job *job);

/* Client side: reads what the server wrote. Borrows from `json` and from the arena.  0, or -1:
 * not such an object.  Unknown members are ignored. */
int msg_completion_read(struct msg_completion *c, const struct jsonr *json, struct arena *arena);
int msg_job_read(struct msg_job *job, const struct jsonr *json, struct arena *arena);

struct msg_completion_list {
	const struct msg_completion *v;
	size_t n;
};
struct msg_job_object_list {
	const struct msg_job *v;
	size_t n;
};

struct msg_limits { /* hello.limits, limits.get, limits.set */
	int64_t max_running;
	int64_t max_pending;
	int64_t max_pending_bytes;
	int64_t max_in_flight;
	int64_t max_connections;
	int64_t max_connections_per_uid;
	int64_t max_watched;
	int64_t max_line;
	int64_t max_depth;
	int64_t max_tokens;
	int64_t max_batch;
	int64_t max_fds;
	int64_t max_with_output;
	int64_t output_limit;
	int64_t stall_timeout_ms;
	int64_t bound_grace_ms;
};
/* What the wire layer knows is filled in, the rest MSG_NULL. */
void msg_limits_init(struct msg_limits *limits);

struct msg_hello_result {
	int64_t protocol;
	const char *server;
	const char *instance;
	const char *session;
	int64_t uid;
	struct msg_str_list features;
	struct msg_limits limits;
	int64_t seq;
};
struct msg_submit_result {
	int64_t job;
	int phase;
	bool existing;
};
struct msg_jobs_result { /* job.submit_batch, map.push */
	struct msg_int_list jobs;
};
struct msg_map_result {
	int64_t submitted, ok, failed, cancelled;
};
struct msg_as_completed_result {
	int64_t done;
};
struct msg_wait_result {
	struct msg_completion_list done;
	struct msg_int_list pending;
};
struct msg_gather_result {
	struct msg_completion_list results;
};
struct msg_cancel_item {
	int64_t job;
	bool accepted;
	bool best_effort;
};
struct msg_cancel_item_list {
	const struct msg_cancel_item *v;
	size_t n;
};
struct msg_cancel_result {
	struct msg_cancel_item_list results;
};
struct msg_list_result {
	struct msg_job_object_list jobs;
	int64_t next; /* cursor of the next page; MSG_NULL: this was the last */
};
struct msg_retry_result {
	int64_t job;
};
struct msg_forget_result {
	int64_t forgotten;
};
struct msg_output_read_result {
	int64_t off;
	struct msg_bytes data;
	bool eof;
	int64_t dropped_before;
};
struct msg_output_item { /* output.follow */
	int64_t fd;
	int64_t off;
	int64_t attempt; /* MSG_NULL: the first */
	struct msg_bytes data;
};
struct msg_next_object {  /* end of output.follow: where each stream stands */
	int64_t out, err; /* keys "1" and "2"; MSG_NULL: not followed, not written */
};
struct msg_follow_result {
	struct msg_next_object next;
};
struct msg_written_result {
	int64_t written;
};
struct msg_event { /* events.subscribe */
	int kind;  /* enum msg_event_kind */
	int64_t job;
	int64_t at_us;
	int phase;
	int outcome; /* of the attempt, for attempt_failed */
	int ok;      /* -1: null */
	int64_t exit_code;
	int64_t signal;
	int64_t attempt;
	int reason;
	int64_t seq;
	const char *name;
	const char *queue;
	int64_t uid;
	struct msg_bytes tag;
};
struct msg_queue {
	const char *queue;
	int64_t max_running; /* MSG_NULL: no limit of its own */
	bool paused;
	int64_t running; /* slots */
	int64_t pending; /* jobs */
};
struct msg_queue_list {
	const struct msg_queue *v;
	size_t n;
};
struct msg_queues_result {
	struct msg_queue_list queues;
};
struct msg_percentiles {
	int64_t p50, p90, p99, max;
};
struct msg_journal {            /* of a durable store */
	const char *durability; /* "full", "normal" */
	int64_t bytes, wal_bytes;
	int64_t commits; /* since start */
	int64_t commit_p50_us, commit_p99_us;
	int64_t oldest_seq;
	bool degraded;
	int64_t shelved; /* pending jobs that are in the journal alone */
};
struct msg_stats {
	int64_t uptime_ms;
	int64_t max_running;
	int64_t running; /* slots in use */
	int64_t running_jobs;
	int64_t pending;
	int64_t peak_running; /* slots, since start */
	int64_t submitted;    /* counters since start */
	int64_t started;
	int64_t completed;
	int64_t ok;
	int64_t failed;
	int64_t cancelled;
	int64_t lost;
	int64_t retries;
	int64_t seq;
	int64_t history; /* done jobs remembered */
	int64_t connections;
	int64_t streams;
	int64_t in_flight;
	int64_t held; /* submits held for room */
	int64_t pending_bytes;
	int64_t output_bytes;
	int64_t bytes_in;
	int64_t bytes_out;
	int64_t turns; /* of the loop */
	int64_t max_rss_kib;
	bool paused;
	bool draining;
	struct msg_percentiles wait_us; /* from startable to started */
	struct msg_percentiles run_us;
	bool has_journal; /* else null: the store is in memory */
	struct msg_journal journal;
};
void msg_stats_init(struct msg_stats *stats); /* everything unknown */
struct msg_metrics_result {
	const char *text;
};
struct msg_reload_result {
	struct msg_str_list changed;
};
struct msg_drain_result {
	const char *mode;
};

/* The result of method `id`, from its struct above (see the table in message_table.c): methods
 * with the empty result take NULL.  Writes one value.  job.get, job.result, job.set: struct
 * msg_job; queue.set: struct msg_queue; limits.get and limits.set: struct msg_limits. */
void msg_result_write(struct jsonw *w, enum msg_method_id id, const void *result);
/* Members of an item of stream method `id` (struct msg_completion, msg_output_item, msg_event),
 * to stand between rpc_item_begin() and rpc_notify_end(). */
void msg_item_members(struct jsonw *w, enum msg_method_id id, const void *item);
/* Client side. The struct is of the same type; 0 or -1. */
int msg_result_read(
    enum msg_method_id id, const struct jsonr *json, void *result, struct arena *arena);
int msg_item_read(enum msg_method_id id, const struct jsonr *json, void *item, struct arena *arena);

/* Client side: params of a method. msg_params_init() fills the defaults (present = 0); then set
 * what differs; msg_params_write() writes members that are required, present or not default: use
 * it between rpc_call_begin() and rpc_call_end(). */
void msg_params_init(enum msg_method_id id, void *params);
void msg_params_write(struct jsonw *w, enum msg_method_id id, const void *params);

/* ---- the table ---- */

enum msg_type {
	MSG_T_BOOL,      /* bool */
	MSG_T_TRISTATE,  /* int: -1 null */
	MSG_T_INT,       /* int64_t, min…max */
	MSG_T_ENUM,      /* int, names */
	MSG_T_FLAGS,     /* uint32_t from an array of names */
	MSG_T_STR,       /* const char *, min…max bytes of UTF-8, no NUL */
	MSG_T_BYTES,     /* struct msg_bytes, NUL allowed */
	MSG_T_PATH,      /* struct msg_bytes without NUL */
	MSG_T_INT_LIST,  /* struct msg_int_list; items item_min…item_max, min…max of them */
	MSG_T_STR_LIST,  /* struct msg_str_list */
	MSG_T_ARGV,      /* struct msg_bytes_list without NUL */
	MSG_T_OBJ,       /* nested struct */
	MSG_T_OBJ_LIST,  /* { const void *v; size_t n; } of nested structs */
	MSG_T_ID,        /* const struct jsonr *: string or integer */
	MSG_T_ARRAY,     /* const struct jsonr *: an array, decoded later */
	MSG_T_ANY,       /* struct msg_bytes: compact JSON text */
	MSG_T_SPEC,      /* struct msg_spec */
	MSG_T_SPEC_LIST, /* struct msg_spec_list */
	MSG_T_ENV,       /* the rest: see message_spec.c */
	MSG_T_RLIMITS,
	MSG_T_STDIN,
	MSG_T_STDOUT,
	MSG_T_STDERR,
	MSG_T_OK_CODES,
	MSG_T_SIGNAL,
};

enum {
	MSG_F_REQUIRED = 1,
	MSG_F_NULLABLE = 2,    /* null is accepted and means MSG_NULL, -1 or NULL */
	MSG_F_OMIT_NULL = 4,   /* results: not written when null */
	MSG_F_QUEUE_NAME = 8,  /* text of [A-Za-z0-9._-] */
	MSG_F_OMIT_FALSE = 16, /* results: a bool written only when true */
	MSG_F_OPEN = 32,       /* results: an enum whose names may grow */
	MSG_F_NONZERO = 64,    /* a list of integers of which none is 0 */
};

struct msg_names {
	const char *const *v; /* NULL entries have no name */
	int n;
	int other; /* for a name that isn't known (MSG_F_OPEN) */
};

struct msg_schema;

struct msg_field {
	const char *name;
	enum msg_type type;
	unsigned flags;
	uint32_t offset;
	uint32_t has_offset;  /* a bool that says whether it is there; 0: none */
	int64_t min, max;     /* value, length or number of elements */
	int64_t def;          /* default: INT, ENUM, BOOL, TRISTATE, FLAGS, the kind of stdio */
	const char *def_text; /* default: STR */
	const struct msg_int_list *def_list; /* default: INT_LIST; NULL: empty */
	int64_t item_min, item_max;
	const struct msg_names *names;
	const struct msg_schema *nested;
	const char *help;
};

struct msg_schema {
	const char *name; /* "Spec", "Job", "Completion": goes to components; else NULL */
	const struct msg_field *fields;
	size_t nfields;
	size_t size;     /* of the struct */
	bool strict;     /* begins with `present`; unknown members are refused */
	bool parameters; /* its fields are what data.param of an error names */
};

enum {
	MSG_M_NOTIFICATION = 1, /* from the client, never answered */
	MSG_M_STREAM = 2,       /* sends $/item until its response */
	MSG_M_CREDIT = 4,       /* map.open: sends $/credit */
	MSG_M_GAP = 8,          /* may send $/gap */
	MSG_M_ADMIN = 16,       /* admins only */
	MSG_M_WAITS = 32,       /* may wait on jobs, clients or room: counts in max_in_flight */
};

#define MSG_ERRORS_MAX 10
struct msg_method {
	enum msg_method_id id;
	unsigned flags;
	const char *name;
	const char *help;
	const struct msg_schema *params;
	const struct msg_schema
	    *result; /* NULL: the empty object, or, for rpc.discover, a document */
	const struct msg_schema *item;         /* streams */
	enum rpc_error errors[MSG_ERRORS_MAX]; /* its own; RPC_OK ends the list */
};

/* What the daemon sends unasked while a stream is open. */
struct msg_notice {
	const char *name;
	const char *help;
	const struct msg_schema *params;
};

/* All of them, in the order of the protocol's table: M_METHODS entries, indexed by id. */
const struct msg_method *msg_methods(void);
const struct msg_method *msg_method_find(const char *name); /* NULL */
const struct msg_method *msg_method(enum msg_method_id id);
/* Errors that any method may end with, or a line that is no call: ended by RPC_OK. */
const enum rpc_error *msg_general_errors(void);
/* What an error's data has besides `kind`; `*more`, if not NULL, are further members of it. */
const struct msg_schema *msg_error_data(enum rpc_error error, const struct msg_schema **more);
const struct msg_notice *msg_notices(size_t *n);

/* ---- rpc.discover ---- */

/* Writes the OpenRPC document (one value). */
void msg_discover_write(struct jsonw *w, const char *version);

/* ---- names of errno and signals ---- */

int msg_signal_by_name(const char *name); /* "HUP", "SIGHUP", any case; 0: unknown */
const char *msg_signal_name(int signal);  /* "HUP"; NULL: none */
const char *msg_errno_name(int error);    /* "ENOENT"; "E123" style names never: NULL */
int msg_rlimit_by_name(const char *name); /* "nofile"; -1: unknown */

#endif
