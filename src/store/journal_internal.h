#ifndef STORE_JOURNAL_INTERNAL_H
#define STORE_JOURNAL_INTERNAL_H
/*
 * The loop's side of the journal, shared by the files that make it up: journal.c (ops, batches),
 * journal_rows.c (rows in memory), journal_reads.c (reads), journal_history.c (sums, pruning) and
 * journal_open.c. Only the loop's thread touches any of it.
 *
 * A row is in `by_id` while anybody counts it. The journal itself counts it
 *   - while a batch that changes it is open or on its way (row->uncommitted),
 *   - after that until all reads are back that may have looked before the commit: what these
 *     found is older, and the row in memory is what counts (struct held),
 *   - while it is one of the recent done ones.
 */
#include "core/loop.h"
#include "store/idtab.h"
#include "store/journal.h"
#include "store/journal_batch.h"
#include "store/journal_reader.h"
#include "store/journal_writer.h"
#include "store/keytab.h"

#define RECENT_ROWS 1024               /* done rows kept for live streams … */
#define RECENT_BYTES (2 * 1024 * 1024) /* … as long as they are no larger in all */
#define DURATIONS 1024                 /* commits that percentiles are of */

struct jname { /* a queue's name, kept for good */
	struct jname *next;
	char text[];
};

struct recent { /* the newest done rows, by seq % RECENT_ROWS */
	struct row *rows[RECENT_ROWS]; /* NULL: forgotten, or none */
	uint64_t from;                 /* all that is committed from here on is in it */
	size_t bytes;
};

struct held { /* rows of a committed batch, until `ticket` reads are back */
	struct held *next;
	uint64_t ticket;
	struct jbatch *batch;
};

struct jhistory { /* of one user */
	struct jhistory *next;
	uint32_t uid;
	uint64_t jobs;
	int64_t bytes;
	uint64_t pruned_seq;
	uint64_t from;     /* seq that pruning looks at next */
	uint64_t damaged_seq; /* rows up to it that can't be read were told of */
	int64_t oldest_us; /* when the oldest one finished; INT64_MIN: not known, MAX: none */
	bool swept;        /* leftovers of an earlier process are gone */
	bool rests;        /* looked through; until the next call of prune */
};

struct journal {
	struct store store;
	struct slot_loop *loop;
	const struct slot_logger *logger;
	int dir_fd, output_fd, note_fd;
	struct event *note_event;  /* NULL: a loop moved by hand */
	struct slot_call pump;
	bool normal, drop_env, failed;
	struct jwriter *writer;
	struct jreader *reader;
	bool reading;              /* the reader's thread runs */
	int64_t wal_bytes;

	struct idtab by_id;        /* rows in memory, not counted */
	struct keytab keys;        /* those that have one */
	struct jname *names;
	struct recent recent;
	struct idtab vanishing;    /* ids of rows not in memory that are being removed */

	uint64_t batches;          /* numbers given out */
	struct jbatch *open;       /* NULL: nothing changed */
	struct jbatch *spare;      /* an empty one, or NULL */
	uint64_t last_put;         /* number of the newest batch at the writer */
	size_t in_flight;          /* batches at the writer */
	struct jbatch *back;       /* committed, not told of yet */
	struct held *held, **held_last;
	uint64_t told_seq;         /* newest completion whose commit was told */

	struct jread *waiting;     /* for a batch to be committed; in order */
	struct jread *answered;    /* not told of yet */
	uint64_t reads_sent, reads_back;

	struct jhistory *histories;
	bool pruning;              /* a slice is on its way */
	struct slot_timer age;     /* the oldest job will have had its time */

	int64_t durations_us[DURATIONS];
	uint64_t commits;
};

static inline struct journal *
journal_of(struct store *s)
{
	return (struct journal *)(void *)s;
}

/* ---- journal.c ---- */
extern const struct store_ops journal_ops;
/* The open batch, made where there is none. NULL: out of memory. */
struct jbatch *journal_batch(struct journal *j);
/* Sends a batch of the journal's own, before the open one. */
void journal_send(struct journal *j, struct jbatch *b);
void journal_fail(struct journal *j, const char *what);
void journal_on_notes(struct journal *j); /* a thread has something to report */
void journal_free(struct store *s);

/* ---- journal_rows.c ---- */
int rows_enter(struct journal *j, struct row *row); /* 0 or -ENOMEM */
void rows_gone(struct store *s, struct row *row);   /* the op row_gone */
struct row *rows_find(struct store *s, uint64_t id);
const char *rows_name(struct journal *j, const char *queue); /* NULL: out of memory */
/* The row that `found` is, counted: what is in memory, or else a new one. NULL: unknown by now,
 * or *error is set. */
struct row *rows_take(struct journal *j, struct jread *jr, struct fetched *found, int *error);
void rows_recent_add(struct journal *j, struct row *row);
void rows_recent_remove(struct journal *j, struct row *row);
/* Gives up what a committed batch holds, now or when the reads that are under way are back. */
void rows_release(struct journal *j, struct jbatch *b);
void rows_release_held(struct journal *j);
void rows_fini(struct journal *j);

/* ---- journal_reads.c ---- */
bool reads_start(struct store *s, struct store_read *r);
void reads_drop(struct store *s, struct store_read *r);
void reads_batch_back(struct journal *j, uint64_t number); /* those that waited for it go on */
void reads_unblock(struct journal *j);                     /* all that wait go on */
void reads_arrived(struct journal *j);
void reads_send(struct journal *j, struct jread *jr);
void reads_fini(struct journal *j);

/* ---- journal_history.c ---- */
struct jhistory *history_of(struct journal *j, uint32_t uid); /* NULL: out of memory */
void history_add(struct journal *j, struct jhistory *h, const struct row *row);
/* A done row leaves; in the batch b. 0 or -ENOMEM. */
int history_forget(struct journal *j, struct jbatch *b, struct row *row);
void history_unpinned(struct store *s, struct row *row);
bool history_prune(struct store *s, int64_t now_us);
void history_pruned(struct journal *j); /* a slice is committed */
void history_read(struct journal *j, struct jread *jr);
uint64_t history_oldest_seq(struct store *s, uint32_t uid, bool all);
void history_fini(struct journal *j);

/* ---- journal_recover.c ---- */
int journal_recover(struct store *s, const struct store_recovery *recovery);
struct row *journal_load(struct store *s, uint64_t id, int *error);

#endif
