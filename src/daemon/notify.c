/*
 * Readiness and watchdog. What systemd's manager hears is a datagram of a few lines to the socket in
 * NOTIFY_SOCKET; libsystemd does no more, and brings five libraries and a megabyte along.
 */
#include "daemon/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void
tell_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t length = path != NULL ? strlen(path) : 0;
	int fd;

	if (length < 2 || length >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, length);
	if (path[0] == '@')
		to.sun_path[0] = '\0'; /* an abstract name */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
	close(fd);
}

int
notify_check_fd(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void
notify_ready(int ready_fd)
{
	static const char text[] = "READY=1\n";
	ssize_t n;

	tell_manager("READY=1");
	if (ready_fd < 0)
		return;
	n = write(ready_fd, text, sizeof(text) - 1);
	(void)n; /* who isn't listening any more didn't want to know */
	close(ready_fd);
}

/* Type=notify-reload wants the time, so that it can tell this reload from an earlier one. */
void
notify_reloading(void)
{
	struct timespec now;
	char state[96];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	tell_manager(state);
}

void
notify_stopping(void)
{
	tell_manager("STOPPING=1");
}

/* A variable that is a positive number all through, or 0. */
static unsigned long long
number_in(const char *variable)
{
	const char *text = getenv(variable);
	unsigned long long n;
	char *end;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? n : 0;
}

unsigned long long
notify_watchdog_us(void)
{
	/* Without a pid it is meant for every process of the unit. */
	if (getenv("WATCHDOG_PID") != NULL &&
	    number_in("WATCHDOG_PID") != (unsigned long long)getpid())
		return 0;
	return number_in("WATCHDOG_USEC") / 2;
}

void
notify_alive(void)
{
	tell_manager("WATCHDOG=1");
}
