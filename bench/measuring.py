"""What all measures use: the words of the table, and a Bench, which says how often and how much and
runs our own programs.
"""
import os
import struct
import sys
import time
from dataclasses import dataclass, field

import run
from run import Daemon

MANY = "executor.max_pending=20000000"
WINDOW = 64  # requests in flight, or jobs not done
SPEC_BYTES = 150
TRUE = "/bin/true"
MIB = 1 << 20


@dataclass(frozen=True)
class Size:
    """How often and how much: of rounds, of what a round does, of the long queues."""
    rounds: int
    share: float
    length: float


FULL = Size(5, 1, 1)
QUICK = Size(3, 0.1, 0.05)


@dataclass(frozen=True)
class Figure:
    """value None: there is none, and detail says why."""
    value: float
    detail: str = ""


@dataclass(frozen=True)
class Row:
    key: str
    what: str
    sign: str  # ≥ or ≤ the target; empty: recorded, and the target is None
    target: float
    unit: str = ""


@dataclass(frozen=True)
class Measure:
    name: str
    what: str
    function: object
    rows: tuple


@dataclass
class Bench:
    build: str
    source: str
    size: Size
    series: dict = field(default_factory=dict)  # for the plots
    raw: dict = field(default_factory=dict)  # of the measure that runs

    def count(self, n):
        return max(4, int(n * self.size.share))

    def length(self, n):
        return max(100, int(n * self.size.length))

    def tool(self, name):
        return os.path.join(self.build, "bench", name)

    def driver(self, *words):
        return run.figures([self.tool("driver"), *words])

    def reference(self, *words):
        return run.figures([self.tool("reference"), *words])

    def daemon(self, where, **options):
        return Daemon(self.build, where, **options)

    def jobs(self, daemon, count, window=WINDOW):
        return self.driver("jobs", daemon.socket, count, window, TRUE)

    def submit(self, daemon, count, spec_bytes=SPEC_BYTES):
        """Only submits; the argv has SPEC_BYTES bytes as JSON."""
        padding = "x" * max(0, spec_bytes - len(f'"{TRUE}",""'))
        return self.driver("submit", daemon.socket, count, WINDOW, TRUE, padding)

    def alternate(self, **sides):
        """Figures of each side, by its name."""
        results = dict(zip(sides, run.alternate(self.size.rounds, *sides.values())))
        self.raw.update(results)
        return results


def quotient(results, ours, theirs, key="per_s", unit="/s"):
    """The median of one side over that of the other."""
    a, b = run.median_of(results[ours], key), run.median_of(results[theirs], key)
    return Figure(a / b, f"{a:,.0f}{unit} ÷ {b:,.0f}{unit}")


def spread(values):
    return f"{min(values):,.2f} … {max(values):,.2f}"


def percentile(values, share):
    return values[min(len(values) - 1, int(share * len(values)))]


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def say(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


def measure_one(bench, measure):
    """Its part of the document; what goes wrong is a figure too."""
    bench.raw = {}
    begun = time.monotonic()
    failed = False
    try:
        figures = measure.function(bench)
    except run.Missing as missing:
        figures = {row.key: Figure(None, f"skipped: {missing}") for row in measure.rows}
    except Exception as error:  # the other measures go on
        failed = True
        say(f"{measure.name}: {type(error).__name__}: {error}")
        figures = {row.key: Figure(None, f"failed: {error}") for row in measure.rows}
    return failed, {"figures": {key: [f.value, f.detail] for key, f in figures.items()},
                    "raw": bench.raw, "seconds": round(time.monotonic() - begun, 1)}


# ---- what jobs note of themselves ----------------------------------------------------------------

ENTRY = struct.Struct("=QQ")


class Sheet:
    """The file in which jobs note their start and end; see stamp.c."""

    def __init__(self, path, room):
        self.path = path
        with open(path, "wb") as f:
            f.truncate(8 + room * ENTRY.size)

    def entries(self):
        """(started, ended) in nanoseconds of those that have ended, in their order."""
        with open(self.path, "rb") as f:
            count, = struct.unpack("=Q", f.read(8))
            entries = ENTRY.iter_unpack(f.read(count * ENTRY.size))
        return sorted(entry for entry in entries if entry[1] != 0)

    def first_since(self, seconds):
        """When the first one after SECONDS started, in seconds; None if none has ended yet."""
        return next((start / 1e9 for start, _ in self.entries() if start / 1e9 > seconds), None)

    def gaps_us(self):
        """From each end to the next start."""
        entries = self.entries()
        return sorted((start - end) / 1000 for (_, end), (start, _) in zip(entries, entries[1:]))
