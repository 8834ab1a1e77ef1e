"""Much of everything: many jobs with many restarts, and a million jobs that wait."""

import time

from case import Failed
from daemon import SANITIZE, proc, scaled, until
from kills import SETTINGS, baseline, farewell, rest

PENDING_BYTES = 120         # resident for each pending job
FIRST_JOB_SECONDS = 1.0     # from exec of slotd to the first job running
GROWTH_KIB = 1024           # resident, for 100,000 jobs
SLOPE_JOBS = 100000         # fewer say little of a slope
SHORT_GROWTH_KIB = 4096     # then caches that fill and pages of the allocator may be this much


def slope_kib(points):
    """Growth of (jobs, KiB) by least squares, in KiB for 100,000 jobs."""
    n = len(points)
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return 1e5 * sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


class Feed:
    """Quick jobs by the batch, a few batches ahead, over one connection."""

    BATCH, AHEAD = 250, 4

    def __init__(self, daemon, program, jobs_path):
        self.daemon = daemon
        self.program = program
        self.jobs_path = str(jobs_path)
        self.total = 0

    def run(self, jobs):
        """So many jobs to their end, all of which must be ok."""
        submits, waits, todo = set(), {}, jobs
        end = time.monotonic() + scaled(60 + jobs / 200)
        with self.daemon.connect() as conn:
            while todo or submits or waits:
                while todo and len(submits) + len(waits) < self.AHEAD:
                    specs = [self.spec() for _ in range(min(todo, self.BATCH))]
                    submits.add(conn.send("job.submit_batch", {"jobs": specs}))
                    todo -= len(specs)
                message = conn.recv(end - time.monotonic())
                if message is None:
                    raise TimeoutError(f"{jobs} jobs took too long")
                if "error" in message:
                    raise Failed([f"refused: {message['error']}"])
                if message["id"] in submits:
                    submits.remove(message["id"])
                    ids = message["result"]["jobs"]
                    waits[conn.send("futures.wait", {"jobs": ids})] = ids
                else:
                    self.all_ok(waits.pop(message["id"]), message["result"]["done"])

    def spec(self):
        self.total += 1
        return {"argv": [self.program, self.jobs_path, f"f{self.total}", "0", "0", "0", "10"]}

    @staticmethod
    def all_ok(ids, done):
        if len(done) != len(ids) or not all(item["ok"] for item in done):
            raise Failed([f"jobs that went wrong: {[d for d in done if not d['ok']][:5]}"])


def soak(ctx, jobs, restarts):
    """Half of the jobs with restarts in between, half in one life; memory, fds, zombies."""
    tmp = ctx.room()
    jobs_path = tmp / "jobs"
    jobs_path.touch()
    daemon = ctx.daemon(tmp, settings=SETTINGS)
    daemon.start()
    before = baseline(daemon)
    feed = Feed(daemon, ctx.program, jobs_path)
    launcher = daemon.launcher()
    feed.run(1000)
    engine_points, launcher_points, bad = [], [], []

    def measure(points):
        bad.extend(rest(daemon, before))
        points.append((feed.total, proc.rss_kib(daemon.pid)))
        launcher_points.append((feed.total, proc.rss_kib(launcher)))
    for number in range(restarts):
        feed.run(jobs // 2 // restarts)
        measure(engine_points)
        if number % 2:
            daemon.kill()
        else:
            ctx.expect(daemon.term() == 0, "slotd on TERM")
        daemon.start()
        if daemon.launcher() != launcher:
            # It may leave when it has nothing to do and no engine.
            launcher = daemon.launcher() or until(daemon.launcher, 10, "a launcher")
    life_points = []
    feed.run(max(1000, jobs // 20))     # caches fill
    measure(life_points)
    for _ in range(10):
        feed.run(jobs // 20)
        measure(life_points)
    for name, points in (("engine over restarts", engine_points),
                         ("engine in one life", life_points), ("launcher", launcher_points)):
        if jobs >= SLOPE_JOBS:
            kib, most, what = slope_kib(points), GROWTH_KIB, "KiB/100k"
        else:
            kib, most, what = points[-1][1] - points[0][1], SHORT_GROWTH_KIB, "KiB"
        ctx.figures[f"{name} {what}"] = round(kib)
        if kib > most and not SANITIZE:     # which keeps freed memory
            bad.append(f"{name} grows: {kib:.0f} {what}; (jobs, KiB) were {points}")
    ctx.figures.update(jobs=feed.total, restarts=restarts)
    starts = {}
    with open(jobs_path, encoding="ascii") as f:
        for row in f:
            if row.startswith("b "):
                name = row.split(" ", 2)[1]
                starts[name] = starts.get(name, 0) + 1
    twice = [name for name, times in starts.items() if times > 1]
    if twice or len(starts) != feed.total:
        bad.append(f"{feed.total} jobs, {len(starts)} started, {len(twice)} more than once")
    bad += farewell(daemon)
    if bad:
        raise Failed(bad)


def submit_pending(conn, count, make, ahead=3):
    """So many jobs by job.submit_batch, a few requests ahead; the seconds that took."""
    began, flying, left, sent = time.monotonic(), 0, count, 0
    while left or flying:
        while left and flying < ahead:
            some = min(left, 1000)
            conn.send("job.submit_batch", {"jobs": [make(sent + n) for n in range(some)]})
            sent += some
            left -= some
            flying += 1
        message = conn.recv(scaled(60))
        if message is None:
            raise TimeoutError("no reply to job.submit_batch")
        if "error" in message:
            raise Failed([f"job.submit_batch: {message['error']}"])
        if "result" in message:
            flying -= 1
    return time.monotonic() - began


def million(ctx, count):
    """So many pending jobs: resident bytes of each, and how soon the first runs after a start."""
    tmp = ctx.room()
    jobs_path = tmp / "jobs"
    jobs_path.touch()
    program = ctx.program
    settings = [f"executor.max_pending={max(count * 2, 1000)}"]
    daemon = ctx.daemon(tmp, max_running=0, settings=settings)
    daemon.start()

    def make(number):
        return {"argv": [program, str(jobs_path), f"m{number}", "0", "0", "0", "0"]}
    bad = []
    with daemon.connect() as conn:
        # What the first jobs cost once, buffers and the hot window, is not what each costs.
        warm = min(2000, count // 4)
        submit_pending(conn, warm, make)
        was = proc.rss_kib(daemon.pid)
        took = submit_pending(conn, count - warm, make)
        now = proc.rss_kib(daemon.pid)
    each = (now - was) * 1024 / (count - warm)
    ctx.figures.update({"pending": count, "submits/s": round((count - warm) / took),
                        "bytes/pending": round(each)})
    daemon.kill()
    daemon.kill_launcher()
    daemon.max_running = 2
    ready = daemon.start(timeout=60)

    def first():
        with open(jobs_path, encoding="ascii") as f:
            row = f.readline()
        return row if row.endswith("\n") else None
    row = until(first, 60, "the first job runs")
    first_s = int(row.split()[4]) / 1e6 - daemon.exec_at
    rss = proc.rss_kib(daemon.pid)
    ctx.figures.update({"ready ms": round(ready * 1000), "first job ms": round(first_s * 1000),
                        "MiB after restart": round(rss / 1024)})
    with daemon.connect() as conn:
        until(lambda: jobs_path.read_bytes().count(b"b ") >= 200, 30, "200 jobs started")
        conn.call("limits.set", {"max_running": 0})
    with open(jobs_path, encoding="ascii") as f:
        order = [int(r.split()[2]) for r in f if r.startswith("b ")][:200]
    # Two run at a time, so two of the first may not have noted themselves yet.
    if max(order) > len(order) + daemon.max_running:
        bad.append(f"jobs started out of order: {max(order)} is among the first {len(order)}")
    # A small count measures allocator steps, not jobs.
    if not SANITIZE and each > (PENDING_BYTES if count >= 1000000 else 3 * PENDING_BYTES):
        bad.append(f"{each:.0f} bytes resident for each pending job, target {PENDING_BYTES}")
    if first_s > scaled(FIRST_JOB_SECONDS):
        bad.append(f"the first job ran {first_s:.2f} s after the start, target "
                   f"{FIRST_JOB_SECONDS:g} s")
    if bad:
        raise Failed(bad)
