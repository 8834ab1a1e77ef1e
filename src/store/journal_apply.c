/*
 * What a batch does to the tables; see journal_apply.h. One function and one or two statements for
 * each kind of op: long, but one idea.
 */
#include "store/journal_apply.h"

#include "store/journal_record.h"

#include <stdlib.h>
#include <string.h>

/* (All of them, as they are in memory: the sum is over all.) */
#define LIVE_COLUMNS \
	"waits = ?3, uid = ?4, priority = ?5, slots = ?6, attempt = ?7, cost = ?8, queue = ?9," \
	" submitted_us = ?10, hold = ?11, started_us = ?12, launcher = ?13, due_boot_us = ?14," \
	" due_wall_us = ?15, session = ?16, sum = ?17"

static const char *const statements[APPLY_STATEMENTS] = {
	[APPLY_BEGIN] = "BEGIN IMMEDIATE",
	[APPLY_COMMIT] = "COMMIT",
	[APPLY_ROLLBACK] = "ROLLBACK",
	[APPLY_SPEC] = "INSERT INTO spec VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	[APPLY_LIVE] = "INSERT INTO live VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
	    " ?12, ?13, ?14, ?15, ?16, ?17)",
	[APPLY_START] = "UPDATE live SET phase = ?2, " LIVE_COLUMNS " WHERE job = ?1 AND phase = 0",
	[APPLY_REQUEUE] = "UPDATE live SET phase = ?2, " LIVE_COLUMNS
	    " WHERE job = ?1 AND phase = 1",
	[APPLY_SET] = "UPDATE live SET " LIVE_COLUMNS " WHERE job = ?1 AND phase = ?2",
	[APPLY_CANCEL] = "INSERT OR REPLACE INTO cancel VALUES (?1, ?2, ?3)",
	[APPLY_UNCANCEL] = "DELETE FROM cancel WHERE job = ?1",
	[APPLY_UNLIVE] = "DELETE FROM live WHERE job = ?1",
	[APPLY_DONE] = "INSERT INTO done VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
	    " ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)",
	[APPLY_SPEC_NAMES] = "SELECT s.uid, s.env, b.hash, s.data, s.checksum, s.sum"
	    " FROM spec s LEFT JOIN blob b ON b.id = s.env WHERE s.job = ?1",
	[APPLY_DROP_ENV] = "UPDATE spec SET env = 0, sum = ?2 WHERE job = ?1",
	[APPLY_UNDONE] = "DELETE FROM done WHERE seq = ?1 AND job = ?2",
	[APPLY_UNSPEC] = "DELETE FROM spec WHERE job = ?1",
	[APPLY_OUTPUT] = "INSERT OR REPLACE INTO output VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[APPLY_OUTPUT_FILES] = "SELECT id, start, end, file, room, bytes, sum FROM output"
	    " WHERE id BETWEEN ?1 AND ?1 + 1 AND file IS NOT NULL",
	[APPLY_UNOUTPUT] = "DELETE FROM output WHERE id BETWEEN ?1 AND ?1 + 1",
	[APPLY_TRASH] = "INSERT OR IGNORE INTO trash VALUES (?1, ?2)",
	[APPLY_EMPTY_TRASH] = "DELETE FROM trash",
	[APPLY_SETTING] = "INSERT OR REPLACE INTO setting VALUES (?1, ?2, ?3)",
	[APPLY_UNSETTING] = "DELETE FROM setting WHERE name = ?1",
	[APPLY_QUEUE] = "INSERT OR REPLACE INTO queue VALUES (?1, ?2, ?3, ?4)",
	[APPLY_UNQUEUE] = "DELETE FROM queue WHERE name = ?1",
};

int
apply_init(struct apply *a, sqlite3 *db, bool drop_env)
{
	int rc = SQLITE_OK;

	memset(a, 0, sizeof *a);
	a->db = db;
	a->drop_env = drop_env;
	for (int i = 0; rc == SQLITE_OK && i < APPLY_STATEMENTS; i++)
		rc = sqlite3_prepare_v3(db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
		    &a->st[i], NULL);
	if (rc == SQLITE_OK)
		rc = blobs_init(&a->blobs, db);
	return rc == SQLITE_OK ? sums_init(&a->sums, db) : rc;
}

void
apply_files_free(struct apply *a)
{
	for (size_t i = 0; i < a->nfiles; i++)
		free(a->files[i]);
	free(a->files);
	a->files = NULL;
	a->nfiles = a->files_cap = 0;
}

void
apply_fini(struct apply *a)
{
	blobs_fini(&a->blobs);
	sums_fini(&a->sums);
	for (int i = 0; i < APPLY_STATEMENTS; i++)
		sqlite3_finalize(a->st[i]);
	apply_files_free(a);
	memset(a, 0, sizeof *a);
}

/* ---- binding ---- */

static sqlite3_stmt *
use(struct apply *a, enum apply_statement which, uint64_t first)
{
	sqlite3_bind_int64(a->st[which], 1, (sqlite3_int64)first);
	return a->st[which];
}

static void
bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (text != NULL)
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

static int
run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Runs what has to change one row, or the journal is not what we take it for. */
static int
run_one(struct apply *a, sqlite3_stmt *st, const char *what)
{
	int rc = run(st);

	if (rc != SQLITE_OK || sqlite3_changes(a->db) == 1)
		return rc;
	a->disagrees = what;
	return SQLITE_CONSTRAINT;
}

/* ---- changes of rows ---- */

/* The record, without the data where that is kept apart. */
static int
bind_spec_bytes(sqlite3_stmt *st, int at, const struct spec *s, bool apart)
{
	size_t behind = s->data_off + s->data_len;
	char *cut;

	if (!apart)
		return sqlite3_bind_blob(st, at, s, (int)s->size, SQLITE_STATIC);
	cut = sqlite3_malloc64(s->size - s->data_len);
	if (cut == NULL)
		return SQLITE_NOMEM;
	memcpy(cut, s, s->data_off);
	memcpy(cut + s->data_off, (const char *)s + behind, s->size - behind);
	return sqlite3_bind_blob(st, at, cut, (int)(s->size - s->data_len), sqlite3_free);
}

static int
put_spec(struct apply *a, const struct op_row *op)
{
	const struct spec *s = op->spec;
	bool apart = s->data_off != 0 && s->data_len > RECORD_DATA_APART;
	sqlite3_stmt *st = use(a, APPLY_SPEC, op->id);
	char command[RECORD_COMMAND_MAX + 1];
	uint64_t sum = record_sum(s, s->size), env_hash = 0;
	int64_t env = RECORD_NO_ENV, data = 0;
	int rc = SQLITE_OK;

	if (op->env != NULL)
		rc = blobs_ref(&a->blobs, op->env->bytes, op->env->len, &env, &env_hash);
	if (rc == SQLITE_OK && apart)
		rc = blobs_ref(&a->blobs, spec_at(s, s->data_off), s->data_len, &data, NULL);
	if (rc != SQLITE_OK)
		return rc;
	record_command(s, command);
	sqlite3_bind_int64(st, 2, op->uid);
	if (env != RECORD_NO_ENV)
		sqlite3_bind_int64(st, 3, env);
	else
		sqlite3_bind_null(st, 3);
	if (data != 0)
		sqlite3_bind_int64(st, 4, data);
	else
		sqlite3_bind_null(st, 4);
	bind_text(st, 5, spec_at(s, s->key_off));
	bind_text(st, 6, spec_at(s, s->name_off));
	if (s->tag_off != 0)
		sqlite3_bind_text(st, 7, spec_at(s, s->tag_off), (int)s->tag_len, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, 7);
	bind_text(st, 8, command);
	sqlite3_bind_int64(st, 9, (sqlite3_int64)sum);
	rc = bind_spec_bytes(st, 10, s, apart);
	sqlite3_bind_int64(st, 11, record_spec_sum(op->id, op->uid, env, env_hash, data, sum));
	if (rc == SQLITE_OK)
		rc = run(st);
	sqlite3_clear_bindings(st); /* (what is bound is about to go) */
	return rc;
}

/* The row as it is in memory, in the phase that it has from here on. */
static sqlite3_stmt *
live_row(struct apply *a, enum apply_statement which, const struct op_row *op,
    enum row_phase phase)
{
	static const uint8_t none[ROW_SESSION_LEN];
	bool runs = phase == ROW_RUNNING;
	struct record r;

	record_begin(&r, a->st[which]);
	record_int(&r, (int64_t)op->id);
	record_int(&r, phase);
	record_int(&r, op->waits);
	record_int(&r, op->uid);
	record_int(&r, op->priority);
	record_int(&r, op->spec->slots);
	record_int(&r, op->attempt);
	record_int(&r, op->cost);
	record_text(&r, op->queue);
	record_int(&r, op->submitted_us);
	record_int(&r, op->hold);
	record_int_but_0(&r, runs ? op->run.started_us : 0);
	record_int_but_0(&r, runs ? (int64_t)op->launcher : 0);
	record_int_but_0(&r, op->due_boot_us);
	record_int_but_0(&r, op->due_wall_us);
	record_blob(&r, memcmp(op->session, none, sizeof none) != 0 ? op->session : NULL,
	    sizeof op->session);
	record_finish(&r);
	return r.st;
}

static int
submit(struct apply *a, const struct op_row *op)
{
	int rc = put_spec(a, op);

	return rc == SQLITE_OK ? run(live_row(a, APPLY_LIVE, op, ROW_PENDING)) : rc;
}

static int
start(struct apply *a, const struct op_row *op)
{
	return run_one(a, live_row(a, APPLY_START, op, ROW_RUNNING),
	    "a job that starts is not pending");
}

static int
requeue(struct apply *a, const struct op_row *op)
{
	return run_one(a, live_row(a, APPLY_REQUEUE, op, ROW_PENDING),
	    "a job that is retried is not running");
}

static int
set(struct apply *a, const struct op_row *op)
{
	return run_one(a, live_row(a, APPLY_SET, op, ROW_PENDING),
	    "a job that is changed is not pending");
}

static int
cancel(struct apply *a, const struct op_row *op)
{
	struct record r;

	record_begin(&r, a->st[APPLY_CANCEL]);
	record_int(&r, (int64_t)op->id);
	record_int(&r, op->cancel);
	record_finish(&r);
	return run(r.st);
}

/* What a row of spec names. */
struct names {
	bool there, whole;
	int64_t env, data;
};

static int
read_names(struct apply *a, uint64_t id, struct names *n)
{
	sqlite3_stmt *st = use(a, APPLY_SPEC_NAMES, id);
	int rc = sqlite3_step(st);

	memset(n, 0, sizeof *n);
	if (rc == SQLITE_ROW) {
		n->there = true;
		n->env = sqlite3_column_type(st, 1) != SQLITE_NULL ?
		    sqlite3_column_int64(st, 1) : RECORD_NO_ENV;
		n->data = sqlite3_column_int64(st, 3);
		n->whole = record_spec_sum(id, (uint32_t)sqlite3_column_int64(st, 0), n->env,
		    (uint64_t)sqlite3_column_int64(st, 2), n->data,
		    (uint64_t)sqlite3_column_int64(st, 4)) == sqlite3_column_int64(st, 5);
	}
	sqlite3_reset(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int
drop_env(struct apply *a, const struct op_row *op)
{
	sqlite3_stmt *st = use(a, APPLY_DROP_ENV, op->id);
	struct names n;
	int rc = read_names(a, op->id, &n);

	if (rc != SQLITE_OK || !n.there || !n.whole || n.env <= 0)
		return rc;
	rc = blobs_unref(&a->blobs, n.env);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(st, 2, record_spec_sum(op->id, op->uid, 0, 0, n.data,
	    record_sum(op->spec, op->spec->size)));
	return run(st);
}

static int
done(struct apply *a, const struct op_row *op)
{
	const struct row_run *run_of = &op->run;
	int rc = run_one(a, use(a, APPLY_UNLIVE, op->id), "a job that ends is not live");
	struct record r;

	if (rc != SQLITE_OK)
		return rc;
	record_begin(&r, a->st[APPLY_DONE]);
	record_int(&r, (int64_t)run_of->seq);
	record_int(&r, (int64_t)op->id);
	record_int(&r, op->uid);
	record_int(&r, run_of->outcome);
	record_int(&r, run_of->ok);
	if (run_of->exit_code >= 0)
		record_int(&r, run_of->exit_code);
	else
		record_int_but_0(&r, 0);
	record_int_but_0(&r, run_of->signal);
	record_int(&r, run_of->reason);
	record_int(&r, run_of->error);
	record_int(&r, run_of->step);
	record_int(&r, (run_of->usage_known ? RECORD_USAGE_KNOWN : 0) |
	    (run_of->truncated ? RECORD_TRUNCATED : 0));
	record_int(&r, op->attempt);
	record_int(&r, op->priority);
	record_int(&r, op->spec->slots);
	record_text(&r, op->queue);
	record_int(&r, op->submitted_us);
	record_int(&r, run_of->started_us);
	record_int(&r, run_of->finished_us);
	record_int(&r, run_of->user_us);
	record_int(&r, run_of->system_us);
	record_int(&r, run_of->max_rss_kib);
	record_int(&r, run_of->out_bytes[0]);
	record_int(&r, run_of->out_bytes[1]);
	record_int(&r, run_of->out_start[0]);
	record_int(&r, run_of->out_start[1]);
	record_int(&r, run_of->kept_bytes);
	record_finish(&r);
	rc = run(r.st);
	if (rc == SQLITE_OK && op->cancel != 0)
		rc = run(use(a, APPLY_UNCANCEL, op->id));
	if (rc == SQLITE_OK && a->drop_env)
		rc = drop_env(a, op);
	if (run_of->seq > a->sums.now.last_seq)
		a->sums.now.last_seq = run_of->seq;
	return rc == SQLITE_OK ? sums_add(&a->sums, op->uid, 1, run_of->kept_bytes, 0) : rc;
}

/* ---- output ---- */

static int
output(struct apply *a, const struct op_output *op)
{
	struct record r;
	int rc;

	record_begin(&r, a->st[APPLY_OUTPUT]);
	record_int(&r, (int64_t)(op->id * 2 + (unsigned)op->stream - 1));
	record_int(&r, op->start);
	record_int(&r, op->end);
	record_text(&r, op->in_file ? op->bytes : NULL);
	record_int(&r, op->room);
	record_blob(&r, op->in_file ? NULL : op->bytes, op->len);
	record_finish(&r);
	rc = run(r.st);
	sqlite3_clear_bindings(r.st);
	return rc;
}

static int
trash(struct apply *a, const char *file)
{
	char *copy = strdup(file);
	struct record r;

	if (a->nfiles == a->files_cap && copy != NULL) {
		size_t cap = a->files_cap != 0 ? a->files_cap * 2 : 16;
		char **files = realloc(a->files, cap * sizeof(char *));

		if (files == NULL) {
			free(copy);
			return SQLITE_NOMEM;
		}
		a->files = files;
		a->files_cap = cap;
	}
	if (copy == NULL)
		return SQLITE_NOMEM;
	a->files[a->nfiles++] = copy;
	record_begin(&r, a->st[APPLY_TRASH]);
	record_text(&r, copy);
	record_finish(&r);
	return run(r.st);
}

static int
drop_output(struct apply *a, uint64_t id)
{
	sqlite3_stmt *st = use(a, APPLY_OUTPUT_FILES, id * 2);
	int rc, err = SQLITE_OK;

	while (err == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		if (record_whole(st, 0, RECORD_OUTPUT_NCOLUMNS)) /* else it may be another's file */
			err = trash(a, (const char *)sqlite3_column_text(st, 3));
	sqlite3_reset(st);
	if (err != SQLITE_OK)
		return err;
	return rc == SQLITE_DONE ? run(use(a, APPLY_UNOUTPUT, id * 2)) : rc;
}

/* ---- leaving history ---- */

static int
forget(struct apply *a, const struct op_forget *op)
{
	struct names n;
	sqlite3_stmt *st;
	int rc = read_names(a, op->id, &n);

	if (rc == SQLITE_OK && n.whole) /* else its blobs stay, for they may be another's */
		rc = blobs_unref(&a->blobs, n.env);
	if (rc == SQLITE_OK && n.whole)
		rc = blobs_unref(&a->blobs, n.data);
	if (rc == SQLITE_OK)
		rc = run(use(a, APPLY_UNSPEC, op->id));
	if (rc == SQLITE_OK)
		rc = drop_output(a, op->id);
	if (rc != SQLITE_OK)
		return rc;
	st = use(a, APPLY_UNDONE, op->seq);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)op->id);
	rc = run(st);
	if (rc != SQLITE_OK)
		return rc;
	a->sums.due = true;
	return sums_add(&a->sums, op->uid, op->counted ? -1 : 0, op->counted ? -op->kept_bytes : 0,
	    op->pruned_seq);
}

/* ---- settings ---- */

static int
setting(struct apply *a, const struct op_setting *op, enum apply_statement put,
    enum apply_statement drop)
{
	struct record r;

	if (op->value == STORE_NO_SETTING) { /* (and STORE_NO_QUEUE) */
		bind_text(a->st[drop], 1, op->name);
		return run(a->st[drop]);
	}
	record_begin(&r, a->st[put]);
	record_text(&r, op->name);
	record_int(&r, op->value);
	if (op->op.kind == OP_QUEUE)
		record_int(&r, op->paused);
	record_finish(&r);
	return run(r.st);
}

/* ---- the transaction ---- */

static int
apply_op(struct apply *a, const struct op *op)
{
	const void *o = op;

	switch (op->kind) {
	case OP_SUBMIT:
		return submit(a, o);
	case OP_START:
		return start(a, o);
	case OP_REQUEUE:
		return requeue(a, o);
	case OP_SET:
		return set(a, o);
	case OP_CANCEL:
		return cancel(a, o);
	case OP_DONE:
		return done(a, o);
	case OP_FORGET:
		return forget(a, o);
	case OP_PASS: {
		const struct op_forget *f = o;

		a->sums.due = true;
		return sums_add(&a->sums, f->uid, -1, -f->kept_bytes, f->pruned_seq);
	}
	case OP_OUTPUT:
		return output(a, o);
	case OP_SETTING:
		return setting(a, o, APPLY_SETTING, APPLY_UNSETTING);
	case OP_QUEUE:
		return setting(a, o, APPLY_QUEUE, APPLY_UNQUEUE);
	}
	return SQLITE_MISUSE;
}

int
apply_begin(struct apply *a)
{
	int rc = run(a->st[APPLY_BEGIN]);

	a->disagrees = NULL;
	sums_begin(&a->sums);
	if (rc == SQLITE_OK && a->trash_is_unlinked)
		rc = run(a->st[APPLY_EMPTY_TRASH]);
	return rc;
}

int
apply_batch(struct apply *a, const struct jbatch *b)
{
	int rc = SQLITE_OK;

	for (const struct op *op = jbatch_next_op(b, NULL); op != NULL && rc == SQLITE_OK;
	    op = jbatch_next_op(b, op))
		rc = apply_op(a, op);
	if (b->next_id > a->sums.now.next_id)
		a->sums.now.next_id = b->next_id;
	if (a->sums.disagrees != NULL)
		a->disagrees = a->sums.disagrees;
	return rc;
}

int
apply_finish(struct apply *a)
{
	int rc = blobs_flush(&a->blobs);

	if (rc == SQLITE_OK)
		rc = sums_finish(&a->sums);
	if (a->sums.disagrees != NULL)
		a->disagrees = a->sums.disagrees;
	return rc;
}

int
apply_commit(struct apply *a)
{
	int rc = run(a->st[APPLY_COMMIT]);

	if (rc == SQLITE_OK)
		a->trash_is_unlinked = false;
	return rc;
}

void
apply_rollback(struct apply *a)
{
	if (!sqlite3_get_autocommit(a->db))
		run(a->st[APPLY_ROLLBACK]);
	blobs_reset(&a->blobs);
	sums_reset(&a->sums);
	apply_files_free(a);
}
