#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H
/*
 * One request in flight: a handler answers it at once, or gives it ops and a state and answers
 * later. A stream is a request that sends items until its one response. Whoever answers gives the
 * request away: it is freed.
 */
#include "engine/context.h"
#include "engine/session.h"
#include "wire/message.h"

struct request;

struct request_ops {
	/* $/cancel came, or the session is gone: let go of everything the state holds. The request
	 * is freed afterwards (and answered -32800 when cancelled). */
	void (*drop)(struct request *req, bool cancelled);
	/* Streams: there may be room, credit or something new; send what can be sent. */
	void (*pump)(struct request *req);
	/* Streams opened with a window: the client consumed n. */
	void (*credit)(struct request *req, int64_t n);
	/* The session's output was written to the kernel up to session->written. */
	void (*delivered)(struct request *req);
};

struct request {
	TAILQ_ENTRY(request) entry;     /* of its session */
	TAILQ_ENTRY(request) listed;    /* in a list of the engine's, where `list` says so */
	struct request_list *list;
	struct session *session;
	struct engine *engine;
	const struct jsonr *id;         /* lies in the call's arena */
	struct msg_call call;
	const struct request_ops *ops;  /* NULL: answered by its handler */
	void *state;
	struct load *load;              /* what was or is read for it; NULL: nothing yet */
	size_t watched;                 /* ids it names */
	size_t swept;                   /* of them, those that a sweep is done with … */
	bool checked;                   /* … in its second pass: methods_sweep.c */
	uint64_t need_jobs;             /* held: so much room it waits for */
	int64_t need_bytes;
	struct slot_call wake;          /* a pump is due */
	bool waiting;
	bool stream;
	bool held;                      /* a submit that waits for room … */
	void (*try_again)(struct request *req); /* … and is tried again so */
	int64_t n;                      /* items sent */
	int64_t window;                 /* what may still be sent; -1: no window */
	unsigned nfds;
	int fds[MSG_FDS_MAX];           /* that came with it; -1 once taken */
};

typedef void (*request_handler)(struct request *req);

/* The handler of each method: from the tables of the methods_*.c files. */
request_handler request_handler_of(enum msg_method_id id);

struct request_method {
	enum msg_method_id id;
	request_handler handler;
};

/* A line of `s` was parsed into parsed (consumed): make a request of it and handle it. */
void request_handle(struct session *s, struct rpc_request *parsed, const int *fds, unsigned nfds);

/* ---- answering: each frees the request ---- */

void request_reply(struct request *req, const void *result); /* as msg_result_write */
void request_fail(struct request *req, const struct rpc_failure *failure);
void request_error(struct request *req, enum rpc_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void request_bad_param(struct request *req, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void request_no_memory(struct request *req);
/* The job is unknown, or another's: the same answer. */
void request_no_such_job(struct request *req, uint64_t job);
/* The job's row, if there is one that the caller may see; else NULL: it was answered so, or is
 * suspended until the row is read (load.h), and isn't the caller's any more. */
struct row *request_row(struct request *req, int64_t job);
/* Are there rows, which the caller may see, for all of them? False as above. */
bool request_rows(struct request *req, const struct msg_int_list *jobs);
/* The live job of a row that is pending or running, borrowed, taken from the shelf if need be.
 * NULL: out of memory. */
struct job *request_live(struct engine *e, struct row *row);
/* The row's job as a future, counted. NULL: out of memory. */
struct job *request_job(struct engine *e, struct row *row);
/* The disk of the journal is full: what would add to it is refused. True: it was answered so. */
bool request_refused_degraded(struct request *req);
/* The same as a failure: 0, or -1. */
int request_check_degraded(const struct engine *e, struct rpc_failure *why);
/* begin … (value, or members of data) … end, where the structs don't fit. */
void request_result_begin(struct request *req, struct jsonw *w);
void request_result_end(struct request *req, struct jsonw *w);
void request_error_begin(struct request *req, struct jsonw *w, enum rpc_error error,
    const char *message);
void request_error_end(struct request *req, struct jsonw *w);

/* ---- waiting ---- */

/* May one more of its connection wait? False: it was answered TooManyInFlight. Ask before there
 * are side effects. */
bool request_may_wait(struct request *req);
/* The request will be answered later. Counts in max_in_flight. */
void request_wait(struct request *req, const struct request_ops *ops, void *state);
/* … soon, by our own launcher or store: it doesn't count, and holds back reading instead. */
void request_park(struct request *req, const struct request_ops *ops, void *state);
/* … and sends items; window -1 for none. */
void request_stream(struct request *req, const struct request_ops *ops, void *state,
    int64_t window);
/* Counts n job ids that it names, once, against the connection's bound. False: answered
 * LimitExceeded. */
bool request_watch(struct request *req, size_t n);
/* Into one of the engine's lists, until it ends. */
void request_enlist(struct request *req, struct request_list *list);
/* The same, to give it up early. */
void request_delist(struct request *req);
/* Ends it without an answer (its session is gone); ops->drop has been called or isn't needed. */
void request_free(struct request *req);
/* Drops a waiting request: ops->drop, the answer -32800 where cancelled, and frees it. */
void request_drop(struct request *req, bool cancelled);

/* The request in flight with this id. NULL: none. */
struct request *request_find(struct session *s, const struct jsonr *id);

/* ---- streams ---- */

/* Pump soon. */
void request_wake(struct request *req);
/* An answer that waits for room: ops->pump is called when there is some. */
void request_defer(struct request *req);
/* May an item be sent now? (Room in the session, credit in the window.) */
bool request_can_send(const struct request *req);
/* begin … members … end; spends `cost` of the window. */
void request_item_begin(struct request *req, struct jsonw *w);
void request_item_end(struct request *req, struct jsonw *w, int64_t cost);
/* Loads what with_output wants of a row, before it is sent; false as in load.h. */
bool request_load_output(struct request *req, struct row *row, int64_t with_output);
/* One item: the completion of a done row. 0, or -ENOMEM: nothing was sent. */
int request_send_completion(struct request *req, const struct row *row, int64_t with_output);
/* Adds credit to the window. */
void request_add_window(struct request *req, int64_t n);
/* Wakes the streams of a session that has room again, tells deliveries. */
void request_session_progress(struct session *s);

#endif
