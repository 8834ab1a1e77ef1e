#ifndef LAUNCHER_LAUNCHER_H
#define LAUNCHER_LAUNCHER_H
/* What one launcher consists of. Each part is a module of its own; this only joins them. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "launcher/engine.h"
#include "launcher/kin.h"
#include "launcher/listen.h"
#include "launcher/proc.h"
#include "launcher/spawn.h"
#include "launcher/table.h"
#include "launcher/tell.h"
#include "launcher/timer.h"
#include "launcher/tree.h"
#include "launcher/upgrade.h"

#define STOP_GRACE_MAX_MS 5000 /* for jobs, when the launcher itself has to end */
#define ACK_WAIT_MS 5000       /* and for the engine to acknowledge */
#define KILL_WAIT_MS 10000     /* for what not even KILL ends */

#define EVENTS_MAX 128 /* of one turn */

/* In epoll's data stands the index of the job whose leader ended, or one of these. */
#define ENGINE_TAG UINT64_MAX
#define SIGNAL_TAG (UINT64_MAX - 1)
#define LISTEN_TAG (UINT64_MAX - 2)
#define NOTIFY_TAG (UINT64_MAX - 3)

struct launcher {
	struct table table;
	struct timers timers;
	struct kin adopted;
	struct kin marked;
	struct proc proc;
	struct tree tree;
	struct spawner spawner;
	struct engine engine;
	struct tell tell;
	struct listen listen;
	struct upgrade upgrade;
	struct epoll_event events[EVENTS_MAX];
	int epoll_fd;
	int signal_fd;
	int64_t grace_ms;   /* for jobs that name none */
	int64_t leave_us;   /* stopping: leave then, whatever is left */
	bool stopping;      /* every job is being ended, none is taken */
	bool look_around;   /* a child may have come or gone: see reap_settle */
	bool look_again;    /* and soon once more: whose child it is could not be told yet */
	pid_t *ended;       /* KIN_MAX: orphans found dead during a walk */
	uint32_t ended_count;
	uint32_t undecided; /* adopted children of which that is so */
};

#endif
