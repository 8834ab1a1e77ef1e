"""slotd for asyncio: jobs as real ``asyncio.Future`` objects.

    async with slotd.aio.Client() as client:
        futures = [client.submit(["sleep", str(n)], tag=n) for n in (3, 1, 2)]
        for future in asyncio.as_completed(futures):
            print(await future)

``asyncio.as_completed``, ``wait``, ``gather``, ``timeout`` and ``TaskGroup`` work on them
unchanged. Cancelling a future cancels its job. A client belongs to one loop and its thread.
"""

from __future__ import annotations

import asyncio
import collections
import os
import secrets
import warnings
from typing import (Any, AsyncIterable, AsyncIterator, Deque, Dict, Iterable, Iterator, List, Mapping,
                    NamedTuple, Optional, Sequence, Set, Tuple, Union)

from . import wire
from ._version import __version__
from .completion import Completion
from .connection import Connection, Kind, Params, same
from .errors import (ConnectionLost, InstanceChanged, JobFailed, ProtocolError, RemoteError,
                     UnknownOutcome)
from .events import Events
from .follow import Follow
from .jobs import JobFuture, Jobs
from .paths import default_socket
from .stream import Stream

Command = Union[Sequence[wire.Text], Mapping[str, Any]]

_NAME = f"python-slotd/{__version__}"
_PIECE = 1 << 18  # bytes of output asked for, or of input sent, at a time
_OUTPUT_MOST = 65536  # bytes of stdout and of stderr that a completion may carry
_AHEAD = 128  # completions that have come and were not taken: at worst 16 MiB of output
_CLOSE_TIMEOUT = 5.0  # seconds that close waits for a daemon that is there to answer cancels

# The methods that may wait for jobs, clients or room, of which hello allows a number.
_WAITING = frozenset({"completions.subscribe", "drain", "events.subscribe", "futures.as_completed",
                      "futures.gather", "futures.wait", "job.result", "map.open", "output.follow",
                      "stdin.write"})


class Prepared(NamedTuple):
    """A submit that can be sent."""

    text: str  # the params in JSON
    common: str  # and those of the defaults
    keyed: bool  # it may be sent twice
    held: bool  # the daemon may let it wait for room


class Client:
    """A connection to slotd.

    ``path``: its socket; default: ``$SLOTD_SOCKET``, else where the user's own slotd listens.
    ``reconnect``: for how many seconds a lost connection to a durable daemon is tried again (0:
    never); futures then settle as if nothing had been. ``with_output``: how many bytes of stdout
    and of stderr a completion carries, 0 to 65,536. ``name``: what the daemon's log calls this
    client. Further keywords are defaults for every spec. A job gets this process's directory and
    environment, as they are now, unless ``cwd`` and ``env`` say otherwise.

    Raises TypeError or ValueError for arguments that are none and defaults that can't be sent,
    PermissionError where the default socket lies in somebody else's directory.
    """

    def __init__(self, path: Optional[Union[str, "os.PathLike[str]"]] = None, *,
                 reconnect: float = 30.0, with_output: int = 65536, name: str = _NAME,
                 **defaults: Any) -> None:
        if not isinstance(reconnect, (int, float)) or isinstance(reconnect, bool):
            raise TypeError(f"reconnect must be a number of seconds, not {reconnect!r}")
        if not reconnect >= 0:
            raise ValueError(f"reconnect is {reconnect}, must be at least 0 seconds")
        _check_int("with_output", with_output)
        if not 0 <= with_output <= _OUTPUT_MOST:
            raise ValueError(f"with_output is {with_output}, must be 0 to {_OUTPUT_MOST} bytes")
        if not isinstance(name, str):
            raise TypeError(f"name must be str, not {name!r}")
        self._path = os.fspath(path) if path is not None else default_socket()
        self._reconnect, self._with_output, self._name = reconnect, with_output, name
        self._defaults = {"cwd": os.getcwd(), "env": dict(os.environ), **defaults}
        self._specs = wire.Specs(self._defaults)
        self._connection: Optional[Connection] = None
        self._jobs: Optional[Jobs] = None

    async def __aenter__(self) -> "Client":
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def connect(self) -> None:
        """Raises ConnectionLost where nobody listens, ProtocolError where somebody else does,
        RemoteError where slotd refuses, RuntimeError if it is connected."""
        if self._connection is not None:
            raise RuntimeError("this client is connected already")
        connection = Connection(self._path, self._name, self._reconnect)
        await connection.open()
        self._connection, self._jobs = connection, Jobs(connection, self._with_output)

    async def close(self) -> None:
        """Futures that are not done fail with ConnectionLost. Jobs go on, but for those with
        ``lifetime="bound"`` and those whose futures were cancelled: their cancels reach the daemon
        first. One that is away is waited for as long as it is looked for (``reconnect``), one that
        is there has five seconds to answer. If it could not be told, a RuntimeWarning says how many
        of the cancelled jobs may go on. Afterwards ``connect`` may be called again."""
        await self._close()

    async def _close(self) -> None:
        connection, jobs = self._connection, self._jobs
        if connection is None or jobs is None:
            return
        try:
            await jobs.settle_cancels(_CLOSE_TIMEOUT)
        finally:
            jobs.close()
            await connection.close()
            if self._connection is connection:
                self._connection = self._jobs = None
            untold = jobs.take_untold()
            if untold:
                warnings.warn(f"slotd at {self._path} could not be told to cancel {untold} job"
                              f"{'s' * (untold > 1)}: those may go on", RuntimeWarning,
                              stacklevel=3)  # where the user closes

    @property
    def hello(self) -> Mapping[str, Any]:
        """What the daemon said of itself: ``instance``, ``features``, ``limits``, ..."""
        return self._live()[0].hello

    @property
    def lost(self) -> Optional[Exception]:
        """Why there is no connection any more, nor will be; None while all is well."""
        return self._connection.closed if self._connection is not None else None

    def _live(self) -> Tuple[Connection, Jobs]:
        if self._connection is None or self._jobs is None:
            raise ConnectionLost("the client is not connected: use 'async with', or connect()")
        return self._connection, self._jobs

    # ---- jobs ----

    def submit(self, argv: Sequence[wire.Text], /, **options: Any) -> JobFuture:
        """Submits a command and returns at once. ``options`` are the members of the spec in
        docs/PROTOCOL.md: ``queue``, ``priority``, ``timeout_ms``, ``tag``, ``key``, ...; None is as
        good as absent.

        Raises at once TypeError or ValueError for what can't be sent and ConnectionLost where there
        is no daemon; the future raises what the daemon says (RemoteError). Any number may be
        submitted: what the daemon hasn't room for in its buffers waits here.
        """
        return self._start(self._prepare(argv, options))

    def _prepare(self, argv: Sequence[wire.Text], options: Dict[str, Any]) -> "Prepared":
        """The half of submit that any thread may do."""
        keyed = options.get("key", self._defaults.get("key")) is not None
        if not keyed and self._live()[0].durable:
            options["key"] = "auto-" + secrets.token_hex(16)
            keyed = True
        held = options.get("on_full", self._defaults.get("on_full")) == "wait"
        return Prepared(*self._specs.text(argv, options), keyed, held)

    def _start(self, prepared: "Prepared") -> JobFuture:
        return self._live()[1].submit(*prepared)

    async def run(self, argv: Sequence[wire.Text], /, **options: Any) -> Completion:
        """submit, awaited: a coroutine for ``TaskGroup.create_task`` and the like."""
        return await self.submit(argv, **options)

    async def map(self, commands: Union[Iterable[Command], AsyncIterable[Command]], *,
                  limit: int, **options: Any) -> AsyncIterator[Completion]:
        """Runs commands from a lazy iterable and yields completions in finish order, ok or not.

        At most ``limit`` of them are submitted and not yet taken from here; the iterable is asked
        for no more than that. A command is an argv, or a mapping with ``argv`` and options of its
        own. Leaving the loop early (``break``, ``aclose``, an error of the iterable, a submit that
        is refused) cancels what still runs; so does the end of the client, unless ``lifetime`` is
        "detached". An asynchronous generator of commands is then closed, too.
        """
        if isinstance(commands, (str, bytes, bytearray, Mapping)):
            raise TypeError(f"commands must be an iterable of commands, not {commands!r}: "
                            "each is a sequence of arguments, or a mapping with argv")
        if not isinstance(commands, (Iterable, AsyncIterable)):
            raise TypeError(f"commands must be an iterable, not {type(commands).__name__}")
        _check_int("limit", limit)
        if limit < 1:
            raise ValueError(f"limit is {limit}, must be at least 1")
        bound = {} if self._defaults.get("lifetime") else {"lifetime": "bound"}
        running: Set[JobFuture] = set()
        done: Deque[JobFuture] = collections.deque()
        wake = asyncio.Event()
        source: Optional[Iterator[Command]] = None
        waiting: Optional[AsyncIterator[Command]] = None
        pull: Optional["asyncio.Task[Command]"] = None
        if isinstance(commands, AsyncIterable):
            waiting = commands.__aiter__()
        else:
            source = iter(commands)

        def start(command: Command) -> None:
            own = {"argv": command} if not isinstance(command, Mapping) else command
            if "argv" not in own:
                raise TypeError(f"a command that is a mapping must have argv: {command!r}")
            spec = {**bound, **options, **own}
            future = self.submit(spec.pop("argv"), **spec)
            running.add(future)
            future.add_done_callback(on_done)

        def on_done(future: "asyncio.Future[Completion]") -> None:
            assert isinstance(future, JobFuture)
            done.append(future)
            wake.set()

        async def next_of(iterator: AsyncIterator[Command]) -> Command:
            return await iterator.__anext__()

        try:
            while True:
                while source is not None and len(running) < limit:
                    try:
                        start(next(source))
                    except StopIteration:
                        source = None
                if pull is not None and pull.done():
                    try:
                        start(pull.result())
                    except StopAsyncIteration:
                        waiting = None
                    pull = None
                if waiting is not None and pull is None and len(running) < limit:
                    pull = asyncio.ensure_future(next_of(waiting))
                    pull.add_done_callback(lambda _: wake.set())
                if done:
                    future = done.popleft()
                    completion = _completion_of(future)
                    running.discard(future)
                    yield completion
                elif running or waiting is not None:
                    wake.clear()
                    await wake.wait()
                else:
                    return
        finally:
            for future in running:
                future.cancel()
            if pull is not None:
                pull.cancel()
                await asyncio.wait([pull])
                if not pull.cancelled():
                    pull.exception()  # it is of no interest any more
            # The end of asyncio.run may be closing it as well.
            if waiting is not None and not getattr(waiting, "ag_running", False):
                close = getattr(waiting, "aclose", None)
                if close is not None:
                    await close()

    def attach(self, job: int) -> JobFuture:
        """The future of a job that exists already, whoever submitted it. It raises RemoteError
        (NoSuchJob) where there is none; cancelling it cancels the job."""
        return self._live()[1].attach(job)

    async def cancel(self, *jobs: int, wait: bool = False) -> None:
        """Cancels jobs by id; with ``wait`` it returns when no process of theirs is left. Raises
        RemoteError (NoSuchJob)."""
        await self.call("job.cancel", {"jobs": list(jobs), "wait": wait}, again=True)

    async def completions(self, since_seq: Optional[int] = None,
                          **filters: Any) -> AsyncIterator[Completion]:
        """Completions of all jobs of this user (for an admin: everybody's) in the order of ``seq``,
        without end or hole, also over reconnects: from after ``since_seq`` (0: all that history
        holds), or, without it, from the first look on. ``filters``: ``queue``, ``name``, ``ok``,
        ``uid``. A loop that is slow only delays itself. Raises RemoteError (HistoryTruncated) where
        there would be a hole."""
        connection, _ = self._live()
        if since_seq is None:  # a place to go on from, should the connection be lost before any came
            since_seq = (await self.call("stats.get", again=True))["seq"]
        seq = since_seq

        def params() -> Params:
            return {"with_output": self._with_output, "filter": filters, "since_seq": seq,
                    "instance": connection.hello["instance"]}

        def take(item: Params) -> Completion:
            nonlocal seq
            completion = Completion.from_item(item)
            seq = completion.seq
            return completion

        stream = Stream(connection, "completions.subscribe", params(), window=_AHEAD,
                        weigh=lambda item: 1, take=take, again=params)
        try:
            async for completion in stream:
                yield completion
        finally:
            stream.close()

    async def events(self, kinds: Optional[Sequence[str]] = None,
                     **filters: Any) -> AsyncIterator[Mapping[str, Any]]:
        """What happens to the jobs of this user from the first look on, without end: mappings with
        ``kind``, ``job``, ``phase``, ... as docs/PROTOCOL.md has them in ``events.subscribe``.
        ``kinds``: only those; ``filters`` as of ``completions``.

        Where this loop was too slow, events are left out: ``{"kind": "gap", "dropped": how many}``
        is in their place. After a reconnect it is None: nobody knows. Who needs every completion
        takes ``completions``."""
        params: Params = {"filter": filters}
        if kinds is not None:
            params["kinds"] = list(kinds)
        events = Events(self._live()[0], params)
        try:
            async for event in events:
                yield event
        finally:
            events.close()

    # ---- their output and input ----

    async def output(self, job: int, fd: int = 1) -> bytes:
        """All that is kept of a job's stdout (1) or stderr (2) by now."""
        pieces: List[bytes] = []
        at = 0
        while True:
            piece = await self.call("output.read", {"job": job, "fd": fd, "off": at,
                                                    "max": _PIECE}, again=True)
            data = wire.to_bytes(piece["data"])
            pieces.append(data)
            at = piece["off"] + len(data)
            if piece["eof"] or not data:
                return b"".join(pieces)

    async def follow(self, job: int, fds: Sequence[int] = (1, 2)) -> AsyncIterator[Tuple[int, bytes]]:
        """``(fd, bytes)`` as the job writes them, from the beginning to its end, each byte once,
        also over reconnects. A loop that is slow slows the stream down, not the job: of what it
        writes meanwhile the newest ``output_limit`` bytes are kept."""
        follow = Follow(job, fds)
        stream = Stream(self._live()[0], "output.follow", follow.params(), window=_PIECE,
                        weigh=follow.weigh, take=follow.take, again=follow.params)
        try:
            async for fd, data in stream:
                yield fd, data
        finally:
            stream.close()

    async def lines(self, job: int, fd: int = 1) -> AsyncIterator[bytes]:
        """The lines that the job writes to one descriptor, each with its newline; the last one may
        lack it."""
        rest = bytearray()
        pieces = self.follow(job, (fd,))
        try:
            async for _, data in pieces:
                *whole, last = data.split(b"\n")
                for line in whole:
                    yield bytes(rest) + line + b"\n"
                    rest.clear()
                rest += last
            if rest:
                yield bytes(rest)
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def write_stdin(self, job: int, data: Union[bytes, bytearray, memoryview] = b"", *,
                          eof: bool = False) -> None:
        """Writes to a job with ``stdin="pipe"``; returns when its pipe has taken all of it, so it
        waits for a job that isn't running yet or doesn't read. ``eof`` closes the pipe afterwards.
        Raises RemoteError (InvalidState) where nobody reads any more, UnknownOutcome where the
        connection was lost meanwhile, TypeError for what is not bytes."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")
        data = bytes(data)
        for at in range(0, max(len(data), 1), _PIECE):
            last = at + _PIECE >= len(data)
            params: Params = {"job": job, "data": wire.from_bytes(data[at:at + _PIECE])}
            await self.call("stdin.write", {**params, "eof": eof and last})

    # ---- anything else ----

    async def call(self, method: str, params: Optional[Params] = None, *, again: bool = False) -> Any:
        """The result of any method of the protocol (of a stream: without its items). Raises
        RemoteError. ``again`` says that it may be sent a second time when the connection is lost
        before the answer; else that is UnknownOutcome. Calls that wait count against
        ``max_in_flight`` of the daemon; those above it wait their turn here."""
        connection, _ = self._live()
        done: "asyncio.Future[Any]" = asyncio.get_running_loop().create_future()

        def on_answer(error: Optional[Exception], result: Any) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        request = connection.request(method, params or {},
                                     kind=Kind.WAITING if method in _WAITING else Kind.PLAIN,
                                     again=same if again else None, on_answer=on_answer)
        try:
            return await done
        except asyncio.CancelledError:
            connection.cancel(request)
            raise


def _check_int(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")


def _completion_of(future: JobFuture) -> Completion:
    error = None if future.cancelled() else future.exception()
    if future.completion is not None:
        return future.completion
    raise error or asyncio.CancelledError()


__all__ = ["Client", "Completion", "ConnectionLost", "InstanceChanged", "JobFailed", "JobFuture",
           "ProtocolError", "RemoteError", "UnknownOutcome"]
