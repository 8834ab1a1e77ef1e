#ifndef WIRE_MESSAGE_DISCOVER_H
#define WIRE_MESSAGE_DISCOVER_H

/* The table as JSON Schema: what message_schema*.c write and message_discover.c puts together. */

#include "wire/message_internal.h"

/* The member that refers to a schema of components. */
void msg_schema_write_ref(struct jsonw *w, const char *name);
/* A field's schema, one value; `parameter`: with its default. */
void msg_schema_write_field(struct jsonw *w, const struct msg_field *f, bool parameter);
/* Members of the schema of an object, between its braces; `more` (or NULL) are fields besides. */
void msg_schema_write_members(
    struct jsonw *w, const struct msg_schema *schema, const struct msg_schema *more);
/* The same, or a $ref where the schema has a name. */
void msg_schema_write_nested(struct jsonw *w, const struct msg_schema *schema);
/* Members of components.schemas: those that are no struct. */
void msg_schema_write_fixed(struct jsonw *w);

#endif
