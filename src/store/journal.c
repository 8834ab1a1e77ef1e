/* The ops of the journal: changes into batches, batches to the writer, and back. */
#include "store/journal_internal.h"

#include "core/container.h"
#include "core/logger.h"
#include "store/journal_files.h"
#include "store/read.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t
monotonic_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- changes ---- */

struct jbatch *
journal_batch(struct journal *j)
{
	struct jbatch *b = j->open;

	if (b != NULL)
		return b;
	b = j->spare;
	j->spare = NULL;
	if (b == NULL && (b = jbatch_new(0)) == NULL)
		return NULL;
	b->number = ++j->batches;
	return j->open = b;
}

static int
add(struct store *s, struct row *row)
{
	struct journal *j = journal_of(s);

	/* What follows, SUBMITTED, then can't fail but for the op itself. */
	if (journal_batch(j) == NULL || jbatch_reserve(j->open) < 0 || rows_enter(j, row) < 0)
		return -ENOMEM;
	jbatch_note(j->open, row, BATCH_CHANGED);
	return 0;
}

static enum op_kind
op_of(enum store_change what)
{
	switch (what) {
	case STORE_SUBMITTED:
		return OP_SUBMIT;
	case STORE_STARTED:
		return OP_START;
	case STORE_REQUEUED:
		return OP_REQUEUE;
	case STORE_DONE:
		return OP_DONE;
	case STORE_SET:
		return OP_SET;
	case STORE_CANCEL:
		return OP_CANCEL;
	}
	return OP_SET;
}

static int
change(struct store *s, struct row *row, enum store_change what)
{
	struct journal *j = journal_of(s);
	struct jhistory *h = what == STORE_DONE ? history_of(j, row->uid) : NULL;

	if (what == STORE_DONE && h == NULL)
		return -ENOMEM;
	if (what == STORE_DONE)
		row->run->kept_bytes = row_kept_bytes(row);
	if (journal_batch(j) == NULL || jbatch_reserve(j->open) < 0 ||
	    jbatch_put_row(j->open, op_of(what), row, s->launcher) < 0)
		return -ENOMEM;
	jbatch_note(j->open, row, what == STORE_DONE ? BATCH_DONE : BATCH_CHANGED);
	if (what == STORE_DONE)
		history_add(j, h, row);
	return 0;
}

static void
forget(struct store *s, struct row *row)
{
	struct journal *j = journal_of(s);

	if (row->gone)
		return;
	if (journal_batch(j) == NULL || history_forget(j, j->open, row) < 0)
		slot_log(j->logger, SLOT_LOG_WARN, "out of memory: job=%llu is not forgotten",
		    (unsigned long long)row->id);
}

static int
keep_output(struct store *s, struct row *row, int stream, const struct store_output *output)
{
	struct journal *j = journal_of(s);
	const void *bytes = output->file != NULL ? output->file : output->data;
	size_t len = output->file != NULL ? strlen(output->file) : output->len;
	struct op_output *op;

	if (journal_batch(j) == NULL)
		return -ENOMEM;
	op = jbatch_op(j->open, OP_OUTPUT, sizeof *op + len + 1);
	if (op == NULL)
		return -ENOMEM;
	op->id = row->id;
	op->stream = stream;
	op->start = output->start;
	op->end = output->end;
	op->room = output->room;
	op->in_file = output->file != NULL;
	op->len = len;
	if (len > 0)
		memcpy(op->bytes, bytes, len);
	return 0;
}

static int
put_setting(struct journal *j, enum op_kind kind, const char *name, int64_t value, bool paused)
{
	size_t n = strlen(name) + 1;
	struct op_setting *op;

	if (journal_batch(j) == NULL)
		return -ENOMEM;
	op = jbatch_op(j->open, kind, sizeof *op + n);
	if (op == NULL)
		return -ENOMEM;
	op->value = value;
	op->paused = paused;
	memcpy(op->name, name, n);
	return 0;
}

static int
keep_setting(struct store *s, const char *name, int64_t value)
{
	return put_setting(journal_of(s), OP_SETTING, name, value, false);
}

static int
keep_queue(struct store *s, const char *queue, int64_t max_running, bool paused)
{
	return put_setting(journal_of(s), OP_QUEUE, queue, max_running, paused);
}

/* ---- commits ---- */

static void
put(struct journal *j, struct jbatch *b)
{
	b->next_id = j->store.next_id;
	b->closed_us = monotonic_us();
	j->in_flight++;
	j->last_put = b->number;
	jwriter_put(j->writer, b);
}

void
journal_send(struct journal *j, struct jbatch *b)
{
	b->internal = true;
	put(j, b);
}

static void
commit(struct store *s, store_commit_cb cb, void *arg)
{
	struct journal *j = journal_of(s);
	struct jbatch *b = j->open;

	if ((b == NULL || b->len == 0) && j->in_flight == 0 && j->back == NULL && !j->failed) {
		cb(arg, b != NULL ? b->number : ++j->batches, 0);
		return;
	}
	b = journal_batch(j);
	if (b == NULL)
		abort(); /* the turn could not be committed any more */
	j->open = NULL;
	b->cb = cb;
	b->arg = arg;
	put(j, b);
}

/* What a commit means for a row, besides that it may leave memory. */
static void
committed(struct journal *j, const struct batch_row *br)
{
	struct row *row = br->row;

	row->uncommitted--;
	if (br->note != BATCH_DONE)
		return;
	if (row->run->seq > j->told_seq)
		j->told_seq = row->run->seq;
	if (j->drop_env && row->env != NULL) {
		env_unref(&j->store.envs, row->env);
		row->env = NULL;
		row->env_dropped = true;
	}
	rows_recent_add(j, row);
}

static void
tell(struct journal *j, struct jbatch *b)
{
	store_commit_cb cb = b->internal ? NULL : b->cb;
	void *arg = b->arg;
	uint64_t number = b->number;
	bool prunes = b->prunes;

	j->durations_us[j->commits++ % DURATIONS] = monotonic_us() - b->closed_us;
	j->in_flight--;
	for (size_t i = 0; i < b->nrows; i++)
		committed(j, &b->rows[i]);
	rows_release(j, b);
	reads_batch_back(j, number);
	if (prunes)
		history_pruned(j);
	if (cb != NULL)
		cb(arg, number, 0);
}

/* ---- from the threads ---- */

void
journal_fail(struct journal *j, const char *what)
{
	if (j->failed)
		return;
	j->failed = true;
	reads_unblock(j);
	if (j->store.hooks.on_failed != NULL)
		j->store.hooks.on_failed(j->store.hooks.arg, what);
}

static void
on_state(struct journal *j, const struct jwriter_state *state)
{
	struct store *s = &j->store;

	j->wal_bytes = state->wal_bytes;
	if (state->wal_is_big)
		slot_log(j->logger, SLOT_LOG_WARN, "the journal's write-ahead log grows: "
		    "bytes=%lld (does something hold it open for reading?)",
		    (long long)state->wal_bytes);
	if (state->stuck != s->stuck) {
		s->stuck = state->stuck;
		if (s->stuck)
			reads_unblock(j);
	}
	if (state->degraded != s->degraded) {
		s->degraded = state->degraded;
		slot_log(j->logger, SLOT_LOG_WARN, "%s", !s->degraded ?
		    "the journal can be written again" : state->not_now ?
		    "the journal can't be written now (locked by another process?): new jobs are "
		    "refused until it can" :
		    "the journal has no room to grow: new jobs are refused until it has");
		if (s->hooks.on_degraded != NULL)
			s->hooks.on_degraded(s->hooks.arg, s->degraded);
	}
}

/* The pump: takes in what the threads have done. */
static void
pump(struct slot_call *call)
{
	struct journal *j = slot_container_of(call, struct journal, pump);
	struct jbatch **at = &j->back, *b;
	struct jwriter_state state;

	while (*at != NULL)
		at = &(*at)->next;
	*at = jwriter_take(j->writer, &state);
	on_state(j, &state);
	while ((b = j->back) != NULL) {
		j->back = b->next;
		tell(j, b);
	}
	reads_arrived(j);
	if (state.failed[0] != '\0')
		journal_fail(j, state.failed);
}

void
journal_on_notes(struct journal *j)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(j->note_fd, &count, sizeof count);
	while (n < 0 && errno == EINTR);
	j->pump.run = pump;
	slot_loop_call_soon(j->loop, &j->pump);
}

bool
store_journal_wait(struct store *s, int timeout_ms)
{
	struct journal *j = journal_of(s);
	struct pollfd p = { .fd = j->note_fd, .events = POLLIN };

	if (poll(&p, 1, timeout_ms) != 1)
		return false;
	journal_on_notes(j);
	return true;
}

/* ---- figures ---- */

static int
by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void
stats(struct store *s, struct store_stats *out)
{
	struct journal *j = journal_of(s);
	size_t n = j->commits < DURATIONS ? (size_t)j->commits : DURATIONS;
	int64_t sorted[DURATIONS];

	memcpy(sorted, j->durations_us, n * sizeof sorted[0]);
	qsort(sorted, n, sizeof sorted[0], by_value);
	*out = (struct store_stats){
		.durability = j->normal ? "normal" : "full",
		.bytes = files_size(j->dir_fd, "journal"),
		.wal_bytes = files_size(j->dir_fd, "journal-wal"),
		.commits = j->commits,
		.commit_p50_us = n > 0 ? sorted[n / 2] : 0,
		.commit_p99_us = n > 0 ? sorted[n * 99 / 100] : 0,
		.oldest_seq = history_oldest_seq(s, 0, true),
		.degraded = s->degraded,
	};
}

/* ---- the end ---- */

void
journal_free(struct store *s)
{
	struct journal *j = journal_of(s);
	bool lost = false;

	slot_loop_call_cancel(j->loop, &j->pump);
	if (j->note_event != NULL)
		event_free(j->note_event);
	for (int list = 0; list < 3; list++) {
		struct jbatch *b = list == 0 ? j->back : list == 1 ?
		    jwriter_free(j->writer, &lost) : j->open;

		for (struct jbatch *next; b != NULL; b = next) {
			next = b->next;
			rows_release(j, b);
		}
	}
	if (lost)
		slot_log(j->logger, SLOT_LOG_ERROR, "the journal ends without its last changes");
	reads_fini(j);
	rows_fini(j);
	jbatch_free(j->spare);
	history_fini(j);
	env_table_fini(&s->envs);
	close(j->note_fd);
	if (j->output_fd >= 0)
		close(j->output_fd);
	close(j->dir_fd); /* with it the lock */
	free(j);
}

const struct store_ops journal_ops = {
	.free = journal_free,
	.add = add,
	.change = change,
	.forget = forget,
	.commit = commit,
	.keep_output = keep_output,
	.keep_setting = keep_setting,
	.keep_queue = keep_queue,
	.recover = journal_recover,
	.load = journal_load,
	.read = reads_start,
	.read_drop = reads_drop,
	.stats = stats,
	.find = rows_find,
	.row_gone = rows_gone,
	.oldest_seq = history_oldest_seq,
	.unpinned = history_unpinned,
	.prune = history_prune,
};
