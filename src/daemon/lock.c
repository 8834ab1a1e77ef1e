/*
 * The lock file. It is removed when the lock is dropped, so whoever locks one looks whether it
 * is still the file of that name.
 */
#include "daemon/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_PAUSE_MS 10 /* between two looks at a lock whose holder is dead … */
#define LOCK_TRIES 200   /* … and so many at most */

static bool
still_there(int fd, const char *path)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 && stat(path, &named) == 0 &&
	    opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

static pid_t
read_holder(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	pid = strtol(text, NULL, 10);
	return pid > 0 ? (pid_t)pid : 0;
}

static int
write_holder(int fd)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
		return errno != 0 ? -errno : -EIO;
	return 0;
}

/* Opens and locks once. A descriptor, or -errno. */
static int
try_lock(const char *path, pid_t *holder)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	int error;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	error = errno;
	*holder = read_holder(fd);
	close(fd);
	return -error;
}

/* A child that was forked and has not exec'ed when its parent died holds the lock for a moment. */
static bool
is_about_to_go(pid_t holder)
{
	return holder > 0 && kill(holder, 0) != 0 && errno == ESRCH;
}

int
lock_take(struct lock *lock, const char *path, pid_t *holder)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };
	int tries = LOCK_TRIES;
	int r;

	*holder = 0;
	lock->path = NULL;
	do {
		lock->fd = try_lock(path, holder);
		while (lock->fd == -EWOULDBLOCK && is_about_to_go(*holder) && --tries > 0) {
			nanosleep(&pause, NULL);
			lock->fd = try_lock(path, holder);
		}
		if (lock->fd < 0) {
			r = lock->fd;
			lock->fd = -1;
			return r;
		}
		if (still_there(lock->fd, path))
			break;
		close(lock->fd); /* its holder removed it in between: there is a new one, or none */
	} while (true);
	lock->path = strdup(path);
	r = lock->path != NULL ? write_holder(lock->fd) : -ENOMEM;
	if (r != 0)
		lock_drop(lock);
	return r;
}

void
lock_drop(struct lock *lock)
{
	if (lock->fd < 0)
		return;
	if (lock->path != NULL && still_there(lock->fd, lock->path))
		unlink(lock->path);
	close(lock->fd);
	free(lock->path);
	lock->fd = -1;
	lock->path = NULL;
}
