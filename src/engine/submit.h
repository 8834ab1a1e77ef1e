#ifndef ENGINE_SUBMIT_H
#define ENGINE_SUBMIT_H
/*
 * From specs to jobs, all or none: what is asked for is checked first, then there must be room,
 * then the jobs are made. A request without room is answered QueueFull, or held until there is.
 */
#include "engine/request.h"

struct submit {
	struct request *req;          /* whose descriptors {"fd":n} means */
	const struct msg_spec *specs;
	size_t n;
	bool batch;                   /* they stand in a list called jobs: errors say where */
	struct job_ties_list *stream; /* the map's jobs, which they join; NULL: none */
	int on_full;                  /* enum msg_on_full; those that wait keep their order */
	/* results */
	int64_t *ids;                 /* n of them, the caller's storage */
	bool existing;                /* the last of them was there already, under its key */
	bool suspended;               /* inside */
};

enum submit_result {
	SUBMIT_DONE,   /* ids are set; jobs that could start have started */
	SUBMIT_FULL,   /* nothing happened: no room */
	SUBMIT_REFUSED, /* nothing happened: see the failure */
	SUBMIT_SUSPENDED, /* … yet: the request waits for a read, see load.h */
};

enum submit_result submit_all(struct submit *sub, struct rpc_failure *why);

/* Retries of a done job: a new one of the same spec and environment. SUBMIT_FULL as above. */
enum submit_result submit_again(struct request *req, struct row *row, int64_t *id,
    struct rpc_failure *why);

/* ---- submit_held.c ---- */

/* An older submit of the same uid still waits for room: it goes first. */
bool submit_is_behind(const struct engine *e, const struct request *req);
/* No room: answers QueueFull. */
void submit_answer_full(struct request *req);
/* No room, but the client wants to wait: try_again, the request's own handler, is called when
 * there may be room; it answers, or calls this again. */
void submit_hold(struct request *req, request_handler try_again);

void submit_init(struct engine *e);
/* Every held submit is tried again, now: the engine drains or shuts down and refuses them. */
void submit_retry_held(struct engine *e);

#endif
