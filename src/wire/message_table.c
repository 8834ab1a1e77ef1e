/*
 * The table of slot/1: fields of every params, result and item struct, and the methods.  One row
 * a field; decoding, encoding and rpc.discover follow it.  Longer than other files because it is
 * one list.
 */

#include "wire/message_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A field: JSON name, type, struct, member, then what else msg_field has. */
#define F(json_name, field_type, owner, member, ...)                                               \
	{                                                                                          \
		.name = json_name, .type = field_type, .offset = offsetof(struct owner, member),   \
		__VA_ARGS__                                                                        \
	}
#define HAS(owner, member) .has_offset = offsetof(struct owner, member)

#define REQUIRED MSG_F_REQUIRED
#define NULLABLE MSG_F_NULLABLE
#define OMIT_NULL MSG_F_OMIT_NULL

/* Schemas: of nested objects, of params, of results. */
#define SCHEMA(var, title, owner, is_strict, is_parameters)                                        \
	const struct msg_schema var = {                                                            \
		.name = title,                                                                     \
		.fields = var##_fields,                                                            \
		.nfields = COUNT(var##_fields),                                                    \
		.size = sizeof(struct owner),                                                      \
		.strict = is_strict,                                                               \
		.parameters = is_parameters,                                                       \
	}
#define PARAMS(var, owner) static SCHEMA(var, NULL, owner, true, true)
#define RESULT(var, owner) static SCHEMA(var, NULL, owner, false, false)

#define JOB_ID_RANGE .min = 1, .max = RPC_INT_MAX
/* Of results: MSG_NULL is what isn't known. */
#define BETWEEN(least, most) .min = (least), .max = (most), .def = MSG_NULL
#define COUNT_RANGE BETWEEN(0, RPC_INT_MAX)
#define SEQ_RANGE BETWEEN(1, RPC_INT_MAX)
#define EXIT_CODE_RANGE BETWEEN(0, 255)
#define SIGNAL_RANGE BETWEEN(1, MSG_SIGNAL_MAX)
#define PRIORITY_RANGE .min = -MSG_PRIORITY_MAX, .max = MSG_PRIORITY_MAX
#define UID_RANGE BETWEEN(0, UINT32_MAX)

/* ---- spec ---- */

static const struct msg_field msg_retries_schema_fields[] = {
	F("max", MSG_T_INT, msg_retries, max, .flags = REQUIRED, .min = 0, .max = MSG_RETRIES_MAX,
	    .help = "further attempts after the first"),
	F("backoff_ms", MSG_T_INT, msg_retries, backoff_ms, .min = 0, .max = MSG_BACKOFF_MAX_MS,
	    .def = 1000, .help = "pause before the second attempt; doubles up to one hour"),
	F("on", MSG_T_FLAGS, msg_retries, on, .names = &msg_retry_outcome_names,
	    .def = 1 << MSG_OUTCOME_EXITED | 1 << MSG_OUTCOME_SIGNALED | 1 << MSG_OUTCOME_TIMED_OUT,
	    .help = "outcomes that are tried again; exited means: with a code not in ok_codes"),
};
SCHEMA(msg_retries_schema, "Retries", msg_retries, true, false);

static const struct msg_field msg_spec_schema_fields[] = {
	[MSG_SPEC_ARGV] =
	    F("argv", MSG_T_ARGV, msg_spec, argv, .flags = REQUIRED, .min = 1, .max = PTRDIFF_MAX,
		.help = "the command and its arguments; required, or in `defaults`"),
	[MSG_SPEC_CWD] = F("cwd", MSG_T_PATH, msg_spec, cwd, .min = 1, .max = MSG_PATH_BYTES_MAX,
	    .help = "working directory, absolute"),
	[MSG_SPEC_ENV] = F("env", MSG_T_ENV, msg_spec, env,
	    .help = "the whole environment: an object, or a list of K=V; "
		    "absent: a clean one"),
	[MSG_SPEC_UMASK] = F("umask", MSG_T_INT, msg_spec, umask, .min = 0, .max = 0777,
	    .def = MSG_NULL, .help = "file mode creation mask, a plain integer (0o027 is 23)"),
	[MSG_SPEC_NICE] = F("nice", MSG_T_INT, msg_spec, nice, HAS(msg_spec, has_nice), .min = -20,
	    .max = 19, .help = "nice value"),
	[MSG_SPEC_RLIMITS] = F("rlimits", MSG_T_RLIMITS, msg_spec, rlimits,
	    .help = "resource limits by name (nofile, core …): n, [soft, hard], "
		    "or \"unlimited\""),
	[MSG_SPEC_STDIN] = F("stdin", MSG_T_STDIN, msg_spec, in, .def = MSG_STDIO_NULL,
	    .help = "where standard input comes from"),
	[MSG_SPEC_STDOUT] = F("stdout", MSG_T_STDOUT, msg_spec, out, .def = MSG_STDIO_CAPTURE,
	    .help = "where standard output goes"),
	[MSG_SPEC_STDERR] = F("stderr", MSG_T_STDERR, msg_spec, err, .def = MSG_STDIO_CAPTURE,
	    .help = "where standard error goes"),
	[MSG_SPEC_TTY] = F("tty", MSG_T_BOOL, msg_spec, tty,
	    .help = "the {fd} that stdin must be becomes the controlling terminal"),
	[MSG_SPEC_OUTPUT_LIMIT] =
	    F("output_limit", MSG_T_INT, msg_spec, output_limit, .min = 0, .max = RPC_INT_MAX,
		.def = MSG_NULL, .help = "bytes kept of each captured stream, the newest"),
	[MSG_SPEC_TIMEOUT_MS] = F("timeout_ms", MSG_T_INT, msg_spec, timeout_ms, .flags = NULLABLE,
	    .min = 1, .max = MSG_DURATION_MAX_MS, .def = MSG_NULL,
	    .help = "an attempt that runs longer is ended as timed_out"),
	[MSG_SPEC_KILL_GRACE_MS] = F("kill_grace_ms", MSG_T_INT, msg_spec, kill_grace_ms, .min = 0,
	    .max = MSG_DURATION_MAX_MS, .def = MSG_NULL,
	    .help = "from TERM to KILL; absent: what the daemon is configured with"),
	[MSG_SPEC_OK_CODES] = F(
	    "ok_codes", MSG_T_OK_CODES, msg_spec, ok_codes, .help = "exit codes that count as ok"),
	[MSG_SPEC_QUEUE] =
	    F("queue", MSG_T_STR, msg_spec, queue, .flags = MSG_F_QUEUE_NAME, .min = 1,
		.max = MSG_QUEUE_MAX, .def_text = "default", .help = "name of an existing queue"),
	[MSG_SPEC_PRIORITY] = F("priority", MSG_T_INT, msg_spec, priority, PRIORITY_RANGE,
	    .help = "higher starts first among one user's jobs"),
	[MSG_SPEC_SLOTS] = F("slots", MSG_T_INT, msg_spec, slots, .min = 1, .max = MSG_SLOTS_MAX,
	    .def = 1, .help = "how many of the limit's slots the job takes"),
	[MSG_SPEC_AFTER] = F("after", MSG_T_INT_LIST, msg_spec, after, .flags = MSG_F_NONZERO,
	    .max = MSG_AFTER_MAX, .item_min = -RPC_INT_MAX, .item_max = RPC_INT_MAX,
	    .help = "jobs that must be done first; -k is the k-th job of the same batch"),
	[MSG_SPEC_AFTER_POLICY] = F("after_policy", MSG_T_ENUM, msg_spec, after_policy,
	    .names = &msg_after_policy_names, .help = "whether they must have been ok"),
	[MSG_SPEC_DELAY_MS] =
	    F("delay_ms", MSG_T_INT, msg_spec, delay_ms, .min = 0, .max = MSG_DURATION_MAX_MS,
		.def = MSG_NULL, .help = "not before this much later; not with not_before_us"),
	[MSG_SPEC_NOT_BEFORE_US] =
	    F("not_before_us", MSG_T_INT, msg_spec, not_before_us, .min = 0, .max = RPC_INT_MAX,
		.def = MSG_NULL, .help = "not before this wall clock time; not with delay_ms"),
	[MSG_SPEC_RETRIES] = F("retries", MSG_T_OBJ, msg_spec, retries,
	    .nested = &msg_retries_schema, .help = "further attempts when one fails"),
	[MSG_SPEC_NAME] = F("name", MSG_T_STR, msg_spec, name, .max = MSG_NAME_MAX,
	    .help = "a name for people; need not be unique"),
	[MSG_SPEC_TAG] = F("tag", MSG_T_ANY, msg_spec, tag, .max = MSG_TAG_MAX,
	    .help = "any JSON up to 4 KiB, returned verbatim"),
	[MSG_SPEC_KEY] = F("key", MSG_T_STR, msg_spec, key, .min = 1, .max = MSG_KEY_MAX,
	    .help = "idempotency key: the same key gives the same job"),
	[MSG_SPEC_LIFETIME] =
	    F("lifetime", MSG_T_ENUM, msg_spec, lifetime, .names = &msg_lifetime_names,
		.help = "bound: cancelled with its session; with {fd}, it must be"),
	[MSG_SPEC_ON_FULL] = F("on_full", MSG_T_ENUM, msg_spec, on_full,
	    .names = &msg_on_full_names, .help = "QueueFull, or wait for room"),
	[MSG_SPEC_LEFTOVERS] = F("leftovers", MSG_T_ENUM, msg_spec, leftovers,
	    .names = &msg_leftovers_names, .help = "descendants after the leader's exit"),
	[MSG_SPEC_JOBSERVER] = F("jobserver", MSG_T_BOOL, msg_spec, jobserver,
	    .help = "offer the job a GNU make jobserver; NotSupported so far"),
	[MSG_SPEC_MEMORY_MAX] = F("memory_max", MSG_T_INT, msg_spec, memory_max, .min = 1,
	    .max = RPC_INT_MAX, .def = MSG_NULL, .help = "bytes of memory; NotSupported so far"),
	[MSG_SPEC_PIDS_MAX] =
	    F("pids_max", MSG_T_INT, msg_spec, pids_max, .min = 1, .max = RPC_INT_MAX,
		.def = MSG_NULL, .help = "processes and threads; NotSupported so far"),
};
_Static_assert(COUNT(msg_spec_schema_fields) == MSG_SPEC_FIELDS, "a row for every spec field");
SCHEMA(msg_spec_schema, "Spec", msg_spec, true, true);

/* ---- objects that several results carry ---- */

static const struct msg_field msg_completion_schema_fields[] = {
	F("job", MSG_T_INT, msg_completion, job, .flags = REQUIRED, JOB_ID_RANGE, .help = "its id"),
	F("seq", MSG_T_INT, msg_completion, seq, SEQ_RANGE, .help = "place in finish order"),
	F("ok", MSG_T_BOOL, msg_completion, ok, .help = "exited with a code in ok_codes"),
	F("outcome", MSG_T_ENUM, msg_completion, outcome, .flags = MSG_F_OPEN,
	    .names = &msg_outcome_names, .help = "how it ended; an open set"),
	F("exit_code", MSG_T_INT, msg_completion, exit_code, .flags = NULLABLE, EXIT_CODE_RANGE,
	    .help = "where it exited"),
	F("signal", MSG_T_INT, msg_completion, signal, .flags = NULLABLE, SIGNAL_RANGE,
	    .help = "number of the signal that ended it"),
	F("tag", MSG_T_ANY, msg_completion, tag, .max = PTRDIFF_MAX, .help = "as submitted"),
	F("stdout", MSG_T_BYTES, msg_completion, out, .flags = OMIT_NULL, .max = PTRDIFF_MAX,
	    .help = "with with_output: the first of its kept bytes"),
	F("stderr", MSG_T_BYTES, msg_completion, err, .flags = OMIT_NULL, .max = PTRDIFF_MAX,
	    .help = "with with_output: the first of its kept bytes"),
};
SCHEMA(msg_completion_schema, "Completion", msg_completion, false, false);

static const struct msg_field job_error_schema_fields[] = {
	F("step", MSG_T_STR, msg_job_error, step, .max = PTRDIFF_MAX,
	    .help = "what could not be done"),
	F("errno", MSG_T_STR, msg_job_error, errno_name, .flags = NULLABLE, .max = PTRDIFF_MAX,
	    .help = "a name such as ENOENT"),
	F("message", MSG_T_STR, msg_job_error, message, .flags = NULLABLE, .max = PTRDIFF_MAX,
	    .help = "the same for people"),
};
RESULT(job_error_schema, msg_job_error);

static const struct msg_field usage_schema_fields[] = {
	F("user_us", MSG_T_INT, msg_usage, user_us, COUNT_RANGE, .help = "CPU time in user mode"),
	F("system_us", MSG_T_INT, msg_usage, system_us, COUNT_RANGE,
	    .help = "CPU time in the kernel"),
	F("max_rss_kib", MSG_T_INT, msg_usage, max_rss_kib, COUNT_RANGE,
	    .help = "largest resident set"),
};
RESULT(usage_schema, msg_usage);

static const struct msg_field output_size_schema_fields[] = {
	F("stdout", MSG_T_INT, msg_output_size, out, .flags = NULLABLE, COUNT_RANGE,
	    .help = "bytes kept"),
	F("stderr", MSG_T_INT, msg_output_size, err, .flags = NULLABLE, COUNT_RANGE,
	    .help = "bytes kept"),
	F("truncated", MSG_T_BOOL, msg_output_size, truncated,
	    .help = "whether older bytes were dropped"),
};
RESULT(output_size_schema, msg_output_size);

static const struct msg_field msg_job_schema_fields[] = {
	F("job", MSG_T_INT, msg_job, job, .flags = REQUIRED, JOB_ID_RANGE, .help = "its id"),
	F("phase", MSG_T_ENUM, msg_job, phase, .names = &msg_phase_names,
	    .help = "pending, running or done"),
	F("outcome", MSG_T_ENUM, msg_job, outcome, .flags = NULLABLE | MSG_F_OPEN,
	    .names = &msg_outcome_names, .help = "how it ended; an open set"),
	F("ok", MSG_T_TRISTATE, msg_job, ok, .flags = NULLABLE, .def = -1,
	    .help = "exited with a code in ok_codes"),
	F("exit_code", MSG_T_INT, msg_job, exit_code, .flags = NULLABLE, EXIT_CODE_RANGE,
	    .help = "where it exited"),
	F("signal", MSG_T_INT, msg_job, signal, .flags = NULLABLE, SIGNAL_RANGE,
	    .help = "number of the signal that ended it"),
	F("error", MSG_T_OBJ, msg_job, error, HAS(msg_job, has_error), .flags = NULLABLE,
	    .nested = &job_error_schema, .help = "of spawn_failed"),
	F("seq", MSG_T_INT, msg_job, seq, .flags = NULLABLE, SEQ_RANGE,
	    .help = "place in finish order"),
	F("name", MSG_T_STR, msg_job, name, .flags = NULLABLE, .max = PTRDIFF_MAX,
	    .help = "as submitted"),
	F("tag", MSG_T_ANY, msg_job, tag, .max = PTRDIFF_MAX, .help = "as submitted"),
	F("queue", MSG_T_STR, msg_job, queue, .max = PTRDIFF_MAX, .help = "its queue"),
	F("priority", MSG_T_INT, msg_job, priority, PRIORITY_RANGE, .def = MSG_NULL,
	    .help = "higher starts first"),
	F("slots", MSG_T_INT, msg_job, slots, BETWEEN(1, MSG_SLOTS_MAX), .help = "slots it takes"),
	F("uid", MSG_T_INT, msg_job, uid, UID_RANGE, .help = "its owner"),
	F("argv", MSG_T_ARGV, msg_job, argv, .max = PTRDIFF_MAX, .help = "the command"),
	F("argv_truncated", MSG_T_BOOL, msg_job, argv_truncated, .flags = MSG_F_OMIT_FALSE,
	    .help = "job.list: argv was cut"),
	F("cwd", MSG_T_BYTES, msg_job, cwd, .flags = NULLABLE, .max = PTRDIFF_MAX,
	    .help = "working directory"),
	F("attempt", MSG_T_INT, msg_job, attempt, .flags = NULLABLE, COUNT_RANGE,
	    .help = "counts from 1"),
	F("reason", MSG_T_ENUM, msg_job, reason, .flags = NULLABLE | MSG_F_OPEN,
	    .names = &msg_reason_names,
	    .help = "why a pending job waits, or a done one was cancelled or lost"),
	F("submitted_us", MSG_T_INT, msg_job, submitted_us, .flags = NULLABLE, COUNT_RANGE,
	    .help = "when"),
	F("started_us", MSG_T_INT, msg_job, started_us, .flags = NULLABLE, COUNT_RANGE,
	    .help = "when the attempt started"),
	F("finished_us", MSG_T_INT, msg_job, finished_us, .flags = NULLABLE, COUNT_RANGE,
	    .help = "when it was done"),
	F("usage", MSG_T_OBJ, msg_job, usage, HAS(msg_job, has_usage), .flags = NULLABLE,
	    .nested = &usage_schema, .help = "of the leader and what it waited for"),
	F("output", MSG_T_OBJ, msg_job, output, HAS(msg_job, has_output), .flags = NULLABLE,
	    .nested = &output_size_schema, .help = "bytes kept"),
	F("stdout", MSG_T_BYTES, msg_job, out, .flags = OMIT_NULL, .max = PTRDIFF_MAX,
	    .help = "with with_output: the first of its kept bytes"),
	F("stderr", MSG_T_BYTES, msg_job, err, .flags = OMIT_NULL, .max = PTRDIFF_MAX,
	    .help = "with with_output: the first of its kept bytes"),
};
SCHEMA(msg_job_schema, "Job", msg_job, false, false);

#define LIMIT(key, text)                                                                           \
	F(#key, MSG_T_INT, msg_limits, key, .flags = NULLABLE, COUNT_RANGE, .help = text)
static const struct msg_field msg_limits_schema_fields[] = {
	LIMIT(max_running, "slots running at once; 0: starts are paused"),
	LIMIT(max_pending, "pending jobs"),
	LIMIT(max_pending_bytes, "bytes of pending jobs"),
	LIMIT(max_in_flight, "waiting requests per connection"),
	LIMIT(max_connections, "connections"),
	LIMIT(max_connections_per_uid, "connections of one user"),
	LIMIT(max_watched, "ids watched per connection"),
	LIMIT(max_line, "bytes of a line"),
	LIMIT(max_depth, "levels of nesting of a line"),
	LIMIT(max_tokens, "JSON tokens of a line"),
	LIMIT(max_batch, "jobs of a batch"),
	LIMIT(max_fds, "descriptors held per connection"),
	LIMIT(max_with_output, "largest with_output"),
	LIMIT(output_limit, "bytes kept per stream where the job says nothing"),
	LIMIT(stall_timeout_ms, "a client that takes nothing for so long is closed"),
	LIMIT(bound_grace_ms, "how long bound jobs wait for their session"),
};
SCHEMA(msg_limits_schema, "Limits", msg_limits, false, false);

/* ---- params and results, in the order of the methods ---- */

/* Defaults that are lists. */
#define DEFAULT_LIST(var, ...)                                                                     \
	static const int64_t var##_v[] = { __VA_ARGS__ };                                          \
	static const struct msg_int_list var = { var##_v, COUNT(var##_v) }

DEFAULT_LIST(default_protocol, 1);
DEFAULT_LIST(default_fds, 1, 2);

static const struct msg_field hello_params_fields[] = {
	F("protocol", MSG_T_INT_LIST, msg_hello, protocol, .min = 1, .max = 16, .item_min = 0,
	    .item_max = RPC_INT_MAX, .def_list = &default_protocol,
	    .help = "versions the client speaks; 1 must be among them"),
	F("client", MSG_T_STR, msg_hello, client, .max = 256, .help = "name/version"),
	F("session", MSG_T_STR, msg_hello, session, .flags = NULLABLE, .max = 256,
	    .help = "token of an earlier connection, to take over its bound jobs"),
};
PARAMS(hello_params, msg_hello);

static const struct msg_field hello_result_fields[] = {
	F("protocol", MSG_T_INT, msg_hello_result, protocol, BETWEEN(1, 1),
	    .help = "the version in use"),
	F("server", MSG_T_STR, msg_hello_result, server, .max = PTRDIFF_MAX,
	    .help = "slotd/version"),
	F("instance", MSG_T_STR, msg_hello_result, instance, .max = PTRDIFF_MAX,
	    .help = "changes whenever history was lost"),
	F("session", MSG_T_STR, msg_hello_result, session, .flags = NULLABLE, .max = PTRDIFF_MAX,
	    .help = "token of this session"),
	F("uid", MSG_T_INT, msg_hello_result, uid, UID_RANGE,
	    .help = "who the daemon takes you for"),
	F("features", MSG_T_STR_LIST, msg_hello_result, features, .max = PTRDIFF_MAX,
	    .help = "what this daemon can do beyond the baseline"),
	F("limits", MSG_T_OBJ, msg_hello_result, limits, .nested = &msg_limits_schema,
	    .help = "the limits in force"),
	F("seq", MSG_T_INT, msg_hello_result, seq, COUNT_RANGE,
	    .help = "the newest completion's seq"),
};
RESULT(hello_result, msg_hello_result);

static const struct msg_field submit_result_fields[] = {
	F("job", MSG_T_INT, msg_submit_result, job, .flags = REQUIRED, JOB_ID_RANGE,
	    .help = "its id"),
	F("phase", MSG_T_ENUM, msg_submit_result, phase, .names = &msg_phase_names,
	    .help = "running if it could start at once"),
	F("existing", MSG_T_BOOL, msg_submit_result, existing,
	    .help = "the key named a job submitted before"),
};
RESULT(submit_result, msg_submit_result);

static const struct msg_field batch_params_fields[] = {
	F("jobs", MSG_T_SPEC_LIST, msg_job_submit_batch, jobs, .flags = REQUIRED, .min = 1,
	    .max = MSG_BATCH_MAX, .help = "specs; all are taken or none"),
	F("defaults", MSG_T_SPEC, msg_job_submit_batch, defaults,
	    .help = "fields for specs that lack them"),
	F("on_full", MSG_T_ENUM, msg_job_submit_batch, on_full, .names = &msg_on_full_names,
	    .help = "QueueFull, or wait for room for all; absent: as in `defaults`"),
};
PARAMS(batch_params, msg_job_submit_batch);

static const struct msg_field jobs_result_fields[] = {
	F("jobs", MSG_T_INT_LIST, msg_jobs_result, jobs, .flags = REQUIRED, .max = PTRDIFF_MAX,
	    .item_min = 1, .item_max = RPC_INT_MAX, .help = "ids, in the order given"),
};
RESULT(jobs_result, msg_jobs_result);

#define WINDOW(owner, text)                                                                        \
	F("window", MSG_T_INT, owner, window, .min = 1, .max = RPC_INT_MAX, .def = MSG_NULL,       \
	    .help = text " sent ahead of the client's $/credit")
#define WITH_OUTPUT(owner)                                                                         \
	F("with_output", MSG_T_INT, owner, with_output, .min = 0, .max = MSG_WITH_OUTPUT_MAX,      \
	    .help = "carry up to this many bytes of stdout and stderr")
#define JOB(owner)                                                                                 \
	F("job", MSG_T_INT, owner, job, .flags = REQUIRED, JOB_ID_RANGE, .help = "a job's id")
#define JOBS(owner, most)                                                                          \
	F("jobs", MSG_T_INT_LIST, owner, jobs, .flags = REQUIRED, .min = 1, .max = most,           \
	    .item_min = 1, .item_max = RPC_INT_MAX, .help = "ids of jobs")
#define STREAM(owner)                                                                              \
	F("stream", MSG_T_ID, owner, stream, .flags = REQUIRED,                                    \
	    .help = "id of the request that opened it")

static const struct msg_field map_open_params_fields[] = {
	F("limit", MSG_T_INT, msg_map_open, limit, .flags = REQUIRED, .min = 1, .max = 1000000,
	    .help = "jobs submitted and not yet consumed, at most"),
	F("defaults", MSG_T_SPEC, msg_map_open, defaults,
	    .help = "fields for specs that lack them"),
	F("on_error", MSG_T_ENUM, msg_map_open, on_error, .names = &msg_on_error_names,
	    .help = "what a job that is not ok does to the others"),
	WINDOW(msg_map_open, "items"),
	WITH_OUTPUT(msg_map_open),
};
PARAMS(map_open_params, msg_map_open);

static const struct msg_field map_result_fields[] = {
	F("submitted", MSG_T_INT, msg_map_result, submitted, COUNT_RANGE, .help = "jobs pushed"),
	F("ok", MSG_T_INT, msg_map_result, ok, COUNT_RANGE, .help = "of these ok"),
	F("failed", MSG_T_INT, msg_map_result, failed, COUNT_RANGE,
	    .help = "not ok, not cancelled"),
	F("cancelled", MSG_T_INT, msg_map_result, cancelled, COUNT_RANGE, .help = "cancelled"),
};
RESULT(map_result, msg_map_result);

static const struct msg_field map_push_params_fields[] = {
	STREAM(msg_map_push),
	F("jobs", MSG_T_ARRAY, msg_map_push, jobs_json, .flags = REQUIRED, .min = 1,
	    .max = MSG_BATCH_MAX, .nested = &msg_spec_schema,
	    .help = "specs; all are taken or none"),
};
PARAMS(map_push_params, msg_map_push);

static const struct msg_field map_end_params_fields[] = {
	STREAM(msg_map_end),
};
PARAMS(map_end_params, msg_map_end);

#define TIMEOUT(owner)                                                                             \
	F("timeout_ms", MSG_T_INT, owner, timeout_ms, .flags = NULLABLE, .min = 0,                 \
	    .max = MSG_DURATION_MAX_MS, .def = MSG_NULL,                                           \
	    .help = "how long to wait; absent: forever")

static const struct msg_field as_completed_params_fields[] = {
	JOBS(msg_futures_as_completed, MSG_WATCH_JOBS_MAX),
	TIMEOUT(msg_futures_as_completed),
	WINDOW(msg_futures_as_completed, "items"),
	WITH_OUTPUT(msg_futures_as_completed),
};
PARAMS(as_completed_params, msg_futures_as_completed);

static const struct msg_field as_completed_result_fields[] = {
	F("done", MSG_T_INT, msg_as_completed_result, done, COUNT_RANGE, .help = "items sent"),
};
RESULT(as_completed_result, msg_as_completed_result);

static const struct msg_field wait_params_fields[] = {
	JOBS(msg_futures_wait, MSG_WAIT_JOBS_MAX),
	F("return_when", MSG_T_ENUM, msg_futures_wait, return_when, .names = &msg_return_when_names,
	    .help = "as in asyncio.wait"),
	TIMEOUT(msg_futures_wait),
	WITH_OUTPUT(msg_futures_wait),
};
PARAMS(wait_params, msg_futures_wait);

static const struct msg_field wait_result_fields[] = {
	F("done", MSG_T_OBJ_LIST, msg_wait_result, done, .nested = &msg_completion_schema,
	    .max = PTRDIFF_MAX, .help = "completions in finish order"),
	F("pending", MSG_T_INT_LIST, msg_wait_result, pending, .max = PTRDIFF_MAX, .item_min = 1,
	    .item_max = RPC_INT_MAX, .help = "ids of the others"),
};
RESULT(wait_result, msg_wait_result);

static const struct msg_field gather_params_fields[] = {
	JOBS(msg_futures_gather, MSG_WAIT_JOBS_MAX),
	F("return_exceptions", MSG_T_BOOL, msg_futures_gather, return_exceptions,
	    .help = "wait for all, whether ok or not"),
	WITH_OUTPUT(msg_futures_gather),
};
PARAMS(gather_params, msg_futures_gather);

static const struct msg_field gather_result_fields[] = {
	F("results", MSG_T_OBJ_LIST, msg_gather_result, results, .nested = &msg_completion_schema,
	    .max = PTRDIFF_MAX, .help = "completions in the order of the ids given"),
};
RESULT(gather_result, msg_gather_result);

static const struct msg_field job_result_params_fields[] = {
	JOB(msg_job_result),
	F("wait_ms", MSG_T_INT, msg_job_result, wait_ms, .min = 0, .max = MSG_DURATION_MAX_MS,
	    .help = "wait so long for it to be done"),
	WITH_OUTPUT(msg_job_result),
};
PARAMS(job_result_params, msg_job_result);

static const struct msg_field job_cancel_params_fields[] = {
	JOBS(msg_job_cancel, MSG_CANCEL_JOBS_MAX),
	F("grace_ms", MSG_T_INT, msg_job_cancel, grace_ms, .min = 0, .max = MSG_DURATION_MAX_MS,
	    .def = MSG_NULL, .help = "from TERM to KILL; absent: the job's own"),
	F("wait", MSG_T_BOOL, msg_job_cancel, wait,
	    .help = "reply when no process of the jobs is left"),
	F("only_pending", MSG_T_BOOL, msg_job_cancel, only_pending,
	    .help = "leave those alone that run"),
};
PARAMS(job_cancel_params, msg_job_cancel);

static const struct msg_field cancel_item_schema_fields[] = {
	F("job", MSG_T_INT, msg_cancel_item, job, .flags = REQUIRED, JOB_ID_RANGE,
	    .help = "its id"),
	F("accepted", MSG_T_BOOL, msg_cancel_item, accepted, .help = "false: it was done already, or left alone"),
	F("best_effort", MSG_T_BOOL, msg_cancel_item, best_effort,
	    .help = "without a cgroup: what hid from its job was out of reach"),
};
RESULT(cancel_item_schema, msg_cancel_item);

static const struct msg_field cancel_result_fields[] = {
	F("results", MSG_T_OBJ_LIST, msg_cancel_result, results, .nested = &cancel_item_schema,
	    .max = PTRDIFF_MAX, .help = "one for each id given"),
};
RESULT(cancel_result, msg_cancel_result);

static const struct msg_field job_signal_params_fields[] = {
	JOB(msg_job_signal),
	F("signal", MSG_T_SIGNAL, msg_job_signal, signal, .flags = REQUIRED,
	    .help = "a name, with or without SIG, or a number from 1 to 64"),
	F("scope", MSG_T_ENUM, msg_job_signal, scope, .names = &msg_scope_names,
	    .help = "the leader, its process group, or all of the job"),
};
PARAMS(job_signal_params, msg_job_signal);

static const struct msg_field job_id_params_fields[] = {
	JOB(msg_job_id),
};
PARAMS(job_id_params, msg_job_id);

#define UID(owner) F("uid", MSG_T_INT, owner, uid, UID_RANGE, .help = "only this user's")
#define OK(owner)                                                                                  \
	F("ok", MSG_T_TRISTATE, owner, ok, .def = -1, .help = "only those that are (not) ok")
#define NAME(owner)                                                                                \
	F("name", MSG_T_STR, owner, name, .max = MSG_NAME_MAX, .help = "only of this name")
#define QUEUE(owner, extra, text)                                                                  \
	F("queue", MSG_T_STR, owner, queue, .flags = MSG_F_QUEUE_NAME | (extra), .min = 1,         \
	    .max = MSG_QUEUE_MAX, .help = text)

static const struct msg_field job_list_params_fields[] = {
	F("phase", MSG_T_ENUM, msg_job_list, phase, .names = &msg_phase_names, .def = -1,
	    .help = "only those in this phase"),
	QUEUE(msg_job_list, 0, "only those of this queue"),
	OK(msg_job_list),
	NAME(msg_job_list),
	UID(msg_job_list),
	F("since_us", MSG_T_INT, msg_job_list, since_us, .min = 0, .max = RPC_INT_MAX,
	    .def = MSG_NULL, .help = "only those submitted at or after this time"),
	F("limit", MSG_T_INT, msg_job_list, limit, .min = 1, .max = MSG_LIST_MAX,
	    .def = MSG_LIST_DEFAULT, .help = "jobs per page"),
	F("cursor", MSG_T_INT, msg_job_list, cursor, .flags = NULLABLE, JOB_ID_RANGE,
	    .def = MSG_NULL, .help = "`next` of the page before"),
	F("order", MSG_T_ENUM, msg_job_list, order, .names = &msg_order_names, .help = "by id"),
};
PARAMS(job_list_params, msg_job_list);

static const struct msg_field list_result_fields[] = {
	F("jobs", MSG_T_OBJ_LIST, msg_list_result, jobs, .nested = &msg_job_schema,
	    .max = PTRDIFF_MAX, .help = "job objects, argv cut at 256 bytes"),
	F("next", MSG_T_INT, msg_list_result, next, .flags = NULLABLE, JOB_ID_RANGE,
	    .def = MSG_NULL, .help = "cursor of the next page; null: this was the last"),
};
RESULT(list_result, msg_list_result);

static const struct msg_field job_set_params_fields[] = {
	JOB(msg_job_set),
	F("priority", MSG_T_INT, msg_job_set, priority, PRIORITY_RANGE, .def = MSG_NULL,
	    .help = "its new priority"),
	QUEUE(msg_job_set, 0, "its new queue"),
	F("hold", MSG_T_TRISTATE, msg_job_set, hold, .def = -1,
	    .help = "keep it from starting, or let it go"),
};
PARAMS(job_set_params, msg_job_set);

static const struct msg_field retry_result_fields[] = {
	F("job", MSG_T_INT, msg_retry_result, job, .flags = REQUIRED, JOB_ID_RANGE,
	    .help = "the new job's id"),
};
RESULT(retry_result, msg_retry_result);

static const struct msg_field job_forget_params_fields[] = {
	JOBS(msg_job_forget, MSG_WATCH_JOBS_MAX),
};
PARAMS(job_forget_params, msg_job_forget);

static const struct msg_field forget_result_fields[] = {
	F("forgotten", MSG_T_INT, msg_forget_result, forgotten, COUNT_RANGE, .help = "how many"),
};
RESULT(forget_result, msg_forget_result);

static const struct msg_field output_read_params_fields[] = {
	JOB(msg_output_read),
	F("fd", MSG_T_INT, msg_output_read, fd, .min = 1, .max = 2, .def = 1,
	    .help = "1: stdout, 2: stderr"),
	F("off", MSG_T_INT, msg_output_read, off, .min = 0, .max = RPC_INT_MAX,
	    .help = "position in the whole output"),
	F("max", MSG_T_INT, msg_output_read, max, .min = 1, .max = MSG_OUTPUT_READ_MAX,
	    .def = MSG_OUTPUT_READ_DEFAULT, .help = "bytes at most"),
};
PARAMS(output_read_params, msg_output_read);

static const struct msg_field output_read_result_fields[] = {
	F("off", MSG_T_INT, msg_output_read_result, off, COUNT_RANGE, .help = "where data begins"),
	F("data", MSG_T_BYTES, msg_output_read_result, data, .max = PTRDIFF_MAX, .help = "bytes"),
	F("eof", MSG_T_BOOL, msg_output_read_result, eof, .help = "nothing will follow"),
	F("dropped_before", MSG_T_INT, msg_output_read_result, dropped_before, COUNT_RANGE,
	    .help = "what lies before this position was dropped"),
};
RESULT(output_read_result, msg_output_read_result);

static const struct msg_field output_follow_params_fields[] = {
	JOB(msg_output_follow),
	F("fds", MSG_T_INT_LIST, msg_output_follow, fds, .min = 1, .max = 2, .item_min = 1,
	    .item_max = 2, .def_list = &default_fds, .help = "1: stdout, 2: stderr"),
	F("off", MSG_T_INT, msg_output_follow, off, .min = 0, .max = RPC_INT_MAX,
	    .help = "where to begin"),
	F("attempt", MSG_T_INT, msg_output_follow, attempt, .min = 1, .max = UINT32_MAX,
	    .def = MSG_NULL, .help = "that off belongs to; another is begun at 0"),
	WINDOW(msg_output_follow, "bytes"),
};
PARAMS(output_follow_params, msg_output_follow);

static const struct msg_field output_item_fields[] = {
	F("fd", MSG_T_INT, msg_output_item, fd, BETWEEN(1, 2), .help = "1: stdout, 2: stderr"),
	F("off", MSG_T_INT, msg_output_item, off, COUNT_RANGE, .help = "where data begins"),
	F("attempt", MSG_T_INT, msg_output_item, attempt, .flags = OMIT_NULL, COUNT_RANGE,
	    .help = "that wrote it; absent of the first"),
	F("data", MSG_T_BYTES, msg_output_item, data, .max = PTRDIFF_MAX, .help = "bytes"),
};
RESULT(output_item, msg_output_item);

static const struct msg_field next_schema_fields[] = {
	F("1", MSG_T_INT, msg_next_object, out, .flags = OMIT_NULL, COUNT_RANGE,
	    .help = "of stdout"),
	F("2", MSG_T_INT, msg_next_object, err, .flags = OMIT_NULL, COUNT_RANGE,
	    .help = "of stderr"),
};
RESULT(next_schema, msg_next_object);

static const struct msg_field follow_result_fields[] = {
	F("next", MSG_T_OBJ, msg_follow_result, next, .nested = &next_schema,
	    .help = "the position after the last byte, by descriptor"),
};
RESULT(follow_result, msg_follow_result);

static const struct msg_field stdin_write_params_fields[] = {
	JOB(msg_stdin_write),
	F("data", MSG_T_BYTES, msg_stdin_write, data, .max = PTRDIFF_MAX, .help = "bytes"),
	F("eof", MSG_T_BOOL, msg_stdin_write, eof, .help = "close it after these"),
};
PARAMS(stdin_write_params, msg_stdin_write);

static const struct msg_field written_result_fields[] = {
	F("written", MSG_T_INT, msg_written_result, written, COUNT_RANGE, .help = "bytes"),
};
RESULT(written_result, msg_written_result);

static const struct msg_field filter_schema_fields[] = {
	QUEUE(msg_filter, 0, "only those of this queue"),
	NAME(msg_filter),
	OK(msg_filter),
	UID(msg_filter),
};
SCHEMA(filter_schema, "Filter", msg_filter, true, false);

static const struct msg_field completions_params_fields[] = {
	F("since_seq", MSG_T_INT, msg_completions_subscribe, since_seq, .flags = NULLABLE, .min = 0,
	    .max = RPC_INT_MAX, .def = MSG_NULL, .help = "all after this one; absent: from now on"),
	F("instance", MSG_T_STR, msg_completions_subscribe, instance, .flags = NULLABLE, .max = 256,
	    .help = "the history that since_seq belongs to"),
	F("filter", MSG_T_OBJ, msg_completions_subscribe, filter, .nested = &filter_schema,
	    .help = "only some"),
	WINDOW(msg_completions_subscribe, "items"),
	WITH_OUTPUT(msg_completions_subscribe),
};
PARAMS(completions_params, msg_completions_subscribe);

static const struct msg_field events_params_fields[] = {
	F("kinds", MSG_T_FLAGS, msg_events_subscribe, kinds, .names = &msg_event_kind_names,
	    .def = (1 << MSG_EVENT_KINDS) - 1, .help = "only these kinds; absent: all"),
	F("filter", MSG_T_OBJ, msg_events_subscribe, filter, .nested = &filter_schema,
	    .help = "only some"),
};
PARAMS(events_params, msg_events_subscribe);

static const struct msg_field event_item_fields[] = {
	F("kind", MSG_T_ENUM, msg_event, kind, .names = &msg_event_kind_names,
	    .help = "what happened"),
	F("job", MSG_T_INT, msg_event, job, .flags = REQUIRED, JOB_ID_RANGE, .help = "its id"),
	F("at_us", MSG_T_INT, msg_event, at_us, COUNT_RANGE, .help = "when"),
	F("phase", MSG_T_ENUM, msg_event, phase, .names = &msg_phase_names,
	    .help = "its phase now"),
	F("outcome", MSG_T_ENUM, msg_event, outcome, .flags = NULLABLE | MSG_F_OPEN,
	    .names = &msg_outcome_names, .help = "of the job, or of the attempt that failed"),
	F("ok", MSG_T_TRISTATE, msg_event, ok, .flags = NULLABLE, .def = -1, .help = "when done"),
	F("exit_code", MSG_T_INT, msg_event, exit_code, .flags = NULLABLE, EXIT_CODE_RANGE,
	    .help = "where it exited"),
	F("signal", MSG_T_INT, msg_event, signal, .flags = NULLABLE, SIGNAL_RANGE,
	    .help = "number of the signal that ended it"),
	F("attempt", MSG_T_INT, msg_event, attempt, .flags = NULLABLE, COUNT_RANGE,
	    .help = "counts from 1"),
	F("reason", MSG_T_ENUM, msg_event, reason, .flags = NULLABLE | MSG_F_OPEN,
	    .names = &msg_reason_names, .help = "as in the job object"),
	F("seq", MSG_T_INT, msg_event, seq, .flags = NULLABLE, SEQ_RANGE, .help = "when done"),
	F("name", MSG_T_STR, msg_event, name, .flags = NULLABLE, .max = PTRDIFF_MAX,
	    .help = "as submitted"),
	F("queue", MSG_T_STR, msg_event, queue, .max = PTRDIFF_MAX, .help = "its queue"),
	F("uid", MSG_T_INT, msg_event, uid, UID_RANGE, .help = "its owner"),
	F("tag", MSG_T_ANY, msg_event, tag, .max = PTRDIFF_MAX, .help = "as submitted"),
};
RESULT(event_item, msg_event);

static const struct msg_field queue_schema_fields[] = {
	F("queue", MSG_T_STR, msg_queue, queue, .max = PTRDIFF_MAX, .help = "its name"),
	F("max_running", MSG_T_INT, msg_queue, max_running, .flags = NULLABLE, COUNT_RANGE,
	    .help = "slots; null: no limit of its own"),
	F("paused", MSG_T_BOOL, msg_queue, paused, .help = "nothing starts"),
	F("running", MSG_T_INT, msg_queue, running, COUNT_RANGE, .help = "slots in use"),
	F("pending", MSG_T_INT, msg_queue, pending, COUNT_RANGE, .help = "jobs that wait"),
};
SCHEMA(queue_schema, "Queue", msg_queue, false, false);

static const struct msg_field queues_result_fields[] = {
	F("queues", MSG_T_OBJ_LIST, msg_queues_result, queues, .nested = &queue_schema,
	    .max = PTRDIFF_MAX, .help = "all of them"),
};
RESULT(queues_result, msg_queues_result);

static const struct msg_field queue_set_params_fields[] = {
	QUEUE(msg_queue_set, REQUIRED, "its name; a new one is made"),
	F("max_running", MSG_T_INT, msg_queue_set, max_running, .flags = NULLABLE, .min = 0,
	    .max = MSG_SLOTS_MAX, .def = MSG_NULL, .help = "slots; null: no limit of its own"),
	F("paused", MSG_T_TRISTATE, msg_queue_set, paused, .def = -1, .help = "nothing starts"),
};
PARAMS(queue_set_params, msg_queue_set);

static const struct msg_field queue_remove_params_fields[] = {
	QUEUE(msg_queue_name, REQUIRED, "its name; it must be empty"),
};
PARAMS(queue_remove_params, msg_queue_name);

static const struct msg_field queue_name_params_fields[] = {
	QUEUE(msg_queue_name, 0, "its name; absent: all"),
};
PARAMS(queue_name_params, msg_queue_name);

static const struct msg_field drain_params_fields[] = {
	F("mode", MSG_T_ENUM, msg_drain, mode, .names = &msg_drain_mode_names,
	    .help = "let what is there finish, cancel it, or take jobs again"),
};
PARAMS(drain_params, msg_drain);

static const struct msg_field drain_result_fields[] = {
	F("mode", MSG_T_STR, msg_drain_result, mode, .names = &msg_drain_mode_names,
	    .max = PTRDIFF_MAX, .help = "as asked for"),
};
RESULT(drain_result, msg_drain_result);

static const struct msg_field limits_set_params_fields[] = {
	F("max_running", MSG_T_INT, msg_limits_set, max_running, .min = 0, .max = MSG_SLOTS_MAX,
	    .def = MSG_NULL, .help = "slots running at once; 0 pauses starts"),
	F("max_pending", MSG_T_INT, msg_limits_set, max_pending, .min = 0, .max = RPC_INT_MAX,
	    .def = MSG_NULL, .help = "pending jobs"),
	F("max_pending_bytes", MSG_T_INT, msg_limits_set, max_pending_bytes, .min = 0,
	    .max = RPC_INT_MAX, .def = MSG_NULL, .help = "bytes of pending jobs"),
	F("reset", MSG_T_BOOL, msg_limits_set, reset, .help = "first go back to the configuration"),
};
PARAMS(limits_set_params, msg_limits_set);

static const struct msg_field percentiles_schema_fields[] = {
	F("p50", MSG_T_INT, msg_percentiles, p50, .flags = NULLABLE, COUNT_RANGE, .help = "median"),
	F("p90", MSG_T_INT, msg_percentiles, p90, .flags = NULLABLE, COUNT_RANGE,
	    .help = "9 of 10"),
	F("p99", MSG_T_INT, msg_percentiles, p99, .flags = NULLABLE, COUNT_RANGE,
	    .help = "99 of 100"),
	F("max", MSG_T_INT, msg_percentiles, max, .flags = NULLABLE, COUNT_RANGE, .help = "all"),
};
RESULT(percentiles_schema, msg_percentiles);

#define JOURNAL_INT(key, text) F(#key, MSG_T_INT, msg_journal, key, COUNT_RANGE, .help = text)
static const struct msg_field journal_schema_fields[] = {
	F("durability", MSG_T_STR, msg_journal, durability, .names = &msg_durability_names,
	    .max = PTRDIFF_MAX, .help = "full: survives power loss; normal: a crash of the daemon"),
	JOURNAL_INT(bytes, "of the journal's file"),
	JOURNAL_INT(wal_bytes, "not checkpointed yet"),
	JOURNAL_INT(commits, "since the daemon's start"),
	JOURNAL_INT(commit_p50_us, "half of the latest commits took at most so long"),
	JOURNAL_INT(commit_p99_us, "99 of 100"),
	JOURNAL_INT(oldest_seq, "from this completion on all are held"),
	F("degraded", MSG_T_BOOL, msg_journal, degraded,
	    .help = "the disk is full: nothing new is taken"),
	JOURNAL_INT(shelved, "pending jobs that are on disk alone"),
};
RESULT(journal_schema, msg_journal);

#define STAT(key, text)                                                                            \
	F(#key, MSG_T_INT, msg_stats, key, .flags = NULLABLE, COUNT_RANGE, .help = text)
static const struct msg_field msg_stats_schema_fields[] = {
	STAT(uptime_ms, "since the daemon's start"),
	STAT(max_running, "the limit, in slots"),
	STAT(running, "slots in use"),
	STAT(running_jobs, "jobs running"),
	STAT(pending, "jobs that wait"),
	STAT(peak_running, "most slots in use since start"),
	STAT(submitted, "jobs taken since start"),
	STAT(started, "attempts started"),
	STAT(completed, "jobs done"),
	STAT(ok, "of these ok"),
	STAT(failed, "not ok, not cancelled"),
	STAT(cancelled, "cancelled"),
	STAT(lost, "lost"),
	STAT(retries, "attempts after the first"),
	STAT(seq, "the newest completion's seq"),
	STAT(history, "done jobs remembered"),
	STAT(connections, "clients connected"),
	STAT(streams, "streams open"),
	STAT(in_flight, "requests that wait"),
	STAT(held, "submits that wait for room"),
	STAT(pending_bytes, "bytes of pending jobs"),
	STAT(output_bytes, "bytes of output kept"),
	STAT(bytes_in, "bytes from clients"),
	STAT(bytes_out, "bytes to clients"),
	STAT(turns, "turns of the loop"),
	STAT(max_rss_kib, "the daemon's largest resident set"),
	F("paused", MSG_T_BOOL, msg_stats, paused, .help = "all queues are paused"),
	F("draining", MSG_T_BOOL, msg_stats, draining, .help = "no new jobs are taken"),
	F("wait_us", MSG_T_OBJ, msg_stats, wait_us, .nested = &percentiles_schema,
	    .help = "from startable to started"),
	F("run_us", MSG_T_OBJ, msg_stats, run_us, .nested = &percentiles_schema,
	    .help = "from started to exited"),
	F("journal", MSG_T_OBJ, msg_stats, journal, HAS(msg_stats, has_journal), .flags = NULLABLE,
	    .nested = &journal_schema, .help = "null where nothing outlives the daemon"),
};
SCHEMA(msg_stats_schema, "Stats", msg_stats, false, false);

static const struct msg_field metrics_result_fields[] = {
	F("text", MSG_T_STR, msg_metrics_result, text, .max = PTRDIFF_MAX,
	    .help = "in the OpenMetrics format"),
};
RESULT(metrics_result, msg_metrics_result);

static const struct msg_field reload_result_fields[] = {
	F("changed", MSG_T_STR_LIST, msg_reload_result, changed, .max = PTRDIFF_MAX,
	    .help = "options that changed"),
};
RESULT(reload_result, msg_reload_result);

static const struct msg_field cancel_params_fields[] = {
	F("id", MSG_T_ID, msg_cancel, id, .flags = REQUIRED, .help = "id of the request"),
};
PARAMS(cancel_params, msg_cancel);

static const struct msg_field credit_params_fields[] = {
	STREAM(msg_credit),
	F("n", MSG_T_INT, msg_credit, n, .flags = REQUIRED, .min = 1, .max = RPC_INT_MAX,
	    .help = "items (output.follow: bytes) consumed"),
};
PARAMS(credit_params, msg_credit);

static const struct msg_schema no_params = {
	.size = sizeof(struct msg_none),
	.strict = true,
	.parameters = true,
};

/* ---- the methods ---- */

#define SUBMIT_ERRORS                                                                              \
	RPC_QUEUE_FULL, RPC_DRAINING, RPC_LIMIT_EXCEEDED, RPC_KEY_CONFLICT, RPC_NO_SUCH_JOB,       \
	    RPC_NOT_SUPPORTED, RPC_STORAGE_DEGRADED

#define STREAM_OF_ITEMS (MSG_M_STREAM | MSG_M_WAITS)

static const struct msg_method methods[M_METHODS] = {
	[M_HELLO] = { M_HELLO, 0, "hello", "Says who is there and what holds; optional.",
	    &hello_params, &hello_result, NULL, { RPC_INVALID_STATE } },
	[M_JOB_SUBMIT] = { M_JOB_SUBMIT, MSG_M_WAITS, "job.submit", "Submits one job.",
	    &msg_spec_schema, &submit_result, NULL, { SUBMIT_ERRORS } },
	[M_JOB_SUBMIT_BATCH] = { M_JOB_SUBMIT_BATCH, MSG_M_WAITS, "job.submit_batch",
	    "Submits up to 1024 jobs, all or none.", &batch_params, &jobs_result, NULL,
	    { SUBMIT_ERRORS } },
	[M_MAP_OPEN] = { M_MAP_OPEN, STREAM_OF_ITEMS | MSG_M_CREDIT, "map.open",
	    "Opens a stream of jobs of which at most `limit` are submitted and not yet "
	    "consumed.",
	    &map_open_params, &map_result, &msg_completion_schema, { RPC_LIMIT_EXCEEDED } },
	[M_MAP_PUSH] = { M_MAP_PUSH, 0, "map.push",
	    "Pushes jobs into a map; each costs one credit.", &map_push_params, &jobs_result, NULL,
	    { RPC_CREDIT_EXCEEDED, RPC_QUEUE_FULL, RPC_DRAINING, RPC_LIMIT_EXCEEDED,
		RPC_KEY_CONFLICT, RPC_NO_SUCH_JOB, RPC_NOT_SUPPORTED, RPC_INVALID_STATE,
		RPC_STORAGE_DEGRADED } },
	[M_MAP_END] = { M_MAP_END, 0, "map.end", "Says that nothing more will be pushed.",
	    &map_end_params, NULL, NULL, { RPC_OK } },
	[M_FUTURES_AS_COMPLETED] = { M_FUTURES_AS_COMPLETED, STREAM_OF_ITEMS,
	    "futures.as_completed",
	    "Streams completions in finish order, those done already first.", &as_completed_params,
	    &as_completed_result, &msg_completion_schema,
	    { RPC_TIMEOUT, RPC_NO_SUCH_JOB, RPC_LIMIT_EXCEEDED } },
	[M_FUTURES_WAIT] = { M_FUTURES_WAIT, MSG_M_WAITS, "futures.wait",
	    "Waits for one, the first failure, or all; a timeout is no error.", &wait_params,
	    &wait_result, NULL, { RPC_NO_SUCH_JOB, RPC_LIMIT_EXCEEDED } },
	[M_FUTURES_GATHER] = { M_FUTURES_GATHER, MSG_M_WAITS, "futures.gather",
	    "Waits for all and gives completions in the order asked.", &gather_params,
	    &gather_result, NULL,
	    { RPC_JOB_FAILED, RPC_JOB_CANCELLED, RPC_NO_SUCH_JOB, RPC_LIMIT_EXCEEDED } },
	[M_JOB_RESULT] = { M_JOB_RESULT, MSG_M_WAITS, "job.result", "The job object of a done job.",
	    &job_result_params, &msg_job_schema, NULL,
	    { RPC_INVALID_STATE, RPC_TIMEOUT, RPC_NO_SUCH_JOB, RPC_LIMIT_EXCEEDED } },
	[M_JOB_CANCEL] = { M_JOB_CANCEL, MSG_M_WAITS, "job.cancel",
	    "Cancels jobs; one unknown id refuses all.", &job_cancel_params, &cancel_result, NULL,
	    { RPC_NO_SUCH_JOB, RPC_LIMIT_EXCEEDED, RPC_STORAGE_DEGRADED } },
	[M_JOB_SIGNAL] = { M_JOB_SIGNAL, 0, "job.signal", "Sends a signal to a running job.",
	    &job_signal_params, NULL, NULL, { RPC_INVALID_STATE, RPC_NO_SUCH_JOB } },
	[M_JOB_GET] = { M_JOB_GET, 0, "job.get", "The job object.", &job_id_params, &msg_job_schema,
	    NULL, { RPC_NO_SUCH_JOB } },
	[M_JOB_LIST] = { M_JOB_LIST, 0, "job.list", "Job objects, page by page.", &job_list_params,
	    &list_result, NULL, { RPC_OK } },
	[M_JOB_SET] = { M_JOB_SET, 0, "job.set", "Changes a pending job.", &job_set_params,
	    &msg_job_schema, NULL,
	    { RPC_INVALID_STATE, RPC_NO_SUCH_JOB, RPC_LIMIT_EXCEEDED, RPC_STORAGE_DEGRADED } },
	[M_JOB_RETRY] = { M_JOB_RETRY, 0, "job.retry",
	    "Submits a done job again: a new id, the same spec and environment.", &job_id_params,
	    &retry_result, NULL,
	    { RPC_INVALID_STATE, RPC_NO_SUCH_JOB, RPC_NOT_SUPPORTED, RPC_QUEUE_FULL, RPC_DRAINING,
		RPC_LIMIT_EXCEEDED, RPC_STORAGE_DEGRADED } },
	[M_JOB_FORGET] = { M_JOB_FORGET, 0, "job.forget", "Drops done jobs from history.",
	    &job_forget_params, &forget_result, NULL,
	    { RPC_INVALID_STATE, RPC_NO_SUCH_JOB, RPC_STORAGE_DEGRADED } },
	[M_OUTPUT_READ] = { M_OUTPUT_READ, 0, "output.read", "A piece of a job's captured output.",
	    &output_read_params, &output_read_result, NULL, { RPC_NO_SUCH_JOB } },
	[M_OUTPUT_FOLLOW] = { M_OUTPUT_FOLLOW, STREAM_OF_ITEMS, "output.follow",
	    "Streams a job's output until its end.", &output_follow_params, &follow_result,
	    &output_item, { RPC_NO_SUCH_JOB } },
	[M_STDIN_WRITE] = { M_STDIN_WRITE, MSG_M_WAITS, "stdin.write",
	    "Writes to the stdin pipe of a job; replies when it is written.", &stdin_write_params,
	    &written_result, NULL, { RPC_INVALID_STATE, RPC_NO_SUCH_JOB } },
	[M_COMPLETIONS_SUBSCRIBE] = { M_COMPLETIONS_SUBSCRIBE, STREAM_OF_ITEMS,
	    "completions.subscribe",
	    "Streams every completion, endlessly and without loss, in the order of seq.",
	    &completions_params, NULL, &msg_completion_schema, { RPC_HISTORY_TRUNCATED } },
	[M_EVENTS_SUBSCRIBE] = { M_EVENTS_SUBSCRIBE, STREAM_OF_ITEMS | MSG_M_GAP,
	    "events.subscribe", "Streams changes of phase, endlessly; a slow reader gets $/gap.",
	    &events_params, NULL, &event_item, { RPC_OK } },
	[M_QUEUE_LIST] = { M_QUEUE_LIST, 0, "queue.list", "All queues.", &no_params, &queues_result,
	    NULL, { RPC_OK } },
	[M_QUEUE_SET] = { M_QUEUE_SET, MSG_M_ADMIN, "queue.set", "Makes or changes a queue.",
	    &queue_set_params, &queue_schema, NULL,
	    { RPC_PERMISSION_DENIED, RPC_LIMIT_EXCEEDED, RPC_STORAGE_DEGRADED } },
	[M_QUEUE_REMOVE] = { M_QUEUE_REMOVE, MSG_M_ADMIN, "queue.remove", "Removes an empty queue.",
	    &queue_remove_params, NULL, NULL,
	    { RPC_PERMISSION_DENIED, RPC_INVALID_STATE, RPC_STORAGE_DEGRADED } },
	[M_QUEUE_PAUSE] = { M_QUEUE_PAUSE, MSG_M_ADMIN, "queue.pause",
	    "Nothing of the queue starts until queue.resume.", &queue_name_params, NULL, NULL,
	    { RPC_PERMISSION_DENIED, RPC_STORAGE_DEGRADED } },
	[M_QUEUE_RESUME] = { M_QUEUE_RESUME, MSG_M_ADMIN, "queue.resume", "Undoes queue.pause.",
	    &queue_name_params, NULL, NULL, { RPC_PERMISSION_DENIED, RPC_STORAGE_DEGRADED } },
	[M_DRAIN] = { M_DRAIN, MSG_M_ADMIN | MSG_M_WAITS, "drain",
	    "Takes no new jobs; replies when idle.", &drain_params, &drain_result, NULL,
	    { RPC_PERMISSION_DENIED, RPC_INVALID_STATE } },
	[M_LIMITS_GET] = { M_LIMITS_GET, 0, "limits.get", "The limits in force.", &no_params,
	    &msg_limits_schema, NULL, { RPC_OK } },
	[M_LIMITS_SET] = { M_LIMITS_SET, MSG_M_ADMIN, "limits.set",
	    "Changes limits; lowering never kills. Kept across restarts until reset.",
	    &limits_set_params, &msg_limits_schema, NULL,
	    { RPC_PERMISSION_DENIED, RPC_STORAGE_DEGRADED } },
	[M_STATS_GET] = { M_STATS_GET, 0, "stats.get", "Counters, gauges and percentiles.",
	    &no_params, &msg_stats_schema, NULL, { RPC_OK } },
	[M_METRICS_GET] = { M_METRICS_GET, 0, "metrics.get", "The same as OpenMetrics text.",
	    &no_params, &metrics_result, NULL, { RPC_OK } },
	[M_ADMIN_RELOAD] = { M_ADMIN_RELOAD, MSG_M_ADMIN, "admin.reload",
	    "Reads the configuration again.", &no_params, &reload_result, NULL,
	    { RPC_PERMISSION_DENIED, RPC_INVALID_STATE } },
	[M_RPC_DISCOVER] = { M_RPC_DISCOVER, 0, "rpc.discover",
	    "This table as an OpenRPC document.", &no_params, NULL, NULL, { RPC_OK } },
	[M_CANCEL] = { M_CANCEL, MSG_M_NOTIFICATION, "$/cancel",
	    "Ends a request of this connection with RequestCancelled.", &cancel_params, NULL, NULL,
	    { RPC_OK } },
	[M_CREDIT] = { M_CREDIT, MSG_M_NOTIFICATION, "$/credit",
	    "Lets the server send more on a stream opened with `window`.", &credit_params, NULL,
	    NULL, { RPC_OK } },
};

const struct msg_method *
msg_methods(void)
{
	return methods;
}

const struct msg_method *
msg_method(enum msg_method_id id)
{
	return &methods[id];
}
