#ifndef ENGINE_LOAD_INSIDE_H
#define ENGINE_LOAD_INSIDE_H
/*
 * What load.c, load_keys.c and load_output.c share with each other and nobody else: one read of a
 * request's is under way at a time, and load_go_on asks each of them for the next.
 */
#include "engine/load.h"

struct load_key {
	char *key;
	struct row *row;  /* counted; NULL: unknown */
	struct row *made; /* counted: while its read was under way */
};

struct load_output {
	struct row *row; /* counted */
	bool wanted[2], done[2];
	char *buf[2];
	size_t want[2], len[2];
	int64_t asked[2], off[2]; /* from where; where that was */
};

struct load {
	LIST_ENTRY(load) looking; /* in e->key_loads, where nkeys > 0 */
	struct request *req;
	struct store_read read;
	struct slot_call again;
	bool busy, under_way;
	bool live;               /* what is shelved is taken down as it comes */

	struct row **rows;       /* counted */
	size_t nrows, rows_cap;
	struct job **jobs;       /* counted: taken down */
	size_t njobs, jobs_cap;
	size_t bytes;            /* of specs that were read */

	uint64_t *ids;           /* nasked of them are known about, sorted; the rest is wanted */
	size_t nids, nasked, ids_cap;
	struct load_key *keys;   /* likewise */
	size_t nkeys, keys_asked, keys_cap;
	const char **key_texts;  /* of the read under way */
	bool wants_oldest;
	uint64_t oldest;         /* 0: not known */
	enum { PAGE_NONE, PAGE_WANTED, PAGE_READ } page_state;
	struct store_read page;
	struct load_output *outputs;
	size_t noutputs, outputs_cap;
	size_t out_at;           /* the one being read … */
	int out_stream;          /* … and which of its streams, 0 or 1 */
};

/* ---- load.c ---- */

/* The request's, made at first need. NULL: out of memory. */
struct load *load_of(struct request *req);
/* Room for one more element of *array. -1: out of memory. */
int load_grow(void *array, size_t n, size_t *cap, size_t size);
/* Reads what is wanted. True: all is at hand; false: suspended or answered. */
bool load_go_on(struct load *l);
/* The request is answered so; false. */
bool load_no_memory(struct request *req);

static inline struct store *
load_store(const struct load *l)
{
	return l->req->engine->store;
}

/* ---- load_keys.c ---- */

/* Asks for the keys that are wanted. -1: out of memory. */
int load_keys_ask(struct load *l, struct store_read *r);
void load_keys_take(struct load *l);
void load_keys_empty(struct load *l);

/* ---- load_output.c ---- */

/* Asks for what output is wanted next. False: none is. */
bool load_output_ask(struct load *l, struct store_read *r);
void load_output_take(struct load *l);
void load_output_empty(struct load *l);

#endif
