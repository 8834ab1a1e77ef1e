#ifndef LAUNCHER_ENGINE_H
#define LAUNCHER_ENGINE_H
/* The connection to the engine: frames come in in batches; tell.h has what goes out. */
#include <stdbool.h>
#include <stdint.h>

struct launcher;

struct engine {
	int fd;             /* -1: there is none */
	uint64_t instance;  /* ours, random */
	uint64_t ceiling;   /* slots */
	uint32_t serial;    /* of the latest HELLO */
	bool greeted;
	uint32_t interest;  /* of epoll */
	void *in;           /* buffers of one batch */
};

int engine_init(struct launcher *l); /* 0 or -1: no memory */
/* From now on this is the connection, which has to begin with HELLO. */
void engine_take(struct launcher *l, int fd);
/* Adds the connection to what epoll watches. 0 or -1. */
int engine_watch(struct launcher *l);

/* What epoll is to tell of the connection, besides its end. */
void engine_set_interest(struct launcher *l, uint32_t events);
/* Reads what is there, a batch at a time. */
void engine_receive(struct launcher *l);
/* Sends what there is to tell. Once a turn. */
void engine_flush(struct launcher *l);
/*
 * The engine is gone. On a socketpair every job is ended, and nothing more is told to anyone. Where
 * another one may come, jobs go on, and the next one is told what this one did not acknowledge. Of
 * frames that were not read yet, only those count that begin nothing: acknowledgements, cancels
 * and ends of stdin.
 */
void engine_lost(struct launcher *l);
/* Everything was told and acknowledged, or there is nobody to tell. */
bool engine_is_done(const struct launcher *l);

#endif
