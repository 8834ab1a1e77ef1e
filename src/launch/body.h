#ifndef LAUNCH_BODY_H
#define LAUNCH_BODY_H
/*
 * The RUN body: everything of a job that the launcher needs, as bytes that are packed once at
 * submit, kept opaque by the store, sent as they are and read in the launcher without a heap.
 * libc only; the reader trusts nothing. Layout: { u16 tag, u16 zero, u32 len, len bytes, padding
 * to 4 } repeated, little-endian as the host (both ends are one machine); absent means default.
 * To add a field: a new tag at the end; an unknown tag is an error of the reader (the launcher
 * refuses what it can't honour).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BODY_RLIMITS_MAX 16

enum body_file_kind {
	BODY_FILE_NULL,   /* /dev/null */
	BODY_FILE_PASSED, /* a descriptor that comes with RUN (pipe, {fd}, {data} as a memfd) */
	BODY_FILE_PATH,   /* opened by the job itself, after the uid change and chdir */
	BODY_FILE_STDOUT, /* stderr only: the same as stdout */
};

struct body_file {
	enum body_file_kind kind;
	bool append;      /* PATH for writing: append instead of truncate */
	const char *path; /* PATH: NUL-terminated */
};

struct body_rlimit {
	uint32_t resource; /* RLIMIT_… */
	uint64_t soft, hard;
};

/* A body as values. The strings point into the caller's memory (pack) or the body (read). */
struct body {
	const char *argv; /* argc NUL-terminated strings after one another */
	size_t argv_len;
	uint32_t argc;
	const char *cwd; /* NULL: "/" */
	const char *queue; /* for SLOT_QUEUE; NULL: "default" */
	int32_t umask_bits; /* -1: the launcher's own (022) */
	bool has_nice;
	int32_t nice;
	struct body_rlimit rlimits[BODY_RLIMITS_MAX];
	unsigned nrlimits;
	struct body_file files[3]; /* stdin, stdout, stderr */
	bool tty;            /* fd 0 (passed) becomes the controlling terminal */
	bool keep_leftovers; /* descendants outlive the leader */
	int64_t timeout_ms;  /* 0: none */
	int64_t grace_ms;    /* -1: the launcher's default */
};

void body_init(struct body *b); /* all defaults */
/* Bytes that body_pack will write. */
size_t body_size(const struct body *b);
/* Packs into out, which holds body_size(b) bytes. */
void body_pack(const struct body *b, void *out);
/* Reads and checks; 0, or -1 with *why saying what is wrong. */
int body_read(struct body *b, const void *bytes, size_t len, const char **why);

#endif
