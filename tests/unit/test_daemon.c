/*
 * The daemon's own parts: where socket and state are, the lock, the listening socket, log lines.
 */
#include "core/logger.h"
#include "core/paths.h"
#include "daemon/listener.h"
#include "daemon/lock.h"
#include "daemon/notify.h"
#include "daemon/places.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[PATH_MAX];
static char path[PATH_MAX];

static const char *
in_dir(const char *name)
{
	ck_assert_int_lt(snprintf(path, sizeof(path), "%.3000s/%.500s", dir, name), PATH_MAX);
	return path;
}

static void
setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/slotd-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	unsetenv("SLOTD_SOCKET");
	unsetenv("SLOTD_LAUNCHER");
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("LISTEN_FDS");
}

static void
teardown(void)
{
	char command[PATH_MAX + 16];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

/* ---- paths ---------------------------------------------------------------------------------- */

START_TEST(the_environment_names_the_socket)
{
	char buf[SLOT_PATHS_MAX], small[8];

	setenv("SLOTD_SOCKET", "/some/where", 1);
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "/some/where");
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_SYSTEM, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "/some/where");
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_USER, small, sizeof(small)), -ENAMETOOLONG);
	setenv("SLOTD_SOCKET", "", 1);
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_SYSTEM, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "/run/slotd/slotd.sock");
}
END_TEST

START_TEST(the_runtime_directory_holds_the_user_socket)
{
	char buf[SLOT_PATHS_MAX], expected[PATH_MAX + 32];

	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(expected, sizeof(expected), "%s/slotd/slotd.sock", dir);
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, expected);
	setenv("XDG_RUNTIME_DIR", "/nowhere-at-all", 1);
	ck_assert_int_le(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), 0);
	ck_assert_ptr_null(strstr(buf, "nowhere"));
}
END_TEST

START_TEST(a_directory_that_others_may_write_to_holds_no_socket)
{
	char buf[SLOT_PATHS_MAX], expected[PATH_MAX + 32];

	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(expected, sizeof(expected), "%s/slotd", dir);
	ck_assert_int_eq(mkdir(expected, 0700), 0);
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), 0);
	ck_assert_int_eq(chmod(expected, 0720), 0);
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), -EPERM);
	ck_assert_str_eq(buf, expected);
	ck_assert_int_eq(rmdir(expected), 0);
	ck_assert_int_eq(symlink("/tmp", expected), 0);
	ck_assert_int_eq(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), -EPERM);
	ck_assert_int_eq(unlink(expected), 0);
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_le(slot_paths_socket(SLOT_PATHS_USER, buf, sizeof(buf)), 0);
	ck_assert_ptr_null(strstr(buf, dir));
}
END_TEST

START_TEST(the_users_own_places_are_known_whatever_is_there)
{
	char place[PATH_MAX + 32];

	setenv("XDG_RUNTIME_DIR", "/nowhere-at-all", 1);
	ck_assert(slot_paths_is_user_socket("/nowhere-at-all/slotd/slotd.sock"));
	snprintf(place, sizeof(place), "/tmp/slotd-%u/slotd.sock", (unsigned)geteuid());
	ck_assert(slot_paths_is_user_socket(place));
	snprintf(place, sizeof(place), "/run/user/%u/slotd/slotd.sock", (unsigned)geteuid());
	ck_assert(slot_paths_is_user_socket(place));
	ck_assert(!slot_paths_is_user_socket("/run/slotd/slotd.sock"));
	ck_assert(!slot_paths_is_user_socket("/tmp/slotd.sock"));
}
END_TEST

START_TEST(a_long_path_becomes_a_short_address)
{
	char deep[512];
	struct slot_paths_address address;

	memset(deep, 'd', 200);
	deep[200] = '\0';
	ck_assert_int_eq(mkdir(in_dir(deep), 0700), 0);
	snprintf(path + strlen(path), 32, "/slotd.sock");
	ck_assert_uint_gt(strlen(path), sizeof(address.sa.sun_path));
	ck_assert_int_eq(slot_paths_address_init(&address, path), 0);
	ck_assert_int_eq(strncmp(address.sa.sun_path, "/proc/self/fd/", 14), 0);
	slot_paths_address_fini(&address);
	ck_assert_int_eq(slot_paths_address_init(&address, "/short"), 0);
	ck_assert_str_eq(address.sa.sun_path, "/short");
	slot_paths_address_fini(&address);
	ck_assert_int_eq(slot_paths_address_init(&address, "/"), -EINVAL);
}
END_TEST

START_TEST(places_prefer_the_command_line)
{
	struct options options = { .socket = "/a", .launcher = "/b" };
	struct config config;
	struct places places;
	char why[256];

	ck_assert_int_eq(config_init(&config), 0);
	free(config.socket.path);
	config.socket.path = strdup("/from-config");
	setenv("SLOTD_SOCKET", "/from-env", 1);
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), 0);
	ck_assert_str_eq(places.socket, "/a");
	ck_assert_str_eq(places.lock, "/a.lock");
	ck_assert_str_eq(places.launcher, "/b");
	options = (struct options){ .socket = NULL };
	setenv("SLOTD_LAUNCHER", "/l-env", 1);
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), 0);
	ck_assert_str_eq(places.socket, "/from-env");
	ck_assert_str_eq(places.launcher, "/l-env");
	unsetenv("SLOTD_SOCKET");
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), 0);
	ck_assert_str_eq(places.socket, "/from-config");
	config_fini(&config);
}
END_TEST

START_TEST(the_usual_directory_is_made_even_when_named)
{
	struct options options = { .launcher = "/l" };
	struct config config;
	struct places places;
	char why[256], socket[PATH_MAX + 32];
	struct stat st;

	ck_assert_int_eq(config_init(&config), 0);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(socket, sizeof(socket), "%s/slotd/slotd.sock", dir);
	options.socket = socket;
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), 0);
	ck_assert_str_eq(places.socket, socket);
	ck_assert_int_eq(stat(in_dir("slotd"), &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0700);
	options.socket = in_dir("other/slotd.sock");
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), 0);
	ck_assert_int_ne(access(in_dir("other"), F_OK), 0);
	config_fini(&config);
}
END_TEST

START_TEST(a_directory_that_is_not_safe_is_no_place)
{
	struct options options = { .launcher = "/l" };
	struct config config;
	struct places places;
	char why[256];

	ck_assert_int_eq(config_init(&config), 0);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	ck_assert_int_eq(mkdir(in_dir("slotd"), 0700), 0);
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), 0);
	ck_assert_int_eq(chmod(path, 0770), 0);
	ck_assert_int_eq(places_find(&places, &options, &config, "/built", why, sizeof(why)), -1);
	ck_assert_ptr_nonnull(strstr(why, path));
	config_fini(&config);
}
END_TEST

/* ---- the state directory -------------------------------------------------------------------- */

START_TEST(state_is_where_the_option_or_the_environment_says)
{
	struct options options = { .state_dir = "/named" };
	struct places places;
	char why[256], expected[PATH_MAX + 32];

	setenv("XDG_STATE_HOME", dir, 1);
	setenv("HOME", "/home/of-somebody", 1);
	ck_assert_int_eq(places_name_state(&places, &options, why, sizeof(why)), 0);
	ck_assert_str_eq(places.state, "/named");
	options.state_dir = NULL;
	ck_assert_int_eq(places_name_state(&places, &options, why, sizeof(why)), 0);
	snprintf(expected, sizeof(expected), "%s/slotd", dir);
	ck_assert_str_eq(places.state, expected);
	setenv("XDG_STATE_HOME", "not/absolute", 1);
	ck_assert_int_eq(places_name_state(&places, &options, why, sizeof(why)), 0);
	ck_assert_str_eq(places.state, "/home/of-somebody/.local/state/slotd");
	options.scope = OPTIONS_SCOPE_SYSTEM;
	ck_assert_int_eq(places_name_state(&places, &options, why, sizeof(why)), 0);
	ck_assert_str_eq(places.state, "/var/lib/slotd");
	ck_assert_int_ne(access(expected, F_OK), 0); /* naming makes nothing */
}
END_TEST

START_TEST(a_state_directory_that_is_missing_is_made_for_us_alone)
{
	struct options options = { .state_dir = NULL };
	struct places places;
	char why[256], expected[PATH_MAX + 64];
	struct stat st;

	umask(0);
	setenv("XDG_STATE_HOME", in_dir("a/b"), 1);
	ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), 0);
	ck_assert_int_eq(stat(places.state, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(stat(in_dir("a"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	snprintf(expected, sizeof(expected), "%s/lock", places.state);
	ck_assert_str_eq(places.state_lock, expected);
	snprintf(expected, sizeof(expected), "%s/launcher.sock", places.state);
	ck_assert_str_eq(places.launcher_socket, expected);
	ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), 0);
}
END_TEST

START_TEST(a_state_directory_that_others_may_enter_is_refused)
{
	static const mode_t open_to_others[] = { 0755, 0750, 0710, 0701, 0704, 0702 };
	struct options options = { .state_dir = NULL };
	struct places places;
	char why[PLACES_MAX + 128];

	ck_assert_int_eq(mkdir(in_dir("state"), 0700), 0);
	options.state_dir = path;
	ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), 0);
	for (size_t i = 0; i < sizeof(open_to_others) / sizeof(open_to_others[0]); i++) {
		ck_assert_int_eq(chmod(path, open_to_others[i]), 0);
		ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), -1);
		ck_assert_ptr_nonnull(strstr(why, path));
		ck_assert_ptr_nonnull(strstr(why, "accepted is 0700"));
	}
	ck_assert_int_eq(chmod(path, 0700), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(path, 65534, 65534), 0);
		ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), -1);
		ck_assert_ptr_nonnull(strstr(why, "belongs to uid 65534"));
	}
}
END_TEST

START_TEST(what_is_no_directory_holds_no_state)
{
	struct options options = { .state_dir = NULL };
	struct places places;
	char why[PLACES_MAX + 128];
	int fd = open(in_dir("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	close(fd);
	options.state_dir = path;
	ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), -1);
	ck_assert_ptr_nonnull(strstr(why, path));
	options.state_dir = in_dir("file/below");
	ck_assert_int_eq(places_find_state(&places, &options, why, sizeof(why)), -1);
	ck_assert_ptr_nonnull(strstr(why, path));
}
END_TEST

START_TEST(two_names_of_one_state_directory_are_one)
{
	struct options options = { .state_dir = NULL };
	struct places first, second;
	char why[PLACES_MAX + 128], real[PATH_MAX];

	ck_assert_int_eq(mkdir(in_dir("real"), 0700), 0);
	snprintf(real, sizeof(real), "%s", path);
	options.state_dir = real;
	ck_assert_int_eq(places_find_state(&first, &options, why, sizeof(why)), 0);
	ck_assert_int_eq(symlink(real, in_dir("link")), 0);
	options.state_dir = path;
	ck_assert_int_eq(places_find_state(&second, &options, why, sizeof(why)), 0);
	ck_assert_str_eq(first.state_lock, second.state_lock);
}
END_TEST

/* ---- lock ----------------------------------------------------------------------------------- */

START_TEST(a_second_lock_says_who_holds_the_first)
{
	struct lock first, second;
	pid_t holder = -1;

	ck_assert_int_eq(lock_take(&first, in_dir("lock"), &holder), 0);
	ck_assert_int_eq(lock_take(&second, path, &holder), -EWOULDBLOCK);
	ck_assert_int_eq(holder, getpid());
	lock_drop(&first);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(lock_take(&second, path, &holder), 0);
	lock_drop(&second);
	lock_drop(&second);
}
END_TEST

START_TEST(a_lock_file_left_over_blocks_nobody)
{
	struct lock lock;
	pid_t holder;
	int fd = open(in_dir("lock"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq((int)write(fd, "123456789\n", 10), 10);
	close(fd);
	ck_assert_int_eq(lock_take(&lock, path, &holder), 0);
	lock_drop(&lock);
	ck_assert_int_eq(lock_take(&lock, "/nowhere-at-all/lock", &holder), -ENOENT);
	lock_drop(&lock);
}
END_TEST

/* ---- listening socket ----------------------------------------------------------------------- */

static int connections[16];
static int nconnections;
static int removals;
static int warnings;

static void
on_connection(void *arg, int fd)
{
	(void)arg;
	connections[nconnections++] = fd;
}

static void
on_removed(void *arg)
{
	(void)arg;
	removals++;
}

static void
count_warning(void *arg, enum slot_log_level level, const char *line)
{
	(void)arg;
	(void)line;
	warnings += level == SLOT_LOG_WARN;
}

static const struct listener_handlers handlers = { on_connection, on_removed };
static const struct slot_logger counting = { count_warning, NULL, SLOT_LOG_INFO };

static int
connect_to(const char *name)
{
	struct slot_paths_address address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(slot_paths_address_init(&address, name), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address.sa, address.len), 0);
	slot_paths_address_fini(&address);
	return fd;
}

static struct listener *
listen_at(struct event_base *base, const char *name)
{
	struct listener_place place = { name, 0640, (gid_t)-1 };
	struct listener *l;
	int fd = listener_bind(&place);

	ck_assert_int_ge(fd, 0);
	nconnections = removals = warnings = 0;
	l = listener_new(base, fd, name, &handlers, NULL, &counting);
	ck_assert_ptr_nonnull(l);
	return l;
}

START_TEST(connections_arrive_nonblocking_and_close_on_exec)
{
	struct event_base *base = event_base_new();
	struct listener *l = listen_at(base, in_dir("sock"));
	struct stat st;
	int fd = connect_to(path);

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0640);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(nconnections, 1);
	ck_assert_int_ne(fcntl(connections[0], F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_ne(fcntl(connections[0], F_GETFL) & O_NONBLOCK, 0);
	close(connections[0]);
	close(fd);
	listener_free(l);
	ck_assert_int_ne(access(path, F_OK), 0);
	event_base_free(base);
}
END_TEST

START_TEST(who_waits_is_accepted_without_the_loop)
{
	struct event_base *base = event_base_new();
	struct listener *l = listen_at(base, in_dir("sock"));
	int first = connect_to(path), second = connect_to(path);

	listener_accept(l);
	ck_assert_int_eq(nconnections, 2);
	listener_accept(l);
	ck_assert_int_eq(nconnections, 2);
	for (int i = 0; i < 2; i++)
		close(connections[i]);
	close(first);
	close(second);
	listener_free(l);
	event_base_free(base);
}
END_TEST

START_TEST(a_stale_socket_is_replaced_and_a_live_one_is_not)
{
	struct event_base *base = event_base_new();
	struct listener_place place = { in_dir("sock"), 0600, (gid_t)-1 };
	int fd = listener_bind(&place);
	struct listener *l;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(listener_bind(&place), -EADDRINUSE);
	close(fd);
	l = listen_at(base, path);
	listener_free(l);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	ck_assert_int_eq(listener_bind(&place), -ENOTSOCK);
	place.path = "/nowhere-at-all/sock";
	ck_assert_int_eq(listener_bind(&place), -ENOENT);
	event_base_free(base);
}
END_TEST

START_TEST(removal_of_the_socket_is_told_once)
{
	struct event_base *base = event_base_new();
	struct listener *l = listen_at(base, in_dir("sock"));

	ck_assert_int_eq(chmod(path, 0600), 0); /* an event, but it is still there */
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(removals, 0);
	ck_assert_int_eq(unlink(path), 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(removals, 1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(removals, 1);
	listener_free(l);
	event_base_free(base);
}
END_TEST

START_TEST(a_socket_that_took_our_place_is_left_alone)
{
	struct event_base *base = event_base_new();
	struct listener *l = listen_at(base, in_dir("sock"));
	struct listener_place place = { path, 0600, (gid_t)-1 };
	int fd;

	ck_assert_int_eq(unlink(path), 0);
	fd = listener_bind(&place);
	ck_assert_int_ge(fd, 0);
	listener_free(l);
	ck_assert_int_eq(access(path, F_OK), 0);
	close(fd);
	event_base_free(base);
}
END_TEST

START_TEST(running_out_of_descriptors_does_not_spin)
{
	struct event_base *base = event_base_new();
	struct listener *l = listen_at(base, in_dir("sock"));
	int fd = connect_to(path), turns = 0;
	struct rlimit before, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ (rlim_t)fd, before.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 100; i++)
		turns += event_base_loop(base, EVLOOP_NONBLOCK) == 0;
	ck_assert_int_eq(turns, 100);
	ck_assert_int_eq(nconnections, 0);
	ck_assert_int_eq(warnings, 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	close(fd);
	listener_free(l);
	event_base_free(base);
}
END_TEST

START_TEST(passed_sockets_are_for_this_process_alone)
{
	char pid[32];

	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", "1", 1);
	ck_assert_int_eq(listener_inherit(), -ENOENT);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", pid, 1);
	ck_assert_int_eq(listener_inherit(), -EINVAL);
}
END_TEST

/* ---- log, readiness ------------------------------------------------------------------------- */

static char line[16384];

static void
keep_line(void *arg, enum slot_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	snprintf(line, sizeof(line), "%s", text);
}

START_TEST(no_value_can_forge_a_log_line)
{
	const struct slot_logger logger = { keep_line, NULL, SLOT_LOG_INFO };
	char big[5000];

	slot_log(&logger, SLOT_LOG_INFO, "job name=%s", "a\nfake \x1b[31m\x7f\tb \xc3\xa9");
	ck_assert_str_eq(line, "job name=a\\x0afake \\x1b[31m\\x7f\\x09b \xc3\xa9");
	memset(big, '\n', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	slot_log(&logger, SLOT_LOG_INFO, "%s", big);
	ck_assert_uint_eq(strlen(line), 8000);
}
END_TEST

START_TEST(levels_above_the_limit_are_silent)
{
	const struct slot_logger logger = { keep_line, NULL, SLOT_LOG_WARN };

	line[0] = '\0';
	slot_log(&logger, SLOT_LOG_INFO, "quiet");
	slot_log(NULL, SLOT_LOG_ERROR, "nowhere");
	ck_assert_str_eq(line, "");
	slot_log(&logger, SLOT_LOG_WARN, "heard");
	ck_assert_str_eq(line, "heard");
	ck_assert(!slot_logger_wants(NULL, SLOT_LOG_ERROR));
}
END_TEST

START_TEST(ready_is_written_and_the_descriptor_closed)
{
	char text[32];
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	ck_assert_int_eq(notify_check_fd(fds[1]), 0);
	notify_ready(fds[1]);
	ck_assert_int_eq((int)read(fds[0], text, sizeof(text)), 8);
	ck_assert_int_eq(strncmp(text, "READY=1\n", 8), 0);
	ck_assert_int_eq((int)read(fds[0], text, sizeof(text)), 0);
	close(fds[0]);
	ck_assert_int_ne(notify_check_fd(fds[1]), 0);
}
END_TEST

/* What the service manager hears on the socket `name`, '@' first when it is abstract. */
static void
manager_hears(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	size_t length = strlen(name);
	char text[128] = "";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_uint_lt(length, sizeof(at.sun_path));
	memcpy(at.sun_path, name, length);
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_ready(-1);
	ck_assert_int_eq((int)read(fd, text, sizeof(text)), 7);
	ck_assert_str_eq(text, "READY=1");
	notify_reloading();
	ck_assert_int_gt((int)read(fd, text, sizeof(text)), 0);
	ck_assert_int_eq(strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
	notify_stopping();
	ck_assert_int_eq((int)read(fd, text, sizeof(text)), 10);
	ck_assert_int_eq(strncmp(text, "STOPPING=1", 10), 0);
	notify_alive();
	ck_assert_int_eq((int)read(fd, text, sizeof(text)), 10);
	ck_assert_int_eq(strncmp(text, "WATCHDOG=1", 10), 0);
	close(fd);
	notify_alive(); /* nobody is there any more */
	unsetenv("NOTIFY_SOCKET");
}

START_TEST(the_service_manager_hears_how_we_stand)
{
	char name[64];

	snprintf(name, sizeof(name), "@slotd-test-%d", (int)getpid());
	manager_hears(name);
	manager_hears(in_dir("notify"));
}
END_TEST

START_TEST(a_name_that_is_no_socket_is_told_nothing)
{
	char long_name[200];

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[0] = '/';
	long_name[sizeof(long_name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", long_name, 1);
	notify_alive();
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_alive();
	setenv("NOTIFY_SOCKET", "", 1);
	notify_alive();
	unsetenv("NOTIFY_SOCKET");
}
END_TEST

START_TEST(the_watchdog_is_for_the_process_that_it_names)
{
	static const char *const wrong[] = { "", "0", "-1", "5s", "99999999999999999999999" };
	char pid[16];

	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	ck_assert_uint_eq(notify_watchdog_us(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	ck_assert_uint_eq(notify_watchdog_us(), 15000000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	ck_assert_uint_eq(notify_watchdog_us(), 15000000);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		setenv("WATCHDOG_USEC", wrong[i], 1);
		ck_assert_uint_eq(notify_watchdog_us(), 0);
	}
	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert_uint_eq(notify_watchdog_us(), 0);
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("daemon");
	TCase *tc = tcase_create("daemon");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_environment_names_the_socket);
	tcase_add_test(tc, the_runtime_directory_holds_the_user_socket);
	tcase_add_test(tc, a_directory_that_others_may_write_to_holds_no_socket);
	tcase_add_test(tc, the_users_own_places_are_known_whatever_is_there);
	tcase_add_test(tc, a_long_path_becomes_a_short_address);
	tcase_add_test(tc, places_prefer_the_command_line);
	tcase_add_test(tc, the_usual_directory_is_made_even_when_named);
	tcase_add_test(tc, a_directory_that_is_not_safe_is_no_place);
	tcase_add_test(tc, state_is_where_the_option_or_the_environment_says);
	tcase_add_test(tc, a_state_directory_that_is_missing_is_made_for_us_alone);
	tcase_add_test(tc, a_state_directory_that_others_may_enter_is_refused);
	tcase_add_test(tc, what_is_no_directory_holds_no_state);
	tcase_add_test(tc, two_names_of_one_state_directory_are_one);
	tcase_add_test(tc, a_second_lock_says_who_holds_the_first);
	tcase_add_test(tc, a_lock_file_left_over_blocks_nobody);
	tcase_add_test(tc, connections_arrive_nonblocking_and_close_on_exec);
	tcase_add_test(tc, who_waits_is_accepted_without_the_loop);
	tcase_add_test(tc, a_stale_socket_is_replaced_and_a_live_one_is_not);
	tcase_add_test(tc, removal_of_the_socket_is_told_once);
	tcase_add_test(tc, a_socket_that_took_our_place_is_left_alone);
	tcase_add_test(tc, running_out_of_descriptors_does_not_spin);
	tcase_add_test(tc, passed_sockets_are_for_this_process_alone);
	tcase_add_test(tc, no_value_can_forge_a_log_line);
	tcase_add_test(tc, levels_above_the_limit_are_silent);
	tcase_add_test(tc, ready_is_written_and_the_descriptor_closed);
	tcase_add_test(tc, the_service_manager_hears_how_we_stand);
	tcase_add_test(tc, a_name_that_is_no_socket_is_told_nothing);
	tcase_add_test(tc, the_watchdog_is_for_the_process_that_it_names);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
