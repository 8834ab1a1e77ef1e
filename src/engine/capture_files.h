#ifndef ENGINE_CAPTURE_FILES_H
#define ENGINE_CAPTURE_FILES_H
/*
 * The files of a pool's rings, as the output thread sees them: it makes them, and it closes and
 * removes those that are handed to it, as either may take its time. Private to captures.
 */
#include "engine/ring_file.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct capture_file;

struct capture_files {
	const char *dir;       /* borrowed */
	pthread_mutex_t *lock; /* over the queue */
	STAILQ_HEAD(capture_file_queue, capture_file) queue;
};

void capture_files_init(struct capture_files *f, const char *dir, pthread_mutex_t *lock);

/* Any thread: closes fd (-1: none) and removes the file of this name (NULL: none) later, or at
 * once if there is no memory to remember it. */
void capture_files_add(struct capture_files *f, int fd, const struct ring_name *name);

/* The output thread: up to `max` of those. Whether more are left. */
bool capture_files_drop(struct capture_files *f, unsigned max);

/* The output thread: a new file (job 0: without a name). One of that name that was handed over is
 * dropped first, so that it won't be taken for the new one. As ring_file_create. */
int capture_files_create(struct capture_files *f, const struct ring_name *name);
/* … that came to nothing. */
void capture_files_undo(struct capture_files *f, int fd, const struct ring_name *name);

#endif
