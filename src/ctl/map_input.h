#ifndef CTL_MAP_INPUT_H
#define CTL_MAP_INPUT_H
/*
 * The items of map's input, taken one by one: no more is read than is needed to find the next,
 * and never waited for inside a call (but in a dry run, which has nothing else to do).
 */
#include <stdbool.h>
#include <stddef.h>

struct event;
struct event_base;

/* The kernel takes no longer argument. */
#define MAP_INPUT_ITEM_MAX 131071

enum map_input_result {
	MAP_INPUT_ITEM,
	MAP_INPUT_TOO_LONG, /* there was one, but longer than MAP_INPUT_ITEM_MAX: left out */
	MAP_INPUT_WAIT,     /* none yet; `ready` will be called */
	MAP_INPUT_END,
	MAP_INPUT_FAILED, /* with errno */
};

/* Fields are the module's own. */
struct map_input {
	int fd;
	bool own;
	bool nonblocking;
	bool at_end;
	bool skipping; /* inside an item that is too long */
	char delimiter;
	char *buffer;
	size_t start, scanned, end; /* of what was read and not yet given out */
	struct event *readable; /* NULL: a read never has to wait, or may */
	void (*ready)(void *arg);
	void *arg;
};

/* Opens `file`, or stdin (NULL). `base` NULL: reads may wait. 0, or -1 with errno. */
int map_input_open(struct map_input *in, struct event_base *base, const char *file,
    char delimiter, void (*ready)(void *arg), void *arg);

/* The next item, borrowed until the next call. */
enum map_input_result map_input_next(struct map_input *in, const char **text, size_t *len);

void map_input_close(struct map_input *in);

#endif
