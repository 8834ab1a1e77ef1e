/*
 * run: one job with slotctl's own stdin, stdout and stderr, or, on a terminal, with one of its
 * own that is relayed (run_pty.c). slotctl exits as the job did. The job is bound to the
 * connection: should slotctl be killed, the daemon ends it. With --key the daemon keeps what the
 * job writes and we follow it (run_follow.c), so that a second run with that key shows all of it.
 *
 * Across a restart of the daemon every call here goes on by itself (see slot/client.h): the job
 * is bound to the session, which the next connection takes over.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/ctl.h"
#include "ctl/interrupt.h"
#include "ctl/outcome.h"
#include "ctl/run_follow.h"
#include "ctl/run_pty.h"
#include "ctl/spec.h"

#define RUN_NOTICE_MS 1000
#define RUN_FOREVER_MS INT64_C(315360000000)

struct run {
	struct ctl *ctl;
	struct slot_future *over; /* settled when nothing is left to wait for */
	struct slot_future *submit, *result, *cancel, *look;
	struct slot_stream *events; /* while a job with a terminal waits to be started */
	struct run_pty *pty;        /* NULL: the job has our own descriptors … */
	struct run_follow *follow;  /* … or, with a key, none of ours but stdin */
	bool keyed;
	struct ctl_interrupt interrupt;
	struct event *notice;
	int64_t job;
	int signo;            /* the signal that ends us; 0: none */
	json_t *object;       /* the job, once it is done */
	struct slot_future *failed; /* the call that failed (borrowed) */
	int status;           /* of what was printed already */
};

static void
finish(struct run *r)
{
	slot_future_set_result(r->over, NULL, NULL);
}

static void
on_flushed(void *arg)
{
	finish(arg);
}

/* The job is over: what its terminal still holds first. */
static void
job_over(struct run *r)
{
	if (r->pty != NULL)
		run_pty_end(r->pty, on_flushed);
	else if (r->follow != NULL)
		run_follow_end(r->follow, on_flushed, r);
	else
		finish(r);
}

static void
fail(struct run *r, struct slot_future *f)
{
	r->failed = f;
	finish(r);
}

/* A call whose answer goes to `done`; NULL: it could not be sent, and r is over. */
static struct slot_future *
call(struct run *r, const char *method, json_t *params, slot_future_cb done)
{
	int code = 0;
	struct slot_future *f = slot_client_call(r->ctl->client, method, params, &code);

	if (f != NULL && slot_future_add_done_callback(f, done, r) == 0)
		return f;
	r->status = ctl_rpc_failure(r->ctl, f != NULL ? -SLOT_ENOMEM : code, NULL);
	slot_future_unref(f);
	finish(r);
	return NULL;
}

/* ---- the end ---- */

static void
on_result(struct slot_future *f, void *arg)
{
	struct run *r = arg;
	void *object = NULL;

	if (slot_future_result(f, &object) != 0) {
		fail(r, f);
		return;
	}
	r->object = json_incref(object);
	if (r->cancel == NULL) /* else: when no process of it is left */
		job_over(r);
}

/* ---- interrupted ---- */

static void
on_cancelled(struct slot_future *f, void *arg)
{
	struct run *r = arg;

	if (slot_future_result(f, NULL) != 0)
		fail(r, f);
	else
		job_over(r);
}

static void
cancel_job(struct run *r)
{
	r->cancel = call(r, "job.cancel",
	    json_pack("{s:[I], s:b}", "jobs", (json_int_t)r->job, "wait", 1), on_cancelled);
}

static void
interrupt(struct run *r, int signo)
{
	bool again = r->signo != 0;

	r->signo = signo;
	if (again || r->object != NULL)
		finish(r); /* what still runs ends with the connection */
	else if (r->job != 0)
		cancel_job(r);
	else
		slot_future_cancel(r->submit);
}

static void
on_signal(int signo, void *arg)
{
	interrupt(arg, signo);
}

static void
on_hangup(void *arg)
{
	struct run *r = arg;

	if (r->signo == 0)
		interrupt(r, SIGHUP);
}

/* ---- waiting to be started ---- */

static void
started(struct run *r)
{
	event_del(r->notice);
	slot_stream_free(r->events);
	r->events = NULL;
	if (r->pty != NULL)
		run_pty_begin(r->pty);
}

static void
on_look(struct slot_future *f, void *arg)
{
	struct run *r = arg;
	void *object = NULL;

	if (slot_future_result(f, &object) != 0)
		return; /* job.result says why */
	const char *phase = json_string_value(json_object_get(object, "phase"));
	const char *reason = json_string_value(json_object_get(object, "reason"));

	if (phase != NULL && strcmp(phase, "pending") != 0)
		started(r);
	else if (!event_pending(r->notice, EV_TIMEOUT, NULL) && isatty(STDERR_FILENO))
		ctl_note("job %lld waits (%s)", (long long)r->job, reason != NULL ? reason : "?");
}

static void
look(struct run *r)
{
	if (r->look != NULL && !slot_future_done(r->look))
		return;
	slot_future_unref(r->look);
	r->look = call(r, "job.get", json_pack("{s:I}", "job", (json_int_t)r->job), on_look);
}

static void
on_notice(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg);
}

static void
on_event(struct slot_stream *s, const json_t *item, void *arg)
{
	struct run *r = arg;

	(void)s;
	if (json_integer_value(json_object_get(item, "job")) == r->job)
		started(r);
}

static void
on_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	(void)s;
	(void)gap;
	look(arg);
}

/* With a terminal the start must be known: before it the keys are still our own, so that
 * Ctrl-C ends the wait. */
static void
watch_for_start(struct run *r)
{
	const struct slot_stream_handlers handlers = { .item = on_event, .gap = on_gap };
	const struct timeval wait = { .tv_sec = RUN_NOTICE_MS / 1000 };

	event_add(r->notice, &wait);
	if (r->pty == NULL)
		return;
	r->events = slot_client_stream(r->ctl->client, "events.subscribe",
	    json_pack("{s:[s]}", "kinds", "running"), &handlers, r, NULL);
	if (r->events == NULL)
		started(r);
	else
		look(r); /* it may have been started before the stream was opened */
}

/* ---- submitting ---- */

static void
on_submitted(struct slot_future *f, void *arg)
{
	struct run *r = arg;
	void *reply = NULL;

	if (slot_future_result(f, &reply) != 0) {
		fail(r, f);
		return;
	}
	const char *phase = json_string_value(json_object_get(reply, "phase"));

	r->job = json_integer_value(json_object_get(reply, "job"));
	if (r->keyed && (r->follow = run_follow_new(r->ctl, r->job)) == NULL) {
		r->status = CTL_EXIT_FAILURE;
		finish(r);
		return;
	}
	r->result = call(r, "job.result",
	    json_pack("{s:I, s:I}", "job", (json_int_t)r->job, "wait_ms",
		(json_int_t)RUN_FOREVER_MS),
	    on_result);
	if (r->signo != 0)
		cancel_job(r);
	else if (phase != NULL && strcmp(phase, "pending") == 0)
		watch_for_start(r);
	else
		started(r);
}

/* What no flag says goes to the first `count` of the descriptors given: the job's 0, 1, 2. */
static unsigned
set_stdio(json_t *params, const int given[3], int count, int fds[3])
{
	static const char *const names[3] = { "stdin", "stdout", "stderr" };
	unsigned n = 0;

	for (int i = 0; i < count; i++) {
		if (json_object_get(params, names[i]) != NULL)
			continue;
		json_object_set_new(params, names[i], json_pack("{s:i}", "fd", (int)n));
		fds[n++] = given[i];
	}
	return n;
}

static bool
wants_terminal(const struct spec *spec)
{
	return spec->in == NULL && spec->out == NULL && spec->key == NULL &&
	    isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* A terminal that isn't the job's own is no input for it. It is a descriptor all the same: the
 * spec must not depend on where slotctl stands, or the key would mean another job. */
static int
keyed_stdin(void)
{
	int null = isatty(STDIN_FILENO) ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

	return null >= 0 ? null : STDIN_FILENO;
}

/* 0, or an exit status, printed. Takes `params`. */
static int
submit(struct run *r, json_t *params, const struct spec *spec)
{
	int given[3] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO };
	int fds[3], code = 0;

	if (wants_terminal(spec)) {
		r->pty = run_pty_new(r->ctl->base, on_hangup, r);
		if (r->pty == NULL) {
			json_decref(params);
			return CTL_EXIT_FAILURE;
		}
		given[0] = given[1] = run_pty_job_fd(r->pty);
		if (isatty(STDERR_FILENO))
			given[2] = given[0];
		json_object_set_new(params, "tty", json_true());
	}
	json_object_set_new(params, "lifetime", json_string("bound"));
	r->keyed = spec->key != NULL;
	if (r->keyed)
		given[0] = keyed_stdin();
	unsigned n = set_stdio(params, given, r->keyed ? 1 : 3, fds);

	r->submit = slot_client_call_fds(r->ctl->client, "job.submit", params, fds, n, &code);
	if (r->keyed && given[0] != STDIN_FILENO)
		close(given[0]);
	if (r->submit == NULL)
		return code == -SLOT_EINVAL ? ctl_error("the request would be longer than 1 MiB")
					    : ctl_rpc_failure(r->ctl, code, NULL);
	if (slot_future_add_done_callback(r->submit, on_submitted, r) != 0)
		return ctl_error("out of memory");
	return 0;
}

/* ---- the verb ---- */

static int
exit_status(struct run *r)
{
	if (r->ctl->json && r->object != NULL)
		ctl_print_json(r->object);
	if (r->signo != 0)
		return OUTCOME_EXIT_SIGNAL + r->signo;
	if (r->status != 0)
		return r->status;
	if (r->failed != NULL) {
		ctl_failure(r->ctl, r->failed);
		return CTL_EXIT_FAILURE;
	}
	outcome_explain(r->object);
	return outcome_exit_status(r->object);
}

static int
start(struct run *r, struct ctl_args *args, struct spec *spec)
{
	int option;

	while ((option = ctl_args_next(args)) > 0) {
		if (spec_option(spec, args, option) < 0)
			return CTL_EXIT_FAILURE;
	}
	if (option < 0)
		return CTL_EXIT_FAILURE;
	json_t *params = spec_params(spec, args);

	if (params == NULL)
		return CTL_EXIT_FAILURE;
	if (ctl_connect(r->ctl) != 0) {
		json_decref(params);
		return CTL_EXIT_FAILURE;
	}
	r->over = slot_future_new(r->ctl->loop);
	r->notice = evtimer_new(r->ctl->base, on_notice, r);
	if (r->over == NULL || r->notice == NULL ||
	    ctl_interrupt_init(&r->interrupt, r->ctl, on_signal, r) != 0) {
		json_decref(params);
		return ctl_error("out of memory");
	}
	return submit(r, params, spec);
}

static void
drop_call(struct run *r, struct slot_future *f, slot_future_cb cb)
{
	if (f != NULL)
		slot_future_remove_done_callback(f, cb, r);
	slot_future_unref(f);
}

int
cmd_run(struct ctl *ctl, struct ctl_args *args)
{
	struct run r = { .ctl = ctl };
	struct spec spec;

	spec_init(&spec);
	int status = start(&r, args, &spec);

	if (status == 0) {
		status = ctl_run_until(ctl, r.over, -1);
		if (status != 0)
			status = ctl_rpc_failure(ctl, status, NULL);
	}
	run_pty_free(r.pty); /* the terminal is the user's again before anything is printed */
	run_follow_free(r.follow);
	if (status == 0)
		status = exit_status(&r);
	ctl_interrupt_fini(&r.interrupt);
	slot_stream_free(r.events);
	drop_call(&r, r.submit, on_submitted);
	drop_call(&r, r.result, on_result);
	drop_call(&r, r.cancel, on_cancelled);
	drop_call(&r, r.look, on_look);
	slot_future_unref(r.over);
	if (r.notice != NULL)
		event_free(r.notice);
	json_decref(r.object);
	spec_fini(&spec);
	return status;
}
