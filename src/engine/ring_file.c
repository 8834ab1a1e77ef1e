/*
 * Ring files: names, and the bytes inside.
 */
#include "engine/ring_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

void
ring_name_format(const struct ring_name *name, char text[RING_NAME_MAX])
{
	snprintf(text, RING_NAME_MAX, "%" PRIu64 ".%" PRIu32 ".%u", name->job, name->attempt,
	    (unsigned)name->stream);
}

/* A decimal number up to `max`, and what follows it. NULL: none. */
static const char *
parse_number(const char *text, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (*text < '0' || *text > '9')
		return NULL;
	for (; *text >= '0' && *text <= '9'; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > max || v > (max - digit) / 10)
			return NULL;
		v = v * 10 + digit;
	}
	*value = v;
	return text;
}

bool
ring_name_parse(const char *text, struct ring_name *name)
{
	char again[RING_NAME_MAX];
	uint64_t job, attempt, stream;
	const char *p = parse_number(text, UINT64_MAX, &job);

	if (!p || *p++ != '.')
		return false;
	p = parse_number(p, UINT32_MAX, &attempt);
	if (!p || *p++ != '.')
		return false;
	p = parse_number(p, 2, &stream);
	if (!p || *p || job == 0 || stream == 0)
		return false;
	*name = (struct ring_name){job, (uint32_t)attempt, (uint8_t)stream};
	ring_name_format(name, again);
	return strcmp(text, again) == 0; /* no leading zeros */
}

int
ring_name_compare(const struct ring_name *a, const struct ring_name *b)
{
	if (a->job != b->job)
		return a->job < b->job ? -1 : 1;
	if (a->attempt != b->attempt)
		return a->attempt < b->attempt ? -1 : 1;
	return (int)a->stream - (int)b->stream;
}

static int
file_path(const char *dir, const char *name, char path[PATH_MAX])
{
	int len = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- making and opening ---- */

int
ring_file_create_unnamed(const char *dir)
{
	char path[PATH_MAX];
	int fd, error;

	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd >= 0 ? fd : -errno;
	error = file_path(dir, "slotd-output-XXXXXX", path);
	if (error)
		return error;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

int
ring_file_create(const char *dir, const struct ring_name *name)
{
	char text[RING_NAME_MAX], path[PATH_MAX];
	int fd, error;

	ring_name_format(name, text);
	error = file_path(dir, text, path);
	if (error)
		return error;
	/* An older one may still be open somewhere: a new inode, not the old one emptied. */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST && unlink(path) == 0)
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : -errno;
}

int
ring_file_open(const char *dir, const struct ring_name *name, int64_t size_min)
{
	char text[RING_NAME_MAX], path[PATH_MAX];
	struct stat st;
	int fd, error;

	ring_name_format(name, text);
	error = file_path(dir, text, path);
	if (error)
		return error;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= size_min)
		return fd;
	close(fd);
	return -EIO;
}

/* ---- reading ---- */

ssize_t
ring_file_copy(int fd, int64_t room, int64_t off, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int64_t pos = (off + (int64_t)done) % room;
		size_t piece = len - done;
		ssize_t n;

		if ((int64_t)piece > room - pos)
			piece = (size_t)(room - pos);
		n = pread(fd, (unsigned char *)buf + done, piece, (off_t)pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 && done > 0)
			break; /* the next call meets it again */
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t
ring_file_read(const char *dir, const struct ring_file *f, int64_t *off, void *buf, size_t max)
{
	char path[PATH_MAX];
	struct ring_name name;
	ssize_t n;
	int fd, error;

	if (!ring_name_parse(f->name, &name) || f->start < 0 || f->end < f->start
	    || f->room <= 0 || f->end - f->start > f->room)
		return -EINVAL;
	if (*off < f->start)
		*off = f->start;
	if (*off >= f->end || max == 0)
		return 0;
	if ((int64_t)max > f->end - *off)
		max = (size_t)(f->end - *off);
	error = file_path(dir, f->name, path);
	if (error)
		return error;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	n = ring_file_copy(fd, f->room, *off, buf, max);
	close(fd);
	return n;
}

int
ring_file_unlink(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct ring_name parsed;
	int error;

	if (!ring_name_parse(name, &parsed))
		return -EINVAL;
	error = file_path(dir, name, path);
	if (error)
		return error;
	return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}
