"""slotd as a ``concurrent.futures`` executor."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
import time
import weakref
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Sequence, Union

from . import aio, wire
from .completion import Completion


class ExecutorFuture(concurrent.futures.Future):
    """A ``concurrent.futures.Future`` of a ``Completion``. ``job`` is its id, None until the daemon
    has answered. It stays cancellable while the job runs: cancelling it ends the job."""

    job: Optional[int] = None


class SlotExecutor(concurrent.futures.Executor):
    """Submits commands to slotd and gives futures of their completions.

        with SlotExecutor() as executor:
            future = executor.submit(["gcc", "-c", "a.c"])
            print(future.result().stdout)

    The arguments are those of ``slotd.aio.Client``. How many run at once is the daemon's matter.
    Raises ConnectionLost where nobody listens. Thread-safe.
    """

    def __init__(self, path: Optional[str] = None, **options: Any) -> None:
        self._lock = threading.Lock()
        self._futures: Dict[ExecutorFuture, Optional[aio.JobFuture]] = {}
        self._shutdown = False
        ready: "concurrent.futures.Future[None]" = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(path, options, ready)),
                                        name="slotd", daemon=True)
        self._thread.start()
        ready.result()
        _alive.add(self)

    async def _serve(self, path: Optional[str], options: Dict[str, Any],
                     ready: "concurrent.futures.Future[None]") -> None:
        """The life of the thread: it ends after shutdown, when no future is left."""
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with aio.Client(path, **options) as self._client:
                ready.set_result(None)
                await self._over.wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)

    # ---- concurrent.futures.Executor ----

    def submit(self, argv: Sequence[wire.Text], /, **options: Any) -> ExecutorFuture:  # type: ignore[override]
        """The future of one command. ``options`` are as in ``slotd.aio.Client.submit``."""
        wire.spec(argv, options)  # what is wrong with it is told here, not by the future
        future = ExecutorFuture()
        with self._lock:
            if self._shutdown:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._futures[future] = None
        future.add_done_callback(self._on_done)
        self._loop.call_soon_threadsafe(self._start, future, argv, options)
        return future

    def map(self, fn: Union[Callable[..., Sequence[wire.Text]], Sequence[wire.Text]],  # type: ignore[override]
            *iterables: Iterable[Any], timeout: Optional[float] = None,
            chunksize: int = 1) -> Iterator[Completion]:
        """Completions in the order of the inputs. ``fn`` makes an argv of its arguments, or is an
        argv that they are appended to. Raises TimeoutError after ``timeout`` seconds, JobFailed at
        a job that was not ok. ``chunksize`` is accepted and means nothing here."""
        end = None if timeout is None else time.monotonic() + timeout
        make = fn if callable(fn) else lambda *args: [*fn, *map(str, args)]
        futures = [self.submit(make(*args)) for args in zip(*iterables)]
        futures.reverse()

        def results() -> Iterator[Completion]:
            try:
                while futures:
                    left = None if end is None else end - time.monotonic()
                    yield futures[-1].result(left)
                    futures.pop()
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more. ``wait`` returns when all futures are done; ``cancel_futures`` cancels
        those that are not, and their jobs."""
        with self._lock:
            self._shutdown = True
            futures = list(self._futures)
        if cancel_futures:
            for future in futures:
                future.cancel()
        self._end_if_idle()
        if wait:
            self._thread.join()

    def _end_if_idle(self) -> None:
        with self._lock:
            if self._shutdown and not self._futures and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._over.set)

    # ---- on the loop ----

    def _start(self, future: ExecutorFuture, argv: Sequence[wire.Text], options: Dict[str, Any]) -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()
            self._forget(future)
            return
        try:
            job = self._client.submit(argv, **options)
        except Exception as error:
            self._settle(future, error=error)
            return
        with self._lock:
            self._futures[future] = job
        job._known.add_done_callback(lambda known: self._on_known(future, known))
        job.add_done_callback(lambda _: self._on_job_done(future, job))

    @staticmethod
    def _on_known(future: ExecutorFuture, known: "asyncio.Future[int]") -> None:
        if not known.cancelled() and known.exception() is None:
            future.job = known.result()

    def _on_job_done(self, future: ExecutorFuture, job: aio.JobFuture) -> None:
        if job.cancelled():
            future.cancel()
            self._settle(future)
        else:
            error = job.exception()
            self._settle(future, error=error, result=None if error else job.result())

    def _settle(self, future: ExecutorFuture, *, error: Optional[BaseException] = None,
                result: Optional[Completion] = None) -> None:
        if future.set_running_or_notify_cancel():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._forget(future)

    def _forget(self, future: ExecutorFuture) -> None:
        with self._lock:
            self._futures.pop(future, None)
        self._end_if_idle()

    # ---- anywhere ----

    def _on_done(self, future: concurrent.futures.Future) -> None:
        """Cancelled by its owner: the job is ended, too."""
        if future.cancelled():
            with self._lock:
                job = self._futures.get(future)  # type: ignore[call-overload]
            if job is not None:
                self._loop.call_soon_threadsafe(job.cancel)


_alive: "weakref.WeakSet[SlotExecutor]" = weakref.WeakSet()


@atexit.register
def _finish_all() -> None:
    """As the executors of the standard library: what was submitted is waited for."""
    for executor in list(_alive):
        executor.shutdown()
