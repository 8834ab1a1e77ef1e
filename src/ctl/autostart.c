/*
 * Starting a user daemon where there is none: through the user's service manager if it knows
 * slotd, else as a process of its own that is no child of ours and has nothing of ours open.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/ctl.h"

#define START_TIMEOUT_MS 10000
#define RACE_PAUSE_MS 20
#define RETRY_PAUSE_MS 200
#define TRIES_WITHOUT_LOCK 3
#define LOG_TAIL 4096 /* what is read of the log to say why slotd did not start */

/* ---- the log ---- */

/* Makes each directory of the path; those that are there are fine. */
static void
make_directories(char *path)
{
	for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
}

char *
ctl_log_path(void)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (state != NULL && state[0] == '/')
		n = asprintf(&path, "%s/slotd/slotd.log", state);
	else if (home != NULL && home[0] == '/')
		n = asprintf(&path, "%s/.local/state/slotd/slotd.log", home);
	return n >= 0 ? path : NULL;
}

static int
open_log(const char *path)
{
	char *copy = path != NULL ? strdup(path) : NULL;
	int fd = -1;

	if (copy != NULL) {
		make_directories(copy);
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	free(copy);
	return fd >= 0 ? fd : open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* The end of the log, from `from` on, into `buf`: text. */
static void
read_log(const char *path, off_t from, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	ssize_t n = -1;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		if (st.st_size - from > (off_t)size - 1)
			from = st.st_size - ((off_t)size - 1);
		n = pread(fd, buf, size - 1, from);
	}
	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = '\0';
}

/* The last thing that slotd said in it, without time and level; "" where it said nothing. */
static const char *
last_words(char *text)
{
	size_t len = strlen(text);
	char *line, *error;

	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	line = strrchr(text, '\n');
	line = line != NULL ? line + 1 : text;
	error = strstr(line, " error ");
	line = error != NULL ? error + strlen(" error ") : line;
	for (char *at = line; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = '?';
	}
	return line;
}

/* `from`: where the log ended before slotd was started. */
static void
say_why(const char *slotd, const char *log_path, off_t from)
{
	char text[LOG_TAIL] = "";
	const char *words;

	if (log_path != NULL)
		read_log(log_path, from, text, sizeof(text));
	words = last_words(text);
	ctl_error("%s did not start%s%s%s%s", slotd, words[0] != '\0' ? ": " : "", words,
	    log_path != NULL ? "; see " : "", log_path != NULL ? log_path : "");
}

/* ---- processes ---- */

/* Waits for `pid`; its exit status, or -1. */
static int
reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* True: the service manager of the user has started slotd.service. */
static bool
start_service(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char manager[PATH_MAX];

	if (runtime == NULL || snprintf(manager, sizeof(manager), "%s/systemd/private", runtime) >=
				   (int)sizeof(manager) || access(manager, F_OK) != 0)
		return false;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		signal(SIGPIPE, SIG_DFL);
		execlp("systemctl", "systemctl", "--user", "--quiet", "start", "slotd.service",
		    (char *)NULL);
		_exit(127);
	}
	return pid > 0 && reap(pid) == 0;
}

/* slotd beside our own executable; else `slotd` for PATH to find. */
static void
find_slotd(char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - 1);

	if (n > 0) {
		path[n] = '\0';
		char *slash = strrchr(path, '/');

		if (slash != NULL && (size_t)(slash - path) + sizeof("/slotd") <= size) {
			strcpy(slash, "/slotd");
			if (access(path, X_OK) == 0)
				return;
		}
	}
	snprintf(path, size, "slotd");
}

/* In the child: everything of ours goes, then slotd takes over. Async-signal-safe. */
static void
become_slotd(const char *path, char *const *argv, int ready_fd, int log_fd)
{
	sigset_t none;

	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || chdir("/") != 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0 ||
	    dup2(ready_fd, 3) < 0)
		_exit(126);
	fcntl(3, F_SETFD, 0); /* where ready_fd was 3 itself */
	close_range(4, ~0U, 0);
	umask(077);
	execvp(path, argv);
	_exit(127);
}

/* Forks twice, so that the daemon belongs to init and to no terminal. 0 or -1 (errno). */
static int
spawn(const char *path, char *const *argv, int ready_fd, int log_fd)
{
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid > 0)
		return reap(pid) == 0 ? 0 : -1;
	if (setsid() < 0)
		_exit(1);
	pid = fork();
	if (pid == 0)
		become_slotd(path, argv, ready_fd, log_fd);
	_exit(pid > 0 ? 0 : 1);
}

/* ---- waiting until it is there ---- */

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* True: it said READY. False: it ended without, or takes too long. */
static bool
wait_ready(int fd, int64_t deadline)
{
	char word[16];
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	for (;;) {
		int64_t left = deadline - now_ms();
		int n = poll(&pfd, 1, left > 0 ? (int)left : 0);

		if (n < 0 && errno == EINTR)
			continue;
		return n > 0 && read(fd, word, sizeof(word)) > 0;
	}
}

/* Somebody else may be starting one in this moment; then ours has left at the lock. */
static bool
wait_for_other(const char *path, int64_t deadline)
{
	struct event_base *base = event_base_new();
	struct slot_loop *loop = base != NULL ? slot_loop_new(base) : NULL;
	bool there = false;

	while (loop != NULL && !there && now_ms() < deadline) {
		struct slot_client *client = slot_client_connect(loop, path, NULL, NULL);

		there = client != NULL;
		slot_client_free(client);
		event_base_loop(base, EVLOOP_NONBLOCK);
		if (!there)
			poll(NULL, 0, RACE_PAUSE_MS);
	}
	slot_loop_free(loop);
	if (base != NULL)
		event_base_free(base);
	return there;
}

/* Starts one. 1: it is ready; 0: it ended without a word; -1: it can't be started, printed. */
static int
start_once(char *slotd, int log_fd, int64_t deadline)
{
	/* No --socket: it finds the same place as we did, and makes the directory. */
	char *argv[] = { slotd, (char[]){ "--user" }, (char[]){ "--on-demand" },
		(char[]){ "--ready-fd" }, (char[]){ "3" }, NULL };
	int ready[2];

	if (pipe2(ready, O_CLOEXEC) != 0) {
		ctl_error("pipe: %s", strerror(errno));
		return -1;
	}
	int rc = spawn(slotd, argv, ready[1], log_fd);

	if (rc != 0)
		ctl_error("can't start %s: %s", slotd, strerror(errno));
	close(ready[1]);
	if (rc == 0)
		rc = wait_ready(ready[0], deadline);
	close(ready[0]);
	return rc;
}

/* Somebody holds the lock of that socket, or died with it. */
static bool
is_locked(const char *path)
{
	char lock[PATH_MAX];

	return snprintf(lock, sizeof(lock), "%s.lock", path) < (int)sizeof(lock) &&
	    access(lock, F_OK) == 0;
}

/*
 * Ours ending without a word is a race that another slotctl has won, a daemon of before that
 * still holds the lock while it leaves, or a failure. The first is waited for, after the second
 * one more is started, and a failure repeats itself with no lock in the way.
 */
static int
start_process(const char *path)
{
	char slotd[PATH_MAX];
	char *log_path = ctl_log_path();
	int log_fd = open_log(log_path);
	off_t log_end = log_fd >= 0 ? lseek(log_fd, 0, SEEK_END) : 0;
	int64_t deadline = now_ms() + START_TIMEOUT_MS;
	int tries = 0, rc;

	find_slotd(slotd, sizeof(slotd));
	do {
		int64_t retry = now_ms() + RETRY_PAUSE_MS;

		rc = start_once(slotd, log_fd, deadline);
		if (rc == 0 && !is_locked(path))
			tries++;
		if (rc == 0)
			rc = wait_for_other(path, retry < deadline ? retry : deadline);
	} while (rc == 0 && tries < TRIES_WITHOUT_LOCK && now_ms() < deadline);
	if (rc == 0)
		say_why(slotd, log_path, log_end > 0 ? log_end : 0);
	if (log_fd >= 0)
		close(log_fd);
	free(log_path);
	return rc > 0 ? 0 : -1;
}

int
ctl_autostart(const char *path)
{
	if (start_service() && wait_for_other(path, now_ms() + START_TIMEOUT_MS / 2))
		return 0;
	return start_process(path);
}
