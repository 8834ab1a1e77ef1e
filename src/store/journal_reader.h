#ifndef STORE_JOURNAL_READER_H
#define STORE_JOURNAL_READER_H
/*
 * The reader thread: reads go in and come back answered, in order. Until jreader_start its
 * connection is the caller's to use.
 */
#include "store/journal_fetch.h"

struct jreader;

/* On a connection that it takes, on success. NULL: the schema isn't ours, or out of memory. */
struct jreader *jreader_new(sqlite3 *db, int output_fd, int note_fd);
struct fetch *jreader_fetch(struct jreader *jr);
int jreader_start(struct jreader *jr); /* 0 or -errno */
void jreader_put(struct jreader *rd, struct jread *jr);
struct jread *jreader_take(struct jreader *rd); /* answered ones, linked; NULL: none */
/* Ends it. Reads that were not taken are returned, answered or not. */
struct jread *jreader_free(struct jreader *rd);

#endif
