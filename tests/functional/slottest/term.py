"""A terminal with a program in it."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from .daemon import wait_exit
from .timing import scaled


class Terminal:
    """A pseudo-terminal whose slave is 0, 1, 2 and the controlling terminal of a program."""

    def __init__(self, argv, env, cwd, rows=24, cols=80):
        self.loop = asyncio.get_running_loop()
        self.master, self.slave = pty.openpty()
        self.output = b""
        self.wake = None
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self.slave)
        os.set_blocking(self.master, False)
        self.popen = subprocess.Popen(
            argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env, cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.loop.add_reader(self.master, self._on_readable)

    def _on_readable(self):
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.loop.remove_reader(self.master)
        self.output += data
        if self.wake and not self.wake.done():
            self.wake.set_result(None)

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, data):
        os.write(self.master, data)

    async def expect(self, pattern, timeout=20.0):
        """Wait until the output matches; takes everything up to the end of the match."""
        compiled = re.compile(pattern)
        end = self.loop.time() + scaled(timeout)
        while True:
            found = compiled.search(self.output)
            if found:
                self.output = self.output[found.end():]
                return found
            self.wake = self.loop.create_future()
            try:
                await asyncio.wait_for(self.wake, end - self.loop.time())
            except asyncio.TimeoutError as exc:
                raise AssertionError(f"never saw {pattern!r}; saw {self.output[-800:]!r}") from exc

    async def wait(self, timeout=20.0):
        return await wait_exit(self.popen, timeout, "program in the terminal")

    def modes(self):
        return termios.tcgetattr(self.slave)

    def close(self):
        self.loop.remove_reader(self.master)
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        os.close(self.master)
        os.close(self.slave)
