#ifndef ENGINE_SESSION_IO_H
#define ENGINE_SESSION_IO_H
/*
 * What session.c, session_input.c and session_output.c share with each other and nobody else.
 */
#include "engine/session.h"

/* ---- session.c ---- */

/* While nothing is read, a hang-up has to be watched for in another way. */
void session_watch_hangup(struct session *s);
void session_unwatch_hangup(struct session *s);
bool session_hung_up(const struct session *s);
/* No more will come, and everything was answered and has left. */
bool session_spent(const struct session *s);

/* ---- session_input.c ---- */

void session_on_read(int fd, short what, void *arg); /* libevent's */
void session_on_more(struct slot_call *call);        /* lines are left to handle */
void session_stop_reading(struct session *s);
/* There is room for what further requests would answer. */
bool session_may_read(const struct session *s);

/* ---- session_output.c ---- */

void session_on_write(int fd, short what, void *arg); /* libevent's */
void session_on_stall(struct slot_timer *timer);

#endif
