#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H
/*
 * slotd's settings: a plain struct, one table that describes every field (name, type, unit,
 * range, default, help, whether a reload may change it), and what reads text into it. Parsing,
 * the sample file, --check-config and reload are all made from the table; a new option is a
 * field and a row.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_durability {
	CONFIG_DURABILITY_FULL,
	CONFIG_DURABILITY_NORMAL,
	CONFIG_DURABILITY_MEMORY,
};

enum config_keep_env { CONFIG_KEEP_ENV_NO, CONFIG_KEEP_ENV_YES };

#define CONFIG_QUEUES_MAX 1024
#define CONFIG_QUEUE_NAME_MAX 41 /* bytes; libinih cuts longer section names */

struct config_queue { /* [queue.NAME] */
	char *name;
	int64_t max_running; /* -1: bounded by the executor alone */
};

struct config {
	struct {
		int64_t max_running; /* slots; "auto" was resolved to the CPUs we may use */
		int64_t max_pending;
		int64_t max_pending_bytes; /* -1: auto */
		int64_t idle_exit_ms; /* 0: never */
	} executor;
	struct {
		int64_t durability; /* enum config_durability */
		int64_t history_jobs;      /* -1: auto */
		int64_t history_age_ms; /* 0: kept until another bound is met */
		int64_t output_total_bytes; /* -1: auto */
		int64_t keep_env; /* enum config_keep_env */
	} store;
	struct {
		int64_t limit_bytes;
	} output;
	struct {
		char *path; /* "": the usual place */
		int64_t mode;
		char *group;       /* "": left alone */
		char *admin_group; /* "": none */
	} socket;
	struct {
		int64_t max_connections;
		int64_t max_connections_per_uid;
		int64_t max_in_flight;
		int64_t stall_timeout_ms;
		int64_t bound_grace_ms;
	} client;
	struct {
		int64_t grace_ms;
		int64_t jobs;
	} launcher;
	struct {
		int64_t level; /* enum slot_log_level */
	} log;
	struct config_queue *queues; /* owned, nqueues of them, in order of appearance */
	size_t nqueues;
};

enum config_type {
	CONFIG_COUNT,    /* int64_t */
	CONFIG_CPUS,     /* int64_t, or "auto": the CPUs of the affinity mask */
	CONFIG_UNBOUND,  /* int64_t, or "none": -1 */
	CONFIG_AUTO_COUNT, /* int64_t, or "auto": -1, as durability suggests */
	CONFIG_AUTO_SIZE,  /* the same, in bytes */
	CONFIG_DURATION, /* int64_t, milliseconds: 300ms, 5s, 2m, 1h, 7d, plain seconds */
	CONFIG_SIZE,     /* int64_t, bytes: 64KiB, 16MiB, 1GiB, plain bytes */
	CONFIG_WORD,     /* int64_t, place in the row's words */
	CONFIG_MODE,     /* int64_t, octal */
	CONFIG_TEXT,     /* char *, owned */
};

struct config_option {
	const char *section; /* "queue.*": once per named queue, offset into struct config_queue */
	const char *key;
	enum config_type type;
	bool reloadable;
	size_t offset;
	int64_t min, max;         /* in the field's unit; text: max is the length allowed */
	const char *initial;      /* the default, as one would write it */
	const char *const *words; /* CONFIG_WORD: NULL-ended */
	const char *help;         /* one or two sentences for the sample file and the man page */
};

/* The table; ends with a row whose section is NULL. */
const struct config_option *config_options(void);
/* The row of section.key, or NULL. A section "queue.NAME" finds the row of "queue.*". */
const struct config_option *config_find(const char *section, const char *key);

/* What is wrong, all of it: one line of text per error. Zero-initialise; free with fini. */
struct config_report {
	char *text; /* lines ended by LF; NULL while there is none */
	size_t len;
	int errors;
};
void config_report_add(struct config_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void config_report_fini(struct config_report *report);

/* Every field its default. 0, or -1 when out of memory. config_fini is needed either way. */
int config_init(struct config *config);
void config_fini(struct config *config);

/*
 * Sets one option from text. `origin` names where it stands ("/etc/slotd/slotd.conf:12",
 * "--set"). An unknown option or a bad value adds to `report` and changes nothing.
 */
void config_set(struct config *config, const char *section, const char *key, const char *value,
    const char *origin, struct config_report *report);
/* The same from "SECTION.KEY=VALUE". */
void config_set_assignment(struct config *config, const char *assignment, const char *origin,
    struct config_report *report);

/* Reads one file over what is set. A file that isn't there is an error only when `required`. */
void config_read_file(struct config *config, const char *path, bool required,
    struct config_report *report);
/* Reads DIR/slotd.conf, then DIR/slotd.conf.d/NAME.conf in order of name. */
void config_read_dir(struct config *config, const char *dir, struct config_report *report);

/* What "auto" stands for with this durability; other values as they are. */
int64_t config_history_jobs(const struct config *config);
int64_t config_output_total(const struct config *config);
int64_t config_max_pending_bytes(const struct config *config);

/* What only the whole can tell: options that contradict each other or this build. */
void config_check(const struct config *config, struct config_report *report);

struct config_change {
	char name[96]; /* section.key */
	char from[160], to[160];
	bool applied; /* false: takes effect with the next start */
};
typedef void (*config_change_cb)(const struct config_change *change, void *arg);

/*
 * Moves into `config` what a reload may change and `next` has different; queues that `next`
 * lacks stay. `cb` hears of every difference, applied or not. 0, or -1 when out of memory
 * (then what was told is applied and nothing else).
 */
int config_reload(struct config *config, const struct config *next, config_change_cb cb, void *arg);

/* The text of the sample slotd.conf: every option with help, range and default, commented out. */
int config_print_sample(FILE *out);
/* The same as the man page slotd.conf(5). */
int config_print_man(FILE *out);
/* The settings in force, as a file that config_read_file takes. */
int config_print(const struct config *config, FILE *out);

#endif
