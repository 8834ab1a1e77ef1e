#ifndef STORE_JOURNAL_BATCH_H
#define STORE_JOURNAL_BATCH_H
/*
 * A batch: what one turn of the loop changes, packed at the moment of each change, so that rows
 * may move on while the writer thread still has it. The loop fills it; from journal_writer_put on
 * it is the writer's; then it comes back.
 *
 * Specs and environments are not copied: they never change, and the rows that own them are counted
 * until the batch is back.
 */
#include "store/store.h"

enum op_kind {
	OP_SUBMIT, /* struct op_row: a new pending row */
	OP_START,
	OP_REQUEUE,
	OP_SET,
	OP_CANCEL,
	OP_DONE,
	OP_FORGET,  /* struct op_forget */
	OP_PASS,    /* struct op_forget: leaves the sums of history, but its row stays */
	OP_OUTPUT,  /* struct op_output */
	OP_SETTING, /* struct op_setting */
	OP_QUEUE,   /* struct op_setting */
};

struct op {
	enum op_kind kind;
	uint32_t size; /* of all of it, text behind included; a multiple of 8 */
};

struct op_row {
	struct op op;
	uint64_t id;
	const struct spec *spec;
	const struct env_blob *env;
	uint64_t launcher;
	int64_t submitted_us, due_boot_us, due_wall_us;
	struct row_run run; /* zero where there is none */
	uint32_t uid, attempt, cost;
	int16_t priority;
	uint8_t hold, waits, cancel;
	uint8_t session[ROW_SESSION_LEN];
	char queue[];
};

struct op_forget {
	struct op op;
	uint64_t id, seq;
	int64_t kept_bytes;
	uint64_t pruned_seq; /* 0: not pruned */
	uint32_t uid;
	bool counted;        /* it still stands in the sums of history */
};

struct op_output {
	struct op op;
	uint64_t id;
	int64_t start, end, room;
	int stream;
	bool in_file;
	size_t len; /* of what stands behind: the bytes, or the file's name */
	char bytes[];
};

struct op_setting {
	struct op op;
	int64_t value; /* STORE_NO_…: it goes */
	bool paused;   /* queues */
	char name[];
};

enum batch_note { BATCH_CHANGED, BATCH_DONE, BATCH_GONE }; /* what happened to a row */

struct batch_row {
	struct row *row; /* counted, and in row->uncommitted */
	enum batch_note note;
};

struct jbatch {
	struct jbatch *next;
	uint64_t number;
	char *ops;
	size_t len, cap;
	struct batch_row *rows;
	size_t nrows, rows_cap;
	uint64_t *pruned; /* ids of rows not in memory that this removes */
	size_t npruned, pruned_cap;
	uint64_t next_id; /* of the store, when it was closed */
	bool internal;    /* the journal's own: nobody is told */
	bool prunes;      /* a slice of history */
	store_commit_cb cb;
	void *arg;
	int64_t closed_us; /* CLOCK_MONOTONIC */
};

struct jbatch *jbatch_new(uint64_t number);
void jbatch_free(struct jbatch *b); /* rows are the caller's to give back first, as here: */
/* Empty, with its room, for the next turn. False: it grew too large to be kept. */
bool jbatch_clear(struct jbatch *b);

/* Room at its end for an op of `size` bytes; NULL: out of memory. */
void *jbatch_op(struct jbatch *b, enum op_kind kind, size_t size);
int jbatch_put_row(struct jbatch *b, enum op_kind kind, const struct row *row, uint64_t launcher);
/* Notes a row of the batch, counting it. 0 or -ENOMEM. jbatch_reserve makes it sure to work. */
int jbatch_reserve(struct jbatch *b);
void jbatch_note(struct jbatch *b, struct row *row, enum batch_note note);
int jbatch_prune_id(struct jbatch *b, uint64_t id);

/* Walks the ops: the first for NULL, NULL at the end. */
const struct op *jbatch_next_op(const struct jbatch *b, const struct op *op);

#endif
