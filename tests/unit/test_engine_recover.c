/*
 * Engines one after the other on one journal, with the launcher as the test: what was acknowledged
 * is there again, in the same order, and nothing is started twice.
 */
#include "engine_fixture.h"
#include "engine/shelf.h"
#include "store/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#define WAIT_MS 10000 /* for the journal's threads */

static char dir[64];
static const char *boot_id;
static struct engine_limits limits;

static void
settle(void)
{
	struct store *s = engine->store;

	for (run(); engine->in_flight != NULL; run())
		ck_assert(store_journal_wait(s, WAIT_MS));
	while (store_journal_wait(s, 0))
		run();
}

/* The engine begins; its launcher has not said anything yet. */
static void
begin(void)
{
	struct engine_options options = fixture_options(&limits);

	options.durability = ENGINE_NORMAL;
	options.state_dir = dir;
	options.boot_id = boot_id;
	options.loop = loop;
	engine = engine_new(&options);
	ck_assert_ptr_nonnull(engine);
	engine_set_launch(engine, &launcher.launch);
	run();
}

/* … and it does: it is this instance. */
static void
ready(uint64_t instance)
{
	engine_launch_handlers.on_ready(engine, instance);
	settle();
}

static void
end(void)
{
	settle();
	engine_free(engine);
	engine = NULL;
	launcher.trace[0] = '\0';
}

static void
recover_setup(void)
{
	snprintf(dir, sizeof dir, "/tmp/slot-recover-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	boot_id = "a-boot";
	limits = fixture_limits;
	limits.bound_grace_ms = 15000;
	loop = slot_loop_new_manual(NOW_US, WALL_US);
	launcher_init();
	begin();
	ready(LAUNCHER);
}

static void
remove_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL) {
		char inside[512];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
		if (unlink(inside) != 0)
			remove_dir(inside);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

static void
recover_teardown(void)
{
	teardown();
	remove_dir(dir);
}

/* ---- requests: their answers need the journal's threads ---- */

static json_t *
answer(struct client *c, int64_t id)
{
	json_t *m, *result;

	settle();
	for (int i = 0; (m = response(c, id)) == NULL && i < 100; i++) {
		store_journal_wait(engine->store, WAIT_MS / 100);
		settle();
	}
	ck_assert_msg(m != NULL, "no answer to %lld", (long long)id);
	result = json_object_get(m, "result");
	if (result == NULL)
		ck_abort_msg("refused: %s", json_dumps(m, 0));
	return result;
}

static uint64_t
submitted(struct client *c, const char *members)
{
	return (uint64_t)int_at(answer(c, post_submit(c, members)), "job");
}

static uint64_t __attribute__((format(printf, 2, 3)))
submittedf(struct client *c, const char *members, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, members);
	vsnprintf(text, sizeof text, members, ap);
	va_end(ap);
	return submitted(c, text);
}

static void
exits(uint64_t job, int code)
{
	job_exits(job, code);
	settle();
}

/* What the launcher holds of a job it tells the engine that has just begun. */
static void
holds_with(uint64_t job, int in)
{
	const struct fake_run *r = fake_find(job);
	struct launch_held held = { .job = job, .attempt = r->attempt, .slots = r->slots,
		.fds = { in, -1, -1 } };

	engine_launch_handlers.on_held(engine, &held);
}

static void
holds(uint64_t job)
{
	holds_with(job, -1);
}

static json_t *
job_object(struct client *c, uint64_t job)
{
	return answer(c, post(c, "job.get", "{'job':%llu}", (unsigned long long)job));
}

static void
is_done(struct client *c, uint64_t job, const char *outcome, const char *reason)
{
	json_t *o = job_object(c, job);

	ck_assert_str_eq(text_at(o, "phase"), "done");
	ck_assert_str_eq(text_at(o, "outcome"), outcome);
	if (reason != NULL)
		ck_assert_str_eq(text_at(o, "reason"), reason);
}

static void
is(struct client *c, uint64_t job, const char *phase)
{
	ck_assert_str_eq(text_at(job_object(c, job), "phase"), phase);
}

/* Waits until so many starts were heard of: shelved jobs are read by another thread. */
static void
starts(size_t n)
{
	for (int i = 0; launcher.starts < n && i < 1000; i++) {
		settle();
		if (launcher.starts < n)
			store_journal_wait(engine->store, 100);
	}
	ck_assert_uint_eq(launcher.starts, n);
}

/* ---- pending jobs ---- */

static void
one_slot(void)
{
	limits.max_running = 1;
	engine_reconfigure(engine, &limits);
}

START_TEST(pending_jobs_go_on_in_their_order)
{
	struct client c = client_of(1);

	one_slot();
	submitted(&c, "");
	submitted(&c, "'priority':-5");
	submitted(&c, "");
	submitted(&c, "'priority':7");
	submitted(&c, "");
	hang_up(&c);
	end();
	begin();
	ck_assert_uint_eq(engine->npending, 4);
	ck_assert_uint_eq(engine->nrunning, 1);
	ck_assert_uint_eq(engine->store->next_id, 6);
	holds(1);
	ready(LAUNCHER);
	ck_assert_uint_eq(launcher.starts, 1);
	exits(1, 0);
	starts(2);
	exits(4, 0);
	starts(3);
	exits(3, 0);
	starts(4);
	exits(5, 0);
	starts(5);
	exits(2, 0);
	launcher_heard("ack 1/1 run 4/1 ack 4/1 run 3/1 ack 3/1 run 5/1 ack 5/1 run 2/1 ack 2/1 ");
	ck_assert_uint_eq(engine->store->last_seq, 5);
}
END_TEST

START_TEST(many_pending_jobs_are_there_at_once_and_start)
{
	struct client c = client_of(1);
	uint64_t last = 0;

	one_slot();
	for (int i = 0; i < 100; i++) {
		char text[16384] = "";
		int64_t id;

		for (int k = 0; k < 20; k++)
			snprintf(text + strlen(text), sizeof text - strlen(text),
			    "%s{'argv':['true'],'stdout':'null','stderr':'null'}", k > 0 ? "," : "");
		id = post(&c, "job.submit_batch", "{'jobs':[%s]}", text);
		last = (uint64_t)json_integer_value(json_array_get(json_object_get(answer(&c, id),
		    "jobs"), 19));
	}
	ck_assert_uint_eq(last, 2000);
	hang_up(&c);
	end();
	begin();
	ck_assert_uint_eq(engine->npending, 1999);
	holds(1);
	ready(LAUNCHER);
	for (uint64_t job = 1; job <= 300; job++) { /* past the hot ones */
		starts(job);
		launcher.trace[0] = '\0';
		exits(job, 0);
	}
	ck_assert_uint_eq(engine->npending + engine->nrunning, 1700);
}
END_TEST

START_TEST(holds_delays_and_dependencies_go_on)
{
	struct client c = client_of(1);
	uint64_t running, held, delayed, after, clock, hold_id;

	limits.max_running = 10;
	engine_reconfigure(engine, &limits);
	running = submitted(&c, "");
	held = submitted(&c, "'delay_ms':100000");
	hold_id = (uint64_t)post(&c, "job.set", "{'job':%llu,'hold':true}",
	    (unsigned long long)held);
	answer(&c, (int64_t)hold_id);
	delayed = submitted(&c, "'delay_ms':60000");
	after = submittedf(&c, "'after':[%llu]", (unsigned long long)running);
	clock = submittedf(&c, "'not_before_us':%lld", (long long)WALL_US + 90000000);
	hang_up(&c);
	end();
	advance_ms(0);
	slot_loop_advance(loop, 10000000);
	begin();
	holds(running);
	ready(LAUNCHER);
	ck_assert_int_eq(job_find(engine, held)->held & JOB_HELD_HOLD, JOB_HELD_HOLD);
	ck_assert_int_eq(job_find(engine, after)->held, JOB_HELD_AFTER);
	ck_assert_int_eq(job_find(engine, delayed)->held, JOB_HELD_DELAY);
	ck_assert_int_eq(job_find(engine, clock)->held, JOB_HELD_DELAY);
	slot_loop_advance(loop, 49000000); /* 59 s in all */
	settle();
	ck_assert_uint_eq(launcher.starts, 1);
	slot_loop_advance(loop, 1000000);
	settle();
	ck_assert_ptr_nonnull(fake_find(delayed));
	ck_assert_uint_eq(launcher.starts, 2);
	slot_loop_advance(loop, 30000000);
	settle();
	ck_assert_ptr_nonnull(fake_find(clock));
	exits(running, 0);
	settle();
	ck_assert_ptr_nonnull(fake_find(after));
	ck_assert_ptr_null(fake_find(held));
}
END_TEST

START_TEST(after_a_reboot_delays_go_by_the_wall_clock)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "'delay_ms':60000");

	hang_up(&c);
	end();
	slot_loop_free(loop);
	loop = slot_loop_new_manual(5000, WALL_US + 40000000);
	boot_id = "another-boot";
	begin();
	ready(LAUNCHER + 1);
	slot_loop_advance(loop, 19000000);
	settle();
	ck_assert_ptr_null(fake_find(job));
	slot_loop_advance(loop, 1000000);
	settle();
	ck_assert_ptr_nonnull(fake_find(job));
}
END_TEST

START_TEST(what_was_depended_on_may_have_ended)
{
	struct client c = client_of(1);
	uint64_t bad = submitted(&c, ""), dependent, any;

	dependent = submittedf(&c, "'after':[%llu]", (unsigned long long)bad);
	any = submittedf(&c, "'after':[%llu],'after_policy':'any'", (unsigned long long)bad);
	end();
	/* As if the engine had died between the end and the cascade. */
	begin();
	engine->cascade.run = NULL;
	end();
	(void)dependent, (void)any;
	begin();
	holds(bad);
	ready(LAUNCHER);
	exits(bad, 1);
	settle();
	hang_up(&c);
	c = client_of(1);
	is_done(&c, dependent, "dependency_failed", NULL);
	ck_assert_ptr_nonnull(fake_find(any));
	hang_up(&c);
}
END_TEST

static void
damage(uint64_t job)
{
	char path[128], sql[128];
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/journal", dir);
	snprintf(sql, sizeof sql, "UPDATE spec SET checksum = checksum + 1 WHERE job = %llu",
	    (unsigned long long)job);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_changes(db), 1);
	sqlite3_close(db);
}

START_TEST(what_comes_after_a_damaged_job_is_not_held_up_by_it)
{
	struct client c = client_of(1);
	uint64_t damaged = submitted(&c, "'delay_ms':60000"), needs, any;

	needs = submittedf(&c, "'after':[%llu]", (unsigned long long)damaged);
	any = submittedf(&c, "'after':[%llu],'after_policy':'any'", (unsigned long long)damaged);
	hang_up(&c);
	end();
	damage(damaged);
	begin();
	ready(LAUNCHER);
	c = client_of(1);
	is_done(&c, needs, "dependency_failed", NULL);
	is(&c, any, "running");
	hang_up(&c);
}
END_TEST

START_TEST(a_back_off_goes_on)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "'retries':{'max':2,'backoff_ms':10000}");

	exits(job, 1);
	hang_up(&c);
	end();
	begin();
	ready(LAUNCHER);
	ck_assert_int_eq(job_find(engine, job)->held, JOB_HELD_RETRY);
	slot_loop_advance(loop, 10000000);
	settle();
	launcher_heard("run 1/2 ");
	exits(job, 0);
	c = client_of(1);
	is_done(&c, job, "exited", NULL);
	hang_up(&c);
}
END_TEST

START_TEST(keys_are_known_again)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "'key':'one'");

	hang_up(&c);
	end();
	begin();
	holds(job);
	ready(LAUNCHER);
	c = client_of(1);
	ck_assert_uint_eq(submitted(&c, "'key':'one'"), job);
	hang_up(&c);
}
END_TEST

/* ---- what ran ---- */

START_TEST(a_running_job_is_adopted_with_its_exit)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");
	int64_t waits;

	hang_up(&c);
	end();
	begin();
	phase_is(job, ROW_RUNNING);
	ck_assert_uint_eq(slot_executor_running(engine->executor), 1);
	c = client_of(1);
	waits = post(&c, "job.result", "{'job':1,'wait_ms':60000}");
	holds(job);
	ready(LAUNCHER);
	hears_nothing(&c);
	exits(job, 3);
	ck_assert_int_eq(int_at(result_of(&c, waits), "exit_code"), 3);
	launcher_heard("ack 1/1 ");
	ck_assert_uint_eq(launcher.starts, 1);
	ck_assert_uint_eq(slot_executor_running(engine->executor), 0);
	hang_up(&c);
}
END_TEST

START_TEST(awaited_jobs_hold_their_slots)
{
	struct client c = client_of(1);

	submitted(&c, "'slots':3");
	submitted(&c, "");
	submitted(&c, "");
	hang_up(&c);
	end();
	begin();
	ck_assert_uint_eq(slot_executor_running(engine->executor), 4);
	holds(1);
	holds(2);
	ready(LAUNCHER);
	ck_assert_uint_eq(launcher.starts, 2);
	exits(2, 0);
	starts(3);
	ck_assert_ptr_nonnull(fake_find(3));
}
END_TEST

START_TEST(one_that_the_launcher_never_heard_of_is_pending_again)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");
	struct fake_run *r = idtab_remove(&launcher.runs, job);

	free(r);
	launcher.starts = launcher.slots = 0;
	hang_up(&c);
	end();
	begin();
	phase_is(job, ROW_RUNNING);
	ready(LAUNCHER);
	launcher_heard("run 1/1 ");
	ck_assert_int_eq(row_of_job(job)->attempt, 1);
	exits(job, 0);
	c = client_of(1);
	is_done(&c, job, "exited", NULL);
	hang_up(&c);
}
END_TEST

START_TEST(another_launcher_means_lost)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, ""), again = submitted(&c,
	    "'retries':{'max':1,'on':['lost'],'backoff_ms':0}");

	hang_up(&c);
	end();
	begin();
	launcher.slots = 0;
	fake_find(again)->running = false;
	ready(LAUNCHER + 1);
	launcher_heard("ack 2/1 run 2/2 "); /* (which it knows nothing of) */
	c = client_of(1);
	is_done(&c, job, "lost", "launcher_died");
	hang_up(&c);
}
END_TEST

START_TEST(another_boot_means_lost)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");

	hang_up(&c);
	end();
	boot_id = "another-boot";
	begin();
	ready(LAUNCHER); /* (even if it were the same number) */
	c = client_of(1);
	is_done(&c, job, "lost", "reboot");
	hang_up(&c);
}
END_TEST

START_TEST(a_cancel_before_the_launchers_word_goes_out_with_it)
{
	struct client c = client_of(1);
	uint64_t held = submitted(&c, ""), gone = submitted(&c, "");
	struct fake_run *r = idtab_remove(&launcher.runs, gone);
	int64_t id;

	free(r);
	hang_up(&c);
	end();
	begin();
	c = client_of(1);
	id = post(&c, "job.cancel", "{'jobs':[1,2],'grace_ms':77}");
	answer(&c, id);
	launcher_heard("");
	holds(held);
	ready(LAUNCHER);
	launcher_heard("cancel 1/1 ack 2/1 ");
	ck_assert_int_eq(fake_find(held)->grace_ms, 77);
	is_done(&c, gone, "cancelled", "client");
	leader_ends(held, (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 15,
	    .cause = LAUNCH_CAUSE_CANCEL });
	processes_gone(held);
	is_done(&c, held, "cancelled", "client");
	hang_up(&c);
}
END_TEST

START_TEST(an_exit_that_was_recorded_is_only_acknowledged)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");
	struct launch_exit x = { .job = job, .attempt = 1, .how = LAUNCH_EXITED };

	exits(job, 0);
	hang_up(&c);
	end();
	begin();
	holds(job); /* the ack was lost */
	ready(LAUNCHER);
	launcher_heard("");
	engine_launch_handlers.on_exit(engine, &x);
	settle();
	launcher_heard("ack 1/1 ");
	ck_assert_uint_eq(engine->store->last_seq, 1);
}
END_TEST

START_TEST(the_exit_of_an_attempt_that_was_requeued_is_only_acknowledged)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "'retries':{'max':1,'backoff_ms':5000}");
	struct launch_exit x = { .job = job, .attempt = 1, .how = LAUNCH_EXITED, .exit_code = 1 };

	exits(job, 1);
	hang_up(&c);
	end();
	begin();
	holds(job);
	ready(LAUNCHER);
	engine_launch_handlers.on_exit(engine, &x);
	engine_launch_handlers.on_gone(engine, job, 1, false);
	settle();
	launcher_heard("ack 1/1 ");
	phase_is(job, ROW_PENDING);
	slot_loop_advance(loop, 5000000);
	settle();
	launcher_heard("run 1/2 ");
	ck_assert_uint_eq(job_find(engine, job)->active->trees, 1);
}
END_TEST

START_TEST(jobs_of_another_journal_are_ended)
{
	struct fake_run *r = calloc(1, sizeof *r);
	struct client c;

	end();
	*r = (struct fake_run){ .job = 5, .attempt = 2, .slots = 1, .running = true,
		.processes = true };
	ck_assert_int_eq(idtab_put(&launcher.runs, 5, r), 0);
	launcher.slots = 1;
	begin();
	holds(5);
	ready(LAUNCHER);
	launcher_heard("cancel 5/2 ");
	leader_ends(5, (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 15 });
	settle();
	launcher_heard("ack 5/2 ");
	c = client_of(1);
	ck_assert_uint_eq(submitted(&c, ""), 6); /* no id of which the launcher knows something */
	hang_up(&c);
}
END_TEST

START_TEST(a_connection_lost_and_made_again_ends_what_counts_as_lost)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");

	engine_launch_handlers.on_lost(engine, "broken");
	settle();
	is_done(&c, job, "lost", "launcher_died");
	engine_set_launch(engine, &launcher.launch);
	launcher_heard("run 1/1 ");
	holds(job);
	ready(LAUNCHER);
	launcher_heard("cancel 1/1 ");
	hang_up(&c);
}
END_TEST

/* ---- stdin and descriptors ---- */

static int
some_fd(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(one_lost_before_its_launcher_was_ready_is_ended_too)
{
	struct client c = client_of(1);
	uint64_t job = submitted(&c, "");

	hang_up(&c);
	end();
	begin();
	holds(job);
	engine_launch_handlers.on_lost(engine, "the connection broke");
	settle();
	engine_set_launch(engine, &launcher.launch);
	holds(job);
	ready(LAUNCHER);
	launcher_heard("cancel 1/1 ");
	c = client_of(1);
	is_done(&c, job, "lost", "launcher_died");
	hang_up(&c);
}
END_TEST

START_TEST(jobs_whose_input_was_open_are_cancelled)
{
	struct client c = client_of(1);
	uint64_t open_one = submitted(&c, ""), closed = submitted(&c, "");
	uint64_t late_one = submitted(&c, "");

	hang_up(&c);
	end();
	begin();
	holds_with(open_one, some_fd());
	holds_with(closed, -1);
	holds_with(late_one, some_fd());
	launcher_heard("");
	ready(LAUNCHER);
	launcher_heard("cancel 1/1 cancel 3/1 ");
	leader_ends(open_one, (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = 15,
	    .cause = LAUNCH_CAUSE_CANCEL });
	exits(closed, 0);
	exits(late_one, 4); /* it had ended already when the cancel came */
	settle();
	c = client_of(1);
	is_done(&c, open_one, "cancelled", "stdin_lost");
	is_done(&c, closed, "exited", NULL);
	is_done(&c, late_one, "exited", NULL);
	hang_up(&c);
}
END_TEST

START_TEST(pending_jobs_with_descriptors_are_cancelled)
{
	struct client c = client_of(1);
	const char *line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"job.submit\",\"params\":{"
	    "\"argv\":[\"true\"],\"stdout\":{\"fd\":0},\"stderr\":\"null\",\"lifetime\":\"bound\"}}\n";
	int first = some_fd(), second = some_fd();

	one_slot();
	session_feed(c.session, line, strlen(line), &first, 1);
	settle();
	response(&c, 1);
	session_feed(c.session, line, strlen(line), &second, 1);
	settle();
	response(&c, 1);
	ck_assert_uint_eq(launcher.starts, 1);
	/* (the engine ends before it notices that the client goes) */
	end();
	hang_up(&c);
	begin();
	holds(1);
	ready(LAUNCHER);
	c = client_of(1);
	is_done(&c, 2, "cancelled", "fd_lost");
	is(&c, 1, "running");
	exits(1, 0);
	is_done(&c, 1, "exited", NULL);
	hang_up(&c);
}
END_TEST

/* ---- sessions ---- */

static char token[64];

static void
hello(struct client *c)
{
	int64_t id = token[0] == '\0' ? post(c, "hello", "{}") :
	    post(c, "hello", "{'session':'%s'}", token);

	snprintf(token, sizeof token, "%s", text_at(answer(c, id), "session"));
}

START_TEST(bound_jobs_wait_for_their_session)
{
	struct client c = client_of(1);
	char first[64];
	uint64_t job;

	token[0] = '\0';
	hello(&c);
	snprintf(first, sizeof first, "%s", token);
	job = submitted(&c, "'lifetime':'bound'");
	end();
	hang_up(&c);
	begin();
	holds(job);
	ready(LAUNCHER);
	slot_loop_advance(loop, 14000000);
	settle();
	c = client_of(1);
	hello(&c);
	ck_assert_str_eq(token, first);
	slot_loop_advance(loop, 10000000);
	settle();
	launcher_heard("");
	session_close(c.session, "hang-up"); /* it is the owner: as ever */
	settle();
	launcher_heard("cancel 1/1 ");
	hang_up(&c);
}
END_TEST

START_TEST(bound_jobs_whose_session_stays_away_are_cancelled)
{
	struct client c = client_of(1), other;
	uint64_t job, pending;

	one_slot();
	token[0] = '\0';
	hello(&c);
	job = submitted(&c, "'lifetime':'bound'");
	pending = submitted(&c, "'lifetime':'bound'");
	end();
	hang_up(&c);
	begin();
	holds(job);
	ready(LAUNCHER);
	other = client_of(2);
	hello(&other); /* another's token is none */
	slot_loop_advance(loop, 15000000);
	settle();
	launcher_heard("cancel 1/1 ");
	exits(job, 0);
	c = client_of(1);
	is_done(&c, job, "cancelled", "session_ended");
	is_done(&c, pending, "cancelled", "session_ended");
	hang_up(&c);
	hang_up(&other);
}
END_TEST

START_TEST(a_maps_jobs_belong_to_the_session_afterwards)
{
	struct client c = client_of(1);
	int64_t map, push;

	token[0] = '\0';
	hello(&c);
	map = post(&c, "map.open", "{'limit':2}");
	push = post(&c, "map.push", "{'stream':%lld,'jobs':[{'argv':['true'],'stdout':'null',"
	    "'stderr':'null'}]}", (long long)map);
	answer(&c, push);
	end();
	hang_up(&c);
	begin();
	holds(1);
	ready(LAUNCHER);
	c = client_of(1);
	hello(&c);
	slot_loop_advance(loop, 20000000);
	settle();
	launcher_heard("");
	hang_up(&c);
	settle();
	launcher_heard("cancel 1/1 ");
}
END_TEST

START_TEST(a_session_with_bound_jobs_takes_over_no_other)
{
	struct client c = client_of(1);
	char first[64];

	one_slot();
	token[0] = '\0';
	hello(&c);
	snprintf(first, sizeof first, "%s", token);
	submitted(&c, "'lifetime':'bound'");
	end();
	hang_up(&c);
	begin();
	holds(1);
	ready(LAUNCHER);
	c = client_of(1);
	submitted(&c, "'lifetime':'bound'"); /* recorded for the id that it has now */
	refused(&c, "InvalidState", "hello", "{'session':'%s'}", first);
	token[0] = '\0';
	hello(&c);
	ck_assert_str_ne(token, first);
	refused(&c, "InvalidState", "hello", "{'session':'%s'}", first);
	ok(&c, "hello", "{'session':'%s'}", token);
	ok(&c, "hello", "{'session':'%032d'}", 0); /* unknown, as ever */
	end();
	hang_up(&c);
	begin();
	holds(1);
	ready(LAUNCHER);
	c = client_of(1);
	hello(&c); /* the second job's */
	slot_loop_advance(loop, 15000000);
	settle();
	launcher_heard("cancel 1/1 ");
	phase_is(2, ROW_PENDING);
	hang_up(&c);
}
END_TEST

/* ---- settings ---- */

START_TEST(what_was_set_at_run_time_outlives_the_engine)
{
	struct client c = client_of(1);

	answer(&c, post(&c, "limits.set", "{'max_running':3,'max_pending':17}"));
	answer(&c, post(&c, "queue.set", "{'queue':'gpu','max_running':2}"));
	answer(&c, post(&c, "queue.pause", "{'queue':'gpu'}"));
	answer(&c, post(&c, "queue.set", "{'queue':'gone'}"));
	answer(&c, post(&c, "queue.remove", "{'queue':'gone'}"));
	hang_up(&c);
	end();
	begin();
	engine_configure_queue(engine, "gpu", 9);
	ck_assert_uint_eq(engine->limits.max_running, 3);
	ck_assert_uint_eq(engine->limits.max_pending, 17);
	ck_assert_uint_eq(queue_limit(queue_find(engine->queues, "gpu")), 2);
	ck_assert(queue_paused(queue_find(engine->queues, "gpu")));
	ck_assert_ptr_null(queue_find(engine->queues, "gone"));
	ready(LAUNCHER);
	c = client_of(1);
	answer(&c, post(&c, "limits.set", "{'reset':true}"));
	answer(&c, post(&c, "queue.pause", "{}"));
	hang_up(&c);
	end();
	begin();
	ck_assert_uint_eq(engine->limits.max_running, fixture_limits.max_running);
	ck_assert(engine->all_paused);
	ck_assert(queue_paused(queue_find(engine->queues, "default")));
	ready(LAUNCHER);
}
END_TEST

START_TEST(the_instance_and_the_order_of_completions_go_on)
{
	struct client c = client_of(1);
	char instance[24];

	snprintf(instance, sizeof instance, "%s", engine->instance);
	exits(submitted(&c, ""), 0);
	exits(submitted(&c, ""), 0);
	hang_up(&c);
	end();
	begin();
	ready(LAUNCHER);
	ck_assert_str_eq(engine->instance, instance);
	ck_assert_uint_eq(engine->published_seq, 2);
	c = client_of(1);
	exits(submitted(&c, ""), 0);
	ck_assert_uint_eq(engine->published_seq, 3);
	hang_up(&c);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("engine recovery");
	TCase *tc = tcase_create("recovery");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, recover_setup, recover_teardown);
	tcase_add_test(tc, pending_jobs_go_on_in_their_order);
	tcase_add_test(tc, many_pending_jobs_are_there_at_once_and_start);
	tcase_add_test(tc, holds_delays_and_dependencies_go_on);
	tcase_add_test(tc, after_a_reboot_delays_go_by_the_wall_clock);
	tcase_add_test(tc, what_was_depended_on_may_have_ended);
	tcase_add_test(tc, what_comes_after_a_damaged_job_is_not_held_up_by_it);
	tcase_add_test(tc, a_back_off_goes_on);
	tcase_add_test(tc, keys_are_known_again);
	tcase_add_test(tc, a_running_job_is_adopted_with_its_exit);
	tcase_add_test(tc, awaited_jobs_hold_their_slots);
	tcase_add_test(tc, one_that_the_launcher_never_heard_of_is_pending_again);
	tcase_add_test(tc, another_launcher_means_lost);
	tcase_add_test(tc, another_boot_means_lost);
	tcase_add_test(tc, a_cancel_before_the_launchers_word_goes_out_with_it);
	tcase_add_test(tc, an_exit_that_was_recorded_is_only_acknowledged);
	tcase_add_test(tc, the_exit_of_an_attempt_that_was_requeued_is_only_acknowledged);
	tcase_add_test(tc, jobs_of_another_journal_are_ended);
	tcase_add_test(tc, a_connection_lost_and_made_again_ends_what_counts_as_lost);
	tcase_add_test(tc, one_lost_before_its_launcher_was_ready_is_ended_too);
	tcase_add_test(tc, jobs_whose_input_was_open_are_cancelled);
	tcase_add_test(tc, pending_jobs_with_descriptors_are_cancelled);
	tcase_add_test(tc, bound_jobs_wait_for_their_session);
	tcase_add_test(tc, bound_jobs_whose_session_stays_away_are_cancelled);
	tcase_add_test(tc, a_maps_jobs_belong_to_the_session_afterwards);
	tcase_add_test(tc, a_session_with_bound_jobs_takes_over_no_other);
	tcase_add_test(tc, what_was_set_at_run_time_outlives_the_engine);
	tcase_add_test(tc, the_instance_and_the_order_of_completions_go_on);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return run_suite(make_suite());
}
