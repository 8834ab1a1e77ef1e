#ifndef CTL_CTL_H
#define CTL_CTL_H
/*
 * What a verb of slotctl sees: the invocation with its options and connection, the option
 * parser, and ways to print. A verb is one function and one row in verbs.c.
 */
#include <slot/client.h>
#include <stdint.h>
#include <stdio.h>

struct event_base;

enum ctl_exit {
	CTL_EXIT_OK = 0,
	CTL_EXIT_NOT_OK = 1,    /* a job among those asked for was not ok */
	CTL_EXIT_TIMEOUT = 124, /* the wait timed out */
	CTL_EXIT_FAILURE = 125, /* usage, unknown id, no daemon, a refused request */
};

/* ---- options ------------------------------------------------------------------------------- */

/* One option of a verb. `id` is what ctl_args_next returns: for an option with a letter the
 * letter itself, else a number from 256 on (the spec's own are from CTL_OPTION_SPEC on). */
struct ctl_option {
	int id;
	const char *name; /* long name without "--" */
	const char *arg;  /* its value's name in the help; NULL: takes none */
	const char *help; /* NULL: it isn't mentioned (the daemon doesn't know it yet) */
};
#define CTL_OPTION_VERB 256
#define CTL_OPTION_SPEC 512
#define CTL_OPTION_GLOBAL 1024

extern const struct ctl_option ctl_global_options[];

struct verb;

/* The words after the verb. Fields but for verb, value, argv, argc and saw_separator are the
 * parser's own. */
struct ctl_args {
	const struct verb *verb;
	struct ctl *ctl;
	char **argv; /* once next returned 0: the argc words that are no options */
	int argc;
	const char *value;  /* of the option just returned */
	bool saw_separator; /* a "--" stood before the words, or among them */
	char **words;
	int nwords;
	int next;
	const char *cluster; /* rest of -abc */
	bool only_words;
};

void ctl_args_init(struct ctl_args *args, struct ctl *ctl, const struct verb *verb, char **words,
    int nwords);
/* The next option's id; 0: no more, argv and argc are there; -1: a usage error, printed.
 * Global options are taken care of on the way. */
int ctl_args_next(struct ctl_args *args);

/* ---- verbs --------------------------------------------------------------------------------- */

struct ctl;

/* Runs a verb; returns slotctl's exit status. */
typedef int (*verb_fn)(struct ctl *ctl, struct ctl_args *args);

enum verb_words {
	VERB_WORDS_ANYWHERE, /* options may follow words */
	VERB_WORDS_COMMAND,  /* the first word (or "--") begins a command line: options end there */
};

struct verb {
	const char *name;
	const char *alias[2];             /* NULL where there is none */
	const char *usage;                /* what follows the name in the help */
	const char *help;                 /* one line */
	const struct ctl_option *options; /* ended by id 0; may be NULL */
	const struct ctl_option *shared;  /* a second table (spec_options); may be NULL */
	enum verb_words words;
	verb_fn run;
};

const struct verb *verb_find(const char *name); /* by name or alias; NULL */
const struct verb *verb_at(size_t i);           /* NULL behind the last */
const char *verb_nearest(const char *name);     /* for "did you mean"; NULL: nothing is near */

/* One function per verb, each in its own file (or with its family). */
int cmd_call(struct ctl *ctl, struct ctl_args *args);
int cmd_cancel(struct ctl *ctl, struct ctl_args *args);
int cmd_doctor(struct ctl *ctl, struct ctl_args *args);
int cmd_drain(struct ctl *ctl, struct ctl_args *args);
int cmd_forget(struct ctl *ctl, struct ctl_args *args);
int cmd_gather(struct ctl *ctl, struct ctl_args *args);
int cmd_limit(struct ctl *ctl, struct ctl_args *args);
int cmd_list(struct ctl *ctl, struct ctl_args *args);
int cmd_log(struct ctl *ctl, struct ctl_args *args);
int cmd_map(struct ctl *ctl, struct ctl_args *args);
int cmd_pause(struct ctl *ctl, struct ctl_args *args);
int cmd_queue(struct ctl *ctl, struct ctl_args *args);
int cmd_resume(struct ctl *ctl, struct ctl_args *args);
int cmd_retry(struct ctl *ctl, struct ctl_args *args);
int cmd_run(struct ctl *ctl, struct ctl_args *args);
int cmd_send(struct ctl *ctl, struct ctl_args *args);
int cmd_set(struct ctl *ctl, struct ctl_args *args);
int cmd_show(struct ctl *ctl, struct ctl_args *args);
int cmd_signal(struct ctl *ctl, struct ctl_args *args);
int cmd_stats(struct ctl *ctl, struct ctl_args *args);
int cmd_submit(struct ctl *ctl, struct ctl_args *args);
int cmd_wait(struct ctl *ctl, struct ctl_args *args);
int cmd_watch(struct ctl *ctl, struct ctl_args *args);

/* Option tables of the verbs, beside their functions (map_options, run_options likewise). */
extern const struct ctl_option cancel_options[], drain_options[], gather_options[],
    limit_options[], list_options[], log_options[], map_options[], pause_options[],
    queue_options[], send_options[], set_options[], signal_options[],
    wait_options[], watch_options[];

/* ---- one invocation ------------------------------------------------------------------------ */

struct ctl {
	const char *socket; /* --socket; NULL: not given */
	bool system;        /* --system */
	bool json;          /* --json */
	bool no_start;      /* --no-start or SLOTCTL_START=0 */
	bool quitting;      /* main is on its way out: a disconnect is no news */

	/* There once ctl_connect succeeded. */
	struct event_base *base;
	struct slot_loop *loop;
	struct slot_client *client;
	char *path; /* the socket it is connected to */
	/* Set when the daemon went away in mid-work; its code. ctl_run_until notices. */
	int disconnected;
	char disconnect_why[160];
	bool started; /* this invocation started the daemon */
	bool away;    /* the daemon is being restarted; what goes on then does so by itself */
	bool said_away;
	bool may_start, may_start_again;
	/* The verb's own say when the daemon goes away for good, when it is restarted (see
	 * `away`), or when the out buffer has room; may be NULL. */
	void (*on_disconnect)(struct ctl *ctl, void *arg);
	void (*on_state)(struct ctl *ctl, void *arg);
	void (*on_writable)(struct ctl *ctl, void *arg);
	void *handler_arg;
	size_t with_output; /* set before ctl_connect: job futures carry so many output bytes */
};

/* Makes base and loop, without a connection (ctl_connect does it too). 0 or CTL_EXIT_FAILURE. */
int ctl_loop(struct ctl *ctl);

/* Finds the socket, starts a user daemon where allowed, connects and waits for hello.
 * 0, or CTL_EXIT_FAILURE with the reason printed. */
int ctl_connect(struct ctl *ctl);

/* The daemon we are connected to named it in its answer to hello. */
bool ctl_has_feature(const struct ctl *ctl, const char *name);

/*
 * A call, waited for, with the connection made first where there is none. `params` is taken.
 * 0: *result (may be NULL) is a new reference. Else an exit status: the error is printed.
 */
int ctl_call(struct ctl *ctl, const char *method, json_t *params, json_t **result);

/* As ctl_call, but leaves errors of the daemon to the caller: 0 or -SLOT_…; *f (to be unref'd)
 * holds result or detail. */
int ctl_call_future(struct ctl *ctl, const char *method, json_t *params, struct slot_future **f);

/* Takes everything down again. */
void ctl_close(struct ctl *ctl);

/* Runs the loop until `f` is done. 0, or -SLOT_ETIMEOUT after timeout_ms (< 0: no limit). */
int ctl_run_until(struct ctl *ctl, struct slot_future *f, int64_t timeout_ms);

/*
 * Runs a stream until it ends, with the connection made first. `item` gets each item (without
 * stream and n) and returns false to end it early. Returns as the stream's end says: 0 (*result,
 * which may be NULL, is a new reference), 0 with *result NULL after an early end, or an exit
 * status with the error printed. `params` is taken.
 */
typedef bool (*ctl_item_fn)(struct ctl *ctl, json_t *item, void *arg);
int ctl_stream(struct ctl *ctl, const char *method, json_t *params, ctl_item_fn item, void *arg,
    json_t **result);

/* Prints what a failed future says as one "slotctl: …" line; CTL_EXIT_FAILURE (for Timeout:
 * CTL_EXIT_TIMEOUT, for JobFailed and JobCancelled: CTL_EXIT_NOT_OK). ctl_rpc_failure does it
 * for an error at hand, e.g. in a stream's end. */
int ctl_failure(const struct ctl *ctl, const struct slot_future *f);
int ctl_rpc_failure(const struct ctl *ctl, int code, const struct slot_rpc_error *error);

/* ---- printing (out.c) ---------------------------------------------------------------------- */

/* "slotctl: …" and a newline to stderr; control characters come out escaped. ctl_error returns
 * CTL_EXIT_FAILURE, so that a verb can end with it. */
int ctl_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ctl_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A usage error: also points to the verb's --help. CTL_EXIT_FAILURE. */
int ctl_usage(const struct ctl_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One compact JSON line to stdout (borrowed). */
void ctl_print_json(const json_t *value);

/* Flushes stdout; false: it failed, which was reported (a closed pipe: quietly). */
bool ctl_flush(void);

/* Prints text to `out` with control characters (and broken UTF-8) escaped as \xNN, at most
 * `width` columns (0: no bound), cut with "...". Returns the columns written. */
size_t ctl_print_text(FILE *out, const char *text, size_t len, size_t width);

/* Columns of the terminal on stdout; 0: none, don't cut. */
size_t ctl_columns(void);

/* A job's command as one line: words with blanks or specials quoted. The caller frees it. */
char *ctl_command_text(const json_t *argv);

/* The one-line form of a completion, as wait and watch print it: id, outcome, details. */
void ctl_print_completion(const struct ctl *ctl, const json_t *completion);

/* "exited 0", "signaled TERM", … into `buf`; works on completions and job objects. */
void ctl_outcome_text(const json_t *object, char *buf, size_t size);

/* Writes all of it to stdout as it is, e.g. a job's output. False: failed. */
bool ctl_write(const void *data, size_t len);

/* ---- values (parse.c) ---------------------------------------------------------------------- */

/* "300ms", "5s", "2m", "1h", "1d", or seconds ("1.5"). 0, or -1. */
int ctl_duration(const char *text, int64_t *ms);
/* "14:30", "2024-05-01T14:30[:05]" (local time) or "@epoch-seconds". 0, or -1. */
int ctl_time(const char *text, int64_t now_us, int64_t *us);
/* A whole number in [min, max]. 0, or -1. */
int ctl_number(const char *text, int64_t min, int64_t max, int64_t *value);
/* "12", "3,4", "5-9": appends to a JSON array. 0, or -1 with *bad the word that is wrong. */
int ctl_ids(json_t *array, const char *text);
/* All of args->argv from `first` on. NULL: printed. */
json_t *ctl_ids_of(const struct ctl_args *args, int first);
/* Exactly one id as the only word. 0, or CTL_EXIT_FAILURE, printed. */
int ctl_one_id(const struct ctl_args *args, int64_t *id);
/* "TERM", "SIGTERM" or "15" → 15; -1. And back: "TERM", or NULL. */
int ctl_signal_number(const char *text);
const char *ctl_signal_name(int signo);

/* ---- help (help.c) ------------------------------------------------------------------------- */

void ctl_help(void);                       /* the verbs, to stdout */
void ctl_help_verb(const struct verb *v); /* one verb, to stdout */

/* ---- a daemon of one's own (autostart.c) ---------------------------------------------------- */

/* Where a daemon that slotctl starts logs to. The caller frees it; NULL: nowhere. */
char *ctl_log_path(void);

/* Starts a user daemon on `path`; 0 once it (or another one meanwhile) may be connected to,
 * else -1 with the reason printed. */
int ctl_autostart(const char *path);

#endif
