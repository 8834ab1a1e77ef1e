/*
 * The table of options as a sample file and as a man page, and the settings in force as a file.
 */
#include "daemon/config.h"
#include "daemon/config_value.h"

#include <string.h>

#define VALUE_MAX 4096

static const char *
section_name(const struct config_option *option)
{
	return strcmp(option->section, "queue.*") == 0 ? "queue.NAME" : option->section;
}

int
config_print_sample(FILE *out)
{
	const char *section = "";
	char accepts[256];

	fputs(
	    "# slotd.conf: settings of slotd. Every line that is commented out shows the default.\n"
	    "# `slotd --check-config` tells what is wrong; SIGHUP takes over what can change.\n",
	    out);
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (strcmp(section, o->section) != 0) {
			section = o->section;
			fprintf(out, "\n%s[%s]\n", section_name(o) == section ? "" : "#",
			    section_name(o));
		}
		config_value_accepts(o, accepts, sizeof(accepts));
		fprintf(out, "\n# %s\n# Accepted: %s%s.\n#%s = %s\n", o->help, accepts,
		    o->reloadable ? "" : "; takes effect with the next start", o->key, o->initial);
	}
	return ferror(out) ? -1 : 0;
}

/* Text of a man page: a backslash or a dot at the start of a line would be a request. */
static void
print_roff(const char *text, FILE *out)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

static void
print_man_head(FILE *out)
{
	fputs(
	    ".\\\" Made from the table of options: slotd \\-\\-print\\-config\\-man\n"
	    ".TH SLOTD.CONF 5 \"\" \"slotd\"\n"
	    ".SH NAME\n"
	    "slotd.conf \\- settings of slotd\n"
	    ".SH DESCRIPTION\n"
	    "An INI file: sections in brackets, then lines of KEY = VALUE. A line starting with\n"
	    "# or ; is a comment. An unknown key, a bad value and a key that stands twice in one\n"
	    "file are errors;\n"
	    ".B slotd \\-\\-check\\-config\n"
	    "tells all of them, or prints the settings in force.\n"
	    ".PP\n"
	    "Durations are written 300ms, 5s, 2m, 1h, 7d or as plain seconds, sizes 64KiB, 16MiB,\n"
	    "1GiB or as plain bytes.\n"
	    ".PP\n"
	    "SIGHUP and the method admin.reload read the files again. What is marked so below\n"
	    "takes effect only with the next start.\n"
	    ".SH OPTIONS\n",
	    out);
}

static void
print_man_option(const struct config_option *o, FILE *out)
{
	char accepts[256];

	config_value_accepts(o, accepts, sizeof(accepts));
	fprintf(out, ".TP\n.B %s\n", o->key);
	print_roff(o->help, out);
	fputs("\nAccepted: ", out);
	print_roff(accepts, out);
	fputs(".\n", out);
	if (o->initial[0] != '\0') {
		fputs("Default: ", out);
		print_roff(o->initial, out);
		fputs(".\n", out);
	}
	if (!o->reloadable)
		fputs("Takes effect with the next start.\n", out);
}

int
config_print_man(FILE *out)
{
	const char *section = "";

	print_man_head(out);
	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (strcmp(section, o->section) != 0) {
			section = o->section;
			fprintf(out, ".SS [%s]\n", section_name(o));
		}
		print_man_option(o, out);
	}
	fputs(".SH FILES\n"
	      "Read in this order, each later key wins: /usr/lib/slotd/slotd.conf,\n"
	      "/usr/lib/slotd/slotd.conf.d/*.conf, then slotd.conf and slotd.conf.d/*.conf in\n"
	      "/etc/slotd (system) or $XDG_CONFIG_HOME/slotd, by default ~/.config/slotd (user).\n"
	      "The command line comes last.\n"
	      ".SH SEE ALSO\n"
	      ".BR slotd (8),\n"
	      ".BR slotctl (1)\n",
	    out);
	return ferror(out) ? -1 : 0;
}

static void
print_rows(const char *section, const void *base, FILE *out)
{
	char value[VALUE_MAX];

	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (strcmp(o->section, section) != 0)
			continue;
		config_value_format_field(o, base, value, sizeof(value));
		fprintf(out, "%s = %s\n", o->key, value);
	}
}

int
config_print(const struct config *config, FILE *out)
{
	const char *section = "";

	for (const struct config_option *o = config_options(); o->section != NULL; o++) {
		if (section_name(o) != o->section || strcmp(section, o->section) == 0)
			continue;
		fprintf(out, "[%s]\n", o->section);
		section = o->section;
		print_rows(section, config, out);
	}
	for (size_t i = 0; i < config->nqueues; i++) {
		fprintf(out, "[queue.%s]\n", config->queues[i].name);
		print_rows("queue.*", &config->queues[i], out);
	}
	return ferror(out) ? -1 : 0;
}
