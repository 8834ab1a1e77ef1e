#ifndef ENGINE_LOAD_H
#define ENGINE_LOAD_H
/*
 * What a request needs and the store may have to read first. Functions here that return a bool say
 * true where all of it is at hand. Else the request is suspended (or, where the store failed, was
 * answered): the caller returns at once and touches nothing of it any more. Once the read is
 * answered the request goes on: one with a pump is pumped, of others the handler runs again from
 * its beginning. So handlers load before they change anything.
 *
 * While a handler is suspended its session handles no further input, so that requests keep their
 * order. A stream, a waiting request or a submit held for room holds up nothing but itself.
 *
 * What was read is referenced, and so found in memory, until load_release or the request's end.
 */
#include "engine/request.h"

struct load;

/* The rows with these ids, as far as there are any: the store finds them in memory. */
bool load_rows(struct request *req, const int64_t *ids, size_t n);
/* The same, and none of the pending ones is shelved any more. */
bool load_jobs(struct request *req, const int64_t *ids, size_t n);
/* The rows that the session's uid submitted under these keys (NULL: passed over) … */
bool load_keys(struct request *req, const char *const *keys, size_t n);
/* … of which this is one, borrowed. NULL: there is none. */
struct row *load_key(const struct request *req, const char *key);
/* The oldest id in the caller's history. */
bool load_oldest(struct request *req, int64_t *oldest);
/* A page of rows: `what` says which; the answer is the request's until it ends. */
bool load_page(struct request *req, const struct store_read *what,
    const struct store_read **answer);

/* Is this stream's output (1, 2) to be read, as the row's capture is gone? */
bool load_needs_output(const struct request *req, const struct row *row, int stream);
/* Such output of done rows, from the first kept byte: at most `max` bytes a stream, `budget` in
 * all. */
bool load_outputs(struct request *req, struct row *const *rows, size_t n, int64_t max,
    size_t budget);
/* Up to `max` bytes of one stream, from `off` on. */
bool load_output_at(struct request *req, struct row *row, int stream, int64_t off, size_t max);
/* What these two brought. False: nothing. *off, where wanted, is the offset of its first byte. */
bool load_kept(const struct request *req, const struct row *row, int stream,
    struct msg_bytes *out, int64_t *off);
/* It was sent: lets go of it. */
void load_forget_outputs(struct request *req);

/* Suspends the request until the loop has looked after others. */
void load_yield(struct request *req);
/* It is suspended. */
bool load_busy(const struct request *req);
/* Lets go of all that was read; not while it is suspended. */
void load_release(struct request *req);
/* The request ends. */
void load_free(struct request *req);

/* A row was made under a key: whoever is just looking for that must find it. */
void load_key_made(struct engine *e, struct row *row);

#endif
