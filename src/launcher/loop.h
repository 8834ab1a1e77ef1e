#ifndef LAUNCHER_LOOP_H
#define LAUNCHER_LOOP_H
/* One thread, one epoll: ends of leaders, signals, frames, timers, in this order each turn. */
#include "launcher/launcher.h"

/* Runs until the engine is gone, or TERM came, and nothing is left. 0, or -1 when it had to
 * leave something behind. */
int loop_run(struct launcher *l);

#endif
