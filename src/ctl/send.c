/* send: our stdin becomes the stdin of a job that was submitted with stdin "pipe". */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"

enum { SEND_NO_EOF = CTL_OPTION_VERB };

#define SEND_PIECE 65536

const struct ctl_option send_options[] = {
	{ SEND_NO_EOF, "no-eof", NULL, "leave the job's stdin open for more" },
	{ 0 },
};

/* All of it: the daemon answers once so much went into the pipe. */
static int
send_bytes(struct ctl *ctl, int64_t job, const char *data, size_t len)
{
	while (len > 0) {
		json_t *result;
		int rc = ctl_call(ctl, "stdin.write",
		    json_pack("{s:I, s:o}", "job", (json_int_t)job, "data",
			slot_json_from_bytes(data, len)),
		    &result);

		if (rc != 0)
			return rc;
		json_int_t written = json_integer_value(json_object_get(result, "written"));

		json_decref(result);
		if (written <= 0 || (size_t)written > len)
			return ctl_error("the job takes no more input");
		data += written;
		len -= (size_t)written;
	}
	return 0;
}

int
cmd_send(struct ctl *ctl, struct ctl_args *args)
{
	char buf[SEND_PIECE];
	bool eof = true;
	int64_t job;
	int option, rc = 0;
	ssize_t n;

	while ((option = ctl_args_next(args)) > 0)
		eof = false;
	if (option < 0 || ctl_one_id(args, &job) != 0)
		return CTL_EXIT_FAILURE;
	while (rc == 0 && (n = read(STDIN_FILENO, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ctl_error("reading stdin: %s", strerror(errno));
		rc = send_bytes(ctl, job, buf, (size_t)n);
	}
	if (rc == 0 && eof)
		rc = ctl_call(ctl, "stdin.write",
		    json_pack("{s:I, s:b}", "job", (json_int_t)job, "eof", 1), NULL);
	return rc;
}
