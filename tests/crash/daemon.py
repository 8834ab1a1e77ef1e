"""A durable slotd that may be killed at any moment, and its launcher that may outlive it."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "functional"))

from slottest import proc  # noqa: E402
from slottest.daemon import clean_environ, find_binary, sanitizer_report  # noqa: E402
from slottest.timing import SANITIZE, scaled  # noqa: E402
from wire import Conn, Gone  # noqa: E402

__all__ = ["SANITIZE", "Conn", "Daemon", "Gone", "NotReady", "build_helper", "find_binary", "proc",
           "reap", "scaled", "until", "watch_children"]


class NotReady(Exception):
    """slotd ended, or took too long, before it said that it was ready."""


def until(condition, seconds, what):
    """Polls until condition() is true and returns that; TimeoutError after so many seconds."""
    end = time.monotonic() + scaled(seconds)
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {scaled(seconds):g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def watch_children():
    """Makes us the parent of whatever below us is orphaned: launchers and lost jobs."""
    proc.become_subreaper()


def reap(keep=()):
    """Reaps our zombies other than those of keep."""
    for pid in proc.children(os.getpid()):
        stat = proc.stat_of(pid)
        if pid not in keep and stat and stat[1] == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def fd_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def build_helper(directory):
    """Compiles job.c; the program's path."""
    path = str(Path(directory) / "crash-job")
    subprocess.run([*os.environ.get("CC", "cc").split(), "-O1", "-static", "-o", path,
                    str(HERE / "job.c")], check=True, stdin=subprocess.DEVNULL)
    return path


class Daemon:
    """slotd on one state directory; `start` as often as wanted."""

    def __init__(self, tmp, *, state=None, max_running=8, durability="full", settings=(),
                 prefix=(), env=None):
        self.dir = Path(tmp)
        self.state = Path(state) if state else self.dir / "state"
        self.socket = self.dir / "sock"
        self.log_path = self.dir / "log"
        self.max_running = max_running
        self.durability = durability
        self.settings = list(settings)
        self.prefix = list(prefix)
        self.env = dict(env or {})
        self.popen = None
        self.starts = 0
        self.exec_at = 0.0      # CLOCK_MONOTONIC of the last start

    def command(self, *more):
        argv = [*self.prefix, find_binary("slotd"), "--socket", str(self.socket),
                "--state-dir", str(self.state), "--set", f"store.durability={self.durability}"]
        for setting in self.settings:
            argv += ["--set", setting]
        return argv + list(more)

    def environ(self, **more):
        for sub in ("run", "config"):
            (self.dir / sub).mkdir(mode=0o700, parents=True, exist_ok=True)
        return {**clean_environ(self.dir), **self.env, **more}

    def spawn(self, *more, pass_fds=(), **env):
        """Starts slotd without waiting for it."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            log.write(b"--- start\n")
            log.flush()
            self.exec_at = time.monotonic()
            self.popen = subprocess.Popen(
                self.command("--max-running", str(self.max_running), *more),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=str(self.dir),
                env=self.environ(**env), pass_fds=pass_fds)
        self.starts += 1
        return self

    def start(self, timeout=20.0, **env):
        """Starts slotd and waits until it is ready; returns the seconds that took."""
        reader, writer = os.pipe()
        try:
            self.spawn("--ready-fd", str(writer), pass_fds=[writer], **env)
            os.close(writer)
            writer = -1
            if not select.select([reader], [], [], scaled(timeout))[0]:
                self.kill()
                raise NotReady(f"slotd is not ready after {scaled(timeout):g} s")
            if not os.read(reader, 64):
                raise NotReady(f"slotd ended with {self.wait()} before it was ready: "
                               f"{self.log_tail()}")
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        return time.monotonic() - self.exec_at

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def wait(self, timeout=20.0):
        try:
            return self.popen.wait(scaled(timeout))
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError(f"slotd {self.pid} has not ended in {scaled(timeout):g} s") from exc

    def kill(self):
        self.popen.kill()
        return self.wait()

    def term(self):
        self.popen.send_signal(signal.SIGTERM)
        return self.wait()

    def connect(self):
        return Conn(self.socket)

    # -- the launcher ------------------------------------------------------------------------

    def launcher(self):
        """The pid of the launcher that runs, or None."""
        for pid in proc.descendants(os.getpid()):
            stat = proc.stat_of(pid)
            if stat and stat[0].startswith("slotd-launche") and stat[1] not in "ZX":
                return pid
        return None

    def kill_launcher(self):
        """Whether there was one; an engine that runs is given time to start another."""
        try:
            pid = self.launcher() or \
                until(lambda: not self.alive() or self.launcher(), 10, "a launcher")
        except TimeoutError:
            return False
        if pid is True:
            return False
        os.kill(pid, signal.SIGKILL)
        until(lambda: reap([self.pid]) or not proc.is_running(pid), 10, "end of the launcher")
        return True

    def jobs_alive(self):
        """Processes of jobs: all below us but engine and launcher."""
        known = {self.pid if self.popen else None, self.launcher()}
        return [pid for pid in proc.descendants(os.getpid())
                if pid not in known and proc.is_running(pid)]

    # -- looking -----------------------------------------------------------------------------

    def fds(self):
        """(of the engine, of the launcher)"""
        launcher = self.launcher()
        return fd_count(self.pid), fd_count(launcher) if launcher else 0

    def zombies(self):
        """Dead children that engine or launcher have not reaped."""
        parents = {self.pid, self.launcher()}
        found = []
        for pid in proc.descendants(os.getpid()):
            stat = proc.stat_of(pid)
            if stat and stat[1] == "Z" and stat[2] in parents:
                found.append(pid)
        return found

    def log(self):
        try:
            return self.log_path.read_text("utf-8", "replace")
        except OSError:
            return ""

    def cut_jobs(self):
        """The jobs of which the log says that a disk's error cost them output."""
        return {int(job) for job in re.findall(r"output not kept whole job=(\d+)", self.log())}

    def log_tail(self, size=600):
        return self.log()[-size:].strip()

    def sanitizer_report(self):
        return sanitizer_report(self.log())

    def destroy(self):
        """Ends everything below us, whatever state it is in."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            reap([self.pid] if self.popen else ())
            left = [p for p in proc.descendants(os.getpid()) if proc.is_running(p)]
            if self.popen:
                self.popen.poll()
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.005)
