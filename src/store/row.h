#ifndef STORE_ROW_H
#define STORE_ROW_H
/*
 * What is kept of a job: its spec (a flat record made once at submit, the same bytes in memory
 * and on disk), its environment (shared by content) and a row with what happens to it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spec_flag {
	SPEC_BOUND = 1 << 0,         /* lifetime: bound */
	SPEC_AFTER_ANY = 1 << 1,     /* after_policy: any */
	SPEC_CAPTURE_OUT = 1 << 2,   /* stdout is captured */
	SPEC_CAPTURE_ERR = 1 << 3,   /* stderr is captured on its own */
	SPEC_ERR_TO_OUT = 1 << 4,    /* stderr is stdout */
	SPEC_STDIN_PIPE = 1 << 5,    /* stdin is written through stdin.write */
	SPEC_STDIN_DATA = 1 << 6,    /* stdin is data_off, data_len */
	SPEC_FD_IN = 1 << 7,         /* the descriptor came with the submit */
	SPEC_FD_OUT = 1 << 8,
	SPEC_FD_ERR = 1 << 9,
};
#define SPEC_FDS (SPEC_FD_IN | SPEC_FD_OUT | SPEC_FD_ERR)

/*
 * Flat: offsets count from the start of the struct, 0 means absent; strings end with NUL. Nothing
 * in it ever changes. The journal keeps these bytes: to add a field, append it before the variable
 * part, raise SPEC_VERSION, and teach journal_upgrade.c to lengthen the records of the version
 * before (store/schema.h has the recipe).
 */
#define SPEC_VERSION 1

struct spec {
	uint32_t size; /* of all of it, in bytes */
	uint32_t flags;
	uint32_t body_off, body_len; /* launch/body.h */
	uint32_t name_off;
	uint32_t tag_off, tag_len; /* compact JSON */
	uint32_t key_off, key_len; /* idempotency key */
	uint32_t queue_off;
	uint32_t ok_off, nok;       /* uint8_t exit codes; 0 codes: only 0 is ok */
	uint32_t after_off, nafter; /* uint64_t job ids, 8-aligned */
	uint32_t data_off, data_len;
	uint32_t slots;
	int16_t priority;
	uint16_t retry_on; /* bits of enum msg_outcome */
	uint32_t retries;
	int64_t backoff_ms;
	int64_t delay_ms;      /* 0: none */
	int64_t not_before_us; /* wall clock; 0: none */
	int64_t output_limit;  /* -1: the engine's */
	int64_t timeout_ms, grace_ms;
};

/* What `off` points to; NULL for 0. */
static inline const void *
spec_at(const struct spec *s, uint32_t off)
{
	return off != 0 ? (const char *)s + off : NULL;
}

/* An environment, "K=V\0" after "K=V\0", shared by all rows with the same content. */
struct env_blob {
	struct env_blob *next; /* in the table's bucket */
	uint32_t refs;
	uint32_t hash;
	size_t len;
	char bytes[];
};

enum row_phase { ROW_PENDING, ROW_RUNNING, ROW_DONE };

/* What is known once a job ran or ended. */
struct row_run {
	uint64_t seq; /* 0 until done */
	int64_t started_us, finished_us; /* wall clock; 0: not known */
	int64_t user_us, system_us, max_rss_kib;
	int64_t out_bytes[2]; /* kept, stdout and stderr … */
	int64_t out_start[2]; /* … from this offset on */
	int64_t kept_bytes;   /* of the row in all, as history counts it */
	int32_t exit_code;    /* -1: none */
	int32_t signal;       /* 0: none */
	int32_t error;        /* spawn_failed: errno */
	uint8_t step;         /* spawn_failed: enum launch_step */
	uint8_t outcome;      /* enum msg_outcome, once done */
	uint8_t reason;       /* of a cancellation: enum msg_reason */
	bool usage_known;
	bool truncated;       /* output was dropped */
	bool ok;
};

#define ROW_SESSION_LEN 16 /* bytes of a session's token */

/* What a pending job is waiting for besides its turn, as far as a restart has to know it. */
enum row_wait {
	ROW_PLAIN = 0,        /* nothing: may be known by its index entry alone */
	ROW_AFTER = 1 << 0,   /* dependencies */
	ROW_DUE = 1 << 1,     /* a delay or a back-off: due_boot_us, due_wall_us */
	ROW_CLOCK = 1 << 2,   /* not_before_us */
	ROW_TIED = 1 << 3,    /* bound, or with descriptors */
};

struct row {
	uint64_t id;
	int64_t submitted_us;
	struct spec *spec;        /* owned */
	struct env_blob *env;     /* counted; NULL: the clean default */
	struct row_run *run;      /* owned; NULL until first started or done */
	void *output;             /* the engine's capture; released through the store's hook */
	const char *queue;        /* interned; changes while pending */
	uint32_t refs;
	uint32_t uid;
	uint32_t attempt;         /* 0 before the first start */
	int16_t priority;         /* changes while pending */
	uint8_t phase;            /* enum row_phase */
	uint8_t hold;             /* job.set {hold} */
	uint8_t cancel;           /* running: a cancel was accepted, for this enum msg_reason */
	uint8_t waits;            /* bits of enum row_wait, set before SUBMITTED and REQUEUED */
	bool passed;              /* due to be pruned, but pinned */
	bool env_dropped;         /* it had an environment, which is not kept any more */
	bool gone;                /* forgotten or pruned: not to be found any more */
	bool kept;                /* the store counts a reference of its own; the store's */
	uint32_t cost;            /* bytes it counts for while pending */
	uint32_t uncommitted;     /* changes in batches that are open or in flight; the store's */
	int64_t due_boot_us, due_wall_us; /* with ROW_DUE */
	uint8_t session[ROW_SESSION_LEN]; /* the one it is bound to; zero: none */
	uint32_t pins;            /* what names it and needs it found by id: store_pin */
};

#endif
