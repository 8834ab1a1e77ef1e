#ifndef CTL_SPEC_H
#define CTL_SPEC_H
/*
 * The job flags that submit, run and map share, and the spec made from them. The caller's
 * directory, umask, environment and limits go in with it.
 */
#include "ctl/ctl.h"

struct spec {
	const char *queue, *name, *cwd, *out, *err, *in, *key; /* borrowed from the command line */
	json_t *tag;       /* owned */
	json_t *env_set;   /* owned: the words of -E */
	json_t *after_ids; /* owned */
	int64_t slots, priority, delay_ms, not_before_us, timeout_ms, retries, backoff_ms;
	bool has_slots, has_priority, has_delay, has_not_before, has_timeout, has_retries,
	    has_backoff;
	bool shell, jobserver, block;
};

/* What submit, run and map share, and what is for a single job: the own table of submit and run.
 * Ids: letters and CTL_OPTION_SPEC + … */
extern const struct ctl_option spec_options[], spec_single_options[];

void spec_init(struct spec *spec);
void spec_fini(struct spec *spec);

/* Takes one option. 1: taken; 0: not one of the spec's; -1: a bad value, printed. */
int spec_option(struct spec *spec, const struct ctl_args *args, int option);

/*
 * Parameters of job.submit but for argv (for map: the defaults). NULL: printed.
 * cwd, umask and env are the caller's own where no flag says otherwise. -o and -e become
 * stdout and stderr {file}, --stdin stdin {file}; absent, they are not there (the caller of
 * this sets its own). on_full is not there either for map: see spec_params.
 */
json_t *spec_defaults(const struct spec *spec);

/* The argv array of a command line; with --shell its words joined by blanks as sh -c "…". */
json_t *spec_argv(const struct spec *spec, char *const *words, int nwords);

/* spec_defaults with argv and on_full (-B): all of job.submit's parameters. NULL: printed. */
json_t *spec_params(const struct spec *spec, const struct ctl_args *args);

#endif
