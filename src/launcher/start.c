/* Checking and starting what the engine asks for; waiting where no process can be made now. */
#define _GNU_SOURCE 1
#include "launcher/start.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/log.h"
#include "launcher/sys.h"
#include "launcher/tell.h"

#define HOLD_MS 2000
#define HOLD_TICK_FIRST_MS 5
#define HOLD_TICK_MAX_MS 100
/* So many leaders at a time go without a pidfd, which costs more than to ask each of them whenever
 * SIGCHLD comes; with more, it is the other way round. */
#define BLIND_MAX 8

/* What is started: parsed bytes and descriptors, valid during one call. */
struct start {
	const char *bytes; /* the body, then the environment */
	size_t body_len, env_len;
	int fds[3];        /* -1: not passed */
	int body_fd;       /* the memfd, or -1 */
	int kept[3];       /* to be kept for the engine, or -1 */
	struct body body;
};

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

/* ---- bytes ---- */

static void *map_memfd(int fd, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A memfd whose size can still change could take memory away under us. NULL, or why not. */
static const char *check_memfd(int fd, size_t len)
{
	const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & needed) != needed)
		return "body is not in a sealed memfd";
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != len)
		return "memfd has a wrong length";
	return NULL;
}

static int memfd_of(const char *bytes, size_t len)
{
	int fd = memfd_create("slot-held", MFD_CLOEXEC);
	ssize_t n;

	for (size_t at = 0; fd >= 0 && at < len; at += (size_t)n) {
		n = write(fd, bytes + at, len - at);
		if (n < 0) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

/* What body and descriptors say must be the same. NULL, or what is wrong. */
static const char *check_parts(const struct start *s)
{
	const char *env = s->bytes + s->body_len;

	for (int i = 0; i < 3; i++) {
		bool passed = s->body.files[i].kind == BODY_FILE_PASSED;

		if (passed && s->fds[i] < 0)
			return "a descriptor is missing";
		if (!passed && s->fds[i] >= 0)
			return "a descriptor too many";
	}
	if (s->env_len && env[s->env_len - 1] != 0)
		return "environment does not end with NUL";
	if (s->body.queue && strlen(s->body.queue) > SPAWN_QUEUE_MAX)
		return "queue name is too long";
	return NULL;
}

static const char *read_parts(struct start *s)
{
	const char *why;

	if (body_read(&s->body, s->bytes, s->body_len, &why) < 0)
		return why;
	return check_parts(s);
}

/* ---- starting ---- */

static bool worth_waiting(int error)
{
	switch (error) {
	case EAGAIN:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return true;
	}
	return false;
}

void start_watch(struct launcher *l, struct job *job)
{
	struct epoll_event event = {
	    /* Once: a child that is not yet at exec may hold a copy of the descriptor. */
	    .events = EPOLLIN | EPOLLONESHOT,
	    .data.u64 = table_index(&l->table, job),
	};

	if (job->pidfd < 0)
		return;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, job->pidfd, &event) < 0) {
		close(job->pidfd);
		job->pidfd = -1;
	}
}

/* Makes the process. 0 or -errno. */
static int launch_leader(struct launcher *l, struct job *job, const struct start *s)
{
	struct spawn_order order = {
	    .job = job->id,
	    .attempt = job->attempt,
	    .index = table_index(&l->table, job),
	    .body = &s->body,
	    .env = s->bytes + s->body_len,
	    .env_len = s->env_len,
	    .fds = {s->fds[0], s->fds[1], s->fds[2]},
	};
	uint64_t ticks = sys_boot_ticks();
	int64_t now = sys_now_us();
	pid_t pid = spawn(&l->spawner, &order, l->table.blind < BLIND_MAX ? NULL : &job->pidfd);

	if (pid < 0)
		return pid;
	job->pid = pid;
	job->started_us = now;
	job->start_ticks = ticks;
	start_watch(l, job);
	table_set_state(&l->table, job, JOB_RUNNING);
	if (job->timeout_ms)
		timers_set(&l->timers, job, job->timeout_ms > (INT64_MAX - now) / 1000 ?
		    INT64_MAX : now + job->timeout_ms * 1000);
	return 0;
}

static void never_ran(struct launcher *l, struct job *job, enum launch_step step, int error)
{
	job->exit.how = LAUNCH_SPAWN_FAILED;
	job->exit.step = step;
	job->exit.error = error;
	table_set_state(&l->table, job, JOB_GONE);
	tell_exit(l, job);
	tell_gone(l, job);
}

/* ---- waiting for a clone that works ---- */

/* Takes the start's descriptors over. False: it can't be kept. */
static bool hold(struct launcher *l, struct job *job, struct start *s)
{
	if (s->body_fd < 0)
		s->body_fd = memfd_of(s->bytes, s->body_len + s->env_len);
	if (s->body_fd < 0)
		return false;
	job->held_body = s->body_fd;
	job->held_body_len = (uint32_t)s->body_len;
	job->held_env_len = (uint32_t)s->env_len;
	memcpy(job->held_fds, s->fds, sizeof(s->fds));
	s->body_fd = s->fds[0] = s->fds[1] = s->fds[2] = -1;
	job->held_until_us = sys_now_us() + HOLD_MS * 1000;
	job->tick_ms = HOLD_TICK_FIRST_MS;
	table_set_state(&l->table, job, JOB_HELD);
	timers_set(&l->timers, job, sys_now_us() + job->tick_ms * 1000);
	return true;
}

void start_close_kept(struct job *job)
{
	close_all(job->kept_fds, 3);
	job->kept_fds[0] = job->kept_fds[1] = job->kept_fds[2] = -1;
}

static void close_held(struct job *job)
{
	close_all(job->held_fds, 3);
	close_all(&job->held_body, 1);
	job->held_fds[0] = job->held_fds[1] = job->held_fds[2] = job->held_body = -1;
	job->tick_ms = 0;
}

void start_give_up(struct launcher *l, struct job *job, int error)
{
	timers_clear(&l->timers, job);
	close_held(job);
	never_ran(l, job, LAUNCH_STEP_CLONE, error);
}

void start_retry(struct launcher *l, struct job *job)
{
	struct start s = {
	    .body_len = job->held_body_len,
	    .env_len = job->held_env_len,
	    .fds = {job->held_fds[0], job->held_fds[1], job->held_fds[2]},
	};
	size_t len = s.body_len + s.env_len;
	int64_t now = sys_now_us();
	void *map = map_memfd(job->held_body, len);
	int error = -ENOMEM;

	s.bytes = map;
	if (map && !read_parts(&s))
		error = launch_leader(l, job, &s);
	if (map)
		munmap(map, len);
	if (error == 0) {
		close_held(job);
	} else if (!worth_waiting(-error) || now >= job->held_until_us) {
		start_give_up(l, job, -error);
	} else {
		job->tick_ms = job->tick_ms * 2 < HOLD_TICK_MAX_MS ? job->tick_ms * 2 :
								      HOLD_TICK_MAX_MS;
		timers_set(&l->timers, job, now + job->tick_ms * 1000);
	}
}

/* ---- a RUN ---- */

/* Refused for what the table says: 0, or an errno. */
static int check_room(const struct launcher *l, const struct frame_run *run)
{
	if (l->stopping)
		return ESHUTDOWN;
	if (l->table.slots + run->slots > l->engine.ceiling || l->table.used == l->table.capacity)
		return EAGAIN;
	return 0;
}

static void add_and_start(struct launcher *l, const struct frame_run *run, struct start *s)
{
	struct job *job = table_add(&l->table, run->job, run->attempt);
	int error;

	job->slots = run->slots;
	job->timeout_ms = s->body.timeout_ms;
	job->grace_ms = s->body.grace_ms >= 0 ? s->body.grace_ms : l->grace_ms;
	job->keep_leftovers = s->body.keep_leftovers;
	job->serial = l->engine.serial;
	memcpy(job->kept_fds, s->kept, sizeof(s->kept));
	s->kept[0] = s->kept[1] = s->kept[2] = -1;
	error = launch_leader(l, job, s);
	if (error == 0)
		return;
	if (!worth_waiting(-error) || !hold(l, job, s))
		never_ran(l, job, LAUNCH_STEP_CLONE, -error);
}

static void sort_fds(struct start *s, const struct frame_run *run, const int *fds, unsigned nfds)
{
	s->body_fd = s->fds[0] = s->fds[1] = s->fds[2] = -1;
	s->kept[0] = s->kept[1] = s->kept[2] = -1;
	for (unsigned i = 0; i < nfds; i++) {
		switch ((enum launch_fd_role)run->roles[i]) {
		case LAUNCH_FD_STDIN:
		case LAUNCH_FD_STDOUT:
		case LAUNCH_FD_STDERR:
			s->fds[run->roles[i] - LAUNCH_FD_STDIN] = fds[i];
			break;
		case LAUNCH_FD_BODY:
			s->body_fd = fds[i];
			break;
		case LAUNCH_FD_KEEP_STDIN:
		case LAUNCH_FD_KEEP_STDOUT:
		case LAUNCH_FD_KEEP_STDERR:
			s->kept[run->roles[i] - LAUNCH_FD_KEEP_STDIN] = fds[i];
			break;
		case LAUNCH_FD_NONE:
			break;
		}
	}
}

/* Finds the bytes, reads them, starts. NULL, or why the body is refused. */
static const char *read_and_start(struct launcher *l, const struct frame_run *run,
    const char *payload, struct start *s)
{
	size_t len = (size_t)run->body_len + run->env_len;
	void *map = NULL;
	const char *why = NULL;

	s->body_len = run->body_len;
	s->env_len = run->env_len;
	if (s->body_fd < 0) {
		s->bytes = spawn_keep(&l->spawner, payload, len);
	} else {
		why = check_memfd(s->body_fd, len);
		if (why)
			return why;
		s->bytes = map = map_memfd(s->body_fd, len);
		if (!map)
			return "memfd can't be mapped";
	}
	why = read_parts(s);
	if (!why)
		add_and_start(l, run, s);
	if (map)
		munmap(map, len);
	return why;
}

void start_run(struct launcher *l, const struct frame_run *run, const char *payload,
    const int *fds, unsigned nfds)
{
	struct start s;
	const char *why = NULL;
	int error;

	if (table_find(&l->table, run->job, run->attempt)) {
		/* Its exit is still to be told: no answer that could be taken for it. */
		log_warn("ignored a second RUN of job=%llu attempt=%u",
		    (unsigned long long)run->job, run->attempt);
		close_all(fds, nfds);
		return;
	}
	error = check_room(l, run);

	if (!error && nfds != frame_run_fds(run))
		error = EMFILE; /* the kernel could not give us all of them */
	if (!error && run->slots == 0)
		error = EINVAL;
	if (error) {
		tell_refused(l, run->job, run->attempt, error);
		close_all(fds, nfds);
		return;
	}
	sort_fds(&s, run, fds, nfds);
	why = read_and_start(l, run, payload, &s);
	if (why) {
		log_warn("refused job=%llu attempt=%u: %s", (unsigned long long)run->job,
		    run->attempt, why);
		tell_refused(l, run->job, run->attempt, EINVAL);
	}
	close_all(s.fds, 3);
	close_all(s.kept, 3);
	close_all(&s.body_fd, 1);
}
