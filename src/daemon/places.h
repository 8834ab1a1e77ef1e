#ifndef DAEMON_PLACES_H
#define DAEMON_PLACES_H
/*
 * Where this daemon finds and puts things: its socket, that socket's directory, the launcher.
 */
#include "daemon/config.h"
#include "daemon/options.h"

#include <stddef.h>

#define PLACES_MAX 4096

struct places {
	char socket[PLACES_MAX];
	char lock[PLACES_MAX + 8]; /* SOCKET.lock */
	char launcher[PLACES_MAX];
};

/*
 * Socket: --socket, $SLOTD_SOCKET, [socket] path, the usual place; the directory of the usual
 * place is made. Launcher: --launcher, $SLOTD_LAUNCHER, beside this program, `built_in`.
 * 0, or -1 with one line in `why`.
 */
int places_find(struct places *places, const struct options *options, const struct config *config,
    const char *built_in, char *why, size_t why_size);

#endif
