/*
 * The way in of map: items of the input become jobs and are pushed, as many as the daemon gave
 * credit for and never more. After a restart of the daemon those that it may have had come first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/map.h"
#include "ctl/outcome.h"

#define PUSH_BATCH_JOBS 256
/* A line of the protocol has 1 MiB and 65,536 tokens; bytes grow by a third where they are no
 * text. So much a batch may hold before the last command line is added to it, and that line. */
#define PUSH_BATCH_BYTES 65536
#define PUSH_BATCH_WORDS 16384
#define PUSH_ARGV_BYTES 524288
#define PUSH_SPEC_BYTES 786432 /* argv and env of one job: what the daemon takes */
#define PUSH_MAX 4             /* in flight; the daemon would hold 16 */

struct push {
	struct map *m;
	size_t n;
	int64_t seqs[PUSH_BATCH_JOBS];
};

static void
give_ids(struct map *m, const struct push *push, const json_t *ids)
{
	for (size_t i = 0; i < push->n; i++) {
		struct map_item *item = map_items_find(&m->items, push->seqs[i]);

		if (item != NULL)
			item->job = json_integer_value(json_array_get(ids, i));
	}
	if (m->halted == MAP_STOPS)
		map_flow_drop_from(m, push->seqs[0]);
}

static void
on_pushed(struct slot_future *f, void *arg)
{
	struct push *push = arg;
	struct map *m = push->m;
	void *result = NULL;

	m->npushes--;
	m->ncalls--;
	int code = slot_future_result(f, &result);

	if (code == 0)
		give_ids(m, push, json_object_get(result, "jobs"));
	else if (m->failure == 0 && m->signo == 0 && m->halted != MAP_CANCELS &&
	    !map_again_explains(m, code))
		map_flow_fail(m, ctl_failure(m->ctl, f));
	free(push);
	map_flow_kick(m);
}

/* One that can't be run at all: said, counted, and done with. */
static void
refuse(struct map *m, const char *why)
{
	map_print_no_progress(m);
	ctl_note("item %lld %s", (long long)m->seq, why);
	map_flow_count(m, m->seq, false, OUTCOME_EXIT_CANNOT_EXECUTE);
}

/* Takes argv. False: out of memory. */
static bool
add_spec(const struct map *m, struct push *push, json_t *jobs, int64_t seq, json_t *argv)
{
	json_t *job = json_pack("{s:o, s:I, s:o*}", "argv", argv, "tag", (json_int_t)seq, "key",
	    map_again_key(m, seq));

	if (json_array_append_new(jobs, job) != 0)
		return false;
	push->seqs[push->n++] = seq;
	return true;
}

static bool
add_job(struct map *m, struct push *push, json_t *jobs, const char *text, size_t len,
    size_t *bytes)
{
	size_t size;
	json_t *argv = map_command_argv(&m->command, text, len, &size);

	if (argv != NULL && (size > PUSH_ARGV_BYTES || size + m->env_bytes > PUSH_SPEC_BYTES)) {
		json_decref(argv);
		refuse(m, "makes a command line that is too long");
		return true;
	}
	*bytes += size;
	return add_spec(m, push, jobs, m->seq, argv) &&
	    map_items_add(&m->items, m->seq, text, len) != NULL;
}

/* Takes one item that was pushed before. False: there is none. */
static bool
take_again(struct map *m, struct push *push, json_t *jobs, size_t *bytes)
{
	const struct map_item *item = map_again_next(m);
	size_t size = 0;

	if (item == NULL)
		return false;
	if (!add_spec(m, push, jobs, item->seq,
		map_command_argv(&m->command, item->text, item->len, &size)))
		map_flow_fail(m, ctl_error("out of memory"));
	*bytes += size;
	return true;
}

/* Takes one item of the input. False: nothing more can be had now. */
static bool
take_item(struct map *m, struct push *push, json_t *jobs, size_t *bytes)
{
	const char *text;
	size_t len;
	enum map_input_result r = map_input_next(&m->input, &text, &len);

	switch (r) {
	case MAP_INPUT_WAIT:
		return false;
	case MAP_INPUT_END:
		map_flow_stop_input(m);
		return false;
	case MAP_INPUT_FAILED:
		map_flow_fail(m, ctl_error("reading %s: %s",
		    m->options.file != NULL ? m->options.file : "stdin", strerror(errno)));
		return false;
	case MAP_INPUT_TOO_LONG:
	case MAP_INPUT_ITEM:
		break;
	}
	m->seq++;
	if (map_joblog_has(&m->joblog, m->seq))
		return true;
	if (r == MAP_INPUT_TOO_LONG)
		refuse(m, "is too long for an argument");
	else if (memchr(text, '\0', len) != NULL)
		refuse(m, "has a NUL in it");
	else if (!add_job(m, push, jobs, text, len, bytes))
		map_flow_fail(m, ctl_error("out of memory"));
	return true;
}

/* Fills a batch. */
static void
take_items(struct map *m, struct push *push, json_t *jobs)
{
	size_t words = map_command_words(&m->command) + 8;
	size_t bytes = 0;

	while (push->n < PUSH_BATCH_JOBS && (int64_t)push->n < m->credit - m->withheld &&
	    bytes < PUSH_BATCH_BYTES && (push->n + 1) * words <= PUSH_BATCH_WORDS + words) {
		if (take_again(m, push, jobs, &bytes))
			continue;
		if (m->input_over || m->halted != MAP_GOES_ON ||
		    !take_item(m, push, jobs, &bytes))
			break;
	}
}

/* One push. False: there was nothing to push. */
static bool
push(struct map *m)
{
	struct push *push = calloc(1, sizeof(*push));
	json_t *jobs = json_array();

	if (push == NULL || jobs == NULL) {
		free(push);
		json_decref(jobs);
		map_flow_fail(m, ctl_error("out of memory"));
		return false;
	}
	push->m = m;
	take_items(m, push, jobs);
	if (push->n == 0 || m->failure != 0 || m->halted == MAP_CANCELS) {
		free(push);
		json_decref(jobs);
		return false;
	}
	m->credit -= (int64_t)push->n;
	m->npushes++;
	if (map_flow_call(m, "map.push",
		json_pack("{s:I, s:o}", "stream", (json_int_t)slot_stream_id(m->stream), "jobs",
		    jobs),
		on_pushed, push))
		return true;
	m->npushes--;
	free(push);
	map_flow_fail(m, ctl_error("the daemon can't be told of more jobs"));
	return false;
}

void
map_push(struct map *m)
{
	while ((m->nagain > 0 || (!m->input_over && m->halted == MAP_GOES_ON)) &&
	    m->halted != MAP_CANCELS && !m->stream_over && m->credit > m->withheld &&
	    m->npushes < PUSH_MAX && slot_client_writable(m->ctl->client) && push(m))
		;
}
