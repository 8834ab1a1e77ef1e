/*
 * From the order to the fork. What the child needs is put side by side, its stack included, into the
 * one piece of memory that is inherited: a usual job's is on one page, which both sides then copy.
 */
#define _GNU_SOURCE 1
#include "launcher/spawn.h"

#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "launch/frame.h"
#include "launcher/sys.h"

#define STRINGS_MAX (FRAME_BODY_MAX + 16)
#define OWN_NAMES_MAX (SPAWN_QUEUE_MAX + 128u)
#define AREA_KEPT (64u * 1024) /* bytes of it that stay resident between jobs */

/* A child needs some hundred bytes of its stack; these share a page with what it reads. */
#define STACK_PAGES 8192u
#define STACK_TOP 1024u

struct spawn_area {
	char stack[STACK_PAGES + STACK_TOP];
	struct child child;
	char bytes[FRAME_INLINE_MAX + OWN_NAMES_MAX + STRINGS_MAX * sizeof(char *) + PATH_MAX];
};

int spawn_init(struct spawner *s, uint32_t jobs, int report_fd)
{
	size_t size = jobs * sizeof(*s->reports);

	s->report_fd = report_fd < 0 ? memfd_create("slot-reports", MFD_CLOEXEC) : report_fd;
	if (report_fd < 0 && s->report_fd >= 0 && ftruncate(s->report_fd, (off_t)size) < 0) {
		close(s->report_fd); /* a limit on files' sizes counts here, too */
		s->report_fd = -1;
	}
	s->reports = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | (s->report_fd < 0 ? MAP_ANONYMOUS : 0), s->report_fd, 0);
	if (s->reports == MAP_FAILED)
		return -1;
	s->area = sys_map_inherited(sizeof(*s->area));
	if (!s->area)
		return -1;
	s->area_free = s->area->bytes;
	return 0;
}

bool spawn_failure(const struct spawner *s, uint32_t index, enum launch_step *step, int *error)
{
	uint32_t left = s->reports[index].step;

	if (left == LAUNCH_STEP_NONE || left >= LAUNCH_STEP_MAX)
		return false;
	*step = (enum launch_step)left;
	*error = s->reports[index].error;
	return true;
}

static bool is_own_name(const char *entry)
{
	return strncmp(entry, "SLOT_JOB=", 9) == 0 || strncmp(entry, "SLOT_ATTEMPT=", 13) == 0 ||
	    strncmp(entry, "SLOT_QUEUE=", 11) == 0;
}

/* Lists strings that lie one after another; the next free place. */
static char **list_strings(char **out, const char *at, size_t len, bool is_env)
{
	for (const char *end = at + len; at < end; at += strlen(at) + 1) {
		if (is_env && (!*at || is_own_name(at)))
			continue;
		*out++ = (char *)(uintptr_t)at; /* exec's lists aren't const, but it only reads */
	}
	return out;
}

static char *put_text(char *at, const char *text)
{
	size_t len = strlen(text);

	memcpy(at, text, len);
	return at + len;
}

static char *put_number(char *at, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	while (n)
		*at++ = digits[--n];
	return at;
}

/* Ours come first: they are then at the start of /proc/PID/environ. What is behind their bytes. */
static char *put_own(char *at, const struct spawn_order *o)
{
	at = put_number(put_text(at, "SLOT_JOB="), o->job);
	*at++ = 0;
	at = put_number(put_text(at, "SLOT_ATTEMPT="), o->attempt);
	*at++ = 0;
	at = put_text(put_text(at, "SLOT_QUEUE="), o->body->queue ? o->body->queue : "default");
	*at++ = 0;
	return at;
}

static char **align_list(char *at)
{
	return (char **)(((uintptr_t)at + sizeof(char *) - 1) & -sizeof(char *));
}

const char *spawn_keep(struct spawner *s, const char *bytes, size_t len)
{
	memcpy(s->area->bytes, bytes, len);
	s->area_free = s->area->bytes + len;
	return s->area->bytes;
}

/* Writes what the child reads. What is behind it. */
static char *prepare(struct spawner *s, const struct spawn_order *order)
{
	struct child *c = &s->area->child;
	const struct body *b = order->body;
	char *own = s->area_free, *own_end = put_own(own, order), **at = align_list(own_end);

	c->report = &s->reports[order->index];
	c->launcher = s->launcher;
	c->null_fd = s->null_fd;
	memcpy(c->fds, order->fds, sizeof(c->fds));
	c->files_raised = s->files_raised;
	c->files = s->files;
	memcpy(c->oom_score, s->oom_score, sizeof(c->oom_score));
	c->body = *b;
	c->argv = at;
	at = list_strings(at, b->argv, b->argv_len, false);
	*at++ = NULL;
	c->envp = at;
	for (const char *name = own; name < own_end; name += strlen(name) + 1)
		*at++ = (char *)(uintptr_t)name;
	at = list_strings(at, order->env, order->env_len, true);
	*at++ = NULL;
	c->scratch = (char *)at;
	return c->scratch;
}

pid_t spawn(struct spawner *s, const struct spawn_order *order, int *pidfd)
{
	const struct sys_child child = {
	    .run = child_run,
	    .arg = &s->area->child,
	    .stack = s->area->stack,
	    .stack_size = sizeof(s->area->stack),
	};
	size_t used = (size_t)(prepare(s, order) - (char *)s->area);
	pid_t pid;

	s->reports[order->index].step = LAUNCH_STEP_NONE;
	pid = sys_fork(&child, pidfd);
	if (pid > 0 && used > AREA_KEPT) /* after a failure it is tried again from here */
		madvise(s->area, used, MADV_DONTNEED);
	s->area_free = s->area->bytes;
	return pid;
}
