"""A slotd under callgrind whose every turn is the same in every run.

What makes counts differ from run to run is which events a turn of a loop finds together.  So
nothing here races: a step is taken only when every process below is at rest, and what comes from
several sources at once (the ends of a job's pipes, its exit) comes while engine and launcher are
stopped. Timers of a few milliseconds have rung before the next step: a race with them would depend
on how busy the machine is.
"""

import errno
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEADLINE_S = 60
RESTING = "STtZX"
FIFO = "go"
TIMERS_S = 0.02         # longer than what the engine puts off for a moment: 10 and 5 ms
WINDOW = 64             # requests in flight
HISTORY = 256           # completions


class Trouble(Exception):
    """The scenario didn't go as it should."""


# ---- processes at rest ---------------------------------------------------------------------------

def read(path):
    try:
        with open(path, "r", encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def children(pid):
    """Pids whose parent is pid; from the kernel's list if it has one."""
    try:
        lists = [f"/proc/{pid}/task/{task}/children" for task in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []
    if all(os.path.exists(path) for path in lists):
        return [int(child) for path in lists for child in read(path).split()]
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and
            read(f"/proc/{name}/stat").rpartition(")")[2].split()[1:2] == [str(pid)]]


def family(pid):
    found = [pid]
    for one in found:
        found += children(one)
    return found


def look(pid):
    """Of each thread of pid and of what is below it: state, and how often it went to sleep."""
    seen = {}
    for process in family(pid):
        try:
            tasks = os.listdir(f"/proc/{process}/task")
        except OSError:
            continue
        for task in tasks:
            text = read(f"/proc/{process}/task/{task}/status")
            seen[task] = re.findall(r"^(?:State:\s+(\S)|\w*voluntary_ctxt_switches:\s+(\d+))",
                                    text, re.M)
    return seen


def settle(pid):
    """Returns when nothing below pid has run between two looks, and nothing wants to."""
    end, before = time.monotonic() + DEADLINE_S, None
    while True:
        now = look(pid)
        if now == before and all(rows and rows[0][0] in RESTING for rows in now.values()):
            return
        if time.monotonic() > end:
            raise Trouble(f"no rest: {now}")
        before = now
        time.sleep(0.0002)


def end(pid):
    """Ends a process, by a descriptor: a number may soon be another's."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGCONT, signal.SIGTERM):
            signal.pidfd_send_signal(fd, number)
        if not select.select([fd], [], [], DEADLINE_S)[0]:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            select.select([fd], [], [])
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


# ---- a client ------------------------------------------------------------------------------------

class Client:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(path)
        self.lines = self.sock.makefile("rb")
        self.sent = 0

    def close(self):
        self.lines.close()
        self.sock.close()

    def line(self, method, params):
        self.sent += 1
        return json.dumps({"jsonrpc": "2.0", "id": self.sent, "method": method, "params": params},
                          separators=(",", ":")).encode() + b"\n"

    def hear(self):
        message = json.loads(self.lines.readline() or b"{}")
        if "result" not in message and message.get("method") != "$/item":
            raise Trouble(f"unexpected: {message}")
        return message

    def call(self, method, params):
        self.sock.sendall(self.line(method, params))
        return self.hear()["result"]


# ---- the daemon ----------------------------------------------------------------------------------

def callgrind(out, program):
    return ["valgrind", "--tool=callgrind", "--trace-children=no", "-q",
            f"--callgrind-out-file={out}", *program]


# Which of several variants of memcpy, strlen, … libc takes is for the processor to say; these take
# it the choice, so that the counts are the same on another one.
TUNABLES = "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX,-BMI2,-ERMS,-FSRM,-SSSE3,-SSE4_2"


def environment(directory):
    """Of what is counted: of the caller's there is nothing in it."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C",
            "GLIBC_TUNABLES": TUNABLES}


def total(path):
    """The instructions of one profile, or None where there is none."""
    found = re.search(r"^totals: (\d+)", read(path), re.M)
    return int(found.group(1)) if found else None


class Daemon:
    """Engine and launcher, both counted, on a directory that is gone afterwards."""

    def __init__(self, build, durability, max_running=4):
        self.tmp = tempfile.TemporaryDirectory(prefix="slot-count-", dir="/tmp")
        self.dir = Path(self.tmp.name)
        for sub in ("run", "state"):
            (self.dir / sub).mkdir(mode=0o700)
        os.mkfifo(self.dir / FIFO)
        wrapper = self.dir / "launcher"
        command = callgrind(self.dir / "count.launcher", [f"{build}/slotd-launcher"])
        wrapper.write_text(f"#!/bin/sh\nexec {' '.join(command)} \"$@\"\n", encoding="utf-8")
        wrapper.chmod(0o700)
        self.socket = str(self.dir / "run" / "sock")
        argv = callgrind(self.dir / "count.engine", [
            f"{build}/slotd", "--user", "--socket", self.socket, "--state-dir",
            str(self.dir / "state"), "--launcher", str(wrapper), "--ready-fd", "1",
            "--max-running", str(max_running),
            "--set", f"store.durability={durability}"])
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=log, cwd=self.dir, env=environment(self.dir))
        if b"READY" not in self.popen.stdout.readline():
            self.end()
            raise Trouble(f"slotd didn't start: {self.said}")
        self.rest()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def rest(self):
        settle(self.popen.pid)

    def pause(self):
        """As rest; nothing that was put off for a moment is still to come."""
        time.sleep(TIMERS_S)
        self.rest()

    def launcher(self):
        """Its pid. (The engine has no other child.)"""
        found = children(self.popen.pid)
        if len(found) != 1:
            raise Trouble(f"children of the engine: {found}")
        return found[0]

    def stop(self, *pids):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.rest()

    def go_on(self, pid):
        os.kill(pid, signal.SIGCONT)
        self.rest()

    def end(self):
        """(instructions of the engine, of the launcher); None where it was killed."""
        if self.popen is None:
            return None, None
        pids = family(self.popen.pid) if self.popen.poll() is None else []
        for pid in pids:                # the engine, and then its launcher
            end(pid)
        self.popen.wait()
        self.popen.stdout.close()
        self.popen = None
        self.said = read(self.log)
        counts = total(self.dir / "count.engine"), total(self.dir / "count.launcher")
        self.tmp.cleanup()
        return counts


class Gate:
    """A FIFO at which a job waits."""

    def __init__(self, path):
        self.path = path
        self.fd = -1

    def await_job(self):
        """Returns when the job has opened it; from then on it waits for us to close."""
        end_of_wait = time.monotonic() + DEADLINE_S
        while self.fd < 0:
            try:
                self.fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as exc:
                if exc.errno != errno.ENXIO or time.monotonic() > end_of_wait:
                    raise Trouble(f"the job doesn't begin: {exc}") from exc
                time.sleep(0.0005)

    def open(self):
        os.close(self.fd)
        self.fd = -1


# ---- scenarios: so many units of something -------------------------------------------------------

def lockstep(build, durability, jobs):
    """Captured jobs, one after the other, each awaited by a subscriber."""
    with Daemon(build, durability) as d:
        client = Client(d.socket)
        client.sock.sendall(client.line("completions.subscribe", {}))
        spec = {"argv": ["cat", FIFO], "cwd": str(d.dir), "tag": 12345}
        launcher, gate = d.launcher(), Gate(d.dir / FIFO)
        for _ in range(jobs):
            client.call("job.submit", spec)
            gate.await_job()
            d.pause()                   # its pipes are watched
            d.stop(d.popen.pid, launcher)
            gate.open()
            d.rest()                    # it has ended
            d.go_on(launcher)           # which tells the engine
            d.go_on(d.popen.pid)
            d.pause()                   # its end is acknowledged
            if not client.hear()["params"]["ok"]:
                raise Trouble("the job failed")
        return d.end()


def submit(build, windows):
    """Submits into an executor that starts nothing, a window in flight."""
    with Daemon(build, "memory", max_running=0) as d:
        client = Client(d.socket)
        spec = {"argv": ["/usr/bin/printf", "%s\n", "x" * 40], "name": "a name", "tag": 12345}
        for _ in range(windows):
            client.sock.sendall(b"".join(client.line("job.submit", spec) for _ in range(WINDOW)))
            for _ in range(WINDOW):
                client.hear()
            d.rest()
        return d.end()


def replay(build, subscribers):
    """A subscriber after the other reads what is in history."""
    with Daemon(build, "memory", max_running=0) as d:
        client = Client(d.socket)
        jobs = client.call("job.submit_batch", {"jobs": [{"argv": ["true"]}] * HISTORY})["jobs"]
        client.call("job.cancel", {"jobs": jobs})
        d.rest()
        for _ in range(subscribers):
            reader = Client(d.socket)
            reader.sock.sendall(reader.line("completions.subscribe", {"since_seq": 0}))
            d.rest()
            for _ in range(HISTORY):
                reader.hear()
            reader.close()
            d.rest()
        return d.end()
