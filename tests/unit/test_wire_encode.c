/* What is written reads back the same: params, results, items; and the rpc.discover document. */
#include "wire_fixture.h"

static struct wire_fixture fx;
static struct jsonw w;
static struct arena arena;
static json_t *doc;

static void
setup(void)
{
	wire_setup(&fx);
	jsonw_init(&w, fx.out);
	memset(&arena, 0, sizeof(arena));
	doc = NULL;
}

static void
teardown(void)
{
	arena_free(&arena);
	json_decref(doc);
	wire_teardown(&fx);
}

/* Ends what was written and parses it. */
static const json_t *
finish(void)
{
	json_decref(doc);
	doc = json_loads(wire_finish(&fx, &w), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	ck_assert_msg(doc != NULL, "%.300s", fx.text);
	jsonw_init(&w, fx.out);
	return doc;
}

/* What reads it takes. */
static const struct jsonr *
finish_value(void)
{
	return jsonr_of(finish(), &arena);
}

static const struct jsonr *
value_of(const char *text)
{
	const struct jsonr *value = jsonr_read(text, strlen(text), &arena);

	ck_assert_ptr_nonnull(value);
	return value;
}

START_TEST(a_completion_has_the_form_of_the_protocol)
{
	struct msg_completion c;

	msg_completion_init(&c);
	c.job = 119;
	c.seq = 42;
	c.ok = true;
	c.outcome = MSG_OUTCOME_EXITED;
	c.exit_code = 0;
	msg_completion_write(&w, &c);
	ck_assert_str_eq(wire_finish(&fx, &w),
	    "{\"job\":119,\"seq\":42,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0,"
	    "\"signal\":null,\"tag\":null}");
}
END_TEST

START_TEST(a_completion_reads_back)
{
	struct msg_completion c, back;

	msg_completion_init(&c);
	c.job = 1;
	c.seq = 2;
	c.outcome = MSG_OUTCOME_SIGNALED;
	c.signal = 9;
	c.tag = (struct msg_bytes){ "{\"a\":[1,null]}", 14 };
	c.out = (struct msg_bytes){ "a\0\xff", 3 };
	c.err = (struct msg_bytes){ "", 0 };
	msg_completion_write(&w, &c);
	ck_assert_int_eq(msg_completion_read(&back, finish_value(), &arena), 0);
	ck_assert(back.job == 1 && back.seq == 2 && !back.ok);
	ck_assert_int_eq(back.outcome, MSG_OUTCOME_SIGNALED);
	ck_assert(back.exit_code == MSG_NULL && back.signal == 9);
	ck_assert_str_eq(back.tag.ptr, c.tag.ptr);
	ck_assert_uint_eq(back.out.len, 3);
	ck_assert_int_eq(memcmp(back.out.ptr, "a\0\xff", 3), 0);
	ck_assert_ptr_nonnull(back.err.ptr);
	ck_assert_uint_eq(back.err.len, 0);
}
END_TEST

START_TEST(a_reader_ignores_what_is_newer)
{
	struct msg_completion c;
	struct msg_job job;

	ck_assert_int_eq(msg_completion_read(&c, value_of("{\"job\":1,\"outcome\":\"vaporised\","
							  "\"news\":[1],\"ok\":null}"), &arena), 0);
	ck_assert_int_eq(c.outcome, MSG_OUTCOME_OTHER);
	ck_assert_int_eq(msg_job_read(&job, value_of("{\"job\":1,\"reason\":\"weather\"}"), &arena), 0);
	ck_assert_int_eq(job.reason, MSG_REASON_OTHER);
	ck_assert_int_eq(msg_completion_read(&c, value_of("{\"seq\":1}"), &arena), -1);
	ck_assert_int_eq(msg_completion_read(&c, NULL, &arena), -1);
}
END_TEST

START_TEST(an_unknown_job_is_all_null)
{
	static const char *const keys[] = { "job", "phase", "outcome", "ok", "exit_code", "signal",
		"error", "seq", "name", "tag", "queue", "priority", "slots", "uid", "argv", "cwd",
		"attempt", "reason", "submitted_us", "started_us", "finished_us", "usage", "output" };
	struct msg_job job;
	const json_t *json;

	msg_job_init(&job);
	job.job = 7;
	msg_job_write(&w, &job);
	json = finish();
	ck_assert_uint_eq(json_object_size(json), sizeof(keys) / sizeof(keys[0]));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const json_t *value = json_object_get(json, keys[i]);

		ck_assert_msg(value != NULL, "%s", keys[i]);
		if (strcmp(keys[i], "job") != 0 && strcmp(keys[i], "phase") != 0 &&
		    strcmp(keys[i], "argv") != 0)
			ck_assert_msg(json_is_null(value), "%s", keys[i]);
	}
}
END_TEST

START_TEST(a_job_reads_back)
{
	static const struct msg_bytes argv[] = { { "sh", 2 }, { "\xff", 1 } };
	struct msg_job job, back;

	msg_job_init(&job);
	job.job = 5;
	job.phase = MSG_PHASE_DONE;
	job.outcome = MSG_OUTCOME_SPAWN_FAILED;
	job.ok = 0;
	job.has_error = true;
	job.error = (struct msg_job_error){ "exec", "ENOENT", "no such file" };
	job.seq = 9;
	job.name = "n";
	job.tag = (struct msg_bytes){ "5", 1 };
	job.queue = "default";
	job.priority = -3;
	job.slots = 2;
	job.uid = 1000;
	job.argv = (struct msg_bytes_list){ argv, 2 };
	job.argv_truncated = true;
	job.cwd = (struct msg_bytes){ "/tmp", 4 };
	job.attempt = 1;
	job.reason = MSG_REASON_CLIENT;
	job.submitted_us = 1;
	job.started_us = 2;
	job.finished_us = 3;
	job.has_usage = true;
	job.usage = (struct msg_usage){ 4, 5, 6 };
	job.has_output = true;
	job.output = (struct msg_output_size){ 7, 8, true };
	job.out = (struct msg_bytes){ "o", 1 };
	msg_result_write(&w, M_JOB_GET, &job);
	ck_assert_int_eq(msg_result_read(M_JOB_GET, finish_value(), &back, &arena), 0);
	ck_assert_int_eq(back.phase, MSG_PHASE_DONE);
	ck_assert_int_eq(back.outcome, MSG_OUTCOME_SPAWN_FAILED);
	ck_assert_int_eq(back.ok, 0);
	ck_assert(back.exit_code == MSG_NULL && back.signal == MSG_NULL);
	ck_assert(back.has_error);
	ck_assert_str_eq(back.error.step, "exec");
	ck_assert_str_eq(back.error.errno_name, "ENOENT");
	ck_assert_int_eq(back.seq, 9);
	ck_assert_str_eq(back.name, "n");
	ck_assert_str_eq(back.tag.ptr, "5");
	ck_assert_int_eq(back.priority, -3);
	ck_assert_uint_eq(back.argv.n, 2);
	ck_assert_str_eq(back.argv.v[1].ptr, "\xff");
	ck_assert(back.argv_truncated);
	ck_assert_int_eq(back.reason, MSG_REASON_CLIENT);
	ck_assert_int_eq(back.finished_us, 3);
	ck_assert(back.has_usage && back.usage.max_rss_kib == 6);
	ck_assert(back.has_output && back.output.err == 8 && back.output.truncated);
	ck_assert_str_eq(back.out.ptr, "o");
	ck_assert_ptr_null(back.err.ptr);
}
END_TEST

/* Writes the decoded params, reads them again, writes again: the same text. */
static void
round_trip(const char *method, const char *params)
{
	char *first;

	wire_ok(&fx, method, params);
	jsonw_obj_begin(&w);
	msg_params_write(&w, fx.call.method->id, &fx.call.u);
	jsonw_obj_end(&w);
	first = strdup(wire_finish(&fx, &w));
	jsonw_init(&w, fx.out);

	json_t *given = json_loads(params, JSON_ALLOW_NUL, NULL);
	json_t *got = json_loads(first, JSON_ALLOW_NUL, NULL);

	ck_assert_msg(json_equal(given, got), "%s gave %s", params, first);
	json_decref(given);
	json_decref(got);
	wire_ok(&fx, method, first);
	free(first);
}

START_TEST(params_of_every_method_come_back)
{
	static const char *const calls[][2] = {
		{ "hello", "{\"protocol\":[1],\"client\":\"c\",\"session\":\"s\"}" },
		{ "job.submit",
		    "{\"argv\":[\"a\",{\"b64\":\"/w==\"}],\"cwd\":\"/\",\"env\":[\"A=1\"],"
		    "\"umask\":18,\"nice\":0,\"rlimits\":{\"core\":[0,\"unlimited\"]},"
		    "\"stdin\":{\"data\":\"x\"},\"stdout\":{\"file\":\"o\",\"append\":true},"
		    "\"stderr\":\"stdout\",\"tty\":false,\"output_limit\":1,\"timeout_ms\":2,"
		    "\"kill_grace_ms\":5000,\"ok_codes\":[0,7],\"queue\":\"default\",\"priority\":0,"
		    "\"slots\":1,\"after\":[1],\"after_policy\":\"any\",\"delay_ms\":0,"
		    "\"retries\":{\"max\":1,\"backoff_ms\":2,\"on\":[\"exited\",\"lost\"]},"
		    "\"name\":\"\",\"tag\":null,\"key\":\"k\",\"lifetime\":\"detached\","
		    "\"on_full\":\"wait\",\"leftovers\":\"keep\",\"jobserver\":true,"
		    "\"memory_max\":1,\"pids_max\":1}" },
		{ "job.submit", "{\"argv\":[\"a\"],\"timeout_ms\":null,\"stdin\":\"pipe\","
				"\"stdout\":\"null\",\"stderr\":\"capture\"}" },
		{ "job.submit", "{\"argv\":[\"a\"],\"lifetime\":\"bound\",\"stdin\":{\"fd\":0},"
				"\"stdout\":{\"file\":\"x\"}}" },
		{ "job.submit_batch",
		    "{\"jobs\":[{\"argv\":[\"x\"],\"slots\":2},{\"argv\":[\"y\"]}],"
		    "\"on_full\":\"wait\"}" },
		{ "map.open", "{\"limit\":3,\"defaults\":{\"cwd\":\"/\"},\"on_error\":\"cancel\","
			      "\"window\":2,\"with_output\":1}" },
		{ "map.push", "{\"stream\":\"s\",\"jobs\":[{\"argv\":[\"x\"]}]}" },
		{ "map.end", "{\"stream\":1}" },
		{ "futures.as_completed",
		    "{\"jobs\":[1,2],\"timeout_ms\":0,\"window\":1,\"with_output\":0}" },
		{ "futures.wait", "{\"jobs\":[1],\"return_when\":\"FIRST_COMPLETED\"}" },
		{ "futures.gather", "{\"jobs\":[1],\"return_exceptions\":true}" },
		{ "job.result", "{\"job\":1,\"wait_ms\":3}" },
		{ "job.cancel", "{\"jobs\":[1],\"grace_ms\":0,\"wait\":true}" },
		{ "job.signal", "{\"job\":1,\"signal\":15,\"scope\":\"tree\"}" },
		{ "job.get", "{\"job\":1}" },
		{ "job.list", "{\"phase\":\"pending\",\"ok\":true,\"uid\":0,\"cursor\":4,"
			      "\"order\":\"desc\"}" },
		{ "job.list", "{}" },
		{ "job.set", "{\"job\":1,\"queue\":\"default\",\"hold\":true}" },
		{ "job.retry", "{\"job\":1}" },
		{ "job.forget", "{\"jobs\":[1]}" },
		{ "output.read", "{\"job\":1,\"fd\":2,\"off\":3,\"max\":4}" },
		{ "output.follow", "{\"job\":1,\"fds\":[1],\"off\":9,\"attempt\":2,\"window\":4}" },
		{ "stdin.write", "{\"job\":1,\"data\":\"a\\u0000\",\"eof\":true}" },
		{ "completions.subscribe", "{\"since_seq\":0,\"instance\":\"i\","
					   "\"filter\":{\"ok\":false}}" },
		{ "events.subscribe", "{\"kinds\":[\"done\"]}" },
		{ "queue.list", "{}" },
		{ "queue.set", "{\"queue\":\"q\",\"max_running\":null,\"paused\":false}" },
		{ "queue.remove", "{\"queue\":\"q\"}" },
		{ "queue.pause", "{}" },
		{ "queue.resume", "{\"queue\":\"q\"}" },
		{ "drain", "{\"mode\":\"cancel\"}" },
		{ "limits.get", "{}" },
		{ "limits.set", "{\"max_running\":0,\"reset\":true}" },
		{ "stats.get", "{}" },
		{ "metrics.get", "{}" },
		{ "admin.reload", "{}" },
		{ "rpc.discover", "{}" },
		{ "$/cancel", "{\"id\":1}" },
		{ "$/credit", "{\"stream\":1,\"n\":2}" },
	};
	bool seen[M_METHODS] = { false };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		round_trip(calls[i][0], calls[i][1]);
		seen[msg_method_find(calls[i][0])->id] = true;
	}
	for (int i = 0; i < M_METHODS; i++)
		ck_assert_msg(seen[i], "%s", msg_methods()[i].name);
}
END_TEST

START_TEST(a_client_writes_only_what_differs)
{
	struct msg_futures_wait wait;
	int64_t ids[] = { 3 };

	msg_params_init(M_FUTURES_WAIT, &wait);
	wait.jobs = (struct msg_int_list){ ids, 1 };
	wait.return_when = MSG_RETURN_FIRST_EXCEPTION;
	jsonw_obj_begin(&w);
	msg_params_write(&w, M_FUTURES_WAIT, &wait);
	jsonw_obj_end(&w);
	ck_assert_str_eq(wire_finish(&fx, &w),
	    "{\"jobs\":[3],\"return_when\":\"FIRST_EXCEPTION\"}");
}
END_TEST

/* Every result with a schema: written from zeroes or defaults it is JSON and reads back. */
START_TEST(results_of_every_method_come_back)
{
	union {
		struct msg_stats stats; /* the largest */
		char bytes[4096];
	} result, back;

	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];

		memset(&result, 0, sizeof(result));
		if (m->result != NULL) {
			const struct msg_field *first = &m->result->fields[0];

			ck_assert_uint_le(m->result->size, sizeof(result));
			/* Ids aren't 0. */
			if (first->type == MSG_T_INT)
				memcpy(result.bytes + first->offset, &(int64_t){ 1 }, 8);
		}
		msg_result_write(&w, m->id, &result);
		ck_assert_msg(msg_result_read(m->id, finish_value(), &back, &arena) == 0, "%s",
		    m->name);
		ck_assert(json_is_object(doc));
	}
}
END_TEST

START_TEST(results_have_the_form_of_the_protocol)
{
	static const int64_t ids[] = { 120, 121 };
	struct msg_submit_result submit = { 118, MSG_PHASE_RUNNING, false };
	struct msg_jobs_result jobs = { { ids, 2 } };
	struct msg_map_result map = { 2, 1, 1, 0 };
	struct msg_cancel_item item = { 5, true, false };
	struct msg_cancel_result cancel = { { &item, 1 } };
	struct msg_follow_result follow = { { 10, MSG_NULL } };
	struct msg_output_item data = { 1, 5, MSG_NULL, { "hi", 2 } };
	struct msg_completion c;
	struct msg_wait_result wait = { { &c, 1 }, { ids, 2 } };

	msg_result_write(&w, M_JOB_SUBMIT, &submit);
	ck_assert_str_eq(wire_finish(&fx, &w),
	    "{\"job\":118,\"phase\":\"running\",\"existing\":false}");
	jsonw_init(&w, fx.out);
	msg_result_write(&w, M_MAP_PUSH, &jobs);
	ck_assert_str_eq(wire_finish(&fx, &w), "{\"jobs\":[120,121]}");
	jsonw_init(&w, fx.out);
	msg_result_write(&w, M_MAP_OPEN, &map);
	ck_assert_str_eq(wire_finish(&fx, &w),
	    "{\"submitted\":2,\"ok\":1,\"failed\":1,\"cancelled\":0}");
	jsonw_init(&w, fx.out);
	msg_result_write(&w, M_MAP_END, NULL);
	ck_assert_str_eq(wire_finish(&fx, &w), "{}");
	jsonw_init(&w, fx.out);
	msg_result_write(&w, M_JOB_CANCEL, &cancel);
	ck_assert_str_eq(wire_finish(&fx, &w),
	    "{\"results\":[{\"job\":5,\"accepted\":true,\"best_effort\":false}]}");
	jsonw_init(&w, fx.out);
	msg_result_write(&w, M_OUTPUT_FOLLOW, &follow);
	ck_assert_str_eq(wire_finish(&fx, &w), "{\"next\":{\"1\":10}}");
	jsonw_init(&w, fx.out);
	jsonw_obj_begin(&w);
	msg_item_members(&w, M_OUTPUT_FOLLOW, &data);
	jsonw_obj_end(&w);
	ck_assert_str_eq(wire_finish(&fx, &w), "{\"fd\":1,\"off\":5,\"data\":\"hi\"}");
	jsonw_init(&w, fx.out);
	msg_completion_init(&c);
	c.job = 9;
	c.seq = 1;
	c.outcome = MSG_OUTCOME_LOST;
	msg_result_write(&w, M_FUTURES_WAIT, &wait);
	ck_assert_str_eq(wire_finish(&fx, &w),
	    "{\"done\":[{\"job\":9,\"seq\":1,\"ok\":false,\"outcome\":\"lost\",\"exit_code\":null,"
	    "\"signal\":null,\"tag\":null}],\"pending\":[120,121]}");
}
END_TEST

START_TEST(names_are_those_of_the_protocol)
{
	ck_assert_str_eq(msg_phase_name(MSG_PHASE_DONE), "done");
	ck_assert_str_eq(msg_outcome_name(MSG_OUTCOME_DEPENDENCY_FAILED), "dependency_failed");
	ck_assert_ptr_null(msg_outcome_name(MSG_OUTCOME_NONE));
	ck_assert_str_eq(msg_reason_name(MSG_REASON_SESSION_ENDED), "session_ended");
	ck_assert_ptr_null(msg_reason_name(MSG_REASON_NONE));
	ck_assert_str_eq(msg_event_kind_name(MSG_EVENT_ATTEMPT_FAILED), "attempt_failed");
}
END_TEST

/* ---- rpc.discover ---- */

static const json_t *
find_named(const json_t *list, const char *name)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);

		if (strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
			return entry;
	}
	return NULL;
}

/* Every $ref leads somewhere. */
static void
check_refs(const json_t *json, const json_t *components)
{
	json_t *any = (json_t *)(uintptr_t)json;
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(any, key, value) {
		if (strcmp(key, "$ref") == 0) {
			const char *ref = json_string_value(value);
			char part[16] = "", name[64] = "";

			ck_assert_int_eq(sscanf(ref, "#/components/%15[^/]/%63s", part, name), 2);
			ck_assert_msg(json_object_get(json_object_get(components, part), name) !=
			    NULL, "%s", ref);
		}
		check_refs(value, components);
	}
	json_array_foreach(any, i, value)
		check_refs(value, components);
}

START_TEST(discover_covers_every_method)
{
	const json_t *root, *methods, *components, *schemas;
	char ref[80];

	msg_discover_write(&w, "1.2.3");
	root = finish();
	ck_assert_uint_lt(strlen(fx.text), 512 * 1024);
	ck_assert_str_eq(json_string_value(json_object_get(root, "openrpc")), "1.3.2");
	methods = json_object_get(root, "methods");
	ck_assert_uint_eq(json_array_size(methods), M_METHODS);
	for (int i = 0; i < M_METHODS; i++) {
		const struct msg_method *m = &msg_methods()[i];
		const json_t *entry = find_named(methods, m->name);

		ck_assert_msg(entry != NULL, "%s", m->name);
		ck_assert_str_eq(json_string_value(json_object_get(entry, "paramStructure")),
		    "by-name");
		for (size_t k = 0; k < m->params->nfields; k++)
			ck_assert_ptr_nonnull(find_named(json_object_get(entry, "params"),
			    m->params->fields[k].name));
		ck_assert_int_eq(json_object_get(entry, "result") == NULL,
		    (m->flags & MSG_M_NOTIFICATION) != 0);
		for (size_t k = 0; k < MSG_ERRORS_MAX && m->errors[k] != RPC_OK; k++) {
			snprintf(ref, sizeof(ref), "#/components/errors/%s",
			    rpc_error_info(m->errors[k])->kind);
			ck_assert_str_eq(json_string_value(json_object_get(json_array_get(
			    json_object_get(entry, "errors"), k), "$ref")), ref);
		}
		ck_assert_int_eq(json_object_get(entry, "x-stream") != NULL,
		    (m->flags & MSG_M_STREAM) != 0);
	}
	components = json_object_get(root, "components");
	schemas = json_object_get(components, "schemas");
	ck_assert_ptr_nonnull(json_object_get(schemas, "Spec"));
	ck_assert_ptr_nonnull(json_object_get(schemas, "Job"));
	ck_assert_ptr_nonnull(json_object_get(schemas, "Completion"));
	ck_assert_uint_eq(json_object_size(json_object_get(json_object_get(schemas, "Spec"),
	    "properties")), MSG_SPEC_FIELDS);
	check_refs(root, components);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire_encode");
	TCase *tc = tcase_create("encode");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_completion_has_the_form_of_the_protocol);
	tcase_add_test(tc, a_completion_reads_back);
	tcase_add_test(tc, a_reader_ignores_what_is_newer);
	tcase_add_test(tc, an_unknown_job_is_all_null);
	tcase_add_test(tc, a_job_reads_back);
	tcase_add_test(tc, params_of_every_method_come_back);
	tcase_add_test(tc, a_client_writes_only_what_differs);
	tcase_add_test(tc, results_of_every_method_come_back);
	tcase_add_test(tc, results_have_the_form_of_the_protocol);
	tcase_add_test(tc, names_are_those_of_the_protocol);
	tcase_add_test(tc, discover_covers_every_method);
	suite_add_tcase(suite, tc);
	return wire_run(suite);
}
