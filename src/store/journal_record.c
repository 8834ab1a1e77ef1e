/* Rows and columns; see journal_record.h. */
#include "store/journal_record.h"

#include "launch/body.h"
#include "wire/message.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

/* Stored as numbers: append only. */
_Static_assert(ROW_PENDING == 0 && ROW_RUNNING == 1 && ROW_DONE == 2, "phases are stored");
_Static_assert(MSG_OUTCOME_EXITED == 1 && MSG_OUTCOME_DEPENDENCY_FAILED == 7,
    "outcomes are stored");
_Static_assert(MSG_REASON_SLOTS == 1 && MSG_REASON_CLIENT == 9 && MSG_REASON_FD_LOST == 13,
    "reasons are stored");

uint64_t
record_sum(const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	uint64_t h = 0x9e3779b97f4a7c15u ^ len, word;

	/* Every step is one-to-one in h and in the word. */
	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	word = 0;
	if (len > 0)
		memcpy(&word, p, len);
	h = (h ^ word) * 0xc4ceb9fe1a85ec53u;
	return h ^ (h >> 29);
}

/* ---- sums of rows ---- */

#define NULL_SUM INT64_C(0x6e756c6c6e756c6c) /* what a NULL counts as */

static int64_t *
next_value(struct record *r)
{
	assert(r->n < RECORD_COLUMNS_MAX);
	return &r->values[r->n++];
}

void
record_begin(struct record *r, sqlite3_stmt *st)
{
	r->st = st;
	r->n = 0;
}

void
record_int(struct record *r, int64_t value)
{
	*next_value(r) = value;
	sqlite3_bind_int64(r->st, r->n, value);
}

static void
put_null(struct record *r)
{
	*next_value(r) = NULL_SUM;
	sqlite3_bind_null(r->st, r->n);
}

void
record_int_but_0(struct record *r, int64_t value)
{
	if (value != 0)
		record_int(r, value);
	else
		put_null(r);
}

void
record_text(struct record *r, const char *text)
{
	if (text == NULL) {
		put_null(r);
		return;
	}
	*next_value(r) = (int64_t)record_sum(text, strlen(text));
	sqlite3_bind_text(r->st, r->n, text, -1, SQLITE_STATIC);
}

void
record_blob(struct record *r, const void *bytes, size_t len)
{
	if (bytes == NULL) {
		put_null(r);
		return;
	}
	*next_value(r) = (int64_t)record_sum(bytes, len);
	sqlite3_bind_blob(r->st, r->n, bytes, (int)len, SQLITE_STATIC);
}

void
record_finish(struct record *r)
{
	uint64_t sum = record_sum(r->values, (size_t)r->n * sizeof r->values[0]);

	sqlite3_bind_int64(r->st, r->n + 1, (sqlite3_int64)sum);
}

static int64_t
value_of(sqlite3_stmt *st, int at)
{
	sqlite3_value *v = sqlite3_column_value(st, at);
	const void *bytes;
	double number;
	int64_t value;

	switch (sqlite3_value_type(v)) {
	case SQLITE_INTEGER:
		return sqlite3_value_int64(v);
	case SQLITE_NULL:
		return NULL_SUM;
	case SQLITE_FLOAT: /* (never ours) */
		number = sqlite3_value_double(v);
		memcpy(&value, &number, sizeof value);
		return ~value;
	}
	bytes = sqlite3_value_blob(v);
	return (int64_t)record_sum(bytes, (size_t)sqlite3_value_bytes(v));
}

void
record_column(struct record *r, sqlite3_stmt *from, int at)
{
	*next_value(r) = value_of(from, at);
	sqlite3_bind_value(r->st, r->n, sqlite3_column_value(from, at));
}

bool
record_whole(sqlite3_stmt *st, int at, int n)
{
	int64_t values[RECORD_COLUMNS_MAX];

	for (int i = 0; i < n; i++)
		values[i] = value_of(st, at + i);
	return record_sum(values, (size_t)n * sizeof values[0]) ==
	    (uint64_t)sqlite3_column_int64(st, at + n);
}

int64_t
record_spec_sum(uint64_t job, uint32_t uid, int64_t env, uint64_t env_hash, int64_t data,
    uint64_t checksum)
{
	const int64_t values[] = {
		(int64_t)job, uid, env, (int64_t)env_hash, data, (int64_t)checksum,
	};

	return (int64_t)record_sum(values, sizeof values);
}

/* ---- the command ---- */

struct text {
	char *out;
	size_t len;
	bool full;
};

static void
put(struct text *t, const char *bytes, size_t n)
{
	if (t->full || t->len + n > RECORD_COMMAND_MAX) {
		t->full = true; /* never half a character */
		return;
	}
	memcpy(t->out + t->len, bytes, n);
	t->len += n;
}

static bool
plain(const char *arg, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)arg[i]) && strchr("-_./=:,+@%^", arg[i]) == NULL &&
		    !((unsigned char)arg[i] & 0x80))
			return false;
	return len > 0;
}

/* The bytes of the UTF-8 character there; 0: not one. */
static size_t
utf8_len(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ?
	    3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static void
put_arg(struct text *t, const char *arg, size_t len)
{
	bool quote = !plain(arg, len);

	if (quote)
		put(t, "'", 1);
	for (size_t i = 0; i < len && !t->full;) {
		size_t n = utf8_len((const unsigned char *)arg + i, len - i);

		if (arg[i] == '\'')
			put(t, "'\\''", 4);
		else if (n == 0 || iscntrl((unsigned char)arg[i]))
			put(t, "?", 1);
		else
			put(t, arg + i, n);
		i += n != 0 ? n : 1;
	}
	if (quote)
		put(t, "'", 1);
}

void
record_command(const struct spec *spec, char out[RECORD_COMMAND_MAX + 1])
{
	struct text t = { .out = out };
	struct body b;
	const char *why, *arg;
	const void *body = spec_at(spec, spec->body_off);

	if (body != NULL && body_read(&b, body, spec->body_len, &why) == 0) {
		arg = b.argv;
		for (uint32_t i = 0; i < b.argc && !t.full; i++) {
			size_t len = strlen(arg);

			if (i > 0)
				put(&t, " ", 1);
			put_arg(&t, arg, len);
			arg += len + 1;
		}
	}
	out[t.len] = '\0';
}

/* ---- columns ---- */

int
record_read_live(sqlite3_stmt *st, struct row *row, const char **queue)
{
	int at = 0;

	if (!record_whole(st, 0, RECORD_LIVE_NCOLUMNS))
		return -EIO;
	row->id = (uint64_t)sqlite3_column_int64(st, at++);
	row->phase = (uint8_t)sqlite3_column_int(st, at++);
	row->waits = (uint8_t)sqlite3_column_int(st, at++);
	row->uid = (uint32_t)sqlite3_column_int64(st, at++);
	row->priority = (int16_t)sqlite3_column_int(st, at++);
	at++; /* slots: in the spec */
	row->attempt = (uint32_t)sqlite3_column_int64(st, at++);
	row->cost = (uint32_t)sqlite3_column_int64(st, at++);
	*queue = (const char *)sqlite3_column_text(st, at++);
	row->submitted_us = sqlite3_column_int64(st, at++);
	row->hold = (uint8_t)sqlite3_column_int(st, at++);
	if (row->phase == ROW_RUNNING) {
		if (row_run(row) == NULL)
			return -ENOMEM;
		row->run->started_us = sqlite3_column_int64(st, at);
	}
	at += 2; /* started_us, launcher */
	row->due_boot_us = sqlite3_column_int64(st, at++);
	row->due_wall_us = sqlite3_column_int64(st, at++);
	if (sqlite3_column_bytes(st, at) == ROW_SESSION_LEN)
		memcpy(row->session, sqlite3_column_blob(st, at), ROW_SESSION_LEN);
	return *queue != NULL ? 0 : -ENOMEM;
}

int
record_read_done(sqlite3_stmt *st, struct row *row, const char **queue)
{
	struct row_run *run = row_run(row);
	int at = 0, flags;

	if (!record_whole(st, 0, RECORD_DONE_NCOLUMNS))
		return -EIO;
	if (run == NULL)
		return -ENOMEM;
	row->phase = ROW_DONE;
	run->seq = (uint64_t)sqlite3_column_int64(st, at++);
	row->id = (uint64_t)sqlite3_column_int64(st, at++);
	row->uid = (uint32_t)sqlite3_column_int64(st, at++);
	run->outcome = (uint8_t)sqlite3_column_int(st, at++);
	run->ok = sqlite3_column_int(st, at++) != 0;
	run->exit_code = sqlite3_column_type(st, at) == SQLITE_NULL ? -1 :
	    sqlite3_column_int(st, at);
	at++;
	run->signal = sqlite3_column_int(st, at++);
	run->reason = (uint8_t)sqlite3_column_int(st, at++);
	run->error = sqlite3_column_int(st, at++);
	run->step = (uint8_t)sqlite3_column_int(st, at++);
	flags = sqlite3_column_int(st, at++);
	run->usage_known = (flags & RECORD_USAGE_KNOWN) != 0;
	run->truncated = (flags & RECORD_TRUNCATED) != 0;
	row->attempt = (uint32_t)sqlite3_column_int64(st, at++);
	row->priority = (int16_t)sqlite3_column_int(st, at++);
	at++; /* slots */
	*queue = (const char *)sqlite3_column_text(st, at++);
	row->submitted_us = sqlite3_column_int64(st, at++);
	run->started_us = sqlite3_column_int64(st, at++);
	run->finished_us = sqlite3_column_int64(st, at++);
	run->user_us = sqlite3_column_int64(st, at++);
	run->system_us = sqlite3_column_int64(st, at++);
	run->max_rss_kib = sqlite3_column_int64(st, at++);
	run->out_bytes[0] = sqlite3_column_int64(st, at++);
	run->out_bytes[1] = sqlite3_column_int64(st, at++);
	run->out_start[0] = sqlite3_column_int64(st, at++);
	run->out_start[1] = sqlite3_column_int64(st, at++);
	run->kept_bytes = sqlite3_column_int64(st, at++);
	return *queue != NULL ? 0 : -ENOMEM;
}
