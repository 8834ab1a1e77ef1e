#ifndef TESTS_UNIT_ALLOC_FIXTURE_H
#define TESTS_UNIT_ALLOC_FIXTURE_H
/*
 * Counts the blocks in use, and refuses one allocation. For one file of a program that is linked with
 * --wrap for the malloc family (see ALLOC_WRAP in Makefile.am).
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *p);

static long live;    /* blocks in use */
static long fail_in; /* so many allocations until one fails; 0: none */
static bool refused;  /* one did */

static bool
refuse(void)
{
	if (fail_in == 0 || --fail_in > 0)
		return false;
	refused = true;
	errno = ENOMEM;
	return true;
}

static void *
counted(void *p)
{
	if (p != NULL)
		live++;
	return p;
}

void *
__wrap_malloc(size_t size)
{
	return refuse() ? NULL : counted(__real_malloc(size));
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return refuse() ? NULL : counted(__real_calloc(n, size));
}

void *
__wrap_realloc(void *p, size_t size)
{
	if (refuse())
		return NULL;
	return p != NULL ? __real_realloc(p, size) : counted(__real_realloc(p, size));
}

char *
__wrap_strdup(const char *text)
{
	return refuse() ? NULL : counted(__real_strdup(text));
}

void
__wrap_free(void *p)
{
	if (p != NULL)
		live--;
	__real_free(p);
}

#endif
