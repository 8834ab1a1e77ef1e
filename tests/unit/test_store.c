/* What all stores share and the one in memory: the table of ids, environments, rows, history. */
#include "store/idtab.h"
#include "store/store.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As ck_assert, for what is checked very often: libcheck writes a record for each that holds. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg("not so: %s", #condition);                                    \
	} while (0)

/* ---- idtab ---- */

static int things[8]; /* somewhere to point */

START_TEST(a_table_finds_what_was_put)
{
	struct idtab t = { 0 };

	ck_assert_ptr_null(idtab_get(&t, 7));
	ck_assert_ptr_null(idtab_remove(&t, 7));
	ck_assert_int_eq(idtab_put(&t, 7, &things[0]), 0);
	ck_assert_int_eq(idtab_put(&t, 7, &things[1]), 0); /* replaces */
	ck_assert_int_eq(idtab_put(&t, 300, &things[2]), 0);
	ck_assert_uint_eq(t.count, 2);
	ck_assert_ptr_eq(idtab_get(&t, 7), &things[1]);
	ck_assert_ptr_eq(idtab_get(&t, 300), &things[2]);
	ck_assert_ptr_null(idtab_get(&t, 8));
	ck_assert_ptr_null(idtab_get(&t, 1000000));
	ck_assert_ptr_eq(idtab_remove(&t, 7), &things[1]);
	ck_assert_ptr_null(idtab_get(&t, 7));
	ck_assert_uint_eq(t.count, 1);
	idtab_fini(&t);
	ck_assert_uint_eq(t.count, 0);
}
END_TEST

START_TEST(a_table_is_walked_both_ways)
{
	struct idtab t = { 0 };
	uint64_t id = 0;

	ck_assert_ptr_null(idtab_next(&t, 0, &id));
	ck_assert_ptr_null(idtab_prev(&t, UINT64_MAX, &id));
	idtab_put(&t, 1000, &things[0]);
	idtab_put(&t, 1255, &things[1]);
	idtab_put(&t, 90000, &things[2]);
	ck_assert_ptr_eq(idtab_next(&t, 0, &id), &things[0]);
	ck_assert_uint_eq(id, 1000);
	ck_assert_ptr_eq(idtab_next(&t, 1001, &id), &things[1]);
	ck_assert_ptr_eq(idtab_next(&t, 1256, &id), &things[2]);
	ck_assert_ptr_null(idtab_next(&t, 90001, &id));
	ck_assert_ptr_eq(idtab_prev(&t, UINT64_MAX, &id), &things[2]);
	ck_assert_uint_eq(id, 90000);
	ck_assert_ptr_eq(idtab_prev(&t, 89999, &id), &things[1]);
	ck_assert_ptr_eq(idtab_prev(&t, 1000, &id), &things[0]);
	ck_assert_ptr_null(idtab_prev(&t, 999, &id));
	ck_assert_ptr_null(idtab_prev(&t, 0, &id));
	idtab_fini(&t);
}
END_TEST

/* Of a history that moves on, what was pruned takes no room. */
START_TEST(a_moving_window_stays_small)
{
	struct idtab t = { 0 };
	const uint64_t window = 1000;

	for (uint64_t id = 1; id <= 200000; id++) {
		MUST(idtab_put(&t, id, &things[0]) == 0);
		if (id > window)
			MUST(idtab_remove(&t, id - window) == &things[0]);
	}
	ck_assert_uint_eq(t.count, window);
	ck_assert_uint_le(t.cap, 64);
	idtab_fini(&t);
}
END_TEST

/* A wild id is refused, not a reason to allocate the world. */
START_TEST(a_gap_too_wide_is_refused)
{
	struct idtab t = { 0 };

	ck_assert_int_eq(idtab_put(&t, 1, &things[0]), 0);
	ck_assert_int_eq(idtab_put(&t, UINT64_MAX, &things[1]), -ENOMEM);
	ck_assert_ptr_eq(idtab_get(&t, 1), &things[0]);
	ck_assert_uint_eq(t.count, 1);
	idtab_fini(&t);
}
END_TEST

static unsigned long long seed;
static uint64_t state;

/* As MUST, with the seed. */
#define AGREES(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg("SLOT_SEED=%llu: not so: %s", seed, #condition);              \
	} while (0)

static uint64_t
random_below(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

static void
seed_random(void)
{
	const char *given = getenv("SLOT_SEED");

	seed = given != NULL ? strtoull(given, NULL, 0) : 20240229;
	state = seed * 2654435761u + 88172645463325252u;
}

enum { IDS = 5000 };

/* Against an array with a place for every id. */
START_TEST(a_table_equals_its_model)
{
	struct idtab t = { 0 };
	static char here[IDS];
	static char what[IDS];
	size_t count = 0;

	seed_random();
	memset(here, 0, sizeof here);
	for (int step = 0; step < 200000; step++) {
		/* Ids come in clusters, so that whole chunks fill and empty. */
		uint64_t around = random_below(IDS), id = around + random_below(40), at = 0;
		uint64_t base = (uint64_t)IDS * 7;
		void *got;

		if (id >= IDS)
			continue;
		switch (random_below(6)) {
		case 0:
		case 1:
			AGREES(idtab_put(&t, base + id, &what[id]) == 0);
			count += !here[id];
			here[id] = 1;
			break;
		case 2:
		case 3:
			got = idtab_remove(&t, base + id);
			AGREES(got == (here[id] ? &what[id] : NULL));
			count -= here[id];
			here[id] = 0;
			break;
		case 4:
			got = idtab_next(&t, base + id, &at);
			while (id < IDS && !here[id])
				id++;
			AGREES(got == (id < IDS ? &what[id] : NULL));
			AGREES(got == NULL || at == base + id);
			break;
		case 5:
			got = idtab_prev(&t, base + id, &at);
			while (id < IDS && !here[id])
				id = id > 0 ? id - 1 : IDS;
			AGREES(got == (id < IDS ? &what[id] : NULL));
			AGREES(got == NULL || at == base + id);
			break;
		}
		AGREES(t.count == count);
		if (step % 20000 == 19999) /* all of it goes: it begins anew anywhere */
			for (id = 0; id < IDS; id++) {
				AGREES(idtab_remove(&t, base + id) ==
				    (here[id] ? &what[id] : NULL));
				count -= here[id];
				here[id] = 0;
			}
	}
	idtab_fini(&t);
}
END_TEST

/* ---- environments ---- */

START_TEST(an_environment_is_kept_once)
{
	struct env_table t = { 0 };
	struct env_blob *a = env_intern(&t, "A=1\0B=2", 8), *b = env_intern(&t, "A=1", 4);
	struct env_blob *again = env_intern(&t, "A=1\0B=2", 8);

	ck_assert_ptr_eq(a, again);
	ck_assert_ptr_ne(a, b);
	ck_assert_uint_eq(t.count, 2);
	ck_assert_uint_eq(t.bytes, 12);
	ck_assert_mem_eq(a->bytes, "A=1\0B=2", 8);
	env_unref(&t, a);
	ck_assert_uint_eq(t.count, 2);
	env_unref(&t, again);
	ck_assert_uint_eq(t.count, 1);
	ck_assert_uint_eq(t.bytes, 4);
	env_unref(&t, b);
	env_unref(&t, NULL);
	a = env_intern(&t, "", 0); /* an empty one is one too */
	ck_assert_ptr_eq(env_intern(&t, "", 0), a);
	env_unref(&t, a);
	env_unref(&t, a);
	ck_assert_uint_eq(t.count, 0);
	env_table_fini(&t);
}
END_TEST

START_TEST(many_environments_stay_apart)
{
	static struct env_blob *blobs[3000];
	struct env_table t = { 0 };
	char text[32];

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3000; i++) {
			int len = snprintf(text, sizeof text, "N=%d", i) + 1;
			struct env_blob *env = env_intern(&t, text, (size_t)len);

			if (round == 0)
				blobs[i] = env;
			MUST(env == blobs[i]);
			MUST(strcmp(env->bytes, text) == 0);
		}
	ck_assert_uint_eq(t.count, 3000);
	for (int i = 0; i < 6000; i++)
		env_unref(&t, blobs[i % 3000]);
	ck_assert_uint_eq(t.count, 0);
	env_table_fini(&t);
}
END_TEST

/* ---- the store ---- */

static struct store *store;
static int removed, outputs_freed;
static uint64_t last_removed;

static void
on_output_free(void *output)
{
	ck_assert_ptr_nonnull(output);
	outputs_freed++;
}

static void
on_removed(void *arg, const struct row *row)
{
	ck_assert_ptr_eq(arg, things);
	last_removed = row->id;
	removed++;
}

static void
setup(void)
{
	const struct store_bounds none = { 0 };
	const struct store_hooks hooks = {
		.output_free = on_output_free, .on_removed = on_removed, .arg = things,
	};

	removed = outputs_freed = 0;
	store = store_memory_new(&none, &hooks, 77);
	ck_assert_ptr_nonnull(store);
}

#define LIVE_MAX 1024
static struct row *live[LIVE_MAX]; /* pending rows, counted as by their jobs, at id % LIVE_MAX */

static void
let_go(struct row *row)
{
	live[row->id % LIVE_MAX] = NULL;
	row_unref(store, row);
}

static void
teardown(void)
{
	for (size_t i = 0; i < LIVE_MAX; i++)
		if (live[i] != NULL)
			let_go(live[i]);
	store->ops->free(store);
}

/* A pending row in the store, counted until let_go, or finish. */
static struct row *
add(void)
{
	struct spec *spec = calloc(1, sizeof *spec);
	struct row *row;

	spec->size = sizeof *spec;
	spec->priority = 3;
	row = row_new(spec, env_intern(&store->envs, "A=1", 4));
	ck_assert_ptr_nonnull(row);
	ck_assert_int_eq(row->priority, 3);
	row->id = store->next_id++;
	ck_assert_int_eq(store->ops->add(store, row), 0);
	ck_assert_int_eq(store->ops->change(store, row, STORE_SUBMITTED), 0);
	MUST(live[row->id % LIVE_MAX] == NULL);
	return live[row->id % LIVE_MAX] = row;
}

static void
finish(struct row *row, int64_t finished_us, int64_t bytes)
{
	struct row_run *run = row_run(row);

	ck_assert_int_eq(run->exit_code, -1);
	row->phase = ROW_DONE;
	run->seq = ++store->last_seq;
	run->finished_us = finished_us;
	run->out_bytes[0] = bytes;
	ck_assert_int_eq(store->ops->change(store, row, STORE_DONE), 0);
	let_go(row);
}

static struct row *
find(uint64_t id)
{
	return store->ops->find(store, id);
}

/* The one row of a page, borrowed. NULL: none. */
static struct row *
first_of(struct store_read r)
{
	struct row *row;

	r.filter.phase = r.filter.ok = -1;
	r.limit = 1;
	ck_assert(store->ops->read(store, &r));
	row = r.nrows == 1 ? r.rows[0] : NULL;
	store_read_fini(store, &r);
	return row;
}

static struct row *
next_row(uint64_t from)
{
	return first_of((struct store_read){ .kind = STORE_READ_PAGE, .from = from });
}

static struct row *
prev_row(uint64_t from)
{
	return first_of((struct store_read){ .kind = STORE_READ_PAGE, .from = from,
	    .backward = true });
}

static struct row *
next_done(uint64_t from)
{
	return first_of((struct store_read){ .kind = STORE_READ_DONE, .from = from });
}

START_TEST(rows_are_found_and_walked)
{
	struct row *rows[600];

	ck_assert_ptr_null(find(1));
	ck_assert_ptr_null(next_row(0));
	for (int i = 0; i < 600; i++)
		rows[i] = add();
	ck_assert_uint_eq(rows[599]->id, 600);
	ck_assert_ptr_eq(find(1), rows[0]);
	ck_assert_ptr_eq(find(600), rows[599]);
	ck_assert_ptr_null(find(601));
	ck_assert_ptr_null(find(0));
	ck_assert_ptr_eq(next_row(300), rows[299]);
	ck_assert_ptr_null(next_row(601));
	ck_assert_ptr_eq(prev_row(9999), rows[599]);
	ck_assert_ptr_null(prev_row(0));
	ck_assert_uint_eq(store->envs.count, 1);
	ck_assert_uint_eq(store->ndone, 0);
}
END_TEST

static uint64_t committed[3];
static int ncommitted;

static void
on_commit(void *arg, uint64_t batch, int error)
{
	ck_assert_ptr_eq(arg, &committed);
	ck_assert_int_eq(error, 0);
	committed[ncommitted++] = batch;
}

START_TEST(commits_are_told_in_order)
{
	ncommitted = 0;
	for (int i = 0; i < 3; i++) {
		add();
		store->ops->commit(store, on_commit, &committed);
	}
	ck_assert_int_eq(ncommitted, 3);
	ck_assert_uint_lt(committed[0], committed[1]);
	ck_assert_uint_lt(committed[1], committed[2]);
}
END_TEST

START_TEST(done_rows_stand_in_finish_order)
{
	struct row *a = add(), *b = add(), *d = add();

	ck_assert_ptr_null(next_done(0));
	finish(d, 10, 0);
	finish(a, 20, 0);
	ck_assert_uint_eq(store->ndone, 2);
	ck_assert_ptr_eq(next_done(0), d);
	ck_assert_ptr_eq(next_done(1), d);
	ck_assert_ptr_eq(next_done(2), a);
	ck_assert_ptr_null(next_done(3));
	finish(b, 30, 0);
	ck_assert_ptr_eq(next_done(3), b);
	ck_assert_uint_eq(store->ops->oldest_seq(store, 0, true), 1);
}
END_TEST

START_TEST(a_forgotten_row_leaves_a_hole)
{
	struct row *a = add(), *b = add();

	finish(a, 10, 5);
	finish(b, 20, 7);
	a->output = &things[0];
	row_ref(a);
	store->ops->forget(store, a);
	ck_assert_int_eq(removed, 1);
	ck_assert_uint_eq(last_removed, 1);
	ck_assert_ptr_null(find(1));
	ck_assert_ptr_eq(next_done(1), b);
	ck_assert_uint_eq(store->ndone, 1);
	ck_assert_int_eq(store->output_bytes, b->run->kept_bytes);
	ck_assert_int_eq(b->run->kept_bytes, 7 + b->spec->size); /* (its environment is shared) */
	ck_assert_uint_eq(store->ops->oldest_seq(store, 0, true), 1); /* nothing was pruned */
	ck_assert_int_eq(outputs_freed, 0); /* somebody holds the row */
	row_unref(store, a);
	ck_assert_int_eq(outputs_freed, 1);
	ck_assert_uint_eq(store->envs.count, 1);
}
END_TEST

static void
prune(int64_t now_us)
{
	for (int i = 0; store->ops->prune(store, now_us); i++)
		ck_assert_int_lt(i, 10000);
}

START_TEST(history_is_pruned_by_number)
{
	struct row *pending = add();

	for (int i = 0; i < 1000; i++)
		finish(add(), 10, 0);
	prune(1000);
	ck_assert_uint_eq(store->ndone, 1000); /* no bounds, no pruning */
	store->bounds.jobs = 100;
	ck_assert(store->ops->prune(store, 1000)); /* in slices */
	ck_assert_uint_gt(store->ndone, 100);
	prune(1000);
	ck_assert_uint_eq(store->ndone, 100);
	ck_assert_uint_eq(store->ops->oldest_seq(store, 0, true), 901);
	ck_assert_uint_eq(next_done(0)->run->seq, 901);
	ck_assert_int_eq(removed, 900);
	ck_assert_ptr_eq(find(1), pending);
	ck_assert_ptr_null(find(2));
}
END_TEST

START_TEST(history_is_pruned_by_age_and_output)
{
	for (int i = 1; i <= 10; i++)
		finish(add(), i * 100, 10);
	store->bounds.age_us = 500;
	prune(1000);
	ck_assert_uint_eq(store->ndone, 6); /* 500 is not older than 500 */
	store->bounds.output_bytes = 2 * find(10)->run->kept_bytes + 5;
	prune(1000);
	ck_assert_uint_eq(store->ndone, 2);
	ck_assert_int_eq(store->output_bytes, 2 * find(10)->run->kept_bytes);
	prune(100000);
	ck_assert_uint_eq(store->ndone, 0);
	ck_assert_uint_eq(store->ops->oldest_seq(store, 0, true), 11);
}
END_TEST

START_TEST(a_pinned_row_goes_with_its_last_pin)
{
	struct row *a = add(), *b = add();

	finish(a, 10, 4);
	finish(b, 20, 0);
	row_pin(a);
	row_pin(a);
	store->bounds.age_us = 100;
	prune(1000);
	ck_assert_ptr_eq(find(1), a);
	ck_assert_ptr_null(find(2));
	ck_assert_uint_eq(store->ops->oldest_seq(store, 0, true), 3);
	ck_assert_uint_eq(store->ndone, 0); /* it counts no more */
	ck_assert_int_eq(store->output_bytes, 0);
	row_unpin(store, a);
	ck_assert_ptr_eq(find(1), a);
	row_unpin(store, a);
	ck_assert_ptr_null(find(1));
	ck_assert_int_eq(removed, 2);
	ck_assert_uint_eq(store->ndone, 0);
}
END_TEST

START_TEST(a_pinned_row_can_be_forgotten)
{
	struct row *a = add(), *b = add();

	finish(a, 10, 4);
	finish(b, 10, 6);
	row_pin(row_ref(a));
	row_pin(row_ref(b));
	store->ops->forget(store, a);
	ck_assert_ptr_null(find(1));
	store->bounds.age_us = 100;
	prune(1000);
	store->ops->forget(store, b); /* passed over, then forgotten */
	row_unpin(store, a);
	row_unpin(store, b);
	row_unref(store, a);
	row_unref(store, b);
	ck_assert_int_eq(removed, 2);
	ck_assert_uint_eq(store->ndone, 0);
	ck_assert_int_eq(store->output_bytes, 0);
}
END_TEST

/* ---- reads: all answered at once ---- */

static size_t
read_now(struct store_read *r)
{
	ck_assert(store->ops->read(store, r));
	ck_assert_int_eq(r->error, 0);
	return r->nrows;
}

START_TEST(rows_are_read_by_id_and_by_key)
{
	const uint64_t ids[] = { 2, 9, 1 };
	const char *const keys[] = { "b", "a" };
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = ids, .nids = 3 };
	struct spec *spec = calloc(1, sizeof *spec + 2);
	struct row *a = add(), *b = add(), *keyed;

	ck_assert_uint_eq(read_now(&r), 3);
	ck_assert_ptr_eq(r.rows[0], b);
	ck_assert_ptr_null(r.rows[1]);
	ck_assert_ptr_eq(r.rows[2], a);
	ck_assert_uint_eq(r.oldest_job, 1);
	store_read_fini(store, &r);
	spec->size = sizeof *spec + 2;
	spec->key_off = sizeof *spec;
	spec->key_len = 1;
	memcpy((char *)spec + sizeof *spec, "a", 2);
	keyed = row_new(spec, NULL);
	keyed->id = store->next_id++;
	keyed->uid = 5;
	ck_assert_int_eq(store->ops->add(store, keyed), 0);
	r = (struct store_read){ .kind = STORE_READ_KEYS, .keys = keys, .nkeys = 2,
		.filter = { .by_uid = true, .uid = 5 } };
	ck_assert_uint_eq(read_now(&r), 2);
	ck_assert_ptr_null(r.rows[0]);
	ck_assert_ptr_eq(r.rows[1], keyed);
	store_read_fini(store, &r);
	finish(keyed, 10, 0);
	store->ops->forget(store, keyed);
	ck_assert_uint_eq(read_now(&r), 2);
	ck_assert_ptr_null(r.rows[1]); /* the key went with its job */
	store_read_fini(store, &r);
}
END_TEST

START_TEST(pages_are_read_both_ways)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .from = 2, .limit = 2,
		.filter = { .phase = -1, .ok = -1 } };

	for (int i = 0; i < 5; i++)
		add();
	ck_assert_uint_eq(read_now(&r), 2);
	ck_assert_uint_eq(r.rows[1]->id, 3);
	ck_assert_uint_eq(r.next, 4);
	store_read_fini(store, &r);
	r.backward = true;
	ck_assert_uint_eq(read_now(&r), 2);
	ck_assert_uint_eq(r.rows[1]->id, 1);
	ck_assert_uint_eq(r.next, 0);
	store_read_fini(store, &r);
	finish(find(4), 10, 0);
	r.backward = false;
	r.from = 1;
	r.filter.phase = ROW_DONE;
	ck_assert_uint_eq(read_now(&r), 1);
	ck_assert_uint_eq(r.rows[0]->id, 4);
	store_read_fini(store, &r);
	r = (struct store_read){ .kind = STORE_READ_DONE, .from = 1, .limit = 9,
		.filter = { .phase = -1, .ok = -1 } };
	ck_assert_uint_eq(read_now(&r), 1);
	ck_assert_uint_eq(r.rows[0]->run->seq, 1);
	ck_assert_uint_eq(r.next, 0);
	store_read_fini(store, &r);
}
END_TEST

/* ---- rows that nobody looks at ---- */

/* A pending row whose spec has `rest` bytes behind the fixed part; of that, every `every`th word is
 * not zero. */
static struct row *
add_odd(size_t rest, unsigned every)
{
	struct spec *spec = calloc(1, sizeof *spec + rest);
	uint32_t *words = (uint32_t *)spec;
	struct row *row;

	for (size_t i = 1; i < sizeof *spec / sizeof *words; i++)
		words[i] = every != 0 && i % every == 0 ? (uint32_t)(i * 2654435761u) : 0;
	memset(spec + 1, 'r', rest);
	spec->size = (uint32_t)(sizeof *spec + rest);
	spec->key_off = 0;
	spec->name_off = 0;
	row = row_new(spec, env_intern(&store->envs, "B=2", 4));
	row->id = store->next_id++;
	row->queue = "default";
	row->uid = 7;
	row->cost = 1234;
	row->submitted_us = 1000 + (int64_t)row->id;
	ck_assert_int_eq(store->ops->add(store, row), 0);
	return live[row->id % LIVE_MAX] = row;
}

/* The row by id, counted. */
static struct row *
read_one(uint64_t id)
{
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = &id, .nids = 1 };
	struct row *row;

	ck_assert_uint_eq(read_now(&r), 1);
	row = r.rows[0] != NULL ? row_ref(r.rows[0]) : NULL;
	store_read_fini(store, &r);
	return row;
}

START_TEST(a_row_nobody_looks_at_comes_back_as_it_was)
{
	for (unsigned every = 0; every < 12; every++)
		for (size_t rest = 0; rest < 40; rest += 13) {
			struct row *row = add_odd(rest, every), was = *row, *again;
			struct spec *spec = malloc(row->spec->size);
			bool stays = every == 1; /* hardly a word of it is as usual */

			memcpy(spec, row->spec, row->spec->size);
			let_go(row);
			ck_assert((find(was.id) != NULL) == stays);
			ck_assert_ptr_nonnull(row = read_one(was.id));
			ck_assert_ptr_eq(find(was.id), row);
			ck_assert_ptr_eq(again = read_one(was.id), row);
			row_unref(store, again);
			ck_assert_int_eq(memcmp(row->spec, spec, spec->size), 0);
			ck_assert_ptr_eq(row->env, was.env);
			ck_assert_str_eq(row->queue, "default");
			ck_assert_uint_eq(row->id, was.id);
			ck_assert_uint_eq(row->uid, 7);
			ck_assert_uint_eq(row->cost, 1234);
			ck_assert_int_eq(row->priority, was.priority);
			ck_assert_int_eq(row->submitted_us, was.submitted_us);
			ck_assert_int_eq(row->phase, ROW_PENDING);
			row_unref(store, row);
			ck_assert((find(was.id) != NULL) == stays);
			free(spec);
		}
	ck_assert_uint_eq(store->envs.count, 1); /* its references come and go with the rows */
}
END_TEST

START_TEST(what_has_more_to_it_stays_found)
{
	struct row *row = add(), *held = add(), *waits = add(), *again = add(), *done = add();

	held->hold = true;
	waits->waits = ROW_AFTER;
	again->attempt = 1;
	let_go(row);
	let_go(held);
	let_go(waits);
	let_go(again);
	ck_assert_ptr_null(find(1));
	ck_assert_ptr_eq(find(2), held);
	ck_assert_ptr_eq(find(3), waits);
	ck_assert_ptr_eq(find(4), again);
	finish(done, 10, 0);
	ck_assert_ptr_eq(find(5), done);
	row = read_one(1); /* it ends: from then on it stays */
	live[1] = row;
	finish(row, 20, 0);
	ck_assert_ptr_eq(find(1), row);
	live[2] = row_ref(held); /* the store counts it once, however it came to that */
	finish(held, 30, 0);
	store->ops->forget(store, held);
	ck_assert_ptr_null(find(2));
	ck_assert_uint_eq(store->ndone, 2);
}
END_TEST

START_TEST(a_page_finds_what_nobody_looks_at)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .from = 1, .limit = 100,
		.filter = { .phase = ROW_PENDING, .ok = -1, .queue = "default", .by_uid = true,
		    .uid = 7, .since_us = 1010 } };

	for (int i = 0; i < 20; i++)
		let_go(add_odd(20, 3));
	let_go(add());
	ck_assert_uint_eq(read_now(&r), 11);
	ck_assert_uint_eq(r.rows[0]->id, 10);
	store_read_fini(store, &r);
	ck_assert_ptr_null(find(10));
	r.filter.name = "none";
	ck_assert_uint_eq(read_now(&r), 0);
	r.filter.name = NULL;
	r.filter.uid = 8;
	ck_assert_uint_eq(read_now(&r), 0);
	r.filter.uid = 7;
	r.filter.queue = "other";
	ck_assert_uint_eq(read_now(&r), 0);
	r.filter.queue = NULL;
	r.filter.phase = ROW_DONE;
	ck_assert_uint_eq(read_now(&r), 0);
	r = (struct store_read){ .kind = STORE_READ_JOBS, .ids = (uint64_t[]){ 99 }, .nids = 1,
		.filter = { .by_uid = true, .uid = 0 } };
	ck_assert_uint_eq(read_now(&r), 1);
	ck_assert_uint_eq(r.oldest_job, 21); /* (the others are 7's) */
	store_read_fini(store, &r);
}
END_TEST

START_TEST(bounds_hold_for_each_user)
{
	for (int i = 0; i < 30; i++) {
		struct row *row = add();

		row->uid = i % 3 == 0;
		finish(row, 10, 0);
	}
	store->bounds.jobs = 15;
	prune(1000);
	ck_assert_uint_eq(store->ndone, 25); /* 15 of the one, 10 of the other */
	ck_assert_uint_eq(store->ops->oldest_seq(store, 1, false), 1);
	ck_assert_uint_gt(store->ops->oldest_seq(store, 0, false), 5);
	ck_assert_uint_eq(store->ops->oldest_seq(store, 0, true),
	    store->ops->oldest_seq(store, 0, false));
}
END_TEST

/* Forgotten rows are no load on the books of history. */
START_TEST(a_history_full_of_holes_stays_small)
{
	struct row *first = add();

	finish(first, 10, 0);
	for (int i = 0; i < 100000; i++) {
		struct row *row = add();
		struct row_run *run = row_run(row);

		row->phase = ROW_DONE;
		run->seq = ++store->last_seq;
		MUST(store->ops->change(store, row, STORE_DONE) == 0);
		let_go(row);
		store->ops->forget(store, row);
	}
	ck_assert_uint_eq(store->ndone, 1);
	store->bounds.age_us = 1;
	prune(1000);
	ck_assert_uint_eq(store->ndone, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store");
	TCase *tables = tcase_create("tables"), *rows = tcase_create("rows");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tables, a_table_finds_what_was_put);
	tcase_add_test(tables, a_table_is_walked_both_ways);
	tcase_add_test(tables, a_moving_window_stays_small);
	tcase_add_test(tables, a_gap_too_wide_is_refused);
	tcase_add_test(tables, a_table_equals_its_model);
	tcase_add_test(tables, an_environment_is_kept_once);
	tcase_add_test(tables, many_environments_stay_apart);
	suite_add_tcase(suite, tables);
	tcase_add_checked_fixture(rows, setup, teardown);
	tcase_add_test(rows, rows_are_found_and_walked);
	tcase_add_test(rows, commits_are_told_in_order);
	tcase_add_test(rows, done_rows_stand_in_finish_order);
	tcase_add_test(rows, a_forgotten_row_leaves_a_hole);
	tcase_add_test(rows, history_is_pruned_by_number);
	tcase_add_test(rows, history_is_pruned_by_age_and_output);
	tcase_add_test(rows, a_pinned_row_goes_with_its_last_pin);
	tcase_add_test(rows, a_pinned_row_can_be_forgotten);
	tcase_add_test(rows, rows_are_read_by_id_and_by_key);
	tcase_add_test(rows, pages_are_read_both_ways);
	tcase_add_test(rows, a_row_nobody_looks_at_comes_back_as_it_was);
	tcase_add_test(rows, what_has_more_to_it_stays_found);
	tcase_add_test(rows, a_page_finds_what_nobody_looks_at);
	tcase_add_test(rows, bounds_hold_for_each_user);
	tcase_add_test(rows, a_history_full_of_holes_stays_small);
	suite_add_tcase(suite, rows);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
