/*
 * The writer's loop and what it does about errors; see journal_writer.h. The two sides share the
 * fields under the lock and nothing else. (Long, because what to do about an error depends on all
 * of its state: degraded, stuck, ballast, log.)
 */
#include "store/journal_writer.h"

#include "core/failpoint.h"
#include "store/journal_apply.h"
#include "store/journal_files.h"
#include "store/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 250        /* between two attempts while nothing can be written */
#define ROOM_CHECK_MS 1000  /* between two looks whether the ballast can be had again */
#define WAL_WARN_BYTES (64 * 1024 * 1024)
#define CHECKPOINT_PAGES_MAX 1000
#define CHECKPOINT_PAGES_MIN 16
#define CHECKPOINT_BUSY_FACTOR 4 /* while there is work, only when so much longer */
#define PAGE_BYTES 4096

enum verdict { WRITTEN, NO_ROOM, NOT_NOW, FAILED };

struct queue {
	struct jbatch *first, **last;
};

struct jwriter {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool started;
	int note_fd;

	/* Under the lock. */
	struct queue queued, done;
	struct jwriter_state state;
	bool stop;

	/* The thread's. */
	sqlite3 *db;
	struct apply apply;
	int dir_fd, output_fd;
	int retry_ms, room_check_ms;
	int64_t ballast_bytes, next_look_ms;
	bool has_ballast, degraded, stuck, not_now;
	int64_t warn_bytes;   /* a log larger than that is told of */
	struct queue pending; /* taken, not committed */
	int wal_pages;
	int checkpoint_pages, next_checkpoint; /* pages in the log */
	char failed[160];
};

static void
queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

/* Moves everything of `from` to the end of `to`. */
static void
queue_concat(struct queue *to, struct queue *from)
{
	if (from->first == NULL)
		return;
	*to->last = from->first;
	to->last = from->last;
	queue_init(from);
}

static void
ring(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(fd, &one, sizeof one);
	while (n < 0 && errno == EINTR); /* EAGAIN: it is awake */
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- what went wrong ---- */

static void
fail(struct jwriter *w, const char *what, const char *detail)
{
	if (w->failed[0] == '\0')
		snprintf(w->failed, sizeof w->failed, "%s: %s", what, detail);
}

static enum verdict
judge(struct jwriter *w, int rc, const char *what)
{
	if (rc == SQLITE_OK)
		return WRITTEN;
	if (files_no_room(w->db, rc))
		return NO_ROOM;
	if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED ||
	    (rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM)
		return NOT_NOW;
	if ((rc & 0xff) == SQLITE_CORRUPT)
		files_set_suspect(w->dir_fd, true);
	fail(w, what, w->apply.disagrees != NULL ? w->apply.disagrees : sqlite3_errmsg(w->db));
	return FAILED;
}

/* ---- the log ---- */

static int
on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct jwriter *w = arg;

	(void)db;
	(void)name;
	if (pages < w->wal_pages)
		w->next_checkpoint = w->checkpoint_pages; /* it began anew */
	w->wal_pages = pages;
	return SQLITE_OK;
}

static void
checkpoint(struct jwriter *w, int mode)
{
	int rc;

	failpoint(FAILPOINT_CHECKPOINT_BEFORE);
	rc = sqlite3_wal_checkpoint_v2(w->db, NULL, mode, NULL, NULL);
	judge(w, rc, "checkpoint"); /* without room, or with readers in the way: later */
	w->next_checkpoint = w->wal_pages + w->checkpoint_pages;
}

static void
checkpoint_when_long(struct jwriter *w, bool idle)
{
	int at = idle ? w->next_checkpoint :
	    w->next_checkpoint + (CHECKPOINT_BUSY_FACTOR - 1) * w->checkpoint_pages;

	if (w->wal_pages >= at)
		checkpoint(w, SQLITE_CHECKPOINT_PASSIVE);
}

/* Copies the log back early where the file system is small. */
static void
tune(struct jwriter *w)
{
	int64_t pages = files_fs_bytes(w->dir_fd) / PAGE_BYTES / 16;
	char sql[64];

	if (pages > CHECKPOINT_PAGES_MAX || pages == 0)
		pages = CHECKPOINT_PAGES_MAX;
	if (pages < CHECKPOINT_PAGES_MIN)
		pages = CHECKPOINT_PAGES_MIN;
	w->checkpoint_pages = w->next_checkpoint = (int)pages;
	snprintf(sql, sizeof sql, "PRAGMA journal_size_limit = %d",
	    (int)pages * PAGE_BYTES * CHECKPOINT_BUSY_FACTOR);
	sqlite3_exec(w->db, sql, NULL, NULL, NULL);
	sqlite3_wal_hook(w->db, on_wal, w);
}

/* ---- telling the loop ---- */

static void
post(struct jwriter *w, struct queue *done)
{
	int64_t wal_bytes = (int64_t)w->wal_pages * PAGE_BYTES;
	bool big = wal_bytes > w->warn_bytes;

	if (big)
		w->warn_bytes = wal_bytes * 2; /* once more when it has doubled … */
	else if (wal_bytes < WAL_WARN_BYTES / 2)
		w->warn_bytes = WAL_WARN_BYTES; /* … or begun anew */
	pthread_mutex_lock(&w->lock);
	if (done != NULL)
		queue_concat(&w->done, done);
	w->state.degraded = w->degraded;
	w->state.stuck = w->stuck;
	w->state.not_now = w->stuck && w->not_now;
	w->state.wal_is_big = w->state.wal_is_big || big;
	w->state.wal_bytes = wal_bytes;
	memcpy(w->state.failed, w->failed, sizeof w->failed);
	pthread_mutex_unlock(&w->lock);
	ring(w->note_fd);
}

static void
unlink_output(struct jwriter *w)
{
	struct apply *a = &w->apply;

	for (size_t i = 0; i < a->nfiles && w->output_fd >= 0; i++)
		unlinkat(w->output_fd, a->files[i], 0);
	a->trash_is_unlinked = a->nfiles > 0;
	apply_files_free(a);
}

/* ---- writing ---- */

/* Writes the first n of what is pending in one transaction. */
static enum verdict
transact(struct jwriter *w, size_t n)
{
	struct apply *a = &w->apply;
	struct jbatch *b = w->pending.first;
	int rc = apply_begin(a);

	for (; rc == SQLITE_OK && b != NULL && n > 0; b = b->next, n--) {
		if (b->prunes)
			failpoint(FAILPOINT_PRUNE_BEFORE);
		rc = apply_batch(a, b);
	}
	if (rc == SQLITE_OK)
		rc = apply_finish(a);
	if (rc == SQLITE_OK) {
		failpoint(FAILPOINT_COMMIT_BEFORE);
		rc = apply_commit(a);
	}
	if (rc != SQLITE_OK) {
		enum verdict v = judge(w, rc, "journal");

		apply_rollback(a);
		return v;
	}
	failpoint(FAILPOINT_COMMIT_AFTER);
	/* Into a file that nobody will find again is as good as nowhere. */
	if (files_moved(w->db, w->dir_fd)) {
		fail(w, "journal", "its files were removed or replaced");
		return FAILED;
	}
	return WRITTEN;
}

static enum verdict
transact_in_need(struct jwriter *w, size_t n)
{
	enum verdict v = transact(w, n);

	if (v != NO_ROOM)
		return v;
	checkpoint(w, SQLITE_CHECKPOINT_PASSIVE); /* its pages may be used again then */
	v = transact(w, n);
	if (v != NO_ROOM || !w->has_ballast)
		return v;
	ballast_give_up(w->dir_fd);
	w->has_ballast = false;
	w->degraded = true;
	w->next_look_ms = now_ms() + w->room_check_ms;
	post(w, NULL);
	checkpoint(w, SQLITE_CHECKPOINT_PASSIVE);
	return transact(w, n);
}

static size_t
length(const struct jbatch *b)
{
	size_t n = 0;

	for (; b != NULL; b = b->next)
		n++;
	return n;
}

/* Moves the first n of what is pending to `done`. */
static void
split(struct jwriter *w, size_t n, struct queue *done)
{
	struct jbatch *b = w->pending.first;

	for (size_t i = 1; i < n; i++)
		b = b->next;
	done->first = w->pending.first;
	done->last = &b->next;
	w->pending.first = b->next;
	if (b->next == NULL)
		w->pending.last = &w->pending.first;
	b->next = NULL;
}

/* One attempt at what is pending; what the disk may have no room for at once goes bit by bit.
 * True: some of it was written. */
static bool
write_pending(struct jwriter *w)
{
	size_t n = w->stuck ? 1 : length(w->pending.first);
	enum verdict v = transact_in_need(w, n);
	struct queue done;

	if (v == NO_ROOM && n > 1)
		v = transact_in_need(w, n = 1);
	switch (v) {
	case WRITTEN:
		split(w, n, &done);
		w->stuck = w->stuck && w->pending.first != NULL;
		if (w->degraded && w->has_ballast)
			w->degraded = w->stuck;
		post(w, &done);
		unlink_output(w); /* (may take its time) */
		return true;
	case NO_ROOM:
	case NOT_NOW:
		w->not_now = v == NOT_NOW;
		if (!w->stuck || !w->degraded) {
			w->stuck = w->degraded = true;
			post(w, NULL);
		}
		break;
	case FAILED:
		break;
	}
	return false;
}

/* ---- the thread ---- */

static void
deadline_in(struct timespec *ts, long ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

/* Waits until there is work, and takes it. False: it shall end. */
static bool
await(struct jwriter *w, bool blocked)
{
	struct timespec until;
	bool stop, timed = w->degraded && w->failed[0] == '\0';
	int rc = 0;

	deadline_in(&until, blocked ? w->retry_ms : w->room_check_ms);
	pthread_mutex_lock(&w->lock);
	while (!w->stop && (blocked || w->failed[0] != '\0' || w->queued.first == NULL) && rc == 0)
		rc = timed || blocked ? pthread_cond_timedwait(&w->wake, &w->lock, &until) :
		    pthread_cond_wait(&w->wake, &w->lock);
	if (w->failed[0] == '\0')
		queue_concat(&w->pending, &w->queued);
	stop = w->stop;
	pthread_mutex_unlock(&w->lock);
	return !stop;
}

static bool
is_idle(struct jwriter *w)
{
	bool idle;

	pthread_mutex_lock(&w->lock);
	idle = w->queued.first == NULL;
	pthread_mutex_unlock(&w->lock);
	return idle;
}

static void
look_for_room(struct jwriter *w)
{
	if (!w->degraded || w->pending.first != NULL || now_ms() < w->next_look_ms)
		return;
	w->next_look_ms = now_ms() + w->room_check_ms;
	/* (A smaller one will do: else a small disk that served well before would not again.) */
	if (ballast_reserve(w->dir_fd, w->ballast_bytes) != 0 &&
	    ballast_reserve(w->dir_fd, ballast_size(w->dir_fd)) != 0)
		return;
	w->has_ballast = true;
	w->degraded = w->stuck = false;
	post(w, NULL);
}

static void
turn(struct jwriter *w)
{
	while (w->pending.first != NULL && write_pending(w))
		;
	look_for_room(w);
	if (w->failed[0] == '\0')
		checkpoint_when_long(w, is_idle(w));
	if (w->failed[0] != '\0')
		post(w, NULL);
}

/* Leaves nothing for the next start to gather, where that can be. */
static void
settle(struct jwriter *w)
{
	struct apply *a = &w->apply;
	int rc = apply_begin(a);

	a->sums.due = true;
	if (rc == SQLITE_OK)
		rc = apply_finish(a);
	if (rc == SQLITE_OK)
		rc = apply_commit(a);
	judge(w, rc, "journal"); /* (a disk that failed isn't asked to sync once more) */
	if (rc != SQLITE_OK)
		apply_rollback(a);
}

static void *
thread_main(void *arg)
{
	struct jwriter *w = arg;
	bool blocked = false;

	while (await(w, blocked)) {
		turn(w);
		blocked = w->pending.first != NULL && w->failed[0] == '\0';
	}
	while (w->pending.first != NULL && w->failed[0] == '\0' && write_pending(w))
		;
	if (w->failed[0] == '\0' && w->pending.first == NULL)
		settle(w);
	if (w->failed[0] == '\0')
		checkpoint(w, SQLITE_CHECKPOINT_TRUNCATE);
	return NULL;
}

/* ---- the loop's side ---- */

struct jwriter *
jwriter_new(const struct jwriter_options *o)
{
	struct jwriter *w = calloc(1, sizeof *w);
	pthread_condattr_t attr;

	if (w == NULL)
		return NULL;
	if (apply_init(&w->apply, o->db, o->drop_env) != SQLITE_OK) {
		apply_fini(&w->apply);
		free(w);
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	queue_init(&w->queued);
	queue_init(&w->done);
	queue_init(&w->pending);
	w->db = o->db;
	w->note_fd = o->note_fd;
	w->dir_fd = o->dir_fd;
	w->output_fd = o->output_fd;
	w->retry_ms = o->retry_ms != 0 ? o->retry_ms : RETRY_MS;
	w->room_check_ms = o->room_check_ms != 0 ? o->room_check_ms : ROOM_CHECK_MS;
	w->ballast_bytes = o->ballast;
	w->warn_bytes = WAL_WARN_BYTES;
	w->has_ballast = !o->degraded;
	w->degraded = w->state.degraded = o->degraded;
	w->apply.trash_is_unlinked = o->trash_is_unlinked;
	w->apply.sums.now = *o->sums;
	tune(w);
	return w;
}

int
jwriter_start(struct jwriter *w)
{
	int rc = thread_start(&w->thread, "slotd-journal", thread_main, w);

	w->started = rc == 0;
	return rc;
}

void
jwriter_put(struct jwriter *w, struct jbatch *batch)
{
	batch->next = NULL;
	pthread_mutex_lock(&w->lock);
	*w->queued.last = batch;
	w->queued.last = &batch->next;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

struct jbatch *
jwriter_take(struct jwriter *w, struct jwriter_state *state)
{
	struct jbatch *first;

	pthread_mutex_lock(&w->lock);
	first = w->done.first;
	queue_init(&w->done);
	*state = w->state;
	w->state.wal_is_big = false;
	pthread_mutex_unlock(&w->lock);
	return first;
}

struct jbatch *
jwriter_free(struct jwriter *w, bool *lost)
{
	struct jbatch *left;

	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	if (w->started)
		pthread_join(w->thread, NULL);
	*lost = w->pending.first != NULL || w->queued.first != NULL;
	queue_concat(&w->done, &w->pending);
	queue_concat(&w->done, &w->queued);
	left = w->done.first;
	apply_fini(&w->apply);
	sqlite3_close(w->db);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return left;
}
