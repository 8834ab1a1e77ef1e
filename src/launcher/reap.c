/* Reaping, and telling whose an orphan is. */
#define _GNU_SOURCE 1
#include "launcher/reap.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "launcher/end.h"
#include "launcher/log.h"
#include "launcher/sys.h"
#include "launcher/tell.h"

#define DECIDE_US 100000 /* an exec is over by then */

/* ---- leaders ---- */

static int64_t timeval_us(const struct timeval *tv)
{
	return (int64_t)tv->tv_sec * 1000000 + tv->tv_usec;
}

static void fill_exit(struct launcher *l, struct job *job, const siginfo_t *info,
    const struct rusage *usage)
{
	struct launch_exit *ex = &job->exit;

	ex->user_us = timeval_us(&usage->ru_utime);
	ex->system_us = timeval_us(&usage->ru_stime);
	ex->max_rss_kib = usage->ru_maxrss;
	ex->ran_us = sys_now_us() - job->started_us;
	if (spawn_failure(&l->spawner, table_index(&l->table, job), &ex->step, &ex->error)) {
		ex->how = LAUNCH_SPAWN_FAILED;
	} else if (info->si_code == CLD_EXITED) {
		ex->how = LAUNCH_EXITED;
		ex->exit_code = info->si_status;
	} else {
		ex->how = LAUNCH_SIGNALED;
		ex->signal = info->si_status;
	}
}

void reap_leader(struct launcher *l, struct job *job)
{
	struct rusage usage;
	siginfo_t info;
	pid_t pid = job->pid;

	if (job->state != JOB_RUNNING || sys_peek_child(&pid, &info, &usage) <= 0)
		return;
	fill_exit(l, job, &info, &usage);
	table_set_state(&l->table, job, JOB_EXITED);
	if (job->pidfd >= 0)
		close(job->pidfd);
	job->pidfd = -1;
	if (job->phase == PHASE_NONE)
		timers_clear(&l->timers, job);
	tell_exit(l, job);
	l->look_around = true;
}

void reap_on_pidfd(struct launcher *l, struct job *job)
{
	reap_leader(l, job);
	/* Ended, but not for us yet: a tracer keeps it to itself. SIGCHLD tells when it lets go. */
	if (job->state == JOB_RUNNING && job->pidfd >= 0)
		table_set_blind(&l->table, job);
}

/* Leaders whose end no descriptor tells: they are asked one by one. */
static void reap_blind_leaders(struct launcher *l)
{
	uint32_t next;

	for (uint32_t i = l->table.blind_first; i != JOB_NONE; i = next) {
		next = l->table.jobs[i].next_alike;
		reap_leader(l, &l->table.jobs[i]);
	}
}

/* ---- orphans ---- */

void reap_set_owner(struct launcher *l, struct kin_process *child, struct job *job)
{
	if (child->owner != JOB_NONE)
		l->table.jobs[child->owner].adopted--;
	child->owner = job ? table_index(&l->table, job) : JOB_NONE;
	if (job)
		job->adopted++;
}

static void forget(struct launcher *l, pid_t pid)
{
	struct kin_process *child = kin_find(&l->adopted, pid);

	if (child) {
		reap_set_owner(l, child, NULL);
		kin_remove(&l->adopted, child);
	}
	sys_reap_child(pid);
}

/* Has ended, or is no child of ours. */
static bool has_ended(pid_t pid)
{
	siginfo_t info;

	return sys_peek_child(&pid, &info, NULL) != 0;
}

/* Asks for each one by name: a leader that stays a zombie hides the others from "any child". */
static void reap_listed_orphans(struct launcher *l)
{
	for (uint32_t i = l->adopted.count; i-- > 0;) {
		pid_t pid = l->adopted.list[i].pid;

		if (has_ended(pid))
			forget(l, pid);
	}
}

void reap_orphans(struct launcher *l)
{
	struct job *leader;
	siginfo_t info;

	l->look_around = true;
	upgrade_reap_probe(l);
	reap_blind_leaders(l);
	while (l->adopted.count) {
		pid_t pid = 0;

		if (sys_peek_child(&pid, &info, NULL) <= 0)
			return;
		if (pid == l->upgrade.probe) {
			upgrade_reap_probe(l);
			continue;
		}
		leader = table_find_leader(&l->table, pid);
		if (leader) {
			reap_leader(l, leader);
			reap_listed_orphans(l);
			return;
		}
		forget(l, pid);
	}
}

/* ---- whose is it ---- */

static bool has_processes(const struct job *job)
{
	return job && (job->state == JOB_RUNNING || job->state == JOB_EXITED);
}

/* Its environment says; *owner is NULL where that is nobody we know. */
static enum proc_named owner_by_environment(struct launcher *l, pid_t pid, uint64_t start,
    struct job **owner)
{
	uint64_t id = 0;
	uint32_t attempt = 0;
	enum proc_named named = proc_job(&l->proc, pid, &id, &attempt);
	struct job *job = named == PROC_NAMED ? table_find(&l->table, id, attempt) : NULL;

	/* Older than the job: another slotd's job of the same number, somewhere below. */
	*owner = has_processes(job) && start + 1 >= job->start_ticks ? job : NULL;
	return named;
}

static void unmark(struct launcher *l, struct kin_process *p)
{
	l->table.jobs[p->owner].marked--;
	kin_remove(&l->marked, p);
}

void reap_mark(struct launcher *l, struct job *job, pid_t pid, uint64_t start)
{
	struct kin_process *p = kin_find(&l->marked, pid);

	if (p)
		unmark(l, p);
	p = kin_add(&l->marked, pid, start);
	if (!p)
		return;
	p->owner = table_index(&l->table, job);
	job->marked++;
}

static struct job *owner_by_mark(struct launcher *l, pid_t pid, uint64_t start)
{
	struct kin_process *p = kin_find(&l->marked, pid);
	struct job *job;

	if (!p)
		return NULL;
	job = p->start == start ? &l->table.jobs[p->owner] : NULL;
	unmark(l, p);
	return job;
}

/* Finds the owner of a new child, or decides that it has none, or leaves that for later. */
static void decide(struct launcher *l, struct kin_process *child, const struct proc_stat *st)
{
	struct job *job = owner_by_mark(l, child->pid, st->start);
	enum proc_named named = PROC_NAMED;

	if (!job)
		job = table_find_leader(&l->table, st->session);
	if (!job)
		job = table_find_leader(&l->table, st->pgrp);
	if (!job)
		named = owner_by_environment(l, child->pid, st->start, &job);
	reap_set_owner(l, child, job);
	child->decided = job || named != PROC_NO_ENVIRONMENT ||
	    sys_now_us() - child->since_us > DECIDE_US;
	l->undecided += !child->decided;
}

static void on_child(pid_t pid, void *arg)
{
	struct launcher *l = arg;
	struct kin_process *child;
	struct proc_stat st;

	if (table_find_leader(&l->table, pid) || pid == l->upgrade.probe)
		return;
	child = kin_find(&l->adopted, pid);
	if ((child && child->decided) || proc_stat(&l->proc, pid, &st) < 0)
		return;
	/* One whose first thread has ended looks dead while others of its threads run. */
	if ((st.state == 'Z' || st.state == 'X') && has_ended(pid)) {
		if (l->ended_count == KIN_MAX)
			l->look_again = true;
		else
			l->ended[l->ended_count++] = pid;
		return;
	}
	if (!child) {
		child = kin_add(&l->adopted, pid, st.start);
		if (!child)
			return;
		child->since_us = sys_now_us();
	}
	decide(l, child, &st);
}

void reap_refresh(struct launcher *l)
{
	bool overflowed = l->adopted.overflowed;

	l->undecided = 0;
	l->ended_count = 0;
	proc_own_children(&l->proc, on_child, l);
	/* Not during the walk: the kernel continues a list by counting what is still in it. */
	while (l->ended_count)
		forget(l, l->ended[--l->ended_count]);
	if (l->adopted.overflowed && !overflowed)
		log_warn("more than %u orphans: the rest is not followed", KIN_MAX);
}

/* ---- once a turn ---- */

/* The job lets go of all that is listed as its own. */
static void release(struct launcher *l, struct job *job)
{
	uint32_t index = table_index(&l->table, job);

	for (uint32_t i = l->adopted.count; i-- > 0 && job->adopted;) {
		if (l->adopted.list[i].owner == index)
			reap_set_owner(l, &l->adopted.list[i], NULL);
	}
	for (uint32_t i = l->marked.count; i-- > 0 && job->marked;) {
		if (l->marked.list[i].owner == index)
			unmark(l, &l->marked.list[i]);
	}
}

/* Some child's owner is not known yet. What this job left is, after a while: there may always be
 * new ones, of others. */
static bool may_own_undecided(const struct launcher *l, struct job *job)
{
	int64_t now;

	if (!l->undecided)
		return false;
	now = sys_now_us();
	if (!job->settling_us)
		job->settling_us = now;
	return now - job->settling_us <= DECIDE_US;
}

static void settle(struct launcher *l, struct job *job)
{
	bool keep = job->keep_leftovers && job->phase == PHASE_NONE;

	if (job->adopted && !keep) {
		job->settling_us = 0;
		if (job->phase == PHASE_NONE)
			end_leftovers(l, job);
		return;
	}
	if (!keep && may_own_undecided(l, job)) {
		l->look_again = true;
		return;
	}
	release(l, job);
	timers_clear(&l->timers, job);
	sys_reap_child(job->pid);
	table_set_state(&l->table, job, JOB_GONE);
	tell_gone(l, job);
}

void reap_settle(struct launcher *l)
{
	uint32_t next;

	if (!l->look_around)
		return;
	l->look_around = false;
	reap_refresh(l);
	for (uint32_t i = l->table.exited_first; i != JOB_NONE; i = next) {
		next = l->table.jobs[i].next_alike;
		settle(l, &l->table.jobs[i]);
	}
}
