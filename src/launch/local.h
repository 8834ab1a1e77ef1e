#ifndef LAUNCH_LOCAL_H
#define LAUNCH_LOCAL_H
/*
 * The socket where a launcher listens, by its path; libc only. Paths may be longer than a
 * sun_path. Descriptors are SEQPACKET, close-on-exec and don't block.
 */
#include <stdbool.h>

/* A connection, or -errno: -ENOENT or -ECONNREFUSED where nobody listens. */
int local_connect(const char *path);
/*
 * A listening socket at `path`, mode 0600; what was there, a socket where nobody listens, is
 * replaced at once. Its directory must be our own and closed to others. Or -errno: -EADDRINUSE
 * where someone listens, -EPERM for the directory, -ENOTSOCK for what is no socket.
 */
int local_listen(const char *path);
/* The other end runs (or began to listen) as our own user. */
bool local_peer_is_us(int fd);

#endif
