/*
 * slotd.conf files: libinih takes a line apart, this feeds it line by line, so that every error
 * can name its line, and refuses what libinih would cut or pass over in silence.
 */
#include "daemon/config.h"

#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SECTION_MAX 49 /* libinih cuts a longer name */

struct seen { /* a section and key already met in this file */
	char *name;
	int line;
};

struct file_reader {
	struct config *config;
	struct config_report *report;
	const char *path;
	FILE *in;
	char *line; /* getline's */
	size_t line_size;
	int line_number;
	struct seen *seen;
	size_t nseen;
};

/* Is this a line that libinih understands? Says so when not. */
static bool
line_ok(struct file_reader *r, const char *text, size_t room)
{
	const char *close;

	if (*text == '\0' || *text == '#' || *text == ';')
		return true;
	if (strlen(text) + 3 > room) {
		config_report_add(r->report, "%s:%d: the line is longer than %zu bytes", r->path,
		    r->line_number, room - 3);
		return false;
	}
	if (*text == '[') {
		close = strchr(text, ']');
		if (close != NULL && close - text - 1 <= SECTION_MAX)
			return true;
		config_report_add(r->report, "%s:%d: a section is [NAME] of up to %d bytes",
		    r->path, r->line_number, SECTION_MAX);
		return false;
	}
	if (strpbrk(text, "=:") != NULL)
		return true;
	config_report_add(r->report, "%s:%d: %s: neither [SECTION] nor KEY = VALUE", r->path,
	    r->line_number, text);
	return false;
}

/* libinih's reader: one line without its indentation (which would continue the one before). */
static char *
read_line(char *out, int out_size, void *stream)
{
	struct file_reader *r = stream;
	ssize_t n = getline(&r->line, &r->line_size, r->in);
	char *text = r->line;

	if (n < 0)
		return NULL;
	r->line_number++;
	if (strlen(text) != (size_t)n) {
		config_report_add(r->report, "%s:%d: a NUL byte", r->path, r->line_number);
		text = r->line + n; /* an empty line instead */
	}
	text[strcspn(text, "\r\n")] = '\0';
	text += strspn(text, " \t");
	if (*text == '#' || *text == ';' || !line_ok(r, text, (size_t)out_size))
		text = r->line + strlen(r->line);
	snprintf(out, (size_t)out_size, "%s\n", text);
	return out;
}

/* Remembers the key. False, and an error, when this file had it before. */
static bool
first_time(struct file_reader *r, const char *section, const char *key)
{
	struct seen *seen;
	char name[256];

	snprintf(name, sizeof(name), "[%s] %s", section, key);
	for (size_t i = 0; i < r->nseen; i++) {
		if (strcmp(r->seen[i].name, name) == 0) {
			config_report_add(r->report, "%s:%d: %s: stands in line %d already",
			    r->path, r->line_number, name, r->seen[i].line);
			return false;
		}
	}
	seen = realloc(r->seen, (r->nseen + 1) * sizeof(*seen));
	if (seen == NULL)
		return true; /* then duplicates are not found */
	r->seen = seen;
	seen[r->nseen].name = strdup(name);
	seen[r->nseen].line = r->line_number;
	if (seen[r->nseen].name != NULL)
		r->nseen++;
	return true;
}

static int
on_entry(void *user, const char *section, const char *key, const char *value)
{
	struct file_reader *r = user;
	char origin[PATH_MAX + 16];

	if (!first_time(r, section, key))
		return 1;
	snprintf(origin, sizeof(origin), "%s:%d", r->path, r->line_number);
	config_set(r->config, section, key, value, origin, r->report);
	return 1;
}

void
config_read_file(struct config *config, const char *path, bool required,
    struct config_report *report)
{
	struct file_reader r = { .config = config, .report = report, .path = path };
	struct stat st;

	r.in = fopen(path, "re");
	if (r.in == NULL) {
		if (required || errno != ENOENT)
			config_report_add(report, "%s: %s", path, strerror(errno));
		return;
	}
	if (fstat(fileno(r.in), &st) == 0 && S_ISDIR(st.st_mode))
		config_report_add(report, "%s: is a directory", path);
	else if (ini_parse_stream(read_line, &r, on_entry, &r) < 0)
		config_report_add(report, "%s: out of memory", path);
	if (ferror(r.in))
		config_report_add(report, "%s: can't be read", path);
	fclose(r.in);
	free(r.line);
	for (size_t i = 0; i < r.nseen; i++)
		free(r.seen[i].name);
	free(r.seen);
}

static int
is_conf(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

/* Byte order, whatever the locale. */
static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void
config_read_dir(struct config *config, const char *dir, struct config_report *report)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX];
	int n;

	if (strlen(dir) + NAME_MAX + sizeof("/slotd.conf.d/") > sizeof(path)) {
		config_report_add(report, "%s: the path is too long", dir);
		return;
	}
	snprintf(path, sizeof(path), "%s/slotd.conf", dir);
	config_read_file(config, path, false, report);
	snprintf(path, sizeof(path), "%s/slotd.conf.d", dir);
	n = scandir(path, &entries, is_conf, by_name);
	if (n < 0 && errno != ENOENT)
		config_report_add(report, "%s: %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/slotd.conf.d/%s", dir, entries[i]->d_name);
		config_read_file(config, path, false, report);
		free(entries[i]);
	}
	free(entries);
}
