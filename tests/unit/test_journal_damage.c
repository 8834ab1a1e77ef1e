/*
 * Damage that SQLite does not see: values that were changed on the disk. What a start believes
 * makes it set the journal aside; a row of history can't be read, and nothing else suffers.
 */
#include "journal_fixture.h"

#include <dirent.h>

static const struct fx_spec plain;

static int
aside(void)
{
	DIR *dir = opendir(fx_dir);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)) != NULL)
		n += strncmp(e->d_name, "journal.damaged-", 16) == 0;
	closedir(dir);
	return n;
}

static void
remove_journals(void)
{
	DIR *dir = opendir(fx_dir);
	struct dirent *e;
	char path[400];

	while ((e = readdir(dir)) != NULL)
		if (strncmp(e->d_name, "journal", 7) == 0) {
			snprintf(path, sizeof path, "%s/%s", fx_dir, e->d_name);
			unlink(path);
		}
	closedir(dir);
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

static int
output_error(uint64_t id, char *buf)
{
	struct store_read r = { .kind = STORE_READ_OUTPUT, .job = id, .stream = 1, .buf = buf,
		.max = 100 };

	fx_read(&r);
	ck_assert(r.error == 0 || r.nread <= 0);
	return r.error;
}

/* 1 to 3 done, 6 of them a hole, 4 pending, 5 running and bound; a setting and a queue. */
static void
make_all(void)
{
	struct store_output out = { .data = "output", .len = 6, .end = 6 };
	struct fx_spec f = { .name = "n", .env = "A=1", .env_len = 4 };

	fx_open();
	for (int i = 1; i <= 5; i++) {
		struct row *row;

		f.env = i % 2 ? "A=1" : "B=2";
		row = fx_new(&f);
		if (i == 5) {
			row->waits = ROW_DUE | ROW_TIED;
			row->due_boot_us = 5000000;
			row->due_wall_us = WALL_US + 5000000;
			memset(row->session, 0x5e, ROW_SESSION_LEN);
		}
		fx_submit_row(row);
		fx_store->launcher = 77;
		if (i != 4)
			fx_start(row);
		if (i < 4) {
			fx_store->ops->keep_output(fx_store, row, 1, &out);
			fx_done_at(row, WALL_US + 5000 + i, 6);
		}
		fx_unref(row);
	}
	fx_store->ops->keep_setting(fx_store, "max_running", 8);
	fx_store->ops->keep_queue(fx_store, "slow", 2, true);
	fx_commit();
	fx_close();
}

/* Changes each column of the rows in turn, shows what then is, and puts the file back. */
static void
for_columns(const char *table, const char *where, void (*look)(const char *what))
{
	static char copy[1 << 20];
	char path[128], sql[1024], what[128], names[40][32];
	size_t len;
	sqlite3_stmt *st;
	sqlite3 *db = fx_sqlite(SQLITE_OPEN_READWRITE);
	FILE *f;
	int n = 0;

	snprintf(sql, sizeof sql, "SELECT name FROM pragma_table_info('%s')"
	    " WHERE name <> 'seq' AND (name <> 'job' OR NOT pk OR '%s' = 'live')", table, table);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), 0);
	while (sqlite3_step(st) == SQLITE_ROW)
		snprintf(names[n++], sizeof names[0], "%s",
		    (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	sqlite3_close(db);
	ck_assert_int_gt(n, 0);
	snprintf(path, sizeof path, "%s/journal", fx_dir);
	f = fopen(path, "r");
	len = fread(copy, 1, sizeof copy, f);
	fclose(f);
	for (int i = 0; i < n; i++) {
		char c[32];

		snprintf(c, sizeof c, "%.31s", names[i]);
		snprintf(sql, sizeof sql, "UPDATE %s SET %s = CASE typeof(%s) WHEN 'integer'"
		    " THEN %s + 64 WHEN 'null' THEN 1 WHEN 'blob' THEN zeroblob(length(%s))"
		    " ELSE %s || 'x' END WHERE %s", table, c, c, c, c, c, where);
		fx_sql(sql);
		snprintf(what, sizeof what, "%s.%s", table, c);
		fx_log[0] = '\0';
		look(what);
		fx_close();
		remove_journals();
		f = fopen(path, "w");
		fwrite(copy, 1, len, f);
		fclose(f);
	}
}

static void
look_at_history(const char *what)
{
	fx_open();
	ck_assert_msg(aside() == 0, "%s", what);
	ck_assert_msg(read_error(2) == -EIO, "%s", what);
	ck_assert_int_eq(read_error(1), 0);
	ck_assert_int_eq(read_error(3), 0);
	ck_assert_str_eq(fx_failed, "");
	ck_assert_ptr_nonnull(strstr(fx_log, "the journal is damaged: table="));
	ck_assert_msg(fx_check(NULL) == 1, "%s", what);
}

START_TEST(a_changed_value_of_a_done_job_is_noticed)
{
	make_all();
	for_columns("done", "seq = 2", look_at_history);
	fx_open();
	ck_assert_int_eq(read_error(2), 0);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

static void
look_at_spec(const char *what)
{
	static const char *const for_people[] = {
		"spec.key", "spec.name", "spec.tag", "spec.command",
	};
	bool found = true;

	for (int i = 0; i < 4; i++)
		found = found && strcmp(what, for_people[i]) != 0;
	fx_open();
	ck_assert_msg(read_error(2) == (found ? -EIO : 0), "%s", what);
	ck_assert_int_eq(read_error(1), 0);
	ck_assert_msg(fx_check(NULL) == 1, "%s", what);
}

START_TEST(a_changed_value_of_a_spec_is_noticed)
{
	make_all();
	for_columns("spec", "job = 2", look_at_spec);
	fx_sql("UPDATE spec SET env = (SELECT env FROM spec WHERE job = 1) WHERE job = 2");
	fx_open();
	ck_assert_int_eq(read_error(2), -EIO); /* a whole environment, of another job */
	fx_close();
	fx_sql("DELETE FROM spec WHERE job = 3");
	fx_open();
	ck_assert_int_eq(read_error(3), -EIO);
	ck_assert_int_eq(read_error(1), 0);
}
END_TEST

static void
look_at_output(const char *what)
{
	char buf[100];

	fx_open();
	ck_assert_msg(output_error(2, buf) == -EIO, "%s", what);
	ck_assert_int_eq(output_error(1, buf), 0);
	ck_assert_mem_eq(buf, "output", 6);
	ck_assert_ptr_nonnull(strstr(fx_log, "table=output job=2 stream=1"));
	ck_assert_str_eq(fx_failed, "");
	ck_assert_msg(fx_check(NULL) == 1, "%s", what);
}

START_TEST(changed_output_is_noticed)
{
	make_all();
	for_columns("output", "id = 4", look_at_output);
}
END_TEST

static void
look_at_start(const char *what)
{
	char text[64];
	uint64_t instance;

	ck_assert_msg(fx_check(NULL) == 1, "%s", what);
	instance = strtoull(fx_query("SELECT value FROM meta WHERE name = 'instance'"), NULL, 10);
	fx_open();
	ck_assert_msg(aside() > 0, "%s", what);
	ck_assert_uint_ne(fx_store->instance, instance);
	snprintf(text, sizeof text, "a row of %.*s", (int)strcspn(what, "."), what);
	ck_assert_msg(strstr(fx_log, text) != NULL, "%s: %s", what, fx_log);
	fx_close();
}

START_TEST(a_start_believes_no_changed_row)
{
	static const char *const what[][2] = {
		{ "live", "job = 4" }, { "live", "job = 5" }, { "meta", "name = 'next_id'" },
		{ "meta", "name = 'boot_id'" }, { "meta", "name = 'instance'" },
		{ "setting", "1" }, { "queue", "1" }, { "history", "1" },
	};

	make_all();
	for_columns(what[_i][0], what[_i][1], look_at_start);
	fx_open();
	ck_assert_int_eq(aside(), 0);
	ck_assert_uint_eq(fx_store->ndone, 3);
}
END_TEST

START_TEST(numbers_that_disagree_are_damage)
{
	static const char *const how[] = {
		"DELETE FROM meta WHERE name = 'next_id'",
		"DELETE FROM meta WHERE name = 'last_seq'",
		"UPDATE spec SET job = 1 << 40 WHERE job = 5",
		"UPDATE done SET seq = 1 << 40 WHERE seq = 3",
	};

	make_all();
	fx_sql(how[_i]);
	fx_open();
	ck_assert_int_ge(aside(), 1);
	ck_assert_ptr_nonnull(strstr(fx_log, "its numbers disagree"));
}
END_TEST

/* A reboot changes rows; their sums stay right. */
START_TEST(a_reboot_leaves_sums_right)
{
	make_all();
	fx_sql("UPDATE live SET hold = hold");
	for (int i = 0; i < 2; i++) {
		fx_options.boot_id = "boot-two";
		fx_open();
		ck_assert_int_eq(aside(), 0);
		ck_assert_int_eq(fx_check(NULL), 0);
		ck_assert_int_eq(read_error(5), 0);
		fx_close();
	}
	ck_assert_str_eq(fx_query("SELECT launcher FROM live WHERE job = 5"), "0");
	ck_assert_str_eq(fx_query("SELECT ifnull(due_boot_us, 'none') FROM live WHERE job = 5"),
	    "none");
}
END_TEST

/* A dropped environment changes the row too. */
START_TEST(sums_of_jobs_without_their_environments_are_right)
{
	fx_options.drop_env = true;
	make_all();
	fx_open();
	for (uint64_t id = 1; id <= 5; id++)
		ck_assert_int_eq(read_error(id), 0);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* Nothing is removed on the word of a damaged row. */
START_TEST(pruning_passes_over_what_is_damaged)
{
	make_all();
	fx_sql("UPDATE done SET job = 4 WHERE seq = 2");
	fx_options.bounds.jobs = 1;
	fx_open();
	fx_store->ops->prune(fx_store, WALL_US);
	FX_UNTIL(fx_store->ndone == 1);
	fx_commit();
	ck_assert_str_eq(fx_query("SELECT count(*) FROM spec WHERE job = 4"), "1");
	ck_assert_str_eq(fx_query("SELECT group_concat(seq) FROM done"), "2");
	ck_assert_ptr_nonnull(strstr(fx_log, "table=done seq=2; it is not pruned"));
	ck_assert_str_eq(fx_failed, "");
}
END_TEST

START_TEST(a_damaged_name_unlinks_no_file)
{
	struct store_output out = { .file = "1.1.out", .end = 70000, .room = 70000 };
	char path[128];
	struct row *row;

	fx_open();
	row = fx_submit(&plain);
	fx_start(row);
	fx_store->ops->keep_output(fx_store, row, 1, &out);
	fx_done(row);
	fx_commit();
	snprintf(path, sizeof path, "%s/2.1.out", fx_output);
	fclose(fopen(path, "w"));
	fx_sql("UPDATE output SET file = '2.1.out'");
	fx_store->ops->forget(fx_store, row);
	fx_unref(row);
	fx_commit();
	fx_sql("INSERT INTO trash VALUES ('2.1.out', 5)");
	fx_reopen();
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

/* Pages that lead nowhere are SQLite's to notice: that read fails, and no other. */
START_TEST(a_broken_page_harms_one_read)
{
	static char data[60000], file[1 << 20];
	struct store_output out = { .data = data, .len = sizeof data, .end = sizeof data };
	char path[128], buf[100];
	struct row *row;
	size_t len, at;
	FILE *f;

	memset(data, 'x', sizeof data);
	fx_open();
	row = fx_submit(&plain);
	fx_start(row);
	fx_store->ops->keep_output(fx_store, row, 1, &out);
	fx_done_at(row, WALL_US, sizeof data);
	fx_unref(row);
	fx_make_done(1, 0);
	fx_reopen();
	snprintf(path, sizeof path, "%s/journal", fx_dir);
	f = fopen(path, "r+");
	len = fread(file, 1, sizeof file, f);
	for (at = 4096; at < len && (file[at + 4] != 'x' || file[at + 4000] != 'x'); at += 4096)
		;
	ck_assert_uint_lt(at, len);
	fseek(f, (long)at, SEEK_SET);
	fwrite("\x7f\xff\xff\xff", 1, 4, f);
	fclose(f);
	ck_assert_int_eq(output_error(1, buf), -EIO);
	ck_assert_str_eq(fx_failed, "");
	ck_assert_ptr_nonnull(strstr(fx_log, "the journal is damaged: reading failed"));
	ck_assert_int_eq(read_error(1), 0);
	fx_make_done(1, 0);
	ck_assert_int_eq(read_error(3), 0);
}
END_TEST

/* After its writer met damage, a journal is checked to the end. */
START_TEST(a_suspect_journal_is_checked)
{
	char path[128];

	make_all();
	snprintf(path, sizeof path, "%s/journal-suspect", fx_dir);
	fclose(fopen(path, "w"));
	fx_open();
	ck_assert_ptr_nonnull(strstr(fx_log, "it is checked"));
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(aside(), 0);
}
END_TEST

/* ---- files that go ---- */

static void
commit_fails(void)
{
	int before = fx_commits;

	fx_unref(fx_submit(&plain));
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	FX_UNTIL(fx_failed[0] != '\0');
	ck_assert_int_eq(fx_commits, before);
	ck_assert_ptr_nonnull(strstr(fx_failed, "removed or replaced"));
}

/* What is written then would be written into the void. */
START_TEST(a_removed_journal_is_no_place_to_commit_to)
{
	static const char *const names[] = { "journal", "journal-wal" };
	char path[128], to[160];

	fx_open();
	fx_make_done(3, 0);
	snprintf(path, sizeof path, "%s/%s", fx_dir, names[_i / 2]);
	snprintf(to, sizeof to, "%s.elsewhere", path);
	ck_assert_int_eq(_i % 2 ? unlink(path) : rename(path, to), 0);
	commit_fails();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_damage");
	TCase *rows = tcase_create("rows"), *files = tcase_create("files");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(rows, fx_setup, fx_teardown);
	tcase_set_timeout(rows, 60);
	tcase_add_test(rows, a_changed_value_of_a_done_job_is_noticed);
	tcase_add_test(rows, a_changed_value_of_a_spec_is_noticed);
	tcase_add_test(rows, changed_output_is_noticed);
	tcase_add_loop_test(rows, a_start_believes_no_changed_row, 0, 8);
	tcase_add_loop_test(rows, numbers_that_disagree_are_damage, 0, 4);
	tcase_add_test(rows, a_reboot_leaves_sums_right);
	tcase_add_test(rows, sums_of_jobs_without_their_environments_are_right);
	tcase_add_test(rows, pruning_passes_over_what_is_damaged);
	tcase_add_test(rows, a_damaged_name_unlinks_no_file);
	tcase_add_test(rows, a_broken_page_harms_one_read);
	tcase_add_test(rows, a_suspect_journal_is_checked);
	suite_add_tcase(suite, rows);
	tcase_add_checked_fixture(files, fx_setup, fx_teardown);
	tcase_add_loop_test(files, a_removed_journal_is_no_place_to_commit_to, 0, 4);
	suite_add_tcase(suite, files);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
