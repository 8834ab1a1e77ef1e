/* log: what a job wrote, the end of it, or all that is still to come. */
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/output.h"

enum { LOG_ERR = CTL_OPTION_VERB };

const struct ctl_option log_options[] = {
	{ 'f', "follow", NULL, "go on until the job has ended" },
	{ LOG_ERR, "err", NULL, "its stderr instead of its stdout" },
	{ 'n', "lines", "N", "only the last N lines" },
	{ 0 },
};

struct logging {
	int64_t job;
	int fd;
	bool json;
	bool follow;
	int64_t lines; /* -1: all */
	bool warned;
	int64_t next; /* following: the byte that comes next */
	char *tail; /* with lines: the end of what was read */
	size_t tail_len, tail_cap;
};

static void
warn_dropped(struct logging *l, const json_t *page)
{
	json_int_t before = json_integer_value(json_object_get(page, "dropped_before"));

	if (l->warned || before == 0)
		return;
	l->warned = true;
	if (l->lines < 0)
		ctl_note("the first %" JSON_INTEGER_FORMAT " bytes were not kept", before);
}

static bool
print_data(const struct logging *l, int64_t off, const json_t *data, const char *bytes,
    size_t len)
{
	if (!l->json)
		return ctl_write(bytes, len);
	if (len == 0)
		return true;
	json_t *line = json_pack("{s:i, s:I, s:O}", "fd", l->fd, "off", (json_int_t)off, "data",
	    (json_t *)(uintptr_t)data);

	ctl_print_json(line);
	json_decref(line);
	return true;
}

static bool
on_page(const json_t *page, const char *data, size_t len, void *arg)
{
	struct logging *l = arg;

	warn_dropped(l, page);
	return print_data(l, json_integer_value(json_object_get(page, "off")),
	    json_object_get(page, "data"), data, len);
}

/* ---- the last lines ---- */

/* Where the last `lines` lines begin; a final newline ends a line and begins none. */
static size_t
tail_start(const char *text, size_t len, int64_t lines)
{
	size_t at = len;

	if (at > 0 && text[at - 1] == '\n')
		at--;
	for (; lines > 0; lines--) {
		const char *newline = at > 0 ? memrchr(text, '\n', at) : NULL;

		if (newline == NULL)
			return 0;
		at = (size_t)(newline - text);
	}
	return at < len ? at + 1 : len;
}

static bool
keep_tail(const json_t *page, const char *data, size_t len, void *arg)
{
	struct logging *l = arg;

	(void)page;
	if (l->tail_len + len > l->tail_cap) {
		size_t start = tail_start(l->tail, l->tail_len, l->lines);

		memmove(l->tail, l->tail + start, l->tail_len - start);
		l->tail_len -= start;
	}
	if (l->tail_len + len > l->tail_cap) {
		size_t cap = (l->tail_len + len) * 2;
		char *bigger = realloc(l->tail, cap);

		if (bigger == NULL) {
			ctl_error("out of memory");
			return false;
		}
		l->tail = bigger;
		l->tail_cap = cap;
	}
	memcpy(l->tail + l->tail_len, data, len);
	l->tail_len += len;
	return true;
}

static int
print_tail(struct ctl *ctl, struct logging *l, int64_t *off)
{
	l->tail_cap = 4096;
	l->tail = malloc(l->tail_cap);
	if (l->tail == NULL)
		return ctl_error("out of memory");
	int rc = output_read(ctl, l->job, l->fd, off, keep_tail, l);

	if (rc == 0) {
		size_t start = l->lines == 0 ? l->tail_len
					     : tail_start(l->tail, l->tail_len, l->lines);
		size_t len = l->tail_len - start;
		json_t *data = l->json ? slot_json_from_bytes(l->tail + start, len) : NULL;

		print_data(l, *off - (int64_t)len, data, l->tail + start, len);
		json_decref(data);
	}
	free(l->tail);
	return rc;
}

/* ---- following ---- */

static bool
on_item(struct ctl *ctl, json_t *item, void *arg)
{
	struct logging *l = arg;
	size_t len;

	(void)ctl;
	if (json_integer_value(json_object_get(item, "fd")) != l->fd)
		return true;
	char *data = slot_json_to_bytes(json_object_get(item, "data"), &len);

	if (data == NULL) {
		ctl_error("the daemon sent output that can't be read");
		return false;
	}
	int64_t off = json_integer_value(json_object_get(item, "off"));

	output_note_missing(l->job, l->fd, l->next, off);
	l->next = off + (int64_t)len;
	print_data(l, off, json_object_get(item, "data"), data, len);
	free(data);
	return ctl_flush();
}

static int
follow(struct ctl *ctl, struct logging *l, int64_t off)
{
	json_t *params = json_pack("{s:I, s:[i], s:I}", "job", (json_int_t)l->job, "fds", l->fd,
	    "off", (json_int_t)off);

	l->next = off;
	return ctl_stream(ctl, "output.follow", params, on_item, l, NULL);
}

int
cmd_log(struct ctl *ctl, struct ctl_args *args)
{
	struct logging l = { .fd = 1, .lines = -1, .json = ctl->json };
	int64_t off = 0;
	int option, rc = 0;

	while ((option = ctl_args_next(args)) > 0) {
		switch (option) {
		case 'f':
			l.follow = true;
			break;
		case LOG_ERR:
			l.fd = 2;
			break;
		case 'n':
			if (ctl_number(args->value, 0, INT32_MAX, &l.lines) != 0)
				return ctl_usage(args, "\"%s\" is no number", args->value);
			break;
		}
	}
	if (option < 0 || ctl_one_id(args, &l.job) != 0)
		return CTL_EXIT_FAILURE;
	l.json = ctl->json;
	if (l.lines >= 0)
		rc = print_tail(ctl, &l, &off);
	else if (!l.follow)
		rc = output_read(ctl, l.job, l.fd, &off, on_page, &l);
	if (rc == 0 && l.follow)
		rc = ctl_flush() ? follow(ctl, &l, off) : CTL_EXIT_FAILURE;
	return rc;
}
