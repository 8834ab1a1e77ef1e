/*
 * Readiness and watchdog. Without libsystemd only --ready-fd remains.
 */
#include "daemon/notify.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

static void
tell_manager(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#else
	(void)state;
#endif
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

unsigned long long
notify_watchdog_us(void)
{
#ifdef HAVE_SYSTEMD
	uint64_t us = 0;

	if (sd_watchdog_enabled(0, &us) > 0)
		return us / 2;
#endif
	return 0;
}

void
notify_alive(void)
{
	tell_manager("WATCHDOG=1");
}
