/* Calls of every method: what good params give, what bad ones are told. */
#include "wire_fixture.h"

#include <signal.h>

static struct wire_fixture fx;

static void
setup(void)
{
	wire_setup(&fx);
}

static void
teardown(void)
{
	wire_teardown(&fx);
}

static void
ok(const char *method, const char *params)
{
	wire_ok(&fx, method, params);
	ck_assert_str_eq(fx.call.method->name, method);
}

struct refusal {
	const char *method, *params, *param, *path;
};

static void
all_refused(const struct refusal *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wire_refused(&fx, cases[i].method, cases[i].params, RPC_INVALID_PARAMS,
		    cases[i].param, cases[i].path);
}
#define ALL_REFUSED(cases) all_refused(cases, sizeof(cases) / sizeof((cases)[0]))

START_TEST(the_table_is_in_order)
{
	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];

		ck_assert_int_eq(m->id, i);
		ck_assert_ptr_eq(msg_method_find(m->name), m);
		ck_assert_ptr_eq(msg_method((enum msg_method_id)i), m);
		ck_assert_str_ne(m->help, "");
		ck_assert_ptr_nonnull(m->params);
		ck_assert_uint_le(m->params->nfields, 64);
		for (size_t k = 0; k < m->params->nfields; k++)
			ck_assert_str_ne(m->params->fields[k].help, "");
		if (m->flags & MSG_M_STREAM)
			ck_assert_ptr_nonnull(m->item);
	}
	ck_assert_ptr_null(msg_method_find("job.nonsense"));
	ck_assert_ptr_null(msg_method_find(""));
}
END_TEST

START_TEST(an_unknown_method_is_named)
{
	ck_assert_int_eq(wire_decode(&fx, "job.nonsense", NULL), -1);
	ck_assert_int_eq(fx.err.error, RPC_METHOD_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(fx.err.message, "job.nonsense"));
	ck_assert_int_eq(wire_decode(&fx, "$/nonsense", NULL), -1);
	ck_assert_int_eq(fx.err.error, RPC_METHOD_NOT_FOUND);
}
END_TEST

START_TEST(no_method_takes_an_unknown_parameter)
{
	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];

		wire_refused(&fx, m->name, "{\"no_such\":1}", RPC_INVALID_PARAMS, "no_such", "");
		wire_refused(&fx, m->name, "{\"\":1}", RPC_INVALID_PARAMS, "\"\"", "");
	}
}
END_TEST

START_TEST(no_parameter_takes_a_wrong_type)
{
	static const char *const values[] = { "null", "true", "7", "1.5", "\"\\u0000\"", "[]", "{}",
		"[[]]", "{\"x\":{}}", "9007199254740993", "-9007199254740993" };
	char params[300];
	int refused = 0;

	/* Whatever the value: an answer, and one that names the parameter or another that lacks. */
	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];

		for (size_t k = 0; k < m->params->nfields; k++) {
			for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
				snprintf(params, sizeof(params), "{\"%s\":%s}",
				    m->params->fields[k].name, values[v]);
				if (wire_decode(&fx, m->name, params) == 0)
					continue;
				ck_assert_int_eq(fx.err.error, RPC_INVALID_PARAMS);
				ck_assert_str_ne(fx.err.param, "");
				refused++;
			}
		}
	}
	ck_assert_int_gt(refused, 500);
}
END_TEST

START_TEST(hello)
{
	ok("hello", NULL);
	ck_assert_uint_eq(fx.call.u.hello.protocol.n, 1);
	ck_assert_int_eq(fx.call.u.hello.protocol.v[0], 1);
	ck_assert_ptr_null(fx.call.u.hello.session);
	ok("hello", "{\"protocol\":[1,2],\"client\":\"c/1\",\"session\":\"t\"}");
	ck_assert_uint_eq(fx.call.u.hello.protocol.n, 2);
	ck_assert_str_eq(fx.call.u.hello.client, "c/1");
	ck_assert_str_eq(fx.call.u.hello.session, "t");
	ok("hello", "{\"session\":null}");

	static const struct refusal cases[] = {
		{ "hello", "{\"protocol\":1}", "protocol", "" },
		{ "hello", "{\"protocol\":[]}", "protocol", "" },
		{ "hello", "{\"protocol\":[\"1\"]}", "protocol", "protocol[0]" },
		{ "hello", "{\"client\":7}", "client", "" },
		{ "hello", "{\"session\":7}", "session", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(maps)
{
	ok("map.open", "{\"limit\":1}");
	ck_assert_int_eq(fx.call.u.map_open.limit, 1);
	ck_assert_int_eq(fx.call.u.map_open.on_error, MSG_ON_ERROR_CONTINUE);
	ck_assert(fx.call.u.map_open.window == MSG_NULL);
	ck_assert_int_eq(fx.call.u.map_open.with_output, 0);
	ck_assert_int_eq(fx.call.u.map_open.defaults.slots, 1);
	ok("map.open", "{\"limit\":1000,\"defaults\":{\"cwd\":\"/tmp\"},\"on_error\":\"cancel\","
		       "\"window\":5,\"with_output\":65536}");
	ck_assert_int_eq(fx.call.u.map_open.on_error, MSG_ON_ERROR_CANCEL);
	ck_assert_int_eq(fx.call.u.map_open.window, 5);
	ck_assert_str_eq(fx.call.u.map_open.defaults.cwd.ptr, "/tmp");
	ok("map.push", "{\"stream\":3,\"jobs\":[{\"argv\":[\"x\"]}]}");
	ck_assert_int_eq(fx.call.u.map_push.stream->integer, 3);
	ck_assert_uint_eq(fx.call.u.map_push.jobs_json->len, 1);
	ok("map.end", "{\"stream\":\"s\"}");

	static const struct refusal cases[] = {
		{ "map.open", "{}", "limit", "" },
		{ "map.open", "{\"limit\":0}", "limit", "" },
		{ "map.open", "{\"limit\":-1}", "limit", "" },
		{ "map.open", "{\"limit\":\"1\"}", "limit", "" },
		{ "map.open", "{\"limit\":1,\"defaults\":[]}", "defaults", "" },
		{ "map.open", "{\"limit\":1,\"defaults\":{\"argv\":[]}}", "argv",
		    "defaults.argv" },
		{ "map.open", "{\"limit\":1,\"on_error\":\"stop\"}", "on_error", "" },
		{ "map.open", "{\"limit\":1,\"window\":0}", "window", "" },
		{ "map.open", "{\"limit\":1,\"with_output\":65537}", "with_output", "" },
		{ "map.open", "{\"limit\":1,\"with_output\":true}", "with_output", "" },
		{ "map.push", "{\"stream\":3}", "jobs", "" },
		{ "map.push", "{\"jobs\":[{}]}", "stream", "" },
		{ "map.push", "{\"stream\":3,\"jobs\":[]}", "jobs", "" },
		{ "map.push", "{\"stream\":3,\"jobs\":{}}", "jobs", "" },
		{ "map.push", "{\"stream\":1.5,\"jobs\":[{}]}", "stream", "" },
		{ "map.push", "{\"stream\":null,\"jobs\":[{}]}", "stream", "" },
		{ "map.end", "{}", "stream", "" },
		{ "map.end", "{\"stream\":[3]}", "stream", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

static char *
many_ids(const char *head, int n, const char *tail)
{
	char *params = malloc(strlen(head) + (size_t)n * 8 + strlen(tail) + 1);
	char *p = params + sprintf(params, "%s", head);

	for (int i = 1; i <= n; i++)
		p += sprintf(p, "%s%d", i > 1 ? "," : "", i);
	strcpy(p, tail);
	return params;
}

START_TEST(futures)
{
	ok("futures.as_completed", "{\"jobs\":[3,3,9007199254740991]}");
	ck_assert_uint_eq(fx.call.u.futures_as_completed.jobs.n, 3);
	ck_assert_int_eq(fx.call.u.futures_as_completed.jobs.v[2], RPC_INT_MAX);
	ck_assert(fx.call.u.futures_as_completed.timeout_ms == MSG_NULL);
	ok("futures.as_completed", "{\"jobs\":[1],\"timeout_ms\":0,\"window\":1,\"with_output\":5}");
	ck_assert_int_eq(fx.call.u.futures_as_completed.timeout_ms, 0);
	ok("futures.as_completed", "{\"jobs\":[1],\"timeout_ms\":null}");
	ck_assert(fx.call.u.futures_as_completed.timeout_ms == MSG_NULL);
	ok("futures.wait", "{\"jobs\":[1]}");
	ck_assert_int_eq(fx.call.u.futures_wait.return_when, MSG_RETURN_ALL_COMPLETED);
	ok("futures.wait", "{\"jobs\":[1],\"return_when\":\"FIRST_EXCEPTION\",\"timeout_ms\":9}");
	ck_assert_int_eq(fx.call.u.futures_wait.return_when, MSG_RETURN_FIRST_EXCEPTION);
	ok("futures.gather", "{\"jobs\":[2,1]}");
	ck_assert(!fx.call.u.futures_gather.return_exceptions);
	ok("futures.gather", "{\"jobs\":[2,1],\"return_exceptions\":true}");
	ck_assert(fx.call.u.futures_gather.return_exceptions);

	static const struct refusal cases[] = {
		{ "futures.as_completed", "{}", "jobs", "" },
		{ "futures.as_completed", "{\"jobs\":[]}", "jobs", "" },
		{ "futures.as_completed", "{\"jobs\":5}", "jobs", "" },
		{ "futures.as_completed", "{\"jobs\":[0]}", "jobs", "jobs[0]" },
		{ "futures.as_completed", "{\"jobs\":[1,-1]}", "jobs", "jobs[1]" },
		{ "futures.as_completed", "{\"jobs\":[1,\"2\"]}", "jobs", "jobs[1]" },
		{ "futures.as_completed", "{\"jobs\":[9007199254740992]}", "jobs", "jobs[0]" },
		{ "futures.as_completed", "{\"jobs\":[1],\"timeout_ms\":-1}", "timeout_ms", "" },
		{ "futures.as_completed", "{\"jobs\":[1],\"timeout_ms\":1.0}", "timeout_ms", "" },
		{ "futures.wait", "{\"jobs\":[]}", "jobs", "" },
		{ "futures.wait", "{\"jobs\":[1],\"return_when\":\"all\"}", "return_when", "" },
		{ "futures.gather", "{\"jobs\":[]}", "jobs", "" },
		{ "futures.gather", "{\"jobs\":[1],\"return_exceptions\":1}", "return_exceptions",
		    "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(lists_of_futures_are_limited)
{
	char *params = many_ids("{\"jobs\":[", 2048, "]}");

	ok("futures.wait", params);
	ok("futures.gather", params);
	free(params);
	params = many_ids("{\"jobs\":[", 2049, "]}");
	wire_refused(&fx, "futures.wait", params, RPC_INVALID_PARAMS, "jobs", "");
	wire_refused(&fx, "futures.gather", params, RPC_INVALID_PARAMS, "jobs", "");
	free(params);
	params = many_ids("{\"jobs\":[", 65000, "]}");
	ok("futures.as_completed", params);
	ck_assert_int_eq(fx.call.u.futures_as_completed.jobs.v[64999], 65000);
	free(params);
}
END_TEST

START_TEST(jobs)
{
	ok("job.result", "{\"job\":4}");
	ck_assert_int_eq(fx.call.u.job_result.job, 4);
	ck_assert_int_eq(fx.call.u.job_result.wait_ms, 0);
	ok("job.result", "{\"job\":4,\"wait_ms\":10,\"with_output\":1}");
	ok("job.cancel", "{\"jobs\":[1,2],\"grace_ms\":0,\"wait\":true}");
	ck_assert_int_eq(fx.call.u.job_cancel.grace_ms, 0);
	ck_assert(fx.call.u.job_cancel.wait);
	ok("job.cancel", "{\"jobs\":[1]}");
	ck_assert(fx.call.u.job_cancel.grace_ms == MSG_NULL && !fx.call.u.job_cancel.wait);
	ok("job.get", "{\"job\":4}");
	ck_assert_int_eq(fx.call.u.job_get.job, 4);
	ok("job.retry", "{\"job\":4}");
	ok("job.forget", "{\"jobs\":[4,5]}");
	ck_assert_uint_eq(fx.call.u.job_forget.jobs.n, 2);
	ok("job.set", "{\"job\":4}");
	ck_assert(fx.call.u.job_set.priority == MSG_NULL);
	ck_assert_ptr_null(fx.call.u.job_set.queue);
	ck_assert_int_eq(fx.call.u.job_set.hold, -1);
	ok("job.set", "{\"job\":4,\"priority\":0,\"queue\":\"q\",\"hold\":false}");
	ck_assert_int_eq(fx.call.u.job_set.priority, 0);
	ck_assert_str_eq(fx.call.u.job_set.queue, "q");
	ck_assert_int_eq(fx.call.u.job_set.hold, 0);

	static const struct refusal cases[] = {
		{ "job.result", "{}", "job", "" },
		{ "job.result", "{\"job\":0}", "job", "" },
		{ "job.result", "{\"job\":\"4\"}", "job", "" },
		{ "job.result", "{\"job\":4.0}", "job", "" },
		{ "job.result", "{\"job\":4,\"wait_ms\":-1}", "wait_ms", "" },
		{ "job.result", "{\"job\":4,\"with_output\":-1}", "with_output", "" },
		{ "job.cancel", "{\"jobs\":[]}", "jobs", "" },
		{ "job.cancel", "{\"job\":1}", "job", "" },
		{ "job.cancel", "{\"jobs\":[1],\"grace_ms\":-1}", "grace_ms", "" },
		{ "job.cancel", "{\"jobs\":[1],\"wait\":null}", "wait", "" },
		{ "job.get", "{\"job\":-4}", "job", "" },
		{ "job.retry", "{\"job\":null}", "job", "" },
		{ "job.forget", "{\"jobs\":4}", "jobs", "" },
		{ "job.set", "{\"priority\":1}", "job", "" },
		{ "job.set", "{\"job\":4,\"priority\":101}", "priority", "" },
		{ "job.set", "{\"job\":4,\"queue\":\"a/b\"}", "queue", "" },
		{ "job.set", "{\"job\":4,\"hold\":1}", "hold", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(signals_come_as_names_and_numbers)
{
	static const struct {
		const char *text;
		int number;
	} good[] = { { "\"HUP\"", SIGHUP }, { "\"SIGTERM\"", SIGTERM }, { "\"sigusr1\"", SIGUSR1 },
		{ "15", 15 }, { "64", 64 }, { "1", 1 }, { "\"KILL\"", SIGKILL } };
	static const struct refusal cases[] = {
		{ "job.signal", "{\"job\":1}", "signal", "" },
		{ "job.signal", "{\"signal\":1}", "job", "" },
		{ "job.signal", "{\"job\":1,\"signal\":0}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":65}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":\"NOPE\"}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":\"\"}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":\"SIG\"}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":null}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":\"TERM\\u0000\"}", "signal", "" },
		{ "job.signal", "{\"job\":1,\"signal\":1,\"scope\":\"all\"}", "scope", "" },
	};
	char params[100];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(params, sizeof(params), "{\"job\":1,\"signal\":%s}", good[i].text);
		ok("job.signal", params);
		ck_assert_int_eq(fx.call.u.job_signal.signal, good[i].number);
		ck_assert_int_eq(fx.call.u.job_signal.scope, MSG_SCOPE_LEADER);
	}
	ok("job.signal", "{\"job\":1,\"signal\":2,\"scope\":\"tree\"}");
	ck_assert_int_eq(fx.call.u.job_signal.scope, MSG_SCOPE_TREE);
	ALL_REFUSED(cases);
	ck_assert_str_eq(msg_signal_name(SIGHUP), "HUP");
	ck_assert_ptr_null(msg_signal_name(0));
	ck_assert_str_eq(msg_errno_name(2), "ENOENT");
	ck_assert_ptr_null(msg_errno_name(99999));
}
END_TEST

START_TEST(lists)
{
	ok("job.list", NULL);
	ck_assert_int_eq(fx.call.u.job_list.phase, -1);
	ck_assert_int_eq(fx.call.u.job_list.ok, -1);
	ck_assert_int_eq(fx.call.u.job_list.limit, MSG_LIST_DEFAULT);
	ck_assert(fx.call.u.job_list.cursor == MSG_NULL && fx.call.u.job_list.uid == MSG_NULL);
	ck_assert_int_eq(fx.call.u.job_list.order, MSG_ORDER_ASC);
	ok("job.list", "{\"phase\":\"done\",\"queue\":\"q\",\"ok\":false,\"name\":\"n\",\"uid\":0,"
		       "\"since_us\":5,\"limit\":500,\"cursor\":7,\"order\":\"desc\"}");
	ck_assert_int_eq(fx.call.u.job_list.phase, MSG_PHASE_DONE);
	ck_assert_int_eq(fx.call.u.job_list.ok, 0);
	ck_assert_int_eq(fx.call.u.job_list.uid, 0);
	ck_assert_int_eq(fx.call.u.job_list.order, MSG_ORDER_DESC);
	ok("job.list", "{\"cursor\":null}");

	static const struct refusal cases[] = {
		{ "job.list", "{\"phase\":\"finished\"}", "phase", "" },
		{ "job.list", "{\"phase\":null}", "phase", "" },
		{ "job.list", "{\"ok\":\"true\"}", "ok", "" },
		{ "job.list", "{\"uid\":-1}", "uid", "" },
		{ "job.list", "{\"uid\":4294967296}", "uid", "" },
		{ "job.list", "{\"limit\":0}", "limit", "" },
		{ "job.list", "{\"limit\":501}", "limit", "" },
		{ "job.list", "{\"cursor\":0}", "cursor", "" },
		{ "job.list", "{\"cursor\":\"7\"}", "cursor", "" },
		{ "job.list", "{\"order\":\"up\"}", "order", "" },
		{ "job.list", "{\"since_us\":1.5}", "since_us", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(output_and_stdin)
{
	ok("output.read", "{\"job\":1}");
	ck_assert_int_eq(fx.call.u.output_read.fd, 1);
	ck_assert_int_eq(fx.call.u.output_read.off, 0);
	ck_assert_int_eq(fx.call.u.output_read.max, 65536);
	ok("output.read", "{\"job\":1,\"fd\":2,\"off\":10,\"max\":262144}");
	ok("output.follow", "{\"job\":1}");
	ck_assert_uint_eq(fx.call.u.output_follow.fds.n, 2);
	ck_assert_int_eq(fx.call.u.output_follow.fds.v[1], 2);
	ok("output.follow", "{\"job\":1,\"fds\":[2],\"off\":3,\"window\":100}");
	ck_assert_uint_eq(fx.call.u.output_follow.fds.n, 1);
	ok("stdin.write", "{\"job\":1,\"data\":{\"b64\":\"AA==\"}}");
	ck_assert_uint_eq(fx.call.u.stdin_write.data.len, 1);
	ck_assert(!fx.call.u.stdin_write.eof);
	ok("stdin.write", "{\"job\":1,\"eof\":true}");
	ck_assert_uint_eq(fx.call.u.stdin_write.data.len, 0);

	static const struct refusal cases[] = {
		{ "output.read", "{\"job\":1,\"fd\":0}", "fd", "" },
		{ "output.read", "{\"job\":1,\"fd\":3}", "fd", "" },
		{ "output.read", "{\"job\":1,\"off\":-1}", "off", "" },
		{ "output.read", "{\"job\":1,\"max\":0}", "max", "" },
		{ "output.read", "{\"job\":1,\"max\":262145}", "max", "" },
		{ "output.follow", "{\"job\":1,\"fds\":[]}", "fds", "" },
		{ "output.follow", "{\"job\":1,\"fds\":[1,2,1]}", "fds", "" },
		{ "output.follow", "{\"job\":1,\"fds\":[3]}", "fds", "fds[0]" },
		{ "output.follow", "{\"job\":1,\"window\":0}", "window", "" },
		{ "stdin.write", "{\"data\":\"x\"}", "job", "" },
		{ "stdin.write", "{\"job\":1,\"data\":5}", "data", "" },
		{ "stdin.write", "{\"job\":1,\"eof\":\"yes\"}", "eof", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(subscriptions)
{
	ok("completions.subscribe", NULL);
	ck_assert(fx.call.u.completions_subscribe.since_seq == MSG_NULL);
	ck_assert_int_eq(fx.call.u.completions_subscribe.filter.ok, -1);
	ok("completions.subscribe",
	    "{\"since_seq\":0,\"instance\":\"i\",\"filter\":{\"queue\":\"q\",\"name\":\"n\","
	    "\"ok\":true,\"uid\":1},\"window\":9,\"with_output\":3}");
	ck_assert_int_eq(fx.call.u.completions_subscribe.since_seq, 0);
	ck_assert_str_eq(fx.call.u.completions_subscribe.filter.name, "n");
	ck_assert_int_eq(fx.call.u.completions_subscribe.filter.ok, 1);
	ck_assert_int_eq(fx.call.u.completions_subscribe.filter.uid, 1);
	ok("events.subscribe", "{}");
	ck_assert_uint_eq(fx.call.u.events_subscribe.kinds, 0x1f);
	ok("events.subscribe", "{\"kinds\":[\"done\",\"attempt_failed\"]}");
	ck_assert_uint_eq(fx.call.u.events_subscribe.kinds,
	    1u << MSG_EVENT_DONE | 1u << MSG_EVENT_ATTEMPT_FAILED);

	static const struct refusal cases[] = {
		{ "completions.subscribe", "{\"since_seq\":-1}", "since_seq", "" },
		{ "completions.subscribe", "{\"instance\":1}", "instance", "" },
		{ "completions.subscribe", "{\"filter\":[]}", "filter", "" },
		{ "completions.subscribe", "{\"filter\":{\"ok\":1}}", "filter", "filter.ok" },
		{ "completions.subscribe", "{\"filter\":{\"jobs\":[1]}}", "jobs", "filter.jobs" },
		{ "events.subscribe", "{\"kinds\":[]}", "kinds", "" },
		{ "events.subscribe", "{\"kinds\":\"done\"}", "kinds", "" },
		{ "events.subscribe", "{\"kinds\":[\"finished\"]}", "kinds", "kinds[0]" },
		{ "events.subscribe", "{\"window\":1}", "window", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(queues_and_limits)
{
	ok("queue.list", NULL);
	ok("queue.list", "{}");
	ok("queue.set", "{\"queue\":\"q\",\"max_running\":0,\"paused\":true}");
	ck_assert_int_eq(fx.call.u.queue_set.max_running, 0);
	ck_assert_int_eq(fx.call.u.queue_set.paused, 1);
	ok("queue.set", "{\"queue\":\"q\"}");
	ck_assert(fx.call.u.queue_set.max_running == MSG_NULL);
	ck_assert_int_eq(fx.call.u.queue_set.paused, -1);
	ck_assert_uint_eq(fx.call.u.queue_set.present, 1);
	ok("queue.set", "{\"queue\":\"q\",\"max_running\":null}");
	ck_assert(fx.call.u.queue_set.max_running == MSG_NULL);
	ck_assert_uint_eq(fx.call.u.queue_set.present, 3);
	ok("queue.remove", "{\"queue\":\"q\"}");
	ok("queue.pause", NULL);
	ck_assert_ptr_null(fx.call.u.queue_pause.queue);
	ok("queue.resume", "{\"queue\":\"q\"}");
	ck_assert_str_eq(fx.call.u.queue_resume.queue, "q");
	ok("drain", NULL);
	ck_assert_int_eq(fx.call.u.drain.mode, MSG_DRAIN_FINISH);
	ok("drain", "{\"mode\":\"off\"}");
	ck_assert_int_eq(fx.call.u.drain.mode, MSG_DRAIN_OFF);
	ok("limits.get", NULL);
	ok("limits.set", "{\"max_running\":0}");
	ck_assert_int_eq(fx.call.u.limits_set.max_running, 0);
	ck_assert(fx.call.u.limits_set.max_pending == MSG_NULL && !fx.call.u.limits_set.reset);
	ok("limits.set", "{\"max_pending\":5,\"max_pending_bytes\":6,\"reset\":true}");
	ok("stats.get", NULL);
	ok("metrics.get", NULL);
	ok("admin.reload", NULL);
	ok("rpc.discover", NULL);

	static const struct refusal cases[] = {
		{ "queue.set", "{}", "queue", "" },
		{ "queue.set", "{\"queue\":\"\"}", "queue", "" },
		{ "queue.set", "{\"queue\":\"q\",\"max_running\":-1}", "max_running", "" },
		{ "queue.set", "{\"queue\":\"q\",\"paused\":1}", "paused", "" },
		{ "queue.remove", NULL, "queue", "" },
		{ "queue.pause", "{\"queue\":null}", "queue", "" },
		{ "drain", "{\"mode\":\"now\"}", "mode", "" },
		{ "limits.set", "{\"max_running\":-1}", "max_running", "" },
		{ "limits.set", "{\"max_running\":null}", "max_running", "" },
		{ "limits.set", "{\"max_connections\":5}", "max_connections", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(notifications)
{
	ok("$/cancel", "{\"id\":\"x\"}");
	ck_assert_str_eq(fx.call.u.cancel.id->text, "x");
	ok("$/credit", "{\"stream\":3,\"n\":2}");
	ck_assert_int_eq(fx.call.u.credit.n, 2);

	static const struct refusal cases[] = {
		{ "$/cancel", "{}", "id", "" },
		{ "$/cancel", "{\"id\":null}", "id", "" },
		{ "$/credit", "{\"stream\":3}", "n", "" },
		{ "$/credit", "{\"stream\":3,\"n\":0}", "n", "" },
		{ "$/credit", "{\"n\":1}", "stream", "" },
	};

	ALL_REFUSED(cases);
}
END_TEST

START_TEST(a_notification_with_an_id_is_no_call)
{
	static const char line[] =
	    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$/cancel\",\"params\":{\"id\":2}}";

	ck_assert_int_eq(rpc_request_parse(&fx.req, line, sizeof(line) - 1, &fx.err), 0);
	ck_assert_int_eq(msg_decode(&fx.req, &fx.call, &fx.err), -1);
	ck_assert_int_eq(fx.err.error, RPC_INVALID_REQUEST);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire_message");
	TCase *tc = tcase_create("message");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_table_is_in_order);
	tcase_add_test(tc, an_unknown_method_is_named);
	tcase_add_test(tc, no_method_takes_an_unknown_parameter);
	tcase_add_test(tc, no_parameter_takes_a_wrong_type);
	tcase_add_test(tc, hello);
	tcase_add_test(tc, maps);
	tcase_add_test(tc, futures);
	tcase_add_test(tc, lists_of_futures_are_limited);
	tcase_add_test(tc, jobs);
	tcase_add_test(tc, signals_come_as_names_and_numbers);
	tcase_add_test(tc, lists);
	tcase_add_test(tc, output_and_stdin);
	tcase_add_test(tc, subscriptions);
	tcase_add_test(tc, queues_and_limits);
	tcase_add_test(tc, notifications);
	tcase_add_test(tc, a_notification_with_an_id_is_no_call);
	suite_add_tcase(suite, tc);
	return wire_run(suite);
}
