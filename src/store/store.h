#ifndef STORE_STORE_H
#define STORE_STORE_H
/*
 * Where jobs are kept. Changes are gathered in the open batch and become durable together with
 * store_commit; what was changed may be shown to anyone only after its commit. The ops table has
 * one variant so far, memory.c, whose commits are done at once.
 *
 * The caller moves a row's fields and then names the change; it is the store that keeps rows,
 * finds them, lists them and prunes history.
 */
#include "store/row.h"

struct store;

enum store_change {
	STORE_SUBMITTED, /* a new row */
	STORE_STARTED,   /* pending -> running; attempt and run->started_us are set */
	STORE_REQUEUED,  /* running -> pending (a retry) */
	STORE_DONE,      /* -> done; run is complete, run->seq is set */
	STORE_SET,       /* queue, priority or hold of a pending row */
};

struct store_bounds {       /* of history; 0: no bound */
	uint64_t jobs;          /* done jobs */
	int64_t age_us;         /* since they finished */
	int64_t output_bytes;   /* what done jobs keep: output, spec, environment of their own */
};

struct store_hooks {
	/* Lets a row's output go (never NULL then). */
	void (*output_free)(void *output);
	/* A done row left history (pruned or forgotten): its id is unknown from now on. */
	void (*on_removed)(void *arg, const struct row *row);
	void *arg;
};

typedef void (*store_commit_cb)(void *arg, uint64_t batch, int error);

struct store_ops {
	void (*free)(struct store *s);
	/* Takes a new row into the table and the open batch; 0 or -ENOMEM (nothing happened). On
	 * success the store holds a reference of its own. */
	int (*add)(struct store *s, struct row *row);
	/* Records a change of a row it holds. 0 or -ENOMEM. */
	int (*change)(struct store *s, struct row *row, enum store_change what);
	/* Drops a done row from history. */
	void (*forget)(struct store *s, struct row *row);
	/* Closes the open batch and makes it durable; cb(arg, batch number, 0) when it is, for
	 * each call once and in order, possibly before this returns. */
	void (*commit)(struct store *s, store_commit_cb cb, void *arg);
	/* Look-ups by id; rows are borrowed (row_ref to keep one). NULL: unknown. */
	struct row *(*find)(struct store *s, uint64_t id);
	struct row *(*next)(struct store *s, uint64_t from_id); /* smallest id >= from */
	struct row *(*prev)(struct store *s, uint64_t from_id); /* largest id <= from */
	/* The done row with the smallest seq >= from. */
	struct row *(*next_done)(struct store *s, uint64_t from_seq);
	/* The smallest seq s such that every completion from s on is still held; what is older was
	 * pruned. (Forgotten rows are holes, not the end of history.) */
	uint64_t (*oldest_seq)(struct store *s);
	/* The last pin of a row went: if it is overdue it leaves history now. */
	void (*unpinned)(struct store *s, struct row *row);
	/* Prunes a slice of history towards the bounds; true: there is more to do. */
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

struct store {
	const struct store_ops *ops;
	struct store_hooks hooks;
	struct store_bounds bounds;
	struct env_table envs;
	uint64_t instance; /* changes whenever history was lost */
	uint64_t next_id;  /* the next job's */
	uint64_t last_seq; /* the newest given out */
	uint64_t ndone;    /* done rows in history */
	int64_t output_bytes; /* kept output of done rows */
};

/* A store that forgets at exit. NULL: out of memory. */
struct store *store_memory_new(const struct store_bounds *bounds, const struct store_hooks *hooks,
    uint64_t instance);

/* ---- rows: counted, made by the engine ---- */

/* A pending row that owns spec (taken on success only), one reference. NULL: out of memory. */
struct row *row_new(struct spec *spec, struct env_blob *env);
struct row *row_ref(struct row *row);
void row_unref(struct store *s, struct row *row);
/* A pinned row is passed over by pruning (forget takes it all the same). */
void row_pin(struct row *row);
void row_unpin(struct store *s, struct row *row);
/* Its run part, allocated on first use. NULL: out of memory. */
struct row_run *row_run(struct row *row);

#endif
