/*
 * A daemon that lies, stutters or talks nonsense: the client ends the connection or does what its
 * header says, and every future settles. The last tests send a recorded conversation cut at each
 * byte and changed at random; SLOT_FUZZ_SEED=n runs the one with that number again.
 */
#include "client_fixture.h"

#include <time.h>

#include "client/client.h"

static struct slot_future *
submit(void)
{
	return slot_client_submit(client, json_pack("{s:[s]}", "argv", "true"), NULL);
}

/* ---- completions ---- */

#define ITEM "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":2,\"n\":1,"

START_TEST(a_completion_that_is_none_is_a_protocol_error)
{
	static const char *const bad[] = {
		"\"job\":7,\"seq\":1,\"ok\":true",                                  /* no outcome */
		"\"job\":7,\"seq\":1,\"ok\":true,\"outcome\":5",
		"\"job\":7,\"seq\":1,\"ok\":true,\"outcome\":null",
		"\"job\":7,\"seq\":1,\"outcome\":\"exited\"",                       /* no ok */
		"\"job\":7,\"seq\":1,\"ok\":1,\"outcome\":\"exited\"",
		"\"job\":7,\"ok\":true,\"outcome\":\"exited\"",                     /* no seq */
		"\"job\":7,\"seq\":-1,\"ok\":true,\"outcome\":\"exited\"",
		"\"job\":7,\"seq\":\"1\",\"ok\":true,\"outcome\":\"exited\"",
		"\"job\":7,\"seq\":1,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":4294967296",
		"\"job\":7,\"seq\":1,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":-1",
		"\"job\":7,\"seq\":1,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":\"0\"",
		"\"job\":7,\"seq\":1,\"ok\":false,\"outcome\":\"signaled\",\"signal\":4294967305",
		"\"job\":7,\"seq\":1,\"ok\":false,\"outcome\":\"signaled\",\"signal\":[9]",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[300];

		start();
		struct slot_future *f = submit();

		say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
		snprintf(line, sizeof(line), ITEM "%s}}\n", bad[i]);
		say(line);
		ck_assert_msg(slot_future_done(f), "%s", bad[i]);
		fails_with(f, -SLOT_EPROTOCOL);
		ck_assert_ptr_null(slot_job_completion(f));
		slot_future_unref(f);
		stop();
	}
}
END_TEST

START_TEST(an_attempt_that_failed_reads_as_a_completion)
{
	json_t *event = json_pack("{s:i, s:s, s:i, s:n, s:n}", "job", 7, "outcome", "exited",
	    "exit_code", 3, "ok", "seq");
	struct slot_completion c;

	ck_assert_int_eq(slot_completion_read(&c, event), 0);
	ck_assert_int_eq(c.exit_code, 3);
	ck_assert_uint_eq(c.seq, 0);
	ck_assert(!c.ok);
	json_decref(event);
	ck_assert_int_eq(slot_completion_read(&c, NULL), -SLOT_EPROTOCOL);
}
END_TEST

START_TEST(completions_of_nobody_are_ignored)
{
	struct slot_future *f = submit();

	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
	say(ITEM "\"job\":8,\"seq\":90,\"ok\":true,\"outcome\":\"exited\"}}\n"
	    ITEM "\"job\":-7,\"seq\":91,\"ok\":true,\"outcome\":\"exited\"}}\n"
	    ITEM "\"job\":\"7\",\"seq\":92,\"ok\":true,\"outcome\":\"exited\"}}\n"
	    ITEM "\"seq\":93,\"ok\":true,\"outcome\":\"exited\"}}\n");
	ck_assert(!slot_future_done(f));
	/* What goes backwards, or comes twice, changes nothing. */
	say(ITEM "\"job\":7,\"seq\":50,\"ok\":false,\"outcome\":\"exited\",\"exit_code\":3}}\n"
	    ITEM "\"job\":7,\"seq\":51,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0}}\n");
	fails_with(f, -SLOT_EFAILED);
	ck_assert_int_eq(slot_job_completion(f)->exit_code, 3);
	ck_assert_uint_eq(slot_client_seq(client), 93);
	ck_assert_uint_eq(lost_times, 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(an_outcome_that_is_not_known_is_told_by_its_name)
{
	struct slot_future *f = submit();

	say("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"job\":7,\"phase\":\"running\"}}\n");
	say(ITEM "\"job\":7,\"seq\":50,\"ok\":false,\"outcome\":\"evaporated\"}}\n");
	fails_with(f, -SLOT_EFAILED);
	ck_assert_int_eq(slot_job_completion(f)->outcome, SLOT_OUTCOME_OTHER);
	ck_assert_str_eq(slot_job_completion(f)->outcome_name, "evaporated");
	ck_assert_int_eq(slot_job_completion(f)->exit_code, -1);
	ck_assert_int_eq(slot_job_completion(f)->signal, 0);
	slot_future_unref(f);
}
END_TEST

START_TEST(a_submit_accepted_without_a_job_is_a_protocol_error)
{
	static const char *const results[] = { "{}", "null", "[]", "{\"job\":0}", "{\"job\":-3}",
		"{\"job\":\"3\"}", "{\"job\":1.5}" };

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		char line[200];
		struct slot_future *f;

		start();
		f = submit();
		snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":%s}\n",
		    results[i]);
		say(line);
		fails_with(f, -SLOT_EPROTOCOL);
		slot_future_unref(f);
		stop();
	}
}
END_TEST

/* ---- errors ---- */

START_TEST(an_error_of_any_shape_is_told_or_ends_the_connection)
{
	static const struct {
		const char *error;
		int expected, code;
		const char *kind;
	} cases[] = {
		{ "{\"code\":5,\"message\":\"m\"}", -SLOT_EREMOTE, 5, "" },
		{ "{\"code\":5,\"message\":\"m\",\"data\":null}", -SLOT_EREMOTE, 5, "" },
		{ "{\"code\":5,\"message\":\"m\",\"data\":[1]}", -SLOT_EREMOTE, 5, "" },
		{ "{\"code\":5,\"message\":\"m\",\"data\":{\"kind\":5}}", -SLOT_EREMOTE, 5, "" },
		{ "{\"code\":5,\"message\":\"\",\"data\":{\"kind\":\"New\"}}", -SLOT_EREMOTE, 5,
		    "New" },
		{ "{\"code\":4294967301,\"message\":\"m\"}", -SLOT_EREMOTE, 0, "" },
		{ "{\"code\":\"5\",\"message\":\"m\"}", -SLOT_EPROTOCOL, 0, NULL },
		{ "{\"code\":5}", -SLOT_EPROTOCOL, 0, NULL },
		{ "{\"code\":5,\"message\":{}}", -SLOT_EPROTOCOL, 0, NULL },
		{ "[]", -SLOT_EPROTOCOL, 0, NULL },
		{ "null", -SLOT_EPROTOCOL, 0, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[300];

		start();
		struct slot_future *f = slot_client_call(client, "x", NULL, NULL);

		snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":%s}\n",
		    cases[i].error);
		say(line);
		fails_with(f, cases[i].expected);
		ck_assert_uint_eq(lost_times, cases[i].kind != NULL ? 0 : 1);
		if (cases[i].kind != NULL) {
			ck_assert_int_eq(slot_rpc_error(f)->code, cases[i].code);
			ck_assert_str_eq(slot_rpc_error(f)->kind, cases[i].kind);
		}
		slot_future_unref(f);
		stop();
	}
}
END_TEST

START_TEST(the_reason_is_one_line_whatever_the_daemon_says)
{
	say("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1,\"message\":"
	    "\"two\\nlines\\u001b[2J\"}}\n");
	ck_assert_int_eq(lost_code, -SLOT_EPROTOCOL);
	ck_assert_str_eq(lost_why, "two lines [2J");
}
END_TEST

START_TEST(one_connection_too_many_is_no_protocol_error)
{
	say("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1008,\"message\":\"too many\","
	    "\"data\":{\"kind\":\"LimitExceeded\"}}}\n");
	ck_assert_int_eq(lost_code, -SLOT_ECLOSED);
	ck_assert_str_eq(lost_why, "too many");
}
END_TEST

/* ---- answers ---- */

START_TEST(an_answer_given_twice_ends_the_connection)
{
	struct slot_future *f = slot_client_call(client, "x", NULL, NULL);

	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":1}\n");
	ck_assert_int_eq(slot_future_result(f, NULL), 0);
	ck_assert_uint_eq(lost_times, 0);
	say("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":2}\n");
	ck_assert_int_eq(lost_code, -SLOT_EPROTOCOL);
	slot_future_unref(f);
}
END_TEST

START_TEST(ids_of_every_kind_find_nobody)
{
	static const char *const ids[] = { "\"2\"", "2.0", "-2", "0", "true", "[2]", "{}",
		"9007199254740993", "-9223372036854775808", "18446744073709551618" };

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		char line[100];

		start();
		struct slot_future *f = slot_client_call(client, "x", NULL, NULL);

		snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":1}\n",
		    ids[i]);
		say(line);
		fails_with(f, -SLOT_EPROTOCOL);
		slot_future_unref(f);
		stop();
	}
}
END_TEST

START_TEST(a_value_nested_without_end_ends_the_connection)
{
	char *line = malloc(1000100);

	strcpy(line, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":");
	memset(line + strlen(line), '[', 1000000);
	strcpy(line + 1000030, "\n");
	say(line);
	ck_assert_int_eq(lost_code, -SLOT_EPROTOCOL);
	free(line);
}
END_TEST

/* ---- a conversation, changed ---- */

/* What the daemon says to the requests of open_all. */
static const char *const conversation[] = {
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,\"server\":\"slotd/0\","
	"\"instance\":\"i\",\"session\":\"s\",\"features\":[\"durable\"],\"limits\":"
	"{\"max_line\":1048576,\"max_running\":null},\"seq\":41}}",
	"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"seq\":41}}",
	"{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"job\":101,\"phase\":\"running\"}}",
	"{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"job\":102,\"phase\":\"done\",\"existing\":true}}",
	"{\"jsonrpc\":\"2.0\",\"id\":6,\"error\":{\"code\":1003,\"message\":\"full\",\"data\":"
	"{\"kind\":\"QueueFull\",\"retry_after_ms\":10}}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":3,\"n\":1,\"job\":101,"
	"\"seq\":42,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0,\"signal\":null,"
	"\"tag\":{\"a\":[1,\"\\u00e4\"]}}}",
	"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"jobs\":[{\"job\":5}],\"next\":null}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":8,\"n\":1,\"kind\":"
	"\"done\",\"job\":5,\"seq\":7}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/gap\",\"params\":{\"stream\":8,\"dropped\":3,"
	"\"resume\":40}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":9,\"n\":1,\"fd\":1,"
	"\"off\":0,\"data\":\"abc\"}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":9,\"n\":2,\"fd\":2,"
	"\"off\":3,\"data\":{\"b64\":\"/w==\"}}}",
	"{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{\"next\":{\"1\":3,\"2\":4}}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":10,\"n\":4}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":11,\"n\":1,\"job\":500,"
	"\"seq\":3,\"ok\":false,\"outcome\":\"signaled\",\"exit_code\":null,\"signal\":9}}",
	"{\"jsonrpc\":\"2.0\",\"id\":11,\"error\":{\"code\":1001,\"message\":\"no\",\"data\":"
	"{\"kind\":\"NoSuchJob\",\"job\":501}}}",
	"{\"jsonrpc\":\"2.0\",\"id\":12,\"result\":{\"seq\":41}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":13,\"n\":1,\"job\":9,"
	"\"seq\":44,\"ok\":true,\"outcome\":\"exited\",\"exit_code\":0,\"signal\":null}}",
	"{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":14,\"n\":1,\"job\":102,"
	"\"seq\":12,\"ok\":false,\"outcome\":\"cancelled\",\"exit_code\":null,\"signal\":null}}",
	"{\"jsonrpc\":\"2.0\",\"id\":14,\"result\":{\"done\":1}}",
	"{\"jsonrpc\":\"2.0\",\"id\":10,\"result\":{\"submitted\":0,\"ok\":0}}",
	"{\"jsonrpc\":\"2.0\",\"id\":8,\"error\":{\"code\":-32000,\"message\":\"bye\",\"data\":"
	"{\"kind\":\"ShuttingDown\"}}}",
};

enum { LINES = sizeof(conversation) / sizeof(conversation[0]), JOBS = 5, STREAMS = 4 };

static struct slot_future *jobs[JOBS], *plain;
static struct slot_stream *streams[STREAMS];
static unsigned ended[STREAMS];
static uint64_t running; /* the seed */

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	(void)item;
	(void)arg;
	slot_stream_credit(s, 1);
}

static void
on_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	(void)s;
	(void)gap;
	(void)arg;
}

static void
on_credit(struct slot_stream *s, uint64_t n, void *arg)
{
	(void)s;
	(void)arg;
	ck_assert_uint_gt(n, 0);
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	unsigned *times = arg;

	(void)s;
	ck_assert((code == 0) == (result != NULL));
	ck_assert((code == -SLOT_EREMOTE) == (error != NULL));
	++*times;
}

static const struct slot_stream_handlers handlers = { .item = on_item, .gap = on_gap,
	.credit = on_credit, .end = on_end };

static struct slot_stream *
open_stream(int i, const char *method, json_t *params)
{
	ended[i] = 0;
	return slot_client_stream(client, method, params, &handlers, &ended[i], NULL);
}

/* A client that would go on after a loss, with something of everything open. */
static void
open_all(void)
{
	const struct slot_client_options options = { .name = "t", .reconnect = true,
		.on_disconnect = note_lost, .on_writable = note_writable };
	const uint64_t ids[] = { 500, 501 };
	int pair[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	server = pair[0];
	lost_code = 0;
	lost_times = 0;
	client = slot_client_new_fd(loop, pair[1], &options, NULL);
	client->again = client_reconnect_new(client, "/nonexistent/slotd.sock", &options);
	for (int i = 0; i < 3; i++) /* 4, 5, 6; before them a question (2) and the stream (3) */
		jobs[i] = submit();
	plain = slot_client_call(client, "job.list", NULL, NULL);
	streams[0] = open_stream(0, "events.subscribe", NULL);
	streams[1] = open_stream(1, "output.follow", json_pack("{s:i, s:i}", "job", 5, "window", 64));
	streams[2] = open_stream(2, "map.open", json_pack("{s:i}", "limit", 4));
	ck_assert_int_eq(slot_client_attach(client, ids, 2, jobs + 3), 0);
	streams[3] = open_stream(3, "completions.subscribe", NULL); /* 12 asks, 13 is it */
	ck_assert_uint_eq(slot_stream_id(streams[3]), 13);
}

static void
turn(void)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Whatever came, all of it settles, once. */
static void
close_all(void)
{
	slot_client_free(client);
	client = NULL;
	for (int i = 0; i < JOBS; i++) {
		ck_assert_msg(slot_future_done(jobs[i]), "SLOT_FUZZ_SEED=%u", (unsigned)running);
		slot_future_unref(jobs[i]);
	}
	ck_assert_msg(slot_future_done(plain), "SLOT_FUZZ_SEED=%u", (unsigned)running);
	slot_future_unref(plain);
	for (int i = 0; i < STREAMS; i++) {
		ck_assert_msg(!slot_stream_open(streams[i]), "SLOT_FUZZ_SEED=%u", (unsigned)running);
		ck_assert_msg(ended[i] <= 1, "SLOT_FUZZ_SEED=%u", (unsigned)running);
		slot_stream_free(streams[i]);
	}
	ck_assert_msg(lost_times <= 1, "SLOT_FUZZ_SEED=%u", (unsigned)running);
	close(server);
	server = -1;
	turn();
}

static void
say_raw(const char *text, size_t len)
{
	(void)!send(server, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn();
}

static char *
whole_conversation(size_t *len)
{
	char *all = calloc(1, 65536);

	*len = 0;
	for (int i = 0; i < LINES; i++)
		*len += (size_t)sprintf(all + *len, "%s\n", conversation[i]);
	return all;
}

static void
begin(void)
{
	base = event_base_new();
	loop = slot_loop_new(base);
}

static void
end(void)
{
	slot_loop_free(loop);
	event_base_free(base);
	free(heard);
	heard = NULL;
}

/* As it was recorded: the tests below change something that works. */
START_TEST(the_conversation_unchanged)
{
	size_t len;
	char *all = whole_conversation(&len);

	open_all();
	say_raw(all, len);
	turn();
	ck_assert_uint_eq(lost_times, 0);
	ck_assert_int_eq(slot_future_result(jobs[0], NULL), 0);
	ck_assert(slot_future_cancelled(jobs[1]));
	ck_assert_str_eq(slot_rpc_error(jobs[2])->kind, "QueueFull");
	ck_assert_int_eq(slot_job_completion(jobs[3])->signal, 9);
	ck_assert_str_eq(slot_rpc_error(jobs[4])->kind, "NoSuchJob");
	ck_assert_int_eq(slot_future_result(plain, NULL), 0);
	ck_assert_uint_eq(slot_client_seq(client), 42);
	for (int i = 0; i < STREAMS; i++)
		ck_assert_uint_eq(ended[i], i == 1 || i == 2);
	close_all();
	free(all);
}
END_TEST

START_TEST(the_conversation_in_two_pieces_of_any_size)
{
	size_t len;
	char *all = whole_conversation(&len);

	for (size_t cut = 1; cut < len; cut += 3) {
		open_all();
		say_raw(all, cut);
		say_raw(all + cut, len - cut);
		ck_assert_int_eq(slot_future_result(jobs[0], NULL), 0);
		ck_assert(slot_future_cancelled(jobs[1]));
		ck_assert_uint_eq(lost_times, 0);
		close_all();
	}
	free(all);
}
END_TEST

START_TEST(a_hang_up_at_any_byte)
{
	size_t len;
	char *all = whole_conversation(&len);

	for (size_t cut = 0; cut < len; cut++) {
		open_all();
		say_raw(all, cut);
		shutdown(server, SHUT_RDWR);
		turn();
		/* Before hello's answer a loss is the end, after it is none. */
		ck_assert_int_eq(slot_client_state(client), cut > strlen(conversation[0])
			? SLOT_CLIENT_RECONNECTING : SLOT_CLIENT_OVER);
		close_all();
	}
	free(all);
}
END_TEST

/* ---- at random ---- */

static uint64_t chance;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void
tell_seed(void)
{
	fprintf(stderr, "SLOT_FUZZ_SEED=%llu\n", (unsigned long long)running);
}

static uint32_t
below(uint32_t n)
{
	chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(chance >> 33) % n;
}

static const char *const words[] = { "null", "true", "0", "-1", "1", "3", "42", "101",
	"9007199254740991", "9007199254740993", "9223372036854775807", "-9223372036854775808",
	"18446744073709551616", "1e999", "0.5", "\"\"", "\"x\"", "\"\\u0000\"", "\"\\ud800\"", "[]",
	"{}", "[[[[[[[[]]]]]]]]", "{\"b64\":\"!\"}", "{\"b64\":\"AAAA\"}", "\"$/item\"",
	"\"$/gap\"", "\"result\"", "\"exited\"", "\xff\xfe", "\n", "\r\n", "," };

static size_t
cut_and_paste(char *text, size_t len, size_t at, size_t out, const char *in, size_t in_len)
{
	if (out > len - at)
		out = len - at;
	memmove(text + at + in_len, text + at + out, len - at - out);
	memcpy(text + at, in, in_len);
	return len - out + in_len;
}

/* The value that begins at or behind `at`, crudely: up to the next comma or bracket. */
static size_t
value_at(const char *text, size_t len, size_t *at)
{
	size_t n = 0;

	while (*at < len && text[*at] != ':')
		++*at;
	if (*at < len)
		++*at;
	while (*at + n < len && strchr(",}]\n", text[*at + n]) == NULL)
		n++;
	return n;
}

static size_t
change(char *text, size_t len)
{
	const char *word = words[below(sizeof(words) / sizeof(words[0]))];
	size_t at = below((uint32_t)len), out;
	char byte = (char)below(256);

	switch (below(6)) {
	case 0:
		text[at] = byte;
		return len;
	case 1:
		return cut_and_paste(text, len, at, 1 + below(8), "", 0);
	case 2:
		return cut_and_paste(text, len, at, 0, &byte, 1);
	default:
		out = value_at(text, len, &at);
		return cut_and_paste(text, len, at, out, word, strlen(word));
	}
}

/* Lines left out, twice, or in another order, and a few of them changed. */
static void
run_seed(uint64_t seed)
{
	char text[16384];
	size_t len = 0;

	running = seed;
	chance = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	open_all();
	for (int i = 0; i < LINES; i++) {
		uint32_t dice = below(40);
		const char *line = conversation[dice == 0 ? (int)below(LINES) : i];

		if (dice == 1)
			continue;
		for (int times = dice == 2 ? 2 : 1; times > 0; times--)
			len += (size_t)sprintf(text + len, "%s\n", line);
	}
	for (uint32_t n = below(4); n > 0; n--)
		len = change(text, len);
	say_raw(text, len);
	if (below(4) == 0) {
		shutdown(server, SHUT_RDWR);
		turn();
	}
	close_all();
}

#define SEEDS 20000
#define SECONDS 1.0 /* where it is slow, with sanitizers and the like, fewer will do */

START_TEST(whatever_is_said_everything_settles_once)
{
	const char *only = getenv("SLOT_FUZZ_SEED"), *many = getenv("SLOT_FUZZ_SEEDS");
	clock_t begun = clock();

	if (__sanitizer_set_death_callback != NULL)
		__sanitizer_set_death_callback(tell_seed);
	if (only != NULL) {
		run_seed(strtoull(only, NULL, 10));
		return;
	}
	for (uint64_t seed = 0; seed < (many != NULL ? strtoull(many, NULL, 10) : SEEDS); seed++) {
		if (many == NULL && (double)(clock() - begun) > SECONDS * CLOCKS_PER_SEC)
			break;
		run_seed(seed);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client_lies");
	TCase *tc = tcase_create("connected"), *own = tcase_create("own");
	TCase *fuzz = tcase_create("conversation");

	tcase_add_checked_fixture(tc, start, stop);
	tcase_add_test(tc, completions_of_nobody_are_ignored);
	tcase_add_test(tc, an_outcome_that_is_not_known_is_told_by_its_name);
	tcase_add_test(tc, the_reason_is_one_line_whatever_the_daemon_says);
	tcase_add_test(tc, one_connection_too_many_is_no_protocol_error);
	tcase_add_test(tc, an_answer_given_twice_ends_the_connection);
	tcase_add_test(tc, a_value_nested_without_end_ends_the_connection);
	suite_add_tcase(suite, tc);
	tcase_add_test(own, a_completion_that_is_none_is_a_protocol_error);
	tcase_add_test(own, an_attempt_that_failed_reads_as_a_completion);
	tcase_add_test(own, a_submit_accepted_without_a_job_is_a_protocol_error);
	tcase_add_test(own, an_error_of_any_shape_is_told_or_ends_the_connection);
	tcase_add_test(own, ids_of_every_kind_find_nobody);
	suite_add_tcase(suite, own);
	tcase_add_checked_fixture(fuzz, begin, end);
	tcase_add_test(fuzz, the_conversation_unchanged);
	tcase_add_test(fuzz, the_conversation_in_two_pieces_of_any_size);
	tcase_add_test(fuzz, a_hang_up_at_any_byte);
	tcase_add_test(fuzz, whatever_is_said_everything_settles_once);
	suite_add_tcase(suite, fuzz);
	return run_client_suite(suite);
}
