/* A dense array with a hash by pid beside it. */
#include "launcher/kin.h"

#include <string.h>

#include "launcher/sys.h"
#include "launcher/table.h"

#define BUCKETS 4096u /* a power of two */

int kin_init(struct kin *k)
{
	memset(k, 0, sizeof(*k));
	k->list = sys_map(KIN_MAX * sizeof(*k->list));
	k->buckets = sys_map(BUCKETS * sizeof(*k->buckets));
	if (!k->list || !k->buckets)
		return -1;
	memset(k->buckets, 0xff, BUCKETS * sizeof(*k->buckets));
	return 0;
}

static uint32_t *bucket_of(struct kin *k, pid_t pid)
{
	return &k->buckets[(uint32_t)pid & (BUCKETS - 1)];
}

/* The link that leads to the process at `index`. */
static uint32_t *link_to(struct kin *k, uint32_t index)
{
	uint32_t *link = bucket_of(k, k->list[index].pid);

	while (*link != index)
		link = &k->list[*link].next;
	return link;
}

struct kin_process *kin_find(struct kin *k, pid_t pid)
{
	uint32_t i = *bucket_of(k, pid);

	while (i != JOB_NONE && k->list[i].pid != pid)
		i = k->list[i].next;
	return i == JOB_NONE ? NULL : &k->list[i];
}

struct kin_process *kin_add(struct kin *k, pid_t pid, uint64_t start)
{
	uint32_t i = k->count;

	if (i == KIN_MAX) {
		k->overflowed = true;
		return NULL;
	}
	k->list[i] = (struct kin_process){
	    .pid = pid, .start = start, .owner = JOB_NONE, .next = *bucket_of(k, pid)};
	*bucket_of(k, pid) = i;
	k->count++;
	return &k->list[i];
}

void kin_remove(struct kin *k, struct kin_process *p)
{
	uint32_t i = (uint32_t)(p - k->list), last = k->count - 1;

	*link_to(k, i) = p->next;
	if (i != last) {
		*link_to(k, last) = i;
		k->list[i] = k->list[last];
	}
	k->count--;
}
