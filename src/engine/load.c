/* Reading what a request needs and is not in memory; see load.h. */
#include "engine/load.h"
#include "engine/shelf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_ROWS 128                        /* rows asked for at a time */
#define BYTES_MAX ((size_t)256 * 1024 * 1024) /* of specs that a request has in memory */

struct load_key {
	char *key;
	struct row *row;  /* counted; NULL: unknown */
	struct row *made; /* counted: while its read was under way */
};

struct load_output {
	struct row *row; /* counted */
	bool wanted[2], done[2];
	char *buf[2];
	size_t want[2], len[2];
	int64_t asked[2], off[2]; /* from where; where that was */
};

struct load {
	LIST_ENTRY(load) looking; /* in e->key_loads, where nkeys > 0 */
	struct request *req;
	struct store_read read;
	struct slot_call again;
	bool busy, under_way;
	bool live;               /* what is shelved is taken down as it comes */

	struct row **rows;       /* counted */
	size_t nrows, rows_cap;
	struct job **jobs;       /* counted: taken down */
	size_t njobs, jobs_cap;
	size_t bytes;            /* of specs that were read */

	uint64_t *ids;           /* nasked of them are known about, in order; the rest is to be read */
	size_t nids, nasked, ids_cap;
	struct load_key *keys;   /* likewise */
	size_t nkeys, keys_asked, keys_cap;
	const char **key_texts;  /* of the read under way */
	bool wants_oldest;
	uint64_t oldest;         /* 0: not known */
	enum { PAGE_NONE, PAGE_WANTED, PAGE_READ } page_state;
	struct store_read page;
	struct load_output *outputs;
	size_t noutputs, outputs_cap;
	size_t out_at;           /* the one being read … */
	int out_stream;          /* … and which of its streams, 0 or 1 */
};

static void on_again(struct slot_call *call);

static struct store *
store_of(const struct load *l)
{
	return l->req->engine->store;
}

/* The request's, made at first need. NULL: out of memory. */
static struct load *
load_of(struct request *req)
{
	struct load *l = req->load;

	if (l != NULL)
		return l;
	l = calloc(1, sizeof *l);
	if (l == NULL)
		return NULL;
	l->req = req;
	l->again.run = on_again;
	return req->load = l;
}

/* Room for one more element. -1: out of memory. */
static int
grow(void *array, size_t n, size_t *cap, size_t size)
{
	void **v = array, *more;
	size_t want = *cap != 0 ? *cap * 2 : 16;

	if (n < *cap)
		return 0;
	more = realloc(*v, want * size);
	if (more == NULL)
		return -1;
	*v = more;
	*cap = want;
	return 0;
}

/* ---- suspending and going on ---- */

static void
stall(struct load *l)
{
	struct request *req = l->req;

	l->busy = true;
	if (!req->waiting && !req->stream)
		req->session->stalled = req;
}

static void
unstall(struct load *l)
{
	struct session *s = l->req->session;

	l->busy = false;
	if (s->stalled != l->req)
		return;
	s->stalled = NULL;
	if (!s->closed && !s->closing)
		slot_loop_call_soon(s->engine->loop, &s->more);
}

static void
on_again(struct slot_call *call)
{
	struct load *l = slot_container_of(call, struct load, again);
	struct request *req = l->req;

	unstall(l);
	if (req->held)
		req->try_again(req);
	else if (req->ops != NULL && req->ops->pump != NULL)
		request_wake(req);
	else
		request_handler_of(req->call.method->id)(req);
}

/* What was asked for can't be had: the request is answered. */
static void
fail(struct load *l, enum rpc_error error, const char *why)
{
	struct request *req = l->req;

	if (req->ops != NULL && req->ops->drop != NULL)
		req->ops->drop(req, false);
	req->ops = NULL;
	request_error(req, error, "%s", why);
}

static bool
out_of_memory(struct load *l)
{
	fail(l, RPC_INTERNAL_ERROR, "out of memory");
	return false;
}

static bool
no_memory_for(struct request *req)
{
	if (req->ops != NULL && req->ops->drop != NULL)
		req->ops->drop(req, false);
	req->ops = NULL;
	request_error(req, RPC_INTERNAL_ERROR, "out of memory");
	return false;
}

/* ---- what comes ---- */

/* Counts a reference until the request lets go. */
static int
hold(struct load *l, struct row *row)
{
	if (grow(&l->rows, l->nrows, &l->rows_cap, sizeof(struct row *)) < 0)
		return -1;
	l->rows[l->nrows++] = row_ref(row);
	return 0;
}

static int
take_down(struct load *l, struct row *row)
{
	struct engine *e = l->req->engine;
	struct job *job;

	if (row->phase != ROW_PENDING || job_find(e, row->id) != NULL)
		return 0;
	if (grow(&l->jobs, l->njobs, &l->jobs_cap, sizeof(struct job *)) < 0 ||
	    (job = shelf_take(e, row)) == NULL)
		return -1;
	l->jobs[l->njobs++] = job_ref(job);
	return 0;
}

static int
by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct load_key *)a)->key, ((const struct load_key *)b)->key);
}

static int
take_rows(struct load *l)
{
	struct store_read *r = &l->read;

	for (size_t i = 0; i < r->nrows; i++) {
		struct row *row = r->rows[i];

		if (row == NULL || row->gone)
			continue;
		l->bytes += row->spec->size;
		if (hold(l, row) < 0 || (l->live && take_down(l, row) < 0))
			return -1;
	}
	if (r->oldest_job != 0)
		l->oldest = r->oldest_job;
	if (l->wants_oldest && l->nasked == l->nids) {
		l->wants_oldest = false;
		if (l->oldest == 0)
			l->oldest = store_of(l)->next_id;
		return 0;
	}
	l->nasked += r->nids;
	if (l->nasked == l->nids)
		qsort(l->ids, l->nids, sizeof *l->ids, by_id);
	return 0;
}

static int
take_keys(struct load *l)
{
	struct store_read *r = &l->read;

	for (size_t i = 0; i < r->nrows; i++)
		if (r->rows[i] != NULL && !r->rows[i]->gone)
			l->keys[l->keys_asked + i].row = row_ref(r->rows[i]);
	l->keys_asked += r->nkeys;
	qsort(l->keys, l->nkeys, sizeof *l->keys, by_key);
	free(l->key_texts);
	l->key_texts = NULL;
	return 0;
}

static void
take_output(struct load *l)
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

/* The answer is in l->read. False: the request was answered. */
static bool
take(struct load *l)
{
	struct store_read *r = &l->read;
	int rc = 0;

	if (r->error != 0) {
		store_read_fini(store_of(l), r);
		if (r->error == -ENOMEM)
			return out_of_memory(l);
		fail(l, RPC_INTERNAL_ERROR, "the journal can't be read there");
		return false;
	}
	switch (r->kind) {
	case STORE_READ_JOBS:
		rc = take_rows(l);
		break;
	case STORE_READ_KEYS:
		rc = take_keys(l);
		break;
	case STORE_READ_PAGE:
		l->page = *r; /* its rows with it */
		l->page_state = PAGE_READ;
		r->rows = NULL;
		r->nrows = 0;
		break;
	case STORE_READ_OUTPUT:
		take_output(l);
		break;
	case STORE_READ_DONE: /* hub.c's */
		break;
	}
	store_read_fini(store_of(l), r);
	if (rc < 0)
		return out_of_memory(l);
	if (l->bytes > BYTES_MAX) {
		fail(l, RPC_LIMIT_EXCEEDED, "the jobs that this names are too large to be looked at "
		    "together: name fewer");
		return false;
	}
	return true;
}

/* ---- what is asked for ---- */

static const uint64_t no_id = 0; /* there never is such a job */

static void
ask_rows(struct load *l, struct store_read *r)
{
	const struct session *s = l->req->session;
	size_t n = l->nids - l->nasked;

	r->kind = STORE_READ_JOBS;
	r->ids = n > 0 ? l->ids + l->nasked : &no_id;
	r->nids = n == 0 ? 1 : n < SLICE_ROWS ? n : SLICE_ROWS;
	r->filter.by_uid = !s->admin;
	r->filter.uid = s->uid;
}

static bool
ask_keys(struct load *l, struct store_read *r)
{
	size_t n = l->nkeys - l->keys_asked;

	l->key_texts = calloc(n, sizeof(char *));
	if (l->key_texts == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		l->key_texts[i] = l->keys[l->keys_asked + i].key;
	r->kind = STORE_READ_KEYS;
	r->keys = l->key_texts;
	r->nkeys = n;
	r->filter.uid = l->req->session->uid;
	return true;
}

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

static void
ask_output(struct load *l, struct store_read *r)
{
	struct load_output *o = &l->outputs[l->out_at];
	int i = l->out_stream;

	r->kind = STORE_READ_OUTPUT;
	r->job = o->row->id;
	r->stream = i + 1;
	r->off = o->off[i] + (int64_t)o->len[i];
	r->buf = o->buf[i] + o->len[i];
	r->max = o->want[i] - o->len[i];
}

/* Fills l->read with what is wanted next. 0: nothing is; -1: out of memory. */
static int
next_read(struct load *l)
{
	struct store_read *r = &l->read;

	memset(r, 0, sizeof *r);
	r->filter.phase = r->filter.ok = -1;
	if (l->nasked < l->nids || (l->wants_oldest && l->oldest == 0)) {
		ask_rows(l, r);
	} else if (l->keys_asked < l->nkeys) {
		if (!ask_keys(l, r))
			return -1;
	} else if (l->page_state == PAGE_WANTED) {
		*r = l->page;
	} else if (next_output(l)) {
		ask_output(l, r);
	} else {
		return 0;
	}
	return 1;
}

static void on_read(struct store_read *r);

/* Reads on. True: all is at hand; false: suspended or answered. */
static bool
go_on(struct load *l)
{
	struct store *s = store_of(l);
	int rc;

	while ((rc = next_read(l)) > 0) {
		l->read.done = on_read;
		l->read.arg = l;
		if (!s->ops->read(s, &l->read)) {
			l->under_way = true;
			stall(l);
			return false;
		}
		if (!take(l))
			return false;
	}
	return rc == 0 || out_of_memory(l);
}

static void
on_read(struct store_read *r)
{
	struct load *l = r->arg;

	l->under_way = false;
	if (take(l) && go_on(l))
		slot_loop_call_soon(l->req->engine->loop, &l->again);
}

void
load_yield(struct request *req)
{
	struct load *l = load_of(req);

	if (l == NULL) {
		no_memory_for(req);
		return;
	}
	stall(l);
	slot_loop_call_at_turn_end(req->engine->loop, &l->again);
}

bool
load_busy(const struct request *req)
{
	return req->load != NULL && req->load->busy;
}

/* ---- rows ---- */

static bool
was_asked(const struct load *l, uint64_t id)
{
	return l != NULL && l->nasked > 0 &&
	    bsearch(&id, l->ids, l->nasked, sizeof *l->ids, by_id) != NULL;
}

/* Is there anything to read? (What is not in memory though it was asked for is unknown.) */
static bool
all_known(const struct request *req, const int64_t *ids, size_t n)
{
	struct store *s = req->engine->store;

	for (size_t i = 0; i < n; i++)
		if (s->ops->find(s, (uint64_t)ids[i]) == NULL &&
		    !was_asked(req->load, (uint64_t)ids[i]))
			return false;
	return true;
}

static int
want_rows(struct load *l, const int64_t *ids, size_t n)
{
	struct store *s = store_of(l);

	for (size_t i = 0; i < n; i++) {
		uint64_t id = (uint64_t)ids[i];
		struct row *row = s->ops->find(s, id);

		if (row != NULL) {
			if (hold(l, row) < 0) /* or it might go while others are read */
				return -1;
			continue;
		}
		if (was_asked(l, id))
			continue;
		if (grow(&l->ids, l->nids, &l->ids_cap, sizeof *l->ids) < 0)
			return -1;
		l->ids[l->nids++] = id;
	}
	return 0;
}

static bool
load_ids(struct request *req, const int64_t *ids, size_t n, bool live)
{
	struct load *l;

	if (!req->engine->store->durable || all_known(req, ids, n))
		return true;
	l = load_of(req);
	if (l == NULL)
		return no_memory_for(req);
	l->live = live;
	if (want_rows(l, ids, n) < 0)
		return out_of_memory(l);
	return go_on(l);
}

bool
load_rows(struct request *req, const int64_t *ids, size_t n)
{
	return load_ids(req, ids, n, false);
}

/* (Those whose rows are in memory, though they are shelved, are few: whoever needs them takes
 * them down one by one.) */
bool
load_jobs(struct request *req, const int64_t *ids, size_t n)
{
	return load_ids(req, ids, n, true);
}

bool
load_oldest(struct request *req, int64_t *oldest)
{
	struct load *l = load_of(req);

	if (l == NULL)
		return no_memory_for(req);
	if (l->oldest == 0) {
		l->wants_oldest = true;
		if (!go_on(l))
			return false;
	}
	*oldest = (int64_t)l->oldest;
	return true;
}

bool
load_page(struct request *req, const struct store_read *what, const struct store_read **answer)
{
	struct load *l = load_of(req);

	if (l == NULL)
		return no_memory_for(req);
	if (l->page_state == PAGE_NONE) {
		l->page = *what;
		l->page_state = PAGE_WANTED;
	}
	if (l->page_state == PAGE_WANTED && !go_on(l))
		return false;
	*answer = &l->page;
	return true;
}

/* ---- keys ---- */

static struct load_key *
find_key(const struct load *l, const char *key)
{
	struct load_key what = { .key = (char *)(uintptr_t)key };

	if (l == NULL || l->keys_asked == 0)
		return NULL;
	return bsearch(&what, l->keys, l->keys_asked, sizeof what, by_key);
}

static int
want_key(struct load *l, const char *key)
{
	struct load_key *k;

	if (grow(&l->keys, l->nkeys, &l->keys_cap, sizeof *l->keys) < 0)
		return -1;
	k = &l->keys[l->nkeys];
	*k = (struct load_key){ .key = strdup(key) };
	if (k->key == NULL)
		return -1;
	if (l->nkeys++ == 0)
		LIST_INSERT_HEAD(&l->req->engine->key_loads, l, looking);
	return 0;
}

bool
load_keys(struct request *req, const char *const *keys, size_t n)
{
	struct engine *e = req->engine;
	struct load *l = req->load;

	if (!e->store->durable)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (keys[i] == NULL || keys_find(&e->keys, req->session->uid, keys[i]) != NULL ||
		    find_key(l, keys[i]) != NULL)
			continue;
		if (l == NULL && (l = load_of(req)) == NULL)
			return no_memory_for(req);
		if (want_key(l, keys[i]) < 0)
			return out_of_memory(l);
	}
	return l == NULL || go_on(l);
}

struct row *
load_key(const struct request *req, const char *key)
{
	struct row *row = keys_find(&req->engine->keys, req->session->uid, key);
	const struct load_key *k;

	if (row != NULL || (k = find_key(req->load, key)) == NULL)
		return row;
	row = k->row != NULL && !k->row->gone ? k->row : k->made;
	return row != NULL && !row->gone ? row : NULL;
}

void
load_key_made(struct engine *e, struct row *row)
{
	const char *key = spec_at(row->spec, row->spec->key_off);
	struct load *l;

	LIST_FOREACH(l, &e->key_loads, looking) {
		if (l->req->session->uid != row->uid)
			continue;
		for (size_t i = 0; i < l->nkeys; i++)
			if (l->keys[i].made == NULL && strcmp(l->keys[i].key, key) == 0)
				l->keys[i].made = row_ref(row);
	}
}

/* ---- output ---- */

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
	if (grow(&l->outputs, l->noutputs, &l->outputs_cap, sizeof *l->outputs) < 0)
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
				return no_memory_for(req);
			if ((o = output_of(l, rows[k])) == NULL ||
			    want_output(o, i, rows[k]->run->out_start[i], want) < 0)
				return out_of_memory(l);
		}
	if (l == NULL)
		return true;
	l->out_at = 0;
	return go_on(l);
}

bool
load_output_at(struct request *req, struct row *row, int stream, int64_t off, size_t max)
{
	struct load *l = load_of(req);
	struct load_output *o;
	int i = stream - 1;

	if (l == NULL)
		return no_memory_for(req);
	if (off < row->run->out_start[i])
		off = row->run->out_start[i];
	o = output_of(l, row);
	if (o == NULL)
		return out_of_memory(l);
	if (!o->wanted[i] || o->asked[i] != off || !o->done[i]) {
		if (want_output(o, i, off, max) < 0)
			return out_of_memory(l);
		l->out_at = 0;
	}
	return go_on(l);
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

static void
forget_outputs(struct load *l)
{
	for (size_t i = 0; i < l->noutputs; i++) {
		row_unref(store_of(l), l->outputs[i].row);
		free(l->outputs[i].buf[0]);
		free(l->outputs[i].buf[1]);
	}
	l->noutputs = l->out_at = 0;
}

void
load_forget_outputs(struct request *req)
{
	if (req->load != NULL)
		forget_outputs(req->load);
}

/* ---- letting go ---- */

static void
empty(struct load *l)
{
	struct store *s = store_of(l);

	forget_outputs(l);
	for (size_t i = 0; i < l->njobs; i++)
		job_unref(l->jobs[i]);
	for (size_t i = 0; i < l->nrows; i++)
		row_unref(s, l->rows[i]);
	for (size_t i = 0; i < l->nkeys; i++) {
		row_unref(s, l->keys[i].row);
		row_unref(s, l->keys[i].made);
		free(l->keys[i].key);
	}
	if (l->nkeys > 0)
		LIST_REMOVE(l, looking);
	if (l->page_state == PAGE_READ)
		store_read_fini(s, &l->page);
	l->page_state = PAGE_NONE;
	l->njobs = l->nrows = l->nkeys = l->keys_asked = l->nids = l->nasked = l->bytes = 0;
	l->oldest = 0;
}

void
load_release(struct request *req)
{
	if (req->load != NULL)
		empty(req->load);
}

void
load_free(struct request *req)
{
	struct load *l = req->load;

	if (l == NULL)
		return;
	if (l->under_way)
		store_of(l)->ops->read_drop(store_of(l), &l->read);
	unstall(l);
	slot_loop_call_cancel(req->engine->loop, &l->again);
	empty(l);
	free(l->rows);
	free(l->jobs);
	free(l->ids);
	free(l->keys);
	free(l->key_texts);
	free(l->outputs);
	free(l);
	req->load = NULL;
}
