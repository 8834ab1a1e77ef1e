/* A list of frames and its sending; where descriptors are concerned, also their only owner. */
#define _GNU_SOURCE 1
#include "launch/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_BATCH 32

struct outgoing {
	struct outgoing *next;
	size_t len;
	unsigned nfds;
	int fds[LAUNCH_FDS_MAX];
	_Alignas(union frame) unsigned char bytes[];
};

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

/* ---- the list ---- */

void outbox_init(struct outbox *box)
{
	box->first = box->open_ack = NULL;
	box->last = &box->first;
}

bool outbox_is_empty(const struct outbox *box)
{
	return !box->first;
}

bool outbox_only_acks(const struct outbox *box)
{
	return box->first && box->first == box->open_ack;
}

/* A frame of `len` bytes, zeroed, with room for more. NULL: no memory. */
static struct outgoing *outgoing_new(enum frame_type type, size_t len, size_t room)
{
	struct outgoing *o = calloc(1, sizeof(*o) + room);

	if (!o)
		return NULL;
	o->len = len;
	frame_head_init((struct frame_head *)o->bytes, type, len);
	return o;
}

static void append(struct outbox *box, struct outgoing *o)
{
	*box->last = o;
	box->last = &o->next;
	box->open_ack = NULL;
}

static void drop_first(struct outbox *box)
{
	struct outgoing *o = box->first;

	box->first = o->next;
	if (!box->first)
		box->last = &box->first;
	if (box->open_ack == o)
		box->open_ack = NULL;
	close_fds(o->fds, o->nfds);
	free(o);
}

void outbox_move(struct outbox *to, struct outbox *from)
{
	if (!from->first)
		return;
	*to->last = from->first;
	to->last = from->last;
	to->open_ack = from->open_ack;
	outbox_init(from);
}

void outbox_clear(struct outbox *box)
{
	while (box->first)
		drop_first(box);
}

/* ---- adding ---- */

void *outbox_add(struct outbox *box, enum frame_type type, size_t len)
{
	struct outgoing *o = outgoing_new(type, len, len);

	if (!o)
		return NULL;
	append(box, o);
	return o->bytes;
}

int outbox_add_ack(struct outbox *box, uint64_t job, uint32_t attempt)
{
	struct outgoing *o = box->open_ack;
	struct frame_ack *f;
	unsigned n;

	if (!o) {
		o = outgoing_new(FRAME_ACK, sizeof(struct frame_head), sizeof(struct frame_ack));
		if (!o)
			return -ENOMEM;
		append(box, o);
	}
	f = (struct frame_ack *)o->bytes;
	n = frame_ack_count(f);
	f->entries[n].job = job;
	f->entries[n].attempt = attempt;
	o->len += sizeof(f->entries[0]);
	f->head.len = (uint32_t)o->len;
	box->open_ack = n + 1 < FRAME_ACKS_MAX ? o : NULL;
	return 0;
}

/* Body and environment as a memfd that can't change any more. A descriptor or -errno. */
static int seal_body(const struct launch_run *run)
{
	const void *parts[2] = {run->body, run->env};
	size_t lens[2] = {run->body_len, run->env_len};
	int fd = memfd_create("slot-body", MFD_CLOEXEC | MFD_ALLOW_SEALING), error;
	ssize_t n;

	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		for (size_t at = 0; at < lens[i]; at += (size_t)n) {
			n = write(fd, (const char *)parts[i] + at, lens[i] - at);
			if (n < 0)
				goto out;
		}
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
		return fd;
out:
	error = errno;
	close(fd);
	return -error;
}

static struct outgoing *run_frame(const struct launch_run *run, bool memfd)
{
	size_t payload = memfd ? 0 : run->body_len + run->env_len;
	size_t len = sizeof(struct frame_run) + payload;
	struct outgoing *o = outgoing_new(FRAME_RUN, len, len);
	struct frame_run *f;

	if (!o)
		return NULL;
	f = (struct frame_run *)o->bytes;
	f->job = run->job;
	f->attempt = run->attempt;
	f->slots = run->slots;
	f->body_len = (uint32_t)run->body_len;
	f->env_len = (uint32_t)run->env_len;
	if (payload == 0)
		return o;
	memcpy(o->bytes + sizeof(*f), run->body, run->body_len);
	if (run->env_len)
		memcpy(o->bytes + sizeof(*f) + run->body_len, run->env, run->env_len);
	return o;
}

static void attach(struct outgoing *o, int fd, uint8_t role)
{
	((struct frame_run *)o->bytes)->roles[o->nfds] = role;
	o->fds[o->nfds++] = fd;
}

/* Makes the frame without the caller's descriptors. 0 or -errno. */
static int prepare_run(const struct launch_run *run, struct outgoing **frame)
{
	bool memfd;
	int body_fd;

	if (run->body_len > FRAME_BODY_MAX || run->env_len > FRAME_BODY_MAX - run->body_len)
		return -E2BIG;
	memfd = run->body_len + run->env_len > FRAME_INLINE_MAX;
	if (run->nfds + memfd > LAUNCH_FDS_MAX)
		return -EINVAL;
	*frame = run_frame(run, memfd);
	if (!*frame)
		return -ENOMEM;
	if (!memfd)
		return 0;
	body_fd = seal_body(run);
	if (body_fd < 0) {
		free(*frame);
		return body_fd;
	}
	attach(*frame, body_fd, LAUNCH_FD_BODY);
	return 0;
}

int outbox_add_run(struct outbox *box, const struct launch_run *run)
{
	struct outgoing *o;
	int error = prepare_run(run, &o);

	if (error) {
		outbox_refuse_run(run);
		return error;
	}
	for (unsigned i = 0; i < run->nfds; i++)
		attach(o, run->fds[i], run->roles[i]);
	append(box, o);
	return 0;
}

void outbox_refuse_run(const struct launch_run *run)
{
	close_fds(run->fds, run->nfds < LAUNCH_FDS_MAX ? run->nfds : LAUNCH_FDS_MAX);
}

int outbox_shorten_first(struct outbox *box)
{
	struct outgoing *o = box->first;
	struct frame_run *f = (struct frame_run *)o->bytes;
	struct launch_run parts = {.body = o->bytes + sizeof(*f)};
	int fd;

	if (f->head.type != FRAME_RUN || o->len <= sizeof(*f) || o->nfds == LAUNCH_FDS_MAX)
		return EMSGSIZE;
	parts.body_len = o->len - sizeof(*f);
	fd = seal_body(&parts);
	if (fd < 0)
		return -fd;
	attach(o, fd, LAUNCH_FD_BODY);
	o->len = sizeof(*f);
	f->head.len = (uint32_t)o->len;
	return 0;
}

/* ---- sending ---- */

struct send_batch {
	struct mmsghdr msgs[SEND_BATCH];
	struct iovec iov[SEND_BATCH];
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))];
	} control[SEND_BATCH];
};

static unsigned send_batch_fill(struct send_batch *b, struct outgoing *o)
{
	unsigned n = 0;

	for (; o && n < SEND_BATCH; o = o->next, n++) {
		struct msghdr *m = &b->msgs[n].msg_hdr;
		size_t bytes = o->nfds * sizeof(int);
		struct cmsghdr *cm;

		memset(m, 0, sizeof(*m));
		b->iov[n] = (struct iovec){.iov_base = o->bytes, .iov_len = o->len};
		m->msg_iov = &b->iov[n];
		m->msg_iovlen = 1;
		if (o->nfds == 0)
			continue;
		memset(&b->control[n], 0, sizeof(b->control[n]));
		m->msg_control = b->control[n].bytes;
		m->msg_controllen = CMSG_SPACE(bytes);
		cm = CMSG_FIRSTHDR(m);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(cm), o->fds, bytes);
	}
	return n;
}

int outbox_send(struct outbox *box, int fd)
{
	struct send_batch b;
	unsigned n;
	int sent;

	while (box->first) {
		n = send_batch_fill(&b, box->first);
		sent = sendmmsg(fd, b.msgs, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno;
		while (sent-- > 0)
			drop_first(box);
	}
	return 0;
}
