#!/usr/bin/env python3
"""Makes slotctl(1) from what slotctl says of itself: man/slotctl.py BUILD_DIR >man/slotctl.1"""

import os
import re
import subprocess
import sys

HEAD = r""".\" Made from slotctl's help: man/slotctl.py
.TH SLOTCTL 1 "" "slotd"
.SH NAME
slotctl \- submit jobs to slotd and follow them
.SH SYNOPSIS
.B slotctl
.RI [ OPTION ]...
.I VERB
.RI [ FLAG ]...
.RI [ ARGUMENT ]...
.SH DESCRIPTION
Standard output carries data only, notices go to standard error. Without a daemon on the user's
socket one is started; it leaves after ten minutes without clients and jobs.
.PP
A restart of the daemon ends no verb:
.BR run ", " map ", " wait ", " gather ", " watch " and " "log \-f"
go on where they were, and nothing is submitted twice, lost or printed again. When the daemon isn't
back within 15 seconds, or another one without its history answers, that is said and the exit status
is 125. A change that was asked for and not answered (to a queue or a limit, say) is not asked for a
second time: it may or may not have been made.
.PP
A daemon that keeps its jobs in memory (store.durability) loses them when it ends: then all of this
ends at once.
.PP
A time is written 300ms, 5s, 2m, 1h or as plain seconds; ids are 7, 3,4 or 5\-9. A \-\- may stand
before the command.
"""

TAIL = r""".SH EXIT STATUS
0 when all went well; 1 when a job was not ok; 124 when the wait timed out; 125 for wrong usage, an
unknown id, no daemon or a refused request.
.PP
.B run
exits as its job did: with its status, 128+N for signal N, 124 timed out, 126 cannot execute, 127 not
found, 130 interrupted, 143 on TERM to slotctl, 125 when the job was lost, cancelled by others, or a
dependency failed.
.SH ENVIRONMENT
.TP
.B SLOTD_SOCKET
The daemon's socket, where \-\-socket doesn't name it.
.TP
.B SLOTCTL_START
0: never start a daemon, as \-\-no\-start.
.SH SEE ALSO
.BR libslot (3),
.BR slotd (8),
.BR slotd.conf (5)
"""


def ask(build, *words):
    env = {**os.environ, "SLOTCTL_START": "0", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([os.path.join(build, "slotctl"), *words, "--help"], env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def block(lines, title):
    """The indented lines below a title."""
    rows = []
    if title in lines:
        for line in lines[lines.index(title) + 1:]:
            if not line.startswith("  "):
                break
            rows.append(line)
    return rows


def options(rows):
    for row in rows:
        flag, _, text = row.strip().partition("  ")
        yield f".TP\n.B {roff(flag)}\n{roff(text.strip())}"


def verb(build, row):
    names = re.match(r"  ([a-z, ]+?)  ", row).group(1)
    lines = ask(build, names.split(",")[0])
    usage = lines[0].removeprefix("Usage: slotctl ")
    yield f".SS {roff(names)}"
    yield f".B slotctl {roff(usage)}\n.PP\n{roff(lines[1])}"
    yield from options(block(lines, "Flags:"))


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    lines = ask(build)
    print(HEAD, end="")
    print(".SH OPTIONS")
    for text in options(block(lines, "Options of every verb:")):
        print(text)
    print(".SH VERBS")
    for row in block(lines, "Verbs:"):
        for text in verb(build, row):
            print(text)
    print(TAIL, end="")


if __name__ == "__main__":
    main()
