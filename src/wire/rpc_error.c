/* The kinds of errors, and failures on their way to be written. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/rpc.h"
#include "wire/text.h"

static const struct rpc_error_info errors[RPC_ERROR_COUNT] = {
	[RPC_OK] = { 0, "", "", "" },
	[RPC_PARSE_ERROR] = { -32700, "ParseError", "not valid JSON",
	    "The line is not JSON, or nested deeper or of more tokens than accepted." },
	[RPC_INVALID_REQUEST] = { -32600, "InvalidRequest", "not a JSON-RPC 2.0 request",
	    "JSON, but no request: a batch, no jsonrpc member, a bad id or none." },
	[RPC_METHOD_NOT_FOUND] = { -32601, "MethodNotFound", "no such method",
	    "There is no method of this name; rpc.discover lists them." },
	[RPC_INVALID_PARAMS] = { -32602, "InvalidParams", "invalid parameters",
	    "A parameter is missing, unknown, of the wrong type or out of range; "
	    "data.param names it, data.path says where it stands." },
	[RPC_INTERNAL_ERROR] = { -32603, "InternalError", "internal error",
	    "The daemon could not do what it should have: see its log." },
	[RPC_SHUTTING_DOWN] = { -32000, "ShuttingDown", "the daemon is shutting down",
	    "The daemon is leaving; connect again later." },
	[RPC_FRAME_TOO_LARGE] = { -32001, "FrameTooLarge", "a line is at most 1 MiB",
	    "The line was longer than 1 MiB and was dropped." },
	[RPC_TOO_MANY_IN_FLIGHT] = { -32002, "TooManyInFlight", "too many requests in flight",
	    "This connection has as many waiting requests as it may have." },
	[RPC_REQUEST_CANCELLED] = { -32800, "RequestCancelled", "request cancelled",
	    "The client cancelled this request with $/cancel." },
	[RPC_NO_SUCH_JOB] = { 1001, "NoSuchJob", "no such job",
	    "The id is unknown, forgotten or another user's; data.oldest_job is the oldest "
	    "id in the caller's history." },
	[RPC_PERMISSION_DENIED] = { 1002, "PermissionDenied", "permission denied",
	    "Only admins may do this." },
	[RPC_QUEUE_FULL] = { 1003, "QueueFull", "too many pending jobs",
	    "There is no room for more pending jobs; data.retry_after_ms is a guess." },
	[RPC_DRAINING] = { 1004, "Draining", "the daemon is draining",
	    "No new jobs are taken while draining." },
	[RPC_TIMEOUT] = { 1005, "Timeout", "timed out",
	    "The time given by the request passed; data.remaining lists what is left." },
	[RPC_INVALID_STATE] = { 1007, "InvalidState", "not possible in the job's state",
	    "The job is in a phase that doesn't allow this." },
	[RPC_LIMIT_EXCEEDED] = { 1008, "LimitExceeded", "limit exceeded",
	    "More than a limit allows was asked for." },
	[RPC_HISTORY_TRUNCATED] = { 1009, "HistoryTruncated", "history doesn't reach back that far",
	    "What was asked for is no longer (or not yet) in history; data.oldest and "
	    "data.instance say what is." },
	[RPC_NOT_SUPPORTED] = { 1010, "NotSupported", "not supported",
	    "This daemon can't do that." },
	[RPC_STORAGE_DEGRADED] = { 1011, "StorageDegraded", "storage is degraded",
	    "The journal can't be written at the moment." },
	[RPC_CREDIT_EXCEEDED] = { 1012, "CreditExceeded", "more jobs than credit",
	    "A map.push of more jobs than the map has credit for; nothing was spent." },
	[RPC_JOB_FAILED] = { 1013, "JobFailed", "a job failed",
	    "futures.gather: a job was not ok; data carries its completion." },
	[RPC_JOB_CANCELLED] = { 1014, "JobCancelled", "a job was cancelled",
	    "futures.gather: a job was cancelled; data carries its completion." },
	[RPC_KEY_CONFLICT] = { 1015, "KeyConflict", "key in use with another spec",
	    "The idempotency key belongs to a job with a different spec." },
};

const struct rpc_error_info *
rpc_error_info(enum rpc_error error)
{
	return &errors[error];
}

enum rpc_error
rpc_error_by_code(int code)
{
	for (int i = RPC_OK + 1; i < RPC_ERROR_COUNT; i++) {
		if (errors[i].code == code)
			return (enum rpc_error)i;
	}
	return RPC_OK;
}

enum rpc_error
rpc_error_by_kind(const char *kind)
{
	for (int i = RPC_OK + 1; i < RPC_ERROR_COUNT; i++) {
		if (strcmp(errors[i].kind, kind) == 0)
			return (enum rpc_error)i;
	}
	return RPC_OK;
}

static void set_message(struct rpc_failure *f, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void
set_message(struct rpc_failure *f, const char *format, va_list args)
{
	size_t len;

	if (format == NULL)
		return;
	vsnprintf(f->message, sizeof(f->message), format, args);
	len = strlen(f->message);
	if (len == sizeof(f->message) - 1) {
		/* It may have been cut inside a character: give up the last one. */
		while (len > 0 && ((unsigned char)f->message[len - 1] & 0xc0) == 0x80)
			len--;
		f->message[len > 0 ? len - 1 : 0] = '\0';
	}
}

static void
reset(struct rpc_failure *f, enum rpc_error error)
{
	f->error = error;
	f->param[0] = '\0';
	f->path[0] = '\0';
	f->message[0] = '\0';
	f->nextra = 0;
}

int
rpc_fail(struct rpc_failure *f, enum rpc_error error, const char *format, ...)
{
	va_list args;

	reset(f, error);
	va_start(args, format);
	set_message(f, format, args);
	va_end(args);
	return -1;
}

int
rpc_fail_param(struct rpc_failure *f, const char *param, const char *format, ...)
{
	va_list args;
	size_t len = utf8_cut(param, strlen(param), sizeof(f->param) - 1);

	reset(f, RPC_INVALID_PARAMS);
	memcpy(f->param, param, len);
	f->param[len] = '\0';
	va_start(args, format);
	set_message(f, format, args);
	va_end(args);
	return -1;
}

void
rpc_failure_add(struct rpc_failure *f, const char *key, int64_t value)
{
	if (f->nextra == sizeof(f->extra) / sizeof(f->extra[0]))
		return;
	f->extra[f->nextra].key = key;
	f->extra[f->nextra].value = value;
	f->nextra++;
}
