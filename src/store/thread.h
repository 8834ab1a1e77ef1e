#ifndef STORE_THREAD_H
#define STORE_THREAD_H
/*
 * Starting a thread beside the loop's.
 */
#include <pthread.h>

/*
 * Runs main(arg) in a thread called `name` (at most 15 bytes) that handles no signal: each belongs
 * to the loop. 0 or a negative errno.
 */
int thread_start(pthread_t *thread, const char *name, void *(*main)(void *arg), void *arg);

#endif
