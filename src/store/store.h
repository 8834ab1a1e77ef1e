#ifndef STORE_STORE_H
#define STORE_STORE_H
/*
 * Where jobs are kept. Changes are gathered in the open batch and become durable together with
 * commit; what was changed may be shown to anyone only after its commit. Two variants behind one
 * ops table: memory.c forgets at exit, its commits and reads are done at once; journal.c keeps
 * all of it in an SQLite database, written by one thread and read by another.
 *
 * The caller moves a row's fields and then names the change; it is the store that keeps rows,
 * finds them, lists them and prunes history. At hand are rows that somebody counts a reference
 * of, and besides, in a durable store, those whose changes have not committed yet, in the other
 * those that are more than a plain pending job's; the rest is brought by read.
 */
#include "store/row.h"
#include <sys/types.h>

struct store;

enum store_change {
	STORE_SUBMITTED, /* a new row */
	STORE_STARTED,   /* pending -> running; attempt and run->started_us are set */
	STORE_REQUEUED,  /* running -> pending (a retry) */
	STORE_DONE,      /* -> done; run is complete, run->seq is set */
	STORE_SET,       /* queue, priority or hold of a pending row */
	STORE_CANCEL,    /* cancel of a running row: whoever takes it up again has to go on with it */
};

struct store_bounds {       /* of the history of one uid; 0: no bound */
	uint64_t jobs;          /* done jobs */
	int64_t age_us;         /* since they finished */
	int64_t output_bytes;   /* what done jobs keep: output, spec, environment of their own */
};

struct store_hooks {
	/* Lets a row's output go (never NULL then). */
	void (*output_free)(void *output);
	/* A done row left history (pruned or forgotten): its id is unknown from now on. A durable
	 * store tells only of rows that are in memory. */
	void (*on_removed)(void *arg, const struct row *row);
	/* The disk is full (true), or has room again. While it is, completions are still recorded
	 * as far as possible; the owner refuses whatever would add to the journal. */
	void (*on_degraded)(void *arg, bool degraded);
	/* The journal can't be written or read any more (an I/O or fsync error, damage where it is
	 * to be changed, files removed): nothing commits from here on, and the process has to end.
	 * `what` says what failed. */
	void (*on_failed)(void *arg, const char *what);
	void *arg;
};

/* ---- reading what is not in memory ---- */

enum store_read_kind {
	STORE_READ_JOBS,   /* rows by id */
	STORE_READ_KEYS,   /* rows by (uid, key) */
	STORE_READ_PAGE,   /* rows in id order that pass the filter; sees all changes made before */
	STORE_READ_DONE,   /* committed done rows in seq order that pass the filter */
	STORE_READ_OUTPUT, /* kept output of a done row */
};

struct store_filter { /* what a row must be; an all-zero filter with phase and ok -1 passes all */
	bool by_uid;
	uint32_t uid;
	int phase;         /* enum row_phase, -1: any */
	int ok;            /* 0, 1, -1: any */
	const char *queue; /* NULL: any; borrowed until the read is over, as all strings here */
	const char *name;
	int64_t since_us;  /* submitted at or after; 0: any */
};

struct store_read {
	/* The caller's: what to read. */
	enum store_read_kind kind;
	const uint64_t *ids;         /* JOBS */
	size_t nids;
	const char *const *keys;     /* KEYS, of filter.uid */
	size_t nkeys;
	struct store_filter filter;  /* PAGE, DONE; JOBS: by_uid, uid for oldest_job */
	uint64_t from;               /* PAGE: the first id looked at; DONE: the first seq */
	bool backward;               /* PAGE: towards smaller ids */
	size_t limit;                /* PAGE, DONE: rows at most */
	size_t limit_bytes;          /* … and bytes of their specs, about; 0: no bound */
	uint64_t job;                /* OUTPUT */
	int stream;                  /* … 1 or 2 */
	int64_t off;                 /* … moved up to the oldest kept byte where it lies below */
	void *buf;                   /* … the caller's, of max bytes */
	size_t max;
	/* From the loop, where read returned false; r may be freed or used again in it. */
	void (*done)(struct store_read *r);
	void *arg;

	/* The answer. */
	int error;                   /* 0, -ENOMEM, -EIO: the journal is damaged there (logged) */
	struct row **rows;           /* counted; JOBS, KEYS: as asked, NULL for the unknown */
	size_t nrows;
	uint64_t next;               /* PAGE, DONE: where to go on; 0: this was the end */
	uint64_t oldest_job;         /* JOBS, where some were unknown: the oldest in history */
	ssize_t nread;               /* OUTPUT: bytes in buf, beginning at off */

	void *inside; /* the store's while it is under way */
};

/* ---- what was live, told once at the start ---- */

struct store_live { /* a job that was pending or running when the journal was last written */
	uint64_t id;
	uint64_t launcher;    /* instance that was to run it; running ones. 0: the machine was
	                       * rebooted since */
	int64_t submitted_us, started_us;
	int64_t due_us;       /* held for a delay or back-off until then: CLOCK_BOOTTIME where
	                       * due_is_boot, else wall clock; 0: not */
	const char *queue;    /* borrowed for the call */
	uint32_t uid;
	uint32_t attempt;
	uint32_t slots;
	uint32_t cost;        /* what row->cost was */
	int16_t priority;
	uint8_t phase;        /* ROW_PENDING or ROW_RUNNING */
	uint8_t cancel;       /* running: what row->cancel was */
	bool hold;
	bool due_is_boot;     /* false: the machine was rebooted since */
	bool plain;           /* pending, and nothing but its turn is missing: see ROW_PLAIN. Then
	                       * attempt, slots and submitted_us are not told */
	bool bound;
	uint8_t session[ROW_SESSION_LEN]; /* the one it is bound to; zero: none */
};

struct store_recovery {
	/* Each before the jobs: a setting or a queue that was set at run time. */
	void (*on_setting)(void *arg, const char *name, int64_t value);
	void (*on_queue)(void *arg, const char *queue, int64_t max_running, bool paused);
	/* In id order. Non-zero ends the walk with that error. */
	int (*on_live)(void *arg, const struct store_live *live);
	void *arg;
};

struct store_stats {
	const char *durability; /* "full", "normal", "memory" */
	int64_t bytes, wal_bytes;
	uint64_t commits;
	int64_t commit_p50_us, commit_p99_us; /* of the last thousand or so */
	uint64_t oldest_seq;
	bool degraded;
};

/* The output of a row that is about to become done, one stream. */
struct store_output {
	const void *data;   /* copied; NULL where it is in a file */
	size_t len;
	int64_t start, end; /* offsets of what is kept */
	const char *file;   /* name in the output directory; copied. NULL: none */
	int64_t room;       /* … whose byte at offset o lies at o % room */
};

typedef void (*store_commit_cb)(void *arg, uint64_t batch, int error);

struct store_ops {
	/* Commits what was handed to commit, tells nobody, and frees; what is in the open batch is
	 * lost. Nobody may count a row any more. */
	void (*free)(struct store *s);
	/* Takes a new row into the table and the open batch; 0 or -ENOMEM (nothing happened). The
	 * store counts references of its own for what it has to keep at hand. */
	int (*add)(struct store *s, struct row *row);
	/* Records a change of a row it holds. 0 or -ENOMEM. */
	int (*change)(struct store *s, struct row *row, enum store_change what);
	/* Drops a done row from history. */
	void (*forget)(struct store *s, struct row *row);
	/* Closes the open batch and makes it durable; cb(arg, batch number, 0) when it is, for
	 * each call once and in order, possibly before this returns. */
	void (*commit)(struct store *s, store_commit_cb cb, void *arg);
	/* Keeps what a stream of the row left, in the open batch, before its STORE_DONE. NULL in a
	 * store that leaves row->output to its owner. 0 or -ENOMEM. */
	int (*keep_output)(struct store *s, struct row *row, int stream,
	    const struct store_output *output);
	/* Settings and queues made at run time, in the open batch; value STORE_NO_SETTING and
	 * max_running STORE_NO_QUEUE take one back. NULL: nothing outlives the process anyway. */
	int (*keep_setting)(struct store *s, const char *name, int64_t value);
	int (*keep_queue)(struct store *s, const char *queue, int64_t max_running, bool paused);

	/* Tells all that was live; before anything else, may block. NULL: there never is any. */
	int (*recover)(struct store *s, const struct store_recovery *recovery);
	/* During recover and until the first read: a row, counted for the caller. Blocks. NULL:
	 * unknown, or *error is set. */
	struct row *(*load)(struct store *s, uint64_t id, int *error);

	/* Starts a read. True: it was answered at once, done is not called. */
	bool (*read)(struct store *s, struct store_read *r);
	/* It isn't wanted any more: done will not be called, r is the caller's again. */
	void (*read_drop)(struct store *s, struct store_read *r);
	void (*stats)(struct store *s, struct store_stats *out);

	/* A row at hand, by id, borrowed (row_ref to keep one). NULL: unknown, or to be read. */
	struct row *(*find)(struct store *s, uint64_t id);
	/* Its last reference goes: out of the tables, before it is freed; or the store counts one
	 * itself, and it stays. */
	void (*row_gone)(struct store *s, struct row *row);
	/* The smallest seq s such that every completion of this uid (`all`: of any) from s on is
	 * still held; what is older was pruned. (Forgotten rows are holes, not the end of
	 * history.) */
	uint64_t (*oldest_seq)(struct store *s, uint32_t uid, bool all);
	/* The last pin of a row went: if it is overdue it leaves history now. */
	void (*unpinned)(struct store *s, struct row *row);
	/* Prunes a slice of history towards the bounds; true: there is more to do. A durable
	 * store returns false: it goes on by itself, slice by slice, and watches ages too, once it
	 * was called after the start. */
	bool (*prune)(struct store *s, int64_t now_us);
};

/* Environments by content. */
struct env_table {
	struct env_blob **buckets;
	size_t nbuckets;
	size_t count;
	size_t bytes;
};

void env_table_fini(struct env_table *t);
/* The blob with this content, counted. NULL: out of memory. */
struct env_blob *env_intern(struct env_table *t, const char *bytes, size_t len);
/* Counts a reference; NULL is allowed. */
struct env_blob *env_ref(struct env_blob *env);
void env_unref(struct env_table *t, struct env_blob *env);

#define STORE_NO_SETTING INT64_MIN
#define STORE_NO_QUEUE INT64_MIN

struct store {
	const struct store_ops *ops;
	bool durable;
	bool degraded;     /* the disk is full */
	bool stuck;        /* … so full that batches wait to commit */
	uint64_t launcher; /* the owner's to set: instance that a STORE_STARTED means */
	struct store_hooks hooks;
	struct store_bounds bounds;
	struct env_table envs;
	bool rebooted;     /* the machine was, since the journal was last open */
	uint64_t instance; /* changes whenever history was lost */
	uint64_t next_id;  /* the next job's */
	uint64_t last_seq; /* the newest given out */
	uint64_t ndone;    /* done rows in history, of all uids */
	int64_t output_bytes; /* kept output of done rows */
};

void store_read_fini(struct store *s, struct store_read *r); /* gives its rows back */

/* A store that forgets at exit. NULL: out of memory. */
struct store *store_memory_new(const struct store_bounds *bounds, const struct store_hooks *hooks,
    uint64_t instance);

/* ---- rows: counted, made by the engine ---- */

/* A pending row that owns spec (taken on success only; NULL: it gets it later), one reference.
 * NULL: out of memory. */
struct row *row_new(struct spec *spec, struct env_blob *env);
struct row *row_ref(struct row *row);
void row_unref(struct store *s, struct row *row);
/* A pinned row is passed over by pruning (forget takes it all the same). */
void row_pin(struct row *row);
void row_unpin(struct store *s, struct row *row);
/* Its run part, allocated on first use. NULL: out of memory. */
struct row_run *row_run(struct row *row);
/* What a done row keeps: output, spec, and an environment that it has alone at this moment. */
int64_t row_kept_bytes(const struct row *row);

#endif
