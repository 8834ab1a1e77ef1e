/* Output of done jobs, from its row or from the file that the row names; see journal_fetch.h. */
#include "store/journal_fetch.h"

#include "store/journal_files.h"
#include "store/journal_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t
read_file(struct fetch *f, struct jread *jr, sqlite3_stmt *st)
{
	const char *name = (const char *)sqlite3_column_text(st, 3);
	ssize_t n;
	int fd;

	fd = name == NULL || f->output_fd < 0 ? -1 :
	    openat(f->output_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0; /* it has just been pruned */
	n = files_read_ring(fd, sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2),
	    sqlite3_column_int64(st, 4), jr->off, jr->buf, jr->max);
	close(fd);
	return n;
}

/* The row at the statement, of which the sum is right. */
static void
take_output(struct fetch *f, struct jread *jr, sqlite3_stmt *st)
{
	int64_t start = sqlite3_column_int64(st, 1), end = sqlite3_column_int64(st, 2);
	size_t n = jr->max;

	if (jr->off < start)
		jr->off = start;
	if (sqlite3_column_type(st, 3) != SQLITE_NULL) {
		jr->nread = read_file(f, jr, st);
		return;
	}
	if (jr->off >= end || sqlite3_column_bytes(st, 5) != end - start)
		return;
	if ((uint64_t)(end - jr->off) < n)
		n = (size_t)(end - jr->off);
	memcpy(jr->buf, (const char *)sqlite3_column_blob(st, 5) + (jr->off - start), n);
	jr->nread = (ssize_t)n;
}

/* There is no row of output: should there be one? */
static bool
output_is_missing(struct fetch *f, struct jread *jr)
{
	sqlite3_stmt *st = f->st[FETCH_OUTPUT_BYTES];
	bool missing;
	int rc;

	sqlite3_bind_int64(st, 1, (sqlite3_int64)jr->job);
	rc = sqlite3_step(st);
	missing = rc == SQLITE_ROW && sqlite3_column_int64(st, jr->stream - 1) > 0;
	sqlite3_reset(st);
	fetch_trouble(f, jr, rc);
	return missing;
}

void
fetch_output(struct fetch *f, struct jread *jr)
{
	sqlite3_stmt *st = f->st[FETCH_OUTPUT];
	bool damaged;
	int rc;

	if (jr->job > INT64_MAX / 2)
		return; /* twice that is no id */
	jr->buf = malloc(jr->max != 0 ? jr->max : 1);
	if (jr->buf == NULL) {
		fetch_no_memory(jr);
		return;
	}
	sqlite3_bind_int64(st, 1, (sqlite3_int64)(jr->job * 2) + jr->stream - 1);
	rc = sqlite3_step(st);
	damaged = rc == SQLITE_ROW && !record_whole(st, 0, RECORD_OUTPUT_NCOLUMNS);
	if (rc == SQLITE_ROW && !damaged)
		take_output(f, jr, st);
	sqlite3_reset(st);
	fetch_trouble(f, jr, rc);
	damaged = damaged || (rc == SQLITE_DONE && output_is_missing(f, jr));
	if (damaged)
		snprintf(jr->damage, sizeof jr->damage, "table=output job=%llu stream=%d "
		    "can't be read",
		    (unsigned long long)jr->job, jr->stream);
	if (damaged || jr->nread < 0)
		jr->error = -EIO;
}
