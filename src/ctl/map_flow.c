/*
 * The flow of map: jobs in as the daemon gives credit (map_push.c), completions out as they are
 * printed (map_print.c), and how it ends. Every callback only notes what happened; flow() then
 * does what can be done.
 */
#include <event2/event.h>

#include "ctl/map.h"
#include "ctl/outcome.h"

#define FLOW_CANCEL_IDS 16384
/* So much of the window is credited, and filled again, with one message; less waits so long. */
#define FLOW_CREDIT_SHARE 8
#define FLOW_CREDIT_US 2000

void
map_flow_kick(struct map *m)
{
	if (m->kick != NULL)
		event_active(m->kick, EV_TIMEOUT, 0);
}

void
map_flow_stop_input(struct map *m)
{
	m->input_over = true;
}

/* Ends all jobs; those that were pushed and have no id yet, too. */
static void
cancel_all(struct map *m)
{
	map_flow_stop_input(m);
	m->halted = MAP_CANCELS;
	if (m->stream != NULL && !m->stream_over)
		slot_stream_cancel(m->stream);
	map_flow_kick(m);
}

void
map_flow_fail(struct map *m, int status)
{
	if (m->failure == 0)
		m->failure = status;
	cancel_all(m);
}

/* ---- calls ---- */

bool
map_flow_call(struct map *m, const char *method, json_t *params, slot_future_cb done, void *arg)
{
	struct slot_future *f = slot_client_call(m->ctl->client, method, params, NULL);
	bool sent = f != NULL && slot_future_add_done_callback(f, done, arg) == 0;

	slot_future_unref(f);
	m->ncalls += sent;
	return sent;
}

/* ---- --halt soon ---- */

/* The calls in flight may end when the client is gone already: the flow does what follows. */
static void
on_held(struct slot_future *f, void *arg)
{
	struct map *m = arg;
	void *job = NULL;

	m->ncalls--;
	if (slot_future_result(f, &job) == 0)
		json_array_append(m->held, json_object_get(job, "job"));
	map_flow_kick(m);
}

/* False: there is no room for more. */
static bool
cancel_held(struct map *m)
{
	for (size_t n = json_array_size(m->held); n > 0; n--) {
		struct slot_future *f = slot_client_call(m->ctl->client, "job.cancel",
		    json_pack("{s:[O]}", "jobs", json_array_get(m->held, n - 1)), NULL);

		if (f == NULL)
			return false;
		slot_future_unref(f);
		json_array_remove(m->held, n - 1);
	}
	return true;
}

/* What still waits is held, which can't be done to one that runs, and then cancelled: as many as
 * there is room for; on_writable goes on. */
static void
drop_pending(struct map *m)
{
	if (m->halted != MAP_STOPS || m->stream_over || !cancel_held(m))
		return;
	for (; m->drop_seq <= m->seq; m->drop_seq++) {
		struct map_item *item = map_items_find(&m->items, m->drop_seq);

		if (item == NULL || item->completion != NULL || item->job == 0 || item->dropped)
			continue;
		if (!map_flow_call(m, "job.set", json_pack("{s:I, s:b}", "job",
			(json_int_t)item->job, "hold", 1), on_held, m))
			return;
		item->dropped = true;
	}
}

void
map_flow_drop_from(struct map *m, int64_t seq)
{
	if (seq < m->drop_seq)
		m->drop_seq = seq;
	map_flow_kick(m);
}

static void
halt_soon(struct map *m)
{
	const struct map_item *first = TAILQ_FIRST(&m->items.order);

	map_flow_stop_input(m);
	m->halted = MAP_STOPS;
	m->drop_seq = first != NULL ? first->seq : m->seq;
	map_flow_kick(m);
}

void
map_flow_count(struct map *m, int64_t seq, bool ok, int status)
{
	if (ok) {
		m->nok++;
		return;
	}
	m->nfailed++;
	if (m->options.halt.when == MAP_HALT_NEVER || m->halted != MAP_GOES_ON ||
	    m->nfailed < m->options.halt.fails)
		return;
	m->halt_seq = seq;
	m->halt_status = status;
	if (m->options.halt.when == MAP_HALT_NOW)
		cancel_all(m);
	else
		halt_soon(m);
}

/* ---- ending ---- */

static void
on_ended(struct slot_future *f, void *arg)
{
	struct map *m = arg;

	m->ncalls--;
	int code = slot_future_result(f, NULL);

	if (code != 0 && m->halted != MAP_CANCELS && m->failure == 0 &&
	    !map_again_explains(m, code))
		map_flow_fail(m, ctl_failure(m->ctl, f));
}

/* Not before everything is printed: as long as the map is open the daemon keeps the output of
 * what wasn't consumed, whatever its history's bounds. */
static void
send_end(struct map *m)
{
	if (m->end_sent || !m->input_over || m->npushes > 0 || m->items.count > 0 ||
	    m->nagain > 0 ||
	    m->halted == MAP_CANCELS || m->stream_over)
		return;
	m->end_sent = true;
	if (!map_flow_call(m, "map.end",
		json_pack("{s:I}", "stream", (json_int_t)slot_stream_id(m->stream)), on_ended, m))
		map_flow_fail(m, ctl_error("the daemon can't be told of the end"));
}

static void
on_gone(struct slot_future *f, void *arg)
{
	struct map *m = arg;

	(void)f;
	m->ncalls--;
	m->waiting = false;
	map_flow_kick(m);
}

/* What was cancelled may need its grace: the jobs are waited for as `cancel` does. */
static void
wait_for_the_cancelled(struct map *m)
{
	const struct map_item *item;
	json_t *ids = json_array();

	m->waited = true;
	TAILQ_FOREACH(item, &m->items.order, in_order) {
		if (item->completion == NULL && item->job != 0 &&
		    json_array_size(ids) < FLOW_CANCEL_IDS)
			json_array_append_new(ids, json_integer(item->job));
	}
	if (json_array_size(ids) == 0 || !slot_client_connected(m->ctl->client)) {
		json_decref(ids);
		return;
	}
	m->waiting = map_flow_call(m, "job.cancel", json_pack("{s:o, s:b}", "jobs", ids, "wait", 1),
	    on_gone, m);
}

/* The stream is over: what isn't done by now never will be. */
static void
drop_unfinished(struct map *m)
{
	struct map_item *item, *next;

	for (item = TAILQ_FIRST(&m->items.order); item != NULL; item = next) {
		next = TAILQ_NEXT(item, in_order);
		if (item->completion == NULL)
			map_items_remove(&m->items, item);
	}
}

static bool
is_over(const struct map *m)
{
	if (!m->stream_over || m->npushes > 0 || m->waiting)
		return false;
	/* Interrupted, nobody waits for a reader of our output. */
	return m->signo != 0 || (m->items.count == 0 && map_print_is_idle(m));
}

/* What is consumed makes room in the window. */
static void
give_credit(struct map *m)
{
	const struct timeval pause = { .tv_usec = FLOW_CREDIT_US };

	if (m->consumed == 0 || m->stream_over)
		return;
	if (m->consumed < m->window / FLOW_CREDIT_SHARE && !m->credit_due &&
	    (event_pending(m->credit_timer, EV_TIMEOUT, NULL) ||
		event_add(m->credit_timer, &pause) == 0))
		return;
	if (slot_stream_credit(m->stream, (uint64_t)m->consumed) != 0)
		return;
	m->consumed = 0;
	m->credit_due = false;
	event_del(m->credit_timer);
}

static void
flow(struct map *m)
{
	if (m->signo == 0)
		map_print(m);
	give_credit(m);
	drop_pending(m);
	map_push(m);
	send_end(m);
	if (m->stream_over && m->npushes == 0) {
		if (!m->waited && m->halted == MAP_CANCELS)
			wait_for_the_cancelled(m);
		drop_unfinished(m);
		if (m->signo == 0)
			map_print(m);
	}
	if (is_over(m))
		slot_future_set_result(m->over, NULL, NULL);
}

static void
on_kick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flow(arg);
}

static void
on_credit_timer(evutil_socket_t fd, short what, void *arg)
{
	struct map *m = arg;

	(void)fd;
	(void)what;
	m->credit_due = true;
	flow(m);
}

/* ---- the stream ---- */

static void
on_item(struct slot_stream *s, const json_t *object, void *arg)
{
	struct map *m = arg;
	json_int_t seq = json_integer_value(json_object_get(object, "tag"));
	struct map_item *item = map_items_find(&m->items, seq);
	bool ok = json_is_true(json_object_get(object, "ok"));

	(void)s;
	if (item == NULL || item->completion != NULL)
		return;
	item->job = json_integer_value(json_object_get(object, "job"));
	/* The object is this notification's own: a reference keeps it. */
	map_items_done(&m->items, item, (json_t *)(uintptr_t)object);
	map_flow_count(m, seq, ok, ok ? 0 : outcome_exit_status(object));
	map_flow_kick(m);
}

static void
on_credit(struct slot_stream *s, uint64_t n, void *arg)
{
	struct map *m = arg;

	(void)s;
	m->credit += (int64_t)n;
	map_flow_kick(m);
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	struct map *m = arg;

	(void)s;
	(void)result;
	if (map_again_begin(m, code)) {
		map_flow_kick(m);
		return;
	}
	m->stream_over = true;
	map_flow_stop_input(m);
	if (code != 0 && !(code == -SLOT_ECANCELLED && m->halted == MAP_CANCELS) &&
	    m->failure == 0) {
		map_print_no_progress(m);
		m->failure = ctl_rpc_failure(m->ctl, code, error);
		if (m->options.joblog != NULL)
			ctl_note("map --resume --joblog %s does what is not in that file",
			    m->options.joblog);
	}
	map_flow_kick(m);
}

/* ---- signals, time ---- */

static void
on_signal(int signo, void *arg)
{
	struct map *m = arg;
	bool again = m->signo != 0;

	m->signo = signo;
	if (again)
		slot_future_set_result(m->over, NULL, NULL);
	else
		cancel_all(m);
}

static void
on_progress(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	map_print_progress(arg);
}

static void
on_writable(struct ctl *ctl, void *arg)
{
	(void)ctl;
	map_flow_kick(arg);
}

/* ---- life ---- */

static int
start_progress(struct map *m)
{
	const struct timeval each = { .tv_sec = 1 };

	if (!m->options.progress)
		return 0;
	m->progress = event_new(m->ctl->base, -1, EV_PERSIST, on_progress, m);
	return m->progress != NULL ? event_add(m->progress, &each) : -1;
}

int
map_flow_open(struct map *m)
{
	const struct slot_stream_handlers handlers = { .item = on_item, .credit = on_credit,
		.end = on_end };
	json_t *params = json_pack("{s:I, s:I, s:I, s:O}", "limit", (json_int_t)m->window, "window",
	    (json_int_t)m->window, "with_output", (json_int_t)m->with_output, "defaults",
	    m->defaults);
	int code = 0;

	m->stream = slot_client_stream(m->ctl->client, "map.open", params, &handlers, m, &code);
	return m->stream != NULL ? 0 : code;
}

int
map_flow_start(struct map *m)
{

	m->over = slot_future_new(m->ctl->loop);
	m->kick = event_new(m->ctl->base, -1, 0, on_kick, m);
	m->credit_timer = evtimer_new(m->ctl->base, on_credit_timer, m);
	m->held = json_array();
	if (m->over == NULL || m->kick == NULL || m->credit_timer == NULL || m->held == NULL ||
	    start_progress(m) != 0 || map_items_init(&m->items, m->window) != 0 ||
	    map_print_init(m) != 0)
		return ctl_error("out of memory");
	if (ctl_interrupt_init(&m->interrupt, m->ctl, on_signal, m) != 0)
		return CTL_EXIT_FAILURE;
	m->ctl->on_writable = on_writable;
	m->ctl->handler_arg = m;
	map_again_init(m);
	int code = map_flow_open(m);

	if (code == 0)
		return 0;
	return code == -SLOT_EINVAL ? ctl_error("the environment is longer than 1 MiB")
				    : ctl_rpc_failure(m->ctl, code, NULL);
}

/* The calls in flight fail with the connection; what they would tell is no news any more. */
static void
end_calls(struct map *m)
{
	m->halted = MAP_CANCELS;
	m->stream_over = true;
	m->failure = CTL_EXIT_FAILURE;
	if (m->ncalls == 0)
		return;
	m->ctl->quitting = true;
	slot_client_free(m->ctl->client);
	m->ctl->client = NULL;
	while (m->ncalls > 0 && event_base_loop(m->ctl->base, EVLOOP_NONBLOCK) == 0)
		;
}

void
map_flow_fini(struct map *m)
{
	m->ctl->on_writable = NULL;
	ctl_interrupt_fini(&m->interrupt);
	if (m->progress != NULL)
		event_free(m->progress);
	if (m->kick != NULL)
		event_free(m->kick);
	if (m->credit_timer != NULL)
		event_free(m->credit_timer);
	m->progress = m->kick = m->credit_timer = NULL;
	slot_stream_free(m->stream);
	m->stream = NULL;
	end_calls(m);
	json_decref(m->held);
	map_print_fini(m);
	map_items_fini(&m->items);
	slot_future_unref(m->over);
}
