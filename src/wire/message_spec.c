/* The spec: its own types, and what must hold between its fields. */

#include "wire/message_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- env ---- */

static bool
is_assignment(const struct msg_bytes *entry)
{
	const char *equals = memchr(entry->ptr, '=', entry->len);

	return equals != NULL && equals != entry->ptr;
}

static int
decode_env_list(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, struct msg_bytes *v)
{
	size_t i = 0;

	for (const struct jsonr *entry = json->first; entry != NULL; entry = entry->next, i++) {
		struct msg_path element = { .up = at, .index = i };

		if (msg_decode_bytes(d, &element, entry, false, INT64_MAX, &v[i]) != 0)
			return -1;
		if (!is_assignment(&v[i]))
			return msg_fail(d, RPC_INVALID_PARAMS, &element, "must be \"NAME=value\"");
	}
	return 0;
}

static int
decode_env_object(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, struct msg_bytes *v)
{
	for (const struct jsonr *m = json->first; m != NULL; m = m->next) {
		struct msg_path element = { .up = at, .name = m->name };
		struct msg_bytes value;
		char *entry;

		if (m->name_len == 0 || strchr(m->name, '=') != NULL)
			return msg_fail(d, RPC_INVALID_PARAMS, &element,
			    "a variable's name must not be empty or contain '='");
		if (msg_decode_bytes(d, &element, m, false, INT64_MAX, &value) != 0)
			return -1;
		v->len = m->name_len + 1 + value.len;
		entry = arena_alloc(d->arena, v->len + 1);
		if (entry == NULL)
			return msg_fail_nomem(d);
		memcpy(entry, m->name, m->name_len);
		entry[m->name_len] = '=';
		memcpy(entry + m->name_len + 1, value.ptr, value.len);
		entry[v->len] = '\0';
		v->ptr = entry;
		v++;
	}
	return 0;
}

int
msg_decode_env(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_spec *spec)
{
	size_t n;
	struct msg_bytes *v;

	if (!jsonr_is(json, JSON_ARRAY) && !jsonr_is(json, JSON_OBJECT))
		return msg_fail_type(d, at, "an object or a list of \"NAME=value\"", json);
	n = json->len;
	v = arena_alloc(d->arena, n * sizeof(*v));
	if (v == NULL)
		return msg_fail_nomem(d);
	if ((jsonr_is(json, JSON_ARRAY) ? decode_env_list(d, at, json, v)
					: decode_env_object(d, at, json, v)) != 0)
		return -1;
	spec->env.v = v;
	spec->env.n = n;
	spec->has_env = true;
	return 0;
}

/* ---- rlimits ---- */

static int
decode_rlimit_value(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, uint64_t *out)
{
	int64_t value;

	if (jsonr_is_text(json, "unlimited")) {
		*out = (uint64_t)RLIM_INFINITY;
		return 0;
	}
	if (!jsonr_is(json, JSON_INTEGER))
		return msg_fail_type(d, at, "an integer, \"unlimited\", or [soft, hard]", json);
	if (msg_decode_int(d, at, json, 0, RPC_INT_MAX, &value) != 0)
		return -1;
	*out = (uint64_t)value;
	return 0;
}

static int
decode_rlimit(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_rlimit *out)
{
	struct msg_path soft = { .up = at, .index = 0 }, hard = { .up = at, .index = 1 };

	if (!jsonr_is(json, JSON_ARRAY)) {
		if (decode_rlimit_value(d, at, json, &out->soft) != 0)
			return -1;
		out->hard = out->soft;
		return 0;
	}
	if (json->len != 2)
		return msg_fail(d, RPC_INVALID_PARAMS, at, "a pair must be [soft, hard]");
	if (decode_rlimit_value(d, &soft, json->first, &out->soft) != 0 ||
	    decode_rlimit_value(d, &hard, json->first->next, &out->hard) != 0)
		return -1;
	if (out->soft > out->hard)
		return msg_fail(d, RPC_INVALID_PARAMS, at, "soft must not be above hard");
	return 0;
}

int
msg_decode_rlimits(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_rlimits *out)
{
	struct msg_rlimit *v;
	size_t n = 0;

	if (!jsonr_is(json, JSON_OBJECT))
		return msg_fail_type(d, at, "an object", json);
	/* Names are distinct and known, so there are never more than there are resources. */
	v = arena_calloc(d->arena, MSG_RLIMITS_MAX, sizeof(*v));
	if (v == NULL)
		return msg_fail_nomem(d);
	for (const struct jsonr *m = json->first; m != NULL; m = m->next) {
		struct msg_path element = { .up = at, .name = m->name };
		int resource = msg_rlimit_by_name(m->name);

		if (resource < 0)
			return msg_fail(d, RPC_INVALID_PARAMS, &element,
			    "unknown; accepted: as, core, cpu, data, fsize, locks, "
			    "memlock, msgqueue, nice, nofile, nproc, rss, rtprio, "
			    "rttime, sigpending, stack");
		v[n].resource = resource;
		v[n].name = m->name;
		if (decode_rlimit(d, &element, m, &v[n]) != 0)
			return -1;
		n++;
	}
	out->v = v;
	out->n = n;
	return 0;
}

/* ---- stdin, stdout, stderr ---- */

static const char *
stdio_wanted(enum msg_type type)
{
	if (type == MSG_T_STDIN)
		return "\"null\", \"pipe\", {\"data\"}, {\"file\"} or {\"fd\"}";
	if (type == MSG_T_STDOUT)
		return "\"capture\", \"null\", {\"file\", \"append\"} or {\"fd\"}";
	return "\"capture\", \"null\", \"stdout\", {\"file\", \"append\"} or {\"fd\"}";
}

static int
decode_stdio_word(struct msg_decoder *d, const struct msg_path *at, enum msg_type type,
    const struct jsonr *json, struct msg_stdio *out)
{
	if (jsonr_is_text(json, "null"))
		out->kind = MSG_STDIO_NULL;
	else if (jsonr_is_text(json, "pipe") && type == MSG_T_STDIN)
		out->kind = MSG_STDIO_PIPE;
	else if (jsonr_is_text(json, "capture") && type != MSG_T_STDIN)
		out->kind = MSG_STDIO_CAPTURE;
	else if (jsonr_is_text(json, "stdout") && type == MSG_T_STDERR)
		out->kind = MSG_STDIO_STDOUT;
	else
		return msg_fail(d, RPC_INVALID_PARAMS, at, "must be %s, not \"%.40s\"%s",
		    stdio_wanted(type), json->text, jsonr_has_nul(json) ? " and a NUL" : "");
	return 0;
}

static int
decode_stdio_path(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_stdio *out)
{
	struct msg_path here = { .up = at, .name = "file" };

	if (msg_decode_bytes(d, &here, json, false, MSG_PATH_BYTES_MAX, &out->bytes) != 0)
		return -1;
	if (out->bytes.len == 0)
		return msg_fail(d, RPC_INVALID_PARAMS, &here, "must not be empty");
	out->kind = MSG_STDIO_FILE;
	return 0;
}

static int
decode_stdio_fd(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_stdio *out)
{
	struct msg_path here = { .up = at, .name = "fd" };
	int64_t fd;

	if (msg_decode_int(d, &here, json, 0, MSG_FDS_MAX - 1, &fd) != 0)
		return -1;
	out->fd = (int)fd;
	out->kind = MSG_STDIO_FD;
	return 0;
}

static int
decode_stdio_object(struct msg_decoder *d, const struct msg_path *at, enum msg_type type,
    const struct jsonr *json, struct msg_stdio *out)
{
	const struct jsonr *data = type == MSG_T_STDIN ? jsonr_get(json, "data") : NULL;
	const struct jsonr *append = type != MSG_T_STDIN ? jsonr_get(json, "append") : NULL;
	const struct jsonr *file = jsonr_get(json, "file");
	const struct jsonr *fd = jsonr_get(json, "fd");
	struct msg_path here = { .up = at, .name = "data" };
	size_t known = (data != NULL) + (file != NULL) + (fd != NULL);

	if (known != 1 || json->len != known + (append != NULL) || (append != NULL && file == NULL))
		return msg_fail(d, RPC_INVALID_PARAMS, at, "must be %s", stdio_wanted(type));
	if (append != NULL) {
		struct msg_path flag = { .up = at, .name = "append" };

		if (!jsonr_is_bool(append))
			return msg_fail_type(d, &flag, "true or false", append);
		out->append = jsonr_is(append, JSON_TRUE);
	}
	if (file != NULL)
		return decode_stdio_path(d, at, file, out);
	if (fd != NULL)
		return decode_stdio_fd(d, at, fd, out);
	out->kind = MSG_STDIO_DATA;
	return msg_decode_bytes(d, &here, data, true, INT64_MAX, &out->bytes);
}

int
msg_decode_stdio(struct msg_decoder *d, const struct msg_path *at, enum msg_type type,
    const struct jsonr *json, struct msg_stdio *out)
{
	memset(out, 0, sizeof(*out));
	if (jsonr_is(json, JSON_STRING))
		return decode_stdio_word(d, at, type, json, out);
	if (jsonr_is(json, JSON_OBJECT))
		return decode_stdio_object(d, at, type, json, out);
	return msg_fail_type(d, at, stdio_wanted(type), json);
}

/* ---- exit codes, signals ---- */

int
msg_decode_ok_codes(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, uint64_t codes[4])
{
	size_t i = 0;

	if (!jsonr_is(json, JSON_ARRAY))
		return msg_fail_type(d, at, "a list of exit codes", json);
	memset(codes, 0, 4 * sizeof(codes[0]));
	for (const struct jsonr *item = json->first; item != NULL; item = item->next, i++) {
		struct msg_path element = { .up = at, .index = i };
		int64_t code;

		if (msg_decode_int(d, &element, item, 0, 255, &code) != 0)
			return -1;
		codes[code / 64] |= (uint64_t)1 << (code % 64);
	}
	return 0;
}

int
msg_decode_signal(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, int64_t *out)
{
	if (jsonr_is(json, JSON_INTEGER))
		return msg_decode_int(d, at, json, 1, MSG_SIGNAL_MAX, out);
	if (!jsonr_is(json, JSON_STRING))
		return msg_fail_type(d, at, "a signal's name or number", json);
	*out = jsonr_has_nul(json) ? 0 : msg_signal_by_name(json->text);
	if (*out == 0)
		return msg_fail(d, RPC_INVALID_PARAMS, at,
		    "no signal is called \"%.40s\"; accepted: names such as \"TERM\" "
		    "or \"SIGTERM\", or a number from 1 to 64",
		    json->text);
	return 0;
}

/* ---- the whole spec ---- */

void
msg_spec_init(struct msg_spec *spec)
{
	msg_schema_init(&msg_spec_schema, spec);
}

bool
msg_spec_has_fd(const struct msg_spec *spec)
{
	return spec->in.kind == MSG_STDIO_FD || spec->out.kind == MSG_STDIO_FD ||
	    spec->err.kind == MSG_STDIO_FD;
}

/* The place of one of the spec's own fields. */
#define FIELD(at, field)                                                                           \
	&(struct msg_path)                                                                         \
	{                                                                                          \
		.up = (at), .name = msg_spec_schema.fields[field].name, .is_parameter = true       \
	}

static int
check_size(struct msg_decoder *d, const struct msg_path *at, const struct msg_spec *spec)
{
	size_t total = 0;

	for (size_t i = 0; i < spec->argv.n; i++)
		total += spec->argv.v[i].len + 1;
	for (size_t i = 0; i < spec->env.n; i++)
		total += spec->env.v[i].len + 1;
	if (total > MSG_ARGV_ENV_MAX)
		return msg_fail(d, RPC_LIMIT_EXCEEDED, FIELD(at, MSG_SPEC_ARGV),
		    "argv and env together are %zu bytes: at most %u are accepted", total,
		    MSG_ARGV_ENV_MAX);
	return 0;
}

/* `index`: how many jobs of the same batch stand before this one; −k names the k-th of all. */
static int
check_after(
    struct msg_decoder *d, const struct msg_path *at, const struct msg_spec *spec, size_t index)
{
	struct msg_path list = *FIELD(at, MSG_SPEC_AFTER);

	for (size_t i = 0; i < spec->after.n; i++) {
		struct msg_path element = { .up = &list, .index = i };
		int64_t id = spec->after.v[i];

		if (id > 0 || d->spec_mode == MSG_SPEC_DEFAULTS)
			continue;
		if (d->spec_mode == MSG_SPEC_SINGLE)
			return msg_fail(d, RPC_INVALID_PARAMS, &element,
			    "negative ids stand for jobs of the same batch: there is "
			    "none here");
		if (-id > (int64_t)index)
			return msg_fail(d, RPC_INVALID_PARAMS, &element,
			    "%lld must stand for an earlier job of the same batch", (long long)id);
	}
	return 0;
}

static int
check_lifetime(struct msg_decoder *d, const struct msg_path *at, struct msg_spec *spec)
{
	bool given = (spec->present & MSG_SPEC_BIT(MSG_SPEC_LIFETIME)) != 0;

	if (d->spec_mode == MSG_SPEC_MAP) {
		if (given && spec->lifetime != MSG_LIFETIME_BOUND)
			return msg_fail(d, RPC_INVALID_PARAMS, FIELD(at, MSG_SPEC_LIFETIME),
			    "the jobs of a map are bound to its stream");
		spec->lifetime = MSG_LIFETIME_BOUND;
	}
	if (d->spec_mode != MSG_SPEC_DEFAULTS && msg_spec_has_fd(spec) &&
	    spec->lifetime != MSG_LIFETIME_BOUND)
		return msg_fail(d, RPC_INVALID_PARAMS, FIELD(at, MSG_SPEC_LIFETIME),
		    "a job with {\"fd\"} must be \"bound\"");
	return 0;
}

/* What concerns more than one field.  `own`: what this object itself gave. */
static int
check_spec(struct msg_decoder *d, const struct msg_path *at, size_t index, uint64_t own,
    struct msg_spec *spec)
{
	const uint64_t delay = MSG_SPEC_BIT(MSG_SPEC_DELAY_MS);
	const uint64_t not_before = MSG_SPEC_BIT(MSG_SPEC_NOT_BEFORE_US);

	if ((own & delay) && (own & not_before))
		return msg_fail(d, RPC_INVALID_PARAMS, FIELD(at, MSG_SPEC_DELAY_MS),
		    "give delay_ms or not_before_us, not both");
	if (own & delay)
		spec->not_before_us = MSG_NULL;
	if (own & not_before)
		spec->delay_ms = MSG_NULL;
	if (spec->argv.n == 0 && d->spec_mode != MSG_SPEC_DEFAULTS)
		return msg_fail(d, RPC_INVALID_PARAMS, FIELD(at, MSG_SPEC_ARGV), "is required");
	if (spec->tty && spec->in.kind != MSG_STDIO_FD && d->spec_mode != MSG_SPEC_DEFAULTS)
		return msg_fail(d, RPC_INVALID_PARAMS, FIELD(at, MSG_SPEC_TTY),
		    "needs a terminal on stdin: {\"fd\": n}");
	if (d->spec_mode == MSG_SPEC_BATCH && (own & MSG_SPEC_BIT(MSG_SPEC_ON_FULL)))
		return msg_fail(d, RPC_INVALID_PARAMS, FIELD(at, MSG_SPEC_ON_FULL),
		    "belongs to the whole batch: give it beside jobs");
	if (check_after(d, at, spec, index) != 0 || check_lifetime(d, at, spec) != 0)
		return -1;
	return check_size(d, at, spec);
}

int
msg_decode_spec(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    size_t index, struct msg_spec *out)
{
	uint64_t inherited = 0;

	if (d->defaults != NULL) {
		*out = *d->defaults;
		inherited = out->present;
		out->present = 0;
	} else {
		msg_spec_init(out);
	}
	if (msg_decode_object(d, at, &msg_spec_schema, json, out) != 0)
		return -1;

	uint64_t own = out->present;

	out->present |= inherited;
	return check_spec(d, at, index, own, out);
}

/* ---- writing ---- */

void
msg_write_env(struct jsonw *w, const struct msg_spec *spec)
{
	jsonw_arr_begin(w);
	for (size_t i = 0; i < spec->env.n; i++)
		jsonw_bytes(w, spec->env.v[i].ptr, spec->env.v[i].len);
	jsonw_arr_end(w);
}

static void
write_rlimit_value(struct jsonw *w, uint64_t value)
{
	if (value == (uint64_t)RLIM_INFINITY || value > (uint64_t)RPC_INT_MAX)
		jsonw_str(w, "unlimited");
	else
		jsonw_int(w, (int64_t)value);
}

void
msg_write_rlimits(struct jsonw *w, const struct msg_rlimits *rlimits)
{
	jsonw_obj_begin(w);
	for (size_t i = 0; i < rlimits->n; i++) {
		jsonw_key(w, rlimits->v[i].name);
		jsonw_arr_begin(w);
		write_rlimit_value(w, rlimits->v[i].soft);
		write_rlimit_value(w, rlimits->v[i].hard);
		jsonw_arr_end(w);
	}
	jsonw_obj_end(w);
}

void
msg_write_stdio(struct jsonw *w, const struct msg_stdio *stdio)
{
	switch (stdio->kind) {
	case MSG_STDIO_NULL:
		jsonw_str(w, "null");
		return;
	case MSG_STDIO_CAPTURE:
		jsonw_str(w, "capture");
		return;
	case MSG_STDIO_PIPE:
		jsonw_str(w, "pipe");
		return;
	case MSG_STDIO_STDOUT:
		jsonw_str(w, "stdout");
		return;
	case MSG_STDIO_DATA:
	case MSG_STDIO_FILE:
	case MSG_STDIO_FD:
		break;
	}
	jsonw_obj_begin(w);
	if (stdio->kind == MSG_STDIO_FD)
		jsonw_kint(w, "fd", stdio->fd);
	else
		jsonw_kbytes(w, stdio->kind == MSG_STDIO_DATA ? "data" : "file", stdio->bytes.ptr,
		    stdio->bytes.len);
	if (stdio->kind == MSG_STDIO_FILE && stdio->append)
		jsonw_kbool(w, "append", true);
	jsonw_obj_end(w);
}

void
msg_write_ok_codes(struct jsonw *w, const uint64_t codes[4])
{
	jsonw_arr_begin(w);
	for (int code = 0; code < 256; code++) {
		if (codes[code / 64] >> (code % 64) & 1)
			jsonw_int(w, code);
	}
	jsonw_arr_end(w);
}

void
msg_spec_write(struct jsonw *w, const struct msg_spec *spec)
{
	msg_write_object(w, &msg_spec_schema, spec);
}
