/* The records of the state, and the way from tables to records and back. */
#define _GNU_SOURCE 1
#include "launcher/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/frame.h"
#include "launcher/launcher.h"
#include "launcher/reap.h"
#include "launcher/start.h"
#include "launcher/sys.h"
#include "launcher/tell.h"

#define MAGIC "SLOTSTAT"
#define HEAD_LEAST 64u /* bytes: so much tells what the rest is */
#define CAPACITY_MAX (1024u * 1024)
#define RING_FRAME 64u /* no frame of the ring is longer */

enum { /* of the head */
	HEAD_FILES_RAISED = 1,
	HEAD_GREETED = 2,
	HEAD_STOPPING = 4,
	HEAD_ORPHANED = 8,
	HEAD_WELCOME_DUE = 16,
	HEAD_REPLY_DUE = 32,
};

enum { /* of a job */
	JOB_KEEP_LEFTOVERS = 1,
	JOB_TIMER = 2,
	JOB_EXIT_DUE = 4,
	JOB_GONE_DUE = 8,
	JOB_EXIT_TOLD = 16,
	JOB_GONE_TOLD = 32,
	JOB_ACKED = 64,
};

struct state_head {
	char magic[8];
	uint32_t version, frame_version;
	uint32_t head_len, job_len, kin_len, ring_len;
	uint32_t jobs, adopted, marked, ring; /* how many follow, in this order */
	uint64_t instance, ceiling;
	uint32_t capacity, serial;
	int32_t engine_fd, listen_fd, dir_fd, report_fd;
	uint32_t flags, held_next;
	int64_t grace_ms, leave_us;
	uint64_t files_soft, files_hard;
	uint64_t socket_dev, socket_ino;
	char oom_score[16];
	char build[FRAME_BUILD_MAX];
	char socket[256];
	char exe[4096];
};

struct state_job { /* in the order of their indices */
	struct frame_exit exit; /* also has the name */
	uint32_t index, slots;
	uint8_t state, phase;
	uint16_t flags;
	int32_t pid, pidfd;
	uint32_t serial;
	int64_t started_us;
	uint64_t start_ticks;
	int64_t timeout_ms, grace_ms, settling_us, due_us, tick_ms;
	uint32_t ticks, held_body_len, held_env_len;
	int32_t held_body, held_fds[3], kept_fds[3];
	int64_t held_until_us;
};

struct state_kin {
	uint64_t start;
	int64_t since_us;
	int32_t pid;
	uint32_t owner;
	uint32_t decided, reserved;
};

struct state {
	struct state_head head;
	const char *jobs, *adopted, *marked, *ring; /* in the mapping */
};

/* The records of version 1 as they first were; none is shorter. Who changes them adds to the end,
 * in steps of 8 bytes, or counts STATE_VERSION up. */
#define HEAD_FIRST 4544u
#define JOB_FIRST 192u
#define KIN_FIRST 32u
static_assert(sizeof(struct state_head) == HEAD_FIRST && sizeof(struct state_job) == JOB_FIRST &&
    sizeof(struct state_kin) == KIN_FIRST, "records of version 1");
static_assert(NAME_MAX < 256 && PATH_MAX <= 4096, "names fit into the head");

/* ---- writing ---- */

static uint32_t flag(bool on, uint32_t value)
{
	return on ? value : 0;
}

static void put_head(struct state_head *h, const struct launcher *l)
{
	const struct spawner *s = &l->spawner;

	memcpy(h->magic, MAGIC, sizeof(h->magic));
	h->version = STATE_VERSION;
	h->frame_version = FRAME_VERSION;
	h->head_len = sizeof(struct state_head);
	h->job_len = sizeof(struct state_job);
	h->kin_len = sizeof(struct state_kin);
	h->ring_len = RING_FRAME;
	h->jobs = l->table.used;
	h->adopted = l->adopted.count;
	h->marked = l->marked.count;
	h->ring = l->tell.ring_count;
	h->instance = l->engine.instance;
	h->ceiling = l->engine.ceiling;
	h->capacity = l->table.capacity;
	h->serial = l->engine.serial;
	h->engine_fd = l->engine.fd;
	h->listen_fd = l->listen.fd;
	h->dir_fd = l->listen.dir_fd;
	h->report_fd = s->report_fd;
	h->flags = flag(s->files_raised, HEAD_FILES_RAISED) |
	    flag(l->engine.greeted, HEAD_GREETED) | flag(l->stopping, HEAD_STOPPING) |
	    flag(l->listen.orphaned, HEAD_ORPHANED) |
	    flag(l->tell.welcome_due, HEAD_WELCOME_DUE) |
	    flag(l->upgrade.reply_due, HEAD_REPLY_DUE);
	h->held_next = l->tell.held_next;
	h->grace_ms = l->grace_ms;
	h->leave_us = l->leave_us;
	h->files_soft = s->files.rlim_cur;
	h->files_hard = s->files.rlim_max;
	h->socket_dev = l->listen.dev;
	h->socket_ino = l->listen.ino;
	memcpy(h->oom_score, s->oom_score, sizeof(h->oom_score));
	snprintf(h->build, sizeof(h->build), "%s", UPGRADE_BUILD);
	snprintf(h->socket, sizeof(h->socket), "%s", l->listen.name);
	snprintf(h->exe, sizeof(h->exe), "%s", l->upgrade.exe);
}

static void put_job(struct state_job *r, const struct table *t, const struct job *job)
{
	frame_exit_pack(&r->exit, &job->exit, 0);
	r->index = table_index(t, job);
	r->slots = job->slots;
	r->state = (uint8_t)job->state;
	r->phase = (uint8_t)job->phase;
	r->flags = (uint16_t)(flag(job->keep_leftovers, JOB_KEEP_LEFTOVERS) |
	    flag(timers_armed(job), JOB_TIMER) | flag(job->exit_due, JOB_EXIT_DUE) |
	    flag(job->gone_due, JOB_GONE_DUE) | flag(job->exit_told, JOB_EXIT_TOLD) |
	    flag(job->gone_told, JOB_GONE_TOLD) | flag(job->acked, JOB_ACKED));
	r->pid = job->pid;
	r->pidfd = job->pidfd;
	r->serial = job->serial;
	r->started_us = job->started_us;
	r->start_ticks = job->start_ticks;
	r->timeout_ms = job->timeout_ms;
	r->grace_ms = job->grace_ms;
	r->settling_us = job->settling_us;
	r->due_us = job->due_us;
	r->tick_ms = job->tick_ms;
	r->ticks = job->ticks;
	r->held_body_len = job->held_body_len;
	r->held_env_len = job->held_env_len;
	r->held_body = job->held_body;
	for (int i = 0; i < 3; i++) {
		r->held_fds[i] = job->held_fds[i];
		r->kept_fds[i] = job->kept_fds[i];
	}
	r->held_until_us = job->held_until_us;
}

static void put_kin(struct state_kin *r, const struct kin *k)
{
	for (uint32_t i = 0; i < k->count; i++, r++) {
		r->start = k->list[i].start;
		r->since_us = k->list[i].since_us;
		r->pid = k->list[i].pid;
		r->owner = k->list[i].owner;
		r->decided = k->list[i].decided;
	}
}

static size_t whole_size(const struct state_head *h)
{
	return h->head_len + (size_t)h->jobs * h->job_len +
	    ((size_t)h->adopted + h->marked) * h->kin_len + (size_t)h->ring * h->ring_len;
}

static void put_all(char *at, const struct state_head *h, const struct launcher *l)
{
	struct job *job = NULL;

	memcpy(at, h, sizeof(*h));
	at += h->head_len;
	while ((job = table_next(&l->table, job))) {
		put_job((struct state_job *)(void *)at, &l->table, job);
		at += h->job_len;
	}
	put_kin((struct state_kin *)(void *)at, &l->adopted);
	at += (size_t)h->adopted * h->kin_len;
	put_kin((struct state_kin *)(void *)at, &l->marked);
	at += (size_t)h->marked * h->kin_len;
	for (uint32_t i = 0; i < h->ring; i++) {
		memcpy(at, &l->tell.ring[(l->tell.ring_first + i) % TELL_RING], RING_FRAME);
		at += RING_FRAME;
	}
}

int state_save(struct launcher *l)
{
	struct state_head head;
	size_t size;
	void *map;
	int fd, error;

	memset(&head, 0, sizeof(head));
	put_head(&head, l);
	size = whole_size(&head);
	fd = memfd_create("slot-state", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	map = MAP_FAILED;
	if (ftruncate(fd, (off_t)size) == 0)
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		error = errno;
		close(fd);
		return -error;
	}
	put_all(map, &head, l);
	munmap(map, size);
	return fd;
}

static void keep(int fd, int on)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, on ? 0 : FD_CLOEXEC);
}

void state_keep_descriptors(struct launcher *l, int state_fd, int on)
{
	struct job *job = NULL;

	keep(state_fd, on);
	keep(l->engine.fd, on);
	keep(l->listen.fd, on);
	keep(l->listen.dir_fd, on);
	keep(l->spawner.report_fd, on);
	while ((job = table_next(&l->table, job))) {
		keep(job->pidfd, on);
		keep(job->held_body, on);
		for (int i = 0; i < 3; i++) {
			keep(job->held_fds[i], on);
			keep(job->kept_fds[i], on);
		}
	}
}

/* ---- reading ---- */

/* A record as this binary knows it, from one that may be shorter or longer. */
static void get(void *to, size_t size, const char *from, uint32_t len)
{
	memset(to, 0, size);
	memcpy(to, from, len < size ? len : size);
}

static bool is_string(const char *s, size_t room)
{
	return memchr(s, 0, room) != NULL;
}

static const char *check_head(const struct state_head *h, size_t size)
{
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0)
		return "it is no state of a launcher";
	if (h->version != STATE_VERSION)
		return "it is of another version";
	if (h->head_len < HEAD_FIRST || h->job_len < JOB_FIRST || h->kin_len < KIN_FIRST ||
	    h->ring_len < RING_FRAME || h->head_len % 8 || h->job_len % 8 || h->kin_len % 8 ||
	    h->head_len > 65536 || h->job_len > 65536 || h->kin_len > 65536 ||
	    h->ring_len > 65536)
		return "its records have impossible lengths";
	if (h->capacity == 0 || h->capacity > CAPACITY_MAX || h->jobs > h->capacity ||
	    h->adopted > KIN_MAX || h->marked > KIN_MAX || h->ring > TELL_RING)
		return "it is larger than the tables";
	/* One that has spoken to us as we were can't be left alone with us as we are. */
	if (h->frame_version != FRAME_VERSION && (h->listen_fd < 0 || (h->flags & HEAD_GREETED)))
		return "its engine speaks another version";
	if (whole_size(h) != size)
		return "its length is wrong";
	if (!is_string(h->build, sizeof(h->build)) || !is_string(h->socket, sizeof(h->socket)) ||
	    !is_string(h->exe, sizeof(h->exe)) || !is_string(h->oom_score, sizeof(h->oom_score)))
		return "a name in it has no end";
	return NULL;
}

static const char *check_job(const struct state_job *r, const struct state_head *h, uint32_t least)
{
	if (r->index < least || r->index >= h->capacity)
		return "a job has a wrong index";
	if (r->state == JOB_FREE || r->state > JOB_GONE || r->phase > PHASE_KILL)
		return "a job is in an unknown state";
	if ((r->state == JOB_RUNNING || r->state == JOB_EXITED) && r->pid <= 0)
		return "a job has no process";
	if (r->exit.how > LAUNCH_SPAWN_FAILED || r->exit.cause > LAUNCH_CAUSE_SHUTDOWN ||
	    r->exit.step >= LAUNCH_STEP_MAX)
		return "a job ended in an unknown way";
	return NULL;
}

static const char *check_jobs(const struct state *s)
{
	uint32_t least = 0;
	const char *why;

	for (uint32_t i = 0; i < s->head.jobs; i++) {
		struct state_job r;

		get(&r, sizeof(r), s->jobs + (size_t)i * s->head.job_len, s->head.job_len);
		why = check_job(&r, &s->head, least);
		if (why)
			return why;
		least = r.index + 1;
	}
	return NULL;
}

const struct state *state_open(int fd, const char **why)
{
	struct state *s = sys_map(sizeof(*s));
	struct stat st;
	char *map;

	*why = "it can't be read";
	if (!s || fstat(fd, &st) < 0 || st.st_size < HEAD_LEAST)
		return NULL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return NULL;
	get(&s->head, sizeof(s->head), map, HEAD_LEAST);
	if (s->head.head_len <= (size_t)st.st_size)
		get(&s->head, sizeof(s->head), map, s->head.head_len);
	*why = check_head(&s->head, (size_t)st.st_size);
	if (*why)
		return NULL;
	s->jobs = map + s->head.head_len;
	s->adopted = s->jobs + (size_t)s->head.jobs * s->head.job_len;
	s->marked = s->adopted + (size_t)s->head.adopted * s->head.kin_len;
	s->ring = s->marked + (size_t)s->head.marked * s->head.kin_len;
	*why = check_jobs(s);
	return *why ? NULL : s;
}

uint32_t state_capacity(const struct state *s)
{
	return s->head.capacity;
}

int state_report_fd(const struct state *s)
{
	return s->head.report_fd;
}

const char *state_build(const struct state *s)
{
	return s->head.build;
}

void state_restore_process(struct launcher *l, const struct state *s)
{
	const struct state_head *h = &s->head;

	l->spawner.files.rlim_cur = h->files_soft;
	l->spawner.files.rlim_max = h->files_hard;
	l->spawner.files_raised = h->flags & HEAD_FILES_RAISED;
	memcpy(l->spawner.oom_score, h->oom_score, sizeof(h->oom_score));
	l->grace_ms = h->grace_ms;
	strcpy(l->upgrade.exe, h->exe);
}

static void get_job(struct launcher *l, struct job *job, const struct state_job *r)
{
	frame_exit_unpack(&job->exit, &r->exit);
	job->slots = r->slots;
	job->phase = (enum job_phase)r->phase;
	job->keep_leftovers = r->flags & JOB_KEEP_LEFTOVERS;
	job->exit_due = r->flags & JOB_EXIT_DUE;
	job->gone_due = r->flags & JOB_GONE_DUE;
	job->exit_told = r->flags & JOB_EXIT_TOLD;
	job->gone_told = r->flags & JOB_GONE_TOLD;
	job->acked = r->flags & JOB_ACKED;
	job->pid = r->pid;
	job->pidfd = r->pidfd;
	job->serial = r->serial;
	job->started_us = r->started_us;
	job->start_ticks = r->start_ticks;
	job->timeout_ms = r->timeout_ms;
	job->grace_ms = r->grace_ms;
	job->settling_us = r->settling_us;
	job->tick_ms = r->tick_ms;
	job->ticks = r->ticks;
	job->held_body_len = r->held_body_len;
	job->held_env_len = r->held_env_len;
	job->held_body = r->held_body;
	for (int i = 0; i < 3; i++) {
		job->held_fds[i] = r->held_fds[i];
		job->kept_fds[i] = r->kept_fds[i];
	}
	job->held_until_us = r->held_until_us;
	switch ((enum job_state)r->state) {
	case JOB_FREE:
		break;
	case JOB_RUNNING:
		start_watch(l, job);
		table_set_state(&l->table, job, JOB_RUNNING);
		break;
	case JOB_EXITED:
		table_set_state(&l->table, job, JOB_RUNNING);
		table_set_state(&l->table, job, JOB_EXITED);
		break;
	case JOB_HELD:
	case JOB_GONE:
		table_set_state(&l->table, job, (enum job_state)r->state);
		break;
	}
	if (r->flags & JOB_TIMER)
		timers_set(&l->timers, job, r->due_us);
	tell_resume(l, job);
}

static bool get_jobs(struct launcher *l, const struct state *s)
{
	for (uint32_t i = 0; i < s->head.jobs; i++) {
		struct state_job r;
		struct job *job;

		get(&r, sizeof(r), s->jobs + (size_t)i * s->head.job_len, s->head.job_len);
		job = table_restore(&l->table, r.index, r.exit.job, r.exit.attempt);
		if (!job)
			return false;
		get_job(l, job, &r);
	}
	return true;
}

static struct job *owner(const struct launcher *l, uint32_t index)
{
	if (index >= l->table.touched || l->table.jobs[index].state == JOB_FREE)
		return NULL;
	return &l->table.jobs[index];
}

static void get_kin(struct launcher *l, const struct state *s)
{
	struct kin_process *p;
	struct state_kin r;

	for (uint32_t i = 0; i < s->head.adopted; i++) {
		get(&r, sizeof(r), s->adopted + (size_t)i * s->head.kin_len, s->head.kin_len);
		p = kin_find(&l->adopted, r.pid) ? NULL : kin_add(&l->adopted, r.pid, r.start);
		if (!p)
			continue;
		p->since_us = r.since_us;
		p->decided = r.decided;
		reap_set_owner(l, p, owner(l, r.owner));
	}
	for (uint32_t i = 0; i < s->head.marked; i++) {
		get(&r, sizeof(r), s->marked + (size_t)i * s->head.kin_len, s->head.kin_len);
		if (owner(l, r.owner))
			reap_mark(l, owner(l, r.owner), r.pid, r.start);
	}
}

static void get_connection(struct launcher *l, const struct state *s)
{
	const struct state_head *h = &s->head;

	l->engine.instance = h->instance;
	l->engine.ceiling = h->ceiling;
	l->engine.serial = h->serial;
	l->engine.fd = h->engine_fd;
	l->engine.greeted = h->flags & HEAD_GREETED;
	l->tell.welcome_due = h->flags & HEAD_WELCOME_DUE;
	l->tell.held_next = h->held_next;
	l->upgrade.reply_due = h->flags & HEAD_REPLY_DUE;
	l->listen.fd = h->listen_fd;
	l->listen.dir_fd = h->dir_fd;
	l->listen.dev = (dev_t)h->socket_dev;
	l->listen.ino = (ino_t)h->socket_ino;
	l->listen.orphaned = h->flags & HEAD_ORPHANED;
	memcpy(l->listen.name, h->socket, sizeof(l->listen.name));
	l->stopping = h->flags & HEAD_STOPPING;
	l->leave_us = h->leave_us;
	for (uint32_t i = 0; i < h->ring; i++)
		memcpy(&l->tell.ring[i], s->ring + (size_t)i * h->ring_len, RING_FRAME);
	l->tell.ring_count = h->ring;
}

int state_restore(struct launcher *l, const struct state *s, const char **why)
{
	get_connection(l, s);
	*why = "the job table can't be filled";
	if (!get_jobs(l, s))
		return -1;
	get_kin(l, s);
	state_keep_descriptors(l, -1, 0);
	return 0;
}
