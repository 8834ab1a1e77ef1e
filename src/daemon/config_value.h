#ifndef DAEMON_CONFIG_VALUE_H
#define DAEMON_CONFIG_VALUE_H
/*
 * One option's value between text and number: units, ranges, words, and what to say when the
 * text is none of these.
 */
#include "daemon/config.h"

/* Reads `text` for a numeric option. 0, or -1 with `why` filled in: what is accepted. */
int config_value_parse(const struct config_option *option, const char *text, int64_t *value,
    char *why, size_t why_size);
/* Writes a numeric value as one would write it in the file, in the largest exact unit. */
void config_value_format(const struct config_option *option, int64_t value, char *buf, size_t size);
/* The same of a field of any type; `base` is the struct that holds it. */
void config_value_format_field(const struct config_option *option, const void *base, char *buf,
    size_t size);
/* What an option accepts, in words: "a duration (300ms, 5s, 2m, 1h, 7d) from 0 to 1h". */
void config_value_accepts(const struct config_option *option, char *buf, size_t size);
/* How many CPUs this process may run on; at least 1. */
int64_t config_value_cpus(void);

#endif
