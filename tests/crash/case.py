"""What every crash case is given, and what it may raise."""

import ctypes
import os
import random
import shutil
import traceback
from pathlib import Path

from daemon import Daemon


class Skip(Exception):
    """The case can't be run here; the reason."""


class Failed(Exception):
    """Violations, one a line."""

    def __init__(self, violations):
        super().__init__("\n".join(violations))
        self.violations = violations


class Context:
    """One case: a directory that is removed afterwards, a seed, figures for the table."""

    def __init__(self, tmp, seed, program):
        self.tmp = Path(tmp)
        self.seed = seed
        self.program = program      # the compiled job.c
        self.rng = random.Random(seed)
        self.figures = {}
        self.daemons = []
        self.loads = []
        self.count = 0

    def room(self):
        """A fresh directory."""
        self.count += 1
        path = self.tmp / str(self.count)
        path.mkdir()
        return path

    def daemon(self, tmp, **options):
        made = Daemon(tmp, **options)
        self.daemons.append(made)
        return made

    def load(self, made):
        self.loads.append(made)
        return made

    def add(self, name, amount=1):
        self.figures[name] = self.figures.get(name, 0) + amount

    def most(self, name, amount):
        self.figures[name] = max(self.figures.get(name, 0), amount)

    def clean(self):
        for load in self.loads:
            load.stop()
        for one in self.daemons:
            one.destroy()
        shutil.rmtree(self.tmp, ignore_errors=True)

    def expect(self, condition, text):
        if not condition:
            raise Failed([text])

    def explain(self, exc):
        """The failure with what helps to understand it."""
        text = "\n".join(exc.violations[:40]) if isinstance(exc, Failed) else \
            "".join(traceback.format_exception(exc)).strip()
        for one in self.daemons[-1:]:
            text += f"\n--- log of slotd:\n{one.log_tail(2500)}"
        for load in self.loads[-1:]:
            board = load.board
            text += (f"\n--- load: {len(board.acked)} acknowledged, {len(board.done)} seen done, "
                     f"refused {board.refused}")
        return text


def need_root():
    if os.geteuid() != 0:
        raise Skip("not root")


CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source, target, flags, kind=None, data=None):
    as_bytes = [None if x is None else os.fsencode(x) for x in (source, target, kind, data)]
    if LIBC.mount(as_bytes[0], as_bytes[1], as_bytes[2], flags, as_bytes[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def umount(target):
    if LIBC.umount2(os.fsencode(target), 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def own_mounts():
    """A mount namespace of this process: its mounts are gone when it is."""
    need_root()
    if LIBC.unshare(CLONE_NEWNS) != 0:
        raise Skip(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    mount("none", "/", MS_REC | MS_PRIVATE)
