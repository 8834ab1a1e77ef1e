/* Frames from the engine, and the life of the connection. What they ask for is done elsewhere. */
#define _GNU_SOURCE 1
#include "launcher/engine.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/frame.h"
#include "launcher/end.h"
#include "launcher/launcher.h"
#include "launcher/log.h"
#include "launcher/reap.h"
#include "launcher/start.h"
#include "launcher/sys.h"
#include "launcher/tell.h"
#include "launcher/upgrade.h"

#define RECV_BATCH 16u
#define RECV_ROUNDS 8u
#define LAST_ROUNDS 1024u /* more than a socket's queue can hold */
#define FDS_ROOM CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))
#define FDS_LEN CMSG_LEN(LAUNCH_FDS_MAX * sizeof(int)) /* in the padding, one more would fit */

/* Buffers of one batch; all of it is mapped, and only what is used becomes resident. */
struct batch {
	struct {
		_Alignas(64) char bytes[FRAME_MAX];
	} frames[RECV_BATCH];
	struct mmsghdr msgs[RECV_BATCH];
	struct iovec iov[RECV_BATCH];
	union {
		struct cmsghdr align;
		char bytes[FDS_ROOM];
	} control[RECV_BATCH];
};

int engine_init(struct launcher *l)
{
	struct engine *e = &l->engine;

	e->fd = -1;
	e->ceiling = UINT64_MAX;
	e->in = sys_map(sizeof(struct batch));
	while (e->instance == 0) {
		if (getrandom(&e->instance, sizeof(e->instance), 0) < 0 && errno != EINTR)
			return -1;
	}
	return e->in ? 0 : -1;
}

int engine_watch(struct launcher *l)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = ENGINE_TAG};

	l->engine.interest = EPOLLIN;
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->engine.fd, &event);
}

void engine_take(struct launcher *l, int fd)
{
	l->engine.fd = fd;
	l->engine.greeted = false;
	if (engine_watch(l) < 0)
		engine_lost(l);
}

void engine_set_interest(struct launcher *l, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLRDHUP, .data.u64 = ENGINE_TAG};

	if (l->engine.interest == events)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, l->engine.fd, &event);
	l->engine.interest = events;
}

/* ---- what frames ask for ---- */

static void on_hello(struct launcher *l)
{
	l->engine.greeted = true;
	l->engine.serial++;
	tell_hello(l);
}

static void on_cancel(struct launcher *l, const struct frame_cancel *f)
{
	struct job *job = table_find(&l->table, f->job, f->attempt);

	if (job)
		end_job(l, job, LAUNCH_CAUSE_CANCEL, f->grace_ms);
}

static int signal_leader(struct job *job, int signo)
{
	return kill(job->pid, signo) < 0 ? errno : 0;
}

static int signal_job(struct launcher *l, struct job *job, const struct frame_signal *f)
{
	int signo = (int)f->signo;

	if (f->signo == 0 || f->signo > (uint32_t)SIGRTMAX)
		return EINVAL;
	if (!job)
		return ESRCH;
	reap_leader(l, job);
	if (job->state != JOB_RUNNING)
		return ESRCH;
	switch ((enum launch_scope)f->scope) {
	case LAUNCH_SCOPE_LEADER:
		return signal_leader(job, signo);
	case LAUNCH_SCOPE_GROUP:
		if (kill(-job->pid, signo) == 0)
			return 0;
		/* No such group: the child has not got to its setsid yet. */
		return errno == ESRCH ? signal_leader(job, signo) : errno;
	case LAUNCH_SCOPE_TREE:
		return tree_signal(l, job, signo);
	}
	return EINVAL;
}

static void on_signal(struct launcher *l, const struct frame_signal *f)
{
	struct job *job = table_find(&l->table, f->job, f->attempt);

	tell_signaled(l, f->token, signal_job(l, job, f));
}

static void on_ack(struct launcher *l, const struct frame_ack *f)
{
	unsigned n = frame_ack_count(f);

	for (unsigned i = 0; i < n; i++) {
		struct job *job = table_find(&l->table, f->entries[i].job, f->entries[i].attempt);

		/* An exit that was not told can't have been recorded. */
		if (!job || !job->exit_told)
			continue;
		job->acked = true;
		start_close_kept(job);
		tell_forget_if_done(l, job);
	}
}

static void on_stdin_closed(struct launcher *l, const struct frame_stdin_closed *f)
{
	struct job *job = table_find(&l->table, f->job, f->attempt);

	if (!job || job->kept_fds[0] < 0)
		return;
	close(job->kept_fds[0]);
	job->kept_fds[0] = -1;
}

/* ---- receiving ---- */

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* One frame; its descriptors are used up. */
static void take_frame(struct launcher *l, const char *bytes, size_t len, const int *fds,
    unsigned nfds)
{
	union frame f;
	const char *why = NULL;

	if (frame_read(&f, bytes, len, &why) == 0) {
		if (!l->engine.greeted && f.head.type != FRAME_HELLO &&
		    f.head.type != FRAME_REEXEC)
			why = "before HELLO";
		else if (f.head.type >= FRAME_WELCOME)
			why = "of the wrong direction";
		else if (f.head.type != FRAME_RUN && nfds)
			why = "with descriptors that it does not take";
	}
	if (why) {
		log_warn("ignored a frame of %zu bytes: %s", len, why);
		close_fds(fds, nfds);
		if (frame_other_version(bytes, len))
			tell_speaks(l);
		return;
	}
	switch ((enum frame_type)f.head.type) {
	case FRAME_HELLO:
		on_hello(l);
		return;
	case FRAME_RUN:
		start_run(l, &f.run, bytes + sizeof(f.run), fds, nfds);
		return;
	case FRAME_CANCEL:
		on_cancel(l, &f.cancel);
		return;
	case FRAME_SIGNAL:
		on_signal(l, &f.signal);
		return;
	case FRAME_ACK:
		on_ack(l, &f.ack);
		return;
	case FRAME_CEILING:
		l->engine.ceiling = f.ceiling.slots;
		return;
	case FRAME_STDIN_CLOSED:
		on_stdin_closed(l, &f.stdin_closed);
		return;
	case FRAME_REEXEC:
		upgrade_begin(l, true);
		return;
	case FRAME_WELCOME:
	case FRAME_EXIT:
	case FRAME_GONE:
	case FRAME_SIGNALED:
	case FRAME_HELD:
	case FRAME_SPEAKS:
	case FRAME_RENEWED:
		return;
	}
}

/* The descriptors that came with a message; at most LAUNCH_FDS_MAX fit in its buffer, the
 * kernel dropped what was beyond. */
static unsigned take_fds(struct msghdr *m, int *fds)
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	return n;
}

static int receive(struct engine *e, struct batch *b)
{
	int n;

	for (unsigned i = 0; i < RECV_BATCH; i++) {
		b->iov[i] = (struct iovec){
		    .iov_base = b->frames[i].bytes, .iov_len = sizeof(b->frames[i].bytes)};
		b->msgs[i].msg_hdr = (struct msghdr){
		    .msg_iov = &b->iov[i],
		    .msg_iovlen = 1,
		    .msg_control = &b->control[i],
		    .msg_controllen = FDS_LEN,
		};
	}
	do
		n = recvmmsg(e->fd, b->msgs, RECV_BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* One batch. True: there may be more. */
static bool receive_batch(struct launcher *l)
{
	struct batch *b = l->engine.in;
	int n = receive(&l->engine, b);
	bool lost = n < 0 && n != -EAGAIN && n != -ENOMEM && n != -ENOBUFS;

	for (int i = 0; i < n; i++) {
		struct msghdr *m = &b->msgs[i].msg_hdr;
		int fds[LAUNCH_FDS_MAX];
		unsigned nfds = take_fds(m, fds);

		/* No frame is empty: this is the end of the connection. */
		lost |= b->msgs[i].msg_len == 0;
		if (lost)
			close_fds(fds, nfds);
		else
			take_frame(l, b->frames[i].bytes,
			    m->msg_flags & MSG_TRUNC ? 0 : b->msgs[i].msg_len, fds, nfds);
	}
	if (lost)
		engine_lost(l);
	return !lost && n == (int)RECV_BATCH;
}

void engine_receive(struct launcher *l)
{
	struct engine *e = &l->engine;

	for (unsigned i = 0; i < RECV_ROUNDS; i++) {
		/* Every frame may want one answer. */
		if (e->fd < 0 || tell_room(&l->tell) < RECV_BATCH || !receive_batch(l))
			return;
	}
}

/* ---- the end ---- */

/* A frame that the engine sent before it went. What it had begun to end, ends; what it had not
 * begun, does not begin. */
static void take_last(struct launcher *l, const char *bytes, size_t len)
{
	const char *why;
	union frame f;

	if (frame_read(&f, bytes, len, &why) < 0)
		return;
	if (f.head.type == FRAME_ACK)
		on_ack(l, &f.ack);
	else if (f.head.type == FRAME_CANCEL)
		on_cancel(l, &f.cancel);
	else if (f.head.type == FRAME_STDIN_CLOSED)
		on_stdin_closed(l, &f.stdin_closed);
}

static void receive_last(struct launcher *l)
{
	struct batch *b = l->engine.in;
	int fds[LAUNCH_FDS_MAX], n = 1;

	for (unsigned rounds = 0; n > 0 && rounds < LAST_ROUNDS; rounds++) {
		n = receive(&l->engine, b);
		for (int i = 0; i < n; i++) {
			struct msghdr *m = &b->msgs[i].msg_hdr;

			close_fds(fds, take_fds(m, fds));
			if (b->msgs[i].msg_len == 0)
				return;
			if (!(m->msg_flags & MSG_TRUNC))
				take_last(l, b->frames[i].bytes, b->msgs[i].msg_len);
		}
	}
}

void engine_lost(struct launcher *l)
{
	struct engine *e = &l->engine;

	if (e->fd < 0)
		return;
	if (listen_is_open(l) && e->greeted)
		receive_last(l);
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, e->fd, NULL);
	close(e->fd);
	e->fd = -1;
	e->greeted = false;
	tell_drop_all(l);
	if (listen_is_open(l))
		listen_again(l);
	else
		end_all(l);
}

void engine_flush(struct launcher *l)
{
	if (l->engine.fd >= 0 && tell_flush(l) < 0)
		engine_lost(l);
}

bool engine_is_done(const struct launcher *l)
{
	return l->table.used == 0 || (l->engine.fd < 0 && !listen_is_open(l));
}
