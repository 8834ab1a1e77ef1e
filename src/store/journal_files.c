/* Files beside the database; see journal_files.h. */
#include "store/journal_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define ASIDE_TRIES 1000

/* ---- room ---- */

bool
files_no_room(sqlite3 *db, int rc)
{
	int error = sqlite3_system_errno(db);

	if ((rc & 0xff) == SQLITE_FULL)
		return true;
	/* A sync that fails is never a mere lack of room. */
	if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC)
		return false;
	return ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN) &&
	    (error == ENOSPC || error == EDQUOT);
}

/* ---- what the writer is to know of its files ---- */

#define SUSPECT_NAME "journal-suspect"

bool
files_suspect(int dir_fd)
{
	return faccessat(dir_fd, SUSPECT_NAME, F_OK, 0) == 0;
}

void
files_set_suspect(int dir_fd, bool suspect)
{
	int fd;

	if (!suspect) {
		unlinkat(dir_fd, SUSPECT_NAME, 0);
		return;
	}
	fd = openat(dir_fd, SUSPECT_NAME, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}

bool
files_moved(sqlite3 *db, int dir_fd)
{
	int moved = 0;

	if (sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved)
		return true;
	/* (Not stat: after one has asked for its times, the next write to the log gives it new ones,
	 * and the sync of a file system without a journal then writes the inode, too.) */
	return faccessat(dir_fd, "journal-wal", F_OK, 0) != 0 && errno == ENOENT;
}

/* ---- ballast ---- */

static int64_t
free_bytes(int dir_fd)
{
	struct statvfs fs;

	if (fstatvfs(dir_fd, &fs) != 0)
		return 0;
	return (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}

int64_t
files_fs_bytes(int dir_fd)
{
	struct statvfs fs;

	if (fstatvfs(dir_fd, &fs) != 0)
		return 0;
	return (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
}

int64_t
files_size(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)st.st_size : 0;
}

int64_t
ballast_size(int dir_fd)
{
	int64_t size = (free_bytes(dir_fd) + files_size(dir_fd, BALLAST_NAME)) / 8;

	if (size > BALLAST_BYTES)
		size = BALLAST_BYTES;
	if (size < BALLAST_MIN_BYTES)
		size = BALLAST_MIN_BYTES;
	return size & ~(int64_t)4095;
}

static bool
reserved(int dir_fd, int64_t size)
{
	struct stat st;

	return fstatat(dir_fd, BALLAST_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && (int64_t)st.st_blocks * 512 >= size;
}

int
ballast_reserve(int dir_fd, int64_t size)
{
	int fd, error;

	if (size <= 0 || reserved(dir_fd, size))
		return 0;
	if (free_bytes(dir_fd) < 3 * size)
		return -ENOSPC;
	fd = openat(dir_fd, BALLAST_NAME, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
	    0600);
	if (fd < 0)
		return -errno;
	error = posix_fallocate(fd, 0, size);
	close(fd);
	if (error != 0)
		ballast_give_up(dir_fd);
	return -error;
}

void
ballast_give_up(int dir_fd)
{
	unlinkat(dir_fd, BALLAST_NAME, 0);
}

/* ---- setting aside ---- */

static bool
is_free(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

int
files_aside_name(int dir_fd, const char *kind, char name[ASIDE_NAME_MAX])
{
	time_t now = time(NULL);
	char stamp[32], wal[ASIDE_NAME_MAX + 8];
	struct tm tm;

	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	for (int i = 0; i < ASIDE_TRIES; i++) {
		int n = snprintf(name, ASIDE_NAME_MAX, i == 0 ? "journal.%s-%s" :
		    "journal.%s-%s.%d", kind, stamp, i);

		if (n < 0 || n >= ASIDE_NAME_MAX)
			return -ENAMETOOLONG;
		snprintf(wal, sizeof wal, "%s-wal", name);
		if (is_free(dir_fd, name) && is_free(dir_fd, wal))
			return 0;
	}
	return -EEXIST;
}

static const char *const parts[] = { "-wal", "-shm", "" };
#define NPARTS 3

static void
part_names(int i, const char *name, char from[32], char to[ASIDE_NAME_MAX + 8])
{
	snprintf(from, 32, "journal%s", parts[i]);
	snprintf(to, ASIDE_NAME_MAX + 8, "%s%s", name, parts[i]);
}

/* Gives all parts second names, so that a crash in the middle leaves the journal as it was. */
static int
link_aside(int dir_fd, const char *name)
{
	char from[32], to[ASIDE_NAME_MAX + 8];

	for (int i = 0; i < NPARTS; i++) {
		part_names(i, name, from, to);
		if (linkat(dir_fd, from, dir_fd, to, 0) != 0 && errno != ENOENT)
			return -errno;
	}
	if (fsync(dir_fd) != 0)
		return -errno;
	for (int i = NPARTS - 1; i >= 0; i--) { /* the database first: without it, nothing is */
		part_names(i, name, from, to);
		if (unlinkat(dir_fd, from, 0) != 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Where files can have one name only. */
static int
rename_aside(int dir_fd, const char *name)
{
	char from[32], to[ASIDE_NAME_MAX + 8];

	for (int i = NPARTS - 1; i >= 0; i--) {
		part_names(i, name, from, to);
		if (renameat(dir_fd, from, dir_fd, to) != 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

int
files_set_aside(int dir_fd, const char *kind, char name[ASIDE_NAME_MAX])
{
	int error = files_aside_name(dir_fd, kind, name);

	if (error != 0)
		return error;
	error = link_aside(dir_fd, name);
	if (error == -EPERM || error == -EOPNOTSUPP || error == -ENOSYS || error == -EMLINK)
		error = rename_aside(dir_fd, name);
	if (error == 0 && fsync(dir_fd) != 0)
		error = -errno;
	return error;
}

/* ---- ring files ---- */

ssize_t
files_read_ring(int fd, int64_t start, int64_t end, int64_t room, int64_t off, void *buf,
    size_t max)
{
	size_t got = 0;

	if (off < start || off >= end)
		return 0;
	if ((uint64_t)(end - off) < max)
		max = (size_t)(end - off);
	while (got < max) {
		int64_t at = room > 0 ? off % room : off - start;
		size_t piece = max - got;
		ssize_t n;

		if (room > 0 && (uint64_t)(room - at) < piece)
			piece = (size_t)(room - at);
		n = pread(fd, (char *)buf + got, piece, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
		off += n;
	}
	return (ssize_t)got;
}
