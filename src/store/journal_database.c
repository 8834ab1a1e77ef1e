/*
 * The database of a journal: creating one, judging one that is there, setting aside what can't be
 * used, an upgrade, and the marks that a start leaves in it.
 */
#include "store/journal_opening.h"

#include "core/logger.h"
#include "store/journal_apply.h"
#include "store/journal_fetch.h"
#include "store/journal_files.h"
#include "store/journal_upgrade.h"
#include "store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define QUICK_CHECK_MS 200
#define QUICK_CHECK_STEPS 2000 /* of SQLite's machine between two looks at the clock */
#define OPEN_BUSY_MS 5000

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

/* ---- connections ---- */

static int
exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

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
	sqlite3_progress_handler(db, QUICK_CHECK_STEPS, past, &d);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(st, 0);

		rc = text != NULL && strcmp(text, "ok") == 0 ? SQLITE_OK : SQLITE_CORRUPT;
		if (rc != SQLITE_OK)
			snprintf(op->reason, sizeof op->reason, "%s", text != NULL ? text : "");
	}
	sqlite3_progress_handler(db, 0, NULL, NULL);
	sqlite3_finalize(st);
	return rc == SQLITE_INTERRUPT || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static bool
means_damaged(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB ||
	    (rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_SCHEMA ||
	    (rc & 0xff) == SQLITE_FORMAT || rc == SQLITE_IOERR_SHORT_READ;
}

/* Modes of the connection; the file is a database of ours, or an empty one. */
static int
set_modes(struct opening *op)
{
	int rc = exec(op->db, "PRAGMA journal_mode = WAL");

	if (rc == SQLITE_OK)
		rc = exec(op->db, op->o->normal ? "PRAGMA synchronous = NORMAL" :
		    "PRAGMA synchronous = FULL");
	if (rc == SQLITE_OK)
		rc = exec(op->db, "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;"
		    " PRAGMA cache_size = -4096; PRAGMA foreign_keys = OFF");
	return rc;
}

static int
put_meta(sqlite3 *db, const char *name, uint64_t value, const char *text)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", -1, &st,
	    NULL);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	if (text != NULL)
		sqlite3_bind_text(st, 2, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_int64(st, 2, (sqlite3_int64)value);
	sqlite3_step(st);
	return sqlite3_finalize(st);
}

static int
create(struct opening *op)
{
	uint64_t instance;
	int rc;

	if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
		return SQLITE_IOERR;
	rc = set_modes(op);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = schema_create(op->db);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "instance", instance, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "boot_id", 0, op->o->boot_id);
	return rc == SQLITE_OK ? exec(op->db, "COMMIT") : rc;
}

/* What a reboot means for what is stored: times of the boot before tell nothing any more. */
static int
note_boot(struct opening *op)
{
	sqlite3_stmt *st;
	const char *boot = NULL;
	int rc = sqlite3_prepare_v2(op->db, "SELECT value FROM meta WHERE name = 'boot_id'", -1,
	    &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	if (sqlite3_step(st) == SQLITE_ROW)
		boot = (const char *)sqlite3_column_text(st, 0);
	op->rebooted = boot == NULL || strcmp(boot, op->o->boot_id) != 0;
	rc = sqlite3_finalize(st);
	if (rc != SQLITE_OK || !op->rebooted)
		return rc;
	rc = exec(op->db, "UPDATE live SET due_boot_us = NULL WHERE due_boot_us IS NOT NULL;"
	    " UPDATE live INDEXED BY live_running SET launcher = 0 WHERE phase = 1");
	return rc == SQLITE_OK ? put_meta(op->db, "boot_id", 0, op->o->boot_id) : rc;
}

/* The greater of what is stored and what is there: a number is never given out twice. */
static int
read_numbers(struct opening *op)
{
	sqlite3_int64 instance = 0, id = 0, seq = 0;
	int rc = schema_query_int(op->db, "SELECT value FROM meta WHERE name = 'instance'", 0,
	    &instance);

	if (rc == SQLITE_OK && instance == 0)
		return SQLITE_CORRUPT;
	if (rc == SQLITE_OK)
		rc = schema_query_int(op->db, "SELECT max(ifnull((SELECT value FROM meta"
		    " WHERE name = 'next_id'), 1), ifnull((SELECT max(job) FROM spec), 0) + 1)",
		    1, &id);
	if (rc == SQLITE_OK)
		rc = schema_query_int(op->db, "SELECT max(ifnull((SELECT value FROM meta"
		    " WHERE name = 'last_seq'), 0), ifnull((SELECT max(seq) FROM done), 0))",
		    0, &seq);
	op->instance = (uint64_t)instance;
	op->next_id = (uint64_t)id;
	op->last_seq = (uint64_t)seq;
	return rc;
}

/* Do its tables look as they should? SQLITE_ERROR where a table or a column is missing. */
static int
try_statements(struct opening *op)
{
	struct apply apply;
	struct fetch fetch = { .db = NULL };
	int rc = apply_init(&apply, op->db, false);

	if (rc == SQLITE_OK)
		rc = fetch_init(&fetch, op->db, -1);
	if (rc != SQLITE_OK)
		snprintf(op->reason, sizeof op->reason, "%s", sqlite3_errmsg(op->db));
	apply_fini(&apply);
	fetch_fini(&fetch);
	return rc;
}

/* The state of a database of this version. */
static int
prepare(struct opening *op)
{
	int rc = try_statements(op);

	if (rc == SQLITE_OK)
		rc = set_modes(op);

	if (rc == SQLITE_OK)
		rc = exec(op->db, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = schema_names(op->db);
	if (rc == SQLITE_OK)
		rc = note_boot(op);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "COMMIT");
	if (rc == SQLITE_OK)
		rc = read_numbers(op);
	return rc;
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
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
	sqlite3_step(st);
	rc = sqlite3_finalize(st);
	if (rc == SQLITE_OK)
		slot_log(op->o->logger, SLOT_LOG_INFO, "the journal is upgraded: version=%d to=%d "
		    "copy=%s", version, SCHEMA_VERSION, name);
	return rc;
}

enum finding { USABLE, DAMAGED, NEWER, NO_ROOM, UNREADABLE };

static enum finding
judge(struct opening *op, int rc)
{
	if (rc != SQLITE_OK && op->reason[0] == '\0')
		snprintf(op->reason, sizeof op->reason, "%s", sqlite3_errmsg(op->db));
	return rc == SQLITE_OK ? USABLE : means_damaged(rc) ? DAMAGED :
	    (rc & 0xff) == SQLITE_FULL ? NO_ROOM : UNREADABLE;
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
		rc = create(op);
		return judge(op, rc == SQLITE_OK ? read_numbers(op) : rc);
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
	return judge(op, rc == SQLITE_OK ? prepare(op) : rc);
}

static int
set_aside(struct opening *op, const char *kind)
{
	char name[ASIDE_NAME_MAX];
	int error;

	sqlite3_close(op->db);
	op->db = NULL;
	error = files_set_aside(op->dir_fd, kind, name);
	if (error != 0)
		return opening_refuse(op, error, "%s is %s and can't be renamed: %s", op->path,
		    kind, strerror(-error));
	slot_log(op->o->logger, SLOT_LOG_ERROR, "the journal is %s and was set aside: "
	    "path=%s/%s reason=\"%s\"; a new one begins", kind, op->o->state_dir, name,
	    op->reason);
	op->reason[0] = '\0';
	return 0;
}

int
opening_database(struct opening *op)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		enum finding finding;

		if (make_file(op) != 0)
			return op->why->error;
		finding = look(op);
		if (finding == USABLE)
			return 0;
		if (finding == UNREADABLE || attempt == 1)
			return opening_refuse_sql(op, "can't be opened");
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
