/*
 * slotd-launcher: starts jobs for slotd, is their parent, and tells how they ended. Options and
 * what has to be set up once; everything else is in the modules that loop.c calls.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/local.h"
#include "launcher/child.h"
#include "launcher/launcher.h"
#include "launcher/log.h"
#include "launcher/loop.h"
#include "launcher/state.h"
#include "launcher/sys.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define EXIT_USAGE 2
#define JOBS_DEFAULT 4096
#define JOBS_MAX (1024 * 1024)
#define GRACE_DEFAULT_MS 5000
#define FDS_BESIDE_JOBS 64
#define FDS_OF_A_JOB 4u /* a pidfd, and what is kept for engines to come */

/* Where they are from the start on. */
#define ENGINE_FD 3
#define NULL_FD 4

struct options {
	int engine_fd;       /* connected or listening; -1: none given */
	const char *socket;  /* where the listening one is or has to be made; NULL: not said */
	int state_fd;        /* an earlier binary's, which we take over from; -1: none */
	uint32_t jobs;
	int64_t grace_ms;
};

enum {
	OPT_ENGINE_FD = 1,
	OPT_ENGINE_SOCKET,
	OPT_JOBS,
	OPT_GRACE,
	OPT_STATE_FD,
	OPT_CHECK_STATE_FD,
	OPT_LATER,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
    {"engine-fd", required_argument, NULL, OPT_ENGINE_FD},
    {"jobs", required_argument, NULL, OPT_JOBS},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"engine-socket", required_argument, NULL, OPT_ENGINE_SOCKET},
    {"state-fd", required_argument, NULL, OPT_STATE_FD},
    {"check-state-fd", required_argument, NULL, OPT_CHECK_STATE_FD},
    {"identity", required_argument, NULL, OPT_LATER},
    {"uid-floor", required_argument, NULL, OPT_LATER},
    {"cgroup", required_argument, NULL, OPT_LATER},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "usage: slotd-launcher --engine-fd N | --engine-socket PATH [--jobs N] [--grace MS]\n"
    "\n"
    "Starts jobs for slotd, which runs it; it is of no use by hand.\n"
    "\n"
    "  --engine-fd N         the engine is at the other end of this SEQPACKET socket, or connects\n"
    "                        to it where it listens; jobs then outlive the engine\n"
    "  --engine-socket PATH  where to listen, or where --engine-fd does; a socket that systemd\n"
    "                        passes goes before. HUP executes the binary anew, and keeps jobs\n"
    "  --jobs N              room for N jobs, running or not acknowledged (4096)\n"
    "  --grace MS            time between TERM and KILL where a job names none (5000)\n"
    "  --identity WHO        not available in this build\n"
    "  --uid-floor N         not available in this build\n"
    "  --cgroup PATH         not available in this build\n"
    "  --help, --version\n";

static _Noreturn void usage_error(const char *what, const char *value)
{
	fprintf(stderr, "slotd-launcher: %s%s%s\nTry 'slotd-launcher --help'.\n", what,
	    value ? ": " : "", value ? value : "");
	exit(EXIT_USAGE);
}

static long long number(const char *name, const char *text, long long least, long long most)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || end == text || *end || v < least || v > most) {
		fprintf(stderr, "slotd-launcher: --%s takes a number from %lld to %lld, not '%s'\n",
		    name, least, most, text);
		exit(EXIT_USAGE);
	}
	return v;
}

static void print_and_exit(const char *text)
{
	int error = fputs(text, stdout) < 0 || fflush(stdout) != 0;

	exit(error ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* The first descriptor that systemd passes, or -1. */
static int activation_fd(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	bool ours = pid && fds && atol(pid) == (long)getpid() && atoi(fds) >= 1;

	/* No job is to take them for its own. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ours ? ENGINE_FD : -1;
}

/* Before the binary that runs gives its place to us: could we read what it will leave? */
static _Noreturn void check_state(int fd)
{
	const char *why;

	if (!state_open(fd, &why)) {
		log_error("can't take over the launcher's state: %s", why);
		exit(EXIT_FAILURE);
	}
	exit(STATE_EXIT_YES);
}

static void read_options(struct options *o, int argc, char **argv)
{
	int opt, index = 0;

	*o = (struct options){.engine_fd = -1, .state_fd = -1, .jobs = JOBS_DEFAULT,
	    .grace_ms = GRACE_DEFAULT_MS};
	while ((opt = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		switch (opt) {
		case OPT_ENGINE_FD:
			o->engine_fd = (int)number("engine-fd", optarg, 3, 1024 * 1024);
			break;
		case OPT_ENGINE_SOCKET:
			if (optarg[0] != '/')
				usage_error("--engine-socket takes an absolute path", NULL);
			o->socket = optarg;
			break;
		case OPT_STATE_FD:
			o->state_fd = (int)number("state-fd", optarg, 3, INT_MAX);
			break;
		case OPT_CHECK_STATE_FD:
			check_state((int)number("check-state-fd", optarg, 3, INT_MAX));
		case OPT_JOBS:
			o->jobs = (uint32_t)number("jobs", optarg, 1, JOBS_MAX);
			break;
		case OPT_GRACE:
			o->grace_ms = number("grace", optarg, 0, 24 * 3600 * 1000);
			break;
		case OPT_LATER:
			fprintf(stderr, "slotd-launcher: --%s is not available in this build\n",
			    long_options[index].name);
			exit(EXIT_USAGE);
		case OPT_HELP:
			print_and_exit(help);
			break;
		case OPT_VERSION:
			print_and_exit("slotd-launcher " PACKAGE_VERSION "\n");
			break;
		default:
			usage_error("unknown or incomplete option", NULL);
		}
	}
	if (optind < argc)
		usage_error("unexpected argument", argv[optind]);
	if (o->engine_fd < 0)
		o->engine_fd = activation_fd();
	if (o->engine_fd < 0 && !o->socket && o->state_fd < 0)
		usage_error("--engine-fd or --engine-socket is required", NULL);
}

static _Noreturn void die(const char *what)
{
	log_error("%s: %s", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* Children inherit no handler and nothing that is ignored: all is default here, and blocked. */
static int open_signals(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t set;

	for (int sig = 1; sig <= SIGRTMAX; sig++)
		sys_ignore_no_more(sig);
	dfl.sa_flags = SA_NOCLDSTOP;
	sigaction(SIGCHLD, &dfl, NULL);
	sigfillset(&set);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&set, faults[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool is_seqpacket(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return false;
	errno = EPROTOTYPE;
	return type == SOCK_SEQPACKET;
}

static bool is_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

/* In a binary that takes over, 0, 1 and 2 are right already, and what else is open is needed. */
static void open_null(struct launcher *l)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	l->spawner.null_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, NULL_FD);
	if (l->spawner.null_fd < 0)
		die("/dev/null");
	close(fd);
}

/* Of what came in, 0, 1, 2 and the engine's socket (if there is one) stay, that as ENGINE_FD; 0 and
 * 1 become /dev/null. */
static void tidy_descriptors(struct launcher *l, int engine_fd)
{
	int fd;

	if (engine_fd >= 0 && !is_seqpacket(engine_fd))
		die("--engine-fd");
	do /* fills 0, 1 and 2 if they were closed, or a descriptor of ours would land there */
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		die("/dev/null");
	/* First out of the way, then to their places, and everything above goes. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, NULL_FD + 1);
	if (engine_fd >= 0)
		engine_fd = fcntl(engine_fd, F_DUPFD_CLOEXEC, NULL_FD + 1);
	else
		engine_fd = fd; /* only holds the place */
	if (engine_fd < 0 || fd < 0 || dup3(engine_fd, ENGINE_FD, O_CLOEXEC) < 0 ||
	    dup3(fd, NULL_FD, O_CLOEXEC) < 0 || child_close_from(NULL_FD + 1) < 0)
		die("descriptors");
	l->spawner.null_fd = NULL_FD;
}

/* The one connection, or where to wait for connections. */
static void find_engine(struct launcher *l, const struct options *o)
{
	int fd = ENGINE_FD;

	if (o->engine_fd >= 0 && !is_listening(fd)) {
		l->engine.fd = fd;
		return;
	}
	if (o->engine_fd < 0) {
		close(ENGINE_FD);
		fd = local_listen(o->socket);
		if (fd < 0) {
			errno = -fd;
			die(o->socket);
		}
	}
	listen_take(l, fd, o->socket);
}

/* Each running job needs descriptors here; the jobs get the limit that we were given. */
static void raise_file_limit(struct spawner *s, uint32_t jobs, rlim_t needed)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &s->files) < 0)
		return;
	needed += FDS_BESIDE_JOBS;
	r = s->files;
	r.rlim_cur = r.rlim_max;
	if (r.rlim_cur != s->files.rlim_cur && setrlimit(RLIMIT_NOFILE, &r) == 0)
		s->files_raised = true;
	if (r.rlim_max != RLIM_INFINITY && r.rlim_max < needed)
		log_warn("at most %llu files may be open: not enough for %u jobs at once",
		    (unsigned long long)r.rlim_max, jobs);
}

/* The last that the kernel should kill, where it lets us say so; jobs go back to what was. */
static void lower_oom_score(struct spawner *s)
{
	static const char lowest[] = "-900";
	char was[sizeof(s->oom_score)];
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	n = read(fd, was, sizeof(was) - 1);
	if (n > 0 && atoi(was) > atoi(lowest) && lseek(fd, 0, SEEK_SET) == 0 &&
	    write(fd, lowest, sizeof(lowest) - 1) > 0) {
		was[n] = 0;
		memcpy(s->oom_score, was, sizeof(was));
	}
	close(fd);
}

static void init_tables(struct launcher *l, uint32_t jobs, int report_fd)
{
	l->ended = sys_map(KIN_MAX * sizeof(*l->ended));
	if (!l->ended || table_init(&l->table, jobs) < 0 ||
	    timers_init(&l->timers, &l->table) < 0 || kin_init(&l->adopted) < 0 ||
	    kin_init(&l->marked) < 0 || proc_init(&l->proc) < 0 || tree_init(&l->tree) < 0 ||
	    spawn_init(&l->spawner, jobs, report_fd) < 0 || tell_init(&l->tell) < 0 ||
	    engine_init(l) < 0)
		die("memory for the tables");
}

/* What a launcher that begins has to do, and one that takes over must not do again. */
static void begin(struct launcher *l, const struct options *o)
{
	bool listens = o->engine_fd < 0 || is_listening(ENGINE_FD);

	umask(022);
	if (chdir("/") < 0)
		die("/");
	upgrade_init(&l->upgrade);
	raise_file_limit(&l->spawner, o->jobs, (rlim_t)o->jobs * (listens ? FDS_OF_A_JOB : 1));
	lower_oom_score(&l->spawner);
	l->grace_ms = o->grace_ms;
	init_tables(l, o->jobs, -1);
	find_engine(l, o);
}

/* In the place of an earlier binary: the process is as it left it. */
static void take_over(struct launcher *l, int fd)
{
	const char *why;
	const struct state *s = state_open(fd, &why);

	/* It was asked before: what is read here was written by one that knows that we can. */
	if (!s) {
		log_error("can't take over the launcher's state: %s", why);
		exit(EXIT_FAILURE);
	}
	state_restore_process(l, s);
	init_tables(l, state_capacity(s), state_report_fd(s));
	if (state_restore(l, s, &why) < 0) {
		log_error("can't take over the launcher's state: %s", why);
		exit(EXIT_FAILURE);
	}
	close(fd);
	upgrade_done(l, state_build(s));
}

static void set_up(struct launcher *l, const struct options *o)
{
	if (getauxval(AT_SECURE)) {
		errno = EPERM;
		die("refuses to run set-uid, set-gid or with file capabilities");
	}
	setsid(); /* a terminal's Ctrl-C is for the engine; fails where we lead already: no harm */
	listen_init(&l->listen);
	prctl(PR_SET_NAME, "slotd-launcher");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("PR_SET_CHILD_SUBREAPER");
	l->spawner.launcher = getpid();
	if (o->state_fd < 0)
		tidy_descriptors(l, o->engine_fd);
	else
		open_null(l);
	l->signal_fd = open_signals();
	if (l->signal_fd < 0)
		die("signalfd");
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		die("epoll_create1");
	if (o->state_fd < 0)
		begin(l, o);
	else
		take_over(l, o->state_fd);
	l->spawner.alone = sys_keep_memory();
}

int main(int argc, char **argv)
{
	struct launcher *l;
	struct options o;

	read_options(&o, argc, argv);
	l = sys_map(sizeof(*l)); /* not static: children would have to copy it */
	if (!l)
		die("memory for the tables");
	set_up(l, &o);
	return loop_run(l) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
