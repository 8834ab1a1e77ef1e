"""One conversation with the daemon: requests, streams, and a new connection when it is lost.

Everything here belongs to one asyncio loop and is not thread-safe. What may be sent again after a
reconnect is decided by whoever asks, with ``again``: a function that gives the parameters to send
now, or None for those of before.

Requests are written once a turn, not once a call, and no faster than the daemon answers: what is
over the limits of its ``hello`` waits here, in order, so that no number of calls makes an error of
flow control or fills the socket's buffer without bound.
"""

from __future__ import annotations

import asyncio
import collections
import enum
import itertools
import os
import re
from typing import Any, Callable, Deque, Dict, List, Optional, Union, cast

from . import paths, wire
from .errors import ConnectionLost, InstanceChanged, ProtocolError, RemoteError, UnknownOutcome

Params = Dict[str, Any]
Again = Callable[[], Optional[Params]]
OnItem = Callable[[Params], None]
OnAnswer = Callable[[Optional[Exception], Any], None]
Skip = Callable[[int, int], bool]

_PROTOCOL = 1  # the version of slot that is spoken here
_HELLO_TIMEOUT = 30.0  # seconds that a daemon may take to answer the first line
_CLOSE_TIMEOUT = 5.0  # seconds for what was written to leave at the end
_PAUSE_FIRST, _PAUSE_MOST = 0.01, 1.0  # seconds between attempts to connect again
_GOOD = 1.0  # seconds after which a connection was one, though the daemon had nothing to say
_CHUNK = 1 << 16  # bytes of requests that are made into lines before the socket is asked for room
_UNANSWERED = 1024  # requests on the way that wait for nothing
_HELD = 16  # docs/PROTOCOL.md: submits with on_full "wait" on a connection

# The beginning of a completion as slotd writes it. One written otherwise is read the slow way.
_ITEM = re.compile(rb'\{"jsonrpc":"2\.0","method":"\$/item","params":'
                   rb'\{"stream":(\d+),"n":(\d+),"job":([1-9]\d*),"seq":(\d+),')


def same() -> None:
    """An ``again`` for what only reads, or may be done twice."""


class Kind(enum.Enum):
    """What a request may have to wait for at the daemon, which decides how many it may be."""

    FREE = 0  # not counted
    PLAIN = 1  # nothing, or the journal alone
    WAITING = 2  # jobs or clients: at most max_in_flight
    HELD = 3  # room for a job


class Request:
    """A request that has no answer yet. ``on_item`` takes the items and gaps of a stream;
    ``on_answer`` is given the error (or None) and the result, before the line behind the answer is
    looked at.
    ``skip`` is asked with the job and the seq of an item whether it need not be read."""

    __slots__ = ("ident", "method", "text", "common", "kind", "again", "on_item", "on_answer", "skip", "n",
                 "ever_sent", "given_up")

    def __init__(self, ident: int, method: str, text: str, common: str, kind: Kind,
                 again: Optional[Again], on_item: Optional[OnItem], on_answer: Optional[OnAnswer],
                 skip: Optional[Skip]) -> None:
        self.ident, self.method, self.kind, self.again = ident, method, kind, again
        self.text, self.common = text, common  # the params in JSON, and more members for them
        self.on_item, self.on_answer, self.skip = on_item, on_answer, skip
        self.n = 0  # items that came
        self.ever_sent = self.given_up = False

    def settle(self, error: Optional[Exception], result: Any = None) -> None:
        on_answer, self.on_answer = self.on_answer, None
        if on_answer is not None:
            on_answer(error, result)


class _Wire(asyncio.Protocol):
    """The bytes of one connection: lines in, back-pressure out."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, on_line: Callable[[bytes], None]) -> None:
        self.on_line = on_line
        self.on_writable: Callable[[], None] = lambda: None
        self.on_lost: Callable[[Exception], None] = lambda why: None
        self.over: "asyncio.Future[None]" = loop.create_future()
        self.paused = False
        self._lines = wire.Lines()
        self.error: Optional[Exception] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # other loops' need not inherit from it

    def data_received(self, data: bytes) -> None:
        if self.error is not None:
            return
        try:
            for line in self._lines.feed(data):
                if line and line != b"\r":
                    self.on_line(line)
        except ProtocolError as error:
            self.error = error
            self.transport.abort()
            self.on_lost(error)  # now, not in a later turn: nothing is sent any more

    def connection_lost(self, error: Optional[Exception]) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self.on_lost(self.error or ConnectionLost(str(error or "the daemon closed the connection")))

    def ready(self) -> bool:
        """Whether it takes more. One that broke under a write doesn't, before anybody is told."""
        return not self.paused and not self.transport.is_closing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.on_writable()


class Connection:
    """Speaks to the daemon at ``path``; ``reconnect`` is for how many seconds a lost connection
    to a durable daemon is tried again (0: never). ``closed`` is why it is over, None until then."""

    def __init__(self, path: str, name: str, reconnect: float) -> None:
        self.hello: Dict[str, Any] = {}
        self.closed: Optional[Exception] = None
        self._path, self._name, self.reconnect = path, name, reconnect
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._queues: Dict[Kind, Deque[Request]] = {kind: collections.deque() for kind in Kind}
        self._sent: Dict[Kind, int] = dict.fromkeys(Kind, 0)
        self._most: Dict[Kind, float] = {}
        self._open: Dict[int, Request] = {}  # those that were sent
        self._out: List[bytes] = []  # notifications
        self._wire: Optional[_Wire] = None
        self._pump_due = False
        self._finding: Optional["asyncio.Task[None]"] = None
        self._pause = _PAUSE_FIRST
        self._until = 0.0  # when looking for a daemon ends
        self._since = 0.0  # when the daemon answered hello
        self._progress = True  # since the last loss the daemon has said more than hello

    # ---- for callers ----

    @property
    def durable(self) -> bool:
        """Whether a lost connection is tried again."""
        return self.reconnect > 0 and "durable" in self.hello["features"]

    @property
    def turn(self) -> "asyncio.Future[None]":
        """Done when what is now has ended: the connection, or the search for a new one."""
        if self._wire is not None:
            return self._wire.over
        if self._finding is not None:
            return self._finding
        over: "asyncio.Future[None]" = self._loop.create_future()
        over.set_result(None)
        return over

    @property
    def searching(self) -> bool:
        """Whether the daemon is away and looked for."""
        return self._wire is None and self.closed is None

    async def open(self) -> None:
        """Connects and says hello. Raises ConnectionLost, ProtocolError or RemoteError."""
        await self._connect()

    async def close(self) -> None:
        """Ends it; what is in flight fails with ConnectionLost."""
        wire_, finding = self._wire, self._finding
        if wire_ is not None and self._out:
            wire_.transport.write(b"".join(self._out))
        self._wire = None
        self._give_up(ConnectionLost("the client was closed"))
        if finding is not None:
            finding.cancel()
            await asyncio.wait([finding])
        if wire_ is not None:
            wire_.transport.close()
            await asyncio.wait([wire_.over], timeout=_CLOSE_TIMEOUT)
            if not wire_.over.done():
                wire_.transport.abort()

    def request(self, method: str, params: Union[Params, str], common: str = "", *,
                kind: Kind = Kind.PLAIN, again: Optional[Again] = None, on_item: Optional[OnItem] = None,
                on_answer: Optional[OnAnswer] = None, skip: Optional[Skip] = None) -> Request:
        """Sends a request as soon as that may be. ``params`` may be JSON already, and ``common``
        has JSON of further members, which many requests share. Raises what ended the connection,
        ValueError where the line would be too long, RuntimeError on another loop."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this client belongs to another event loop: a loop needs its own")
        if self.closed is not None:
            raise type(self.closed)(*self.closed.args) from self.closed
        text = params if isinstance(params, str) else wire.check_length(wire.to_json(params))
        request = Request(next(self._ids), method, text, common, kind, again, on_item, on_answer,
                          skip)
        self._queues[kind].append(request)
        self._pump_soon()
        return request

    def notify(self, method: str, params: Params) -> None:
        """Sends a notification; without a connection there is nobody to tell."""
        if self._wire is not None:
            self._out.append(wire.notification(method, params))
            self._pump_soon()

    def cancel(self, request: Request) -> None:
        """Gives a request up: one that was not sent never is, the answer of another is ignored."""
        request.given_up = True
        request.on_item = request.on_answer = request.skip = None
        if request.ident in self._open:
            self.notify("$/cancel", {"id": request.ident})

    def fail(self, why: Exception) -> None:
        """Ends it for a reason; what is in flight fails with that."""
        self._give_up(why)

    # ---- out ----

    def _pump_soon(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Writes what may be written."""
        self._pump_due = False
        while self._wire is not None and self._wire.ready():
            lines, self._out = self._out, []
            size = sum(map(len, lines))
            while size < _CHUNK:
                heads = [queue[0] for kind, queue in self._queues.items()
                         if queue and self._sent[kind] < self._most[kind]]
                if not heads:
                    break
                request = heads[0] if len(heads) == 1 else min(heads, key=lambda head: head.ident)
                self._queues[request.kind].popleft()
                if not request.given_up:
                    lines.append(self._send(request))
                    size += len(lines[-1])
            if not lines:
                break
            self._wire.transport.write(b"".join(lines))

    def _send(self, request: Request) -> bytes:
        self._open[request.ident] = request
        self._sent[request.kind] += 1
        request.ever_sent = True
        request.n = 0
        return wire.request(request.ident, request.method, request.text, request.common)

    # ---- in ----

    def _on_line(self, line: bytes) -> None:
        """Raises ProtocolError at whatever is no slot/1."""
        self._progress = True
        quick = _ITEM.match(line)
        if quick is not None:
            stream, n, job, seq = map(int, quick.groups())
            request = self._open.get(stream)
            if request is not None and request.skip is not None and request.skip(job, seq):
                _count(request, n)
                return
        message = wire.decode(line)
        try:
            if "method" in message:
                self._on_notification(message["method"], message.get("params", {}))
            else:
                self._on_answer(message)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"the daemon sent {line[:200]!r}: {error!r}") from error

    def _on_notification(self, method: Any, params: Params) -> None:
        if method in ("$/item", "$/gap"):
            request = self._open[params["stream"]]
            if method == "$/item":
                _count(request, params["n"])
            if request.on_item is not None:
                request.on_item(params)

    def _on_answer(self, message: Dict[str, Any]) -> None:
        error = _remote(message["error"]) if "error" in message else None
        if message["id"] is None:
            raise ProtocolError(f"the daemon refused a line of ours: {error}")
        result = message["result"] if error is None else None
        request = self._open.pop(message["id"])
        self._sent[request.kind] -= 1
        if self._queues[request.kind]:
            self._pump_soon()
        on_answer = request.on_answer
        try:
            request.settle(error, result)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, ProtocolError) as broken:
            problem = ProtocolError(f"the daemon answered {request.method} with "
                                    f"{str(message)[:200]}: {broken!r}")
            if on_answer is not None:  # its owner is told as well: nobody else will
                on_answer(problem, None)
            raise problem from broken

    # ---- connecting, also again ----

    async def _connect(self) -> None:
        greeting: "asyncio.Future[bytes]" = self._loop.create_future()

        def on_line(line: bytes) -> None:
            if greeting.done():
                raise ProtocolError("the daemon speaks without being asked")
            greeting.set_result(line)

        def on_lost(why: Exception) -> None:
            if not greeting.done():
                greeting.set_exception(why)

        wire_ = _Wire(self._loop, on_line)
        wire_.on_lost = on_lost
        try:
            await self._loop.create_unix_connection(lambda: wire_, self._path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConnectionLost(
                f"nobody listens at {self._path} ({why}): start slotd, or name its socket with the "
                "argument path or in the variable SLOTD_SOCKET") from error
        try:
            if paths.is_user_socket(self._path) and \
                    paths.peer_uid(wire_.transport.get_extra_info("socket")) != os.geteuid():
                raise ConnectionLost(f"{self._path}: somebody else listens there")  # told nothing
            params: Params = {"protocol": [_PROTOCOL], "client": self._name}
            if self.hello:
                params["session"] = self.hello["session"]
            wire_.transport.write(wire.request(0, "hello", wire.to_json(params)))
            line = await asyncio.wait_for(greeting, _HELLO_TIMEOUT)
            self._greeted(_hello(line))
        except BaseException as error:
            wire_.on_lost = lambda why: None
            wire_.transport.abort()
            if greeting.done() and not greeting.cancelled():
                greeting.exception()
            if isinstance(error, asyncio.TimeoutError):
                raise ConnectionLost(f"{self._path}: no answer to hello in {_HELLO_TIMEOUT:g} s") \
                    from error
            if isinstance(error, ConnectionLost) and greeting.done():
                raise ConnectionLost(f"{self._path}: no answer to hello: {error}") from error
            raise
        if wire_.error is not None or wire_.over.done():
            raise wire_.error or ConnectionLost(f"{self._path}: closed after hello")
        wire_.on_line, wire_.on_lost, wire_.on_writable = self._on_line, self._on_lost, self._pump
        self._wire, self._since = wire_, self._loop.time()
        self._pump()

    def _greeted(self, hello: Dict[str, Any]) -> None:
        other = self.hello and self.hello["instance"] != hello["instance"]
        self.hello = hello
        waiting = hello["limits"]["max_in_flight"] - _HELD - 1  # one is the stream of completions
        self._most = {Kind.FREE: float("inf"), Kind.PLAIN: _UNANSWERED,
                      Kind.WAITING: max(waiting, 1), Kind.HELD: _HELD}
        if other:  # ids mean other jobs to it, also those in requests that were not sent
            self._fail_all(InstanceChanged("another instance of the daemon answered: it knows "
                                           "nothing of the jobs of the one before"))

    def _on_lost(self, why: Exception) -> None:
        """What may be sent again goes back to the head of its queue; the rest fails."""
        self._wire = None
        self._out.clear()
        if self.closed is not None:
            return
        sent, self._open = list(self._open.values()), {}
        self._sent = dict.fromkeys(Kind, 0)
        again = not isinstance(why, ProtocolError) and self.durable
        for request in reversed(sent):
            if request.given_up:
                continue
            if again and request.again is None:
                request.settle(UnknownOutcome(
                    f"the connection was lost before {request.method} was answered"))
                continue
            params = request.again() if again and request.again is not None else None
            if params is not None:
                request.text = wire.to_json(params)
            self._queues[request.kind].appendleft(request)
        if not again:
            self._give_up(why if isinstance(why, ProtocolError)
                          else ConnectionLost(f"{self._path}: {why}"))
            return
        now = self._loop.time()
        if self._progress or now - self._since >= _GOOD:  # not one that only ever greets
            self._progress, self._pause = False, _PAUSE_FIRST
            self._until = now + self.reconnect
        self._finding = self._loop.create_task(self._find_again(why))

    async def _find_again(self, why: Exception) -> None:
        error: Exception = why
        try:
            while self._loop.time() < self._until:
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, _PAUSE_MOST)
                try:
                    await self._connect()
                    return
                except (ConnectionLost, RemoteError) as refusal:
                    error = refusal
            raise ConnectionLost(f"slotd was not found again in {self.reconnect:g} s: {error}") \
                from error
        except Exception as end:
            self._give_up(end)
            if not isinstance(end, (ConnectionLost, ProtocolError)):
                raise

    def _give_up(self, why: Exception) -> None:
        if self.closed is None:
            self.closed = why
        if self._wire is not None:
            self._wire.transport.abort()
            self._wire = None
        self._fail_all(why)

    def _fail_all(self, why: Exception) -> None:
        everything = [*self._open.values(), *itertools.chain(*self._queues.values())]
        self._open.clear()
        for queue in self._queues.values():
            queue.clear()
        for request in everything:
            request.settle(why)


def _count(request: Request, n: Any) -> None:
    request.n += 1
    if n != request.n:
        raise ProtocolError(f"item {n!r} of a stream came in place of item {request.n}")


def _remote(error: Dict[str, Any]) -> RemoteError:
    data = error.get("data")
    if not isinstance(error["code"], int) or not isinstance(data, (dict, type(None))):
        raise ProtocolError(f"no error of JSON-RPC: {str(error)[:200]}")
    return RemoteError(error["code"], str(error["message"]), data)


def _hello(line: bytes) -> Dict[str, Any]:
    """The result in the answer to hello. Raises ProtocolError, and RemoteError for a refusal."""
    message = wire.decode(line)
    try:
        if "error" in message:
            raise _remote(message["error"])
        hello = message["result"]
        good = (message["id"] == 0 and hello["protocol"] == _PROTOCOL
                and isinstance(hello["instance"], str)
                and isinstance(hello["session"], str) and isinstance(hello["features"], list)
                and isinstance(hello["seq"], int) and isinstance(hello["uid"], int)
                and isinstance(hello["limits"]["max_in_flight"], int))
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"no answer to hello: {line[:200]!r}") from error
    if not good:
        raise ProtocolError(f"no answer to hello: {line[:200]!r}")
    return dict(hello)
