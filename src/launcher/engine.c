/* Frames in and out. What a frame asks for is done elsewhere. */
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

#define RECV_BATCH 16u
#define RECV_ROUNDS 8u
#define SEND_BATCH 32u
#define FDS_ROOM CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))

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

/* Not on the stack, which each child would have to copy what was written of. */
struct sending {
	struct mmsghdr msgs[SEND_BATCH];
	struct iovec iov[SEND_BATCH];
	union frame frames[SEND_BATCH];
	struct job *jobs[SEND_BATCH]; /* whom the frame is about; NULL: it is the ring's */
	unsigned count;
};

int engine_init(struct launcher *l, int fd)
{
	struct engine *e = &l->engine;

	e->fd = fd;
	e->ceiling = UINT64_MAX;
	e->out_first = e->out_last = JOB_NONE;
	e->in = sys_map(sizeof(struct batch));
	e->out = sys_map(sizeof(struct sending));
	e->ring = sys_map(ENGINE_RING * sizeof(*e->ring));
	while (e->instance == 0) {
		if (getrandom(&e->instance, sizeof(e->instance), 0) < 0 && errno != EINTR)
			return -1;
	}
	return e->in && e->out && e->ring ? 0 : -1;
}

static void set_interest(struct launcher *l, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLRDHUP, .data.u64 = ENGINE_TAG};

	if (l->engine.interest == events)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, l->engine.fd, &event);
	l->engine.interest = events;
}

/* ---- what there is to tell ---- */

static void forget_if_done(struct launcher *l, struct job *job)
{
	if (job->state == JOB_GONE && !job->in_out &&
	    (l->engine.fd < 0 || (job->acked && job->gone_told)))
		table_set_state(&l->table, job, JOB_FREE);
}

static void out_push(struct launcher *l, struct job *job)
{
	struct engine *e = &l->engine;
	uint32_t index = table_index(&l->table, job);

	if (job->in_out || e->fd < 0)
		return;
	job->in_out = true;
	job->next_out = JOB_NONE;
	if (e->out_last == JOB_NONE)
		e->out_first = index;
	else
		l->table.jobs[e->out_last].next_out = index;
	e->out_last = index;
}

void engine_tell_exit(struct launcher *l, struct job *job)
{
	job->exit_due = true;
	out_push(l, job);
}

void engine_tell_gone(struct launcher *l, struct job *job)
{
	job->gone_due = true;
	out_push(l, job);
	forget_if_done(l, job);
}

/* A slot of the ring; engine_receive sees to it that there is one. */
static union frame *ring_push(struct engine *e, enum frame_type type, size_t len)
{
	union frame *f = &e->ring[(e->ring_first + e->ring_count) % ENGINE_RING];

	e->ring_count++;
	memset(f, 0, sizeof(*f));
	frame_head_init(&f->head, type, len);
	return f;
}

void engine_refuse(struct launcher *l, uint64_t job, uint32_t attempt, int error)
{
	struct launch_exit ex = {
	    .job = job,
	    .attempt = attempt,
	    .how = LAUNCH_SPAWN_FAILED,
	    .step = LAUNCH_STEP_BODY,
	    .error = error,
	};
	/* The job that has this name already is not gone. */
	unsigned flags = error == EEXIST ? 0 : FRAME_EXIT_GONE | FRAME_BEST_EFFORT;
	union frame *f = ring_push(&l->engine, FRAME_EXIT, sizeof(f->exit));

	frame_exit_pack(&f->exit, &ex, flags);
}

/* ---- sending ---- */

/* Room for one frame; the caller fills it. */
static union frame *sending_add(struct sending *s, struct job *job, size_t len)
{
	union frame *f = &s->frames[s->count];

	s->jobs[s->count] = job;
	s->iov[s->count] = (struct iovec){.iov_base = f, .iov_len = len};
	s->msgs[s->count] = (struct mmsghdr){
	    .msg_hdr = {.msg_iov = &s->iov[s->count], .msg_iovlen = 1}};
	s->count++;
	return f;
}

/* The one frame that tells all that is due; a job whose exit is due has it told first. */
static void sending_add_job(struct sending *s, struct job *job)
{
	union frame *f;

	if (job->exit_due) {
		f = sending_add(s, job, sizeof(f->exit));
		frame_exit_pack(&f->exit, &job->exit,
		    job->gone_due ? FRAME_EXIT_GONE | FRAME_BEST_EFFORT : 0);
		return;
	}
	f = sending_add(s, job, sizeof(f->gone));
	memset(&f->gone, 0, sizeof(f->gone));
	frame_head_init(&f->head, FRAME_GONE, sizeof(f->gone));
	f->gone.job = job->id;
	f->gone.attempt = job->attempt;
	f->gone.flags = FRAME_BEST_EFFORT;
}

static void sending_fill(struct sending *s, struct launcher *l)
{
	struct engine *e = &l->engine;
	uint32_t i;

	s->count = 0;
	for (i = 0; i < e->ring_count && s->count < SEND_BATCH; i++) {
		const union frame *f = &e->ring[(e->ring_first + i) % ENGINE_RING];

		*sending_add(s, NULL, f->head.len) = *f;
	}
	for (i = e->out_first; i != JOB_NONE && s->count < SEND_BATCH;
	     i = l->table.jobs[i].next_out)
		sending_add_job(s, &l->table.jobs[i]);
}

/* What a sent frame settles. Frames leave in the order in which they were filled in. */
static void sent_one(struct launcher *l, struct job *job)
{
	struct engine *e = &l->engine;

	if (!job) {
		e->ring_first = (e->ring_first + 1) % ENGINE_RING;
		e->ring_count--;
		return;
	}
	e->out_first = job->next_out;
	if (e->out_first == JOB_NONE)
		e->out_last = JOB_NONE;
	job->in_out = false;
	if (job->exit_due)
		job->exit_told = true;
	if (job->gone_due)
		job->gone_told = true;
	job->exit_due = job->gone_due = false;
	forget_if_done(l, job);
}

void engine_flush(struct launcher *l)
{
	struct engine *e = &l->engine;
	struct sending *s = e->out;
	int sent = 0;

	while (e->fd >= 0 && (e->ring_count || e->out_first != JOB_NONE)) {
		sending_fill(s, l);
		sent = sendmmsg(e->fd, s->msgs, s->count, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break;
		for (int i = 0; i < sent; i++)
			sent_one(l, s->jobs[i]);
	}
	if (e->fd < 0)
		return;
	if (sent >= 0)
		set_interest(l, EPOLLIN);
	else if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		engine_lost(l);
	else /* a full queue is normal; it goes on when the engine has read */
		set_interest(l, EPOLLOUT | (e->ring_count < ENGINE_RING / 2 ? EPOLLIN : 0));
}

/* ---- receiving ---- */

static void on_hello(struct launcher *l)
{
	struct engine *e = &l->engine;
	union frame *f = ring_push(e, FRAME_WELCOME, sizeof(f->welcome));
	struct job *job = NULL;

	f->welcome.instance = e->instance;
	f->welcome.jobs = l->table.capacity;
	f->welcome.used = l->table.used;
	e->greeted = true;
	/* Whatever was told and not acknowledged is told again. */
	while ((job = table_next(&l->table, job))) {
		if (!job->exit_told || job->acked)
			continue;
		job->exit_due = true;
		job->gone_due = job->state == JOB_GONE;
		out_push(l, job);
	}
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
	int error = signal_job(l, table_find(&l->table, f->job, f->attempt), f);
	union frame *answer = ring_push(&l->engine, FRAME_SIGNALED, sizeof(answer->signaled));

	answer->signaled.token = f->token;
	answer->signaled.error = error;
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
		forget_if_done(l, job);
	}
}

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
		if (!l->engine.greeted && f.head.type != FRAME_HELLO)
			why = "before HELLO";
		else if (f.head.type >= FRAME_WELCOME)
			why = "of the wrong direction";
		else if (f.head.type != FRAME_RUN && nfds)
			why = "with descriptors that it does not take";
	}
	if (why) {
		log_warn("ignored a frame of %zu bytes: %s", len, why);
		close_fds(fds, nfds);
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
	case FRAME_WELCOME:
	case FRAME_EXIT:
	case FRAME_GONE:
	case FRAME_SIGNALED:
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
		    .msg_controllen = sizeof(b->control[i]),
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
		if (e->fd < 0 || ENGINE_RING - e->ring_count < RECV_BATCH || !receive_batch(l))
			return;
	}
}

/* ---- the end ---- */

void engine_lost(struct launcher *l)
{
	struct engine *e = &l->engine;
	struct job *job = NULL;

	if (e->fd < 0)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, e->fd, NULL);
	close(e->fd);
	e->fd = -1;
	e->ring_count = 0;
	e->out_first = e->out_last = JOB_NONE;
	while ((job = table_next(&l->table, job))) {
		job->in_out = job->exit_due = job->gone_due = false;
		forget_if_done(l, job);
	}
	end_all(l, l->grace_ms);
}

bool engine_is_done(const struct launcher *l)
{
	return l->engine.fd < 0 || l->table.used == 0;
}
