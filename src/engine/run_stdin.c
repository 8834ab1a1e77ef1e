/* Input of running jobs; see run_stdin.h. */
#include "engine/run_stdin.h"
#include "engine/context.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void
on_answer(struct slot_call *call)
{
	struct stdin_write *w = slot_container_of(call, struct stdin_write, answer);

	if (w->cb != NULL)
		w->cb(w->arg, w->done, w->error);
	free(w);
}

static void
settle(struct job_run *run, struct stdin_write *w, int error)
{
	TAILQ_REMOVE(&run->writes, w, entry);
	w->error = error;
	slot_loop_call_soon(w->engine->loop, &w->answer);
}

static void
close_end(struct job_run *run)
{
	if (run->stdin_event != NULL)
		event_free(run->stdin_event);
	run->stdin_event = NULL;
	if (run->stdin_fd >= 0)
		close(run->stdin_fd);
	run->stdin_fd = -1;
}

void
run_stdin_reopen(struct job_run *run)
{
	close_end(run);
}

void
run_stdin_close(struct job_run *run, int error)
{
	struct stdin_write *w;

	close_end(run);
	while ((w = TAILQ_FIRST(&run->writes)) != NULL)
		settle(run, w, -error);
}

/* Its input is at the end: a launcher that keeps our end for the next engine lets go of it, too. */
static void
tell_closed(const struct job_run *run)
{
	const struct job *job = run->job;
	struct launch *l = job->engine->launch;

	if (l == NULL || !l->keeps || l->ops->close_stdin == NULL || run_exit_known(run))
		return;
	l->ops->close_stdin(l, job->row->id, job->row->attempt);
	engine_touch(job->engine);
}

/* Writes what fits. */
static void
write_some(struct job_run *run)
{
	struct stdin_write *w;

	while ((w = TAILQ_FIRST(&run->writes)) != NULL && run->stdin_fd >= 0) {
		ssize_t n = 0;

		if (w->done < w->len)
			n = write(run->stdin_fd, w->data + w->done, w->len - w->done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			event_add(run->stdin_event, NULL);
			return;
		}
		if (n < 0) {
			tell_closed(run);
			run_stdin_close(run, errno);
			return;
		}
		w->done += (size_t)n;
		run->stdin_used |= n > 0 || w->eof;
		if (w->done < w->len)
			continue;
		if (w->eof) {
			tell_closed(run);
			close_end(run);
		}
		settle(run, w, 0);
	}
	if (run->stdin_fd < 0 && !TAILQ_EMPTY(&run->writes))
		run_stdin_close(run, EPIPE);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_some(arg);
}

int
run_stdin_open(struct job_run *run)
{
	struct event_base *base = slot_loop_base(run->job->engine->loop);
	int fds[2];

	if (base == NULL)
		return -ENOTSUP;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	run->stdin_event = event_new(base, fds[1], EV_WRITE, on_writable, run);
	if (run->stdin_event == NULL) {
		close(fds[0]);
		close(fds[1]);
		return -ENOMEM;
	}
	run->stdin_fd = fds[1];
	return fds[0];
}

void
run_stdin_start(struct job_run *run)
{
	if (run->stdin_fd >= 0)
		write_some(run);
}

struct stdin_write *
run_stdin_write(struct job *job, const void *data, size_t len, bool eof, stdin_write_cb cb,
    void *arg)
{
	struct job_run *run = run_get(job);
	struct stdin_write *w = run != NULL ? calloc(1, sizeof *w) : NULL;

	if (w == NULL)
		return NULL;
	w->answer.run = on_answer;
	w->engine = job->engine;
	w->data = data;
	w->len = len;
	w->eof = eof;
	w->cb = cb;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&run->writes, w, entry);
	if (!run->launched)
		return w;
	if (run->stdin_fd >= 0)
		write_some(run);
	else
		run_stdin_close(run, EPIPE);
	return w;
}

void
run_stdin_forget(struct job *job, struct stdin_write *w)
{
	w->cb = NULL;
	if (slot_call_queued(&w->answer))
		return;
	TAILQ_REMOVE(&job->active->writes, w, entry);
	free(w);
}
