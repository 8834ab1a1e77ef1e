/*
 * What history sums up to, per user, and pruning: the reader looks for the oldest jobs of a user,
 * the loop decides which of them go, the writer removes them; then the next slice. It goes on by
 * itself until the bounds hold.
 */
#include "store/journal_internal.h"

#include "core/container.h"
#include "core/logger.h"

#include <errno.h>
#include <stdlib.h>

#define PRUNE_SLICE 256
#define AGE_CHECK_MAX_US (3600 * INT64_C(1000000)) /* between two looks: clocks jump */
#define AGE_CHECK_MIN_US INT64_C(1000000)

struct jhistory *
history_of(struct journal *j, uint32_t uid)
{
	struct jhistory *h = j->histories;

	while (h != NULL && h->uid != uid)
		h = h->next;
	if (h != NULL)
		return h;
	h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->uid = uid;
	h->oldest_us = INT64_MAX;
	h->next = j->histories;
	return j->histories = h;
}

void
history_add(struct journal *j, struct jhistory *h, const struct row *row)
{
	j->store.ndone++;
	j->store.output_bytes += row->run->kept_bytes;
	h->jobs++;
	h->bytes += row->run->kept_bytes;
	if (h->oldest_us == INT64_MAX)
		h->oldest_us = row->run->finished_us;
}

/* It counts towards no bound from here on. */
static void
discount(struct journal *j, struct jhistory *h, int64_t bytes)
{
	j->store.ndone -= j->store.ndone > 0;
	j->store.output_bytes -= bytes;
	h->jobs -= h->jobs > 0;
	h->bytes -= bytes;
}

uint64_t
history_oldest_seq(struct store *s, uint32_t uid, bool all)
{
	uint64_t oldest = 1;

	for (struct jhistory *h = journal_of(s)->histories; h != NULL; h = h->next)
		if ((all || h->uid == uid) && h->pruned_seq + 1 > oldest)
			oldest = h->pruned_seq + 1;
	return oldest;
}

/* ---- one row leaves ---- */

static int
put_forget(struct jbatch *b, enum op_kind kind, uint32_t uid, const struct old_job *old,
    bool counted, uint64_t pruned_seq)
{
	struct op_forget *op = jbatch_op(b, kind, sizeof *op);

	if (op == NULL)
		return -ENOMEM;
	op->id = old->id;
	op->seq = old->seq;
	op->uid = uid;
	op->kept_bytes = old->kept_bytes;
	op->counted = counted;
	op->pruned_seq = pruned_seq;
	return 0;
}

static struct old_job
old_of(const struct row *row)
{
	return (struct old_job){
		row->run->seq, row->id, row->run->finished_us, row->run->kept_bytes, false,
	};
}

/* A row in memory is not to be found from here on; b holds its op and has room for a note. */
static void
vanish(struct journal *j, struct jbatch *b, struct row *row)
{
	row->gone = true;
	row->passed = false;
	keytab_remove(&j->keys, row);
	jbatch_note(b, row, BATCH_GONE);
	rows_recent_remove(j, row);
	if (j->store.hooks.on_removed != NULL)
		j->store.hooks.on_removed(j->store.hooks.arg, row);
}

int
history_forget(struct journal *j, struct jbatch *b, struct row *row)
{
	struct jhistory *h = history_of(j, row->uid);
	struct old_job old = old_of(row);

	if (h == NULL || jbatch_reserve(b) < 0 ||
	    put_forget(b, OP_FORGET, row->uid, &old, !row->passed, 0) < 0)
		return -ENOMEM;
	if (!row->passed)
		discount(j, h, old.kept_bytes);
	vanish(j, b, row);
	return 0;
}

void
history_unpinned(struct store *s, struct row *row)
{
	struct journal *j = journal_of(s);
	struct jbatch *b;

	if (!row->passed || row->gone)
		return;
	b = jbatch_new(++j->batches);
	if (b == NULL || history_forget(j, b, row) < 0)
		jbatch_free(b); /* the next start finds it */
	else
		journal_send(j, b);
}

/* ---- pruning ---- */

static bool
over(const struct journal *j, const struct jhistory *h, int64_t finished_us, int64_t now_us)
{
	const struct store_bounds *b = &j->store.bounds;

	return (b->jobs != 0 && h->jobs > b->jobs) ||
	    (b->output_bytes != 0 && h->bytes > b->output_bytes) ||
	    (b->age_us != 0 && finished_us < now_us - b->age_us);
}

/* Is there anything to look for? Leftovers stand at or before pruned_seq. */
static bool
wanted(const struct journal *j, const struct jhistory *h, int64_t now_us)
{
	if (h->rests)
		return false;
	if (!h->swept && h->pruned_seq > 0)
		return true;
	return h->jobs > 0 && h->oldest_us != INT64_MAX && over(j, h, h->oldest_us, now_us);
}

static void on_age(struct slot_timer *timer);

/* Looks again when the oldest job will have had its time. */
static void
watch_age(struct journal *j, int64_t now_us)
{
	int64_t first_us = INT64_MAX, in_us;

	if (j->store.bounds.age_us == 0)
		return;
	for (const struct jhistory *h = j->histories; h != NULL; h = h->next)
		if (h->jobs > 0 && h->oldest_us < first_us)
			first_us = h->oldest_us;
	if (first_us == INT64_MAX)
		return;
	in_us = AGE_CHECK_MIN_US;
	if (first_us > now_us - j->store.bounds.age_us)
		in_us += first_us - (now_us - j->store.bounds.age_us);
	if (in_us > AGE_CHECK_MAX_US)
		in_us = AGE_CHECK_MAX_US;
	j->age.fire = on_age;
	slot_loop_timer_set(j->loop, &j->age, slot_loop_now_us(j->loop) + in_us);
}

/* Begins the next slice, where one is wanted and none is under way. */
static void
next_slice(struct journal *j, int64_t now_us)
{
	struct jhistory *h = j->histories;
	struct store_read r = { .kind = STORE_READ_DONE, .filter = { .by_uid = true } };
	struct jread *jr;

	if (j->pruning || j->failed || j->store.stuck)
		return;
	while (h != NULL && !wanted(j, h, now_us))
		h = h->next;
	if (h == NULL) {
		watch_age(j, now_us);
		return;
	}
	r.from = h->from;
	r.filter.uid = h->uid;
	r.limit = PRUNE_SLICE;
	jr = jread_new(&r);
	if (jr == NULL)
		return; /* the next completion asks again */
	jr->kind = JREAD_OLD;
	j->pruning = true;
	reads_send(j, jr);
}

bool
history_prune(struct store *s, int64_t now_us)
{
	struct journal *j = journal_of(s);

	for (struct jhistory *h = j->histories; h != NULL; h = h->next)
		h->rests = false;
	next_slice(j, now_us);
	return false;
}

static void
on_age(struct slot_timer *timer)
{
	struct journal *j = slot_container_of(timer, struct journal, age);

	history_prune(&j->store, slot_loop_wall_us(j->loop));
}

/* What becomes of one candidate: it goes, it is passed over, or the slice ends before it (1). */
static int
prune_one(struct journal *j, struct jhistory *h, struct jbatch *b, const struct old_job *old,
    int64_t now_us)
{
	struct row *row = idtab_get(&j->by_id, old->id);
	bool leftover = old->seq <= h->pruned_seq;
	bool pinned = row != NULL && row->pins > 0;

	if (old->damaged) { /* nothing is removed on its word */
		if (h->damaged_seq < old->seq)
			slot_log(j->logger, SLOT_LOG_ERROR, "the journal is damaged: table=done "
			    "seq=%llu; it is not pruned", (unsigned long long)old->seq);
		if (h->damaged_seq < old->seq)
			h->damaged_seq = old->seq;
		return 0;
	}
	if (row != NULL ? row->gone || row->passed : idtab_get(&j->vanishing, old->id) != NULL)
		return 0;
	if (!leftover && !over(j, h, old->finished_us, now_us))
		return 1;
	if (row != NULL && row->uncommitted > 0)
		return 1;
	if (pinned && leftover) {
		row->passed = true;
		return 0;
	}
	if (row == NULL && (jbatch_prune_id(b, old->id) < 0 ||
	    idtab_put(&j->vanishing, old->id, j) < 0))
		return -ENOMEM;
	if (put_forget(b, pinned ? OP_PASS : OP_FORGET, h->uid, old, !leftover,
	    leftover ? 0 : old->seq) < 0)
		return -ENOMEM;
	if (!leftover) {
		discount(j, h, old->kept_bytes);
		h->pruned_seq = old->seq;
	}
	if (pinned)
		row->passed = true;
	else if (row != NULL)
		vanish(j, b, row);
	return 0;
}

/* Decides about the candidates; h->rests where there is no more to prune, for now. */
static void
prune_slice(struct journal *j, struct jhistory *h, struct jbatch *b, const struct jread *jr,
    int64_t now_us)
{
	for (size_t i = 0; i < jr->nold; i++) {
		const struct old_job *old = &jr->old[i];

		if (!old->damaged)
			h->oldest_us = old->finished_us;
		/* (Room first: what was decided must not fail half-way.) */
		if (jbatch_reserve(b) < 0 || prune_one(j, h, b, old, now_us) != 0) {
			h->swept = h->rests = true;
			return;
		}
		h->from = old->seq + 1;
	}
	if (jr->nold == jr->limit)
		return;
	h->swept = h->rests = true;
	/* Those that are on their way to the journal are new. */
	h->oldest_us = h->jobs > 0 ? now_us : INT64_MAX;
}

void
history_read(struct journal *j, struct jread *jr)
{
	struct jhistory *h = history_of(j, jr->filter.uid);
	struct jbatch *b = jbatch_new(++j->batches);
	int64_t now_us = slot_loop_wall_us(j->loop);

	if (h == NULL || b == NULL || jr->error != 0) {
		jbatch_free(b);
		j->pruning = false;
		return;
	}
	prune_slice(j, h, b, jr, now_us);
	b->prunes = true;
	if (b->len > 0) {
		journal_send(j, b); /* history_pruned when it is committed */
		return;
	}
	jbatch_free(b);
	j->pruning = false;
	next_slice(j, now_us);
}

void
history_pruned(struct journal *j)
{
	j->pruning = false;
	next_slice(j, slot_loop_wall_us(j->loop));
}

void
history_fini(struct journal *j)
{
	struct jhistory *h;

	slot_loop_timer_clear(j->loop, &j->age);
	while ((h = j->histories) != NULL) {
		j->histories = h->next;
		free(h);
	}
}
