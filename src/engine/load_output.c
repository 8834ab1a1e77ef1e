/* Output of jobs that is in history; see load.h. */
#include "engine/load_inside.h"

#include <stdlib.h>

/* The first that is wanted and not read to its end is at out_at, out_stream. False: none is. */
static bool
next_output(struct load *l)
{
	for (; l->out_at < l->noutputs; l->out_at++)
		for (l->out_stream = 0; l->out_stream < 2; l->out_stream++) {
			const struct load_output *o = &l->outputs[l->out_at];

			if (o->wanted[l->out_stream] && !o->done[l->out_stream])
				return true;
		}
	return false;
}

bool
load_output_ask(struct load *l, struct store_read *r)
{
	struct load_output *o;
	int i;

	if (!next_output(l))
		return false;
	o = &l->outputs[l->out_at];
	i = l->out_stream;
	r->kind = STORE_READ_OUTPUT;
	r->job = o->row->id;
	r->stream = i + 1;
	r->off = o->off[i] + (int64_t)o->len[i];
	r->buf = o->buf[i] + o->len[i];
	r->max = o->want[i] - o->len[i];
	return true;
}

void
load_output_take(struct load *l)
{
	struct load_output *o = &l->outputs[l->out_at];
	const struct store_read *r = &l->read;
	int i = l->out_stream;

	if (o->len[i] == 0)
		o->off[i] = r->off;
	if (r->nread > 0)
		o->len[i] += (size_t)r->nread;
	o->done[i] = r->nread <= 0 || o->len[i] >= o->want[i];
}

bool
load_needs_output(const struct request *req, const struct row *row, int stream)
{
	return req->engine->store->durable && row->phase == ROW_DONE && row->output == NULL &&
	    row->run->out_bytes[stream - 1] > 0;
}

static struct load_output *
find_output(const struct load *l, const struct row *row)
{
	for (size_t i = 0; l != NULL && i < l->noutputs; i++)
		if (l->outputs[i].row == row)
			return &l->outputs[i];
	return NULL;
}

static struct load_output *
output_of(struct load *l, struct row *row)
{
	struct load_output *o = find_output(l, row);

	if (o != NULL)
		return o;
	if (load_grow(&l->outputs, l->noutputs, &l->outputs_cap, sizeof *l->outputs) < 0)
		return NULL;
	o = &l->outputs[l->noutputs++];
	*o = (struct load_output){ .row = row_ref(row) };
	return o;
}

static int
want_output(struct load_output *o, int i, int64_t off, size_t want)
{
	char *buf = malloc(want + 1);

	if (buf == NULL)
		return -1;
	free(o->buf[i]);
	o->buf[i] = buf;
	o->want[i] = want;
	o->len[i] = 0;
	o->asked[i] = o->off[i] = off;
	o->wanted[i] = true;
	o->done[i] = false;
	return 0;
}

bool
load_outputs(struct request *req, struct row *const *rows, size_t n, int64_t max, size_t budget)
{
	struct load *l = req->load;

	for (size_t k = 0; k < n && budget > 0; k++)
		for (int i = 0; i < 2; i++) {
			struct load_output *o = find_output(l, rows[k]);
			size_t want;

			if (!load_needs_output(req, rows[k], i + 1))
				continue;
			want = (size_t)rows[k]->run->out_bytes[i];
			if (want > (size_t)max)
				want = (size_t)max;
			if (want > budget)
				want = budget;
			budget -= want;
			if (want == 0 || (o != NULL && o->wanted[i]))
				continue;
			if (l == NULL && (l = load_of(req)) == NULL)
				return load_no_memory(req);
			if ((o = output_of(l, rows[k])) == NULL ||
			    want_output(o, i, rows[k]->run->out_start[i], want) < 0)
				return load_no_memory(req);
		}
	if (l == NULL)
		return true;
	l->out_at = 0;
	return load_go_on(l);
}

bool
load_output_at(struct request *req, struct row *row, int stream, int64_t off, size_t max)
{
	struct load *l = load_of(req);
	struct load_output *o;
	int i = stream - 1;

	if (l == NULL)
		return load_no_memory(req);
	if (off < row->run->out_start[i])
		off = row->run->out_start[i];
	o = output_of(l, row);
	if (o == NULL)
		return load_no_memory(req);
	if (!o->wanted[i] || o->asked[i] != off || !o->done[i]) {
		if (want_output(o, i, off, max) < 0)
			return load_no_memory(req);
		l->out_at = 0;
	}
	return load_go_on(l);
}

bool
load_kept(const struct request *req, const struct row *row, int stream, struct msg_bytes *out,
    int64_t *off)
{
	const struct load_output *o = req != NULL ? find_output(req->load, row) : NULL;
	int i = stream - 1;

	if (o == NULL || !o->done[i])
		return false;
	o->buf[i][o->len[i]] = '\0';
	*out = (struct msg_bytes){ o->buf[i], o->len[i] };
	if (off != NULL)
		*off = o->off[i];
	return true;
}

void
load_output_empty(struct load *l)
{
	for (size_t i = 0; i < l->noutputs; i++) {
		row_unref(load_store(l), l->outputs[i].row);
		free(l->outputs[i].buf[0]);
		free(l->outputs[i].buf[1]);
	}
	l->noutputs = l->out_at = 0;
}

void
load_forget_outputs(struct request *req)
{
	if (req->load != NULL)
		load_output_empty(req->load);
}

