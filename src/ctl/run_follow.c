/* See run_follow.h. Credit is given back as bytes are written out: a reader that stops stops the
 * daemon's reading for us, and nothing piles up. */
#include "ctl/run_follow.h"

#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/output.h"
#include "ctl/sink.h"

#define FOLLOW_WINDOW (256 * 1024)

struct run_follow {
	struct slot_stream *stream;
	int64_t job;
	struct sink sinks[3]; /* by descriptor */
	int64_t next[3];      /* byte of each */
	uint64_t unconsumed;  /* bytes that came and have no credit yet */
	bool at_end;
	struct event *soon;
	void (*flushed)(void *arg); /* NULL: the job goes on */
	void *arg;
};

static bool
is_written(const struct run_follow *f)
{
	return sink_is_empty(&f->sinks[1]) && sink_is_empty(&f->sinks[2]);
}

/* From the loop: what can be done now. */
static void
on_soon(evutil_socket_t fd, short what, void *arg)
{
	struct run_follow *f = arg;
	void (*flushed)(void *arg) = f->flushed;

	(void)fd;
	(void)what;
	if (!is_written(f))
		return;
	if (f->unconsumed > 0 && slot_stream_credit(f->stream, f->unconsumed) == 0)
		f->unconsumed = 0;
	if (!f->at_end || flushed == NULL)
		return;
	f->flushed = NULL;
	flushed(f->arg);
}

static void
look_soon(void *arg)
{
	struct run_follow *f = arg;

	event_active(f->soon, EV_TIMEOUT, 0);
}

static void
on_item(struct slot_stream *s, const json_t *item, void *arg)
{
	struct run_follow *f = arg;
	json_int_t fd = json_integer_value(json_object_get(item, "fd"));
	json_int_t off = json_integer_value(json_object_get(item, "off"));
	size_t len = 0;
	char *data = slot_json_to_bytes(json_object_get(item, "data"), &len);

	(void)s;
	f->unconsumed += len;
	if (data != NULL && (fd == 1 || fd == 2)) {
		output_note_missing(f->job, (int)fd, f->next[fd], off);
		f->next[fd] = off + (int64_t)len;
		sink_add(&f->sinks[fd], data, len);
		sink_flush(&f->sinks[fd]);
	}
	free(data);
	look_soon(f);
}

static void
on_end(struct slot_stream *s, int code, const json_t *result, const struct slot_rpc_error *error,
    void *arg)
{
	struct run_follow *f = arg;

	(void)s;
	(void)code; /* job.result fails as well, and says why */
	(void)result;
	(void)error;
	f->at_end = true;
	look_soon(f);
}

struct run_follow *
run_follow_new(struct ctl *ctl, int64_t job)
{
	const struct slot_stream_handlers handlers = { .item = on_item, .end = on_end };
	struct run_follow *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		ctl_error("out of memory");
		return NULL;
	}
	f->soon = event_new(ctl->base, -1, 0, on_soon, f);
	bool made = f->soon != NULL;

	f->job = job;

	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		f->sinks[fd].fd = -1;
		made &= sink_init(&f->sinks[fd], ctl->base, fd, SINK_INHERITED, look_soon, f) == 0;
	}
	int code = -SLOT_ENOMEM;

	if (made)
		f->stream = slot_client_stream(ctl->client, "output.follow",
		    json_pack("{s:I, s:[i,i], s:i}", "job", (json_int_t)job, "fds", 1, 2, "window",
			FOLLOW_WINDOW),
		    &handlers, f, &code);
	if (f->stream != NULL)
		return f;
	ctl_rpc_failure(ctl, code, NULL);
	run_follow_free(f);
	return NULL;
}

void
run_follow_end(struct run_follow *f, void (*flushed)(void *arg), void *arg)
{
	f->flushed = flushed;
	f->arg = arg;
	look_soon(f);
}

void
run_follow_free(struct run_follow *f)
{
	if (f == NULL)
		return;
	slot_stream_free(f->stream);
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		if (f->sinks[fd].buffer != NULL)
			sink_fini(&f->sinks[fd]);
	}
	if (f->soon != NULL)
		event_free(f->soon);
	free(f);
}
