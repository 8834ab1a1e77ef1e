"""P6 to P9: the queue, beside other queues: what a submit costs, and what a long queue costs."""
import contextlib
import glob
import os
import re
import statistics

import peers
import run
from measuring import MANY, SPEC_BYTES, WINDOW, Figure, quotient, read_text
from run import Failed, Missing


def submits(b, store, count):
    with run.directory() as where, b.daemon(where, store=store, max_running=0) as d:
        return b.submit(d, count)


def puts(b, server, mode, durable, count):
    with run.directory() as where, server(where, durable) as s:
        return b.driver(mode, s.path, count, WINDOW, SPEC_BYTES)


def queue_sides(b, durable, ours, theirs):
    """slotd, beanstalkd and redis, each fresh for each round, as far as they are there."""
    sides = {"slotd": lambda: submits(b, "full" if durable else "memory", ours)}
    for name, program, server, mode in (("beanstalkd", "beanstalkd", peers.beanstalkd, "put"),
                                        ("redis", "redis-server", peers.redis, "rpush")):
        try:
            run.need(program)
            sides[name] = lambda s=server, m=mode: puts(b, s, m, durable, theirs)
        except Missing:
            pass
    return sides


def against_queues(b, durable, ours, theirs):
    r = b.alternate(**queue_sides(b, durable, ours, theirs))
    rate = run.median_of(r["slotd"])
    result = {key: quotient(r, "slotd", key) if key in r else
              Figure(None, f"skipped: install {package} (slotd {rate:,.0f}/s)")
              for key, package in (("beanstalkd", "beanstalkd"), ("redis", "redis-server"))}
    return result


def p6(b):
    """`driver submit` with max_running 0 over one connection, 64 requests in flight, argv of 150
    bytes; beanstalkd `put` and redis `RPUSH` of 150 bytes by the same loop."""
    return against_queues(b, False, b.count(200_000), b.count(200_000))


def flushes(b):
    """fdatasync and fsync of slotd, its start and end included, counted by strace, for 1,000
    acknowledged submits."""
    run.need("strace")
    n = b.count(50_000)
    with run.directory() as where:
        trace = os.path.join(where, "strace")
        # -D: slotd stays our child. --seccomp-bpf: it is stopped at these calls alone.
        wrap = ["strace", "-D", "-f", "--seccomp-bpf", "-q", "-e", "trace=fdatasync,fsync",
                "-o", trace]
        with b.daemon(where, store="full", max_running=0, wrap=wrap) as d:
            pid = d.pid
            b.raw["flushes"] = [b.submit(d, n)]
            commits = d.call("stats.get")["journal"]["commits"]
        run.wait_until(lambda: re.search(rf"^{pid} .*exited with", read_text(trace), re.M),
                       "the end of strace")
        calls = sum("sync(" in line for line in read_text(trace).splitlines())
    return Figure(calls * 1000 / n, f"{calls:,} for {n:,} acks in {commits:,} commits")


def p7(b):
    """As P6 with `durability=full`, every submit on the disk before its acknowledgement;
    `beanstalkd -b DIR -f0`; redis with `appendfsync always`. Flushes: calls of fdatasync and fsync
    by strace, in a run of its own."""
    result = against_queues(b, True, b.count(200_000), b.count(30_000))
    try:
        result["flushes"] = flushes(b)
    except Missing as missing:
        result["flushes"] = Figure(None, f"skipped: {missing}")
    return result


def p8(b):
    """Resident bytes of slotd (the engine) with a million pending jobs, argv of 150 bytes, less
    those of the empty one, for each job; beanstalkd with as many bodies of 150 bytes."""
    n = b.length(1_000_000)

    def slotd(store):
        with run.directory() as where, \
                b.daemon(where, store=store, max_running=0, settings=[MANY]) as d:
            before = run.rss_bytes(d.pid)
            b.submit(d, n)
            return (run.rss_bytes(d.pid) - before) / n

    def beanstalkd():
        with run.directory() as where, peers.beanstalkd(where) as s:
            before = run.rss_bytes(s.process.pid)
            b.driver("put", s.path, n, WINDOW, SPEC_BYTES)
            return (run.rss_bytes(s.process.pid) - before) / n

    try:
        run.need("beanstalkd")
        beside = f"beanstalkd {beanstalkd():,.0f} B"
    except Missing as missing:
        beside = f"beanstalkd skipped: {missing}"
    result = {store: slotd(store) for store in ("full", "memory")}
    b.raw.update(result)
    return {store: Figure(value, f"{n:,} pending; {beside}") for store, value in result.items()}


OPERATIONS = ("submit", "cancel", "list", "run")
OPERATION_NAMES = {"submit": "submit", "cancel": "cancel", "list": "page of 100",
                   "run": "start and finish"}
WALL_ROUNDS = 8
LIST_PAGE = '{"phase":"pending","limit":100,"cursor":@}'


class Backlog:
    """LENGTH jobs pending in DAEMON, as its first ones, and a few operations on them at a time:
    as many are submitted behind as are cancelled here and there or run from the front."""

    def __init__(self, b, daemon, length, rounds):
        self.b, self.daemon, self.length = b, daemon, length
        self.few = min(50, length // 20)
        self.step = length // 2 // self.few
        if self.step < rounds:
            raise Failed(f"{length} jobs are too few for {rounds} rounds")

    def operations(self, n):
        """Round N: name and what does it; each gives the driver's figures."""
        b, d, few = self.b, self.daemon, self.few
        middle = self.length // 2 + 1 + n
        return {
            "submit": lambda: b.submit(d, few),
            "cancel": lambda: b.driver("call", d.socket, few, WINDOW, "job.cancel",
                                       '{"jobs":[@]}', middle, self.step),
            "list": lambda: b.driver("call", d.socket, few, 1, "job.list", LIST_PAGE,
                                     middle - self.length // 4, self.step),
            "run": lambda: b.driver("run", d.socket, few, 4),
        }


def wall_us(b, store, lengths):
    """Medians of microseconds for one operation with so many jobs pending: {length: {name: µs}}. A
    daemon for each length; every round takes all of them in turn."""
    took = {length: {name: [] for name in OPERATIONS} for length in lengths}
    with contextlib.ExitStack() as stack:
        backlogs = []
        for length in lengths:
            where = stack.enter_context(run.directory())
            d = stack.enter_context(b.daemon(where, store=store, max_running=0, settings=[MANY]))
            b.submit(d, length)
            backlogs.append(Backlog(b, d, length, WALL_ROUNDS))
        for n in range(WALL_ROUNDS):
            for backlog in backlogs if n % 2 == 0 else reversed(backlogs):
                for name, operation in backlog.operations(n).items():
                    took[backlog.length][name].append(1e6 / operation()["per_s"])
    b.raw[f"wall_us_{store}"] = took
    return {length: {name: statistics.median(values) for name, values in operations.items()}
            for length, operations in took.items()}


def instructions(b, store, length):
    """The engine's instructions for one operation, counted by callgrind. It counts from the moment
    when the queue is as long as it is to be; with a journal that is filled without it."""
    with run.directory() as where:
        options = {"store": store, "max_running": 0, "settings": [MANY]}
        if store != "memory":
            with b.daemon(where, **options) as d:
                b.submit(d, length)
        out = os.path.join(where, "callgrind")
        wrap = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no",
                f"--callgrind-out-file={out}"]
        with b.daemon(where, wrap=wrap, **options) as d:
            if store == "memory":
                b.submit(d, length)
            control(d, "-i", "on")
            backlog, counts = Backlog(b, d, length, 2), {}
            for name in OPERATIONS:
                backlog.operations(0)[name]()  # what only a first one does
                control(d, "-z")
                backlog.operations(1)[name]()
                control(d, "-d")
                counts[name] = newest_total(out) / backlog.few
    return counts


def control(daemon, *words):
    run.output(["callgrind_control", *words, daemon.pid])


def newest_total(out):
    newest = max(glob.glob(out + ".*"), key=lambda path: int(path.rpartition(".")[2]))
    return int(re.search(r"^totals: (\d+)", read_text(newest), re.M)[1])


def growth(short, long, unit):
    """The operation that grows most from the SHORT queue to the LONG one."""
    ratios = {name: long[name] / short[name] for name in OPERATIONS}
    worst = max(ratios, key=ratios.get)
    return Figure(ratios[worst], "; ".join(
        f"{OPERATION_NAMES[name]} {short[name]:,.0f} → {long[name]:,.0f}{unit}"
        for name in OPERATIONS))


def p9(b):
    """With 10^3 and with 10^6 pending: 50 submits, 50 cancels spread over the queue, 50 pages of
    100 jobs beginning here and there, 50 jobs from the front started and finished; the figure is
    that of the operation that grows most. Wall: medians of eight rounds that take the lengths in
    turn, by the driver, so that a start and finish has the kernel's part too. Instructions: of the
    engine, by callgrind."""
    lengths = sorted({max(1000, b.length(10 ** e)) for e in (3, 4, 5, 6)})
    short, long = lengths[0], lengths[-1]
    result = {}
    for store in ("memory", "full"):
        each = wall_us(b, store, lengths if store == "memory" else [short, long])
        result[f"wall_{store}"] = growth(each[short], each[long], " µs")
        if store == "memory":
            b.series["length"] = {OPERATION_NAMES[name]: [(n, each[n][name]) for n in lengths]
                                  for name in OPERATIONS}
    for store in ("memory", "full"):
        try:
            run.need("callgrind_control", "valgrind")
            each = {n: instructions(b, store, n) for n in (short, long)}
            b.raw[f"instructions_{store}"] = each
            result[f"instructions_{store}"] = growth(each[short], each[long], "")
        except Missing as missing:
            result[f"instructions_{store}"] = Figure(None, f"skipped: {missing}")
    return result
