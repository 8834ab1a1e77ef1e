"""P1 to P5: commands, beside the kernel's own speed and beside other programs that run commands."""
import os

import peers
import run
from measuring import TRUE, WINDOW, Figure, Sheet, percentile, quotient
from run import Missing


def p1(b):
    """`driver jobs`: one client, 64 jobs not done at a time, each completion awaited, output
    captured, limit 4. The reference: `posix_spawn` and `wait`, four at a time."""
    n = b.count(8000)
    with run.directory() as where, b.daemon(where) as d:
        r = b.alternate(slotd=lambda: b.jobs(d, n), reference=lambda: b.reference(n, 4))
    return {"ratio": quotient(r, "slotd", "reference"),
            "cgroup": Figure(None, "not yet: jobs have no cgroups")}


def p2(b):
    """As P1 over the durable journal: a job is on the disk before its acknowledgement, its end
    before its completion is told."""
    result = {}
    for limit in (4, 16):
        n = b.count(8000)
        with run.directory() as where, b.daemon(where, store="full", max_running=limit) as d:
            r = run.alternate(b.size.rounds, lambda d=d: b.jobs(d, n),
                              lambda limit=limit: b.reference(n, limit))
        b.raw.update({f"slotd{limit}": r[0], f"reference{limit}": r[1]})
        result[f"ratio{limit}"] = quotient(b.raw, f"slotd{limit}", f"reference{limit}")
    return result


PEERS = (  # key, program, package, jobs, how
    ("xargs", "xargs", "findutils", 4000, peers.xargs),
    ("parallel", "parallel", "parallel", 800, peers.parallel),
    ("tsp", "tsp", "task-spooler", 1000, peers.tsp),
    ("nq", "nq", "nq", 1000, peers.nq),
    ("asyncio", "python3", "python3", 3000, peers.asyncio),
)


def p3(b):
    """Each peer runs `/bin/true` four at a time: `xargs -P4 -n1`; `parallel -j4`; `tsp -S 4` fed by
    four clients; four nq directories, each fed by its own client; asyncio's
    `create_subprocess_exec` under the AsyncExecutor pattern."""
    sides, result = {}, {}
    for key, program, package, count, function in PEERS:
        try:
            run.need(program, package)
            sides[key] = lambda n=b.count(count), f=function: f(n)
        except Missing as missing:
            result[key] = Figure(None, f"skipped: {missing}")
    with run.directory() as w1, run.directory() as w2, b.daemon(w1) as memory, \
            b.daemon(w2, store="full") as full:
        sides["slotd"] = lambda: b.jobs(memory, b.count(6000))
        sides["durable"] = lambda: b.jobs(full, b.count(6000))
        r = b.alternate(**sides)
    for key in sides:
        if key not in ("slotd", "durable"):
            result[key] = quotient(r, "slotd", key)
    result["durable"] = quotient(r, "durable", "xargs") if "xargs" in sides else result["xargs"]
    return result


def durations(path):
    with open(path, encoding="ascii") as f:
        return sorted(float(line) for line in f)


def quantiles(values):
    """500 of them, for a plot."""
    return [values[min(len(values) - 1, int(q * len(values) / 500))] for q in range(501)]


def p4(b):
    """One job at a time, the daemon otherwise idle: from writing the submit to reading the
    completion; the reference: from posix_spawn to the return of wait, limit 1."""
    n = b.count(3000)
    with run.directory() as where, b.daemon(where) as d:
        ours, theirs = os.path.join(where, "ours"), os.path.join(where, "theirs")
        r = b.alternate(
            slotd=lambda: b.driver("-o", ours, "jobs", d.socket, n, 1, TRUE),
            reference=lambda: b.reference("-o", theirs, n, 1))
        b.series["latency"] = {"slotd": quantiles(durations(ours)),
                               "reference": quantiles(durations(theirs))}
    p50, p99 = (run.median_of(r["slotd"], key) for key in ("p50_us", "p99_us"))
    return {"p50": quotient(r, "slotd", "reference", "p50_us", " µs"),
            "p99": Figure(p99 / p50, f"{p99:,.0f} µs ÷ {p50:,.0f} µs")}


def p5(b):
    """100,000 jobs pending, limit 1; each job notes the time at its start and at its end (stamp.c).
    The gap from an end to the next start has the exit, its notice, the next clone and exec, in part
    the kernel's own: the same gap of the reference is beside it."""
    n = b.count(3000)

    def ours():
        with run.directory() as where, b.daemon(where, max_running=0) as d:
            sheet = Sheet(os.path.join(where, "sheet"), n + 64)
            b.driver("submit", d.socket, b.length(100_000), WINDOW, b.tool("stamp"), sheet.path)
            b.driver("run", d.socket, min(n, b.length(100_000)), 1)
            gaps = sheet.gaps_us()
        return {"p50_us": percentile(gaps, 0.5), "p99_us": percentile(gaps, 0.99)}

    def theirs():
        with run.directory() as where:
            sheet = Sheet(os.path.join(where, "sheet"), n)
            b.reference(n, 1, b.tool("stamp"), sheet.path)
            gaps = sheet.gaps_us()
        return {"p50_us": percentile(gaps, 0.5), "p99_us": percentile(gaps, 0.99)}

    r = b.alternate(slotd=ours, reference=theirs)
    p50, p99, own50, own99 = (run.median_of(r[side], key) for side in r
                              for key in ("p50_us", "p99_us"))
    return {"p99": Figure(p99 / 1000, f"p50 {p50:,.0f} µs; the reference's: p50 {own50:,.0f} µs, "
                          f"p99 {own99:,.0f} µs")}


def limits(b):
    """`/bin/true` a second at limits of 1 to 64, as in P1 and P2, and the same limit for the
    reference and for xargs."""
    series = {}
    for limit in (1, 2, 4, 8, 16, 32, 64):
        n = b.count(2500)
        with run.directory() as w1, run.directory() as w2, \
                b.daemon(w1, max_running=limit) as memory, \
                b.daemon(w2, store="full", max_running=limit) as full:
            window = max(WINDOW, 4 * limit)
            sides = {"reference": lambda limit=limit: b.reference(n, limit),
                     "slotd, in memory": lambda d=memory, w=window: b.jobs(d, n, w),
                     "slotd, durable": lambda d=full, w=window: b.jobs(d, n, w),
                     "xargs -P": lambda limit=limit: peers.xargs(n, limit)}
            results = dict(zip(sides, run.alternate((b.size.rounds + 1) // 2, *sides.values())))
        for name, result in results.items():
            series.setdefault(name, []).append((limit, run.median_of(result)))
    b.series["limits"] = series
    return {}
