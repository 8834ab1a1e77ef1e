#ifndef CTL_MAP_H
#define CTL_MAP_H
/*
 * The parts of the verb map: its options (map.c), the stream of jobs (map_flow.c), the way in
 * (map_push.c), what happens when the daemon is restarted (map_again.c) and the printing of what
 * the jobs wrote (map_print.c). Here is what they share.
 */
#include "ctl/ctl.h"
#include "ctl/interrupt.h"
#include "ctl/map_command.h"
#include "ctl/map_input.h"
#include "ctl/map_items.h"
#include "ctl/map_joblog.h"
#include "ctl/sink.h"

struct event;

enum map_halt_when {
	MAP_HALT_NEVER,
	MAP_HALT_SOON, /* start no more; let those that run end */
	MAP_HALT_NOW,  /* cancel those that run */
};

struct map_halt {
	enum map_halt_when when;
	int64_t fails; /* once so many jobs were not ok */
};

/* "never", "now,fail=1" or "soon,fail=3". 0, or -1. */
int map_halt_parse(const char *text, struct map_halt *halt);

/* One byte, or \n, \t, \0, \\, \xHH. 0, or -1. */
int map_delimiter_parse(const char *text, char *delimiter);

struct map_options {
	int64_t window; /* 0: the default */
	bool keep_order, tag_output, progress, dry_run, resume;
	char delimiter;
	const char *file, *placeholder, *joblog;
	struct map_halt halt;
};

/* What a job wrote, on its way out. */
enum map_print_step {
	MAP_PRINT_NEXT,    /* take the next item */
	MAP_PRINT_OUT,     /* its stdout */
	MAP_PRINT_ERR,     /* its stderr */
	MAP_PRINT_DETAILS, /* what its completion doesn't say */
	MAP_PRINT_DONE,
};

struct map_printer {
	struct sink out, err;
	enum map_print_step step;
	struct map_item *item;   /* the one in work */
	int64_t off;             /* of the stream in work, where it is read page by page */
	int64_t received;        /* bytes of stdout */
	bool reading;            /* page by page: more than came with the completion */
	bool line_begins[2];     /* for the tags */
	struct slot_future *call;
	json_t *details;         /* the job object */
};

enum map_halted { MAP_GOES_ON, MAP_STOPS, MAP_CANCELS };

struct map {
	struct ctl *ctl;
	struct map_options options;
	struct map_command command;
	struct map_input input;
	struct map_joblog joblog;
	struct map_items items;
	struct map_printer printer;
	struct ctl_interrupt interrupt;
	struct slot_future *over;
	struct event *kick;     /* one turn of the flow, soon */
	struct event *progress; /* NULL: not asked for */
	struct event *credit_timer;

	struct slot_stream *stream;
	json_t *defaults;       /* of the jobs, for map.open */
	size_t env_bytes;       /* of these, what counts with each argv */
	int64_t window, with_output;
	int64_t credit;         /* jobs that may be pushed */
	int64_t consumed;       /* completions to be credited */
	bool credit_due;        /* however few they are */
	int64_t seq;            /* of the last item read */
	char key[48];           /* what the jobs' keys begin with; empty: they have none */
	int64_t nagain;         /* items to be pushed again */
	int64_t again_seq;      /* from this one on */
	int64_t withheld;       /* items that are done, of the credit that a new stream gave */
	size_t npushes;         /* in flight */
	size_t ncalls;          /* calls in flight, pushes among them */
	bool input_over, end_sent, stream_over;
	bool waited, waiting;   /* for what was cancelled to be gone */

	enum map_halted halted;
	int64_t halt_seq;       /* the item that halted it; 0: none */
	int64_t drop_seq;       /* after MAP_STOPS: the first item not looked at yet */
	json_t *held;           /* jobs that wait no more, to be cancelled */
	int halt_status;
	int signo;              /* the signal that ends us; 0: none */
	int failure;            /* an exit status, printed already; 0: none */
	int64_t nok, nfailed;
	bool incomplete;        /* some output could not be had whole */
	bool progress_shown;    /* a line stands on the terminal */
};

/* ---- map_flow.c ---- */

/* Opens the stream. 0, or an exit status, printed. The loop does the rest, until m->over. */
int map_flow_start(struct map *m);
/* Opens a stream for the jobs. 0, or a negative code. */
int map_flow_open(struct map *m);
/* Something changed: looks what can be done, in the next turn. */
void map_flow_kick(struct map *m);
/* Ends it with this exit status, which was explained; nothing more is pushed. */
void map_flow_fail(struct map *m, int status);
/* No more is read. */
void map_flow_stop_input(struct map *m);
/* An item is over; --halt looks at it. `status`: what its failure would exit with. */
void map_flow_count(struct map *m, int64_t seq, bool ok, int status);
/* After --halt soon: from this item on there are jobs that are not to start, if they still wait. */
void map_flow_drop_from(struct map *m, int64_t seq);
/* A call; it counts in m->ncalls until `done` takes it off. False: it could not be sent. */
bool map_flow_call(struct map *m, const char *method, json_t *params, slot_future_cb done,
    void *arg);
void map_flow_fini(struct map *m);

/* ---- map_push.c ---- */

/* Pushes what there is, as far as the credit goes. */
void map_push(struct map *m);

/* ---- map_again.c ---- */

/* Gives the jobs keys, where the daemon can be restarted without losing them. */
void map_again_init(struct map *m);
/* The stream ended with this code. True: it is the daemon's restart, and a new stream is open. */
bool map_again_begin(struct map *m, int code);
/* A call failed with this code for that reason, which is no news. */
bool map_again_explains(const struct map *m, int code);
/* The next item to be pushed again, which is one no more then. NULL: none. */
struct map_item *map_again_next(struct map *m);
/* Its key, for the spec. NULL: it has none (or out of memory). */
json_t *map_again_key(const struct map *m, int64_t seq);

/* ---- map_print.c ---- */

/* 0, or -1: out of memory. */
int map_print_init(struct map *m);
/* Prints what is there and can be written; m->consumed grows. */
void map_print(struct map *m);
/* Nothing waits to be written or read. */
bool map_print_is_idle(const struct map *m);
/* The line of --progress, where it is time; and away with it. */
void map_print_progress(struct map *m);
void map_print_no_progress(struct map *m);
void map_print_fini(struct map *m);

#endif
