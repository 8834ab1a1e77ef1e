#ifndef ENGINE_RECOVER_H
#define ENGINE_RECOVER_H
/*
 * The engine after a restart: what was live in the journal is taken up again before the first turn,
 * in the same order; what ran awaits the launcher, which tells what it still holds.
 *
 *	journal says    launcher says                     then
 *	pending         -                                 pending, with what it waited for
 *	running         held                              runs on (run_adopt); its exit will come
 *	running         not held, the same instance       it never ran: pending, attempt not counted
 *	running         another instance                  lost (launcher_died, reboot)
 *	done, pending   held: an attempt that is over     acknowledged when its exit comes
 *	nothing         held                              ended: it is another journal's
 */
#include "launch/launch.h"
#include <stdint.h>

struct engine;

/* Takes up what the store knows; nothing in a store that begins empty. 0, or -1 with errno. */
int recover(struct engine *e);

/* Of an attempt that the launcher holds; all of them, and which instance it is: from here on it may
 * be given jobs. */
void recover_launcher_holds(struct engine *e, const struct launch_held *held);
void recover_launcher_ready(struct engine *e, uint64_t instance);

void recover_fini(struct engine *e);

#endif
