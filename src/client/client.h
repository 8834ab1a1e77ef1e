#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H
/*
 * The inside of slot_client: one link, a table of open requests by id, a table of job futures
 * by job. A request is embedded in what it is for (a call, a submit, a stream) and answers
 * through its ops.
 *
 * Going on after a lost connection: reconnect.c makes the link anew and says hello; what each
 * open request then asks is resume.c's matter, by its row in the table of methods and, for
 * streams, by where they stopped. Ids are a connection's own, so a request keeps its id.
 */
#include <slot/client.h>

#include "client/link.h"
#include "client/table.h"
#include "core/future.h"

#define CLIENT_JOBS_PER_ATTACH 65000u /* one request has at most 65,536 tokens */
#define CLIENT_WITH_OUTPUT_MAX 65536u
#define CLIENT_NO_HELLO "the daemon's answer to hello is no object"
#define CLIENT_NOT_SENT UINT64_MAX

struct client_request;
struct client_kept;
struct client_reconnect;
struct client_own;

struct client_request_ops {
	/* Exactly one of these ends the request; it is out of the table by then. */
	void (*result)(struct client_request *r, json_t *result);
	/* `error` is there for -SLOT_EREMOTE. */
	void (*error)(struct client_request *r, int code, const struct slot_rpc_error *error);
	/* In place of them when the client is freed; NULL: `error` with -SLOT_ECLOSED. */
	void (*orphaned)(struct client_request *r);
	/* $/item, $/gap, $/credit; NULL where the request is no stream. */
	void (*notice)(struct client_request *r, const char *method, json_t *params);
	/* It is about to be sent again: changes r->kept->params to what is left to ask. 0; a
	 * negative code to end with; or 1: nothing is left, *result (a new reference) is the
	 * answer. NULL: it is asked as it was. */
	int (*resume)(struct client_request *r, json_t **result);
	/* It was. May end it. NULL: nothing to do. */
	void (*resumed)(struct client_request *r);
	/* There is room again for what was refused. NULL: nothing waits for that. */
	void (*room)(struct client_request *r);
	/* It goes out however much is queued. */
	bool urgent;
};

struct client_request {
	const struct client_request_ops *ops;
	struct slot_client *client; /* NULL once ended */
	uint64_t id;
	uint64_t position;        /* of its line in what the link sends; or CLIENT_NOT_SENT */
	struct client_kept *kept; /* to send it again; NULL: a lost connection ends it */
	bool cancel_asked;
	bool noticed; /* the daemon sent a notification for it */
};

/* ---- sending again (resume.c) -------------------------------------------------------------- */

enum client_resume {
	CLIENT_RESUME_NEVER,  /* it may have been done: that can't be known */
	CLIENT_RESUME_AGAIN,  /* asking twice is as asking once */
	CLIENT_RESUME_KEYED,  /* so with a key */
	CLIENT_RESUME_STREAM, /* belongs to a stream of the connection that was lost */
};

/* What a stream's place is counted in. */
enum client_cursor {
	CLIENT_CURSOR_NONE,
	CLIENT_CURSOR_SEQ,    /* completions */
	CLIENT_CURSOR_JOBS,   /* the jobs told of */
	CLIENT_CURSOR_OFFSET, /* bytes of each descriptor */
	CLIENT_CURSOR_EVENTS, /* none: what was missed is a gap */
};

struct client_method {
	const char *name;
	enum client_resume resume;
	enum client_cursor cursor;
	const char *patience; /* the parameter that says how long to wait; NULL: none */
};

struct client_kept {
	const struct client_method *method;
	json_t *params; /* our own object, its values shared */
	int64_t sent_us;
	bool own_key;   /* the key is ours and not the caller's */
	bool sent;      /* once, or more often */
	unsigned nfds;
	int *fds;       /* behind name */
	char name[];
};

/* A copy of all that is needed. `auto_key`: a submit without a key gets one. NULL: no memory or
 * descriptors. */
struct client_kept *client_kept_new(struct slot_client *c, const char *method,
    const json_t *params, const int *fds, unsigned nfds, bool auto_key);
void client_kept_free(struct client_kept *kept);
/* What a request of this method becomes when the connection is lost: 0, it is sent again; else
 * the code it fails with. `sent`: the daemon may have had it. */
int client_resume_check(const struct client_request *r, bool sent);
/* Changes r->kept->params to what is left to ask, as ops->resume does. */
int client_resume_prepare(struct client_request *r, json_t **result);

/* ---- the connection made anew (reconnect.c) ------------------------------------------------ */

struct client_reconnect *client_reconnect_new(struct slot_client *c, const char *path,
    const struct slot_client_options *options); /* NULL: out of memory */
void client_reconnect_free(struct client_reconnect *again);
/* It is tried no more; NULL is allowed. */
void client_reconnect_stop(struct client_reconnect *again);
/* The daemon said something. */
void client_reconnect_hear(struct slot_client *c);
/* The link is down. True: it is tried again; all that can't go on has failed. */
bool client_reconnect_begin(struct slot_client *c, const char *why);
/* Between a lost connection and the moment where all was sent again. */
bool client_is_away(const struct slot_client *c);
/* What a request needs to be sent again is worth keeping. */
bool client_keeps(const struct slot_client *c);
/* A request of `bytes` may be added to those that wait for the connection. */
bool client_reconnect_holds(struct slot_client *c, size_t bytes);

/* ---- the client ---------------------------------------------------------------------------- */

struct client_job;

struct slot_client {
	struct link link;
	struct slot_loop *loop;
	struct client_own *own;             /* held; NULL: the loop is the program's */
	struct slot_client_options options; /* its strings are not kept */
	struct client_reconnect *again;     /* NULL: a lost connection is the end */
	struct evbuffer *scratch;           /* the line being written */
	struct table requests;              /* struct client_request by id */
	struct table jobs;                  /* unsettled struct client_job by job, chained */
	uint64_t last_id;
	uint64_t seq;
	json_t *hello;
	struct slot_future *ready;        /* the call of hello */
	struct slot_stream *completions;  /* one subscription for all job futures; NULL: not yet */
	unsigned holds;                   /* calls of ours that still need it */
	bool over;                        /* the connection ended, or is being freed */
	bool freed;                       /* slot_client_free was called */
};

/* Keeps the memory of a client that a callback may free; the last one to let go frees it. */
void client_hold(struct slot_client *c);
void client_release(struct slot_client *c);

/* The connection is over; `why` is one line for people. */
void client_end(struct slot_client *c, int code, const char *why);
/* The handlers of the link, for the one who makes it. */
extern const struct link_handlers client_link_handlers;

/* A loop for a client that was given none (block.c); NULL: out of memory. It outlives the client
 * while others are on it or a wait is running it; the last one to let go frees it. */
struct client_own *client_own_new(struct slot_loop **loop);
/* Takes hold of the one that the loop is of; NULL: it is the program's. */
struct client_own *client_own_of(const struct slot_loop *loop);
void client_own_release(struct client_own *own); /* NULL is allowed */

/* Whether this answers hello. */
bool client_is_hello(const json_t *answer);

/* The seq that an object of JSON names; 0: none. */
uint64_t client_seq_of(const json_t *object);

/* ---- requests (request.c) ------------------------------------------------------------------ */

/* Sends a request and enters it in the table. `params` is borrowed and may be NULL. 0 or a
 * negative code, and then the request is not open. */
int client_open(struct slot_client *c, struct client_request *r,
    const struct client_request_ops *ops, const char *method, const json_t *params,
    const int *fds, unsigned nfds);
/* The same at once and never again, whatever the state: for hello. */
int client_open_now(struct slot_client *c, struct client_request *r,
    const struct client_request_ops *ops, const char *method, const json_t *params);
/* Sends an open one again. 0 or a negative code. */
int client_send_again(struct client_request *r);
/* Takes it out of the table: it is over. */
void client_close(struct slot_client *c, struct client_request *r);
/* $/cancel for an open request. False: no memory; it was not asked. */
bool client_cancel(struct client_request *r);
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
