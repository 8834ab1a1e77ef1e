/* Accepting engines, watching the socket's file, and knowing when to leave. */
#define _GNU_SOURCE 1
#include "launcher/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "launch/local.h"
#include "launcher/end.h"
#include "launcher/launcher.h"
#include "launcher/log.h"
#include "launcher/sys.h"
#include "launcher/tell.h"

#define RETRY_US 100000   /* after a connection that could not be taken */
#define LOOK_US 5000000   /* between two looks at the file, without inotify */

void listen_init(struct listen *s)
{
	memset(s, 0, sizeof(*s));
	s->fd = s->notify_fd = s->dir_fd = s->reserve_fd = -1;
}

bool listen_is_open(const struct launcher *l)
{
	return l->listen.fd >= 0 && !l->listen.orphaned;
}

/* ---- the file ---- */

static void find_file(struct listen *s, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char dir[PATH_MAX];
	struct stat st;
	size_t len = slash ? (size_t)(slash - path) + 1 : 0;

	if (!slash || len >= sizeof(dir) || !*name || strlen(name) >= sizeof(s->name))
		return;
	memcpy(dir, path, len);
	dir[len] = 0;
	s->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0 || fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISSOCK(st.st_mode)) {
		log_warn("no socket to be found at %s", path);
		if (s->dir_fd >= 0)
			close(s->dir_fd);
		s->dir_fd = -1;
		return;
	}
	strcpy(s->name, name);
	s->dev = st.st_dev;
	s->ino = st.st_ino;
}

void listen_take(struct launcher *l, int fd, const char *path)
{
	struct listen *s = &l->listen;
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);
	char own[sizeof(addr.sun_path) + 1];

	s->fd = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (!path && getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
	    addr.sun_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path)) {
		memset(own, 0, sizeof(own));
		memcpy(own, addr.sun_path, len - offsetof(struct sockaddr_un, sun_path));
		/* By way of /proc it is the binder's name, not ours; without '/', no file's. */
		if (own[0] == '/' && strncmp(own, "/proc/", 6) != 0)
			path = own;
	}
	if (path)
		find_file(s, path);
}

static bool file_is_ours(const struct listen *s)
{
	struct stat st;

	return fstatat(s->dir_fd, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == s->dev && st.st_ino == s->ino;
}

static void look(struct launcher *l)
{
	struct listen *s = &l->listen;

	s->look_us = sys_now_us() + LOOK_US;
	if (s->orphaned || s->dir_fd < 0 || file_is_ours(s))
		return;
	log_warn("the socket %s was deleted or replaced: every job is ended", s->name);
	s->orphaned = true;
	if (l->engine.fd < 0)
		tell_drop_all(l); /* nobody will ever ask for what was kept */
	end_all(l);
}

void listen_on_notify(struct launcher *l)
{
	_Alignas(struct inotify_event) char buf[4096];

	while (read(l->listen.notify_fd, buf, sizeof(buf)) > 0)
		continue;
	look(l);
}

/* Watches the file itself: a change of its link count is told, whatever else its directory has. */
static void watch_file(struct launcher *l)
{
	struct listen *s = &l->listen;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = NOTIFY_TAG};
	char path[64 + NAME_MAX];

	if (s->dir_fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", s->dir_fd, s->name);
	s->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->notify_fd >= 0 &&
	    (inotify_add_watch(s->notify_fd, path,
		IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_DONT_FOLLOW) < 0 ||
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->notify_fd, &event) < 0)) {
		close(s->notify_fd);
		s->notify_fd = -1;
	}
	look(l); /* it may have gone before */
}

/* ---- connections ---- */

static void arm(struct launcher *l, bool on)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = LISTEN_TAG};

	if (l->listen.armed == on)
		return;
	l->listen.armed = on;
	epoll_ctl(l->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, l->listen.fd, &event);
}

int listen_watch(struct launcher *l)
{
	struct listen *s = &l->listen;

	if (s->fd < 0)
		return 0;
	if (l->engine.fd < 0)
		listen_again(l);
	watch_file(l);
	return 0;
}

void listen_again(struct launcher *l)
{
	struct listen *s = &l->listen;

	if (s->fd < 0)
		return;
	s->idle_us = 0;
	if (s->reserve_fd < 0)
		s->reserve_fd = fcntl(l->spawner.null_fd, F_DUPFD_CLOEXEC, 3);
	arm(l, true);
}

static int accept_one(struct listen *s)
{
	int fd;

	do
		fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd;
}

void listen_on_connection(struct launcher *l)
{
	struct listen *s = &l->listen;
	int fd;

	if (l->engine.fd >= 0)
		return;
	s->retry_us = 0;
	if (s->reserve_fd >= 0)
		close(s->reserve_fd);
	s->reserve_fd = -1;
	while ((fd = accept_one(s)) >= 0 && !local_peer_is_us(fd)) {
		log_warn("refused a connection of another user");
		close(fd);
	}
	if (fd >= 0) {
		arm(l, false);
		engine_take(l, fd);
		return;
	}
	if (errno != EAGAIN) {
		arm(l, false);
		s->retry_us = sys_now_us() + RETRY_US;
	} else {
		listen_again(l);
	}
}

/* ---- leaving ---- */

bool listen_is_over(struct launcher *l)
{
	struct listen *s = &l->listen;
	int64_t now;

	if (s->fd < 0)
		return false;
	now = sys_now_us();
	if (s->retry_us && l->engine.fd < 0 && now >= s->retry_us)
		listen_on_connection(l);
	if (s->dir_fd >= 0 && s->notify_fd < 0 && now >= s->look_us)
		look(l);
	if (l->engine.fd >= 0 || l->table.used || l->stopping) {
		s->idle_us = 0;
		return false;
	}
	if (!s->idle_us)
		s->idle_us = now;
	if (now - s->idle_us < LISTEN_LINGER_MS * 1000)
		return false;
	listen_on_connection(l); /* whoever has come in this moment is still served */
	return l->engine.fd < 0;
}

int64_t listen_next_us(const struct launcher *l)
{
	const struct listen *s = &l->listen;
	int64_t next = -1;

	if (s->fd < 0)
		return -1;
	if (s->idle_us)
		next = s->idle_us + LISTEN_LINGER_MS * 1000;
	if (s->retry_us && l->engine.fd < 0 && (next < 0 || s->retry_us < next))
		next = s->retry_us;
	if (s->dir_fd >= 0 && s->notify_fd < 0 && !s->orphaned && (next < 0 || s->look_us < next))
		next = s->look_us;
	return next;
}
