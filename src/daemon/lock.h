#ifndef DAEMON_LOCK_H
#define DAEMON_LOCK_H
/*
 * One daemon per place: flock on a file that holds the owner's pid. The kernel drops the lock
 * when its holder dies, so a file that is left over blocks nobody.
 */
#include <sys/types.h>

struct lock {
	int fd; /* -1: not held */
	char *path;
};

/*
 * Takes the lock without waiting. 0; -EWOULDBLOCK: somebody has it (*holder: its pid, 0 where
 * the file doesn't say); another negative errno.
 */
int lock_take(struct lock *lock, const char *path, pid_t *holder);
/* Removes the file and lets go. Not held: nothing happens. */
void lock_drop(struct lock *lock);

#endif
