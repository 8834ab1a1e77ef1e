/*
 * The listening socket of slotd. evconnlistener would call back without end when descriptors
 * run out; this accept loop goes to sleep for a second instead.
 */
#include "daemon/listener.h"
#include "core/paths.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 64
#define LISTEN_FDS_START 3

struct listener {
	struct listener_handlers handlers;
	void *arg;
	const struct slot_logger *logger;
	char *path; /* NULL: not ours to watch and remove */
	dev_t dev;
	ino_t ino;
	int fd;
	int watch_fd; /* inotify; -1: none */
	bool paused;
	struct event *accept_event;
	struct event *resume_event;
	struct event *watch_event;
};

/* ---- binding -------------------------------------------------------------------------------- */

/* 0: nothing there, or nobody listens and it was removed. */
static int
clear_stale(const struct slot_paths_address *address)
{
	const struct sockaddr *sa = (const struct sockaddr *)&address->sa;
	const char *path = address->sa.sun_path;
	struct stat st;
	int fd, r;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, sa, address->len) == 0 ? -EADDRINUSE : -errno;
	close(fd);
	if (r != -ECONNREFUSED)
		return r == -EAGAIN ? -EADDRINUSE : r;
	return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

/* The mode is narrow from the first moment and widened only when the group is right. */
static int
bind_private(int fd, const struct slot_paths_address *address, const struct listener_place *place)
{
	const char *path = address->sa.sun_path;
	mode_t mask = umask(0177);
	int r = bind(fd, (const struct sockaddr *)&address->sa, address->len) == 0 ? 0 : -errno;

	umask(mask);
	if (r != 0)
		return r;
	if ((place->group == (gid_t)-1 || chown(path, (uid_t)-1, place->group) == 0) &&
	    chmod(path, place->mode) == 0 && listen(fd, BACKLOG) == 0)
		return 0;
	r = -errno;
	unlink(path);
	return r;
}

int
listener_bind(const struct listener_place *place)
{
	struct slot_paths_address address;
	int fd = -1, r;

	r = slot_paths_address_init(&address, place->path);
	if (r != 0)
		return r;
	r = clear_stale(&address);
	if (r != 0)
		goto out;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd >= 0 ? bind_private(fd, &address, place) : -errno;
	if (r != 0 && fd >= 0)
		close(fd);
out:
	slot_paths_address_fini(&address);
	return r != 0 ? r : fd;
}

/* ---- a socket passed by the service manager ------------------------------------------------- */

static bool
is_listening_stream(int fd)
{
	int domain = 0, type = 0, listening = 0;
	socklen_t len = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening != 0;
}

int
listener_inherit(void)
{
	const char *pid = getenv("LISTEN_PID");
	const char *count = getenv("LISTEN_FDS");
	long n = 0;
	bool ours = pid != NULL && count != NULL && strtol(pid, NULL, 10) == (long)getpid();

	if (ours)
		n = strtol(count, NULL, 10);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (n <= 0)
		return -ENOENT;
	if (n != 1 || !is_listening_stream(LISTEN_FDS_START))
		return -EINVAL;
	fcntl(LISTEN_FDS_START, F_SETFD, FD_CLOEXEC);
	fcntl(LISTEN_FDS_START, F_SETFL, fcntl(LISTEN_FDS_START, F_GETFL) | O_NONBLOCK);
	return LISTEN_FDS_START;
}

void
listener_name(int fd, char *buf, size_t size)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa) - 1; /* the path may come without its NUL */

	if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 || sa.sun_path[0] == '\0')
		snprintf(buf, size, "?");
	else
		snprintf(buf, size, "%s", sa.sun_path);
}

/* ---- accepting ------------------------------------------------------------------------------ */

static void
pause_accepting(struct listener *l, int error)
{
	struct timeval second = { .tv_sec = 1 };

	if (!l->paused)
		slot_log(l->logger, SLOT_LOG_WARN, "accept paused error=%s", strerror(error));
	l->paused = true;
	event_del(l->accept_event);
	event_add(l->resume_event, &second);
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	event_add(l->accept_event, NULL);
}

void
listener_accept(struct listener *l)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int peer = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (peer >= 0) {
			if (l->paused)
				slot_log(l->logger, SLOT_LOG_INFO, "accept resumed");
			l->paused = false;
			l->handlers.on_connection(l->arg, peer);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* EMFILE, ENFILE, ENOBUFS, ENOMEM: no use in trying now. */
		pause_accepting(l, errno);
		return;
	}
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	listener_accept(arg);
}

/* ---- being removed -------------------------------------------------------------------------- */

static bool
still_ours(const struct listener *l)
{
	struct stat st;

	return lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	char events[4096] __attribute__((aligned(8)));

	(void)what;
	while (read(fd, events, sizeof(events)) > 0)
		continue;
	if (still_ours(l))
		return;
	event_del(l->watch_event);
	l->handlers.on_removed(l->arg);
}

/*
 * Watches the socket's inode, not its directory: in /tmp that would be a wakeup for everybody's
 * files. Unlinking changes the link count, which is IN_ATTRIB.
 */
static void
watch(struct listener *l, struct event_base *base)
{
	l->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	int error = 0;

	if (l->watch_fd < 0 ||
	    inotify_add_watch(
	        l->watch_fd, l->path, IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF) < 0)
		error = errno;
	if (l->watch_fd >= 0)
		l->watch_event = event_new(base, l->watch_fd, EV_READ | EV_PERSIST, on_watch, l);
	if (l->watch_event != NULL)
		event_add(l->watch_event, NULL);
	/* What was removed before the watch was there is told as if it were removed now. */
	if (l->watch_event != NULL && !still_ours(l))
		event_active(l->watch_event, EV_READ, 0);
	else if (error != 0)
		slot_log(l->logger, SLOT_LOG_WARN, "socket not watched path=%s error=%s", l->path,
		    strerror(error));
}

static bool
know_path(struct listener *l, const char *path)
{
	struct stat st;

	l->path = strdup(path);
	if (l->path == NULL || lstat(path, &st) != 0)
		return false;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return true;
}

struct listener *
listener_new(struct event_base *base, int fd, const char *path,
    const struct listener_handlers *handlers, void *arg, const struct slot_logger *logger)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		close(fd);
		return NULL;
	}
	l->handlers = *handlers;
	l->arg = arg;
	l->logger = logger;
	l->fd = fd;
	l->watch_fd = -1;
	l->accept_event = event_new(base, fd, EV_READ | EV_PERSIST, on_accept, l);
	l->resume_event = evtimer_new(base, on_resume, l);
	if (l->accept_event == NULL || l->resume_event == NULL ||
	    (path != NULL && !know_path(l, path)) || event_add(l->accept_event, NULL) != 0) {
		listener_free(l);
		return NULL;
	}
	if (path != NULL)
		watch(l, base);
	return l;
}

void
listener_free(struct listener *l)
{
	if (l == NULL)
		return;
	if (l->accept_event != NULL)
		event_free(l->accept_event);
	if (l->resume_event != NULL)
		event_free(l->resume_event);
	if (l->watch_event != NULL)
		event_free(l->watch_event);
	if (l->watch_fd >= 0)
		close(l->watch_fd);
	if (l->path != NULL && l->ino != 0 && still_ours(l))
		unlink(l->path);
	close(l->fd);
	free(l->path);
	free(l);
}
