/* Rows as few bytes; see packed.h. */
#include "store/packed.h"

#include "store/read.h"

#include <stdlib.h>
#include <string.h>

#define WORDS (sizeof(struct spec) / sizeof(uint32_t)) /* of a spec's fixed part */

struct packed {
	int64_t submitted_us;
	struct env_blob *env; /* counted */
	const char *queue;
	uint32_t uid;
	uint32_t cost;
	uint32_t differ; /* bit i: word i of the spec isn't as in `usual` … */
	int16_t priority;
	unsigned char bytes[]; /* … and stands here; then what the spec has beyond its fixed part */
};
_Static_assert(sizeof(struct spec) % sizeof(uint32_t) == 0 && WORDS <= 32,
    "a bit for each word of a spec");

/* What most specs have; whatever else stands here makes packed rows larger, but not wrong. Its
 * size is nobody's: so that word is always packed, and the first. */
static const struct spec usual = {
	.flags = SPEC_CAPTURE_OUT | SPEC_CAPTURE_ERR,
	.body_off = sizeof(struct spec),
	.slots = 1,
	.output_limit = -1,
	.grace_ms = -1,
};

bool
packed_fits(const struct row *row)
{
	return row->phase == ROW_PENDING && row->waits == ROW_PLAIN && row->attempt == 0 &&
	    row->run == NULL && row->output == NULL && row->pins == 0 && !row->hold &&
	    !row->env_dropped && row->spec->key_off == 0;
}

struct packed *
packed_make(struct row *row)
{
	const struct spec *spec = row->spec;
	uint32_t was[WORDS], is[WORDS], differ = 0;
	size_t n = 0, rest = spec->size - sizeof *spec;
	struct packed *p;

	memcpy(was, &usual, sizeof was);
	memcpy(is, spec, sizeof is);
	for (size_t i = 0; i < WORDS; i++)
		if (is[i] != was[i]) {
			differ |= UINT32_C(1) << i;
			is[n++] = is[i];
		}
	p = malloc(offsetof(struct packed, bytes) + n * sizeof *is + rest);
	if (p == NULL)
		return NULL;
	p->submitted_us = row->submitted_us;
	p->env = row->env;
	p->queue = row->queue;
	p->uid = row->uid;
	p->cost = row->cost;
	p->differ = differ;
	p->priority = row->priority;
	memcpy(p->bytes, is, n * sizeof *is);
	memcpy(p->bytes + n * sizeof *is, spec + 1, rest);
	row->env = NULL;
	return p;
}

static struct spec *
open_spec(const struct packed *p)
{
	uint32_t words[WORDS], size;
	const unsigned char *at = p->bytes;
	struct spec *spec;

	memcpy(&size, at, sizeof size);
	spec = malloc(size);
	if (spec == NULL)
		return NULL;
	memcpy(words, &usual, sizeof words);
	for (size_t i = 0; i < WORDS; i++)
		if (p->differ >> i & 1) {
			memcpy(&words[i], at, sizeof words[i]);
			at += sizeof words[i];
		}
	memcpy(spec, words, sizeof words);
	memcpy(spec + 1, at, size - sizeof *spec);
	return spec;
}

struct row *
packed_open(struct packed *p, uint64_t id)
{
	struct spec *spec = open_spec(p);
	struct row *row = spec != NULL ? row_new(spec, p->env) : NULL;

	if (row == NULL) {
		free(spec);
		return NULL;
	}
	row->id = id;
	row->submitted_us = p->submitted_us;
	row->queue = p->queue;
	row->uid = p->uid;
	row->cost = p->cost;
	row->priority = p->priority;
	free(p);
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
