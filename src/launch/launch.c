/* Finding or starting a launcher, and the connection to it. */
#define _GNU_SOURCE 1
#include "launch/launch.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/conn.h"
#include "launch/local.h"
#include "launch/start.h"

int launch_pid(const struct launch *l)
{
	return conn_is(l) ? (int)((const struct conn *)l)->pid : 0;
}

struct launch *launch_start(struct event_base *base, const struct launch_options *options,
    const struct launch_handlers *handlers, void *arg, int *error, const char **where)
{
	struct conn *c = conn_new(handlers, arg);
	int pair[2] = {-1, -1};

	*where = "memory";
	*error = ENOMEM;
	if (!c)
		return NULL;
	*where = "socketpair";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		*error = errno;
		goto out;
	}
	c->fd = pair[0];
	*where = options->path;
	*error = launch_start_process(options, pair[1], NULL, &c->pid);
	close(pair[1]);
	if (*error) {
		c->pid = 0;
		goto out;
	}
	*where = "events";
	*error = conn_events(c, base);
	if (*error)
		goto out;
	conn_say(c, FRAME_HELLO, sizeof(struct frame_hello));
	return &c->base;
out:
	conn_destroy(c);
	return NULL;
}

/* Listens at the path, connects there ourselves, and only then starts who will accept: whoever
 * else comes waits behind us. 0 or an errno. */
static int start_listening(struct conn *c, const char *path, const struct launch_options *options,
    const char **where)
{
	int listener = local_listen(path), error = 0;

	*where = path;
	if (listener < 0)
		return -listener;
	c->fd = local_connect(path);
	if (c->fd < 0)
		error = -c->fd;
	if (!error) {
		*where = options->path;
		error = launch_start_process(options, listener, path, &c->pid);
	}
	close(listener);
	if (error) {
		c->pid = 0;
		unlink(path);
	}
	return error;
}

struct launch *launch_connect(struct event_base *base, const char *socket_path,
    const struct launch_options *options, const struct launch_handlers *handlers, void *arg,
    int *error, const char **where)
{
	struct conn *c = conn_new(handlers, arg);

	*where = "memory";
	*error = ENOMEM;
	if (!c)
		return NULL;
	c->durable = c->base.keeps = true;
	*where = socket_path;
	*error = socket_path[0] == '/' ? 0 : EINVAL; /* the launcher's directory is another */
	if (*error)
		goto out;
	c->fd = local_connect(socket_path);
	if (c->fd == -ENOENT || c->fd == -ECONNREFUSED)
		*error = start_listening(c, socket_path, options, where);
	else if (c->fd < 0)
		*error = -c->fd;
	if (*error)
		goto out;
	if (!local_peer_is_us(c->fd)) {
		*error = EPERM;
		goto out;
	}
	*where = "events";
	*error = conn_events(c, base);
	if (*error)
		goto out;
	conn_say(c, FRAME_HELLO, sizeof(struct frame_hello));
	return &c->base;
out:
	conn_destroy(c);
	return NULL;
}
