/* An attempt between start and end; see run.h. Input is in run_stdin.c. */
#include "engine/context.h"
#include "engine/run.h"
#include "engine/run_stdin.h"
#include "engine/spec.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NO_ROOM_PAUSE_US 100000 /* before it is tried again */

struct job_run *
run_get(struct job *job)
{
	struct job_run *run = job->active;

	if (run != NULL)
		return run;
	run = calloc(1, sizeof *run);
	if (run == NULL)
		return NULL;
	run->job = job;
	run->stdin_fd = -1;
	TAILQ_INIT(&run->writes);
	LIST_INIT(&run->gone_waits);
	LIST_INIT(&run->followers);
	return job->active = run;
}

void
run_begin(struct job_run *run)
{
	run->launched = run->exited = run->lost = run->stdin_used = false;
}

void
run_free(struct job_run *run)
{
	if (run == NULL)
		return;
	run_stdin_close(run, EPIPE);
	if (run->capture != NULL) {
		capture_detach(run->capture);
		capture_unref(run->capture);
	}
	free(run);
}

bool
run_has_processes(const struct job *job)
{
	return job->active != NULL && job->active->trees > 0;
}

void
run_tell_gone(struct job *job)
{
	struct gone_wait *w;

	if (job->active == NULL)
		return;
	while ((w = LIST_FIRST(&job->active->gone_waits)) != NULL) {
		LIST_REMOVE(w, entry);
		w->cb(w, job->active->trees_best_effort);
	}
}

static void
tell_followers(struct job_run *run)
{
	struct output_wait *w, *next;

	for (w = LIST_FIRST(&run->followers); w != NULL; w = next) {
		next = LIST_NEXT(w, entry);
		w->cb(w);
	}
}

void
run_over(struct job *job)
{
	if (job->active == NULL)
		return;
	run_stdin_close(job->active, EPIPE);
	tell_followers(job->active);
}

/* ---- the end of an attempt ---- */

static enum msg_outcome
outcome_of(const struct job_run *run)
{
	if (run->cancelled)
		return MSG_OUTCOME_CANCELLED;
	if (run->lost)
		return MSG_OUTCOME_LOST;
	switch (run->exit.how) {
	case LAUNCH_SPAWN_FAILED:
		return MSG_OUTCOME_SPAWN_FAILED;
	case LAUNCH_EXITED:
	case LAUNCH_SIGNALED:
		break;
	}
	if (run->exit.cause == LAUNCH_CAUSE_TIMEOUT)
		return MSG_OUTCOME_TIMED_OUT;
	return run->exit.how == LAUNCH_EXITED ? MSG_OUTCOME_EXITED : MSG_OUTCOME_SIGNALED;
}

/* What the row says of this attempt, whose output is in. */
static void
note_exit(struct job *job)
{
	const struct launch_exit *x = &job->active->exit;
	struct row_run *r = job->row->run;
	struct capture *c = job->active->capture;

	r->exit_code = x->how == LAUNCH_EXITED ? x->exit_code : -1;
	r->signal = x->how == LAUNCH_SIGNALED ? x->signal : 0;
	r->step = x->how == LAUNCH_SPAWN_FAILED ? (uint8_t)x->step : 0;
	r->error = x->how == LAUNCH_SPAWN_FAILED ? x->error : 0;
	r->usage_known = x->how != LAUNCH_SPAWN_FAILED;
	r->user_us = x->user_us;
	r->system_us = x->system_us;
	r->max_rss_kib = x->max_rss_kib;
	r->out_bytes[0] = c != NULL ? capture_kept_bytes(c, 1) : 0;
	r->out_bytes[1] = c != NULL ? capture_kept_bytes(c, 2) : 0;
	r->truncated = c != NULL && capture_truncated(c);
	if (c != NULL && capture_error(c) != 0)
		slot_log(job->engine->logger, SLOT_LOG_WARN,
		    "output not kept whole job=%llu error=\"%s\"",
		    (unsigned long long)job->row->id, strerrordesc_np(capture_error(c)));
	if (c != NULL && r->out_bytes[0] + r->out_bytes[1] == 0 && !r->truncated) {
		capture_unref(job->row->output); /* most jobs are silent: history needs none */
		job->row->output = NULL;
	}
}

static bool
wants_retry(const struct job *job, enum msg_outcome outcome)
{
	const struct spec *s = job->row->spec;

	if (outcome == MSG_OUTCOME_CANCELLED || job->engine->shutting_down)
		return false;
	if (outcome == MSG_OUTCOME_EXITED && spec_is_ok(s, job->active->exit.exit_code))
		return false;
	return job->row->attempt <= s->retries && (s->retry_on >> outcome & 1);
}

bool
run_will_retry(const struct job *job)
{
	return job->active->exited && wants_retry(job, outcome_of(job->active));
}

/* Doubles from attempt to attempt, up to MSG_BACKOFF_MAX_MS. */
static int64_t
backoff_us(const struct job *job)
{
	int64_t ms = job->row->spec->backoff_ms;

	for (uint32_t i = 1; i < job->row->attempt && ms < MSG_BACKOFF_MAX_MS; i++)
		ms *= 2;
	return (ms < MSG_BACKOFF_MAX_MS ? ms : MSG_BACKOFF_MAX_MS) * 1000;
}

static void
retry(struct job *job, enum msg_outcome outcome)
{
	struct row_run *copy = malloc(sizeof *copy);

	job->row->run->outcome = (uint8_t)outcome;
	job->row->run->finished_us = slot_loop_wall_us(job->engine->loop);
	if (copy != NULL)
		*copy = *job->row->run;
	batch_add(job->engine, FACT_ATTEMPT_FAILED, job, copy);
	job->row->run->outcome = MSG_OUTCOME_NONE;
	job->engine->stats.retries++;
	job_requeue(job, backoff_us(job));
}

/* Exit known and output in: the attempt is over. */
static void
attempt_over(struct job *job)
{
	struct job_run *run = job->active;
	enum msg_outcome outcome = outcome_of(run);

	run_stdin_close(run, EPIPE);
	note_exit(job);
	if (wants_retry(job, outcome))
		retry(job, outcome);
	else
		job_finish(job, outcome, run->cancelled ? run->cancel_reason : MSG_REASON_NONE);
	tell_followers(run);
	engine_touch(job->engine);
}

static void
on_output(struct capture *c, void *arg)
{
	(void)c;
	tell_followers(arg);
}

static void
on_drained(struct capture *c, void *arg)
{
	struct job_run *run = arg;

	(void)c;
	if (run->exited)
		attempt_over(run->job);
}

static const struct capture_handlers capture_handlers = {
	.on_data = on_output,
	.on_drained = on_drained,
};

static void
exited(struct job *job, const struct launch_exit *x)
{
	struct job_run *run = job->active;

	run->exit = *x;
	run->exited = true;
	if (run->capture != NULL)
		capture_drain(run->capture);
	else
		attempt_over(job);
}

/* The launcher never had it, or there was no room for it: back to its place in the order. */
static void
not_started(struct job *job, int64_t pause_us)
{
	if (job->active->cancelled) {
		job_finish(job, MSG_OUTCOME_CANCELLED, job->active->cancel_reason);
		return;
	}
	if (job->active->capture != NULL)
		capture_detach(job->active->capture);
	run_stdin_reopen(job->active);
	job->row->attempt--;
	job_requeue(job, pause_us);
}

/* The launcher refused it before it tried, for a reason that passes. */
static bool
may_try_again(const struct job *job, const struct launch_exit *x)
{
	if (x->how != LAUNCH_SPAWN_FAILED || x->step != LAUNCH_STEP_BODY ||
	    job->active->stdin_used) /* (what was written is gone) */
		return false;
	return x->error == EAGAIN || x->error == EMFILE || x->error == ESHUTDOWN;
}

void
run_on_exit(struct engine *e, const struct launch_exit *x)
{
	struct job *job = job_find(e, x->job);

	if (job != NULL && job->row->attempt == x->attempt && job->active != NULL &&
	    job->active->exited && !job->published)
		return; /* told twice; the ack comes with the commit */
	if (job == NULL || job_phase(job) != ROW_RUNNING || job->row->attempt != x->attempt ||
	    !job->active->launched) {
		if (e->launch != NULL) /* known already: it only wants to hear so */
			e->launch->ops->ack(e->launch, x->job, x->attempt);
		engine_touch(e);
		return;
	}
	if (!may_try_again(job, x)) {
		exited(job, x);
		return;
	}
	if (x->error == ESHUTDOWN)
		slot_executor_pause(e->executor); /* until there is another launcher */
	not_started(job, x->error == ESHUTDOWN ? 0 : NO_ROOM_PAUSE_US);
}

void
run_on_gone(struct engine *e, uint64_t id, uint32_t attempt, bool best_effort)
{
	struct job *job = job_find(e, id);

	(void)attempt;
	if (job == NULL || !run_has_processes(job))
		return;
	job->active->trees--;
	job->active->trees_best_effort |= best_effort;
	job_drop_if_over(job);
	engine_touch(e);
}

void
run_on_lost(struct job *job)
{
	struct job_run *run = job->active;
	struct launch_exit unknown = {
		.job = job->row->id,
		.attempt = job->row->attempt,
		.how = LAUNCH_SPAWN_FAILED, /* no exit code, no usage */
	};

	if (run == NULL)
		return;
	run->trees = 0;
	run->trees_best_effort = true;
	if (job_phase(job) != ROW_RUNNING) {
		job_drop_if_over(job);
	} else if (run->launched && !run->exited) {
		run->lost = true;
		exited(job, &unknown);
	}
}

/* ---- launching ---- */

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
copy_of(const struct job *job, int which)
{
	int fd = fcntl(job->ties->fds[which], F_DUPFD_CLOEXEC, 0);

	return fd >= 0 ? fd : -errno;
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
	return give(st, fd, LAUNCH_FD_STDIN, LAUNCH_STEP_STDIN);
}

static bool
open_capture(struct job *job, struct start *st, int stream)
{
	int fd, rc = capture_open(job->active->capture, stream, &fd);

	if (rc == -ENOTSUP) /* a manual loop: its launcher is a fake without pipes */
		return true;
	return give(st, rc < 0 ? rc : fd, stream == 1 ? LAUNCH_FD_STDOUT : LAUNCH_FD_STDERR,
	    stream == 1 ? LAUNCH_STEP_STDOUT : LAUNCH_STEP_STDERR);
}

/* A fresh capture for this attempt; it becomes the row's output. */
static bool
renew_capture(struct job *job, struct start *st)
{
	struct job_run *run = job->active;
	int64_t limit = job->row->spec->output_limit;

	if (run->capture != NULL) {
		capture_detach(run->capture);
		capture_unref(run->capture);
		run->capture = NULL;
	}
	if (job->row->output != NULL)
		capture_unref(job->row->output);
	job->row->output = NULL;
	if (!(job->row->spec->flags & (SPEC_CAPTURE_OUT | SPEC_CAPTURE_ERR)))
		return true;
	if (limit < 0)
		limit = job->engine->limits.output_limit;
	run->capture = capture_new(job->engine->captures, limit, &capture_handlers, run);
	if (run->capture == NULL)
		return give(st, -ENOMEM, LAUNCH_FD_STDOUT, LAUNCH_STEP_STDOUT);
	capture_want_data(run->capture, !LIST_EMPTY(&run->followers));
	job->row->output = capture_ref(run->capture);
	return true;
}

static bool
open_output(struct job *job, struct start *st)
{
	uint32_t flags = job->row->spec->flags;

	if (!renew_capture(job, st))
		return false;
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

	exited(job, &x);
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
		return;
	if (run->cancelled) { /* between its batch and its commit: it never starts */
		job_finish(job, MSG_OUTCOME_CANCELLED, run->cancel_reason);
		return;
	}
	if (e->launch == NULL) {
		not_started(job, 0);
		return;
	}
	run->launched = true;
	if (!open_stdin(job, &st) || !open_output(job, &st)) {
		for (unsigned i = 0; i < st.frame.nfds; i++)
			close(st.frame.fds[i]);
		if (st.error == EMFILE || st.error == ENFILE)
			not_started(job, NO_ROOM_PAUSE_US); /* others will give some back */
		else
			fail_start(job, &st);
		return;
	}
	rc = e->launch->ops->run(e->launch, &st.frame);
	if (rc < 0) {
		st.step = LAUNCH_STEP_CLONE;
		st.error = -rc;
		fail_start(job, &st);
		return;
	}
	run->trees++;
	run_stdin_start(run);
}

void
run_cancel(struct job *job, int64_t grace_ms)
{
	struct engine *e = job->engine;

	if (grace_ms < 0)
		grace_ms = job->row->spec->grace_ms;
	if (grace_ms < 0)
		grace_ms = e->limits.grace_ms;
	if (e->killing)
		grace_ms = 0;
	if (e->launch != NULL)
		e->launch->ops->cancel(e->launch, job->row->id, job->row->attempt, grace_ms);
	engine_touch(e);
}
