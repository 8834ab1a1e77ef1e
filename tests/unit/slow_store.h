#ifndef TESTS_SLOW_STORE_H
#define TESTS_SLOW_STORE_H
/*
 * The memory store with the manners of a durable one: it commits some turns later, finds only rows
 * that somebody counts a reference of, and answers reads in random order, from a picture of any
 * moment in between. Put over a store that was made already; nothing of it outlives anything.
 */
#include "core/container.h"
#include "core/loop.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define SLOW_RING 4       /* the newest completions are read at once */
#define SLOW_READS 4096
#define SLOW_OUTPUTS 64

struct slow_read {
	struct store_read *read;
	bool taken; /* the picture is */
};

struct slow_commit {
	store_commit_cb cb;
	void *arg;
	uint64_t number;
};

struct slow_output { /* as history keeps it */
	uint64_t job;
	int stream;
	int64_t start;
	char *bytes;
	size_t len;
};

static struct slow_store {
	struct store *store; /* NULL: not in use */
	const struct store_ops *inner;
	struct store_ops ops;
	struct slot_loop *loop;
	struct slot_call turn;
	struct slow_read reads[SLOW_READS];
	size_t nreads;
	size_t asked, dropped, most; /* reads in all; given up; under way at a time */
	struct slow_commit commits[SLOW_READS];
	size_t ncommits;
	struct slot_call commit;
	uint64_t batch;
	bool held;                   /* none is answered */
	int error;                   /* of the next answer */
	uint64_t seed;
	struct slow_output outputs[SLOW_OUTPUTS];
	size_t noutputs;
} slow_store;

static inline uint64_t
slow_random(uint64_t n)
{
	slow_store.seed ^= slow_store.seed << 13;
	slow_store.seed ^= slow_store.seed >> 7;
	slow_store.seed ^= slow_store.seed << 17;
	return slow_store.seed % n;
}

static inline struct row *
slow_find(struct store *s, uint64_t id)
{
	struct row *row = slow_store.inner->find(s, id);

	return row != NULL && row->refs > (row->kept ? 1u : 0u) ? row : NULL;
}

static inline void
slow_read_output(struct store_read *r)
{
	r->error = 0;
	r->nread = 0;
	for (size_t i = 0; i < slow_store.noutputs; i++) {
		const struct slow_output *o = &slow_store.outputs[i];
		size_t skip;

		if (o->job != r->job || o->stream != r->stream)
			continue;
		if (r->off < o->start)
			r->off = o->start;
		skip = (size_t)(r->off - o->start);
		if (skip >= o->len)
			return;
		r->nread = (ssize_t)(o->len - skip < r->max ? o->len - skip : r->max);
		memcpy(r->buf, o->bytes + skip, (size_t)r->nread);
		return;
	}
}

static inline void
slow_take(struct slow_read *sr)
{
	if (sr->read->kind == STORE_READ_OUTPUT)
		slow_read_output(sr->read);
	else
		slow_store.inner->read(slow_store.store, sr->read);
	sr->taken = true;
}

static inline void
slow_answer(struct slot_call *call)
{
	struct slow_read sr;
	size_t i;

	(void)call;
	if (slow_store.nreads == 0 || slow_store.held)
		return;
	i = slow_random(slow_store.nreads);
	sr = slow_store.reads[i];
	slow_store.reads[i] = slow_store.reads[--slow_store.nreads];
	if (!sr.taken)
		slow_take(&sr);
	if (slow_store.error != 0) {
		store_read_fini(slow_store.store, sr.read);
		sr.read->error = slow_store.error;
		slow_store.error = 0;
	}
	for (size_t k = 0; k < slow_store.nreads; k++) /* some see the world as it is now */
		if (!slow_store.reads[k].taken && slow_random(4) == 0)
			slow_take(&slow_store.reads[k]);
	if (slow_store.nreads > 0)
		slot_loop_call_at_turn_end(slow_store.loop, &slow_store.turn);
	sr.read->done(sr.read);
}

static inline bool
slow_start(struct store *s, struct store_read *r)
{
	if (r->kind == STORE_READ_DONE && r->from + SLOW_RING > s->last_seq)
		return slow_store.inner->read(s, r);
	slow_store.asked++;
	if (slow_store.nreads == SLOW_READS)
		abort();
	slow_store.reads[slow_store.nreads] = (struct slow_read){ .read = r };
	if (slow_random(2) == 0)
		slow_take(&slow_store.reads[slow_store.nreads]);
	slow_store.nreads++;
	if (slow_store.nreads > slow_store.most)
		slow_store.most = slow_store.nreads;
	if (!slow_store.held)
		slot_loop_call_at_turn_end(slow_store.loop, &slow_store.turn);
	return false;
}

static inline void
slow_drop(struct store *s, struct store_read *r)
{
	for (size_t i = 0; i < slow_store.nreads; i++)
		if (slow_store.reads[i].read == r) {
			if (slow_store.reads[i].taken)
				store_read_fini(s, r);
			slow_store.reads[i] = slow_store.reads[--slow_store.nreads];
			slow_store.dropped++;
			return;
		}
	abort(); /* it isn't under way */
}

static inline void
slow_committed(struct slot_call *call)
{
	struct slow_commit c = slow_store.commits[0];

	(void)call;
	if (slow_random(3) == 0) { /* not yet */
		slot_loop_call_at_turn_end(slow_store.loop, &slow_store.commit);
		return;
	}
	slow_store.ncommits--; /* (valgrind takes a checked memmove for a memcpy) */
	for (size_t i = 0; i < slow_store.ncommits; i++)
		slow_store.commits[i] = slow_store.commits[i + 1];
	if (slow_store.ncommits > 0)
		slot_loop_call_at_turn_end(slow_store.loop, &slow_store.commit);
	c.cb(c.arg, c.number, 0);
}

static inline void
slow_commit(struct store *s, store_commit_cb cb, void *arg)
{
	(void)s;
	if (slow_store.ncommits == SLOW_READS)
		abort();
	slow_store.commits[slow_store.ncommits++] =
	    (struct slow_commit){ cb, arg, ++slow_store.batch };
	slot_loop_call_at_turn_end(slow_store.loop, &slow_store.commit);
}

/* Nothing is read until slow_resume. */
static inline void
slow_hold(void)
{
	slow_store.held = true;
}

static inline void
slow_resume(void)
{
	slow_store.held = false;
	slot_loop_call_at_turn_end(slow_store.loop, &slow_store.turn);
}

static inline void
slow_keeps(struct row *row, int stream, int64_t start, const char *bytes, size_t len)
{
	struct slow_output *o = &slow_store.outputs[slow_store.noutputs++];

	*o = (struct slow_output){ row->id, stream, start, malloc(len + 1), len };
	memcpy(o->bytes, bytes, len);
	row->run->out_start[stream - 1] = start;
	row->run->out_bytes[stream - 1] = (int64_t)len;
}

static inline int
slow_keep_setting(struct store *s, const char *name, int64_t value)
{
	(void)s, (void)name, (void)value;
	return 0;
}

static inline int
slow_keep_queue(struct store *s, const char *queue, int64_t max_running, bool paused)
{
	(void)s, (void)queue, (void)max_running, (void)paused;
	return 0;
}

static inline void
slow_free(struct store *s)
{
	const struct store_ops *inner = slow_store.inner;

	if (slow_store.nreads > 0)
		abort(); /* whose is it? */
	slot_loop_call_cancel(slow_store.loop, &slow_store.turn);
	slot_loop_call_cancel(slow_store.loop, &slow_store.commit);
	for (size_t i = 0; i < slow_store.noutputs; i++)
		free(slow_store.outputs[i].bytes);
	slow_store.store = NULL;
	s->ops = inner;
	inner->free(s);
}

static inline void
slow_store_install(struct store *s, struct slot_loop *l)
{
	const char *seed = getenv("SLOT_SLOW_SEED");

	slow_store = (struct slow_store){ .store = s, .inner = s->ops, .ops = *s->ops, .loop = l,
		.seed = 88172645463325252u + (seed != NULL ? strtoull(seed, NULL, 0) : 0) };
	slow_store.turn.run = slow_answer;
	slow_store.commit.run = slow_committed;
	slow_store.ops.commit = slow_commit;
	slow_store.ops.free = slow_free;
	slow_store.ops.find = slow_find;
	slow_store.ops.read = slow_start;
	slow_store.ops.read_drop = slow_drop;
	slow_store.ops.keep_setting = slow_keep_setting;
	slow_store.ops.keep_queue = slow_keep_queue;
	s->ops = &slow_store.ops;
	s->durable = true;
}

#endif
