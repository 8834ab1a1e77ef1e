"""One conversation with the daemon: requests, streams, and a new connection when it is lost.

Everything here belongs to one asyncio loop and is not thread-safe. What may be sent again after a
reconnect is decided by whoever asks, with ``again``: a function from the parameters that were sent
to those to send now.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Callable, Dict, List, Optional

from . import wire
from .errors import ConnectionLost, InstanceChanged, ProtocolError, RemoteError, UnknownOutcome

Params = Dict[str, Any]
Again = Callable[[Params], Params]
OnItem = Callable[[Params], None]
OnAnswer = Callable[[Optional[Exception], Any], None]

_PAUSE_FIRST, _PAUSE_MOST = 0.01, 1.0


def same(params: Params) -> Params:
    """An ``again`` for what only reads, or may be done twice."""
    return params


class Request:
    """A request in flight. ``done`` is its answer; ``on_item`` takes the items of a stream.

    The callbacks of ``done`` run in a later turn of the loop; ``on_answer`` runs at once, before
    the line behind the answer is looked at. It is given the error (or None) and the result.
    """

    def __init__(self, ident: int, method: str, params: Params, done: "asyncio.Future[Any]",
                 again: Optional[Again], on_item: Optional[OnItem],
                 on_answer: Optional[OnAnswer]) -> None:
        self.ident, self.method, self.params = ident, method, params
        self.done, self.again, self.on_item, self.on_answer = done, again, on_item, on_answer

    def settle(self, error: Optional[Exception], result: Any = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)
            self.done.exception()  # whoever doesn't look isn't scolded for it
        if self.on_answer is not None:
            self.on_answer(error, result)


class Connection:
    """Speaks to the daemon at ``path``; ``reconnect`` is for how many seconds a lost connection
    to a durable daemon is tried again (0: never)."""

    def __init__(self, path: str, name: str, reconnect: float) -> None:
        self.hello: Dict[str, Any] = {}
        self._path, self._name, self._reconnect = path, name, reconnect
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._open: Dict[int, Request] = {}
        self._writer: Optional[asyncio.StreamWriter] = None
        self._task: Optional["asyncio.Task[None]"] = None
        self._closed: Optional[Exception] = None

    # ---- for callers ----

    async def open(self) -> None:
        """Connects and says hello. Raises ConnectionLost, ProtocolError or RemoteError."""
        reader = await self._connect()
        self._task = self._loop.create_task(self._run(reader))

    async def close(self) -> None:
        """Ends it; what is in flight fails with ConnectionLost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._give_up(ConnectionLost("the client was closed"))

    def request(self, method: str, params: Params, *, again: Optional[Again] = None,
                on_item: Optional[OnItem] = None,
                on_answer: Optional[OnAnswer] = None) -> Request:
        """Sends a request, or, while there is no connection, as soon as there is one."""
        if self._closed is not None:
            raise self._closed
        line_params = {k: v for k, v in params.items() if v is not None}
        request = Request(next(self._ids), method, line_params, self._loop.create_future(), again,
                          on_item, on_answer)
        line = self._line(request)
        self._open[request.ident] = request
        if self._writer is not None:
            self._writer.write(line)
        return request

    def notify(self, method: str, params: Params) -> None:
        """Sends a notification; without a connection there is nobody to tell."""
        if self._writer is not None:
            self._writer.write(wire.encode({"jsonrpc": "2.0", "method": method, "params": params}))

    def cancel(self, request: Request) -> None:
        """Gives a request up; its answer is not waited for."""
        if self._open.get(request.ident) is request:
            request.on_item = None
            if not request.done.done():
                request.done.cancel()
            self.notify("$/cancel", {"id": request.ident})

    async def drain(self) -> None:
        """Waits until what was sent has mostly left."""
        if self._writer is not None:
            try:
                await self._writer.drain()
            except ConnectionError:
                pass  # the reader sees it, too, and connects again

    # ---- the wire ----

    @staticmethod
    def _line(request: Request) -> bytes:
        return wire.encode({"jsonrpc": "2.0", "id": request.ident, "method": request.method,
                            "params": request.params})

    async def _connect(self) -> asyncio.StreamReader:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=2 * wire.LINE_MAX)
        except OSError as error:
            raise ConnectionLost(f"{self._path}: {error.strerror or error}") from error
        params: Params = {"protocol": [1], "client": self._name}
        if self.hello:
            params["session"] = self.hello["session"]
        try:
            writer.write(wire.encode({"jsonrpc": "2.0", "id": 0, "method": "hello",
                                      "params": params}))
            line = await reader.readline()
            if not line.endswith(b"\n"):
                raise ConnectionLost(f"{self._path}: closed before it answered hello")
            answer = wire.decode(line)
            if "error" in answer:
                raise _remote(answer["error"])
            self._greeted(answer["result"])
        except (OSError, ValueError, KeyError) as error:
            writer.close()
            raise ConnectionLost(f"{self._path}: {error}") from error
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        for request in list(self._open.values()):
            writer.write(self._line(request))
        return reader

    def _greeted(self, hello: Dict[str, Any]) -> None:
        other = self.hello and self.hello["instance"] != hello["instance"]
        self.hello = hello
        if other:
            self._fail_open(InstanceChanged("another instance of the daemon answered"))

    async def _run(self, reader: asyncio.StreamReader) -> None:
        """Reads until the end, connects again, and so on."""
        while True:
            try:
                await self._read(reader)
                why: Exception = ConnectionLost(f"{self._path}: the daemon closed the connection")
            except (OSError, ValueError) as error:
                why = ConnectionLost(f"{self._path}: {error}")
            except ProtocolError as error:
                self._give_up(error)
                return
            self._lost()
            durable = "durable" in self.hello.get("features", ())
            found = await self._find_again(why) if durable and self._reconnect > 0 else None
            if found is None:
                self._give_up(why)
                return
            reader = found

    def _lost(self) -> None:
        """What may be sent again is kept; the rest fails."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for request in list(self._open.values()):
            if request.done.done():  # given up by its owner, whom nobody will answer
                del self._open[request.ident]
            elif request.again is None:
                del self._open[request.ident]
                request.settle(UnknownOutcome(
                    f"the connection was lost before {request.method} was answered"))
            else:
                request.params = request.again(request.params)

    async def _find_again(self, why: Exception) -> Optional[asyncio.StreamReader]:
        end, pause = self._loop.time() + self._reconnect, _PAUSE_FIRST
        while self._loop.time() < end:
            try:
                return await self._connect()
            except (ConnectionLost, RemoteError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_MOST)
        return None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            self._take(wire.decode(line))

    def _take(self, message: Dict[str, Any]) -> None:
        method = message.get("method")
        if method == "$/item" or method == "$/credit" or method == "$/gap":
            params = message["params"]
            request = self._open.get(params["stream"])
            if request is not None and request.on_item is not None and method == "$/item":
                request.on_item(params)
            return
        if "id" not in message:
            return
        if message["id"] is None:
            raise ProtocolError(f"the daemon took offence: {message.get('error')}")
        request = self._open.pop(message["id"], None)
        if request is None:
            return
        if "error" in message:
            request.settle(_remote(message["error"]))
        else:
            request.settle(None, message.get("result"))

    def _give_up(self, why: Exception) -> None:
        self._closed = self._closed or why
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._fail_open(why)

    def _fail_open(self, why: Exception) -> None:
        open_requests: List[Request] = list(self._open.values())
        self._open.clear()
        for request in open_requests:
            request.settle(why)


def _remote(error: Dict[str, Any]) -> RemoteError:
    return RemoteError(error["code"], error["message"], error.get("data"))
