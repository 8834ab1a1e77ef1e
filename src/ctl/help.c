/* Help texts, made from the tables. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

#define HELP_COLUMN 28

static void
print_row(const char *left, const char *right)
{
	if (strlen(left) + 2 > HELP_COLUMN)
		printf("%s\n%*s%s\n", left, HELP_COLUMN, "", right);
	else
		printf("%-*s%s\n", HELP_COLUMN, left, right);
}

static void
print_options(const struct ctl_option *table)
{
	for (const struct ctl_option *o = table; o != NULL && o->id != 0; o++) {
		char left[80], letter[8] = "    ";

		if (o->help == NULL)
			continue;
		if (o->id < CTL_OPTION_VERB)
			snprintf(letter, sizeof(letter), "-%c%s", o->id,
			    o->name != NULL ? ", " : "");
		snprintf(left, sizeof(left), "  %s%s%s%s%s", letter, o->name != NULL ? "--" : "",
		    o->name != NULL ? o->name : "", o->arg != NULL ? " " : "",
		    o->arg != NULL ? o->arg : "");
		print_row(left, o->help);
	}
}

static void
print_global(void)
{
	printf("\nOptions of every verb:\n");
	print_options(ctl_global_options);
}

void
ctl_help_verb(const struct verb *v)
{
	printf("Usage: slotctl %s%s%s%s\n", v->name,
	    v->options != NULL && v->words == VERB_WORDS_ANYWHERE ? " [FLAGS]" : "",
	    v->usage[0] != '\0' ? " " : "", v->usage);
	printf("%c%s.\n", v->help[0] - 'a' + 'A', v->help + 1);
	for (size_t i = 0; i < sizeof(v->alias) / sizeof(v->alias[0]) && v->alias[i] != NULL; i++)
		printf("%s%s", i == 0 ? "Also called: " : ", ", v->alias[i]);
	if (v->alias[0] != NULL)
		putchar('\n');
	if ((v->options != NULL && v->options->id != 0) || v->shared != NULL) {
		printf("\nFlags:\n");
		print_options(v->options);
		print_options(v->shared);
	}
	print_global();
}

void
ctl_help(void)
{
	printf("Usage: slotctl [OPTIONS] VERB ...\n"
	       "Submits jobs to slotd and follows them.\n\nVerbs:\n");
	for (size_t i = 0; verb_at(i) != NULL; i++) {
		const struct verb *v = verb_at(i);
		char left[80];
		int n = snprintf(left, sizeof(left), "  %s", v->name);

		for (size_t k = 0; k < sizeof(v->alias) / sizeof(v->alias[0]); k++) {
			if (v->alias[k] != NULL)
				n += snprintf(left + n, sizeof(left) - (size_t)n, ", %s",
				    v->alias[k]);
		}
		print_row(left, v->help);
	}
	print_global();
	printf("\n`slotctl VERB --help` tells about one verb. A time T is 300ms, 5s, 2m, 1h or\n"
	       "plain seconds; ids are 7, 3,4 or 5-9.\n\n"
	       "Exit status: 0; 1 a job was not ok; 124 timed out; 125 usage, an unknown id or no\n"
	       "daemon; `run` exits as its job did.\n");
}
