/* The verbs: one row each. A new verb is a function in a file of its own and a row here. */
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/spec.h"

#define COMMAND_FLAGS "[FLAGS] [--] COMMAND [ARG]..."

static const struct verb verbs[] = {
	{ "submit", { "add" }, COMMAND_FLAGS, "submit a job and print its id", spec_single_options,
	    spec_options, VERB_WORDS_COMMAND, cmd_submit },
	{ "run", { NULL }, COMMAND_FLAGS,
	    "run a job with stdin, stdout and stderr passed through; exit as it did",
	    spec_single_options, spec_options, VERB_WORDS_COMMAND, cmd_run },
	{ "map", { NULL }, COMMAND_FLAGS,
	    "run the command once for each line of stdin, results as they finish", map_options,
	    spec_options, VERB_WORDS_COMMAND, cmd_map },
	{ "wait", { NULL }, "[ID]...", "wait for jobs and print them as they finish", wait_options,
	    NULL, VERB_WORDS_ANYWHERE, cmd_wait },
	{ "gather", { NULL }, "ID...", "wait for all and print their output in the order given",
	    gather_options, NULL, VERB_WORDS_ANYWHERE, cmd_gather },
	{ "watch", { NULL }, "", "print every job as it finishes, without end", watch_options, NULL,
	    VERB_WORDS_ANYWHERE, cmd_watch },
	{ "list", { "ls", "status" }, "", "list jobs, the newest first", list_options, NULL,
	    VERB_WORDS_ANYWHERE, cmd_list },
	{ "show", { NULL }, "ID...", "show all about a job", NULL, NULL, VERB_WORDS_ANYWHERE,
	    cmd_show },
	{ "log", { NULL }, "ID", "print a job's stdout", log_options, NULL, VERB_WORDS_ANYWHERE,
	    cmd_log },
	{ "send", { NULL }, "ID", "send stdin to the stdin of a job", send_options, NULL,
	    VERB_WORDS_ANYWHERE, cmd_send },
	{ "cancel", { "kill" }, "ID...", "cancel jobs and wait until nothing of them is left",
	    cancel_options, NULL, VERB_WORDS_ANYWHERE, cmd_cancel },
	{ "signal", { NULL }, "SIGNAL ID", "send a signal to a running job", signal_options, NULL,
	    VERB_WORDS_ANYWHERE, cmd_signal },
	{ "retry", { NULL }, "ID...", "submit finished jobs again and print the new ids", NULL,
	    NULL, VERB_WORDS_ANYWHERE, cmd_retry },
	{ "set", { NULL }, "ID", "change a pending job", set_options, NULL, VERB_WORDS_ANYWHERE,
	    cmd_set },
	{ "forget", { "rm" }, "ID...", "remove finished jobs from the history", NULL, NULL,
	    VERB_WORDS_ANYWHERE, cmd_forget },
	{ "limit", { NULL }, "[N]", "show or set how many slots run at once (0: start nothing)",
	    limit_options, NULL, VERB_WORDS_ANYWHERE, cmd_limit },
	{ "pause", { NULL }, "", "start no more jobs", pause_options, NULL, VERB_WORDS_ANYWHERE,
	    cmd_pause },
	{ "resume", { NULL }, "", "start jobs again", pause_options, NULL, VERB_WORDS_ANYWHERE,
	    cmd_resume },
	{ "queue", { NULL }, "", "list the queues", queue_options, NULL, VERB_WORDS_ANYWHERE,
	    cmd_queue },
	{ "drain", { NULL }, "", "take no more jobs and wait until none is left", drain_options,
	    NULL, VERB_WORDS_ANYWHERE, cmd_drain },
	{ "stats", { NULL }, "", "show the daemon's counters", NULL, NULL, VERB_WORDS_ANYWHERE,
	    cmd_stats },
	{ "doctor", { NULL }, "", "say what there is and what is amiss", NULL, NULL,
	    VERB_WORDS_ANYWHERE, cmd_doctor },
	{ "call", { NULL }, "METHOD [PARAMS-JSON]",
	    "call a method of the protocol (\"-\": params from stdin)", NULL, NULL,
	    VERB_WORDS_ANYWHERE, cmd_call },
};

#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))
#define NALIASES (sizeof(verbs[0].alias) / sizeof(verbs[0].alias[0]))
#define NAME_MAX_NEAR 32

const struct verb *
verb_at(size_t i)
{
	return i < NVERBS ? &verbs[i] : NULL;
}

const struct verb *
verb_find(const char *name)
{
	for (size_t i = 0; i < NVERBS; i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
		for (size_t k = 0; k < NALIASES && verbs[i].alias[k] != NULL; k++) {
			if (strcmp(verbs[i].alias[k], name) == 0)
				return &verbs[i];
		}
	}
	return NULL;
}

static size_t
min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edits that make one word of the other. */
static size_t
distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	size_t row[NAME_MAX_NEAR + 1];

	if (la > NAME_MAX_NEAR || lb > NAME_MAX_NEAR)
		return NAME_MAX_NEAR;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[lb];
}

const char *
verb_nearest(const char *name)
{
	const char *best = NULL;
	size_t best_distance = strlen(name) <= 3 ? 2 : 3; /* nothing further off than this */

	for (size_t i = 0; i < NVERBS; i++) {
		for (size_t k = 0; k <= NALIASES; k++) {
			const char *word = k == 0 ? verbs[i].name : verbs[i].alias[k - 1];

			if (word == NULL)
				continue;
			size_t d = distance(name, word);

			if (d < best_distance) {
				best_distance = d;
				best = word;
			}
		}
	}
	return best;
}
