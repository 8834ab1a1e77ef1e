/* Reads: answered from memory where that is all there is to know, else by the reader thread. */
#include "store/journal_internal.h"

#include "core/logger.h"
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- answered at once ---- */

/* In memory, and what is there may be shown. */
static struct row *
in_memory(struct journal *j, struct row *row)
{
	if (row == NULL || row->gone || (j->store.stuck && row->uncommitted > 0))
		return NULL;
	return row;
}

/* Takes what is in memory; true: that is all. */
static bool
jobs_in_memory(struct journal *j, struct store_read *r)
{
	size_t n = r->kind == STORE_READ_JOBS ? r->nids : r->nkeys;
	bool all = true;

	if (read_reserve(r, n) < 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		struct row *row = in_memory(j, r->kind == STORE_READ_JOBS ?
		    idtab_get(&j->by_id, r->ids[i]) :
		    keytab_find(&j->keys, r->filter.uid, r->keys[i]));

		r->rows[i] = row != NULL ? row_ref(row) : NULL;
		all = all && row != NULL;
	}
	return all;
}

static bool
done_in_memory(struct journal *j, struct store_read *r)
{
	const struct recent *recent = &j->recent;
	size_t bytes = 0;

	if (r->from < recent->from)
		return false;
	for (uint64_t seq = r->from; seq <= j->told_seq; seq++) {
		struct row *row = recent->rows[seq % RECENT_ROWS];

		if (row == NULL || row->run->seq != seq || row->gone)
			continue;
		if (r->nrows == r->limit || (r->limit_bytes != 0 && bytes >= r->limit_bytes)) {
			r->next = seq;
			break;
		}
		if (!read_passes(&r->filter, row))
			continue;
		if (read_push(r, row) < 0)
			break;
		row_ref(row);
		bytes += read_row_bytes(row);
	}
	return true;
}

/* ---- on their way ---- */

void
reads_send(struct journal *j, struct jread *jr)
{
	if (!j->reading && jreader_start(j->reader) == 0)
		j->reading = true;
	if (j->reading && !j->failed) {
		j->reads_sent++;
		jreader_put(j->reader, jr);
		return;
	}
	/* No thread: then here, which is better than not at all. */
	if (!j->failed)
		fetch_run(jreader_fetch(j->reader), jr);
	else
		jr->error = -EIO;
	j->reads_sent++;
	jr->next = NULL;
	for (struct jread **at = &j->answered;; at = &(*at)->next)
		if (*at == NULL) {
			*at = jr;
			break;
		}
	slot_loop_call_soon(j->loop, &j->pump);
}

/* The batch after whose commit it may begin; 0: at once. */
static uint64_t
waits_for(const struct journal *j, const struct store_read *r)
{
	if (j->store.stuck || j->failed)
		return 0;
	/* (Ids on their way out would still count as the oldest.) */
	if (r->kind != STORE_READ_PAGE &&
	    (r->kind != STORE_READ_JOBS || j->vanishing.count == 0))
		return 0;
	if (j->open != NULL)
		return j->open->number;
	return j->in_flight > 0 ? j->last_put : 0;
}

static void
wait(struct journal *j, struct jread *jr)
{
	struct jread **at = &j->waiting;

	while (*at != NULL)
		at = &(*at)->next;
	jr->next = NULL;
	*at = jr;
}

/* Leaves only the ids whose rows aren't there. */
static void
ask_for_missing(struct jread *jr, const struct store_read *r)
{
	size_t n = 0;

	if (r->kind == STORE_READ_JOBS) {
		for (size_t i = 0; i < r->nids; i++)
			if (r->rows[i] == NULL)
				jr->ids[n++] = r->ids[i];
		jr->nids = n;
		return;
	}
	for (size_t i = 0; r->kind == STORE_READ_KEYS && i < r->nkeys; i++)
		if (r->rows[i] == NULL) {
			char *key = jr->keys[i];

			jr->keys[i] = jr->keys[n];
			jr->keys[n++] = key;
		}
}

bool
reads_start(struct store *s, struct store_read *r)
{
	struct journal *j = journal_of(s);
	struct jread *jr;

	read_begin(r);
	switch (r->kind) {
	case STORE_READ_JOBS:
	case STORE_READ_KEYS:
		if (jobs_in_memory(j, r))
			return true;
		break;
	case STORE_READ_DONE:
		if (done_in_memory(j, r))
			return true;
		break;
	case STORE_READ_PAGE:
	case STORE_READ_OUTPUT:
		break;
	}
	jr = jread_new(r);
	if (jr == NULL) {
		store_read_fini(s, r);
		r->error = -ENOMEM;
		return true;
	}
	ask_for_missing(jr, r);
	jr->r = r;
	r->inside = jr;
	jr->after = waits_for(j, r);
	if (jr->after != 0)
		wait(j, jr);
	else
		reads_send(j, jr);
	return false;
}

void
reads_drop(struct store *s, struct store_read *r)
{
	struct journal *j = journal_of(s);
	struct jread *jr = r->inside;

	store_read_fini(s, r);
	if (jr == NULL)
		return;
	r->inside = NULL;
	jr->r = NULL;
	atomic_store(&jr->unwanted, true);
	for (struct jread **at = &j->waiting; *at != NULL; at = &(*at)->next)
		if (*at == jr) {
			*at = jr->next;
			jread_free(jr);
			return;
		}
}

/* ---- answers ---- */

static void
finish_jobs(struct journal *j, struct jread *jr, struct store_read *r)
{
	size_t k = 0;
	bool all = true;

	for (size_t i = 0; i < r->nrows; i++) {
		if (r->rows[i] != NULL && r->rows[i]->gone) {
			row_unref(&j->store, r->rows[i]);
			r->rows[i] = NULL;
		} else if (r->rows[i] == NULL && k < jr->nfound) {
			r->rows[i] = rows_take(j, jr, &jr->found[k++], &r->error);
		}
		all = all && r->rows[i] != NULL;
	}
	if (!all && r->kind == STORE_READ_JOBS)
		r->oldest_job = jr->oldest_job != 0 ? jr->oldest_job : j->store.next_id;
}

/* A key's row by key, in memory first: it may have been submitted meanwhile. */
static void
finish_keys(struct journal *j, struct jread *jr, struct store_read *r)
{
	for (size_t i = 0; i < r->nrows; i++) {
		struct row *row = keytab_find(&j->keys, r->filter.uid, r->keys[i]);

		if (r->rows[i] == NULL && in_memory(j, row) != NULL)
			r->rows[i] = row_ref(row);
	}
	for (size_t i = 0; i < jr->nfound; i++) {
		struct row *row = rows_take(j, jr, &jr->found[i], &r->error);
		const char *key = row != NULL ? spec_at(row->spec, row->spec->key_off) : NULL;

		for (size_t k = 0; key != NULL && k < r->nrows; k++)
			if (r->rows[k] == NULL && strcmp(r->keys[k], key) == 0)
				r->rows[k] = row_ref(row);
		row_unref(&j->store, row);
	}
}

static void
finish_page(struct journal *j, struct jread *jr, struct store_read *r)
{
	r->next = jr->next_place;
	for (size_t i = 0; i < jr->nfound && r->error == 0; i++) {
		int error = 0;
		struct row *row = rows_take(j, jr, &jr->found[i], &error);

		if (error == -ENOMEM)
			r->error = error; /* (a damaged one is left out) */
		if (row == NULL)
			continue;
		if (r->kind == STORE_READ_DONE && row->run->seq > j->told_seq) {
			row_unref(&j->store, row); /* its turn comes with its commit */
			r->next = 0;
			break;
		}
		/* What is in memory may have moved on. */
		if (!read_passes(&r->filter, row) || read_push(r, row) < 0)
			row_unref(&j->store, row);
	}
}

static void
finish(struct journal *j, struct jread *jr)
{
	struct store_read *r = jr->r;

	r->inside = NULL;
	r->error = jr->error;
	switch (jr->kind) {
	case JREAD_JOBS:
		finish_jobs(j, jr, r);
		break;
	case JREAD_KEYS:
		finish_keys(j, jr, r);
		break;
	case JREAD_PAGE:
	case JREAD_DONE:
		finish_page(j, jr, r);
		break;
	case JREAD_OUTPUT:
		r->off = jr->off;
		r->nread = jr->nread;
		if (jr->nread > 0)
			memcpy(r->buf, jr->buf, (size_t)jr->nread);
		break;
	case JREAD_OLD:
		break;
	}
}

void
reads_arrived(struct journal *j)
{
	struct jread *jr = jreader_take(j->reader), **at = &j->answered;

	while (*at != NULL)
		at = &(*at)->next;
	*at = jr;
	while ((jr = j->answered) != NULL) {
		struct store_read *r = jr->r;

		j->answered = jr->next;
		j->reads_back++;
		if (jr->damage[0] != '\0')
			slot_log(j->logger, SLOT_LOG_ERROR, "the journal is damaged: %s "
			    "(slotd --check-state tells more)", jr->damage);
		if (jr->failed[0] != '\0')
			journal_fail(j, jr->failed);
		if (jr->kind == JREAD_OLD)
			history_read(j, jr);
		else if (r != NULL)
			finish(j, jr);
		jread_free(jr);
		rows_release_held(j);
		if (r != NULL)
			r->done(r);
	}
}

/* ---- those that wait ---- */

void
reads_batch_back(struct journal *j, uint64_t number)
{
	struct jread **at = &j->waiting, *jr;

	while ((jr = *at) != NULL)
		if (jr->after == number) {
			*at = jr->next;
			reads_send(j, jr);
		} else {
			at = &jr->next;
		}
}

void
reads_unblock(struct journal *j)
{
	struct jread *jr;

	while ((jr = j->waiting) != NULL) {
		j->waiting = jr->next;
		reads_send(j, jr);
	}
}

void
reads_fini(struct journal *j)
{
	struct jread *lists[] = { jreader_free(j->reader), j->waiting, j->answered };

	for (size_t i = 0; i < 3; i++)
		for (struct jread *jr = lists[i], *next; jr != NULL; jr = next) {
			next = jr->next;
			if (jr->r != NULL) {
				jr->r->inside = NULL;
				store_read_fini(&j->store, jr->r);
			}
			jread_free(jr);
		}
	j->waiting = j->answered = NULL;
}
