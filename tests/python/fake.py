"""A daemon that says what a test wants it to say."""

import asyncio
import json

HELLO = {"protocol": 1, "server": "fake", "instance": "i1", "session": "s1", "uid": 0,
         "features": [], "limits": {"max_in_flight": 256}, "seq": 0}


def line(message):
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"


def result(ident, value):
    return line({"id": ident, "result": value})


def error(ident, code, kind, **data):
    return line({"id": ident, "error": {"code": code, "message": kind.lower(),
                                        "data": {"kind": kind, **data}}})


def item(stream, n, job, seq, **more):
    return line({"method": "$/item", "params": {
        "stream": stream, "n": n, "job": job, "seq": seq, "ok": True, "outcome": "exited",
        "exit_code": 0, "signal": None, "tag": None, "stdout": "", "stderr": "", **more}})


class Peer:
    """One connection of a client. ``seen``: the requests that were read, in order."""

    def __init__(self, fake, reader, writer, number):
        self.fake, self.reader, self.writer, self.number = fake, reader, writer, number
        self.seen = []

    async def read(self):
        """The next message, None at the end."""
        row = await self.reader.readline()
        if not row:
            return None
        self.seen.append(json.loads(row))
        return self.seen[-1]

    async def until(self, method):
        """The next message with this method; those before it are passed over."""
        while True:
            message = await self.read()
            if message is None:
                raise ConnectionError(f"the client left before {method}")
            if message["method"] == method:
                return message

    def send(self, *lines):
        self.writer.write(b"".join(lines))

    async def greet(self, **members):
        message = await self.until("hello")
        self.send(result(message["id"], {**HELLO, **members}))
        return message

    async def subscribed(self):
        return (await self.until("completions.subscribe"))["id"]


class Fake:
    """Listens at ``path``; each connection is given to ``serve(peer)`` and closed after it."""

    def __init__(self, path, serve):
        self.path, self._serve = path, serve
        self.peers = []
        self.failures = []
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._on_client, self.path, limit=1 << 26)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        for failure in self.failures:
            raise failure

    async def _on_client(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        peer = Peer(self, reader, writer, len(self.peers))
        self.peers.append(peer)
        try:
            await self._serve(peer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as failure:
            self.failures.append(failure)
        finally:
            writer.close()
            self._tasks.discard(task)
