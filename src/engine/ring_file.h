#ifndef ENGINE_RING_FILE_H
#define ENGINE_RING_FILE_H
/*
 * The files of rings: how they are named, made, read and removed. A named file outlives the
 * engine and, once history has taken it over, the ring. Nothing here keeps state: any thread
 * may call it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Which stream of which attempt. Its file is called JOB.ATTEMPT.STREAM, in decimal. */
struct ring_name {
	uint64_t job; /* 0: nameless */
	uint32_t attempt;
	uint8_t stream; /* 1 or 2 */
};
#define RING_NAME_MAX 40 /* of the file's name, with its zero */

void ring_name_format(const struct ring_name *name, char text[RING_NAME_MAX]);
/* False: not the name of a ring's file, letter for letter. */
bool ring_name_parse(const char *text, struct ring_name *name);
int ring_name_compare(const struct ring_name *a, const struct ring_name *b);

/* A new empty file in directory `dir`: without a name, gone when it is closed; or a named one
 * (0600), in place of any that was there. Opens a named one that is there, a plain file of at
 * least `size_min` bytes (-EIO: it is not). A descriptor (close-on-exec) or -errno. */
int ring_file_create_unnamed(const char *dir);
int ring_file_create(const char *dir, const struct ring_name *name);
int ring_file_open(const char *dir, const struct ring_name *name, int64_t size_min);

/* Copies the bytes from offset `off` on, which lie at off % room, around the end of the file
 * where needed. `len`, less if an error or the file's end came in between, or -errno if nothing
 * could be read (-EIO: the file is shorter than it should be). */
ssize_t ring_file_copy(int fd, int64_t room, int64_t off, void *buf, size_t len);

/* A file as history records it (see capture_take): it holds start <= offset < end. */
struct ring_file {
	const char *name;
	int64_t start, end, room;
};

/* As capture_read, from a file in directory `dir`. -EINVAL: no such geometry or name can be;
 * -EIO: the file was cut (power failed before the system had written it out); -ENOENT. */
ssize_t ring_file_read(const char *dir, const struct ring_file *f, int64_t *off, void *buf,
    size_t max);

/* Removes it: may take its time where it is big. 0 (also if it wasn't there) or -errno. */
int ring_file_unlink(const char *dir, const char *name);

#endif
