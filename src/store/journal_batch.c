/* Packed batches; see journal_batch.h. */
#include "store/journal_batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_OPS_MAX 65536 /* bytes */
#define KEPT_ROWS_MAX 1024

struct jbatch *
jbatch_new(uint64_t number)
{
	struct jbatch *b = calloc(1, sizeof *b);

	if (b != NULL)
		b->number = number;
	return b;
}

void
jbatch_free(struct jbatch *b)
{
	if (b == NULL)
		return;
	free(b->ops);
	free(b->rows);
	free(b->pruned);
	free(b);
}

bool
jbatch_clear(struct jbatch *b)
{
	struct jbatch was = *b;

	if (b->cap > KEPT_OPS_MAX || b->rows_cap > KEPT_ROWS_MAX || b->pruned != NULL)
		return false;
	*b = (struct jbatch){
		.ops = was.ops, .cap = was.ops != NULL ? was.cap : 0,
		.rows = was.rows, .rows_cap = was.rows_cap,
	};
	return true;
}

void *
jbatch_op(struct jbatch *b, enum op_kind kind, size_t size)
{
	size_t cap = b->cap != 0 ? b->cap : 1024;
	struct op *op;
	char *ops;

	size = (size + 7) & ~(size_t)7;
	while (cap - b->len < size)
		cap *= 2;
	if (cap != b->cap) {
		ops = realloc(b->ops, cap);
		if (ops == NULL)
			return NULL;
		b->ops = ops;
		b->cap = cap;
	}
	op = (struct op *)(void *)(b->ops + b->len);
	memset(op, 0, size);
	op->kind = kind;
	op->size = (uint32_t)size;
	b->len += size;
	return op;
}

int
jbatch_put_row(struct jbatch *b, enum op_kind kind, const struct row *row, uint64_t launcher)
{
	size_t n = strlen(row->queue) + 1;
	struct op_row *op = jbatch_op(b, kind, sizeof *op + n);

	if (op == NULL)
		return -ENOMEM;
	op->id = row->id;
	op->spec = row->spec;
	op->env = row->env;
	op->launcher = launcher;
	op->submitted_us = row->submitted_us;
	op->due_boot_us = row->due_boot_us;
	op->due_wall_us = row->due_wall_us;
	if (row->run != NULL)
		op->run = *row->run;
	op->uid = row->uid;
	op->attempt = row->attempt;
	op->cost = row->cost;
	op->priority = row->priority;
	op->hold = row->hold;
	op->cancel = row->cancel;
	op->waits = row->waits;
	memcpy(op->session, row->session, sizeof op->session);
	memcpy(op->queue, row->queue, n);
	return 0;
}

int
jbatch_reserve(struct jbatch *b)
{
	size_t cap = b->rows_cap != 0 ? b->rows_cap * 2 : 16;
	struct batch_row *rows;

	if (b->nrows < b->rows_cap)
		return 0;
	rows = realloc(b->rows, cap * sizeof *rows);
	if (rows == NULL)
		return -ENOMEM;
	b->rows = rows;
	b->rows_cap = cap;
	return 0;
}

void
jbatch_note(struct jbatch *b, struct row *row, enum batch_note note)
{
	row->uncommitted++;
	b->rows[b->nrows++] = (struct batch_row){ row_ref(row), note };
}

int
jbatch_prune_id(struct jbatch *b, uint64_t id)
{
	if (b->npruned == b->pruned_cap) {
		size_t cap = b->pruned_cap != 0 ? b->pruned_cap * 2 : 64;
		uint64_t *pruned = realloc(b->pruned, cap * sizeof *pruned);

		if (pruned == NULL)
			return -ENOMEM;
		b->pruned = pruned;
		b->pruned_cap = cap;
	}
	b->pruned[b->npruned++] = id;
	return 0;
}

const struct op *
jbatch_next_op(const struct jbatch *b, const struct op *op)
{
	size_t at = op != NULL ? (size_t)((const char *)op - b->ops) + op->size : 0;

	return at < b->len ? (const struct op *)(const void *)(b->ops + at) : NULL;
}
