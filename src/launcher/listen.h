#ifndef LAUNCHER_LISTEN_H
#define LAUNCHER_LISTEN_H
/*
 * Where engines connect when the launcher outlives them: one at a time, of our own user. The
 * socket's file stands for the state directory that the launcher belongs to: when it is deleted
 * or replaced, no engine of that directory can find us again, and the jobs end.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launcher;

#define LISTEN_LINGER_MS 2000 /* without engine and jobs, so that one that restarts finds us */

struct listen {
	int fd;            /* -1: this launcher has one engine in its life, on a socketpair */
	int notify_fd;     /* inotify, -1: looked at from time to time instead */
	int dir_fd;        /* of the file's directory, wherever that is moved; -1: no file known */
	int reserve_fd;    /* a descriptor for the next connection, while there is none */
	bool armed;        /* epoll tells of connections */
	bool orphaned;     /* the file is ours no more */
	char name[NAME_MAX + 1];
	dev_t dev;         /* of the file */
	ino_t ino;
	int64_t idle_us;   /* neither engine nor jobs since then; 0: there are */
	int64_t retry_us;  /* a connection could not be taken: not before then; 0: none */
	int64_t look_us;   /* without inotify: the next look */
};

void listen_init(struct listen *s);
/* Takes over a listening socket; `path` is its file, NULL: unknown. */
void listen_take(struct launcher *l, int fd, const char *path);
/* Begins to wait for connections, and to watch the file. 0 or -errno. */
int listen_watch(struct launcher *l);

/* Another engine may come. */
bool listen_is_open(const struct launcher *l);

/* What epoll tells: a connection is there; something happened to the file. */
void listen_on_connection(struct launcher *l);
void listen_on_notify(struct launcher *l);
/* The engine has gone: the next one may come. */
void listen_again(struct launcher *l);

/* Once a turn. True: nobody needs us any more. */
bool listen_is_over(struct launcher *l);
/* When listen_is_over, or what else is due, wants to be called; -1: no time. */
int64_t listen_next_us(const struct launcher *l);

#endif
