#ifndef STORE_JOURNAL_APPLY_H
#define STORE_JOURNAL_APPLY_H
/*
 * Batches as statements: what one transaction of the writer does. Knows no threads and makes no
 * decisions about errors; every function gives an SQLite result.
 */
#include "store/journal_batch.h"
#include "store/journal_blob.h"
#include "store/journal_sums.h"

enum apply_statement {
	APPLY_BEGIN, APPLY_COMMIT, APPLY_ROLLBACK,
	APPLY_SPEC, APPLY_LIVE, APPLY_START, APPLY_REQUEUE, APPLY_SET,
	APPLY_CANCEL, APPLY_UNCANCEL,
	APPLY_UNLIVE, APPLY_DONE, APPLY_SPEC_NAMES, APPLY_DROP_ENV,
	APPLY_UNDONE, APPLY_UNSPEC, APPLY_OUTPUT, APPLY_OUTPUT_FILES, APPLY_UNOUTPUT,
	APPLY_TRASH, APPLY_EMPTY_TRASH, APPLY_SETTING, APPLY_UNSETTING, APPLY_QUEUE,
	APPLY_UNQUEUE,
	APPLY_STATEMENTS
};

struct apply {
	sqlite3 *db;
	sqlite3_stmt *st[APPLY_STATEMENTS];
	struct blobs blobs;
	struct sums sums;
	bool drop_env;
	bool trash_is_unlinked; /* what stands in trash has been unlinked */
	const char *disagrees; /* with SQLITE_CONSTRAINT and _CORRUPT: what was found otherwise */
	char **files;          /* to unlink once it is committed; the caller takes them */
	size_t nfiles, files_cap;
};

int apply_init(struct apply *a, sqlite3 *db, bool drop_env);
void apply_fini(struct apply *a);
int apply_begin(struct apply *a);
int apply_batch(struct apply *a, const struct jbatch *b);
int apply_finish(struct apply *a);   /* all that is gathered; then only COMMIT is missing */
int apply_commit(struct apply *a);
void apply_rollback(struct apply *a);
void apply_files_free(struct apply *a);

#endif
