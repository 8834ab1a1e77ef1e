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

static void
teardown(void)
{
	store->ops->free(store);
}

/* A pending row in the store; the store's reference is the only one. */
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
	row_unref(store, row);
	return row;
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
}

static struct row *
find(uint64_t id)
{
	return store->ops->find(store, id);
}

START_TEST(rows_are_found_and_walked)
{
	struct row *rows[600];

	ck_assert_ptr_null(find(1));
	ck_assert_ptr_null(store->ops->next(store, 0));
	for (int i = 0; i < 600; i++)
		rows[i] = add();
	ck_assert_uint_eq(rows[599]->id, 600);
	ck_assert_ptr_eq(find(1), rows[0]);
	ck_assert_ptr_eq(find(600), rows[599]);
	ck_assert_ptr_null(find(601));
	ck_assert_ptr_null(find(0));
	ck_assert_ptr_eq(store->ops->next(store, 300), rows[299]);
	ck_assert_ptr_null(store->ops->next(store, 601));
	ck_assert_ptr_eq(store->ops->prev(store, 9999), rows[599]);
	ck_assert_ptr_null(store->ops->prev(store, 0));
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

	ck_assert_ptr_null(store->ops->next_done(store, 0));
	finish(d, 10, 0);
	finish(a, 20, 0);
	ck_assert_uint_eq(store->ndone, 2);
	ck_assert_ptr_eq(store->ops->next_done(store, 0), d);
	ck_assert_ptr_eq(store->ops->next_done(store, 1), d);
	ck_assert_ptr_eq(store->ops->next_done(store, 2), a);
	ck_assert_ptr_null(store->ops->next_done(store, 3));
	finish(b, 30, 0);
	ck_assert_ptr_eq(store->ops->next_done(store, 3), b);
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
	ck_assert_ptr_eq(store->ops->next_done(store, 1), b);
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
	ck_assert_uint_eq(store->ops->next_done(store, 0)->run->seq, 901);
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
	suite_add_tcase(suite, rows);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
