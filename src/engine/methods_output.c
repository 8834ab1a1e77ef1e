/* output.read, output.follow, stdin.write, and the subscriptions of hub.c. */
#include "engine/hub.h"
#include "engine/load.h"
#include "engine/methods.h"
#include "engine/run.h"
#include "engine/run_stdin.h"
#include "engine/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FOLLOW_CHUNK ((size_t)32 * 1024)

/* ---- output.read ---- */

/* No more will come, in this attempt or another. */
static bool
output_is_final(const struct row *row, int stream)
{
	return row->phase == ROW_DONE &&
	    (row->output == NULL || capture_closed(row->output, stream));
}

/* From history. */
static void
read_kept(struct request *req, struct row *row)
{
	const struct msg_output_read *p = &req->call.u.output_read;
	const struct row_run *run = row->run;
	int64_t start = run->out_start[p->fd - 1], end = start + run->out_bytes[p->fd - 1];
	struct msg_output_read_result result = { .data = { "", 0 }, .off = p->off };

	result.dropped_before = start;
	if (p->off < end) {
		if (!load_output_at(req, row, (int)p->fd, p->off, (size_t)p->max))
			return;
		load_kept(req, row, (int)p->fd, &result.data, &result.off);
	}
	result.eof = result.off + (int64_t)result.data.len >= end;
	request_reply(req, &result);
}

static void
on_output_read(struct request *req)
{
	const struct msg_output_read *p = &req->call.u.output_read;
	struct row *row = request_row(req, p->job);
	struct msg_output_read_result result = { .data = { "", 0 } };
	struct capture *c;
	char *buf;
	ssize_t n = 0;

	if (row == NULL)
		return;
	if (load_needs_output(req, row, (int)p->fd)) {
		read_kept(req, row);
		return;
	}
	result.off = p->off;
	buf = malloc((size_t)p->max + 1);
	if (buf == NULL) {
		request_no_memory(req);
		return;
	}
	c = row->output;
	if (c != NULL) {
		n = capture_read(c, (int)p->fd, &result.off, buf, (size_t)p->max);
		result.dropped_before = capture_start(c, (int)p->fd);
	}
	if (n < 0) {
		request_error(req, RPC_INTERNAL_ERROR, "the output can't be read: %s",
		    strerrordesc_np((int)-n));
		free(buf);
		return;
	}
	buf[n] = '\0';
	result.data = (struct msg_bytes){ buf, (size_t)n };
	result.eof = output_is_final(row, (int)p->fd) &&
	    (c == NULL || result.off + n >= capture_end(c, (int)p->fd));
	request_reply(req, &result);
	free(buf);
}

/* ---- output.follow ---- */

struct follow {
	struct output_wait wait; /* first */
	struct request *req;
	struct row *row;         /* counted, and pinned: what is still to be sent must stay */
	struct job *job;         /* counted; NULL where it was over already */
	struct capture *capture; /* counted: the attempt whose output is being sent */
	bool wanted[2];
	int64_t off[2];
	int64_t attempt; /* that `off` is of; MSG_NULL: not known yet */
	bool linked;
	bool forgotten; /* by job.forget, with output that was still to be sent */
	int error; /* errno of a read that failed */
};

static void
follow_free(struct follow *f)
{
	if (f->linked)
		LIST_REMOVE(&f->wait, entry);
	if (f->capture != NULL)
		capture_unref(f->capture);
	row_unpin(f->req->engine->store, f->row);
	row_unref(f->req->engine->store, f->row);
	job_unref(f->job);
	free(f);
}

static void
follow_drop(struct request *req, bool cancelled)
{
	(void)cancelled;
	follow_free(req->state);
}

/* Another attempt has output of its own, from 0. */
static void
follow_attempt(struct follow *f, int64_t attempt)
{
	if (f->attempt != MSG_NULL && f->attempt != attempt)
		f->off[0] = f->off[1] = 0;
	f->attempt = attempt;
}

static bool
has_unsent(const struct follow *f)
{
	for (int i = 0; i < 2; i++)
		if (f->wanted[i] && f->off[i] < capture_end(f->capture, i + 1))
			return true;
	return false;
}

/* Whether another attempt is to be sent now. What was begun with a capture is read to its end
 * there, though the row may have given it to history, or have another, meanwhile. */
static bool
follow_is_behind(const struct follow *f)
{
	const struct capture *c = f->row->output;

	if (f->capture != NULL && has_unsent(f))
		return false;
	if (c != NULL)
		return c != f->capture;
	return f->row->phase == ROW_DONE && f->attempt != f->row->attempt;
}

static void
follow_newest(struct follow *f)
{
	struct capture *c = f->row->output;

	if (!follow_is_behind(f))
		return;
	if (f->capture != NULL)
		capture_unref(f->capture);
	f->capture = c != NULL ? capture_ref(c) : NULL;
	if (c != NULL)
		capture_want_data(c, true);
	follow_attempt(f, c != NULL ? capture_attempt(c) : f->row->attempt);
}

enum follow_step { FOLLOW_QUIET, FOLLOW_SENT, FOLLOW_SUSPENDED };

static void
follow_send(struct follow *f, int i, int64_t at, struct msg_bytes data)
{
	struct msg_output_item item = {
		.fd = i + 1, .off = at, .attempt = f->attempt > 1 ? f->attempt : MSG_NULL,
		.data = data,
	};
	struct jsonw w;

	request_item_begin(f->req, &w);
	msg_item_members(&w, M_OUTPUT_FOLLOW, &item);
	request_item_end(f->req, &w, (int64_t)data.len);
	f->off[i] = at + (int64_t)data.len;
}

static int64_t
kept_end(const struct row *row, int i)
{
	return row->run->out_start[i] + row->run->out_bytes[i];
}

/* From history. */
static enum follow_step
follow_kept(struct follow *f, int i, size_t max)
{
	struct msg_bytes data = { "", 0 };
	int64_t at = f->off[i];

	if (at >= kept_end(f->row, i))
		return FOLLOW_QUIET;
	if (!load_output_at(f->req, f->row, i + 1, at, max))
		return FOLLOW_SUSPENDED;
	if (!load_kept(f->req, f->row, i + 1, &data, &at) || data.len == 0) {
		f->forgotten = f->row->gone;
		f->off[i] = kept_end(f->row, i); /* less was kept than the row says */
		return FOLLOW_QUIET;
	}
	if (data.len > max) /* (loaded before the window shrank) */
		data.len = max;
	follow_send(f, i, at, data);
	load_forget_outputs(f->req);
	return FOLLOW_SENT;
}

/* Sends what one stream has. */
static enum follow_step
follow_stream(struct follow *f, int i)
{
	struct request *req = f->req;
	char buf[FOLLOW_CHUNK];
	size_t max = sizeof buf;
	int64_t at = f->off[i];
	ssize_t n;

	if (!f->wanted[i] || !request_can_send(req))
		return FOLLOW_QUIET;
	if (req->window > 0 && (int64_t)max > req->window)
		max = (size_t)req->window;
	if (f->capture == NULL)
		return load_needs_output(req, f->row, i + 1) ? follow_kept(f, i, max) :
		    FOLLOW_QUIET;
	n = capture_read(f->capture, i + 1, &at, buf, max);
	if (n < 0)
		f->error = (int)-n;
	if (n <= 0) {
		f->off[i] = at;
		return FOLLOW_QUIET;
	}
	follow_send(f, i, at, (struct msg_bytes){ buf, (size_t)n });
	return FOLLOW_SENT;
}

static bool
follow_is_over(const struct follow *f)
{
	for (int i = 0; i < 2; i++) {
		if (!f->wanted[i])
			continue;
		if (!output_is_final(f->row, i + 1))
			return false;
		if (f->capture != NULL && f->off[i] < capture_end(f->capture, i + 1))
			return false;
		if (f->capture == NULL && load_needs_output(f->req, f->row, i + 1) &&
		    f->off[i] < kept_end(f->row, i))
			return false;
	}
	return true;
}

static void
follow_pump(struct request *req)
{
	struct follow *f = req->state;
	struct msg_follow_result result = { .next = { MSG_NULL, MSG_NULL } };
	enum follow_step out, err;

	do {
		follow_newest(f);
		if ((out = follow_stream(f, 0)) == FOLLOW_SUSPENDED ||
		    (err = follow_stream(f, 1)) == FOLLOW_SUSPENDED)
			return;
	} while ((out == FOLLOW_SENT || err == FOLLOW_SENT || follow_is_behind(f)) && f->error == 0);
	if (f->error != 0) {
		int error = f->error;

		req->ops = NULL;
		follow_free(f);
		request_error(req, RPC_INTERNAL_ERROR, "the output can't be read: %s",
		    strerrordesc_np(error));
		return;
	}
	if (f->forgotten) {
		uint64_t id = f->row->id;

		req->ops = NULL;
		follow_free(f);
		request_no_such_job(req, id);
		return;
	}
	if (!follow_is_over(f))
		return;
	if (f->wanted[0])
		result.next.out = f->off[0];
	if (f->wanted[1])
		result.next.err = f->off[1];
	req->ops = NULL;
	follow_free(f);
	request_reply(req, &result);
}

/* The capture is taken at once: once the stream is pumped, the row may have the next attempt's. */
static void
on_new_output(struct output_wait *w)
{
	struct follow *f = (struct follow *)w;

	follow_newest(f);
	request_wake(f->req);
}

static const struct request_ops follow_ops = { .drop = follow_drop, .pump = follow_pump };

/* A live job tells of new output and of its end. */
static int
follow_link(struct follow *f)
{
	struct job_run *run;

	if (f->row->phase == ROW_DONE)
		f->job = job_find(f->req->engine, f->row->id);
	else if ((f->job = request_live(f->req->engine, f->row)) == NULL)
		return -ENOMEM;
	if (f->job == NULL)
		return 0;
	job_ref(f->job);
	run = run_get(f->job);
	if (run == NULL)
		return -ENOMEM;
	f->wait.cb = on_new_output;
	f->linked = true;
	LIST_INSERT_HEAD(&run->followers, &f->wait, entry);
	return 0;
}

static void
on_output_follow(struct request *req)
{
	const struct msg_output_follow *p = &req->call.u.output_follow;
	struct row *row = request_row(req, p->job);
	struct follow *f;

	if (row == NULL || !request_may_wait(req))
		return;
	f = calloc(1, sizeof *f);
	if (f == NULL) {
		request_no_memory(req);
		return;
	}
	f->req = req;
	f->row = row_ref(row);
	row_pin(row);
	f->off[0] = f->off[1] = p->off;
	f->attempt = p->attempt;
	for (size_t i = 0; i < p->fds.n; i++)
		f->wanted[p->fds.v[i] - 1] = true;
	if (follow_link(f) < 0) {
		follow_free(f);
		request_no_memory(req);
		return;
	}
	follow_newest(f);
	request_stream(req, &follow_ops, f, p->window == MSG_NULL ? -1 : p->window);
	request_wake(req);
}

/* ---- stdin.write ---- */

struct stdin_wait {
	struct job *job; /* counted */
	struct stdin_write *write;
};

static void
stdin_drop(struct request *req, bool cancelled)
{
	struct stdin_wait *st = req->state;

	(void)cancelled;
	run_stdin_forget(st->job, st->write);
	job_unref(st->job);
	free(st);
}

static const struct request_ops stdin_ops = { .drop = stdin_drop };

static void
on_written(void *arg, size_t written, int error)
{
	struct request *req = arg;
	struct stdin_wait *st = req->state;
	struct msg_written_result result = { .written = (int64_t)written };
	uint64_t id = st->job->row->id;

	req->ops = NULL;
	job_unref(st->job);
	free(st);
	if (error == 0)
		request_reply(req, &result);
	else
		request_error(req, RPC_INVALID_STATE, "job %llu reads no more input (%zu bytes were "
		    "written)", (unsigned long long)id, written);
}

static void
on_stdin_write(struct request *req)
{
	const struct msg_stdin_write *p = &req->call.u.stdin_write;
	struct row *row = request_row(req, p->job);
	struct stdin_wait *st;
	struct job *job;

	if (row == NULL)
		return;
	if (!(row->spec->flags & SPEC_STDIN_PIPE)) {
		request_error(req, RPC_INVALID_STATE, "job %llu has no stdin pipe: submit it with "
		    "\"stdin\":\"pipe\"", (unsigned long long)row->id);
		return;
	}
	if (row->phase == ROW_DONE) {
		request_error(req, RPC_INVALID_STATE, "job %llu is done",
		    (unsigned long long)row->id);
		return;
	}
	if (!request_may_wait(req))
		return;
	job = request_live(req->engine, row);
	st = calloc(1, sizeof *st);
	if (st == NULL || job == NULL) {
		free(st);
		request_no_memory(req);
		return;
	}
	st->job = job_ref(job);
	request_wait(req, &stdin_ops, st);
	st->write = run_stdin_write(st->job, p->data.ptr, p->data.len, p->eof, on_written, req);
	if (st->write == NULL) {
		req->ops = NULL;
		job_unref(st->job);
		free(st);
		request_no_memory(req);
	}
}

const struct request_method methods_output[] = {
	{ M_OUTPUT_READ, on_output_read },
	{ M_OUTPUT_FOLLOW, on_output_follow },
	{ M_STDIN_WRITE, on_stdin_write },
	{ M_COMPLETIONS_SUBSCRIBE, hub_on_completions_subscribe },
	{ M_EVENTS_SUBSCRIBE, hub_on_events_subscribe },
	{ 0, NULL },
};
