/* What jobs and completions look like to people. */
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

static bool
is_plain(const char *word)
{
	return word[0] != '\0' &&
	    strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			 "%+,-./:=@_") == strlen(word);
}

/* Appends with single quotes where the shell would need them. */
static void
print_word(FILE *out, const char *word)
{
	if (is_plain(word)) {
		fputs(word, out);
		return;
	}
	putc('\'', out);
	for (; *word != '\0'; word++) {
		if (*word == '\'')
			fputs("'\\''", out);
		else
			putc(*word, out);
	}
	putc('\'', out);
}

char *
ctl_command_text(const json_t *argv)
{
	char *text = NULL;
	size_t size, i;
	json_t *value;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	json_array_foreach((json_t *)(uintptr_t)argv, i, value)
	{
		char *word = slot_json_to_bytes(value, NULL);

		if (i > 0)
			putc(' ', out);
		print_word(out, word != NULL ? word : "?");
		free(word);
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

void
ctl_outcome_text(const json_t *object, char *buf, size_t size)
{
	struct slot_completion c;

	if (slot_completion_read(&c, object) != 0) {
		const char *phase = json_string_value(json_object_get(object, "phase"));

		snprintf(buf, size, "%s", phase != NULL ? phase : "?");
		return;
	}
	const json_t *error = json_object_get(object, "error");
	const char *name = c.signal > 0 ? ctl_signal_name(c.signal) : NULL;

	if (c.outcome == SLOT_OUTCOME_EXITED)
		snprintf(buf, size, "exited %d", c.exit_code);
	else if (c.outcome == SLOT_OUTCOME_SPAWN_FAILED && json_is_object(error))
		snprintf(buf, size, "spawn_failed %s %s",
		    json_string_value(json_object_get(error, "step")),
		    json_string_value(json_object_get(error, "errno")));
	else if (name != NULL)
		snprintf(buf, size, "%s %s", c.outcome_name, name);
	else if (c.signal > 0)
		snprintf(buf, size, "%s %d", c.outcome_name, c.signal);
	else
		snprintf(buf, size, "%s", c.outcome_name);
}

void
ctl_print_completion(const struct ctl *ctl, const json_t *completion)
{
	const json_t *tag = json_object_get(completion, "tag");
	char outcome[64];

	if (ctl->json) {
		ctl_print_json(completion);
		return;
	}
	ctl_outcome_text(completion, outcome, sizeof(outcome));
	printf("%" JSON_INTEGER_FORMAT " ",
	    json_integer_value(json_object_get(completion, "job")));
	ctl_print_text(stdout, outcome, strlen(outcome), 0);
	if (tag != NULL && !json_is_null(tag)) {
		char *text = json_dumps(tag, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

		if (text != NULL)
			printf(" %s", text);
		free(text);
	}
	putchar('\n');
}
