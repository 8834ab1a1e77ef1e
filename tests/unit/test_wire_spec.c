/* Specs: every field, its defaults, its limits, what holds between fields, merging. */
#include "wire_fixture.h"

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

static const struct msg_spec *
submit(const char *params)
{
	wire_ok(&fx, "job.submit", params);
	return &fx.call.u.job_submit;
}

/* With argv put in front. */
static const struct msg_spec *
with(const char *members)
{
	char params[16384];

	snprintf(params, sizeof(params), "{\"argv\":[\"x\"],%s}", members);
	return submit(params);
}

static void
bad(const char *members, const char *param, const char *path)
{
	char params[16384];

	snprintf(params, sizeof(params), "{\"argv\":[\"x\"],%s}", members);
	wire_refused(&fx, "job.submit", params, RPC_INVALID_PARAMS, param, path);
}

static void
is_bytes(const struct msg_bytes *b, const char *text)
{
	ck_assert_ptr_nonnull(b->ptr);
	ck_assert_uint_eq(b->len, strlen(text));
	ck_assert_str_eq(b->ptr, text);
}

START_TEST(what_is_absent_holds_its_default)
{
	const struct msg_spec *s = submit("{\"argv\":[\"echo\",\"hi\"]}");

	ck_assert_uint_eq(s->present, MSG_SPEC_BIT(MSG_SPEC_ARGV));
	ck_assert_uint_eq(s->argv.n, 2);
	is_bytes(&s->argv.v[0], "echo");
	is_bytes(&s->argv.v[1], "hi");
	ck_assert_ptr_null(s->cwd.ptr);
	ck_assert(!s->has_env && !s->has_nice && !s->tty && !s->jobserver);
	ck_assert(s->umask == MSG_NULL && s->output_limit == MSG_NULL);
	ck_assert(s->timeout_ms == MSG_NULL && s->delay_ms == MSG_NULL);
	ck_assert(s->not_before_us == MSG_NULL);
	ck_assert(s->memory_max == MSG_NULL && s->pids_max == MSG_NULL);
	ck_assert_uint_eq(s->rlimits.n, 0);
	ck_assert_int_eq(s->in.kind, MSG_STDIO_NULL);
	ck_assert_int_eq(s->out.kind, MSG_STDIO_CAPTURE);
	ck_assert_int_eq(s->err.kind, MSG_STDIO_CAPTURE);
	ck_assert_int_eq(s->kill_grace_ms, MSG_NULL); /* what is configured */
	ck_assert(msg_spec_is_ok(s, 0) && !msg_spec_is_ok(s, 1) && !msg_spec_is_ok(s, 255));
	ck_assert(!msg_spec_is_ok(s, -1) && !msg_spec_is_ok(s, 256));
	ck_assert_str_eq(s->queue, "default");
	ck_assert_int_eq(s->priority, 0);
	ck_assert_int_eq(s->slots, 1);
	ck_assert_uint_eq(s->after.n, 0);
	ck_assert_int_eq(s->after_policy, MSG_AFTER_OK);
	ck_assert_int_eq(s->retries.max, 0);
	ck_assert_uint_eq(s->retries.on, 1u << MSG_OUTCOME_EXITED | 1u << MSG_OUTCOME_SIGNALED |
		1u << MSG_OUTCOME_TIMED_OUT);
	ck_assert_ptr_null(s->name);
	ck_assert_ptr_null(s->tag.ptr);
	ck_assert_ptr_null(s->key);
	ck_assert_int_eq(s->lifetime, MSG_LIFETIME_DETACHED);
	ck_assert_int_eq(s->on_full, MSG_ON_FULL_FAIL);
	ck_assert_int_eq(s->leftovers, MSG_LEFTOVERS_KILL);
}
END_TEST

START_TEST(every_field_is_taken)
{
	const struct msg_spec *s = with(
	    "\"cwd\":\"/tmp\",\"env\":{\"A\":\"1\"},\"umask\":23,\"nice\":-5,"
	    "\"rlimits\":{\"nofile\":64},\"stdin\":\"pipe\",\"stdout\":\"null\","
	    "\"stderr\":\"stdout\",\"tty\":false,\"output_limit\":0,\"timeout_ms\":1,"
	    "\"kill_grace_ms\":0,\"ok_codes\":[0,3,255],\"queue\":\"a-b_c.9\",\"priority\":-100,"
	    "\"slots\":3,\"after\":[7,9],\"after_policy\":\"any\",\"delay_ms\":5,"
	    "\"retries\":{\"max\":2,\"backoff_ms\":10,\"on\":[\"lost\"]},\"name\":\"n\","
	    "\"tag\":{\"a\":[1]},\"key\":\"k\",\"lifetime\":\"bound\",\"on_full\":\"wait\","
	    "\"leftovers\":\"keep\",\"jobserver\":true,\"memory_max\":1,\"pids_max\":2");

	is_bytes(&s->cwd, "/tmp");
	ck_assert(s->has_env);
	ck_assert_uint_eq(s->env.n, 1);
	is_bytes(&s->env.v[0], "A=1");
	ck_assert_int_eq(s->umask, 23);
	ck_assert(s->has_nice);
	ck_assert_int_eq(s->nice, -5);
	ck_assert_uint_eq(s->rlimits.n, 1);
	ck_assert_int_eq(s->rlimits.v[0].resource, RLIMIT_NOFILE);
	ck_assert_uint_eq(s->rlimits.v[0].soft, 64);
	ck_assert_uint_eq(s->rlimits.v[0].hard, 64);
	ck_assert_int_eq(s->in.kind, MSG_STDIO_PIPE);
	ck_assert_int_eq(s->out.kind, MSG_STDIO_NULL);
	ck_assert_int_eq(s->err.kind, MSG_STDIO_STDOUT);
	ck_assert_int_eq(s->output_limit, 0);
	ck_assert_int_eq(s->timeout_ms, 1);
	ck_assert_int_eq(s->kill_grace_ms, 0);
	ck_assert(msg_spec_is_ok(s, 0) && msg_spec_is_ok(s, 3) && msg_spec_is_ok(s, 255));
	ck_assert(!msg_spec_is_ok(s, 1));
	ck_assert_str_eq(s->queue, "a-b_c.9");
	ck_assert_int_eq(s->priority, -100);
	ck_assert_int_eq(s->slots, 3);
	ck_assert_uint_eq(s->after.n, 2);
	ck_assert_int_eq(s->after.v[1], 9);
	ck_assert_int_eq(s->after_policy, MSG_AFTER_ANY);
	ck_assert_int_eq(s->delay_ms, 5);
	ck_assert_int_eq(s->retries.max, 2);
	ck_assert_int_eq(s->retries.backoff_ms, 10);
	ck_assert_uint_eq(s->retries.on, 1u << MSG_OUTCOME_LOST);
	ck_assert_str_eq(s->name, "n");
	is_bytes(&s->tag, "{\"a\":[1]}");
	ck_assert_str_eq(s->key, "k");
	ck_assert_int_eq(s->lifetime, MSG_LIFETIME_BOUND);
	ck_assert_int_eq(s->on_full, MSG_ON_FULL_WAIT);
	ck_assert_int_eq(s->leftovers, MSG_LEFTOVERS_KEEP);
	ck_assert(s->jobserver);
	ck_assert_int_eq(s->memory_max, 1);
	ck_assert_int_eq(s->pids_max, 2);
}
END_TEST

START_TEST(argv_must_have_an_element_of_bytes)
{
	static const struct {
		const char *params, *path;
	} cases[] = {
		{ "{}", "" },
		{ "{\"argv\":[]}", "" },
		{ "{\"argv\":\"echo\"}", "" },
		{ "{\"argv\":null}", "" },
		{ "{\"argv\":[1]}", "argv[0]" },
		{ "{\"argv\":[\"a\",null]}", "argv[1]" },
		{ "{\"argv\":[\"a\",\"b\\u0000c\"]}", "argv[1]" },
		{ "{\"argv\":[{\"b64\":\"AGE=\"}]}", "argv[0]" }, /* a NUL in base64 */
		{ "{\"argv\":[{\"b64\":\"!\"}]}", "argv[0]" },
		{ "{\"argv\":[{\"b64\":\"YQ==\",\"x\":1}]}", "argv[0]" },
		{ "{\"argv\":[{}]}", "argv[0]" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		wire_refused(&fx, "job.submit", cases[i].params, RPC_INVALID_PARAMS, "argv",
		    cases[i].path);
	wire_refused(&fx, "job.submit", NULL, RPC_INVALID_PARAMS, "argv", "");
	ck_assert_uint_eq(submit("{\"argv\":[\"\"]}")->argv.v[0].len, 0);
	is_bytes(&submit("{\"argv\":[{\"b64\":\"/w==\"}]}")->argv.v[0], "\xff");
}
END_TEST

START_TEST(messages_say_where_and_what)
{
	bad("\"priority\":101", "priority", "");
	ck_assert_str_eq(fx.err.message,
	    "priority: 101 is out of range: -100 to 100 are accepted");
	bad("\"cwd\":5", "cwd", "");
	ck_assert_str_eq(fx.err.message,
	    "cwd: must be a string or {\"b64\": ...}, not an integer");
	bad("\"lifetime\":\"x\"", "lifetime", "");
	ck_assert_str_eq(fx.err.message,
	    "lifetime: must be one of \"detached\", \"bound\", not \"x\"");
	bad("\"lifetime\":\"bound\\u0000\"", "lifetime", "");
	ck_assert_str_eq(fx.err.message,
	    "lifetime: must be one of \"detached\", \"bound\", not \"bound\" and a NUL");
	bad("\"stdin\":\"null\\u0000\"", "stdin", "");
	bad("\"rlimits\":{\"core\":\"unlimited\\u0000\"}", "rlimits", "rlimits.core");
	bad("\"bogus\":1", "bogus", "");
	ck_assert_ptr_nonnull(strstr(fx.err.message, "bogus: unknown; accepted: argv, cwd"));
}
END_TEST

START_TEST(wrong_types_and_ranges_are_refused)
{
	static const struct {
		const char *members, *param, *path;
	} cases[] = {
		{ "\"cwd\":\"\"", "cwd", "" },
		{ "\"cwd\":\"relative\"", "cwd", "" },
		{ "\"cwd\":\"/a\\u0000\"", "cwd", "" },
		{ "\"env\":\"A=1\"", "env", "" },
		{ "\"env\":[\"A\"]", "env", "env[0]" },
		{ "\"env\":[\"=A\"]", "env", "env[0]" },
		{ "\"env\":[\"A=\\u0000\"]", "env", "env[0]" },
		{ "\"env\":[\"A=1\",5]", "env", "env[1]" },
		{ "\"env\":{\"A\":1}", "env", "env.A" },
		{ "\"env\":{\"\":\"1\"}", "env", "env.\"\"" },
		{ "\"env\":{\"A=B\":\"1\"}", "env", "env.A=B" },
		{ "\"env\":{\"A\":\"\\u0000\"}", "env", "env.A" },
		{ "\"umask\":512", "umask", "" },
		{ "\"umask\":-1", "umask", "" },
		{ "\"umask\":\"022\"", "umask", "" },
		{ "\"nice\":20", "nice", "" },
		{ "\"nice\":-21", "nice", "" },
		{ "\"rlimits\":[]", "rlimits", "" },
		{ "\"rlimits\":{\"nofiles\":1}", "rlimits", "rlimits.nofiles" },
		{ "\"rlimits\":{\"nofile\":-1}", "rlimits", "rlimits.nofile" },
		{ "\"rlimits\":{\"nofile\":\"many\"}", "rlimits", "rlimits.nofile" },
		{ "\"rlimits\":{\"nofile\":[1]}", "rlimits", "rlimits.nofile" },
		{ "\"rlimits\":{\"nofile\":[2,1]}", "rlimits", "rlimits.nofile" },
		{ "\"rlimits\":{\"nofile\":[\"unlimited\",1]}", "rlimits", "rlimits.nofile" },
		{ "\"rlimits\":{\"nofile\":[1,true]}", "rlimits", "rlimits.nofile[1]" },
		{ "\"stdin\":\"capture\"", "stdin", "" },
		{ "\"stdin\":{}", "stdin", "" },
		{ "\"stdin\":5", "stdin", "" },
		{ "\"stdin\":{\"data\":\"a\",\"file\":\"b\"}", "stdin", "" },
		{ "\"stdin\":{\"file\":\"b\",\"append\":true}", "stdin", "" },
		{ "\"stdin\":{\"file\":\"\"}", "stdin", "stdin.file" },
		{ "\"stdin\":{\"file\":\"a\\u0000\"}", "stdin", "stdin.file" },
		{ "\"stdin\":{\"fd\":64}", "stdin", "stdin.fd" },
		{ "\"stdin\":{\"fd\":-1}", "stdin", "stdin.fd" },
		{ "\"stdin\":{\"fd\":\"0\"}", "stdin", "stdin.fd" },
		{ "\"stdout\":\"pipe\"", "stdout", "" },
		{ "\"stdout\":\"stdout\"", "stdout", "" },
		{ "\"stdout\":{\"data\":\"x\"}", "stdout", "" },
		{ "\"stdout\":{\"append\":true}", "stdout", "" },
		{ "\"stdout\":{\"file\":\"x\",\"append\":1}", "stdout", "stdout.append" },
		{ "\"stdout\":{\"file\":\"x\",\"mode\":1}", "stdout", "" },
		{ "\"stderr\":{\"fd\":0,\"append\":true}", "stderr", "" },
		{ "\"tty\":1", "tty", "" },
		{ "\"tty\":true", "tty", "" }, /* no {fd} */
		{ "\"output_limit\":-1", "output_limit", "" },
		{ "\"output_limit\":1.5", "output_limit", "" },
		{ "\"timeout_ms\":0", "timeout_ms", "" },
		{ "\"timeout_ms\":315360000001", "timeout_ms", "" },
		{ "\"kill_grace_ms\":-1", "kill_grace_ms", "" },
		{ "\"kill_grace_ms\":null", "kill_grace_ms", "" },
		{ "\"ok_codes\":0", "ok_codes", "" },
		{ "\"ok_codes\":[256]", "ok_codes", "ok_codes[0]" },
		{ "\"ok_codes\":[0,-1]", "ok_codes", "ok_codes[1]" },
		{ "\"queue\":\"\"", "queue", "" },
		{ "\"queue\":\"a b\"", "queue", "" },
		{ "\"queue\":\"a\\u0000\"", "queue", "" },
		{ "\"priority\":-101", "priority", "" },
		{ "\"priority\":\"1\"", "priority", "" },
		{ "\"priority\":true", "priority", "" },
		{ "\"slots\":0", "slots", "" },
		{ "\"slots\":-1", "slots", "" },
		{ "\"after\":5", "after", "" },
		{ "\"after\":[0]", "after", "after[0]" },
		{ "\"after\":[-1]", "after", "after[0]" },
		{ "\"after\":[1,\"2\"]", "after", "after[1]" },
		{ "\"after_policy\":\"all\"", "after_policy", "" },
		{ "\"delay_ms\":-1", "delay_ms", "" },
		{ "\"delay_ms\":1,\"not_before_us\":1", "delay_ms", "" },
		{ "\"not_before_us\":9007199254740992", "not_before_us", "" },
		{ "\"retries\":3", "retries", "" },
		{ "\"retries\":{}", "retries", "retries.max" },
		{ "\"retries\":{\"max\":-1}", "retries", "retries.max" },
		{ "\"retries\":{\"max\":10001}", "retries", "retries.max" },
		{ "\"retries\":{\"max\":1,\"backoff_ms\":3600001}", "retries",
		    "retries.backoff_ms" },
		{ "\"retries\":{\"max\":1,\"on\":[]}", "retries", "retries.on" },
		{ "\"retries\":{\"max\":1,\"on\":[\"cancelled\"]}", "retries", "retries.on[0]" },
		{ "\"retries\":{\"max\":1,\"on\":[\"lost\",7]}", "retries", "retries.on[1]" },
		{ "\"retries\":{\"max\":1,\"often\":1}", "often", "retries.often" },
		{ "\"name\":5", "name", "" },
		{ "\"name\":\"a\\u0000b\"", "name", "" },
		{ "\"key\":\"\"", "key", "" },
		{ "\"key\":\"\\u0000\"", "key", "" },
		{ "\"lifetime\":null", "lifetime", "" },
		{ "\"on_full\":\"block\"", "on_full", "" },
		{ "\"leftovers\":true", "leftovers", "" },
		{ "\"jobserver\":\"yes\"", "jobserver", "" },
		{ "\"memory_max\":0", "memory_max", "" },
		{ "\"pids_max\":0", "pids_max", "" },
		{ "\"stdin\":{\"fd\":0}", "lifetime", "" }, /* not bound */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		bad(cases[i].members, cases[i].param, cases[i].path);
}
END_TEST

START_TEST(lengths_are_limited)
{
	char members[8192];

	snprintf(members, sizeof(members), "\"key\":\"%0128d\"", 0);
	ck_assert_uint_eq(strlen(with(members)->key), 128);
	snprintf(members, sizeof(members), "\"key\":\"%0129d\"", 0);
	bad(members, "key", "");
	snprintf(members, sizeof(members), "\"name\":\"%0256d\"", 0);
	bad(members, "name", "");
	snprintf(members, sizeof(members), "\"queue\":\"%065d\"", 0);
	bad(members, "queue", "");
	snprintf(members, sizeof(members), "\"cwd\":\"/%04095d\"", 0);
	bad(members, "cwd", "");
}
END_TEST

START_TEST(a_tag_is_any_json_up_to_4_kib)
{
	static char params[20000];
	size_t n = 0;

	is_bytes(&with("\"tag\":5")->tag, "5");
	is_bytes(&with("\"tag\":\"x\"")->tag, "\"x\"");
	is_bytes(&with("\"tag\":false")->tag, "false");
	is_bytes(&with("\"tag\":{ \"b\" : 0.1, \"a\":[null] }")->tag, "{\"b\":0.1,\"a\":[null]}");
	ck_assert_ptr_null(with("\"tag\":null")->tag.ptr);
	ck_assert(fx.call.u.present & MSG_SPEC_BIT(MSG_SPEC_TAG));

	snprintf(params, sizeof(params), "{\"argv\":[\"x\"],\"tag\":\"%04094d\"}", 0);
	ck_assert_uint_eq(submit(params)->tag.len, 4096);
	snprintf(params, sizeof(params), "{\"argv\":[\"x\"],\"tag\":\"%04095d\"}", 0);
	wire_refused(&fx, "job.submit", params, RPC_INVALID_PARAMS, "tag", "");

	/* Counted as UTF-8, not as the escapes that our ASCII takes. */
	n = (size_t)snprintf(params, sizeof(params), "{\"argv\":[\"x\"],\"tag\":\"");
	for (int i = 0; i < 1364; i++, n += 3)
		memcpy(params + n, "\xe2\x82\xac", 3);
	strcpy(params + n, "\"}");
	ck_assert_uint_eq(submit(params)->tag.len, 2 + 6 * 1364);
	ck_assert_uint_eq(strlen(fx.call.u.job_submit.tag.ptr), 2 + 6 * 1364);
	strcpy(params + n, "\xe2\x82\xac\"}");
	wire_refused(&fx, "job.submit", params, RPC_INVALID_PARAMS, "tag", "");
}
END_TEST

START_TEST(after_takes_256_ids)
{
	char members[4096] = "\"after\":[1";

	for (int i = 1; i < 256; i++)
		strcat(members, ",1");
	strcat(members, "]");
	ck_assert_uint_eq(with(members)->after.n, 256);
	members[strlen(members) - 1] = '\0';
	strcat(members, ",1]");
	bad(members, "after", "");
}
END_TEST

START_TEST(argv_and_env_together_are_limited)
{
	size_t room = MSG_ARGV_ENV_MAX - 2 - 5; /* "x" and NUL; "A=" … "=" and two NULs below */
	char *params = malloc(room + 200);
	int head = snprintf(params, room + 200, "{\"argv\":[\"x\",\"");

	memset(params + head, 'y', room);
	strcpy(params + head + room, "\"],\"env\":{\"A\":\"\"}}"); /* y…\0 A=\0: 1 + 3 */
	wire_ok(&fx, "job.submit", params);
	strcpy(params + head + room, "\"],\"env\":{\"A\":\"12\"}}");
	wire_refused(&fx, "job.submit", params, RPC_LIMIT_EXCEEDED, "argv", "");
	ck_assert_ptr_nonnull(strstr(fx.err.message, "786432"));
	free(params);
}
END_TEST

START_TEST(env_comes_as_object_or_list)
{
	const struct msg_spec *s = with("\"env\":[\"A=1\",{\"b64\":\"Qj3/\"},\"C=a=b\"]");

	ck_assert_uint_eq(s->env.n, 3);
	is_bytes(&s->env.v[1], "B=\xff");
	is_bytes(&s->env.v[2], "C=a=b");
	s = with("\"env\":{\"A\":\"\",\"B\":{\"b64\":\"/w==\"}}");
	ck_assert_uint_eq(s->env.n, 2);
	is_bytes(&s->env.v[0], "A=");
	is_bytes(&s->env.v[1], "B=\xff");
	s = with("\"env\":{}");
	ck_assert(s->has_env);
	ck_assert_uint_eq(s->env.n, 0);
}
END_TEST

START_TEST(rlimits_have_three_forms)
{
	const struct msg_spec *s = with("\"rlimits\":{\"nofile\":10,\"core\":[0,\"unlimited\"],"
					"\"cpu\":\"unlimited\"}");

	ck_assert_uint_eq(s->rlimits.n, 3);
	ck_assert_str_eq(s->rlimits.v[1].name, "core");
	ck_assert_int_eq(s->rlimits.v[1].resource, RLIMIT_CORE);
	ck_assert_uint_eq(s->rlimits.v[1].soft, 0);
	ck_assert(s->rlimits.v[1].hard == RLIM_INFINITY);
	ck_assert(s->rlimits.v[2].soft == RLIM_INFINITY);
}
END_TEST

START_TEST(streams_have_all_their_forms)
{
	const struct msg_spec *s = with(
	    "\"stdin\":{\"data\":\"a\\u0000b\"},\"stdout\":{\"file\":\"o\",\"append\":true},"
	    "\"stderr\":{\"file\":{\"b64\":\"/w==\"}}");

	ck_assert_int_eq(s->in.kind, MSG_STDIO_DATA);
	ck_assert_uint_eq(s->in.bytes.len, 3);
	ck_assert_int_eq(s->out.kind, MSG_STDIO_FILE);
	ck_assert(s->out.append && !s->err.append);
	is_bytes(&s->out.bytes, "o");
	is_bytes(&s->err.bytes, "\xff");
	ck_assert(!msg_spec_has_fd(s));
	s = with("\"lifetime\":\"bound\",\"tty\":true,\"stdin\":{\"fd\":0},\"stdout\":{\"fd\":1},"
		 "\"stderr\":{\"fd\":63}");
	ck_assert(msg_spec_has_fd(s));
	ck_assert_int_eq(s->err.fd, 63);
}
END_TEST

START_TEST(vendor_names_are_let_through)
{
	with("\"acme.flag\":{\"x\":1},\".\":null");
	bad("\"acme\":1", "acme", "");
}
END_TEST

/* ---- batches ---- */

static const struct msg_job_submit_batch *
batch(const char *params)
{
	wire_ok(&fx, "job.submit_batch", params);
	return &fx.call.u.job_submit_batch;
}

START_TEST(a_batch_merges_defaults)
{
	const struct msg_job_submit_batch *b = batch(
	    "{\"jobs\":[{},{\"argv\":[\"own\"],\"cwd\":\"/own\",\"tag\":null},"
	    "{\"not_before_us\":9,\"retries\":{\"max\":1}}],"
	    "\"defaults\":{\"argv\":[\"def\",\"x\"],\"cwd\":\"/def\",\"tag\":1,\"delay_ms\":7,"
	    "\"env\":[\"A=1\"],\"retries\":{\"max\":5,\"backoff_ms\":9},\"slots\":2}}");

	ck_assert_uint_eq(b->jobs.n, 3);
	is_bytes(&b->jobs.v[0].argv.v[0], "def");
	is_bytes(&b->jobs.v[0].cwd, "/def");
	ck_assert_uint_eq(b->jobs.v[0].argv.n, 2);
	ck_assert_int_eq(b->jobs.v[0].slots, 2);
	ck_assert_int_eq(b->jobs.v[0].retries.backoff_ms, 9);
	ck_assert(b->jobs.v[0].has_env);
	ck_assert_uint_eq(b->jobs.v[1].argv.n, 1);
	is_bytes(&b->jobs.v[1].argv.v[0], "own");
	is_bytes(&b->jobs.v[1].cwd, "/own");
	ck_assert_ptr_null(b->jobs.v[1].tag.ptr);
	ck_assert_int_eq(b->jobs.v[1].delay_ms, 7);
	/* The other clock replaces the default's; an object replaces the whole object. */
	ck_assert(b->jobs.v[2].delay_ms == MSG_NULL);
	ck_assert_int_eq(b->jobs.v[2].not_before_us, 9);
	ck_assert_int_eq(b->jobs.v[2].retries.max, 1);
	ck_assert_int_eq(b->jobs.v[2].retries.backoff_ms, 1000);
}
END_TEST

START_TEST(a_batch_says_which_job_is_wrong)
{
	wire_refused(&fx, "job.submit_batch", "{}", RPC_INVALID_PARAMS, "jobs", "");
	wire_refused(&fx, "job.submit_batch", "{\"jobs\":[]}", RPC_INVALID_PARAMS, "jobs", "");
	wire_refused(&fx, "job.submit_batch", "{\"jobs\":{}}", RPC_INVALID_PARAMS, "jobs", "");
	wire_refused(&fx, "job.submit_batch", "{\"jobs\":[1]}", RPC_INVALID_PARAMS, "jobs",
	    "jobs[0]");
	wire_refused(&fx, "job.submit_batch", "{\"jobs\":[{\"argv\":[\"x\"]},{}]}",
	    RPC_INVALID_PARAMS, "argv", "jobs[1].argv");
	wire_refused(&fx, "job.submit_batch",
	    "{\"jobs\":[{\"argv\":[\"x\"]},{\"argv\":[\"x\",\"\\u0000\"]}]}", RPC_INVALID_PARAMS,
	    "argv", "jobs[1].argv[1]");
	wire_refused(&fx, "job.submit_batch", "{\"jobs\":[{\"argv\":[\"x\"],\"bogus\":1}]}",
	    RPC_INVALID_PARAMS, "bogus", "jobs[0].bogus");
	wire_refused(&fx, "job.submit_batch",
	    "{\"jobs\":[{\"argv\":[\"x\"]}],\"defaults\":{\"slots\":0}}", RPC_INVALID_PARAMS,
	    "slots", "defaults.slots");
	wire_refused(&fx, "job.submit_batch", "{\"jobs\":[{\"argv\":[\"x\"]}],\"defaults\":null}",
	    RPC_INVALID_PARAMS, "defaults", "");
	wire_refused(&fx, "job.submit_batch",
	    "{\"jobs\":[{\"argv\":[\"x\"],\"on_full\":\"wait\"}]}", RPC_INVALID_PARAMS, "on_full",
	    "jobs[0].on_full");
	wire_refused(&fx, "job.submit_batch",
	    "{\"jobs\":[{\"argv\":[\"x\"]}],\"defaults\":{\"stdin\":{\"fd\":0}}}",
	    RPC_INVALID_PARAMS, "lifetime", "jobs[0].lifetime");
}
END_TEST

START_TEST(a_batch_takes_1024_jobs)
{
	char *params = malloc(64 + 1025 * 16);
	size_t n = (size_t)sprintf(params, "{\"defaults\":{\"argv\":[\"x\"]},\"jobs\":[{}");

	for (int i = 1; i < 1024; i++)
		n += (size_t)sprintf(params + n, ",{}");
	strcpy(params + n, "]}");
	ck_assert_uint_eq(batch(params)->jobs.n, 1024);
	is_bytes(&fx.call.u.job_submit_batch.jobs.v[1023].argv.v[0], "x");
	strcpy(params + n, ",{}]}");
	wire_refused(&fx, "job.submit_batch", params, RPC_INVALID_PARAMS, "jobs", "");
	free(params);
}
END_TEST

START_TEST(a_batch_waits_if_it_or_its_defaults_say_so)
{
	ck_assert_int_eq(batch("{\"jobs\":[{\"argv\":[\"x\"]}]}")->on_full, MSG_ON_FULL_FAIL);
	ck_assert_int_eq(batch("{\"jobs\":[{\"argv\":[\"x\"]}],\"on_full\":\"wait\"}")->on_full,
	    MSG_ON_FULL_WAIT);
	ck_assert_int_eq(batch("{\"jobs\":[{\"argv\":[\"x\"]}],\"defaults\":{\"on_full\":\"wait\"}}")
			     ->on_full, MSG_ON_FULL_WAIT);
	ck_assert_int_eq(batch("{\"jobs\":[{\"argv\":[\"x\"]}],\"defaults\":{\"on_full\":\"wait\"},"
			       "\"on_full\":\"fail\"}")->on_full, MSG_ON_FULL_FAIL);
}
END_TEST

START_TEST(after_points_back_within_a_batch)
{
	const struct msg_job_submit_batch *b = batch(
	    "{\"defaults\":{\"argv\":[\"x\"]},\"jobs\":[{},{\"after\":[-1]},{\"after\":[-2,-1,5]}]}");

	ck_assert_int_eq(b->jobs.v[2].after.v[0], -2);
	wire_refused(&fx, "job.submit_batch",
	    "{\"defaults\":{\"argv\":[\"x\"]},\"jobs\":[{\"after\":[-1]},{}]}", RPC_INVALID_PARAMS,
	    "after", "jobs[0].after[0]");
	wire_refused(&fx, "job.submit_batch",
	    "{\"defaults\":{\"argv\":[\"x\"]},\"jobs\":[{},{\"after\":[-1,-2]}]}",
	    RPC_INVALID_PARAMS, "after", "jobs[1].after[1]");
	wire_refused(&fx, "job.submit_batch",
	    "{\"defaults\":{\"argv\":[\"x\"],\"after\":[-1]},\"jobs\":[{},{}]}", RPC_INVALID_PARAMS,
	    "after", "jobs[0].after[0]");
}
END_TEST

/* ---- maps ---- */

START_TEST(a_push_merges_the_defaults_of_its_map)
{
	struct wire_fixture map;

	wire_setup(&map);
	wire_ok(&map, "map.open",
	    "{\"limit\":2,\"defaults\":{\"argv\":[\"def\"],\"cwd\":\"/tmp\"}}");
	wire_ok(&fx, "map.push", "{\"stream\":\"s\",\"jobs\":[{},{\"cwd\":\"/x\",\"after\":[-1]}]}");
	ck_assert_str_eq(fx.call.u.map_push.stream->text, "s");
	ck_assert_int_eq(msg_map_push_specs(&fx.call, &map.call.u.map_open.defaults, &fx.err), 0);
	ck_assert_uint_eq(fx.call.u.map_push.jobs.n, 2);
	is_bytes(&fx.call.u.map_push.jobs.v[0].cwd, "/tmp");
	is_bytes(&fx.call.u.map_push.jobs.v[1].cwd, "/x");
	ck_assert_int_eq(fx.call.u.map_push.jobs.v[0].lifetime, MSG_LIFETIME_BOUND);

	wire_ok(&fx, "map.push", "{\"stream\":3,\"jobs\":[{},{\"slots\":0}]}");
	ck_assert_int_eq(msg_map_push_specs(&fx.call, &map.call.u.map_open.defaults, &fx.err), -1);
	ck_assert_str_eq(fx.err.path, "jobs[1].slots");
	ck_assert_str_eq(fx.err.param, "slots");

	wire_ok(&fx, "map.push", "{\"stream\":3,\"jobs\":[{\"lifetime\":\"detached\"}]}");
	ck_assert_int_eq(msg_map_push_specs(&fx.call, &map.call.u.map_open.defaults, &fx.err), -1);
	ck_assert_str_eq(fx.err.param, "lifetime");

	wire_ok(&fx, "map.push", "{\"stream\":3,\"jobs\":[{\"stdin\":{\"fd\":0}}]}");
	ck_assert_int_eq(msg_map_push_specs(&fx.call, &map.call.u.map_open.defaults, &fx.err), 0);
	wire_teardown(&map);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire_spec");
	TCase *tc = tcase_create("spec");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_absent_holds_its_default);
	tcase_add_test(tc, every_field_is_taken);
	tcase_add_test(tc, argv_must_have_an_element_of_bytes);
	tcase_add_test(tc, messages_say_where_and_what);
	tcase_add_test(tc, wrong_types_and_ranges_are_refused);
	tcase_add_test(tc, lengths_are_limited);
	tcase_add_test(tc, a_tag_is_any_json_up_to_4_kib);
	tcase_add_test(tc, after_takes_256_ids);
	tcase_add_test(tc, argv_and_env_together_are_limited);
	tcase_add_test(tc, env_comes_as_object_or_list);
	tcase_add_test(tc, rlimits_have_three_forms);
	tcase_add_test(tc, streams_have_all_their_forms);
	tcase_add_test(tc, vendor_names_are_let_through);
	tcase_add_test(tc, a_batch_merges_defaults);
	tcase_add_test(tc, a_batch_says_which_job_is_wrong);
	tcase_add_test(tc, a_batch_takes_1024_jobs);
	tcase_add_test(tc, a_batch_waits_if_it_or_its_defaults_say_so);
	tcase_add_test(tc, after_points_back_within_a_batch);
	tcase_add_test(tc, a_push_merges_the_defaults_of_its_map);
	suite_add_tcase(suite, tc);
	return wire_run(suite);
}
