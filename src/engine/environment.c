/* The clean environment; see environment.h. */
#include "engine/environment.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define DEFAULT_PATH_ROOT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct env_blob *
environment_default(struct env_table *table, uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);
	const char *lang = getenv("LANG");
	const char *name = pw != NULL ? pw->pw_name : "nobody";
	struct env_blob *env = NULL;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return NULL;
	fprintf(f, "PATH=%s%c", uid == 0 ? DEFAULT_PATH_ROOT : DEFAULT_PATH, '\0');
	fprintf(f, "HOME=%s%c", pw != NULL ? pw->pw_dir : "/", '\0');
	fprintf(f, "USER=%s%c", name, '\0');
	fprintf(f, "LOGNAME=%s%c", name, '\0');
	fprintf(f, "SHELL=%s%c", pw != NULL && pw->pw_shell[0] != '\0' ? pw->pw_shell : "/bin/sh",
	    '\0');
	fprintf(f, "LANG=%s%c", lang != NULL ? lang : "C.UTF-8", '\0');
	if (fclose(f) == 0)
		env = env_intern(table, text, len);
	free(text);
	return env;
}
