/* A queue in, a queue out, and one thread between; see journal_reader.h. */
#include "store/journal_reader.h"

#include "store/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct queue {
	struct jread *first, **last;
};

struct jreader {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool started;
	int note_fd;
	struct fetch fetch; /* the thread's, once it runs */

	/* Under the lock. */
	struct queue queued, done;
	bool stop;
};

static void
append(struct queue *q, struct jread *jr)
{
	jr->next = NULL;
	*q->last = jr;
	q->last = &jr->next;
}

static struct jread *
take_all(struct queue *q)
{
	struct jread *first = q->first;

	q->first = NULL;
	q->last = &q->first;
	return first;
}

static struct jread *
take_one(struct queue *q)
{
	struct jread *jr = q->first;

	q->first = jr->next;
	if (q->first == NULL)
		q->last = &q->first;
	return jr;
}

static void
ring(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(fd, &one, sizeof one);
	while (n < 0 && errno == EINTR); /* EAGAIN: it is awake */
}

static void *
thread_main(void *arg)
{
	struct jreader *rd = arg;

	pthread_mutex_lock(&rd->lock);
	for (;;) {
		struct jread *jr;

		while (rd->queued.first == NULL && !rd->stop)
			pthread_cond_wait(&rd->wake, &rd->lock);
		if (rd->stop)
			break;
		jr = take_one(&rd->queued);
		pthread_mutex_unlock(&rd->lock);
		if (!atomic_load(&jr->unwanted))
			fetch_run(&rd->fetch, jr);
		pthread_mutex_lock(&rd->lock);
		append(&rd->done, jr);
		ring(rd->note_fd);
	}
	pthread_mutex_unlock(&rd->lock);
	return NULL;
}

/* ---- the loop's side ---- */

struct jreader *
jreader_new(sqlite3 *db, int output_fd, int note_fd)
{
	struct jreader *rd = calloc(1, sizeof *rd);

	if (rd == NULL)
		return NULL;
	if (fetch_init(&rd->fetch, db, output_fd) != SQLITE_OK) {
		fetch_fini(&rd->fetch);
		free(rd);
		return NULL;
	}
	pthread_mutex_init(&rd->lock, NULL);
	pthread_cond_init(&rd->wake, NULL);
	take_all(&rd->queued);
	take_all(&rd->done);
	rd->note_fd = note_fd;
	return rd;
}

struct fetch *
jreader_fetch(struct jreader *rd)
{
	return &rd->fetch;
}

int
jreader_start(struct jreader *rd)
{
	int rc = 0;

	if (!rd->started)
		rc = thread_start(&rd->thread, "slotd-reader", thread_main, rd);
	rd->started |= rc == 0;
	return rc;
}

void
jreader_put(struct jreader *rd, struct jread *jr)
{
	pthread_mutex_lock(&rd->lock);
	append(&rd->queued, jr);
	pthread_cond_signal(&rd->wake);
	pthread_mutex_unlock(&rd->lock);
}

struct jread *
jreader_take(struct jreader *rd)
{
	struct jread *first;

	pthread_mutex_lock(&rd->lock);
	first = take_all(&rd->done);
	pthread_mutex_unlock(&rd->lock);
	return first;
}

struct jread *
jreader_free(struct jreader *rd)
{
	struct jread *first;
	sqlite3 *db = rd->fetch.db;

	pthread_mutex_lock(&rd->lock);
	rd->stop = true;
	pthread_cond_signal(&rd->wake);
	pthread_mutex_unlock(&rd->lock);
	if (rd->started)
		pthread_join(rd->thread, NULL);
	while (rd->queued.first != NULL)
		append(&rd->done, take_one(&rd->queued));
	first = take_all(&rd->done);
	fetch_fini(&rd->fetch);
	sqlite3_close(db);
	pthread_cond_destroy(&rd->wake);
	pthread_mutex_destroy(&rd->lock);
	free(rd);
	return first;
}
