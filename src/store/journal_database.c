/*
 * The database of a journal: creating one, judging one that is there, setting aside what can't be
 * used, an upgrade, and the marks that a start leaves in it.
 */
#include "store/journal_opening.h"

#include "core/logger.h"
#include "store/journal_apply.h"
#include "store/journal_fetch.h"
#include "store/journal_files.h"
#include "store/journal_record.h"
#include "store/journal_upgrade.h"
#include "store/journal_verify.h"
#include "store/journal_wal.h"
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

/* SQLite would take a log with a hole in it for one that ends there. */
static enum finding
look_at_log(struct opening *op)
{
	struct wal_report r;

	if (wal_look(op->dir_fd, &r) != WAL_HOLE)
		return USABLE;
	snprintf(op->reason, sizeof op->reason, "the write-ahead log is not right at byte %lld, and "
	    "%llu transactions stand behind that", (long long)r.at, (unsigned long long)r.lost);
	if (wal_was_full(op->dir_fd))
		return DAMAGED;
	/* Not synced one by one: a power cut may have left it so. */
	slot_log(op->o->logger, SLOT_LOG_WARN, "the journal has lost its last changes: path=%s "
	    "reason=\"%s\"", op->path, op->reason);
	op->reason[0] = '\0';
	return USABLE;
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

/* (Where a file system can't do it, SQLite says which mode it stays in, and no error.) */
static int
want_wal(struct opening *op)
{
	sqlite3_stmt *st;
	const char *mode = NULL;
	int rc = sqlite3_prepare_v2(op->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
	bool wal;

	if (rc != SQLITE_OK)
		return rc;
	if (sqlite3_step(st) == SQLITE_ROW)
		mode = (const char *)sqlite3_column_text(st, 0);
	wal = mode != NULL && strcmp(mode, "wal") == 0;
	rc = sqlite3_finalize(st);
	if (rc != SQLITE_OK || wal)
		return rc;
	snprintf(op->reason, sizeof op->reason, "the file system can't hold a write-ahead log");
	return SQLITE_CANTOPEN;
}

/* Modes of the connection; the file is a database of ours, or an empty one. */
static int
set_modes(struct opening *op)
{
	int rc = want_wal(op);

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
	struct record r;
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3)", -1, &st,
	    NULL);

	if (rc != SQLITE_OK)
		return rc;
	record_begin(&r, st);
	record_text(&r, name);
	if (text != NULL)
		record_text(&r, text);
	else
		record_int(&r, (int64_t)value);
	record_finish(&r);
	sqlite3_step(st);
	return sqlite3_finalize(st);
}

static int
create(struct opening *op)
{
	uint64_t instance;
	int rc;

	do
		if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
			return SQLITE_IOERR;
	while (instance == 0 || instance == UINT64_MAX);
	rc = set_modes(op);
	if (rc == SQLITE_OK)
		rc = exec(op->db, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = schema_create(op->db);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "instance", instance, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "next_id", 1, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "last_seq", 0, NULL);
	if (rc == SQLITE_OK)
		rc = put_meta(op->db, "boot_id", 0, op->o->boot_id);
	return rc == SQLITE_OK ? exec(op->db, "COMMIT") : rc;
}

/* Writes the row at the statement, of RECORD_LIVE_COLUMNS, without what a boot has ended. */
static int
forget_boot(sqlite3_stmt *from, sqlite3_stmt *to)
{
	bool runs = sqlite3_column_int(from, RECORD_LIVE_PHASE) == ROW_RUNNING;
	struct record r;

	record_begin(&r, to);
	for (int i = 0; i < RECORD_LIVE_NCOLUMNS; i++) {
		if (i == RECORD_LIVE_DUE_BOOT)
			record_int_but_0(&r, 0);
		else if (i == RECORD_LIVE_LAUNCHER && runs)
			record_int(&r, 0);
		else
			record_column(&r, from, i);
	}
	record_finish(&r);
	sqlite3_step(to);
	return sqlite3_reset(to);
}

static int
forget_boots(sqlite3 *db)
{
	static const char update[] = "UPDATE live SET launcher = ?13, due_boot_us = ?14, sum = ?17"
	    " WHERE job = ?1";
	sqlite3_stmt *from, *to;
	int rc = sqlite3_prepare_v2(db, "SELECT " RECORD_LIVE_COLUMNS " FROM live l"
	    " WHERE l.due_boot_us IS NOT NULL OR l.phase = 1", -1, &from, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_prepare_v2(db, update, -1, &to, NULL);
	while (rc == SQLITE_OK && sqlite3_step(from) == SQLITE_ROW)
		rc = forget_boot(from, to);
	if (rc == SQLITE_OK)
		rc = sqlite3_reset(from);
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	return rc;
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
	rc = forget_boots(op->db);
	return rc == SQLITE_OK ? put_meta(op->db, "boot_id", 0, op->o->boot_id) : rc;
}

/* A number must never be given out twice: without these two nothing can go on, and what is beyond
 * them was never ours. */
static int
read_numbers(struct opening *op)
{
	static const char *const sql[] = {
		"SELECT value FROM meta WHERE name = 'instance'",
		"SELECT value FROM meta WHERE name = 'next_id'",
		"SELECT value FROM meta WHERE name = 'last_seq'",
		"SELECT max(job) FROM spec",
		"SELECT max(seq) FROM done",
	};
	sqlite3_int64 n[5];
	int rc = SQLITE_OK;

	for (int i = 0; rc == SQLITE_OK && i < 5; i++)
		rc = schema_query_int(op->db, sql[i], i < 3 ? -1 : 0, &n[i]);
	if (rc != SQLITE_OK)
		return rc;
	op->instance = (uint64_t)n[0];
	op->next_id = (uint64_t)n[1];
	op->last_seq = (uint64_t)n[2];
	if (n[0] != 0 && n[0] != -1 && n[1] > 0 && n[2] >= 0 && n[3] < n[1] && n[4] <= n[2])
		return SQLITE_OK;
	snprintf(op->reason, sizeof op->reason, "its numbers disagree: instance=%llx next_id=%lld "
	    "last_seq=%lld newest_job=%lld newest_seq=%lld", (unsigned long long)n[0],
	    (long long)n[1], (long long)n[2], (long long)n[3], (long long)n[4]);
	return SQLITE_CORRUPT;
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

static void
on_damaged(void *arg, const char *table, const char *key)
{
	struct opening *op = arg;

	if (op->reason[0] == '\0')
		snprintf(op->reason, sizeof op->reason, "a row of %s %.100s is damaged", table,
		    key != NULL ? key : "");
}

/* What a start believes has to be right in every row: a wrong job might run. */
static int
verify(struct opening *op)
{
	int rc = verify_start(op->db, on_damaged, op);

	return rc == SQLITE_OK && op->reason[0] != '\0' ? SQLITE_CORRUPT : rc;
}

/* The state of a database of this version. */
static int
prepare(struct opening *op)
{
	int rc = try_statements(op);

	if (rc == SQLITE_OK)
		rc = verify(op);
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
