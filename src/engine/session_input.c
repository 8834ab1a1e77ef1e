/* What a client sends: bytes and descriptors to lines, lines to requests; see session.h. */
#include "engine/context.h"
#include "engine/request.h"
#include "engine/session.h"
#include "engine/session_io.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (64u * 1024u)
#define READS_A_CALLBACK 4 /* then others have their turn */
#define LINES_A_CALL 64
#define CONTROL_FDS 64 /* more than that in one message is refused by truncation */

void
session_stop_reading(struct session *s)
{
	if (s->reading)
		event_del(s->read_event);
	s->reading = false;
}

static void
too_many_fds(struct session *s, int fd)
{
	close(fd);
	slot_log(s->engine->logger, SLOT_LOG_DEBUG, "passed descriptor refused uid=%u held=%u",
	    (unsigned)s->uid, s->nfds);
}

/* A descriptor that came with the byte at `position` belongs to the request that holds it. */
static void
keep_fd(struct session *s, int fd, uint64_t position)
{
	struct engine *e = s->engine;

	if (s->nfds == SESSION_FDS_MAX || e->nfds_held >= SESSION_FDS_TOTAL_MAX) {
		too_many_fds(s, fd);
		return;
	}
	s->fds[s->nfds++] = (struct session_fd){ fd, position };
	e->nfds_held++;
}

/* Descriptors of one recvmsg, whose last byte is at `last`. */
static void
keep_fds(struct session *s, const struct msghdr *msg, uint64_t last)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
	    c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			keep_fd(s, fd, last);
		}
	}
}

void
session_close_fds(struct engine *e, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	e->nfds_held -= n;
}

/* Takes the descriptors that belong to the line (they go on counting as held); those of bytes
 * before it are nobody's. */
static unsigned
take_fds(struct session *s, const struct frame_line *line, int fds[MSG_FDS_MAX])
{
	unsigned n = 0, left = 0;

	for (unsigned i = 0; i < s->nfds; i++) {
		if (s->fds[i].position >= line->end)
			s->fds[left++] = s->fds[i];
		else if (s->fds[i].position >= line->begin)
			fds[n++] = s->fds[i].fd;
		else
			close(s->fds[i].fd);
	}
	s->engine->nfds_held -= s->nfds - left - n;
	s->nfds = left;
	return n;
}

static void
answer_malformed(struct session *s, const struct jsonr *id, const struct rpc_failure *f)
{
	session_wrote_line(s, rpc_write_failure(s->out, id, f));
	if (++s->malformed >= SESSION_MALFORMED_MAX)
		session_finish(s);
}

static void
handle_line(struct session *s, const struct frame_line *line)
{
	int fds[MSG_FDS_MAX];
	unsigned nfds = take_fds(s, line, fds);
	struct rpc_request parsed;
	struct rpc_failure f;

	if (rpc_request_parse(&parsed, line->ptr, line->len, &f) < 0) {
		answer_malformed(s, parsed.id, &f);
		rpc_request_fini(&parsed);
		session_close_fds(s->engine, fds, nfds);
		return;
	}
	s->malformed = 0;
	request_handle(s, &parsed, fds, nfds);
}

bool
session_may_read(const struct session *s)
{
	return !s->closed && !s->closing && s->stalled == NULL &&
	    session_backlog(s) <= SESSION_INPUT_HIGH &&
	    s->nrequests - s->nwaiting < SESSION_PARKED_MAX;
}

/* Handles complete lines; false: stopped early, lines may be left. */
static bool
handle_lines(struct session *s)
{
	for (unsigned n = 0; session_may_read(s); n++) {
		struct frame_line line;
		struct rpc_failure f;

		if (n == LINES_A_CALL) {
			slot_loop_call_soon(s->engine->loop, &s->more);
			return false;
		}
		switch (frame_reader_next(&s->in, &line)) {
		case FRAME_NONE:
			if (!s->half_closed || frame_reader_rest(&s->in, &line) != FRAME_LINE)
				return true;
			handle_line(s, &line);
			return true;
		case FRAME_LINE:
			handle_line(s, &line);
			break;
		case FRAME_TOO_LARGE:
			rpc_fail(&f, RPC_FRAME_TOO_LARGE, "a line is at most %u bytes", FRAME_MAX);
			answer_malformed(s, NULL, &f);
			break;
		}
	}
	return false;
}

static void
resume_reading(struct session *s)
{
	if (s->reading || s->half_closed || s->closing || s->closed || s->read_event == NULL ||
	    slot_call_queued(&s->more) || !session_may_read(s))
		return;
	session_unwatch_hangup(s);
	event_add(s->read_event, NULL);
	s->reading = true;
}

static void
process(struct session *s)
{
	session_ref(s);
	if (!handle_lines(s) && !s->closed) {
		session_stop_reading(s);
		if (!s->closing && !slot_call_queued(&s->more))
			session_watch_hangup(s);
	} else {
		resume_reading(s);
	}
	if (!s->closed && session_spent(s))
		session_close(s, "done");
	session_unref(s);
}

void
session_on_more(struct slot_call *call)
{
	process(slot_container_of(call, struct session, more));
}

static void
end_of_input(struct session *s)
{
	if (session_hung_up(s)) {
		session_close(s, "peer closed");
		return;
	}
	s->half_closed = true;
	session_stop_reading(s);
	session_watch_hangup(s);
	process(s);
}

static ssize_t
receive(struct session *s, char *buf)
{
	union {
		char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { buf, READ_SIZE };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes,
	};
	ssize_t n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n >= 0 && msg.msg_controllen > 0)
		keep_fds(s, &msg, frame_reader_position(&s->in) + (uint64_t)(n > 0 ? n - 1 : 0));
	return n;
}

/* The peer's next bytes, or (0) the end of them; false: nothing more is to be read now. */
static bool
take_in(struct session *s, const void *bytes, size_t len)
{
	if (len == 0) {
		end_of_input(s);
		return false;
	}
	s->engine->stats.bytes_in += len;
	if (frame_reader_feed(&s->in, bytes, len) < 0) {
		session_close(s, "out of memory");
		return false;
	}
	process(s);
	return true;
}

void
session_feed(struct session *s, const void *bytes, size_t len, const int *fds, unsigned nfds)
{
	session_ref(s);
	for (unsigned i = 0; i < nfds; i++)
		keep_fd(s, fds[i], frame_reader_position(&s->in) + (len > 0 ? len - 1 : 0));
	if (!s->closed)
		take_in(s, bytes, len);
	session_unref(s);
}

void
session_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;
	char buf[READ_SIZE];

	(void)fd;
	(void)what;
	session_ref(s);
	for (int i = 0; i < READS_A_CALLBACK && s->reading && !s->closed; i++) {
		ssize_t n = receive(s, buf);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			session_close(s, "read error");
			break;
		}
		if (!take_in(s, buf, (size_t)n) || (size_t)n < READ_SIZE)
			break;
	}
	session_unref(s);
}
