/* Rows in memory: the tables, the recent ones, and how long a row stays. */
#include "store/journal_internal.h"

#include "core/logger.h"
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

int
rows_enter(struct journal *j, struct row *row)
{
	if (idtab_put(&j->by_id, row->id, row) < 0)
		return -ENOMEM;
	if (keytab_add(&j->keys, row) < 0) {
		idtab_remove(&j->by_id, row->id);
		return -ENOMEM;
	}
	return 0;
}

void
rows_gone(struct store *s, struct row *row)
{
	struct journal *j = journal_of(s);

	if (idtab_get(&j->by_id, row->id) == row)
		idtab_remove(&j->by_id, row->id);
	keytab_remove(&j->keys, row);
}

struct row *
rows_find(struct store *s, uint64_t id)
{
	struct row *row = idtab_get(&journal_of(s)->by_id, id);

	return row != NULL && !row->gone ? row : NULL;
}

const char *
rows_name(struct journal *j, const char *queue)
{
	struct jname **at = &j->names, *n;

	for (; (n = *at) != NULL; at = &n->next)
		if (strcmp(n->text, queue) == 0)
			break;
	if (n != NULL) {
		*at = n->next; /* to the front */
	} else {
		size_t len = strlen(queue) + 1;

		n = malloc(sizeof *n + len);
		if (n == NULL)
			return NULL;
		memcpy(n->text, queue, len);
	}
	n->next = j->names;
	j->names = n;
	return n->text;
}

/* ---- what a read found ---- */

/* Makes found->row a row of ours, counted once; it isn't in any table. */
static struct row *
make(struct journal *j, struct jread *jr, struct fetched *found, int *error)
{
	struct row *row = found->row;

	row->queue = rows_name(j, found->queue);
	if (found->env != 0)
		row->env = env_intern(&j->store.envs, jr->envs[found->env - 1].bytes,
		    jr->envs[found->env - 1].len);
	if (row->queue == NULL || (found->env != 0 && row->env == NULL)) {
		env_unref(&j->store.envs, row->env);
		row->env = NULL;
		*error = -ENOMEM;
		return NULL; /* (found keeps it) */
	}
	found->row = NULL;
	row->refs = 1;
	return row;
}

struct row *
rows_take(struct journal *j, struct jread *jr, struct fetched *found, int *error)
{
	struct row *row = idtab_get(&j->by_id, found->id);
	bool enter = row == NULL;

	if (row != NULL && row->gone)
		return NULL;
	if (row != NULL && (!j->store.stuck || row->uncommitted == 0))
		return row_ref(row);
	if (found->error != 0) {
		slot_log(j->logger, SLOT_LOG_ERROR, "the journal is damaged: table=%s job=%llu "
		    "can't be read (slotd --check-state tells more)",
		    found->where, (unsigned long long)found->id);
		*error = found->error;
		return NULL;
	}
	if (found->row == NULL || idtab_get(&j->vanishing, found->id) != NULL)
		return NULL;
	row = make(j, jr, found, error);
	if (row != NULL && enter && rows_enter(j, row) < 0) {
		*error = -ENOMEM;
		row_unref(&j->store, row);
		return NULL;
	}
	return row;
}

/* ---- recent done rows ---- */

/* About what it holds in memory. */
static size_t
recent_bytes(const struct row *row)
{
	size_t n = read_row_bytes(row) + sizeof *row->run;

	if (row->env != NULL)
		n += row->env->len / row->env->refs;
	if (row->output != NULL)
		n += (size_t)(row->run->out_bytes[0] + row->run->out_bytes[1]);
	return n;
}

static void
recent_drop(struct journal *j, uint64_t seq)
{
	struct recent *r = &j->recent;
	struct row **at = &r->rows[seq % RECENT_ROWS], *row = *at;

	if (row == NULL || row->run->seq != seq)
		return;
	*at = NULL;
	row_unref(&j->store, row);
}

static size_t
recent_total(const struct recent *r, uint64_t to)
{
	size_t n = 0;

	for (uint64_t seq = r->from; seq <= to; seq++) {
		const struct row *row = r->rows[seq % RECENT_ROWS];

		if (row != NULL && row->run->seq == seq)
			n += recent_bytes(row);
	}
	return n;
}

void
rows_recent_add(struct journal *j, struct row *row)
{
	struct recent *r = &j->recent;
	uint64_t seq = row->run->seq;

	if (seq >= r->from + RECENT_ROWS) {
		for (uint64_t old = r->from; old + RECENT_ROWS <= seq &&
		    old < r->from + RECENT_ROWS; old++)
			recent_drop(j, old);
		r->from = seq - RECENT_ROWS + 1;
	}
	if (row->gone || seq < r->from)
		return;
	r->rows[seq % RECENT_ROWS] = row_ref(row);
	r->bytes += recent_bytes(row);
	/* The sum is a rough one: what rows share and let go moves. Looked at anew when high. */
	if (r->bytes <= RECENT_BYTES)
		return;
	r->bytes = recent_total(r, seq);
	while (r->bytes > RECENT_BYTES / 2 && r->from < seq) {
		row = r->rows[r->from % RECENT_ROWS];
		if (row != NULL && row->run->seq == r->from)
			r->bytes -= recent_bytes(row) < r->bytes ? recent_bytes(row) : r->bytes;
		recent_drop(j, r->from++);
	}
}

void
rows_recent_remove(struct journal *j, struct row *row)
{
	if (row->run->seq >= j->recent.from)
		recent_drop(j, row->run->seq);
}

/* ---- how long they stay ---- */

static void
let_go(struct journal *j, struct jbatch *b)
{
	for (size_t i = 0; i < b->nrows; i++)
		row_unref(&j->store, b->rows[i].row);
	for (size_t i = 0; i < b->npruned; i++)
		idtab_remove(&j->vanishing, b->pruned[i]);
	if (j->spare == NULL && jbatch_clear(b))
		j->spare = b;
	else
		jbatch_free(b);
}

void
rows_release(struct journal *j, struct jbatch *b)
{
	struct held *h;

	if (j->reads_back == j->reads_sent || (b->nrows == 0 && b->npruned == 0)) {
		let_go(j, b);
		return;
	}
	h = malloc(sizeof *h);
	if (h == NULL)
		abort(); /* an old read could bring back what was */
	free(b->ops);
	b->ops = NULL;
	*h = (struct held){ .ticket = j->reads_sent, .batch = b };
	*j->held_last = h;
	j->held_last = &h->next;
}

void
rows_release_held(struct journal *j)
{
	struct held *h;

	while ((h = j->held) != NULL && h->ticket <= j->reads_back) {
		j->held = h->next;
		if (h->next == NULL)
			j->held_last = &j->held;
		let_go(j, h->batch);
		free(h);
	}
}

void
rows_fini(struct journal *j)
{
	struct jname *n;

	j->reads_back = j->reads_sent;
	rows_release_held(j);
	for (size_t i = 0; i < RECENT_ROWS; i++)
		if (j->recent.rows[i] != NULL)
			recent_drop(j, j->recent.rows[i]->run->seq);
	while ((n = j->names) != NULL) {
		j->names = n->next;
		free(n);
	}
	idtab_fini(&j->by_id);
	idtab_fini(&j->vanishing);
	keytab_fini(&j->keys);
}
