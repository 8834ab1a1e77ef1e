#ifndef ENGINE_NAMED_H
#define ENGINE_NAMED_H
/*
 * The jobs that a request names, as the futures that core's combinators take.
 */
#include "engine/request.h"

struct named_jobs {
	struct slot_future **v; /* jobs' futures, counted */
	size_t n;
};

/* In the order given. -1: the request was answered, or is suspended. */
int named_get(struct request *req, const struct msg_int_list *ids, struct named_jobs *jobs);
void named_free(struct named_jobs *jobs);

/* The row of such a future's job. */
struct row *named_row(const struct slot_future *f);

/* Orders futures as their jobs ended, those that did not behind them; for qsort. */
int named_by_seq(const void *a, const void *b);

#endif
