"""A slotd of one's own: temporary directory, socket, log."""

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

from . import proc
from .client import Client, Raw, fd_count
from .timing import eventually, scaled

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("SLOT_BUILD_DIR") or ROOT / "build").resolve()
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
           "AddressSanitizer:DEADLYSIGNAL", "WARNING: ThreadSanitizer")
WHERE = {"slotd": "daemon", "slotctl": "ctl", "slotd-launcher": "launcher"}


def find_binary(name):
    """A program of the build under test; the environment (SLOTD, …) may name another."""
    override = os.environ.get(name.upper().replace("-", "_") + "_BINARY")
    if override:
        return override
    for path in (BUILD / name, BUILD / "src" / name, BUILD / "src" / WHERE[name] / name):
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise FileNotFoundError(f"no {name} in {BUILD}; build first or set SLOT_BUILD_DIR")


def sanitizer_report(text):
    """The first line that a sanitizer wrote, or None."""
    for row in text.splitlines():
        if any(mark in row for mark in REPORTS):
            return row
    return None


def clean_environ(home):
    """An environment that reaches nothing of the caller's own slotd."""
    keep = ("PATH", "LANG", "TERM", "USER", "LOGNAME", "SHELL", "TMPDIR", "LD_LIBRARY_PATH",
            "LSAN_OPTIONS")
    env = {key: os.environ[key] for key in keep if key in os.environ}
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    env.setdefault("TERM", "xterm")
    env["HOME"] = str(home)
    env["XDG_RUNTIME_DIR"] = str(home / "run")
    env["XDG_STATE_HOME"] = str(home / "state")
    env["XDG_CONFIG_HOME"] = str(home / "config")
    env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "exitcode=99:detect_leaks=1")
    env["UBSAN_OPTIONS"] = os.environ.get("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    return env


async def wait_exit(popen, timeout=20.0, what="process"):
    """The exit status of a Popen, awaited without blocking the loop."""
    loop = asyncio.get_running_loop()
    if popen.poll() is not None:
        return popen.returncode
    fd = os.pidfd_open(popen.pid)
    future = loop.create_future()
    loop.add_reader(fd, lambda: future.done() or future.set_result(None))
    try:
        await asyncio.wait_for(future, scaled(timeout))
    except asyncio.TimeoutError as exc:
        raise AssertionError(f"{what} {popen.pid} still runs after {scaled(timeout):g} s") from exc
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return popen.wait()


class Daemon:
    """One daemon process: in memory mode, unless `durability` or the environment
    (SLOT_TEST_DURABILITY=full runs everything over a journal) say otherwise."""

    def __init__(self, directory, *, max_running=4, settings=(), args=(), env=None, name="d",
                 socket_path=None, preexec_fn=None, restore_signals=True, durability=None,
                 state=None):
        self.dir = Path(directory) / name
        self.socket = Path(socket_path) if socket_path else self.dir / "sock"
        self.max_running = max_running
        self.settings = tuple(settings)
        self.args = tuple(args)
        self.extra_env = dict(env or {})
        self.preexec_fn = preexec_fn
        self.restore_signals = restore_signals
        self.durability = durability or os.environ.get("SLOT_TEST_DURABILITY") or "memory"
        self.state = Path(state) if state else self.dir / "state"
        self.popen = None
        self.clients = []
        self.expect_dead = False
        self.log_path = self.dir / "log"

    # -- life ----------------------------------------------------------------------------

    def command(self):
        argv = [find_binary("slotd"), "--socket", str(self.socket), "--state-dir",
                str(self.state), "--set", f"store.durability={self.durability}"]
        if self.max_running is not None:
            argv += ["--max-running", str(self.max_running)]
        for setting in self.settings:
            argv += ["--set", setting]
        return argv + list(self.args)

    def environ(self):
        env = clean_environ(self.dir)
        env.update(self.extra_env)
        return env

    def spawn(self, extra=(), pass_fds=()):
        """Start the process without waiting for it."""
        for sub in ("", "run", "state", "config"):
            (self.dir / sub).mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.command() + list(extra), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environ(), pass_fds=pass_fds, cwd=str(self.dir),
                preexec_fn=self.preexec_fn, restore_signals=self.restore_signals)
        return self.popen

    async def start(self, timeout=20.0):
        """Start and wait until it says that it is ready."""
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            self.spawn(["--ready-fd", str(writer)], pass_fds=[writer])
        finally:
            os.close(writer)
        ready = loop.create_future()
        loop.add_reader(reader, lambda: ready.done() or ready.set_result(None))
        try:
            await asyncio.wait_for(ready, scaled(timeout))
            said = os.read(reader, 64)
        except asyncio.TimeoutError as exc:
            raise AssertionError(f"slotd not ready in {scaled(timeout):g} s\n{self.log()}") from exc
        finally:
            loop.remove_reader(reader)
            os.close(reader)
        if not said:
            status = await wait_exit(self.popen, 5, "slotd that closed its ready-fd")
            raise AssertionError(f"slotd ended with {status} before it was ready\n{self.log()}")
        return self

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def log(self):
        try:
            return self.log_path.read_text("utf-8", "replace")
        except OSError:
            return ""

    def signal(self, number):
        self.popen.send_signal(number)

    async def wait(self, timeout=20.0):
        return await wait_exit(self.popen, timeout, "slotd")

    async def stop(self, timeout=30.0):
        """TERM; exit status 0 is the contract of a memory daemon."""
        self.expect_dead = True
        self.signal(signal.SIGTERM)
        status = await self.wait(timeout)
        assert status == 0, f"slotd exited {status} on TERM"
        return status

    async def kill(self):
        """kill -9 the engine."""
        self.expect_dead = True
        self.signal(signal.SIGKILL)
        await self.wait()

    @property
    def durable(self):
        return self.durability != "memory"

    async def restart(self, number=9):
        """Ends the engine (by default kill -9) and starts it again over the same state. Clients
        are to connect anew."""
        self.expect_dead = True
        self.signal(number)
        await self.wait()
        self.expect_dead = False
        return await self.start()

    def end_launcher(self):
        """A launcher whose socket is removed ends its jobs and leaves."""
        if self.durable:
            (self.state / "launcher.sock").unlink(missing_ok=True)

    def launcher(self):
        """The launcher's pid."""
        if self.durable:
            return self._durable_launcher()
        for child in proc.children(self.pid):
            stat = proc.stat_of(child)
            if stat and stat[0].startswith("slotd-launche"):
                return child
        return None

    def _durable_launcher(self):
        """Asks the kernel who listens at the state directory's launcher.sock."""
        inode = None
        path = str(self.state / "launcher.sock")  # bound as .new, and renamed
        with open("/proc/net/unix", encoding="utf-8") as table:
            for row in table:
                parts = row.split()
                if len(parts) > 7 and parts[7] in (path, path + ".new") and \
                        parts[5] == "01":
                    inode = parts[6]
        if inode is None:
            return None
        parents = {}
        for pid in proc.all_pids():
            stat = proc.stat_of(pid)
            if stat and stat[0].startswith("slotd-launche") and proc.has_socket(pid, inode):
                parents[pid] = stat[2]
        # A child that is not yet at its program looks the same.
        return next((pid for pid, parent in parents.items() if parent not in parents), None)

    async def launcher_pid(self):
        return await eventually(self.launcher, 10, "a launcher below slotd")

    # -- measures ------------------------------------------------------------------------

    def fds(self):
        """Open descriptors of engine and launcher together."""
        return fd_count(self.pid) + fd_count(self.launcher())

    def rss_kib(self):
        return proc.rss_kib(self.pid)

    def jobs_alive(self):
        """Processes below the launcher."""
        return [pid for pid in proc.descendants(self.launcher()) if proc.is_running(pid)]

    # -- connections ---------------------------------------------------------------------

    async def connect(self):
        client = await Client.open(self.socket)
        self.clients.append(client)
        return client

    async def raw(self):
        raw = await Raw.open(self.socket)
        self.clients.append(raw)
        return raw

    def close_clients(self):
        for client in self.clients:
            client.close()

    def broken_clients(self):
        """Breaches of the framing rules that clients saw."""
        return [c.broken for c in self.clients if isinstance(c, Client) and c.broken]

    def stream_socket(self):
        """A plain blocking socket, for tests that count bytes."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self.socket))
        return sock
