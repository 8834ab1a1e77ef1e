#ifndef STORE_JOURNAL_FILES_H
#define STORE_JOURNAL_FILES_H
/*
 * Files beside the database: the ballast that is given up when the disk is full, names for what
 * is set aside, and the ring files that hold output.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>
#include <sys/types.h>

#define BALLAST_NAME "ballast"
#define BALLAST_BYTES (1024 * 1024)  /* … but at most an eighth of what is free … */
#define BALLAST_MIN_BYTES (64 * 1024) /* … and at least room for a few commits */

/* How large a ballast should be in this directory's file system now. */
int64_t ballast_size(int dir_fd);
/* Reserves it (or finds it reserved), only where twice as much stays free. 0 or -errno. */
int ballast_reserve(int dir_fd, int64_t size);
void ballast_give_up(int dir_fd);

/* Does an SQLite result mean that the disk is full? Right after it was got. */
bool files_no_room(sqlite3 *db, int rc);

/* A mark beside the journal: its writer met damage. */
bool files_suspect(int dir_fd);
void files_set_suspect(int dir_fd, bool suspect);
/* Does the database still stand under its name, and its log? */
bool files_moved(sqlite3 *db, int dir_fd);

/* Bytes of the file system that holds the directory; 0: not known. */
int64_t files_fs_bytes(int dir_fd);
/* Size of a file; 0: it isn't there. */
int64_t files_size(int dir_fd, const char *name);

#define ASIDE_NAME_MAX 64
/*
 * Renames `journal` and its -wal and -shm to journal.KIND-YYYYMMDDTHHMMSSZ, with .N behind where
 * that name is taken: nothing is ever overwritten. 0 or -errno; `name` is the new one.
 */
int files_set_aside(int dir_fd, const char *kind, char name[ASIDE_NAME_MAX]);
/* A free name of that form, for a copy. 0 or -errno. */
int files_aside_name(int dir_fd, const char *kind, char name[ASIDE_NAME_MAX]);

/*
 * Reads up to max bytes from offset `off` on, of a stream of which [start, end) stands in the
 * file, the byte at offset o at o % room (room 0: at o - start). Bytes read, 0 outside, -errno.
 */
ssize_t files_read_ring(int fd, int64_t start, int64_t end, int64_t room, int64_t off, void *buf,
    size_t max);

#endif
