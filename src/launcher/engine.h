#ifndef LAUNCHER_ENGINE_H
#define LAUNCHER_ENGINE_H
/*
 * The connection to the engine: frames in, frames out, in batches. What happened to a job is
 * told from the table, so it can be told again; answers that belong to no job wait in a ring,
 * and while that is full the engine is not read.
 */
#include <stdbool.h>
#include <stdint.h>

struct launcher;
struct job;
union frame;

#define ENGINE_RING 256u /* a power of two */

struct engine {
	int fd;             /* -1: there is none */
	uint64_t instance;
	uint64_t ceiling;   /* slots */
	bool greeted;
	uint32_t interest;  /* of epoll */
	void *in;           /* buffers of one batch each */
	void *out;
	union frame *ring;
	uint32_t ring_first, ring_count;
	uint32_t out_first, out_last; /* jobs of which something is to be told */
};

int engine_init(struct launcher *l, int fd); /* 0 or -1: no memory */

/* Reads what is there, a batch at a time. */
void engine_receive(struct launcher *l);
/* Sends what there is to tell. Once a turn. */
void engine_flush(struct launcher *l);
/* The engine is gone: nothing more is told to anyone. */
void engine_lost(struct launcher *l);
/* Everything was told and acknowledged, or there is nobody to tell. */
bool engine_is_done(const struct launcher *l);

/* The leader ended, or never ran; the tree is gone. Both are sent as one where possible. */
void engine_tell_exit(struct launcher *l, struct job *job);
void engine_tell_gone(struct launcher *l, struct job *job);
/* A RUN that left no trace in the table. */
void engine_refuse(struct launcher *l, uint64_t job, uint32_t attempt, int error);

#endif
