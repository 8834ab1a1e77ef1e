/* Frames to the engine: from the table what can be told from it, from a ring what can't. */
#define _GNU_SOURCE 1
#include "launcher/tell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "launch/frame.h"
#include "launcher/launcher.h"
#include "launcher/start.h"
#include "launcher/sys.h"

#define SEND_BATCH 32u
#define RETRY_US 2000

/* What a frame was made from, and settles when it is sent. */
enum source { FROM_TABLE_HELD, FROM_HELLO, FROM_RING, FROM_JOB };

/* Not on the stack: where children inherit it, they would copy what was written of it. */
struct sending {
	struct mmsghdr msgs[SEND_BATCH];
	struct iovec iov[SEND_BATCH];
	union frame frames[SEND_BATCH];
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(FRAME_KEPT_MAX * sizeof(int))];
	} control[SEND_BATCH];
	enum source from[SEND_BATCH];
	struct job *jobs[SEND_BATCH]; /* whom the frame is about, if anyone */
	unsigned count;
};

int tell_init(struct tell *t)
{
	t->out_first = t->out_last = JOB_NONE;
	t->ring_first = t->ring_count = 0;
	t->batch = sys_map(sizeof(struct sending));
	t->ring = sys_map(TELL_RING * sizeof(*t->ring));
	return t->batch && t->ring ? 0 : -1;
}

unsigned tell_room(const struct tell *t)
{
	return TELL_RING - t->ring_count;
}

/* ---- what there is to tell ---- */

/* Nobody is there to be told, and nobody will come. */
static bool nobody_asks(const struct launcher *l)
{
	return l->engine.fd < 0 && !listen_is_open(l);
}

void tell_forget_if_done(struct launcher *l, struct job *job)
{
	if (job->state != JOB_GONE || job->in_out)
		return;
	if (!nobody_asks(l) && !(job->acked && (job->gone_told || !l->engine.greeted)))
		return;
	start_close_kept(job);
	table_set_state(&l->table, job, JOB_FREE);
}

static void out_push(struct launcher *l, struct job *job)
{
	struct tell *t = &l->tell;
	uint32_t index = table_index(&l->table, job);

	if (job->in_out || !l->engine.greeted)
		return;
	job->in_out = true;
	job->next_out = JOB_NONE;
	if (t->out_last == JOB_NONE)
		t->out_first = index;
	else
		l->table.jobs[t->out_last].next_out = index;
	t->out_last = index;
}

void tell_exit(struct launcher *l, struct job *job)
{
	job->exit_due = true;
	out_push(l, job);
}

void tell_gone(struct launcher *l, struct job *job)
{
	if (!job->gone_told) {
		job->gone_due = true;
		out_push(l, job);
	}
	tell_forget_if_done(l, job);
}

/* A slot of the ring; the receiver sees to it that there is one. */
static union frame *ring_push(struct tell *t, enum frame_type type, size_t len)
{
	union frame *f = &t->ring[(t->ring_first + t->ring_count) % TELL_RING];

	t->ring_count++;
	memset(f, 0, sizeof(*f));
	frame_head_init(&f->head, type, len);
	return f;
}

void tell_refused(struct launcher *l, uint64_t job, uint32_t attempt, int error)
{
	struct launch_exit ex = {
	    .job = job,
	    .attempt = attempt,
	    .how = LAUNCH_SPAWN_FAILED,
	    .step = LAUNCH_STEP_BODY,
	    .error = error,
	};
	union frame *f = ring_push(&l->tell, FRAME_EXIT, sizeof(f->exit));

	frame_exit_pack(&f->exit, &ex, FRAME_EXIT_GONE | FRAME_BEST_EFFORT);
}

void tell_signaled(struct launcher *l, uint64_t token, int error)
{
	union frame *f = ring_push(&l->tell, FRAME_SIGNALED, sizeof(f->signaled));

	f->signaled.token = token;
	f->signaled.error = error;
}

void tell_speaks(struct launcher *l)
{
	ring_push(&l->tell, FRAME_SPEAKS, sizeof(struct frame_speaks));
}

void tell_renewed(struct launcher *l, int error)
{
	union frame *f;

	/* It is asked for at any time, and answered some time later. */
	if (l->engine.fd < 0 || tell_room(&l->tell) == 0)
		return;
	f = ring_push(&l->tell, FRAME_RENEWED, sizeof(f->renewed));
	f->renewed.error = error;
}

void tell_hello(struct launcher *l)
{
	struct job *job = NULL;

	l->tell.welcome_due = true;
	l->tell.held_next = 0;
	while ((job = table_next(&l->table, job))) {
		if (job->acked || (job->state != JOB_EXITED && job->state != JOB_GONE))
			continue;
		job->exit_due = true;
		job->gone_due = job->state == JOB_GONE;
		out_push(l, job);
	}
}

void tell_resume(struct launcher *l, struct job *job)
{
	if (job->exit_due || job->gone_due)
		out_push(l, job);
}

/* ---- sending ---- */

/* Room for one frame; the caller fills it. */
static union frame *sending_add(struct sending *s, enum source from, struct job *job, size_t len)
{
	union frame *f = &s->frames[s->count];

	s->from[s->count] = from;
	s->jobs[s->count] = job;
	s->iov[s->count] = (struct iovec){.iov_base = f, .iov_len = len};
	s->msgs[s->count] = (struct mmsghdr){
	    .msg_hdr = {.msg_iov = &s->iov[s->count], .msg_iovlen = 1}};
	s->count++;
	return f;
}

/* The descriptors of the frame that was added last. */
static void sending_attach(struct sending *s, const int *fds, unsigned n)
{
	struct msghdr *m = &s->msgs[s->count - 1].msg_hdr;
	struct cmsghdr *c;

	if (n == 0)
		return;
	memset(&s->control[s->count - 1], 0, sizeof(s->control[0]));
	m->msg_control = s->control[s->count - 1].bytes;
	m->msg_controllen = CMSG_SPACE(n * sizeof(int));
	c = CMSG_FIRSTHDR(m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
}

static void sending_add_held(struct sending *s, struct job *job)
{
	union frame *f = sending_add(s, FROM_TABLE_HELD, job, sizeof(f->held));
	int fds[FRAME_KEPT_MAX];
	unsigned n = 0;

	memset(&f->held, 0, sizeof(f->held));
	frame_head_init(&f->head, FRAME_HELD, sizeof(f->held));
	f->held.job = job->id;
	f->held.attempt = job->attempt;
	f->held.slots = job->slots;
	for (int i = 0; i < 3; i++) {
		if (job->kept_fds[i] < 0)
			continue;
		f->held.roles[n] = (uint8_t)(LAUNCH_FD_KEEP_STDIN + i);
		fds[n++] = job->kept_fds[i];
	}
	sending_attach(s, fds, n);
}

static void sending_add_welcome(struct sending *s, const struct launcher *l)
{
	union frame *f = sending_add(s, FROM_HELLO, NULL, sizeof(f->welcome));

	memset(&f->welcome, 0, sizeof(f->welcome));
	frame_head_init(&f->head, FRAME_WELCOME, sizeof(f->welcome));
	f->welcome.instance = l->engine.instance;
	f->welcome.jobs = l->table.capacity;
	f->welcome.used = l->table.used;
	f->welcome.pid = (uint32_t)l->spawner.launcher;
	snprintf(f->welcome.build, sizeof(f->welcome.build), "%s", UPGRADE_BUILD);
}

/* What an earlier HELLO's engine began, and nobody acknowledged. */
static bool is_held(const struct launcher *l, const struct job *job)
{
	return job->state != JOB_FREE && !job->acked && job->serial != l->engine.serial;
}

/* The answer to HELLO. False: it does not fit into this batch. */
static bool sending_fill_hello(struct sending *s, struct launcher *l)
{
	for (uint32_t i = l->tell.held_next; i < l->table.touched; i++) {
		if (!is_held(l, &l->table.jobs[i]))
			continue;
		if (s->count == SEND_BATCH)
			return false;
		sending_add_held(s, &l->table.jobs[i]);
	}
	if (s->count == SEND_BATCH)
		return false;
	sending_add_welcome(s, l);
	return true;
}

/* The one frame that tells all that is due; a job whose exit is due has it told first. */
static void sending_add_job(struct sending *s, struct job *job)
{
	union frame *f;

	if (job->exit_due) {
		f = sending_add(s, FROM_JOB, job, sizeof(f->exit));
		frame_exit_pack(&f->exit, &job->exit,
		    job->gone_due ? FRAME_EXIT_GONE | FRAME_BEST_EFFORT : 0);
		return;
	}
	f = sending_add(s, FROM_JOB, job, sizeof(f->gone));
	memset(&f->gone, 0, sizeof(f->gone));
	frame_head_init(&f->head, FRAME_GONE, sizeof(f->gone));
	f->gone.job = job->id;
	f->gone.attempt = job->attempt;
	f->gone.flags = FRAME_BEST_EFFORT;
}

static void sending_fill(struct sending *s, struct launcher *l)
{
	struct tell *t = &l->tell;
	uint32_t i;

	s->count = 0;
	if (t->welcome_due && !sending_fill_hello(s, l))
		return;
	for (i = 0; i < t->ring_count && s->count < SEND_BATCH; i++) {
		const union frame *f = &t->ring[(t->ring_first + i) % TELL_RING];

		*sending_add(s, FROM_RING, NULL, f->head.len) = *f;
	}
	for (i = t->out_first; i != JOB_NONE && s->count < SEND_BATCH;
	     i = l->table.jobs[i].next_out)
		sending_add_job(s, &l->table.jobs[i]);
}

static void sent_job(struct launcher *l, struct job *job)
{
	struct tell *t = &l->tell;

	t->out_first = job->next_out;
	if (t->out_first == JOB_NONE)
		t->out_last = JOB_NONE;
	job->in_out = false;
	if (job->exit_due)
		job->exit_told = true;
	if (job->gone_due)
		job->gone_told = true;
	job->exit_due = job->gone_due = false;
	tell_forget_if_done(l, job);
}

/* What a sent frame settles. Frames leave in the order in which they were filled in. */
static void sent_one(struct launcher *l, enum source from, struct job *job)
{
	struct tell *t = &l->tell;

	switch (from) {
	case FROM_TABLE_HELD:
		t->held_next = table_index(&l->table, job) + 1;
		return;
	case FROM_HELLO:
		t->welcome_due = false;
		return;
	case FROM_RING:
		t->ring_first = (t->ring_first + 1) % TELL_RING;
		t->ring_count--;
		return;
	case FROM_JOB:
		sent_job(l, job);
		return;
	}
}

static bool is_empty(const struct tell *t)
{
	return !t->welcome_due && t->ring_count == 0 && t->out_first == JOB_NONE;
}

/* 0, or the errno that stopped it. */
static int send_all(struct launcher *l)
{
	struct sending *s = l->tell.batch;
	int sent;

	while (!is_empty(&l->tell)) {
		sending_fill(s, l);
		sent = sendmmsg(l->engine.fd, s->msgs, s->count, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR)
			return errno;
		for (int i = 0; i < sent; i++)
			sent_one(l, s->from[i], s->jobs[i]);
	}
	return 0;
}

int tell_flush(struct launcher *l)
{
	struct tell *t = &l->tell;
	uint32_t more = t->ring_count < TELL_RING / 2 ? EPOLLIN : 0;
	int error;

	if (t->retry_us && sys_now_us() < t->retry_us)
		return 0;
	t->retry_us = 0;
	error = send_all(l);
	switch (error) {
	case 0:
		engine_set_interest(l, EPOLLIN);
		return 0;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return -1;
	case ENOBUFS:
	case ENOMEM:
	case ETOOMANYREFS: /* descriptors on their way; nothing tells when they are fewer */
		t->retry_us = sys_now_us() + RETRY_US;
		engine_set_interest(l, more);
		return 0;
	}
	/* A full queue is normal; it goes on when the engine has read. */
	engine_set_interest(l, EPOLLOUT | more);
	return 0;
}

void tell_drop_all(struct launcher *l)
{
	struct tell *t = &l->tell;
	struct job *job = NULL;

	t->ring_count = 0;
	t->out_first = t->out_last = JOB_NONE;
	t->welcome_due = false;
	t->retry_us = 0;
	while ((job = table_next(&l->table, job))) {
		job->in_out = job->exit_due = job->gone_due = job->exit_told = false;
		job->gone_told = job->acked; /* its end is recorded: none who comes asks for it */
		tell_forget_if_done(l, job);
	}
}
