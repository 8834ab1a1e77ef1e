#ifndef ENGINE_RUN_STDIN_H
#define ENGINE_RUN_STDIN_H
/*
 * The write end of a job's stdin pipe, and the writes that wait for room in it. Writes may be
 * queued before the job starts; they are done in order.
 */
#include "engine/run.h"

struct stdin_write {
	TAILQ_ENTRY(stdin_write) entry;
	struct slot_call answer;
	struct engine *engine;
	const char *data; /* borrowed until cb */
	size_t len, done;
	bool eof;
	int error;
	stdin_write_cb cb; /* NULL: forgotten */
	void *arg;
};

/* Makes the pipe: the read end (for the launcher), or -errno. The write end is kept. */
int run_stdin_open(struct job_run *run);
/* The job was started: writes that wait can go on. */
void run_stdin_start(struct job_run *run);
/* The attempt came to nothing: the next one gets a pipe of its own; writes go on waiting. */
void run_stdin_reopen(struct job_run *run);
/* Closes the write end; writes that wait end with this errno. */
void run_stdin_close(struct job_run *run, int error);

#endif
