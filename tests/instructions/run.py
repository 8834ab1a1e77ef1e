#!/usr/bin/env python3
"""Whether slotd needs more instructions than it did: counts those of fixed scenarios with callgrind
and compares them with `recorded.json` beside this file.

usage: run.py [--record | --repeat N | --json | --list] [SCENARIO…]

A count of more than 5 % above the recorded one fails; one that far below says that it should be
recorded anew, with --record.  Counts belong to a compiler, its flags and the libraries: where
these are others than they were recorded with, nothing is compared.  --repeat measures N times and
prints the spread.  $SLOT_BUILD_DIR names the build, else `build` beside the sources.  The last line
is `N passed, N failed, N skipped`.
"""

import argparse
import concurrent.futures
import contextlib
import io
import json
import os
import re
import signal
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import lockstep  # noqa: E402

BUILD = Path(os.environ.get("SLOT_BUILD_DIR") or HERE.parent.parent / "build").resolve()
RECORDED = HERE / "recorded.json"
TOLERANCE = 0.05
AT_ONCE = 2
CORE_TIMES = 2          # core_executor does all of it twice


# ---- what is counted -----------------------------------------------------------------------------

class Slope:
    """What a scenario takes per unit: a long run less a short one, so that start and end of the
    programs drop out.  `parts` names the counts that a run gives."""

    def __init__(self, parts, measure, short, long, units=1):
        self.parts, self.measure = parts, measure
        self.short, self.long, self.units = short, long, units

    def runs(self):
        return [partial(self.measure, self.long), partial(self.measure, self.short)]

    def counts(self, results):
        long, short = results
        share = (self.long - self.short) * self.units
        return {part: round((long[i] - short[i]) / share) for i, part in enumerate(self.parts)}


def core(way, actions):
    """A run of the executor alone."""
    with tempfile.TemporaryDirectory(prefix="slot-count-", dir="/tmp") as tmp:
        command = lockstep.callgrind(f"{tmp}/count",
                                     [f"{BUILD}/bench/core_executor", way, str(actions)])
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                             env=lockstep.environment(tmp), check=False)
        count = lockstep.total(f"{tmp}/count")
        if run.returncode != 0 or count is None:
            raise lockstep.Trouble(f"{' '.join(command)}: {run.stderr.strip()}")
        return [count]


def scenarios():
    return [
        Slope(["engine job, durable", "launcher job, durable"],
              lambda n: lockstep.lockstep(BUILD, "full", n), 20, 80),
        Slope(["engine job", "launcher job"],
              lambda n: lockstep.lockstep(BUILD, "memory", n), 20, 220),
        Slope(["engine submit"], lambda n: lockstep.submit(BUILD, n), 2, 18, lockstep.WINDOW),
        Slope(["engine replayed completion"],
              lambda n: lockstep.replay(BUILD, n), 2, 14, lockstep.HISTORY),
        Slope(["core action, window"], lambda n: core("window", n), 2000, 20000, CORE_TIMES),
        Slope(["core action, backlog"], lambda n: core("backlog", n), 2000, 20000,
              CORE_TIMES),
    ]


def measure(chosen):
    """The counts by name, of several scenarios at a time."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        going = [(one, [pool.submit(run) for run in one.runs()]) for one in chosen]
        found = {}
        for one, runs in going:
            found.update(one.counts([run.result() for run in runs]))
        return found


# ---- what it depends on --------------------------------------------------------------------------

def output(*argv):
    run = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, encoding="utf-8", check=False)
    return run.stdout.strip()


def compilers(program):
    """As they signed the program."""
    names = re.findall(rb"\0((?:GCC: \(|[\w ]*clang version )[ -~]+)\0", program.read_bytes())
    return ", ".join(sorted({name.decode() for name in names}))


def variables():
    """Of the build's Makefile."""
    text = (BUILD / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+) = (.*)$", text, re.M))


def flags():
    """What the build was asked for. (What configure adds of its own is ours, as the sources are: a
    change of it is to be judged.)"""
    made = variables()
    words = " ".join(made.get(name, "") for name in ("CPPFLAGS", "CFLAGS", "LDFLAGS")).split()
    launcher = "static" if "-all-static" in made.get("slotd_launcher_LDFLAGS", "") else "dynamic"
    return " ".join([*(word for word in words if word != "-g"), f"({launcher} launcher)"])


def circumstances():
    return {
        "machine": os.uname().machine,
        "compiler": compilers(BUILD / "slotd"),
        "flags": flags(),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
        "libevent": output("pkg-config", "--modversion", "libevent_core"),
        "jansson": output("pkg-config", "--modversion", "jansson"),
        "sqlite": output("pkg-config", "--modversion", "sqlite3"),
        "valgrind": output("valgrind", "--version"),
    }


def hindrance():
    """Why nothing can be counted here at all, or None."""
    if not (BUILD / "Makefile").exists():
        sys.exit(f"no build in {BUILD}: build first, or set SLOT_BUILD_DIR")
    if not shutil.which("valgrind"):
        return "there is no valgrind"
    if "-fsanitize" in variables().get("SLOT_CFLAGS", "") + flags():
        return "a build with sanitizers"
    with tempfile.TemporaryDirectory() as tmp:
        command = lockstep.callgrind(f"{tmp}/count", [f"{BUILD}/slotd", "--version"])
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                             env=lockstep.environment(tmp), check=False)
        if run.returncode != 0 or lockstep.total(f"{tmp}/count") is None:
            return f"slotd doesn't run under valgrind: {run.stderr.strip()[-300:]}"
    return None


def differences(recorded, here):
    return "; ".join(f"{name} is {here.get(name)!r}, recorded with {recorded.get(name)!r}"
                     for name in sorted({*recorded, *here})
                     if recorded.get(name) != here.get(name))


# ---- comparing -----------------------------------------------------------------------------------

def row(name, recorded, count):
    if recorded is None:
        return f"{name:28} {count:>12,}  not recorded"
    return f"{name:28} {count:>12,}  {100 * (count / recorded - 1):+.1f} %"


def compare(recorded, counts):
    """Prints a row each; the names of those that are more, or that nobody recorded."""
    worse = []
    for name, count in counts.items():
        before = recorded.get(name)
        print(row(name, before, count))
        if before is None or count > before * (1 + TOLERANCE):
            worse.append(name)
        elif count < before * (1 - TOLERANCE):
            print("    less than what is recorded: record it anew with tests/instructions/run.py "
                  "--record")
    return worse


def check_comparing():
    """That the comparison finds what it is there to find; the number of cases, and failures."""
    cases = [(0.94, ["x"], False), (0.952, ["x"], False), (0.955, [], False), (1.0, [], False),
             (1.05, [], False), (1.06, [], True), (None, ["x"], False)]
    failed = 0
    for share, worse, hint in cases:    # of the count of today that is recorded
        recorded = {} if share is None else {"x": round(100000 * share)}
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            found = compare(recorded, {"x": 100000})
        if found != worse or ("--record" in said.getvalue()) != hint:
            failed += 1
            print(f"{recorded} and 100000: {found}, {said.getvalue()!r}")
    return len(cases), failed


def check(chosen):
    """(passed, failed, skipped)"""
    cases, failed = check_comparing()
    passed = cases - failed
    parts = [part for one in chosen for part in one.parts]
    reason = hindrance()
    recorded = {} if reason else json.loads(RECORDED.read_text(encoding="utf-8"))
    reason = reason or differences(recorded["with"], circumstances())
    if reason:
        print(f"skipped: instructions: {reason}")
        return passed, failed, len(parts)
    try:
        worse = compare(recorded["instructions"], measure(chosen))
        if worse:
            print("more than 5 % above what is recorded; once more")
            again = measure([one for one in chosen if set(one.parts) & set(worse)])
            worse = [name for name in compare(recorded["instructions"], again) if name in worse]
    except lockstep.Trouble as trouble:
        print(f"not counted: {trouble}")
        worse = parts
    return passed + len(parts) - len(worse), failed + len(worse), 0


def record():
    reason = hindrance()
    if reason:
        print(f"nothing recorded: {reason}")
        return 1
    counts = measure(scenarios())
    old = json.loads(RECORDED.read_text(encoding="utf-8"))["instructions"] \
        if RECORDED.exists() else {}
    for name, count in counts.items():
        print(row(name, old.get(name), count))
    text = json.dumps({"with": circumstances(), "instructions": counts}, indent=1)
    RECORDED.write_text(text + "\n", encoding="utf-8")
    return 0


def repeat(chosen, times):
    reason = hindrance()
    if reason:
        print(f"nothing counted: {reason}")
        return 1
    seen = [measure(chosen) for _ in range(times)]
    for name in seen[0]:
        values = [counts[name] for counts in seen]
        low, high = min(values), max(values)
        print(f"{name:28} {low:>12,} … {high:>12,}  spread {100 * (high - low) / low:.2f} %")
    return 0


def print_counts(chosen):
    reason = hindrance()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    print(json.dumps(measure(chosen)))
    return 0


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="SCENARIO", help="part of a name")
    parser.add_argument("--record", action="store_true", help="write recorded.json")
    parser.add_argument("--repeat", type=int, default=0, metavar="N", help="print the spread")
    parser.add_argument("--json", action="store_true", help="only count")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    options = parser.parse_args()
    chosen = [one for one in scenarios() if not options.patterns or
              any(p in part for p in options.patterns for part in one.parts)]
    if options.list:
        print("\n".join(part for one in chosen for part in one.parts))
        return 0
    if options.record:
        return record()
    if options.json:
        return print_counts(chosen)
    if options.repeat:
        return repeat(chosen, options.repeat)
    passed, failed, skipped = check(chosen)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    sys.exit(main())
