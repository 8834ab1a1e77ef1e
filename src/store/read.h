#ifndef STORE_READ_H
#define STORE_READ_H
/*
 * What both variants of the store need to answer a store_read: the filter, and the array of rows.
 */
#include "store/store.h"

#define READ_SCAN_MAX 20000 /* rows looked at for one page, whether they pass or not */

bool read_passes(const struct store_filter *f, const struct row *row);
/* About what a row's spec takes, as limit_bytes counts it. */
size_t read_row_bytes(const struct row *row);
/* Makes room for n rows, all NULL. 0, or -ENOMEM, which stands in r->error too. */
int read_reserve(struct store_read *r, size_t n);
/* Adds a row; takes the reference. 0, or -ENOMEM as above (the reference stays the caller's). */
int read_push(struct store_read *r, struct row *row);
/* Before it begins: no answer yet. */
void read_begin(struct store_read *r);

#endif
