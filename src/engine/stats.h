#ifndef ENGINE_STATS_H
#define ENGINE_STATS_H
/*
 * Counters and distributions since the start. A histogram has 8 buckets to each power of two:
 * percentiles are right within 9 %.
 */
#include "wire/message.h"

struct engine;

#define STATS_BUCKETS 320

struct histogram {
	uint64_t total;
	int64_t max;
	uint32_t buckets[STATS_BUCKETS];
};

struct stats {
	int64_t started_us; /* monotonic */
	uint64_t submitted, started, completed, ok, failed, cancelled, lost, retries;
	uint64_t bytes_in, bytes_out, turns;
	uint32_t peak_running;
	struct histogram wait, run;
};

void histogram_add(struct histogram *h, int64_t us);
/* The value that `percent` of all don't exceed; 0 when there is none. */
int64_t histogram_percentile(const struct histogram *h, unsigned percent);

/* A picture of now. */
void stats_fill(const struct engine *e, struct msg_stats *out);

#endif
