/*
 * Packing and reading of the RUN body. Linked into engine and launcher: libc only, no heap.
 * The reader runs in the launcher on bytes it does not trust: every length is checked before
 * it is used, and whatever could be read in two ways is refused.
 */
#include "launch/body.h"

#include <string.h>
#include <sys/resource.h>

/* Part of the format: tags are added at the end and never reused. */
enum body_tag {
	BODY_TAG_ARGV = 1, /* strings, each with its NUL */
	BODY_TAG_CWD,      /* a string with its NUL, as all that follow */
	BODY_TAG_QUEUE,
	BODY_TAG_UMASK,    /* u32 */
	BODY_TAG_NICE,     /* i32 */
	BODY_TAG_RLIMIT,   /* u32 resource, u32 zero, u64 soft, u64 hard; may repeat */
	BODY_TAG_STDIN,    /* u32 kind, u32 append, for a path: its string */
	BODY_TAG_STDOUT,
	BODY_TAG_STDERR,
	BODY_TAG_TTY,      /* no bytes */
	BODY_TAG_KEEP,     /* no bytes */
	BODY_TAG_TIMEOUT,  /* i64 */
	BODY_TAG_GRACE,    /* i64 */
	BODY_TAG_MAX
};

#define HEAD_LEN 8u
#define RLIMIT_LEN 24u
#define FILE_LEN 8u

void body_init(struct body *b)
{
	memset(b, 0, sizeof(*b));
	b->umask_bits = -1;
	b->grace_ms = -1;
}

/* ---- packing: one walk that measures when out is NULL ---- */

struct packer {
	unsigned char *out; /* NULL: only measure */
	size_t at;
};

static void put_bytes(struct packer *p, const void *bytes, size_t len)
{
	if (p->out && len)
		memcpy(p->out + p->at, bytes, len);
	p->at += len;
}

static void put_u32(struct packer *p, uint32_t v)
{
	put_bytes(p, &v, sizeof(v));
}

static void put_u64(struct packer *p, uint64_t v)
{
	put_bytes(p, &v, sizeof(v));
}

static void put_head(struct packer *p, enum body_tag tag, size_t len)
{
	uint16_t tag16 = (uint16_t)tag, zero = 0;

	put_bytes(p, &tag16, sizeof(tag16));
	put_bytes(p, &zero, sizeof(zero));
	put_u32(p, (uint32_t)len);
}

static void put_padding(struct packer *p)
{
	static const unsigned char zeros[4];

	put_bytes(p, zeros, -p->at & 3);
}

static void put_field(struct packer *p, enum body_tag tag, const void *bytes, size_t len)
{
	put_head(p, tag, len);
	put_bytes(p, bytes, len);
	put_padding(p);
}

static void put_string(struct packer *p, enum body_tag tag, const char *s)
{
	if (s)
		put_field(p, tag, s, strlen(s) + 1);
}

static void put_file(struct packer *p, enum body_tag tag, const struct body_file *f)
{
	size_t path_len = f->kind == BODY_FILE_PATH && f->path ? strlen(f->path) + 1 : 0;

	if (f->kind == BODY_FILE_NULL)
		return;
	put_head(p, tag, FILE_LEN + path_len);
	put_u32(p, (uint32_t)f->kind);
	put_u32(p, f->append);
	put_bytes(p, f->path, path_len);
	put_padding(p);
}

static void put_rlimit(struct packer *p, const struct body_rlimit *r)
{
	put_head(p, BODY_TAG_RLIMIT, RLIMIT_LEN);
	put_u32(p, r->resource);
	put_u32(p, 0);
	put_u64(p, r->soft);
	put_u64(p, r->hard);
}

static size_t pack(const struct body *b, unsigned char *out)
{
	struct packer p = {.out = out};

	put_field(&p, BODY_TAG_ARGV, b->argv, b->argv_len);
	put_string(&p, BODY_TAG_CWD, b->cwd);
	put_string(&p, BODY_TAG_QUEUE, b->queue);
	if (b->umask_bits >= 0)
		put_field(&p, BODY_TAG_UMASK, &b->umask_bits, sizeof(b->umask_bits));
	if (b->has_nice)
		put_field(&p, BODY_TAG_NICE, &b->nice, sizeof(b->nice));
	for (unsigned i = 0; i < b->nrlimits; i++)
		put_rlimit(&p, &b->rlimits[i]);
	put_file(&p, BODY_TAG_STDIN, &b->files[0]);
	put_file(&p, BODY_TAG_STDOUT, &b->files[1]);
	put_file(&p, BODY_TAG_STDERR, &b->files[2]);
	if (b->tty)
		put_field(&p, BODY_TAG_TTY, NULL, 0);
	if (b->keep_leftovers)
		put_field(&p, BODY_TAG_KEEP, NULL, 0);
	if (b->timeout_ms > 0)
		put_field(&p, BODY_TAG_TIMEOUT, &b->timeout_ms, sizeof(b->timeout_ms));
	if (b->grace_ms >= 0)
		put_field(&p, BODY_TAG_GRACE, &b->grace_ms, sizeof(b->grace_ms));
	return p.at;
}

size_t body_size(const struct body *b)
{
	return pack(b, NULL);
}

void body_pack(const struct body *b, void *out)
{
	pack(b, out);
}

/* ---- reading ---- */

struct field {
	enum body_tag tag;
	const unsigned char *bytes;
	size_t len;
};

static uint32_t get_u32(const unsigned char *bytes)
{
	uint32_t v;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

static uint64_t get_u64(const unsigned char *bytes)
{
	uint64_t v;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

/* A string fills its field to its only NUL and is not empty. NULL: it doesn't. */
static const char *as_string(const unsigned char *bytes, size_t len)
{
	if (len < 2 || memchr(bytes, 0, len) != bytes + len - 1)
		return NULL;
	return (const char *)bytes;
}

static const char *read_argv(struct body *b, const struct field *f)
{
	if (f->len == 0 || f->bytes[f->len - 1] != 0)
		return "argv does not end with NUL";
	b->argv = (const char *)f->bytes;
	b->argv_len = f->len;
	b->argc = 0;
	for (const unsigned char *at = f->bytes, *end = at + f->len; at < end; b->argc++)
		at = (const unsigned char *)memchr(at, 0, (size_t)(end - at)) + 1;
	return NULL;
}

static const char *read_umask(struct body *b, const struct field *f)
{
	if (f->len != 4 || get_u32(f->bytes) > 0777)
		return "umask out of range";
	b->umask_bits = (int32_t)get_u32(f->bytes);
	return NULL;
}

static const char *read_nice(struct body *b, const struct field *f)
{
	if (f->len != 4)
		return "nice has a wrong length";
	b->nice = (int32_t)get_u32(f->bytes);
	b->has_nice = true;
	return b->nice < -20 || b->nice > 19 ? "nice out of range" : NULL;
}

static const char *read_rlimit(struct body *b, const struct field *f)
{
	struct body_rlimit *r = &b->rlimits[b->nrlimits];

	if (f->len != RLIMIT_LEN || get_u32(f->bytes + 4) != 0)
		return "rlimit is malformed";
	if (b->nrlimits == BODY_RLIMITS_MAX)
		return "too many rlimits";
	r->resource = get_u32(f->bytes);
	r->soft = get_u64(f->bytes + 8);
	r->hard = get_u64(f->bytes + 16);
	b->nrlimits++;
	if (r->resource >= RLIM_NLIMITS)
		return "unknown rlimit";
	return r->soft > r->hard ? "rlimit above its hard limit" : NULL;
}

static const char *read_file(struct body_file *file, const struct field *f)
{
	uint32_t kind, append;

	if (f->len < FILE_LEN)
		return "file is too short";
	kind = get_u32(f->bytes);
	append = get_u32(f->bytes + 4);
	if (kind == BODY_FILE_NULL || kind > BODY_FILE_STDOUT || append > 1)
		return "file of an unknown kind";
	file->kind = (enum body_file_kind)kind;
	file->append = append;
	if (kind != BODY_FILE_PATH)
		return append || f->len != FILE_LEN ? "file is malformed" : NULL;
	file->path = as_string(f->bytes + FILE_LEN, f->len - FILE_LEN);
	return file->path ? NULL : "file without a path";
}

static const char *read_i64(int64_t *to, int64_t least, const struct field *f)
{
	if (f->len != 8)
		return "time has a wrong length";
	*to = (int64_t)get_u64(f->bytes);
	return *to < least ? "time out of range" : NULL;
}

static const char *read_flag(bool *to, const struct field *f)
{
	*to = true;
	return f->len == 0 ? NULL : "flag with a value";
}

static const char *read_string(const char **to, const struct field *f)
{
	*to = as_string(f->bytes, f->len);
	return *to ? NULL : "string is malformed";
}

static const char *read_field(struct body *b, const struct field *f)
{
	switch (f->tag) {
	case BODY_TAG_ARGV:
		return read_argv(b, f);
	case BODY_TAG_CWD:
		return read_string(&b->cwd, f);
	case BODY_TAG_QUEUE:
		return read_string(&b->queue, f);
	case BODY_TAG_UMASK:
		return read_umask(b, f);
	case BODY_TAG_NICE:
		return read_nice(b, f);
	case BODY_TAG_RLIMIT:
		return read_rlimit(b, f);
	case BODY_TAG_STDIN:
	case BODY_TAG_STDOUT:
	case BODY_TAG_STDERR:
		return read_file(&b->files[f->tag - BODY_TAG_STDIN], f);
	case BODY_TAG_TTY:
		return read_flag(&b->tty, f);
	case BODY_TAG_KEEP:
		return read_flag(&b->keep_leftovers, f);
	case BODY_TAG_TIMEOUT:
		return read_i64(&b->timeout_ms, 1, f);
	case BODY_TAG_GRACE:
		return read_i64(&b->grace_ms, 0, f);
	case BODY_TAG_MAX:
		break;
	}
	return "unknown field";
}

/* Cuts the next field off [*at, end). NULL, or what is wrong. */
static const char *next_field(const unsigned char **at, const unsigned char *end,
    struct field *f)
{
	size_t left = (size_t)(end - *at), padded;
	uint16_t tag, zero;

	if (left < HEAD_LEN)
		return "truncated";
	memcpy(&tag, *at, sizeof(tag));
	memcpy(&zero, *at + 2, sizeof(zero));
	f->len = get_u32(*at + 4);
	f->bytes = *at + HEAD_LEN;
	left -= HEAD_LEN;
	if (f->len > left)
		return "truncated";
	padded = f->len + (-f->len & 3);
	if (padded > left)
		return "truncated";
	if (zero != 0 || tag == 0 || tag >= BODY_TAG_MAX)
		return "unknown field";
	for (size_t i = f->len; i < padded; i++) {
		if (f->bytes[i] != 0)
			return "padding is not zero";
	}
	f->tag = (enum body_tag)tag;
	*at = f->bytes + padded;
	return NULL;
}

/* What no single field can tell. */
static const char *check_whole(const struct body *b)
{
	if (!b->argv)
		return "argv is missing";
	if (b->files[0].kind == BODY_FILE_STDOUT || b->files[1].kind == BODY_FILE_STDOUT)
		return "only stderr can be stdout";
	if (b->files[0].append)
		return "stdin can't be appended to";
	if (b->tty && b->files[0].kind != BODY_FILE_PASSED)
		return "tty without a passed stdin";
	return NULL;
}

int body_read(struct body *b, const void *bytes, size_t len, const char **why)
{
	const unsigned char *at = bytes, *end = at + len;
	uint32_t seen = 0;
	struct field f;

	body_init(b);
	*why = NULL;
	while (at < end && !*why) {
		*why = next_field(&at, end, &f);
		if (*why)
			break;
		if (f.tag != BODY_TAG_RLIMIT && (seen & 1u << f.tag))
			*why = "a field twice";
		else
			*why = read_field(b, &f);
		seen |= 1u << f.tag;
	}
	if (!*why)
		*why = check_whole(b);
	return *why ? -1 : 0;
}
