#ifndef STORE_JOURNAL_WAL_H
#define STORE_JOURNAL_WAL_H
/*
 * Looks at a write-ahead log before SQLite does. SQLite takes the whole part of a log, up to the
 * first frame whose checksum is not right, for all of it: that is how a transaction goes that a
 * power cut has torn; but after a hole in the middle all that was committed behind it would go
 * too, without a word. (The format: "The SQLite Database File Format", section 4.)
 */
#include <stdbool.h>
#include <stdint.h>

enum wal_verdict {
	WAL_WHOLE, /* nothing, or every transaction to the end */
	WAL_TORN,  /* its end is missing: at most one transaction that was ever written out */
	WAL_HOLE,  /* two or more transactions stand behind (or around) what is not right */
	WAL_ERROR, /* it can't be read */
};

struct wal_report {
	uint64_t frames; /* whole ones, from the beginning on */
	uint64_t lost;   /* transactions that end at or behind the first one that isn't */
	int64_t at;      /* offset of that one; 0: the header */
};

/* Of a log that nobody writes; `report` may be NULL. */
enum wal_verdict wal_walk(int fd, struct wal_report *report);
/* The log of the journal in this directory; while somebody may be writing it, too. */
enum wal_verdict wal_look(int dir_fd, struct wal_report *report);

/*
 * What the log's transactions are worth after a power cut, in a file beside the journal: `full`
 * means that every one but the last was synced before the next began. False: not known, so no.
 */
bool wal_was_full(int dir_fd);
int wal_note_full(int dir_fd, bool full); /* 0 or -errno */

#endif
