#ifndef STORE_JOURNAL_OPENING_H
#define STORE_JOURNAL_OPENING_H
/*
 * What is known while a journal is being opened, shared by the files that do it: journal_open.c
 * (the directory, the lock, the threads), journal_database.c (whether what is there can be used,
 * and what becomes of it if not) and journal_prepare.c (what stands in it).
 */
#include "store/journal.h"
#include "store/journal_sums.h"
#include <sqlite3.h>

struct opening {
	const struct journal_options *o;
	struct journal_error *why;
	char path[4096];
	int dir_fd, output_fd;
	sqlite3 *db;       /* the writer's */
	bool fresh, rebooted;
	uint64_t instance;
	struct sums_state sums;
	char reason[200];  /* why it can't be used */
};

/* Notes why it can't be opened; returns the error, negative. */
int opening_refuse(struct opening *op, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int opening_refuse_sql(struct opening *op, const char *what);

/* A connection with our settings; an SQLite result. */
int opening_connect(const char *path, int flags, int busy_ms, sqlite3 **db);
/* op->db and what stands in it: what is there, or a new one. 0, or op->why's error. */
int opening_database(struct opening *op);
/* The tables of a new one; all that is there of one of this version made ready. SQLite results;
 * with SQLITE_CORRUPT, op->reason may say why. */
int opening_create(struct opening *op);
int opening_prepare(struct opening *op);

#endif
