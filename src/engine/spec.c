/* Flat records of specs; see spec.h. */
#include "engine/spec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Lays the variable parts out one after another. The first pass (base NULL) only measures; bytes
 * that are NULL are for the caller to fill in. */
struct layout {
	char *base;
	size_t used;
};

static uint32_t
place(struct layout *l, const void *bytes, size_t len, size_t align)
{
	size_t at = (l->used + align - 1) & ~(align - 1);

	if (l->base != NULL && bytes != NULL && len > 0)
		memcpy(l->base + at, bytes, len);
	l->used = at + len;
	return (uint32_t)at;
}

static uint32_t
place_text(struct layout *l, const char *text)
{
	return text != NULL ? place(l, text, strlen(text) + 1, 1) : 0;
}

static char *
join(const struct msg_bytes_list *list, size_t *len)
{
	size_t total = 0, at = 0;
	char *out;

	for (size_t i = 0; i < list->n; i++)
		total += list->v[i].len + 1;
	out = malloc(total + 1);
	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < list->n; i++) {
		memcpy(out + at, list->v[i].ptr, list->v[i].len);
		at += list->v[i].len;
		out[at++] = '\0';
	}
	*len = total;
	return out;
}

char *
spec_env(const struct msg_spec *m, size_t *len)
{
	return join(&m->env, len);
}

static struct body_file
body_file(const struct msg_stdio *io)
{
	struct body_file f = { .kind = BODY_FILE_NULL };

	switch (io->kind) {
	case MSG_STDIO_NULL:
		break;
	case MSG_STDIO_CAPTURE:
	case MSG_STDIO_DATA:
	case MSG_STDIO_FD:
	case MSG_STDIO_PIPE:
		f.kind = BODY_FILE_PASSED;
		break;
	case MSG_STDIO_FILE:
		f.kind = BODY_FILE_PATH;
		f.path = io->bytes.ptr;
		f.append = io->append;
		break;
	case MSG_STDIO_STDOUT:
		f.kind = BODY_FILE_STDOUT;
		break;
	}
	return f;
}

static void
fill_body(struct body *b, const struct msg_spec *m, const char *argv, size_t argv_len)
{
	body_init(b);
	b->argv = argv;
	b->argv_len = argv_len;
	b->argc = (uint32_t)m->argv.n;
	b->cwd = m->cwd.ptr;
	b->queue = strcmp(m->queue, "default") != 0 ? m->queue : NULL;
	b->umask_bits = m->umask != MSG_NULL ? (int32_t)m->umask : -1;
	b->has_nice = m->has_nice;
	b->nice = m->has_nice ? (int32_t)m->nice : 0;
	for (size_t i = 0; i < m->rlimits.n && i < BODY_RLIMITS_MAX; i++)
		b->rlimits[b->nrlimits++] = (struct body_rlimit){
			.resource = (uint32_t)m->rlimits.v[i].resource,
			.soft = m->rlimits.v[i].soft,
			.hard = m->rlimits.v[i].hard,
		};
	b->files[0] = body_file(&m->in);
	b->files[1] = body_file(&m->out);
	b->files[2] = body_file(&m->err);
	b->tty = m->tty;
	b->keep_leftovers = m->leftovers == MSG_LEFTOVERS_KEEP;
	b->timeout_ms = m->timeout_ms != MSG_NULL ? m->timeout_ms : 0;
	b->grace_ms = m->kill_grace_ms != MSG_NULL ? m->kill_grace_ms : -1;
}

static uint32_t
flags_of(const struct msg_spec *m)
{
	uint32_t flags = 0;

	if (m->lifetime == MSG_LIFETIME_BOUND)
		flags |= SPEC_BOUND;
	if (m->after_policy == MSG_AFTER_ANY)
		flags |= SPEC_AFTER_ANY;
	if (m->out.kind == MSG_STDIO_CAPTURE)
		flags |= SPEC_CAPTURE_OUT;
	if (m->err.kind == MSG_STDIO_CAPTURE)
		flags |= SPEC_CAPTURE_ERR;
	if (m->err.kind == MSG_STDIO_STDOUT)
		flags |= SPEC_ERR_TO_OUT;
	if (m->in.kind == MSG_STDIO_PIPE)
		flags |= SPEC_STDIN_PIPE;
	if (m->in.kind == MSG_STDIO_DATA)
		flags |= SPEC_STDIN_DATA;
	if (m->in.kind == MSG_STDIO_FD)
		flags |= SPEC_FD_IN;
	if (m->out.kind == MSG_STDIO_FD)
		flags |= SPEC_FD_OUT;
	if (m->err.kind == MSG_STDIO_FD)
		flags |= SPEC_FD_ERR;
	return flags;
}

/* The exit codes that are ok, unless that is just 0; returns how many. */
static size_t
ok_codes(const struct msg_spec *m, uint8_t codes[256])
{
	static const uint64_t just_0[4] = { 1 };
	size_t n = 0;

	if (memcmp(m->ok_codes, just_0, sizeof just_0) == 0)
		return 0;
	for (int i = 0; i < 256; i++)
		if (msg_spec_is_ok(m, i))
			codes[n++] = (uint8_t)i;
	return n;
}

static void
fill_spec(struct spec *s, const struct msg_spec *m)
{
	s->flags = flags_of(m);
	s->slots = (uint32_t)m->slots;
	s->priority = (int16_t)m->priority;
	s->retries = (uint32_t)m->retries.max;
	s->retry_on = (uint16_t)m->retries.on;
	s->backoff_ms = m->retries.backoff_ms;
	s->delay_ms = m->delay_ms != MSG_NULL ? m->delay_ms : 0;
	s->not_before_us = m->not_before_us != MSG_NULL ? m->not_before_us : 0;
	s->output_limit = m->output_limit != MSG_NULL ? m->output_limit : -1;
	s->timeout_ms = m->timeout_ms != MSG_NULL ? m->timeout_ms : 0;
	s->grace_ms = m->kill_grace_ms != MSG_NULL ? m->kill_grace_ms : -1;
}

static void
lay_out(struct layout *l, struct spec *s, const struct msg_spec *m,
    const struct spec_context *ctx, const struct body *body)
{
	uint8_t codes[256];
	size_t ncodes = ok_codes(m, codes);

	l->used = sizeof *s;
	if (ctx->nafter > 0) {
		s->nafter = (uint32_t)ctx->nafter;
		s->after_off = place(l, ctx->after, ctx->nafter * sizeof *ctx->after, 8);
	}
	s->body_off = place(l, NULL, s->body_len, 8);
	if (l->base != NULL)
		body_pack(body, l->base + s->body_off);
	s->name_off = place_text(l, m->name);
	s->queue_off = place_text(l, m->queue);
	if (m->tag.ptr != NULL) {
		s->tag_len = (uint32_t)m->tag.len;
		s->tag_off = place(l, m->tag.ptr, m->tag.len, 1);
	}
	if (m->key != NULL) {
		s->key_len = (uint32_t)strlen(m->key);
		s->key_off = place_text(l, m->key);
	}
	if (ncodes > 0 || !msg_spec_is_ok(m, 0)) {
		s->nok = (uint32_t)ncodes;
		s->ok_off = place(l, codes, ncodes, 1);
	}
	if (m->in.kind == MSG_STDIO_DATA) {
		s->data_len = (uint32_t)m->in.bytes.len;
		s->data_off = place(l, m->in.bytes.ptr, m->in.bytes.len, 1);
	}
	s->size = (uint32_t)l->used;
}

struct spec *
spec_build(const struct msg_spec *m, const struct spec_context *ctx)
{
	size_t argv_len = 0;
	char *argv = join(&m->argv, &argv_len);
	struct spec fixed, *s;
	struct layout l = { 0 };
	struct body b;

	if (argv == NULL)
		return NULL;
	fill_body(&b, m, argv, argv_len);
	memset(&fixed, 0, sizeof fixed); /* padding too: records are compared as bytes */
	fill_spec(&fixed, m);
	fixed.body_len = (uint32_t)body_size(&b);
	lay_out(&l, &fixed, m, ctx, &b);
	s = calloc(1, l.used);
	if (s != NULL) {
		l.base = (char *)s;
		lay_out(&l, &fixed, m, ctx, &b);
		memcpy(s, &fixed, sizeof fixed);
	}
	free(argv);
	return s;
}

bool
spec_is_ok(const struct spec *s, int exit_code)
{
	const uint8_t *codes = spec_at(s, s->ok_off);

	if (codes == NULL)
		return exit_code == 0;
	for (uint32_t i = 0; i < s->nok; i++)
		if (codes[i] == exit_code)
			return true;
	return false;
}

void
spec_body(const struct spec *s, struct body *b)
{
	const char *why;
	int rc = body_read(b, spec_at(s, s->body_off), s->body_len, &why);

	assert(rc == 0);
	(void)rc;
}
