#ifndef LAUNCHER_UPGRADE_H
#define LAUNCHER_UPGRADE_H
/*
 * A new binary in the place of this one, in the same process: children stay children, nothing is
 * closed, nobody is told. The binary that lies at our path now is first asked, in a process of
 * its own, whether it can read our state; if not, or if it can't be executed, we go on.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launcher;

#ifdef PACKAGE_VERSION
#define UPGRADE_BUILD PACKAGE_VERSION
#else
#define UPGRADE_BUILD "unknown"
#endif

struct upgrade {
	char exe[PATH_MAX]; /* where our binary lies; "" where that is not known */
	bool wanted;        /* begin at the end of this turn */
	bool reply_due;     /* the engine asked, and is to be told what came of it */
	pid_t probe;        /* the process that is asked; 0: none */
	int64_t probe_until_us;
	uint32_t asked_serial; /* of the engine, when it was asked */
	bool answered;      /* by the probe: */
	bool yes;
};

/* Finds our own path. */
void upgrade_init(struct upgrade *u);
/* HUP, or the engine asked (and gets RENEWED). */
void upgrade_begin(struct launcher *l, bool reply);
/* Once a turn. Where all goes well it never returns. */
void upgrade_turn(struct launcher *l);
/* Takes note if the probe has ended, and reaps it. */
void upgrade_reap_probe(struct launcher *l);
/* When upgrade_turn wants to be called, -1: no time. */
int64_t upgrade_next_us(const struct launcher *l);
/* In the new binary, when all is restored. */
void upgrade_done(struct launcher *l, const char *old_build);

#endif
