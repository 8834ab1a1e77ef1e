/* Filters and answers of reads; see read.h. */
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool
read_passes(const struct store_filter *f, const struct row *row)
{
	const char *name;

	if (f->by_uid && row->uid != f->uid)
		return false;
	if (f->phase >= 0 && row->phase != f->phase)
		return false;
	if (f->ok >= 0 && (row->phase != ROW_DONE || row->run->ok != (f->ok != 0)))
		return false;
	if (f->queue != NULL && strcmp(row->queue, f->queue) != 0)
		return false;
	if (row->submitted_us < f->since_us)
		return false;
	if (f->name == NULL)
		return true;
	name = spec_at(row->spec, row->spec->name_off);
	return name != NULL && strcmp(name, f->name) == 0;
}

size_t
read_row_bytes(const struct row *row)
{
	return sizeof *row + row->spec->size;
}

void
read_begin(struct store_read *r)
{
	r->error = 0;
	r->rows = NULL;
	r->nrows = 0;
	r->next = 0;
	r->oldest_job = 0;
	r->nread = 0;
	r->inside = NULL;
}

int
read_reserve(struct store_read *r, size_t n)
{
	if (n == 0)
		return 0;
	r->rows = calloc(n, sizeof(struct row *));
	if (r->rows == NULL)
		return r->error = -ENOMEM;
	r->nrows = n;
	return 0;
}

int
read_push(struct store_read *r, struct row *row)
{
	size_t n = r->nrows;

	/* Grown at each power of two. */
	if ((n & (n - 1)) == 0) {
		size_t cap = n != 0 ? n * 2 : 1;
		struct row **rows = realloc(r->rows, cap * sizeof(struct row *));

		if (rows == NULL)
			return r->error = -ENOMEM;
		r->rows = rows;
	}
	r->rows[r->nrows++] = row;
	return 0;
}

void
store_read_fini(struct store *s, struct store_read *r)
{
	for (size_t i = 0; i < r->nrows; i++)
		row_unref(s, r->rows[i]);
	free(r->rows);
	r->rows = NULL;
	r->nrows = 0;
}
