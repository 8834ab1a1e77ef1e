/*
 * JSON Schema of what is several JSON types at once, for rpc.discover: bytes, environments, limits
 * of resources, descriptors, signals.  Their decoders are in message_value.c and message_spec.c.
 */

#include "wire/message_discover.h"

#include <ctype.h>
#include <string.h>

#define NO_NUL "^[^\\\\u0000]*$"
#define BASE64                                                                                     \
	"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"
/* A string of a certain form, or base64 of the same. */
#define BYTES(text, form, form64)                                                                  \
	"{\"description\":\"" text "\",\"oneOf\":[{\"type\":\"string\"" form "},"                  \
	"{\"type\":\"object\",\"properties\":{\"b64\":{\"type\":\"string\",\"pattern\":\"" BASE64  \
	"\",\"contentEncoding\":\"base64\"" form64 "}},\"required\":[\"b64\"],"                    \
	"\"additionalProperties\":false}]}"
/* An object of one member. */
#define ONLY(name, schema)                                                                         \
	"{\"type\":\"object\",\"properties\":{\"" name "\":" schema "},\"required\":[\"" name      \
	"\"],\"additionalProperties\":false}"

_Static_assert(MSG_PATH_BYTES_MAX == 4095 && MSG_FDS_MAX == 64, "as written below");

static const struct {
	const char *name;
	const char *schema;
} fixed_schemas[] = {
	{ "Bytes", BYTES("bytes: a string, or base64 where they are not UTF-8", "", "") },
	{ "Arg", BYTES("bytes without a NUL", ",\"pattern\":\"" NO_NUL "\"", "") },
	{ "Path",
	    BYTES("a path; a relative one is relative to cwd",
		",\"minLength\":1,\"maxLength\":4095,\"x-maxBytes\":4095,\"pattern\":\"" NO_NUL
		"\"",
		",\"minLength\":4,\"maxLength\":5460") },
	{ "AbsolutePath",
	    BYTES("a path that begins with a slash",
		",\"maxLength\":4095,\"x-maxBytes\":4095,\"pattern\":\"^/[^\\\\u0000]*$\"",
		",\"minLength\":4,\"maxLength\":5460") },
	{ "Assignment",
	    BYTES("NAME=value", ",\"pattern\":\"^[^=\\\\u0000]+=[^\\\\u0000]*$\"",
		",\"minLength\":4") },
	{ "RequestId",
	    "{\"oneOf\":[{\"type\":\"string\",\"maxLength\":1024,\"x-maxBytes\":1024},"
	    "{\"type\":\"integer\",\"minimum\":-9007199254740991,"
	    "\"maximum\":9007199254740991}]}" },
	{ "Env",
	    "{\"oneOf\":[{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[^=\\\\u0000]+$\"},"
	    "\"additionalProperties\":" REF("Arg") "},"
						   "{\"type\":\"array\",\"items\":" REF(
						       "Assignment") "}]}" },
	{ "Rlimit",
	    "{\"oneOf\":[{\"type\":\"integer\",\"minimum\":0,\"maximum\":9007199254740991},"
	    "{\"const\":\"unlimited\"}]}" },
	{ "RlimitPair",
	    "{\"description\":\"one for both, or [soft, hard], soft not above "
	    "hard\",\"oneOf\":[" REF("Rlimit") ",{\"type\":\"array\",\"minItems\":2,\"maxItems\":2,"
					       "\"items\":" REF("Rlimit") "}]}" },
	{ "Fd",
	    "{\"description\":\"a descriptor passed with the request\",\"type\":\"object\","
	    "\"properties\":{\"fd\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":63}},"
	    "\"required\":[\"fd\"],\"additionalProperties\":false}" },
	{ "OutputFile",
	    "{\"type\":\"object\",\"properties\":{\"file\":" REF(
		"Path") ",\"append\":{\"type\":\"boolean\",\"default\":false}},\"required\":["
			"\"file\"],"
			"\"additionalProperties\":false}" },
	{ "Stdin",
	    "{\"default\":\"null\",\"oneOf\":[{\"enum\":[\"null\",\"pipe\"]}," ONLY(
		"data", REF("Bytes")) "," ONLY("file", REF("Path")) "," REF("Fd") "]}" },
	{ "Stdout",
	    "{\"default\":\"capture\",\"oneOf\":[{\"enum\":[\"capture\",\"null\"]}," REF(
		"OutputFile") "," REF("Fd") "]}" },
	{ "Stderr",
	    "{\"default\":\"capture\",\"oneOf\":[{\"enum\":[\"capture\",\"null\",\"stdout\"]}," REF(
		"OutputFile") "," REF("Fd") "]}" },
};

static void
write_rlimits(struct jsonw *w)
{
	const char *name;

	jsonw_key(w, "Rlimits");
	jsonw_obj_begin(w);
	jsonw_kstr(w, "type", "object");
	jsonw_key(w, "properties");
	jsonw_obj_begin(w);
	for (size_t i = 0; (name = msg_rlimit_at(i)) != NULL; i++) {
		jsonw_key(w, name);
		jsonw_obj_begin(w);
		msg_schema_write_ref(w, "RlimitPair");
		jsonw_obj_end(w);
	}
	jsonw_obj_end(w);
	jsonw_kbool(w, "additionalProperties", false);
	jsonw_obj_end(w);
}

/* JSON Schema knows no "in any case": [Tt][Ee][Rr][Mm]. */
static void
write_signal_pattern(struct jsonw *w)
{
	char pattern[1200] = "^(?:[Ss][Ii][Gg])?(?:";
	size_t used = strlen(pattern);
	const char *name;

	for (size_t i = 0; (name = msg_signal_at(i)) != NULL; i++) {
		if (i > 0)
			used = msg_append(pattern, sizeof(pattern), used, "|");
		for (; *name != '\0'; name++) {
			const char either[] = { '[', *name, (char)tolower(*name), ']', '\0' };
			const char digit[] = { *name, '\0' };

			used = msg_append(pattern, sizeof(pattern), used,
			    isupper((unsigned char)*name) ? either : digit);
		}
	}
	msg_append(pattern, sizeof(pattern), used, ")$");
	jsonw_kstr(w, "pattern", pattern);
}

static void
write_signal(struct jsonw *w)
{
	jsonw_key(w, "Signal");
	jsonw_obj_begin(w);
	jsonw_key(w, "oneOf");
	jsonw_arr_begin(w);
	jsonw_obj_begin(w);
	jsonw_kstr(w, "type", "string");
	write_signal_pattern(w);
	jsonw_obj_end(w);
	jsonw_obj_begin(w);
	jsonw_kstr(w, "type", "integer");
	jsonw_kint(w, "minimum", 1);
	jsonw_kint(w, "maximum", MSG_SIGNAL_MAX);
	jsonw_obj_end(w);
	jsonw_arr_end(w);
	jsonw_obj_end(w);
}

void
msg_schema_write_fixed(struct jsonw *w)
{
	for (size_t i = 0; i < sizeof(fixed_schemas) / sizeof(fixed_schemas[0]); i++) {
		jsonw_key(w, fixed_schemas[i].name);
		jsonw_raw(w, fixed_schemas[i].schema, strlen(fixed_schemas[i].schema));
	}
	write_rlimits(w);
	write_signal(w);
}
