/*
 * figures: what the programs of this directory measure with and print: one clock, one list of
 * durations, one line of JSON.
 */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Seconds by the monotonic clock. */
static inline double
figures_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Room for COUNT durations in seconds; the caller frees it. Ends the program without memory. */
static inline double *
figures_new(long count)
{
	double *all = calloc((size_t)count, sizeof(*all));

	if (all == NULL) {
		fputs("out of memory\n", stderr);
		exit(1);
	}
	return all;
}

static inline int
figures_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The duration in microseconds that a share of them (0 to 1) doesn't exceed. ALL is sorted. */
static inline double
figures_at(const double *all, long count, double share)
{
	long at = (long)(share * (double)count);

	return all[at < count ? at : count - 1] * 1e6;
}

/* Writes each duration in microseconds to a line of the file KEEP. Ends the program if it can't. */
static inline void
figures_keep(const double *all, long count, const char *keep)
{
	FILE *f = fopen(keep, "we");

	for (long i = 0; f != NULL && i < count; i++)
		fprintf(f, "%.1f\n", all[i] * 1e6);
	if (f == NULL || fclose(f) != 0) {
		perror(keep);
		exit(1);
	}
}

/* Sorts ALL and prints the line; SECONDS is how long all of it took. KEEP: a file, or NULL. */
static inline void
figures_print(double *all, long count, double seconds, const char *keep)
{
	qsort(all, (size_t)count, sizeof(*all), figures_compare);
	if (keep != NULL)
		figures_keep(all, count, keep);
	printf("{\"count\":%ld,\"seconds\":%.6f,\"per_s\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,"
	       "\"p99_us\":%.1f,\"max_us\":%.1f}\n", count, seconds, (double)count / seconds,
	    figures_at(all, count, 0.5), figures_at(all, count, 0.9), figures_at(all, count, 0.99),
	    all[count - 1] * 1e6);
}
#endif
