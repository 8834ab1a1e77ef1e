#ifndef EXAMPLES_SLEEP_JOB_H
#define EXAMPLES_SLEEP_JOB_H
/*
 * Lets a daemon run commands that sleep; included by sleep.h. $SLOTD_SOCKET says where it listens;
 * without that it is the user's own. A job's tag is its name, and comes back with its completion.
 */
#include <slot/client.h>
#include <slot/combine.h>

enum {
	SECOND_MS = 1000, /* unless the command line says otherwise */
	VERY_MANY = 4000,
};

struct sleeps {
	struct slot_loop *loop;
	unsigned second_ms;
	struct slot_client *client;
};

/* The client has a loop of its own; one of the program's would do as well. */
static inline struct sleeps *
sleeps_open(int argc, char **argv)
{
	struct sleeps *s = need(calloc(1, sizeof(*s)));

	s->client = slot_client_connect(NULL, NULL, NULL, NULL);
	if (s->client == NULL)
		give_up("no daemon answers: see slotctl doctor");
	s->loop = slot_client_loop(s->client);
	s->second_ms = second_ms(argc, argv, SECOND_MS);
	return s;
}

static inline void
sleeps_close(struct sleeps *s)
{
	slot_client_free(s->client);
	free(s);
}

static inline void
await(struct sleeps *s, struct slot_future *f)
{
	int rc = slot_client_run(s->client, f, SLOT_NO_TIMEOUT);

	if (rc != 0)
		give_up(slot_strerror(rc));
}

/* What job.submit takes: `sleep`, and then the status that makes it a result or an exception. */
static inline json_t *
sleep_spec(const struct sleeps *s, const struct sleep *what)
{
	char seconds[32];

	if (what->seconds <= 0)
		return json_pack("{s:[s], s:s}", "argv", what->fails ? "false" : "true", "tag",
		    what->name);
	snprintf(seconds, sizeof(seconds), "%.3f", what->seconds * s->second_ms / 1000);
	return json_pack("{s:[s,s,s,s], s:s}", "argv", "sh", "-c",
	    what->fails ? "sleep $0; exit 1" : "exec sleep $0", seconds, "tag", what->name);
}

static inline struct slot_future *
sleep_start(struct sleeps *s, const struct sleep *what)
{
	int error = 0;
	struct slot_future *f = slot_client_submit(s->client, sleep_spec(s, what), &error);

	if (f == NULL)
		give_up(slot_strerror(error));
	return f;
}

static inline const char *
sleep_name(const struct slot_future *f)
{
	const struct slot_completion *c = slot_job_completion(f);

	/* There is none where the daemon refused the job, or went away. */
	return c != NULL ? json_string_value(json_object_get(c->object, "tag")) : "?";
}

#endif
