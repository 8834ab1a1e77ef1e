/* The order of starting; see queue.h. */
#include "engine/queue.h"
#include "engine/queue_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Names outlive their queues: rows of history go on pointing at them. */
struct queue_label {
	struct queue_label *next;
	char text[];
};

struct queue_set *
queue_set_new(queue_place_cb place)
{
	struct queue_set *set = calloc(1, sizeof *set);

	if (set == NULL)
		return NULL;
	set->place = place;
	set->total = QUEUE_UNLIMITED;
	TAILQ_INIT(&set->queues);
	TAILQ_INIT(&set->active);
	TAILQ_INIT(&set->users);
	TAILQ_INIT(&set->hungry);
	return set;
}

static void
line_free(struct queue_set *set, struct queue_line *line)
{
	queue_line_clear_shelf(set, line);
	TAILQ_REMOVE(&line->user->lines, line, entry);
	TAILQ_REMOVE(&line->queue->lines, line, of_queue);
	free(line);
}

/* What is in memory has left; what is shelved may be there still. */
void
queue_set_free(struct queue_set *set)
{
	struct queue *q;
	struct queue_line *line;
	struct queue_user *u;
	struct queue_label *label;

	if (set == NULL)
		return;
	while ((label = set->names) != NULL) {
		set->names = label->next;
		free(label);
	}
	while ((q = TAILQ_FIRST(&set->queues)) != NULL) {
		while ((line = TAILQ_FIRST(&q->lines)) != NULL)
			line_free(set, line);
		TAILQ_REMOVE(&set->queues, q, entry);
		free(q);
	}
	while ((u = TAILQ_FIRST(&set->users)) != NULL) {
		TAILQ_REMOVE(&set->users, u, all);
		free(u);
	}
	free(set);
}

/* ---- queues ---- */

struct queue *
queue_find(const struct queue_set *set, const char *name)
{
	struct queue *q;

	TAILQ_FOREACH(q, &set->queues, entry)
		if (strcmp(q->name, name) == 0)
			return q;
	return NULL;
}

static const char *
label_get(struct queue_set *set, const char *name)
{
	size_t len = strlen(name) + 1;
	struct queue_label *label;

	for (label = set->names; label != NULL; label = label->next)
		if (strcmp(label->text, name) == 0)
			return label->text;
	label = malloc(sizeof *label + len);
	if (label == NULL)
		return NULL;
	memcpy(label->text, name, len);
	label->next = set->names;
	set->names = label;
	return label->text;
}

struct queue *
queue_add(struct queue_set *set, const char *name)
{
	struct queue *q = calloc(1, sizeof *q);

	if (q == NULL || (q->name = label_get(set, name)) == NULL) {
		free(q);
		return NULL;
	}
	q->set = set;
	q->limit = QUEUE_UNLIMITED;
	TAILQ_INIT(&q->lines);
	TAILQ_INSERT_TAIL(&set->queues, q, entry);
	return q;
}

int
queue_remove(struct queue_set *set, struct queue *q)
{
	if (q->members > 0)
		return -EBUSY;
	TAILQ_REMOVE(&set->queues, q, entry);
	free(q);
	return 0;
}

struct queue *
queue_next(const struct queue_set *set, const struct queue *q)
{
	return q != NULL ? TAILQ_NEXT(q, entry) : TAILQ_FIRST(&set->queues);
}

const char *
queue_name(const struct queue *q)
{
	return q->name;
}

uint32_t
queue_limit(const struct queue *q)
{
	return q->limit;
}

bool
queue_paused(const struct queue *q)
{
	return q->paused;
}

void
queue_set_paused(struct queue *q, bool paused)
{
	struct queue_line *line;

	q->paused = paused;
	TAILQ_FOREACH(line, &q->lines, of_queue)
		queue_line_check(q->set, line);
}

uint32_t
queue_running(const struct queue *q)
{
	return q->running;
}

size_t
queue_pending(const struct queue *q)
{
	return q->members - q->running_jobs;
}

/* ---- one line ---- */

static bool
impossible(const struct queue_set *set, const struct queue *q, uint32_t slots)
{
	return (set->total != 0 && slots > set->total) || (q->limit != 0 && slots > q->limit);
}

static void
park(struct queue_set *set, struct queue_line *line, struct slot_action *a)
{
	slot_action_links(a)[0] = line->parked;
	slot_action_links(a)[1] = NULL;
	if (line->parked != NULL)
		slot_action_links(line->parked)[1] = a;
	line->parked = a;
	set->place(a)->parked = true;
}

static void
unpark(struct queue_set *set, struct queue_line *line, struct slot_action *a)
{
	struct slot_action *next = slot_action_links(a)[0], *prev = slot_action_links(a)[1];

	if (prev != NULL)
		slot_action_links(prev)[0] = next;
	else
		line->parked = next;
	if (next != NULL)
		slot_action_links(next)[1] = prev;
	slot_action_links(a)[0] = slot_action_links(a)[1] = NULL;
	set->place(a)->parked = false;
}

static void
line_take(struct queue_set *set, struct queue_line *line, struct slot_action *a)
{
	if (line->passed == a)
		line->passed = NULL;
	if (set->place(a)->parked)
		unpark(set, line, a);
	else
		order_take(&line->waiting, a, set->place);
}

static void
line_put(struct queue_set *set, struct queue_line *line, struct slot_action *a)
{
	/* (out of memory parks it too: the next change of a limit retries) */
	if (impossible(set, line->queue, slot_action_slots(a)) ||
	    order_put(&line->waiting, a, set->place) < 0)
		park(set, line, a);
}

/* A limit moved: what was parked may fit now, and what is shelved may be wanted. */
static void
reconsider(struct queue_set *set, struct queue_line *line)
{
	struct slot_action *a = line->parked, *next;

	for (; a != NULL; a = next) {
		next = slot_action_links(a)[0];
		if (impossible(set, line->queue, slot_action_slots(a)))
			continue;
		unpark(set, line, a);
		line_put(set, line, a);
	}
	queue_line_check(set, line);
}

void
queue_set_total(struct queue_set *set, uint32_t max_running)
{
	struct queue *q;
	struct queue_line *line;

	set->total = max_running;
	TAILQ_FOREACH(q, &set->queues, entry)
		TAILQ_FOREACH(line, &q->lines, of_queue)
			reconsider(set, line);
}

void
queue_set_limit(struct queue *q, uint32_t max_running)
{
	struct queue_line *line;

	q->limit = max_running;
	TAILQ_FOREACH(line, &q->lines, of_queue)
		reconsider(q->set, line);
}

/* ---- joining and leaving ---- */

static struct queue_user *
user_get(struct queue_set *set, uint32_t uid)
{
	struct queue_user *u;

	TAILQ_FOREACH(u, &set->users, all)
		if (u->uid == uid)
			return u;
	u = calloc(1, sizeof *u);
	if (u == NULL)
		return NULL;
	u->uid = uid;
	TAILQ_INIT(&u->lines);
	TAILQ_INSERT_TAIL(&set->users, u, all);
	return u;
}

static void
user_release(struct queue_set *set, struct queue_user *u)
{
	if (u->members > 0 || !TAILQ_EMPTY(&u->lines))
		return;
	TAILQ_REMOVE(&set->users, u, all);
	free(u);
}

static struct queue_line *
line_get(struct queue_set *set, struct queue *q, struct queue_user *u)
{
	struct queue_line *line;

	(void)set;
	TAILQ_FOREACH(line, &u->lines, entry)
		if (line->queue == q)
			return line;
	line = calloc(1, sizeof *line);
	if (line == NULL)
		return NULL;
	line->queue = q;
	line->user = u;
	order_init(&line->waiting);
	TAILQ_INIT(&line->shelf);
	TAILQ_INSERT_TAIL(&u->lines, line, entry);
	TAILQ_INSERT_TAIL(&q->lines, line, of_queue);
	return line;
}

int
queue_enter(struct queue_set *set, struct queue *q, uint32_t uid, uint64_t id,
    struct queue_place *place)
{
	struct queue_user *u = user_get(set, uid);
	struct queue_line *line;

	if (u == NULL)
		return -ENOMEM;
	line = line_get(set, q, u);
	if (line == NULL) {
		user_release(set, u);
		return -ENOMEM;
	}
	line->members++;
	u->members++;
	q->members++;
	*place = (struct queue_place){ .line = line, .id = id };
	return 0;
}

void
queue_leave(struct queue_set *set, struct queue_place *place)
{
	struct queue_line *line = place->line;
	struct queue_user *u;

	if (line == NULL)
		return;
	u = line->user;
	place->line = NULL;
	u->members--;
	line->queue->members--;
	if (--line->members == 0)
		line_free(set, line);
	user_release(set, u);
}

struct queue *
queue_of(const struct queue_place *place)
{
	return place->line->queue;
}

uint32_t
queue_uid(const struct queue_place *place)
{
	return place->line->user->uid;
}

/* ---- the policy ---- */

/* Active users stand in order of virtual time, so that the first is the next. */
static void
activate(struct queue_set *set, struct queue_user *u)
{
	struct queue_user *at;

	TAILQ_FOREACH_REVERSE(at, &set->active, user_list, entry)
		if (at->vtime <= u->vtime) {
			TAILQ_INSERT_AFTER(&set->active, at, u, entry);
			return;
		}
	TAILQ_INSERT_HEAD(&set->active, u, entry);
}

void
queue_user_waits(struct queue_set *set, struct queue_user *u)
{
	if (u->waiting++ > 0)
		return;
	if (u->vtime < set->vtime)
		u->vtime = set->vtime;
	activate(set, u);
}

void
queue_user_waits_less(struct queue_set *set, struct queue_user *u)
{
	if (--u->waiting == 0)
		TAILQ_REMOVE(&set->active, u, entry);
}

static void
on_push(void *policy, struct slot_action *a)
{
	struct queue_set *set = policy;
	struct queue_line *line = set->place(a)->line;

	line_put(set, line, a);
	queue_user_waits(set, line->user);
}

static void
on_remove(void *policy, struct slot_action *a)
{
	struct queue_set *set = policy;
	struct queue_line *line = set->place(a)->line;

	line_take(set, line, a);
	queue_user_waits_less(set, line->user);
	queue_line_check(set, line);
}

static bool
fits_queue(const struct queue *q, uint32_t slots)
{
	return q->limit == QUEUE_UNLIMITED || (q->running < q->limit && slots <= q->limit - q->running);
}

/* The head of a line, after parking what can't ever start. While its first is shelved there is
 * none: the line stands by until that is in memory, and holds nobody up. */
static struct slot_action *
startable_head(struct queue_set *set, struct queue_line *line)
{
	struct slot_action *a;

	if (line->queue->paused || line->queue->limit == 0)
		return NULL;
	while ((a = order_head(&line->waiting)) != NULL &&
	    impossible(set, line->queue, slot_action_slots(a))) {
		line_take(set, line, a);
		park(set, line, a);
		queue_line_check(set, line);
	}
	if (a != NULL && queue_line_shelved_before(line, slot_action_priority(a),
	    set->place(a)->id))
		return NULL;
	return a;
}

static bool
before(const struct queue_set *set, struct slot_action *a, struct slot_action *b)
{
	if (slot_action_priority(a) != slot_action_priority(b))
		return slot_action_priority(a) > slot_action_priority(b);
	return set->place(a)->id < set->place(b)->id;
}

/* True once `a`, head of its line, was passed so often that no more may pass. */
static bool
starved(const struct queue_line *line, const struct slot_action *a)
{
	return line->passed == a && line->overtaken >= QUEUE_OVERTAKE_MAX;
}

/* True while some line's starved head waits for room in `q`. */
static bool
queue_reserved(struct queue_set *set, const struct queue *q, const struct queue_line *asking)
{
	struct queue_line *line;

	if (q->limit == QUEUE_UNLIMITED)
		return false;
	TAILQ_FOREACH(line, &q->lines, of_queue) {
		struct slot_action *a = line != asking ? startable_head(set, line) : NULL;

		if (a != NULL && starved(line, a) && !fits_queue(q, slot_action_slots(a)))
			return true;
	}
	return false;
}

/* Everyone whose head had to stand by while another started was overtaken once more. */
static void
count_overtaken(struct queue_set *set, struct queue_user *winner, struct slot_action *a,
    unsigned free_slots)
{
	struct queue_user *u;
	struct queue_line *line;

	TAILQ_FOREACH(u, &set->active, entry) {
		TAILQ_FOREACH(line, &u->lines, entry) {
			struct slot_action *head = startable_head(set, line);

			if (head == NULL || head == a)
				continue;
			if (slot_action_slots(head) <= free_slots &&
			    fits_queue(line->queue, slot_action_slots(head)))
				continue; /* its turn just hasn't come */
			if (u == winner && !before(set, head, a))
				continue;
			if (line->passed != head) {
				line->passed = head;
				line->overtaken = 0;
			}
			line->overtaken++;
		}
		if (u == winner)
			return;
	}
}

static struct slot_action *
on_next_fitting(void *policy, unsigned free_slots)
{
	struct queue_set *set = policy;
	struct queue_user *u;
	struct queue_line *line;

	TAILQ_FOREACH(u, &set->active, entry) {
		struct slot_action *best = NULL;
		bool passing = false; /* somebody stood before the chosen one and didn't fit */

		TAILQ_FOREACH(line, &u->lines, entry) {
			struct slot_action *a = startable_head(set, line);

			if (a == NULL)
				continue;
			if (slot_action_slots(a) > free_slots) {
				if (starved(line, a) &&
				    fits_queue(line->queue, slot_action_slots(a)))
					return NULL;
				passing = true;
			} else if (!fits_queue(line->queue, slot_action_slots(a)) ||
			    queue_reserved(set, line->queue, line)) {
				passing = true;
			} else if (best == NULL || before(set, a, best)) {
				best = a;
			}
		}
		if (best != NULL) {
			if (passing || u != TAILQ_FIRST(&set->active))
				count_overtaken(set, u, best, free_slots);
			return best;
		}
	}
	return NULL;
}

/* The executor starts `a`: its uid pays for the slots. */
void
queue_started(struct queue_set *set, struct queue_place *place, uint32_t slots)
{
	struct queue_line *line = place->line;
	struct queue_user *u = line->user;

	line->queue->running += slots;
	line->queue->running_jobs++;
	set->vtime = u->vtime;
	u->vtime += slots;
	if (u->waiting > 0) {
		TAILQ_REMOVE(&set->active, u, entry);
		activate(set, u);
	}
}

static void
on_released(void *policy, struct slot_action *a)
{
	struct queue_set *set = policy;
	struct queue *q = set->place(a)->line->queue;

	q->running -= slot_action_slots(a);
	q->running_jobs--;
}

enum queue_obstacle
queue_obstacle(const struct queue_place *place, uint32_t slots)
{
	const struct queue *q = place->line->queue;

	if (q->paused)
		return QUEUE_OBSTACLE_PAUSED;
	if (place->parked || fits_queue(q, slots))
		return QUEUE_OBSTACLE_SLOTS;
	return QUEUE_OBSTACLE_QUEUE;
}

const struct slot_pending_ops queue_pending_ops = {
	.push = on_push,
	.next_fitting = on_next_fitting,
	.remove = on_remove,
	.released = on_released,
};
