"""Running slotctl."""

import asyncio
import collections
import json
import os

from .daemon import clean_environ, find_binary, sanitizer_report
from .timing import scaled


class Done(collections.namedtuple("Done", "status out err")):
    """How a slotctl ended: exit status, stdout bytes, stderr text."""

    @property
    def text(self):
        return self.out.decode("utf-8", "replace")

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def json(self):
        """stdout as a list of JSON objects, one per line."""
        return [json.loads(row) for row in self.lines]


class Ctl:
    """slotctl against one socket."""

    def __init__(self, socket_path, home, env=None):
        self.env = clean_environ(home)
        self.env["SLOTCTL_START"] = "0"
        if socket_path:
            self.env["SLOTD_SOCKET"] = str(socket_path)
        self.env.update(env or {})
        self.cwd = str(home)
        self.started = []

    async def start(self, *args, env=None, cwd=None, **more):
        """Start slotctl with pipes on 0, 1, 2 unless told otherwise."""
        more.setdefault("stdin", asyncio.subprocess.PIPE)
        more.setdefault("stdout", asyncio.subprocess.PIPE)
        more.setdefault("stderr", asyncio.subprocess.PIPE)
        process = await asyncio.create_subprocess_exec(
            find_binary("slotctl"), *[a if isinstance(a, bytes) else str(a) for a in args],
            env={**self.env, **(env or {})}, cwd=cwd or self.cwd, limit=1 << 20, **more)
        self.started.append(process)
        return process

    async def run(self, *args, input=b"", timeout=30.0, **more):
        """Run slotctl to its end."""
        process = await self.start(*args, **more)
        try:
            out, err = await asyncio.wait_for(process.communicate(input), scaled(timeout))
        except asyncio.TimeoutError as exc:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(f"slotctl {args} still ran after {scaled(timeout):g} s; "
                                 f"stdout {out!r}, stderr {err!r}") from exc
        text = (err or b"").decode("utf-8", "replace")
        report = sanitizer_report(text)
        assert not report, f"slotctl {args}: {text}"
        return Done(process.returncode, out or b"", text)

    async def ok(self, *args, **more):
        """Run and insist on exit status 0."""
        done = await self.run(*args, **more)
        assert done.status == 0, f"slotctl {args}: {done}"
        return done

    def kill_all(self):
        for process in self.started:
            if process.returncode is None:
                try:
                    os.kill(process.pid, 9)
                except ProcessLookupError:
                    pass
