/*
 * The durable store against a model: thousands of changes in random order, with restarts in
 * between that lose exactly what was not committed. SLOT_SEED=N repeats a run.
 */
#include "journal_fixture.h"

enum { JOBS = 3000, STEPS = 12000, USERS = 3, KEPT = 60 };

struct model_job {
	bool there;
	uint8_t phase;
	uint32_t uid, attempt;
	int16_t priority;
	uint8_t hold;
	uint64_t seq;
	bool pinned; /* not part of what is stored */
};

struct model {
	struct model_job jobs[JOBS + 1];
	uint64_t next_id, last_seq;
};

static struct model now, stored;
static struct row *pinned[JOBS + 1];
static unsigned long long seed;
static uint64_t state;

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

/* ---- what is done to both ---- */

static void
submit(void)
{
	static const char *const envs[] = { NULL, "A=1", "B=22", "C=333" };
	uint64_t id = fx_store->next_id;
	const char *env = envs[random_below(4)];
	char key[32];
	const struct fx_spec f = { .uid = (uint32_t)random_below(USERS), .key = key,
		.env = env, .env_len = env != NULL ? strlen(env) + 1 : 0 };

	if (id > JOBS)
		return;
	snprintf(key, sizeof key, "key-%llu", (unsigned long long)id);
	fx_unref(fx_submit(&f));
	now.jobs[id] = (struct model_job){ .there = true, .uid = f.uid };
	now.next_id = id + 1;
}

static void
end(struct row *row, struct model_job *m)
{
	fx_done(row);
	m->phase = ROW_DONE;
	m->seq = now.last_seq = fx_store->last_seq;
}

static void
move(struct row *row, struct model_job *m)
{
	switch (m->phase) {
	case ROW_PENDING:
		if (random_below(3) == 0) {
			row->priority = m->priority = (int16_t)random_below(100);
			row->hold = m->hold = (uint8_t)random_below(2);
			fx_change(row, STORE_SET);
		} else if (random_below(8) == 0) {
			end(row, m); /* cancelled */
		} else {
			fx_start(row);
			m->phase = ROW_RUNNING;
			m->attempt++;
		}
		break;
	case ROW_RUNNING:
		if (random_below(4) == 0) {
			row->phase = m->phase = ROW_PENDING;
			fx_change(row, STORE_REQUEUED);
		} else {
			end(row, m);
		}
		break;
	case ROW_DONE:
		if (!m->pinned && random_below(4) == 0) {
			fx_store->ops->forget(fx_store, row);
			m->there = false;
		}
		break;
	}
}

static void
compare_row(const struct row *row, const struct model_job *m)
{
	AGREES(row->phase == m->phase);
	AGREES(row->uid == m->uid);
	AGREES(row->attempt == m->attempt);
	AGREES(row->priority == m->priority);
	AGREES(row->phase == ROW_DONE || row->hold == m->hold);
	AGREES(row->phase != ROW_DONE || row->run->seq == m->seq);
}

static void
touch(void)
{
	uint64_t id = random_below(now.next_id) + 1;
	struct row *row = fx_get(id);

	if (id >= now.next_id || !now.jobs[id].there) {
		AGREES(row == NULL);
		return;
	}
	AGREES(row != NULL);
	compare_row(row, &now.jobs[id]);
	move(row, &now.jobs[id]);
	fx_unref(row);
}

static void
pin_or_unpin(void)
{
	uint64_t id = random_below(now.next_id);
	struct model_job *m = &now.jobs[id];

	if (pinned[id] != NULL) {
		bool goes = pinned[id]->passed;

		row_unpin(fx_store, pinned[id]);
		fx_unref(pinned[id]);
		pinned[id] = NULL;
		m->pinned = false;
		if (goes)
			m->there = stored.jobs[id].there = false;
	} else if (m->there && m->phase == ROW_DONE && id % 7 == 0) {
		pinned[id] = fx_get(id);
		row_pin(pinned[id]);
		m->pinned = true;
	}
}

static void
commit(void)
{
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	stored = now;
}

/* Of each user the oldest go, but those that are pinned. */
static void
model_prune(struct model *m)
{
	for (uint32_t uid = 0; uid < USERS; uid++) {
		size_t n = 0;

		for (uint64_t id = 1; id < m->next_id; id++)
			n += m->jobs[id].there && m->jobs[id].phase == ROW_DONE &&
			    m->jobs[id].uid == uid &&
			    (pinned[id] == NULL || !pinned[id]->passed);
		while (n > KEPT) {
			uint64_t oldest = 0;

			for (uint64_t id = 1; id < m->next_id; id++) {
				const struct model_job *j = &m->jobs[id];

				if (j->there && j->phase == ROW_DONE && j->uid == uid &&
				    !j->pinned &&
				    (oldest == 0 || j->seq < m->jobs[oldest].seq))
					oldest = id;
			}
			if (oldest == 0)
				break;
			m->jobs[oldest].there = false;
			n--;
		}
	}
}

static void
unpin_all(void)
{
	for (uint64_t id = 1; id <= JOBS; id++) {
		if (pinned[id] == NULL)
			continue;
		row_unpin(fx_store, pinned[id]);
		fx_unref(pinned[id]);
		pinned[id] = NULL;
		now.jobs[id].pinned = stored.jobs[id].pinned = false;
	}
}

static bool
bounds_hold(void)
{
	const char *over = fx_query("SELECT count(*) FROM (SELECT uid FROM done GROUP BY uid"
	    " HAVING count(*) > 60)");

	return strcmp(over, "0") == 0;
}

static void
prune(void)
{
	unpin_all(); /* (which of the pinned ones count is test_journal.c's business) */
	commit();
	fx_commit();
	fx_store->bounds.jobs = KEPT;
	fx_store->ops->prune(fx_store, WALL_US);
	FX_UNTIL(bounds_hold());
	fx_commit();
	fx_store->bounds.jobs = 0;
	model_prune(&now);
	stored = now;
}

/* ---- comparing all of it ---- */

static void
compare_pages(void)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = { .phase = -1, .ok = -1 },
		.from = 1, .limit = 97 };
	uint64_t id = 1;

	do {
		fx_read(&r);
		AGREES(r.error == 0);
		for (size_t i = 0; i < r.nrows; i++, id++) {
			while (id < now.next_id && !now.jobs[id].there)
				id++;
			AGREES(r.rows[i]->id == id);
			compare_row(r.rows[i], &now.jobs[id]);
		}
		store_read_fini(fx_store, &r);
		r.from = r.next;
	} while (r.next != 0);
	while (id < now.next_id && !now.jobs[id].there)
		id++;
	AGREES(id >= now.next_id);
}

static void
compare_done(void)
{
	struct store_read r = { .kind = STORE_READ_DONE, .filter = { .phase = -1, .ok = -1 },
		.from = 1, .limit = 50 };
	uint64_t last = 0, n = 0, expected = 0;

	for (uint64_t id = 1; id < now.next_id; id++)
		expected += now.jobs[id].there && now.jobs[id].phase == ROW_DONE;
	do {
		fx_read(&r);
		AGREES(r.error == 0);
		for (size_t i = 0; i < r.nrows; i++, n++) {
			AGREES(r.rows[i]->run->seq > last);
			last = r.rows[i]->run->seq;
			AGREES(now.jobs[r.rows[i]->id].seq == last);
		}
		store_read_fini(fx_store, &r);
		r.from = r.next;
	} while (r.next != 0);
	AGREES(n == expected);
}

static size_t live_seen;
static uint64_t live_last;

static int
on_live(void *arg, const struct store_live *l)
{
	const struct model_job *m = &now.jobs[l->id];

	(void)arg;
	AGREES(l->id > live_last && m->there && m->phase == l->phase && m->uid == l->uid);
	AGREES(l->plain || m->attempt == l->attempt);
	AGREES(m->priority == l->priority && m->hold == l->hold);
	live_last = l->id;
	live_seen++;
	return 0;
}

static void
restart(void)
{
	const struct store_recovery rec = { .on_live = on_live };
	size_t live = 0;

	unpin_all();
	fx_close(); /* the open batch is lost, all others are not */
	fx_open();
	now = stored;
	/* Numbers that were given out in vain may be given again. */
	AGREES(fx_store->next_id == now.next_id);
	AGREES(fx_store->last_seq == now.last_seq);
	live_seen = 0;
	live_last = 0;
	ck_assert_int_eq(fx_store->ops->recover(fx_store, &rec), 0);
	for (uint64_t id = 1; id < now.next_id; id++)
		live += now.jobs[id].there && now.jobs[id].phase != ROW_DONE;
	AGREES(live == live_seen);
}

START_TEST(the_journal_equals_its_model)
{
	const char *given = getenv("SLOT_SEED");

	seed = given != NULL ? strtoull(given, NULL, 0) : 20240229;
	state = seed * 2654435761u + 88172645463325252u;
	now.next_id = stored.next_id = 1;
	for (int step = 0; step < STEPS; step++) {
		uint64_t dice = random_below(1000);

		if (dice < 350)
			submit();
		else if (dice < 800)
			touch();
		else if (dice < 850)
			pin_or_unpin();
		else if (dice < 990)
			commit();
		else if (dice < 992)
			restart();
		else if (dice < 994)
			prune();
		else
			fx_turn(0);
		if (step % 1000 == 999) {
			commit();
			compare_pages();
			fx_commit();
			compare_done();
			AGREES(fx_check(NULL) == 0);
		}
	}
	unpin_all();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_model");
	TCase *model = tcase_create("model");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(model, fx_setup_open, fx_teardown);
	tcase_set_timeout(model, 120);
	tcase_add_test(model, the_journal_equals_its_model);
	suite_add_tcase(suite, model);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
