/* Counters and distributions; see stats.h. */
#include "engine/context.h"
#include "engine/session.h"
#include "engine/request.h"
#include "engine/shelf.h"

#include <sys/resource.h>

static unsigned
bucket_of(uint64_t v)
{
	unsigned bits;

	if (v < 8)
		return (unsigned)v;
	bits = 63 - (unsigned)__builtin_clzll(v);
	return (bits - 2) * 8 + (unsigned)(v >> (bits - 3) & 7);
}

static int64_t
bucket_top(unsigned b)
{
	unsigned bits = b / 8 + 2;

	if (b < 8)
		return b;
	return (int64_t)(((uint64_t)(8 + b % 8 + 1) << (bits - 3)) - 1);
}

void
histogram_add(struct histogram *h, int64_t us)
{
	unsigned b = bucket_of(us > 0 ? (uint64_t)us : 0);

	h->buckets[b < STATS_BUCKETS ? b : STATS_BUCKETS - 1]++;
	h->total++;
	if (us > h->max)
		h->max = us;
}

int64_t
histogram_percentile(const struct histogram *h, unsigned percent)
{
	uint64_t want = (h->total * percent + 99) / 100, seen = 0;

	if (h->total == 0)
		return 0;
	for (unsigned b = 0; b < STATS_BUCKETS; b++) {
		seen += h->buckets[b];
		if (seen >= want && seen > 0)
			return bucket_top(b) < h->max ? bucket_top(b) : h->max;
	}
	return h->max;
}

static struct msg_percentiles
percentiles(const struct histogram *h)
{
	return (struct msg_percentiles){
		.p50 = histogram_percentile(h, 50),
		.p90 = histogram_percentile(h, 90),
		.p99 = histogram_percentile(h, 99),
		.max = h->max,
	};
}

static void
count_requests(const struct engine *e, struct msg_stats *out)
{
	const struct session *s;

	out->streams = out->in_flight = 0;
	TAILQ_FOREACH(s, &e->sessions, entry) {
		out->streams += s->nstreams;
		out->in_flight += s->nwaiting;
	}
}

static void
fill_journal(const struct engine *e, struct msg_stats *out)
{
	struct store_stats s = { .durability = "" };

	e->store->ops->stats(e->store, &s);
	out->has_journal = true;
	out->journal = (struct msg_journal){
		.durability = s.durability,
		.bytes = s.bytes,
		.wal_bytes = s.wal_bytes,
		.commits = (int64_t)s.commits,
		.commit_p50_us = s.commit_p50_us,
		.commit_p99_us = s.commit_p99_us,
		.oldest_seq = (int64_t)s.oldest_seq,
		.degraded = s.degraded,
		.shelved = (int64_t)shelf_count(e),
	};
}

void
stats_fill(const struct engine *e, struct msg_stats *out)
{
	const struct stats *s = &e->stats;
	struct rusage self;

	msg_stats_init(out);
	out->uptime_ms = (slot_loop_now_us(e->loop) - s->started_us) / 1000;
	out->max_running = e->limits.max_running;
	out->running = slot_executor_running(e->executor);
	out->running_jobs = (int64_t)e->nrunning;
	out->pending = (int64_t)e->npending;
	out->peak_running = s->peak_running;
	out->submitted = (int64_t)s->submitted;
	out->started = (int64_t)s->started;
	out->completed = (int64_t)s->completed;
	out->ok = (int64_t)s->ok;
	out->failed = (int64_t)s->failed;
	out->cancelled = (int64_t)s->cancelled;
	out->lost = (int64_t)s->lost;
	out->retries = (int64_t)s->retries;
	out->seq = (int64_t)e->published_seq;
	out->history = (int64_t)e->store->ndone;
	out->connections = e->nsessions;
	out->held = e->nheld;
	out->pending_bytes = e->pending_bytes;
	out->output_bytes = capture_pool_bytes(e->captures);
	out->bytes_in = (int64_t)s->bytes_in;
	out->bytes_out = (int64_t)s->bytes_out;
	out->turns = (int64_t)s->turns;
	if (getrusage(RUSAGE_SELF, &self) == 0)
		out->max_rss_kib = self.ru_maxrss;
	out->paused = e->all_paused || e->limits.max_running == 0;
	out->draining = e->drain != DRAIN_OFF;
	out->wait_us = percentiles(&s->wait);
	out->run_us = percentiles(&s->run);
	count_requests(e, out);
	if (e->store->durable)
		fill_journal(e, out);
}
