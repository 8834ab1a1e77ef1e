"""What the tests of the Python package share: a daemon for each test, over both stores."""

import asyncio
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "functional")]

from slottest.daemon import Daemon  # noqa: E402
from slottest.timing import eventually, scaled  # noqa: E402

__all__ = ["Case", "Daemon", "eventually", "scaled"]


class Case(unittest.IsolatedAsyncioTestCase):
    """``self.daemon`` runs before each test; ``durability`` and ``max_running`` choose how."""

    durability = "full"
    max_running = 4

    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news
        self.dir = tempfile.mkdtemp(prefix="slotd-python-")
        self.daemon = Daemon(self.dir, durability=self.durability, max_running=self.max_running)
        await self.daemon.start()
        self.path = str(self.daemon.socket)

    async def asyncTearDown(self):
        if self.daemon.alive():
            await self.daemon.stop()
        self.daemon.end_launcher()
        shutil.rmtree(self.dir, ignore_errors=True)

    def file(self, name):
        return os.path.join(self.dir, name)

    async def until(self, condition, what):
        """Waits for a condition with a deadline."""
        return await eventually(condition, 20, what)

    async def open_gate(self, name, text=""):
        """Lets go whoever reads this FIFO."""
        await self.in_thread(lambda: Path(name).write_text(text, "ascii"))

    async def in_thread(self, fn, *args):
        """A blocking call beside the loop that the daemon is watched from."""
        return await asyncio.get_running_loop().run_in_executor(None, fn, *args)
