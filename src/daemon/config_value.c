/*
 * Values of options: text to number and back, by type. Knows nothing of files or of the struct.
 */
#include "daemon/config_value.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct unit {
	const char *name;
	int64_t factor;
};

/* Largest first: formatting takes the first that divides. The last is what a bare number means. */
static const struct unit duration_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
	{ "", 1000 },
	{ NULL, 0 },
};
static const struct unit size_units[] = {
	{ "GiB", INT64_C(1) << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { "", 1 }, { NULL, 0 },
};
static const struct unit plain_units[] = { { "", 1 }, { NULL, 0 } };

static const struct unit *
units_of(enum config_type type)
{
	switch (type) {
	case CONFIG_DURATION:
		return duration_units;
	case CONFIG_SIZE:
	case CONFIG_AUTO_SIZE:
		return size_units;
	case CONFIG_COUNT:
	case CONFIG_CPUS:
	case CONFIG_UNBOUND:
	case CONFIG_AUTO_COUNT:
	case CONFIG_WORD:
	case CONFIG_MODE:
	case CONFIG_TEXT:
		break;
	}
	return plain_units;
}

int64_t
config_value_cpus(void)
{
	cpu_set_t set;
	long n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return CPU_COUNT(&set);
	n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t holds */
	return n > 0 ? n : 1;
}

/* Digits and a unit, nothing around them. */
static int
parse_number(const char *text, const struct unit *units, int64_t *value)
{
	char *end;
	intmax_t n;

	if (text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	n = strtoimax(text, &end, 10);
	if (errno != 0)
		return -1;
	while (*end == ' ')
		end++;
	for (; units->name != NULL; units++) {
		if (strcmp(end, units->name) == 0)
			return __builtin_mul_overflow(n, units->factor, value) ? -1 : 0;
	}
	return -1;
}

static int
parse_octal(const struct config_option *option, const char *text, int64_t *value)
{
	char *end;

	if (text[0] < '0' || text[0] > '7' || strlen(text) > 6)
		return -1;
	*value = (int64_t)strtoul(text, &end, 8);
	return *end == '\0' && *value <= option->max ? 0 : -1;
}

static int
parse_word(const char *const *words, const char *text, int64_t *value)
{
	for (int i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], text) == 0) {
			*value = i;
			return 0;
		}
	}
	return -1;
}

static int
parse_any(const struct config_option *option, const char *text, int64_t *value)
{
	switch (option->type) {
	case CONFIG_WORD:
		return parse_word(option->words, text, value);
	case CONFIG_MODE:
		return parse_octal(option, text, value);
	case CONFIG_CPUS:
		if (strcmp(text, "auto") == 0) {
			*value = config_value_cpus();
			return 0;
		}
		break;
	case CONFIG_UNBOUND:
		if (strcmp(text, "none") == 0) {
			*value = -1;
			return 0;
		}
		break;
	case CONFIG_AUTO_COUNT:
	case CONFIG_AUTO_SIZE:
		if (strcmp(text, "auto") == 0) {
			*value = -1;
			return 0;
		}
		break;
	case CONFIG_COUNT:
	case CONFIG_DURATION:
	case CONFIG_SIZE:
		break;
	case CONFIG_TEXT:
		return -1;
	}
	if (parse_number(text, units_of(option->type), value) != 0)
		return -1;
	return *value >= option->min && *value <= option->max ? 0 : -1;
}

int
config_value_parse(const struct config_option *option, const char *text, int64_t *value, char *why,
    size_t why_size)
{
	int64_t v;

	if (parse_any(option, text, &v) != 0) {
		config_value_accepts(option, why, why_size);
		return -1;
	}
	*value = v;
	return 0;
}

void
config_value_format(const struct config_option *option, int64_t value, char *buf, size_t size)
{
	const struct unit *unit = units_of(option->type);

	if (option->type == CONFIG_WORD) {
		snprintf(buf, size, "%s", option->words[value]);
		return;
	}
	if (option->type == CONFIG_MODE) {
		snprintf(buf, size, "0%03" PRIo64, (uint64_t)value);
		return;
	}
	if (value < 0) {
		snprintf(buf, size, option->type == CONFIG_UNBOUND ? "none" : "auto");
		return;
	}
	while (value != 0 && value % unit->factor != 0)
		unit++;
	if (value == 0)
		snprintf(buf, size, "0");
	else
		snprintf(buf, size, "%" PRId64 "%s", value / unit->factor, unit->name);
}

void
config_value_format_field(const struct config_option *option, const void *base, char *buf,
    size_t size)
{
	const void *field = (const char *)base + option->offset;

	if (option->type == CONFIG_TEXT)
		snprintf(buf, size, "%s", *(char *const *)field);
	else
		config_value_format(option, *(const int64_t *)field, buf, size);
}

static void
accepts_words(const struct config_option *option, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (int i = 0; option->words[i] != NULL && used < size; i++) {
		int n =
		    snprintf(buf + used, size - used, "%s%s", i == 0 ? "" : ", ", option->words[i]);
		used += n > 0 ? (size_t)n : 0;
	}
}

void
config_value_accepts(const struct config_option *option, char *buf, size_t size)
{
	const char *kind = "";
	char min[32], max[32];

	switch (option->type) {
	case CONFIG_WORD:
		accepts_words(option, buf, size);
		return;
	case CONFIG_MODE:
		snprintf(buf, size, "an octal mode such as 0600");
		return;
	case CONFIG_TEXT:
		snprintf(buf, size, "text of up to %" PRId64 " bytes", option->max);
		return;
	case CONFIG_COUNT:
		kind = "a whole number";
		break;
	case CONFIG_CPUS:
		kind = "auto, or a whole number";
		break;
	case CONFIG_UNBOUND:
		kind = "none, or a whole number";
		break;
	case CONFIG_AUTO_COUNT:
		kind = "auto, or a whole number";
		break;
	case CONFIG_AUTO_SIZE:
		kind = "auto, or a size (4096, 64KiB, 16MiB, 1GiB)";
		break;
	case CONFIG_DURATION:
		kind = "a duration (300ms, 5s, 2m, 1h, 7d)";
		break;
	case CONFIG_SIZE:
		kind = "a size (4096, 64KiB, 16MiB, 1GiB)";
		break;
	}
	config_value_format(option, option->min, min, sizeof(min));
	config_value_format(option, option->max, max, sizeof(max));
	snprintf(buf, size, "%s from %s to %s", kind, min, max);
}
