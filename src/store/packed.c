/* Rows within their specs; see packed.h. */
#include "store/packed.h"

#include "store/read.h"

#include <stdlib.h>
#include <string.h>

#define SPEC_WORDS (sizeof(struct spec) / sizeof(uint32_t)) /* of its fixed part */
#define ODD_WORDS 22 /* as many as there is room for */

struct packed { /* over the fixed part of a spec; what comes behind that stays where it is */
	int64_t submitted_us;
	struct env_blob *env; /* counted */
	const char *queue;
	uint32_t uid;
	uint32_t cost;
	uint32_t odd; /* bit i: word i of the spec isn't as in `usual` … */
	int16_t priority;
	uint32_t words[ODD_WORDS]; /* … and stands here, one after another */
};
_Static_assert(SPEC_WORDS <= 32, "a bit for each word");
_Static_assert(sizeof(struct packed) <= sizeof(struct spec), "it has room in there");

/* What most specs have. Whatever stands here, packed rows come back right. */
static const struct spec usual = {
	.flags = SPEC_CAPTURE_OUT | SPEC_CAPTURE_ERR,
	.body_off = sizeof(struct spec),
	.slots = 1,
	.output_limit = -1,
	.grace_ms = -1,
};

static bool
is_plain(const struct row *row)
{
	return row->phase == ROW_PENDING && row->waits == ROW_PLAIN && row->attempt == 0 &&
	    row->run == NULL && row->output == NULL && row->pins == 0 && !row->hold &&
	    !row->env_dropped && row->spec->key_off == 0;
}

struct packed *
packed_make(struct row *row)
{
	struct packed p = {
		.submitted_us = row->submitted_us,
		.env = row->env,
		.queue = row->queue,
		.uid = row->uid,
		.cost = row->cost,
		.priority = row->priority,
	};
	uint32_t was[SPEC_WORDS], is[SPEC_WORDS];
	void *at = row->spec;
	size_t n = 0;

	if (!is_plain(row))
		return NULL;
	memcpy(was, &usual, sizeof was);
	memcpy(is, row->spec, sizeof is);
	for (size_t i = 0; i < SPEC_WORDS; i++) {
		if (is[i] == was[i])
			continue;
		if (n == ODD_WORDS)
			return NULL;
		p.odd |= UINT32_C(1) << i;
		p.words[n++] = is[i];
	}
	row->spec = NULL;
	row->env = NULL;
	return memcpy(at, &p, sizeof p);
}

struct row *
packed_open(struct packed *at, uint64_t id)
{
	const struct packed p = *at;
	uint32_t words[SPEC_WORDS];
	struct row *row = row_new(NULL, p.env);
	size_t n = 0;

	if (row == NULL)
		return NULL;
	memcpy(words, &usual, sizeof words);
	for (size_t i = 0; i < SPEC_WORDS; i++)
		if (p.odd >> i & 1)
			words[i] = p.words[n++];
	row->spec = memcpy((void *)at, words, sizeof words);
	row->id = id;
	row->submitted_us = p.submitted_us;
	row->queue = p.queue;
	row->uid = p.uid;
	row->cost = p.cost;
	row->priority = p.priority;
	return row;
}

void
packed_free(struct env_table *envs, struct packed *p)
{
	env_unref(envs, p->env);
	free(p);
}

uint32_t
packed_uid(const struct packed *p)
{
	return p->uid;
}

bool
packed_may_pass(const struct packed *p, const struct store_filter *f)
{
	const struct row row = {
		.submitted_us = p->submitted_us,
		.queue = p->queue,
		.uid = p->uid,
		.phase = ROW_PENDING,
	};
	struct store_filter but_name = *f;

	but_name.name = NULL;
	return read_passes(&but_name, &row);
}
