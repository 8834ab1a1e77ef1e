/* See output.h. */
#include "ctl/output.h"

#include <stdlib.h>

#define OUTPUT_PAGE 262144

int
output_read(struct ctl *ctl, int64_t job, int fd, int64_t *off, output_page_fn page, void *arg)
{
	bool more = true;

	while (more) {
		json_t *params = json_pack("{s:I, s:i, s:I, s:i}", "job", (json_int_t)job, "fd",
		    fd, "off", (json_int_t)*off, "max", OUTPUT_PAGE);
		json_t *result;
		int rc = ctl_call(ctl, "output.read", params, &result);

		if (rc != 0)
			return rc;
		size_t len = 0;
		char *data = slot_json_to_bytes(json_object_get(result, "data"), &len);

		if (data == NULL) {
			json_decref(result);
			return ctl_error("the daemon sent output that can't be read");
		}
		*off = json_integer_value(json_object_get(result, "off")) + (int64_t)len;
		more = page(result, data, len, arg) && len > 0 &&
		    !json_is_true(json_object_get(result, "eof"));
		free(data);
		json_decref(result);
	}
	return 0;
}

void
output_note_missing(int64_t job, int fd, int64_t next, int64_t off)
{
	if (off > next)
		ctl_note("job %lld: %lld bytes of its %s were not kept", (long long)job,
		    (long long)(off - next), fd == 1 ? "stdout" : "stderr");
}

static bool
copy_page(const json_t *page, const char *data, size_t len, void *arg)
{
	(void)page;
	return fwrite(data, 1, len, arg) == len;
}

int
output_copy(struct ctl *ctl, int64_t job, int fd, FILE *out)
{
	int64_t off = 0;
	int rc = output_read(ctl, job, fd, &off, copy_page, out);

	if (out != stdout)
		fflush(out);
	return rc;
}
