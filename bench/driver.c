/*
 * driver: a client of slotd that does as little as a client can, so that what is measured is the
 * daemon: fixed lines out, and of what comes back only what has to be looked at.
 *
 *	driver [-o FILE] MODE SOCKET …
 *
 *	jobs COUNT WINDOW COMMAND…	submits COUNT jobs, at most WINDOW of them not done, and
 *		waits for each completion; a duration is from a submit to its completion
 *	submit COUNT WINDOW COMMAND…	only submits, WINDOW requests in flight; a duration is from
 *		a request to its reply
 *	call COUNT WINDOW METHOD PARAMS FIRST STEP	the same with any method: the @ in PARAMS
 *		is FIRST, then FIRST + STEP, …
 *	put COUNT WINDOW BYTES	the same with a beanstalkd: put, tube default
 *	rpush COUNT WINDOW BYTES	the same with a redis: RPUSH to one list
 *	run COUNT SLOTS	sets max_running to SLOTS until COUNT of the pending jobs are done; a
 *		duration is from one completion to the next
 *	replay COUNT SUBSCRIBERS	each subscriber reads the COUNT oldest completions of
 *		history, all at once; a duration is a subscriber's, and per_s counts deliveries
 *	stall	subscribes from the oldest completion and never reads, until killed; says "stalled"
 *		once the request is written
 *
 * One line of JSON: count, seconds, per_s, p50_us, p90_us, p99_us, max_us. With -o all durations
 * go to FILE. Anything unexpected ends it with status 1 and the line that was not expected.
 */
#include <sys/epoll.h>

#include "figures.h"
#include "peer.h"

enum { SPEC_MAX = 4096 };

/* ---- a window of requests ------------------------------------------------------------------- */

/* What is counted as the end of a request, and how a request is written. */
struct load {
	struct peer peer;
	long count, window;
	long sent, ended;
	double *took; /* when each was sent, and then how long it took */
	const char *spec, *method; /* of put and rpush: the body; of call: its parameters */
	long first, step;
	size_t (*line)(char *into, size_t room, const struct load *l, long n);
};

static size_t
job_line(char *into, size_t room, const struct load *l, long n)
{
	return (size_t)snprintf(into, room, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"job.submit\","
	    "\"params\":{\"argv\":[%s],\"tag\":%ld}}\n", n, l->spec, n);
}

static size_t
put_line(char *into, size_t room, const struct load *l, long n)
{
	(void)n;
	return (size_t)snprintf(into, room, "put 1024 0 60 %zu\r\n%s\r\n", strlen(l->spec), l->spec);
}

static size_t
rpush_line(char *into, size_t room, const struct load *l, long n)
{
	(void)n;
	return (size_t)snprintf(into, room, "*3\r\n$5\r\nRPUSH\r\n$1\r\nq\r\n$%zu\r\n%s\r\n",
	    strlen(l->spec), l->spec);
}

static size_t
call_line(char *into, size_t room, const struct load *l, long n)
{
	int before = (int)strcspn(l->spec, "@");

	return (size_t)snprintf(into, room, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"%s\","
	    "\"params\":%.*s%ld%s}\n", n, l->method, before, l->spec, l->first + n * l->step,
	    l->spec + before + 1);
}

static void
end(struct load *l, long n, const char *line)
{
	if (n < 0 || n >= l->sent)
		die("unexpected: %s", line);
	l->took[n] = figures_now() - l->took[n];
	l->ended++;
}

/* {"jsonrpc":"2.0","id":N,"result":… → N */
static void
on_reply(char *line, size_t len, void *arg)
{
	static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":";
	char *rest;

	(void)len;
	if (strncmp(line, head, sizeof(head) - 1) != 0)
		die("unexpected: %s", line);
	long n = strtol(line + sizeof(head) - 1, &rest, 10);

	if (strncmp(rest, ",\"result\":", 10) != 0)
		die("unexpected: %s", line);
	end(arg, n, line);
}

/* Replies are passed over; the tag of an item says which job ended. */
static void
on_completion(char *line, size_t len, void *arg)
{
	static const char item[] = "{\"jsonrpc\":\"2.0\",\"method\":\"$/item\"";
	const char *tag;

	if (strncmp(line, item, sizeof(item) - 1) != 0) {
		if (strstr(line, "\"error\"") != NULL)
			die("unexpected: %s", line);
		return;
	}
	tag = memmem(line, len, "\"tag\":", 6);
	if (tag == NULL || strstr(line, "\"ok\":true") == NULL)
		die("unexpected: %s", line);
	end(arg, strtol(tag + 6, NULL, 10), line);
}

/* Replies come in the order of the requests. */
static void
on_put(char *line, size_t len, void *arg)
{
	struct load *l = arg;

	(void)len;
	if (strncmp(line, "INSERTED ", 9) != 0)
		die("unexpected: %s", line);
	end(l, l->ended, line);
}

static void
on_rpush(char *line, size_t len, void *arg)
{
	struct load *l = arg;

	(void)len;
	if (line[0] != ':')
		die("unexpected: %s", line);
	end(l, l->ended, line);
}

static void
load_run(struct load *l, void (*on_line)(char *, size_t, void *), const char *keep)
{
	char line[SPEC_MAX + 256];

	l->took = figures_new(l->count);
	double begin = figures_now();

	while (l->ended < l->count) {
		while (l->sent < l->count && l->sent - l->ended < l->window) {
			peer_say(&l->peer, line, l->line(line, sizeof(line), l, l->sent));
			l->took[l->sent++] = figures_now();
		}
		peer_flush(&l->peer);
		if (!peer_fill(&l->peer))
			die("the connection ended after %ld of %ld", l->ended, l->count);
		peer_lines(&l->peer, on_line, l);
	}
	figures_print(l->took, l->count, figures_now() - begin, keep);
	free(l->took);
	peer_close(&l->peer);
}

/* The command as elements of a JSON list; it may hold nothing that JSON escapes. */
static const char *
command_json(char **command)
{
	static char spec[SPEC_MAX];
	size_t len = 0;

	for (; *command != NULL; command++) {
		if (strpbrk(*command, "\"\\\n") != NULL)
			die("%s: would need escapes", *command);
		len += (size_t)snprintf(spec + len, sizeof(spec) - len, "%s\"%s\"",
		    len > 0 ? "," : "", *command);
		if (len >= sizeof(spec))
			die("the command is too long");
	}
	return spec;
}

/* ---- subscribers ----------------------------------------------------------------------------- */

struct subscriber {
	struct peer peer;
	long left;
};

static void
on_item(char *line, size_t len, void *arg)
{
	struct subscriber *s = arg;

	(void)len;
	if (strstr(line, "\"method\":\"$/item\"") == NULL)
		die("unexpected: %s", line);
	s->left--;
}

static void
subscribe(struct peer *p, bool all)
{
	char line[128];

	peer_say(p, line, (size_t)snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":\"s\","
	    "\"method\":\"completions.subscribe\",\"params\":{%s}}\n", all ? "\"since_seq\":0" : ""));
	peer_flush(p);
}

static void
replay(const char *path, long count, int subscribers, const char *keep)
{
	struct subscriber *all = must(calloc((size_t)subscribers, sizeof(*all)));
	double *took = figures_new(subscribers), begin;
	int poll_fd = epoll_create1(EPOLL_CLOEXEC), open = subscribers;

	for (int i = 0; i < subscribers; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };

		all[i] = (struct subscriber){ peer_open(path), count };
		if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, all[i].peer.fd, &event) != 0)
			die("epoll: %s", strerror(errno));
	}
	begin = figures_now();
	for (int i = 0; i < subscribers; i++)
		subscribe(&all[i].peer, true);
	while (open > 0) {
		struct epoll_event events[64];
		int n = epoll_wait(poll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			struct subscriber *s = events[i].data.ptr;

			if (!peer_fill(&s->peer))
				die("a connection ended with %ld to come", s->left);
			peer_lines(&s->peer, on_item, s);
			if (s->left <= 0) {
				took[s - all] = figures_now() - begin;
				peer_close(&s->peer);
				open--;
			}
		}
	}
	double seconds = figures_now() - begin;

	figures_print(took, subscribers, seconds / (double)count, keep);
	free(took);
	free(all);
	close(poll_fd);
}

/* ---- a backlog, run ------------------------------------------------------------------------- */

struct backlog {
	long count, done;
	bool stopped; /* nothing starts any more */
	double *took, last;
};

static void
on_done(char *line, size_t len, void *arg)
{
	struct backlog *b = arg;

	(void)len;
	if (strstr(line, "\"error\":{") != NULL)
		die("unexpected: %s", line);
	if (strstr(line, "\"id\":0,\"result\"") != NULL)
		b->stopped = true;
	if (strstr(line, "\"method\":\"$/item\"") == NULL || b->done == b->count)
		return;
	double now = figures_now();

	b->took[b->done++] = now - b->last;
	b->last = now;
}

static void
set_slots(struct peer *p, long slots)
{
	char line[128];

	peer_say(p, line, (size_t)snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%ld,"
	    "\"method\":\"limits.set\",\"params\":{\"max_running\":%ld}}\n", slots, slots));
	peer_flush(p);
}

static void
run_backlog(const char *path, long count, long slots, const char *keep)
{
	struct peer p = peer_open(path);
	struct backlog b = { .count = count, .took = figures_new(count), .last = figures_now() };
	double begin = b.last;

	subscribe(&p, false);
	set_slots(&p, slots);
	while (b.done < count && peer_fill(&p))
		peer_lines(&p, on_done, &b);
	if (b.done < count)
		die("the connection ended after %ld of %ld", b.done, count);
	set_slots(&p, 0);
	while (!b.stopped && peer_fill(&p))
		peer_lines(&p, on_done, &b);
	figures_print(b.took, count, b.last - begin, keep);
	free(b.took);
	peer_close(&p);
}

/* ---- modes ---------------------------------------------------------------------------------- */

static void __attribute__((noreturn))
usage(void)
{
	fputs("usage: driver [-o FILE] jobs|submit SOCKET COUNT WINDOW COMMAND...\n"
	      "       driver [-o FILE] call SOCKET COUNT WINDOW METHOD PARAMS FIRST STEP\n"
	      "       driver [-o FILE] put|rpush SOCKET COUNT WINDOW BYTES\n"
	      "       driver [-o FILE] run SOCKET COUNT SLOTS\n"
	      "       driver [-o FILE] replay SOCKET COUNT SUBSCRIBERS\n"
	      "       driver stall SOCKET\n", stderr);
	exit(2);
}

static const char *
body(const char *bytes)
{
	static char text[SPEC_MAX];

	return memset(text, 'x', (size_t)atoi(bytes) % SPEC_MAX);
}

static void
stall(const char *path)
{
	struct peer p = peer_open(path);

	subscribe(&p, true);
	puts("stalled");
	fflush(stdout);
	pause();
}

/* The modes with a window; ARGV begins with the mode, and false says that it is none of these. */
static bool
load_mode(int argc, char **argv, struct load *l, const char *keep)
{
	const char *what = argv[0];

	if ((strcmp(what, "jobs") == 0 || strcmp(what, "submit") == 0) && argc > 4) {
		l->peer = peer_open(argv[1]);
		l->spec = command_json(argv + 4);
		l->line = job_line;
		if (what[0] == 'j')
			subscribe(&l->peer, false);
		load_run(l, what[0] == 'j' ? on_completion : on_reply, keep);
	} else if (strcmp(what, "call") == 0 && argc == 8 && strchr(argv[5], '@') != NULL) {
		l->peer = peer_open(argv[1]);
		l->method = argv[4];
		l->spec = argv[5];
		l->first = atol(argv[6]);
		l->step = atol(argv[7]);
		l->line = call_line;
		load_run(l, on_reply, keep);
	} else if ((strcmp(what, "put") == 0 || strcmp(what, "rpush") == 0) && argc == 5) {
		l->peer = peer_open(argv[1]);
		l->spec = body(argv[4]);
		l->line = what[0] == 'p' ? put_line : rpush_line;
		load_run(l, what[0] == 'p' ? on_put : on_rpush, keep);
	} else {
		return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	const char *keep = NULL;

	argv++, argc--;
	if (argc > 2 && strcmp(argv[0], "-o") == 0) {
		keep = argv[1];
		argv += 2, argc -= 2;
	}
	struct load l = { .count = argc > 2 ? atol(argv[2]) : 0,
		.window = argc > 3 ? atol(argv[3]) : 0 };
	bool sized = l.count > 0 && l.window > 0;

	if (argc == 2 && strcmp(argv[0], "stall") == 0)
		stall(argv[1]);
	else if (sized && argc == 4 && strcmp(argv[0], "replay") == 0)
		replay(argv[1], l.count, (int)l.window, keep);
	else if (sized && argc == 4 && strcmp(argv[0], "run") == 0)
		run_backlog(argv[1], l.count, l.window, keep);
	else if (!sized || !load_mode(argc, argv, &l, keep))
		usage();
	return 0;
}
