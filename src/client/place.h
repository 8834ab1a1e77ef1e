#ifndef CLIENT_PLACE_H
#define CLIENT_PLACE_H
/*
 * How far a stream has come: from what it told so far to the parameters with which it goes on,
 * and what is told twice then. It knows JSON and nothing of connections.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/table.h"

#define PLACE_FDS 3 /* descriptors 1 and 2 of a job */

/* Fields are the module's own. */
struct place {
	int cursor;             /* an enum client_cursor */
	uint64_t n;             /* items told */
	uint64_t seq;           /* of the last one; where `known` */
	bool known;
	bool moved_on;          /* it was resumed: numbers of the daemon are not ours any more */
	struct table told;      /* jobs */
	int64_t next[PLACE_FDS]; /* byte of each descriptor */
	int64_t attempt;         /* that they are of, each begins at 0; 0: nothing came yet */
	bool windowed;
	uint64_t outstanding;   /* told and not credited */
	uint64_t swallow;       /* of it, what an earlier connection told: no credit goes out */
};

void place_init(struct place *p, int cursor, const json_t *params);
void place_fini(struct place *p);

/* The seq behind which it was opened, if nothing came yet. */
void place_opened_at(struct place *p, uint64_t seq);

/* An item came (it is changed where need be). False: it was told before. *again is how much of
 * it is to be credited at once. */
bool place_move(struct place *p, json_t *item, uint64_t *again);

/* `n` were consumed: how many the daemon is to be told of. */
uint64_t place_credit(struct place *p, uint64_t n);

/* Sets in params where it goes on; `seq` where no better is known. 0, -SLOT_ENOMEM, or 1: all was
 * told, and *result (a new reference) is the end. */
int place_go_on(struct place *p, json_t *params, const json_t *instance, uint64_t seq,
    json_t **result);

/* The end of a stream that was resumed counts what came before, too. */
void place_correct_result(const struct place *p, json_t *result);

#endif
