#ifndef CTL_OUTCOME_H
#define CTL_OUTCOME_H
/*
 * How a job ended, as an exit status and as a line for people.
 */
#include "ctl/ctl.h"

enum {
	OUTCOME_EXIT_TIMED_OUT = 124,
	OUTCOME_EXIT_UNCLEAR = 125, /* lost, cancelled, its dependency failed */
	OUTCOME_EXIT_CANNOT_EXECUTE = 126,
	OUTCOME_EXIT_NOT_FOUND = 127,
	OUTCOME_EXIT_SIGNAL = 128, /* plus the signal */
};

/* The exit status that stands for a job object that is done (or a completion, which doesn't
 * say why a command could not be started). */
int outcome_exit_status(const json_t *job);

/* Says on stderr what the exit status alone doesn't; nothing for jobs that ran. */
void outcome_explain(const json_t *job);

#endif
