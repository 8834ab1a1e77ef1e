#!/usr/bin/env python3
"""What slotd-launcher promises, tried on the real one without an engine.

SLOT_BUILD_DIR names the directory with the binary. As root everything runs a second time as an
ordinary user. Arguments: names of tests to run alone.
"""
import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import is_root, run_tests  # noqa: E402
import starting  # noqa: E402, F401  each registers its tests
import trees  # noqa: E402, F401
import ending  # noqa: E402, F401
import records  # noqa: E402, F401
import load  # noqa: E402, F401
import corners  # noqa: E402, F401
import durable  # noqa: E402, F401
import upgrade  # noqa: E402, F401
import kernels  # noqa: E402, F401


def as_user(only):
    """All tests once more without privilege; (passed, failed, skipped)."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.environ["HOME"] = "/"
        os.chdir("/")
        result = run_tests(only)
        os.write(w, struct.pack("III", *result))
        os._exit(0)
    os.close(w)
    data = os.read(r, 12)
    os.close(r)
    os.waitpid(pid, 0)
    return struct.unpack("III", data) if len(data) == 12 else (0, 1, 0)


def reachable_by_user(path):
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def main():
    only = set(sys.argv[1:])
    os.environ.setdefault("SLOT_BUILD_DIR", os.getcwd())
    binary = os.path.join(os.path.abspath(os.environ["SLOT_BUILD_DIR"]), "slotd-launcher")
    totals = run_tests(only)
    if is_root() and not reachable_by_user(binary):
        print("an ordinary user can't reach %s: not run as one" % binary)
    elif is_root():
        print("as an ordinary user:")
        totals = [a + b for a, b in zip(totals, as_user(only))]
    print("%d passed, %d failed, %d skipped" % tuple(totals) if totals[2] else
          "%d passed, %d failed" % tuple(totals[:2]))
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
