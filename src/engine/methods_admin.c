/* hello, limits.*, drain, stats.get, metrics.get, admin.reload, rpc.discover. */
#include "engine/methods.h"
#include "engine/settings.h"
#include "engine/submit.h"
#include "engine/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
fill_limits(const struct engine *e, struct msg_limits *out)
{
	const struct engine_limits *l = &e->limits;

	msg_limits_init(out);
	out->max_running = l->max_running;
	out->max_pending = (int64_t)l->max_pending;
	out->max_pending_bytes = l->max_pending_bytes;
	out->max_in_flight = l->max_in_flight;
	out->max_connections = l->max_connections;
	out->max_connections_per_uid = l->max_connections_per_uid != 0 ?
	    (int64_t)l->max_connections_per_uid : MSG_NULL;
	out->max_watched = SESSION_WATCH_MAX;
	out->output_limit = l->output_limit;
	out->stall_timeout_ms = l->stall_timeout_ms;
	out->bound_grace_ms = l->bound_grace_ms;
}

static const char *const features[] = {
	"after", "bound", "completions", "delay", "events", "fds", "follow", "keys", "map",
	"queues", "retries", "stdin", "tty", "with_output",
	"durable", /* the last: not where the store is memory */
};

static void
on_hello(struct request *req)
{
	const struct msg_hello *p = &req->call.u.hello;
	struct engine *e = req->engine;
	struct session *s = req->session;
	struct msg_hello_result result = {
		.protocol = 1,
		.server = e->options.version,
		.instance = e->instance,
		.uid = s->uid,
		.features = { features, sizeof features / sizeof *features - !e->store->durable },
		.seq = (int64_t)e->published_seq,
	};
	bool speaks = p->protocol.n == 0;

	for (size_t i = 0; i < p->protocol.n; i++)
		speaks |= p->protocol.v[i] == 1;
	if (!speaks) {
		request_bad_param(req, "protocol", "this daemon speaks protocol 1 only");
		return;
	}
	if (p->session != NULL && session_take_over(s, p->session) < 0) {
		request_error(req, RPC_INVALID_STATE, "bound jobs were submitted on this connection "
		    "already: give the session before that");
		return;
	}
	result.session = s->token;
	fill_limits(e, &result.limits);
	request_reply(req, &result);
}

/* ---- limits ---- */

static void
reply_limits(struct request *req)
{
	struct msg_limits limits;

	fill_limits(req->engine, &limits);
	request_reply(req, &limits);
}

static void
on_limits_set(struct request *req)
{
	const struct msg_limits_set *p = &req->call.u.limits_set;
	struct engine *e = req->engine;
	const struct engine_limits *configured = &e->options.limits;

	if (request_refused_degraded(req))
		return;
	if (p->reset) {
		settings_reset_limits(e);
		e->limits.max_running = configured->max_running;
		e->limits.max_pending = configured->max_pending;
		e->limits.max_pending_bytes = configured->max_pending_bytes;
	}
	if (p->max_running != MSG_NULL) {
		e->limits.max_running = (uint32_t)p->max_running;
		settings_keep_limit(e, LIMIT_RUNNING);
	}
	if (p->max_pending != MSG_NULL) {
		e->limits.max_pending = (uint64_t)p->max_pending;
		settings_keep_limit(e, LIMIT_PENDING);
	}
	if (p->max_pending_bytes != MSG_NULL) {
		e->limits.max_pending_bytes = p->max_pending_bytes;
		settings_keep_limit(e, LIMIT_PENDING_BYTES);
	}
	engine_apply_limits(e);
	reply_limits(req);
}

/* ---- drain ---- */

static const struct request_ops drain_ops = { 0 };

static void
reply_drain(struct request *req, const char *mode)
{
	struct msg_drain_result result = { .mode = mode };

	req->ops = NULL;
	request_reply(req, &result);
}

static const char *
mode_name(int mode)
{
	switch ((enum msg_drain_mode)mode) {
	case MSG_DRAIN_FINISH:
		return "finish";
	case MSG_DRAIN_CANCEL:
		return "cancel";
	case MSG_DRAIN_OFF:
		return "off";
	}
	return "off";
}

void
methods_admin_idle(struct engine *e)
{
	struct request *req;

	while ((req = TAILQ_FIRST(&e->drains)) != NULL)
		reply_drain(req, mode_name(req->call.u.drain.mode));
}

static void
drain_off(struct request *req)
{
	struct engine *e = req->engine;
	struct request *other;

	e->drain = DRAIN_OFF;
	while ((other = TAILQ_FIRST(&e->drains)) != NULL) {
		other->ops = NULL;
		request_error(other, RPC_INVALID_STATE, "another request ended the drain");
	}
	reply_drain(req, "off");
}

static void
on_drain(struct request *req)
{
	const struct msg_drain *p = &req->call.u.drain;
	struct engine *e = req->engine;

	if (p->mode == MSG_DRAIN_OFF) {
		drain_off(req);
		return;
	}
	if (!request_may_wait(req))
		return;
	e->drain = DRAIN_ON;
	request_wait(req, &drain_ops, NULL);
	request_enlist(req, &e->drains);
	submit_retry_held(e);
	if (p->mode == MSG_DRAIN_CANCEL)
		engine_cancel_all(e, MSG_REASON_CLIENT);
	engine_check_idle(e);
}

/* ---- the rest ---- */

static void
on_stats(struct request *req)
{
	struct msg_stats stats;

	stats_fill(req->engine, &stats);
	request_reply(req, &stats);
}

/* OpenMetrics text: one family a line pair, as the format wants it. */
struct metric {
	const char *name, *type, *help;
	int64_t value;
};

static int
metrics_write(FILE *f, const struct msg_stats *s)
{
	const struct metric metrics[] = {
		{ "slotd_max_running_slots", "gauge", "Slots that may be in use.", s->max_running },
		{ "slotd_running_slots", "gauge", "Slots in use.", s->running },
		{ "slotd_running_jobs", "gauge", "Jobs that run.", s->running_jobs },
		{ "slotd_pending_jobs", "gauge", "Jobs that wait.", s->pending },
		{ "slotd_connections", "gauge", "Clients.", s->connections },
		{ "slotd_output_bytes", "gauge", "Kept output.", s->output_bytes },
		{ "slotd_submitted_jobs", "counter", "Jobs submitted.", s->submitted },
		{ "slotd_started_attempts", "counter", "Attempts started.", s->started },
		{ "slotd_completed_jobs", "counter", "Jobs done.", s->completed },
		{ "slotd_ok_jobs", "counter", "Jobs done well.", s->ok },
		{ "slotd_failed_jobs", "counter", "Jobs failed.", s->failed },
		{ "slotd_cancelled_jobs", "counter", "Jobs cancelled.", s->cancelled },
	};

	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
		const struct metric *m = &metrics[i];
		const char *suffix = strcmp(m->type, "counter") == 0 ? "_total" : "";

		fprintf(f, "# TYPE %s %s\n# HELP %s %s\n%s%s %lld\n", m->name, m->type, m->name,
		    m->help, m->name, suffix, (long long)m->value);
	}
	fputs("# EOF\n", f);
	return ferror(f) ? -1 : 0;
}

static void
on_metrics(struct request *req)
{
	struct msg_stats stats;
	struct msg_metrics_result result;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int rc = -1;

	stats_fill(req->engine, &stats);
	if (f != NULL) {
		rc = metrics_write(f, &stats);
		if (fclose(f) != 0)
			rc = -1;
	}
	if (rc < 0) {
		request_no_memory(req);
	} else {
		result.text = text;
		request_reply(req, &result);
	}
	free(text);
}

static void
on_reload(struct request *req)
{
	struct engine *e = req->engine;
	struct msg_reload_result result = { { NULL, 0 } };
	const char *error = "this daemon has no configuration to reload";
	const char *const *changed = NULL;

	if (e->options.on_reload != NULL)
		changed = e->options.on_reload(e->options.arg, &error);
	if (changed == NULL) {
		request_error(req, RPC_INVALID_STATE, "%s", error);
		return;
	}
	result.changed.v = changed;
	while (changed[result.changed.n] != NULL)
		result.changed.n++;
	request_reply(req, &result);
}

static void
on_discover(struct request *req)
{
	struct jsonw w;

	request_result_begin(req, &w);
	msg_discover_write(&w, req->engine->options.version);
	request_result_end(req, &w);
}

const struct request_method methods_admin[] = {
	{ M_HELLO, on_hello },
	{ M_LIMITS_GET, reply_limits },
	{ M_LIMITS_SET, on_limits_set },
	{ M_DRAIN, on_drain },
	{ M_STATS_GET, on_stats },
	{ M_METRICS_GET, on_metrics },
	{ M_ADMIN_RELOAD, on_reload },
	{ M_RPC_DISCOVER, on_discover },
	{ 0, NULL },
};
