"""Runs things: a slotd of one's own, the bench programs, peers; in turn, and on a quiet machine."""
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

SECONDS_MAX = 900  # for any one program
READY_SECONDS_MAX = 120
QUIET_SHARE = 0.10  # of all CPUs: more than this is used by others


class Failed(Exception):
    """A measurement could not be made."""


class Missing(Exception):
    """Something that this measurement needs isn't there; its text says what."""


def need(program, package=None):
    if shutil.which(program) is None:
        raise Missing(f"install {package or program}")


# ---- a quiet machine -----------------------------------------------------------------------------


def cpu_ticks():
    """Ticks since the start, of all CPUs together: in use, in all."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(word) for word in f.readline().split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def busy_share(seconds=0.5):
    used, total = cpu_ticks()
    time.sleep(seconds)
    used_then, total_then = cpu_ticks()
    return (used_then - used) / max(1, total_then - total)


def wait_quiet(patience_s):
    """The share of the CPUs that others use, once it is small or patience is at its end."""
    deadline = time.monotonic() + patience_s
    share = busy_share()
    while share > QUIET_SHARE and time.monotonic() < deadline:
        share = busy_share(1)
    return share


# ---- rounds --------------------------------------------------------------------------------------


def alternate(rounds, *sides):
    """Calls each of SIDES in turn, ROUNDS times, every second time in reverse order, so that what
    drifts meets all alike. The results, one list for each side."""
    results = [[] for _ in sides]
    for n in range(rounds):
        order = list(range(len(sides)))
        for i in order if n % 2 == 0 else reversed(order):
            results[i].append(sides[i]())
    return results


def median_of(results, key="per_s"):
    return statistics.median(result[key] for result in results)


# ---- processes -----------------------------------------------------------------------------------


def output(argv, **options):
    """What a program prints. It may not fail."""
    try:
        done = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=SECONDS_MAX,
                              stdin=subprocess.DEVNULL, check=False, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{os.path.basename(str(argv[0]))} ended with {done.returncode}: "
                     f"{(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def figures(argv, **options):
    """The line of JSON that a program of this directory prints."""
    return json.loads(output(argv, **options))


def end(process, seconds=30):
    """Ends what was started here, by its pid."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition, what, seconds=READY_SECONDS_MAX):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def children(pid):
    """Pids of the processes whose parent is PID."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                if int(f.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
    return found


def status_number(pid, field, task=None):
    """A number of /proc/PID/status, of one thread with TASK. VmRSS is in KiB."""
    path = f"/proc/{pid}/status" if task is None else f"/proc/{pid}/task/{task}/status"
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise Failed(f"{path} has no {field}")


def rss_bytes(*pids):
    return sum(status_number(pid, "VmRSS") for pid in pids) * 1024


def context_switches(*pids):
    """Of every thread, voluntary or not: a thread that sleeps has none."""
    return sum(status_number(pid, field, task) for pid in pids
               for task in os.listdir(f"/proc/{pid}/task")
               for field in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))


@contextlib.contextmanager
def directory():
    """A temporary directory. What is durable is measured on its disk: TMPDIR chooses it."""
    path = tempfile.mkdtemp(prefix="slotd-bench-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Daemon:
    """A slotd of one's own in the directory WHERE, whose journal outlives it there; ended at the
    end of the with. WRAP: a command in front of it, such as valgrind."""

    def __init__(self, build, where, store="memory", max_running=4, settings=(), wrap=()):
        self.socket = os.path.join(where, "s")
        self.log = os.path.join(where, "log")
        self.wrap = [*wrap]
        self.argv = [*wrap, os.path.join(build, "slotd"), "--user", "--socket", self.socket,
                     "--state-dir", os.path.join(where, "state"), "--config", "/dev/null",
                     "--set", f"store.durability={store}", "--max-running", str(max_running)]
        for setting in settings:
            self.argv += ["--set", setting]
        self.environ = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": where,
                        "XDG_RUNTIME_DIR": where,
                        "SLOTD_LAUNCHER": os.path.join(build, "slotd-launcher")}
        self.process = self.launcher = self.launcher_fd = self.started = None

    def __enter__(self):
        ready, writer = os.pipe()
        with os.fdopen(ready) as said, open(self.log, "a", encoding="utf-8") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                [*self.argv, "--ready-fd", str(writer)], env=self.environ, pass_fds=[writer],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            os.close(writer)
            line = said.readline()
        if "READY" not in line:
            end(self.process)
            raise Failed(f"slotd didn't start: {self.log_tail()}")
        self.launcher = self.find_launcher()
        self.launcher_fd = os.pidfd_open(self.launcher)
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    @property
    def pids(self):
        return [self.process.pid, self.launcher]

    def find_launcher(self):
        """The child of slotd; it may be ready while that one has yet to exec."""
        found = []

        def look():
            for pid in children(self.process.pid):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                    if b"launcher" in f.read():
                        found.append(pid)
            return found

        wait_until(look, "slotd-launcher")
        return found[0]

    def stop(self):
        """A durable daemon's launcher would stay and keep the ends of its jobs for the next one."""
        if self.process is None:
            return
        end(self.process, READY_SECONDS_MAX)
        self.end_launcher(signal.SIGTERM)
        self.process = None

    def kill(self):
        """As a power cut ends it, but for the disk's cache."""
        self.process.kill()
        self.process.wait()
        self.end_launcher(signal.SIGKILL)
        self.process = None

    def end_launcher(self, signum):
        """It isn't our child; its descriptor names it, whatever its pid is given to."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.launcher_fd, signum)
        ended = select.select([self.launcher_fd], [], [], READY_SECONDS_MAX)[0]
        os.close(self.launcher_fd)
        if not ended:
            raise Failed(f"slotd-launcher {self.launcher} doesn't end")

    def log_tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()[-300:].strip()

    def call(self, method, **params):
        """The result of one request."""
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(READY_SECONDS_MAX)
            s.connect(self.socket)
            s.sendall(line.encode() + b"\n")
            with s.makefile("rb") as f:
                reply = json.loads(f.readline() or b"{}")
        if "result" not in reply:
            raise Failed(f"{method}: {reply.get('error')}")
        return reply["result"]


class Server:
    """A peer that listens on a unix socket, ended at the end of the with."""

    def __init__(self, argv, path):
        self.argv, self.path, self.process = argv, path, None

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: self.answers() or self.process.poll() is not None, self.argv[0])
            if self.process.poll() is not None:
                raise Failed(f"{self.argv[0]} ended at once")
        except Failed:
            end(self.process)
            raise
        return self

    def __exit__(self, *_):
        end(self.process)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.path) == 0
