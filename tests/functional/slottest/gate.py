"""Jobs that end when the test says so, and files that jobs leave marks in."""

import os

from .timing import eventually


class Gate:
    """A FIFO; its job reads one line from it and exits with the number in that line.

    The test's own descriptor is read-write, so neither side waits for the other at open().
    """

    SCRIPT = 'read code <"$1"; exit "$code"'

    def __init__(self, directory, name):
        self.path = os.path.join(str(directory), f"gate-{name}")
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def spec(self, **more):
        return {"argv": ["sh", "-c", self.SCRIPT, "gate", self.path], **more}

    def open(self, code=0):
        os.write(self.fd, b"%d\n" % code)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Mark:
    """A file that appears, or gets lines, when a job reaches a point."""

    def __init__(self, directory, name):
        self.path = os.path.join(str(directory), name)

    def exists(self):
        return os.path.exists(self.path)

    def text(self):
        try:
            with open(self.path, "r", encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def lines(self):
        return self.text().splitlines()

    async def line(self, index=0, timeout=10.0):
        """The index-th complete line, awaited."""
        def whole():
            rows = self.text().split("\n")[:-1]
            return [rows[index]] if len(rows) > index else None
        return (await eventually(whole, timeout, f"line {index} in {self.path}"))[0]

    async def pid(self, index=0, timeout=10.0):
        return int(await self.line(index, timeout))
