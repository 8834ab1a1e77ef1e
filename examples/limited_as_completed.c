/*
 * limited_as_completed: a hundred jobs from a lazy sequence, the n-th of 1/n seconds, at most ten
 * in flight, results as they finish. Nothing polls: the program sleeps until a job ends. Every
 * seventh job fails, and that ends nothing. Then a hundred thousand that end at once, in the
 * memory of ten.
 */
#include "sleep_action.h"

#include <slot/combine.h>

enum { JOBS = 100, LIMIT = 10, MANY = 100000 };

struct sequence {
	struct slot_loop *loop;
	struct sleep_action jobs[JOBS];
	char names[JOBS][4];
	unsigned made;
	unsigned handed_over;
	unsigned peak; /* made and not handed over, at most */
};

static void
note_made(struct sequence *s)
{
	s->made++;
	if (s->made - s->handed_over > s->peak)
		s->peak = s->made - s->handed_over;
}

static struct slot_future *
next_sleep(void *arg)
{
	struct sequence *s = arg;

	if (s->made == JOBS)
		return NULL;
	note_made(s);
	return sleep_action_run(&s->jobs[s->made - 1]);
}

static void
print_item(struct slot_future *f, void *arg)
{
	struct sequence *s = arg;

	s->handed_over++;
	printf("item %s %s made %u\n", sleep_name(f), outcome_name(f), s->made);
}

static void
a_hundred(struct sleep_clock *clock, struct sequence *s, unsigned second)
{
	struct slot_loop *loop = clock->loop;
	struct slot_future *all;

	for (unsigned i = 0; i < JOBS; i++) {
		snprintf(s->names[i], sizeof(s->names[i]), "%u", i + 1);
		s->jobs[i] = (struct sleep_action){clock, s->names[i], second / (i + 1),
		    (i + 1) % 7 == 0};
	}
	all = need(slot_limited(loop, LIMIT, next_sleep, print_item, s, NULL));
	await(loop, all);
	printf("end %s handed_over %u peak_in_flight %u peak_running %u\n", outcome_name(all),
	    s->handed_over, s->peak, clock->peak);
	slot_future_unref(all);
}

static struct slot_future *
next_at_once(void *arg)
{
	struct sequence *s = arg;
	struct slot_future *f;

	if (s->made == MANY)
		return NULL;
	f = need(slot_future_new(s->loop));
	slot_future_set_result(f, NULL, NULL);
	note_made(s);
	return f;
}

static void
count_item(struct slot_future *f, void *arg)
{
	struct sequence *s = arg;

	(void)f;
	s->handed_over++;
}

static void
very_many(struct slot_loop *loop)
{
	struct sequence s = {.loop = loop};
	struct slot_future *all =
	    need(slot_limited(loop, LIMIT, next_at_once, count_item, &s, NULL));

	await(loop, all);
	printf("many %u peak_in_flight %u\n", s.handed_over, s.peak);
	slot_future_unref(all);
}

int
main(int argc, char **argv)
{
	struct event_base *base = need(event_base_new());
	struct slot_loop *loop = need(slot_loop_new(base));
	struct sleep_clock *clock = sleep_clock_new(loop);
	struct sequence *s = need(calloc(1, sizeof(*s)));
	int error = 0;

	a_hundred(clock, s, second_ms(argc, argv, 400));
	very_many(loop);
	if (slot_limited(loop, 0, next_sleep, print_item, s, &error) == NULL)
		printf("limit_0 %s\n", slot_strerror(error));

	event_base_dispatch(base); /* what is queued yet */
	free(s);
	sleep_clock_free(clock);
	slot_loop_free(loop);
	event_base_free(base);
	return 0;
}
