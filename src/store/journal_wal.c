/* Frame by frame; see journal_wal.h. */
#include "store/journal_wal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_BYTES 32
#define FRAME_HEAD_BYTES 24
#define MAGIC 0x377f0682u /* the last bit: checksums are of big-endian words */
#define PAGE_MIN 512
#define PAGE_MAX 65536
#define LOOKS 3           /* at a log that somebody may be writing */
#define DURABILITY_NAME "journal-durability"

struct sum {
	uint32_t a, b;
};

struct log {
	int fd;
	bool big_endian; /* the words that are summed */
	uint32_t page_bytes;
	uint8_t salts[8];
	struct sum sum;  /* of all up to here */
	uint64_t nframes;
};

struct frame {
	uint32_t page, commit; /* commit: pages of the database after it; 0: not the last one */
	bool ours;             /* the salts are the header's */
	struct sum sum;        /* as it stands there */
};

/* ---- bytes ---- */

static uint32_t
big(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t
little(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* Goes on with the sum over n bytes, a multiple of 8. */
static struct sum
add(struct sum s, bool big_endian, const uint8_t *p, size_t n)
{
	for (; n > 0; p += 8, n -= 8) {
		s.a += (big_endian ? big(p) : little(p)) + s.b;
		s.b += (big_endian ? big(p + 4) : little(p + 4)) + s.a;
	}
	return s;
}

static bool
same(struct sum x, struct sum y)
{
	return x.a == y.a && x.b == y.b;
}

/* 1, 0: the file ends before that, or -errno. */
static int
read_at(int fd, void *buf, size_t n, int64_t at)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, (char *)buf + got, n - got, at + (int64_t)got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return 0;
		got += (size_t)r;
	}
	return 1;
}

/* ---- the log ---- */

static int64_t
place(const struct log *l, uint64_t i)
{
	return HEADER_BYTES + (int64_t)(i * (FRAME_HEAD_BYTES + l->page_bytes));
}

/* Frame number i with its page in buf. 1, 0: there is none, -errno. */
static int
read_frame(const struct log *l, uint64_t i, uint8_t *buf, struct frame *f)
{
	int rc = read_at(l->fd, buf, FRAME_HEAD_BYTES + l->page_bytes, place(l, i));

	if (rc != 1)
		return rc;
	f->page = big(buf);
	f->commit = big(buf + 4);
	f->ours = memcmp(buf + 8, l->salts, sizeof l->salts) == 0;
	f->sum = (struct sum){ big(buf + 16), big(buf + 20) };
	return 1;
}

/* Does the frame in buf go on from the sum `before`? */
static bool
continues(const struct log *l, const uint8_t *buf, const struct frame *f, struct sum before)
{
	struct sum s = add(before, l->big_endian, buf, 8);

	s = add(s, l->big_endian, buf + FRAME_HEAD_BYTES, l->page_bytes);
	return f->page != 0 && f->ours && same(s, f->sum);
}

/* Reads the header. True: it is right. What it says of sizes is taken where it can be. */
static bool
read_header(struct log *l, const uint8_t *h)
{
	uint32_t magic = big(h);
	struct sum zero = { 0, 0 };

	l->big_endian = (magic & 1) != 0;
	l->page_bytes = big(h + 8);
	memcpy(l->salts, h + 16, sizeof l->salts);
	l->sum = add(zero, l->big_endian, h, 24);
	return (magic & ~1u) == MAGIC && l->page_bytes >= PAGE_MIN && l->page_bytes <= PAGE_MAX &&
	    (l->page_bytes & (l->page_bytes - 1)) == 0 &&
	    same(l->sum, (struct sum){ big(h + 24), big(h + 28) });
}

/*
 * Counts the transactions that end from frame i on, the one that isn't right: itself, where it says
 * that it ends one, and those in the frames that go on from each other behind it; the next one may
 * not, for it may be the sum of frame i that is wrong. (What earlier attempts and power cuts left
 * there goes on from nothing. And a last frame is written again where the disk's sectors ask for
 * it: that is one transaction.)
 */
static int
count_behind(const struct log *l, uint64_t i, uint8_t *buf, uint64_t *lost)
{
	uint32_t last_page = 0;
	uint64_t perhaps = 0; /* the next one, which may be right: if another goes on from it */
	struct frame f;
	struct sum before = { 0, 0 };
	int rc;

	for (uint64_t k = 0; (rc = read_frame(l, i + k, buf, &f)) == 1; k++) {
		bool goes_on = k > 0 && continues(l, buf, &f, before);

		if (k > 1 && !goes_on)
			return 1;
		if (k == 2)
			*lost += perhaps;
		if (f.ours && f.commit != 0 && (k == 0 || goes_on)) {
			*lost += f.page != last_page;
			last_page = f.page;
		} else if (k == 1 && f.ours && f.commit != 0) {
			perhaps = f.page != last_page;
			last_page = f.page;
		} else {
			last_page = 0;
		}
		before = f.sum;
	}
	if (*lost == 0)
		*lost = perhaps; /* (one is never damage) */
	return rc;
}

/* The header isn't right: then nothing behind it counts for SQLite. Are there transactions, by
 * the salts of the first frame, and in the size and order that lets frames go on from it? */
static int
count_all(struct log *l, uint8_t *buf, uint64_t *lost)
{
	int rc = read_at(l->fd, buf, FRAME_HEAD_BYTES, HEADER_BYTES);

	memcpy(l->salts, buf + 8, sizeof l->salts);
	for (int i = 0; rc == 1 && *lost < 2 && PAGE_MIN << i / 2 <= PAGE_MAX; i++) {
		l->page_bytes = PAGE_MIN << i / 2;
		l->big_endian = i % 2 != 0;
		*lost = 0;
		rc = count_behind(l, 0, buf, lost) < 0 ? -EIO : 1;
	}
	return rc;
}

static enum wal_verdict
walk(struct log *l, uint8_t *buf, struct wal_report *r)
{
	uint8_t header[HEADER_BYTES];
	struct frame f;
	int rc = read_at(l->fd, header, sizeof header, 0);

	if (rc != 1)
		return rc == 0 ? WAL_WHOLE : WAL_ERROR; /* too short for any */
	if (!read_header(l, header)) {
		rc = count_all(l, buf, &r->lost);
		return rc < 0 ? WAL_ERROR : r->lost > 1 ? WAL_HOLE : WAL_TORN;
	}
	while ((rc = read_frame(l, r->frames, buf, &f)) == 1 && continues(l, buf, &f, l->sum)) {
		l->sum = f.sum;
		r->frames++;
	}
	r->at = place(l, r->frames);
	if (rc == 1)
		rc = count_behind(l, r->frames, buf, &r->lost);
	return rc < 0 ? WAL_ERROR : r->lost > 1 ? WAL_HOLE : r->lost > 0 ? WAL_TORN : WAL_WHOLE;
}

enum wal_verdict
wal_walk(int fd, struct wal_report *report)
{
	struct wal_report nobody, *r = report != NULL ? report : &nobody;
	uint8_t *buf = malloc(FRAME_HEAD_BYTES + PAGE_MAX);
	struct log l = { .fd = fd };
	enum wal_verdict verdict;

	memset(r, 0, sizeof *r);
	if (buf == NULL)
		return WAL_ERROR;
	verdict = walk(&l, buf, r);
	free(buf);
	return verdict;
}

enum wal_verdict
wal_look(int dir_fd, struct wal_report *report)
{
	int fd = openat(dir_fd, "journal-wal", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	enum wal_verdict verdict = WAL_WHOLE;
	struct stat st;
	int64_t at = -1;

	memset(report, 0, sizeof *report);
	if (fd < 0)
		return errno == ENOENT ? WAL_WHOLE : WAL_ERROR;
	/* Without a database it is the remnant of another one, which SQLite will remove. */
	if (fstatat(dir_fd, "journal", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0) {
		/* A hole that a writer is just filling is somewhere else at the next look. */
		for (int i = 0; i < LOOKS; i++) {
			verdict = wal_walk(fd, report);
			if (verdict != WAL_HOLE || report->at == at)
				break;
			at = report->at;
		}
		if (verdict == WAL_HOLE && report->at != at)
			verdict = WAL_TORN;
	}
	close(fd);
	return verdict;
}

/* ---- what it is worth ---- */

bool
wal_was_full(int dir_fd)
{
	int fd = openat(dir_fd, DURABILITY_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[8] = "";
	int rc;

	if (fd < 0)
		return false;
	rc = read_at(fd, text, 5, 0);
	close(fd);
	return rc == 1 && memcmp(text, "full\n", 5) == 0;
}

int
wal_note_full(int dir_fd, bool full)
{
	int fd, error = 0;

	if (full == wal_was_full(dir_fd))
		return 0;
	if (!full)
		return unlinkat(dir_fd, DURABILITY_NAME, 0) == 0 && fsync(dir_fd) == 0 ? 0 : -errno;
	fd = openat(dir_fd, DURABILITY_NAME ".new",
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, "full\n", 5) != 5)
		error = -ENOSPC;
	else if (fsync(fd) != 0)
		error = -errno;
	close(fd);
	if (error == 0 && (renameat(dir_fd, DURABILITY_NAME ".new", dir_fd, DURABILITY_NAME) != 0 ||
	    fsync(dir_fd) != 0))
		error = -errno;
	if (error != 0)
		unlinkat(dir_fd, DURABILITY_NAME ".new", 0);
	return error;
}
