/*
 * From the fork to the running program, in an order that is part of what jobs are promised: nothing
 * of ours is open any more when the first path of theirs is touched.
 */
#define _GNU_SOURCE 1
/* Whatever CFLAGS say: the stack's canary is in memory that a child has not. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_stack_protector)), apply_to = function)
#else
#pragma GCC optimize("no-stack-protector")
#endif

#include "launcher/child.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "launch/launch.h"
#include "launcher/raw.h"

#define PATH_DEFAULT "/bin:/usr/bin"

static long call(long number, long a, long b, long c)
{
	return raw_call(number, a, b, c, 0);
}

static long address(const void *p)
{
	return (long)(uintptr_t)p;
}

static _Noreturn void fail(const struct child *c, enum launch_step step, long error)
{
	c->report->error = (int32_t)error;
	c->report->step = step;
	for (;;)
		call(SYS_exit_group, 127, 0, 0);
}

/* Result is that of a call: a negative errno ends the child. */
static void must(const struct child *c, enum launch_step step, long result)
{
	if (result < 0)
		fail(c, step, -result);
}

/* ---- strings ---- */

/* In a loop: it stays one, where the compiler would make a call of strlen or memcpy of it. */
static inline void stay(void)
{
	__asm__ volatile("");
}

static size_t length(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		stay();
	return n;
}

/* Where the first `wanted` is, or the end. */
static const char *find(const char *s, char wanted)
{
	while (*s && *s != wanted)
		s++;
	return s;
}

static char *copy(char *to, const char *from, size_t n)
{
	for (; n; n--) {
		*to++ = *from++;
		stay();
	}
	return to;
}

/* What follows `name`, or NULL. */
static const char *behind(const char *s, const char *name)
{
	for (; *name; s++, name++) {
		if (*s != *name)
			return NULL;
	}
	return s;
}

/* ---- steps ---- */

static void set_session(const struct child *c)
{
	const uint64_t none = 0; /* as the kernel's set: libc's is longer */

	must(c, LAUNCH_STEP_SETSID, call(SYS_setsid, 0, 0, 0));
	/* Every disposition is the default already: the launcher handles and ignores nothing. */
	raw_call(SYS_rt_sigprocmask, SIG_SETMASK, address(&none), 0, sizeof(none));
}

static void set_oom_score(const struct child *c)
{
	long fd;

	if (!c->oom_score[0])
		return;
	fd = raw_call(SYS_openat, AT_FDCWD, address("/proc/self/oom_score_adj"),
	    O_WRONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	must(c, LAUNCH_STEP_NICE,
	    call(SYS_write, fd, address(c->oom_score), (long)length(c->oom_score)));
	call(SYS_close, fd, 0, 0);
}

/* struct rlimit is two of 64 bits for this call. */
static long set_limit(long resource, uint64_t soft, uint64_t hard)
{
	const uint64_t limit[2] = {soft, hard};

	return raw_call(SYS_prlimit64, 0, resource, address(limit), 0);
}

static void set_limits(const struct child *c)
{
	const struct body *b = &c->body;

	set_oom_score(c); /* needs a descriptor, which the limits may not allow any more */
	if (c->files_raised)
		set_limit(RLIMIT_NOFILE, c->files.rlim_cur, c->files.rlim_max);
	for (unsigned i = 0; i < b->nrlimits; i++)
		must(c, LAUNCH_STEP_RLIMIT,
		    set_limit(b->rlimits[i].resource, b->rlimits[i].soft, b->rlimits[i].hard));
	if (b->has_nice)
		must(c, LAUNCH_STEP_NICE, call(SYS_setpriority, PRIO_PROCESS, 0, b->nice));
	if (b->umask_bits >= 0)
		call(SYS_umask, b->umask_bits, 0, 0);
}

/* It lives no longer than the launcher, wherever it is on the way to its program: what follows
 * may last. Nothing after this changes the identity, which would take it back. */
static void tie_life(const struct child *c)
{
	call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
	if (call(SYS_getppid, 0, 0, 0) != c->launcher) /* it died before this line */
		fail(c, LAUNCH_STEP_IDENTITY, ESRCH);
}

static enum launch_step file_step(int i)
{
	return (enum launch_step)(LAUNCH_STEP_STDIN + i);
}

/* dup2 of two that differ, which newer machines have not. */
static long put_at(long from, int to)
{
	return call(SYS_dup3, from, to, 0);
}

/* Before 5.9: by the list that /proc gives. */
static __attribute__((noinline)) int close_listed(int first)
{
	struct { /* linux_dirent64 */
		uint64_t inode;
		int64_t offset;
		uint16_t len;
		uint8_t type;
		char name[];
	} *entry;
	_Alignas(8) char buf[1024];
	long dir, n, at;
	int fd, closed;

	dir = raw_call(SYS_openat, AT_FDCWD, address("/proc/self/fd"),
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dir < 0)
		return (int)dir;
	do { /* closing shifts the list, so it is read until nothing is left */
		closed = 0;
		call(SYS_lseek, dir, 0, SEEK_SET);
		while ((n = call(SYS_getdents64, dir, address(buf), sizeof(buf))) > 0) {
			for (at = 0; at < n; at += entry->len) {
				entry = (void *)(buf + at);
				if (entry->name[0] == '.')
					continue;
				fd = 0;
				for (const char *digit = entry->name; *digit; digit++)
					fd = 10 * fd + (*digit - '0');
				if (fd < first || fd == dir)
					continue;
				call(SYS_close, fd, 0, 0);
				closed = 1;
			}
		}
	} while (closed);
	call(SYS_close, dir, 0, 0);
	return 0;
}

int child_close_from(int first)
{
	long result = call(SYS_close_range, first, UINT_MAX, 0);

	return result == -ENOSYS ? close_listed(first) : (int)result;
}

/* 0, 1 and 2 are the job's or /dev/null, and nothing else is open. */
static void set_descriptors(const struct child *c)
{
	for (int i = 0; i < 3; i++) {
		int from = c->null_fd;

		switch (c->body.files[i].kind) {
		case BODY_FILE_NULL:
		case BODY_FILE_PATH: /* opened later; until then it must not be ours */
			break;
		case BODY_FILE_PASSED:
			from = c->fds[i];
			break;
		case BODY_FILE_STDOUT:
			from = STDOUT_FILENO;
			break;
		}
		must(c, file_step(i), put_at(from, i));
	}
	must(c, LAUNCH_STEP_CLOSE, child_close_from(3));
}

static void open_file(const struct child *c, int i)
{
	const struct body_file *f = &c->body.files[i];
	int flags = O_NOCTTY | O_LARGEFILE;
	long fd;

	if (i == 2 && f->kind == BODY_FILE_STDOUT && c->body.files[1].kind == BODY_FILE_PATH)
		must(c, LAUNCH_STEP_STDERR, put_at(STDOUT_FILENO, STDERR_FILENO));
	if (f->kind != BODY_FILE_PATH)
		return;
	if (i == 0)
		flags |= O_RDONLY;
	else
		flags |= O_WRONLY | O_CREAT | (f->append ? O_APPEND : O_TRUNC);
	call(SYS_close, i, 0, 0); /* so that the lowest free number is the right one, whatever the limit */
	fd = raw_call(SYS_openat, AT_FDCWD, address(f->path), flags, 0666);
	must(c, file_step(i), fd);
	if (fd != i) {
		must(c, file_step(i), put_at(fd, i));
		call(SYS_close, fd, 0, 0);
	}
}

/* ---- exec ---- */

static const char *search_path(const struct child *c)
{
	for (char **e = c->envp; *e; e++) {
		const char *value = behind(*e, "PATH=");

		if (value)
			return value;
	}
	return PATH_DEFAULT;
}

static long exec(const struct child *c, const char *path)
{
	return -call(SYS_execve, address(path), address(c->argv), address(c->envp));
}

/* Tries one directory of PATH. 0: go on to the next; else the errno to end with. */
static long try_directory(const struct child *c, const char *dir, size_t len, bool *denied)
{
	const char *name = c->argv[0];
	size_t name_len = length(name);
	char *at = c->scratch;
	long error;

	if (len + 1 + name_len + 1 > PATH_MAX)
		return 0;
	at = copy(at, dir, len);
	if (len > 0)
		*at++ = '/';
	copy(at, name, name_len + 1);
	error = exec(c, c->scratch);
	switch (error) {
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
	return error;
}

/* As execvp, with the job's own PATH, and without handing what has no known format to sh. */
static long become(const struct child *c)
{
	const char *at, *end;
	bool denied = false;
	long error;

	if (!c->argv[0][0])
		return ENOENT;
	if (*find(c->argv[0], '/'))
		return exec(c, c->argv[0]);
	for (at = search_path(c);; at = end + 1) {
		end = find(at, ':');
		error = try_directory(c, at, (size_t)(end - at), &denied);
		if (error)
			return error;
		if (!*end)
			return denied ? EACCES : ENOENT;
	}
}

_Noreturn void child_run(void *child)
{
	const struct child *c = child;

	set_session(c);
	set_limits(c);
	/* Identity: the job is the launcher's own user, who has nothing to give up (main refuses
	 * to run with a privilege that its caller lacks). */
	tie_life(c);
	set_descriptors(c);
	if (c->body.cwd)
		must(c, LAUNCH_STEP_CHDIR, call(SYS_chdir, address(c->body.cwd), 0, 0));
	for (int i = 0; i < 3; i++)
		open_file(c, i);
	if (c->body.tty)
		must(c, LAUNCH_STEP_TTY, call(SYS_ioctl, STDIN_FILENO, TIOCSCTTY, 0));
	fail(c, LAUNCH_STEP_EXEC, become(c));
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
