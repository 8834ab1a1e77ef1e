/*
 * The store that forgets at exit: rows in two tables, by id and, once done, by seq. A commit has
 * nothing to wait for.
 */
#include "store/idtab.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define PRUNE_SLICE 256 /* rows removed a call: keeps a loop turn short */

struct memory {
	struct store store;
	struct idtab by_id;
	struct idtab by_seq;
	uint64_t oldest_seq;
	uint64_t batch;
};

static struct memory *
memory_of(struct store *s)
{
	return (struct memory *)s;
}

static int
memory_add(struct store *s, struct row *row)
{
	struct memory *m = memory_of(s);

	if (idtab_put(&m->by_id, row->id, row) < 0)
		return -ENOMEM;
	row_ref(row);
	return 0;
}

/* What it keeps. An environment counts for the row that has it alone at this moment. */
static int64_t
bytes_of(const struct row *row)
{
	int64_t n = row->run->out_bytes[0] + row->run->out_bytes[1] + row->spec->size;

	if (row->env != NULL && row->env->refs == 1)
		n += (int64_t)row->env->len;
	return n;
}

static int
memory_change(struct store *s, struct row *row, enum store_change what)
{
	struct memory *m = memory_of(s);

	if (what != STORE_DONE)
		return 0;
	if (idtab_put(&m->by_seq, row->run->seq, row) < 0)
		return -ENOMEM;
	s->ndone++;
	row->run->kept_bytes = bytes_of(row);
	s->output_bytes += row->run->kept_bytes;
	return 0;
}

/* Takes a done row off the books: from here on it counts towards no bound. */
static void
discount(struct memory *m, const struct row *row)
{
	m->store.ndone--;
	m->store.output_bytes -= row->run->kept_bytes;
}

static void
drop(struct memory *m, struct row *row)
{
	if (!row->passed)
		discount(m, row);
	row->passed = false;
	idtab_remove(&m->by_seq, row->run->seq);
	idtab_remove(&m->by_id, row->id);
	if (m->store.hooks.on_removed != NULL)
		m->store.hooks.on_removed(m->store.hooks.arg, row);
	row_unref(&m->store, row);
}

static void
memory_forget(struct store *s, struct row *row)
{
	drop(memory_of(s), row);
}

static void
memory_unpinned(struct store *s, struct row *row)
{
	if (row->passed)
		drop(memory_of(s), row);
}

static void
memory_commit(struct store *s, store_commit_cb cb, void *arg)
{
	cb(arg, ++memory_of(s)->batch, 0);
}

static struct row *
memory_find(struct store *s, uint64_t id)
{
	return idtab_get(&memory_of(s)->by_id, id);
}

static struct row *
memory_next(struct store *s, uint64_t from_id)
{
	uint64_t id;

	return idtab_next(&memory_of(s)->by_id, from_id, &id);
}

static struct row *
memory_prev(struct store *s, uint64_t from_id)
{
	uint64_t id;

	return idtab_prev(&memory_of(s)->by_id, from_id, &id);
}

static struct row *
memory_next_done(struct store *s, uint64_t from_seq)
{
	uint64_t seq;

	return idtab_next(&memory_of(s)->by_seq, from_seq, &seq);
}

static uint64_t
memory_oldest_seq(struct store *s, uint32_t uid, bool all)
{
	(void)uid;
	(void)all;
	return memory_of(s)->oldest_seq;
}

static bool
over(const struct store *s, const struct row *oldest, int64_t now_us)
{
	const struct store_bounds *b = &s->bounds;

	return (b->jobs != 0 && s->ndone > b->jobs) ||
	    (b->output_bytes != 0 && s->output_bytes > b->output_bytes) ||
	    (b->age_us != 0 && oldest->run->finished_us < now_us - b->age_us);
}

static bool
memory_prune(struct store *s, int64_t now_us)
{
	struct memory *m = memory_of(s);
	uint64_t seq;

	for (int i = 0; i < PRUNE_SLICE; i++) {
		struct row *row = idtab_next(&m->by_seq, m->oldest_seq, &seq);

		if (row == NULL || !over(s, row, now_us))
			return false;
		m->oldest_seq = seq + 1;
		if (row->pins == 0) {
			drop(m, row);
			continue;
		}
		row->passed = true;
		discount(m, row);
	}
	return true;
}

static void
memory_free(struct store *s)
{
	struct memory *m = memory_of(s);
	struct row *row;
	uint64_t id;

	while ((row = idtab_next(&m->by_id, 0, &id)) != NULL) {
		idtab_remove(&m->by_id, id);
		row_unref(s, row);
	}
	idtab_fini(&m->by_id);
	idtab_fini(&m->by_seq);
	env_table_fini(&s->envs);
	free(m);
}

static const struct store_ops memory_ops = {
	.free = memory_free,
	.add = memory_add,
	.change = memory_change,
	.forget = memory_forget,
	.commit = memory_commit,
	.find = memory_find,
	.next = memory_next,
	.prev = memory_prev,
	.next_done = memory_next_done,
	.oldest_seq = memory_oldest_seq,
	.unpinned = memory_unpinned,
	.prune = memory_prune,
};

struct store *
store_memory_new(const struct store_bounds *bounds, const struct store_hooks *hooks,
    uint64_t instance)
{
	struct memory *m = calloc(1, sizeof *m);

	if (m == NULL)
		return NULL;
	m->store.ops = &memory_ops;
	m->store.bounds = *bounds;
	m->store.hooks = *hooks;
	m->store.instance = instance;
	m->store.next_id = 1;
	m->oldest_seq = 1;
	return &m->store;
}
