#ifndef WIRE_MESSAGE_INTERNAL_H
#define WIRE_MESSAGE_INTERNAL_H

/* What the message_*.c files share; not for others. */

#include "wire/message.h"

/* ---- names ---- */

extern const struct msg_names msg_phase_names;
extern const struct msg_names msg_outcome_names;
extern const struct msg_names msg_retry_outcome_names;
extern const struct msg_names msg_reason_names;
extern const struct msg_names msg_event_kind_names;
extern const struct msg_names msg_lifetime_names;
extern const struct msg_names msg_on_full_names;
extern const struct msg_names msg_leftovers_names;
extern const struct msg_names msg_after_policy_names;
extern const struct msg_names msg_on_error_names;
extern const struct msg_names msg_return_when_names;
extern const struct msg_names msg_scope_names;
extern const struct msg_names msg_order_names;
extern const struct msg_names msg_drain_mode_names;
extern const struct msg_names msg_durability_names;

int msg_names_find(const struct msg_names *names, const char *name); /* -1: none */
const char *msg_names_get(const struct msg_names *names, int value); /* NULL: none */
/* One after the other; NULL: there are no more. */
const char *msg_signal_at(size_t i);
const char *msg_rlimit_at(size_t i);

/* ---- schemas that code refers to by name (message_table.c) ---- */

extern const struct msg_schema msg_spec_schema;
extern const struct msg_schema msg_retries_schema;
extern const struct msg_schema msg_job_schema;
extern const struct msg_schema msg_completion_schema;
extern const struct msg_schema msg_limits_schema;
extern const struct msg_schema msg_stats_schema;

/* ---- decoding (message_decode.c) ---- */

/* Where a value stands: a list that goes up through the C stack, made to text on failure only. */
struct msg_path {
	const struct msg_path *up;
	const char *name; /* NULL: element `index` of a list */
	size_t index;
	bool is_parameter;
};

enum msg_spec_mode {
	MSG_SPEC_SINGLE,   /* job.submit */
	MSG_SPEC_DEFAULTS, /* need not be complete */
	MSG_SPEC_BATCH,    /* one of job.submit_batch */
	MSG_SPEC_MAP,      /* one of map.push */
};

struct msg_decoder {
	struct arena *arena;
	struct rpc_failure *err;
	const struct msg_spec *defaults; /* for the specs of a list; NULL: none */
	enum msg_spec_mode spec_mode;
	bool lenient; /* reading the server's words: null is fine, so is what we don't know */
};

void msg_schema_init(const struct msg_schema *schema, void *out);
/* `out` holds the defaults already. */
int msg_decode_object(struct msg_decoder *d, const struct msg_path *at,
    const struct msg_schema *schema, const struct jsonr *object, void *out);
int msg_decode_spec_list(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *list,
    struct msg_spec_list *out);

/* Each fills the failure and returns -1. */
int msg_fail(struct msg_decoder *d, enum rpc_error error, const struct msg_path *at,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
int msg_fail_type(struct msg_decoder *d, const struct msg_path *at, const char *wanted,
    const struct jsonr *found);
int msg_fail_unknown(struct msg_decoder *d, const struct msg_path *at, const char *name,
    const struct msg_schema *schema);
int msg_fail_nomem(struct msg_decoder *d);
/* Appends as much of `text` as fits (no character cut in two); the new length. */
size_t msg_append(char *buf, size_t size, size_t used, const char *text);

/* ---- single values (message_value.c) ---- */

int msg_decode_bool(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, bool *out);
int msg_decode_name(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_names *names, unsigned flags, int *out);
int msg_decode_flags(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_names *names, uint32_t *out);
int msg_decode_str(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    const struct msg_field *f, const char **out);

/* A string or {"b64":…} of at most `max` bytes. */
int msg_decode_bytes(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    bool nul_is_fine, int64_t max, struct msg_bytes *out);
int msg_decode_int(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    int64_t min, int64_t max, int64_t *out);
int msg_decode_any(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    int64_t max, struct msg_bytes *out);

/* ---- the spec's own types (message_spec.c) ---- */

int msg_decode_env(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_spec *spec);
int msg_decode_rlimits(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    struct msg_rlimits *out);
int msg_decode_stdio(struct msg_decoder *d, const struct msg_path *at, enum msg_type type,
    const struct jsonr *json, struct msg_stdio *out);
int msg_decode_ok_codes(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, uint64_t codes[4]);
int msg_decode_signal(
    struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json, int64_t *out);
/* One spec from its object, on top of d->defaults; `index` is its place in a batch. */
int msg_decode_spec(struct msg_decoder *d, const struct msg_path *at, const struct jsonr *json,
    size_t index, struct msg_spec *out);

void msg_write_env(struct jsonw *w, const struct msg_spec *spec);
void msg_write_rlimits(struct jsonw *w, const struct msg_rlimits *rlimits);
void msg_write_stdio(struct jsonw *w, const struct msg_stdio *stdio);
void msg_write_ok_codes(struct jsonw *w, const uint64_t codes[4]);

/* ---- encoding (message_encode.c) ---- */

/* Members of a struct.  Strict schemas (params) leave out what holds its default and wasn't
 * present; others write every field. */
void msg_write_members(struct jsonw *w, const struct msg_schema *schema, const void *in);
void msg_write_object(struct jsonw *w, const struct msg_schema *schema, const void *in);

/* A field of a struct, its type taken from the table. */
static inline const void *
msg_at(const void *base, const struct msg_field *f)
{
	return (const char *)base + f->offset;
}
static inline void *
msg_at_mutable(void *base, const struct msg_field *f)
{
	return (char *)base + f->offset;
}

#endif
