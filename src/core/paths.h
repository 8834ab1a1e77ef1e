#ifndef CORE_PATHS_H
#define CORE_PATHS_H
/*
 * Where daemon and clients meet: the path of the socket, and addresses for paths of any length.
 * Both sides use this, so that they can't disagree.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

enum slot_paths_scope { SLOT_PATHS_USER, SLOT_PATHS_SYSTEM };

#define SLOT_PATHS_MAX 4096

/*
 * The socket that a program uses where none is named: $SLOTD_SOCKET, else /run/slotd/slotd.sock
 * (system), else slotd.sock in the first of $XDG_RUNTIME_DIR/slotd, /run/user/UID/slotd and
 * /tmp/slotd-UID. A runtime directory counts only if it is the caller's and nobody else may write
 * to it. 0; -ENAMETOOLONG; -EPERM: the socket's own directory is there and belongs to somebody
 * else, or others may write to it (buf names it then).
 */
int slot_paths_socket(enum slot_paths_scope scope, char *buf, size_t size);
/* The same without a look at $SLOTD_SOCKET. */
int slot_paths_usual_socket(enum slot_paths_scope scope, char *buf, size_t size);
/* Whether `path` is one of the caller's own places, whatever is there by now: only a process of
 * the caller has any business to listen there. */
bool slot_paths_is_user_socket(const char *path);

/* The state directory: /var/lib/slotd, or $XDG_STATE_HOME/slotd, or ~/.local/state/slotd.
 * 0, -ENAMETOOLONG, or -ENOENT when there is no home. */
int slot_paths_state(enum slot_paths_scope scope, char *buf, size_t size);

/* A socket's path in a form that bind and connect take, whatever its length. */
struct slot_paths_address {
	struct sockaddr_un sa;
	socklen_t len;
	int dir; /* holds the directory open for a long path; -1: not needed */
};

/* 0 or a negative errno. The address is good until slot_paths_address_fini. */
int slot_paths_address_init(struct slot_paths_address *address, const char *path);
void slot_paths_address_fini(struct slot_paths_address *address);

#endif
