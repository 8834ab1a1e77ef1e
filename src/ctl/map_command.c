/* See map_command.h. */
#include "ctl/map_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <slot/client.h>

int
map_command_init(struct map_command *c, char *const *words, int nwords, const char *placeholder,
    bool shell)
{
	*c = (struct map_command){ .words = words, .nwords = nwords, .placeholder = placeholder,
		.shell = shell, .append = true };
	c->fixed = calloc((size_t)nwords + 1, sizeof(*c->fixed));
	if (c->fixed == NULL)
		return -1;
	for (int i = 0; i < nwords; i++) {
		if (strstr(words[i], placeholder) != NULL)
			c->append = false;
		else if ((c->fixed[i] = slot_json_from_bytes(words[i], strlen(words[i]))) == NULL)
			return -1;
	}
	return 0;
}

void
map_command_fini(struct map_command *c)
{
	for (int i = 0; c->fixed != NULL && i < c->nwords; i++)
		json_decref(c->fixed[i]);
	free(c->fixed);
	*c = (struct map_command){ 0 };
}

size_t
map_command_words(const struct map_command *c)
{
	return c->shell ? 3 : (size_t)c->nwords + c->append;
}

/* The shell takes it as it is. */
static bool
is_plain(const char *item, size_t len)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "%+,-./:=@_";

	for (size_t i = 0; i < len; i++) {
		if (item[i] == '\0' || strchr(plain, item[i]) == NULL)
			return false;
	}
	return len > 0;
}

/* The item as one word of the shell. */
static void
write_quoted(FILE *out, const char *item, size_t len)
{
	if (is_plain(item, len)) {
		fwrite(item, 1, len, out);
		return;
	}
	putc('\'', out);
	for (size_t i = 0; i < len; i++) {
		if (item[i] == '\'')
			fputs("'\\''", out);
		else
			putc(item[i], out);
	}
	putc('\'', out);
}

static void
write_item(const struct map_command *c, FILE *out, const char *item, size_t len)
{
	if (c->shell)
		write_quoted(out, item, len);
	else
		fwrite(item, 1, len, out);
}

static void
write_word(const struct map_command *c, FILE *out, const char *word, const char *item, size_t len)
{
	const char *at;

	while ((at = strstr(word, c->placeholder)) != NULL) {
		fwrite(word, 1, (size_t)(at - word), out);
		write_item(c, out, item, len);
		word = at + strlen(c->placeholder);
	}
	fputs(word, out);
}

/* Ends a text begun with open_memstream and appends it to argv. */
static int
append_text(json_t *argv, FILE *out, char **text, const size_t *size, size_t *bytes)
{
	json_t *word = fclose(out) == 0 ? slot_json_from_bytes(*text, *size) : NULL;

	*bytes += *size + 1;
	free(*text);
	return json_array_append_new(argv, word);
}

static int
append_word(const struct map_command *c, json_t *argv, int i, const char *item, size_t len,
    size_t *bytes)
{
	char *text = NULL;
	size_t size = 0;

	if (c->fixed[i] != NULL) {
		*bytes += strlen(c->words[i]) + 1;
		return json_array_append(argv, c->fixed[i]);
	}
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return -1;
	write_word(c, out, c->words[i], item, len);
	return append_text(argv, out, &text, &size, bytes);
}

static int
append_line(const struct map_command *c, json_t *argv, const char *item, size_t len,
    size_t *bytes)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return -1;
	for (int i = 0; i < c->nwords; i++) {
		if (i > 0)
			putc(' ', out);
		write_word(c, out, c->words[i], item, len);
	}
	if (c->append) {
		putc(' ', out);
		write_item(c, out, item, len);
	}
	*bytes += sizeof("sh") + sizeof("-c");
	if (json_array_append_new(argv, json_string("sh")) != 0 ||
	    json_array_append_new(argv, json_string("-c")) != 0) {
		fclose(out);
		free(text);
		return -1;
	}
	return append_text(argv, out, &text, &size, bytes);
}

json_t *
map_command_argv(const struct map_command *c, const char *item, size_t len, size_t *bytes)
{
	json_t *argv = json_array();
	int rc = 0;

	*bytes = 0;
	if (c->shell) {
		rc = append_line(c, argv, item, len, bytes);
	} else {
		for (int i = 0; rc == 0 && i < c->nwords; i++)
			rc = append_word(c, argv, i, item, len, bytes);
		if (rc == 0 && c->append) {
			*bytes += len + 1;
			rc = json_array_append_new(argv, slot_json_from_bytes(item, len));
		}
	}
	if (rc == 0)
		return argv;
	json_decref(argv);
	return NULL;
}
