/*
 * The option parser: tables in, option ids out. Unlike getopt it has no state of its own, takes
 * the global options anywhere, and stops at a command line where the verb has one.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

enum {
	OPTION_SOCKET = CTL_OPTION_GLOBAL,
	OPTION_SYSTEM,
	OPTION_JSON,
	OPTION_NO_START,
	OPTION_HELP,
};

const struct ctl_option ctl_global_options[] = {
	{ OPTION_SOCKET, "socket", "PATH", "the daemon's socket (also SLOTD_SOCKET)" },
	{ OPTION_SYSTEM, "system", NULL, "the system's daemon instead of the user's own" },
	{ OPTION_JSON, "json", NULL, "print JSON: one object, or one per line" },
	{ OPTION_NO_START, "no-start", NULL, "don't start a daemon (also SLOTCTL_START=0)" },
	{ OPTION_HELP, "help", NULL, "this help" },
	{ 0 },
};

void
ctl_args_init(struct ctl_args *args, struct ctl *ctl, const struct verb *verb, char **words,
    int nwords)
{
	*args = (struct ctl_args){ .verb = verb, .ctl = ctl, .argv = words, .words = words,
		.nwords = nwords };
}

/* ---- look-up ---- */

static const struct ctl_option *
in_table(const struct ctl_option *table, int letter,
    const char *name, size_t len)
{
	for (const struct ctl_option *o = table; o != NULL && o->id != 0; o++) {
		if (letter != 0 && o->id == letter)
			return o;
		if (letter == 0 && o->name != NULL && strlen(o->name) == len &&
		    memcmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

static const struct ctl_option *
find(const struct ctl_args *args, int letter, const char *name,
    size_t len)
{
	const struct ctl_option *o = NULL;

	if (args->verb != NULL) {
		o = in_table(args->verb->options, letter, name, len);
		if (o == NULL)
			o = in_table(args->verb->shared, letter, name, len);
	}
	return o != NULL ? o : in_table(ctl_global_options, letter, name, len);
}

/* ---- the global ones ---- */

static void
take_global(struct ctl_args *args, const struct ctl_option *o)
{
	switch (o->id) {
	case OPTION_SOCKET:
		args->ctl->socket = args->value;
		break;
	case OPTION_SYSTEM:
		args->ctl->system = true;
		break;
	case OPTION_JSON:
		args->ctl->json = true;
		break;
	case OPTION_NO_START:
		args->ctl->no_start = true;
		break;
	case OPTION_HELP:
		if (args->verb != NULL)
			ctl_help_verb(args->verb);
		else
			ctl_help();
		exit(ctl_flush() ? CTL_EXIT_OK : CTL_EXIT_FAILURE);
	}
}

static int
give(struct ctl_args *args, const struct ctl_option *o)
{
	if (o->id < CTL_OPTION_GLOBAL)
		return o->id;
	take_global(args, o);
	return 0;
}

/* ---- one word ---- */

static int
next_value(struct ctl_args *args, const char *dashes, const char *name, int len)
{
	if (args->next == args->nwords) {
		ctl_usage(args, "%s%.*s wants a value", dashes, len, name);
		return -1;
	}
	args->value = args->words[args->next++];
	return 0;
}

/* An option's id; 0: a global one, go on; -1. */
static int
long_option(struct ctl_args *args, const char *text)
{
	size_t len = strcspn(text, "=");
	const struct ctl_option *o = find(args, 0, text, len);

	args->value = text[len] == '=' ? text + len + 1 : NULL;
	if (o == NULL) {
		ctl_usage(args, "unknown option --%.*s", (int)len, text);
		return -1;
	}
	if (o->arg == NULL && args->value != NULL) {
		ctl_usage(args, "--%s takes no value", o->name);
		return -1;
	}
	if (o->arg != NULL && args->value == NULL && next_value(args, "--", text, (int)len) != 0)
		return -1;
	return give(args, o);
}

static int
short_option(struct ctl_args *args)
{
	const char *at = args->cluster;
	const struct ctl_option *o = find(args, (unsigned char)at[0], NULL, 0);

	args->cluster = at[1] != '\0' ? at + 1 : NULL;
	args->value = NULL;
	if (o == NULL) {
		if (at[0] == 'h')
			return long_option(args, "help");
		ctl_usage(args, "unknown option -%c", at[0]);
		return -1;
	}
	if (o->arg != NULL) {
		args->value = args->cluster;
		args->cluster = NULL;
		if (args->value == NULL && next_value(args, "-", at, 1) != 0)
			return -1;
	}
	return give(args, o);
}

int
ctl_args_next(struct ctl_args *args)
{
	for (;;) {
		int id;

		if (args->cluster != NULL) {
			id = short_option(args);
		} else if (args->next == args->nwords) {
			return 0;
		} else {
			char *word = args->words[args->next];

			if (!args->only_words && strcmp(word, "--") == 0) {
				args->only_words = args->saw_separator = true;
				args->next++;
				continue;
			}
			if (args->only_words || word[0] != '-' || word[1] == '\0') {
				if (args->verb == NULL)
					return 0; /* the verb itself: it stays */
				if (args->verb->words == VERB_WORDS_COMMAND)
					args->only_words = true;
				/* Words gather at the front, in the places of what was taken. */
				args->argv[args->argc++] = word;
				args->next++;
				continue;
			}
			args->next++;
			if (word[1] == '-') {
				id = long_option(args, word + 2);
			} else {
				args->cluster = word + 1;
				continue;
			}
		}
		if (id != 0)
			return id;
	}
}
