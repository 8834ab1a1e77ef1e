/*
 * A durable daemon, modelled, that dies at each byte of what it says: twice, at different ones,
 * with all that it had heard done or not heard at all. Whatever is cut, each submit makes one job,
 * each future settles with the completion of its own job, and a stream tells each completion once,
 * in order. Hundreds of clients go through it at a time, for each waits a moment to come back.
 * Then the same with a daemon that garbles what it says: everything settles all the same.
 */
#include "client_fixture.h"

#include <stdarg.h>
#include <sys/un.h>

enum {
	OLD = 2,      /* jobs that exist already: 1 is done, 2 runs */
	NEW = 3,      /* submitted here */
	ALL = OLD + NEW,
	AT_ONCE = 150,
	STREAMS = 4,
	CUTS = 1900,  /* no conversation is longer */
};

struct told_stream {
	json_int_t id; /* 0: none */
	unsigned next; /* completions: the place in finish order that is to be told next */
	bool watched[ALL + 4]; /* as_completed: by job; else all */
	bool lasting;
	unsigned left, n;
};

/* What outlives the daemon, and what doesn't. */
struct model {
	char keys[ALL + 4][64]; /* by job */
	int finished[ALL + 4];  /* jobs in finish order, from 1 */
	unsigned njobs, seq;
	bool done[ALL + 4];

	int fd;         /* -1: it died */
	long budget;    /* bytes that it says before it dies */
	bool deaf;      /* it dies of what it hears next */
	struct told_stream streams[STREAMS];
};

struct run {
	struct model model;
	struct slot_client *client;
	struct slot_future *submits[NEW], *attached[OLD], *call;
	struct slot_stream *stream;
	unsigned told[ALL + 4], ntold;
	unsigned cut, lives;
	unsigned lost;
};

struct conn {
	int fd;
	struct run *run; /* NULL: hello was not heard */
	char *in;
	size_t len;
};

static char path[64];
static int listener;
static struct run runs[AT_ONCE];
static unsigned nruns;
static struct conn conns[AT_ONCE * 2];

static bool lying;
static uint64_t chance;

static unsigned
below(unsigned n)
{
	chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(chance >> 33) % n;
}

/* ---- the daemon ---- */

static void
die(struct model *m)
{
	if (m->fd < 0)
		return;
	for (size_t i = 0; i < sizeof(conns) / sizeof(conns[0]); i++) {
		if (conns[i].fd == m->fd)
			conns[i].fd = -1;
	}
	close(m->fd);
	m->fd = -1;
	memset(m->streams, 0, sizeof(m->streams));
}

static void say_line(struct model *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
say_line(struct model *m, const char *format, ...)
{
	char line[1000];
	va_list ap;
	long len;

	if (m->fd < 0)
		return;
	va_start(ap, format);
	len = vsnprintf(line, sizeof(line) - 1, format, ap);
	va_end(ap);
	for (long i = 0; lying && i < len; i++) {
		if (below(1500) == 0)
			line[i] = (char)(line[i] >= '0' && line[i] <= '9' ? '0' + below(10)
									  : below(256));
	}
	line[len++] = '\n';
	if (len > m->budget)
		len = m->budget;
	ck_assert_int_eq(send(m->fd, line, (size_t)len, MSG_NOSIGNAL), len);
	m->budget -= len;
	if (m->budget == 0)
		die(m);
}

static void
tell(struct model *m, struct told_stream *s, int job, unsigned seq)
{
	say_line(m, "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":%lld,"
	    "\"n\":%u,\"job\":%d,\"seq\":%u,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":%d,"
	    "\"signal\":null}}", (long long)s->id, ++s->n, job, seq, job % 7);
}

/* Whatever a stream has not told yet. */
static void
pump(struct model *m, struct told_stream *s)
{
	for (; s->id != 0 && s->next <= m->seq; s->next++) {
		int job = m->finished[s->next];

		if (!s->lasting && !s->watched[job])
			continue;
		tell(m, s, job, s->next);
		if (s->lasting || s->id == 0 || --s->left > 0)
			continue;
		say_line(m, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{\"done\":%u}}",
		    (long long)s->id, s->n);
		s->id = 0;
		return;
	}
}

static void
pump_all(struct model *m)
{
	for (int i = 0; i < STREAMS; i++)
		pump(m, &m->streams[i]);
}

static void
finish(struct model *m, int job)
{
	m->done[job] = true;
	m->finished[++m->seq] = job;
}

static struct told_stream *
new_stream(struct model *m, json_int_t id)
{
	for (int i = 0; i < STREAMS; i++) {
		if (m->streams[i].id != 0)
			continue;
		m->streams[i] = (struct told_stream){ .id = id };
		return &m->streams[i];
	}
	ck_assert_msg(lying, "too many streams");
	return &m->streams[0];
}

static void
submit(struct model *m, json_int_t id, const json_t *params)
{
	const char *key = json_string_value(json_object_get(params, "key"));
	unsigned job = 1;

	ck_assert_ptr_nonnull(key);
	while (job <= m->njobs && strcmp(m->keys[job], key) != 0)
		job++;
	bool existing = job <= m->njobs;

	if (!existing) {
		m->njobs++;
		ck_assert_uint_le(m->njobs, ALL);
		snprintf(m->keys[job], sizeof(m->keys[job]), "%s", key);
	}
	say_line(m, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{\"job\":%u,\"phase\":\"%s\","
	    "\"existing\":%s}}", (long long)id, job, m->done[job] ? "done" : "running",
	    existing ? "true" : "false");
}

static void
handle(struct model *m, const char *method, json_int_t id, const json_t *params)
{
	const json_t *since = json_object_get(params, "since_seq");
	const json_t *jobs = json_object_get(params, "jobs");
	struct told_stream *s;

	if (strcmp(method, "hello") == 0) {
		say_line(m, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{\"protocol\":1,"
		    "\"instance\":\"i\",\"session\":\"s\",\"features\":[\"durable\"],\"seq\":%u}}",
		    (long long)id, m->seq);
	} else if (strcmp(method, "job.submit") == 0) {
		submit(m, id, params);
	} else if (strcmp(method, "completions.subscribe") == 0) {
		s = new_stream(m, id);
		s->lasting = true;
		s->next = 1 + (json_is_integer(since) ? (unsigned)json_integer_value(since)
						      : m->seq);
		/* Else it would be HistoryTruncated. */
		ck_assert(lying || s->next <= m->seq + 1);
	} else if (strcmp(method, "futures.as_completed") == 0) {
		s = new_stream(m, id);
		s->next = 1;
		s->left = (unsigned)json_array_size(jobs);
		for (size_t i = 0; i < json_array_size(jobs); i++) {
			json_int_t job = json_integer_value(json_array_get(jobs, i));

			ck_assert(lying || (job > 0 && job <= ALL));
			s->watched[job > 0 && job <= ALL ? job : 0] = true;
		}
	} else {
		say_line(m, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{\"seq\":%u}}",
		    (long long)id, m->seq);
	}
	pump_all(m);
}

/* The first and the second life end at their byte; what the second does with what it hears last
 * differs, too. The third lives on. */
static void
be_born(struct run *run, int fd)
{
	struct model *m = &run->model;

	m->fd = fd;
	m->budget = run->lives == 0 ? (long)run->cut : run->lives == 1 ? 130 + run->cut * 7 % 900
								       : 1000000;
	m->deaf = run->lives == 1 && run->cut % 5 == 0;
	run->lives++;
}

static void
hear_line(struct conn *conn, const char *line, size_t len)
{
	json_t *root = json_loadb(line, len, 0, NULL);
	const json_t *params = json_object_get(root, "params");
	const char *name = json_string_value(json_object_get(params, "client"));

	ck_assert_ptr_nonnull(root);
	if (conn->run == NULL) {
		ck_assert_ptr_nonnull(name);
		conn->run = &runs[atoi(name)];
		ck_assert_int_eq(conn->run->model.fd, -1);
		be_born(conn->run, conn->fd);
	} else if (conn->run->model.deaf && strcmp(json_string_value(json_object_get(root,
	    "method")), "job.submit") == 0) {
		die(&conn->run->model);
	}
	if (conn->run->model.fd >= 0 && json_object_get(root, "id") != NULL)
		handle(&conn->run->model, json_string_value(json_object_get(root, "method")),
		    json_integer_value(json_object_get(root, "id")), params);
	json_decref(root);
}

static void
listen_to(struct conn *conn)
{
	size_t begin = 0;
	char *lf;

	conn->in = realloc(conn->in, conn->len + 16384);
	ssize_t n = recv(conn->fd, conn->in + conn->len, 16384, MSG_DONTWAIT);

	if (n == 0) { /* the client is through */
		close(conn->fd);
		if (conn->run != NULL)
			conn->run->model.fd = -1;
		conn->fd = -1;
	}
	if (n <= 0)
		return;
	conn->len += (size_t)n;
	while (conn->fd >= 0 &&
	    (lf = memchr(conn->in + begin, '\n', conn->len - begin)) != NULL) {
		hear_line(conn, conn->in + begin, (size_t)(lf - conn->in) - begin);
		begin = (size_t)(lf - conn->in) + 1;
	}
	conn->len -= begin;
	memmove(conn->in, conn->in + begin, conn->len);
}

static void
daemon_turn(void)
{
	for (size_t i = 0; i < sizeof(conns) / sizeof(conns[0]); i++) {
		if (conns[i].fd < 0) {
			conns[i].len = 0;
			conns[i].run = NULL;
			conns[i].fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		}
		if (conns[i].fd >= 0)
			listen_to(&conns[i]);
	}
	/* One job of each daemon ends, whether somebody is there to be told or not. */
	for (unsigned i = 0; i < nruns; i++) {
		struct model *m = &runs[i].model;

		for (unsigned job = 1; job <= m->njobs; job++) {
			if (m->done[job])
				continue;
			finish(m, (int)job);
			pump_all(m);
			break;
		}
	}
}

/* ---- the client ---- */

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	struct run *run = arg;

	(void)s;
	if (lying)
		return;
	ck_assert_uint_lt(run->ntold, ALL);
	run->told[run->ntold++] = (unsigned)json_integer_value(json_object_get(item, "seq"));
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	(void)s;
	(void)result;
	(void)error;
	ck_assert(lying || (code == -SLOT_ECLOSED && ((struct run *)arg)->lives == 1));
}

static void
on_lost(struct slot_client *c, int code, const char *why, void *arg)
{
	(void)c;
	(void)why;
	ck_assert(code == -SLOT_ECLOSED || (lying && code == -SLOT_EPROTOCOL));
	((struct run *)arg)->lost++;
}

static void
begin_run(unsigned index, unsigned cut)
{
	static const struct slot_stream_handlers handlers = { .item = on_item, .end = on_end };
	const uint64_t old[OLD] = { 1, 2 };
	struct run *run = &runs[index];
	char name[20];
	const struct slot_client_options options = { .name = name, .reconnect = true,
		.on_disconnect = on_lost, .arg = run };

	*run = (struct run){ .cut = cut, .model = { .fd = -1, .njobs = OLD } };
	finish(&run->model, 1);
	snprintf(name, sizeof(name), "%u", index);
	run->client = slot_client_connect(loop, path, &options, NULL);
	ck_assert_ptr_nonnull(run->client);
	run->stream = slot_client_stream(run->client, "completions.subscribe",
	    json_pack("{s:i}", "since_seq", 0), &handlers, run, NULL);
	run->submits[0] = slot_client_submit(run->client, json_pack("{s:[s]}", "argv", "x"), NULL);
	ck_assert_int_eq(slot_client_attach(run->client, old, OLD, run->attached), 0);
	run->call = slot_client_call(run->client, "job.list", NULL, NULL);
	for (int i = 1; i < NEW; i++)
		run->submits[i] = slot_client_submit(run->client,
		    json_pack("{s:[s]}", "argv", "x"), NULL);
}

static bool
is_through(const struct run *run)
{
	bool through = slot_future_done(run->call) && (run->ntold == ALL || run->lost > 0);

	for (int i = 0; i < NEW; i++)
		through &= slot_future_done(run->submits[i]);
	for (int i = 0; i < OLD; i++)
		through &= slot_future_done(run->attached[i]);
	return through;
}

static void
check_job(const struct run *run, const struct slot_future *f, uint64_t job)
{
	const struct slot_completion *c = slot_job_completion(f);

	ck_assert_msg(c != NULL, "cut at %u: a job without its completion", run->cut);
	ck_assert_uint_eq(slot_job_id(f), c->job);
	ck_assert_int_eq(c->exit_code, (int)c->job % 7);
	ck_assert(job == 0 || job == c->job);
	ck_assert_int_eq(run->model.finished[c->seq], (int)c->job);
}

static void
check_run(const struct run *run)
{
	unsigned jobs = 0;

	if (run->lost > 0) { /* before hello's answer the loss is the end, and told once */
		ck_assert_uint_eq(run->lost, 1);
		ck_assert_ptr_null(slot_client_hello(run->client));
		for (int i = 0; i < NEW; i++)
			fails_with(run->submits[i], -SLOT_ECLOSED);
		return;
	}
	ck_assert_msg(run->model.njobs == ALL, "cut at %u: %u jobs", run->cut, run->model.njobs);
	for (int i = 0; i < NEW; i++) {
		check_job(run, run->submits[i], 0);
		jobs |= 1u << slot_job_id(run->submits[i]);
	}
	ck_assert_uint_eq(jobs, 7u << (OLD + 1)); /* each has its own */
	for (unsigned i = 0; i < OLD; i++)
		check_job(run, run->attached[i], i + 1);
	ck_assert_int_eq(slot_future_result(run->call, NULL), 0);
	for (unsigned i = 0; i < ALL; i++)
		ck_assert_msg(run->told[i] == i + 1, "cut at %u: told %u as number %u", run->cut,
		    run->told[i], i + 1);
	ck_assert_uint_eq(slot_client_seq(run->client), ALL);
}

static void
end_run(struct run *run)
{
	slot_client_free(run->client);
	slot_stream_free(run->stream);
	slot_future_unref(run->call);
	for (int i = 0; i < NEW; i++)
		slot_future_unref(run->submits[i]);
	for (int i = 0; i < OLD; i++)
		slot_future_unref(run->attached[i]);
	if (run->model.fd >= 0)
		die(&run->model);
}

static void
run_all(void)
{
	for (int waited = 0;; waited++) {
		unsigned left = 0;

		event_base_loop(base, EVLOOP_NONBLOCK);
		daemon_turn();
		for (unsigned i = 0; i < nruns; i++)
			left += !is_through(&runs[i]);
		if (left == 0)
			return;
		ck_assert_msg(waited < PATIENCE_MS, "%u clients wait for ever", left);
		poll(NULL, 0, 1);
	}
}

static void
begin(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(path, sizeof(path), "/tmp/slot-client-restart-%d", (int)getpid());
	strcpy(sa.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(listener, 4 * AT_ONCE), 0);
	base = event_base_new();
	loop = slot_loop_new(base);
	for (size_t i = 0; i < sizeof(conns) / sizeof(conns[0]); i++)
		conns[i].fd = -1;
}

static void
end_all(void)
{
	for (unsigned i = 0; i < nruns; i++)
		end_run(&runs[i]);
	for (size_t i = 0; i < sizeof(conns) / sizeof(conns[0]); i++) {
		if (conns[i].fd >= 0)
			close(conns[i].fd);
		conns[i].fd = -1;
	}
}

static void
end(void)
{
	for (size_t i = 0; i < sizeof(conns) / sizeof(conns[0]); i++) {
		free(conns[i].in);
		conns[i] = (struct conn){ .fd = -1 };
	}
	slot_loop_free(loop);
	event_base_free(base);
	close(listener);
	unlink(path);
}

START_TEST(nothing_is_lost_or_done_twice_wherever_it_is_cut)
{
	unsigned restarted = 0;

	lying = false;
	for (unsigned cut = 1; cut < CUTS; cut += AT_ONCE) {
		for (nruns = 0; nruns < AT_ONCE; nruns++)
			begin_run(nruns, cut + nruns);
		run_all();
		for (unsigned i = 0; i < nruns; i++) {
			check_run(&runs[i]);
			restarted += runs[i].lives > 2;
		}
		end_all();
	}
	ck_assert_uint_gt(restarted, 500);
}
END_TEST

START_TEST(whatever_is_garbled_on_the_way_back_everything_settles)
{
	lying = true;
	chance = 1;
	for (unsigned cut = 150; cut < 600; cut += AT_ONCE) {
		for (nruns = 0; nruns < AT_ONCE; nruns++)
			begin_run(nruns, cut + nruns);
		/* Until some were there three times; most are, or are over by then. */
		for (unsigned waited = 0, thrice = 0; thrice < 20; waited++) {
			ck_assert_uint_lt(waited, PATIENCE_MS);
			event_base_loop(base, EVLOOP_NONBLOCK);
			daemon_turn();
			thrice = 0;
			for (unsigned i = 0; i < nruns; i++)
				thrice += runs[i].lives > 2;
			poll(NULL, 0, 1);
		}
		for (unsigned i = 0; i < nruns; i++) {
			slot_client_free(runs[i].client);
			runs[i].client = NULL;
			ck_assert(slot_future_done(runs[i].call));
			for (int k = 0; k < NEW; k++)
				ck_assert(slot_future_done(runs[i].submits[k]));
			for (int k = 0; k < OLD; k++)
				ck_assert(slot_future_done(runs[i].attached[k]));
		}
		end_all();
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client_restart");
	TCase *tc = tcase_create("cut");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, whatever_is_garbled_on_the_way_back_everything_settles);
	tcase_add_test(tc, nothing_is_lost_or_done_twice_wherever_it_is_cut);
	suite_add_tcase(suite, tc);
	return run_client_suite(suite);
}
