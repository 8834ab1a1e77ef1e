/*
 * Failpoints. The one mutable table outside a main.c: it stands for the machine that fails, is
 * written once before threads start, and is never touched in a process that no test started.
 */
#include "core/failpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

bool failpoint_armed;

static atomic_long passages_left[FAILPOINT_MAX]; /* 0: not armed */

static const struct {
	const char *name, *help;
} points[FAILPOINT_MAX] = {
#define FAILPOINT_ROW(name, text, help) { text, help },
	FAILPOINTS(FAILPOINT_ROW)
#undef FAILPOINT_ROW
};

const char *
failpoint_name(enum failpoint point)
{
	return points[point].name;
}

const char *
failpoint_help(enum failpoint point)
{
	return points[point].help;
}

static int
find(const char *name, size_t len)
{
	for (int i = 0; i < FAILPOINT_MAX; i++)
		if (strlen(points[i].name) == len && memcmp(points[i].name, name, len) == 0)
			return i;
	return -1;
}

/* One "NAME:kill[:N]" of `len` bytes. */
static int
read_one(const char *item, size_t len, int *point, long *passage)
{
	static const char verb[] = ":kill";
	const char *colon = memchr(item, ':', len);
	const char *rest;
	char *end;

	if (colon == NULL || (*point = find(item, (size_t)(colon - item))) < 0)
		return -1;
	rest = colon + sizeof verb - 1;
	if (rest > item + len || memcmp(colon, verb, sizeof verb - 1) != 0)
		return -1;
	*passage = 1;
	if (rest == item + len)
		return 0;
	errno = 0;
	*passage = *rest == ':' ? strtol(rest + 1, &end, 10) : 0;
	return *passage > 0 && errno == 0 && end == item + len ? 0 : -1;
}

int
failpoint_arm(const char *spec)
{
	long passages[FAILPOINT_MAX] = { 0 };

	for (;;) {
		size_t len = strcspn(spec, ",");
		long passage;
		int point;

		if (read_one(spec, len, &point, &passage) < 0)
			return -1;
		passages[point] = passage;
		if (spec[len] == '\0')
			break;
		spec += len + 1;
	}
	for (int i = 0; i < FAILPOINT_MAX; i++)
		atomic_store(&passages_left[i], passages[i]);
	failpoint_armed = true;
	return 0;
}

void
failpoint_passed(enum failpoint point)
{
	if (atomic_load(&passages_left[point]) > 0 &&
	    atomic_fetch_sub(&passages_left[point], 1) == 1)
		raise(SIGKILL);
}
