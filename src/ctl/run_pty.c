/* See run_pty.h. */
#include "ctl/run_pty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/ctl.h"
#include "ctl/sink.h"

#define PTY_PIECE 16384
/* A process that outlives the job may keep its terminal open: so long the last bytes of the job
 * itself may take. */
#define PTY_LINGER_MS 500
/* In the background: how often we look whether we were brought to the front. A shell says so
 * (CONT) only where we had been stopped. */
#define PTY_FRONT_MS 200

struct run_pty {
	int master;
	int slave;            /* -1 once the job has ended */
	int tty;              /* where input is read: 0, or the same opened again */
	struct termios modes; /* of the real terminal, as they were */
	bool raw;
	bool began;
	bool at_end; /* nothing more comes from the job */
	struct event *from_tty, *from_master, *winch, *cont, *tstp, *linger, *front;
	struct sink to_tty, to_master;
	void (*on_hangup)(void *arg);
	void (*on_flushed)(void *arg); /* NULL until the job has ended */
	void *arg;
};

/* ---- modes and size ---- */

/* From the background, too, which would otherwise stop us. */
static void
set_modes(const struct termios *modes)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, before;

	sigaction(SIGTTOU, &ignore, &before);
	tcsetattr(STDIN_FILENO, TCSANOW, modes);
	sigaction(SIGTTOU, &before, NULL);
}

/* The terminal's modes and keys are those of the process group in front; touching them from the
 * background would stop us. */
static bool
is_in_front(void)
{
	pid_t front = tcgetpgrp(STDIN_FILENO);

	return front < 0 || front == getpgrp(); /* below 0: it isn't our controlling terminal */
}

static void
watch_front(struct run_pty *p)
{
	const struct timeval pause = { .tv_usec = PTY_FRONT_MS * 1000 };

	event_add(p->front, &pause);
}

/* In front: raw, and its keys are the job's. In the background neither. */
static void
take_terminal(struct run_pty *p)
{
	struct termios raw = p->modes;

	if (p->raw || p->slave < 0)
		return;
	if (!is_in_front()) {
		event_del(p->from_tty);
		watch_front(p);
		return;
	}
	cfmakeraw(&raw);
	p->raw = true;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	if (sink_is_empty(&p->to_master))
		event_add(p->from_tty, NULL);
}

static void
on_front(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take_terminal(arg);
}

static void
restore(struct run_pty *p)
{
	if (p->raw)
		set_modes(&p->modes);
	p->raw = false;
}

static void
copy_size(struct run_pty *p)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(p->master, TIOCSWINSZ, &size);
}

/* ---- the relay ---- */

static void
finish_when_flushed(struct run_pty *p)
{
	void (*on_flushed)(void *arg) = p->on_flushed;

	if (!p->at_end || on_flushed == NULL || !sink_is_empty(&p->to_tty))
		return;
	p->on_flushed = NULL;
	on_flushed(p->arg);
}

static void
stop_output(struct run_pty *p)
{
	p->at_end = true;
	event_del(p->from_master);
	event_del(p->linger);
	finish_when_flushed(p);
}

static void
linger(struct run_pty *p)
{
	const struct timeval wait = { .tv_usec = PTY_LINGER_MS * 1000 };

	event_add(p->linger, &wait);
}

static void
on_linger(evutil_socket_t fd, short what, void *arg)
{
	struct run_pty *p = arg;

	(void)fd;
	(void)what;
	/* A reader that doesn't read is waited for: there may be more behind it. */
	if (sink_is_empty(&p->to_tty))
		stop_output(p);
}

/* A terminal that isn't raw makes CR LF of LF, as the job's has done already. */
static size_t
drop_returns(char *text, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\r' || i + 1 == len || text[i + 1] != '\n')
			text[kept++] = text[i];
	}
	return kept;
}

static void
on_master(evutil_socket_t fd, short what, void *arg)
{
	struct run_pty *p = arg;
	char buf[PTY_PIECE];
	ssize_t n = read((int)fd, buf, sizeof(buf));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* EIO: the session is over, and everything was read */
		stop_output(p);
		return;
	}
	sink_add(&p->to_tty, buf, p->raw ? (size_t)n : drop_returns(buf, (size_t)n));
	if (!sink_flush(&p->to_tty))
		event_del(p->from_master);
	if (p->on_flushed != NULL)
		linger(p);
}

static void
on_tty_drained(void *arg)
{
	struct run_pty *p = arg;

	if (!p->at_end)
		event_add(p->from_master, NULL);
	if (!p->at_end && p->on_flushed != NULL)
		linger(p);
	finish_when_flushed(p);
}

static void
on_tty(evutil_socket_t fd, short what, void *arg)
{
	struct run_pty *p = arg;
	char buf[PTY_PIECE];
	ssize_t n = read((int)fd, buf, sizeof(buf));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 && !is_in_front()) { /* put into the background meanwhile */
		p->raw = false;
		take_terminal(p);
		return;
	}
	if (n <= 0) {
		event_del(p->from_tty);
		p->on_hangup(p->arg);
		return;
	}
	sink_add(&p->to_master, buf, (size_t)n);
	if (!sink_flush(&p->to_master))
		event_del(p->from_tty);
}

static void
on_master_drained(void *arg)
{
	struct run_pty *p = arg;

	if (p->slave >= 0 && p->raw)
		event_add(p->from_tty, NULL);
}

/* ---- signals ---- */

static void
on_winch(evutil_socket_t signo, short what, void *arg)
{
	(void)signo;
	(void)what;
	copy_size(arg);
}

/* Stopped from outside (the keys go to the job): the shell wants its terminal as it was. */
static void
on_tstp(evutil_socket_t signo, short what, void *arg)
{
	struct run_pty *p = arg;

	(void)signo;
	(void)what;
	restore(p);
	raise(SIGSTOP);
}

static void
on_cont(evutil_socket_t signo, short what, void *arg)
{
	struct run_pty *p = arg;

	(void)signo;
	(void)what;
	if (!p->began || p->slave < 0)
		return;
	p->raw = false; /* whoever had stopped us has the modes that he wants */
	take_terminal(p);
	copy_size(p);
}

/* ---- life ---- */

static int
open_pair(struct run_pty *p)
{
	char path[64];

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->master < 0 || grantpt(p->master) != 0 || unlockpt(p->master) != 0 ||
	    ptsname_r(p->master, path, sizeof(path)) != 0)
		return -1;
	p->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->slave < 0 || tcsetattr(p->slave, TCSANOW, &p->modes) != 0)
		return -1;
	return fcntl(p->master, F_SETFL, O_RDWR | O_NONBLOCK);
}

static bool
make_events(struct run_pty *p, struct event_base *base)
{
	p->from_tty = event_new(base, p->tty, EV_READ | EV_PERSIST, on_tty, p);
	p->from_master = event_new(base, p->master, EV_READ | EV_PERSIST, on_master, p);
	p->winch = evsignal_new(base, SIGWINCH, on_winch, p);
	p->cont = evsignal_new(base, SIGCONT, on_cont, p);
	p->tstp = evsignal_new(base, SIGTSTP, on_tstp, p);
	p->linger = evtimer_new(base, on_linger, p);
	p->front = evtimer_new(base, on_front, p);
	return p->from_tty != NULL && p->from_master != NULL && p->winch != NULL &&
	    p->cont != NULL && p->tstp != NULL && p->linger != NULL && p->front != NULL &&
	    sink_init(&p->to_tty, base, STDOUT_FILENO, SINK_INHERITED, on_tty_drained, p) == 0 &&
	    sink_init(&p->to_master, base, p->master, SINK_NONBLOCKING, on_master_drained, p) == 0;
}

struct run_pty *
run_pty_new(struct event_base *base, void (*on_hangup)(void *arg), void *arg)
{
	struct run_pty *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		ctl_error("out of memory");
		return NULL;
	}
	p->master = p->slave = p->tty = -1;
	p->to_tty.fd = p->to_master.fd = -1;
	p->on_hangup = on_hangup;
	p->arg = arg;
	if (tcgetattr(STDIN_FILENO, &p->modes) != 0 || open_pair(p) != 0) {
		ctl_error("a terminal for the job: %s", strerror(errno));
		run_pty_free(p);
		return NULL;
	}
	p->tty = sink_reopen(STDIN_FILENO, O_RDONLY);
	if (p->tty < 0)
		p->tty = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (!make_events(p, base)) {
		ctl_error("out of memory");
		run_pty_free(p);
		return NULL;
	}
	copy_size(p);
	return p;
}

int
run_pty_job_fd(const struct run_pty *pty)
{
	return pty->slave;
}

void
run_pty_begin(struct run_pty *p)
{
	if (p->began)
		return;
	p->began = true;
	event_add(p->winch, NULL);
	event_add(p->cont, NULL);
	event_add(p->tstp, NULL);
	take_terminal(p);
	copy_size(p);
	event_add(p->from_master, NULL);
}

void
run_pty_end(struct run_pty *p, void (*on_flushed)(void *arg))
{
	event_del(p->from_tty);
	event_del(p->front);
	close(p->slave);
	p->slave = -1;
	p->on_flushed = on_flushed;
	if (p->at_end) {
		event_active(p->linger, EV_TIMEOUT, 0);
		return;
	}
	if (sink_is_empty(&p->to_tty))
		event_add(p->from_master, NULL);
	linger(p);
}

static void
drop_event(struct event *ev)
{
	if (ev != NULL)
		event_free(ev);
}

void
run_pty_free(struct run_pty *p)
{
	if (p == NULL)
		return;
	drop_event(p->from_tty);
	drop_event(p->from_master);
	drop_event(p->winch);
	drop_event(p->cont);
	drop_event(p->tstp);
	drop_event(p->linger);
	drop_event(p->front);
	sink_fini(&p->to_tty);
	sink_fini(&p->to_master);
	restore(p);
	if (p->master >= 0)
		close(p->master);
	if (p->slave >= 0)
		close(p->slave);
	if (p->tty >= 0)
		close(p->tty);
	free(p);
}
