#ifndef CORE_FAILPOINT_H
#define CORE_FAILPOINT_H
/*
 * Named places at which a test may stop the process, to see what a crash right there leaves
 * behind. Compiled in always, inert until failpoint_arm: a passage costs one load.
 */
#include <stdbool.h>

/* The one table: name, and what has happened and what has not when it is passed. */
#define FAILPOINTS(X) \
	X(SUBMIT_RECORDED, "submit.recorded", "a submit is in the open batch, not committed") \
	X(COMMIT_BEFORE, "commit.before", "a transaction is complete, COMMIT not called") \
	X(COMMIT_AFTER, "commit.after", "COMMIT returned, nobody was told") \
	X(REPLY_BEFORE, "reply.before", "a batch is durable, its replies are not sent") \
	X(LAUNCH_BEFORE, "launch.before", "\"running\" is durable, the launcher has not heard") \
	X(LAUNCH_AFTER, "launch.after", "the start was sent to the launcher") \
	X(EXIT_RECEIVED, "exit.received", "an exit came, nothing is recorded") \
	X(OUTPUT_READ, "output.read", "a pipe was read, no ring has what came") \
	X(OUTPUT_KEPT, "output.kept", "a ring has what came, the landing says that it hasn't") \
	X(DONE_RECORDED, "done.recorded", "a completion is in the open batch, not committed") \
	X(ACK_BEFORE, "ack.before", "a completion is durable, the launcher not acknowledged") \
	X(ACK_AFTER, "ack.after", "the launcher was acknowledged, streams were not told") \
	X(REQUEUE_RECORDED, "requeue.recorded", "a retry is in the open batch, not committed") \
	X(PRUNE_BEFORE, "prune.before", "a slice of history is about to be removed") \
	X(CHECKPOINT_BEFORE, "checkpoint.before", "the write-ahead log is about to be copied back") \
	X(RECOVER_MIDDLE, "recover.middle", "half of what was live has been taken up again") \
	X(ADOPT_BEFORE, "adopt.before", "the launcher told what it holds, nothing is recorded")

enum failpoint {
#define FAILPOINT_ENUM(name, text, help) FAILPOINT_##name,
	FAILPOINTS(FAILPOINT_ENUM)
#undef FAILPOINT_ENUM
	FAILPOINT_MAX
};

const char *failpoint_name(enum failpoint point);
const char *failpoint_help(enum failpoint point);

/*
 * Arms the points of `spec`: "NAME:kill[:N]" (SIGKILL to ourselves at the Nth passage, 1 by
 * default), several with commas. 0, or -1: not understood, nothing is armed. Once, before threads.
 */
int failpoint_arm(const char *spec);

extern bool failpoint_armed; /* read through failpoint() */
void failpoint_passed(enum failpoint point);

/* Passes a point; any thread. */
static inline void
failpoint(enum failpoint point)
{
	if (__builtin_expect(failpoint_armed, false))
		failpoint_passed(point);
}

#endif
