/* Rows as clients see them; see view.h. */
#include "engine/view.h"
#include "engine/capture.h"
#include "engine/load.h"
#include "engine/shelf.h"
#include "engine/spec.h"

#include <errno.h>
#include <string.h>

bool
view_visible(const struct engine *e, const struct row *row, uid_t uid, bool admin)
{
	(void)e;
	return admin || row->uid == uid;
}

void
view_free(struct view *v)
{
	arena_free(&v->arena);
}

/* Reads up to `max` kept bytes from the start of a stream. */
static int
read_stream(struct view *v, struct capture *c, int stream, size_t max, struct msg_bytes *out)
{
	int64_t off = 0;
	char *buf = arena_alloc(&v->arena, max + 1);
	size_t got = 0;

	if (buf == NULL)
		return -ENOMEM;
	while (got < max) {
		int64_t at = off;
		ssize_t n = capture_read(c, stream, &at, buf + got, max - got);

		if (n <= 0)
			break;
		got += (size_t)n;
		off = at + n;
	}
	buf[got] = '\0';
	*out = (struct msg_bytes){ buf, got };
	return 0;
}

static int
view_stream(struct view *v, const struct row *row, int stream, int64_t with_output,
    size_t *budget, struct msg_bytes *out)
{
	struct capture *c = row->output;
	size_t max = with_output > 0 ? (size_t)with_output : 0, cost;

	*out = (struct msg_bytes){ "", 0 };
	if (max > *budget)
		max = *budget;
	if (max == 0)
		return 0;
	if (c != NULL) {
		if (capture_kept_bytes(c, stream) == 0)
			return 0;
		if (read_stream(v, c, stream, max, out) < 0)
			return -ENOMEM;
	} else if (!load_kept(v->req, row, stream, out, NULL)) {
		return 0;
	} else if (out->len > max) {
		out->len = max;
	}
	cost = jsonw_bytes_size(out->ptr, out->len);
	while (cost > *budget) { /* escapes: take less until it fits */
		out->len /= 2;
		cost = jsonw_bytes_size(out->ptr, out->len);
	}
	*budget -= cost;
	return 0;
}

int
view_outputs(struct view *v, const struct row *row, int64_t with_output, size_t *budget,
    struct msg_bytes *out, struct msg_bytes *err)
{
	if (with_output <= 0)
		return 0;
	if (view_stream(v, row, 1, with_output, budget, out) < 0 ||
	    view_stream(v, row, 2, with_output, budget, err) < 0)
		return -ENOMEM;
	return 0;
}

static struct msg_bytes
tag_of(const struct row *row)
{
	return (struct msg_bytes){ spec_at(row->spec, row->spec->tag_off), row->spec->tag_len };
}

int
view_completion(struct view *v, const struct row *row, int64_t with_output, size_t *budget,
    struct msg_completion *c)
{
	const struct row_run *run = row->run;

	msg_completion_init(c);
	c->job = (int64_t)row->id;
	c->seq = (int64_t)run->seq;
	c->ok = run->ok;
	c->outcome = run->outcome;
	c->exit_code = run->exit_code >= 0 ? run->exit_code : MSG_NULL;
	c->signal = run->signal > 0 ? run->signal : MSG_NULL;
	c->tag = tag_of(row);
	return view_outputs(v, row, with_output, budget, &c->out, &c->err);
}

/* argv as a list, cut after `max` bytes of it, or of the JSON that it takes. */
static int
view_argv(struct view *v, const struct body *b, size_t max, struct msg_job *out)
{
	size_t slots = b->argc < max + 1 ? b->argc : max + 1, used = 0, n = 0;
	struct msg_bytes *list = arena_calloc(&v->arena, slots, sizeof *list);
	const char *at = b->argv;

	if (list == NULL)
		return -ENOMEM;
	for (; n < b->argc && !out->argv_truncated; n++) {
		size_t len = strlen(at), cost = len + 1;

		if (max == VIEW_ARGV_ALL)
			cost = jsonw_bytes_size(at, len) + 1;
		list[n] = (struct msg_bytes){ at, len };
		if (used + cost > max) {
			list[n].len = (max - used) * len / cost;
			out->argv_truncated = true;
		}
		used += cost;
		at += len + 1;
	}
	out->argv = (struct msg_bytes_list){ list, n };
	return 0;
}

static void
view_run(const struct row *row, struct msg_job *out)
{
	const struct row_run *run = row->run;

	if (run->started_us != 0)
		out->started_us = run->started_us;
	if (row->phase != ROW_DONE)
		return;
	out->outcome = run->outcome;
	out->ok = run->ok;
	out->exit_code = run->exit_code >= 0 ? run->exit_code : MSG_NULL;
	out->signal = run->signal > 0 ? run->signal : MSG_NULL;
	out->seq = (int64_t)run->seq;
	out->reason = run->reason;
	out->finished_us = run->finished_us;
	if (run->outcome == MSG_OUTCOME_SPAWN_FAILED) {
		out->has_error = true;
		out->error.step = launch_step_name((enum launch_step)run->step);
		out->error.errno_name = msg_errno_name(run->error);
		out->error.message = strerrordesc_np(run->error);
	}
	if (run->usage_known) {
		out->has_usage = true;
		out->usage = (struct msg_usage){ run->user_us, run->system_us, run->max_rss_kib };
	}
}

static void
view_output_size(const struct row *row, struct msg_job *out)
{
	const struct capture *c = row->output;

	if (row->run == NULL)
		return;
	out->has_output = true;
	if (row->phase == ROW_DONE)
		out->output = (struct msg_output_size){ row->run->out_bytes[0],
			row->run->out_bytes[1], row->run->truncated };
	else if (c != NULL)
		out->output = (struct msg_output_size){ capture_kept_bytes(c, 1),
			capture_kept_bytes(c, 2), capture_truncated(c) };
}

int
view_job(struct view *v, const struct engine *e, const struct row *row, size_t argv_max,
    struct msg_job *out)
{
	const struct job *live = job_find(e, row->id);
	struct body b;

	msg_job_init(out);
	spec_body(row->spec, &b);
	out->job = (int64_t)row->id;
	out->phase = row->phase;
	out->name = spec_at(row->spec, row->spec->name_off);
	out->tag = tag_of(row);
	out->queue = row->queue;
	out->priority = row->priority;
	out->slots = row->spec->slots;
	out->uid = row->uid;
	out->cwd = (struct msg_bytes){ b.cwd != NULL ? b.cwd : "/",
		b.cwd != NULL ? strlen(b.cwd) : 1 };
	out->attempt = row->attempt;
	out->submitted_us = row->submitted_us;
	if (row->phase == ROW_PENDING)
		out->reason = live != NULL ? job_reason(live) : shelf_reason(e, row->id);
	if (row->run != NULL)
		view_run(row, out);
	view_output_size(row, out);
	return view_argv(v, &b, argv_max, out);
}

bool
view_filter(const struct msg_filter *f, const struct row *row)
{
	const char *name = spec_at(row->spec, row->spec->name_off);

	if (f->queue != NULL && strcmp(f->queue, row->queue) != 0)
		return false;
	if (f->name != NULL && (name == NULL || strcmp(f->name, name) != 0))
		return false;
	if (f->uid != MSG_NULL && f->uid != (int64_t)row->uid)
		return false;
	return f->ok < 0 || (row->run != NULL && row->phase == ROW_DONE && row->run->ok == (f->ok != 0));
}
