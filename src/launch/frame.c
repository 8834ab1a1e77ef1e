/* Checks of the frames that engine and launcher exchange, and the few conversions in them. */
#include "launch/frame.h"

#include <assert.h>
#include <string.h>

/* The format has no padding: what isn't a field would be a leak of memory to the other side. */
static_assert(sizeof(struct frame_head) == 8, "frame_head");
static_assert(sizeof(struct frame_welcome) == 64, "frame_welcome");
static_assert(sizeof(struct frame_held) == 32, "frame_held");
static_assert(sizeof(struct frame_stdin_closed) == 24, "frame_stdin_closed");
static_assert(sizeof(struct frame_reexec) == 16, "frame_reexec");
static_assert(sizeof(struct frame_speaks) == 16, "frame_speaks");
static_assert(sizeof(struct frame_renewed) == 16, "frame_renewed");
static_assert(sizeof(struct frame_run) == 40, "frame_run");
static_assert(sizeof(struct frame_cancel) == 32, "frame_cancel");
static_assert(sizeof(struct frame_signal) == 40, "frame_signal");
static_assert(sizeof(struct frame_ack_entry) == 16, "frame_ack_entry");
static_assert(sizeof(struct frame_ceiling) == 16, "frame_ceiling");
static_assert(sizeof(struct frame_exit) == 64, "frame_exit");
static_assert(sizeof(struct frame_gone) == 24, "frame_gone");
static_assert(sizeof(struct frame_signaled) == 24, "frame_signaled");

const char *launch_step_name(enum launch_step step)
{
	static const char *const names[LAUNCH_STEP_MAX] = {
	    [LAUNCH_STEP_NONE] = "none",
	    [LAUNCH_STEP_CLONE] = "clone",
	    [LAUNCH_STEP_SETSID] = "setsid",
	    [LAUNCH_STEP_RLIMIT] = "rlimit",
	    [LAUNCH_STEP_NICE] = "nice",
	    [LAUNCH_STEP_IDENTITY] = "identity",
	    [LAUNCH_STEP_CLOSE] = "close",
	    [LAUNCH_STEP_CHDIR] = "chdir",
	    [LAUNCH_STEP_STDIN] = "stdin",
	    [LAUNCH_STEP_STDOUT] = "stdout",
	    [LAUNCH_STEP_STDERR] = "stderr",
	    [LAUNCH_STEP_TTY] = "tty",
	    [LAUNCH_STEP_EXEC] = "exec",
	    [LAUNCH_STEP_BODY] = "body",
	};

	return (unsigned)step < LAUNCH_STEP_MAX ? names[step] : "unknown";
}

void frame_head_init(struct frame_head *head, enum frame_type type, size_t len)
{
	head->version = FRAME_VERSION;
	head->type = (uint16_t)type;
	head->len = (uint32_t)len;
}

unsigned frame_run_fds(const struct frame_run *run)
{
	unsigned n = 0;

	while (n < LAUNCH_FDS_MAX && run->roles[n] != LAUNCH_FD_NONE)
		n++;
	return n;
}

bool frame_run_has_memfd(const struct frame_run *run)
{
	return memchr(run->roles, LAUNCH_FD_BODY, sizeof(run->roles)) != NULL;
}

unsigned frame_ack_count(const struct frame_ack *ack)
{
	return (unsigned)((ack->head.len - sizeof(ack->head)) / sizeof(ack->entries[0]));
}

unsigned frame_held_fds(const struct frame_held *held)
{
	unsigned n = 0;

	while (n < FRAME_KEPT_MAX && held->roles[n] != LAUNCH_FD_NONE)
		n++;
	return n;
}

/* Each role of those allowed at most once, none after the first NONE. */
static bool roles_are_right(const uint8_t *roles, unsigned n, unsigned least)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < n; i++) {
		if (roles[i] == LAUNCH_FD_NONE) {
			seen |= 1u << LAUNCH_FD_NONE;
			continue;
		}
		if (roles[i] < least || roles[i] > LAUNCH_FD_KEEP_STDERR)
			return false;
		if (seen & (1u << roles[i] | 1u << LAUNCH_FD_NONE))
			return false;
		seen |= 1u << roles[i];
	}
	return true;
}

static const char *check_run(const struct frame_run *run, size_t len)
{
	uint64_t whole = (uint64_t)run->body_len + run->env_len;

	if (!roles_are_right(run->roles, LAUNCH_FDS_MAX, LAUNCH_FD_STDIN))
		return "roles of descriptors are malformed";
	if (frame_run_has_memfd(run)) {
		if (len != sizeof(*run))
			return "bytes beside a memfd";
		return whole == 0 || whole > FRAME_BODY_MAX ? "body has a wrong length" : NULL;
	}
	return whole != len - sizeof(*run) ? "body has a wrong length" : NULL;
}

static const char *check_ack(size_t len)
{
	size_t list = len - sizeof(struct frame_head);

	if (list == 0 || list % sizeof(struct frame_ack_entry))
		return "list has a wrong length";
	return NULL;
}

static const char *check_exit(const struct frame_exit *ex)
{
	if (ex->how > LAUNCH_SPAWN_FAILED || ex->cause > LAUNCH_CAUSE_SHUTDOWN ||
	    ex->step >= LAUNCH_STEP_MAX)
		return "exit of an unknown kind";
	return NULL;
}

static const char *check_held(const struct frame_held *held)
{
	return roles_are_right(held->roles, FRAME_KEPT_MAX, LAUNCH_FD_KEEP_STDIN) ? NULL :
	    "roles of descriptors are malformed";
}

static const char *check_welcome(const struct frame_welcome *w)
{
	return memchr(w->build, 0, sizeof(w->build)) ? NULL : "build has no end";
}

/* The length of the fixed fields; 0 for an unknown type. */
static size_t fixed_len(unsigned type)
{
	switch (type) {
	case FRAME_HELLO:
		return sizeof(struct frame_hello);
	case FRAME_RUN:
		return sizeof(struct frame_run);
	case FRAME_CANCEL:
		return sizeof(struct frame_cancel);
	case FRAME_SIGNAL:
		return sizeof(struct frame_signal);
	case FRAME_ACK:
		return sizeof(struct frame_head);
	case FRAME_CEILING:
		return sizeof(struct frame_ceiling);
	case FRAME_WELCOME:
		return sizeof(struct frame_welcome);
	case FRAME_EXIT:
		return sizeof(struct frame_exit);
	case FRAME_GONE:
		return sizeof(struct frame_gone);
	case FRAME_SIGNALED:
		return sizeof(struct frame_signaled);
	case FRAME_STDIN_CLOSED:
		return sizeof(struct frame_stdin_closed);
	case FRAME_REEXEC:
		return sizeof(struct frame_reexec);
	case FRAME_HELD:
		return sizeof(struct frame_held);
	case FRAME_SPEAKS:
		return sizeof(struct frame_speaks);
	case FRAME_RENEWED:
		return sizeof(struct frame_renewed);
	}
	return 0;
}

/* The most that a frame of this type may be. */
static size_t longest(unsigned type)
{
	switch (type) {
	case FRAME_RUN:
		return FRAME_MAX;
	case FRAME_ACK:
		return sizeof(struct frame_ack);
	}
	return fixed_len(type);
}

static const char *check(const union frame *frame, size_t len)
{
	switch (frame->head.type) {
	case FRAME_RUN:
		return check_run(&frame->run, len);
	case FRAME_ACK:
		return check_ack(len);
	case FRAME_CANCEL:
		return frame->cancel.grace_ms < 0 ? "grace is negative" : NULL;
	case FRAME_SIGNAL:
		return frame->signal.scope > LAUNCH_SCOPE_TREE ? "unknown scope" : NULL;
	case FRAME_EXIT:
		return check_exit(&frame->exit);
	case FRAME_HELD:
		return check_held(&frame->held);
	case FRAME_WELCOME:
		return check_welcome(&frame->welcome);
	}
	return NULL;
}

static bool is_of_every_version(unsigned type)
{
	return type == FRAME_REEXEC || type == FRAME_RENEWED || type == FRAME_SPEAKS;
}

unsigned frame_other_version(const void *bytes, size_t len)
{
	struct frame_head head;

	if (len < sizeof(head))
		return 0;
	memcpy(&head, bytes, sizeof(head));
	return head.len == len && head.version != FRAME_VERSION ? head.version : 0;
}

int frame_read(union frame *frame, const void *bytes, size_t len, const char **why)
{
	size_t fixed;

	memset(frame, 0, sizeof(*frame));
	*why = "shorter than a head";
	if (len < sizeof(frame->head))
		return -1;
	memcpy(&frame->head, bytes, sizeof(frame->head));
	*why = "another version";
	if (frame->head.version != FRAME_VERSION && !is_of_every_version(frame->head.type))
		return -1;
	*why = "unknown type";
	fixed = fixed_len(frame->head.type);
	if (fixed == 0)
		return -1;
	*why = "wrong length";
	if (frame->head.len != len || len < fixed || len > longest(frame->head.type))
		return -1;
	memcpy(frame, bytes, len < sizeof(*frame) ? len : sizeof(*frame));
	*why = check(frame, len);
	return *why ? -1 : 0;
}

void frame_exit_pack(struct frame_exit *to, const struct launch_exit *from, unsigned flags)
{
	memset(to, 0, sizeof(*to));
	frame_head_init(&to->head, FRAME_EXIT, sizeof(*to));
	to->job = from->job;
	to->attempt = from->attempt;
	to->how = (uint8_t)from->how;
	to->cause = (uint8_t)from->cause;
	to->step = (uint8_t)from->step;
	to->flags = (uint8_t)flags;
	switch (from->how) {
	case LAUNCH_EXITED:
		to->value = from->exit_code;
		break;
	case LAUNCH_SIGNALED:
		to->value = from->signal;
		break;
	case LAUNCH_SPAWN_FAILED:
		to->value = from->error;
		break;
	}
	to->user_us = from->user_us;
	to->system_us = from->system_us;
	to->max_rss_kib = from->max_rss_kib;
	to->ran_us = from->ran_us;
}

void frame_exit_unpack(struct launch_exit *to, const struct frame_exit *from)
{
	memset(to, 0, sizeof(*to));
	to->job = from->job;
	to->attempt = from->attempt;
	to->how = (enum launch_how)from->how;
	to->cause = (enum launch_cause)from->cause;
	switch (to->how) {
	case LAUNCH_EXITED:
		to->exit_code = from->value;
		break;
	case LAUNCH_SIGNALED:
		to->signal = from->value;
		break;
	case LAUNCH_SPAWN_FAILED:
		to->step = (enum launch_step)from->step;
		to->error = from->value;
		break;
	}
	to->user_us = from->user_us;
	to->system_us = from->system_us;
	to->max_rss_kib = from->max_rss_kib;
	to->ran_us = from->ran_us;
}
