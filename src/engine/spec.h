#ifndef ENGINE_SPEC_H
#define ENGINE_SPEC_H
/*
 * From a decoded spec to the flat record that is kept (store/row.h), and back to what the job
 * object shows of it.
 */
#include "launch/body.h"
#include "store/row.h"
#include "wire/message.h"

struct spec_context {
	const uint64_t *after; /* the ids it waits for, resolved, in the order given */
	size_t nafter;
};

/* The flat record, malloc'd. NULL: out of memory. */
struct spec *spec_build(const struct msg_spec *m, const struct spec_context *ctx);
/* The environment as one blob, malloc'd, of *len bytes ("K=V\0"…). NULL: out of memory. */
char *spec_env(const struct msg_spec *m, size_t *len);

bool spec_is_ok(const struct spec *s, int exit_code);
/* Reads the body that spec_build packed; it cannot fail on a record of ours. */
void spec_body(const struct spec *s, struct body *b);

#endif
