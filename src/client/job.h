#ifndef CLIENT_JOB_H
#define CLIENT_JOB_H
/*
 * What job.c, which keeps the futures of jobs, and told.c, which hears how they end, know of each
 * other.
 */
#include "client/client.h"

struct client_job {
	struct slot_future future; /* first */
	struct client_request submit;
	struct slot_client *client; /* while the job is in its table or its submit is open */
	struct client_job *next;    /* another future of the same job */
	uint64_t id;                /* 0 until the daemon has answered */
	uint64_t told_by;           /* the stream that will tell how it ends */
	struct slot_completion completion;
	json_t *object; /* what completion borrows from */
	bool cancel_asked;
	bool completed;
};

/* ---- job.c ---- */

/* Enters a job under its id; the table's reference is the one the caller held. 0 or
 * -SLOT_ENOMEM. */
int client_job_watch(struct slot_client *c, struct client_job *job, uint64_t id);
/* Takes one future of a job out again; its reference is the caller's then. */
void client_job_unwatch(struct slot_client *c, struct client_job *job);
/* Takes out those that rely on a stream, of all jobs or of one: a chain. */
struct client_job *client_jobs_take(struct slot_client *c, uint64_t stream);
struct client_job *client_job_take(struct slot_client *c, uint64_t id, uint64_t stream);

/* One that is in the table no more, or a chain of them. */
void client_job_fail(struct client_job *job, int code, const struct slot_rpc_error *error);
void client_job_chain_fail(struct client_job *job, int code, const struct slot_rpc_error *error);
/* A completion of this job came (borrowed): settles its futures. */
void client_job_settle(struct slot_client *c, uint64_t id, json_t *object);

/* ---- told.c ---- */

/* The subscription is there when this returned 0. */
int client_subscribe(struct slot_client *c);
/* Asks for the completions of jobs that exist already. 0 or a negative code. */
int client_ask_for(struct slot_client *c, struct client_job *const *jobs, size_t n);

#endif
