/*
 * Opening the durable store: whose directory it is, what is set aside, upgrades, damage of single
 * records, and the check of a whole journal.
 *
 * With SLOT_WRITE_FIXTURE=DIR it only writes a journal there: the one of which a fixture of this
 * version is made (see store/schema.h).
 */
#include "journal_fixture.h"

#include <dirent.h>

static const struct fx_spec plain;

/* How many entries of the state directory begin so. */
static int
entries(const char *prefix)
{
	DIR *dir = opendir(fx_dir);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)) != NULL)
		n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return n;
}

static void
put_file(const char *name, const void *bytes, size_t len, long at)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", fx_dir, name);
	f = fopen(path, at < 0 ? "w" : "r+");
	ck_assert_ptr_nonnull(f);
	if (at > 0)
		fseek(f, at, SEEK_SET);
	fwrite(bytes, 1, len, f);
	fclose(f);
}

static mode_t
mode_of(const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", fx_dir, name);
	ck_assert_int_eq(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

/* ---- the directory ---- */

START_TEST(what_it_makes_is_ours_alone)
{
	mode_t before = umask(0);

	fx_open();
	fx_make_done(5, 0);
	ck_assert_int_eq(mode_of("journal"), 0600);
	ck_assert_int_eq(mode_of("journal-wal"), 0600);
	ck_assert_int_eq(mode_of("journal-shm"), 0600);
	ck_assert_int_eq(mode_of("ballast"), 0600);
	umask(before);
}
END_TEST

START_TEST(a_directory_open_to_others_is_refused)
{
	ck_assert_int_eq(chmod(fx_dir, 0755), 0);
	ck_assert(!fx_try_open());
	ck_assert_ptr_nonnull(strstr(fx_why.text, "open to others (mode 0755)"));
	ck_assert_int_eq(entries("journal"), 0);
	ck_assert_int_eq(chmod(fx_dir, 0700), 0);
	fx_open();
}
END_TEST

START_TEST(a_directory_of_others_is_refused)
{
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(fx_dir, 12345, (gid_t)-1), 0);
		ck_assert(!fx_try_open());
		ck_assert_ptr_nonnull(strstr(fx_why.text, "belongs to uid 12345"));
		ck_assert_int_eq(chown(fx_dir, 0, (gid_t)-1), 0);
	}
	fx_options.state_dir = "/nonexistent/state";
	ck_assert(!fx_try_open());
	ck_assert_int_eq(fx_why.error, -ENOENT);
	fx_options.state_dir = fx_dir;
}
END_TEST

START_TEST(two_daemons_dont_share_a_journal)
{
	struct store *first;

	fx_open();
	first = fx_store;
	ck_assert(!fx_try_open());
	ck_assert_int_eq(fx_why.error, -EBUSY);
	ck_assert_ptr_nonnull(strstr(fx_why.text, "another daemon"));
	fx_store = first;
}
END_TEST

START_TEST(only_a_plain_file_is_a_journal)
{
	char path[128];

	snprintf(path, sizeof path, "%s/journal", fx_dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert(!fx_try_open());
	ck_assert_ptr_nonnull(strstr(fx_why.text, "not a plain file"));
	rmdir(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert(!fx_try_open());
	unlink(path);
	ck_assert_int_eq(symlink("/etc/passwd", path), 0);
	ck_assert(!fx_try_open());
	ck_assert_ptr_nonnull(strstr(fx_why.text, "not a plain file"));
	ck_assert_int_eq(unlink(path), 0);
	fx_open();
}
END_TEST

/* ---- set aside ---- */

/* Opens what should be set aside: a new journal, a new instance, and the old bytes kept. */
static void
set_aside(const char *kind, uint64_t old_instance)
{
	char prefix[64];

	snprintf(prefix, sizeof prefix, "journal.%s-20", kind);
	fx_log[0] = '\0';
	fx_open();
	ck_assert_int_ge(entries(prefix), 1);
	ck_assert_ptr_nonnull(strstr(fx_log, prefix));
	ck_assert_uint_ne(fx_store->instance, old_instance);
	ck_assert_uint_eq(fx_store->next_id, 1);
	fx_unref(fx_submit(&plain));
	fx_commit();
	ck_assert_int_eq(fx_check(NULL), 0);
}

static uint64_t
make_journal(void)
{
	uint64_t instance;

	fx_open();
	instance = fx_store->instance;
	fx_make_done(200, 0);
	fx_close();
	return instance;
}

START_TEST(what_is_no_database_is_set_aside)
{
	static const char text[] = "this is not a database at all, but some text";
	const char *name;
	char line[200];
	FILE *f;

	put_file("journal", text, sizeof text - 1, -1);
	set_aside("damaged", 0);
	name = strstr(fx_log, fx_dir);
	ck_assert_ptr_nonnull(name);
	snprintf(line, sizeof line, "%.*s", (int)strcspn(name, " "), name);
	f = fopen(line, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
	ck_assert_str_eq(line, text); /* as it was */
	fclose(f);
}
END_TEST

START_TEST(a_destroyed_header_is_set_aside)
{
	uint64_t instance = make_journal();

	put_file("journal", "garbage garbage garbage", 23, 0);
	set_aside("damaged", instance);
	fx_close();
	put_file("journal", "garbage garbage garbage", 23, 0);
	fx_open(); /* within the same second: another name, nothing is overwritten */
	ck_assert_int_ge(entries("journal.damaged-"), 2);
}
END_TEST

START_TEST(destroyed_pages_are_set_aside)
{
	uint64_t instance = make_journal();
	char junk[4096];

	memset(junk, 0xee, sizeof junk);
	put_file("journal", junk, sizeof junk, 4096L * 3);
	ck_assert_int_eq(fx_check(NULL), 1);
	set_aside("damaged", instance);
}
END_TEST

START_TEST(a_cut_journal_is_set_aside)
{
	uint64_t instance = make_journal();
	char path[128];

	snprintf(path, sizeof path, "%s/journal", fx_dir);
	ck_assert_int_eq(truncate(path, 4096 * 5 + 100), 0);
	set_aside("damaged", instance);
}
END_TEST

START_TEST(a_missing_table_is_set_aside)
{
	uint64_t instance = make_journal();

	fx_sql("DROP TABLE output");
	set_aside("damaged", instance);
	ck_assert_ptr_nonnull(strstr(fx_log, "no such table: output"));
}
END_TEST

START_TEST(the_database_of_something_else_is_set_aside)
{
	sqlite3 *db = fx_sqlite(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);

	ck_assert_int_eq(sqlite3_exec(db, "CREATE TABLE t (a)", NULL, NULL, NULL), 0);
	sqlite3_close(db);
	ck_assert_int_eq(fx_check(NULL), 1);
	set_aside("damaged", 0);
	ck_assert_ptr_nonnull(strstr(fx_log, "not a journal of slotd"));
}
END_TEST

START_TEST(a_journal_from_the_future_is_set_aside)
{
	uint64_t instance = make_journal();
	const char *text;

	fx_sql("PRAGMA user_version = 99");
	ck_assert_int_eq(fx_check(&text), 2);
	ck_assert_ptr_nonnull(strstr(text, "newer"));
	set_aside("newer", instance);
	ck_assert_int_eq(entries("journal.damaged"), 0);
}
END_TEST

START_TEST(an_empty_file_becomes_a_journal)
{
	put_file("journal", "", 0, -1);
	fx_open();
	ck_assert_int_eq(entries("journal.damaged"), 0);
	fx_make_done(1, 0);
}
END_TEST

/* The files as a crash at this moment would leave them. */
static void
copy_to(const char *dir, const char *name)
{
	char from[128], to[160];
	static char block[65536];
	size_t n;
	FILE *in, *out;

	snprintf(from, sizeof from, "%s/%s", fx_dir, name);
	snprintf(to, sizeof to, "%s/%s", dir, name);
	in = fopen(from, "r");
	out = fopen(to, "w");
	ck_assert(in != NULL && out != NULL);
	while ((n = fread(block, 1, sizeof block, in)) > 0)
		fwrite(block, 1, n, out);
	fclose(in);
	fclose(out);
}

START_TEST(what_was_told_of_is_in_the_files)
{
	char dir[96];
	struct store *first;

	fx_open();
	first = fx_store;
	for (int i = 1; i <= 10; i++) {
		fx_make_done(7, 0);
		fx_unref(fx_submit(&plain)); /* not committed */
		snprintf(dir, sizeof dir, "%s/%d", fx_dir, i);
		ck_assert_int_eq(mkdir(dir, 0700), 0);
		copy_to(dir, "journal-wal");
		copy_to(dir, "journal");
		fx_options.state_dir = dir;
		fx_open();
		ck_assert_uint_eq(fx_store->ndone, 7 * (unsigned)i);
		ck_assert_uint_eq(fx_store->instance, first->instance);
		fx_close();
		fx_store = first;
		fx_options.state_dir = fx_dir;
		fx_commit();
	}
}
END_TEST

/* ---- versions ---- */

START_TEST(an_older_journal_is_upgraded_and_a_copy_kept)
{
	uint64_t instance = make_journal();
	struct row *row;

	fx_sql("DROP VIEW jobs; DROP TABLE code; DROP TABLE trash; PRAGMA user_version = 0");
	fx_open();
	ck_assert_uint_eq(fx_store->instance, instance);
	ck_assert_int_eq(entries("journal.version-0-"), 1);
	ck_assert_uint_eq(fx_store->ndone, 200);
	row = fx_get(7);
	ck_assert_uint_eq(row->run->seq, 7);
	fx_unref(row);
	ck_assert_str_eq(fx_query("SELECT outcome FROM jobs WHERE job = 7"), "exited");
	ck_assert_str_eq(fx_query("PRAGMA user_version"), "1");
	ck_assert_int_eq(fx_check(NULL), 0);
	fx_reopen();
	ck_assert_int_eq(entries("journal.version-"), 1);
}
END_TEST

START_TEST(view_and_names_are_those_of_this_version)
{
	make_journal();
	fx_sql("DROP VIEW jobs; CREATE VIEW jobs AS SELECT 1 AS one;"
	    " UPDATE code SET name = 'old' WHERE kind = 'outcome' AND code = 1;"
	    " DELETE FROM code WHERE kind = 'phase'");
	fx_open();
	ck_assert_str_eq(fx_query("SELECT outcome || phase FROM jobs WHERE job = 7"), "exiteddone");
}
END_TEST

/* What the fixtures were made of. 1: done, with output, key, tag; 2: done, forgotten; 3: running;
 * 4: pending in a back-off, bound; 5: pending, large data, environment shared with 3. */
static void
write_fixture(void)
{
	static const char argv[] = "echo\0hello world";
	static char data[20000];
	const struct store_output out = { .data = "hello world\n", .len = 12, .end = 12 };
	const struct fx_spec f[5] = {
		{ .name = "first", .key = "key-1", .tag = "{\"n\":1}", .queue = "fast", .uid = 1000,
		    .argv = argv, .argv_len = sizeof argv, .argc = 2, .env = "A=1\0B=2",
		    .env_len = 8 },
		{ .uid = 1000 },
		{ .uid = 1001, .env = "PATH=/bin", .env_len = 10 },
		{ .uid = 1000, .queue = "slow" },
		{ .uid = 1001, .env = "PATH=/bin", .env_len = 10, .data = data,
		    .data_len = sizeof data },
	};
	struct row *rows[5];

	memset(data, 'd', sizeof data);
	for (int i = 0; i < 5; i++) {
		rows[i] = fx_new(&f[i]);
		if (i == 3) {
			rows[i]->waits = ROW_DUE | ROW_TIED;
			rows[i]->due_boot_us = 5000000;
			rows[i]->due_wall_us = WALL_US + 5000000;
			memset(rows[i]->session, 0x5e, ROW_SESSION_LEN);
		}
		fx_submit_row(rows[i]);
	}
	fx_store->launcher = 0x1234567890abcdef;
	for (int i = 0; i < 3; i++)
		fx_start(rows[i]);
	ck_assert_int_eq(fx_store->ops->keep_output(fx_store, rows[0], 1, &out), 0);
	fx_done_at(rows[0], WALL_US + 7000, 12);
	fx_done(rows[1]);
	fx_commit();
	fx_store->ops->forget(fx_store, rows[1]);
	rows[4]->priority = -3;
	rows[4]->hold = 1;
	fx_change(rows[4], STORE_SET);
	fx_store->ops->keep_setting(fx_store, "max_running", 8);
	fx_store->ops->keep_queue(fx_store, "slow", 2, true);
	fx_commit();
	for (int i = 0; i < 5; i++)
		fx_unref(rows[i]);
}

static char *
fixture_text(int version)
{
	const char *root = getenv("SLOT_SOURCE_DIR");
	char path[4096], *text;
	long n;
	FILE *f;

	snprintf(path, sizeof path, "%s/tests/fixtures/journal-v%d.sql", root != NULL ? root : ".",
	    version);
	f = fopen(path, "r");
	if (f == NULL)
		ck_abort_msg("%s: %s", path, strerror(errno));
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	text = malloc((size_t)n + 1);
	text[fread(text, 1, (size_t)n, f)] = '\0';
	fclose(f);
	return text;
}

static char recovered[1024];

static void
on_setting(void *arg, const char *name, int64_t value)
{
	size_t n = strlen(recovered);

	(void)arg;
	snprintf(recovered + n, sizeof recovered - n, "%s=%lld\n", name, (long long)value);
}

static void
on_queue(void *arg, const char *queue, int64_t max_running, bool paused)
{
	size_t n = strlen(recovered);

	(void)arg;
	snprintf(recovered + n, sizeof recovered - n, "%s:%lld,%d\n", queue,
	    (long long)max_running, paused);
}

static int
on_live(void *arg, const struct store_live *l)
{
	size_t n = strlen(recovered);

	(void)arg;
	snprintf(recovered + n, sizeof recovered - n,
	    "%llu phase=%d uid=%u queue=%s priority=%d attempt=%u hold=%d due=%lld,%d bound=%d,%x "
	    "plain=%d launcher=%llx cost=%u\n", (unsigned long long)l->id, l->phase, l->uid,
	    l->queue, l->priority, l->attempt, l->hold, (long long)l->due_us, l->due_is_boot,
	    l->bound, l->session[3], l->plain, (unsigned long long)l->launcher, l->cost);
	return 0;
}

/* The fixture as this version finds it, whatever version wrote it. */
static void
check_fixture(void)
{
	const struct store_recovery rec = { on_setting, on_queue, on_live, NULL };
	char buf[64];
	struct store_read r = { .kind = STORE_READ_OUTPUT, .job = 1, .stream = 1, .buf = buf,
		.max = sizeof buf };
	struct row *row;
	int error;

	recovered[0] = '\0';
	ck_assert_int_eq(fx_store->ops->recover(fx_store, &rec), 0);
	ck_assert_str_eq(recovered, "max_running=8\nslow:2,1\n"
	    "3 phase=1 uid=1001 queue=default priority=0 attempt=1 hold=0 due=0,0 bound=0,0 "
	    "plain=0 launcher=1234567890abcdef cost=103\n"
	    "4 phase=0 uid=1000 queue=slow priority=0 attempt=0 hold=0 due=5000000,1 bound=1,5e "
	    "plain=0 launcher=0 cost=104\n"
	    "5 phase=0 uid=1001 queue=default priority=-3 attempt=0 hold=1 due=0,0 bound=0,0 "
	    "plain=0 launcher=0 cost=105\n");
	ck_assert_uint_eq(fx_store->next_id, 6);
	ck_assert_uint_eq(fx_store->last_seq, 2);
	ck_assert_uint_eq(fx_store->ndone, 1);
	row = fx_store->ops->load(fx_store, 5, &error);
	ck_assert_uint_eq(row->spec->data_len, 20000);
	ck_assert_str_eq(row->env->bytes, "PATH=/bin");
	fx_unref(row);
	row = fx_get(1);
	ck_assert_str_eq(spec_at(row->spec, row->spec->name_off), "first");
	ck_assert_str_eq(spec_at(row->spec, row->spec->key_off), "key-1");
	ck_assert_int_eq(row->run->finished_us, WALL_US + 7000);
	ck_assert_uint_eq(row->env->len, 8);
	fx_unref(row);
	ck_assert_ptr_null(fx_get(2));
	fx_read(&r);
	ck_assert_int_eq(r.nread, 12);
	ck_assert_mem_eq(buf, "hello world\n", 12);
	ck_assert_str_eq(fx_query("SELECT command FROM jobs WHERE job = 1"), "echo 'hello world'");
	ck_assert_int_eq(fx_check(NULL), 0);
}

START_TEST(journals_of_every_version_are_read)
{
	for (int version = 1; version <= SCHEMA_VERSION; version++) {
		char *text = fixture_text(version), *why = NULL;
		sqlite3 *db = fx_sqlite(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);

		if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
			ck_abort_msg("%s", why);
		sqlite3_close(db);
		free(text);
		fx_open();
		ck_assert_int_eq(entries("journal.damaged"), 0);
		check_fixture();
		fx_close();
		fx_teardown();
		fx_setup();
	}
}
END_TEST

START_TEST(a_journal_of_today_equals_the_fixture)
{
	fx_open();
	write_fixture();
	fx_reopen();
	check_fixture();
}
END_TEST

/* ---- damaged records ---- */

/* Turns over one bit of a blob column. */
static void
flip(const char *table, const char *column, const char *where, size_t at)
{
	sqlite3 *db = fx_sqlite(SQLITE_OPEN_READWRITE);
	char sql[256], *bytes;
	sqlite3_stmt *st;
	int n;

	snprintf(sql, sizeof sql, "SELECT %s FROM %s WHERE %s", column, table, where);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), 0);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_bytes(st, 0);
	bytes = malloc((size_t)n);
	memcpy(bytes, sqlite3_column_blob(st, 0), (size_t)n);
	sqlite3_finalize(st);
	bytes[at % (size_t)n] ^= 0x10;
	snprintf(sql, sizeof sql, "UPDATE %s SET %s = ?1 WHERE %s", table, column, where);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), 0);
	sqlite3_bind_blob(st, 1, bytes, n, free);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
	sqlite3_close(db);
}

static int
read_error(uint64_t id)
{
	struct store_read r = { .kind = STORE_READ_JOBS, .ids = &id, .nids = 1 };

	fx_read(&r);
	ck_assert(r.error == 0 || r.rows[0] == NULL);
	store_read_fini(fx_store, &r);
	return r.error;
}

START_TEST(a_flipped_bit_of_a_spec_is_noticed)
{
	const struct fx_spec f = { .name = "a name", .tag = "[1,2,3]" };
	int size;

	fx_open();
	for (int i = 0; i < 3; i++)
		fx_unref(fx_submit(&f));
	fx_commit();
	size = atoi(fx_query("SELECT length(bytes) FROM spec WHERE job = 2"));
	for (int at = 0; at < size; at += 3) {
		flip("spec", "bytes", "job = 2", (size_t)at);
		ck_assert_int_eq(read_error(2), -EIO);
		flip("spec", "bytes", "job = 2", (size_t)at);
	}
	ck_assert_int_eq(read_error(2), 0);
	flip("spec", "bytes", "job = 2", 100);
	ck_assert_int_eq(read_error(1), 0);
	ck_assert_ptr_nonnull(strstr(fx_log, "job=2 can't be read"));
	ck_assert_int_eq(fx_check(NULL), 1);
	ck_assert_str_eq(fx_failed, ""); /* one record is no reason to end */
}
END_TEST

START_TEST(a_page_leaves_out_what_is_damaged)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = { .phase = -1, .ok = -1 },
		.from = 1, .limit = 10 };
	int error;

	fx_open();
	for (int i = 0; i < 3; i++)
		fx_unref(fx_submit(&plain));
	fx_commit();
	flip("spec", "bytes", "job = 2", 9);
	fx_read(&r);
	ck_assert_int_eq(r.error, 0);
	ck_assert_uint_eq(r.nrows, 2);
	ck_assert_uint_eq(r.rows[1]->id, 3);
	store_read_fini(fx_store, &r);
	fx_reopen();
	ck_assert_ptr_null(fx_store->ops->load(fx_store, 2, &error));
	ck_assert_int_eq(error, -EIO);
}
END_TEST

START_TEST(a_flipped_bit_of_an_environment_is_noticed)
{
	const struct fx_spec f = { .env = "A=1", .env_len = 4 };

	fx_open();
	fx_unref(fx_submit(&f));
	fx_commit();
	flip("blob", "bytes", "id = 1", 2);
	ck_assert_int_eq(read_error(1), -EIO);
	ck_assert_int_eq(fx_check(NULL), 1);
}
END_TEST

/* ---- the check ---- */

START_TEST(the_check_tells_what_it_finds)
{
	const char *text;

	ck_assert_int_eq(fx_check(&text), 3);
	ck_assert_ptr_nonnull(strstr(text, "can't tell"));
	fx_open();
	fx_make_done(3, 0);
	fx_unref(fx_submit(&plain));
	fx_commit();
	ck_assert_int_eq(fx_check(&text), 0); /* while a daemon has it */
	ck_assert_ptr_nonnull(strstr(text, "pending: 1\nrunning: 0\ndone: 3\n"));
	ck_assert_ptr_nonnull(strstr(text, "\ngood\n"));
	fx_close();
	ck_assert_int_eq(fx_check(NULL), 0);
	fx_sql("DELETE FROM spec WHERE job = 2");
	ck_assert_int_eq(fx_check(&text), 1);
	ck_assert_ptr_nonnull(strstr(text, "damaged: a done job without spec: 2\n"));
}
END_TEST

START_TEST(the_fixture_is_written)
{
	fx_options.state_dir = getenv("SLOT_WRITE_FIXTURE");
	ck_assert(mkdir(fx_options.state_dir, 0700) == 0 || errno == EEXIST);
	fx_open();
	write_fixture();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_open");
	TCase *dir = tcase_create("directory"), *aside = tcase_create("aside");
	TCase *versions = tcase_create("versions"), *damage = tcase_create("damage");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(dir, fx_setup, fx_teardown);
	if (getenv("SLOT_WRITE_FIXTURE") != NULL)
		tcase_add_test(dir, the_fixture_is_written);
	tcase_add_test(dir, what_it_makes_is_ours_alone);
	tcase_add_test(dir, a_directory_open_to_others_is_refused);
	tcase_add_test(dir, a_directory_of_others_is_refused);
	tcase_add_test(dir, two_daemons_dont_share_a_journal);
	tcase_add_test(dir, only_a_plain_file_is_a_journal);
	suite_add_tcase(suite, dir);
	tcase_add_checked_fixture(aside, fx_setup, fx_teardown);
	tcase_add_test(aside, what_is_no_database_is_set_aside);
	tcase_add_test(aside, a_destroyed_header_is_set_aside);
	tcase_add_test(aside, destroyed_pages_are_set_aside);
	tcase_add_test(aside, a_cut_journal_is_set_aside);
	tcase_add_test(aside, a_missing_table_is_set_aside);
	tcase_add_test(aside, the_database_of_something_else_is_set_aside);
	tcase_add_test(aside, a_journal_from_the_future_is_set_aside);
	tcase_add_test(aside, an_empty_file_becomes_a_journal);
	tcase_add_test(aside, what_was_told_of_is_in_the_files);
	suite_add_tcase(suite, aside);
	tcase_add_checked_fixture(versions, fx_setup, fx_teardown);
	tcase_add_test(versions, an_older_journal_is_upgraded_and_a_copy_kept);
	tcase_add_test(versions, view_and_names_are_those_of_this_version);
	tcase_add_test(versions, journals_of_every_version_are_read);
	tcase_add_test(versions, a_journal_of_today_equals_the_fixture);
	suite_add_tcase(suite, versions);
	tcase_add_checked_fixture(damage, fx_setup, fx_teardown);
	tcase_add_test(damage, a_flipped_bit_of_a_spec_is_noticed);
	tcase_add_test(damage, a_page_leaves_out_what_is_damaged);
	tcase_add_test(damage, a_flipped_bit_of_an_environment_is_noticed);
	tcase_add_test(damage, the_check_tells_what_it_finds);
	suite_add_tcase(suite, damage);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
