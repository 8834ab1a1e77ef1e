"""Futures of jobs, and the one stream that settles them.

All futures of a client are settled by one ``completions.subscribe``, not by a request for each or
for each few. It is the only stream that keeps the daemon's promise across all of them: they settle
in the order of ``seq``. Two ``futures.as_completed`` side by side don't, and they would cost a second
request for each job, count against ``max_in_flight`` and bound how many futures there may be
(``max_watched``).

The price is that completions of other people's jobs come along. It is kept low: they are told by
their first bytes and never parsed (``skip``); while there is no future the stream is closed; and a
client that reads slowly costs nobody anything, since to the daemon the stream is one number. Should it
fall behind what history keeps (HistoryTruncated), it subscribes anew and asks once for each job that
is left; the same question is asked for jobs that may have ended before they were known here.
"""

from __future__ import annotations

import asyncio
import enum
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Set

from . import wire
from .completion import Completion
from .connection import Connection, Kind, Params, Request, same
from .errors import InstanceChanged, JobFailed, ProtocolError, RemoteError

_IDLE = 1.0  # seconds without a future after which the stream is closed
_SOME = 4096  # ids in one request


class _End(enum.Enum):
    """How a job is to be ended for its owner."""

    ANYWAY = 1
    IF_PENDING = 2


class JobFuture(asyncio.Future[Completion]):
    """The future of one job. Its result is a ``Completion``; a job that is not ok raises
    ``JobFailed``; one that was cancelled, by whomever, is a cancelled future.

    ``job`` is the id, None until the daemon has answered; ``completion`` is how it ended, None until
    that is known, and there also where the future has no result. After ``cancel`` the future is done
    before the job has ended: in its callbacks ``completion`` is still None, and comes later
    (``cancel_job`` waits for it).
    """

    job: Optional[int] = None
    completion: Optional[Completion] = None
    phase: Optional[str] = None  # what the daemon said when it took the job

    # Here and not in __init__: there may be very many futures.
    _request: Optional[Request] = None
    _known: Optional["asyncio.Future[None]"] = None
    _on_known: Optional[Callable[["JobFuture"], None]] = None
    _end: Optional[_End] = None
    _refused: Optional[Exception] = None

    def __init__(self, jobs: "Jobs", *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._jobs = jobs

    async def submitted(self) -> int:
        """The job's id, as soon as the daemon has acknowledged it. Raises what the submit did,
        and CancelledError where the future was cancelled before the submit was sent."""
        if self.job is None and self._refused is None and not self._unsent():
            if self._known is None:
                self._known = self.get_loop().create_future()
            await asyncio.shield(self._known)
        if self.job is not None:
            return self.job
        if self._refused is None:
            raise asyncio.CancelledError()
        if not self.cancelled():
            self.exception()  # it is told here
        raise self._refused

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Cancels the future at once and, without waiting for it, the job, be it pending or
        running, or not even acknowledged. False where the future was done."""
        if not super().cancel(msg=msg):
            return False
        self._jobs.on_cancel(self)
        return True

    def cancel_job(self) -> None:
        """Cancels the job and leaves it to the daemon to settle the future when the job has ended:
        as cancelled, or, where that came first, with its result."""
        self._end_by(_End.ANYWAY)

    def cancel_if_pending(self) -> None:
        """The same, but a job that runs by then is left alone."""
        if self._end is None:
            self._end_by(_End.IF_PENDING)

    def _end_by(self, end: _End) -> None:
        if not self.done() and self._end is not end:
            self._end = end
            self._jobs.on_cancel(self)
            if self._request is None and self.job is None:
                super().cancel()

    def _unsent(self) -> bool:
        return self.cancelled() and self._request is None

    def _tell(self) -> None:
        if self._on_known is not None:
            self._on_known(self)
            del self._on_known
        if self._known is not None and not self._known.done():
            self._known.set_result(None)

    def _settle(self, completion: Completion) -> None:
        self.completion = completion
        if self.done():
            return
        if completion.ok:
            self.set_result(completion)
        elif completion.cancelled:
            super().cancel()
        else:
            self.set_exception(JobFailed(completion))

    def _fail(self, error: Exception) -> None:
        """For what is wrong with the connection or the submit, not with the job."""
        if not self.done():
            self.set_exception(error)
            if not isinstance(error, RemoteError):  # what all futures fail with is no news of each:
                self.exception()  # asyncio says nothing where nobody looks


class Jobs:
    """The futures of one connection."""

    def __init__(self, connection: Connection, with_output: int) -> None:
        self._connection, self._with_output = connection, with_output
        self._loop = asyncio.get_running_loop()
        self._futures: Dict[int, List[JobFuture]] = {}
        self._submitting = 0
        self._seq: int = connection.hello["seq"]
        self._subscription: Optional[Request] = None
        self._idle: Optional[asyncio.TimerHandle] = None
        self._unwatched: List[int] = []
        self._uncancelled: Dict[_End, List[int]] = {end: [] for end in _End}
        self._owed: Set[object] = set()  # cancels that the daemon has not answered
        self._settled: Optional["asyncio.Future[None]"] = None
        self._untold = 0  # cancels that the daemon will not be told of

    # ---- for the client ----

    def submit(self, text: str, common: str, keyed: bool, held: bool) -> JobFuture:
        """``text`` and ``common``: the params of job.submit."""
        self._subscribe()
        future = JobFuture(self, loop=self._loop)
        future._request = self._connection.request(
            "job.submit", text, common, kind=Kind.HELD if held else Kind.PLAIN,
            again=same if keyed else None, on_answer=partial(self._on_submitted, future))
        self._submitting += 1
        return future

    def attach(self, job: int) -> JobFuture:
        future = JobFuture(self, loop=self._loop)
        self._subscribe()
        self._watch(future, job, told=False)
        return future

    def on_cancel(self, future: JobFuture) -> None:
        """Its owner has cancelled it."""
        request = future._request
        if future.job is not None:
            self._cancel_soon(future)
        elif request is not None and not request.ever_sent:
            self._connection.cancel(request)
            future._request = None
            future._tell()
            self._submitting -= 1
            self._rest_if_idle()
        elif request is not None:
            self._owed.add(future)  # cancelled when its id is known
            if request.kind is Kind.HELD:
                self._connection.notify("$/cancel", {"id": request.ident})

    async def settle_cancels(self, timeout: float) -> None:
        """Returns when the daemon has answered the cancels so far, or can't any more: when it has
        been there for ``timeout`` seconds without that, or is away and no longer looked for."""
        self._cancel_now()
        end = self._loop.time() + self._connection.reconnect + timeout  # it may come and go for ever
        while self._owed and self._loop.time() < end:
            if self._settled is None or self._settled.done():  # one more cancel came meanwhile
                self._settled = self._loop.create_future()
            left = end - self._loop.time()
            if not self._connection.searching:
                left = min(left, timeout)
            done, _ = await asyncio.wait([self._settled, self._connection.turn],
                                         timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if not done or self._connection.closed is not None:
                return

    def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

    def take_untold(self) -> int:
        """How many jobs were to be cancelled of which the daemon was not told, since last asked."""
        untold, self._untold = self._untold, 0
        return untold

    # ---- submits ----

    def _on_submitted(self, future: JobFuture, error: Optional[Exception], answer: Any) -> None:
        """May be called again, with an error, after it has raised."""
        if error is None:
            job, existing = wire.job_id(answer["job"]), bool(answer["existing"])
            future.phase = str(answer["phase"])
            self._watch(future, job, told=not existing)
        else:
            if future in self._owed and not isinstance(error, RemoteError):
                self._untold += 1  # there may be a job
            future._refused = error
            future._fail(error)
        self._submitting -= 1
        future._request = None
        future._tell()
        self._paid(future)
        self._rest_if_idle()

    def _watch(self, future: JobFuture, job: int, *, told: bool) -> None:
        """``told``: the stream will speak of it. Else it may be done already."""
        future.job = job
        if future.cancelled() or future._end is not None:
            self._cancel_soon(future)
        self._futures.setdefault(job, []).append(future)
        if not told:
            self._unwatched.append(job)
            if len(self._unwatched) == 1:  # those of one turn share a request
                self._loop.call_soon(self._ask_for_all)

    # ---- cancels ----

    def _cancel_soon(self, future: JobFuture) -> None:
        assert future.job is not None
        end = _End.ANYWAY if future.cancelled() or future._end is None else future._end
        if not any(self._uncancelled.values()):  # those of one turn share a request
            self._loop.call_soon(self._cancel_now)
        self._uncancelled[end].append(future.job)
        self._owed.add((end, future.job))

    def _cancel_now(self) -> None:
        for end, jobs in self._uncancelled.items():
            self._uncancelled[end] = []
            for at in range(0, len(jobs), _SOME):
                self._cancel(end, jobs[at:at + _SOME])

    def _cancel(self, end: _End, jobs: List[int]) -> None:
        def on_answer(error: Optional[Exception], _: Any) -> None:
            missing = _missing(jobs, error)
            if missing is None and error is not None:
                self._untold += len(set(jobs))
            for some in _others(jobs, missing):
                self._cancel(end, some)
            for job in jobs if missing is None else [missing]:
                self._paid((end, job))

        params: Params = {"jobs": jobs}
        if end is _End.IF_PENDING:
            params["only_pending"] = True
        try:
            self._connection.request("job.cancel", params, again=same, on_answer=on_answer)
        except Exception as error:  # nobody is left to tell
            on_answer(error, None)

    def _paid(self, debt: object) -> None:
        self._owed.discard(debt)
        if not self._owed and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    # ---- the stream ----

    def _subscribe(self) -> None:
        if self._subscription is None:
            self._subscription = self._connection.request(
                "completions.subscribe", self._params(), kind=Kind.FREE, again=self._resume,
                on_item=self._on_item, on_answer=self._on_over, skip=self._skip)

    def _params(self) -> Params:
        # An admin would be told of everybody's.
        return {"with_output": self._with_output, "filter": {"uid": self._connection.hello["uid"]}}

    def _resume(self) -> Params:
        return {**self._params(), "since_seq": self._seq,
                "instance": self._connection.hello["instance"]}

    def _skip(self, job: int, seq: int) -> bool:
        if job in self._futures:
            return False
        self._seq = seq
        return True

    def _on_item(self, item: Params) -> None:
        if wire.job_id(item["job"]) in self._futures:
            self._complete(Completion.from_item(item))
        self._seq = int(item["seq"])

    def _complete(self, completion: Completion) -> None:
        for future in self._futures.pop(completion.job, ()):
            future._settle(completion)
        self._rest_if_idle()

    def _on_over(self, error: Optional[Exception], _: Any) -> None:
        self._subscription = None
        self._seq = self._connection.hello["seq"]
        if isinstance(error, InstanceChanged):  # what was about to be cancelled are others' jobs now
            for end, ids in self._uncancelled.items():
                self._owed.difference_update((end, job) for job in ids)
                self._untold += len(set(ids))
                ids.clear()
        if isinstance(error, RemoteError) and error.kind == "HistoryTruncated":
            self._subscribe()
            self._ask_for(list(self._futures))
            return
        error = error or ProtocolError("the daemon ended the stream of completions")
        jobs, self._futures = self._futures, {}
        for futures in jobs.values():
            for future in futures:
                future._fail(error)
        if not isinstance(error, InstanceChanged):  # without it a submit would wait for ever
            self._connection.fail(error)

    def _rest_if_idle(self) -> None:
        if not self._futures and not self._submitting and self._idle is None:
            self._idle = self._loop.call_later(_IDLE, self._rest)

    def _rest(self) -> None:
        self._idle = None
        if not self._futures and not self._submitting and self._subscription is not None:
            self._connection.cancel(self._subscription)
            self._subscription = None

    # ---- asking once ----

    def _ask_for_all(self) -> None:
        jobs, self._unwatched = self._unwatched, []
        self._ask_for(jobs)

    def _ask_for(self, jobs: List[int]) -> None:
        """Settles those of the jobs that are done; of the others the stream will tell."""
        for at in range(0, len(jobs), _SOME):
            some = jobs[at:at + _SOME]
            try:
                self._connection.request(
                    "futures.as_completed",
                    {"jobs": some, "with_output": self._with_output, "timeout_ms": 0},
                    again=same, on_answer=partial(self._on_asked, some),
                    on_item=lambda item: self._complete(Completion.from_item(item)))
            except Exception:  # it is over, and the end of the stream fails them
                return

    def _on_asked(self, jobs: List[int], error: Optional[Exception], _: Any) -> None:
        if isinstance(error, RemoteError) and error.kind != "Timeout":
            if error.kind == "InvalidParams" and len(jobs) > 1:  # no id of one; the others are
                for job in jobs:
                    self._ask_for([job])
                return
            missing = _missing(jobs, error)
            for job in jobs if missing is None else [missing]:
                for future in self._futures.pop(job, ()):
                    future._fail(error)
            for some in _others(jobs, missing):
                self._ask_for(some)
            self._rest_if_idle()


def _missing(jobs: List[int], error: Optional[Exception]) -> Optional[int]:
    """The one job for which the daemon refused a request of many: it doesn't know it."""
    if isinstance(error, RemoteError) and error.kind == "NoSuchJob":
        missing = error.data.get("job")
        if missing in jobs:
            return int(missing)
    return None


def _others(jobs: List[int], missing: Optional[int]) -> List[List[int]]:
    """What to ask for again: the others in two halves, so that also where all are missing an id is
    asked for a few times and not once for each of the others."""
    if missing is None:
        return []
    rest = [job for job in jobs if job != missing]
    half = (len(rest) + 1) // 2
    return [some for some in (rest[:half], rest[half:]) if some]
