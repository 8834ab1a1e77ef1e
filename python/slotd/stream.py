"""A stream of the protocol as an asynchronous iterator that bounds what is on the way."""

from __future__ import annotations

import asyncio
import collections
from typing import Any, Callable, Deque, Optional, Tuple

from .connection import Connection, Kind, Params


class Stream:
    """Iterates over what ``take`` makes of each ``$/item`` (None: nothing) of a request; afterwards
    ``result`` is its answer. An error answer is raised from the iteration. ``close`` gives it up.

    ``window`` is how much may have come and not been taken from here, in the unit that ``weigh``
    gives for an item; the daemon sends no more (0: it knows no such bound, and nothing is weighed).
    ``again`` gives the params after a reconnect.
    """

    def __init__(self, connection: Connection, method: str, params: Params, *, window: int,
                 weigh: Callable[[Params], int], take: Callable[[Params], Any],
                 again: Callable[[], Params]) -> None:
        self.result: Any = None
        self._connection, self._weigh, self._take, self._again = connection, weigh, take, again
        self._items: Deque[Tuple[int, int, Any]] = collections.deque()
        self._over = False
        self._error: Optional[Exception] = None
        self._waiter: Optional["asyncio.Future[None]"] = None
        self._connections = 0  # a new connection's window is whole: nothing old is credited to it
        self._window = {"window": window} if window else {}
        self._request = connection.request(method, {**params, **self._window}, kind=Kind.WAITING,
                                           again=self._on_again, on_item=self.put,
                                           on_answer=self._on_answer)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        connection, weight, item = self._items.popleft()
        if connection == self._connections:
            self._credit(weight)
        return item

    def __len__(self) -> int:
        """How many items have come and were not taken."""
        return len(self._items)

    def put(self, params: Params) -> None:
        """An item that has come."""
        item, weight = self._take(params), self._weigh(params)
        if item is None:
            self._credit(weight)
        else:
            self._items.append((self._connections, weight, item))
            self._wake()

    def close(self) -> None:
        self._connection.cancel(self._request)

    def _credit(self, n: int) -> None:
        if n > 0 and not self._over:
            self._connection.notify("$/credit", {"stream": self._request.ident, "n": n})

    def _on_again(self) -> Params:
        self._connections += 1
        return {**self._again(), **self._window}

    def _on_answer(self, error: Optional[Exception], result: Any) -> None:
        self._over, self._error, self.result = True, error, result
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
