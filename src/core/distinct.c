/*
 * Distinct futures by an open-addressing table of places, built and dropped in one call.
 */
#include "core/distinct.h"

#include <stdint.h>
#include <stdlib.h>

/* Pointers from malloc differ in their middle bits; the product's top bits depend on all. */
static size_t
hash_pointer(const void *p, unsigned bits)
{
	return (size_t)(((uint64_t)(uintptr_t)p * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - bits));
}

/* The smallest table, as a power of two, that is at most half full. */
static unsigned
table_bits(size_t n)
{
	unsigned bits = 1;

	while (((size_t)1 << bits) < 2 * n)
		bits++;
	return bits;
}

static bool
any_null(struct slot_future *const *futures, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (futures[i] == NULL)
			return true;
	}
	return false;
}

/* Enters place i; false: that future has one already. The table holds places + 1. */
static bool
enter(size_t *table, unsigned bits, struct slot_future *const *futures, size_t i)
{
	size_t mask = ((size_t)1 << bits) - 1;
	size_t at = hash_pointer(futures[i], bits);

	while (table[at] != 0) {
		if (futures[table[at] - 1] == futures[i])
			return false;
		at = (at + 1) & mask;
	}
	table[at] = i + 1;
	return true;
}

size_t *
slot_distinct(struct slot_future *const *futures, size_t n, size_t *count, int *error)
{
	size_t *places = NULL;
	size_t *table = NULL;
	unsigned bits;

	*error = -SLOT_EINVAL;
	if (any_null(futures, n))
		return NULL;
	*error = -SLOT_ENOMEM;
	if (n > SIZE_MAX / 8 / sizeof(*table))
		return NULL;
	bits = table_bits(n);
	table = calloc((size_t)1 << bits, sizeof(*table));
	places = malloc(n * sizeof(*places));
	if (table == NULL || places == NULL) {
		free(table);
		free(places);
		return NULL;
	}
	*count = 0;
	for (size_t i = 0; i < n; i++) {
		if (enter(table, bits, futures, i))
			places[(*count)++] = i;
	}
	free(table);
	*error = 0;
	return places;
}
