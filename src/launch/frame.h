#ifndef LAUNCH_FRAME_H
#define LAUNCH_FRAME_H
/*
 * The frames between engine and launcher, shared by both; libc only. One SEQPACKET message is
 * one frame: a head, the fixed fields of its type, for RUN the body and the environment, for ACK
 * its list. Integers are the host's: both ends are one machine. Descriptors ride as SCM_RIGHTS
 * in the order of the roles. Numbers are never reused.
 *
 *	engine               launcher
 *	HELLO ------------->          also later: whatever is not acknowledged is told again
 *	      <------------- HELD     one for each attempt that an earlier engine started, with the
 *	                              descriptors that are kept for it
 *	      <------------- WELCOME  instance, table size, build; exits follow
 *	RUN   ------------->
 *	STDIN_CLOSED ------>          its stdin is at the end: nobody keeps the pipe open for it
 *	      <------------- EXIT     the leader ended or never ran; with FRAME_EXIT_GONE also GONE
 *	ACK   ------------->          now the launcher may forget it
 *	      <------------- GONE     no process of the job is left
 *	CANCEL, SIGNAL, CEILING, answered by EXIT, by SIGNALED, not at all
 *	REEXEC ------------>          executes its binary anew, with all that it has
 *	      <------------- RENEWED  that is done, or could not be
 *
 * The heads, REEXEC, RENEWED and SPEAKS are the same in every version, now and later: a frame of
 * another version is answered by SPEAKS, whose head has the version that is spoken.
 */
#include "launch/launch.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_VERSION 2

#define FRAME_INLINE_MAX (64u * 1024)       /* body and environment inside the frame */
#define FRAME_BODY_MAX (2u * 1024 * 1024)   /* body and environment in a memfd */
#define FRAME_ACKS_MAX 16u
#define FRAME_BUILD_MAX 32 /* with its NUL */
#define FRAME_KEPT_MAX 3   /* descriptors of one HELD */

enum frame_type {
	FRAME_HELLO = 1, /* engine to launcher */
	FRAME_RUN = 2,
	FRAME_CANCEL = 3,
	FRAME_SIGNAL = 4,
	FRAME_ACK = 5,
	FRAME_CEILING = 6,
	FRAME_STDIN_CLOSED = 16,
	FRAME_REEXEC = 17,
	FRAME_WELCOME = 64, /* launcher to engine */
	FRAME_EXIT = 65,
	FRAME_GONE = 66,
	FRAME_SIGNALED = 67,
	FRAME_HELD = 80,
	FRAME_SPEAKS = 81,
	FRAME_RENEWED = 82,
};

struct frame_head {
	uint16_t version;
	uint16_t type;
	uint32_t len; /* of the whole message */
};

struct frame_hello {
	struct frame_head head;
	uint64_t reserved;
};

struct frame_welcome {
	struct frame_head head;
	uint64_t instance; /* random, never 0: another number is another launcher */
	uint32_t jobs;     /* table capacity */
	uint32_t used;
	uint32_t pid;
	uint32_t reserved;
	char build[FRAME_BUILD_MAX]; /* the version that --version prints */
};

struct frame_held {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint32_t slots;
	uint8_t roles[FRAME_KEPT_MAX]; /* of the descriptors: LAUNCH_FD_KEEP_… */
	uint8_t reserved[5];
};

struct frame_run {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint32_t slots;
	uint32_t body_len; /* the body, then the environment, follow here or fill the memfd */
	uint32_t env_len;
	uint8_t roles[LAUNCH_FDS_MAX]; /* of the descriptors, enum launch_fd_role */
	uint8_t reserved;
};

struct frame_cancel {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint32_t reserved;
	int64_t grace_ms;
};

struct frame_signal {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint32_t signo;
	uint64_t token; /* comes back in SIGNALED */
	uint32_t scope; /* enum launch_scope */
	uint32_t reserved;
};

struct frame_ack_entry {
	uint64_t job;
	uint32_t attempt;
	uint32_t reserved;
};

struct frame_ack {
	struct frame_head head;
	struct frame_ack_entry entries[FRAME_ACKS_MAX]; /* head.len tells how many are sent */
};

struct frame_ceiling {
	struct frame_head head;
	uint32_t slots;
	uint32_t reserved;
};

struct frame_stdin_closed {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint32_t reserved;
};

struct frame_reexec {
	struct frame_head head;
	uint64_t reserved;
};

struct frame_speaks {
	struct frame_head head;
	uint64_t reserved;
};

struct frame_renewed {
	struct frame_head head;
	int32_t error; /* 0: the new binary runs; errno: the old one goes on */
	uint32_t reserved;
};

#define FRAME_EXIT_GONE 1u   /* nothing of the job is left: no GONE follows */
#define FRAME_BEST_EFFORT 2u /* as far as can be known without a cgroup */

struct frame_exit {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint8_t how;   /* enum launch_how */
	uint8_t cause; /* enum launch_cause */
	uint8_t step;  /* enum launch_step */
	uint8_t flags;
	int32_t value; /* exit code, signal or errno, as how says */
	uint32_t reserved;
	int64_t user_us, system_us, max_rss_kib, ran_us;
};

struct frame_gone {
	struct frame_head head;
	uint64_t job;
	uint32_t attempt;
	uint32_t flags; /* FRAME_BEST_EFFORT */
};

struct frame_signaled {
	struct frame_head head;
	uint64_t token;
	int32_t error; /* errno, 0: delivered */
	uint32_t reserved;
};

/* Any frame, without what follows the fixed fields of RUN. */
union frame {
	struct frame_head head;
	struct frame_hello hello;
	struct frame_welcome welcome;
	struct frame_run run;
	struct frame_cancel cancel;
	struct frame_signal signal;
	struct frame_ack ack;
	struct frame_ceiling ceiling;
	struct frame_stdin_closed stdin_closed;
	struct frame_reexec reexec;
	struct frame_held held;
	struct frame_speaks speaks;
	struct frame_renewed renewed;
	struct frame_exit exit;
	struct frame_gone gone;
	struct frame_signaled signaled;
};

/* The largest message there is. */
#define FRAME_MAX (sizeof(struct frame_run) + FRAME_INLINE_MAX)

/* Fills in a head for `len` bytes. */
void frame_head_init(struct frame_head *head, enum frame_type type, size_t len);

/*
 * Checks a message of `len` bytes and copies its fixed fields to *frame (which it fills
 * whole, so that nothing in it is stale). 0, or -1 with *why. For RUN the sum of the lengths
 * is within the limits and right for an inline body; whether a memfd holds as much is for
 * the caller to see. REEXEC, RENEWED and SPEAKS are read in any version.
 */
int frame_read(union frame *frame, const void *bytes, size_t len, const char **why);

/* RUN: how many descriptors its roles name, and whether the body is in a memfd. */
unsigned frame_run_fds(const struct frame_run *run);
bool frame_run_has_memfd(const struct frame_run *run);
/* HELD: how many descriptors. */
unsigned frame_held_fds(const struct frame_held *held);
/* ACK: how many entries. */
unsigned frame_ack_count(const struct frame_ack *ack);
/* The version of a message that is one of another version (and of a sound head), or 0. */
unsigned frame_other_version(const void *bytes, size_t len);

/* EXIT to and from the value that handlers get. */
void frame_exit_pack(struct frame_exit *to, const struct launch_exit *from, unsigned flags);
void frame_exit_unpack(struct launch_exit *to, const struct frame_exit *from);

#endif
