#!/usr/bin/env python3
"""Runs CPython's tests of concurrent.futures and asyncio's futures on slotd's; see README.md.

    tests/cpython/run.py [CLASS[.TEST]...]    e.g. concurrent.WaitTests.test_timeout

The last line is "N passed, N failed[, N skipped]". SLOT_BUILD_DIR: where slotd was built.
SLOT_TEST_PYTHON: the Python whose tests are run, else the first that has them.
"""
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "functional")]

import cases  # noqa: E402
from slottest.daemon import Daemon  # noqa: E402
from slottest.timing import SANITIZE  # noqa: E402

PYTHONS = ("python3", "/usr/bin/python3")
PART = {"concurrent": 3, "asyncio": 100}  # tests that one process runs: the former sleep
PARTS_AT_ONCE = 10
PART_SECONDS = 240
MAX_RUNNING = 64  # the adapter's queues have limits of their own


def find_python():
    """A Python that comes with its tests, or None."""
    named = os.environ.get("SLOT_TEST_PYTHON")
    for python in [named] if named else PYTHONS:
        path = shutil.which(python)
        imports = "import test.support, " + ", ".join(cases.SUITES.values())
        if path and subprocess.run([path, "-c", imports], capture_output=True).returncode == 0:
            return path
    return None


def parts(python, names):
    """[class, tests...] for each process to start."""
    listed = subprocess.run([python, str(HERE / "cases.py"), "--tests"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.split()
    chosen = [full for full in listed
              if not names or full in names or full.rpartition(".")[0] in names]
    by_class = {}
    for full in chosen:
        cls, _, test = full.rpartition(".")
        by_class.setdefault(cls, []).append(test)
    found = []
    for cls, tests in by_class.items():
        size = PART[cls.partition(".")[0]]
        found += [[cls, *tests[at:at + size]] for at in range(0, len(tests), size)]
    return found


async def run_part(part, python, socket, turns):
    """Runs one part; (passed, failed, skipped), and what it said if a test failed."""
    async with turns:
        child = await asyncio.create_subprocess_exec(
            python, str(HERE / "cases.py"), *part, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "SLOTD_SOCKET": str(socket)})
        try:
            out, _ = await asyncio.wait_for(child.communicate(), PART_SECONDS)
        except asyncio.TimeoutError:
            child.kill()
            await child.wait()
            out = f"killed after {PART_SECONDS} s".encode()
    text = out.decode("utf-8", "replace")
    words = text.splitlines()[-1].split() if text.strip() else []
    if child.returncode not in (0, 1) or len(words) != 6:
        return (0, len(part) - 1, 0), f"{' '.join(part)}: exit {child.returncode}\n{text}"
    counts = (int(words[0]), int(words[2]), int(words[4]))
    return counts, text if counts[1] else ""


async def run(python, names):
    directory = tempfile.mkdtemp(prefix="slotd-cpython-")
    daemon = Daemon(directory, max_running=MAX_RUNNING)
    turns = asyncio.Semaphore(PARTS_AT_ONCE)
    try:
        await daemon.start()
        results = await asyncio.gather(*(run_part(part, python, daemon.socket, turns)
                                         for part in parts(python, names)))
        await daemon.stop()
    finally:
        if daemon.alive():
            await daemon.kill()
        daemon.end_launcher()
        shutil.rmtree(directory, ignore_errors=True)
    for _, text in results:
        if text:
            print(text)
    return [sum(counts[i] for counts, _ in results) for i in range(3)]


def check_table(python):
    """(passed, failed, skipped) of the table against that Python's tests."""
    p = subprocess.run([python, str(HERE / "cases.py"), "--check"], text=True,
                       stdout=subprocess.PIPE)
    if p.returncode == 0:
        return 1, 0, 0
    release = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], check=True,
                             text=True, stdout=subprocess.PIPE).stdout
    new = tuple(map(int, release.split())) > cases.KNOWN
    print(f"{'skipped' if new else 'FAILED'}: README.md's table, for {python}:\n{p.stdout}")
    return 0, int(not new), int(new)


def main(names):
    if SANITIZE:
        print("skipped: CPython's tests are about Python; they run in the plain build")
        return 77
    python = find_python()
    if python is None:
        print(f"skipped: no Python here ({', '.join(PYTHONS)}) comes with its tests "
              "(Debian: libpython3.X-testsuite)")
        return 77
    counts = (0, 0, 0) if names else check_table(python)
    passed, failed, skipped = map(sum, zip(counts, asyncio.run(run(python, names))))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
