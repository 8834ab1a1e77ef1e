/*
 * The table's second part, what is only ever sent: the data of errors, and what a stream's request
 * is told between its items.  rpc.discover follows it; the writers are rpc.c and the methods.
 */

#include "wire/message_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define F(json_name, field_type, ...)                                                              \
	{                                                                                          \
		.name = json_name, .type = field_type, __VA_ARGS__                                 \
	}
#define SCHEMA(var)                                                                                \
	static const struct msg_schema var = {                                                     \
		.fields = var##_fields,                                                            \
		.nfields = COUNT(var##_fields),                                                    \
	}

#define OPTIONAL MSG_F_OMIT_NULL
#define FROM(least) .min = (least), .max = RPC_INT_MAX
#define ANY_LENGTH .max = PTRDIFF_MAX

/* ---- errors ---- */

/* What rpc_write_failure() writes of the place of the fault. */
#define PARAM F("param", MSG_T_STR, .flags = OPTIONAL, ANY_LENGTH, .help = "the parameter's name")
#define PATH                                                                                       \
	F("path", MSG_T_STR, .flags = OPTIONAL, ANY_LENGTH,                                        \
	    .help = "where it stands when that is elsewhere: jobs[3].argv[0]")

static const struct msg_field param_data_fields[] = { PARAM, PATH };
SCHEMA(param_data);

static const struct msg_field no_such_job_data_fields[] = {
	PARAM,
	PATH,
	F("job", MSG_T_INT, FROM(1), .help = "the id that was given"),
	F("oldest_job", MSG_T_INT, FROM(1),
	    .help = "the oldest id in your history, or the next to be given"),
};
SCHEMA(no_such_job_data);

static const struct msg_field queue_full_data_fields[] = {
	F("retry_after_ms", MSG_T_INT, FROM(0), .help = "a guess at when there is room"),
};
SCHEMA(queue_full_data);

static const struct msg_field timeout_data_fields[] = {
	F("remaining", MSG_T_INT_LIST, ANY_LENGTH, .item_min = 1, .item_max = RPC_INT_MAX,
	    .help = "ids that are left"),
};
SCHEMA(timeout_data);

static const struct msg_field truncated_data_fields[] = {
	F("oldest", MSG_T_INT, FROM(1), .help = "from this seq on all can be had"),
	F("instance", MSG_T_STR, ANY_LENGTH, .help = "the history that it belongs to"),
};
SCHEMA(truncated_data);

static const struct msg_field credit_data_fields[] = {
	F("credit", MSG_T_INT, FROM(0), .help = "how many jobs may be pushed"),
};
SCHEMA(credit_data);

static const struct msg_field job_failed_data_fields[] = {
	F("index", MSG_T_INT, FROM(0), .help = "its place in the list of ids given"),
};
SCHEMA(job_failed_data);

static const struct msg_field key_conflict_data_fields[] = {
	PATH,
	F("job", MSG_T_INT, .flags = OPTIONAL, FROM(1),
	    .help = "the job that has the key; absent where two of one batch have it"),
};
SCHEMA(key_conflict_data);

static const struct msg_schema no_data;

const struct msg_schema *
msg_error_data(enum rpc_error error, const struct msg_schema **more)
{
	static const struct msg_schema *const data[RPC_ERROR_COUNT] = {
		[RPC_INVALID_PARAMS] = &param_data,
		[RPC_NO_SUCH_JOB] = &no_such_job_data,
		[RPC_QUEUE_FULL] = &queue_full_data,
		[RPC_TIMEOUT] = &timeout_data,
		[RPC_LIMIT_EXCEEDED] = &param_data,
		[RPC_HISTORY_TRUNCATED] = &truncated_data,
		[RPC_NOT_SUPPORTED] = &param_data,
		[RPC_CREDIT_EXCEEDED] = &credit_data,
		[RPC_JOB_FAILED] = &job_failed_data,
		[RPC_JOB_CANCELLED] = &job_failed_data,
		[RPC_KEY_CONFLICT] = &key_conflict_data,
	};

	*more = data[error] == &job_failed_data ? &msg_completion_schema : NULL;
	return data[error] != NULL ? data[error] : &no_data;
}

const enum rpc_error *
msg_general_errors(void)
{
	static const enum rpc_error errors[] = {
		RPC_PARSE_ERROR,
		RPC_INVALID_REQUEST,
		RPC_METHOD_NOT_FOUND,
		RPC_INVALID_PARAMS,
		RPC_INTERNAL_ERROR,
		RPC_SHUTTING_DOWN,
		RPC_FRAME_TOO_LARGE,
		RPC_TOO_MANY_IN_FLIGHT,
		RPC_REQUEST_CANCELLED,
		RPC_OK,
	};

	return errors;
}

/* ---- notices ---- */

#define STREAM F("stream", MSG_T_ID, .help = "id of the request that opened the stream")

static const struct msg_field item_params_fields[] = {
	STREAM,
	F("n", MSG_T_INT, FROM(1), .help = "counts from 1 without holes"),
};
SCHEMA(item_params);

static const struct msg_field credit_params_fields[] = {
	STREAM,
	F("n", MSG_T_INT, FROM(1), .help = "how many more jobs may be pushed"),
};
SCHEMA(credit_params);

static const struct msg_field gap_params_fields[] = {
	STREAM,
	F("dropped", MSG_T_INT, FROM(1), .help = "items that were left out"),
	F("resume", MSG_T_INT, FROM(0), .help = "the newest completion's seq at that moment"),
};
SCHEMA(gap_params);

const struct msg_notice *
msg_notices(size_t *n)
{
	static const struct msg_notice notices[] = {
		{ "$/item", "One item of a stream; its further members are the method's.",
		    &item_params },
		{ "$/credit", "The client may push more jobs into a map.", &credit_params },
		{ "$/gap", "Items were left out because the client was slow.", &gap_params },
	};

	*n = COUNT(notices);
	return notices;
}
