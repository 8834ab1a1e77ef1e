/* Frames to the engine: from the table what can be told from it, from a ring what can't. */
#define _GNU_SOURCE 1
#include "launcher/tell.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "launch/frame.h"
#include "launcher/launcher.h"
#include "launcher/sys.h"

#define SEND_BATCH 32u

/* Not on the stack, which each child would have to copy what was written of. */
struct sending {
	struct mmsghdr msgs[SEND_BATCH];
	struct iovec iov[SEND_BATCH];
	union frame frames[SEND_BATCH];
	struct job *jobs[SEND_BATCH]; /* whom the frame is about; NULL: it is the ring's */
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

void tell_forget_if_done(struct launcher *l, struct job *job)
{
	if (job->state == JOB_GONE && !job->in_out &&
	    (l->engine.fd < 0 || (job->acked && job->gone_told)))
		table_set_state(&l->table, job, JOB_FREE);
}

static void out_push(struct launcher *l, struct job *job)
{
	struct tell *t = &l->tell;
	uint32_t index = table_index(&l->table, job);

	if (job->in_out || l->engine.fd < 0)
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
	job->gone_due = true;
	out_push(l, job);
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

void tell_welcome(struct launcher *l)
{
	union frame *f = ring_push(&l->tell, FRAME_WELCOME, sizeof(f->welcome));

	f->welcome.instance = l->engine.instance;
	f->welcome.jobs = l->table.capacity;
	f->welcome.used = l->table.used;
}

void tell_again(struct launcher *l)
{
	struct job *job = NULL;

	while ((job = table_next(&l->table, job))) {
		if (!job->exit_told || job->acked)
			continue;
		job->exit_due = true;
		job->gone_due = job->state == JOB_GONE;
		out_push(l, job);
	}
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
	struct tell *t = &l->tell;
	uint32_t i;

	s->count = 0;
	for (i = 0; i < t->ring_count && s->count < SEND_BATCH; i++) {
		const union frame *f = &t->ring[(t->ring_first + i) % TELL_RING];

		*sending_add(s, NULL, f->head.len) = *f;
	}
	for (i = t->out_first; i != JOB_NONE && s->count < SEND_BATCH;
	     i = l->table.jobs[i].next_out)
		sending_add_job(s, &l->table.jobs[i]);
}

/* What a sent frame settles. Frames leave in the order in which they were filled in. */
static void sent_one(struct launcher *l, struct job *job)
{
	struct tell *t = &l->tell;

	if (!job) {
		t->ring_first = (t->ring_first + 1) % TELL_RING;
		t->ring_count--;
		return;
	}
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

int tell_flush(struct launcher *l)
{
	struct tell *t = &l->tell;
	struct sending *s = t->batch;
	int fd = l->engine.fd, sent = 0;

	while (t->ring_count || t->out_first != JOB_NONE) {
		sending_fill(s, l);
		sent = sendmmsg(fd, s->msgs, s->count, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break;
		for (int i = 0; i < sent; i++)
			sent_one(l, s->jobs[i]);
	}
	if (sent >= 0)
		engine_set_interest(l, EPOLLIN);
	else if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		return -1;
	else /* a full queue is normal; it goes on when the engine has read */
		engine_set_interest(l, EPOLLOUT | (t->ring_count < TELL_RING / 2 ? EPOLLIN : 0));
	return 0;
}

void tell_drop_all(struct launcher *l)
{
	struct tell *t = &l->tell;
	struct job *job = NULL;

	t->ring_count = 0;
	t->out_first = t->out_last = JOB_NONE;
	while ((job = table_next(&l->table, job))) {
		job->in_out = job->exit_due = job->gone_due = false;
		tell_forget_if_done(l, job);
	}
}
