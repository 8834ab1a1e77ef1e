/*
 * The table of slotd.conf's options. A new option is a field in struct config and a row here;
 * then `slotd --print-config-sample >conf/slotd.conf` and
 * `slotd --print-config-man >man/slotd.conf.5`.
 */
#include "core/logger.h"
#include "daemon/config.h"

#include <limits.h>
#include <string.h>

#define KIB INT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

/* In the order of enum config_durability, config_keep_env and slot_log_level. */
static const char *const durability_words[] = { "full", "normal", "memory", NULL };
static const char *const keep_env_words[] = { "no", "yes", NULL };

#define AT(field) offsetof(struct config, field)
#define AT_QUEUE(field) offsetof(struct config_queue, field)

static const struct config_option options[] = {
	{ "executor", "max_running", CONFIG_CPUS, true, AT(executor.max_running), 0, 1000000,
	    "auto", NULL,
	    "Slots: how many jobs run at once. auto: the CPUs of the affinity mask. 0 starts "
	    "nothing." },
	{ "executor", "max_pending", CONFIG_COUNT, true, AT(executor.max_pending), 1, 100000000,
	    "1000000", NULL,
	    "Jobs that may wait; beyond it a submit is refused (QueueFull) or held." },
	{ "executor", "max_pending_bytes", CONFIG_AUTO_SIZE, true, AT(executor.max_pending_bytes),
	    64 * KIB, 1024 * GIB, "auto", NULL,
	    "Bytes that the specs of waiting jobs may take. auto: 16GiB, with durability = memory "
	    "1GiB." },
	{ "executor", "idle_exit", CONFIG_DURATION, true, AT(executor.idle_exit_ms), 0, 365 * DAY,
	    "0", NULL, "Leave after so long without clients and jobs. 0: never." },

	{ "store", "durability", CONFIG_WORD, false, AT(store.durability), 0, 0, "full",
	    durability_words,
	    "What an acknowledged job survives. full: a crash and a power cut (each commit waits "
	    "for the disk). normal: a crash; a power cut may take the last moments. memory: "
	    "nothing; jobs end with the daemon, and no state directory is needed." },
	{ "store", "history_jobs", CONFIG_AUTO_COUNT, true, AT(store.history_jobs), 0, 100000000,
	    "auto", NULL,
	    "Finished jobs of one user that are remembered; the oldest are forgotten first. auto: "
	    "1000000, with durability = memory 10000. 0: no bound." },
	{ "store", "history_age", CONFIG_DURATION, true, AT(store.history_age_ms), 0, 3650 * DAY,
	    "7d", NULL, "How long a finished job is remembered. 0: until another bound is met." },
	{ "store", "output_total", CONFIG_AUTO_SIZE, true, AT(store.output_total_bytes), 0,
	    1024 * GIB, "auto", NULL,
	    "Output and specs kept of one user's finished jobs together. auto: 1GiB, with "
	    "durability = memory 256MiB. 0: no bound." },
	{ "store", "keep_env", CONFIG_WORD, false, AT(store.keep_env), 0, 0, "yes", keep_env_words,
	    "Keep a finished job's environment, so that it can be retried." },

	{ "output", "limit", CONFIG_SIZE, true, AT(output.limit_bytes), 0, 64 * GIB, "1MiB", NULL,
	    "Bytes kept per captured stream, the newest, where a job's output_limit says "
	    "nothing." },

	{ "socket", "path", CONFIG_TEXT, false, AT(socket.path), 0, PATH_MAX - 1, "", NULL,
	    "The listening socket. Empty: the usual place of a user or system daemon." },
	{ "socket", "mode", CONFIG_MODE, false, AT(socket.mode), 0, 0777, "0600", NULL,
	    "Permissions of the socket. Whoever may connect runs jobs as the daemon's user." },
	{ "socket", "group", CONFIG_TEXT, false, AT(socket.group), 0, 255, "", NULL,
	    "Group of the socket. Empty: the daemon's own." },
	{ "socket", "admin_group", CONFIG_TEXT, false, AT(socket.admin_group), 0, 255, "", NULL,
	    "Members may see and steer everybody's jobs. Empty: root and the daemon's user "
	    "alone." },

	{ "client", "max_connections", CONFIG_COUNT, true, AT(client.max_connections), 1, 1000000,
	    "1024", NULL, "Connections at once." },
	{ "client", "max_connections_per_uid", CONFIG_COUNT, true,
	    AT(client.max_connections_per_uid), 1, 1000000, "32", NULL,
	    "Connections of one user at once; a system daemon holds to it." },
	{ "client", "max_in_flight", CONFIG_COUNT, true, AT(client.max_in_flight), 1, 65536, "256",
	    NULL, "Requests per connection that wait on jobs, clients or room." },
	{ "client", "stall_timeout", CONFIG_DURATION, true, AT(client.stall_timeout_ms), SECOND,
	    DAY, "5m", NULL,
	    "A client that takes none of its output for so long is disconnected." },
	{ "client", "bound_grace", CONFIG_DURATION, true, AT(client.bound_grace_ms), 0, HOUR, "15s",
	    NULL, "How long a restarted daemon keeps bound jobs for their session to come back." },

	{ "launcher", "grace", CONFIG_DURATION, true, AT(launcher.grace_ms), 0, DAY, "5s", NULL,
	    "From TERM to KILL, where neither the job nor the request says." },
	{ "launcher", "jobs", CONFIG_COUNT, false, AT(launcher.jobs), 1, 65536, "4096", NULL,
	    "Room for jobs in the launcher: running, or ended and not yet recorded." },

	{ "queue.*", "max_running", CONFIG_UNBOUND, true, AT_QUEUE(max_running), 0, 1000000, "none",
	    NULL, "Slots of this queue. none: bounded by the executor alone. 0 starts nothing." },

	{ "log", "level", CONFIG_WORD, true, AT(log.level), 0, 0, "info", slot_log_level_names,
	    "error, warn, info or debug." },
	{ NULL, NULL, CONFIG_COUNT, false, 0, 0, 0, NULL, NULL, NULL },
};

const struct config_option *
config_options(void)
{
	return options;
}

const struct config_option *
config_find(const char *section, const char *key)
{
	if (strncmp(section, "queue.", 6) == 0)
		section = "queue.*";
	for (const struct config_option *o = options; o->section != NULL; o++) {
		if (strcmp(o->section, section) == 0 && strcmp(o->key, key) == 0)
			return o;
	}
	return NULL;
}
