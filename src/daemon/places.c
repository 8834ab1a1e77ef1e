/*
 * Paths of the daemon. The part that clients have to agree with is core/paths.c.
 */
#include "daemon/places.h"
#include "core/paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
put(char *buf, const char *path, char *why, size_t why_size)
{
	if (snprintf(buf, PLACES_MAX, "%s", path) < PLACES_MAX)
		return 0;
	snprintf(why, why_size, "%.60s...: the path is too long", path);
	return -1;
}

/* What --socket, the environment or the configuration says; NULL: nothing. */
static const char *
named_socket(const struct options *options, const struct config *config)
{
	const char *env = getenv("SLOTD_SOCKET");

	if (options->socket != NULL)
		return options->socket;
	if (env != NULL && env[0] != '\0')
		return env;
	return config->socket.path[0] != '\0' ? config->socket.path : NULL;
}

/* The system's directory may be root's: its socket then came from the service manager. Nobody
 * else may be able to put something in the socket's place. */
static bool
is_safe(const char *dir, enum options_scope scope)
{
	struct stat st;

	return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 022) == 0 &&
	    (st.st_uid == geteuid() || (scope == OPTIONS_SCOPE_SYSTEM && st.st_uid == 0));
}

/* The directory of the usual place is ours to make; others may pass through it in system mode. */
static int
make_directory(const char *socket, enum options_scope scope, char *why, size_t why_size)
{
	char dir[PLACES_MAX];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", socket);
	slash = strrchr(dir, '/');
	if (slash == NULL || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, scope == OPTIONS_SCOPE_SYSTEM ? 0755 : 0700) != 0 && errno != EEXIST) {
		snprintf(why, why_size, "%s: %s", dir, strerror(errno));
		return -1;
	}
	if (is_safe(dir, scope))
		return 0;
	snprintf(why, why_size, "%s: not a directory of our own that nobody else may write to",
	    dir);
	return -1;
}

/* The usual place, with its directory made and looked at again after that. */
static int
prepare_usual(char *socket, enum options_scope scope, char *why, size_t why_size)
{
	enum slot_paths_scope where =
	    scope == OPTIONS_SCOPE_SYSTEM ? SLOT_PATHS_SYSTEM : SLOT_PATHS_USER;

	if (slot_paths_usual_socket(where, socket, PLACES_MAX) == 0) {
		if (make_directory(socket, scope, why, why_size) != 0)
			return -1;
		if (slot_paths_usual_socket(where, socket, PLACES_MAX) == 0)
			return 0;
	}
	snprintf(why, why_size, "%s: not a directory of our own that nobody else may write to",
	    socket);
	return -1;
}

static int
find_socket(struct places *places, const struct options *options, const struct config *config,
    char *why, size_t why_size)
{
	const char *named = named_socket(options, config);
	char usual[PLACES_MAX];

	if (named == NULL)
		return prepare_usual(places->socket, options->scope, why, why_size);
	if (put(places->socket, named, why, why_size) != 0)
		return -1;
	/* A client that starts us names the usual place: that is no reason not to make it. */
	if (slot_paths_usual_socket(SLOT_PATHS_USER, usual, sizeof(usual)) == 0 &&
	    strcmp(usual, named) == 0)
		return prepare_usual(places->socket, OPTIONS_SCOPE_USER, why, why_size);
	return 0;
}

/* A slotd-launcher in our own directory: running from the build tree, or moved as a whole. */
static int
beside_us(char *buf)
{
	static const char name[] = "/slotd-launcher";
	char exe[PLACES_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - sizeof(name));
	char *slash;

	if (n <= 0)
		return -1;
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	if (slash == NULL)
		return -1;
	memcpy(slash, name, sizeof(name));
	if (access(exe, X_OK) != 0)
		return -1;
	memcpy(buf, exe, strlen(exe) + 1);
	return 0;
}

static int
find_launcher(struct places *places, const struct options *options, const char *built_in, char *why,
    size_t why_size)
{
	const char *named = getenv("SLOTD_LAUNCHER");

	if (options->launcher != NULL)
		return put(places->launcher, options->launcher, why, why_size);
	if (named != NULL && named[0] != '\0')
		return put(places->launcher, named, why, why_size);
	if (beside_us(places->launcher) == 0)
		return 0;
	return put(places->launcher, built_in, why, why_size);
}

int
places_find(struct places *places, const struct options *options, const struct config *config,
    const char *built_in, char *why, size_t why_size)
{
	if (find_socket(places, options, config, why, why_size) != 0 ||
	    find_launcher(places, options, built_in, why, why_size) != 0)
		return -1;
	snprintf(places->lock, sizeof(places->lock), "%s.lock", places->socket);
	return 0;
}

/* ---- the state directory -------------------------------------------------------------------- */

int
places_name_state(struct places *places, const struct options *options, char *why, size_t why_size)
{
	enum slot_paths_scope where =
	    options->scope == OPTIONS_SCOPE_SYSTEM ? SLOT_PATHS_SYSTEM : SLOT_PATHS_USER;
	int r = 0;

	if (options->state_dir != NULL) {
		if (put(places->state, options->state_dir, why, why_size) != 0)
			return -1;
	} else {
		r = slot_paths_state(where, places->state, sizeof(places->state));
	}
	if (r == -ENOENT)
		snprintf(why, why_size, "neither XDG_STATE_HOME nor HOME is set: say --state-dir DIR, "
		    "or --set store.durability=memory");
	else if (r != 0)
		snprintf(why, why_size, "the path of the state directory is too long");
	return r == 0 ? 0 : -1;
}

/* mkdir -p: what is missing on the way is made for us alone. */
static int
make_path(const char *dir)
{
	char path[PLACES_MAX];

	snprintf(path, sizeof(path), "%s", dir);
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

int
places_check_state(const struct places *places, char *why, size_t why_size)
{
	struct stat st;

	if (stat(places->state, &st) != 0)
		snprintf(why, why_size, "%s: %s", places->state, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		snprintf(why, why_size, "%s: not a directory", places->state);
	else if (st.st_uid != geteuid())
		snprintf(why, why_size, "%s: belongs to uid %u; accepted is a directory of our own "
		    "(uid %u)", places->state, (unsigned)st.st_uid, (unsigned)geteuid());
	else if ((st.st_mode & 077) != 0)
		snprintf(why, why_size, "%s: mode %04o lets others in; accepted is 0700",
		    places->state, (unsigned)(st.st_mode & 07777));
	else
		return 0;
	return -1;
}

int
places_find_state(struct places *places, const struct options *options, char *why, size_t why_size)
{
	char named[PLACES_MAX];
	int r;

	if (places_name_state(places, options, why, why_size) != 0)
		return -1;
	memcpy(named, places->state, sizeof(named));
	r = make_path(named);
	/* (the launcher works in another directory) */
	if (r == 0 && realpath(named, places->state) == NULL)
		r = -errno;
	if (r != 0) {
		snprintf(why, why_size, "%s: %s", named, strerror(-r));
		return -1;
	}
	snprintf(places->state_lock, sizeof(places->state_lock), "%s/lock", places->state);
	snprintf(places->launcher_socket, sizeof(places->launcher_socket), "%s/launcher.sock",
	    places->state);
	return places_check_state(places, why, why_size);
}
