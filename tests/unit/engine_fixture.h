#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H
/*
 * An engine whose clock is moved by hand, whose launcher is the test and whose clients are fed.
 * Nothing here forks, sleeps or opens more than a socket a client (for its credentials).
 *
 * JSON is written with ' for ".
 */
#include "engine/context.h"
#include "engine/request.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/shelf.h"
#include "slow_store.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOW_US 1000000
#define WALL_US 1700000000000000
#define FIXTURE_LINE 65536
#define LAUNCHER 7001 /* the instance of the fake one */

/* As ck_assert, for what is checked very often: libcheck writes a record for each that holds. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg("not so: %s", #condition);                                    \
	} while (0)

static struct slot_loop *loop;
static struct engine *engine;
static bool fixture_slow; /* its store is one that has to wait: slow_store.h */

/* ---- the launcher ---- */

struct fake_run { /* an attempt that it was told to start */
	uint64_t job;
	uint32_t attempt, slots;
	bool running;      /* its leader */
	bool processes;    /* … or anything of it */
	bool exited;       /* told so, and not acknowledged yet */
	bool signaled;
	bool cancelled;
	int64_t grace_ms;  /* of the cancel */
	uint64_t token;    /* of the last signal */
};

static struct fake {
	struct launch launch; /* first */
	struct idtab runs;    /* by job: its last attempt */
	uint64_t slots, peak, ceiling;
	size_t starts, unacked;
	int refuse;           /* the errno of the next start */
	bool traced, freed;
	char trace[4096];     /* "run 1/1 cancel 1/1 ack 1/1 " */
} launcher;

static inline void
fake_note(const char *what, uint64_t job, uint32_t attempt)
{
	size_t len = strlen(launcher.trace);

	if (launcher.traced && len + 64 < sizeof launcher.trace)
		snprintf(launcher.trace + len, sizeof launcher.trace - len, "%s %llu/%u ", what,
		    (unsigned long long)job, attempt);
}

static inline struct fake_run *
fake_find(uint64_t job)
{
	return idtab_get(&launcher.runs, job);
}

static inline int
fake_run(struct launch *l, const struct launch_run *in)
{
	struct fake_run *r = fake_find(in->job);

	(void)l;
	for (unsigned i = 0; i < in->nfds; i++)
		close(in->fds[i]);
	if (launcher.refuse != 0) {
		int error = launcher.refuse;

		launcher.refuse = 0;
		return -error;
	}
	fake_note("run", in->job, in->attempt);
	if (r == NULL) {
		r = calloc(1, sizeof *r);
		MUST(idtab_put(&launcher.runs, in->job, r) == 0);
	} else { /* at most once an attempt, one attempt at a time */
		MUST(in->attempt > r->attempt);
		MUST(!r->running && !r->exited);
	}
	*r = (struct fake_run){ .job = in->job, .attempt = in->attempt, .slots = in->slots,
		.running = true, .processes = true };
	launcher.starts++;
	launcher.slots += in->slots;
	MUST(launcher.slots <= launcher.ceiling);
	if (launcher.slots > launcher.peak)
		launcher.peak = launcher.slots;
	return 0;
}

static inline void
fake_cancel(struct launch *l, uint64_t job, uint32_t attempt, int64_t grace_ms)
{
	struct fake_run *r = fake_find(job);

	(void)l;
	fake_note("cancel", job, attempt);
	MUST(r != NULL); /* it never hears of what it wasn't told to start */
	MUST(r->attempt == attempt);
	r->cancelled = true;
	r->grace_ms = grace_ms;
}

static inline void
fake_signal(struct launch *l, uint64_t job, uint32_t attempt, int signo, enum launch_scope scope,
    uint64_t token)
{
	(void)l, (void)signo, (void)scope;
	fake_note("signal", job, attempt);
	MUST(fake_find(job) != NULL);
	fake_find(job)->token = token;
}

static inline void
fake_ack(struct launch *l, uint64_t job, uint32_t attempt)
{
	struct fake_run *r = fake_find(job);

	(void)l;
	fake_note("ack", job, attempt);
	if (r != NULL && r->attempt == attempt && r->exited) {
		r->exited = false;
		launcher.unacked--;
	}
}

static inline void
fake_ceiling(struct launch *l, uint32_t slots)
{
	(void)l;
	launcher.ceiling = slots;
}

static inline void
fake_flush(struct launch *l)
{
	(void)l;
}

static inline void
fake_free(struct launch *l)
{
	(void)l;
	launcher.freed = true;
}

static inline void
fake_close_stdin(struct launch *l, uint64_t job, uint32_t attempt)
{
	(void)l;
	fake_note("stdin-closed", job, attempt);
}

static const struct launch_ops fake_ops = { fake_run, fake_cancel, fake_signal, fake_ack,
	fake_ceiling, fake_flush, fake_free, fake_close_stdin, fake_flush };

/* The launcher heard exactly this since it was last asked. */
static inline void
launcher_heard(const char *expected)
{
	ck_assert_str_eq(launcher.trace, expected);
	launcher.trace[0] = '\0';
}

/* ---- the engine ---- */

static inline void
run(void)
{
	slot_loop_run_due(loop, 0);
}

static inline void
advance_ms(int64_t ms)
{
	slot_loop_advance(loop, ms * 1000);
}

/* History is brought within its bounds; a durable store sees to that by itself. */
static inline void
prune(void)
{
	struct store *s = engine->store;

	advance_ms(2000);
	while (fixture_slow && slow_store.inner->prune(s, slot_loop_wall_us(loop)))
		;
}

static struct engine_limits fixture_limits = {
	.max_running = 4,
	.max_pending = 1000000,
	.max_connections = 100,
	.max_in_flight = 256,
	.output_limit = 65536,
	.grace_ms = 5000,
};

static inline struct engine_options
fixture_options(const struct engine_limits *limits)
{
	return (struct engine_options){
		.limits = *limits,
		.version = "slotd/0",
		.uid = 1,
		.admin_gid = (gid_t)-1,
	};
}

static inline void
launcher_init(void)
{
	memset(&launcher, 0, sizeof launcher);
	launcher.launch.ops = &fake_ops;
	launcher.ceiling = UINT64_MAX;
	launcher.traced = true;
}

/* The engine and its launcher; `open` NULL: on the store that the options ask for. */
static inline void
setup_on(struct engine_options *options, engine_open_store open)
{
	loop = slot_loop_new_manual(NOW_US, WALL_US);
	options->loop = loop;
	engine = open != NULL ? engine_new_on(options, open) : engine_new(options);
	ck_assert_ptr_nonnull(engine);
	launcher_init();
	engine_set_launch(engine, &launcher.launch);
	if (fixture_slow) /* (its launcher is the memory store's: there at once) */
		slow_store_install(engine->store, loop);
	shelf_init(engine, 2, 2);
	engine_launch_handlers.on_ready(engine, LAUNCHER);
	run();
}

static inline void
setup_with(const struct engine_limits *limits)
{
	struct engine_options options = fixture_options(limits);

	setup_on(&options, NULL);
}

static inline void
setup(void)
{
	setup_with(&fixture_limits);
}

static inline void
teardown(void)
{
	struct fake_run *r;
	uint64_t job;

	engine_free(engine);
	slot_loop_free(loop);
	while ((r = idtab_next(&launcher.runs, 0, &job)) != NULL) {
		idtab_remove(&launcher.runs, job);
		free(r);
	}
	idtab_fini(&launcher.runs);
}

/* ---- what happens to jobs ---- */

/* The leader of the job's last attempt ends; nothing of the loop has run yet. */
static inline void
leader_ends(uint64_t job, struct launch_exit x)
{
	struct fake_run *r = fake_find(job);

	MUST(r != NULL);
	MUST(r->running);
	r->running = false;
	r->exited = true;
	launcher.unacked++;
	launcher.slots -= r->slots;
	x.job = job;
	x.attempt = r->attempt;
	engine_launch_handlers.on_exit(engine, &x);
}

static inline void
processes_gone(uint64_t job)
{
	struct fake_run *r = fake_find(job);

	MUST(r->processes && !r->running);
	r->processes = false;
	engine_launch_handlers.on_gone(engine, job, r->attempt, false);
}

/* It ends with this exit code, and leaves nothing behind. */
static inline void
job_exits(uint64_t job, int code)
{
	leader_ends(job, (struct launch_exit){ .how = LAUNCH_EXITED, .exit_code = code });
	processes_gone(job);
	run();
}

static inline void
job_is_killed(uint64_t job, int signal, enum launch_cause cause)
{
	leader_ends(job,
	    (struct launch_exit){ .how = LAUNCH_SIGNALED, .signal = signal, .cause = cause });
	processes_gone(job);
	run();
}

static inline const struct row *
row_of_job(uint64_t job)
{
	struct store *s = engine->store;
	const struct row *row = fixture_slow ? slow_store.inner->find(s, job) : s->ops->find(s, job);

	ck_assert_ptr_nonnull(row);
	return row;
}

static inline void
phase_is(uint64_t job, enum row_phase phase)
{
	ck_assert_int_eq(row_of_job(job)->phase, phase);
}

static inline void
outcome_is(uint64_t job, enum msg_outcome outcome)
{
	phase_is(job, ROW_DONE);
	ck_assert_str_eq(msg_outcome_name(row_of_job(job)->run->outcome),
	    msg_outcome_name(outcome));
}

/* ---- clients ---- */

struct client {
	struct session *session; /* counted */
	int peer;
	char *buf;               /* bytes heard and not looked at */
	size_t len;
	json_t *inbox;           /* messages heard and not looked at */
	json_t *last;            /* the response that ok() or refused() looked at */
	int64_t id;              /* of the last request */
};

static inline struct client
client_of(uid_t uid)
{
	struct client c = { .inbox = json_array() };
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	engine_accept(engine, pair[0]);
	c.peer = pair[1];
	c.session = session_ref(TAILQ_LAST(&engine->sessions, session_list));
	c.session->uid = uid;
	c.session->admin = engine_is_admin(engine, uid);
	return c;
}

/* The peer is gone, if it isn't yet. */
static inline void
hang_up(struct client *c)
{
	if (c->session == NULL)
		return;
	session_close(c->session, "hang-up");
	session_unref(c->session);
	c->session = NULL;
	close(c->peer);
	free(c->buf);
	c->buf = NULL;
	json_decref(c->inbox);
	json_decref(c->last);
	c->inbox = c->last = NULL;
}

static inline void
feed(struct client *c, const char *line)
{
	session_feed(c->session, line, strlen(line), NULL, 0);
}

/* Formats with ' turned into ". */
static inline void __attribute__((format(printf, 2, 0)))
quote(char *out, const char *format, va_list ap)
{
	int n = vsnprintf(out, FIXTURE_LINE, format, ap);

	MUST(n < FIXTURE_LINE);
	for (char *at = out; (at = strchr(at, '\'')) != NULL;)
		*at = '"';
}

static inline int64_t __attribute__((format(printf, 3, 0)))
vpost(struct client *c, const char *method, const char *params, va_list ap)
{
	char text[FIXTURE_LINE], *line;

	quote(text, params, ap);
	MUST(asprintf(&line, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"method\":\"%s\","
	    "\"params\":%s}\n", (long long)++c->id, method, text) > 0);
	feed(c, line);
	free(line);
	return c->id;
}

/* Sends a request; the turn it comes in isn't over. Returns its id. */
static inline int64_t __attribute__((format(printf, 3, 4)))
post(struct client *c, const char *method, const char *params, ...)
{
	va_list ap;
	int64_t id;

	va_start(ap, params);
	id = vpost(c, method, params, ap);
	va_end(ap);
	return id;
}

static inline void __attribute__((format(printf, 3, 4)))
notify(struct client *c, const char *method, const char *params, ...)
{
	char text[FIXTURE_LINE], *line;
	va_list ap;

	va_start(ap, params);
	quote(text, params, ap);
	va_end(ap);
	ck_assert_int_gt(asprintf(&line, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":%s}\n",
	    method, text), 0);
	feed(c, line);
	free(line);
}

/* Takes at most so many bytes of what may leave; false: there is nothing. */
static inline bool
take_bytes(struct client *c, size_t max)
{
	size_t got;

	c->buf = realloc(c->buf, c->len + max + 1);
	got = session_take(c->session, c->buf + c->len, max);
	c->len += got;
	c->buf[c->len] = '\0';
	return got > 0;
}

static inline void
parse_lines(struct client *c)
{
	char *at = c->buf, *lf;

	if (c->len == 0)
		return;
	while ((lf = memchr(at, '\n', c->len - (size_t)(at - c->buf))) != NULL) {
		json_error_t error;
		json_t *m = json_loadb(at, (size_t)(lf - at), 0, &error);

		if (m == NULL)
			ck_abort_msg("not JSON: %.*s", (int)(lf - at), at);
		json_array_append_new(c->inbox, m);
		at = lf + 1;
	}
	c->len -= (size_t)(at - c->buf);
	memmove(c->buf, at, c->len);
}

/* Everything that can be heard is in the inbox. */
static inline void
listen_to(struct client *c)
{
	do
		run();
	while (take_bytes(c, 65536));
	parse_lines(c);
}

/* The next message, the caller's; NULL: none. */
static inline json_t *
hear(struct client *c)
{
	json_t *m;

	listen_to(c);
	m = json_incref(json_array_get(c->inbox, 0));
	json_array_remove(c->inbox, 0);
	return m;
}

/* The response to `id`, out of the inbox; NULL: not there. */
static inline json_t *
response(struct client *c, int64_t id)
{
	size_t i;
	json_t *m;

	listen_to(c);
	json_array_foreach(c->inbox, i, m) {
		if (json_integer_value(json_object_get(m, "id")) != id)
			continue;
		json_incref(m);
		json_array_remove(c->inbox, i);
		json_decref(c->last);
		return c->last = m;
	}
	return NULL;
}

/* The result of request `id`, which has been answered so; borrowed until the next response. */
static inline json_t *
result_of(struct client *c, int64_t id)
{
	json_t *m = response(c, id);
	json_t *result = json_object_get(m, "result");

	ck_assert_msg(m != NULL, "no answer to %lld", (long long)id);
	if (result == NULL)
		ck_abort_msg("refused: %s", json_dumps(m, 0));
	return result;
}

/* The error of request `id`: its data; borrowed likewise. */
static inline json_t *
error_of(struct client *c, int64_t id, const char *kind)
{
	json_t *m = response(c, id);
	json_t *data = json_object_get(json_object_get(m, "error"), "data");

	ck_assert_msg(m != NULL, "no answer to %lld", (long long)id);
	if (data == NULL)
		ck_abort_msg("not refused: %s", json_dumps(m, 0));
	ck_assert_str_eq(json_string_value(json_object_get(data, "kind")), kind);
	return data;
}

static inline json_t * __attribute__((format(printf, 3, 4)))
ok(struct client *c, const char *method, const char *params, ...)
{
	va_list ap;

	va_start(ap, params);
	vpost(c, method, params, ap);
	va_end(ap);
	return result_of(c, c->id);
}

static inline json_t * __attribute__((format(printf, 4, 5)))
refused(struct client *c, const char *kind, const char *method, const char *params, ...)
{
	va_list ap;

	va_start(ap, params);
	vpost(c, method, params, ap);
	va_end(ap);
	return error_of(c, c->id, kind);
}

static inline int64_t
int_at(const json_t *o, const char *key)
{
	if (!json_is_integer(json_object_get(o, key)))
		ck_abort_msg("no integer \"%s\"", key);
	return json_integer_value(json_object_get(o, key));
}

static inline const char *
text_at(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	if (text == NULL)
		ck_abort_msg("no string \"%s\"", key);
	return text;
}

/* Submits with these members besides argv; the turn isn't over. The request's id. Without output,
 * which takes the loop to drain, an exit is decided upon at once. */
static inline int64_t
post_submit(struct client *c, const char *members)
{
	return post(c, "job.submit", "{'argv':['true'],%s%s%s}",
	    strstr(members, "stdout") == NULL ? "'stdout':'null','stderr':'null'" : members,
	    *members != '\0' && strstr(members, "stdout") == NULL ? "," : "",
	    strstr(members, "stdout") == NULL ? members : "");
}

/* … and it was accepted: its job. */
static inline uint64_t
submit(struct client *c, const char *members)
{
	return (uint64_t)int_at(result_of(c, post_submit(c, members)), "job");
}

static inline uint64_t __attribute__((format(printf, 2, 3)))
submitf(struct client *c, const char *members, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, members);
	vsnprintf(text, sizeof text, members, ap);
	va_end(ap);
	return submit(c, text);
}

/* The next message is an item of this stream, its n-th: its params, the caller's. */
static inline json_t *
item_of(struct client *c, int64_t stream, int64_t n)
{
	json_t *m = hear(c), *params = json_object_get(m, "params");

	ck_assert_msg(m != NULL, "no item %lld", (long long)n);
	if (strcmp(json_string_value(json_object_get(m, "method")) != NULL ?
	    json_string_value(json_object_get(m, "method")) : "", "$/item") != 0)
		ck_abort_msg("not an item: %s", json_dumps(m, 0));
	ck_assert_int_eq(int_at(params, "stream"), stream);
	ck_assert_int_eq(int_at(params, "n"), n);
	json_incref(params);
	json_decref(m);
	return params;
}

/* The next message is the n-th item of this stream, the completion of this job. */
static inline void
item_is(struct client *c, int64_t stream, int64_t n, uint64_t job)
{
	json_t *item = item_of(c, stream, n);

	ck_assert_int_eq(int_at(item, "job"), (int64_t)job);
	json_decref(item);
}

static inline void
hears_nothing(struct client *c)
{
	listen_to(c);
	if (json_array_size(c->inbox) > 0)
		ck_abort_msg("heard: %s", json_dumps(json_array_get(c->inbox, 0), 0));
}

/* ---- what always holds between turns ---- */

/* (What is shelved is counted by its own.) */
static inline void
check_line_counts(void)
{
	size_t shelved = 0;

	for (struct queue *q = queue_next(engine->queues, NULL); q != NULL;
	    q = queue_next(engine->queues, q)) {
		size_t pending = 0;
		uint32_t slots = 0;
		const struct job *job;

		TAILQ_FOREACH(job, &engine->by_phase[ROW_PENDING], entry)
			pending += queue_of(&job->place) == q;
		TAILQ_FOREACH(job, &engine->by_phase[ROW_RUNNING], entry)
			if (queue_of(&job->place) == q)
				slots += job->action.slots;
		MUST(queue_pending(q) >= pending);
		shelved += queue_pending(q) - pending;
		MUST(queue_running(q) == slots);
	}
	MUST(shelved == shelf_count(engine));
}

static inline void
check_job(const struct job *job, enum row_phase phase)
{
	enum slot_action_state state = slot_action_state(&job->action);

	MUST(job_phase(job) == phase);
	MUST(job_find(engine, job->row->id) == job);
	switch (phase) {
	case ROW_PENDING:
		MUST(state == (job->held != 0 ? SLOT_ACTION_IDLE : SLOT_ACTION_PENDING));
		break;
	case ROW_RUNNING:
		MUST(state == SLOT_ACTION_RUNNING);
		break;
	case ROW_DONE:
		MUST(state == SLOT_ACTION_IDLE);
		break;
	}
}

/* Every job on the one list of its phase, and every count what counting gives. */
static inline void
check_engine(void)
{
	size_t counted[3] = { 0 }, in_line = 0;
	uint64_t slots = 0;
	int64_t bytes = 0;
	const struct session *s;
	uint32_t nheld = 0, nsessions = 0;

	for (int phase = 0; phase < 3; phase++) {
		const struct job *job;

		TAILQ_FOREACH(job, &engine->by_phase[phase], entry) {
			check_job(job, (enum row_phase)phase);
			counted[phase]++;
			if (phase == ROW_PENDING)
				bytes += job->cost;
			in_line += slot_action_state(&job->action) == SLOT_ACTION_PENDING;
			if (phase == ROW_RUNNING)
				slots += job->action.slots;
		}
	}
	MUST(engine->jobs.count == counted[0] + counted[1] + counted[2] + shelf_count(engine));
	MUST(engine->npending == counted[ROW_PENDING] + shelf_count(engine));
	MUST(engine->nrunning == counted[ROW_RUNNING]);
	MUST(engine->pending_bytes == bytes + engine->shelf.bytes);
	MUST(slot_executor_running(engine->executor) == slots);
	MUST(slot_executor_pending(engine->executor) == in_line);
	check_line_counts();
	TAILQ_FOREACH(s, &engine->sessions, entry) {
		nsessions++;
		nheld += s->nheld;
	}
	MUST(engine->nsessions == nsessions);
	MUST(engine->nheld == nheld);
	MUST(engine->published_seq == engine->store->last_seq);
	MUST(engine->stats.completed == engine->store->last_seq);
	MUST(engine->stats.submitted ==
	    engine->stats.completed + engine->npending + engine->nrunning);
}

static inline int
run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

/* With the store in memory, then with one that has to wait. SLOT_STORE=memory or slow: with that
 * alone. */
static inline int
run_suite_both(Suite *(*make)(void))
{
	const char *only = getenv("SLOT_STORE");
	int failed = 0;

	if (only == NULL || strcmp(only, "memory") == 0)
		failed |= run_suite(make());
	fixture_slow = true;
	if (only == NULL || strcmp(only, "slow") == 0)
		failed |= run_suite(make());
	return failed;
}

#endif
