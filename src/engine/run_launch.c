/* The start of an attempt: its descriptors and the word to the launcher; see run.h. */
#include "core/failpoint.h"
#include "engine/context.h"
#include "engine/run.h"
#include "engine/run_stdin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define NO_ROOM_PAUSE_US 100000 /* before it is tried again */

/* The parts of a launch_run that must be undone when it comes to nothing. */
struct start {
	struct launch_run frame;
	enum launch_step step;
	int error;
};

static bool
give(struct start *st, int fd, enum launch_fd_role role, enum launch_step step)
{
	if (fd < 0) {
		st->step = step;
		st->error = -fd;
		return false;
	}
	st->frame.fds[st->frame.nfds] = fd;
	st->frame.roles[st->frame.nfds++] = (uint8_t)role;
	return true;
}

static int
dup_of(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy >= 0 ? copy : -errno;
}

static int
copy_of(const struct job *job, int which)
{
	return job->ties != NULL ? dup_of(job->ties->fds[which]) : -EBADF;
}

/* A descriptor from which the job reads these bytes. */
static int
data_file(const void *data, size_t len)
{
	int fd = memfd_create("stdin", MFD_CLOEXEC);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < len) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close(fd);
			return n < 0 ? -errno : -EIO;
		}
		done += (size_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return -EIO;
	}
	return fd;
}

static bool
open_stdin(struct job *job, struct start *st)
{
	const struct spec *s = job->row->spec;
	int fd;

	if (s->flags & SPEC_FD_IN)
		fd = copy_of(job, 0);
	else if (s->flags & SPEC_STDIN_DATA)
		fd = data_file(spec_at(s, s->data_off), s->data_len);
	else if (s->flags & SPEC_STDIN_PIPE)
		fd = run_stdin_open(job->active);
	else
		return true;
	if (!give(st, fd, LAUNCH_FD_STDIN, LAUNCH_STEP_STDIN))
		return false;
	return !(s->flags & SPEC_STDIN_PIPE) || !job->engine->launch->keeps ||
	    give(st, dup_of(job->active->stdin_fd), LAUNCH_FD_KEEP_STDIN, LAUNCH_STEP_STDIN);
}

static bool
open_capture(struct job *job, struct start *st, int stream)
{
	enum launch_step step = stream == 1 ? LAUNCH_STEP_STDOUT : LAUNCH_STEP_STDERR;
	struct capture *c = job->active->capture;
	int fd, rc = capture_open(c, stream, &fd);

	if (rc == -ENOTSUP) /* a manual loop: its launcher is a fake without pipes */
		return true;
	if (!give(st, rc < 0 ? rc : fd, stream == 1 ? LAUNCH_FD_STDOUT : LAUNCH_FD_STDERR, step))
		return false;
	return !job->engine->launch->keeps || give(st, capture_dup_read_end(c, stream),
	    stream == 1 ? LAUNCH_FD_KEEP_STDOUT : LAUNCH_FD_KEEP_STDERR, step);
}

static bool
open_output(struct job *job, struct start *st)
{
	uint32_t flags = job->row->spec->flags;

	if ((flags & (SPEC_CAPTURE_OUT | SPEC_CAPTURE_ERR)) && run_capture(job) == NULL)
		return give(st, -ENOMEM, LAUNCH_FD_STDOUT, LAUNCH_STEP_STDOUT);
	if ((flags & SPEC_FD_OUT) &&
	    !give(st, copy_of(job, 1), LAUNCH_FD_STDOUT, LAUNCH_STEP_STDOUT))
		return false;
	if ((flags & SPEC_CAPTURE_OUT) && !open_capture(job, st, 1))
		return false;
	if ((flags & SPEC_FD_ERR) &&
	    !give(st, copy_of(job, 2), LAUNCH_FD_STDERR, LAUNCH_STEP_STDERR))
		return false;
	return !(flags & SPEC_CAPTURE_ERR) || open_capture(job, st, 2);
}

static void
fail_start(struct job *job, const struct start *st)
{
	struct launch_exit x = {
		.job = job->row->id,
		.attempt = job->row->attempt,
		.how = LAUNCH_SPAWN_FAILED,
		.step = st->step,
		.error = st->error,
	};

	run_exited(job, &x);
}

/* "running" was recorded for one launcher and no other: recovery will rely on it. */
static bool
may_launch(const struct engine *e, const struct job_run *run)
{
	if (e->launch == NULL || !e->launch_ready)
		return false;
	return !e->store->durable || run->launcher == e->store->launcher;
}

/* Tests that stop us at a point want it to be true: nothing is left in our own buffer. */
static void
launched(struct engine *e)
{
	if (failpoint_armed)
		e->launch->ops->push(e->launch);
	failpoint(FAILPOINT_LAUNCH_AFTER);
}

void
run_launch(struct job *job)
{
	struct engine *e = job->engine;
	struct job_run *run = job->active;
	const struct row *row = job->row;
	const struct env_blob *env = row->env != NULL ? row->env : e->default_env;
	struct start st = { .frame = {
		.job = row->id,
		.attempt = row->attempt,
		.slots = job->action.slots,
		.body = spec_at(row->spec, row->spec->body_off),
		.body_len = row->spec->body_len,
		.env = env->bytes,
		.env_len = env->len,
	} };
	int rc;

	if (job_phase(job) != ROW_RUNNING || run->launched)
		return; /* (cancelled between its batch and its commit: it never starts) */
	if (!may_launch(e, run)) {
		run_not_started(job, 0);
		return;
	}
	run->launched = true;
	if (!open_stdin(job, &st) || !open_output(job, &st)) {
		for (unsigned i = 0; i < st.frame.nfds; i++)
			close(st.frame.fds[i]);
		if (st.error == EMFILE || st.error == ENFILE)
			run_not_started(job, NO_ROOM_PAUSE_US); /* others will give some back */
		else
			fail_start(job, &st);
		return;
	}
	failpoint(FAILPOINT_LAUNCH_BEFORE);
	rc = e->launch->ops->run(e->launch, &st.frame);
	if (rc < 0) {
		st.step = LAUNCH_STEP_CLONE;
		st.error = -rc;
		fail_start(job, &st);
		return;
	}
	launched(e);
	run->trees++;
	run_stdin_start(run);
}
