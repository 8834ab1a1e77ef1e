#ifndef STORE_JOURNAL_VERIFY_H
#define STORE_JOURNAL_VERIFY_H
/*
 * Looks at the sums of rows: of the tables that a start believes, or of all of them.
 */
#include <sqlite3.h>

typedef void (*verify_cb)(void *arg, const char *table, const char *key);

/* Calls damaged for each row of live, meta, setting, queue and history whose sum is not right;
 * `key` tells which one. An SQLite result: whether they could be read. */
int verify_start(sqlite3 *db, verify_cb damaged, void *arg);
/* The same of those that a start doesn't look at; spec and blob excepted: fetch_job knows them. */
int verify_history(sqlite3 *db, verify_cb damaged, void *arg);

#endif
