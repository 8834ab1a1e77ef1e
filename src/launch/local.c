/* Binding and connecting by path; a path that is too long goes by its directory's descriptor. */
#define _GNU_SOURCE 1
#include "launch/local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8
#define NEW_SUFFIX ".new" /* of the socket that is about to take its place */

/* The directory and the name in it. */
struct place {
	int dir; /* O_PATH */
	char name[NAME_MAX + 1];
};

static int place_open(struct place *p, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char dir[PATH_MAX] = ".";
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (!*name || strlen(name) + sizeof(NEW_SUFFIX) > sizeof(p->name) || len >= sizeof(dir))
		return -ENAMETOOLONG;
	if (slash) {
		memcpy(dir, path, len);
		memcpy(dir + len, len ? "" : "/", len ? 1 : 2);
	}
	strcpy(p->name, name);
	p->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return p->dir < 0 ? -errno : 0;
}

/* The address of `name` in the directory. 0 or -errno. */
static int place_address(const struct place *p, const char *path, const char *name,
    struct sockaddr_un *addr)
{
	int n;

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (strlen(path) < sizeof(addr->sun_path)) {
		strcpy(addr->sun_path, path);
		return 0;
	}
	n = snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", p->dir, name);
	return n < 0 || (size_t)n >= sizeof(addr->sun_path) ? -ENAMETOOLONG : 0;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int close_with(int fd, int error)
{
	close(fd);
	return error;
}

static int connect_in(const struct place *p, const char *path)
{
	struct sockaddr_un addr;
	int error = place_address(p, path, p->name, &addr), fd;

	if (error)
		return error;
	fd = new_socket();
	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return close_with(fd, -errno);
	return fd;
}

int local_connect(const char *path)
{
	struct place p;
	int error = place_open(&p, path), fd;

	if (error)
		return error;
	fd = connect_in(&p, path);
	close(p.dir);
	return fd;
}

static int check_directory(const struct place *p)
{
	struct stat st;

	if (fstat(p->dir, &st) < 0)
		return -errno;
	return st.st_uid == geteuid() && !(st.st_mode & 077) ? 0 : -EPERM;
}

/* Nobody listens at our name: nothing is there, or a socket that was left. 0 or -errno. */
static int check_free(const struct place *p, const char *path)
{
	struct stat st;
	int fd;

	if (fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = connect_in(p, path);
	if (fd >= 0)
		return close_with(fd, -EADDRINUSE);
	return fd == -ECONNREFUSED || fd == -ENOENT ? 0 : fd == -EAGAIN ? -EADDRINUSE : fd;
}

/* Bound beside its place and moved there when it listens: nobody ever finds it half made. */
static int listen_in(const struct place *p, const char *path)
{
	char name[sizeof(p->name) + sizeof(NEW_SUFFIX)], whole[PATH_MAX + sizeof(NEW_SUFFIX)];
	struct sockaddr_un addr;
	int error, fd;

	snprintf(name, sizeof(name), "%s" NEW_SUFFIX, p->name);
	snprintf(whole, sizeof(whole), "%s" NEW_SUFFIX, path);
	error = place_address(p, whole, name, &addr);
	if (error)
		return error;
	fd = new_socket();
	if (fd < 0)
		return fd;
	if (unlinkat(p->dir, name, 0) < 0 && errno != ENOENT)
		return close_with(fd, -errno);
	/* The file gets its mode from the socket, less the umask. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return close_with(fd, -errno);
	if (fchmodat(p->dir, name, 0600, 0) == 0 && listen(fd, BACKLOG) == 0 &&
	    renameat(p->dir, name, p->dir, p->name) == 0)
		return fd;
	error = -errno;
	unlinkat(p->dir, name, 0);
	return close_with(fd, error);
}

int local_listen(const char *path)
{
	struct place p;
	int result = place_open(&p, path);

	if (result)
		return result;
	result = check_directory(&p);
	if (!result)
		result = check_free(&p, path);
	if (!result)
		result = listen_in(&p, path);
	close(p.dir);
	return result;
}

bool local_peer_is_us(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    peer.uid == geteuid();
}
