"""A stream of the protocol as an asynchronous iterator."""

from __future__ import annotations

import asyncio
from typing import Any, Optional

from .connection import Again, Connection, Params


class Stream:
    """Iterates over the ``$/item``s of one request; afterwards ``result`` is its answer. An error
    answer is raised from the iteration. ``close`` gives it up."""

    def __init__(self, connection: Connection, method: str, params: Params,
                 again: Optional[Again] = None) -> None:
        self.result: Any = None
        self._items: "asyncio.Queue[Optional[Params]]" = asyncio.Queue()
        self._connection = connection
        self._request = connection.request(method, params, again=again,
                                           on_item=self._items.put_nowait)
        self._request.done.add_done_callback(lambda _: self._items.put_nowait(None))

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Params:
        item = await self._items.get()
        if item is None:
            self.result = self._request.done.result()
            raise StopAsyncIteration
        return item

    def credit(self, n: int) -> None:
        """Tells the daemon that ``n`` (items, or bytes) were consumed; for streams with a window."""
        if n > 0:
            self._connection.notify("$/credit", {"stream": self._request.ident, "n": n})

    def close(self) -> None:
        self._connection.cancel(self._request)
