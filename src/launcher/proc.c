/* Reading /proc with fixed buffers. Everything here may be outdated the moment it was read. */
#define _GNU_SOURCE 1
#include "launcher/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/sys.h"

#define LIST_SIZE (64u * 1024)
#define ENTRIES_SIZE (32u * 1024)
#define TEXT_SIZE (64u * 1024)
#define LIST_SHORT 3500 /* the kernel fills a page at a time: less than this was all of it */
#define ENVIRONMENT_MAX (4u * 1024 * 1024)

int proc_init(struct proc *p)
{
	char path[64];

	p->list = sys_map(LIST_SIZE);
	p->entries = sys_map(ENTRIES_SIZE);
	p->text = sys_map(TEXT_SIZE);
	if (!p->list || !p->entries || !p->text)
		return -1;
	p->root = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "self/task/%d/children", (int)getpid());
	p->own_children = openat(p->root, path, O_RDONLY | O_CLOEXEC);
	return 0;
}

static int open_of(const struct proc *p, pid_t pid, const char *name, int flags)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
	fd = openat(p->root, path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- stat ---- */

int proc_stat(struct proc *p, pid_t pid, struct proc_stat *st)
{
	char buf[1024], *at;
	int fd = open_of(p, pid, "stat", O_RDONLY), ppid, pgrp, session;
	unsigned long long start;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	buf[n] = 0;
	at = strrchr(buf, ')'); /* the name before it may hold anything */
	if (!at || sscanf(at + 1,
	    " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
	    &st->state, &ppid, &pgrp, &session, &start) != 5)
		return -EIO;
	st->ppid = ppid;
	st->pgrp = pgrp;
	st->session = session;
	st->start = start;
	return 0;
}

/* ---- children ---- */

/* Numbers in a text that comes in pieces. */
struct numbers {
	long value; /* -1: between two numbers */
	proc_pid_cb cb;
	void *arg;
};

static void numbers_feed(struct numbers *s, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] >= '0' && text[i] <= '9') {
			s->value = (s->value < 0 ? 0 : s->value * 10) + (text[i] - '0');
		} else if (s->value >= 0) {
			s->cb((pid_t)s->value, s->arg);
			s->value = -1;
		}
	}
}

static int read_list(struct proc *p, int fd, proc_pid_cb cb, void *arg)
{
	struct numbers s = {.value = -1, .cb = cb, .arg = arg};
	off_t at = 0;
	ssize_t n;

	do {
		n = pread(fd, p->list, LIST_SIZE, at);
		if (n < 0)
			return -errno;
		numbers_feed(&s, p->list, (size_t)n);
		at += n;
	} while (n >= LIST_SHORT);
	return 0;
}

/* Calls back for every entry of a directory of /proc that is a number. */
static int each_number(struct proc *p, int dir, proc_pid_cb cb, void *arg)
{
	const char *name;
	ssize_t n;
	size_t at;

	lseek(dir, 0, SEEK_SET);
	while ((n = sys_read_dir(dir, p->entries, ENTRIES_SIZE)) > 0) {
		for (at = 0; (name = sys_dir_name(p->entries, (size_t)n, &at));) {
			if (name[0] >= '0' && name[0] <= '9')
				cb((pid_t)atoi(name), arg);
		}
	}
	return n < 0 ? -errno : 0;
}

/* For a kernel without lists of children: every process is asked for its parent. */
struct by_parent {
	struct proc *proc;
	pid_t parent;
	proc_pid_cb cb;
	void *arg;
};

static void if_child(pid_t pid, void *arg)
{
	struct by_parent *b = arg;
	struct proc_stat st;

	if (proc_stat(b->proc, pid, &st) == 0 && st.ppid == b->parent)
		b->cb(pid, b->arg);
}

static int scan_for_children(struct proc *p, pid_t pid, proc_pid_cb cb, void *arg)
{
	struct by_parent b = {.proc = p, .parent = pid, .cb = cb, .arg = arg};

	return p->root < 0 ? -ENOENT : each_number(p, p->root, if_child, &b);
}

int proc_own_children(struct proc *p, proc_pid_cb cb, void *arg)
{
	if (p->own_children < 0)
		return scan_for_children(p, getpid(), cb, arg);
	return read_list(p, p->own_children, cb, arg);
}

struct thread_walk {
	struct proc *proc;
	pid_t pid;
	proc_pid_cb cb;
	void *arg;
};

static void thread_children(pid_t tid, void *arg)
{
	struct thread_walk *w = arg;
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "task/%d/children", (int)tid);
	fd = open_of(w->proc, w->pid, name, O_RDONLY);
	if (fd < 0)
		return;
	read_list(w->proc, fd, w->cb, w->arg);
	close(fd);
}

int proc_children(struct proc *p, pid_t pid, proc_pid_cb cb, void *arg)
{
	struct thread_walk w = {.proc = p, .pid = pid, .cb = cb, .arg = arg};
	char path[64];
	struct stat st;
	int dir, error;

	if (p->own_children < 0)
		return scan_for_children(p, pid, cb, arg);
	snprintf(path, sizeof(path), "%d/task", (int)pid);
	if (fstatat(p->root, path, &st, 0) < 0)
		return -errno;
	if (st.st_nlink == 3) { /* ".", ".." and one thread */
		thread_children(pid, &w);
		return 0;
	}
	dir = open_of(p, pid, "task", O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return dir;
	error = each_number(p, dir, thread_children, &w);
	close(dir);
	return error;
}

/* ---- environment ---- */

/* What one environment says, read in pieces; an entry longer than any of ours is skipped. */
struct env_scan {
	char entry[64];
	size_t len;
	bool has_job, has_attempt;
	uint64_t job, attempt;
};

static bool entry_number(const char *entry, const char *name, uint64_t max, uint64_t *value)
{
	uint64_t v;
	size_t len = strlen(name);
	char *end;

	if (strncmp(entry, name, len) != 0 || entry[len] < '0' || entry[len] > '9')
		return false;
	errno = 0;
	v = strtoull(entry + len, &end, 10);
	if (*end != 0 || errno != 0 || v > max)
		return false;
	*value = v;
	return true;
}

/* The first entry of a name is the one that counts. */
static void env_scan_entry(struct env_scan *s)
{
	const char *entry = s->entry;

	if (strncmp(entry, "SLOT_", 5) != 0)
		return;
	s->has_job = s->has_job || entry_number(entry, "SLOT_JOB=", UINT64_MAX, &s->job);
	s->has_attempt = s->has_attempt ||
	    entry_number(entry, "SLOT_ATTEMPT=", UINT32_MAX, &s->attempt);
}

static bool env_scan_is_done(const struct env_scan *s)
{
	return s->has_job && s->has_attempt;
}

static void env_scan_feed(struct env_scan *s, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] != 0) {
			if (s->len < sizeof(s->entry) - 1)
				s->entry[s->len] = text[i];
			s->len++;
			continue;
		}
		if (s->len < sizeof(s->entry) - 1) {
			s->entry[s->len] = 0;
			env_scan_entry(s);
		}
		s->len = 0;
	}
}

enum proc_named proc_job(struct proc *p, pid_t pid, uint64_t *job, uint32_t *attempt)
{
	struct env_scan s = {0};
	int fd = open_of(p, pid, "environ", O_RDONLY);
	off_t at = 0;
	ssize_t n;

	if (fd < 0) /* it is not ours to read, or gone */
		return PROC_UNNAMED;
	do {
		n = pread(fd, p->text, TEXT_SIZE, at);
		if (n <= 0)
			break;
		env_scan_feed(&s, p->text, (size_t)n);
		at += n;
	} while (at < ENVIRONMENT_MAX && !env_scan_is_done(&s));
	close(fd);
	if (at == 0)
		return PROC_NO_ENVIRONMENT;
	if (!env_scan_is_done(&s))
		return PROC_UNNAMED;
	*job = s.job;
	*attempt = (uint32_t)s.attempt;
	return PROC_NAMED;
}

/* ---- signals ---- */

int proc_signal(struct proc *p, pid_t pid, uint64_t start, int signo)
{
	struct proc_stat st;
	int pidfd = sys_pidfd_open(pid), error;

	/* Opened first, looked at then: if the start time is right, the descriptor is of that
	 * process and stays so whatever becomes of the number. */
	error = proc_stat(p, pid, &st);
	if (!error && st.start != start)
		error = -ESRCH;
	if (!error && pidfd >= 0)
		error = sys_pidfd_signal(pidfd, signo);
	else if (!error && pidfd == -ESRCH)
		error = -ESRCH;
	else if (!error) /* no descriptors left, or a kernel without them */
		error = kill(pid, signo) < 0 ? -errno : 0;
	if (pidfd >= 0)
		close(pidfd);
	return error;
}
