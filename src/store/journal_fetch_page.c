/* Walks: pages in id order, done jobs in seq order, and those to be pruned; see journal_fetch.h. */
#include "store/journal_fetch.h"

#include "store/journal_record.h"
#include "store/read.h"

#include <stdlib.h>
#include <string.h>

struct cursor { /* a walk over live or done; at its end st is NULL */
	sqlite3_stmt *st;
	uint64_t id;
};

static void
cursor_step(struct fetch *f, struct jread *jr, struct cursor *c)
{
	int rc = sqlite3_step(c->st);

	if (rc == SQLITE_ROW) {
		c->id = (uint64_t)sqlite3_column_int64(c->st, 0);
		return;
	}
	fetch_trouble(f, jr, rc);
	sqlite3_reset(c->st);
	c->st = NULL;
}

static void
cursor_open(struct fetch *f, struct jread *jr, struct cursor *c, enum fetch_statement which)
{
	c->st = f->st[which];
	/* (An id above the signed range means "from the end".) */
	sqlite3_bind_int64(c->st, 1, jr->from > INT64_MAX ? INT64_MAX : (int64_t)jr->from);
	cursor_step(f, jr, c);
}

static void
cursor_close(struct cursor *c)
{
	if (c->st != NULL)
		sqlite3_reset(c->st);
}

static bool
has_name(struct fetch *f, struct jread *jr, uint64_t id)
{
	sqlite3_stmt *st = f->st[FETCH_NAME];
	int rc;

	sqlite3_bind_int64(st, 1, (sqlite3_int64)id);
	sqlite3_bind_text(st, 2, jr->filter.name, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	fetch_trouble(f, jr, rc);
	return rc == SQLITE_ROW;
}

/* Of the columns of the SCAN statements. */
static bool
passes(struct fetch *f, struct jread *jr, const struct cursor *c)
{
	const struct store_filter *want = &jr->filter;
	int phase = sqlite3_column_int(c->st, 1);

	if (want->phase >= 0 && phase != want->phase)
		return false;
	if (want->by_uid && (uint32_t)sqlite3_column_int64(c->st, 2) != want->uid)
		return false;
	if (want->ok >= 0 && (phase != ROW_DONE || sqlite3_column_int(c->st, 5) != want->ok))
		return false;
	if (sqlite3_column_int64(c->st, 4) < want->since_us)
		return false;
	if (want->queue != NULL) {
		const char *queue = (const char *)sqlite3_column_text(c->st, 3);

		if (queue == NULL || strcmp(queue, want->queue) != 0)
			return false;
	}
	return want->name == NULL || has_name(f, jr, c->id);
}

/* Takes in the job at a cursor where it passes. False: the page ends before it. */
static bool
take(struct fetch *f, struct jread *jr, const struct cursor *c, size_t *scanned)
{
	if (jr->nfound >= jr->limit || (*scanned)++ >= READ_SCAN_MAX ||
	    (jr->limit_bytes != 0 && jr->bytes >= jr->limit_bytes))
		return false;
	if (passes(f, jr, c) && jr->error == 0)
		fetch_job(f, jr, c->id);
	return true;
}

void
fetch_page(struct fetch *f, struct jread *jr)
{
	bool down = jr->backward, want_live = jr->filter.phase != ROW_DONE && jr->filter.ok < 0;
	bool want_done = jr->filter.phase < 0 || jr->filter.phase == ROW_DONE;
	struct cursor live = { 0 }, done = { 0 };
	size_t scanned = 0;

	if (want_live && jr->filter.phase == ROW_RUNNING)
		cursor_open(f, jr, &live, down ? FETCH_RUNNING_DOWN : FETCH_RUNNING_UP);
	else if (want_live)
		cursor_open(f, jr, &live, down ? FETCH_LIVE_DOWN : FETCH_LIVE_UP);
	if (want_done)
		cursor_open(f, jr, &done, down ? FETCH_DONE_DOWN : FETCH_DONE_UP);
	while (jr->error == 0 && (live.st != NULL || done.st != NULL)) {
		struct cursor *c = live.st == NULL ? &done : done.st == NULL ? &live :
		    (live.id < done.id) != down ? &live : &done;

		if (!take(f, jr, c, &scanned)) {
			jr->next_place = c->id;
			break;
		}
		cursor_step(f, jr, c);
	}
	cursor_close(&live);
	cursor_close(&done);
}

void
fetch_done(struct fetch *f, struct jread *jr)
{
	enum fetch_statement which = jr->filter.by_uid ? FETCH_SEQ_OF : FETCH_SEQ;
	struct cursor c = { 0 };
	size_t scanned = 0;

	if (jr->filter.by_uid)
		sqlite3_bind_int64(f->st[which], 2, jr->filter.uid);
	cursor_open(f, jr, &c, which);
	while (jr->error == 0 && c.st != NULL) {
		if (!take(f, jr, &c, &scanned)) {
			jr->next_place = (uint64_t)sqlite3_column_int64(c.st, 6);
			break;
		}
		cursor_step(f, jr, &c);
	}
	cursor_close(&c);
}

/* ---- what is to be pruned ---- */

void
fetch_old(struct fetch *f, struct jread *jr)
{
	sqlite3_stmt *st = f->st[FETCH_OLD];
	int rc;

	jr->old = malloc(jr->limit * sizeof *jr->old);
	if (jr->old == NULL) {
		fetch_no_memory(jr);
		return;
	}
	sqlite3_bind_int64(st, 1, (sqlite3_int64)jr->from);
	sqlite3_bind_int64(st, 2, jr->filter.uid);
	sqlite3_bind_int64(st, 3, (sqlite3_int64)jr->limit);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		jr->old[jr->nold++] = (struct old_job){
			.seq = (uint64_t)sqlite3_column_int64(st, RECORD_DONE_SEQ),
			.id = (uint64_t)sqlite3_column_int64(st, RECORD_DONE_JOB),
			.finished_us = sqlite3_column_int64(st, RECORD_DONE_FINISHED),
			.kept_bytes = sqlite3_column_int64(st, RECORD_DONE_KEPT),
			.damaged = !record_whole(st, 0, RECORD_DONE_NCOLUMNS),
		};
	}
	sqlite3_reset(st);
	fetch_trouble(f, jr, rc);
}
