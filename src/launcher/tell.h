#ifndef LAUNCHER_TELL_H
#define LAUNCHER_TELL_H
/*
 * What the engine is told. What happened to a job is told from the table, so it can be told
 * again; answers that belong to no job wait in a ring, and while that is full the engine is not
 * read. Nothing is sent before tell_flush.
 */
#include <stdbool.h>
#include <stdint.h>

struct launcher;
struct job;
union frame;

#define TELL_RING 256u /* a power of two */

struct tell {
	union frame *ring;
	uint32_t ring_first, ring_count;
	uint32_t out_first, out_last; /* jobs of which something is to be told */
	bool welcome_due;             /* HELLO is being answered; before that, nothing else goes */
	uint32_t held_next;           /* the index from which on HELD is to be told, then */
	int64_t retry_us;             /* the kernel had no room: not before then; 0: none */
	void *batch;                  /* what is being sent */
};

int tell_init(struct tell *t); /* 0 or -1: no memory */
/* How many answers there is room for. */
unsigned tell_room(const struct tell *t);

/* The leader ended, or never ran; the tree is gone. Both are sent as one where possible. */
void tell_exit(struct launcher *l, struct job *job);
void tell_gone(struct launcher *l, struct job *job);
/* Answers: to a RUN that left no trace in the table, to SIGNAL, to another version, to REEXEC. */
void tell_refused(struct launcher *l, uint64_t job, uint32_t attempt, int error);
void tell_signaled(struct launcher *l, uint64_t token, int error);
void tell_speaks(struct launcher *l);
void tell_renewed(struct launcher *l, int error);
/* HELLO: what is held from engines before, WELCOME, every exit that is not acknowledged. */
void tell_hello(struct launcher *l);

/* A restored job: queued again if something is due. */
void tell_resume(struct launcher *l, struct job *job);

/* Frees a job of which there is nothing left to do, tell or hear. */
void tell_forget_if_done(struct launcher *l, struct job *job);

/* Sends what can be sent. Once a turn. 0, or -1: the engine is gone. */
int tell_flush(struct launcher *l);
/* There is nobody to tell now, or ever; who comes next is told anew. */
void tell_drop_all(struct launcher *l);

#endif
