"""slotd for asyncio: jobs as real ``asyncio.Future`` objects.

    async with slotd.aio.Client() as client:
        futures = [client.submit(["sleep", str(n)], tag=n) for n in (3, 1, 2)]
        for future in asyncio.as_completed(futures):
            print(await future)

``asyncio.as_completed``, ``wait``, ``gather``, ``timeout`` and ``TaskGroup`` work on them
unchanged. Cancelling a future cancels its job. A client belongs to one loop.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import partial
from typing import (Any, AsyncIterable, AsyncIterator, Dict, Iterable, List, Mapping, Optional,
                    Sequence, Set, Tuple, Union)

from . import wire
from .completion import Completion
from .connection import Connection, Params, Request, same
from .errors import ConnectionLost, InstanceChanged, JobFailed, RemoteError
from .paths import default_socket
from .stream import Stream

Command = Union[Sequence[wire.Text], Mapping[str, Any]]

_NAME = "python-slotd/0.1.0"
_PIECE = 1 << 18  # bytes of output asked for at a time
_WINDOW = 1 << 18  # bytes of followed output on the way


class JobFuture(asyncio.Future):
    """The future of one job. Its result is a ``Completion``; a job that is not ok raises
    ``JobFailed``; one that was cancelled, by whomever, is a cancelled future.

    ``job`` is the id, None until the daemon has answered; ``completion`` is how it ended, also
    where the future has no result, None until then.
    """

    job: Optional[int] = None
    completion: Optional[Completion] = None

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._known: "asyncio.Future[int]" = loop.create_future()

    async def submitted(self) -> int:
        """The job's id, as soon as the daemon has acknowledged it. Raises what the submit did."""
        return await asyncio.shield(self._known)


class Client:
    """A connection to slotd.

    ``path`` is its socket (default: where the user's own listens). ``reconnect`` is for how many
    seconds a lost connection to a durable daemon is tried again; futures then settle as if nothing
    had been. ``with_output`` is how many bytes of stdout and stderr a completion carries (at most
    65,536). Further keywords are defaults for every spec. A job gets this process's directory and
    environment unless ``cwd`` and ``env`` say otherwise.
    """

    def __init__(self, path: Optional[Union[str, "os.PathLike[str]"]] = None, *,
                 reconnect: float = 30.0, with_output: int = 65536, name: str = _NAME,
                 **defaults: Any) -> None:
        self._path = os.fspath(path) if path is not None else default_socket()
        self._reconnect, self._with_output, self._name = reconnect, with_output, name
        self._defaults: Dict[str, Any] = {"cwd": os.getcwd(), "env": dict(os.environ), **defaults}
        self._jobs: Dict[int, List[JobFuture]] = {}
        self._seq = 0
        self._connection: Optional[Connection] = None
        self._subscription: Optional[Request] = None
        self._unwatched: List[int] = []

    async def __aenter__(self) -> "Client":
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Raises ConnectionLost where nobody listens."""
        connection = Connection(self._path, self._name, self._reconnect)
        await connection.open()
        self._connection = connection

    async def close(self) -> None:
        """Futures that are not done fail with ConnectionLost. Jobs go on, but for those with
        ``lifetime="bound"``."""
        if self._connection is not None:
            await self._connection.close()

    @property
    def hello(self) -> Mapping[str, Any]:
        """What the daemon said of itself: ``instance``, ``features``, ``limits``, ..."""
        return self._live().hello

    def _live(self) -> Connection:
        if self._connection is None:
            raise ConnectionLost("the client is not connected: use 'async with', or connect()")
        return self._connection

    # ---- jobs ----

    def submit(self, argv: Sequence[wire.Text], /, **options: Any) -> JobFuture:
        """Submits a command and returns at once. ``options`` are the members of the spec in
        docs/PROTOCOL.md: ``queue``, ``priority``, ``timeout_ms``, ``tag``, ``key``, ..."""
        connection = self._live()
        params = wire.spec(argv, {**self._defaults, **options})
        durable = "durable" in connection.hello.get("features", ())
        if durable and self._reconnect > 0:
            params.setdefault("key", "auto-" + secrets.token_hex(16))
        self._subscribe(connection)
        loop = asyncio.get_running_loop()
        future = JobFuture(loop=loop)
        connection.request("job.submit", params, again=same if "key" in params else None,
                           on_answer=partial(self._on_submitted, future))
        future.add_done_callback(self._on_settled)
        return future

    async def run(self, argv: Sequence[wire.Text], /, **options: Any) -> Completion:
        """submit, awaited: a coroutine for ``TaskGroup.create_task`` and the like."""
        return await self.submit(argv, **options)

    async def map(self, commands: Union[Iterable[Command], AsyncIterable[Command]], *,
                  limit: int, **options: Any) -> AsyncIterator[Completion]:
        """Runs commands from a lazy iterable and yields completions in finish order, ok or not.

        At most ``limit`` of them are submitted and not yet taken from here; the iterable is asked
        for no more than that. A command is an argv, or a mapping with ``argv`` and options of its
        own. Leaving the loop early cancels what still runs.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}, must be at least 1")
        source = _iterate(commands)
        done: "asyncio.Queue[JobFuture]" = asyncio.Queue()
        running: Set[JobFuture] = set()
        pull: Optional["asyncio.Future[Command]"] = None
        ended: Optional["asyncio.Future[JobFuture]"] = None
        more = True
        try:
            while more or running:
                if more and pull is None and len(running) < limit:
                    pull = asyncio.ensure_future(source.__anext__())
                if ended is None and running:
                    ended = asyncio.ensure_future(done.get())
                await asyncio.wait([f for f in (pull, ended) if f is not None],
                                   return_when=asyncio.FIRST_COMPLETED)
                if pull is not None and pull.done():
                    try:
                        future = self._submit_one(pull.result(), options)
                        running.add(future)
                        future.add_done_callback(done.put_nowait)
                    except StopAsyncIteration:
                        more = False
                    pull = None
                if ended is not None and ended.done():
                    future = ended.result()
                    ended = None
                    running.discard(future)
                    yield _completion_of(future)
        finally:
            for waiting in (pull, ended):
                if waiting is not None:
                    waiting.cancel()
            for future in running:
                future.cancel()

    def _submit_one(self, command: Command, options: Mapping[str, Any]) -> JobFuture:
        if isinstance(command, Mapping):
            own = {**options, **command}
            return self.submit(own.pop("argv"), **own)
        return self.submit(command, **options)

    def attach(self, job: int) -> JobFuture:
        """The future of a job that exists already, whoever submitted it."""
        future = JobFuture(loop=asyncio.get_running_loop())
        future.add_done_callback(self._on_settled)
        self._subscribe(self._live())
        self._watch(future, job, told=False)
        return future

    async def cancel(self, *jobs: int, wait: bool = False) -> None:
        """Cancels jobs by id; with ``wait`` it returns when no process of theirs is left."""
        await self.call("job.cancel", {"jobs": list(jobs), "wait": wait}, again=True)

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
        """``(fd, bytes)`` as the job writes them, from the beginning to its end."""
        at = {fd: 0 for fd in fds}
        resumed = False

        def again(params: Params) -> Params:
            nonlocal resumed
            resumed = True
            return {**params, "off": min(at.values())}

        stream = Stream(self._live(), "output.follow",
                        {"job": job, "fds": list(fds), "window": _WINDOW}, again)
        try:
            async for item in stream:
                fd, off, data = item["fd"], item["off"], wire.to_bytes(item["data"])
                stream.credit(len(data))
                if resumed:  # from where the slower of the two was
                    data = data[max(0, at[fd] - off):]
                    off = max(off, at[fd])
                if data:
                    at[fd] = off + len(data)
                    yield fd, data
        finally:
            stream.close()

    async def lines(self, job: int, fd: int = 1) -> AsyncIterator[bytes]:
        """The lines that the job writes to one descriptor, each with its newline."""
        rest = b""
        async for _, data in self.follow(job, (fd,)):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest

    async def write_stdin(self, job: int, data: bytes = b"", *, eof: bool = False) -> None:
        """Writes to a job with ``stdin="pipe"``; returns when its pipe has taken all of it."""
        for at in range(0, max(len(data), 1), _PIECE):
            last = at + _PIECE >= len(data)
            params: Params = {"job": job, "data": wire.from_bytes(data[at:at + _PIECE])}
            await self.call("stdin.write", {**params, "eof": eof and last})

    # ---- anything else ----

    async def call(self, method: str, params: Optional[Params] = None, *, again: bool = False) -> Any:
        """Any method of the protocol. Raises RemoteError. ``again`` says that it may be sent a
        second time when the connection is lost before the answer."""
        request = self._live().request(method, params or {}, again=same if again else None)
        try:
            return await request.done
        except asyncio.CancelledError:
            self._live().cancel(request)
            raise

    # ---- how jobs end ----

    def _subscribe(self, connection: Connection) -> None:
        """One stream tells of all jobs; it is opened ahead of the first submit."""
        if self._subscription is not None and not self._subscription.done.done():
            return
        self._seq = connection.hello["seq"]
        params: Params = {"with_output": self._with_output}
        self._subscription = connection.request("completions.subscribe", params,
                                                again=self._resume, on_item=self._on_item,
                                                on_answer=self._on_subscription_over)

    def _resume(self, params: Params) -> Params:
        instance = self._live().hello["instance"]
        return {**params, "since_seq": self._seq, "instance": instance}

    def _on_item(self, item: Params) -> None:
        self._seq = item["seq"]
        if item["job"] in self._jobs:
            self._complete(Completion.from_item(item))

    def _complete(self, completion: Completion) -> None:
        for future in self._jobs.pop(completion.job, ()):
            future.completion = completion
            if future.done():
                continue
            if completion.ok:
                future.set_result(completion)
            elif completion.cancelled:
                future.cancel()
            else:
                future.set_exception(JobFailed(completion))

    def _on_subscription_over(self, error: Optional[Exception], _: Any) -> None:
        error = error or ConnectionLost("the stream of completions ended")
        jobs, self._jobs = self._jobs, {}
        for futures in jobs.values():
            for future in futures:
                _fail(future, error)

    def _on_submitted(self, future: JobFuture, error: Optional[Exception], answer: Any) -> None:
        if error is None:
            self._watch(future, answer["job"], told=not answer["existing"])
        else:
            if not future._known.done():
                future._known.set_exception(error)
                future._known.exception()
            _fail(future, error)

    def _watch(self, future: JobFuture, job: int, *, told: bool) -> None:
        """``told``: the subscription will speak of it. Else it may be done already."""
        future.job = job
        if not future._known.done():
            future._known.set_result(job)
        if future.cancelled():
            self._cancel_job(job)
            return
        self._jobs.setdefault(job, []).append(future)
        if not told:
            if not self._unwatched:  # those of one turn share a request
                asyncio.get_running_loop().call_soon(self._watch_all)
            self._unwatched.append(job)

    def _watch_all(self) -> None:
        jobs, self._unwatched = self._unwatched, []
        try:
            self._live().request(
                "futures.as_completed", {"jobs": jobs, "with_output": self._with_output},
                again=same, on_item=lambda item: self._complete(Completion.from_item(item)),
                on_answer=lambda error, _: self._on_watched(jobs, error))
        except ConnectionLost:
            pass  # the end of the subscription fails them

    def _on_watched(self, jobs: List[int], error: Optional[Exception]) -> None:
        if isinstance(error, RemoteError) and len(jobs) > 1:
            for job in jobs:  # one of them is not there: the others are told one by one
                self._unwatched = [job]
                self._watch_all()
        elif error is not None:
            for future in self._jobs.pop(jobs[0], ()):
                _fail(future, error)

    def _on_settled(self, future: "asyncio.Future[Completion]") -> None:
        """A future that its owner cancelled cancels the job."""
        assert isinstance(future, JobFuture)
        if future.cancelled() and future.completion is None and future.job is not None:
            self._cancel_job(future.job)

    def _cancel_job(self, job: int) -> None:
        try:
            self._live().request("job.cancel", {"jobs": [job]}, again=same)
        except ConnectionLost:
            pass


def _fail(future: JobFuture, error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # of the connection, not of the job: told once is enough


def _completion_of(future: JobFuture) -> Completion:
    error = None if future.cancelled() else future.exception()
    if future.completion is not None:
        return future.completion
    raise error or asyncio.CancelledError()


async def _iterate(commands: Union[Iterable[Command], AsyncIterable[Command]]) -> AsyncIterator[Command]:
    if isinstance(commands, AsyncIterable):
        async for command in commands:
            yield command
    else:
        for command in commands:
            yield command


__all__ = ["Client", "Completion", "ConnectionLost", "InstanceChanged", "JobFailed", "JobFuture",
           "RemoteError"]
