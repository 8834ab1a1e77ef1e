"""slotd as a ``concurrent.futures`` executor."""

from __future__ import annotations

import asyncio
import atexit
import collections
import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from functools import partial
from typing import (Any, Callable, Deque, Dict, Iterable, Iterator, Optional, Sequence, Set, Tuple,
                    Union, cast)

from . import aio, wire
from .completion import Completion
from .connection import Params
from .errors import BrokenSlotExecutor, SlotdError

_Cancel = Callable[[aio.JobFuture], None]
Path = Optional[Union[str, "os.PathLike[str]"]]

_SLICE = 512  # submits that are passed on in one turn of the loop: answers come in between
_ASK_TIMEOUT = 5.0  # seconds that running() waits for the daemon


class ExecutorFuture(concurrent.futures.Future[Completion]):
    """A ``concurrent.futures.Future`` of a ``Completion``; a job that is not ok raises JobFailed.

    ``job`` is its id, None until the daemon has answered; ``completion`` is how it ended, None until
    that is known, also where the future has no result. After ``cancel`` it is still None in the done
    callbacks, which run at once, and comes when the job has ended.
    """

    job: Optional[int] = None
    completion: Optional[Completion] = None

    _conversation: Optional["_Conversation"] = None
    _started = False

    def cancel(self) -> bool:
        """Cancels the job, be it pending or, unlike a function on a thread, running. True if the
        future is cancelled, False if the job had ended. ``cancelled`` and ``done`` are true at
        once and ``result`` raises CancelledError; ``wait`` and ``as_completed`` give the future out
        when the job has ended."""
        cancelled = super().cancel()
        conversation = self._conversation
        if cancelled and conversation is not None:
            conversation.cancel(self)
        return cancelled

    def running(self) -> bool:
        """Whether the job runs, as the daemon says now: where it isn't known to have started this
        asks, and takes a moment. (Done callbacks must not wait: in them it says what is known.)"""
        conversation = self._conversation
        if conversation is None:
            return super().running()
        if self.done() or self.job is None:
            return False
        if not self._started:
            self._started = conversation.is_running(self.job)
        return self._started and not self.done()


class _Conversation:
    """A thread with a loop with a client. It knows nothing of the SlotExecutor, so that one that
    nobody has any more can go."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, path: Path, options: Dict[str, Any]) -> None:
        # A collection may cancel futures (those of a map's results) in whoever holds the lock.
        self.lock = threading.RLock()
        self.shutdown = False
        self.pid = os.getpid()
        # What to submit, or how to cancel it.
        self._todo: Deque[Tuple[ExecutorFuture, Union[aio.Prepared, _Cancel]]] = collections.deque()
        self._awake = False
        self._calls = 0  # that have no answer yet
        self._ended = False
        self._futures: Dict[ExecutorFuture, Optional[aio.JobFuture]] = {}
        self.client: Optional[aio.Client] = None
        ready: "concurrent.futures.Future[None]" = concurrent.futures.Future()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(path, options, ready)),
                                       name="slotd", daemon=True)
        self.thread.start()
        try:
            ready.result()
        finally:
            del ready
        _conversations.add(self)

    async def _serve(self, path: Path, options: Dict[str, Any],
                     ready: "concurrent.futures.Future[None]") -> None:
        """The life of the thread: it ends after shutdown, when no future is left."""
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.client = aio.Client(path, **options)
            await self.client.connect()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        del ready
        try:
            await self._over.wait()
        finally:
            await self.client.close()
            _conversations.discard(self)

    # ---- from any thread ----

    def check_open(self) -> None:
        if os.getpid() != self.pid:
            raise RuntimeError("this SlotExecutor belongs to the process that this one was forked "
                               "from: make another one here")
        if self.shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        broken = self.client.lost if self.client is not None else None
        if broken is not None:
            raise BrokenSlotExecutor(f"the daemon is gone: {broken}") from broken

    def submit(self, future: ExecutorFuture, argv: Sequence[wire.Text],
               options: Dict[str, Any]) -> None:
        self.check_open()
        assert self.client is not None
        prepared = self.client._prepare(argv, options)  # what is wrong is told here
        future._conversation = self
        with self.lock:
            self.check_open()
            self._futures[future] = None
            self._todo.append((future, prepared))
            self._wake()

    def cancel(self, future: ExecutorFuture) -> None:
        """Its owner has cancelled it."""
        if os.getpid() == self.pid:
            with self.lock:
                if future in self._futures:
                    self._todo.append((future, aio.JobFuture.cancel_job))
                    self._wake()

    def end(self, *, cancel: bool = False) -> None:
        """Takes no more; the thread ends when no future or call is left. ``cancel``: cancels what is
        pending."""
        if os.getpid() != self.pid:
            return
        with self.lock:
            self.shutdown = True
            if cancel and self._futures:
                self._todo.extend((future, aio.JobFuture.cancel_if_pending)
                                  for future in self._futures)
                self._wake()
        self.abandon()

    def abandon(self) -> None:
        """For the finalizer of an executor that nobody has any more: it may interrupt anything, also
        whoever holds the lock, and nobody else can submit."""
        self.shutdown = True
        if os.getpid() == self.pid:
            try:
                self.loop.call_soon_threadsafe(self._end_if_idle)
            except RuntimeError:
                pass  # the loop is closed: the thread has ended

    def join(self) -> None:
        if os.getpid() == self.pid and threading.current_thread() is not self.thread:
            self.thread.join()

    def is_running(self, job: int) -> bool:
        if threading.current_thread() is self.thread or os.getpid() != self.pid:
            return False
        try:
            return bool(self.call("job.get", {"job": job}, again=True,
                                  timeout=_ASK_TIMEOUT)["phase"] == "running")
        except (SlotdError, RuntimeError, concurrent.futures.TimeoutError):
            return False

    def call(self, method: str, params: Optional[Params], *, again: bool,
             timeout: Optional[float]) -> Any:
        """Not from its own thread. The thread doesn't end before this has."""
        assert self.client is not None
        with self.lock:
            if self._ended:
                raise RuntimeError("cannot schedule new calls after shutdown")
            self._calls += 1
        try:
            asked = asyncio.run_coroutine_threadsafe(
                self.client.call(method, params, again=again), self.loop)
            try:
                return asked.result(timeout)
            finally:
                asked.cancel()
        finally:
            with self.lock:
                self._calls -= 1
                self.loop.call_soon_threadsafe(self._end_if_idle)

    def _wake(self) -> None:
        """With the lock."""
        if not self._awake:
            self._awake = True
            self.loop.call_soon_threadsafe(self._work)

    # ---- on the loop ----

    def _work(self) -> None:
        for _ in range(_SLICE):
            with self.lock:
                self._awake = False  # before the look: a cancel in between wakes again
                if not self._todo:
                    return
                self._awake = True
                future, prepared = self._todo.popleft()
            if callable(prepared):
                job = self._futures.get(future)
                if job is not None:
                    prepared(job)
            elif future.cancelled():
                self._settle(future)
            else:
                self._start(future, prepared)
        self.loop.call_soon(self._work)

    def _start(self, future: ExecutorFuture, prepared: aio.Prepared) -> None:
        assert self.client is not None
        try:
            job = self.client._start(prepared)
        except Exception as error:
            self._settle(future, error=error)
            return
        self._futures[future] = job
        job._on_known = partial(self._on_known, future)
        job.add_done_callback(partial(self._on_job_done, future))

    @staticmethod
    def _on_known(future: ExecutorFuture, job: aio.JobFuture) -> None:
        future.job, future._started = job.job, job.phase == "running"

    def _on_job_done(self, future: ExecutorFuture, job: "asyncio.Future[Completion]") -> None:
        assert isinstance(job, aio.JobFuture)
        future.completion = job.completion
        if job.cancelled():
            super(ExecutorFuture, future).cancel()
            self._settle(future)
        else:
            self._settle(future, error=job.exception(), result=job.completion)

    def _settle(self, future: ExecutorFuture, *, error: Optional[BaseException] = None,
                result: Optional[Completion] = None) -> None:
        if future.set_running_or_notify_cancel():
            if error is not None:
                future.set_exception(error)
            else:
                assert result is not None
                future.set_result(result)
        future._conversation = None
        with self.lock:
            self._futures.pop(future, None)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        with self.lock:
            if self.shutdown and not self._futures and not self._calls:
                self._ended = True
                self._over.set()


class SlotExecutor(concurrent.futures.Executor):
    """Submits commands to slotd and gives futures of their completions.

        with SlotExecutor() as executor:
            future = executor.submit(["gcc", "-c", "a.c"])
            print(future.result().stdout)

    The arguments are those of ``slotd.aio.Client``. How many jobs run at once is the daemon's matter
    (``slotctl limit``), not the executor's; ``queue="name"`` puts all of them in a queue with a limit
    of its own. Raises ConnectionLost where nobody listens. All methods may be called from any thread;
    done callbacks run in the executor's own. An executor that was made before a fork can't be used in
    the child.
    """

    def __init__(self, path: Path = None, **options: Any) -> None:
        self._conversation = _Conversation(path, options)
        self._finalizer = weakref.finalize(self, self._conversation.abandon)
        self._finalizer.atexit = False  # _finish_all does more

    def submit(self, argv: Sequence[wire.Text], /,  # type: ignore[override]
               **options: Any) -> ExecutorFuture:
        """The future of one command. ``options`` are as in ``slotd.aio.Client.submit``.

        Raises TypeError or ValueError for what can't be sent, BrokenSlotExecutor where the daemon is
        gone for good, RuntimeError after shutdown.
        """
        future = self._new_future()
        self._conversation.submit(future, argv, options)
        return future

    _new_future = ExecutorFuture

    def map(self, fn: Union[Callable[..., Sequence[wire.Text]], Sequence[wire.Text]],  # type: ignore[override]
            *iterables: Iterable[Any], timeout: Optional[float] = None, chunksize: int = 1,
            buffersize: Optional[int] = None, **options: Any) -> Iterator[Completion]:
        """Completions in the order of the inputs. ``fn`` makes an argv of its arguments, or is an
        argv that they are appended to (as str() gives them, unless they are bytes or paths).

        All inputs are read and submitted at once, as by the executors of the standard library; with
        ``buffersize`` at most that many ahead of the results taken. ``options`` hold for each
        submit. ``chunksize`` is accepted and means nothing here. The iterator raises TimeoutError
        ``timeout`` seconds from now and JobFailed at a job that was not ok; what is left is cancelled
        then, and when it is closed early.
        """
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize is {buffersize}, must be None or at least 1")
        end = None if timeout is None else time.monotonic() + timeout
        make = cast(Callable[..., Sequence[wire.Text]],
                    fn if callable(fn) else partial(_append, wire.words(fn)))
        inputs = zip(*iterables)
        futures: Deque[ExecutorFuture] = collections.deque()

        def results(submit: Optional[Callable[..., ExecutorFuture]]) -> Iterator[Completion]:
            try:
                assert submit is not None
                for args in itertools.islice(inputs, buffersize):
                    futures.append(submit(make(*args), **options))
                if not buffersize:
                    submit = None  # the results don't hold the executor
                yield cast(Completion, None)  # to map itself
                while futures:  # neither a future nor its result is held while it is looked at
                    taken = [_result(futures.popleft(),
                                     None if end is None else end - time.monotonic())]
                    if submit is not None:
                        for args in itertools.islice(inputs, 1):
                            futures.append(submit(make(*args), **options))
                    yield taken.pop()
            finally:
                for future in futures:
                    future.cancel()

        started = results(self.submit)  # one that was not started would clean nothing up
        next(started)
        return started

    def call(self, method: str, params: Optional[Params] = None, *, again: bool = False,
             timeout: Optional[float] = None) -> Any:
        """The result of any method of the protocol, as ``slotd.aio.Client.call`` gives it. Raises
        RemoteError, and ``concurrent.futures.TimeoutError`` after ``timeout`` seconds; RuntimeError
        after shutdown and in a done callback, which must not wait."""
        self._conversation.check_open()
        if threading.current_thread() is self._conversation.thread:
            raise RuntimeError(f"{method} in a done callback would wait for itself")
        return self._conversation.call(method, params, again=again, timeout=timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more. ``wait``: returns when all futures are done. ``cancel_futures``: cancels
        those whose jobs are pending; jobs that run go on, as with the standard library's."""
        self._conversation.end(cancel=cancel_futures)
        if wait:
            self._conversation.join()


def _result(future: ExecutorFuture, timeout: Optional[float]) -> Completion:
    """Its result; cancelled if there is none in time."""
    try:
        return future.result(timeout)
    finally:
        future.cancel()
        del future  # its exception would hold it by way of this frame


def _append(argv: Sequence[wire.Text], *args: Any) -> Sequence[wire.Text]:
    return [*argv, *(arg if isinstance(arg, (bytes, os.PathLike)) else str(arg) for arg in args)]


_conversations: Set[_Conversation] = set()


@atexit.register
def _finish_all() -> None:
    """As the executors of the standard library: what was submitted is waited for."""
    conversations = list(_conversations)
    for conversation in conversations:
        conversation.end()
    for conversation in conversations:
        conversation.join()
