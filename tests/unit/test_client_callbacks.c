/*
 * Callbacks may do anything: in each kind of them the client is freed, and every stream and future
 * with it, while something of everything is open; or what the callback is about is dropped. Then
 * nothing more is called, and (under ASan and valgrind) nothing is used that is gone or left over.
 */
#include "client_fixture.h"

#include <sys/un.h>

enum what {
	DONE_OF_CALL,
	DONE_OF_JOB,
	ITEM,
	GAP,
	CREDIT,
	END,
	END_OF_ANOTHER, /* a stream's end while all of them end */
	STATE_LOST,
	STATE_FOUND,
	ABSENT,
	DISCONNECT,
	WRITABLE,
	KINDS,
};

enum how {
	FREE_CLIENT,
	FREE_ALL,       /* the client first, then futures and streams */
	FREE_ALL_FIRST, /* futures and streams first */
	FREE_STREAMS,   /* and let the rest go on */
	DROP_FUTURES,
	WAYS,
};

static char path[64];
static int listener;
static enum what what;
static enum how how;
static struct slot_future *futures[5];
static struct slot_stream *streams[3];
static unsigned after; /* callbacks of the client and its streams after that */
static bool did;

static void
drop_futures(void)
{
	for (int i = 0; i < 5; i++) {
		slot_future_unref(futures[i]);
		futures[i] = NULL;
	}
}

static void
free_streams(void)
{
	for (int i = 0; i < 3; i++) {
		slot_stream_free(streams[i]);
		streams[i] = NULL;
	}
}

static void
free_client(void)
{
	slot_client_free(client);
	client = NULL;
}

static void
do_it(enum what here)
{
	if (did && how <= FREE_ALL_FIRST)
		after++;
	if (did || here != what)
		return;
	did = true;
	if (how == FREE_ALL_FIRST || how == FREE_STREAMS)
		free_streams();
	if (how == FREE_ALL_FIRST || how == DROP_FUTURES)
		drop_futures();
	if (how <= FREE_ALL_FIRST)
		free_client();
	if (how == FREE_ALL) {
		free_streams();
		drop_futures();
	}
}

static void
on_done(struct slot_future *f, void *arg)
{
	(void)f;
	if (!did) /* those that are settled by the end are told of it */
		do_it(*(enum what *)arg);
}

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	(void)s;
	(void)item;
	(void)arg;
	do_it(ITEM);
}

static void
on_gap(struct slot_stream *s, const json_t *gap, void *arg)
{
	(void)s;
	(void)gap;
	(void)arg;
	do_it(GAP);
}

static void
on_credit(struct slot_stream *s, uint64_t n, void *arg)
{
	(void)s;
	(void)n;
	(void)arg;
	do_it(CREDIT);
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	(void)s;
	(void)result;
	(void)error;
	(void)arg;
	do_it(code == 0 ? END : END_OF_ANOTHER);
}

static void
on_state(struct slot_client *c, enum slot_client_state state, int code, const char *why, void *arg)
{
	(void)c;
	(void)code;
	(void)why;
	(void)arg;
	do_it(state == SLOT_CLIENT_OPEN ? STATE_FOUND : STATE_LOST);
}

static void
on_absent(struct slot_client *c, unsigned attempt, void *arg)
{
	(void)c;
	(void)attempt;
	(void)arg;
	do_it(ABSENT);
}

static void
on_disconnect(struct slot_client *c, int code, const char *why, void *arg)
{
	(void)c;
	(void)code;
	(void)why;
	(void)arg;
	do_it(DISCONNECT);
}

static void
on_writable(struct slot_client *c, void *arg)
{
	(void)c;
	(void)arg;
	do_it(WRITABLE);
}

/* ---- the daemon's side ---- */

static void
listen_now(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(path, sizeof(path), "/tmp/slot-client-callbacks-%d", (int)getpid());
	unlink(path);
	strcpy(sa.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(listener, 5), 0);
}

static void
until_accepted(void)
{
	for (int waited = 0; waited < PATIENCE_MS && client != NULL; waited++) {
		server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (server >= 0)
			return;
		event_base_loop(base, EVLOOP_NONBLOCK);
		poll(NULL, 0, 1);
	}
}

static void
tell(const char *line)
{
	if (client != NULL && server >= 0)
		say(line);
}

#define GREETING(id, instance)                                                                     \
	"{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"result\":{\"protocol\":1,\"instance\":\"" instance  \
	"\",\"session\":\"s\",\"features\":[\"durable\"],\"seq\":41}}\n"

/* 1 hello; 2 a call; 3, 4 and 5, 6 a subscription and two submits; 7, 8 streams; 9 as_completed
 * of two jobs; 10 a map. */
static void
open_everything(void)
{
	static enum what call = DONE_OF_CALL, job = DONE_OF_JOB;
	static const struct slot_stream_handlers handlers = { .item = on_item, .gap = on_gap,
		.credit = on_credit, .end = on_end };
	const struct slot_client_options options = { .name = "t", .reconnect = true,
		.out_limit = 4000, .on_state = on_state, .on_absent = on_absent,
		.on_disconnect = on_disconnect, .on_writable = on_writable };
	const uint64_t ids[] = { 500, 501 };

	listen_now();
	base = event_base_new();
	loop = slot_loop_new(base);
	did = false;
	after = 0;
	client = slot_client_connect(loop, path, &options, NULL);
	until_accepted();
	tell(GREETING(1, "i"));
	futures[0] = slot_client_call(client, "job.list", NULL, NULL);
	futures[1] = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);
	futures[2] = slot_client_submit(client, json_pack("{s:[s]}", "argv", "x"), NULL);
	streams[0] = slot_client_stream(client, "events.subscribe", NULL, &handlers, NULL, NULL);
	streams[1] = slot_client_stream(client, "output.follow", json_pack("{s:i}", "job", 7),
	    &handlers, NULL, NULL);
	ck_assert_int_eq(slot_client_attach(client, ids, 2, futures + 3), 0);
	streams[2] = slot_client_stream(client, "map.open", json_pack("{s:i}", "limit", 1),
	    &handlers, NULL, NULL);
	slot_future_add_done_callback(futures[0], on_done, &call);
	for (int i = 1; i < 5; i++)
		slot_future_add_done_callback(futures[i], on_done, &job);
	settle();
}

static void
fill(void)
{
	char text[1001];

	memset(text, 'x', sizeof(text) - 1);
	text[1000] = '\0';
	while (slot_client_writable(client))
		slot_future_unref(slot_client_call(client, "x", json_pack("{s:s}", "t", text), NULL));
}

static void
die(void)
{
	close(listener);
	unlink(path);
	if (server >= 0)
		hang_up();
}

/* What leads to each of the callbacks; some lines lead to several at once. */
static void
provoke(void)
{
	switch (what) {
	case DONE_OF_CALL:
		tell("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
		break;
	case DONE_OF_JOB:
		tell("{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"job\":101}}\n"
		     "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":4,\"job\":101,"
		     "\"seq\":44,\"ok\":true,\"outcome\":\"exited\"}}\n"
		     "{\"jsonrpc\":\"2.0\",\"id\":6,\"result\":{\"job\":102}}\n");
		break;
	case ITEM:
		tell("{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":8,\"fd\":1,"
		     "\"off\":0,\"data\":\"x\"}}\n"
		     "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\",\"params\":{\"stream\":8,\"fd\":1,"
		     "\"off\":1,\"data\":\"x\"}}\n");
		break;
	case GAP:
		tell("{\"jsonrpc\":\"2.0\",\"method\":\"$/gap\",\"params\":{\"stream\":7}}\n"
		     "{\"jsonrpc\":\"2.0\",\"method\":\"$/gap\",\"params\":{\"stream\":7}}\n");
		break;
	case CREDIT:
		tell("{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":10,\"n\":1}}\n"
		     "{\"jsonrpc\":\"2.0\",\"method\":\"$/credit\",\"params\":{\"stream\":10,\"n\":1}}\n");
		break;
	case END:
		tell("{\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n"
		     "{\"jsonrpc\":\"2.0\",\"id\":10,\"result\":{}}\n");
		break;
	case END_OF_ANOTHER: /* another instance: all that was open fails, the client goes on */
	case STATE_LOST:
	case STATE_FOUND:
		die();
		listen_now();
		until_accepted();
		tell(what == END_OF_ANOTHER ? GREETING(11, "j") : GREETING(11, "i"));
		break;
	case ABSENT:
		die();
		for (int waited = 0; waited < PATIENCE_MS && !did; waited++) {
			event_base_loop(base, EVLOOP_NONBLOCK);
			poll(NULL, 0, 1);
		}
		break;
	case DISCONNECT:
		tell("nonsense\n");
		break;
	case WRITABLE:
		fill();
		while (!did)
			free(next_line());
		break;
	case KINDS:
		break;
	}
}

START_TEST(anything_in_any_callback)
{
	what = (enum what)(_i / WAYS);
	how = (enum how)(_i % WAYS);
	open_everything();
	provoke();
	ck_assert(did);
	settle();
	ck_assert_uint_eq(after, 0);
	ck_assert(how > FREE_ALL_FIRST || client == NULL);
	slot_client_free(client);
	client = NULL;
	for (int i = 0; i < 5; i++)
		ck_assert(futures[i] == NULL || slot_future_done(futures[i]));
	for (int i = 0; i < 3; i++)
		ck_assert(streams[i] == NULL || !slot_stream_open(streams[i]));
	free_streams();
	drop_futures();
	settle();
	slot_loop_free(loop);
	event_base_free(base);
	close(listener);
	unlink(path);
	if (server >= 0)
		close(server);
	heard_len = 0;
	free(heard);
	heard = NULL;
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client_callbacks");
	TCase *tc = tcase_create("callbacks");

	tcase_add_loop_test(tc, anything_in_any_callback, 0, KINDS * WAYS);
	suite_add_tcase(suite, tc);
	return run_client_suite(suite);
}
