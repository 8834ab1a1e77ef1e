/*
 * Printing for map: item after item, each whole, stdout first. Small outputs come with the
 * completion; larger ones are read page by page, each once the one before is written. So a
 * reader that stops stops everything, and nothing piles up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "ctl/map.h"
#include "ctl/outcome.h"

#define PRINT_PAGE 262144

/* ---- life ---- */

static void
on_drained(void *arg)
{
	map_flow_kick(arg);
}

int
map_print_init(struct map *m)
{
	struct map_printer *p = &m->printer;

	p->line_begins[0] = p->line_begins[1] = true;
	if (sink_init(&p->out, m->ctl->base, STDOUT_FILENO, SINK_INHERITED, on_drained, m) != 0)
		return -1;
	return sink_init(&p->err, m->ctl->base, STDERR_FILENO, SINK_INHERITED, on_drained, m);
}

static void on_answer(struct slot_future *f, void *arg);

void
map_print_fini(struct map *m)
{
	struct map_printer *p = &m->printer;

	if (p->call != NULL)
		slot_future_remove_done_callback(p->call, on_answer, m);
	slot_future_unref(p->call);
	json_decref(p->details);
	if (p->out.buffer != NULL)
		sink_fini(&p->out);
	if (p->err.buffer != NULL)
		sink_fini(&p->err);
}

bool
map_print_is_idle(const struct map *m)
{
	const struct map_printer *p = &m->printer;

	return p->step == MAP_PRINT_NEXT && sink_is_empty(&p->out) && sink_is_empty(&p->err);
}

/* ---- writing ---- */

/* Nobody reads us any more, or the disk is full: that ends the map. */
static void
check(struct map *m, const struct sink *sink)
{
	if (sink->error == 0 || m->failure != 0)
		return;
	if (sink->error != EPIPE)
		ctl_error("writing to %s: %s", sink == &m->printer.out ? "stdout" : "stderr",
		    strerror(sink->error));
	map_flow_fail(m, CTL_EXIT_FAILURE);
}

static void
flush(struct map *m, struct sink *sink)
{
	sink_flush(sink);
	check(m, sink);
}

/* The item before each line, with what would break the line made visible. */
static void
add_tag(struct sink *sink, const struct map_item *item)
{
	char hex[5];

	for (size_t i = 0; i < item->len; i++) {
		unsigned char c = (unsigned char)item->text[i];

		if (c >= 0x20 && c != 0x7f) {
			sink_add(sink, &item->text[i], 1);
		} else {
			snprintf(hex, sizeof(hex), "\\x%02x", c);
			sink_add(sink, hex, 4);
		}
	}
	sink_add(sink, "\t", 1);
}

static void
add_tagged(struct sink *sink, const struct map_item *item, bool *line_begins, const char *data,
    size_t len)
{
	while (len > 0) {
		const char *newline = memchr(data, '\n', len);
		size_t n = newline != NULL ? (size_t)(newline - data) + 1 : len;

		if (*line_begins)
			add_tag(sink, item);
		sink_add(sink, data, n);
		*line_begins = newline != NULL;
		data += n;
		len -= n;
	}
}

static void
print_data(struct map *m, const char *data, size_t len)
{
	struct map_printer *p = &m->printer;
	bool is_err = p->step == MAP_PRINT_ERR;
	struct sink *sink = is_err ? &p->err : &p->out;

	if (!is_err)
		p->received += (int64_t)len;
	if (len == 0)
		return;
	map_print_no_progress(m);
	if (m->options.tag_output)
		add_tagged(sink, p->item, &p->line_begins[is_err], data, len);
	else
		sink_add(sink, data, len);
	flush(m, sink);
}

/* ---- asking the daemon ---- */

static void
ask(struct map *m, const char *method, json_t *params)
{
	struct map_printer *p = &m->printer;
	int code = 0;

	p->call = slot_client_call(m->ctl->client, method, params, &code);
	if (p->call != NULL && slot_future_add_done_callback(p->call, on_answer, m) == 0)
		return;
	slot_future_unref(p->call);
	p->call = NULL;
	if (m->failure == 0)
		map_flow_fail(m, ctl_rpc_failure(m->ctl, code, NULL));
	p->step = MAP_PRINT_DONE;
}

static void
ask_for_page(struct map *m)
{
	const struct map_printer *p = &m->printer;

	ask(m, "output.read",
	    json_pack("{s:I, s:i, s:I, s:i}", "job", (json_int_t)p->item->job, "fd",
		p->step == MAP_PRINT_OUT ? 1 : 2, "off", (json_int_t)p->off, "max", PRINT_PAGE));
}

static void
stream_is_out(struct map_printer *p)
{
	p->reading = false;
	p->off = 0;
	p->step = p->step == MAP_PRINT_OUT ? MAP_PRINT_ERR : MAP_PRINT_DETAILS;
}

/* The daemon keeps a bounded amount: what is missing must not go unnoticed. */
static void
tell_missing(struct map *m, int64_t off)
{
	const struct map_printer *p = &m->printer;
	const char *name = p->step == MAP_PRINT_OUT ? "stdout" : "stderr";

	map_print_no_progress(m);
	if (off > p->off)
		ctl_note("job %lld: %lld bytes of its %s were not kept", (long long)p->item->job,
		    (long long)(off - p->off), name);
	else
		ctl_note("job %lld: %s its %s was not kept", (long long)p->item->job,
		    off > 0 ? "the rest of" : "all of", name);
	m->incomplete = true;
}

static void
take_page(struct map *m, const json_t *page)
{
	struct map_printer *p = &m->printer;
	json_int_t off = json_integer_value(json_object_get(page, "off"));
	size_t len = 0;
	char *data = slot_json_to_bytes(json_object_get(page, "data"), &len);

	if (off > p->off || (p->off == 0 && len == 0))
		tell_missing(m, off);
	p->off = off + (int64_t)len;
	print_data(m, data != NULL ? data : "", len);
	if (len == 0 || json_is_true(json_object_get(page, "eof")))
		stream_is_out(p);
	free(data);
}

/* The job is gone from the history, or the daemon from us (which the stream tells). */
static void
take_refusal(struct map *m, const struct slot_future *f)
{
	struct map_printer *p = &m->printer;

	if (p->step == MAP_PRINT_DETAILS) {
		p->step = MAP_PRINT_DONE;
		return;
	}
	if (slot_rpc_error(f) != NULL)
		tell_missing(m, p->off);
	m->incomplete = true;
	stream_is_out(p);
}

static void
on_answer(struct slot_future *f, void *arg)
{
	struct map *m = arg;
	struct map_printer *p = &m->printer;
	void *result = NULL;

	if (slot_future_result(f, &result) != 0) {
		take_refusal(m, f);
	} else if (p->step == MAP_PRINT_DETAILS) {
		p->details = json_incref(result);
		p->step = MAP_PRINT_DONE;
	} else {
		take_page(m, result);
	}
	slot_future_unref(p->call);
	p->call = NULL;
	map_flow_kick(m);
}

/* ---- the steps ---- */

/* What came with the completion is all of it where it is shorter than asked for. */
static void
print_stream(struct map *m, const char *key)
{
	struct map_printer *p = &m->printer;
	const json_t *value = json_object_get(p->item->completion, key);
	char *bytes = NULL;
	size_t len = 0;

	if (m->printer.out.error != 0 || m->printer.err.error != 0) { /* nobody reads it */
		stream_is_out(p);
		return;
	}
	if (p->reading) {
		ask_for_page(m);
		return;
	}
	if (json_is_string(value)) {
		len = json_string_length(value);
	} else if (value != NULL) {
		bytes = slot_json_to_bytes(value, &len);
	}
	if ((int64_t)len >= m->with_output) {
		p->reading = true;
	} else {
		print_data(m, bytes != NULL ? bytes : len > 0 ? json_string_value(value) : "", len);
		stream_is_out(p);
	}
	free(bytes);
}

static void
print_json(struct map *m)
{
	struct map_printer *p = &m->printer;
	json_t *object = p->item->completion;

	json_object_del(object, "stream");
	json_object_del(object, "n");
	json_object_set_new(object, "index", json_integer(p->item->seq));
	json_object_set_new(object, "input", slot_json_from_bytes(p->item->text, p->item->len));
	char *line = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (line != NULL) {
		map_print_no_progress(m);
		sink_add(&p->out, line, strlen(line));
		sink_add(&p->out, "\n", 1);
		flush(m, &p->out);
	}
	free(line);
	p->step = MAP_PRINT_DETAILS;
}

static bool
is_outcome(const struct map_item *item, const char *outcome)
{
	const char *name = json_string_value(json_object_get(item->completion, "outcome"));

	return name != NULL && strcmp(name, outcome) == 0;
}

static void
get_details(struct map *m)
{
	struct map_printer *p = &m->printer;

	if (m->joblog.fd >= 0 || is_outcome(p->item, "spawn_failed"))
		ask(m, "job.get", json_pack("{s:I}", "job", (json_int_t)p->item->job));
	else
		p->step = MAP_PRINT_DONE;
}

/* ---- an item is through ---- */

static char *
command_of(const struct map *m, const struct map_item *item)
{
	size_t bytes;
	json_t *argv = map_command_argv(&m->command, item->text, item->len, &bytes);
	char *text = argv != NULL ? ctl_command_text(argv) : NULL;

	json_decref(argv);
	return text;
}

static void
log_item(struct map *m)
{
	const struct map_printer *p = &m->printer;
	const json_t *start = json_object_get(p->details, "started_us");
	const json_t *end = json_object_get(p->details, "finished_us");
	const json_t *kept = json_object_get(p->details, "output");
	struct slot_completion c;
	char *command = command_of(m, p->item);

	if (slot_completion_read(&c, p->item->completion) == 0 && command != NULL) {
		struct map_joblog_entry entry = {
			.seq = p->item->seq,
			.start_us = json_integer_value(start),
			.received = !m->ctl->json ? p->received
				: json_integer_value(json_object_get(kept, "stdout")),
			.exit_value = c.exit_code,
			.signal = c.signal,
			.command = command,
		};

		if (json_is_integer(start) && json_is_integer(end))
			entry.runtime_us = json_integer_value(end) - json_integer_value(start);
		if (c.outcome == SLOT_OUTCOME_SIGNALED)
			entry.exit_value = 0;
		else if (c.outcome == SLOT_OUTCOME_SPAWN_FAILED)
			entry.exit_value = outcome_exit_status(p->details != NULL ? p->details
				: p->item->completion);
		if (map_joblog_add(&m->joblog, &entry) != 0 && m->failure == 0)
			map_flow_fail(m, ctl_error("%s: %s", m->options.joblog, strerror(errno)));
	}
	free(command);
}

static void
finish_item(struct map *m)
{
	struct map_printer *p = &m->printer;
	bool is_cancelled = is_outcome(p->item, "cancelled");

	/* What was cancelled because of --halt is no news, and a resumed map does it again. */
	if (m->joblog.fd >= 0 && !is_cancelled)
		log_item(m);
	if (!(is_cancelled && m->halted != MAP_GOES_ON)) {
		map_print_no_progress(m);
		outcome_explain(p->details != NULL ? p->details : p->item->completion);
	}
	if (p->item->seq == m->halt_seq && p->details != NULL)
		m->halt_status = outcome_exit_status(p->details);
	json_decref(p->details);
	p->details = NULL;
	if (p->item->uncounted)
		m->withheld--;
	else
		m->consumed++;
	map_items_remove(&m->items, p->item);
	p->item = NULL;
	p->step = MAP_PRINT_NEXT;
}

static bool
next_item(struct map *m)
{
	struct map_printer *p = &m->printer;

	p->item = map_items_next(&m->items, m->options.keep_order);
	if (p->item == NULL)
		return false;
	p->off = p->received = 0;
	p->step = MAP_PRINT_OUT;
	return true;
}

void
map_print(struct map *m)
{
	struct map_printer *p = &m->printer;

	check(m, &p->out); /* what had to wait may have failed since */
	check(m, &p->err);
	while (p->call == NULL && sink_is_empty(&p->out) && sink_is_empty(&p->err)) {
		switch (p->step) {
		case MAP_PRINT_NEXT:
			if (!next_item(m))
				return;
			break;
		case MAP_PRINT_OUT:
			if (m->ctl->json)
				print_json(m);
			else
				print_stream(m, "stdout");
			break;
		case MAP_PRINT_ERR:
			print_stream(m, "stderr");
			break;
		case MAP_PRINT_DETAILS:
			get_details(m);
			break;
		case MAP_PRINT_DONE:
			finish_item(m);
			break;
		}
	}
}

/* ---- progress ---- */

void
map_print_no_progress(struct map *m)
{
	if (m->progress_shown)
		fputs("\r\033[K", stderr);
	m->progress_shown = false;
}

void
map_print_progress(struct map *m)
{
	bool on_terminal = isatty(STDERR_FILENO);

	if (on_terminal)
		map_print_no_progress(m);
	fprintf(stderr, "%lld done, %lld not ok, %zu in flight%s", (long long)(m->nok + m->nfailed),
	    (long long)m->nfailed, m->items.count - m->items.nready, on_terminal ? "" : "\n");
	fflush(stderr);
	m->progress_shown = on_terminal;
}
