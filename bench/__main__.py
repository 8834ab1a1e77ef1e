"""script/bench: how fast slotd is, beside the kernel and beside its peers."""
import argparse
import json
import os
import signal
import subprocess
import sys

import report
import run
from measures import MEASURES
from measuring import FULL, QUICK, Bench, measure_one, say

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE_S = 30  # for the machine to become quiet
PROGRAMS = ("slotd", "slotd-launcher", "slotctl", "bench/driver", "bench/reference", "bench/stamp",
            "bench/core_executor")
EPILOG = """\
The full run takes about a quarter of an hour on a quiet machine, and rewrites bench/RESULTS.md and
its plots; a run of some measures, a quick one or one with --no-write doesn't. A target that is
missed is written as "miss" and is no failure: the status is 1 if something could not be measured.

Peers, for P3, P6 and P7: apt-get install parallel task-spooler nq beanstalkd redis-server;
strace for P7's flushes, valgrind for P9's instructions. What is missing is skipped.

BUILD_DIR: where to build (build/). SLOT_BUILD_DIR: a build that is taken as it is. TMPDIR: the disk
on which durable things are measured; not a tmpfs.
"""


def parse():
    p = argparse.ArgumentParser(prog="script/bench", description=__doc__, epilog=EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    p.add_argument("--list", action="store_true", help="what there is to measure, and the targets")
    p.add_argument("--quick", action="store_true",
                   help="fewer and shorter runs, queues a twentieth as long, in two minutes")
    p.add_argument("--json", metavar="FILE", help="keep all figures there")
    p.add_argument("--from", nargs="+", metavar="FILE", dest="kept",
                   help="measure nothing, take what --json kept, where twice the later")
    p.add_argument("--no-write", action="store_true", help="leave bench/RESULTS.md and plots alone")
    p.add_argument("--noisy", action="store_true", help="measure although others use the machine")
    args = p.parse_args()
    known = {measure.name.lower(): measure for measure in MEASURES}
    for name in args.names:
        if name.lower() not in known:
            p.error(f"{name}: not one of {', '.join(m.name for m in MEASURES)}")
    args.chosen = [known[name.lower()] for name in args.names] or list(MEASURES)
    return args


def show_list():
    for measure in MEASURES:
        print(f"{measure.name:<7} {measure.what}")
        for row in measure.rows:
            target = f"{row.sign} {row.target:,g} {row.unit}" if row.sign else "recorded"
            print(f"        {row.what:<62} {target}".rstrip())


def built():
    """The directory of an optimised build."""
    taken = os.environ.get("SLOT_BUILD_DIR")
    build = taken or os.environ.get("BUILD_DIR") or os.path.join(SOURCE, "build")
    if not taken:
        bootstrap = os.path.join(SOURCE, "script", "bootstrap")
        if subprocess.run([bootstrap], stdout=sys.stderr, check=False).returncode != 0:
            sys.exit("bench: the build failed")
    build = os.path.abspath(build)
    for program in PROGRAMS:
        if not os.access(os.path.join(build, program), os.X_OK):
            sys.exit(f"bench: {build} has no {program}")
    with open(os.path.join(build, "Makefile"), encoding="utf-8") as f:
        flags = [line for line in f if line.startswith(("SLOT_CFLAGS =", "CFLAGS ="))]
    if any("-fsanitize" in line for line in flags):
        sys.exit(f"bench: {build} has sanitizers; that would measure them")
    if not any("-O2" in line or "-O3" in line for line in flags):
        sys.exit(f"bench: {build} isn't optimised")
    return build


def measure_all(args):
    build = built()
    size = QUICK if args.quick else FULL
    document = report.new(SOURCE, "quick" if args.quick else "full")
    bench = Bench(build, SOURCE, size, document["series"])
    failures = 0
    if document["machine"]["disk"] in ("tmpfs", "ramfs"):
        say("temporary files are on a tmpfs: durable figures say little; set TMPDIR")
    for n, measure in enumerate(args.chosen):
        busy = run.wait_quiet(0 if args.noisy else PATIENCE_S)
        if busy > run.QUIET_SHARE and n == 0 and not args.noisy:
            sys.exit(f"bench: others use {busy:.0%} of the CPUs; wait, or say --noisy")
        failed, found = measure_one(bench, measure)
        if busy > run.QUIET_SHARE:
            say(f"{measure.name}: others used {busy:.0%} of the CPUs before it")
            found["busy"] = busy
        found["size"] = document["size"]
        say(f"{measure.name}: {measure.what}: {found['seconds']:.0f} s")
        document["measures"][measure.name] = found
        failures += failed
    return document, failures


def main():
    args = parse()
    if args.list:
        show_list()
        return 0
    failures = 0
    if args.kept:
        documents = []
        for path in args.kept:
            with open(path, encoding="utf-8") as f:
                documents.append(json.load(f))
        document = report.merge(documents)
    else:
        document, failures = measure_all(args)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(document, f, indent=1)
            f.write("\n")
    print(report.table(document), end="")
    print(report.count(document))
    whole = all(measure.name in document["measures"] for measure in MEASURES)
    if whole and document["size"] != "quick" and not args.no_write:
        report.write(document, os.path.join(SOURCE, "bench"))
    return 1 if failures else 0


def ended(*_):
    """What was started ends too."""
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, ended)
    try:
        sys.exit(main())
    except BrokenPipeError:  # `script/bench --list | head`
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
