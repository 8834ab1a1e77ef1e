"""What is measured: the one table, from which --list, the table of a run and RESULTS.md come.

A measure's function gets a Bench and returns a Figure for each row, by the row's key. Its docstring
says how it is done; it stands in RESULTS.md.
"""
from commands import limits, p1, p2, p3, p4, p5
from measuring import Measure, Row
from queues import p6, p7, p8, p9
from whole import p10, p11, p12, p13, p14, p15


def at_least(key, target, what, unit="×"):
    return Row(key, what, "≥", target, unit)


def at_most(key, target, what, unit="×"):
    return Row(key, what, "≤", target, unit)


def recorded(key, what, unit="×"):
    return Row(key, what, "", None, unit)


# Name, what it is about, its function, its rows. The verdict of a row is "ok" if its figure is on
# the right side of its target, else "miss".
MEASURES = (
    Measure("P1", "commands through the socket, in memory", p1, (
        at_least("ratio", 0.90, "/bin/true jobs/s, limit 4, output captured ÷ reference"),
        at_least("cgroup", 0.80, "the same with a cgroup for each job"))),
    Measure("P2", "the same, durable", p2, (
        at_least("ratio4", 0.70, "durability=full, limit 4 ÷ reference"),
        at_least("ratio16", 0.80, "limit 16 ÷ reference"))),
    Measure("P3", "commands beside the peers", p3, (
        at_least("xargs", 1.5, "in memory ÷ xargs -P4"),
        at_least("parallel", 8, "in memory ÷ GNU parallel -j4"),
        at_least("tsp", 3, "in memory ÷ task-spooler, 4 slots"),
        at_least("nq", 4, "in memory ÷ nq, 4 queues"),
        at_least("asyncio", 1.4, "in memory ÷ asyncio AsyncExecutor"),
        at_least("durable", 1.1, "durable ÷ xargs -P4"))),
    Measure("P4", "latency of one command", p4, (
        at_most("p50", 1.4, "submit to completion, in memory, p50 ÷ reference"),
        at_most("p99", 3, "p99 ÷ p50"))),
    Measure("P5", "from a free slot to the next start", p5, (
        at_most("p99", 1, "p99, limit 1, 100,000 pending, in memory", "ms"),)),
    Measure("P6", "submits, in memory", p6, (
        at_least("beanstalkd", 1.0, "submits/s, 64 in flight, 150 bytes ÷ beanstalkd"),
        recorded("redis", "÷ redis RPUSH"))),
    Measure("P7", "submits, durable before the acknowledgement", p7, (
        at_least("beanstalkd", 8, "durability=full ÷ beanstalkd -f0"),
        recorded("redis", "÷ redis RPUSH, appendfsync always"),
        at_most("flushes", 40, "flushes per 1,000 acknowledgements", ""))),
    Measure("P8", "memory of a pending job", p8, (
        at_most("full", 120, "resident bytes, 10^6 pending, durable", "B"),
        at_most("memory", 400, "resident bytes, 10^6 pending, in memory", "B"))),
    Measure("P9", "cost with 10^6 pending ÷ with 10^3", p9, (
        at_most("instructions_memory", 1.2, "instructions, in memory"),
        at_most("instructions_full", 1.2, "instructions, durable"),
        at_most("wall_memory", 2, "wall, in memory"),
        at_most("wall_full", 2, "wall, durable"))),
    Measure("P10", "the executor in process", p10, (
        at_least("million", 40, "no-op actions/s at 10^6 ÷ asyncio AsyncExecutor"),
        at_least("slowest", 40, "the slowest of 10^4 … 10^7 ÷ asyncio"))),
    Measure("P11", "slotctl map of 10^6 lines", p11, (
        at_most("growth", 4, "resident growth, client and engine, from line 10^5 on", "MiB"),)),
    Measure("P12", "subscribers", p12, (
        at_least("replay", 500_000, "100 × 10,000 completions replayed, deliveries", "/s"),
        at_most("stalled", 2, "p99 beside a stalled subscriber ÷ without"))),
    Measure("P13", "idle", p13, (
        at_most("wakeups_memory", 0, "wakeups in 10 s, in memory", ""),
        at_most("wakeups_full", 0, "wakeups in 10 s, durable", ""),
        at_most("rss_memory", 6, "resident, engine and launcher, in memory", "MiB"),
        at_most("rss_full", 6, "resident, engine and launcher, durable", "MiB"))),
    Measure("P14", "instructions of a job", p14, (
        recorded("memory", "engine and launcher, in memory", ""),
        recorded("full", "engine and launcher, durable", ""))),
    Measure("P15", "recovery", p15, (
        at_most("first", 1, "10^6 pending: from exec to the first job's start", "s"),)),
    Measure("limits", "throughput against the limit, for its plot", limits, ()),
)


# Why a row misses its target, by what was measured, and what it would need. RESULTS.md says so below
# the table, of those that are missed.
REASONS = {
    ("P1", "cgroup"): "slotd makes no cgroups yet.",
    ("P2", "ratio4"): "A slot waits for a commit between two jobs. From the end of a turn to the word"
        " that it is on the disk it is 260 µs on an idle machine, and 500 µs when commands use all of it"
        " (113 until the writer gets a CPU, 28 of SQL, 293 of COMMIT with the disk's flush, 72 until the"
        " loop hears of it): at 2,000 jobs a second that is one slot of four. At sixteen, others run"
        " meanwhile, and the target is met. Waiting for larger groups made it worse. It would need the"
        " start of the next job in the journal before a slot is free, so that the wait falls while the"
        " last one runs; but if the launcher died in between, jobs that never ran would count as lost.",
    ("P3", "nq"): "Four nq directories, each fed by its own client, start more than a quarter of the"
        " commands that the reference starts: the kernel itself would not reach the target.",
}


def verdict(row, figure):
    if figure.value is None:
        return figure.detail.partition(":")[0]
    if row.target is None:
        return "recorded"
    good = figure.value >= row.target if row.sign == "≥" else figure.value <= row.target
    return "ok" if good else "miss"
