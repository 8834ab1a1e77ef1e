/*
 * Captures: two streams, and what their owner is told of them.
 */
#include "engine/capture.h"

#include "core/container.h"
#include "core/loop.h"
#include "engine/capture_stream.h"
#include "engine/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define FILES_MIN 16

_Static_assert(CAPTURE_NAME_MAX == RING_NAME_MAX, "what is taken says the name");

struct capture {
	struct capture_pool *pool;
	const struct capture_handlers *handlers;
	void *arg;
	struct slot_call news;
	struct capture_stream streams[2];
	uint32_t attempt;
	unsigned refs; /* at 0 it lives on until the thread gave its pipes back */
	bool want_data;
	bool has_data; /* on_data is due */
	bool draining;
	bool told_drained;
};

static struct capture *
stream_capture(struct capture_stream *s)
{
	return slot_container_of(s - (s->number - 1), struct capture, streams);
}

static bool
all_closed(const struct capture *c)
{
	return capture_stream_closed(&c->streams[0]) && capture_stream_closed(&c->streams[1]);
}

static void
free_when_unused(struct capture *c)
{
	if (c->refs > 0 || !all_closed(c))
		return;
	slot_loop_call_cancel(c->pool->loop, &c->news);
	capture_stream_fini(&c->streams[0]);
	capture_stream_fini(&c->streams[1]);
	free(c);
}

/* ---- telling the owner ---- */

static void
run_news(struct slot_call *call)
{
	struct capture *c = slot_container_of(call, struct capture, news);
	bool has_data = c->has_data;

	capture_ref(c);
	c->has_data = false;
	if (has_data && c->handlers && c->handlers->on_data)
		c->handlers->on_data(c, c->arg);
	if (c->draining && !c->told_drained && all_closed(c)) {
		c->told_drained = true;
		if (c->handlers && c->handlers->on_drained)
			c->handlers->on_drained(c, c->arg);
	}
	capture_unref(c);
}

static void
on_data(struct capture_stream *s)
{
	struct capture *c = stream_capture(s);

	if (c->refs == 0 || !c->want_data || !c->handlers || !c->handlers->on_data)
		return;
	c->has_data = true;
	slot_loop_call_soon(c->pool->loop, &c->news);
}

static void
announce_drained(struct capture *c)
{
	if (c->refs > 0 && c->draining && !c->told_drained && all_closed(c))
		slot_loop_call_soon(c->pool->loop, &c->news);
}

static void
on_closed(struct capture_stream *s)
{
	struct capture *c = stream_capture(s);

	announce_drained(c);
	free_when_unused(c);
}

/* ---- the pool ---- */

static struct capture_pool *
pool_new(struct slot_loop *loop, const char *files_dir, struct spool *spool)
{
	struct capture_pool *pool = calloc(1, sizeof(*pool));
	struct rlimit files;

	if (!pool)
		return NULL;
	pool->landings = spool ? spool_landings(spool) : &pool->own_landings;
	pool->files_dir = strdup(files_dir);
	if (!pool->files_dir || (!spool && spool_landings_open(pool->landings, NULL, "") < 0)) {
		free(pool->files_dir);
		free(pool);
		return NULL;
	}
	pool->spool = spool;
	pool->loop = loop;
	pool->on_data = on_data;
	pool->on_closed = on_closed;
	capture_pool_watch_init(pool);
	pthread_mutex_init(&pool->group.lock, NULL);
	pool->files_max = INT64_MAX;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 4 < INT64_MAX)
		pool->files_max = (int64_t)(files.rlim_cur / 4);
	if (pool->files_max < FILES_MIN)
		pool->files_max = FILES_MIN;
	return pool;
}

struct capture_pool *
capture_pool_new(struct slot_loop *loop, const char *spool_dir)
{
	if (!spool_dir)
		spool_dir = getenv("TMPDIR");
	return pool_new(loop, spool_dir && *spool_dir ? spool_dir : "/tmp", NULL);
}

struct capture_pool *
capture_pool_new_durable(struct slot_loop *loop, struct spool *spool)
{
	struct capture_pool *pool = pool_new(loop, spool_output_dir(spool), spool);

	if (!pool)
		spool_free(spool);
	return pool;
}

void
capture_pool_free(struct capture_pool *pool)
{
	struct capture_thread *thread;

	if (!pool)
		return;
	thread = pool->thread;
	pool->thread = NULL; /* nothing more for it to do when its last notes free captures */
	pool->ending = true;
	capture_thread_free(thread);
	slot_loop_timer_clear(pool->loop, &pool->watch_timer);
	spool_landings_close(&pool->own_landings);
	spool_free(pool->spool);
	pthread_mutex_destroy(&pool->group.lock);
	free(pool->files_dir);
	free(pool);
}

const char *
capture_pool_files_dir(const struct capture_pool *pool)
{
	return pool->files_dir;
}

void
capture_pool_leave(struct capture_pool *pool)
{
	pool->leaving = true;
}

void
capture_pool_unlink(struct capture_pool *pool, const char *name)
{
	struct ring_name parsed;

	if (ring_name_parse(name, &parsed))
		capture_pool_drop_file(pool, -1, 0, &parsed);
}

struct sweep {
	struct capture_pool *pool;
	capture_keep_cb keep;
	void *arg;
	int64_t dropped;
};

static bool
sweep_keeps(void *arg, const struct ring_name *name)
{
	struct sweep *sweep = arg;

	return sweep->keep && sweep->keep(sweep->arg, name);
}

static void
sweep_drops(void *arg, const struct ring_name *name)
{
	struct sweep *sweep = arg;

	sweep->dropped++;
	capture_pool_drop_file(sweep->pool, -1, 0, name);
}

int64_t
capture_pool_sweep(struct capture_pool *pool, capture_keep_cb keep, void *arg)
{
	struct sweep sweep = {pool, keep, arg, 0};

	if (pool->spool)
		spool_sweep(pool->spool, sweep_keeps, sweep_drops, &sweep);
	return sweep.dropped;
}

int64_t
capture_pool_bytes(const struct capture_pool *pool)
{
	return atomic_load_explicit(&pool->group.kept_bytes, memory_order_relaxed);
}

int64_t
capture_pool_files(const struct capture_pool *pool)
{
	return atomic_load_explicit(&pool->group.files, memory_order_relaxed);
}

/* ---- captures ---- */

struct capture *
capture_new(struct capture_pool *pool, int64_t limit_bytes,
    const struct capture_handlers *handlers, void *arg)
{
	struct capture *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->pool = pool;
	c->handlers = handlers;
	c->arg = arg;
	c->news.run = run_news;
	c->refs = 1;
	c->want_data = true;
	capture_stream_init(&c->streams[0], pool, 1, limit_bytes);
	capture_stream_init(&c->streams[1], pool, 2, limit_bytes);
	return c;
}

struct capture *
capture_ref(struct capture *c)
{
	c->refs++;
	return c;
}

void
capture_unref(struct capture *c)
{
	if (!c || --c->refs > 0)
		return;
	slot_loop_call_cancel(c->pool->loop, &c->news);
	capture_stream_drop(&c->streams[0]);
	capture_stream_drop(&c->streams[1]);
	free_when_unused(c);
}

void
capture_detach(struct capture *c)
{
	c->handlers = NULL;
	c->arg = NULL;
	slot_loop_call_cancel(c->pool->loop, &c->news);
}

void
capture_want_data(struct capture *c, bool want)
{
	c->want_data = want;
	if (!want)
		c->has_data = false;
	capture_stream_want_data(&c->streams[0], want);
	capture_stream_want_data(&c->streams[1], want);
}

int
capture_open(struct capture *c, int stream, int *write_end)
{
	if (c->draining)
		return -EALREADY;
	return capture_stream_open(&c->streams[stream - 1], c->want_data, write_end);
}

void
capture_name(struct capture *c, uint64_t job, uint32_t attempt)
{
	int i;

	c->attempt = attempt;
	for (i = 0; c->pool->spool && i < 2; i++) {
		struct ring_name name = {job, attempt, (uint8_t)(i + 1)};

		ring_set_spool(&c->streams[i].ring, c->pool->spool, &name);
	}
}

uint32_t
capture_attempt(const struct capture *c)
{
	return c->attempt;
}

int
capture_adopt(struct capture *c, int stream, int read_end)
{
	return capture_stream_adopt(&c->streams[stream - 1], c->want_data, read_end);
}

int
capture_dup_read_end(const struct capture *c, int stream)
{
	return capture_stream_dup(&c->streams[stream - 1]);
}

void
capture_drain(struct capture *c)
{
	if (c->draining)
		return;
	c->draining = true;
	capture_stream_drain(&c->streams[0]);
	capture_stream_drain(&c->streams[1]);
	announce_drained(c);
}

/* ---- what was captured ---- */

static struct ring_bounds
stream_bounds(const struct capture *c, int stream)
{
	return ring_bounds(&c->streams[stream - 1].ring);
}

int64_t
capture_end(const struct capture *c, int stream)
{
	return stream_bounds(c, stream).end;
}

int64_t
capture_start(const struct capture *c, int stream)
{
	return stream_bounds(c, stream).start;
}

int64_t
capture_kept_bytes(const struct capture *c, int stream)
{
	struct ring_bounds b = stream_bounds(c, stream);

	return b.end - b.start;
}

bool
capture_closed(const struct capture *c, int stream)
{
	return capture_stream_closed(&c->streams[stream - 1]);
}

bool
capture_truncated(const struct capture *c)
{
	return capture_start(c, 1) > 0 || capture_start(c, 2) > 0;
}

int
capture_error(const struct capture *c)
{
	int error = stream_bounds(c, 1).error;

	return error ? error : stream_bounds(c, 2).error;
}

int
capture_mortal(const struct capture *c)
{
	int error = stream_bounds(c, 1).mortal;

	return error ? error : stream_bounds(c, 2).mortal;
}

bool
capture_take(const struct capture *c, int stream, struct capture_output *output)
{
	const struct ring *r = &c->streams[stream - 1].ring;

	memset(output, 0, sizeof(*output));
	if (!capture_closed(c, stream))
		return false;
	output->start = r->start;
	output->end = r->end;
	output->nparts = ring_memory_parts(r, output->parts);
	if (r->fd >= 0 && r->name.job != 0 && r->end > r->start) {
		ring_name_format(&r->name, output->name);
		output->room = r->room;
	}
	return output->nparts > 0 || output->name[0];
}

void
capture_keep_files(struct capture *c)
{
	c->streams[0].ring.keep_file = true;
	c->streams[1].ring.keep_file = true;
}

ssize_t
capture_read(struct capture *c, int stream, int64_t *off, void *buf, size_t max)
{
	return ring_read(&c->streams[stream - 1].ring, off, buf, max);
}
