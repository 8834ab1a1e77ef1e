/*
 * What a batch does to the tables; see journal_apply.h. One function and one or two statements for
 * each kind of op: long, but one idea.
 */
#include "store/journal_apply.h"

#include "store/journal_record.h"

#include <stdlib.h>
#include <string.h>

static const char *const statements[APPLY_STATEMENTS] = {
	[APPLY_BEGIN] = "BEGIN IMMEDIATE",
	[APPLY_COMMIT] = "COMMIT",
	[APPLY_ROLLBACK] = "ROLLBACK",
	[APPLY_SPEC] = "INSERT INTO spec VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[APPLY_LIVE] = "INSERT INTO live VALUES"
	    " (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, NULL, ?11, ?12, ?13)",
	[APPLY_START] = "UPDATE live SET phase = 1, attempt = ?2, started_us = ?3, launcher = ?4"
	    " WHERE job = ?1 AND phase = 0",
	[APPLY_REQUEUE] = "UPDATE live SET phase = 0, attempt = ?2, waits = ?3, due_boot_us = ?4,"
	    " due_wall_us = ?5, started_us = NULL, launcher = NULL WHERE job = ?1 AND phase = 1",
	[APPLY_SET] = "UPDATE live SET waits = ?2, hold = ?3, priority = ?4, queue = ?5,"
	    " session = ?6, due_boot_us = ?7, due_wall_us = ?8 WHERE job = ?1 AND phase = 0",
	[APPLY_UNLIVE] = "DELETE FROM live WHERE job = ?1",
	[APPLY_DONE] = "INSERT INTO done VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
	    " ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)",
	[APPLY_SPEC_NAMES] = "SELECT env, data FROM spec WHERE job = ?1",
	[APPLY_DROP_ENV] = "UPDATE spec SET env = 0 WHERE job = ?1 AND env IS NOT NULL",
	[APPLY_UNDONE] = "DELETE FROM done WHERE seq = ?1 AND job = ?2",
	[APPLY_UNSPEC] = "DELETE FROM spec WHERE job = ?1",
	[APPLY_OUTPUT] = "INSERT OR REPLACE INTO output VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[APPLY_OUTPUT_FILES] = "SELECT file FROM output"
	    " WHERE id BETWEEN ?1 AND ?1 + 1 AND file IS NOT NULL",
	[APPLY_UNOUTPUT] = "DELETE FROM output WHERE id BETWEEN ?1 AND ?1 + 1",
	[APPLY_TRASH] = "INSERT OR IGNORE INTO trash VALUES (?1)",
	[APPLY_EMPTY_TRASH] = "DELETE FROM trash",
	[APPLY_SETTING] = "INSERT OR REPLACE INTO setting VALUES (?1, ?2)",
	[APPLY_UNSETTING] = "DELETE FROM setting WHERE name = ?1",
	[APPLY_QUEUE] = "INSERT OR REPLACE INTO queue VALUES (?1, ?2, ?3)",
	[APPLY_UNQUEUE] = "DELETE FROM queue WHERE name = ?1",
	[APPLY_HISTORY] = "INSERT INTO history VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
	    " jobs = jobs + excluded.jobs, bytes = bytes + excluded.bytes,"
	    " pruned_seq = max(pruned_seq, excluded.pruned_seq)",
	[APPLY_META] = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
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
	return rc == SQLITE_OK ? blobs_init(&a->blobs, db) : rc;
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

/* 0 is kept as NULL: a byte less. */
static void
bind_unless_0(sqlite3_stmt *st, int at, int64_t value)
{
	if (value != 0)
		sqlite3_bind_int64(st, at, value);
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

/* ---- sums over history ---- */

static int
flush_histories(struct apply *a)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < a->nhistories; i++) {
		const struct apply_history *h = &a->histories[i];
		sqlite3_stmt *st = use(a, APPLY_HISTORY, h->uid);

		sqlite3_bind_int64(st, 2, h->jobs);
		sqlite3_bind_int64(st, 3, h->bytes);
		sqlite3_bind_int64(st, 4, (sqlite3_int64)h->pruned_seq);
		rc = run(st);
	}
	a->nhistories = 0;
	return rc;
}

static int
add_history(struct apply *a, uint32_t uid, int64_t jobs, int64_t bytes, uint64_t pruned_seq)
{
	struct apply_history *h = a->histories;
	size_t i = 0;
	int rc;

	while (i < a->nhistories && h[i].uid != uid)
		i++;
	if (i == APPLY_HISTORIES) {
		if ((rc = flush_histories(a)) != SQLITE_OK)
			return rc;
		i = 0;
	}
	if (i == a->nhistories) {
		h[i] = (struct apply_history){ .uid = uid };
		a->nhistories++;
	}
	h[i].jobs += jobs;
	h[i].bytes += bytes;
	if (h[i].pruned_seq < pruned_seq)
		h[i].pruned_seq = pruned_seq;
	return SQLITE_OK;
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
	int64_t env = 0, data = 0;
	int rc = SQLITE_OK;

	if (op->env != NULL)
		rc = blobs_ref(&a->blobs, op->env->bytes, op->env->len, &env);
	if (rc == SQLITE_OK && apart)
		rc = blobs_ref(&a->blobs, spec_at(s, s->data_off), s->data_len, &data);
	if (rc != SQLITE_OK)
		return rc;
	record_command(s, command);
	sqlite3_bind_int64(st, 2, op->uid);
	bind_unless_0(st, 3, env);
	bind_unless_0(st, 4, data);
	bind_text(st, 5, spec_at(s, s->key_off));
	bind_text(st, 6, spec_at(s, s->name_off));
	if (s->tag_off != 0)
		sqlite3_bind_text(st, 7, spec_at(s, s->tag_off), (int)s->tag_len, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, 7);
	bind_text(st, 8, command);
	sqlite3_bind_int64(st, 9, (sqlite3_int64)record_sum(s, s->size));
	rc = bind_spec_bytes(st, 10, s, apart);
	if (rc == SQLITE_OK)
		rc = run(st);
	sqlite3_clear_bindings(st); /* (what is bound is about to go) */
	return rc;
}

static void
bind_session(sqlite3_stmt *st, int at, const uint8_t session[ROW_SESSION_LEN])
{
	static const uint8_t none[ROW_SESSION_LEN];

	if (memcmp(session, none, ROW_SESSION_LEN) != 0)
		sqlite3_bind_blob(st, at, session, ROW_SESSION_LEN, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

static int
submit(struct apply *a, const struct op_row *op)
{
	sqlite3_stmt *st = use(a, APPLY_LIVE, op->id);
	int rc = put_spec(a, op);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int(st, 2, op->waits);
	sqlite3_bind_int64(st, 3, op->uid);
	sqlite3_bind_int(st, 4, op->priority);
	sqlite3_bind_int64(st, 5, op->spec->slots);
	sqlite3_bind_int64(st, 6, op->attempt);
	sqlite3_bind_int64(st, 7, op->cost);
	bind_text(st, 8, op->queue);
	sqlite3_bind_int64(st, 9, op->submitted_us);
	sqlite3_bind_int(st, 10, op->hold);
	bind_unless_0(st, 11, op->due_boot_us);
	bind_unless_0(st, 12, op->due_wall_us);
	bind_session(st, 13, op->session);
	return run(st);
}

static int
start(struct apply *a, const struct op_row *op)
{
	sqlite3_stmt *st = use(a, APPLY_START, op->id);

	sqlite3_bind_int64(st, 2, op->attempt);
	sqlite3_bind_int64(st, 3, op->run.started_us);
	sqlite3_bind_int64(st, 4, (sqlite3_int64)op->launcher);
	return run_one(a, st, "a job that starts is not pending");
}

static int
requeue(struct apply *a, const struct op_row *op)
{
	sqlite3_stmt *st = use(a, APPLY_REQUEUE, op->id);

	sqlite3_bind_int64(st, 2, op->attempt);
	sqlite3_bind_int(st, 3, op->waits);
	bind_unless_0(st, 4, op->due_boot_us);
	bind_unless_0(st, 5, op->due_wall_us);
	return run_one(a, st, "a job that is retried is not running");
}

static int
set(struct apply *a, const struct op_row *op)
{
	sqlite3_stmt *st = use(a, APPLY_SET, op->id);

	sqlite3_bind_int(st, 2, op->waits);
	sqlite3_bind_int(st, 3, op->hold);
	sqlite3_bind_int(st, 4, op->priority);
	bind_text(st, 5, op->queue);
	bind_session(st, 6, op->session);
	bind_unless_0(st, 7, op->due_boot_us);
	bind_unless_0(st, 8, op->due_wall_us);
	return run_one(a, st, "a job that is changed is not pending");
}

static int
drop_env(struct apply *a, uint64_t id)
{
	sqlite3_stmt *st = use(a, APPLY_SPEC_NAMES, id);
	int64_t env = 0;
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		env = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return rc;
	rc = blobs_unref(&a->blobs, env);
	return rc == SQLITE_OK && env > 0 ? run(use(a, APPLY_DROP_ENV, id)) : rc;
}

static int
done(struct apply *a, const struct op_row *op)
{
	const struct row_run *r = &op->run;
	sqlite3_stmt *st = a->st[APPLY_DONE];
	const int64_t values[] = {
		(int64_t)r->seq, (int64_t)op->id, op->uid, r->outcome, r->ok, r->exit_code,
		r->signal, r->reason, r->error, r->step,
		(r->usage_known ? RECORD_USAGE_KNOWN : 0) | (r->truncated ? RECORD_TRUNCATED : 0),
		op->attempt, op->priority, op->spec->slots, 0 /* queue */, op->submitted_us,
		r->started_us, r->finished_us, r->user_us, r->system_us, r->max_rss_kib,
		r->out_bytes[0], r->out_bytes[1], r->out_start[0], r->out_start[1], r->kept_bytes,
	};
	int rc = run_one(a, use(a, APPLY_UNLIVE, op->id), "a job that ends is not live");

	if (rc != SQLITE_OK)
		return rc;
	for (int i = 0; i < RECORD_DONE_NCOLUMNS; i++)
		sqlite3_bind_int64(st, i + 1, values[i]);
	if (r->exit_code < 0)
		sqlite3_bind_null(st, 6);
	if (r->signal == 0)
		sqlite3_bind_null(st, 7);
	bind_text(st, 15, op->queue);
	rc = run(st);
	if (rc == SQLITE_OK && a->drop_env)
		rc = drop_env(a, op->id);
	return rc == SQLITE_OK ? add_history(a, op->uid, 1, r->kept_bytes, 0) : rc;
}

/* ---- output ---- */

static int
output(struct apply *a, const struct op_output *op)
{
	sqlite3_stmt *st = use(a, APPLY_OUTPUT, op->id * 2 + (unsigned)op->stream - 1);
	int rc;

	sqlite3_bind_int64(st, 2, op->start);
	sqlite3_bind_int64(st, 3, op->end);
	bind_text(st, 4, op->in_file ? op->bytes : NULL);
	sqlite3_bind_int64(st, 5, op->room);
	if (op->in_file)
		sqlite3_bind_null(st, 6);
	else
		sqlite3_bind_blob(st, 6, op->bytes, (int)op->len, SQLITE_STATIC);
	rc = run(st);
	sqlite3_clear_bindings(st);
	return rc;
}

static int
trash(struct apply *a, const char *file)
{
	char *copy = strdup(file);

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
	sqlite3_bind_text(a->st[APPLY_TRASH], 1, copy, -1, SQLITE_STATIC);
	return run(a->st[APPLY_TRASH]);
}

static int
drop_output(struct apply *a, uint64_t id)
{
	sqlite3_stmt *st = use(a, APPLY_OUTPUT_FILES, id * 2);
	int rc, err = SQLITE_OK;

	while (err == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		err = trash(a, (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	if (err != SQLITE_OK)
		return err;
	return rc == SQLITE_DONE ? run(use(a, APPLY_UNOUTPUT, id * 2)) : rc;
}

/* ---- leaving history ---- */

static int
forget(struct apply *a, const struct op_forget *op)
{
	sqlite3_stmt *st = use(a, APPLY_SPEC_NAMES, op->id);
	int64_t env = 0, data = 0;
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW) {
		env = sqlite3_column_int64(st, 0);
		data = sqlite3_column_int64(st, 1);
	}
	sqlite3_reset(st);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return rc;
	rc = blobs_unref(&a->blobs, env);
	if (rc == SQLITE_OK)
		rc = blobs_unref(&a->blobs, data);
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
	return add_history(a, op->uid, op->counted ? -1 : 0, op->counted ? -op->kept_bytes : 0,
	    op->pruned_seq);
}

/* ---- settings ---- */

static int
setting(struct apply *a, const struct op_setting *op, enum apply_statement put,
    enum apply_statement drop)
{
	sqlite3_stmt *st = a->st[op->value == STORE_NO_SETTING ? drop : put];

	bind_text(st, 1, op->name);
	if (op->value != STORE_NO_SETTING)
		sqlite3_bind_int64(st, 2, op->value);
	if (op->op.kind == OP_QUEUE && op->value != STORE_NO_QUEUE)
		sqlite3_bind_int(st, 3, op->paused);
	return run(st);
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
	case OP_DONE:
		return done(a, o);
	case OP_FORGET:
		return forget(a, o);
	case OP_PASS: {
		const struct op_forget *f = o;

		return add_history(a, f->uid, -1, -f->kept_bytes, f->pruned_seq);
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
	a->next_id = a->stored_next_id;
	a->last_seq = a->stored_last_seq;
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
	if (b->next_id > a->next_id)
		a->next_id = b->next_id;
	if (b->last_seq > a->last_seq)
		a->last_seq = b->last_seq;
	return rc;
}

static int
put_meta(struct apply *a, const char *name, uint64_t value, uint64_t stored)
{
	sqlite3_stmt *st = a->st[APPLY_META];

	if (value == stored)
		return SQLITE_OK;
	bind_text(st, 1, name);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)value);
	return run(st);
}

int
apply_finish(struct apply *a)
{
	int rc = blobs_flush(&a->blobs);

	if (rc == SQLITE_OK)
		rc = flush_histories(a);
	if (rc == SQLITE_OK)
		rc = put_meta(a, "next_id", a->next_id, a->stored_next_id);
	if (rc == SQLITE_OK)
		rc = put_meta(a, "last_seq", a->last_seq, a->stored_last_seq);
	return rc;
}

int
apply_commit(struct apply *a)
{
	int rc = run(a->st[APPLY_COMMIT]);

	if (rc != SQLITE_OK)
		return rc;
	a->stored_next_id = a->next_id;
	a->stored_last_seq = a->last_seq;
	a->trash_is_unlinked = false;
	return SQLITE_OK;
}

void
apply_rollback(struct apply *a)
{
	if (!sqlite3_get_autocommit(a->db))
		run(a->st[APPLY_ROLLBACK]);
	blobs_reset(&a->blobs);
	a->nhistories = 0;
	apply_files_free(a);
}
