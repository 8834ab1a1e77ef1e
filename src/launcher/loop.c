/* The turn of the launcher. Nothing in it waits but epoll. */
#define _GNU_SOURCE 1
#include "launcher/loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "launcher/end.h"
#include "launcher/log.h"
#include "launcher/reap.h"
#include "launcher/sys.h"

#define SETTLE_MAX 4

static int watch(struct launcher *l, int fd, uint64_t tag, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = tag};

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void on_term(struct launcher *l)
{
	struct job *job = NULL;

	if (!l->stopping) {
		end_all(l);
		return;
	}
	/* A second one: no grace any more. */
	while ((job = table_next(&l->table, job)))
		end_job(l, job, LAUNCH_CAUSE_SHUTDOWN, 0);
}

static void read_signals(struct launcher *l)
{
	struct signalfd_siginfo info[4];
	ssize_t n = read(l->signal_fd, info, sizeof(info));

	for (ssize_t i = 0; i < n / (ssize_t)sizeof(info[0]); i++) {
		if (info[i].ssi_signo == SIGCHLD)
			reap_orphans(l);
		else if (info[i].ssi_signo == SIGHUP)
			upgrade_begin(l, false);
		else
			on_term(l);
	}
}

static void on_engine(struct launcher *l, uint32_t events)
{
	/* The engine has gone: what it had not been read of is not done any more. */
	if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		engine_lost(l);
	else if (events & EPOLLIN)
		engine_receive(l);
}

/* Leaders that ended come first, so that no request is taken for a job that is over. */
static void dispatch(struct launcher *l, const struct epoll_event *events, int n)
{
	uint32_t engine_events = 0;
	bool signals = false, notify = false, connection = false;

	for (int i = 0; i < n; i++) {
		if (events[i].data.u64 == ENGINE_TAG)
			engine_events = events[i].events;
		else if (events[i].data.u64 == SIGNAL_TAG)
			signals = true;
		else if (events[i].data.u64 == LISTEN_TAG)
			connection = true;
		else if (events[i].data.u64 == NOTIFY_TAG)
			notify = true;
		else
			reap_on_pidfd(l, &l->table.jobs[events[i].data.u64]);
	}
	if (signals)
		read_signals(l);
	if (engine_events)
		on_engine(l, engine_events);
	if (notify)
		listen_on_notify(l);
	if (connection)
		listen_on_connection(l);
}

static int64_t earlier(int64_t a, int64_t b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

/* Milliseconds until something is due; -1: nothing is. */
static int wait_ms(const struct launcher *l)
{
	int64_t due = timers_next_us(&l->timers), ms;

	if (l->stopping)
		due = earlier(due, l->leave_us);
	if (l->tell.retry_us)
		due = earlier(due, l->tell.retry_us);
	due = earlier(due, listen_next_us(l));
	due = earlier(due, upgrade_next_us(l));
	if (l->look_again)
		return 1;
	if (due < 0)
		return -1;
	ms = (due - sys_now_us() + 999) / 1000;
	if (ms < 0)
		return 0;
	return ms > 3600 * 1000 ? 3600 * 1000 : (int)ms;
}

static void run_timers(struct launcher *l)
{
	int64_t now;
	struct job *job;

	if (timers_next_us(&l->timers) < 0)
		return;
	now = sys_now_us();
	while ((job = timers_take_due(&l->timers, now)))
		end_on_timer(l, job);
}

/* Stopping: nothing is left, or it has lasted long enough. */
static bool may_leave(struct launcher *l)
{
	if (l->table.active == 0 && engine_is_done(l))
		return true;
	/* Only the acknowledgements are awaited now. */
	if (l->table.active == 0 && l->leave_us > sys_now_us() + ACK_WAIT_MS * 1000)
		l->leave_us = sys_now_us() + ACK_WAIT_MS * 1000;
	return sys_now_us() >= l->leave_us;
}

static bool is_over(struct launcher *l)
{
	bool unwanted = listen_is_over(l);

	return unwanted || (l->stopping && may_leave(l));
}

int loop_run(struct launcher *l)
{
	int n;

	if (watch(l, l->signal_fd, SIGNAL_TAG, EPOLLIN) < 0 ||
	    (l->engine.fd >= 0 && engine_watch(l) < 0) || listen_watch(l) < 0) {
		log_error("epoll_ctl failed: errno=%d", errno);
		return -1;
	}
	/* Of what ended while an earlier binary became this one, no signal is left. */
	reap_orphans(l);
	engine_flush(l);
	while (!is_over(l)) {
		n = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, wait_ms(l));
		dispatch(l, l->events, n);
		run_timers(l);
		l->look_around |= l->look_again;
		l->look_again = false;
		for (int i = 0; i < SETTLE_MAX && l->look_around; i++)
			reap_settle(l);
		upgrade_turn(l);
		engine_flush(l);
	}
	if (l->table.active)
		log_warn("leaves %u jobs that could not be ended", l->table.active);
	return l->table.active ? -1 : 0;
}
