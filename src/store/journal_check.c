/* slotd --check-state: all of a journal, read only; see journal.h. */
#include "store/journal.h"

#include "store/journal_fetch.h"
#include "store/journal_record.h"
#include "store/journal_verify.h"
#include "store/journal_wal.h"
#include "store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { GOOD, DAMAGED, NEWER, UNKNOWN };

#define CHECK_FINDINGS_MAX 20 /* printed of one kind */

struct check {
	sqlite3 *db;
	FILE *out;
	int verdict;
	int nrows; /* damaged ones */
};

static void __attribute__((format(printf, 2, 3)))
found(struct check *c, const char *format, ...)
{
	va_list ap;

	c->verdict = DAMAGED;
	va_start(ap, format);
	fputs("damaged: ", c->out);
	vfprintf(c->out, format, ap);
	fputc('\n', c->out);
	va_end(ap);
}

/* Every row of the statement is a finding. */
static void
complain(struct check *c, const char *what, const char *sql)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL), n = 0;

	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (n++ < CHECK_FINDINGS_MAX)
			found(c, "%s %s", what, (const char *)sqlite3_column_text(st, 0));
		rc = SQLITE_OK;
	}
	if (n > CHECK_FINDINGS_MAX)
		found(c, "%s … and %d more", what, n - CHECK_FINDINGS_MAX);
	if (rc != SQLITE_OK && rc != SQLITE_DONE)
		found(c, "%s: %s", what, sqlite3_errmsg(c->db));
	sqlite3_finalize(st);
}

static bool
check_integrity(struct check *c)
{
	int before = c->verdict;
	bool good;

	c->verdict = GOOD;
	complain(c, "structure:", "SELECT integrity_check FROM pragma_integrity_check"
	    " WHERE integrity_check <> 'ok'");
	good = c->verdict == GOOD;
	if (good)
		c->verdict = before;
	return good;
}

static void
check_references(struct check *c)
{
	complain(c, "a live job without spec:",
	    "SELECT job FROM live WHERE job NOT IN (SELECT job FROM spec)");
	complain(c, "a done job without spec:",
	    "SELECT job FROM done WHERE job NOT IN (SELECT job FROM spec)");
	complain(c, "a spec without job:", "SELECT job FROM spec WHERE job NOT IN"
	    " (SELECT job FROM live) AND job NOT IN (SELECT job FROM done)");
	complain(c, "a job that is live and done:",
	    "SELECT job FROM live WHERE job IN (SELECT job FROM done)");
	complain(c, "output without job:",
	    "SELECT id / 2 FROM output WHERE id / 2 NOT IN (SELECT job FROM spec)");
	complain(c, "a count of names of blob", "WITH named AS (SELECT id, count(*) AS n FROM"
	    " (SELECT env AS id FROM spec WHERE env > 0 UNION ALL"
	    "  SELECT data FROM spec WHERE data > 0) GROUP BY id)"
	    " SELECT b.id || ' is ' || b.refs || ', not ' || ifnull(n, 0)"
	    " FROM blob b LEFT JOIN named ON named.id = b.id WHERE b.refs <> ifnull(n, 0)");
	complain(c, "the sum of done jobs of uid", "SELECT uid || ' is ' || jobs || ', not ' || n"
	    " FROM (SELECT h.uid AS uid, h.jobs AS jobs, (SELECT count(*) FROM done d"
	    " WHERE d.uid = h.uid AND d.seq > h.pruned_seq AND d.seq <="
	    "  (SELECT value FROM meta WHERE name = 'last_seq')) AS n FROM history h)"
	    " WHERE jobs <> n"); /* (those behind last_seq are added by the next start) */
}

static void
on_damaged(void *arg, const char *table, const char *key)
{
	struct check *c = arg;

	if (c->nrows++ < CHECK_FINDINGS_MAX)
		found(c, "a row of %s %s", table, key != NULL ? key : "");
}

/* Every row against its sum. */
static void
check_rows(struct check *c)
{
	if (verify_start(c->db, on_damaged, c) != SQLITE_OK ||
	    verify_history(c->db, on_damaged, c) != SQLITE_OK)
		found(c, "rows: %s", sqlite3_errmsg(c->db));
	if (c->nrows > CHECK_FINDINGS_MAX)
		found(c, "… and %d more rows", c->nrows - CHECK_FINDINGS_MAX);
}

static bool
same(sqlite3_stmt *st, int at, const struct spec *s, uint32_t off, size_t len)
{
	const void *there = sqlite3_column_blob(st, at);

	if (off == 0 || there == NULL)
		return off == 0 && there == NULL;
	return (size_t)sqlite3_column_bytes(st, at) == len &&
	    memcmp(there, spec_at(s, off), len) == 0;
}

/* Columns that are there to be looked for say what the record says. */
static bool
agrees(sqlite3_stmt *st, const struct spec *s)
{
	const char *name = spec_at(s, s->name_off);
	char command[RECORD_COMMAND_MAX + 1];

	record_command(s, command);
	return same(st, 1, s, s->key_off, s->key_len) &&
	    same(st, 2, s, s->name_off, name != NULL ? strlen(name) : 0) &&
	    same(st, 3, s, s->tag_off, s->tag_len) &&
	    sqlite3_column_text(st, 4) != NULL &&
	    strcmp((const char *)sqlite3_column_text(st, 4), command) == 0;
}

static bool
is_damaged(sqlite3_stmt *st, const struct jread *jr)
{
	const struct fetched *f = &jr->found[0];

	return jr->error != 0 || f->error != 0 || (f->row != NULL && !agrees(st, f->row->spec));
}

/* Every record and blob against its sum. */
static void
check_specs(struct check *c)
{
	struct fetch f;
	sqlite3_stmt *st = NULL;
	int rc = fetch_init(&f, c->db, -1), n = 0;

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(c->db, "SELECT job, key, name, tag, command"
		    " FROM spec", -1, &st, NULL);
	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		struct store_read r = { .kind = STORE_READ_JOBS };
		struct jread *jr = jread_new(&r);
		uint64_t id = (uint64_t)sqlite3_column_int64(st, 0);

		if (jr == NULL || (fetch_job(&f, jr, id) != 0 && jr->error == -ENOMEM))
			rc = SQLITE_NOMEM;
		else if (is_damaged(st, jr) && n++ < CHECK_FINDINGS_MAX)
			found(c, "the spec or the environment of job %llu",
			    (unsigned long long)id);
		jread_free(jr);
	}
	if (rc != SQLITE_OK)
		found(c, "specs: %s", sqlite3_errmsg(c->db));
	sqlite3_finalize(st);
	fetch_fini(&f);
}

static void
print_counts(struct check *c)
{
	static const char *const counts[][2] = {
		{ "pending", "SELECT count(*) FROM live WHERE phase = 0" },
		{ "running", "SELECT count(*) FROM live WHERE phase = 1" },
		{ "done", "SELECT count(*) FROM done" },
		{ "environments and other blobs", "SELECT count(*) FROM blob" },
		{ "newest seq", "SELECT max((SELECT value FROM meta WHERE name = 'last_seq'),"
		    " (SELECT ifnull(max(seq), 0) FROM done))" },
	};

	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		sqlite3_int64 n = 0;

		if (schema_query_int(c->db, counts[i][1], 0, &n) == SQLITE_OK)
			fprintf(c->out, "%s: %lld\n", counts[i][0], (long long)n);
	}
}

static void
check_all(struct check *c)
{
	int rc, version = schema_version(c->db, &rc);

	if (rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT) {
		found(c, "it is not a journal of slotd");
		return;
	}
	if (version < 0) {
		fprintf(c->out, "can't tell: %s\n", sqlite3_errmsg(c->db));
		c->verdict = UNKNOWN;
		return;
	}
	if (version > SCHEMA_VERSION) {
		fprintf(c->out, "newer: it is of version %d, this slotd knows up to %d\n", version,
		    SCHEMA_VERSION);
		c->verdict = NEWER;
		return;
	}
	fprintf(c->out, "version: %d\n", version);
	if (check_integrity(c)) {
		check_references(c);
		check_rows(c);
		check_specs(c);
	}
	print_counts(c);
}

/* The log as it is in the file, for SQLite would not see what is lost. */
static void
check_log(struct check *c, const char *state_dir)
{
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct wal_report r;

	if (fd >= 0 && wal_look(fd, &r) == WAL_HOLE) {
		if (wal_was_full(fd))
			found(c, "the write-ahead log at byte %lld: %llu transactions stand behind "
			    "that", (long long)r.at, (unsigned long long)r.lost);
		else
			fprintf(c->out, "lost: %llu transactions behind byte %lld of the "
			    "write-ahead log\n", (unsigned long long)r.lost, (long long)r.at);
	}
	if (fd >= 0)
		close(fd);
}

int
journal_check(const char *state_dir, FILE *out)
{
	struct check c = { .out = out };
	char path[4096];
	int n = snprintf(path, sizeof path, "%s/journal", state_dir), rc;

	if (n < 0 || (size_t)n >= sizeof path)
		return UNKNOWN;
	fprintf(out, "journal: %s\n", path);
	check_log(&c, state_dir);
	rc = sqlite3_open_v2(path, &c.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_busy_timeout(c.db, 2000);
		rc = sqlite3_exec(c.db, "BEGIN", NULL, NULL, NULL); /* one moment for all */
	}
	if (rc == SQLITE_OK) {
		check_all(&c);
	} else {
		fprintf(out, "can't tell: %s\n", sqlite3_errmsg(c.db));
		c.verdict = UNKNOWN;
	}
	sqlite3_close(c.db);
	if (c.verdict == GOOD)
		fputs("good\n", out);
	return c.verdict;
}
