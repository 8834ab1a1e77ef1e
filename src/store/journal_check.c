/* slotd --check-state: all of a journal, read only; see journal.h. */
#include "store/journal.h"

#include "store/journal_fetch.h"
#include "store/schema.h"

#include <string.h>

enum { GOOD, DAMAGED, NEWER, UNKNOWN };

#define CHECK_FINDINGS_MAX 20 /* printed of one kind */

struct check {
	sqlite3 *db;
	FILE *out;
	int verdict;
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

static void
check_integrity(struct check *c)
{
	complain(c, "structure:", "SELECT integrity_check FROM pragma_integrity_check"
	    " WHERE integrity_check <> 'ok'");
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
	    " WHERE d.uid = h.uid AND d.seq > h.pruned_seq) AS n FROM history h) WHERE jobs <> n");
}

/* Every record and blob against its sum. */
static void
check_specs(struct check *c)
{
	struct fetch f;
	sqlite3_stmt *st = NULL;
	int rc = fetch_init(&f, c->db, -1), n = 0;

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(c->db, "SELECT job FROM spec", -1, &st, NULL);
	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		struct store_read r = { .kind = STORE_READ_JOBS };
		struct jread *jr = jread_new(&r);
		uint64_t id = (uint64_t)sqlite3_column_int64(st, 0);

		if (jr == NULL || fetch_job(&f, jr, id) != 0)
			rc = SQLITE_NOMEM;
		else if (jr->found[0].error != 0 && n++ < CHECK_FINDINGS_MAX)
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
		{ "newest seq", "SELECT value FROM meta WHERE name = 'last_seq'" },
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
	check_integrity(c);
	if (c->verdict == GOOD) {
		check_references(c);
		check_specs(c);
	}
	print_counts(c);
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
