"""The test case: starts a daemon before each test and looks for damage after it."""

import asyncio
import os
import shutil
import tempfile
import unittest
from pathlib import Path

from . import proc
from .ctl import Ctl
from .daemon import Daemon, sanitizer_report
from .gate import Gate, Mark
from .timing import eventually, scaled

DEFAULT_LIMIT = 60.0


def limit(seconds):
    """Give a test another time limit than the default."""
    def mark(fn):
        fn.limit = seconds
        return fn
    return mark


def alone(fn):
    """Run a test that measures time or memory with no other beside it."""
    fn.alone = True
    return fn


class Case(unittest.IsolatedAsyncioTestCase):
    """`self.d` is a daemon and `self.c` a client of it, unless `autostart` is false.  Where the
    store matters, `durability` names it; else the same test has to pass over every store."""

    autostart = True
    durability = None
    max_running = 4
    settings = ()
    maxDiff = 4000

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        # A cleanup and not asyncTearDown, for it must also follow a start that failed.
        self.addAsyncCleanup(self._clean)
        # Short, because a socket's path has at most 107 bytes.
        self.tmp = Path(tempfile.mkdtemp(prefix=f"slt-{os.getpid()}-", dir="/tmp"))
        self.daemons = []
        self.gates = []
        self.ctls = []
        self.gone = []
        if self.autostart:
            self.d = await self.start()
            self.c = await self.d.connect()
            self.ctl = self.make_ctl()

    def _callTestMethod(self, method):
        seconds = scaled(getattr(method, "limit", DEFAULT_LIMIT))

        async def guarded():
            try:
                await asyncio.wait_for(method(), seconds)
            except asyncio.TimeoutError as exc:
                raise AssertionError(f"time limit: the test ran longer than {seconds:g} s "
                                     "(where, see the exception above)") from exc
        self._callMaybeAsync(guarded)

    # -- what tests ask for --------------------------------------------------------------

    def make_daemon(self, **options):
        options.setdefault("name", f"d{len(self.daemons)}")
        options.setdefault("max_running", self.max_running)
        options.setdefault("settings", self.settings)
        if self.durability:
            options.setdefault("durability", self.durability)
        daemon = Daemon(self.tmp, **options)
        self.daemons.append(daemon)
        return daemon

    async def start(self, **options):
        return await self.make_daemon(**options).start()

    def make_ctl(self, daemon=None, **options):
        daemon = daemon or self.d
        ctl = Ctl(daemon.socket, daemon.dir, **options)
        self.ctls.append(ctl)
        return ctl

    def gate(self):
        gate = Gate(self.tmp, len(self.gates))
        self.gates.append(gate)
        return gate

    def mark(self, name):
        return Mark(self.tmp, name)

    def assertKind(self, error, kind, code=None, **data):
        """An error response of one kind, with these members in its data."""
        self.assertEqual(error.kind, kind, error)
        if code is not None:
            self.assertEqual(error.code, code, error)
        for key, value in data.items():
            self.assertEqual(error.data.get(key), value, f"data.{key} of {error}")

    async def phase(self, job, phase="running", client=None, timeout=10.0):
        """Wait until a job is in a phase."""
        client = client or self.c

        async def there():
            found = await client.get(job)
            return found if found["phase"] == phase else None
        return await eventually(there, timeout, f"job {job} {phase}")

    # -- damage --------------------------------------------------------------------------

    async def _clean(self):
        problems = []
        for ctl in self.ctls:
            ctl.kill_all()
        for daemon in self.daemons:
            problems += [f"protocol: {exc}" for exc in daemon.broken_clients()]
            daemon.close_clients()
        for daemon in self.daemons:
            problems += await self._end(daemon)
        for gate in self.gates:
            gate.close()
        problems += await self._leaks()
        problems += self._reports()
        shutil.rmtree(self.tmp, ignore_errors=True)
        if problems:
            self.fail("after the test:\n  " + "\n  ".join(problems))

    async def _end(self, daemon):
        problems = []
        if daemon.popen is None:
            return problems
        if not daemon.expect_dead:
            if not daemon.alive():
                problems.append(f"slotd died with {daemon.popen.returncode}")
            else:
                try:
                    await daemon.stop()
                except AssertionError as exc:
                    problems.append(str(exc))
        if daemon.alive():
            daemon.popen.kill()
            daemon.popen.wait()
        daemon.end_launcher()
        return problems

    def _reports(self):
        """What sanitizers wrote, also those of launchers that outlived their engine."""
        problems = []
        for daemon in self.daemons:
            text = daemon.log()
            LOGS.append((str(daemon.dir.name), text))
            report = sanitizer_report(text)
            if report:
                problems.append(f"sanitizer: {report}")
        return problems

    async def _leaks(self):
        """Nothing that we or our daemons started may be left."""
        me = os.getpid()

        def none_left():
            reap()
            return not [pid for pid in proc.descendants(me) if proc.is_running(pid)]
        try:
            await eventually(none_left, 10, "no process left")
            return []
        except AssertionError:
            left = [pid for pid in proc.descendants(me) if proc.is_running(pid)]
            names = [proc.describe(pid) for pid in left]
            for pid in left:
                try:
                    os.kill(pid, 9)
                except OSError:
                    pass
            return ["left behind: " + name for name in names]


def reap():
    """Collect orphans that fell to us as their subreaper."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


LOGS = []
