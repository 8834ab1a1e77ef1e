#!/usr/bin/env python3
"""Runs the tests of the Python package. The last line is "N passed, N failed[, N skipped]".

    tests/python/run.py [NAME...]    names as unittest takes them: test_aio.Map, ...

Without names each class runs in a process of its own, a few at a time; in a sanitized build only
those that start a slotd of it. SLOT_BUILD_DIR: where slotd was built.
"""
import concurrent.futures
import io
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
PROCESSES = 4  # most of the time they wait


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def sanitized():
    status = Path(os.environ.get("SLOT_BUILD_DIR") or HERE.parents[1] / "build") / "config.status"
    return status.exists() and "-fsanitize" in status.read_text("utf-8", "replace")


def classes():
    """Names of the classes that have tests; an import that fails is a class of unittest's."""
    from support import Case
    found = {type(test) for test in flatten(unittest.defaultTestLoader.discover(str(HERE)))}
    if sanitized():
        found = {cls for cls in found if issubclass(cls, Case) or not cls.__module__.startswith("test_")}
    return sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in found)


def run_here(names):
    out = io.StringIO()
    result = unittest.TextTestRunner(stream=out, verbosity=1).run(
        unittest.defaultTestLoader.loadTestsFromNames(names))
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    if failed:
        print(out.getvalue())
    for test, why in result.skipped:
        print(f"skipped: {test}: {why}")
    return result.testsRun - failed - skipped, failed, skipped


def run_apart(name):
    try:
        done = subprocess.run([sys.executable, *(f"-W{w}" for w in sys.warnoptions), __file__, name],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400)
        said = done.stdout
    except subprocess.TimeoutExpired as late:
        said = f"{late.output}\n{name}: not done in 400 s\n"
    rows = said.splitlines()
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", rows[-1] if rows else "")
    if counts is None:
        return said, (0, 1, 0)
    return "\n".join(rows[:-1]), tuple(int(n or 0) for n in counts.groups())


def main(names):
    if names:
        counts = run_here(names)
    else:
        counts = (0, 0, 0)
        with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
            for said, some in pool.map(run_apart, classes()):
                if said:
                    print(said, flush=True)
                counts = tuple(map(sum, zip(counts, some)))
    passed, failed, skipped = counts
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
