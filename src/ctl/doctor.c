/* doctor: where the daemon is, how it works here, and what would make it work better. */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/ctl.h"

static void
tell(json_t *report, const char *key, const char *value)
{
	json_object_set_new(report, key, value != NULL ? json_string(value) : json_null());
}

/* Whether the user's processes outlive the last logout. */
static const char *
linger_text(void)
{
	const struct passwd *pw = getpwuid(getuid());
	char path[512];

	if (access("/run/systemd/system", F_OK) != 0)
		return "no service manager: nothing ends the daemon at logout";
	if (pw == NULL || snprintf(path, sizeof(path), "/var/lib/systemd/linger/%s", pw->pw_name) >=
			      (int)sizeof(path))
		return "unknown";
	return access(path, F_OK) == 0
	    ? "on"
	    : "off: logout may end jobs (loginctl enable-linger keeps them)";
}

static void
tell_socket(json_t *report, const struct ctl *ctl)
{
	struct stat st;
	char mode[16];

	tell(report, "socket", ctl->path);
	if (ctl->path == NULL || stat(ctl->path, &st) != 0)
		return;
	snprintf(mode, sizeof(mode), "%04o", (unsigned)st.st_mode & 07777U);
	tell(report, "socket_mode", mode);
	json_object_set_new(report, "socket_uid", json_integer((json_int_t)st.st_uid));
}

/* Where a user daemon keeps its state when nothing else was said. The caller frees it. */
static char *
default_journal(void)
{
	char *path = ctl_log_path();
	char *slash = path != NULL ? strrchr(path, '/') : NULL;
	char *journal = NULL;

	if (slash != NULL && asprintf(&journal, "%.*s/journal", (int)(slash - path), path) < 0)
		journal = NULL;
	free(path);
	return journal;
}

/* How durable, where, and what becomes of running jobs when the daemon ends. */
static void
tell_store(json_t *report, const struct ctl *ctl, const json_t *stats)
{
	const json_t *journal = json_object_get(stats, "journal");
	const char *durability = json_string_value(json_object_get(journal, "durability"));
	const char *path = json_string_value(json_object_get(journal, "path"));
	const char *named = getenv("SLOTD_SOCKET");
	bool elsewhere = ctl->socket != NULL || ctl->system || (named != NULL && named[0] != '\0');
	char *guess = path == NULL && !elsewhere ? default_journal() : NULL;

	if (!ctl_has_feature(ctl, "durable")) {
		tell(report, "store", "memory: jobs and history end with the daemon");
		tell(report, "launcher", "ends with the daemon, and its jobs with it");
		free(guess);
		return;
	}
	tell(report, "store", "durable");
	tell(report, "durability", durability);
	if (ctl->system && path == NULL)
		path = "/var/lib/slotd/journal";
	if (guess != NULL && access(guess, F_OK) == 0)
		path = guess;
	if (path != NULL)
		tell(report, "journal", path);
	tell(report, "degraded", json_is_true(json_object_get(journal, "degraded"))
		? "yes: no room on its disk, new jobs are refused" : "no");
	tell(report, "launcher", "outlives the daemon: running jobs go on while it is restarted");
	free(guess);
}

static int
tell_daemon(json_t *report, struct ctl *ctl)
{
	const json_t *hello = slot_client_hello(ctl->client);
	json_t *stats, *limits;
	int rc = ctl_call(ctl, "stats.get", NULL, &stats);

	tell(report, "server", json_string_value(json_object_get(hello, "server")));
	tell(report, "instance", json_string_value(json_object_get(hello, "instance")));
	json_object_set(report, "uid", json_object_get(hello, "uid"));
	json_object_set(report, "features", json_object_get(hello, "features"));
	tell_store(report, ctl, stats);
	tell(report, "isolation", ctl_has_feature(ctl, "cgroup")
		? "cgroup" : "best effort: sessions and environments, no cgroup");
	tell(report, "linger", linger_text());
	if (rc != 0)
		return rc;
	json_object_set(report, "running", json_object_get(stats, "running"));
	json_object_set(report, "pending", json_object_get(stats, "pending"));
	json_object_set(report, "paused", json_object_get(stats, "paused"));
	json_object_set(report, "draining", json_object_get(stats, "draining"));
	json_decref(stats);
	rc = ctl_call(ctl, "limits.get", NULL, &limits);
	if (rc != 0)
		return rc;
	json_object_set(report, "max_running", json_object_get(limits, "max_running"));
	json_decref(limits);
	return 0;
}

static void
print_report(const json_t *report)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)report, key, value)
	{
		printf("%-12s ", key);
		if (json_is_string(value)) {
			ctl_print_text(stdout, json_string_value(value),
			    json_string_length(value), 0);
			putchar('\n');
		} else {
			ctl_print_json(value);
		}
	}
}

int
cmd_doctor(struct ctl *ctl, struct ctl_args *args)
{
	if (ctl_args_next(args) != 0)
		return CTL_EXIT_FAILURE;
	if (args->argc > 0)
		return ctl_usage(args, "doctor takes no words");
	ctl->no_start = true; /* it looks, and changes nothing */
	int rc = ctl_connect(ctl);
	json_t *report = json_object();

	tell_socket(report, ctl);
	if (rc == 0)
		rc = tell_daemon(report, ctl);
	if (ctl->json)
		ctl_print_json(report);
	else
		print_report(report);
	json_decref(report);
	return rc;
}
