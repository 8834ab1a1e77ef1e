/* Attempts that an engine before us started, taken up again or given up; see run.h. */
#include "engine/context.h"
#include "engine/run.h"
#include "engine/run_stdin.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void
run_await(struct job *job, uint64_t launcher)
{
	struct job_run *run = job->active;

	run_begin(run, launcher);
	run->awaiting = true;
	if (job->row->cancel == MSG_REASON_NONE)
		return;
	run->cancelled = true;
	run->cancel_reason = (enum msg_reason)job->row->cancel;
	run->cancel_grace_ms = -1;
}

/* Closes what is there. */
static void
close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* A stream goes on where the engine before us left it; without its pipe, where `fd` is -1. */
static void
adopt_stream(struct job *job, int stream, int fd)
{
	int rc = capture_adopt(job->active->capture, stream, fd);

	if (rc < 0 && rc != -ENOTSUP) /* (a manual loop reads no pipes) */
		slot_log(job->engine->logger, SLOT_LOG_WARN,
		    "output not taken up again job=%llu stream=%d error=\"%s\"",
		    (unsigned long long)job->row->id, stream, strerrordesc_np(-rc));
}

static void
adopt_output(struct job *job, int out, int err)
{
	uint32_t flags = job->row->spec->flags;
	bool wants_out = (flags & SPEC_CAPTURE_OUT) != 0;
	bool wants_err = (flags & SPEC_CAPTURE_ERR) != 0;

	if ((wants_out || wants_err) && run_capture(job) == NULL) {
		slot_log(job->engine->logger, SLOT_LOG_WARN, "output not taken up again job=%llu "
		    "error=\"out of memory\"", (unsigned long long)job->row->id);
		wants_out = wants_err = false;
	}
	if (wants_out)
		adopt_stream(job, 1, out);
	else
		close_fd(out);
	if (wants_err)
		adopt_stream(job, 2, err);
	else
		close_fd(err);
}

/*
 * Whoever wrote to its input can't know what of that arrived, so a job whose input wasn't at its
 * end is cancelled. The launcher keeps the other copy of our end until it is dead: a job that saw
 * an end here could take it for the true one.
 */
static void
give_up_stdin(struct job *job, int fd)
{
	struct job_run *run = job->active;

	close_fd(fd);
	run_stdin_close(run, EPIPE);
	if (fd < 0 || run->cancelled)
		return;
	run->cancelled = true;
	run->cancel_reason = MSG_REASON_STDIN_LOST;
	run->cancel_grace_ms = -1;
	job_record_cancel(job, MSG_REASON_STDIN_LOST);
}

void
run_adopt(struct job *job, const struct launch_held *held)
{
	struct job_run *run = job->active;

	run->awaiting = false;
	run->launched = run->adopted = true;
	run->trees++;
	adopt_output(job, held->fds[1], held->fds[2]);
	give_up_stdin(job, held->fds[0]);
}

void
run_adopted(struct job *job)
{
	struct job_run *run = job->active;

	run->adopted = false;
	if (run->cancelled && !run_exit_known(run))
		run_cancel(job, run->cancel_grace_ms);
}

/* It can have its turn again, unless somebody may have written to its input, which is gone. */
static void
never_ran(struct job *job)
{
	if ((job->row->spec->flags & SPEC_STDIN_PIPE) && !job->active->cancelled)
		job_finish(job, MSG_OUTCOME_CANCELLED, MSG_REASON_STDIN_LOST);
	else
		run_not_started(job, 0);
}

void
run_absent(struct job *job, uint64_t launcher)
{
	struct job_run *run = job->active;
	struct launch_exit unknown = {
		.job = job->row->id,
		.attempt = job->row->attempt,
		.how = LAUNCH_SPAWN_FAILED, /* no exit code, no usage */
	};

	run->awaiting = false;
	if (run->launcher == launcher) { /* it would be held */
		never_ran(job);
		return;
	}
	run->lost = true;
	run->lost_reason = run->launcher == 0 ? MSG_REASON_REBOOT : MSG_REASON_LAUNCHER_DIED;
	run->trees_best_effort = true;
	adopt_output(job, -1, -1);
	run_exited(job, &unknown);
}
