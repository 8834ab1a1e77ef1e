/*
 * The durable store in trouble: a full disk, a disk that fails, a journal that somebody holds
 * locked, memory that runs out. Between SQLite and the system stands a layer that fails on demand;
 * the full disk is a real one, of 2 MiB, where we may mount one.
 */
#include "journal_fixture.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <dirent.h>

static const struct fx_spec plain;

/* ---- a file system that fails ---- */

enum { FAIL_NOT, FAIL_SYNC, FAIL_WRITE, FAIL_READ };

static atomic_int failing;
static sqlite3_vfs *real_vfs, shim_vfs;

struct shim_file {
	sqlite3_file base;
	sqlite3_file *real;
};

static sqlite3_file *
real_of(sqlite3_file *f)
{
	return ((struct shim_file *)(void *)f)->real;
}

static int
shim_close(sqlite3_file *f)
{
	return real_of(f)->pMethods->xClose(real_of(f));
}

static int
shim_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	if (failing == FAIL_READ)
		return SQLITE_IOERR_READ;
	return real_of(f)->pMethods->xRead(real_of(f), buf, n, at);
}

static int
shim_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at)
{
	if (failing == FAIL_WRITE)
		return SQLITE_IOERR_WRITE;
	return real_of(f)->pMethods->xWrite(real_of(f), buf, n, at);
}

static int
shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int
shim_sync(sqlite3_file *f, int flags)
{
	if (failing == FAIL_SYNC)
		return SQLITE_IOERR_FSYNC;
	return real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int
shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int
shim_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int
shim_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int
shim_reserved(sqlite3_file *f, int *held)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), held);
}

static int
shim_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int
shim_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int
shim_device(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int
shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **at)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, at);
}

static int
shim_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}

static void
shim_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int
shim_shm_unmap(sqlite3_file *f, int del)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), del);
}

static const sqlite3_io_methods shim_methods = {
	2, shim_close, shim_read, shim_write, shim_truncate, shim_sync, shim_size, shim_lock,
	shim_unlock, shim_reserved, shim_control, shim_sector, shim_device, shim_shm_map,
	shim_shm_lock, shim_shm_barrier, shim_shm_unmap, NULL, NULL,
};

static int
shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	struct shim_file *f = (struct shim_file *)(void *)file;
	int rc;

	(void)vfs;
	f->real = (sqlite3_file *)(void *)(f + 1);
	rc = real_vfs->xOpen(real_vfs, name, f->real, flags, out);
	f->base.pMethods = f->real->pMethods != NULL ? &shim_methods : NULL;
	return rc;
}

static void
put_shim(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	shim_vfs = *real_vfs;
	shim_vfs.zName = "shim";
	shim_vfs.pNext = NULL;
	shim_vfs.szOsFile += (int)sizeof(struct shim_file);
	shim_vfs.xOpen = shim_open;
	sqlite3_vfs_register(&shim_vfs, 1);
}

/* ---- memory that runs out ---- */

static sqlite3_mem_methods real_mem;
static atomic_long allocations_left = -1; /* the one that fails; below 0: none */

static bool
refused(void)
{
	return allocations_left >= 0 && atomic_fetch_sub(&allocations_left, 1) == 0;
}

static void *
shim_malloc(int n)
{
	return refused() ? NULL : real_mem.xMalloc(n);
}

static void *
shim_realloc(void *p, int n)
{
	return refused() ? NULL : real_mem.xRealloc(p, n);
}

static void
put_memory_shim(void)
{
	sqlite3_mem_methods mem;

	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_mem);
	mem = real_mem;
	mem.xMalloc = shim_malloc;
	mem.xRealloc = shim_realloc;
	sqlite3_config(SQLITE_CONFIG_MALLOC, &mem);
}

static void
setup(void)
{
	fx_setup();
	fx_options.retry_ms = 20;
	fx_options.room_check_ms = 50;
}

static void
teardown(void)
{
	failing = FAIL_NOT;
	allocations_left = -1;
	fx_teardown();
}

/* ---- a disk that fails ---- */

static int told_before;

static void
commit_in_trouble(int how)
{
	fx_make_done(3, 0);
	told_before = fx_commits;
	failing = how;
	fx_unref(fx_submit(&plain));
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	FX_UNTIL(fx_failed[0] != '\0');
	failing = FAIL_NOT; /* it makes no second attempt, though it would go well */
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	fx_turn(100);
	ck_assert_int_eq(fx_commits, told_before);
	ck_assert(!fx_store->stuck);
}

START_TEST(a_failed_sync_is_final)
{
	fx_options.normal = false;
	fx_open();
	commit_in_trouble(FAIL_SYNC);
	fx_reopen(); /* the next process finds what was told of */
	ck_assert_uint_eq(fx_store->ndone, 3);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(a_failed_write_is_final)
{
	fx_open();
	commit_in_trouble(FAIL_WRITE);
	fx_reopen();
	ck_assert_uint_eq(fx_store->ndone, 3);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(a_failed_read_is_final)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = { .phase = -1, .ok = -1 },
		.limit = 500 };

	fx_open();
	fx_make_done(2000, 0);
	fx_reopen();
	failing = FAIL_READ;
	fx_read(&r);
	ck_assert_int_eq(r.error, -EIO);
	store_read_fini(fx_store, &r);
	ck_assert_ptr_nonnull(strstr(fx_failed, "reading the journal"));
	failing = FAIL_NOT;
	fx_read(&r); /* every later one is answered, so that nobody waits for ever */
	ck_assert_int_eq(r.error, -EIO);
	store_read_fini(fx_store, &r);
}
END_TEST

/* ---- a journal that somebody holds locked ---- */

START_TEST(a_locked_journal_is_waited_for)
{
	sqlite3 *db;
	struct row *row;

	fx_open();
	fx_make_done(3, 0);
	db = fx_sqlite(SQLITE_OPEN_READWRITE);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), 0);
	told_before = fx_commits;
	row = fx_submit(&plain);
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	FX_UNTIL(fx_store->stuck);
	ck_assert(fx_store->degraded);
	ck_assert_int_eq(fx_degraded, 1);
	ck_assert_int_eq(fx_commits, told_before);
	ck_assert_ptr_null(fx_get(4)); /* what is shown now is what was committed */
	fx_unref(fx_submit(&plain));
	fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	sqlite3_close(db);
	FX_UNTIL(fx_commits == told_before + 2);
	ck_assert(!fx_store->stuck);
	FX_UNTIL(!fx_store->degraded);
	ck_assert_int_eq(fx_degraded, 0);
	ck_assert_str_eq(fx_failed, "");
	fx_unref(row);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* ---- memory ---- */

static int
set_aside(void)
{
	DIR *dir = opendir(fx_dir);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)) != NULL)
		n += strncmp(e->d_name, "journal.", 8) == 0;
	closedir(dir);
	return n;
}

START_TEST(an_open_without_memory_fails_and_harms_nothing)
{
	uint64_t instance;
	int refusals = 0;

	fx_open();
	instance = fx_store->instance;
	fx_make_done(3, 0);
	fx_close();
	for (long n = 0; n < 2000; n += n < 60 ? 3 : 67) {
		bool opened;

		allocations_left = n;
		opened = fx_try_open();
		allocations_left = -1;
		if (!opened) {
			refusals++;
			ck_assert_str_ne(fx_why.text, "");
			continue;
		}
		ck_assert_uint_eq(fx_store->instance, instance);
		fx_close();
	}
	ck_assert_int_gt(refusals, 10);
	ck_assert_int_eq(set_aside(), 0);
	fx_open();
	ck_assert_uint_eq(fx_store->ndone, 3);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(a_commit_without_memory_is_tried_again)
{
	fx_open();
	for (long n = 0; n < 5; n++) {
		told_before = fx_commits;
		for (int i = 0; i < 3; i++) {
			const struct fx_spec f = { .env = "A=1", .env_len = 4 };

			fx_unref(fx_submit(&f));
		}
		allocations_left = n * n;
		fx_store->ops->commit(fx_store, fx_on_commit, NULL);
		FX_UNTIL(fx_commits == told_before + 1);
		allocations_left = -1;
	}
	ck_assert_str_eq(fx_failed, "");
	ck_assert_int_eq(fx_check(NULL), 0);
	ck_assert_str_eq(fx_query("SELECT count(*) FROM live"), "15");
}
END_TEST

START_TEST(a_read_without_memory_says_so)
{
	struct store_read r = { .kind = STORE_READ_PAGE, .filter = { .phase = -1, .ok = -1 },
		.limit = 500 };
	fx_open();
	fx_make_done(20, 0);
	for (long n = 0; n < 10; n++) {
		allocations_left = n;
		fx_read(&r);
		allocations_left = -1;
		ck_assert_msg(r.error == 0 || r.error == -ENOMEM, "n=%ld: %d %s", n, r.error,
		    fx_failed);
		store_read_fini(fx_store, &r);
		ck_assert_str_eq(fx_failed, "");
	}
	fx_read(&r);
	ck_assert_int_eq(r.error, 0);
	ck_assert_uint_eq(r.nrows, 20);
	store_read_fini(fx_store, &r);
}
END_TEST

/* ---- a full disk ---- */

static bool may_mount;

/* A namespace of our own, for the small disk. */
static bool
try_mounts(void)
{
	char map[64];
	uid_t uid = geteuid();
	FILE *f;

	if (uid == 0) {
		if (unshare(CLONE_NEWNS) != 0)
			return false;
	} else {
		if (unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0)
			return false;
		snprintf(map, sizeof map, "%u %u 1", (unsigned)uid, (unsigned)uid);
		f = fopen("/proc/self/uid_map", "w");
		if (f == NULL)
			return false;
		fputs(map, f);
		if (fclose(f) != 0)
			return false;
	}
	return mount("none", "/", "", MS_REC | MS_PRIVATE, "") == 0;
}

static bool small_disk;

static void
setup_small(void)
{
	setup();
	small_disk = may_mount && mount("none", fx_dir, "tmpfs", 0, "size=2m,mode=0700") == 0;
	if (!small_disk)
		return;
	ck_assert_int_eq(mkdir(fx_output, 0700), 0);
	fx_open();
}

static void
teardown_small(void)
{
	fx_close();
	if (small_disk)
		umount2(fx_dir, MNT_DETACH);
	teardown();
}

/* Takes all the room there is. */
static void
fill(const char *name)
{
	static char block[4096];
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", fx_dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	setvbuf(f, NULL, _IONBF, 0);
	while (fwrite(block, 1, sizeof block, f) == sizeof block)
		;
	fclose(f);
}

static void
unfill(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", fx_dir, name);
	unlink(path);
}

START_TEST(a_full_disk_is_coped_with)
{
	const struct store_output out = { .data = "0123456789", .len = 10, .end = 10 };
	struct row *rows[100];
	int n = 0;

	if (!small_disk)
		return;
	for (int i = 0; i < 100; i++)
		rows[i] = fx_submit(&plain);
	for (int i = 0; i < 100; i++)
		fx_start(rows[i]);
	fx_commit();
	fill("filler");
	/* Submits until it says stop … */
	while (!fx_store->degraded && n++ < 5000) {
		fx_unref(fx_submit(&plain));
		fx_commit();
	}
	ck_assert(fx_store->degraded);
	ck_assert_int_eq(fx_degraded, 1);
	ck_assert(!fx_store->stuck);
	/* … and completions are still recorded. */
	for (int i = 0; i < 100; i++) {
		fx_store->ops->keep_output(fx_store, rows[i], 1, &out);
		fx_done(rows[i]);
		fx_unref(rows[i]);
		fx_commit();
	}
	ck_assert(!fx_store->stuck);
	ck_assert_str_eq(fx_failed, "");
	unfill("filler");
	FX_UNTIL(!fx_store->degraded);
	ck_assert_int_eq(fx_degraded, 0);
	fx_unref(fx_submit(&plain));
	fx_commit();
	ck_assert_int_eq(fx_check(NULL), 0);
	fx_reopen();
	ck_assert_uint_eq(fx_store->ndone, 100);
}
END_TEST

START_TEST(without_any_room_batches_wait_their_turn)
{
	static char data[12000];
	const struct fx_spec f = { .data = data, .data_len = sizeof data };
	int before, n = 0;

	if (!small_disk)
		return;
	fill("filler");
	while (!fx_store->stuck && n++ < 500) {
		fx_unref(fx_submit(&f));
		fx_store->ops->commit(fx_store, fx_on_commit, NULL);
		fx_turn(20);
	}
	ck_assert(fx_store->stuck && fx_store->degraded);
	before = fx_commits;
	for (int i = 0; i < 10; i++) {
		fx_unref(fx_submit(&f));
		fx_store->ops->commit(fx_store, fx_on_commit, NULL);
	}
	fx_turn(100);
	ck_assert_int_eq(fx_commits, before);
	unfill("filler");
	FX_UNTIL(!fx_store->stuck);
	FX_UNTIL(fx_commits >= before + 10 && !fx_store->degraded);
	ck_assert_str_eq(fx_failed, "");
	ck_assert_int_eq(fx_check(NULL), 0);
	fx_reopen();
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

START_TEST(a_start_on_a_full_disk_is_degraded)
{
	int n = 0;

	if (!small_disk)
		return;
	fx_make_done(10, 0);
	fx_close();
	fill("filler");
	fx_options.boot_id = "another"; /* so that there is something to write */
	fx_open();
	ck_assert_uint_eq(fx_store->ndone, 10);
	unfill("filler");
	fx_make_done(10, 0);
	while (fx_store->degraded && n++ < 100)
		fx_turn(150);
	ck_assert(!fx_store->degraded);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* Killed with numbers and sums unwritten, and then there is no room for them, nor a ballast. */
START_TEST(a_start_after_a_kill_needs_no_room)
{
	pid_t pid;
	int n = 0;

	if (!small_disk)
		return;
	fx_close();
	pid = fork();
	if (pid == 0) {
		fx_open();
		fx_make_done(5, 0);
		fx_make_done(2, 7);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	unfill("ballast");
	fill("filler");
	fx_open();
	ck_assert(fx_store->degraded);
	ck_assert_uint_eq(fx_store->next_id, 8);
	ck_assert_uint_eq(fx_store->last_seq, 7);
	ck_assert_uint_eq(fx_store->ndone, 7);
	unfill("filler");
	while (fx_store->degraded && n++ < 100)
		fx_turn(150);
	ck_assert(!fx_store->degraded);
	fx_make_done(1, 7);
	fx_reopen();
	ck_assert_uint_eq(fx_store->ndone, 8);
	ck_assert_str_eq(fx_query("SELECT group_concat(uid || ' ' || jobs) FROM"
	    " (SELECT * FROM history ORDER BY uid)"), "0 5,7 3");
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* On 2 MiB, with a bounded history, work can go on for ever. */
START_TEST(a_small_disk_is_enough_for_a_bounded_history)
{
	if (!small_disk)
		return;
	fx_store->bounds.jobs = 100;
	for (int i = 0; i < 400; i++) {
		fx_make_done(20, 0);
		fx_store->ops->prune(fx_store, WALL_US);
		FX_UNTIL(fx_store->ndone <= 120);
	}
	ck_assert_int_ne(fx_degraded, 1);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* Where there is less room than before, a smaller ballast will do. */
START_TEST(a_disk_that_was_small_enough_before_serves_again)
{
	char path[128];
	FILE *f;
	int n = 0;

	if (!small_disk)
		return;
	fill("filler"); /* and 480 KiB of it given back: too little for three of the old one */
	while (!fx_store->degraded && n++ < 5000) {
		fx_unref(fx_submit(&plain));
		fx_commit();
	}
	snprintf(path, sizeof path, "%s/filler", fx_dir);
	f = fopen(path, "r+");
	ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
	ck_assert_int_eq(ftruncate(fileno(f), ftell(f) - 480 * 1024), 0);
	fclose(f);
	for (n = 0; fx_store->degraded && n < 100; n++)
		fx_turn(100);
	ck_assert(!fx_store->degraded);
	fx_reopen(); /* a start needs no more */
	ck_assert(!fx_store->degraded);
	/* And what is left is not promised twice. */
	fill("more");
	for (n = 0; !fx_store->degraded && n < 5000; n++) {
		fx_unref(fx_submit(&plain));
		fx_commit();
	}
	ck_assert(fx_store->degraded && !fx_store->stuck);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

/* Nothing is renamed and nothing begun where nothing can be written. */
START_TEST(a_read_only_file_system_is_refused)
{
	uint64_t instance;

	if (!small_disk)
		return;
	fx_make_done(5, 0);
	instance = fx_store->instance;
	fx_close();
	ck_assert_int_eq(mount("none", fx_dir, "", MS_REMOUNT | MS_RDONLY, ""), 0);
	ck_assert(!fx_try_open());
	ck_assert_ptr_nonnull(strstr(fx_why.text, "journal"));
	ck_assert_int_eq(set_aside(), 0);
	ck_assert_int_eq(mount("none", fx_dir, "", MS_REMOUNT, ""), 0);
	fx_open();
	ck_assert_uint_eq(fx_store->instance, instance);
	ck_assert_uint_eq(fx_store->ndone, 5);
}
END_TEST

/* Every step of an opening that finds no room, with all that was there before. */
START_TEST(a_start_with_any_little_room_harms_nothing)
{
	uint64_t instance;
	char path[128];

	if (!small_disk)
		return;
	fx_make_done(20, 0);
	instance = fx_store->instance;
	fx_close();
	snprintf(path, sizeof path, "%s/filler", fx_dir);
	for (int kib = 0; kib < 120; kib += 4) {
		FILE *f;

		unfill("ballast");
		fill("filler");
		f = fopen(path, "r+");
		fseek(f, 0, SEEK_END);
		ck_assert_int_eq(ftruncate(fileno(f), ftell(f) - kib * 1024), 0);
		fclose(f);
		fx_options.boot_id = kib % 8 ? "boot-a" : "boot-b";
		if (fx_try_open()) {
			ck_assert_uint_eq(fx_store->instance, instance);
			fx_close();
		}
		ck_assert_int_eq(set_aside(), 0);
		unfill("filler");
	}
	fx_open();
	ck_assert_uint_eq(fx_store->instance, instance);
	ck_assert_uint_eq(fx_store->ndone, 20);
	ck_assert_int_eq(fx_check(NULL), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_trouble");
	TCase *disk = tcase_create("disk"), *memory = tcase_create("memory");
	TCase *full = tcase_create("full");
	SRunner *runner = srunner_create(suite);
	int failed;

	put_memory_shim();
	put_shim();
	may_mount = try_mounts();
	if (!may_mount)
		printf("no small disk may be mounted here: a full one is not tried\n");
	tcase_add_checked_fixture(disk, setup, teardown);
	tcase_set_timeout(disk, 60);
	tcase_add_test(disk, a_failed_sync_is_final);
	tcase_add_test(disk, a_failed_write_is_final);
	tcase_add_test(disk, a_failed_read_is_final);
	tcase_add_test(disk, a_locked_journal_is_waited_for);
	suite_add_tcase(suite, disk);
	tcase_add_checked_fixture(memory, setup, teardown);
	tcase_set_timeout(memory, 60);
	tcase_add_test(memory, an_open_without_memory_fails_and_harms_nothing);
	tcase_add_test(memory, a_commit_without_memory_is_tried_again);
	tcase_add_test(memory, a_read_without_memory_says_so);
	suite_add_tcase(suite, memory);
	tcase_add_checked_fixture(full, setup_small, teardown_small);
	tcase_set_timeout(full, 60);
	tcase_add_test(full, a_full_disk_is_coped_with);
	tcase_add_test(full, without_any_room_batches_wait_their_turn);
	tcase_add_test(full, a_start_on_a_full_disk_is_degraded);
	tcase_add_test(full, a_start_after_a_kill_needs_no_room);
	tcase_add_test(full, a_disk_that_was_small_enough_before_serves_again);
	tcase_add_test(full, a_read_only_file_system_is_refused);
	tcase_add_test(full, a_start_with_any_little_room_harms_nothing);
	tcase_add_test(full, a_small_disk_is_enough_for_a_bounded_history);
	suite_add_tcase(suite, full);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
