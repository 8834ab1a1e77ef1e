/* Lines that are (not) requests, the limits before parsing, replies and notifications. */
#include "wire/prescan.h"
#include "wire/rpc.h"

#include <check.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct evbuffer *out;
static struct rpc_request req;
static struct rpc_failure failure;
static char *written;

static void
setup(void)
{
	out = evbuffer_new();
	written = NULL;
	memset(&req, 0, sizeof(req));
}

static void
teardown(void)
{
	rpc_request_fini(&req);
	free(written);
	evbuffer_free(out);
}

static const char *
finish(void)
{
	size_t len = evbuffer_get_length(out);

	free(written);
	written = malloc(len + 1);
	evbuffer_remove(out, written, len);
	written[len] = '\0';
	return written;
}

static int
parse_n(const char *line, size_t len)
{
	/* An exact copy on the heap, so that reading past the end is seen. */
	char *copy = malloc(len > 0 ? len : 1);
	int result;

	memcpy(copy, line, len);
	rpc_request_fini(&req);
	result = rpc_request_parse(&req, copy, len, &failure);
	free(copy);
	return result;
}

static int
parse(const char *line)
{
	return parse_n(line, strlen(line));
}

/* ---- prescan ---- */

static char *
repeat(const char *piece, size_t n, size_t *len)
{
	size_t size = strlen(piece);
	char *text = malloc(n * size + 1);

	for (size_t i = 0; i < n; i++)
		memcpy(text + i * size, piece, size);
	*len = n * size;
	return text;
}

static enum prescan_verdict
prescan_repeated(const char *piece, size_t n)
{
	size_t len;
	char *text = repeat(piece, n, &len);
	enum prescan_verdict verdict = prescan(text, len);

	free(text);
	return verdict;
}

START_TEST(prescan_counts_depth)
{
	ck_assert_int_eq(prescan_repeated("[", 32), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated("[", 33), PRESCAN_TOO_DEEP);
	ck_assert_int_eq(prescan_repeated("{", 33), PRESCAN_TOO_DEEP);
	ck_assert_int_eq(prescan_repeated("[]", 1000), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated("\"[[[[{{{{\",", 1000), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated("]", 100), PRESCAN_OK);
}
END_TEST

START_TEST(prescan_counts_tokens)
{
	ck_assert_int_eq(prescan_repeated("{},", 32768), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated("{},", 32769), PRESCAN_TOO_MANY_TOKENS);
	ck_assert_int_eq(prescan_repeated("1,", 65536), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated("1,", 65537), PRESCAN_TOO_MANY_TOKENS);
	ck_assert_int_eq(prescan_repeated("\"\"", 65536), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated("\"\"", 65537), PRESCAN_TOO_MANY_TOKENS);
	ck_assert_int_eq(prescan_repeated("\"a\\\"b\":", 65536), PRESCAN_OK);
	ck_assert_int_eq(prescan_repeated(",:, \t", 100000), PRESCAN_OK);
	ck_assert_int_eq(prescan("", 0), PRESCAN_OK);
	ck_assert_ptr_nonnull(prescan_message(PRESCAN_TOO_DEEP));
	ck_assert_ptr_nonnull(prescan_message(PRESCAN_TOO_MANY_TOKENS));
}
END_TEST

START_TEST(prescan_never_reads_past_the_end)
{
	static const char *const texts[] = { "\"", "\"\\", "\"a\\", "\"\\\"", "tru", "{\"a", "\\" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		size_t len = strlen(texts[i]);
		char *copy = malloc(len);

		memcpy(copy, texts[i], len);
		ck_assert_int_eq(prescan(copy, len), PRESCAN_OK);
		free(copy);
	}
}
END_TEST

START_TEST(what_prescan_refuses_is_a_parse_error)
{
	size_t len;
	char *text = repeat("[", 100, &len);

	ck_assert_int_eq(parse_n(text, len), -1);
	ck_assert_int_eq(failure.error, RPC_PARSE_ERROR);
	ck_assert_ptr_nonnull(strstr(failure.message, "32"));
	ck_assert_ptr_null(req.id);
	free(text);
	text = repeat("{},", 100000, &len);
	ck_assert_int_eq(parse_n(text, len), -1);
	ck_assert_int_eq(failure.error, RPC_PARSE_ERROR);
	ck_assert_ptr_nonnull(strstr(failure.message, "65536"));
	free(text);
}
END_TEST

/* ---- requests ---- */

START_TEST(a_request_is_read)
{
	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"a.b\",\"params\":{\"x\":1}}"),
	    0);
	ck_assert_int_eq(req.id->integer, 7);
	ck_assert_str_eq(req.method, "a.b");
	ck_assert_uint_eq(req.params->len, 1);
	ck_assert(!req.is_notification);

	ck_assert_int_eq(parse(" {\"method\":\"m\",\"id\":\"x\\u0000y\",\"jsonrpc\":\"2.0\"} "), 0);
	ck_assert_uint_eq(req.id->len, 3);
	ck_assert_ptr_null(req.params);

	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"method\":\"$/cancel\",\"params\":{\"id\":1}}"), 0);
	ck_assert(req.is_notification);
	ck_assert_ptr_null(req.id);
}
END_TEST

struct refusal {
	const char *line;
	enum rpc_error error;
	const char *id; /* as JSON text */
};

START_TEST(what_is_no_request_is_refused_with_its_kind)
{
	static const struct refusal cases[] = {
		{ "", RPC_PARSE_ERROR, "null" },
		{ "{", RPC_PARSE_ERROR, "null" },
		{ "nonsense", RPC_PARSE_ERROR, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"} x", RPC_PARSE_ERROR, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"m\"}", RPC_PARSE_ERROR,
		    "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", RPC_PARSE_ERROR, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\":NaN}}",
		    RPC_PARSE_ERROR, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\\u0000\":1}}",
		    RPC_INVALID_PARAMS, "null" },
		{ "5", RPC_INVALID_REQUEST, "null" },
		{ "null", RPC_INVALID_REQUEST, "null" },
		{ "\"x\"", RPC_INVALID_REQUEST, "null" },
		{ "[]", RPC_INVALID_REQUEST, "null" },
		{ "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}]", RPC_INVALID_REQUEST, "null" },
		{ "{}", RPC_INVALID_REQUEST, "null" },
		{ "{\"id\":1,\"method\":\"m\"}", RPC_INVALID_REQUEST, "1" },
		{ "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"m\"}", RPC_INVALID_REQUEST, "1" },
		{ "{\"jsonrpc\":\"2.0\\u0000\",\"id\":1,\"method\":\"m\"}", RPC_INVALID_REQUEST, "1" },
		{ "{\"jsonrpc\":2.0,\"id\":\"a\",\"method\":\"m\"}", RPC_INVALID_REQUEST, "\"a\"" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1}", RPC_INVALID_REQUEST, "1" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", RPC_INVALID_REQUEST, "1" },
		{ "{\"jsonrpc\":\"2.0\",\"method\":\"m\"}", RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"m\"}", RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"m\"}", RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"m\"}", RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"m\"}", RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":9007199254740992,\"method\":\"m\"}",
		    RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":-9007199254740992,\"method\":\"m\"}",
		    RPC_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\\u0000\"}", RPC_METHOD_NOT_FOUND,
		    "1" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":[1]}",
		    RPC_INVALID_PARAMS, "1" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":null}",
		    RPC_INVALID_PARAMS, "1" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":\"x\"}",
		    RPC_INVALID_PARAMS, "1" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char wanted[64];

		ck_assert_msg(parse(cases[i].line) == -1, "%s", cases[i].line);
		ck_assert_msg(failure.error == cases[i].error, "%s: %s", cases[i].line,
		    rpc_error_info(failure.error)->kind);
		ck_assert_str_ne(failure.message, "");
		ck_assert_int_eq(rpc_write_failure(out, req.id, &failure), 0);
		snprintf(wanted, sizeof(wanted), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":%d,",
		    cases[i].id, rpc_error_info(cases[i].error)->code);
		ck_assert_msg(strncmp(finish(), wanted, strlen(wanted)) == 0, "%s", written);
		ck_assert_int_eq(written[strlen(written) - 1], '\n');
	}
}
END_TEST

START_TEST(a_nul_in_a_line_is_refused_wherever_it_stands)
{
	static const char line[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\":[-1]}}";

	for (size_t at = 0; at < sizeof(line); at++) {
		char cut[sizeof(line)];

		memcpy(cut, line, at);
		cut[at] = '\0';
		memcpy(cut + at + 1, line + at, sizeof(line) - 1 - at);
		ck_assert_int_eq(parse_n(cut, sizeof(cut)), -1);
		ck_assert_msg(failure.error == RPC_PARSE_ERROR, "at %zu", at);
	}
}
END_TEST

START_TEST(the_widest_ids_are_taken)
{
	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":9007199254740991,\"method\":\"m\"}"), 0);
	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":-9007199254740991,\"method\":\"m\"}"), 0);
	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":\"\",\"method\":\"m\"}"), 0);
}
END_TEST

START_TEST(beside_a_number_too_large_only_an_id_is_quoted)
{
	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":-7,\"method\":\"m\","
	    "\"params\":{\"n\":99999999999999999999}}"), -1);
	ck_assert_int_eq(failure.error, RPC_INVALID_PARAMS);
	ck_assert(rpc_id_is_valid(req.id));
	ck_assert_int_eq(req.id->integer, -7);
	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"m\","
	    "\"params\":{\"n\":99999999999999999999}}"), -1);
	ck_assert_ptr_null(req.id);
}
END_TEST

START_TEST(an_id_too_long_to_quote_is_refused)
{
	char line[2000];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":\"%01024d\",\"method\":\"m\"}", 0);
	ck_assert_int_eq(parse(line), 0);
	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":\"%01025d\",\"method\":\"m\"}", 0);
	ck_assert_int_eq(parse(line), -1);
	ck_assert_int_eq(failure.error, RPC_INVALID_REQUEST);
	ck_assert_ptr_null(req.id);
}
END_TEST

START_TEST(ids_compare_by_type_and_value)
{
	const struct jsonr one = { .type = JSON_INTEGER, .integer = 1 }, other = one;
	const struct jsonr two = { .type = JSON_INTEGER, .integer = 2 };
	const struct jsonr text = { .type = JSON_STRING, .text = "1", .len = 1 };
	const struct jsonr nul = { .type = JSON_STRING, .text = "1\0", .len = 2 };

	ck_assert(rpc_id_equal(&one, &other));
	ck_assert(!rpc_id_equal(&one, &two));
	ck_assert(!rpc_id_equal(&one, &text));
	ck_assert(!rpc_id_equal(&text, &nul));
	ck_assert(!rpc_id_equal(NULL, NULL));
}
END_TEST

/* ---- writing ---- */

START_TEST(replies_and_notifications_have_their_form)
{
	const struct jsonr name = { .type = JSON_STRING, .text = "a\"b", .len = 3 }, *id = &name;
	struct jsonw w;

	rpc_response_begin(&w, out, id);
	jsonw_obj_begin(&w);
	jsonw_kint(&w, "job", 1);
	jsonw_obj_end(&w);
	ck_assert_int_eq(rpc_response_end(&w), 0);
	ck_assert_str_eq(finish(), "{\"jsonrpc\":\"2.0\",\"id\":\"a\\\"b\",\"result\":{\"job\":1}}\n");

	rpc_error_begin(&w, out, NULL, RPC_TIMEOUT, NULL);
	jsonw_key(&w, "remaining");
	jsonw_arr_begin(&w);
	jsonw_int(&w, 118);
	jsonw_arr_end(&w);
	ck_assert_int_eq(rpc_error_end(&w), 0);
	ck_assert_str_eq(finish(), "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1005,\"message\":"
				   "\"timed out\",\"data\":{\"kind\":\"Timeout\",\"remaining\":[118]}}}\n");

	rpc_item_begin(&w, out, id, 3);
	jsonw_kint(&w, "job", 5);
	ck_assert_int_eq(rpc_notify_end(&w), 0);
	ck_assert_str_eq(finish(), "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":"
				   "\"a\\\"b\",\"n\":3,\"job\":5}}\n");

	ck_assert_int_eq(rpc_write_credit(out, id, 2), 0);
	ck_assert_str_eq(finish(), "{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":"
				   "\"a\\\"b\",\"n\":2}}\n");
	ck_assert_int_eq(rpc_write_gap(out, id, 2, 9), 0);
	ck_assert_str_eq(finish(), "{\"jsonrpc\":\"2.0\",\"method\":\"$/gap\",\"params\":{\"stream\":"
				   "\"a\\\"b\",\"dropped\":2,\"resume\":9}}\n");
}
END_TEST

START_TEST(a_failure_carries_its_data)
{
	rpc_fail(&failure, RPC_NO_SUCH_JOB, NULL);
	rpc_failure_add(&failure, "oldest_job", 17);
	ck_assert_int_eq(rpc_write_failure(out, NULL, &failure), 0);
	ck_assert_str_eq(finish(),
	    "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1001,\"message\":\"no such job\","
	    "\"data\":{\"kind\":\"NoSuchJob\",\"oldest_job\":17}}}\n");
	ck_assert_int_eq(rpc_fail_param(&failure, "queue", "no queue is called \"%s\"", "x\xff"), -1);
	ck_assert_int_eq(rpc_write_failure(out, NULL, &failure), 0);
	ck_assert_str_eq(finish(),
	    "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32602,\"message\":"
	    "\"no queue is called \\\"x\\ufffd\\\"\",\"data\":{\"kind\":\"InvalidParams\","
	    "\"param\":\"queue\"}}}\n");
}
END_TEST

START_TEST(a_long_message_is_cut_between_characters)
{
	char text[700];

	for (size_t i = 0; i + 3 < sizeof(text); i += 3)
		memcpy(text + i, "\xe2\x82\xac", 4);
	for (int shift = 0; shift < 3; shift++) {
		rpc_fail(&failure, RPC_INTERNAL_ERROR, "%.*s%s", shift, "aa", text);
		ck_assert_int_eq(rpc_write_failure(out, NULL, &failure), 0);
		ck_assert_ptr_null(strstr(finish(), "fffd"));
	}
}
END_TEST

START_TEST(every_kind_of_error_is_distinct)
{
	for (int i = RPC_OK + 1; i < RPC_ERROR_COUNT; i++) {
		const struct rpc_error_info *info = rpc_error_info((enum rpc_error)i);

		ck_assert_int_ne(info->code, 0);
		ck_assert_int_eq(rpc_error_by_code(info->code), i);
		ck_assert_int_eq(rpc_error_by_kind(info->kind), i);
		ck_assert_str_ne(info->help, "");
	}
	ck_assert_int_eq(rpc_error_by_code(1), RPC_OK);
	ck_assert_int_eq(rpc_error_by_kind("Nonsense"), RPC_OK);
}
END_TEST

/* ---- the client's side ---- */

START_TEST(calls_are_requests)
{
	struct jsonw w;

	rpc_call_begin(&w, out, 4, "job.get");
	jsonw_kint(&w, "job", 9);
	ck_assert_int_eq(rpc_call_end(&w), 0);
	ck_assert_int_eq(parse(finish()), 0);
	ck_assert_str_eq(req.method, "job.get");
	ck_assert_int_eq(jsonr_get(req.params, "job")->integer, 9);
	ck_assert_int_eq(rpc_write_call_raw(out, 5, "x", "{\"a\":[1]}", 9), 0);
	ck_assert_int_eq(parse(finish()), 0);
	ck_assert_int_eq(req.id->integer, 5);
	ck_assert_int_eq(rpc_write_cancel(out, 4), 0);
	ck_assert_int_eq(parse(finish()), 0);
	ck_assert(req.is_notification);
	ck_assert_int_eq(rpc_write_client_credit(out, 4, 10), 0);
	ck_assert_int_eq(parse(finish()), 0);
	ck_assert_int_eq(jsonr_get(req.params, "n")->integer, 10);
}
END_TEST

static int
parse_reply(struct rpc_reply *reply, const char *line)
{
	const char *why = NULL;
	int result = rpc_reply_parse(reply, line, strlen(line), &why);

	if (result != 0)
		ck_assert_ptr_nonnull(why);
	return result;
}

START_TEST(replies_are_read)
{
	struct rpc_reply reply;

	ck_assert_int_eq(parse_reply(&reply, "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":null}"), 0);
	ck_assert_int_eq(reply.kind, RPC_REPLY_RESULT);
	ck_assert_int_eq(json_integer_value(reply.id), 3);
	ck_assert(json_is_null(reply.result));
	rpc_reply_fini(&reply);

	ck_assert_int_eq(parse_reply(&reply,
	    "{\"id\":null,\"error\":{\"code\":1003,\"message\":\"full\","
	    "\"data\":{\"kind\":\"QueueFull\",\"retry_after_ms\":5}}}"), 0);
	ck_assert_int_eq(reply.kind, RPC_REPLY_ERROR);
	ck_assert_ptr_null(reply.id);
	ck_assert_int_eq(reply.error, RPC_QUEUE_FULL);
	ck_assert_str_eq(reply.error_kind, "QueueFull");
	ck_assert_str_eq(reply.message, "full");
	ck_assert_ptr_nonnull(json_object_get(reply.data, "retry_after_ms"));
	rpc_reply_fini(&reply);

	ck_assert_int_eq(parse_reply(&reply,
	    "{\"id\":1,\"error\":{\"code\":4242,\"message\":\"new\",\"data\":{\"kind\":\"New\"}}}"), 0);
	ck_assert_int_eq(reply.error, RPC_OK);
	ck_assert_int_eq(reply.code, 4242);
	rpc_reply_fini(&reply);

	ck_assert_int_eq(parse_reply(&reply, "{\"method\":\"$/item\",\"params\":{\"stream\":3}}"), 0);
	ck_assert_int_eq(reply.kind, RPC_REPLY_NOTIFICATION);
	ck_assert_str_eq(reply.method, "$/item");
	rpc_reply_fini(&reply);
}
END_TEST

START_TEST(what_is_no_reply_is_told)
{
	static const char *const lines[] = { "", "x", "[]", "{}", "{\"id\":1}",
		"{\"id\":1,\"error\":5}", "{\"id\":1,\"error\":{}}", "{\"method\":1}" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct rpc_reply reply;

		ck_assert_msg(parse_reply(&reply, lines[i]) == -1, "%s", lines[i]);
		rpc_reply_fini(&reply);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire_rpc");
	TCase *tc = tcase_create("rpc");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, prescan_counts_depth);
	tcase_add_test(tc, prescan_counts_tokens);
	tcase_add_test(tc, prescan_never_reads_past_the_end);
	tcase_add_test(tc, what_prescan_refuses_is_a_parse_error);
	tcase_add_test(tc, a_request_is_read);
	tcase_add_test(tc, what_is_no_request_is_refused_with_its_kind);
	tcase_add_test(tc, a_nul_in_a_line_is_refused_wherever_it_stands);
	tcase_add_test(tc, the_widest_ids_are_taken);
	tcase_add_test(tc, beside_a_number_too_large_only_an_id_is_quoted);
	tcase_add_test(tc, an_id_too_long_to_quote_is_refused);
	tcase_add_test(tc, ids_compare_by_type_and_value);
	tcase_add_test(tc, replies_and_notifications_have_their_form);
	tcase_add_test(tc, a_failure_carries_its_data);
	tcase_add_test(tc, a_long_message_is_cut_between_characters);
	tcase_add_test(tc, every_kind_of_error_is_distinct);
	tcase_add_test(tc, calls_are_requests);
	tcase_add_test(tc, replies_are_read);
	tcase_add_test(tc, what_is_no_reply_is_told);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
