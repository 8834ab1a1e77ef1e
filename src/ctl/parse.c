/* Values on the command line: durations, times, numbers, ids, signals. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"

#define IDS_MAX 65536

int
ctl_duration(const char *text, int64_t *ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "", 1e3 }, { "ms", 1 }, { "s", 1e3 }, { "m", 60e3 }, { "h", 3600e3 },
		{ "d", 86400e3 } };
	size_t digits = strspn(text, "0123456789.");
	char *end;

	if (digits == 0)
		return -1;
	double value = strtod(text, &end);

	/* "1.2.3", and what only strtod takes for a number, such as 1e5. */
	if (end != text + digits)
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		value = value * units[i].ms + 0.5; /* never below 0: the cast rounds */
		if (!(value < 9e15))
			return -1;
		*ms = (int64_t)value;
		return 0;
	}
	return -1;
}

int
ctl_number(const char *text, int64_t min, int64_t max, int64_t *value)
{
	char *end;

	if (strspn(text, "-0123456789") != strlen(text) || text[0] == '\0')
		return -1;
	errno = 0;
	long long n = strtoll(text, &end, 10);

	if (errno != 0 || *end != '\0' || n < min || n > max)
		return -1;
	*value = n;
	return 0;
}

/* Hours and minutes today, or tomorrow where they are over. */
static int
time_of_day(const char *text, int64_t now_us, struct tm *tm)
{
	time_t now = (time_t)(now_us / 1000000);
	struct tm wanted;
	char *end;

	if (localtime_r(&now, &wanted) == NULL)
		return -1;
	wanted.tm_sec = 0;
	end = strptime(text, "%H:%M", &wanted);
	if (end != NULL && *end == ':')
		end = strptime(end, ":%S", &wanted);
	if (end == NULL || *end != '\0')
		return -1;
	wanted.tm_isdst = -1;
	*tm = wanted;
	if (mktime(&wanted) <= now)
		tm->tm_mday++;
	return 0;
}

static int
date_and_time(const char *text, struct tm *tm)
{
	char *end = strptime(text, "%Y-%m-%d", tm);

	if (end != NULL && (*end == 'T' || *end == ' ')) {
		end = strptime(end + 1, "%H:%M", tm);
		if (end != NULL && *end == ':')
			end = strptime(end, ":%S", tm);
	}
	return end != NULL && *end == '\0' ? 0 : -1;
}

int
ctl_time(const char *text, int64_t now_us, int64_t *us)
{
	struct tm tm = { .tm_isdst = -1 };
	int64_t seconds;

	if (text[0] == '@') {
		if (ctl_number(text + 1, 0, INT64_C(9000000000), &seconds) != 0)
			return -1;
		*us = seconds * 1000000;
		return 0;
	}
	if (time_of_day(text, now_us, &tm) != 0) {
		memset(&tm, 0, sizeof(tm));
		tm.tm_isdst = -1;
		if (date_and_time(text, &tm) != 0)
			return -1;
	}
	time_t t = mktime(&tm);

	if (t == (time_t)-1)
		return -1;
	*us = (int64_t)t * 1000000;
	return 0;
}

/* ---- ids ---- */

static int
append_range(json_t *array, const char *text)
{
	const int64_t max = INT64_C(9007199254740991);
	int64_t first, last;
	char copy[48];
	char *dash;

	if (strlen(text) >= sizeof(copy))
		return -1;
	strcpy(copy, text);
	dash = strchr(copy, '-');
	if (dash != NULL)
		*dash = '\0';
	if (ctl_number(copy, 1, max, &first) != 0)
		return -1;
	last = first;
	if (dash != NULL && ctl_number(dash + 1, first, max, &last) != 0)
		return -1;
	if (last - first >= IDS_MAX)
		return -1;
	for (; first <= last; first++) {
		if (json_array_append_new(array, json_integer(first)) != 0)
			return -1;
	}
	return json_array_size(array) <= IDS_MAX ? 0 : -1;
}

int
ctl_ids(json_t *array, const char *text)
{
	char *copy = strdup(text);
	char *at = copy;
	int rc = copy != NULL ? 0 : -1;

	while (rc == 0 && at != NULL) {
		char *word = strsep(&at, ",");

		rc = append_range(array, word);
	}
	free(copy);
	return rc;
}

json_t *
ctl_ids_of(const struct ctl_args *args, int first)
{
	json_t *ids = json_array();

	for (int i = first; i < args->argc; i++) {
		if (ctl_ids(ids, args->argv[i]) != 0) {
			ctl_usage(args, "\"%s\" is no job id", args->argv[i]);
			json_decref(ids);
			return NULL;
		}
	}
	return ids;
}

int
ctl_one_id(const struct ctl_args *args, int64_t *id)
{
	if (args->argc != 1)
		return ctl_usage(args, "%s wants one job id", args->verb->name);
	if (ctl_number(args->argv[0], 1, INT64_C(9007199254740991), id) != 0)
		return ctl_usage(args, "\"%s\" is no job id", args->argv[0]);
	return 0;
}

/* ---- signals ---- */

int
ctl_signal_number(const char *text)
{
	int64_t n;

	if (ctl_number(text, 1, SIGRTMAX, &n) == 0)
		return (int)n;
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (int i = 1; i < NSIG; i++) {
		const char *name = sigabbrev_np(i);

		if (name != NULL && strcasecmp(name, text) == 0)
			return i;
	}
	return -1;
}

const char *
ctl_signal_name(int signo)
{
	return sigabbrev_np(signo);
}
