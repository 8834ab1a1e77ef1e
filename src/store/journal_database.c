/*
 * The database of a journal: judging one that is there, setting aside what can't be used, an
 * upgrade.
 */
#include "store/journal_opening.h"

#include "core/logger.h"
#include "store/journal_files.h"
#include "store/journal_upgrade.h"
#include "store/journal_wal.h"
#include "store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define QUICK_CHECK_MS 200
#define QUICK_CHECK_STEPS 2000 /* of SQLite's machine between two looks at the clock */
#define OPEN_BUSY_MS 5000

enum finding { USABLE, DAMAGED, NEWER, NO_ROOM, NO_MEMORY, UNREADABLE };

/* Sees to it that there is a file, ours alone, before SQLite makes one as it pleases. */
static int
make_file(struct opening *op)
{
	struct stat st;
	int fd;

	fd = openat(op->dir_fd, "journal", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0) {
		op->fresh = true;
		close(fd);
		return fsync(op->dir_fd) == 0 ? 0 : opening_refuse(op, -errno, "%s: %s", op->path,
		    strerror(errno));
	}
	if (errno != EEXIST || fstatat(op->dir_fd, "journal", &st, AT_SYMLINK_NOFOLLOW) != 0)
		return opening_refuse(op, -errno, "%s: %s", op->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return opening_refuse(op, -EINVAL, "%s is not a plain file", op->path);
	if (st.st_uid != geteuid())
		return opening_refuse(op, -EPERM, "%s belongs to uid %u, not to us", op->path,
		    (unsigned)st.st_uid);
	if ((st.st_mode & 077) != 0 && fchmodat(op->dir_fd, "journal", 0600, 0) != 0)
		return opening_refuse(op, -errno, "%s: %s", op->path, strerror(errno));
	return 0;
}

/* ---- the log ---- */

/* A journal has its first page before it has a log: this one lost it. SQLite would make a new one
 * and remove the log. */
static bool
is_log_alone(int dir_fd)
{
	struct stat db, log;

	return fstatat(dir_fd, "journal", &db, AT_SYMLINK_NOFOLLOW) == 0 && db.st_size == 0 &&
	    fstatat(dir_fd, "journal-wal", &log, AT_SYMLINK_NOFOLLOW) == 0 && log.st_size > 0;
}

/* SQLite would take a log with a hole in it for one that ends there. */
static enum finding
look_at_log(struct opening *op)
{
	struct wal_report r;

	if (is_log_alone(op->dir_fd)) {
		snprintf(op->reason, sizeof op->reason, "it is empty, and its write-ahead log is not");
		return DAMAGED;
	}
	if (wal_look(op->dir_fd, &r) != WAL_HOLE)
		return USABLE;
	snprintf(op->reason, sizeof op->reason, "the write-ahead log is not right at byte %lld, "
	    "and %llu transactions stand behind that", (long long)r.at, (unsigned long long)r.lost);
	if (wal_was_full(op->dir_fd))
		return DAMAGED;
	/* Not synced one by one: a power cut may have left it so. */
	slot_log(op->o->logger, SLOT_LOG_WARN, "the journal has lost its last changes: path=%s "
	    "reason=\"%s\"", op->path, op->reason);
	op->reason[0] = '\0';
	return USABLE;
}

/* ---- connections ---- */

int
opening_connect(const char *path, int flags, int busy_ms, sqlite3 **db)
{
	int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_extended_result_codes(*db, 1);
	sqlite3_busy_timeout(*db, busy_ms);
	/* Closing must not touch what may have to be set aside as it is. */
	sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	return SQLITE_OK;
}

struct deadline {
	struct timespec at;
};

static int
past(void *arg)
{
	const struct deadline *d = arg;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > d->at.tv_sec ||
	    (now.tv_sec == d->at.tv_sec && now.tv_nsec >= d->at.tv_nsec);
}

/* As much of a check as fits into the time. SQLITE_CORRUPT where it finds something. */
static int
quick_check(struct opening *op)
{
	sqlite3 *db = op->db;
	struct deadline d;
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	clock_gettime(CLOCK_MONOTONIC, &d.at);
	d.at.tv_nsec += QUICK_CHECK_MS * 1000000L;
	d.at.tv_sec += d.at.tv_nsec / 1000000000L;
	d.at.tv_nsec %= 1000000000L;
	/* (After the writer met damage, it is looked for to the end.) */
	if (files_suspect(op->dir_fd))
		slot_log(op->o->logger, SLOT_LOG_INFO, "the journal may be damaged, it is checked: "
		    "path=%s", op->path);
	else
		sqlite3_progress_handler(db, QUICK_CHECK_STEPS, past, &d);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(st, 0);

		/* A page that can't be had, in the check's own words: the disk, not the journal. */
		rc = text != NULL && strcmp(text, "ok") == 0 ? SQLITE_OK :
		    text != NULL && strstr(text, "error code=") != NULL ? SQLITE_IOERR_READ :
		    SQLITE_CORRUPT;
		if (rc != SQLITE_OK)
			snprintf(op->reason, sizeof op->reason, "%s", text != NULL ? text : "");
	}
	sqlite3_progress_handler(db, 0, NULL, NULL);
	sqlite3_finalize(st);
	if (rc == SQLITE_OK)
		files_set_suspect(op->dir_fd, false);
	return rc == SQLITE_INTERRUPT || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static bool
means_damaged(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB ||
	    (rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_SCHEMA ||
	    (rc & 0xff) == SQLITE_FORMAT || rc == SQLITE_IOERR_SHORT_READ;
}

/* A copy as it was, beside the journal, before an upgrade. */
static int
keep_copy(struct opening *op, int version)
{
	char kind[32], name[ASIDE_NAME_MAX], path[sizeof op->path + ASIDE_NAME_MAX];
	sqlite3_stmt *st;
	int rc, fd;

	snprintf(kind, sizeof kind, "version-%d", version);
	if (files_aside_name(op->dir_fd, kind, name) != 0)
		return SQLITE_CANTOPEN;
	fd = openat(op->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN;
	close(fd);
	snprintf(path, sizeof path, "%s/%s", op->o->state_dir, name);
	rc = sqlite3_prepare_v2(op->db, "VACUUM INTO ?1", -1, &st, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
		sqlite3_step(st);
		rc = sqlite3_finalize(st);
	}
	if (rc != SQLITE_OK)
		unlinkat(op->dir_fd, name, 0); /* the next start would make another one */
	else
		slot_log(op->o->logger, SLOT_LOG_INFO, "the journal is upgraded: version=%d to=%d "
		    "copy=%s", version, SCHEMA_VERSION, name);
	return rc;
}

static enum finding
judge(struct opening *op, int rc)
{
	if (rc != SQLITE_OK && op->reason[0] == '\0')
		snprintf(op->reason, sizeof op->reason, "%s", sqlite3_errmsg(op->db));
	return rc == SQLITE_OK ? USABLE : means_damaged(rc) ? DAMAGED :
	    files_no_room(op->db, rc) ? NO_ROOM :
	    (rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM ? NO_MEMORY : UNREADABLE;
}

/* Connects, looks at what is there, and makes it ready. */
static enum finding
look(struct opening *op)
{
	int version, rc = opening_connect(op->path, SQLITE_OPEN_READWRITE, OPEN_BUSY_MS, &op->db);
	sqlite3_int64 tables = 0;

	if (rc != SQLITE_OK)
		return judge(op, rc);
	rc = schema_query_int(op->db, "SELECT count(*) FROM sqlite_schema", 0, &tables);
	if (rc != SQLITE_OK)
		return judge(op, rc);
	version = schema_version(op->db, &rc);
	if (version < 0 && rc == SQLITE_NOTADB && tables == 0) {
		op->fresh = true; /* (or a file that a crash left before anything was in it) */
		return judge(op, opening_create(op));
	}
	if (version < 0 && rc == SQLITE_NOTADB)
		snprintf(op->reason, sizeof op->reason, "it is not a journal of slotd");
	if (version < 0)
		return judge(op, rc);
	if (version > SCHEMA_VERSION) {
		snprintf(op->reason, sizeof op->reason, "it is of version %d, this is %d", version,
		    SCHEMA_VERSION);
		return NEWER;
	}
	rc = quick_check(op);
	if (rc == SQLITE_OK && version < SCHEMA_VERSION) {
		rc = keep_copy(op, version);
		if (rc == SQLITE_OK)
			rc = journal_upgrade(op->db, version);
	}
	return judge(op, rc == SQLITE_OK ? opening_prepare(op) : rc);
}

static int
set_aside(struct opening *op, const char *kind)
{
	char name[ASIDE_NAME_MAX];
	int error;

	sqlite3_close(op->db);
	op->db = NULL;
	error = files_set_aside(op->dir_fd, kind, name);
	if (error == 0)
		files_set_suspect(op->dir_fd, false);
	if (error != 0)
		return opening_refuse(op, error, "%s is %s and can't be renamed: %s", op->path,
		    kind, strerror(-error));
	slot_log(op->o->logger, SLOT_LOG_ERROR, "the journal is %s and was set aside: "
	    "path=%s/%s reason=\"%s\"; a new one begins", kind, op->o->state_dir, name,
	    op->reason);
	op->reason[0] = '\0';
	return 0;
}

/* Before anything is written that isn't synced. */
static int
note_normal(struct opening *op)
{
	int error = op->o->normal ? wal_note_full(op->dir_fd, false) : 0;

	return error == 0 ? 0 : opening_refuse(op, error, "%s: %s", op->o->state_dir,
	    strerror(-error));
}

int
opening_database(struct opening *op)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		enum finding finding;

		op->reason[0] = '\0';
		if (make_file(op) != 0)
			return op->why->error;
		finding = look_at_log(op);
		if (finding == USABLE && note_normal(op) != 0)
			return op->why->error;
		if (finding == USABLE)
			finding = look(op);
		if (finding == USABLE)
			return 0;
		if (finding == UNREADABLE || finding == NO_MEMORY || attempt == 1)
			return opening_refuse(op, finding == NO_MEMORY ? -ENOMEM : -EIO,
			    "%s: can't be opened: %s", op->path, op->reason);
		if (finding == NO_ROOM) {
			sqlite3_close(op->db);
			op->db = NULL;
			ballast_give_up(op->dir_fd);
			continue;
		}
		if (set_aside(op, finding == NEWER ? "newer" : "damaged") != 0)
			return op->why->error;
	}
	return -EIO;
}
