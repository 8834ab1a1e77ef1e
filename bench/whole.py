"""P10 to P15: the executor in process, maps, subscribers, an idle daemon, its instructions, its
recovery.
"""
import contextlib
import json
import os
import statistics
import subprocess
import time

import peers
import run
from measuring import MANY, MIB, TRUE, WINDOW, Figure, Sheet, quotient, spread
from run import Failed


def p10(b):
    """Actions that do nothing, all submitted before the first one starts (bench/core_executor.c),
    limit 4; the AsyncExecutor pattern in asyncio (bench/asyncio_executor.py) likewise, at 10^5 and
    at 10^6, the faster of the two: a longer one takes its memory and its minutes. Both do it twice
    and count the second time, when their memory has been got from the kernel once."""
    lengths = [b.length(10 ** e) for e in (4, 5, 6, 7)]
    sides = {str(n): lambda n=n: run.figures([b.tool("core_executor"), "backlog", n])
             for n in lengths}
    sides["window"] = lambda: run.figures([b.tool("core_executor"), "window", lengths[2]])
    sides["asyncio"] = lambda: peers.asyncio_actions(lengths[1])
    sides["asyncio6"] = lambda: peers.asyncio_actions(lengths[2])
    r = b.alternate(**sides)
    rate = {name: run.median_of(results) for name, results in r.items()}
    every = ", ".join(f"{n:,}: {rate[str(n)] / 1e6:,.1f} M/s" for n in lengths)
    b.series["executor"] = [(n, rate[str(n)]) for n in lengths]
    best = max(rate["asyncio"], rate["asyncio6"])
    beside = (f"asyncio {rate['asyncio']:,.0f}/s at {lengths[1]:,}, {rate['asyncio6']:,.0f}/s "
              f"at {lengths[2]:,}")
    first = run.median_of(r[str(lengths[3])], "first_per_s")
    return {"million": Figure(rate[str(lengths[2])] / best, beside),
            "slowest": Figure(min(rate[str(n)] for n in lengths) / best,
                              f"{every} (the first time {first / 1e6:,.1f}); "
                              f"window of 1,000: {rate['window'] / 1e6:,.1f} M/s")}


def p11(b):
    """`slotctl map -- /bin/true {}` of a file of lines: resident memory of slotctl and of slotd when
    the 10^5th job is done, and again just before the last one is."""
    last = b.length(1_000_000)
    first = min(last // 2, max(b.length(100_000), 20_000))  # history is full by then
    with run.directory() as where, b.daemon(where) as d:
        with open(os.path.join(where, "lines"), "w+", encoding="ascii") as lines:
            lines.writelines(f"{n}\n" for n in range(1, last + 1))
            lines.seek(0)
            client = subprocess.Popen(
                [os.path.join(b.build, "slotctl"), "--socket", d.socket, "map", "--", TRUE, "{}"],
                stdin=lines, stdout=subprocess.DEVNULL, env=d.environ)
        try:
            seen = []  # (jobs done, of slotctl, of slotd)
            while client.poll() is None:
                with contextlib.suppress(Failed, FileNotFoundError):  # it ends just now
                    sample = (run.rss_bytes(client.pid), run.rss_bytes(d.pid))
                    seen.append((d.call("stats.get")["completed"], *sample))
                time.sleep(0.1)
        finally:
            run.end(client)
    if client.returncode != 0:
        raise Failed(f"slotctl map ended with {client.returncode}")
    _, client1, engine1 = next(sample for sample in seen if sample[0] >= first)
    done, client2, engine2 = seen[-1]
    b.raw["resident"] = seen[::max(1, len(seen) // 200)]
    grown = client2 + engine2 - client1 - engine1
    return {"growth": Figure(grown / MIB, f"to line {done:,}; "
                             f"slotctl {client1 / MIB:.1f} → {client2 / MIB:.1f} MiB, "
                             f"slotd {engine1 / MIB:.1f} → {engine2 / MIB:.1f} MiB")}


def p12(b):
    """100 connections subscribe from `since_seq` 0 at once and read 10,000 completions each.
    Stalled: `driver jobs`, four at a time, beside a subscriber that asked for all and reads
    nothing, and without it; the 99th percentile of submit to completion."""
    n, subscribers = b.length(10_000), 100
    with run.directory() as where, b.daemon(where) as d:
        b.jobs(d, n)
        replay = b.alternate(
            replay=lambda: b.driver("replay", d.socket, n, subscribers))["replay"]

        def beside_stalled():
            stalled = subprocess.Popen([b.tool("driver"), "stall", d.socket], text=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            try:
                stalled.stdout.readline()
                return b.jobs(d, b.count(4000), 4)
            finally:
                run.end(stalled)
                stalled.stdout.close()

        r = b.alternate(stalled=beside_stalled, alone=lambda: b.jobs(d, b.count(4000), 4))
    return {"replay": Figure(run.median_of(replay), f"{subscribers} × {n:,}"),
            "stalled": quotient(r, "stalled", "alone", "p99_us", " µs")}


def p13(b):
    """Context switches of every thread of slotd and slotd-launcher in ten seconds, after a thousand
    jobs and a second of rest; resident memory of both (shared pages counted in each) just after
    the start."""
    result = {}
    for store in ("memory", "full"):
        with run.directory() as where, b.daemon(where, store=store) as d:
            resident = [run.rss_bytes(pid) for pid in d.pids]
            b.jobs(d, 1000)
            time.sleep(1)
            before = run.context_switches(*d.pids)
            time.sleep(max(2, 10 * b.size.length))
            switches = run.context_switches(*d.pids) - before
        engine, launcher = (n / MIB for n in resident)
        result[f"wakeups_{store}"] = Figure(switches)
        result[f"rss_{store}"] = Figure(engine + launcher,
                                        f"slotd {engine:.2f}, slotd-launcher {launcher:.2f}")
    b.raw.update({key: figure.value for key, figure in result.items()})
    return result


def p14(b):
    """Counted by callgrind in lockstep, so that each run has the same turns: what
    `tests/instructions/run.py --record` recorded last. That test fails at 5 % more."""
    with open(os.path.join(b.source, "tests", "instructions", "recorded.json"),
              encoding="utf-8") as f:
        counts = b.raw["recorded"] = json.load(f)["instructions"]
    result = {}
    for key, suffix in (("memory", ""), ("full", ", durable")):
        engine, launcher = counts["engine job" + suffix], counts["launcher job" + suffix]
        result[key] = Figure(engine + launcher, f"engine {engine:,}, launcher {launcher:,}")
    return result


def p15(b):
    """A journal with a million pending jobs, left by `kill -9`; from the exec of slotd to the start
    of the first job, as that job notes it (stamp.c). Limit 4."""
    n = b.length(1_000_000)
    took, ready = [], []
    with run.directory() as where:
        sheet = Sheet(os.path.join(where, "sheet"), n)
        with b.daemon(where, store="full", max_running=0, settings=[MANY]) as d:
            b.driver("submit", d.socket, n, WINDOW, b.tool("stamp"), sheet.path)
            d.kill()
        for _ in range(b.size.rounds):
            with b.daemon(where, store="full", settings=[MANY]) as d:
                ready.append(time.monotonic() - d.started)
                run.wait_until(lambda d=d: sheet.first_since(d.started), "the first job")
                took.append(sheet.first_since(d.started) - d.started)
                d.kill()
            time.sleep(0.5)  # its last jobs end
    b.raw.update({"first_job_s": took, "ready_s": ready})
    return {"first": Figure(statistics.median(took), f"{spread(took)} s; clients can connect after "
                            f"{statistics.median(ready):.2f} s")}
