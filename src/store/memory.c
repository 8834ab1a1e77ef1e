/*
 * The store that forgets at exit: rows in two tables, by id and, once done, by seq; and of each
 * user the order in which the jobs were done, for pruning. A commit or a read has nothing to wait
 * for. A pending row that nobody counts a reference of is packed, until it is read.
 */
#include "store/idtab.h"
#include "store/keytab.h"
#include "store/packed.h"
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PRUNE_SLICE 256        /* rows removed a call: keeps a loop turn short */
#define OLDEST_SCAN_MAX 10000  /* others' rows passed over to find one's oldest */

/* One user's history: the seqs of its done jobs, oldest first; forgotten ones stay as holes. */
struct history {
	struct history *next;
	uint32_t uid;
	uint64_t jobs;
	int64_t bytes;
	uint64_t oldest_seq; /* from here on all is held */
	uint64_t *seqs;      /* a ring */
	size_t head, n, cap;
};

struct memory {
	struct store store;
	struct idtab by_id;
	struct idtab by_seq;
	struct keytab keys;
	struct history *histories;
	uint64_t batch;
};

static struct memory *
memory_of(struct store *s)
{
	return (struct memory *)s;
}

/* ---- history by user ---- */

static struct history *
history_find(const struct memory *m, uint32_t uid)
{
	struct history *h = m->histories;

	while (h != NULL && h->uid != uid)
		h = h->next;
	return h;
}

/* The user's, made at the first need. NULL: out of memory. */
static struct history *
history_of(struct memory *m, uint32_t uid)
{
	struct history *h = history_find(m, uid);

	if (h != NULL)
		return h;
	h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->uid = uid;
	h->oldest_seq = 1;
	h->next = m->histories;
	return m->histories = h;
}

static uint64_t *
seq_at(const struct history *h, size_t i)
{
	return &h->seqs[(h->head + i) % h->cap];
}

/* Lets the holes go: without that a history whose oldest job stays would only grow. */
static void
close_holes(const struct memory *m, struct history *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++)
		if (idtab_get(&m->by_seq, *seq_at(h, i)) != NULL)
			*seq_at(h, kept++) = *seq_at(h, i);
	h->n = kept;
}

static int
history_push(const struct memory *m, struct history *h, uint64_t seq)
{
	uint64_t *seqs;

	if (h->n == h->cap && h->n > 2 * h->jobs + 64)
		close_holes(m, h);
	if (h->n == h->cap) {
		size_t cap = h->cap != 0 ? h->cap * 2 : 64;

		seqs = malloc(cap * sizeof *seqs);
		if (seqs == NULL)
			return -ENOMEM;
		for (size_t i = 0; i < h->n; i++)
			seqs[i] = *seq_at(h, i);
		free(h->seqs);
		h->seqs = seqs;
		h->cap = cap;
		h->head = 0;
	}
	h->n++;
	*seq_at(h, h->n - 1) = seq;
	return 0;
}

/* The user's oldest row that isn't passed over yet, or NULL; holes before it go. */
static struct row *
history_oldest(const struct memory *m, struct history *h)
{
	for (; h->n > 0; h->n--, h->head = (h->head + 1) % h->cap) {
		struct row *row = idtab_get(&m->by_seq, *seq_at(h, 0));

		if (row != NULL && !row->passed)
			return row;
	}
	return NULL;
}

/* ---- rows, packed or not ---- */

/* The table of ids holds rows, and packed ones with the low bit set. */
static bool
is_packed(const void *entry)
{
	return ((uintptr_t)entry & 1) != 0;
}

static struct packed *
packed_of(void *entry)
{
	return (struct packed *)((uintptr_t)entry & ~(uintptr_t)1);
}

static void
keep(struct row *row)
{
	if (!row->kept)
		row_ref(row);
	row->kept = true;
}

/* The row of an entry, counted. NULL: out of memory. */
static struct row *
row_at(struct memory *m, uint64_t id, void *entry)
{
	struct row *row;

	if (!is_packed(entry))
		return row_ref(entry);
	row = packed_open(packed_of(entry), id);
	if (row != NULL)
		(void)idtab_put(&m->by_id, id, row); /* replaces: that takes no memory */
	return row;
}

/* Nobody looks at it any more: it is packed, where it may be. */
static void
memory_row_gone(struct store *s, struct row *row)
{
	struct memory *m = memory_of(s);
	struct packed *p;

	if (idtab_get(&m->by_id, row->id) != row)
		return;
	p = packed_make(row);
	if (p != NULL)
		(void)idtab_put(&m->by_id, row->id, (void *)((uintptr_t)p | 1));
	else
		keep(row);
}

/* ---- changes ---- */

static int
memory_add(struct store *s, struct row *row)
{
	struct memory *m = memory_of(s);

	if (idtab_put(&m->by_id, row->id, row) < 0)
		return -ENOMEM;
	if (keytab_add(&m->keys, row) < 0) {
		idtab_remove(&m->by_id, row->id);
		return -ENOMEM;
	}
	if (row->spec->key_off != 0)
		keep(row); /* whoever asks for the key finds it */
	return 0;
}

static int
memory_change(struct store *s, struct row *row, enum store_change what)
{
	struct memory *m = memory_of(s);
	struct history *h;

	if (what != STORE_DONE)
		return 0;
	h = history_of(m, row->uid);
	if (h == NULL || idtab_put(&m->by_seq, row->run->seq, row) < 0)
		return -ENOMEM;
	if (history_push(m, h, row->run->seq) < 0) {
		idtab_remove(&m->by_seq, row->run->seq);
		return -ENOMEM;
	}
	keep(row);
	row->run->kept_bytes = row_kept_bytes(row);
	s->ndone++;
	s->output_bytes += row->run->kept_bytes;
	h->jobs++;
	h->bytes += row->run->kept_bytes;
	return 0;
}

/* Takes a done row off the books: from here on it counts towards no bound. */
static void
discount(struct memory *m, const struct row *row)
{
	struct history *h = history_find(m, row->uid);

	m->store.ndone--;
	m->store.output_bytes -= row->run->kept_bytes;
	h->jobs--;
	h->bytes -= row->run->kept_bytes;
}

static void
drop(struct memory *m, struct row *row)
{
	if (!row->passed)
		discount(m, row);
	row->passed = false;
	row->gone = true;
	idtab_remove(&m->by_seq, row->run->seq);
	idtab_remove(&m->by_id, row->id);
	keytab_remove(&m->keys, row);
	if (m->store.hooks.on_removed != NULL)
		m->store.hooks.on_removed(m->store.hooks.arg, row);
	row->kept = false;
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

static bool
over(const struct store *s, const struct history *h, const struct row *oldest, int64_t now_us)
{
	const struct store_bounds *b = &s->bounds;

	return (b->jobs != 0 && h->jobs > b->jobs) ||
	    (b->output_bytes != 0 && h->bytes > b->output_bytes) ||
	    (b->age_us != 0 && oldest->run->finished_us < now_us - b->age_us);
}

/* Prunes the oldest row of a user where a bound asks for it; false: none does. */
static bool
prune_one(struct memory *m, struct history *h, int64_t now_us)
{
	struct row *row = history_oldest(m, h);

	if (row == NULL || !over(&m->store, h, row, now_us))
		return false;
	h->oldest_seq = row->run->seq + 1;
	if (row->pins == 0) {
		drop(m, row);
		return true;
	}
	discount(m, row);
	row->passed = true;
	return true;
}

static bool
memory_prune(struct store *s, int64_t now_us)
{
	struct memory *m = memory_of(s);
	int n = 0;

	for (struct history *h = m->histories; h != NULL; h = h->next)
		while (prune_one(m, h, now_us))
			if (++n == PRUNE_SLICE)
				return true;
	return false;
}

/* ---- finding and reading ---- */

static struct row *
memory_find(struct store *s, uint64_t id)
{
	void *entry = idtab_get(&memory_of(s)->by_id, id);

	return is_packed(entry) ? NULL : entry;
}

static uint64_t
memory_oldest_seq(struct store *s, uint32_t uid, bool all)
{
	uint64_t oldest = 1;

	for (struct history *h = memory_of(s)->histories; h != NULL; h = h->next)
		if ((all || h->uid == uid) && h->oldest_seq > oldest)
			oldest = h->oldest_seq;
	return oldest;
}

static uint32_t
uid_of(void *entry)
{
	return is_packed(entry) ? packed_uid(packed_of(entry)) : ((const struct row *)entry)->uid;
}

/* The oldest id in the user's history, or the next one where there is none. Others' rows are
 * passed over, so many at most: then it is a lower bound. */
static uint64_t
oldest_job(struct memory *m, const struct store_filter *f)
{
	uint64_t id;
	void *entry = idtab_next(&m->by_id, 1, &id);

	for (int i = 0; i < OLDEST_SCAN_MAX && entry != NULL && f->by_uid && uid_of(entry) != f->uid;
	    i++)
		entry = idtab_next(&m->by_id, id + 1, &id);
	return entry != NULL ? id : m->store.next_id;
}

static void
read_ids(struct memory *m, struct store_read *r)
{
	bool all = true;

	if (read_reserve(r, r->nids) < 0)
		return;
	for (size_t i = 0; i < r->nids; i++) {
		void *entry = idtab_get(&m->by_id, r->ids[i]);

		all = all && entry != NULL;
		if (entry != NULL && (r->rows[i] = row_at(m, r->ids[i], entry)) == NULL) {
			store_read_fini(&m->store, r);
			r->error = -ENOMEM;
			return;
		}
	}
	if (!all)
		r->oldest_job = oldest_job(m, &r->filter);
}

static void
read_keys(struct memory *m, struct store_read *r)
{
	if (read_reserve(r, r->nkeys) < 0)
		return;
	for (size_t i = 0; i < r->nkeys; i++) {
		struct row *row = keytab_find(&m->keys, r->filter.uid, r->keys[i]);

		r->rows[i] = row != NULL ? row_ref(row) : NULL;
	}
}

static void *
walk(struct memory *m, const struct store_read *r, uint64_t at, uint64_t *place)
{
	if (r->kind == STORE_READ_DONE)
		return idtab_next(&m->by_seq, at, place);
	if (!r->backward)
		return idtab_next(&m->by_id, at, place);
	return at > 0 ? idtab_prev(&m->by_id, at, place) : NULL;
}

/* Adds the row of an entry, if it passes. */
static int
read_one(struct memory *m, struct store_read *r, uint64_t place, void *entry)
{
	struct row *row;

	if (is_packed(entry) && !packed_may_pass(packed_of(entry), &r->filter))
		return 0;
	row = row_at(m, place, entry);
	if (row == NULL)
		return r->error = -ENOMEM;
	if (read_passes(&r->filter, row) && read_push(r, row) == 0)
		return 0;
	row_unref(&m->store, row);
	return r->error;
}

static void
read_page(struct memory *m, struct store_read *r)
{
	uint64_t at = r->from, place;
	size_t scanned = 0, bytes = 0, n;
	void *entry;

	for (; (entry = walk(m, r, at, &place)) != NULL; at = r->backward ? place - 1 : place + 1) {
		if (r->nrows == r->limit || scanned++ == READ_SCAN_MAX ||
		    (r->limit_bytes != 0 && bytes >= r->limit_bytes)) {
			r->next = place;
			return;
		}
		n = r->nrows;
		if (read_one(m, r, place, entry) < 0)
			return;
		if (r->nrows > n)
			bytes += read_row_bytes(r->rows[n]);
	}
}

static bool
memory_read(struct store *s, struct store_read *r)
{
	read_begin(r);
	switch (r->kind) {
	case STORE_READ_JOBS:
		read_ids(memory_of(s), r);
		break;
	case STORE_READ_KEYS:
		read_keys(memory_of(s), r);
		break;
	case STORE_READ_PAGE:
	case STORE_READ_DONE:
		read_page(memory_of(s), r);
		break;
	case STORE_READ_OUTPUT: /* is with row->output's owner */
		break;
	}
	return true;
}

static void
memory_read_drop(struct store *s, struct store_read *r)
{
	(void)s;
	(void)r; /* none is ever under way */
}

static void
memory_stats(struct store *s, struct store_stats *out)
{
	*out = (struct store_stats){
		.durability = "memory",
		.commits = memory_of(s)->batch,
		.oldest_seq = memory_oldest_seq(s, 0, true),
	};
}

/* ---- */

static void
memory_free(struct store *s)
{
	struct memory *m = memory_of(s);
	struct history *h;
	void *entry;
	uint64_t id;

	while ((entry = idtab_next(&m->by_id, 0, &id)) != NULL) {
		idtab_remove(&m->by_id, id);
		if (is_packed(entry))
			packed_free(&s->envs, packed_of(entry));
		else
			row_unref(s, entry);
	}
	while ((h = m->histories) != NULL) {
		m->histories = h->next;
		free(h->seqs);
		free(h);
	}
	idtab_fini(&m->by_id);
	idtab_fini(&m->by_seq);
	keytab_fini(&m->keys);
	env_table_fini(&s->envs);
	free(m);
}

static const struct store_ops memory_ops = {
	.free = memory_free,
	.add = memory_add,
	.change = memory_change,
	.forget = memory_forget,
	.commit = memory_commit,
	.read = memory_read,
	.read_drop = memory_read_drop,
	.stats = memory_stats,
	.find = memory_find,
	.row_gone = memory_row_gone,
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
	return &m->store;
}
