"""Deadlines: scaled for slow builds, and waiting on a condition instead of sleeping."""

import asyncio
import inspect
import os
import time

SANITIZE = os.environ.get("SLOT_SANITIZE", "0") not in ("", "0")
SCALE = float(os.environ.get("SLOT_TEST_SCALE", "4" if SANITIZE else "1"))


def scaled(seconds):
    """A deadline in seconds, longer where the build under test is slow."""
    return seconds * SCALE


async def within(awaitable, seconds=20.0, what=None):
    """Await with a scaled deadline and a message that says what was awaited."""
    try:
        return await asyncio.wait_for(awaitable, scaled(seconds))
    except asyncio.TimeoutError as exc:
        name = what or getattr(awaitable, "__qualname__", str(awaitable))
        raise AssertionError(f"not within {scaled(seconds):g} s: {name}") from exc


async def eventually(fn, timeout=10.0, what=None):
    """Poll fn (plain or async) until it returns something true; that is returned."""
    end = time.monotonic() + scaled(timeout)
    pause = 0.002
    while True:
        value = fn()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never came true in {scaled(timeout):g} s: {what or fn}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.05)


async def read_to_end(fd, timeout=60.0):
    """All bytes of a pipe up to its end; the descriptor stays the caller's."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    parts, ended = [], loop.create_future()

    def on_readable():
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return
        parts.append(data)
        if not data and not ended.done():
            ended.set_result(None)
    loop.add_reader(fd, on_readable)
    try:
        await within(ended, timeout, f"end of the pipe after {sum(map(len, parts))} bytes")
    finally:
        loop.remove_reader(fd)
    return b"".join(parts)
