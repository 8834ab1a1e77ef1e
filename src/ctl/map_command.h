#ifndef CTL_MAP_COMMAND_H
#define CTL_MAP_COMMAND_H
/*
 * map's command line, and the argv made from it for an item.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Fields are the module's own. */
struct map_command {
	char *const *words; /* borrowed */
	int nwords;
	const char *placeholder; /* borrowed */
	bool shell;              /* the words are a line of sh: items come quoted */
	bool append;             /* no word has the placeholder: the item comes last */
	json_t **fixed;          /* words without the placeholder, made once; NULL: has it */
};

/* 0, or -1: out of memory. */
int map_command_init(struct map_command *c, char *const *words, int nwords,
    const char *placeholder, bool shell);

/* The argv for an item; *bytes is what its words take, NULs included. NULL: out of memory. */
json_t *map_command_argv(const struct map_command *c, const char *item, size_t len,
    size_t *bytes);

/* How many words an argv has. */
size_t map_command_words(const struct map_command *c);

void map_command_fini(struct map_command *c);

#endif
