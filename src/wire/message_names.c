/* Names of phases, outcomes, reasons, signals, errnos and resource limits. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strerrorname_np */
#endif

#include "wire/message.h"

#include <signal.h>
#include <string.h>
#include <strings.h>

#include "wire/message_internal.h"

static const char *const phases[] = {
	[MSG_PHASE_PENDING] = "pending",
	[MSG_PHASE_RUNNING] = "running",
	[MSG_PHASE_DONE] = "done",
};
static const char *const outcomes[] = {
	[MSG_OUTCOME_NONE] = NULL,
	[MSG_OUTCOME_EXITED] = "exited",
	[MSG_OUTCOME_SIGNALED] = "signaled",
	[MSG_OUTCOME_TIMED_OUT] = "timed_out",
	[MSG_OUTCOME_CANCELLED] = "cancelled",
	[MSG_OUTCOME_SPAWN_FAILED] = "spawn_failed",
	[MSG_OUTCOME_LOST] = "lost",
	[MSG_OUTCOME_DEPENDENCY_FAILED] = "dependency_failed",
	[MSG_OUTCOME_OTHER] = NULL,
};
/* Outcomes that a retry can follow: what was cancelled or never could start isn't retried. */
static const char *const retry_outcomes[] = {
	[MSG_OUTCOME_NONE] = NULL,
	[MSG_OUTCOME_EXITED] = "exited",
	[MSG_OUTCOME_SIGNALED] = "signaled",
	[MSG_OUTCOME_TIMED_OUT] = "timed_out",
	[MSG_OUTCOME_CANCELLED] = NULL,
	[MSG_OUTCOME_SPAWN_FAILED] = "spawn_failed",
	[MSG_OUTCOME_LOST] = "lost",
};
static const char *const reasons[] = {
	[MSG_REASON_NONE] = NULL,
	[MSG_REASON_SLOTS] = "slots",
	[MSG_REASON_QUEUE] = "queue",
	[MSG_REASON_PAUSED] = "paused",
	[MSG_REASON_DELAY] = "delay",
	[MSG_REASON_AFTER] = "after",
	[MSG_REASON_RETRY] = "retry",
	[MSG_REASON_HOLD] = "hold",
	[MSG_REASON_QUOTA] = "quota",
	[MSG_REASON_CLIENT] = "client",
	[MSG_REASON_SHUTDOWN] = "shutdown",
	[MSG_REASON_SESSION_ENDED] = "session_ended",
	[MSG_REASON_STDIN_LOST] = "stdin_lost",
	[MSG_REASON_FD_LOST] = "fd_lost",
	[MSG_REASON_LAUNCHER_DIED] = "launcher_died",
	[MSG_REASON_REBOOT] = "reboot",
	[MSG_REASON_OTHER] = NULL,
};
static const char *const event_kinds[] = {
	[MSG_EVENT_SUBMITTED] = "submitted",
	[MSG_EVENT_RUNNING] = "running",
	[MSG_EVENT_PENDING] = "pending",
	[MSG_EVENT_DONE] = "done",
	[MSG_EVENT_ATTEMPT_FAILED] = "attempt_failed",
};
static const char *const lifetimes[] = {
	[MSG_LIFETIME_DETACHED] = "detached",
	[MSG_LIFETIME_BOUND] = "bound",
};
static const char *const on_fulls[] = {
	[MSG_ON_FULL_FAIL] = "fail",
	[MSG_ON_FULL_WAIT] = "wait",
};
static const char *const leftovers[] = {
	[MSG_LEFTOVERS_KILL] = "kill",
	[MSG_LEFTOVERS_KEEP] = "keep",
};
static const char *const after_policies[] = {
	[MSG_AFTER_OK] = "ok",
	[MSG_AFTER_ANY] = "any",
};
static const char *const on_errors[] = {
	[MSG_ON_ERROR_CONTINUE] = "continue",
	[MSG_ON_ERROR_CANCEL] = "cancel",
};
static const char *const return_whens[] = {
	[MSG_RETURN_ALL_COMPLETED] = "ALL_COMPLETED",
	[MSG_RETURN_FIRST_COMPLETED] = "FIRST_COMPLETED",
	[MSG_RETURN_FIRST_EXCEPTION] = "FIRST_EXCEPTION",
};
static const char *const scopes[] = {
	[MSG_SCOPE_LEADER] = "leader",
	[MSG_SCOPE_GROUP] = "group",
	[MSG_SCOPE_TREE] = "tree",
};
static const char *const orders[] = {
	[MSG_ORDER_ASC] = "asc",
	[MSG_ORDER_DESC] = "desc",
};
static const char *const drain_modes[] = {
	[MSG_DRAIN_FINISH] = "finish",
	[MSG_DRAIN_CANCEL] = "cancel",
	[MSG_DRAIN_OFF] = "off",
};
static const char *const durabilities[] = { "full", "normal" };

#define NAMES(array, other_value)                                                                  \
	{                                                                                          \
		array, sizeof(array) / sizeof((array)[0]), other_value                             \
	}

const struct msg_names msg_phase_names = NAMES(phases, -1);
const struct msg_names msg_outcome_names = NAMES(outcomes, MSG_OUTCOME_OTHER);
const struct msg_names msg_retry_outcome_names = NAMES(retry_outcomes, -1);
const struct msg_names msg_reason_names = NAMES(reasons, MSG_REASON_OTHER);
const struct msg_names msg_event_kind_names = NAMES(event_kinds, -1);
const struct msg_names msg_lifetime_names = NAMES(lifetimes, -1);
const struct msg_names msg_on_full_names = NAMES(on_fulls, -1);
const struct msg_names msg_leftovers_names = NAMES(leftovers, -1);
const struct msg_names msg_after_policy_names = NAMES(after_policies, -1);
const struct msg_names msg_on_error_names = NAMES(on_errors, -1);
const struct msg_names msg_return_when_names = NAMES(return_whens, -1);
const struct msg_names msg_scope_names = NAMES(scopes, -1);
const struct msg_names msg_order_names = NAMES(orders, -1);
const struct msg_names msg_drain_mode_names = NAMES(drain_modes, -1);
const struct msg_names msg_durability_names = NAMES(durabilities, -1);

int
msg_names_find(const struct msg_names *names, const char *name)
{
	for (int i = 0; i < names->n; i++) {
		if (names->v[i] != NULL && strcmp(names->v[i], name) == 0)
			return i;
	}
	return -1;
}

const char *
msg_names_get(const struct msg_names *names, int value)
{
	return value >= 0 && value < names->n ? names->v[value] : NULL;
}

const char *
msg_phase_name(enum msg_phase phase)
{
	return phases[phase];
}

const char *
msg_outcome_name(enum msg_outcome outcome)
{
	return outcomes[outcome];
}

const char *
msg_reason_name(enum msg_reason reason)
{
	return reasons[reason];
}

const char *
msg_event_kind_name(enum msg_event_kind kind)
{
	return msg_names_get(&msg_event_kind_names, (int)kind);
}

/* ---- what the system numbers ---- */

struct number_name {
	const char *name;
	int number;
};

static const struct number_name signals[] = {
	{ "HUP", SIGHUP },
	{ "INT", SIGINT },
	{ "QUIT", SIGQUIT },
	{ "ILL", SIGILL },
	{ "TRAP", SIGTRAP },
	{ "ABRT", SIGABRT },
	{ "BUS", SIGBUS },
	{ "FPE", SIGFPE },
	{ "KILL", SIGKILL },
	{ "USR1", SIGUSR1 },
	{ "SEGV", SIGSEGV },
	{ "USR2", SIGUSR2 },
	{ "PIPE", SIGPIPE },
	{ "ALRM", SIGALRM },
	{ "TERM", SIGTERM },
	{ "STKFLT", SIGSTKFLT },
	{ "CHLD", SIGCHLD },
	{ "CONT", SIGCONT },
	{ "STOP", SIGSTOP },
	{ "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN },
	{ "TTOU", SIGTTOU },
	{ "URG", SIGURG },
	{ "XCPU", SIGXCPU },
	{ "XFSZ", SIGXFSZ },
	{ "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF },
	{ "WINCH", SIGWINCH },
	{ "IO", SIGIO },
	{ "PWR", SIGPWR },
	{ "SYS", SIGSYS },
	{ "IOT", SIGABRT },
	{ "POLL", SIGIO },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int
msg_signal_by_name(const char *name)
{
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (size_t i = 0; i < COUNT(signals); i++) {
		if (strcasecmp(signals[i].name, name) == 0)
			return signals[i].number;
	}
	return 0;
}

const char *
msg_signal_name(int signal)
{
	for (size_t i = 0; i < COUNT(signals); i++) {
		if (signals[i].number == signal)
			return signals[i].name;
	}
	return NULL;
}

const char *
msg_signal_at(size_t i)
{
	return i < COUNT(signals) ? signals[i].name : NULL;
}

const char *
msg_errno_name(int error)
{
	return strerrorname_np(error);
}

static const struct number_name rlimits[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "locks", RLIMIT_LOCKS },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },
	{ "rtprio", RLIMIT_RTPRIO },
	{ "rttime", RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

_Static_assert(COUNT(rlimits) <= MSG_RLIMITS_MAX, "every resource fits one spec");

int
msg_rlimit_by_name(const char *name)
{
	for (size_t i = 0; i < COUNT(rlimits); i++) {
		if (strcmp(rlimits[i].name, name) == 0)
			return rlimits[i].number;
	}
	return -1;
}

const char *
msg_rlimit_at(size_t i)
{
	return i < COUNT(rlimits) ? rlimits[i].name : NULL;
}
