/*
 * How as_completed works: the same thing once more, small, on the public futures alone - a todo
 * set, a queue of those done, one callback for each future, a timer that drains the todo set -
 * and its events beside those of slot_as_completed. Each future is handed out once, also where it
 * was given twice; after a timeout what remains is left alone; an empty list is refused. (asyncio
 * has to refuse a single future, too; here the compiler does.)
 *
 *	build/examples/how_as_completed_works [MILLISECONDS]           sleeps in this process
 *	build/examples/remote/how_as_completed_works [MILLISECONDS]    lets a daemon run the sleeps
 *
 * MILLISECONDS: how long a second lasts.
 */
#include "sleep.h"

#include <slot/combine.h>
#include <string.h>

enum { FUTURES_MAX = 8 };

struct mine {
	struct sleeps *sleeps;
	struct slot_future *todo[FUTURES_MAX]; /* a set: each once */
	size_t ntodo;
	struct slot_future *done[FUTURES_MAX]; /* a queue, in the order of ending */
	size_t ndone;
	size_t taken;
	size_t remaining; /* how many the timeout found in todo */
	struct slot_future *news; /* what the consumer sleeps on, while it does */
	struct event *timer;
};

static void
wake_consumer(struct mine *m)
{
	if (m->news != NULL)
		slot_future_set_result(m->news, NULL, NULL);
}

static bool
todo_remove(struct mine *m, const struct slot_future *f)
{
	for (size_t i = 0; i < m->ntodo; i++) {
		if (m->todo[i] != f)
			continue;
		memmove(&m->todo[i], &m->todo[i + 1], (--m->ntodo - i) * sizeof(m->todo[0]));
		return true;
	}
	return false;
}

static void
on_completion(struct slot_future *f, void *arg)
{
	struct mine *m = arg;

	if (!todo_remove(m, f))
		return; /* drained by the timeout meanwhile */
	m->done[m->ndone++] = f;
	if (m->ntodo == 0 && m->timer != NULL)
		event_del(m->timer);
	wake_consumer(m);
}

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct mine *m = arg;

	(void)fd;
	(void)what;
	m->remaining = m->ntodo;
	/* Those that end later find no callback any more: nothing is delivered, nothing leaks. */
	while (m->ntodo > 0)
		slot_future_remove_done_callback(m->todo[--m->ntodo], on_completion, m);
	wake_consumer(m);
}

/* False: nothing to follow. A future that is given twice is in the set once. */
static bool
mine_init(struct mine *m, struct sleeps *sleeps, struct slot_future *const *futures, size_t n,
    int timeout_ms)
{
	struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

	if (n == 0)
		return false;
	*m = (struct mine){.sleeps = sleeps};
	for (size_t i = 0; i < n; i++) {
		todo_remove(m, futures[i]);
		m->todo[m->ntodo++] = futures[i];
	}
	for (size_t i = 0; i < m->ntodo; i++)
		slot_future_add_done_callback(m->todo[i], on_completion, m);
	if (timeout_ms == SLOT_NO_TIMEOUT)
		return true;
	m->timer = need(evtimer_new(slot_loop_base(sleeps->loop), on_timeout, m));
	event_add(m->timer, &timeout);
	return true;
}

/* The next one that ended, borrowed; NULL at the end and after the timeout. */
static struct slot_future *
mine_next(struct mine *m)
{
	while (m->taken == m->ndone && m->ntodo > 0) {
		m->news = need(slot_future_new(m->sleeps->loop));
		await(m->sleeps, m->news);
		slot_future_unref(m->news);
		m->news = NULL;
	}
	return m->taken < m->ndone ? m->done[m->taken++] : NULL;
}

static void
mine_fini(struct mine *m)
{
	if (m->timer != NULL)
		event_free(m->timer);
}

static void
await_all(struct sleeps *sleeps, struct slot_future *const *futures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		await(sleeps, futures[i]);
}

static void
print_mine(const char *what, struct sleeps *sleeps, struct slot_future *const *futures, size_t n,
    int timeout_ms)
{
	struct mine m;
	struct slot_future *f;

	if (!mine_init(&m, sleeps, futures, n, timeout_ms)) {
		printf("%s mine refused\n", what);
		return;
	}
	printf("%s mine following %zu\n", what, m.ntodo);
	while ((f = mine_next(&m)) != NULL)
		printf("%s mine %s %s\n", what, sleep_name(f), outcome_name(f));
	if (m.remaining == 0) {
		printf("%s mine end\n", what);
	} else {
		printf("%s mine timeout remaining %zu\n", what, m.remaining);
		await_all(sleeps, futures, n);
		printf("%s mine afterwards %s\n", what, mine_next(&m) == NULL ? "nothing" : "more");
	}
	mine_fini(&m);
}

/* ---- the library's ---- */

static void
set_done(struct slot_as_completed *ac, void *arg)
{
	struct slot_future **news = arg;

	(void)ac;
	if (*news != NULL)
		slot_future_set_result(*news, NULL, NULL);
}

static void
print_library(const char *what, struct sleeps *sleeps, struct slot_future *const *futures,
    size_t n, int timeout_ms)
{
	struct slot_future *news = NULL, *f;
	struct slot_as_completed *ac =
	    slot_as_completed_new(sleeps->loop, futures, n, timeout_ms, set_done, &news, NULL);

	if (ac == NULL) {
		printf("%s library refused\n", what);
		return;
	}
	printf("%s library following %zu\n", what, slot_as_completed_remaining(ac));
	while (slot_as_completed_status(ac) == 1) {
		f = slot_as_completed_next(ac);
		if (f == NULL) {
			news = need(slot_future_new(sleeps->loop));
			await(sleeps, news);
			slot_future_unref(news);
			news = NULL;
			continue;
		}
		printf("%s library %s %s\n", what, sleep_name(f), outcome_name(f));
		slot_future_unref(f);
	}
	if (slot_as_completed_status(ac) == 0) {
		printf("%s library end\n", what);
	} else {
		printf("%s library timeout remaining %zu\n", what, slot_as_completed_remaining(ac));
		await_all(sleeps, futures, n);
		f = slot_as_completed_next(ac);
		printf("%s library afterwards %s\n", what, f == NULL ? "nothing" : "more");
		slot_future_unref(f);
	}
	slot_as_completed_free(ac);
}

typedef void (*print_fn)(const char *what, struct sleeps *sleeps,
    struct slot_future *const *futures, size_t n, int timeout_ms);

static void
show(print_fn print, struct sleeps *sleeps)
{
	static const struct sleep jobs[] = {{"a", 2, false}, {"b", 0.2, true}, {"c", 1.5, false}};
	struct slot_future *f[6];

	for (int i = 0; i < 3; i++)
		f[i] = f[i + 3] = sleep_start(sleeps, &jobs[i]);
	print("duplicates", sleeps, f, 6, SLOT_NO_TIMEOUT);
	print("done_already", sleeps, f, 3, SLOT_NO_TIMEOUT);
	unref_all(f, 3);
	for (int i = 0; i < 3; i++)
		f[i] = sleep_start(sleeps, &jobs[i]);
	print("timeout", sleeps, f, 3, (int)sleeps->second_ms * 4 / 5);
	/* Nothing was lost: they can be followed once more. */
	print("later", sleeps, f, 3, SLOT_NO_TIMEOUT);
	print("empty", sleeps, NULL, 0, SLOT_NO_TIMEOUT);
	unref_all(f, 3);
}

int
main(int argc, char **argv)
{
	struct sleeps *sleeps = sleeps_open(argc, argv);

	show(print_mine, sleeps);
	show(print_library, sleeps);

	sleeps_close(sleeps);
	return 0;
}
