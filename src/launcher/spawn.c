/*
 * From the order to the running program. Up to the fork everything is prepared: the lists of
 * strings, the descriptors. After it only system calls, in an order that is part of what jobs
 * are promised: nothing of ours is open any more when the first path of theirs is touched.
 */
#define _GNU_SOURCE 1
#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/frame.h"
#include "launcher/sys.h"

#define STRINGS_MAX (FRAME_BODY_MAX + 16)
#define AREA_SIZE (FRAME_INLINE_MAX + STRINGS_MAX * sizeof(char *))
#define AREA_KEPT (64u * 1024) /* bytes of it that stay resident between jobs */
#define PATH_DEFAULT "/bin:/usr/bin"

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
	s->area = sys_map_inherited(AREA_SIZE);
	return s->area ? 0 : -1;
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

/* ---- in the child ---- */

struct child {
	struct spawner s; /* a copy: the original is not inherited */
	const struct spawn_order *order;
	const struct body *body;
	char **argv, **envp;
};

static _Noreturn void fail(const struct child *c, enum launch_step step, int error)
{
	struct spawn_report *report = &c->s.reports[c->order->index];

	report->error = error;
	report->step = step;
	for (;;)
		syscall(SYS_exit_group, 127);
}

static void child_session(const struct child *c)
{
	sigset_t none;

	if (setsid() < 0)
		fail(c, LAUNCH_STEP_SETSID, errno);
	/* Every disposition is the default already: the launcher handles and ignores nothing. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_oom_score(const struct child *c)
{
	const char *score = c->s.oom_score;
	int fd;

	if (!score[0])
		return;
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, score, strlen(score)) < 0)
		fail(c, LAUNCH_STEP_NICE, errno);
	close(fd);
}

static void child_limits(const struct child *c)
{
	const struct body *b = c->body;

	child_oom_score(c); /* needs a descriptor, which the limits may not allow any more */
	if (c->s.files_raised)
		setrlimit(RLIMIT_NOFILE, &c->s.files);
	for (unsigned i = 0; i < b->nrlimits; i++) {
		struct rlimit r = {.rlim_cur = b->rlimits[i].soft, .rlim_max = b->rlimits[i].hard};

		if (setrlimit((__rlimit_resource_t)b->rlimits[i].resource, &r) < 0)
			fail(c, LAUNCH_STEP_RLIMIT, errno);
	}
	if (b->has_nice && setpriority(PRIO_PROCESS, 0, b->nice) < 0)
		fail(c, LAUNCH_STEP_NICE, errno);
	if (b->umask_bits >= 0)
		umask((mode_t)b->umask_bits);
}

static enum launch_step file_step(int i)
{
	return (enum launch_step)(LAUNCH_STEP_STDIN + i);
}

/* 0, 1 and 2 are the job's or /dev/null, and nothing else is open. */
static void child_descriptors(const struct child *c)
{
	for (int i = 0; i < 3; i++) {
		int from = c->s.null_fd;

		switch (c->body->files[i].kind) {
		case BODY_FILE_NULL:
		case BODY_FILE_PATH: /* opened later; until then it must not be ours */
			break;
		case BODY_FILE_PASSED:
			from = c->order->fds[i];
			break;
		case BODY_FILE_STDOUT:
			from = STDOUT_FILENO;
			break;
		}
		if (dup2(from, i) < 0)
			fail(c, file_step(i), errno);
	}
	if (sys_close_from(3) < 0)
		fail(c, LAUNCH_STEP_CLOSE, errno);
}

static void child_open(const struct child *c, int i)
{
	const struct body_file *f = &c->body->files[i];
	int flags = O_NOCTTY, fd;

	if (i == 2 && f->kind == BODY_FILE_STDOUT && c->body->files[1].kind == BODY_FILE_PATH) {
		if (dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
			fail(c, LAUNCH_STEP_STDERR, errno);
	}
	if (f->kind != BODY_FILE_PATH)
		return;
	if (i == 0)
		flags |= O_RDONLY;
	else
		flags |= O_WRONLY | O_CREAT | (f->append ? O_APPEND : O_TRUNC);
	close(i); /* so that the lowest free number is the right one, whatever the limit */
	fd = open(f->path, flags, 0666);
	if (fd >= 0 && fd != i) {
		if (dup2(fd, i) < 0)
			fd = -1;
		else
			close(fd);
	}
	if (fd < 0)
		fail(c, file_step(i), errno);
}

static const char *child_path(const struct child *c)
{
	for (char **e = c->envp; *e; e++) {
		if (strncmp(*e, "PATH=", 5) == 0)
			return *e + 5;
	}
	return PATH_DEFAULT;
}

/* Tries one directory of PATH. 0: go on to the next; else the errno to end with. */
static int try_directory(const struct child *c, const char *dir, size_t len, bool *denied)
{
	const char *name = c->argv[0];
	char path[PATH_MAX];
	size_t name_len = strlen(name);

	if (len + 1 + name_len + 1 > sizeof(path))
		return 0;
	memcpy(path, dir, len);
	if (len > 0)
		path[len++] = '/';
	memcpy(path + len, name, name_len + 1);
	execve(path, c->argv, c->envp);
	switch (errno) {
	case EACCES:
		*denied = true;
		return 0;
	case ENOENT:
	case ENOTDIR:
	case ESTALE:
	case ENODEV:
	case ETIMEDOUT:
	case ENAMETOOLONG:
		return 0;
	}
	return errno;
}

/* As execvp, with the job's own PATH, and without handing what has no known format to sh. */
static int child_exec(const struct child *c)
{
	const char *at = child_path(c), *end;
	bool denied = false;
	int error;

	if (!c->argv[0][0])
		return ENOENT;
	if (strchr(c->argv[0], '/')) {
		execve(c->argv[0], c->argv, c->envp);
		return errno;
	}
	for (;; at = end + 1) {
		end = strchrnul(at, ':');
		error = try_directory(c, at, (size_t)(end - at), &denied);
		if (error)
			return error;
		if (!*end)
			return denied ? EACCES : ENOENT;
	}
}

/* It lives no longer than the launcher, wherever it is on the way to its program: what follows
 * may last. Nothing after this changes the identity, which would take it back. */
static void child_life(const struct child *c)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != c->s.launcher) /* it died before this line */
		fail(c, LAUNCH_STEP_IDENTITY, ESRCH);
}

static _Noreturn void child_run(const struct child *c)
{
	child_session(c);
	child_limits(c);
	/* Identity: the job is the launcher's own user, who has nothing to give up (main refuses
	 * to run with a privilege that its caller lacks). */
	child_life(c);
	child_descriptors(c);
	if (c->body->cwd && chdir(c->body->cwd) < 0)
		fail(c, LAUNCH_STEP_CHDIR, errno);
	for (int i = 0; i < 3; i++)
		child_open(c, i);
	if (c->body->tty && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		fail(c, LAUNCH_STEP_TTY, errno);
	fail(c, LAUNCH_STEP_EXEC, child_exec(c));
}

/* ---- before it ---- */

struct own_names {
	char job[40], attempt[32], queue[SPAWN_QUEUE_MAX + 16];
};

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

/* Ours come first: they are then at the start of /proc/PID/environ. */
static char **list_own(char **out, struct own_names *own, const struct spawn_order *o)
{
	snprintf(own->job, sizeof(own->job), "SLOT_JOB=%llu", (unsigned long long)o->job);
	snprintf(own->attempt, sizeof(own->attempt), "SLOT_ATTEMPT=%u", o->attempt);
	snprintf(own->queue, sizeof(own->queue), "SLOT_QUEUE=%s",
	    o->body->queue ? o->body->queue : "default");
	*out++ = own->job;
	*out++ = own->attempt;
	*out++ = own->queue;
	return out;
}

const char *spawn_keep(struct spawner *s, const char *bytes, size_t len)
{
	memcpy(s->area, bytes, len);
	s->area_used = (len + sizeof(char *) - 1) / sizeof(char *) * sizeof(char *);
	return s->area;
}

pid_t spawn(struct spawner *s, const struct spawn_order *order, int *pidfd)
{
	const struct body *b = order->body;
	void *strings = s->area + s->area_used;
	struct child c = {.s = *s, .order = order, .body = b, .argv = strings};
	struct own_names own;
	size_t used;
	char **at;
	pid_t pid;

	at = list_strings(c.argv, b->argv, b->argv_len, false);
	*at++ = NULL;
	c.envp = at;
	at = list_own(at, &own, order);
	at = list_strings(at, order->env, order->env_len, true);
	*at++ = NULL;
	s->reports[order->index].step = LAUNCH_STEP_NONE;
	pid = sys_fork(pidfd);
	if (pid == 0)
		child_run(&c);
	used = (size_t)((char *)at - s->area);
	if (pid > 0 && used > AREA_KEPT) /* after a failure it is tried again from here */
		madvise(s->area, used, MADV_DONTNEED);
	s->area_used = 0;
	return pid;
}
