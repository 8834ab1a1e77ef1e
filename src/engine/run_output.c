/* What an attempt writes: its capture, and what the store keeps of it; see run.h. */
#include "engine/context.h"
#include "engine/run.h"

#include <stdlib.h>
#include <string.h>

void
run_drop_capture(struct job_run *run)
{
	if (run->capture == NULL)
		return;
	capture_detach(run->capture);
	capture_unref(run->capture);
	run->capture = NULL;
}

void
run_drop_output(struct row *row)
{
	if (row->output != NULL)
		capture_unref(row->output);
	row->output = NULL;
}

void
run_tell_followers(struct job_run *run)
{
	struct output_wait *w, *next;

	for (w = LIST_FIRST(&run->followers); w != NULL; w = next) {
		next = LIST_NEXT(w, entry);
		w->cb(w);
	}
}

static void
on_output(struct capture *c, void *arg)
{
	(void)c;
	run_tell_followers(arg);
}

static void
on_drained(struct capture *c, void *arg)
{
	struct job_run *run = arg;

	(void)c;
	if (run->exited)
		run_drained(run->job);
}

static const struct capture_handlers capture_handlers = {
	.on_data = on_output,
	.on_drained = on_drained,
};

struct capture *
run_capture(struct job *job)
{
	struct job_run *run = job->active;
	int64_t limit = job->row->spec->output_limit;

	run_drop_capture(run);
	run_drop_output(job->row);
	if (limit < 0)
		limit = job->engine->limits.output_limit;
	run->capture = capture_new(job->engine->captures, limit, &capture_handlers, run);
	if (run->capture == NULL)
		return NULL;
	capture_name(run->capture, job->row->id, job->row->attempt);
	capture_want_data(run->capture, !LIST_EMPTY(&run->followers));
	job->row->output = capture_ref(run->capture);
	return run->capture;
}

/* Both parts of a stream in one piece, as the store takes it; freed by the caller. */
static void *
joined(const struct capture_output *o, size_t *len)
{
	char *all;

	*len = o->parts[0].iov_len + o->parts[1].iov_len;
	all = malloc(*len);
	if (all == NULL)
		abort(); /* as any change that can't be recorded */
	memcpy(all, o->parts[0].iov_base, o->parts[0].iov_len);
	memcpy(all + o->parts[0].iov_len, o->parts[1].iov_base, o->parts[1].iov_len);
	return all;
}

static void
keep_stream(struct job *job, int stream)
{
	struct store *s = job->engine->store;
	struct store_output out = { 0 };
	struct capture_output o;
	void *both = NULL;

	if (!capture_take(job->active->capture, stream, &o))
		return;
	out.start = o.start;
	out.end = o.end;
	if (o.name[0] != '\0') {
		out.file = o.name;
		out.room = o.room;
		job->active->files_taken = true;
	} else if (o.nparts == 1) {
		out.data = o.parts[0].iov_base;
		out.len = o.parts[0].iov_len;
	} else {
		out.data = both = joined(&o, &out.len);
	}
	if (s->ops->keep_output(s, job->row, stream, &out) < 0)
		abort();
	free(both);
}

void
run_keep_output(struct job *job)
{
	const struct store *s = job->engine->store;
	const struct capture *c = job->active != NULL ? job->active->capture : NULL;

	if (s->ops->keep_output == NULL || c == NULL || job->row->output == NULL)
		return;
	for (int stream = 1; stream <= 2; stream++)
		if (capture_closed(c, stream))
			keep_stream(job, stream);
}

void
run_output_kept(struct job *job)
{
	struct job_run *run = job->active;

	if (job->engine->store->ops->keep_output == NULL)
		return;
	if (run != NULL && run->files_taken)
		capture_keep_files(run->capture);
	run_drop_output(job->row);
	if (run != NULL)
		run_drop_capture(run);
}
