#ifndef DAEMON_PLACES_H
#define DAEMON_PLACES_H
/*
 * Where this daemon finds and puts things: its socket, that socket's directory, the launcher,
 * the state directory.
 */
#include "daemon/config.h"
#include "daemon/options.h"

#include <stddef.h>

#define PLACES_MAX 4096

struct places {
	char socket[PLACES_MAX];
	char lock[PLACES_MAX + 8]; /* SOCKET.lock */
	char launcher[PLACES_MAX];
	char state[PLACES_MAX];    /* durable: the state directory; otherwise empty */
	char state_lock[PLACES_MAX + 8];
	char launcher_socket[PLACES_MAX + 16];
};

/*
 * Socket: --socket, $SLOTD_SOCKET, [socket] path, the usual place; the directory of the usual
 * place is made. Launcher: --launcher, $SLOTD_LAUNCHER, beside this program, `built_in`.
 * 0, or -1 with one line in `why`.
 */
int places_find(struct places *places, const struct options *options, const struct config *config,
    const char *built_in, char *why, size_t why_size);

/*
 * The state directory: --state-dir, or the usual one. Made where it is missing (0700), and refused
 * where it is not ours alone. 0, or -1 with one line in `why`.
 */
int places_find_state(struct places *places, const struct options *options, char *why,
    size_t why_size);
/* May a state directory that is there be used? 0, or -1 with one line in `why`. */
int places_check_state(const struct places *places, char *why, size_t why_size);
/* Its name alone: nothing is made, nothing looked at. */
int places_name_state(struct places *places, const struct options *options, char *why,
    size_t why_size);

#endif
