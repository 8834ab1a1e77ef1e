/* Asking the binary, and becoming it. */
#define _GNU_SOURCE 1
#include "launcher/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/child.h"
#include "launcher/launcher.h"
#include "launcher/log.h"
#include "launcher/state.h"
#include "launcher/sys.h"
#include "launcher/tell.h"

#define PROBE_US 10000000
#define PROBE_FD 3

extern char **environ;

void upgrade_init(struct upgrade *u)
{
	static const char deleted[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", u->exe, sizeof(u->exe) - 1);
	size_t tail = sizeof(deleted) - 1;

	if (n < 0)
		n = 0;
	u->exe[n] = 0;
	/* A newer one may lie there by now. */
	if ((size_t)n > tail && strcmp(u->exe + n - tail, deleted) == 0)
		u->exe[(size_t)n - tail] = 0;
	if (u->exe[0] != '/')
		u->exe[0] = 0;
}

void upgrade_begin(struct launcher *l, bool reply)
{
	l->upgrade.wanted = true;
	l->upgrade.reply_due |= reply;
}

static void refuse(struct launcher *l, const char *what, int error)
{
	log_warn("goes on with the binary that runs: %s%s%s", what, error ? ": " : "",
	    error ? strerror(error) : "");
	if (l->upgrade.reply_due)
		tell_renewed(l, error ? error : ENOEXEC);
	l->upgrade.reply_due = false;
}

/* ---- asking ---- */

struct probe {
	char *const *argv;
	int state_fd;
	pid_t launcher;
};

static _Noreturn void probe_run(void *arg)
{
	const struct probe *p = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (p->state_fd == PROBE_FD)
		fcntl(p->state_fd, F_SETFD, 0);
	else
		dup2(p->state_fd, PROBE_FD);
	if (getppid() == p->launcher && child_close_from(PROBE_FD + 1) == 0)
		execve(p->argv[0], p->argv, environ);
	for (;;)
		syscall(SYS_exit_group, 126);
}

/* It uses libc, so it inherits what jobs don't. */
static pid_t probe_fork(struct launcher *l, struct probe *p)
{
	const struct sys_child child = {.run = probe_run, .arg = p};
	pid_t pid;

	sys_share_memory();
	pid = sys_fork(&child, NULL);
	if (l->spawner.alone)
		sys_keep_memory();
	return pid;
}

/* 0 or -errno. Of the tables the child inherits nothing. */
static int probe_start(struct launcher *l)
{
	char exe[PATH_MAX], option[] = "--check-state-fd", number[] = "3";
	char *const argv[] = {exe, option, number, NULL};
	struct probe probe = {
	    .argv = argv, .state_fd = state_save(l), .launcher = l->spawner.launcher};
	pid_t pid;

	if (probe.state_fd < 0)
		return probe.state_fd;
	memcpy(exe, l->upgrade.exe, sizeof(exe));
	pid = probe_fork(l, &probe);
	close(probe.state_fd);
	if (pid < 0)
		return pid;
	l->upgrade.probe = pid;
	l->upgrade.asked_serial = l->engine.serial;
	l->upgrade.answered = false;
	l->upgrade.probe_until_us = sys_now_us() + PROBE_US;
	return 0;
}

void upgrade_reap_probe(struct launcher *l)
{
	struct upgrade *u = &l->upgrade;
	pid_t pid = u->probe;
	siginfo_t info;
	int ended;

	if (pid == 0)
		return;
	ended = sys_peek_child(&pid, &info, NULL);
	if (ended == 0)
		return;
	u->yes = ended > 0 && info.si_code == CLD_EXITED &&
	    info.si_status == STATE_EXIT_YES;
	u->answered = true;
	sys_reap_child(u->probe);
	u->probe = 0;
}

/* ---- becoming ---- */

static void become(struct launcher *l)
{
	char option[] = "--state-fd", number[16];
	char *const argv[] = {l->upgrade.exe, option, number, NULL};
	int fd = state_save(l), error;

	if (fd < 0) {
		refuse(l, "its state can't be written", -fd);
		return;
	}
	snprintf(number, sizeof(number), "%d", fd);
	state_keep_descriptors(l, fd, 1);
	execve(l->upgrade.exe, argv, environ);
	error = errno;
	state_keep_descriptors(l, fd, 0);
	close(fd);
	refuse(l, l->upgrade.exe, error);
}

void upgrade_turn(struct launcher *l)
{
	struct upgrade *u = &l->upgrade;
	int error;

	if (u->probe) {
		upgrade_reap_probe(l);
		if (u->probe && sys_now_us() >= u->probe_until_us) {
			kill(u->probe, SIGKILL); /* our child, unreaped: it is no other's number */
			u->probe_until_us = sys_now_us() + PROBE_US;
		}
	}
	if (u->answered) {
		u->answered = false;
		if (!u->yes)
			refuse(l, "the new one can't take over", 0);
		else if (u->asked_serial == l->engine.serial)
			become(l);
		else
			u->wanted = true; /* it did not know of this engine, whom it may not understand */
	}
	if (!u->wanted || u->probe)
		return;
	u->wanted = false;
	error = u->exe[0] ? probe_start(l) : -ENOENT;
	if (error)
		refuse(l, "the new one can't be asked", -error);
}

int64_t upgrade_next_us(const struct launcher *l)
{
	return l->upgrade.probe ? l->upgrade.probe_until_us : -1;
}

void upgrade_done(struct launcher *l, const char *old_build)
{
	int subreaper = 0;

	if (prctl(PR_GET_CHILD_SUBREAPER, &subreaper) < 0 || !subreaper)
		log_error("is no subreaper any more: orphans of jobs get lost");
	log_info("version %s took over from version %s, with %u jobs", UPGRADE_BUILD, old_build,
	    l->table.used);
	if (l->upgrade.reply_due)
		tell_renewed(l, 0);
	l->upgrade.reply_due = false;
}
