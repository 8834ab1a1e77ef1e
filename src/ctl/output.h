#ifndef CTL_OUTPUT_H
#define CTL_OUTPUT_H
/*
 * Reading what a job wrote, page by page.
 */
#include "ctl/ctl.h"

/* One page (the result of output.read); false ends it early. */
typedef bool (*output_page_fn)(const json_t *page, const char *data, size_t len, void *arg);

/* All that is kept of stream fd (1 or 2) from *off on; *off is then where it ended. 0, or an
 * exit status with the error printed. */
int output_read(struct ctl *ctl, int64_t job, int fd, int64_t *off, output_page_fn page,
    void *arg);

/* What comes next is not at `next` but at `off`: says so where bytes between them are missing. */
void output_note_missing(int64_t job, int fd, int64_t next, int64_t off);

/* Copies it to `out` (stdout or stderr). */
int output_copy(struct ctl *ctl, int64_t job, int fd, FILE *out);

#endif
