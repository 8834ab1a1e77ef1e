/*
 * Finds the socket and the state directory; turns long paths into addresses. Creates nothing.
 */
#include "core/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int __attribute__((format(printf, 3, 4)))
put(char *buf, size_t size, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(buf, size, format, ap);
	va_end(ap);
	return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* Ours, and nobody else has one of the permissions in `others`. */
static bool
is_own(const struct stat *st, mode_t others)
{
	return S_ISDIR(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & others) == 0;
}

static bool
own_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && is_own(&st, 022);
}

/* slotd.sock in `dir`. A directory that is there already is ours only if its owner and mode say
 * so: in /tmp anybody could have made it. */
static int
socket_in(const char *dir, mode_t others, char *buf, size_t size)
{
	struct stat st;
	int r = put(buf, size, "%s", dir);

	if (r != 0)
		return r;
	if (lstat(buf, &st) == 0 && !is_own(&st, others))
		return -EPERM;
	return put(buf, size, "%s/slotd.sock", dir);
}

int
slot_paths_socket(enum slot_paths_scope scope, char *buf, size_t size)
{
	const char *named = getenv("SLOTD_SOCKET");

	if (named != NULL && named[0] != '\0')
		return put(buf, size, "%s", named);
	return slot_paths_usual_socket(scope, buf, size);
}

int
slot_paths_usual_socket(enum slot_paths_scope scope, char *buf, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char dir[SLOT_PATHS_MAX];

	if (scope == SLOT_PATHS_SYSTEM)
		return put(buf, size, "/run/slotd/slotd.sock");
	/* After su or sudo the variable may still name somebody else's directory. */
	if (runtime != NULL && runtime[0] == '/' && own_directory(runtime)) {
		int r = put(dir, sizeof(dir), "%s/slotd", runtime);

		return r != 0 ? r : socket_in(dir, 022, buf, size);
	}
	snprintf(dir, sizeof(dir), "/run/user/%u", (unsigned)geteuid());
	if (own_directory(dir)) {
		strcat(dir, "/slotd");
		return socket_in(dir, 022, buf, size);
	}
	snprintf(dir, sizeof(dir), "/tmp/slotd-%u", (unsigned)geteuid());
	return socket_in(dir, 077, buf, size);
}

bool
slot_paths_is_user_socket(const char *path)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char usual[SLOT_PATHS_MAX];

	if (runtime != NULL &&
	    put(usual, sizeof(usual), "%s/slotd/slotd.sock", runtime) == 0 &&
	    strcmp(path, usual) == 0)
		return true;
	snprintf(usual, sizeof(usual), "/run/user/%u/slotd/slotd.sock", (unsigned)geteuid());
	if (strcmp(path, usual) == 0)
		return true;
	snprintf(usual, sizeof(usual), "/tmp/slotd-%u/slotd.sock", (unsigned)geteuid());
	return strcmp(path, usual) == 0;
}

int
slot_paths_state(enum slot_paths_scope scope, char *buf, size_t size)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	const struct passwd *pw;

	if (scope == SLOT_PATHS_SYSTEM)
		return put(buf, size, "/var/lib/slotd");
	if (state != NULL && state[0] == '/')
		return put(buf, size, "%s/slotd", state);
	if (home == NULL || home[0] != '/') {
		pw = getpwuid(geteuid());
		home = pw != NULL ? pw->pw_dir : NULL;
	}
	if (home == NULL || home[0] != '/')
		return -ENOENT;
	return put(buf, size, "%s/.local/state/slotd", home);
}

/* PATH's directory, opened only to be named through /proc; -errno. */
static int
open_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[SLOT_PATHS_MAX];
	size_t len = slash == NULL ? 0 : (size_t)(slash - path);
	int fd;

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len);
	dir[len] = '\0';
	fd = open(slash == NULL ? "." : len == 0 ? "/" : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

int
slot_paths_address_init(struct slot_paths_address *address, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	struct sockaddr_un *sa = &address->sa;
	int r;

	memset(address, 0, sizeof(*address));
	address->dir = -1;
	sa->sun_family = AF_UNIX;
	address->len = sizeof(*sa);
	if (name[0] == '\0')
		return -EINVAL;
	if (strlen(path) < sizeof(sa->sun_path))
		return put(sa->sun_path, sizeof(sa->sun_path), "%s", path);
	address->dir = open_directory(path);
	if (address->dir < 0) {
		r = address->dir;
		address->dir = -1;
		return r;
	}
	r = put(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", address->dir, name);
	if (r != 0)
		slot_paths_address_fini(address);
	return r;
}

void
slot_paths_address_fini(struct slot_paths_address *address)
{
	if (address->dir >= 0)
		close(address->dir);
	address->dir = -1;
}
