"""I/O errors (libfiu), and state directories that are damaged, foreign, too new or too open."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import time

from case import Failed, Skip
from daemon import SANITIZE, NotReady, reap, scaled, until
from kills import SETTINGS, baseline, judge
from load import Load
from wire import Gone, RpcError

EX_IOERR = 74
STATE_GOOD, STATE_DAMAGED, STATE_NEWER = 0, 1, 2    # slotd --check-state exits with
EIO, ENOSPC = 5, 28
SYNC = "posix/io/sync/*"
WRITE = "posix/io/rw/pwrite*"
READ = "posix/io/rw/pread*"


def need_fiu():
    for name in ("fiu-run", "fiu-ctrl"):
        if not shutil.which(name):
            raise Skip(f"no {name}: install fiu-utils")
    if SANITIZE:
        raise Skip("libfiu and AddressSanitizer don't go together")


class Fiu:
    """slotd below fiu-run; faults are switched on and off while it runs."""

    def __init__(self, ctx, tmp):
        need_fiu()
        self.base = tmp / "fiu"
        self.daemon = ctx.daemon(tmp, settings=SETTINGS)

    def start(self):
        self.daemon.prefix = ["fiu-run", "-x", "-f", str(self.base)]
        self.daemon.start()

    def start_clean(self):
        self.daemon.prefix = []
        self.daemon.start()

    def tell(self, command):
        done = subprocess.run(["fiu-ctrl", "-f", str(self.base), "-c", command,
                               str(self.daemon.pid)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=scaled(10))
        if done.returncode != 0 and self.daemon.alive():
            raise Failed([f"fiu-ctrl {command}: {done.stderr.strip()}"])


def begin(ctx, **options):
    """A load on a slotd below libfiu; descriptors are counted of a clean one."""
    tmp = ctx.room()
    fiu = Fiu(ctx, tmp)
    fiu.start_clean()
    before = baseline(fiu.daemon)
    fiu.daemon.kill()
    fiu.start()
    load = ctx.load(Load(tmp, fiu.daemon, ctx.program, ctx.seed, clients=2, limit=60,
                         longest_ms=300, **options)).start()
    load.warm()
    return fiu, load, before


def fatal(ctx, name, rounds):
    """An error of a sync or a write: slotd exits 74, and nothing acknowledged is lost."""
    fiu, load, before = begin(ctx)
    for _ in range(rounds):
        time.sleep(ctx.rng.random() * 0.1)
        load.board.killed("engine")
        fiu.tell(f"enable name={name},failinfo={EIO}")
        status = fiu.daemon.wait()
        ctx.expect(status == EX_IOERR, f"slotd exited {status} after an error of {name}, "
                                       f"not {EX_IOERR}")
        ctx.add("faults")
        fiu.start()
    load.board.killed("engine")
    fiu.daemon.kill()
    fiu.start_clean()
    judge(ctx, load, before)


def scattered(ctx, name, probability, rounds):
    """Errors here and there, from the start: slotd either runs or exits, never by a signal."""
    tmp = ctx.room()
    fiu = Fiu(ctx, tmp)
    fiu.start_clean()
    before = baseline(fiu.daemon)
    load = ctx.load(Load(tmp, fiu.daemon, ctx.program, ctx.seed, clients=2, limit=60,
                         longest_ms=300)).start()
    load.warm()
    for _ in range(rounds):
        load.board.killed("engine")     # by us, or by the fault of the round before
        fiu.daemon.kill()
        fiu.daemon.prefix = ["fiu-run", "-x", "-f", str(fiu.base), "-c",
                             f"enable_random name={name},probability={probability},failinfo={EIO}"]
        try:
            fiu.daemon.start()
            time.sleep(0.1 + ctx.rng.random() * 0.2)
        except NotReady:
            ctx.add("failed starts")
        status = fiu.daemon.popen.poll()
        ctx.expect(status in (None, 1, EX_IOERR), f"slotd ended with {status}")
        if status is not None:
            ctx.add(f"exit {status}")
    load.board.killed("engine")
    if fiu.daemon.alive():
        fiu.daemon.kill()
    fiu.start_clean()
    damaged = set_aside(fiu.daemon.state)
    ctx.expect(not damaged, f"a sound journal was set aside: {damaged}")
    judge(ctx, load, before)


# Output has no ballast: of a job that writes much, what a full disk can't take is not kept.
QUIET = {"quick", "fail", "signal", "long", "retry", "after", "delay", "serial", "wide", "unkeyed"}


def no_space(ctx, rounds):
    """ENOSPC in the midst of commits: the ballast goes, the engine stays, service returns."""
    fiu, load, before = begin(ctx, kinds=QUIET)
    pid, ballast = fiu.daemon.pid, fiu.daemon.state / "ballast"
    for _ in range(rounds):
        until(ballast.exists, 20, "a ballast")
        fiu.tell(f"enable name={WRITE},failinfo={ENOSPC}")
        until(lambda: not ballast.exists(), 20, "the ballast is given up")
        fiu.tell(f"disable name={WRITE}")
        load.warm()
        ctx.add("faults")
    ctx.expect(fiu.daemon.alive() and fiu.daemon.pid == pid, "slotd ended for want of space")
    ctx.figures["degraded"] = load.board.refused.get("StorageDegraded", 0)
    load.board.killed("engine")
    fiu.daemon.kill()
    fiu.start_clean()
    judge(ctx, load, before)


# ---- damage at rest -----------------------------------------------------------------------------

NAMES = ("journal", "journal-wal", "journal-shm")


def set_aside(state):
    return sorted(n for n in os.listdir(state) if ".damaged-" in n or ".newer-" in n)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_launcher(daemon):
    """Engine and launcher gone, as after a reboot."""
    daemon.kill()
    daemon.kill_launcher()


class Sample:
    """A state directory at rest, with done, delayed and pending jobs, and what they are."""

    def __init__(self, ctx, *, wal):
        self.ctx = ctx
        self.tmp = ctx.room()
        self.daemon = ctx.daemon(self.tmp, max_running=4)
        self.ran = self.tmp / "ran"
        self.ran.write_text("")
        self.daemon.start()
        with self.daemon.connect() as conn:
            done = [self.spec(n, tag={"n": n, "pad": "p" * (n % 200)}) for n in range(150)]
            ids = conn.call("job.submit_batch", {"jobs": done})["jobs"]
            conn.call("futures.wait", {"jobs": ids, "timeout_ms": 30000})
            conn.call("limits.set", {"max_running": 0})
            conn.call("job.submit_batch", {"jobs": [self.spec(n) for n in range(150, 250)]})
            self.jobs = {job["job"]: job for job in conn.all_jobs()}
            self.instance = conn.call("hello")["instance"]
        if wal:
            without_launcher(self.daemon)       # what was not copied back stays in the log
        else:
            ctx.expect(self.daemon.term() == 0, "slotd on TERM")
            until(lambda: reap() or not self.daemon.launcher(), 10, "the launcher leaves")
        self.ran_before = self.ran.read_text()
        self.pristine = self.tmp / "pristine"
        shutil.copytree(self.daemon.state, self.pristine,
                        ignore=shutil.ignore_patterns("launcher.sock"))

    def spec(self, number, **more):
        """A job that notes in a file which one it thinks it is."""
        return {"argv": ["/bin/sh", "-c", 'echo "$SLOT_JOB $1 $WHO" >>"$2"; echo "out $1"', "sh",
                         str(number), str(self.ran)],
                "env": {"PATH": "/bin:/usr/bin", "WHO": f"who{number}"}, "name": f"n{number}",
                "key": f"k{number}", **more}

    def restore(self):
        shutil.rmtree(self.daemon.state, ignore_errors=True)
        shutil.copytree(self.pristine, self.daemon.state)
        os.chmod(self.daemon.state, 0o700)
        self.ran.write_text(self.ran_before)
        self.daemon.log_path.write_text("")

    def files(self):
        """The journal's files that hold data."""
        found = [self.daemon.state / name for name in NAMES[:2]]
        return [path for path in found if path.exists() and path.stat().st_size]

    def start(self):
        """Starts slotd on what is there: "runs", or how it ended."""
        try:
            self.daemon.start()
            return "runs"
        except NotReady:
            return self.daemon.popen.poll()

    def stop(self):
        if self.daemon.alive():
            self.daemon.kill()
        self.daemon.kill_launcher()
        until(lambda: reap() or not self.daemon.jobs_alive(), 10, "end of all jobs")

    def check_state(self):
        """slotd --check-state: (status, what it said)."""
        done = subprocess.run(self.daemon.command("--check-state"), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env=self.daemon.environ(),
                              timeout=scaled(30))
        return done.returncode, done.stdout + done.stderr

    def served(self, older_ok):
        """Whether what is served is what was stored; the differences, and how it went.

        An error that a request gets, or an engine that says so and exits, is no difference. With
        older_ok a job may be as it was at some time before: SQLite takes the whole part of a
        write-ahead log for all of it.
        """
        bad, older = [], False
        fixed = ("name", "argv", "cwd", "queue", "priority", "tag", "submitted_us")
        ends = ("outcome", "exit_code", "signal", "seq", "output", "started_us", "finished_us")
        try:
            with self.daemon.connect() as conn:
                for number, was in self.jobs.items():
                    try:
                        now = conn.call("job.get", {"job": number})
                    except RpcError as exc:
                        if exc.kind == "NoSuchJob":
                            older = True
                            bad += [] if older_ok else [f"job {number} is denied: {exc}"]
                        continue
                    undone = was["phase"] == "done" and \
                        (now["phase"] != "done" or now["outcome"] == "lost")
                    older = older or (undone and older_ok)
                    names = fixed
                    if was["phase"] == "done" and not (undone and older_ok):
                        # What an older state has run again has new times, and another place.
                        names = fixed + (ends[:3] if older else ends)
                        bad += self.output(conn, was)
                    bad += [f"job {number}: {n} was {was[n]!r}, is {now[n]!r}"
                            for n in names if was[n] != now[n]]
                conn.call("limits.set", {"reset": True})
                until(lambda: not conn.all_jobs(phase="pending") and
                      not conn.all_jobs(phase="running"), 20, "the end of all jobs")
        except (Gone, RpcError, TimeoutError):
            return bad + self.ran_wrong(older), "noticed"
        how = "an older state" if older else \
            "noticed" if "damaged" in self.daemon.log() else "harmless"
        return bad + self.ran_wrong(older), how

    def output(self, conn, was):
        if was["phase"] != "done":
            return []
        try:
            got = conn.call("job.result", {"job": was["job"], "with_output": 100})["stdout"]
        except RpcError:
            return []
        wanted = f"out {was['name'][1:]}\n"
        return [] if got == wanted else [f"job {was['job']}: output {got!r}, was {wanted!r}"]

    def ran_wrong(self, again_ok):
        """Jobs that ran as something else than what was submitted, or twice."""
        bad, seen = [], set()
        for row in self.ran.read_text().splitlines():
            part = row.split(" ")
            job = self.jobs.get(int(part[0])) if len(part) == 3 and part[0].isdigit() else None
            if job is None or job["name"] != f"n{part[1]}" or part[2] != f"who{part[1]}":
                bad.append(f"a job ran as {row!r}")
            elif part[0] in seen and not again_ok:
                bad.append(f"job {part[0]} ran twice")
            seen.add(part[0])
        return bad


def flip(path, rng):
    """One byte changed; where."""
    at = rng.randrange(path.stat().st_size)
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)[0]
        f.seek(at)
        f.write(bytes([old ^ (1 << rng.randrange(8))]))
    return f"{path.name}@{at}"


def verdict_on(sample, what, wounded, older_ok=False):
    """After a start on damaged files: set aside and said so, or harmless, never silently wrong."""
    how = sample.start()
    state, log = sample.daemon.state, sample.daemon.log()
    aside = set_aside(state)
    if how != "runs":
        if aside or how not in (1, EX_IOERR):
            return "bad", [f"{what}: slotd ended with {how}: {sample.daemon.log_tail(300)}"]
        if len(log.strip().splitlines()) < 2:
            return "bad", [f"{what}: slotd refused to start without a word"]
        return "refused", []
    if aside:
        bad = [f"{what}: {name} is set aside and not named in the log" for name in aside[:1]
               if name not in log]
        kept = {digest(state / name) for name in aside}
        bad += [f"{what}: the damaged {name} was not kept as it was"
                for name, before in wounded.items()
                if before not in kept and name == "journal"]
        with sample.daemon.connect() as conn:
            if conn.call("hello")["instance"] == sample.instance:
                bad.append(f"{what}: set aside, but the instance is the same")
        return "set aside", bad
    bad, how = sample.served(older_ok)
    return how, [f"{what}: {text}" for text in bad]


def flips(ctx, count):
    """Single bits flipped in the files of a journal at rest."""
    bad = []
    for wal in (False, True):
        sample = Sample(ctx, wal=wal)
        for _ in range(count // 2):
            sample.restore()
            files = sample.files()
            weights = [path.stat().st_size for path in files]
            path = ctx.rng.choices(files, weights)[0]
            what = flip(path, ctx.rng)
            wounded = {p.name: digest(p) for p in files}
            kind, found = verdict_on(sample, what, wounded, path.name == "journal-wal")
            ctx.add(kind)
            bad += found[:3]
            sample.stop()
    if bad:
        raise Failed(bad)


def expect_aside(ctx, sample, what, mark):
    """slotd starts anew beside a journal that it set aside."""
    kind, bad = verdict_on(sample, what, {})
    aside = set_aside(sample.daemon.state)
    if kind != "set aside" or not any(mark in name for name in aside):
        bad.append(f"{what}: {kind}, set aside are {aside}: {sample.daemon.log_tail(300)}")
    sample.stop()
    return bad


def expect_refused(sample, what, word):
    """slotd doesn't start, says why, and touches nothing."""
    state = sample.daemon.state
    before = sorted(os.listdir(state))
    how = sample.start()
    log = sample.daemon.log_tail()
    if how == "runs":
        sample.stop()
        return [f"{what}: slotd starts"]
    bad = []
    if how != 1:
        bad.append(f"{what}: slotd exits {how}: {log}")
    if word not in log:
        bad.append(f"{what}: the message doesn't name {word!r}: {log}")
    if sorted(set(os.listdir(state)) - {"lock"}) != sorted(set(before) - {"lock"}):
        bad.append(f"{what}: the directory was changed: {before} → {sorted(os.listdir(state))}")
    return bad


def truncated(path, size):
    with open(path, "r+b") as f:
        f.truncate(size)


def strange_journals(ctx):
    """From the future, cut short, empty, none of ours."""
    sample, bad = Sample(ctx, wal=False), []
    journal = sample.daemon.state / "journal"

    def aside(what, mark, change):
        sample.restore()
        change()
        before = digest(journal)
        found = expect_aside(ctx, sample, what, mark)
        kept = [sample.daemon.state / name for name in set_aside(sample.daemon.state)]
        if not found and before not in [digest(path) for path in kept]:
            found.append(f"{what}: what was set aside is not what was there")
        bad.extend(found)

    def newer():
        with sqlite3.connect(journal) as db:
            db.execute("PRAGMA user_version = 9999")
        db.close()

    aside("a journal from the future", ".newer-", newer)
    aside("half a journal", ".damaged-",
          lambda: truncated(journal, journal.stat().st_size // 2 + 100))
    aside("100 bytes of a journal", ".damaged-", lambda: truncated(journal, 100))
    aside("text for a journal", ".damaged-", lambda: journal.write_bytes(b"not a database\n" * 99))

    # Empty is what a crash before the first commit leaves: a new journal, nothing to set aside.
    sample.restore()
    for path in sample.files():
        truncated(path, 0)
    how = sample.start()
    if how != "runs":
        bad.append(f"an empty journal: slotd ended with {how}: {sample.daemon.log_tail(300)}")
    else:
        with sample.daemon.connect() as conn:
            if conn.call("hello")["instance"] == sample.instance:
                bad.append("an empty journal: the instance is the same")
            conn.call("job.submit", {"argv": ["/bin/true"]})
    sample.stop()

    sample.restore()
    for path in sample.files():
        path.unlink()
    journal.mkdir()
    bad += expect_refused(sample, "a directory for a journal", "journal")
    if bad:
        raise Failed(bad)


def wrong_directories(ctx):
    """A state directory that others may write to or that is another user's."""
    sample, bad = Sample(ctx, wal=False), []
    state = sample.daemon.state
    for mode in (0o777, 0o770, 0o722):
        sample.restore()
        os.chmod(state, mode)
        bad += expect_refused(sample, f"a state directory of mode {mode:o}", str(state))
        if state.stat().st_mode & 0o777 != mode:
            bad.append(f"mode {mode:o} was changed")
    if os.geteuid() == 0:
        sample.restore()
        os.chown(state / "journal", 12345, 12345)
        bad += expect_refused(sample, "a journal of another user", "journal")
        sample.restore()
        os.chown(state, 12345, 12345)
        bad += expect_refused(sample, "a state directory of another user", str(state))
    else:
        ctx.figures["not root"] = "owners not tried"
    if bad:
        raise Failed(bad)


def check_state(ctx):
    """slotd --check-state tells good from damaged and changes nothing."""
    bad = []
    for wal in (False, True):
        sample = Sample(ctx, wal=wal)
        sample.restore()
        status, said = sample.check_state()
        if status != STATE_GOOD:
            bad.append(f"a good state (wal {wal}): status {status}: {said}")
        sample.restore()
        journal = sample.daemon.state / "journal"
        with open(journal, "r+b") as f:
            size = journal.stat().st_size
            for at in range(4096, size, 4096):
                f.seek(at)
                f.write(b"\xff" * 64)
        (sample.daemon.state / "journal-wal").unlink(missing_ok=True)
        before = digest(journal)
        status, said = sample.check_state()
        if status != STATE_DAMAGED:
            bad.append(f"a damaged journal: status {status}: {said}")
        if digest(journal) != before or set_aside(sample.daemon.state):
            bad.append("--check-state changed a damaged journal")
        sample.restore()
        db = sqlite3.connect(journal)
        db.execute("PRAGMA user_version = 9999")
        db.commit()
        db.close()
        status, said = sample.check_state()
        if status != STATE_NEWER:
            bad.append(f"a journal from the future: status {status}: {said}")
    if bad:
        raise Failed(bad)
