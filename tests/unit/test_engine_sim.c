/*
 * A seeded random life of an engine: clients come and go, submit, batch, map, wait, cancel, change
 * limits and queues; jobs end in every way and order; time passes; turns are cut short. What always
 * holds is checked on the way, and that every accepted job ended exactly once at its end.
 *
 * SLOT_SEED=n replays one life; SLOT_STEPS=n makes lives of that length.
 */
#include "engine_fixture.h"

enum { CLIENTS = 5, LIVES = 20, STEPS = 5000, QUEUES = 3 };

static struct client clients[CLIENTS], watcher;
static size_t posted[CLIENTS], answered[CLIENTS]; /* since the client came */
static bool reads[CLIENTS];                       /* else it is slow for a while */

static uint64_t finishing[64]; /* jobs whose leader ended and whose processes are left */
static size_t nfinishing;

static unsigned char *ended; /* by job */
static size_t ended_cap;
static int64_t last_seq, nended;

static unsigned long long seed;
static uint64_t state;

static unsigned
below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}

static bool
once_in(unsigned n)
{
	return below(n) == 0;
}

/* ---- clients ---- */

static void
come(int i)
{
	static const uid_t uids[CLIENTS] = { 1, 1, 1001, 1002, 1002 };

	clients[i] = client_of(uids[i]);
	posted[i] = answered[i] = 0;
	reads[i] = true;
}

static void
hear_some(int i, size_t max)
{
	struct client *c = &clients[i];
	char *at, *lf;

	while (take_bytes(c, max) && max > 1000)
		;
	at = c->buf;
	while (c->len > 0 && (lf = memchr(at, '\n', c->len - (size_t)(at - c->buf))) != NULL) {
		answered[i] += strncmp(at, "{\"jsonrpc\":\"2.0\",\"id\":", 22) == 0;
		at = lf + 1;
	}
	c->len -= (size_t)(at - c->buf);
	memmove(c->buf, at, c->len);
}

static void
note_end(const json_t *item)
{
	uint64_t job = (uint64_t)int_at(item, "job");

	MUST(int_at(item, "seq") > last_seq);
	last_seq = int_at(item, "seq");
	while (job >= ended_cap) {
		ended = realloc(ended, (ended_cap + 1024) * sizeof *ended);
		memset(ended + ended_cap, 0, 1024);
		ended_cap += 1024;
	}
	if (ended[job])
		ck_abort_msg("job %llu ended twice", (unsigned long long)job);
	ended[job] = 1;
	nended++;
}

/* The watcher reads everything at once. */
static void
watch(void)
{
	json_t *m;
	size_t i;

	listen_to(&watcher);
	json_array_foreach(watcher.inbox, i, m) {
		MUST(strcmp(text_at(m, "method"), "$/item") == 0);
		note_end(json_object_get(m, "params"));
	}
	json_array_clear(watcher.inbox);
}

/* ---- what clients ask for ---- */

static uint64_t
some_job(void)
{
	uint64_t newest = engine->store->next_id, back = 1 + below(once_in(20) ? 500 : 40);

	return newest > back ? newest - back : 1;
}

static const char *
random_spec(void)
{
	static const char *const queues[QUEUES] = { "default", "a", "b" };
	static char text[1024];
	size_t n = 0;

#define ADD(...) n += (size_t)snprintf(text + n, sizeof text - n, __VA_ARGS__)
	text[0] = '\0';
	ADD("'argv':['x'],'queue':'%s','slots':%u", queues[below(QUEUES)], 1 + below(2));
	if (!once_in(8))
		ADD(",'stdout':'null','stderr':'null'");
	if (once_in(3))
		ADD(",'priority':%d", (int)below(5) - 2);
	if (once_in(5))
		ADD(",'after':[%llu]", (unsigned long long)some_job());
	if (once_in(8))
		ADD(",'after_policy':'any'");
	if (once_in(10))
		ADD(",'delay_ms':%u", below(100));
	if (once_in(40))
		ADD(",'not_before_us':%lld", (long long)slot_loop_wall_us(loop) + below(100000));
	if (once_in(5))
		ADD(",'retries':{'max':%u,'backoff_ms':%u}", 1 + below(3), below(2) * below(40));
	if (once_in(5))
		ADD(",'lifetime':'bound'");
	if (once_in(10))
		ADD(",'key':'%u'", below(20));
#undef ADD
	return text;
}

static void
request(int i, const char *method, const char *params)
{
	posted[i]++;
	post(&clients[i], method, "%s", params);
}

#define REQUEST(i, method, ...)                                                                    \
	do {                                                                                       \
		char params_[4096];                                                                \
		snprintf(params_, sizeof params_, __VA_ARGS__);                                    \
		request(i, method, params_);                                                       \
	} while (0)

static void
submit_something(int i)
{
	char first[1024];

	switch (below(6)) {
	case 0:
		snprintf(first, sizeof first, "%s", random_spec());
		REQUEST(i, "job.submit_batch", "{'jobs':[{%s},{'argv':['y'],'after':[-1]},{%s}]%s}",
		    first, random_spec(), once_in(3) ? ",'on_full':'wait'" : "");
		return;
	default:
		REQUEST(i, "job.submit", "{%s%s}", random_spec(),
		    once_in(4) ? ",'on_full':'wait'" : "");
	}
}

/* One map a client: the request "map". */
static void
map_something(int i)
{
	switch (below(4)) {
	case 0:
		feed(&clients[i], "{\"jsonrpc\":\"2.0\",\"id\":\"map\",\"method\":\"map.open\","
		    "\"params\":{\"limit\":3,\"on_error\":\"cancel\"}}\n");
		posted[i]++;
		return;
	case 1:
		REQUEST(i, "map.end", "{'stream':'map'}");
		return;
	default:
		REQUEST(i, "map.push", "{'stream':'map','jobs':[{%s}]}", random_spec());
	}
}

static void
wait_for_something(int i)
{
	static const char *const methods[] = { "futures.as_completed", "futures.wait",
		"futures.gather", "job.cancel", "job.cancel" };
	static const char *const more[] = { ",'timeout_ms':30", ",'return_when':'FIRST_COMPLETED'",
		",'return_exceptions':true", ",'wait':true", "" };
	unsigned which = below(5);

	REQUEST(i, methods[which], "{'jobs':[%llu,%llu]%s}", (unsigned long long)some_job(),
	    (unsigned long long)some_job(), more[which]);
	if (once_in(4)) {
		char line[128];

		snprintf(line, sizeof line, "{'id':%lld}",
		    (long long)(clients[i].id - (int64_t)below(4)));
		notify(&clients[i], "$/cancel", "%s", line);
	}
}

static void
steer(int i)
{
	static const char *const queues[QUEUES] = { "default", "a", "b" };

	uint64_t job = some_job();

	switch (below(7)) {
	case 0:
	case 1:
		REQUEST(i, "limits.set", "{'max_running':%u,'max_pending':%u}", below(9),
		    10 + below(60));
		return;
	case 2:
		REQUEST(i, "queue.set", "{'queue':'%s','max_running':%u,'paused':%s}",
		    queues[below(QUEUES)], 1 + below(6), once_in(4) ? "true" : "false");
		return;
	case 3:
		REQUEST(i, "job.set", "{'job':%llu,'priority':%d,'queue':'%s','hold':%s}",
		    (unsigned long long)some_job(), (int)below(7) - 3, queues[below(QUEUES)],
		    once_in(4) ? "true" : "false");
		return;
	case 4:
		REQUEST(i, "job.retry", "{'job':%llu}", (unsigned long long)some_job());
		return;
	case 5:
		REQUEST(i, "job.get", "{'job':%llu}", (unsigned long long)job);
		return;
	case 6:
		if (job < ended_cap && ended[job]) /* the watcher has heard of it */
			REQUEST(i, "job.forget", "{'jobs':[%llu]}", (unsigned long long)job);
		return;
	}
}

/* ---- what happens to jobs ---- */

static struct launch_exit
random_exit(void)
{
	switch (below(8)) {
	case 0:
		return (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 9 };
	case 1:
		return (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 15,
			.cause = LAUNCH_CAUSE_TIMEOUT };
	case 2:
		return (struct launch_exit){ .how = LAUNCH_SPAWN_FAILED,
			.step = LAUNCH_STEP_EXEC, .error = ENOENT };
	case 3:
		return (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = 1 };
	default:
		return (struct launch_exit){ .how = LAUNCH_EXITED };
	}
}

static void
something_is_gone(void)
{
	size_t i = below((unsigned)nfinishing);
	uint64_t job = finishing[i];

	finishing[i] = finishing[--nfinishing];
	processes_gone(job);
}

static void
something_exits(void)
{
	const struct job *job;
	unsigned skip = below(8);

	TAILQ_FOREACH(job, &engine->by_phase[ROW_RUNNING], entry) {
		struct fake_run *r = fake_find(job->row->id);

		if (r == NULL || !r->running || r->attempt != job->row->attempt)
			continue; /* not launched yet */
		if (skip-- > 0 && TAILQ_NEXT(job, entry) != NULL)
			continue;
		/* (Of two attempts of a job, the fake knows the processes of the last.) */
		leader_ends(r->job, random_exit());
		finishing[nfinishing++] = r->job;
		if (nfinishing == 64 || job->row->spec->retries > 0 || once_in(2)) {
			nfinishing--;
			processes_gone(r->job);
		}
		return;
	}
}

static void
step(void)
{
	int i = (int)below(CLIENTS);

	if (clients[i].session->closed) {
		hang_up(&clients[i]);
		come(i);
	}
	switch (below(20)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		submit_something(i);
		return;
	case 5:
		map_something(i);
		return;
	case 6:
	case 7:
		wait_for_something(i);
		return;
	case 8:
		steer(i < 2 ? i : 0);
		return;
	case 9:
		if (once_in(20)) {
			hang_up(&clients[i]);
			come(i);
		} else if (once_in(10)) {
			reads[i] = !reads[i];
		}
		return;
	case 10:
	case 11:
		slot_loop_advance(loop, below(20000));
		return;
	case 12:
		if (nfinishing > 0)
			something_is_gone();
		return;
	default:
		something_exits();
	}
}

/* ---- what holds ---- */

struct use {
	uint32_t all, queues[QUEUES];
};

static struct use
slots_in_use(void)
{
	struct use u = { .all = slot_executor_running(engine->executor) };
	size_t i = 0;

	for (struct queue *q = queue_next(engine->queues, NULL); q != NULL;
	    q = queue_next(engine->queues, q))
		u.queues[i++] = queue_running(q);
	return u;
}

/* More than the limit only where it was lowered, and then not more than there was. */
static void
check_limits(struct use before)
{
	struct use now = slots_in_use();
	size_t i = 0;

	MUST(now.all <= engine->limits.max_running || now.all <= before.all);
	for (struct queue *q = queue_next(engine->queues, NULL); q != NULL;
	    q = queue_next(engine->queues, q), i++)
		MUST(now.queues[i] <= queue_limit(q) || now.queues[i] <= before.queues[i]);
}

static void
finish_everything(void)
{
	REQUEST(0, "limits.set", "{'max_running':9,'max_pending':1000}");
	for (struct queue *q = queue_next(engine->queues, NULL); q != NULL;
	    q = queue_next(engine->queues, q))
		REQUEST(0, "queue.set", "{'queue':'%s','max_running':9,'paused':false}",
		    queue_name(q));
	run();
	for (int i = 0; i < CLIENTS; i++)
		reads[i] = true;
	for (int round = 0; engine->jobs.count > 0 || engine->nheld > 0; round++) {
		const struct job *job, *next;

		ck_assert_msg(round < 10000, "seed %llu: %zu jobs never end", seed,
		    engine->jobs.count);
		for (job = TAILQ_FIRST(&engine->by_phase[ROW_PENDING]); job != NULL; job = next) {
			next = TAILQ_NEXT(job, entry);
			if (job->held & JOB_HELD_HOLD)
				REQUEST(0, "job.set", "{'job':%llu,'hold':false}",
				    (unsigned long long)job->row->id);
		}
		something_exits();
		if (nfinishing > 0)
			something_is_gone();
		slot_loop_advance(loop, 10000);
		for (int i = 0; i < CLIENTS; i++)
			if (!clients[i].session->closed)
				hear_some(i, 65536);
		watch();
	}
	check_engine();
}

static void
check_the_end(void)
{
	watch();
	ck_assert_int_eq(nended, (int64_t)engine->store->next_id - 1);
	ck_assert_uint_eq(launcher.slots, 0);
	ck_assert_uint_eq(launcher.unacked, 0);
	ck_assert_uint_eq(slots_in_use().all, 0);
	for (int i = 0; i < CLIENTS; i++) {
		size_t open;

		if (clients[i].session->closed)
			continue;
		hear_some(i, 65536);
		run();
		hear_some(i, 65536);
		open = clients[i].session->nstreams; /* a map that nobody ended */
		ck_assert_uint_le(open, 1);
		ck_assert_msg(posted[i] == answered[i] + open,
		    "seed %llu: client %d asked %zu times, was answered %zu times", seed, i,
		    posted[i], answered[i]);
	}
}

static bool over;

static void
on_over(void *arg)
{
	(void)arg;
	over = true;
}

/* Instead of finishing: the daemon is told to leave, or its launcher dies. */
static void
break_off(bool lost)
{
	over = false;
	if (lost)
		engine_launch_handlers.on_lost(engine, "simulated");
	else
		engine_shutdown(engine, on_over, NULL);
	for (int round = 0; lost ? engine->npending + engine->nrunning > 0 && round < 100 : !over;
	    round++) {
		ck_assert_msg(round < 10000, "seed %llu: %zu jobs never end", seed,
		    engine->jobs.count);
		if (!lost)
			something_exits();
		while (!lost && nfinishing > 0)
			something_is_gone();
		slot_loop_advance(loop, 10000);
	}
	if (!lost)
		ck_assert_uint_eq(engine->jobs.count, 0);
}

static void
live(unsigned steps)
{
	const struct engine_limits limits = {
		.history_jobs = seed % 2 == 0 ? 0 : 100,
		.max_running = 4,
		.max_pending = 40,
		.max_connections = 100,
		.max_in_flight = 256,
		.output_limit = 65536,
		.grace_ms = 5000,
	};

	state = seed * 2654435761u + 88172645463325252u;
	setup_with(&limits);
	launcher.traced = false;
	nfinishing = 0;
	last_seq = nended = 0;
	if (ended_cap > 0)
		memset(ended, 0, ended_cap);
	watcher = client_of(1);
	post(&watcher, "completions.subscribe", "{'since_seq':0}");
	for (int i = 0; i < CLIENTS; i++)
		come(i);
	engine_configure_queue(engine, "a", 3);
	engine_configure_queue(engine, "b", ENGINE_UNLIMITED);
	run();
	for (unsigned n = 0; n < steps; n++) {
		struct use before = slots_in_use();

		step();
		if (once_in(2)) /* else the turn goes on, or is cut short */
			slot_loop_run_due(loop, below(4));
		if (!fixture_slow) /* else a lowering may come after starts of the same step */
			check_limits(before);
		for (int i = 0; i < CLIENTS; i++)
			if (reads[i] && !clients[i].session->closed)
				hear_some(i, 1 + below(100));
		if (n % 32 == 0) {
			watch();
			check_engine();
		}
	}
	watch();
	if (seed % 3 == 0 && !fixture_slow) { /* (a durable engine doesn't end its jobs) */
		break_off(seed % 2 == 0);
	} else {
		finish_everything();
		check_the_end();
	}
	for (int i = 0; i < CLIENTS; i++)
		hang_up(&clients[i]);
	hang_up(&watcher);
	run();
	teardown();
}

START_TEST(every_job_ends_once_whatever_happens)
{
	const char *given = getenv("SLOT_SEED"), *length = getenv("SLOT_STEPS");
	unsigned steps = length != NULL ? (unsigned)strtoul(length, NULL, 0) : STEPS;

	if (given != NULL) {
		seed = strtoull(given, NULL, 0);
		live(steps);
	}
	for (unsigned i = 0; given == NULL && i < LIVES; i++) {
		seed = 20240301 + i;
		live(steps);
	}
	free(ended);
	ended = NULL;
	ended_cap = 0;
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("engine simulation");
	TCase *tc = tcase_create("simulation");

	tcase_add_test(tc, every_job_ends_once_whatever_happens);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	int failed = run_suite_both(make_suite);

	if (failed != 0)
		fprintf(stderr, "to see it again: SLOT_SEED=%llu\n", seed);
	return failed;
}
