/*
 * A queue of what is to be closed and removed.
 */
#include "engine/capture_files.h"

#include <stdlib.h>
#include <unistd.h>

struct capture_file {
	STAILQ_ENTRY(capture_file) next;
	int fd;                /* -1: none */
	struct ring_name name; /* job 0: it has none, or stays */
};

void
capture_files_init(struct capture_files *f, const char *dir, pthread_mutex_t *lock)
{
	f->dir = dir;
	f->lock = lock;
	STAILQ_INIT(&f->queue);
}

static void
drop(const char *dir, int fd, const struct ring_name *name)
{
	char text[RING_NAME_MAX];

	if (name && name->job != 0) {
		ring_name_format(name, text);
		ring_file_unlink(dir, text);
	}
	if (fd >= 0)
		close(fd); /* its blocks go now, if it was removed */
}

void
capture_files_add(struct capture_files *f, int fd, const struct ring_name *name)
{
	struct capture_file *file = malloc(sizeof(*file));

	if (!file) {
		drop(f->dir, fd, name);
		return;
	}
	*file = (struct capture_file){.fd = fd};
	if (name)
		file->name = *name;
	pthread_mutex_lock(f->lock);
	STAILQ_INSERT_TAIL(&f->queue, file, next);
	pthread_mutex_unlock(f->lock);
}

bool
capture_files_drop(struct capture_files *f, unsigned max)
{
	for (;; max--) {
		struct capture_file *file;

		pthread_mutex_lock(f->lock);
		file = STAILQ_FIRST(&f->queue);
		if (file && max > 0)
			STAILQ_REMOVE_HEAD(&f->queue, next);
		pthread_mutex_unlock(f->lock);
		if (!file || max == 0)
			return file != NULL;
		drop(f->dir, file->fd, &file->name);
		free(file);
	}
}

static void
drop_namesakes(struct capture_files *f, const struct ring_name *name)
{
	struct capture_file_queue rest = STAILQ_HEAD_INITIALIZER(rest);
	struct capture_file_queue same = STAILQ_HEAD_INITIALIZER(same);
	struct capture_file *file;

	pthread_mutex_lock(f->lock);
	while ((file = STAILQ_FIRST(&f->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&f->queue, next);
		if (ring_name_compare(&file->name, name) == 0)
			STAILQ_INSERT_TAIL(&same, file, next);
		else
			STAILQ_INSERT_TAIL(&rest, file, next);
	}
	STAILQ_CONCAT(&f->queue, &rest);
	pthread_mutex_unlock(f->lock);
	while ((file = STAILQ_FIRST(&same)) != NULL) {
		STAILQ_REMOVE_HEAD(&same, next);
		drop(f->dir, file->fd, &file->name);
		free(file);
	}
}

int
capture_files_create(struct capture_files *f, const struct ring_name *name)
{
	if (name->job == 0)
		return ring_file_create_unnamed(f->dir);
	drop_namesakes(f, name);
	return ring_file_create(f->dir, name);
}

void
capture_files_undo(struct capture_files *f, int fd, const struct ring_name *name)
{
	drop(f->dir, fd, name);
}
