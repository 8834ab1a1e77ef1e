/* What the lines have shelved; see queue_shelf.h. */
#include "engine/queue_shelf.h"
#include "engine/queue_line.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A line's jobs in memory that are durable are at most so many times `hot`, even if each came with
 * a priority above all that were there. */
#define HOT_MAX_TIMES 4

/* ---- marks ---- */

static void *
mark_of(const struct queue_fifo *f)
{
	return (void *)((uintptr_t)f | 1);
}

static struct queue_fifo *
fifo_of(const void *mark)
{
	return (struct queue_fifo *)((uintptr_t)mark & ~(uintptr_t)1);
}

static const struct queue_fifo *
fifo_of_id(const struct queue_set *set, uint64_t id)
{
	const void *mark = idtab_get(set->shelf.jobs, id);

	assert(queue_shelf_is_mark(mark));
	return fifo_of(mark);
}

struct alive_in {
	const struct idtab *jobs;
	const void *mark;
};

static bool
is_alive(const void *arg, uint64_t id)
{
	const struct alive_in *in = arg;

	return idtab_get(in->jobs, id) == in->mark;
}

/* ---- a line's shelf ---- */

static struct queue_fifo *
fifo_get(struct queue_line *line, int priority)
{
	struct queue_fifo *f, *made;

	TAILQ_FOREACH(f, &line->shelf, entry)
		if (f->priority <= priority)
			break;
	if (f != NULL && f->priority == priority)
		return f;
	made = calloc(1, sizeof *made);
	if (made == NULL)
		return NULL;
	made->line = line;
	made->priority = priority;
	if (f != NULL)
		TAILQ_INSERT_BEFORE(f, made, entry);
	else
		TAILQ_INSERT_TAIL(&line->shelf, made, entry);
	return made;
}

static void
fifo_free(struct queue_fifo *f)
{
	TAILQ_REMOVE(&f->line->shelf, f, entry);
	idfifo_fini(&f->ids);
	free(f);
}

bool
queue_line_shelved_before(const struct queue_line *line, int priority, uint64_t id)
{
	const struct queue_fifo *f = TAILQ_FIRST(&line->shelf);

	if (f == NULL || f->priority < priority)
		return false;
	return f->priority > priority || idfifo_first(&f->ids) < id;
}

void
queue_line_clear_shelf(struct queue_set *set, struct queue_line *line)
{
	struct queue_fifo *f;

	while ((f = TAILQ_FIRST(&line->shelf)) != NULL) {
		set->nshelved -= f->count;
		fifo_free(f);
	}
	if (line->listed)
		TAILQ_REMOVE(&set->hungry, line, in_hungry);
	line->listed = false;
	if (line->reader != NULL)
		*line->reader = NULL;
	line->reader = NULL;
}

/* ---- hunger ---- */

static bool
is_hungry(struct queue_set *set, struct queue_line *line)
{
	const struct queue_fifo *first = TAILQ_FIRST(&line->shelf);
	struct slot_action *head;

	if (first == NULL || line->reader != NULL)
		return false;
	if (set->emptying)
		return true;
	if (line->queue->paused || line->queue->limit == 0 || set->total == 0)
		return false;
	head = order_head(&line->waiting);
	return head == NULL ||
	    queue_line_shelved_before(line, slot_action_priority(head), set->place(head)->id) ||
	    order_count(&line->waiting, first->priority).all < set->shelf.batch;
}

void
queue_line_check(struct queue_set *set, struct queue_line *line)
{
	if (line->listed || !is_hungry(set, line))
		return;
	TAILQ_INSERT_TAIL(&set->hungry, line, in_hungry);
	line->listed = true;
	if (set->shelf.on_hungry != NULL)
		set->shelf.on_hungry(set->shelf.arg);
}

void
queue_shelf_recheck(struct queue_set *set)
{
	struct queue *q;
	struct queue_line *line;

	TAILQ_FOREACH(q, &set->queues, entry)
		TAILQ_FOREACH(line, &q->lines, of_queue)
			queue_line_check(set, line);
}

void
queue_shelf_empty(struct queue_set *set, bool on)
{
	set->emptying = on;
	if (on)
		queue_shelf_recheck(set);
}

bool
queue_shelf_any_hungry(const struct queue_set *set)
{
	return !TAILQ_EMPTY(&set->hungry);
}

bool
queue_shelf_next_hungry(struct queue_set *set, struct queue_line **at)
{
	struct queue_line *line;

	while ((line = TAILQ_FIRST(&set->hungry)) != NULL) {
		TAILQ_REMOVE(&set->hungry, line, in_hungry);
		line->listed = false;
		if (!is_hungry(set, line))
			continue;
		line->reader = at;
		*at = line;
		return true;
	}
	return false;
}

size_t
queue_shelf_first(const struct queue_set *set, const struct queue_line *line, uint64_t *ids,
    size_t max)
{
	const struct queue_fifo *f;
	size_t n = 0;

	TAILQ_FOREACH(f, &line->shelf, entry) {
		struct alive_in in = { set->shelf.jobs, mark_of(f) };
		struct idfifo_owner owner = { is_alive, &in };

		if (n == max)
			break;
		n += idfifo_read(&f->ids, &owner, ids + n, max - n);
	}
	return n;
}

void
queue_shelf_put_off(struct queue_line **at)
{
	if (*at != NULL)
		(*at)->reader = NULL;
	*at = NULL;
}

void
queue_shelf_read(struct queue_set *set, struct queue_line **at)
{
	struct queue_line *line = *at;

	queue_shelf_put_off(at);
	if (line != NULL)
		queue_line_check(set, line);
}

/* ---- onto the shelf, and down ---- */

void
queue_set_shelf(struct queue_set *set, const struct queue_shelf_options *options)
{
	set->shelf = *options;
}

size_t
queue_shelf_count(const struct queue_set *set)
{
	return set->nshelved;
}

/* What comes right after few others stays, though the line be full of lesser ones: it would be
 * wanted back at once. */
static bool
is_hot(const struct queue_set *set, const struct queue_line *line, int priority)
{
	size_t hot = set->shelf.hot;

	if (line->waiting.settled < hot)
		return true;
	return line->waiting.settled < HOT_MAX_TIMES * hot &&
	    order_count(&line->waiting, priority).settled < hot;
}

bool
queue_shelf_wants(struct queue_set *set, struct slot_action *a)
{
	struct queue_place *p = set->place(a);
	struct queue_line *line = p->line;
	int priority = slot_action_priority(a);

	if (p->parked || p->settled) {
		p->settled = true;
		return false;
	}
	if (set->shelf.jobs != NULL && !set->emptying &&
	    (queue_line_shelved_before(line, priority, p->id) || !is_hot(set, line, priority)))
		return true;
	order_settle(&line->waiting, a, set->place);
	return false;
}

int
queue_shelf_put(struct queue_set *set, const struct queue_place *place, int priority)
{
	struct queue_line *line = place->line;
	struct queue_fifo *f = fifo_get(line, priority);
	int rc;

	if (f == NULL)
		return -ENOMEM;
	rc = f->ids.last >= place->id ? -EINVAL : idfifo_push(&f->ids, place->id);
	if (rc == 0 && (rc = idtab_put(set->shelf.jobs, place->id, mark_of(f))) == 0) {
		f->count++;
		set->nshelved++;
		queue_user_waits(set, line->user);
		queue_line_check(set, line);
	} else if (f->count == 0) {
		fifo_free(f); /* (else the id stays in it as a dead one) */
	}
	return rc;
}

void
queue_shelf_place(const struct queue_set *set, uint64_t id, struct queue_place *place)
{
	*place = (struct queue_place){
		.line = fifo_of_id(set, id)->line, .id = id, .settled = true,
	};
}

void
queue_shelf_taken(struct queue_set *set, void *mark)
{
	struct queue_fifo *f = fifo_of(mark);
	struct alive_in in = { set->shelf.jobs, mark };
	struct idfifo_owner owner = { is_alive, &in };
	struct queue_line *line = f->line;

	set->nshelved--;
	if (--f->count == 0)
		fifo_free(f);
	else
		idfifo_died(&f->ids, &owner);
	queue_user_waits_less(set, line->user);
	queue_line_check(set, line);
}

enum queue_obstacle
queue_shelf_obstacle(const struct queue_set *set, uint64_t id)
{
	struct queue_place place;

	queue_shelf_place(set, id, &place);
	return queue_obstacle(&place, 1);
}
