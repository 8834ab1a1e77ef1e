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
	bool greeted;
	uint32_t interest;  /* of epoll */
	void *in;           /* buffers of one batch */
};

int engine_init(struct launcher *l, int fd); /* 0 or -1: no memory */

/* What epoll is to tell of the connection, besides its end. */
void engine_set_interest(struct launcher *l, uint32_t events);
/* Reads what is there, a batch at a time. */
void engine_receive(struct launcher *l);
/* Sends what there is to tell. Once a turn. */
void engine_flush(struct launcher *l);
/* The engine is gone: every job is ended, and nothing more is told to anyone. */
void engine_lost(struct launcher *l);
/* Everything was told and acknowledged, or there is nobody to tell. */
bool engine_is_done(const struct launcher *l);

#endif
