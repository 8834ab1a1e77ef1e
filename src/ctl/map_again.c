/*
 * map across a restart of the daemon. Its stream is gone with the connection, its jobs are not:
 * they belong to the session, which the new connection takes over, and each has a key of ours. So
 * a new stream is opened and everything that is not done is pushed again: the daemon finds the
 * jobs that it has by their keys and makes those that it never had.
 */
#include <stdio.h>
#include <sys/random.h>

#include "ctl/map.h"

void
map_again_init(struct map *m)
{
	uint64_t random[2];

	if (!ctl_has_feature(m->ctl, "durable") ||
	    getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return;
	snprintf(m->key, sizeof(m->key), "map-%016llx%016llx-", (unsigned long long)random[0],
	    (unsigned long long)random[1]);
}

json_t *
map_again_key(const struct map *m, int64_t seq)
{
	return m->key[0] != '\0' ? json_sprintf("%s%lld", m->key, (long long)seq) : NULL;
}

bool
map_again_explains(const struct map *m, int code)
{
	return m->key[0] != '\0' && code == -SLOT_EUNKNOWN;
}

/* What is known of the items, seen from a stream that has just begun. */
static void
count_items(struct map *m)
{
	struct map_item *item, *next;

	m->credit = m->consumed = m->withheld = m->nagain = 0;
	for (item = TAILQ_FIRST(&m->items.order); item != NULL; item = next) {
		next = TAILQ_NEXT(item, in_order);
		item->again = item->completion == NULL;
		item->uncounted = item->completion != NULL;
		item->dropped = false;
		m->withheld += item->uncounted;
		if (item->again && item->job == 0 && m->halted != MAP_GOES_ON) {
			map_items_remove(&m->items, item); /* it may not be there: it won't be */
			continue;
		}
		m->nagain += item->again;
	}
	item = TAILQ_FIRST(&m->items.order);
	m->again_seq = m->drop_seq = item != NULL ? item->seq : m->seq + 1;
}

bool
map_again_begin(struct map *m, int code)
{
	if (!map_again_explains(m, code) || m->failure != 0 || m->signo != 0 ||
	    m->halted == MAP_CANCELS)
		return false;
	slot_stream_free(m->stream);
	m->stream = NULL;
	m->end_sent = false;
	count_items(m);
	code = map_flow_open(m);
	if (code == 0)
		return true;
	m->failure = ctl_rpc_failure(m->ctl, code, NULL);
	return false;
}

struct map_item *
map_again_next(struct map *m)
{
	for (; m->nagain > 0 && m->again_seq <= m->seq; m->again_seq++) {
		struct map_item *item = map_items_find(&m->items, m->again_seq);

		if (item == NULL || !item->again)
			continue;
		item->again = false;
		m->nagain--;
		m->again_seq++;
		return item;
	}
	m->nagain = 0;
	return NULL;
}
