/*
 * Opening: the directory, the lock, the database (journal_database.c), what the process before
 * left over, and the threads. All of it on the caller's thread.
 */
#include "store/journal_internal.h"

#include "core/logger.h"
#include "store/journal_files.h"
#include "store/journal_opening.h"
#include "store/journal_record.h"
#include "store/journal_wal.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITER_BUSY_MS 100
#define READER_BUSY_MS 2000
#define LOCK_TRIES 50          /* of 20 ms: a predecessor that is just dying */

int
opening_refuse(struct opening *op, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(op->why->text, sizeof op->why->text, format, ap);
	va_end(ap);
	return op->why->error = error != 0 ? error : -EIO;
}

int
opening_refuse_sql(struct opening *op, const char *what)
{
	return opening_refuse(op, (sqlite3_errcode(op->db) & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EIO,
	    "%s: %s: %s", op->path, what, sqlite3_errmsg(op->db));
}

/* ---- the directory ---- */

static int
lock_dir(struct opening *op)
{
	for (int i = 0; flock(op->dir_fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return opening_refuse(op, -errno, "%s: %s", op->o->state_dir,
			    strerror(errno));
		if (i == LOCK_TRIES)
			return opening_refuse(op, -EBUSY, "%s: another daemon has this state "
			    "directory", op->o->state_dir);
		poll(NULL, 0, 20);
	}
	return 0;
}

static int
open_dir(struct opening *op)
{
	const char *dir = op->o->state_dir;
	struct stat st;

	op->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (op->dir_fd < 0 || fstat(op->dir_fd, &st) != 0)
		return opening_refuse(op, -errno, "%s: %s", dir, strerror(errno));
	if (st.st_uid != geteuid())
		return opening_refuse(op, -EPERM, "%s: the state directory belongs to uid %u, not "
		    "to us (uid %u)", dir, (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 077) != 0)
		return opening_refuse(op, -EPERM, "%s: the state directory is open to others "
		    "(mode %04o); chmod 700 it", dir, (unsigned)st.st_mode & 07777);
	if (op->o->output_dir != NULL) {
		op->output_fd = open(op->o->output_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (op->output_fd < 0)
			return opening_refuse(op, -errno, "%s: %s", op->o->output_dir,
			    strerror(errno));
	}
	return lock_dir(op);
}

/* ---- what is left over ---- */

/* Files of output that were to be unlinked when the process ended. */
static void
unlink_trash(struct opening *op)
{
	sqlite3_stmt *st;

	if (op->output_fd < 0 ||
	    sqlite3_prepare_v2(op->db, "SELECT file, sum FROM trash", -1, &st, NULL) != SQLITE_OK)
		return;
	while (sqlite3_step(st) == SQLITE_ROW)
		if (record_whole(st, 0, RECORD_TRASH_NCOLUMNS))
			unlinkat(op->output_fd, (const char *)sqlite3_column_text(st, 0), 0);
	sqlite3_finalize(st);
}

/* Adds to the sums of a user. */
static int
add_sums(struct journal *j, const struct sums_history *sums)
{
	struct jhistory *h = history_of(j, sums->uid);

	if (h == NULL)
		return SQLITE_NOMEM;
	h->jobs += (uint64_t)sums->jobs;
	h->bytes += sums->bytes;
	if (h->pruned_seq < sums->pruned_seq)
		h->pruned_seq = sums->pruned_seq;
	h->oldest_us = h->jobs > 0 ? INT64_MIN : INT64_MAX;
	j->store.ndone += (uint64_t)sums->jobs;
	j->store.output_bytes += sums->bytes;
	return SQLITE_OK;
}

static int
load_histories(struct journal *j, const struct opening *op)
{
	sqlite3_stmt *st;
	int error = SQLITE_OK, rc = sqlite3_prepare_v2(op->db, "SELECT uid, jobs, bytes, pruned_seq FROM history", -1,
	    &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	while (error == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		error = add_sums(j, &(struct sums_history){
			.uid = (uint32_t)sqlite3_column_int64(st, 0),
			.jobs = sqlite3_column_int64(st, 1),
			.bytes = sqlite3_column_int64(st, 2),
			.pruned_seq = (uint64_t)sqlite3_column_int64(st, 3),
		});
	sqlite3_finalize(st);
	if (error == SQLITE_OK && rc != SQLITE_DONE)
		error = rc;
	for (size_t i = 0; error == SQLITE_OK && i < op->sums.nhistories; i++)
		error = add_sums(j, &op->sums.histories[i]);
	return error;
}

/* The log of the process before goes into the database, synced, before anything is new. Without
 * room, or with a reader in the way, it is synced where it is. */
static int
settle_log(struct opening *op)
{
	int rc = sqlite3_wal_checkpoint_v2(op->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_FULL:
		return 0;
	}
	return opening_refuse_sql(op, "the write-ahead log can't be settled");
}

/* ---- putting it together ---- */

static void
on_note(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	journal_on_notes(arg);
}

static int
open_notes(struct journal *j)
{
	struct event_base *base = slot_loop_base(j->loop);

	j->note_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (j->note_fd < 0)
		return -errno;
	if (base == NULL)
		return 0;
	j->note_event = event_new(base, j->note_fd, EV_READ | EV_PERSIST, on_note, j);
	return j->note_event != NULL && event_add(j->note_event, NULL) == 0 ? 0 : -ENOMEM;
}

static int
start_threads(struct journal *j, struct opening *op)
{
	static const char reader_modes[] = "PRAGMA cache_size = -2048; PRAGMA query_only = ON";
	struct jwriter_options w = {
		.db = op->db, .dir_fd = op->dir_fd, .output_fd = op->output_fd,
		.note_fd = j->note_fd, .drop_env = op->o->drop_env,
		.trash_is_unlinked = op->output_fd >= 0,
		.sums = &op->sums,
		.retry_ms = op->o->retry_ms, .room_check_ms = op->o->room_check_ms,
	};
	sqlite3 *db = NULL;
	int error;

	w.ballast = ballast_size(op->dir_fd);
	w.degraded = w.ballast <= 0 || ballast_reserve(op->dir_fd, w.ballast) != 0;
	if (w.degraded)
		slot_log(op->o->logger, SLOT_LOG_WARN, "%s: there is hardly any room: new jobs are "
		    "refused until there is", op->o->state_dir);
	sqlite3_busy_timeout(op->db, WRITER_BUSY_MS);
	if (opening_connect(op->path, SQLITE_OPEN_READONLY, READER_BUSY_MS, &db) != SQLITE_OK ||
	    sqlite3_exec(db, reader_modes, NULL, NULL, NULL) != SQLITE_OK ||
	    (j->reader = jreader_new(db, op->output_fd, j->note_fd)) == NULL) {
		opening_refuse(op, -EIO, "%s: %s", op->path, sqlite3_errmsg(db));
		sqlite3_close(db);
		return op->why->error;
	}
	j->writer = jwriter_new(&w);
	if (j->writer == NULL)
		return opening_refuse_sql(op, "can't be written");
	op->db = NULL;
	j->store.degraded = w.degraded;
	error = jwriter_start(j->writer);
	return error == 0 ? 0 : opening_refuse(op, error, "no thread for the journal: %s",
	    strerror(-error));
}

static void
fill(struct journal *j, const struct opening *op)
{
	const struct journal_options *o = op->o;

	j->store.ops = &journal_ops;
	j->store.durable = true;
	j->store.rebooted = op->rebooted && !op->fresh;
	j->store.bounds = o->bounds;
	j->store.hooks = o->hooks;
	j->store.instance = op->instance;
	j->store.next_id = op->sums.next_id;
	j->store.last_seq = op->sums.last_seq;
	j->loop = o->loop;
	j->logger = o->logger;
	j->dir_fd = op->dir_fd;
	j->output_fd = op->output_fd;
	j->note_fd = -1;
	j->normal = o->normal;
	j->drop_env = o->drop_env;
	j->held_last = &j->held;
	j->recent.from = op->sums.last_seq + 1;
	j->told_seq = op->sums.last_seq;
}

static struct store *
build(struct opening *op)
{
	struct journal *j = calloc(1, sizeof *j);
	int error;

	if (j == NULL) {
		opening_refuse(op, -ENOMEM, "out of memory");
		return NULL;
	}
	fill(j, op);
	unlink_trash(op);
	error = settle_log(op);
	if (error == 0 && !op->o->normal) /* (without that, a hole is only warned of) */
		wal_note_full(op->dir_fd, true);
	if (error == 0 && load_histories(j, op) != SQLITE_OK)
		error = opening_refuse_sql(op, "can't be read");
	if (error == 0 && (error = open_notes(j)) != 0)
		opening_refuse(op, error, "%s", strerror(-error));
	if (error == 0 && start_threads(j, op) == 0)
		return &j->store;
	/* As journal_free, of what there is. */
	if (j->writer != NULL)
		jwriter_free(j->writer, &(bool){ false });
	if (j->reader != NULL)
		jreader_free(j->reader);
	if (j->note_event != NULL)
		event_free(j->note_event);
	if (j->note_fd >= 0)
		close(j->note_fd);
	history_fini(j);
	free(j);
	return NULL;
}

struct store *
store_journal_open(const struct journal_options *options, struct journal_error *why)
{
	struct opening op = { .o = options, .why = why, .dir_fd = -1, .output_fd = -1 };
	struct store *s = NULL;
	int n = snprintf(op.path, sizeof op.path, "%s/journal", options->state_dir);

	memset(why, 0, sizeof *why);
	if (n < 0 || (size_t)n >= sizeof op.path)
		opening_refuse(&op, -ENAMETOOLONG, "the path of the state directory is too long");
	else if (open_dir(&op) == 0 && opening_database(&op) == 0)
		s = build(&op);
	if (s != NULL)
		return s;
	sqlite3_close(op.db);
	if (op.output_fd >= 0)
		close(op.output_fd);
	if (op.dir_fd >= 0)
		close(op.dir_fd);
	return NULL;
}
