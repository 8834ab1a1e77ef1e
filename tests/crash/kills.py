"""kill -9 of the engine, of the launcher, of both, at random moments and at named failpoints."""

import os
import subprocess
import time

from case import Failed, Skip
from daemon import NotReady, find_binary, proc, reap, scaled, until
from load import SERIAL, Load
from oracle import HARNESS

SETTINGS = [f"queue.{SERIAL}.max_running=1"]
KILLS_A_ROUND = 60
VIOLATIONS_ENOUGH = 60
PRUNED_HISTORY = 400            # rows kept where pruning is what is tested


def baseline(daemon):
    """Open descriptors of an engine and a launcher that have worked and are idle."""
    with daemon.connect() as conn:
        loud = {"argv": ["/bin/sh", "-c", "head -c 300000 /dev/zero"], "name": HARNESS}
        jobs = conn.call("job.submit_batch", {"jobs": [loud] * 4})["jobs"]
        conn.call("futures.wait", {"jobs": jobs})
        until(lambda: conn.call("job.forget", {"jobs": jobs}), 10, "room")
    until(lambda: not daemon.jobs_alive() and not daemon.zombies(), 10, "rest")
    quiet = daemon.fds()

    def settled():
        nonlocal quiet
        was, quiet = quiet, daemon.fds()
        return was == quiet
    until(settled, 10, "a steady number of descriptors")
    return quiet


def rest(daemon, before):
    """What is wrong with a daemon that should have nothing left to do and no clients."""
    bad = []

    def settled():
        reap([daemon.pid])
        fds = daemon.fds()
        return not daemon.jobs_alive() and not daemon.zombies() and \
            all(now <= was for now, was in zip(fds, before))
    try:
        until(settled, 10, "rest")
    except TimeoutError:
        fds = daemon.fds()
        if any(now > was for now, was in zip(fds, before)):
            bad.append(f"descriptors of engine and launcher were {before}, are {fds}: " +
                       "; ".join(open_files(p) for p in (daemon.pid, daemon.launcher())))
        bad += [f"left over: {proc.describe(pid)}" for pid in daemon.jobs_alive()]
        bad += [f"not reaped: {proc.describe(pid)}" for pid in daemon.zombies()]
    return bad


def open_files(pid):
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            name = os.readlink(f"/proc/{pid}/fd/{fd}").partition(":[")[0].rpartition("/")[2]
        except OSError:
            continue
        found[name] = found.get(name, 0) + 1
    return ", ".join(f"{name} × {n}" for name, n in sorted(found.items()))


def farewell(daemon, launcher_too=True):
    """TERM to an idle daemon: exit 0, and its launcher, having nothing to do, leaves too."""
    bad = []
    launcher = daemon.launcher()
    status = daemon.term()
    if status != 0:
        bad.append(f"slotd exited {status} on TERM")
    if launcher_too:
        try:
            until(lambda: reap() or launcher is None or not proc.is_running(launcher), 10, "")
        except TimeoutError:
            bad.append("the launcher stays although it has neither engine nor jobs")
    report = daemon.sanitizer_report()
    if report:
        bad.append(report)
    return bad


def judge(ctx, load, before, launcher_too=True):
    """Lets the load come to its end, asks the oracle, and ends the daemon."""
    daemon = load.daemon
    try:
        load.settle()
    except TimeoutError as exc:
        bad = [f"{exc}; {len(load.board.acked)} acknowledged, {len(load.board.done)} seen done"]
        raise Failed(bad + load.verdict()) from exc
    bad = load.verdict()
    load.stop()
    bad += rest(daemon, before)
    bad += farewell(daemon, launcher_too)
    ctx.add("jobs", len(load.board.acked))
    lost = sum(job["outcome"] == "lost" for job in load.board.final)
    if lost:
        ctx.add("lost", lost)
    if bad:
        raise Failed(bad)


def restart(daemon, board, rng):
    """Starts slotd again; now and then it is killed while it recovers."""
    while rng.random() < 0.15:
        board.killed("engine")
        daemon.spawn()
        time.sleep(rng.random() * 0.03)
        daemon.kill()
    daemon.start()


def strike(daemon, board, what, rng):
    """One kill; the engine may be down afterwards. Returns what was done."""
    if what == "engine":
        if rng.random() < 0.15:
            status = daemon.term()
            if status != 0:
                board.problem(f"slotd exited {status} on TERM")
            return "term"
        board.killed("engine")
        daemon.kill()
        return "kill"
    board.killed("launcher")
    if what == "launcher":
        return "launcher" if daemon.kill_launcher() else "none"
    board.killed("engine")
    if rng.random() < 0.5:
        daemon.kill()
        daemon.kill_launcher()
    else:
        daemon.kill_launcher()
        time.sleep(rng.random() * 0.004)
        daemon.kill()
    return "both"


def kill_round(ctx, seed, kills, what, durability):
    """Load, so many kills, and the oracle."""
    rng = ctx.rng
    tmp = ctx.room()
    daemon = ctx.daemon(tmp, settings=SETTINGS, durability=durability)
    daemon.start()
    before = baseline(daemon)
    load = ctx.load(Load(tmp, daemon, ctx.program, seed)).start()
    load.warm()
    for _ in range(kills):
        # Mostly in the midst of the load, now and then as soon as it has begun.
        time.sleep(rng.choice([rng.random() * 0.12, rng.random() * 0.01]))
        ctx.add(strike(daemon, load.board, what, rng))
        if daemon.popen.poll() is None:
            continue
        if what == "launcher":
            raise Failed([f"slotd ended with {daemon.popen.returncode}"])
        restart(daemon, load.board, rng)
    judge(ctx, load, before)


def in_rounds(ctx, total, size, one):
    """Calls one(seed, some) until `total` are done; the violations of all rounds together."""
    done, bad = 0, []
    while done < total and len(bad) < VIOLATIONS_ENOUGH:
        some = min(size, total - done)
        try:
            one(f"{ctx.seed}.{done}", some)
        except (Failed, NotReady, TimeoutError) as exc:
            bad += exc.violations if isinstance(exc, Failed) else [f"round {done}: {exc}"]
            for load in ctx.loads[-1:]:
                load.stop()
            for daemon in ctx.daemons[-1:]:
                daemon.destroy()
        done += some
    if bad:
        ctx.figures["violations"] = len(bad)
        raise Failed(bad)


def kill_many(ctx, kills, what, durability="full"):
    in_rounds(ctx, kills, KILLS_A_ROUND,
              lambda seed, some: kill_round(ctx, seed, some, what, durability))


# ---- failpoints ---------------------------------------------------------------------------------

def failpoints():
    """The names that this slotd knows."""
    try:
        done = subprocess.run([find_binary("slotd"), "--failpoints"], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=scaled(10))
    except subprocess.TimeoutExpired as exc:
        raise Skip("slotd --failpoints does not end") from exc
    if done.returncode != 0:
        raise Skip("this slotd knows no --failpoints")
    return [row.split()[0] for row in done.stdout.splitlines() if row.strip()]


def fires(daemon, seconds):
    """Whether slotd kills itself within so many seconds."""
    try:
        until(lambda: not daemon.alive(), seconds, "")
    except TimeoutError:
        return False
    if daemon.popen.returncode != -9:
        raise Failed([f"slotd ended with {daemon.popen.returncode}, not by its failpoint"])
    return True


def fire(daemon, name, passage, seconds):
    """Has slotd killed by a failpoint: under load, while it recovers, or when told to end.

    Returns how, with slotd dead; None if it never fired, with slotd running.
    """
    armed = {"SLOTD_FAILPOINT": f"{name}:kill:{passage}"}
    daemon.kill()
    try:
        daemon.start(**armed)
    except NotReady as exc:
        if daemon.popen.poll() == -9:
            return "recovery"
        raise Failed([str(exc)]) from exc
    if fires(daemon, seconds):
        return "load"
    status = daemon.term()
    if status == -9:
        return "shutdown"
    if status != 0:
        raise Failed([f"slotd with failpoint {name} exited {status} on TERM"])
    daemon.start()
    return None


def failpoint(ctx, name, passages):
    """A load that is struck at several passages of one failpoint; returns how it was."""
    tmp = ctx.room()
    settings, kinds, seconds = SETTINGS, None, 2.0
    pruning = name.startswith("prune.")
    if pruning:
        # Jobs are forgotten here, so none may name an older one.
        settings = [*SETTINGS, f"store.history_jobs={PRUNED_HISTORY}"]
        kinds, seconds = {"quick", "fail", "retry", "serial"}, 8.0
    daemon = ctx.daemon(tmp, settings=settings)
    daemon.start()
    before = baseline(daemon)
    load = ctx.load(Load(tmp, daemon, ctx.program, f"{ctx.seed}.{name}", clients=2, limit=60,
                         longest_ms=300, kinds=kinds, pruning=pruning)).start()
    load.warm()
    how = {}
    for passage in passages:
        load.board.killed("engine")     # by us, to arm it
        load.board.killed("engine")     # by itself
        fired = fire(daemon, name, passage, seconds)
        if fired:
            daemon.start()
            how[fired] = how.get(fired, 0) + 1
    judge(ctx, load, before, launcher_too=False)
    return how
