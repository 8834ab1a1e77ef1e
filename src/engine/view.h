#ifndef ENGINE_VIEW_H
#define ENGINE_VIEW_H
/*
 * What clients see of a job: rows as job objects and completions, cut where a reply would grow
 * past a line.
 */
#include "engine/context.h"
#include "wire/message.h"

/* May `uid` see this row? */
bool view_visible(const struct engine *e, const struct row *row, uid_t uid, bool admin);

/* The text that a view borrows: freed with view_free. */
struct view {
	struct arena arena;
	const struct request *req; /* for which output was loaded that no capture holds; NULL */
};

/* Fills c from a done row; with_output bytes of each stream at most, taking what it uses from
 * *budget (bytes of JSON left in the reply). 0 or -ENOMEM. */
int view_completion(struct view *v, const struct row *row, int64_t with_output, size_t *budget,
    struct msg_completion *c);
/* Fills a job object; argv is cut at argv_max bytes (VIEW_ARGV_ALL: at what a line can hold).
 * 0 or -ENOMEM. */
int view_job(struct view *v, const struct engine *e, const struct row *row, size_t argv_max,
    struct msg_job *out);
/* As view_completion does, for job.result. */
int view_outputs(struct view *v, const struct row *row, int64_t with_output, size_t *budget,
    struct msg_bytes *out, struct msg_bytes *err);
void view_free(struct view *v);

/* JSON bytes a reply may have for variable parts. */
#define VIEW_BUDGET ((size_t)960 * 1024)
/* … that a completion takes at most, tag and output not counted. */
#define VIEW_COMPLETION_MAX 224
#define VIEW_ARGV_ALL ((size_t)VIEW_BUDGET / 2)

bool view_filter(const struct msg_filter *f, const struct row *row);

#endif
