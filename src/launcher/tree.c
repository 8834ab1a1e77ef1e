/*
 * Searching a tree by the kernel's lists of children, and signalling what was found. A process
 * that left its parent, session, group and environment behind before we looked is out of reach.
 */
#define _GNU_SOURCE 1
#include "launcher/tree.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "launcher/launcher.h"
#include "launcher/reap.h"
#include "launcher/sys.h"

#define BUCKETS 4096u /* a power of two */
#define ROUNDS_MAX 16u

int tree_init(struct tree *tree)
{
	tree->count = 0;
	tree->found = sys_map(TREE_MAX * sizeof(*tree->found));
	tree->buckets = sys_map(BUCKETS * sizeof(*tree->buckets));
	if (!tree->found || !tree->buckets)
		return -1;
	memset(tree->buckets, 0xff, BUCKETS * sizeof(*tree->buckets));
	return 0;
}

static uint32_t *bucket_of(struct tree *tree, pid_t pid)
{
	return &tree->buckets[(uint32_t)pid & (BUCKETS - 1)];
}

static void tree_clear(struct tree *tree)
{
	for (uint32_t i = 0; i < tree->count; i++)
		*bucket_of(tree, tree->found[i].pid) = JOB_NONE;
	tree->count = 0;
}

static struct tree_process *tree_find(struct tree *tree, pid_t pid)
{
	uint32_t i = *bucket_of(tree, pid);

	while (i != JOB_NONE && tree->found[i].pid != pid)
		i = tree->found[i].next;
	return i == JOB_NONE ? NULL : &tree->found[i];
}

static void tree_add(struct tree *tree, pid_t pid, bool own, uint64_t start)
{
	uint32_t i = tree->count;

	if (i == TREE_MAX || tree_find(tree, pid))
		return;
	tree->found[i] = (struct tree_process){
	    .pid = pid, .own = own, .start = start, .next = *bucket_of(tree, pid)};
	*bucket_of(tree, pid) = i;
	tree->count++;
}

/* ---- searching ---- */

struct search {
	struct launcher *l;
	pid_t parent;
};

static void on_child(pid_t pid, void *arg)
{
	struct search *s = arg;
	const struct kin_process *child;
	struct proc_stat st;

	if (tree_find(&s->l->tree, pid) || proc_stat(&s->l->proc, pid, &st) < 0)
		return;
	/* The list may be outdated: the number must still belong to a child of this parent, or
	 * to one that came to us when the parent ended. */
	if (st.ppid != s->parent && st.ppid != s->l->spawner.launcher)
		return;
	if (table_find_leader(&s->l->table, pid))
		return;
	/* Ours before this search began: it is a root, another job's, or nobody's. */
	child = kin_find(&s->l->adopted, pid);
	if (child && child->start == st.start)
		return;
	tree_add(&s->l->tree, pid, false, st.start);
}

/* Its number is another process's by now. */
static bool was_recycled(struct launcher *l, const struct tree_process *p)
{
	struct proc_stat st;

	return !p->own && proc_stat(&l->proc, p->pid, &st) == 0 && st.start != p->start;
}

static void tree_drop_from(struct tree *tree, uint32_t first)
{
	while (tree->count > first) {
		const struct tree_process *p = &tree->found[--tree->count];

		*bucket_of(tree, p->pid) = p->next;
	}
}

/* Adds the descendants of all that is known so far. */
static void tree_grow(struct launcher *l, struct job *job)
{
	struct search s = {.l = l};

	for (uint32_t i = 0; i < l->tree.count; i++) {
		uint32_t first = l->tree.count;

		s.parent = l->tree.found[i].pid;
		proc_children(&l->proc, s.parent, on_child, &s);
		if (l->tree.count > first && was_recycled(l, &l->tree.found[i]))
			tree_drop_from(&l->tree, first);
		for (uint32_t k = first; k < l->tree.count; k++)
			reap_mark(l, job, l->tree.found[k].pid, l->tree.found[k].start);
	}
}

static void tree_add_roots(struct launcher *l, struct job *job)
{
	uint32_t index = table_index(&l->table, job);

	if (job->state == JOB_RUNNING)
		tree_add(&l->tree, job->pid, true, 0);
	for (uint32_t i = 0; i < l->adopted.count; i++) {
		const struct kin_process *child = &l->adopted.list[i];

		if (child->owner == index)
			tree_add(&l->tree, child->pid, true, 0);
	}
}

/* ---- signalling ---- */

static int send(struct launcher *l, const struct tree_process *p, int signo)
{
	if (p->own)
		return kill(p->pid, signo) < 0 ? -errno : 0;
	return proc_signal(&l->proc, p->pid, p->start, signo);
}

int tree_signal(struct launcher *l, struct job *job, int signo)
{
	int result = ESRCH, error;

	reap_refresh(l);
	tree_add_roots(l, job);
	tree_grow(l, job);
	for (uint32_t i = 0; i < l->tree.count; i++) {
		error = send(l, &l->tree.found[i], signo);
		if (error == 0)
			result = 0;
		else if (result != 0)
			result = -error;
	}
	tree_clear(&l->tree);
	return result;
}

/* A child of ours that we may not kill (it changed its uid) is out of reach: waiting for its
 * end would hold the job for ever. */
static void let_go(struct launcher *l, pid_t pid)
{
	struct kin_process *child = kin_find(&l->adopted, pid);

	if (!child)
		return;
	reap_set_owner(l, child, NULL); /* and it stays decided */
}

/* Where it is remembered that the process was stopped; NULL: nowhere. */
static bool *stopped_flag(struct launcher *l, struct job *job, const struct tree_process *p)
{
	struct kin_process *kin;

	if (p->own && p->pid == job->pid && job->state == JOB_RUNNING)
		return &job->leader_stopped;
	kin = kin_find(p->own ? &l->adopted : &l->marked, p->pid);
	return kin && (p->own || kin->start == p->start) ? &kin->stopped : NULL;
}

/* Stopped parents make no new children, and keep those that they have. True: some were new. */
static bool stop_new(struct launcher *l, struct job *job)
{
	bool any = false;

	for (uint32_t i = 0; i < l->tree.count; i++) {
		bool *stopped = stopped_flag(l, job, &l->tree.found[i]);

		if (stopped && *stopped)
			continue;
		send(l, &l->tree.found[i], SIGSTOP);
		any = true;
		if (stopped)
			*stopped = true;
	}
	return any;
}

bool tree_kill(struct launcher *l, struct job *job)
{
	struct tree *tree = &l->tree;
	bool again;

	reap_refresh(l);
	tree_add_roots(l, job);
	tree_grow(l, job);
	again = stop_new(l, job) && ++job->stops < ROUNDS_MAX;
	for (uint32_t i = 0; i < tree->count && !again; i++) {
		if (send(l, &tree->found[i], SIGKILL) == -EPERM && tree->found[i].own)
			let_go(l, tree->found[i].pid);
	}
	if (!again)
		job->stops = 0;
	tree_clear(tree);
	return !again;
}
