/* Reading what a request needs and is not in memory; see load.h. */
#include "engine/load.h"
#include "engine/load_inside.h"
#include "engine/shelf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_ROWS 128                        /* rows asked for at a time */
#define BYTES_MAX ((size_t)256 * 1024 * 1024) /* of specs that a request has in memory */

static void on_again(struct slot_call *call);

struct load *
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

int
load_grow(void *array, size_t n, size_t *cap, size_t size)
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
fail(struct request *req, enum rpc_error error, const char *why)
{
	if (req->ops != NULL && req->ops->drop != NULL)
		req->ops->drop(req, false);
	req->ops = NULL;
	request_error(req, error, "%s", why);
}

bool
load_no_memory(struct request *req)
{
	fail(req, RPC_INTERNAL_ERROR, "out of memory");
	return false;
}

/* ---- what comes ---- */

/* Counts a reference until the request lets go. */
static int
hold(struct load *l, struct row *row)
{
	if (load_grow(&l->rows, l->nrows, &l->rows_cap, sizeof(struct row *)) < 0)
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
	if (load_grow(&l->jobs, l->njobs, &l->jobs_cap, sizeof(struct job *)) < 0 ||
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
			l->oldest = load_store(l)->next_id;
		return 0;
	}
	l->nasked += r->nids;
	if (l->nasked == l->nids)
		qsort(l->ids, l->nids, sizeof *l->ids, by_id);
	return 0;
}

/* The answer is in l->read. False: the request was answered. */
static bool
take(struct load *l)
{
	struct store_read *r = &l->read;
	int rc = 0;

	if (r->error != 0) {
		store_read_fini(load_store(l), r);
		if (r->error == -ENOMEM)
			return load_no_memory(l->req);
		fail(l->req, RPC_INTERNAL_ERROR, "the journal can't be read there");
		return false;
	}
	switch (r->kind) {
	case STORE_READ_JOBS:
		rc = take_rows(l);
		break;
	case STORE_READ_KEYS:
		load_keys_take(l);
		break;
	case STORE_READ_PAGE:
		l->page = *r; /* its rows with it */
		l->page_state = PAGE_READ;
		r->rows = NULL;
		r->nrows = 0;
		break;
	case STORE_READ_OUTPUT:
		load_output_take(l);
		break;
	case STORE_READ_DONE: /* hub.c's */
		break;
	}
	store_read_fini(load_store(l), r);
	if (rc < 0)
		return load_no_memory(l->req);
	if (l->bytes > BYTES_MAX) {
		fail(l->req, RPC_LIMIT_EXCEEDED, "the jobs that this names are too large to be looked "
		    "at together: name fewer");
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
		if (load_keys_ask(l, r) < 0)
			return -1;
	} else if (l->page_state == PAGE_WANTED) {
		*r = l->page;
	} else if (!load_output_ask(l, r)) {
		return 0;
	}
	return 1;
}

static void on_read(struct store_read *r);

bool
load_go_on(struct load *l)
{
	struct store *s = load_store(l);
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
	return rc == 0 || load_no_memory(l->req);
}

static void
on_read(struct store_read *r)
{
	struct load *l = r->arg;

	l->under_way = false;
	if (take(l) && load_go_on(l))
		slot_loop_call_soon(l->req->engine->loop, &l->again);
}

void
load_yield(struct request *req)
{
	struct load *l = load_of(req);

	if (l == NULL) {
		load_no_memory(req);
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
	struct store *s = load_store(l);

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
		if (load_grow(&l->ids, l->nids, &l->ids_cap, sizeof *l->ids) < 0)
			return -1;
		l->ids[l->nids++] = id;
	}
	return 0;
}

static bool
load_ids(struct request *req, const int64_t *ids, size_t n, bool live)
{
	struct load *l;

	if (all_known(req, ids, n))
		return true;
	l = load_of(req);
	if (l == NULL)
		return load_no_memory(req);
	l->live = live;
	if (want_rows(l, ids, n) < 0)
		return load_no_memory(l->req);
	return load_go_on(l);
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
		return load_no_memory(req);
	if (l->oldest == 0) {
		l->wants_oldest = true;
		if (!load_go_on(l))
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
		return load_no_memory(req);
	if (l->page_state == PAGE_NONE) {
		l->page = *what;
		l->page_state = PAGE_WANTED;
	}
	if (l->page_state == PAGE_WANTED && !load_go_on(l))
		return false;
	*answer = &l->page;
	return true;
}

/* ---- letting go ---- */

static void
empty(struct load *l)
{
	struct store *s = load_store(l);

	load_output_empty(l);
	load_keys_empty(l);
	for (size_t i = 0; i < l->njobs; i++)
		job_unref(l->jobs[i]);
	for (size_t i = 0; i < l->nrows; i++)
		row_unref(s, l->rows[i]);
	if (l->page_state == PAGE_READ)
		store_read_fini(s, &l->page);
	l->page_state = PAGE_NONE;
	l->njobs = l->nrows = l->nids = l->nasked = l->bytes = 0;
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
		load_store(l)->ops->read_drop(load_store(l), &l->read);
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
