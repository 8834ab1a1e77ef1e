#!/usr/bin/env python3
"""Runs the five example programs three times over - in process, in C against a daemon and in Python
against a daemon - and checks order, results, errors, timeouts and how many run at a time.

Beside each stands the same program on asyncio (oracle.py). What a daemon did is also looked at from
outside: in its records of the jobs, and by counting their processes. Every run has a daemon of its
own, and all go on at once, for their jobs really sleep.

No machine lets a process sleep exactly as long as it should. So asyncio's jobs are given the ends
that the daemon has recorded of ours, and then the order must be the same. What hangs on the
client's time as well (a timeout, or whether one look finds two) may differ where the machine stood
still for half of what lies between two events; then a line says so.

SLOT_BUILD_DIR: where the programs were built. The last line is "N passed, N failed[, N skipped]".
"""
import asyncio
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests" / "functional"), str(Path(__file__).resolve().parent)]

import oracle  # noqa: E402
from running import (BUILD, IN_PROCESS, PYTHON, REMOTE, SECONDS, Run, Watch, peak,  # noqa: E402
                     scaled, timeline)

#: How many seconds lie between two events of the client's, at least.
GAPS = {"as_completed": 0.4, "toolbox": 1, "how_as_completed_works": 0.6, "async_executor": 0.15,
        "limited_as_completed": 1}
OVERSLEEP_S = 10
STANDSTILL_S = 0.2  # what the order of all that README.md shows survives
RSS_GROWTH_KIB = 300
SANITIZED = "-fsanitize" in (BUILD / "config.status").read_text(encoding="utf-8", errors="replace")

counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, condition, detail=""):
    counts["passed" if condition else "failed"] += 1
    if not condition:
        print(f"FAILED {name}" + (f"\n{detail}" if detail else ""))
    return condition


def same(name, ours, theirs):
    ours, theirs = list(map(str, ours)), list(map(str, theirs))
    return check(name, ours == theirs, "ours:\n  %s\nexpected:\n  %s" % (
        "\n  ".join(ours), "\n  ".join(theirs)))


# ---- what is the same in all checks -----------------------------------------------------------


class Checker:
    """Compares a run with lines of the oracle."""

    def __init__(self, run, watch):
        self.run = run
        self.late_s = max(watch.late_s, run.overslept_s())
        check(f"{run.name}: ends well", not run.wrong, "\n".join(run.wrong))
        self.steady = self.late_s < GAPS[run.program] * run.second / 2
        check(f"{run.name}: jobs end when they end", self.late_s < scaled(OVERSLEEP_S),
              f"{self.late_s:.2f} s late")

    def that(self, what, condition, detail=""):
        check(f"{self.run.name}: {what}", condition, detail)

    def lines(self, what, ours, theirs):
        if self.run.kind == PYTHON:
            theirs = [x.replace(oracle.INVALID, "InvalidState").replace("-1001 ", "")
                      for x in theirs]
        same(f"{self.run.name}: {what}", ours, theirs)

    def timed_lines(self, what, ours, theirs):
        """What hangs on the client's time as well, if there was such a thing."""
        if self.steady or ours == theirs:
            self.lines(what, ours, theirs)
        else:
            counts["skipped"] += 1
            print(f"skipped: {self.run.name}: {what}: the machine stood still for "
                  f"{self.late_s:.2f} s")

    def finish_order(self, what, lines, jobs):
        """The second words are in the daemon's order of ends."""
        if self.run.kind != IN_PROCESS:
            same(f"{self.run.name}: {what}: in the order of seq", [x.split()[1] for x in lines],
                 [job["tag"] for job in sorted(jobs, key=lambda job: job["seq"])])

    def oracle(self, program, jobs=()):
        return oracle.oracle(program, jobs=jobs, second=self.run.second)


# ---- the five ---------------------------------------------------------------------------------


def check_as_completed(run, c):
    expected = c.oracle(oracle.as_completed, run.jobs[:8])
    for form in "too_early", "as_completed", "wait":
        compare = c.lines if form != "wait" or run.kind == IN_PROCESS else c.timed_lines
        compare(f"{form}: in finish order, the error an item", run.starting_with(form),
                [x for x in expected if x.split()[0] == form])
    c.finish_order("as_completed", run.starting_with("as_completed"), run.jobs[:4])
    if run.kind == PYTHON:
        items = [x for x in c.oracle(oracle.as_completed, run.jobs[8:])
                 if x.startswith("as_completed")]
        c.timed_lines("concurrent.futures.as_completed", run.starting_with("executor"),
                      [x.replace("as_completed", "executor") for x in items])


def ties(lines):
    """b and c sleep for equally long: a look may find both, in whichever order."""
    lines = list(lines)
    for i in range(len(lines) - 1):
        if [x.split()[1:2] for x in lines[i:i + 2]] == [["c"], ["b"]]:
            lines[i:i + 2] = lines[i + 1], lines[i]
    return lines


def check_toolbox(run, c):
    second_ms = round(run.second * 1000)
    took = {w[0]: int(w[2]) for w in map(str.split, run.lines) if w[1] == "took_ms"}
    looks = [w[2:5:2] for w in map(str.split, run.starting_with("wait_timeout", "done"))]
    rest = [x for x in run.lines if " took_ms " not in x and not x.startswith("wait_timeout done")]
    expected = c.oracle(oracle.toolbox, run.jobs)
    for form in ("sequential", "by_hand", "pre_scheduled", "as_completed", "gather",
                 "gather_exception", "gather_exceptions", "future", "wait_first",
                 "wait_timeout"):
        ours = [x for x in rest if x.split()[0] == form]
        theirs = [x for x in expected if x.split()[0] == form]
        if form.startswith("wait") and run.kind != IN_PROCESS:
            c.timed_lines(form, ties(ours), ties(theirs))
        elif form.startswith("gather_"):  # a is to be there yet when b has failed
            c.timed_lines(form, ours, theirs)
        else:
            c.lines(form, ours, theirs)
        if form in ("by_hand", "as_completed"):
            at = 3 if form == "by_hand" else 9
            c.finish_order(form, ours, run.jobs[at:at + 3])
    together = [took.get(form, 0) for form in ("by_hand", "pre_scheduled", "as_completed", "gather",
                                               "wait_first", "wait_timeout")]
    c.that("one after the other takes 5 seconds", took.get("sequential", 0) >= 5 * second_ms)
    c.that("together they take 3", min(together) >= 3 * second_ms, str(took))
    if c.steady and run.kind != IN_PROCESS:
        c.that("together they take hardly more", max(together) < 4.5 * second_ms, str(took))
    c.that("done may be empty", any(done == "0" for done, _ in looks), str(looks))
    c.that("pending is empty at the end", looks[-1:] and looks[-1][1] == "0", str(looks))
    if run.kind != IN_PROCESS:
        c.timed_lines("cancelling a future ends its job",
                      [f"{job['tag']} by signal {job['signal']}" for job in run.jobs
                       if job["outcome"] == "cancelled"], ["a by signal 15"])


def check_how_as_completed_works(run, c):
    mine = [x.replace(" mine", "") for x in run.lines if x.split()[1] == "mine"]
    library = [x.replace(" library", "") for x in run.lines if x.split()[1] == "library"]
    done_already = ["following 3", "a result", "b exception", "c result", "end"]
    for whose, lines, jobs in (("rebuilt by hand", mine, run.jobs[:6]),
                               ("the library's", library, run.jobs[6:])):
        expected = c.oracle(oracle.how_as_completed_works, jobs)

        def part(what, lines=lines):
            return [x for x in lines if x.split()[0] == what]

        c.lines(f"{whose}: duplicates", part("duplicates"),
                [x for x in expected if x.startswith("duplicates")])
        c.timed_lines(f"{whose}: timeout", part("timeout"),
                      [x for x in expected if x.startswith("timeout")])
        for what in "done_already", "later":
            ours, theirs = part(what), [f"{what} {x}" for x in done_already]
            if run.kind == PYTHON and whose == "the library's":
                ours, theirs = sorted(ours), sorted(theirs)  # asyncio: in the order of a set
            same(f"{run.name}: {whose}: those done already ({what})", ours, theirs)
        # asyncio takes an empty list for the end; ours is refused, as a single future is.
        is_asyncio = run.kind == PYTHON and whose == "the library's"
        same(f"{run.name}: {whose}: an empty list", part("empty"),
             ["empty 0" if is_asyncio else "empty refused"])
        if run.kind == PYTHON:
            same(f"{run.name}: {whose}: a single future", part("single"),
                 [x for x in expected if x.startswith("single")])


def check_async_executor(run, c):
    expected = c.oracle(oracle.async_executor, run.jobs[:11])
    lacks = ["start 1", "end 2 cancelled", "end 1 result", "start 3", "submit refused", "start 4",
             "end 3 exception", "start 5", "end 4 cancelled", "end 5 result",
             "drained running 0 pending 0"]
    peak_line = [x for x in expected if x.startswith("peak ")]
    if run.kind == IN_PROCESS:
        c.lines("starts, ends, gather and peak", run.lines[:len(expected)], expected)
        c.lines("cancel, a limit that changes, drain", run.lines[len(expected):], lacks)
        return
    # Starts are seen from outside: in the daemon's records.
    told = [x for x in expected if not x.startswith("start ") and x not in peak_line]
    c.lines("ends and gather", run.lines[:len(told)], told)
    c.timed_lines("cancel, a limit that changes, drain", run.lines[len(told):],
                  [x for x in lacks if not x.startswith("start ")])
    eleven, more = run.jobs[:11], run.jobs[11:]
    c.finish_order("callbacks", run.lines[:11], eleven)
    c.lines("starts and ends, as the daemon knows them",
            [f"start {job['tag']}" if what == "start" else
             f"end {job['tag']} {'result' if job['ok'] else 'exception'}"
             for what, job in timeline(eleven)],
            [x for x in expected if x.startswith(("start ", "end "))])
    same(f"{run.name}: the peak by the daemon's records", [f"peak {peak(eleven)}"], peak_line)
    same(f"{run.name}: the peak by counting processes", [f"peak {run.alive_peak}"], peak_line)
    c.timed_lines("cancelled before it started: it never did; running: it was ended",
                  [f"{job['tag']} {job['outcome']} started {job['started_us'] is not None}"
                   for job in more],
                  ["1 exited started True", "2 cancelled started False", "3 exited started True",
                   "4 cancelled started True", "5 exited started True"])
    c.that("one at a time, then two", peak(more[:3]) == 1 and peak(more) == 2, str(more))


def check_limited_as_completed(run, c):
    items = [x.split() for x in run.starting_with("item")]
    ideal = oracle.oracle(oracle.limited_as_completed, run.second)
    c.that("every item once, with its outcome",
           sorted((w[1], w[2]) for w in items) == sorted(x[1:] for x in ideal))
    c.that("asks for the next when there is room, not before",
           [int(w[4]) for w in items] == [min(100, 10 + i) for i in range(100)],
           str([w[4] for w in items]))
    if run.kind == IN_PROCESS:
        when = {name: at for at, name, _ in ideal}
        latest = late = 0.0
        for w in items:
            latest = max(latest, when.get(w[1], 0.0))
            late = max(late, latest - when.get(w[1], 0.0))
        # Equal times may change places.
        c.that("finish order", late < 1e-3, f"out of order by {late:.6f} s")
    else:
        hundred = [job for job in run.jobs if str(job["tag"]).isdigit()]
        c.finish_order("results as they finish", run.starting_with("item"), hundred)
        c.that("ten run at a time, by the daemon's records", peak(hundred) == 10,
               str(peak(hundred)))
        c.that("never more, by counting processes", 0 < run.alive_peak <= 10, str(run.alive_peak))
    same(f"{run.name}: exactly ten in flight", [x for x in run.lines if "peak_in_flight" in x],
         ["end result handed_over 100 peak_in_flight 10", "many_end result peak_in_flight 10"])
    same(f"{run.name}: a limit of 0 is refused", run.starting_with("limit_0"),
         ["limit_0 refused" if run.kind == PYTHON else "limit_0 invalid argument"])
    many = [[int(x) for x in line.split()[1::2]] for line in run.starting_with("many")]
    least = {IN_PROCESS: 1000000, REMOTE: 4000, PYTHON: 2000}[run.kind]
    c.that("very many", [n for n, _ in many] == [least * i // 4 for i in (1, 2, 3, 4)], str(many))
    if run.kind != IN_PROCESS:
        c.that("very many jobs", len(run.jobs) == 100 + least, str(len(run.jobs)))
    if SANITIZED and run.kind != PYTHON:
        return  # a sanitizer keeps freed memory for a while
    c.that("in flat memory", many and many[-1][1] - many[0][1] <= RSS_GROWTH_KIB, str(many))


def check_readme(runs, late_s):
    """examples/README.md names all fifteen and shows what some write."""
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    named = sorted(re.findall(r"`([\w/.]+)`(?= \|)", page))
    same("README.md: names all of them", named, sorted(
        {IN_PROCESS: "", REMOTE: "remote/", PYTHON: ""}[kind] + program +
        (".py" if kind == PYTHON else "") for program in SECONDS for kind in SECONDS[program]))
    (console,) = re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S)
    for shown in re.split(r"^\$ ", console, flags=re.M)[1:]:
        command, *expected = shown.splitlines()
        kind = REMOTE if "/remote/" in command else PYTHON if ".py" in command else IN_PROCESS
        program = re.search(r"examples/(?:remote/)?(\w+)", command)[1]
        (run,) = (r for r in runs if (r.program, r.kind) == (program, kind))
        if kind == PYTHON and late_s > STANDSTILL_S:
            continue  # as long as that, and the daemon's jobs may end in another order
        ours = [re.sub(r"(?<=rss_kib )\d+", "…", line) for line in run.lines]
        tail = re.search(r"tail -n (\d+)", command)
        same(f"README.md: {command}", ours[-int(tail[1]):] if tail else ours, expected)


CHECKS = {
    "as_completed": check_as_completed,
    "toolbox": check_toolbox,
    "how_as_completed_works": check_how_as_completed_works,
    "async_executor": check_async_executor,
    "limited_as_completed": check_limited_as_completed,
}


async def run_all(runs, watch):
    directory = tempfile.mkdtemp(prefix="slotd-examples-")
    try:
        await asyncio.gather(*(run.start_daemon(directory) for run in runs))
        watching = asyncio.ensure_future(watch.run())
        await asyncio.gather(*(run.run(watch) for run in runs))
        watching.cancel()
    finally:
        await asyncio.gather(*(run.stop_daemon() for run in runs))
        shutil.rmtree(directory, ignore_errors=True)


def main(names):
    runs = [Run(program, kind) for program in SECONDS for kind in (IN_PROCESS, REMOTE, PYTHON)
            if not names or program in names]
    watch = Watch()
    asyncio.run(run_all(runs, watch))
    for run in runs:
        try:
            CHECKS[run.program](run, Checker(run, watch))
        except Exception:  # what can't even be looked at
            check(f"{run.name}: is as it should be", False,
                  "\n".join(run.lines[-20:]) + "\n" + traceback.format_exc())
    if not names:
        check_readme(runs, max([watch.late_s] + [run.overslept_s() for run in runs]))
    print("%d passed, %d failed" % (counts["passed"], counts["failed"]) +
          (", %d skipped" % counts["skipped"] if counts["skipped"] else ""))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
