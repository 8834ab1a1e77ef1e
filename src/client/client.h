#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H
/*
 * The inside of slot_client: one link, a table of open requests by id, a table of job futures
 * by job. A request is embedded in what it is for (a call, a submit, a stream) and answers
 * through its ops.
 *
 * Going on after a lost connection has its place here: `session`, `instance` and `seq` say
 * where, `jobs` and `requests` say with what. Until then the loss fails them all.
 */
#include <slot/client.h>

#include "client/link.h"
#include "client/table.h"
#include "core/future.h"

#define CLIENT_JOBS_PER_ATTACH 65536u

struct client_request;

struct client_request_ops {
	/* Exactly one of these ends the request; it is out of the table by then. */
	void (*result)(struct client_request *r, json_t *result);
	/* `error` is there for -SLOT_EREMOTE. */
	void (*error)(struct client_request *r, int code, const struct slot_rpc_error *error);
	/* In place of them when the client is freed; NULL: `error` with -SLOT_ECLOSED. */
	void (*orphaned)(struct client_request *r);
	/* $/item, $/gap, $/credit; NULL where the request is no stream. */
	void (*notice)(struct client_request *r, const char *method, json_t *params);
};

struct client_request {
	const struct client_request_ops *ops;
	struct slot_client *client; /* NULL once ended */
	uint64_t id;
};

struct client_job;

struct slot_client {
	struct link link;
	struct slot_loop *loop;
	struct slot_client_options options; /* its strings are not kept */
	struct evbuffer *scratch;           /* the line being written */
	struct table requests;              /* struct client_request by id */
	struct table jobs;                  /* unsettled struct client_job by job, chained */
	uint64_t last_id;
	uint64_t seq;
	json_t *hello;
	struct slot_future *ready;        /* the call of hello */
	struct slot_stream *completions;  /* one subscription for all job futures; NULL: not yet */
	bool over;                        /* the connection ended, or is being freed */
	bool freed;                       /* slot_client_free was called */
};

/* Sends a request and enters it in the table. `params` is borrowed and may be NULL. 0 or a
 * negative code, and then the request is not open. */
int client_open(struct slot_client *c, struct client_request *r,
    const struct client_request_ops *ops, const char *method, const json_t *params,
    const int *fds, unsigned nfds);
/* $/cancel for an open request. */
void client_cancel(struct client_request *r);
/* $/credit for an open stream. 0 or a negative code. */
int client_credit(struct client_request *r, uint64_t n);
/* Ends everything that is open with `code`. */
void client_fail_all(struct slot_client *c, int code);

/* slot_client_stream for the client itself: `end` is called when the client is freed, too. */
struct slot_stream *client_stream(struct slot_client *c, const char *method, json_t *params,
    const struct slot_stream_handlers *handlers, void *arg, int *error);

/* A copy of a remote error, as the detail of a future. NULL: out of memory. */
struct slot_rpc_error *client_error_copy(const struct slot_rpc_error *error);
void client_error_free(void *error);
/* Fails a future with `code` and, where there is one, a copy of the error. */
void client_future_fail(struct slot_future *f, int code, const struct slot_rpc_error *error);

bool client_future_is_call(const struct slot_future *f);
bool client_future_is_job(const struct slot_future *f);

/* A completion came (borrowed): settles the futures of its job. */
void client_jobs_completed(struct slot_client *c, json_t *object);
/* Fails every job future. */
void client_jobs_fail(struct slot_client *c, int code, const struct slot_rpc_error *error);

#endif
