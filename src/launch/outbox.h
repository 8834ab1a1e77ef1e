#ifndef LAUNCH_OUTBOX_H
#define LAUNCH_OUTBOX_H
/* Frames that wait to be sent to the launcher, with the descriptors that go along. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "launch/frame.h"
#include "launch/launch.h"

struct outgoing;

struct outbox {
	struct outgoing *first, **last;
	struct outgoing *open_ack; /* an ACK frame at the end that still takes entries */
};

void outbox_init(struct outbox *box);
bool outbox_is_empty(const struct outbox *box);
/* Only acknowledgements wait, and there is room for more in their frame. */
bool outbox_only_acks(const struct outbox *box);
/* Moves all that is in `from` behind what is in `to`. */
void outbox_move(struct outbox *to, struct outbox *from);
/* Drops all frames and closes their descriptors. */
void outbox_clear(struct outbox *box);

/* A zeroed frame of `len` bytes with its head, for the caller to fill. NULL: no memory. */
void *outbox_add(struct outbox *box, enum frame_type type, size_t len);
/* Acknowledgements that follow one another share a frame. 0 or -ENOMEM. */
int outbox_add_ack(struct outbox *box, uint64_t job, uint32_t attempt);
/* Takes the descriptors in any case. 0; or -E2BIG, -EINVAL, or the errno of a system call. */
int outbox_add_run(struct outbox *box, const struct launch_run *run);
/* Only closes the descriptors of a run that can't be queued at all. */
void outbox_refuse_run(const struct launch_run *run);

/* Sends what goes out without waiting. 0: everything; or the errno (positive) that stopped it. */
int outbox_send(struct outbox *box, int fd);
/* The first frame is too long for the socket (EMSGSIZE): moves its bytes into a memfd. 0, or an
 * errno: EMSGSIZE where nothing can be moved. */
int outbox_shorten_first(struct outbox *box);

#endif
