/* Values of the protocol that programs meet: bytes, and completions. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <slot/client.h>

#include "wire/rpc.h"
#include "wire/text.h"

/* ---- bytes ---- */

/* The characters between the quotes in pure ASCII JSON; 0: a string can't hold it. */
static size_t
escaped_size(const unsigned char *s, size_t len)
{
	size_t size = 2;

	for (size_t i = 0; i < len;) {
		unsigned c;
		size_t n = utf8_decode(s + i, len - i, &c);

		if (n == 0 || c == 0)
			return 0;
		if (c == '"' || c == '\\' || (c >= 8 && c <= 13 && c != 11))
			size += 2;
		else if (c >= 0x10000)
			size += 12;
		else if (c < 0x20 || c >= 0x7f)
			size += 6;
		else
			size++;
		i += n;
	}
	return size;
}

json_t *
slot_json_from_bytes(const void *data, size_t len)
{
	if (data == NULL) /* of no bytes, as in other calls */
		data = "";
	size_t plain = escaped_size(data, len);

	if (plain != 0 && plain <= BASE64_SIZE(len) + sizeof("{\"b64\":\"\"}") - 1)
		return json_stringn_nocheck(data, len);
	if (plain != 0 && len < 16) /* short words stay readable */
		return json_stringn_nocheck(data, len);
	char *text = malloc(BASE64_SIZE(len) + 1);

	if (text == NULL)
		return NULL;
	base64_encode(text, data, len);
	json_t *value = json_object();

	if (json_object_set_new(value, "b64", json_stringn_nocheck(text, BASE64_SIZE(len))) != 0) {
		json_decref(value);
		value = NULL;
	}
	free(text);
	return value;
}

char *
slot_json_to_bytes(const json_t *value, size_t *len)
{
	const json_t *b64 = json_object_get(value, "b64");
	const json_t *string = b64 != NULL ? b64 : value;

	if (!json_is_string(string))
		return NULL;
	size_t text_len = json_string_length(string);
	char *out = malloc(text_len + 4);
	ssize_t n = (ssize_t)text_len;

	if (out == NULL)
		return NULL;
	if (b64 != NULL)
		n = base64_decode(out, json_string_value(string), text_len);
	else
		memcpy(out, json_string_value(string), text_len);
	if (n < 0) {
		free(out);
		return NULL;
	}
	out[n] = '\0';
	if (len != NULL)
		*len = (size_t)n;
	return out;
}

/* ---- completions ---- */

static const struct {
	const char *name;
	enum slot_outcome outcome;
} outcomes[] = {
	{ "exited", SLOT_OUTCOME_EXITED },
	{ "signaled", SLOT_OUTCOME_SIGNALED },
	{ "timed_out", SLOT_OUTCOME_TIMED_OUT },
	{ "cancelled", SLOT_OUTCOME_CANCELLED },
	{ "spawn_failed", SLOT_OUTCOME_SPAWN_FAILED },
	{ "lost", SLOT_OUTCOME_LOST },
	{ "dependency_failed", SLOT_OUTCOME_DEPENDENCY_FAILED },
};

static enum slot_outcome
outcome_of(const char *name)
{
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		if (strcmp(outcomes[i].name, name) == 0)
			return outcomes[i].outcome;
	}
	return SLOT_OUTCOME_OTHER;
}

/* A number from 0, or nothing: null, or no such member. False: something else. */
static bool
read_number(json_int_t *out, const json_t *object, const char *name, json_int_t absent,
    json_int_t max)
{
	const json_t *value = json_object_get(object, name);

	*out = json_is_integer(value) ? json_integer_value(value) : absent;
	if (value == NULL || json_is_null(value))
		return true;
	return json_is_integer(value) && *out >= 0 && *out <= max;
}

int
slot_completion_read(struct slot_completion *out, const json_t *object)
{
	const json_t *ok = json_object_get(object, "ok");
	const char *name = json_string_value(json_object_get(object, "outcome"));
	json_int_t job, seq, exit_code, signal;

	if (name == NULL || (ok != NULL && !json_is_null(ok) && !json_is_boolean(ok)) ||
	    !read_number(&job, object, "job", 0, RPC_INT_MAX) || job == 0 ||
	    !read_number(&seq, object, "seq", 0, RPC_INT_MAX) ||
	    !read_number(&exit_code, object, "exit_code", -1, INT_MAX) ||
	    !read_number(&signal, object, "signal", 0, INT_MAX))
		return -SLOT_EPROTOCOL;
	*out = (struct slot_completion){
		.job = (uint64_t)job,
		.seq = (uint64_t)seq,
		.ok = json_is_true(ok),
		.outcome = outcome_of(name),
		.outcome_name = name,
		.exit_code = (int)exit_code,
		.signal = (int)signal,
		.object = object,
	};
	return 0;
}
