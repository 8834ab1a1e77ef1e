/*
 * limited_as_completed: a hundred jobs from a lazy sequence, the n-th of 1/n seconds, at most ten
 * in flight, results as they finish. Nothing polls: the program sleeps until a job ends. Every
 * seventh job fails, and that ends nothing. Then very many that end at once - a million in this
 * process, or some thousand of a daemon's - in the memory of ten. A limit of 0 is refused.
 *
 *	build/examples/limited_as_completed [MILLISECONDS]           sleeps in this process
 *	build/examples/remote/limited_as_completed [MILLISECONDS]    lets a daemon run the sleeps
 *
 * MILLISECONDS: how long a second lasts.
 */
#include "sleep.h"

#include <slot/combine.h>
#include <unistd.h>

enum { JOBS = 100, LIMIT = 10 };

struct sequence {
	struct sleeps *sleeps;
	struct sleep jobs[JOBS];
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
	return sleep_start(s->sleeps, &s->jobs[s->made - 1]);
}

static void
print_item(struct slot_future *f, void *arg)
{
	struct sequence *s = arg;

	s->handed_over++;
	printf("item %s %s made %u\n", sleep_name(f), outcome_name(f), s->made);
}

static void
a_hundred(struct sleeps *sleeps)
{
	struct sequence *s = need(calloc(1, sizeof(*s)));
	struct slot_future *all;

	s->sleeps = sleeps;
	for (unsigned i = 0; i < JOBS; i++) {
		snprintf(s->names[i], sizeof(s->names[i]), "%u", i + 1);
		s->jobs[i] = (struct sleep){s->names[i], 1.0 / (i + 1), (i + 1) % 7 == 0};
	}
	all = need(slot_limited(sleeps->loop, LIMIT, next_sleep, print_item, s, NULL));
	await(sleeps, all);
	printf("end %s handed_over %u peak_in_flight %u\n", outcome_name(all), s->handed_over,
	    s->peak);
	slot_future_unref(all);
	free(s);
}

static struct slot_future *
next_at_once(void *arg)
{
	static const struct sleep at_once = {"at once", 0, false};
	struct sequence *s = arg;

	if (s->made == VERY_MANY)
		return NULL;
	note_made(s);
	return sleep_start(s->sleeps, &at_once);
}

/* The memory that the program takes now. */
static long
rss_kib(void)
{
	FILE *statm = need(fopen("/proc/self/statm", "r"));
	long pages = 0;

	if (fscanf(statm, "%*s %ld", &pages) != 1)
		give_up("/proc/self/statm is not as expected");
	fclose(statm);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void
count_item(struct slot_future *f, void *arg)
{
	struct sequence *s = arg;

	(void)f;
	if (++s->handed_over % (VERY_MANY / 4) == 0)
		printf("many %u rss_kib %ld\n", s->handed_over, rss_kib());
}

static void
very_many(struct sleeps *sleeps)
{
	struct sequence s = {.sleeps = sleeps};
	struct slot_future *all =
	    need(slot_limited(sleeps->loop, LIMIT, next_at_once, count_item, &s, NULL));

	await(sleeps, all);
	printf("many_end %s peak_in_flight %u\n", outcome_name(all), s.peak);
	slot_future_unref(all);
}

int
main(int argc, char **argv)
{
	struct sleeps *sleeps = sleeps_open(argc, argv);
	int error = 0;

	a_hundred(sleeps);
	very_many(sleeps);
	if (slot_limited(sleeps->loop, 0, next_at_once, NULL, NULL, &error) == NULL)
		printf("limit_0 %s\n", slot_strerror(error));

	sleeps_close(sleeps);
	return 0;
}
