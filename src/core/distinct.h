#ifndef CORE_DISTINCT_H
#define CORE_DISTINCT_H
/*
 * The set of a combinator: which of the futures given are the first of their kind.
 */
#include <slot/future.h>

/*
 * A new array, the caller's to free, of the places in `futures` (n at least 1) at which a
 * future stands for the first time, ascending; *count is how many. NULL with *error
 * -SLOT_EINVAL (there is a NULL among them) or -SLOT_ENOMEM. O(n).
 */
size_t *slot_distinct(struct slot_future *const *futures, size_t n, size_t *count, int *error);

#endif
